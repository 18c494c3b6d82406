//! The checks of `netproc_tests::check_dialogue` and `check_tls` on drawn inputs. `tests/fuzz` hunts for
//! more: see its manifest for how.

use netproc_core::dialogue::{Step, StreamKind};
use netproc_tests::{check_dialogue, check_tls};
use proptest::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn a_client_keeps_its_promises_whatever_a_server_does(
        input in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        drop(check_dialogue::client(&input));
    }

    #[test]
    fn a_server_keeps_its_promises_whatever_a_client_says(
        head in any::<[u8; 3]>(), words in prop::collection::vec(word(), 0..12),
    ) {
        check_dialogue::server(&[&head[..], &words.concat()].concat());
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn tls_lets_nothing_through_that_was_not_said(
        input in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        check_tls::session(&input);
    }

    #[test]
    fn tls_makes_nothing_of_garbage(input in prop::collection::vec(any::<u8>(), 0..300)) {
        check_tls::garbage(&input);
    }
}

/// Words that mean something to a server, and bytes that mean nothing.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"EHLO me\r\n",
        b"STARTTLS\r\n",
        b"a STARTTLS\r\n",
        b"a CAPABILITY\r\n",
        b"STLS\n",
        b"CAPA\r\n",
        b"QUIT\r\n",
        b"a LOGOUT\r\n",
        b"NOOP",
        b" ",
        b"\r",
        b"\n",
        b"\r\n",
    ];
    prop_oneof![
        3 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ]
}

#[test]
fn whole_conversations_and_connections_come_about() {
    // The phrases of SMTP, STARTTLS wanted: greeting, offer, answer, handshake, capabilities.
    let phrase = |number: u8| (60..=223).find(|byte| byte % 24 == number).unwrap_or(0);
    let input = [0, 0, 1, phrase(0), phrase(1), phrase(2), 230, phrase(23)];
    let end = check_dialogue::client(&input);
    let Some(Step::Done(outcome)) = end else { panic!("{end:?}") };
    assert_eq!(outcome.kind, StreamKind::Tls);
    for version in [0, 1] {
        // Nobody tampers; both sides say something.
        check_tls::session(&[
            version, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, b'h', b'e', b'l', b'l', b'o',
        ]);
    }
}
