//! When a refused sender is told that there is room: when there is, once, and not where nothing can be sent.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{Event, Process, SendError, Status};
use netproc_tests::{
    conformance,
    contract::pattern,
    layers::silence,
    rig::{PATIENCE, Rig},
};

/// More than a system keeps for a peer that does not read.
const MUCH: usize = 24 << 20;

/// What was queued whenever `process` was told that its queue has drained.
fn drained(rig: &Rig, process: &Process) -> Rc<RefCell<Vec<u64>>> {
    let (told, log) = (Rc::<RefCell<Vec<u64>>>::default(), rig.log.sentinel());
    let seen = Rc::clone(&told);
    process.set_sentinel(move |process: &Process, event: &Event| {
        if *event == Event::Drained {
            seen.borrow_mut().push(process.queued());
        }
        log(process, event);
    });
    told
}

/// Sends `process` more than it may queue, to a peer that does not read.
fn refuse(process: &Process, peer: &Process) -> Result<(), SendError> {
    peer.stop();
    process.send(pattern(1, MUCH))?;
    let refused = process.send("x");
    assert!(matches!(refused, Err(SendError::QueueFull { .. })), "{refused:?}");
    Ok(())
}

conformance!(who_fills_the_queue_just_before_is_not_told_that_it_has_drained, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (told, received) = (drained(rig, &child), Rc::new(Cell::new(0)));
    let (low, filled) = (child.limits().queue_len_low, Cell::new(false));
    child.set_filter(move |child: &Process, _| {
        // What has gone in this round is not reported yet.
        if child.queued() > low || filled.replace(true) {
            return Ok(());
        }
        child.send(pattern(2, MUCH)).map(drop)
    });
    let count = Rc::clone(&received);
    client.set_filter(move |client: &Process, input| {
        count.set(count.get() + input.len());
        client.send("go on").map(drop)
    });
    refuse(&child, &client)?;
    rig.settle();
    client.resume();
    rig.until("both", || received.get() == 2 * MUCH);
    assert!(!told.borrow().is_empty(), "it was told of no room");
    assert!(told.borrow().iter().all(|&queued| queued <= low), "{told:?}");
    Ok(())
});

conformance!(who_takes_no_events_gathers_none_of_them, |rig| {
    let server = rig.server().filter(|_, _| {}).start()?;
    let client = rig.rt.client("pulled").remote(server.contact().local().clone()).start()?;
    let child = rig.child(&server);
    for _ in 0..3 {
        refuse(&client, &child)?;
        child.resume();
        client.flush(PATIENCE)?;
    }
    assert!(matches!(rig.rt.next_event_of(&client, PATIENCE)?, Some(Event::Drained)));
    client.notify_drained();
    client.notify_drained();
    assert!(matches!(rig.rt.next_event_of(&client, PATIENCE)?, Some(Event::Drained)));
    server.delete();
    child.delete();
    let event = rig.rt.next_event_of(&client, PATIENCE)?;
    assert!(matches!(event, Some(Event::Broken { .. })), "{event:?}");
    Ok(())
});

conformance!(who_can_send_no_more_is_not_told_of_room, |rig| {
    let (_server, client, child) = rig.pair()?;
    let told = drained(rig, &client);
    refuse(&client, &child)?;
    client.send_eof()?;
    child.resume();
    rig.until("all of it", || rig.log.len_of(&child) == MUCH);
    rig.settle();
    assert_eq!(*told.borrow(), [0; 0], "it has ended sending itself");

    let (_server, client, child) = rig.pair()?;
    let told = drained(rig, &child);
    refuse(&child, &client)?;
    client.send_eof()?;
    rig.settle();
    client.resume();
    rig.until("the end", || child.status() == Status::Closed);
    assert_eq!(*told.borrow(), [0; 0], "its peer has ended");
    Ok(())
});

conformance!(nothing_is_told_of_a_process_deleted_in_a_wait_for_its_upgrade, |rig| {
    let server = rig.server().start()?;
    let client = rig.rt.client("pulled").remote(server.contact().local().clone()).start()?;
    client.upgrade(silence())?;
    client.notify_drained();
    let victim = client.clone();
    rig.rt.run_after(Duration::from_millis(20), move |_| {
        victim.delete();
    });
    client.flush(PATIENCE)?;
    assert_eq!(client.status(), Status::Closed);
    let told = rig.rt.next_event_of(&client, Duration::ZERO)?;
    assert!(told.is_none(), "{told:?}");
    Ok(())
});
