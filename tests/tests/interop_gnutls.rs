//! TLS with GnuTLS, the library that Emacs speaks it with, at the other end: `gnutls-serv`, `gnutls-cli`.
//!
//! As `interop_openssl`, which has more of what does not depend on who is there. `gnutls-serv` knows no
//! option for an address: while it runs, it listens on all of them.
#![cfg(target_os = "linux")]

use std::{net::SocketAddr, path::Path, sync::LazyLock};

use netproc::{
    Exit, HandshakeFailure, Process, Reason, StartError, TlsClient, TlsIdentity, TlsServer,
    TlsServerBuilder, TlsTrust, TlsVerification, TlsVersion,
};
use netproc_tests::{
    conformance, others,
    pki::Pki,
    program::{Run, backends, command},
    rig::Rig,
};
use nix::sys::signal::Signal;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

const VERSIONS: [(TlsVersion, &str, &str); 2] = [
    (TlsVersion::V1_2, "NORMAL:-VERS-ALL:+VERS-TLS1.2", "(TLS1.2"),
    (TlsVersion::V1_3, "NORMAL:-VERS-ALL:+VERS-TLS1.3", "(TLS1.3"),
];

/// `gnutls-serv` as an echo server with this identity, and its port.
fn serv(gnutls: &Path, identity: &str, args: &[&str]) -> (Run, u16) {
    others::on_free_ports(|[port]| {
        let mut command = command(gnutls);
        command.args(["--echo", "--port", &port.to_string()]);
        command.args(["--x509certfile", &PKI.path(&format!("{identity}.pem"))]);
        command.args(["--x509keyfile", &PKI.path(&format!("{identity}.key"))]);
        command.args(args);
        let mut run = Run::of(command);
        let stands = format!("listening on IPv4 0.0.0.0 port {port}...done");
        run.complains(&stands).then_some((run, port))
    })
}

/// `gnutls-cli` at `port`, which checks that it speaks with `localhost`.
fn cli(gnutls: &Path, port: u16, args: &[&str]) -> Run {
    let mut command = command(gnutls);
    command.args(["--x509cafile", &PKI.path("ca.pem"), "--verify-hostname", "localhost"]);
    command.args(["--sni-hostname", "localhost", "--port", &port.to_string()]);
    command.args(args).arg("127.0.0.1");
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
    rig.client_at(SocketAddr::from(([127, 0, 0, 1], port))).tls(tls).start()
}

/// Whether it ended without a good-bye. Whoever is killed with something unread resets the connection.
fn was_cut(process: &Process) -> bool {
    matches!(process.exit(), Exit::Broken(Reason::Truncated | Reason::Sys(_)))
}

/// A server of ours with this TLS, which logs, and its port.
fn serve(rig: &Rig, tls: TlsServer) -> Result<(Process, u16), Box<dyn std::error::Error>> {
    let server = rig.server().tls(tls).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    Ok((server, port))
}

conformance!(on (poll epoll uring): our_client_speaks_both_versions_with_its_server, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-serv") else { return Ok(()) };
    for (version, priority, _) in VERSIONS {
        let args = ["--priority", priority, "--disable-client-cert", "--alpn", "imap"];
        let (theirs, port) = serv(&gnutls, "server", &args);
        let tls = TlsClient::builder("localhost").trust(trust("ca.pem")).alpn(["h2", "imap"]);
        let tls = tls.build()?;
        for is_resumed in [false, true] {
            let client = start(rig, port, tls.clone())?;
            let info = client.tls_info().ok_or("the handshake is done")?;
            assert_eq!((info.version(), info.is_resumed()), (version, is_resumed));
            assert_eq!(info.alpn(), Some(&b"imap"[..]));
            assert_eq!(info.verification(), &TlsVerification::Verified);
            client.send("hello from us\n")?;
            rig.until_bytes(&client, b"hello from us\n");
            // It says good-bye when we do.
            client.send_eof()?;
            rig.until_line(&client, "connection broken by remote peer (closed)");
            assert_eq!(client.exit(), Exit::Broken(Reason::End), "{version}");
        }
        let client = start(rig, port, tls)?;
        theirs.signal(Signal::SIGKILL);
        rig.until_line(&client, "connection broken by remote peer (closed)");
        assert!(was_cut(&client), "{version}: {:?}", client.exit());
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_client_shows_its_certificate_to_its_server, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-serv") else { return Ok(()) };
    let ca = PKI.path("ca.pem");
    for (_, priority, _) in VERSIONS {
        let args = ["--priority", priority, "--x509cafile", &ca, "--require-client-cert"];
        let args = [&args[..], &["--verify-client-cert"]].concat();
        let (_theirs, port) = serv(&gnutls, "server", &args);
        let tls = || TlsClient::builder("localhost").trust(trust("ca.pem"));
        let client = start(rig, port, tls().identity(identity("client")).build()?)?;
        client.send("it is me\n")?;
        rig.until_bytes(&client, b"it is me\n");
        client.delete();
        for tls in [tls().build()?, tls().identity(identity("stranger-client")).build()?] {
            // A client of 1.3 is done before the server has looked.
            if let Ok(client) = start(rig, port, tls) {
                let _ = client.send("it is me\n");
                rig.until_line(&client, "connection broken by remote peer (closed)");
                assert_eq!(rig.log.len_of(&client), 0, "nothing came back");
            }
        }
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_client_refuses_what_its_server_cannot_prove, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-serv") else { return Ok(()) };
    let cases = [
        ("server", "ca.pem", "elsewhere.example", "not for \"elsewhere.example\""),
        ("server", "stranger-ca.pem", "localhost", "unknown issuer"),
        ("expired", "ca.pem", "localhost", "expired"),
        ("future", "ca.pem", "localhost", "not yet valid"),
        ("purpose", "ca.pem", "localhost", "not for this purpose"),
    ];
    for (shown, roots, name, words) in cases {
        let (_theirs, port) = serv(&gnutls, shown, &["--disable-client-cert"]);
        let tls = TlsClient::builder(name).trust(trust(roots)).build()?;
        let Err(StartError::Handshake { source, .. }) = start(rig, port, tls) else {
            return Err(format!("{shown} was not refused").into());
        };
        let failure: &HandshakeFailure = source.downcast().ok_or("TLS says why")?;
        assert!(matches!(failure, HandshakeFailure::Certificate(_)), "{shown}: {failure}");
        assert!(failure.to_string().contains(words), "{words} in {failure}");
    }
    Ok(())
});

conformance!(on (poll epoll uring): its_client_speaks_both_versions_with_our_server, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-cli") else { return Ok(()) };
    for (version, priority, name) in VERSIONS {
        let (server, port) = serve(rig, server().alpn(["h2", "imap"]).build()?)?;
        let mut theirs = cli(&gnutls, port, &["--priority", priority, "--alpn", "imap"]);
        theirs.say("hello from them\n");
        let child = rig.child(&server);
        rig.until_bytes(&child, b"hello from them\n");
        let info = child.tls_info().ok_or("the handshake is done")?;
        assert_eq!((info.version(), info.alpn()), (version, Some(&b"imap"[..])));
        assert_eq!(info.server_name(), Some("localhost"));
        child.send("hello from us\n")?;
        rig.until("it is sent", || child.queued() == 0);
        let told = theirs.hear_until("hello from us\n");
        let words = ["The certificate is trusted", "Application protocol: imap", name];
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        // At the end of its input it says good-bye.
        drop(theirs.take_input());
        rig.until_line(&child, "connection broken by remote peer (closed)");
        assert_eq!(child.exit(), Exit::Broken(Reason::End), "{version}");
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_cut_by_its_client_is_no_end_and_an_end_of_ours_is_one, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-cli") else { return Ok(()) };
    for (version, priority, _) in VERSIONS {
        let (server, port) = serve(rig, server().build()?)?;
        let mut theirs = cli(&gnutls, port, &["--priority", priority]);
        theirs.say("hello\n");
        let child = rig.child(&server);
        rig.until_bytes(&child, b"hello\n");
        theirs.signal(Signal::SIGKILL);
        rig.until_line(&child, "connection broken by remote peer (closed)");
        assert!(was_cut(&child), "{version}: {:?}", child.exit());
        let mut theirs = cli(&gnutls, port, &["--priority", priority]);
        theirs.say("again\n");
        rig.until("it is there", || rig.children(&server) == 1);
        let child = rig.child(&server);
        rig.until_bytes(&child, b"again\n");
        child.delete();
        rig.settle();
        theirs.hear_until("Peer has closed the GnuTLS connection");
        assert_eq!(theirs.end().code, Some(0));
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): its_client_takes_up_sessions_of_our_server, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-cli") else { return Ok(()) };
    for (version, priority, _) in VERSIONS {
        let (server, port) = serve(rig, server().build()?)?;
        let mut theirs = cli(&gnutls, port, &["--priority", priority, "--resume"]);
        theirs.say("hello\n");
        let got = || rig.connections(&server).iter().any(|it| rig.log.bytes_of(it) == b"hello\n");
        rig.until("the second connection", got);
        let child = rig.child(&server);
        assert!(child.tls_info().is_some_and(|info| info.is_resumed()), "{version}");
        theirs.hear_until("This is a resumed session");
        server.delete();
        theirs.signal(Signal::SIGKILL);
        rig.until("it is gone", || !child.is_live());
    }
    Ok(())
});

conformance!(on (poll epoll uring): our_server_asks_its_client_for_a_certificate, |rig| {
    let Some(gnutls) = others::find(module_path!(), "gnutls-cli") else { return Ok(()) };
    for (version, priority, _) in VERSIONS {
        let (server, port) = serve(rig, server().demand_clients(trust("ca.pem")).build()?)?;
        let [certificate, key] = [PKI.path("client.pem"), PKI.path("client.key")];
        let args = ["--priority", priority, "--x509certfile", &certificate, "--x509keyfile", &key];
        let mut theirs = cli(&gnutls, port, &args);
        theirs.say("hello\n");
        let child = rig.child(&server);
        rig.until_bytes(&child, b"hello\n");
        let info = child.tls_info().ok_or("the handshake is done")?;
        assert_eq!(info.verification(), &TlsVerification::Verified, "{version}");
        child.delete();
        let failed = || rig.log.lines().iter().filter(|it| it.contains("failed with")).count();
        let before = failed();
        let mut theirs = cli(&gnutls, port, &["--priority", priority]);
        theirs.say("hello\n");
        rig.until("it is refused", || failed() > before);
        assert_eq!(rig.children(&server), 0, "{version}");
        drop(theirs);
        server.delete();
        rig.settle();
    }
    Ok(())
});

#[test]
fn its_client_starts_tls_with_the_program_as_each_protocol_does() {
    let Some(gnutls) = others::find(module_path!(), "gnutls-cli") else { return };
    let identity = PKI.identity("server");
    let identity = identity.each_ref().map(String::as_str);
    for backend in backends() {
        for protocol in ["smtp", "imap", "pop3"] {
            let fixed = ["listen", "--echo", "--backend", backend, "--starttls", protocol];
            let mut ours = Run::new(&[&fixed[..], &identity, &["127.0.0.1:0"]].concat());
            let port = ours.line().rsplit_once(':').unwrap().1.parse().unwrap();
            for (_, priority, name) in VERSIONS {
                let starttls = format!("--starttls-proto={protocol}");
                let mut theirs = cli(&gnutls, port, &["--priority", priority, &starttls]);
                theirs.say("hello\n");
                let told = theirs.hear_until("\nhello\n");
                assert!(told.contains("The certificate is trusted"), "{told}");
                assert!(told.contains(name), "{told}");
                assert_eq!(theirs.end().code, Some(0), "{backend} {protocol}");
            }
            ours.signal(Signal::SIGTERM);
            ours.end().check_well();
        }
    }
}
