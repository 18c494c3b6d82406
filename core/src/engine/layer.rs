//! The layer between a process and its wire: its handshake, and bytes through it both ways.
//!
//! Invariant: bytes off the wire pass the layer when they come, before anything is stored, so that an
//! inbox has only what the process may read; a process is connected when its layer is. What a layer
//! makes of events goes through the inbox, in order.

use std::rc::Rc;

use super::Engine;
use crate::{
    layer::Layers,
    machine::{Phase, Status},
    pool::Buf,
    process::{Connecting, LayerState, Process, Shared},
    reactor::{self, CloseHow, Kind, Payload, Reactor, SockId},
    shared_error::SharedError,
};

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
    /// Its peer has sent more in clear than was read: whoever put it there would speak inside the layer.
    #[error("{0} bytes in clear have come behind what was read")]
    ClearText(u64),
    /// Its sending direction has ended.
    #[error("the sending direction has ended")]
    Finished,
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
        let mut p = process.borrow_mut();
        let sock = p.sock.filter(|_| p.phase == Phase::Open);
        let sock = sock.ok_or_else(|| UpgradeError::NotOpen(p.phase.status(false)))?;
        if p.kind != Kind::Stream || p.layers.is_some() {
            return Err(UpgradeError::Unfit);
        }
        if p.finished {
            return Err(UpgradeError::Finished);
        }
        let unread = p.inbox.iter().filter_map(|event| event.buf().map(|buf| buf.len() as u64));
        let unread: u64 = unread.sum();
        if unread > 0 {
            return Err(UpgradeError::ClearText(unread));
        }
        p.layers = Some(layers);
        p.connecting = Some(Box::new(Connecting::default()));
        drop(p);
        self.begins_handshake(process, sock);
        Ok(())
    }

    /// The wire is there: a process with a layer shakes hands first. Returns whether it does.
    pub(super) fn begins_handshake(&mut self, process: &Shared<H>, sock: SockId) -> bool {
        let mut p = process.borrow_mut();
        if p.layer.as_ref().is_some_and(|state| state.established) {
            return false;
        }
        let Some(layers) = p.layers.clone() else { return false };
        match layers.make() {
            Ok(layer) => {
                let (established, finished, truncated) = (false, false, false);
                let state = LayerState { layer, established, finished, truncated };
                p.layer = Some(Box::new(state));
                Self::put_wire(&mut self.reactor, &mut p, sock);
                Self::update_reading(&mut self.reactor, &mut p);
                drop(p);
                self.shaking.push(Rc::clone(process));
            }
            Err(err) => {
                drop(p);
                self.give_up(process, sock, err);
            }
        }
        true
    }

    /// The same for a connection just accepted.
    pub(super) fn accepted_in_layers(&mut self, process: &Shared<H>, sock: SockId) {
        if process.borrow().phase == Phase::Connect {
            process.borrow_mut().connecting = Some(Box::new(Connecting::default()));
            self.begins_handshake(process, sock);
            // What came before it was born came off the wire.
            let waited = std::mem::take(&mut process.borrow_mut().inbox);
            process.borrow_mut().inbox_len = 0;
            for event in waited {
                self.unwrap(process, event);
            }
        }
    }

    /// The handshake is given up, with an alert if there is one to send; the end comes as `Closed`.
    fn give_up(&mut self, process: &Shared<H>, sock: SockId, err: SharedError) {
        let mut p = process.borrow_mut();
        p.layer_failed.get_or_insert(err);
        Self::put_wire(&mut self.reactor, &mut p, sock);
        let within = p.limits.flush_within;
        drop(p);
        self.reactor.close(sock, CloseHow::Flush { within });
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
        self.give_up(process, sock, err);
        true
    }

    /// What an event of the wire means for the process goes into its inbox.
    pub(super) fn unwrap(&mut self, process: &Shared<H>, event: reactor::Event) {
        match event {
            reactor::Event::Data { id, buf, .. } => self.unwrap_data(process, id, buf),
            reactor::Event::Eof { id } => self.unwrap_end(process, id),
            reactor::Event::Sent { .. } | reactor::Event::Trouble { .. } => {
                let delivery = self.handle(process, event);
                self.notices.extend(delivery);
            }
            reactor::Event::Accepted { .. }
            | reactor::Event::AcceptFailed { .. }
            | reactor::Event::Connected { .. }
            | reactor::Event::Datagram { .. }
            | reactor::Event::Closed { .. }
            | reactor::Event::Woken => self.store(process, event),
        }
    }

    fn unwrap_data(&mut self, process: &Shared<H>, id: SockId, buf: Buf) {
        let mut p = process.borrow_mut();
        let given_up = p.layer_failed.is_some();
        let Some(state) = &mut p.layer else { return };
        if given_up || state.finished {
            return;
        }
        let mut plain = Vec::new();
        let received = state.layer.receive(&buf, &mut plain);
        // The receive memory goes back before anything else happens.
        drop(buf);
        let connected = !state.established && state.layer.is_established();
        state.established |= connected;
        let finished = state.layer.is_peer_finished();
        state.finished = finished;
        Self::put_wire(&mut self.reactor, &mut p, id);
        drop(p);
        if connected {
            self.store(process, reactor::Event::Connected { id });
        }
        if !plain.is_empty() {
            let event = reactor::Event::Data { id, buf: Buf::copied(&plain), lost: 0 };
            self.store(process, event);
        }
        match received {
            Err(err) => self.give_up(process, id, err),
            Ok(()) if finished => self.store(process, reactor::Event::Eof { id }),
            Ok(()) => {}
        }
    }

    /// The wire has ended. Without a closing notice before, that is a cut.
    fn unwrap_end(&mut self, process: &Shared<H>, id: SockId) {
        let mut p = process.borrow_mut();
        let given_up = p.layer_failed.is_some();
        let Some(state) = &mut p.layer else { return };
        if given_up || state.finished {
            return;
        }
        if state.established {
            state.truncated = true;
            drop(p);
            self.store(process, reactor::Event::Eof { id });
        } else {
            drop(p);
            self.give_up(process, id, SharedError::new("the peer hung up during the handshake"));
        }
    }

    /// Sends bytes of the process, through its layer if it has one; returns what is queued.
    pub(super) fn put(reactor: &mut R, p: &mut Process<H>, sock: SockId, data: Payload) -> u64 {
        match &mut p.layer {
            None => reactor.send(sock, data),
            Some(state) => {
                state.layer.send(data.as_slice());
                Self::put_wire(reactor, p, sock)
            }
        }
    }

    /// Sends what the layer wants sent.
    fn put_wire(reactor: &mut R, p: &mut Process<H>, sock: SockId) -> u64 {
        let mut wire = Vec::new();
        if let Some(state) = &mut p.layer {
            state.layer.wire(&mut wire);
        }
        if wire.is_empty() { reactor.queued(sock) } else { reactor.send(sock, wire.into()) }
    }

    /// The sending direction ends behind everything queued, the layer's word of it included.
    pub(super) fn finish_sending(reactor: &mut R, p: &mut Process<H>, sock: SockId) {
        Self::say_goodbye(reactor, p, sock);
        reactor.finish(sock);
    }

    /// The layer says that no more will be sent.
    pub(super) fn say_goodbye(reactor: &mut R, p: &mut Process<H>, sock: SockId) {
        if let Some(state) = &mut p.layer
            && state.established
        {
            state.layer.finish();
            Self::put_wire(reactor, p, sock);
        }
    }
}
