//! Deleting: what is told, what is thrown away, what lives on, from wherever it is done.

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    net::TcpStream,
    panic::AssertUnwindSafe,
    rc::Rc,
    time::Duration,
};

use netproc::{
    Address, Buffer, CloseHow, Error, Event, Exit, FinishError, Process, Runtime, SendError, Status,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

/// The lines of `process` after the first, which tells how it began.
fn rest(rig: &Rig, process: &Process) -> Vec<String> {
    rig.log.of(process).split_off(1)
}

conformance!(the_sentinel_hears_deleted_before_delete_returns_and_once, |rig| {
    let (server, client, child) = rig.pair()?;
    for process in [&server, &client, &child] {
        rig.log.clear();
        process.delete();
        assert_eq!(rig.log.of(process), ["deleted (closed)"]);
        assert_eq!((process.exit(), process.exit().status()), (Exit::Deleted, 0));
        process.delete();
    }
    assert_eq!(rig.rt.process_list(), []);
    rig.settle();
    assert_eq!(rig.log.of(&child), ["deleted (closed)"]);
    Ok(())
});

conformance!(a_deleted_process_refuses_everything_and_keeps_its_properties, |rig| {
    let (server, client, _child) = rig.pair()?;
    client.put("key", 7);
    for process in [&client, &server] {
        process.delete();
        assert_eq!(process.send("x"), Err(SendError::NotOpen(Status::Closed)));
        assert_eq!(process.send_eof(), Err(FinishError::NotOpen(Status::Closed)));
        assert_eq!(process.queued(), 0);
        process.set_filter(|_, _| ());
        process.set_sentinel(|_, _| ());
        process.ignore_input();
    }
    assert_eq!(client.get("key"), Some(7.into()));
    Ok(())
});

conformance!(a_peer_of_a_deleted_process_sees_the_end, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(client.exit().status(), 256);
    Ok(())
});

conformance!(deleted_in_its_own_filter_it_gets_no_further_input, |rig| {
    let log = rig.log.clone();
    let server = rig.server().filter(move |process, _| {
        log.note(process, "filter begins");
        process.delete();
        log.note(process, "filter goes on");
    });
    let (_server, client, child) = rig.pair_at(server)?;
    client.send(pattern(1, 500_000))?;
    rig.until_line(&child, "deleted (closed)");
    rig.settle();
    assert_eq!(
        rest(rig, &child),
        ["filter begins (open)", "deleted (closed)", "filter goes on (closed)"]
    );
    Ok(())
});

conformance!(deleted_in_its_own_sentinel_it_gets_no_input, |rig| {
    let log = rig.log.clone();
    let server = rig.server().sentinel(move |process, event| {
        log.event(process, event);
        if matches!(event, Event::OpenFrom(_)) {
            process.delete();
            log.note(process, "sentinel goes on");
        }
    });
    let client = rig.connect(&server.start()?)?;
    client.send("x")?;
    rig.until_line(&client, "connection broken by remote peer (closed)");
    rig.settle();
    let mut lines = rig.log.lines();
    lines.retain(|line| line.starts_with("child"));
    assert_eq!(
        lines,
        [
            "child: open from 127.0.0.1 (open)",
            "child: deleted (closed)",
            "child: sentinel goes on (closed)",
        ]
    );
    Ok(())
});

conformance!(deleted_in_its_closing_sentinel_nothing_more_is_told, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.settle();
    let log = rig.log.clone();
    child.set_sentinel(move |process, event| {
        process.delete();
        log.event(process, event);
    });
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.settle();
    assert_eq!(rest(rig, &child), ["connection broken by remote peer (closed)"]);
    assert_eq!(child.exit().status(), 256, "the reason of the end stays readable");
    Ok(())
});

conformance!(a_process_deleted_by_another_ones_filter_loses_its_waiting_input, |rig| {
    let children: Rc<RefCell<Vec<Process>>> = Rc::default();
    let (all, log) = (Rc::clone(&children), rig.log.clone());
    let server = rig.server().filter(move |process, input| {
        log.input(process, &input);
        let others = all.take();
        others.iter().filter(|other| *other != process).for_each(Process::delete);
    });
    let server = server.start()?;
    let clients: Vec<_> = (0..4).map(|_| rig.connect(&server)).collect::<Result<_, _>>()?;
    rig.until("everybody", || rig.children(&server) == 4);
    rig.settle();
    children.replace(rig.connections(&server));
    for client in &clients {
        client.send("x")?;
    }
    rig.settle();
    let inputs = rig.log.lines().iter().filter(|line| line.contains("\"x\"")).count();
    let deleted = rig.log.lines().iter().filter(|line| line.contains("deleted")).count();
    assert_eq!((inputs, deleted, rig.children(&server)), (1, 3, 1), "{}", rig.log);
    Ok(())
});

conformance!(one_filter_may_delete_everything, |rig| {
    let server = rig.server().filter(|process, _| {
        process.runtime().process_list().iter().for_each(Process::delete);
    });
    let server = server.start()?;
    let clients: Vec<_> = (0..8).map(|_| rig.connect(&server)).collect::<Result<_, _>>()?;
    for client in &clients {
        client.send("x")?;
    }
    rig.until("the end of all", || rig.rt.process_list().is_empty());
    rig.rt.run()?;
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(a_server_deleted_in_its_log_function_leaves_the_connection, |rig| {
    let log = rig.log.clone();
    let server = rig.server().log(move |server, _, entry| {
        log.note(server, entry.to_string().trim_end());
        server.delete();
    });
    let server = server.start()?;
    let first = rig.client(&server).nowait(true).start()?;
    let second = rig.client(&server).nowait(true).start()?;
    rig.until("the end of the server", || server.status() == Status::Closed);
    rig.settle();
    let children = rig.connections(&server);
    assert_eq!(children.len(), 1, "{}", rig.log);
    assert_eq!(rig.log.of(&children[0]), ["open from 127.0.0.1 (open)"]);
    assert_eq!(rig.log.of(&server), ["accept from 127.0.0.1 (listen)", "deleted (closed)"]);
    let open = [&first, &second].map(|client| client.status() == Status::Open);
    assert_eq!(open.iter().filter(|&&open| open).count(), 1, "the other one is reset");
    Ok(())
});

conformance!(connections_outlive_their_server, |rig| {
    let (server, client, child) = rig.pair_at(rig.echo())?;
    server.delete();
    assert!(rig.client(&server).start().is_err(), "nobody listens any more");
    client.send("still here")?;
    rig.until_bytes(&client, b"still here");
    assert_eq!((client.status(), child.status()), (Status::Open, Status::Open));
    Ok(())
});

conformance!(the_address_of_a_deleted_server_is_free_at_once, |rig| {
    let (server, client, child) = rig.pair()?;
    let address = server.contact().local().clone();
    server.delete();
    let next = rig.server().local(address.clone()).start()?;
    assert_eq!((next.contact().local(), &*next.name()), (&address, "srv"));
    assert_eq!((client.status(), child.status()), (Status::Open, Status::Open));
    let other = rig.connect(&next)?;
    rig.until("the other", || rig.children(&next) == 2);
    assert_eq!(other.status(), Status::Open);
    Ok(())
});

conformance!(deleted_while_connecting_it_hears_deleted_and_nothing_else, |rig| {
    let server = rig.server().start()?;
    for stopped in [false, true] {
        let client = rig.client(&server).nowait(true).stop(stopped).start()?;
        client.send("never sent")?;
        client.delete();
        rig.settle();
        assert_eq!(rig.log.of(&client), ["deleted (closed)"]);
    }
    let client = rig.client_at(rig.dead_end()?).nowait(true).start()?;
    client.delete();
    rig.settle();
    assert_eq!(rig.log.of(&client), ["deleted (closed)"]);
    Ok(())
});

conformance!(a_failed_process_stays_until_it_is_deleted, |rig| {
    let client = rig.client_at(rig.dead_end()?).nowait(true).start()?;
    rig.until("the failure", || client.status() == Status::Failed);
    assert_eq!(rig.rt.get_process("client"), Some(client.clone()));
    client.delete();
    assert_eq!(rig.log.of(&client), ["failed with code 111 (failed)", "deleted (closed)"]);
    assert_eq!(rig.rt.process_list(), []);
    assert_eq!(client.exit().status(), 0);
    Ok(())
});

conformance!(what_was_sent_goes_out_after_the_deletion, |rig| {
    let bytes = pattern(3, 900_000);
    let (server, client, child) = rig.pair()?;
    child.send(bytes.clone())?;
    child.delete();
    server.delete();
    // Nobody turns by hand: `run` itself has to stay until all is out.
    rig.rt.run()?;
    rig.until_bytes(&client, &bytes);
    assert_eq!(
        rig.log.of(&client).pop().as_deref(),
        Some("connection broken by remote peer (closed)")
    );
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(deleted_with_now_or_reset_it_throws_away_what_was_sent, |rig| {
    for how in [CloseHow::Now, CloseHow::Reset] {
        let (server, client, child) = rig.pair()?;
        client.stop();
        child.send(vec![b'x'; 900_000])?;
        child.delete_with(how);
        client.resume();
        rig.until_line(&client, "connection broken by remote peer (closed)");
        assert!(rig.log.len_of(&client) < 900_000, "{how:?}");
        server.delete();
    }
    Ok(())
});

conformance!(a_closed_runtime_tells_nobody, |rig| {
    let (server, client, child) = rig.pair()?;
    rig.settle();
    rig.log.clear();
    let timer = rig.rt.run_after(Duration::from_secs(1), |_| unreachable!());
    rig.rt.close();
    rig.settle();
    assert_eq!(rig.log.lines(), [""; 0]);
    for process in [server, client, child] {
        assert_eq!(process.status(), Status::Closed);
    }
    assert!(!timer.cancel());
    rig.rt.run()?;
    Ok(())
});

conformance!(callbacks_go_with_the_last_event_even_if_they_keep_their_process, |rig| {
    let (_server, client, child) = rig.pair()?;
    let kept = Rc::new(());
    for process in [&client, &child] {
        let (own, held) = (process.clone(), Rc::clone(&kept));
        process.set_filter(move |_, _| drop((own.clone(), Rc::clone(&held))));
    }
    assert_eq!(Rc::strong_count(&kept), 3);
    client.delete();
    assert_eq!(Rc::strong_count(&kept), 2, "deleted");
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(Rc::strong_count(&kept), 1, "broken");
    Ok(())
});

/// What a callback keeps, and does not survive without noise.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "on purpose");
    }
}

conformance!(what_a_filter_keeps_may_panic_though_it_closes_the_runtime, |rig| {
    let (_server, client, child) = rig.pair()?;
    let told = Rc::new(Cell::new(false));
    let (loud, running) = (Loud, Rc::clone(&told));
    child.set_filter(move |child, _| {
        let _kept = &loud;
        child.runtime().close();
        running.set(true);
    });
    client.send("x")?;
    rig.until("the filter", || told.get());
    rig.settle();
    assert_eq!(Rc::strong_count(&told), 1, "the filter stays");
    Ok(())
});

conformance!(a_filter_that_never_ran_goes_as_soon_as_it_is_replaced, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (kept, most) = (Rc::new(()), Rc::new(Cell::new(0)));
    let (keep, seen) = (Rc::clone(&kept), Rc::clone(&most));
    child.set_filter(move |child, _| {
        for _ in 0..100 {
            let keep = Rc::clone(&keep);
            child.set_filter(move |_, _| drop(Rc::clone(&keep)));
        }
        seen.set(Rc::strong_count(&keep));
    });
    client.send("x")?;
    rig.until("the filter", || most.get() > 0);
    assert_eq!(most.get(), 3, "here, in the filter that runs, in the last");
    rig.until("it goes", || Rc::strong_count(&kept) == 2);
    Ok(())
});

conformance!(what_a_callback_keeps_may_panic_when_it_goes, |rig| {
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&told);
    rig.rt.on_callback_error(move |err| log.borrow_mut().push(err.to_string()));
    let (_server, client, child) = rig.pair()?;
    let louden = |process: &Process| {
        let loud = Loud;
        process.set_filter(move |_, _| {
            let _kept = &loud;
        });
    };
    louden(&client);
    client.set_filter(|_, _| {});
    assert_eq!(told.borrow().len(), 1, "replaced");
    louden(&client);
    louden(&child);
    client.delete();
    assert_eq!(told.borrow().len(), 2, "deleted");
    rig.until("the end of the other", || child.exit() != Exit::Alive);
    rig.until("its callbacks are gone", || told.borrow().len() == 3);
    for line in told.borrow().iter() {
        assert_eq!(line, "error in what a callback kept: on purpose");
    }
    Ok(())
});

conformance!(what_a_callback_keeps_may_panic_when_that_has_ended_its_process, |rig| {
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&told);
    rig.rt.on_callback_error(move |err| log.borrow_mut().push(err.to_string()));
    let (_server, client, child) = rig.pair()?;
    let loud = Loud;
    child.set_filter(move |process, _| {
        let _kept = &loud;
        process.delete();
    });
    client.send("x")?;
    rig.until("it is told", || told.borrow().len() == 1);
    assert!(told.borrow()[0].ends_with("on purpose"), "{told:?}");
    rig.until("all goes on", || client.exit() != Exit::Alive);
    Ok(())
});

/// What a callback keeps that calls when it goes.
struct Then<F: Fn()>(F);

impl<F: Fn()> Drop for Then<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// Gives `child` a filter that ends it, to the last event, and keeps what calls `then` when it goes.
fn ends_itself_then(child: &Process, then: impl Fn() + 'static) {
    let kept = Then(then);
    child.set_filter(move |child, _| {
        let _kept = &kept;
        let before = child.runtime().stats().sockets;
        child.delete_with(CloseHow::Now);
        while child.runtime().stats().sockets == before {
            child.runtime().turn(Duration::from_millis(1))?;
        }
        Ok::<_, Error>(())
    });
}

// It is dropped when it has returned, and what its drop asks for must not find a wait that sleeps, or has ended.
conformance!(on (poll epoll uring): what_a_filter_keeps_may_ask_for_more_when_that_has_ended_its_process, |rig| {
    let server = rig.server().start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let mut peer = TcpStream::connect(("127.0.0.1", port))?;
    let child = rig.child(&server);
    let rt = rig.rt.clone();
    ends_itself_then(&child, move || rt.shutdown());
    peer.write_all(b"x")?;
    let late = rig.rt.run_after(PATIENCE, |rt| rt.shutdown());
    rig.rt.run()?;
    assert!(late.cancel(), "it slept though it was to end");

    let mut peer = TcpStream::connect(("127.0.0.1", port))?;
    let child = rig.child(&server);
    let ran = Rc::new(Cell::new(false));
    let (rt, told) = (rig.rt.clone(), Rc::clone(&ran));
    ends_itself_then(&child, move || {
        let told = Rc::clone(&told);
        rt.run_after(Duration::ZERO, move |_| told.set(true));
    });
    server.delete();
    peer.write_all(b"x")?;
    drop(peer);
    rig.rt.run()?;
    assert!(ran.get(), "it returned before a timer that was set meanwhile");

    let server = rig.server().start()?;
    let (client, other) = (rig.connect(&server)?, rig.child(&server));
    let port = server.contact().local().port().ok_or("a port")?;
    let mut peer = TcpStream::connect(("127.0.0.1", port))?;
    rig.until("both", || rig.children(&server) == 2);
    let child = rig.child(&server);
    // The second comes with the first, and is kept.
    other.set_filter(|other, _| other.stop());
    rig.rt.set_input_len_max(1);
    client.send("12")?;
    rig.until("the first", || other.status() == Status::Stop);
    let (rt, stopped) = (rig.rt.clone(), other.clone());
    other.set_filter(move |_, _| rt.shutdown());
    ends_itself_then(&child, move || stopped.resume());
    peer.write_all(b"x")?;
    let late = rig.rt.run_after(PATIENCE, |rt| rt.shutdown());
    rig.rt.run()?;
    assert!(late.cancel(), "it slept though there was something to give");
    Ok(())
});

/// As `Loud`, and not any quieter if all else fails.
struct Louder;

impl Drop for Louder {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

// Two in one drop end the program.
conformance!(all_that_callbacks_keep_may_panic_when_it_goes, |rig| {
    let count = Rc::new(Cell::new(0));
    let told = Rc::clone(&count);
    rig.rt.on_callback_error(move |_| told.set(told.get() + 1));
    for closes in [false, true] {
        let kept: [_; 5] = std::array::from_fn(|_| Louder);
        let [filter, sentinel, log, accept, timer] = kept;
        let server = rig.rt.server("loud");
        let server = server
            .filter(move |_, _| {
                let _kept = &filter;
            })
            .sentinel(move |_, _| {
                let _kept = &sentinel;
            });
        let server = server
            .log(move |_, _, _| {
                let _kept = &log;
            })
            .on_accept(move |_, _| {
                let _kept = &accept;
            });
        let server = server.start()?;
        let timer = rig.rt.run_after(PATIENCE, move |_| {
            let _kept = &timer;
        });
        count.set(0);
        if closes {
            rig.rt.close();
            assert_eq!(count.get(), 5);
        } else {
            server.delete();
            assert_eq!(count.get(), 4);
            let cancelled = std::panic::catch_unwind(AssertUnwindSafe(|| timer.cancel()));
            assert!(cancelled.is_err(), "whoever cancels drops it");
        }
    }
    Ok(())
});

conformance!(what_is_set_behind_the_end_is_not_kept, |rig| {
    let (_server, client, child) = rig.pair()?;
    let kept = Rc::new(());
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    for process in [&client, &child] {
        let (own, held) = (process.clone(), Rc::clone(&kept));
        process.set_filter(move |_, _| drop((own.clone(), Rc::clone(&held))));
        let (own, held) = (process.clone(), Rc::clone(&kept));
        process.set_sentinel(move |_, _| drop((own.clone(), Rc::clone(&held))));
    }
    assert_eq!(Rc::strong_count(&kept), 1);
    Ok(())
});

conformance!(a_report_that_keeps_its_runtime_goes_when_that_is_closed, |rig| {
    let kept = Rc::new(());
    let (rt, held) = (rig.rt.clone(), Rc::clone(&kept));
    rig.rt.on_callback_error(move |_| drop((rt.clone(), Rc::clone(&held))));
    rig.rt.close();
    assert_eq!(Rc::strong_count(&kept), 1);
    Ok(())
});

/// A client that connects again, with the same buffer, whatever its sentinel hears.
fn faithful(rt: &Runtime, to: &Address, buffer: &Buffer, made: &Rc<Cell<u32>>) {
    made.set(made.get() + 1);
    assert!(made.get() < 10, "there is no end to it");
    let client = rt.client("c").remote(to.clone()).buffer(buffer.clone()).nowait(true);
    let (to, buffer, made) = (to.clone(), buffer.clone(), Rc::clone(made));
    let client = client.sentinel(move |process, _| {
        faithful(process.runtime(), &to, &buffer, &made);
    });
    client.start().expect("it connects later");
}

// Only those there at the start are deleted at once; one made meanwhile is left with a dead buffer.
conformance!(a_sentinel_that_connects_again_does_not_keep_a_buffer_alive, |rig| {
    let server = rig.server().start()?;
    let buffer = rig.rt.buffers().get_or_create("out");
    let made = Rc::default();
    faithful(&rig.rt, server.contact().local(), &buffer, &made);
    rig.rt.kill_buffer(&buffer);
    assert_eq!((buffer.is_live(), made.get()), (false, 2));
    rig.rt.close();
    Ok(())
});

conformance!(a_callback_set_meanwhile_does_not_keep_the_end_from_being_told, |rig| {
    let builder = Runtime::builder().depth_max(1);
    let Some(rt) = rig.subject.build(builder, netproc::Config::default()) else { return Ok(()) };
    let told: Rc<RefCell<Vec<String>>> = Rc::default();
    let server = rt.server("s").filter(|_, _| ()).start()?;
    let client = |name: &str| rt.client(name).remote(server.contact().local().clone());
    let log = Rc::clone(&told);
    let second =
        client("second").sentinel(move |_, event| log.borrow_mut().push(event.to_string()));
    let second = second.start()?;
    let other = second.clone();
    let first = client("first").sentinel(move |_, _| {
        other.delete();
        other.set_filter(|_, _| ());
    });
    first.start()?.delete();
    assert_eq!(*told.borrow(), ["deleted\n"]);
    Ok(())
});

conformance!(on (poll epoll uring): addresses_are_free_when_everything_was_ended, |rig| {
    let server = rig.server().start()?;
    let address = server.contact().local().socket_addr().ok_or("an address")?;
    rig.rt.close();
    std::net::TcpListener::bind(address)?;
    Ok(())
});
