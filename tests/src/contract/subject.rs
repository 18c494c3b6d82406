//! The reactors under test, each made by a function of its own.
//!
//! Invariant: a reactor that cannot be made fails the test. io_uring alone may be left out, where
//! the environment says `NETPROC_WITHOUT_URING=1`, and every test then says that it was.

use netproc_core::{
    reactor::Config,
    sim::{Faults, SimReactor},
};
use netproc_poll::{Mechanism, PollReactor};

/// The simulation, without faults: those are for the swarm.
#[must_use]
pub fn sim(config: Config) -> Option<SimReactor> {
    Some(SimReactor::new(1, Faults::none(), config))
}

/// poll(2).
///
/// # Panics
///
/// Panics when it cannot be set up.
#[must_use]
pub fn poll(config: Config) -> Option<PollReactor> {
    Some(PollReactor::with(Mechanism::Poll, config).expect("every Unix has poll(2)"))
}

/// epoll.
///
/// # Panics
///
/// Panics when it cannot be set up.
#[cfg(target_os = "linux")]
#[must_use]
pub fn epoll(config: Config) -> Option<PollReactor> {
    Some(PollReactor::with(Mechanism::Epoll, config).expect("every Linux has epoll"))
}

/// kqueue.
///
/// # Panics
///
/// Panics when it cannot be set up.
#[cfg(any(
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple",
))]
#[must_use]
pub fn kqueue(config: Config) -> Option<PollReactor> {
    Some(PollReactor::with(Mechanism::Kqueue, config).expect("these systems have kqueue"))
}

/// io_uring; `None` where it is left out on purpose.
///
/// # Panics
///
/// Panics when it cannot be set up and nobody said that this is expected.
#[cfg(target_os = "linux")]
#[must_use]
pub fn uring(config: Config) -> Option<netproc_uring::UringReactor> {
    match netproc_uring::UringReactor::new(config) {
        Ok(reactor) => Some(reactor),
        Err(err) if std::env::var_os("NETPROC_WITHOUT_URING").is_some_and(|on| on == "1") => {
            crate::watch::shout(&format!("left out: io_uring is not to be had here: {err}"));
            None
        }
        Err(err) => panic!(
            "io_uring cannot be set up: {err}\n\
             set NETPROC_WITHOUT_URING=1 to leave its tests out where that is expected"
        ),
    }
}
