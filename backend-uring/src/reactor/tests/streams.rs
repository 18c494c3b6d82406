//! Connections: echo through little memory, starvation, flushing, resetting, refusals.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    thread,
};

use netproc_core::{
    outbox::{SEND_LEN_MAX, TURN_LEN_MAX},
    reactor::{Tick, Wake as _},
};

use super::*;

fn small(slots: u16) -> Config {
    let mut config = Config::default();
    config.slots = slots;
    config.slot_len = 4096;
    config
}

/// Bytes that show where they belong.
fn pattern(len: usize, step: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at / step % 251).unwrap()).collect()
}

/// Serves echo until `clients` connections have come and gone.
fn serve_echo(rig: &mut Rig, clients: usize) {
    let mut gone = 0;
    while gone < clients {
        match rig.next() {
            Event::Data { id, buf, .. } => drop(rig.reactor.send(id, buf.into())),
            Event::Eof { id } => rig.reactor.close(id, CloseHow::Flush { within: PATIENCE }),
            Event::Closed { cause, unsent, .. } => {
                assert_eq!((cause, unsent), (None, 0));
                gone += 1;
            }
            _ => {}
        }
    }
}

fn talk(address: std::net::SocketAddr, n: usize, len: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sent = pattern(len, n + 1);
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        bytes.chunks(3000).for_each(|part| writer.write_all(part).unwrap());
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got == sent, "client {n} got {} of {len} bytes, or wrong ones", got.len());
}

#[test]
fn echo_comes_back_whole_however_few_the_slots() {
    for (slots, ring_entries) in [(64, 256), (4, 8), (2, 8)] {
        let mut config = small(slots);
        config.ring_entries = ring_entries;
        for mut rig in Rig::both(config) {
            let (listener, address) = rig.listen();
            let clients: Vec<_> =
                (0..50).map(|n| thread::spawn(move || talk(address, n, 100_000))).collect();
            serve_echo(&mut rig, 50);
            clients.into_iter().for_each(|client| client.join().unwrap());
            rig.reactor.close(listener, CloseHow::Now);
            rig.assert_clean();
            assert_eq!(rig.reactor.counters().received, 50 * 100_000);
        }
    }
}

#[test]
fn whoever_holds_every_buffer_delays_and_loses_nothing() {
    for mut rig in Rig::both(small(2)) {
        let (id, mut client) = rig.accepted();
        let (other, mut second) = rig.accepted();
        let sent = pattern(40_000, 7);
        client.write_all(&sent).unwrap();
        let (mut held, mut len) = (Vec::new(), 0);
        for event in rig.settle() {
            if let Event::Data { buf, .. } = event {
                len += buf.len();
                held.push(buf);
            }
        }
        assert!(len < sent.len() && len >= 4096, "two slots are full: {len}");
        second.write_all(b"me too").unwrap();
        let waits = rig.reactor.counters().waits;
        assert!(rig.settle().is_empty(), "no memory, no input");
        assert!(rig.reactor.counters().waits < waits + 4, "it sleeps meanwhile");
        assert!(rig.reactor.counters().starved > 0);
        let mut got: Vec<u8> = held.iter().flat_map(|buf| buf.to_vec()).collect();
        held.clear();
        let mut late = Vec::new();
        while got.len() < sent.len() || late.len() < 6 {
            rig.until(|event| match event {
                Event::Data { id: from, buf, .. } => {
                    if from == id { &mut got } else { &mut late }.extend_from_slice(&buf);
                    Some(())
                }
                _ => None,
            });
        }
        assert!(got == sent && late == b"me too");
        rig.reactor.close(id, CloseHow::Now);
        rig.reactor.close(other, CloseHow::Now);
        rig.assert_clean();
    }
}

#[test]
fn idle_sockets_take_no_turn_from_those_with_input() {
    for mut rig in Rig::both(small(2)) {
        let (listener, address) = rig.listen();
        let mut hog = TcpStream::connect(address).unwrap();
        rig.settle();
        hog.write_all(&[7; 20_000]).unwrap();
        let held = rig.settle();
        assert_eq!(rig.reactor.counters().slots_held, 2, "no slot is left");
        let mut clients: Vec<_> = (0..12).map(|_| TcpStream::connect(address).unwrap()).collect();
        let accepted = rig.settle().into_iter().filter_map(|event| match event {
            Event::Accepted { id, .. } => Some(id),
            _ => None,
        });
        let ids: Vec<_> = accepted.collect();
        assert_eq!(ids.len(), 12);
        for client in &mut clients[9..] {
            client.write_all(b"hello").unwrap();
        }
        rig.settle();
        // One that waits is stopped and one is closed: no turn is theirs.
        rig.reactor.set_reading(ids[9], false);
        rig.reactor.close(ids[10], CloseHow::Reset);
        drop(held);
        let mut wanted = vec![ids[11]];
        for round in 0..2 {
            while !wanted.is_empty() {
                let id = rig.until(|event| match event {
                    Event::Data { id, buf, .. } => (buf[..] == *b"hello").then_some(id),
                    _ => None,
                });
                wanted.retain(|other| *other != id);
            }
            if round == 0 {
                rig.reactor.set_reading(ids[9], true);
                wanted.push(ids[9]);
            }
        }
        rig.reactor.close(listener, CloseHow::Now);
    }
}

#[test]
fn what_the_end_of_a_slot_cuts_is_told_of_with_its_rest() {
    const LEN: usize = 40_000;
    let mut config = Config::default();
    config.slots = 8;
    for mut rig in Rig::both(config) {
        let (_, mut hog) = rig.accepted();
        let mut clients: Vec<_> = (0..2).map(|_| rig.accepted()).collect();
        let ids: Vec<_> = clients.iter().map(|(id, _)| *id).collect();
        // As many bytes as all slots have: whoever comes next waits for a turn, at slots that are empty.
        let mut held = Vec::new();
        while rig.reactor.counters().slots_held < u64::from(config.slots) {
            hog.write_all(&vec![7; config.slot_len as usize]).unwrap();
            held.extend(rig.settle());
        }
        let sent = pattern(LEN, 1);
        for (_, client) in &mut clients {
            client.write_all(&sent).unwrap();
        }
        assert_eq!(rig.settle().len(), 0, "no slot is left");
        drop(held);
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        // The second found but the rest of a slot, where slots are filled end to end.
        let mut got = vec![Vec::new(); 2];
        while let Some(Event::Data { id, buf, .. }) = rig.queue.pop() {
            if let Some(at) = ids.iter().position(|other| *other == id) {
                got[at].extend_from_slice(&buf);
            }
        }
        assert!(got.iter().all(|got| *got == sent), "{} and {}", got[0].len(), got[1].len());
    }
}

#[test]
fn flush_delivers_everything_although_input_is_unread() {
    let mut rig = Rig::new(Config::default());
    let (id, mut client) = rig.accepted();
    rig.reactor.set_reading(id, false);
    rig.settle();
    client.write_all(&[b'x'; 600]).unwrap();
    let sent = pattern(4_000_000, 11);
    rig.reactor.send(id, sent.clone().into());
    rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(rig.closed(id), (None, 0));
    assert!(reading.join().unwrap() == sent);
    rig.assert_clean();
}

#[test]
fn a_flush_ends_with_its_deadline_or_a_harsher_close() {
    let mut rig = Rig::new(Config::default());
    for harsher in [None, Some(CloseHow::Now), Some(CloseHow::Reset)] {
        let (id, client) = rig.accepted();
        rig.reactor.send(id, vec![7; 64 << 20].into());
        let within = harsher.map_or(Duration::from_millis(40), |_| PATIENCE);
        rig.reactor.close(id, CloseHow::Flush { within });
        let start = rig.reactor.now();
        if let Some(harsher) = harsher {
            assert!(rig.settle().is_empty(), "the client does not read");
            rig.reactor.close(id, harsher);
        }
        let (cause, unsent) = rig.closed(id);
        assert!(cause.is_none() && unsent > 0, "{harsher:?}: {unsent}");
        assert!(rig.reactor.now().since(start) < Duration::from_secs(2), "{harsher:?}");
        rig.assert_clean();
        drop(client);
    }
}

#[test]
fn reset_resets_and_now_ends() {
    let mut rig = Rig::new(Config::default());
    let (id, mut client) = rig.accepted();
    rig.reactor.close(id, CloseHow::Reset);
    assert_eq!(rig.closed(id), (None, 0));
    let err = client.read(&mut [0]).unwrap_err();
    assert_eq!(err.kind(), std::io::ErrorKind::ConnectionReset);
    let (id, mut client) = rig.accepted();
    rig.reactor.close(id, CloseHow::Now);
    rig.closed(id);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    rig.assert_clean();
}

#[test]
fn a_half_close_waits_for_what_is_queued_and_input_goes_on() {
    let mut rig = Rig::new(Config::default());
    let (id, mut client) = rig.accepted();
    rig.reactor.watch_sent(id, true);
    let (parts, part_len) = (30u8, 100_000);
    let len = usize::from(parts) * part_len;
    for part in 0..parts {
        rig.reactor.send(id, vec![part; part_len].into());
    }
    rig.reactor.finish(id);
    let after = rig.reactor.send(id, b"too late".into());
    assert_eq!(after, len as u64, "nothing is queued after the end");
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        client.write_all(b"still here").unwrap();
        got
    });
    let mut sent = 0;
    let text = rig.until(|event| match event {
        Event::Sent { bytes, .. } => {
            sent += bytes;
            None
        }
        Event::Data { buf, .. } => Some(buf.to_vec()),
        _ => None,
    });
    assert_eq!((text, sent), (b"still here".to_vec(), len as u64));
    let got = reading.join().unwrap();
    assert!((0..parts).zip(got.chunks(part_len)).all(|(n, part)| part == vec![n; part_len]));
    assert_eq!(got.len(), len);
    rig.reactor.close(id, CloseHow::Now);
    rig.assert_clean();
}

#[test]
fn a_failed_send_does_not_swallow_what_was_received() {
    let mut rig = Rig::new(Config::default());
    let (near, mut far) = UnixStream::pair().unwrap();
    let id = rig.reactor.adopt(near.into(), Role::Connection, true).unwrap();
    rig.settle();
    far.write_all(b"bye").unwrap();
    drop(far);
    rig.reactor.send(id, "are you there?".into());
    assert_eq!(rig.data(), b"bye");
    let cause = SysError { op: Op::Send, errno: libc::EPIPE };
    assert_eq!(rig.closed(id), (Some(cause), 14));
    rig.assert_clean();
}

#[test]
fn what_was_sent_and_what_was_not_make_up_what_was_queued() {
    let mut rig = Rig::new(Config::default());
    let (id, client) = rig.accepted();
    rig.reactor.watch_sent(id, true);
    let len = 32 << 20;
    rig.reactor.send(id, vec![1; len].into());
    let mut sent = 0;
    let mut count = |events: Vec<Event>| {
        for event in events {
            match event {
                Event::Sent { bytes, .. } => sent += bytes,
                Event::Closed { unsent, .. } => return Some(sent + unsent),
                _ => {}
            }
        }
        None
    };
    assert_eq!(count(rig.settle()), None);
    rig.reactor.close(id, CloseHow::Now);
    assert_eq!(count(rig.settle()), Some(len as u64));
    assert!(sent > 0, "some of it went out, MiB by MiB");
    drop(client);
}

#[test]
fn a_pause_loses_no_byte() {
    for mut rig in Rig::both(small(8)) {
        let (id, mut client) = rig.accepted();
        let sent = pattern(200_000, 5);
        let bytes = sent.clone();
        let writing = thread::spawn(move || client.write_all(&bytes).map(|()| client));
        let (mut got, mut round) = (Vec::new(), 0);
        while got.len() < sent.len() {
            round += 1;
            rig.reactor.set_reading(id, round % 3 != 0);
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            rig.reactor.set_reading(id, true);
            got.extend(rig.data());
        }
        assert!(got == sent);
        drop(writing.join().unwrap());
        assert!(matches!(rig.next(), Event::Eof { .. }));
        rig.reactor.close(id, CloseHow::Now);
        rig.assert_clean();
    }
}

#[test]
fn a_refused_connect_is_closed_with_its_cause() {
    let mut rig = Rig::new(Config::default());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = rig.reactor.connect(&OpenSpec::default(), &port.into()).unwrap();
    let refused = SysError { op: Op::Connect, errno: libc::ECONNREFUSED };
    assert_eq!(rig.closed(id), (Some(refused), 0));
    // Bound to the very port it calls, a socket meets itself.
    let own = port.into();
    let spec = OpenSpec { local: Some(&own), ..OpenSpec::default() };
    let id = rig.reactor.connect(&spec, &own).unwrap();
    assert_eq!(rig.closed(id), (Some(refused), 0));
    rig.assert_clean();
}

#[test]
fn a_local_connect_waits_for_room_in_the_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let local = Address::local(folder.path().join("s").as_os_str().as_encoded_bytes()).unwrap();
    let mut rig = Rig::new(Config::default());
    let spec = OpenSpec { local: Some(&local), reading: false, ..OpenSpec::default() };
    let listener = rig.reactor.listen(&spec, 0).unwrap();
    let mut wanted: Vec<SockId> =
        (0..4).map(|_| rig.reactor.connect(&OpenSpec::default(), &local).unwrap()).collect();
    let early = rig.settle();
    assert!(early.len() < 4, "the backlog holds fewer: {early:?}");
    let mut seen = |event: &Event| {
        assert!(!matches!(event, Event::Closed { .. }), "{event:?}");
        if let Event::Connected { id } = event {
            wanted.retain(|wanted| wanted != id);
        }
        wanted.is_empty()
    };
    for event in &early {
        seen(event);
    }
    rig.reactor.set_reading(listener, true);
    rig.until(|event| seen(&event).then_some(()));
}

#[test]
fn what_is_sent_while_connecting_arrives_even_when_closed() {
    let mut rig = Rig::new(Config::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().into();
    let id = rig.reactor.connect(&OpenSpec::default(), &to).unwrap();
    rig.reactor.send(id, "hello".into());
    rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
    let reading = thread::spawn(move || {
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(rig.closed(id), (None, 0));
    assert_eq!(reading.join().unwrap(), "hello");
    rig.assert_clean();
}

#[test]
fn queues_too_small_for_the_burst_lose_nothing() {
    let mut config = small(64);
    config.ring_entries = 8;
    config.events_max = 5;
    for mut rig in Rig::both(config) {
        let (_, address) = rig.listen();
        let mut clients: Vec<TcpStream> =
            (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = 0;
        while accepted < 200 {
            accepted += usize::from(matches!(rig.next(), Event::Accepted { .. }));
            assert!(rig.queue.len() <= 5, "one poll brings no more");
        }
        rig.settle();
        clients.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
        let mut got = 0;
        while got < 200 {
            got += rig.data().len();
        }
        clients.iter_mut().for_each(|client| client.write_all(b"yz").unwrap());
        while got < 600 {
            got += rig.data().len();
        }
        drop(clients);
        let mut ends = 0;
        while ends < 200 {
            if let Event::Eof { id } = rig.next() {
                ends += 1;
                rig.reactor.close(id, CloseHow::Now);
            }
        }
        assert!(rig.reactor.counters().overflows > 0, "the test is too gentle");
    }
}

/// A wait looks past the completions of sends, which come at once, but only as far as that.
#[test]
fn sends_that_get_stuck_hold_nobody_up() {
    for mut rig in Rig::both(small(64)) {
        let stuck: Vec<_> = (0..8).map(|_| rig.accepted()).collect();
        let (id, mut client) = rig.accepted();
        rig.settle();
        client.write_all(b"heard").unwrap();
        for (id, _) in &stuck {
            rig.reactor.send(*id, vec![0; 16 << 20].into());
        }
        rig.reactor.send(id, "answered".into());
        assert_eq!(rig.data(), b"heard");
        let mut answer = [0; 8];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answered");
        client.write_all(b"again").unwrap();
        assert_eq!(rig.data(), b"again");
        for (id, _) in &stuck {
            assert!(rig.reactor.queued(*id) > 0, "the test is too gentle");
        }
    }
}

#[test]
fn patience_with_stuck_sends_ends_no_wait() {
    for mut rig in Rig::both(small(64)) {
        for wait in [Wait::Forever, Wait::Until(Tick(u64::MAX))] {
            let stuck: Vec<_> = (0..8).map(|_| rig.accepted()).collect();
            rig.settle();
            for (id, _) in &stuck {
                rig.reactor.send(*id, vec![0; 16 << 20].into());
            }
            let waker = rig.reactor.waker();
            let waking = thread::spawn(move || {
                // They are being sent, and longer than patience lasts.
                let peers = stuck.iter().map(|(_, peer)| peer);
                peers.for_each(|mut peer| peer.read_exact(&mut [0; 100_000]).unwrap());
                waker.wake();
                stuck
            });
            rig.reactor.poll(wait, &mut rig.queue).unwrap();
            assert!(matches!(rig.queue.pop(), Some(Event::Woken)), "{wait:?}");
            waking.join().unwrap();
        }
    }
}

#[test]
fn who_has_sent_enough_bytes_lets_the_others_send_theirs() {
    for mut rig in Rig::both(small(64)) {
        let pairs = [(); 2].map(|()| {
            let (near, far) = UnixStream::pair().unwrap();
            (rig.reactor.adopt(near.into(), Role::Connection, true).unwrap(), far)
        });
        for (id, _) in &pairs {
            rig.reactor.send(*id, vec![0; 3_000_000].into());
            for _ in 0..300 {
                rig.reactor.send(*id, vec![0; 10_000].into());
            }
        }
        let mut before = [6_000_000; 2];
        for _ in 0..3 {
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            let left = [0, 1].map(|at: usize| rig.reactor.queued(pairs[at].0));
            for ((before, left), (_, peer)) in before.iter().zip(left).zip(&pairs) {
                // A row of calls, and what the ring has behind it.
                let gone = usize::try_from(before - left).unwrap();
                assert!((1..=TURN_LEN_MAX + SEND_LEN_MAX).contains(&gone), "{gone}");
                (&*peer).read_exact(&mut vec![0; gone]).unwrap();
            }
            before = left;
        }
    }
}

/// What calls send, and what the ring sends behind them, arrives in order, however little the peer takes.
#[test]
fn rows_of_sends_arrive_in_order() {
    for mut rig in Rig::both(small(64)) {
        let (near, far) = UnixStream::pair().unwrap();
        let id = rig.reactor.adopt(near.into(), Role::Connection, true).unwrap();
        let sent: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut rest = &sent[..];
        for len in [1, 70_000, 200_000, 30, 64 * 1024, 1_000_000].into_iter().cycle() {
            let (piece, more) = rest.split_at(len.min(rest.len()));
            rig.reactor.send(id, piece.to_vec().into());
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            (&far).read_to_end(&mut got).unwrap();
            got
        });
        assert_eq!(rig.closed(id), (None, 0));
        assert!(reader.join().unwrap() == sent, "other bytes, or another order");
        rig.assert_clean();
    }
}

/// A peer that has gone is told of, though a call found out.
#[test]
fn a_row_of_sends_to_who_has_gone_ends_the_connection() {
    for flush in [false, true] {
        for mut rig in Rig::both(small(64)) {
            let (near, far) = UnixStream::pair().unwrap();
            let id = rig.reactor.adopt(near.into(), Role::Connection, false).unwrap();
            rig.settle();
            drop(far);
            rig.reactor.send(id, vec![0; 300_000].into());
            if flush {
                rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
            } else {
                rig.reactor.set_reading(id, true);
            }
            let (cause, unsent) = rig.closed(id);
            assert_eq!(cause.map(|cause| cause.errno), Some(libc::EPIPE));
            assert_eq!(unsent, 300_000);
            rig.assert_clean();
        }
    }
}

/// A turn has a bounded number of calls, however little fits in each.
#[test]
fn many_small_payloads_are_no_longer_a_row_than_large_ones() {
    for mut rig in Rig::both(small(64)) {
        let (near, _far) = UnixStream::pair().unwrap();
        let id = rig.reactor.adopt(near.into(), Role::Connection, true).unwrap();
        rig.settle();
        let payload: std::sync::Arc<[u8]> = [0; 40].into();
        for _ in 0..5000 {
            rig.reactor.send(id, payload.clone().into());
        }
        let before = rig.reactor.counters().syscalls;
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        let calls = rig.reactor.counters().syscalls - before;
        assert!(calls <= (TURN_LEN_MAX / SEND_LEN_MAX) as u64 + 2, "{calls} calls");
        assert!(rig.reactor.queued(id) < 200_000, "a row");
        rig.reactor.close(id, CloseHow::Reset);
        rig.closed(id);
    }
}

/// A wait looks for as many as have come before, but is content with one, and with none at its end.
#[test]
fn a_crowd_that_does_not_come_again_holds_nobody_up() {
    let mut config = small(64);
    config.patience = Duration::from_millis(20);
    for mut rig in Rig::both(config) {
        let peers: Vec<_> = (0..40).map(|_| rig.accepted()).collect();
        rig.settle();
        for _ in 0..100 {
            for (_, peer) in &peers {
                (&*peer).write_all(b"x").unwrap();
            }
            for _ in &peers {
                assert_eq!(rig.data(), b"x");
            }
        }
        let at = rig.reactor.now().after(Duration::from_millis(1));
        rig.reactor.poll(Wait::Until(at), &mut rig.queue).unwrap();
        assert!(rig.queue.is_empty() && rig.reactor.now() >= at);
        for wait in [Wait::Forever, Wait::Until(Tick(u64::MAX))] {
            (&peers[0].1).write_all(b"alone").unwrap();
            rig.reactor.poll(wait, &mut rig.queue).unwrap();
            assert_eq!(rig.data(), b"alone");
        }
    }
}

// When Linux looks into a terminal just before its last writer writes and closes it, it says so.
#[test]
fn an_end_that_was_told_too_early_is_none() {
    let mut rig = Rig::new(Config::default());
    let (theirs, mut ours) = std::io::pipe().unwrap();
    let id = rig.reactor.adopt_pipes(theirs.into(), None, false).unwrap();
    ours.write_all(b"the last").unwrap();
    let gone = |rig: &mut Rig| {
        let mut early = EventQueue::new();
        let mut batch = Batch::new(&mut rig.queue, &mut early, 9);
        let sock = rig.reactor.sockets.get_mut(id.0).unwrap();
        sock.on_recv_error(libc::EIO, &mut rig.reactor.io, &mut batch);
        rig.queue.pop()
    };
    assert!(gone(&mut rig).is_none(), "there is something to read");
    rig.reactor.set_reading(id, true);
    assert_eq!(rig.data(), b"the last");
    rig.reactor.set_reading(id, false);
    rig.settle();
    assert!(matches!(gone(&mut rig), Some(Event::Eof { .. })));
    drop(ours);
    rig.reactor.close(id, CloseHow::Now);
    rig.assert_clean();
}

#[test]
fn where_a_local_end_may_be_missed_each_receive_is_for_what_there_is() {
    let config = Config::default();
    let features = probe(&config).unwrap().without_local_ends();
    let reactor = UringReactor::with_features(config, features).unwrap();
    let mut rig = Rig { reactor, queue: EventQueue::new() };
    let (ours, mut local) = UnixStream::pair().unwrap();
    let local_id = rig.reactor.adopt(ours.into(), Role::Connection, true).unwrap();
    let (id, mut peer) = rig.accepted();
    rig.settle();
    let input = |rig: &Rig, id: SockId| rig.reactor.sockets.get(id.0).unwrap().input;
    for _ in 0..3 {
        local.write_all(b"local").unwrap();
        assert_eq!(rig.data(), b"local");
        assert_eq!(input(&rig, local_id), Input::Idle, "until the next poll");
        peer.write_all(b"remote").unwrap();
        assert_eq!(rig.data(), b"remote");
        assert_eq!(input(&rig, id), Input::Armed, "it goes on");
    }
    local.write_all(b"bye").unwrap();
    drop(local);
    assert_eq!(rig.data(), b"bye");
    assert!(matches!(rig.next(), Event::Eof { id } if id == local_id));
    for id in [id, local_id] {
        rig.reactor.close(id, CloseHow::Now);
    }
    rig.assert_clean();
}
