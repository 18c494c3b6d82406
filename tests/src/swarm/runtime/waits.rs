//! Every way to wait, with its deadline and its answer checked.
//!
//! Invariant: a wait comes back by its deadline, or by the latest deadline of those nested in it, on
//! the virtual clock; while it runs, the model knows whom it may serve.

use std::{rc::Rc, time::Duration};

use netproc::{Error, Process};
use netproc_core::reactor::Tick;

use crate::swarm::runtime::{
    Lapse,
    model::{Filter, Role},
    plan::LONG,
    world::{Mode, World},
};

/// What a poll may take although there is no time left.
const POLL: Duration = Duration::from_micros(4);
/// Waits nested at most this deep.
pub(super) const DEPTH_MAX: usize = 4;

/// What a wait is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Served {
    Start,
    Output,
    Pull,
}

impl World {
    /// Waits in some way, for `about` if given.
    pub(super) fn wait(self: &Rc<Self>, about: Option<(usize, Process)>) {
        if self.modes.borrow().len() >= DEPTH_MAX {
            return;
        }
        if !self.modes.borrow().is_empty() {
            self.report.borrow_mut().nested += 1;
        }
        let about = about.or_else(|| self.pick(|_| true));
        let span = Duration::from_micros(self.below(5_000));
        let span = if self.percent(20) { Duration::ZERO } else { span };
        let choice = self.below(6);
        match (choice, about) {
            (0, _) => self.accept_any(if self.percent(20) { None } else { Some(span) }),
            (1, Some((index, process))) => self.accept_from(index, &process, span, false),
            (2, Some((index, process))) => self.accept_from(index, &process, span, true),
            (3, Some((index, process))) => self.pull_of(index, &process, span),
            _ => self.pull_any(span),
        }
    }

    /// Runs a wait and checks that it ends in time; `None` has no time limit to check.
    pub(super) fn timed<T>(
        &self,
        span: Option<Duration>,
        mode: Mode,
        served: Served,
        wait: impl FnOnce() -> T,
    ) -> T {
        let deadline = self.now().after(span.unwrap_or_default());
        let outer = self.latest.replace(deadline);
        let before = self.waits.get();
        self.waits.set(before + 1);
        self.modes.borrow_mut().push(mode);
        let answer = wait();
        self.modes.borrow_mut().pop();
        let begun = u32::try_from(self.waits.get() - before).unwrap_or(u32::MAX);
        let latest = self.latest.get();
        let mut now = self.now();
        if self.lapse == Some(Lapse::LateWait) {
            now = now.after(LONG);
        }
        // One poll of each may begin in time and end late, and one more that looks what else is ready.
        if now > latest.after(POLL * 2 * (begun + 1)) {
            self.fail(format!("{served:?} until {latest:?} came back at {now:?}"));
        }
        self.latest.set(outer.max(latest));
        self.note(7, now.0);
        answer
    }

    fn failed_wait(&self, err: &Error) {
        self.fail(format!("a wait failed: {err}"));
    }

    fn accept_any(&self, span: Option<Duration>) {
        let before = self.inputs.get();
        let answer = self.timed(span, Mode::Callbacks(None), Served::Output, || {
            self.rt.accept_output(None, span, false)
        });
        let came = self.inputs.get() > before;
        match answer {
            Ok(answer) if answer == came || self.lapse.is_some() => {}
            Ok(answer) => self.fail(format!("accept_output: {answer}, but input came: {came}")),
            Err(err) => self.failed_wait(&err),
        }
    }

    fn accept_from(&self, index: usize, process: &Process, span: Duration, only: bool) {
        let inputs = || self.subject(index).inputs;
        let before = inputs();
        let mode = if only { Mode::Only(index) } else { Mode::Callbacks(None) };
        let answer = self.timed(Some(span), mode, Served::Output, || {
            self.rt.accept_output(Some(process), Some(span), only)
        });
        let came = inputs() > before;
        let (pulled, server) = {
            let subject = self.subject(index);
            (subject.filter == Filter::None, matches!(subject.role, Role::Server(_)))
        };
        match answer {
            _ if self.lapse.is_some() => {}
            // Whether something waits to be pulled, or a stopped server has had connections, is not
            // for the model to say.
            Ok(true) if came || pulled || server || only => {}
            Ok(false) if !came => {}
            Ok(answer) => {
                self.fail_of(index, &format!("accept_output: {answer}, input came: {came}"));
            }
            Err(err) => self.failed_wait(&err),
        }
    }

    fn pull_any(self: &Rc<Self>, span: Duration) {
        if self.plan.drops {
            let turned = self.timed(Some(span), Mode::All, Served::Pull, || self.rt.turn(span));
            if let Err(err) = turned {
                self.failed_wait(&err);
            }
            return;
        }
        let pulled = self.timed(Some(span), Mode::All, Served::Pull, || self.rt.next_event(span));
        match pulled {
            Ok(Some((process, event))) => self.pulled(&process, event, Mode::All),
            Ok(None) => {}
            Err(err) => self.failed_wait(&err),
        }
    }

    fn pull_of(self: &Rc<Self>, index: usize, process: &Process, span: Duration) {
        let mode = Mode::Callbacks(Some(index));
        let pulled =
            self.timed(Some(span), mode, Served::Pull, || self.rt.next_event_of(process, span));
        match pulled {
            Ok(Some(event)) => self.pulled(process, event, mode),
            Ok(None) => {}
            Err(err) => self.failed_wait(&err),
        }
    }

    /// The time of a timer set now.
    pub(super) fn due(&self, delay: Duration) -> Tick {
        self.now().after(delay.max(Duration::from_nanos(1)))
    }
}
