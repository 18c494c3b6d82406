//! The program `netproc` as a shell sees it: standard streams, signals, exit statuses.
//!
//! Invariant: every wait has a bound, and a program still running when its test ends is killed. What it
//! says under TLS is `program_tls`'s business.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netproc_tests::{
    child::handing_over,
    program::{PROGRAM, Run, accept, backends, listen, listener, local, pattern, program, silence},
    rig::PATIENCE,
};
use nix::{
    fcntl::OFlag,
    libc::linger,
    sys::{
        signal::Signal,
        socket::{setsockopt, sockopt::Linger},
    },
    unistd::pipe2,
};

fn connect(backend: &str, endpoint: &str) -> Run {
    Run::new(&["connect", "--backend", backend, endpoint])
}

#[test]
fn listen_prints_its_addresses_and_ends_in_order_at_a_signal() {
    for backend in backends() {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let folder = tempfile::tempdir().unwrap();
            let files = ["unix", "unixgram", "seqpacket"].map(|scheme| local(scheme, &folder));
            let name = format!("abstract:netproc-test-{}-{signal}", std::process::id());
            let mut asked = vec!["127.0.0.1:0", "udp:127.0.0.1:0", &name];
            asked.extend(files.iter().map(String::as_str));
            if UdpSocket::bind("[::1]:0").is_ok() {
                asked.push("[::1]:0");
            }
            let mut args = vec!["listen", "--echo", "--backend", backend];
            args.extend(&asked);
            let mut run = Run::new(&args);
            // Whoever has read the first address may send a signal.
            let first = run.line();
            run.signal(signal);
            let left = run.end();
            left.check_well();
            let rest = String::from_utf8(left.output).unwrap();
            for (line, asked) in std::iter::once(&*first).chain(rest.lines()).zip(&asked) {
                match asked.strip_suffix('0') {
                    Some(host) => assert!(line.starts_with(host) && line != *asked, "{line}"),
                    None => assert_eq!(line, *asked),
                }
            }
            assert_eq!(rest.lines().count() + 1, asked.len(), "{backend}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "its files are gone");
        }
    }
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_ends_nothing() {
    for backend in backends() {
        // What nohup does, with standard streams that it leaves alone.
        let mut command = netproc_tests::program::command("sh");
        command.args(["-c", "trap '' HUP; exec \"$0\" listen --backend \"$1\" 127.0.0.1:0"]);
        command.args([PROGRAM.as_os_str(), backend.as_ref()]);
        let mut run = Run::of(command);
        let endpoint = run.line();
        run.signal(Signal::SIGHUP);
        let mut peer = connect(backend, &endpoint);
        peer.feed(b"hello".to_vec());
        assert_eq!(peer.end().output, b"hello", "{backend}");
        run.signal(Signal::SIGTERM);
        run.end().check_well();
    }
}

#[test]
fn a_signal_ends_listen_in_order_behind_a_look_up() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let file = local("unix", &folder);
        // The thread that has looked it up is there for a while.
        let mut run = Run::new(&["listen", "--backend", backend, "localhost:0", &file]);
        run.hear_until(&file);
        run.signal(Signal::SIGTERM);
        run.end().check_well();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{backend}: its file is gone");
    }
}

#[test]
fn connect_gets_everything_back_and_then_the_end() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let file = local("unix", &folder);
        let (_server, lines) = listen(backend, &["127.0.0.1:0", &file]);
        for endpoint in lines {
            let mut run = connect(backend, &endpoint);
            run.feed(pattern(1 << 20));
            let left = run.end();
            left.check_well();
            assert!(left.output == pattern(1 << 20), "{backend} {endpoint}: {}", left.output.len());
        }
    }
}

#[test]
fn connect_sends_packets_that_fit() {
    const LEN: usize = 200_000;
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["unixgram", "seqpacket"].map(|scheme| local(scheme, &folder));
        let (_server, lines) = listen(backend, &names.each_ref().map(|name| &**name));
        // Packets come to no end by themselves.
        let mut run = connect(backend, &lines[0]);
        run.feed(pattern(LEN));
        assert!(run.hear(LEN) == pattern(LEN), "{backend}");
        let mut run = connect(backend, &lines[1]);
        run.feed(pattern(LEN));
        let left = run.end();
        left.check_well();
        assert!(left.output == pattern(LEN), "{backend}: {}", left.output.len());
    }
}

#[test]
fn connect_keeps_below_the_longest_packet_of_udp() {
    for backend in backends() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        // From a file every read is as long as it may be.
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(&pattern(200_000)).unwrap();
        io::Seek::rewind(&mut input).unwrap();
        let endpoint = format!("udp:{}", peer.local_addr().unwrap());
        let mut command = program(&["connect", "--backend", backend, &endpoint]);
        command.stdin(input);
        let mut run = Run::of(command);
        let mut packet = vec![0; 1 << 16];
        let (len, from) = peer.recv_from(&mut packet).unwrap();
        assert!(len > 0 && packet[..len] == pattern(len), "{backend}");
        peer.send_to(b"answer", from).unwrap();
        assert_eq!(run.hear(6), b"answer");
    }
}

#[test]
fn connect_complains_once_about_each_trouble_with_packets() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unixgram");
        let peer = UnixDatagram::bind(&path).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let endpoint = local("unixgram", &folder);
        let wait = ["connect", "--wait", "0.5", "--backend", backend, &endpoint];
        let mut run = Run::new(&wait);
        let mut input = run.take_input();
        input.write_all(b"heard").unwrap();
        assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 5);
        // Not closed: a program just being started may have the same socket for a moment.
        peer.shutdown(Shutdown::Read).unwrap();
        // Two packets at least, since there is more than one holds.
        input.write_all(&pattern(20_000)).unwrap();
        drop(input);
        let left = run.end();
        let refused = left.errors.matches("Broken pipe").count();
        assert_eq!((left.code, refused), (Some(3), 1), "{backend}: {}", left.errors);
    }
}

#[test]
fn a_packet_to_nobody_ends_it_and_an_answer_in_time_is_a_success() {
    for backend in backends() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("udp:{}", gone.local_addr().unwrap());
        drop(gone);
        let mut run = connect(backend, &endpoint);
        run.say("anybody?");
        run.end().check(2, "Connection refused");
        let (_server, lines) = listen(backend, &["udp:127.0.0.1:0"]);
        let mut run = Run::new(&["connect", "--wait", "0.3", "--backend", backend, &lines[0]]);
        run.feed(b"hello".to_vec());
        let left = run.end();
        left.check_well();
        assert_eq!(left.output, b"hello", "{backend}");
    }
}

#[test]
fn listen_says_why_it_cannot() {
    for backend in backends() {
        let (_busy, endpoint) = listener();
        let taken = Run::new(&["listen", "--echo", "--backend", backend, &endpoint]).end();
        taken.check(1, "Address already in use");
        taken.check(1, &endpoint);
        let (_busy, lines) = listen(backend, &["udp:127.0.0.1:0"]);
        let taken = Run::new(&["listen", "--echo", "--backend", backend, &lines[0]]).end();
        taken.check(1, "Address already in use");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unix");
        File::create(&path).unwrap();
        let endpoint = local("unix", &folder);
        let taken = Run::new(&["listen", "--echo", "--backend", backend, &endpoint]).end();
        taken.check(1, "exists; remove it if no server uses it");
        assert!(path.exists(), "it is not ours");
    }
}

#[test]
fn a_file_that_a_killed_server_has_left_is_replaced() {
    // What is in a ring may outlive a process that was killed, by a moment in which somebody seems to be there.
    for backend in backends().iter().filter(|backend| *backend != "uring") {
        let folder = tempfile::tempdir().unwrap();
        for scheme in ["unix", "unixgram", "seqpacket"] {
            let endpoint = local(scheme, &folder);
            let (killed, _) = listen(backend, &[&endpoint]);
            killed.signal(Signal::SIGKILL);
            assert_eq!(killed.end().code, None, "{backend} {scheme}");
            let (alive, _) = listen(backend, &[&endpoint]);
            let second = Run::new(&["listen", "--backend", backend, &endpoint]).end();
            second.check(1, "exists; remove it if no server uses it");
            alive.signal(Signal::SIGTERM);
            alive.end().check_well();
        }
    }
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    for args in [&["listen", "--echo", "[::1]"][..], &["connect", "host:65536"], &["connect"]] {
        assert_eq!(Run::new(args).end().code, Some(2), "{args:?}");
    }
    for args in
        [&["connect", "localhost", "80"][..], &["listen", "--external", "web", "127.0.0.1:0"]]
    {
        let left = Run::new(args).end();
        assert_eq!(left.code, Some(2), "{args:?}");
        let words = "HOST:PORT expected, as one argument; the word of an option goes behind =";
        assert!(left.errors.contains(words), "{}", left.errors);
    }
    // What only the library finds.
    for (seconds, words) in [("0", "more than 0 seconds"), ("x", "a number"), ("-1", "negative")] {
        let wait = format!("--wait={seconds}");
        let left = Run::new(&["connect", &wait, "127.0.0.1:1"]).end();
        assert!(left.code == Some(2) && left.errors.contains(words), "{}", left.errors);
    }
    let path = format!("unix:/{}", "x".repeat(200));
    let cases = [
        ("127.0.0.1:0", "service \"0\": a client needs a port"),
        ("udp:127.0.0.1:0", "service \"0\": a client needs a port"),
        ("127.0.0.1:no-such-service", "service \"no-such-service\": unknown service"),
        ("[::1%none]:80", "host \"::1%none\": "),
        (&path, "service name too long"),
    ];
    for (endpoint, words) in cases {
        Run::new(&["connect", endpoint]).end().check(2, words);
    }
    let mut unknown = program(&["connect", "127.0.0.1:1"]);
    unknown.env("NETPROC_BACKEND", "foo");
    Run::of(unknown).end().check(2, "NETPROC_BACKEND: unknown backend \"foo\"");
}

#[test]
fn connect_to_nobody_ends_with_1() {
    for backend in backends() {
        let (gone, endpoint) = listener();
        drop(gone);
        let complaint = format!("netproc: cannot use {endpoint}: connecting: Connection refused");
        connect(backend, &endpoint).end().check(1, &complaint);
        let folder = tempfile::tempdir().unwrap();
        let endpoint = local("unix", &folder);
        let path = endpoint.trim_start_matches("unix:");
        let complaint = format!("netproc: cannot use {path}: connecting: No such file");
        connect(backend, &endpoint).end().check(1, &complaint);
    }
}

#[test]
fn connect_says_that_its_peer_has_reset() {
    for backend in backends() {
        let (listener, endpoint) = listener();
        let (_input, stdin) = silence();
        let mut command = program(&["connect", "--backend", backend, &endpoint]);
        command.stdin(stdin);
        let mut run = Run::of(command);
        let mut peer = accept(&listener);
        peer.write_all(b"hello").unwrap();
        assert_eq!(run.hear(5), b"hello");
        setsockopt(&peer, Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
        drop(peer);
        run.end().check(2, "reset by peer");
    }
}

#[test]
fn with_verbose_either_side_says_whom_it_has_and_listen_why_it_lost_them() {
    for backend in backends() {
        let args = ["listen", "--verbose", "--backend", backend, "127.0.0.1:0", "udp:127.0.0.1:0"];
        let mut server = Run::new(&args);
        let (stream, packets) = (server.line(), server.line());
        // Packets have no end of their own.
        let silence: [&[&str]; 2] = [&[], &["-w", "0.3"]];
        let peers = [(&*stream, &*stream), (&packets, &packets["udp:".len()..])];
        for ((endpoint, address), silence) in peers.into_iter().zip(silence) {
            let args = ["connect", "-v", "--backend", backend, endpoint];
            let mut run = Run::new(&[&args, silence].concat());
            run.feed(b"hello".to_vec());
            run.end().check(0, &format!("{endpoint}: connected to {address}"));
        }
        assert!(server.complains(": open from 127.0.0.1"), "{server}");
        assert!(
            server.complains("connection broken by remote peer: ended by the peer"),
            "{server}"
        );
        let mut peer = TcpStream::connect(&stream).unwrap();
        peer.write_all(b"hello").unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
        setsockopt(&peer, Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
        drop(peer);
        assert!(server.complains("broken by remote peer: "), "{server}");
        assert!(server.complains("reset by peer"), "{server}");
        let mut last = TcpStream::connect(stream).unwrap();
        last.write_all(b"hello").unwrap();
        last.read_exact(&mut [0; 5]).unwrap();
        server.signal(Signal::SIGTERM);
        assert!(server.complains("ended by a signal, 0 bytes stayed unsent"), "{server}");
    }
}

#[test]
fn connect_gives_up_when_nothing_moves() {
    for backend in backends() {
        let (listener, endpoint) = listener();
        let (_input, stdin) = silence();
        let mut command = program(&["connect", "-w", "0.2", "--backend", backend, &endpoint]);
        command.stdin(stdin);
        let run = Run::of(command);
        let _peer = accept(&listener);
        run.end().check(3, "nothing moved for 0.2 s");
    }
}

#[test]
fn connect_gives_up_connecting_with_the_same_status() {
    let (listener, endpoint) = listener();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    // A full queue lets further connects wait.
    let address = listener.local_addr().unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let waiting: Vec<TcpStream> = (0..64).map_while(connect).collect();
    assert!(waiting.len() < 64, "the queue is never full");
    for backend in backends() {
        let args = ["connect", "--wait", "0.2", "--backend", backend, &endpoint];
        Run::new(&args).end().check(3, "no connection within the time given");
    }
}

#[test]
fn connect_says_that_it_reads_no_more_of_an_open_input_behind_the_peers_end() {
    for backend in backends() {
        let words = "the peer has ended, standard input is no longer read";
        for is_open in [true, false] {
            let (listener, endpoint) = listener();
            let mut run = connect(backend, &endpoint);
            let mut peer = accept(&listener);
            let input = run.take_input();
            let input = is_open.then_some(input);
            peer.shutdown(Shutdown::Write).unwrap();
            // Its end comes when the time it gives its input is over. A read by itself may be interrupted.
            assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0, "{backend}");
            drop(peer);
            assert_eq!(run.complains(words), is_open, "{backend}");
            assert_eq!(run.end().code, Some(0), "{backend}");
            drop(input);
        }
    }
}

#[test]
fn connect_ends_by_what_is_wrong_with_standard_output() {
    for backend in backends() {
        let (_server, lines) = listen(backend, &["127.0.0.1:0"]);
        let mut full = program(&["connect", "--backend", backend, &lines[0]]);
        full.stdout(File::options().write(true).open("/dev/full").unwrap());
        let mut run = Run::of(full);
        run.feed(b"hello".to_vec());
        run.end().check(2, "standard output: No space left on device");
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(read);
        let mut broken = program(&["connect", "--backend", backend, &lines[0]]);
        broken.stdout(write);
        let mut run = Run::of(broken);
        run.feed(b"hello".to_vec());
        run.end().check_well();
    }
}

#[test]
fn connect_ends_by_what_is_wrong_with_standard_input() {
    for backend in backends() {
        let (_server, lines) = listen(backend, &["127.0.0.1:0"]);
        let mut folder = program(&["connect", "--backend", backend, &lines[0]]);
        folder.stdin(File::open("/").unwrap());
        Run::of(folder).end().check(2, "standard input: Is a directory");
    }
}

#[test]
fn connect_waits_for_an_input_that_does_not_block() {
    for backend in backends() {
        let (listener, endpoint) = listener();
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let mut command = program(&["connect", "--backend", backend, &endpoint]);
        command.stdin(read);
        let mut run = Run::of(command);
        let mut peer = accept(&listener);
        peer.write_all(b"ready").unwrap();
        assert_eq!(run.hear(5), b"ready");
        // The end would come here if the empty pipe were taken for one.
        peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(peer.read(&mut [0; 1]).is_err(), "{backend}");
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        File::from(write).write_all(b"late").unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"late", "{backend}");
        drop(peer);
        run.end().check_well();
    }
}

#[test]
fn nothing_panics_when_standard_error_takes_nothing() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let (nobody, reads) = pipe2(OFlag::O_CLOEXEC).unwrap();
    drop(nobody);
    for stderr in [Stdio::from(full()), reads.into()] {
        let (gone, endpoint) = listener();
        drop(gone);
        let mut refused = program(&["connect", &endpoint]);
        refused.stderr(stderr);
        assert_eq!(Run::of(refused).end().code, Some(1));
    }
    // Whoever leaves the choice open hears why it is not io_uring.
    let mut listen = program(&["listen", "--echo", "127.0.0.1:0"]);
    listen.env("NETPROC_BACKEND", "poll").stderr(full());
    let mut run = Run::of(listen);
    run.line();
    run.signal(Signal::SIGTERM);
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn the_demo_finds_every_byte_right_in_time() {
    for backend in backends() {
        let began = Instant::now();
        let left = Run::new(&["demo", "--quick", "--backend", backend]).end();
        left.check_well();
        let output = String::from_utf8(left.output).unwrap();
        assert!(output.contains("every byte right"), "{output}");
        assert!(began.elapsed() < Duration::from_secs(10), "{backend}: {:?}", began.elapsed());
    }
}

#[test]
fn what_only_prints_ends_in_silence_without_readers() {
    for args in [&["probe"][..], &["demo", "--quick"]] {
        let (nobody, output) = pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(nobody);
        let mut command = program(args);
        command.stdout(output);
        let left = Run::of(command).end();
        // What a shell calls the end by SIGPIPE.
        assert_eq!((left.code, &*left.errors), (Some(141), ""), "{args:?}");
    }
}

#[test]
fn the_probe_lists_every_backend() {
    let left = Run::new(&["probe"]).end();
    left.check_well();
    let output = String::from_utf8(left.output).unwrap();
    for word in ["uring", "epoll", "kqueue", "poll", "chosen: "] {
        assert!(output.contains(word), "{word} in {output}");
    }
}

#[test]
fn a_coding_that_is_none_is_refused_in_its_own_words() {
    let cases = [
        ("no-such", "unknown coding system \"no-such\""),
        ("utf-8-unix-dos", "unknown coding system \"utf-8-unix-dos\""),
        ("UTF-8", "unknown coding system \"UTF-8\""),
        ("compound-text", "coding system compound-text is not supported: "),
        ("(utf-8", "malformed pair of coding systems \"(utf-8\""),
    ];
    for (name, words) in cases {
        for args in [&["connect"][..], &["listen", "--echo"]] {
            let left = Run::new(&[args, &["--coding", name, "127.0.0.1:1"]].concat()).end();
            assert_eq!(left.code, Some(2), "{name}");
            assert!(left.errors.contains(words), "{words} in {}", left.errors);
        }
    }
}

#[test]
fn connect_speaks_the_coding_of_its_peer() {
    // Arguments, standard input, what the peer gets, what it says in two pieces, standard output.
    type Case<'a> = (&'a [&'a str], &'a [u8], &'a [u8], [&'a [u8]; 2], &'a [u8]);
    let cases: [Case<'_>; 9] = [
        (&["latin-1-dos"], "né\n".as_bytes(), b"n\xE9\r\n", [b"\xE9\r", b"\n"], "é\n".as_bytes()),
        (
            &["(utf-8-unix . sjis-mac)"],
            "あ\n".as_bytes(),
            b"\x82\xA0\r",
            [b"\xC3", b"\xA9\r\n"],
            "é\r\n".as_bytes(),
        ),
        (&["utf-16"], "é".as_bytes(), b"\xFE\xFF\0\xE9", [b"\xFF", b"\xFEx\0"], b"x"),
        (
            &["iso-2022-jp-unix"],
            "あ".as_bytes(),
            b"\x1B$B$\"\x1B(B",
            [b"\x1B$B$", b"\"$$"],
            "あい".as_bytes(),
        ),
        // Bytes that are no characters are what they are, at the very end too.
        (&["utf-8-unix"], b"\xFF\xC3", b"\xFF\xC3", [b"\xFE", b"\xE2\x82"], b"\xFE\xE2\x82"),
        // What goes out ends in CR LF; what comes is read as the name says.
        (&["utf-16le-unix", "--crlf"], b"x\n", b"x\0\r\0\n\0", [b"y\0\r\0", b"\n\0"], b"y\r\n"),
        (&["utf-16be-dos", "--crlf"], b"x\r\n", b"\0x\0\r\0\n", [b"\0y", b""], b"y"),
        (&["utf-8-mac", "--crlf"], b"x\n", b"x\r\n", [b"a\r", b"b"], b"a\nb"),
        (&["binary", "--crlf"], "é\n".as_bytes(), b"\xC3\xA9\r\n", [b"\xE9\r", b"\n"], b"\xE9\r\n"),
    ];
    for backend in backends() {
        for (args, input, sent, says, output) in cases {
            let (listener, endpoint) = listener();
            let fixed = ["connect", "--backend", backend, &endpoint, "--coding"];
            let mut run = Run::new(&[&fixed[..], args].concat());
            let mut peer = accept(&listener);
            peer.set_nodelay(true).unwrap();
            says.iter().for_each(|piece| peer.write_all(piece).unwrap());
            run.feed(input.to_vec());
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            drop(peer);
            let left = run.end();
            left.check_well();
            assert_eq!((&*got, &*left.output), (sent, output), "{backend} {args:?}");
        }
    }
}

#[test]
fn connect_puts_characters_together_that_its_input_cuts() {
    for backend in backends() {
        let (listener, endpoint) = listener();
        let args = ["connect", "--coding", "latin-1", "--backend", backend, &endpoint];
        let mut run = Run::new(&args);
        let mut peer = accept(&listener);
        let mut input = run.take_input();
        for (piece, sent) in
            [(&b"a\xE2"[..], &b"a"[..]), (b"\x82\xAC\xC3", b" "), (b"\xA9", b"\xE9")]
        {
            input.write_all(piece).unwrap();
            let mut got = vec![0; sent.len()];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(got, sent, "{backend}");
        }
        drop(input);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "{backend}");
        drop(peer);
        // The euro sign was replaced, which is said once, and is a loss.
        run.end().check(2, "latin-1 cannot express every character; replaced");
    }
}

#[test]
fn listen_decodes_what_it_echoes() {
    for backend in backends() {
        let args =
            ["listen", "--echo", "--backend", backend, "--coding", "(latin-1-dos . utf-8-unix)"];
        let mut run = Run::new(&[&args[..], &["127.0.0.1:0", "udp:127.0.0.1:0"]].concat());
        let (stream, packets) = (run.line(), run.line());
        let mut peer = TcpStream::connect(stream).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(b"caf\xE9\r\n\r").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, "café\n\r".as_bytes(), "{backend}: the held CR too");
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.send_to(b"\xE9", packets.strip_prefix("udp:").unwrap()).unwrap();
        let mut packet = [0; 9];
        let len = peer.recv(&mut packet).unwrap();
        assert_eq!(&packet[..len], "é".as_bytes(), "{backend}");
    }
}

/// The program with these arguments, started with one socket of this name.
fn started_with(socket: impl Into<OwnedFd>, name: &str, args: &[&str]) -> Command {
    let mut command = handing_over(&PROGRAM, vec![socket.into()]);
    command.args(args).env("LISTEN_FDNAMES", name).env_remove("NETPROC_BACKEND");
    command
}

#[test]
fn listen_serves_on_the_socket_it_was_started_with() {
    for backend in backends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unix");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (at, packets) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        let local = UnixListener::bind(&path).unwrap();
        let cases: [(OwnedFd, String, &[&str]); 3] = [
            (tcp.into(), at.to_string(), &["--external"]),
            (udp.into(), format!("udp:{packets}"), &["--external=web"]),
            (local.into(), format!("unix:{}", path.display()), &["--external", "127.0.0.1:0"]),
        ];
        for (socket, endpoint, asked) in cases {
            let args = [&["listen", "--echo", "--backend", backend][..], asked].concat();
            let mut run = Run::of(started_with(socket, "web", &args));
            assert_eq!(run.line(), endpoint);
            let mut peer = connect(backend, &endpoint);
            peer.feed(pattern(1000));
            assert!(peer.hear(1000) == pattern(1000), "{backend} {endpoint}");
            run.signal(Signal::SIGTERM);
            run.end().check_well();
        }
        assert!(path.exists(), "the file is its maker's business");
    }
}

#[test]
fn listen_refuses_to_serve_on_sockets_it_was_not_given() {
    let none = "this program was started without a socket";
    Run::new(&["listen", "--echo", "--external"]).end().check(1, none);
    let args = ["listen", "--echo", "--backend", "poll", "--external=web"];
    let other = started_with(listener().0, "other", &args);
    Run::of(other).end().check(1, &format!("{none} of the name \"web\""));
    let complaint = "the socket \"web\" on \"\": cannot serve on the socket given: ";
    Run::of(started_with(UnixStream::pair().unwrap().0, "web", &args)).end().check(1, complaint);
    let packets = UdpSocket::bind("127.0.0.1:0").unwrap();
    let args = ["listen", "--stdio", "--backend", "poll", "--external=web"];
    let complaint = "--stdio needs connections, \"web\" is packets";
    Run::of(started_with(packets, "web", &args)).end().check(1, complaint);
    assert_eq!(Run::new(&["listen", "--echo"]).end().code, Some(2), "an endpoint is missing");
}
