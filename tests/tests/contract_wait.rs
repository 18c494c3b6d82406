//! Points 8 and 9: how long `poll` waits, what wakes it, and that an idle reactor sleeps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use netproc_core::reactor::{CloseHow, OpenSpec, Tick, Wait, Wake as _};
use netproc_tests::{
    contract,
    contract::{Mark, PATIENCE, assert_bytes, loopback, pattern},
};

/// What a loaded machine may add to any wait before a test calls it too late.
const SLACK: Duration = Duration::from_secs(2);

contract!(poll_no_never_blocks, |rig| {
    rig.listener()?;
    rig.pair()?;
    rig.settle();
    let begin = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(rig.poll(Wait::No), 0);
    }
    assert!(begin.elapsed() < SLACK, "1,000 polls took {:?}", begin.elapsed());
    Ok(())
});

contract!(poll_no_does_the_work_there_is, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(client, "now");
    for _ in 0..100_000 {
        rig.poll(Wait::No);
        if rig.world[server].data == b"now" {
            return Ok(());
        }
    }
    Err("100,000 polls without waiting did not carry three bytes".into())
});

contract!(poll_until_returns_by_its_deadline, |rig| {
    rig.pair()?;
    rig.settle();
    for millis in [0, 1, 7, 60] {
        let span = Duration::from_millis(millis);
        let begin = rig.reactor.now();
        let deadline = begin.after(span);
        let mut polls = 0;
        while rig.reactor.now() < deadline {
            assert_eq!(rig.poll(Wait::Until(deadline)), 0);
            polls += 1;
        }
        let took = rig.reactor.now().since(begin);
        assert!(took < span + SLACK, "{span:?} took {took:?}");
        assert!(polls <= 3, "{polls} polls for one wait of {span:?}");
    }
    Ok(())
});

contract!(a_short_deadline_is_no_busy_loop, |rig| {
    rig.pair()?;
    rig.settle();
    let mut polls = 0;
    for _ in 0..20 {
        let deadline = rig.reactor.now().after(Duration::from_micros(300));
        while rig.reactor.now() < deadline {
            rig.poll(Wait::Until(deadline));
            polls += 1;
        }
    }
    assert!(polls <= 60, "{polls} polls for 20 waits of 0.3 ms");
    Ok(())
});

contract!(a_deadline_in_the_past_is_no_wait, |rig| {
    rig.pair()?;
    rig.settle();
    let begin = Instant::now();
    for _ in 0..100 {
        rig.poll(Wait::Until(Tick(0)));
    }
    assert!(begin.elapsed() < SLACK, "took {:?}", begin.elapsed());
    Ok(())
});

contract!(the_farthest_deadline_is_a_wait, |rig| {
    let waker = rig.reactor.waker();
    waker.wake();
    rig.poll(Wait::Until(Tick(u64::MAX)));
    assert_eq!(rig.world.wakes(), 1);
    Ok(())
});

contract!(the_clock_never_goes_back, |rig| {
    let (client, server) = rig.pair()?;
    let mut last = rig.reactor.now();
    for round in 0..200 {
        rig.send(client, pattern(round, 100));
        rig.poll(Wait::No);
        let now = rig.reactor.now();
        assert!(now >= last);
        last = now;
    }
    rig.until("everything", |world| world[server].data.len() == 20_000);
    Ok(())
});

contract!(a_wake_before_poll_makes_it_return, |rig| {
    let waker = rig.reactor.waker();
    for round in 1..=100 {
        waker.wake();
        rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
        assert_eq!(rig.world.wakes(), round, "one Woken for one wake");
    }
    Ok(())
});

contract!(many_wakes_before_poll_are_one_woken, |rig| {
    let waker = rig.reactor.waker();
    for _ in 0..1_000 {
        waker.wake();
        waker.clone().wake();
        rig.reactor.waker().wake();
    }
    rig.until("a Woken", |world| world.wakes() == 1);
    rig.settle();
    assert_eq!(rig.world.wakes(), 1, "and no second");
    Ok(())
});

contract!(a_wake_is_seen_by_poll_no, |rig| {
    rig.reactor.waker().wake();
    rig.poll(Wait::No);
    assert_eq!(rig.world.wakes(), 1);
    Ok(())
});

contract!(on descriptors: a_wake_during_poll_makes_it_return, |rig| {
    let waker = rig.reactor.waker();
    let (ask, asked) = mpsc::channel::<()>();
    let helper = thread::spawn(move || {
        while asked.recv().is_ok() {
            // Gives the other thread a chance to be asleep; right either way.
            thread::yield_now();
            waker.wake();
        }
    });
    for round in 1..=1_000 {
        ask.send(())?;
        let begin = Instant::now();
        while rig.world.wakes() < round {
            rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
            assert!(begin.elapsed() < PATIENCE, "round {round}: the wake was lost");
        }
        assert_eq!(rig.world.wakes(), round, "one Woken for one wake");
    }
    drop(ask);
    helper.join().map_err(|_| "the helper panicked")?;
    Ok(())
});

contract!(on descriptors: a_hundred_thousand_wakes_coalesce_and_none_is_lost, |rig| {
    const WAKES: u64 = 100_000;
    let (client, server) = rig.pair()?;
    let (posted, waker) = (Arc::new(AtomicU64::new(0)), rig.reactor.waker());
    let counter = Arc::clone(&posted);
    let helper = thread::spawn(move || {
        for _ in 0..WAKES {
            counter.fetch_add(1, Ordering::Release);
            waker.wake();
        }
    });
    // Whoever is woken looks at what was posted; the last wake must show the last post.
    let mut seen = 0;
    let mut polls = 0;
    while seen < WAKES {
        let begin = Instant::now();
        let before = rig.world.wakes();
        if polls % 100 == 0 {
            rig.send(client, "traffic");
        }
        rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
        polls += 1;
        if rig.world.wakes() > before {
            assert_eq!(rig.world.wakes(), before + 1, "one Woken a poll");
            seen = posted.load(Ordering::Acquire);
        }
        assert!(begin.elapsed() < PATIENCE, "woken for {seen} of {WAKES}, then never again");
    }
    assert!(rig.world.wakes() <= WAKES);
    helper.join().map_err(|_| "the helper panicked")?;
    rig.settle();
    let quiet = rig.world.wakes();
    rig.settle();
    assert_eq!(rig.world.wakes(), quiet, "no Woken without a wake");
    assert_eq!(rig.world[server].data.len() % 7, 0);
    Ok(())
});

contract!(on descriptors: wakes_of_four_threads_all_arrive, |rig| {
    let mut expected = 0;
    let posted = Arc::new(AtomicU64::new(0));
    let mut helpers = Vec::new();
    for _ in 0..4 {
        let (waker, posted) = (rig.reactor.waker(), Arc::clone(&posted));
        expected += 5_000;
        helpers.push(thread::spawn(move || {
            for _ in 0..5_000 {
                posted.fetch_add(1, Ordering::Release);
                waker.wake();
            }
        }));
    }
    let mut seen = 0;
    while seen < expected {
        let (begin, before) = (Instant::now(), rig.world.wakes());
        rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
        if rig.world.wakes() > before {
            seen = posted.load(Ordering::Acquire);
        }
        assert!(begin.elapsed() < PATIENCE, "woken for {seen} of {expected}, then never again");
    }
    for helper in helpers {
        helper.join().map_err(|_| "a helper panicked")?;
    }
    // The last may have posted when it was seen, and woken afterwards.
    rig.settle();
    Ok(())
});

contract!(a_waker_outlives_its_reactor, |rig| {
    let other = rig.another();
    let waker = other.reactor.waker();
    drop(other);
    waker.wake();
    waker.clone().wake();
    rig.settle();
    assert_eq!(rig.world.wakes(), 0, "and wakes nobody else");
    Ok(())
});

/// Waits out `span` and returns in how many waits.
macro_rules! waits_in {
    ($rig:ident, $span:expr) => {{
        let before = $rig.reactor.counters().waits;
        let events = $rig.linger($span);
        assert_eq!(events, 0, "events of an idle reactor\n{}", $rig.world);
        $rig.reactor.counters().waits - before
    }};
}

contract!(an_idle_reactor_sleeps, |rig| {
    let listener = rig.listener()?;
    for _ in 0..20 {
        rig.pair_at(listener, &OpenSpec::default())?;
    }
    let local = loopback(0);
    rig.datagram(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, None)?;
    rig.settle();
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(a_stopped_socket_with_input_does_not_keep_the_reactor_awake, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(server);
    rig.settle();
    rig.send(client, pattern(1, 10_000));
    rig.settle();
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(a_stopped_socket_whose_peer_is_gone_does_not_keep_the_reactor_awake, |rig| {
    for how in [CloseHow::Now, CloseHow::Reset] {
        let (client, server) = rig.pair()?;
        rig.stop(server);
        rig.settle();
        rig.send(client, "unread");
        rig.settle();
        rig.close(client, how);
        rig.until("the client's end", |world| world.closed(client));
        rig.settle();
        let waits = waits_in!(rig, Duration::from_millis(300));
        assert!(waits <= 3, "{how:?}: {waits} waits in 0.3 s of nothing");
    }
    Ok(())
});

contract!(a_stopped_listener_with_a_backlog_does_not_keep_the_reactor_awake, |rig| {
    let listener = rig.listener()?;
    rig.stop(listener);
    rig.settle();
    for _ in 0..5 {
        rig.client(listener)?;
    }
    rig.settle();
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(a_half_closed_connection_does_not_keep_the_reactor_awake, |rig| {
    let (client, server) = rig.pair()?;
    rig.finish(client);
    rig.until("the end of the input", |world| world[server].eof);
    rig.settle();
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    rig.finish(server);
    rig.until("the other end", |world| world[client].eof);
    rig.settle();
    // Both directions are over: the owner may still take its time to close.
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(a_full_peer_does_not_keep_the_reactor_awake, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(server);
    rig.send(client, pattern(2, 32 << 20));
    rig.settle();
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(a_flushing_close_does_not_keep_the_reactor_awake, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(client);
    rig.send(server, pattern(3, 32 << 20));
    rig.close(server, CloseHow::Flush { within: Duration::from_secs(3600) });
    rig.settle();
    let waits = waits_in!(rig, Duration::from_millis(300));
    assert!(waits <= 3, "{waits} waits in 0.3 s of nothing");
    Ok(())
});

contract!(
    one_poll_brings_at_most_events_max,
    |config| {
        config.events_max = 4;
    },
    |rig| {
        let listener = rig.listener()?;
        let mut clients = Vec::new();
        for seed in 0..50 {
            let client = rig.client(listener)?;
            let bytes = pattern(seed, 3_000);
            rig.send(client, bytes.clone());
            rig.finish(client);
            clients.push(bytes);
        }
        let begin = rig.reactor.now();
        while rig.world[listener].children.len() < 50
            || !rig.world[listener].children.iter().all(|&child| rig.world[child].eof)
        {
            let events = rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
            assert!(events <= 4, "{events} events in one poll");
            assert!(rig.reactor.now().since(begin) < PATIENCE, "not all of it\n{}", rig.world);
        }
        let mut found: Vec<_> = rig.world[listener]
            .children
            .iter()
            .map(|&child| rig.world[child].data.clone())
            .collect();
        found.sort();
        clients.sort();
        assert_eq!(found.len(), clients.len());
        for (found, sent) in found.iter().zip(&clients) {
            assert_bytes(found, sent, "in small batches");
        }
        Ok(())
    }
);

contract!(
    the_cap_counts_sent_closed_and_woken_too,
    |config| {
        config.events_max = 2;
    },
    |rig| {
        let listener = rig.listener()?;
        let mut ids = Vec::new();
        for _ in 0..10 {
            let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
            rig.watch(client);
            rig.watch(server);
            rig.send(client, "up");
            rig.send(server, "down");
            rig.finish(client);
            ids.extend([client, server]);
        }
        rig.reactor.waker().wake();
        let begin = rig.reactor.now();
        let mut closing = false;
        while rig.world.open_ids().len() > 1 {
            let events = rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
            assert!(events <= 2, "{events} events in one poll\n{}", rig.world);
            assert!(rig.reactor.now().since(begin) < PATIENCE, "not all of it\n{}", rig.world);
            let all_sent = ids.iter().all(|&id| rig.world[id].sent == rig.world[id].given);
            if all_sent && !std::mem::replace(&mut closing, all_sent) {
                for &id in &ids {
                    rig.close(id, CloseHow::Now);
                }
            }
        }
        assert_eq!(rig.world.wakes(), 1);
        Ok(())
    }
);

contract!(
    a_cap_of_one_event_still_brings_everything,
    |config| {
        config.events_max = 1;
    },
    |rig| {
        let listener = rig.echo()?;
        let client = rig.client(listener)?;
        rig.watch(client);
        rig.reactor.waker().wake();
        rig.send(client, pattern(4, 100_000));
        rig.finish(client);
        rig.until("the echo and its end", |world| world[client].eof && world.wakes() == 1);
        assert_bytes(&rig.world[client].data, &pattern(4, 100_000), "echoed");
        Ok(())
    }
);

contract!(
    what_was_sent_is_told_though_every_batch_is_full,
    |config| {
        config.events_max = 1;
    },
    |rig| {
        let listener = rig.listener()?;
        let (sender, receiver) = rig.pair_at(listener, &OpenSpec::default())?;
        let (fast, busy) = rig.pair_at(listener, &OpenSpec::default())?;
        rig.send(fast, "first");
        rig.until("it is busy", |world| !world[busy].data.is_empty());
        rig.reactor.set_reading(receiver, false);
        rig.watch(sender);
        rig.send(sender, "waits to be told of");
        for round in 0..1000 {
            if rig.world[sender].sent > 0 {
                return Ok(());
            }
            // There is something to read in each poll.
            rig.send(fast, pattern(round, 1 << 20));
            rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
        }
        Err(format!("a thousand polls had other things to tell\n{}", rig.world).into())
    }
);

contract!(a_fast_sender_does_not_starve_a_slow_one, |rig| {
    let listener = rig.listener()?;
    let (fast, _) = rig.pair_at(listener, &OpenSpec::default())?;
    let (slow, receiver) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.watch(fast);
    for round in 1..=50 {
        // The fast one never runs dry.
        if rig.world[fast].queued < 2 << 20 {
            rig.send(fast, pattern(round, 2 << 20));
        }
        rig.send(slow, "tick");
        let wanted = usize::try_from(round)? * 4;
        let mut polls = 0;
        while rig.world[receiver].data.len() < wanted {
            rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE)));
            polls += 1;
            assert!(polls <= 200, "round {round}: 200 polls and no tick\n{}", rig.world);
        }
    }
    assert_eq!(rig.world[slow].marks.first(), Some(&Mark::Connected));
    Ok(())
});
