//! How bytes pass: in pieces of any size, a lot of them, and how each side says that it is done.

use super::*;
use proptest::prelude::*;
fn pair() -> Pair {
    let root = Authority::new("root");
    Pair::established(&root.client("a.example"), &root.server("a.example"))
}

/// Bytes that repeat nowhere near where they were.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn each_side_may_say_that_it_is_done_before_the_other() {
    for client_first in [true, false] {
        let Pair { client, server } = pair();
        let (mut first, mut second) =
            if client_first { (client, server) } else { (server, client) };
        let last = first.seal(b"last words");
        first.layer.finish();
        let goodbye = first.wire();
        assert!(!goodbye.is_empty());
        second.receive(&last);
        assert!(!second.layer.is_peer_finished());
        second.receive(&goodbye);
        assert!(second.layer.is_peer_finished());
        assert_eq!(second.plain, b"last words");

        let answer = second.seal(b"answer");
        first.receive(&answer);
        assert_eq!(first.plain, b"answer", "half closed, it still receives");
        assert!(!first.layer.is_peer_finished());
        second.layer.finish();
        first.receive(&second.wire());
        assert!(first.layer.is_peer_finished());
        assert_eq!((first.failure, second.failure), (None, None));
    }
}

#[test]
fn finishing_twice_says_so_once_and_nothing_follows() {
    let mut pair = pair();
    pair.client.layer.finish();
    assert!(!pair.client.wire().is_empty());
    pair.client.layer.finish();
    assert_eq!(pair.client.seal(b"too late"), [] as [u8; 0]);
}

#[test]
fn a_handshake_given_up_by_its_own_side_is_not_gone_on_with() {
    let root = Authority::new("root");
    let mut pair = Pair::new(&root.client("a.example"), &root.server("a.example"));
    pair.client.layer.finish();
    pair.settle();
    assert!(!pair.server.layer.is_established());
}

#[test]
fn a_stream_cut_off_is_told_from_one_that_ended() {
    let mut pair = pair();
    let mut wire = pair.client.seal(b"all of it");
    pair.client.layer.finish();
    let goodbye = pair.client.wire();
    wire.extend(&goodbye);
    let whole = wire.len();
    let mut heard = 0;
    for (index, byte) in wire.iter().enumerate() {
        pair.server.receive(&[*byte]);
        let is_whole = index + 1 == whole;
        assert_eq!(pair.server.layer.is_peer_finished(), is_whole, "{} of {whole}", index + 1);
        // A record is let through only as a whole.
        heard = heard.max(pair.server.plain.len());
        assert!(heard == 0 || heard == b"all of it".len());
    }
    assert_eq!(pair.server.plain, b"all of it");
}

#[test]
fn what_follows_the_good_bye_is_passed_over() {
    for together in [true, false] {
        let mut pair = pair();
        pair.client.layer.finish();
        let mut wire = pair.client.wire();
        let after = [wire.clone(), b"\x17\x03\x03\x00\x05hello".to_vec(), vec![0; 50_000]];
        if together {
            wire.extend(after.concat());
            pair.server.receive(&wire);
        } else {
            pair.server.receive(&wire);
            after.iter().for_each(|it| pair.server.receive(it));
        }
        assert_eq!((&pair.server.failure, &pair.server.plain[..]), (&None, &[][..]), "{together}");
        assert!(pair.server.layer.is_peer_finished());
    }
}

#[test]
fn nothing_is_left_inside_after_a_receive() {
    let mut pair = pair();
    let text = noise(200_000);
    let wire = pair.client.seal(&text);
    assert_eq!(pair.client.wire(), [] as [u8; 0], "what was given is gone");
    pair.server.receive(&wire);
    assert_eq!(pair.server.plain.len(), text.len(), "many records at once come out at once");
    assert_eq!(pair.server.wire(), [] as [u8; 0]);
}

#[test]
fn four_mebibytes_pass_both_ways_partly_byte_by_byte() {
    const LEN: usize = 4 << 20;
    const SLOW: usize = 1 << 20;
    let text = noise(LEN);
    for version in BOTH {
        let root = Authority::new("root");
        let client = TlsClient::builder("a.example").trust(root.trust());
        let client = client.versions(version, version).build().unwrap();
        let Pair { mut client, mut server } = Pair::established(&client, &root.server("a.example"));
        for by_client in [true, false] {
            let (sender, receiver) =
                if by_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut fed = 0;
            for piece in text.chunks(100_000) {
                let wire = sender.seal(piece);
                let slow = SLOW.saturating_sub(fed).min(wire.len());
                fed += wire.len();
                wire[..slow].iter().for_each(|byte| receiver.receive(&[*byte]));
                wire[slow..].chunks(16_384).for_each(|chunk| receiver.receive(chunk));
            }
            assert_eq!(receiver.failure, None, "{version}");
            assert_eq!(receiver.plain.len(), LEN, "{version}");
            assert!(receiver.plain == text, "{version}: every byte in its place");
            let overhead = fed - LEN;
            assert!(overhead < LEN / 100, "{version}: {overhead} bytes of overhead");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the wire cuts both directions, handshake, data and good-bye come out the same.
    #[test]
    fn the_pieces_in_which_bytes_come_make_no_difference(
        sizes in proptest::collection::vec(1_usize..600, 1..40),
        is_new in any::<bool>(),
    ) {
        let root = Authority::new("root");
        let version = if is_new { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
        let client = TlsClient::builder("a.example").trust(root.trust());
        let client = client.versions(version, version).build().unwrap();
        let mut pair = Pair::new(&client, &root.server("a.example"));
        let mut sizes = sizes.into_iter().cycle();
        let mut feed = |end: &mut End, wire: Vec<u8>| {
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                end.receive(piece);
                rest = after;
            }
            wire.len()
        };
        let mut settle = |pair: &mut Pair| {
            while feed(&mut pair.server, pair.client.wire())
                + feed(&mut pair.client, pair.server.wire()) > 0
            {}
        };
        settle(&mut pair);
        pair.assert_established();
        let text = noise(40_000);
        pair.client.send(&text);
        pair.server.send(&text);
        pair.client.layer.finish();
        pair.server.layer.finish();
        settle(&mut pair);
        for end in [&pair.client, &pair.server] {
            prop_assert_eq!(&end.failure, &None);
            prop_assert!(end.layer.is_peer_finished());
            prop_assert!(end.plain == text);
        }
    }
}
