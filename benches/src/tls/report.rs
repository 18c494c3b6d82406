//! Figures of a run: medians over the rounds, and each beside tokio-rustls.
//!
//! Invariant: ratios are of medians over the same interleaved rounds; differences under the spread
//! printed beside them mean nothing.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};
use serde::{Deserialize, Serialize};

use super::{job::Job, peers::Peer};

/// What a window measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Answers that came whole, or handshakes.
    pub(crate) count: u64,
    pub(crate) elapsed: Duration,
    /// CPU time of the server, user and system.
    pub(crate) server_cpu: Duration,
}

impl Window {
    /// Counts are far below 2^53, where this begins to round.
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
    fn count(&self) -> f64 {
        self.count as f64
    }

    fn per_second(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    /// Microseconds of an answer.
    fn cpu(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.count()
    }
}

/// Every window of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: BTreeMap<(Job, Peer), Vec<Window>>,
}

fn median(windows: &[Window], figure: impl Fn(&Window) -> f64) -> f64 {
    let mut values: Vec<f64> = windows.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

impl Report {
    pub(crate) fn add(&mut self, job: Job, peer: Peer, window: Window) {
        self.rows.entry((job, peer)).or_default().push(window);
    }

    fn cells(&self, job: Job, peer: Peer, windows: &[Window]) -> [String; 7] {
        let (rate, cpu) = (median(windows, Window::per_second), median(windows, Window::cpu));
        let all = windows.iter().map(Window::cpu);
        let (least, most) = (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max));
        let beside = |figure: fn(&Window) -> f64, own: f64| {
            let other = self.rows.get(&(job, Peer::TokioRustls));
            other.map_or_else(|| "–".to_owned(), |it| format!("{:.2}", own / median(it, figure)))
        };
        [
            job.to_string(),
            peer.to_string(),
            format!("{rate:.0}"),
            beside(Window::per_second, rate),
            format!("{cpu:.2}"),
            format!("{least:.2}–{most:.2}"),
            beside(Window::cpu, cpu),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["job", "server", "per s", "× tokio", "CPU µs", "range", "× tokio"]);
        for ((job, peer), windows) in &self.rows {
            let cells = self.cells(*job, *peer, windows);
            table.add_row(cells.iter().enumerate().map(|(column, text)| {
                let side = if column < 2 { CellAlignment::Left } else { CellAlignment::Right };
                Cell::new(text).set_alignment(side)
            }));
        }
        let rounds = self.rows.values().map(Vec::len).max().unwrap_or_default();
        writeln!(f, "{table}")?;
        write!(f, "medians of {rounds} interleaved rounds; CPU is the server's, for one answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_those_of_the_rounds() {
        let window = |count| Window {
            count,
            elapsed: Duration::from_millis(500),
            server_cpu: Duration::from_millis(100),
        };
        let mut report = Report::default();
        for count in [100_000, 50_000, 20_000] {
            report.add(Job::Sink, Peer::TokioRustls, window(count));
        }
        report.add(Job::Sink, Peer::NetprocEpoll, window(40_000));
        let rows: Vec<_> =
            report.rows.iter().map(|((job, peer), it)| report.cells(*job, *peer, it)).collect();
        assert_eq!(
            rows,
            [
                ["sink", "netproc-epoll", "80000", "0.80", "2.50", "2.50–2.50", "1.25"],
                ["sink", "tokio-rustls", "100000", "1.00", "2.00", "1.00–5.00", "1.00"],
            ]
        );
        assert!(report.to_string().contains("medians of 3 interleaved rounds"));
    }
}
