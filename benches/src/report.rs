//! Figures of a run: medians over the rounds, the table, the JSON file, the promises.
//!
//! Invariant: ratios are of medians over the same interleaved rounds; differences under the spread
//! printed beside them mean nothing.

use std::{fmt, fs, thread};

use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};
use serde::{Serialize, Serializer};

use crate::{
    child::OwnCounts,
    count::Counts,
    load::{Shape, Window},
    serve::Kind,
};

/// What netproc on io_uring promises at most, system calls a message.
const URING_TOTAL_MAX: f64 = 0.1;
/// What netproc on epoll promises at most, system calls a message, waits not counted.
const EPOLL_WORK_MAX: f64 = 2.1;

/// System calls of a window, counted from outside and by the server itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counted {
    pub(crate) messages: u64,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// What the server counted, if it counts.
    pub(crate) own_total: Option<u64>,
}

impl Counted {
    pub(crate) fn new(messages: u64, counts: Counts, own: Option<(OwnCounts, OwnCounts)>) -> Self {
        Self { messages, counts, own_total: own.map(|(old, new)| new.syscalls - old.syscalls) }
    }

    fn per_message(&self, calls: u64) -> f64 {
        as_f64(calls) / as_f64(self.messages)
    }
}

/// Everything measured of one server.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "as_text")]
    pub(crate) server: Kind,
    pub(crate) rounds: Vec<Window>,
    pub(crate) counted: Option<Counted>,
    /// Why it did not run, if it did not.
    pub(crate) unavailable: Option<String>,
}

/// One cell: every server under the same load.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) connections: usize,
    pub(crate) size: u64,
    pub(crate) pipeline: u64,
    /// The tool that counted system calls.
    pub(crate) counter: &'static str,
    pub(crate) rows: Vec<Row>,
}

fn as_text<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

/// Counts are far below 2^53, where this begins to round.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

impl Window {
    fn messages_per_second(&self) -> f64 {
        as_f64(self.messages) / self.elapsed.as_secs_f64()
    }

    fn cpu_per_message(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / as_f64(self.messages)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}

impl Row {
    pub(crate) const fn new(server: Kind) -> Self {
        Self { server, rounds: Vec::new(), counted: None, unavailable: None }
    }

    fn median(&self, figure: impl Fn(&Window) -> f64) -> Option<f64> {
        (!self.rounds.is_empty()).then(|| median(self.rounds.iter().map(figure).collect()))
    }

    fn cpu(&self) -> Option<f64> {
        self.median(Window::cpu_per_message)
    }

    /// The least and the most CPU per message of any round.
    fn cpu_range(&self) -> String {
        let values: Vec<f64> = self.rounds.iter().map(Window::cpu_per_message).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        format!("{least:.2}–{most:.2}")
    }

    /// What the counts break of netproc's promise for 64-byte messages on 50 connections.
    fn broken_promise(&self) -> Option<String> {
        let counted = self.counted?;
        let counts = counted.counts;
        let (what, found, max) = match self.server {
            Kind::NetprocUring => ("in all", counts.total, URING_TOTAL_MAX),
            Kind::NetprocEpoll => ("besides waits", counts.total - counts.waits, EPOLL_WORK_MAX),
            Kind::NetprocPoll | Kind::RawUring | Kind::RawEpoll | Kind::Tokio => return None,
        };
        let found = counted.per_message(found);
        let server = self.server;
        (found > max)
            .then(|| format!("{server}: {found:.3} system calls a message {what}, promised {max}"))
    }
}

impl Report {
    pub(crate) fn new(shape: Shape, counter: &'static str) -> Self {
        Self {
            machine: machine(),
            connections: shape.connections,
            size: shape.size,
            pipeline: shape.pipeline,
            counter,
            rows: Vec::new(),
        }
    }

    fn cpu_of(&self, server: Kind) -> Option<f64> {
        self.rows.iter().find(|row| row.server == server)?.cpu()
    }

    /// Each promise that the counts break.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        self.rows.iter().filter_map(Row::broken_promise).collect()
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let ratio = |other: Kind| Some(row.cpu()? / self.cpu_of(other)?);
        let calls = |count: fn(&Counted) -> Option<u64>| {
            let counted = row.counted.as_ref()?;
            Some(counted.per_message(count(counted)?))
        };
        let rate = row.median(Window::messages_per_second);
        let size = as_f64(self.size);
        vec![
            row.server.to_string(),
            number(rate, 0),
            number(rate.map(|rate| rate * size / 1e6), 1),
            number(row.median(|window| window.p50.as_secs_f64() * 1e6), 0),
            number(row.median(|window| window.p99.as_secs_f64() * 1e6), 0),
            number(row.cpu(), 2),
            if row.rounds.is_empty() { "–".into() } else { row.cpu_range() },
            number(ratio(row.server.raw()), 2),
            number(ratio(Kind::Tokio), 2),
            number(calls(|counted| Some(counted.counts.total)), 3),
            number(calls(|counted| Some(counted.counts.waits)), 3),
            number(calls(|counted| counted.own_total), 3),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        let rounds = self.rows.iter().map(|row| row.rounds.len()).max().unwrap_or(0);
        writeln!(
            f,
            "echo over TCP: {} connections x {} bytes x {} deep; medians of {rounds} interleaved \
             rounds; system calls counted by {}",
            self.connections, self.size, self.pipeline, self.counter
        )?;
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "server",
            "msg/s",
            "MB/s",
            "p50 µs",
            "p99 µs",
            "CPU µs/msg",
            "min–max",
            "× raw",
            "× tokio",
            "calls/msg",
            "waits/msg",
            "own count",
        ]);
        for row in &self.rows {
            let cells = self.cells(row).into_iter();
            table.add_row(cells.map(|cell| Cell::new(cell).set_alignment(CellAlignment::Right)));
        }
        writeln!(f, "{table}")?;
        for row in &self.rows {
            if let Some(why) = &row.unavailable {
                writeln!(f, "{} did not run: {why}", row.server)?;
            }
        }
        Ok(())
    }
}

/// The machine in one line: kernel, processor, cores, load.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("Linux {}, {model}, {cores} cores, load average {load} at the start", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn window(messages: u64) -> Window {
        let (millis, micros) = (Duration::from_millis, Duration::from_micros);
        Window {
            messages,
            messages_total: messages,
            elapsed: millis(500),
            p50: micros(10),
            p99: micros(20),
            server_cpu: millis(100),
        }
    }

    fn row(server: Kind, rounds: &[u64], total: u64, waits: u64) -> Row {
        let counted = Counted::new(1000, Counts { total, waits }, None);
        let rounds = rounds.iter().copied().map(window).collect();
        Row { rounds, counted: Some(counted), ..Row::new(server) }
    }

    #[test]
    fn medians_and_ratios_are_those_of_the_rounds() {
        let mut report =
            Report::new(Shape { connections: 50, size: 64, pipeline: 1 }, "nothing at all");
        report.rows.push(row(Kind::RawEpoll, &[100_000, 50_000, 20_000], 2000, 100));
        report.rows.push(row(Kind::NetprocEpoll, &[40_000], 2000, 100));
        assert_eq!(
            report.cells(&report.rows[1]),
            [
                "netproc-epoll",
                "80000",
                "5.1",
                "10",
                "20",
                "2.50",
                "2.50–2.50",
                "1.25",
                "–",
                "2.000",
                "0.100",
                "–"
            ]
        );
        assert_eq!(report.cells(&report.rows[0])[5..7], ["2.00", "1.00–5.00"]);
        assert!(report.to_string().contains("medians of 3 interleaved rounds"));
    }

    #[test]
    fn promises_hold_up_to_their_bound() {
        let cases = [
            (Kind::NetprocUring, 100, 100, false),
            (Kind::NetprocUring, 101, 101, true),
            (Kind::NetprocEpoll, 2600, 500, false),
            (Kind::NetprocEpoll, 2601, 500, true),
            (Kind::Tokio, 9000, 0, false),
        ];
        for (server, total, waits, broken) in cases {
            let row = row(server, &[1], total, waits);
            assert_eq!(row.broken_promise().is_some(), broken, "{server} {total} {waits}");
        }
    }
}
