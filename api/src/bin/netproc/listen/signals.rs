//! SIGINT and SIGTERM: they end the run, and once that is over the program, which may still wait for whoever reads
//! standard output.
//!
//! Invariant: a signal is never taken without effect. The first signal and the end of the run meet at one flag: whoever
//! comes there first has ended the run, and the other finds it ended.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use netproc::Handle;
use nix::sys::signal::{SigSet, Signal, raise};

/// The signals, from when they are blocked on.
#[derive(Debug)]
pub(super) struct Signals {
    set: SigSet,
    /// The run has ended, or is about to.
    ended: Arc<AtomicBool>,
}

impl Signals {
    /// Blocks them. Behind this no thread but that of [`await_one`](Self::await_one) gets any, if no other exists yet.
    pub(super) fn block() -> nix::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        set.thread_block()?;
        Ok(Self { set, ended: Arc::default() })
    }

    /// Has the first end the run.
    pub(super) fn await_one(&self, handle: Handle) -> io::Result<()> {
        let (set, ended) = (self.set, Arc::clone(&self.ended));
        let wait = move || {
            let Ok(signal) = set.wait() else { return };
            if !ended.swap(true, Ordering::AcqRel) {
                // Gone only if the run fails at this moment.
                let _ = handle.shutdown();
            } else if set.thread_unblock().is_ok() {
                let _ended = raise(signal);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(())
    }

    /// The run is over. Returns whether a signal has ended it; if not, one ends the program from here on. One request
    /// to end may come as two signals, and the second must not cut short what the first has begun.
    pub(super) fn let_go(self) -> nix::Result<bool> {
        let signalled = self.ended.swap(true, Ordering::AcqRel);
        if !signalled {
            self.set.thread_unblock()?;
        }
        Ok(signalled)
    }
}
