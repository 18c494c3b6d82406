//! Every kind of wrong certificate, the names and clocks they are checked against, and the two
//! constructors that let them through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateRevocationListParams, ExtendedKeyUsagePurpose, GeneralSubtree, KeyIdMethod,
    NameConstraints, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::tls::{CertificateProblem, TlsAlert, TlsVerification};

/// A server's certificate that is wrong, and how.
struct Case {
    what: &'static str,
    name: &'static str,
    identity: TlsIdentity,
    trust: TlsTrust,
    /// The first that the strict check finds.
    problem: CertificateProblem,
    /// How many problems are told where all are.
    count: usize,
}

/// A certificate for `a.example` with one thing changed.
fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(&["a.example"]);
    change(&mut params);
    params
}

/// An identity of several certificates.
fn chain(pems: &[&str], key: &str) -> TlsIdentity {
    TlsIdentity::from_pem(pems.concat(), key).unwrap()
}

/// A revocation list of `authority` with the certificate of this serial number.
fn revocation(authority: &Authority, serial: u8) -> String {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[serial]),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&authority.0).unwrap().pem().unwrap()
}

fn wrong_name(expected: &str, presented: &[&str]) -> CertificateProblem {
    CertificateProblem::WrongName {
        expected: expected.into(),
        presented: presented.iter().map(|it| (*it).into()).collect(),
    }
}

/// Certificates whose own content is wrong.
fn wrong_leaves(root: &Authority) -> Vec<Case> {
    let case = |what, params: &CertificateParams, problem, count| Case {
        what,
        name: "a.example",
        identity: root.identity_of(params),
        trust: root.trust(),
        problem,
        count,
    };
    let common_name = |params: &mut CertificateParams| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "a.example");
    };
    let client_only = |params: &mut CertificateParams| {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    };
    let expired = changed(|it| it.not_after = date_time_ymd(2020, 1, 1));
    let mut expired_for_another = expired.clone();
    expired_for_another.subject_alt_names = params(&["b.example"]).subject_alt_names;
    vec![
        case("expired", &expired, CertificateProblem::Expired, 1),
        case(
            "not yet valid",
            &changed(|it| it.not_before = date_time_ymd(2090, 1, 1)),
            CertificateProblem::NotYetValid,
            1,
        ),
        case("another name", &params(&["b.example"]), wrong_name("a.example", &["b.example"]), 1),
        case(
            "a name below",
            &params(&["x.a.example"]),
            wrong_name("a.example", &["x.a.example"]),
            1,
        ),
        case(
            "a wildcard too deep",
            &params(&["*.a.example"]),
            wrong_name("a.example", &["*.a.example"]),
            1,
        ),
        case("only a common name", &changed(common_name), wrong_name("a.example", &[]), 1),
        case("for clients only", &changed(client_only), CertificateProblem::Purpose, 1),
        case(
            "a wildcard of everything",
            &params(&["*.example"]),
            wrong_name("a.example", &["*.example"]),
            1,
        ),
        case("expired, and another name", &expired_for_another, CertificateProblem::Expired, 2),
    ]
}

/// An identity for `a.example`, signed by one more authority below `root`, which is shown as well.
fn below(root: &Authority, between: CertificateParams) -> TlsIdentity {
    let between = root.below(between);
    let (own, key) = between.pems(&["a.example"]);
    chain(&[&own, &between.pem()], &key)
}

/// An authority that expired.
fn old_authority() -> CertificateParams {
    let mut params = Authority::params("old");
    params.not_after = date_time_ymd(2020, 1, 1);
    params
}

/// An authority that may sign for other names only.
fn narrow_authority() -> CertificateParams {
    let mut params = Authority::params("narrow");
    let permitted_subtrees = vec![GeneralSubtree::DnsName("b.example".into())];
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    params
}

/// Certificates with a wrong chain above them.
fn wrong_chains(root: &Authority) -> Vec<Case> {
    let case = |what, identity, problem| Case {
        what,
        name: "a.example",
        identity,
        trust: root.trust(),
        problem,
        count: 1,
    };
    let own = key();
    let self_signed = params(&["a.example"]).self_signed(&own).unwrap().pem();
    let self_signed = chain(&[&self_signed], &own.serialize_pem());
    let stranger = Authority::new("stranger").identity(&["a.example"]);
    // The same name as the root's, another key.
    let impostor = Authority::new("root").identity(&["a.example"]);
    let (alone, alone_key) = root.below(Authority::params("between")).pems(&["a.example"]);
    let alone = chain(&[&alone], &alone_key);
    let mut as_own = Authority::params("a.example");
    as_own.subject_alt_names = params(&["a.example"]).subject_alt_names;
    let constraint = CertificateProblem::Other("name constraint violation".into());
    vec![
        case("self-signed", self_signed, CertificateProblem::UnknownIssuer),
        case("a stranger's", stranger, CertificateProblem::UnknownIssuer),
        case("an impostor's", impostor, CertificateProblem::Signature),
        case("one missing in between", alone, CertificateProblem::UnknownIssuer),
        case("below an expired one", below(root, old_authority()), CertificateProblem::Expired),
        case("below no authority", below(root, params(&["x"])), CertificateProblem::Purpose),
        case("outside the constraints", below(root, narrow_authority()), constraint),
        case("an authority's own", root.identity_of(&as_own), CertificateProblem::Purpose),
        revoked(root),
    ]
}

/// A certificate that its authority has revoked, for a client that knows.
fn revoked(root: &Authority) -> Case {
    let params = changed(|it| it.serial_number = Some(SerialNumber::from_slice(&[66])));
    Case {
        what: "revoked",
        name: "a.example",
        identity: root.identity_of(&params),
        trust: root.trust().and_revocation_pem(revocation(root, 66)).unwrap(),
        problem: CertificateProblem::Revoked,
        count: 1,
    }
}

fn wrong_addresses(root: &Authority) -> Vec<Case> {
    let case = |what, name, names: &[&str], presented: &[&str]| Case {
        what,
        name,
        identity: root.identity(names),
        trust: root.trust(),
        problem: wrong_name(name, presented),
        count: 1,
    };
    vec![
        case("another address", "127.0.0.1", &["127.0.0.2"], &["127.0.0.2"]),
        case("a name for an address", "::1", &["a.example"], &["a.example"]),
        case("an address for a name", "a.example", &["127.0.0.1"], &["127.0.0.1"]),
    ]
}

fn wrong_certificates() -> Vec<Case> {
    let root = Authority::new("root");
    let mut cases = wrong_leaves(&root);
    cases.extend(wrong_chains(&root));
    cases.extend(wrong_addresses(&root));
    cases
}

#[test]
fn a_wrong_certificate_is_refused_and_the_reason_named() {
    for Case { what, name, identity, trust, problem, .. } in wrong_certificates() {
        for version in BOTH {
            let client = TlsClient::builder(name).trust(trust.clone()).versions(version, version);
            let server = TlsServer::builder(identity.clone()).build().unwrap();
            let mut pair = Pair::new(&client.build().unwrap(), &server);
            pair.settle();
            let expected = HandshakeFailure::Certificate(problem.clone());
            assert_eq!(pair.client.failure, Some(expected), "{what}, {version}");
            assert!(!pair.client.layer.is_established(), "{what}, {version}");
            let heard = &pair.server.failure;
            assert!(matches!(heard, Some(HandshakeFailure::Alert(_))), "{what}: {heard:?}");
        }
    }
}

#[test]
fn a_client_that_only_tells_accepts_a_wrong_certificate_and_names_what_is_wrong() {
    for Case { what, name, identity, trust, problem, count } in wrong_certificates() {
        let server = TlsServer::builder(identity).build().unwrap();
        let client = TlsClient::dangerous_reporting(name).trust(trust).build().unwrap();
        // Twice: what the first connection found says nothing about the second.
        for _ in 0..2 {
            let pair = Pair::established(&client, &server);
            let info = pair.client.info();
            let TlsVerification::Accepted(problems) = info.verification() else {
                panic!("{what}: {info:?}");
            };
            assert_eq!((problems.first(), problems.len()), (Some(&problem), count), "{what}");
            assert!(!info.is_resumed(), "{what}");
        }
        let client = TlsClient::dangerous_unverified(name).build().unwrap();
        let pair = Pair::established(&client, &server);
        assert_eq!(pair.client.info().verification(), &TlsVerification::Unchecked, "{what}");
        assert!(!pair.client.info().peer_chain().is_empty(), "{what}");
    }
}

#[test]
fn a_client_that_only_tells_has_nothing_to_tell_of_a_good_certificate() {
    let root = Authority::new("root");
    let client = TlsClient::dangerous_reporting("a.example").trust(root.trust()).build().unwrap();
    let pair = Pair::established(&client, &root.server("a.example"));
    assert_eq!(pair.client.info().verification(), &TlsVerification::Verified);
}

#[test]
fn good_certificates_of_every_kind_are_taken() {
    let root = Authority::new("root");
    let informed = root.trust().and_revocation_pem(revocation(&root, 66)).unwrap();
    let another = Authority::new("another");
    let expired = Authority(CertifiedIssuer::self_signed(old_authority(), key()).unwrap());
    let cases = [
        ("a wildcard", "x.a.example", root.identity(&["*.a.example"]), root.trust()),
        ("one of several", "b.example", root.identity(&["a.example", "b.example"]), root.trust()),
        ("an IPv4 address", "127.0.0.1", root.identity(&["127.0.0.1"]), root.trust()),
        ("an IPv6 address", "::1", root.identity(&["::1"]), root.trust()),
        ("capitals", "A.Example", root.identity(&["a.example"]), root.trust()),
        ("a closing dot", "a.example.", root.identity(&["a.example"]), root.trust()),
        ("an underscore", "_a.example", root.identity(&["_a.example"]), root.trust()),
        ("a chain", "a.example", below(&root, Authority::params("between")), root.trust()),
        ("another revoked", "a.example", root.identity(&["a.example"]), informed.clone()),
        (
            "no revocation list of the issuer",
            "a.example",
            below(&root, Authority::params("between")),
            informed,
        ),
        // Who trusts a root trusts its key; the dates beside it are the authority's own affair.
        ("an expired root", "a.example", expired.identity(&["a.example"]), expired.trust()),
        (
            "a second root",
            "a.example",
            root.identity(&["a.example"]),
            another.trust().and(root.trust()),
        ),
    ];
    for (what, name, identity, trust) in cases {
        let server = TlsServer::builder(identity).build().unwrap();
        let client = TlsClient::builder(name).trust(trust).build().unwrap();
        let mut pair = Pair::new(&client, &server);
        pair.settle();
        assert_eq!(pair.failures(), (None, None), "{what}");
        assert_eq!(pair.client.info().verification(), &TlsVerification::Verified, "{what}");
    }
}

#[test]
fn a_wrong_clock_makes_certificates_expired_or_not_yet_valid() {
    let root = Authority::new("root");
    let identity = root.identity_of(&changed(|it| {
        it.not_before = date_time_ymd(2020, 1, 1);
        it.not_after = date_time_ymd(2030, 1, 1);
    }));
    let server = TlsServer::builder(identity).build().unwrap();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let refused = |problem| Some(HandshakeFailure::Certificate(problem));
    let cases = [
        (30, refused(CertificateProblem::NotYetValid)),
        (55, None),
        (75, refused(CertificateProblem::Expired)),
    ];
    for (years, expected) in cases {
        let client = TlsClient::builder("a.example").trust(root.trust());
        let client = client.clock(move || SystemTime::UNIX_EPOCH + years * year).build().unwrap();
        let mut pair = Pair::new(&client, &server);
        pair.settle();
        assert_eq!(pair.client.failure, expected, "{years} years after 1970");
    }
    let before = TlsClient::builder("a.example").trust(root.trust());
    let before = before.clock(move || SystemTime::UNIX_EPOCH - year).build().unwrap();
    let mut pair = Pair::new(&before, &server);
    pair.settle();
    assert!(matches!(pair.client.failure, Some(HandshakeFailure::Internal(_))), "{pair:?}");
}

#[test]
fn a_client_whose_certificate_was_revoked_is_refused() {
    let root = Authority::new("root");
    let Case { identity, trust, problem, .. } = revoked(&root);
    let server = TlsServer::builder(root.identity(&["a.example"])).demand_clients(trust);
    let client = TlsClient::builder("a.example").trust(root.trust()).identity(identity);
    let mut pair = Pair::new(&client.build().unwrap(), &server.build().unwrap());
    pair.settle();
    assert_eq!(pair.server.failure, Some(HandshakeFailure::Certificate(problem)));
}

/// Seconds of 1970 at which 2030 begins.
const IN_2030: u64 = 1_893_456_000;
/// Less than a session lasts.
const WHILE: u64 = 1_800;

/// A certificate that ends when 2030 begins, for `a.example`.
fn until_2030(root: &Authority) -> TlsIdentity {
    root.identity_of(&changed(|it| {
        (it.not_before, it.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
    }))
}

/// A clock that is so many seconds after 1970.
fn clock_of(seconds: &Arc<AtomicU64>) -> impl Fn() -> SystemTime + Send + Sync + 'static {
    let now = Arc::clone(seconds);
    move || SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed))
}

/// A client of `a.example`, and what its clock goes by.
fn client_before_2030(root: &Authority, version: TlsVersion) -> (TlsClient, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(IN_2030 - WHILE));
    let client = TlsClient::builder("a.example").trust(root.trust()).versions(version, version);
    (client.clock(clock_of(&now)).build().unwrap(), now)
}

#[test]
fn a_session_is_taken_up_no_more_when_the_certificate_of_its_server_has_ended() {
    let root = Authority::new("root");
    let server = TlsServer::builder(until_2030(&root)).build().unwrap();
    let renewed = root.server("a.example");
    for version in BOTH {
        let (client, now) = client_before_2030(&root, version);
        Pair::established(&client, &server);
        let again = Pair::established(&client, &server);
        assert!(again.client.info().is_resumed(), "{version}");

        now.store(IN_2030 + WHILE, Ordering::Relaxed);
        let mut late = Pair::new(&client, &server);
        late.settle();
        let expired = HandshakeFailure::Certificate(CertificateProblem::Expired);
        assert_eq!(late.client.failure, Some(expired), "{version}");
        // What is kept of the old one does not stand in the way of the new one.
        assert!(!Pair::established(&client, &renewed).client.info().is_resumed(), "{version}");
        assert!(Pair::established(&client, &renewed).client.info().is_resumed(), "{version}");
    }
}

#[test]
fn a_session_of_an_older_certificate_is_judged_by_that_one() {
    let root = Authority::new("root");
    let server = TlsServer::builder(until_2030(&root)).build().unwrap();
    let renewed = root.server("a.example");
    for version in BOTH {
        let (client, now) = client_before_2030(&root, version);
        // Its tickets come when another certificate has passed for the name.
        let mut slow = Pair::new(&client, &server);
        for _ in 0..2 {
            let said = slow.client.wire();
            slow.server.receive(&said);
            let answer = slow.server.wire();
            if slow.server.layer.is_established() {
                Pair::established(&client, &renewed);
            }
            slow.client.receive(&answer);
        }
        slow.assert_established();
        assert!(Pair::established(&client, &server).client.info().is_resumed(), "{version}");

        now.store(IN_2030 + WHILE, Ordering::Relaxed);
        let mut late = Pair::new(&client, &server);
        late.settle();
        let expired = HandshakeFailure::Certificate(CertificateProblem::Expired);
        assert_eq!(late.client.failure, Some(expired), "{version}");
        let told = Some(HandshakeFailure::Alert(TlsAlert::new(45)));
        assert_eq!(late.server.failure, told, "{version}");
        Pair::established(&client, &renewed);
    }
}

#[test]
fn a_session_taken_up_again_ends_with_the_certificate_of_its_client() {
    let root = Authority::new("root");
    let identity = until_2030(&root);
    for version in BOTH {
        let now = Arc::new(AtomicU64::new(IN_2030 - WHILE));
        let server = TlsServer::builder(root.identity(&["a.example"])).demand_clients(root.trust());
        let server = server.clock(clock_of(&now)).build().unwrap();
        let client = TlsClient::builder("a.example").trust(root.trust()).identity(identity.clone());
        let client = client.versions(version, version).build().unwrap();
        Pair::established(&client, &server);
        let again = Pair::established(&client, &server);
        assert!(again.server.info().is_resumed(), "{version}");

        now.store(IN_2030 + WHILE, Ordering::Relaxed);
        let mut late = Pair::new(&client, &server);
        late.settle();
        let expired = HandshakeFailure::Certificate(CertificateProblem::Expired);
        assert_eq!(late.server.failure, Some(expired), "{version}");
        assert_eq!(
            late.client.failure,
            Some(HandshakeFailure::Alert(TlsAlert::new(45))),
            "{version}"
        );
        assert!(!late.client.layer.is_established() && !late.server.layer.is_established());
    }
}
