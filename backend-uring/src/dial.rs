//! Connecting: asking the kernel, hearing how it went, and trying again where a backlog is full.
//!
//! Invariant: a connect ends in `Connected`, or fails the socket with its errno; at most one is in flight.

use std::time::Duration;

use netproc_core::{
    address::Address,
    reactor::{Event, Op},
    socket::{local_addr, unbind},
};
use socket2::SockAddr;

use crate::{
    batch::Batch,
    cqe::Completion,
    io::{Alarm, Io},
    sock::{Phase, Sock},
    sqe,
    token::OpKind,
};

/// How long a local connect that found the backlog full waits before it tries again.
const CONNECT_RETRY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dial {
    Ready,
    InFlight,
    Waiting,
}

/// Whom a connecting socket calls; boxed, as the kernel reads the address.
pub(crate) struct Dialing {
    pub(crate) to: SockAddr,
    pub(crate) state: Dial,
}

impl Sock {
    pub(crate) fn dial(&mut self, io: &mut Io) {
        if self.phase != Phase::Connecting {
            return;
        }
        let (fd, token) = (self.raw(), self.token(OpKind::Connect));
        let Some(dialing) = self.dialing.as_ref().filter(|own| own.state == Dial::Ready) else {
            return;
        };
        let sqe = sqe::connect(fd, &dialing.to, token);
        if self.submit(io, &sqe)
            && let Some(dialing) = &mut self.dialing
        {
            dialing.state = Dial::InFlight;
        }
    }

    pub(crate) fn on_connect(&mut self, completion: &Completion, io: &mut Io, out: &mut Batch<'_>) {
        io.mark(self);
        let Some(dialing) = &mut self.dialing else { return };
        dialing.state = Dial::Ready;
        if self.phase != Phase::Connecting {
            return;
        }
        match completion.count() {
            Ok(_) | Err(libc::EISCONN) => {
                let to = self.dialing.take().expect("looked at above").to;
                if self.is_own_peer(&to, io) {
                    return self.fail(Op::Connect, libc::ECONNREFUSED);
                }
                if self.muted {
                    self.phase = Phase::Flushing;
                } else {
                    self.phase = Phase::Open;
                    out.push(Event::Connected { id: self.id() });
                }
            }
            Err(libc::EINTR | libc::ECANCELED) => {}
            Err(libc::EAGAIN) if dialing.to.is_unix() => {
                dialing.state = Dial::Waiting;
                io.set_timer_in(self, Alarm::Retry, CONNECT_RETRY);
            }
            Err(errno) => {
                if dialing.to.is_unix() {
                    unbind(&self.fd);
                }
                self.fail(Op::Connect, errno);
            }
        }
    }

    /// Whether a connect to a port nobody listens on met itself, as TCP allows.
    fn is_own_peer(&self, to: &SockAddr, io: &mut Io) -> bool {
        let Some(to) = to.as_socket() else { return false };
        io.counters.syscalls += 1;
        local_addr(&self.fd).is_ok_and(|local| local == Address::from(to))
    }
}
