//! Timers: calls for later, which any wait runs.

use std::time::Duration;

use netproc_core::{reactor::Reactor as _, timer::TimerId};

use super::Runtime;

/// A timer that can be cancelled; dropping it does not cancel.
#[derive(Debug)]
pub struct Timer {
    id: TimerId,
    rt: Runtime,
}

impl Timer {
    /// Cancels it; returns whether it had not run yet.
    #[must_use = "says whether it was in time"]
    pub fn cancel(self) -> bool {
        // Taken out of the borrow before it is dropped: a closure's drop may run anything.
        let job = self.rt.inner.timers.borrow_mut().cancel(self.id);
        job.is_some()
    }
}

impl Runtime {
    /// Runs `job` once, `delay` from now, during whatever wait is under way then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let never = rt.run_after(Duration::from_secs(3600), |_| unreachable!());
    /// rt.run_after(Duration::from_millis(1), |rt| rt.shutdown());
    /// rt.run()?;
    /// assert!(never.cancel());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub fn run_after(&self, delay: Duration, job: impl FnOnce(&Self) + 'static) -> Timer {
        let now = self.engine().reactor().now();
        // At least one nanosecond away, so that a timer that sets itself again lets others go on.
        let at = now.after(delay.max(Duration::from_nanos(1)));
        let id = self.inner.timers.borrow_mut().set(at, Box::new(job));
        self.nudge();
        Timer { id, rt: self.clone() }
    }
}
