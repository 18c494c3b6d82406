//! Interrupting a wait from another thread: an eventfd, written at most once per batch.
//!
//! Invariant: `notified` is set from before a write to the eventfd until after the reactor has read that, so any
//! number of wakes between two polls is one write, and none is without one to come or to be read. The kernel
//! watches the eventfd by a multishot poll that the reactor re-arms before it sleeps. A foreign loop has an eventfd
//! of its own, which the ring signals with every completion and a wake signals directly.

use std::{
    fmt, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use netproc_core::reactor::Wake;
use nix::sys::eventfd::{EfdFlags, EventFd};

struct Shared {
    event: EventFd,
    notified: AtomicBool,
    /// What a foreign loop sleeps on, once there is one.
    foreign: OnceLock<EventFd>,
}

/// An eventfd that no call on it can block on.
fn eventfd() -> io::Result<EventFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)
}

/// Makes `event` readable.
fn signal(event: &EventFd) {
    // A non-blocking eventfd refuses only when its counter is full, and then it is readable.
    let _ = event.write(1);
}

/// Interrupts the `poll` of an [`UringReactor`](crate::UringReactor) from any thread.
#[derive(Clone)]
pub struct UringWaker {
    shared: Arc<Shared>,
}

impl UringWaker {
    pub(crate) fn new() -> io::Result<Self> {
        let (event, notified, foreign) = (eventfd()?, AtomicBool::new(false), OnceLock::new());
        Ok(Self { shared: Arc::new(Shared { event, notified, foreign }) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }

    /// The eventfd a foreign loop sleeps on; `register` gets it when it is made.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left, or what `register` says.
    pub(crate) fn foreign(
        &self,
        register: impl FnOnce(RawFd) -> io::Result<()>,
    ) -> io::Result<ForeignEvent<'_>> {
        if self.shared.foreign.get().is_none() {
            let event = eventfd()?;
            register(event.as_raw_fd())?;
            // Only the reactor's thread comes here, so nobody was faster.
            let _ = self.shared.foreign.set(event);
        }
        let event = self.shared.foreign.get();
        event.map(ForeignEvent).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// Takes the wake back; whoever wakes after this writes again.
    pub(crate) fn consume(&self) {
        // Read first: a wake between the two counts for the event now being delivered, while a
        // flag cleared first could be set again by a write that this read then swallows.
        let _ = self.shared.event.read();
        self.shared.notified.swap(false, Ordering::AcqRel);
    }
}

/// The eventfd a foreign loop sleeps on.
pub(crate) struct ForeignEvent<'a>(&'a EventFd);

impl<'a> ForeignEvent<'a> {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'a> {
        self.0.as_fd()
    }

    pub(crate) fn clear(&self) {
        // Refused when nothing was signalled.
        let _ = self.0.read();
    }

    pub(crate) fn signal(&self) {
        signal(self.0);
    }
}

impl Wake for UringWaker {
    fn wake(&self) {
        if !self.shared.notified.swap(true, Ordering::AcqRel) {
            signal(&self.shared.event);
            // The ring would signal this one itself, but inside the write above the kernel puts that
            // off, and on Linux 6.18 does so once only: the second wake was never seen.
            if let Some(foreign) = self.shared.foreign.get() {
                signal(foreign);
            }
        }
    }
}

impl fmt::Debug for UringWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringWaker").field("notified", &self.shared.notified).finish()
    }
}
