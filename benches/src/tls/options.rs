//! The command line of the TLS bench, and of the children it starts.
//!
//! Invariant: what is parsed here is in range; nothing else checks it again.

use clap::{Args, Parser, Subcommand};

use super::{job::Job, peers::Peer};

/// Compares TLS servers: interleaved rounds, medians, every byte checked.
#[derive(Parser, Debug)]
#[command(name = "tls", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Connections at a time; of handshakes, so many are under way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) connections: u32,
    /// Rounds; each runs every job on every server once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds of a measured window.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// End a window after so many answers instead, to count what they cost by other means.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// The servers to run; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Peer>,
    /// What they do; everything by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    jobs: Vec<Job>,
    /// What cargo adds to every bench; ignored.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

impl Options {
    pub(crate) fn peers(&self) -> &[Peer] {
        if self.servers.is_empty() { &Peer::ALL } else { &self.servers }
    }

    pub(crate) fn jobs(&self) -> &[Job] {
        if self.jobs.is_empty() { &Job::ALL } else { &self.jobs }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.01..=600.0).contains(&seconds) { Ok(seconds) } else { Err("0.01 to 600".into()) }
}

/// A child of the bench.
#[derive(Subcommand, Debug)]
pub(crate) enum Role {
    /// Serve until standard input ends.
    #[command(hide = true)]
    Serve {
        /// Which server.
        peer: Peer,
        /// What it does.
        job: Job,
    },
    /// Generate load for one window.
    #[command(hide = true)]
    Load(LoadOptions),
}

/// What a load generator is told.
#[derive(Args, Debug)]
pub(crate) struct LoadOptions {
    pub(crate) job: Job,
    pub(crate) port: u16,
    /// The server's process, whose CPU time is read.
    pub(crate) pid: i32,
    pub(crate) connections: usize,
    /// `millis` or `count`.
    pub(crate) unit: String,
    pub(crate) amount: u64,
}
