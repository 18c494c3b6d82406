//! What may lie between a process and its wire: a layer that turns bytes into others, such as TLS.
//!
//! Invariant: a layer does no input or output and knows no time; it is handed bytes and asked for bytes.
//! When to do either is the engine's affair, what the bytes mean the layer's. It never holds more
//! than one record of the peer.

use std::{any::Any, fmt};

use crate::{pool::Buf, reactor::Payload, shared_error::SharedError};

/// Bytes in, bytes out, and a handshake before.
///
/// Bytes that came off the wire are handed over, so that a layer need not copy them: they can be changed
/// where they lie ([`Buf::get_mut`]) and handed on in parts ([`Buf::slice`]). What goes out is given as
/// it was made.
///
/// It is [`Any`], so that whoever made it finds its own type again in a `dyn Layer`, as TLS does to
/// tell what was agreed upon.
///
/// # Examples
///
/// ```
/// use netproc_core::{layer::Layer, pool::Buf, reactor::Payload, shared_error::SharedError};
///
/// /// Turns every byte upside down, where it lies.
/// #[derive(Debug, Default)]
/// struct Upside {
///     out: Vec<Payload>,
/// }
///
/// impl Layer for Upside {
///     fn receive(&mut self, mut wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
///         match wire.get_mut() {
///             Some(bytes) => bytes.iter_mut().for_each(|byte| *byte = !*byte),
///             None => wire = wire.iter().map(|byte| !byte).collect::<Vec<_>>().into(),
///         }
///         plain.push(wire);
///         Ok(())
///     }
///
///     fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
///         let turned: Vec<u8> = plain.iter().map(|byte| !byte).collect();
///         self.out.push(turned.into());
///         Ok(())
///     }
///
///     fn wire(&mut self, out: &mut Vec<Payload>) {
///         out.append(&mut self.out);
///     }
///
///     fn is_established(&self) -> bool {
///         true
///     }
///
///     fn is_peer_finished(&self) -> bool {
///         false
///     }
///
///     fn finish(&mut self) {}
/// }
///
/// let (mut layer, mut plain) = (Upside::default(), Vec::new());
/// layer.receive(Buf::copied(&[!b'h', !b'i']), &mut plain)?;
/// assert_eq!(&plain[0][..], b"hi");
/// # Ok::<(), SharedError>(())
/// ```
pub trait Layer: Any + fmt::Debug {
    /// Takes bytes off the wire, all of them; what they mean for the process is appended to `plain`.
    ///
    /// # Errors
    ///
    /// [`SharedError`]: the peer has broken the rules or was refused. Nothing more may be received; what
    /// [`wire`](Self::wire) still gives, an alert, may be sent, and what was appended still counts.
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError>;

    /// Takes bytes of the process, a part at a time, when they are about to go on the wire. Called once
    /// the handshake is done.
    ///
    /// # Errors
    ///
    /// [`SharedError`]: no more can be sent, and of these bytes nothing was. The connection ends, once
    /// what [`wire`](Self::wire) still gives has gone.
    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError>;

    /// Appends to `out` what has to go on the wire now.
    fn wire(&mut self, out: &mut Vec<Payload>);

    /// Whether the handshake is done.
    fn is_established(&self) -> bool;

    /// Whether the peer has said that it will send no more.
    fn is_peer_finished(&self) -> bool;

    /// Says that no more will be sent: the last of [`wire`](Self::wire). Called once the handshake is
    /// done.
    fn finish(&mut self);
}

/// Makes the layer of each connection.
///
/// Called while the runtime is at work, as layers are: neither may call it, or ask a process anything. A panic here
/// is the end of the connection that it was for.
pub trait Layers: fmt::Debug {
    /// A layer for a new connection, which begins with its handshake.
    ///
    /// # Errors
    ///
    /// [`SharedError`] when there can be none; the connection fails.
    fn make(&self) -> Result<Box<dyn Layer>, SharedError>;
}
