//! One socket of the reactor: what it is, where in its life, what is known and what is wanted.
//!
//! Invariant: `can_read` and `can_write` are optimistic and remembered: set by the kernel's word,
//! cleared only by a call that found nothing to do (or less than it had room for, which is the same
//! by one call earlier, but for those of `doubts.rs`). Who owns which list is `agenda.rs`'s affair; the
//! flags here mirror it.

use std::os::fd::OwnedFd;

use netproc_core::{
    address::Family,
    outbox::Queue,
    reactor::{CloseHow, Kind, SysError, Tick},
};
use socket2::{SockAddr, Socket};

use crate::selector::{Drain, Ready};

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Accepts connections of this kind.
    Listener(Kind),
    /// A connection of bytes.
    Stream,
    /// The same within the machine, where descriptors may come with bytes: see [`crate::doubts`].
    Local,
    /// A connection of records.
    Records,
    /// Packets without a connection, or with a default peer.
    Packets,
    /// Two ends of pipes, or of a terminal: bytes come from one and go into the other.
    Pipes,
}

impl Class {
    /// What a connection of `kind` and `family` is.
    pub(crate) fn connection(kind: Kind, family: Family) -> Self {
        match kind {
            Kind::Stream if family == Family::Local => Self::Local,
            Kind::Stream => Self::Stream,
            Kind::SeqPacket => Self::Records,
            Kind::Datagram => Self::Packets,
        }
    }

    /// How what it sends is kept apart; a listener sends nothing.
    const fn kind(self) -> Kind {
        match self {
            Self::Stream | Self::Local | Self::Listener(_) | Self::Pipes => Kind::Stream,
            Self::Records => Kind::SeqPacket,
            Self::Packets => Kind::Datagram,
        }
    }
}

/// Where in its life a socket is. A listener and a packet socket are born `Open`.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The peer's backlog is full: connecting is tried again at `retry_at`. Not registered.
    Refused(Box<SockAddr>),
    /// Connecting; writable will say how it went.
    Connecting,
    /// In use. With `close` set to `Flush`, what is queued goes out and input is read away.
    Open,
    /// Everything is sent and our end is shut down; input is read away until the peer's end.
    Draining,
    /// Over: on the list of those to be closed.
    Ended,
}

/// On which lists of the agenda a socket stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) ready: bool,
    pub(crate) dirty: bool,
    pub(crate) ended: bool,
    pub(crate) sent: bool,
    pub(crate) troubled: bool,
    pub(crate) starving: bool,
    pub(crate) resting: bool,
    pub(crate) doubted: bool,
    /// Not a list: it has been read since the doubtful were last gone through.
    pub(crate) fresh: bool,
}

/// In the order of declaration, with what every message needs at the top, where it lies together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Sock {
    /// Of pipes, the end that bytes come from.
    pub(crate) socket: Socket,
    pub(crate) class: Class,
    /// Input is wanted, as `set_reading` last said.
    pub(crate) reading: bool,
    /// A read may find something.
    pub(crate) can_read: bool,
    /// A write may find room.
    pub(crate) can_write: bool,
    /// A short read does not prove that nothing is left.
    pub(crate) drain: bool,
    /// The system holds an error; only asked for when no read will bring it.
    pub(crate) error: bool,
    /// The peer's end was read.
    pub(crate) eof: bool,
    /// Nothing can be sent any more: input is read to its end, then comes `Closed`.
    pub(crate) broken: bool,
    /// The owner has finished sending.
    pub(crate) fin: bool,
    /// `Sent` events are wanted.
    pub(crate) watched: bool,
    pub(crate) listed: Listed,
    pub(crate) phase: Phase,
    /// How the owner wants it closed, if it does.
    pub(crate) close: Option<CloseHow>,
    pub(crate) out: Queue,

    /// Bytes sent and not reported to a watcher.
    pub(crate) sent: u64,
    /// Bytes thrown away since nobody could take them.
    pub(crate) dropped: u64,
    /// When to connect again, or to accept again: set means that it waits for that.
    pub(crate) retry_at: Option<Tick>,
    /// When `Flush` becomes `Now`.
    pub(crate) flush_by: Option<Tick>,
    /// Of pipes that are wound up, how much may have been written before.
    pub(crate) left: Option<u64>,
    /// The first error.
    pub(crate) cause: Option<SysError>,
    /// Of pipes, the end that bytes go into, if there is one and it was not finished.
    pub(crate) sink: Option<OwnedFd>,
    pub(crate) family: Family,
    /// Nobody reads what goes into the sink.
    pub(crate) unread: bool,
    /// Others may hold the same socket open: it came by `adopt`.
    pub(crate) shared: bool,
    /// Our end is shut down.
    pub(crate) fin_sent: bool,
    /// A listener found no descriptor when it last accepted, and none of ours came free since.
    pub(crate) short: bool,
    /// Both its sides are shut, as the kernel has said.
    pub(crate) over: bool,
    /// A socket of UDP that the kernel tells of room to write.
    pub(crate) tells_room: bool,
}

impl Sock {
    pub(crate) fn new(socket: Socket, class: Class, family: Family, phase: Phase) -> Self {
        Self {
            socket,
            sink: None,
            unread: false,
            left: None,
            class,
            family,
            phase,
            out: Queue::of(class.kind()),
            listed: Listed::default(),
            shared: false,
            reading: true,
            can_read: false,
            can_write: true,
            drain: false,
            error: false,
            eof: false,
            broken: false,
            fin: false,
            fin_sent: false,
            watched: false,
            close: None,
            short: false,
            over: false,
            tells_room: false,
            cause: None,
            retry_at: None,
            flush_by: None,
            sent: 0,
            dropped: 0,
        }
    }

    /// Whether input would be read if there were any.
    pub(crate) fn wants_input(&self) -> bool {
        match (&self.phase, self.class) {
            (Phase::Open, Class::Listener(_)) => self.reading && self.retry_at.is_none(),
            (Phase::Open, Class::Packets) => self.reading && self.close.is_none(),
            (Phase::Open, _) => !self.eof && (self.reading || self.discards()),
            (Phase::Draining, _) => !self.eof,
            (Phase::Refused(_) | Phase::Connecting | Phase::Ended, _) => false,
        }
    }

    /// Whether poll(2) is to tell of an error, which epoll does unasked: of a connection whose peer's end was read,
    /// and of which it has not said yet that both sides are over.
    pub(crate) fn minds_errors(&self) -> bool {
        let connection = matches!(self.class, Class::Stream | Class::Local | Class::Records);
        connection && self.eof && !self.drain && matches!(self.phase, Phase::Open)
    }

    /// Whether it speaks UDP, or what else has packets and names of the internet. Each packet it sends is room again
    /// a moment later, of which it is told only while it waits for that: else each wait after a send would be over
    /// at once.
    #[inline]
    pub(crate) fn speaks_udp(&self) -> bool {
        self.class == Class::Packets && matches!(self.family, Family::Ipv4 | Family::Ipv6)
    }

    /// Whether room for output would be used if there were any.
    pub(crate) fn wants_output(&self) -> bool {
        match self.phase {
            Phase::Connecting => true,
            Phase::Open => !self.out.is_empty(),
            Phase::Refused(_) | Phase::Draining | Phase::Ended => false,
        }
    }

    /// Remembers what the kernel said; returns whether there is room to write again.
    #[inline]
    pub(crate) fn note(&mut self, ready: Ready) -> bool {
        self.can_read |= ready.readable;
        let room = !self.can_write && ready.writable;
        if room {
            // A send refused for the receiver's full queue shows as room to write a moment later, when
            // the kernel frees its copy: whoever waits for a retry waits for its time.
            self.can_write = self.retry_at.is_none();
        }
        if ready.drain != Drain::No || ready.error {
            self.drain |= ready.drain != Drain::No;
            self.over |= ready.drain == Drain::Over;
            self.error |= ready.error;
        }
        room
    }

    /// Whether all that a turn would do is read into slots: an open stream whose owner listens. What it has
    /// queued waits for room, of which there was no word.
    #[inline]
    pub(crate) fn only_reads(&self) -> bool {
        let open = matches!((&self.phase, self.class), (Phase::Open, Class::Stream));
        let hindered = self.eof | self.listed.starving | !self.reading | !self.can_read;
        open && !hindered && self.close.is_none()
    }

    /// Whether it may go on reading into slots, and all that it had to send has gone.
    pub(crate) fn may_go_on(&self) -> bool {
        let reads = self.can_read && self.wants_input() && !self.listed.starving;
        reads && self.close.is_none() && self.out.is_empty()
    }

    /// Whether what is sent now will be: an open stream whose owner may go on.
    #[inline]
    pub(crate) fn takes_output(&self) -> bool {
        let open = matches!((&self.phase, self.class), (Phase::Open, Class::Stream));
        open && !(self.fin | self.broken) && self.close.is_none()
    }

    /// Whether a turn would get something done.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        (self.can_read && self.wants_input() && !self.is_starving())
            || (self.can_write && self.wants_output())
            || (self.error && self.eof)
    }

    /// Whether it waits for memory; what is thrown away needs none.
    pub(crate) fn is_starving(&self) -> bool {
        self.listed.starving && !self.discards()
    }

    /// Whether input is thrown away: the owner has closed and listens no more.
    pub(crate) fn discards(&self) -> bool {
        self.close.is_some()
    }

    /// Throws away what is queued.
    pub(crate) fn drop_output(&mut self) {
        self.dropped += self.out.clear();
    }

    /// How many bytes given to `send` the kernel never took.
    pub(crate) fn unsent(&self) -> u64 {
        self.dropped + self.out.bytes()
    }

    /// Whether a deadline of this time is one of this socket's.
    pub(crate) fn is_due(&self, at: Tick) -> bool {
        self.retry_at == Some(at) || self.flush_by == Some(at)
    }
}
