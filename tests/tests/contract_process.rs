//! What belongs to a whole process: descriptors and their limit, signals, forks, dropping a reactor
//! at work. Each test runs in a process of its own.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use netproc_core::reactor::{CloseHow, Kind, OpenSpec, Reactor, Role, Wait};
use netproc_tests::{
    child::{allow_all_descriptors, allow_descriptors, descriptors, die_of, fork, join},
    contract,
    contract::{PATIENCE, Rig, assert_bytes, loopback, pattern},
};
use nix::sys::signal::Signal;

/// A connection of std's to a listener of `rig`.
fn foreign<R: Reactor>(
    rig: &Rig<R>,
    listener: netproc_core::reactor::SockId,
) -> Result<TcpStream, Box<dyn std::error::Error>> {
    let at = rig.reactor.local_addr(listener)?.socket_addr().ok_or("an IP address")?;
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

contract!(alone on descriptors: closing_everything_gives_every_descriptor_back, |rig| {
    // What the reactor itself opens late is not a leak: the first round is for that.
    let mut before = 0;
    for round in 0..3 {
        let listener = rig.echo()?;
        for number in 0..40 {
            let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
            rig.send(client, pattern(number, 10_000));
            let how = match number % 3 {
                0 => CloseHow::Now,
                1 => CloseHow::Reset,
                _ => CloseHow::Flush { within: PATIENCE },
            };
            if number % 2 == 0 {
                rig.close(server, CloseHow::Now);
            }
            rig.close(client, how);
        }
        let unaccepted = rig.client(listener)?;
        rig.close(listener, CloseHow::Now);
        rig.close(unaccepted, CloseHow::Now);
        let packets = rig.datagram(&OpenSpec::default(), None)?;
        rig.close(packets, CloseHow::Now);
        for id in rig.world.open_ids() {
            rig.close(id, CloseHow::Now);
        }
        rig.until("every end", |world| world.open_ids().is_empty());
        if round == 0 {
            before = descriptors()?;
        } else {
            assert_eq!(descriptors()?, before, "after round {round}");
        }
    }
    Ok(())
});

contract!(alone on descriptors: a_descriptor_is_free_when_closed_says_so, |rig| {
    let listener = rig.listener()?;
    let (warm, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.settle();
    let before = descriptors()?;
    rig.close(warm, CloseHow::Now);
    while !rig.world.closed(warm) {
        rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
    }
    assert_eq!(descriptors()?, before - 1);
    Ok(())
});

contract!(alone on descriptors: failed_openings_give_their_descriptors_back, |rig| {
    let listener = rig.listener()?;
    let taken = rig.reactor.local_addr(listener)?;
    let spec = OpenSpec { local: Some(&taken), ..OpenSpec::default() };
    rig.settle();
    let before = descriptors()?;
    for _ in 0..10 {
        assert!(rig.listen(&spec, 16).is_err());
        let file = std::fs::File::open("/dev/null")?;
        assert!(rig.reactor.adopt(file.into(), Role::Connection, true).is_err());
    }
    assert_eq!(descriptors()?, before);
    Ok(())
});

contract!(alone on descriptors: dropping_a_reactor_at_work_leaves_nothing, |rig| {
    let before = descriptors()?;
    for _ in 0..3 {
        let mut busy = rig.another();
        let listener = busy.echo()?;
        let mut peer = foreign(&busy, listener)?;
        let mut waiting = foreign(&busy, listener)?;
        busy.until("the children", |world| world[listener].children.len() == 2);
        for number in 0..50 {
            let (client, server) = busy.pair_at(listener, &OpenSpec::default())?;
            busy.send(client, pattern(number, 1 << 20));
            if number % 2 == 0 {
                busy.stop(server);
            }
        }
        let local = loopback(0);
        busy.datagram(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, None)?;
        peer.write_all(b"in flight")?;
        busy.poll(Wait::No);
        let begin = Instant::now();
        drop(busy);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "dropping took {took:?}");
        // Both see an end; bytes the reactor had not read may make it a reset.
        for stream in [&mut peer, &mut waiting] {
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(err) => assert_eq!(err.kind(), ErrorKind::ConnectionReset),
            }
        }
        drop((peer, waiting));
        assert_eq!(descriptors()?, before, "after the drop");
    }
    Ok(())
});

contract!(alone on descriptors: a_drop_in_the_middle_writes_nowhere, |rig| {
    // The kernel may still hold receive memory when the reactor goes; a late write would hit
    // whatever lives there next.
    for round in 0..100 {
        let mut busy = rig.another();
        let (near, mut far) = UnixStream::pair()?;
        busy.adopt(near.into(), Role::Connection, Kind::Stream)?;
        busy.poll(Wait::No);
        drop(busy);
        let canary = vec![0xA5u8; 256 * 1024];
        // The peer may be gone already, which is all right too.
        let _gone = far.write(&pattern(round, 4_096));
        assert!(canary.iter().all(|&byte| byte == 0xA5), "round {round}");
    }
    Ok(())
});

contract!(alone on descriptors: sigpipe_at_its_default_does_not_kill, |rig| {
    die_of(Signal::SIGPIPE)?;
    let listener = rig.listener()?;
    for round in 0..20 {
        let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
        rig.close(client, if round % 2 == 0 { CloseHow::Now } else { CloseHow::Reset });
        for _ in 0..20 {
            rig.send(server, pattern(round, 1_000));
            rig.poll(Wait::No);
        }
        rig.until("both ends", |world| {
            world.closed(client) && (world.closed(server) || world[server].eof)
        });
        rig.close(server, CloseHow::Now);
    }
    // A local peer that is gone answers EPIPE at the first byte, records and packets too.
    let (near, far) = UnixStream::pair()?;
    let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    drop(far);
    rig.send(near, "anybody?");
    rig.until("its end", |world| world.closed(near) || world[near].eof);
    Ok(())
});

contract!(alone on descriptors: at_the_descriptor_limit_accepting_rests_and_recovers,
    |config| {
        config.accept_pause = Duration::from_millis(100);
        config.reserve_descriptor = false;
    }, |rig| {
    let listener = rig.listener()?;
    let at = rig.reactor.local_addr(listener)?.socket_addr().ok_or("an IP address")?;
    // An accept that was armed before keeps the limit of that time.
    rig.stop(listener);
    rig.settle();
    allow_descriptors(1)?;
    let mut peer = TcpStream::connect(at)?;
    allow_descriptors(0)?;
    rig.resume(listener);
    rig.until("the refusal", |world| !world[listener].accept_failures.is_empty());
    let (err, paused) = rig.world[listener].accept_failures[0];
    assert!(err.is_out_of_descriptors(), "{err}");
    assert_eq!(paused, Some(Duration::from_millis(100)));
    let (waits, failures) =
        (rig.reactor.counters().waits, rig.world[listener].accept_failures.len());
    rig.linger(Duration::from_secs(1));
    let waits = rig.reactor.counters().waits - waits;
    let failures = rig.world[listener].accept_failures.len() - failures;
    assert!(waits <= 40 && failures <= 12, "{waits} waits and {failures} failures in a second");
    allow_all_descriptors()?;
    rig.until("it in", |world| world[listener].children.len() == 1);
    let child = rig.world[listener].children[0];
    peer.write_all(b"in at last")?;
    rig.until("its input", |world| world[child].data == b"in at last");
    Ok(())
});

contract!(alone on descriptors: a_resting_listener_wakes_when_a_descriptor_comes_free,
    |config| { config.accept_pause = Duration::from_secs(3600); }, |rig| {
    let listener = rig.listener()?;
    let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
    let mut peers = Vec::new();
    while rig.world[listener].accept_failures.is_empty() {
        // The limit counts from the next time the accept is armed.
        rig.stop(listener);
        rig.settle();
        allow_descriptors(1)?;
        peers.push(foreign(rig, listener)?);
        allow_descriptors(0)?;
        rig.resume(listener);
        rig.settle();
        assert!(peers.len() < 5, "five accepts above the limit\n{}", rig.world);
    }
    let before = rig.world[listener].children.len();
    rig.close(client, CloseHow::Now);
    rig.close(server, CloseHow::Now);
    rig.until("one more in", |world| world[listener].children.len() > before);
    Ok(())
});

contract!(alone on descriptors: at_the_descriptor_limit_opening_is_an_error, |rig| {
    let listener = rig.listener()?;
    let to = rig.reactor.local_addr(listener)?;
    rig.settle();
    allow_descriptors(0)?;
    let sockets = rig.reactor.counters().sockets;
    let err = rig.connect(&OpenSpec::default(), &to).err().ok_or("refused")?;
    assert!(err.is_out_of_descriptors(), "{err}");
    assert!(rig.listener().is_err());
    assert_eq!(rig.reactor.counters().sockets, sockets, "no id is consumed");
    allow_all_descriptors()?;
    let client = rig.connect(&OpenSpec::default(), &to)?;
    rig.until("connected", |world| world[client].connected);
    Ok(())
});

contract!(alone on descriptors: a_forked_child_may_drop_its_copy, |rig| {
    let listener = rig.echo()?;
    let (client, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.send(client, "before");
    rig.until("the echo", |world| world[client].data == b"before");
    let spare = rig.another();
    let mut copies = Some(std::mem::replace(rig, spare));
    let child = fork(|| drop(copies.take()))?;
    let mut rig = copies.ok_or("the parent keeps its own")?;
    join(child)?;
    for round in 0..20 {
        rig.send(client, pattern(round, 10_000));
    }
    rig.until("the echo", |world| world[client].data.len() == 200_006);
    let (again, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.send(again, "after");
    rig.until("the echo", |world| world[again].data == b"after");
    rig.tear_down();
    Ok(())
});

contract!(alone on descriptors: a_forked_child_that_stays_does_not_hold_up_the_drop, |rig| {
    let mut busy = rig.another();
    let (near, mut far) = UnixStream::pair()?;
    busy.adopt(near.into(), Role::Connection, Kind::Stream)?;
    let listener = busy.listener()?;
    busy.pair_at(listener, &OpenSpec::default())?;
    busy.poll(Wait::No);
    let (mut gate, opener) = UnixStream::pair()?;
    // The child keeps every descriptor of the reactor open until the gate opens.
    let child = fork(|| {
        let mut byte = [0];
        let _opened = gate.read(&mut byte);
    })?;
    let begin = Instant::now();
    drop(busy);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "dropping took {took:?}");
    let canary = vec![0xA5u8; 4 << 20];
    let _gone = far.write(&pattern(1, 60_000));
    assert!(canary.iter().all(|&byte| byte == 0xA5), "freed memory was written");
    (&opener).write_all(b"!")?;
    join(child)
});

contract!(alone on descriptors: a_forked_child_that_uses_its_copy_does_no_harm, |rig| {
    let listener = rig.echo()?;
    let (client, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.settle();
    let (mut client_bytes, reactor) = (Vec::new(), &mut rig.reactor);
    let child = fork(|| {
        // Whatever these say in the child, they must neither hang nor disturb the parent.
        let mut queue = netproc_core::queue::EventQueue::new();
        let _first = reactor.poll(Wait::No, &mut queue);
        let _now = reactor.now();
    })?;
    join(child)?;
    for round in 0..20 {
        let piece = pattern(round, 5_000);
        rig.send(client, piece.clone());
        client_bytes.extend(piece);
        rig.until("the echo", |world| world[client].data.len() >= client_bytes.len());
    }
    assert_bytes(&rig.world[client].data, &client_bytes, "echoed beside a child");
    Ok(())
});

/// How many descriptors a program started now finds open.
fn inherited() -> Result<usize, Box<dyn std::error::Error>> {
    let listed = std::process::Command::new("ls").arg("/dev/fd/").output()?;
    Ok(String::from_utf8(listed.stdout)?.split_whitespace().count())
}

contract!(alone on descriptors: descriptors_are_closed_on_exec, |rig| {
    let before = inherited()?;
    let mut other = rig.another();
    let listener = other.listener()?;
    other.pair_at(listener, &OpenSpec::default())?;
    other.datagram(&OpenSpec::default(), None)?;
    other.settle();
    assert_eq!(inherited()?, before, "open in another program");
    Ok(())
});
