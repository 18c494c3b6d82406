//! Accepting: a connection becomes a process with its server's handlers and a name of its own.
//!
//! Invariant: a connection is listed before anything is told of it, and its events never overtake
//! its birth. A server has no more listed connections than its limit. Logging and the sentinel are the
//! upper layer's.

use std::{cell::RefCell, fmt::Write as _, net::SocketAddrV4, rc::Rc, time::Duration};

use super::{Delivery, Engine, Owner, event_len};
use crate::{
    address::{Address, Family},
    event::LogEntry,
    machine::Phase,
    process::{Birth, Crowded, Limits, Process, Shared},
    reactor::{CloseHow, Reactor, SockId, SysError},
    table::ProcessId,
};

impl<R: Reactor, H: Clone> Engine<R, H> {
    #[inline(never)]
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
        let proxied = server.borrow().wants_proxy_headers();
        if proxied && !server.borrow().trusts(from.as_ref()) {
            return self.refuse_stranger(server, id, from);
        }
        if server.borrow().is_full() {
            return self.turn_away(server, id);
        }
        self.accepted += 1;
        let local = self.local_of_accepted(server, id);
        let s = server.borrow();
        let name = self.accepted_name(&s.name, from.as_ref());
        let birth = || Birth {
            kind: s.kind,
            phase: if proxied || s.layers.is_some() { Phase::Connect } else { Phase::Open },
            sock: Some(id),
            contact: s.contact.accepted(Some(local), from.clone()),
            limits: Rc::clone(&s.limits),
            plist: s.plist.clone(),
            handlers: s.handlers.clone(),
            coding: s.coding(),
            layers: s.layers.clone(),
            stopped: false,
            half_open: s.half_open,
        };
        let (linger, deaf) = (s.linger, s.deaf);
        let waited = self.release(id);
        let process = self.list_born(&name, birth);
        drop(s);
        self.name = name;
        process.borrow_mut().linger = linger;
        // Else it reads already, as it shall.
        if deaf || waited.is_some() {
            self.change_flow(&process, |p| {
                p.deaf = deaf;
                if let Some(Owner::Unborn(waiting)) = waited {
                    // It was not read while it waited; the difference to `wants_reading` turns it on.
                    p.reading = false;
                    p.inbox_len = waiting.events.iter().map(event_len).sum();
                    p.inbox = waiting.events;
                }
            });
        }
        self.count_in(server, &process);
        self.accepted_in_layers(&process, id, proxied);
        Some(Delivery::Accepted { server: Rc::clone(server), process, from })
    }

    /// Counts a new connection; with the last place taken, the others have to wait or are told.
    fn count_in(&mut self, server: &Shared<H>, process: &Shared<H>) {
        let mut s = server.borrow_mut();
        s.served += 1;
        s.serving.get_or_insert_default().connections += 1;
        process.borrow_mut().counted_by = Some(s.id);
        let closed = s.is_full() && s.limits.crowded == Crowded::Leave;
        drop(s);
        if closed {
            self.change_flow(server, |s| s.holding = true);
            let entry = self.crowded(server);
            self.notices.extend(entry);
        }
    }

    /// A connection has ended; one that outlives its server is nobody's concern.
    pub(super) fn count_out(&mut self, server: ProcessId) {
        let Some(server) = self.table.get(server).cloned() else { return };
        self.change_flow(&server, |s| {
            let serving = s.serving.get_or_insert_default();
            debug_assert!(serving.connections > 0, "each was counted in");
            serving.connections = serving.connections.saturating_sub(1);
            s.holding &= s.is_full();
        });
    }

    /// Ends a connection there is no place for. Its bytes are unread, so it may be a reset.
    pub(super) fn turn_away(&mut self, server: &Shared<H>, id: SockId) -> Option<Delivery<H>> {
        self.drop_unborn(id);
        self.crowded(server)
    }

    /// What to log of a server that is full, if it is time to.
    fn crowded(&self, server: &Shared<H>) -> Option<Delivery<H>> {
        let mut s = server.borrow_mut();
        let Limits { log_every, crowded, connections_max, .. } = *s.limits;
        let count = s.serving.get_or_insert_default().crowdings.note(self.now, log_every)?;
        let entry = LogEntry::Crowded { connections_max: connections_max?, crowded, count };
        Some(Delivery::Log { server: Rc::clone(server), entry })
    }

    /// Lists a process and makes it the owner of its socket.
    pub(super) fn list_new(&mut self, name: &str, birth: Birth<H>) -> Shared<H> {
        self.list_born(name, || birth)
    }

    /// The same for one whose birth is told where the process is made, so that nothing of it is moved.
    #[inline(always)]
    fn list_born(&mut self, name: &str, birth: impl FnOnce() -> Birth<H>) -> Shared<H> {
        let mut made = None;
        self.table.insert(name, |id, name| {
            let process = Rc::new(RefCell::new(Process::new(id, name, birth())));
            made.insert(process).clone()
        });
        let process = made.expect("`insert` calls its builder");
        let sock = process.borrow().sock;
        if let Some(sock) = sock {
            self.own(sock, Owner::Process(Rc::clone(&process)));
        }
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

    /// By who really connected, whomever a proxy names: the name is given before that is known, and two
    /// connections may be made for the same client.
    ///
    /// `SERVER <127.0.0.1:4711>`, or `SERVER <N>` for a local connection and a peer that is gone.
    ///
    /// In the engine's own string, to be given back.
    fn accepted_name(&mut self, server: &str, from: Option<&Address>) -> String {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        name.push_str(server);
        let written = match from {
            Some(Address::V4(address)) => {
                push_v4(&mut name, *address);
                Ok(())
            }
            Some(address) if address.family() != Family::Local => {
                write!(name, " <{}>", address.network_text(false))
            }
            _ => write!(name, " <{}>", self.accepted),
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
        let every = s.limits.log_every;
        let count = s.serving.get_or_insert_default().failures.note(self.now, every)?;
        let entry = LogEntry::AcceptFailed { err, count, paused };
        Some(Delivery::Log { server: Rc::clone(server), entry })
    }
}

/// The longest that [`push_v4`] writes: ` <255.255.255.255:65535>`.
const V4_LEN_MAX: usize = 24;

/// Writes ` <127.0.0.1:4711>`, as the formatter would in twenty times as many steps: each connection over
/// IPv4 has such a name. From its end, which is how digits come, and so into memory of its own.
fn push_v4(name: &mut String, address: SocketAddrV4) {
    let mut text = [0; V4_LEN_MAX];
    let mut at = put_before(&mut text, V4_LEN_MAX, b'>');
    at = put_number_before(&mut text, at, address.port());
    let mut between = b':';
    for octet in address.ip().octets().into_iter().rev() {
        at = put_before(&mut text, at, between);
        at = put_number_before(&mut text, at, octet.into());
        between = b'.';
    }
    at = put_before(&mut text, at, b'<');
    at = put_before(&mut text, at, b' ');
    name.push_str(str::from_utf8(&text[at..]).expect("digits and marks are text"));
}

/// Writes a byte in front of `at`; returns where it stands.
#[inline]
const fn put_before(text: &mut [u8; V4_LEN_MAX], at: usize, byte: u8) -> usize {
    text[at - 1] = byte;
    at - 1
}

#[inline]
fn put_number_before(text: &mut [u8; V4_LEN_MAX], mut at: usize, mut number: u16) -> usize {
    loop {
        at = put_before(text, at, b'0' + (number % 10).to_le_bytes()[0]);
        number /= 10;
        if number == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_by_hand_is_the_formatters() {
        for address in ["0.0.0.0:0", "127.0.0.1:4711", "255.255.255.255:65535", "10.200.9.99:100"] {
            let mut name = String::from("srv");
            push_v4(&mut name, address.parse().expect("an address"));
            assert_eq!(name, format!("srv <{address}>"));
        }
    }
}
