//! The bench `echo`: one cell of one's own choice, as a table.

use std::{
    fs::File,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

use crate::{
    callgrind, child, count,
    machine::{self, Machine},
    measure::{Plan, measure},
    options::{CountWith, EchoOptions},
};

/// What `benches/echo.rs` runs.
#[must_use]
pub fn main() -> ExitCode {
    let run = || run(&EchoOptions::parse());
    machine::exit_code("echo", child::work().map_or_else(run, |worked| worked.map(|()| true)))
}

/// Runs what the options ask for; returns whether all went well and every promise was kept.
fn run(options: &EchoOptions) -> io::Result<bool> {
    let descriptors = machine::raise_descriptor_limit()?;
    let calls = count::choose(options.common.count);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    let millis = (options.seconds * 1e3) as u64;
    let instructions = options.instructions && callgrind::can_count();
    let plan = Plan { rounds: options.rounds, millis, calls, instructions };
    let machine = Machine::this();
    let measured = measure(&options.cell(descriptors), options.common.servers(), plan);
    let mut stdout = io::stdout();
    writeln!(stdout, "{machine}; system calls counted by {}", CountWith::words(calls))?;
    writeln!(stdout, "{measured}")?;
    if let Some(path) = &options.json {
        serde_json::to_writer_pretty(File::create(path)?, &(&measured, measured.figures()))?;
    }
    let kept = !options.common.check || measured.keeps_promises();
    Ok(kept && measured.rows.iter().all(|row| row.failed.is_none()))
}
