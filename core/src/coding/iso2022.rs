//! The seven-bit systems of Japan: character sets that escape sequences switch between.
//!
//! Invariant: a stream begins in ASCII and what is written ends in ASCII, so that every send can
//! be read alone; reading keeps the set across reads. An escape sequence that the system does not
//! have is text, and like every other byte that means nothing it puts the stream back into ASCII.
//! Locking shifts are not among these systems.

use std::sync::LazyLock;

use super::{
    charset::Charset,
    encoder::Writer,
    machine::{Machine, Step},
    multi_byte::Set,
    single_byte::{Base, SingleByte},
    text::Text,
};

const ESC: u8 = 0x1B;

/// What a designation selects.
#[derive(Clone, Copy, Debug)]
pub(super) enum Selected {
    Ascii,
    /// ASCII with a yen sign and an overline.
    JisRoman,
    /// Two bytes a character.
    Pairs(Set),
    /// The upper half of ISO 8859-1 or -7, for single characters behind ESC N.
    Upper(Upper),
}

/// Sets that are only ever used for the one character behind ESC N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upper {
    Latin1,
    Greek,
}

static LATIN_1: SingleByte = SingleByte::new(Base::Latin1, &[]);
static GREEK: SingleByte = SingleByte::new(Base::Web(encoding_rs::ISO_8859_7), &[]);

impl Upper {
    const fn table(self) -> &'static SingleByte {
        match self {
            Self::Latin1 => &LATIN_1,
            Self::Greek => &GREEK,
        }
    }

    /// The character with this byte, which is written without its top bit.
    fn char(self, byte: u8) -> Option<char> {
        self.table().char(byte | 0x80)
    }

    fn byte(self, character: char) -> Option<u8> {
        self.table().byte(character).filter(|&byte| byte >= 0xA0).map(|byte| byte & 0x7F)
    }
}

/// An escape sequence without its ESC, and what it selects.
pub(super) type Designation = (&'static [u8], Selected);

/// A system: its designations in the order in which they are tried for writing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Iso2022 {
    pub(super) designations: &'static [Designation],
    /// The designation that is written to go back to ASCII.
    pub(super) home: &'static [u8],
}

/// Decodes such a system.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    system: Iso2022,
    /// What bytes mean now.
    selected: Selected,
    /// What the byte behind ESC N means.
    upper: Option<Upper>,
}

impl Reader {
    pub(super) const fn new(system: Iso2022) -> Self {
        Self { system, selected: Selected::Ascii, upper: None }
    }

    /// Judges what stands behind an ESC.
    fn escape(&mut self, rest: &[u8]) -> Step {
        if let (Some(upper), [b'N', tail @ ..]) = (self.upper, rest) {
            return match tail.first() {
                None => Step::Incomplete,
                Some(&byte @ 0x20..=0x7F) => {
                    upper.char(byte).map_or(Step::Bytes(3), |character| Step::Char(character, 3))
                }
                Some(_) => Step::Bytes(2),
            };
        }
        for &(sequence, selected) in self.system.designations {
            if rest.starts_with(sequence) {
                match selected {
                    Selected::Upper(upper) => self.upper = Some(upper),
                    Selected::Ascii | Selected::JisRoman | Selected::Pairs(_) => {
                        self.selected = selected;
                    }
                }
                return Step::Skip(1 + sequence.len());
            }
        }
        let mut sequences = self.system.designations.iter().map(|(sequence, _)| sequence);
        let unclear = sequences.any(|sequence| sequence.starts_with(rest))
            || self.upper.is_some() && b"N".starts_with(rest);
        if unclear { Step::Incomplete } else { self.meaningless() }
    }

    /// One byte that means nothing. As in Emacs what follows is ASCII, until a sequence says otherwise.
    const fn meaningless(&mut self) -> Step {
        self.selected = Selected::Ascii;
        Step::Bytes(1)
    }
}

impl Machine for Reader {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        let until = |stop: fn(&u8) -> bool| bytes.iter().position(stop).unwrap_or(bytes.len());
        match self.selected {
            Selected::Ascii => until(|&byte| byte == ESC || !byte.is_ascii()),
            Selected::JisRoman | Selected::Pairs(_) | Selected::Upper(_) => {
                until(|&byte| byte == ESC || byte > b' ')
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        match (self.selected, bytes) {
            (_, [ESC, rest @ ..]) => self.escape(rest),
            (Selected::JisRoman, [byte, ..]) if byte.is_ascii() => Step::Char(jis_roman(*byte), 1),
            (Selected::Pairs(set), [lead @ 0x21..=0x7E, rest @ ..]) => match rest.first() {
                None => Step::Incomplete,
                Some(trail @ 0x21..=0x7E) => set
                    .char(u16::from_be_bytes([*lead, *trail]))
                    .map_or(Step::Bytes(2), |character| Step::Char(character, 2)),
                // A space or DEL is no second byte either, but a character of every set.
                Some(b' ' | 0x7F) => Step::Bytes(1),
                Some(_) => self.meaningless(),
            },
            (_, [byte, ..]) if byte.is_ascii() => Step::Bytes(1),
            _ => self.meaningless(),
        }
    }

    fn cut_short(&mut self, bytes: &[u8], out: &mut Text) -> usize {
        if bytes[0] == ESC {
            self.selected = Selected::Ascii;
        }
        out.push_bytes(&bytes[..1]);
        1
    }
}

fn jis_roman(byte: u8) -> char {
    match byte {
        b'\\' => '\u{A5}',
        b'~' => '\u{203E}',
        _ => byte.into(),
    }
}

/// Encodes such a system, one send at a time.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    system: Iso2022,
    /// The escape sequence in force, and what it selected; `None` for ASCII.
    selected: Option<Designation>,
    upper: Option<Upper>,
}

impl Sender {
    pub(super) const fn new(system: Iso2022) -> Self {
        Self { system, selected: None, upper: None }
    }

    fn select(&mut self, designation: Designation, out: &mut Vec<u8>) {
        if self.selected.is_none_or(|(sequence, _)| sequence != designation.0) {
            out.push(ESC);
            out.extend_from_slice(designation.0);
            self.selected = Some(designation);
        }
    }

    fn ascii(&mut self, out: &mut Vec<u8>) {
        if self.selected.take().is_some() {
            out.push(ESC);
            out.extend_from_slice(self.system.home);
        }
    }
}

impl Writer for Sender {
    fn plain(&self, text: &str) -> usize {
        if self.selected.is_some() {
            return 0;
        }
        // An ESC of the text would be read as a switch; Emacs writes it all the same.
        super::text::ascii_len(text.as_bytes())
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        if character.is_ascii() {
            self.ascii(out);
            out.push(character as u8);
            return true;
        }
        for &designation in self.system.designations {
            match designation.1 {
                Selected::Ascii => {}
                Selected::JisRoman => {
                    let byte = match character {
                        '\u{A5}' => b'\\',
                        '\u{203E}' => b'~',
                        _ => continue,
                    };
                    self.select(designation, out);
                    out.push(byte);
                    return true;
                }
                Selected::Pairs(set) => {
                    let set: &LazyLock<Charset> = set;
                    if let Some(code) = set.code(character) {
                        self.select(designation, out);
                        out.extend_from_slice(&code.to_be_bytes());
                        return true;
                    }
                }
                Selected::Upper(upper) => {
                    if let Some(byte) = upper.byte(character) {
                        if self.upper != Some(upper) {
                            out.push(ESC);
                            out.extend_from_slice(designation.0);
                            self.upper = Some(upper);
                        }
                        out.extend_from_slice(&[ESC, b'N', byte]);
                        return true;
                    }
                }
            }
        }
        false
    }

    fn line_end(&mut self) {
        // RFC 1554: a designation for ESC N ends with its line.
        self.upper = None;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.ascii(out);
    }
}
