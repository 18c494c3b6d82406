//! What is told in which order, and what a process shows while it is told.

use std::{cell::Cell, rc::Rc};

use netproc::{Event, Exit, Reason, Status};
use netproc_tests::conformance;

conformance!(a_connection_is_logged_then_open_then_given_input, |rig| {
    let log = rig.log.clone();
    let server = rig.server().on_accept(move |server, process| {
        log.note(server, "on_accept");
        log.note(process, "born");
    });
    let server = server.start()?;
    let client = rig.connect(&server)?;
    client.send("early")?;
    let child = rig.child(&server);
    rig.until_bytes(&child, b"early");
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    let lines = rig.log.lines();
    let of_server: Vec<_> = lines.iter().filter(|line| !line.starts_with("client")).collect();
    assert_eq!(
        of_server,
        [
            "srv: on_accept (listen)",
            "child: born (open)",
            "srv: log: accept from 127.0.0.1 (listen)",
            "child: open from 127.0.0.1 (open)",
            "child: \"early\" (open)",
            "child: connection broken by remote peer (closed)",
        ]
    );
    Ok(())
});

conformance!(open_comes_before_the_first_input_however_early_the_peer_speaks, |rig| {
    let log = rig.log.clone();
    let server = rig.server().sentinel(move |process, event| {
        log.event(process, event);
        if matches!(event, Event::OpenFrom(_)) { process.send("hello").map(drop) } else { Ok(()) }
    });
    let server = server.start()?;
    let client = rig.client(&server).nowait(true).start()?;
    assert_eq!(client.status(), Status::Connect);
    rig.until_bytes(&client, b"hello");
    assert_eq!(rig.log.of(&client), ["open (open)", "\"hello\" (open)"]);
    Ok(())
});

conformance!(a_waiting_start_sends_no_open_event, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    assert_eq!(rig.log.of(&client), [""; 0]);
    Ok(())
});

conformance!(the_status_is_open_until_the_closing_event_is_delivered, |rig| {
    let (_server, client, child) = rig.pair()?;
    rig.settle();
    // Both the bytes and the end reach the reactor before anything is delivered.
    client.send("last words")?;
    client.delete();
    assert_eq!((child.status(), child.exit()), (Status::Open, Exit::Alive));
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["\"last words\" (open)", "connection broken by remote peer (closed)"]
    );
    assert_eq!((child.exit(), child.exit().status()), (Exit::Broken(Reason::End), 256));
    Ok(())
});

conformance!(in_the_closing_sentinel_the_process_is_gone_and_its_name_free, |rig| {
    let log = rig.log.clone();
    let server = rig.server().start()?;
    let client = rig.client(&server).sentinel(move |process, event| {
        let rt = process.runtime();
        log.event(process, event);
        assert!(matches!(event, Event::Broken { reason: Reason::End, unsent: 0 }));
        assert_eq!(rt.get_process("client"), None);
        assert!(!rt.process_list().contains(process));
        assert_eq!(process.exit().status(), 256);
        assert!(process.contact().remote().is_some());
        let next = rt.server("client").start()?;
        assert_eq!(&*next.name(), "client");
        log.note(&next, "made");
        Ok::<_, netproc::StartError>(())
    });
    let client = client.start()?;
    rig.child(&server).delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.lines().pop().as_deref(), Some("client: made (listen)"));
    assert!(rig.rt.get_process("client").is_some_and(|next| next != client));
    Ok(())
});

conformance!(all_input_precedes_the_closing_event, |rig| {
    let bytes = netproc_tests::contract::pattern(7, 700_000);
    let (_server, client, child) = rig.pair()?;
    client.send(bytes.clone())?;
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.until_bytes(&child, &bytes);
    let lines = rig.log.of(&child);
    assert_eq!(lines[1..], ["700000 bytes (open)", "connection broken by remote peer (closed)"]);
    Ok(())
});

conformance!(the_log_function_may_give_a_connection_its_callbacks, |rig| {
    let log = rig.log.clone();
    let server = rig.server().log(move |_, process, _| {
        let process = process.ok_or("a connection")?;
        let (words, bytes) = (log.clone(), log.clone());
        process.set_sentinel(move |process, event| words.note(process, format!("own {event:?}")));
        process.set_filter(move |process, input| {
            bytes.note(process, format!("own input {}", input.escape_ascii()));
        });
        Ok::<_, &str>(())
    });
    let server = server.start()?;
    let client = rig.connect(&server)?;
    client.send("x")?;
    let child = rig.child(&server);
    rig.until_line(&child, "own input x (open)");
    assert!(rig.log.of(&child)[0].starts_with("own OpenFrom("), "{}", rig.log);
    Ok(())
});

conformance!(a_connection_deleted_by_the_log_function_still_hears_where_it_came_from, |rig| {
    // Emacs does so, too: first `deleted`, then `open from`, with the status closed.
    let server = rig
        .server()
        .log(|_, process, _| process.map(netproc::Process::delete).ok_or("a connection"));
    let server = server.start()?;
    let client = rig.connect(&server)?;
    client.send("never read")?;
    rig.until_line(&client, "connection broken by remote peer (closed)");
    rig.settle();
    assert_eq!(
        rig.log.lines()[..2],
        ["child: deleted (closed)", "child: open from 127.0.0.1 (closed)"]
    );
    assert_eq!(rig.log.lines().len(), 3, "{}", rig.log);
    Ok(())
});

conformance!(a_process_that_ended_in_a_filter_of_another_is_told_once, |rig| {
    let (_server, client, child) = rig.pair()?;
    let ended = Rc::new(Cell::new(0));
    let count = Rc::clone(&ended);
    child.set_sentinel(move |_, event| {
        count.set(count.get() + i32::from(matches!(event, Event::Broken { .. } | Event::Deleted)));
    });
    client.delete();
    rig.until("the end", || ended.get() > 0);
    child.delete();
    child.stop();
    child.resume();
    child.delete();
    rig.settle();
    assert_eq!(ended.get(), 1);
    Ok(())
});
