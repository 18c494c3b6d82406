//! Receive memory: a pool of equal slots, and [`Buf`], a counted guard over part of one.
//!
//! Invariant: the bytes under a `Buf` are written before the guard exists and never again while it
//! lives, but through itself and only if no other guard is over them. A backend holds a slot as a
//! [`Slot`] and fills it from the front; each filling may become a guard; the slot is free again when
//! the backend has let go of it *and* the last guard is gone. Free slots come back most recently used
//! first, so the working set stays in cache however large the pool is; memory never touched costs
//! only address space.
//!
//! Core's other unsafe code is for single calls of the system, in `socket.rs` and below it. What to do with a
//! full pool is the backends' affair.

#![expect(unsafe_code, reason = "guards alias memory that kernels write; argued at each block")]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
    ptr::NonNull,
    rc::{Rc, Weak},
    slice,
};

pub use shared::SharedSlot;

/// Set in a slot's count while a backend holds it as a [`Slot`].
const HELD: u32 = 1 << 31;
const PAGE: usize = 4096;

struct Inner {
    /// What the allocator gave.
    block: NonNull<u8>,
    layout: Layout,
    /// Where the first slot begins: the first page boundary in the block.
    base: NonNull<u8>,
    slot_len: u32,
    heads: Box<[Head]>,
    /// Slots nobody has, the most recently freed last.
    free: RefCell<Vec<u16>>,
    /// Slots with at least one guard.
    guarded: Cell<u16>,
    /// More than half of the slots have.
    scarce: Cell<bool>,
    /// Itself, as long as there is such a slot: so a guard needs not be counted twice, once for its
    /// slot and once for the pool.
    kept: RefCell<Option<Rc<Self>>>,
    spilled: Cell<u64>,
    leaked: Cell<bool>,
}

impl Inner {
    /// Counts the slots with guards, of which one is more or one less.
    fn set_guarded(&self, guarded: u16) {
        self.guarded.set(guarded);
        self.scarce.set(usize::from(guarded) * 2 > self.heads.len());
    }

    /// A slot gets its first guard: once for all the messages that will lie in it.
    #[inline(never)]
    fn guard_another_slot(self: &Rc<Self>) {
        let before = self.guarded.get();
        self.set_guarded(before + 1);
        if before == 0 {
            self.kept.replace(Some(Rc::clone(self)));
        }
    }

    fn let_go(&self, slot: u16) {
        let count = &self.heads[usize::from(slot)].count;
        debug_assert!(count.get() & HELD != 0, "only a held slot is let go");
        let left = count.get() & !HELD;
        count.set(left);
        if left == 0 {
            self.free.borrow_mut().push(slot);
        }
    }
}

/// What is known of one slot, or of bytes on the heap.
struct Head {
    /// How many guards it has, plus [`HELD`].
    count: Cell<u32>,
    index: u16,
    /// What it is a part of; nothing if it is that of bytes on the heap.
    pool: Option<NonNull<Inner>>,
}

impl Head {
    #[inline]
    fn pool(&self) -> Option<&Inner> {
        // SAFETY: a head that has a pool is a part of it, made with it and gone with it.
        self.pool.map(|pool| unsafe { pool.as_ref() })
    }

    #[inline]
    fn guards(&self) -> u32 {
        self.count.get() & !HELD
    }

    /// Counts one more guard.
    #[inline(always)]
    fn add_guard(&self) {
        let count = self.count.get().wrapping_add(1);
        if count & !HELD == 0 {
            // Only guards forgotten by the billion get here; one more would count as none.
            std::process::abort();
        }
        self.count.set(count);
    }

    /// Counts the last guard of a slot out. What it returns may be the last that keeps the pool: it is
    /// for the caller to drop, when it has let go of this.
    fn free(&self, pool: &Inner) -> Option<Rc<Inner>> {
        pool.set_guarded(pool.guarded.get() - 1);
        if self.count.get() == 0 {
            pool.free.borrow_mut().push(self.index);
        }
        if pool.guarded.get() == 0 { pool.kept.take() } else { None }
    }
}

/// Bytes on the heap. Their head comes first, so that what points to the one points to the other.
#[repr(C)]
struct Lone {
    head: Head,
    /// Of a boxed slice.
    bytes: NonNull<[u8]>,
}

impl Drop for Lone {
    fn drop(&mut self) {
        // SAFETY: the bytes were boxed when this was made, and the last guard over them has gone.
        drop(unsafe { Box::from_raw(self.bytes.as_ptr()) });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        debug_assert_eq!(self.guarded.get(), 0, "a guard keeps its pool");
        if !self.leaked.get() {
            // SAFETY: `block` came from `alloc_zeroed` with this very layout; the last `Rc` is
            // going, so no slot and no pool handle is left to reach it, and no guard, since as long
            // as there is one there is an `Rc` in `kept`.
            unsafe { dealloc(self.block.as_ptr(), self.layout) };
        }
    }
}

/// Why a pool cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Fewer than 2 or more than 32,768 slots were asked for.
    #[error("a pool has 2 to 32768 slots, not {0}")]
    Slots(u16),
    /// A slot shorter than 64 bytes or longer than 1 GiB was asked for.
    #[error("a slot has 64 to 1073741824 bytes, not {0}")]
    SlotLen(u32),
    /// The system has not that much address space to give.
    #[error("no memory for {0} bytes of receive slots")]
    Memory(usize),
}

/// The receive memory of one reactor. Cheap to clone: every clone is the same pool.
///
/// # Examples
///
/// ```
/// use netproc_core::pool::Pool;
///
/// let pool = Pool::new(4, 1024)?;
/// let mut slot = pool.take().expect("a fresh pool has slots");
/// let buf = slot.fill(1024, |room| { room[..5].copy_from_slice(b"hello"); Ok::<_, ()>(5) }).unwrap();
/// drop(slot);
/// assert_eq!(&buf[..], b"hello");
/// assert_eq!(pool.free(), 3, "the guard keeps its slot");
/// drop(buf);
/// assert_eq!(pool.free(), 4);
/// # Ok::<(), netproc_core::pool::PoolError>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

impl Pool {
    /// Reserves `slots` slots of `slot_len` bytes each, zeroed, page-aligned.
    ///
    /// # Errors
    ///
    /// [`PoolError`] for a size out of range or memory the system does not give.
    pub fn new(slots: u16, slot_len: u32) -> Result<Self, PoolError> {
        if !(2..=32_768).contains(&slots) {
            return Err(PoolError::Slots(slots));
        }
        if !(64..=1 << 30).contains(&slot_len) {
            return Err(PoolError::SlotLen(slot_len));
        }
        let bytes = usize::from(slots).checked_mul(slot_len as usize);
        let bytes = bytes.filter(|bytes| bytes.checked_add(PAGE).is_some());
        let bytes = bytes.ok_or(PoolError::Memory(usize::MAX))?;
        // A page more, and aligned by hand: asked for page alignment, the allocator would clear the
        // block itself, and memory never touched would cost more than address space.
        let layout = Layout::array::<u8>(bytes + PAGE).map_err(|_| PoolError::Memory(bytes))?;
        // SAFETY: the layout is not of size zero: both factors were checked above.
        let block =
            NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(PoolError::Memory(bytes))?;
        let skip = block.align_offset(PAGE);
        // SAFETY: a page boundary is less than a page away, and the block is a page longer than the
        // slots.
        let base = unsafe { block.add(skip) };
        Ok(Self {
            inner: Rc::new_cyclic(|pool| Inner {
                block,
                layout,
                base,
                slot_len,
                heads: heads(slots, pool),
                free: RefCell::new((0..slots).rev().collect()),
                guarded: Cell::new(0),
                scarce: Cell::new(false),
                kept: RefCell::new(None),
                spilled: Cell::new(0),
                leaked: Cell::new(false),
            }),
        })
    }

    /// Takes the most recently freed slot for a backend to fill; `None` when all are in use.
    #[must_use]
    pub fn take(&self) -> Option<Slot> {
        let index = self.inner.free.borrow_mut().pop()?;
        let head = &self.inner.heads[usize::from(index)];
        debug_assert_eq!(head.count.get(), 0, "a free slot has no guard and no holder");
        head.count.set(HELD);
        let offset = usize::from(index) * self.inner.slot_len as usize;
        debug_assert!(offset + PAGE < self.inner.layout.size(), "inside the pool");
        // SAFETY: the block begins less than a page before the base and is a page longer than all the
        // slots, of which this is one.
        let start = unsafe { self.inner.base.add(offset) };
        let head = Link(NonNull::from(head));
        let len = self.inner.slot_len;
        Some(Slot { pool: Rc::clone(&self.inner), head, start, len, filled: 0 })
    }

    /// How many slots there are.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "made from a u16")]
    pub fn slots(&self) -> u16 {
        self.inner.heads.len() as u16
    }

    /// How many bytes a slot has.
    #[must_use]
    pub fn slot_len(&self) -> u32 {
        self.inner.slot_len
    }

    /// How many slots nobody has.
    #[must_use]
    pub fn free(&self) -> usize {
        self.inner.free.borrow().len()
    }

    /// How many slots at least one [`Buf`] keeps.
    #[must_use]
    pub fn guarded(&self) -> u16 {
        self.inner.guarded.get()
    }

    /// How many guards were copied to the heap because slots were scarce.
    #[must_use]
    pub fn spilled(&self) -> u64 {
        self.inner.spilled.get()
    }

    /// Gives the memory up for good: it is never freed, even when every handle is gone.
    ///
    /// The last resort of a backend that could not make the kernel let go of it.
    pub fn leak(&self) {
        self.inner.leaked.set(true);
    }
}

/// The heads of a pool that is being made.
fn heads(slots: u16, pool: &Weak<Inner>) -> Box<[Head]> {
    let pool = NonNull::new(pool.as_ptr().cast_mut()).expect("a pool is somewhere");
    let pool = Some(pool);
    (0..slots).map(|index| Head { count: Cell::new(0), index, pool }).collect()
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("slots", &self.slots())
            .field("slot_len", &self.slot_len())
            .field("free", &self.free())
            .field("guarded", &self.guarded())
            .finish_non_exhaustive()
    }
}

/// A slot in the hands of a backend: the only way to write receive memory.
///
/// Filled from the front; what was filled belongs to guards, the rest to whoever holds this.
/// Dropping it lets the slot go; it is free once its guards are gone too.
pub struct Slot {
    pool: Rc<Inner>,
    head: Link,
    start: NonNull<u8>,
    len: u32,
    /// Bytes from the front that guards may cover.
    filled: u32,
}

impl Slot {
    /// Which slot of its pool this is.
    #[must_use]
    #[inline]
    pub fn index(&self) -> u16 {
        self.head.index
    }

    /// How many bytes are still to be filled.
    #[must_use]
    #[inline]
    pub fn room(&self) -> u32 {
        self.len - self.filled
    }

    /// Starts again at the front if no guard is left; returns whether it did.
    ///
    /// For a backend whose kernel does not hold the slot: the same warm memory, again.
    #[inline]
    pub fn rewind(&mut self) -> bool {
        let sole = self.head.guards() == 0;
        if sole {
            self.filled = 0;
        }
        sole
    }

    /// Lets `read` write at most `len_max` bytes into the room left and guards what it wrote.
    ///
    /// # Errors
    ///
    /// What `read` returns; nothing is filled then.
    ///
    /// # Panics
    ///
    /// Panics when `read` claims more bytes than it was given room for.
    #[inline(always)]
    pub fn fill<E>(
        &mut self,
        len_max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Buf, E> {
        let len = (self.room() as usize).min(len_max);
        let start = self.room_ptr();
        // SAFETY: the range lies inside this slot, behind every byte a guard covers, and this
        // unique `Slot` is the only other way to it; the memory was zeroed when it was allocated.
        let room = unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) };
        let wrote = read(room)?;
        if wrote > len {
            overfilled(wrote, len);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most `room`, a u32")]
        // SAFETY: `read` wrote into the slice above, inside the room, and its borrow is over.
        Ok(unsafe { self.guard_within(wrote as u32) })
    }

    /// Where the room left begins: what a backend tells its kernel.
    #[must_use]
    #[inline]
    pub fn room_ptr(&mut self) -> NonNull<u8> {
        debug_assert!(self.filled <= self.len, "inside the slot");
        // SAFETY: `filled` never passes `len`, so the result is inside the slot or one past its
        // end.
        unsafe { self.start.add(self.filled as usize) }
    }

    /// Guards the next `len` bytes of the room, which a kernel has written.
    ///
    /// # Safety
    ///
    /// Those bytes must not be written any more until the guard is gone: the kernel has completed
    /// the operation that wrote them, and whatever it still does with the slot lies behind them.
    ///
    /// # Panics
    ///
    /// Panics when `len` passes the room, which only a wrong completion could cause.
    #[must_use]
    #[inline(always)]
    pub unsafe fn guard(&mut self, len: u32) -> Buf {
        if len > self.room() {
            overfilled(len as usize, self.room() as usize);
        }
        // SAFETY: the room has so many bytes, and the caller has promised the rest.
        unsafe { self.guard_within(len) }
    }

    /// Guards the next `len` bytes of the room.
    ///
    /// # Safety
    ///
    /// As for [`guard`](Self::guard), and the room must have so many bytes.
    #[inline(always)]
    unsafe fn guard_within(&mut self, len: u32) -> Buf {
        if self.head.guards() == 0 {
            self.pool.guard_another_slot();
        }
        self.head.add_guard();
        let start = self.room_ptr();
        self.filled += len;
        Buf { start, head: self.head, len, sole: Cell::new(true) }
    }
}

/// Apart, and with numbers instead of references to them, which would have to lie in memory.
#[cold]
#[inline(never)]
fn overfilled(claimed: usize, room: usize) -> ! {
    panic!("a read claims {claimed} bytes where there was room for {room}")
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.let_go(self.head.index);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({}, room {})", self.index(), self.room())
    }
}

/// How slots and guards reach what they count in.
#[derive(Clone, Copy)]
struct Link(NonNull<Head>);

impl Deref for Link {
    type Target = Head;

    #[inline]
    fn deref(&self) -> &Head {
        // SAFETY: it points into a pool or to the head of a `Lone`. A slot that has one of these has an
        // `Rc` of its pool as well; of guards `kept` is an `Rc` as long as there is one, and so is the
        // `Lone` there: it lives until the last is counted out.
        unsafe { self.0.as_ref() }
    }
}

impl Link {
    /// Counts a guard out; whoever holds this for it lets go of it.
    #[inline(always)]
    fn drop_guard(self) {
        self.count.set(self.count.get() - 1);
        if self.guards() == 0 {
            self.drop_last_guard();
        }
    }

    /// No system call and no touch of the memory: the number goes back to the pool's list.
    #[inline(never)]
    fn drop_last_guard(self) {
        if let Some(pool) = self.pool() {
            let kept = self.free(pool);
            return drop(kept);
        }
        // SAFETY: a head without a pool is the first field of a `Lone` that was boxed, and this pointer
        // is the box's; the last guard is gone, so nobody else has it.
        drop(unsafe { Box::from_raw(self.0.cast::<Lone>().as_ptr()) });
    }
}

/// Received bytes: a counted guard over part of a pool slot, or over a copy on the heap.
///
/// Cloning and slicing copy no byte. Reads as `[u8]`. Stays on its thread; copy to cross.
///
/// # Examples
///
/// ```
/// use netproc_core::pool::Buf;
///
/// let line = Buf::copied(b"GET /index");
/// let path = line.slice(4..10);
/// assert_eq!(&path[..], b"/index");
/// assert_eq!(line.clone(), line);
/// ```
pub struct Buf {
    start: NonNull<u8>,
    /// Of what keeps the bytes.
    head: Link,
    len: u32,
    /// No other guard covers a byte of these: it was never cloned or sliced.
    sole: Cell<bool>,
}

impl Buf {
    /// Copies `bytes` to the heap.
    ///
    /// # Panics
    ///
    /// Panics past 4 GiB, more than one read ever brings.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }

    /// A guard over a part of the same memory.
    ///
    /// # Panics
    ///
    /// Panics when the range passes the end, as slicing does.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a part of a length that is a u32")]
        let len = self[range.clone()].len() as u32;
        // SAFETY: the indexing above has checked the range against the bytes behind `start`.
        let start = unsafe { self.start.add(range.start) };
        self.share(start, len)
    }

    /// Another guard over a part of the same memory, which the caller sees to.
    fn share(&self, start: NonNull<u8>, len: u32) -> Self {
        self.sole.set(false);
        self.head.add_guard();
        Self { start, head: self.head, len, sole: Cell::new(false) }
    }

    /// The bytes for change, if no other guard is over any of them: to decrypt in place.
    ///
    /// What one read brought can be changed until it is cloned or sliced, whoever has other parts of
    /// its slot; after that, only the last guard of the slot can.
    #[must_use]
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        if !(self.sole.get() || self.head.guards() == 1) {
            return None;
        }
        // SAFETY: no other guard is over these bytes: there is none of this memory, or each has what
        // another read brought, since reads never overlap and what would, a clone or a slice, ends
        // `sole` for both. A `Slot` only writes behind what it has guarded.
        Some(unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) })
    }

    /// Copies to the heap and frees the slot if more than half of the pool's slots are guarded.
    ///
    /// Whoever *stores* a `Buf` calls this: without it one reader that never reads would pin the
    /// whole pool, and every other connection would starve.
    #[inline]
    pub fn spill_if_scarce(&mut self) {
        if self.is_scarce() {
            self.spill();
        }
    }

    /// Whether it would be copied then.
    #[inline]
    pub(crate) fn is_scarce(&self) -> bool {
        self.head.pool().is_some_and(|pool| pool.scarce.get())
    }

    #[cold]
    fn spill(&mut self) {
        if let Some(pool) = self.head.pool() {
            pool.spilled.set(pool.spilled.get() + 1);
        }
        *self = Self::copied(self);
    }

    /// Whether the bytes are in a pool slot, not in a copy.
    #[must_use]
    pub fn in_slot(&self) -> bool {
        self.head.pool.is_some()
    }
}

impl Clone for Buf {
    fn clone(&self) -> Self {
        self.share(self.start, self.len)
    }
}

impl Drop for Buf {
    #[inline(always)]
    fn drop(&mut self) {
        self.head.drop_guard();
    }
}

/// Takes the bytes over; they are copied only if the vector has room for more.
///
/// # Panics
///
/// Panics past 4 GiB, more than one read ever brings.
impl From<Vec<u8>> for Buf {
    fn from(bytes: Vec<u8>) -> Self {
        let len = u32::try_from(bytes.len()).expect("a buffer is shorter than 4 GiB");
        let bytes = NonNull::from(Box::leak(bytes.into_boxed_slice()));
        let head = Head { count: Cell::new(1), index: 0, pool: None };
        let lone = NonNull::from(Box::leak(Box::new(Lone { head, bytes })));
        Self { start: bytes.cast(), head: Link(lone.cast()), len, sole: Cell::new(true) }
    }
}

impl Deref for Buf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: this guard keeps the memory alive and `start` and `len` lie inside it; nobody writes
        // these bytes while a guard exists (`get_mut` needs the only one over them, mutably).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl AsRef<[u8]> for Buf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Buf {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buf {}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

mod shared;
#[cfg(test)]
mod tests;
