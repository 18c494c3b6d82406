//! What was accepted and cannot go any more: nothing of it vanishes silently, however late it came.
//!
//! The end of a socket may be known to the system, to the reactor and to the engine before its process is told.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{ChildSignal, CloseHow, Event, Process, SendWaitError, SpawnBuilder};
use netproc_tests::{
    conformance,
    layers::glass,
    rig::{PATIENCE, Rig},
};
use nix::{errno::Errno, sys::signal, unistd::Pid};

/// What a callback saw, for whoever asks afterwards.
type Seen<T> = Rc<RefCell<Vec<T>>>;

/// A sentinel that keeps how many bytes an end says were not sent.
fn ends(rig: &Rig) -> (Seen<u64>, impl Fn(&Process, &Event) + 'static) {
    let (seen, log) = (Seen::default(), rig.log.sentinel());
    let told = Rc::clone(&seen);
    let sentinel = move |process: &Process, event: &Event| {
        if let Event::Broken { unsent, .. } | Event::Ended { unsent, .. } = event {
            told.borrow_mut().push(*unsent);
        }
        log(process, event);
    };
    (seen, sentinel)
}

/// Has the peer of `client` send a question and reset the connection, before the client can read it.
fn ask_and_reset(rig: &Rig, client: &Process, peer: &Process) -> Result<(), netproc::Error> {
    client.stop();
    peer.send("q")?;
    rig.settle();
    peer.delete_with(CloseHow::Reset);
    rig.settle();
    client.resume();
    Ok(())
}

conformance!(an_answer_to_who_has_reset_counts_as_unsent, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (seen, sentinel) = ends(rig);
    client.set_sentinel(sentinel);
    client.set_filter(|client: &Process, _| client.send("reply").map(drop));
    ask_and_reset(rig, &client, &child)?;
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(*seen.borrow(), [5]);
    Ok(())
});

conformance!(who_waits_for_an_answer_to_go_to_who_has_reset_is_told, |rig| {
    let (_server, client, child) = rig.pair()?;
    let waited = Seen::default();
    let told = Rc::clone(&waited);
    client.set_filter(move |client: &Process, _| {
        told.borrow_mut().push(client.send_wait("reply", Some(PATIENCE)));
    });
    ask_and_reset(rig, &client, &child)?;
    rig.until_line(&client, "connection broken by remote peer (closed)");
    let waited = waited.borrow();
    let [Err(SendWaitError::Broken { unsent: 5, .. })] = waited[..] else { panic!("{waited:?}") };
    Ok(())
});

conformance!(who_deletes_a_process_behind_a_reset_is_told_what_it_had_left, |rig| {
    let (_server, client, child) = rig.pair()?;
    let flushed = Seen::default();
    let told = Rc::clone(&flushed);
    client.set_filter(move |client: &Process, _| {
        let sent = client.send("reply");
        client.delete();
        told.borrow_mut().push(client.flush(PATIENCE));
        sent.map(drop)
    });
    ask_and_reset(rig, &client, &child)?;
    rig.until_line(&client, "deleted (closed)");
    let flushed = flushed.borrow();
    let [Err(SendWaitError::Deleted { unsent: 5 })] = flushed[..] else { panic!("{flushed:?}") };
    Ok(())
});

/// A stopped process whose end waits for it: its peer has ended, and then reset the connection.
fn over_but_stopped(rig: &Rig) -> Result<Process, Box<dyn std::error::Error>> {
    let server = rig.server().start()?;
    let client = rig.client(&server).half_open(true).start()?;
    let child = rig.child(&server);
    child.send_eof()?;
    rig.until("the peer's end", || !rig.log.of(&client).is_empty());
    client.stop();
    child.delete_with(CloseHow::Reset);
    rig.settle();
    Ok(client)
}

conformance!(what_a_stopped_process_sends_behind_its_end_counts_as_unsent, |rig| {
    let client = over_but_stopped(rig)?;
    let (seen, sentinel) = ends(rig);
    client.set_sentinel(sentinel);
    client.send("reply")?;
    let waited = client.send_wait("!", Some(PATIENCE));
    let Err(SendWaitError::Broken { unsent: 6, .. }) = waited else { panic!("{waited:?}") };
    client.resume();
    rig.until("its end", || *seen.borrow() == [6]);
    Ok(())
});

conformance!(a_process_deleted_behind_its_end_says_what_it_had_left, |rig| {
    let client = over_but_stopped(rig)?;
    client.send("reply")?;
    client.delete();
    let flushed = client.flush(PATIENCE);
    let Err(SendWaitError::Deleted { unsent: 5 }) = flushed else { panic!("{flushed:?}") };
    Ok(())
});

/// A child of a shell's that logs its output.
fn sh(rig: &Rig, script: &str) -> SpawnBuilder {
    rig.rt.spawn_process("p", "sh").args(["-c", script]).filter(rig.log.filter())
}

/// Waits, without a turn of the runtime, until the system has forgotten a child.
fn await_gone(child: &Process) {
    let (begin, pid) = (Instant::now(), child.pid().expect("it stands for a child"));
    while signal::kill(Pid::from_raw(pid.cast_signed()), None) != Err(Errno::ESRCH) {
        assert!(begin.elapsed() < PATIENCE, "it does not end");
        std::thread::yield_now();
    }
}

conformance!(on (poll epoll uring): an_answer_to_a_child_that_has_ended_counts_as_unsent, |rig| {
    let (seen, sentinel) = ends(rig);
    let child = sh(rig, "echo bye").sentinel(sentinel);
    let child = child.filter(|child: &Process, _| child.send("reply").map(drop)).start()?;
    await_gone(&child);
    rig.until("its end", || *seen.borrow() == [5]);
    Ok(())
});

conformance!(on (poll epoll uring): the_end_of_a_child_is_told_to_a_filter_that_listens_no_more, |rig| {
    let (seen, sentinel) = ends(rig);
    let child = sh(rig, "echo bye; echo bye").sentinel(sentinel);
    let child = child.filter(|child: &Process, _| {
        child.ignore_input();
        child.send("reply").map(drop)
    });
    let child = child.start()?;
    await_gone(&child);
    rig.until("its end", || *seen.borrow() == [5]);
    Ok(())
});

conformance!(on (poll epoll uring): a_child_that_is_deleted_says_what_nobody_read, |rig| {
    let (seen, sentinel) = ends(rig);
    let child = sh(rig, "exec </dev/null; echo on; sleep 1000").sentinel(sentinel).start()?;
    rig.until_bytes(&child, b"on\n");
    child.send(vec![0; 1 << 20])?;
    rig.until("its trouble", || child.queued() == 0);
    child.delete();
    // A program that is being started elsewhere may keep the pipe open for a moment, and then it takes something.
    assert_eq!(*seen.borrow(), [(1 << 20) - rig.rt.stats().sent]);
    Ok(())
});

conformance!(an_answer_through_a_layer_to_who_has_reset_counts_as_unsent, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.upgrade(glass())?;
    rig.settle();
    let (seen, sentinel) = ends(rig);
    client.set_sentinel(sentinel);
    client.set_filter(|client: &Process, _| client.send("reply").map(drop));
    ask_and_reset(rig, &client, &child)?;
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(*seen.borrow(), [5]);
    Ok(())
});

conformance!(on (poll epoll uring): each_of_two_who_wait_is_told_that_a_child_reads_no_more, |rig| {
    let script = "trap 'exec </dev/null; echo off' USR1; echo on; while :; do sleep 0.01 </dev/null; done";
    let child = sh(rig, script).start()?;
    rig.until_bytes(&child, b"on\n");
    let inner = Seen::default();
    let (told, sender) = (Rc::clone(&inner), child.clone());
    rig.rt.run_after(Duration::from_millis(20), move |_| {
        sender.signal(ChildSignal::USR1).expect("it is there");
        told.borrow_mut().push(sender.send_wait("x", Some(PATIENCE)));
    });
    let outer = child.send_wait(vec![0; 2 << 20], Some(PATIENCE));
    assert!(matches!(outer, Err(SendWaitError::Refused(_))), "{outer:?}");
    let inner = inner.borrow();
    assert!(matches!(inner[..], [Err(SendWaitError::Refused(_))]), "{inner:?}");
    Ok(())
});
