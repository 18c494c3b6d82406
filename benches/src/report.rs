//! The bench `report`: every server in every cell, written down after each cell.
//!
//! Invariant: without `--bench`, which only `cargo bench` gives, nothing is timed: a short run
//! checks the bytes of every server in every service.

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser as _;

use crate::{
    callgrind,
    cell::{self, Cell},
    child, count,
    job::{Service, Shape},
    machine::{self, Machine},
    measure::{self, Measured, Plan},
    options::{self, CountWith, ReportOptions},
    page::{self, Report},
    serve::Kind,
    turnover,
};

/// How many processes come and go.
const PROCESSES: u64 = 1_000_000;

/// The page with the table, from the folder of this package.
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// What `benches/report.rs` runs.
#[must_use]
pub fn main() -> ExitCode {
    let run = || {
        if env::args().any(|arg| arg == "--bench") { run(&ReportOptions::parse()) } else { smoke() }
    };
    machine::exit_code("report", child::work().map_or_else(run, |worked| worked.map(|()| true)))
}

/// Does what the options ask for; returns whether no server failed.
fn run(options: &ReportOptions) -> io::Result<bool> {
    let descriptors = machine::raise_descriptor_limit()?;
    let cells = Cell::chosen(&options.only, options.quick, descriptors);
    if options.list {
        list(&cells)?;
        return Ok(true);
    }
    if cells.is_empty() && !options.turns_over() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no cell has such a name; see --list",
        ));
    }
    if options.readme && !options.again && !cfg!(feature = "peers") {
        let what = "--readme wants the peers: --features peers";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let out = options.out.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = from_callers_folder(out);
    let report = if options.again {
        let report = Report::read(&folder)?;
        report.write(&folder)?;
        report
    } else {
        measure(options, &cells, &folder)?
    };
    let table = report.table();
    let mut stdout = io::stdout();
    writeln!(stdout, "{table}")?;
    for path in [page::json_path(&folder), page::html_path(&folder)] {
        writeln!(stdout, "{}", path.display())?;
    }
    if options.readme {
        report.published()?;
        page::update(Path::new(README), &table)?;
    }
    let mut promises = report.cells.iter().filter(|it| it.cell.name == cell::MAIN);
    let kept = !options.common.check || promises.all(Measured::keeps_promises);
    Ok(report.is_whole() && kept)
}

fn list(cells: &[Cell]) -> io::Result<()> {
    let mut stdout = io::stdout();
    let mut line = |name, what| writeln!(stdout, "{name:21} {what}");
    cells.iter().try_for_each(|cell| line(cell.name.as_str(), cell.title()))?;
    line(options::TURNOVER, format!("{PROCESSES} processes of netproc, created and ended in turn"))
}

/// Measures every cell and writes the report after each, so that an end half-way loses nothing.
fn measure(options: &ReportOptions, cells: &[Cell], folder: &Path) -> io::Result<Report> {
    let (rounds, seconds) = if options.quick { (1, 0.1) } else { (40, 0.05) };
    let (rounds, seconds) = (options.rounds.unwrap_or(rounds), options.seconds.unwrap_or(seconds));
    let calls = count::choose(options.common.count);
    let can_count = callgrind::can_count();
    let mut report = Report {
        machine: Machine::this(),
        command: command(),
        versions: page::versions(),
        rounds,
        seconds,
        counted_by: CountWith::words(calls).into(),
        automatic: Kind::automatic(),
        cells: Vec::new(),
        turnovers: Vec::new(),
    };
    let mut stdout = io::stdout();
    let start = Instant::now();
    if options.turns_over() {
        let processes = if options.quick { PROCESSES / 50 } else { PROCESSES };
        report.turnovers = turnover::measure(options.common.servers(), processes);
        report.write(folder)?;
        for turnover in &report.turnovers {
            writeln!(stdout, "{turnover}")?;
        }
    }
    for (number, cell) in cells.iter().enumerate() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let millis = (seconds * 1e3) as u64;
        let instructions = can_count && !options.quick && cell.counts_instructions();
        let calls = calls.filter(|_| cell.counts_calls(options.quick));
        let plan = Plan { rounds, millis, calls, instructions };
        let measured: Measured = measure::measure(cell, options.common.servers(), plan);
        let (number, count, so_far) = (number + 1, cells.len(), start.elapsed().as_secs());
        writeln!(stdout, "[{number}/{count}, {so_far} s] {measured}")?;
        report.cells.push(measured);
        if let Err(err) = report.write(folder) {
            // The next cells are worth measuring all the same.
            machine::complain("report", &format!("{}: {err}", folder.display()));
        }
    }
    report.write(folder)?;
    Ok(report)
}

/// The command that somebody else would call, with a folder of their own.
fn command() -> String {
    let arguments: Vec<_> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_folder = |at: usize| at > 0 && arguments[at - 1] == "--out";
    let asked = arguments.iter().enumerate();
    let asked = asked.map(|(at, arg)| if is_folder(at) { "DIR".into() } else { arg.clone() });
    let words = ["cargo", "bench", "-p", "netproc-bench"];
    let peers: &[&str] = if cfg!(feature = "peers") { &["--features", "peers"] } else { &[] };
    let words = words.iter().chain(peers).chain(&["--bench", "report", "--"]).copied();
    words.map(str::to_owned).chain(asked).collect::<Vec<_>>().join(" ")
}

/// A path as the caller of cargo meant it: cargo runs benches in the folder of their package.
fn from_callers_folder(path: &Path) -> PathBuf {
    env::var_os("PWD").map_or_else(|| path.to_owned(), |folder| Path::new(&folder).join(path))
}

/// Lets every server offer every service to a few, so that a test run checks the bytes of all.
fn smoke() -> io::Result<bool> {
    let cells = [
        (Service::Tcp, Shape::new(8, 64, 3), 100),
        (Service::Tcp, Shape { idle: 70, tables: 3, ..Shape::new(3, 100_000, 2) }, 30),
        (Service::Churn, Shape::new(4, 64, 1), 40),
        (Service::Unix, Shape::new(4, 5000, 2), 50),
        (Service::Tls, Shape::new(3, 100_000, 2), 30),
        (Service::TlsFull, Shape::new(4, 64, 1), 20),
        (Service::TlsResumed, Shape::new(4, 64, 1), 40),
        (Service::Udp, Shape::new(4, 600, 4), 100),
        (Service::UdpApart, Shape::new(4, 600, 4), 100),
        (Service::Sink, Shape::new(2, 1 << 16, 32), 64),
        (Service::Source, Shape::new(2, 1 << 16, 32), 64),
    ];
    let mut stdout = io::stdout();
    let mut all_well = true;
    for &kind in Kind::all() {
        let mut checked = 0;
        for (service, shape, messages) in cells {
            let cell = Cell::new(service, shape);
            if !kind.offers(service) {
                continue;
            }
            match measure::smoke(kind, &cell, messages) {
                Ok(bytes) => checked += bytes,
                Err(err) if err.kind() == io::ErrorKind::Unsupported => {
                    writeln!(stdout, "{kind} does not run here: {err}")?;
                    break;
                }
                Err(err) => {
                    machine::complain("report", &format!("{kind}, {}: {err}", cell.title()));
                    all_well = false;
                }
            }
        }
        writeln!(stdout, "{kind}: {checked} bytes came back, every one as it should be")?;
    }
    Ok(all_well)
}
