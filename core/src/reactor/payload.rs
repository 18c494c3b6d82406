//! Bytes on their way out, in whatever form their owner has them.

use std::sync::Arc;

use crate::pool::Buf;

/// Bytes on their way out. Whatever the variant, they do not move when the value does.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "outboxes and backends take each apart")]
pub enum Payload {
    /// Part of a receive slot, forwarded without a copy.
    Buf(Buf),
    /// Bytes handed over by their owner.
    Owned(Vec<u8>),
    /// Bytes that several processes send.
    Shared(Arc<[u8]>),
    /// Bytes of the program itself.
    Static(&'static [u8]),
}

impl Payload {
    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        if let Self::Buf(buf) = self { buf } else { self.slice_of_other() }
    }

    /// Apart from what an echo has, which is one comparison then instead of a jump through a table.
    #[cold]
    #[inline(never)]
    fn slice_of_other(&self) -> &[u8] {
        match self {
            Self::Buf(buf) => buf,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }

    /// How many bytes there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Buf> for Payload {
    #[inline]
    fn from(buf: Buf) -> Self {
        Self::Buf(buf)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::Owned(text.into_bytes())
    }
}

impl From<Arc<[u8]>> for Payload {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

/// Copies the bytes; use [`Payload::Static`] for those of the program, or hand over a `Vec`.
impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::Owned(bytes.to_vec())
    }
}

/// Copies the bytes; use [`Payload::Static`] for those of the program, or hand over a `Vec`.
impl<const N: usize> From<&[u8; N]> for Payload {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Owned(bytes.to_vec())
    }
}

/// Copies the text; hand over a `String` to avoid that.
impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::Owned(text.as_bytes().to_vec())
    }
}
