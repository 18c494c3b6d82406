//! `netproc listen --stdio`: the first who connects is joined with standard input and output.
#![cfg(target_os = "linux")]

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::Stdio,
    sync::LazyLock,
};

use netproc_tests::{
    pki::Pki,
    program::{Run, backends, local, pattern, program},
    rig::Outcome,
    watch::watched,
};
use nix::sys::signal::Signal;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// One that listens there, with the addresses told.
fn listen(backend: &str, args: &[&str], endpoint: &str) -> Run {
    let fixed = ["listen", "--stdio", "--backend", backend];
    let mut run = Run::new(&[&fixed[..], args, &[endpoint]].concat());
    assert!(run.complains(&format!("listening on {endpoint}\n")), "{run}");
    run
}

fn connect(backend: &str, args: &[&str], endpoint: &str) -> Run {
    Run::new(&[&["connect", "--backend", backend][..], args, &[endpoint]].concat())
}

/// What the program has complained of but for where it listens.
fn complaints(errors: &str) -> Vec<&str> {
    errors.lines().filter(|line| !line.contains("listening on")).collect()
}

/// Has the one whose input ends send much, which ends both, and the other hear all of it.
fn ends(mut talker: Run, mut hearer: Run, what: &str) {
    hearer.say("hello\n");
    assert_eq!(talker.line(), "hello", "{what}");
    talker.feed(pattern(500_000));
    assert!(hearer.hear(500_000) == pattern(500_000), "{what}");
    for (run, who) in [(hearer, "hearer"), (talker, "talker")] {
        let left = run.end();
        assert_eq!((left.code, complaints(&left.errors)), (Some(0), vec![]), "{what} {who}");
        assert_eq!(left.text(), "", "{what} {who}");
    }
}

#[test]
fn two_programs_are_joined_both_ways_and_end_together() {
    for backend in backends() {
        for scheme in ["unix", "seqpacket"] {
            let folder = tempfile::tempdir().unwrap();
            let endpoint = local(scheme, &folder);
            let server = listen(backend, &[], &endpoint);
            ends(connect(backend, &[], &endpoint), server, &format!("{backend} {scheme} client"));
            let server = listen(backend, &[], &endpoint);
            ends(server, connect(backend, &[], &endpoint), &format!("{backend} {scheme} server"));
        }
    }
}

#[test]
fn nobody_is_served_behind_the_first() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = local("unix", &folder);
        let mut server = listen(backend, &["--verbose"], &endpoint);
        let mut first = connect(backend, &[], &endpoint);
        assert!(server.complains("netproc: listen"), "{server}");
        assert!(server.complains(": open from "), "{server}");
        first.say("hello\n");
        assert_eq!(server.line(), "hello");
        let second = connect(backend, &[], &endpoint).end();
        assert_eq!(second.code, Some(1), "{backend}: {}", second.errors);
        server.say("and you\n");
        assert_eq!(first.line(), "and you");
        assert_eq!(first.end().code, Some(0));
        assert!(
            server.complains(": connection broken by remote peer: ended by the peer"),
            "{server}"
        );
        assert_eq!(server.end().code, Some(0));
    }
}

#[test]
fn the_first_is_who_has_shaken_hands() {
    let ca = PKI.path("ca.pem");
    let identity = PKI.identity("server");
    let args = [&["--tls"][..], &identity.each_ref().map(String::as_str)].concat();
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = local("unix", &folder);
        let server = listen(backend, &args, &endpoint);
        // One that is no client of TLS takes nobody's place.
        drop(UnixStream::connect(folder.path().join("unix")).unwrap());
        let how = ["--tls", "--name", "localhost", "--ca", &ca];
        ends(server, connect(backend, &how, &endpoint), backend);
    }
}

#[test]
fn it_gives_up_on_a_first_that_says_nothing_and_ends_at_a_signal_without_one() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = local("unix", &folder);
        let mut server = listen(backend, &["--wait", "0.1"], &endpoint);
        let silent = UnixStream::connect(folder.path().join("unix")).unwrap();
        assert!(server.complains("nothing moved for 0.1 s"), "{server}");
        assert_eq!(server.end().code, Some(3), "{backend}");
        drop(silent);
        let endpoint = local("seqpacket", &folder);
        let server = listen(backend, &[], &endpoint);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.end().code, Some(0), "{backend}");
    }
}

/// More than sockets and pipes hold.
const MUCH: usize = 8 << 20;

// As in a service, whose standard input is empty: its end comes before the other has sent anything.
#[test]
fn all_goes_to_one_whose_own_input_has_ended() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = local("unix", &folder);
        for server_is_mute in [true, false] {
            let server = listen(backend, &[], &endpoint);
            let client = connect(backend, &[], &endpoint);
            let (mut mute, mut talker) =
                if server_is_mute { (server, client) } else { (client, server) };
            drop(mute.take_input());
            talker.feed(pattern(MUCH));
            assert!(mute.hear(MUCH) == pattern(MUCH), "{backend} {server_is_mute}");
            for left in [talker.end(), mute.end()] {
                assert_eq!((left.code, left.output.len()), (Some(0), 0), "{backend}");
            }
        }
    }
}

#[test]
fn much_goes_both_ways_at_once() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = local("unix", &folder);
        let mut ends = [listen(backend, &[], &endpoint), connect(backend, &[], &endpoint)];
        for end in &mut ends {
            end.feed(pattern(MUCH));
        }
        for end in ends {
            let left = end.end();
            assert!(left.output == pattern(MUCH), "{backend}: {}", left.output.len());
            assert_eq!((left.code, complaints(&left.errors)), (Some(0), vec![]), "{backend}");
        }
    }
}

#[test]
fn output_that_nobody_reads_holds_up_input_only() -> Outcome {
    watched("output_that_nobody_reads_holds_up_input_only", || {
        for backend in backends() {
            let folder = tempfile::tempdir()?;
            let endpoint = local("unix", &folder);
            let mut server = listen(backend, &[], &endpoint);
            let wait = ["connect", "--wait", "1", "--backend", backend, &endpoint];
            let (unread, output) = std::io::pipe()?;
            let mut client = program(&wait).stdin(Stdio::piped()).stdout(output).spawn()?;
            server.feed(pattern(MUCH));
            let mut input = client.stdin.take().ok_or("it was piped")?;
            input.write_all(&pattern(MUCH))?;
            assert!(server.hear(MUCH) == pattern(MUCH), "{backend}: what it sends gets through");
            assert_eq!(client.wait()?.code(), Some(3), "{backend}: nothing moves any more");
            drop(unread);
        }
        Ok(())
    })
}

#[test]
fn a_signal_ends_one_whose_last_output_nobody_reads() -> Outcome {
    watched("a_signal_ends_one_whose_last_output_nobody_reads", || {
        for (at, backend) in backends().iter().flat_map(|it| [(0, it), (1, it)]) {
            let folder = tempfile::tempdir()?;
            let endpoint = local("unix", &folder);
            let (unread, output) = std::io::pipe()?;
            let mut command = program(&["listen", "--stdio", "--backend", backend, &endpoint]);
            command.args(["--wait", "600"].into_iter().take(2 * at)).stdout(output);
            let mut server = Run::of(command);
            assert!(server.complains("listening on"), "{server}");
            let mut client = UnixStream::connect(folder.path().join("unix"))?;
            // More than the pipe holds, and less than what holds the peer up.
            client.write_all(&pattern(200_000))?;
            client.shutdown(Shutdown::Write)?;
            assert_eq!(
                client.read(&mut [0])?,
                0,
                "it hangs up as well, and has nothing left but to write"
            );
            server.signal(Signal::SIGTERM);
            let code = server.end().code;
            // By the signal itself where everything has ended before, else in order.
            assert!(matches!(code, None | Some(0)), "{backend}: {code:?}");
            drop(unread);
        }
        Ok(())
    })
}

#[test]
fn line_ends_and_characters_are_changed_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = local("unix", &folder);
    let mut server = listen("poll", &["--crlf", "--coding", "latin-1"], &endpoint);
    let mut client = connect("poll", &[], &endpoint);
    let mut said = client.take_input();
    said.write_all(b"bl\xe4u\n").unwrap();
    assert_eq!(server.line(), "bl\u{e4}u");
    server.say("gr\u{fc}n\n");
    assert_eq!(client.hear(6), b"gr\xfcn\r\n");
}

#[test]
fn what_cannot_be_joined_is_refused() {
    for (args, words) in [
        (&["--stdio", "udp:127.0.0.1:0"][..], "--stdio needs connections, udp:127.0.0.1:0"),
        (&["--stdio", "--echo", "127.0.0.1:0"], "cannot be used with"),
        (&["--wait", "1", "127.0.0.1:0"], "--stdio"),
    ] {
        let left = Run::new(&[&["listen"], args].concat()).end();
        assert_eq!(left.code, Some(2), "{args:?}");
        assert!(left.errors.contains(words), "{words} in {}", left.errors);
    }
}
