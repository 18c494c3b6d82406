//! The suite of the public crate: one source for a behaviour of processes, a test on every backend.
//!
//! [`conformance!`](crate::conformance!) turns a sentence and a body into a module with the tests
//! `sim`, `poll`, `epoll` and `uring`. The body gets a [`Rig`]: a runtime, and a log of every
//! callback with what it saw. Invariant: after a body every process is deleted, and then no socket,
//! no operation, no slot and no reference to the runtime is left. The reactors' own contract is
//! [`contract`](mod@crate::contract)'s business.

mod log;
mod subject;

use std::time::{Duration, Instant};

use netproc::{
    Address, ClientBuilder, CloseHow, Config, Event, Process, Role, Runtime, ServerBuilder,
    StartError, Status,
};

pub use self::{
    log::{Log, word},
    subject::{Subject, without_uring},
};
pub use crate::contract::Outcome;
use crate::watch::watched;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The longest single wait inside such a wait.
const STEP: Duration = Duration::from_millis(100);
/// As many waits in which nothing came show that a simulation is stuck, unless the program's other
/// threads have had less than this time.
const IDLE_MAX: u32 = 1_000;
/// See there.
const STUCK_SIM: Duration = Duration::from_secs(3);
/// How long nothing must come, three times over, before a rig counts as settled.
const QUIET: Duration = Duration::from_millis(10);

/// A runtime under test, and all that its callbacks were told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rig {
    /// The runtime.
    pub rt: Runtime,
    /// What the callbacks made by it were told, in order.
    pub log: Log,
    /// Which backend it runs on.
    pub subject: Subject,
    config: Config,
}

impl Rig {
    /// Makes a runtime on `subject`; `None` where io_uring is left out on purpose.
    #[must_use]
    pub fn new(subject: Subject, config: Config) -> Option<Self> {
        let rt = subject.runtime(config)?;
        Some(Self { rt, log: Log::default(), subject, config })
    }

    /// A second runtime of the same sort.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be made, although the first could.
    #[must_use]
    pub fn another(&self) -> Runtime {
        self.subject.runtime(self.config).expect("the first was made as well")
    }

    /// A server named `srv` on a free port of the loopback address; it and its connections log all
    /// they are told.
    pub fn server(&self) -> ServerBuilder {
        let log = &self.log;
        self.rt.server("srv").filter(log.filter()).sentinel(log.sentinel()).log(log.log())
    }

    /// The same, whose connections send back what they get instead of logging it.
    pub fn echo(&self) -> ServerBuilder {
        self.server().filter(Process::send)
    }

    /// A client named `client` for `server` that logs all it is told.
    pub fn client(&self, server: &Process) -> ClientBuilder {
        self.client_at(server.contact().local().clone())
    }

    /// The same for an address.
    pub fn client_at(&self, address: impl Into<Address>) -> ClientBuilder {
        let log = &self.log;
        self.rt.client("client").remote(address).filter(log.filter()).sentinel(log.sentinel())
    }

    /// A connected client of `server`.
    ///
    /// # Errors
    ///
    /// As that of the builder.
    pub fn connect(&self, server: &Process) -> Result<Process, StartError> {
        self.client(server).start()
    }

    /// A server, a client of it, and the connection between them as the server has it.
    ///
    /// # Errors
    ///
    /// As those of the builders.
    pub fn pair(&self) -> Result<(Process, Process, Process), StartError> {
        self.pair_at(self.server())
    }

    /// The same at a server of your own.
    ///
    /// # Errors
    ///
    /// As those of the builders.
    pub fn pair_at(
        &self,
        server: ServerBuilder,
    ) -> Result<(Process, Process, Process), StartError> {
        let server = server.start()?;
        let client = self.connect(&server)?;
        let child = self.child(&server);
        Ok((server, client, child))
    }

    /// An address of the loopback where nobody listens.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn dead_end(&self) -> Result<Address, StartError> {
        let server = self.rt.server("dead end").start()?;
        let address = server.contact().local().clone();
        server.delete();
        while self.rt.stats().sockets > self.open() {
            self.turn();
        }
        Ok(address)
    }

    /// A server whose address is silent until it is resumed, and the one connection that its backlog has
    /// room for: Linux drops what asks for another place there, and so does the simulation.
    ///
    /// # Errors
    ///
    /// As those of the builders.
    pub fn silent(&self) -> Result<(Process, Process), StartError> {
        let server = self.server().backlog(0).stop(true).start()?;
        let filler = self.connect(&server)?;
        Ok((server, filler))
    }

    /// How many listed processes have a socket.
    fn open(&self) -> u64 {
        let listed = self.rt.process_list();
        listed.iter().filter(|process| process.status() != Status::Failed).count() as u64
    }

    /// The listed connections of `server`, the oldest first.
    #[must_use]
    pub fn connections(&self, server: &Process) -> Vec<Process> {
        let prefix = format!("{} <", server.name());
        let mut all = self.rt.process_list();
        all.retain(|process| {
            process.contact().role() == Role::Accepted && process.name().starts_with(&prefix)
        });
        all.reverse();
        all
    }

    /// How many of them there are.
    #[must_use]
    pub fn children(&self, server: &Process) -> usize {
        self.connections(server).len()
    }

    /// The newest connection of `server`, waiting for the first one.
    ///
    /// # Panics
    ///
    /// Panics when none comes.
    #[track_caller]
    #[must_use]
    pub fn child(&self, server: &Process) -> Process {
        self.until("a connection", || self.children(server) > 0);
        self.connections(server).pop().expect("one was seen just now")
    }

    /// The status of `process`.
    #[must_use]
    pub fn status(&self, process: &Process) -> Status {
        process.status()
    }

    /// Serves everybody once, waiting for a moment if nothing is there.
    ///
    /// # Panics
    ///
    /// Panics when the runtime fails.
    pub fn turn(&self) -> bool {
        self.rt.turn(STEP).expect("the runtime works")
    }

    /// Serves everybody until `done`.
    ///
    /// # Panics
    ///
    /// Panics, with the log, when that takes longer than [`PATIENCE`] or nothing happens any more.
    #[track_caller]
    pub fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begin = Instant::now();
        let mut idle = 0;
        while !done() {
            // The simulation's time passes at once, that of other threads does not.
            let virtually = idle > IDLE_MAX && begin.elapsed() > STUCK_SIM;
            if virtually || begin.elapsed() > PATIENCE {
                panic!("{what}: did not come about\n{}\n{:?}", self.log, self.rt.stats());
            }
            idle = if self.turn() { 0 } else { idle + 1 };
        }
    }

    /// Serves everybody until nothing is in flight: nothing has come for a while.
    ///
    /// # Panics
    ///
    /// Panics when the runtime fails or there is no end to what comes.
    #[track_caller]
    pub fn settle(&self) {
        let begin = Instant::now();
        let mut quiet = 0;
        while quiet < 3 {
            assert!(begin.elapsed() < PATIENCE, "never settles\n{}", self.log);
            let happened = self.rt.turn(QUIET).expect("the runtime works");
            quiet = if happened { 0 } else { quiet + 1 };
        }
    }

    /// Waits until the log of `process` has this line.
    ///
    /// # Panics
    ///
    /// Panics when it does not come.
    #[track_caller]
    pub fn until_line(&self, process: &Process, line: &str) {
        self.until(line, || self.log.of(process).iter().any(|seen| seen == line));
    }

    /// Waits until `process` has been given these bytes, no others.
    ///
    /// # Panics
    ///
    /// Panics when others come or too few.
    #[track_caller]
    pub fn until_bytes(&self, process: &Process, bytes: &[u8]) {
        self.until("all bytes", || self.log.len_of(process) >= bytes.len());
        crate::contract::assert_bytes(&self.log.bytes_of(process), bytes, &process.name());
    }

    /// The next thing that no callback takes, which must come.
    ///
    /// # Panics
    ///
    /// Panics when the runtime fails or nothing comes.
    #[track_caller]
    #[must_use]
    pub fn next(&self) -> (Process, Event) {
        let next = self.rt.next_event(PATIENCE).expect("the runtime works");
        next.unwrap_or_else(|| panic!("no event\n{}", self.log))
    }

    /// Ends every process and checks that nothing is left.
    ///
    /// # Panics
    ///
    /// Panics when something is left.
    #[track_caller]
    pub fn tear_down(self) {
        for process in self.rt.process_list() {
            process.delete_with(CloseHow::Now);
        }
        self.rt.close();
        self.until("every socket closed", || self.rt.stats().sockets == 0);
        // What came for processes that are gone waits for this, with its memory.
        while self.rt.turn(Duration::ZERO).expect("the runtime works") {}
        let stats = self.rt.stats();
        let left = (self.rt.process_list().len(), stats.in_flight, stats.slots_held);
        assert_eq!(left, (0, 0, 0), "(processes, operations, slots) left: {stats:?}");
        let handle = self.rt.handle();
        drop(self);
        assert!(handle.post(|_| {}).is_err(), "something keeps the runtime alive");
    }
}

/// Runs `body` on a fresh runtime and checks what is left behind.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when something is left, and aborts the process when the test is stuck.
pub fn run(
    test: &str,
    subject: Subject,
    sizes: fn(&mut Config),
    body: fn(&Rig) -> Outcome,
) -> Outcome {
    let mut config = Config::default();
    sizes(&mut config);
    let Some(rig) = Rig::new(subject, config) else { return Ok(()) };
    watched(test, || {
        body(&rig)?;
        rig.tear_down();
        Ok(())
    })
}

/// As [`run`], in a process of its own: for descriptors, limits and signals.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when the process failed.
pub fn run_alone(
    test: &str,
    subject: Subject,
    sizes: fn(&mut Config),
    body: fn(&Rig) -> Outcome,
) -> Outcome {
    crate::child::alone(test, || run(test, subject, sizes, body))
}

/// Names of a network without any other host, and a resolver that asks nobody but a name server on
/// loopback: whoever binds port 53 there decides what it hears, and has two minutes for that.
#[cfg(target_os = "linux")]
const ETC: [(&str, &str); 3] = [
    ("hosts", "127.0.0.1 localhost here four\n::1 here\n"),
    ("nsswitch.conf", "hosts: files dns\nservices: files\n"),
    ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:4\n"),
];

/// As [`run`], in a process and a network of its own with names of its own.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when the process failed.
#[cfg(target_os = "linux")]
pub fn run_apart(
    test: &str,
    subject: Subject,
    sizes: fn(&mut Config),
    body: fn(&Rig) -> Outcome,
) -> Outcome {
    crate::child::apart(test, &ETC, || run(test, subject, sizes, body))
}

/// Makes a module of tests, one on each backend, from a sentence and a body.
///
/// ```text
/// conformance!(a_sentence_that_is_true, |rig| { …; Ok(()) });
/// conformance!(a_sentence_that_is_true, |config| { config.slots = 4; }, |rig| { …; Ok(()) });
/// conformance!(on (epoll uring): …);       // on these only
/// conformance!(alone on (epoll uring): …); // likewise, each in a process of its own
/// conformance!(apart on (epoll uring): …); // and in a network of its own, on Linux
/// ```
#[macro_export]
macro_rules! conformance {
    (alone on ($($subject:ident)+): $name:ident, $($rest:tt)+) => {
        $crate::conformance! { @sizes [$name run_alone ($($subject)+)] $($rest)+ }
    };
    (apart on ($($subject:ident)+): $name:ident, $($rest:tt)+) => {
        $crate::conformance! { @sizes [$name run_apart ($($subject)+)] $($rest)+ }
    };
    (on ($($subject:ident)+): $name:ident, $($rest:tt)+) => {
        $crate::conformance! { @sizes [$name run ($($subject)+)] $($rest)+ }
    };
    (@sizes [$($head:tt)+] |$rig:ident| $body:block) => {
        $crate::conformance! { @module [$($head)+] () $rig $body }
    };
    (@sizes [$($head:tt)+] |$config:ident| $sizes:block, |$rig:ident| $body:block) => {
        $crate::conformance! { @module [$($head)+] ($config $sizes) $rig $body }
    };
    (@module [$name:ident $run:ident ($($subject:ident)+)]
        ($($config:ident $sizes:block)?) $rig:ident $body:block) => {
        mod $name {
            use super::*;

            fn sizes(_config: &mut ::netproc::Config) {
                $(let $config = _config; $sizes)?
            }

            fn body($rig: &$crate::rig::Rig) -> $crate::rig::Outcome $body

            $($crate::conformance! { @test $subject $run })+
        }
    };
    (@test sim $run:ident) => { $crate::conformance! { @plain sim Sim $run } };
    (@test poll $run:ident) => { $crate::conformance! { @plain poll Poll $run } };
    (@test epoll $run:ident) => {
        #[cfg(target_os = "linux")]
        $crate::conformance! { @plain epoll Epoll $run }
    };
    (@test uring $run:ident) => {
        #[cfg(target_os = "linux")]
        $crate::conformance! { @plain uring Uring $run }
    };
    (@plain $test:ident $subject:ident $run:ident) => {
        #[test]
        fn $test() -> $crate::rig::Outcome {
            let test = concat!(module_path!(), "::", stringify!($test));
            $crate::rig::$run(test, $crate::rig::Subject::$subject, sizes, body)
        }
    };
    ($name:ident, $($rest:tt)+) => {
        $crate::conformance! { @sizes [$name run (sim poll epoll uring)] $($rest)+ }
    };
}
