//! `netproc connect` and `netproc listen` under TLS, and with peers that mean no good.
//!
//! What others' programs make of it is `interop_openssl`'s business and that of its neighbours.
#![cfg(target_os = "linux")]

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        LazyLock,
        mpsc::{Sender, channel},
    },
    thread,
    time::Instant,
};

use netproc::{Handle, Process, Runtime, SendError, TlsIdentity, TlsServer};
use netproc_tests::{
    pki::Pki,
    program::{Left, PROGRAM, Run, accept, backends, listener, local, pattern},
    rig::PATIENCE,
};
use nix::sys::signal::Signal;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// What no peer that is not proved may ever get.
const SECRET: &str = "open sesame";

/// An echo server with this identity, and its endpoint.
fn listen(backend: &str, identity: &str, args: &[&str]) -> (Run, String) {
    let identity = PKI.identity(identity);
    let identity = identity.each_ref().map(String::as_str);
    let fixed = ["listen", "--echo", "--backend", backend];
    let mut run = Run::new(&[&fixed[..], &identity, args, &["127.0.0.1:0"]].concat());
    let endpoint = run.line();
    (run, endpoint)
}

/// A client that trusts the authority.
fn connect(backend: &str, endpoint: &str, args: &[&str]) -> Run {
    let ca = PKI.path("ca.pem");
    Run::new(&[&["connect", "--backend", backend, "--ca", &ca][..], args, &[endpoint]].concat())
}

/// Lets it say the secret, and waits for its end.
fn tries(mut run: Run) -> Left {
    run.feed(format!("{SECRET}\n").into());
    run.end()
}

#[test]
fn connect_gets_everything_back_under_tls() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let file = local("unix", &folder);
        let (mut server, endpoint) = listen(backend, "server", &["--tls", &file]);
        assert_eq!(endpoint, file);
        let over_ip = server.line();
        for endpoint in [file, over_ip.clone(), over_ip.replace("127.0.0.1", "localhost")] {
            let mut run = connect(backend, &endpoint, &["--tls", "--name", "localhost"]);
            run.feed(pattern(1 << 20));
            let left = run.end();
            left.check_well();
            assert!(left.output == pattern(1 << 20), "{backend} {endpoint}: {}", left.output.len());
        }
        // The address is the name when there is no other.
        let left = tries(connect(backend, &over_ip, &["--tls"]));
        left.check_well();
        assert_eq!(left.text(), format!("{SECRET}\n"));
    }
}

#[test]
fn a_signal_takes_leave_of_everybody() {
    for backend in backends() {
        let (server, endpoint) = listen(backend, "server", &["--tls"]);
        let mut run = connect(backend, &endpoint, &["--tls"]);
        run.say(&format!("{SECRET}\n"));
        assert_eq!(run.line(), SECRET, "{backend}");
        server.signal(Signal::SIGTERM);
        server.end().check_well();
        // With a cut it would be 2. On a busy machine its input is given up before it ends, and that is told of.
        assert_eq!(run.end().code, Some(0), "{backend}");
    }
}

#[test]
fn a_signal_takes_no_leave_of_who_has_not_said_hello() {
    for backend in backends() {
        let (mut server, endpoint) = listen(backend, "server", &["--tls", "--verbose"]);
        let silent = TcpStream::connect(&endpoint).unwrap();
        // One that comes behind it is served, so it has been accepted.
        let mut run = connect(backend, &endpoint, &["--tls"]);
        run.say(&format!("{SECRET}\n"));
        assert_eq!(run.line(), SECRET, "{backend}");
        assert_eq!(run.end().code, Some(0), "{backend}");
        assert!(server.complains("connection broken"), "{backend}: {server}");
        server.signal(Signal::SIGTERM);
        let left = server.end();
        assert_eq!(left.code, Some(0), "{backend}: {left:?}");
        assert!(!left.errors.contains("unsent"), "{backend}: {left:?}");
        drop(silent);
    }
}

#[test]
fn connect_starts_tls_as_each_protocol_does() {
    for backend in backends() {
        for protocol in ["smtp", "imap", "pop3"] {
            let (_server, endpoint) = listen(backend, "server", &["--starttls", protocol]);
            let mut run = connect(backend, &endpoint, &["--starttls", protocol]);
            run.feed(pattern(300_000));
            let left = run.end();
            left.check_well();
            assert!(left.output == pattern(300_000), "{backend} {protocol}: {}", left.output.len());
        }
    }
}

#[test]
fn connect_says_what_was_agreed_upon_when_asked() {
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &[": connected to 127.0.0.1:", ", TLS 1.3, TLS_", "certificate verified"]),
        (&[], &["--tls-max", "1.2"], &["TLS 1.2, TLS_ECDHE_"]),
        (&["--tls-max", "1.2"], &[], &["TLS 1.2"]),
        (
            &["--alpn", "imap", "--alpn", "h2"],
            &["--alpn", "h2", "--alpn", "imap"],
            &["protocol imap"],
        ),
    ];
    for (of_server, of_client, words) in cases {
        let (_server, endpoint) = listen("poll", "server", &[&["--tls"], of_server].concat());
        let left = tries(connect("poll", &endpoint, &[&["--tls", "-v"], of_client].concat()));
        for word in words {
            left.check(0, word);
        }
    }
    let (_server, endpoint) = listen("poll", "server", &["--starttls", "smtp"]);
    let left = tries(connect("poll", &endpoint, &["--starttls", "smtp", "--verbose"]));
    assert_eq!(left.code, Some(0), "{}", left.errors);
    for words in ["greeting 220 localhost ESMTP", "capabilities 250 localhost", "TLS 1.3"] {
        assert!(left.errors.contains(words), "{words} in {}", left.errors);
    }
}

#[test]
fn a_server_that_cannot_prove_its_name_is_told_nothing() {
    let cases = [
        ("stranger", "unknown issuer"),
        ("expired", "certificate refused: expired"),
        ("future", "certificate refused: not yet valid"),
        ("purpose", "certificate refused: not for this purpose"),
        ("common", "certificate refused: not for"),
        ("second", "certificate refused: not for"),
    ];
    for backend in backends() {
        for (identity, reason) in cases {
            for how in [&["--tls"][..], &["--starttls", "imap"]] {
                let (_server, endpoint) = listen(backend, identity, how);
                let endpoint = endpoint.replace("127.0.0.1", "localhost");
                let left = tries(connect(backend, &endpoint, how));
                left.check(1, reason);
                assert_eq!(left.text(), "", "{backend} {identity}");
            }
        }
    }
}

#[test]
fn a_name_and_an_authority_that_are_not_the_servers_are_refused() {
    let (_server, endpoint) = listen("poll", "server", &["--tls"]);
    let named = connect("poll", &endpoint, &["--tls", "--name", "elsewhere.example"]);
    let words = r#"certificate refused: not for "elsewhere.example" but for "localhost", "127.0.0.1", "::1""#;
    tries(named).check(1, words);
    // What the system trusts has never heard of ours.
    tries(Run::new(&["connect", "--tls", &endpoint])).check(1, "unknown issuer");
}

#[test]
fn each_of_several_certificates_is_shown_for_its_own_names() {
    for backend in backends() {
        let second = PKI.identity("second");
        let second = second.each_ref().map(String::as_str);
        let (_server, endpoint) = listen(backend, "server", &[&["--tls"][..], &second].concat());
        for name in ["localhost", "127.0.0.1", "second.example", "any.wild.example"] {
            let left = tries(connect(backend, &endpoint, &["--tls", "--name", name]));
            left.check_well();
        }
        let left = tries(connect(backend, &endpoint, &["--tls", "--name", "third.example"]));
        left.check(1, "not for \"third.example\"");
    }
}

#[test]
fn clients_are_asked_for_their_certificate() {
    let ca = PKI.path("ca.pem");
    for backend in backends() {
        for version in ["1.2", "1.3"] {
            let args = ["--tls", "--client-ca", &ca, "--tls-min", version, "--tls-max", version];
            let (_server, endpoint) = listen(backend, "server", &args);
            let with = |identity: &str| {
                let identity = PKI.identity(identity);
                let identity = identity.each_ref().map(String::as_str);
                tries(connect(backend, &endpoint, &[&["--tls"][..], &identity].concat()))
            };
            let left = with("client");
            left.check_well();
            assert_eq!(left.text(), format!("{SECRET}\n"), "{backend} {version}");
            // A client of 1.3 is done before the server has looked.
            let refused = if version == "1.2" { 1 } else { 2 };
            with("stranger-client").check(refused, "the peer gave up: ");
            tries(connect(backend, &endpoint, &["--tls"])).check(refused, "the peer gave up: ");
        }
    }
}

#[test]
fn sides_that_have_nothing_in_common_part_with_a_reason() {
    let (_server, endpoint) = listen("poll", "server", &["--tls", "--tls-min", "1.3"]);
    let left = tries(connect("poll", &endpoint, &["--tls", "--tls-max", "1.2"]));
    left.check(1, "the peer gave up: protocol version");
    let (_server, endpoint) = listen("poll", "server", &["--tls", "--alpn", "imap"]);
    let left = tries(connect("poll", &endpoint, &["--tls", "--alpn", "h2"]));
    left.check(1, "the peer gave up: no application protocol");
}

#[test]
fn a_server_that_says_nothing_costs_no_more_than_the_time_given() {
    for backend in backends() {
        for how in [&["--tls"][..], &["--starttls", "smtp"], &["--starttls", "postgresql"]] {
            let (_silent, endpoint) = listener();
            let left = connect(backend, &endpoint, &[how, &["-w", "0.2"]].concat()).end();
            assert_eq!(left.code, Some(3), "{backend} {how:?}: {}", left.errors);
            assert_eq!(left.errors.lines().count(), 1, "{}", left.errors);
        }
    }
}

/// A peer that says these lines, each behind a line of the client, the first at once; and then no more.
/// Returns what it was told before the client hung up.
fn peer(listener: TcpListener, lines: &'static [&'static str]) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut client = accept(&listener);
        let mut told = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            while told.iter().filter(|&&byte| byte == b'\n').count() < at {
                let mut piece = [0; 1000];
                match client.read(&mut piece) {
                    Ok(len @ 1..) => told.extend_from_slice(&piece[..len]),
                    _ => return told,
                }
            }
            client.write_all(line.as_bytes()).expect("it is awaited");
        }
        // Whoever gives up may reset what it does not read.
        let _ = client.read_to_end(&mut told);
        told
    })
}

#[test]
fn a_server_that_will_not_or_must_not_start_tls_is_told_nothing() {
    const OFFER: &str = "250-mail\r\n250 STARTTLS\r\n";
    let cases: [(&'static [&'static str], &str); 8] = [
        (&["220 hello\r\n", "250-mail\r\n250 SIZE\r\n"], "server does not support TLS"),
        // What looks like an offer is none.
        (&["220 hello\r\n", "250-XSTARTTLS\r\n250 mail STARTTLS\r\n"], "does not support TLS"),
        (&["220 hello\r\n", OFFER, "454 not now\r\n"], "server refused to start TLS: 454 not now"),
        (&["220 hello\r\n", OFFER, "220-wait\r\n454 220 go\r\n"], "server refused to start TLS"),
        (&["220 hello\r\n", OFFER, "220 go\r\n250 injected\r\n"], "clear text after STARTTLS"),
        (&["220 hello\r\n", OFFER, "220 go\r\nx"], "clear text after STARTTLS"),
        (&["554 go away\r\n"], "the server's greeting turns us away: 554 go away"),
        (&["220 hello\r\n", OFFER, "220 go\r\n", "nonsense, and much of it\r\n"], "clear text"),
    ];
    for backend in backends() {
        for (lines, reason) in cases {
            let (listener, endpoint) = listener();
            let peer = peer(listener, lines);
            let left = tries(connect(backend, &endpoint, &["--starttls", "smtp"]));
            left.check(1, reason);
            let told = String::from_utf8_lossy(&peer.join().unwrap()).into_owned();
            assert!(!told.contains(SECRET), "{backend} {lines:?}: {told}");
            assert_eq!(left.text(), "", "{backend} {lines:?}");
        }
    }
}

#[test]
fn a_server_that_never_ends_its_answer_is_left() {
    let endless = |text: &'static [u8]| {
        let (listener, endpoint) = listener();
        thread::spawn(move || {
            let mut client = accept(&listener);
            while client.write_all(text).is_ok() {}
        });
        endpoint
    };
    for backend in backends() {
        for text in [&b"220-more\r\n"[..], b"x"] {
            let left = tries(connect(backend, &endless(text), &["--starttls", "smtp"]));
            left.check(1, "the greeting longer than 65536 bytes");
        }
    }
}

/// What a middleman does to what a server says.
#[derive(Clone, Copy)]
enum Mischief {
    /// Hangs up in its place.
    Cuts,
    /// Changes a byte of it.
    Damages,
}

/// A middleman before `server` that does so to the first record that comes after the client's data, the
/// third at least. Each record is known by its header.
fn middleman(server: &str, mischief: Mischief) -> String {
    let (listener, endpoint) = listener();
    let server = server.to_owned();
    thread::spawn(move || {
        let mut client = accept(&listener);
        let mut server = TcpStream::connect(server).expect("it listens");
        let twin = |it: &TcpStream| it.try_clone().expect("there are descriptors");
        let (mut from, mut to) = (twin(&client), twin(&server));
        // As soon as either hangs up, so does the other.
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        // A server of 1.2 says hello and three more things, changes its cipher, and is finished.
        let mut data = false;
        while let Some(mut record) = record(&mut server) {
            data |= record[0] == 23;
            if data {
                match mischief {
                    Mischief::Cuts => break,
                    Mischief::Damages => record.iter_mut().last().map_or((), |it| *it ^= 1),
                }
            }
            if client.write_all(&record).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
    endpoint
}

/// The next record of TLS, its header included.
fn record(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record).ok()?;
    let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + len, 0);
    from.read_exact(&mut record[5..]).ok()?;
    Some(record)
}

#[test]
fn a_cut_is_told_from_an_end_and_nothing_damaged_is_let_through() {
    // In 1.2 data is known from outside.
    let args = ["--tls", "--tls-max", "1.2"];
    for backend in backends() {
        let (_server, endpoint) = listen(backend, "server", &args);
        let cases = [
            (Mischief::Cuts, "ended without a closing notice"),
            (Mischief::Damages, "a record was damaged on its way"),
        ];
        for (mischief, reason) in cases {
            let mut run = connect(backend, &middleman(&endpoint, mischief), &["--tls"]);
            run.say(SECRET);
            // It has not ended its own direction.
            let _input = run.take_input();
            let left = run.end();
            left.check(2, reason);
            assert_eq!(left.text(), "", "{backend}");
        }
    }
}

/// Waits until the other end has read all that `peer` has sent it.
fn until_read(peer: &TcpStream) {
    let port = |end: SocketAddr| format!("0100007F:{:04X}", end.port());
    let own = port(peer.local_addr().expect("it is bound"));
    let theirs = port(peer.peer_addr().expect("it is connected"));
    let begin = Instant::now();
    let is_read = || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel shows it");
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // A table that changes while it is read may lack a line.
        let line = lines.find(|line| line.get(1..3) == Some(&[&*theirs, &*own]));
        line.is_some_and(|line| line[4].ends_with(":00000000"))
    };
    while !is_read() {
        assert!(begin.elapsed() < PATIENCE, "nobody reads");
        thread::yield_now();
    }
}

#[test]
fn a_coding_keeps_no_byte_of_what_is_said_before_tls() {
    for backend in backends() {
        let how = ["--starttls", "smtp", "--coding", "utf-16le"];
        let (_server, endpoint) = listen(backend, "server", &how);
        let mut peer = TcpStream::connect(&endpoint).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(peer.try_clone().unwrap()).lines();
        let mut hear = || lines.next().expect("it goes on").unwrap();
        assert!(hear().starts_with("220 "), "{backend}");
        // In parts that are reads of their own; the first is half a character to that coding.
        for part in ["E", "HLO me\r\n"] {
            peer.write_all(part.as_bytes()).unwrap();
            until_read(&peer);
        }
        assert!(hear().starts_with("250-"), "{backend}");
        drop(peer);
        // The coding is that of the echo: it reads CR LF and answers in the other.
        for protocol in ["smtp", "imap", "pop3"] {
            let how = ["--starttls", protocol, "--coding", "(utf-8-dos . latin-1-unix)"];
            let (_server, endpoint) = listen(backend, "server", &how);
            let mut run = connect(backend, &endpoint, &["--starttls", protocol]);
            run.feed("h\u{e9}\r\n".into());
            let left = run.end();
            left.check_well();
            assert_eq!(left.output, b"h\xe9\n", "{backend} {protocol}");
        }
        // What is no whole character at the end comes back as it is.
        for how in [&["--tls"][..], &["--starttls", "smtp"]] {
            let (_server, endpoint) =
                listen(backend, "server", &[how, &["--coding", "utf-8"]].concat());
            let mut run = connect(backend, &endpoint, how);
            run.feed(b"abc\xe2\x82".to_vec());
            let left = run.end();
            left.check_well();
            assert_eq!(left.output, b"abc\xe2\x82", "{backend} {how:?}");
        }
        // The question inside TLS has an odd number of bytes, half a character at its end.
        let (_server, endpoint) =
            listen(backend, "server", &["--starttls", "imap", "--coding", "utf-16le"]);
        let mut run = connect(backend, &endpoint, &["--starttls", "imap"]);
        run.feed(b"h\0i\0".to_vec());
        let left = run.end();
        left.check_well();
        assert_eq!(left.output, b"h\0i\0", "{backend}");
    }
}

/// A mail server whose words inside TLS have UTF-16 behind them, and which says the rest when it hears anything.
fn mail(identity: TlsIdentity, told: &Sender<(u16, Handle)>) -> Result<(), Box<dyn Error>> {
    let tls = TlsServer::builder(identity).build()?;
    let rt = Runtime::new()?;
    let server = rt.server("mail").on_accept(|_, it| it.send("220 hello\r\n"));
    let server = server.sentinel(|_, _| {}).filter(move |it: &Process, input| {
        match &input[..] {
            b"STARTTLS\r\n" => {
                it.send("220 go\r\n")?;
                it.upgrade(tls.clone()).expect("nothing came behind it");
            }
            b"EHLO localhost\r\n" if it.tls_info().is_none() => drop(it.send("250 STARTTLS\r\n")?),
            b"EHLO localhost\r\n" => drop(it.send(&b"250 well\r\n\xFF\xFEa\0b"[..])?),
            _ => {
                it.send(&b"\0c\0"[..])?;
                it.send_eof().expect("it is open");
            }
        }
        Ok::<_, SendError>(())
    });
    let server = server.start()?;
    told.send((server.contact().local().port().ok_or("a port")?, rt.handle()))?;
    Ok(rt.run()?)
}

#[test]
fn a_coding_is_one_text_behind_the_dialogue() {
    let files = ["server.pem", "server.key"].map(|it| PKI.path(it));
    let identity = TlsIdentity::from_files(&files[0], &files[1]).unwrap();
    let (told, server) = channel();
    let serving = thread::spawn(move || mail(identity, &told).map_err(|err| err.to_string()));
    let (port, handle) = server.recv().unwrap();
    for backend in backends() {
        let how = ["--starttls", "smtp", "--coding", "utf-16"];
        let mut run = connect(backend, &format!("127.0.0.1:{port}"), &how);
        run.feed("x".into());
        let left = run.end();
        left.check_well();
        assert_eq!(left.text(), "abc", "{backend}");
    }
    handle.shutdown().unwrap();
    drop(handle);
    serving.join().unwrap().unwrap();
}

#[test]
fn listen_echoes_nothing_that_came_in_clear() {
    let cases: [(&[&str], &[u8]); 4] = [
        (&["--tls"], b"GET / HTTP/1.0\r\n\r\n"),
        (&["--starttls", "smtp"], b"EHLO me\r\nSTARTTLS\r\nMAIL FROM:<injected>\r\n"),
        (&["--starttls", "imap"], b"a STARTTLS\r\nb injected\r\n"),
        (&["--starttls", "pop3"], b"STLS\r\ninjected\r\n"),
    ];
    for backend in backends() {
        for (how, text) in cases {
            let (_server, endpoint) = listen(backend, "server", how);
            let mut peer = TcpStream::connect(&endpoint).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(text).unwrap();
            let mut got = Vec::new();
            // A reset says as much as an end.
            let _ = peer.read_to_end(&mut got);
            let got = String::from_utf8_lossy(&got).into_owned();
            for word in ["injected", "GET"] {
                assert!(!got.contains(word), "{backend} {how:?}: {got}");
            }
            // Everybody else is served as before.
            let left = tries(connect(backend, &endpoint, how));
            left.check_well();
            assert_eq!(left.text(), format!("{SECRET}\n"), "{backend} {how:?}");
        }
    }
}

#[test]
fn arguments_that_do_not_go_together_are_refused_with_a_reason() {
    let (server, client) = (PKI.identity("server"), PKI.path("ca.pem"));
    let [_, certificate, _, key] = &server;
    let cases: [(&[&str], &str); 15] = [
        (&["connect", "--tls", "--starttls", "smtp", "h:1"], "cannot be used with"),
        (&["connect", "--ca", &client, "h:1"], "--tls|--starttls"),
        (&["connect", "--name", "x", "h:1"], "--tls|--starttls"),
        (&["connect", "--alpn", "x", "h:1"], "--tls|--starttls"),
        (&["connect", "--tls-min", "1.3", "h:1"], "--tls|--starttls"),
        (&["connect", "--tls", "--cert", certificate, "h:1"], "--key <FILE>"),
        (&["connect", "--tls", "--key", key, "h:1"], "--cert <FILE>"),
        (&["connect", "--tls", "udp:h:1"], "--tls needs a stream"),
        (&["connect", "--tls", "seqpacket:/x"], "--tls needs a stream"),
        (&["connect", "--tls", "unix:/x"], "has no host to check a certificate for: --name"),
        (
            &["connect", "--starttls", "smtp", "--name", "x", "unix:/x"],
            "--starttls needs HOST:PORT",
        ),
        (&["connect", "--starttls", "http", "h:1"], "possible values: smtp, imap, pop3, nntp"),
        (&["connect", "--tls", "--tls-max", "1.1", "h:1"], "possible values: 1.2, 1.3"),
        (&["listen", "--echo", "--tls", "h:1"], "--cert <FILE>"),
        (&["listen", "--echo", "--cert", certificate, "--key", key, "h:1"], "--tls|--starttls"),
    ];
    for (args, reason) in cases {
        let left = Run::new(args).end();
        assert_eq!(left.code, Some(2), "{args:?}: {}", left.errors);
        assert!(left.errors.contains(reason), "{reason} in {}", left.errors);
        assert!(!left.errors.contains("Usage: netproc <COMMAND>"), "{}", left.errors);
    }
    let twice = ["--cert", certificate, "--key", key, "--cert", certificate];
    let left = Run::new(&[&["listen", "--echo", "--tls"][..], &twice, &["h:1"]].concat()).end();
    assert!(left.code == Some(2) && left.errors.contains("2 --cert, 1 --key"), "{}", left.errors);
    let packets = ["--cert", certificate, "--key", key, "udp:127.0.0.1:0"];
    let left = Run::new(&[&["listen", "--echo", "--tls"][..], &packets].concat()).end();
    assert!(left.code == Some(2) && left.errors.contains("TLS needs a stream"), "{}", left.errors);
}

#[test]
fn a_file_that_is_no_good_is_named_before_anybody_is_connected_to() {
    let (listener, endpoint) = listener();
    let (ca, missing) = (PKI.path("ca.pem"), PKI.path("missing"));
    let [_, certificate, _, key] = &PKI.identity("client");
    let other = PKI.path("second.key");
    let cases: [(&[&str], &str, &str); 6] = [
        (&["--ca", &missing], &missing, "cannot be read"),
        (&["--ca", key], key, "holds no certificate"),
        (&["--ca", "/dev/null"], "/dev/null", "is empty"),
        (&["--ca", &ca, "--cert", &missing, "--key", key], &missing, "cannot be read"),
        (&["--ca", &ca, "--cert", certificate, "--key", &ca], &ca, "holds no private key"),
        (&["--ca", &ca, "--cert", certificate, "--key", &other], &other, "not that of the cert"),
    ];
    for (args, file, reason) in cases {
        for how in [&["--tls"][..], &["--starttls", "smtp"]] {
            let left = Run::new(&[&["connect"], how, args, &[&endpoint]].concat()).end();
            left.check(1, reason);
            assert!(left.errors.contains(file), "{}", left.errors);
        }
    }
    let left = Run::new(&["connect", "--tls", "--ca", &ca, "--name", "*.example", &endpoint]).end();
    left.check(2, "server name \"*.example\" has a wildcard");
    let args = ["--tls", "--tls-min", "1.3", "--tls-max", "1.2", "--ca", &ca, &endpoint];
    Run::new(&[&["connect"][..], &args].concat()).end().check(2, "above the highest");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody was connected to");
    let files = ["--cert", certificate, "--key", &other];
    let args = [&["listen", "--echo", "--tls"][..], &files, &["127.0.0.1:0"]].concat();
    let left = Run::new(&args).end();
    left.check(1, "not that of the certificate");
    assert!(!left.errors.contains("PRIVATE"), "{}", left.errors);
    assert!(PROGRAM.exists());
}
