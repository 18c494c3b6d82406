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
        let waiting = self.inbox.iter().filter(|event| event.is_input()).count();
        self.serving.as_ref().map_or(0, |serving| serving.connections) + waiting < max
    }

    /// Whether it is a server with as many connections as it may have.
    pub(crate) fn is_full(&self) -> bool {
        let connections = self.serving.as_ref().map_or(0, |serving| serving.connections);
        self.limits.connections_max.is_some_and(|max| connections >= max)
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
