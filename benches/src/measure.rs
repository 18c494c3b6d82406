//! Measures one cell: every server under the same load, in interleaved rounds, in several sets of processes.
//!
//! The windows are short and in turn, since a machine's pace changes within a second, and who is compared
//! has to have had the same; the processes are replaced, since some have more luck with their memory than
//! others for as long as they live. Each comes after each other about equally often, and is warmed up anew before
//! it is measured: whoever came before leaves the machine as it was used, its caches and its free pages, which makes
//! up to a tenth.
//!
//! Invariant: what goes wrong with one server ends that server's part of the cell alone, and is kept
//! with it; nothing that was measured is lost, and nothing that was not is made up.

use std::{io, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    callgrind,
    cell::Cell,
    child::{Loader, OwnCounts, Server},
    count::{Counter, Counts},
    job::{Service, Shape},
    load::{Idle, Until, Window},
    oneway::BLOCK,
    options::CountWith,
    serve::Kind,
};

/// So long at least a server is under load before each window of it.
const LEAD_MILLIS: u64 = 10;

/// How a cell is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Length of a window.
    pub(crate) millis: u64,
    /// What counts system calls, if anything does.
    pub(crate) calls: Option<CountWith>,
    /// Whether to count instructions.
    pub(crate) instructions: bool,
}

/// System calls of a window, counted from outside and by the server itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
}

/// Everything measured of one server in one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) server: Kind,
    pub(crate) rounds: Vec<Window>,
    /// Beside idle connections: the same load on another process of the server, without these.
    pub(crate) alone: Vec<Window>,
    /// What was found of the idle connections of each process.
    pub(crate) idle: Vec<Idle>,
    pub(crate) counted: Option<Counted>,
    /// Why system calls were not counted though they were to be.
    pub(crate) uncounted: Option<String>,
    /// User-space instructions per message.
    pub(crate) instructions: Option<f64>,
    /// Why it cannot work here.
    pub(crate) unavailable: Option<String>,
    /// What went wrong while it was measured.
    pub(crate) failed: Option<String>,
    /// Why something else was not counted though it was to be.
    pub(crate) notes: Vec<String>,
}

impl Row {
    pub(crate) const fn new(server: Kind) -> Self {
        Self {
            server,
            rounds: Vec::new(),
            alone: Vec::new(),
            idle: Vec::new(),
            counted: None,
            uncounted: None,
            instructions: None,
            unavailable: None,
            failed: None,
            notes: Vec::new(),
        }
    }

    const fn is_over(&self) -> bool {
        self.unavailable.is_some() || self.failed.is_some()
    }

    /// Keeps why there is no result.
    fn settle<T>(&mut self, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(err) if err.kind() == io::ErrorKind::Unsupported => {
                self.unavailable = Some(err.to_string());
                None
            }
            Err(err) => {
                self.failed = Some(err.to_string());
                None
            }
        }
    }
}

/// A cell with what was measured in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) rows: Vec<Row>,
}

/// Measures `cell` with each of `kinds`.
pub(crate) fn measure(cell: &Cell, kinds: &[Kind], plan: Plan) -> Measured {
    let mut rows: Vec<Row> = cell.servers(kinds).into_iter().map(Row::new).collect();
    if let Some(tool) = plan.calls {
        for row in &mut rows {
            match count_calls(row.server, cell, tool) {
                Err(err) if err.kind() != io::ErrorKind::Unsupported => {
                    row.uncounted = Some(err.to_string());
                }
                counted => row.counted = row.settle(counted),
            }
        }
    }
    let rounds = cell.rounds(plan.rounds);
    let lives = rounds.min(cell.lives());
    for life in 0..lives {
        let (first, end) = (rounds * life / lives, rounds * (life + 1) / lives);
        for set in rows.chunks_mut(cell.servers_at_a_time()) {
            live(set, cell, first..end, plan.millis);
        }
    }
    if plan.instructions {
        for row in rows.iter_mut().filter(|row| !row.is_over()) {
            match callgrind::count(row.server, cell.service, cell.shape) {
                Ok(count) => row.instructions = Some(count),
                Err(err) => row.notes.push(format!("instructions not counted: {err}")),
            }
        }
    }
    Measured { cell: cell.clone(), rows }
}

/// A server with its load generator, and whose rounds theirs are.
struct Seat {
    row: usize,
    server: Server,
    loader: Loader,
    /// Whether it is what its row is compared with, without idle connections.
    is_alone: bool,
}

/// Those of one row: two where there are idle connections, so that these are all that differs.
fn seats(row: usize, rows: &mut [Row], cell: &Cell) -> Vec<Seat> {
    let it = &mut rows[row];
    let alone = Shape { idle: 0, ..cell.shape }; // as many threads, so that these do not differ
    let shapes = if cell.shape.idle > 0 { vec![cell.shape, alone] } else { vec![cell.shape] };
    let mut seats = Vec::new();
    for shape in shapes {
        if it.is_over() {
            break;
        }
        if let Some((server, loader)) = it.settle(start(it.server, cell.service, shape)) {
            it.idle.extend(loader.opened.idle);
            seats.push(Seat { row, server, loader, is_alone: shape != cell.shape });
        }
    }
    seats
}

/// Runs these rounds in one set of processes: a window of each in turn, while the others wait.
fn live(rows: &mut [Row], cell: &Cell, rounds: Range<u32>, millis: u64) {
    let mut all = Vec::new();
    for row in 0..rows.len() {
        all.extend(seats(row, rows, cell));
    }
    let count = all.len();
    for round in rounds {
        for turn in 0..count {
            let seat = &mut all[whose_turn(turn, round as usize, count)];
            let row = &mut rows[seat.row];
            if row.is_over() {
                continue;
            }
            let lead = seat.loader.run(Until::Millis(LEAD_MILLIS));
            let window = lead.and_then(|_| seat.loader.run(Until::Millis(millis)));
            if let Some(window) = row.settle(window) {
                let kept = if seat.is_alone { &mut row.alone } else { &mut row.rounds };
                kept.push(window);
            }
        }
    }
    for seat in all {
        let row = &mut rows[seat.row];
        if !row.is_over() {
            row.settle(seat.loader.end().and_then(|()| seat.server.end()));
        }
    }
}

/// Who comes in this turn of a round: in as many rounds as there are servers, or twice as many if that is odd, each
/// has each turn, and comes after each other, equally often (a balanced Latin square, due to E. J. Williams).
const fn whose_turn(turn: usize, round: usize, count: usize) -> usize {
    // From both ends towards the middle; of an odd number every other time back, or only half of all pairs came.
    let back = count % 2 == 1 && round % 2 == 1;
    let turn = if back { count - 1 - turn } else { turn };
    let zigzag = if turn.is_multiple_of(2) { turn / 2 } else { count - turn.div_ceil(2) };
    (zigzag + round) % count
}

/// A server and its load generator, warm.
fn start(kind: Kind, service: Service, shape: Shape) -> io::Result<(Server, Loader)> {
    let server = Server::start(kind, service, shape.tables)?;
    let loader = Loader::start(&server, shape, true)?;
    Ok((server, loader))
}

/// Messages of a window in which system calls are counted: enough to drown what attaching costs.
fn counted_messages(cell: &Cell) -> u64 {
    const FEW: u64 = 5000;
    let count = match cell.service {
        Service::TlsFull | Service::TlsResumed => 1000,
        Service::Churn => 2 * FEW,
        Service::Tcp
        | Service::Unix
        | Service::Tls
        | Service::Udp
        | Service::UdpApart
        | Service::Sink
        | Service::Source => FEW,
    };
    count.max(2 * cell.shape.under_way())
}

/// Counts the system calls of a server while a known number of messages goes through it: several times,
/// and the median counts, since how many come at once is a matter of how two processes fall in step.
fn count_calls(kind: Kind, cell: &Cell, tool: CountWith) -> io::Result<Counted> {
    const WINDOWS: usize = 5;
    let mut server = Server::start(kind, cell.service, cell.shape.tables)?;
    let mut loader = Loader::start(&server, cell.shape, true)?;
    let mut all = Vec::new();
    for _ in 0..WINDOWS {
        let before = server.counts()?;
        let counter = Counter::start(tool, server.pid())?;
        let window = loader.run(Until::Messages(counted_messages(cell)))?;
        let counts = counter.finish()?;
        let after = server.counts()?;
        all.push(Counted::new(window.messages_total, counts, before.zip(after)));
    }
    loader.end()?;
    server.end()?;
    all.sort_by_key(|it| it.counts.total * 1_000_000 / it.messages.max(1));
    Ok(all[WINDOWS / 2])
}

/// Lets every server serve a few messages, to check every byte that comes back; nothing is timed. Returns how many
/// bytes those are: a sink answers with few.
pub(crate) fn smoke(kind: Kind, cell: &Cell, messages: u64) -> io::Result<u64> {
    let server = Server::start(kind, cell.service, cell.shape.tables)?;
    let mut loader = Loader::start(&server, cell.shape, false)?;
    let window = loader.run(Until::Messages(messages))?;
    loader.end()?;
    server.end()?;
    let sent = window.messages_total * cell.shape.size;
    Ok(if cell.service == Service::Sink { sent / BLOCK } else { sent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_each_turn_and_comes_after_each_other_equally_often() {
        for count in 1..=12 {
            let (mut had, mut after) = (vec![0; count * count], vec![0; count * count]);
            for round in 0..2 * count {
                let order: Vec<_> = (0..count).map(|turn| whose_turn(turn, round, count)).collect();
                for (turn, &who) in order.iter().enumerate() {
                    had[turn * count + who] += 1;
                }
                for pair in order.windows(2) {
                    after[pair[0] * count + pair[1]] += 1;
                }
            }
            assert!(had.iter().all(|&times| times == 2), "{count}: {had:?}");
            for (at, &times) in after.iter().enumerate() {
                let itself = at / count == at % count;
                assert_eq!(times, if itself { 0 } else { 2 }, "{count}: {after:?}");
            }
        }
    }
}
