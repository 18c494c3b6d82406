//! Where received bytes go: one pool, the slot being filled, and who waits for memory.
//!
//! Invariant: a socket waits here only while there was nothing to read into.

use std::collections::VecDeque;

use netproc_core::{
    pool::{Pool, PoolError, SharedSlot, Slot},
    reactor::{Op, SockId, SysError},
};

#[derive(Debug)]
pub(crate) struct Intake {
    shared: SharedSlot,
    starving: VecDeque<SockId>,
}

impl Intake {
    pub(crate) fn for_streams(slots: u16, slot_len: u32) -> Result<Self, SysError> {
        Ok(Self::new(SharedSlot::for_streams(pool(slots, slot_len)?)))
    }

    pub(crate) fn for_packets(slots: u16, slot_len: u32) -> Result<Self, SysError> {
        Ok(Self::new(SharedSlot::for_packets(pool(slots, slot_len)?)))
    }

    const fn new(shared: SharedSlot) -> Self {
        Self { shared, starving: VecDeque::new() }
    }

    /// A slot with room to read into; `None` when all memory is guarded.
    #[inline]
    pub(crate) fn slot(&mut self) -> Option<&mut Slot> {
        self.shared.slot()
    }

    /// A read has brought so many bytes.
    #[inline]
    pub(crate) const fn note(&mut self, len: usize) {
        self.shared.note(len);
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
        self.starving.len().min(1 + self.pool().free())
    }

    /// Who has waited longest.
    pub(crate) fn next_starving(&mut self) -> Option<SockId> {
        self.starving.pop_front()
    }

    pub(crate) const fn pool(&self) -> &Pool {
        self.shared.pool()
    }
}

fn pool(slots: u16, slot_len: u32) -> Result<Pool, SysError> {
    Pool::new(slots, slot_len).map_err(|err| {
        let memory = matches!(err, PoolError::Memory(_));
        SysError { op: Op::Open, errno: if memory { libc::ENOMEM } else { libc::EINVAL } }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_fed_when_guards_are_gone() {
        let mut intake = Intake::for_streams(2, 64).unwrap();
        let read = |intake: &mut Intake| {
            intake.slot().map(|slot| slot.fill(64, |room| Ok::<_, ()>(room.len())).unwrap())
        };
        let kept = [read(&mut intake), read(&mut intake)];
        assert!(read(&mut intake).is_none());
        intake.starve(SockId(netproc_core::slots::Key::new(0, 1)));
        assert_eq!(intake.fed(), 0);
        drop(kept);
        assert_eq!(intake.fed(), 1);
    }
}
