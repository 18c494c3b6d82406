//! A completion, taken out of the kernel's queue.
//!
//! Invariant: a `Completion` is neither copied nor made up outside [`crate::ring`], because one of an
//! accept owns a descriptor.

use io_uring::cqueue;

use crate::token::Token;

/// One entry of the completion queue.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// Not negative: what the operation brought; negative: an errno.
    pub(crate) result: i32,
    flags: u32,
}

impl Completion {
    #[inline]
    pub(crate) fn new(entry: &cqueue::Entry) -> Self {
        Self { token: Token(entry.user_data()), result: entry.result(), flags: entry.flags() }
    }

    /// One as the kernel would not send it.
    #[cfg(test)]
    pub(crate) const fn forged(token: Token, result: i32, flags: u32) -> Self {
        Self { token, result, flags }
    }

    /// Whether the operation goes on and will complete again.
    #[inline]
    pub(crate) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The number of the provided buffer that was filled.
    #[inline]
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether the kernel will go on filling that buffer.
    #[inline]
    pub(crate) fn buffer_more(&self) -> bool {
        cqueue::buffer_more(self.flags)
    }

    /// Whether a receive that does not go on left something behind: its buffer was at its end, or the one that
    /// it found when it began to wait, whose room it keeps to in another. In a ring whose receives take whole
    /// buffers it may also be that more has come since, which may be read as well.
    pub(crate) fn is_cut(&self) -> bool {
        !self.more() && cqueue::sock_nonempty(self.flags)
    }

    /// Whether a multishot receive has put bytes into a part of a buffer, and goes on in the same one.
    #[inline]
    pub(crate) fn goes_on(&self) -> bool {
        self.more() && self.buffer().is_some() && self.buffer_more() && self.result > 0
    }

    /// The result as a count, or the errno.
    pub(crate) fn count(&self) -> Result<u32, i32> {
        u32::try_from(self.result).map_err(|_| self.result.saturating_neg())
    }
}
