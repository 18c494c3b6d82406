//! What a completion is for, in 64 bits: kind (8), generation (24), index (32).
//!
//! Invariant: at most one operation with a given token is in the kernel at a time, so a token
//! names an operation for cancelling. The generation is a second line of defence: a socket's place
//! is not reused while anything of it is in flight.

use netproc_core::slots::Key;

/// Which operation a completion ends or continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpKind {
    Accept = 1,
    /// Of a stream, into the first group of buffers.
    Recv,
    /// Of packets or records, into the second.
    RecvPacket,
    Send,
    Connect,
    /// A poll for input, where the operation itself declined to wait.
    Readable,
    /// A poll for room, likewise.
    Writable,
    Cancel,
    /// The eventfd of the waker.
    Wake,
    /// The time set for a foreign loop.
    Timeout,
}

const KINDS: [OpKind; 10] = [
    OpKind::Accept,
    OpKind::Recv,
    OpKind::RecvPacket,
    OpKind::Send,
    OpKind::Connect,
    OpKind::Readable,
    OpKind::Writable,
    OpKind::Cancel,
    OpKind::Wake,
    OpKind::Timeout,
];

const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// The `user_data` of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token(pub(crate) u64);

impl Token {
    pub(crate) const fn new(kind: OpKind, key: Key) -> Self {
        let generation = (key.generation & GENERATION_MASK) as u64;
        Self((kind as u64) << 56 | generation << 32 | key.index as u64)
    }

    /// A token of the reactor itself; `turn` tells successive operations apart.
    pub(crate) const fn global(kind: OpKind, turn: u32) -> Self {
        Self::new(kind, Key::new(0, turn))
    }

    #[inline]
    pub(crate) fn kind(self) -> Option<OpKind> {
        let number = usize::from(self.0.to_be_bytes()[0]);
        KINDS.get(number.checked_sub(1)?).copied()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the index is the low half")]
    pub(crate) const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Whether the operation belongs to the tenant that `key` names.
    #[inline]
    pub(crate) fn belongs_to(self, key: Key) -> bool {
        let generation = u64::from(key.generation & GENERATION_MASK);
        self.index() == key.index && self.0 >> 32 & u64::from(GENERATION_MASK) == generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_key_survive() {
        for kind in KINDS {
            for key in [Key::new(0, 1), Key::new(u32::MAX, 7), Key::new(5, u32::MAX)] {
                let token = Token::new(kind, key);
                assert_eq!(token.kind(), Some(kind));
                assert!(token.belongs_to(key), "{key:?}");
                let next = Key::new(key.index, key.generation.wrapping_add(1));
                assert!(!token.belongs_to(next), "{key:?}");
            }
        }
        assert_eq!(Token(0).kind(), None);
        assert_eq!(Token(u64::MAX).kind(), None);
    }
}
