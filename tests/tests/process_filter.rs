//! Filters and sentinels: replaced, with state, entered again by waits inside them, failing.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{CallbackKind, Error, Event, FilterError, Process, Runtime, Status};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

/// Collects the reports of failed callbacks, as text.
fn reports(rig: &Rig) -> Rc<RefCell<Vec<String>>> {
    let all: Rc<RefCell<Vec<String>>> = Rc::default();
    let reports = Rc::clone(&all);
    rig.rt.on_callback_error(move |err| reports.borrow_mut().push(err.to_string()));
    all
}

conformance!(replaced_inside_itself_the_next_input_goes_to_the_new_filter, |rig| {
    let (server, client, child) = rig.pair()?;
    let log = rig.log.clone();
    child.set_filter(move |process, input| {
        log.note(process, format!("old {}", input.escape_ascii()));
        let log = log.clone();
        process.set_filter(move |process, input| {
            log.note(process, format!("new {}", input.escape_ascii()));
        });
    });
    for word in ["1", "2", "3"] {
        client.send(word)?;
        rig.settle();
    }
    assert_eq!(rig.log.of(&child)[1..], ["old 1 (open)", "new 2 (open)", "new 3 (open)"]);
    assert_eq!(server.status(), Status::Listen);
    Ok(())
});

conformance!(every_byte_goes_to_exactly_one_filter, |rig| {
    let bytes = pattern(4, 900_000);
    let (_server, client, child) = rig.pair()?;
    client.send(bytes.clone())?;
    let both: Rc<RefCell<Vec<u8>>> = Rc::default();
    let mut round = 0;
    while both.borrow().len() < bytes.len() {
        let (seen, mine) = (Rc::clone(&both), round);
        child.set_filter_mut(move |_, input| {
            assert!(mine >= 0);
            seen.borrow_mut().extend_from_slice(&input);
        })?;
        rig.rt.turn(Duration::from_millis(1))?;
        round += 1;
        assert!(round < 100_000, "{} bytes", both.borrow().len());
    }
    assert_eq!(*both.borrow(), bytes);
    Ok(())
});

conformance!(a_cleared_filter_leaves_input_to_next_event, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.settle();
    child.clear_filter();
    client.send("x")?;
    let (process, event) = rig.next();
    assert!(process == child && matches!(&event, Event::Input(input) if **input == *b"x"));
    Ok(())
});

conformance!(a_filter_with_state_keeps_it, |rig| {
    let (server, client, child) = rig.pair()?;
    let (mut total, log) = (0, rig.log.clone());
    child.set_filter_mut(move |process, input| {
        total += input.len();
        log.note(process, total.to_string());
    })?;
    for word in ["a", "bc", "def"] {
        client.send(word)?;
        rig.settle();
    }
    assert_eq!(rig.log.of(&child)[1..], ["1 (open)", "3 (open)", "6 (open)"]);
    assert_eq!(server.set_filter_mut(|_, _| ()), Err(FilterError::Server));
    Ok(())
});

conformance!(each_connection_may_have_state_of_its_own, |rig| {
    let log = rig.log.clone();
    let server = rig.server().on_accept(move |_, process| {
        let (mut count, log) = (0, log.clone());
        process.set_filter_mut(move |process, _| {
            count += 1;
            log.note(process, count.to_string());
        })
    });
    let server = server.start()?;
    let clients = [rig.connect(&server)?, rig.connect(&server)?];
    rig.until("both", || rig.children(&server) == 2);
    for client in [&clients[0], &clients[1], &clients[0]] {
        client.send("x")?;
        rig.settle();
    }
    let children = rig.connections(&server);
    let last = |child: &Process| rig.log.of(child).pop();
    assert_eq!(last(&children[0]).as_deref(), Some("2 (open)"));
    assert_eq!(last(&children[1]).as_deref(), Some("1 (open)"));
    Ok(())
});

conformance!(while_a_filter_with_state_waits_its_own_input_waits_too, |rig| {
    let (server, client, child) = rig.pair()?;
    let other_client = rig.connect(&server)?;
    rig.until("both", || rig.children(&server) == 2);
    let other = rig.child(&server);
    let (log, sender, awaited) = (rig.log.clone(), client.clone(), other.clone());
    child.set_filter_mut(move |process, input| {
        let rt = process.runtime();
        log.note(process, format!("begin {}", input.escape_ascii()));
        if *input == *b"1" {
            sender.send("2")?;
            other_client.send("meanwhile")?;
            let got = rt.accept_output(Some(&awaited), Some(PATIENCE), false)?;
            // The second input has come by now; it stays outside.
            while rt.turn(Duration::from_millis(20))? {}
            log.note(process, format!("waited {got}"));
        }
        log.note(process, "end");
        Ok::<_, Error>(())
    })?;
    client.send("1")?;
    rig.until_line(&child, "begin 2 (open)");
    rig.settle();
    let mut lines = rig.log.lines();
    lines.retain(|line| line.starts_with("child: ") && !line.contains("open from"));
    assert_eq!(
        lines,
        [
            "child: begin 1 (open)",
            "child: \"meanwhile\" (open)",
            "child: waited true (open)",
            "child: end (open)",
            "child: begin 2 (open)",
            "child: end (open)",
        ]
    );
    assert_eq!(rig.log.bytes_of(&other), b"meanwhile");
    child.clear_filter();
    Ok(())
});

conformance!(even_its_end_waits_for_a_filter_with_state, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (log, peer) = (rig.log.clone(), client.clone());
    child.set_filter_mut(move |process, _| {
        peer.delete();
        while process.runtime().turn(Duration::from_millis(20))? {}
        log.note(process, "end");
        Ok::<_, Error>(())
    })?;
    client.send("x")?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["end (open)", "connection broken by remote peer (closed)"]
    );
    child.clear_filter();
    Ok(())
});

conformance!(a_shared_filter_that_waits_is_entered_again_in_order, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (log, sender) = (rig.log.clone(), client.clone());
    child.set_filter(move |process, input| {
        log.note(process, format!("begin {}", input.escape_ascii()));
        let next: &'static str = match &*input {
            b"1" => "2",
            b"2" => "3",
            _ => "",
        };
        if !next.is_empty() {
            sender.send(next)?;
            let got = process.runtime().accept_output(Some(process), Some(PATIENCE), false)?;
            assert!(got, "output delivered inside counts");
        }
        log.note(process, format!("end {}", input.escape_ascii()));
        Ok::<_, Error>(())
    });
    client.send("1")?;
    rig.until_line(&child, "end 1 (open)");
    let order = ["begin 1", "begin 2", "begin 3", "end 3", "end 2", "end 1"];
    let order: Vec<_> = order.iter().map(|line| format!("{line} (open)")).collect();
    assert_eq!(rig.log.of(&child)[1..], order);
    child.clear_filter();
    Ok(())
});

conformance!(the_closing_event_may_come_inside_a_shared_filter, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (log, peer) = (rig.log.clone(), client.clone());
    child.set_filter(move |process, _| {
        peer.delete();
        let rt = process.runtime();
        let got = rt.accept_output(Some(process), Some(PATIENCE), false)?;
        log.note(process, format!("after {got}"));
        Ok::<_, Error>(())
    });
    client.send("x")?;
    rig.until_line(&child, "after false (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["connection broken by remote peer (closed)", "after false (closed)"]
    );
    child.clear_filter();
    Ok(())
});

conformance!(nested_waits_keep_the_order_of_a_long_stream, |rig| {
    let bytes = pattern(21, 600_000);
    let (_server, client, child) = rig.pair()?;
    let log = rig.log.clone();
    child.set_filter(move |process, input| {
        log.input(process, &input);
        // Deeper and deeper, until waiting is refused; then the next input comes outside.
        match process.runtime().turn(Duration::ZERO) {
            Ok(_) | Err(Error::TooDeep(_)) => Ok(()),
            Err(err) => Err(err),
        }
    });
    client.send(bytes.clone())?;
    rig.until_bytes(&child, &bytes);
    Ok(())
});

conformance!(waits_nest_thirty_two_deep_and_then_say_so, |rig| {
    fn dig(rt: &Runtime, deepest: &Rc<Cell<Option<u32>>>) {
        let below = Rc::clone(deepest);
        let timer = rt.run_after(Duration::ZERO, move |rt| dig(rt, &below));
        if let Err(Error::TooDeep(depth)) = rt.turn(PATIENCE) {
            deepest.set(Some(depth));
            assert!(timer.cancel());
        }
    }
    let deepest = Rc::default();
    dig(&rig.rt, &deepest);
    assert_eq!(deepest.get(), Some(32));
    let (_server, client, child) = rig.pair()?;
    client.send("works again")?;
    rig.until_bytes(&child, b"works again");
    Ok(())
});

conformance!(an_error_in_a_filter_is_reported_and_the_process_lives, |rig| {
    let reports = reports(rig);
    let (_server, client, child) = rig.pair()?;
    let log = rig.log.clone();
    child.set_filter(move |process, input| {
        log.input(process, &input);
        if *input == *b"bad" { Err("it was bad") } else { Ok(()) }
    });
    for word in ["bad", "good"] {
        client.send(word)?;
        rig.settle();
    }
    assert_eq!(*reports.borrow(), ["error in process filter: it was bad"]);
    rig.until_bytes(&child, b"badgood");
    assert_eq!(child.status(), Status::Open);
    Ok(())
});

conformance!(a_panic_in_a_filter_is_reported_and_the_process_lives, |rig| {
    let reports = reports(rig);
    for own in [false, true] {
        let (_server, client, child) = rig.pair()?;
        let log = rig.log.clone();
        let filter = move |process: &Process, input: netproc::Input| {
            log.input(process, &input);
            assert_ne!(*input, *b"bad", "a bad one");
        };
        if own {
            child.set_filter_mut(filter)?;
        } else {
            child.set_filter(filter);
        }
        for word in ["bad", "good"] {
            client.send(word)?;
            rig.settle();
        }
        rig.until_bytes(&child, b"badgood");
        let report = reports.borrow_mut().pop().ok_or("a report")?;
        assert!(report.starts_with("error in process filter: "), "{report}");
        assert!(report.contains("a bad one"), "{report}");
        client.delete();
        rig.until_line(&child, "connection broken by remote peer (closed)");
    }
    Ok(())
});

conformance!(errors_and_panics_in_sentinels_and_logs_end_nothing, |rig| {
    let kinds: Rc<RefCell<Vec<(CallbackKind, bool)>>> = Rc::default();
    let seen = Rc::clone(&kinds);
    rig.rt.on_callback_error(move |err| seen.borrow_mut().push((err.kind, err.panicked)));
    let log = rig.log.clone();
    let server = rig
        .server()
        .log(|_, _, _| Err::<(), _>("no log"))
        .on_accept(|_, _| -> () { panic!("no accept") })
        .sentinel(move |process, event| {
            log.event(process, event);
            assert!(!matches!(event, Event::OpenFrom(_)), "not open");
        });
    let (_server, client, child) = rig.pair_at(server)?;
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)", "\"x\" (open)"]);
    use CallbackKind::{Log, Posted, Sentinel, Timer};
    rig.rt.run_after(Duration::ZERO, |_| panic!("no timer"));
    rig.rt.handle().post(|_| panic!("no call"))?;
    rig.until("five reports", || kinds.borrow().len() == 5);
    assert_eq!(kinds.borrow()[..3], [(Log, true), (Log, false), (Sentinel, true)]);
    assert!(kinds.borrow().contains(&(Timer, true)) && kinds.borrow().contains(&(Posted, true)));
    Ok(())
});

conformance!(reports_name_the_callback_as_emacs_does, |rig| {
    let reports = reports(rig);
    let (_server, client, child) = rig.pair()?;
    rig.settle();
    child.set_sentinel(|_, _| Err::<(), _>("why"));
    child.set_filter(|_, _| Err::<(), _>("why"));
    client.send("x")?;
    client.delete();
    rig.until("the end", || child.status() == Status::Closed);
    assert_eq!(
        *reports.borrow(),
        ["error in process filter: why", "error in process sentinel: why"]
    );
    Ok(())
});
