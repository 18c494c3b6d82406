//! The threads that the library has beside those of a runtime: they look names up, wait for children and accept.
//!
//! Invariant: no signal reaches them. They are no threads of the program's, which may have set apart for signals one
//! that waits for them; given to another, a signal would end the program.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Starts one, which has all signals blocked from its first moment: it has the mask of whoever starts it.
pub(crate) fn start<T: Send + 'static>(
    thread: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started = thread.spawn(work);
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
        assert!(
            nix::sys::signal::Signal::iterator()
                .filter(|signal| !matches!(
                    signal,
                    nix::sys::signal::SIGKILL | nix::sys::signal::SIGSTOP
                ))
                .all(|signal| theirs.contains(signal))
        );
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }
}
