//! What comes for a process before its layer is there passes it all the same: nothing of it is lost, and
//! nothing of it is taken for what the layer protects.
//!
//! The layer here waits for `hello` and then changes nothing but the case of letters.

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{Buf, Layer, Layers, Payload, Process, Reason, ServerBuilder, SharedError, Status};
use netproc_tests::{conformance, rig::Rig};

const GREETING: &[u8] = b"hello";

#[derive(Debug, Default)]
struct Loud {
    greeted: bool,
}

#[derive(Debug)]
enum Louds {
    /// Wait for the greeting.
    Polite,
    /// Are established at once.
    Rude,
    /// Cannot be made.
    None,
}

impl Layers for Louds {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        match self {
            Self::Polite => Ok(Box::new(Loud::default())),
            Self::Rude => Ok(Box::new(Loud { greeted: true })),
            Self::None => Err(SharedError::new("no voice")),
        }
    }
}

impl Layer for Loud {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        let mut rest = &wire[..];
        if !self.greeted {
            rest = rest.strip_prefix(GREETING).ok_or_else(|| SharedError::new("no greeting"))?;
            self.greeted = true;
        }
        plain.push(rest.to_ascii_uppercase().into());
        Ok(())
    }

    fn send(&mut self, _: &[u8]) -> Result<(), SharedError> {
        Ok(())
    }

    fn wire(&mut self, _: &mut Vec<Payload>) {}

    fn is_established(&self) -> bool {
        self.greeted
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

/// A server whose log function does that with each connection.
fn serving(rig: &Rig, then: impl Fn(&Process) + 'static) -> ServerBuilder {
    rig.rt.server("srv").log(move |_, process, _| process.into_iter().for_each(&then))
}

/// Waits in a way that serves nobody but `server`: what comes for others is stored.
fn serve_only(rig: &Rig, server: &Process) -> Result<(), netproc::Error> {
    rig.rt.accept_output(Some(server), Some(Duration::from_millis(50)), true)?;
    Ok(())
}

conformance!(what_comes_before_the_layer_of_a_client_passes_it, |rig| {
    for (layers, said) in [(Louds::Polite, "hello to all"), (Louds::Rude, " to all")] {
        let server = serving(rig, move |process| {
            process.send(said).expect("it is open");
        });
        let server = server.start()?;
        let client = rig.client(&server).layers(layers).nowait(true).start()?;
        serve_only(rig, &server)?;
        assert_eq!(rig.log.of(&client), [""; 0], "nobody served it");
        rig.until_bytes(&client, b" TO ALL");
        assert_eq!(rig.log.of(&client), ["open (open)", "\" TO ALL\" (open)"]);
    }
    Ok(())
});

conformance!(an_end_that_comes_before_the_layer_of_a_client_fails_its_handshake, |rig| {
    let server = serving(rig, |process| {
        process.delete();
    });
    let server = server.start()?;
    let client = rig.client(&server).layers(Louds::Polite).nowait(true).start()?;
    serve_only(rig, &server)?;
    rig.until("the failure", || client.status() == Status::Failed);
    let heard = ["failed with code the peer hung up during the handshake (failed)"];
    assert_eq!(rig.log.of(&client), heard);
    Ok(())
});

conformance!(
    what_is_in_clear_behind_an_upgrade_that_failed_reaches_nobody,
    |config| {
        // So that what was sent comes in several reads.
        config.slot_len = 4096;
    },
    |rig| {
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        let filter = move |process: &Process, _| {
            count.set(count.get() + 1);
            if count.get() == 1 {
                process.upgrade(Louds::None).expect("it is open, and nothing is stored");
            }
        };
        let (_server, client, child) = rig.pair_at(rig.server().filter(filter))?;
        client.send("x".repeat(100_000))?;
        rig.until("the end", || child.status() == Status::Closed);
        assert_eq!(calls.get(), 1, "the filter was given clear text after the upgrade");
        assert_eq!(child.exit(), netproc::Exit::Broken(Reason::Corrupt));
        Ok(())
    }
);
