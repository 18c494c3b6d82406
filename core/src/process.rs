//! One process: its phase, flags, contact, plist, handlers, and the events that wait for it.
//!
//! Invariant: `phase` is assigned in `Process::apply` and nowhere else. A process never calls a
//! reactor; the engine does, and lends it out through [`Shared`], one short borrow at a time.

mod child;
mod connecting;
mod serving;
mod text;

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

pub(crate) use self::{
    connecting::{Connecting, Racing},
    serving::Serving,
    text::TextState,
};
use crate::{
    address::Address,
    child::{ChildExit, ChildSignal, ChildState, ProcessType},
    coding::Coding,
    contact::{Contact, Role},
    event::{Failure, Reason},
    eyeballs,
    layer::{Layer, Layers},
    machine::{Event, Phase, Status},
    outbox::Outbox,
    plist::Plist,
    proxy::{HEADER_LEN_MOST, V2_ADDRESSES_LEN_MAX},
    reactor::{self, ConfigError, Kind, SockId, SysError},
    shared_error::SharedError,
    socket::BoundFile,
    table::ProcessId,
};

/// A process as the engine and its handles share it: it outlives its place in the list, so that
/// status, contact and properties can be read after the end.
pub type Shared<H> = Rc<RefCell<Process<H>>>;

/// What becomes of those who connect to a server that has as many connections as it may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Crowded {
    /// They are left in the backlog, connected as far as they can tell, and let in as soon as a
    /// connection ends. Those accepted in the same turn as the last that had a place wait as well,
    /// unread, but in the server's inbox: each of them has a descriptor.
    #[default]
    Leave,
    /// They are accepted and closed at once: each reads an end. One that was accepted elsewhere and is handed
    /// over only when there is room, as among netproc's shards, waits for that instead.
    Close,
}

/// Bounds of one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Once this many bytes wait to be sent, `send` refuses; the one that reaches it is taken whole. Default 1 MiB.
    pub queue_len_max: u64,
    /// Once this many packets or records wait, empty ones included, `send` refuses. Default 4,096.
    pub queue_packets_max: usize,
    /// Once no more than this many bytes wait, and of packets half of those that may, a refused sender hears
    /// `Drained`; at most half of `queue_len_max` counts. Default 256 KiB.
    pub queue_len_low: u64,
    /// Bytes of input kept for a process that cannot take it now, before its socket is no longer read. Default 1 MiB.
    pub inbox_len_max: u64,
    /// How long queued bytes may take to go out after the end. Default 30 s.
    pub flush_within: Duration,
    /// How long a handshake may take: that of an accepted connection, whose PROXY header before it may take as
    /// long; that of a client whose start did not wait; and that of a layer given later. A start that waits, and
    /// the opening of a stream, have limits of their own for all they do, and only those hold. Default 15 s.
    pub handshake_within: Duration,
    /// Bytes of the longest PROXY header of version 2, with everything it may say beside addresses. Default 4,096.
    pub proxy_header_len_max: usize,
    /// Connections of one server that have not ended; what a deleted one still has to send is not
    /// counted. `None`, the default, means no limit, to a builder: as many as there are descriptors for.
    pub connections_max: Option<usize>,
    /// What becomes of those above that.
    pub crowded: Crowded,
    /// A server logs failed accepts, and that it is crowded, this often at most, with a count. Default once a second.
    pub log_every: Duration,
    /// How long a client with several addresses waits for one before it tries the next beside it, 10
    /// milliseconds to 2 seconds. Default 250 ms.
    pub attempt_delay: Duration,
}

impl Limits {
    /// Whether a process can live with these bounds.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first of them that is out of range: a queue or an inbox that can
    /// hold nothing, a server that may not have a connection, a PROXY header too short for addresses, an
    /// `attempt_delay` (in milliseconds) that RFC 8305 forbids.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut limits = netproc_core::process::Limits::default();
    /// assert_eq!(limits.check(), Ok(()));
    /// limits.queue_len_max = 0;
    /// assert_eq!(limits.check().unwrap_err().field, "queue_len_max");
    /// ```
    pub fn check(&self) -> Result<(), ConfigError> {
        let word = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let fields = [
            ("queue_len_max", self.queue_len_max),
            ("queue_packets_max", word(self.queue_packets_max)),
            ("inbox_len_max", self.inbox_len_max),
            ("connections_max", self.connections_max.map_or(u64::MAX, word)),
        ];
        fields
            .into_iter()
            .try_for_each(|(field, value)| ConfigError::check(field, value, 1, u64::MAX))?;
        let (least, most) = (word(V2_ADDRESSES_LEN_MAX), word(HEADER_LEN_MOST));
        ConfigError::check("proxy_header_len_max", word(self.proxy_header_len_max), least, most)?;
        let (min, max) = (eyeballs::ATTEMPT_DELAY_MIN, eyeballs::ATTEMPT_DELAY_MAX);
        let delay = millis(self.attempt_delay);
        ConfigError::check("attempt_delay", delay, millis(min), millis(max))
    }

    /// The low mark that counts: below a small bound, or a refused sender would be called back to
    /// be refused again.
    pub(crate) fn low(&self) -> u64 {
        self.queue_len_low.min(self.queue_len_max / 2)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_len_max: 1 << 20,
            queue_packets_max: 4096,
            queue_len_low: 1 << 18,
            inbox_len_max: 1 << 20,
            flush_within: Duration::from_secs(30),
            handshake_within: Duration::from_secs(15),
            proxy_header_len_max: 4096,
            connections_max: None,
            crowded: Crowded::Leave,
            log_every: Duration::from_secs(1),
            attempt_delay: eyeballs::ATTEMPT_DELAY,
        }
    }
}

/// How a process ended, or did not yet.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// It takes part.
    Alive,
    /// Its connect failed.
    Failed(Failure),
    /// Its connection ended.
    Broken(Reason),
    /// It was deleted.
    Deleted,
    /// Its child ended; a deleted child was killed. The pipe of a child's errors ends as if with code 0.
    Child(ChildExit),
}

impl Exit {
    /// The number Emacs's `process-exit-status` gives: 0 while alive and after deletion, 256 after
    /// a broken connection, the errno after a failed connect, the code or the signal of a child; -1 where
    /// Emacs shows words instead.
    #[must_use]
    pub fn status(&self) -> i32 {
        match self {
            Self::Alive | Self::Deleted => 0,
            Self::Broken(_) => 256,
            Self::Failed(failure) => failure.errno().unwrap_or(-1),
            Self::Child(exit) => exit.status(),
        }
    }
}

/// One process with the handlers `H` of the layer above.
///
/// In the order of declaration, with what every message needs at the top: of a process that was idle for a
/// while each cache line is a trip to memory, and so there are two or three of them.
#[derive(Debug)]
#[repr(C)]
pub struct Process<H> {
    /// The user has stopped it.
    pub(crate) stopped: bool,
    /// The user wants no input read (Emacs's filter `t`). A server accepts all the same, and hands
    /// it down to its connections.
    pub(crate) deaf: bool,
    /// A handler that cannot be entered twice is running.
    pub(crate) busy: bool,
    /// Its filter has filled the queue: input waits until the queue is low again. Or it is a server
    /// with as many connections as it may have: others wait until one ends.
    pub(crate) holding: bool,
    /// It has a trouble to hear of.
    pub(crate) troubled: bool,
    /// It has to hear that its queue has drained.
    pub(crate) drained: bool,
    /// Its sending direction was ended by its user.
    pub(crate) finished: bool,
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    /// It stands in the engine's list of processes with something to deliver.
    pub(crate) ready: bool,
    pub(crate) sock: Option<SockId>,
    /// How many of its filters are running.
    pub(crate) filtering: u32,
    /// What lies between it and its wire, once it is connected.
    pub(crate) layer: Option<Box<LayerState>>,
    /// How its bytes are text, if they are.
    pub(crate) coding: Option<Box<TextState>>,
    /// What a connecting client still needs; gone once it is open.
    pub(crate) connecting: Option<Box<Connecting>>,
    /// Bytes in `inbox`, with something for each event so that empty packets count too.
    pub(crate) inbox_len: u64,
    /// How often it was given input; for a server, how many connections it was given.
    pub(crate) served: u64,
    /// What waited to be sent after the last `send`; what waits now is no more.
    pub(crate) queued: u64,
    /// Of one server's connections the same.
    pub(crate) limits: Rc<Limits>,
    /// Filter, sentinel and log, as the layer above has them; a connection gets a clone of its
    /// server's.
    pub handlers: H,

    pub(crate) id: ProcessId,
    pub(crate) name: Rc<str>,
    pub(crate) exit: Exit,
    pub(crate) contact: Contact,
    /// What the user hangs on it.
    pub plist: Plist,
    /// Events that could not be delivered when they came, in order.
    pub(crate) inbox: VecDeque<reactor::Event>,
    /// Makes the layer of each connection.
    pub(crate) layers: Option<Rc<dyn Layers>>,
    /// Why its layer gave up, or could not be made.
    pub(crate) layer_failed: Option<SharedError>,
    /// The file it is bound to, if that shall go with it.
    pub(crate) file: Option<Box<BoundFile>>,
    /// What a server keeps count of, once it has had to.
    pub(crate) serving: Option<Box<Serving>>,
    /// What only a child's process has.
    pub(crate) child: Option<Box<ChildState>>,
    /// Bytes accepted by `send` that the system did not have when it ended; before, those that came behind the end of
    /// its socket, which it has yet to be told.
    pub(crate) unsent: u64,
    /// The server that counts this connection, until it ends.
    pub(crate) counted_by: Option<ProcessId>,
    /// What the system said of a packet that one of its senders waits for.
    pub(crate) trouble: Option<SysError>,
    /// How many senders wait until nothing is queued any more.
    pub(crate) flushing: u32,
    /// Seconds of the `:linger` option, if it was given.
    pub(crate) linger: Option<u16>,
    /// What it stands for.
    pub(crate) process_type: ProcessType,
    /// It stays open after the peer's end.
    pub(crate) half_open: bool,
    /// A blocking start waits for it: neither `open` nor `failed` is announced.
    pub(crate) unannounced: bool,
    /// The peer's end was seen.
    pub(crate) peer_finished: bool,
    /// A `send` was refused: `Drained` is owed.
    pub(crate) refused: bool,
    /// A packet socket that the system has connected to its peer: packets need no address.
    pub(crate) connected: bool,
    /// It was deleted by its user, perhaps after it had ended by itself.
    pub(crate) deleted: bool,
    /// What the reactor was last told about reading.
    pub(crate) reading: bool,
}

impl<H> Process<H> {
    #[inline(always)]
    pub(crate) fn new(id: ProcessId, name: Rc<str>, birth: Birth<H>) -> Self {
        Self {
            id,
            name,
            kind: birth.kind,
            phase: birth.phase,
            exit: Exit::Alive,
            sock: birth.sock,
            contact: birth.contact,
            limits: birth.limits,
            plist: birth.plist,
            handlers: birth.handlers,
            linger: None,
            coding: birth.coding.map(TextState::boxed),
            file: None,
            layer: None,
            layer_failed: None,
            layers: birth.layers,
            connecting: None,
            serving: None,
            counted_by: None,
            process_type: ProcessType::Network,
            child: None,
            stopped: birth.stopped,
            deaf: false,
            half_open: birth.half_open,
            unannounced: false,
            finished: false,
            peer_finished: false,
            busy: false,
            holding: false,
            troubled: false,
            drained: false,
            refused: false,
            connected: false,
            queued: 0,
            served: 0,
            filtering: 0,
            unsent: 0,
            deleted: false,
            flushing: 0,
            trouble: None,
            reading: !birth.stopped,
            inbox: VecDeque::new(),
            inbox_len: 0,
            ready: false,
        }
    }

    /// Lets `event` happen; the one place that assigns the phase. Returns whether it was legal.
    pub(crate) fn apply(&mut self, event: Event) -> bool {
        let next = self.phase.next(event);
        if let Some(phase) = next {
            self.phase = phase;
        }
        next.is_some()
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ProcessId {
        self.id
    }

    /// Its unique name.
    #[must_use]
    pub fn name(&self) -> Rc<str> {
        Rc::clone(&self.name)
    }

    /// Stream, packets or records.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What users see of the phase.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.phase.status(self.stopped)
    }

    /// How it ended.
    #[must_use]
    pub const fn exit(&self) -> &Exit {
        &self.exit
    }

    /// The number Emacs's `process-exit-status` gives: that of [`exit`](Self::exit), but 0 once it was
    /// deleted, whatever had ended it before; of a stopped child, the signal.
    #[must_use]
    pub fn exit_status(&self) -> i32 {
        match &self.child {
            Some(child) => child.stopped_by.map_or_else(|| self.exit.status(), ChildSignal::number),
            None if self.deleted => 0,
            None => self.exit.status(),
        }
    }

    /// Its contact as of the last event delivered.
    #[must_use]
    pub const fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Whether it is a client that waits for its connection, stopped or not.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connect)
    }

    /// Whether it is a client that is still looked up: it has no socket yet.
    #[must_use]
    pub fn is_looking_up(&self) -> bool {
        self.connecting.as_ref().is_some_and(|connecting| connecting.looking_up)
    }

    /// Whether input, or for a server a connection, waits for whoever pulls events.
    #[must_use]
    pub fn has_input_waiting(&self) -> bool {
        self.inbox.front().is_some_and(|event| event.is_input() && self.admits_next(event))
    }

    /// Whether nothing more will come, what waits in its inbox included.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let end = |event: &reactor::Event| match self.child {
            // Its output may end before it does.
            Some(_) => matches!(event, reactor::Event::Closed { .. }) && self.child_has_ended(),
            None => matches!(event, reactor::Event::Eof { .. } | reactor::Event::Closed { .. }),
        };
        !matches!(self.exit, Exit::Alive)
            || self.inbox.front().is_some_and(|event| end(event) && self.admits_next(event))
    }

    /// Bytes accepted by `send` that wait for its connection, or for its handshake.
    pub(crate) fn early_len(&self) -> u64 {
        self.connecting.as_ref().map_or(0, |connecting| connecting.early_len)
    }

    /// Bytes accepted by `send` that its socket was not given, or too late.
    pub(crate) fn kept_len(&self) -> u64 {
        self.early_len().saturating_add(self.layer_waiting()).saturating_add(self.unsent)
    }

    /// How its connection ended and how many bytes were not sent, if that waits to be delivered.
    pub(crate) fn end_in_store(&self) -> Option<(Reason, u64)> {
        self.inbox.iter().find_map(|event| {
            let reactor::Event::Closed { cause, unsent, .. } = event else { return None };
            let unsent = self.without_notice(*unsent);
            Some((self.end_reason(*cause, unsent), unsent))
        })
    }

    /// How many of the last bytes that the reactor was given, `unsent`, the process has sent.
    pub(crate) fn without_notice(&self, unsent: u64) -> u64 {
        unsent.saturating_sub(self.layer.as_ref().map_or(0, |state| state.notice_len))
    }

    /// Why it ends, where the system says this of its socket: its layer, if it has one, may know better.
    pub(crate) fn end_reason(&self, cause: Option<SysError>, unsent: u64) -> Reason {
        let layer = self.layer.as_deref();
        if self.layer_failed.is_some() {
            return Reason::Corrupt;
        }
        if layer.is_some_and(|state| state.truncated) {
            return Reason::Truncated;
        }
        // A peer that closes behind its notice answers ours with a reset.
        let settled = unsent == 0 && layer.is_some_and(|state| state.settled);
        let cause = cause.filter(|_| !settled);
        cause.map_or(Reason::End, Reason::Sys)
    }

    /// Bytes accepted by `send` that the system did not have when it ended; 0 before.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        if matches!(self.exit, Exit::Alive) { 0 } else { self.unsent }
    }

    /// Its contact, to show another value for a key.
    pub const fn contact_mut(&mut self) -> &mut Contact {
        &mut self.contact
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.limits
    }

    /// Whether the user has stopped it.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether its input is turned off without a stop.
    #[must_use]
    pub const fn is_ignoring_input(&self) -> bool {
        self.deaf
    }

    /// Its coding as known by now: a read may have decided what its name left open.
    #[must_use]
    pub fn coding(&self) -> Option<Coding> {
        self.coding.as_deref().map(TextState::known)
    }

    /// How often it was given input; for a server, how many connections it was given.
    #[must_use]
    pub const fn served(&self) -> u64 {
        self.served
    }

    /// Whether its sending direction was ended by its user.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished && !self.child.as_ref().is_some_and(|child| child.unread)
    }

    /// Whom a packet process talks to, as long as it does.
    #[must_use]
    pub fn peer(&self) -> Option<&Address> {
        let talks = self.kind == Kind::Datagram && self.phase == Phase::Open;
        self.contact.remote().filter(|_| talks)
    }

    /// Whether its input is turned off. A server accepts all the same and hands the flag down.
    const fn is_deaf(&self) -> bool {
        self.deaf && !matches!(self.phase, Phase::Listen)
    }

    /// Whether its user takes input now.
    pub(crate) const fn takes_input(&self) -> bool {
        !(self.stopped || self.is_deaf() || self.busy || self.holding)
    }

    /// Whether bytes off the wire may be delivered now, and as they are: it is open, nothing waits
    /// before them, no layer and no coding makes something else of them.
    #[inline]
    pub(crate) fn takes_bytes(&self) -> bool {
        // One branch for the flags instead of four.
        let held = self.stopped | self.deaf | self.busy | self.holding;
        let plain = self.layer.is_none() && self.coding.is_none();
        !held && plain && matches!(self.phase, Phase::Open) && self.inbox_len == 0
    }

    /// Its socket, if it is an open stream and what it sends goes there as it is.
    #[inline]
    pub(crate) fn plain_sock(&self) -> Option<SockId> {
        let plain = self.layer.is_none() && self.connecting.is_none() && !self.finished;
        let stream = matches!((self.kind, self.phase), (Kind::Stream, Phase::Open));
        self.sock.filter(|_| plain && stream)
    }

    /// A filter of it begins: what is sent meanwhile answers input.
    #[inline]
    pub const fn filter_begins(&mut self) {
        self.filtering += 1;
    }

    /// That filter has returned.
    #[inline]
    pub const fn filter_ends(&mut self) {
        self.filtering -= 1;
    }

    /// Whether a filter of it runs.
    #[must_use]
    pub const fn is_filtering(&self) -> bool {
        self.filtering > 0
    }

    /// The layer between it and its wire, once it is connected.
    #[must_use]
    pub fn layer(&self) -> Option<&dyn Layer> {
        self.layer.as_ref().map(|state| &*state.layer)
    }

    /// Why its layer gave up, or could not be made.
    #[must_use]
    pub const fn layer_error(&self) -> Option<&SharedError> {
        self.layer_failed.as_ref()
    }

    /// Bytes accepted by `send` that wait for its layer.
    pub(crate) fn layer_waiting(&self) -> u64 {
        self.layer.as_ref().map_or(0, |state| state.waiting.bytes())
    }

    /// Whether it is to have a layer and has none yet.
    pub(crate) fn awaits_layer(&self) -> bool {
        self.layers.is_some() && self.layer.is_none()
    }

    /// Whether a start waits for it to be connected; `false` of a client whose start did not wait.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.unannounced
    }

    /// Sets whether it goes on when its peer has ended its side.
    pub const fn set_half_open(&mut self, half_open: bool) {
        self.half_open = half_open;
    }

    /// Whether an open connection waits for the layer it was given: so does what it sends.
    #[must_use]
    pub const fn is_upgrading(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.connecting.is_some()
    }

    /// The same, as long as its end has not come.
    #[must_use]
    pub fn may_be_upgraded(&self) -> bool {
        self.is_upgrading() && self.end_in_store().is_none()
    }

    /// Whether the handshake of its layer is under way, which nothing stops.
    #[must_use]
    pub fn is_shaking(&self) -> bool {
        self.layer.as_ref().is_some_and(|state| !state.established)
    }

    /// Whether its socket should be read: what waits in its inbox is bounded.
    pub(crate) fn wants_reading(&self) -> bool {
        if self.is_shaking() {
            return true;
        }
        let room = self.inbox_len < self.limits.inbox_len_max;
        // Those who wait to be born have a descriptor each, and are to have a place. Where there is none to wait
        // for they are ended as they come.
        let place = self.limits.crowded == Crowded::Close || self.has_place();
        !(self.stopped || self.is_deaf() || self.holding) && room && place
    }

    /// Whether `event` may be delivered now, in order and with its user's consent.
    pub(crate) fn admits(&self, event: &reactor::Event) -> bool {
        self.inbox.is_empty() && self.admits_next(event)
    }

    /// The same for the first event of its inbox.
    pub(crate) const fn admits_next(&self, event: &reactor::Event) -> bool {
        // A stop lies over input and its end only; connecting goes on under it, and that of an upgrade under a filter
        // that waits for it. A child's end is told even to who takes no input, and must not wait behind that of its output.
        let connecting = matches!(event, reactor::Event::Connected { .. })
            || matches!(event, reactor::Event::Closed { .. })
                && matches!(self.phase, Phase::Connect)
            || matches!(event, reactor::Event::Closed { .. } | reactor::Event::Eof { .. })
                && self.child.is_some();
        if connecting { !self.busy || self.is_upgrading() } else { self.takes_input() }
    }

    pub(crate) fn is_server(&self) -> bool {
        self.contact.role() == Role::Server
    }
}

/// The layer of a process, and how far it is.
#[derive(Debug)]
pub(crate) struct LayerState {
    pub(crate) layer: Box<dyn Layer>,
    /// What was sent and has yet to cross the layer, as long as enough waits for the wire.
    pub(crate) waiting: Outbox,
    /// The process has been told that the handshake is done, or is about to be.
    pub(crate) established: bool,
    /// The peer's closing notice was seen.
    pub(crate) finished: bool,
    /// It was, with nothing of the process left to send: only the layer's own notice goes out behind
    /// it, and whether the peer still takes that is of no interest.
    pub(crate) settled: bool,
    /// How long that notice is, once it is queued: the last bytes, and none of the process.
    pub(crate) notice_len: u64,
    /// The wire ended without a closing notice.
    pub(crate) truncated: bool,
}

impl LayerState {
    pub(crate) fn new(layer: Box<dyn Layer>) -> Self {
        let established = layer.is_established();
        let waiting = Outbox::default();
        let (finished, settled, truncated) = (false, false, false);
        Self { layer, waiting, established, finished, settled, notice_len: 0, truncated }
    }
}

/// What the engine knows when it makes a process.
#[derive(Debug)]
pub(crate) struct Birth<H> {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    /// None while it is looked up where to connect to.
    pub(crate) sock: Option<SockId>,
    pub(crate) contact: Contact,
    pub(crate) limits: Rc<Limits>,
    pub(crate) plist: Plist,
    pub(crate) handlers: H,
    pub(crate) coding: Option<Coding>,
    pub(crate) layers: Option<Rc<dyn Layers>>,
    pub(crate) stopped: bool,
    pub(crate) half_open: bool,
}
