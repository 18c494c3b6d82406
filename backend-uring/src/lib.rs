//! The io_uring reactor of netproc. Linux only; on any other system this crate is empty.
//!
//! What it asks of the kernel, found out by doing and never by version number:
//!
//! * multishot accept and multishot receive from a ring of provided buffers (Linux 6.0);
//! * a wait with a timeout of its own, completions that are never dropped, internal polling.
//!
//! What it uses where the kernel has it: deferred task work for a single issuer (6.1), incremental
//! buffers and waits with patience for several completions (6.12), a registered ring descriptor, waits
//! that do not count as I/O wait. Where io_uring is missing, forbidden or half forbidden,
//! `UringReactor::new` says which step was refused; a caller takes the readiness reactor then.
//!
//! One `io_uring_enter` per `poll` submits all that was queued since the last and waits for the
//! next batch. Receive memory is the pool of `netproc-core`, lent to the kernel a few slots at a
//! time. Nothing is allocated per message.
//!
//! ```
//! # #[cfg(target_os = "linux")] {
//! use netproc_core::reactor::{Config, Reactor as _};
//! use netproc_uring::UringReactor;
//!
//! match UringReactor::new(Config::default()) {
//!     Ok(reactor) => assert_eq!(reactor.caps().name, "io_uring"),
//!     Err(refused) => println!("no io_uring here: {refused}"),
//! }
//! # }
//! ```

#[cfg(target_os = "linux")]
mod batch;
#[cfg(target_os = "linux")]
mod buffers;
#[cfg(target_os = "linux")]
mod close;
#[cfg(target_os = "linux")]
mod cqe;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod dial;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod foreign;
#[cfg(target_os = "linux")]
mod io;
#[cfg(target_os = "linux")]
mod lending;
#[cfg(target_os = "linux")]
mod listener;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod packets;
#[cfg(target_os = "linux")]
mod patience;
#[cfg(target_os = "linux")]
mod pipes;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod quiet;
#[cfg(target_os = "linux")]
mod reactor;
#[cfg(target_os = "linux")]
mod reading;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod sending;
#[cfg(target_os = "linux")]
mod short;
#[cfg(target_os = "linux")]
mod sock;
#[cfg(target_os = "linux")]
mod sqe;
#[cfg(target_os = "linux")]
mod teardown;
#[cfg(target_os = "linux")]
mod token;
#[cfg(target_os = "linux")]
mod wake;

#[cfg(target_os = "linux")]
pub use error::SetupError;
#[cfg(target_os = "linux")]
pub use probe::{Features, probe};
#[cfg(target_os = "linux")]
pub use reactor::UringReactor;
#[cfg(target_os = "linux")]
pub use wake::UringWaker;
