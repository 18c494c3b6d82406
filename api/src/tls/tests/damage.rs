//! A wire that is cut, flipped, repeated, injected into, or no TLS at all.

use proptest::prelude::*;

use super::*;

/// A client and a server of one version, and the root between them.
fn sides(version: TlsVersion) -> (TlsClient, TlsServer) {
    let root = Authority::new("root");
    let client = TlsClient::builder("a.example").trust(root.trust());
    (client.versions(version, version).build().unwrap(), root.server("a.example"))
}

#[test]
fn a_damaged_record_is_refused_and_nothing_of_it_let_through() {
    for version in BOTH {
        let (client, server) = sides(version);
        let len = Pair::established(&client, &server).client.seal(b"secret").len();
        // What 1.3 writes into the first three bytes of a record says nothing and is not sealed.
        let first = if version == TlsVersion::V1_3 { 3 } else { 0 };
        for index in first..len {
            let mut pair = Pair::established(&client, &server);
            let good = pair.client.seal(b"before");
            let mut wire = pair.client.seal(b"secret");
            wire[index] ^= 1;
            // With a good record in front, in one piece: that one was sent, so it is heard.
            pair.server.receive(&[good, wire].concat());
            assert_eq!(pair.server.plain, b"before", "{version}, byte {index}");
            // A length that grew waits for more; the record after it then tells.
            let more = pair.client.seal(&[0; 600]);
            pair.server.receive(&more);
            assert_eq!(pair.server.plain, b"before", "{version}, byte {index}");
            let failure = pair.server.failure.as_ref();
            let failure = failure.unwrap_or_else(|| panic!("{version}, byte {index} was let pass"));
            let is_in_the_head = index < 5;
            let expected = matches!(failure, HandshakeFailure::DamagedRecord)
                || is_in_the_head && matches!(failure, HandshakeFailure::Protocol(_));
            assert!(expected, "{version}, byte {index}: {failure:?}");
            let alert = pair.server.wire();
            pair.client.receive(&alert);
            let heard = &pair.client.failure;
            assert!(matches!(heard, Some(HandshakeFailure::Alert(_))), "{version}: {heard:?}");
        }
    }
}

#[test]
fn records_repeated_left_out_exchanged_or_injected_are_refused() {
    type Change = fn(Vec<u8>, Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Change, &[u8]); 5] = [
        ("repeated", |a, _| [&a[..], &a].concat(), b"one"),
        ("left out", |_, b| b, b""),
        ("exchanged", |a, b| [b, a].concat(), b""),
        ("in clear", |_, _| b"\x17\x03\x03\x00\x05clear".to_vec(), b""),
        ("clear between", |a, b| [a, b"\x17\x03\x03\x00\x05clear".to_vec(), b].concat(), b"one"),
    ];
    for version in BOTH {
        let (client, server) = sides(version);
        for (case, change, heard) in cases {
            let mut pair = Pair::established(&client, &server);
            let (one, two) = (pair.client.seal(b"one"), pair.client.seal(b"two"));
            pair.server.receive(&change(one, two));
            let expected = Some(HandshakeFailure::DamagedRecord);
            assert_eq!(pair.server.failure, expected, "{version}, {case}");
            assert_eq!(pair.server.plain, heard, "{version}, {case}");
        }
    }
}

#[test]
fn a_handshake_cut_anywhere_is_not_done() {
    for version in BOTH {
        let (client, server) = sides(version);
        // What each side hears in a whole handshake.
        let mut pair = Pair::new(&client, &server);
        let hello = pair.client.wire();
        pair.server.receive(&hello);
        let answer = pair.server.wire();
        for cut in 0..hello.len() {
            let mut end = End::new(&server);
            end.receive(&hello[..cut]);
            assert_eq!(end.failure, None, "{version}, hello cut at {cut}");
            assert_eq!(end.wire(), [] as [u8; 0], "{version}, hello cut at {cut}");
            assert!(!end.layer.is_established() && !end.layer.is_peer_finished());
        }
        for cut in 0..answer.len() {
            pair.client.receive(&answer[cut..=cut]);
            assert_eq!(pair.client.failure, None, "{version}, answer cut at {cut}");
            let is_done = pair.client.layer.is_established();
            // The last bytes of a flight of 1.3 are tickets or nothing, those of 1.2 never end it.
            assert!(!is_done || cut + 1 == answer.len(), "{version}, answer cut at {cut}");
            assert!(!pair.client.layer.is_peer_finished(), "{version}, answer cut at {cut}");
        }
        let last = pair.client.wire();
        for byte in &last[..last.len() - 1] {
            pair.server.receive(&[*byte]);
            assert!(!pair.server.layer.is_established(), "{version}");
        }
        pair.server.receive(&last[last.len() - 1..]);
        assert!(pair.server.layer.is_established(), "{version}");
        pair.settle();
        pair.assert_established();
    }
}

#[test]
fn garbage_is_no_tls_on_either_side() {
    let (client, server) = sides(TlsVersion::V1_3);
    let cases: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"EHLO client\r\n",
        b"220 mail.example ESMTP\r\n",
        b"SSH-2.0-x\r\n",
        &[0; 64],
        &[0xff; 64],
        // A hello in the form of SSL 2.
        &[0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 2, 0, 0x80],
    ];
    for (garbage, layers) in
        cases.iter().flat_map(|it| [(it, &client as &dyn Layers), (it, &server as &dyn Layers)])
    {
        let mut end = End::new(layers);
        end.wire();
        end.receive(garbage);
        let what = String::from_utf8_lossy(garbage);
        assert_eq!(end.failure, Some(HandshakeFailure::NotTls), "{what:?} {layers:?}");
        assert!(end.plain.is_empty(), "{what:?}");
        let said = end.wire();
        assert!(said.len() <= 7, "{what:?}: an alert at most, not {said:?}");
    }
}

#[test]
fn an_alert_of_the_peer_is_named() {
    let (client, _) = sides(TlsVersion::V1_3);
    let cases = [
        (40, "the peer gave up: handshake failure"),
        (48, "the peer gave up: unknown ca"),
        (112, "the peer gave up: unrecognised name"),
        (200, "the peer gave up: alert 200"),
    ];
    for (alert, text) in cases {
        let mut end = End::new(&client);
        end.receive(&[21, 3, 3, 0, 2, 2, alert]);
        assert_eq!(end.failure.map(|it| it.to_string()).as_deref(), Some(text));
    }
}

#[test]
fn a_good_bye_that_nobody_sealed_is_not_believed() {
    let (client, server) = sides(TlsVersion::V1_3);
    for layers in [&client as &dyn Layers, &server] {
        let mut end = End::new(layers);
        end.receive(&[21, 3, 3, 0, 2, 1, 0]);
        assert_eq!(end.failure, None, "{layers:?}");
        assert!(!end.layer.is_peer_finished() && !end.layer.is_established(), "{layers:?}");
    }
}

#[test]
fn a_message_of_a_handshake_longer_than_any_is_refused() {
    let (_, server) = sides(TlsVersion::V1_3);
    let mut end = End::new(&server);
    // A hello of 16 MiB, in full records.
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut fed = 0;
    while end.failure.is_none() && fed < 1 << 20 {
        end.receive(&record);
        fed += record.len();
        record[5..9].fill(0);
    }
    let failure = end.failure.clone();
    assert!(matches!(failure, Some(HandshakeFailure::Protocol(_))), "{failure:?} after {fed}");
    assert!(fed <= 128 * 1024, "{fed} bytes were taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes first, nobody panics, nothing is let through or echoed.
    #[test]
    fn noise_is_survived(mut noise in proptest::collection::vec(any::<u8>(), 0..400), as_record: bool) {
        if as_record && noise.len() > 5 {
            let [high, low] = u16::try_from(noise.len() - 5).unwrap().to_be_bytes();
            noise[..5].copy_from_slice(&[22, 3, 1, high, low]);
        }
        let (client, server) = sides(TlsVersion::V1_3);
        for layers in [&client as &dyn Layers, &server] {
            let mut end = End::new(layers);
            end.wire();
            end.receive(&noise);
            prop_assert!(end.plain.is_empty());
            prop_assert!(!end.layer.is_established());
            prop_assert!(end.wire().len() <= 7);
        }
    }

    /// A bit flipped anywhere in the handshake ends it on one side at least, or was of no matter.
    #[test]
    fn a_flipped_bit_in_a_handshake_is_never_believed(at in 0.0..1.0, bit in 0..8_u8, is_new: bool) {
        let version = if is_new { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
        let (client, server) = sides(version);
        let mut pair = Pair::new(&client, &server);
        let hello = pair.client.wire();
        pair.server.receive(&hello);
        let mut answer = pair.server.wire();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
        let index = (answer.len() as f64 * at) as usize;
        answer[index] ^= 1 << bit;
        pair.client.receive(&answer);
        pair.settle();
        let is_done = pair.client.layer.is_established() && pair.server.layer.is_established();
        // The version of a record says nothing, so it is not sealed; and tickets come after.
        if is_done && pair.client.failure.is_none() {
            pair.client.send(b"ping");
            pair.settle();
            prop_assert_eq!(&pair.server.plain, b"ping");
            prop_assert!(pair.client.info().verification() == &crate::tls::TlsVerification::Verified);
        } else {
            prop_assert!(pair.client.plain.is_empty() && pair.server.plain.is_empty());
        }
    }
}
