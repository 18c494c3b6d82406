//! The batch a reactor hands up: plain values, first in first out, popped one at a time.
//!
//! Invariant: order of arrival, whatever nesting the popping side does. Nothing here looks inside.

use std::collections::VecDeque;

use crate::reactor::Event;

/// Events in the order they happened.
///
/// # Examples
///
/// ```
/// use netproc_core::{queue::EventQueue, reactor::Event};
///
/// let mut queue = EventQueue::new();
/// queue.push(Event::Woken);
/// assert_eq!(queue.len(), 1);
/// assert!(matches!(queue.pop(), Some(Event::Woken)));
/// assert!(queue.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct EventQueue {
    events: VecDeque<Event>,
}

impl EventQueue {
    /// Makes an empty queue; it keeps its memory between batches.
    #[must_use]
    pub const fn new() -> Self {
        Self { events: VecDeque::new() }
    }

    /// Appends one event.
    #[inline]
    pub fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Takes the oldest event.
    #[inline]
    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The oldest event, where it is.
    #[must_use]
    pub fn front(&self) -> Option<&Event> {
        self.events.front()
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_small() {
        // Each event is moved in and out of a queue once per message; its size is on the hot path.
        assert!(size_of::<Event>() <= 80, "{}", size_of::<Event>());
    }
}
