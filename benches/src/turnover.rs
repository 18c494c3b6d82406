//! A million processes created and ended in turn: whether the last ones cost what the first ones did.
//!
//! A turn is a client of a local server and the process that the server makes of it, both with all that
//! belongs to a process: name, contact, property list, log, sentinel. One runtime has both ends, in one
//! child, so that nothing but the library and the kernel's local sockets is in the figures. The machine is
//! not as fast at the end of a million as before it, so the last ones are compared with the first ones of
//! fresh runtimes, in rounds.
//!
//! Invariant: each process has ended, and is no longer listed, before the next turn begins.

use std::{
    cell::Cell,
    fmt, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{Backend, Event, Family, LogEntry, Plist, Process, Runtime, Status};
use nix::time::ClockId;
use serde::{Deserialize, Serialize};

use crate::{
    child::Turned,
    figures::Spread,
    serve::{Kind, Task},
};

/// Processes of a block, whose cost is read at once.
const BLOCK: u64 = 1000;
/// A client, and what the server makes of it.
const OF_A_TURN: u64 = 2;
/// How often the first and the last are compared, each as often before the other.
const ROUNDS: usize = 40;
/// How long the end of a process may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the processes of one runtime cost, in nanoseconds of CPU each.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Costs {
    pub(crate) processes: u64,
    /// The first 1,000 of a fresh runtime, and 1,000 after all these: medians of interleaved rounds.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// The last by the first of the same round, which had the same pace: the median. Older reports have none.
    pub(crate) last_by_first: Option<f64>,
    /// Over all blocks of 1,000 of these.
    pub(crate) median: f64,
    pub(crate) most: f64,
}

/// What became of it on one backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turnover {
    pub(crate) server: Kind,
    pub(crate) costs: Option<Costs>,
    /// Why there are none.
    pub(crate) failed: Option<String>,
}

impl fmt::Display for Turnover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, costs, failed } = self;
        let Some(Costs { processes, first, last, .. }) = costs else {
            return write!(f, "{server} FAILED: {}", failed.as_deref().unwrap_or_default());
        };
        let [first, last] = [first / 1e3, last / 1e3];
        write!(
            f,
            "{server}: {processes} processes in turn, CPU of each {last:.2} µs at last, {first:.2} at first of a \
             fresh runtime"
        )
    }
}

/// Measures `processes` of them on each of netproc's backends among `kinds`.
pub(crate) fn measure(kinds: &[Kind], processes: u64) -> Vec<Turnover> {
    let own = kinds.iter().copied().filter(|kind| kind.is_netproc());
    own.map(|server| match Turned::start(server, processes).and_then(Turned::costs) {
        Ok(costs) => Turnover { server, costs: Some(costs), failed: None },
        Err(err) => Turnover { server, costs: None, failed: Some(err.to_string()) },
    })
    .collect()
}

/// What the child does.
pub(crate) fn turn_over(task: &Task, processes: u64) -> io::Result<Costs> {
    let backend = task.kind.backend().ok_or(io::ErrorKind::Unsupported)?;
    let old = Scene::new(backend, task.path.clone())?;
    let blocks =
        (0..processes.div_ceil(BLOCK)).map(|_| old.block()).collect::<io::Result<Vec<_>>>()?;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let fresh = Scene::new(backend, task.path.with_extension(round.to_string()))?;
        if round % 2 == 0 {
            first.push(fresh.block()?);
            last.push(old.block()?);
        } else {
            last.push(old.block()?);
            first.push(fresh.block()?);
        }
    }
    costs(&blocks, &first, &last).ok_or_else(|| io::Error::other("no block was asked for"))
}

fn costs(blocks: &[f64], first: &[f64], last: &[f64]) -> Option<Costs> {
    let spread = |costs: &[f64]| Spread::of(costs.iter().copied());
    let all = spread(blocks)?;
    let ratios = Spread::of(first.iter().zip(last).map(|(first, last)| last / first))?;
    Some(Costs {
        processes: blocks.len() as u64 * BLOCK,
        first: spread(first)?.median,
        last: spread(last)?.median,
        last_by_first: Some(ratios.median),
        median: all.median,
        most: all.max,
    })
}

/// One runtime, and the server in it whose clients come and go.
struct Scene {
    rt: Runtime,
    path: PathBuf,
    heard: Rc<Heard>,
    server: Process,
}

impl Scene {
    fn new(backend: Backend, path: PathBuf) -> io::Result<Self> {
        let rt = Runtime::builder().backend(backend).build().map_err(io::Error::other)?;
        let heard = Rc::new(Heard::default());
        let server = server(&rt, &path, &heard)?;
        Ok(Self { rt, path, heard, server })
    }

    /// What each process of a block costs.
    fn block(&self) -> io::Result<f64> {
        let before = cpu()?;
        for _ in 0..BLOCK / OF_A_TURN {
            turn(&self.rt, &self.path, &self.heard)?;
        }
        let spent = cpu()? - before;
        if self.rt.process_list() != [self.server.clone()] {
            return Err(io::Error::other("processes are left"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a constant")]
        Ok(spent.as_secs_f64() * 1e9 / BLOCK as f64)
    }
}

/// What the callbacks have heard.
#[derive(Debug, Default)]
struct Heard {
    accepted: Cell<u64>,
    ended: Cell<u64>,
}

fn increment(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

fn server(rt: &Runtime, path: &Path, heard: &Rc<Heard>) -> io::Result<Process> {
    let (accepts, ends) = (Rc::clone(heard), Rc::clone(heard));
    let mut plist = Plist::new();
    plist.put("service", "turnover");
    let server = rt.server("bench").family(Family::Local).service(path);
    let server = server.plist(plist).log(move |_, _, entry| {
        if matches!(entry, LogEntry::Accepted { .. }) {
            increment(&accepts.accepted);
        }
    });
    let server = server.sentinel(move |_, event| {
        if matches!(event, Event::Broken { .. }) {
            increment(&ends.ended);
        }
    });
    server.start().map_err(io::Error::other)
}

/// Makes a client, ends it when both ends are open, and waits for the end of the other one.
fn turn(rt: &Runtime, path: &Path, heard: &Heard) -> io::Result<()> {
    let count = heard.ended.get() + 1;
    let client = rt.client("client").family(Family::Local).service(path);
    let client = client.start().map_err(io::Error::other)?;
    wait(rt, || client.status() == Status::Open && heard.accepted.get() == count)?;
    client.delete();
    wait(rt, || heard.ended.get() == count)
}

/// Lets everything happen until it has come to `is_done`.
fn wait(rt: &Runtime, is_done: impl Fn() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        rt.turn(PATIENCE).map_err(io::Error::other)?;
        if Instant::now() > deadline {
            let what = "a process was not heard of";
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
    }
    Ok(())
}

fn cpu() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_are_compared_round_by_round() {
        let (first, last) = ([800.0, 1600.0, 700.0], [800.0, 1600.0, 1400.0]);
        let found = costs(&[900.0, 700.0, 1100.0, 800.0], &first, &last);
        let expected = Costs {
            processes: 4000,
            first: 800.0,
            last: 1400.0,
            last_by_first: Some(1.0),
            median: 850.0,
            most: 1100.0,
        };
        assert_eq!((found, costs(&[], &[1.0], &[1.0])), (Some(expected), None));
    }
}
