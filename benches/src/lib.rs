//! What netproc costs, measured end to end: the echo bench and what it needs.
//!
//! Invariant: every figure comes from a run in which every echoed byte was checked, with server and
//! load generator in processes of their own. The servers netproc is compared with are part of this
//! package alone. Micro benchmarks are in `benches/core.rs`; counts that must hold on every machine
//! are in `tests/counts.rs`, of system calls, and in `instructions.rs`.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod count;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod pattern;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod serve;

#[cfg(target_os = "linux")]
pub mod echo;
#[cfg(target_os = "linux")]
pub mod instructions;
pub mod rounds;
pub mod sim_echo;
#[cfg(target_os = "linux")]
pub mod tls;
