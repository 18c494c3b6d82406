//! Figures out of what was measured: medians over the rounds, and how far the rounds are apart.
//!
//! The pace of a machine that is shared changes from one second to the next, by more than the servers
//! differ. A round is shorter than that, so what all servers took for it tells its pace, and every time is
//! given as it would have been at that of the middle round.
//!
//! Invariant: ratios are of medians over the same interleaved rounds; a difference under
//! [`NOISE`] is none.

use serde::Serialize;

use crate::{
    load::{Idle, Window},
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
    /// How soon an idle connection answers, among the first 1,000 and among the last.
    pub(crate) first_idle_us: Option<f64>,
    pub(crate) last_idle_us: Option<f64>,
    pub(crate) lost: u64,
}

impl Window {
    /// Microseconds of the server's CPU per message.
    fn cpu(&self) -> f64 {
        as_f64(self.server_cpu) / 1e3 / as_f64(self.messages_total)
    }

    /// The same with every time this many times as short.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a bench")]
    fn at_pace(self, pace: f64) -> Self {
        let scaled = |nanos: u64| (as_f64(nanos) / pace).round() as u64;
        Self {
            elapsed: scaled(self.elapsed),
            elapsed_total: scaled(self.elapsed_total),
            p50: scaled(self.p50),
            p99: scaled(self.p99),
            p999: scaled(self.p999),
            server_cpu: scaled(self.server_cpu),
            load_cpu: scaled(self.load_cpu),
            ..self
        }
    }
}

impl Measured {
    /// How many rounds there were.
    pub(crate) fn rounds_had(&self) -> usize {
        self.rows.iter().map(|row| row.rounds.len()).max().unwrap_or(0)
    }

    /// How long a message took all servers in each round, in the mean, by what it took in the middle one; 1
    /// where servers that can be compared did not take turns.
    fn paces(&self) -> Vec<f64> {
        let count = self.rounds_had();
        let is_whole = |row: &&Row| {
            // A window without a message, or without CPU, says nothing of the pace.
            row.rounds.len() == count && row.rounds.iter().all(|it| it.cpu().is_normal())
        };
        let whole = || self.rows.iter().filter(is_whole);
        let servers = whole().count();
        if servers < 2 || self.cell.servers_at_a_time() < servers {
            return vec![1.0; count];
        }
        // The geometric mean, to which each server contributes alike, however dear it is.
        let mean = |round: usize| {
            whole().map(|row| row.rounds[round].cpu().ln()).sum::<f64>() / as_f64(servers as u64)
        };
        let means: Vec<f64> = (0..count).map(mean).collect();
        let middle = Spread::of(means.iter().copied()).map_or(0.0, |it| it.median);
        means.iter().map(|mean| (mean - middle).exp()).collect()
    }

    /// Rounds of a row, each as it would have been at the middle one's pace.
    fn at_paces(&self, rounds: &[Window]) -> Vec<Window> {
        rounds.iter().zip(self.paces()).map(|(round, pace)| round.at_pace(pace)).collect()
    }

    fn rounds(&self, row: &Row) -> Vec<Window> {
        self.at_paces(&row.rounds)
    }

    /// A server's CPU per message beside idle connections, by that without them.
    pub(crate) fn cpu_by_alone(&self, server: Kind) -> Option<f64> {
        let row = self.row(server)?;
        let alone = Spread::of(self.at_paces(&row.alone).iter().map(Window::cpu))?.median;
        Some(self.cpu_of(server)? / alone)
    }

    pub(crate) fn row(&self, server: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }

    /// The median of a server's CPU per message; none of one that failed, however far it came.
    pub(crate) fn cpu_of(&self, server: Kind) -> Option<f64> {
        let row = self.row(server).filter(|row| row.failed.is_none())?;
        Some(Spread::of(self.rounds(row).iter().map(Window::cpu))?.median)
    }

    /// The figures of every server, with none where it did not run to the end.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        self.rows.iter().map(|row| self.figures_of(row)).collect()
    }

    pub(crate) fn figures_of(&self, row: &Row) -> Figures {
        // Medians of what came before a failure would pass for those of all rounds.
        let nothing = Row::new(row.server);
        let row = if row.failed.is_some() { &nothing } else { row };
        let size = as_f64(self.cell.shape.size);
        let rounds = self.rounds(row);
        let spread = |figure: &dyn Fn(&Window) -> f64| Spread::of(rounds.iter().map(figure));
        let rate = |it: &Window| as_f64(it.messages) * 1e9 / as_f64(it.elapsed);
        let busy = |cpu: fn(&Window) -> u64| {
            Some(spread(&|it| as_f64(cpu(it)) / as_f64(it.elapsed_total))?.median)
        };
        let calls = |count: u64, messages: u64| as_f64(count) / as_f64(messages);
        let counted = row.counted;
        let idle = as_f64(self.cell.shape.idle as u64);
        #[expect(clippy::cast_precision_loss, reason = "memory of a bench")]
        let memory = Spread::of(row.idle.iter().map(|it| it.memory as f64 / idle));
        let answer = |nanos: fn(&Idle) -> u64| {
            Some(Spread::of(row.idle.iter().map(|it| as_f64(nanos(it)) / 1e3))?.median)
        };
        let cpu = spread(&Window::cpu);
        Figures {
            server: row.server,
            messages_per_second: spread(&rate),
            megabytes_per_second: spread(&|it| rate(it) * size / 1e6),
            p50_us: spread(&|it| as_f64(it.p50) / 1e3),
            p99_us: spread(&|it| as_f64(it.p99) / 1e3),
            p999_us: spread(&|it| as_f64(it.p999) / 1e3),
            server_cpu_us_per_message: cpu,
            cpu_by_raw: cpu.zip(self.cpu_of(row.server.raw())).map(|(cpu, raw)| cpu.median / raw),
            server_busy: busy(|it| it.server_cpu),
            load_busy: busy(|it| it.load_cpu),
            system_calls_per_message: counted.map(|it| calls(it.counts.total, it.messages)),
            waits_per_message: counted.map(|it| calls(it.counts.waits, it.messages)),
            own_calls_per_message: counted.and_then(|it| Some(calls(it.own_total?, it.messages))),
            instructions_per_message: row.instructions,
            bytes_per_idle_connection: memory.map(|memory| memory.median),
            first_idle_us: answer(|it| it.first),
            last_idle_us: answer(|it| it.last),
            lost: row.rounds.iter().map(|it| it.lost).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::measured;

    #[test]
    fn the_pace_of_a_round_is_taken_out() {
        let cell = measured(&[
            (Kind::NetprocUring, &[1100, 2200, 4400]),
            (Kind::RawUring, &[1000, 2000, 4000]),
        ]);
        let figures = cell.figures();
        let cpu = |at: usize| figures[at].server_cpu_us_per_message;
        assert_eq!(cpu(0), Some(Spread { median: 2.2, min: 2.2, max: 2.2 }));
        assert_eq!(cpu(1), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(figures[0].cpu_by_raw, Some(2.2 / 2.0));
        let rate = figures[0].messages_per_second.expect("measured");
        assert!(
            rate.min < rate.median && rate.median < rate.max,
            "its CPU says more than the clock"
        );
    }

    #[test]
    fn who_failed_has_no_figures_however_far_it_came() {
        let mut cell = measured(&[(Kind::NetprocUring, &[1000, 1000]), (Kind::RawUring, &[1000])]);
        cell.rows[0].failed = Some("wrong bytes".into());
        cell.rows[0].instructions = Some(600.0);
        let figures = cell.figures();
        assert_eq!(
            (cell.cpu_of(Kind::NetprocUring), cell.cpu_of(Kind::RawUring)),
            (None, Some(1.0))
        );
        assert!(figures[0].messages_per_second.is_none() && figures[0].cpu_by_raw.is_none());
        assert_eq!(figures[0].instructions_per_message, None);
        assert!(figures[1].messages_per_second.is_some());
    }

    #[test]
    fn who_ran_alone_or_not_to_the_end_sets_no_pace() {
        let alone = measured(&[(Kind::NetprocUring, &[1000, 3000, 2000])]);
        let cpu = |cell: &Measured| cell.figures()[0].server_cpu_us_per_message;
        assert_eq!(cpu(&alone), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        let ended = measured(&[
            (Kind::NetprocUring, &[1000, 3000, 2000]),
            (Kind::RawUring, &[1000]),
            (Kind::RawEpoll, &[1000, 0, 2000]),
            (Kind::Mio, &[]),
        ]);
        assert_eq!(cpu(&ended), cpu(&alone));
        let mut apart = measured(&[
            (Kind::NetprocUring, &[1000, 3000, 2000]),
            (Kind::RawUring, &[1000, 3000, 2000]),
        ]);
        apart.cell.shape.idle = 100_000;
        assert_eq!(cpu(&apart), cpu(&alone));
    }
}
