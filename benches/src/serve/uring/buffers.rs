//! A short ring of incremental buffers (`IOU_PBUF_RING_INC`, Linux 6.12): small messages pack densely,
//! large ones come in one piece, and all of it stays in cache.
//!
//! Invariant: a buffer goes back to the kernel only when the kernel is done filling it and every
//! chunk of it has been released.

use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

use super::Chunk;

pub(super) const GROUP: u16 = 0;
const BUFFERS: u16 = 4;
/// `IOU_PBUF_RING_INC` of `<linux/io_uring.h>`, which the crate keeps to itself.
const INCREMENTAL: u16 = 2;
const PAGE: usize = 4096;

pub(super) fn zeroed_pages(len: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(len, PAGE).expect("a small size");
    assert!(len > 0, "a size is asked for");
    // SAFETY: the length is not zero, as was just checked.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A registered ring of buffers: where it begins, and how many entries were ever put into it.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    /// A power of two.
    len: u16,
    tail: u16,
}

impl BufferRing {
    pub(super) fn register(ring: &IoUring, len: u16, flags: u16) -> io::Result<Self> {
        let bytes = usize::from(len) * size_of::<BufRingEntry>();
        let entries = zeroed_pages(bytes.next_multiple_of(PAGE)).cast::<BufRingEntry>();
        let address = entries.as_ptr() as u64;
        let submitter = ring.submitter();
        // SAFETY: the pages hold `len` entries and are never freed.
        unsafe { submitter.register_buf_ring_with_flags(address, len, GROUP, flags) }?;
        Ok(Self { entries, len, tail: 0 })
    }

    /// Gives a buffer that is not in the ring, `len` bytes from `start`, to the kernel.
    pub(super) fn provide(&mut self, index: u16, start: NonNull<u8>, len: u32) {
        // SAFETY: the masked position is one of the entries.
        let entry = unsafe { self.entries.add(usize::from(self.tail & (self.len - 1))) };
        // SAFETY: the kernel does not read entries at or behind the tail, and no more than all
        // buffers are before it. The tail lies in a field none of the setters below touches.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(len);
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the pointer is that of the first entry of a registered ring, in zeroed memory.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 in memory that is never freed, and the kernel only
        // reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// What the server knows of one buffer.
#[derive(Clone, Copy, Default)]
struct Buffer {
    /// Bytes the kernel has filled, from the front.
    filled: u32,
    /// Chunks not released yet.
    chunks: u32,
    /// The kernel will fill no more of it.
    full: bool,
}

/// The buffers and their memory, never freed: both live as long as the process.
pub(super) struct Buffers {
    ring: BufferRing,
    memory: NonNull<u8>,
    len: u32,
    state: [Buffer; BUFFERS as usize],
}

impl Buffers {
    /// Buffers of `len` bytes each.
    pub(super) fn register(ring: &IoUring, len: u32) -> io::Result<Self> {
        let ring = BufferRing::register(ring, BUFFERS, INCREMENTAL)?;
        let memory = zeroed_pages(usize::from(BUFFERS) * len as usize);
        let state = [Buffer::default(); BUFFERS as usize];
        let mut buffers = Self { ring, memory, len, state };
        for index in 0..BUFFERS {
            buffers.provide(index);
        }
        Ok(buffers)
    }

    fn start(&self, index: u16) -> NonNull<u8> {
        // SAFETY: `index` is below `BUFFERS`, so the result is inside the allocation.
        unsafe { self.memory.add(usize::from(index) * self.len as usize) }
    }

    fn provide(&mut self, index: u16) {
        self.state[usize::from(index)] = Buffer::default();
        self.ring.provide(index, self.start(index), self.len);
    }

    /// Whether the kernel has a buffer with room.
    pub(super) fn is_any_lent(&self) -> bool {
        self.state.iter().any(|buffer| !buffer.full)
    }

    /// Accounts for `len` bytes that the kernel put into a buffer.
    pub(super) fn filled(&mut self, index: u16, len: u32, more: bool) -> Chunk {
        let start = self.start(index);
        let buffer = &mut self.state[usize::from(index)];
        // SAFETY: what the kernel fills of a buffer lies inside it.
        let start = unsafe { start.add(buffer.filled as usize) };
        buffer.filled += len;
        buffer.chunks += 1;
        buffer.full = !more;
        Chunk { start, len, index: Some(index) }
    }

    /// A chunk is no longer needed.
    pub(super) fn release(&mut self, chunk: &Chunk) {
        let Some(index) = chunk.index else { return };
        let buffer = &mut self.state[usize::from(index)];
        buffer.chunks -= 1;
        if buffer.chunks == 0 && buffer.full {
            self.provide(index);
        }
    }
}
