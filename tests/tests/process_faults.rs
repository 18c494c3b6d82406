//! A system that refuses: no descriptors, no answer, no network. Everybody hears of it once, and the
//! others go on.

use std::{
    cell::Cell,
    io::{ErrorKind, Write as _},
    net::TcpStream,
    rc::Rc,
    time::Duration,
};

use netproc::{Address, Exit, Failure, StartError, Status};
use netproc_tests::{
    child::{allow_all_descriptors, allow_descriptors},
    conformance,
};

conformance!(alone on (poll epoll uring): without_descriptors_a_server_says_so_and_rests,
    |config| { config.reserve_descriptor = false; }, |rig| {
    let server = rig.server().start()?;
    let at = server.contact().local().socket_addr().ok_or("an IP address")?;
    // An accept that was armed before keeps the limit of that time.
    server.stop();
    rig.settle();
    allow_descriptors(1)?;
    let _peer = TcpStream::connect(at)?;
    allow_descriptors(0)?;
    server.resume();
    rig.until_line(&server, "log: accept failed with code 24 (listen)");
    let over = Rc::new(Cell::new(false));
    let flag = Rc::clone(&over);
    let waits = rig.rt.stats().waits;
    rig.rt.run_after(Duration::from_millis(1_500), move |_| flag.set(true));
    rig.until("a second and a half", || over.get());
    let failures = rig.log.of(&server).iter().filter(|line| line.contains("failed")).count();
    assert!((1..=3).contains(&failures), "logged at most once a second: {}", rig.log);
    assert!(rig.rt.stats().waits - waits < 100, "it did not rest: {:?}", rig.rt.stats());
    allow_all_descriptors()?;
    rig.until("it in", || rig.children(&server) == 1);
    assert_eq!((server.status(), rig.rt.stats().turned_away), (Status::Listen, 0));
    Ok(())
});

conformance!(alone on (poll epoll uring): without_descriptors_a_start_is_an_error, |rig| {
    let server = rig.server().start()?;
    rig.settle();
    let listed = rig.rt.process_list();
    allow_descriptors(0)?;
    for nowait in [false, true] {
        let refused = rig.client(&server).nowait(nowait).start();
        assert!(
            matches!(refused, Err(StartError::Sys { source, .. }) if source.is_out_of_descriptors())
        );
    }
    assert!(rig.server().start().is_err());
    assert!(rig.server().datagram().start().is_err());
    assert_eq!(rig.rt.process_list(), listed);
    allow_all_descriptors()?;
    let client = rig.connect(&server)?;
    client.send("x")?;
    let child = rig.child(&server);
    rig.until_bytes(&child, b"x");
    Ok(())
});

conformance!(on (sim): a_connect_that_is_never_answered_fails_once, |rig| {
    let server = rig.server().start()?;
    let mut silence = netproc::sim::Faults::none();
    silence.connect_timeout = 100;
    rig.rt.with_simulation(|sim| sim.set_faults(silence)).ok_or("a simulation")?;
    let client = rig.client(&server).nowait(true).start()?;
    let begun = rig.client(&server).within(Duration::from_millis(50)).start();
    assert!(matches!(begun, Err(StartError::TimedOut { .. })), "{begun:?}");
    let deleted = rig.client(&server).nowait(true).start()?;
    deleted.delete();
    rig.until("the time-out", || client.status() == Status::Failed);
    rig.settle();
    assert_eq!(rig.log.of(&client), ["failed with code 110 (failed)"]);
    assert_eq!(rig.log.of(&deleted), ["deleted (closed)"]);
    assert_eq!(rig.rt.process_list(), [client, server]);
    Ok(())
});

conformance!(on (poll epoll uring): a_network_without_a_route_is_one_failure, |rig| {
    // A multicast address is nobody's to connect to: refused by the system at once.
    let nowhere: Address = "[224 0 0 1 9]".parse()?;
    let refused = rig.client_at(nowhere.clone()).start();
    assert!(matches!(refused, Err(StartError::Sys { .. })), "{refused:?}");
    let client = rig.client_at(nowhere).nowait(true).start()?;
    rig.until("the failure", || client.status() == Status::Failed);
    rig.settle();
    let Exit::Failed(Failure::Sys(err)) = client.exit() else { return Err("no failure".into()) };
    assert_eq!(rig.log.of(&client), [format!("failed with code {} (failed)", err.errno)]);
    Ok(())
});

// Full of answers that nobody reads, a process gets no input till some are gone; then none ever will be.
conformance!(on (poll epoll uring): a_peer_that_goes_while_it_owes_its_reading_ends_the_connection, |rig| {
    let server = rig.echo().start()?;
    let at = server.contact().local().socket_addr().ok_or("an IP address")?;
    let mut peer = TcpStream::connect(at)?;
    let child = rig.child(&server);
    peer.set_nonblocking(true)?;
    let mut sent = 0;
    let mut quiet = 0;
    // Nobody takes anything any more once it refuses in spite of several turns.
    while quiet < 3 {
        match peer.write(&[7; 65_536]) {
            Ok(len) => (sent, quiet) = (sent + len, 0),
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                rig.settle();
                quiet += 1;
            }
            Err(err) => return Err(err.into()),
        }
    }
    assert_ne!(child.queued(), 0, "after {sent} bytes");
    child.notify_drained();
    // What it has not read makes this a reset.
    drop(peer);
    rig.until("the end", || child.status() == Status::Closed);
    assert!(!rig.log.of(&child).iter().any(|line| line.contains("drained")), "{}", rig.log);
    assert_eq!(rig.rt.process_list(), [server]);
    Ok(())
});

conformance!(on (sim): connections_the_network_resets_end_once_behind_their_input, |rig| {
    let mut resets = netproc::sim::Faults::none();
    resets.reset = 100;
    resets.short_recv = 50;
    rig.rt.with_simulation(|sim| sim.set_faults(resets)).ok_or("a simulation")?;
    let server = rig.echo().start()?;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(rig.client(&server).nowait(true).start()?);
    }
    for client in &clients {
        client.send(netproc_tests::contract::pattern(1, 200_000))?;
    }
    rig.until("the end of all", || {
        clients.iter().all(|client| matches!(client.status(), Status::Closed | Status::Failed))
    });
    rig.settle();
    for client in &clients {
        let lines = rig.log.of(client);
        let ends = lines.iter().filter(|line| line.contains("(closed)")).count();
        let last = lines.last().is_some_and(|line| !line.contains("(open)"));
        assert!(ends <= 1 && last, "{lines:?}");
    }
    Ok(())
});
