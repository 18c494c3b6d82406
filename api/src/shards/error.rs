//! What can go wrong with shards.
//!
//! Invariant: an error says which shard it is about.

use std::{error::Error as StdError, io};

use crate::error::Error;

/// Why shards did not start, or how they ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    /// None, or more than there may be.
    #[error("{count} shards, there may be 1 to {max}")]
    Count {
        /// How many were asked for.
        count: usize,
        /// The most there may be.
        max: usize,
    },
    /// A thread could not be started.
    #[error("no thread for a shard")]
    Thread(#[source] io::Error),
    /// The system does not let a thread be kept on a processor.
    #[error("shard {shard} cannot be pinned to a processor")]
    Pin {
        /// Which one.
        shard: usize,
        /// What the system said; `Unsupported` where it has no such thing.
        source: io::Error,
    },
    /// Its runtime could not be made.
    #[error("no runtime for shard {shard}")]
    Runtime {
        /// Which one.
        shard: usize,
        /// Why.
        source: Error,
    },
    /// What the set-up returned.
    #[error("shard {shard} could not be set up")]
    SetUp {
        /// Which one.
        shard: usize,
        /// The set-up's own error.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The set-up panicked, or something outside of any callback.
    #[error("shard {shard} panicked: {message}")]
    Panicked {
        /// Which one.
        shard: usize,
        /// The message of the panic.
        message: String,
    },
    /// Its runtime could not go on.
    #[error("shard {shard} could not go on")]
    Run {
        /// Which one.
        shard: usize,
        /// Why.
        source: Error,
    },
    /// It has not answered in time.
    #[error("no answer from shard {shard} within the time given")]
    Silent {
        /// Which one.
        shard: usize,
    },
}
