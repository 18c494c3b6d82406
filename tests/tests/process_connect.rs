//! Connecting: announced once, failing once, several addresses, many at a time.

use std::{cell::Cell, net::ToSocketAddrs as _, rc::Rc, time::Duration};

use netproc::{
    Address, Exit, Failure, Family, Op, Process, SendError, Service, SockOption, StartError,
    Status, Value,
};
use netproc_tests::{conformance, rig::PATIENCE};

conformance!(a_nowait_connect_is_open_once, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).nowait(true).start()?;
    assert_eq!((client.status(), rig.log.of(&client).len()), (Status::Connect, 0));
    rig.until_line(&client, "open (open)");
    rig.settle();
    assert_eq!(rig.log.of(&client), ["open (open)"]);
    assert_eq!(rig.child(&server).contact().remote(), Some(client.contact().local()));
    Ok(())
});

conformance!(a_nowait_connect_fails_once_with_its_code, |rig| {
    let address = rig.dead_end()?;
    let client = rig.client_at(address.clone()).nowait(true).start()?;
    assert_eq!(client.status(), Status::Connect);
    rig.until_line(&client, "failed with code 111 (failed)");
    rig.settle();
    assert_eq!(rig.log.of(&client), ["failed with code 111 (failed)"]);
    let Exit::Failed(Failure::Sys(err)) = client.exit() else { return Err("no failure".into()) };
    assert_eq!((err.op, err.errno, client.exit().status()), (Op::Connect, 111, 111));
    assert!(!client.status().is_live());
    assert_eq!(client.contact().remote(), Some(&address));
    assert_eq!(client.send("x"), Err(SendError::NotOpen(Status::Failed)));
    Ok(())
});

conformance!(a_refused_waiting_connect_leaves_nothing, |rig| {
    let address = rig.dead_end()?;
    let refused = rig.client_at(address.clone()).start();
    let Err(StartError::Sys { address: at, source }) = refused else {
        return Err("not refused".into());
    };
    assert_eq!((at, source.op, source.errno), (Some(address), Op::Connect, 111));
    assert_eq!(rig.rt.process_list(), []);
    assert_eq!(rig.log.lines(), [""; 0], "no event");
    rig.settle();
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(a_missing_local_socket_is_refused_both_ways, |rig| {
    let folder = tempfile::tempdir()?;
    let missing = Address::local(folder.path().join("none").as_os_str().as_encoded_bytes())?;
    let refused = rig.client_at(missing.clone()).start();
    assert!(matches!(refused, Err(StartError::Sys { source, .. }) if source.errno == 2));
    let client = rig.client_at(missing).nowait(true).start()?;
    assert_eq!(client.status(), Status::Connect, "even though it was refused at once");
    rig.until_line(&client, "failed with code 2 (failed)");
    Ok(())
});

conformance!(every_address_of_a_host_is_tried, |rig| {
    let all: Vec<_> = ("localhost", 1).to_socket_addrs()?.collect();
    let last = all.last().ok_or("an address")?;
    let family = if last.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let server = rig.server().family(family).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    for nowait in [false, true] {
        let client = rig.rt.client("client").host("localhost").service(port).nowait(nowait);
        let client = client.filter(rig.log.filter()).sentinel(rig.log.sentinel()).start()?;
        rig.until("the connection", || client.status() == Status::Open);
        assert_eq!(client.contact().remote(), Some(server.contact().local()));
        let announced = if nowait { vec!["open (open)".to_owned()] } else { Vec::new() };
        assert_eq!(rig.log.of(&client), announced);
    }
    server.delete();
    rig.settle();
    let client = rig.rt.client("client").host("localhost").service(port).nowait(true);
    let client = client.sentinel(rig.log.sentinel()).start()?;
    rig.until_line(&client, "failed with code 111 (failed)");
    assert_eq!(rig.log.of(&client).len(), 1, "one failure for all {} addresses", all.len());
    Ok(())
});

conformance!(a_local_end_may_be_chosen, |rig| {
    let server = rig.server().start()?;
    let mine = rig.dead_end()?;
    let client = rig.client(&server).local(mine.clone()).start()?;
    assert_eq!(client.contact().local(), &mine);
    assert_eq!(rig.child(&server).contact().remote(), Some(&mine));
    Ok(())
});

conformance!(others_are_served_while_a_start_waits, |rig| {
    let server = rig.server().start()?;
    let first = rig.client(&server).nowait(true).start()?;
    first.send("meanwhile")?;
    let second = rig.connect(&server)?;
    assert_eq!((first.status(), second.status()), (Status::Open, Status::Open));
    let child = rig.child(&server);
    child.set_filter(move |process, _| {
        // A whole start inside a filter: the server accepts itself meanwhile.
        let at = process.contact().local().clone();
        process.runtime().client("inner").remote(at).start().map(|inner| inner.delete())
    });
    second.send("x")?;
    rig.until("the inner one", || {
        rig.log.lines().iter().filter(|line| line.contains("accept")).count() == 3
    });
    Ok(())
});

// As in Emacs, whose blocking connect serves nobody at all.
conformance!(a_connect_of_the_dynamic_front_that_succeeds_at_once_runs_no_callback, |rig| {
    let server = rig.server().start()?;
    let due = Rc::new(Cell::new(false));
    let seen = Rc::clone(&due);
    let _timer = rig.rt.run_after(Duration::ZERO, move |_| seen.set(true));
    let port = server.contact().local().port().expect("it has a port");
    let args = format!(r#"(:name "front" :host "127.0.0.1" :service {port})"#).parse()?;
    let client = rig.rt.make_network_process(&args)?.expect("there are arguments");
    assert_eq!(client.status(), Status::Open);
    assert_eq!((rig.children(&server), due.get()), (0, false));
    rig.until("both", || rig.children(&server) == 1 && due.get());
    Ok(())
});

// DIFFERENCE: Emacs serves nobody during a blocking connect, and so would wait here for ever.
conformance!(a_connect_of_the_dynamic_front_that_takes_long_serves_others, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("full");
    let server = rig.server().family(Family::Local).service(&*path).backlog(0).stop(true);
    let server = server.start()?;
    let waiting = rig.client(&server).start()?;
    let resumed = server.clone();
    let _timer = rig.rt.run_after(Duration::from_millis(30), move |_| resumed.resume());
    let args = format!(r#"(:name "front" :family local :service "{}")"#, path.display()).parse()?;
    let client = rig.rt.make_network_process(&args)?.expect("there are arguments");
    assert_eq!((waiting.status(), client.status()), (Status::Open, Status::Open));
    assert!(rig.children(&server) > 0, "nobody was served");
    Ok(())
});

conformance!(a_start_that_gives_up_leaves_nothing, |rig| {
    let server = rig.server().start()?;
    let given_up = rig.client(&server).within(Duration::ZERO).start();
    match given_up {
        // Not even a moment: what the system had done at once may still be there.
        Ok(client) => client.delete(),
        Err(err) => assert!(matches!(err, StartError::TimedOut { .. }), "{err}"),
    }
    rig.settle();
    assert_eq!(rig.rt.get_process("client"), None);
    Ok(())
});

conformance!(deleted_by_a_callback_while_its_start_waits, |rig| {
    let server = rig.server().start()?;
    let handle = rig.rt.handle();
    handle.post(|rt| rt.get_process("client").expect("it connects").delete())?;
    let started = rig.client(&server).start();
    // The connection may have been quicker than the posted call.
    if let Err(err) = started {
        assert!(matches!(err, StartError::Sys { .. }), "{err}");
    }
    rig.settle();
    assert_eq!(rig.rt.get_process("client"), None);
    Ok(())
});

conformance!(what_is_sent_while_connecting_goes_out_in_order, |rig| {
    let server = rig.echo().start()?;
    let client = rig.client(&server).nowait(true).start()?;
    let mut all = Vec::new();
    for number in 0..100 {
        let word = format!("{number},");
        all.extend_from_slice(word.as_bytes());
        assert_eq!(client.send(word)?, all.len() as u64);
    }
    assert_eq!(client.queued(), all.len() as u64);
    rig.until_line(&client, "open (open)");
    client.send("end")?;
    all.extend_from_slice(b"end");
    rig.until_bytes(&client, &all);
    Ok(())
});

conformance!(an_end_asked_for_while_connecting_comes_behind_what_was_sent, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).nowait(true).start()?;
    client.send("all of it")?;
    client.send_eof()?;
    assert_eq!(client.send("more"), Err(SendError::Finished));
    rig.until("the child's end", || {
        rig.log.lines().contains(&"child: connection broken by remote peer (closed)".into())
    });
    assert!(rig.log.lines().contains(&"child: \"all of it\" (open)".into()));
    Ok(())
});

conformance!(a_thousand_connects_at_once_all_open, |rig| {
    let server = rig.server().backlog(5).start()?;
    let clients: Vec<Process> =
        (0..1_000).map(|_| rig.client(&server).nowait(true).start()).collect::<Result<_, _>>()?;
    // The system may tell a client that it is open before the server has room for it, so the
    // server's side is not looked at.
    rig.until("everybody", || clients.iter().all(|client| client.status() == Status::Open));
    for client in &clients {
        assert_eq!(rig.log.of(client), ["open (open)"]);
    }
    let mut names: Vec<_> = clients.iter().map(Process::name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 1_000, "every name is unique");
    Ok(())
});

conformance!(a_peer_that_closes_at_once_was_open_first, |rig| {
    let server = rig.server().log(|_, process, _| process.map_or((), Process::delete)).start()?;
    for _ in 0..20 {
        let client = rig.client(&server).nowait(true).start()?;
        rig.until("its end", || client.status() == Status::Closed);
        assert_eq!(
            rig.log.of(&client),
            ["open (open)", "connection broken by remote peer (closed)"]
        );
    }
    Ok(())
});

conformance!(a_client_needs_a_service_that_can_be, |rig| {
    let start = |service: Service| rig.rt.client("x").host("127.0.0.1").service(service).start();
    for service in [Service::Any, 0.into(), "0".into(), "".into(), "65536".into(), "-1".into()] {
        assert!(start(service.clone()).is_err(), "{service:?}");
    }
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

conformance!(on (poll epoll uring): options_of_who_is_looked_up_are_set_with_the_socket, |rig| {
    let server = rig.server().start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let client = rig.rt.client("client").host("localhost").family(Family::Ipv4).service(port);
    let client = client.nowait(true).sentinel(rig.log.sentinel()).start()?;
    assert_eq!(client.set_option(SockOption::KeepAlive(true)), Ok(()));
    rig.until_line(&client, "open (open)");
    assert_eq!(client.contact().get(":keepalive"), Some(Value::True));
    let client = rig.rt.client("client").host("localhost").family(Family::Ipv4).service(port);
    let client = client.nowait(true).sentinel(rig.log.sentinel()).start()?;
    let nowhere = SockOption::BindToDevice(Some("nosuch0".into()));
    assert_eq!(client.set_option(nowhere), Ok(()), "there is nothing to set it on yet");
    rig.until("its end", || client.status() == Status::Failed);
    let Exit::Failed(Failure::Sys(err)) = client.exit() else { return Err("no failure".into()) };
    assert_eq!(err.op, Op::Option);
    Ok(())
});

conformance!(a_client_deleted_while_it_connects_lingers_for_nothing, |rig| {
    let (server, _filler) = rig.silent()?;
    let before = rig.rt.stats().sockets;
    let client = rig.client(&server).linger(600).nowait(true).start()?;
    rig.settle();
    assert_eq!(client.status(), Status::Connect);
    client.delete();
    let late = rig.rt.run_after(PATIENCE, |_| ());
    rig.until("its end", || rig.rt.stats().sockets == before);
    assert!(late.cancel(), "it has gone on connecting");
    Ok(())
});
