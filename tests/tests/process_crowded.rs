//! As many connections as a server may have, and as many descriptors as there are: who has to wait,
//! who is told, what is logged, and that every place is given back.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{ErrorKind, Read as _},
    net::TcpStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use netproc::{
    CloseHow, Crowded, LogEntry, Process, StartError, Status,
    sim::{Faults, Rng},
};
use netproc_tests::{
    child::{allow_all_descriptors, allow_descriptors, descriptors},
    conformance,
    rig::{PATIENCE, Rig},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the server's log says of being full.
fn said(rig: &Rig, server: &Process) -> Vec<String> {
    let lines = rig.log.of(server);
    let full = lines.into_iter().filter_map(|line| {
        let line = line.strip_prefix("log: full with ")?;
        Some(line.split(" (").next().unwrap_or(line).to_owned())
    });
    full.collect()
}

fn clients(rig: &Rig, server: &Process, count: usize) -> Result<Vec<Process>, StartError> {
    (0..count).map(|_| rig.client(server).nowait(true).start()).collect()
}

conformance!(a_full_server_leaves_the_others_in_the_backlog, |rig| {
    for (count, full) in [(2, false), (3, true), (4, true)] {
        let server = rig.server().max_connections(3).start()?;
        let clients = clients(rig, &server, count)?;
        for client in &clients {
            client.send("me")?;
        }
        rig.settle();
        assert_eq!(rig.children(&server), count.min(3));
        assert!(clients.iter().all(|client| client.status() == Status::Open));
        let line = full.then(|| "3 connections".to_owned());
        assert_eq!(said(rig, &server), Vec::from_iter(line), "{count} of 3");
        assert_eq!(server.status(), Status::Listen, "full is not stopped");
        rig.connections(&server)[0].delete();
        rig.until("the one that waited", || rig.children(&server) == (count - 1).min(3));
        let newest = rig.child(&server);
        rig.until_bytes(&newest, b"me");
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.settle();
        rig.log.clear();
    }
    Ok(())
});

// A wait that serves somebody else accepts no more than there are places for.
conformance!(those_who_wait_to_be_born_take_the_places_there_are, |rig| {
    let other = rig.rt.server("other").start()?;
    let server = rig.server().max_connections(3).start()?;
    let before = rig.rt.stats().sockets;
    let mut clients = Vec::new();
    for count in 1..=20 {
        let client = rig.client(&server).nowait(true).start()?;
        client.send("me")?;
        clients.push(client);
        let wait = Some(Duration::from_millis(5));
        rig.rt.accept_output(Some(&other), wait, true)?;
        let accepted = rig.rt.stats().sockets - before - count;
        // One more may come before accepting stops.
        assert!(accepted <= 4, "{accepted} of {count}");
    }
    rig.until("as many as may", || rig.children(&server) == 3);
    rig.settle();
    assert_eq!(rig.children(&server), 3);
    // All have their turn.
    for left in (0..20).rev() {
        let child = rig.child(&server);
        rig.until_bytes(&child, b"me");
        child.delete();
        rig.until("the next", || rig.children(&server) == left.min(3));
    }
    Ok(())
});

conformance!(those_too_many_are_closed_though_nobody_serves_the_server, |rig| {
    let other = rig.rt.server("other").start()?;
    let server = rig.server().max_connections(3).crowded(Crowded::Close).start()?;
    let before = rig.rt.stats();
    let clients = (0..8).map(|_| rig.client(&server).nowait(true).start());
    let clients: Vec<_> = clients.collect::<Result<_, _>>()?;
    let kept = || {
        let now = rig.rt.stats();
        (now.accepted - before.accepted, now.sockets - before.sockets - 8)
    };
    let end = Instant::now() + PATIENCE;
    while kept() != (8, 3) {
        assert!(Instant::now() < end, "{:?}", kept());
        rig.rt.accept_output(Some(&other), Some(Duration::from_millis(5)), true)?;
    }
    let ended = || clients.iter().filter(|client| client.status() == Status::Closed).count();
    rig.until("the others' end", || ended() == 5);
    assert_eq!(rig.children(&server), 3);
    Ok(())
});

// It does not go on while those who waited are born, nor stop for good.
conformance!(a_server_goes_on_when_one_that_waited_is_gone, |rig| {
    let other = rig.rt.server("other").start()?;
    let server = rig.server().max_connections(3).start()?;
    let clients = clients(rig, &server, 6)?;
    let wait = Some(Duration::from_millis(10));
    rig.rt.accept_output(Some(&other), wait, true)?;
    clients.iter().for_each(Process::delete);
    rig.until("all of them gone", || rig.rt.stats().sockets == 2);
    let next = rig.connect(&server)?;
    next.send("me")?;
    rig.until("the next in", || rig.children(&server) == 1);
    rig.until_bytes(&rig.child(&server), b"me");
    Ok(())
});

conformance!(a_full_server_closes_the_others_if_told_so, |rig| {
    for (count, closed) in [(2, 0), (3, 0), (4, 1)] {
        let server = rig.server().max_connections(3).crowded(Crowded::Close).start()?;
        let clients = clients(rig, &server, count)?;
        let ended = || clients.iter().filter(|client| client.status() == Status::Closed).count();
        rig.until("the one too many", || ended() == closed);
        rig.settle();
        assert_eq!((ended(), rig.children(&server)), (closed, count.min(3)));
        let line = (closed > 0).then(|| "3 connections, 1 closed".to_owned());
        assert_eq!(said(rig, &server), Vec::from_iter(line), "{count} of 3");
        if let Some(client) = clients.iter().find(|client| client.status() == Status::Closed) {
            let heard = ["open (open)", "connection broken by remote peer (closed)"];
            assert_eq!(rig.log.of(client), heard);
        }
        rig.connections(&server)[0].delete();
        let next = rig.connect(&server)?;
        rig.until("the next in", || rig.children(&server) == count.min(3));
        assert_eq!(next.status(), Status::Open);
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.settle();
        rig.log.clear();
    }
    Ok(())
});

conformance!(fifty_too_many_are_a_line_of_the_log_and_a_count, |rig| {
    for crowded in [Crowded::Leave, Crowded::Close] {
        let counts: Rc<RefCell<Vec<u32>>> = Rc::default();
        let list = Rc::clone(&counts);
        let log = move |_: &Process, _: Option<&Process>, entry: &LogEntry| {
            if let LogEntry::Crowded { count, .. } = entry {
                list.borrow_mut().push(*count);
            }
        };
        let mut limits = netproc::Limits::default();
        limits.log_every = Duration::from_secs(3_600);
        let server = rig.rt.server("srv").limits(limits).max_connections(3).crowded(crowded);
        let server = server.log(log.clone()).start()?;
        let others = clients(rig, &server, 53)?;
        rig.settle();
        assert_eq!((rig.children(&server), counts.borrow().len()), (3, 1), "{crowded:?}");
        if crowded == Crowded::Close {
            let ended = others.iter().filter(|client| client.status() == Status::Closed).count();
            assert_eq!(ended, 50);
        } else {
            // Whoever leaves makes room for one.
            let served = Cell::new(3);
            while served.get() < 53 {
                rig.connections(&server)[0].delete();
                rig.until("the next", || rig.children(&server) == 3.min(53 - served.get() + 2));
                served.set(served.get() + 1);
            }
        }
        assert_eq!(counts.take(), [1], "the others were not logged within the hour");
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.settle();
        // Without a limit on the log each of them is an entry.
        limits.log_every = Duration::ZERO;
        let server = rig.rt.server("srv").limits(limits).max_connections(1).crowded(crowded);
        let server = server.log(log).start()?;
        let _others = clients(rig, &server, 6)?;
        rig.settle();
        let entries = if crowded == Crowded::Close { 5 } else { 1 };
        assert_eq!(counts.take(), vec![1; entries], "{crowded:?}");
    }
    Ok(())
});

/// Ends a connection, given its client and itself.
type Way = fn(&Process, &Process);

conformance!(whatever_ends_a_connection_gives_its_place_back, |rig| {
    let server = rig.server().max_connections(1).start()?;
    let mut client = rig.connect(&server)?;
    let ways: [(&str, Way); 6] = [
        ("its client's end", |client, _| client.delete()),
        ("its client's reset", |client, _| client.delete_with(CloseHow::Reset)),
        ("its client's half-close", |client, _| client.send_eof().expect("it is open")),
        ("its own deletion", |_, child| child.delete()),
        ("its own reset", |_, child| child.delete_with(CloseHow::Reset)),
        ("deleted twice, and its end", |client, child| {
            child.delete();
            child.delete();
            client.delete();
        }),
    ];
    for (what, way) in ways {
        let child = rig.child(&server);
        let next = rig.client(&server).nowait(true).start()?;
        next.send(what)?;
        rig.settle();
        assert_eq!(rig.connections(&server), std::slice::from_ref(&child), "{what}: no place yet");
        way(&client, &child);
        rig.until("the next in", || {
            !rig.connections(&server).is_empty() && child.status() == Status::Closed
        });
        rig.until_bytes(&rig.child(&server), what.as_bytes());
        client = next;
    }
    Ok(())
});

conformance!(a_full_server_can_be_stopped_and_resumed, |rig| {
    let server = rig.server().max_connections(1).start()?;
    let first = rig.connect(&server)?;
    let child = rig.child(&server);
    let _second = rig.client(&server).nowait(true).start()?;
    server.stop();
    rig.settle();
    server.resume();
    rig.settle();
    assert_eq!(rig.connections(&server), std::slice::from_ref(&child), "resumed, and still full");
    server.stop();
    first.delete();
    rig.until("its end", || child.status() == Status::Closed);
    rig.settle();
    assert_eq!(rig.children(&server), 0, "stopped, with room");
    server.resume();
    rig.until("the second in", || rig.children(&server) == 1);
    Ok(())
});

conformance!(connections_that_outlive_their_server_are_nobodys, |rig| {
    let server = rig.server().max_connections(2).start()?;
    let clients = clients(rig, &server, 3)?;
    rig.settle();
    let children = rig.connections(&server);
    assert_eq!(children.len(), 2);
    server.delete();
    let ended = || clients.iter().filter(|client| client.status() == Status::Closed).count();
    rig.until("the end of the one that waited", || ended() == 1);
    // In the list, the next one may stand where the first one stood.
    let next = rig.rt.server("next").max_connections(1).start()?;
    let _client = rig.connect(&next)?;
    rig.until("it in", || rig.children(&next) == 1);
    let _waits = rig.client(&next).nowait(true).start()?;
    for child in &children {
        child.delete();
    }
    rig.settle();
    assert_eq!(rig.children(&next), 1, "those of another server make no room here");
    Ok(())
});

conformance!(a_callback_may_end_what_fills_its_server, |rig| {
    let server = rig.server().max_connections(1).sentinel(|process, event| {
        if let netproc::Event::OpenFrom(_) = event {
            process.delete();
        }
    });
    let server = server.start()?;
    let clients = clients(rig, &server, 20)?;
    rig.until("everybody's end", || clients.iter().all(|c| c.status() == Status::Closed));
    assert_eq!(rig.children(&server), 0);
    Ok(())
});

conformance!(a_limit_is_for_servers_that_accept, |rig| {
    let packets = rig.rt.server("s").datagram().max_connections(1).start();
    assert!(matches!(packets, Err(StartError::Incompatible(_))), "{packets:?}");
    let none = rig.rt.server("s").max_connections(0).start();
    assert!(matches!(none, Err(StartError::Limits(_))), "{none:?}");
    let mut limits = netproc::Limits::default();
    (limits.connections_max, limits.crowded) = (Some(7), Crowded::Close);
    let bounds = |server: &Process| (server.limits().connections_max, server.limits().crowded);
    let by_limits = rig.rt.server("s").limits(limits).start()?;
    assert_eq!(bounds(&by_limits), (Some(7), Crowded::Close));
    let by_method = rig.rt.server("s").max_connections(8).limits(limits).start()?;
    assert_eq!(bounds(&by_method), (Some(8), Crowded::Close), "in either order");
    Ok(())
});

conformance!(on (sim): a_simulated_server_has_no_limit_of_its_own, |rig| {
    assert_eq!(rig.server().start()?.limits().connections_max, None);
    Ok(())
});

conformance!(alone on (poll epoll uring): a_server_leaves_sixty_four_descriptors_to_others, |rig| {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    for (limit, wanted) in [(64, 1), (65, 1), (66, 2), (200, 136)] {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
        let rt = rig.another();
        setrlimit(Resource::RLIMIT_NOFILE, 300, hard)?;
        let server = rt.server("s").start()?;
        assert_eq!(server.limits().connections_max, Some(wanted), "{limit} descriptors");
        rt.close();
        while rt.stats().sockets > 0 {
            rt.turn(PATIENCE)?;
        }
    }
    Ok(())
});

conformance!(on (sim): places_are_counted_right_whatever_happens, |rig| {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let max = rng.index(4) + 1;
        let crowded = if rng.percent(50) { Crowded::Leave } else { Crowded::Close };
        let server = rig.server().max_connections(max).crowded(crowded).start()?;
        let mut faults = Faults::swarm(seed);
        faults.connect_timeout = 0;
        rig.rt.with_simulation(|sim| sim.set_faults(faults)).ok_or("a simulation")?;
        for _ in 0..150 {
            let all = rig.rt.process_list();
            let one = &all[rng.index(all.len())];
            match rng.below(8) {
                0..3 => drop(rig.client(&server).nowait(true).start()),
                3 if *one != server => one.delete(),
                4 if *one != server => one.delete_with(CloseHow::Reset),
                5 => drop(one.send("some of it")),
                6 if rng.percent(50) => one.stop(),
                6 => one.resume(),
                _ => drop(rig.rt.turn(Duration::from_millis(rng.below(30)))?),
            }
            let children = rig.children(&server);
            assert!(children <= max, "seed {seed}: {children} of {max}\n{}", rig.log);
        }
        rig.rt.with_simulation(|sim| sim.set_faults(Faults::none())).ok_or("a simulation")?;
        // Whoever has waited goes through, behind a rest perhaps; then every place is free.
        server.resume();
        let over = Rc::new(Cell::new(false));
        let flag = Rc::clone(&over);
        rig.rt.run_after(Duration::from_secs(1), move |_| flag.set(true));
        rig.until("the end of the others", || {
            let all = rig.rt.process_list();
            let others = all.iter().filter(|process| **process != server);
            others.for_each(|process| process.delete_with(CloseHow::Now));
            over.get() && all.len() == 1
        });
        let _clients = clients(rig, &server, max + 1)?;
        rig.settle();
        assert_eq!(rig.children(&server), max, "seed {seed}: places lost or made up");
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.settle();
        rig.log.clear();
    }
    Ok(())
});

/// A server at which three peers wait, without a descriptor left for any.
fn exhausted(rig: &Rig) -> Result<(Process, Vec<TcpStream>), Box<dyn std::error::Error>> {
    let server = rig.server().start()?;
    let at = server.contact().local().socket_addr().ok_or("an IP address")?;
    // An accept that was armed before keeps the limit of that time.
    server.stop();
    rig.settle();
    allow_descriptors(3)?;
    let peers: Vec<_> = (0..3).map(|_| TcpStream::connect(at)).collect::<Result<_, _>>()?;
    for peer in &peers {
        peer.set_nonblocking(true)?;
    }
    allow_descriptors(0)?;
    server.resume();
    Ok((server, peers))
}

/// Whether the peer has read the end.
fn ended(peer: &TcpStream) -> bool {
    match (&mut &*peer).read(&mut [0]) {
        Ok(0) => true,
        Err(err) if err.kind() == ErrorKind::WouldBlock => false,
        answer => panic!("{answer:?}"),
    }
}

conformance!(alone on (poll epoll uring): the_reserve_answers_those_who_wait_one_after_another,
    |config| { config.accept_pause = Duration::from_millis(200); }, |rig| {
    let (before, begun) = (descriptors()?, Instant::now());
    let (server, peers) = exhausted(rig)?;
    rig.until_line(&server, "log: accept failed with code 24 (listen)");
    assert_eq!(rig.rt.stats().turned_away, 0, "a shortage is not lasting at once");
    let waits = rig.rt.stats().waits;
    for (number, peer) in peers.iter().enumerate().take(2) {
        rig.until("the next turned away", || rig.rt.stats().turned_away > number as u64);
        rig.until("its end", || ended(peer));
        assert!(!ended(&peers[number + 1]), "the one behind it waits for another turn");
    }
    assert!(rig.rt.stats().waits - waits < 100, "it does not spin: {:?}", rig.rt.stats());
    assert_eq!((server.status(), rig.children(&server)), (Status::Listen, 0));
    let failures = rig.log.of(&server).iter().filter(|line| line.contains("failed")).count();
    let seconds = begun.elapsed().as_secs();
    assert!(failures as u64 <= 2 + seconds, "once a second: {}", rig.log);
    // The one who still waits and one who comes now are served.
    let start = Instant::now();
    allow_all_descriptors()?;
    let at = server.contact().local().socket_addr().ok_or("an IP address")?;
    let new = TcpStream::connect(at)?;
    rig.until("both in", || rig.children(&server) == 2);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert_eq!(rig.rt.stats().turned_away, 2);
    drop((peers, new));
    server.delete();
    rig.until("all gone", || rig.rt.process_list().is_empty() && rig.rt.stats().sockets == 0);
    assert_eq!(descriptors()?, before, "the reserve was taken again, and nothing else kept");
    Ok(())
});

conformance!(alone on (poll epoll uring): a_rest_that_a_free_descriptor_ends_turns_nobody_away,
    |config| { config.accept_pause = Duration::from_secs(3_600); }, |rig| {
    let servers = [rig.server().start()?, rig.server().start()?];
    let at = |server: &Process| server.contact().local().socket_addr().expect("an IP address");
    let _first = TcpStream::connect(at(&servers[0]))?;
    let child = rig.child(&servers[0]);
    // An accept that was armed before keeps the limit of that time.
    servers.iter().for_each(Process::stop);
    rig.settle();
    allow_descriptors(2)?;
    let _peers = [TcpStream::connect(at(&servers[0]))?, TcpStream::connect(at(&servers[1]))?];
    allow_descriptors(0)?;
    servers.iter().for_each(Process::resume);
    for server in &servers {
        rig.until_line(server, "log: accept failed with code 24 (listen)");
    }
    // One comes free for two who wait: the other finds none, but it has not waited in vain yet.
    child.delete_with(CloseHow::Now);
    let listed = || rig.rt.process_list().len();
    rig.until("one of them in", || listed() == 3);
    rig.settle();
    assert_eq!((listed(), rig.rt.stats().turned_away), (3, 0));
    allow_all_descriptors()?;
    Ok(())
});

conformance!(alone on (poll epoll uring): the_reserve_survives_threads_that_are_quicker,
    |config| { config.accept_pause = Duration::from_millis(5); }, |rig| {
    let (server, peers) = exhausted(rig)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Takes every number that comes free, and would see it closed by somebody else.
    let thief = std::thread::spawn(move || {
        let mut thefts = 0_u32;
        while !flag.load(Ordering::Relaxed) {
            if let Ok(file) = File::open("/dev/null") {
                file.metadata().expect("a descriptor of ours is open");
                thefts += 1;
            }
            std::thread::yield_now();
        }
        thefts
    });
    let over = Instant::now() + Duration::from_millis(500);
    rig.until("half a second", || Instant::now() > over);
    stop.store(true, Ordering::Relaxed);
    thief.join().map_err(|_| "the thief's descriptor was closed")?;
    allow_all_descriptors()?;
    let gone = || peers.iter().filter(|peer| ended(peer)).count();
    rig.until("everybody answered", || gone() + rig.children(&server) == 3);
    assert_eq!(rig.rt.stats().turned_away, gone() as u64);
    Ok(())
});

conformance!(on (sim): a_short_shortage_turns_nobody_away_and_a_long_one_the_first, |rig| {
    // Twice a short one: what lies between begins a new count.
    let server = rig.server().start()?;
    for (long, away) in [(false, 0), (false, 0), (true, 1)] {
        server.stop();
        let (first, second) = (rig.connect(&server)?, rig.connect(&server)?);
        let mut faults = Faults::none();
        faults.emfile = 100;
        rig.rt.with_simulation(|sim| sim.set_faults(faults)).ok_or("a simulation")?;
        server.resume();
        rig.until_line(&server, "log: accept failed with code 24 (listen)");
        if long {
            rig.until("one turned away", || rig.rt.stats().turned_away == 1);
        }
        rig.rt.with_simulation(|sim| sim.set_faults(Faults::none())).ok_or("a simulation")?;
        rig.until("the others in", || rig.children(&server) == 2 - away);
        rig.settle();
        let told = rig.log.of(&first).contains(&"connection broken by remote peer (closed)".into());
        assert_eq!((told, second.status()), (long, Status::Open));
        assert_eq!(rig.rt.stats().turned_away, away as u64);
        for process in rig.rt.process_list().into_iter().filter(|process| *process != server) {
            process.delete();
        }
        // Logged failures are a second apart at least.
        let over = Rc::new(Cell::new(false));
        let flag = Rc::clone(&over);
        rig.rt.run_after(Duration::from_secs(2), move |_| flag.set(true));
        rig.until("two seconds", || over.get());
        rig.log.clear();
    }
    Ok(())
});
