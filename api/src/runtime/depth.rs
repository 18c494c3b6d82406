//! How deep waits are nested in callbacks.
//!
//! Invariant: whoever has entered leaves, however its wait ends; what a wait was too deep to do is done
//! by the one around it. How deep they may be is the builder's to say.

use netproc_core::reactor::Wake as _;

use super::Runtime;
use crate::error::{Error, Result};

/// Counts nested waits, and ends the count however a wait ends.
pub(super) struct Depth<'a> {
    rt: &'a Runtime,
    /// Whether the wait around it holds the timers.
    held_around: bool,
}

impl<'a> Depth<'a> {
    pub(super) fn enter(rt: &'a Runtime) -> Result<Self> {
        let depth = rt.inner.depth.get();
        if depth >= rt.inner.depth_max {
            return Err(Error::TooDeep(depth));
        }
        rt.inner.depth.set(depth + 1);
        if rt.inner.jobs_behind.take() {
            rt.inner.waker.wake();
        }
        Ok(Self { rt, held_around: rt.inner.timers_held.replace(false) })
    }

    /// No timer runs in this wait, or until `false` says otherwise; those of waits in its callbacks run. Whichever are
    /// due run afterwards.
    pub(super) fn hold_timers(&self, held: bool) {
        self.rt.inner.timers_held.set(held);
    }

    /// The regular end of a wait: after the outermost one a foreign loop may sleep.
    pub(super) fn leave<T>(self, value: T) -> Result<T> {
        if self.rt.inner.depth.get() == 1 {
            self.rt.arm()?;
        }
        Ok(value)
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        let inner = &self.rt.inner;
        inner.depth.set(inner.depth.get() - 1);
        inner.timers_held.set(self.held_around);
        self.rt.drop_returned();
        if !self.rt.is_too_deep_for_jobs() && inner.jobs_left.take() {
            inner.waker.wake();
        }
    }
}
