//! Names of coding systems: parsing, printing, and pairs of them.
//!
//! Invariant: a `CodingSystem` that exists can be converted; what is unknown or refused fails when
//! the name is parsed, in bounded time and with a bounded message however long the name is.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::{
    decoder::Decoder,
    encoder::Encoder,
    line_end::LineEnd,
    registry::{self, Codec, Entry},
};

/// A coding system: how characters are bytes, and how lines end.
///
/// Prints as the name it was asked for. Two are equal when their names are.
///
/// # Examples
///
/// ```
/// use netproc_core::coding::{CodingError, CodingSystem, LineEnd};
///
/// let system: CodingSystem = "latin-1-dos".parse()?;
/// assert_eq!(system.to_string(), "latin-1-dos");
/// assert_eq!((system.base(), system.line_end()), ("iso-latin-1", Some(LineEnd::Dos)));
/// assert!(matches!("latin-111".parse::<CodingSystem>(), Err(CodingError::Unknown(_))));
/// # Ok::<(), CodingError>(())
/// ```
#[derive(Clone, Copy)]
pub struct CodingSystem {
    entry: &'static Entry,
    /// The name asked for, without the line end.
    name: &'static str,
    line_end: Option<LineEnd>,
}

/// Why a name is no coding system of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodingError {
    /// There is no system of this name, which is cut when long.
    #[error("unknown coding system {0:?}")]
    Unknown(String),
    /// Emacs knows the system, netproc does not convert it.
    #[error("coding system {name} is not supported: {why}")]
    #[non_exhaustive]
    Refused {
        /// The name, as Emacs spells it first.
        name: &'static str,
        /// Why it is refused.
        why: &'static str,
    },
    /// Not of the form `(decoding . encoding)`; the text, cut when long.
    #[error("malformed pair of coding systems {0:?}")]
    MalformedPair(String),
}

/// What the message shows of a hostile name at most, and more than any name of ours has.
const NAME_MAX: usize = 64;

/// More than any pair of names has between its brackets, with room for spaces.
const PAIR_MAX: usize = 4 * NAME_MAX;

/// The start of a name, for a message.
fn shown(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}

impl CodingSystem {
    /// The system of a base name in our own tables.
    pub(super) fn known(name: &'static str, line_end: Option<LineEnd>) -> Self {
        let (entry, name) = registry::find(name).expect("the name is in the registry");
        let line_end = line_end.filter(|_| !matches!(entry.codec, Codec::Binary));
        Self { entry, name, line_end }
    }

    /// `utf-8-unix`, the default of a process in a UTF-8 locale.
    #[must_use]
    pub fn utf8_unix() -> Self {
        Self::known("utf-8", Some(LineEnd::Unix))
    }

    /// `binary`: bytes as they are.
    #[must_use]
    pub fn binary() -> Self {
        Self::known("binary", None)
    }

    /// `undecided`: guessed from the data.
    #[must_use]
    pub fn undecided() -> Self {
        Self::known("undecided", None)
    }

    /// The name of the system as Emacs spells it first, without a line end.
    #[must_use]
    pub const fn base(&self) -> &'static str {
        self.entry.names[0]
    }

    /// The line end that the name says; `None` if it is to be found out, or there is none.
    #[must_use]
    pub const fn line_end(&self) -> Option<LineEnd> {
        self.line_end
    }

    /// Whether bytes are taken as they are: `binary`, `no-conversion`.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        matches!(self.entry.codec, Codec::Binary)
    }

    /// Whether what it decodes is a unibyte string in Emacs, bytes instead of characters: `binary`,
    /// `no-conversion` and `raw-text` with any line end, and no other.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::coding::CodingSystem;
    ///
    /// for (name, expected) in [("binary", true), ("raw-text-dos", true), ("us-ascii", false)] {
    ///     assert_eq!(name.parse::<CodingSystem>()?.is_unibyte(), expected, "{name}");
    /// }
    /// # Ok::<(), netproc_core::coding::CodingError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs 28.2, measured: `multibyte-string-p` of what a filter is given.
    #[must_use]
    pub fn is_unibyte(&self) -> bool {
        matches!(self.entry.codec, Codec::Binary | Codec::RawText)
            && self.base() != "no-conversion-multibyte"
    }

    /// The system for sending: without a line end in its name it gets `-unix`, as
    /// `set-process-coding-system` does.
    #[must_use]
    pub fn for_encoding(self) -> Self {
        match self.line_end {
            None if !self.is_binary() => Self::known(self.base(), Some(LineEnd::Unix)),
            _ => self,
        }
    }

    /// The same system with this line end; for `binary`, which has none, `raw-text` with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::coding::{CodingSystem, LineEnd};
    ///
    /// let system: CodingSystem = "latin-1".parse()?;
    /// assert_eq!(system.with_line_end(LineEnd::Dos).to_string(), "latin-1-dos");
    /// let system = CodingSystem::binary().with_line_end(LineEnd::Dos);
    /// assert_eq!(system.to_string(), "raw-text-dos");
    /// # Ok::<(), netproc_core::coding::CodingError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Lisp and Coding Systems" (`coding-system-change-eol-conversion`).
    /// Differs: Emacs leaves `binary` as it is.
    #[must_use]
    pub fn with_line_end(self, line_end: LineEnd) -> Self {
        if self.is_binary() {
            Self::known("raw-text", Some(line_end))
        } else {
            Self { line_end: Some(line_end), ..self }
        }
    }

    /// The system that has the same line ends but no characters beyond ASCII: what
    /// `set-process-filter-multibyte` with nil puts in place.
    #[must_use]
    pub fn raw_text(self) -> Self {
        if self.is_binary() { self } else { Self::known("raw-text", self.line_end) }
    }

    pub(super) const fn codec(&self) -> &'static Codec {
        &self.entry.codec
    }
}

impl PartialEq for CodingSystem {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.line_end) == (other.name, other.line_end)
    }
}

impl Eq for CodingSystem {}

impl fmt::Display for CodingSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.line_end.map_or("", LineEnd::suffix))
    }
}

impl fmt::Debug for CodingSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodingSystem({self})")
    }
}

impl FromStr for CodingSystem {
    type Err = CodingError;

    fn from_str(text: &str) -> Result<Self, CodingError> {
        let unknown = || CodingError::Unknown(shown(text));
        if text.len() > NAME_MAX {
            return Err(unknown());
        }
        let cut = LineEnd::ALL
            .into_iter()
            .find_map(|line_end| Some((text.strip_suffix(line_end.suffix())?, line_end)));
        let (base, line_end) = cut.map_or((text, None), |(base, end)| (base, Some(end)));
        let (entry, name) = registry::find(base).ok_or_else(unknown)?;
        if let Codec::Refused(why) = entry.codec {
            return Err(CodingError::Refused { name: entry.names[0], why });
        }
        let system = Self { entry, name, line_end };
        if system.is_binary() && line_end.is_some() {
            return Err(unknown());
        }
        Ok(system)
    }
}

/// A system for what comes in and one for what goes out; either may be left open.
///
/// Parses a name, for both; `(DECODING . ENCODING)`, each a name or `nil`; and `(DECODING)`, which is
/// how Lisp writes `(DECODING . nil)`. `nil` alone is what Emacs takes for "not given": the default.
/// Names are Emacs's, aliases included, in lower case as there.
///
/// # Examples
///
/// ```
/// use netproc_core::coding::Coding;
///
/// let coding: Coding = "utf-8-dos".parse()?;
/// assert_eq!(coding.to_string(), "(utf-8-dos . utf-8-dos)");
/// let coding: Coding = "(utf-8 . raw-text)".parse()?;
/// assert_eq!(coding.encode.map(|system| system.base()), Some("raw-text"));
/// let coding: Coding = "(nil)".parse()?;
/// assert_eq!((coding.decode, coding.encode), (None, None));
/// assert_eq!("nil".parse(), Ok(Coding::default()));
/// # Ok::<(), netproc_core::coding::CodingError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a pair, and named so that its halves are not mixed up"
)]
pub struct Coding {
    /// How bytes received become text; `None` is Emacs's nil: guessed.
    pub decode: Option<CodingSystem>,
    /// How text sent becomes bytes; `None` is Emacs's nil: the default when first needed.
    pub encode: Option<CodingSystem>,
}

impl Coding {
    /// A decoder for a new stream.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.decode.unwrap_or_else(CodingSystem::undecided))
    }

    /// An encoder for a new stream.
    #[must_use]
    pub fn encoder(&self) -> Encoder {
        Encoder::new(self.encode.unwrap_or_else(CodingSystem::utf8_unix))
    }
}

impl From<CodingSystem> for Coding {
    fn from(system: CodingSystem) -> Self {
        Self { decode: Some(system), encode: Some(system) }
    }
}

impl Default for Coding {
    /// Both `utf-8-unix`, the default of Emacs in a UTF-8 locale.
    fn default() -> Self {
        CodingSystem::utf8_unix().into()
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = |system: Option<CodingSystem>| {
            system.map_or_else(|| "nil".to_owned(), |system| system.to_string())
        };
        write!(f, "({} . {})", half(self.decode), half(self.encode))
    }
}

impl TryFrom<&str> for Coding {
    type Error = CodingError;

    fn try_from(text: &str) -> Result<Self, CodingError> {
        text.parse()
    }
}

/// A pair that is one already cannot be wrong: lets a caller give a name or a pair.
impl From<std::convert::Infallible> for CodingError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl FromStr for Coding {
    type Err = CodingError;

    fn from_str(text: &str) -> Result<Self, CodingError> {
        let half = |name: &str| match name.trim() {
            "nil" => Ok(None),
            name => name.parse().map(Some),
        };
        let Some(inner) = text.strip_prefix('(') else {
            return match text {
                "nil" => Ok(Self::default()),
                name => name.parse().map(|system: CodingSystem| system.into()),
            };
        };
        let malformed = || CodingError::MalformedPair(shown(text));
        // Longer than any pair: not even looked through.
        let inner = inner.strip_suffix(')').filter(|inner| inner.len() <= PAIR_MAX);
        let inner = inner.ok_or_else(malformed)?;
        let Some((decode, encode)) = inner.split_once(" . ") else {
            // A list of one is a pair whose second half is nil; a list of none or two is no pair.
            let alone = inner.split_whitespace().count() == 1;
            let decode = if alone { half(inner)? } else { return Err(malformed()) };
            return Ok(Self { decode, encode: None });
        };
        Ok(Self { decode: half(decode)?, encode: half(encode)? })
    }
}
