//! The runtime, the models beside it, and the course of a run.
//!
//! Invariant: no borrow of a model is held while the runtime may call back. The first violation is
//! kept; callbacks cannot return one, so whoever drives asks for it after each act.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use netproc::{CallbackError, Event, Input, Process, ProcessId, Runtime, Timer};
use netproc_core::{
    reactor::{Reactor as _, Tick},
    sim::{Faults, Rng, SimReactor},
};

use crate::swarm::runtime::{
    Lapse, Plant, Report,
    model::{Life, Subject},
    plan::Plan,
};

/// What a callback misbehaves with on purpose.
pub(super) const PLANNED: &str = "planned";
/// Looks in which everything must have ended once the faults are off.
const LIVENESS_MAX: u32 = 100_000;
/// Longer than anything takes once the faults are off.
const HOUR: Duration = Duration::from_secs(3600);

/// Whom a running wait serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Everybody.
    All,
    /// Whoever has callbacks, and this one.
    Callbacks(Option<usize>),
    /// This one, if it has callbacks.
    Only(usize),
}

/// One run of one seed.
pub(super) struct World {
    pub(super) rt: Runtime,
    pub(super) plan: Plan,
    rng: RefCell<Rng>,
    subjects: RefCell<Vec<Subject>>,
    pub(super) by_id: RefCell<BTreeMap<ProcessId, usize>>,
    /// The order in which processes were first seen listed.
    ranks: RefCell<BTreeMap<ProcessId, usize>>,
    violation: RefCell<Option<String>>,
    log: Cell<u64>,
    pub(super) lapse: Option<Lapse>,
    pub(super) meddling: Cell<bool>,
    /// After `close` nobody may be called.
    pub(super) closed: Cell<bool>,
    pub(super) modes: RefCell<Vec<Mode>>,
    /// Waits begun, and the latest deadline of those that ran since the outermost began.
    pub(super) waits: Cell<u64>,
    pub(super) latest: Cell<Tick>,
    pub(super) generation: Cell<u32>,
    /// Inputs told of.
    pub(super) inputs: Cell<u64>,
    /// By time and number: the timers that have not run.
    pub(super) timers: RefCell<BTreeSet<(Tick, u64)>>,
    pub(super) handles: RefCell<Vec<((Tick, u64), Timer)>>,
    pub(super) timer_count: Cell<u64>,
    planned: Cell<u64>,
    reported: Cell<u64>,
    pub(super) posted: (Cell<u64>, Arc<AtomicU64>),
    pub(super) held: RefCell<Vec<Input>>,
    pub(super) report: RefCell<Report>,
}

impl World {
    pub(super) fn new(seed: u64, plant: Option<Plant>) -> Rc<Self> {
        let mut rng = Rng::new(seed ^ 0x0A11_CA11_BAC5_0A11);
        let plan = Plan::draw(seed, &mut rng);
        let mut reactor = SimReactor::new(seed, plan.faults, plan.config);
        let mut lapse = None;
        match plant {
            Some(Plant::Reactor(canary)) => reactor.plant(canary),
            Some(Plant::Runtime(planted)) => lapse = Some(planted),
            None => {}
        }
        let world = Rc::new(Self {
            rt: Runtime::builder().simulated(reactor),
            plan,
            rng: RefCell::new(rng),
            subjects: RefCell::default(),
            by_id: RefCell::default(),
            ranks: RefCell::default(),
            violation: RefCell::default(),
            log: Cell::new(0),
            lapse,
            meddling: Cell::new(true),
            closed: Cell::new(false),
            modes: RefCell::default(),
            waits: Cell::new(0),
            latest: Cell::new(Tick::default()),
            generation: Cell::new(0),
            inputs: Cell::new(0),
            timers: RefCell::default(),
            handles: RefCell::default(),
            timer_count: Cell::new(0),
            planned: Cell::new(0),
            reported: Cell::new(0),
            posted: (Cell::new(0), Arc::default()),
            held: RefCell::default(),
            report: RefCell::default(),
        });
        let weak = Rc::downgrade(&world);
        world.rt.on_callback_error(move |err| {
            if let Some(world) = weak.upgrade() {
                world.misbehaved(err);
            }
        });
        world
    }

    /// Runs both phases and the clearing up; the text of an error says what was wrong.
    pub(super) fn run(self: Rc<Self>) -> Result<Report, String> {
        self.start_servers()?;
        for _ in 0..self.plan.steps {
            self.act();
            if self.percent(60) {
                self.wait(None);
            }
            self.check_all();
            self.sound()?;
        }
        self.calm();
        self.settle()?;
        self.judge()?;
        self.clear_up()?;
        self.sound()?;
        let mut report = *self.report.borrow();
        report.log_hash = self.log.get();
        report.trace_hash = self.rt.with_simulation(|sim| sim.trace_hash()).unwrap_or_default();
        report.starved = self.rt.stats().starved;
        Ok(report)
    }

    /// Ends the first phase: no fault, no meddling, nothing held, everybody takes input.
    fn calm(self: &Rc<Self>) {
        self.meddling.set(false);
        self.rt.with_simulation(|sim| sim.set_faults(Faults::none()));
        self.held.borrow_mut().clear();
        for index in 0..self.count() {
            let (process, stopped, deaf) = {
                let subject = self.subject(index);
                (subject.process.clone(), subject.stopped, subject.deaf)
            };
            let Some(process) = process else { continue };
            if deaf {
                self.install_filter(index, &process);
            }
            if stopped {
                self.subject(index).stopped = false;
                process.resume();
            }
        }
    }

    /// Runs until nothing moves any more.
    fn settle(self: &Rc<Self>) -> Result<(), String> {
        for _ in 0..LIVENESS_MAX {
            let fed = self.feed();
            let heard = self.report.borrow().heard;
            let before = self.now();
            self.look(HOUR);
            self.sound()?;
            let idle = self.report.borrow().heard == heard && self.now() >= before.after(HOUR);
            if idle && !fed {
                return Ok(());
            }
        }
        Err(format!("not at rest after {LIVENESS_MAX} looks"))
    }

    /// Waits for anything at all.
    pub(super) fn look(self: &Rc<Self>, span: Duration) {
        self.modes.borrow_mut().push(Mode::All);
        let pulled = if self.plan.drops {
            self.rt.turn(span).map(|_| None)
        } else {
            self.rt.next_event(span)
        };
        self.modes.borrow_mut().pop();
        match pulled {
            Ok(Some((process, event))) => self.pulled(&process, event, Mode::All),
            Ok(None) => {}
            Err(err) => self.fail(format!("a look failed: {err}")),
        }
    }

    /// The violation seen so far, if there is one.
    fn sound(&self) -> Result<(), String> {
        if self.planned.get() != self.reported.get() {
            let (planned, reported) = (self.planned.get(), self.reported.get());
            self.fail(format!("{planned} callbacks misbehaved, {reported} were reported"));
        }
        self.violation.borrow().clone().map_or(Ok(()), Err)
    }

    /// Keeps a violation; the first one counts.
    pub(super) fn fail(&self, what: String) {
        self.violation.borrow_mut().get_or_insert(what);
    }

    pub(super) fn fail_of(&self, index: usize, what: &str) {
        let subject = self.subject(index);
        let about = format!("{} ({:?}, {:?}): {what}", subject.name, subject.role, subject.life);
        drop(subject);
        self.fail(about);
    }

    /// Mixes a word into the fingerprint of what was told and answered.
    pub(super) fn note(&self, kind: u64, word: u64) {
        let mixed = (self.log.get() ^ kind << 56 ^ word).wrapping_mul(0x9FB2_1C65_1E98_DF25);
        self.log.set(mixed ^ (mixed >> 32));
    }

    pub(super) fn now(&self) -> Tick {
        self.rt.with_simulation(|sim| sim.now()).unwrap_or_default()
    }

    pub(super) fn percent(&self, percent: u8) -> bool {
        self.rng.borrow_mut().percent(percent)
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.rng.borrow_mut().below(limit)
    }

    pub(super) fn length(&self, max: usize) -> usize {
        self.rng.borrow_mut().len(max)
    }

    /// A position in something of `len` elements.
    pub(super) fn position(&self, len: usize) -> usize {
        self.rng.borrow_mut().index(len)
    }

    pub(super) fn subject(&self, index: usize) -> RefMut<'_, Subject> {
        RefMut::map(self.subjects.borrow_mut(), |subjects| &mut subjects[index])
    }

    pub(super) fn count(&self) -> usize {
        self.subjects.borrow().len()
    }

    pub(super) fn add(&self, subject: Subject) -> usize {
        self.subjects.borrow_mut().push(subject);
        self.count() - 1
    }

    /// A number for a filter or sentinel about to be installed.
    pub(super) fn next_generation(&self) -> u32 {
        self.generation.set(self.generation.get() + 1);
        self.generation.get()
    }

    /// The subjects that `wanted` picks.
    pub(super) fn pick_all(&self, wanted: impl Fn(&Subject) -> bool) -> Vec<usize> {
        let subjects = self.subjects.borrow();
        (0..subjects.len()).filter(|&index| wanted(&subjects[index])).collect()
    }

    /// One of them, and its process.
    pub(super) fn pick(&self, wanted: impl Fn(&Subject) -> bool) -> Option<(usize, Process)> {
        let all = self.pick_all(|subject| subject.process.is_some() && wanted(subject));
        if all.is_empty() {
            return None;
        }
        let index = all[self.position(all.len())];
        let process = self.subject(index).process.clone()?;
        Some((index, process))
    }

    /// How a callback ends: sometimes by an error, sometimes by a panic.
    pub(super) fn outcome(&self) -> Result<(), &'static str> {
        self.panic_at_times();
        if self.meddling.get() && self.percent(2) {
            self.planned.set(self.planned.get() + 1);
            return Err(PLANNED);
        }
        Ok(())
    }

    pub(super) fn panic_at_times(&self) {
        if self.meddling.get() && self.percent(2) {
            self.planned.set(self.planned.get() + 1);
            // Unlike `panic!` this bothers no panic hook.
            std::panic::resume_unwind(Box::new(PLANNED));
        }
    }

    fn misbehaved(&self, err: &CallbackError) {
        if err.error.to_string() == PLANNED {
            self.reported.set(self.reported.get() + 1);
            self.report.borrow_mut().misbehaved += 1;
        } else {
            self.fail(format!("in a callback of {:?}: {err}", err.process));
        }
    }

    /// Compares everything that can be asked of the runtime with the models.
    pub(super) fn check_all(&self) {
        let listed = self.rt.process_list();
        let mut names = BTreeSet::new();
        let mut known = 0;
        for process in &listed {
            let name = process.name();
            if !names.insert(name.to_string()) {
                self.fail(format!("two processes are called {name:?}"));
            }
            let Some(index) = self.by_id.borrow().get(&process.id()).copied() else {
                let starting = |s: &Subject| s.life == Life::Starting && *s.name == *name;
                if self.pick_all(starting).is_empty() {
                    self.fail(format!("nobody knows {name:?}, which is listed"));
                }
                continue;
            };
            known += 1;
            if !self.subject(index).is_listed() {
                self.fail_of(index, "is listed");
            }
        }
        let wanted = self.pick_all(|subject| subject.process.is_some() && subject.is_listed());
        if wanted.len() != known {
            self.fail(format!("{known} known processes are listed, not {}", wanted.len()));
        }
        self.check_order(&listed);
        for index in 0..self.count() {
            self.check(index);
        }
    }

    /// The list is newest first: those seen before in the order they had, behind those that are new.
    fn check_order(&self, listed: &[Process]) {
        let mut ranks = self.ranks.borrow_mut();
        let mut last = None;
        for process in listed.iter().rev() {
            let next = ranks.len();
            let rank = *ranks.entry(process.id()).or_insert(next);
            if last.is_some_and(|last| rank <= last) {
                self.fail(format!("{process:?} is listed out of order"));
            }
            last = Some(rank);
        }
    }

    /// Compares one process with its model.
    pub(super) fn check(&self, index: usize) {
        let subject = self.subject(index);
        let Some(process) = subject.process.clone() else { return };
        let (status, stopped, life) = (subject.status(), subject.stopped, subject.life);
        let (longest, name) = (subject.longest, subject.name.clone());
        drop(subject);
        let queued = process.queued();
        let found = self.rt.get_process(&name);
        let listed = self.subject(index).is_listed();
        let wrong = if process.status() != status {
            format!("status {}, not {status}", process.status())
        } else if process.is_stopped() != stopped {
            format!("stopped: {}", process.is_stopped())
        } else if *process.name() != *name {
            format!("is called {:?} now", process.name())
        } else if found.is_some_and(|found| found == process) != listed {
            "is found by its name, or not, against the list".into()
        } else if queued > self.plan.limits.queue_len_max - 1 + longest {
            format!("{queued} bytes queued")
        } else if !listed && queued > 0 && life != Life::Starting {
            format!("{queued} bytes queued after the end")
        } else {
            return;
        };
        self.fail_of(index, &wrong);
    }

    /// Whether this event is one that the running wait may deliver to `index`.
    /// With a sentinel but no filter it is served events, and its input waits.
    pub(super) fn is_admitted(&self, index: usize, input: bool) -> bool {
        let subject = self.subject(index);
        let takes = subject.takes() || !input && subject.sentinel.is_some();
        drop(subject);
        match self.modes.borrow().last() {
            Some(Mode::All) => true,
            Some(Mode::Callbacks(also)) => takes || *also == Some(index),
            Some(Mode::Only(only)) => takes && *only == index,
            None => false,
        }
    }

    /// Counts and fingerprints one thing that was told.
    pub(super) fn heard(&self, index: usize, event: &Event) {
        self.report.borrow_mut().heard += 1;
        self.note(1, index as u64);
        for byte in event.to_string().bytes() {
            self.note(2, u64::from(byte));
        }
        self.note(3, self.now().0);
        if self.closed.get() {
            self.fail_of(index, "is told something after `close`");
        }
    }
}
