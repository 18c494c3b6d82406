//! Random schedules on the simulated reactor: one seed decides sizes, faults, traffic and meddling.
//!
//! Invariant: a seed passes when every byte arrived intact and in order, every id was closed exactly
//! once with nothing after it, every sum adds up, and, once the faults are off, nothing is stuck and
//! no memory is held. A seed runs twice and must leave the same trace. The same driver must report
//! each breach that a [`Canary`] plants, or it proves nothing.
//!
//! A run has two phases: *safety*, with faults and meddling, in which nothing wrong may happen, and
//! *liveness*, without, in which everything right must.

mod acts;
mod driver;
mod ledger;
mod plan;
mod ports;
pub mod runtime;
mod streams;
mod verdict;

use std::fmt;

use netproc_core::sim::Canary;

use crate::swarm::driver::Driver;

/// What a passing seed did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "plain figures")]
pub struct Report {
    /// Fingerprint of every event.
    pub trace_hash: u64,
    /// Events seen.
    pub events: u64,
    /// Connections that carried everything they were to carry.
    pub complete: u64,
    /// Connections that a fault or the driver cut.
    pub cut: u64,
    /// Bytes of streams and records that arrived and were right.
    pub bytes: u64,
    /// Packets that arrived and were right.
    pub packets: u64,
    /// Reads that found no slot.
    pub starved: u64,
    /// Buffers copied because slots were scarce.
    pub spilled: u64,
    /// Events that came for sockets already gone.
    pub stale: u64,
}

impl Report {
    /// Adds the figures of another run; the fingerprint stays that of the first.
    pub const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.complete += other.complete;
        self.cut += other.cut;
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.starved += other.starved;
        self.spilled += other.spilled;
        self.stale += other.stale;
    }
}

/// A seed under which the contract was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what to run again, and why")]
pub struct Violation {
    /// The seed: all that is needed to see it again.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Violation {}

/// Runs one seed, with a breach planted if one is given.
///
/// # Errors
///
/// The first breach of the contract that was seen.
pub fn run(seed: u64, canary: Option<Canary>) -> Result<Report, Violation> {
    Driver::new(seed, canary).run().map_err(|what| Violation { seed, what })
}

/// Runs one seed twice and compares the traces.
///
/// # Errors
///
/// What [`run`] reports, or that the two runs differ.
pub fn check(seed: u64, canary: Option<Canary>) -> Result<Report, Violation> {
    let (first, second) = (run(seed, canary)?, run(seed, canary)?);
    if first == second {
        return Ok(first);
    }
    Err(Violation { seed, what: format!("two runs differ: {first:?} and {second:?}") })
}

/// The seeds of a text with one number a line; `#` begins a comment.
///
/// # Errors
///
/// The line that is no number.
pub fn seeds(text: &str) -> Result<Vec<u64>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| line.parse().map_err(|err| format!("{line:?} is no seed: {err}")))
        .collect()
}
