//! The command line of the echo bench, and of the children it starts.
//!
//! Invariant: what is parsed here is in range; nothing else checks it again.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use crate::{load::Shape, serve::Kind};

/// Compares echo servers: interleaved rounds, medians, every byte checked.
#[derive(Parser, Debug)]
#[command(name = "echo", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Connections at a time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) size: u32,
    /// Messages under way on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) pipeline: u32,
    /// Rounds; each runs every server once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Seconds of a measured window.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The servers to run; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) servers: Vec<Kind>,
    /// How system calls are counted, in a round of its own.
    #[arg(long, value_enum, default_value_t = CountWith::Auto)]
    pub(crate) count: CountWith,
    /// Write every figure to this file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Fail when netproc makes more system calls than it promises for 50 connections of 64 bytes.
    /// How large io_uring's batches are is up to the scheduler; `--count strace` slows the server
    /// and makes them full.
    #[arg(long)]
    pub(crate) check: bool,
    /// What cargo adds to every bench; ignored.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pub(crate) role: Option<ChildRole>,
}

impl Options {
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            connections: self.connections as usize,
            size: self.size.into(),
            pipeline: self.pipeline.into(),
        }
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

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

/// A child of the bench.
#[derive(Subcommand, Debug)]
pub(crate) enum ChildRole {
    /// Serve until standard input ends.
    #[command(hide = true)]
    Serve {
        /// Which server.
        kind: Kind,
    },
    /// Generate load, a window for each line of standard input.
    #[command(hide = true)]
    Load(LoadOptions),
}

/// What a load generator is told.
#[derive(clap::Args, Debug)]
pub(crate) struct LoadOptions {
    pub(crate) server: SocketAddr,
    /// The server's process, whose CPU time is read.
    pub(crate) pid: i32,
    connections: usize,
    size: u64,
    pipeline: u64,
}

impl LoadOptions {
    /// How long a load runs before anything is measured.
    pub(crate) const WARM_UP: Duration = Duration::from_millis(200);

    pub(crate) const fn shape(&self) -> Shape {
        Shape { connections: self.connections, size: self.size, pipeline: self.pipeline }
    }
}
