//! Several addresses: they race as RFC 8305 has it, one wins, nothing of the others is heard or left.
//!
//! RFC 8305; Emacs Lisp manual 28.2, "Network Processes", which has one address after the other.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    Address, ClientBuilder, Event, Exit, Failure, Op, Process, SendError, SockOption, StartError,
    Status,
    sim::{Faults, SimReactor},
};
use netproc_tests::{
    conformance,
    rig::{Outcome, PATIENCE, Rig},
};

/// The shortest delay there is between attempts, for tests that wait for it on a real clock.
const SOON: Duration = Duration::from_millis(10);
/// Nobody is there: the simulation's other hosts never answer.
const SILENT: &str = "[192 0 2 1 7]";

fn at(server: &Process) -> Address {
    server.contact().local().clone()
}

/// A client of all these that logs what it is told.
fn client(rig: &Rig, to: impl IntoIterator<Item = Address>) -> ClientBuilder {
    let log = &rig.log;
    let client = rig.rt.client("client").remotes(to).attempt_delay(SOON);
    client.filter(log.filter()).sentinel(log.sentinel())
}

/// How long something takes on the clock of a simulation.
fn virtually(
    rig: &Rig,
    what: impl FnOnce() -> Outcome,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let now = || rig.rt.with_simulation(|sim| netproc_core::reactor::Reactor::now(sim));
    let begin = now().ok_or("a simulation")?;
    what()?;
    Ok(now().ok_or("a simulation")?.since(begin))
}

conformance!(the_second_address_is_open_when_the_first_is_silent, |rig| {
    let (dead, filler) = rig.silent()?;
    let alive = rig.server().start()?;
    for nowait in [false, true] {
        let client = client(rig, [at(&dead), at(&alive)]).nowait(nowait).start()?;
        rig.until("the connection", || client.status() == Status::Open);
        assert_eq!(client.contact().remote(), Some(&at(&alive)));
        let announced = if nowait { vec!["open (open)".to_owned()] } else { Vec::new() };
        assert_eq!(rig.log.of(&client), announced);
        client.send("through")?;
        let child = rig.child(&alive);
        rig.until_bytes(&child, b"through");
        assert_eq!(child.contact().remote(), Some(client.contact().local()));
        client.delete();
        rig.until("its end", || child.status() == Status::Closed);
    }
    rig.settle();
    // Two servers and the filler; its other end still waits to be accepted.
    assert_eq!(rig.rt.stats().sockets, 3, "no attempt has kept its socket");
    dead.resume();
    let child = rig.child(&dead);
    rig.settle();
    assert_eq!(child.contact().remote(), Some(filler.contact().local()));
    assert_eq!(rig.connections(&dead), [child], "nobody else waits there");
    Ok(())
});

conformance!(a_refused_address_makes_way_for_the_next, |rig| {
    let dead = rig.dead_end()?;
    let alive = rig.server().start()?;
    for nowait in [false, true] {
        let client = client(rig, [dead.clone(), dead.clone(), at(&alive)]).nowait(nowait);
        let client = client.start()?;
        rig.until("the connection", || client.status() == Status::Open);
        assert_eq!(client.contact().remote(), Some(&at(&alive)));
        assert_eq!(rig.log.of(&client).len(), usize::from(nowait));
    }
    Ok(())
});

conformance!(when_all_fail_there_is_one_failure_the_last, |rig| {
    let (first, last) = (rig.dead_end()?, rig.dead_end()?);
    let client_of = || client(rig, [first.clone(), last.clone()]);
    let failed = client_of().nowait(true).start()?;
    assert_eq!(failed.status(), Status::Connect);
    failed.send("lost")?;
    rig.until_line(&failed, "failed with code 111 (failed)");
    rig.settle();
    assert_eq!(rig.log.of(&failed), ["failed with code 111 (failed)"]);
    let Exit::Failed(Failure::Sys(err)) = failed.exit() else { return Err("no failure".into()) };
    assert_eq!((err.op, err.errno), (Op::Connect, 111));
    assert_eq!(failed.contact().remote(), Some(&last));
    assert_eq!(failed.send("x"), Err(SendError::NotOpen(Status::Failed)));

    let Err(StartError::Sys { address, source }) = client_of().start() else {
        return Err("not refused".into());
    };
    assert_eq!((address, source.op, source.errno), (Some(last), Op::Connect, 111));
    assert_eq!(rig.rt.process_list(), [failed], "nothing is left of the other");
    rig.settle();
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(an_address_of_the_wrong_family_is_one_that_failed, |rig| {
    let alive = rig.server().start()?;
    let (six, free): (Address, Address) = ("[0 0 0 0 0 0 0 1 7]".parse()?, rig.dead_end()?);
    let bound = client(rig, [six.clone(), at(&alive)]).local(free.clone()).start()?;
    assert_eq!((bound.contact().remote(), bound.contact().local()), (Some(&at(&alive)), &free));
    let refused = client(rig, [six.clone(), six.clone()]).local(rig.dead_end()?).start();
    let Err(StartError::Sys { address, .. }) = refused else { return Err("not refused".into()) };
    assert_eq!(address, Some(six));
    Ok(())
});

conformance!(with_a_port_of_its_own_it_makes_one_attempt_at_a_time, |rig| {
    let (dead, _filler) = rig.silent()?;
    let (alive, mine) = (rig.server().start()?, rig.dead_end()?);
    let before = rig.rt.stats().sockets;
    let client = client(rig, [at(&dead), at(&alive)]).local(mine.clone()).nowait(true).start()?;
    // Many delays: the port stays with the attempt that has it.
    let waited = Rc::new(Cell::new(false));
    let over = Rc::clone(&waited);
    rig.rt.run_after(10 * SOON, move |_| over.set(true));
    rig.until("some delays", || waited.get());
    assert_eq!((client.status(), rig.rt.stats().sockets), (Status::Connect, before + 1));
    // Linux asks for a place again after a second, and is refused.
    dead.delete();
    rig.until_line(&client, "open (open)");
    assert_eq!((client.contact().remote(), client.contact().local()), (Some(&at(&alive)), &mine));
    Ok(())
});

conformance!(deleted_while_it_races_it_hears_of_that_only, |rig| {
    for both in [false, true] {
        let (one, two) = (rig.silent()?.0, rig.silent()?.0);
        let before = rig.rt.stats().sockets;
        let client = client(rig, [at(&one), at(&two)]).nowait(true).start()?;
        client.send("never")?;
        rig.until("the attempts", || !both || rig.rt.stats().sockets == before + 2);
        client.delete();
        assert_eq!(rig.log.of(&client), ["deleted (closed)"]);
        rig.until("every socket closed", || rig.rt.stats().sockets == before);
        for server in [one, two] {
            server.resume();
            let filler = rig.child(&server);
            rig.settle();
            assert_eq!(rig.log.bytes_of(&filler), b"");
            assert_eq!(rig.connections(&server), [filler], "a late connection");
        }
        assert_eq!(rig.log.of(&client).len(), 1);
    }
    Ok(())
});

conformance!(a_start_that_gives_up_ends_every_attempt, |rig| {
    let (one, two) = (rig.silent()?.0, rig.silent()?.0);
    let before = (rig.rt.process_list(), rig.rt.stats().sockets);
    let within = Duration::from_millis(50);
    let given_up = client(rig, [at(&one), at(&two)]).within(within).start();
    let Err(StartError::TimedOut { address }) = given_up else { return Err("it was not".into()) };
    assert!([at(&one), at(&two)].contains(&address), "{address}");
    rig.until("every socket closed", || rig.rt.stats().sockets == before.1);
    assert_eq!((rig.rt.process_list(), rig.log.lines().len()), (before.0, 0));
    Ok(())
});

conformance!(what_was_sent_early_goes_to_the_winner_only, |rig| {
    let (dead, filler) = rig.silent()?;
    let alive = rig.echo().start()?;
    let client = client(rig, [at(&dead), at(&alive)]).nowait(true).start()?;
    client.send("one ")?;
    client.send("two ")?;
    rig.until_line(&client, "open (open)");
    client.send("three")?;
    rig.until_bytes(&client, b"one two three");
    dead.resume();
    let child = rig.child(&dead);
    rig.settle();
    assert_eq!(child.contact().remote(), Some(filler.contact().local()));
    assert_eq!(rig.log.bytes_of(&child), b"");
    Ok(())
});

conformance!(an_end_asked_for_while_it_races_comes_behind_what_was_sent, |rig| {
    let (dead, _filler) = rig.silent()?;
    let alive = rig.server().start()?;
    let client = client(rig, [at(&dead), at(&alive)]).nowait(true).start()?;
    client.send("all of it")?;
    client.send_eof()?;
    let end = "child: connection broken by remote peer (closed)".to_owned();
    rig.until("the child's end", || rig.log.lines().contains(&end));
    assert!(rig.log.lines().contains(&"child: \"all of it\" (open)".into()));
    Ok(())
});

conformance!(what_a_stop_or_a_resume_says_while_it_races_holds_for_the_winner, |rig| {
    for stop in [true, false] {
        let (one, _filler) = rig.silent()?;
        let two = rig.server().backlog(0).stop(true).on_accept(|_, child| child.send("hello"));
        let two = two.start()?;
        let filler = rig.connect(&two)?;
        let before = rig.rt.stats().sockets;
        let client = client(rig, [at(&one), at(&two)]).nowait(true).stop(!stop).start()?;
        rig.until("both attempts", || rig.rt.stats().sockets == before + 2);
        if stop {
            client.stop();
        } else {
            client.resume();
        }
        // Linux asks for the place again after a second.
        two.resume();
        rig.until_bytes(&filler, b"hello");
        rig.until("the other end", || rig.children(&two) == 2);
        rig.settle();
        if stop {
            assert_eq!(rig.log.of(&client), ["open (stop)"], "the input waits");
            client.resume();
            rig.until_bytes(&client, b"hello");
        } else {
            assert_eq!(rig.log.of(&client), ["open (open)", "\"hello\" (open)"]);
        }
    }
    Ok(())
});

conformance!(an_option_set_while_it_races_is_taken, |rig| {
    let (dead, _filler) = rig.silent()?;
    let alive = rig.server().start()?;
    let client = client(rig, [at(&dead), at(&alive)]).nowait(true).start()?;
    client.set_option(SockOption::KeepAlive(true))?;
    rig.until_line(&client, "open (open)");
    assert_eq!(client.contact().get(":keepalive").map(|it| it.to_string()).as_deref(), Some("t"));
    Ok(())
});

conformance!(a_race_goes_on_while_a_wait_serves_somebody_else, |rig| {
    let (dead, _filler) = rig.silent()?;
    let (_server, talker, quiet) = rig.pair()?;
    let alive = rig.server().start()?;
    let client = client(rig, [at(&dead), at(&alive)]).nowait(true).start()?;
    let only = || rig.rt.accept_output(Some(&quiet), Some(Duration::from_millis(50)), true);
    let tried = || client.contact().remote() == Some(&at(&alive));
    rig.until("the second attempt", || !only().expect("the runtime works") && tried());
    assert_eq!((client.status(), rig.log.of(&client).len()), (Status::Connect, 0));
    talker.send("x")?;
    rig.until("its output", || only().expect("the runtime works"));
    rig.until_line(&client, "open (open)");
    Ok(())
});

conformance!(many_races_at_once_all_end_open, |rig| {
    let dead = rig.dead_end()?;
    let (silent, _filler) = rig.silent()?;
    let alive = rig.server().start()?;
    let to = [at(&silent), dead, at(&alive)];
    let start = |_| client(rig, to.clone()).nowait(true).start();
    let clients = (0..100).map(start).collect::<Result<Vec<_>, _>>()?;
    rig.until("everybody", || clients.iter().all(|client| client.status() == Status::Open));
    for client in &clients {
        assert_eq!(rig.log.of(client), ["open (open)"]);
        assert_eq!(client.contact().remote(), Some(&at(&alive)));
    }
    rig.until("their other ends", || rig.children(&alive) == 100);
    let sockets = 3 + 2 * 100;
    rig.until("the losers closed", || rig.rt.stats().sockets == sockets);
    Ok(())
});

conformance!(a_run_lasts_as_long_as_a_race, |rig| {
    let (dead, _filler) = rig.silent()?;
    let alive = rig.server().start()?;
    let client = client(rig, [at(&dead), at(&alive)]).nowait(true);
    let client = client.sentinel(|client, event| {
        if let Event::Open = event {
            client.runtime().process_list().iter().for_each(Process::delete);
        }
    });
    let client = client.start()?;
    rig.rt.run()?;
    assert_eq!((client.status(), client.contact().remote()), (Status::Closed, Some(&at(&alive))));
    Ok(())
});

conformance!(packets_go_to_the_first_address, |rig| {
    let (first, second) = (rig.server().datagram().start()?, rig.server().datagram().start()?);
    let client = client(rig, [at(&first), at(&second)]).datagram().start()?;
    client.send("packet")?;
    rig.until_bytes(&first, b"packet");
    rig.settle();
    assert_eq!(rig.log.bytes_of(&second), b"");
    Ok(())
});

conformance!(a_bad_list_of_addresses_is_refused, |rig| {
    let alive = rig.server().start()?;
    let none = client(rig, []).start();
    assert!(matches!(none, Err(StartError::NoAddress)), "{none:?}");
    let portless = client(rig, [at(&alive), "[127 0 0 1 0]".parse()?]).start();
    assert!(matches!(portless, Err(StartError::Service { .. })), "{portless:?}");
    for millis in [0, 9, 2001, u64::MAX] {
        let delay = Duration::from_millis(millis);
        let refused = client(rig, [at(&alive)]).attempt_delay(delay).start();
        let Err(StartError::Limits(err)) = refused else { return Err(format!("{millis}").into()) };
        assert_eq!(err.field, "attempt_delay");
    }
    assert_eq!(rig.rt.process_list().len(), 1, "nothing is left of them");
    for millis in [10, 2000] {
        let client = client(rig, [at(&alive)]).attempt_delay(Duration::from_millis(millis));
        client.start()?;
    }
    Ok(())
});

conformance!(on (sim): each_address_has_the_delay_for_itself, |rig| {
    let alive = at(&rig.server().start()?);
    let (silent, dead): (Address, _) = (SILENT.parse()?, rig.dead_end()?);
    let cases = [
        (vec![&alive], 0),
        (vec![&silent, &alive], 250),
        (vec![&silent, &silent, &silent, &alive], 750),
        (vec![&dead, &dead, &alive], 0),
        (vec![&silent, &dead, &alive], 250),
        (vec![&dead, &silent, &alive], 250),
    ];
    for (to, millis) in cases {
        for nowait in [false, true] {
            let took = virtually(rig, || {
                let client = rig.rt.client("client").remotes(to.iter().copied().cloned());
                let client = client.nowait(nowait).sentinel(|_, _| ()).start()?;
                rig.until("the connection", || client.status() == Status::Open);
                Ok(())
            })?;
            let expected = Duration::from_millis(millis);
            assert!(took >= expected && took < expected + SOON, "{to:?} took {took:?}");
        }
    }
    Ok(())
});

conformance!(on (sim): the_failure_that_comes_last_is_told, |rig| {
    let (silent, dead): (Address, _) = (SILENT.parse()?, rig.dead_end()?);
    for to in [[silent.clone(), dead.clone()], [dead.clone(), silent.clone()]] {
        let refused = client(rig, to).within(Duration::from_secs(200)).start();
        let Err(StartError::Sys { address, source }) = refused else { return Err("open".into()) };
        assert_eq!((address.as_ref(), source.errno), (Some(&silent), 110), "long after the other");
    }
    Ok(())
});

/// Two servers, each of which may take longer than the delay: the quicker one is heard, whichever it is,
/// and the other never hears of anybody.
#[test]
fn the_quicker_one_wins_and_the_other_hears_nothing() -> Outcome {
    let mut second_won = 0;
    for seed in 0..200 {
        let mut faults = Faults::none();
        faults.delay_max = 3 * SOON;
        let reactor = SimReactor::new(seed, faults, netproc::Config::default());
        let rt = netproc::Runtime::builder().simulated(reactor);
        let heard: Rc<RefCell<Vec<String>>> = Rc::default();
        let note = |whose: &'static str| {
            let heard = Rc::clone(&heard);
            move |what: &str| heard.borrow_mut().push(format!("{whose} {}", what.trim_end()))
        };
        let server = |name| {
            let (input, event) = (note(name), note(name));
            let server = rt.server(name).sentinel(move |_, told| event(&told.to_string()));
            server.filter(move |_, bytes| input(&String::from_utf8_lossy(&bytes))).start()
        };
        let (one, two) = (server("one")?, server("two")?);
        let (told, done) = (note("client"), Rc::new(Cell::new(false)));
        let client = rt.client("c").remotes([at(&one), at(&two)]).attempt_delay(SOON).nowait(true);
        let client = client.sentinel(move |_, event| told(&event.to_string())).start()?;
        client.send("hello")?;
        let stop = Rc::clone(&done);
        rt.run_after(Duration::from_secs(10), move |_| stop.set(true));
        while !done.get() {
            rt.turn(PATIENCE)?;
        }
        let second = client.contact().remote() == Some(&at(&two));
        second_won += u32::from(second);
        let won = if second { "two" } else { "one" };
        let mut all = heard.take();
        all.sort();
        let mut expected =
            ["client open", &format!("{won} open from 127.0.0.1"), &format!("{won} hello")];
        expected.sort_unstable();
        assert_eq!(all, expected, "seed {seed}");
        rt.close();
    }
    assert!((20..180).contains(&second_won), "the second won {second_won} times of 200");
    Ok(())
}
