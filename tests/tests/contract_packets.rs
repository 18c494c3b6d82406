//! Packets and records: each is one event, whole or with its loss stated, empty ones included.

use std::{
    net::UdpSocket,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use netproc_core::{
    address::{Address, Family},
    reactor::{CloseHow, Kind, OpenSpec, Reactor, Role, SockId, SysError, Wait},
};
use netproc_tests::{
    contract,
    contract::{FLUSH, Mark, PATIENCE, Record, Rig, assert_bytes, loopback, pattern},
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};

/// A packet socket on the loopback and its address.
fn bound<R: Reactor>(rig: &mut Rig<R>) -> Result<(SockId, Address), SysError> {
    let local = loopback(0);
    let id = rig.datagram(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, None)?;
    Ok((id, rig.reactor.local_addr(id)?))
}

fn record(bytes: &[u8], from: &Address) -> Record {
    Record { bytes: bytes.to_vec(), lost: 0, from: Some(from.clone()) }
}

/// A pair of record sockets: the client's end and the server's.
fn records<R: Reactor>(rig: &mut Rig<R>) -> Result<(SockId, SockId), Box<dyn std::error::Error>> {
    assert!(rig.reactor.caps().seqpacket || !cfg!(target_os = "linux"), "Linux has records");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("records").into_os_string().into_encoded_bytes();
    let local = Address::local(path)?;
    let spec = OpenSpec { kind: Kind::SeqPacket, local: Some(&local), ..OpenSpec::default() };
    let listener = rig.listen(&spec, 16)?;
    Ok(rig.pair_at(listener, &OpenSpec { kind: Kind::SeqPacket, ..OpenSpec::default() })?)
}

contract!(packets_arrive_one_by_one_with_their_sender, |rig| {
    let ((a, at_a), (b, at_b)) = (bound(rig)?, bound(rig)?);
    for text in ["one", "two", "three"] {
        rig.send_to(a, text, &at_b);
    }
    rig.send_to(b, "four", &at_a);
    rig.until("all four", |world| world[b].records.len() == 3 && world[a].records.len() == 1);
    let wanted = [record(b"one", &at_a), record(b"two", &at_a), record(b"three", &at_a)];
    assert_eq!(rig.world[b].records, wanted);
    assert_eq!(rig.world[a].records, [record(b"four", &at_b)]);
    Ok(())
});

contract!(a_reply_to_the_sender_arrives, |rig| {
    let (server, at_server) = bound(rig)?;
    let client = rig.datagram(&OpenSpec::default(), Some(&at_server))?;
    rig.send(client, "question");
    rig.until("the question", |world| !world[server].records.is_empty());
    let from = rig.world[server].records[0].from.clone().ok_or("a sender")?;
    assert_eq!(from, rig.reactor.local_addr(client)?);
    rig.send_to(server, "answer", &from);
    rig.until("the answer", |world| !world[client].records.is_empty());
    assert_eq!(rig.world[client].records, [record(b"answer", &at_server)]);
    Ok(())
});

contract!(a_connected_packet_socket_knows_its_peer, |rig| {
    let (_, at_server) = bound(rig)?;
    let client = rig.datagram(&OpenSpec::default(), Some(&at_server))?;
    assert_eq!(rig.reactor.peer_addr(client)?, at_server);
    let (lone, _) = bound(rig)?;
    let err = rig.reactor.peer_addr(lone).err().ok_or("no peer")?;
    assert_eq!(err.errno, libc::ENOTCONN);
    Ok(())
});

contract!(empty_packets_are_packets, |rig| {
    let ((a, at_a), (b, at_b)) = (bound(rig)?, bound(rig)?);
    rig.send_to(a, "before", &at_b);
    rig.send_to(a, "", &at_b);
    rig.send_to(a, "", &at_b);
    rig.send_to(a, "after", &at_b);
    rig.until("all four", |world| world[b].records.len() == 4);
    let wanted = ["before", "", "", "after"].map(|text| record(text.as_bytes(), &at_a));
    assert_eq!(rig.world[b].records, wanted);
    assert!(!rig.world.closed(b) && !rig.world[b].eof, "an empty packet ends nothing");
    let connected = rig.datagram(&OpenSpec::default(), Some(&at_b))?;
    rig.send(connected, "");
    rig.until("the fifth", |world| world[b].records.len() == 5);
    assert_eq!(rig.world[b].records[4].bytes, b"");
    Ok(())
});

contract!(
    a_packet_too_long_is_cut_and_says_so,
    |config| {
        config.packet_len = 256;
    },
    |rig| {
        assert_eq!(rig.reactor.caps().packet_len_max, 256);
        let ((a, at_a), (b, at_b)) = (bound(rig)?, bound(rig)?);
        for len in [255, 256, 257, 1_000, 30_000] {
            let count = rig.world[b].records.len();
            let bytes = pattern(1, len);
            rig.send_to(a, bytes.clone(), &at_b);
            rig.until("the packet", |world| world[b].records.len() > count);
            let kept = len.min(256);
            let lost = u32::try_from(len - kept)?;
            let wanted = Record { bytes: bytes[..kept].to_vec(), lost, from: Some(at_a.clone()) };
            assert_eq!(rig.world[b].records[count], wanted, "{len} bytes");
        }
        Ok(())
    }
);

contract!(a_packet_of_the_largest_size_arrives, |rig| {
    let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
    // What fits a UDP packet over IPv4.
    rig.send_to(a, pattern(2, 65_507), &at_b);
    rig.until("the packet", |world| world[b].records.len() == 1);
    assert_bytes(&rig.world[b].records[0].bytes, &pattern(2, 65_507), "in one packet");
    assert_eq!(rig.world[b].records[0].lost, 0);
    Ok(())
});

contract!(a_packet_the_system_refuses_is_trouble_and_not_the_end, |rig| {
    let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
    rig.send_to(a, pattern(3, 70_000), &at_b);
    rig.send_to(a, "fits", &at_b);
    rig.until("the second, and trouble", |world| {
        world[b].records.len() == 1 && !world[a].troubles.is_empty()
    });
    assert_eq!(rig.world[a].troubles[0].errno, libc::EMSGSIZE);
    assert_eq!(rig.world[b].records[0].bytes, b"fits");
    Ok(())
});

contract!(a_record_too_long_is_refused_alone, |rig| {
    let (a, b) = records(rig)?;
    rig.watch(a);
    // Far more than the kernel lets one local record be.
    rig.send(a, pattern(4, 4_000_000));
    rig.send(a, "fits");
    rig.until("the second, and trouble", |world| {
        world[b].data == b"fits" && !world[a].troubles.is_empty() && world[a].sent > 4
    });
    assert_eq!(rig.world[a].troubles[0].errno, libc::EMSGSIZE);
    assert_eq!(rig.world[a].sent, 4_000_004, "a refused record is gone, as far as sums go");
    assert!(!rig.world.closed(a) && !rig.world.closed(b));
    Ok(())
});

contract!(an_empty_record_is_a_record, |rig| {
    let (a, b) = records(rig)?;
    rig.send(a, "");
    rig.send(a, "after");
    rig.until("both", |world| world[b].data == b"after");
    assert_eq!(rig.world[b].records.len(), 2, "the empty one came as well");
    assert!(!rig.world[b].eof, "and ended nothing");
    Ok(())
});

contract!(sent_of_packets_sums_to_their_bytes, |rig| {
    let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
    rig.watch(a);
    for _ in 0..20 {
        rig.send_to(a, "12345", &at_b);
    }
    rig.until("all of it", |world| world[a].sent == 100 && world[b].records.len() == 20);
    assert_eq!(rig.world[a].queued, 0);
    Ok(())
});

// Nothing comes back that would end it otherwise.
contract!(on descriptors: a_packet_sent_ends_the_wait_of_who_watches, |rig| {
    let silent = UdpSocket::bind(("127.0.0.1", 0))?;
    let (id, _) = bound(rig)?;
    rig.watch(id);
    for text in ["one", "another"] {
        rig.send_to(id, text, &silent.local_addr()?.into());
        let begin = Instant::now();
        assert!(rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE))) > 0, "told");
        assert!(begin.elapsed() < PATIENCE, "it slept");
    }
    assert_eq!(rig.world[id].sent, 10);
    Ok(())
});

contract!(a_stopped_packet_socket_waits, |rig| {
    let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
    rig.settle();
    rig.stop(b);
    rig.settle();
    for text in ["one", "two"] {
        rig.send_to(a, text, &at_b);
    }
    rig.settle();
    assert_eq!(rig.world[b].records.len(), 0);
    rig.resume(b);
    rig.until("both", |world| world[b].records.len() == 2);
    assert_eq!(rig.world[b].data, b"onetwo");
    Ok(())
});

contract!(a_packet_socket_opened_stopped_waits, |rig| {
    let local = loopback(0);
    let spec = OpenSpec { local: Some(&local), reading: false, ..OpenSpec::default() };
    let b = rig.datagram(&spec, None)?;
    let at_b = rig.reactor.local_addr(b)?;
    let (a, _) = bound(rig)?;
    rig.send_to(a, "patience", &at_b);
    rig.settle();
    assert!(rig.world[b].marks.is_empty());
    rig.resume(b);
    rig.until("it", |world| world[b].data == b"patience");
    Ok(())
});

contract!(
    held_packets_delay_the_next,
    |config| {
        config.packet_slots = 2;
    },
    |rig| {
        let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
        rig.hold();
        for len in 1..=10 {
            // Ever longer: the system joins none with the one before, which would share its slot.
            rig.send_to(a, pattern(6, len), &at_b);
        }
        rig.settle();
        assert!(rig.world[b].records.len() < 10, "two slots, both held");
        rig.release();
        rig.until("all", |world| world[b].records.len() == 10);
        Ok(())
    }
);

contract!(closing_a_packet_socket_is_clean, |rig| {
    for how in [CloseHow::Now, FLUSH, CloseHow::Reset] {
        let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
        rig.send_to(a, "last", &at_b);
        if how == FLUSH {
            rig.close(a, how);
            rig.until("the last packet", |world| world[b].data == b"last");
        }
        rig.close(a, how);
        rig.close(b, CloseHow::Now);
        rig.until("both ends", |world| world.closed(a) && world.closed(b));
        assert_eq!((rig.world[a].errno(), rig.world[b].errno()), (None, None), "{how:?}");
    }
    Ok(())
});

contract!(five_hundred_packets_in_one_batch_keep_their_order, |rig| {
    let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
    for burst in 0..25u32 {
        for number in 0..20 {
            rig.send_to(a, (burst * 20 + number).to_be_bytes().to_vec(), &at_b);
        }
        let wanted = usize::try_from(burst + 1)? * 20;
        rig.until("the burst", |world| world[b].records.len() == wanted);
    }
    for (number, record) in (0u32..).zip(&rig.world[b].records) {
        assert_eq!(record.bytes, number.to_be_bytes());
    }
    Ok(())
});

contract!(local_packets_name_their_sender_if_it_has_a_name, |rig| {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).into_os_string().into_encoded_bytes();
    let (at_a, at_b) = (Address::local(path("a"))?, Address::local(path("b"))?);
    let a = rig.datagram(&OpenSpec { local: Some(&at_a), ..OpenSpec::default() }, None)?;
    let b = rig.datagram(&OpenSpec { local: Some(&at_b), ..OpenSpec::default() }, None)?;
    let nameless = rig.datagram(&OpenSpec::default(), Some(&at_b))?;
    rig.send_to(a, "from a", &at_b);
    rig.until("the first", |world| world[b].records.len() == 1);
    rig.send(nameless, "from nobody");
    rig.until("the second", |world| world[b].records.len() == 2);
    let found = &rig.world[b].records;
    assert_eq!(found[0], record(b"from a", &at_a));
    assert_eq!(found[1].bytes, b"from nobody");
    let from = found[1].from.as_ref();
    assert!(from.is_none_or(|from| *from == Address::unnamed()), "{from:?}");
    assert_eq!(from, None, "a local socket without a name is nobody");
    Ok(())
});

/// Sends 200 packets to a stopped local socket, waits a while, and has it read them.
fn crowd<R: Reactor>(
    rig: &mut Rig<R>,
    connected: bool,
) -> Result<(SockId, SockId), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("b").into_os_string().into_encoded_bytes();
    let at_b = Address::local(path)?;
    let spec = OpenSpec { local: Some(&at_b), reading: false, ..OpenSpec::default() };
    let b = rig.datagram(&spec, None)?;
    let local = OpenSpec { family: Family::Local, ..OpenSpec::default() };
    let a = rig.datagram(&local, connected.then_some(&at_b))?;
    rig.watch(a);
    for number in 0..200u32 {
        let bytes = number.to_be_bytes().to_vec();
        if connected {
            rig.send(a, bytes)
        } else {
            rig.send_to(a, bytes, &at_b)
        };
    }
    rig.settle();
    let waits = rig.reactor.counters().waits;
    rig.linger(Duration::from_millis(300));
    let waits = rig.reactor.counters().waits - waits;
    assert!(waits <= 60, "{waits} waits in 0.3 s for a peer that does not read");
    rig.resume(b);
    rig.until("all of them", |world| world[b].records.len() == 200);
    rig.until("all counted", |world| world[a].sent == 800);
    Ok((a, b))
}

contract!(more_local_packets_than_the_peer_queues_all_arrive, |rig| {
    // A full local queue is EAGAIN for the sender, which then waits; nothing is dropped.
    for connected in [true, false] {
        let (a, b) = crowd(rig, connected)?;
        for (number, record) in (0u32..).zip(&rig.world[b].records) {
            assert_eq!(record.bytes, number.to_be_bytes(), "connected: {connected}");
        }
        assert_eq!(rig.world[a].troubles, [], "connected: {connected}");
    }
    Ok(())
});

contract!(on descriptors: a_refused_packet_is_trouble_and_not_the_end, |rig| {
    let (gone, nobody) = bound(rig)?;
    rig.close(gone, CloseHow::Now);
    rig.until("its end", |world| world.closed(gone));
    let client = rig.datagram(&OpenSpec::default(), Some(&nobody))?;
    rig.send(client, "anybody?");
    rig.until("the refusal", |world| !world[client].troubles.is_empty());
    assert_eq!(rig.world[client].troubles[0].errno, libc::ECONNREFUSED);
    assert!(!rig.world.closed(client));
    // The same socket goes on both ways as soon as somebody is there.
    let spec = OpenSpec { local: Some(&nobody), ..OpenSpec::default() };
    let somebody = rig.datagram(&spec, None)?;
    rig.send(client, "now?");
    rig.until("it", |world| world[somebody].data == b"now?");
    let at_client = rig.reactor.local_addr(client)?;
    rig.send_to(somebody, "yes", &at_client);
    rig.until("the answer", |world| world[client].data == b"yes");
    Ok(())
});

contract!(on descriptors: refused_packets_do_not_keep_the_reactor_awake, |rig| {
    let (gone, nobody) = bound(rig)?;
    rig.close(gone, CloseHow::Now);
    rig.until("its end", |world| world.closed(gone));
    let client = rig.datagram(&OpenSpec::default(), Some(&nobody))?;
    rig.stop(client);
    rig.settle();
    for _ in 0..5 {
        rig.send(client, "anybody?");
        rig.poll(Wait::No);
    }
    rig.settle();
    let before = rig.reactor.counters().waits;
    rig.linger(Duration::from_millis(300));
    let waits = rig.reactor.counters().waits - before;
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(records_keep_their_boundaries, |rig| {
    let (client, server) = records(rig)?;
    let sizes = [1, 100, 2, 5_000, 3];
    for (seed, len) in (0..).zip(sizes) {
        rig.send(client, pattern(seed, len));
    }
    rig.until("all of them", |world| world[server].records.len() == sizes.len());
    for (seed, len) in (0..).zip(sizes) {
        let found = &rig.world[server].records[usize::try_from(seed)?];
        assert_bytes(&found.bytes, &pattern(seed, len), "a record");
        assert_eq!(found.lost, 0);
    }
    Ok(())
});

contract!(records_go_both_ways_and_end, |rig| {
    let (client, server) = records(rig)?;
    rig.watch(server);
    for round in 0..100 {
        rig.send(client, pattern(round, 50));
        rig.send(server, pattern(round + 1_000, 70));
    }
    rig.finish(client);
    rig.until("the end", |world| world[server].eof && world[client].records.len() == 100);
    assert_eq!(rig.world[server].records.len(), 100);
    assert_eq!(rig.world[server].data.len(), 5_000);
    rig.until("all counted", |world| world[server].sent == 7_000);
    rig.close(server, FLUSH);
    rig.until("the other end", |world| world[client].eof);
    rig.close(client, CloseHow::Now);
    rig.until("both ends", |world| world.closed(client) && world.closed(server));
    assert_eq!((rig.world[client].errno(), rig.world[server].errno()), (None, None));
    Ok(())
});

contract!(
    a_record_too_long_is_cut_and_says_so,
    |config| {
        config.packet_len = 256;
    },
    |rig| {
        let (client, server) = records(rig)?;
        for len in [255, 256, 257, 5_000] {
            rig.send(client, pattern(4, len));
        }
        rig.send(client, "next");
        rig.until("all of them", |world| world[server].records.len() == 5);
        let found = &rig.world[server].records;
        for (record, len) in found.iter().zip([255usize, 256, 257, 5_000]) {
            let kept = len.min(256);
            assert_bytes(&record.bytes, &pattern(4, len)[..kept], "the part that fits");
            assert_eq!(u64::from(record.lost), (len - kept) as u64, "{len} bytes");
        }
        assert_eq!(found[4].bytes, b"next");
        Ok(())
    }
);

contract!(a_forwarded_record_stays_one, |rig| {
    let (client, server) = records(rig)?;
    rig.hold();
    rig.send(client, "to and fro");
    rig.until("it", |world| world[server].records.len() == 1);
    let buf = rig.held()[0].clone();
    rig.send(server, buf.slice(0..6));
    rig.send(server, buf);
    rig.until("both", |world| world[client].records.len() == 2);
    assert_eq!(rig.world[client].records[0].bytes, b"to and");
    assert_eq!(rig.world[client].records[1].bytes, b"to and fro");
    Ok(())
});

contract!(a_stopped_record_socket_keeps_its_records, |rig| {
    let (client, server) = records(rig)?;
    rig.settle();
    rig.stop(server);
    rig.settle();
    rig.send(client, "one");
    rig.send(client, "two");
    rig.finish(client);
    rig.settle();
    rig.resume(server);
    rig.until("the end", |world| world[server].eof);
    let texts: Vec<_> = rig.world[server].records.iter().map(|record| &record.bytes[..]).collect();
    assert_eq!(texts, [&b"one"[..], b"two"]);
    assert_eq!(rig.world[server].marks.last(), Some(&Mark::Eof));
    Ok(())
});

contract!(
    refused_packets_hold_up_nobody,
    |config| {
        config.events_max = 16;
    },
    |rig| {
        let folder = tempfile::tempdir()?;
        let nobody = folder.path().join("nobody").into_os_string().into_encoded_bytes();
        let nobody = Address::local(nobody)?;
        let spec = OpenSpec { family: Family::Local, ..OpenSpec::default() };
        let refused = [rig.datagram(&spec, None)?, rig.datagram(&spec, None)?];
        let ((a, b), (c, _)) = (rig.pair()?, rig.pair()?);
        rig.send(a, "hello");
        rig.close(c, CloseHow::Now);
        for _ in 0..200 {
            for id in refused {
                while rig.reactor.queued_packets(id) < 100 {
                    rig.send_to(id, "x", &nobody);
                }
            }
            rig.poll(Wait::No);
        }
        assert_eq!(rig.world[b].data, b"hello");
        assert!(rig.world.closed(c));
        assert!(refused.iter().all(|&id| rig.world[id].troubles.len() >= 100), "they go on");
        Ok(())
    }
);

// Linux tells of a peer that closed with records unread before it gives out what that one has sent.
contract!(on descriptors: records_come_before_the_reset_behind_them, |rig| {
    for stopped in [false, true] {
        let (near, far) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let near = rig.adopt(near, Role::Connection, Kind::SeqPacket)?;
        if stopped {
            rig.stop(near);
        }
        rig.send(near, "unread");
        rig.settle();
        for answer in ["one", "", "two"] {
            send(far.as_raw_fd(), answer.as_bytes(), MsgFlags::empty())?;
        }
        drop(far);
        if stopped {
            rig.settle();
            rig.resume(near);
        }
        rig.until("its end", |world| world.closed(near));
        let heard: Vec<_> = rig.world[near].records.iter().map(|it| it.bytes.clone()).collect();
        assert_eq!(heard, [b"one".to_vec(), vec![], b"two".to_vec()], "stopped: {stopped}");
        let end = rig.world[near].closed.ok_or("it has ended")?;
        assert_eq!(end.errno(), Some(libc::ECONNRESET), "stopped: {stopped}");
    }
    Ok(())
});

contract!(on descriptors: what_became_of_a_packet_does_not_cost_the_next, |rig| {
    let gone = UdpSocket::bind("127.0.0.1:0")?;
    let port = gone.local_addr()?.port();
    drop(gone);
    let client = rig.datagram(&OpenSpec::default(), Some(&loopback(port)))?;
    // Stopped, only sending can tell.
    rig.stop(client);
    rig.send(client, "to nobody");
    rig.settle();
    let peer = UdpSocket::bind(("127.0.0.1", port))?;
    peer.set_read_timeout(Some(PATIENCE))?;
    for packet in ["to somebody", "another"] {
        rig.send(client, packet);
        rig.settle();
        let mut room = [0; 64];
        let len = peer.recv(&mut room)?;
        assert_eq!(&room[..len], packet.as_bytes());
    }
    let refused = Mark::Trouble(libc::ECONNREFUSED);
    assert_eq!(rig.world[client].marks.iter().filter(|it| **it == refused).count(), 1);
    Ok(())
});
