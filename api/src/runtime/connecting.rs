//! Waits for one process to be connected, or to have the layer it was given, or not.
//!
//! Invariant: they are over with that: what comes behind it is for whoever started the process.

use netproc_core::{process::Exit, reactor::Tick};

use super::{Depth, Inside, Runtime, has_takers};
use crate::{error::Result, process::Process};

impl Runtime {
    /// Serves everybody with callbacks while `process` connects, until `deadline` at most; returns
    /// whether it still does.
    pub(crate) fn wait_connecting(&self, process: &Process, deadline: Tick) -> Result<bool> {
        let depth = Depth::enter(self)?;
        self.wait_while(depth, Inside::is_connecting, process, deadline, has_takers)
    }

    /// The same, with no other process served and no timer run.
    pub(crate) fn wait_connecting_alone(&self, process: &Process, deadline: Tick) -> Result<bool> {
        let depth = Depth::enter(self)?;
        depth.hold_timers(true);
        self.wait_while(depth, Inside::is_connecting, process, deadline, |_, _| false)
    }

    /// Serves everybody with callbacks while an upgrade of `process` is under way, likewise.
    pub(crate) fn wait_upgrading(&self, process: &Process, deadline: Tick) -> Result<bool> {
        let depth = Depth::enter(self)?;
        self.wait_while(depth, Inside::may_be_upgraded, process, deadline, has_takers)
    }

    fn wait_while(
        &self,
        depth: Depth<'_>,
        under_way: fn(&Inside) -> bool,
        process: &Process,
        deadline: Tick,
        others: impl Fn(&Inside, bool) -> bool,
    ) -> Result<bool> {
        // A handshake that was given up is over, however long its peer takes to hang up.
        let goes_on = || {
            let p = process.shared().borrow();
            under_way(&p) && p.layer_error().is_none()
        };
        let id = process.id();
        // No longer than that: its first input is for whoever started it.
        let admit = |p: &Inside, input: bool| others(p, input) || p.id() == id && under_way(p);
        let mut untaken = Vec::new();
        let waited = loop {
            while goes_on()
                && let Some(left) = self.deliver_one(Some(&admit))
            {
                untaken.extend(left.filter(|(told, _)| told == process));
            }
            if !goes_on() || self.engine().now() >= deadline {
                break Ok(goes_on());
            }
            if let Err(err) = self.poll(self.wait_until(Some(deadline))) {
                break Err(err);
            }
        };
        // Whoever pulls its events is told all the same, although the wait needed them delivered; and a foreign loop
        // hears that they are there.
        // Nobody is told more of one that was deleted meanwhile.
        let deleted = matches!(process.exit(), Exit::Deleted);
        for (process, event) in untaken.into_iter().rev().filter(|_| !deleted) {
            self.engine_mut().tell_again(process.shared(), event);
        }
        depth.leave(waited?)
    }
}
