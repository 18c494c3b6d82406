//! Every way to wait: what it serves, what it answers, when it returns.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use netproc::{Event, Process, Runtime, Status};
use netproc_tests::{
    conformance,
    rig::{PATIENCE, Rig},
};

/// Long enough that what is under way arrives, short enough to wait out.
const MOMENT: Duration = Duration::from_millis(50);

/// A flag that a timer of the rig's runtime raises after `delay`: the runtime's own clock, whether
/// it is virtual or not.
fn alarm(rt: &Runtime, delay: Duration) -> Rc<Cell<bool>> {
    let raised = Rc::new(Cell::new(false));
    let flag = Rc::clone(&raised);
    rt.run_after(delay, move |_| flag.set(true));
    raised
}

/// A pair that sends one byte back and forth for ever.
fn traffic(rig: &Rig) -> netproc::Result<(Process, Process)> {
    let server = rig.rt.server("busy").filter(Process::send).sentinel(|_, _| ()).start()?;
    let client = rig.rt.client("busy client").remote(server.contact().local().clone());
    let client = client.filter(Process::send).sentinel(|_, _| ()).start()?;
    client.send("x")?;
    Ok((server, client))
}

conformance!(accept_output_says_whether_the_process_had_output, |rig| {
    let (server, client, child) = rig.pair()?;
    let other = rig.connect(&server)?;
    rig.settle();
    let accept = |process: &Process, time| rig.rt.accept_output(Some(process), Some(time), false);
    assert!(!accept(&child, Duration::ZERO)?, "nothing there");
    assert!(!accept(&child, MOMENT)?, "nothing came");
    client.send("x")?;
    assert!(accept(&child, PATIENCE)?);
    assert_eq!(rig.log.bytes_of(&child), b"x");
    other.send("others do not count")?;
    let raised = alarm(&rig.rt, MOMENT / 2);
    assert!(!accept(&child, MOMENT)?);
    assert!(raised.get(), "it waited all the time");
    rig.settle();
    child.stop();
    client.send("y")?;
    assert!(!accept(&child, MOMENT)?, "stopped: no output");
    child.resume();
    assert!(accept(&child, PATIENCE)?);
    Ok(())
});

conformance!(accept_output_without_a_time_waits_for_the_process, |rig| {
    let (_server, client, child) = rig.pair()?;
    let sender = client.clone();
    rig.rt.run_after(MOMENT, move |_| assert!(sender.send("late").is_ok()));
    assert!(rig.rt.accept_output(Some(&child), None, false)?);
    assert_eq!(rig.log.bytes_of(&child), b"late");
    rig.rt.run_after(MOMENT, move |_| client.delete());
    assert!(!rig.rt.accept_output(Some(&child), None, false)?, "its end is no output");
    assert_eq!(child.status(), Status::Closed);
    assert!(!rig.rt.accept_output(Some(&child), None, false)?, "at once after the end");
    assert!(!rig.rt.accept_output(Some(&child), Some(PATIENCE), true)?);
    Ok(())
});

conformance!(accept_output_of_a_process_that_ends_delivers_the_rest_first, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.send("last")?;
    client.delete();
    assert!(rig.rt.accept_output(Some(&child), Some(PATIENCE), false)?);
    assert_eq!(rig.log.bytes_of(&child), b"last");
    Ok(())
});

conformance!(accept_output_of_nobody_handles_what_is_ready, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.settle();
    assert!(!rig.rt.accept_output(None, None, false)?);
    let raised = alarm(&rig.rt, MOMENT / 2);
    assert!(!rig.rt.accept_output(None, Some(MOMENT), false)?);
    assert!(raised.get(), "it waited all the time");
    client.send("x")?;
    let late = alarm(&rig.rt, PATIENCE / 2);
    assert!(rig.rt.accept_output(None, Some(PATIENCE), false)?);
    assert!(!late.get(), "it went on for a moment only");
    rig.until_bytes(&child, b"x");
    Ok(())
});

conformance!(accept_output_of_a_server_waits_for_a_connection, |rig| {
    let server = rig.server().start()?;
    assert!(!rig.rt.accept_output(Some(&server), Some(MOMENT), false)?);
    let _client = rig.client(&server).nowait(true).start()?;
    let late = alarm(&rig.rt, PATIENCE / 2);
    assert!(!rig.rt.accept_output(Some(&server), Some(PATIENCE), false)?, "not output");
    assert!(!late.get());
    assert_eq!(rig.children(&server), 1);
    Ok(())
});

conformance!(output_delivered_by_a_nested_wait_counts, |rig| {
    let (server, client, child) = rig.pair()?;
    let other_client = rig.connect(&server)?;
    rig.until("both", || rig.children(&server) == 2);
    let other = rig.child(&server);
    let awaited = child.clone();
    other.set_filter(move |process, _| {
        process.runtime().accept_output(Some(&awaited), Some(PATIENCE), false).map(drop)
    });
    other_client.send("x")?;
    let sender = client.clone();
    rig.rt.run_after(MOMENT, move |_| assert!(sender.send("inside").is_ok()));
    assert!(rig.rt.accept_output(Some(&child), Some(PATIENCE), false)?);
    assert_eq!(rig.log.bytes_of(&child), b"inside");
    other.clear_filter();
    Ok(())
});

conformance!(a_deadline_is_a_deadline_under_any_traffic, |rig| {
    let (server, client) = traffic(rig)?;
    let (_quiet_server, _quiet_client, quiet) = rig.pair()?;
    let (early, late) = (alarm(&rig.rt, MOMENT / 2), alarm(&rig.rt, PATIENCE / 2));
    assert!(!rig.rt.accept_output(Some(&quiet), Some(MOMENT), false)?);
    assert!(early.get() && !late.get());
    assert!(rig.rt.accept_output(None, Some(MOMENT), false)?, "there is always some");
    assert!(!late.get());
    quiet.clear_filter();
    assert!(rig.rt.next_event(MOMENT)?.is_none());
    assert!(rig.rt.next_event_of(&quiet, MOMENT)?.is_none());
    assert!(!late.get());
    server.delete();
    client.delete();
    Ok(())
});

conformance!(a_closing_event_comes_under_any_traffic_of_others, |rig| {
    let (server, busy) = traffic(rig)?;
    let (_other, client, child) = rig.pair()?;
    client.delete();
    assert!(!rig.rt.accept_output(Some(&child), Some(PATIENCE), false)?);
    assert_eq!(child.status(), Status::Closed);
    server.delete();
    busy.delete();
    Ok(())
});

conformance!(just_this_one_leaves_the_others_waiting_in_order, |rig| {
    let (server, client, child) = rig.pair()?;
    let first = rig.connect(&server)?;
    rig.until("both", || rig.children(&server) == 2);
    let other = rig.child(&server);
    rig.settle();
    rig.log.clear();
    first.send("a")?;
    let late = rig.client(&server).nowait(true).start()?;
    late.send("b")?;
    assert!(!rig.rt.accept_output(Some(&child), Some(MOMENT), true)?);
    first.send("c")?;
    first.delete();
    client.send("mine")?;
    assert!(rig.rt.accept_output(Some(&child), Some(PATIENCE), true)?);
    assert!(!rig.rt.accept_output(Some(&child), Some(MOMENT), true)?);
    let deleted = "client<1>: deleted (closed)";
    assert_eq!(rig.log.lines(), [deleted, "child: \"mine\" (open)"], "nobody else was served");
    assert_eq!((other.status(), late.status()), (Status::Open, Status::Connect));
    rig.until_line(&other, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.of(&other), ["\"ac\" (open)", "connection broken by remote peer (closed)"]);
    rig.until("the late one", || rig.children(&server) == 2);
    let last = rig.child(&server);
    rig.until_bytes(&last, b"b");
    assert_eq!(rig.log.of(&last), ["open from 127.0.0.1 (open)", "\"b\" (open)"]);
    assert_eq!(rig.log.of(&late), ["open (open)"]);
    Ok(())
});

conformance!(just_this_one_in_a_filter_keeps_every_stream_whole, |rig| {
    let (server, client, child) = rig.pair()?;
    let other_client = rig.connect(&server)?;
    rig.until("both", || rig.children(&server) == 2);
    let other = rig.child(&server);
    let bytes = netproc_tests::contract::pattern(2, 500_000);
    let (log, only) = (rig.log.clone(), other.clone());
    child.set_filter(move |process, input| {
        log.input(process, &input);
        process.runtime().accept_output(Some(&only), Some(Duration::from_millis(1)), true).map(drop)
    });
    client.send(bytes.clone())?;
    other_client.send(bytes.clone())?;
    rig.until_bytes(&child, &bytes);
    rig.until_bytes(&other, &bytes);
    child.clear_filter();
    Ok(())
});

conformance!(without_callbacks_everything_comes_by_next_event, |rig| {
    let server = rig.rt.server("srv").start()?;
    let client = rig.rt.client("client").remote(server.contact().local().clone());
    let client = client.nowait(true).start()?;
    client.send("hello")?;
    let (mut of_client, mut of_child) = (Vec::new(), Vec::new());
    while of_child.len() < 2 || of_client.is_empty() {
        let (process, event) = rig.next();
        let list = if process == client { &mut of_client } else { &mut of_child };
        list.push(event.to_string());
    }
    assert_eq!(of_client, ["open\n"]);
    assert_eq!(of_child, ["open from 127.0.0.1\n", "5 bytes of input"]);
    client.delete();
    let (child, event) = rig.next();
    assert_eq!(
        (child.status(), event.to_string()),
        (Status::Closed, "connection broken by remote peer\n".into())
    );
    assert!(rig.rt.next_event(MOMENT)?.is_none(), "the deletion is told in `delete` only");
    Ok(())
});

conformance!(next_event_of_leaves_the_others_in_order, |rig| {
    let server = rig.rt.server("srv").start()?;
    let at = server.contact().local().clone();
    let one = rig.rt.client("one").remote(at.clone()).start()?;
    let (first, _) = rig.next();
    let two = rig.rt.client("two").remote(at).start()?;
    let (second, _) = rig.next();
    one.send("a")?;
    assert!(rig.rt.next_event_of(&second, MOMENT)?.is_none());
    one.send("b")?;
    one.delete();
    two.send("mine")?;
    let event = rig.rt.next_event_of(&second, PATIENCE)?.ok_or("an event")?;
    assert!(matches!(&event, Event::Input(input) if **input == *b"mine"));
    let mut bytes = Vec::new();
    loop {
        let event = rig.rt.next_event_of(&first, PATIENCE)?.ok_or("an event")?;
        let Event::Input(input) = event else {
            assert!(matches!(event, Event::Broken { .. }), "{event:?}");
            break;
        };
        bytes.extend_from_slice(&input);
    }
    assert_eq!(bytes, b"ab");
    Ok(())
});

conformance!(timers_run_in_the_order_of_their_time, |rig| {
    let order: Rc<RefCell<Vec<u32>>> = Rc::default();
    let after = |millis, name| {
        let order = Rc::clone(&order);
        rig.rt.run_after(Duration::from_millis(millis), move |_| order.borrow_mut().push(name))
    };
    after(30, 3);
    let cancelled = after(15, 9);
    after(10, 1);
    after(20, 2);
    let late = after(0, 0);
    assert!(cancelled.cancel());
    rig.rt.run()?;
    assert_eq!(*order.borrow(), [0, 1, 2, 3]);
    assert!(!late.cancel(), "it has run");
    let never = rig.rt.run_after(Duration::MAX, |_| unreachable!());
    assert!(!rig.rt.turn(Duration::ZERO)?);
    assert!(never.cancel());
    Ok(())
});

conformance!(a_timer_may_cancel_and_set_others, |rig| {
    let done = Rc::new(Cell::new(0));
    let victim = rig.rt.run_after(MOMENT, |_| unreachable!());
    let flag = Rc::clone(&done);
    rig.rt.run_after(Duration::ZERO, move |rt| {
        assert!(victim.cancel());
        rt.run_after(MOMENT, move |_| flag.set(1));
    });
    rig.rt.run()?;
    assert_eq!(done.get(), 1);
    Ok(())
});

conformance!(a_timer_from_before_a_close_cancels_none_of_those_behind_it, |rig| {
    // So long that both are due at the end of all time.
    let before = rig.rt.run_after(Duration::MAX, |_| unreachable!());
    rig.rt.close();
    let behind = rig.rt.run_after(Duration::MAX, |_| unreachable!());
    assert!(!before.cancel(), "it went with the others");
    assert!(behind.cancel(), "it is still there");
    Ok(())
});

conformance!(a_timer_that_sets_itself_again_starves_nobody, |rig| {
    fn again(rt: &Runtime, count: &Rc<Cell<u64>>, on: &Rc<Cell<bool>>) {
        count.set(count.get() + 1);
        if on.get() {
            let (count, on) = (Rc::clone(count), Rc::clone(on));
            rt.run_after(Duration::ZERO, move |rt| again(rt, &count, &on));
        }
    }
    let (count, on) = (Rc::default(), Rc::new(Cell::new(true)));
    again(&rig.rt, &count, &on);
    let (_server, client, child) = rig.pair()?;
    for round in 0..50 {
        client.send("x")?;
        rig.until("input", || rig.log.len_of(&child) == round + 1);
    }
    assert!(count.get() > 50, "the timer ran as well: {}", count.get());
    on.set(false);
    Ok(())
});

conformance!(run_returns_when_nothing_is_left, |rig| {
    rig.rt.run()?;
    let (server, client, child) = rig.pair()?;
    child.set_filter(|process, _| process.delete());
    let (other, log) = (server.clone(), rig.log.clone());
    client.set_sentinel(move |process, event| {
        log.event(process, event);
        other.delete();
    });
    client.send("go")?;
    rig.rt.run()?;
    assert_eq!(rig.rt.process_list(), []);
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(run_returns_after_shutdown_and_may_run_again, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.set_filter(|process, _| process.runtime().shutdown());
    for _ in 0..3 {
        client.send("x")?;
        rig.rt.run()?;
    }
    rig.rt.shutdown();
    client.send("sent, although `run` returns at once")?;
    rig.rt.run()?;
    let seen = Rc::new(Cell::new(false));
    let flag = Rc::clone(&seen);
    child.set_filter(move |_, _| flag.set(true));
    rig.until("the input", || seen.get());
    Ok(())
});

conformance!(run_returns_by_a_handle_of_another_thread, |rig| {
    let _server = rig.server().start()?;
    let handle = rig.rt.handle();
    let thread = std::thread::spawn(move || handle.shutdown());
    rig.rt.run()?;
    thread.join().map_err(|_| "the thread panicked")??;
    Ok(())
});

conformance!(run_waits_for_the_last_handle, |rig| {
    let handle = rig.rt.handle();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let second = handle.clone();
        drop(handle);
        second.post(move |_| go.send(()).unwrap_or(()))?;
        // Once what was posted has run, only the handle itself keeps `run`.
        let ran = gone.recv().is_ok();
        drop(second);
        Ok::<_, netproc::Gone>(ran)
    });
    rig.rt.run()?;
    assert!(thread.join().map_err(|_| "the thread panicked")??);
    Ok(())
});

conformance!(forty_thousand_calls_of_four_threads_all_run, |rig| {
    let total = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (handle, total) = (rig.rt.handle(), Arc::clone(&total));
            std::thread::spawn(move || {
                for number in 0..10_000 {
                    let total = Arc::clone(&total);
                    handle.post(move |_| {
                        total.fetch_add(1, Ordering::Relaxed);
                    })?;
                    if number % 1_000 == 0 {
                        handle.wake();
                    }
                }
                Ok::<_, netproc::Gone>(())
            })
        })
        .collect();
    rig.rt.run()?;
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    assert_eq!(total.load(Ordering::Relaxed), 40_000);
    Ok(())
});

conformance!(posted_calls_run_in_order_and_may_do_anything, |rig| {
    let (server, client, child) = rig.pair()?;
    let handle = rig.rt.handle();
    let names = [client.name().to_string(), server.name().to_string()];
    let thread = std::thread::spawn(move || {
        let [client, server] = names;
        handle.post(move |rt| {
            let client = rt.get_process(&client).expect("it is listed");
            assert!(client.send("posted").is_ok());
        })?;
        handle.post(move |rt| rt.get_process(&server).expect("it is listed").delete())
    });
    rig.until("the deletion", || server.status() == Status::Closed);
    rig.until_bytes(&child, b"posted");
    thread.join().map_err(|_| "the thread panicked")??;
    Ok(())
});

conformance!(posted_calls_keep_their_order_when_one_of_them_waits, |rig| {
    let order: Arc<std::sync::Mutex<Vec<u32>>> = Arc::default();
    let handle = rig.rt.handle();
    let push = |number| {
        let order = Arc::clone(&order);
        move || order.lock().expect("no panic under it").push(number)
    };
    let (first, second, third) = (push(1), push(2), push(3));
    let poster = handle.clone();
    handle.post(move |rt| {
        assert!(poster.post(move |_| third()).is_ok());
        assert!(rt.turn(PATIENCE).is_ok());
        first();
    })?;
    handle.post(move |_| second())?;
    rig.until("all three", || order.lock().is_ok_and(|order| order.len() == 3));
    assert_eq!(*order.lock().map_err(|_| "a panic")?, [2, 3, 1]);
    Ok(())
});

conformance!(a_call_that_posts_itself_again_starves_nobody, |rig| {
    fn again(rt: &Runtime, on: &Arc<AtomicU32>) {
        if on.fetch_add(1, Ordering::Relaxed) < 1_000 {
            let on = Arc::clone(on);
            assert!(rt.handle().post(move |rt| again(rt, &on)).is_ok());
        }
    }
    let count = Arc::default();
    again(&rig.rt, &count);
    let (_server, client, child) = rig.pair()?;
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    assert!(count.load(Ordering::Relaxed) < 1_000, "all calls ran first");
    rig.until("all calls", || count.load(Ordering::Relaxed) == 1_001);
    Ok(())
});

conformance!(a_call_posted_by_the_runtimes_own_thread_runs_in_the_next_wait, |rig| {
    let handle = rig.rt.handle();
    let ran = Arc::new(AtomicU32::new(0));
    let flag = Arc::clone(&ran);
    handle.post(move |_| flag.store(1, Ordering::Relaxed))?;
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert!(rig.rt.turn(PATIENCE)?);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    Ok(())
});

conformance!(a_handle_of_a_runtime_that_is_gone_says_so, |rig| {
    let rt = rig.another();
    let handle = rt.handle();
    let dropped = Arc::new(());
    let kept = Arc::clone(&dropped);
    handle.post(move |_| drop(kept))?;
    drop(rt);
    assert_eq!(Arc::strong_count(&dropped), 1, "the waiting call was dropped");
    assert!(handle.post(|_| unreachable!()).is_err());
    assert!(handle.shutdown().is_err());
    handle.wake();
    Ok(())
});

conformance!(a_wake_ends_a_wait_early, |rig| {
    let handle = rig.rt.handle();
    let thread = std::thread::spawn(move || handle.wake());
    let late = alarm(&rig.rt, PATIENCE / 2);
    while !rig.rt.turn(PATIENCE)? {}
    if rig.subject.is_real() {
        assert!(!late.get());
    }
    thread.join().map_err(|_| "the thread panicked")?;
    Ok(())
});

conformance!(a_wake_ends_no_wait_for_something, |rig| {
    let (_server, _client, child) = rig.pair()?;
    let wakes = || {
        let (now, later) = (rig.rt.handle(), rig.rt.handle());
        now.wake();
        rig.rt.run_after(MOMENT / 4, move |_| later.wake());
        alarm(&rig.rt, MOMENT / 2)
    };
    let raised = wakes();
    assert!(!rig.rt.accept_output(Some(&child), Some(MOMENT), false)?);
    assert!(raised.get(), "accept_output");
    let raised = wakes();
    assert!(rig.rt.next_event(MOMENT)?.is_none());
    assert!(raised.get(), "next_event");
    let raised = wakes();
    assert!(rig.rt.next_event_of(&child, MOMENT)?.is_none());
    assert!(raised.get(), "next_event_of");
    let ends = rig.rt.handle();
    let raised = wakes();
    rig.rt.run_after(MOMENT, move |_| assert_eq!(ends.shutdown(), Ok(())));
    rig.rt.run()?;
    assert!(raised.get(), "run");
    Ok(())
});

conformance!(who_asks_for_no_events_gathers_no_troubles, |rig| {
    let dead = rig.rt.server("dead").datagram().start()?;
    let to = dead.contact().local().clone();
    dead.delete();
    let (_server, _client, other) = rig.pair()?;
    let statistics = rig.rt.client("statistics").datagram().remote(to).start()?;
    for _ in 0..20 {
        // Refused with what came back for the one before, or not.
        let _ = statistics.send("one more");
        rig.rt.next_event_of(&other, MOMENT / 10)?;
    }
    let mut troubles = 0;
    while let Some((process, event)) = rig.rt.next_event(MOMENT)? {
        assert!(process == statistics && matches!(event, Event::Trouble(_)), "{event:?}");
        troubles += 1;
    }
    assert!((1..=2).contains(&troubles), "{troubles}");
    Ok(())
});

conformance!(a_server_with_a_sentinel_alone_is_served_in_every_wait, |rig| {
    let server = rig.rt.server("daytime").sentinel(|process: &Process, event: &Event| {
        let greets = matches!(event, Event::OpenFrom(_));
        if greets { process.send("noon").map(drop) } else { Ok(()) }
    });
    let server = server.start()?;
    let client = rig.rt.client("c").remote(server.contact().local().clone()).start()?;
    let heard = rig.rt.next_event_of(&client, PATIENCE)?;
    assert!(matches!(&heard, Some(Event::Input(input)) if **input == *b"noon"), "{heard:?}");
    let other = rig.rt.client("c").remote(server.contact().local().clone()).start()?;
    assert!(rig.rt.accept_output(Some(&other), Some(PATIENCE), false)?);
    Ok(())
});

conformance!(where_a_connection_comes_from_waits_for_who_asks, |rig| {
    let server = rig.rt.server("s").log(|_, _, _| ()).start()?;
    let client = rig.rt.client("c").remote(server.contact().local().clone()).start()?;
    client.send("x")?;
    assert!(rig.rt.next_event_of(&client, MOMENT)?.is_none());
    let (connection, event) = rig.rt.next_event(PATIENCE)?.ok_or("it was kept")?;
    assert!(matches!(event, Event::OpenFrom(_)), "{event:?}");
    let (next, event) = rig.rt.next_event(PATIENCE)?.ok_or("what it was sent")?;
    assert!(next == connection && matches!(event, Event::Input(_)), "{event:?}");
    let mut from = Vec::new();
    for _ in 0..5 {
        let client = rig.rt.client("c").remote(server.contact().local().clone()).start()?;
        from.push(client.contact().local().clone());
        rig.rt.next_event_of(&client, Duration::ZERO)?;
    }
    assert!(rig.rt.next_event_of(&client, MOMENT)?.is_none());
    for address in from {
        let told = rig.rt.next_event(PATIENCE)?;
        let came = matches!(&told, Some((_, Event::OpenFrom(Some(from)))) if *from == address);
        assert!(came, "in their order: {told:?}");
    }
    Ok(())
});

conformance!(timers_make_no_wait_for_output_longer, |rig| {
    fn again(rt: &Runtime) {
        rt.run_after(Duration::from_millis(5), again);
    }
    let (_server, client, _child) = rig.pair()?;
    client.send("x")?;
    again(&rig.rt);
    let late = rig.rt.run_after(PATIENCE, |_| ());
    assert!(rig.rt.accept_output(None, Some(10 * PATIENCE), false)?);
    assert!(late.cancel(), "it has waited for quiet timers");
    Ok(())
});
