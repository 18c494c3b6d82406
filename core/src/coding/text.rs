//! Text as Emacs has it: characters of Unicode, and raw bytes that stand for themselves.
//!
//! Invariant: the buffer is UTF-8, but for raw bytes, each of which is two bytes that never begin a
//! character in UTF-8 (C0, C1, F5 or F6, then a continuation byte), and `raw` counts them. Text
//! without raw bytes is therefore a `str`. `parts` cuts and joins texts at characters. What a byte
//! means is the decoders' business.

mod parts;

use std::{borrow::Cow, fmt, str};

/// What introduces a raw byte in the buffer, by the two top bits of the byte.
const RAW_LEAD: [u8; 4] = [0xF5, 0xF6, 0xC0, 0xC1];

/// One element of a [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "text is made of these two and nothing else")]
pub enum Char {
    /// A character of Unicode.
    Unicode(char),
    /// A byte that no character was found for. Of an ASCII-compatible system it is 0x80 or more.
    Raw(u8),
}

/// A growable string of characters and raw bytes.
///
/// # Examples
///
/// ```
/// use netproc_core::coding::{Char, Text};
///
/// let mut text = Text::from("né");
/// assert_eq!(text.as_str(), Some("né"));
/// text.push_raw(0xFF);
/// assert_eq!(text.as_str(), None);
/// assert_eq!(text.chars().last(), Some(Char::Raw(0xFF)));
/// assert_eq!(text.to_string_lossy(), "né\u{FFFD}");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text {
    bytes: Vec<u8>,
    /// How many raw bytes there are.
    raw: usize,
}

impl Text {
    /// Makes an empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), raw: 0 }
    }

    /// Makes an empty text with room for `bytes` bytes of UTF-8.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), raw: 0 }
    }

    /// Makes the text of a byte string: ASCII as characters, every other byte raw.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut text = Self::with_capacity(bytes.len());
        text.push_bytes(bytes);
        text
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes of memory the content takes; for text without raw bytes, its UTF-8 length.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// How many raw bytes are in it.
    #[must_use]
    pub fn raw_count(&self) -> usize {
        self.raw
    }

    /// The text as a `str`, or `None` when it holds raw bytes. Checks the content, in linear time.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if self.raw > 0 {
            return None;
        }
        str::from_utf8(&self.bytes).ok()
    }

    /// Its bytes where no coding is at work: characters in UTF-8, raw bytes as they are.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for piece in self.pieces() {
            match piece {
                Piece::Str(run) => bytes.extend_from_slice(run.as_bytes()),
                Piece::Raw(byte) => bytes.push(byte),
            }
        }
        bytes
    }

    /// The text as a string, U+FFFD in place of every raw byte.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        if let Some(text) = self.as_str() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(self.bytes.len() + self.raw);
        for piece in self.pieces() {
            match piece {
                Piece::Str(text) => out.push_str(text),
                Piece::Raw(_) => out.push(char::REPLACEMENT_CHARACTER),
            }
        }
        Cow::Owned(out)
    }

    /// The elements, in order.
    #[must_use]
    pub fn chars(&self) -> Chars<'_> {
        Chars { pieces: self.pieces(), current: "".chars() }
    }

    /// Appends one character.
    pub fn push(&mut self, character: char) {
        if character.is_ascii() {
            self.bytes.push(character as u8);
        } else {
            let mut utf8 = [0; 4];
            self.bytes.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
        }
    }

    /// Appends characters.
    pub fn push_str(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Appends a raw byte: it is sent as it is, whatever the coding system.
    pub fn push_raw(&mut self, byte: u8) {
        self.bytes.extend_from_slice(&[RAW_LEAD[usize::from(byte >> 6)], 0x80 | (byte & 0x3F)]);
        self.raw += 1;
    }

    /// Appends bytes that mean nothing: ASCII as characters, every other byte raw.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let (ascii, other) = rest.split_at(ascii_len(rest));
            self.bytes.extend_from_slice(ascii);
            let Some((&byte, tail)) = other.split_first() else { return };
            self.push_raw(byte);
            rest = tail;
        }
    }

    /// Appends another text.
    pub fn push_text(&mut self, text: &Self) {
        self.bytes.extend_from_slice(&text.bytes);
        self.raw += text.raw;
    }

    /// Empties the text; its memory is kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.raw = 0;
    }

    /// The runs of characters and the raw bytes between them.
    pub(super) fn pieces(&self) -> Pieces<'_> {
        Pieces { rest: &self.bytes, raw: self.raw }
    }

    /// The content from `start` on and everything before it, for changes among ASCII characters.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// A part of a text that an encoder handles in one go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    Str(&'a str),
    Raw(u8),
}

/// The pieces of a text; see [`Text::pieces`].
#[derive(Clone, Debug)]
pub(super) struct Pieces<'a> {
    rest: &'a [u8],
    /// Raw bytes still to come; once it is 0 the rest is one run.
    raw: usize,
}

impl<'a> Pieces<'a> {
    pub(super) const fn of_str(text: &'a str) -> Self {
        Self { rest: text.as_bytes(), raw: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let (&first, _) = self.rest.split_first()?;
        let top = RAW_LEAD.iter().position(|&lead| lead == first);
        if let (Some(top), Some((raw, tail))) = (top, self.rest.split_at_checked(2)) {
            self.rest = tail;
            self.raw -= 1;
            let top = u8::try_from(top).expect("there are four leads");
            return Some(Piece::Raw(top << 6 | raw[1] & 0x3F));
        }
        let end = if self.raw == 0 {
            self.rest.len()
        } else {
            self.rest.iter().position(|byte| RAW_LEAD.contains(byte)).unwrap_or(self.rest.len())
        };
        let (run, tail) = self.rest.split_at(end);
        self.rest = tail;
        Some(Piece::Str(str::from_utf8(run).expect("between raw bytes text is UTF-8")))
    }
}

/// The elements of a text; made by [`Text::chars`].
#[derive(Clone, Debug)]
pub struct Chars<'a> {
    pieces: Pieces<'a>,
    current: str::Chars<'a>,
}

impl Iterator for Chars<'_> {
    type Item = Char;

    fn next(&mut self) -> Option<Char> {
        loop {
            if let Some(character) = self.current.next() {
                return Some(Char::Unicode(character));
            }
            match self.pieces.next()? {
                Piece::Str(text) => self.current = text.chars(),
                Piece::Raw(byte) => return Some(Char::Raw(byte)),
            }
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), raw: 0 }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { bytes: text.into_bytes(), raw: 0 }
    }
}

impl FromIterator<Char> for Text {
    fn from_iter<I: IntoIterator<Item = Char>>(chars: I) -> Self {
        let mut text = Self::new();
        text.extend(chars);
        text
    }
}

impl Extend<Char> for Text {
    fn extend<I: IntoIterator<Item = Char>>(&mut self, chars: I) {
        for element in chars {
            match element {
                Char::Unicode(character) => self.push(character),
                Char::Raw(byte) => self.push_raw(byte),
            }
        }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.bytes == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// Printable ASCII as it is, `\u{E9}` for other characters, `\xE9` for raw bytes.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for element in self.chars() {
            match element {
                Char::Raw(byte) => write!(f, "\\x{byte:02X}")?,
                Char::Unicode('\n') => f.write_str("\\n")?,
                Char::Unicode('\r') => f.write_str("\\r")?,
                Char::Unicode('\t') => f.write_str("\\t")?,
                Char::Unicode(c @ ('"' | '\\')) => write!(f, "\\{c}")?,
                Char::Unicode(c @ ' '..='~') => write!(f, "{c}")?,
                Char::Unicode(c) => write!(f, "\\u{{{:X}}}", u32::from(c))?,
            }
        }
        f.write_str("\"")
    }
}

/// How many bytes at the start of `bytes` are ASCII.
pub(super) fn ascii_len(bytes: &[u8]) -> usize {
    const STEP: usize = 32;
    let whole = bytes.chunks_exact(STEP).take_while(|chunk| chunk.is_ascii()).count() * STEP;
    whole + bytes[whole..].iter().take_while(|byte| byte.is_ascii()).count()
}
