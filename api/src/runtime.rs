//! The runtime: engine, reactor, timers and callbacks put together, and every way to wait.
//!
//! Invariant: while a callback runs nothing is borrowed, so it may call anything here. Callbacks
//! run only inside the waits, of this file and of those below, and in [`Runtime::tell`].

#[cfg(unix)]
use std::os::fd::OwnedFd;
mod accept;
mod children;
mod connecting;
mod deliver;
mod depth;
mod foreign;
mod names;
mod opening;
mod send;
mod sharing;
mod timer;

use std::{
    cell::{Cell, OnceCell, Ref, RefCell, RefMut},
    collections::VecDeque,
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use netproc_core::{
    engine::{Admit, Engine},
    event::{Event, Packet},
    machine::Phase,
    output::Buffers,
    process::{self, Exit, Shared},
    reactor::{Caps, Config, Counters, Reactor as _, Tick, Wait},
    table::ProcessId,
    timer::Timers,
};

pub(crate) use self::deliver::drop_handlers;
use self::depth::Depth;
pub use self::timer::Timer;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::tls::{TlsError, TlsTrust};
use crate::{
    backend::{AnyReactor, AnyWaker, Backend, Choice},
    builder::{ClientBuilder, ServerBuilder},
    emacs::{CodingDefaults, StreamDefaults},
    error::{Error, Result},
    handle::{Handle, Mailbox, Postbox},
    handlers::{CallbackError, Filter, Handlers},
    process::Process,
    shards::Seat,
};

/// Waits may be nested in callbacks this deep, unless told otherwise.
const DEPTH_MAX: u32 = 32;
/// The most that may be asked for: each level takes some of the thread's stack.
const DEPTH_MOST: u32 = 1024;

/// A process as the engine shows it.
type Inside = process::Process<Handlers>;
type Report = Rc<dyn Fn(&CallbackError)>;
type Job = Box<dyn FnOnce(&Runtime)>;

struct Inner {
    engine: RefCell<Engine<AnyReactor, Handlers>>,
    choice: Choice,
    waker: AnyWaker,
    mailbox: Arc<Mailbox>,
    /// What the resolver said, for starts that wait.
    answers: RefCell<names::Answers>,
    buffers: Buffers,
    /// How many of them were killed when it was last looked who has lost one.
    kills_seen: Cell<u64>,
    timers: RefCell<Timers<Job>>,
    /// Whose handshakes have to be over when: apart from the timers of users, which a wait may hold, and which keep
    /// `run` going.
    handshakes: RefCell<Timers<ProcessId>>,
    report: RefCell<Report>,
    /// Filters that are their processes' no more and were running when they ceased to be.
    running: RefCell<Vec<(Process, Filter)>>,
    /// There are some.
    leaving: Cell<bool>,
    /// Waits running now, the outer ones included.
    depth: Cell<u32>,
    depth_max: u32,
    /// Streams that are being opened.
    openings: Cell<u32>,
    /// Connections of a server that does not say; `None` is no limit.
    connections_max: Option<usize>,
    /// Inputs delivered so far.
    inputs: Cell<u64>,
    /// Where batches are put together; empty in between.
    batch: RefCell<Vec<Packet>>,
    /// Sentinels that deletions run now, one inside the other.
    telling: Cell<u32>,
    /// Deletions whose sentinels wait for one of those to return.
    untold: RefCell<VecDeque<(Process, Event)>>,
    shutdown: Cell<bool>,
    /// A wait too deep for posted calls has heard of some.
    jobs_left: Cell<bool>,
    /// Others wait behind the posted call that runs, and no wake tells a wait in it of them.
    jobs_behind: Cell<bool>,
    /// A timer may be due: time was looked at, and not yet what it brought.
    timers_due: Cell<bool>,
    /// A wait under way holds the timers.
    timers_held: Cell<bool>,
    /// Which coding systems a process gets that names none.
    coding_defaults: RefCell<CodingDefaults>,
    /// Whom streams of the front trust, and what else they go by.
    stream_defaults: RefCell<StreamDefaults>,
    /// The roots of this machine, once one of those streams has needed them: reading them takes long.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    roots: OnceCell<TlsTrust>,
    /// Its place among shards, if it is one of several.
    seat: OnceCell<Seat>,
    /// The descriptor a foreign loop sleeps on, once it was asked for.
    #[cfg(unix)]
    descriptor: OnceCell<OwnedFd>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // First, so that nobody hands over what nobody will take.
        if let Some(seat) = self.seat.get() {
            seat.leave_all(false);
        }
        self.mailbox.close();
    }
}

/// Processes, timers and the reactor under them, on one thread.
///
/// Cheap to clone; every clone is the same runtime. It ends, and with it every socket, when the
/// last clone and the last [`Process`] are gone, those that installed closures keep included; see
/// [`close`](Self::close).
#[derive(Clone)]
pub struct Runtime {
    inner: Rc<Inner>,
}

/// The backend and how many processes there are: `#<runtime epoll, processes: 2>`.
impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#<runtime {}", self.inner.choice)?;
        // What is printed from within the engine cannot look at it.
        if let Ok(engine) = self.inner.engine.try_borrow() {
            write!(f, ", processes: {}", engine.len())?;
        }
        f.write_str(">")
    }
}

/// Chooses what a runtime runs on. Made by [`Runtime::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `build`"]
pub struct RuntimeBuilder {
    backend: Backend,
    config: Config,
    depth_max: u32,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        let (backend, config) = Default::default();
        Self { backend, config, depth_max: DEPTH_MAX }
    }
}

impl RuntimeBuilder {
    /// The backend; default is the one that works best here.
    pub const fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Sizes of the receive memory and the rings; those of [`Config::default`] if it is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut config = netproc::Config::default();
    /// config.slots = 1;
    /// let refused = netproc::Runtime::builder().config(config).build();
    /// assert_eq!(refused.unwrap_err().to_string(), "slots is 1, out of the range 2 to 32768");
    /// ```
    pub const fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How deep waits may be nested in callbacks, 1 to 1024; one more is [`Error::TooDeep`]. Default
    /// 32. Sentinels that delete nest so deep as well; see [`Process::delete`]. Each level takes some of
    /// the thread's stack.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::builder().depth_max(1).build()?;
    /// rt.run_after(std::time::Duration::ZERO, |rt| {
    ///     let nested = rt.turn(std::time::Duration::ZERO);
    ///     assert!(matches!(nested, Err(netproc::Error::TooDeep(1))));
    ///     rt.shutdown();
    /// });
    /// rt.run()?;
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub const fn depth_max(mut self, depth: u32) -> Self {
        self.depth_max = depth;
        self
    }

    /// Makes the runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names a size out of range. [`Error::Backend`]: the backend asked for does not
    /// work here, or the environment names one that does not exist. An automatic choice fails only where no mechanism
    /// works at all.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Backend, Runtime};
    ///
    /// let rt = Runtime::builder().backend(Backend::Poll).build()?;
    /// assert_eq!(rt.backend().reason(), "asked for by the program");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub fn build(self) -> Result<Runtime> {
        self.build_sharing(1)
    }

    /// Makes a runtime over a simulated reactor, for tests. A `depth_max` out of range is brought into
    /// it.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn simulated(self, reactor: netproc_core::sim::SimReactor) -> Runtime {
        let (reactor, choice) = AnyReactor::simulated(reactor);
        Runtime::over(reactor, choice, self.depth_max.clamp(1, DEPTH_MOST), None)
    }
}

impl Runtime {
    /// Makes a runtime on the best backend that works here, or the one `NETPROC_BACKEND` names.
    ///
    /// # Errors
    ///
    /// As [`RuntimeBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Makes a runtime with choices of your own.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    fn over(
        reactor: AnyReactor,
        choice: Choice,
        depth_max: u32,
        connections_max: Option<usize>,
    ) -> Self {
        let inner = Inner {
            waker: reactor.waker(),
            engine: RefCell::new(Engine::new(reactor)),
            choice,
            mailbox: Mailbox::new(),
            answers: RefCell::default(),
            buffers: Buffers::default(),
            kills_seen: Cell::new(0),
            timers: RefCell::default(),
            handshakes: RefCell::default(),
            report: RefCell::new(deliver::default_report()),
            running: RefCell::default(),
            leaving: Cell::new(false),
            depth: Cell::new(0),
            depth_max,
            openings: Cell::new(0),
            connections_max,
            inputs: Cell::new(0),
            batch: RefCell::default(),
            telling: Cell::new(0),
            untold: RefCell::default(),
            shutdown: Cell::new(false),
            jobs_left: Cell::new(false),
            jobs_behind: Cell::new(false),
            timers_due: Cell::new(false),
            timers_held: Cell::new(false),
            coding_defaults: RefCell::default(),
            stream_defaults: RefCell::default(),
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            roots: OnceCell::new(),
            seat: OnceCell::new(),
            #[cfg(unix)]
            descriptor: OnceCell::new(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// How many connections a server may have that does not say.
    pub(crate) fn connections_max(&self) -> Option<usize> {
        self.inner.connections_max
    }

    pub(crate) fn postbox(&self) -> Postbox {
        Postbox::new(&self.inner.mailbox, self.inner.waker.clone())
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.capabilities().name == "sim"
    }

    pub(crate) fn buffer_table(&self) -> &Buffers {
        &self.inner.buffers
    }

    pub(crate) fn engine(&self) -> Ref<'_, Engine<AnyReactor, Handlers>> {
        self.inner.engine.borrow()
    }

    #[inline]
    pub(crate) fn engine_mut(&self) -> RefMut<'_, Engine<AnyReactor, Handlers>> {
        self.inner.engine.borrow_mut()
    }

    /// The reactor it runs on, with the reason for the choice.
    #[must_use]
    pub fn backend(&self) -> &Choice {
        &self.inner.choice
    }

    /// Lets `job` at the simulated reactor underneath: its clock, its faults, its trace. `None`, with
    /// nothing done, on any other.
    #[cfg(feature = "sim")]
    pub fn with_simulation<T>(
        &self,
        job: impl FnOnce(&mut netproc_core::sim::SimReactor) -> T,
    ) -> Option<T> {
        match self.engine_mut().reactor_mut() {
            AnyReactor::Sim(reactor) => Some(job(reactor)),
            #[cfg(all(target_os = "linux", feature = "uring"))]
            AnyReactor::Uring(_) => None,
            AnyReactor::Poll(_) => None,
        }
    }

    /// What the reactor has done so far.
    #[must_use]
    pub fn stats(&self) -> Counters {
        self.engine().reactor().counters()
    }

    /// Builds a server named `name`.
    pub fn server(&self, name: &str) -> ServerBuilder {
        ServerBuilder::new(self, name)
    }

    /// Builds a client named `name`.
    pub fn client(&self, name: &str) -> ClientBuilder {
        ClientBuilder::new(self, name)
    }

    /// The most bytes of a stream that one call of a filter brings, at least 1. At first whatever one read
    /// brings, [`Config::slot_len`]. Packets and records are never cut here, and with a coding bytes that completed no
    /// character come besides, with those that do.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Output from Processes" (`read-process-output-max`).
    pub fn set_input_len_max(&self, bytes: usize) {
        self.engine_mut().set_input_len_max(bytes);
    }

    /// That bound.
    #[must_use]
    pub fn input_len_max(&self) -> usize {
        self.engine().input_len_max()
    }

    /// Which coding systems [`make_network_process`](Self::make_network_process) gives a process that
    /// names none. The builders ask nobody: without a coding, bytes are bytes.
    #[must_use]
    pub fn coding_defaults(&self) -> CodingDefaults {
        self.inner.coding_defaults.borrow().clone()
    }

    /// Sets them, for processes made from now on.
    pub fn set_coding_defaults(&self, defaults: CodingDefaults) {
        self.inner.coding_defaults.replace(defaults);
    }

    pub(crate) fn stream_settings(&self) -> &RefCell<StreamDefaults> {
        &self.inner.stream_defaults
    }

    /// What is trusted when nothing is said, read once.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub(crate) fn default_roots(&self) -> Result<TlsTrust, TlsError> {
        if let Some(roots) = self.inner.roots.get() {
            return Ok(roots.clone());
        }
        let roots = TlsTrust::default_roots()?;
        Ok(self.inner.roots.get_or_init(|| roots).clone())
    }

    /// What the backend and the system under it can do.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// assert_eq!(rt.capabilities().seqpacket, cfg!(target_os = "linux"));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    #[must_use]
    pub fn capabilities(&self) -> Caps {
        self.engine().reactor().caps()
    }

    /// The listed processes, the newest first.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-list`).
    #[must_use]
    pub fn process_list(&self) -> Vec<Process> {
        self.engine().list().into_iter().map(|shared| self.process(shared)).collect()
    }

    /// The listed process of that name.
    #[must_use]
    pub fn get_process(&self, name: &str) -> Option<Process> {
        let found = self.engine().find(name);
        found.map(|shared| self.process(shared))
    }

    /// The listed process of that id, which is what other threads can keep of a process.
    #[must_use]
    pub fn process_by_id(&self, id: ProcessId) -> Option<Process> {
        let found = self.engine().get(id);
        found.map(|shared| self.process(shared))
    }

    #[inline]
    fn process(&self, shared: Shared<Handlers>) -> Process {
        Process::new(shared, self.clone())
    }

    /// The hook that hears of errors and panics in callbacks; at first they go to standard error, with
    /// the name of the process and the causes, ten lines a second at most. A panic of the hook itself
    /// is caught and forgotten.
    pub fn on_callback_error(&self, report: impl Fn(&CallbackError) + 'static) {
        let old = self.inner.report.replace(Rc::new(report));
        drop(old);
    }

    /// A handle for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.inner.mailbox), self.inner.waker.clone())
    }

    /// Makes [`run`](Self::run) return once it has control again: of several, one inside the other, the innermost.
    pub fn shutdown(&self) {
        self.inner.shutdown.set(true);
    }

    /// Ends everything: all processes, without telling anybody, and all timers. Addresses are free when it returns.
    /// What was sent is flushed in the background while the runtime is waited in: [`run`](Self::run) returns once it
    /// is. Closures are dropped, that of [`on_callback_error`](Self::on_callback_error) too, and with them what they
    /// keep alive, this runtime included if they keep it; a panic of what they keep is reported like one in a callback.
    pub fn close(&self) {
        let listed = self.engine().list();
        let mut dropped = Vec::new();
        for shared in listed {
            self.engine_mut().delete(&shared, None);
            let handlers = std::mem::take(&mut shared.borrow_mut().handlers);
            dropped.push((self.process(shared), handlers));
        }
        if let Some(seat) = self.seat() {
            // Behind the sockets, or whoever starts a service anew would find its address in use.
            self.let_go();
            seat.leave_all(true);
        }
        let mut timers = self.inner.timers.borrow_mut().take_all();
        self.inner.handshakes.borrow_mut().take_all();
        let defaults = self.inner.stream_defaults.take();
        self.nudge();
        for (process, handlers) in dropped {
            self.drop_each(&process, handlers);
        }
        while let Some((_, timer)) = timers.take_due(Tick(u64::MAX)) {
            self.drop_contained(None, timer);
        }
        self.drop_contained(None, defaults);
        let report = self.inner.report.replace(deliver::default_report());
        self.drop_contained(None, report);
        self.let_go();
    }

    /// Waits for what happens and gives it to callbacks, until [`shutdown`](Self::shutdown), or until nothing
    /// can happen any more: no socket, no child, no timer, no [`Handle`]. What no callback takes is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Reactor`] when the reactor is unusable, [`Error::TooDeep`] inside callbacks.
    pub fn run(&self) -> Result<()> {
        let depth = Depth::enter(self)?;
        let admit = self.but_openings();
        while !self.is_shut_down() {
            self.deliver_all(admit);
            if self.drop_returned() {
                continue;
            }
            if self.is_shut_down() || !self.is_busy() {
                break;
            }
            self.poll(self.wait_until(None))?;
        }
        self.flush()?;
        depth.leave(())
    }

    /// Whether [`run`](Self::run) is to return: the innermost, or among shards that are to end every one.
    fn is_shut_down(&self) -> bool {
        let nested = self.inner.depth.get() > 1;
        self.inner.shutdown.take() || self.seat().is_some_and(|seat| seat.is_at_end(nested))
    }

    /// Whether anything can still happen. A socket still flushing after its process has ended counts.
    fn is_busy(&self) -> bool {
        // In this order: a handle that posts and goes in between has left its call behind.
        let posted = Arc::strong_count(&self.inner.mailbox) > 1 || self.inner.mailbox.len() > 0;
        posted
            || self.engine().looking_up() > 0
            || self.engine().children() > 0
            || self.engine().has_pending()
            || !self.inner.timers.borrow().is_empty()
            || self.stats().sockets > 0
    }

    /// Waits at most `timeout` for something to happen and gives all that is there to callbacks;
    /// returns whether anything was: `false` before the time is over means that what happened was for
    /// nobody, say the end of a connection already deleted. With zero it only looks. What no callback
    /// takes is dropped: use [`next_event`](Self::next_event) to get it.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = netproc::Runtime::new()?;
    /// assert!(!rt.turn(Duration::ZERO)?, "nothing is there");
    /// rt.handle().post(|_| {})?;
    /// assert!(rt.turn(Duration::from_secs(60))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn turn(&self, timeout: Duration) -> Result<bool> {
        let depth = Depth::enter(self)?;
        let admit = self.but_openings();
        let before = self.deliver_all(admit);
        let deadline = if before { Some(Tick::default()) } else { Some(self.deadline(timeout)) };
        self.poll(self.wait_until(deadline))?;
        let after = self.deliver_all(admit);
        depth.leave(before || after)
    }

    /// Waits at most `timeout` for something no callback takes: input of a process without a
    /// filter, an event of one without a sentinel. Callbacks of others run meanwhile.
    ///
    /// `None` when the time is over.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn next_event(&self, timeout: Duration) -> Result<Option<(Process, Event)>> {
        let depth = Depth::enter(self)?;
        let deadline = self.deadline(timeout);
        depth.leave(self.pull(self.but_openings(), deadline, |_| true, || false)?)
    }

    /// The same for one process; `None` at once when it has ended. Callbacks of others run meanwhile;
    /// what others without a filter get waits, in order.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); [`Error::NoSuchProcess`] for a process of another runtime.
    pub fn next_event_of(&self, process: &Process, timeout: Duration) -> Result<Option<Event>> {
        self.next_event_unless(process, timeout, || false)
    }

    /// The same; `None` also when `over` says so and nothing more is there.
    pub(crate) fn next_event_unless(
        &self,
        process: &Process,
        timeout: Duration,
        over: impl Fn() -> bool,
    ) -> Result<Option<Event>> {
        self.owns(process)?;
        let depth = Depth::enter(self)?;
        let deadline = self.deadline(timeout);
        let id = process.id();
        // What a server without callbacks has accepted is no event of its own: it waits as well.
        let admit = |p: &Inside, input: bool| {
            p.id() == id && (p.phase() != Phase::Listen || !input) || has_takers(p, input)
        };
        let over = || process.exit() != Exit::Alive || over();
        let pulled = self.pull(Some(&admit), deadline, |untaken| untaken == process, over)?;
        depth.leave(pulled.map(|(_, event)| event))
    }

    /// Refuses a process of another runtime: its id may be that of somebody here.
    fn owns(&self, process: &Process) -> Result<()> {
        if Rc::ptr_eq(&self.inner, &process.runtime().inner) {
            return Ok(());
        }
        Err(Error::NoSuchProcess(process.name().to_string()))
    }

    fn pull(
        &self,
        admit: Admit<'_, Handlers>,
        deadline: Tick,
        wanted: impl Fn(&Process) -> bool,
        over: impl Fn() -> bool,
    ) -> Result<Option<(Process, Event)>> {
        let mut looked = false;
        loop {
            while let Some(untaken) = self.deliver_one(admit) {
                if let Some((process, event)) = untaken
                    && wanted(&process)
                {
                    return Ok(Some((process, event)));
                }
            }
            if over() || looked && self.engine().now() >= deadline {
                return Ok(None);
            }
            // A poll that waits tells of a few first: the last one only looks.
            looked = self.engine().now() >= deadline;
            self.poll(self.wait_until(Some(deadline)))?;
        }
    }

    pub(crate) fn deadline(&self, timeout: Duration) -> Tick {
        self.engine().reactor().now().after(timeout)
    }

    /// When the first handshake has to be over.
    fn next_handshake_at(&self) -> Option<Tick> {
        self.inner.handshakes.borrow().next_at()
    }

    /// How long the reactor may sleep: until the deadline, the next timer, the next attempt of a
    /// client that has several addresses, or the end of the time for a handshake.
    fn wait_until(&self, deadline: Option<Tick>) -> Wait {
        let timer = self.inner.timers.borrow().next_at().filter(|_| !self.inner.timers_held.get());
        let (attempt, handshake) = (self.engine().next_attempt_at(), self.next_handshake_at());
        let first = [deadline, timer, attempt, handshake].into_iter().flatten().min();
        first.map_or(Wait::Forever, Wait::Until)
    }

    fn poll(&self, wait: Wait) -> Result<()> {
        let now = self.drop_returned() || wait == Wait::Until(Tick::default());
        let wait = if now { Wait::No } else { wait };
        let polled = self.engine_mut().poll(wait).map_err(Error::Reactor);
        // What is set from here on is due in the future: nothing else looks at the time.
        let timers = !self.inner.timers.borrow().is_empty();
        self.inner.timers_due.set(timers || !self.inner.handshakes.borrow().is_empty());
        polled
    }

    /// What was sent last leaves before a wait method gives control back for good.
    fn flush(&self) -> Result<()> {
        self.poll(Wait::No)
    }

    /// After the deletion of a server: has the reactor close its socket now, so that the address is
    /// free; and after a handshake that was given up: has the last word of it sent. What else comes waits
    /// for the next wait, which also shows if the reactor is unusable.
    pub(crate) fn let_go(&self) {
        drop(self.flush());
        // It has taken the wake-up of whoever asked, and what it read a foreign loop would not hear of.
        self.nudge();
    }
}

/// Whether callbacks take what comes to a process, input or another event, so that a wait that drops
/// the rest may serve it.
fn has_takers(p: &Inside, input: bool) -> bool {
    p.handlers.take_input(p.phase()) || !input && p.handlers.sentinel.is_some()
}
