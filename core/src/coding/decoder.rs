//! Decoding: the bytes of one stream to text, read by read.
//!
//! Invariant: the text is the same however the stream is cut, but for what a read decides for good:
//! the line end of a system named without one, and the system behind `undecided`. What a byte means
//! is left to the machines.

use super::{
    hz, iso2022,
    line_end::{LineEnd, LineEnds},
    machine::{self, Machine, Pending},
    multi_byte::MultiByte,
    registry::Codec,
    single_byte::SingleByte,
    system::CodingSystem,
    text::{Text, ascii_len},
    utf7,
    utf8::{RawBytes, Utf8},
    utf16::Utf16,
};

/// Decodes the bytes of one stream.
///
/// # Examples
///
/// ```
/// use netproc_core::coding::{CodingSystem, Decoder, Text};
///
/// let mut decoder = Decoder::new("latin-1".parse()?);
/// let mut text = Text::new();
/// decoder.decode(b"caf\xE9\r\n", &mut text);
/// assert_eq!(text.as_str(), Some("café\n"));
/// assert_eq!(decoder.system().to_string(), "iso-latin-1-dos");
/// # Ok::<(), netproc_core::coding::CodingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    system: CodingSystem,
    inner: Inner,
    pending: Pending,
    line_ends: LineEnds,
    /// Whether no byte was decoded yet.
    at_start: bool,
}

/// The machine of the system in use.
#[derive(Clone, Debug)]
enum Inner {
    Raw(RawBytes),
    Utf8(Utf8),
    Utf16(Utf16),
    Utf7(utf7::Reader),
    Hz(hz::Reader),
    Iso2022(iso2022::Reader),
    MultiByte(MultiByte),
    SingleByte(&'static SingleByte),
    /// Only ASCII came so far, and the system is `undecided`; it goes the way of raw bytes.
    Undecided(RawBytes),
}

/// Evaluates an expression with the machine that is in use.
macro_rules! with_machine {
    ($inner:expr, $machine:ident => $body:expr) => {
        match $inner {
            Inner::Raw($machine) | Inner::Undecided($machine) => $body,
            Inner::Utf8($machine) => $body,
            Inner::Utf16($machine) => $body,
            Inner::Utf7($machine) => $body,
            Inner::Hz($machine) => $body,
            Inner::Iso2022($machine) => $body,
            Inner::MultiByte($machine) => $body,
            Inner::SingleByte($machine) => $body,
        }
    };
}

impl Inner {
    fn new(system: CodingSystem) -> Self {
        match system.codec() {
            Codec::Binary | Codec::RawText | Codec::Refused(_) => Self::Raw(RawBytes),
            Codec::Undecided => Self::Undecided(RawBytes),
            Codec::Utf8(signature) => Self::Utf8(Utf8::new(*signature)),
            Codec::Utf16(endian, signature) => Self::Utf16(Utf16::new(*endian, *signature)),
            Codec::Utf7(variant) => Self::Utf7(utf7::Reader::new(*variant)),
            Codec::Hz => Self::Hz(hz::Reader::default()),
            Codec::Iso2022(system) => Self::Iso2022(iso2022::Reader::new(*system)),
            Codec::MultiByte(system) => Self::MultiByte(*system),
            Codec::SingleByte(system) => Self::SingleByte(system),
        }
    }
}

impl Decoder {
    /// Makes a decoder at the start of a stream.
    #[must_use]
    pub fn new(system: CodingSystem) -> Self {
        // Where there are no line ends there is nothing to find out.
        let unconverted = system.is_binary().then_some(LineEnd::Unix);
        let line_ends = LineEnds::new(system.line_end().or(unconverted));
        let inner = Inner::new(system);
        Self { system, inner, pending: Pending::default(), line_ends, at_start: true }
    }

    /// The system as it is known by now: a read may have decided its line end or its text part.
    #[must_use]
    pub const fn system(&self) -> CodingSystem {
        self.system
    }

    /// Whether bytes wait for the rest of their character, or a CR for what follows it.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.as_slice().is_empty() || self.line_ends.is_held()
    }

    /// Appends to `out` the text of `bytes`, the next read of the stream, as far as it is complete.
    pub fn decode(&mut self, bytes: &[u8], out: &mut Text) {
        let start = out.byte_len();
        self.line_ends.before(out);
        let undecided = matches!(self.inner, Inner::Undecided(_));
        let rest = if undecided { self.decide(bytes, out) } else { Some(bytes) };
        if let Some(rest) = rest {
            with_machine!(&mut self.inner, machine => {
                machine::decode(machine, &mut self.pending, rest, out);
            });
        }
        self.at_start &= bytes.is_empty();
        self.line_ends.after(out, start);
        self.note_found();
    }

    /// Appends to `out` what is kept, as raw bytes; a held CR as CR. The stream has ended; the next
    /// read would be the start of another in the system found for this one.
    pub fn finish(&mut self, out: &mut Text) {
        self.line_ends.finish(out);
        with_machine!(&mut self.inner, machine => {
            machine::finish(machine, &mut self.pending, out);
        });
        *self = Self::new(self.system);
    }

    /// Takes over what the reads so far decided.
    fn note_found(&mut self) {
        let found = with_machine!(&self.inner, machine => machine.found());
        if let Some(name) = found.filter(|name| *name != self.system.base()) {
            self.system = CodingSystem::known(name, self.system.line_end());
        }
        let line_end = self.line_ends.kind();
        if line_end != self.system.line_end() && !self.system.is_binary() {
            self.system = CodingSystem::known(self.system.base(), line_end);
        }
    }

    /// Looks at a read of a stream in an undecided system, and picks one at the first byte that is
    /// not ASCII. Returns what is left to be decoded; `None` as long as none is picked.
    ///
    /// DIFFERENCE: Emacs weighs many systems by a list of priorities, takes NUL for
    /// binary data and ESC for ISO 2022. Here it is UTF-16 after its mark at the start of the
    /// stream, UTF-8 if the read is that, else Latin-1 without its control characters, else none.
    fn decide<'a>(&mut self, bytes: &'a [u8], out: &mut Text) -> Option<&'a [u8]> {
        let kept = self.pending.as_slice().len();
        let plain = if kept == 0 { ascii_len(bytes) } else { 0 };
        let (ascii, rest) = bytes.split_at(plain);
        out.buffer().extend_from_slice(ascii);
        let (joined, len) = self.pending.join(rest);
        let at_start = self.at_start && plain == 0 || kept > 0 && self.mark_possible();
        match guess(&joined[..len], kept, rest, at_start) {
            Guess::Wait => {
                self.pending.set(&joined[..len]);
                None
            }
            Guess::System(name) => {
                self.system = CodingSystem::known(name, self.system.line_end());
                self.inner = Inner::new(self.system);
                Some(rest)
            }
        }
    }

    /// Whether what is pending is the first half of a mark, kept at the start of the stream.
    fn mark_possible(&self) -> bool {
        matches!(self.pending.as_slice(), [0xFE | 0xFF])
    }
}

/// What the first bytes beyond ASCII say.
enum Guess {
    /// Too little.
    Wait,
    System(&'static str),
}

/// Judges a read: `head` is what was kept, `kept` bytes, and the start of `rest`.
fn guess(head: &[u8], kept: usize, rest: &[u8], at_start: bool) -> Guess {
    match head {
        [] => return Guess::Wait,
        [0xFE | 0xFF] if at_start => return Guess::Wait,
        [0xFE, 0xFF, ..] if at_start => return Guess::System("utf-16be-with-signature"),
        [0xFF, 0xFE, ..] if at_start => return Guess::System("utf-16le-with-signature"),
        _ => {}
    }
    let mut valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) if error.valid_up_to() > 0 => true,
        Err(error) if error.error_len().is_none() => return Guess::Wait,
        Err(_) => false,
    };
    if valid {
        // The first character reaches `first` bytes into the join, the rest of it is in `rest`.
        let first = utf8_len(head[0]).max(kept);
        let tail = rest.get(first - kept..).unwrap_or_default();
        valid = is_utf8_so_far(tail);
    }
    let is_control = |byte: &u8| (0x80..0xA0).contains(byte);
    Guess::System(if valid {
        "utf-8"
    } else if head[..kept].iter().chain(rest).any(is_control) {
        "raw-text"
    } else {
        "iso-latin-1"
    })
}

/// How long the character with this first byte is.
const fn utf8_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}

/// Whether bytes are UTF-8, but perhaps for a character that more bytes would complete.
fn is_utf8_so_far(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}
