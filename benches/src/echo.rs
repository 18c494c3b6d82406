//! The echo bench: runs every server under the same load, in interleaved rounds, and reports.
//!
//! Invariant: without `--bench`, which only `cargo bench` gives, nothing is timed: a short run
//! checks the bytes of every server.

use std::{
    env,
    fs::File,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    child::{self, Loader, Server},
    count::{self, Counter},
    load::{Shape, Until},
    options::{ChildRole, CountWith, Options},
    report::{Counted, Report, Row},
    serve::{self, Kind},
};

const ALL: [Kind; 6] = [
    Kind::NetprocUring,
    Kind::RawUring,
    Kind::NetprocEpoll,
    Kind::RawEpoll,
    Kind::NetprocPoll,
    Kind::Tokio,
];
/// Messages of a round in which system calls are counted: enough to drown what attaching costs.
const COUNTED_MESSAGES: u64 = 50_000;

/// What `benches/echo.rs` runs.
#[must_use]
pub fn main() -> ExitCode {
    let first = env::args().nth(1).unwrap_or_default();
    let is_child = ["serve", "load"].contains(&first.as_str()) && env::args().len() > 2;
    let ran = if is_child || env::args().any(|arg| arg == "--bench") {
        run(&Options::parse())
    } else {
        smoke()
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            complain(&err.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program's last word")]
fn complain(what: &str) {
    eprintln!("echo: {what}");
}

/// Runs what the options ask for; returns whether every promise was kept.
fn run(options: &Options) -> io::Result<bool> {
    match &options.role {
        Some(ChildRole::Serve { kind }) => {
            child::pin(0)?;
            serve::serve(*kind)?;
            Ok(true)
        }
        Some(ChildRole::Load(load)) => {
            child::pin(1)?;
            child::load(load)?;
            Ok(true)
        }
        None => bench(options),
    }
}

/// Lets every server echo a few messages, so that a test run checks all of them.
fn smoke() -> io::Result<bool> {
    let shapes = [
        Shape { connections: 8, size: 64, pipeline: 3 },
        Shape { connections: 3, size: 100_000, pipeline: 2 },
    ];
    let mut stdout = io::stdout();
    for kind in ALL {
        let mut echoed = 0;
        for shape in shapes {
            let server = match Server::start(kind) {
                Err(err) if err.kind() == io::ErrorKind::Unsupported => {
                    writeln!(stdout, "{kind} did not run: {err}")?;
                    continue;
                }
                started => started?,
            };
            let mut loader = Loader::start(&server, shape)?;
            let window = loader.run(Until::Messages(200))?;
            echoed += window.messages_total * shape.size;
            loader.end()?;
            server.end()?;
        }
        writeln!(stdout, "{kind}: {echoed} bytes echoed, every one as sent")?;
    }
    Ok(true)
}

fn bench(options: &Options) -> io::Result<bool> {
    raise_descriptor_limit()?;
    let shape = options.shape();
    let tool = count::choose(options.count);
    let mut report = Report::new(
        shape,
        match tool {
            Some(CountWith::Perf) => "perf stat",
            Some(CountWith::Strace) => "strace -c",
            Some(CountWith::Auto | CountWith::None) | None => "nothing (no tool works here)",
        },
    );
    let kinds = if options.servers.is_empty() { &ALL[..] } else { &options.servers };
    report.rows.extend(kinds.iter().copied().map(Row::new));
    for row in &mut report.rows {
        if let Some(tool) = tool {
            let counted = count_calls(row.server, shape, tool);
            row.counted = unless_unavailable(row, counted)?;
        }
    }
    for _ in 0..options.rounds {
        for row in report.rows.iter_mut().filter(|row| row.unavailable.is_none()) {
            let window = round(row.server, shape, Until::Elapsed(options.window()));
            let window = unless_unavailable(row, window)?;
            row.rounds.extend(window);
        }
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "{report}")?;
    if let Some(path) = &options.json {
        serde_json::to_writer_pretty(File::create(path)?, &report)?;
    }
    let broken = if options.check { report.broken_promises() } else { Vec::new() };
    for promise in &broken {
        complain(promise);
    }
    Ok(broken.is_empty())
}

/// Notes in `row` why its server cannot work here, if that is what went wrong.
fn unless_unavailable<T>(row: &mut Row, result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::Unsupported => {
            row.unavailable = Some(err.to_string());
            Ok(None)
        }
        result => result.map(Some),
    }
}

fn round(kind: Kind, shape: Shape, until: Until) -> io::Result<crate::load::Window> {
    let server = Server::start(kind)?;
    let mut loader = Loader::start(&server, shape)?;
    let window = loader.run(until)?;
    loader.end()?;
    server.end()?;
    Ok(window)
}

/// Counts the system calls of a server while a known number of messages goes through it.
fn count_calls(kind: Kind, shape: Shape, tool: CountWith) -> io::Result<Counted> {
    let mut server = Server::start(kind)?;
    let mut loader = Loader::start(&server, shape)?;
    let before = server.counts()?;
    let counter = Counter::start(tool, server.pid())?;
    let window = loader.run(Until::Messages(COUNTED_MESSAGES))?;
    let counts = counter.finish()?;
    let after = server.counts()?;
    loader.end()?;
    server.end()?;
    Ok(Counted::new(window.messages_total, counts, before.zip(after)))
}

/// Lets the children have as many connections as the system allows at all.
fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
