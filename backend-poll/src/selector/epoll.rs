//! epoll(7): Linux, edge-triggered, one registration for a socket's whole life, changed only for a packet socket that
//! waits for room.
//!
//! Invariant: the data of an event is the socket's whole key, so that an event for a descriptor
//! that was closed and given out again finds nobody. Closing a descriptor ends its registration,
//! unless somebody else holds the same socket open.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use netproc_core::{reactor::SockId, slots::Slots};
use nix::sys::{
    epoll::{EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{Drain, Found, Ready, Selector, Side, TIMER, WAKER, millis};
use crate::{sock::Sock, wake::PollWaker};

/// Sockets one wait can report; the rest is reported by the next.
const EVENTS_PER_WAIT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Epoll {
    epoll: nix::sys::epoll::Epoll,
    events: Box<[EpollEvent]>,
    /// Made when a foreign loop first asks for it.
    timer: Option<TimerFd>,
}

impl Epoll {
    pub(crate) fn new(waker: &PollWaker) -> nix::Result<Self> {
        let epoll = nix::sys::epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let events = vec![EpollEvent::empty(); EVENTS_PER_WAIT].into();
        Ok(Self { epoll, events, timer: None })
    }

    fn timer(&mut self) -> nix::Result<&TimerFd> {
        if self.timer.is_none() {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            // By edge: an expiry is seen once and never has to be read away.
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER);
            self.epoll.add(&timer, event)?;
            self.timer = Some(timer);
        }
        Ok(self.timer.as_ref().expect("made above"))
    }
}

impl Selector for Epoll {
    fn add(&mut self, fd: BorrowedFd<'_>, id: SockId, side: Side) -> nix::Result<()> {
        self.epoll.add(fd, event(id, side))
    }

    fn tell_room(&mut self, fd: BorrowedFd<'_>, id: SockId, on: bool) -> nix::Result<()> {
        let side = if on { Side::Both } else { Side::Input };
        self.epoll.modify(fd, &mut event(id, side))
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, shared: bool) {
        if shared {
            // Fails only when the registration is gone already.
            let _gone = self.epoll.delete(fd);
        }
    }

    fn wait(
        &mut self,
        _: &Slots<Sock>,
        _: &PollWaker,
        room: usize,
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> nix::Result<bool> {
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            EpollTimeout::try_from(millis(timeout)).unwrap_or(EpollTimeout::MAX)
        });
        let room = room.min(self.events.len());
        let count = self.epoll.wait(&mut self.events[..room], timeout)?;
        let events = &self.events[..count];
        found.extend(events.iter().map(|event| (event.data(), ready(event.events()))));
        Ok(count == room)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.0.as_fd())
    }

    fn arm(&mut self, delay: Option<Duration>) -> nix::Result<()> {
        let Some(delay) = delay else {
            return self.timer.as_ref().map_or(Ok(()), TimerFd::unset);
        };
        // Zero would disarm.
        let delay = TimeSpec::from_duration(delay.max(Duration::from_nanos(1)));
        self.timer()?.set(Expiration::OneShot(delay), TimerSetTimeFlags::empty())
    }
}

fn event(id: SockId, side: Side) -> EpollEvent {
    let input = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI;
    let mut flags = EpollFlags::EPOLLET;
    flags.set(input, side != Side::Output);
    flags.set(EpollFlags::EPOLLOUT, side != Side::Input);
    EpollEvent::new(flags, id.0.to_bits())
}

#[inline]
fn ready(events: EpollFlags) -> Ready {
    if events == EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT {
        // What a socket with bytes to read is said to be, almost every time.
        return Ready { readable: true, writable: true, ..Ready::default() };
    }
    let error = events.contains(EpollFlags::EPOLLERR);
    let over = events.contains(EpollFlags::EPOLLHUP);
    let drain = if over {
        Drain::Over
    } else if error || events.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI) {
        Drain::Yes
    } else {
        Drain::No
    };
    Ready {
        readable: drain != Drain::No || events.contains(EpollFlags::EPOLLIN),
        writable: error || over || events.contains(EpollFlags::EPOLLOUT),
        drain,
        error,
    }
}
