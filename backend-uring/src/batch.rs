//! Where events of one poll go: to the caller up to its cap, and what is more waits for the next poll.
//!
//! Invariant: order of arrival, whatever the cap; once something waits, everything behind it does.

use netproc_core::{
    pool::Buf,
    queue::EventQueue,
    reactor::{Event, SockId},
};

/// The caller's queue and what does not go there yet.
pub(crate) struct Batch<'a> {
    out: &'a mut EventQueue,
    early: &'a mut EventQueue,
    /// How long `out` may become.
    len_max: usize,
    before: usize,
}

impl<'a> Batch<'a> {
    /// Lets at most `events_max` events into `out`, first those that wait in `early`.
    pub(crate) fn new(
        out: &'a mut EventQueue,
        early: &'a mut EventQueue,
        events_max: usize,
    ) -> Self {
        let before = out.len();
        while !early.is_empty()
            && out.len() - before < events_max
            && let Some(event) = early.pop()
        {
            out.push(event);
        }
        Self { len_max: before.saturating_add(events_max), before, out, early }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.place().push(event);
    }

    /// Pushes an [`Event::Data`] of a stream into a batch that is not full.
    #[inline(always)]
    pub(crate) fn push_data(&mut self, id: SockId, buf: Buf) {
        debug_assert!(self.early.is_empty() && !self.is_full(), "nothing waits unless it is full");
        self.out.push_data(id, buf, 0);
    }

    fn place(&mut self) -> &mut EventQueue {
        if self.early.is_empty() && !self.is_full() { self.out } else { self.early }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= self.len_max
    }

    /// How many events more make it full.
    pub(crate) fn room(&self) -> usize {
        self.len_max.saturating_sub(self.out.len())
    }

    /// Whether the caller has got no event yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.len() == self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netproc_core::slots::Key;

    #[test]
    fn no_event_passes_another_and_none_the_cap() {
        let (mut out, mut early) = (EventQueue::new(), EventQueue::new());
        let connected = |index| Event::Connected { id: SockId(Key::new(index, 1)) };
        out.push(Event::Woken);
        let mut next = 0;
        for (pushed, len) in [(5, 3), (0, 5), (1, 7), (2, 9), (9, 11)] {
            let mut batch = Batch::new(&mut out, &mut early, 2);
            for _ in 0..pushed {
                batch.push(connected(next));
                next += 1;
            }
            assert_eq!(out.len(), len);
        }
        assert!(matches!(out.pop(), Some(Event::Woken)));
        let order = std::iter::from_fn(|| out.pop().or_else(|| early.pop()));
        let order: Vec<_> = order.map(|event| event.owner().unwrap().index()).collect();
        assert_eq!(order, (0..17).collect::<Vec<_>>());
    }
}
