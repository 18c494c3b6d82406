//! Where received bytes go: one pool, the slot being filled, and who waits for memory.
//!
//! Invariant: at most one slot is held; it is filled from the front, and started again as soon as
//! its guards are gone, so that the same warm memory serves as long as filters are quick. A socket
//! waits here only while there was nothing to read into.

use std::collections::VecDeque;

use netproc_core::{
    pool::{Pool, PoolError, Slot},
    reactor::{Op, SockId, SysError},
};

#[derive(Debug)]
pub(crate) struct Intake {
    pool: Pool,
    slot: Option<Slot>,
    /// Less room than this, and another slot is taken if there is one.
    room_wanted: u32,
    /// Less room than this is of no use.
    room_needed: u32,
    starving: VecDeque<SockId>,
}

impl Intake {
    /// For streams: any room will do, but a read into a short rest would cut messages in two.
    pub(crate) fn for_streams(slots: u16, slot_len: u32) -> Result<Self, SysError> {
        Self::new(slots, slot_len, slot_len / 4, 1)
    }

    /// For packets: one that does not fit would be cut, so each finds a slot's whole length.
    pub(crate) fn for_packets(slots: u16, slot_len: u32) -> Result<Self, SysError> {
        Self::new(slots, slot_len, slot_len, slot_len)
    }

    fn new(slots: u16, slot_len: u32, wanted: u32, needed: u32) -> Result<Self, SysError> {
        let refused = |err| {
            let memory = matches!(err, PoolError::Memory(_));
            SysError { op: Op::Open, errno: if memory { libc::ENOMEM } else { libc::EINVAL } }
        };
        let pool = Pool::new(slots, slot_len).map_err(refused)?;
        Ok(Self {
            pool,
            slot: None,
            room_wanted: wanted,
            room_needed: needed,
            starving: VecDeque::new(),
        })
    }

    /// A slot with room to read into; `None` when all memory is guarded.
    #[inline]
    pub(crate) fn slot(&mut self) -> Option<&mut Slot> {
        let fresh = match &mut self.slot {
            Some(slot) => slot.rewind() || slot.room() >= self.room_wanted,
            None => false,
        };
        if fresh {
            return self.slot.as_mut();
        }
        self.take_another();
        self.slot.as_mut().filter(|slot| slot.room() >= self.room_needed)
    }

    #[inline(never)]
    fn take_another(&mut self) {
        if let Some(next) = self.pool.take() {
            self.slot = Some(next);
        }
    }

    /// Puts a socket behind the others that wait for memory.
    pub(crate) fn starve(&mut self, id: SockId) {
        self.starving.push_back(id);
    }

    /// How many of those that wait have memory to read into now.
    pub(crate) fn fed(&mut self) -> usize {
        if self.starving.is_empty() || self.slot().is_none() {
            return 0;
        }
        self.starving.len().min(1 + self.pool.free())
    }

    /// Who has waited longest.
    pub(crate) fn next_starving(&mut self) -> Option<SockId> {
        self.starving.pop_front()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(intake: &mut Intake, len: usize) -> Option<netproc_core::pool::Buf> {
        intake.slot().map(|slot| slot.fill(len, |_| Ok::<_, ()>(len)).unwrap())
    }

    #[test]
    fn the_same_slot_serves_while_filters_are_quick() {
        let mut intake = Intake::for_streams(4, 64).unwrap();
        for _ in 0..100 {
            assert!(read(&mut intake, 60).is_some());
            assert_eq!(intake.pool().free(), 3, "one slot is held, no more");
        }
    }

    #[test]
    fn all_of_the_memory_is_used_before_anyone_starves() {
        let mut intake = Intake::for_streams(2, 64).unwrap();
        let kept: Vec<_> = (0..).map_while(|_| read(&mut intake, 1)).collect();
        // The first slot is left while a quarter of it has room, the last is filled to the brim.
        assert_eq!(kept.len(), 49 + 64);
        intake.starve(SockId(netproc_core::slots::Key::new(0, 1)));
        assert_eq!(intake.fed(), 0);
        drop(kept);
        assert_eq!(intake.fed(), 1);
    }

    #[test]
    fn a_packet_finds_its_whole_length_or_waits() {
        let mut intake = Intake::for_packets(2, 64).unwrap();
        let kept = [read(&mut intake, 1), read(&mut intake, 1)];
        assert!(intake.slot().is_none(), "both are guarded, if only for a byte");
        drop(kept);
        assert_eq!(intake.slot().map(|slot| slot.room()), Some(64));
    }
}
