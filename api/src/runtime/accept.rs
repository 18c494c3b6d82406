//! `accept-process-output` in all its forms.
//!
//! Invariant: the time limit holds under any traffic of others, and what was output is decided by
//! counting deliveries, nested ones included.

use std::time::Duration;

use netproc_core::{
    machine::Status,
    reactor::{Tick, Wait},
};

use super::{Depth, Inside, Runtime, has_takers};
use crate::{error::Result, process::Process};

/// After the first output, a wait without a process goes on until this long brings none.
const QUIET: Duration = Duration::from_millis(10);
/// How often it is looked at the end what else is ready, at most.
const LOOKS_MAX: u32 = 8;

impl Runtime {
    /// Waits until `process`, or any if none is given, has had output, handling what else happens;
    /// returns whether there was some. With `just_this_one` nobody else is served.
    ///
    /// Returns when the time is over or `process` has ended; for a listening server, when a connection has come, which
    /// is no output: it returns `false` then.
    /// What else is ready at once is taken before. Without a time it waits for the process as long as that takes,
    /// and without a process it only handles what is ready. Output of a process without a filter counts when it is
    /// there to be pulled.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); [`Error::NoSuchProcess`](crate::Error::NoSuchProcess) for a process of
    /// another runtime.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Accepting Output". Differs: with a server it waits for a
    /// connection; the time limit holds under any traffic of others.
    pub fn accept_output(
        &self,
        process: Option<&Process>,
        timeout: Option<Duration>,
        just_this_one: bool,
    ) -> Result<bool> {
        self.accept_output_as(process, timeout, just_this_one, true)
    }

    /// The same; without `timers` none runs meanwhile.
    pub(crate) fn accept_output_as(
        &self,
        process: Option<&Process>,
        timeout: Option<Duration>,
        just_this_one: bool,
        timers: bool,
    ) -> Result<bool> {
        process.map_or(Ok(()), |process| self.owns(process))?;
        let depth = Depth::enter(self)?;
        depth.hold_timers(!timers);
        let deadline = match (timeout, process) {
            (Some(timeout), _) => self.deadline(timeout),
            (None, Some(_)) => Tick(u64::MAX),
            (None, None) => Tick::default(),
        };
        let only = process.filter(|_| just_this_one).map(Process::id);
        let admit =
            |p: &Inside, input: bool| has_takers(p, input) && only.is_none_or(|id| id == p.id());
        let wait = Output::new(self, process);
        let (mut until, mut count) = (deadline, wait.before);
        loop {
            self.deliver_all(Some(&admit));
            if wait.is_over() {
                break;
            }
            // Whatever else was served, timers and posted calls, is no output and makes no wait longer.
            if wait.count() > count {
                count = wait.count();
                until = deadline.min(self.engine().now().after(QUIET));
            }
            let limit = (until < Tick(u64::MAX)).then_some(until);
            self.poll(self.wait_until(limit))?;
            if self.engine().now() >= until {
                // What came until the deadline still counts, and a poll that waits tells of a few first.
                if !self.deliver_all(Some(&admit)) || !wait.came() {
                    self.poll(Wait::No)?;
                    self.deliver_all(Some(&admit));
                }
                break;
            }
        }
        self.gobble(deadline, &admit)?;
        let listening = process.is_some_and(|process| process.status() == Status::Listen);
        depth.leave(wait.came() && !listening)
    }
}

impl Runtime {
    /// Takes what else is ready at once, such as the end behind the last output, which another look or two bring;
    /// for as long as there is time, if some was given.
    fn gobble(&self, deadline: Tick, admit: &impl Fn(&Inside, bool) -> bool) -> Result<()> {
        let mut quiet = 0;
        for _ in 0..LOOKS_MAX {
            if deadline > Tick::default() && self.engine().now() >= deadline {
                break;
            }
            self.poll(Wait::No)?;
            quiet = if self.deliver_all(Some(admit)) { 0 } else { quiet + 1 };
            if quiet == 2 {
                break;
            }
        }
        Ok(())
    }
}

/// What `accept_output` looks at.
struct Output<'a> {
    rt: &'a Runtime,
    process: Option<&'a Process>,
    before: u64,
}

impl<'a> Output<'a> {
    fn new(rt: &'a Runtime, process: Option<&'a Process>) -> Self {
        let mut output = Self { rt, process, before: 0 };
        output.before = output.count();
        output
    }

    fn count(&self) -> u64 {
        match self.process {
            Some(process) => process.shared().borrow().served(),
            None => self.rt.inner.inputs.get(),
        }
    }

    /// Whether output has come, or waits to be pulled.
    fn came(&self) -> bool {
        let waits = |process: &Process| process.shared().borrow().has_input_waiting();
        self.count() > self.before || self.process.is_some_and(waits)
    }

    /// Whether there is nothing to wait for: the process that was asked for has had output, or has ended. Without one
    /// the time decides.
    fn is_over(&self) -> bool {
        let ended = |process: &Process| process.shared().borrow().is_at_end();
        self.process.is_some_and(|process| self.came() || ended(process))
    }
}
