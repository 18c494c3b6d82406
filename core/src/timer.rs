//! Deadlines on the reactor's clock.
//!
//! Invariant: due timers come out in the order of their time, and of their making within one time.
//! Nothing here knows what time it is.

use std::collections::BTreeMap;

use crate::reactor::Tick;

/// Names one timer of one [`Timers`], for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId {
    at: Tick,
    number: u64,
}

/// Things to do later. Setting, cancelling and taking one are logarithmic in their number.
///
/// # Examples
///
/// ```
/// use netproc_core::{reactor::Tick, timer::Timers};
///
/// let mut timers = Timers::new();
/// let late = timers.set(Tick(9), "late");
/// timers.set(Tick(5), "early");
/// assert_eq!(timers.next_at(), Some(Tick(5)));
/// assert_eq!(timers.take_due(Tick(9)).map(|(_, what)| what), Some("early"));
/// assert_eq!(timers.cancel(late), Some("late"));
/// assert_eq!(timers.next_at(), None);
/// ```
#[derive(Debug)]
pub struct Timers<T> {
    pending: BTreeMap<TimerId, T>,
    /// How many were ever set: the tie-breaker within one time.
    count: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// Makes an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: BTreeMap::new(), count: 0 }
    }

    /// Keeps `what` for the time `at`.
    pub fn set(&mut self, at: Tick, what: T) -> TimerId {
        let id = TimerId { at, number: self.count };
        self.count += 1;
        self.pending.insert(id, what);
        id
    }

    /// Gives back what was kept; `None` when it was taken or cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.pending.remove(&id)
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Tick> {
        self.pending.first_key_value().map(|(id, _)| id.at)
    }

    /// Takes the first one due at `now`, if any.
    pub fn take_due(&mut self, now: Tick) -> Option<(TimerId, T)> {
        let first = self.pending.first_entry()?;
        (first.key().at <= now).then(|| first.remove_entry())
    }

    /// Takes all of them out. What is set later has names of its own, so that an old one cancels none of it.
    pub fn take_all(&mut self) -> Self {
        Self { pending: std::mem::take(&mut self.pending), count: self.count }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_time_then_by_making() {
        let mut timers = Timers::new();
        for (index, at) in [5, 3, 5, 1, 3].into_iter().enumerate() {
            timers.set(Tick(at), index);
        }
        let mut order = Vec::new();
        while let Some((_, index)) = timers.take_due(Tick(3)) {
            order.push(index);
        }
        assert_eq!(order, [3, 1, 4]);
        assert_eq!((timers.len(), timers.next_at()), (2, Some(Tick(5))));
    }

    #[test]
    fn a_name_stays_that_of_one_timer_when_all_are_taken() {
        let mut timers = Timers::new();
        let old = timers.set(Tick(5), "old");
        let mut taken = timers.take_all();
        assert_eq!(timers.len(), 0);
        let new = timers.set(Tick(5), "new");
        assert_eq!((timers.cancel(old), timers.cancel(new)), (None, Some("new")));
        assert_eq!(taken.cancel(old), Some("old"));
    }
}
