//! The contract between the engine and whatever moves its bytes: [`Reactor`].
//!
//! Invariant: nothing here names a mechanism. io_uring, epoll, kqueue, poll(2) and the simulation
//! implement the same trait and obey the same eleven points, which `netproc-tests` runs on each.
//! Policy (bounds, names, statuses, callbacks) belongs to the engine above.
//!
//! # The contract
//!
//! 1. Per id: `Accepted` or nothing, then `Connected`?, then `Data`, `Datagram`, `Sent`, `Trouble`
//!    in any number, then `Eof`?, more `Sent`, then `Closed`. Nothing after `Closed`.
//! 2. Every id handed out gets exactly one `Closed`, also when its owner closed it and when the peer
//!    vanished.
//! 3. The `Data` of an id, put together, is what the peer sent, in order; the payloads of an id, put
//!    together, are what the peer gets, in order. A record or packet is one event, never split.
//! 4. Watched `Sent` events and the `unsent` of `Closed` sum to the bytes given to `send`; `unsent`
//!    is 0 unless `Closed` carries a cause, the close was `Now` or `Reset`, or a `Flush` ran out of
//!    time. A packet or record that was refused is told as `Trouble` and counts as sent.
//! 5. After `finish` the peer reads everything queued, then the end. After `close(Flush)` likewise,
//!    then `Closed` comes.
//! 6. After `set_reading(false)` finitely many events still bring input (at most one pool, for a
//!    listener what the kernel had already accepted); after `true` no byte is missing.
//! 7. A method given an unknown or dead id does nothing; the ones that return a `Result` say `EBADF`.
//! 8. `poll(No)` never blocks; `poll(Until)` returns by its deadline; a `wake` before or during
//!    `poll` makes it return with one `Woken`.
//! 9. One `poll` does bounded work. With nothing to do, it sleeps: `Counters::waits` stands still.
//! 10. When every `Buf` is dropped and every socket closed, the pool is whole, the descriptors are
//!     those from before, and nothing is in flight.
//! 11. Whoever holds every `Buf` for a while delays other sockets; nothing is lost and all go on by
//!     themselves once memory returns.

mod config;
#[cfg(unix)]
mod descriptors;
mod local;
mod payload;
mod sum;

use std::{fmt, io, time::Duration};

#[cfg(unix)]
pub use self::descriptors::{Descriptors, Role};
pub use self::{
    config::{Config, ConfigError},
    local::{Credentials, FileSpec},
    payload::Payload,
};

use crate::{
    address::{Address, Family},
    options::SockOption,
    outbox::Outbox,
    pool::Buf,
    queue::EventQueue,
    slots::Key,
};

/// Names one socket of one reactor, for ever: an index that is reused and a generation that is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a newtype; backends wrap and unwrap it")]
pub struct SockId(pub Key);

impl SockId {
    /// Position in the reactor's table: the index of a plain vector, no hashing needed.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.index as usize
    }
}

/// Nanoseconds on the reactor's clock, which only moves forward.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use netproc_core::reactor::Tick;
///
/// let noon = Tick(12);
/// assert_eq!(noon.after(Duration::from_nanos(3)), Tick(15));
/// assert_eq!(noon.after(Duration::MAX), Tick(u64::MAX), "saturates");
/// assert_eq!(noon.since(Tick(20)), Duration::ZERO, "never negative");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a newtype over one number")]
pub struct Tick(pub u64);

impl Tick {
    /// The time `span` later; far futures saturate instead of overflowing.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos()).map_or(u64::MAX, |nanos| self.0.saturating_add(nanos)))
    }

    /// How much later this is than `earlier`; zero when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What was being done when the system refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new operation must fail to compile in every backend"
)]
pub enum Op {
    /// `socket(2)`, or setting the reactor itself up.
    Open,
    /// `bind(2)`.
    Bind,
    /// `listen(2)`.
    Listen,
    /// `accept(2)`.
    Accept,
    /// `connect(2)`.
    Connect,
    /// Any reading call.
    Recv,
    /// Any writing call.
    Send,
    /// `shutdown(2)`.
    Shutdown,
    /// `setsockopt(2)` and its kin.
    Option,
    /// Waiting for the kernel.
    Wait,
    /// Starting a program: `fork(2)`, `execve(2)` and what goes before.
    Spawn,
    /// `kill(2)`.
    Signal,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening a socket",
            Self::Bind => "binding",
            Self::Listen => "listening",
            Self::Accept => "accepting",
            Self::Connect => "connecting",
            Self::Recv => "receiving",
            Self::Send => "sending",
            Self::Shutdown => "shutting down",
            Self::Option => "setting an option",
            Self::Wait => "waiting for the kernel",
            Self::Spawn => "starting a program",
            Self::Signal => "signalling",
        })
    }
}

/// A refusal of the system: the operation and the errno, kept raw because Emacs reports the number.
///
/// # Examples
///
/// ```
/// use netproc_core::reactor::{Op, SysError};
///
/// let refused = SysError { op: Op::Connect, errno: libc::ECONNREFUSED };
/// assert_eq!(refused.to_string(), "connecting: Connection refused (os error 111)");
/// assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "backends build it from a result and an operation")]
pub struct SysError {
    /// What was tried.
    pub op: Op,
    /// What the system answered, as in `<errno.h>`.
    pub errno: i32,
}

impl SysError {
    /// Keeps the errno of `err`; an error without one (made by std itself) counts as `EINVAL`.
    #[must_use]
    pub fn new(op: Op, err: &io::Error) -> Self {
        Self { op, errno: err.raw_os_error().unwrap_or(libc::EINVAL) }
    }

    /// What a mechanism answers that has no such thing (`EOPNOTSUPP`).
    #[must_use]
    pub const fn unsupported(op: Op) -> Self {
        Self { op, errno: libc::EOPNOTSUPP }
    }

    /// What is answered when the caller itself has ended the operation (`ECANCELED`).
    #[must_use]
    pub const fn canceled(op: Op) -> Self {
        Self { op, errno: libc::ECANCELED }
    }

    /// An argument the system would not take (`EINVAL`).
    #[must_use]
    pub const fn invalid(op: Op) -> Self {
        Self { op, errno: libc::EINVAL }
    }

    /// Whether a packet or record was longer than its protocol allows (`EMSGSIZE`).
    #[must_use]
    pub const fn is_too_long(self) -> bool {
        self.errno == libc::EMSGSIZE
    }

    /// The time given was over (`ETIMEDOUT`).
    #[must_use]
    pub const fn timed_out(op: Op) -> Self {
        Self { op, errno: libc::ETIMEDOUT }
    }

    /// The portable class of the errno, on whatever system this runs.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        io::Error::from(self).kind()
    }

    /// The system's words for it, such as `Connection refused`.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::reactor::{Op, SysError};
    ///
    /// assert_eq!(SysError::timed_out(Op::Connect).message(), "Connection timed out");
    /// ```
    #[must_use]
    pub fn message(self) -> String {
        let text = io::Error::from(self).to_string();
        // The standard library appends the number, which has a place of its own here.
        let end = text.rfind(" (os error ").unwrap_or(text.len());
        text[..end].into()
    }

    /// Whether the process or the whole system is out of descriptors (`EMFILE`, `ENFILE`).
    #[must_use]
    pub const fn is_out_of_descriptors(self) -> bool {
        matches!(self.errno, libc::EMFILE | libc::ENFILE)
    }

    /// Whether an accept that failed with this would fail so for ever: the listener was shut down by
    /// somebody else who has it (`EINVAL`), or is no such thing.
    #[must_use]
    pub const fn ends_listening(self) -> bool {
        let gone = matches!(self.errno, libc::EBADF | libc::EINVAL | libc::ENOTSOCK);
        gone || matches!(self.errno, libc::EFAULT | libc::EOPNOTSUPP)
    }
}

impl From<SysError> for io::Error {
    fn from(err: SysError) -> Self {
        Self::from_raw_os_error(err.errno)
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, io::Error::from_raw_os_error(self.errno))
    }
}

/// What `main` prints when it returns an error: the system's words, not only its number.
impl fmt::Debug for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SysError({self})")
    }
}

impl std::error::Error for SysError {}

/// How a socket keeps what is sent through it apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[expect(clippy::exhaustive_enums, reason = "every backend must handle each kind")]
pub enum Kind {
    /// A stream of bytes (`SOCK_STREAM`).
    #[default]
    Stream,
    /// Packets without a connection (`SOCK_DGRAM`).
    Datagram,
    /// Records over a connection (`SOCK_SEQPACKET`), local sockets only.
    SeqPacket,
}

/// What a new socket shall be.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the engine builds it in full for every socket")]
pub struct OpenSpec<'a> {
    /// Stream, datagram or records.
    pub kind: Kind,
    /// The address family, where no address says it.
    pub family: Family,
    /// Where to bind; required for a listener.
    pub local: Option<&'a Address>,
    /// Set in this order between `socket` and `bind`; a refusal aborts the opening.
    pub options: &'a [SockOption],
    /// Whether to read at once; `false` is Emacs's `:stop t`. A listener reads by accepting.
    pub reading: bool,
    /// Share the address with sockets of other reactors (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// What becomes of the file of a local socket.
    pub file: FileSpec,
}

impl Default for OpenSpec<'_> {
    fn default() -> Self {
        Self {
            kind: Kind::Stream,
            family: Family::Ipv4,
            local: None,
            options: &[],
            reading: true,
            reuse_port: false,
            file: FileSpec::default(),
        }
    }
}

/// How to end a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every backend must handle each way")]
pub enum CloseHow {
    /// Throw away what is queued and close; unread input may reset the connection, as `close(2)`
    /// does.
    Now,
    /// Send what is queued, shut down the sending side, read the input away until the peer's end,
    /// then close; at most this long, then as `Now`. A connect under way ends at once if nothing is queued.
    Flush {
        /// How long the peer may take.
        within: Duration,
    },
    /// Throw everything away and reset the connection (`SO_LINGER` of zero seconds).
    Reset,
}

/// What happened to a socket, or to the reactor.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "the engine must handle each one")]
pub enum Event {
    /// A listener has a new connection, already reading; its events follow this one.
    Accepted {
        /// Who accepted.
        listener: SockId,
        /// The new connection.
        id: SockId,
        /// Where it comes from; `None` when it was gone before that could be asked.
        peer: Option<Address>,
    },
    /// Accepting failed; the connections there are wait in the backlog, but for the first, if a rest
    /// did not help and the reserve was there to end it (`Counters::turned_away`).
    AcceptFailed {
        /// Who tried.
        listener: SockId,
        /// What the system said.
        err: SysError,
        /// How long the listener rests before it tries again by itself.
        paused: Option<Duration>,
    },
    /// A connect came through.
    Connected {
        /// Which one.
        id: SockId,
    },
    /// Input of a stream, or one whole record.
    Data {
        /// Whose input.
        id: SockId,
        /// At least one byte on a stream; a record may be empty.
        buf: Buf,
        /// How many bytes of a record did not fit; 0 on streams.
        lost: u32,
    },
    /// One packet.
    Datagram {
        /// Who received it.
        id: SockId,
        /// The packet; may be empty.
        buf: Buf,
        /// Who sent it; `None` for a local socket without a name.
        from: Option<Address>,
        /// How many bytes did not fit.
        lost: u32,
    },
    /// The peer will send no more; sending still works.
    Eof {
        /// Whose peer.
        id: SockId,
    },
    /// An error that ends nothing: a packet refused, a record too long.
    Trouble {
        /// Whose.
        id: SockId,
        /// What the system said.
        err: SysError,
    },
    /// The kernel took bytes of a watched socket, or empty packets; summed over one `poll`. A socket that can
    /// send no more says so too, once, with no byte: nothing waits any more.
    Sent {
        /// Whose bytes.
        id: SockId,
        /// How many since the last such event.
        bytes: u64,
        /// How many still wait.
        queued: u64,
    },
    /// The socket is gone and its descriptor free: the last event of every id.
    Closed {
        /// Whose end.
        id: SockId,
        /// The first error, if an error ended it; `None` when its owner closed it.
        cause: Option<SysError>,
        /// How many bytes `send` queued that the kernel never took.
        unsent: u64,
    },
    /// Another thread called `wake`.
    Woken,
}

impl Event {
    /// The socket the event belongs to; a listener for the two accept events, `None` for `Woken`.
    #[must_use]
    pub const fn owner(&self) -> Option<SockId> {
        match self {
            Self::Accepted { listener, .. } | Self::AcceptFailed { listener, .. } => {
                Some(*listener)
            }
            Self::Connected { id }
            | Self::Data { id, .. }
            | Self::Datagram { id, .. }
            | Self::Eof { id }
            | Self::Trouble { id, .. }
            | Self::Sent { id, .. }
            | Self::Closed { id, .. } => Some(*id),
            Self::Woken => None,
        }
    }

    /// Whether it brings something to take: bytes, a packet, a connection.
    #[must_use]
    pub const fn is_input(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::Datagram { .. } | Self::Accepted { .. })
    }

    /// The bytes that came with it, if it is input.
    #[must_use]
    pub const fn buf(&self) -> Option<&Buf> {
        if let Self::Data { buf, .. } | Self::Datagram { buf, .. } = self {
            Some(buf)
        } else {
            None
        }
    }

    /// The same, to spill or replace.
    #[must_use]
    pub const fn buf_mut(&mut self) -> Option<&mut Buf> {
        if let Self::Data { buf, .. } | Self::Datagram { buf, .. } = self {
            Some(buf)
        } else {
            None
        }
    }
}

/// How long `poll` may sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every backend must handle each wait")]
pub enum Wait {
    /// Not at all.
    No,
    /// Until this time at most.
    Until(Tick),
    /// Until something happens.
    Forever,
}

impl Wait {
    /// Whether there is nothing to wait for: such a poll finds what is there by now. The clock, `now`, is asked only if
    /// there is a time to compare.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::reactor::{Tick, Wait};
    ///
    /// let now = || Tick(7);
    /// assert!(Wait::No.only_looks(now) && Wait::Until(Tick(7)).only_looks(now));
    /// assert!(!Wait::Until(Tick(8)).only_looks(now) && !Wait::Forever.only_looks(now));
    /// ```
    #[inline]
    #[must_use]
    pub fn only_looks(self, now: impl FnOnce() -> Tick) -> bool {
        match self {
            Self::No => true,
            Self::Until(at) => at <= now(),
            Self::Forever => false,
        }
    }
}

/// What a reactor can do on this system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "each backend states every capability")]
pub struct Caps {
    /// The mechanism: `io_uring`, `epoll`, `kqueue`, `poll` or `sim`.
    pub name: &'static str,
    /// Records over local sockets (`SOCK_SEQPACKET`).
    pub seqpacket: bool,
    /// Abstract local names.
    pub abstract_names: bool,
    /// Whether listeners sharing an address by `SO_REUSEPORT` share the load.
    pub reuse_port_balances: bool,
    /// Packets and records longer than this are cut, with `lost` saying by how much.
    pub packet_len_max: u32,
}

/// What a reactor has done since it was made, which only grows, and at the end what it has at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "plain figures, each backend fills what it has")]
pub struct Counters {
    /// Calls that waited or could have waited for the kernel.
    pub waits: u64,
    /// Every system call on the data path, the waits included.
    pub syscalls: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes the kernel took for sending.
    pub sent: u64,
    /// Connections accepted, here or elsewhere: those taken over are among them.
    pub accepted: u64,
    /// Connections taken out of a backlog only to be ended, for want of a descriptor.
    pub turned_away: u64,
    /// Receives that waited for a slot: they found none, or others did and had their turn first.
    pub starved: u64,
    /// Times the kernel's completion queue was full.
    pub overflows: u64,
    /// Completions or readiness for a socket that no longer exists.
    pub stale: u64,
    /// Sends of which the kernel took a part.
    pub short_sends: u64,
    /// Buffers copied out of their slot because slots were scarce.
    pub spilled: u64,
    /// Sockets open now (a level, not a sum).
    pub sockets: u64,
    /// Operations the kernel holds now (a level, not a sum). An idle reactor may have some of its own,
    /// to hear wakes.
    pub in_flight: u64,
    /// Slots held by a `Buf` now (a level, not a sum).
    pub slots_held: u64,
}

/// Interrupts a `poll` from another thread.
pub trait Wake: Clone + Send + Sync + 'static {
    /// Makes the reactor's current or next `poll` return with one [`Event::Woken`], or the first one that has room for it.
    ///
    /// Never blocks; many calls between two polls count as one. Harmless after the reactor is gone.
    fn wake(&self);
}

/// Owns sockets and moves bytes; speaks in batches of [`Event`]s.
///
/// No method calls back. Methods that take an id ignore one that is dead. Descriptors belong to the
/// reactor from birth to [`Event::Closed`], so nothing above can close one under an operation.
pub trait Reactor {
    /// Interrupts `poll` from any thread.
    type Waker: Wake;

    /// What this reactor can do.
    fn caps(&self) -> Caps;

    /// What it has done.
    fn counters(&self) -> Counters;

    /// The time on this reactor's clock: the only clock the engine reads.
    fn now(&self) -> Tick;

    /// Opens a stream or record listener on `spec.local`.
    ///
    /// # Errors
    ///
    /// The system's refusal of `socket`, an option, `bind` or `listen`; no id is consumed.
    fn listen(&mut self, spec: &OpenSpec<'_>, backlog: u32) -> Result<SockId, SysError>;

    /// Starts connecting to `to`; [`Event::Connected`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    ///
    /// The system's refusal of `socket`, an option or `bind`; no id is consumed. A refused connect,
    /// even one refused at once, comes as `Closed`.
    fn connect(&mut self, spec: &OpenSpec<'_>, to: &Address) -> Result<SockId, SysError>;

    /// Opens a packet socket, bound to `spec.local` if given, connected to `to` if given.
    ///
    /// # Errors
    ///
    /// The system's refusal of `socket`, an option, `bind` or `connect`; no id is consumed.
    fn datagram(&mut self, spec: &OpenSpec<'_>, to: Option<&Address>) -> Result<SockId, SysError>;

    /// Turns input on or off; for a listener, accepting.
    fn set_reading(&mut self, id: SockId, on: bool);

    /// Queues `data` behind everything queued before and returns the bytes now waiting.
    ///
    /// Never blocks and never fails; nothing goes out before the next [`poll`](Self::poll). What the
    /// socket can no longer send shows in [`Event::Closed`]. After [`finish`](Self::finish) or
    /// [`close`](Self::close) the bytes are dropped and never counted. On a connected packet socket this queues one
    /// packet, empty or not; on a stream an empty payload is nothing.
    fn send(&mut self, id: SockId, data: Payload) -> u64;

    /// The queue of an open stream, if all that [`send`](Self::send) would do is push to it: whoever asks
    /// for it does, at once. So the bytes are moved to where they wait and nowhere before. `None` says
    /// nothing: `send` does the same for every socket.
    #[inline]
    fn open_outbox(&mut self, _id: SockId) -> Option<&mut Outbox> {
        None
    }

    /// Queues one packet, empty or not, for `to`; returns the bytes now waiting.
    fn send_to(&mut self, id: SockId, data: Payload, to: &Address) -> u64;

    /// Bytes queued that the kernel has not taken yet; 0 for a dead id.
    fn queued(&self, id: SockId) -> u64;

    /// Bytes given to [`send`](Self::send) that the kernel has not taken, those thrown away included, as `Closed` would
    /// tell them; `None` for a dead id, whose `Closed` has them.
    fn unsent(&self, id: SockId) -> Option<u64>;

    /// Packets or records queued that the kernel has not taken yet; 0 on streams and for a dead id.
    fn queued_packets(&self, id: SockId) -> usize;

    /// Why the socket can send no more and how many bytes the kernel has not taken, if `Closed` has still to
    /// come: what the peer has sent before is read first, and its input may be turned off.
    fn send_failure(&self, id: SockId) -> Option<(SysError, u64)>;

    /// Whether [`Event::Sent`] is wanted for this socket; off at first, since it costs an event a
    /// batch.
    fn watch_sent(&mut self, id: SockId, on: bool);

    /// Shuts the sending side down behind everything queued.
    fn finish(&mut self, id: SockId);

    /// Ends the socket; [`Event::Closed`] follows. Called again with a harsher way, that one counts.
    fn close(&mut self, id: SockId, how: CloseHow);

    /// Where the socket is bound.
    ///
    /// # Errors
    ///
    /// `EBADF` for a dead id, else what `getsockname(2)` says.
    fn local_addr(&self, id: SockId) -> Result<Address, SysError>;

    /// Whom the socket is connected to.
    ///
    /// # Errors
    ///
    /// `EBADF` for a dead id, else what `getpeername(2)` says (`ENOTCONN`).
    fn peer_addr(&self, id: SockId) -> Result<Address, SysError>;

    /// Connects a packet socket to another peer; packets queued before still go to the old one.
    ///
    /// # Errors
    ///
    /// `EBADF` for a dead id, `EOPNOTSUPP` for other kinds, else what `connect(2)` says; the old peer
    /// stays then.
    fn set_peer(&mut self, id: SockId, to: &Address) -> Result<(), SysError>;

    /// Who is at the other end of a local connection, as of its making.
    ///
    /// # Errors
    ///
    /// `EBADF` for a dead id, `EOPNOTSUPP` for sockets that are not local or where the system does not
    /// say, `ENOTCONN` without a peer.
    fn peer_credentials(&self, id: SockId) -> Result<Credentials, SysError>;

    /// The file a local socket is bound to.
    ///
    /// # Errors
    ///
    /// `EBADF` for a dead id, `EOPNOTSUPP` where there is none, else what `lstat(2)` says.
    fn bound_file(&self, id: SockId) -> Result<crate::socket::BoundFile, SysError>;

    /// Sets one option now.
    ///
    /// # Errors
    ///
    /// `EBADF` for a dead id, else what `setsockopt(2)` says.
    fn set_option(&mut self, id: SockId, option: &SockOption) -> Result<(), SysError>;

    /// Sends what is queued, waits as told, appends what happened to `out`.
    ///
    /// May return early without an event (a signal), so that a caller can look at its own state.
    ///
    /// # Errors
    ///
    /// Only when the reactor itself is unusable, for good.
    fn poll(&mut self, wait: Wait, out: &mut EventQueue) -> Result<(), SysError>;

    /// A handle that interrupts `poll` from any thread.
    fn waker(&self) -> Self::Waker;
}
