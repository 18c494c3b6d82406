//! Handing what the engine yields to callbacks, one thing at a time.
//!
//! Invariant: nothing is borrowed while a callback runs, and an error or panic in it ends nothing but
//! that call. Waiting is `runtime.rs`'s affair.

use std::{
    cell::Cell,
    error::Error,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::{Duration, Instant},
};

use netproc_core::{
    address::Address,
    contact::Role,
    engine::{Admit, Delivery},
    event::{Event, Input, LogEntry, Packet},
    machine::Status,
    process::Exit,
    reactor::{Tick, Wake as _},
    shared_error::SharedError,
};

use super::{Inside, Report, Runtime};
#[cfg(feature = "starttls")]
use crate::output::default_filter;
use crate::{
    handlers::{
        BatchFilter, CallbackError, CallbackKind, Filter, Handlers, Packets, Sentinel, Serving,
        SharedFilter, contained,
    },
    process::Process,
};

/// Packets that one call of a batch filter gets at most.
const BATCH_LEN_MAX: usize = 256;

/// Failures of callbacks that the default report shows in a second.
const REPORTS_PER_SECOND: u32 = 10;

impl Runtime {
    /// Delivers everything there is; returns whether there was anything. What no callback takes is
    /// dropped.
    pub(super) fn deliver_all(&self, admit: Admit<'_, Handlers>) -> bool {
        let mut any = false;
        while self.deliver_bytes(admit) || self.deliver_one(admit).is_some() {
            any = true;
        }
        any
    }

    /// Delivers bytes to a filter that is shared, if that is what comes next; returns whether it was.
    /// What a message costs here is all in this function.
    #[inline(always)]
    fn deliver_bytes(&self, admit: Admit<'_, Handlers>) -> bool {
        let killed = self.inner.kills_seen.get() != self.inner.buffers.kill_count();
        if killed || self.inner.timers_due.get() {
            return false;
        }
        let mut engine = self.engine_mut();
        let next = engine.next_bytes(admit, |p| shared_filter(p));
        let Some((process, input, filter)) = next else { return false };
        drop(engine);
        let process = self.process(process);
        self.inner.inputs.set(self.inner.inputs.get() + 1);
        let failed = contained(CallbackKind::Filter, Some(&process), || filter(&process, input));
        process.shared().borrow_mut().filter_ends();
        self.report(failed);
        true
    }

    /// Delivers one thing; the inner value is what no callback took. `None` when nothing is there.
    pub(super) fn deliver_one(
        &self,
        admit: Admit<'_, Handlers>,
    ) -> Option<Option<(Process, Event)>> {
        if self.inner.timers_due.get() && self.run_due_timer() {
            return Some(None);
        }
        let kills = self.inner.buffers.kill_count();
        if self.inner.kills_seen.replace(kills) != kills {
            self.delete_without_buffer();
        }
        let (delivery, shakes) = {
            let mut engine = self.engine_mut();
            (engine.next(admit), engine.has_shaking())
        };
        if shakes {
            self.limit_handshakes();
        }
        // Only now: whatever else was to happen may have ended who would take them.
        let Some(delivery) = delivery else { return self.take_handed(admit).then_some(None) };
        Some(match delivery {
            Delivery::Input { process, input } => self.filter(self.process(process), input),
            Delivery::Event { process, event } => self.sentinel(self.process(process), event),
            Delivery::Accepted { server, process, from } => {
                let untaken = self.accepted(&self.process(server), self.process(process), from);
                untaken.filter(|told| !self.keeps(admit, told))
            }
            Delivery::Log { server, entry } => {
                self.log(&self.process(server), None, &entry);
                None
            }
            Delivery::Woken => {
                self.run_posted();
                None
            }
        })
    }

    /// A connection that was served to its server's log, and has no callbacks itself, is pulled: where it comes from
    /// is kept for whoever asks, if a wait for something else has accepted it. Returns whether it is.
    fn keeps(&self, admit: Admit<'_, Handlers>, (process, event): &(Process, Event)) -> bool {
        let shared = process.shared();
        let theirs = |p: &Inside| admit.is_none_or(|admit| admit(p, false));
        let kept = process.is_live() && !theirs(&shared.borrow());
        if kept {
            self.engine_mut().tell_of_again(shared, event.clone());
        }
        kept
    }

    /// A new connection: the log may change anything about it, then its sentinel hears of it. Even
    /// one that the log has deleted hears where it came from, as in Emacs.
    fn accepted(
        &self,
        server: &Process,
        process: Process,
        from: Option<Address>,
    ) -> Option<(Process, Event)> {
        let shakes = process.shared().borrow().is_connecting();
        process.shared().borrow_mut().handlers.announcing = true;
        self.give_buffer(server, &process);
        self.on_accept(server, &process);
        self.log(server, Some(&process), &LogEntry::Accepted { from: from.clone() });
        process.shared().borrow_mut().handlers.announcing = false;
        let ended = (process.status() == Status::Closed).then(|| process.clone());
        if shakes {
            // `open from` comes when its handshake is done, which a wait of the log may have seen already.
            if let Some(process) = ended {
                drop_handlers(&process);
            }
            return None;
        }
        let sentinel = process.shared().borrow().handlers.sentinel.clone();
        let untaken = self.call_sentinel(sentinel, process, Event::OpenFrom(from));
        if let Some(process) = ended {
            drop_handlers(&process);
        }
        untaken
    }

    /// A peer that does not come to the end of its handshake in time is cut off.
    fn limit_handshakes(&self) {
        loop {
            let shaking = self.engine_mut().next_shaking();
            let Some(process) = shaking else { return };
            self.limit_handshake(&self.process(process));
        }
    }

    fn limit_handshake(&self, process: &Process) {
        let p = process.shared().borrow();
        // Who waits for it has a limit for all of that; and one that has ended meanwhile needs none.
        let is_limited = p.is_shaking() && !p.is_awaited() && *p.exit() == Exit::Alive;
        drop(p);
        if !is_limited {
            return;
        }
        // That of its PROXY header, which is there, or there would be no second limit.
        self.lift_handshake_limit(process);
        let at = self.deadline(process.limits().handshake_within);
        let limit = self.inner.handshakes.borrow_mut().set(at, process.id());
        process.shared().borrow_mut().handlers.ties_mut().handshake_limit = Some(limit);
        self.nudge();
    }

    /// Ends the first handshake whose time was over when it was last looked at.
    fn end_late_handshake(&self, now: Tick) -> bool {
        let due = self.inner.handshakes.borrow_mut().take_due(now);
        let Some((_, id)) = due else { return false };
        if let Some(process) = self.process_by_id(id) {
            let late = SharedError::new("the handshake took too long");
            self.engine_mut().end_handshake(process.shared(), late);
        }
        true
    }

    /// Leaves the limit of a handshake that has just begun to whoever waits for it.
    #[cfg(feature = "starttls")]
    pub(crate) fn leave_handshake_limit(&self, process: &Process) {
        self.limit_handshakes();
        self.lift_handshake_limit(process);
    }

    /// Its handshake is over, one way or the other, or somebody else limits it.
    pub(crate) fn lift_handshake_limit(&self, process: &Process) {
        let mut p = process.shared().borrow_mut();
        let limit = p.handlers.held().and_then(|ties| ties.handshake_limit.take());
        if let Some(limit) = limit {
            self.inner.handshakes.borrow_mut().cancel(limit);
        }
    }

    /// Runs the first timer that was due when time was last looked at, which is in a poll, or ends a handshake
    /// that is late.
    #[inline(never)]
    fn run_due_timer(&self) -> bool {
        let now = self.engine().now();
        if self.end_late_handshake(now) {
            return true;
        }
        if self.inner.timers_held.get() {
            return false;
        }
        let due = self.inner.timers.borrow_mut().take_due(now);
        self.inner.timers_due.set(due.is_some());
        let Some((_, job)) = due else { return false };
        self.report(contained(CallbackKind::Timer, None, || {
            job(self);
            None
        }));
        true
    }

    fn run_posted(&self) {
        // They call nobody, and whoever waits for one may be deep down.
        while let Some(answer) = self.inner.mailbox.pop_answer() {
            answer(self);
        }
        // A job that waits serves those behind it, nested, but never so deep that they would fail.
        if self.is_too_deep_for_jobs() {
            let left = self.inner.mailbox.len() > 0;
            self.inner.jobs_left.set(left);
            return;
        }
        // Those there now, not those they post: who posts itself again lets others go on.
        for left in (0..self.inner.mailbox.len()).rev() {
            let Some(job) = self.inner.mailbox.pop() else { break };
            self.inner.jobs_behind.set(left > 0);
            self.report(contained(CallbackKind::Posted, None, || job(self)));
        }
        if self.inner.mailbox.len() > 0 {
            // A deeper wait may have heard of them and left them.
            self.inner.waker.wake();
        }
    }

    pub(super) fn is_too_deep_for_jobs(&self) -> bool {
        self.inner.depth.get() > (self.inner.depth_max / 2).max(1)
    }

    fn filter(&self, process: Process, input: Input) -> Option<(Process, Event)> {
        self.inner.inputs.set(self.inner.inputs.get() + 1);
        let filter = process.shared().borrow().handlers.filter.clone();
        if matches!(filter, Filter::None) {
            return Some((process, Event::Input(input)));
        }
        process.shared().borrow_mut().filter_begins();
        let failed = match filter {
            Filter::None => None,
            Filter::Shared(filter) => {
                contained(CallbackKind::Filter, Some(&process), || filter(&process, input))
            }
            Filter::Batch(filter) => self.filter_batch(&process, &filter, input),
            Filter::Own(filter) => {
                self.engine_mut().set_busy(process.shared(), true);
                // Busy processes are given nothing, so nobody else has it borrowed.
                let call = || filter.borrow_mut()(&process, input);
                let failed = contained(CallbackKind::Filter, Some(&process), call);
                self.engine_mut().set_busy(process.shared(), false);
                failed
            }
        };
        process.shared().borrow_mut().filter_ends();
        self.report(failed);
        None
    }

    /// Hands over `input` and the packets that came with it.
    fn filter_batch(
        &self,
        process: &Process,
        filter: &BatchFilter,
        input: Input,
    ) -> Option<Box<CallbackError>> {
        // A wait inside the filter finds none here and makes its own.
        let mut batch = self.inner.batch.take();
        let from = process.shared().borrow().contact().remote().cloned();
        batch.push(Packet::new(input, from));
        while batch.len() < BATCH_LEN_MAX {
            let next = self.engine_mut().next_packet(process.shared());
            let Some(packet) = next else { break };
            batch.push(packet);
        }
        let call = || filter(process, Packets(batch.drain(..)));
        let failed = contained(CallbackKind::Filter, Some(process), call);
        self.inner.batch.replace(batch);
        failed
    }

    /// Hands input to the default filter, whatever filter the process has.
    #[cfg(feature = "starttls")]
    pub(crate) fn filter_by_default(&self, process: &Process, input: Input) {
        let filter = default_filter();
        self.report(contained(CallbackKind::Filter, Some(process), || filter(process, input)));
    }

    fn sentinel(&self, process: Process, event: Event) -> Option<(Process, Event)> {
        if !matches!(event, Event::Drained | Event::Trouble(_)) {
            self.lift_handshake_limit(&process);
        }
        let sentinel = process.shared().borrow().handlers.sentinel.clone();
        // A connection that was accepted and never stood is over as well; nobody could delete it.
        let failed = matches!(event, Event::Failed(_)) && process.status() == Status::Closed;
        let over =
            failed || matches!(event, Event::Broken { .. } | Event::Deleted | Event::Ended { .. });
        let ended = over.then(|| process.clone());
        if let (Some(process), Some(seat)) = (&ended, self.seat())
            && process.shared().borrow().contact().role() == Role::Server
        {
            // Before it is told of: its sentinel may start the server again, here or in another shard.
            seat.leave(process.id(), false);
        }
        let untaken = self.call_sentinel(sentinel, process, event);
        if let Some(process) = ended {
            drop_handlers(&process);
        }
        untaken
    }

    fn call_sentinel(
        &self,
        sentinel: Option<Sentinel>,
        process: Process,
        event: Event,
    ) -> Option<(Process, Event)> {
        let Some(sentinel) = sentinel else { return Some((process, event)) };
        let call = || {
            let failed = sentinel(&process, &event);
            // The last that holds it, if it was replaced: what it keeps may fail as it may.
            drop(sentinel);
            failed
        };
        self.report(contained(CallbackKind::Sentinel, Some(&process), call));
        None
    }

    /// Tells a sentinel outside of a wait: only `deleted` comes that way.
    ///
    /// A sentinel that deletes the next process, whose sentinel does the same, would go down as deep as
    /// there are processes: from a certain depth on they are told one after the other.
    pub(crate) fn tell(&self, process: &Process, event: Event) {
        let Some(telling) = Telling::enter(&self.inner.telling, self.inner.depth_max) else {
            self.inner.untold.borrow_mut().push_back((process.clone(), event));
            return;
        };
        drop(self.sentinel(process.clone(), event));
        while telling.is_deepest() {
            let next = self.inner.untold.borrow_mut().pop_front();
            let Some((process, event)) = next else { break };
            drop(self.sentinel(process, event));
        }
    }

    /// Whether `process` is one that [`tell`](Self::tell) has yet to tell.
    pub(crate) fn is_to_tell(&self, process: &Process) -> bool {
        self.inner.untold.borrow().iter().any(|(untold, _)| untold == process)
    }

    fn on_accept(&self, server: &Process, process: &Process) {
        let s = server.shared().borrow();
        let on_accept = s.handlers.serving().and_then(|serving| serving.on_accept.clone());
        drop(s);
        if let Some(on_accept) = on_accept {
            let call = || {
                let failed = on_accept(server, process);
                drop(on_accept);
                failed
            };
            self.report(contained(CallbackKind::Log, Some(server), call));
        }
    }

    fn log(&self, server: &Process, process: Option<&Process>, entry: &LogEntry) {
        let s = server.shared().borrow();
        let log = s.handlers.serving().and_then(|serving| serving.log.clone());
        drop(s);
        if let Some(log) = log {
            let call = || {
                let failed = log(server, process, entry);
                drop(log);
                failed
            };
            self.report(contained(CallbackKind::Log, Some(server), call));
        }
    }

    /// Drops what callbacks keep, which may fail as they may.
    pub(crate) fn drop_callbacks<T>(&self, process: &Process, callbacks: T) {
        self.drop_contained(Some(process), callbacks);
    }

    pub(super) fn drop_contained<T>(&self, process: Option<&Process>, callbacks: T) {
        self.report(contained(CallbackKind::Drop, process, || {
            drop(callbacks);
            None
        }));
    }

    /// Drops what a process called, one after the other: two that fail in one drop end the program.
    pub(super) fn drop_each(&self, process: &Process, mut handlers: Handlers) {
        self.drop_filter(process, std::mem::take(&mut handlers.filter));
        self.drop_callbacks(process, handlers.sentinel.take());
        let Serving { log, on_accept } = handlers.take_serving();
        self.drop_callbacks(process, log);
        self.drop_callbacks(process, on_accept);
        self.drop_callbacks(process, handlers);
    }

    /// Drops a filter that is no longer its process's: one that runs when it has returned, or whoever runs it would be
    /// the last to hold it, and what it keeps could fail there.
    pub(crate) fn drop_filter(&self, process: &Process, filter: Filter) {
        if process.shared().borrow().is_filtering() && filter.is_shared() {
            self.inner.running.borrow_mut().push((process.clone(), filter));
            self.inner.leaving.set(true);
        } else {
            self.drop_callbacks(process, filter);
        }
    }

    /// Drops those that have returned by now; returns whether there were some, whose drop may have asked for anything.
    #[inline]
    pub(super) fn drop_returned(&self) -> bool {
        self.inner.leaving.get() && self.drop_some_returned()
    }

    #[cold]
    fn drop_some_returned(&self) -> bool {
        let mut running = self.inner.running.borrow_mut();
        let returned = |it: &mut (Process, Filter)| !it.0.shared().borrow().is_filtering();
        let returned: Vec<_> = running.extract_if(.., returned).collect();
        self.inner.leaving.set(!running.is_empty());
        drop(running);
        let any = !returned.is_empty();
        for (process, filter) in returned {
            self.drop_callbacks(&process, filter);
        }
        any
    }

    #[inline]
    fn report(&self, failed: Option<Box<CallbackError>>) {
        if let Some(err) = failed {
            self.report_failure(&err);
        }
    }

    #[cold]
    fn report_failure(&self, err: &CallbackError) {
        let report = Rc::clone(&self.inner.report.borrow());
        // Whoever reports a failure must not make one.
        let _ = catch_unwind(AssertUnwindSafe(|| report(err)));
    }
}

/// The filter of a process if it is a shared one, which is about to run then.
#[inline(always)]
fn shared_filter(p: &mut Inside) -> Option<SharedFilter> {
    let Filter::Shared(filter) = &p.handlers.filter else { return None };
    let filter = Rc::clone(filter);
    p.filter_begins();
    Some(filter)
}

/// Counts sentinels told one inside the other, and ends the count however one ends.
struct Telling<'a> {
    depth: &'a Cell<u32>,
    max: u32,
}

impl<'a> Telling<'a> {
    /// `None` when it is deep enough.
    fn enter(depth: &'a Cell<u32>, max: u32) -> Option<Self> {
        if depth.get() >= max {
            return None;
        }
        depth.set(depth.get() + 1);
        Some(Self { depth, max })
    }

    fn is_deepest(&self) -> bool {
        self.depth.get() >= self.max
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.depth.set(self.depth.get() - 1);
    }
}

/// Drops the callbacks of a process that has ended. Nothing calls them any more, and one that keeps
/// its own process would keep it, and the runtime, for ever.
pub(crate) fn drop_handlers(process: &Process) {
    let mut shared = process.shared().borrow_mut();
    if !shared.handlers.announcing {
        let handlers = shared.handlers.take_callbacks();
        // Out of the borrow: what a closure drops may run anything.
        drop(shared);
        process.runtime().drop_each(process, handlers);
    }
}

/// The error with the name of its process, of which nothing begins a line of its own.
fn reported(err: &CallbackError) -> String {
    if err.process.is_empty() {
        return err.to_string();
    }
    format!("{}: {err}", err.process.escape_debug())
}

/// The error with its causes, as a line.
fn line_of(err: &CallbackError) -> String {
    let mut line = reported(err);
    let mut cause = err.source().and_then(Error::source);
    while let Some(source) = cause {
        line = format!("{line}: {source}");
        cause = source.source();
    }
    line
}

/// How many errors this second has had.
#[derive(Clone, Copy)]
struct Second {
    since: Instant,
    count: u32,
}

impl Second {
    const fn new(since: Instant) -> Self {
        Self { since, count: 0 }
    }

    /// What to say of one more at `now`: nothing, if it is one of too many.
    fn line(&mut self, err: &CallbackError, now: Instant) -> Option<String> {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        let before = self.count;
        self.count = before.saturating_add(1);
        match before {
            0..REPORTS_PER_SECOND => Some(line_of(err)),
            REPORTS_PER_SECOND => {
                Some("more errors in callbacks within this second are not shown".into())
            }
            _ => None,
        }
    }
}

/// To standard error, a line each with its causes, and no more than some a second: a peer that makes
/// a filter fail must not fill a disk.
pub(super) fn default_report() -> Report {
    let second = Cell::new(Second::new(Instant::now()));
    Rc::new(move |err| {
        let mut current = second.get();
        let line = current.line(err, Instant::now());
        second.set(current);
        if let Some(line) = line {
            // Nobody reads standard error, then.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name is the user's, and may hold anything.
    #[test]
    fn a_name_cannot_forge_a_line_of_the_report() {
        let cases = [
            ("echo <127.0.0.1:80>", "echo <127.0.0.1:80>: error in process filter: no"),
            ("a\nroot: ok\0", "a\\nroot: ok\\0: error in process filter: no"),
            ("", "error in process filter: no"),
        ];
        for (name, line) in cases {
            let (kind, process) = (CallbackKind::Filter, name.into());
            let err = CallbackError { kind, process, error: "no".into(), panicked: false };
            assert_eq!(reported(&err), line);
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no use")]
    struct NoUse(#[source] std::io::Error);

    #[test]
    fn ten_errors_a_second_are_shown_with_their_causes_and_then_that_there_are_more() {
        let full = NoUse(std::io::Error::other("the disk is full"));
        let (kind, process) = (CallbackKind::Filter, "echo".into());
        let err = CallbackError { kind, process, error: full.into(), panicked: false };
        let start = Instant::now();
        let mut second = Second::new(start);
        let mut shown = |from: u64, count: usize| {
            let times = (0..count).map(|n| start + Duration::from_millis(from + n as u64));
            times.filter_map(|time| second.line(&err, time)).collect::<Vec<_>>()
        };
        let lines = shown(0, 100);
        assert_eq!(lines.len(), 11, "{lines:?}");
        let each = "echo: error in process filter: no use: the disk is full";
        assert!(lines[..10].iter().all(|line| line == each), "{lines:?}");
        assert!(lines[10].starts_with("more errors"), "{lines:?}");
        assert_eq!(shown(100, 900), Vec::<String>::new(), "still the same second");
        assert_eq!(shown(1000, 5).len(), 5, "the next");
    }
}
