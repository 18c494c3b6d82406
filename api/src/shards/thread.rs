//! What a shard's thread does: make its runtime, have it set up, wait for the others, serve, end.
//!
//! Invariant: whatever happens here ends the other shards as well, and the runtime is gone before the
//! thread is, its sockets with it.

use std::{
    any::Any,
    error::Error as StdError,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{Seat, Shard, error::ShardsError, pin::pin, registry::Registry};
use crate::{
    error::Error,
    handle::Handle,
    handlers::message,
    runtime::{Runtime, RuntimeBuilder},
};

pub(super) type SetUp =
    Arc<dyn Fn(&Runtime, usize) -> Result<(), Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// All that one shard is made of.
pub(super) struct Plan {
    pub(super) shard: usize,
    pub(super) count: usize,
    pub(super) pin: bool,
    pub(super) flush_within: Duration,
    pub(super) runtime: RuntimeBuilder,
    pub(super) set_up: SetUp,
    pub(super) registry: Arc<Registry>,
}

impl Plan {
    /// Starts the thread and waits until its runtime is set up. It serves once it is sent word; without, it
    /// ends.
    pub(super) fn spawn(self) -> Result<(mpsc::Sender<()>, Shard), ShardsError> {
        let shard = self.shard;
        let (report, reported) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let name = format!("netproc-{shard}");
        let thread = thread::Builder::new().name(name).spawn(move || self.main(&report, &begun));
        let thread = thread.map_err(ShardsError::Thread)?;
        match reported.recv() {
            Ok(handle) => Ok((begin, Shard { handle, thread })),
            // It says why by how it ends.
            Err(_) => Err(match thread.join() {
                Ok(Err(err)) => err,
                Ok(Ok(())) => panicked(shard, &"ended before it began"),
                Err(panic) => panicked(shard, &*panic),
            }),
        }
    }

    fn main(
        self,
        report: &mpsc::Sender<Handle>,
        begun: &mpsc::Receiver<()>,
    ) -> Result<(), ShardsError> {
        let shard = self.shard;
        let (flush_within, registry) = (self.flush_within, Arc::clone(&self.registry));
        let rt = self.set_up()?;
        // Whoever made us waits for this.
        let _gone = report.send(rt.handle());
        let ran = match begun.recv() {
            Ok(()) => catch_unwind(AssertUnwindSafe(|| rt.run())),
            Err(_) => Ok(Ok(())),
        };
        registry.stop();
        let ended = catch_unwind(AssertUnwindSafe(|| end(rt, flush_within)));
        let failed = |source| ShardsError::Run { shard, source };
        let outcome = |it: thread::Result<Result<(), Error>>| match it {
            Ok(ended) => ended.map_err(failed),
            Err(panic) => Err(panicked(shard, &*panic)),
        };
        // Whatever came of the end, why it came to that is told first.
        let ended = outcome(ended);
        outcome(ran).and(ended)
    }

    fn set_up(self) -> Result<Runtime, ShardsError> {
        let shard = self.shard;
        if self.pin {
            pin(shard).map_err(|source| ShardsError::Pin { shard, source })?;
        }
        let seat = Seat::new(shard, self.registry);
        let made = self.runtime.build_among(self.count, seat);
        let rt = made.map_err(|source| ShardsError::Runtime { shard, source })?;
        let set_up = catch_unwind(AssertUnwindSafe(|| (self.set_up)(&rt, shard)));
        rt.end_set_up();
        let failed = match set_up {
            Ok(Ok(())) => return Ok(rt),
            Ok(Err(source)) => ShardsError::SetUp { shard, source },
            Err(panic) => panicked(shard, &*panic),
        };
        // What its closures do when they are dropped must not hide why.
        let _hidden = catch_unwind(AssertUnwindSafe(|| end(rt, Duration::ZERO)));
        Err(failed)
    }
}

fn panicked(shard: usize, panic: &(dyn Any + Send)) -> ShardsError {
    ShardsError::Panicked { shard, message: message(panic) }
}

/// Ends every process, sends what is queued, and drops the runtime.
fn end(rt: Runtime, within: Duration) -> Result<(), Error> {
    let begin = Instant::now();
    rt.close();
    while rt.stats().sockets > 0 {
        let left = within.saturating_sub(begin.elapsed());
        rt.turn(left)?;
        if left.is_zero() {
            break;
        }
    }
    drop(rt);
    Ok(())
}
