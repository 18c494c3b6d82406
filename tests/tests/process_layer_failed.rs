//! Layers that give up: what they no longer take is refused, and what was accepted before is counted.
//!
//! The layer here changes nothing: it lets a number of pieces pass on their way out, and takes an
//! exclamation mark for damage.

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{
    Buf, CloseHow, Event, Exit, Layer, Layers, Payload, Process, Reason, SendError, SendWaitError,
    ServerBuilder, SharedError, Status,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

/// What may cross a layer at once.
const PIECE: usize = 16 * 1024;

#[derive(Debug)]
struct Gate {
    out: Vec<Payload>,
    left: u32,
}

#[derive(Debug)]
struct Gates(u32);

impl Layers for Gates {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        Ok(Box::new(Gate { out: Vec::new(), left: self.0 }))
    }
}

impl Layer for Gate {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        if wire.contains(&b'!') {
            return Err(SharedError::new("damaged"));
        }
        plain.push(wire);
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| SharedError::new("used up"))?;
        self.out.push(plain.to_vec().into());
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

/// How many bytes of a connection were not sent, once it has ended.
type Unsent = Rc<Cell<Option<u64>>>;

/// A server, with what its connection is told when it ends.
fn counting(rig: &Rig) -> (ServerBuilder, Unsent) {
    let (told, log) = (Unsent::default(), rig.log.sentinel());
    let unsent = Rc::clone(&told);
    let server = rig.server().sentinel(move |process, event| {
        if let Event::Broken { unsent: left, .. } = event {
            unsent.set(Some(*left));
        }
        log(process, event);
    });
    (server, told)
}

/// A client, and the connection that lets so many pieces through to it.
fn gated(rig: &Rig, pieces: u32) -> Result<(Process, Process, Unsent), netproc::Error> {
    let (server, unsent) = counting(rig);
    let (_server, client, child) = rig.pair_at(server.layers(Gates(pieces)))?;
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    Ok((client, child, unsent))
}

// What came would be taken for whole otherwise.
conformance!(a_cut_is_the_end_of_a_half_open_connection_too, |rig| {
    let server = rig.server().layers(Gates(9)).half_open(true);
    let (_server, client, child) = rig.pair_at(server)?;
    client.send("half")?;
    rig.until_bytes(&child, b"half");
    client.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(child.exit(), Exit::Broken(Reason::Truncated));
    assert_eq!(rig.log.of(&child).len(), 3, "{:?}", rig.log.of(&child));
    Ok(())
});

conformance!(nothing_more_is_accepted_once_the_peer_has_sent_damage, |rig| {
    let (client, child, unsent) = gated(rig, u32::MAX)?;
    client.send("!")?;
    rig.until("it gives up", || child.layer_error().is_some());
    assert_eq!(child.status(), Status::Open, "its end is still to be told");
    assert_eq!(child.send("lost"), Err(SendError::Finished));
    let waited = child.send_wait("lost", Some(PATIENCE));
    assert!(matches!(waited, Err(SendWaitError::Send(SendError::Finished))), "{waited:?}");
    assert_eq!(child.queued(), 0);
    rig.until("the end", || unsent.get().is_some());
    assert_eq!((child.exit(), unsent.get()), (Exit::Broken(Reason::Corrupt), Some(0)));
    Ok(())
});

conformance!(what_a_layer_did_not_take_is_unsent_and_more_is_refused, |rig| {
    let (client, child, unsent) = gated(rig, 2)?;
    for text in ["one", "two", "three"] {
        child.send(text)?;
    }
    assert_eq!(child.send("four"), Err(SendError::Finished));
    rig.until("the end", || unsent.get().is_some());
    assert_eq!((unsent.get(), rig.log.bytes_of(&client)), (Some(5), b"onetwo".into()));
    Ok(())
});

conformance!(of_what_crosses_in_pieces_the_one_refused_is_unsent_too, |rig| {
    const LEN: usize = 100_000;
    for pieces in [0, 1, 2, 5] {
        let (client, child, unsent) = gated(rig, pieces)?;
        let bytes = pattern(7, LEN);
        let waited = child.send_wait(bytes.clone(), Some(PATIENCE));
        let sent = PIECE * usize::try_from(pieces)?;
        let left = (LEN - sent) as u64;
        let broken = matches!(waited, Err(SendWaitError::Broken { unsent, .. }) if unsent == left);
        assert!(broken, "{pieces}: {waited:?}");
        rig.until("the end", || unsent.get().is_some());
        assert_eq!(unsent.get(), Some(left), "{pieces}");
        rig.until_bytes(&client, &bytes[..sent]);
        rig.log.clear();
    }
    Ok(())
});

conformance!(a_sender_that_waits_hears_that_the_layer_gave_up_before_the_end_is_told, |rig| {
    let (_client, child, _) = gated(rig, 2)?;
    // So its end waits to be told.
    child.stop();
    let waited = child.send_wait(pattern(7, 100_000), Some(PATIENCE));
    let Err(SendWaitError::Broken { reason, unsent }) = waited else {
        return Err(format!("{waited:?}").into());
    };
    assert_eq!((reason, unsent), (Reason::Corrupt, 100_000 - 2 * PIECE as u64));
    // Nothing that came was damaged.
    assert_eq!(reason.to_string(), "given up by the layer on top");
    assert_eq!(child.exit(), Exit::Alive);
    Ok(())
});

conformance!(what_waited_for_an_upgrade_and_is_not_taken_is_unsent, |rig| {
    let (server, unsent) = counting(rig);
    let (_server, client, child) = rig.pair_at(server)?;
    child.upgrade(Gates(1))?;
    for text in ["one", "", "three", "four", ""] {
        child.send(text)?;
    }
    rig.until("the end", || unsent.get().is_some());
    assert_eq!((child.exit(), unsent.get()), (Exit::Broken(Reason::Corrupt), Some(9)));
    rig.until_bytes(&client, b"one");
    Ok(())
});

/// A connection whose filter answers every input with so many bytes, and which has been sent `input` by a
/// client that has stopped reading.
fn answering(rig: &Rig, len: usize) -> Result<(Process, Process, Unsent), netproc::Error> {
    let (server, unsent) = counting(rig);
    let filter = move |process: &Process, _| {
        let _ = process.send(pattern(3, len));
    };
    let (_server, client, child) = rig.pair_at(server.filter(filter).layers(Gates(u32::MAX)))?;
    client.stop();
    Ok((client, child, unsent))
}

conformance!(input_held_back_by_what_waits_for_a_layer_goes_on_when_the_peer_resets, |rig| {
    let (client, child, unsent) = answering(rig, 16 << 20)?;
    client.send("go")?;
    rig.settle();
    let half = child.limits().queue_len_max / 2;
    assert!(child.queued() > half, "{} hold no input back", child.queued());
    client.delete_with(CloseHow::Reset);
    rig.until("the end", || unsent.get().is_some());
    assert!(unsent.get().is_some_and(|unsent| unsent > half), "{unsent:?}");
    Ok(())
});

// Its input is there before the reset, in the inbox or still to be read.
conformance!(answers_that_cannot_go_any_more_hold_no_input_back, |rig| {
    for stored in [true, false] {
        let (client, child, unsent) = answering(rig, 600_000)?;
        let other = rig.rt.server("other").start()?;
        child.stop();
        client.send("x".repeat(200_000))?;
        rig.settle();
        if stored {
            child.resume();
            let wait = Some(Duration::from_millis(10));
            rig.rt.accept_output(Some(&other), wait, true)?;
            client.delete_with(CloseHow::Reset);
            rig.rt.accept_output(Some(&other), wait, true)?;
        } else {
            client.delete_with(CloseHow::Reset);
            rig.settle();
            child.send("nobody is there")?;
            rig.settle();
            child.resume();
        }
        rig.until("the end", || unsent.get().is_some());
    }
    Ok(())
});

#[derive(Debug)]
struct Careless(netproc::Runtime);

impl Layers for Careless {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        // Which may not be asked here.
        let count = self.0.process_list().len();
        Err(SharedError::new(format!("of {count}")))
    }
}

conformance!(a_layer_that_cannot_be_made_is_the_end_of_its_connection_alone, |rig| {
    let server = rig.server().layers(Careless(rig.rt.clone())).start()?;
    for _ in 0..2 {
        let client = rig.connect(&server)?;
        rig.until_line(&client, "connection broken by remote peer (closed)");
    }
    rig.settle();
    assert_eq!(rig.children(&server), 0);
    assert_eq!(server.status(), Status::Listen);
    // It holds the runtime that holds it.
    server.delete();
    rig.rt.close();
    Ok(())
});
