//! What two sides agree upon: versions, names, protocols, certificates, sessions of old.

use super::*;
use crate::tls::{CertificateProblem, TlsAlert, TlsVerification};

#[test]
fn both_versions_shake_hands_and_carry_data_both_ways() {
    let authority = Authority::new("root");
    let server = authority.server("a.example");
    let cases = [(TlsVersion::V1_2, "TLS_ECDHE_"), (TlsVersion::V1_3, "TLS_AES_")];
    for (version, suite) in cases {
        let client = TlsClient::builder("a.example").trust(authority.trust());
        let client = client.versions(version, version).build().unwrap();
        let mut pair = Pair::established(&client, &server);
        for end in [&pair.client, &pair.server] {
            let info = end.info();
            assert_eq!(info.version(), version);
            assert!(info.suite().starts_with(suite), "{version}: {}", info.suite());
            assert!(info.key_exchange().is_some(), "{version}");
            assert_eq!((info.alpn(), info.is_resumed()), (None, false), "{version}");
            assert_eq!(info.server_name(), Some("a.example"), "{version}");
        }
        assert_eq!(pair.client.info().verification(), &TlsVerification::Verified);
        assert_eq!(pair.client.info().peer_chain().len(), 1);
        assert_eq!(pair.server.info().verification(), &TlsVerification::NoCertificate);
        assert_eq!(pair.server.info().peer_chain(), [] as [Vec<u8>; 0]);

        pair.client.send(b"ping");
        pair.server.send(b"pong");
        pair.settle();
        assert_eq!((&pair.server.plain[..], &pair.client.plain[..]), (&b"ping"[..], &b"pong"[..]));
    }
}

#[test]
fn there_is_no_info_before_the_handshake_is_done() {
    let authority = Authority::new("root");
    let pair = Pair::new(&authority.client("a.example"), &authority.server("a.example"));
    assert_eq!(TlsInfo::of(&*pair.client.layer), None);
    assert_eq!(TlsInfo::of(&*pair.server.layer), None);
}

#[test]
fn the_best_protocol_in_common_is_agreed_upon() {
    let authority = Authority::new("root");
    let refused = (
        Some(HandshakeFailure::Alert(TlsAlert::new(120))),
        Some(HandshakeFailure::NoCommonProtocol),
    );
    let cases: [(&[&str], &[&str], _); 6] = [
        (&[], &[], Ok(None)),
        (&["imap"], &[], Ok(None)),
        (&[], &["imap"], Ok(None)),
        (&["imap", "h2"], &["h2", "imap"], Ok(Some(&b"h2"[..]))),
        (&["x", "imap"], &["imap"], Ok(Some(b"imap"))),
        (&["x"], &["imap", "h2"], Err(refused)),
    ];
    for (offered, known, expected) in cases {
        let client = TlsClient::builder("a.example").trust(authority.trust()).alpn(offered);
        let server = TlsServer::builder(authority.identity(&["a.example"])).alpn(known);
        let mut pair = Pair::new(&client.build().unwrap(), &server.build().unwrap());
        pair.settle();
        match expected {
            Ok(alpn) => {
                pair.assert_established();
                assert_eq!(pair.client.info().alpn(), alpn, "{offered:?} {known:?}");
                assert_eq!(pair.server.info().alpn(), alpn, "{offered:?} {known:?}");
            }
            Err(failures) => assert_eq!(pair.failures(), failures, "{offered:?} {known:?}"),
        }
    }
}

#[test]
fn the_server_picks_its_certificate_by_the_name_asked_for() {
    let authority = Authority::new("root");
    let (a, b) =
        (authority.identity(&["a.example", "127.0.0.1"]), authority.identity(&["B.example"]));
    let server = TlsServer::builder(a.clone()).identity_for("b.EXAMPLE.", b.clone());
    let server = server.build().unwrap();
    let cases = [
        ("a.example", true, &a, Some("a.example")),
        ("b.example", true, &b, Some("b.example")),
        ("B.Example.", true, &b, Some("b.example")),
        ("a.example", false, &a, None),
        // An address is never sent, but the certificate has to be for it.
        ("127.0.0.1", true, &a, None),
    ];
    for (name, is_sent, identity, asked_for) in cases {
        let client = TlsClient::builder(name).trust(authority.trust());
        let client = client.server_name_indication(is_sent).build().unwrap();
        let pair = Pair::established(&client, &server);
        let info = pair.client.info();
        assert_eq!(info.peer_chain()[0], identity.chain().next().unwrap(), "{name}");
        assert_eq!(pair.server.info().server_name(), asked_for, "{name}");
        assert_eq!(pair.client.info().server_name(), Some(&*client.server_name()), "{name}");
    }
}

#[test]
fn a_server_that_has_not_got_the_name_shows_its_first_certificate() {
    let authority = Authority::new("root");
    let server = TlsServer::builder(authority.identity(&["a.example"]))
        .identity_for("b.example", authority.identity(&["b.example"]));
    let client = TlsClient::dangerous_unverified("c.example").build().unwrap();
    let pair = Pair::established(&client, &server.build().unwrap());
    assert_eq!(pair.client.info().verification(), &TlsVerification::Unchecked);
    assert_eq!(pair.server.info().server_name(), Some("c.example"));
}

#[test]
fn another_identity_is_shown_for_every_name_it_is_for() {
    let authority = Authority::new("root");
    let first = authority.identity(&["a.example", "both.example"]);
    let named = authority.identity(&["named.b.example"]);
    let other = authority.identity(&["*.b.example", "both.example"]);
    let last = authority.identity(&["x.b.example", "c.example"]);
    let server = TlsServer::builder(first.clone())
        .another_identity(other.clone())
        .another_identity(last.clone())
        .identity_for("named.b.example", named.clone())
        .build()
        .unwrap();
    let cases = [
        ("a.example", &first),
        ("both.example", &first),
        ("X.b.example", &other),
        ("named.b.example", &named),
        ("c.example", &last),
    ];
    for (name, identity) in cases {
        let pair = Pair::established(&authority.client(name), &server);
        assert_eq!(pair.client.info().peer_chain()[0], identity.chain().next().unwrap(), "{name}");
    }
    let client = TlsClient::dangerous_unverified("d.example").build().unwrap();
    let pair = Pair::established(&client, &server);
    assert_eq!(pair.client.info().peer_chain()[0], first.chain().next().unwrap(), "none fits");
}

#[test]
fn clients_show_their_certificate_when_they_are_asked() {
    let (authority, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let server = |clients: &str| {
        let builder = TlsServer::builder(authority.identity(&["a.example"]));
        match clients {
            "asked" => builder.ask_clients(authority.trust()),
            "demanded" => builder.demand_clients(authority.trust()),
            _ => builder,
        }
    };
    let unknown = || HandshakeFailure::Certificate(CertificateProblem::UnknownIssuer);
    let (verified, none) = (TlsVerification::Verified, TlsVerification::NoCertificate);
    let cases = [
        ("ignored", "nothing", Ok(&none)),
        ("ignored", "good", Ok(&none)),
        ("ignored", "bad", Ok(&none)),
        ("asked", "nothing", Ok(&none)),
        ("asked", "good", Ok(&verified)),
        ("asked", "bad", Err(unknown())),
        ("demanded", "nothing", Err(HandshakeFailure::NoCertificate)),
        ("demanded", "good", Ok(&verified)),
        ("demanded", "bad", Err(unknown())),
    ];
    for ((clients, shown, expected), version) in
        cases.into_iter().flat_map(|case| BOTH.map(|version| (case.clone(), version)))
    {
        let case = format!("{clients} {shown} {version}");
        let mut client = TlsClient::builder("a.example").trust(authority.trust());
        match shown {
            "good" => client = client.identity(authority.identity(&["client"])),
            "bad" => client = client.identity(stranger.identity(&["client"])),
            _ => {}
        }
        let client = client.versions(version, version).build().unwrap();
        let mut pair = Pair::new(&client, &server(clients).build().unwrap());
        pair.settle();
        match expected {
            Ok(verification) => {
                pair.assert_established();
                let info = pair.server.info();
                assert_eq!(info.verification(), verification, "{case}");
                assert_eq!(info.peer_chain().len(), usize::from(*verification == verified));
            }
            Err(failure) => {
                assert_eq!(pair.server.failure, Some(failure), "{case}");
                assert!(!pair.server.layer.is_established(), "{case}");
                let heard = &pair.client.failure;
                assert!(matches!(heard, Some(HandshakeFailure::Alert(_))), "{case}: {heard:?}");
            }
        }
    }
}

#[test]
fn a_session_is_taken_up_again_unless_one_side_does_not_want_to() {
    let authority = Authority::new("root");
    let client = || {
        let identity = authority.identity(&["client"]);
        TlsClient::builder("a.example").trust(authority.trust()).identity(identity)
    };
    let blind = || TlsClient::dangerous_unverified("a.example");
    let telling = || TlsClient::dangerous_reporting("a.example").trust(authority.trust());
    for version in BOTH {
        let cases = [
            (client(), true, true),
            (client(), false, false),
            (client().resumption(false), true, false),
            (blind(), true, false),
            (telling(), true, false),
        ];
        for (number, (client, tickets, expected)) in cases.into_iter().enumerate() {
            let case = format!("case {number}, {version}");
            let client = client.versions(version, version).build().unwrap();
            let server = TlsServer::builder(authority.identity(&["a.example"]));
            let server = server.tickets(tickets).ask_clients(authority.trust()).build().unwrap();
            let first = Pair::established(&client, &server);
            assert!(!first.client.info().is_resumed(), "{case}");
            let second = Pair::established(&client.clone(), &server);
            let ends = [(&first.client, &second.client), (&first.server, &second.server)];
            for (first, second) in ends.map(|(a, b)| (a.info(), b.info())) {
                assert_eq!(second.is_resumed(), expected, "{case}");
                assert_eq!(second.peer_chain(), first.peer_chain(), "{case}");
                assert_eq!(second.verification(), first.verification(), "{case}");
            }
        }
    }
}

#[test]
fn a_client_of_another_name_takes_up_no_session_of_the_first() {
    let authority = Authority::new("root");
    let server = TlsServer::builder(authority.identity(&["a.example"]));
    let server = server.identity_for("b.example", authority.identity(&["b.example"]));
    let server = server.build().unwrap();
    let a = authority.client("a.example");
    let b = a.with_server_name("b.example").unwrap();
    Pair::established(&a, &server);
    assert!(!Pair::established(&b, &server).client.info().is_resumed());
    assert!(Pair::established(&b, &server).client.info().is_resumed());
}

#[test]
fn sides_without_a_version_in_common_part() {
    let authority = Authority::new("root");
    for (ours, theirs) in
        [(TlsVersion::V1_2, TlsVersion::V1_3), (TlsVersion::V1_3, TlsVersion::V1_2)]
    {
        let client = TlsClient::builder("a.example").trust(authority.trust());
        let client = client.versions(ours, ours).build().unwrap();
        let server = TlsServer::builder(authority.identity(&["a.example"]));
        let server = server.versions(theirs, theirs).build().unwrap();
        let mut pair = Pair::new(&client, &server);
        pair.settle();
        assert_eq!(pair.server.failure, Some(HandshakeFailure::Version), "{ours} {theirs}");
        let heard = pair.client.failure.unwrap();
        assert_eq!(heard, HandshakeFailure::Alert(TlsAlert::new(70)), "{ours} {theirs}");
        assert_eq!(heard.to_string(), "the peer gave up: protocol version");
    }
}

/// Extensions of a client of TLS 1.2: signatures ECDSA and RSA with SHA-256, group secp256r1, points
/// uncompressed.
const EXTENSIONS: &[u8] = b"\x00\x0d\x00\x06\x00\x04\x04\x03\x04\x01\
    \x00\x0a\x00\x04\x00\x02\x00\x17\
    \x00\x0b\x00\x02\x01\x00";

/// The same without signatures, as clients before 1.2 send it.
const OLD_EXTENSIONS: &[u8] = b"\x00\x0a\x00\x04\x00\x02\x00\x17\x00\x0b\x00\x02\x01\x00";

/// A hello made by hand: a version, cipher suites, and extensions.
fn hello(version: [u8; 2], suites: &[u16], extensions: &[u8]) -> Vec<u8> {
    let long = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let suites: Vec<u8> = suites.iter().flat_map(|it| it.to_be_bytes()).collect();
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(long(suites.len()));
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(long(extensions.len()));
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(long(body.len() + 4));
    record.extend([1, 0]);
    record.extend(long(body.len()));
    record.extend(body);
    record
}

#[test]
fn old_versions_and_suites_without_forward_secrecy_are_refused() {
    let server = Authority::new("root").server("a.example");
    let ecdhe: &[u16] = &[0xc02b, 0xc009, 0xc02f];
    let tls_1_2 = |suites: &[u16]| hello([3, 3], suites, EXTENSIONS);
    let (version, suite) = (HandshakeFailure::Version, HandshakeFailure::NoCommonSuite);
    let cases = [
        ("SSL 3", hello([3, 0], ecdhe, EXTENSIONS), &version, 70),
        ("TLS 1.0", hello([3, 1], ecdhe, EXTENSIONS), &version, 70),
        ("TLS 1.1", hello([3, 2], ecdhe, EXTENSIONS), &version, 70),
        ("TLS 1.0 as it was sent", hello([3, 1], ecdhe, OLD_EXTENSIONS), &version, 40),
        ("TLS 1.1 as it was sent", hello([3, 2], ecdhe, OLD_EXTENSIONS), &version, 40),
        ("RSA key exchange", tls_1_2(&[0x9c, 0x9d, 0x2f]), &suite, 40),
        ("finite fields", tls_1_2(&[0x9e, 0x33]), &suite, 40),
        ("CBC", tls_1_2(&[0xc009, 0xc00a]), &suite, 40),
        ("RC4, 3DES", tls_1_2(&[0xc007, 0xc008]), &suite, 40),
        ("anonymous", tls_1_2(&[0xc018]), &suite, 40),
    ];
    for (case, hello, failure, alert) in cases {
        let mut end = End::new(&server);
        end.receive(&hello);
        assert_eq!(end.failure.as_ref(), Some(failure), "{case}");
        assert_eq!(end.wire(), [21, 3, 3, 0, 2, 2, alert], "{case}: a fatal alert and no more");
    }
    // The same made by hand, but with a suite of ours, is answered.
    let mut end = End::new(&server);
    end.receive(&tls_1_2(ecdhe));
    assert_eq!(end.failure, None);
    assert_eq!(end.wire()[0], 22);
}

#[test]
fn a_server_that_answers_in_an_old_version_is_refused() {
    let authority = Authority::new("root");
    for minor in [0, 1, 2] {
        let mut end = End::new(&authority.client("a.example"));
        end.wire();
        // A ServerHello: version, random, no session, a suite, no compression.
        let mut answer = vec![22, 3, minor, 0, 42, 2, 0, 0, 38, 3, minor];
        answer.extend([9; 32]);
        answer.extend([0, 0xc0, 0x09, 0]);
        end.receive(&answer);
        assert_eq!(end.failure, Some(HandshakeFailure::Version), "3.{minor}");
        assert_eq!(end.wire(), [21, 3, 3, 0, 2, 2, 70], "3.{minor}");
    }
}
