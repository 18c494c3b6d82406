//! Bounds, each at its value, one below and one above: queues, inboxes, reads, accepts, nesting, times.
//! Those of a server's connections and of descriptors are in `process_crowded.rs`.
//!
//! Where a time is a bound, the simulation tells the instant before from the one after; the other
//! backends have tests of the same bounds without that, beside what the bounds are for.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    Backend, Error, Family, LogEntry, Process, Runtime, SendError, StartError, Status, sim::Faults,
};
use netproc_core::reactor;
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

const MILLI: Duration = Duration::from_millis(1);

/// Switches the simulation's faults.
fn faults(rig: &Rig, change: impl FnOnce(&mut Faults)) {
    let mut faults = Faults::none();
    change(&mut faults);
    rig.rt.with_simulation(|sim| sim.set_faults(faults)).expect("a simulation");
}

/// Notes, by the reactor's own clock, that so much time has passed.
fn after(rt: &Runtime, span: Duration) -> Rc<Cell<bool>> {
    let over = Rc::new(Cell::new(false));
    let flag = Rc::clone(&over);
    rt.run_after(span, move |_| flag.set(true));
    over
}

conformance!(a_queue_takes_the_send_that_reaches_its_limit_and_none_behind_it, |rig| {
    let server = rig.server().start()?;
    let mut limits = server.limits();
    limits.queue_len_max = 10;
    for nowait in [false, true] {
        // One that connects keeps its bytes here, one that is open hands them to the reactor.
        for (waiting, admitted) in [(9, true), (10, false), (11, false)] {
            let client = rig.client(&server).nowait(nowait).limits(limits).start()?;
            let mut bytes = pattern(1, waiting);
            assert_eq!(client.send(bytes.clone()), Ok(waiting as u64));
            let answer = client.send("x");
            if admitted {
                assert_eq!(answer, Ok(10));
                bytes.push(b'x');
            } else {
                let full = SendError::QueueFull { queued: waiting as u64, limit: 10 };
                assert_eq!(answer, Err(full), "{waiting}");
            }
            rig.until("it open", || client.status() == Status::Open);
            client.send_eof()?;
            let heard = || {
                rig.log.lines().contains(&"child: connection broken by remote peer (closed)".into())
            };
            rig.until("all of it", heard);
            let read = format!("child: \"{}\" (open)", bytes.escape_ascii());
            assert!(rig.log.lines().contains(&read), "{read}\n{}", rig.log);
            rig.until("its end", || client.status() == Status::Closed);
            rig.log.clear();
        }
    }
    Ok(())
});

conformance!(a_full_inbox_ends_the_reading_until_it_is_emptied, |rig| {
    let idle = rig.server().start()?;
    // What ten bytes count in an inbox, with the event around them.
    let each = 10 + size_of::<reactor::Event>() as u64;
    for (inbox_len_max, taken) in [(3 * each - 1, 3), (3 * each, 3), (3 * each + 1, 4)] {
        let mut limits = idle.limits();
        limits.inbox_len_max = inbox_len_max;
        // Nobody takes its input: in a wait for another process it is kept.
        let server = rig.rt.server("kept").datagram().limits(limits).start()?;
        let client = rig.client(&server).datagram().start()?;
        let before = rig.rt.stats().received;
        for _ in 0..6 {
            client.send(pattern(2, 10))?;
            for _ in 0..3 {
                assert_eq!(rig.rt.next_event_of(&idle, Duration::from_millis(5))?, None);
            }
        }
        let read = rig.rt.stats().received - before;
        assert_eq!(read, 10 * taken, "of 60 bytes, with room for {inbox_len_max}");
        for _ in 0..6 {
            assert_eq!(rig.next().0, server);
        }
        server.delete();
        client.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(
    one_call_of_a_filter_brings_one_slot_at_most,
    |config| {
        config.slot_len = 1_000;
    },
    |rig| {
        let (_server, client, child) = rig.pair()?;
        for len in [999, 1_000, 1_001] {
            child.stop();
            rig.settle();
            rig.log.clear();
            client.send(pattern(3, len))?;
            rig.settle();
            child.resume();
            rig.until_bytes(&child, &pattern(3, len));
            let calls: Vec<_> = rig.log.inputs_of(&child).iter().map(Vec::len).collect();
            assert!(calls.iter().all(|&call| call <= 1_000), "{calls:?}");
            assert!(calls.len() > 1 || len <= 1_000, "{calls:?}");
        }
        Ok(())
    }
);

conformance!(
    one_packet_of_a_filter_is_cut_at_one_slot_and_says_so,
    |config| {
        config.packet_len = 1_000;
    },
    |rig| {
        let seen: Rc<RefCell<Vec<(usize, u32)>>> = Rc::default();
        let list = Rc::clone(&seen);
        let server = rig
            .rt
            .server("s")
            .datagram()
            .filter(move |_, input| list.borrow_mut().push((input.len(), input.lost())))
            .start()?;
        let client = rig.client(&server).datagram().start()?;
        for (len, told) in [(999, (999, 0)), (1_000, (1_000, 0)), (1_001, (1_000, 1))] {
            client.send(pattern(4, len))?;
            rig.until("it", || !seen.borrow().is_empty());
            assert_eq!(seen.take(), [told]);
        }
        Ok(())
    }
);

// io_uring has no such bound: one operation accepts until it is told to stop. There `events_max`
// bounds a turn.
conformance!(on (sim poll epoll): one_turn_of_a_server_accepts_no_more_than_its_share,
    |config| { config.accepts_per_turn = 3; }, |rig| {
    for count in [2, 3, 4] {
        let server = rig.server().stop(true).start()?;
        for _ in 0..count {
            rig.connect(&server)?;
        }
        rig.settle();
        server.resume();
        rig.rt.turn(Duration::ZERO)?;
        assert_eq!(rig.children(&server), count.min(3));
        rig.rt.turn(Duration::ZERO)?;
        assert_eq!(rig.children(&server), count, "the next turn brings the others");
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.settle();
    }
    Ok(())
});

// Nor this one: one operation receives until the slots run out. The simulation reads that often at
// most, by chance.
conformance!(on (sim poll epoll): one_turn_of_a_stream_reads_no_more_than_its_share,
    |config| {
        config.reads_per_turn = 3;
        config.slot_len = 64;
    }, |rig| {
    let (_server, client, child) = rig.pair()?;
    for count in [2, 3, 4] {
        child.stop();
        rig.settle();
        rig.log.clear();
        client.send(pattern(5, 64 * count))?;
        rig.settle();
        child.resume();
        rig.rt.turn(Duration::ZERO)?;
        let reads = rig.log.inputs_of(&child).len();
        assert!(reads <= 3, "{reads} reads");
        assert!(rig.rt.with_simulation(|_| ()).is_some() || reads == count.min(3), "{reads}");
        rig.until_bytes(&child, &pattern(5, 64 * count));
    }
    Ok(())
});

conformance!(on (sim): failed_accepts_are_logged_so_often_and_counted,
    |config| {
        config.accept_pause = Duration::from_millis(100);
        config.reserve_descriptor = false;
    }, |rig| {
    // A failure every hundred milliseconds; the first is logged, then the one that is late enough.
    for (log_every, count) in [(0, 1), (299, 3), (300, 3), (301, 4)] {
        let counts: Rc<RefCell<Vec<u32>>> = Rc::default();
        let list = Rc::clone(&counts);
        let mut limits = netproc::Limits::default();
        limits.log_every = MILLI * log_every;
        let log = move |_: &Process, _: Option<&Process>, entry: &LogEntry| {
            if let LogEntry::AcceptFailed { err, count, .. } = entry {
                assert_eq!(err.errno, libc::EMFILE);
                list.borrow_mut().push(*count);
            }
        };
        let server = rig.rt.server("s").stop(true).limits(limits).log(log).start()?;
        let client = rig.client(&server).start()?;
        faults(rig, |faults| faults.emfile = 100);
        server.resume();
        rig.until("two entries", || counts.borrow().len() >= 2);
        assert_eq!(counts.borrow()[..2], [1, count], "every {log_every} ms");
        faults(rig, |_| ());
        rig.until("it in", || rig.children(&server) == 1);
        assert_eq!((server.status(), client.status()), (Status::Listen, Status::Open));
        server.delete();
        client.delete();
        rig.settle();
    }
    Ok(())
});

/// Nests waits until that is refused; notes how deep it was.
fn dig(rt: &Runtime, deepest: &Rc<Cell<u32>>) {
    let below = Rc::clone(deepest);
    let timer = rt.run_after(Duration::ZERO, move |rt| dig(rt, &below));
    match rt.turn(PATIENCE) {
        Err(Error::TooDeep(depth)) => {
            deepest.set(depth);
            assert!(timer.cancel(), "the refused wait ran something");
        }
        answer => assert!(answer.is_ok(), "{answer:?}"),
    }
}

conformance!(waits_nest_as_deep_as_they_may, |rig| {
    for depth_max in [1, 2, 31, 33] {
        let builder = Runtime::builder().depth_max(depth_max);
        let Some(rt) = rig.subject.build(builder, netproc::Config::default()) else {
            return Ok(());
        };
        let deepest = Rc::new(Cell::new(0));
        dig(&rt, &deepest);
        assert_eq!(deepest.get(), depth_max);
        // A start that waits is a wait, and so is what a posted call does.
        let refused = Rc::new(Cell::new(false));
        let flag = Rc::clone(&refused);
        let server = rt.server("s").start()?;
        let to = server.contact().local().clone();
        rt.on_callback_error(|err| panic!("{err}"));
        rt.run_after(Duration::ZERO, move |rt| {
            let answer = rt.client("c").remote(to).start();
            let too_deep = matches!(&answer, Err(StartError::Runtime(err))
                if matches!(**err, Error::TooDeep(1)));
            flag.set(too_deep);
            rt.shutdown();
        });
        rt.run()?;
        assert_eq!(refused.get(), depth_max == 1, "{depth_max}");
        let called = after(&rt, Duration::ZERO);
        rt.handle().post(Runtime::shutdown)?;
        rt.run()?;
        assert!(called.get(), "posted calls run however little nesting there may be");
        rt.close();
        while rt.stats().sockets > 0 {
            rt.turn(PATIENCE)?;
        }
    }
    Ok(())
});

#[test]
fn nesting_out_of_range_is_refused() {
    for (depth_max, legal) in [(0, false), (1, true), (1_024, true), (1_025, false)] {
        let built = Runtime::builder().backend(Backend::Poll).depth_max(depth_max).build();
        let field = if let Err(Error::Config(err)) = &built { Some(err.field) } else { None };
        assert_eq!((built.is_ok(), field.is_none()), (legal, legal), "{depth_max}: {built:?}");
    }
}

conformance!(bounds_that_hold_nothing_are_refused, |rig| {
    let default = netproc::Limits::default();
    for (count, legal) in [(0, false), (1, true), (2, true)] {
        let mut cases = [default; 4];
        cases[0].queue_len_max = count as u64;
        cases[1].queue_packets_max = count;
        cases[2].inbox_len_max = count as u64;
        cases[3].connections_max = Some(count);
        let fields = ["queue_len_max", "queue_packets_max", "inbox_len_max", "connections_max"];
        for (limits, field) in cases.into_iter().zip(fields) {
            let started = rig.rt.server("s").limits(limits).start();
            let refused = match &started {
                Err(StartError::Limits(err)) => Some(err.field),
                _ => None,
            };
            assert_eq!(refused, (!legal).then_some(field), "{count}: {started:?}");
            if let Ok(server) = started {
                server.delete();
            }
        }
    }
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

conformance!(on (sim): a_connect_that_waits_gives_up_at_its_time, |rig| {
    let server = rig.server().start()?;
    faults(rig, |faults| faults.connect_timeout = 100);
    let default = (None, Duration::from_secs(60));
    for (within, span) in [(Some(MILLI * 70), MILLI * 70), default] {
        let (before, behind) = (after(&rig.rt, span - MILLI), after(&rig.rt, span + MILLI));
        let client = rig.client(&server);
        let client = if let Some(within) = within { client.within(within) } else { client };
        let started = client.start();
        assert!(matches!(started, Err(StartError::TimedOut { .. })), "{started:?}");
        assert_eq!((before.get(), behind.get()), (true, false), "{span:?}");
        rig.until("the second timer", || behind.get());
    }
    assert_eq!(rig.rt.process_list(), [server]);
    Ok(())
});

conformance!(on (sim): a_flush_has_its_time_and_no_more, |rig| {
    let bytes = pattern(6, 4 << 20);
    for (millis, whole) in [(199, true), (201, false)] {
        let mut limits = netproc::Limits::default();
        limits.queue_len_max = 8 << 20;
        limits.flush_within = MILLI * 200;
        let server = rig.server().limits(limits).start()?;
        let client = rig.connect(&server)?;
        let child = rig.child(&server);
        client.stop();
        child.send(bytes.clone())?;
        rig.settle();
        let woken = client.clone();
        rig.rt.run_after(MILLI * millis, move |_| woken.resume());
        child.delete();
        rig.until("the end", || client.status() == Status::Closed);
        let read = rig.log.len_of(&client);
        assert_eq!(read == bytes.len(), whole, "{read} bytes, read after {millis} ms of 200");
        server.delete();
        rig.log.clear();
    }
    Ok(())
});

conformance!(a_backlog_holds_as_many_as_asked_for, |rig| {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    // Linux admits one more than it was asked for. Only a local connect waits for room: over IP
    // the system answers the peer before it looks.
    for (number, (count, open)) in [(2, 2), (3, 3), (4, 3)].into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        let server = rig.server().family(Family::Local).service(&*path).backlog(2).stop(true);
        let server = server.start()?;
        let clients: Vec<_> = (0..count)
            .map(|_| rig.client(&server).nowait(true).start())
            .collect::<Result<_, _>>()?;
        rig.settle();
        let is_open = |client: &&Process| client.status() == Status::Open;
        assert_eq!(clients.iter().filter(is_open).count(), open, "of {count}");
        server.resume();
        rig.until("everybody in", || rig.children(&server) == count);
        rig.until("everybody open", || clients.iter().all(|client| is_open(&client)));
    }
    Ok(())
});
