//! Systems of one byte a character: the ISO 8859 family, KOI8, code pages.
//!
//! Invariant: a table is made at its first use, from encoding_rs where that has it, else from
//! `tables`; a byte without a character is raw. The golden files hold every table to Emacs.

use std::sync::OnceLock;

use encoding_rs::Encoding;

use super::{
    charset::Codes,
    encoder::Writer,
    machine::{Machine, Step},
    tables,
    text::ascii_len,
};

/// What a table starts from.
#[derive(Debug)]
pub(super) enum Base {
    /// ASCII alone.
    Ascii,
    /// Every byte is the character of that number.
    Latin1,
    /// The table of encoding_rs.
    Web(&'static Encoding),
    /// The table of encoding_rs, which has control characters where Emacs has nothing.
    Windows(&'static Encoding),
    /// These characters from 80 on; a space for none.
    High(&'static str),
    /// These characters from 21 on instead of ASCII.
    Lao,
}

/// A system of one byte a character.
#[derive(Debug)]
pub(super) struct SingleByte {
    base: Base,
    /// Bytes that stand for something else than in the base.
    patches: &'static [(u8, char)],
    /// Characters that are written as some byte, but never read.
    written: &'static [(char, u8)],
    table: OnceLock<Box<Table>>,
}

#[derive(Debug)]
struct Table {
    /// The character of every byte.
    chars: [Option<char>; 256],
    codes: Codes,
    /// Whether the first 128 are those of ASCII.
    ascii: bool,
}

impl SingleByte {
    pub(super) const fn new(base: Base, patches: &'static [(u8, char)]) -> Self {
        Self { base, patches, written: &[], table: OnceLock::new() }
    }

    pub(super) const fn writing(mut self, written: &'static [(char, u8)]) -> Self {
        self.written = written;
        self
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| Box::new(self.make()))
    }

    /// The character that this byte stands for.
    pub(super) fn char(&self, byte: u8) -> Option<char> {
        self.table().chars[usize::from(byte)]
    }

    /// The byte that this character is written as.
    pub(super) fn byte(&self, character: char) -> Option<u8> {
        // Zero means no code in the table, and is NUL everywhere.
        if character == '\0' {
            return Some(0);
        }
        u8::try_from(self.table().codes.find(character)?).ok()
    }

    /// What the base has for a byte.
    fn base(&self, byte: u8) -> Option<char> {
        let nth = |text: &str, first: u8| {
            text.chars().nth(usize::from(byte - first)).filter(|&character| character != ' ')
        };
        match self.base {
            Base::Lao if (0x21..0x7F).contains(&byte) => nth(tables::LAO, 0x21),
            Base::Ascii | Base::Web(_) | Base::Windows(_) | Base::High(_) | Base::Lao
                if byte.is_ascii() =>
            {
                Some(byte.into())
            }
            Base::Ascii | Base::Lao => None,
            Base::Latin1 => Some(byte.into()),
            Base::High(text) => nth(text, 0x80),
            Base::Web(encoding) => web(encoding, byte),
            Base::Windows(encoding) => {
                web(encoding, byte).filter(|character| !character.is_control())
            }
        }
    }

    fn make(&self) -> Table {
        let mut chars = [None; 256];
        let mut codes = Codes::default();
        for byte in 0..=u8::MAX {
            chars[usize::from(byte)] = self.base(byte);
        }
        for &(byte, character) in self.patches {
            chars[usize::from(byte)] = (character != ' ').then_some(character);
        }
        for (code, character) in (0..).zip(chars) {
            if let Some(character) = character.filter(|&character| character != '\0') {
                codes.set(character, code, false);
            }
        }
        for &(character, byte) in self.written {
            codes.set(character, byte.into(), false);
        }
        let ascii =
            (0..128).zip(chars).all(|(byte, character)| character == Some(char::from(byte)));
        Table { chars, codes, ascii }
    }
}

fn web(encoding: &'static Encoding, byte: u8) -> Option<char> {
    encoding.decode_without_bom_handling_and_without_replacement(&[byte])?.chars().next()
}

impl Machine for &'static SingleByte {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        if self.table().ascii { ascii_len(bytes) } else { 0 }
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        match self.char(bytes[0]) {
            Some(character) => Step::Char(character, 1),
            None => Step::Bytes(1),
        }
    }
}

impl Writer for &'static SingleByte {
    fn plain(&self, text: &str) -> usize {
        if self.table().ascii { ascii_len(text.as_bytes()) } else { 0 }
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        let byte = self.byte(character);
        out.extend(byte);
        byte.is_some()
    }

    fn replacement(&self) -> char {
        if matches!(self.base, Base::Ascii) { '?' } else { ' ' }
    }
}
