//! Stopping and resuming, and input ignored: nothing is lost, nothing comes too early.

use netproc::{Exit, Limits, Process, SetOptionError, SockOption, Status, Value, emacs::Emacs};
use netproc_tests::{conformance, contract::pattern, front::said};

/// Limits with room for `len` bytes to be sent.
fn room(len: u64) -> Limits {
    let mut limits = Limits::default();
    limits.queue_len_max = len;
    limits
}

conformance!(stopped_server_leaves_connects_in_the_backlog, |rig| {
    let server = rig.server().stop(true).start()?;
    assert_eq!(server.status(), Status::Stop);
    let client = rig.connect(&server)?;
    rig.settle(); // until nothing is in flight; never a sleep
    assert_eq!(rig.children(&server), 0, "accepted while stopped");
    server.resume();
    rig.settle();
    assert_eq!((rig.children(&server), rig.status(&client)), (1, Status::Open));
    assert_eq!(rig.child(&server).status(), Status::Open, "a connection is born running");
    Ok(())
});

conformance!(two_hundred_connects_wait_for_a_stopped_server, |rig| {
    let server = rig.server().stop(true).start()?;
    let clients: Vec<_> =
        (0..200).map(|_| rig.client(&server).nowait(true).start()).collect::<Result<_, _>>()?;
    for client in &clients {
        client.send("me")?;
    }
    rig.settle();
    assert_eq!(rig.children(&server), 0);
    server.resume();
    rig.until("everybody", || rig.children(&server) == 200);
    let children = rig.connections(&server);
    rig.until("all input", || children.iter().all(|child| rig.log.bytes_of(child) == b"me"));
    assert!(clients.iter().all(|client| client.status() == Status::Open));
    Ok(())
});

conformance!(a_connection_accepted_before_the_stop_waits_for_the_resume, |rig| {
    let log = rig.log.clone();
    let server = rig.server().log(move |server, _, entry| {
        log.note(server, entry.to_string().trim_end());
        server.stop();
    });
    let server = server.start()?;
    let clients: Vec<_> =
        (0..5).map(|_| rig.client(&server).nowait(true).start()).collect::<Result<_, _>>()?;
    for client in &clients {
        client.send("early")?;
    }
    for round in 1..=5 {
        rig.settle();
        assert_eq!(rig.children(&server), round, "one for each resume");
        assert_eq!(server.status(), Status::Stop);
        server.resume();
    }
    for child in rig.connections(&server) {
        rig.until_bytes(&child, b"early");
        assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)", "\"early\" (open)"]);
    }
    Ok(())
});

conformance!(a_server_deleted_while_stopped_takes_unborn_connections_along, |rig| {
    let server = rig.server().log(|server, _, _| server.stop()).start()?;
    let clients: Vec<_> =
        (0..5).map(|_| rig.client(&server).nowait(true).start()).collect::<Result<_, _>>()?;
    rig.settle();
    assert_eq!(rig.children(&server), 1);
    clients[3].delete();
    rig.settle();
    server.delete();
    rig.settle();
    let open = clients.iter().filter(|client| client.status() == Status::Open).count();
    assert_eq!(open, 1, "{}", rig.log);
    Ok(())
});

conformance!(a_stopped_connection_gets_nothing_not_even_its_end, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    child.stop();
    client.send("a")?;
    rig.settle();
    client.send("b")?;
    client.delete();
    rig.settle();
    assert_eq!((rig.log.of(&child).len(), child.status()), (1, Status::Stop));
    child.resume();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["\"ab\" (open)", "connection broken by remote peer (closed)"]
    );
    Ok(())
});

conformance!(a_stopped_process_still_sends, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.stop();
    client.send("from a stopped one")?;
    rig.until_bytes(&child, b"from a stopped one");
    assert_eq!(client.status(), Status::Stop);
    Ok(())
});

conformance!(a_client_started_stopped_opens_and_waits_with_its_input, |rig| {
    let server = rig.server().filter(Process::send).start()?;
    let client = rig.client(&server).nowait(true).stop(true).start()?;
    client.send("x")?;
    rig.until_line(&client, "open (stop)");
    rig.settle();
    assert_eq!(rig.log.of(&client), ["open (stop)"]);
    client.resume();
    rig.until_bytes(&client, b"x");
    assert_eq!(rig.log.of(&client), ["open (stop)", "\"x\" (open)"]);
    Ok(())
});

conformance!(stopped_in_its_own_filter_it_gets_the_rest_after_the_resume, |rig| {
    let bytes = pattern(11, 600_000);
    let log = rig.log.clone();
    let server = rig.server().filter(move |process, input| {
        log.input(process, &input);
        process.stop();
    });
    let (_server, client, child) = rig.pair_at(server)?;
    client.send(bytes.clone())?;
    client.delete();
    let mut calls = 0;
    while child.status() != Status::Closed {
        rig.settle();
        let inputs = rig.log.inputs_of(&child).len();
        assert!(inputs <= calls + 1, "input of a stopped process");
        calls = inputs;
        child.resume();
    }
    rig.until_bytes(&child, &bytes);
    Ok(())
});

conformance!(a_stopped_process_holds_its_peer_back, |rig| {
    let bytes = pattern(5, 24 << 20);
    let server = rig.server().start()?;
    let client = rig.client(&server).limits(room(64 << 20)).start()?;
    let child = rig.child(&server);
    child.stop();
    client.send(bytes.clone())?;
    rig.settle();
    assert!(client.queued() > 1 << 20, "taken in without anybody reading: {}", client.queued());
    assert_eq!(rig.log.len_of(&child), 0);
    child.resume();
    rig.until_bytes(&child, &bytes);
    assert_eq!(client.queued(), 0);
    Ok(())
});

conformance!(a_thousand_stops_under_load_lose_nothing, |rig| {
    let bytes = pattern(9, 8 << 20);
    let server = rig.server().start()?;
    let client = rig.client(&server).limits(room(64 << 20)).start()?;
    let child = rig.child(&server);
    client.send(bytes.clone())?;
    for round in 0..1_000 {
        child.stop();
        if round % 3 == 0 {
            rig.rt.turn(std::time::Duration::ZERO)?;
        }
        child.resume();
        if round % 5 != 0 {
            rig.rt.turn(std::time::Duration::ZERO)?;
        }
        if round % 50 == 0 {
            client.stop();
            client.resume();
        }
    }
    rig.until_bytes(&child, &bytes);
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.until_bytes(&child, &bytes);
    Ok(())
});

conformance!(stops_of_a_server_under_load_lose_no_connection, |rig| {
    let server = rig.server().start()?;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(rig.client(&server).nowait(true).start()?);
        server.stop();
        rig.rt.turn(std::time::Duration::ZERO)?;
        server.resume();
        rig.rt.turn(std::time::Duration::ZERO)?;
    }
    rig.until("everybody", || rig.children(&server) == 100);
    rig.settle();
    assert_eq!(rig.children(&server), 100, "none twice");
    assert!(clients.iter().all(|client| client.status() == Status::Open));
    Ok(())
});

conformance!(input_that_is_ignored_waits_with_the_end, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    child.ignore_input();
    client.send("x")?;
    client.delete();
    rig.settle();
    assert_eq!((child.status(), child.is_stopped()), (Status::Open, false));
    assert_eq!(rig.log.of(&child).len(), 1);
    child.stop();
    child.set_filter(rig.log.filter());
    rig.settle();
    assert_eq!(rig.log.of(&child).len(), 1, "it is stopped as well");
    child.resume();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["\"x\" (open)", "connection broken by remote peer (closed)"]
    );
    Ok(())
});

conformance!(a_server_that_ignores_input_accepts_deaf_connections, |rig| {
    let server = rig.server().start()?;
    server.ignore_input();
    let client = rig.connect(&server)?;
    client.send("x")?;
    let child = rig.child(&server);
    client.delete();
    rig.settle();
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)"]);
    child.set_filter(rig.log.filter());
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.until_bytes(&child, b"x");
    Ok(())
});

conformance!(an_ignoring_process_still_sends, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.ignore_input();
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    Ok(())
});

// Emacs 28.2, asked: its status stays `stop`, its buffer says that it failed, and no option can be set.
conformance!(a_client_started_stopped_that_fails_says_so_and_takes_no_option, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let port = rig.dead_end()?.port().ok_or("a port")?;
    let args = format!(
        "(:name \"c\" :host \"127.0.0.1\" :service {port} :nowait t :stop t :buffer \"b\")"
    );
    let args = args.parse::<Value>()?;
    emacs.call("make-network-process", args.items().ok_or("a list")?)?;
    let client = rig.rt.get_process("c").ok_or("it was made")?;
    rig.until("it has failed", || client.exit() != Exit::Alive);
    rig.settle();
    assert_eq!(client.status(), Status::Stop);
    let text = rig.rt.buffers().get("b").ok_or("its buffer")?.text();
    assert_eq!(text, &*format!("\nProcess c failed with code {}\n", client.exit_status()));
    let refused = client.set_option(SockOption::KeepAlive(true));
    assert_eq!(refused, Err(SetOptionError::NotRunning(Status::Failed)));
    let args = [Value::object(client.clone()), Value::symbol(":keepalive"), Value::True];
    let said = said(&emacs, "set-network-process-option", &args);
    assert_eq!(said, "!! error: Process is not running");
    Ok(())
});
