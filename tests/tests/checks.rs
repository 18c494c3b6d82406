//! The checks of `netproc_tests::check` on drawn inputs. `tests/fuzz` hunts for more: see its
//! manifest for how.

use netproc_tests::check;
use proptest::prelude::*;

/// Bytes that mean something somewhere: line ends, escapes, shifts, marks, lead bytes.
const PIECES: [&[u8]; 28] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\x1B$B",
    b"\x1B(B",
    b"\x1B(J",
    b"\x1B$@",
    b"\x1B$(D",
    b"\x1B.A",
    b"\x1BN",
    b"\x1B",
    b"~{",
    b"~}",
    b"~",
    b"+",
    b"&",
    b"+2D3eAA-",
    b"-",
    b"\xEF\xBB\xBF",
    b"\xFF\xFE",
    b"\xFE\xFF",
    b"\x81\x30",
    b"\x81\x30\x81\x30",
    b"\xE2\x82\xAC",
    b"\xF0\x9F\x98\x80",
    b"\x8F\xB0\xA1",
    b"\xD8\x3D\xDE\x00",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        2 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => (0x21..=0x7Eu8).prop_map(|byte| vec![byte]),
        1 => (0x81..=0xFEu8).prop_map(|byte| vec![byte]),
        2 => prop::sample::select(&PIECES[..]).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Text near what the parsers take: tokens of it in any order, and anything else.
fn near_text() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "[",
        "]",
        "(",
        ")",
        "\"",
        " . ",
        " ",
        "\\x",
        "\\\\",
        "\\\"",
        "00",
        "ff",
        "0",
        "127",
        "255",
        "256",
        "65535",
        "65536",
        "-1",
        "99",
        "/run/x",
        "utf-8",
        "latin-1",
        "binary",
        "nil",
        "-unix",
        "-dos",
        "-mac",
        "raw-text",
        "sjis",
        "undecided",
        "\0",
        "é",
    ]);
    let tokens = prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat());
    prop_oneof![3 => tokens, 1 => "\\PC{0,60}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_means_the_same_wherever_it_is_cut(
        index in any::<usize>(), end in 0..4usize, bytes in stream(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        check::coding(check::system(index, end), &bytes, &cuts);
    }

    #[test]
    fn what_is_parsed_prints_as_what_parses(text in near_text()) {
        check::text(&text);
    }

    #[test]
    fn every_address_prints_as_what_parses(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
        check::address(&bytes);
    }
}

#[test]
fn streams_that_were_once_hard_mean_the_same_wherever_they_are_cut() {
    for end in 0..4 {
        for index in 0..100 {
            let system = check::system(index, end);
            for bytes in PIECES {
                for cut in 0..=bytes.len() {
                    check::coding(system, bytes, &[cut]);
                    check::coding(system, &bytes.repeat(3), &[cut, 2 * cut]);
                }
            }
        }
    }
}
