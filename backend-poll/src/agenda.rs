//! What there is to do at the next poll: lists of sockets, so that nothing scans them all.
//!
//! Invariant: a socket is on a list at most once, kept by a flag in the socket, but for `blocked`, which
//! is gone through before each wait; an id on a list may be dead, and is skipped then. Deadlines are the
//! exception: an entry that no longer matches its socket's own deadline is void.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    os::fd::OwnedFd,
};

use netproc_core::{
    queue::EventQueue,
    reactor::{SockId, SysError, Tick},
};

use crate::{
    doubts::Doubts,
    sock::{Class, Sock},
};

/// Void deadlines that are kept besides two of each socket.
const VOID_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Readable and wanted, writable and wanted, or both: the hot list.
    pub(crate) ready: VecDeque<SockId>,
    /// Who had read so much that the last poll was over, and how many reads that were: it goes on with its turn in the
    /// next, before anybody else has one. It counts as listed in `ready`.
    going_on: Option<(SockId, u32)>,
    /// Has something new to send, or to end.
    pub(crate) dirty: Vec<SockId>,
    /// Sockets of UDP that found no room and are to be told of it.
    pub(crate) blocked: Vec<SockId>,
    /// Over; closing it is all that is left.
    pub(crate) ended: VecDeque<SockId>,
    /// Watched, with bytes sent and not reported.
    pub(crate) sent: VecDeque<SockId>,
    /// Listeners that found no descriptor, now or some time ago.
    pub(crate) resting: Vec<SockId>,
    /// A packet of theirs was refused, or their pipe has no reader, and that is not told yet.
    pub(crate) troubles: VecDeque<(SockId, SysError)>,
    /// Packets that came joined with others and found the batch full.
    pub(crate) pieces: EventQueue,
    pub(crate) doubts: Doubts,
    /// Ends of pipes that nothing more goes into, to be closed.
    pub(crate) finished: Vec<OwnedFd>,
    deadlines: BinaryHeap<Reverse<(Tick, SockId)>>,
}

impl Agenda {
    /// Gives the socket a turn in this poll or the next.
    #[inline]
    pub(crate) fn ready(&mut self, id: SockId, sock: &mut Sock) {
        if !std::mem::replace(&mut sock.listed.ready, true) {
            self.ready.push_back(id);
        }
    }

    /// Has the socket go on with its turn in the next poll, in which it has had so many reads.
    pub(crate) fn go_on(&mut self, id: SockId, sock: &mut Sock, reads: u32) {
        debug_assert!(self.going_on.is_none(), "the batch is done, and nobody reads any more");
        if !std::mem::replace(&mut sock.listed.ready, true) {
            self.going_on = Some((id, reads));
        }
    }

    /// Who has not come to the end of its turn.
    #[inline]
    pub(crate) const fn take_going_on(&mut self) -> Option<(SockId, u32)> {
        self.going_on.take()
    }

    /// Whether there is such a one.
    #[inline]
    pub(crate) const fn goes_on(&self) -> bool {
        self.going_on.is_some()
    }

    /// Has the socket's output looked at before the next wait.
    #[inline]
    pub(crate) fn dirty(&mut self, id: SockId, sock: &mut Sock) {
        if !std::mem::replace(&mut sock.listed.dirty, true) {
            if self.dirty.len() < self.dirty.capacity() {
                self.dirty.push(id);
            } else {
                self.dirty_one_more(id);
            }
        }
    }

    /// Apart, so that the values of its caller need not get out of the way of a call.
    #[cold]
    fn dirty_one_more(&mut self, id: SockId) {
        self.dirty.push(id);
    }

    /// Has the socket closed and its end told.
    pub(crate) fn ended(&mut self, id: SockId, sock: &mut Sock) {
        if std::mem::replace(&mut sock.listed.ended, true) {
            return;
        }
        // Whoever ends a server may want its address at once, however many others end with it.
        if matches!(sock.class, Class::Listener(_)) {
            self.ended.push_front(id);
        } else {
            self.ended.push_back(id);
        }
    }

    /// Has bytes reported that a watched socket has sent.
    pub(crate) fn sent(&mut self, id: SockId, sock: &mut Sock) {
        if !std::mem::replace(&mut sock.listed.sent, true) {
            self.sent.push_back(id);
        }
    }

    /// Has it told that a packet was refused, or that nobody reads the pipe.
    pub(crate) fn trouble(&mut self, id: SockId, sock: &mut Sock, err: SysError) {
        debug_assert!(!sock.listed.troubled, "who is refused waits until that is told");
        sock.listed.troubled = true;
        self.troubles.push_back((id, err));
    }

    /// Has the listener try again as soon as a descriptor comes free.
    pub(crate) fn rest(&mut self, id: SockId, sock: &mut Sock) {
        if !std::mem::replace(&mut sock.listed.resting, true) {
            self.resting.push(id);
        }
    }

    /// Has the socket looked at when `at` has come.
    pub(crate) fn at(&mut self, at: Tick, id: SockId) {
        self.deadlines.push(Reverse((at, id)));
    }

    /// The earliest deadline that `holds` still confirms; void ones before it are forgotten.
    pub(crate) fn next_deadline(
        &mut self,
        holds: impl Fn(SockId, Tick) -> bool,
    ) -> Option<(Tick, SockId)> {
        while let Some(&Reverse((at, id))) = self.deadlines.peek() {
            if holds(id, at) {
                return Some((at, id));
            }
            self.deadlines.pop();
        }
        None
    }

    /// Forgets those that are void, once there are many more than sockets: they may be far away.
    pub(crate) fn tidy_deadlines(&mut self, socks: usize, holds: impl Fn(SockId, Tick) -> bool) {
        if self.deadlines.len() > 2 * socks + VOID_MAX {
            self.deadlines.retain(|&Reverse((at, id))| holds(id, at));
        }
    }

    /// Forgets the earliest deadline.
    pub(crate) fn pop_deadline(&mut self) {
        self.deadlines.pop();
    }

    /// Whether something is to be told, or to be closed.
    #[inline]
    pub(crate) fn is_behind(&self) -> bool {
        let told = self.pieces.is_empty() & self.troubles.is_empty() & self.sent.is_empty();
        !(told & self.ended.is_empty() & self.finished.is_empty())
    }

    /// Whether something waits that needs no word from the kernel.
    pub(crate) fn is_pressing(&self) -> bool {
        !(self.ready.is_empty()
            && !self.goes_on()
            && self.dirty.is_empty()
            && self.ended.is_empty()
            && self.sent.is_empty()
            && self.troubles.is_empty()
            && self.pieces.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use netproc_core::slots::Key;

    use super::*;

    #[test]
    fn void_deadlines_are_forgotten_though_they_are_far_away() {
        let mut agenda = Agenda::default();
        let id = |bits| SockId(Key::from_bits(bits));
        let far = Tick(u64::MAX);
        for index in 0..1000 {
            agenda.at(far, id(index));
            // It is gone, but for the first.
            agenda.tidy_deadlines(1, |held, _| held == id(0));
            assert!(agenda.deadlines.len() <= VOID_MAX + 3, "{}", agenda.deadlines.len());
        }
        assert_eq!(agenda.next_deadline(|held, _| held == id(0)), Some((far, id(0))));
    }
}
