//! Ends: the connection's, the connect's, the caller's.
//!
//! Invariant: a process ends once; it leaves the list, and its name is free, before anybody is told.

use std::{rc::Rc, time::Duration};

use super::{Delivery, Engine, Owner};
use crate::{
    child::{ChildExit, ProcessType},
    event::{Event, Failure},
    machine::{self, Phase},
    process::{Exit, Process, Shared},
    reactor::{self, CloseHow, Op, Reactor, SockId, SysError},
};

impl<R: Reactor, H: Clone> Engine<R, H> {
    pub(super) fn handle_closed(
        &mut self,
        process: &Shared<H>,
        cause: Option<SysError>,
        unsent: u64,
    ) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        let unsent = p.without_notice(unsent).saturating_add(p.kept_len());
        p.unsent = unsent;
        let sock = p.sock.take();
        drop(p);
        if let Some(sock) = sock {
            self.release(sock);
        }
        if process.borrow().child.is_some() {
            return self.child_closed(process);
        }
        if process.borrow().phase == Phase::Connect {
            let unknown = SysError { op: Op::Connect, errno: libc::ECONNABORTED };
            let failed = process.borrow().layer_failed.clone();
            let failure = failed.map(|err| match err.downcast() {
                Some(&err) => Failure::ProxyHeader(err),
                None => Failure::Handshake(err),
            });
            let failure = failure.unwrap_or_else(|| cause.unwrap_or(unknown).into());
            return self.handle_connect_failed(process, failure);
        }
        let p = process.borrow();
        let reason = p.end_reason(cause, unsent);
        let (exit, event) = if p.process_type == ProcessType::Pipe {
            let exit = ChildExit::Code(0);
            (Exit::Child(exit), Event::Ended { exit, unsent })
        } else {
            (Exit::Broken(reason), Event::Broken { reason, unsent })
        };
        drop(p);
        let ended = self.end(process, machine::Event::PeerClosed, exit, None);
        ended.then(|| Delivery::Event { process: Rc::clone(process), event })
    }

    /// Deletes a process; returns whether its sentinel is to hear of it, which is the first time
    /// only.
    ///
    /// What is queued still goes out, within the time of its `linger` option or of its limits,
    /// unless `how` says otherwise. Input not delivered yet is thrown away. The ends of a child are
    /// closed at once; whoever has started it kills it.
    pub fn delete(&mut self, process: &Shared<H>, how: Option<CloseHow>) -> bool {
        let mut p = process.borrow_mut();
        p.deleted = true;
        let (exit, how) = match p.process_type {
            ProcessType::Network => (Exit::Deleted, how),
            ProcessType::Real => (Exit::Child(ChildExit::DELETED), Some(CloseHow::Now)),
            ProcessType::Pipe => (Exit::Child(ChildExit::Code(0)), Some(CloseHow::Now)),
        };
        drop(p);
        self.end(process, machine::Event::Deleted, exit, how)
    }

    /// Ends a process in the engine's books: phase, list, socket, inbox.
    pub(super) fn end(
        &mut self,
        process: &Shared<H>,
        event: machine::Event,
        exit: Exit,
        how: Option<CloseHow>,
    ) -> bool {
        let mut p = process.borrow_mut();
        let looked_up = p.is_looking_up();
        if !p.apply(event) {
            return false;
        }
        // Before what is stored of it goes.
        let left = p.sock.map_or(0, |sock| self.left_at(&p, sock));
        self.looking_up -= usize::from(looked_up);
        self.children -= usize::from(p.forget_child_news());
        p.exit = exit;
        let connecting = p.connecting.take();
        let early = connecting.as_ref().map_or(0, |connecting| connecting.early_len);
        let (id, counted_by) = (p.id, p.counted_by.take());
        // Almost always it is empty, and then not even moved.
        let inbox = (!p.inbox.is_empty()).then(|| std::mem::take(&mut p.inbox));
        p.inbox_len = 0;
        let sock = p.sock.take();
        if let Some(sock) = sock {
            p.unsent = left;
            if !matches!(how, Some(CloseHow::Now | CloseHow::Reset)) && p.linger != Some(0) {
                self.say_goodbye(&mut p, sock);
            }
        }
        if let Some(state) = &mut p.layer {
            state.waiting.clear();
        }
        if looked_up {
            p.unsent = early;
        }
        if let (Some(file), Some(_)) = (p.file.take(), sock)
            && event == machine::Event::Deleted
        {
            // Before the close: the socket keeps the inode, and no stranger can be taken for it.
            file.remove();
        }
        let how = how.unwrap_or_else(|| Self::lingers(&self.reactor, &p, sock));
        drop(p);
        if let Some(racing) = connecting.and_then(|connecting| connecting.racing) {
            self.end_race(*racing, sock);
        }
        if let Some(sock) = sock {
            self.release(sock);
            self.reactor.close(sock, how);
        }
        self.table.remove(id);
        // Nothing follows the end: what was to be told of the process is told no more.
        let others =
            |notice: &Delivery<H>| !notice.process().is_some_and(|p| Rc::ptr_eq(p, process));
        self.notices.retain(others);
        self.asked_for.retain(others);
        // Its last handle must not go while the engine is at work: dropping it may run anything.
        if std::mem::take(&mut process.borrow_mut().ready) {
            self.ready.retain(|p| !Rc::ptr_eq(p, process));
        }
        for event in inbox.into_iter().flatten() {
            if let reactor::Event::Accepted { id, .. } = event {
                self.drop_unborn(id);
            }
        }
        if let Some(server) = counted_by {
            self.count_out(server);
        }
        true
    }

    /// Bytes that were accepted and the system does not have, be the end of their socket told or not.
    fn left_at(&self, p: &Process<H>, sock: SockId) -> u64 {
        let given = self.reactor.unsent(sock).or_else(|| self.queue.unsent(sock));
        let unsent = given.map(|unsent| p.without_notice(unsent));
        let unsent = unsent.or_else(|| p.end_in_store().map(|(_, unsent)| unsent));
        unsent.unwrap_or(0).saturating_add(p.kept_len())
    }

    /// How a socket ends when nobody said: what is queued goes out, within the time of the `linger` option
    /// or of the limits.
    fn lingers(reactor: &R, p: &Process<H>, sock: Option<SockId>) -> CloseHow {
        match (p.linger, sock) {
            (Some(0), _) => CloseHow::Reset,
            (Some(seconds), _) => CloseHow::Flush { within: Duration::from_secs(seconds.into()) },
            // Packets may be empty.
            (None, Some(sock)) if reactor.queued(sock) > 0 || reactor.queued_packets(sock) > 0 => {
                CloseHow::Flush { within: p.limits.flush_within }
            }
            (None, _) => CloseHow::Now,
        }
    }

    /// A connection that was accepted but never born ends: with its server, or for want of a place.
    pub(super) fn drop_unborn(&mut self, id: SockId) {
        let owner = self.release(id);
        let gone = matches!(&owner, Some(Owner::Unborn(waiting))
            if waiting.events.iter().any(|event| matches!(event, reactor::Event::Closed { .. })));
        if !gone {
            self.reactor.close(id, CloseHow::Now);
        }
    }
}
