//! The example `starttls_server` with clients that are good, and with such as mean no good.
//!
//! The clients are scripts over rustls itself: nothing of ours is in them, but where both examples talk.
#![cfg(target_os = "linux")]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use netproc_tests::{
    pki::Pki,
    program::{Run, backends, build, command, pattern},
    rig::PATIENCE,
};
use nix::sys::signal::Signal;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

static SERVER: LazyLock<PathBuf> =
    LazyLock::new(|| build(&["--features", "cli", "--example", "starttls_server"]));

static CLIENT: LazyLock<PathBuf> =
    LazyLock::new(|| build(&["--features", "cli", "--example", "starttls_client"]));

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// The server, and where it listens.
fn serve(backend: &str) -> (Run, String) {
    let mut command = command(&*SERVER);
    command.args(["0", &PKI.path("server.pem"), &PKI.path("server.key")]);
    command.env("NETPROC_BACKEND", backend);
    let mut run = Run::of(command);
    let line = run.line();
    let endpoint = line.strip_prefix("listening on ").expect("it says so").to_owned();
    (run, endpoint)
}

/// A client in clear.
struct Client(TcpStream);

type Secured = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    fn new(endpoint: &str) -> Self {
        let tcp = TcpStream::connect(endpoint).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
        tcp.set_nodelay(true).expect("a socket has this option");
        Self(tcp)
    }

    fn say(&mut self, text: &str) {
        // Whoever hangs up meanwhile shows it to the next read.
        let _ = self.0.write_all(text.as_bytes());
    }

    /// A response as the contract has it: lines up to one with a space behind its number.
    fn hear(&mut self) -> String {
        let mut all = String::new();
        loop {
            let line = line(&mut self.0);
            all.push_str(&line);
            let behind = line.trim_start_matches(|c: char| c.is_ascii_digit());
            if behind.starts_with(' ') && behind.len() < line.len() || line.is_empty() {
                return all;
            }
        }
    }

    /// Up to and with the answer to STARTTLS, as a client has to do it.
    fn starttls(mut self) -> Secured {
        let told = self.hear();
        assert!(told.starts_with("220 "), "{told:?}, {:?}", self.0);
        self.say("EHLO me\r\n");
        let told = self.hear();
        assert!(told.starts_with("250-") && told.ends_with("\r\n250 STARTTLS\r\n"), "{told}");
        self.say("STARTTLS\r\n");
        assert!(self.hear().starts_with("220 go"));
        self.secure()
    }

    fn secure(self) -> Secured {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(PKI.path("ca.pem")).expect("it was written");
        roots.add(ca).expect("it is good");
        let config = ClientConfig::builder_with_provider(ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions().expect("it knows them");
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("it is a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("all is given");
        StreamOwned::new(tls, self.0)
    }

    /// Everything until it hangs up, by an end or a reset.
    fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.0.read_to_end(&mut all);
        all
    }
}

/// The next line; what there is of it at the end.
fn line(from: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") && matches!(from.read(&mut byte), Ok(1)) {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

fn say(to: &mut Secured, text: &str) -> String {
    to.write_all(text.as_bytes()).expect("it listens");
    line(to)
}

#[test]
fn it_repeats_inside_tls_what_it_is_told() {
    for backend in backends() {
        let (_server, endpoint) = serve(backend);
        let mut client = Client::new(&endpoint).starttls();
        for text in ["EHLO me", "hello", "\"quoted\" \\ back", "a\tb  ", "grüße", "  lead", ""] {
            let answer = say(&mut client, &format!("{text}\r\n"));
            assert!(answer.starts_with("250 ") && answer.ends_with("\r\n"), "{answer:?}");
            assert!(answer.contains(text), "{backend}: {text:?} in {answer:?}");
        }
        // As many as come at once are answered one by one.
        let many: String = (0..500).map(|number| format!("line {number}\n")).collect();
        client.write_all(many.as_bytes()).unwrap();
        for number in 0..500 {
            let answer = line(&mut client);
            assert!(answer.ends_with(&format!("line {number}\r\n")), "{backend}: {answer:?}");
        }
        // A line that comes byte by byte is one, and bytes stay what they are.
        for byte in b"\xFF\xFEslow\r\n" {
            client.write_all(&[*byte]).unwrap();
        }
        let mut answer = [0; 64];
        let len = client.read(&mut answer).unwrap();
        let answer = &answer[..len];
        assert!(answer.ends_with(b"\xFF\xFEslow\r\n"), "{backend}: {answer:?}");
        // It says good-bye when it is told good-bye.
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut rest = Vec::new();
        assert_eq!(client.read_to_end(&mut rest).unwrap(), 0, "{backend}: a clean end");
    }
}

#[test]
fn clear_text_behind_starttls_is_never_listened_to() {
    let forms = [
        "STARTTLS\r\ninjected\r\n",
        "STARTTLS\r\nx",
        "STARTTLS\r\nEHLO injected\r\n",
        "STARTTLS\r\nSTARTTLS\r\n",
        "EHLO me\r\nSTARTTLS\r\nMAIL FROM:<injected>\r\nRCPT TO:<injected>\r\n",
    ];
    for backend in backends() {
        let (_server, endpoint) = serve(backend);
        for form in forms {
            let mut client = Client::new(&endpoint);
            client.say(form);
            let got = String::from_utf8_lossy(&client.rest()).into_owned();
            assert!(!got.contains("injected"), "{backend} {form:?}: {got}");
            assert!(!got.contains("220 go"), "{backend} {form:?}: {got}");
        }
        // A moment later it is no handshake.
        let mut client = Client::new(&endpoint);
        client.hear();
        client.say("STARTTLS\r\n");
        assert!(client.hear().starts_with("220 go"));
        client.say("injected, and more of it\r\n");
        let got = client.rest();
        assert!(got.is_empty() || got[0] == 21, "{backend}: an alert at most, {got:?}");
        let mut good = Client::new(&endpoint).starttls();
        assert!(say(&mut good, "still here\r\n").contains("still here"));
    }
}

#[test]
fn broken_handshakes_and_clients_that_stop_are_nobodys_affair() {
    for backend in backends() {
        let (_server, endpoint) = serve(backend);
        // These stall at every stage and stay.
        let silent = Client::new(&endpoint);
        let mut greeted = Client::new(&endpoint);
        greeted.hear();
        let mut answered = Client::new(&endpoint);
        answered.hear();
        answered.say("STARTTLS\r\n");
        answered.hear();
        // A hello that never ends.
        answered.0.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC").unwrap();
        for garbage in [
            &b"\x15\x03\x03\x00\x02\x02\x28"[..],
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
            b"\x17\x03\x03\x00\x10injected injecte",
            b"\x16\x03\x01\xFF\xFF",
            b"\0\0\0\0\0\0\0\0",
        ] {
            let mut client = Client::new(&endpoint);
            client.hear();
            client.say("STARTTLS\r\n");
            client.hear();
            client.0.write_all(garbage).unwrap();
            client.0.shutdown(Shutdown::Write).unwrap();
            let got = client.rest();
            assert!(got.is_empty() || got[0] == 21, "{backend}: an alert at most, {got:?}");
        }
        let mut good = Client::new(&endpoint).starttls();
        assert!(say(&mut good, "still here\r\n").contains("still here"), "{backend}");
        drop((silent, greeted, answered));
    }
}

#[test]
fn a_damaged_record_ends_that_connection_only() {
    for backend in backends() {
        let (_server, endpoint) = serve(backend);
        let mut good = Client::new(&endpoint).starttls();
        let mut bad = Client::new(&endpoint).starttls();
        assert!(say(&mut bad, "before\r\n").contains("before"));
        bad.conn.writer().write_all(b"injected\r\n").unwrap();
        let mut record = Vec::new();
        bad.conn.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        bad.sock.write_all(&record).unwrap();
        let mut rest = Vec::new();
        assert!(bad.read_to_end(&mut rest).is_err(), "an alert");
        assert_eq!(rest, b"", "{backend}");
        assert!(say(&mut good, "still here\r\n").contains("still here"), "{backend}");
    }
}

#[test]
fn lines_without_end_have_one() {
    for backend in backends() {
        let (_server, endpoint) = serve(backend);
        let mut clear = Client::new(&endpoint);
        clear.hear();
        clear.say(&"x".repeat(20_000));
        assert!(!String::from_utf8_lossy(&clear.rest()).contains("xx"), "{backend}");
        let mut inside = Client::new(&endpoint).starttls();
        let long = "y".repeat(60_000);
        assert!(say(&mut inside, &format!("{long}\r\n")).contains(&long), "{backend}");
        // It may hang up before all of it is said.
        let _ = inside
            .write_all(&pattern(200_000).repeat(2).iter().map(|it| it | 16).collect::<Vec<_>>());
        let mut rest = Vec::new();
        let _ = inside.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{backend}");
    }
}

#[test]
fn both_examples_talk_with_each_other() {
    for backend in backends() {
        let (server, endpoint) = serve(backend);
        let (host, port) = endpoint.split_once(':').unwrap();
        for kind in ["starttls", "network"] {
            let mut command = command(&*CLIENT);
            let ca = PKI.path("ca.pem");
            command.args([host, port, kind, &ca, "localhost", "open sesame", "2"]);
            command.env("NETPROC_BACKEND", backend);
            let left = Run::of(command).end();
            let text = left.text();
            assert_eq!((left.code, &*left.errors), (Some(0), ""), "{text}");
            let words = [
                "open type=tls greeting=220 ",
                "capabilities=250 you said EHLO me\\r\\n\n",
                "\nreply 250 you said open sesame\nend clean\n",
                "\nbuffer 250 you said open sesame\\r\\n\n",
            ];
            assert!(words.iter().all(|word| text.contains(word)), "{backend}: {text}");
        }
        server.signal(Signal::SIGTERM);
    }
}
