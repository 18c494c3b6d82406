//! Output: the bounded queue, the hold on input while it is full, the end of sending.
//!
//! Invariant: what `send` accepts is on its way in order; what it refuses was not touched. The
//! bytes themselves wait in the reactor.

use std::{cell::RefMut, rc::Rc};

use super::{Delivery, Engine, layer::WIRE_LEN_MAX};
use crate::{
    address::Address,
    coding::{Coding, EncodeError, EncodeReport, TextRef},
    event::{Event, Reason},
    machine::{self, Phase, Status},
    outbox::Outbox,
    process::{Process, Shared},
    reactor::{CloseHow, Kind, Payload, Reactor, SockId, SysError},
};

/// Why `send` refused. Nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The process has no connection to send on.
    #[error("process not running, it is {0}")]
    NotOpen(Status),
    /// Its sending direction was ended by `send_eof`, its peer has ended the connection, or the layer on top,
    /// TLS, has given it up.
    #[error("the sending direction has ended")]
    Finished,
    /// As much waits as may wait, in bytes or in packets; `Drained` tells when there is room.
    #[error(
        "the queue is full: {queued} bytes wait to be sent, of {limit}, or as many packets as may"
    )]
    QueueFull {
        /// Bytes waiting.
        queued: u64,
        /// The bound.
        limit: u64,
    },
    /// A packet process that has heard from nobody and was given no peer; or `send_to` on one that is no packet process.
    #[error("no peer to send to")]
    NoPeer,
}

/// Why text was not sent. Nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendTextError {
    /// Its bytes were refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The coding cannot express a character, and replacing was not wanted.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why the sending direction cannot be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// The process has no connection.
    #[error("process not running, it is {0}")]
    NotOpen(Status),
}

/// The queue of an open stream, to push to once.
#[derive(Debug)]
pub struct OpenQueue<'a, H> {
    process: RefMut<'a, Process<H>>,
    outbox: &'a mut Outbox,
}

impl<H> OpenQueue<'_, H> {
    /// Queues `data`; returns the bytes that wait, and whether they fill half of what may wait or more:
    /// [`Engine::filled`] is to hear of that.
    #[inline(always)]
    pub fn push(mut self, data: Payload) -> (u64, bool) {
        self.outbox.push(data);
        let queued = self.outbox.bytes();
        self.process.queued = queued;
        (queued, queued >= self.process.limits.queue_len_max / 2)
    }
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Queues `data` for the peer, behind everything before; returns the bytes that wait.
    ///
    /// While the process connects, the bytes wait for the connection. Called from the filter of the
    /// same process, a queue half full holds further input back until it is low: a peer that sends
    /// without reading is stopped by its own window, not by our memory.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was queued.
    pub fn send(&mut self, process: &Shared<H>, data: Payload) -> Result<u64, SendError> {
        self.send_within(process, data, true)
    }

    /// Where [`send`](Self::send) would put what is sent, if that is as almost every time: a stream whose
    /// bytes go out as they are, with room in its queue. Whoever asks pushes at once: so the bytes are
    /// moved to where they wait, and nowhere before.
    #[inline(always)]
    pub fn open_queue<'a>(&'a mut self, process: &'a Shared<H>) -> Option<OpenQueue<'a, H>> {
        let process = process.borrow_mut();
        let sock =
            process.plain_sock().filter(|_| process.queued < process.limits.queue_len_max)?;
        let outbox = self.reactor.open_outbox(sock)?;
        Some(OpenQueue { process, outbox })
    }

    /// What was pushed has filled the queue of `process`: if its filter runs, its input is held back.
    #[inline(never)]
    pub fn filled(&mut self, process: &Shared<H>) {
        let mut p = process.borrow_mut();
        if let Some(sock) = p.sock {
            self.hold(&mut p, sock);
        }
    }

    /// The same for a sender that then waits until nothing is queued: the bound does not hold, since
    /// each one that waits has its own bytes at hand anyway.
    ///
    /// # Errors
    ///
    /// [`SendError`], never because the queue is full; nothing was queued.
    pub fn send_unbounded(&mut self, process: &Shared<H>, data: Payload) -> Result<u64, SendError> {
        self.send_within(process, data, false)
    }

    #[inline(never)]
    fn send_within(
        &mut self,
        process: &Shared<H>,
        data: Payload,
        bounded: bool,
    ) -> Result<u64, SendError> {
        let mut p = process.borrow_mut();
        let sock = self.sendable(&mut p, bounded)?;
        let kind = p.kind;
        if let Some(connecting) = &mut p.connecting {
            connecting.send_later(kind, data);
            p.queued = Self::waiting(&self.reactor, &p);
            return Ok(p.queued);
        }
        let sock = sock.ok_or_else(|| SendError::NotOpen(p.phase.status(false)))?;
        if p.kind == Kind::Datagram {
            return self.send_packet(&mut p, data, None);
        }
        p.queued = self.put(&mut p, sock, data);
        Ok(self.hold_if_filled(&mut p, sock))
    }

    /// Whether `process` is one that sends, however full its queue is.
    ///
    /// # Errors
    ///
    /// [`SendError`], as that of [`send`](Self::send).
    pub fn may_send(&mut self, process: &Shared<H>) -> Result<(), SendError> {
        self.sendable(&mut process.borrow_mut(), false).map(drop)
    }

    /// What its filter sends holds its input back once that fills half of the queue; returns what is
    /// queued.
    #[inline]
    fn hold_if_filled(&mut self, p: &mut Process<H>, sock: SockId) -> u64 {
        let records = p.kind == Kind::SeqPacket && !self.packets_are_few(p);
        if p.queued >= p.limits.queue_len_max / 2 || records {
            self.hold(p, sock);
        }
        p.queued
    }

    /// How many packets or records wait.
    fn packets_waiting(&self, p: &Process<H>) -> usize {
        match (&p.connecting, p.sock) {
            _ if p.kind == Kind::Stream => 0,
            (Some(connecting), _) => connecting.early.len(),
            (None, Some(sock)) => self.reactor.queued_packets(sock),
            (None, None) => 0,
        }
    }

    /// Whether no more packets wait than half of those that may.
    fn packets_are_few(&self, p: &Process<H>) -> bool {
        self.packets_waiting(p) <= p.limits.queue_packets_max / 2
    }

    #[inline(never)]
    fn hold(&mut self, p: &mut Process<H>, sock: SockId) {
        // Where nothing can be sent any more no `Sent` would let input go on, and the end is behind it.
        let may_go =
            || self.reactor.unsent(sock).is_some() && self.reactor.send_failure(sock).is_none();
        let waits = p.queued > 0 || p.kind != Kind::Stream;
        if p.filtering > 0 && waits && !p.holding && may_go() {
            p.holding = true;
            self.reactor.watch_sent(sock, true);
            Self::update_reading(&mut self.reactor, p);
        }
    }

    /// Queues `text` in the encoding of the process's coding, `utf-8-unix` if it has none; returns
    /// the bytes that wait and how many characters were replaced. With `strict` none is.
    ///
    /// # Errors
    ///
    /// [`SendTextError`]; nothing was queued.
    pub fn send_text<'a>(
        &mut self,
        process: &Shared<H>,
        text: impl Into<TextRef<'a>>,
        strict: bool,
    ) -> Result<(u64, EncodeReport), SendTextError> {
        let mut bytes = Vec::new();
        let mut report = EncodeReport::default();
        let known = process.borrow().coding.as_ref().map(|coding| coding.encoder.clone());
        let mut encoder = known.unwrap_or_else(|| Coding::default().encoder());
        if strict {
            encoder.try_encode(text, &mut bytes)?;
        } else {
            report = encoder.encode(text, &mut bytes);
        }
        let queued = self.send(process, bytes.into())?;
        // Only now has the peer a byte order mark coming, if there was one to write.
        if let Some(coding) = &mut process.borrow_mut().coding {
            coding.encoder = encoder;
        }
        Ok((queued, report))
    }

    /// What sending `text` would put on the wire, `utf-8-unix` if the process has no coding; the
    /// encoder has seen it then.
    pub fn encode<'a>(process: &Shared<H>, text: impl Into<TextRef<'a>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &mut process.borrow_mut().coding {
            Some(coding) => drop(coding.encoder.encode(text, &mut bytes)),
            None => drop(Coding::default().encoder().encode(text, &mut bytes)),
        }
        bytes
    }

    /// The same for a unibyte string: its line ends are converted, nothing else.
    pub fn encode_bytes(process: &Shared<H>, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match &mut process.borrow_mut().coding {
            Some(coding) => coding.encoder.encode_bytes(bytes, &mut out),
            None => out.extend_from_slice(bytes),
        }
        out
    }

    /// Queues one packet, empty or not, for `to`.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was queued.
    pub fn send_to(
        &mut self,
        process: &Shared<H>,
        data: Payload,
        to: &Address,
    ) -> Result<u64, SendError> {
        let mut p = process.borrow_mut();
        if p.kind != Kind::Datagram {
            return Err(SendError::NoPeer);
        }
        self.sendable(&mut p, true)?;
        self.send_packet(&mut p, data, Some(to))
    }

    fn send_packet(
        &mut self,
        p: &mut Process<H>,
        data: Payload,
        to: Option<&Address>,
    ) -> Result<u64, SendError> {
        let sock = p.sock.ok_or_else(|| SendError::NotOpen(p.status()))?;
        let len = data.len() as u64;
        p.queued = if to.is_none() && p.connected {
            self.reactor.send(sock, data)
        } else {
            let to = to.or_else(|| p.contact.remote()).ok_or(SendError::NoPeer)?;
            self.reactor.send_to(sock, data, to)
        };
        if p.queued == 0 {
            self.note_late(p, sock, len);
        }
        p.queued = p.queued.saturating_add(p.unsent);
        Ok(p.queued)
    }

    /// Sends bytes of the process that no layer is to see; returns what is queued.
    pub(super) fn put_plain(&mut self, p: &mut Process<H>, sock: SockId, data: Payload) -> u64 {
        let len = data.len() as u64;
        // A child that has ended reads nothing, and its socket may have been closed, when nobody counts.
        let queued = if p.child_has_ended() { 0 } else { self.reactor.send(sock, data) };
        if queued == 0 {
            self.note_late(p, sock, len);
        }
        queued.saturating_add(p.unsent)
    }

    /// Counts bytes that were accepted behind the end of their socket, which may still wait to be taken: it does not
    /// tell of them.
    #[cold]
    fn note_late(&self, p: &mut Process<H>, sock: SockId, len: u64) {
        if p.child_has_ended() || self.reactor.unsent(sock).is_none() {
            p.unsent = p.unsent.saturating_add(len);
        }
    }

    /// The socket to send on, if the process may send now; a client that is looked up has none.
    fn sendable(&mut self, p: &mut Process<H>, bounded: bool) -> Result<Option<SockId>, SendError> {
        let not_open = SendError::NotOpen(p.phase.status(false));
        if !(p.phase.is_open() || matches!(p.phase, Phase::Connect | Phase::Draining)) {
            return Err(not_open);
        }
        // A layer that has given up takes nothing more, though the end is still to be told.
        if p.finished || p.phase == Phase::Draining || p.layer_failed.is_some() {
            return Err(SendError::Finished);
        }
        let sock = p.sock;
        if sock.is_none() && !p.is_looking_up() {
            return Err(not_open);
        }
        if !bounded {
            return Ok(sock);
        }
        let limit = p.limits.queue_len_max;
        if p.queued >= limit {
            // It was that much after the last send; only the reactor knows what has gone since.
            p.queued = Self::waiting(&self.reactor, p);
        }
        let packets = || self.packets_waiting(p);
        let crowded = p.kind != Kind::Stream && packets() >= p.limits.queue_packets_max;
        if p.queued >= limit || crowded {
            p.refused = true;
            if let Some(sock) = sock {
                self.reactor.watch_sent(sock, true);
            }
            return Err(SendError::QueueFull { queued: p.queued, limit });
        }
        Ok(sock)
    }

    pub(super) fn waiting(reactor: &R, p: &Process<H>) -> u64 {
        match (&p.connecting, p.sock) {
            // What an upgrade finds on its way goes out before the handshake does.
            (Some(connecting), Some(sock)) if p.phase == Phase::Open => {
                reactor.queued(sock).saturating_add(connecting.early_len).saturating_add(p.unsent)
            }
            (Some(connecting), _) => connecting.early_len,
            (None, Some(sock)) => {
                reactor.queued(sock).saturating_add(p.layer_waiting()).saturating_add(p.unsent)
            }
            (None, None) => 0,
        }
    }

    /// The kernel took bytes of a watched socket: input may go on, a refused sender may try again.
    pub(super) fn handle_sent(&mut self, process: &Shared<H>) {
        let mut p = process.borrow_mut();
        let Some(sock) = p.sock else { return };
        let failed = self.reactor.send_failure(sock).is_some();
        let queued = if failed {
            // What waits for the layer never goes, and the end is behind the input that it would hold back.
            0
        } else {
            if p.layer_waiting() > 0 {
                self.cross(&mut p, sock, WIRE_LEN_MAX);
            }
            // Callbacks may have sent since, and what waits for the end of a handshake has no room yet.
            Self::waiting(&self.reactor, &p)
        };
        if queued > p.limits.low() || !failed && !self.packets_are_few(&p) {
            return;
        }
        if (p.flushing == 0 || queued == 0) && (failed || p.layer_waiting() == 0) {
            self.reactor.watch_sent(sock, false);
        }
        let refused = std::mem::take(&mut p.refused) && Self::sends(&p);
        drop(p);
        self.change_flow(process, |p| p.holding = false);
        // Where nothing can be sent any more there is no room, though nothing waits: the end follows.
        if refused && !failed && Self::is_news(process) {
            let (process, event) = (Rc::clone(process), Event::Drained);
            self.notices.push_back(Delivery::Event { process, event });
        }
    }

    /// Whether there may be room for anything: its sending direction has not ended.
    fn sends(p: &Process<H>) -> bool {
        !p.finished && p.phase != Phase::Draining
    }

    /// Whether `Drained` is not about to be told already: who never asks for events gathers none.
    fn is_news(process: &Shared<H>) -> bool {
        !std::mem::replace(&mut process.borrow_mut().drained, true)
    }

    /// Asks for `Drained` as soon as no more than `queue_len_low` bytes wait, and of packets no more than half
    /// of those that may, which may be now. A server of connections has nothing that could wait, and where sending has
    /// ended there is no room.
    pub fn notify_drained(&mut self, process: &Shared<H>) {
        let mut p = process.borrow_mut();
        let has_none = p.sock.is_none() && !p.is_looking_up();
        if has_none || p.phase == Phase::Listen || !Self::sends(&p) {
            return;
        }
        let full = Self::waiting(&self.reactor, &p) > p.limits.low();
        if full || !self.packets_are_few(&p) {
            p.refused = true;
            if let Some(sock) = p.sock {
                self.reactor.watch_sent(sock, true);
            }
            return;
        }
        drop(p);
        if Self::is_news(process) {
            let (process, event) = (Rc::clone(process), Event::Drained);
            self.asked_for.push_back(Delivery::Event { process, event });
        }
    }

    /// A sender begins to wait until nothing of `process` is queued any more. What it returns is for
    /// [`flush_ends`](Self::flush_ends): what an outer sender has yet to be told.
    #[must_use]
    pub fn flush_begins(&mut self, process: &Shared<H>) -> Option<SysError> {
        let mut p = process.borrow_mut();
        p.flushing += 1;
        p.trouble.take()
    }

    /// Whether it has to wait on, and if so sees to it that the next poll ends when bytes have gone.
    pub fn flush_goes_on(&mut self, process: &Shared<H>) -> bool {
        let p = process.borrow();
        let waiting = Self::waiting(&self.reactor, &p) > 0;
        let Some(sock) = p.sock else { return false };
        let packets = p.kind != Kind::Stream && self.reactor.queued_packets(sock) > 0;
        let goes_on = waiting || packets;
        if goes_on && !p.is_connecting() {
            self.reactor.watch_sent(sock, true);
        }
        goes_on
    }

    /// Why some of what was sent will never go out, and how much of it, once the process has ended but
    /// nobody was told yet: its input comes first, and may be turned off.
    #[must_use]
    pub fn lost(&self, process: &Shared<H>) -> Option<(Reason, u64)> {
        let p = process.borrow();
        let failure = || {
            let (err, unsent) = self.reactor.send_failure(p.sock?)?;
            let unsent = p.without_notice(unsent);
            Some((if p.child_has_ended() { Reason::End } else { Reason::Sys(err) }, unsent))
        };
        let (reason, unsent) = p.end_in_store().or_else(failure)?;
        let unsent = unsent.saturating_add(p.kept_len());
        (unsent > 0).then_some((reason, unsent))
    }

    /// It has waited; what the system said of a packet meanwhile.
    pub fn flush_ends(&mut self, process: &Shared<H>, outer: Option<SysError>) -> Option<SysError> {
        let mut p = process.borrow_mut();
        p.flushing -= 1;
        let trouble = std::mem::replace(&mut p.trouble, outer);
        if p.flushing > 0 && p.child.as_ref().is_some_and(|child| child.unread) {
            // What the outer one waits for was dropped with the rest, and that is told once.
            p.trouble = p.trouble.or(trouble);
        }
        trouble
    }

    /// Bytes accepted by `send` that still wait.
    #[must_use]
    pub fn queued(&self, process: &Shared<H>) -> u64 {
        Self::waiting(&self.reactor, &process.borrow())
    }

    /// Ends the sending direction behind everything queued. On a packet process nothing happens;
    /// twice is once.
    ///
    /// # Errors
    ///
    /// [`FinishError::NotOpen`] for a server and for a process that has ended.
    pub fn finish(&mut self, process: &Shared<H>) -> Result<(), FinishError> {
        let mut p = process.borrow_mut();
        match (p.phase, p.sock) {
            (Phase::Open | Phase::Draining, _) if p.kind == Kind::Datagram => Ok(()),
            (Phase::Connect, _) => {
                p.finished = p.kind != Kind::Datagram;
                Ok(())
            }
            // The handshake of an upgrade needs the sending direction, and so does what waits for it.
            (Phase::Open, _) if p.connecting.is_some() => {
                p.finished = true;
                Ok(())
            }
            (Phase::Run | Phase::Halted, Some(sock)) => {
                Self::finish_child(&mut self.reactor, &mut p, sock);
                Ok(())
            }
            (Phase::Open | Phase::Draining, Some(sock)) => {
                p.finished = true;
                self.finish_sending(&mut p, sock);
                if p.peer_finished && p.apply(machine::Event::PeerFinished) {
                    // A half-open connection whose second half ends now.
                    self.settle(&mut p);
                    self.reactor.close(sock, CloseHow::Flush { within: p.limits.flush_within });
                }
                Ok(())
            }
            _ => Err(FinishError::NotOpen(p.phase.status(false))),
        }
    }
}
