//! Edges: bounds that count what weighs nothing, waits that end, user code that runs on a drop.

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{Event, Limits, Process, Reason, Runtime, SendError, Status, Value};
use netproc_tests::conformance;

/// Runs something of the runtime when it is dropped, as a user's own value may.
struct Guard {
    rt: Runtime,
    dropped: Rc<Cell<bool>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = (self.rt.process_list(), self.rt.stats());
        self.dropped.set(true);
    }
}

fn guard(rt: &Runtime) -> (Guard, Rc<Cell<bool>>) {
    let dropped = Rc::new(Cell::new(false));
    (Guard { rt: rt.clone(), dropped: Rc::clone(&dropped) }, dropped)
}

conformance!(empty_packets_fill_a_queue_too, |rig| {
    let mut limits = Limits::default();
    limits.queue_packets_max = 3;
    let server = rig.server().datagram().limits(limits).start()?;
    let to = server.contact().local().clone();
    for _ in 0..3 {
        assert_eq!(server.send_to("", &to), Ok(0));
    }
    let refused = server.send_to("", &to);
    assert!(matches!(refused, Err(SendError::QueueFull { queued: 0, .. })), "{refused:?}");
    rig.settle();
    assert_eq!(server.send_to("", &to), Ok(0), "there is room again");
    let client = rig.client(&server).datagram().limits(limits).start()?;
    while client.send("").is_ok() {}
    rig.until_line(&client, "output drained (open)");
    assert_eq!(client.send(""), Ok(0), "there is room again");
    Ok(())
});

conformance!(a_half_open_connection_ends_when_both_halves_have, |rig| {
    let server = rig.echo().half_open(true);
    let (_server, client, child) = rig.pair_at(server)?;
    client.send("last words")?;
    client.send_eof()?;
    rig.until_line(&child, "input ended by remote peer (open)");
    child.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.until_line(&client, "connection broken by remote peer (closed)");
    Ok(())
});

conformance!(waiting_for_output_ends_with_the_process, |rig| {
    let heard = Rc::new(Cell::new(0));
    let count = Rc::clone(&heard);
    let server = rig.echo().start()?;
    let client = rig
        .rt
        .client("c")
        .remote(server.contact().local().clone())
        .sentinel(move |_, _| count.set(count.get() + 1))
        .start()?;
    rig.until("a connection", || rig.children(&server) == 1);
    rig.child(&server).delete();
    let mut rounds = 0;
    while rig.rt.accept_output(Some(&client), None, false)? {
        rounds += 1;
        assert!(rounds < 10, "nothing was ever sent");
    }
    rig.until("its event", || heard.get() == 1);
    assert_eq!(client.status(), Status::Closed);
    assert_eq!(rig.rt.next_event_of(&client, Duration::from_secs(3600))?, None, "at once");
    Ok(())
});

conformance!(run_leaves_nothing_stored_behind, |rig| {
    let heard = Rc::new(Cell::new(None));
    let told = Rc::clone(&heard);
    let (server, client, child) = rig.pair()?;
    let (_other_server, other, _) = rig.pair()?;
    client.set_sentinel(move |_, event: &Event| {
        if let Event::Broken { reason, .. } = event {
            told.set(Some(*reason == Reason::End));
        }
    });
    child.delete();
    // The end of `client` comes while only `other` is served, and is kept.
    rig.rt.accept_output(Some(&other), Some(Duration::from_millis(50)), true)?;
    assert_eq!(heard.get(), None);
    server.delete();
    for process in rig.rt.process_list() {
        if process != client {
            process.delete();
        }
    }
    rig.rt.run()?;
    assert_eq!(heard.get(), Some(true));
    Ok(())
});

conformance!(a_failed_start_drops_its_closures_where_they_may_do_anything, |rig| {
    let server = rig.server().start()?;
    let (guard, dropped) = guard(&rig.rt);
    let second = rig
        .rt
        .server("second")
        .local(server.contact().local().clone())
        .filter(move |_: &Process, _| assert!(!guard.dropped.get()))
        .start();
    assert!(second.is_err(), "the address is taken");
    assert!(dropped.get());
    Ok(())
});

conformance!(a_property_of_a_deleted_process_may_do_anything_when_it_goes, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.stop();
    client.send("never read")?;
    rig.settle();
    let (guard, dropped) = guard(&rig.rt);
    child.put("guard", Value::Opaque(Rc::new(guard)));
    child.resume();
    child.delete();
    drop(child);
    rig.settle();
    assert!(dropped.get());
    Ok(())
});

conformance!(asking_for_drained_in_its_own_event_lets_others_go_on, |rig| {
    let (_server, client, _child) = rig.pair()?;
    client.set_sentinel(|client: &Process, event: &Event| {
        if *event == Event::Drained {
            client.notify_drained();
        }
    });
    client.notify_drained();
    let rounds = Rc::new(Cell::new(0));
    let passed = Rc::clone(&rounds);
    rig.rt.run_after(Duration::from_millis(5), move |_| passed.set(1));
    rig.until("the timer", || rounds.get() == 1);
    client.set_sentinel(|_, _| ());
    Ok(())
});

conformance!(a_hook_that_panics_ends_nothing, |rig| {
    let server = rig.server().filter(|_, _| Err::<(), _>("on purpose"));
    let (_server, client, child) = rig.pair_at(server)?;
    rig.rt.on_callback_error(|_| panic!("the hook, on purpose"));
    client.send("x")?;
    rig.settle();
    assert_eq!(child.status(), Status::Open);
    Ok(())
});
