//! Sessions with the library's own connections at the other end: every suite, new keys, tickets, ends.
//!
//! Its records are sealed and opened by nothing of ours, so that one mistake at both ends would show.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
    crypto::{CipherSuiteCommon, CryptoProvider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{wire::noise, *};
use crate::tls::{handshake::Link, session::Judgement};

/// The library's end.
struct Theirs {
    link: Connection,
    plain: Vec<u8>,
    failure: Option<rustls::Error>,
    is_peer_finished: bool,
}

impl Theirs {
    fn new(link: impl Into<Connection>) -> Self {
        let mut link = link.into();
        link.set_buffer_limit(None);
        Self { link, plain: Vec::new(), failure: None, is_peer_finished: false }
    }

    fn client(root: &Authority, provider: CryptoProvider) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider.into());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Self::new(ClientConnection::new(config.into(), "a.example".try_into().unwrap()).unwrap())
    }

    fn server(config: &Arc<ServerConfig>) -> Self {
        Self::new(ServerConnection::new(Arc::clone(config)).unwrap())
    }

    fn receive(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() && self.failure.is_none() {
            self.link.read_tls(&mut wire).unwrap();
            match self.link.process_new_packets() {
                Ok(state) => self.is_peer_finished = state.peer_has_closed(),
                Err(err) => self.failure = Some(err),
            }
            // It ends with an error once there is no more, or no more at all.
            let _ = io::Read::read_to_end(&mut self.link.reader(), &mut self.plain);
        }
    }

    fn wire(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.link.wants_write() {
            self.link.write_tls(&mut out).unwrap();
        }
        out
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        io::Write::write_all(&mut self.link.writer(), plain).unwrap();
        self.wire()
    }
}

fn server_config(root: &Authority, provider: CryptoProvider) -> Arc<ServerConfig> {
    let (certificate, key) = root.pems(&["a.example"]);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider.into());
    let config = config.with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap().into()
}

/// Both ends shake hands.
fn settle(ours: &mut End, theirs: &mut Theirs) {
    loop {
        let (there, back) = (ours.wire(), theirs.wire());
        if there.is_empty() && back.is_empty() {
            break;
        }
        theirs.receive(&there);
        ours.receive(&back);
    }
    assert_eq!((&ours.failure, &theirs.failure), (&None, &None));
    assert!(ours.layer.is_established() && !theirs.link.is_handshaking());
}

/// The suites that a certificate of ECDSA can be shown in.
fn suites() -> Vec<SupportedCipherSuite> {
    let mut suites = crate::tls::provider().cipher_suites;
    suites.retain(|suite| !format!("{:?}", suite.suite()).contains("_RSA_"));
    assert_eq!(suites.len(), 6);
    suites
}

/// The library's cryptography with one suite, whose keys may seal so many records.
fn provider(suite: SupportedCipherSuite, records_max: Option<u64>) -> CryptoProvider {
    let worn = |common: &CipherSuiteCommon| CipherSuiteCommon {
        confidentiality_limit: records_max.unwrap_or(common.confidentiality_limit),
        suite: common.suite,
        hash_provider: common.hash_provider,
    };
    let suite = match suite {
        SupportedCipherSuite::Tls12(known) => {
            let suite = Tls12CipherSuite { common: worn(&known.common), ..*known };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(suite)))
        }
        SupportedCipherSuite::Tls13(known) => {
            let suite = Tls13CipherSuite { common: worn(&known.common), ..*known };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))
        }
    };
    CryptoProvider { cipher_suites: vec![suite], ..crate::tls::provider() }
}

/// One of ours as client or server, and one of theirs at the other end.
fn pair(is_client: bool, provider: CryptoProvider) -> (End, Theirs) {
    let root = Authority::new("root");
    let (mut ours, mut theirs) = if is_client {
        (End::new(&root.client("a.example")), Theirs::server(&server_config(&root, provider)))
    } else {
        (End::new(&root.server("a.example")), Theirs::client(&root, provider))
    };
    settle(&mut ours, &mut theirs);
    (ours, theirs)
}

const KEY_UPDATE_LEN: usize = 5;

/// The length of a record of 1.3 with so many bytes in it: a head, their kind, a tag.
const fn record_len(len: usize) -> usize {
    5 + len + 1 + 16
}

#[test]
fn every_suite_is_spoken_by_clients_and_servers() {
    let text = noise(150_000);
    for (suite, is_client) in suites().into_iter().flat_map(|it| [(it, true), (it, false)]) {
        let (mut ours, mut theirs) = pair(is_client, provider(suite, None));
        let case = format!("{:?}, client {is_client}", suite.suite());
        assert!(format!("{:?}", suite.suite()).ends_with(&ours.info().suite()[4..]), "{case}");
        let mut cut = 1;
        for piece in text.chunks(40_000) {
            let (there, back) = (ours.seal(piece), theirs.seal(piece));
            theirs.receive(&there);
            let mut rest = &back[..];
            while !rest.is_empty() {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                ours.receive(part);
                (rest, cut) = (after, cut * 7 % 40_009);
            }
        }
        assert!(ours.plain == text && theirs.plain == text, "{case}");
        ours.layer.finish();
        theirs.receive(&ours.wire());
        theirs.link.send_close_notify();
        ours.receive(&theirs.wire());
        assert!(theirs.is_peer_finished && ours.layer.is_peer_finished(), "{case}");
        assert_eq!((ours.failure, theirs.failure), (None, None), "{case}");
    }
}

#[test]
fn new_keys_of_the_other_end_are_taken_and_answered_once() {
    let suites = suites();
    let new = suites.iter().filter(|it| it.tls13().is_some());
    for (suite, is_client) in new.flat_map(|it| [(*it, true), (*it, false)]) {
        let (mut ours, mut theirs) = pair(is_client, provider(suite, None));
        let case = format!("{:?}, client {is_client}", suite.suite());
        for round in 0..40_u8 {
            for _ in 0..=round % 3 {
                theirs.link.refresh_traffic_keys().unwrap();
            }
            let wire = theirs.seal(&[round]);
            ours.receive(&wire);
            assert_eq!(ours.wire(), [] as [u8; 0], "{case}: answered with the next data");
            let wire = ours.seal(&[round]);
            let expected = record_len(KEY_UPDATE_LEN) + record_len(1);
            assert_eq!(wire.len(), expected, "{case}: one answer, one record");
            theirs.receive(&wire);
        }
        let expected: Vec<u8> = (0..40).collect();
        assert_eq!((&ours.failure, &theirs.failure), (&None, &None), "{case}");
        assert_eq!((&ours.plain, &theirs.plain), (&expected, &expected), "{case}");
    }
}

#[test]
fn keys_of_1_3_are_renewed_by_either_end_before_they_are_used_up() {
    const RECORDS_MAX: u64 = 8;
    let suites = suites();
    for suite in suites.iter().filter(|it| it.tls13().is_some()) {
        let case = format!("{:?}", suite.suite());
        let theirs = server_config(&Authority::new("root"), provider(*suite, Some(RECORDS_MAX)));
        let mut theirs = Theirs::server(&theirs);
        let mut ours = End::of(Box::new(client_session(provider(*suite, Some(RECORDS_MAX)))));
        settle(&mut ours, &mut theirs);
        let mut updates = 0;
        for _ in 0..100 {
            let wire = ours.seal(b"x");
            updates += usize::from(wire.len() > record_len(1));
            theirs.receive(&wire);
            let back = theirs.seal(b"y");
            ours.receive(&back);
        }
        assert_eq!((&ours.failure, &theirs.failure), (&None, &None), "{case}");
        assert_eq!((ours.plain.len(), theirs.plain.len()), (100, 100), "{case}");
        // Seven of each key's records are data.
        assert_eq!(updates, 100 / 7, "{case}");
        // Many records of one call as well.
        let text = noise(400_000);
        theirs.plain.clear();
        let wire = ours.seal(&text);
        theirs.receive(&wire);
        assert_eq!((theirs.failure, theirs.plain == text), (None, true), "{case}");
    }
}

#[test]
fn a_session_of_1_2_whose_keys_are_used_up_ends_and_says_so() {
    const RECORDS_MAX: u64 = 16;
    let suite = suites().into_iter().find(|it| it.tls13().is_none()).unwrap();
    let client = End::of(Box::new(client_session(provider(suite, Some(RECORDS_MAX)))));
    let server = End::new(&Authority::new("root").server("a.example"));
    let mut pair = Pair { client, server };
    pair.settle();
    pair.assert_established();
    // The handshake took the first number.
    for number in 1..RECORDS_MAX {
        let wire = pair.client.seal(b"x");
        pair.server.receive(&wire);
        assert!(!pair.server.layer.is_peer_finished(), "record {number}");
    }
    let refused = pair.client.layer.send(b"x").unwrap_err();
    assert_eq!(reason(&refused), HandshakeFailure::KeysUsedUp);
    let goodbye = pair.client.wire();
    pair.server.receive(&goodbye);
    assert!(pair.server.layer.is_peer_finished());
    assert_eq!(pair.server.failure, None);
    assert_eq!(pair.server.plain.len() as u64, RECORDS_MAX - 1, "all but the one refused");
    assert_eq!(pair.client.seal(b"too late"), [] as [u8; 0]);
}

/// A client of ours with another cryptography.
fn client_session(provider: CryptoProvider) -> Session {
    let config = ClientConfig::builder_with_provider(provider.into());
    let config = config.with_safe_default_protocol_versions().unwrap().dangerous();
    let blind = Arc::new(crate::tls::verify::Blind::new());
    let mut config = config.with_custom_certificate_verifier(blind).with_no_client_auth();
    config.enable_secret_extraction = true;
    let name = "a.example".try_into().unwrap();
    let link = rustls::client::UnbufferedClientConnection::new(config.into(), name).unwrap();
    Session::begin(Link::Client(link), None, Judgement::Blind, None).unwrap()
}

#[test]
fn tickets_of_the_other_end_are_taken_up() {
    for suite in suites() {
        let root = Authority::new("root");
        let config = server_config(&root, provider(suite, None));
        let client = root.client("a.example");
        for expected in [false, true, true] {
            let (mut ours, mut theirs) = (End::new(&client), Theirs::server(&config));
            settle(&mut ours, &mut theirs);
            assert_eq!(ours.info().is_resumed(), expected, "{:?}", suite.suite());
            let wire = ours.seal(b"hello");
            theirs.receive(&wire);
            assert_eq!(theirs.plain, b"hello");
        }
    }
}
