//! One of several runtimes, each on a thread of its own: its place among them, and its share of what there
//! is.
//!
//! Invariant: what a runtime alone does costs it one look at a cell that is empty.

use netproc_core::reactor::ConfigError;

use super::{DEPTH_MOST, Runtime, RuntimeBuilder};
use crate::{
    backend::{self, AnyReactor},
    error::Result,
    shards::Seat,
};

impl Runtime {
    /// Its place among shards, if it is one of several.
    pub(crate) fn seat(&self) -> Option<&Seat> {
        self.inner.seat.get()
    }

    /// Gives it that place.
    pub(crate) fn sit(&self, seat: Seat) {
        let seated = self.inner.seat.set(seat);
        debug_assert!(seated.is_ok(), "a runtime has one seat");
    }
}

impl RuntimeBuilder {
    /// The same for one of `count` runtimes that share the descriptors there are.
    pub(crate) fn build_sharing(self, count: usize) -> Result<Runtime> {
        self.config.check()?;
        ConfigError::check("depth_max", self.depth_max.into(), 1, DEPTH_MOST.into())?;
        let (reactor, choice) = AnyReactor::choose(self.backend, &self.config)?;
        let connections_max = backend::connections_max().map(|max| (max / count).max(1));
        Ok(Runtime::over(reactor, choice, self.depth_max, connections_max))
    }
}
