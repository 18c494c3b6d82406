//! What netproc has to be beside hand-written servers and peers, and whether it is.
//!
//! Invariant: a requirement is met when everything measured for it is within its bound; what was to be
//! measured and could not be is not met, and what was not asked for is not counted.

use std::fmt;

use serde::Serialize;

use crate::{
    cell::{self, Cell},
    figures::{NOISE, as_f64},
    job::{Service, Shape},
    measure::{Measured, Row},
    serve::Kind,
    turnover::{Costs, Turnover},
};

/// System calls per message of 64 bytes on 50 connections that io_uring may take, waits included.
const CALLS_URING: f64 = 0.06;
/// The same of epoll, besides waits.
const CALLS_EPOLL: f64 = 2.0;
/// Calls at the edges of a window, which belong to no message of it.
const CALLS_AT_EDGES: f64 = 2.0;

/// What is required of echoes.
const ECHO: &str = "Echo over TCP and Unix, 50 and 1,000 connections, over TCP with and without pipelining \
    (16 deep, 4 with 1,000 of 64 KiB), messages of up to 1 KiB: CPU per message, by that of the hand-written \
    server on the same mechanism";
/// What is required of TLS, and why not by the clock.
const TLS: &str = "TLS: messages per CPU second, by those of tokio-rustls (per second of the clock there are as \
    many as the load generator manages, whose half of TLS takes as much CPU as the server's)";

/// Where a figure has to be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    /// No dearer than something else, by more than what counts as no difference.
    const NO_DEARER: Self = Self::AtMost(1.0 / (1.0 - NOISE));

    /// How many digits tell what was found from this, as it is shown; two if it is just that.
    fn digits(self, found: f64) -> usize {
        let (Self::AtMost(value) | Self::AtLeast(value)) = self;
        let shown = (value * 100.0).round() / 100.0;
        let differs = |&digits: &usize| format!("{shown:.digits$}") != format!("{found:.digits$}");
        (2..=5).find(differs).unwrap_or(2)
    }

    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtMost(most) => found <= most,
            Self::AtLeast(least) => found >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = match self {
            Self::AtMost(most) => ('≤', most),
            Self::AtLeast(least) => ('≥', least),
        };
        if *value < 100.0 { write!(f, "{sign} {value:.2}") } else { write!(f, "{sign} {value:.0}") }
    }
}

/// One server in one cell.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) load: String,
    pub(crate) server: Kind,
    /// What it was compared with, if with another server.
    pub(crate) beside: Option<Kind>,
    /// `None` if it was to be measured, and one of the two did not run to the end.
    pub(crate) found: Option<f64>,
    pub(crate) bound: Bound,
    pub(crate) is_met: bool,
}

impl Finding {
    fn new(load: String, server: Kind, found: Option<f64>, bound: Bound) -> Self {
        let is_met = found.is_some_and(|found| bound.holds(found));
        Self { load, server, beside: None, found, bound, is_met }
    }

    fn beside(self, beside: Kind) -> Self {
        Self { beside: Some(beside), ..self }
    }

    /// What was found, with as many digits as tell it from its bound.
    pub(crate) fn found_text(&self) -> Option<String> {
        let digits = |found: f64| match found {
            100.0.. => 0,
            _ => self.bound.digits(found),
        };
        self.found.map(|found| format!("{found:.*}", digits(found)))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.load, self.server)?;
        if let Some(other) = self.beside {
            write!(f, " beside {other}")?;
        }
        let found = self.found_text().unwrap_or_else(|| "not measured to the end".into());
        write!(f, ": {found}, has to be {}", self.bound)
    }
}

/// One sentence, with everything that was measured for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Requirement {
    pub(crate) what: String,
    pub(crate) findings: Vec<Finding>,
}

/// What became of a requirement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Met,
    /// In so many of all findings.
    Missed(usize),
    NotMeasured,
}

impl Requirement {
    pub(crate) fn outcome(&self) -> Outcome {
        match self.findings.iter().filter(|it| !it.is_met).count() {
            _ if self.findings.is_empty() => Outcome::NotMeasured,
            0 => Outcome::Met,
            count => Outcome::Missed(count),
        }
    }

    /// Where it has to be, in brackets, each bound once; nothing if nothing was measured.
    pub(crate) fn bounds(&self) -> String {
        let mut bounds: Vec<_> = self.findings.iter().map(|it| it.bound.to_string()).collect();
        bounds.dedup();
        if bounds.is_empty() { String::new() } else { format!(" ({})", bounds.join(", ")) }
    }

    /// What became of it, in words.
    pub(crate) fn verdict(&self) -> String {
        let all = self.findings.len();
        match self.outcome() {
            Outcome::Met => format!("met ({all} of {all})"),
            Outcome::Missed(count) => format!("MISSED in {count} of {all}"),
            Outcome::NotMeasured => "not measured in this run".into(),
        }
    }
}

/// The servers that are compared with one written by hand.
const BY_HAND: [Kind; 2] = [Kind::NetprocUring, Kind::NetprocEpoll];

/// Everything that was measured, and which server is netproc's own choice here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) cells: &'a [Measured],
    pub(crate) turnovers: &'a [Turnover],
    pub(crate) automatic: Option<Kind>,
}

impl Evidence<'_> {
    pub(crate) fn requirements(&self) -> Vec<Requirement> {
        let chosen = self.automatic.map_or_else(|| "nothing".into(), |kind| kind.to_string());
        let requirement = |what: String, findings: Vec<Finding>| Requirement { what, findings };
        let echo = |small| {
            move |it: &Measured| {
                let Shape { connections, size, .. } = it.cell.shape;
                is_echo(it) && (50..=1000).contains(&connections) && (size <= 1024) == small
            }
        };
        vec![
            requirement(
                ECHO.into(),
                self.cpu_by_hand(echo(true), 1.10),
            ),
            requirement(
                "The same, larger messages".into(),
                self.cpu_by_hand(echo(false), 1.05),
            ),
            requirement(
                "Connections that come and go: CPU of each, by that of the hand-written server".into(),
                self.cpu_by_hand(|it| it.cell.service == Service::Churn, 1.15),
            ),
            requirement(
                "One way to the server: bytes per second, by those of the hand-written server".into(),
                self.sink_by_hand(),
            ),
            requirement(
                format!(
                    "No peer ahead over TCP, Unix and UDP of what netproc chooses here, {chosen}: its CPU per \
                     message, by that of the cheapest peer"
                ),
                self.no_peer_ahead(),
            ),
            requirement(
                format!("UDP in bursts: packets per CPU second of {chosen}, by those of the best peer"),
                self.bursts(),
            ),
            requirement(
                TLS.into(),
                self.tls(),
            ),
            requirement(
                "Idle connections: bytes of the process's own memory for each".into(),
                self.idle_memory(),
            ),
            requirement(
                "Idle connections: in what time the last 1,000 answer, by that of the first 1,000".into(),
                self.idle_answers(),
            ),
            requirement(
                "Messages of 64 B beside idle connections: CPU per message, by that without these".into(),
                self.idle_cpu(),
            ),
            requirement(
                "From 50 to 10,000 connections: how CPU per message rises, by how the hand-written server's does"
                    .into(),
                self.growth(),
            ),
            requirement(
                "50 connections of 64 B: system calls per message (epoll: besides waits)".into(),
                self.system_calls(),
            ),
            requirement(
                "Processes created and ended in turn: CPU of the last 1,000, by that of the first 1,000 of a fresh \
                 runtime"
                    .into(),
                self.turnover(),
            ),
        ]
    }

    /// Two servers in each cell that is wanted, compared; nothing where one was not to run.
    fn compared(
        &self,
        is_wanted: impl Fn(&Measured) -> bool,
        pair: impl Fn(&Measured) -> Vec<(Kind, Kind)>,
        ratio: impl Fn(&Measured, Kind, Kind) -> Option<f64>,
        bound: Bound,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for cell in self.cells.iter().filter(|cell| is_wanted(cell)) {
            for (server, other) in pair(cell) {
                if cell.row(server).is_some() && cell.row(other).is_some() {
                    let found = ratio(cell, server, other);
                    let finding = Finding::new(cell.cell.title(), server, found, bound);
                    findings.push(finding.beside(other));
                }
            }
        }
        findings
    }

    fn cpu_by_hand(&self, is_wanted: impl Fn(&Measured) -> bool, most: f64) -> Vec<Finding> {
        self.compared(is_wanted, by_hand, cpu_ratio, Bound::AtMost(most))
    }

    fn sink_by_hand(&self) -> Vec<Finding> {
        let rate = |cell: &Measured, kind| {
            cell.figures_of(cell.row(kind)?).megabytes_per_second.map(|it| it.median)
        };
        let ratio = |cell: &Measured, server, other| Some(rate(cell, server)? / rate(cell, other)?);
        let is_sink = |it: &Measured| it.cell.service == Service::Sink;
        self.compared(is_sink, by_hand, ratio, Bound::AtLeast(0.95))
    }

    /// netproc's own choice beside the peer that costs least, and beside each that failed: it might have cost less.
    fn best_peer(&self, cell: &Measured) -> Vec<(Kind, Kind)> {
        let Some(own) = self.automatic else { return Vec::new() };
        let rows = cell.rows.iter().filter(|row| row.server.is_peer() && row.failed.is_some());
        let best = cell.cheapest(Kind::is_peer).map(|it| it.server);
        rows.map(|row| row.server).chain(best).map(|peer| (own, peer)).collect()
    }

    fn no_peer_ahead(&self) -> Vec<Finding> {
        let is_wanted = |it: &Measured| !it.cell.service.is_tls();
        self.compared(is_wanted, |it| self.best_peer(it), cpu_ratio, Bound::NO_DEARER)
    }

    fn bursts(&self) -> Vec<Finding> {
        let is_burst =
            |it: &Measured| it.cell.service == Service::Udp && it.cell.shape.pipeline > 1;
        let ratio = |cell: &Measured, server, other| cpu_ratio(cell, other, server);
        self.compared(is_burst, |it| self.best_peer(it), ratio, Bound::AtLeast(2.0))
    }

    fn tls(&self) -> Vec<Finding> {
        let is_wanted = |it: &Measured| it.cell.service.is_tls();
        let pair = |_: &Measured| BY_HAND.map(|server| (server, Kind::Tokio)).to_vec();
        let ratio = |cell: &Measured, server, other| cpu_ratio(cell, other, server);
        self.compared(is_wanted, pair, ratio, Bound::AtLeast(1.0 - NOISE))
    }

    /// Each of netproc's servers in the cells that are wanted.
    fn own(
        &self,
        is_wanted: impl Fn(&Measured) -> bool,
        finding: impl Fn(&Measured, &Row) -> Option<Finding>,
    ) -> Vec<Finding> {
        let cells = self.cells.iter().filter(|cell| is_wanted(cell));
        let rows = cells.flat_map(|cell| cell.rows.iter().map(move |row| (cell, row)));
        let own = rows.filter(|(_, row)| BY_HAND.contains(&row.server));
        own.filter_map(|(cell, row)| finding(cell, row)).collect()
    }

    fn idle_memory(&self) -> Vec<Finding> {
        let finding = |cell: &Measured, row: &Row| {
            let found = cell.figures_of(row).bytes_per_idle_connection;
            Some(Finding::new(cell.cell.title(), row.server, found, Bound::AtMost(1024.0)))
        };
        self.own(|cell| cell.cell.shape.idle > 0, finding)
    }

    fn idle_answers(&self) -> Vec<Finding> {
        let finding = |cell: &Measured, row: &Row| {
            let figures = cell.figures_of(row);
            let found = figures.last_idle_us.zip(figures.first_idle_us);
            let found = found.map(|(last, first)| last / first);
            Some(Finding::new(cell.cell.title(), row.server, found, Bound::NO_DEARER))
        };
        self.own(|cell| cell.cell.shape.idle > 0, finding)
    }

    /// The cell of this name, if it was measured.
    fn cell(&self, name: &str) -> Option<&Measured> {
        self.cells.iter().find(|it| it.cell.name == name)
    }

    fn idle_cpu(&self) -> Vec<Finding> {
        let finding = |cell: &Measured, row: &Row| {
            let found = cell.cpu_by_alone(row.server);
            Some(Finding::new(cell.cell.title(), row.server, found, Bound::AtMost(1.2)))
        };
        self.own(|cell| cell.cell.shape.idle > 0, finding)
    }

    fn growth(&self) -> Vec<Finding> {
        let finding = |cell: &Measured, row: &Row| {
            let shape = Shape { connections: 50, ..cell.cell.shape };
            let few = self.cell(&Cell::new(Service::Tcp, shape).name)?;
            let is_asked_for = |kind| cell.row(kind).is_some() && few.row(kind).is_some();
            if !is_asked_for(row.server) || !is_asked_for(row.server.raw()) {
                return None;
            }
            let ratio = |cell: &Measured| cpu_ratio(cell, row.server, row.server.raw());
            let found = ratio(cell).zip(ratio(few)).map(|(many, few)| many / few);
            Some(Finding::new(cell.cell.title(), row.server, found, Bound::AtMost(1.1)))
        };
        let is_many = |it: &Measured| {
            it.cell.service == Service::Tcp && it.cell.shape.connections >= cell::MANY_ACTIVE
        };
        self.own(is_many, finding)
    }

    fn system_calls(&self) -> Vec<Finding> {
        let finding = |cell: &Measured, row: &Row| {
            let has_waits = row.server == Kind::NetprocUring;
            let most = if has_waits { CALLS_URING } else { CALLS_EPOLL };
            let finding =
                |found| Finding::new(cell.cell.title(), row.server, found, Bound::AtMost(most));
            let Some(counted) = row.counted.filter(|_| row.failed.is_none()) else {
                // Where nothing was to count, nothing is missing.
                let was_to_be = row.counted.is_some() || row.uncounted.is_some();
                return was_to_be.then(|| finding(None));
            };
            let waits = if has_waits { 0 } else { counted.counts.waits };
            let (calls, messages) =
                (as_f64(counted.counts.total - waits), as_f64(counted.messages));
            let is_met = calls <= most * messages + CALLS_AT_EDGES;
            Some(Finding { is_met, ..finding(Some(calls / messages)) })
        };
        self.own(|cell| cell.cell.name == cell::MAIN, finding)
    }

    fn turnover(&self) -> Vec<Finding> {
        let finding = |it: &Turnover| {
            let ratio = |costs: Costs| costs.last_by_first.unwrap_or(costs.last / costs.first);
            let found = it.costs.map(ratio);
            let count = it.costs.map_or(0, |costs| costs.processes);
            Finding::new(format!("{count} processes"), it.server, found, Bound::NO_DEARER)
        };
        self.turnovers.iter().map(finding).collect()
    }
}

/// Echoes in which all connections are busy.
fn is_echo(cell: &Measured) -> bool {
    matches!(cell.cell.service, Service::Tcp | Service::Unix) && cell.cell.shape.idle == 0
}

fn by_hand(_: &Measured) -> Vec<(Kind, Kind)> {
    BY_HAND.map(|server| (server, server.raw())).to_vec()
}

fn cpu_ratio(cell: &Measured, server: Kind, other: Kind) -> Option<f64> {
    Some(cell.cpu_of(server)? / cell.cpu_of(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{count::Counts, load::Idle, measure::Counted, verdict::tests::measured};

    fn evidence<'a>(cells: &'a [Measured], turnovers: &'a [Turnover]) -> Evidence<'a> {
        Evidence { cells, turnovers, automatic: Some(Kind::NetprocUring) }
    }

    fn outcomes(cells: &[Measured], turnovers: &[Turnover]) -> Vec<Outcome> {
        let requirements = evidence(cells, turnovers).requirements();
        requirements.iter().map(Requirement::outcome).collect()
    }

    #[test]
    fn each_bound_holds_up_to_itself() {
        let cell = |uring, peer| {
            [measured(&[
                (Kind::NetprocUring, &[uring]),
                (Kind::RawUring, &[1000]),
                (Kind::Tokio, &[peer]),
            ])]
        };
        let cases = [
            (1100, 1100, Outcome::Met, Outcome::Met),
            (1101, 1100, Outcome::Missed(1), Outcome::Met),
            (1000, 950, Outcome::Met, Outcome::Met),
            (1000, 949, Outcome::Met, Outcome::Missed(1)),
        ];
        for (uring, peer, by_hand, no_peer_ahead) in cases {
            let found = outcomes(&cell(uring, peer), &[]);
            assert_eq!((found[0], found[4]), (by_hand, no_peer_ahead), "{uring} {peer}");
            assert_eq!(found[1], Outcome::NotMeasured, "no large messages");
        }
    }

    #[test]
    fn one_that_misses_by_little_shows_that_it_does() {
        let cases =
            [(1.0531, "1.053"), (1.0504, "1.0504"), (1.05, "1.05"), (1.06, "1.06"), (0.9, "0.90")];
        for (found, text) in cases {
            let bound = Bound::NO_DEARER;
            let finding = Finding::new("load".into(), Kind::Mio, Some(found), bound);
            assert_eq!(finding.to_string(), format!("load: mio: {text}, has to be ≤ 1.05"));
        }
    }

    #[test]
    fn a_server_that_failed_meets_nothing_and_one_not_asked_for_misses_nothing() {
        for rounds in [&[][..], &[1000]] {
            let costs = [(Kind::NetprocUring, rounds), (Kind::RawUring, &[1000])];
            let mut failed = [measured(&costs)];
            failed[0].rows[0].failed = Some("wrong bytes".into());
            assert_eq!(outcomes(&failed, &[])[0], Outcome::Missed(1), "{rounds:?}");
        }
        let alone = [measured(&[(Kind::NetprocUring, &[1000])])];
        assert_eq!(outcomes(&alone, &[])[0], Outcome::NotMeasured);
    }

    #[test]
    fn a_peer_that_failed_may_have_been_ahead() {
        let cell = |failed: &[Kind]| {
            let costs = [Kind::NetprocUring, Kind::Tokio, Kind::Mio];
            let mut cell = measured(&costs.map(|server| (server, &[1000][..])));
            for row in cell.rows.iter_mut().filter(|row| failed.contains(&row.server)) {
                row.failed = Some("it broke".into());
            }
            [cell]
        };
        let cases: [(&[Kind], Outcome); 3] = [
            (&[], Outcome::Met),
            (&[Kind::Mio], Outcome::Missed(1)),
            (&[Kind::Tokio, Kind::Mio], Outcome::Missed(2)),
        ];
        for (failed, expected) in cases {
            assert_eq!(outcomes(&cell(failed), &[])[4], expected, "{failed:?}");
        }
    }

    #[test]
    fn a_rise_without_the_hand_written_server_is_not_judged() {
        let cell = |connections| {
            let mut it = measured(&[(Kind::NetprocUring, &[1000])]);
            it.cell = Cell::new(Service::Tcp, Shape::new(connections, 64, 1));
            it
        };
        let cells = [cell(50), cell(10_000)];
        let requirements = evidence(&cells, &[]).requirements();
        let growth = requirements.iter().find(|it| it.what.contains("rises"));
        assert_eq!(growth.map(Requirement::outcome), Some(Outcome::NotMeasured));
    }

    #[test]
    fn a_rise_is_judged_by_that_of_the_hand_written_server() {
        let cell = |connections, idle, uring, raw| {
            let mut it = measured(&[(Kind::NetprocUring, &[uring]), (Kind::RawUring, &[raw])]);
            it.cell = Cell::new(Service::Tcp, Shape { idle, ..Shape::new(connections, 64, 1) });
            for row in it.rows.iter_mut().filter(|_| idle > 0) {
                let alone = if connections == 50 { 1000 } else { 2500 };
                row.alone = measured(&[(row.server, &[alone])]).rows.remove(0).rounds;
            }
            it
        };
        let cases = [
            (2200, 1200, 2640, Outcome::Met, Outcome::Met),
            (2210, 1200, 2640, Outcome::Missed(1), Outcome::Met),
            (2200, 1210, 2640, Outcome::Met, Outcome::Missed(1)),
            (2200, 1200, 2650, Outcome::Missed(1), Outcome::Met),
            (2210, 1210, 2680, Outcome::Missed(2), Outcome::Missed(1)),
        ];
        for (many, idle, many_idle, growth, beside_idle) in cases {
            let cells = [
                cell(50, 0, 1000, 1000),
                cell(10_000, 0, many, 2000),
                cell(50, 1000, idle, 1000),
                cell(10_000, 1000, many_idle, 2000),
            ];
            let requirements = evidence(&cells, &[]).requirements();
            let outcome = |part: &str| {
                let found = requirements.iter().find(|it| it.what.contains(part));
                found.map(Requirement::outcome)
            };
            assert_eq!(outcome("rises"), Some(growth), "{many}");
            assert_eq!(outcome("beside idle connections"), Some(beside_idle), "{idle}");
        }
    }

    #[test]
    fn idle_connections_are_judged_by_memory_and_by_how_soon_the_last_answer() {
        let cases = [
            (1024, 1050, Outcome::Met, Outcome::Met),
            (1025, 1000, Outcome::Missed(1), Outcome::Met),
            (1, 1060, Outcome::Met, Outcome::Missed(1)),
        ];
        for (bytes, last, memory, answers) in cases {
            let mut it = measured(&[(Kind::NetprocUring, &[1000])]);
            it.cell = Cell::new(Service::Tcp, Shape::new(50, 64, 1).beside(10, 1 << 20));
            it.rows[0].idle.push(Idle { memory: 10 * bytes, first: 1000, last });
            let found = outcomes(&[it], &[]);
            assert_eq!((found[7], found[8]), (memory, answers), "{bytes} {last}");
        }
    }

    #[test]
    fn io_uring_is_judged_with_its_waits_and_epoll_without() {
        let cases = [
            (Kind::NetprocUring, 62, 62, Outcome::Met),
            (Kind::NetprocUring, 63, 63, Outcome::Missed(1)),
            (Kind::NetprocEpoll, 2502, 500, Outcome::Met),
            (Kind::NetprocEpoll, 2503, 500, Outcome::Missed(1)),
        ];
        for (server, total, waits, expected) in cases {
            let mut cell = measured(&[(server, &[1000])]);
            cell.cell.name = cell::MAIN.into();
            cell.rows[0].counted = Some(Counted::new(1000, Counts { total, waits }, None));
            let requirements = evidence(&[cell], &[]).requirements();
            let calls = requirements.iter().find(|it| it.what.contains("system calls"));
            assert_eq!(calls.map(Requirement::outcome), Some(expected), "{server} {total}");
        }
    }

    #[test]
    fn system_calls_that_could_not_be_counted_miss_the_bound() {
        let outcome = |uncounted: Option<&str>| {
            let mut cell = measured(&[(Kind::NetprocUring, &[1000])]);
            cell.rows[0].uncounted = uncounted.map(Into::into);
            let requirements = evidence(&[cell], &[]).requirements();
            let calls = requirements.iter().find(|it| it.what.contains("system calls"));
            calls.map(Requirement::outcome)
        };
        assert_eq!(outcome(Some("no counts")), Some(Outcome::Missed(1)));
        assert_eq!(outcome(None), Some(Outcome::NotMeasured), "nothing was to count them");
    }

    #[test]
    fn the_last_processes_cost_what_the_first_did() {
        let turnover = |last| {
            let costs = Costs {
                processes: 1_000_000,
                first: 100.0,
                last: 2.0 * last, // as medians of what came at different paces may be
                last_by_first: Some(last / 100.0),
                median: 90.0,
                most: 120.0,
            };
            Turnover { server: Kind::NetprocEpoll, costs: Some(costs), failed: None }
        };
        for (last, expected) in [(105.0, Outcome::Met), (106.0, Outcome::Missed(1))] {
            assert_eq!(outcomes(&[], &[turnover(last)]).last(), Some(&expected), "{last}");
        }
    }
}
