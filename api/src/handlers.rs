//! Callbacks: how they are kept, called, and what becomes of their errors and panics.
//!
//! Invariant: a callback is taken out by a counted clone before it runs, so that it may replace
//! itself; an error or panic in it ends nothing but that one call.

use std::{
    any::Any,
    cell::RefCell,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use netproc_core::{
    event::{Event, Input, LogEntry, Packet},
    machine::Phase,
    output::{Buffer, Marker},
    plist::Value,
    table::ProcessId,
    timer::TimerId,
};

use crate::{
    child::Leash,
    output::{DEFAULT_FILTER, DEFAULT_SENTINEL, default_filter, default_sentinel},
    process::Process,
    resolve::Asked,
};

pub(crate) type BoxError = Box<dyn Error>;

/// What a callback may return: nothing, or a `Result` whose error is reported.
///
/// An error from a filter or sentinel goes to the hook of
/// [`Runtime::on_callback_error`](crate::Runtime::on_callback_error); the process goes on.
pub trait Outcome {
    /// The error, if there was one.
    fn into_error(self) -> Option<BoxError>;
}

impl Outcome for () {
    fn into_error(self) -> Option<BoxError> {
        None
    }
}

impl<T, E: Into<BoxError>> Outcome for Result<T, E> {
    fn into_error(self) -> Option<BoxError> {
        self.err().map(Into::into)
    }
}

pub(crate) type SharedFilter = Rc<dyn Fn(&Process, Input) -> Option<BoxError>>;
pub(crate) type OwnFilter = Rc<RefCell<dyn FnMut(&Process, Input) -> Option<BoxError>>>;
pub(crate) type BatchFilter = Rc<dyn Fn(&Process, Packets<'_>) -> Option<BoxError>>;
pub(crate) type Sentinel = Rc<dyn Fn(&Process, &Event) -> Option<BoxError>>;
pub(crate) type Log = Rc<dyn Fn(&Process, Option<&Process>, &LogEntry) -> Option<BoxError>>;
pub(crate) type OnAccept = Rc<dyn Fn(&Process, &Process) -> Option<BoxError>>;

/// What becomes of input.
#[derive(Clone, Default)]
pub(crate) enum Filter {
    /// No filter: input goes to whoever pulls events.
    #[default]
    None,
    /// Shared with other processes and entered again by nested waits.
    Shared(SharedFilter),
    /// With state of its own: input waits while it runs.
    Own(OwnFilter),
    /// Takes packets as many at a time as have come.
    Batch(BatchFilter),
}

impl Filter {
    /// Whether somebody else holds it too, as whoever runs it does.
    pub(crate) fn is_shared(&self) -> bool {
        let holders = match self {
            Self::None => 0,
            Self::Shared(filter) => Rc::strong_count(filter),
            Self::Own(filter) => Rc::strong_count(filter),
            Self::Batch(filter) => Rc::strong_count(filter),
        };
        holders > 1
    }
}

/// Packets that came together, oldest first; never none. What is left of them when a filter returns is
/// dropped.
///
/// # Examples
///
/// See [`ServerBuilder::batch_filter`](crate::ServerBuilder::batch_filter).
#[derive(Debug)]
pub struct Packets<'a>(pub(crate) std::vec::Drain<'a, Packet>);

impl Packets<'_> {
    /// Those that were not taken yet.
    #[must_use]
    pub fn as_slice(&self) -> &[Packet] {
        self.0.as_slice()
    }
}

impl Iterator for Packets<'_> {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Packets<'_> {}

/// The callbacks of one process; a connection starts with its server's. The filter, which every message
/// needs, is beside what else one needs of a process, which is why the order is kept.
#[derive(Clone, Default)]
#[repr(C)]
pub(crate) struct Handlers {
    pub(crate) filter: Filter,
    pub(crate) sentinel: Option<Sentinel>,
    /// What only a server calls.
    serving: Option<Rc<Serving>>,
    /// Where output goes if no filter takes it.
    pub(crate) output: Output,
    /// What the dynamic front shows for the callbacks; nothing for those of Rust.
    shown: Option<Rc<Shown>>,
    /// What few processes have.
    ties: Option<Box<Ties>>,
    /// Whoever ends the program need not be asked about it.
    pub(crate) no_query: bool,
    /// A connection whose sentinel has yet to hear `open from`: they stay until then, even if it ends.
    pub(crate) announcing: bool,
    /// Its child was told that the buffer is gone.
    pub(crate) hung_up: bool,
    /// It is the connection of a stream that is being opened.
    pub(crate) being_opened: bool,
}

/// The callbacks of a server that are not for its connections.
#[derive(Clone, Default)]
pub(crate) struct Serving {
    pub(crate) log: Option<Log>,
    pub(crate) on_accept: Option<OnAccept>,
}

/// What a process holds on to besides its callbacks. An idle connection has none of it.
#[derive(Clone, Default)]
pub(crate) struct Ties {
    /// When its handshake has to be over.
    pub(crate) handshake_limit: Option<TimerId>,
    /// What it waits to hear from the resolver: where its host is.
    pub(crate) asked: Option<Rc<Asked>>,
    /// What holds its child, which is killed when this goes before it has ended.
    pub(crate) leash: Option<Rc<Leash>>,
    /// The process of its child's errors, if they have one.
    pub(crate) errors: Option<ProcessId>,
}

/// The buffer of a process, and where in it the next output goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub(crate) buffer: Option<Buffer>,
    pub(crate) mark: Option<Marker>,
    /// The buffer was dead when it was given, so that its end is no news.
    pub(crate) given_dead: bool,
}

impl Output {
    /// Output goes to the end of `buffer` from now on.
    pub(crate) fn new(buffer: Option<Buffer>) -> Self {
        let mark = buffer.as_ref().map(|buffer| buffer.marker(buffer.point_max()));
        let given_dead = buffer.as_ref().is_some_and(|buffer| !buffer.is_live());
        Self { buffer, mark, given_dead }
    }

    /// The same for a process that has a mark already, which stays the one it has; where it is, if the buffer is the
    /// same or there is none now.
    pub(crate) fn set_buffer(&mut self, buffer: Option<Buffer>) {
        let Some(mark) = self.mark.clone().filter(|_| self.buffer != buffer) else {
            if self.mark.is_none() {
                *self = Self::new(buffer);
            }
            return;
        };
        if let Some(buffer) = &buffer {
            mark.set(buffer, buffer.point_max());
        }
        *self = Self { mark: Some(mark), ..Self::new(buffer) };
    }
}

/// Filter and sentinel as values. They say what a process has even after it has ended, when its
/// callbacks are gone.
#[derive(Clone, Debug, Default)]
struct Shown {
    filter: Value,
    sentinel: Value,
}

impl Handlers {
    /// Fills in the default filter and the default sentinel where none was given.
    pub(crate) fn use_defaults(&mut self) {
        if matches!(self.filter, Filter::None) {
            self.filter = Filter::Shared(default_filter());
            self.show_filter(Value::symbol(DEFAULT_FILTER));
        }
        if self.sentinel.is_none() {
            self.sentinel = Some(default_sentinel());
            self.show_sentinel(Value::symbol(DEFAULT_SENTINEL));
        }
    }

    /// Takes the callbacks out; what else is known of the process stays.
    pub(crate) fn take_callbacks(&mut self) -> Self {
        let mut kept = Self { no_query: self.no_query, ..Self::default() };
        std::mem::swap(&mut kept.output, &mut self.output);
        std::mem::swap(&mut kept.shown, &mut self.shown);
        if let Some(errors) = self.ties().and_then(|ties| ties.errors) {
            kept.ties_mut().errors = Some(errors);
        }
        std::mem::replace(self, kept)
    }

    /// What a server calls, unless others call it too.
    pub(crate) fn take_serving(&mut self) -> Serving {
        self.serving.take().and_then(Rc::into_inner).unwrap_or_default()
    }

    /// What only a server calls.
    pub(crate) fn serving(&self) -> Option<&Serving> {
        self.serving.as_deref()
    }

    pub(crate) fn serving_mut(&mut self) -> &mut Serving {
        Rc::make_mut(self.serving.get_or_insert_default())
    }

    /// What it holds on to, if it ever has.
    pub(crate) fn ties(&self) -> Option<&Ties> {
        self.ties.as_deref()
    }

    /// The same, to take one of them out.
    pub(crate) fn held(&mut self) -> Option<&mut Ties> {
        self.ties.as_deref_mut()
    }

    pub(crate) fn ties_mut(&mut self) -> &mut Ties {
        self.ties.get_or_insert_default()
    }

    /// What is shown for the filter.
    pub(crate) fn shown_filter(&self) -> Value {
        self.shown.as_ref().map_or(Value::Nil, |shown| shown.filter.clone())
    }

    /// Whether that is the default filter, or Emacs's `t`.
    pub(crate) fn shows_default_filter(&self) -> bool {
        let shown = self.shown.as_ref().and_then(|shown| shown.filter.as_symbol());
        matches!(shown, Some("t" | DEFAULT_FILTER))
    }

    /// What is shown for the sentinel.
    pub(crate) fn shown_sentinel(&self) -> Value {
        self.shown.as_ref().map_or(Value::Nil, |shown| shown.sentinel.clone())
    }

    /// Shows `value` for the filter, and returns what was shown.
    pub(crate) fn show_filter(&mut self, value: Value) -> Value {
        self.show(|shown| &mut shown.filter, value)
    }

    /// Shows `value` for the sentinel, and returns what was shown.
    pub(crate) fn show_sentinel(&mut self, value: Value) -> Value {
        self.show(|shown| &mut shown.sentinel, value)
    }

    fn show(&mut self, which: impl FnOnce(&mut Shown) -> &mut Value, value: Value) -> Value {
        if self.shown.is_none() && value == Value::Nil {
            return value;
        }
        let shown = Rc::make_mut(self.shown.get_or_insert_default());
        std::mem::replace(which(shown), value)
    }

    /// Whether callbacks take what comes to a process in `phase`. Otherwise it waits for whoever pulls
    /// events. A connection inherits its server's log as well, but only the server's own is called; its sentinel
    /// hears where it comes from.
    pub(crate) fn take_input(&self, phase: Phase) -> bool {
        let filter = !matches!(self.filter, Filter::None);
        let serves = || self.serving.is_some() || self.sentinel.is_some();
        filter || matches!(phase, Phase::Listen) && serves()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = match self.filter {
            Filter::None => "none",
            Filter::Shared(_) => "shared",
            Filter::Own(_) => "own",
            Filter::Batch(_) => "batch",
        };
        f.debug_struct("Handlers")
            .field("filter", &filter)
            .field("sentinel", &self.sentinel.is_some())
            .field("log", &self.serving().is_some_and(|serving| serving.log.is_some()))
            .finish_non_exhaustive()
    }
}

/// Which callback it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CallbackKind {
    /// Input.
    Filter,
    /// Events.
    Sentinel,
    /// A server's log or its `on_accept`.
    Log,
    /// A timer's.
    Timer,
    /// One posted from another thread.
    Posted,
    /// None, but what one kept when it was dropped.
    Drop,
}

/// An error or panic of a callback, for the hook that reports them. `Display` begins as Emacs's
/// report does: `error in process filter: `.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallbackError {
    /// Which callback.
    pub kind: CallbackKind,
    /// The name of its process; empty for timers, posted calls, and what the runtime itself drops.
    pub process: String,
    /// What it returned, or the message of its panic.
    pub error: BoxError,
    /// Whether it panicked.
    pub panicked: bool,
}

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CallbackKind::Filter => "process filter",
            CallbackKind::Sentinel => "process sentinel",
            CallbackKind::Log => "process log",
            CallbackKind::Timer => "timer",
            CallbackKind::Posted => "posted call",
            CallbackKind::Drop => "what a callback kept",
        };
        write!(f, "error in {kind}: {}", self.error)
    }
}

impl Error for CallbackError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

/// Runs a callback; its error or panic comes back as a value, boxed since there hardly ever is one.
#[inline]
pub(crate) fn contained(
    kind: CallbackKind,
    process: Option<&Process>,
    call: impl FnOnce() -> Option<BoxError>,
) -> Option<Box<CallbackError>> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(None) => None,
        Ok(Some(error)) => Some(failure(kind, process, error, false)),
        Err(panic) => Some(failure(kind, process, message(&*panic).into(), true)),
    }
}

#[cold]
fn failure(
    kind: CallbackKind,
    process: Option<&Process>,
    error: BoxError,
    panicked: bool,
) -> Box<CallbackError> {
    let process = process.map(|process| process.name().to_string()).unwrap_or_default();
    Box::new(CallbackError { kind, process, error, panicked })
}

/// The message of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}
