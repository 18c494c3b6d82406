//! How deep waits are nested in callbacks.
//!
//! Invariant: whoever has entered leaves, however its wait ends; what a wait was too deep to do is done
//! by the one around it. How deep they may be is the builder's to say.

use netproc_core::reactor::Wake as _;

use super::Runtime;
use crate::error::{Error, Result};

/// Counts nested waits, and ends the count however a wait ends.
pub(super) struct Depth<'a>(&'a Runtime);

impl<'a> Depth<'a> {
    pub(super) fn enter(rt: &'a Runtime) -> Result<Self> {
        let depth = rt.inner.depth.get();
        if depth >= rt.inner.depth_max {
            return Err(Error::TooDeep(depth));
        }
        rt.inner.depth.set(depth + 1);
        Ok(Self(rt))
    }

    /// The regular end of a wait: after the outermost one a foreign loop may sleep.
    pub(super) fn leave<T>(self, value: T) -> Result<T> {
        if self.0.inner.depth.get() == 1 {
            self.0.arm()?;
        }
        Ok(value)
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.inner.depth.set(self.0.inner.depth.get() - 1);
        self.0.drop_returned();
        if !self.0.is_too_deep_for_jobs() && self.0.inner.jobs_left.take() {
            self.0.inner.waker.wake();
        }
    }
}
