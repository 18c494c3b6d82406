//! Every coding system of Emacs 28.2: its names, and how it is converted or why it is not.
//!
//! Invariant: the golden file `names.tsv` and this list hold the same names. Parsing is left to
//! `system`, the tables to `charset`, `single_byte` and `tables`.

use encoding_rs as web;

use super::{
    charset,
    iso2022::{Iso2022, Selected, Upper},
    multi_byte::MultiByte,
    single_byte::{Base, SingleByte},
    tables,
    utf7::Variant,
    utf8::Signature,
    utf16::Endian,
};

/// A coding system without its line ends.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its names, Emacs's preferred one first.
    pub(super) names: &'static [&'static str],
    pub(super) codec: Codec,
}

/// How the characters of a system are bytes.
#[derive(Debug)]
pub(super) enum Codec {
    /// Not at all, and line ends stay.
    Binary,
    /// Not at all.
    RawText,
    /// To be guessed.
    Undecided,
    Utf8(Signature),
    Utf16(Endian, Signature),
    Utf7(Variant),
    Hz,
    Iso2022(Iso2022),
    MultiByte(MultiByte),
    SingleByte(SingleByte),
    /// Not converted, for this reason.
    Refused(&'static str),
}

/// The entry with this name, and the name as it stands there.
pub(super) fn find(name: &str) -> Option<(&'static Entry, &'static str)> {
    let named = |entry: &'static Entry| {
        let found = entry.names.iter().find(|&&known| known == name)?;
        Some((entry, *found))
    };
    ENTRIES.iter().find_map(named)
}

const fn entry(names: &'static [&'static str], codec: Codec) -> Entry {
    Entry { names, codec }
}

const fn single(names: &'static [&'static str], base: Base) -> Entry {
    patched(names, base, &[])
}

const fn patched(
    names: &'static [&'static str],
    base: Base,
    patches: &'static [(u8, char)],
) -> Entry {
    entry(names, Codec::SingleByte(SingleByte::new(base, patches)))
}

const fn multi(names: &'static [&'static str], system: MultiByte) -> Entry {
    entry(names, Codec::MultiByte(system))
}

const fn refused(names: &'static [&'static str], why: &'static str) -> Entry {
    entry(names, Codec::Refused(why))
}

const EBCDIC: &str = "EBCDIC is not converted";
const ISO_2022: &str = "ISO 2022 with arbitrary or locking sets is not converted";
const INTERNAL: &str = "it holds characters that exist in Emacs only";
const COMPOUND: &str = "compound text is not converted";

/// The four sets of iso-2022-jp.
const JP: [(&[u8], Selected); 4] = [
    (b"(B", Selected::Ascii),
    (b"$B", Selected::Pairs(&charset::JISX0208)),
    (b"$@", Selected::Pairs(&charset::JISX0208_1978)),
    (b"(J", Selected::JisRoman),
];

const ISO_2022_JP: Iso2022 = Iso2022 { designations: &JP, home: b"(B" };

const ISO_2022_JP_2: Iso2022 = Iso2022 {
    designations: &[
        JP[0],
        JP[1],
        (b"$(D", Selected::Pairs(&charset::JISX0212)),
        JP[3],
        JP[2],
        (b"$A", Selected::Pairs(&charset::GB2312)),
        (b"$(C", Selected::Pairs(&charset::KSC5601)),
        (b".A", Selected::Upper(Upper::Latin1)),
        (b".F", Selected::Upper(Upper::Greek)),
    ],
    home: b"(B",
};

const ISO_2022_JP_2004: Iso2022 = Iso2022 {
    designations: &[
        JP[0],
        JP[1],
        (b"$(Q", Selected::Pairs(&charset::JISX0213_1)),
        (b"$(O", Selected::Pairs(&charset::JISX0213_1)),
        (b"$(P", Selected::Pairs(&charset::JISX0213_2)),
    ],
    home: b"(B",
};

/// The sets of 1978 come first, and the Roman set of JIS is taken for ASCII. DIFFERENCE: Emacs also
/// writes a yen sign as backslash, and announces either edition of JIS X 0208 as that of 1978.
const OLD_JIS: Iso2022 = Iso2022 {
    designations: &[
        JP[0],
        (b"(J", Selected::Ascii),
        JP[2],
        JP[1],
        (b"$(D", Selected::Pairs(&charset::JISX0212)),
    ],
    home: b"(J",
};

/// Characters that Adobe's encoding writes as those it has.
const ADOBE_WRITTEN: &[(char, u8)] =
    &[('\u{AD}', 0x2D), ('\u{2C9}', 0xC5), ('\u{2215}', 0xA4), ('\u{2219}', 0xB4)];

/// The systems, in the order of their names.
#[rustfmt::skip]
pub(super) static ENTRIES: [Entry; 126] = [
    entry(&["adobe-standard-encoding"], Codec::SingleByte(SingleByte::new(Base::High(tables::ADOBE_STANDARD_ENCODING), &[(0x27, '’'), (0x60, '‘')]).writing(ADOBE_WRITTEN))),
    multi(&["chinese-big5", "big5", "cn-big5", "cp950"], MultiByte::Bytes { set: &charset::CHINESE_BIG5, katakana: false, structure: true }),
    multi(&["chinese-big5-hkscs", "big5-hkscs", "cn-big5-hkscs"], MultiByte::Bytes { set: &charset::BIG5_HKSCS, katakana: false, structure: false }),
    multi(&["chinese-gb18030", "gb18030"], MultiByte::Gb18030 { set: &charset::GB18030_2 }),
    multi(&["chinese-gbk", "gbk", "cp936", "windows-936"], MultiByte::Bytes { set: &charset::CHINESE_GBK, katakana: false, structure: false }),
    entry(&["chinese-hz", "hz-gb-2312", "hz"], Codec::Hz),
    multi(&["chinese-iso-8bit", "cn-gb-2312", "euc-china", "euc-cn", "cn-gb", "gb2312"], MultiByte::Euc { main: &charset::GB2312, katakana: false, third: None }),
    refused(&["compound-text", "x-ctext", "ctext"], COMPOUND),
    refused(&["compound-text-with-extensions", "x-ctext-with-extensions", "ctext-with-extensions"], COMPOUND),
    patched(&["cp1125", "ruscii", "cp866u"], Base::Web(web::IBM866), &[(0xF2, 'Ґ'), (0xF3, 'ґ'), (0xF4, 'Є'), (0xF5, 'є'), (0xF6, 'І'), (0xF7, 'і'), (0xF8, 'Ї'), (0xF9, 'ї')]),
    single(&["cp437", "ibm437"], Base::High(tables::CP437)),
    single(&["cp737"], Base::High(tables::CP737)),
    single(&["cp775", "ibm775"], Base::High(tables::CP775)),
    single(&["cp850", "ibm850"], Base::High(tables::CP850)),
    single(&["cp851", "ibm851"], Base::High(tables::CP851)),
    single(&["cp852", "ibm852"], Base::High(tables::CP852)),
    single(&["cp855", "ibm855"], Base::High(tables::CP855)),
    single(&["cp857", "ibm857"], Base::High(tables::CP857)),
    single(&["cp858"], Base::High(tables::CP858)),
    single(&["cp860", "ibm860"], Base::High(tables::CP860)),
    single(&["cp861", "ibm861"], Base::High(tables::CP861)),
    single(&["cp862", "ibm862"], Base::High(tables::CP862)),
    single(&["cp863", "ibm863"], Base::High(tables::CP863)),
    single(&["cp865", "ibm865"], Base::High(tables::CP865)),
    single(&["cp866"], Base::Web(web::IBM866)),
    single(&["cp869", "ibm869"], Base::High(tables::CP869)),
    single(&["cp874", "ibm874"], Base::Windows(web::WINDOWS_874)),
    refused(&["ctext-no-compositions"], COMPOUND),
    single(&["cyrillic-alternativnyj", "alternativnyj"], Base::High(tables::CYRILLIC_ALTERNATIVNYJ)),
    single(&["cyrillic-iso-8bit", "iso-8859-5"], Base::Web(web::ISO_8859_5)),
    single(&["cyrillic-koi8", "koi8-r", "koi8", "cp878"], Base::Web(web::KOI8_R)),
    refused(&["ebcdic-uk"], EBCDIC),
    refused(&["ebcdic-us"], EBCDIC),
    refused(&["emacs-mule"], INTERNAL),
    multi(&["euc-jis-2004", "euc-jisx0213"], MultiByte::Euc { main: &charset::JISX0213_1, katakana: true, third: Some(&charset::JISX0213_2) }),
    refused(&["euc-tw", "euc-taiwan"], "no table of CNS 11643 is on board"),
    multi(&["eucjp-ms"], MultiByte::Euc { main: &charset::EUCJP_MS_1, katakana: true, third: Some(&charset::EUCJP_MS_2) }),
    single(&["georgian-academy"], Base::High(tables::GEORGIAN_ACADEMY)),
    single(&["georgian-ps"], Base::High(tables::GEORGIAN_PS)),
    single(&["greek-iso-8bit", "iso-8859-7"], Base::Web(web::ISO_8859_7)),
    single(&["hebrew-iso-8bit", "iso-8859-8", "iso-8859-8-e", "iso-8859-8-i"], Base::Web(web::ISO_8859_8)),
    single(&["hp-roman8", "roman8"], Base::High(tables::HP_ROMAN8)),
    refused(&["ibm038", "ebcdic-int", "cp038"], EBCDIC),
    refused(&["ibm1047", "cp1047"], EBCDIC),
    refused(&["ibm256", "ebcdic-int1", "cp256"], EBCDIC),
    refused(&["ibm273", "cp273"], EBCDIC),
    refused(&["ibm274", "ebcdic-be", "cp274"], EBCDIC),
    refused(&["ibm275", "ebcdic-br", "cp275"], EBCDIC),
    refused(&["ibm277", "ebcdic-cp-dk", "ebcdic-cp-no", "cp277"], EBCDIC),
    refused(&["ibm278", "ebcdic-cp-fi", "ebcdic-cp-se", "cp278"], EBCDIC),
    refused(&["ibm280", "ebcdic-cp-it", "cp280"], EBCDIC),
    refused(&["ibm281", "ebcdic-jp-e", "cp281"], EBCDIC),
    refused(&["ibm284", "ebcdic-cp-es", "cp284"], EBCDIC),
    refused(&["ibm285", "ebcdic-cp-gb", "cp285"], EBCDIC),
    refused(&["ibm290", "ebcdic-jp-kana", "cp290"], EBCDIC),
    refused(&["ibm297", "ebcdic-cp-fr", "cp297"], EBCDIC),
    refused(&["in-is13194-devanagari", "devanagari"], INTERNAL),
    refused(&["iso-2022-7bit"], ISO_2022),
    refused(&["iso-2022-7bit-lock", "iso-2022-int-1"], ISO_2022),
    refused(&["iso-2022-7bit-lock-ss2", "iso-2022-cjk"], ISO_2022),
    refused(&["iso-2022-7bit-ss2"], ISO_2022),
    refused(&["iso-2022-8bit-ss2"], ISO_2022),
    refused(&["iso-2022-cn", "chinese-iso-7bit"], ISO_2022),
    refused(&["iso-2022-cn-ext"], ISO_2022),
    entry(&["iso-2022-jp", "junet"], Codec::Iso2022(ISO_2022_JP)),
    entry(&["iso-2022-jp-2"], Codec::Iso2022(ISO_2022_JP_2)),
    entry(&["iso-2022-jp-2004", "iso-2022-jp-3"], Codec::Iso2022(ISO_2022_JP_2004)),
    refused(&["iso-2022-kr", "korean-iso-7bit-lock"], ISO_2022),
    patched(&["iso-8859-11"], Base::Web(web::WINDOWS_874), &[(0x80, '\u{80}'), (0x85, '\u{85}'), (0x91, '\u{91}'), (0x92, '\u{92}'), (0x93, '\u{93}'), (0x94, '\u{94}'), (0x95, '\u{95}'), (0x96, '\u{96}'), (0x97, '\u{97}')]),
    single(&["iso-8859-6"], Base::Web(web::ISO_8859_6)),
    single(&["iso-latin-1", "iso-8859-1", "latin-1"], Base::Latin1),
    single(&["iso-latin-10", "iso-8859-16", "latin-10"], Base::Web(web::ISO_8859_16)),
    single(&["iso-latin-2", "iso-8859-2", "latin-2"], Base::Web(web::ISO_8859_2)),
    single(&["iso-latin-3", "iso-8859-3", "latin-3"], Base::Web(web::ISO_8859_3)),
    single(&["iso-latin-4", "iso-8859-4", "latin-4"], Base::Web(web::ISO_8859_4)),
    patched(&["iso-latin-5", "iso-8859-9", "latin-5"], Base::Latin1, &[(0xD0, 'Ğ'), (0xDD, 'İ'), (0xDE, 'Ş'), (0xF0, 'ğ'), (0xFD, 'ı'), (0xFE, 'ş')]),
    single(&["iso-latin-6", "iso-8859-10", "latin-6"], Base::Web(web::ISO_8859_10)),
    single(&["iso-latin-7", "iso-8859-13", "latin-7"], Base::Web(web::ISO_8859_13)),
    single(&["iso-latin-8", "iso-8859-14", "latin-8"], Base::Web(web::ISO_8859_14)),
    single(&["iso-latin-9", "iso-8859-15", "latin-9", "latin-0"], Base::Web(web::ISO_8859_15)),
    multi(&["japanese-cp932", "cp932"], MultiByte::Bytes { set: &charset::CP932, katakana: true, structure: false }),
    entry(&["japanese-iso-7bit-1978-irv", "iso-2022-jp-1978-irv", "old-jis"], Codec::Iso2022(OLD_JIS)),
    multi(&["japanese-iso-8bit", "euc-japan-1990", "euc-japan", "euc-jp"], MultiByte::Euc { main: &charset::JISX0208, katakana: true, third: Some(&charset::JISX0212) }),
    multi(&["japanese-shift-jis", "shift_jis", "sjis"], MultiByte::ShiftJis { main: &charset::JISX0208, second: None }),
    multi(&["japanese-shift-jis-2004", "shift_jis-2004"], MultiByte::ShiftJis { main: &charset::JISX0213_1, second: Some(&charset::JISX0213_2) }),
    single(&["koi8-t"], Base::High(tables::KOI8_T)),
    patched(&["koi8-u"], Base::Web(web::KOI8_U), &[(0xAE, '╝'), (0xBE, '╬')]),
    multi(&["korean-cp949", "cp949"], MultiByte::Bytes { set: &charset::CP949, katakana: false, structure: false }),
    multi(&["korean-iso-8bit", "euc-kr", "euc-korea", "ks_c_5601-1987"], MultiByte::Euc { main: &charset::KSC5601, katakana: false, third: None }),
    single(&["lao"], Base::Lao),
    patched(&["mac-roman", "macintosh"], Base::Web(web::MACINTOSH), &[(0xC6, 'Δ'), (0xF0, '\u{E01E}')]),
    single(&["mik"], Base::High(tables::MIK)),
    single(&["next"], Base::High(tables::NEXT)),
    entry(&["no-conversion", "binary"], Codec::Binary),
    entry(&["no-conversion-multibyte"], Codec::Binary),
    entry(&["prefer-utf-8"], Codec::Undecided),
    single(&["pt154"], Base::High(tables::PT154)),
    entry(&["raw-text"], Codec::RawText),
    single(&["thai-tis620", "th-tis620", "tis620", "tis-620"], Base::High(tables::THAI_TIS620)),
    refused(&["tibetan-iso-8bit", "tibetan"], INTERNAL),
    entry(&["undecided"], Codec::Undecided),
    single(&["us-ascii", "iso-safe", "ascii"], Base::Ascii),
    entry(&["utf-16"], Codec::Utf16(Endian::Big, Signature::Auto)),
    entry(&["utf-16be"], Codec::Utf16(Endian::Big, Signature::None)),
    entry(&["utf-16be-with-signature", "utf-16-be"], Codec::Utf16(Endian::Big, Signature::Mark)),
    entry(&["utf-16le"], Codec::Utf16(Endian::Little, Signature::None)),
    entry(&["utf-16le-with-signature", "utf-16-le"], Codec::Utf16(Endian::Little, Signature::Mark)),
    entry(&["utf-7"], Codec::Utf7(Variant::Mail)),
    entry(&["utf-7-imap"], Codec::Utf7(Variant::Imap)),
    entry(&["utf-8", "mule-utf-8", "cp65001"], Codec::Utf8(Signature::None)),
    entry(&["utf-8-auto"], Codec::Utf8(Signature::Auto)),
    entry(&["utf-8-emacs"], Codec::Utf8(Signature::None)),
    entry(&["utf-8-with-signature"], Codec::Utf8(Signature::Mark)),
    patched(&["vietnamese-tcvn", "tcvn", "tcvn-5712"], Base::High(tables::VIETNAMESE_TCVN), &[(0x1, 'Ú'), (0x2, 'Ụ'), (0x4, 'Ừ'), (0x5, 'Ử'), (0x6, 'Ữ'), (0x11, 'Ứ'), (0x12, 'Ự'), (0x13, 'Ỳ'), (0x14, 'Ỷ'), (0x15, 'Ỹ'), (0x16, 'Ý'), (0x17, 'Ỵ')]),
    refused(&["vietnamese-viqr", "viqr"], "VIQR is not converted"),
    patched(&["vietnamese-viscii", "viscii"], Base::High(tables::VIETNAMESE_VISCII), &[(0x2, 'Ẳ'), (0x5, 'Ẵ'), (0x6, 'Ẫ'), (0x14, 'Ỷ'), (0x19, 'Ỹ'), (0x1E, 'Ỵ')]),
    patched(&["vietnamese-vscii", "vscii"], Base::High(tables::VIETNAMESE_VSCII), &[(0x1, 'Ú'), (0x2, 'Ụ'), (0x4, 'Ừ'), (0x5, 'Ử'), (0x6, 'Ữ'), (0x11, 'Ứ'), (0x12, 'Ự'), (0x13, 'Ỳ'), (0x14, 'Ỷ'), (0x15, 'Ỹ'), (0x16, 'Ý'), (0x17, 'Ỵ')]),
    single(&["windows-1250", "cp1250"], Base::Windows(web::WINDOWS_1250)),
    single(&["windows-1251", "cp1251"], Base::Windows(web::WINDOWS_1251)),
    single(&["windows-1252", "cp1252"], Base::Windows(web::WINDOWS_1252)),
    single(&["windows-1253", "cp1253"], Base::Windows(web::WINDOWS_1253)),
    single(&["windows-1254", "cp1254"], Base::Windows(web::WINDOWS_1254)),
    patched(&["windows-1255", "cp1255"], Base::Windows(web::WINDOWS_1255), &[(0xCA, ' ')]),
    single(&["windows-1256", "cp1256"], Base::Windows(web::WINDOWS_1256)),
    single(&["windows-1257", "cp1257"], Base::Windows(web::WINDOWS_1257)),
    single(&["windows-1258", "cp1258"], Base::Windows(web::WINDOWS_1258)),
];
