//! What must neither spin nor sleep for ever: starving beside the dead and the paused, turns of no
//! length, times that never come. How much one poll brings, and how few calls that takes.

use super::*;

/// Two slots of the smallest size, and turns of one read.
fn tiny() -> Config {
    let mut config = Config::default();
    (config.slots, config.slot_len, config.reads_per_turn) = (2, 64, 1);
    config
}

/// Memory enough for everybody, in turns of one small read, one of which is enough for a poll.
fn tiny_turns() -> Config {
    let mut config = tiny();
    (config.slots, config.bytes_max) = (64, 64);
    config
}

/// All of the memory in use, and `count` connections that wait for some.
fn starved(rig: &mut Rig, count: usize) -> (Vec<Event>, Vec<(SockId, UnixStream)>) {
    let (hog, mut peer) = rig.pair();
    peer.write_all(&[1; 128]).unwrap();
    let kept = rig.drain();
    rig.reactor.close(hog, CloseHow::Now);
    rig.closed(hog);
    let mut pairs: Vec<_> = (0..count).map(|_| rig.pair()).collect();
    for (_, peer) in &mut pairs {
        peer.write_all(b"me too").unwrap();
        assert!(rig.drain().is_empty(), "no memory is left");
    }
    let counters = rig.reactor.counters();
    // The one that had it all would have had more.
    assert_eq!((counters.slots_held, counters.starved), (2, 1 + count as u64));
    (kept, pairs)
}

/// Waits until each of `ids` has had its six bytes.
fn served(rig: &mut Rig, ids: &[SockId]) {
    let mut left = ids.to_vec();
    while !left.is_empty() {
        let event = rig.next();
        let Event::Data { id, buf, .. } = event else { panic!("{event:?}") };
        assert_eq!(&buf[..], b"me too");
        left.retain(|one| *one != id);
    }
}

on_each_mechanism! {
    fn the_dead_take_no_turn_of_the_starving(rig, tiny()) {
        let (kept, pairs) = starved(&mut rig, 12);
        for (id, _) in &pairs[..9] {
            rig.reactor.close(*id, CloseHow::Now);
        }
        assert_eq!(rig.drain().len(), 9);
        drop(kept);
        let ids: Vec<_> = pairs[9..].iter().map(|(id, _)| *id).collect();
        served(&mut rig, &ids);
    }

    fn the_paused_take_no_turn_of_the_starving(rig, tiny()) {
        let (kept, pairs) = starved(&mut rig, 12);
        let ids: Vec<_> = pairs.iter().map(|(id, _)| *id).collect();
        for id in &ids[..9] {
            rig.reactor.set_reading(*id, false);
        }
        rig.drain();
        drop(kept);
        served(&mut rig, &ids[9..]);
        for id in &ids[..9] {
            rig.reactor.set_reading(*id, true);
        }
        served(&mut rig, &ids[..9]);
    }

    fn sizes_that_would_never_do_anything_are_refused(rig, Config::default()) {
        let changes: [fn(&mut Config); 4] = [
            |config| config.reads_per_turn = 0,
            |config| config.events_max = 0,
            |config| config.packet_slots = 1,
            |config| config.accept_pause = Duration::ZERO,
        ];
        for change in changes {
            let mut config = Config::default();
            change(&mut config);
            let refused = PollReactor::with(rig.reactor.mechanism, config).map(drop);
            assert_eq!(refused, Err(SysError { op: Op::Open, errno: libc::EINVAL }));
        }
        assert!(rig.drain().is_empty(), "one of legal sizes goes on");
    }

    fn who_stops_watching_hears_no_more_of_what_was_sent(rig, Config::default()) {
        let (id, _peer) = rig.pair();
        rig.reactor.watch_sent(id, true);
        rig.reactor.send(id, vec![0; 10].into());
        rig.reactor.flush_dirty();
        assert_eq!(rig.reactor.queued(id), 0, "it has gone");
        rig.reactor.watch_sent(id, false);
        let told = rig.drain();
        assert!(told.is_empty(), "{told:?}");
    }

    fn the_address_of_a_server_is_free_however_many_end_before_it(rig, {
        let mut config = Config::default();
        config.events_max = 2;
        config
    }) {
        let (server, address) = rig.tcp_server();
        let pairs = [(); 9].map(|()| rig.pair());
        for (id, _) in &pairs {
            rig.reactor.close(*id, CloseHow::Now);
        }
        rig.reactor.close(server, CloseHow::Now);
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        TcpListener::bind(address).unwrap();
    }

    fn a_reset_behind_the_peers_end_is_told_though_its_last_read_was_short(rig, Config::default()) {
        let (id, mut peer) = rig.pair();
        peer.write_all(b"x").unwrap();
        assert_eq!(&rig.data(id)[..], b"x");
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(rig.next(), Event::Eof { .. }));
        rig.reactor.send(id, b"unread".to_vec().into());
        // Until the doubt about that read is over.
        let until = rig.reactor.now().after(Duration::from_millis(50));
        while rig.reactor.now() < until {
            rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
        }
        assert!(rig.queue.is_empty());
        drop(peer);
        let cause = rig.closed(id).0.map(|err| err.errno);
        assert_eq!(cause, Some(libc::ECONNRESET));
    }

    fn refusals_that_nobody_has_heard_of_are_few(rig, Config::default()) {
        let spec = OpenSpec { family: Family::Local, ..OpenSpec::default() };
        let ids = [(); 3].map(|()| rig.reactor.datagram(&spec, None).unwrap());
        let nobody = Address::local(b"/nowhere/at-all").unwrap();
        let mut told = 0;
        for _ in 0..50 {
            for &id in &ids {
                while rig.reactor.queued_packets(id) < 200 {
                    rig.reactor.send_to(id, vec![0].into(), &nobody);
                }
            }
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            let troubles = rig.reactor.hub.agenda.troubles.len();
            assert!(troubles <= ids.len(), "{troubles} wait to be told");
            told += std::iter::from_fn(|| rig.queue.pop()).count();
        }
        assert!(told >= 50, "they are told of: {told}");
    }

    fn times_that_never_come_are_waited_for(rig, Config::default()) {
        let (id, mut peer) = rig.pair();
        rig.reactor.send(id, vec![0; 4_000_000].into());
        rig.reactor.close(id, CloseHow::Flush { within: Duration::MAX });
        rig.drain();
        let waits = rig.reactor.counters().waits;
        let waker = rig.reactor.waker();
        let soon = std::thread::spawn(move || {
            // Given time to go wrong, a wait that does not sleep shows in the count.
            std::thread::park_timeout(Duration::from_millis(30));
            waker.wake();
        });
        while rig.queue.is_empty() {
            rig.reactor.poll(Wait::Until(Tick(u64::MAX)), &mut rig.queue).unwrap();
        }
        assert!(matches!(rig.next(), Event::Woken));
        assert_eq!(rig.reactor.counters().waits, waits + 1);
        soon.join().unwrap();
        let reader = std::thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()));
        rig.reactor.close(id, CloseHow::Now);
        assert!(rig.closed(id).1 > 0);
        assert!(reader.join().unwrap().unwrap() > 0);
    }

    fn who_has_sent_enough_bytes_lets_the_others_send_theirs(rig, Config::default()) {
        let pairs = [rig.pair(), rig.pair()];
        for (id, _) in &pairs {
            // Many pieces and one piece.
            rig.reactor.send(*id, vec![0; 3_000_000].into());
            for _ in 0..300 {
                rig.reactor.send(*id, vec![0; 10_000].into());
            }
        }
        let mut before = 6_000_000;
        for _ in 0..3 {
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            let left = [0, 1].map(|at: usize| rig.reactor.queued(pairs[at].0));
            assert_eq!(left[0], left[1], "they take turns");
            // A poll that finds them new gives each a second turn.
            assert!((1..=2 * TURN_LEN_MAX as u64).contains(&(before - left[0])), "{left:?}");
            let mut got = vec![0; usize::try_from(before - left[0]).unwrap()];
            for (_, peer) in &pairs {
                (&*peer).read_exact(&mut got).unwrap();
            }
            before = left[0];
        }
        for (id, _) in &pairs {
            rig.reactor.close(*id, CloseHow::Flush { within: PATIENCE });
        }
        let readers = pairs.map(|(_, peer)| {
            std::thread::spawn(|| std::io::copy(&mut { peer }, &mut std::io::sink()).unwrap())
        });
        let ends = [(); 2].map(|()| rig.next());
        assert!(ends.iter().all(|end| matches!(end, Event::Closed { cause: None, unsent: 0, .. })));
        assert_eq!(readers.map(|reader| reader.join().unwrap()), [before; 2]);
    }

    fn who_has_brought_enough_bytes_lets_the_others_wait_their_turn(rig, {
        let mut config = small();
        (config.bytes_max, config.slots, config.reads_per_turn) = (65, 64, 4);
        config
    }) {
        let (_one, mut peer) = rig.pair();
        let (_other, mut other) = rig.pair();
        peer.write_all(&[0; 640]).unwrap();
        other.write_all(&[0; 640]).unwrap();
        let mut turns: Vec<SockId> = Vec::new();
        let mut got = 0;
        while got < 1280 {
            rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
            let mut brought = 0;
            while let Some(event) = rig.queue.pop() {
                let Event::Data { id, buf, .. } = event else { panic!("{event:?}") };
                brought += buf.len();
                turns.push(id);
            }
            assert!((1..65 + 64).contains(&brought), "{brought}");
            got += brought;
        }
        turns.dedup();
        assert!(turns.len() > 4, "neither has the other wait to its end: {turns:?}");
        // Who only looks finds everybody.
        let pairs: Vec<_> = (0..12).map(|_| rig.pair()).collect();
        for wait in [Wait::No, Wait::Until(rig.reactor.now())] {
            pairs.iter().for_each(|(_, peer)| (&*peer).write_all(&[0; 40]).unwrap());
            rig.reactor.poll(wait, &mut rig.queue).unwrap();
            let mut brought = 0;
            while let Some(event) = rig.queue.pop() {
                let Event::Data { buf, .. } = event else { panic!("{event:?}") };
                brought += buf.len();
            }
            assert_eq!(brought, 12 * 40, "{wait:?}");
        }
    }

    fn what_ends_a_poll_does_not_end_a_turn(rig, {
        let mut config = tiny_turns();
        config.reads_per_turn = 4;
        config
    }) {
        for blocked in [false, true] {
            let mut pairs = [rig.pair(), rig.pair()];
            let first = pairs[0].0;
            if blocked {
                // More than a socket takes, so that there always is something to send.
                rig.reactor.send(first, vec![0; 64 << 20].into());
                assert!(rig.drain().is_empty());
            }
            pairs.iter_mut().for_each(|(_, peer)| peer.write_all(&[0; 640]).unwrap());
            let mut turns = Vec::new();
            let mut got = 0;
            while got < 1280 {
                let Event::Data { id, buf, .. } = rig.next() else { panic!("no data") };
                assert!(rig.queue.is_empty(), "a read is enough for a poll");
                got += buf.len();
                turns.push(id);
            }
            let rows: Vec<_> = turns.chunk_by(PartialEq::eq).map(|row| (row[0], row.len())).collect();
            let longest = |of: bool| {
                let of = rows.iter().filter(|(id, _)| (*id == first) == of);
                // Whoever is left alone at the end has a turn behind the other.
                of.rev().skip(1).map(|(_, len)| *len).max()
            };
            assert_eq!(longest(false), Some(4), "{rows:?}");
            assert_eq!(longest(true), Some(if blocked { 1 } else { 4 }), "{rows:?}");
            for (id, _) in &pairs {
                rig.reactor.close(*id, CloseHow::Reset);
                rig.next();
            }
        }
    }

    fn no_turn_goes_on_for_ever(rig, {
        let mut config = tiny_turns();
        config.reads_per_turn = u32::MAX;
        config
    }) {
        let [(one, mut first), (other, mut second)] = [rig.pair(), rig.pair()];
        first.write_all(&[1; 40 * 64]).unwrap();
        assert_eq!(rig.data(one).len(), 64);
        second.write_all(&[2; 64]).unwrap();
        let mut reads = 1;
        loop {
            let Event::Data { id, .. } = rig.next() else { panic!("no data") };
            if id == other {
                break;
            }
            reads += 1;
        }
        // Its turn, and the one that begins in the poll in which the kernel is asked.
        assert!((16..=32).contains(&reads), "{reads} reads");
    }

    fn who_goes_on_may_be_closed_or_silenced_meanwhile(rig, {
        let mut config = tiny_turns();
        config.reads_per_turn = 4;
        config
    }) {
        let [(one, mut first), (other, mut second)] = [rig.pair(), rig.pair()];
        first.write_all(&[1; 640]).unwrap();
        assert_eq!(rig.data(one).len(), 64);
        second.write_all(&[2; 64]).unwrap();
        rig.reactor.set_reading(one, false);
        assert_eq!(*rig.data(other), [2; 64], "nobody waits for who wants none");
        assert!(rig.drain().is_empty());
        rig.reactor.set_reading(one, true);
        for _ in 0..5 {
            assert_eq!(*rig.data(one), [1; 64], "and nothing was lost");
        }
        rig.reactor.close(one, CloseHow::Now);
        assert_eq!(rig.closed(one).1, 0);
        second.write_all(&[3; 64]).unwrap();
        assert_eq!(*rig.data(other), [3; 64]);
    }

    fn the_kernel_keeps_the_line_of_those_who_are_ready(rig, Config::default()) {
        let pairs: Vec<_> = (0..200).map(|_| rig.pair()).collect();
        assert!(rig.drain().is_empty());
        pairs.iter().for_each(|(_, peer)| (&*peer).write_all(&[7]).unwrap());
        let before = rig.reactor.counters().waits;
        let mut brought = Vec::new();
        while brought.iter().sum::<usize>() < 200 {
            rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
            brought.push(rig.queue.len());
            while rig.queue.pop().is_some() {}
        }
        // poll(2) keeps none.
        let knows = rig.reactor.caps().name == "poll";
        assert_eq!(brought, if knows { vec![200] } else { vec![64, 64, 64, 8] });
        assert_eq!(rig.reactor.counters().waits - before, brought.len() as u64);
    }

    fn who_comes_new_has_a_turn_soon_though_many_have_more(rig, tiny_turns()) {
        const MANY: usize = 150;
        let pairs: Vec<_> = (0..MANY).map(|_| rig.pair()).collect();
        let (late, mut peer) = rig.pair();
        assert!(rig.drain().is_empty());
        // Each has more than a turn brings, and comes anew all the time.
        let more = || pairs.iter().for_each(|(_, peer)| (&*peer).write_all(&[7; 64]).unwrap());
        (0..3).for_each(|_| more());
        for turns in 0.. {
            if turns % MANY == 0 {
                more();
            }
            if turns == 5 * MANY {
                peer.write_all(&[1]).unwrap();
            }
            let Event::Data { id, .. } = rig.next() else { panic!("only data comes") };
            if id == late {
                break;
            }
            assert!(turns <= 8 * MANY, "those with more have turn after turn");
        }
    }

    fn wakes_and_turns_leave_each_other_room(rig, {
        let mut config = tiny_turns();
        config.events_max = 1;
        config
    }) {
        let pairs = [rig.pair(), rig.pair()];
        for (wait, (one, peer)) in [Wait::Forever, Wait::No].into_iter().zip(&pairs) {
            (&*peer).write_all(&[7; 64 * 8]).unwrap();
            let (mut wakes, mut got) = (0, 0);
            for _ in 0..20 {
                rig.reactor.waker().wake();
                rig.reactor.poll(wait, &mut rig.queue).unwrap();
                match rig.queue.pop() {
                    Some(Event::Woken) => wakes += 1,
                    Some(Event::Data { id, buf, .. }) if id == *one => got += buf.len(),
                    None => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(got, 64 * 8, "{wait:?}");
            assert!(wakes >= 8, "{wait:?}: {wakes}");
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            while rig.queue.pop().is_some() {}
        }
    }

    fn who_only_looks_sees_more_than_one_call_tells(rig, Config::default()) {
        let pairs: Vec<_> = (0..1100).map(|_| rig.pair()).collect();
        // All have room to write, which is told first, and is no news.
        (&pairs[1099].1).write_all(&[7]).unwrap();
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        assert!(matches!(rig.queue.pop(), Some(Event::Data { id, .. }) if id == pairs[1099].0));
    }

    fn those_known_to_be_ready_are_served_warm_and_without_a_call(rig, Config::default()) {
        const EACH: usize = 16 * 1024;
        let pairs: Vec<_> = (0..30).map(|_| rig.pair()).collect();
        pairs.iter().for_each(|(_, peer)| (&*peer).write_all(&[7; EACH]).unwrap());
        let before = rig.reactor.counters().waits;
        let (mut polls, mut got, mut woken) = (0, 0, None);
        while got < 30 * EACH {
            rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
            polls += 1;
            let mut brought = 0;
            while let Some(event) = rig.queue.pop() {
                match event {
                    Event::Data { buf, .. } => brought += buf.len(),
                    Event::Woken => woken = Some(polls),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(brought, 3 * EACH);
            got += brought;
            if polls == 1 {
                rig.reactor.waker().wake();
            }
        }
        let waits = rig.reactor.counters().waits - before;
        assert_eq!((polls, waits, woken), (10, 1, Some(2)), "a wake waits for nobody");
    }
}
