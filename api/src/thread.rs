//! The threads that the library has beside those of a runtime: they look names up, wait for children and accept.
//!
//! Invariant: no signal that comes from elsewhere reaches them. They are no threads of the program's, which may have set
//! apart for signals one that waits for them; given to another, a signal would end the program. Nor are they kept on a
//! processor, though a shard that starts them is.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::shards::Unpinned;

/// What a thread brings upon itself, and somebody may handle: a stack that overflows, for example.
const OWN: [Signal; 6] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Starts one, which has the others blocked from its first moment: it has the mask of whoever starts it.
pub(crate) fn start<T: Send + 'static>(
    thread: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut blocked = SigSet::all();
    OWN.into_iter().for_each(|signal| blocked.remove(signal));
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let unpinned = Unpinned::here();
    let started = thread.spawn(move || {
        if let Some(unpinned) = unpinned {
            unpinned.restore();
        }
        work()
    });
    before.thread_set_mask()?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signal_reaches_it_and_the_starter_keeps_what_it_had() {
        let before = SigSet::thread_get_mask().unwrap();
        let mask = || SigSet::thread_get_mask().unwrap();
        let theirs = start(Builder::new(), mask).unwrap().join().unwrap();
        for signal in Signal::iterator() {
            let unblockable = matches!(signal, Signal::SIGKILL | Signal::SIGSTOP);
            let may_come = unblockable || OWN.contains(&signal);
            assert_ne!(theirs.contains(signal), may_come, "{signal}");
        }
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }
}
