//! What builders refuse, and what the environment may and may not change.

use std::{env, fs, path::Path, process::Command};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use super::*;
use crate::tls::{ServerNameProblem, TlsError};

/// Set in the process that runs one test again, with another environment.
const CHILD: &str = "NETPROC_TLS_TEST_CHILD";

/// Runs the test `name` of this file again, in a process of its own with `variable` set.
fn run_again(name: &str, variable: &str, value: &Path) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("tls::tests::settings::{name}")])
        .env(CHILD, "1")
        .env_remove("SSL_CERT_DIR")
        .env(variable, value)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

#[test]
fn a_server_name_that_no_certificate_can_be_for_is_refused() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    let too_long = format!("{longest}a");
    let cases = [
        ("", Err(ServerNameProblem::Empty)),
        (".", Err(ServerNameProblem::Empty)),
        ("*", Err(ServerNameProblem::Wildcard)),
        ("*.example", Err(ServerNameProblem::Wildcard)),
        ("a\0.example", Err(ServerNameProblem::Nul)),
        ("\0", Err(ServerNameProblem::Nul)),
        (&too_long, Err(ServerNameProblem::TooLong)),
        (&"a".repeat(300), Err(ServerNameProblem::TooLong)),
        (&"a".repeat(64), Err(ServerNameProblem::Malformed)),
        ("bücher.example", Err(ServerNameProblem::NotAscii)),
        ("a..example", Err(ServerNameProblem::Malformed)),
        ("a.example..", Err(ServerNameProblem::Malformed)),
        (".a.example", Err(ServerNameProblem::Malformed)),
        ("-a.example", Err(ServerNameProblem::Malformed)),
        ("a b", Err(ServerNameProblem::Malformed)),
        ("a.example:443", Err(ServerNameProblem::Malformed)),
        ("[::1]", Err(ServerNameProblem::Malformed)),
        ("fe80::1%1", Err(ServerNameProblem::Malformed)),
        ("1.2.3", Err(ServerNameProblem::Malformed)),
        (&longest, Ok(&*longest)),
        ("localhost", Ok("localhost")),
        ("A.Example.", Ok("a.example")),
        ("_x.a_b.example", Ok("_x.a_b.example")),
        ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
        ("127.0.0.1", Ok("127.0.0.1")),
        ("127.0.0.1.", Ok("127.0.0.1")),
        ("0:0:0:0:0:0:0:1", Ok("::1")),
    ];
    let trust = Authority::new("root").trust();
    let known = TlsClient::builder("a.example").trust(trust.clone()).build().unwrap();
    for (name, expected) in cases {
        let built = TlsClient::builder(name).trust(trust.clone()).build();
        for built in [built, known.with_server_name(name)] {
            let found = match &built {
                Ok(client) => Ok(client.server_name()),
                Err(TlsError::ServerName { name: it, problem }) if it == name => Err(*problem),
                Err(other) => panic!("{name:?}: {other:?}"),
            };
            assert_eq!(found, expected.map(str::to_owned), "{name:?}");
        }
    }
}

#[test]
fn a_server_refuses_names_that_its_identities_are_not_for() {
    let identity = Authority::new("root").identity(&["a.example", "*.b.example", "127.0.0.1"]);
    let build = |name: &str| {
        TlsServer::builder(identity.clone()).identity_for(name, identity.clone()).build().map(drop)
    };
    assert!(matches!(build("a.example"), Ok(())));
    assert!(matches!(build("x.b.example"), Ok(())));
    assert!(matches!(build("c.example"), Err(TlsError::NotForName(name)) if name == "c.example"));
    let cases = [
        ("127.0.0.1", ServerNameProblem::Address),
        ("*.b.example", ServerNameProblem::Wildcard),
        ("", ServerNameProblem::Empty),
    ];
    for (name, expected) in cases {
        let error = build(name).unwrap_err();
        let fits = matches!(error, TlsError::ServerName { problem, .. } if problem == expected);
        assert!(fits, "{name:?}");
    }
}

#[test]
fn protocols_that_do_not_fit_on_the_wire_are_refused() {
    let root = Authority::new("root");
    let build = |protocols: &[Vec<u8>]| {
        let client = TlsClient::builder("a.example").trust(root.trust()).alpn(protocols).build();
        let server = TlsServer::builder(root.identity(&["a.example"])).alpn(protocols).build();
        let texts =
            [client.map(drop), server.map(drop)].map(|it| it.err().map(|it| it.to_string()));
        assert_eq!(texts[0], texts[1]);
        texts.into_iter().next().flatten()
    };
    let long = |len: usize| vec![b'x'; len];
    let says = |text: &str| Some(text.to_owned());
    assert_eq!(build(&[]), None);
    assert_eq!(build(&[long(1), long(255)]), None);
    assert_eq!(build(&[long(1), long(0)]), says("an ALPN protocol with an empty name"));
    let too_long = "an ALPN protocol with a name of 256 bytes, 255 are allowed";
    assert_eq!(build(&[long(256)]), says(too_long));
    assert_eq!(build(&vec![long(255); 32]), None);
    let too_many = "ALPN protocols of 8194 bytes together, 8192 are allowed";
    assert_eq!(build(&[vec![long(255); 32], vec![long(1)]].concat()), says(too_many));
}

#[test]
fn a_lowest_version_above_the_highest_is_refused() {
    let root = Authority::new("root");
    let (min, max) = (TlsVersion::V1_3, TlsVersion::V1_2);
    let client = TlsClient::builder("a.example").trust(root.trust()).versions(min, max).build();
    let server = TlsServer::builder(root.identity(&["a.example"])).versions(min, max).build();
    for error in [client.map(drop).unwrap_err(), server.map(drop).unwrap_err()] {
        assert_eq!(error.to_string(), "the lowest version TLS 1.3 is above the highest TLS 1.2");
    }
}

#[cfg(not(any(feature = "native-roots", feature = "webpki-roots")))]
#[test]
fn without_roots_there_is_no_client_but_the_one_that_does_not_look() {
    let error = TlsClient::builder("a.example").build().unwrap_err();
    assert!(matches!(error, TlsError::NoRoots), "{error:?}");
    let error = TlsClient::dangerous_reporting("a.example").build().unwrap_err();
    assert!(matches!(error, TlsError::NoRoots), "{error:?}");
    assert!(TlsClient::dangerous_unverified("a.example").build().is_ok());
}

#[cfg(feature = "webpki-roots")]
#[test]
fn the_built_in_roots_are_many_and_do_not_vouch_for_strangers() {
    assert!(TlsTrust::webpki().root_count() > 50);
    let client = TlsClient::builder("a.example").trust(TlsTrust::webpki()).build().unwrap();
    let mut pair = Pair::new(&client, &Authority::new("root").server("a.example"));
    pair.settle();
    let unknown = crate::tls::CertificateProblem::UnknownIssuer;
    assert_eq!(pair.client.failure, Some(HandshakeFailure::Certificate(unknown)));
}

/// The roots of the system, which the environment can move: to one, and to none.
#[cfg(feature = "native-roots")]
#[test]
fn the_roots_of_the_system_are_read_and_missing_ones_are_an_error() {
    const NAME: &str = "the_roots_of_the_system_are_read_and_missing_ones_are_an_error";
    if !is_child() {
        let folder = tempfile::TempDir::new().unwrap();
        let (one, none) = (folder.path().join("one.pem"), folder.path().join("none.pem"));
        fs::write(&one, Authority::new("root").pem()).unwrap();
        run_again(NAME, "SSL_CERT_FILE", &one);
        run_again(NAME, "SSL_CERT_FILE", &none);
    } else if fs::exists(env::var("SSL_CERT_FILE").unwrap()).unwrap() {
        assert_eq!(TlsTrust::system().unwrap().root_count(), 1);
        assert!(TlsClient::builder("a.example").build().is_ok());
    } else {
        let error = TlsClient::builder("a.example").build().unwrap_err();
        assert!(matches!(error, TlsError::SystemRoots(_)), "{error:?}");
    }
}

/// Secrets go to the file that the environment names only from a side that was told to.
#[test]
fn secrets_are_logged_only_when_asked() {
    const NAME: &str = "secrets_are_logged_only_when_asked";
    if !is_child() {
        let folder = tempfile::TempDir::new().unwrap();
        run_again(NAME, "SSLKEYLOGFILE", &folder.path().join("keys.txt"));
        return;
    }
    let root = Authority::new("root");
    let path = env::var("SSLKEYLOGFILE").unwrap();
    let logged = || fs::read_to_string(&path).unwrap_or_default().lines().count();
    for (by_client, by_server) in [(false, false), (true, false), (false, true)] {
        let before = logged();
        let client = TlsClient::builder("a.example").trust(root.trust()).key_log(by_client);
        let server = TlsServer::builder(root.identity(&["a.example"])).key_log(by_server);
        Pair::established(&client.build().unwrap(), &server.build().unwrap());
        let is_asked = by_client || by_server;
        assert_eq!(logged() > before, is_asked, "client {by_client}, server {by_server}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let root = Authority::new("root");
    let (certificate, key) = root.pems(&["a.example"]);
    let identity = TlsIdentity::from_pem(certificate, &key).unwrap();
    let client = TlsClient::builder("a.example").trust(root.trust()).identity(identity.clone());
    let server = TlsServer::builder(identity).demand_clients(root.trust());
    let mut text = format!("{client:?} {server:?}");
    let (client, server) = (client.build().unwrap(), server.build().unwrap());
    let pair = Pair::established(&client, &server);
    text += &format!("{client:?} {server:?} {:?}", pair.client.layer);
    assert!(text.contains("a.example"), "{text}");
    let info = pair.client.info();
    let certificate = &info.peer_chain()[0];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    for (what, der) in [("certificate", &certificate[..]), ("key", key.secret_der())] {
        // Enough of it to be there by no accident, as bytes are written.
        let part = &der[der.len() / 2..][..12];
        let decimal = format!("{part:?}");
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let hexes = format!("{part:02x?}");
        for shown in [&hex, decimal.trim_matches(['[', ']']), hexes.trim_matches(['[', ']'])] {
            assert!(!text.to_lowercase().contains(shown), "the {what} is in it: {text}");
        }
    }
}

#[test]
fn no_provider_is_installed_for_the_process() {
    let root = Authority::new("root");
    Pair::established(&root.client("a.example"), &root.server("a.example"));
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}

#[test]
fn what_makes_layers_may_go_to_other_threads() {
    fn assert_shared<T: Clone + Send + Sync + 'static>() {}
    assert_shared::<TlsClient>();
    assert_shared::<TlsServer>();
    assert_shared::<TlsIdentity>();
    assert_shared::<TlsTrust>();
    assert_shared::<TlsInfo>();
    assert_shared::<HandshakeFailure>();
}
