//! Input: bytes, records, packets, and the peer's end.
//!
//! Invariant: nothing is delivered to a process that is not open.

use std::rc::Rc;

use super::{Delivery, Engine};
use crate::{
    address::Address,
    event::{Event, Input},
    machine::{self, Phase},
    process::Shared,
    reactor::{CloseHow, Reactor, SysError},
};

impl<R: Reactor, H: Clone> Engine<R, H> {
    #[inline]
    pub(super) fn handle_data(process: &Shared<H>, input: Input) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        if p.phase != Phase::Open {
            return None;
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

    /// The peer's end is the end of the process, once what was queued has gone out; a half-open
    /// process is told and goes on.
    pub(super) fn handle_eof(&mut self, process: &Shared<H>) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        p.peer_finished = true;
        if p.half_open {
            let (process, event) = (Rc::clone(process), Event::PeerFinished);
            return Some(Delivery::Event { process, event });
        }
        if p.apply(machine::Event::PeerFinished)
            && let Some(sock) = p.sock
        {
            self.reactor.close(sock, CloseHow::Flush { within: p.limits.flush_within });
        }
        None
    }

    /// An error that ends nothing: told to a client, whose peer was chosen; a server hears from
    /// anybody, and anybody could fill its log.
    pub(super) fn handle_trouble(&mut self, process: &Shared<H>, err: SysError) {
        if !process.borrow().is_server() {
            let (process, event) = (Rc::clone(process), Event::Trouble(err));
            self.notices.push_back(Delivery::Event { process, event });
        }
    }
}
