//! Which address of a name to try when: the race of RFC 8305, "Happy Eyeballs", without a clock and
//! without a socket.
//!
//! Invariant: each address is tried once at most, at most [`ATTEMPTS_MAX`] are under way, and a race has
//! one winner, which uses it up. While anything waits or is under way, the end of an attempt or the time
//! [`Race::due`] moves the race on. Opening sockets, and closing those of the losers, is the engine's
//! work; looking the name up is done before.

use std::{collections::VecDeque, iter, time::Duration};

use crate::{address::Address, reactor::Tick};

/// How long an attempt has for itself before the next one begins, unless told otherwise (section 5 of
/// the RFC recommends this).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// No shorter delay is taken: with none, every address of a name would be asked for every connection.
pub const ATTEMPT_DELAY_MIN: Duration = Duration::from_millis(10);
/// No longer delay is taken.
pub const ATTEMPT_DELAY_MAX: Duration = Duration::from_secs(2);
/// So many attempts are under way at a time: a name may have any number of addresses, and none of them
/// may answer. The next one waits for the end of one of these.
pub const ATTEMPTS_MAX: usize = 16;

/// The addresses of one name, and the attempts to connect to them. Each attempt is known by a key of its
/// maker's: its socket.
///
/// # Examples
///
/// ```
/// use netproc_core::{address::Address, eyeballs::{ATTEMPT_DELAY, Race}, reactor::Tick};
///
/// let to = |text: &str| text.parse::<Address>();
/// let (six, four) = (to("[8193 3512 0 0 0 0 0 1 80]")?, to("[192 0 2 1 80]")?);
/// let mut race = Race::new(vec![six.clone(), four.clone()], ATTEMPT_DELAY);
///
/// let mut now = Tick(0);
/// assert_eq!(race.poll(now), Some(six.clone()), "the first at once");
/// race.began('a', six, now);
/// assert_eq!((race.poll(now), race.due()), (None, Some(now.after(ATTEMPT_DELAY))));
/// now = now.after(ATTEMPT_DELAY);
/// assert_eq!(race.poll(now), Some(four.clone()), "the first has not answered in time");
/// race.began('b', four.clone(), now);
/// let won = race.won('b').expect("it was under way");
/// assert_eq!((won.address, won.losers), (four, vec!['a']));
/// # Ok::<(), netproc_core::address::AddressError>(())
/// ```
///
/// # Source
///
/// RFC 8305, sections 4 (its sorting is the resolver's) and 5. Differs: the delay never adapts to what
/// earlier connections took.
#[derive(Clone, Debug)]
pub struct Race<K> {
    /// Not tried yet, in order.
    waiting: VecDeque<Address>,
    /// Under way, the oldest first.
    attempts: Vec<(K, Address)>,
    delay: Duration,
    /// When the next address may be tried beside those under way.
    next_at: Tick,
}

/// How a race was won.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Won<K> {
    /// Where it is connected to.
    pub address: Address,
    /// The attempts still under way, which have to be ended.
    pub losers: Vec<K>,
}

impl<K: Copy + PartialEq> Race<K> {
    /// A race between these addresses, the one to try first in front. A delay out of range is brought
    /// into it.
    ///
    /// The families take turns, beginning with that of the first address (a First Address Family Count
    /// of 1); within a family the order stays.
    #[must_use]
    pub fn new(addresses: Vec<Address>, delay: Duration) -> Self {
        Self {
            waiting: interleaved(addresses),
            attempts: Vec::new(),
            delay: delay.clamp(ATTEMPT_DELAY_MIN, ATTEMPT_DELAY_MAX),
            next_at: Tick::default(),
        }
    }

    /// The address to try now, if one is due. It is never given again: say what became of it, with
    /// [`began`](Self::began) or [`put_back`](Self::put_back), or ask for the next one if it was refused.
    #[must_use]
    pub fn poll(&mut self, now: Tick) -> Option<Address> {
        if self.due()? > now {
            return None;
        }
        self.waiting.pop_front()
    }

    /// From when on [`poll`](Self::poll) gives an address, if no attempt ends before; `None` when only
    /// that could bring one, or none is left. The past means: now.
    #[must_use]
    pub fn due(&self) -> Option<Tick> {
        if self.waiting.is_empty() || self.attempts.len() >= ATTEMPTS_MAX {
            return None;
        }
        Some(if self.attempts.is_empty() { Tick::default() } else { self.next_at })
    }

    /// The attempt `key` to connect to `address` is under way since `now`; the next one has to wait.
    pub fn began(&mut self, key: K, address: Address, now: Tick) {
        debug_assert!(!self.attempts.iter().any(|(other, _)| *other == key), "a key is used once");
        self.attempts.push((key, address));
        self.next_at = now.after(self.delay);
    }

    /// There is nothing to try `address` with just now: it is the next one again, a delay later or when
    /// an attempt has ended. Only while one is under way: else nothing would end.
    pub fn put_back(&mut self, address: Address, now: Tick) {
        debug_assert!(!self.attempts.is_empty(), "something else goes on");
        self.waiting.push_front(address);
        self.next_at = now.after(self.delay);
    }

    /// The attempt `key` has failed: the next address is due at once. Returns which one failed; `None`
    /// for a key that is not under way.
    pub fn failed(&mut self, key: K) -> Option<Address> {
        let at = self.attempts.iter().position(|(other, _)| *other == key)?;
        self.next_at = Tick::default();
        Some(self.attempts.remove(at).1)
    }

    /// Whether nothing is left: every address has been tried, and every attempt has failed. The failure
    /// that has brought that about is the one to report.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.attempts.is_empty() && self.waiting.is_empty()
    }

    /// The oldest attempt under way.
    #[must_use]
    pub fn oldest(&self) -> Option<K> {
        self.attempts.first().map(|(key, _)| *key)
    }

    /// Every attempt under way, the oldest first.
    pub fn under_way(&self) -> impl Iterator<Item = K> {
        self.attempts.iter().map(|(key, _)| *key)
    }

    /// The attempt `key` is connected, and the race is over. `None` for a key that is not under way.
    #[must_use]
    pub fn won(mut self, key: K) -> Option<Won<K>> {
        let address = self.failed(key)?;
        Some(Won { address, losers: self.under_way().collect() })
    }
}

/// The families take turns, that of the first address before all others.
fn interleaved(addresses: Vec<Address>) -> VecDeque<Address> {
    let Some(family) = addresses.first().map(Address::family) else { return VecDeque::new() };
    let (first, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.family() == family);
    let (mut first, mut others) = (first.into_iter(), others.into_iter());
    let turns = iter::from_fn(|| match (first.next(), others.next()) {
        (None, None) => None,
        turn => Some(turn),
    });
    turns.flat_map(|(first, other)| first.into_iter().chain(other)).collect()
}

#[cfg(test)]
mod tests;
