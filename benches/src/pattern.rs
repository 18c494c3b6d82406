//! The bytes a connection sends: any slice of them can be produced and checked without a copy.
//!
//! Invariant: the byte at a position depends on the position and the connection alone, with a prime
//! period of more connections than any load has busy, so bytes that are lost, doubled, swapped or
//! delivered to another connection show.

use std::sync::LazyLock;

/// A prime above the number of busy connections, and small enough for the bytes to stay in a near cache.
const PERIOD: usize = 32_749;
/// How far apart neighbours are in the bytes: found by trying, so that of 1,000 connections none is sent what another
/// was one or two messages before, nor of 200 what another was up to 16 before (the test has the lengths).
const APART: usize = 31_740;
/// Bytes of the longest slice.
const LONGEST: usize = 256 * 1024;

/// Endless bytes, the same for everybody but for where a connection starts in them.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1u32;
    let mut next = || {
        // A xorshift of 32 bits (G. Marsaglia), whose bytes do not repeat within the period.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    period.iter().copied().cycle().take(PERIOD + LONGEST).collect()
});

/// The `len` bytes that connection number `start` has from `position` on; fewer when `len` passes
/// the longest slice.
pub(crate) fn at(start: usize, position: u64, len: u64) -> &'static [u8] {
    #[expect(clippy::cast_possible_truncation, reason = "below the period")]
    let phase = (position % PERIOD as u64) as usize + start % PERIOD * APART % PERIOD;
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(LONGEST);
    let from = phase % PERIOD;
    &BYTES[from..from + len]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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

    #[test]
    fn no_two_connections_send_the_same() {
        let mut seen = HashSet::new();
        for start in [0, 251].into_iter().chain(1..251).chain(252..20_000) {
            assert!(seen.insert(at(start, 64, 16)), "{start}");
        }
        let before = |size, start, messages: u64| {
            for position in (1..=messages).map(|it| it * size) {
                let here = at(0, 0, 16);
                assert_ne!(here, at(start, position, 16), "{start}, {position} of {size}");
                assert_ne!(at(0, position, 16), at(start, 0, 16), "{start}, {position} of {size}");
            }
        };
        for size in [64, 1 << 10, 10_000, 16 << 10, 24_000, 64 << 10] {
            (1..1000).for_each(|start| before(size, start, 2));
            (1..200).for_each(|start| before(size, start, 16));
        }
    }
}
