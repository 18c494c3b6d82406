//! `netproc connect` and `netproc listen` with the PROXY protocol: whose headers count, and what goes out.
#![cfg(target_os = "linux")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::LazyLock,
};

use netproc::{Address, ProxyHeader, ProxyVersion};
use netproc_tests::{
    pki::Pki,
    program::{Run, accept, backends, listener, local, pattern},
    rig::PATIENCE,
};

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

fn listen(backend: &str, args: &[&str]) -> (Run, String) {
    let mut run = Run::new(&[&["listen", "--backend", backend][..], args].concat());
    let endpoint = run.line();
    (run, endpoint)
}

fn connect(backend: &str, args: &[&str], endpoint: &str) -> Run {
    Run::new(&[&["connect", "--backend", backend][..], args, &[endpoint]].concat())
}

/// What a server answers to these bytes until its end, a reset included.
fn answer(endpoint: &str, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(endpoint).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
    // A server that has refused it may have hung up by now.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(err) = socket.read_to_end(&mut answer) {
        assert_eq!(err.kind(), ErrorKind::ConnectionReset, "it comes to an end");
    }
    answer
}

#[test]
fn connect_begins_with_a_header_of_its_own_ends() {
    let cases = [
        ("--proxy-protocol", ProxyVersion::V1),
        ("--proxy-protocol=1", ProxyVersion::V1),
        ("--proxy-protocol=2", ProxyVersion::V2),
    ];
    for backend in backends() {
        for (arg, version) in cases {
            let (listener, endpoint) = listener();
            let mut run = connect(backend, &[arg], &endpoint);
            run.feed(b"behind it".into());
            let mut peer = accept(&listener);
            let from = Address::from(peer.peer_addr().unwrap());
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).unwrap();
            let (header, len) = ProxyHeader::parse(&heard, 4096).unwrap().unwrap();
            assert_eq!(header.version(), version, "{backend} {arg}");
            assert_eq!(header.source(), Some(&from));
            assert_eq!(header.destination(), Some(&listener.local_addr().unwrap().into()));
            assert_eq!(&heard[len..], b"behind it");
            drop(peer);
            run.end().check_well();
        }
    }
}

#[test]
fn listen_takes_headers_of_either_version_from_this_machine() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let file = local("unix", &folder);
        let (mut server, _) = listen(backend, &["-v", "--proxy-protocol", &file, "127.0.0.1:0"]);
        let over_ip = server.line();
        for endpoint in [&file, &over_ip] {
            for version in ["--proxy-protocol=1", "--proxy-protocol=2"] {
                let mut run = connect(backend, &[version], endpoint);
                run.feed(pattern(300_000));
                let left = run.end();
                left.check_well();
                assert!(left.output == pattern(300_000), "{backend} {endpoint} {version}");
            }
        }
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        assert_eq!(answer(&over_ip, &[&header[..], b"hello"].concat()), b"hello", "{backend}");
        assert!(server.complains(": open from 192.0.2.7\n"), "{server}");
    }
}

#[test]
fn a_header_comes_before_tls_and_before_a_dialogue() {
    let ca = PKI.path("ca.pem");
    let identity = PKI.identity("server");
    let [cert, cert_file, key, key_file] = identity.each_ref().map(String::as_str);
    for backend in backends() {
        for how in [&["--tls"][..], &["--starttls", "imap"]] {
            let proxied = [how, &["--proxy-protocol"]].concat();
            let args = [&proxied[..], &[cert, cert_file, key, key_file, "127.0.0.1:0"]].concat();
            let (_server, endpoint) = listen(backend, &args);
            let mut run = connect(backend, &[&proxied[..], &["--ca", &ca]].concat(), &endpoint);
            run.feed(pattern(100_000));
            let left = run.end();
            left.check_well();
            assert!(left.output == pattern(100_000), "{backend} {how:?}");
        }
        // Without a header there is no handshake either.
        let args = ["--tls", "--proxy-protocol", cert, cert_file, key, key_file, "127.0.0.1:0"];
        let (mut server, endpoint) = listen(backend, &args);
        let left = connect(backend, &["--tls", "--ca", &ca], &endpoint).end();
        assert_eq!(left.code, Some(1), "{backend}: {}", left.errors);
        assert!(server.complains("echo: refused from 127.0.0.1: no PROXY header"), "{server}");
    }
}

#[test]
fn whoever_is_no_trusted_proxy_is_refused_and_told_of() {
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nhello";
    let cases: [(&str, &[u8], &str); 3] = [
        ("--proxy-protocol", b"hello", "no PROXY header"),
        ("--proxy-protocol", b"PROXY TCP4 192.0.2.7\r\nhello", "a malformed PROXY line"),
        ("--proxy-protocol=192.0.2.0/24,local", header, "no trusted proxy"),
    ];
    for backend in backends() {
        for (arg, bytes, why) in cases {
            let (mut server, endpoint) = listen(backend, &[arg, "127.0.0.1:0"]);
            assert_eq!(answer(&endpoint, bytes), b"", "{backend} {arg}");
            assert!(server.complains(&format!("echo: refused from 127.0.0.1: {why}")), "{server}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_in_its_own_words() {
    let cases: [(&[&str], &str); 6] = [
        (&["connect", "--proxy-protocol=3", "127.0.0.1:1"], "1 or 2 expected"),
        (&["connect", "--proxy-protocol", "udp:127.0.0.1:1"], "needs a stream, udp:127.0.0.1:1"),
        (&["listen", "--proxy-protocol", "127.0.0.1:0", "seqpacket:/x"], "seqpacket:/x is packets"),
        (&["listen", "--proxy-protocol=", "127.0.0.1:0"], "somebody to trust expected"),
        (&["listen", "--proxy-protocol=10.0.0.1/8", "127.0.0.1:0"], "bits set behind the first 8"),
        (&["listen", "--proxy-protocol=nobody", "127.0.0.1:0"], "\"nobody\" is no IP address"),
    ];
    for (args, words) in cases {
        let left = Run::new(args).end();
        assert_eq!(left.code, Some(2), "{args:?}");
        assert!(left.errors.contains(words), "{words} in {}", left.errors);
    }
}
