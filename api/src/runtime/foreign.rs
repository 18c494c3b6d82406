//! Loops of somebody else: a descriptor to sleep on, ready exactly when there is something to do.
//!
//! Invariant: before such a loop sleeps, what is queued is with the system and the next deadline is set;
//! whoever asks something of the engine outside of a wait wakes it.

#[cfg(unix)]
use std::os::fd::{AsFd as _, BorrowedFd};

use netproc_core::reactor::{Descriptors as _, Op, SysError, Tick, Wake as _};

use super::Runtime;
use crate::error::{Error, Result};

impl Runtime {
    /// The descriptor a foreign loop can sleep on: readable exactly when [`turn`](Self::turn) has
    /// something to do, timers included. Call `turn(Duration::ZERO)` whenever it is; and after dropping
    /// received [`Input`](crate::Input)s that were kept while memory was short.
    ///
    /// # Errors
    ///
    /// [`Error::NoDescriptor`] on poll(2), which has none; [`Error::Reactor`] when the system
    /// refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use std::{os::fd::AsFd, time::Duration};
    ///
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    ///
    /// let rt = netproc::Runtime::builder().backend(netproc::Backend::Poll).build()?;
    /// let mut fds = [PollFd::new(rt.as_fd()?, PollFlags::POLLIN)];
    /// assert_eq!(poll(&mut fds, PollTimeout::ZERO)?, 0, "nothing to do");
    /// rt.handle().post(|_| {})?;
    /// assert_eq!(poll(&mut fds, PollTimeout::ZERO)?, 1);
    /// assert!(rt.turn(Duration::ZERO)?);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn as_fd(&self) -> Result<BorrowedFd<'_>> {
        if let Some(fd) = self.inner.descriptor.get() {
            return Ok(fd.as_fd());
        }
        let refused = |err| Error::Reactor(SysError::new(Op::Open, &err));
        let own = self.engine().reactor().as_fd().map(|fd| fd.try_clone_to_owned());
        let own = own.ok_or_else(|| Error::NoDescriptor(self.inner.choice.name()))?;
        let own = own.map_err(refused)?;
        let fd = self.inner.descriptor.get_or_init(|| own).as_fd();
        self.arm()?;
        Ok(fd)
    }

    /// Before a foreign loop sleeps: what is queued goes out, the next deadline is set.
    pub(super) fn arm(&self) -> Result<()> {
        #[cfg(unix)]
        if self.inner.descriptor.get().is_some() {
            let pending = self.engine().has_pending().then(Tick::default);
            let timer = self.inner.timers.borrow().next_at();
            let (attempt, handshake) = (self.engine().next_attempt_at(), self.next_handshake_at());
            let at = [pending, timer, attempt, handshake].into_iter().flatten().min();
            return self.engine_mut().reactor_mut().arm(at).map_err(Error::Reactor);
        }
        Ok(())
    }

    /// Something was asked of the engine outside of a wait: a foreign loop has to wake up for it.
    #[inline]
    pub(crate) fn nudge(&self) {
        #[cfg(unix)]
        if self.inner.depth.get() == 0 && self.inner.descriptor.get().is_some() {
            self.inner.waker.wake();
        }
    }
}
