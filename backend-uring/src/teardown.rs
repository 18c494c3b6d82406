//! Letting go of everything, with operations in flight or not.
//!
//! Invariant: memory the kernel may still write or read is never freed. What does not come back in
//! time is leaked, because closing a ring is asynchronous and does nothing while a forked child or a
//! duplicate keeps it alive.

use netproc_core::{
    outbox::{Outbox, Queue},
    queue::EventQueue,
};

use crate::{batch::Batch, io::Io, reactor::UringReactor, ring::Sleep, sock::Phase};

impl UringReactor {
    /// Gives up memory that the kernel may still use.
    fn leak(&mut self) {
        for group in self.io.groups() {
            group.leak();
        }
        if let Some(own) = self.io.packets.take() {
            Box::leak(Box::new(own));
        }
        for (_, sock) in self.sockets.iter_mut() {
            let queue = std::mem::replace(&mut sock.queue, Queue::Bytes(Outbox::default()));
            Box::leak(Box::new((queue, sock.message.take(), sock.dialing.take())));
        }
        self.foreign.leak();
    }
}

impl Drop for UringReactor {
    fn drop(&mut self) {
        if self.io.ring.in_child() {
            return;
        }
        for (_, sock) in self.sockets.iter_mut() {
            sock.muted = true;
            sock.phase = Phase::Ending;
            sock.steady = false;
            sock.stop(&mut self.io);
        }
        let wait = self.io.config.drop_wait;
        let until = self.io.now().after(wait);
        if self.enter(Sleep::No).is_ok() {
            self.io.ring.cancel_everything(wait);
        }
        loop {
            // Nobody hears of it any more.
            let (mut events, mut more) = (EventQueue::new(), EventQueue::new());
            self.drain(&mut Batch::new(&mut events, &mut more, usize::MAX));
            self.end_quiet_sends();
            let left = until.since(self.io.now());
            if self.io.in_flight == 0 || left.is_zero() || self.enter(Sleep::For(left)).is_err() {
                break;
            }
        }
        if self.io.in_flight > 0 {
            return self.leak();
        }
        let Io { ring, streams, packets, pipes, .. } = &mut self.io;
        let packets = packets.as_mut().map(|own| &mut own.group);
        for group in std::iter::once(streams).chain(packets).chain(pipes) {
            if group.unregister(ring).is_err() {
                group.leak();
            }
        }
    }
}
