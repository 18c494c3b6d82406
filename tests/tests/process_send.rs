//! Sending: bounds, order, half-closes, resets, and what is left when a connection ends.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{CloseHow, Event, Exit, FinishError, Limits, Process, Reason, SendError, Status};
use netproc_tests::{conformance, contract::pattern, rig::Rig};

/// Limits with room for `len` bytes to be sent.
fn room(len: u64) -> Limits {
    let mut limits = Limits::default();
    limits.queue_len_max = len;
    limits
}

/// The error a connection ended by.
fn errno(process: &Process) -> Option<i32> {
    if let Exit::Broken(Reason::Sys(err)) = process.exit() { Some(err.errno) } else { None }
}

/// Fails the test when a callback fails.
fn callbacks_must_work(rig: &Rig) -> Rc<RefCell<Vec<String>>> {
    let failed: Rc<RefCell<Vec<String>>> = Rc::default();
    let list = Rc::clone(&failed);
    rig.rt.on_callback_error(move |err| list.borrow_mut().push(err.to_string()));
    failed
}

conformance!(an_echo_to_a_slow_reader_stays_bounded_and_loses_nothing, |rig| {
    let failed = callbacks_must_work(rig);
    let bytes = pattern(6, 24 << 20);
    let server = rig.echo().start()?;
    let client = rig.client(&server).limits(room(64 << 20)).start()?;
    let child = rig.child(&server);
    client.stop();
    client.send(bytes.clone())?;
    let most = Rc::new(Cell::new(0));
    for _ in 0..3 {
        rig.settle();
        most.set(most.get().max(child.queued()));
    }
    assert!(client.queued() > 0, "all was taken in although nobody reads the answers");
    client.resume();
    rig.until("all bytes", || {
        most.set(most.get().max(child.queued()));
        rig.log.len_of(&client) >= bytes.len()
    });
    rig.until_bytes(&client, &bytes);
    let bound = child.limits().queue_len_max + (64 << 10);
    assert!((1..=bound).contains(&most.get()), "{} bytes were queued", most.get());
    assert_eq!(*failed.borrow(), [""; 0], "no send was refused");
    Ok(())
});

conformance!(a_full_queue_refuses_and_says_when_it_has_drained, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.stop();
    let chunk = pattern(8, 100_000);
    let mut accepted = 0;
    let refused = loop {
        match child.send(chunk.clone()) {
            Ok(_) => accepted += 1,
            Err(err) => break err,
        }
        rig.rt.turn(Duration::ZERO)?;
    };
    let (queued, limit) = (child.queued(), child.limits().queue_len_max);
    assert_eq!(refused, SendError::QueueFull { queued, limit });
    assert!((limit..limit + 100_000).contains(&queued), "{queued}");
    assert!(child.send("x").is_err());
    assert_eq!(child.queued(), queued, "nothing was queued");
    rig.settle();
    assert!(!rig.log.of(&child).contains(&"output drained (open)".into()));
    client.resume();
    rig.until_line(&child, "output drained (open)");
    assert!(child.queued() <= child.limits().queue_len_low);
    child.send("room again")?;
    let all = [chunk.repeat(accepted), b"room again".to_vec()].concat();
    rig.until_bytes(&client, &all);
    let drained = rig.log.of(&child).iter().filter(|line| line.contains("drained")).count();
    assert_eq!(drained, 1, "told once");
    Ok(())
});

conformance!(nobody_hears_drained_who_was_not_refused, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.send(pattern(1, 900_000))?;
    rig.until("all", || rig.log.len_of(&client) == 900_000);
    rig.settle();
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)"]);
    Ok(())
});

conformance!(what_is_sent_arrives_in_order_whatever_its_sort_and_size, |rig| {
    static WORD: &[u8] = b"static";
    let (_server, client, child) = rig.pair()?;
    let mut all = Vec::new();
    for number in 0..200_usize {
        let bytes = pattern(number as u64, [0, 1, 7, 1_000, 9_000][number % 5]);
        all.extend_from_slice(&bytes);
        match number % 4 {
            0 => client.send(bytes)?,
            1 => client.send(std::sync::Arc::<[u8]>::from(bytes))?,
            2 => client.send(&bytes[..])?,
            _ => {
                all.extend_from_slice(WORD);
                client.send(bytes)?;
                client.send(netproc::Payload::Static(WORD))?
            }
        };
        if number % 17 == 0 {
            rig.rt.turn(Duration::ZERO)?;
        }
    }
    rig.until_bytes(&child, &all);
    assert_eq!(client.queued(), 0);
    Ok(())
});

conformance!(both_sides_may_write_before_they_read, |rig| {
    let (one, two) = (pattern(1, 6 << 20), pattern(2, 6 << 20));
    let server = rig.server().limits(room(64 << 20)).start()?;
    let client = rig.client(&server).limits(room(64 << 20)).start()?;
    let child = rig.child(&server);
    client.send(one.clone())?;
    child.send(two.clone())?;
    rig.until_bytes(&child, &one);
    rig.until_bytes(&client, &two);
    Ok(())
});

conformance!(after_the_peers_end_an_echo_first_sends_what_is_pending, |rig| {
    let failed = callbacks_must_work(rig);
    let bytes = pattern(13, 6 << 20);
    let server = rig.echo().start()?;
    let client = rig.client(&server).limits(room(64 << 20)).half_open(true).start()?;
    let child = rig.child(&server);
    client.send(bytes.clone())?;
    client.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.until_line(&client, "input ended by remote peer (open)");
    rig.until_bytes(&client, &bytes);
    assert_eq!((child.exit(), child.exit().status()), (Exit::Broken(Reason::End), 256));
    assert_eq!(*failed.borrow(), [""; 0]);
    Ok(())
});

conformance!(the_peers_end_is_the_end_unless_half_open, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.send("x")?;
    client.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["\"x\" (open)", "connection broken by remote peer (closed)"]
    );
    assert_eq!(client.exit().status(), 256);
    Ok(())
});

conformance!(a_half_open_connection_answers_after_its_peers_end, |rig| {
    let (_server, client, child) = rig.pair_at(rig.server().half_open(true))?;
    client.send("question")?;
    client.send_eof()?;
    rig.until_line(&child, "input ended by remote peer (open)");
    rig.settle();
    assert_eq!((child.status(), client.status()), (Status::Open, Status::Open));
    child.send("answer")?;
    rig.until_bytes(&client, b"answer");
    child.delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(
        rig.log.of(&child)[1..],
        ["\"question\" (open)", "input ended by remote peer (open)", "deleted (closed)"]
    );
    Ok(())
});

conformance!(what_is_sent_byte_by_byte_comes_in_order_connected_or_not, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).nowait(true).start()?;
    let bytes = pattern(6, 20_000);
    for (n, byte) in bytes.iter().enumerate() {
        assert_eq!(client.send([*byte].as_slice())?, n as u64 + 1);
    }
    let child = rig.child(&server);
    rig.until_bytes(&child, &bytes);
    for byte in &bytes {
        client.send([*byte].as_slice())?;
    }
    rig.until_bytes(&child, &[&bytes[..], &bytes].concat());
    Ok(())
});

conformance!(of_a_process_that_has_ended_the_status_is_why_it_cannot_send, |rig| {
    for deletes in [false, true] {
        let (_server, client, _child) = rig.pair()?;
        client.send_eof()?;
        assert_eq!(client.send("x"), Err(SendError::Finished), "it is open");
        if deletes {
            client.delete();
        }
        rig.until("the end", || client.status() == Status::Closed);
        assert_eq!(client.send("x"), Err(SendError::NotOpen(Status::Closed)), "{deletes}");
    }
    Ok(())
});

conformance!(after_send_eof_input_goes_on_and_sending_is_an_error, |rig| {
    let (server, client, child) = rig.pair_at(rig.server().half_open(true))?;
    client.send_eof()?;
    client.send_eof()?;
    assert_eq!(client.send("x"), Err(SendError::Finished));
    rig.until_line(&child, "input ended by remote peer (open)");
    child.send("still")?;
    rig.until_bytes(&client, b"still");
    assert_eq!(client.status(), Status::Open);
    assert_eq!(server.send_eof(), Err(FinishError::NotOpen(Status::Listen)));
    assert_eq!(server.send("x"), Err(SendError::NotOpen(Status::Listen)));
    Ok(())
});

conformance!(an_empty_send_on_a_stream_is_nothing, |rig| {
    let (_server, client, child) = rig.pair()?;
    assert_eq!(client.send("")?, 0);
    rig.settle();
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)"]);
    Ok(())
});

conformance!(a_reset_ends_the_connection_behind_what_was_read, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.send("read")?;
    rig.until_bytes(&child, b"read");
    client.delete_with(CloseHow::Reset);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(errno(&child), Some(libc::ECONNRESET));
    assert_eq!(child.exit().status(), 256, "as Emacs says of every broken connection");
    rig.until_bytes(&child, b"read");
    Ok(())
});

conformance!(bytes_the_system_never_took_are_counted, |rig| {
    let told = Rc::new(Cell::new(None));
    let (flag, log) = (Rc::clone(&told), rig.log.clone());
    let server = rig.server().limits(room(64 << 20)).sentinel(move |process, event| {
        log.event(process, event);
        if let Event::Broken { unsent, .. } = event {
            flag.set(Some(*unsent));
        }
    });
    let (_server, client, child) = rig.pair_at(server)?;
    client.stop();
    child.send(vec![b'x'; 24 << 20])?;
    rig.settle();
    let queued = child.queued();
    assert!(queued > 0);
    client.delete_with(CloseHow::Reset);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    let unsent = told.get().ok_or("an end")?;
    assert!((1..=queued).contains(&unsent), "{unsent} of {queued}");
    assert!(errno(&child).is_some());
    assert_eq!(child.queued(), 0);
    Ok(())
});

conformance!(linger_zero_resets, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).linger(0).start()?;
    let child = rig.child(&server);
    client.send("x")?;
    rig.until_bytes(&child, b"x");
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(errno(&child), Some(libc::ECONNRESET));
    Ok(())
});

conformance!(linger_delivers_all_to_a_peer_that_reads, |rig| {
    let bytes = pattern(2, 3 << 20);
    let server = rig.server().linger(20).limits(room(64 << 20)).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    child.send(bytes.clone())?;
    child.delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    rig.until_bytes(&client, &bytes);
    Ok(())
});

conformance!(linger_does_not_block_and_is_a_bound, |rig| {
    let server = rig.server().linger(2).limits(room(64 << 20)).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.stop();
    child.send(vec![b'x'; 24 << 20])?;
    rig.settle();
    let sockets = rig.rt.stats().sockets;
    let ticks = Rc::new(Cell::new(0));
    child.delete();
    let count = Rc::clone(&ticks);
    rig.rt.run_after(Duration::from_millis(100), move |_| count.set(count.get() + 1));
    rig.until("the timer", || ticks.get() == 1);
    assert_eq!(rig.rt.stats().sockets, sockets, "it still flushes");
    rig.until("the end of the flush", || rig.rt.stats().sockets < sockets);
    client.resume();
    rig.until("the end", || client.status() == Status::Closed);
    assert!(rig.log.len_of(&client) < 24 << 20);
    Ok(())
});

conformance!(a_flush_ends_after_the_time_of_its_limits, |rig| {
    let mut limits = room(64 << 20);
    limits.flush_within = Duration::from_millis(200);
    let server = rig.server().limits(limits).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.stop();
    child.send(vec![b'x'; 24 << 20])?;
    rig.settle();
    let sockets = rig.rt.stats().sockets;
    child.delete();
    rig.until("the end of the flush", || rig.rt.stats().sockets < sockets);
    Ok(())
});

conformance!(sixty_four_echoes_at_once_are_not_mixed_up, |rig| {
    let server = rig.echo().start()?;
    let clients: Vec<_> =
        (0..64).map(|_| rig.client(&server).nowait(true).start()).collect::<Result<_, _>>()?;
    for (number, client) in clients.iter().enumerate() {
        for part in pattern(number as u64, 30_000).chunks(1_111) {
            client.send(part)?;
        }
    }
    for (number, client) in clients.iter().enumerate() {
        rig.until_bytes(client, &pattern(number as u64, 30_000));
    }
    Ok(())
});
