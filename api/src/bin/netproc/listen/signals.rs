//! SIGINT, SIGTERM and SIGHUP: they end the run, and once that is over the program, which may still wait for whoever
//! reads standard output.
//!
//! Invariant: a signal is never taken without effect. The first signal and the end of the run meet at one flag: whoever
//! comes there first has ended the run, and the other finds it ended.

use std::{
    fs, io,
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

/// Whether SIGHUP is for us: whoever starts this by `nohup` has it ignored. Once blocked it would be taken all the same.
/// A system that does not tell how it stands leaves the signal to what it does by itself.
fn hears_hangups() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| !is_ignored(&status).unwrap_or(true))
}

/// Whether this status, as Linux shows it, has SIGHUP among what is ignored.
fn is_ignored(status: &str) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    // Bits are counted from 0, signals from 1.
    Some(ignored >> (Signal::SIGHUP as u32 - 1) & 1 == 1)
}

impl Signals {
    /// Blocks them. Behind this no thread but that of [`await_one`](Self::await_one) gets any, if no other exists yet.
    pub(super) fn block() -> nix::Result<Self> {
        let mut set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        if hears_hangups() {
            set.add(Signal::SIGHUP);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_by_its_bit() {
        let cases = [
            ("Name:\tx\nSigIgn:\t0000000000001001\n", Some(true)),
            ("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n", Some(false)),
            ("SigIgn:\tx\n", None),
            ("", None),
        ];
        for (status, ignored) in cases {
            assert_eq!(is_ignored(status), ignored, "{status:?}");
        }
    }
}
