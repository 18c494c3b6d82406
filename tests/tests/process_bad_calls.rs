//! Bad sizes, times and calls by the typed interface: the catalogue of faults, section 2, rows 90 to
//! 105.
//!
//! What cannot be done is a typed error and changes nothing; what is merely odd is tested for what it
//! does. Starts that are refused are in `process_bad_input.rs`, which also counts the rows.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    CloseHow, CodingError, Config, DatagramAddressError, Error, Event, FinishError, Limits,
    OptionError, Process, ProcessId, Runtime, SendError, SendWaitError, SetOptionError, SockOption,
    StartError, Status,
};
use netproc_tests::{
    conformance,
    rig::{Outcome, PATIENCE, Subject},
};

conformance!(rows_90_91_options_and_codings_of_a_process_keep_what_was, |rig| {
    let (server, client, _child) = rig.pair()?;
    let long = SockOption::BindToDevice(Some("d".repeat(100)));
    let refused = server.set_option(long);
    let expected = SetOptionError::Option(OptionError::DeviceName(100));
    assert_eq!((refused, server.contact().get(":bindtodevice")), (Err(expected), None));
    client.set_coding("latin-1-dos")?;
    let before = client.coding();
    let refused = client.set_coding("no-such-coding");
    assert_eq!(refused, Err(CodingError::Unknown("no-such-coding".into())));
    assert!(before.is_some() && client.coding() == before, "row 91");
    client.delete();
    let refused = client.set_option(SockOption::KeepAlive(true));
    assert_eq!(refused, Err(SetOptionError::NotRunning(Status::Closed)), "row 90");
    Ok(())
});

#[test]
fn row_92_sizes_no_reactor_can_have_are_refused_when_it_is_built() {
    type Set = fn(&mut Config);
    let cases: [(&str, Set); 15] = [
        ("slots", |config| config.slots = 0),
        ("slots", |config| config.slots = 1),
        ("slots", |config| config.slots = u16::MAX),
        ("slot_len", |config| config.slot_len = 0),
        ("slot_len", |config| config.slot_len = u32::MAX),
        ("packet_slots", |config| config.packet_slots = 0),
        ("packet_len", |config| config.packet_len = 0),
        ("packet_len", |config| config.packet_len = u32::MAX),
        ("events_max", |config| config.events_max = 0),
        ("bytes_max", |config| config.bytes_max = 0),
        ("reads_per_turn", |config| config.reads_per_turn = 0),
        ("accepts_per_turn", |config| config.accepts_per_turn = 0),
        ("ring_entries", |config| config.ring_entries = 0),
        ("ring_entries", |config| config.ring_entries = 1 << 31),
        ("patience", |config| config.patience = Duration::from_micros(1_000_001)),
    ];
    for (field, set) in cases {
        let mut config = Config::default();
        set(&mut config);
        match Runtime::builder().config(config).build() {
            Err(Error::Config(refused)) => assert_eq!(refused.field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

conformance!(row_92_bounds_that_hold_nothing_are_refused_when_a_process_starts, |rig| {
    type Set = fn(&mut Limits);
    let server = rig.server().start()?;
    let before = (rig.rt.stats().sockets, rig.rt.process_list());
    let cases: [(&str, Set); 3] = [
        ("queue_len_max", |limits| limits.queue_len_max = 0),
        ("queue_packets_max", |limits| limits.queue_packets_max = 0),
        ("inbox_len_max", |limits| limits.inbox_len_max = 0),
    ];
    for (field, set) in cases {
        let mut limits = Limits::default();
        set(&mut limits);
        let starts =
            [rig.rt.server("s").limits(limits).start(), rig.client(&server).limits(limits).start()];
        for refused in starts {
            let Err(StartError::Limits(err)) = refused else { panic!("{field}: {refused:?}") };
            assert_eq!(err.field, field);
        }
        assert_eq!((rig.rt.stats().sockets, rig.rt.process_list()), before, "{field}");
    }
    rig.rt.set_input_len_max(0);
    assert_eq!(rig.rt.input_len_max(), 1, "nothing at a time would be for ever");
    // The least there is works.
    let mut limits = Limits::default();
    (limits.queue_len_max, limits.queue_packets_max, limits.inbox_len_max) = (1, 1, 1);
    let client = rig.client(&server).limits(limits).start()?;
    client.send("x")?;
    rig.until_bytes(&rig.child(&server), b"x");
    Ok(())
});

/// Raises a flag when the runtime's clock says that a wait took longer than any may here.
fn alarm(rt: &Runtime) -> Rc<Cell<bool>> {
    let late = Rc::new(Cell::new(false));
    let raised = Rc::clone(&late);
    rt.run_after(PATIENCE / 2, move |_| raised.set(true));
    late
}

conformance!(row_93_no_time_looks_once, |rig| {
    let (_server, client, _child) = rig.pair()?;
    rig.settle();
    let late = alarm(&rig.rt);
    let zero = Duration::ZERO;
    assert!(!rig.rt.turn(zero)?);
    assert!(rig.rt.next_event(zero)?.is_none());
    assert!(rig.rt.next_event_of(&client, zero)?.is_none());
    assert!(!rig.rt.accept_output(None, Some(zero), false)?);
    assert!(!rig.rt.accept_output(Some(&client), Some(zero), true)?);
    client.flush(zero)?;
    // Whether a byte is gone by then is the reactor's business, that the call returns is not.
    match client.send_wait("x", Some(zero)) {
        Ok(()) | Err(SendWaitError::TimedOut { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let dead_end = rig.dead_end()?;
    let refused = rig.client_at(dead_end).within(zero).start();
    let in_time = matches!(refused, Err(StartError::TimedOut { .. } | StartError::Sys { .. }));
    assert!(in_time, "{refused:?}");
    assert!(!late.get());
    Ok(())
});

// Whatever is awaited comes after a moment; only the arithmetic of the deadline is at stake.
conformance!(row_93_the_longest_time_waits_for_ever_and_overflows_nothing, |rig| {
    let (server, client, child) = rig.pair()?;
    rig.settle();
    let late = alarm(&rig.rt);
    let soon = |sender: &Process| {
        let sender = sender.clone();
        rig.rt.run_after(Duration::from_millis(5), move |_| assert!(sender.send("x").is_ok()));
    };
    for max in [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_secs(u64::MAX)] {
        let never = rig.rt.run_after(max, |_| panic!("for ever is over"));
        soon(&child);
        assert!(rig.rt.accept_output(Some(&client), Some(max), false)?);
        soon(&child);
        // The end of what the last round has deleted comes first, and is for no callback.
        while !rig.rt.turn(max)? {}
        rig.settle();
        client.clear_filter();
        soon(&child);
        let next = rig.rt.next_event(max)?;
        assert!(matches!(next, Some((from, Event::Input(_))) if from == client));
        soon(&child);
        assert!(matches!(rig.rt.next_event_of(&client, max)?, Some(Event::Input(_))));
        client.set_filter(|_, _| ());
        client.send_wait(vec![0; 1 << 20], Some(max))?;
        client.flush(max)?;
        let mut limits = Limits::default();
        limits.flush_within = max;
        let other = rig.client(&server).within(max).limits(limits).start()?;
        other.send("last words")?;
        other.delete_with(CloseHow::Flush { within: Duration::MAX });
        assert!(never.cancel());
    }
    assert!(!late.get());
    Ok(())
});

conformance!(row_94_who_cannot_send_says_so, |rig| {
    let (server, client, _child) = rig.pair()?;
    assert!(matches!(server.send("x"), Err(SendError::NotOpen(Status::Listen))));
    assert!(matches!(server.send_eof(), Err(FinishError::NotOpen(Status::Listen))));
    client.delete();
    assert!(matches!(client.send("x"), Err(SendError::NotOpen(Status::Closed))));
    assert!(matches!(client.send_eof(), Err(FinishError::NotOpen(Status::Closed))));
    assert_eq!((client.queued(), server.status()), (0, Status::Listen));
    Ok(())
});

conformance!(rows_98_99_100_101_what_packets_cannot_do_and_can, |rig| {
    let (_stream, client, _child) = rig.pair()?;
    let server = rig.server().datagram().start()?;
    let to = server.contact().local().clone();
    let sender = rig.rt.client("p").datagram().remote(to.clone()).sentinel(|_, _| ()).start()?;
    let not = DatagramAddressError::NotDatagram;
    assert_eq!((client.datagram_address(), client.set_datagram_address(&to)), (None, Err(not)));
    let six = "[0 0 0 0 0 0 0 1 9]".parse()?;
    let refused = sender.set_datagram_address(&six);
    assert!(matches!(refused, Err(DatagramAddressError::Family { .. })), "{refused:?}");
    assert_eq!(sender.datagram_address(), Some(to), "row 98");
    let refused = sender.send_wait(vec![0; 70_000], None);
    assert!(matches!(&refused, Err(SendWaitError::Refused(err)) if err.is_too_long()), "row 99");
    assert_eq!(sender.status(), Status::Open);
    assert!(matches!(server.send("x"), Err(SendError::NoPeer)), "row 100");
    sender.send("")?;
    sender.send("after")?;
    rig.until("both packets", || rig.log.inputs_of(&server).len() == 2);
    assert_eq!(rig.log.inputs_of(&server), [&b""[..], b"after"], "row 101");
    Ok(())
});

conformance!(rows_102_103_104_once_more_is_nothing_and_nobody_is_nobody, |rig| {
    let (server, client, child) = rig.pair()?;
    client.resume();
    client.stop();
    client.stop();
    client.resume();
    client.resume();
    child.send("x")?;
    rig.until_bytes(&client, b"x");
    assert_eq!(rig.log.of(&client), ["\"x\" (open)"], "row 102: no event");
    let id = client.id();
    client.delete();
    client.delete();
    assert_eq!(rig.log.of(&client)[1..], ["deleted (closed)"], "row 103: once");
    assert!(rig.rt.process_by_id(id).is_none(), "a stale id");
    let next = rig.connect(&server)?;
    assert!(next.id() != id && rig.rt.process_by_id(id).is_none(), "whoever has its place");
    let elsewhere = rig.another();
    let other = elsewhere.server("other").start()?;
    let waits = [
        rig.rt.accept_output(Some(&other), None, false).map(drop),
        rig.rt.next_event_of(&other, Duration::MAX).map(drop),
    ];
    for refused in waits {
        assert!(matches!(refused, Err(Error::NoSuchProcess(_))), "row 104: {refused:?}");
    }
    other.delete();
    assert_eq!(other.status(), Status::Closed, "its handle works where it lives");
    Ok(())
});

conformance!(row_105_waits_for_whom_has_ended_return_at_once, |rig| {
    let (_server, client, _child) = rig.pair()?;
    client.delete();
    assert!(!rig.rt.accept_output(Some(&client), None, false)?);
    assert!(!rig.rt.accept_output(Some(&client), None, true)?);
    assert!(rig.rt.next_event_of(&client, Duration::MAX)?.is_none());
    assert!(matches!(client.flush(Duration::MAX), Ok(()) | Err(SendWaitError::Send(_))));
    Ok(())
});

// Each call brings one byte and waits for the next: ten thousand would nest.
conformance!(row_105_filters_that_wait_nest_so_deep_and_no_deeper, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.rt.set_input_len_max(1);
    let (depth, deepest) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (refused, got) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let counts = [&depth, &deepest, &refused, &got].map(Rc::clone);
    child.set_filter(move |process, input| {
        let [depth, deepest, refused, got] = &counts;
        got.set(got.get() + input.len());
        depth.set(depth.get() + 1);
        deepest.set(deepest.get().max(depth.get()));
        let more = process.runtime().accept_output(Some(process), Some(Duration::ZERO), false);
        refused.set(refused.get() + usize::from(matches!(more, Err(Error::TooDeep(_)))));
        depth.set(depth.get() - 1);
    });
    client.send(vec![b'x'; 10_000])?;
    rig.until("all bytes", || got.get() == 10_000);
    assert!((2..=32).contains(&deepest.get()), "{} deep", deepest.get());
    assert!(refused.get() > 0, "none was refused");
    Ok(())
});

/// Deletes the first of a row of servers, the sentinel of each of which deletes the next.
fn topple(rt: &Runtime, count: usize) -> Outcome {
    let told = Rc::new(RefCell::new(Vec::new()));
    let mut next: Option<Process> = None;
    for _ in 0..count {
        let (told, behind) = (Rc::clone(&told), next.take());
        let server = rt.server("s").sentinel(move |process: &Process, _: &Event| {
            told.borrow_mut().push(process.id());
            behind.iter().for_each(Process::delete);
        });
        next = Some(server.start()?);
    }
    let listed: Vec<ProcessId> = rt.process_list().iter().map(Process::id).collect();
    next.ok_or("none")?.delete();
    assert_eq!((told.borrow().len(), rt.process_list().len()), (count, 0));
    assert!(*told.borrow() == listed, "each once, in order");
    Ok(())
}

conformance!(row_105_sentinels_that_delete_nest_no_deeper_either, |rig| { topple(&rig.rt, 300) });

/// As many frames as processes would not fit the stack.
#[test]
fn row_105_three_thousand_deletions_in_one_another() -> Outcome {
    let Some(rt) = Subject::Sim.runtime(Config::default()) else { return Ok(()) };
    topple(&rt, 3_000)
}
