//! UTF-16 in both byte orders, with and without a mark.
//!
//! Invariant: a unit is two bytes; a surrogate without its other half, and half a unit at the end,
//! are raw bytes, so that they encode back to themselves. DIFFERENCE: Emacs makes
//! characters of their bytes or loses them.

use super::{
    machine::{Machine, Step},
    text::Text,
    utf8::Signature,
};

/// Which byte of a unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endian {
    Big,
    Little,
}

impl Endian {
    pub(super) const fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    pub(super) const fn bytes(self, unit: u16) -> [u8; 2] {
        match self {
            Self::Big => unit.to_be_bytes(),
            Self::Little => unit.to_le_bytes(),
        }
    }
}

/// Decodes UTF-16.
#[derive(Clone, Debug)]
pub(super) struct Utf16 {
    endian: Endian,
    signature: Signature,
    at_start: bool,
    found: Option<&'static str>,
}

impl Utf16 {
    pub(super) const fn new(endian: Endian, signature: Signature) -> Self {
        Self { endian, signature, at_start: true, found: None }
    }

    /// Takes a mark off the start of the stream, if the system has one.
    fn mark(&mut self, first: [u8; 2]) -> bool {
        match self.signature {
            Signature::None => false,
            Signature::Mark => self.endian.unit(first) == 0xFEFF,
            Signature::Auto => {
                match Endian::Big.unit(first) {
                    0xFEFF => self.found = Some("utf-16be-with-signature"),
                    0xFFFE => {
                        self.endian = Endian::Little;
                        self.found = Some("utf-16le-with-signature");
                    }
                    _ => {}
                }
                self.found.is_some()
            }
        }
    }
}

impl Machine for Utf16 {
    fn plain(&mut self, _bytes: &[u8]) -> usize {
        0
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        let Some((&first, rest)) = bytes.split_first_chunk::<2>() else { return Step::Incomplete };
        if std::mem::take(&mut self.at_start) && self.mark(first) {
            return Step::Skip(2);
        }
        let high = self.endian.unit(first);
        if let Some(character) = char::from_u32(u32::from(high)) {
            return Step::Char(character, 2);
        }
        if high >= 0xDC00 {
            return Step::Raw(2);
        }
        let Some(&second) = rest.first_chunk::<2>() else { return Step::Incomplete };
        match char::decode_utf16([high, self.endian.unit(second)]).next() {
            Some(Ok(character)) => Step::Char(character, 4),
            _ => Step::Raw(2),
        }
    }

    fn cut_short(&mut self, bytes: &[u8], out: &mut Text) -> usize {
        bytes.iter().for_each(|&byte| out.push_raw(byte));
        bytes.len()
    }

    fn found(&self) -> Option<&'static str> {
        self.found
    }
}
