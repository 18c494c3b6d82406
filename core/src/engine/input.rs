//! Input: bytes, records, packets, and the peer's end.
//!
//! Invariant: nothing is delivered to a process that is not open.

use std::rc::Rc;

use super::{Delivery, Engine, event_len, spilled};
use crate::{
    address::Address,
    coding::Coding,
    event::{Event, Input, Packet},
    machine,
    pool::Buf,
    process::{Shared, TextState},
    reactor::{self, CloseHow, Kind, Reactor, SockId, SysError},
};

impl<R: Reactor, H: Clone> Engine<R, H> {
    #[inline]
    pub(super) fn handle_data(process: &Shared<H>, mut input: Input) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        if !p.phase.is_open() {
            return None;
        }
        if p.coding.as_ref().is_some_and(|coding| !coding.aside) {
            input = p.decode(input)?;
        }
        p.served += 1;
        Some(Delivery::Input { process: Rc::clone(process), input })
    }

    /// A packet: its sender is the peer from now on, before the filter sees it.
    pub(super) fn handle_datagram(
        process: &Shared<H>,
        input: Input,
        from: Option<Address>,
    ) -> Option<Delivery<H>> {
        process.borrow_mut().contact.set_remote(from);
        Self::handle_data(process, input)
    }

    /// The next packet of `process`, if that is what comes next anyway and it may take it: the rest of a
    /// batch whose first was delivered.
    pub fn next_packet(&mut self, process: &Shared<H>) -> Option<Packet> {
        let p = process.borrow();
        let event = self.queue.front_other()?;
        let next = matches!(event, reactor::Event::Datagram { id, .. } if p.sock == Some(*id))
            && p.admits(event);
        drop(p);
        if !next {
            return None;
        }
        let event = self.queue.pop()?;
        match self.handle(process, event)? {
            Delivery::Input { input, .. } => {
                Some(Packet::new(input, process.borrow().contact.remote().cloned()))
            }
            other @ (Delivery::Event { .. }
            | Delivery::Accepted { .. }
            | Delivery::Log { .. }
            | Delivery::Woken) => {
                self.notices.push_back(other);
                None
            }
        }
    }

    /// The peer's end is the end of the process, once what was queued has gone out; a half-open
    /// process is told and goes on.
    pub(super) fn handle_eof(&mut self, process: &Shared<H>) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        p.peer_finished = true;
        if p.child.is_some() {
            // It may run on without output, and may be sent what it reads.
            return None;
        }
        // A half-open connection goes on until its own half has ended as well; one that was cut off is over, or its
        // user would take for whole what came.
        let cut = p.layer.as_ref().is_some_and(|state| state.truncated);
        let half_open = p.half_open && !cut;
        if (p.finished || !half_open)
            && p.apply(machine::Event::PeerFinished)
            && let Some(sock) = p.sock
        {
            self.say_goodbye(&mut p, sock);
            self.settle(&mut p);
            self.reactor.close(sock, CloseHow::Flush { within: p.limits.flush_within });
        }
        half_open
            .then(|| Delivery::Event { process: Rc::clone(process), event: Event::PeerFinished })
    }

    /// Cuts input of a stream to what one filter call may bring; the rest comes next.
    #[inline]
    pub(super) fn within_input_len_max(
        &mut self,
        process: &Shared<H>,
        id: SockId,
        buf: Buf,
    ) -> Buf {
        let max = self.input_len_max;
        if buf.len() <= max || process.borrow().kind != Kind::Stream {
            return buf;
        }
        let rest = reactor::Event::Data { id, buf: buf.slice(max..buf.len()), lost: 0 };
        let rest = spilled(rest);
        let mut p = process.borrow_mut();
        p.inbox_len += event_len(&rest);
        p.inbox.push_front(rest);
        drop(p);
        self.make_ready(process);
        buf.slice(0..max)
    }

    /// Before an end is told: characters that were never completed, in an input of their own.
    pub(super) fn leftovers(process: &Shared<H>) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        if p.coding.is_none() || !p.phase.is_open() {
            return None;
        }
        let input = p.leftovers()?;
        p.served += 1;
        Some(Delivery::Input { process: Rc::clone(process), input })
    }

    /// Replaces the coding. Of a character under way, the bytes that came count by the old one.
    pub fn set_coding(process: &Shared<H>, coding: Coding) {
        let mut p = process.borrow_mut();
        let mut state = TextState::boxed(coding);
        if let Some(old) = &mut p.coding {
            state.carried = old.leftovers();
            state.held = std::mem::take(&mut old.held);
            state.aside = old.aside;
        }
        p.coding = Some(state);
    }

    /// An error that ends nothing. A server is not told of peers that cannot be reached: it hears from
    /// anybody, and anybody could fill its log.
    pub(super) fn handle_trouble(&mut self, process: &Shared<H>, err: SysError) {
        let mut p = process.borrow_mut();
        if let Some(child) = &mut p.child {
            // Nothing can be sent any more, and nothing waits for room.
            child.unread = true;
            (p.finished, p.refused, p.queued) = (true, false, 0);
            drop(p);
            self.change_flow(process, |p| p.holding = false);
            p = process.borrow_mut();
        }
        if p.flushing > 0 {
            p.trouble = Some(err);
        } else if !p.troubled && (!p.is_server() || !is_unreachable(err)) {
            // One at a time: who never asks for events gathers none.
            p.troubled = true;
            let (process, event) = (Rc::clone(process), Event::Trouble(err));
            self.notices.push_back(Delivery::Event { process, event });
        }
    }
}

/// Whether an error says that the peer, or the way to it, is not there.
const fn is_unreachable(err: SysError) -> bool {
    matches!(err.errno, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ENOENT)
}
