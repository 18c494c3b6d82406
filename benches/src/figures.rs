//! Figures out of what was measured: medians over the rounds, and how far the rounds are apart.
//!
//! Invariant: ratios are of medians over the same interleaved rounds; a difference under
//! [`NOISE`] is none.

use serde::Serialize;

use crate::{
    load::Window,
    measure::{Measured, Row},
    serve::Kind,
};

/// Two figures that differ by a smaller part than this are equal.
pub(crate) const NOISE: f64 = 0.05;

/// Counts and nanoseconds of a bench are far below 2^53, where this begins to round.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The middle of several rounds, and their extremes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = [values[(values.len() - 1) / 2], values[values.len() / 2]];
        Some(Self { median: f64::midpoint(middle[0], middle[1]), min, max })
    }
}

/// Whether `found` is below `other` by more than noise.
pub(crate) fn is_less(found: f64, other: f64) -> bool {
    found < other * (1.0 - NOISE)
}

/// All figures of one server in one cell.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) server: Kind,
    pub(crate) messages_per_second: Option<Spread>,
    pub(crate) megabytes_per_second: Option<Spread>,
    pub(crate) p50_us: Option<Spread>,
    pub(crate) p99_us: Option<Spread>,
    pub(crate) p999_us: Option<Spread>,
    pub(crate) server_cpu_us_per_message: Option<Spread>,
    /// CPU per message by that of the hand-written server on the same mechanism.
    pub(crate) cpu_by_raw: Option<f64>,
    /// Which part of the window the server's core was busy with it, and the load generator's.
    pub(crate) server_busy: Option<f64>,
    pub(crate) load_busy: Option<f64>,
    pub(crate) system_calls_per_message: Option<f64>,
    /// Of these, the calls that wait: once a batch.
    pub(crate) waits_per_message: Option<f64>,
    /// What the server counted itself.
    pub(crate) own_calls_per_message: Option<f64>,
    pub(crate) instructions_per_message: Option<f64>,
    pub(crate) bytes_per_idle_connection: Option<f64>,
    pub(crate) lost: u64,
}

impl Row {
    fn spread(&self, figure: impl Fn(&Window) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// Microseconds of the server's CPU per message.
    pub(crate) fn cpu(&self) -> Option<Spread> {
        self.spread(|it| as_f64(it.server_cpu) / 1e3 / as_f64(it.messages))
    }
}

impl Measured {
    pub(crate) fn row(&self, server: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }

    /// The median of a server's CPU per message.
    pub(crate) fn cpu_of(&self, server: Kind) -> Option<f64> {
        Some(self.row(server)?.cpu()?.median)
    }

    /// One figure each, for every server that ran.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        self.rows.iter().map(|row| self.figures_of(row)).collect()
    }

    pub(crate) fn figures_of(&self, row: &Row) -> Figures {
        let size = as_f64(self.cell.shape.size);
        let rate = |it: &Window| as_f64(it.messages) * 1e9 / as_f64(it.elapsed);
        let busy = |cpu: fn(&Window) -> u64| {
            Some(row.spread(|it| as_f64(cpu(it)) / as_f64(it.elapsed))?.median)
        };
        let calls = |count: u64, messages: u64| as_f64(count) / as_f64(messages);
        let counted = row.counted;
        let idle = as_f64(self.cell.shape.idle as u64);
        #[expect(clippy::cast_precision_loss, reason = "memory of a bench")]
        let memory = Spread::of(row.idle_memory.iter().map(|&bytes| bytes as f64 / idle));
        let cpu = row.cpu();
        Figures {
            server: row.server,
            messages_per_second: row.spread(rate),
            megabytes_per_second: row.spread(|it| rate(it) * size / 1e6),
            p50_us: row.spread(|it| as_f64(it.p50) / 1e3),
            p99_us: row.spread(|it| as_f64(it.p99) / 1e3),
            p999_us: row.spread(|it| as_f64(it.p999) / 1e3),
            server_cpu_us_per_message: cpu,
            cpu_by_raw: cpu.zip(self.cpu_of(row.server.raw())).map(|(cpu, raw)| cpu.median / raw),
            server_busy: busy(|it| it.server_cpu),
            load_busy: busy(|it| it.load_cpu),
            system_calls_per_message: counted.map(|it| calls(it.counts.total, it.messages)),
            waits_per_message: counted.map(|it| calls(it.counts.waits, it.messages)),
            own_calls_per_message: counted.and_then(|it| Some(calls(it.own_total?, it.messages))),
            instructions_per_message: row.instructions,
            bytes_per_idle_connection: memory.map(|memory| memory.median),
            lost: row.rounds.iter().map(|it| it.lost).sum(),
        }
    }
}
