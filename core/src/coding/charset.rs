//! The two-byte character sets of East Asia: which code is which character, both ways.
//!
//! Invariant: a set is built once, at its first use, from the tables of encoding_rs, less what Emacs
//! does not have, with what Emacs has otherwise; the golden files hold it to that. How codes appear
//! in a stream is left to `multi_byte`, `iso2022` and `hz`.

use std::{ops::RangeInclusive, sync::LazyLock};

use encoding_rs::{BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

use super::tables;

/// Characters of two-byte codes.
#[derive(Debug)]
pub(super) struct Charset {
    /// The character of every code, 256 a row from row `ROW_MIN` on; 0 where there is none.
    chars: Vec<u32>,
    codes: Codes,
}

/// The first row of any of these sets.
const ROW_MIN: usize = 0x21;

impl Charset {
    /// The character with this code.
    pub(super) fn char(&self, code: u16) -> Option<char> {
        let found = *self.chars.get(usize::from(code).checked_sub(ROW_MIN << 8)?)?;
        if found == 0 { None } else { char::from_u32(found) }
    }

    /// The code of this character; of several, the one Emacs writes.
    pub(super) fn code(&self, character: char) -> Option<u16> {
        self.codes.find(character)
    }
}

/// Codes by character, in pages of 256.
#[derive(Debug, Default)]
pub(super) struct Codes {
    /// Which page has the characters of a block; 0 is the page without codes.
    index: Vec<u16>,
    pages: Vec<[u16; 256]>,
}

impl Codes {
    pub(super) fn find(&self, character: char) -> Option<u16> {
        let number = character as usize;
        let page = *self.index.get(number >> 8)?;
        let code = self.pages.get(usize::from(page))?[number & 0xFF];
        (code != 0).then_some(code)
    }

    /// Sets the code of a character, replacing another one only if told to.
    pub(super) fn set(&mut self, character: char, code: u16, replace: bool) {
        let number = character as usize;
        if self.pages.is_empty() {
            self.pages.push([0; 256]);
        }
        if self.index.len() <= number >> 8 {
            self.index.resize((number >> 8) + 1, 0);
        }
        let page = &mut self.index[number >> 8];
        if *page == 0 {
            *page = u16::try_from(self.pages.len()).expect("Unicode has fewer pages");
            self.pages.push([0; 256]);
        }
        let slot = &mut self.pages[usize::from(*page)][number & 0xFF];
        if *slot == 0 || replace {
            *slot = code;
        }
    }
}

/// A set in the making: the characters, by code.
struct Builder {
    chars: Vec<u32>,
}

impl Builder {
    fn new() -> Self {
        Self { chars: vec![0; (0x100 - ROW_MIN) << 8] }
    }

    fn put(&mut self, code: u16, character: Option<char>) {
        self.chars[usize::from(code) - (ROW_MIN << 8)] = character.map_or(0, u32::from);
    }

    /// Takes over what `encoding` has for `prefix`, a lead and a trail byte; the code is the two
    /// less `offset` each.
    fn web(
        mut self,
        encoding: &'static Encoding,
        prefix: &[u8],
        leads: RangeInclusive<u8>,
        trails: RangeInclusive<u8>,
        offset: u8,
    ) -> Self {
        for lead in leads {
            for trail in trails.clone() {
                let bytes = [prefix, &[lead, trail]].concat();
                let character = decode_one(encoding, &bytes);
                self.put(u16::from_be_bytes([lead - offset, trail - offset]), character);
            }
        }
        self
    }

    /// Takes codes out again.
    fn without(mut self, ranges: &[(u16, u16)]) -> Self {
        for &(first, last) in ranges {
            for code in first..=last {
                self.put(code, None);
            }
        }
        self
    }

    /// Takes out the codes of characters for private use.
    fn without_private(mut self) -> Self {
        for character in &mut self.chars {
            if (0xE000..0xF900).contains(character) {
                *character = 0;
            }
        }
        self
    }

    fn with(mut self, patches: &[(u16, char)]) -> Self {
        for &(code, character) in patches {
            self.put(code, Some(character));
        }
        self
    }

    /// Puts consecutive characters from `first` on at those codes from `codes` whose trail byte is
    /// among `trails`.
    fn with_run(mut self, first: char, codes: RangeInclusive<u16>, trails: &[(u8, u8)]) -> Self {
        let allowed = |code: &u16| {
            let [_, trail] = code.to_be_bytes();
            trails.iter().any(|&(low, high)| (low..=high).contains(&trail))
        };
        for (code, character) in codes.filter(allowed).zip(first..) {
            self.put(code, Some(character));
        }
        self
    }

    /// Puts rows of 94 characters; a space is no character.
    fn with_rows(mut self, rows: &[(u8, &str)]) -> Self {
        for &(row, characters) in rows {
            for (trail, character) in (0x21..=0x7E).zip(characters.chars()) {
                if character != ' ' {
                    self.put(u16::from_be_bytes([row, trail]), Some(character));
                }
            }
        }
        self
    }

    /// Makes the set. Of two codes for one character the first is written, but codes that
    /// `prefer` names replace others and those that `avoid` names never count.
    fn build(self, prefer: fn(u16) -> bool, avoid: fn(u16) -> bool) -> Charset {
        let mut codes = Codes::default();
        for (index, &number) in self.chars.iter().enumerate() {
            let code = u16::try_from(index + (ROW_MIN << 8)).expect("codes have two bytes");
            if let Some(character) = char::from_u32(number).filter(|&c| c != '\0' && !avoid(code)) {
                codes.set(character, code, prefer(code));
            }
        }
        Charset { chars: self.chars, codes }
    }

    fn plain(self) -> Charset {
        self.build(|_| false, |_| false)
    }
}

/// The one character that `bytes` are in `encoding`, if they are just one.
fn decode_one(encoding: &'static Encoding, bytes: &[u8]) -> Option<char> {
    let mut utf8 = [0; 16];
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (result, _, len) = decoder.decode_to_utf8_without_replacement(bytes, &mut utf8, true);
    if result != DecoderResult::InputEmpty {
        return None;
    }
    let mut characters = std::str::from_utf8(&utf8[..len]).ok()?.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// Where encoding_rs reads the vendors' variants of JIS X 0208, and Emacs the standard's.
const JIS_STANDARD: &[(u16, char)] = &[
    (0x213D, '\u{2014}'),
    (0x2141, '\u{301C}'),
    (0x2142, '\u{2016}'),
    (0x215D, '\u{2212}'),
    (0x2171, '\u{A2}'),
    (0x2172, '\u{A3}'),
    (0x224C, '\u{AC}'),
];

/// The rows of NEC and IBM, which encoding_rs has in JIS X 0208.
const JIS_VENDORS: &[(u16, u16)] = &[(0x2D21, 0x2D7E), (0x7921, 0x7C7E)];

fn jisx0208() -> Builder {
    Builder::new()
        .web(EUC_JP, &[], 0xA1..=0xFE, 0xA1..=0xFE, 0x80)
        .without(JIS_VENDORS)
        .with(JIS_STANDARD)
}

fn jisx0212() -> Builder {
    Builder::new().web(EUC_JP, &[0x8F], 0xA1..=0xFE, 0xA1..=0xFE, 0x80)
}

/// JIS X 0208:1990.
pub(super) static JISX0208: LazyLock<Charset> = LazyLock::new(|| jisx0208().plain());

/// JIS C 6226:1978, which the one above replaced.
pub(super) static JISX0208_1978: LazyLock<Charset> = LazyLock::new(|| {
    jisx0208()
        .without(&[
            (0x223A, 0x2241),
            (0x224A, 0x2250),
            (0x225C, 0x226A),
            (0x2272, 0x2279),
            (0x227E, 0x227E),
            (0x2821, 0x2840),
            (0x7421, 0x7426),
        ])
        .with(tables::JISX0208_1978)
        .plain()
});

/// JIS X 0212:1990.
pub(super) static JISX0212: LazyLock<Charset> = LazyLock::new(|| jisx0212().plain());

/// JIS X 0213:2004, plane 1.
pub(super) static JISX0213_1: LazyLock<Charset> =
    LazyLock::new(|| Builder::new().with_rows(tables::JISX0213_1).plain());

/// JIS X 0213:2004, plane 2.
pub(super) static JISX0213_2: LazyLock<Charset> =
    LazyLock::new(|| Builder::new().with_rows(tables::JISX0213_2).plain());

/// The trail bytes of a set of 94 characters a row.
const TRAILS_94: &[(u8, u8)] = &[(0x21, 0x7E)];

/// JIS X 0208 with NEC's row 13 and room for private use, as in EUC-JP (ms).
pub(super) static EUCJP_MS_1: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(EUC_JP, &[], 0xA1..=0xFE, 0xA1..=0xFE, 0x80)
        .without(&JIS_VENDORS[1..])
        .with(JIS_STANDARD)
        .with_run('\u{E000}', 0x7521..=0x7E7E, TRAILS_94)
        // Row 13 is written where it can be, but what IBM has too is written as IBM's.
        .build(
            |code| code >> 8 == 0x2D,
            |code| matches!(code, 0x2D35..=0x2D3E | 0x2D62 | 0x2D64 | 0x2D6A),
        )
});

/// JIS X 0212 with IBM's characters and room for private use, as in EUC-JP (ms).
pub(super) static EUCJP_MS_2: LazyLock<Charset> = LazyLock::new(|| {
    jisx0212()
        .with(tables::EUCJP_MS)
        .with_run('\u{E3AC}', 0x7521..=0x7E7E, TRAILS_94)
        .build(|code| code >= 0x7373, |_| false)
});

/// Microsoft's code page 932, without its half-width katakana.
pub(super) static CP932: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(SHIFT_JIS, &[], 0x81..=0x9F, 0x40..=0xFC, 0)
        .web(SHIFT_JIS, &[], 0xE0..=0xFC, 0x40..=0xFC, 0)
        // NEC's selection of IBM's characters is read, but written as IBM's.
        .build(|_| false, |code| matches!(code >> 8, 0xED | 0xEE))
});

/// GB 2312-80.
pub(super) static GB2312: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(GBK, &[], 0xA1..=0xFE, 0xA1..=0xFE, 0x80)
        .without_private()
        .without(&[(0x2221, 0x222A), (0x2263, 0x2263), (0x2659, 0x2675), (0x283B, 0x2840)])
        .with(&[(0x2124, '\u{30FB}'), (0x212A, '\u{2015}')])
        .plain()
});

/// GBK.
pub(super) static CHINESE_GBK: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(GBK, &[], 0x81..=0xFE, 0x40..=0xFE, 0)
        .without_private()
        .without(&[
            (0xA2E3, 0xA2E3),
            (0xA3A0, 0xA3A0),
            (0xA6D9, 0xA6DF),
            (0xA6EC, 0xA6ED),
            (0xA6F3, 0xA6F3),
            (0xA8BC, 0xA8BC),
            (0xA8BF, 0xA8BF),
            (0xA989, 0xA995),
            (0xFE50, 0xFEA0),
        ])
        .plain()
});

/// The two-byte codes of GB 18030.
pub(super) static GB18030_2: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(GB18030, &[], 0x81..=0xFE, 0x40..=0xFE, 0)
        .with(&[
            (0xA3A0, '\u{E5E5}'),
            (0xFE51, '\u{20087}'),
            (0xFE52, '\u{20089}'),
            (0xFE53, '\u{200CC}'),
            (0xFE6C, '\u{215D7}'),
            (0xFE76, '\u{2298F}'),
            (0xFE91, '\u{241FE}'),
        ])
        .plain()
});

/// KS X 1001.
pub(super) static KSC5601: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(EUC_KR, &[], 0xA1..=0xFE, 0xA1..=0xFE, 0x80)
        .with(&[(0x2268, '\u{327E}')])
        .plain()
});

/// Microsoft's code page 949.
pub(super) static CP949: LazyLock<Charset> =
    LazyLock::new(|| Builder::new().web(EUC_KR, &[], 0x81..=0xFE, 0x41..=0xFE, 0).plain());

/// What encoding_rs has in Big5 beyond the rows of Emacs.
const BIG5_EXTENSIONS: &[(u16, u16)] =
    &[(0x8740, 0xA0FE), (0xA2CC, 0xA2CC), (0xA2CE, 0xA2CE), (0xA3C0, 0xA3E0)];

/// Big5 with the characters of ETEN for private use.
pub(super) static CHINESE_BIG5: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(BIG5, &[], 0x81..=0xFE, 0x40..=0xFE, 0)
        .without(BIG5_EXTENSIONS)
        .without(&[(0xF9E9, 0xF9EB), (0xF9F9, 0xF9FD), (0xFA40, 0xFEFE)])
        .with_run('\u{F6B1}', 0xC6A1..=0xC8FE, &[(0x40, 0x7E), (0xA1, 0xFE)])
        .with(&[(0xF9FE, '\u{2593}')])
        .plain()
});

/// Big5 with the supplement of Hong Kong, edition of 1999 as Emacs has it.
pub(super) static BIG5_HKSCS: LazyLock<Charset> = LazyLock::new(|| {
    Builder::new()
        .web(BIG5, &[], 0x81..=0xFE, 0x40..=0xFE, 0)
        .without(BIG5_EXTENSIONS)
        .without(HKSCS_MISSING)
        .with(HKSCS_OTHER)
        .plain()
});

/// Codes of encoding_rs's Big5 that this edition lacks.
#[rustfmt::skip]
const HKSCS_MISSING: &[(u16, u16)] = &[
    (0xA15A, 0xA15A), (0xA1C3, 0xA1C3), (0xA1C5, 0xA1C5), (0xA1FE, 0xA1FE), (0xA240, 0xA240),
    (0xA27E, 0xA27E), (0xA2A1, 0xA2A7), (0xA3E1, 0xA3E1), (0xC6CF, 0xC6CF), (0xC6D3, 0xC6D3),
    (0xC6D5, 0xC6D5), (0xC6D7, 0xC6D7), (0xC6DE, 0xC6DF), (0xFA5F, 0xFA5F), (0xFA66, 0xFA66),
    (0xFABD, 0xFABD), (0xFAC5, 0xFAC5), (0xFAD5, 0xFAD5), (0xFB48, 0xFB48), (0xFBB8, 0xFBB8),
    (0xFBF3, 0xFBF3), (0xFBF9, 0xFBF9), (0xFC4F, 0xFC4F), (0xFC6C, 0xFC6C), (0xFCB9, 0xFCB9),
    (0xFCE2, 0xFCE2), (0xFCF1, 0xFCF1), (0xFDB7, 0xFDB8), (0xFDBB, 0xFDBB), (0xFDF1, 0xFDF1),
    (0xFE52, 0xFE52), (0xFE6F, 0xFE6F), (0xFEAA, 0xFEAA), (0xFEDD, 0xFEDD),
];

/// Codes that this edition reads otherwise than encoding_rs.
const HKSCS_OTHER: &[(u16, char)] = &[
    (0xA145, '\u{2022}'),
    (0xA14E, '\u{FF64}'),
    (0xA1C2, '\u{203E}'),
    (0xA1E3, '\u{223C}'),
    (0xA1F2, '\u{2641}'),
    (0xA1F3, '\u{2609}'),
    (0xA241, '\u{FF0F}'),
    (0xA242, '\u{FF3C}'),
    (0xA244, '\u{A5}'),
    (0xA246, '\u{A2}'),
    (0xA247, '\u{A3}'),
];
