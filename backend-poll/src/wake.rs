//! Interrupts a wait from another thread: an eventfd on Linux, a pipe elsewhere.
//!
//! Invariant: while `pending` is set, the descriptor is readable or about to be, and nobody writes
//! to it again; so any number of wakes between two polls is one system call. Both ends live as long
//! as the last waker: a late wake writes to a descriptor that is still ours, never to a reused
//! number, and never raises SIGPIPE.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use netproc_core::reactor::Wake;

/// Interrupts the `poll` of one [`PollReactor`](crate::PollReactor) from any thread.
#[derive(Clone, Debug)]
pub struct PollWaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pending: AtomicBool,
    signal: Signal,
}

impl PollWaker {
    pub(crate) fn new() -> io::Result<Self> {
        let shared = Shared { pending: AtomicBool::new(false), signal: Signal::new()? };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether there was a wake, whose signal may be still to come: it ends a wait with nothing to tell then.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.shared.pending.load(Ordering::Relaxed)
    }

    /// Takes the wakes back that have come so far; `true` when there was one.
    pub(crate) fn take(&self) -> bool {
        // The descriptor first: were `pending` cleared before, a wake in between would write a
        // second time, have that read away here and stay pending for ever without a signal.
        self.shared.signal.clear();
        self.shared.pending.swap(false, Ordering::AcqRel)
    }
}

impl AsFd for PollWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.signal.as_fd()
    }
}

impl Wake for PollWaker {
    fn wake(&self) {
        if !self.shared.pending.swap(true, Ordering::AcqRel) {
            self.shared.signal.raise();
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod signal {
    use super::{AsFd, BorrowedFd, io};
    use nix::sys::eventfd::{EfdFlags, EventFd};

    #[derive(Debug)]
    pub(super) struct Signal(EventFd);

    impl Signal {
        pub(super) fn new() -> io::Result<Self> {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            Ok(Self(EventFd::from_flags(flags)?))
        }

        pub(super) fn raise(&self) {
            // Fails only when the counter is full, and then it is readable already.
            let _full = self.0.write(1);
        }

        pub(super) fn clear(&self) {
            // Fails only when the counter is zero, which is what is wanted.
            let _zero = self.0.read();
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod signal {
    use super::{AsFd, BorrowedFd, io};
    use std::io::{Read as _, Write as _};

    #[derive(Debug)]
    pub(super) struct Signal {
        reader: io::PipeReader,
        writer: io::PipeWriter,
    }

    impl Signal {
        pub(super) fn new() -> io::Result<Self> {
            let (reader, writer) = io::pipe()?;
            socket2::SockRef::from(&reader).set_nonblocking(true)?;
            socket2::SockRef::from(&writer).set_nonblocking(true)?;
            Ok(Self { reader, writer })
        }

        pub(super) fn raise(&self) {
            // Fails only when the pipe is full, and then it is readable already.
            let _full = (&self.writer).write(&[1]);
        }

        pub(super) fn clear(&self) {
            // At most one byte is there between two clears, and a few after a fork.
            let _empty = (&self.reader).read(&mut [0; 64]);
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}

use signal::Signal;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wakes_are_one_and_the_next_is_another() {
        let waker = PollWaker::new().unwrap();
        assert!(!waker.take(), "nobody woke");
        for round in 0..3 {
            for _ in 0..1000 {
                waker.clone().wake();
            }
            assert!(waker.take(), "round {round}");
            assert!(!waker.take(), "round {round}: taken once");
        }
    }
}
