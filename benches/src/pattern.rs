//! The bytes a connection sends: any slice of them can be produced and checked without a copy.
//!
//! Invariant: the byte at a position depends on the position and the connection alone, with a prime
//! period, so bytes that are lost, doubled, swapped or delivered to another connection show.

const PERIOD: usize = 251;

/// Endless bytes, the same for everybody but for where a connection starts in them.
#[derive(Debug)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
    longest: usize,
}

impl Pattern {
    /// Prepares slices of up to `longest` bytes.
    pub(crate) fn new(longest: usize) -> Self {
        let bytes = (0..=250u8).map(|n| n.wrapping_mul(73)).cycle().take(PERIOD + longest);
        Self { bytes: bytes.collect(), longest }
    }

    /// The `len` bytes that connection number `start` has from `position` on; fewer when `len`
    /// passes the longest slice.
    pub(crate) fn at(&self, start: usize, position: u64, len: u64) -> &[u8] {
        #[expect(clippy::cast_possible_truncation, reason = "below the period")]
        let phase = (position % PERIOD as u64) as usize + start % PERIOD;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(self.longest);
        let from = phase % PERIOD;
        &self.bytes[from..from + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_continue_each_other_and_differ_between_connections() {
        let pattern = Pattern::new(600);
        let whole = pattern.at(3, 1000, 600);
        let parts = [pattern.at(3, 1000, 100), pattern.at(3, 1100, 500)].concat();
        assert_eq!(whole, parts);
        assert_ne!(whole[..8], pattern.at(4, 1000, 600)[..8]);
        assert_ne!(whole[..8], pattern.at(3, 1001, 600)[..8]);
        assert_eq!(pattern.at(3, 1000, 900).len(), 600);
    }
}
