//! Rings of provided buffers over core's pool: which slots the kernel has, and who waits for one.
//!
//! Invariant: a slot in `slots` is the kernel's to write until the completion that says it is done
//! with it; what was completed is behind a guard and never written again. The kernel has few slots at
//! a time, the most recently freed first, so that its working set stays in cache: who finds none waits
//! for a turn, which costs less than memory that has left the cache.

#![expect(unsafe_code, reason = "shares slots and a ring of entries with the kernel")]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::VecDeque,
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::types::{BufRingEntry, IOU_PBUF_RING_INC};
use netproc_core::{
    pool::{Buf, Pool, Slot},
    slots::Key,
};

use crate::{
    cqe::Completion,
    lending::{Lending, Turns},
    ring::Ring,
};

const PAGE: usize = 4096;

/// The ring's memory, shared with the kernel while registered.
struct Entries {
    base: NonNull<BufRingEntry>,
    layout: Layout,
}

impl Entries {
    fn new(count: u16) -> io::Result<Self> {
        let layout = Layout::array::<BufRingEntry>(usize::from(count))
            .and_then(|layout| layout.align_to(PAGE))
            .map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // SAFETY: the layout is not of size zero: a group has at least two entries.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }.cast());
        base.map(|base| Self { base, layout })
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    fn write(&mut self, at: u16, slot: &mut Slot) {
        // SAFETY: `at` is below the count, as it was masked with it.
        let entry = unsafe { self.base.add(usize::from(at)) };
        // SAFETY: behind the tail the kernel reads nothing, and `&mut self` is the only other way
        // here; the memory was zeroed. Only the three fields are written, since the tail lies in
        // the fourth of the first entry.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(slot.room_ptr().as_ptr().expose_provenance() as u64);
        entry.set_len(slot.room());
        entry.set_bid(slot.index());
    }

    fn publish(&mut self, tail: u16) {
        // SAFETY: the base is the first entry of an initialised ring.
        let place = unsafe { BufRingEntry::tail(self.base.as_ptr()) };
        // SAFETY: the tail is two aligned bytes inside the ring; the kernel reads it atomically.
        let shared = unsafe { AtomicU16::from_ptr(place.cast_mut()) };
        shared.store(tail, Ordering::Release);
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout. Whoever drops this has unregistered the ring, or is a
        // forked child with a copy of its own.
        unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
    }
}

/// One group of provided buffers.
pub(crate) struct BufferGroup {
    id: u16,
    pool: Pool,
    incremental: bool,
    /// `None` once its memory was left to the kernel.
    entries: Option<Entries>,
    mask: u16,
    tail: u16,
    /// What the kernel has, by buffer number, which is the slot's index in its pool.
    slots: Box<[Option<Slot>]>,
    held: u16,
    lending: Lending,
    /// Who waits for a slot, oldest first, each once.
    starved: VecDeque<Key>,
    turns: Turns,
}

impl BufferGroup {
    /// Registers a group of buffers over `pool` and fills it.
    pub(crate) fn register(
        ring: &Ring,
        id: u16,
        pool: Pool,
        incremental: bool,
    ) -> io::Result<Self> {
        let count = pool.slots().next_power_of_two();
        let entries = Entries::new(count)?;
        let flags = if incremental { IOU_PBUF_RING_INC } else { 0 };
        let address = entries.base.as_ptr().expose_provenance() as u64;
        let flags = u16::try_from(flags).expect("a flag of a 16-bit field");
        // SAFETY: the entries are zeroed memory of `count` entries, page-aligned, and stay until
        // `unregister` succeeds or for ever.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, id, flags) }?;
        let mut group = Self {
            id,
            incremental,
            entries: Some(entries),
            mask: count - 1,
            tail: 0,
            slots: (0..pool.slots()).map(|_| None).collect(),
            held: 0,
            lending: Lending::new(pool.slots(), pool.slot_len(), incremental),
            starved: VecDeque::new(),
            turns: Turns::default(),
            pool,
        };
        group.refill();
        Ok(group)
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn is_incremental(&self) -> bool {
        self.incremental
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How many wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.starved.len()
    }

    /// Whether someone waits for a slot while the kernel has one, or could have.
    pub(crate) fn has_turns(&self) -> bool {
        !self.starved.is_empty() && (self.held > 0 || self.pool.free() > 0)
    }

    /// Whether a slot that comes free would be of use.
    pub(crate) fn is_short(&self) -> bool {
        self.lending.is_below(self.held) || !self.starved.is_empty()
    }

    /// Puts somebody on the list of those who wait for a slot; `turn` is what its last turn was stamped with.
    /// Whose turn was in vain just now stays the first.
    pub(crate) fn starve(&mut self, key: Key, turn: u32) {
        if self.turns.was_in_vain(turn) {
            self.starved.push_front(key);
        } else {
            self.starved.push_back(key);
        }
    }

    /// Whether who wants a slot has to wait for a turn: there is none, others wait, or turns go round.
    pub(crate) fn has_line(&self) -> bool {
        let round = self.lending.is_scarce() && self.turns.go_round();
        self.held == 0 || !self.starved.is_empty() || round
    }

    /// Whether what somebody's last turn was stamped with is of this poll.
    pub(crate) fn is_turn(&self, turn: u32) -> bool {
        self.turns.is_current(turn)
    }

    /// Begins a poll: returns how many turns to give in it.
    pub(crate) fn begin_turns(&mut self) -> u16 {
        let likely = self.turns.begin(self.held);
        // Where each receive takes a whole slot there is nothing to learn.
        if self.incremental { likely } else { self.held }
    }

    /// The one whose turn it is, if any, with what to stamp it with if it takes it.
    pub(crate) fn next_turn(&mut self) -> Option<(Key, u32)> {
        Some((self.starved.pop_front()?, self.turns.number()))
    }

    /// A turn was taken.
    pub(crate) fn note_turn(&mut self) {
        self.turns.note_taken();
    }

    /// Gives the kernel free slots up to its share: at the start of a poll, with one tail store.
    pub(crate) fn refill(&mut self) {
        self.lending.begin_poll(self.held, self.starved.len());
        let Some(entries) = &mut self.entries else { return };
        let before = self.tail;
        while self.lending.is_below(self.held)
            && let Some(mut slot) = self.pool.take()
        {
            let index = usize::from(slot.index());
            entries.write(self.tail & self.mask, &mut slot);
            self.slots[index] = Some(slot);
            self.tail = self.tail.wrapping_add(1);
            self.held += 1;
        }
        self.lending.note_lent(self.held);
        if self.tail != before {
            entries.publish(self.tail);
        }
    }

    /// Guards what a completion brought into a slot that the kernel goes on to fill. `None` leaves it to
    /// [`complete`](Self::complete).
    #[inline(always)]
    pub(crate) fn complete_part(&mut self, completion: &Completion) -> Option<Buf> {
        if !(self.incremental && completion.goes_on()) {
            return None;
        }
        let slot = self.slots.get_mut(usize::from(completion.buffer()?))?.as_mut()?;
        let len = completion.result.unsigned_abs();
        if len > slot.room() {
            return None;
        }
        self.lending.add_receive();
        // SAFETY: the kernel has completed writing these bytes and goes on behind them, or elsewhere.
        Some(unsafe { slot.guard(len) })
    }

    /// Guards what a completion brought, and takes the slot back if the kernel is done with it.
    ///
    /// `None` for a completion without a buffer, and for one that names a buffer it cannot mean.
    pub(crate) fn complete(&mut self, completion: &Completion) -> Option<Buf> {
        let index = completion.buffer()?;
        let slot = self.slots.get_mut(usize::from(index))?.as_mut()?;
        let len = completion.result.max(0).unsigned_abs();
        if len > slot.room() {
            self.take_back_after(completion, index);
            return None;
        }
        // SAFETY: the kernel has completed writing these bytes; in a ring of incremental buffers
        // it goes on behind them, in any other it is done with the slot.
        let buf = unsafe { slot.guard(len) };
        self.lending.add_receive();
        if self.incremental && completion.buffer_more() {
            return Some(buf);
        }
        self.take_back(index);
        Some(buf)
    }

    #[cold]
    fn take_back_after(&mut self, completion: &Completion, index: u16) {
        if !(self.incremental && completion.buffer_more()) {
            self.take_back(index);
        }
    }

    /// The kernel is done with a slot: once for all the messages in it.
    fn take_back(&mut self, index: u16) {
        self.slots[usize::from(index)] = None;
        self.held -= 1;
        self.lending.end_slot();
    }

    /// Takes the ring back from the kernel; its slots return to the pool.
    ///
    /// # Errors
    ///
    /// The kernel keeps it; [`leak`](Self::leak) it then.
    pub(crate) fn unregister(&mut self, ring: &Ring) -> io::Result<()> {
        ring.submitter().unregister_buf_ring(self.id)
    }

    /// Gives memory up that the kernel may still write.
    pub(crate) fn leak(&mut self) {
        self.pool.leak();
        if let Some(entries) = self.entries.take() {
            // The kernel may still write both; never freed.
            Box::leak(Box::new(entries));
        }
    }
}
