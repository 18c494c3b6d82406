//! Descriptors from and for elsewhere: adopting sockets, and a foreign loop that sleeps on this one.
//!
//! Invariant: nothing that a poll should see is missed by a foreign loop that arms before it sleeps.
//! The descriptor it sleeps on is an eventfd registered with the ring, not the ring's own: with
//! deferred task work the kernel does not wake those who poll the ring until someone enters it.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use io_uring::types::Timespec;
use netproc_core::{
    queue::EventQueue,
    reactor::{Descriptors, Kind, Op, Role, SockId, SysError, Tick},
    socket,
};
use socket2::Socket;

use crate::{
    batch::Batch,
    pipes::Pipes,
    reactor::UringReactor,
    ring::Sleep,
    sock::Sock,
    sqe,
    token::{OpKind, Token},
    wake::ForeignEvent,
};

/// The time set for a foreign loop.
#[derive(Default)]
pub(crate) struct Foreign {
    /// What the kernel reads; boxed, so that it stays when the reactor moves.
    time: Box<Timespec>,
    turn: u32,
    armed: bool,
}

impl Foreign {
    /// The time set has come, or was taken back.
    pub(crate) fn on_timeout(&mut self, token: Token) {
        self.armed &= token != Token::global(OpKind::Timeout, self.turn);
    }

    /// Gives up the time, which the kernel may still read.
    pub(crate) fn leak(&mut self) {
        Box::leak(std::mem::take(&mut self.time));
    }
}

impl UringReactor {
    fn foreign_event(&self) -> io::Result<ForeignEvent<'_>> {
        self.waker.foreign(|fd| self.io.ring.submitter().register_eventfd(fd))
    }

    /// Takes back the time set before; its completions are swallowed, since they would wake the
    /// foreign loop for nothing.
    fn disarm(&mut self) -> Result<(), SysError> {
        if std::mem::take(&mut self.foreign.armed) {
            let old = Token::global(OpKind::Timeout, self.foreign.turn);
            let token = Token::global(OpKind::Timeout, self.foreign.turn.wrapping_sub(1));
            self.io.submit_own(&sqe::cancel(old, token));
        }
        self.enter(Sleep::No)?;
        self.io.ring.reap();
        let swallowed = self.io.ring.discard(OpKind::Timeout);
        self.io.ended(swallowed, true);
        Ok(())
    }

    /// Returns whether there was room for it.
    fn set_time(&mut self, at: Tick) -> bool {
        *self.foreign.time = Timespec::from(at.since(self.io.now()));
        self.foreign.turn = self.foreign.turn.wrapping_add(1);
        let token = Token::global(OpKind::Timeout, self.foreign.turn);
        self.foreign.armed = self.io.submit_own(&sqe::timeout(&self.foreign.time, token));
        self.foreign.armed
    }
}

impl Descriptors for UringReactor {
    fn adopt(&mut self, fd: OwnedFd, role: Role, reading: bool) -> Result<SockId, SysError> {
        self.usable(Op::Open)?;
        let (socket, kind) = socket::adopted(fd)?;
        if (role == Role::Datagram) != (kind == Kind::Datagram) {
            return Err(SysError { op: Op::Open, errno: libc::EPROTOTYPE });
        }
        if kind != Kind::Stream {
            self.io.need_packets()?;
        }
        if matches!(socket.linger(), Ok(Some(span)) if span > Duration::ZERO) {
            // Such a close would block the whole thread.
            socket.set_linger(None).map_err(|err| SysError::new(Op::Option, &err))?;
        }
        // Whoever else holds it has not asked for joined packets; they are understood all the same.
        let udp = kind == Kind::Datagram && socket::speaks_udp(&socket);
        let key = self.insert(socket, role, kind, reading);
        self.io.counters.accepted += u64::from(role == Role::Connection);
        self.with(key, |sock, _| (sock.adopted, sock.udp) = (true, udp));
        Ok(SockId(key))
    }

    fn adopt_pipes(
        &mut self,
        output: OwnedFd,
        input: Option<OwnedFd>,
        reading: bool,
    ) -> Result<SockId, SysError> {
        self.usable(Op::Open)?;
        self.io.need_pipes()?;
        let pipes = Pipes::new(input)?;
        let key = self.insert(Socket::from(output), Role::Connection, Kind::Stream, reading);
        self.with(key, |sock, _| {
            // There is nothing to shut down.
            sock.adopted = true;
            sock.pipes = Some(Box::new(pipes));
        });
        Ok(SockId(key))
    }

    fn wind_up(&mut self, id: SockId) {
        self.with(id.0, Sock::wind_up);
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.usable(Op::Wait).ok()?;
        self.foreign_event().ok().map(|event| event.as_fd())
    }

    fn arm(&mut self, at: Option<Tick>) -> Result<(), SysError> {
        self.usable(Op::Wait)?;
        let mut early = self.early.take().unwrap_or_default();
        self.prepare(&mut Batch::new(&mut EventQueue::new(), &mut early, 0));
        self.early = Some(early);
        self.disarm()?;
        let failed = |err: io::Error| SysError::new(Op::Wait, &err);
        // Before anybody looks: without deferred task work the kernel completes and signals whenever it likes,
        // and what came between the look and the emptying would be neither seen nor signalled.
        self.foreign_event().map_err(failed)?.clear();
        self.end_quiet_sends();
        let told = self.early.as_ref().is_some_and(|early| !early.is_empty());
        // Who was marked as its quiet send has ended is looked at by a poll.
        let marked = !self.io.reporting.is_empty() || !self.io.marked.is_empty();
        let waiting = told || marked || self.has_work();
        if waiting {
            self.foreign_event().map_err(failed)?.signal();
        }
        self.io.counters.syscalls += 1 + u64::from(waiting);
        if let Some(at) = at.into_iter().chain(self.io.next_timer()).min()
            && !self.set_time(at)
        {
            // Nothing would end its sleep.
            self.foreign_event().map_err(failed)?.signal();
        }
        // After the eventfd was emptied: work that came in between is run, all of it, and signals again.
        self.enter(Sleep::Look)
    }
}
