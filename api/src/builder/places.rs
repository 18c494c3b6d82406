//! How many connections a server may have, and what becomes of the others.
//!
//! Invariant: what a method of the builder says goes before what the limits say, in whatever order
//! they were given. Counting is the engine's.

use netproc_core::process::{Crowded, Limits};

use super::ServerBuilder;
use crate::runtime::Runtime;

/// What the builder was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    max: Option<usize>,
    crowded: Option<Crowded>,
}

impl Places {
    /// Puts it into the limits, with the runtime's own limit where nothing was said; returns whether a
    /// method named a limit.
    pub(super) fn settle(self, limits: &mut Limits, rt: &Runtime) -> bool {
        limits.crowded = self.crowded.unwrap_or(limits.crowded);
        let asked_for = self.max.or(limits.connections_max);
        limits.connections_max = asked_for.or_else(|| rt.connections_max());
        self.max.is_some()
    }
}

impl ServerBuilder {
    /// How many connections the server may have at a time; see [`Limits::connections_max`].
    ///
    /// Default: the descriptors this program may have, as of the runtime's making, but 64, counted for
    /// each server of its own; one of several [`Shards`](crate::Shards) has its share of them. Over a
    /// simulation there is no default limit. What becomes of further ones is [`crowded`](Self::crowded)'s
    /// choice; either way the log hears [`LogEntry::Crowded`](crate::LogEntry::Crowded), at most once in
    /// [`Limits::log_every`]. Connections that are handed over among shards wait, whatever was chosen, and with
    /// [`Crowded::Close`] nothing is logged of that.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("few").max_connections(2).start()?;
    /// assert_eq!(server.limits().connections_max, Some(2));
    /// assert!(rt.server("none").max_connections(0).start().is_err());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Nothing in Emacs; there a server accepts until descriptors run out.
    pub const fn max_connections(mut self, count: usize) -> Self {
        self.places.max = Some(count);
        self
    }

    /// What becomes of those above [`max_connections`](Self::max_connections). Default: they are
    /// left in the backlog.
    pub const fn crowded(mut self, crowded: Crowded) -> Self {
        self.places.crowded = Some(crowded);
        self
    }
}
