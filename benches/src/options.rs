//! The command lines of the benches.
//!
//! Invariant: what is parsed here is in range; nothing else checks it again.

use std::path::PathBuf;

use clap::Parser;

use crate::{cell::Cell, job::Shape, serve::Kind};

/// Compares servers in one cell: interleaved rounds, medians, every byte checked.
#[derive(Parser, Debug)]
#[command(name = "echo")]
pub(crate) struct EchoOptions {
    /// What the servers do.
    #[arg(long, value_enum, default_value = "tcp")]
    pub(crate) service: crate::job::Service,
    /// Connections at a time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) size: u32,
    /// Messages under way on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) pipeline: u32,
    /// Idle connections besides.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) idle: u32,
    /// Count instructions as well.
    #[arg(long)]
    pub(crate) instructions: bool,
    /// Write every figure to this file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Rounds; each runs every server once.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds of a measured window.
    #[arg(long, default_value_t = 0.05, value_parser = seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl EchoOptions {
    /// Where a table holds so many descriptors.
    pub(crate) fn cell(&self, descriptors: usize) -> Cell {
        let (connections, size) = (self.connections as usize, self.size.into());
        let shape = Shape::new(connections, size, self.pipeline.into());
        Cell::new(self.service, shape.beside(self.idle as usize, descriptors))
    }
}

/// Compares servers in every cell and writes a report.
#[derive(Parser, Debug)]
#[command(name = "report")]
pub(crate) struct ReportOptions {
    /// Write `report.json` and `report.html` to this folder, which is made if need be.
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub(crate) out: Option<PathBuf>,
    /// Write the table into the README of this repository, between its two marks: that of all cells and servers.
    #[arg(long, conflicts_with_all = ["quick", "only", "servers"])]
    pub(crate) readme: bool,
    /// Measure nothing: write the pages again from the `report.json` that is in the folder.
    #[arg(long)]
    pub(crate) again: bool,
    /// Cells to measure: names, or their beginnings up to a dash; all by default. `--list` shows them.
    #[arg(long, value_delimiter = ',', value_name = "CELL")]
    pub(crate) only: Vec<String>,
    /// Show the names of the cells, and do nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Few cells, one round, short windows, no instructions: a try.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds; each runs every server once. Default 40, or 1 with `--quick`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Seconds of a measured window. Default 0.05, or 0.1 with `--quick`.
    #[arg(long, value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// The name of what is no cell: processes that come and go.
pub(crate) const TURNOVER: &str = "turnover";

impl ReportOptions {
    /// Whether processes come and go in this run.
    pub(crate) fn turns_over(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == TURNOVER)
    }
}

/// What both have.
#[derive(clap::Args, Debug)]
pub(crate) struct Common {
    /// The servers to run; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// How system calls are counted, in a round of its own.
    #[arg(long, value_enum, default_value_t = CountWith::Auto)]
    pub(crate) count: CountWith,
    /// Fail when netproc makes more system calls than it promises for 50 connections of 64 bytes, or
    /// they could not be counted.
    /// How large io_uring's batches are is up to the scheduler; `--count strace` slows the server
    /// and makes them full.
    #[arg(long)]
    pub(crate) check: bool,
    /// What cargo adds to every bench; ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Common {
    pub(crate) fn servers(&self) -> &[Kind] {
        if self.servers.is_empty() { Kind::all() } else { &self.servers }
    }
}

/// Reads a length in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.01..=600.0).contains(&seconds) { Ok(seconds) } else { Err("0.01 to 600".into()) }
}

/// What counts a server's system calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum CountWith {
    /// `perf` if it works here, else `strace` if it is installed, else nothing.
    Auto,
    /// `perf stat` on the kernel's trace points: exact, and hardly slows the server.
    Perf,
    /// `strace -c`: works anywhere, but slows the server, which makes its batches larger.
    Strace,
    /// Nothing.
    None,
}

impl CountWith {
    /// The tool that was found, in words.
    pub(crate) const fn words(found: Option<Self>) -> &'static str {
        match found {
            Some(Self::Perf) => "perf stat",
            Some(Self::Strace) => "strace -c",
            Some(Self::Auto | Self::None) | None => "nothing (no tool works here)",
        }
    }
}
