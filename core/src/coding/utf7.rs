//! UTF-7 (RFC 2152) and its variant in the names of IMAP mailboxes (RFC 3501).
//!
//! Invariant: what is written ends unshifted, so that every send can be read alone. DIFFERENCE: Emacs
//! reads every chunk alone, and so leaves a shifted run spread over two as it came.

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
    /// Bits that are no whole unit yet, and how many.
    bits: u32,
    count: u32,
    /// The first half of a pair of surrogates.
    high: Option<u16>,
}

impl Reader {
    pub(super) const fn new(variant: Variant) -> Self {
        Self { variant, shifted: None }
    }

    /// Takes one letter of a shifted run.
    fn letter(&mut self, mut run: Shifted, value: u32) -> Step {
        run.bits = run.bits << 6 | value;
        run.count += 6;
        let mut step = Step::Skip(1);
        if run.count >= 16 {
            run.count -= 16;
            let unit = u16::try_from(run.bits >> run.count).unwrap_or(0xFFFD);
            run.bits &= (1 << run.count) - 1;
            match run.high.take() {
                None if (0xD800..0xDC00).contains(&unit) => run.high = Some(unit),
                high => {
                    let units = high.into_iter().chain([unit]);
                    let decoded = char::decode_utf16(units).next();
                    let character = decoded.and_then(Result::ok).unwrap_or('\u{FFFD}');
                    step = Step::Char(character, 1);
                }
            }
        }
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
        if let Some(value) = self.variant.sextet(bytes[0]) {
            return self.letter(run, value);
        }
        self.shifted = None;
        let dash = usize::from(bytes[0] == b'-');
        match run.high {
            Some(_) => Step::Char('\u{FFFD}', dash),
            None => Step::Skip(dash),
        }
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
