//! Sockets from elsewhere: those a process was started with (`:use-external-socket`), and those the
//! program has opened itself.
//!
//! Each test that is handed sockets starts itself again by way of a shell, which does what a service
//! manager does: the sockets are descriptors 3 and 4, and `LISTEN_PID` is the pid of the new process.
//! What Emacs does was asked of Emacs 28.2 under `systemd-socket-activate`.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Command, Stdio},
};

use netproc::{
    Address, AdoptError, Config, Kind, Process, StartError, Status, SysError, Value,
    external_sockets,
};
use netproc_tests::{
    child::{activated, descriptors},
    conformance,
    rig::{Outcome, Rig, Subject},
};

/// What a process is started with.
type Sockets = fn() -> io::Result<Vec<OwnedFd>>;

fn listener() -> io::Result<Vec<OwnedFd>> {
    Ok(vec![TcpListener::bind("127.0.0.1:0")?.into()])
}

fn listener_and_packets() -> io::Result<Vec<OwnedFd>> {
    Ok(vec![TcpListener::bind("127.0.0.1:0")?.into(), UdpSocket::bind("127.0.0.1:0")?.into()])
}

/// One end of a connection, as a service gets that is started for each.
fn connection() -> io::Result<Vec<OwnedFd>> {
    Ok(vec![UnixStream::pair()?.0.into(), TcpListener::bind("127.0.0.1:0")?.into()])
}

fn file_and_listener() -> io::Result<Vec<OwnedFd>> {
    Ok(vec![tempfile::tempfile()?.into(), TcpListener::bind("127.0.0.1:0")?.into()])
}

/// Runs `body` in a process that was started with `sockets`; `module` is the path of the test's.
fn started_with(
    rig: &Rig,
    module: &str,
    sockets: Sockets,
    variables: &[(&str, &str)],
    body: impl FnOnce() -> Outcome,
) -> Outcome {
    let test = format!("{module}::{}", format!("{:?}", rig.subject).to_lowercase());
    activated(&test, sockets, variables, body)
}

/// Whether what this process starts gets the descriptor 3.
fn is_inherited() -> io::Result<bool> {
    let mut child = Command::new("sh");
    Ok(child.args(["-c", "true <&3"]).stderr(Stdio::null()).status()?.success())
}

/// The complaint of a start that must fail.
#[track_caller]
fn misfit(made: Result<Process, StartError>) -> AdoptError {
    match made {
        Err(StartError::Adopt(err)) => err,
        other => panic!("no misfit: {other:?}"),
    }
}

/// A client of `server`, from outside of the runtime, hears back what it says.
fn assert_echoes(rig: &Rig, server: &Process) -> Outcome {
    let to = server.contact().local().socket_addr().ok_or("an address of IP")?;
    let mut outside = TcpStream::connect(to)?;
    let sent = rig.rt.stats().sent;
    outside.write_all(b"hello")?;
    rig.until("the echo", || rig.rt.stats().sent == sent + 5);
    let mut answer = [0; 5];
    outside.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    drop(outside);
    rig.until("its end", || rig.children(server) == 0);
    Ok(())
}

conformance!(on (poll epoll uring): a_server_serves_on_the_socket_it_was_started_with, |rig| {
    started_with(rig, module_path!(), listener, &[("LISTEN_FDNAMES", "web")], || {
        let before = descriptors()?;
        let [socket] = &external_sockets()[..] else { panic!("one is handed over") };
        assert_eq!((&*socket.name, socket.kind), ("web", Kind::Stream));
        let log = rig.log.clone();
        // All of it is for a start from a shell: there is no such host.
        let server = rig.echo().host("no.such.host.invalid").service(1).use_external_socket(true);
        let server = server.log(log.log()).mode(0o600).keepalive(true).start()?;
        assert_eq!(descriptors()?, before, "taken, not doubled");
        let port = socket.local.port().map(i64::from);
        let contact = server.contact();
        assert_eq!((server.status(), contact.local()), (Status::Listen, &socket.local));
        assert_eq!(contact.get(":service"), port.map(Value::from));
        assert_eq!(contact.get(":use-external-socket"), Some(Value::True));
        assert_eq!(contact.get(":host"), None, "the socket's is not what was asked for");
        assert_echoes(rig, &server)?;
        assert!(rig.log.of(&server).iter().any(|line| line.starts_with("log: accept from")));
        server.delete();
        rig.until("its end", || rig.rt.stats().sockets == 0);
        assert_eq!(descriptors()?, before - 1, "the socket is closed with its server");
        Ok(())
    })
});

conformance!(on (poll epoll uring): a_socket_serves_once, |rig| {
    started_with(rig, module_path!(), listener, &[], || {
        assert!(is_inherited()?, "it has come to us that way");
        let local = external_sockets()[0].local.clone();
        assert!(!is_inherited()?, "it is not meant for those we start");
        assert_eq!(external_sockets()[0].name, "unknown");
        let untaken = rig.rt.server("s").use_external_socket(false).start()?;
        assert_ne!(*untaken.contact().local(), local, "nobody asked for it");
        let first = rig.echo().use_external_socket(true).start()?;
        assert_eq!(*first.contact().local(), local);
        assert_eq!(external_sockets(), []);
        for another in [rig.another(), rig.rt.clone()] {
            let second = another.server("s").use_external_socket(true).start()?;
            assert_ne!(*second.contact().local(), local, "one of its own");
            second.delete();
        }
        first.delete();
        let third = rig.echo().use_external_socket(true).start()?;
        assert_ne!(*third.contact().local(), local, "gone for good");
        assert_echoes(rig, &third)
    })
});

conformance!(on (poll epoll uring): a_server_asks_for_its_socket_by_name, |rig| {
    let names = [("LISTEN_FDNAMES", "web:packets")];
    started_with(rig, module_path!(), listener_and_packets, &names, || {
        let [web, packets] = &external_sockets()[..] else { panic!("two are handed over") };
        let absent = rig.server().external_socket("nothing").start()?;
        assert!(absent.contact().local() != &web.local, "ignored when there is none");
        let log = rig.log.clone();
        let heard = rig.rt.server("p").datagram().external_socket("packets");
        let heard = heard.filter(move |process, input| {
            log.input(process, &input);
            process.send(input)
        });
        let heard = heard.start()?;
        assert_eq!(heard.contact().local(), &packets.local);
        let server = rig.echo().external_socket("web").start()?;
        assert_eq!(server.contact().local(), &web.local);
        assert_echoes(rig, &server)?;
        let client = rig.client_at(packets.local.clone()).datagram().start()?;
        client.send("packet")?;
        rig.until_bytes(&client, b"packet");
        Ok(())
    })
});

conformance!(on (poll epoll uring): a_socket_that_does_not_fit_stays, |rig| {
    let names = [("LISTEN_FDNAMES", "web:packets")];
    started_with(rig, module_path!(), listener_and_packets, &names, || {
        let offered = external_sockets();
        let (stream, datagram) = (Kind::Stream, Kind::Datagram);
        let refused = misfit(rig.server().datagram().external_socket("web").start());
        assert_eq!(refused, AdoptError::Kind { wanted: datagram, found: stream });
        assert_eq!(external_sockets(), offered);
        // A refusal by the system comes later, and is one as well.
        let device = rig.server().bindtodevice("netproc-none").use_external_socket(true).start();
        let AdoptError::Sys(SysError { .. }) = misfit(device) else { panic!("no such device") };
        assert_eq!(external_sockets(), offered);
        let simulated = Subject::Sim.runtime(Config::default()).ok_or("a simulation")?;
        let refused = misfit(simulated.server("s").use_external_socket(true).start());
        assert_eq!(refused, AdoptError::Unsupported("sim"));
        assert_eq!(external_sockets(), offered);
        assert_eq!(rig.rt.process_list(), []);
        let server = rig.echo().use_external_socket(true).start()?;
        assert_eq!(*server.contact().local(), offered[0].local);
        let refused = misfit(rig.server().use_external_socket(true).start());
        assert_eq!(refused, AdoptError::Kind { wanted: stream, found: datagram });
        assert_eq!(external_sockets(), offered[1..]);
        assert_echoes(rig, &server)
    })
});

conformance!(on (poll epoll uring): a_server_is_given_the_first_socket_of_its_kind, |rig| {
    let names = [("LISTEN_FDNAMES", "both:both")];
    started_with(rig, module_path!(), listener_and_packets, &names, || {
        let offered = external_sockets();
        let packets = rig.rt.server("p").datagram().external_socket("both").start()?;
        assert_eq!(*packets.contact().local(), offered[1].local);
        packets.delete();
        assert_eq!(external_sockets(), offered[..1]);
        let server = rig.echo().use_external_socket(true).start()?;
        assert_eq!(*server.contact().local(), offered[0].local);
        assert_echoes(rig, &server)
    })
});

conformance!(on (poll epoll uring): a_connection_handed_over_is_no_servers_socket, |rig| {
    started_with(rig, module_path!(), connection, &[("LISTEN_FDNAMES", "connection:web")], || {
        let misfit = misfit(rig.server().external_socket("connection").start());
        assert_eq!(misfit, AdoptError::Connected);
        // It stands in nobody's way.
        let server = rig.echo().use_external_socket(true).start()?;
        assert_eq!(external_sockets().len(), 1, "it stays");
        assert_echoes(rig, &server)
    })
});

conformance!(on (poll epoll uring): what_is_no_socket_is_left_alone, |rig| {
    let names = [("LISTEN_FDNAMES", "store:web")];
    started_with(rig, module_path!(), file_and_listener, &names, || {
        let before = descriptors()?;
        let [socket] = &external_sockets()[..] else { panic!("one of them is a socket") };
        assert_eq!(socket.name, "web", "the names are counted by descriptor");
        let server = rig.echo().use_external_socket(true).start()?;
        server.delete();
        rig.until("its end", || rig.rt.stats().sockets == 0);
        assert_eq!(descriptors()?, before - 1, "the file is still open");
        Ok(())
    })
});

conformance!(on (poll epoll uring): an_environment_that_is_not_meant_for_us_is_ignored, |rig| {
    let cases: [&[(&str, &str)]; 6] = [
        &[("LISTEN_PID", "1")],
        &[("LISTEN_PID", "")],
        &[("LISTEN_FDS", "0")],
        &[("LISTEN_FDS", "99999999999999999999")],
        &[("LISTEN_FDS", "some")],
        &[("LISTEN_FDS", "")],
    ];
    for variables in cases {
        started_with(rig, module_path!(), listener, variables, || {
            assert_eq!(external_sockets(), []);
            let before = descriptors()?;
            let server = rig.echo().use_external_socket(true).start()?;
            assert!(descriptors()? > before, "a socket of its own");
            assert_echoes(rig, &server)
        })?;
    }
    Ok(())
});

conformance!(on (poll epoll uring): more_promised_than_there_is_takes_nothing_of_ours, |rig| {
    // Everything this process has opened itself lies in the range that is promised.
    started_with(rig, module_path!(), listener, &[("LISTEN_FDS", "4096")], || {
        let own = TcpListener::bind("127.0.0.1:0")?;
        let [socket] = &external_sockets()[..] else { panic!("one is handed over") };
        assert_ne!(socket.local, own.local_addr()?.into());
        let server = rig.echo().use_external_socket(true).start()?;
        assert_echoes(rig, &server)
    })
});

// The contact, letter for letter, is that of Emacs 28.2.
conformance!(on (poll epoll uring): the_keyword_takes_the_socket_once, |rig| {
    started_with(rig, module_path!(), listener, &[], || {
        let local = external_sockets()[0].local.clone();
        let port = local.port().ok_or("a port")?;
        let args = r#"(:name "a" :server t :host "127.0.0.1" :service 1 :use-external-socket t)"#;
        let missing = r#"(:name "c" :server t :use-external-socket t)"#.parse()?;
        let refused = rig.rt.make_network_process(&missing).err().ok_or("a refusal")?;
        let words = "Wrong type argument: stringp, nil";
        assert_eq!(refused.emacs_message().as_deref(), Some(words), "the address is looked at");
        let server = rig.rt.make_network_process(&args.parse()?)?.ok_or("a process")?;
        let expected = format!(
            "(:name \"a\" :server t :host \"127.0.0.1\" :service {port} \
             :use-external-socket t :local [127 0 0 1 {port}])"
        );
        assert_eq!(server.contact().plist().to_string(), expected);
        let second = args.replace(":service 1", ":service t").parse()?;
        let second = rig.rt.make_network_process(&second)?.ok_or("a process")?;
        assert_ne!(*second.contact().local(), local);
        Ok(())
    })
});

conformance!(the_program_hands_over_a_socket_of_its_own, |rig| {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let local = Address::from(listener.local_addr()?);
    let made = rig.echo().adopt(listener).start();
    if !rig.subject.is_real() {
        assert_eq!(misfit(made), AdoptError::Unsupported("sim"));
        assert_eq!(rig.rt.process_list(), []);
        return Ok(());
    }
    let server = made?;
    assert_eq!(*server.contact().local(), local);
    assert_eq!(server.contact().get(":use-external-socket"), None);
    assert_echoes(rig, &server)?;
    // Its connections are as those of any other server.
    let client = rig.connect(&server)?;
    client.send("within")?;
    rig.until_bytes(&client, b"within");
    server.stop();
    assert_eq!(server.status(), Status::Stop);
    Ok(())
});

conformance!(on (poll epoll uring): a_server_adopted_stopped_accepts_when_it_goes_on, |rig| {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut early = TcpStream::connect(listener.local_addr()?)?;
    early.write_all(b"early")?;
    let server = rig.server().adopt(listener).stop(true).start()?;
    rig.settle();
    assert_eq!((rig.children(&server), server.status()), (0, Status::Stop));
    server.resume();
    let child = rig.child(&server);
    rig.until_bytes(&child, b"early");
    Ok(())
});

conformance!(on (poll epoll uring): local_sockets_of_the_program_show_their_path, |rig| {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_string_lossy().into_owned();
    let listener = UnixListener::bind(path("stream"))?;
    let server = rig.echo().adopt(listener).start()?;
    let packets = UnixDatagram::bind(path("packets"))?;
    let packets = rig.server().datagram().remote(Address::local(text("peer"))?).adopt(packets);
    let packets = packets.start()?;
    for (process, name) in [(&server, "stream"), (&packets, "packets")] {
        let contact = process.contact();
        assert_eq!(contact.local(), &Address::local(text(name))?);
        assert_eq!(contact.get(":service"), Some(text(name).into()));
        assert_eq!(contact.get(":family"), Some(Value::symbol("local")));
    }
    let peer = UnixDatagram::bind(path("peer"))?;
    packets.send("first")?;
    rig.turn();
    let mut room = [0; 9];
    assert_eq!(peer.recv(&mut room)?, 5, "it knows whom to talk to");
    let mut outside = UnixStream::connect(path("stream"))?;
    outside.write_all(b"hi")?;
    rig.until("the echo", || rig.rt.stats().sent == 7);
    outside.read_exact(&mut room[..2])?;
    server.delete();
    rig.settle();
    assert!(path("stream").exists(), "its maker's business");
    Ok(())
});

conformance!(alone on (poll epoll uring): what_is_no_servers_socket_is_refused_and_closed, |rig| {
    let before = descriptors()?;
    let no_socket = SysError { op: netproc::Op::Open, errno: libc::ENOTSOCK };
    let packets = || UdpSocket::bind("127.0.0.1:0");
    let (talking, peer) = (packets()?, packets()?);
    talking.connect(peer.local_addr()?)?;
    let cases: [(OwnedFd, Kind, AdoptError); 5] = [
        (
            packets()?.into(),
            Kind::Stream,
            AdoptError::Kind { wanted: Kind::Stream, found: Kind::Datagram },
        ),
        (UnixStream::pair()?.0.into(), Kind::Stream, AdoptError::Connected),
        (talking.into(), Kind::Datagram, AdoptError::Connected),
        (UnixDatagram::unbound()?.into(), Kind::Datagram, AdoptError::NotBound),
        (tempfile::tempfile()?.into(), Kind::Stream, AdoptError::Sys(no_socket)),
    ];
    drop(peer);
    for (fd, kind, complaint) in cases {
        assert_eq!(misfit(rig.server().kind(kind).adopt(fd).start()), complaint);
    }
    let remote = rig.server().datagram().remote(Address::local("/nowhere")?);
    let AdoptError::Sys(err) = misfit(remote.adopt(packets()?).start()) else { panic!("no errno") };
    assert_eq!(err.errno, libc::EAFNOSUPPORT, "its peer is of another family");
    let bound = || TcpListener::bind("127.0.0.1:0");
    for builder in [rig.server().adopt(bound()?).mode(0o600), rig.server().adopt(bound()?).reuse_port(true)] {
        let refused = builder.start();
        assert!(matches!(refused, Err(StartError::Incompatible(_))), "{refused:?}");
    }
    assert_eq!(rig.rt.process_list(), []);
    rig.settle();
    assert_eq!(descriptors()?, before, "nothing is left open");
    Ok(())
});
