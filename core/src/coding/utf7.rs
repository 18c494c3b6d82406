//! UTF-7 (RFC 2152) and its variant in the names of IMAP mailboxes (RFC 3501).
//!
//! Invariant: what is written ends unshifted, so that every send can be read alone; no letter of a shifted run is
//! lost but for the bits that fill up its end: half a pair of surrogates is U+FFFD, letters that make no unit are raw
//! bytes. DIFFERENCE: Emacs reads every chunk alone, and so leaves a shifted run spread over two as it came; of half a
//! pair it makes characters of its bytes, of such letters other characters or an error.

use super::{
    encoder::Writer,
    machine::{Machine, Step},
    text::Text,
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Mail,
    Imap,
}

impl Variant {
    /// What begins a shifted run.
    const fn shift(self) -> u8 {
        match self {
            Self::Mail => b'+',
            Self::Imap => b'&',
        }
    }

    const fn alphabet(self) -> &'static [u8; 64] {
        match self {
            Self::Mail => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Self::Imap => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,",
        }
    }

    /// The value of a byte in a shifted run.
    fn sextet(self, byte: u8) -> Option<u32> {
        let index = self.alphabet().iter().position(|&letter| letter == byte)?;
        u32::try_from(index).ok()
    }

    /// Whether Emacs writes this character without a shift.
    const fn is_direct(self, character: char) -> bool {
        match (self, character) {
            (Self::Mail, '\\' | '~' | '+') | (Self::Imap, '&') => false,
            (_, character) => character.is_ascii(),
        }
    }
}

/// Decodes UTF-7.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    variant: Variant,
    shifted: Option<Shifted>,
}

/// What was read of a shifted run.
#[derive(Clone, Copy, Debug, Default)]
struct Shifted {
    /// Bits that are no whole unit yet, and how many: 0, 2 or 4.
    bits: u32,
    count: u32,
    /// The first half of a pair of surrogates.
    high: Option<u16>,
}

impl Reader {
    pub(super) const fn new(variant: Variant) -> Self {
        Self { variant, shifted: None }
    }

    /// Judges what stands in a shifted run: the letters of its next unit, letters that make none, or its end.
    fn shifted(&mut self, run: Shifted, bytes: &[u8]) -> Step {
        let missing = (16 - run.count).div_ceil(6);
        let values = bytes.iter().map_while(|&byte| self.variant.sextet(byte));
        let values = values.take(missing as usize);
        let (bits, len) = values.fold((run.bits, 0), |(bits, len), it| (bits << 6 | it, len + 1));
        let is_whole = len == missing as usize;
        if !is_whole && len == bytes.len() {
            return Step::Incomplete;
        }
        let count = run.count + 6 * missing - 16;
        let next = Shifted { bits: bits & ((1 << count) - 1), count, high: None };
        let unit = is_whole.then(|| u16::try_from(bits >> count).unwrap_or(0xFFFD));
        let character = unit.and_then(|unit| {
            let units = run.high.into_iter().chain([unit]);
            char::decode_utf16(units).next()?.ok()
        });
        let (run, step) = match (character, run.high, unit) {
            (Some(character), _, _) => (next, Step::Char(character, len)),
            // It has no other half: what stands here is judged anew.
            (None, Some(_), _) => (Shifted { high: None, ..run }, Step::Char('\u{FFFD}', 0)),
            (None, None, Some(high @ 0xD800..0xDC00)) => {
                (Shifted { high: Some(high), ..next }, Step::Skip(len))
            }
            (None, None, Some(_)) => (next, Step::Char('\u{FFFD}', len)),
            (None, None, None) if len > 0 => (run, Step::Raw(len)),
            (None, None, None) => {
                self.shifted = None;
                return Step::Skip(usize::from(bytes[0] == b'-'));
            }
        };
        self.shifted = Some(run);
        step
    }
}

impl Machine for Reader {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        if self.shifted.is_some() {
            return 0;
        }
        let shift = self.variant.shift();
        let stops = |byte: &u8| *byte == shift || !byte.is_ascii();
        bytes.iter().position(stops).unwrap_or(bytes.len())
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        let Some(run) = self.shifted else {
            return match bytes {
                [byte, ..] if *byte != self.variant.shift() => Step::Bytes(1),
                [_] => Step::Incomplete,
                [shift, b'-', ..] => Step::Char((*shift).into(), 2),
                [_, next, ..] if self.variant.sextet(*next).is_none() => Step::Bytes(1),
                _ => {
                    self.shifted = Some(Shifted::default());
                    Step::Skip(1)
                }
            };
        };
        self.shifted(run, bytes)
    }

    fn cut_short(&mut self, bytes: &[u8], out: &mut Text) -> usize {
        if self.shifted.is_none() {
            out.push_bytes(&bytes[..1]);
            return 1;
        }
        self.end(out);
        bytes.iter().for_each(|&byte| out.push_raw(byte));
        bytes.len()
    }

    fn end(&mut self, out: &mut Text) {
        if self.shifted.take().is_some_and(|run| run.high.is_some()) {
            out.push('\u{FFFD}');
        }
    }
}

/// Encodes UTF-7, one send at a time.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    variant: Variant,
    shifted: bool,
    bits: u32,
    count: u32,
}

impl Sender {
    pub(super) const fn new(variant: Variant) -> Self {
        Self { variant, shifted: false, bits: 0, count: 0 }
    }

    fn sextet(&self, index: u32, out: &mut Vec<u8>) {
        out.extend(self.variant.alphabet().get(index as usize & 63));
    }
}

impl Writer for Sender {
    fn plain(&self, text: &str) -> usize {
        if self.shifted {
            return 0;
        }
        let direct = text.chars().take_while(|&character| self.variant.is_direct(character));
        direct.count()
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        if self.variant.is_direct(character) {
            self.end(out);
            out.push(character as u8);
            return true;
        }
        if character as u32 == u32::from(self.variant.shift()) {
            self.end(out);
            out.extend_from_slice(&[self.variant.shift(), b'-']);
            return true;
        }
        if !std::mem::replace(&mut self.shifted, true) {
            out.push(self.variant.shift());
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.bits = self.bits << 16 | u32::from(*unit);
            self.count += 16;
            while self.count >= 6 {
                self.count -= 6;
                self.sextet(self.bits >> self.count, out);
            }
            self.bits &= (1 << self.count) - 1;
        }
        true
    }

    fn raw(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.end(out);
        out.push(byte);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.shifted) {
            if self.count > 0 {
                self.sextet(self.bits << (6 - self.count), out);
            }
            (self.bits, self.count) = (0, 0);
            out.push(b'-');
        }
    }
}
