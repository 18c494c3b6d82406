//! What may lie between a process and its wire: a layer that turns bytes into others, such as TLS.
//!
//! Invariant: a layer does no input or output and knows no time; it is handed bytes and asked for bytes.
//! When to do either is the engine's affair, what the bytes mean the layer's. It never holds more
//! than one record of the peer.

use std::{any::Any, fmt};

use crate::shared_error::SharedError;

/// Bytes in, bytes out, and a handshake before.
///
/// It is [`Any`], so that whoever made it finds its own type again in a `dyn Layer`, as TLS does to
/// tell what was agreed upon.
pub trait Layer: Any + fmt::Debug {
    /// Takes bytes off the wire, all of them; what they mean for the process is appended to `plain`.
    ///
    /// # Errors
    ///
    /// [`SharedError`]: the peer has broken the rules or was refused. Nothing more may be received; what
    /// [`wire`](Self::wire) still gives, an alert, may be sent.
    fn receive(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> Result<(), SharedError>;

    /// Takes bytes of the process. Called once the handshake is done.
    fn send(&mut self, plain: &[u8]);

    /// Appends to `out` what has to go on the wire now.
    fn wire(&mut self, out: &mut Vec<u8>);

    /// Whether the handshake is done.
    fn is_established(&self) -> bool;

    /// Whether the peer has said that it will send no more.
    fn is_peer_finished(&self) -> bool;

    /// Says that no more will be sent: the last of [`wire`](Self::wire).
    fn finish(&mut self);
}

/// Makes the layer of each connection.
pub trait Layers: fmt::Debug {
    /// A layer for a new connection, which begins with its handshake.
    ///
    /// # Errors
    ///
    /// [`SharedError`] when there can be none; the connection fails.
    fn make(&self) -> Result<Box<dyn Layer>, SharedError>;
}
