//! The example `starttls_client` with servers that are good, and with such as mean no good.
//!
//! The servers are scripts over rustls itself: nothing of ours is in them. Each case runs for every type
//! of stream on every backend. What is promised: SECRET goes to nobody in clear or unproved but with the
//! type `network`; nothing that came in clear behind the answer to STARTTLS is ever shown; every run ends.
#![cfg(target_os = "linux")]

mod peer;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use netproc_tests::{
    pki::Pki,
    program::{Left, Run, accept, backends, build, command, listener},
};

use self::peer::{Gone, Peer, Played, Script, Server};

static CLIENT: LazyLock<PathBuf> =
    LazyLock::new(|| build(&["--features", "cli", "--example", "starttls_client"]));

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

const SECRET: &str = "open sesame";
const OFFER: &str = "250-mail\r\n250 STARTTLS\r\n";
const TYPES: [&str; 3] = ["starttls", "network", "tls"];

fn run(endpoint: &str, backend: &str, kind: &str, timeout: &str) -> Left {
    let (host, port) = endpoint.split_once(':').expect("it has a port");
    let mut command = command(&*CLIENT);
    command.args([host, port, kind, &PKI.path("ca.pem"), "localhost", SECRET, timeout]);
    command.env("NETPROC_BACKEND", backend);
    Run::of(command).end()
}

/// A case: what the server does, and how the run ends for `starttls`, `network` and `tls`: words in its
/// output, one at least of which begins a line.
type Case = (&'static str, Script, [&'static str; 3]);

/// One run: on which backend, as which case, with which type of stream, and the words for it.
type Task<'a> = (&'a str, &'a Case, &'static str, &'static str);

/// Runs every case for every type on every backend, several at a time: most of them wait.
fn play_all(cases: &[Case], one: impl Fn(Task<'_>) + Sync) {
    const AT_ONCE: usize = 6;
    LazyLock::force(&CLIENT);
    LazyLock::force(&PKI);
    let on = |backend: &'static String| {
        let tasks =
            cases.iter().flat_map(|case| TYPES.into_iter().zip(case.2).map(move |it| (case, it)));
        tasks.map(move |(case, (kind, words))| (&**backend, case, kind, words))
    };
    let tasks: Vec<Task<'_>> = backends().iter().flat_map(on).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::SeqCst)) {
                    one(*task);
                }
            });
        }
    });
}

/// Runs the cases with this time limit, and checks what has to hold in each.
fn play(timeout: &str, cases: &[Case]) {
    play_all(cases, |(backend, (name, script, _), kind, words)| {
        let server = Server::new(*script, kind);
        let left = run(&server.endpoint, backend, kind, timeout);
        let context = format!("{backend} {name} {kind}: {} {}", left.text(), left.errors);
        for words in words.split('|') {
            assert!(left.text().contains(words), "{words:?} in {context}");
        }
        check(&left, &context);
        let is_plain = left.text().starts_with("open type=plain");
        for peer in server.heard() {
            let clear = String::from_utf8_lossy(&peer.clear).into_owned();
            assert!(is_plain || !clear.contains(SECRET), "{context}");
            assert!(kind != "tls" || !clear.contains("EHLO"), "{context}");
        }
    });
}

/// What holds of every run: its form, and that nothing injected shows.
fn check(left: &Left, context: &str) {
    let text = left.text();
    let lines: Vec<&str> = text.lines().collect();
    if left.code == Some(0) {
        assert!(lines[0].starts_with("open type="), "{context}");
        assert!(["end clean", "end broken"].contains(&lines[lines.len() - 2]), "{context}");
        assert!(lines[lines.len() - 1].starts_with("buffer "), "{context}");
        let replies = &lines[1..lines.len() - 2];
        assert!(replies.iter().all(|line| line.starts_with("reply ")), "{context}");
    } else {
        assert_eq!((left.code, lines.len()), (Some(1), 1), "{context}");
        assert!(lines[0].starts_with("failed "), "{context}");
    }
    assert!(!text.contains("injected") && left.errors.is_empty(), "{context}");
}

/// The dialogue as it should be, up to and with the capabilities; then a reply to the secret.
fn good(peer: &mut Peer, kind: &str, identity: &str) -> Played {
    if kind == "tls" {
        peer.secure(identity)?;
        peer.say("220 hello\r\n")?;
    } else {
        peer.until_answer("220 go\r\n")?;
        peer.secure(identity)?;
    }
    peer.expect("EHLO me");
    peer.say("250-inside\r\n250 AUTH\r\n")?;
    peer.expect(SECRET);
    peer.say("250 you said it\r\n")
}

#[test]
fn it_opens_says_its_secret_and_tells_how_the_stream_ends() {
    let open = "open type=tls greeting=220 hello\\r\\n capabilities=250-inside\\r\\n250 AUTH\\r\\n\n\
        reply 250 you said it\n";
    let clean = format!("{open}end clean\nbuffer 250 you said it\\r\\n\n").leak();
    let broken = format!("{open}end broken\nbuffer 250 you said it\\r\\n\n").leak();
    let cases: [Case; 5] = [
        (
            "says good-bye",
            |peer, kind| {
                good(peer, kind, "server")?;
                peer.close_notify()
            },
            [clean; 3],
        ),
        ("hangs up", |peer, kind| good(peer, kind, "server"), [broken; 3]),
        (
            "resets",
            |peer, kind| {
                good(peer, kind, "server")?;
                // Once it is sure that the reply has arrived.
                let _ = peer.wait();
                peer.reset();
                Ok(())
            },
            ["open type=tls|reply 250 you said it"; 3],
        ),
        (
            "waits for the good-bye of the client",
            |peer, kind| {
                good(peer, kind, "server")?;
                let _ = peer.wait();
                peer.close_notify()
            },
            [clean; 3],
        ),
        (
            "never ends",
            |peer, kind| {
                good(peer, kind, "server")?;
                let _ = peer.wait();
                // The client has taken leave and waits for the same.
                let _ = peer.tcp.read(&mut [0; 1]);
                Ok(())
            },
            [broken; 3],
        ),
    ];
    play("1", &cases);
}

#[test]
fn it_believes_no_server_that_cannot_prove_its_name() {
    // With the type `network` the second connection may stay in clear, and says that it has.
    let plain = "open type=plain";
    let cases: [Case; 6] = [
        (
            "stranger",
            |peer, kind| good(peer, kind, "stranger"),
            ["unknown issuer", plain, "unknown"],
        ),
        ("expired", |peer, kind| good(peer, kind, "expired"), ["expired", plain, "expired"]),
        ("future", |peer, kind| good(peer, kind, "future"), ["not yet valid", plain, "not yet"]),
        (
            "other",
            |peer, kind| good(peer, kind, "second"),
            ["not for \"localhost\"", plain, "not for"],
        ),
        ("purpose", |peer, kind| good(peer, kind, "purpose"), ["purpose", plain, "purpose"]),
        ("common", |peer, kind| good(peer, kind, "common"), ["not for", plain, "not for"]),
    ];
    play_with_fallback(&cases);
}

#[test]
fn it_starts_no_tls_that_is_not_offered_or_refused() {
    fn plain(peer: &mut Peer, offer: &str, answer: Option<&str>) -> Played {
        peer.say("220 hello\r\n")?;
        peer.expect("EHLO me");
        peer.say(offer)?;
        if let Some(answer) = answer {
            peer.expect("STARTTLS");
            peer.say(answer)?;
        }
        peer.expect(SECRET);
        peer.say("250 you said it\r\n")
    }
    const OPEN: &str = "open type=plain greeting=220 hello\\r\\n|reply 250 you said it|end clean|\
        buffer 250 you said it\\r\\n";
    let cases: [Case; 9] = [
        ("nothing", |p, _| plain(p, "250 mail\r\n", None), ["not support TLS", OPEN, "failed"]),
        (
            "another word",
            |p, _| plain(p, "250-XSTARTTLS\r\n250 STARTTLSX\r\n", None),
            ["not support TLS", OPEN, "failed"],
        ),
        (
            "the word in a name",
            |p, _| plain(p, "250-starttls.example greets you\r\n250 NO STARTTLS\r\n", None),
            ["not support TLS", OPEN, "failed"],
        ),
        (
            "the word in a refusal",
            |p, _| plain(p, "502 STARTTLS\r\n", None),
            ["not support TLS", OPEN, "failed"],
        ),
        (
            "refused",
            |p, _| plain(p, OFFER, Some("454 not now\r\n")),
            ["refused to start TLS: 454 not now", OPEN, "failed"],
        ),
        (
            "another yes",
            |p, _| plain(p, OFFER, Some("250 go\r\n")),
            ["refused to start TLS: 250 go", OPEN, "failed"],
        ),
        (
            "a yes behind something",
            |p, _| plain(p, OFFER, Some("5220 go\r\n")),
            ["refused to start TLS: 5220 go", OPEN, "failed"],
        ),
        (
            "a yes within",
            |p, _| plain(p, OFFER, Some("454 220 go\r\n")),
            ["refused to start TLS: 454 220 go", OPEN, "failed"],
        ),
        (
            "small letters are an offer",
            |p, _| plain(p, "250-mail\r\n250-starttls \r\n250 x\r\n", Some("454 no\r\n")),
            ["refused to start TLS: 454 no", OPEN, "failed"],
        ),
    ];
    play("2", &cases);
}

#[test]
fn clear_text_behind_the_answer_is_fatal_however_it_comes() {
    const FATAL: [&str; 3] = ["clear text after STARTTLS", "clear text after STARTTLS", "failed"];
    let cases: [Case; 6] = [
        ("a line", |p, _| p.until_answer("220 go\r\n250 injected\r\n"), FATAL),
        ("half a line", |p, _| p.until_answer("220 go\r\ninjected"), FATAL),
        ("one byte", |p, _| p.until_answer("220 go\r\nx"), FATAL),
        (
            "answers for later",
            |p, _| p.until_answer("220 go\r\n250-injected\r\n250 AUTH\r\n250 injected\r\n"),
            FATAL,
        ),
        (
            "a moment later",
            |p, _| {
                p.until_answer("220 go\r\n")?;
                p.say("250 injected\r\n")?;
                p.wait()
            },
            FATAL,
        ),
        (
            "instead of a handshake",
            |p, _| {
                p.until_answer("220 go\r\n")?;
                // The client has begun.
                p.read()?;
                p.say("250 injected, and more of it\r\n")?;
                p.wait()
            },
            FATAL,
        ),
    ];
    play("5", &cases);
}

#[test]
fn a_handshake_that_goes_wrong_is_the_end_where_tls_is_insisted_on() {
    fn shake(peer: &mut Peer, kind: &str) -> Played {
        if kind == "tls" {
            return Ok(());
        }
        peer.until_answer("220 go\r\n")
    }
    /// The first flight, changed by `change`.
    fn flight(peer: &mut Peer, kind: &str, change: fn(Vec<u8>) -> Vec<u8>) -> Played {
        shake(peer, kind)?;
        peer.begin_tls("server");
        let tls = peer.tls.as_mut().expect("it was begun");
        let mut flight = Vec::new();
        while !tls.wants_write() {
            tls.read_tls(&mut peer.tcp).map_err(|_| Gone)?;
            tls.process_new_packets().map_err(|_| Gone)?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut flight).map_err(|_| Gone)?;
        }
        peer.tls = None;
        peer.tcp.write_all(&change(flight)).map_err(|_| Gone)
    }
    const FAILED: [&str; 3] = ["TLS handshake failed", "open type=plain", "failed"];
    let cases: [Case; 6] = [
        ("hangs up at once", |p, kind| shake(p, kind), FAILED),
        (
            "an alert",
            |p, kind| {
                shake(p, kind)?;
                p.read()?;
                p.tcp.write_all(&[21, 3, 3, 0, 2, 2, 40]).map_err(|_| Gone)
            },
            FAILED,
        ),
        ("cut", |p, kind| flight(p, kind, |it| it[..it.len() / 2].to_vec()), FAILED),
        (
            "a bit flipped in what is sealed",
            |p, kind| {
                flight(p, kind, |mut it| {
                    *it.last_mut().expect("it is long") ^= 1;
                    it
                })
            },
            FAILED,
        ),
        (
            "a bit flipped in the hello",
            |p, kind| {
                flight(p, kind, |mut it| {
                    it[60] ^= 0x40;
                    it
                })
            },
            FAILED,
        ),
        (
            "reset",
            |p, kind| {
                shake(p, kind)?;
                p.read()?;
                p.reset();
                Ok(())
            },
            ["failed", "type=plain", "failed"],
        ),
    ];
    play_with_fallback(&cases);
}

/// As `play`; the second connection of the type `network` is a server that offers nothing.
fn play_with_fallback(cases: &[Case]) {
    play_all(cases, |(backend, (name, script, _), kind, words)| {
        let (listener, endpoint) = listener();
        let script = *script;
        let thread = thread::spawn(move || {
            let mut first = Peer::new(accept(&listener));
            let _ = script(&mut first, kind);
            let _ = first.tcp.shutdown(Shutdown::Both);
            let clear = std::mem::take(&mut first.clear);
            drop(first);
            if kind == "network" {
                let mut second = Peer::new(accept(&listener));
                let _ = second.say("220 again\r\n");
                second.expect("EHLO me");
                let _ = second.say("250 STARTTLS\r\n");
                second.expect(SECRET);
            }
            clear
        });
        let left = run(&endpoint, backend, kind, "5");
        let context = format!("{backend} {name} {kind}: {} {}", left.text(), left.errors);
        assert!(left.text().contains(words), "{words:?} in {context}");
        check(&left, &context);
        let clear = thread.join().expect("no script fails");
        assert!(!String::from_utf8_lossy(&clear).contains(SECRET), "{context}");
    });
}

#[test]
fn a_server_that_says_nothing_is_left_in_time() {
    let cases: [Case; 5] = [
        (
            "at all",
            |p, _| p.wait(),
            ["timed out while waiting for the greeting", "timed", "failed"],
        ),
        (
            "more than hello",
            |p, _| {
                p.say("220 hello\r\n")?;
                p.wait()
            },
            ["the capabilities", "the capabilities", "failed"],
        ),
        (
            "about STARTTLS",
            |p, _| {
                p.until_answer("220-wait\r\n")?;
                p.wait()
            },
            ["the answer to STARTTLS", "the answer", "failed"],
        ),
        (
            "in its handshake",
            |p, kind| {
                if kind != "tls" {
                    p.until_answer("220 go\r\n")?;
                }
                p.wait()
            },
            ["the TLS handshake", "the TLS handshake", "failed"],
        ),
        (
            "inside",
            |p, kind| {
                if kind != "tls" {
                    p.until_answer("220 go\r\n")?;
                }
                p.secure("server")?;
                p.wait()
            },
            ["the capabilities", "the capabilities", "the greeting"],
        ),
    ];
    play("0.3", &cases);
}

#[test]
fn a_server_that_drips_or_never_ends_is_left() {
    fn drip(peer: &mut Peer, text: &str) -> Played {
        let step = Some(Duration::from_millis(20));
        peer.tcp.set_read_timeout(step).expect("a socket has this option");
        loop {
            peer.say(text)?;
            // Listens for so long, which paces it.
            match peer.tcp.read(&mut [0; 64]) {
                Ok(0) => return Err(Gone),
                Err(err) if err.kind() != ErrorKind::WouldBlock => return Err(Gone),
                _ => {}
            }
        }
    }
    let cases: [Case; 5] = [
        ("a byte", |p, _| drip(p, "2"), ["timed out", "timed out", "failed"]),
        ("lines", |p, _| drip(p, "220-more\r\n"), ["timed out", "timed out", "failed"]),
        (
            "in its capabilities",
            |p, _| {
                p.say("220 hello\r\n")?;
                drip(p, "250-more\r\n")
            },
            ["timed out", "timed out", "failed"],
        ),
        (
            "flood",
            |p, _| loop {
                p.say(&"220-more\r\n".repeat(1000))?;
            },
            ["longer than 65536 bytes", "longer than 65536 bytes", "failed"],
        ),
        (
            "flood without lines",
            |p, _| loop {
                p.say(&"0".repeat(10_000))?;
            },
            ["longer than 65536 bytes", "longer than 65536 bytes", "failed"],
        ),
    ];
    play("1", &cases);
}

#[test]
fn nothing_damaged_is_shown_once_the_stream_stands() {
    /// Says something, then a damaged record of it, the same again, or something in clear.
    fn damaged(peer: &mut Peer, kind: &str, change: fn(Vec<u8>) -> Vec<u8>) -> Played {
        good(peer, kind, "server")?;
        let tls = peer.tls.as_mut().expect("TLS runs");
        tls.writer().write_all(b"250 injected\r\n").map_err(|_| Gone)?;
        let mut record = Vec::new();
        tls.write_tls(&mut record).map_err(|_| Gone)?;
        peer.tcp.write_all(&change(record)).map_err(|_| Gone)?;
        peer.wait()
    }
    const BROKEN: [&str; 3] =
        ["type=tls|reply 250 you said it|end broken|buffer 250 you said it\\r\\n\n"; 3];
    let cases: [Case; 4] = [
        (
            "a bit flipped",
            |p, kind| {
                damaged(p, kind, |mut it| {
                    it[9] ^= 1;
                    it
                })
            },
            BROKEN,
        ),
        ("cut", |p, kind| damaged(p, kind, |it| it[..it.len() - 1].to_vec()), BROKEN),
        ("in clear", |p, kind| damaged(p, kind, |_| b"250 injected\r\n".to_vec()), BROKEN),
        (
            "a record in clear",
            |p, kind| damaged(p, kind, |_| b"\x17\x03\x03\x00\x0E250 injected\r\n".to_vec()),
            BROKEN,
        ),
    ];
    play("1", &cases);
}

#[test]
fn arguments_that_are_no_good_fail_before_anybody_is_connected_to() {
    let (listener, endpoint) = listener();
    let (host, port) = endpoint.split_once(':').unwrap();
    let (ca, missing) = (PKI.path("ca.pem"), PKI.path("missing"));
    let good = [host, port, "tls", &ca, "localhost", SECRET, "1"];
    let cases = [
        (1, "65536", "failed "),
        (2, "plain", "failed plain is no type"),
        (2, "shell", "failed shell is no type"),
        (3, &missing, "cannot be read"),
        (3, "/dev/null", "is empty"),
        (4, "", "failed server name \"\" is empty"),
        (4, "*.example", "wildcard"),
        (6, "-1", "failed "),
        (6, "soon", "failed "),
    ];
    for (at, argument, words) in cases {
        let mut args = good;
        args[at] = argument;
        let mut command = command(&*CLIENT);
        command.args(args).env_remove("NETPROC_BACKEND");
        let left = Run::of(command).end();
        assert_eq!(left.code, Some(1), "{args:?}");
        assert!(left.text().contains(words), "{words} in {}", left.text());
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody was connected to");
}
