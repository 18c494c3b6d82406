//! A layer between process and wire: connected when its handshake is done, bytes through it both ways,
//! an end that is told from a cut.
//!
//! The layer here is a toy with the shape of TLS: a greeting both ways, records whose bytes are turned
//! upside down behind their length, an empty record as the closing notice.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{
    Buf, CloseHow, Event, Exit, Failure, Layer, Layers, Limits, Payload, Process, Reason,
    SendWaitError, SharedError, Status, UpgradeError,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

const GREETING: &[u8] = b"TOY1";

#[derive(Debug, Default)]
struct Toy {
    unread: Vec<u8>,
    out: Vec<u8>,
    established: bool,
    finished: bool,
    said_goodbye: bool,
}

impl Toy {
    fn record(&mut self, plain: &[u8]) {
        self.out.push(u8::try_from(plain.len()).expect("a piece of at most 255 bytes"));
        self.out.extend(plain.iter().map(|byte| !byte));
    }
}

impl Layer for Toy {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        self.unread.extend_from_slice(&wire);
        if !self.established {
            let len = self.unread.len().min(GREETING.len());
            if self.unread[..len] != GREETING[..len] {
                return Err(SharedError::new("not a toy"));
            }
            if len < GREETING.len() {
                return Ok(());
            }
            self.unread.drain(..len);
            self.established = true;
        }
        while let Some(&len) = self.unread.first().filter(|_| !self.finished) {
            let len = usize::from(len);
            if self.unread.len() < 1 + len {
                break;
            }
            if len == 255 {
                return Err(SharedError::new("a record too long"));
            }
            self.finished = len == 0;
            plain.push(self.unread[1..=len].iter().map(|byte| !byte).collect::<Vec<_>>().into());
            self.unread.drain(..=len);
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        plain.chunks(200).for_each(|piece| self.record(piece));
        Ok(())
    }

    fn wire(&mut self, out: &mut Vec<Payload>) {
        out.push(std::mem::take(&mut self.out).into());
    }

    fn is_established(&self) -> bool {
        self.established
    }

    fn is_peer_finished(&self) -> bool {
        self.finished
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.said_goodbye, true) {
            self.record(&[]);
        }
    }
}

#[derive(Debug, Default)]
struct Toys {
    /// What each says first, if not the greeting.
    instead: Option<&'static [u8]>,
    made: Rc<Cell<u32>>,
    refuse: bool,
}

impl Layers for Toys {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        if self.refuse {
            return Err(SharedError::new("no toys left"));
        }
        self.made.set(self.made.get() + 1);
        let out = self.instead.unwrap_or(GREETING).to_vec();
        Ok(Box::new(Toy { out, ..Toy::default() }))
    }
}

/// A client and an accepted connection with a toy between each and the wire.
fn pair(rig: &Rig) -> Result<(Process, Process), netproc::Error> {
    let server = rig.server().layers(Toys::default()).start()?;
    let client = rig.client(&server).layers(Toys::default()).start()?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    Ok((client, child))
}

/// A raw client of a server with toys: it sees the wire.
fn raw(rig: &Rig) -> Result<(Process, Process), netproc::Error> {
    let server = rig.server().layers(Toys::default()).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    rig.until_bytes(&client, GREETING);
    Ok((client, child))
}

conformance!(a_connection_is_open_when_its_handshake_is_done, |rig| {
    let (client, child) = raw(rig)?;
    assert_eq!(child.status(), Status::Connect);
    child.send("early")?;
    client.send(&GREETING[..2])?;
    rig.settle();
    assert_eq!(rig.log.of(&child), [""; 0], "half a greeting");
    client.send([&GREETING[2..], &[2, !b'h', !b'i']].concat())?;
    rig.until_bytes(&child, b"hi");
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)", "\"hi\" (open)"]);
    let early: Vec<u8> = b"early".iter().map(|byte| !byte).collect();
    rig.until_bytes(&client, &[GREETING, &[5], &early].concat());
    Ok(())
});

conformance!(bytes_pass_the_layer_both_ways, |rig| {
    let (client, child) = pair(rig)?;
    let bytes = pattern(7, 300_000);
    client.send(bytes.clone())?;
    child.send(bytes.clone())?;
    rig.until_bytes(&child, &bytes);
    rig.until_bytes(&client, &bytes);
    Ok(())
});

conformance!(nowait_hears_open_after_the_handshake, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).layers(Toys::default()).nowait(true).start()?;
    client.send("x")?;
    let child = rig.child(&server);
    rig.until_bytes(&child, GREETING);
    assert_eq!((client.status(), rig.log.of(&client).len()), (Status::Connect, 0));
    child.send(GREETING)?;
    rig.until_line(&client, "open (open)");
    rig.until_bytes(&child, &[GREETING, &[1, !b'x']].concat());
    Ok(())
});

conformance!(a_stop_does_not_stop_the_handshake, |rig| {
    let server = rig.server().layers(Toys::default()).start()?;
    let client = rig.client(&server).layers(Toys::default()).stop(true).start()?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    child.send("waits")?;
    rig.settle();
    assert_eq!(rig.log.len_of(&client), 0, "stopped");
    client.resume();
    rig.until_bytes(&client, b"waits");
    Ok(())
});

conformance!(a_handshake_that_fails_fails_the_connect, |rig| {
    let server = rig.server().layers(Toys { instead: Some(b"WHAT"), ..Toys::default() }).start()?;
    let client = rig.client(&server).layers(Toys::default()).nowait(true).start()?;
    rig.until_line(&client, "failed with code not a toy (failed)");
    assert!(matches!(client.exit(), Exit::Failed(Failure::Handshake(_))), "{:?}", client.exit());
    let blocking = rig.client(&server).layers(Toys::default()).start().expect_err("no toy");
    assert!(matches!(blocking, netproc::StartError::Handshake { .. }), "{blocking:?}");
    rig.until("only the failed client and the server are left", || {
        rig.rt.process_list().len() == 2
    });
    Ok(())
});

conformance!(of_several_addresses_only_the_one_that_connects_gets_a_layer, |rig| {
    let (silent, _filler) = rig.silent()?;
    let (server, toys) = (rig.server().layers(Toys::default()).start()?, Toys::default());
    let made = Rc::clone(&toys.made);
    let to = [&silent, &server].map(|server| server.contact().local().clone());
    let client = rig.client(&server).remotes(to).attempt_delay(Duration::from_millis(10));
    let client = client.layers(toys).nowait(true).start()?;
    client.send("secret")?;
    rig.until_line(&client, "open (open)");
    rig.until_bytes(&rig.child(&server), b"secret");
    assert_eq!((made.get(), client.contact().remote()), (1, Some(server.contact().local())));
    Ok(())
});

// Whoever answered is the one to talk to: another address would be no remedy, and might be a trap.
conformance!(a_handshake_that_fails_is_not_tried_elsewhere, |rig| {
    let wrong = rig.server().layers(Toys { instead: Some(b"WHAT"), ..Toys::default() }).start()?;
    let right = rig.server().layers(Toys::default()).start()?;
    let to = [&wrong, &right].map(|server| server.contact().local().clone());
    let client = rig.client(&wrong).remotes(to.clone()).layers(Toys::default()).nowait(true);
    let client = client.start()?;
    rig.until_line(&client, "failed with code not a toy (failed)");
    rig.settle();
    assert_eq!((client.contact().remote(), rig.children(&right)), (Some(&to[0]), 0));
    Ok(())
});

conformance!(an_accepted_connection_that_fails_leaves_the_list, |rig| {
    let (client, child) = raw(rig)?;
    client.send("HTTP/1.1 GET /")?;
    rig.until_line(&child, "failed with code not a toy (closed)");
    assert_eq!(rig.rt.get_process(&child.name()), None);
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.bytes_of(&client), GREETING, "nothing else was answered");
    Ok(())
});

conformance!(a_layer_that_cannot_be_made_is_a_failure, |rig| {
    let server = rig.server().start()?;
    let none = || Toys { refuse: true, ..Toys::default() };
    let refused = rig.client(&server).layers(none()).start().expect_err("no toys");
    assert!(matches!(refused, netproc::StartError::Handshake { .. }), "{refused:?}");
    let server = rig.server().layers(none()).start()?;
    let client = rig.connect(&server)?;
    rig.until_line(&client, "connection broken by remote peer (closed)");
    Ok(())
});

conformance!(a_handshake_that_takes_too_long_is_cut_off, |rig| {
    let mut limits = Limits::default();
    limits.handshake_within = Duration::from_millis(50);
    let server = rig.server().layers(Toys::default()).limits(limits).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.send(&GREETING[..3])?;
    rig.until_line(&child, "failed with code the handshake took too long (closed)");
    rig.until_line(&client, "connection broken by remote peer (closed)");
    // A client that does not wait has the same limit.
    let silent = rig.rt.server("silent").filter(|_, _| {}).start()?;
    let client = rig.client(&silent).layers(Toys::default()).limits(limits).nowait(true).start()?;
    rig.until_line(&client, "failed with code the handshake took too long (failed)");
    Ok(())
});

conformance!(a_peer_that_hangs_up_meanwhile_is_a_failure, |rig| {
    let (client, child) = raw(rig)?;
    client.delete();
    rig.until("the end", || child.status() == Status::Closed);
    let told = rig.log.of(&child);
    assert!(told[0].starts_with("failed with code "), "{told:?}");
    Ok(())
});

conformance!(an_end_with_a_notice_is_an_end_and_one_without_is_a_cut, |rig| {
    for (last, expected) in [(&[0u8][..], Reason::End), (&[], Reason::Truncated)] {
        let (client, child) = raw(rig)?;
        client.send([GREETING, &[1, !b'x'], last].concat())?;
        rig.until_bytes(&child, b"x");
        client.send_eof()?;
        rig.until_line(&child, "connection broken by remote peer (closed)");
        assert_eq!(child.exit(), Exit::Broken(expected));
        rig.log.clear();
        client.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(a_notice_alone_is_the_end_and_nothing_behind_it_is_read, |rig| {
    let (client, child) = raw(rig)?;
    client.send([GREETING, &[0, 1, !b'x']].concat())?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!((rig.log.len_of(&child), child.exit()), (0, Exit::Broken(Reason::End)));
    // Its own notice came back.
    rig.until_bytes(&client, &[GREETING, &[0]].concat());
    Ok(())
});

conformance!(a_peer_that_resets_behind_its_notice_has_ended_in_order, |rig| {
    let (client, child) = raw(rig)?;
    client.send([GREETING, &[1, !b'x', 0]].concat())?;
    rig.until_bytes(&client, &[GREETING, &[0]].concat());
    client.delete_with(CloseHow::Reset);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!((rig.log.bytes_of(&child), child.exit()), (b"x".into(), Exit::Broken(Reason::End)));
    // What was to be sent to it counts.
    let (client, child) = raw(rig)?;
    client.send(GREETING)?;
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    rig.until_bytes(&client, GREETING);
    client.stop();
    child.send(pattern(0, 8 << 20))?;
    client.send(&[0])?;
    rig.settle();
    client.delete_with(CloseHow::Reset);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert!(matches!(child.exit(), Exit::Broken(Reason::Sys(_))), "{:?}", child.exit());
    Ok(())
});

conformance!(a_damaged_record_ends_the_connection_behind_what_was_good, |rig| {
    let (client, child) = raw(rig)?;
    let damaged = [&[2, !b'o', !b'k', 255][..], &[0; 255]].concat();
    client.send([GREETING, &damaged].concat())?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.bytes_of(&child), b"ok");
    assert_eq!(child.exit(), Exit::Broken(Reason::Corrupt));
    Ok(())
});

conformance!(deleting_and_ending_say_goodbye_first, |rig| {
    let (client, child) = pair(rig)?;
    child.send("last words")?;
    child.delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.bytes_of(&client), b"last words");
    assert_eq!(client.exit(), Exit::Broken(Reason::End), "with a notice");
    let (client, child) = pair(rig)?;
    client.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(child.exit(), Exit::Broken(Reason::End));
    Ok(())
});

conformance!(deleted_in_the_handshake_nothing_else_is_told, |rig| {
    let (client, child) = raw(rig)?;
    child.delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.of(&child), ["deleted (closed)"]);
    Ok(())
});

conformance!(pulled_events_come_in_order, |rig| {
    let server = rig.rt.server("s").layers(Toys::default()).start()?;
    let to = server.contact().local().clone();
    let client = rig.rt.client("c").remote(to).layers(Toys::default()).nowait(true).start()?;
    client.send("hello")?;
    let mut opened = (false, false);
    loop {
        match rig.next() {
            (process, Event::Open) if process == client => opened.0 = true,
            (_, Event::OpenFrom(_)) => opened.1 = true,
            (process, Event::Input(input)) => {
                assert!(process != client && opened.1, "open before input");
                assert_eq!(&input[..], b"hello");
                break;
            }
            (process, event) => panic!("{process:?}: {event:?}"),
        }
    }
    assert!(opened.0, "the client was told first: it had to finish first");
    Ok(())
});

conformance!(an_open_connection_can_be_upgraded, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.send("in clear")?;
    rig.until_bytes(&child, b"in clear");
    child.upgrade(Toys::default())?;
    child.send("queued")?;
    rig.settle();
    assert_eq!(rig.log.bytes_of(&client), GREETING, "what is sent waits for the handshake");
    rig.log.clear();
    client.send([GREETING, &[2, !b'h', !b'i']].concat())?;
    rig.until_bytes(&child, b"hi");
    assert_eq!(rig.log.of(&child), ["secured (open)", "\"hi\" (open)"]);
    let queued: Vec<u8> = b"queued".iter().map(|byte| !byte).collect();
    rig.until_bytes(&client, &[&[6], &queued[..]].concat());
    assert_eq!(child.upgrade(Toys::default()), Err(UpgradeError::Unfit));
    Ok(())
});

conformance!(a_sender_waits_for_the_upgrade_of_a_process_that_is_pulled, |rig| {
    let server = rig.server().filter(|child, input| match &input[..] {
        GREETING => child.send(GREETING),
        _ => child.send(input),
    });
    let server = server.start()?;
    let client = rig.rt.client("pulled").remote(server.contact().local().clone()).start()?;
    client.upgrade(Toys::default())?;
    client.send_wait("hi", Some(PATIENCE))?;
    let next = || rig.rt.next_event_of(&client, PATIENCE);
    assert!(matches!(next()?, Some(Event::Secured)));
    assert!(matches!(next()?, Some(Event::Input(input)) if input[..] == *b"hi"));
    Ok(())
});

conformance!(an_upgrade_that_fails_ends_the_connection, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.upgrade(Toys::default())?;
    client.send("plain talk")?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(child.exit(), Exit::Broken(Reason::Corrupt));
    assert_eq!(rig.log.len_of(&child), 0, "nothing in clear is read");
    Ok(())
});

conformance!(unread_clear_text_refuses_an_upgrade, |rig| {
    let server = rig.rt.server("s").start()?;
    let client = rig.connect(&server)?;
    let (child, event) = rig.next();
    assert!(matches!(event, Event::OpenFrom(_)), "{event:?}");
    client.send("clear")?;
    // Without a filter it waits to be pulled.
    assert!(rig.rt.accept_output(Some(&child), Some(PATIENCE), false)?);
    assert_eq!(child.upgrade(Toys::default()), Err(UpgradeError::ClearText(5)));
    let (_, event) = rig.next();
    assert!(matches!(event, Event::Input(_)), "{event:?}");
    assert_eq!(child.upgrade(Toys::default()), Ok(()));
    Ok(())
});

conformance!(only_an_open_stream_can_be_upgraded, |rig| {
    let (server, client, child) = rig.pair()?;
    let packets = rig.rt.server("p").datagram().start()?;
    assert_eq!(server.upgrade(Toys::default()), Err(UpgradeError::NotOpen(Status::Listen)));
    assert_eq!(packets.upgrade(Toys::default()), Err(UpgradeError::Unfit));
    client.send_eof()?;
    assert_eq!(client.upgrade(Toys::default()), Err(UpgradeError::Finished));
    child.delete();
    assert_eq!(child.upgrade(Toys::default()), Err(UpgradeError::NotOpen(Status::Closed)));
    Ok(())
});

conformance!(the_end_of_sending_comes_behind_the_handshake_of_an_upgrade, |rig| {
    let (_server, client, child) = rig.pair()?;
    for process in [&client, &child] {
        process.upgrade(Toys::default())?;
    }
    client.send("last")?;
    client.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.bytes_of(&child), b"last");
    assert_eq!(child.exit(), Exit::Broken(Reason::End));
    Ok(())
});

conformance!(open_from_is_told_once_though_the_log_waits_for_the_handshake, |rig| {
    let server = rig.server().layers(Toys::default()).log(|_, process, _| {
        while process.is_some_and(|process| process.status() == Status::Connect) {
            process.expect("it was just there").runtime().turn(PATIENCE)?;
        }
        Ok::<_, netproc::Error>(())
    });
    let server = server.start()?;
    let client = rig.client(&server).layers(Toys::default()).nowait(true).start()?;
    rig.until_line(&client, "open (open)");
    let child = rig.child(&server);
    rig.settle();
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)"]);
    Ok(())
});

conformance!(what_waited_for_a_handshake_that_fails_is_told_as_lost, |rig| {
    let cuts: [fn(&Process, &Process); 2] =
        [|client, _| assert!(client.send("plain talk").is_ok()), |_, child| child.delete()];
    for cut in cuts {
        let (_server, client, child) = rig.pair()?;
        child.upgrade(Toys::default())?;
        let ends = (client, child.clone());
        rig.rt.run_after(Duration::from_millis(1), move |_| cut(&ends.0, &ends.1));
        let sent = child.send_wait("12345", Some(PATIENCE));
        let lost = match sent {
            Err(SendWaitError::Broken { unsent, .. } | SendWaitError::Deleted { unsent }) => unsent,
            other => return Err(format!("{other:?}").into()),
        };
        assert_eq!((lost, child.status()), (5, Status::Closed));
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_start_that_fails_leaves_no_limit_of_its_handshake, |rig| {
    let rude = rig.rt.server("rude").filter(|_, _| {}).sentinel(|process, event| {
        if matches!(event, Event::OpenFrom(_)) {
            process.delete();
        }
    });
    let rude = rude.start()?;
    let refused = rig.client(&rude).layers(Toys::default()).start();
    assert!(refused.is_err(), "it hung up");
    rude.delete();
    let begin = Instant::now();
    rig.rt.run()?;
    assert!(begin.elapsed() < Duration::from_secs(5), "nothing was left to wait for");
    Ok(())
});

/// Turns every byte upside down where it lies, and shakes no hands. Seals so many messages.
#[derive(Debug)]
struct Upside {
    out: Vec<Payload>,
    left: u32,
}

#[derive(Debug)]
struct Upsides(u32);

impl Layers for Upsides {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        Ok(Box::new(Upside { out: Vec::new(), left: self.0 }))
    }
}

impl Layer for Upside {
    fn receive(&mut self, mut wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        let bytes = wire.get_mut().ok_or_else(|| SharedError::new("not alone"))?;
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        let half = wire.len() / 2;
        // An empty part is nothing that a process could hear of.
        plain.extend([wire.slice(0..half), wire.slice(half..wire.len()), wire.slice(0..0)]);
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| SharedError::new("used up"))?;
        let turned = plain.iter().map(|byte| !byte);
        self.out.push(turned.collect::<Vec<_>>().into());
        Ok(())
    }

    fn wire(&mut self, out: &mut Vec<Payload>) {
        out.append(&mut self.out);
    }

    fn is_established(&self) -> bool {
        true
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

conformance!(a_layer_without_a_handshake_is_open_at_once, |rig| {
    let server = rig.server().layers(Upsides(9)).start()?;
    let client = rig.client(&server).layers(Upsides(9)).start()?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    client.send("there")?;
    child.send("back")?;
    rig.until_bytes(&child, b"there");
    rig.until_bytes(&client, b"back");
    // Nobody waits for an upgrade to it either.
    let (_server, client, child) = rig.pair()?;
    child.upgrade(Upsides(9))?;
    rig.until_line(&child, "secured (open)");
    client.send(&[!b'h', !b'i'])?;
    rig.until_bytes(&child, b"hi");
    Ok(())
});

conformance!(what_comes_at_once_is_changed_where_it_lies_and_told_in_order, |rig| {
    let server = rig.server().layers(Upsides(0)).start()?;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(rig.connect(&server)?);
    }
    rig.until("all of them", || rig.children(&server) == 20);
    let bytes = pattern(5, 5000);
    let turned: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    for client in &clients {
        client.send(turned.clone())?;
    }
    for child in rig.connections(&server) {
        rig.until_bytes(&child, &bytes);
        assert_eq!((child.status(), child.layer_error().map(|_| ())), (Status::Open, None));
    }
    Ok(())
});

conformance!(a_layer_that_can_send_no_more_ends_the_connection_behind_what_it_sent, |rig| {
    let server = rig.server().layers(Upsides(2)).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    for text in ["one", "two", "three"] {
        child.send(text)?;
    }
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(child.exit(), Exit::Broken(Reason::Corrupt));
    assert_eq!(child.layer_error().map(|err| err.to_string()).as_deref(), Some("used up"));
    rig.until_line(&client, "connection broken by remote peer (closed)");
    let sent: Vec<u8> = b"onetwo".iter().map(|byte| !byte).collect();
    assert_eq!(rig.log.bytes_of(&client), sent);
    Ok(())
});

conformance!(no_more_crosses_a_layer_than_the_wire_is_about_to_take, |rig| {
    const LEN: usize = 16 << 20;
    let mut limits = Limits::default();
    limits.queue_len_max = 2 * LEN as u64;
    let messages = u32::try_from(LEN / 1000)?;
    let server = rig.server().layers(Upsides(messages)).limits(limits).start()?;
    let client = rig.client(&server).stop(true).start()?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    let bytes = pattern(9, LEN);
    let queued = child.send(bytes.clone())?;
    assert_eq!(queued, LEN as u64, "what has not crossed is queued as well");
    rig.settle();
    let left = child.queued();
    assert!(left > LEN as u64 / 8, "{left}: the peer does not read");
    // The end of sending comes behind it, however much that is.
    child.send("behind")?;
    client.resume();
    let turned: Vec<u8> = [&bytes[..], b"behind"].concat().iter().map(|byte| !byte).collect();
    rig.until("all of it", || rig.log.len_of(&client) == turned.len());
    assert!(rig.log.bytes_of(&client) == turned, "every byte in its place");
    assert_eq!(child.queued(), 0);
    Ok(())
});

conformance!(what_waits_for_a_layer_counts_as_unsent, |rig| {
    const LEN: usize = 16 << 20;
    let mut limits = Limits::default();
    limits.queue_len_max = 2 * LEN as u64;
    let told = Rc::new(Cell::new(None));
    let unsent = Rc::clone(&told);
    let server = rig.server().layers(Upsides(u32::MAX)).limits(limits).sentinel(move |_, event| {
        if let Event::Broken { unsent: left, .. } = event {
            unsent.set(Some(*left));
        }
    });
    let server = server.start()?;
    let client = rig.client(&server).stop(true).start()?;
    let child = rig.child(&server);
    child.send(vec![0; LEN])?;
    rig.settle();
    let left = child.queued();
    client.delete_with(CloseHow::Reset);
    rig.until("the end", || told.get().is_some());
    let unsent = told.get().unwrap_or_default();
    assert!(unsent <= left, "{unsent} of {left}");
    assert!(unsent > LEN as u64 / 8, "{unsent}: what never crossed was never sent");
    Ok(())
});

conformance!(only_streams_have_layers, |rig| {
    let to = rig.server().datagram().start()?.contact().local().clone();
    let refused = [
        rig.rt.server("s").datagram().layers(Toys::default()).start(),
        rig.rt.client("c").datagram().remote(to).layers(Toys::default()).start(),
        rig.rt
            .client("c")
            .datagram()
            .host("localhost")
            .service(7)
            .nowait(true)
            .layers(Toys::default())
            .start(),
    ];
    for refused in refused {
        let refused = refused.expect_err("its packets would go out in clear");
        assert!(matches!(refused, netproc::StartError::Incompatible(_)), "{refused:?}");
    }
    Ok(())
});
