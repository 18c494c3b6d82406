//! Accepting: from a completed accept to a new socket, and resting when descriptors run out.
//!
//! Invariant: a descriptor the kernel hands out is owned before anything is decided about it. A
//! listener that cannot accept sleeps until its pause is over or a descriptor of this reactor comes
//! free, whichever is first; it never spins. After a rest that did not help, the first who waits is
//! turned away, unless the listener was adopted: that one may be another's as well, who could be
//! quicker, and then this thread would wait.

use std::os::fd::AsFd as _;

use netproc_core::{
    reactor::{Event, Kind, Op, Role, SockId, SysError},
    slots::Key,
    socket,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

use crate::{
    batch::Batch,
    cqe::Completion,
    io::{Alarm, Io},
    reactor::UringReactor,
    sock::{Input, Phase, Sock},
};

impl UringReactor {
    /// A descriptor came free: listeners that ran out of them try again.
    pub(crate) fn wake_resting(&mut self) {
        while let Some(key) = self.io.resting.pop() {
            self.with(key, |sock, io| {
                sock.short = false;
                sock.wake_listener(io);
                io.mark(sock);
            });
        }
    }

    pub(crate) fn on_accept(&mut self, key: Key, completion: Completion, out: &mut Batch<'_>) {
        let Some(listener) = self.sockets.get_mut(key) else { return };
        if !completion.more() {
            listener.input = Input::Idle;
            self.io.mark(listener);
        }
        if let Err(errno) = completion.count() {
            listener.on_accept_error(errno, &mut self.io, out);
        } else if let Some(fd) = completion.into_fd()
            && !listener.muted
        {
            if std::mem::take(&mut listener.short) {
                self.io.reserve.refill();
            }
            let (kind, listener) = (listener.kind, listener.id());
            self.admit(Socket::from(fd), kind, listener, out);
        }
        self.settle_if_over(key, out);
    }

    fn admit(&mut self, fd: Socket, kind: Kind, listener: SockId, out: &mut Batch<'_>) {
        self.io.counters.syscalls += 1;
        self.io.counters.accepted += 1;
        // `None` when the peer is gone before it could be asked.
        let peer = socket::peer_addr(&fd).ok();
        let id = SockId(self.insert(fd, Role::Connection, kind, true));
        out.push(Event::Accepted { listener, id, peer });
    }
}

impl Sock {
    /// Lets a resting listener try again, at first by asking whether anyone is waiting: an accept
    /// armed without descriptors fails even when nobody is.
    pub(crate) fn wake_listener(&mut self, io: &mut Io) {
        if self.input == Input::Resting {
            self.input = Input::Idle;
            self.cautious = true;
            io.resting.retain(|key| *key != self.key);
            io.set_timer(self, Alarm::Retry, None);
        }
    }

    fn on_accept_error(&mut self, errno: i32, io: &mut Io, out: &mut Batch<'_>) {
        let err = SysError { op: Op::Accept, errno };
        match errno {
            libc::ECANCELED | libc::ECONNABORTED | libc::EINTR => {}
            libc::EAGAIN => self.cautious = true,
            _ if self.phase != Phase::Open || self.muted => {}
            _ if err.ends_listening() => self.fail(Op::Accept, errno),
            _ => self.rest(err, io, out),
        }
    }

    /// Waits for better times; if that has not helped before, the first who waits is turned away.
    fn rest(&mut self, err: SysError, io: &mut Io, out: &mut Batch<'_>) {
        let lasting = std::mem::replace(&mut self.short, err.is_out_of_descriptors());
        if lasting && !self.adopted {
            self.turn_away(io);
        }
        let pause = io.config.accept_pause;
        self.input = Input::Resting;
        io.set_timer_in(self, Alarm::Retry, pause);
        io.resting.push(self.key);
        let (listener, paused) = (self.id(), Some(pause));
        out.push(Event::AcceptFailed { listener, err, paused });
    }

    /// Accepts the first who waits into the reserve and closes. By plain calls: through the ring, the
    /// number given up would be anybody's until the next enter.
    fn turn_away(&self, io: &mut Io) {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        io.counters.syscalls += 1;
        // This socket waits in its calls; nobody else takes a caller away once one is seen.
        if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && io.reserve.turn_away(|| self.fd.accept4(libc::SOCK_CLOEXEC))
        {
            io.counters.turned_away += 1;
        }
    }
}
