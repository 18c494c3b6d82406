//! What a completion is for, in 64 bits: kind (8), generation (24), index (32).
//!
//! Invariant: at most one operation with a given token is in the kernel at a time, so a token names an operation
//! for cancelling; only of cancels, which nobody cancels, there may be several. The generation is a second line of
//! defence: a socket's place is not reused while anything of it is in flight.

use netproc_core::slots::Key;

/// Which operation a completion ends or continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpKind {
    Accept = 1,
    /// Of a stream, into the first group of buffers.
    Recv,
    /// Of packets or records, into the second.
    RecvPacket,
    /// Of a pipe or a terminal, into the third.
    Read,
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
    /// Somebody of the crowd has input.
    Crowd,
}

const KINDS: [OpKind; 12] = [
    OpKind::Accept,
    OpKind::Recv,
    OpKind::RecvPacket,
    OpKind::Read,
    OpKind::Send,
    OpKind::Connect,
    OpKind::Readable,
    OpKind::Writable,
    OpKind::Cancel,
    OpKind::Wake,
    OpKind::Timeout,
    OpKind::Crowd,
];

const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const KIND_MASK: u64 = 0xff << 56;

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

    /// Whether it is of that kind, for who needs no more than that.
    #[inline]
    pub(crate) const fn is(self, kind: OpKind) -> bool {
        self.0 >> 56 == kind as u64
    }

    /// The same operation of whatever kind.
    #[inline]
    pub(crate) const fn of_kind(self, kind: OpKind) -> Self {
        Self(self.0 & !KIND_MASK | (kind as u64) << 56)
    }

    /// Whether the operation is one of the same tenant's as `other`.
    #[inline]
    pub(crate) const fn is_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & !KIND_MASK == 0
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
                let others = KINDS.map(|kind| Token::new(kind, key));
                assert!(others.iter().all(|other| other.is_of(token)), "{key:?}");
                assert_eq!(others.map(|other| other.of_kind(kind)), [token; KINDS.len()]);
                for next in [
                    Key::new(key.index, key.generation.wrapping_add(1)),
                    Key::new(key.index.wrapping_add(1), key.generation),
                ] {
                    assert!(!token.is_of(Token::new(kind, next)), "{key:?}");
                }
            }
        }
        assert_eq!(Token(0).kind(), None);
        assert_eq!(Token(u64::MAX).kind(), None);
    }
}
