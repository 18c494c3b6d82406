//! The one source of chance of a simulation: splitmix64 over the seed.
//!
//! Invariant: equal seeds and equal calls give equal numbers, on every machine and in every build.
//! What the numbers decide is the others' affair.

/// A seeded sequence of numbers, for simulations and for the harnesses that drive them.
///
/// # Examples
///
/// ```
/// use netproc_core::sim::Rng;
///
/// let (mut one, mut other) = (Rng::new(7), Rng::new(7));
/// assert_eq!(one.draw(), other.draw(), "the seed decides");
/// assert!(one.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, all 64 bits of it.
    pub const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `limit` less one; 0 when `limit` is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        ((self.draw() as u128 * limit as u128) >> 64) as u64
    }

    /// A number from `low` to `high`, both included; `low` when they are the wrong way round.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A length from 1 to `max`, 1 when `max` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "at most `max`, a usize")]
    pub const fn len(&mut self, max: usize) -> usize {
        self.between(1, max as u64) as usize
    }

    /// A position in something of `len` elements.
    #[expect(clippy::cast_possible_truncation, reason = "less than `len`, a usize")]
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Whether something happens that happens in `percent` of a hundred cases; 0 draws no number.
    pub const fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.below(100) < percent as u64
    }

    /// Puts `items` into an order that is as likely as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}
