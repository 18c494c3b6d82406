//! The slot that the reads of many sockets go into, one behind the other.
//!
//! Invariant: at most one slot is held; it is begun again as soon as its guards are gone, so that the same
//! warm memory serves as long as filters are quick. A slot with less room than messages have been long of
//! late is left for another if there is one: a message cut in two is read, told of and answered twice.

use super::{Pool, Slot};

/// See the head of this file.
///
/// # Examples
///
/// ```
/// use netproc_core::pool::{Pool, SharedSlot};
///
/// let pool = Pool::new(2, 64)?;
/// let mut shared = SharedSlot::for_streams(pool.slot_len());
/// for _ in 0..3 {
///     let slot = shared.slot(&pool).expect("guards are dropped at once");
///     let buf = slot.fill(64, |room| Ok::<_, ()>(room.len())).unwrap();
///     shared.note(buf.len());
/// }
/// assert_eq!(pool.free(), 1, "one has served them all");
/// # Ok::<(), netproc_core::pool::PoolError>(())
/// ```
#[derive(Debug)]
pub struct SharedSlot {
    slot: Option<Slot>,
    /// Less room than this, and another slot is taken if there is one.
    wanted: u32,
    /// What is wanted at least, however short messages are.
    wanted_min: u32,
    /// Less room than this is of no use.
    needed: u32,
}

impl SharedSlot {
    /// For streams, in slots of that length: any room will do, if there is no other.
    #[must_use]
    pub const fn for_streams(slot_len: u32) -> Self {
        Self { slot: None, wanted: slot_len / 4, wanted_min: slot_len / 4, needed: 1 }
    }

    /// For packets: one that does not fit would be cut, so each finds a slot's whole length.
    #[must_use]
    pub const fn for_packets(slot_len: u32) -> Self {
        Self { slot: None, wanted: slot_len, wanted_min: slot_len, needed: slot_len }
    }

    /// A slot with room to read into; `None` when all of the pool is guarded.
    #[inline]
    pub fn slot(&mut self, pool: &Pool) -> Option<&mut Slot> {
        let roomy = match &mut self.slot {
            Some(slot) => slot.rewind() || slot.room() >= self.wanted,
            None => false,
        };
        if roomy {
            return self.slot.as_mut();
        }
        self.take_another(pool);
        self.slot.as_mut().filter(|slot| slot.room() >= self.needed)
    }

    #[inline(never)]
    fn take_another(&mut self, pool: &Pool) {
        if let Some(next) = pool.take() {
            self.slot = Some(next);
        }
        // Who reads as much again says so; else it is forgotten in a few slots.
        self.wanted -= (self.wanted - self.wanted_min).div_ceil(8);
    }

    /// A read has brought so many bytes: the next finds room for as many.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no more than a slot, whose length is a u32"
    )]
    pub const fn note(&mut self, len: usize) {
        if len > self.wanted as usize {
            self.wanted = len as u32;
        }
    }

    /// Leaves the slot to whoever takes one next.
    pub fn let_go(&mut self) {
        self.slot = None;
    }

    /// Whether it has a slot.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.slot.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Buf;

    struct Reader {
        pool: Pool,
        shared: SharedSlot,
    }

    impl Reader {
        fn new(slots: u16, slot_len: u32) -> Self {
            Self {
                pool: Pool::new(slots, slot_len).unwrap(),
                shared: SharedSlot::for_streams(slot_len),
            }
        }

        /// Reads a message of that length, or as much of it as there is room for.
        fn read(&mut self, len: usize) -> Option<Buf> {
            let slot = self.shared.slot(&self.pool)?;
            let len = len.min(slot.room() as usize);
            let buf = slot.fill(len, |_| Ok::<_, ()>(len)).unwrap();
            self.shared.note(buf.len());
            Some(buf)
        }
    }

    #[test]
    fn the_same_slot_serves_while_filters_are_quick() {
        let mut reader = Reader::new(4, 64);
        for _ in 0..100 {
            assert!(reader.read(60).is_some());
            assert_eq!(reader.pool.free(), 3, "one slot is held, no more");
        }
    }

    #[test]
    fn all_of_the_memory_is_used_before_anyone_starves() {
        let mut reader = Reader::new(2, 64);
        let kept: Vec<_> = (0..).map_while(|_| reader.read(1)).collect();
        // The first slot is left while a quarter of it has room, the last is filled to the brim.
        assert_eq!(kept.len(), 49 + 64);
    }

    #[test]
    fn messages_of_one_length_are_cut_once_at_most() {
        for len in 17..=64 {
            let mut reader = Reader::new(64, 64);
            let kept: Vec<_> = (0..40).map_while(|_| reader.read(len)).collect();
            let cut = kept.iter().filter(|buf| buf.len() < len).count();
            assert!(kept.len() == 40 && cut == 0, "{cut} of {} bytes", len);
        }
    }

    #[test]
    fn a_long_message_is_forgotten() {
        let mut reader = Reader::new(64, 64);
        let mut kept = vec![reader.read(64)];
        kept.extend((0..300).map(|_| reader.read(1)));
        assert!(reader.pool.free() >= 64 - 30, "{} left", reader.pool.free());
        let before = reader.pool.free();
        kept.extend((0..48).map(|_| reader.read(1)));
        assert!(before - reader.pool.free() <= 1, "as if it had never been");
    }

    #[test]
    fn a_packet_finds_its_whole_length_or_waits() {
        let pool = Pool::new(2, 64).unwrap();
        let mut shared = SharedSlot::for_packets(64);
        let mut read = || shared.slot(&pool).map(|slot| slot.fill(1, |_| Ok::<_, ()>(1)).unwrap());
        let kept = [read(), read()];
        assert!(read().is_none(), "both are guarded, if only for a byte");
        drop(kept);
        assert_eq!(shared.slot(&pool).map(|slot| slot.room()), Some(64));
    }
}
