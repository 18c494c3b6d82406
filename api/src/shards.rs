//! Several runtimes, one per core, behind one service.
//!
//! Invariant: every shard is a thread with a runtime of its own, set up by the same closure, one after the
//! other; none serves before all are set up, and they end together, whoever ends first. What a service is to
//! several shards is in `shards/registry.rs`, how connections are handed over in `shards/service.rs` and
//! `shards/seat.rs`, what a shard's thread does in `shards/thread.rs`.

mod error;
mod pin;
mod registry;
mod seat;
mod service;
mod thread;

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use netproc_core::reactor::Counters;

pub use self::error::ShardsError;
pub(crate) use self::{
    pin::Unpinned,
    registry::{Joining, Offered},
    seat::{Handed, Seat},
};
use self::{registry::Registry, thread::Plan};
use crate::{
    error::Result,
    handle::Handle,
    runtime::{Runtime, RuntimeBuilder},
};

/// More threads than this are a mistake.
const COUNT_MAX: usize = 1024;
/// How long what was sent may take to go out after the end, unless told otherwise.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Several runtimes, each on a thread of its own, that serve together. Made by [`Shards::builder`].
///
/// A closure sets each of them up with the builders as anywhere else. Servers it starts are shared: they have
/// one address, also with [`Service::Any`](crate::Service::Any), and each connection is served by one shard.
/// Which one decides the system, where it balances ([`Caps::reuse_port_balances`]); elsewhere, and for
/// local sockets, a thread accepts and hands the connections over, to one shard after the other. A process
/// never leaves its shard; [`handle`](Self::handle) reaches it from outside.
///
/// They live and die together: when one ends, by [`Runtime::shutdown`] in one of its callbacks, an error or
/// a panic, all do. Panics in callbacks are contained, as everywhere. Dropped, they are ended and waited
/// for.
///
/// [`Caps::reuse_port_balances`]: netproc_core::reactor::Caps::reuse_port_balances
///
/// # Examples
///
/// ```
/// use std::{io::{Read, Write}, net::TcpStream, sync::mpsc};
/// use netproc::{Process, Shards};
///
/// let (at, address) = mpsc::channel();
/// let shards = Shards::builder().count(2).start(move |rt, _| -> netproc::Result<()> {
///     let echo = rt.server("echo").filter(Process::send).start()?;
///     at.send(echo.contact().local().socket_addr()).expect("somebody listens");
///     Ok(())
/// })?;
/// let address = address.recv()?.expect("an IP address");
/// let mut client = TcpStream::connect(address)?;
/// client.write_all(b"hello")?;
/// let mut answer = [0; 5];
/// client.read_exact(&mut answer)?;
/// assert_eq!(&answer, b"hello");
/// shards.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
///
/// socket(7), `SO_REUSEPORT`. Emacs has one thread.
pub struct Shards {
    shards: Vec<Shard>,
    registry: Arc<Registry>,
}

struct Shard {
    handle: Handle,
    thread: JoinHandle<std::result::Result<(), ShardsError>>,
}

/// Chooses what shards run on. Made by [`Shards::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `start`"]
pub struct ShardsBuilder {
    count: Option<usize>,
    runtime: RuntimeBuilder,
    pin: bool,
    hand_over: bool,
    flush_within: Duration,
}

impl ShardsBuilder {
    /// How many there are, 1 to 1024. Default: as many as this program may use of the processors.
    pub const fn count(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }

    /// What each runtime is made with: backend, sizes, depth. Default: as
    /// [`Runtime::new`](crate::Runtime::new).
    pub fn runtime(mut self, runtime: RuntimeBuilder) -> Self {
        self.runtime = runtime;
        self
    }

    /// Keeps each thread on one processor, the first on the first that this program may use, and so on, round
    /// about. Linux only. Default `false`: the system moves them as it likes.
    pub const fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Hands connections over although the system would balance: each shard then gets as many as the
    /// others, at the price of a thread that accepts and a wake for each connection. Packet servers cannot
    /// be shared then. Default `false`.
    pub const fn hand_over(mut self, on: bool) -> Self {
        self.hand_over = on;
        self
    }

    /// How long what was sent may take to go out once the shards end. Default 5 seconds.
    pub const fn flush_within(mut self, within: Duration) -> Self {
        self.flush_within = within;
        self
    }

    /// Starts the threads, has `set_up` run on each with its runtime and its number, from 0, one after the
    /// other, and then lets all serve. Returns when they do.
    ///
    /// # Errors
    ///
    /// [`ShardsError`]: a number out of range, a thread that cannot be started or pinned, a runtime that
    /// cannot be made, or what `set_up` returned or how it panicked. Those that were there have ended, and
    /// nothing is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Shards, ShardsError};
    ///
    /// let refused = Shards::builder().count(2).start(|rt, shard| {
    ///     rt.server("s").service(if shard == 0 { "0" } else { "no such service" }).start()
    /// });
    /// assert!(matches!(refused, Err(ShardsError::SetUp { shard: 1, .. })));
    /// ```
    pub fn start<T, E>(
        self,
        set_up: impl Fn(&Runtime, usize) -> std::result::Result<T, E> + Send + Sync + 'static,
    ) -> std::result::Result<Shards, ShardsError>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let count = self.count.unwrap_or_else(|| available().min(COUNT_MAX));
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(ShardsError::Count { count, max: COUNT_MAX });
        }
        let registry = Registry::new(self.hand_over);
        let Self { runtime, pin, flush_within, .. } = self;
        let set_up = move |rt: &Runtime, shard| set_up(rt, shard).map(drop).map_err(Into::into);
        let set_up: thread::SetUp = Arc::new(set_up);
        let mut shards = Shards { shards: Vec::with_capacity(count), registry };
        let mut begins = Vec::with_capacity(count);
        for shard in 0..count {
            let plan = Plan {
                shard,
                count,
                pin,
                flush_within,
                runtime: runtime.clone(),
                set_up: Arc::clone(&set_up),
                registry: Arc::clone(&shards.registry),
            };
            // Dropped on the way out, `shards` ends those there are; they wait for their beginning.
            let (begin, started) = plan.spawn()?;
            begins.push(begin);
            shards.shards.push(started);
        }
        shards.registry.run(shards.handles()).map_err(ShardsError::Thread)?;
        for begin in begins {
            // One that has died meanwhile is told of by `join`.
            let _died = begin.send(());
        }
        Ok(shards)
    }
}

/// How many processors this program may use.
fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Shards {
    /// Makes shards with choices of your own.
    pub fn builder() -> ShardsBuilder {
        ShardsBuilder {
            count: None,
            runtime: Runtime::builder(),
            pin: false,
            hand_over: false,
            flush_within: FLUSH_WITHIN,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// A handle on the runtime of one of them, for other threads; `None` for a number there is not.
    #[must_use]
    pub fn handle(&self, shard: usize) -> Option<&Handle> {
        self.shards.get(shard).map(|shard| &shard.handle)
    }

    fn handles(&self) -> Vec<Handle> {
        self.shards.iter().map(|shard| shard.handle.clone()).collect()
    }

    /// What each of them has done so far, in order. Waits for their threads to say so, `within` at most in
    /// all; so called in a callback of one of them it waits in vain.
    ///
    /// # Errors
    ///
    /// [`ShardsError::Silent`] names one that has not answered: a callback holds it up, or it has ended.
    pub fn stats_of_each(
        &self,
        within: Duration,
    ) -> std::result::Result<Vec<Counters>, ShardsError> {
        let begin = Instant::now();
        let ask = |(shard, it): (usize, &Shard)| {
            let (answer, answered) = mpsc::sync_channel(1);
            let asked = it.handle.post(move |rt| {
                // Whoever asked may have given up.
                let _late = answer.try_send(rt.stats());
            });
            asked.map(|()| (shard, answered)).map_err(|_| ShardsError::Silent { shard })
        };
        let asked: Vec<_> =
            self.shards.iter().enumerate().map(ask).collect::<std::result::Result<_, _>>()?;
        let wait = |(shard, answered): (usize, mpsc::Receiver<Counters>)| {
            let left = within.saturating_sub(begin.elapsed());
            answered.recv_timeout(left).map_err(|_| ShardsError::Silent { shard })
        };
        asked.into_iter().map(wait).collect()
    }

    /// What all of them together have done so far; as [`stats_of_each`](Self::stats_of_each).
    ///
    /// # Errors
    ///
    /// As that.
    pub fn stats(&self, within: Duration) -> std::result::Result<Counters, ShardsError> {
        Ok(self.stats_of_each(within)?.into_iter().sum())
    }

    /// Waits until they have ended, for whatever reason.
    ///
    /// # Errors
    ///
    /// [`ShardsError::Run`] and [`ShardsError::Panicked`]: why the first of them did, if that was not by
    /// [`shutdown`](Self::shutdown) or [`Runtime::shutdown`]. Called in a shard, it does not wait for that one.
    pub fn join(mut self) -> std::result::Result<(), ShardsError> {
        self.wait()
    }

    /// Ends them: each stops serving when its callbacks have had what has come so far, what was posted before
    /// included, deletes its processes without telling anybody, and sends what was queued, for as long as
    /// [`flush_within`](ShardsBuilder::flush_within) says. A callback that waits holds its shard up until that
    /// wait is over. Whoever waits in a backlog then is reset. Returns when all threads are gone and every
    /// descriptor is closed.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn shutdown(self) -> std::result::Result<(), ShardsError> {
        self.registry.stop();
        self.join()
    }

    fn wait(&mut self) -> std::result::Result<(), ShardsError> {
        let mut outcome = Ok(());
        for (shard, it) in self.shards.drain(..).enumerate() {
            if it.thread.thread().id() == std::thread::current().id() {
                // Nobody can wait for their own end: it comes once this has returned.
                continue;
            }
            let ended = it.thread.join().unwrap_or_else(|panic| {
                let message = crate::handlers::message(&*panic);
                Err(ShardsError::Panicked { shard, message })
            });
            outcome = outcome.and(ended);
        }
        outcome
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        if !self.shards.is_empty() {
            self.registry.stop();
            // Nobody is left to be told.
            let _unheard = self.wait();
        }
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#<shards {}>", self.shards.len())
    }
}

impl Runtime {
    /// The number of the shard whose runtime this is; `None` for one that is not among [`Shards`].
    #[must_use]
    pub fn shard(&self) -> Option<usize> {
        self.seat().map(Seat::shard)
    }
}

impl RuntimeBuilder {
    /// Makes the runtime of one of several shards.
    fn build_among(self, count: usize, seat: Seat) -> Result<Runtime> {
        let rt = self.build_sharing(count)?;
        rt.sit(seat);
        Ok(rt)
    }
}
