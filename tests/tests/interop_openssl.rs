//! TLS with OpenSSL at the other end: `openssl s_server` and `openssl s_client`.
//!
//! What is promised towards ourselves is tested in `process_tls`; here both sides have to mean the same
//! by it. The server and the client of OpenSSL are run by the test, on ports they choose themselves.
#![cfg(target_os = "linux")]

use std::{path::Path, sync::LazyLock};

use netproc::{
    Exit, HandshakeFailure, Process, Reason, SharedError, StartError, TlsClient, TlsIdentity,
    TlsServer, TlsServerBuilder, TlsTrust, TlsVerification, TlsVersion,
};
use netproc_tests::{
    conformance, others,
    pki::Pki,
    program::{Run, backends, command, pattern},
    rig::Rig,
};
use nix::sys::signal::Signal;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

const VERSIONS: [(TlsVersion, &str, &str); 2] =
    [(TlsVersion::V1_2, "-tls1_2", "TLSv1.2"), (TlsVersion::V1_3, "-tls1_3", "TLSv1.3")];

/// `openssl s_server` with this identity, and its port.
fn s_server(openssl: &Path, identity: &str, args: &[&str]) -> (Run, u16) {
    let mut command = command(openssl);
    command.args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "9"]);
    command.args(["-cert", &PKI.path(&format!("{identity}.pem"))]);
    command.args(["-key", &PKI.path(&format!("{identity}.key"))]);
    command.args(args);
    let mut run = Run::of(command);
    let port = run.hear_until("ACCEPT 127.0.0.1:");
    drop(port);
    let port = run.line().parse().expect("a port is a number");
    (run, port)
}

/// `openssl s_client` at `port`, which checks that it speaks with `localhost`.
fn s_client(openssl: &Path, port: u16, args: &[&str]) -> Run {
    let mut command = command(openssl);
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    command.args(["-servername", "localhost", "-verify_hostname", "localhost"]);
    command.args(["-CAfile", &PKI.path("ca.pem"), "-verify_return_error"]);
    command.args(args);
    Run::of(command)
}

fn trust(file: &str) -> TlsTrust {
    TlsTrust::from_file(PKI.path(file)).expect("it was written")
}

fn identity(name: &str) -> TlsIdentity {
    let (certificate, key) = (PKI.path(&format!("{name}.pem")), PKI.path(&format!("{name}.key")));
    TlsIdentity::from_files(certificate, key).expect("it was written")
}

fn server() -> TlsServerBuilder {
    TlsServer::builder(identity("server"))
}

fn start(rig: &Rig, port: u16, tls: TlsClient) -> Result<Process, StartError> {
    rig.client_at(std::net::SocketAddr::from(([127, 0, 0, 1], port))).tls(tls).start()
}

/// A server of ours with this TLS, which logs, and its port.
fn serve(rig: &Rig, tls: TlsServer) -> Result<(Process, u16), Box<dyn std::error::Error>> {
    let server = rig.server().tls(tls).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    Ok((server, port))
}

/// Whether it ended without a good-bye. Whoever is killed with something unread resets the connection.
fn was_cut(process: &Process) -> bool {
    matches!(process.exit(), Exit::Broken(Reason::Truncated | Reason::Sys(_)))
}

/// How many handshakes have failed so far, as the log has it.
fn failed(rig: &Rig) -> usize {
    rig.log.lines().iter().filter(|line| line.contains("failed with code")).count()
}

/// The reason inside an error of a start.
fn failure(started: Result<Process, StartError>) -> HandshakeFailure {
    match started {
        Err(StartError::Handshake { source, .. }) => reason(&source),
        other => panic!("no handshake failed: {other:?}"),
    }
}

fn reason(err: &SharedError) -> HandshakeFailure {
    err.downcast::<HandshakeFailure>().expect("TLS says why").clone()
}

conformance!(on (poll epoll uring): our_client_speaks_both_versions_with_its_server, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let (mut theirs, port) = s_server(&openssl, "server", &[flag, "-alpn", "imap,h2"]);
        let tls = TlsClient::builder("localhost").trust(trust("ca.pem")).alpn(["h2", "imap"]);
        let client = start(rig, port, tls.build()?)?;
        let info = client.tls_info().ok_or("the handshake is done")?;
        assert_eq!((info.version(), info.alpn()), (version, Some(&b"imap"[..])));
        assert_eq!(info.verification(), &TlsVerification::Verified);
        client.send("hello from us\n")?;
        rig.until("it is sent", || client.queued() == 0);
        theirs.hear_until("hello from us\n");
        theirs.say("hello from them\n");
        rig.until_bytes(&client, b"hello from them\n");
        // It says good-bye when we do.
        client.send_eof()?;
        rig.until_line(&client, "connection broken by remote peer (closed)");
        assert_eq!(client.exit(), Exit::Broken(Reason::End), "{version}");
    }
    Ok(())
});

conformance!(on (poll epoll uring): an_end_by_its_server_is_one, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let (_theirs, port) = s_server(&openssl, "server", &[flag, "-www"]);
        let tls = TlsClient::builder("localhost").trust(trust("ca.pem")).build()?;
        let client = start(rig, port, tls)?;
        client.send("GET / HTTP/1.0\r\n\r\n")?;
        rig.until_line(&client, "connection broken by remote peer (closed)");
        assert_eq!(client.exit(), Exit::Broken(Reason::End), "{version}");
        let page = rig.log.bytes_of(&client);
        assert!(page.starts_with(b"HTTP/1.0 200 ok"), "{}", page.escape_ascii());
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_cut_by_its_server_is_no_end, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let (mut theirs, port) = s_server(&openssl, "server", &[flag]);
        let tls = TlsClient::builder("localhost").trust(trust("ca.pem")).build()?;
        let client = start(rig, port, tls)?;
        client.send("hello\n")?;
        rig.until("it is sent", || client.queued() == 0);
        theirs.hear_until("hello\n");
        theirs.signal(Signal::SIGKILL);
        rig.until_line(&client, "connection broken by remote peer (closed)");
        assert!(was_cut(&client), "{version}: {:?}", client.exit());
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_client_takes_up_sessions_of_its_server, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let (mut theirs, port) = s_server(&openssl, "server", &[flag]);
        let tls = TlsClient::builder("localhost").trust(trust("ca.pem")).build()?;
        for (round, is_resumed) in [false, true, true].into_iter().enumerate() {
            let client = start(rig, port, tls.clone())?;
            let info = client.tls_info().ok_or("the handshake is done")?;
            assert_eq!(info.is_resumed(), is_resumed, "{version}, {round}");
            // The ticket of 1.3 comes behind the handshake, before what comes next.
            client.send(format!("round {round}\n"))?;
            rig.until("it is sent", || client.queued() == 0);
            theirs.hear_until(&format!("round {round}\n"));
            theirs.say("answer\n");
            rig.until_bytes(&client, b"answer\n");
            client.delete();
            rig.settle();
        }
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_client_shows_its_certificate_to_its_server, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let ca = PKI.path("ca.pem");
    for (version, flag, _) in VERSIONS {
        let args = [flag, "-Verify", "2", "-verify_return_error", "-CAfile", &ca];
        let (mut theirs, port) = s_server(&openssl, "server", &args);
        let tls = || TlsClient::builder("localhost").trust(trust("ca.pem"));
        let client = start(rig, port, tls().identity(identity("client")).build()?)?;
        client.send("it is me\n")?;
        rig.until("it is sent", || client.queued() == 0);
        let told = theirs.hear_until("it is me\n");
        assert!(told.contains("CN = client") || told.contains("CN=client"), "{told}");
        client.delete();
        for tls in [tls().build()?, tls().identity(identity("stranger-client")).build()?] {
            // A client of 1.3 is done before the server has looked.
            match start(rig, port, tls) {
                Ok(client) => {
                    let _ = client.send("it is me\n");
                    rig.until_line(&client, "connection broken by remote peer (closed)");
                    let err = client.layer_error().ok_or("it was told why")?;
                    assert!(matches!(reason(&err), HandshakeFailure::Alert(_)), "{err}");
                }
                Err(StartError::Handshake { source, .. }) => {
                    assert_eq!(version, TlsVersion::V1_2);
                    assert!(matches!(reason(&source), HandshakeFailure::Alert(_)), "{source}");
                }
                Err(err) => return Err(err.into()),
            }
        }
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_client_refuses_what_its_server_cannot_prove, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let cases = [
        ("server", "ca.pem", "elsewhere.example", "not for \"elsewhere.example\""),
        ("server", "stranger-ca.pem", "localhost", "unknown issuer"),
        ("expired", "ca.pem", "localhost", "expired"),
        ("future", "ca.pem", "localhost", "not yet valid"),
        ("purpose", "ca.pem", "localhost", "not for this purpose"),
        ("common", "ca.pem", "localhost", "not for \"localhost\""),
    ];
    for (shown, roots, name, words) in cases {
        let (mut theirs, port) = s_server(&openssl, shown, &[]);
        let refused = failure(start(rig, port, TlsClient::builder(name).trust(trust(roots)).build()?));
        assert!(matches!(refused, HandshakeFailure::Certificate(_)), "{shown}: {refused}");
        assert!(refused.to_string().contains(words), "{words} in {refused}");
        // It is told by an alert, and by no byte of data.
        assert!(theirs.complains("alert"), "{theirs}");
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_client_speaks_no_old_version_and_without_forward_secrecy, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let cases: [(&[&str], &[HandshakeFailure]); 2] = [
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], &[HandshakeFailure::Version]),
        (&["-tls1_2", "-cipher", "kRSA"], &[HandshakeFailure::NoCommonSuite]),
    ];
    for (args, expected) in cases {
        let (_theirs, port) = s_server(&openssl, "server", args);
        let tls = TlsClient::builder("localhost").trust(trust("ca.pem")).build()?;
        let failure = failure(start(rig, port, tls));
        let is_alert = matches!(failure, HandshakeFailure::Alert(_));
        assert!(is_alert || expected.contains(&failure), "{args:?}: {failure}");
    }
    Ok(())
});

conformance!(on (poll epoll uring): its_client_speaks_both_versions_with_our_server, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, name) in VERSIONS {
        let (server, port) = serve(rig, server().alpn(["h2", "imap"]).build()?)?;
        let mut theirs = s_client(&openssl, port, &[flag, "-alpn", "imap,h2"]);
        theirs.say("hello from them\n");
        let child = rig.child(&server);
        rig.until_bytes(&child, b"hello from them\n");
        let info = child.tls_info().ok_or("the handshake is done")?;
        assert_eq!((info.version(), info.alpn()), (version, Some(&b"h2"[..])));
        assert_eq!(info.server_name(), Some("localhost"));
        child.send("hello from us\n")?;
        rig.until("it is sent", || child.queued() == 0);
        let told = theirs.hear_until("hello from us\n");
        let words = ["Verification: OK", "Verified peername: localhost", "ALPN protocol: h2", name];
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        theirs.say("Q\n");
        rig.until_line(&child, "connection broken by remote peer (closed)");
        assert_eq!(child.exit(), Exit::Broken(Reason::End), "{version}");
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_cut_by_its_client_is_no_end_and_an_end_of_ours_is_one, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let (server, port) = serve(rig, server().build()?)?;
        let mut theirs = s_client(&openssl, port, &[flag]);
        theirs.say("hello\n");
        let child = rig.child(&server);
        rig.until_bytes(&child, b"hello\n");
        theirs.signal(Signal::SIGKILL);
        rig.until_line(&child, "connection broken by remote peer (closed)");
        assert!(was_cut(&child), "{version}: {:?}", child.exit());
        // The other way round it is told that nothing was cut.
        let mut theirs = s_client(&openssl, port, &[flag, "-msg"]);
        theirs.say("again\n");
        rig.until("it is there", || rig.children(&server) == 1);
        let child = rig.child(&server);
        rig.until_bytes(&child, b"again\n");
        child.delete();
        rig.settle();
        let told = theirs.hear_until("warning close_notify");
        assert!(!told.contains("fatal"), "{told}");
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): its_client_takes_up_sessions_of_our_server, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    for (version, flag, name) in VERSIONS {
        let (server, port) = serve(rig, server().build()?)?;
        let file = folder.path().join(flag).display().to_string();
        for (args, is_resumed) in [(["-sess_out", &file], false), (["-sess_in", &file], true)] {
            let mut theirs = s_client(&openssl, port, &[&[flag][..], &args].concat());
            theirs.say("hello\n");
            rig.until("it is there", || rig.children(&server) == 1);
            let child = rig.child(&server);
            rig.until_bytes(&child, b"hello\n");
            assert_eq!(child.tls_info().ok_or("it is done")?.is_resumed(), is_resumed, "{version}");
            child.send("answer\n")?;
            rig.until("it is sent", || child.queued() == 0);
            let told = theirs.hear_until("answer\n");
            let words = format!("{}, {name}", if is_resumed { "Reused" } else { "New" });
            assert!(told.contains(&words), "{words} in {told}");
            theirs.say("Q\n");
            rig.until_line(&child, "connection broken by remote peer (closed)");
            // The file is there when the program has ended.
            assert_eq!(theirs.end().code, Some(0));
        }
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): its_client_reconnects_to_our_server_and_takes_sessions_up, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let (server, port) = serve(rig, server().build()?)?;
    let mut theirs = s_client(&openssl, port, &["-tls1_2", "-reconnect"]);
    theirs.say("hello\n");
    let got = || rig.connections(&server).iter().any(|it| rig.log.bytes_of(it) == b"hello\n");
    rig.until("the last connection", got);
    let child = rig.child(&server);
    assert!(child.tls_info().is_some_and(|info| info.is_resumed()));
    child.send("answer\n")?;
    rig.until("it is sent", || child.queued() == 0);
    let told = theirs.hear_until("answer\n");
    assert_eq!(told.matches("Reused, TLSv1.2").count(), 5, "{told}");
    Ok(())
});

conformance!(on (poll epoll uring): our_server_asks_its_client_for_a_certificate, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let (server, port) = serve(rig, server().demand_clients(trust("ca.pem")).build()?)?;
        let [certificate, key] = [PKI.path("client.pem"), PKI.path("client.key")];
        let mut theirs = s_client(&openssl, port, &[flag, "-cert", &certificate, "-key", &key]);
        theirs.say("hello\n");
        let child = rig.child(&server);
        rig.until_bytes(&child, b"hello\n");
        let info = child.tls_info().ok_or("the handshake is done")?;
        assert_eq!(info.verification(), &TlsVerification::Verified, "{version}");
        assert_eq!(info.peer_chain()[0], identity("client").chain().next().unwrap_or_default());
        child.delete();
        let [certificate, key] = [PKI.path("stranger-client.pem"), PKI.path("stranger-client.key")];
        let stranger = [flag, "-cert", &certificate, "-key", &key];
        for args in [&[flag][..], &stranger] {
            let mut theirs = s_client(&openssl, port, args);
            theirs.say("hello\n");
            let before = failed(rig);
            rig.until("it is refused", || failed(rig) > before);
            assert!(theirs.complains("alert"), "{theirs}");
        }
        assert_eq!(rig.children(&server), 0, "{version}");
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): its_client_refuses_our_server_as_it_should, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (shown, words) in [("stranger", "self-signed certificate"), ("expired", "expired")] {
        let (server, port) = serve(rig, TlsServer::builder(identity(shown)).build()?)?;
        let before = failed(rig);
        let mut theirs = s_client(&openssl, port, &[]);
        theirs.say("secret\n");
        rig.until("the server hears of it", || failed(rig) > before);
        assert!(theirs.complains(words), "{theirs}");
        assert!(!rig.log.lines().iter().any(|line| line.contains("secret")), "{}", rig.log);
        server.delete();
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_server_speaks_no_old_version_and_without_forward_secrecy, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let cases: [(&[&str], &str); 3] = [
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], " alert "),
        (&["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], " alert "),
        (&["-tls1_2", "-cipher", "kRSA"], "handshake failure"),
    ];
    let (server, port) = serve(rig, server().build()?)?;
    for (args, words) in cases {
        let mut theirs = s_client(&openssl, port, args);
        let before = failed(rig);
        rig.until("it is refused", || failed(rig) > before);
        assert!(theirs.complains(words), "{theirs}");
    }
    assert_eq!(rig.children(&server), 0);
    Ok(())
});

conformance!(on (poll epoll uring): keys_are_changed_while_data_flows, |rig| {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    let (server, port) = serve(rig, server().build()?)?;
    let mut theirs = s_client(&openssl, port, &["-tls1_3"]);
    theirs.say("one\n");
    let child = rig.child(&server);
    rig.until_bytes(&child, b"one\n");
    // `K` changes the keys of both directions, `k` of its own.
    for (number, letter) in ["K", "k", "K"].into_iter().enumerate() {
        theirs.say(&format!("{letter}\n"));
        assert!(theirs.complains("KEYUPDATE"), "{theirs}");
        theirs.say(&format!("after {number}\n"));
        let line = format!("after {number}\n");
        rig.until("it is there", || rig.log.bytes_of(&child).ends_with(line.as_bytes()));
        child.send(format!("answer {number}\n"))?;
        rig.until("it is sent", || child.queued() == 0);
        theirs.hear_until(&format!("answer {number}\n"));
    }
    Ok(())
});

conformance!(on (poll epoll uring): much_goes_both_ways_at_once, |rig| {
    const LEN: usize = 2 << 20;
    let Some(openssl) = others::find(module_path!(), "openssl") else { return Ok(()) };
    for (version, flag, _) in VERSIONS {
        let server = rig.echo().tls(server().build()?).start()?;
        let port = server.contact().local().port().ok_or("a port")?;
        // It would take letters at the beginning of a line for orders.
        let mut theirs = s_client(&openssl, port, &[flag, "-quiet"]);
        theirs.feed(pattern(LEN));
        let child = rig.child(&server);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let got = theirs.hear(LEN);
            // Gone when the other side has given up.
            let _ = tell.send(());
            (theirs, got)
        });
        rig.until("all of it is back", || told.try_recv().is_ok());
        let (theirs, got) = thread.join().map_err(|_| "it came to less")?;
        assert!(got == pattern(LEN), "{version}");
        theirs.signal(Signal::SIGKILL);
        rig.until("it is gone", || !child.is_live());
        server.delete();
        rig.settle();
    }
    Ok(())
});

#[test]
fn its_client_starts_tls_with_the_program_as_each_protocol_does() {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return };
    let identity = PKI.identity("server");
    let identity = identity.each_ref().map(String::as_str);
    for backend in backends() {
        for protocol in ["smtp", "imap", "pop3"] {
            let fixed = ["listen", "--echo", "--backend", backend, "--starttls", protocol];
            let mut ours = Run::new(&[&fixed[..], &identity, &["127.0.0.1:0"]].concat());
            let port = ours.line().rsplit_once(':').unwrap().1.parse().unwrap();
            for (_, flag, name) in VERSIONS {
                let mut theirs = s_client(&openssl, port, &[flag, "-starttls", protocol]);
                theirs.say("hello\n");
                let told = theirs.hear_until("\nhello\n");
                assert!(told.contains("Verification: OK") && told.contains(name), "{told}");
                theirs.say("Q\n");
                assert_eq!(theirs.end().code, Some(0), "{backend} {protocol}");
            }
            ours.signal(Signal::SIGTERM);
            ours.end().check_well();
        }
    }
}

#[test]
fn the_program_speaks_with_its_server_and_says_how_it_went() {
    let Some(openssl) = others::find(module_path!(), "openssl") else { return };
    let ca = PKI.path("ca.pem");
    for backend in backends() {
        for (_, flag, _) in VERSIONS {
            let (mut theirs, port) = s_server(&openssl, "server", &[flag, "-rev"]);
            let endpoint = format!("localhost:{port}");
            let args = ["connect", "--backend", backend, "--tls", "--ca", &ca, &endpoint];
            let mut ours = Run::new(&args);
            ours.say("hello\n");
            assert_eq!(ours.line(), "olleh");
            // It says good-bye when we do.
            ours.end().check_well();
            let mut ours = Run::new(&args);
            ours.say("again\n");
            assert_eq!(ours.line(), "niaga");
            let _input = ours.take_input();
            theirs.signal(Signal::SIGKILL);
            ours.end().check(2, "ended without a closing notice");
            drop(theirs.take_input());
            let (_theirs, port) = s_server(&openssl, "expired", &[flag]);
            let endpoint = format!("localhost:{port}");
            let args = ["connect", "--backend", backend, "--tls", "--ca", &ca, &endpoint];
            let mut ours = Run::new(&args);
            ours.feed(b"secret\n".to_vec());
            ours.end().check(1, "certificate refused: expired");
        }
    }
}
