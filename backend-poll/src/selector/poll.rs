//! poll(2): any Unix, level-triggered, O(n) for each wait.
//!
//! Invariant: between waits there is nothing to keep in step. The set is built for each wait from
//! what each socket lacks: a paused or ended socket is left out altogether, since the kernel would
//! report a hang-up without being asked, time and again. One whose peer has ended stays until the kernel
//! has named a hang-up once. Building borrows the descriptors, which keeps them open during the wait, and
//! costs less per socket than the kernel's own look at it.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use netproc_core::{reactor::SockId, slots::Slots};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
};

use super::{Drain, Found, Ready, Selector, Side, WAKER, millis};
use crate::{
    sock::{Class, Sock},
    wake::PollWaker,
};

#[derive(Debug, Default)]
pub(crate) struct PollSet {
    /// Whose the entries of the set are; the waker comes last.
    tokens: Vec<u64>,
    /// Empty between waits: only its memory is kept.
    fds: Vec<PollFd<'static>>,
}

/// The memory of an emptied set for descriptors borrowed for another time: `collect` reuses it.
fn reborrow<'a>(mut fds: Vec<PollFd<'_>>) -> Vec<PollFd<'a>> {
    fds.clear();
    fds.into_iter().map_while(|_| None).collect()
}

impl Selector for PollSet {
    fn add(&mut self, _: BorrowedFd<'_>, _: SockId, _: Side) -> nix::Result<()> {
        Ok(())
    }

    fn tell_room(&mut self, _: BorrowedFd<'_>, _: SockId, _: bool) -> nix::Result<()> {
        // Each wait asks for what is wanted then.
        Ok(())
    }

    fn remove(&mut self, _: BorrowedFd<'_>, _: bool) {}

    fn wait(
        &mut self,
        sockets: &Slots<Sock>,
        waker: &PollWaker,
        _: usize,
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> nix::Result<bool> {
        let mut fds = reborrow(std::mem::take(&mut self.fds));
        self.tokens.clear();
        for (key, sock) in sockets.iter() {
            let mut lacks = interest(sock);
            if let (Some(sink), true) = (&sock.sink, lacks.contains(PollFlags::POLLOUT)) {
                self.tokens.push(key.to_bits());
                fds.push(PollFd::new(sink.as_fd(), PollFlags::POLLOUT));
                lacks.remove(PollFlags::POLLOUT);
            }
            if !lacks.is_empty() || sock.minds_errors() {
                self.tokens.push(key.to_bits());
                fds.push(PollFd::new(sock.socket.as_fd(), lacks));
            }
        }
        self.tokens.push(WAKER);
        fds.push(PollFd::new(waker.as_fd(), PollFlags::POLLIN));
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(millis(timeout)).unwrap_or(PollTimeout::MAX)
        });
        let result = nix::poll::poll(&mut fds, timeout);
        if result.is_ok_and(|count| count > 0) {
            for (token, fd) in self.tokens.iter().zip(&fds) {
                let events = fd.revents().unwrap_or(PollFlags::empty());
                if !events.is_empty() {
                    found.push(*token, ready(events));
                }
            }
        }
        self.fds = reborrow(fds);
        result.map(|_| false)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn arm(&mut self, _: Option<Duration>) -> nix::Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// What the socket would use but is not known to be.
fn interest(sock: &Sock) -> PollFlags {
    let mut lacks = PollFlags::empty();
    // It would tell of the end of such a socket again and again, which has none of its own.
    let silent = sock.over && sock.class == Class::Packets;
    lacks.set(PollFlags::POLLIN, sock.wants_input() && !sock.can_read && !silent);
    let blocked = sock.wants_output() && !sock.can_write && sock.retry_at.is_none();
    lacks.set(PollFlags::POLLOUT, blocked);
    lacks
}

fn ready(events: PollFlags) -> Ready {
    let over = events.contains(PollFlags::POLLHUP);
    let last = over || events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL);
    Ready {
        readable: last || events.contains(PollFlags::POLLIN),
        writable: last || events.contains(PollFlags::POLLOUT),
        drain: if over {
            Drain::Over
        } else if last {
            Drain::Yes
        } else {
            Drain::No
        },
        error: events.contains(PollFlags::POLLERR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_set_keeps_its_memory() {
        let fds = reborrow(Vec::with_capacity(100));
        assert_eq!(reborrow(fds).capacity(), 100);
    }
}
