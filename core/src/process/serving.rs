//! The part of a process that only a server has: what it counts, and whose headers it believes.
//!
//! Invariant: what a peer can bring about is logged no more often than the limits say, with a count.

use std::time::Duration;

use crate::{proxy::TrustedProxies, reactor::Tick};

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
