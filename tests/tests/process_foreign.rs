//! A loop of somebody else's drives the runtime: it sleeps on one descriptor and turns when that is
//! readable.
#![cfg(unix)]

use std::{
    cell::Cell,
    os::fd::{AsFd as _, BorrowedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{
    Error, Event, Limits, Runtime, Status,
    stream::{DialogueParams, OpenStreamError, StreamType},
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits for the descriptor as a foreign loop does; whether it is readable.
fn readable(fd: BorrowedFd<'_>, within: Duration) -> nix::Result<bool> {
    let mut set = [PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(within).expect("some seconds");
    Ok(poll(&mut set, timeout)? > 0)
}

/// A foreign loop: sleeps on the descriptor, looks when it is readable, until `done`.
fn drive(rt: &Runtime, what: &str, done: impl Fn() -> bool) -> netproc_tests::rig::Outcome {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}: did not come about");
        assert!(readable(rt.as_fd()?, PATIENCE)?, "{what}: never readable again");
        rt.turn(Duration::ZERO)?;
    }
    Ok(())
}

/// Turns until the descriptor is not readable any more.
fn calm(rig: &Rig) -> netproc_tests::rig::Outcome {
    rig.settle();
    let mut turns = 0;
    while readable(rig.rt.as_fd()?, Duration::from_millis(20))? {
        rig.rt.turn(Duration::ZERO)?;
        turns += 1;
        assert!(turns < 100, "it never calms down");
    }
    Ok(())
}

conformance!(on (epoll uring): a_foreign_loop_drives_an_echo, |rig| {
    let bytes = pattern(3, 700_000);
    let server = rig.echo().start()?;
    let client = rig.client(&server).nowait(true).start()?;
    client.send(bytes.clone())?;
    drive(&rig.rt, "the echo", || rig.log.len_of(&client) == bytes.len())?;
    rig.until_bytes(&client, &bytes);
    client.send("again")?;
    drive(&rig.rt, "the second echo", || rig.log.len_of(&client) == bytes.len() + 5)?;
    let child = rig.child(&server);
    client.delete();
    drive(&rig.rt, "the end", || child.status() == Status::Closed)
});

conformance!(on (epoll uring): an_idle_descriptor_is_not_readable, |rig| {
    calm(rig)?;
    let (_server, client, child) = rig.pair()?;
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    calm(rig)?;
    for _ in 0..3 {
        assert!(!readable(rig.rt.as_fd()?, Duration::from_millis(100))?);
        rig.rt.turn(Duration::ZERO)?;
    }
    Ok(())
});

conformance!(on (epoll uring): a_timer_makes_it_readable, |rig| {
    calm(rig)?;
    let done = Rc::new(Cell::new(false));
    let flag = Rc::clone(&done);
    let begin = Instant::now();
    let delay = Duration::from_millis(150);
    rig.rt.run_after(delay, move |_| flag.set(true));
    drive(&rig.rt, "the timer", || done.get())?;
    assert!(begin.elapsed() >= delay);
    calm(rig)?;
    let cancelled = rig.rt.run_after(Duration::from_millis(50), |_| unreachable!());
    assert!(cancelled.cancel());
    rig.rt.turn(Duration::ZERO)?;
    Ok(())
});

conformance!(on (epoll uring): a_nearer_timer_counts_although_it_was_set_later, |rig| {
    let order: Rc<std::cell::RefCell<Vec<u32>>> = Rc::default();
    for (name, seconds) in [(2, 3.0), (1, 0.06)] {
        let order = Rc::clone(&order);
        let delay = Duration::from_secs_f64(seconds);
        rig.rt.run_after(delay, move |_| order.borrow_mut().push(name));
        rig.rt.turn(Duration::ZERO)?;
    }
    let begin = Instant::now();
    drive(&rig.rt, "the first", || order.borrow().len() == 1)?;
    assert!(begin.elapsed() < Duration::from_secs_f64(2.9), "it slept for the other one");
    drive(&rig.rt, "the second", || order.borrow().len() == 2)?;
    assert_eq!(*order.borrow(), [1, 2]);
    Ok(())
});

// Packets are handed over when the loop goes to sleep, and nothing else happens afterwards.
conformance!(on (epoll uring): a_queue_of_packets_that_drains_makes_it_readable, |rig| {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let mut limits = Limits::default();
    limits.queue_packets_max = 3;
    let client = rig.client_at(peer.local_addr()?).datagram().limits(limits).start()?;
    calm(rig)?;
    for text in ["x", ""] {
        let before = rig.log.of(&client).len();
        while client.send(text).is_ok() {}
        drive(&rig.rt, "room", || rig.log.of(&client).len() > before)?;
        assert_eq!(rig.log.of(&client).last().map(String::as_str), Some("output drained (open)"));
        calm(rig)?;
    }
    Ok(())
});

conformance!(on (epoll uring): a_send_outside_of_a_turn_makes_it_readable, |rig| {
    let (_server, client, child) = rig.pair()?;
    calm(rig)?;
    client.send("x")?;
    drive(&rig.rt, "the bytes", || rig.log.len_of(&child) == 1)?;
    calm(rig)?;
    child.stop();
    calm(rig)?;
    client.send("y")?;
    calm(rig)?;
    child.resume();
    drive(&rig.rt, "the rest", || rig.log.len_of(&child) == 2)?;
    calm(rig)?;
    client.delete();
    drive(&rig.rt, "the end", || child.status() == Status::Closed)
});

conformance!(on (epoll uring): a_start_outside_of_a_turn_makes_it_readable, |rig| {
    calm(rig)?;
    let server = rig.server().start()?;
    calm(rig)?;
    let client = rig.client(&server).nowait(true).start()?;
    drive(&rig.rt, "the connection", || client.status() == Status::Open)?;
    drive(&rig.rt, "the other end", || rig.children(&server) == 1)
});

conformance!(on (epoll uring): the_next_attempt_of_a_race_makes_it_readable, |rig| {
    let (silent, _filler) = rig.silent()?;
    let alive = rig.server().start()?;
    calm(rig)?;
    let to = [&silent, &silent, &alive].map(|server| server.contact().local().clone());
    let client = rig.rt.client("client").remotes(to).attempt_delay(Duration::from_millis(60));
    let client = client.nowait(true).sentinel(rig.log.sentinel()).start()?;
    drive(&rig.rt, "the connection", || client.status() == Status::Open)?;
    assert_eq!(client.contact().remote(), Some(alive.contact().local()));
    drive(&rig.rt, "the other end", || rig.children(&alive) == 1)?;
    calm(rig)
});

conformance!(on (epoll uring): a_call_posted_by_a_thread_makes_it_readable, |rig| {
    calm(rig)?;
    let server = rig.server().start()?;
    calm(rig)?;
    let (handle, name) = (rig.rt.handle(), server.name().to_string());
    let thread = std::thread::spawn(move || {
        handle.post(move |rt| rt.get_process(&name).expect("it is listed").delete())
    });
    drive(&rig.rt, "the call", || server.status() == Status::Closed)?;
    thread.join().map_err(|_| "the thread panicked")??;
    Ok(())
});

conformance!(on (epoll uring): a_foreign_peer_makes_it_readable, |rig| {
    use std::io::{Read as _, Write as _};
    let server = rig.echo().start()?;
    calm(rig)?;
    let at = server.contact().local().socket_addr().ok_or("an IP address")?;
    let mut peer = std::net::TcpStream::connect(at)?;
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.write_all(b"hello")?;
    drive(&rig.rt, "the connection", || rig.children(&server) == 1)?;
    let child = rig.child(&server);
    peer.shutdown(std::net::Shutdown::Write)?;
    drive(&rig.rt, "the end", || child.status() == Status::Closed)?;
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer)?;
    assert_eq!(answer, b"hello");
    Ok(())
});

conformance!(on (epoll uring): what_a_nested_wait_left_behind_makes_it_readable, |rig| {
    let (server, client, child) = rig.pair()?;
    let other_client = rig.connect(&server)?;
    rig.until("both", || rig.children(&server) == 2);
    let other = rig.child(&server);
    calm(rig)?;
    other_client.send("left behind")?;
    // Only the first is served; the input of the other one waits in the runtime itself.
    rig.rt.accept_output(Some(&child), Some(Duration::from_millis(50)), true)?;
    assert_eq!(rig.log.len_of(&other), 0);
    drive(&rig.rt, "what was left", || rig.log.len_of(&other) == 11)?;
    assert_eq!(client.status(), Status::Open);
    Ok(())
});

// What is left of it is sent off by a look at the system, which may find something for others.
conformance!(on (epoll uring): a_stream_that_fails_leaves_it_readable_for_what_came_meanwhile, |rig| {
    use std::io::Write as _;
    let greets = rig.rt.server("greets").filter(|_, _| ());
    let greets = greets.on_accept(|_, connection| connection.send("220 hi\r\n")).start()?;
    let server = rig.server().start()?;
    let at = server.contact().local().socket_addr().ok_or("an IP address")?;
    let peer = std::net::TcpStream::connect(at)?;
    let writer = peer.try_clone()?;
    let child = rig.child(&server);
    calm(rig)?;
    let params = DialogueParams::new(StreamType::Plain).always_query_capabilities(true);
    let params = params.end_of_command("\r\n").capability_function(move |_| {
        (&writer).write_all(b"meanwhile").expect("it is connected");
        Some(b"no\nline\r\n".to_vec())
    });
    let port = greets.contact().local().port().ok_or("a port")?;
    let refused = rig.rt.open_stream("x", "127.0.0.1", port).dialogue(params).start();
    assert!(matches!(refused, Err(OpenStreamError::Dialogue(_))), "{refused:?}");
    assert_eq!(rig.log.len_of(&child), 0, "nobody was served since");
    drive(&rig.rt, "what came meanwhile", || rig.log.len_of(&child) == 9)?;
    Ok(())
});

conformance!(on (epoll uring): an_event_that_a_sender_has_put_back_makes_it_readable, |rig| {
    calm(rig)?;
    for flushes in [false, true] {
        let refusing = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let client = rig.rt.client("client").remote(refusing).nowait(true).start()?;
        if flushes {
            client.send("x")?;
            client.flush(PATIENCE).expect_err("it has failed");
        } else {
            client.send_wait("x", None).expect_err("it has failed");
        }
        assert!(readable(rig.rt.as_fd()?, Duration::ZERO)?, "its failure is to be told");
        let told = rig.rt.next_event(Duration::ZERO)?;
        let (process, event) = told.ok_or("it was put back")?;
        assert!(process == client && matches!(event, Event::Failed(_)), "{event:?}");
        client.delete();
        calm(rig)?;
    }
    Ok(())
});

conformance!(on (sim poll): a_backend_without_a_descriptor_says_so, |rig| {
    let name = rig.rt.backend().name();
    assert!(matches!(rig.rt.as_fd(), Err(Error::NoDescriptor(said)) if said == name));
    Ok(())
});

conformance!(on (epoll uring): the_descriptor_stays_the_same, |rig| {
    use std::os::fd::AsRawFd as _;
    let first = rig.rt.as_fd()?.as_fd().as_raw_fd();
    let (_server, client, child) = rig.pair()?;
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    assert_eq!(rig.rt.as_fd()?.as_raw_fd(), first);
    Ok(())
});
