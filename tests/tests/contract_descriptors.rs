//! What only reactors over real descriptors do: adopting, the descriptor a foreign loop sleeps on,
//! and peers that are plain sockets of another library.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use netproc_core::{
    address::Address,
    reactor::{CloseHow, Descriptors, Kind, OpenSpec, Role, Wait, Wake as _},
};
use netproc_tests::{
    contract,
    contract::{FLUSH, PATIENCE, Rig, assert_bytes, pattern},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket,
};

/// Whether `fd` turns readable within `millis`.
fn readable(fd: BorrowedFd<'_>, millis: u16) -> nix::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::from(millis))? > 0)
}

/// Arms the reactor's descriptor and asks whether it turns readable within `millis`.
fn ready<R: Descriptors>(
    rig: &mut Rig<R>,
    millis: u16,
) -> Result<bool, Box<dyn std::error::Error>> {
    rig.reactor.arm(None)?;
    Ok(readable(rig.reactor.as_fd().ok_or("a descriptor")?, millis)?)
}

contract!(on descriptors: an_adopted_pair_talks, |rig| {
    let (near, far) = UnixStream::pair()?;
    let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    let far = rig.adopt(far.into(), Role::Connection, Kind::Stream)?;
    rig.send(near, pattern(1, 300_000));
    rig.send(far, pattern(2, 300_000));
    rig.finish(near);
    rig.until("all of it", |world| world[far].eof && world[near].data.len() == 300_000);
    assert_bytes(&rig.world[far].data, &pattern(1, 300_000), "near to far");
    assert_bytes(&rig.world[near].data, &pattern(2, 300_000), "far to near");
    Ok(())
});

contract!(on descriptors: connections_from_elsewhere_count_as_accepted, |rig| {
    let (near, _far) = UnixStream::pair()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    rig.adopt(UdpSocket::bind("127.0.0.1:0")?.into(), Role::Datagram, Kind::Datagram)?;
    assert_eq!(rig.reactor.counters().accepted, 1);
    rig.adopt(listener.accept()?.0.into(), Role::Connection, Kind::Stream)?;
    drop(client);
    let listener = rig.adopt(listener.into(), Role::Listener, Kind::Stream)?;
    assert_eq!(rig.reactor.counters().accepted, 2);
    let client = rig.client(listener)?;
    rig.until("the third", |world| world[listener].children.len() == 1 && world[client].connected);
    assert_eq!(rig.reactor.counters().accepted, 3);
    Ok(())
});

contract!(on descriptors: input_that_waited_before_the_adoption_is_read, |rig| {
    for nonblocking in [false, true] {
        let (near, mut far) = UnixStream::pair()?;
        near.set_nonblocking(nonblocking)?;
        far.write_all(b"early")?;
        drop(far);
        let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
        rig.until("it and the end", |world| world[near].eof);
        assert_eq!(rig.world[near].data, b"early");
    }
    Ok(())
});

contract!(on descriptors: an_adopted_listener_accepts, |rig| {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut waiting = TcpStream::connect(listener.local_addr()?)?;
    waiting.write_all(b"before")?;
    let to = Address::from(listener.local_addr()?);
    let id = rig.adopt(listener.into(), Role::Listener, Kind::Stream)?;
    assert_eq!(rig.reactor.local_addr(id)?, to);
    let client = rig.connect(&OpenSpec::default(), &to)?;
    rig.send(client, "behind");
    rig.until("both", |world| {
        let children = &world[id].children;
        children.len() == 2 && children.iter().all(|&child| world[child].data.len() == 6)
    });
    let data: Vec<_> = rig.world[id].children.iter().map(|&c| &rig.world[c].data[..]).collect();
    assert_eq!(data, [&b"before"[..], b"behind"], "in the order of the backlog");
    Ok(())
});

contract!(on descriptors: a_listener_shut_down_from_outside_ends_once, |rig| {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let outside = listener.try_clone()?;
    let id = rig.adopt(listener.into(), Role::Listener, Kind::Stream)?;
    rig.settle();
    socket::shutdown(outside.as_raw_fd(), socket::Shutdown::Both)?;
    rig.until("its end", |world| world.closed(id));
    assert_eq!(rig.world[id].errno(), Some(libc::EINVAL));
    assert!(rig.world[id].accept_failures.is_empty(), "there is nothing to try again");
    let waits = rig.reactor.counters().waits;
    rig.linger(Duration::from_millis(200));
    assert!(rig.reactor.counters().waits - waits < 20, "it spins");
    Ok(())
});

contract!(on descriptors: an_adopted_packet_socket_carries, |rig| {
    let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    theirs.send_to(b"waiting", ours.local_addr()?)?;
    let peer = Address::from(theirs.local_addr()?);
    let id = rig.adopt(ours.into(), Role::Datagram, Kind::Datagram)?;
    rig.until("the packet", |world| world[id].records.len() == 1);
    assert_eq!(rig.world[id].records[0].from, Some(peer.clone()));
    rig.send_to(id, "answer", &peer);
    rig.poll(Wait::No);
    rig.settle();
    theirs.set_read_timeout(Some(PATIENCE))?;
    let mut room = [0; 16];
    assert_eq!(theirs.recv(&mut room)?, 6);
    Ok(())
});

contract!(on descriptors: empty_records_are_records, |rig| {
    if !rig.reactor.caps().seqpacket {
        return Ok(());
    }
    let flags = socket::SockFlag::SOCK_CLOEXEC;
    let (near, far) =
        socket::socketpair(socket::AddressFamily::Unix, socket::SockType::SeqPacket, None, flags)?;
    let near = rig.adopt(near, Role::Connection, Kind::SeqPacket)?;
    for text in ["", "x", "", ""] {
        socket::send(far.as_raw_fd(), text.as_bytes(), socket::MsgFlags::MSG_NOSIGNAL)?;
    }
    rig.until("all four", |world| world[near].records.len() == 4);
    let texts: Vec<_> = rig.world[near].records.iter().map(|record| &record.bytes[..]).collect();
    assert_eq!(texts, [&b""[..], b"x", b"", b""]);
    assert!(!rig.world[near].eof, "an empty record is no end");
    drop(far);
    rig.until("the end", |world| world[near].eof);
    assert_eq!(rig.world[near].records.len(), 4, "and the end is no record");
    Ok(())
});

contract!(on descriptors: what_is_no_socket_is_not_adopted, |rig| {
    let file = std::fs::File::open("/dev/null")?;
    let before = rig.reactor.counters().sockets;
    let refused = rig.reactor.adopt(OwnedFd::from(file), Role::Connection, true);
    assert_eq!(refused.err().map(|err| err.errno), Some(libc::ENOTSOCK));
    assert_eq!(rig.reactor.counters().sockets, before, "no id is consumed");
    Ok(())
});

contract!(on descriptors: nothing_goes_out_before_the_next_poll, |rig| {
    let (near, mut far) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    rig.settle();
    rig.send(near, "not yet");
    let mut room = [0; 16];
    let early = far.read(&mut room).err().ok_or("nothing to read yet")?;
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    rig.poll(Wait::No);
    rig.settle();
    assert_eq!(far.read(&mut room)?, 7);
    Ok(())
});

contract!(on descriptors: a_foreign_peer_gets_everything_and_the_end_from_a_flush, |rig| {
    let (near, mut far) = UnixStream::pair()?;
    let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    far.write_all(b"something nobody reads")?;
    let bytes = pattern(3, 4 << 20);
    rig.send(near, bytes.clone());
    rig.close(near, FLUSH);
    let reader = std::thread::spawn(move || {
        let mut found = Vec::new();
        far.read_to_end(&mut found).map(|_| found)
    });
    rig.until("its end", |world| world.closed(near));
    let found = reader.join().map_err(|_| "the reader panicked")??;
    assert_bytes(&found, &bytes, "before the end");
    assert_eq!(rig.world[near].errno(), None);
    Ok(())
});

// Read away before the close, its bytes would leave it before a closed window, and nobody would ever open that.
contract!(on descriptors: a_foreign_peer_that_floods_hears_of_the_close_at_once, |rig| {
    let listener = rig.listener()?;
    let at = rig.reactor.local_addr(listener)?.socket_addr().ok_or("an address of IP")?;
    for count in 0..40 {
        let flood = std::thread::spawn(move || -> std::io::Result<()> {
            let mut peer = TcpStream::connect(at)?;
            peer.set_write_timeout(Some(PATIENCE / 2))?;
            loop {
                peer.write_all(&[7; 10_000])?;
            }
        });
        rig.until("the first of it", |world| {
            world[listener].children.get(count).is_some_and(|id| world[*id].data.len() > 65_536)
        });
        let id = rig.world[listener].children[count];
        rig.close(id, CloseHow::Now);
        rig.until("its end", |world| world.closed(id));
        let heard = flood.join().expect("it does not panic").expect_err("nobody reads");
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(kinds.contains(&heard.kind()), "{count}: {heard}");
    }
    Ok(())
});

contract!(on descriptors: a_foreign_client_resets_behind_its_bytes, |rig| {
    let listener = rig.listener()?;
    let at = rig.reactor.local_addr(listener)?.socket_addr().ok_or("an IP address")?;
    let mut client = TcpStream::connect(at)?;
    client.write_all(b"last words")?;
    rig.until("a child", |world| world[listener].children.len() == 1);
    let child = rig.world[listener].children[0];
    // Unread input makes the close a reset.
    rig.watch(child);
    rig.send(child, "unread");
    rig.until("sent", |world| world[child].sent == 6);
    drop(client);
    rig.until("its end", |world| world.closed(child));
    assert_eq!(rig.world[child].data, b"last words");
    assert_eq!(rig.world[child].errno(), Some(libc::ECONNRESET));
    Ok(())
});

contract!(on descriptors: a_connection_reset_in_the_backlog_is_born_and_dies, |rig| {
    let listener = rig.listener()?;
    rig.stop(listener);
    rig.settle();
    let at = rig.reactor.local_addr(listener)?.socket_addr().ok_or("an IP address")?;
    let client = TcpStream::connect(at)?;
    socket::setsockopt(
        &client,
        socket::sockopt::Linger,
        &libc::linger { l_onoff: 1, l_linger: 0 },
    )?;
    drop(client);
    let healthy = rig.client(listener)?;
    rig.send(healthy, "healthy");
    rig.resume(listener);
    rig.until("the healthy one", |world| {
        world[listener].children.iter().any(|&child| world[child].data == b"healthy")
    });
    rig.settle();
    for &child in &rig.world[listener].children {
        let track = &rig.world[child];
        assert!(track.data == b"healthy" || track.errno() == Some(libc::ECONNRESET));
    }
    Ok(())
});

contract!(on descriptors: the_descriptor_is_readable_exactly_when_there_is_something_to_do, |rig| {
    if rig.reactor.as_fd().is_none() {
        assert_eq!(rig.reactor.caps().name, "poll", "only poll(2) has no descriptor");
        assert_eq!(rig.reactor.arm(None).err().map(|err| err.errno), Some(libc::EOPNOTSUPP));
        return Ok(());
    }
    let (near, mut far) = UnixStream::pair()?;
    let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    rig.settle();
    assert!(!ready(rig, 0)?, "nothing happened yet");
    far.write_all(b"input")?;
    assert!(ready(rig, 10_000)?, "input");
    rig.until("the input", |world| world[near].data == b"input");
    rig.settle();
    assert!(!ready(rig, 0)?, "the input was taken");
    rig.reactor.waker().wake();
    assert!(ready(rig, 10_000)?, "a wake");
    rig.until("the wake", |world| world.wakes() == 1);
    rig.settle();
    assert!(!ready(rig, 0)?, "the wake was taken");
    drop(far);
    assert!(ready(rig, 10_000)?, "the peer's end");
    rig.until("the end", |world| world[near].eof);
    Ok(())
});

contract!(on descriptors: arm_hands_over_what_is_queued, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    let (near, mut far) = UnixStream::pair()?;
    far.set_read_timeout(Some(PATIENCE))?;
    let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
    rig.settle();
    rig.send(near, "queued");
    rig.reactor.arm(None)?;
    let mut room = [0; 16];
    assert_eq!(far.read(&mut room)?, 6, "sent without a poll");
    Ok(())
});

contract!(on descriptors: arm_makes_a_close_show, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    let (client, _) = rig.pair()?;
    rig.settle();
    rig.close(client, CloseHow::Now);
    assert!(ready(rig, 10_000)?, "a Closed is due");
    rig.until("it", |world| world.closed(client));
    Ok(())
});

contract!(on descriptors: an_armed_time_makes_the_descriptor_readable_once, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    rig.settle();
    let begin = rig.reactor.now();
    rig.reactor.arm(Some(begin.after(Duration::from_secs(3600))))?;
    let fd = rig.reactor.as_fd().ok_or("a descriptor")?;
    assert!(!readable(fd, 50)?, "an hour is not over");
    let at = begin.after(Duration::from_millis(120));
    rig.reactor.arm(Some(at))?;
    let fd = rig.reactor.as_fd().ok_or("a descriptor")?;
    assert!(readable(fd, 10_000)?, "in place of the hour");
    assert!(rig.reactor.now() >= at, "not before its time");
    assert_eq!(rig.poll(Wait::No), 0, "a time is no event");
    rig.settle();
    rig.reactor.arm(None)?;
    let fd = rig.reactor.as_fd().ok_or("a descriptor")?;
    assert!(!readable(fd, 50)?, "once");
    Ok(())
});

contract!(on descriptors: an_armed_time_can_be_taken_back, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    rig.settle();
    let soon = rig.reactor.now().after(Duration::from_millis(60));
    rig.reactor.arm(Some(soon))?;
    rig.reactor.arm(None)?;
    let fd = rig.reactor.as_fd().ok_or("a descriptor")?;
    assert!(!readable(fd, 200)?, "it was taken back");
    Ok(())
});

contract!(on descriptors: an_armed_time_in_the_past_is_due_at_once, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    rig.settle();
    let now = rig.reactor.now();
    rig.reactor.arm(Some(now))?;
    assert!(readable(rig.reactor.as_fd().ok_or("a descriptor")?, 10_000)?);
    rig.poll(Wait::No);
    Ok(())
});

contract!(on descriptors: a_flush_deadline_shows_at_the_descriptor, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    let (client, server) = rig.pair()?;
    rig.stop(client);
    rig.send(server, pattern(4, 32 << 20));
    rig.close(server, CloseHow::Flush { within: Duration::from_millis(300) });
    // A foreign loop sleeps on the descriptor alone, over and over.
    let begin = rig.reactor.now();
    while !rig.world.closed(server) {
        assert!(ready(rig, 10_000)?, "asleep over a deadline of the reactor's own");
        rig.poll(Wait::No);
        assert!(rig.reactor.now().since(begin) < PATIENCE, "never closed");
    }
    Ok(())
});

contract!(on descriptors: the_descriptor_is_a_real_one, |rig| {
    if let Some(fd) = rig.reactor.as_fd() {
        let copy = fd.try_clone_to_owned()?;
        assert!(!readable(copy.as_fd(), 0)?);
    }
    Ok(())
});

contract!(on descriptors: urgent_data_does_not_hide_what_follows, |rig| {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut peer = TcpStream::connect(listener.local_addr()?)?;
    let near = rig.adopt(listener.accept()?.0.into(), Role::Connection, Kind::Stream)?;
    for round in 1..=3 {
        // What comes is in the kernel, with whatever waits for it, before the next poll looks.
        rig.settle();
        peer.write_all(b"before")?;
        socket::send(peer.as_raw_fd(), b"!", socket::MsgFlags::MSG_OOB)?;
        peer.write_all(b"after")?;
        rig.until("what follows", |world| world[near].data.len() == 11 * round);
    }
    assert_eq!(rig.world[near].data, b"beforeafter".repeat(3));
    Ok(())
});

#[cfg(target_os = "linux")]
contract!(on descriptors: errors_kept_for_another_reader_keep_nobody_busy, |rig| {
    use nix::sys::socket::{setsockopt, sockopt::Ipv4RecvErr};
    let gone = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let ours = UdpSocket::bind("127.0.0.1:0")?;
    setsockopt(&ours, Ipv4RecvErr, &true)?;
    ours.send_to(b"before", gone)?;
    let id = rig.adopt(ours.into(), Role::Datagram, Kind::Datagram)?;
    rig.send_to(id, "behind", &gone.into());
    rig.settle();
    let before = rig.reactor.counters().waits;
    rig.linger(Duration::from_millis(100));
    let waits = rig.reactor.counters().waits - before;
    assert!(waits < 100, "{waits} waits of an idle reactor");
    Ok(())
});
