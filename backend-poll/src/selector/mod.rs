//! How a reactor learns that a socket is readable or writable: one trait, three mechanisms.
//!
//! Invariant: a selector reports, it never reads, writes or closes a socket. It may report what is
//! no longer so, and sockets that are gone; it may not keep silent about a change, but for room to
//! write where that was not asked for.

use std::{os::fd::BorrowedFd, time::Duration};

use netproc_core::{
    reactor::{Op, SockId, SysError},
    slots::{Key, Slots},
};

use crate::{sock::Sock, wake::PollWaker};
use poll::PollSet;

mod absent;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(all(
    any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd",
    ),
    target_pointer_width = "64",
))]
mod kqueue;
mod poll;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use absent::Absent as Epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
use epoll::Epoll;

// An event carries one pointer's worth of ours, and a socket's key has 64 bits.
#[cfg(not(all(
    any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd",
    ),
    target_pointer_width = "64",
)))]
use absent::Absent as Kqueue;
#[cfg(all(
    any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd",
    ),
    target_pointer_width = "64",
))]
use kqueue::Kqueue;

/// The mechanisms by which a reactor waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Mechanism {
    /// `epoll(7)`: Linux and Android.
    Epoll,
    /// `kqueue(2)`: the BSDs and macOS, with 64-bit pointers.
    Kqueue,
    /// `poll(2)`: every Unix; each wait costs time in proportion to the sockets open, and fails for good when the
    /// limit of descriptors (`RLIMIT_NOFILE`) was lowered to fewer than those.
    Poll,
}

impl Mechanism {
    /// Those of this system, best first; never empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_poll::Mechanism;
    ///
    /// assert_eq!(Mechanism::available().last(), Some(&Mechanism::Poll));
    /// ```
    #[must_use]
    pub const fn available() -> &'static [Self] {
        &[
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Epoll,
            #[cfg(all(
                any(
                    target_vendor = "apple",
                    target_os = "freebsd",
                    target_os = "dragonfly",
                    target_os = "netbsd",
                    target_os = "openbsd",
                ),
                target_pointer_width = "64",
            ))]
            Self::Kqueue,
            Self::Poll,
        ]
    }

    /// What `Caps::name` says.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Kqueue => "kqueue",
            Self::Poll => "poll",
        }
    }
}

impl std::fmt::Display for Mechanism {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What may stand behind the bytes of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Drain {
    /// Nothing is known of.
    #[default]
    No,
    /// An end, an error or an urgent mark: a short read proves nothing.
    Yes,
    /// The same, and both its sides are shut for good.
    Over,
}

/// What a socket is said to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) drain: Drain,
    /// The system holds an error for the socket.
    pub(crate) error: bool,
}

/// What one wait brought; cleared and reused.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) sockets: Vec<(Key, Ready)>,
    pub(crate) woken: bool,
}

impl Found {
    /// Notes what was said of `token`: a socket's key, the waker or the timer.
    #[inline]
    fn push(&mut self, token: u64, ready: Ready) {
        match token {
            WAKER => self.woken = true,
            TIMER => {}
            key => self.sockets.push((Key::from_bits(key), ready)),
        }
    }

    /// The same for many. The waker and the timer have places among the sockets then, as nobody's.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn extend(&mut self, all: impl ExactSizeIterator<Item = (u64, Ready)>) {
        let woken = &mut self.woken;
        self.sockets.extend(all.map(|(token, ready)| {
            *woken |= token == WAKER;
            (Key::from_bits(token), ready)
        }));
    }
}

/// The index of both tokens that follow, as keys: a table would give it out last of all.
pub(crate) const OURS: u32 = u32::MAX;
/// The waker's token.
const WAKER: u64 = u64::MAX;
/// The timer's token.
const TIMER: u64 = u64::MAX - (1 << 32);

/// The longest a mechanism is asked to wait, 11 days: kernels refuse what they think no time at all,
/// each from another point on. Who wants more comes back early, finds nothing and waits again.
const WAIT_MAX: Duration = Duration::from_secs(1_000_000);

/// What there is to know of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Input, its end, and room to write.
    Both,
    /// Not room to write, or not at first.
    Input,
    /// Only that: it is the end of a pipe that bytes go into.
    Output,
}

pub(crate) trait Selector {
    /// Watches `fd` from now on; once per descriptor.
    fn add(&mut self, fd: BorrowedFd<'_>, id: SockId, side: Side) -> nix::Result<()>;

    /// Tells of room to write from now on, or no more, if `add` was not asked to.
    fn tell_room(&mut self, fd: BorrowedFd<'_>, id: SockId, on: bool) -> nix::Result<()>;

    /// Forgets `fd`, which is about to be closed; `shared` when others may hold it open.
    fn remove(&mut self, fd: BorrowedFd<'_>, shared: bool);

    /// Sleeps until something is ready or `timeout` has passed and appends what is ready, `room` at most where the
    /// kernel keeps the rest; returns whether it may keep some.
    fn wait(
        &mut self,
        sockets: &Slots<Sock>,
        waker: &PollWaker,
        room: usize,
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> nix::Result<bool>;

    /// A descriptor that is readable when `wait` would return at once.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Makes that descriptor readable after `delay`, in place of any time set before.
    fn arm(&mut self, delay: Option<Duration>) -> nix::Result<()>;
}

/// One of the mechanisms, chosen when the reactor is made.
#[derive(Debug)]
pub(crate) enum AnySelector {
    Epoll(Epoll),
    Kqueue(Kqueue),
    Poll(PollSet),
}

impl AnySelector {
    /// Sets `mechanism` up; `EOPNOTSUPP` where the system has none.
    pub(crate) fn new(mechanism: Mechanism, waker: &PollWaker) -> Result<Self, SysError> {
        let made = match mechanism {
            Mechanism::Epoll => Epoll::new(waker).map(Self::Epoll),
            Mechanism::Kqueue => Kqueue::new(waker).map(Self::Kqueue),
            Mechanism::Poll => Ok(Self::Poll(PollSet::default())),
        };
        made.map_err(|err| SysError { op: Op::Open, errno: err as i32 })
    }
}

/// Passes a call on to whichever mechanism it is.
macro_rules! each {
    ($any:expr, $selector:ident => $call:expr) => {
        match $any {
            AnySelector::Epoll($selector) => $call,
            AnySelector::Kqueue($selector) => $call,
            AnySelector::Poll($selector) => $call,
        }
    };
}

impl Selector for AnySelector {
    fn add(&mut self, fd: BorrowedFd<'_>, id: SockId, side: Side) -> nix::Result<()> {
        each!(self, selector => selector.add(fd, id, side))
    }

    fn tell_room(&mut self, fd: BorrowedFd<'_>, id: SockId, on: bool) -> nix::Result<()> {
        each!(self, selector => selector.tell_room(fd, id, on))
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, shared: bool) {
        each!(self, selector => selector.remove(fd, shared));
    }

    fn wait(
        &mut self,
        sockets: &Slots<Sock>,
        waker: &PollWaker,
        room: usize,
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> nix::Result<bool> {
        let timeout = timeout.map(|timeout| timeout.min(WAIT_MAX));
        each!(self, selector => selector.wait(sockets, waker, room, timeout, found))
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        each!(self, selector => selector.as_fd())
    }

    fn arm(&mut self, delay: Option<Duration>) -> nix::Result<()> {
        let delay = delay.map(|delay| delay.min(WAIT_MAX));
        each!(self, selector => selector.arm(delay))
    }
}

/// Whole milliseconds, rounded up: rounded down, the last one before a deadline would be spent in
/// waits of no length.
fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_rounded_to_nothing() {
        let cases = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_micros(300), 1),
            (Duration::from_millis(7), 7),
            (Duration::from_micros(7_001), 8),
            (WAIT_MAX, 1_000_000_000),
            (Duration::MAX, i32::MAX),
        ];
        for (timeout, expected) in cases {
            assert_eq!(millis(timeout), expected, "{timeout:?}");
        }
    }
}
