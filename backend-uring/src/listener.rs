//! Accepting: from a completed accept to a new socket, and resting when descriptors run out.
//!
//! Invariant: a descriptor the kernel hands out is owned before anything is decided about it. A
//! listener that cannot accept sleeps until its pause is over or a descriptor of this reactor comes
//! free, whichever is first; it never spins.

use netproc_core::{
    reactor::{Event, Kind, Op, Role, SockId, SysError},
    slots::Key,
    socket,
};
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
        match errno {
            libc::ECANCELED | libc::ECONNABORTED | libc::EINTR => {}
            libc::EAGAIN => self.cautious = true,
            _ if self.phase != Phase::Open || self.muted => {}
            _ => {
                let pause = io.config.accept_pause;
                self.input = Input::Resting;
                io.set_timer_in(self, Alarm::Retry, pause);
                io.resting.push(self.key);
                let err = SysError { op: Op::Accept, errno };
                let (listener, paused) = (self.id(), Some(pause));
                out.push(Event::AcceptFailed { listener, err, paused });
            }
        }
    }
}
