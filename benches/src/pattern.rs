//! The bytes a connection sends: any slice of them can be produced and checked without a copy.
//!
//! Invariant: the byte at a position depends on the position and the connection alone, with a prime
//! period, so bytes that are lost, doubled, swapped or delivered to another connection show.

use std::sync::LazyLock;

const PERIOD: usize = 251;
/// Bytes of the longest slice.
const LONGEST: usize = 256 * 1024;

/// Endless bytes, the same for everybody but for where a connection starts in them.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..=250u8).map(|n| n.wrapping_mul(73)).cycle().take(PERIOD + LONGEST).collect()
});

/// The `len` bytes that connection number `start` has from `position` on; fewer when `len` passes
/// the longest slice.
pub(crate) fn at(start: usize, position: u64, len: u64) -> &'static [u8] {
    #[expect(clippy::cast_possible_truncation, reason = "below the period")]
    let phase = (position % PERIOD as u64) as usize + start % PERIOD;
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(LONGEST);
    let from = phase % PERIOD;
    &BYTES[from..from + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_continue_each_other_and_differ_between_connections() {
        let whole = at(3, 1000, 600);
        let parts = [at(3, 1000, 100), at(3, 1100, 500)].concat();
        assert_eq!(whole, parts);
        assert_ne!(whole[..8], at(4, 1000, 600)[..8]);
        assert_ne!(whole[..8], at(3, 1001, 600)[..8]);
        assert_eq!(at(3, 1000, u64::MAX).len(), LONGEST);
    }
}
