//! SIGINT and SIGTERM: they end the run, and once that is over the program, which may still wait for whoever reads
//! standard output.
//!
//! Invariant: a signal is never taken without effect. Whoever takes one says so before it asks whether the run is over,
//! and whoever ends the run says so before it asks whether one was taken.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use netproc::Handle;
use nix::sys::signal::{SigSet, Signal, raise};

/// What its thread and the run tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// A signal was taken.
    taken: AtomicBool,
    /// The run is over.
    over: AtomicBool,
}

/// The signals, from when they are blocked on.
#[derive(Debug)]
pub(super) struct Signals {
    set: SigSet,
    shared: Arc<Shared>,
}

impl Signals {
    /// Blocks them. Behind this no thread but that of [`await_one`](Self::await_one) gets any, if no other exists yet.
    pub(super) fn block() -> nix::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        set.thread_block()?;
        Ok(Self { set, shared: Arc::default() })
    }

    /// Has the first end the run.
    pub(super) fn await_one(&self, handle: Handle) -> io::Result<()> {
        let (set, shared) = (self.set, Arc::clone(&self.shared));
        let wait = move || {
            let Ok(signal) = set.wait() else { return };
            shared.taken.store(true, Ordering::SeqCst);
            // Gone only if the program is on its way out already.
            let _ = handle.shutdown();
            if shared.over.load(Ordering::SeqCst) && set.thread_unblock().is_ok() {
                let _ended = raise(signal);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(())
    }

    /// The run is over: from here on a signal ends the program, unless one was taken before, which is returned. One
    /// request to end may come as two signals, and the second must not cut short what the first has begun.
    pub(super) fn let_go(self) -> nix::Result<bool> {
        self.shared.over.store(true, Ordering::SeqCst);
        if self.shared.taken.load(Ordering::SeqCst) {
            return Ok(true);
        }
        self.set.thread_unblock()?;
        Ok(false)
    }
}
