//! Layers that more than one suite wants.

use netproc::{Buf, Layer, Layers, Payload, SharedError};

/// A layer that says nothing and hears nothing: its handshake never ends.
#[must_use]
pub fn silence() -> impl Layers + 'static {
    Mute
}

/// Makes layers that change nothing, and have no handshake.
#[must_use]
pub fn glass() -> impl Layers + 'static {
    Glass
}

#[derive(Debug)]
struct Mute;

impl Layers for Mute {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        Ok(Box::new(Self))
    }
}

impl Layer for Mute {
    fn receive(&mut self, _: Buf, _: &mut Vec<Buf>) -> Result<(), SharedError> {
        Ok(())
    }

    fn send(&mut self, _: &[u8]) -> Result<(), SharedError> {
        Ok(())
    }

    fn wire(&mut self, _: &mut Vec<Payload>) {}

    fn is_established(&self) -> bool {
        false
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

#[derive(Debug)]
struct Glass;

impl Layers for Glass {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        Ok(Box::new(Pane::default()))
    }
}

/// With what waits for the wire.
#[derive(Debug, Default)]
struct Pane(Vec<Payload>);

impl Layer for Pane {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        plain.push(wire);
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        self.0.push(plain.into());
        Ok(())
    }

    fn wire(&mut self, out: &mut Vec<Payload>) {
        out.append(&mut self.0);
    }

    fn is_established(&self) -> bool {
        true
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}
