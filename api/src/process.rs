//! The public handle on one process.
//!
//! Invariant: a handle keeps no state of its own; everything it answers is the engine's. It outlives
//! the process: status, contact and properties stay readable after the end. What concerns the peer is
//! in `process/peer.rs`.

mod child;
mod peer;

use std::{fmt, rc::Rc};

use netproc_core::{
    address::Address,
    child::ChildSignal,
    coding::{Coding, CodingError, EncodeReport, TextRef},
    contact::Role,
    engine::{Engine, FinishError, SendError, SendTextError, UpgradeError},
    event::{Event, Input},
    layer::Layers,
    machine::{Phase, Status},
    plist::{Plist, Value},
    process::{Exit, Limits, Shared},
    reactor::{CloseHow, Kind, Payload},
    shared_error::SharedError,
    table::ProcessId,
};

use crate::{
    backend::AnyReactor,
    handlers::{BatchFilter, Filter, Handlers, Outcome, Packets, Sentinel, SharedFilter},
    runtime::{Runtime, drop_handlers},
};

/// A process: a server, a client, a connection accepted by a server, a packet socket; or a child, a program of
/// the system.
///
/// Cheap to clone; equal when it is the same process. Dropping a handle ends nothing: the process
/// lives in its runtime until its peer, its owner or [`delete`](Self::delete) ends it.
#[derive(Clone)]
pub struct Process {
    shared: Shared<Handlers>,
    rt: Runtime,
}

/// Why a filter cannot be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A server's filter is inherited by all its connections, so it cannot have state of its own.
    #[error("a server's filter is shared by its connections; set one per connection in on_accept")]
    Server,
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Process {}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#<process {} {}>", self.name(), self.status())
    }
}

impl Process {
    #[inline]
    pub(crate) const fn new(shared: Shared<Handlers>, rt: Runtime) -> Self {
        Self { shared, rt }
    }

    #[inline]
    pub(crate) const fn shared(&self) -> &Shared<Handlers> {
        &self.shared
    }

    /// The runtime it lives in, so that a callback need not keep one.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.rt
    }

    /// Its id, never given to another process of this runtime.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.shared.borrow().id()
    }

    /// Its unique name: as asked for, else with `<1>`, `<2>`, … behind.
    #[must_use]
    pub fn name(&self) -> Rc<str> {
        self.shared.borrow().name()
    }

    /// Stream, packets or records.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.shared.borrow().kind()
    }

    /// Its status as of the last event delivered.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Runtime, Status};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// assert_eq!(server.status(), Status::Listen);
    /// server.stop();
    /// assert_eq!(server.status(), Status::Stop);
    /// server.delete();
    /// assert_eq!(server.status(), Status::Closed);
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-status`).
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.borrow().status()
    }

    /// How it ended, with the reason; `exit().status()` is Emacs's number.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.shared.borrow().exit().clone()
    }

    /// Whether it is stopped, though its status may be that of its end by now.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.borrow().is_stopped() || self.status() == Status::Stop
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.borrow().limits()
    }

    /// A copy of its property list.
    #[must_use]
    pub fn plist(&self) -> Plist {
        self.shared.borrow().plist.clone()
    }

    /// The property `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.shared.borrow().plist.get(key).cloned()
    }

    /// Sets the property `key` and returns the value before.
    ///
    /// A value lives as long as the process that has it. Two that have each other keep each other, and their runtime,
    /// beyond their ends: keep a [`ProcessId`] of the other, or take it out when one ends.
    pub fn put(&self, key: &str, value: impl Into<Value>) -> Option<Value> {
        let value = value.into();
        let old = self.shared.borrow_mut().plist.put(key, value);
        // The old value goes out of the borrow before it is dropped: it may be anything.
        old
    }

    /// Replaces its property list and returns the one before.
    pub fn set_plist(&self, plist: Plist) -> Plist {
        std::mem::replace(&mut self.shared.borrow_mut().plist, plist)
    }

    /// Sends `data` to the peer, after everything sent before.
    ///
    /// Bytes go out unchanged; received ones without a copy, owned ones without one either, as long as the
    /// peer reads. Never blocks and runs no callback: they leave with the next wait. Returns how many bytes wait now.
    /// A stopped process still sends, a connecting one once it is open. On a packet process this is
    /// one packet to [`datagram_address`](Self::datagram_address), even if empty.
    ///
    /// Called from the process's own filter, a queue half full holds back its further input until
    /// the peer has read: an echo of anything to a peer that never reads stays within its limits.
    ///
    /// # Errors
    ///
    /// [`SendError`]: not open, finished, the queue full, no peer. Nothing was queued.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let to = server.contact().local().clone();
    /// let client = rt.client("c").remote(to).start()?;
    /// assert_eq!(client.send("hello")?, 5);
    /// // The one that reaches the bound is taken whole, and the next is not.
    /// client.send(vec![0; 2 << 20])?;
    /// let refused = client.send("more");
    /// assert!(matches!(refused, Err(netproc::SendError::QueueFull { limit: 0x10_0000, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes". Differs: Emacs waits until the system has all;
    /// this queues.
    #[inline]
    pub fn send(&self, data: impl Into<Payload>) -> Result<u64, SendError> {
        self.send_payload(data.into())
    }

    /// What a message costs on its way out, until the kernel gets it, is all in this function.
    fn send_payload(&self, data: Payload) -> Result<u64, SendError> {
        let mut engine = self.rt.engine_mut();
        let (sent, filled) = if let Some(queue) = engine.open_queue(&self.shared) {
            let (queued, filled) = queue.push(data);
            (Ok(queued), filled)
        } else {
            (engine.send(&self.shared, data), false)
        };
        if filled {
            engine.filled(&self.shared);
        }
        drop(engine);
        self.rt.nudge();
        sent
    }

    /// Sends `text` in the encoding of its coding, `utf-8-unix` if it has none.
    ///
    /// Characters the coding cannot express are replaced as Emacs replaces them, and counted in the
    /// report; raw bytes in the text go out as they are. Otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`SendTextError::Send`]; nothing was queued.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let to = server.contact().local().clone();
    /// let client = rt.client("c").remote(to).coding("latin-1-dos").start()?;
    /// let (queued, report) = client.send_text("caf\u{e9} \u{20ac}\n")?;
    /// assert_eq!((queued, report.replaced), (8, 1), "é is a byte, € has none, LF is two");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes" (`process-send-string`).
    pub fn send_text<'a>(
        &self,
        text: impl Into<TextRef<'a>>,
    ) -> Result<(u64, EncodeReport), SendTextError> {
        let sent = self.rt.engine_mut().send_text(&self.shared, text, false);
        self.rt.nudge();
        sent
    }

    /// Sends `text` if its coding can express every character of it.
    ///
    /// # Errors
    ///
    /// [`SendTextError::Encode`] names the first character it cannot; nothing was queued.
    pub fn try_send_text<'a>(&self, text: impl Into<TextRef<'a>>) -> Result<u64, SendTextError> {
        let sent = self.rt.engine_mut().send_text(&self.shared, text, true);
        self.rt.nudge();
        sent.map(|(queued, _)| queued)
    }

    /// What sending `text` would put on the wire. Nothing is sent, but a byte order mark that goes
    /// before the first text counts as written.
    #[must_use]
    pub fn encode<'a>(&self, text: impl Into<TextRef<'a>>) -> Vec<u8> {
        Engine::<AnyReactor, _>::encode(&self.shared, text)
    }

    /// The same for a unibyte string, as Emacs calls it: bytes of which only the line ends are converted.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").coding("utf-8-dos").start()?;
    /// assert_eq!(server.encode("\u{e9}\n"), b"\xc3\xa9\r\n");
    /// assert_eq!(server.encode_bytes(b"\xe9\n"), b"\xe9\r\n");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes".
    #[must_use]
    pub fn encode_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        Engine::<AnyReactor, _>::encode_bytes(&self.shared, bytes)
    }

    /// Its coding, with what reads have decided since it was set; `None` when bytes are bytes.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes" (`process-coding-system`).
    #[must_use]
    pub fn coding(&self) -> Option<Coding> {
        self.shared.borrow().coding()
    }

    /// Sets its coding. Bytes of a character under way count by the old one.
    ///
    /// # Errors
    ///
    /// [`CodingError`]: unknown, or refused by name; the old coding stays.
    pub fn set_coding<C>(&self, coding: C) -> Result<(), CodingError>
    where
        C: TryInto<Coding>,
        C::Error: Into<CodingError>,
    {
        let coding = coding.try_into().map_err(Into::into)?;
        Engine::<AnyReactor, _>::set_coding(&self.shared, coding);
        Ok(())
    }

    /// Sends one packet to `to`, whoever the peer is.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`SendError::NoPeer`] if this is no packet process.
    pub fn send_to(&self, data: impl Into<Payload>, to: &Address) -> Result<u64, SendError> {
        let data = data.into();
        let sent = self.rt.engine_mut().send_to(&self.shared, data, to);
        self.rt.nudge();
        sent
    }

    /// Ends the sending direction behind everything sent; input goes on. On a packet process
    /// nothing happens; twice is once.
    ///
    /// A child finds the end of its standard input. On a terminal it is sent `C-d`, which is the end if it
    /// comes at the beginning of a line; sending goes on there.
    ///
    /// # Errors
    ///
    /// [`FinishError::NotOpen`] for a server and after the end.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes" (`process-send-eof`). Differs: sending
    /// afterwards is an error; Emacs throws those bytes away.
    pub fn send_eof(&self) -> Result<(), FinishError> {
        let finished = self.rt.engine_mut().finish(&self.shared);
        self.rt.nudge();
        finished
    }

    /// Whether [`send_eof`](Self::send_eof) has ended its sending direction.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.borrow().is_finished()
    }

    /// Puts a layer, such as TLS, between this open connection and its wire, as after a STARTTLS command.
    ///
    /// The handshake begins at once, within [`Limits::handshake_within`]; [`Event::Secured`] tells when
    /// it is done, a broken connection that it failed. What is sent meanwhile waits for it, and goes
    /// through it. A coding begins anew, both ways, as it was named: what came in clear decides nothing of
    /// what comes inside.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`]; in particular when more has come in clear than the filter was given, be it half a
    /// character of text. Nothing has changed.
    pub fn upgrade(&self, layers: impl Layers + 'static) -> Result<(), UpgradeError> {
        self.upgrade_by(Rc::new(layers))
    }

    /// Sets whether it goes on when its peer has ended its side, as
    /// [`half_open`](crate::ServerBuilder::half_open) does for all connections of a server: its sentinel hears
    /// [`Event::PeerFinished`] then, and it ends with its own [`send_eof`](Self::send_eof).
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Event, Runtime, Status};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let client = rt.client("c").remote(server.contact().local().clone()).filter(|_, _| {}).start()?;
    /// let second = std::time::Duration::from_secs(1);
    /// let (child, _) = rt.next_event(second)?.ok_or("it was accepted")?;
    /// child.set_half_open(true);
    /// client.send_eof()?;
    /// assert!(matches!(rt.next_event_of(&child, second)?, Some(Event::PeerFinished)));
    /// assert_eq!(child.status(), Status::Open);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// shutdown(2). Emacs has none: the peer's end is the process's. Set to `false` behind that end, it
    /// is for [`send_eof`](Self::send_eof) to end the process all the same.
    pub fn set_half_open(&self, half_open: bool) {
        self.shared.borrow_mut().set_half_open(half_open);
    }

    /// Why its layer gave up, or could not be made.
    #[must_use]
    pub fn layer_error(&self) -> Option<SharedError> {
        self.shared.borrow().layer_error().cloned()
    }

    pub(crate) fn upgrade_by(&self, layers: Rc<dyn Layers>) -> Result<(), UpgradeError> {
        // Until nothing is borrowed: what a refused one drops may ask the runtime.
        let _kept = Rc::clone(&layers);
        let upgraded = self.rt.engine_mut().upgrade(&self.shared, layers);
        self.rt.nudge();
        upgraded
    }

    /// Asks for one [`Event::Drained`] as soon as no more than [`Limits::queue_len_low`] bytes wait,
    /// which may be at once: how a producer keeps pace with its peer before `send` has to refuse. Where sending has ended,
    /// on either side, there is no room to tell of.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::Event;
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("sink").filter(|_, _| {}).start()?;
    /// let to = server.contact().local().clone();
    /// let producer = rt.client("producer").remote(to).start()?;
    /// producer.set_sentinel(|producer, event| {
    ///     assert_eq!(*event, Event::Drained);
    ///     // There is room for much again.
    ///     assert!(producer.send(vec![0; 500_000]).is_ok());
    ///     producer.runtime().shutdown();
    /// });
    /// producer.send(vec![0; 1 << 20])?;
    /// producer.notify_drained();
    /// rt.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn notify_drained(&self) {
        self.rt.engine_mut().notify_drained(&self.shared);
        self.rt.nudge();
    }

    /// Bytes accepted by `send` that the system has not taken yet.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.rt.engine().queued(&self.shared)
    }

    /// Stops input, or accepting: what comes stays with the system until
    /// [`resume`](Self::resume). Sending goes on. No event is sent; twice is once.
    ///
    /// A child is stopped by SIGSTOP, and all of its group; its sentinel hears [`Event::Stopped`] when it
    /// has stopped. What it had written is delivered, what it is sent waits for it.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Signals to Processes" (`stop-process`). Differs: Emacs sends SIGTSTP to a
    /// child, which the system throws away, as the child leads a session of its own and has no job control.
    pub fn stop(&self) {
        if self.signal_child(ChildSignal::STOP) {
            return;
        }
        self.rt.engine_mut().stop(&self.shared);
        self.rt.nudge();
    }

    /// Ends a stop: Emacs's `continue-process`, whose name Rust keeps for itself. A child is sent SIGCONT,
    /// and all of its group.
    pub fn resume(&self) {
        if self.signal_child(ChildSignal::CONT) {
            return;
        }
        self.rt.engine_mut().resume(&self.shared);
        self.rt.nudge();
    }

    /// Deletes it: its status is closed, its name free, and its sentinel hears `deleted` before
    /// this returns; the second time nothing happens. Sentinels that delete nest no deeper than waits
    /// do: further down it hears of it as soon as the innermost has returned.
    ///
    /// Input not yet delivered is thrown away. What is still queued goes out in the background, for
    /// as long as the `linger` option or [`Limits::flush_within`] says. With an empty queue the socket
    /// is closed with the next wait, a server's at once, and as with `close(2)` input that was never read resets the
    /// connection; [`delete_with`](Self::delete_with) can flush all the same. Connections of a server live on.
    ///
    /// A child is killed, and all of its group; its sentinel hears `killed`, its status is `signal`. What it
    /// was sent and had not read is lost, and so is what it wrote and was not delivered.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Deleting Processes".
    pub fn delete(&self) {
        self.delete_as(None);
    }

    /// Deletes it with what is queued treated as `how` says: thrown away, flushed, or the
    /// connection reset. The peer hears of it with the next wait.
    pub fn delete_with(&self, how: CloseHow) {
        self.delete_as(Some(how));
    }

    fn delete_as(&self, how: Option<CloseHow>) {
        let told = self.rt.engine_mut().delete(&self.shared, how);
        if told && self.contact().role() == Role::Server {
            self.rt.let_go();
            if let Some(seat) = self.rt.seat() {
                // Behind its socket, or whoever starts the service anew would find its address in use.
                seat.leave(self.id(), true);
            }
        }
        self.let_child_go();
        self.rt.nudge();
        if told {
            self.rt.tell(self, self.deletion());
        }
    }

    /// Sets the filter: called with each input, again from within itself if it waits.
    pub fn set_filter<O: Outcome>(&self, filter: impl Fn(&Self, Input) -> O + 'static) {
        self.install_filter(Filter::Shared(shared_filter(filter)), false, Value::Nil);
    }

    /// Sets a filter that takes packets as many at a time as have come together, each with its sender,
    /// 256 at most. A record, and what a stream brings, comes by itself.
    ///
    /// [`datagram_address`](Self::datagram_address) is that of the last packet of the batch: answer each
    /// with [`send_to`](Self::send_to). Not in Emacs.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::Cell, net::UdpSocket, rc::Rc, time::Duration};
    /// use netproc::{Packets, Process, Runtime, SendError};
    ///
    /// let rt = Runtime::new()?;
    /// let echo = |process: &Process, packets: Packets<'_>| {
    ///     for packet in packets {
    ///         let Some(from) = packet.from else { continue };
    ///         process.send_to(packet.input, &from)?;
    ///     }
    ///     Ok::<_, SendError>(())
    /// };
    /// let server = rt.server("echo").datagram().batch_filter(echo).start()?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(server.contact().local().socket_addr().expect("an address of IP"))?;
    /// for n in 0..3 {
    ///     peer.send(&[n])?;
    /// }
    /// while rt.turn(Duration::from_millis(100))? {}
    /// let mut echo = [0];
    /// for n in 0..3 {
    ///     peer.recv(&mut echo)?;
    ///     assert_eq!(echo, [n]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_batch_filter<O: Outcome>(&self, filter: impl Fn(&Self, Packets<'_>) -> O + 'static) {
        self.install_filter(Filter::Batch(batch_filter(filter)), false, Value::Nil);
    }

    /// Sets a filter with state of its own: input waits while it runs.
    ///
    /// # Errors
    ///
    /// [`FilterError::Server`] for a server, whose filter all its connections share.
    pub fn set_filter_mut<O: Outcome>(
        &self,
        mut filter: impl FnMut(&Self, Input) -> O + 'static,
    ) -> Result<(), FilterError> {
        // Not by its status, which a stop hides.
        if self.shared.borrow().phase() == Phase::Listen {
            return Err(FilterError::Server);
        }
        let filter = move |process: &Self, input: Input| filter(process, input).into_error();
        let filter = Filter::Own(Rc::new(std::cell::RefCell::new(filter)));
        self.install_filter(filter, false, Value::Nil);
        Ok(())
    }

    /// Takes the filter away: input goes to [`Runtime::next_event`].
    pub fn clear_filter(&self) {
        self.install_filter(Filter::None, false, Value::Nil);
    }

    /// Turns input off without a stop, as Emacs's filter `t` does: nothing is read, the end of the
    /// connection goes unnoticed, the status does not change. Setting a filter turns it on again.
    pub fn ignore_input(&self) {
        self.install_filter(Filter::None, true, Value::Nil);
    }

    /// Whether its input is turned off.
    #[must_use]
    pub fn is_ignoring_input(&self) -> bool {
        self.shared.borrow().is_ignoring_input()
    }

    pub(crate) fn install_filter(&self, filter: Filter, deaf: bool, shown: Value) {
        let mut p = self.shared.borrow_mut();
        let old = std::mem::replace(&mut p.handlers.filter, filter);
        let old_shown = p.handlers.show_filter(shown);
        drop(p);
        self.rt.engine_mut().set_deaf(&self.shared, deaf);
        self.rt.nudge();
        // Dropping a closure may run anything, so it comes last, with nothing borrowed.
        self.rt.drop_filter(self, old);
        self.rt.drop_callbacks(self, old_shown);
        self.drop_if_over();
    }

    /// Sets the sentinel: called with each event that is no input.
    pub fn set_sentinel<O: Outcome>(&self, sentinel: impl Fn(&Self, &Event) -> O + 'static) {
        let sentinel =
            Rc::new(move |process: &Self, event: &Event| sentinel(process, event).into_error());
        self.install_sentinel(sentinel, Value::Nil);
    }

    pub(crate) fn install_sentinel(&self, sentinel: Sentinel, shown: Value) {
        let mut p = self.shared.borrow_mut();
        let old = (p.handlers.sentinel.replace(sentinel), p.handlers.show_sentinel(shown));
        drop(p);
        self.rt.drop_callbacks(self, old);
        self.drop_if_over();
    }

    /// Nothing calls what is set behind the last event, and a closure that keeps its process would keep it for ever.
    fn drop_if_over(&self) {
        // One that is still to hear of its end has a sentinel to hear it.
        if self.shared.borrow().phase().is_over() && !self.rt.is_to_tell(self) {
            drop_handlers(self);
        }
    }
}

pub(crate) fn shared_filter<O: Outcome>(
    filter: impl Fn(&Process, Input) -> O + 'static,
) -> SharedFilter {
    Rc::new(move |process: &Process, input: Input| filter(process, input).into_error())
}

pub(crate) fn batch_filter<O: Outcome>(
    filter: impl Fn(&Process, Packets<'_>) -> O + 'static,
) -> BatchFilter {
    Rc::new(move |process: &Process, packets: Packets<'_>| filter(process, packets).into_error())
}
