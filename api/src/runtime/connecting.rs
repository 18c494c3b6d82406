//! Waits for one process to be connected, or not.
//!
//! Invariant: they are over with the connection: what comes behind it is for whoever started it.

use netproc_core::{event::Event, reactor::Tick};

use super::{Depth, Inside, Runtime, accept::HeldTimers, has_takers};
use crate::{error::Result, process::Process};

impl Runtime {
    /// Serves everybody with callbacks while `process` connects, until `deadline` at most; returns
    /// whether it still does.
    pub(crate) fn wait_connecting(&self, process: &Process, deadline: Tick) -> Result<bool> {
        self.wait_connecting_beside(process, deadline, has_takers)
    }

    /// The same, with no other process served and no timer run.
    pub(crate) fn wait_connecting_alone(&self, process: &Process, deadline: Tick) -> Result<bool> {
        let _held = HeldTimers::new(self);
        self.wait_connecting_beside(process, deadline, |_, _| false)
    }

    fn wait_connecting_beside(
        &self,
        process: &Process,
        deadline: Tick,
        others: impl Fn(&Inside, bool) -> bool,
    ) -> Result<bool> {
        let depth = Depth::enter(self)?;
        // A handshake that was given up is over, however long its peer takes to hang up.
        let connecting = || {
            let p = process.shared().borrow();
            p.is_connecting() && p.layer_error().is_none()
        };
        let id = process.id();
        // No longer than it connects: its first input is for whoever started it.
        let admit = |p: &Inside, input: bool| others(p, input) || p.id() == id && p.is_connecting();
        loop {
            while connecting()
                && let Some(untaken) = self.deliver_one(Some(&admit))
            {
                self.keep_for_puller(process, untaken);
            }
            if !connecting() || self.engine().now() >= deadline {
                return depth.leave(connecting());
            }
            self.poll(self.wait_until(Some(deadline)))?;
        }
    }
    /// Whoever pulls the events of `process` is told of its connection as well, although the wait needed it
    /// delivered.
    fn keep_for_puller(&self, process: &Process, untaken: Option<(Process, Event)>) {
        if let Some((told, event)) = untaken
            && told == *process
            && !has_takers(&told.shared().borrow(), false)
        {
            self.engine_mut().tell_again(told.shared(), event);
        }
    }
}
