//! What holds for every system and all input: cutting changes nothing, and nothing is lost.

use proptest::prelude::*;

use super::*;

/// Bytes of the kinds that matter: ASCII, line ends, escapes and shifts, lead and trail bytes.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => any::<u8>(),
        3 => prop::sample::select(&b"\r\n\r\n\x1B$(BJ@~{}+-&"[..]),
        2 => 0x81..=0xFEu8,
        2 => 0x30..=0x7Eu8,
    ];
    let escape = prop::sample::select(vec![
        &b"\x1B$B"[..],
        b"\x1B(B",
        b"\x1B(J",
        b"\x1B$@",
        b"\x1B.A",
        b"\x1BN",
        b"\x1B$(D",
        b"~{",
        b"~}",
        b"+",
        b"&",
        b"\xEF\xBB\xBF",
        b"\xFF\xFE",
        b"\x81\x30",
        b"\r\n",
        b"\xE2\x82\xAC",
    ]);
    let piece =
        prop_oneof![4 => byte.prop_map(|byte| vec![byte]), 1 => escape.prop_map(<[u8]>::to_vec)];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// The reads that a stream comes in when it is cut at these places.
fn reads<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Every base name with a line end, less those that guess.
fn decided() -> Vec<CodingSystem> {
    let open = ["undecided", "prefer-utf-8"];
    let names = bases().into_iter().filter(|name| !open.contains(name));
    let with_ends =
        |name: &str| ["-unix", "-dos", "-mac"].map(|end| format!("{name}{end}").parse());
    names.flat_map(|name| with_ends(name).into_iter().chain([Ok(unix(name))])).flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cutting_changes_nothing(bytes in stream(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        for system in decided() {
            let whole = decode(system, [&bytes[..]]);
            prop_assert_eq!(&decode(system, reads(&bytes, &cuts)), &whole, "{} {:?}", system, cuts);
            prop_assert_eq!(&decode(system, bytes.chunks(1)), &whole, "{} byte by byte", system);
        }
    }

    #[test]
    fn bytes_survive_where_a_code_is_unambiguous(bytes in stream()) {
        // Systems where each character has one code and no shift, so that bytes come back exactly.
        for name in ["binary", "raw-text", "utf-8", "utf-8-emacs", "utf-16le", "utf-16be", "iso-latin-1",
            "us-ascii", "korean-iso-8bit", "korean-cp949", "japanese-iso-8bit", "chinese-iso-8bit",
            "windows-1252", "cyrillic-koi8", "chinese-gbk", "japanese-shift-jis"] {
            let text = decode(unix(name), [&bytes[..]]);
            let (again, replaced) = encode(unix(name), &text);
            prop_assert_eq!((&again, replaced), (&bytes, 0), "{}", name);
        }
    }

    #[test]
    fn text_survives_encoding(text in "[ -~\n\u{A0}-\u{17F}\u{391}-\u{44F}\u{3041}-\u{30F6}\u{4E00}-\u{4FFF}\u{AC00}-\u{ADFF}\u{10000}-\u{10FFF}]{0,40}") {
        for system in decided() {
            // These read no characters beyond ASCII; the Lao one not even those.
            if system.is_binary() || ["raw-text", "lao"].contains(&system.base()) {
                continue;
            }
            // Adobe's one table with two characters on a code: what reads it cannot tell them apart.
            if system.base() == "adobe-standard-encoding" && text.contains('\u{AD}') {
                continue;
            }
            let mut bytes = Vec::new();
            // What cannot be expressed is refused whole; what can comes back.
            if Encoder::new(system).try_encode(&text, &mut bytes).is_ok() {
                let again = decode(system, [&bytes[..]]);
                prop_assert_eq!(again.to_string_lossy(), text.as_str(), "{} {:x?}", system, bytes);
            } else {
                prop_assert!(bytes.is_empty());
            }
        }
    }

    #[test]
    fn sends_may_be_cut_anywhere(text in "\\PC{0,20}", cut in any::<usize>()) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (first, second) = text.split_at(places[cut % places.len()]);
        for system in decided() {
            let mut encoder = Encoder::new(system);
            let mut bytes = Vec::new();
            encoder.encode(first, &mut bytes);
            encoder.encode(second, &mut bytes);
            let (whole, _) = encode(system, text.as_str());
            prop_assert_eq!(decode(system, [&bytes[..]]), decode(system, [&whole[..]]), "{}", system);
        }
    }

    #[test]
    fn undecided_streams_lose_nothing(bytes in stream(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let undecided = "undecided-unix".parse().unwrap();
        let mut decoder = Decoder::new(undecided);
        let mut text = Text::new();
        for read in reads(&bytes, &cuts) {
            decoder.decode(read, &mut text);
        }
        let system = decoder.system();
        decoder.finish(&mut text);
        // A mark is no text, and is written before the first only: where nothing follows it, none comes.
        let only_a_mark = text.is_empty() && matches!(&bytes[..], [0xFF, 0xFE] | [0xFE, 0xFF]);
        let expected = if only_a_mark { Vec::new() } else { bytes };
        let (again, replaced) = encode(system, &text);
        prop_assert_eq!((again, replaced), (expected, 0), "{}", system);
    }

    #[test]
    fn text_is_what_was_put_in(elements in prop::collection::vec(
        prop_oneof![any::<char>().prop_map(Char::Unicode), any::<u8>().prop_map(Char::Raw)], 0..30,
    )) {
        let text: Text = elements.iter().copied().collect();
        prop_assert_eq!(text.chars().collect::<Vec<_>>(), elements.clone());
        let raw = elements.iter().filter(|element| matches!(element, Char::Raw(_))).count();
        prop_assert_eq!(text.raw_count(), raw);
        prop_assert_eq!(text.as_str().is_some(), raw == 0);
        prop_assert_eq!(text.to_string_lossy().chars().count(), elements.len());
    }

    #[test]
    fn any_name_is_answered(name in "\\PC{0,80}") {
        if let Err(error) = name.parse::<CodingSystem>() {
            prop_assert!(error.to_string().len() < 1000);
        }
        let _ = format!("({name} . utf-8)").parse::<Coding>();
    }
}
