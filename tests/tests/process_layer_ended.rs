//! A peer that closes right behind its closing notice, and so answers ours with a reset, has ended in order, whoever of
//! the two was first to end its direction; what of the process is lost so is told.
//!
//! The layer here changes nothing: a dot is its closing notice.

use std::{cell::Cell, rc::Rc};

use netproc::{
    Buf, CloseHow, Event, Exit, Layer, Layers, Payload, Process, Reason, ServerBuilder, SharedError,
};
use netproc_tests::{conformance, contract::pattern, rig::Rig};

#[derive(Debug)]
struct Dot {
    notice_len: usize,
    out: Vec<Payload>,
    is_peer_finished: bool,
    is_finished: bool,
}

/// How long the notice is.
#[derive(Debug)]
struct Dots(usize);

impl Layers for Dots {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        let (is_peer_finished, is_finished) = (false, false);
        let dot = Dot { notice_len: self.0, out: Vec::new(), is_peer_finished, is_finished };
        Ok(Box::new(dot))
    }
}

impl Layer for Dot {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        let end = wire.iter().position(|byte| *byte == b'.');
        self.is_peer_finished |= end.is_some();
        plain.push(wire.slice(0..end.unwrap_or(wire.len())));
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
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
        self.is_peer_finished
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_finished, true) {
            self.out.push(vec![b'.'; self.notice_len].into());
        }
    }
}

/// A connection with this layer, its raw peer, and how much of it was unsent when it ended.
struct Ends {
    client: Process,
    child: Process,
    unsent: Rc<Cell<Option<u64>>>,
}

impl Ends {
    fn new(rig: &Rig, server: ServerBuilder) -> Result<Self, netproc::Error> {
        Self::of(rig, server, Dots(1))
    }

    fn of(rig: &Rig, server: ServerBuilder, layers: Dots) -> Result<Self, netproc::Error> {
        let (unsent, log) = (Rc::new(Cell::new(None)), rig.log.sentinel());
        let told = Rc::clone(&unsent);
        let server = server.layers(layers).sentinel(move |process, event| {
            if let Event::Broken { unsent, .. } = event {
                told.set(Some(*unsent));
            } else if matches!(event, Event::PeerFinished) {
                process.send_eof().expect("it is open");
            }
            log(process, event);
        });
        let server = server.start()?;
        let client = rig.client(&server).half_open(true).start()?;
        let child = rig.child(&server);
        rig.until_line(&child, "open from 127.0.0.1 (open)");
        Ok(Self { client, child, unsent })
    }

    /// The peer sends this and resets; the connection hears of both at once.
    fn resets_behind(&self, rig: &Rig, last: &str) -> Result<(), netproc::Error> {
        self.child.stop();
        self.client.send(last)?;
        rig.settle();
        self.client.delete_with(CloseHow::Reset);
        rig.settle();
        self.child.resume();
        Ok(())
    }

    fn assert_in_order(&self, rig: &Rig, case: &str) {
        rig.until("the end", || self.unsent.get().is_some());
        let end = (self.child.exit(), self.unsent.get());
        assert_eq!(end, (Exit::Broken(Reason::End), Some(0)), "{case}");
        assert_eq!(rig.log.bytes_of(&self.child), b"a", "{case}");
    }
}

conformance!(a_reset_behind_the_notice_is_an_end_in_order, |rig| {
    for half_open in [false, true] {
        let ends = Ends::new(rig, rig.server().half_open(half_open))?;
        ends.resets_behind(rig, "a.")?;
        ends.assert_in_order(rig, &format!("half-open: {half_open}"));
    }
    Ok(())
});

conformance!(a_reset_is_an_end_in_order_where_this_side_was_first_to_end, |rig| {
    for half_open in [false, true] {
        let ends = Ends::new(rig, rig.server().half_open(half_open))?;
        ends.child.send("question")?;
        ends.child.send_eof()?;
        rig.until_bytes(&ends.client, b"question.");
        ends.resets_behind(rig, "a.")?;
        ends.assert_in_order(rig, &format!("half-open: {half_open}"));
    }
    Ok(())
});

conformance!(a_reset_that_answers_our_notice_is_an_end_in_order, |rig| {
    for (half_open, first) in [(false, false), (false, true), (true, false), (true, true)] {
        let log = rig.log.filter();
        let server = rig.server().half_open(half_open).filter(move |process, input| {
            log(process, input);
            if first {
                process.send_eof().expect("it is open");
            }
        });
        let ends = Ends::new(rig, server)?;
        ends.client.send("a.")?;
        rig.until_bytes(&ends.client, b".");
        ends.client.delete_with(CloseHow::Reset);
        ends.assert_in_order(rig, &format!("half-open: {half_open}, in the filter: {first}"));
    }
    Ok(())
});

conformance!(what_a_reset_takes_of_the_process_is_told, |rig| {
    for (half_open, first) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = format!("half-open: {half_open}, ended before: {first}");
        let ends = Ends::new(rig, rig.server().half_open(half_open))?;
        ends.client.stop();
        ends.child.send(pattern(0, 8 << 20))?;
        if first {
            ends.child.send_eof()?;
        }
        rig.settle();
        ends.resets_behind(rig, ".")?;
        rig.until("the end", || ends.unsent.get().is_some());
        assert!(
            matches!(ends.child.exit(), Exit::Broken(Reason::Sys(_))),
            "{case}: {:?}",
            ends.child.exit()
        );
        assert!(ends.unsent.get().is_some_and(|unsent| unsent > 1 << 20), "{case}");
    }
    Ok(())
});

conformance!(a_notice_that_cannot_be_sent_is_nothing_unsent, |rig| {
    // More than the system takes.
    let ends = Ends::of(rig, rig.server(), Dots(8 << 20))?;
    ends.client.stop();
    ends.client.send("a.")?;
    rig.settle();
    assert!(ends.child.queued() > 1 << 20, "{} wait", ends.child.queued());
    ends.client.delete_with(CloseHow::Reset);
    ends.assert_in_order(rig, "a long notice");
    Ok(())
});
