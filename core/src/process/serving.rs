//! The part of a process that only a server has: what it counts, whether it has a place for one
//! more, and whose headers it believes.
//!
//! Invariant: what a peer can bring about is logged no more often than the limits say, with a count.

use std::time::Duration;

use super::Process;
use crate::{machine::Phase, proxy::TrustedProxies, reactor::Tick};

/// The part of a process that only a server has.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    /// Its connections that have not ended.
    pub(crate) connections: usize,
    /// Accepts that failed.
    pub(crate) failures: Throttle,
    /// How often it was, or still was, full.
    pub(crate) crowdings: Throttle,
    /// Whose PROXY headers it wants; `None` if it wants none.
    pub(crate) trusted: Option<TrustedProxies>,
    /// Connections it has ended for want of one.
    pub(crate) refusals: Throttle,
}

impl<H> Process<H> {
    /// Whether it is no server, or one with a place for another connection beside those that wait already.
    pub(crate) fn has_place(&self) -> bool {
        let Some(max) = self.limits.connections_max.filter(|_| self.phase == Phase::Listen) else {
            return true;
        };
        let connections = self.connections();
        // Asked at every event: what waits is looked through only where it decides.
        if connections >= max || connections + self.inbox.len() < max {
            return connections < max;
        }
        let waiting = self.inbox.iter().filter(|event| event.is_input()).count();
        connections + waiting < max
    }

    /// Whether it is a server with as many connections as it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.limits.connections_max.is_some_and(|max| self.connections() >= max)
    }

    /// Its connections that have not ended.
    fn connections(&self) -> usize {
        self.serving.as_ref().map_or(0, |serving| serving.connections)
    }
}

/// Counts what is not to be logged each time.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// What happened since the last entry.
    count: u32,
    logged: Option<Tick>,
}

impl Throttle {
    /// Counts one more; returns how many there are to log, unless it is too early.
    pub(crate) fn note(&mut self, now: Tick, every: Duration) -> Option<u32> {
        self.count = self.count.saturating_add(1);
        if self.logged.is_some_and(|last| now.since(last) < every) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{
        contact::{Contact, Role},
        plist::Plist,
        process::{Birth, Limits},
        reactor::{Event, Kind, SockId},
        slots::Key,
        table::ProcessId,
    };

    const SOCK: SockId = SockId(Key { index: 0, generation: 0 });

    /// A server that may have three connections.
    fn server(connections: usize) -> Process<()> {
        let birth = Birth {
            kind: Kind::Stream,
            phase: Phase::Listen,
            sock: Some(SOCK),
            contact: Contact::new(Role::Server, Plist::new()),
            limits: Rc::new(Limits { connections_max: Some(3), ..Limits::default() }),
            plist: Plist::new(),
            handlers: (),
            coding: None,
            layers: None,
            stopped: false,
            half_open: false,
        };
        let mut server = Process::new(ProcessId(SOCK.0), "srv".into(), birth);
        server.serving = Some(Box::new(Serving { connections, ..Serving::default() }));
        server
    }

    #[test]
    fn of_what_waits_only_connections_take_a_place() {
        for (connections, waiting, others, expected) in [
            (0, 0, 0, true),
            (2, 0, 0, true),
            (3, 0, 0, false),
            (1, 1, 0, true),
            (1, 2, 0, false),
            (0, 3, 1, false),
            (1, 1, 5, true),
            (2, 0, 1, true),
            (3, 0, 1, false),
        ] {
            let mut server = server(connections);
            let accepted = || Event::Accepted { listener: SOCK, id: SOCK, peer: None };
            server.inbox.extend((0..others).map(|_| Event::Eof { id: SOCK }));
            server.inbox.extend((0..waiting).map(|_| accepted()));
            let case = format!("{connections} connections, {waiting} wait, with {others} others");
            assert_eq!(server.has_place(), expected, "{case}");
        }
    }
}
