//! Cases by table: names, line ends, marks, encodings, refusals.

use super::*;

#[test]
fn names_print_as_asked() {
    for name in [
        "utf-8",
        "utf-8-unix",
        "latin-1-dos",
        "iso-latin-1-mac",
        "sjis",
        "binary",
        "cp65001-dos",
        "utf-16-le-unix",
        "utf-8-with-signature-dos",
        "no-conversion",
    ] {
        assert_eq!(name.parse::<CodingSystem>().unwrap().to_string(), name);
    }
}

/// What is no name of Emacs's is unknown, and soon found to be.
#[test]
fn hostile_names_are_unknown() {
    let long = "utf-8".repeat(1 << 20);
    let long_end = format!("{long}-unix");
    for name in [
        "",
        "-unix",
        "-with-signature",
        "UTF-8",
        "Utf-8-unix",
        "utf-8-Unix",
        "utf-8\0",
        "\0utf-8",
        "utf\0-8-unix",
        "utf-8 ",
        " utf-8",
        "utf-8-unix-dos",
        "utf-8-unix-unix",
        "latin-1-mac-dos-unix",
        "utf-9",
        "utf-8-with-signature-with-signature",
        "latin-1-with-signature",
        "binary-unix",
        "binary-dos",
        "no-conversion-mac",
        "\u{3042}",
        "t",
        &long,
        &long_end,
    ] {
        let error = name.parse::<CodingSystem>().unwrap_err();
        assert!(matches!(error, CodingError::Unknown(_)), "{name:.20}: {error}");
        assert!(error.to_string().len() < 500, "bounded");
        assert_eq!(name.parse::<Coding>().unwrap_err(), error, "{name:.20}");
        let pair = format!("(utf-8 . {name})").parse::<Coding>();
        // Spaces around a name in a pair are Lisp's; nothing between them is no pair.
        match name.trim() {
            "utf-8" => assert!(pair.is_ok(), "{name:?}"),
            _ if name.len() > 100 => {
                assert!(matches!(pair, Err(CodingError::MalformedPair(_))), "{name:.20}");
            }
            _ => assert!(matches!(pair, Err(CodingError::Unknown(_))), "{name:?}"),
        }
    }
    assert!(matches!("nil".parse::<CodingSystem>(), Err(CodingError::Unknown(_))));
}

#[test]
fn a_long_name_takes_no_longer_than_a_short_one() {
    // Five mebibytes each; a look at all of them, a hundred thousand times, would take minutes.
    let long = "utf-8-unix-".repeat(500_000);
    let pair = format!("({long} . {long})");
    for _ in 0..100_000 {
        assert!(long.parse::<CodingSystem>().is_err());
        assert!(pair.parse::<Coding>().is_err());
    }
}

#[test]
fn systems_not_converted_are_refused_by_name() {
    for name in [
        "ebcdic-us",
        "ibm038",
        "ibm1047",
        "cp1047-dos",
        "iso-2022-kr",
        "iso-2022-7bit",
        "iso-2022-cn-ext",
        "compound-text",
        "ctext-unix",
        "emacs-mule",
        "viqr",
        "euc-tw",
        "tibetan",
        "devanagari",
    ] {
        match name.parse::<CodingSystem>() {
            Err(CodingError::Refused { name: base, why }) => {
                assert!(!base.is_empty() && !why.is_empty());
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn pairs_are_parsed() {
    for (text, printed) in [
        ("utf-8-dos", "(utf-8-dos . utf-8-dos)"),
        ("(utf-8 . raw-text)", "(utf-8 . raw-text)"),
        ("(utf-8 . nil)", "(utf-8 . nil)"),
        ("(nil . nil)", "(nil . nil)"),
        ("( utf-8  .  latin-1 )", "(utf-8 . latin-1)"),
        ("(nil)", "(nil . nil)"),
        ("(utf-8-dos)", "(utf-8-dos . nil)"),
        ("( sjis )", "(sjis . nil)"),
        ("(nil . latin-1-dos)", "(nil . latin-1-dos)"),
        ("(cp65001 . iso-8859-1-mac)", "(cp65001 . iso-8859-1-mac)"),
        // Emacs's nil is "not given", so the default stands.
        ("nil", "(utf-8-unix . utf-8-unix)"),
    ] {
        assert_eq!(text.parse::<Coding>().unwrap().to_string(), printed, "{text}");
    }
    for text in
        ["(", "(utf-8", "(utf-8 utf-8)", "()", "( )", "(utf-8 .)", "(. utf-8)", "(utf-8 .latin-1)"]
    {
        assert!(matches!(text.parse::<Coding>(), Err(CodingError::MalformedPair(_))), "{text}");
    }
    for text in ["(utf-8.latin-1)", "(nil . nil . nil)", "(NIL)", "((utf-8) . utf-8)", "( . utf-8)"]
    {
        assert!(matches!(text.parse::<Coding>(), Err(CodingError::Unknown(_))), "{text}");
    }
    // One that is unknown, also inside a pair, is named.
    let error = "(utf-8 . no-such-coding)".parse::<Coding>().unwrap_err();
    assert_eq!(error, CodingError::Unknown("no-such-coding".into()));
}

#[test]
fn a_system_for_sending_has_a_line_end() {
    // As in `set-coding-system` of tests/golden/emacs; the base name is Emacs's first.
    for (name, sending) in [
        ("utf-8", "utf-8-unix"),
        ("latin-1", "iso-latin-1-unix"),
        ("latin-1-dos", "latin-1-dos"),
        ("utf-16-le", "utf-16le-with-signature-unix"),
        ("binary", "binary"),
        ("raw-text", "raw-text-unix"),
    ] {
        let system: CodingSystem = name.parse().unwrap();
        assert_eq!(system.for_encoding().to_string(), sending, "{name}");
    }
}

#[test]
fn a_line_end_replaces_the_one_in_the_name() {
    for (name, line_end, expected) in [
        ("sjis", LineEnd::Unix, "sjis-unix"),
        ("utf-8-mac", LineEnd::Dos, "utf-8-dos"),
        ("raw-text-dos", LineEnd::Mac, "raw-text-mac"),
        ("binary", LineEnd::Dos, "raw-text-dos"),
        ("no-conversion-multibyte", LineEnd::Unix, "raw-text-unix"),
    ] {
        let system: CodingSystem = name.parse().unwrap();
        let system = system.with_line_end(line_end);
        assert_eq!(system.to_string(), expected, "{name}");
        assert_eq!(system.to_string().parse(), Ok(system));
    }
}

#[test]
fn raw_text_sibling_keeps_the_line_end() {
    for (name, sibling) in
        [("utf-8-dos", "raw-text-dos"), ("sjis", "raw-text"), ("binary", "binary")]
    {
        assert_eq!(name.parse::<CodingSystem>().unwrap().raw_text().to_string(), sibling);
    }
}

#[test]
fn line_ends_wait_for_their_second_half() {
    for (name, reads, text, after) in [
        (
            "utf-8-dos",
            &["a\r", "\nb\r", "\r", "\n\r", "c\r"][..],
            r#""a\nb\r\n\rc\r""#,
            "utf-8-dos",
        ),
        ("utf-8-mac", &["a\r", "\nb"], r#""a\n\nb""#, "utf-8-mac"),
        // DIFFERENCE: Emacs decides for -mac here.
        ("latin-1", &["a\r", "\nb\r\n"], r#""a\nb\n""#, "iso-latin-1-dos"),
        ("utf-8", &["a\r", "b\r"], r#""a\nb\n""#, "utf-8-mac"),
        ("utf-8", &["a\r", "b\n"], r#""a\rb\n""#, "utf-8-unix"),
        ("utf-8", &["a\r"], r#""a\r""#, "utf-8"),
        ("utf-8", &["a\r", "\r", "\n"], r#""a\n\n\n""#, "utf-8-mac"),
        ("binary", &["a\r\n", "b\n"], r#""a\r\nb\n""#, "binary"),
    ] {
        let mut decoder = Decoder::new(name.parse().unwrap());
        let mut out = Text::new();
        reads.iter().for_each(|read| decoder.decode(read.as_bytes(), &mut out));
        decoder.finish(&mut out);
        assert_eq!(
            (format!("{out:?}").as_str(), decoder.system().to_string().as_str()),
            (text, after),
            "{name} {reads:?}"
        );
    }
}

#[test]
fn undecided_streams_are_guessed() {
    for (reads, text, after) in [
        (&[&b"abc"[..], b"caf\xC3", b"\xA9"][..], r#""abccaf\u{E9}""#, "utf-8"),
        (&[b"caf\xE9 au lait"], r#""caf\u{E9} au lait""#, "iso-latin-1"),
        (&[b"caf\xE9", b" au lait"], r#""caf\u{E9} au lait""#, "iso-latin-1"),
        (&[b"\x80\xFF"], r#""\x80\xFF""#, "raw-text"),
        (&[b"\xFE", b"\xFF\0x"], r#""x""#, "utf-16be-with-signature"),
        (&[b"\xFF\xFEx\0", b"\xE9\0"], r#""x\u{E9}""#, "utf-16le-with-signature"),
        (&[b"x\xFE\xFF"], r#""x\u{FE}\u{FF}""#, "iso-latin-1"),
        (&[b"x", b"\xFE", b"\xFF"], r#""x\u{FE}\u{FF}""#, "iso-latin-1"),
        (&[b"\xEF\xBB", b"\xBFx"], r#""\u{FEFF}x""#, "utf-8"),
        (&[b"\xE2\x82\xAC\xFF"], r#""\xE2\x82\xAC\xFF""#, "raw-text"),
    ] {
        let mut decoder = Decoder::new(CodingSystem::undecided());
        let mut out = Text::new();
        reads.iter().for_each(|read| decoder.decode(read, &mut out));
        assert_eq!(
            (format!("{out:?}").as_str(), decoder.system().to_string().as_str()),
            (text, after),
            "{reads:x?}"
        );
    }
}

#[test]
fn sends_are_encoded_as_in_the_transcripts() {
    // `coding-send-encodings` and `coding-latin1-crlf` of tests/golden/emacs.
    for (name, text, bytes) in [
        ("utf-8-unix", "é€\n", "c3a9e282ac0a"),
        ("latin-1-dos", "é\n", "e90d0a"),
        ("latin-1-mac", "1\n2\r\n3", "310d320d0d33"),
        ("utf-8-dos", "1\n2\r\n3", "310d0a320d0d0a33"),
        ("euc-jp-unix", "あ", "a4a2"),
        ("sjis-unix", "あ", "82a0"),
        ("gb18030-unix", "中", "d6d0"),
        ("windows-1252-unix", "€", "80"),
        ("koi8-r-unix", "а", "c1"),
        ("binary", "é\n", "c3a90a"),
        ("us-ascii-unix", "é", "3f"),
        ("latin-1-unix", "あ", "20"),
        ("utf-16-dos", "é\n", "feff00e9000d000a"),
        ("utf-16le-with-signature-unix", "a", "fffe6100"),
        ("utf-8-with-signature", "é", "efbbbfc3a9"),
        ("iso-2022-jp", "あ い\n", "1b242242 1b2842"),
        ("utf-7", "+é&", "2b2d2b414f6b2d26"),
        ("utf-7-imap", "&é+", "262d26414f6b2d2b"),
        ("hz", "a~中\n", "617e7e7e7b56507e7d0a"),
        ("gb18030", "\u{FE10}\u{1E40}", "a6d98135f438"),
    ] {
        let bytes = match name {
            "iso-2022-jp" => hex("1b244224221b2842201b244224241b28420a"),
            _ => hex(bytes),
        };
        assert_eq!(encode(name.parse().unwrap(), text).0, bytes, "{name} {text}");
    }
}

#[test]
fn four_byte_codes_of_gb18030_follow_the_standard() {
    // DIFFERENCE: Emacs 28.2 reads all but the last as the character before it or further off.
    for (bytes, text) in [
        ("8135f438", "\u{1E40}"),
        ("84318239", "\u{FE13}"),
        ("8237ce36", "\u{ABF7}"),
        ("90308130", "\u{10000}"),
    ] {
        assert_eq!(decode(unix("gb18030"), [&hex(bytes)[..]]).to_string_lossy(), text, "{bytes}");
    }
}

#[test]
fn unibyte_strings_have_their_line_ends_converted_and_nothing_else() {
    // `coding-send-encodings` of tests/golden/emacs; the same in every system of Emacs that has line ends.
    for (names, bytes) in [
        (
            "utf-8 utf-8-unix utf-16-unix latin-1-unix raw-text-unix binary no-conversion \
             no-conversion-multibyte undecided",
            "610ae90d0a",
        ),
        (
            "utf-8-dos latin-1-dos utf-16-dos utf-16be-dos iso-2022-jp-dos raw-text-dos \
             undecided-dos us-ascii-dos utf-8-with-signature-dos utf-7-dos chinese-hz-dos",
            "610d0ae90d0d0a",
        ),
        ("utf-8-mac utf-16le-with-signature-mac raw-text-mac sjis-mac", "610de90d0d"),
    ] {
        for name in names.split(' ') {
            let mut out = b"<".to_vec();
            Encoder::new(name.parse().unwrap()).encode_bytes(b"a\n\xE9\r\n", &mut out);
            assert_eq!(out, [b"<", &hex(bytes)[..]].concat(), "{name}");
        }
    }
    for (name, bytes) in
        [("utf-8-unix", "e90a"), ("latin-1-dos", "e90d0a"), ("utf-8-dos", "e90d0a")]
    {
        let mut out = Vec::new();
        Encoder::new(name.parse().unwrap()).encode_bytes(b"\xE9\n", &mut out);
        assert_eq!(out, hex(bytes), "{name}");
    }
}

#[test]
fn unibyte_and_multibyte_strings_may_take_turns() {
    for (name, bytes) in [
        ("utf-8-dos", "e90d0ac3a90d0ae90d0ac3a90d0a"),
        ("binary", "e90ac3a90ae90ac3a90a"),
        // DIFFERENCE: Emacs repeats the mark before the second text; see `Encoder::encode`.
        ("utf-16-dos", "e90d0afeff00e9000d000ae90d0a00e9000d000a"),
    ] {
        let mut encoder = Encoder::new(name.parse().unwrap());
        let mut out = Vec::new();
        for _ in 0..2 {
            encoder.encode_bytes(b"\xE9\n", &mut out);
            encoder.encode_bytes(b"", &mut out);
            encoder.encode("é\n", &mut out);
        }
        assert_eq!(out, hex(bytes), "{name}");
    }
}

#[test]
fn systems_that_deliver_bytes_are_told_from_those_that_deliver_characters() {
    let unibyte: Vec<&str> = bases().into_iter().filter(|name| unix(name).is_unibyte()).collect();
    // What `multibyte-string-p` says in a filter of Emacs 28.2.
    assert_eq!(unibyte, ["no-conversion", "raw-text"]);
    for name in ["binary", "raw-text-dos", "raw-text-mac"] {
        assert!(name.parse::<CodingSystem>().unwrap().is_unibyte(), "{name}");
    }
}

#[test]
fn a_mark_is_written_once() {
    let mut encoder = Encoder::new("utf-16".parse().unwrap());
    let mut bytes = Vec::new();
    for text in ["", "a", "", "b"] {
        encoder.encode(text, &mut bytes);
    }
    assert_eq!(bytes, hex("feff00610062"));
}

#[test]
fn raw_bytes_go_out_as_they_are() {
    let mut text = Text::from("é");
    text.push_raw(0xFF);
    text.push_raw(0xC3);
    text.push('z');
    for (name, bytes) in [
        ("utf-8", "c3a9ffc37a"),
        ("us-ascii", "3fffc37a"),
        ("sjis", "20ffc37a"),
        ("binary", "c3a9ffc37a"),
        ("utf-16be", "00e9ffc3007a"),
    ] {
        assert_eq!(encode(unix(name), &text).0, hex(bytes), "{name}");
    }
}

#[test]
fn strict_encoding_writes_nothing_it_cannot() {
    let mut text = Text::from("añ");
    text.push_raw(0x80);
    text.push_str("b€c");
    let mut encoder = Encoder::new("utf-16-unix".parse().unwrap());
    let mut bytes = b"before".to_vec();
    encoder.try_encode(&text, &mut bytes).unwrap();
    assert_eq!(bytes.len(), 6 + 2 + 5 * 2 + 1);
    let mut encoder = Encoder::new("iso-latin-1-dos".parse().unwrap());
    let mut bytes = b"before".to_vec();
    let error = encoder.try_encode(&text, &mut bytes).unwrap_err();
    assert_eq!((error.character, error.position), ('€', 4));
    assert_eq!(error.to_string(), "iso-latin-1-dos cannot express '€', character 4 of the text");
    assert_eq!(bytes, b"before");
}

#[test]
fn halves_of_utf_16_stay_raw() {
    for (bytes, text) in [
        ("d83d007a", r#""\xD8\x3Dz""#),
        ("dc00007a", r#""\xDC\x00z""#),
        ("007ad8", r#""z\xD8""#),
        ("d83d", r#""\xD8\x3D""#),
        ("d83d00", r#""\xD8\x3D\x00""#),
        ("d83dd83dde00", r#""\xD8\x3D\u{1F600}""#),
    ] {
        let decoded = decode(unix("utf-16be"), [&hex(bytes)[..]]);
        assert_eq!(format!("{decoded:?}"), text, "{bytes}");
        assert_eq!(encode(unix("utf-16be"), &decoded).0, hex(bytes), "{bytes}");
    }
}

#[test]
fn shifted_runs_lose_nothing_of_what_is_wrong_in_them() {
    for (bytes, text) in [
        // Half a pair is one character, and what follows it is judged anew.
        ("+2AAAQQ-x", r#""\u{FFFD}Ax""#),
        ("+2ADYPd4A-", r#""\u{FFFD}\u{1F600}""#),
        ("+2ADYAABh-", r#""\u{FFFD}\u{FFFD}a""#),
        ("+2AAAQQBC-", r#""\u{FFFD}AB""#),
        ("+3AAAYQ-", r#""\u{FFFD}a""#),
        ("+2AA-", r#""\u{FFFD}""#),
        ("+2AA", r#""\u{FFFD}""#),
        ("+2AAB-x", r#""\u{FFFD}\x42x""#),
        ("+2AAB", r#""\u{FFFD}\x42""#),
        // Letters that make no unit are bytes.
        ("+A-", r#""\x41""#),
        ("+AB!", r#""\x41\x42!""#),
        ("a+AO", r#""a\x41\x4F""#),
        ("+AGEA!b", r#""a\x41!b""#),
        ("+AGEAYgA", r#""ab\x41""#),
        ("+", r#""+""#),
        // As in Emacs the bits that fill up a run may be anything.
        ("+AGF-", r#""a""#),
    ] {
        for (name, bytes) in [("utf-7", bytes.to_owned()), ("utf-7-imap", bytes.replace('+', "&"))]
        {
            let whole = format!("{:?}", decode(unix(name), [bytes.as_bytes()]));
            assert_eq!(whole.replace('&', "+"), text, "{name} {bytes}");
            for cut in 1..bytes.len() {
                let (first, second) = bytes.as_bytes().split_at(cut);
                let cut_up = decode(unix(name), [first, second]);
                assert_eq!(format!("{cut_up:?}"), whole, "{name} {bytes} at {cut}");
            }
        }
    }
}

#[test]
fn shifted_runs_may_be_cut() {
    for (name, bytes, text) in [
        ("utf-7", "a+AOk-b+-+2D3eAA-x+MEIx y", "aéb+😀xあ"),
        ("utf-7-imap", "a&AOk-b&-&Zg-&MEI-", "aéb&"),
        ("hz", "a~{VPND~}b~~~\nc", "a中文b~c"),
        ("iso-2022-jp-2", "\x1B.F\x1BNa\x1B$(C0!\x1B(Bx", "α가x"),
    ] {
        let decoded = decode(unix(name), bytes.as_bytes().chunks(1)).to_string_lossy().into_owned();
        assert!(decoded.starts_with(text), "{name}: {decoded:?}");
    }
}

#[test]
fn much_input_takes_linear_time() {
    // Each of these would take minutes if any step looked at all that came before.
    for unit in ["\r", "\r\n", "\x1B", "\x1B$", "+", "~", "a"] {
        let bytes = unit.repeat(1 << 17);
        for name in ["utf-8-dos", "utf-8", "iso-2022-jp-2", "utf-7", "hz", "undecided"] {
            let mut decoder = Decoder::new(name.parse().unwrap());
            let mut text = Text::new();
            bytes.as_bytes().chunks(7).for_each(|read| decoder.decode(read, &mut text));
            decoder.finish(&mut text);
        }
    }
    let bytes = b"\xFF".repeat(1 << 15);
    for name in bases() {
        let text = decode(name.parse().unwrap(), [&bytes[..]]);
        assert!(!text.is_empty(), "{name}");
    }
}
