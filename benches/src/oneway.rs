//! One-way traffic, counted the same way by every server and by the load generator.
//!
//! Invariant: a sink answers each block with one byte, the block's number, and compares none of
//! those it reads, as that would be most of what it costs; a source answers each byte with one block, in
//! chunks. So both ends agree on what has arrived, no window ends with anything under way, and nobody is
//! ahead of the other by more than a few blocks.

use crate::{job::Part, pattern};

/// Bytes of a chunk: what a source sends at a time.
pub(crate) const CHUNK: u64 = 64 * 1024;
/// Bytes for which one byte goes the other way.
pub(crate) const BLOCK: u64 = 16 * CHUNK;

/// The bytes a sink answers with: the low byte of a block's number at that number.
static NUMBERS: [u8; 256] = {
    let mut numbers = [0; 256];
    let mut n = 0u8;
    while n < 255 {
        n += 1;
        numbers[n as usize] = n;
    }
    numbers
};

/// The byte that answers block number `block`.
pub(crate) fn answer(block: u64) -> &'static [u8] {
    let number = usize::from(block.to_le_bytes()[0]);
    &NUMBERS[number..=number]
}

/// What a sink has read.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: u64,
}

impl Received {
    /// Counts what was read and returns the byte to answer with, if it completes a block. A read
    /// of more than a block is counted right but answered once.
    pub(crate) fn add(&mut self, len: usize) -> Option<&'static [u8]> {
        let old = self.bytes / BLOCK;
        self.bytes += len as u64;
        (self.bytes / BLOCK > old).then(|| answer(old))
    }
}

/// What a source has to send.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    position: u64,
    end: u64,
}

impl Owed {
    /// Owes a block for each byte that came.
    pub(crate) const fn add(&mut self, len: usize) {
        self.end += len as u64 * BLOCK;
    }

    /// What is left of the chunk to send next.
    pub(crate) fn chunk(&self) -> Option<&'static [u8]> {
        let left = CHUNK - self.position % CHUNK;
        (self.position < self.end).then(|| pattern::at(0, self.position, left))
    }

    /// `len` bytes of it have gone.
    pub(crate) const fn sent(&mut self, len: usize) {
        self.position += len as u64;
    }
}

/// What a connection does with its input, and how far it is with it.
pub(crate) enum State {
    Echo,
    Sink(Received),
    Source(Owed),
}

impl State {
    pub(crate) fn new(part: Part) -> Self {
        match part {
            Part::Echo => Self::Echo,
            Part::Sink => Self::Sink(Received::default()),
            Part::Source => Self::Source(Owed::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_answered_once_with_its_number() {
        let mut received = Received::default();
        let mut answers: Vec<u8> = Vec::new();
        for _ in 0..40 {
            answers.extend(received.add(60_000).into_iter().flatten());
        }
        assert_eq!(answers, [0, 1], "2,400,000 bytes are two blocks and a part");
        assert_eq!(answer(258), [2]);
    }

    #[test]
    fn a_block_is_sent_in_chunks_that_continue_after_a_short_write() {
        let mut owed = Owed::default();
        assert_eq!(owed.chunk(), None);
        owed.add(2);
        let mut sent = 0;
        while let Some(chunk) = owed.chunk() {
            assert!(chunk.len() as u64 <= CHUNK);
            assert_eq!(chunk[..8], *pattern::at(0, sent, 8));
            let short = chunk.len().min(50_000);
            owed.sent(short);
            sent += short as u64;
        }
        assert_eq!(sent, 2 * BLOCK);
    }
}
