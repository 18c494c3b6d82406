//! Sending as Emacs does it: a wait, on top of the queue, until the system has everything.
//!
//! Invariant: bytes of one call stay together, and those of nested calls come behind it, since all
//! of them go through the process's one queue at once. What the system takes at once goes without a
//! callback; only a sender that has to wait serves everybody meanwhile.

use std::time::Duration;

use netproc_core::{
    engine::SendError,
    event::Reason,
    machine::{Phase, Status},
    outbox::SEND_LEN_MAX,
    process::Exit,
    reactor::{Kind, Payload, Tick, Wait, Wake as _},
};

use super::{Depth, Inside, Runtime, has_takers};
use crate::{
    error::{Error, SendWaitError},
    process::Process,
};

/// Looks at the reactor in one step of a sender that waits. Emacs's steps last 20 milliseconds.
const STEP_POLLS: u32 = 32;
/// What a sender who waits hands the system before anybody is served, give or take what one look at the reactor
/// sends, and the most looks for it, should each send but [`SEND_LEN_MAX`].
const AT_ONCE_MAX: usize = 1 << 20;
const LOOKS_AT_ONCE: usize = AT_ONCE_MAX / SEND_LEN_MAX;

impl Process {
    /// Sends `data` and waits until the system has all of it, at most `timeout` if one is given,
    /// serving everybody meanwhile.
    ///
    /// A connecting process is waited for first. If the system takes all at once, up to 1 MiB, no callback
    /// runs. Else they run inside, its own as well, and may send to the same process: those bytes go behind
    /// these, and their wait is over when all have gone. The bound of the queue does not hold here. In
    /// callbacks nested too deep for another wait it queues, within the bound, and returns. While half of the bound is
    /// queued by a filter its own process is not read: where both ends belong to one runtime, and the filters of both send
    /// that much so, each waits for the other, and wants a timeout.
    ///
    /// # Errors
    ///
    /// [`SendWaitError`]. After `TimedOut` the bytes are still queued.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("sink").filter(|_, _| {}).start()?;
    /// let to = server.contact().local().clone();
    /// let client = rt.client("c").remote(to).start()?;
    /// client.send_wait(vec![0; 8 << 20], Some(Duration::from_secs(10)))?;
    /// assert_eq!(client.queued(), 0, "eight times what `send` would let wait");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes" (`process-send-string`). Differs: the wait may have
    /// a limit.
    pub fn send_wait(
        &self,
        data: impl Into<Payload>,
        timeout: Option<Duration>,
    ) -> Result<(), SendWaitError> {
        let rt = self.runtime();
        let data = data.into();
        if rt.inner.depth.get() >= rt.inner.depth_max {
            self.send(data)?;
            return Ok(());
        }
        let deadline = rt.deadline(timeout.unwrap_or(Duration::MAX));
        if rt.wait_connecting(self, deadline)? {
            return Err(SendWaitError::TimedOut { queued: self.queued() });
        }
        rt.engine_mut().send_unbounded(self.shared(), data)?;
        rt.flush_of(self, deadline)
    }

    /// Waits until everything queued is with the system, at most `timeout`, serving everybody
    /// meanwhile, unless the system takes it at once.
    ///
    /// # Errors
    ///
    /// [`SendWaitError`]; after `TimedOut` bytes are still queued. In callbacks nested too deep for another wait
    /// it is `Runtime`, for [`Error::TooDeep`].
    pub fn flush(&self, timeout: Duration) -> Result<(), SendWaitError> {
        let rt = self.runtime();
        let deadline = rt.deadline(timeout);
        if rt.wait_connecting(self, deadline)? {
            return Err(SendWaitError::TimedOut { queued: self.queued() });
        }
        rt.flush_of(self, deadline)
    }
}

impl Runtime {
    fn flush_of(&self, process: &Process, deadline: Tick) -> Result<(), SendWaitError> {
        if self.wait_upgrading(process, deadline)? {
            return Err(SendWaitError::TimedOut { queued: process.queued() });
        }
        let depth = Depth::enter(self)?;
        let before = self.engine_mut().flush_begins(process.shared());
        let waited = self.flush_until(process, deadline);
        let trouble = self.engine_mut().flush_ends(process.shared(), before);
        depth.leave(())?;
        let unsent = process.shared().borrow().unsent();
        match (waited?, trouble, process.exit()) {
            (_, Some(refused), _) => Err(SendWaitError::Refused(refused)),
            (false, ..) => Err(SendWaitError::TimedOut { queued: process.queued() }),
            (_, _, Exit::Failed(_)) => Err(SendError::NotOpen(Status::Failed).into()),
            (_, _, Exit::Deleted) if unsent > 0 => Err(SendWaitError::Deleted { unsent }),
            (_, _, Exit::Broken(reason)) if unsent > 0 => {
                Err(SendWaitError::Broken { reason, unsent })
            }
            (_, _, Exit::Child(_)) if unsent > 0 => {
                Err(SendWaitError::Broken { reason: Reason::End, unsent })
            }
            // It has ended, but is stopped, or what it was sent before comes first.
            (_, _, Exit::Alive) => match self.engine().lost(process.shared()) {
                Some((reason, unsent)) => Err(SendWaitError::Broken { reason, unsent }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Returns whether all has gone, or the process has ended; else the time is over.
    fn flush_until(&self, process: &Process, deadline: Tick) -> Result<bool, Error> {
        let phase = || process.shared().borrow().phase();
        let ended = || !(phase().is_open() || matches!(phase(), Phase::Draining | Phase::Connect));
        let goes_on = || !ended() && self.engine_mut().flush_goes_on(process.shared());
        // A packet the system refuses is told of with the next poll, not at once.
        if !goes_on() && (ended() || process.kind() != Kind::Datagram) {
            return Ok(true);
        }
        if self.send_at_once(process, &goes_on)? {
            // Posted calls are for a wait that delivers something.
            self.inner.waker.wake();
        }
        loop {
            if self.engine().lost(process.shared()).is_some() {
                let id = process.id();
                let own = |p: &Inside, input: bool| p.id() == id && has_takers(p, input);
                while self.deliver_one(Some(&own)).is_some() {}
                return Ok(true);
            }
            if !goes_on() {
                return Ok(true);
            }
            if self.engine().now() >= deadline {
                return Ok(false);
            }
            if !self.serve_ready(deadline)? {
                self.poll(self.wait_until(Some(deadline).filter(|&at| at < Tick(u64::MAX))))?;
                self.deliver_all(Some(&has_takers));
            }
        }
    }

    /// Hands the system what it takes at once, as one call of Emacs's would, before anybody is served; returns
    /// whether somebody is to be woken for what came meanwhile.
    fn send_at_once(&self, process: &Process, goes_on: &impl Fn() -> bool) -> Result<bool, Error> {
        let mut stored = false;
        let first = process.queued();
        for _ in 0..LOOKS_AT_ONCE {
            let before = process.queued();
            self.poll(Wait::No)?;
            stored |= self.engine_mut().store_all();
            let queued = process.queued();
            let enough = first.saturating_sub(queued) >= AT_ONCE_MAX as u64;
            if queued >= before || enough || !goes_on() {
                break;
            }
        }
        Ok(stored)
    }

    /// One step of a sender that waits: everything that is ready, so that whoever reads what it sends
    /// has its turn, but no more than a bounded amount. Returns whether there was anything.
    fn serve_ready(&self, deadline: Tick) -> Result<bool, Error> {
        let mut polls = 0;
        while self.deliver_all(Some(&has_takers)) {
            if polls >= STEP_POLLS || self.engine().now() >= deadline {
                return Ok(true);
            }
            self.poll(Wait::No)?;
            polls += 1;
        }
        Ok(polls > 0)
    }
}
