//! The life of a process as one table: [`Phase`], [`Event`], and the [`Status`] users see.
//!
//! Invariant: a phase changes only through [`Phase::next`]. Whether a process is stopped is a flag
//! beside the phase, since a stop can lie over any of them; the status is computed from both.
//! Sockets, bytes and callbacks are not here.

use std::fmt;

/// What holds about a process now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the table below must name each phase")]
pub enum Phase {
    /// A client is connecting. Its socket is open, or one for each address that it tries, unless its host
    /// is still looked up; sends are queued; nothing is read but by the handshake of a layer.
    Connect,
    /// Bytes or packets flow both ways; the socket is open.
    Open,
    /// The peer has ended. The socket is open until what was queued has gone out; nothing new can
    /// be sent, nothing is read.
    Draining,
    /// A server accepts; its socket is open, unless somebody else accepts for it.
    Listen,
    /// A client could not connect. No socket; the process stays in the list until deleted.
    Failed,
    /// The end, whoever brought it about. No socket; the process has left the list.
    Closed,
    /// A child runs. Bytes flow both ways until it closes its ends, which are pipes or a terminal.
    Run,
    /// A child was stopped by a signal. What it had written is still read, what is sent waits for it.
    Halted,
    /// A child has ended by itself. Its ends are closed; the process has left the list.
    Exited,
    /// A child was ended by a signal, or deleted. Likewise.
    Killed,
}

/// What can happen to a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the table below must name each event")]
pub enum Event {
    /// The connect came through.
    Connected,
    /// The connect was refused or took too long.
    ConnectFailed,
    /// The peer ended its direction.
    PeerFinished,
    /// The connection or the socket is gone: after the peer's end, a reset, an error.
    PeerClosed,
    /// The caller deleted the process.
    Deleted,
    /// A signal stopped the child.
    ChildStopped,
    /// The child goes on.
    ChildContinued,
    /// The child has ended by itself, and all it wrote was read.
    ChildExited,
    /// The same of a child that a signal ended.
    ChildKilled,
}

impl Phase {
    /// Every phase, in the order of a life.
    pub const ALL: [Self; 10] = [
        Self::Connect,
        Self::Open,
        Self::Draining,
        Self::Listen,
        Self::Failed,
        Self::Closed,
        Self::Run,
        Self::Halted,
        Self::Exited,
        Self::Killed,
    ];

    /// The whole life of a process: one arm per legal pair, `None` for every other.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::machine::{Event, Phase};
    ///
    /// assert_eq!(Phase::Connect.next(Event::Connected), Some(Phase::Open));
    /// assert_eq!(Phase::Closed.next(Event::Deleted), None, "nothing follows the end");
    /// ```
    #[must_use]
    pub const fn next(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Connect, Event::Connected) => Some(Self::Open),
            (Self::Connect, Event::ConnectFailed) => Some(Self::Failed),
            (Self::Open, Event::PeerFinished) => Some(Self::Draining),
            (Self::Open | Self::Draining | Self::Listen, Event::PeerClosed) => Some(Self::Closed),
            (
                Self::Connect | Self::Open | Self::Draining | Self::Listen | Self::Failed,
                Event::Deleted,
            ) => Some(Self::Closed),
            (Self::Run, Event::ChildStopped) => Some(Self::Halted),
            (Self::Halted, Event::ChildContinued) => Some(Self::Run),
            (Self::Run | Self::Halted, Event::ChildExited) => Some(Self::Exited),
            // Who deletes a child kills it.
            (Self::Run | Self::Halted, Event::ChildKilled | Event::Deleted) => Some(Self::Killed),
            _ => None,
        }
    }

    /// Whether the process has a socket; a child's pipes or terminal do not count.
    #[must_use]
    pub const fn has_socket(self) -> bool {
        matches!(self, Self::Connect | Self::Open | Self::Draining | Self::Listen)
    }

    /// Whether bytes may flow both ways: an open connection, a child that has not ended.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Run | Self::Halted)
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Exited | Self::Killed)
    }

    /// What `process-status` says of this phase, stopped or not.
    #[must_use]
    pub const fn status(self, stopped: bool) -> Status {
        match self {
            Self::Closed => Status::Closed,
            Self::Exited => Status::Exit,
            Self::Killed => Status::Signal,
            _ if stopped => Status::Stop,
            Self::Connect => Status::Connect,
            Self::Open | Self::Draining => Status::Open,
            Self::Listen => Status::Listen,
            Self::Failed => Status::Failed,
            Self::Run => Status::Run,
            Self::Halted => Status::Stop,
        }
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 9] = [
        Self::Connected,
        Self::ConnectFailed,
        Self::PeerFinished,
        Self::PeerClosed,
        Self::Deleted,
        Self::ChildStopped,
        Self::ChildContinued,
        Self::ChildExited,
        Self::ChildKilled,
    ];
}

/// What users see of a process: computed from its phase and its stop flag.
///
/// # Examples
///
/// ```
/// assert_eq!(netproc_core::machine::Status::Listen.to_string(), "listen");
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Process Information". Differs: a stopped server is `Stop` (as in Emacs
/// itself, not as in its manual).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the nine statuses are Emacs's, and they are all")]
pub enum Status {
    /// Connected, or a packet socket.
    Open,
    /// Ended.
    Closed,
    /// Connecting.
    Connect,
    /// Stopped, whatever lies beneath.
    Stop,
    /// Could not connect.
    Failed,
    /// Accepting connections.
    Listen,
    /// A child that runs.
    Run,
    /// A child that has ended by itself.
    Exit,
    /// A child that a signal has ended.
    Signal,
}

impl Status {
    /// Whether the process still takes part: `process-live-p`.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Run | Self::Open | Self::Listen | Self::Connect | Self::Stop)
    }

    /// The word Emacs has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Connect => "connect",
            Self::Stop => "stop",
            Self::Failed => "failed",
            Self::Listen => "listen",
            Self::Run => "run",
            Self::Exit => "exit",
            Self::Signal => "signal",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The whole table as text, every phase with every event, and what status each phase shows.
    fn table() -> String {
        let mut text = String::from(
            "# phase x event x running or stopped -> phase (status); '-' where nothing may follow\n",
        );
        for (phase, event) in
            Phase::ALL.into_iter().flat_map(|phase| Event::ALL.map(|event| (phase, event)))
        {
            for stopped in [false, true] {
                let flag = if stopped { "stopped" } else { "running" };
                let show = |next: Phase| format!("{next:?} ({})", next.status(stopped));
                let next = phase.next(event).map_or_else(|| "-".into(), show);
                writeln!(text, "{phase:?} x {event:?} x {flag} -> {next}").unwrap();
            }
        }
        text.push_str("\n# phase: status running, stopped\n");
        for phase in Phase::ALL {
            let (running, stopped) = (phase.status(false), phase.status(true));
            writeln!(text, "{phase:?}: {running}, {stopped}").unwrap();
        }
        text
    }

    #[test]
    fn the_table_is_the_golden_file() {
        let golden = include_str!("../../tests/golden/transitions.txt");
        assert_eq!(table(), golden, "if the change is meant, write the left side to the file");
    }

    #[test]
    fn nothing_follows_an_end_and_every_phase_ends() {
        for phase in Phase::ALL {
            let deleted = phase.next(Event::Deleted);
            assert_eq!(deleted.is_some_and(Phase::is_over), !phase.is_over(), "{phase:?}");
            for event in Event::ALL.into_iter().filter(|_| phase.is_over()) {
                assert_eq!(phase.next(event), None, "{phase:?}");
            }
        }
    }

    #[test]
    fn connections_and_children_never_meet() {
        let child =
            |phase| matches!(phase, Phase::Run | Phase::Halted | Phase::Exited | Phase::Killed);
        for (phase, event) in
            Phase::ALL.into_iter().flat_map(|phase| Event::ALL.map(|event| (phase, event)))
        {
            let next = phase.next(event);
            assert!(next.is_none_or(|next| child(next) == child(phase)), "{phase:?} x {event:?}");
        }
    }
}
