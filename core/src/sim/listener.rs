//! A listener's turn: accepts what has arrived, rests when descriptors run out.
//!
//! Invariant: nothing is accepted while paused but what was under way; a rest ends by itself and as
//! soon as any descriptor comes free; after a rest that did not help, the first who waits is turned
//! away. The connections it yields are entered by `sim.rs`.

use crate::{
    address::Address,
    reactor::{Event, Kind, Op, SysError},
    sim::{
        host::{Batch, Host},
        sock::Common,
    },
    slots::Key,
};

/// What only a listener has.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) fd: Key,
    pub(super) kind: Kind,
    /// Until when it rests, and how many descriptors had been freed when it began to.
    rest: Option<(u64, u64)>,
    /// It found no descriptor when it last accepted, and none came free since.
    short: bool,
}

impl Listener {
    pub(super) const fn new(fd: Key, kind: Kind) -> Self {
        Self { fd, kind, rest: None, short: false }
    }

    pub(super) fn local<'a>(&self, host: &'a Host) -> Option<&'a Address> {
        host.wire.listener_address(self.fd)
    }

    /// Closes the listener; the connections that wait there are reset.
    pub(super) fn end(&self, common: &mut Common, host: &mut Host) {
        host.wire.close_listener(&mut host.names, self.fd, host.now, &mut host.chaos);
        host.freed += 1;
        common.end(None, host);
    }

    /// Takes one connection, if one has arrived and nothing forbids it.
    pub(super) fn accept(
        &mut self,
        common: &mut Common,
        host: &mut Host,
        out: &mut Batch<'_>,
    ) -> Option<Key> {
        if let Some((until, freed)) = self.rest {
            if host.now < until && host.freed == freed {
                return None;
            }
            self.rest = None;
            self.short &= host.freed == freed;
        }
        if !common.wants_input() || !host.wire.can_accept(self.fd, host.now) {
            return None;
        }
        host.counters.syscalls += 1;
        if host.chaos.strikes(|faults| faults.emfile) {
            if std::mem::replace(&mut self.short, true) && host.config.reserve_descriptor {
                self.turn_away(host);
            }
            let pause = host.config.accept_pause;
            let span = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
            self.rest = Some((host.now.saturating_add(span), host.freed));
            let err = SysError { op: Op::Accept, errno: libc::EMFILE };
            host.tell(out, Event::AcceptFailed { listener: common.id, err, paused: Some(pause) });
            return None;
        }
        let end = host.wire.accept(self.fd, host.now)?;
        self.short = false;
        common.took_input();
        host.counters.accepted += 1;
        Some(end)
    }

    /// Accepts into the reserve and closes: the first who waits hears an end.
    fn turn_away(&self, host: &mut Host) {
        if let Some(end) = host.wire.accept(self.fd, host.now) {
            host.wire.close(&mut host.names, end, host.now, &mut host.chaos, false);
            host.counters.turned_away += 1;
        }
    }

    pub(super) fn next_due(&self, host: &Host) -> Option<u64> {
        let rest = self.rest.map(|(until, _)| until).filter(|until| *until > host.now);
        [rest, host.wire.next_caller(self.fd, host.now)].into_iter().flatten().min()
    }
}
