//! Why no io_uring reactor could be made: which step was refused, with the system's own answer.

use std::io;

use netproc_core::{pool::PoolError, reactor::ConfigError};

/// The step at which setting up failed; the answer of the system is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// `io_uring_setup(2)` itself: absent (`ENOSYS`), forbidden (`EPERM`), no memory.
    #[error("io_uring_setup")]
    Setup(#[source] io::Error),
    /// A page that tells a forked child from its parent.
    #[error("mapping the page that marks this process")]
    ForkMark(#[source] io::Error),
    /// `io_uring_register(2)`.
    #[error("io_uring_register ({what})")]
    Register {
        /// What was to be registered.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `io_uring_enter(2)`.
    #[error("io_uring_enter")]
    Enter(#[source] io::Error),
    /// A socket or descriptor the reactor or its probe needs.
    #[error("opening {what}")]
    Open {
        /// What was to be opened.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel takes the call but does not do what is needed.
    #[error("probing {what}")]
    Probe {
        /// What was tried.
        what: &'static str,
        /// How it went wrong.
        source: io::Error,
    },
    /// A size out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The receive memory.
    #[error("receive memory")]
    Pool(#[from] PoolError),
}
