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
/// let mut shared = SharedSlot::for_streams(pool.clone());
/// for _ in 0..3 {
///     let slot = shared.slot().expect("guards are dropped at once");
///     let buf = slot.fill(64, |room| Ok::<_, ()>(room.len())).unwrap();
///     shared.note(buf.len());
/// }
/// assert_eq!(pool.free(), 1, "one has served them all");
/// # Ok::<(), netproc_core::pool::PoolError>(())
/// ```
#[derive(Debug)]
pub struct SharedSlot {
    pool: Pool,
    slot: Option<Slot>,
    /// Less room than this, and another slot is taken if there is one.
    wanted: u32,
    /// What is wanted at least, however short messages are.
    wanted_min: u32,
    /// Less room than this is of no use.
    needed: u32,
}

impl SharedSlot {
    /// For streams: any room will do, if there is no other.
    #[must_use]
    pub fn for_streams(pool: Pool) -> Self {
        let wanted = pool.slot_len() / 4;
        Self { pool, slot: None, wanted, wanted_min: wanted, needed: 1 }
    }

    /// For packets: one that does not fit would be cut, so each finds a slot's whole length.
    #[must_use]
    pub fn for_packets(pool: Pool) -> Self {
        let whole = pool.slot_len();
        Self { pool, slot: None, wanted: whole, wanted_min: whole, needed: whole }
    }

    /// Where its slots come from.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A slot with room to read into; `None` when none of the pool is free.
    #[inline]
    pub fn slot(&mut self) -> Option<&mut Slot> {
        let roomy = match &mut self.slot {
            Some(slot) => slot.rewind() || slot.room() >= self.wanted,
            None => false,
        };
        if roomy {
            return self.slot.as_mut();
        }
        self.take_another();
        self.slot.as_mut().filter(|slot| slot.room() >= self.needed)
    }

    #[inline(never)]
    fn take_another(&mut self) {
        if let Some(next) = self.pool.take() {
            self.slot = Some(next);
        }
        // Whoever reads as much again says so; else three slots forget half of it.
        self.wanted -= (self.wanted - self.wanted_min).div_ceil(4);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Buf;

    fn for_streams(slots: u16, slot_len: u32) -> SharedSlot {
        SharedSlot::for_streams(Pool::new(slots, slot_len).unwrap())
    }

    impl SharedSlot {
        /// Reads a message of that length, or as much of it as there is room for.
        fn read(&mut self, len: usize) -> Option<Buf> {
            let slot = self.slot()?;
            let len = len.min(slot.room() as usize);
            let buf = slot.fill(len, |_| Ok::<_, ()>(len)).unwrap();
            self.note(buf.len());
            Some(buf)
        }
    }

    #[test]
    fn the_same_slot_serves_while_filters_are_quick() {
        let mut shared = for_streams(4, 64);
        for _ in 0..100 {
            assert!(shared.read(60).is_some());
            assert_eq!(shared.pool().free(), 3, "one slot is held, no more");
        }
    }

    #[test]
    fn all_of_the_memory_is_used_before_anyone_starves() {
        let mut shared = for_streams(2, 64);
        let kept: Vec<_> = (0..).map_while(|_| shared.read(1)).collect();
        // The first slot is left while a quarter of it has room, the last is filled to the brim.
        assert_eq!(kept.len(), 49 + 64);
    }

    #[test]
    fn messages_of_one_length_are_never_cut() {
        for len in 17..=64 {
            let mut shared = for_streams(64, 64);
            let kept: Vec<_> = (0..40).map_while(|_| shared.read(len)).collect();
            let cut = kept.iter().filter(|buf| buf.len() < len).count();
            assert!(kept.len() == 40 && cut == 0, "{cut} of {} messages of {len}", kept.len());
        }
    }

    #[test]
    fn a_long_message_among_many_small_ones_costs_a_few_slots() {
        let mut shared = for_streams(64, 64 * 1024);
        let mut kept = Vec::new();
        for _ in 0..4 {
            kept.push(shared.read(64 * 1024));
            kept.extend((0..1000).map(|_| shared.read(64)));
        }
        let taken = 64 - shared.pool().free();
        assert!((8..=24).contains(&taken), "{taken} slots");
    }

    #[test]
    fn a_packet_finds_its_whole_length_or_waits() {
        let mut shared = SharedSlot::for_packets(Pool::new(2, 64).unwrap());
        let kept = [shared.read(1), shared.read(1)];
        assert!(shared.slot().is_none(), "both are guarded, if only for a byte");
        drop(kept);
        assert_eq!(shared.slot().map(|slot| slot.room()), Some(64));
    }
}
