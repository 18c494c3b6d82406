//! The readiness reactor of netproc: epoll on Linux, kqueue on the BSDs and macOS, poll(2) on any
//! other Unix.
//!
//! [`PollReactor`] implements the contract of [`netproc_core::reactor`]. Sockets are registered
//! once, edge-triggered (one of UDP is told of room only while it waits for some), and what the kernel
//! said is remembered: pausing input, or having nothing to send, costs no system call. A socket that has
//! more than its share waits on a hot list for its next turn; one that finds no receive memory waits
//! until some comes back.
//!
//! What the mechanisms share is one engine: they differ only in how they learn that a socket is
//! readable or writable. Nothing in this crate is unsafe.
//!
//! # Fork
//!
//! **A reactor does not survive `fork(2)`.** The child has the same sockets and, on Linux, the same
//! epoll set as the parent: whatever it polls, reads, sends or shuts down is taken from, or done to,
//! the parent's connections. Nothing detects this. A forked child must use nothing of a reactor and
//! drop nothing of it; it may only `exec`, which closes every descriptor made here, or end without
//! running destructors (`_exit`). [`std::process::Command`] does just that. A child that wants
//! sockets makes a reactor of its own.
//!
//! # Examples
//!
//! ```
//! use netproc_core::{queue::EventQueue, reactor::{Config, Event, Reactor, Wait, Wake}};
//! use netproc_poll::PollReactor;
//!
//! let mut reactor = PollReactor::new(Config::default())?;
//! reactor.waker().wake();
//! let mut queue = EventQueue::new();
//! reactor.poll(Wait::Forever, &mut queue)?;
//! assert!(matches!(queue.pop(), Some(Event::Woken)));
//! # Ok::<(), netproc_core::reactor::SysError>(())
//! ```

#![cfg(unix)]
#![forbid(unsafe_code)]

mod agenda;
mod connect;
mod doubts;
mod hub;
mod intake;
mod life;
mod listener;
mod pace;
mod packets;
mod pipes;
mod reactor;
mod selector;
mod sock;
mod stream;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "any event but the one expected fails a test")]
mod tests;
mod turn;
mod wake;

pub use reactor::PollReactor;
pub use selector::Mechanism;
pub use wake::PollWaker;
