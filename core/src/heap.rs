//! What becomes of memory that messages were in.

/// How much freed memory the process keeps, at least.
const KEPT: usize = 2 << 20;

/// Has glibc keep what the messages of a batch were in, instead of giving it back to the kernel.
///
/// What a program sends is often in memory of its own, as every TLS record is, and that of a whole batch is
/// freed together. From 128 KiB on glibc gives such memory back, and each page of the next batch is a fault:
/// an eighth of the CPU of a TLS echo of 16 KiB on io_uring. How much it keeps follows the largest block it
/// has had from the kernel and given back (`M_MMAP_THRESHOLD` in
/// [mallopt(3)](https://man7.org/linux/man-pages/man3/mallopt.3.html)): so this takes a block and gives it
/// back, untouched. Settings of the program's own, by `mallopt` or its environment, stand; with another
/// allocator nothing happens.
///
/// A reactor calls it when it is made.
///
/// # Examples
///
/// ```
/// netproc_core::heap::keep_freed();
/// let batch: Vec<_> = (0..32).map(|n| vec![n; 16 * 1024]).collect();
/// drop(batch); // stays in the heap for the next
/// assert_eq!(vec![1; 16 * 1024].len(), 16 * 1024);
/// ```
pub fn keep_freed() {
    // glibc keeps twice the block. The optimiser is shown a use, or it would leave both out.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT / 2)));
}
