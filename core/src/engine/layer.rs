//! The layer between a process and its wire: its handshake, and bytes through it both ways.
//!
//! Invariant: bytes off the wire pass the layer when they come, before anything is stored, and those that were
//! stored before it was there when it is, so that an inbox has only what the process may read; a process is
//! connected when its layer is. What a layer makes of events goes through the inbox, in order.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use super::{Admit, Delivery, Engine};
use crate::{
    layer::{Layer, Layers},
    machine::{Phase, Status},
    pool::Buf,
    process::{Connecting, LayerState, Process, Shared},
    proxy::ProxyHeaderError,
    reactor::{self, CloseHow, Kind, Payload, Reactor, SockId},
    shared_error::SharedError,
};

/// Why a connection has failed whose layer could not be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("making its layer panicked")]
struct LayersPanicked;

/// The most bytes that cross a layer at once on their way out.
const CROSSING_LEN_MAX: usize = 16 * 1024;

/// With so many bytes waiting for the wire, what else is sent waits on the other side of its layer.
pub(super) const WIRE_LEN_MAX: u64 = 32 * 1024;

/// The most payloads and inputs that the engine keeps room for between two crossings of a layer.
const CROSSINGS_KEPT_MAX: usize = 64;

/// How long the last word of a layer that gave up may take to get to the peer, and the peer to hang up;
/// nobody is told of the end before.
const ALERT_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection cannot get a layer. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It is no open connection of bytes.
    #[error("process not open, it is {0}")]
    NotOpen(Status),
    /// It is packets or records, or has a layer already.
    #[error("this process cannot have another layer")]
    Unfit,
    /// Its peer has sent more in clear than was read, or than was text: whoever put it there would speak inside
    /// the layer.
    #[error("{0} bytes in clear have come behind what was read")]
    ClearText(u64),
    /// Its sending direction has ended.
    #[error("the sending direction has ended")]
    Finished,
    /// Its peer has ended its sending direction, and could not answer.
    #[error("the peer has ended its sending direction")]
    PeerFinished,
}

/// In the place of a layer that could not be made: nothing passes it.
#[derive(Debug)]
struct NoLayer;

impl Layer for NoLayer {
    fn receive(&mut self, _: Buf, _: &mut Vec<Buf>) -> Result<(), SharedError> {
        Ok(())
    }

    fn send(&mut self, _: &[u8]) -> Result<(), SharedError> {
        Err(SharedError::new("there is no layer"))
    }

    fn wire(&mut self, _: &mut Vec<Payload>) {}

    fn is_established(&self) -> bool {
        false
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Puts a layer between an open connection and its wire, which begins with its handshake; `Secured`
    /// is told when that is done. What is sent meanwhile waits for it.
    ///
    /// A layer that cannot be made ends the connection, as a handshake that fails does.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`]; nothing has changed.
    pub fn upgrade(
        &mut self,
        process: &Shared<H>,
        layers: Rc<dyn Layers>,
    ) -> Result<(), UpgradeError> {
        let mut borrowed = process.borrow_mut();
        let p = &mut *borrowed;
        let sock = p.sock.filter(|_| p.phase == Phase::Open);
        let sock = sock.ok_or_else(|| UpgradeError::NotOpen(p.phase.status(false)))?;
        if p.kind != Kind::Stream || p.layers.is_some() {
            return Err(UpgradeError::Unfit);
        }
        if p.finished {
            return Err(UpgradeError::Finished);
        }
        if p.peer_finished {
            return Err(UpgradeError::PeerFinished);
        }
        let unread = p.inbox.iter().filter_map(|event| event.buf().map(|buf| buf.len() as u64));
        let unread: u64 = unread.sum();
        // Whoever has its text aside has seen each byte, and begins it anew.
        let mut coding = p.coding.as_mut().filter(|coding| !coding.aside);
        let incomplete = coding.as_ref().map_or(0, |coding| coding.incomplete_len());
        let unread = unread + incomplete;
        if unread > 0 {
            return Err(UpgradeError::ClearText(unread));
        }
        if let Some(coding) = &mut coding {
            // A shift or a line end of what came in clear decides nothing of what comes inside.
            coding.restart();
        }
        p.layers = Some(layers);
        p.connecting = Some(Box::new(Connecting::default()));
        drop(borrowed);
        let waited = Self::take_waited(process);
        self.shake_hands(process, sock);
        self.unwrap_waited(process, waited);
        Ok(())
    }

    /// The wire is there: a process with a layer shakes hands first. Returns whether it does.
    pub(super) fn begins_handshake(&mut self, process: &Shared<H>, sock: SockId) -> bool {
        let p = process.borrow();
        if p.layer.as_ref().is_some_and(|state| state.established) {
            return false;
        }
        let Some(layers) = p.layers.clone() else { return false };
        drop(p);
        // It is the user's, and a peer makes it run: what fails there is that connection.
        let made = panic::catch_unwind(AssertUnwindSafe(|| layers.make()));
        let made = made.unwrap_or_else(|_| Err(SharedError::new(LayersPanicked)));
        let mut p = process.borrow_mut();
        match made {
            Ok(layer) => {
                let established = layer.is_established();
                p.layer = Some(Box::new(LayerState::new(layer)));
                self.put_wire(&mut p, sock);
                Self::update_reading(&mut self.reactor, &mut p);
                drop(p);
                if !established {
                    self.shaking.push(Rc::clone(process));
                }
                !established
            }
            Err(err) => {
                // What is still to come, in clear, is not for the process either.
                p.layer = Some(Box::new(LayerState::new(Box::new(NoLayer))));
                drop(p);
                self.give_up(process, sock, err);
                true
            }
        }
    }

    /// The same where nobody waits for the answer.
    pub(super) fn shake_hands(&mut self, process: &Shared<H>, sock: SockId) {
        if !self.begins_handshake(process, sock) {
            self.store(process, reactor::Event::Connected { id: sock });
        }
    }

    /// The same for a connection just accepted; with `proxied` its header comes before.
    pub(super) fn accepted_in_layers(&mut self, process: &Shared<H>, sock: SockId, proxied: bool) {
        if process.borrow().phase == Phase::Connect {
            process.borrow_mut().connecting = Some(Box::new(Connecting::default()));
            // What came before it was born came off the wire.
            let waited = Self::take_waited(process);
            if proxied {
                self.await_proxy_header(process);
            } else {
                self.shake_hands(process, sock);
            }
            self.unwrap_waited(process, waited);
        }
    }

    /// What waits in the inbox of a process that is about to get a layer: it came before the layer was there,
    /// and is to pass it all the same.
    pub(super) fn take_waited(process: &Shared<H>) -> VecDeque<reactor::Event> {
        let mut p = process.borrow_mut();
        p.inbox_len = 0;
        std::mem::take(&mut p.inbox)
    }

    /// Lets it pass, now that the layer is there.
    pub(super) fn unwrap_waited(&mut self, process: &Shared<H>, waited: VecDeque<reactor::Event>) {
        for event in waited {
            let is_plain = process.borrow().layer.is_none();
            if is_plain && let reactor::Event::Data { .. } | reactor::Event::Eof { .. } = event {
                // Its header was in what came before: the reader has gone, and nothing is in its place.
                self.store(process, event);
                continue;
            }
            let told = self.unwrap(process, event, Some(&|_, _| false));
            debug_assert!(told.is_none(), "nobody was admitted");
        }
    }

    /// The handshake is given up, with an alert if there is one to send; the end comes as `Closed`.
    fn give_up(&mut self, process: &Shared<H>, sock: SockId, err: SharedError) {
        if process.borrow().proxy_header_reader().is_some() {
            return self.refuse_proxy_header(process, sock, err);
        }
        let mut p = process.borrow_mut();
        p.layer_failed.get_or_insert(err);
        self.put_wire(&mut p, sock);
        let within = p.limits.flush_within.min(ALERT_WITHIN);
        self.reactor.close(sock, CloseHow::Flush { within });
    }

    /// Whether handshakes have begun since the last look.
    pub const fn has_shaking(&self) -> bool {
        !self.shaking.is_empty()
    }

    /// One whose handshake has begun since the last look: it should end within its limits, and the engine
    /// has no clock to see to that.
    pub fn next_shaking(&mut self) -> Option<Shared<H>> {
        self.shaking.pop()
    }

    /// Ends a handshake that takes too long; returns whether one was under way.
    pub fn end_handshake(&mut self, process: &Shared<H>, err: SharedError) -> bool {
        let sock = process.borrow().sock;
        let (true, Some(sock)) = (process.borrow().is_shaking(), sock) else { return false };
        let header = process.borrow().proxy_header_reader().is_some();
        let late = header.then(|| SharedError::new(ProxyHeaderError::Late));
        self.give_up(process, sock, late.unwrap_or(err));
        true
    }

    /// What an event of the wire means for the process: the first of it is delivered, if the process
    /// takes it now, and what follows goes into its inbox.
    pub(super) fn unwrap(
        &mut self,
        process: &Shared<H>,
        event: reactor::Event,
        admit: Admit<'_, H>,
    ) -> Option<Delivery<H>> {
        match event {
            reactor::Event::Data { id, buf, .. } => self.unwrap_data(process, id, buf, admit),
            reactor::Event::Eof { id } => self.unwrap_end(process, id, admit),
            reactor::Event::Sent { .. } | reactor::Event::Trouble { .. } => {
                self.handle(process, event)
            }
            reactor::Event::Accepted { .. }
            | reactor::Event::AcceptFailed { .. }
            | reactor::Event::Connected { .. }
            | reactor::Event::Datagram { .. }
            | reactor::Event::Closed { .. }
            | reactor::Event::Woken => self.offer(process, event, admit),
        }
    }

    pub(super) fn unwrap_data(
        &mut self,
        process: &Shared<H>,
        id: SockId,
        buf: Buf,
        admit: Admit<'_, H>,
    ) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        let given_up = p.layer_failed.is_some();
        let state = p.layer.as_mut().filter(|state| !given_up && !state.finished)?;
        // Taken out for its memory's sake: what follows borrows the engine.
        let mut plain = std::mem::take(&mut self.plain);
        let received = state.layer.receive(buf, &mut plain);
        let connected = !state.established && state.layer.is_established();
        if let Some(header) = state.proxy_header() {
            let header = header.clone();
            drop(p);
            let rest = plain.pop();
            self.plain = plain;
            return self.proxied(process, id, header, rest, admit);
        }
        state.established |= connected;
        let finished = state.layer.is_peer_finished();
        state.finished = finished;
        self.put_wire(&mut p, id);
        drop(p);
        let mut first = None;
        if connected {
            self.tell(process, reactor::Event::Connected { id }, admit, &mut first);
        }
        for buf in plain.drain(..).filter(|buf| !buf.is_empty()) {
            self.tell(process, reactor::Event::Data { id, buf, lost: 0 }, admit, &mut first);
        }
        plain.shrink_to(CROSSINGS_KEPT_MAX);
        self.plain = plain;
        match received {
            Err(err) => self.give_up(process, id, err),
            Ok(()) if finished => {
                self.tell(process, reactor::Event::Eof { id }, admit, &mut first);
            }
            Ok(()) => {}
        }
        self.handle(process, first?)
    }

    /// The wire has ended. Without a closing notice before, that is a cut.
    fn unwrap_end(
        &mut self,
        process: &Shared<H>,
        id: SockId,
        admit: Admit<'_, H>,
    ) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        let given_up = p.layer_failed.is_some();
        let state = p.layer.as_mut().filter(|state| !given_up && !state.finished)?;
        if state.established {
            state.truncated = true;
            drop(p);
            self.offer(process, reactor::Event::Eof { id }, admit)
        } else {
            let cut = state.header_reader().map(|reader| SharedError::new(reader.cut()));
            drop(p);
            let hung_up = || SharedError::new("the peer hung up during the handshake");
            self.give_up(process, id, cut.unwrap_or_else(hung_up));
            None
        }
    }

    /// Delivers what the layer made of an event, or keeps it for later.
    fn offer(
        &mut self,
        process: &Shared<H>,
        event: reactor::Event,
        admit: Admit<'_, H>,
    ) -> Option<Delivery<H>> {
        let mut first = None;
        self.tell(process, event, admit, &mut first);
        self.handle(process, first?)
    }

    /// Puts `event` where `first` is, if there is nothing yet and its process takes it now, or stores it.
    fn tell(
        &mut self,
        process: &Shared<H>,
        event: reactor::Event,
        admit: Admit<'_, H>,
        first: &mut Option<reactor::Event>,
    ) {
        let p = process.borrow();
        let taken = first.is_none()
            && p.admits(&event)
            && admit.is_none_or(|admit| admit(&p, event.is_input()));
        drop(p);
        if taken {
            *first = Some(event);
        } else {
            self.store(process, event);
        }
    }

    /// Sends bytes of the process, through its layer if it has one; returns what is queued.
    pub(super) fn put(&mut self, p: &mut Process<H>, sock: SockId, data: Payload) -> u64 {
        let Some(state) = &mut p.layer else { return self.put_plain(p, sock, data) };
        let wire_has_room = self.reactor.queued(sock) < WIRE_LEN_MAX;
        let at_once = state.waiting.is_empty() && p.layer_failed.is_none();
        if at_once && data.len() <= CROSSING_LEN_MAX && wire_has_room {
            let sent = state.layer.send(data.as_slice());
            let refused = sent.is_err();
            let put = self.crossed(p, sock, sent);
            let queued = Self::waiting(&self.reactor, p);
            let gone = put > 0 && queued == 0 && self.reactor.unsent(sock).is_none();
            if !(refused || gone) {
                return queued;
            }
            if let Some(state) = &mut p.layer {
                // It was accepted, so it counts as unsent.
                state.waiting.push(data);
            }
        } else {
            state.waiting.push(data);
            self.cross(p, sock, WIRE_LEN_MAX);
        }
        Self::waiting(&self.reactor, p)
    }

    /// Lets what waits for the layer cross it as long as less than `len_max` waits for the wire. If
    /// something is left, the next poll ends when bytes have gone.
    ///
    /// What a layer makes is memory of its own: less is taken that way, and it is still in cache when
    /// the kernel copies it.
    pub(super) fn cross(&mut self, p: &mut Process<H>, sock: SockId, len_max: u64) {
        if self.reactor.send_failure(sock).is_some() {
            return;
        }
        while p.layer_failed.is_none() && self.reactor.queued(sock) < len_max {
            let Some(state) = &mut p.layer else { return };
            let Some(piece) = state.waiting.chunks().next() else { return };
            let len = piece.len().min(CROSSING_LEN_MAX);
            let sent = state.layer.send(&piece[..len]);
            let refused = sent.is_err();
            let put = self.crossed(p, sock, sent);
            if refused || put > 0 && self.reactor.queued(sock) == 0 {
                // The layer has given up, or the socket is gone, and its last events are on their way:
                // this was not sent either.
                return;
            }
            if let Some(state) = &mut p.layer {
                state.waiting.advance(len);
            }
        }
        if p.layer_waiting() > 0 {
            self.reactor.watch_sent(sock, true);
        }
    }

    /// Sends what the layer has made of bytes of the process, and returns how much that is; a layer that
    /// can send no more is the end.
    fn crossed(&mut self, p: &mut Process<H>, sock: SockId, sent: Result<(), SharedError>) -> u64 {
        let put = self.put_wire(p, sock);
        if let Err(err) = sent {
            p.layer_failed.get_or_insert(err);
            self.reactor.close(sock, CloseHow::Flush { within: p.limits.flush_within });
        }
        put
    }

    /// Sends what the layer wants sent; returns how much that is.
    fn put_wire(&mut self, p: &mut Process<H>, sock: SockId) -> u64 {
        let Some(state) = &mut p.layer else { return 0 };
        state.layer.wire(&mut self.wire);
        let mut put = 0;
        for payload in self.wire.drain(..).filter(|payload| !payload.is_empty()) {
            put += payload.len() as u64;
            self.reactor.send(sock, payload);
        }
        self.wire.shrink_to(CROSSINGS_KEPT_MAX);
        put
    }

    /// The sending direction ends behind everything queued, the layer's word of it included.
    pub(super) fn finish_sending(&mut self, p: &mut Process<H>, sock: SockId) {
        self.say_goodbye(p, sock);
        self.reactor.finish(sock);
    }

    /// The layer says that no more will be sent, behind all that waits for it.
    pub(super) fn say_goodbye(&mut self, p: &mut Process<H>, sock: SockId) {
        self.cross(p, sock, u64::MAX);
        if let Some(state) = &mut p.layer
            && state.established
        {
            state.layer.finish();
            let before = self.reactor.queued(sock);
            self.put_wire(p, sock);
            let len = self.reactor.queued(sock).saturating_sub(before);
            if let Some(state) = &mut p.layer {
                state.notice_len += len;
            }
        }
    }

    /// Neither side sends any more: whether all that the process has sent is on its way, so that a reset takes nothing
    /// but our notice.
    pub(super) fn settle(&self, p: &mut Process<H>) {
        let waits = p.without_notice(Self::waiting(&self.reactor, p)) > 0;
        if let Some(state) = &mut p.layer {
            state.settled = state.finished && !waits;
        }
    }
}
