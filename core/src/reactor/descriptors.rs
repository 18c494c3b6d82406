//! What only reactors over real descriptors can do: take some over, and be slept on.
//!
//! Invariant: as for [`Reactor`]; what is taken over belongs to the reactor until `Closed`.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Reactor, SockId, SysError, Tick};

/// What an adopted descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every backend must handle each role")]
pub enum Role {
    /// Bound and listening.
    Listener,
    /// Connected.
    Connection,
    /// A packet socket.
    Datagram,
}

/// What only reactors over real descriptors can do.
pub trait Descriptors: Reactor {
    /// Takes over a socket that was opened elsewhere: socket activation, a socket pair, another
    /// thread's connection. Whoever else holds it keeps it open after `close(Now)`; its blocking mode
    /// and, for records, its time stamps are set as the reactor needs them. A connection counts as accepted.
    ///
    /// # Errors
    ///
    /// The system's refusal to tell its kind or to register it; the descriptor is closed then.
    fn adopt(&mut self, fd: OwnedFd, role: Role, reading: bool) -> Result<SockId, SysError>;

    /// Takes over the two ends through which a child is talked to, or the same terminal twice: bytes come
    /// from `output` and go into `input`. One id stands for both, and behaves as that of a stream, with
    /// these differences: the end of `output`, which for a terminal is `EIO`, leaves `input` open, and
    /// [`finish`](Reactor::finish) closes it. When nobody reads `input` any more, what is queued is dropped
    /// and counted as unsent, and [`Event::Trouble`](super::Event::Trouble) tells, once. Nobody is sent
    /// SIGPIPE, see [`pipe::write`](crate::pipe::write). Without `input` nothing can be sent.
    ///
    /// Both become non-blocking where the reactor needs that, so `output` must not be shared with the child;
    /// a terminal's master side is not.
    ///
    /// # Errors
    ///
    /// The system's refusal to register them; both are closed then.
    fn adopt_pipes(
        &mut self,
        output: OwnedFd,
        input: Option<OwnedFd>,
        reading: bool,
    ) -> Result<SockId, SysError>;

    /// Whoever wrote to adopted pipes is gone, though others may keep the pipe open, and fill it: what there is
    /// to read now is read, as far as reading is on, and little more, and then
    /// [`Event::Closed`](super::Event::Closed) follows. What is queued is dropped. Does nothing to an id of
    /// another kind.
    fn wind_up(&mut self, id: SockId);

    /// A descriptor that is readable when `poll` has something to do; `None` where the mechanism
    /// has none (`poll(2)`).
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Makes that descriptor readable at `at` as well, once, in place of any time set before, and
    /// hands everything queued to the kernel, so that a foreign loop may sleep on it.
    ///
    /// # Errors
    ///
    /// The system's refusal; `EOPNOTSUPP` where there is no descriptor.
    fn arm(&mut self, at: Option<Tick>) -> Result<(), SysError>;
}
