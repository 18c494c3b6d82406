//! A slab whose keys carry a generation, so that a key kept too long finds nothing instead of the
//! next tenant.
//!
//! Invariant: a generation is never handed out twice for one index until 2³² − 1 tenants have come
//! and gone. Every table of the workspace (processes, sockets of each reactor) is one of these.

use slab::Slab;

/// Where a value lives in a [`Slots`] and which tenant of that place it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub struct Key {
    /// Position in the table; small numbers are reused first.
    pub index: u32,
    /// Counts the tenants of that position, from 1.
    pub generation: u32,
}

impl Key {
    /// Makes a key from its parts, as a backend does that reads one back from the kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// let key = netproc_core::slots::Key::new(3, 1);
    /// assert_eq!(netproc_core::slots::Key::from_bits(key.to_bits()), key);
    /// ```
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// Packs the key into 64 bits: the generation above the index.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// Unpacks what [`to_bits`](Self::to_bits) packed.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each half is 32 bits by construction")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }

    const fn at(self) -> usize {
        self.index as usize
    }
}

/// A table with stable keys: insert, look up and remove in constant time.
///
/// # Examples
///
/// ```
/// use netproc_core::slots::Slots;
///
/// let mut slots = Slots::new();
/// let first = slots.insert("first");
/// assert_eq!(slots.remove(first), Some("first"));
/// let second = slots.insert("second");
/// assert_eq!(second.index, first.index, "the place is reused");
/// assert_eq!(slots.get(first), None, "the old key is not");
/// ```
#[derive(Debug)]
pub struct Slots<T> {
    entries: Slab<Tenant<T>>,
    /// The last generation given out, by index; survives the entry.
    generations: Vec<u32>,
}

/// A value with its generation right before it, and so on the cache line that is needed next anyway.
#[derive(Debug)]
#[repr(C)]
struct Tenant<T> {
    generation: u32,
    value: T,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slots<T> {
    /// Makes an empty table; nothing is allocated yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Slab::new(), generations: Vec::new() }
    }

    /// Stores `value` and returns its key.
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// Stores the value that `make` builds from its own key.
    ///
    /// # Panics
    ///
    /// Panics past 2³² entries, which no machine holds.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let entry = self.entries.vacant_entry();
        let index = entry.key();
        if index >= self.generations.len() {
            self.generations.resize(index + 1, 0);
        }
        let generation = self.generations[index].wrapping_add(1).max(1);
        self.generations[index] = generation;
        let index = u32::try_from(index).expect("a table holds fewer than 2^32 entries");
        let key = Key { index, generation };
        entry.insert(Tenant { generation, value: make(key) });
        key
    }

    /// The value under `key`, `None` when that tenant has left.
    #[must_use]
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.at()) {
            Some(tenant) if tenant.generation == key.generation => Some(&tenant.value),
            _ => None,
        }
    }

    /// The value under `key` for change, `None` when that tenant has left.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.at()) {
            Some(tenant) if tenant.generation == key.generation => Some(&mut tenant.value),
            _ => None,
        }
    }

    /// Whoever lives at `index` now, for change: it is for the caller to see that it is the right one.
    #[must_use]
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize).map(|tenant| &mut tenant.value)
    }

    /// Takes the value under `key` out; a stale key takes nothing.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.entries.remove(key.at()).value)
    }

    /// How many values are stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every value with its key, by index.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().map(|(index, tenant)| (key(index, tenant.generation), &tenant.value))
    }

    /// Every value with its key, by index, for change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        let tenants = self.entries.iter_mut();
        tenants.map(|(index, tenant)| (key(index, tenant.generation), &mut tenant.value))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "insert_with admits no index past u32")]
const fn key(index: usize, generation: u32) -> Key {
    Key { index: index as u32, generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_tenant_without_finding_the_next() {
        let mut slots = Slots::new();
        let mut old = Vec::new();
        for round in 0..100 {
            let key = slots.insert(round);
            assert_eq!(slots.get(key), Some(&round));
            assert_eq!(slots.remove(key), Some(round));
            old.push(key);
        }
        slots.insert(100);
        for key in old {
            assert_eq!(slots.get(key), None, "{key:?}");
            assert!(slots.get_mut(key).is_none(), "{key:?}");
            assert_eq!(slots.remove(key), None, "{key:?}");
        }
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn bits_round_trip() {
        for key in [Key::new(0, 1), Key::new(u32::MAX, u32::MAX), Key::new(7, 1 << 31)] {
            assert_eq!(Key::from_bits(key.to_bits()), key);
        }
    }
}
