//! Random schedules on the public runtime: one seed decides servers, clients, faults, and everything
//! that is done between and inside callbacks.
//!
//! Invariant: beside every process stands a model of it. A callback that the model does not expect
//! (input while stopped, an event after the end, a byte out of place, a status ahead of its event) is
//! a violation, and so is one that never comes once the faults are off. A seed runs twice and must
//! leave the same trace and the same log. The reactor's own contract is the parent module's affair.
//!
//! Model and runtime meet in [`world`](self): `births` makes processes, `hear` judges what callbacks
//! are told, `acts` does what nobody expects, `waits` waits, `verdict` says what must have happened.

mod acts;
mod births;
mod hear;
mod model;
mod plan;
mod verdict;
mod waits;
mod world;

use netproc_core::sim::Canary;

use crate::swarm::{Violation, runtime::world::World};

/// What a passing seed did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "plain figures")]
pub struct Report {
    /// Fingerprint of every event of the reactor.
    pub trace_hash: u64,
    /// Fingerprint of every callback and every answer of the runtime.
    pub log_hash: u64,
    /// Callbacks and events pulled.
    pub heard: u64,
    /// Conversations that carried everything, both ways.
    pub complete: u64,
    /// Conversations that somebody or something cut.
    pub cut: u64,
    /// Bytes of streams and records that arrived and were right.
    pub bytes: u64,
    /// Packets that arrived and were right.
    pub packets: u64,
    /// Sends refused because the queue was full.
    pub refused: u64,
    /// Times a refused sender was told that there is room.
    pub drained: u64,
    /// Connects that failed.
    pub failed: u64,
    /// Events pulled, not called back.
    pub pulled: u64,
    /// Waits inside callbacks.
    pub nested: u64,
    /// Timers that ran, and that were cancelled.
    pub timers: u64,
    /// Callbacks that panicked or returned an error, on purpose.
    pub misbehaved: u64,
    /// Calls posted by handles.
    pub posted: u64,
    /// Reads that found no slot.
    pub starved: u64,
}

impl Report {
    /// Adds the figures of another run; the fingerprints stay those of the first.
    pub const fn add(&mut self, other: &Self) {
        self.heard += other.heard;
        self.complete += other.complete;
        self.cut += other.cut;
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.refused += other.refused;
        self.drained += other.drained;
        self.failed += other.failed;
        self.pulled += other.pulled;
        self.nested += other.nested;
        self.timers += other.timers;
        self.misbehaved += other.misbehaved;
        self.posted += other.posted;
        self.starved += other.starved;
    }

    /// Every figure, for the test that none of them stays zero over many seeds.
    #[must_use]
    pub const fn figures(&self) -> [u64; 14] {
        [
            self.heard,
            self.complete,
            self.cut,
            self.bytes,
            self.packets,
            self.refused,
            self.drained,
            self.failed,
            self.pulled,
            self.nested,
            self.timers,
            self.misbehaved,
            self.posted,
            self.starved,
        ]
    }
}

/// What a runtime must not do, imitated where the model listens: a model that does not report it is
/// blind. The engine swallows the breaches of a reactor that would lead to some of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Lapse {
    /// The closing event comes twice.
    EndTwice,
    /// An event follows the closing one.
    EventAfterEnd,
    /// A piece of input is lost.
    LostInput,
    /// A piece of input comes twice.
    DoubledInput,
    /// Input goes to a filter that was replaced.
    OldFilter,
    /// Room in the queue is not told.
    LostDrained,
    /// A timer runs too early.
    EarlyTimer,
    /// A wait comes back too late.
    LateWait,
}

impl Lapse {
    /// Every one of them.
    pub const ALL: [Self; 8] = [
        Self::EndTwice,
        Self::EventAfterEnd,
        Self::LostInput,
        Self::DoubledInput,
        Self::OldFilter,
        Self::LostDrained,
        Self::EarlyTimer,
        Self::LateWait,
    ];
}

/// A breach planted on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Plant {
    /// In the reactor below the runtime.
    Reactor(Canary),
    /// In what the model is told.
    Runtime(Lapse),
}

/// Runs one seed, with a breach planted if one is given.
///
/// # Errors
///
/// The first thing that was not as the model has it.
pub fn run(seed: u64, plant: Option<Plant>) -> Result<Report, Violation> {
    World::new(seed, plant).run().map_err(|what| Violation { seed, what })
}

/// Runs one seed twice and compares trace, log and figures.
///
/// # Errors
///
/// What [`run`] reports, or that the two runs differ.
pub fn check(seed: u64, plant: Option<Plant>) -> Result<Report, Violation> {
    let (first, second) = (run(seed, plant)?, run(seed, plant)?);
    if first == second {
        return Ok(first);
    }
    Err(Violation { seed, what: format!("two runs differ: {first:?} and {second:?}") })
}
