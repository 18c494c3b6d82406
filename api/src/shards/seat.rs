//! A runtime's place among shards: what it shares, and the connections handed to it.
//!
//! Invariant: a connection handed over waits here until its server takes connections, one after the other, so
//! that a server that is stopped or full has no more than a few; if its server is gone, another shard's gets it. The
//! end of a listener waits behind those it has accepted.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::Arc,
};

use netproc_core::{
    engine::Admit, process::Process, reactor::SysError, socket::AdoptError, table::ProcessId,
};

use super::{
    registry::{Membership, Registry},
    service::Ticket,
};
use crate::{handlers::Handlers, runtime::Runtime};

/// A connection that another thread has accepted for a server here.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(super) fd: OwnedFd,
    /// Held as long as it counts as waiting.
    pub(super) ticket: Ticket,
}

/// What waits here for a server.
#[derive(Debug)]
enum Waiting {
    Connection(Handed),
    /// Nobody accepts for it any more: it ends behind the connections that wait.
    End {
        server: ProcessId,
        err: SysError,
    },
}

impl Waiting {
    const fn server(&self) -> ProcessId {
        match self {
            Self::Connection(handed) => handed.ticket.server(),
            Self::End { server, .. } => *server,
        }
    }

    /// Its server is gone: another shard's gets a connection, if there is one.
    fn pass_on(self) {
        if let Self::Connection(Handed { fd, ticket }) = self {
            ticket.pass_on(fd);
        }
    }
}

/// What a runtime among shards knows of that.
#[derive(Debug)]
pub(crate) struct Seat {
    shard: usize,
    registry: Arc<Registry>,
    /// Servers started now are shared unless they say otherwise.
    setting_up: Cell<bool>,
    /// Its turn to end has come: for good, whichever wait sees it first.
    at_end: Cell<bool>,
    memberships: RefCell<Vec<Membership>>,
    handed: RefCell<VecDeque<Waiting>>,
}

impl Seat {
    pub(super) fn new(shard: usize, registry: Arc<Registry>) -> Self {
        let setting_up = Cell::new(true);
        Self {
            shard,
            registry,
            setting_up,
            at_end: Cell::default(),
            memberships: RefCell::default(),
            handed: RefCell::default(),
        }
    }

    pub(super) const fn shard(&self) -> usize {
        self.shard
    }

    pub(super) const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) const fn memberships(&self) -> &RefCell<Vec<Membership>> {
        &self.memberships
    }

    /// Whether a server is to be shared that says this of it.
    pub(crate) fn shares(&self, shared: Option<bool>) -> bool {
        shared.unwrap_or_else(|| self.setting_up.get())
    }

    /// Whether a wait that goes on for ever is to return since all shards are to end. What came before they were told
    /// to is served first; a `nested` one leaves that to those around it, since it may never hear of it.
    pub(crate) fn is_at_end(&self, nested: bool) -> bool {
        self.at_end.get() || nested && self.registry.is_stopping()
    }

    /// Whether something waits here for this server.
    fn has_waiting(&self, server: ProcessId) -> bool {
        self.handed.borrow().iter().any(|waiting| waiting.server() == server)
    }

    /// The server is gone, `deleted` or by itself: its service goes on without this shard, or ends.
    pub(crate) fn leave(&self, server: ProcessId, deleted: bool) {
        let mut memberships = self.memberships.borrow_mut();
        let at = memberships.iter().position(|it| it.server() == server);
        let left = at.map(|at| memberships.swap_remove(at));
        drop(memberships);
        if let Some(left) = left {
            left.leave(deleted);
        }
    }

    /// All of it ends; with `deleted` as by deleting every server.
    pub(crate) fn leave_all(&self, deleted: bool) {
        let memberships = self.memberships.take();
        memberships.into_iter().for_each(|membership| membership.leave(deleted));
        // Who waits here is another shard's from now on.
        self.handed.take().into_iter().for_each(Waiting::pass_on);
    }
}

impl Runtime {
    pub(super) fn end_set_up(&self) {
        if let Some(seat) = self.seat() {
            seat.setting_up.set(false);
        }
    }

    /// All that was posted before the shards were to end has run.
    pub(super) fn end_shard(&self) {
        if let Some(seat) = self.seat() {
            seat.at_end.set(true);
        }
    }

    /// Takes a connection in that another thread has accepted. Its server gets it behind everything that has happened
    /// already: what was posted next may delete that server.
    pub(crate) fn take_in(&self, handed: Handed) {
        if let Some(seat) = self.seat() {
            seat.handed.borrow_mut().push_back(Waiting::Connection(handed));
        }
    }

    /// Gives what waits here to its servers, as far as they take any and `admit` lets them; returns whether one did.
    pub(crate) fn take_handed(&self, admit: Admit<'_, Handlers>) -> bool {
        let Some(seat) = self.seat() else { return false };
        let mut taken = false;
        let count = seat.handed.borrow().len();
        for _ in 0..count {
            let Some(waiting) = seat.handed.borrow_mut().pop_front() else { break };
            let id = waiting.server();
            let Some(server) = self.process_by_id(id) else {
                seat.leave(id, false);
                waiting.pass_on();
                continue;
            };
            match waiting {
                // Nobody else could have what waits inside a server that is not served.
                Waiting::Connection(handed) if takes_now(&server.shared().borrow(), admit) => {
                    taken = true;
                    let adopted = self.engine_mut().adopt_connection(server.shared(), handed.fd);
                    if let Err(AdoptError::Sys(err)) = adopted {
                        self.engine_mut().accept_failed(server.shared(), err, None);
                    }
                }
                Waiting::End { err, .. } if !seat.has_waiting(id) => {
                    taken = true;
                    self.engine_mut().accepts_no_more(server.shared(), err);
                }
                waiting @ (Waiting::Connection(_) | Waiting::End { .. }) => {
                    seat.handed.borrow_mut().push_back(waiting);
                }
            }
        }
        taken
    }

    /// Whoever accepts for the server of this id could not; with `ended` it never will again.
    pub(super) fn accept_failed_for(&self, server: ProcessId, err: SysError, ended: bool) {
        if let Some(seat) = self.seat().filter(|_| ended) {
            seat.leave(server, false);
            seat.handed.borrow_mut().push_back(Waiting::End { server, err });
        } else if let Some(server) = self.process_by_id(server) {
            self.engine_mut().accept_failed(server.shared(), err, Some(super::service::REST));
        }
    }
}

/// Whether a server takes a connection in a wait that serves whom `admit` lets pass.
fn takes_now(server: &Process<Handlers>, admit: Admit<'_, Handlers>) -> bool {
    server.takes_connections() && admit.is_none_or(|admit| admit(server, true))
}
