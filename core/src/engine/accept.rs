//! Accepting: a connection becomes a process with its server's handlers and a name of its own.
//!
//! Invariant: a connection is listed before anything is told of it, and its events never overtake
//! its birth. Logging and the sentinel are the upper layer's.

use std::{fmt::Write as _, rc::Rc, time::Duration};

use super::{Delivery, Engine, Owner, event_len};
use crate::{
    address::{Address, Family},
    event::LogEntry,
    machine::Phase,
    process::{Birth, Process, Shared},
    reactor::{CloseHow, Reactor, SockId, SysError},
};

/// Accept failures are logged this often at most, with a count.
const LOG_EVERY: Duration = Duration::from_secs(1);

impl<R: Reactor, H: Clone> Engine<R, H> {
    pub(super) fn handle_accepted(
        &mut self,
        server: &Shared<H>,
        id: SockId,
        from: Option<Address>,
    ) -> Option<Delivery<H>> {
        if server.borrow().phase != Phase::Listen {
            self.reactor.close(id, CloseHow::Now);
            return None;
        }
        self.accepted += 1;
        let local = self.local_of_accepted(server, id);
        let name = self.accepted_name(&server.borrow().name, from.as_ref());
        let s = server.borrow();
        let birth = Birth {
            kind: s.kind,
            phase: Phase::Open,
            sock: id,
            contact: s.contact.accepted(Some(local), from.clone()),
            limits: s.limits,
            plist: s.plist.clone(),
            handlers: s.handlers.clone(),
            coding: s.coding(),
            stopped: false,
            half_open: s.half_open,
        };
        let (linger, deaf) = (s.linger, s.deaf);
        drop(s);
        server.borrow_mut().served += 1;
        let waited = self.release(id);
        let process = self.list_new(&name, birth);
        self.change_flow(&process, |p| {
            (p.linger, p.deaf) = (linger, deaf);
            if let Some(Owner::Unborn(waiting)) = waited {
                // It was not read while it waited; the difference to `wants_reading` turns it on.
                p.reading = false;
                p.inbox_len = waiting.iter().map(event_len).sum();
                p.inbox = waiting;
            }
        });
        Some(Delivery::Accepted { server: Rc::clone(server), process, from })
    }

    /// Lists a process and makes it the owner of its socket.
    pub(super) fn list_new(&mut self, name: &str, birth: Birth<H>) -> Shared<H> {
        let sock = birth.sock;
        let mut made = None;
        self.table.insert(name, |id, name| {
            let process = Rc::new(std::cell::RefCell::new(Process::new(id, name, birth)));
            made.insert(process).clone()
        });
        let process = made.expect("`insert` calls its builder");
        self.own(sock, Owner::Process(Rc::clone(&process)));
        process
    }

    /// This end of a connection. The system is asked only where the server's own address does not
    /// say it: one call less for every connection.
    fn local_of_accepted(&self, server: &Shared<H>, id: SockId) -> Address {
        let bound = server.borrow().contact.local().clone();
        let wildcard = bound.socket_addr().is_some_and(|bound| bound.ip().is_unspecified());
        let asked = wildcard.then(|| self.reactor.local_addr(id).ok()).flatten();
        asked.unwrap_or(bound)
    }

    /// `SERVER <127.0.0.1:4711>`, or `SERVER <N>` for a local connection and a peer that is gone.
    fn accepted_name(&self, server: &str, from: Option<&Address>) -> String {
        let mut name = String::with_capacity(server.len() + 26);
        let written = match from {
            Some(address) if address.family() != Family::Local => {
                write!(name, "{server} <{}>", address.network_text(false))
            }
            _ => write!(name, "{server} <{}>", self.accepted),
        };
        debug_assert!(written.is_ok(), "a string takes all");
        name
    }

    pub(super) fn handle_accept_failed(
        &mut self,
        server: &Shared<H>,
        err: SysError,
        paused: Option<Duration>,
    ) -> Option<Delivery<H>> {
        let mut s = server.borrow_mut();
        s.accept_failures += 1;
        if s.accept_logged.is_some_and(|last| self.now.since(last) < LOG_EVERY) {
            return None;
        }
        s.accept_logged = Some(self.now);
        let count = std::mem::take(&mut s.accept_failures);
        let entry = LogEntry::AcceptFailed { err, count, paused };
        Some(Delivery::Log { server: Rc::clone(server), entry })
    }
}
