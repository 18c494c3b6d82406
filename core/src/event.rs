//! What a process hears: input for its filter, events for its sentinel, entries for a server's log.
//!
//! Invariant: `Display` of an event that Emacs has is Emacs's text to the letter. Delivering it is
//! the engine's work.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use crate::{
    address::{Address, Family},
    child::{ChildExit, ChildSignal},
    coding::Text,
    pool::Buf,
    process::Crowded,
    proxy::ProxyHeaderError,
    reactor::{Payload, SysError},
    shared_error::SharedError,
};

/// What a filter gets: bytes of a stream, one record, or one packet.
///
/// Reads as `[u8]`; forwarded by `send` without a copy, since it still is the receive memory. If its
/// process has a coding, [`text`](Self::text) is what the bytes mean: those that complete no character
/// yet come with the next that do, so none is missing for whoever goes by the bytes. At the end of a
/// connection what was still incomplete comes as text, mostly without bytes, which came before.
///
/// # Examples
///
/// ```
/// use netproc_core::{event::Input, pool::Buf};
///
/// let input = Input::new(Buf::copied(b"hello"), 0);
/// assert_eq!(&input[..4], b"hell");
/// assert_eq!(input.lost(), 0);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    buf: Buf,
    lost: u32,
    /// Boxed, since most input is bytes and moves through every queue.
    text: Option<Box<Text>>,
}

impl Input {
    /// Wraps received bytes, of which `lost` more did not fit.
    #[must_use]
    #[inline]
    pub const fn new(buf: Buf, lost: u32) -> Self {
        Self { buf, lost, text: None }
    }

    /// The same with what its process's coding made of the bytes.
    #[must_use]
    pub fn with_text(self, text: Text) -> Self {
        Self { text: Some(Box::new(text)), ..self }
    }

    /// What the coding of its process made of the bytes: characters that became complete with this
    /// read, so it may begin with one whose first bytes came before. `None` for a process without a
    /// coding.
    #[must_use]
    pub fn text(&self) -> Option<&Text> {
        self.text.as_deref()
    }

    /// The counted guard over the bytes, to slice or forward without a copy.
    ///
    /// It keeps receive memory that all processes share: whoever collects input for long copies it
    /// (`to_vec`), or everybody waits for memory.
    #[must_use]
    #[inline]
    pub fn into_buf(self) -> Buf {
        self.buf
    }

    /// How many bytes of a record or packet were cut off; 0 when it is whole.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        self.lost
    }
}

impl Deref for Input {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buf
    }
}

impl AsRef<[u8]> for Input {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Input> for Payload {
    #[inline]
    fn from(input: Input) -> Self {
        Self::Buf(input.buf)
    }
}

/// One packet of a batch, with who sent it.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Packet {
    /// What it holds.
    pub input: Input,
    /// Whose it is; `None` for a local sender without a name.
    pub from: Option<Address>,
}

impl Packet {
    /// Puts input and sender together.
    #[must_use]
    pub const fn new(input: Input, from: Option<Address>) -> Self {
        Self { input, from }
    }
}

/// Why a connection did not come about.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The system said so: refused, unreachable, too late.
    Sys(SysError),
    /// The handshake of the layer on top, such as TLS, failed.
    Handshake(SharedError),
    /// It did not begin with a PROXY header that can be believed.
    ProxyHeader(ProxyHeaderError),
    /// The host's name led to no address.
    Lookup {
        /// The host.
        host: Arc<str>,
        /// What the resolver said.
        source: SharedError,
    },
}

impl Failure {
    /// The errno, where there is one.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        if let Self::Sys(err) = self { Some(err.errno) } else { None }
    }

    /// What Emacs shows for a code: the errno, or words.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Sys(err) => err.errno.to_string(),
            Self::Handshake(err) => err.to_string(),
            Self::ProxyHeader(err) => err.to_string(),
            Self::Lookup { host, .. } => format!("Name lookup of {host} failed"),
        }
    }
}

impl From<SysError> for Failure {
    fn from(err: SysError) -> Self {
        Self::Sys(err)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sys(err) => write!(f, "{err}"),
            Self::Handshake(err) => write!(f, "the handshake failed: {err}"),
            Self::ProxyHeader(err) => write!(f, "{err}"),
            Self::Lookup { host, source } => write!(f, "name look-up of {host} failed: {source}"),
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The peer ended it in order.
    End,
    /// The connection ended without the word the layer on top, TLS, ends with: bytes may be missing.
    Truncated,
    /// The layer on top, TLS, has given up, or could not be made: what came was damaged or not the peer's,
    /// the peer has said that something was wrong, the handshake of an upgrade failed, or no more could be
    /// sent. The process's `layer_error` says which.
    Corrupt,
    /// The system said so: a reset, a time-out, a broken path.
    Sys(SysError),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("ended by the peer"),
            Self::Truncated => f.write_str("ended without a closing notice"),
            Self::Corrupt => f.write_str("given up by the layer on top"),
            Self::Sys(err) => write!(f, "{err}"),
        }
    }
}

/// What a process reports: `Input` goes to its filter, everything else to its sentinel.
///
/// `Display` gives the string Emacs's sentinels get, with its closing line end, which `run` has not.
///
/// # Examples
///
/// ```
/// use netproc_core::event::Event;
///
/// let from = "[127 0 0 1 4711]".parse().ok();
/// assert_eq!(Event::OpenFrom(from).to_string(), "open from 127.0.0.1\n");
/// assert_eq!(Event::Deleted.to_string(), "deleted\n");
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Sentinels". Differs: reasons and counts are told beside the text;
/// `Secured`, `Drained`, `PeerFinished` and `Trouble` are new.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Input arrived.
    Input(Input),
    /// A client started with `nowait` is connected.
    Open,
    /// A server accepted this connection from there; `None` when the peer was gone already.
    OpenFrom(Option<Address>),
    /// A client started with `nowait` could not connect.
    Failed(Failure),
    /// The connection is over, all input having been delivered.
    Broken {
        /// In order, or by which error.
        reason: Reason,
        /// How many bytes accepted by `send` never reached the system.
        unsent: u64,
    },
    /// The process was deleted.
    Deleted,
    /// The layer put on an open connection stands: what comes and goes from now on passes it.
    Secured,
    /// After `QueueFull`, or when asked for: there is room again. Not told where nothing can be sent any more.
    Drained,
    /// A connection kept half open: the peer will send no more.
    PeerFinished,
    /// A packet could not be sent, or a peer refused one; a child reads no more of what it is sent
    /// (`EPIPE`). The process lives on, and hears of no other until it was told of this one.
    Trouble(SysError),
    /// A child has ended, or was deleted; all it wrote was delivered before. Of the pipe of a child's
    /// errors: everybody who could write to it has closed it.
    Ended {
        /// By itself or by a signal.
        exit: ChildExit,
        /// How many bytes accepted by `send` it was never given.
        unsent: u64,
    },
    /// A signal has stopped a child.
    Stopped(ChildSignal),
    /// A child goes on after a stop.
    Continued,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(input) => write!(f, "{} bytes of input", input.len()),
            Self::Open => f.write_str("open\n"),
            Self::OpenFrom(peer) => writeln!(f, "open from {}", Host(peer.as_ref())),
            Self::Failed(failure) => writeln!(f, "failed with code {}", failure.code()),
            Self::Broken { .. } => f.write_str("connection broken by remote peer\n"),
            Self::Deleted => f.write_str("deleted\n"),
            Self::Secured => f.write_str("secured\n"),
            Self::Drained => f.write_str("output drained\n"),
            Self::PeerFinished => f.write_str("input ended by remote peer\n"),
            Self::Trouble(err) => writeln!(f, "trouble with code {}", err.errno),
            Self::Ended { exit, .. } => writeln!(f, "{exit}"),
            Self::Stopped(signal) => writeln!(f, "{signal}"),
            // Emacs's, which has no line end.
            Self::Continued => f.write_str("run"),
        }
    }
}

/// What a server's log function hears. `Display` gives Emacs's text, where Emacs has one.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum LogEntry {
    /// A connection came from there.
    Accepted {
        /// The peer; `None` when it was gone already.
        from: Option<Address>,
    },
    /// Accepting failed, for the first time or again since the last entry.
    AcceptFailed {
        /// What the system said.
        err: SysError,
        /// How often since the last entry, this one included.
        count: u32,
        /// How long the server rests, unless a descriptor comes free before.
        paused: Option<Duration>,
    },
    /// The server has as many connections as it may have, for the first time or again since the last
    /// entry.
    Crowded {
        /// How many that is.
        connections_max: usize,
        /// What becomes of those above.
        crowded: Crowded,
        /// Since the last entry, this one included: with `Leave`, how often the last place was taken;
        /// with `Close`, how many connections were closed.
        count: u32,
    },
    /// A connection to a server that wants PROXY headers was ended: it came from somebody else than a
    /// proxy, or without a header that can be believed.
    ProxyRefused {
        /// Who was really at the other end.
        from: Address,
        /// What was wrong.
        why: ProxyRefusal,
        /// How many since the last entry, this one included.
        count: u32,
    },
}

/// Why a server that wants PROXY headers has ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ProxyRefusal {
    /// It came from nobody whose headers are believed. It was closed unread.
    Untrusted,
    /// It came without a header, or with one that is none.
    Header(ProxyHeaderError),
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("no trusted proxy"),
            Self::Header(err) => write!(f, "{err}"),
        }
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { from } => writeln!(f, "accept from {}", Host(from.as_ref())),
            Self::AcceptFailed { err, .. } => writeln!(f, "accept failed with code {}", err.errno),
            Self::Crowded { connections_max, crowded: Crowded::Leave, .. } => {
                writeln!(f, "full with {connections_max} connections")
            }
            Self::Crowded { connections_max, crowded: Crowded::Close, count } => {
                writeln!(f, "full with {connections_max} connections, {count} closed")
            }
            Self::ProxyRefused { from, why, .. } => {
                writeln!(f, "refused from {}: {why}", Host(Some(from)))
            }
        }
    }
}

/// The numeric address without its port; `-` for a local socket or a peer that is gone.
struct Host<'a>(Option<&'a Address>);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) if address.family() != Family::Local => {
                write!(f, "{}", address.network_text(true))
            }
            _ => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Op;

    #[test]
    fn the_texts_are_those_of_emacs() {
        let refused = SysError { op: Op::Connect, errno: 111 };
        let v6 = "[0 0 0 0 0 0 0 1 9]".parse().ok();
        let cases = [
            (Event::Open.to_string(), "open\n"),
            (Event::OpenFrom(v6.clone()).to_string(), "open from 0:0:0:0:0:0:0:1\n"),
            (Event::OpenFrom(Some(Address::unnamed())).to_string(), "open from -\n"),
            (Event::OpenFrom(None).to_string(), "open from -\n"),
            (Event::Failed(refused.into()).to_string(), "failed with code 111\n"),
            (
                Event::Broken { reason: Reason::End, unsent: 0 }.to_string(),
                "connection broken by remote peer\n",
            ),
            (Event::Deleted.to_string(), "deleted\n"),
            (Event::Ended { exit: ChildExit::Code(0), unsent: 3 }.to_string(), "finished\n"),
            (Event::Ended { exit: ChildExit::DELETED, unsent: 0 }.to_string(), "killed\n"),
            (Event::Stopped(ChildSignal::STOP).to_string(), "stopped (signal)\n"),
            (Event::Continued.to_string(), "run"),
            (LogEntry::Accepted { from: v6 }.to_string(), "accept from 0:0:0:0:0:0:0:1\n"),
        ];
        for (text, emacs) in cases {
            assert_eq!(text, emacs);
        }
    }
}
