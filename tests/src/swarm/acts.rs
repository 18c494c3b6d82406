//! What the driver does: gives bytes, sends back, ends conversations, meddles.
//!
//! Invariant: whatever is given to a socket is entered into the ledger; nothing is given after the
//! socket's last call. What comes of it is judged in `driver.rs` and `verdict.rs`.

use netproc_core::{
    address::Address,
    pool::Buf,
    reactor::{CloseHow, Kind, Payload, Reactor, SockId},
};

use crate::swarm::{
    driver::Driver,
    ledger::Check,
    plan::{Ending, LONG},
    ports, streams,
};

/// Bytes a client lets wait before it gives more.
const QUEUED_MAX: u64 = 16 * 1024;

impl Driver {
    /// Lets everybody who has something to say say some of it; returns whether anybody had.
    pub(super) fn feed(&mut self) -> bool {
        let mut fed = false;
        for talk in 0..self.clients.len() {
            if !self.meddling || self.rng.percent(50) {
                fed |= self.feed_client(talk);
            }
        }
        for port in 0..self.ports.len() {
            if !self.meddling || self.rng.percent(30) {
                fed |= self.feed_port(port);
            }
        }
        fed
    }

    fn give(&mut self, id: SockId, payload: Payload) {
        let len = payload.len();
        let waiting = self.reactor.send(id, payload);
        self.gave(id, len, waiting);
    }

    /// Enters what was given; a socket whose end waits in the queue takes nothing any more, and one that can
    /// send no more counts it as unsent.
    fn gave(&mut self, id: SockId, len: usize, waiting: u64) {
        if waiting >= len as u64 || self.reactor.send_failure(id).is_some() {
            self.ledger.gave(id, len);
        }
    }

    fn close(&mut self, id: SockId, how: CloseHow) {
        self.reactor.close(id, how);
    }

    fn feed_client(&mut self, index: usize) -> bool {
        let Some(client) = &self.clients[index] else { return false };
        let (id, sent) = (client.id, client.sent);
        if client.done || !self.ledger.is_open(id) {
            return false;
        }
        let talk = &self.plan.talks[index];
        let last = match talk.ending {
            Ending::CutAt(at, how) if sent >= at => Some(Some(how)),
            Ending::Flush if sent == talk.total => Some(Some(CloseHow::Flush { within: LONG })),
            Ending::Finish if sent == talk.total => Some(None),
            Ending::CutAt(..) | Ending::Flush | Ending::Finish => None,
        };
        if let Some(how) = last {
            if let Some(client) = &mut self.clients[index] {
                client.done = true;
                client.closing = how.is_some();
            }
            match how {
                Some(how) => self.close(id, how),
                None => self.reactor.finish(id),
            }
            return true;
        }
        if self.reactor.queued(id) >= QUEUED_MAX {
            return false;
        }
        let len = if talk.kind == Kind::SeqPacket {
            talk.record_len(index, sent)
        } else {
            let left = usize::try_from(talk.total - sent).unwrap_or(usize::MAX);
            self.rng.len(talk.chunk_max).min(left)
        };
        let bytes = streams::bytes(index, sent, len);
        let payload = match self.rng.below(2) {
            0 => Payload::Owned(bytes),
            _ => Payload::Shared(bytes.into()),
        };
        self.give(id, payload);
        if let Some(client) = &mut self.clients[index] {
            client.sent += len as u64;
        }
        true
    }

    fn feed_port(&mut self, index: usize) -> bool {
        let len_max = self.packet_len_max();
        let Some(port) = &mut self.ports[index] else { return false };
        if port.sent >= port.packets {
            return false;
        }
        let name = u8::try_from(index).unwrap_or(u8::MAX);
        let packet = ports::packet(name, port.sent, len_max);
        port.sent += 1;
        let id = port.id;
        let len = packet.len();
        let waiting = match &port.to {
            Some(to) => self.reactor.send_to(id, packet.into(), to),
            None => self.reactor.send(id, packet.into()),
        };
        self.gave(id, len, waiting);
        true
    }

    /// The longest packet sent: a little longer than a slot.
    pub(super) const fn packet_len_max(&self) -> usize {
        self.plan.config.packet_len as usize + 64
    }

    /// Takes what arrived at a server's side and, sooner or later, sends it back.
    pub(super) fn child_data(&mut self, index: usize, mut buf: Buf, lost: u32) -> Check {
        self.report.bytes += buf.len() as u64;
        let child = &mut self.children[index];
        child.reader.take(&self.plan, &buf, lost)?;
        if child.closing {
            return Ok(());
        }
        let at = child.reader.at;
        if let Some(number) = child.reader.talk {
            self.outcomes[number].arrived = at;
            let talk = &self.plan.talks[number];
            if let Some((cut_at, how)) = talk.cut
                && at >= cut_at
            {
                let id = child.id;
                child.closing = true;
                child.held.clear();
                self.close(id, how);
                return Ok(());
            }
            if !talk.echo {
                child.held.clear();
                return Ok(());
            }
        }
        if self.plan.spills {
            buf.spill_if_scarce();
        }
        child.held.push(buf);
        if !self.meddling || self.rng.percent(70) {
            self.send_back(index);
        }
        Ok(())
    }

    /// Sends back what a server's side holds, once it knows for whom.
    pub(super) fn send_back(&mut self, index: usize) {
        let child = &mut self.children[index];
        let Some(talk) = child.reader.talk else { return };
        let (id, held) = (child.id, std::mem::take(&mut child.held));
        if child.closing || !self.plan.talks[talk].echo {
            return;
        }
        let records = self.plan.talks[talk].kind == Kind::SeqPacket;
        for buf in held {
            if !records && buf.len() > 1 && self.rng.percent(30) {
                let cut = self.rng.len(buf.len() - 1);
                self.give(id, buf.slice(0..cut).into());
                self.give(id, buf.slice(cut..buf.len()).into());
            } else {
                self.give(id, buf.into());
            }
        }
    }

    /// The client will send no more: everything goes back, then this side ends too.
    pub(super) fn child_eof(&mut self, index: usize) {
        self.send_back(index);
        let child = &mut self.children[index];
        if let Some(talk) = child.reader.talk {
            self.outcomes[talk].arrived_eof = true;
        }
        if child.closing {
            return;
        }
        child.closing = true;
        let id = child.id;
        if self.rng.percent(50) {
            self.reactor.finish(id);
        }
        self.close(id, CloseHow::Flush { within: LONG });
    }

    /// The server's side has ended: so does the client's, early or not.
    pub(super) fn client_eof(&mut self, talk: usize, id: SockId) {
        self.outcomes[talk].returned_eof = true;
        let early = self.clients[talk].as_mut().is_none_or(|client| {
            client.done = true;
            std::mem::replace(&mut client.closing, true)
        });
        if !early {
            let flush = self.rng.percent(50);
            self.close(id, if flush { CloseHow::Flush { within: LONG } } else { CloseHow::Now });
        }
    }

    /// Takes one packet; a server sends it back if it is whole.
    pub(super) fn packet(
        &mut self,
        index: usize,
        buf: Buf,
        from: Option<Address>,
        lost: u32,
    ) -> Check {
        self.report.packets += 1;
        let len_max = self.packet_len_max();
        let exact = ports::is_exact(&self.faults);
        let Some(port) = &mut self.ports[index] else { return Err("a packet for nobody".into()) };
        port.inbox.take(&buf, lost, len_max, exact || port.local)?;
        if !port.server || lost > 0 {
            return Ok(());
        }
        let id = port.id;
        let Some(from) = from else { return Err("a packet of nobody".into()) };
        let len = buf.len();
        let waiting = self.reactor.send_to(id, buf.into(), &from);
        self.gave(id, len, waiting);
        Ok(())
    }

    pub(super) fn set_reading(&mut self, id: SockId, on: bool) {
        self.reactor.set_reading(id, on);
        self.ledger.set_reading(id, on);
    }

    /// Does what no conversation asks for: pauses, late answers, calls with ids long dead.
    pub(super) fn meddle(&mut self, step: u64) {
        let open = self.ledger.open_ids();
        if !open.is_empty() && self.rng.percent(30) {
            let id = open[self.rng.index(open.len())];
            let before = self.paused.len();
            self.paused.retain(|paused| *paused != id);
            let resumed = self.paused.len() < before;
            if !resumed {
                self.paused.push(id);
            }
            self.set_reading(id, resumed);
        }
        if !self.children.is_empty() && self.rng.percent(50) {
            let child = self.rng.index(self.children.len());
            self.send_back(child);
        }
        if !self.dead.is_empty() && self.rng.percent(20) {
            let id = self.dead[self.rng.index(self.dead.len())];
            self.reactor.set_reading(id, true);
            self.reactor.send(id, Payload::Static(b"for nobody"));
            self.reactor.watch_sent(id, true);
            self.reactor.finish(id);
            self.close(id, CloseHow::Now);
        }
        if let Some(listener) = self.plan.doomed.filter(|_| step == self.doomed_at)
            && let Some(id) = self.listeners[listener]
        {
            self.close(id, CloseHow::Now);
        }
    }
}
