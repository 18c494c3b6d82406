//! Random streams that Emacs 28.2 decoded whole, and streams it was sent in two reads.
//!
//! `tests/golden/coding/cuts.el` says how the files are made. Every stream is fed here cut at every
//! place and byte by byte. Where we answer otherwise than Emacs it is marked DIFFERENCE.

use super::{golden::*, *};

/// What a stream comes to: the text before its end, the text with what the end delivers, the system.
type Outcome = (Text, Text, CodingSystem, bool);

fn outcome<'a>(system: CodingSystem, reads: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(system);
    let mut text = Text::new();
    reads.into_iter().for_each(|read| decoder.decode(read, &mut text));
    let (before, found, pending) = (text.clone(), decoder.system(), decoder.has_pending());
    decoder.finish(&mut text);
    (before, text, found, pending)
}

/// What `cuts.el` writes where Emacs signals an error instead of decoding.
const ERROR: &str = "error";

/// Systems that Emacs converts in Lisp. DIFFERENCE: it reads every chunk alone, so that a cut loses
/// the shift; see `utf7` and `hz`.
const IN_LISP: [&str; 3] = ["utf-7", "utf-7-imap", "chinese-hz"];

/// DIFFERENCE: streams that we read otherwise.
#[rustfmt::skip]
const DIFFERENT: &Different = &[
    // The standard's four-byte codes, which Emacs counts wrongly; see `multi_byte`.
    (&["chinese-gb18030-unix"], "2d3f8332dc320d81308b384b8132dc358130f937710d", r"-?\u{C51B}\r\u{100}K\u{E89}\u{5D5}q\r"),
    (&["chinese-gb18030-dos"], "9532a8390a0d0a0d813183358334cc364c", r"\u{2017F}\n\n\r\u{623}\u{CE57}L"),
    (&["chinese-gb18030-mac"], "8132dc378130cb3584319932a9c80da9d18132d1378132de314e3f0d833497368132cf33", r"\u{E8B}\u{3AD}\u{FF84}\u{2524}\n\u{252D}\u{E1D}\u{E99}N?\n\u{CC45}\u{E05}"),
    (&["chinese-gb18030-dos"], "0a813088379439fd363181339a390d8238b5380d39a1b1", r"\n\u{D3}\u{1F60A}1\u{10E5}\r\u{AFEB}\r9\u{201D}"),
    (&["chinese-gb18030-mac"], "0d84319a31258238cd398331bf39813186318132dc37608136a730", r"\n\u{FF8D}%\u{B0DC}\u{BF14}\u{63D}\u{E8B}`\u{202D}"),
    // Codes that the edition of 1978 has not: Emacs writes those of 1990 under the name of the older one,
    // and so reads them there.
    (&["japanese-iso-7bit-1978-irv-dos"], "0d1b2440277021491b2428442a2b1b284a351b244061311b284a0d1b2428442b241b2440283a1b284a", r"\r\u{44E}\u{201D}\u{106}5\u{7515}\r\u{E2}(:"),
    (&["japanese-iso-7bit-1978-irv-mac"], "1b2440576b283f27331b284a295f1b244025231b284a", r"\u{605A}(?\u{421})_\u{30A3}"),
    (&["japanese-iso-7bit-1978-irv-unix"], "0a1b244021441b284a7c1b2440384122781b284a4e1b244026261b284a0a1b2440262e1b284a", r#"\n\u{2026}|\u{8AFA}"xN\u{396}\n\u{39E}"#),
    (&["japanese-iso-7bit-1978-irv-dos"], "1b244022781b284a3b0d381b244022781b24284453571b284a", r#""x;\r8"x\u{7D26}"#),
    (&["japanese-iso-7bit-1978-irv-mac"], "1b242844274c27721b2440265621491b284a211b2440275e2758283f21421b284a441b2440213c1b284a", r"\u{40C}\u{452}\u{3C7}\u{201D}!\u{43C}\u{436}(?\u{2016}D\u{30FC}"),
    (&["japanese-iso-7bit-1978-irv-dos"], "0d1b24402637253028211b284a0a0a1b24284426651b244026261b284a2f", r"\r\u{3A8}\u{30B0}(!\n\n\u{3AA}\u{396}/"),
    // Halves of units and of pairs, raw here; and what Emacs makes of a mark, or of a CR at the end, where
    // the number of bytes is odd or nothing follows.
    (&["utf-16-unix"], "feff1b244093d6d0ae799a93fed4dd", r"\u{1B24}\u{4093}\u{D6D0}\u{AE79}\u{9A93}\u{FED4}\xDD"),
    (&["utf-16be-unix"], "0a6eee29c90ad3c8a22b414f6b2da70d1b2440", r"\u{A6E}\u{EE29}\u{C90A}\u{D3C8}\u{A22B}\u{414F}\u{6B2D}\u{A70D}\u{1B24}\x40"),
    (&["utf-16be-dos"], "df96d6d093d6d04e82a01b2e41d78852", r"\xDF\x96\u{D6D0}\u{93D6}\u{D04E}\u{82A0}\u{1B2E}\u{41D7}\u{8852}"),
    (&["utf-16be-mac"], "6414de9c1b284a67d6d09b1b284a1b4e61fa1b284ae905a6", r"\u{6414}\xDE\x9C\u{1B28}\u{4A67}\u{D6D0}\u{9B1B}\u{284A}\u{1B4E}\u{61FA}\u{1B28}\u{4AE9}\u{5A6}"),
    (&["utf-16be-mac"], "a0ccfb81308130e3f745da9c9443efbbbfa6", r"\u{A0CC}\u{FB81}\u{3081}\u{30E3}\u{F745}\xDA\x9C\u{9443}\u{EFBB}\u{BFA6}"),
    (&["utf-16be-with-signature-unix"], "feffbd467a0aaf8fb0a133721b2e410d908130", r"\u{BD46}\u{7A0A}\u{AF8F}\u{B0A1}\u{3372}\u{1B2E}\u{410D}\u{9081}\x30"),
    (&["utf-16be-with-signature-unix"], "db0c1b7e7dd2f09f98805f2b2db084b90d", r"\xDB\x0C\u{1B7E}\u{7DD2}\u{F09F}\u{9880}\u{5F2B}\u{2DB0}\u{84B9}\x0D"),
    (&["utf-16le-with-signature-dos"], "fffe0d000a00ad1e40d8e2dd830e0d00", r"\n\u{1EAD}\u{201E2}\u{E83}\r"),
    // A byte that means nothing behind a CR, which Emacs loses where line ends are CRLF.
    (&["chinese-gbk-dos"], "75fffe0dcb", r"u\xFF\xFE\r\xCB"),
    (&["iso-2022-jp-2004-dos"], "0dd8d6d0cb", r"\r\xD8\xD6\xD0\xCB"),
    (&["iso-2022-jp-2004-dos"], "feffc73dd800de4c541b510da726414f6b2d0a7e39efbbbfbc10", r"\xFE\xFF\xC7=\xD8\u{0}\xDELT\u{1B}Q\r\xA7&AOk-\n~9\xEF\xBB\xBF\xBC\u{10}"),
    (&["iso-2022-jp-2004-dos"], "e282ac0dac7e7bf2f9", r"\xE2\x82\xAC\r\xAC~{\xF2\xF9"),
    (&["utf-8-auto-dos"], "efbbbfce8b0d0a81308130d83dde00fe1b2e41c30d8fb0a166", r"\u{38B}\n\x810\x810\xD8=\xDE\u{0}\xFE\u{1B}.A\xC3\r\x8F\xB0\xA1f"),
];

#[test]
fn random_streams_decode_as_in_emacs() {
    let answered = rows(golden!("random.tsv")).filter(|row| row[2] != ERROR);
    let cases = answered.map(|row| {
        let text = written(&outcome(row[0].parse().unwrap(), [&hex(row[1])[..]]).1);
        let expected = expected(DIFFERENT, row[0], row[1], row[2].to_owned());
        (format!("{} {}", row[0], row[1]), text, expected)
    });
    assert_eq!(differing(cases), [""; 0]);
}

#[test]
fn random_streams_mean_the_same_wherever_they_are_cut() {
    for row in rows(golden!("random.tsv")) {
        let (system, bytes) = (row[0].parse().unwrap(), hex(row[1]));
        let whole = outcome(system, [&bytes[..]]);
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(outcome(system, [first, second]), whole, "{} {} at {cut}", row[0], row[1]);
        }
        assert_eq!(outcome(system, bytes.chunks(1)), whole, "{} {} byte by byte", row[0], row[1]);
    }
}

/// DIFFERENCE: cuts after which something else has come so far. Emacs keeps bytes at the end of a read
/// that no further byte can make sense of; here they come at once. The other way round it gives up
/// lead bytes of Big5-HKSCS that it has no character for, before the second byte is there.
#[rustfmt::skip]
const DIFFERENT_CUTS: &Different = &[
    (&["utf-8-unix"], "41e28241f09f98ff 80c3", r"A\xE2\x82A\xF0\x9F\x98\xFF|\x80|\xC3"),
    (&["utf-8-unix"], "41e28241f09f98ff80 c3", r"A\xE2\x82A\xF0\x9F\x98\xFF\x80||\xC3"),
    (&["chinese-big5-hkscs-unix"], "88 628856a440", r"|\x88b\x88V\u{4E00}|"),
    (&["chinese-big5-hkscs-unix"], "886288 56a440", r"\x88b|\x88V\u{4E00}|"),
];

#[test]
fn streams_cut_in_two_come_as_in_emacs() {
    let mut pieces = Vec::new();
    for row in rows(golden!("cuts.tsv")) {
        let system: CodingSystem = row[0].parse().unwrap();
        let mut decoder = Decoder::new(system);
        let (mut texts, mut text) = (Vec::new(), Text::new());
        for read in row[1].split(' ') {
            decoder.decode(&hex(read), &mut text);
            texts.push(written(&text));
            text.clear();
        }
        decoder.finish(&mut text);
        texts.push(written(&text));
        // Whatever comes when: together it is what Emacs reads in one piece.
        assert_eq!(texts.concat(), row[5], "{} {}", row[0], row[1]);
        if !IN_LISP.contains(&system.base()) {
            let emacs = expected(DIFFERENT_CUTS, row[0], row[1], row[2..5].join("|"));
            pieces.push((format!("{} {}", row[0], row[1]), texts.join("|"), emacs));
        }
    }
    assert_eq!(differing(pieces.into_iter()), [""; 0]);
}

#[test]
fn every_system_has_random_streams() {
    let mut asked: Vec<String> = rows(golden!("random.tsv")).map(|row| row[0].to_owned()).collect();
    asked.dedup();
    let guessing = ["prefer-utf-8", "undecided"];
    for name in bases().into_iter().filter(|name| !guessing.contains(name)) {
        for end in ["-unix", "-dos", "-mac"] {
            let full = format!("{name}{end}");
            let full = if full.parse::<CodingSystem>().is_ok() { full } else { name.to_owned() };
            assert!(asked.contains(&full), "{full}: add it to cuts.el");
        }
    }
}
