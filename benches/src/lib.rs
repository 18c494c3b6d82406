//! What netproc costs, measured end to end: servers, load generators, counters, reports.
//!
//! Invariant: every figure comes from a run in which every byte that came back was checked, with server
//! and load generator in processes of their own. The servers netproc is compared with are part of this
//! package alone. Micro benchmarks are in `benches/core.rs`; counts that must hold on every machine
//! are in `tests/counts.rs`, of system calls, and in `instructions.rs`.

#![cfg(target_os = "linux")]

mod callgrind;
mod cell;
mod child;
mod count;
mod figures;
mod job;
mod load;
mod machine;
mod measure;
mod oneway;
mod options;
mod page;
mod pattern;
mod promise;
mod requirement;
mod serve;
mod table;
mod turnover;
mod verdict;

pub mod echo;
pub mod instructions;
pub mod report;
pub mod rounds;
pub mod sim_echo;
pub mod tls;
