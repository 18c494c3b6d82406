//! The two queues shared with the kernel: pushing entries, entering, reaping, letting go.
//!
//! Invariant: every entry pushed was made by [`crate::sqe`] from memory that its owner keeps until the
//! operation's last completion was reaped, or leaks when the reactor must go before that. Nothing
//! here touches the shared memory in a forked child, where it is not even mapped. What a completion
//! means is for others to say.

#![expect(unsafe_code, reason = "shared queues and raw descriptors; argued at each block")]

use std::{
    collections::VecDeque,
    io,
    mem::ManuallyDrop,
    num::NonZeroUsize,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    ptr::NonNull,
    time::Duration,
};

use io_uring::{
    Builder, EnterFlags, IoUring, Submitter,
    types::{CancelBuilder, SubmitArgs, Timespec},
};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags};

use crate::{cqe::Completion, error::SetupError, patience::Patience, sqe::Sqe, token::OpKind};

/// `IORING_REGISTER_RING_FDS` and its opposite; io-uring keeps the index to itself.
const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;
/// Completion entries per submission entry: a multishot completes many times.
const COMPLETIONS_PER_ENTRY: u32 = 8;
const ENTRIES_MIN: u32 = 8;
/// The most the kernel gives (`IORING_MAX_ENTRIES`).
const ENTRIES_MAX: u32 = 32_768;
/// Attempts to make room in a full submission queue before an entry has to wait.
const ROOM_ATTEMPTS: u32 = 1000;
/// Longer than anybody waits: without an end of its own, or with one past what the kernel can count to, a
/// wait would be over when patience is.
const FAR: Duration = Duration::from_secs(1 << 25);

/// How long an enter may sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    No,
    /// Not at all, but all deferred work that there is runs: without anybody to wait for the kernel leaves what is
    /// more than some twenty pieces for later, and signals none of it.
    Look,
    For(Duration),
    Forever,
}

/// What a ring has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RingCounters {
    pub(crate) waits: u64,
    pub(crate) enters: u64,
    pub(crate) overflows: u64,
}

/// One io_uring instance and the completions reaped but not yet looked at.
pub(crate) struct Ring {
    /// Dropped in [`Drop`], unless in a forked child, where its addresses may be someone else's.
    uring: ManuallyDrop<IoUring>,
    /// What goes to `io_uring_enter` as descriptor, and the flags that go with it.
    enter_fd: RawFd,
    enter_flags: EnterFlags,
    /// Sends queued since the last enter.
    sends: u32,
    patience: Patience,
    /// What the last wait brought that was worth waiting for, if patience has not learnt from it yet.
    brought: Option<u32>,
    mark: ForkMark,
    /// Moved out of the shared queue before their time, to make room there.
    reaped: VecDeque<Completion>,
    pub(crate) counters: RingCounters,
    /// No entry finds room, as with a kernel that takes none.
    #[cfg(test)]
    pub(crate) refuses: bool,
}

impl Ring {
    /// Sets a ring up with the best flags the kernel takes and as many entries as memory allows, whose
    /// waits look for more than one completion for as long as `patience`.
    pub(crate) fn new(entries: u32, patience: Duration) -> Result<Self, SetupError> {
        Self::over(build(entries, &LADDER).map_err(SetupError::Setup)?, patience)
    }

    /// The same where the kernel runs no work of the ring's only when it is entered, as before Linux 6.1.
    #[cfg(test)]
    pub(crate) fn without_deferred_work(entries: u32) -> Result<Self, SetupError> {
        Self::over(build(entries, &LADDER[1..]).map_err(SetupError::Setup)?, Duration::ZERO)
    }

    fn over(uring: IoUring, patience: Duration) -> Result<Self, SetupError> {
        let mark = ForkMark::new().map_err(SetupError::ForkMark)?;
        let params = uring.params();
        if !(params.is_feature_ext_arg()
            && params.is_feature_nodrop()
            && params.is_feature_fast_poll())
        {
            let source = io::Error::from_raw_os_error(libc::ENOSYS);
            return Err(SetupError::Probe { what: "the features of Linux 5.11", source });
        }
        let mut enter_flags = EnterFlags::GETEVENTS;
        if params.is_feature_no_iowait() {
            // An idle server is not waiting for a disk, though the kernel would show it so.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let mut enter_fd = uring.as_raw_fd();
        if let Ok(index) = register_ring_fd(enter_fd) {
            enter_fd = index;
            enter_flags |= EnterFlags::REGISTERED_RING;
        }
        // Older kernels cannot wait for several completions for a while, and then be content with one.
        let patience = if params.is_feature_min_timeout() { patience } else { Duration::ZERO };
        let (reaped, counters) = (VecDeque::new(), RingCounters::default());
        let uring = ManuallyDrop::new(uring);
        let (sends, patience, brought) = (0, Patience::new(patience), None);
        Ok(Self {
            uring,
            enter_fd,
            enter_flags,
            sends,
            patience,
            brought,
            mark,
            reaped,
            counters,
            #[cfg(test)]
            refuses: false,
        })
    }

    /// Whether this is a forked child, to which the ring does not belong.
    pub(crate) fn in_child(&self) -> bool {
        self.mark.is_wiped()
    }

    /// For registering things with the ring.
    pub(crate) fn submitter(&self) -> Submitter<'_> {
        self.uring.submitter()
    }

    /// Whether completions wait to be taken.
    pub(crate) fn has_completions(&mut self) -> bool {
        !(self.reaped.is_empty() && self.uring.completion().is_empty())
    }

    /// Whether the kernel has taken every entry and everything it said was looked at.
    pub(crate) fn is_settled(&mut self) -> bool {
        let entries = self.uring.submission();
        let taken = entries.is_empty() && !entries.cq_overflow();
        drop(entries);
        taken && !self.has_completions()
    }

    /// Queues `entry`; `false` when the queue is full.
    #[inline]
    pub(crate) fn try_push(&mut self, entry: &Sqe) -> bool {
        #[cfg(test)]
        if self.refuses {
            return false;
        }
        // SAFETY: `sqe` makes entries only over descriptors and memory whose owner keeps them
        // until the operation's last completion, see the head of this file.
        unsafe { self.uring.submission().push(entry.entry()) }.is_ok()
    }

    /// Notes that the entry just queued sends something.
    #[inline]
    pub(crate) fn note_send(&mut self) {
        self.sends += 1;
    }

    /// Notes a completion that was of several packets at a time: those are a crowd already, and their sender
    /// likely waits for the answer to all of them.
    pub(crate) fn note_joined(&mut self) {
        self.brought = self.brought.map(|brought| brought.saturating_sub(1));
    }

    /// For how many completions the next wait looks that hands no sends over; `None` where the kernel knows
    /// no patience.
    #[cfg(test)]
    pub(crate) fn crowd(&self) -> Option<u32> {
        (self.patience.micros_within(FAR) > 0).then(|| self.patience.wanted(0))
    }

    /// Notes whom the next enter serves, in order.
    #[inline]
    pub(crate) fn serve(&mut self, batch: &[u32]) {
        if let Some(brought) = self.brought.take() {
            self.patience.learn(brought);
        }
        self.patience.serve(batch);
    }

    /// Queues `entry`; when the queue is full, the kernel gets what is there first. `false` when it takes
    /// nothing at the moment, as where it has no memory.
    ///
    /// # Errors
    ///
    /// The ring is unusable; the entry was not queued.
    pub(crate) fn push(&mut self, entry: &Sqe) -> io::Result<bool> {
        for _ in 0..ROOM_ATTEMPTS {
            if self.try_push(entry) {
                return Ok(true);
            }
            self.enter(Sleep::No)?;
            self.reap();
        }
        Ok(false)
    }

    /// Shows `short` at most `max` completions, oldest first, until it has not dealt with one. Returns
    /// how many it has, and that one. They are taken straight from the shared queue, which has their room
    /// back when this returns; one that was reaped before is not shown to it.
    #[inline(always)]
    pub(crate) fn take_short(
        &mut self,
        max: usize,
        mut short: impl FnMut(&Completion) -> bool,
    ) -> (usize, Option<Completion>) {
        if max > 0
            && let Some(first) = self.reaped.pop_front()
        {
            return (0, Some(first));
        }
        let mut queue = self.uring.completion();
        for count in 0..max {
            let Some(entry) = queue.next() else { return (count, None) };
            let completion = Completion::new(&entry);
            if !short(&completion) {
                return (count, Some(completion));
            }
        }
        (max, None)
    }

    /// Hands the kernel what is queued, runs its deferred work, and sleeps as told unless
    /// completions are there.
    ///
    /// A signal, a full completion queue and a time run out are no errors: reap and look.
    ///
    /// # Errors
    ///
    /// The ring is unusable.
    pub(crate) fn enter(&mut self, sleep: Sleep) -> io::Result<()> {
        let mut args = SubmitArgs::new();
        let sends = std::mem::take(&mut self.sends);
        let waits = matches!(sleep, Sleep::For(_) | Sleep::Forever);
        let wanted = match sleep {
            Sleep::No => 0,
            // As many as the queue has room for, in no time.
            Sleep::Look => self.uring.params().cq_entries(),
            Sleep::For(_) | Sleep::Forever => self.patience.wanted(sends),
        };
        // Patience needs an end behind it.
        let span = match sleep {
            Sleep::Look => Some(Duration::ZERO),
            Sleep::For(span) => Some(span.min(FAR)),
            Sleep::Forever if wanted > 1 => Some(FAR),
            Sleep::Forever | Sleep::No => None,
        };
        let time;
        if let Some(span) = span {
            time = Timespec::from(span);
            args = args.timespec(&time);
            if waits && wanted > 1 {
                // The kernel looks at the end only when patience is over.
                args = args.min_wait_usec(self.patience.micros_within(span));
            }
        }
        let queued = self.uring.submission().len();
        self.counters.waits += u64::from(waits);
        self.counters.enters += 1;
        // SAFETY: a plain system call; `args` and the time it points to outlive it, and the
        // entries up to the tail are whole, as `push` wrote them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                queued,
                wanted,
                (self.enter_flags | EnterFlags::EXT_ARG).bits(),
                &raw const args,
                size_of::<SubmitArgs<'_, '_>>(),
            )
        };
        let failed = (result < 0).then(io::Error::last_os_error);
        if self.uring.submission().cq_overflow() {
            self.counters.overflows += 1;
        }
        if waits {
            let completions = u32::try_from(self.uring.completion().len()).unwrap_or(u32::MAX);
            let brought = completions.saturating_sub(sends);
            // One that was over with its sends says nothing of who comes.
            let waited = wanted > 1 || sends == 0 || brought > 0;
            self.brought = waited.then_some(brought);
        }
        let Some(err) = failed else { return Ok(()) };
        match err.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(err),
        }
    }

    /// Moves every completion there is out of the shared queue, which thereby has room again.
    pub(crate) fn reap(&mut self) {
        self.reaped.extend(self.uring.completion().map(|entry| Completion::new(&entry)));
    }

    /// Takes the oldest completion, straight from the shared queue unless others were reaped before.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Completion> {
        if !self.reaped.is_empty() {
            return self.reaped.pop_front();
        }
        self.uring.completion().next().map(|entry| Completion::new(&entry))
    }

    /// Throws the reaped completions of `kind` away; returns how many operations they ended.
    pub(crate) fn discard(&mut self, kind: OpKind) -> u64 {
        let before = self.reaped.len();
        self.reaped.retain(|completion| completion.token.kind() != Some(kind));
        (before - self.reaped.len()) as u64
    }

    /// Cancels everything in the kernel, waiting at most `within`.
    pub(crate) fn cancel_everything(&self, within: Duration) {
        // What cannot be cancelled shows in the completions that do not come.
        let _ = self
            .submitter()
            .register_sync_cancel(Some(Timespec::from(within)), CancelBuilder::any());
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.in_child() {
            // The mappings were not inherited, so their addresses may belong to others by now: only
            // the descriptor goes, which keeps the parent's ring alive otherwise.
            // SAFETY: the child owns its copy of the descriptor and never uses the ring again.
            drop(unsafe { OwnedFd::from_raw_fd(self.uring.as_raw_fd()) });
            return;
        }
        if self.enter_flags.contains(EnterFlags::REGISTERED_RING) {
            // A registered descriptor is a reference of this thread's: it would keep the ring.
            unregister_ring_fd(self.uring.as_raw_fd(), self.enter_fd);
        }
        // SAFETY: dropped here only, and `self` is going: nobody uses it afterwards.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
    }
}

impl Completion {
    /// The descriptor that a completed accept brings, closed when nobody wants it.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        if self.token.kind() != Some(OpKind::Accept) || self.result < 0 {
            return None;
        }
        // SAFETY: the kernel made this descriptor for this completion, which exists once and is
        // consumed here, so nobody else owns it.
        Some(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// Flags to set a ring up with, the better ones first.
const LADDER: [fn(&mut Builder); 4] = [
    |ring| {
        ring.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    },
    |ring| {
        ring.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
    },
    |ring| {
        ring.setup_submit_all();
    },
    |_| {},
];

/// The best ring to be had: better flags first, fewer entries when memory is short.
fn build(entries: u32, ladder: &[fn(&mut Builder)]) -> io::Result<IoUring> {
    let mut entries = entries.clamp(ENTRIES_MIN, ENTRIES_MAX).next_power_of_two();
    loop {
        match build_ladder(entries, ladder) {
            Err(err) if err.raw_os_error() == Some(libc::ENOMEM) && entries > ENTRIES_MIN => {
                entries /= 2;
            }
            other => return other,
        }
    }
}

fn build_ladder(entries: u32, ladder: &[fn(&mut Builder)]) -> io::Result<IoUring> {
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for step in ladder {
        let mut ring = IoUring::builder();
        ring.dontfork().setup_clamp();
        ring.setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_ENTRY));
        step(&mut ring);
        match ring.build(entries) {
            // A kernel that does not know a flag says this, and only this.
            Err(err) if err.raw_os_error() == Some(libc::EINVAL) => last = err,
            other => return other,
        }
    }
    Err(last)
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

fn ring_fd_call(ring: RawFd, call: libc::c_uint, update: &mut RingFdUpdate) -> io::Result<()> {
    // SAFETY: a plain system call over one structure of the layout the kernel wants.
    let result =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring, call, &raw mut *update, 1) };
    if result == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Spares the kernel a look-up per enter; returns the index to enter with, on this thread.
fn register_ring_fd(ring: RawFd) -> io::Result<RawFd> {
    let data = u64::from(ring.unsigned_abs());
    let mut update = RingFdUpdate { offset: u32::MAX, reserved: 0, data };
    ring_fd_call(ring, REGISTER_RING_FDS, &mut update)?;
    RawFd::try_from(update.offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn unregister_ring_fd(ring: RawFd, index: RawFd) {
    let mut update = RingFdUpdate { offset: index.unsigned_abs(), reserved: 0, data: 0 };
    // Refused only where nothing is registered, and then there is nothing to undo.
    let _ = ring_fd_call(ring, UNREGISTER_RING_FDS, &mut update);
}

/// A `msghdr` of zeros, whose padding differs from libc to libc.
pub(crate) fn empty_header() -> libc::msghdr {
    // SAFETY: a C structure of pointers and numbers, for which zeros are valid.
    unsafe { std::mem::zeroed() }
}

/// A page that the kernel wipes in a forked child: a check that costs one load, not a call.
struct ForkMark {
    page: NonNull<u8>,
}

const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

impl ForkMark {
    fn new() -> io::Result<Self> {
        let (protection, flags) =
            (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let page = unsafe { nix::sys::mman::mmap_anonymous(None, PAGE, protection, flags) }?;
        let mark = Self { page: page.cast() };
        // SAFETY: the range is the page just mapped; the advice touches no content here.
        unsafe { nix::sys::mman::madvise(page, PAGE.get(), MmapAdvise::MADV_WIPEONFORK) }?;
        // SAFETY: the page is writable, owned by `mark`, and nothing refers to it yet.
        unsafe { mark.page.write_volatile(1) };
        Ok(mark)
    }

    fn is_wiped(&self) -> bool {
        // SAFETY: the page is mapped as long as `self` lives; volatile, since a fork changes it
        // behind the compiler's back.
        unsafe { self.page.read_volatile() == 0 }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: `new` mapped the page, a child inherits it, and it is unmapped here only.
        let unmapped = unsafe { nix::sys::mman::munmap(self.page.cast(), PAGE.get()) };
        debug_assert!(unmapped.is_ok(), "the page was mapped");
    }
}

#[cfg(test)]
mod tests;
