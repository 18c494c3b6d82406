//! Sending that waits, and `flush`: what goes at once, what runs meanwhile, and how a wait ends.
//!
//! Emacs Lisp manual 28.2, "Input to Processes". DIFFERENCE: the wait may have a limit, and its errors
//! say how much was not sent.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    Address, CloseHow, Error, Event, Exit, Process, Reason, Runtime, SendError, SendWaitError,
    Status,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

/// More than a system keeps for a peer that does not read.
const MUCH: usize = 24 << 20;
/// Waits may be nested this deep.
const DEPTH_MAX: u32 = 32;

fn soon(rig: &Rig, job: impl FnOnce() + 'static) {
    rig.rt.run_after(Duration::from_millis(20), move |_| job());
}

conformance!(what_the_system_takes_at_once_goes_without_a_callback, |rig| {
    let (server, client, child) = rig.pair()?;
    let timer = Rc::new(Cell::new(false));
    let ran = Rc::clone(&timer);
    rig.rt.run_after(Duration::ZERO, move |_| ran.set(true));
    rig.log.clear();
    client.send_wait("one", None)?;
    child.send_wait("two", None)?;
    client.send_wait("three", Some(Duration::ZERO))?;
    client.flush(PATIENCE)?;
    assert_eq!((client.queued(), child.queued()), (0, 0));
    assert_eq!((rig.log.lines(), timer.get()), (vec![], false), "a callback has run");
    server.delete();
    rig.until_bytes(&child, b"onethree");
    rig.until_bytes(&client, b"two");
    assert!(timer.get(), "what was ready is there afterwards");
    Ok(())
});

// Several sends' worth: the filter of the peer, which is of the same runtime, would run between them.
conformance!(what_takes_the_system_several_sends_goes_without_a_callback_too, |rig| {
    let (_server, client, child) = rig.pair()?;
    let much = pattern(7, 100_000);
    rig.log.clear();
    client.send_wait(much.clone(), None)?;
    assert_eq!((client.queued(), rig.log.lines()), (0, vec![]), "a callback has run");
    rig.until_bytes(&child, &much);
    Ok(())
});

conformance!(a_call_posted_before_a_send_is_not_lost, |rig| {
    let (_server, client, _child) = rig.pair()?;
    for _ in 0..20 {
        let handle = rig.rt.handle();
        let poster = std::thread::spawn(move || handle.post(|rt| rt.shutdown()));
        poster.join().expect("it only posts")?;
        client.send_wait("x", None)?;
        let late = rig.rt.run_after(PATIENCE, |rt| rt.shutdown());
        rig.rt.run()?;
        assert!(late.cancel(), "the send has taken the wake-up");
    }
    Ok(())
});

conformance!(what_a_filter_sends_meanwhile_goes_behind_all_that_waits, |rig| {
    let poked = Cell::new(false);
    let log = rig.log.clone();
    let server = rig.server().filter(move |child, input| {
        log.input(child, &input);
        if poked.replace(true) { Ok(0) } else { child.send("poke") }
    });
    let server = server.start()?;
    let left = Rc::new(RefCell::new(Vec::new()));
    let after = Rc::clone(&left);
    let client = rig.client(&server).filter(move |client, _| {
        let sent = client.send_wait("[inner]", Some(PATIENCE));
        after.borrow_mut().push(client.queued());
        sent
    });
    let client = client.start()?;
    let child = rig.child(&server);
    let all = [pattern(3, MUCH), b"[outer]".to_vec()].concat();
    client.send_wait(all.clone(), Some(PATIENCE))?;
    assert_eq!(*left.borrow(), [0], "the inner call has waited for the whole queue");
    rig.until_bytes(&child, &[all, b"[inner]".to_vec()].concat());
    Ok(())
});

conformance!(a_time_limit_leaves_the_rest_queued_for_a_flush, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.stop();
    let bytes = pattern(5, MUCH);
    let queued = |sent: Result<(), SendWaitError>| match sent {
        Err(SendWaitError::TimedOut { queued }) => queued,
        other => panic!("{other:?}"),
    };
    let first = queued(client.send_wait(bytes.clone(), Some(Duration::from_millis(50))));
    assert!((1..=MUCH as u64).contains(&first), "{first}");
    assert_eq!(client.queued(), first);
    // A flush of no time only tries.
    assert_eq!(queued(client.flush(Duration::ZERO)), client.queued());
    assert_eq!(queued(client.flush(Duration::from_millis(20))), client.queued());
    child.resume();
    client.flush(PATIENCE)?;
    assert_eq!(client.queued(), 0);
    rig.until_bytes(&child, &bytes);
    Ok(())
});

conformance!(a_process_deleted_meanwhile_says_how_much_it_had_left, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.stop();
    let left = Rc::new(Cell::new(0));
    let (seen, victim) = (Rc::clone(&left), client.clone());
    soon(rig, move || {
        seen.set(victim.queued());
        victim.delete_with(CloseHow::Now);
    });
    let sent = client.send_wait(pattern(1, MUCH), Some(PATIENCE));
    let Err(SendWaitError::Deleted { unsent }) = sent else { panic!("{sent:?}") };
    assert_eq!(unsent, left.get());
    assert!((1..=MUCH as u64).contains(&unsent), "{unsent}");
    assert_eq!((client.exit(), client.status()), (Exit::Deleted, Status::Closed));
    assert_eq!(rig.log.of(&client), ["deleted (closed)"]);
    Ok(())
});

/// A send to a peer that resets the connection meanwhile.
fn reset(rig: &Rig, client: &Process, child: &Process) -> u64 {
    child.stop();
    let peer = child.clone();
    soon(rig, move || peer.delete_with(CloseHow::Reset));
    match client.send_wait(pattern(2, MUCH), Some(PATIENCE)) {
        Err(SendWaitError::Broken { reason: Reason::Sys(_), unsent }) => unsent,
        other => panic!("{other:?}"),
    }
}

conformance!(a_peer_gone_meanwhile_is_told_with_what_was_not_sent, |rig| {
    let (_server, client, child) = rig.pair()?;
    let unsent = reset(rig, &client, &child);
    assert!((1..=MUCH as u64).contains(&unsent), "{unsent}");
    assert_eq!(client.status(), Status::Closed);
    assert_eq!(rig.log.of(&client), ["connection broken by remote peer (closed)"]);
    let again = client.send_wait("x", None);
    let closed = SendError::NotOpen(Status::Closed);
    assert!(matches!(again, Err(SendWaitError::Send(err)) if err == closed), "{again:?}");
    Ok(())
});

conformance!(a_peer_gone_is_told_to_a_sender_whose_events_nobody_takes, |rig| {
    let server = rig.server().start()?;
    let client = rig.rt.client("pulled").remote(server.contact().local().clone()).start()?;
    let child = rig.child(&server);
    let unsent = reset(rig, &client, &child);
    assert!((1..=MUCH as u64).contains(&unsent), "{unsent}");
    let event = rig.rt.next_event_of(&client, PATIENCE)?;
    assert!(matches!(event, Some(Event::Broken { unsent: told, .. }) if told == unsent));
    assert_eq!(client.status(), Status::Closed);
    Ok(())
});

conformance!(a_stopped_process_still_sends_and_learns_that_its_peer_has_gone, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.stop();
    client.send_wait("stopped", Some(PATIENCE))?;
    rig.until_bytes(&child, b"stopped");
    let unsent = reset(rig, &client, &child);
    assert!((1..=MUCH as u64).contains(&unsent), "{unsent}");
    assert_eq!(rig.log.of(&client), [""; 0], "a stop lies over its end");
    client.resume();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    Ok(())
});

conformance!(a_connecting_process_is_waited_for, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).nowait(true).start()?;
    assert_eq!(client.status(), Status::Connect);
    client.send_wait("early", Some(PATIENCE))?;
    assert_eq!((client.status(), client.queued()), (Status::Open, 0));
    rig.until_bytes(&rig.child(&server), b"early");
    assert_eq!(rig.log.of(&client), ["open (open)"]);

    let flushed = rig.client(&server).nowait(true).start()?;
    flushed.send("queued")?;
    flushed.flush(PATIENCE)?;
    assert_eq!((flushed.status(), flushed.queued()), (Status::Open, 0));

    let refused = rig.client_at(rig.dead_end()?).nowait(true).start()?;
    let sent = refused.send_wait("x", Some(PATIENCE));
    let failed = SendError::NotOpen(Status::Failed);
    assert!(matches!(sent, Err(SendWaitError::Send(err)) if err == failed), "{sent:?}");
    Ok(())
});

conformance!(a_refused_packet_is_an_error_and_the_process_lives, |rig| {
    let server = rig.server().datagram().start()?;
    let client = rig.client(&server).datagram().start()?;
    for len in [65_508, 70_000] {
        let sent = client.send_wait(vec![0; len], None);
        assert!(matches!(&sent, Err(SendWaitError::Refused(err)) if err.is_too_long()), "{sent:?}");
        assert_eq!((client.status(), client.queued()), (Status::Open, 0));
        client.flush(PATIENCE)?;
    }
    client.send_wait(vec![7; 65_507], None)?;
    client.send_wait("", None)?;
    client.send_wait("next", None)?;
    rig.until("the packets", || rig.log.inputs_of(&server).len() == 3);
    assert_eq!(rig.log.inputs_of(&server).concat().len(), 65_507 + 4);
    assert_eq!(rig.log.of(&client), [""; 0], "the caller knows, nobody else is told");
    Ok(())
});

conformance!(who_cannot_send_is_refused_at_once, |rig| {
    let (server, client, child) = rig.pair_at(rig.server().half_open(true))?;
    client.send_eof()?;
    child.delete();
    let packets = rig.server().datagram().start()?;
    let cases = [
        (&server, SendError::NotOpen(Status::Listen)),
        (&client, SendError::Finished),
        (&child, SendError::NotOpen(Status::Closed)),
        (&packets, SendError::NoPeer),
    ];
    for (process, expected) in cases {
        let sent = process.send_wait("x", None);
        let name = process.name();
        assert!(
            matches!(sent, Err(SendWaitError::Send(err)) if err == expected),
            "{name}: {sent:?}, expected {expected:?}"
        );
        assert_eq!(process.queued(), 0, "{name}");
    }
    client.flush(PATIENCE)?;
    Ok(())
});

/// Runs `job` inside as many waits as there may be.
fn at_the_bottom(rt: &Runtime, job: Rc<dyn Fn()>) {
    let inner = Rc::clone(&job);
    let timer = rt.run_after(Duration::ZERO, move |rt| at_the_bottom(rt, inner));
    let turned = loop {
        match rt.turn(Duration::from_millis(5)) {
            Ok(true) => {}
            other => break other,
        }
    };
    if let Err(err) = turned {
        assert!(matches!(err, Error::TooDeep(DEPTH_MAX)), "{err}");
        assert!(timer.cancel());
        job();
    }
}

conformance!(in_callbacks_nested_too_deep_a_send_only_queues, |rig| {
    let (_server, client, child) = rig.pair()?;
    let done = Rc::new(Cell::new(0));
    let (sender, count) = (client.clone(), Rc::clone(&done));
    let bytes = pattern(9, 2 << 20);
    let sent = bytes.clone();
    at_the_bottom(
        &rig.rt,
        Rc::new(move || {
            count.set(count.get() + 1);
            sender.send_wait(sent.clone(), Some(PATIENCE)).expect("there is room");
            assert_eq!(sender.queued(), 2 << 20, "it has not waited");
            let full = sender.send_wait("more", Some(PATIENCE));
            let full = matches!(full, Err(SendWaitError::Send(SendError::QueueFull { .. })));
            assert!(full, "the bound holds");
            let flushed = sender.flush(PATIENCE);
            let Err(SendWaitError::Runtime(err)) = flushed else { panic!("{flushed:?}") };
            assert!(matches!(*err, Error::TooDeep(DEPTH_MAX)), "{err}");
        }),
    );
    assert_eq!(done.get(), 1);
    rig.until_bytes(&child, &bytes);
    Ok(())
});

conformance!(both_ends_may_move_much_at_once, |rig| {
    let (up, down) = (pattern(1, 8 << 20), pattern(2, 8 << 20));
    let (log, bytes) = (rig.log.clone(), down.clone());
    let server = rig.server().sentinel(move |child, event| {
        log.event(child, event);
        let opened = matches!(event, Event::OpenFrom(_));
        if opened { child.send_wait(bytes.clone(), Some(PATIENCE)) } else { Ok(()) }
    });
    let server = server.start()?;
    let failed = Rc::new(RefCell::new(Vec::new()));
    let list = Rc::clone(&failed);
    rig.rt.on_callback_error(move |err| list.borrow_mut().push(err.to_string()));
    let client = rig.connect(&server)?;
    client.send_wait(up.clone(), Some(PATIENCE))?;
    assert_eq!(client.queued(), 0);
    let child = rig.child(&server);
    rig.until_bytes(&child, &up);
    rig.until_bytes(&client, &down);
    assert_eq!(*failed.borrow(), [""; 0]);
    Ok(())
});

conformance!(an_echo_that_waits_for_its_sends_loses_nothing, |rig| {
    let bytes = pattern(4, 8 << 20);
    let server = rig.server().filter(|child, input| child.send_wait(input, Some(PATIENCE)));
    let failed = Rc::new(RefCell::new(Vec::new()));
    let list = Rc::clone(&failed);
    rig.rt.on_callback_error(move |err| list.borrow_mut().push(err.to_string()));
    let (_server, client, _child) = rig.pair_at(server)?;
    client.send_wait(bytes.clone(), Some(PATIENCE))?;
    rig.until("all bytes", || rig.log.len_of(&client) >= bytes.len());
    rig.until_bytes(&client, &bytes);
    assert_eq!(*failed.borrow(), [""; 0]);
    Ok(())
});

// The simulation is one runtime's own: two on two threads need the system.
conformance!(on (poll epoll uring): two_threads_move_much_both_ways_at_once, |rig| {
    let (up, down) = (pattern(1, 8 << 20), pattern(2, 8 << 20));
    let server = rig.server().start()?;
    let to = server.contact().local().clone();
    let (subject, theirs, expected) = (rig.subject, up.clone(), down.clone());
    let other = std::thread::spawn(move || {
        let rig = Rig::new(subject, netproc::Config::default()).expect("the first could be made");
        let client = rig.client_at(to).start().expect("somebody listens");
        client.send_wait(theirs, Some(PATIENCE)).expect("it is read meanwhile");
        rig.until_bytes(&client, &expected);
        client.delete();
        drop(client);
        rig.tear_down();
    });
    let child = rig.child(&server);
    child.send_wait(down, Some(PATIENCE))?;
    rig.until_bytes(&child, &up);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    other.join().expect("the client's end has worked");
    Ok(())
});

conformance!(a_sender_that_waits_for_the_connection_leaves_its_news_to_whoever_pulls, |rig| {
    let server = rig.server().start()?;
    let client = |to: &Address| rig.rt.client("pulled").remote(to.clone()).nowait(true).start();
    let next = |client: &Process| rig.rt.next_event_of(client, PATIENCE);
    let sent = client(server.contact().local())?;
    sent.send_wait("sent", Some(PATIENCE))?;
    assert!(matches!(next(&sent)?, Some(Event::Open)));
    let flushed = client(server.contact().local())?;
    flushed.send("flushed")?;
    flushed.flush(PATIENCE)?;
    // Another wait, in which nobody takes it either.
    rig.rt.accept_output(None, Some(Duration::ZERO), false)?;
    assert!(matches!(next(&flushed)?, Some(Event::Open)));
    let failed = client(&rig.dead_end()?)?;
    let unsent = failed.send_wait("x", Some(PATIENCE));
    assert!(matches!(unsent, Err(SendWaitError::Send(SendError::NotOpen(Status::Failed)))));
    assert!(matches!(next(&failed)?, Some(Event::Failed(_))));
    server.delete();
    for child in rig.connections(&server) {
        child.delete();
    }
    assert!(matches!(next(&sent)?, Some(Event::Broken { .. })), "it is told once");
    Ok(())
});

conformance!(what_was_asked_for_waits_until_a_sender_is_connected, |rig| {
    let server = rig.server().start()?;
    let to = server.contact().local().clone();
    let client = rig.rt.client("pulled").remote(to).nowait(true).start()?;
    client.notify_drained();
    client.send_wait("sent", Some(PATIENCE))?;
    assert!(matches!(rig.rt.next_event_of(&client, PATIENCE)?, Some(Event::Drained)));
    assert!(matches!(rig.rt.next_event_of(&client, PATIENCE)?, Some(Event::Open)));
    Ok(())
});
