//! One socket of the reactor: what every kind of socket has, and the kinds behind it.
//!
//! Invariant: the first cause counts; once `ended` is set the descriptor is closed and only its last
//! completion is awaited. What a turn does is each kind's own file.

use crate::{
    reactor::{CloseHow, Event, Op, SockId, SysError},
    sim::{
        connection::Connection,
        faults::Canary,
        host::{Batch, Host},
        listener::Listener,
        packets::PacketSocket,
    },
};

/// How a socket is being closed; the later in this list, the harsher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Closing {
    Flush { deadline: u64 },
    Now,
    Reset,
}

/// What every socket has.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) id: SockId,
    pub(super) reading: bool,
    /// How many more inputs may still come after a pause: what was under way.
    pub(super) late: u64,
    /// Whether it waits for a receive slot.
    pub(super) starved: bool,
    watched: bool,
    /// Bytes taken and not yet reported.
    sent: u64,
    /// There is something to report, be it no byte.
    unreported: bool,
    pub(super) closing: Option<Closing>,
    pub(super) cause: Option<SysError>,
    /// When the last operation on the closed descriptor is over.
    pub(super) ended: Option<u64>,
    /// `SO_LINGER` of zero seconds: closing resets.
    pub(super) linger_zero: bool,
}

impl Common {
    pub(super) const fn new(id: SockId, reading: bool) -> Self {
        Self {
            id,
            reading,
            late: 0,
            starved: false,
            watched: false,
            sent: 0,
            unreported: false,
            closing: None,
            cause: None,
            ended: None,
            linger_zero: false,
        }
    }

    /// Turns input on or off; `under_way` inputs may still come after a pause.
    pub(super) fn set_reading(&mut self, on: bool, under_way: u64, host: &mut Host) {
        if self.reading && !on {
            let late = host.chaos.strikes(|faults| faults.late_after_pause);
            self.late = if late { host.chaos.rng.between(0, under_way) } else { 0 };
        }
        self.reading = on || (self.reading && host.chaos.plants(Canary::DeafToPause));
    }

    pub(super) const fn wants_input(&self) -> bool {
        (self.reading || self.late > 0) && self.closing.is_none()
    }

    /// Notes that one input was delivered.
    pub(super) const fn took_input(&mut self) {
        if !self.reading {
            self.late = self.late.saturating_sub(1);
        }
    }

    /// Begins to count what is sent, or ceases to.
    pub(super) const fn watch(&mut self, on: bool) {
        if self.watched != on {
            self.watched = on;
            self.sent = 0;
            self.unreported = false;
        }
    }

    /// Notes that the kernel took `bytes`.
    pub(super) fn took_output(&mut self, bytes: u64, host: &mut Host) {
        host.counters.sent += bytes;
        if self.watched {
            self.sent += bytes;
            self.unreported = true;
        }
    }

    /// Notes that nothing of what is queued will be taken any more.
    pub(super) const fn lost_output(&mut self) {
        self.unreported = self.watched;
    }

    /// Reports what was taken since the last report, if anything was.
    pub(super) fn report_sent(&mut self, queued: u64, host: &mut Host, out: &mut Batch<'_>) {
        let mut bytes = std::mem::take(&mut self.sent);
        if bytes > 1 && host.chaos.plants(Canary::SentMiscount) {
            bytes -= 1;
        }
        if std::mem::take(&mut self.unreported) {
            host.tell(out, Event::Sent { id: self.id, bytes, queued });
        }
    }

    /// Asks for the socket's end; a harsher way replaces a milder one.
    pub(super) fn close(&mut self, how: CloseHow, now: u64) {
        let wanted = match how {
            CloseHow::Flush { within } => {
                let span = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
                Closing::Flush { deadline: now.saturating_add(span) }
            }
            CloseHow::Now => Closing::Now,
            CloseHow::Reset => Closing::Reset,
        };
        self.closing = Some(match (self.closing, wanted) {
            (Some(Closing::Flush { deadline: old }), Closing::Flush { deadline: new }) => {
                Closing::Flush { deadline: old.min(new) }
            }
            (Some(old), new) => old.max(new),
            (None, new) => new,
        });
    }

    /// Whether the end cannot wait any longer.
    pub(super) fn must_end(&self, now: u64) -> bool {
        match self.closing {
            None => false,
            Some(Closing::Flush { deadline }) => deadline <= now,
            Some(Closing::Now | Closing::Reset) => true,
        }
    }

    /// Notes that the descriptor is closed, and why if it was an error.
    pub(super) fn end(&mut self, cause: Option<(Op, i32)>, host: &mut Host) {
        self.cause = cause.map(|(op, errno)| SysError { op, errno });
        self.ended = Some(host.now + host.chaos.latency(|faults| faults.close_latency));
    }

    /// The deadline or the last completion, whichever is awaited, if it is after `now`.
    pub(super) fn next_due(&self, now: u64) -> Option<u64> {
        let deadline = match self.closing {
            Some(Closing::Flush { deadline }) if self.ended.is_none() => Some(deadline),
            _ => None,
        };
        self.ended.or(deadline).filter(|due| *due > now)
    }
}

/// What kind of socket it is.
#[derive(Debug)]
pub(super) enum Role {
    Listener(Listener),
    Connection(Connection),
    Packets(PacketSocket),
}

/// One socket.
#[derive(Debug)]
pub(super) struct Sock {
    pub(super) common: Common,
    pub(super) role: Role,
}

impl Sock {
    /// Bytes given to `send` that the kernel has not taken.
    pub(super) fn queued(&self) -> u64 {
        match &self.role {
            Role::Listener(_) => 0,
            Role::Connection(connection) => connection.queued(),
            Role::Packets(packets) => packets.queued(),
        }
    }

    /// The same with those that will never be sent.
    pub(super) fn unsent(&self) -> u64 {
        match &self.role {
            Role::Connection(connection) => connection.unsent(),
            Role::Listener(_) | Role::Packets(_) => self.queued(),
        }
    }

    pub(super) fn queued_packets(&self) -> usize {
        match &self.role {
            Role::Listener(_) => 0,
            Role::Connection(connection) => connection.queued_packets(),
            Role::Packets(packets) => packets.queued_packets(),
        }
    }

    /// Why nothing can be sent any more, and how many bytes were lost by that.
    pub(super) fn send_failure(&self) -> Option<(SysError, u64)> {
        match &self.role {
            Role::Connection(connection) => connection.send_failure(),
            Role::Listener(_) | Role::Packets(_) => None,
        }
    }

    /// Whether the last completion has come and `Closed` is due.
    pub(super) fn is_over(&self, now: u64) -> bool {
        let idle = match &self.role {
            Role::Connection(connection) => !connection.is_in_flight(),
            Role::Listener(_) | Role::Packets(_) => true,
        };
        idle && self.common.ended.is_some_and(|due| due <= now)
    }

    /// Whether the kernel holds something of it.
    pub(super) fn is_in_flight(&self) -> bool {
        let busy = match &self.role {
            Role::Connection(connection) => connection.is_in_flight() || connection.is_connecting(),
            Role::Listener(_) | Role::Packets(_) => false,
        };
        busy || self.common.ended.is_some()
    }

    /// When something happens to it after `now` without anybody's doing.
    pub(super) fn next_due(&self, host: &Host) -> Option<u64> {
        let own = match &self.role {
            Role::Listener(listener) => listener.next_due(host),
            Role::Connection(connection) => connection.next_due(host),
            Role::Packets(packets) => packets.next_due(host),
        };
        [own, self.common.next_due(host.now)].into_iter().flatten().min()
    }
}
