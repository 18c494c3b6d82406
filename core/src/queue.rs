//! The batch a reactor hands up: plain values, first in first out, popped one at a time.
//!
//! Invariant: order of arrival, whatever nesting the popping side does. `order` has an entry for every
//! event, and `others` has, in the same order, those that bring no bytes of a stream. What a message
//! costs goes through `order` alone, whose entries are little more than half as long as an event.

use std::collections::VecDeque;

use crate::{
    pool::Buf,
    reactor::{Event, SockId},
    slots::Key,
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
    order: Ring,
    others: VecDeque<Event>,
}

/// The place of one event: of an [`Event::Data`] if there are bytes, else of the next of the others.
#[derive(Debug)]
struct Entry {
    id: SockId,
    lost: u32,
    buf: Option<Buf>,
}

impl Entry {
    const OTHER: Self = Self { id: SockId(Key::new(0, 0)), lost: 0, buf: None };
}

/// What `VecDeque` does, in fewer instructions: the length is a power of two, and a place is filled and
/// emptied field by field, where a queue that does not know its entries moves them in and out whole.
#[derive(Debug, Default)]
struct Ring {
    /// As many as a power of two, or none; those not in use have no bytes.
    places: Vec<Entry>,
    head: usize,
    len: usize,
}

impl Ring {
    const LEN_MIN: usize = 16;

    /// Which place is `offset` behind the head; none there is while there are no places.
    #[inline]
    fn place(&self, offset: usize) -> usize {
        (self.head + offset) & self.places.len().wrapping_sub(1)
    }

    /// The place behind the last, for an event that is filled in.
    #[inline(always)]
    fn add(&mut self) -> &mut Entry {
        debug_assert!(!self.is_full(), "its caller has made room");
        let at = self.place(self.len);
        self.len += 1;
        &mut self.places[at]
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.len == self.places.len()
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.places.len() * 2).max(Self::LEN_MIN);
        let mut places = Vec::with_capacity(len);
        for offset in 0..self.len {
            let at = self.place(offset);
            places.push(std::mem::replace(&mut self.places[at], Entry::OTHER));
        }
        places.resize_with(len, || Entry::OTHER);
        (self.places, self.head) = (places, 0);
    }

    /// The first place, if there is an event in it.
    #[inline]
    fn front(&self) -> Option<&Entry> {
        self.places.get(self.place(0)).filter(|_| self.len > 0)
    }

    #[inline]
    fn pass_front(&mut self) {
        self.head = self.place(1);
        self.len -= 1;
    }
}

/// The oldest event of a queue, which brings bytes of a stream: looked at, and not taken yet.
#[derive(Debug)]
pub struct FrontData<'a> {
    entry: &'a mut Entry,
    head: &'a mut usize,
    len: &'a mut usize,
    /// The head once this was taken.
    next: usize,
}

impl FrontData<'_> {
    /// Whose the bytes are.
    #[must_use]
    #[inline]
    pub const fn id(&self) -> SockId {
        self.entry.id
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.entry.buf.as_ref().map_or(0, |buf| buf.len())
    }

    /// Takes them, and how many more are lost.
    ///
    /// # Panics
    ///
    /// Never: there are bytes as long as this is.
    #[inline(always)]
    pub fn take(self) -> (Buf, u32) {
        let buf = self.entry.buf.take().expect("looked at before");
        *self.head = self.next;
        *self.len -= 1;
        (buf, self.entry.lost)
    }
}

impl EventQueue {
    /// Makes an empty queue; it keeps its memory between batches.
    #[must_use]
    pub const fn new() -> Self {
        let order = Ring { places: Vec::new(), head: 0, len: 0 };
        Self { order, others: VecDeque::new() }
    }

    /// Appends one event.
    pub fn push(&mut self, event: Event) {
        if let Event::Data { id, buf, lost } = event {
            self.push_data(id, buf, lost);
        } else {
            self.others.push_back(event);
            if self.order.is_full() {
                self.order.grow();
            }
            self.order.add();
        }
    }

    /// Appends one [`Event::Data`].
    #[inline(always)]
    pub fn push_data(&mut self, id: SockId, buf: Buf, lost: u32) {
        if self.order.is_full() {
            return self.push_data_and_grow(id, buf, lost);
        }
        let place = self.order.add();
        (place.id, place.lost) = (id, lost);
        // Asked, so that the compiler need not see to the end of what was there.
        if place.buf.is_none() {
            place.buf = Some(buf);
        } else {
            unreachable!("a place behind the last has no bytes");
        }
    }

    /// Apart, so that what is pushed need not get out of the way of a call.
    #[cold]
    fn push_data_and_grow(&mut self, id: SockId, buf: Buf, lost: u32) {
        self.order.grow();
        self.push_data(id, buf, lost);
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        if let Some(front) = self.front_data() {
            let id = front.id();
            let (buf, lost) = front.take();
            return Some(Event::Data { id, buf, lost });
        }
        self.order.front()?;
        self.order.pass_front();
        self.others.pop_front()
    }

    /// The oldest event, if it is an [`Event::Data`], to look at and to take.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::{pool::Buf, queue::EventQueue, reactor::SockId, slots::Key};
    ///
    /// let mut queue = EventQueue::new();
    /// queue.push_data(SockId(Key::new(0, 1)), Buf::copied(b"hello"), 0);
    /// let front = queue.front_data().unwrap();
    /// assert_eq!(front.bytes(), 5);
    /// assert_eq!(&front.take().0[..], b"hello");
    /// assert!(queue.front_data().is_none());
    /// ```
    #[must_use]
    #[inline(always)]
    pub fn front_data(&mut self) -> Option<FrontData<'_>> {
        let (at, next) = (self.order.place(0), self.order.place(1));
        let Ring { places, head, len } = &mut self.order;
        // Where there is no event there are no bytes.
        let entry = places.get_mut(at).filter(|entry| entry.buf.is_some())?;
        Some(FrontData { entry, head, len, next })
    }

    /// The oldest event where it is, unless that is an [`Event::Data`].
    #[must_use]
    pub fn front_other(&self) -> Option<&Event> {
        self.others.front().filter(|_| self.order.front().is_some_and(|front| front.buf.is_none()))
    }

    /// What the [`Event::Closed`] of `id` says was not sent, if that waits here.
    #[must_use]
    pub fn unsent(&self, id: SockId) -> Option<u64> {
        self.others.iter().find_map(|event| {
            let Event::Closed { id: closed, unsent, .. } = event else { return None };
            (*closed == id).then_some(*unsent)
        })
    }

    /// How many events wait.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.order.len
    }

    /// Whether none waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.order.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_small() {
        // Each is moved in and out of a queue, bytes of a stream once per message.
        assert!(size_of::<Event>() <= 72, "{}", size_of::<Event>());
        assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
    }

    #[test]
    fn bytes_and_other_events_keep_their_order() {
        let id = SockId(Key::new(0, 1));
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
            let bytes = (step % 3 != 0).then_some((id, 1));
            assert_eq!(queue.front_data().map(|front| (front.id(), front.bytes())), bytes);
            // Bytes are taken one way and the other.
            let front = queue.front_data().filter(|_| step % 2 == 0);
            let taken = front.map(FrontData::take);
            match taken {
                Some((buf, lost)) => assert_eq!((buf[0], lost), (step, step.into())),
                None => match queue.pop() {
                    Some(Event::Data { buf, .. }) => assert_eq!((buf[0], step % 2), (step, 1)),
                    other => {
                        assert!(bytes.is_none() && matches!(other, Some(Event::Connected { .. })));
                    }
                },
            }
        }
        assert!(queue.is_empty() && queue.pop().is_none());
    }
}
