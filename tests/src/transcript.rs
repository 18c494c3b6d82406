//! Transcripts: scenarios of network processes that a real Emacs has run, run again on netproc.
//!
//! `tests/golden/emacs/` has each scenario as the Lisp program Emacs ran and the transcript it printed.
//! [`scenario!`](crate::scenario!) makes tests of the same name that do the same through the dynamic
//! front, [`netproc::emacs`], and must print the same text. The methods of [`Tr`] are the functions
//! of `prelude.el`, under their names. Invariant: what differs between two runs, ports and the scratch
//! folder, is replaced as there; nothing else is.

mod print;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{
    Buffer, Process, Runtime, Value,
    emacs::{Answer, Emacs, Function, Signal},
};
use netproc_core::reactor::Reactor as _;

use crate::{
    child::die_of,
    rig::{Outcome, Subject},
    watch::watched,
};

/// What a log has of one callback: its kind and its text.
#[derive(Clone, Debug)]
struct Entry {
    kind: String,
    text: Value,
}

#[derive(Debug)]
struct State {
    emacs: Emacs,
    begin: Instant,
    folder: tempfile::TempDir,
    out: RefCell<String>,
    ports: RefCell<Vec<u64>>,
    logs: RefCell<Vec<(String, Vec<Entry>)>>,
}

/// A transcript under way. Clones write the same one.
#[derive(Clone, Debug)]
pub struct Tr(Rc<State>);

/// The symbol or keyword of that name.
#[must_use]
pub fn sym(name: &str) -> Value {
    Value::symbol(name)
}

/// What Lisp reads from `text`.
///
/// # Panics
///
/// Panics when it cannot be read.
#[must_use]
#[track_caller]
pub fn q(text: &str) -> Value {
    text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
}

/// A unibyte string.
#[must_use]
pub fn bytes(bytes: &[u8]) -> Value {
    bytes.into()
}

/// A number of things.
///
/// # Panics
///
/// Panics when there are more than an integer holds.
#[must_use]
pub fn number(things: usize) -> Value {
    i64::try_from(things).expect("they are few").into()
}

/// The processes of a list, for the tests that look at each.
#[must_use]
pub fn processes(list: &Value) -> Vec<Value> {
    list.items().unwrap_or_default().to_vec()
}

impl Tr {
    fn new(rt: &Runtime) -> Self {
        Self(Rc::new(State {
            emacs: Emacs::new(rt),
            begin: Instant::now(),
            folder: tempfile::tempdir().expect("a scratch folder can be made"),
            out: RefCell::default(),
            ports: RefCell::default(),
            logs: RefCell::default(),
        }))
    }

    /// The front.
    #[must_use]
    pub fn emacs(&self) -> &Emacs {
        &self.0.emacs
    }

    /// The runtime under it.
    #[must_use]
    pub fn rt(&self) -> &Runtime {
        self.0.emacs.runtime()
    }

    /// Time of the runtime's own clock, which is virtual in a simulation.
    fn time(&self) -> Duration {
        let ticks = self.rt().with_simulation(|reactor| reactor.now());
        let real = self.0.begin.elapsed();
        ticks.map_or(real, |tick| tick.since(netproc_core::reactor::Tick(0)))
    }

    /// The same in seconds.
    fn seconds(&self) -> f64 {
        self.time().as_secs_f64()
    }

    /// Name of a file in the scratch folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.folder())
    }

    fn folder(&self) -> String {
        format!("{}/", self.0.folder.path().display())
    }

    /// Calls a function that must not signal.
    ///
    /// # Panics
    ///
    /// Panics when it does.
    #[track_caller]
    pub fn f(&self, name: &str, args: &[Value]) -> Value {
        match self.0.emacs.call(name, args) {
            Ok(value) => value,
            Err(signal) => panic!("{name}: {signal}\n{}", self.0.out.borrow()),
        }
    }

    /// Calls a function.
    ///
    /// # Errors
    ///
    /// What it signals.
    pub fn call(&self, name: &str, args: &[Value]) -> Answer {
        self.0.emacs.call(name, args)
    }

    /// Calls a function of one argument that must not signal.
    #[track_caller]
    pub fn of(&self, name: &str, argument: &Value) -> Value {
        self.f(name, std::slice::from_ref(argument))
    }

    /// Whether that answers with anything but `nil`.
    #[must_use]
    #[track_caller]
    pub fn is(&self, name: &str, argument: &Value) -> bool {
        self.of(name, argument).is_true()
    }

    /// `process-contact` with a keyword, or with `t`.
    #[must_use]
    #[track_caller]
    pub fn contact(&self, process: &Value, key: impl Into<Value>) -> Value {
        self.f("process-contact", &[process.clone(), key.into()])
    }

    /// Whether `process-status` answers with that symbol.
    #[must_use]
    #[track_caller]
    pub fn has_status(&self, process: &Value, status: &str) -> bool {
        self.of("process-status", process) == sym(status)
    }

    /// `process-send-string`.
    #[track_caller]
    pub fn send(&self, process: &Value, text: &str) {
        self.f("process-send-string", &[process.clone(), text.into()]);
    }

    /// `tr`: prints one line.
    pub fn line(&self, line: &str) {
        let line = self.norm(line);
        let mut out = self.0.out.borrow_mut();
        out.push_str(&line);
        out.push('\n');
    }

    /// `tr-v`: prints a label and a value.
    pub fn v(&self, label: &str, value: impl Into<Value>) {
        self.line(&format!("{label} = {}", print::value(&value.into())));
    }

    /// `tr-try`: prints a label and what `body` returns or signals; returns the value, or `nil`.
    pub fn attempt(&self, label: &str, body: impl FnOnce() -> Answer) -> Value {
        match body() {
            Ok(value) => {
                self.line(&format!("{label} => {}", print::value(&value)));
                value
            }
            Err(signal) => {
                self.line(&format!("{label} !! {}", print::signal(&signal)));
                Value::Nil
            }
        }
    }

    /// `tr-try` of one call.
    pub fn call_try(&self, label: &str, name: &str, args: &[Value]) -> Value {
        self.attempt(label, || self.call(name, args))
    }

    /// `tr-state`: what the status functions say of a process.
    #[track_caller]
    pub fn state(&self, label: &str, process: &Value) {
        let one = std::slice::from_ref(process);
        let status = self.f("process-status", one);
        let exit = match status.as_symbol() {
            Some("connect") => "-".into(),
            _ => print::value(&self.f("process-exit-status", one)),
        };
        let flag = |on: bool| if on { "t" } else { "nil" };
        let live = flag(self.f("process-live-p", one).is_true());
        let listed = flag(processes(&self.f("process-list", &[])).contains(process));
        let status = print::value(&status);
        self.line(&format!("{label}: status={status} exit={exit} live={live} listed={listed}"));
    }

    /// `accept-process-output` without a process, for so many seconds.
    fn accept(&self, seconds: f64) {
        self.f("accept-process-output", &[Value::Nil, seconds.into()]);
    }

    /// `tr-until`: lets events run until `done`, five seconds at most.
    pub fn until(&self, done: impl Fn() -> bool) {
        let end = self.seconds() + 5.0;
        while !done() {
            if self.seconds() >= end {
                self.line("TIMEOUT");
                return;
            }
            self.accept(0.01);
        }
    }

    /// `tr-settle`: lets events run for a while.
    pub fn settle(&self) {
        self.settle_for(0.15);
    }

    /// The same for so many seconds.
    pub fn settle_for(&self, seconds: f64) {
        let end = self.seconds() + seconds;
        let mut count = 0;
        while count < 15 || self.seconds() < end {
            count += 1;
            self.accept(0.01);
        }
    }

    /// `tr-timed`: `in-time` if `body` took at least `low` and less than `high` seconds, and its value.
    pub fn timed(&self, low: f64, high: f64, body: impl FnOnce() -> Value) -> Value {
        // A difference of whole nanoseconds: virtual time is exactly what was asked for.
        let begin = self.time();
        let value = body();
        let took = (self.time() - begin).as_secs_f64();
        let in_time = (low..high).contains(&took);
        let word = if in_time { sym("in-time") } else { sym(&format!("took-{took:.3}s")) };
        Value::list([word, value])
    }

    /// `tr-note`: appends to the log of `key`; data that follow data are joined.
    pub fn note(&self, key: &str, kind: &str, text: impl Into<Value>) {
        let text = text.into();
        let mut logs = self.0.logs.borrow_mut();
        let at = logs.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            logs.push((key.into(), Vec::new()));
            logs.len() - 1
        });
        let log = &mut logs[at].1;
        match log.last_mut() {
            Some(last) if kind == "data" && last.kind == "data" => {
                last.text = print::joined(&last.text, &text);
            }
            _ => log.push(Entry { kind: kind.into(), text }),
        }
    }

    /// A function of the transcript's own: a closure that is given its arguments.
    pub fn function(&self, body: impl Fn(&Self, &[Value]) -> Answer + 'static) -> Function {
        // Weak, or the front would keep the transcript that keeps the front.
        let state = Rc::downgrade(&self.0);
        Function::new(move |args| match state.upgrade() {
            Some(state) => body(&Self(state), args),
            None => Ok(Value::Nil),
        })
    }

    fn kept(&self, function: Function) -> Value {
        function.into()
    }

    /// `tr-filter`: logs stream data under `key`.
    #[must_use]
    pub fn filter(&self, key: &str) -> Value {
        self.input_logger(key, "data")
    }

    /// `tr-packet-filter`: logs every call under `key`.
    #[must_use]
    pub fn packet_filter(&self, key: &str) -> Value {
        self.input_logger(key, "packet")
    }

    fn input_logger(&self, key: &str, kind: &'static str) -> Value {
        let key = key.to_owned();
        self.kept(self.function(move |t, args| {
            t.note(&key, kind, args[1].clone());
            Ok(Value::Nil)
        }))
    }

    /// `tr-sentinel`: logs the event and the status it sees under `key`.
    #[must_use]
    pub fn sentinel(&self, key: &str) -> Value {
        let key = key.to_owned();
        self.kept(self.function(move |t, args| {
            let status = t.f("process-status", &args[..1]);
            t.note(&key, "event", format!("{} status={status}", print::value(&args[1])));
            Ok(Value::Nil)
        }))
    }

    /// `tr-events`: kinds and texts of the log of `key`.
    #[must_use]
    pub fn events(&self, key: &str) -> Vec<(String, Value)> {
        let logs = self.0.logs.borrow();
        let log = logs.iter().find(|(name, _)| name == key);
        let entries = log.map(|(_, entries)| &entries[..]).unwrap_or_default();
        entries.iter().map(|entry| (entry.kind.clone(), entry.text.clone())).collect()
    }

    /// `tr-count`: how many entries the log of `key` has.
    #[must_use]
    pub fn count(&self, key: &str) -> usize {
        self.events(key).len()
    }

    /// The same for those of one kind.
    #[must_use]
    pub fn count_of(&self, key: &str, kind: &str) -> usize {
        self.events(key).iter().filter(|(own, _)| own == kind).count()
    }

    /// `tr-data`: all input logged under `key`, as one string.
    #[must_use]
    pub fn data(&self, key: &str) -> Value {
        let input = |kind: &str| kind == "data" || kind == "packet";
        let events = self.events(key).into_iter().filter(|(kind, _)| input(kind));
        events.fold(Value::from(""), |all, (_, text)| print::joined(&all, &text))
    }

    /// Whether that is `expected`.
    #[must_use]
    pub fn has_data(&self, key: &str, expected: &str) -> bool {
        self.data(key) == Value::from(expected)
    }

    /// `tr-show`: prints the logs of `keys`.
    pub fn show(&self, keys: &[&str]) {
        for key in keys {
            self.line(&format!("-- {key}"));
            for (kind, text) in self.events(key) {
                let quoted = matches!(&*kind, "data" | "packet" | "log");
                let text = if quoted {
                    print::value(&text)
                } else {
                    text.as_str().unwrap_or_default().to_owned()
                };
                self.line(&format!("   {kind} {text}"));
            }
        }
    }

    /// `tr-forget`: empties all logs.
    pub fn forget(&self) {
        self.0.logs.borrow_mut().clear();
    }

    /// `tr-server`: a stream server on a free port; its connections log under `acc`. `args` come first
    /// and so win.
    #[track_caller]
    pub fn server(&self, name: &str, args: &[Value]) -> Value {
        self.f("make-network-process", &self.server_args(name, args))
    }

    /// The arguments of that.
    #[must_use]
    pub fn server_args(&self, name: &str, args: &[Value]) -> Vec<Value> {
        let rest = crate::lisp![:name name, :server true, :host "127.0.0.1", :family sym("ipv4"),
            :service true, :noquery true, :coding sym("binary"),
            :filter self.filter("acc"), :sentinel self.sentinel("acc")];
        [args, &rest].concat()
    }

    /// `tr-port`: the port of a server.
    ///
    /// # Panics
    ///
    /// Panics when it has none.
    #[must_use]
    pub fn port(&self, server: &Value) -> i64 {
        let local = self.f("process-contact", &[server.clone(), sym(":local")]);
        let local = local.to_address().expect("a server has an address");
        local.port().expect("a port").into()
    }

    /// `tr-client`: a client of a server, logging under `cli`. `args` come first and so win.
    #[track_caller]
    pub fn client(&self, name: &str, server: &Value, args: &[Value]) -> Value {
        self.f("make-network-process", &self.client_args(name, server, args))
    }

    /// The arguments of that.
    #[must_use]
    pub fn client_args(&self, name: &str, server: &Value, args: &[Value]) -> Vec<Value> {
        let rest = crate::lisp![:name name, :host "127.0.0.1", :family sym("ipv4"),
            :service self.port(server), :noquery true, :coding sym("binary"),
            :filter self.filter("cli"), :sentinel self.sentinel("cli")];
        [args, &rest].concat()
    }

    /// `tr-accepted`: the live connections of a server, the oldest first.
    #[must_use]
    pub fn accepted(&self, server: &Value) -> Vec<Value> {
        let name = |process: &Value| process.downcast::<Process>().map(|p| p.name().to_string());
        let prefix = format!("{} <", name(server).unwrap_or_default());
        let mut list = processes(&self.f("process-list", &[]));
        list.retain(|process| name(process).is_some_and(|name| name.starts_with(&prefix)));
        list.reverse();
        list
    }

    /// `tr-accept`: waits until a server has `count` connections and returns the newest.
    ///
    /// # Panics
    ///
    /// Panics when none comes.
    #[track_caller]
    #[must_use]
    pub fn accepted_one(&self, server: &Value, count: usize) -> Value {
        self.until(|| self.accepted(server).len() >= count);
        self.accepted(server).pop().expect("a connection has come")
    }

    /// `tr-text`: the contents of a buffer, given by name or as a value.
    ///
    /// # Panics
    ///
    /// Panics when there is no such buffer.
    #[must_use]
    pub fn text(&self, buffer: &Value) -> Value {
        let found = match (buffer.downcast::<Buffer>(), buffer.as_str()) {
            (Some(buffer), _) => Some(buffer.clone()),
            (None, name) => name.and_then(|name| self.rt().buffers().get(name)),
        };
        Value::text(found.expect("the buffer is there").text())
    }

    fn norm(&self, line: &str) -> String {
        let line = line.replace(&self.folder(), "$TMP/");
        print::with_ports(&line, &mut self.0.ports.borrow_mut())
    }
}

/// A signal as `tr-err` prints it.
#[must_use]
pub fn signal_text(signal: &Signal) -> String {
    print::signal(signal)
}

/// A value as `tr-fmt` prints it.
#[must_use]
pub fn fmt(value: &Value) -> String {
    print::value(value)
}

/// Runs a scenario and compares what it prints with what Emacs printed.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when the transcripts differ.
pub fn run(test: &str, subject: Subject, name: &str, body: fn(&Tr) -> Outcome) -> Outcome {
    let Some(rt) = subject.runtime(netproc::Config::default()) else { return Ok(()) };
    let file = format!("{}/golden/emacs/{name}.out", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&file).unwrap_or_else(|err| panic!("{file}: {err}"));
    watched(test, || {
        die_of(nix::sys::signal::Signal::SIGHUP)?;
        let transcript = Tr::new(&rt);
        body(&transcript)?;
        let printed = transcript.0.out.borrow().clone();
        for process in rt.process_list() {
            process.delete();
        }
        rt.turn(Duration::ZERO)?;
        rt.close();
        assert!(printed == golden, "{}", print::difference(&golden, &printed));
        Ok(())
    })
}

/// Keywords and values, as a call takes them: `lisp![:name "x", :server true]`.
#[macro_export]
macro_rules! lisp {
    ($(: $key:ident $value:expr),* $(,)?) => {
        [$(
            ::netproc::Value::symbol(concat!(":", stringify!($key))),
            ::netproc::Value::from($value),
        )*]
    };
}

/// Makes a module of tests, one on each backend, from the name of a transcript and a body.
///
/// ```text
/// scenario!(server_random_port, |t| { …; Ok(()) });
/// scenario!(on (poll epoll uring): interface_loopback, |t| { …; Ok(()) });
/// ```
#[macro_export]
macro_rules! scenario {
    (on ($($subject:ident)+): $name:ident, |$t:ident| $body:block) => {
        mod $name {
            use super::*;

            fn body($t: &$crate::transcript::Tr) -> $crate::rig::Outcome $body

            $($crate::scenario! { @test $subject $name })+
        }
    };
    (@test sim $name:ident) => { $crate::scenario! { @plain sim Sim $name } };
    (@test poll $name:ident) => { $crate::scenario! { @plain poll Poll $name } };
    (@test epoll $name:ident) => {
        #[cfg(target_os = "linux")]
        $crate::scenario! { @plain epoll Epoll $name }
    };
    (@test uring $name:ident) => {
        #[cfg(target_os = "linux")]
        $crate::scenario! { @plain uring Uring $name }
    };
    (@plain $test:ident $subject:ident $name:ident) => {
        #[test]
        fn $test() -> $crate::rig::Outcome {
            let test = concat!(module_path!(), "::", stringify!($test));
            let name = stringify!($name).replace('_', "-");
            $crate::transcript::run(test, $crate::rig::Subject::$subject, &name, body)
        }
    };
    ($name:ident, |$t:ident| $body:block) => {
        $crate::scenario! { on (sim poll epoll uring): $name, |$t| $body }
    };
}
