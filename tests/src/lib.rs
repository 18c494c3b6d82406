//! One suite for every reactor of netproc: what the simulation, poll(2), epoll and io_uring promise
//! alike is written once and runs on each.
//!
//! [`contract`](mod@contract) holds the reactor's own contract and the rig that drives it; [`rig`]
//! the same for the processes of the public crate; [`swarm`] runs the simulation under many seeds;
//! [`shards`] two runtimes behind one service; [`transcript`] runs the scenarios that Emacs has run,
//! [`mod@front`] what the front must refuse; [`layers`] has what several put on a stream; [`child`] runs a test
//! in a process of its own; [`watch`] ends one that is stuck; `program` runs programs and `seccomp` takes system
//! calls away, on Linux; [`others`] finds programs of other people; [`certificates`] and [`pki`] make what TLS
//! needs; [`mod@check`], [`check_dialogue`] and [`check_tls`] say what holds for every input, here and for the
//! fuzzer.
//! The tests themselves are in `tests/`, a file for each group of points. Nothing here is part of the
//! library.

pub mod certificates;
pub mod check;
pub mod check_dialogue;
pub mod check_tls;
pub mod child;
pub mod contract;
pub mod front;
pub mod layers;
pub mod others;
pub mod pki;
#[cfg(target_os = "linux")]
pub mod program;
pub mod rig;
#[cfg(target_os = "linux")]
pub mod seccomp;
pub mod shards;
pub mod swarm;
pub mod transcript;
pub mod watch;
