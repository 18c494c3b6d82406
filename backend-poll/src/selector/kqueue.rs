//! kqueue(2): the BSDs and macOS, `EV_CLEAR` on one reading and one writing filter per socket, or per pair of pipes.
//!
//! Invariant: changes wait in a list and go with the next wait, so a new connection costs no system
//! call of its own; a change for a descriptor that is closed first is taken off the list. The data
//! of an event is the socket's whole key. Closing a descriptor removes its filters.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    time::Duration,
};

use netproc_core::{reactor::SockId, slots::Slots};
use nix::{
    errno::Errno,
    sys::event::{EvFlags, EventFilter, FilterFlag, KEvent},
};

use super::{Drain, Found, Ready, Selector, Side, TIMER, WAKER, millis};
use crate::{sock::Sock, wake::PollWaker};

/// Filters one wait can report; the rest is reported by the next.
const EVENTS_PER_WAIT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Kqueue {
    queue: nix::sys::event::Kqueue,
    changes: Vec<KEvent>,
    events: Box<[KEvent]>,
    /// Whether a timer may be set.
    armed: bool,
}

fn filter(fd: BorrowedFd<'_>, filter: EventFilter, flags: EvFlags, token: u64) -> KEvent {
    let ident = usize::try_from(fd.as_raw_fd()).expect("a descriptor is not negative");
    KEvent::new(ident, filter, flags, FilterFlag::empty(), 0, udata(token))
}

/// The token's bits: this module is compiled where a pointer has 64 of them.
const fn udata(token: u64) -> isize {
    token.cast_signed() as isize
}

impl Kqueue {
    pub(crate) fn new(waker: &PollWaker) -> nix::Result<Self> {
        let queue = nix::sys::event::Kqueue::new()?;
        let add = filter(waker.as_fd(), EventFilter::EVFILT_READ, EvFlags::EV_ADD, WAKER);
        queue.kevent(&[add], &mut [], None)?;
        let events = vec![add; EVENTS_PER_WAIT].into();
        Ok(Self { queue, changes: Vec::new(), events, armed: false })
    }

    /// Has a filter set, or taken away, with the next wait.
    fn change(&mut self, fd: BorrowedFd<'_>, id: SockId, kind: EventFilter, on: bool) {
        let flags = if on { EvFlags::EV_ADD | EvFlags::EV_CLEAR } else { EvFlags::EV_DELETE };
        self.changes.push(filter(fd, kind, flags, id.0.to_bits()));
    }

    /// Makes a change of those that may come too late: a timer has fired, nobody reads what goes into a pipe, which the
    /// first write finds.
    fn change_now(&self, change: KEvent) -> nix::Result<usize> {
        match self.queue.kevent(&[change], &mut [], None) {
            Err(Errno::ENOENT | Errno::EBADF | Errno::EPIPE) => Ok(0),
            result => result,
        }
    }
}

impl Selector for Kqueue {
    fn add(&mut self, fd: BorrowedFd<'_>, id: SockId, side: Side) -> nix::Result<()> {
        if side != Side::Output {
            self.change(fd, id, EventFilter::EVFILT_READ, true);
        }
        if side != Side::Input {
            self.change(fd, id, EventFilter::EVFILT_WRITE, true);
        }
        Ok(())
    }

    fn tell_room(&mut self, fd: BorrowedFd<'_>, id: SockId, on: bool) -> nix::Result<()> {
        self.change(fd, id, EventFilter::EVFILT_WRITE, on);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _: bool) {
        let ident = usize::try_from(fd.as_raw_fd()).expect("a descriptor is not negative");
        self.changes.retain(|change| change.ident() != ident);
    }

    fn wait(
        &mut self,
        _: &Slots<Sock>,
        _: &PollWaker,
        room: usize,
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> nix::Result<bool> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).expect("at most `WAIT_MAX`"),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // A change that fails is told of as well.
        let room = room.max(self.changes.len()).min(self.events.len());
        let result = self.queue.kevent(&self.changes, &mut self.events[..room], timeout);
        // Changes are applied before the wait: also when a signal ended it.
        self.changes.clear();
        let count = result?;
        let mut failed = false;
        for event in &self.events[..count] {
            failed |= event.flags().contains(EvFlags::EV_ERROR);
            if let Some(ready) = ready(event) {
                found.push(event.udata().cast_unsigned() as u64, ready);
            }
        }
        // Where a change has failed nobody was looked for.
        Ok(count == room || failed)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn arm(&mut self, delay: Option<Duration>) -> nix::Result<()> {
        let flags = match delay {
            Some(_) => EvFlags::EV_ADD | EvFlags::EV_ONESHOT,
            None => EvFlags::EV_DELETE,
        };
        // In milliseconds, which every kqueue understands; some refuse a timer of none.
        let delay_ms = delay.map_or(0, |delay| millis(delay).max(1));
        if delay.is_some() || self.armed {
            let none = FilterFlag::empty();
            let timer = EventFilter::EVFILT_TIMER;
            let delay_ms = isize::try_from(delay_ms).expect("31 bits fit a pointer");
            self.changes.push(KEvent::new(0, timer, flags, none, delay_ms, udata(TIMER)));
        }
        self.armed = delay.is_some();
        let mut result = self.queue.kevent(&self.changes, &mut [], None);
        if result.is_err() {
            // Without room to tell of it the first that fails keeps those behind it from being made.
            let one_by_one = self.changes.iter().map(|&change| self.change_now(change));
            result = one_by_one.fold(Ok(0), |all, one| all.and(one));
        }
        self.changes.clear();
        result.map(drop)
    }
}

/// What an event says of a socket; `None` for a change that came too late.
fn ready(event: &KEvent) -> Option<Ready> {
    if event.flags().contains(EvFlags::EV_ERROR) {
        // A filter that could not be set: let reading and writing find out why.
        let gone = [libc::ENOENT, libc::EBADF].map(|errno| errno as isize).contains(&event.data());
        let all = Ready { readable: true, writable: true, drain: Drain::Yes, error: true };
        return (!gone).then_some(all);
    }
    let over = event.flags().contains(EvFlags::EV_EOF);
    let error = over && !event.fflags().is_empty();
    let writes = event.filter() == Ok(EventFilter::EVFILT_WRITE);
    // A read stops at an urgent mark, of which only some of these systems tell.
    let drain = if over || !writes { Drain::Yes } else { Drain::No };
    Some(Ready { readable: !writes || error, writable: writes || error, drain, error })
}
