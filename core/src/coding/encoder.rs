//! Encoding: text to bytes, with line ends, marks and replacements.
//!
//! Invariant: every call leaves the bytes in the system's initial state, so calls may be cut apart
//! anywhere and one's bytes read alone; only a byte order mark is written once, before all. A raw
//! byte is written as it is. What is sent when is left to the engine.

use thiserror::Error;

use super::{
    hz, iso2022,
    line_end::LineEnd,
    registry::Codec,
    system::CodingSystem,
    text::{Piece, Pieces, Text},
    utf7,
    utf8::{MARK, Signature},
    utf16::Endian,
};

/// An encoder of the text part of a coding system.
pub(super) trait Writer {
    /// How many bytes of UTF-8 at the start of `text` are written as they are.
    fn plain(&self, text: &str) -> usize;

    /// Writes one character, or returns false and writes nothing when it has no code.
    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool;

    /// Writes a byte of its own.
    fn raw(&mut self, byte: u8, out: &mut Vec<u8>) {
        out.push(byte);
    }

    /// What stands in for a character without a code.
    fn replacement(&self) -> char {
        ' '
    }

    /// Is told that a line ended.
    fn line_end(&mut self) {}

    /// Goes back to the initial state.
    fn end(&mut self, _out: &mut Vec<u8>) {}
}

/// Text to be encoded: a [`Text`] or a `str`.
#[derive(Clone, Debug)]
pub struct TextRef<'a>(pub(super) Pieces<'a>);

impl<'a> From<&'a Text> for TextRef<'a> {
    fn from(text: &'a Text) -> Self {
        Self(text.pieces())
    }
}

impl<'a> From<&'a str> for TextRef<'a> {
    fn from(text: &'a str) -> Self {
        Self(Pieces::of_str(text))
    }
}

impl<'a> From<&'a String> for TextRef<'a> {
    fn from(text: &'a String) -> Self {
        Self(Pieces::of_str(text))
    }
}

/// What became of an encoded text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeReport {
    /// How many characters the system cannot express; each was replaced by one it can.
    pub replaced: usize,
}

/// A character that the coding system cannot express; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{system} cannot express {character:?}, character {position} of the text")]
#[non_exhaustive]
pub struct EncodeError {
    /// The system asked for.
    pub system: CodingSystem,
    /// The first character without a code.
    pub character: char,
    /// How many characters and raw bytes stand before it.
    pub position: usize,
}

/// Where the first character without a code was: in which piece of the text, and where in that.
type First = Option<(usize, usize)>;

/// Encodes the text that goes out on one stream.
///
/// # Examples
///
/// ```
/// use netproc_core::coding::{CodingSystem, Encoder};
///
/// let system: CodingSystem = "iso-latin-1-dos".parse()?;
/// let mut encoder = Encoder::new(system);
/// let mut bytes = Vec::new();
/// let report = encoder.encode("né €\n", &mut bytes);
/// assert_eq!((bytes.as_slice(), report.replaced), (&b"n\xE9  \r\n"[..], 1));
/// let error = encoder.try_encode("né €\n", &mut bytes).unwrap_err();
/// assert_eq!((error.character, error.position), ('€', 3));
/// # Ok::<(), netproc_core::coding::CodingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    system: CodingSystem,
    /// Whether a mark, if the system has one, was written.
    started: bool,
}

impl Encoder {
    /// Makes an encoder at the start of a stream.
    #[must_use]
    pub const fn new(system: CodingSystem) -> Self {
        Self { system, started: false }
    }

    /// The system it encodes in.
    #[must_use]
    pub const fn system(&self) -> CodingSystem {
        self.system
    }

    /// Appends `text` to `out`, encoded. Line ends become those of the system; raw bytes stay; a
    /// character that the system cannot express becomes a space (`?` in us-ascii) and is counted.
    ///
    /// # Source
    ///
    /// Emacs 28.2, measured. Differs: a raw byte in UTF-16 is written, where Emacs puts a space; a
    /// mark is written once a stream, where Emacs repeats it after an empty string; HZ has a space
    /// where Emacs writes `\u4E00`.
    pub fn encode<'a>(&mut self, text: impl Into<TextRef<'a>>, out: &mut Vec<u8>) -> EncodeReport {
        let (replaced, _) = self.run(text.into().0, out);
        EncodeReport { replaced }
    }

    /// Appends `text` to `out` like [`encode`](Self::encode), but only if nothing is replaced.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] names the first character without a code; nothing was appended.
    pub fn try_encode<'a>(
        &mut self,
        text: impl Into<TextRef<'a>>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let pieces = text.into().0;
        let (len, started) = (out.len(), self.started);
        let (_, first) = self.run(pieces.clone(), out);
        let Some((piece, at)) = first else { return Ok(()) };
        out.truncate(len);
        self.started = started;
        let (character, position) = locate(pieces, piece, at);
        Err(EncodeError { system: self.system, character, position })
    }

    /// Appends `bytes` to `out` as Emacs sends a *unibyte* string: not encoded, whatever the system, but
    /// every LF becomes the system's line end, one behind a CR too. No mark is written for them, and
    /// text sent later still gets its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::coding::{CodingSystem, Encoder};
    ///
    /// let system: CodingSystem = "utf-16-dos".parse()?;
    /// let mut encoder = Encoder::new(system);
    /// let mut bytes = Vec::new();
    /// encoder.encode_bytes(b"caf\xE9\n", &mut bytes);
    /// assert_eq!(bytes, b"caf\xE9\r\n");
    /// encoder.encode("x", &mut bytes);
    /// assert_eq!(bytes, b"caf\xE9\r\n\xFE\xFF\0x");
    /// # Ok::<(), netproc_core::coding::CodingError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Input to Processes"; measured.
    pub fn encode_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let line_end: &[u8] = match self.system.line_end() {
            None | Some(LineEnd::Unix) => return out.extend_from_slice(bytes),
            Some(LineEnd::Dos) => b"\r\n",
            Some(LineEnd::Mac) => b"\r",
        };
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(content) => {
                    out.extend_from_slice(content);
                    out.extend_from_slice(line_end);
                }
                None => out.extend_from_slice(line),
            }
        }
    }

    fn run(&mut self, pieces: Pieces<'_>, out: &mut Vec<u8>) -> (usize, First) {
        if pieces.is_empty() {
            return (0, None);
        }
        let first = !std::mem::replace(&mut self.started, true);
        let line_end = self.system.line_end().unwrap_or(LineEnd::Unix);
        match self.system.codec() {
            Codec::Binary => write(Utf8, pieces, LineEnd::Unix, out),
            Codec::RawText | Codec::Undecided | Codec::Refused(_) => {
                write(Utf8, pieces, line_end, out)
            }
            Codec::Utf8(signature) => {
                if first && *signature == Signature::Mark {
                    out.extend_from_slice(MARK);
                }
                write(Utf8, pieces, line_end, out)
            }
            Codec::Utf16(endian, signature) => {
                if first && *signature != Signature::None {
                    out.extend_from_slice(&endian.bytes(0xFEFF));
                }
                write(Utf16(*endian), pieces, line_end, out)
            }
            Codec::Utf7(variant) => write(utf7::Sender::new(*variant), pieces, line_end, out),
            Codec::Hz => write(hz::Sender::default(), pieces, line_end, out),
            Codec::Iso2022(system) => write(iso2022::Sender::new(*system), pieces, line_end, out),
            Codec::MultiByte(system) => write(*system, pieces, line_end, out),
            Codec::SingleByte(system) => write(system, pieces, line_end, out),
        }
    }
}

/// Writes all `pieces` and returns how many characters were replaced, and where the first was.
fn write<W: Writer>(
    mut writer: W,
    pieces: Pieces<'_>,
    line_end: LineEnd,
    out: &mut Vec<u8>,
) -> (usize, First) {
    let (mut replaced, mut first) = (0, None);
    for (index, piece) in pieces.enumerate() {
        let text = match piece {
            Piece::Raw(byte) => {
                writer.raw(byte, out);
                continue;
            }
            Piece::Str(text) => text,
        };
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let content = match line_end {
                LineEnd::Unix => line,
                LineEnd::Dos | LineEnd::Mac => line.strip_suffix('\n').unwrap_or(line),
            };
            write_run(&mut writer, content, out, |offset| {
                replaced += 1;
                first.get_or_insert((index, at + offset));
            });
            if content.len() < line.len() {
                write_line_end(&mut writer, line_end, out);
            }
            if line.ends_with('\n') {
                writer.line_end();
            }
            at += line.len();
        }
    }
    writer.end(out);
    (replaced, first)
}

/// Writes one run of characters; calls `missing` with the place of each that has no code.
fn write_run<W: Writer>(
    writer: &mut W,
    text: &str,
    out: &mut Vec<u8>,
    mut missing: impl FnMut(usize),
) {
    let mut at = 0;
    while at < text.len() {
        let plain = writer.plain(&text[at..]);
        out.extend_from_slice(&text.as_bytes()[at..at + plain]);
        at += plain;
        let Some(character) = text[at..].chars().next() else { break };
        if !writer.write(character, out) {
            if character == '\n' {
                // DIFFERENCE: the two systems without control characters lose line ends in Emacs.
                out.push(b'\n');
            } else {
                missing(at);
                writer.write(writer.replacement(), out);
            }
        }
        at += character.len_utf8();
    }
}

fn write_line_end<W: Writer>(writer: &mut W, line_end: LineEnd, out: &mut Vec<u8>) {
    let characters: &[char] = match line_end {
        LineEnd::Unix => &['\n'],
        LineEnd::Dos => &['\r', '\n'],
        LineEnd::Mac => &['\r'],
    };
    for &character in characters {
        if !writer.write(character, out) {
            out.push(character as u8);
        }
    }
}

/// The character at byte `at` of piece number `piece`, and how many elements stand before it.
fn locate(pieces: Pieces<'_>, piece: usize, at: usize) -> (char, usize) {
    let mut position = 0;
    for (index, part) in pieces.enumerate() {
        position += match part {
            Piece::Str(text) if index == piece => {
                let character = text[at..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
                return (character, position + text[..at].chars().count());
            }
            Piece::Str(text) => text.chars().count(),
            Piece::Raw(_) => 1,
        };
    }
    (char::REPLACEMENT_CHARACTER, position)
}

/// Encodes UTF-8, which is what text is in.
struct Utf8;

impl Writer for Utf8 {
    fn plain(&self, text: &str) -> usize {
        text.len()
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        true
    }
}

/// Encodes UTF-16.
struct Utf16(Endian);

impl Writer for Utf16 {
    fn plain(&self, _text: &str) -> usize {
        0
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(&self.0.bytes(*unit));
        }
        true
    }
}
