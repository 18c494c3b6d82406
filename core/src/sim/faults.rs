//! What can go wrong in a simulation: chances and limits, drawn per seed or set by a test.
//!
//! Invariant: with [`Faults::none`] a simulated network loses, cuts and delays nothing. A fault is
//! something a kernel may do at any time; a [`Canary`] is something a reactor must never do.

use std::time::Duration;

use crate::sim::rng::Rng;

/// Chances in percent, spans and limits of everything a kernel may do to a reactor.
///
/// # Examples
///
/// ```
/// use netproc_core::sim::Faults;
///
/// let mut faults = Faults::none();
/// faults.refuse = 100;
/// assert_ne!(faults, Faults::none());
/// assert_eq!(Faults::swarm(3), Faults::swarm(3), "the seed decides");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Faults {
    /// A read brings less than there is.
    pub short_recv: u8,
    /// A write takes less than there is room for.
    pub short_send: u8,
    /// A read or a write moves a single byte.
    pub split_at_one_byte: u8,
    /// The longest time bytes, packets and connects are on their way.
    pub delay_max: Duration,
    /// A connection is doomed: something between resets it after a while.
    pub reset: u8,
    /// A connect is refused although somebody listens.
    pub refuse: u8,
    /// A connect is never answered and ends in `ETIMEDOUT`.
    pub connect_timeout: u8,
    /// No descriptor is left for a new socket or for an accept.
    pub emfile: u8,
    /// A read finds no receive slot although one is free.
    pub enobufs_recv: u8,
    /// `poll` returns at once, with nothing done.
    pub eintr_poll: u8,
    /// Input that was under way still comes after a pause.
    pub late_after_pause: u8,
    /// A socket is reported ready and is not.
    pub spurious_wake: u8,
    /// The kernel reports something about a socket that is gone.
    pub stale_event: u8,
    /// A write to an end that is closed goes the other way than usual: swallowed and answered by a
    /// reset, instead of `EPIPE`, or the reverse.
    pub eof_then_write: u8,
    /// An error without a packet reaches a packet socket.
    pub icmp_error: u8,
    /// An IP packet is lost.
    pub dgram_loss: u8,
    /// An IP packet arrives twice.
    pub dgram_dup: u8,
    /// An IP packet overtakes others.
    pub dgram_reorder: u8,
    /// A packet arrives in a slot too short for it.
    pub dgram_truncate: u8,
    /// Bytes one direction of a connection holds; at least 1.
    pub window: usize,
    /// The longest time from closing a descriptor to the end of its operations.
    pub close_latency: Duration,
    /// The report that a write is done comes later, so that several are reported as one.
    pub sent_batching: u8,
}

impl Faults {
    /// Nothing goes wrong and nothing takes time.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            short_recv: 0,
            short_send: 0,
            split_at_one_byte: 0,
            delay_max: Duration::ZERO,
            reset: 0,
            refuse: 0,
            connect_timeout: 0,
            emfile: 0,
            enobufs_recv: 0,
            eintr_poll: 0,
            late_after_pause: 0,
            spurious_wake: 0,
            stale_event: 0,
            eof_then_write: 0,
            icmp_error: 0,
            dgram_loss: 0,
            dgram_dup: 0,
            dgram_reorder: 0,
            dgram_truncate: 0,
            window: 256 * 1024,
            close_latency: Duration::ZERO,
            sent_batching: 0,
        }
    }

    /// A fault set of `seed`: each fault is off in about half of the sets.
    ///
    /// With every fault always on, one hides another: a run full of resets never reaches the states
    /// that only a long quiet run has.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        // Another sequence than the simulation's own, or the faults would follow its first draws.
        let mut rng = Rng::new(seed ^ 0x5EED_FA17_5EED_FA17);
        Self {
            short_recv: chance(&mut rng, 60),
            short_send: chance(&mut rng, 60),
            split_at_one_byte: chance(&mut rng, 30),
            delay_max: span(&mut rng, 20_000),
            reset: chance(&mut rng, 30),
            refuse: chance(&mut rng, 30),
            connect_timeout: chance(&mut rng, 20),
            emfile: chance(&mut rng, 30),
            enobufs_recv: chance(&mut rng, 30),
            eintr_poll: chance(&mut rng, 30),
            late_after_pause: chance(&mut rng, 90),
            spurious_wake: chance(&mut rng, 40),
            stale_event: chance(&mut rng, 40),
            eof_then_write: chance(&mut rng, 90),
            icmp_error: chance(&mut rng, 10),
            dgram_loss: chance(&mut rng, 30),
            dgram_dup: chance(&mut rng, 30),
            dgram_reorder: chance(&mut rng, 50),
            dgram_truncate: chance(&mut rng, 20),
            window: window(&mut rng),
            close_latency: span(&mut rng, 5_000),
            sent_batching: chance(&mut rng, 80),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most `max`, a u8")]
fn chance(rng: &mut Rng, max: u8) -> u8 {
    if rng.percent(50) { rng.between(1, u64::from(max)) as u8 } else { 0 }
}

fn span(rng: &mut Rng, micros_max: u64) -> Duration {
    Duration::from_micros(if rng.percent(50) { rng.between(1, micros_max) } else { 0 })
}

fn window(rng: &mut Rng) -> usize {
    let plenty = Faults::none().window;
    if rng.percent(50) { rng.len(8192) } else { plenty }
}

/// A breach of the contract, planted on purpose: a harness that does not report it is blind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Canary {
    /// A socket that waited for a slot is not told when one comes free.
    LostWakeUp,
    /// Two payloads of one socket swap places.
    ReorderedSend,
    /// The same input is delivered twice.
    DoubledData,
    /// A receive slot is kept for ever.
    SlotLeak,
    /// An event follows `Closed`.
    EventAfterEnd,
    /// `Closed` comes twice.
    DoubleClose,
    /// `Closed` never comes.
    MissingClosed,
    /// `Sent` leaves bytes out.
    SentMiscount,
    /// `finish` shuts down in front of what is queued.
    HastyFinish,
    /// `close(Flush)` closes without reading the input away, which resets the connection.
    HastyFlush,
    /// `set_reading(false)` is forgotten.
    DeafToPause,
    /// A record is delivered in two halves.
    SplitRecord,
    /// A cut packet does not say how much was lost.
    SilentTruncation,
    /// A wake from another thread is swallowed.
    SwallowedWake,
    /// A choice that the seed does not make.
    Unseeded,
}

impl Canary {
    /// Every one of them, for the test that plants each.
    pub const ALL: [Self; 15] = [
        Self::LostWakeUp,
        Self::ReorderedSend,
        Self::DoubledData,
        Self::SlotLeak,
        Self::EventAfterEnd,
        Self::DoubleClose,
        Self::MissingClosed,
        Self::SentMiscount,
        Self::HastyFinish,
        Self::HastyFlush,
        Self::DeafToPause,
        Self::SplitRecord,
        Self::SilentTruncation,
        Self::SwallowedWake,
        Self::Unseeded,
    ];
}

/// Everything the simulation decides by chance comes from here.
#[derive(Debug)]
pub(super) struct Chaos {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) canary: Option<Canary>,
}

impl Chaos {
    pub(super) const fn new(seed: u64, faults: Faults) -> Self {
        Self { rng: Rng::new(seed), faults, canary: None }
    }

    /// Whether the fault that `percent` picks out strikes now.
    pub(super) fn strikes(&mut self, percent: impl FnOnce(&Faults) -> u8) -> bool {
        let percent = percent(&self.faults);
        self.rng.percent(percent)
    }

    /// How long something takes whose worst case `longest` picks out, in nanoseconds.
    pub(super) fn latency(&mut self, longest: impl FnOnce(&Faults) -> Duration) -> u64 {
        match u64::try_from(longest(&self.faults).as_nanos()) {
            Ok(0) => 0,
            longest => self.rng.between(0, longest.unwrap_or(u64::MAX >> 1)),
        }
    }

    /// How much of `len` one call moves: all of it unless a fault strikes, never nothing.
    pub(super) fn part(&mut self, len: usize, short: impl FnOnce(&Faults) -> u8) -> usize {
        if self.strikes(|faults| faults.split_at_one_byte) {
            1
        } else if self.strikes(short) {
            self.rng.len(len)
        } else {
            len
        }
    }

    pub(super) fn plants(&self, canary: Canary) -> bool {
        self.canary == Some(canary)
    }
}
