//! The batch a reactor hands up: plain values, first in first out, popped one at a time.
//!
//! Invariant: order of arrival, whatever nesting the popping side does. `order` has an entry for every
//! event, and `others` has, in the same order, those that bring no bytes of a stream. What a message
//! costs goes through `order` alone, whose entries are little more than half as long as an event.

use std::collections::VecDeque;

use crate::{
    pool::Buf,
    reactor::{Event, SockId},
};

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
    order: VecDeque<Entry>,
    others: VecDeque<Event>,
}

#[derive(Debug)]
enum Entry {
    Data { id: SockId, buf: Buf, lost: u32 },
    Other,
}

impl EventQueue {
    /// Makes an empty queue; it keeps its memory between batches.
    #[must_use]
    pub const fn new() -> Self {
        Self { order: VecDeque::new(), others: VecDeque::new() }
    }

    /// Appends one event.
    pub fn push(&mut self, event: Event) {
        if let Event::Data { id, buf, lost } = event {
            self.push_data(id, buf, lost);
        } else {
            self.others.push_back(event);
            self.order.push_back(Entry::Other);
        }
    }

    /// Appends one [`Event::Data`].
    #[inline]
    pub fn push_data(&mut self, id: SockId, buf: Buf, lost: u32) {
        self.order.push_back(Entry::Data { id, buf, lost });
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        match self.order.pop_front()? {
            Entry::Data { id, buf, lost } => Some(Event::Data { id, buf, lost }),
            Entry::Other => self.others.pop_front(),
        }
    }

    /// Takes the oldest event if it is an [`Event::Data`] that `wanted` lets pass, which it may say
    /// with a value; else it stays.
    #[inline]
    pub fn pop_data_if<T>(
        &mut self,
        wanted: impl FnOnce(SockId, &Buf) -> Option<T>,
    ) -> Option<(T, Buf, u32)> {
        let Some(Entry::Data { id, buf, .. }) = self.order.front() else { return None };
        let value = wanted(*id, buf)?;
        match self.order.pop_front() {
            Some(Entry::Data { buf, lost, .. }) => Some((value, buf, lost)),
            Some(Entry::Other) | None => None,
        }
    }

    /// The oldest event where it is, unless that is an [`Event::Data`].
    #[must_use]
    pub fn front_other(&self) -> Option<&Event> {
        self.others.front().filter(|_| matches!(self.order.front(), Some(Entry::Other)))
    }

    /// How many events wait.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_small() {
        // Each is moved in and out of a queue, bytes of a stream once per message.
        assert!(size_of::<Event>() <= 80, "{}", size_of::<Event>());
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
    }

    #[test]
    fn bytes_and_other_events_keep_their_order() {
        let id = SockId(crate::slots::Key::new(0, 1));
        let mut queue = EventQueue::new();
        for step in 0..30u8 {
            if step % 3 == 0 {
                queue.push(Event::Connected { id });
            } else {
                queue.push(Event::Data { id, buf: Buf::copied(&[step]), lost: step.into() });
            }
        }
        for step in 0..30u8 {
            assert_eq!(queue.len(), usize::from(30 - step));
            assert!(queue.pop_data_if(|_, _| None::<()>).is_none(), "refused, so it stays");
            // Bytes are taken one way and the other.
            let taken = if step % 2 == 0 { queue.pop_data_if(|_, buf| Some(buf[0])) } else { None };
            match taken {
                Some((value, buf, lost)) => {
                    assert_eq!((value, buf[0], lost), (step, step, step.into()));
                }
                None => match queue.pop() {
                    Some(Event::Data { buf, .. }) => assert_eq!((buf[0], step % 2), (step, 1)),
                    other => {
                        assert!(step % 3 == 0 && matches!(other, Some(Event::Connected { .. })));
                    }
                },
            }
        }
        assert!(queue.is_empty() && queue.pop().is_none());
    }
}
