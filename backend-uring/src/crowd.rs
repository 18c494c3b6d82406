//! Those who have input but find no slot are many: they are read by calls, and an epoll of the ring's own tells
//! which of them have more.
//!
//! A poll of each in the ring costs an entry and a completion a message; the ring polls the epoll instead, once
//! for all that come meanwhile.
//!
//! Invariant: a member is registered from its first read until the crowd is over, its input is wanted no more, or
//! its socket closed, and nothing of its input is in the ring while it is [`Input::Watched`]. Members come by
//! edges, which are told of once: one that comes while its socket stands in line is for what the read to come
//! finds, unless it tells of an end or of an urgent mark, which is remembered: a read stops there though there is
//! more. Those within the machine come by level, since a read stops at descriptors that came with bytes as well.

use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
};

use netproc_core::slots::Key;
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use socket2::{Domain, Socket};

use crate::{
    io::Io,
    reactor::UringReactor,
    sock::{Input, Sock},
    sqe,
    token::{OpKind, Token},
};

/// So many in line, or told of before the same one is again, are a crowd. Of few, who has had a turn mostly has
/// input again when the next comes, and a receive in the ring finds it without a poll before.
pub(crate) const CROWD_MIN: usize = 128;
/// With fewer in line it is asked who else has input.
pub(crate) const LINE_MIN: usize = 8;
/// Members one call tells of: what the kernel looks up of each is in cache still when it is read.
const EVENTS_MAX: usize = 32;
/// After so many turns without a crowd it is over.
pub(crate) const CALM_TURNS: usize = 1024;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Crowd {
    /// Made when there first is a crowd.
    epoll: Option<Epoll>,
    events: Vec<EpollEvent>,
    members: usize,
    /// The ring polls the epoll.
    armed: bool,
    /// Somebody may be told of.
    pub(crate) ready: bool,
    /// Nobody in line had a turn in the last poll, which had its events already.
    pub(crate) passed_over: bool,
    /// There is a crowd, or was one up to [`CALM_TURNS`] turns ago: members are read by calls.
    pub(crate) gathered: bool,
    /// Turns since it was asked who has input.
    pub(crate) turns: usize,
    /// At least [`LINE_MIN`] were in line when a poll began to read.
    busy: bool,
    /// Turns since there last was a crowd.
    calm: usize,
    /// One that was told of, and how many others have been since.
    first: Option<Key>,
    since_first: usize,
}

impl Crowd {
    /// Learns how many are in line in this poll.
    pub(crate) fn note_line(&mut self, len: usize) {
        self.busy = len >= LINE_MIN;
        if len >= CROWD_MIN {
            (self.gathered, self.calm) = (true, 0);
        }
    }

    /// Learns whose turn comes because it was told of.
    fn note_told(&mut self, key: Key) {
        if self.first.is_none_or(|first| first == key) {
            (self.first, self.since_first) = (Some(key), 0);
            return;
        }
        self.since_first += 1;
        if self.busy && self.since_first >= CROWD_MIN {
            (self.first, self.since_first, self.calm) = (Some(key), 0, 0);
        }
    }

    /// Somebody in line has a turn.
    pub(crate) fn note_turn(&mut self) {
        self.turns += 1;
        self.calm += 1;
        self.gathered &= self.calm < CALM_TURNS;
    }

    pub(crate) fn members(&self) -> usize {
        self.members
    }

    fn register(&mut self, fd: &Socket, key: Key) -> io::Result<()> {
        let epoll = match &mut self.epoll {
            Some(epoll) => epoll,
            none => none.insert(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?),
        };
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI | EpollFlags::EPOLLRDHUP;
        flags.set(EpollFlags::EPOLLET, fd.domain()? != Domain::UNIX);
        epoll.add(fd, EpollEvent::new(flags, key.to_bits()))?;
        self.members += 1;
        Ok(())
    }

    fn remove(&mut self, fd: &Socket, key: Key) {
        // Who is not told of any more would stand for any number of others.
        self.first = self.first.filter(|first| *first != key);
        if let Some(epoll) = &self.epoll {
            // It is there, so nothing can be refused.
            let _gone = epoll.delete(fd);
            self.members -= 1;
        }
    }

    /// What the ring is to poll, if it does not.
    fn unwatched(&self) -> Option<RawFd> {
        let epoll = self.epoll.as_ref().filter(|_| !self.armed && !self.ready);
        epoll.map(|epoll| epoll.0.as_raw_fd())
    }

    /// Asks who has input; returns how many are told of.
    fn ask(&mut self) -> usize {
        (self.ready, self.turns) = (false, 0);
        let Some(epoll) = &self.epoll else { return 0 };
        self.events.resize(EVENTS_MAX, EpollEvent::empty());
        let told = epoll.wait(&mut self.events, EpollTimeout::ZERO);
        self.ready = told == Ok(EVENTS_MAX) || told == Err(Errno::EINTR);
        told.unwrap_or(0)
    }

    /// One of those told of, and whether an end or an urgent mark is among what there is.
    fn told(&self, at: usize) -> (Key, bool) {
        let ends = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let event = &self.events[at];
        (Key::from_bits(event.data()), event.events().intersects(ends | EpollFlags::EPOLLPRI))
    }
}

impl UringReactor {
    /// Has the ring tell when somebody of the crowd has input.
    #[inline]
    pub(crate) fn watch_crowd(&mut self) {
        if self.io.crowd.members > 0 {
            self.watch_members();
        }
    }

    #[inline(never)]
    fn watch_members(&mut self) {
        if let Some(fd) = self.io.crowd.unwatched()
            // Those who come by level are told of until they are read: the poll would complete at once, for ever.
            && !self.io.is_stuck()
        {
            let sqe = sqe::poll_in(fd, false, Token::global(OpKind::Crowd, 0));
            self.io.crowd.armed = self.io.submit_own(&sqe);
        }
    }

    /// The ring has told.
    pub(crate) fn on_crowd(&mut self) {
        (self.io.crowd.armed, self.io.crowd.ready) = (false, true);
    }

    /// Puts those who have input in line, or lets them go if the crowd is over; returns how many were told of.
    pub(crate) fn ask_crowd(&mut self) -> usize {
        self.io.counters.syscalls += 1;
        let told = self.io.crowd.ask();
        for at in 0..told {
            let (key, drain) = self.io.crowd.told(at);
            self.with(key, |sock, io| sock.on_told(drain, io));
        }
        told
    }
}

impl Sock {
    /// Has the crowd's epoll tell when there is more to read; it was read just now, as far as there was anything
    /// or a slot had room, which `all` says.
    pub(crate) fn watch(&mut self, all: bool, io: &mut Io) {
        if self.broken || self.member && (self.drain || !all) {
            return self.starve(io);
        }
        if !self.member && !io.crowd.gathered {
            // Of few, the ring tells itself.
            return io.mark(self);
        }
        if !self.member {
            io.counters.syscalls += 2;
            if io.crowd.register(&self.fd, self.key).is_err() {
                return self.await_input(io);
            }
        }
        self.member = true;
        self.input = Input::Watched;
    }

    /// There is input, or an end; `drain` if a read may stop before all that there is.
    fn on_told(&mut self, drain: bool, io: &mut Io) {
        self.drain |= drain;
        match self.input {
            // What has ended asks for nothing more: whoever waits for it to be over would wait for that.
            Input::Watched if io.crowd.gathered && self.wants_input() => {
                io.crowd.note_told(self.key);
                self.starve(io);
            }
            // It is in line; and would be told of again and again while nobody is asked to read.
            Input::Starved if !io.crowd.gathered => self.leave_crowd(io),
            Input::Starved => {}
            Input::Idle
            | Input::Armed
            | Input::Polling
            | Input::Watched
            | Input::Minding
            | Input::Cancelling
            | Input::Resting => {
                self.leave_crowd(io);
                if self.input == Input::Watched {
                    self.input = Input::Idle;
                    io.mark(self);
                }
            }
        }
    }

    /// Nobody tells of it any more.
    pub(crate) fn leave_crowd(&mut self, io: &mut Io) {
        if std::mem::take(&mut self.member) {
            io.counters.syscalls += 1;
            io.crowd.remove(&self.fd, self.key);
            self.drain = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_over_when_few_take_turns_or_few_are_in_line() {
        let keys: Vec<_> = (0..).map(|at| Key::new(at, 1)).take(CROWD_MIN + 1).collect();
        for (peers, line, reads, lasts) in [
            (CROWD_MIN + 1, LINE_MIN, 7, true),
            (CROWD_MIN + 1, LINE_MIN, 9, false),
            (CROWD_MIN + 1, LINE_MIN - 1, 1, false),
            (CROWD_MIN, LINE_MIN, 1, false),
        ] {
            let mut crowd = Crowd::default();
            crowd.note_line(CROWD_MIN - 1);
            assert!(!crowd.gathered);
            crowd.note_line(CROWD_MIN);
            crowd.note_line(line);
            for read in 1..3 * CALM_TURNS {
                if read % reads == 0 {
                    crowd.note_told(keys[read / reads % peers]);
                }
                crowd.note_turn();
                let over = !lasts && read >= CALM_TURNS;
                assert_eq!(crowd.gathered, !over, "{peers} peers, {line} in line, read {read}");
            }
        }
    }

    #[test]
    fn who_has_left_does_not_stand_for_others() {
        let key = |at| Key::new(at, 1);
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = Socket::from(std::os::fd::OwnedFd::from(a));
        let mut crowd = Crowd::default();
        crowd.note_line(CROWD_MIN);
        for at in 0.. {
            // A few, each of which leaves after some turns, and another comes.
            crowd.register(&fd, key(at)).unwrap();
            for told in 0..CROWD_MIN / 2 {
                crowd.note_told(if told % 4 == 0 { key(at) } else { key(u32::MAX) });
                crowd.note_turn();
            }
            crowd.remove(&fd, key(at));
            if !crowd.gathered {
                break;
            }
            assert!(at < 100, "it goes on");
        }
    }
}
