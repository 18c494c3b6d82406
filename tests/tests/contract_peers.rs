//! The other end: another peer for a packet socket, the identity of a local peer, the file of a local
//! socket.

use std::os::unix::net::UnixDatagram;

use netproc_core::{
    address::{Address, Family},
    reactor::{CloseHow, Kind, OpenSpec, Reactor, SockId, SysError, Wait},
};
use netproc_tests::{
    contract,
    contract::{PATIENCE, Rig, loopback},
};

/// A packet socket on the loopback and its address.
fn bound<R: Reactor>(rig: &mut Rig<R>) -> Result<(SockId, Address), SysError> {
    let local = loopback(0);
    let id = rig.datagram(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, None)?;
    Ok((id, rig.reactor.local_addr(id)?))
}

fn errno<T>(result: Result<T, SysError>) -> Option<i32> {
    result.err().map(|err| err.errno)
}

contract!(packets_go_to_the_peer_of_their_time, |rig| {
    let ((a, at_a), (b, at_b)) = (bound(rig)?, bound(rig)?);
    let client = rig.datagram(&OpenSpec::default(), Some(&at_a))?;
    let here = rig.reactor.local_addr(client)?;
    rig.send(client, "1");
    rig.send_to(client, "2", &at_b);
    rig.reactor.set_peer(client, &at_b)?;
    assert_eq!(rig.reactor.peer_addr(client)?, at_b);
    rig.send(client, "3");
    rig.until("all", |world| world[a].data == b"1" && world[b].data == b"23");
    assert_eq!(rig.reactor.local_addr(client)?, here, "it keeps its own address");
    rig.send_to(a, "a stranger now", &here);
    rig.send_to(b, "a friend", &here);
    rig.until("an answer", |world| !world[client].data.is_empty());
    assert_eq!(rig.world[client].data, b"a friend");
    Ok(())
});

contract!(a_packet_socket_without_a_peer_can_be_given_one, |rig| {
    let ((a, at_a), (b, at_b)) = (bound(rig)?, bound(rig)?);
    assert_eq!(errno(rig.reactor.peer_addr(b)), Some(libc::ENOTCONN));
    rig.reactor.set_peer(b, &at_a)?;
    rig.send(b, "hello");
    rig.until("it", |world| world[a].data == b"hello");
    assert_eq!(rig.world[a].records[0].from, Some(at_b));
    Ok(())
});

contract!(a_peer_refused_leaves_the_one_before, |rig| {
    let (a, at_a) = bound(rig)?;
    let client = rig.datagram(&OpenSpec::default(), Some(&at_a))?;
    let six = Address::from((std::net::Ipv6Addr::LOCALHOST.into(), 9));
    assert_eq!(errno(rig.reactor.set_peer(client, &six)), Some(libc::EAFNOSUPPORT));
    rig.send(client, "kept");
    rig.until("it", |world| world[a].data == b"kept");
    let (stream, _) = rig.pair()?;
    assert_eq!(errno(rig.reactor.set_peer(stream, &at_a)), Some(libc::EOPNOTSUPP));
    rig.close(client, CloseHow::Now);
    rig.until("its end", |world| world.closed(client));
    assert_eq!(errno(rig.reactor.set_peer(client, &at_a)), Some(libc::EBADF));
    Ok(())
});

contract!(a_full_peer_does_not_hold_up_the_next, |rig| {
    let folder = tempfile::tempdir()?;
    let at =
        |name: &str| Address::local(folder.path().join(name).into_os_string().into_encoded_bytes());
    let (at_a, at_b) = (at("a")?, at("b")?);
    let spec = OpenSpec { local: Some(&at_a), reading: false, ..OpenSpec::default() };
    let a = rig.datagram(&spec, None)?;
    let b = rig.datagram(&OpenSpec { local: Some(&at_b), ..OpenSpec::default() }, None)?;
    let local = OpenSpec { family: Family::Local, ..OpenSpec::default() };
    let client = rig.datagram(&local, Some(&at_a))?;
    for number in 0..100u8 {
        rig.send(client, vec![number]);
    }
    rig.settle();
    rig.reactor.set_peer(client, &at_b)?;
    rig.send(client, "for b");
    rig.until("it", |world| world[b].data == b"for b");
    assert!(rig.reactor.queued_packets(client) > 0, "a is full");
    rig.resume(a);
    rig.until("all of a's", |world| world[a].records.len() == 100);
    assert_eq!(rig.world[a].data, (0..100).collect::<Vec<u8>>());
    Ok(())
});

contract!(a_full_peer_does_not_hold_up_the_one_before, |rig| {
    let folder = tempfile::tempdir()?;
    let at =
        |name: &str| Address::local(folder.path().join(name).into_os_string().into_encoded_bytes());
    let (at_a, at_b) = (at("a")?, at("b")?);
    let mut deaf = |local| {
        rig.datagram(&OpenSpec { local: Some(local), reading: false, ..OpenSpec::default() }, None)
    };
    let (a, b) = (deaf(&at_a)?, deaf(&at_b)?);
    let local = OpenSpec { family: Family::Local, ..OpenSpec::default() };
    let client = rig.datagram(&local, Some(&at_a))?;
    let hundred = || (0..100).collect::<Vec<u8>>();
    for number in hundred() {
        rig.send(client, vec![number]);
    }
    rig.settle();
    rig.reactor.set_peer(client, &at_b)?;
    for number in hundred() {
        rig.send(client, vec![number]);
    }
    rig.settle();
    assert!(rig.reactor.queued_packets(client) > 100, "both are full");
    rig.resume(a);
    rig.until("all of a's", |world| world[a].records.len() == 100);
    assert_eq!(rig.world[a].data, hundred());
    rig.resume(b);
    rig.until("all of b's", |world| world[b].records.len() == 100);
    assert_eq!(rig.world[b].data, hundred());
    Ok(())
});

contract!(local_connections_say_who_is_there_and_no_others, |rig| {
    let folder = tempfile::tempdir()?;
    let real = rig.reactor.caps().name != "sim";
    for kind in [Kind::Stream, Kind::SeqPacket] {
        let path = folder.path().join(format!("{kind:?}")).into_os_string().into_encoded_bytes();
        let local = Address::local(path)?;
        let spec = OpenSpec { kind, local: Some(&local), ..OpenSpec::default() };
        let listener = rig.listen(&spec, 16)?;
        let ends = rig.pair_at(listener, &OpenSpec { kind, ..OpenSpec::default() })?;
        for id in [ends.0, ends.1] {
            let who = rig.reactor.peer_credentials(id)?;
            let pid = who.pid.map(i32::unsigned_abs);
            let ours = if real { std::process::id() } else { 1 };
            assert!(pid.is_none_or(|pid| pid == ours), "{who}");
        }
        assert!(rig.reactor.peer_credentials(listener).is_err(), "it has no peer");
        let named = rig.reactor.bound_file(listener);
        assert_eq!(named.is_ok(), real, "{named:?}");
        assert_eq!(errno(rig.reactor.bound_file(ends.0)), Some(libc::EOPNOTSUPP), "unnamed");
    }
    let (client, server) = rig.pair()?;
    for id in [client, server] {
        assert_eq!(errno(rig.reactor.peer_credentials(id)), Some(libc::EOPNOTSUPP));
        assert_eq!(errno(rig.reactor.bound_file(id)), Some(libc::EOPNOTSUPP));
    }
    rig.close(client, CloseHow::Now);
    rig.until("its end", |world| world.closed(client));
    assert_eq!(errno(rig.reactor.peer_credentials(client)), Some(libc::EBADF));
    assert_eq!(errno(rig.reactor.bound_file(client)), Some(libc::EBADF));
    Ok(())
});

contract!(on descriptors: packets_for_a_local_peer_that_is_gone_are_not_the_next_ones, |rig| {
    let folder = tempfile::tempdir()?;
    let at = |name| Address::local(folder.path().join(name).into_os_string().into_encoded_bytes());
    let peer = |name| UnixDatagram::bind(folder.path().join(name));
    let (gone, next) = (peer("gone")?, peer("next")?);
    let client = rig.datagram(
        &OpenSpec { family: Family::Local, ..OpenSpec::default() },
        Some(&at("gone")?),
    )?;
    drop(gone);
    for packet in ["1", "2", "3"] {
        rig.send(client, packet);
    }
    // One is refused, and the system has no peer any more.
    rig.poll(Wait::No);
    rig.reactor.set_peer(client, &at("next")?)?;
    rig.send(client, "4");
    next.set_read_timeout(Some(PATIENCE))?;
    rig.settle();
    let mut room = [0; 8];
    assert_eq!((next.recv(&mut room)?, room[0]), (1, b'4'));
    Ok(())
});
