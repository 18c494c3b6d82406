//! Regular expressions as Emacs writes them, matched against bytes in linear time.
//!
//! Invariant: no search looks at a byte twice, whatever the expression; see [`search`]. The parser of
//! `parse` knows Emacs's syntax and makes a tree of it, the crate `regex-syntax` keeps the tree, and
//! `regex-automata` turns it into an automaton. What a byte is (a letter, a space) is in `syntax`.
//! Captures and back-references are left out: nobody here asks what a group matched.

mod parse;
mod search;
mod syntax;

use std::fmt;

use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use regex_syntax::hir::{Hir, Look};

pub(super) use self::search::{Next, Search};

/// What an automaton may take, in bytes: some thousand states, each looked at once per byte of text.
const SIZE_MAX: usize = 128 << 10;

/// A regular expression in Emacs's syntax, over bytes.
///
/// It reads as `string-match` and `re-search-forward` read it, with the standard syntax table, in a
/// buffer whose text came in by the coding `binary`: every byte is one character, and those from 128
/// are letters of no case. A character of the expression beyond ASCII stands for its UTF-8 bytes.
/// Matching takes time linear in the text.
///
/// | written | matches |
/// | --- | --- |
/// | `.` | any byte but a line feed |
/// | `x*` `x+` `x?` and `x*?` `x+?` `x??` | as ever; where there is nothing to repeat, themselves |
/// | `x\{3\}` `x\{2,\}` `x\{,5\}` `x\{2,5\}` | so many times |
/// | `[a-z]` `[^a-z]` `[[:alpha:]]` | sets; `\` is nothing special in them |
/// | `\(x\)` `\(?:x\)` `\(?3:x\)` `x\|y` | groups, alternatives |
/// | `^` `$` | beginning and end of a line; elsewhere in an expression themselves |
/// | `` \` `` `\'` | beginning and end of everything |
/// | `\b` `\B` `\<` `\>` `\_<` `\_>` | ends of words and symbols |
/// | `\w` `\W` `\s-` `\S-` | by syntax class |
///
/// Refused are back-references (`\1`), categories (`\cg`), point (`\=`), a repeated assertion
/// (`\b*`), and beyond ASCII the ends of ranges and members of negated sets.
///
/// # Examples
///
/// ```
/// use netproc_core::dialogue::Regexp;
///
/// let answer = Regexp::new(r"^[0-9]+ .*\(ready\|go ahead\)")?;
/// assert!(answer.is_match(b"220-one\r\n220 Go ahead\r\n"));
/// assert!(!answer.is_match(b"454 not now\r\n"));
/// let refused = Regexp::new(r"\(a\)\1").unwrap_err();
/// assert_eq!(refused.to_string(), "at 5: back-references are not supported");
/// # Ok::<(), netproc_core::dialogue::RegexpError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual, "Syntax of Regular Expressions". Differs: see above, and that letters beyond
/// ASCII keep their case.
#[derive(Clone)]
pub struct Regexp {
    source: String,
    nfa: NFA,
    hir: Hir,
}

impl Regexp {
    /// Reads an expression that takes no notice of the case of ASCII letters, as Emacs does unless
    /// `case-fold-search` is nil.
    ///
    /// # Errors
    ///
    /// [`RegexpError`], with the place in `pattern`.
    pub fn new(pattern: &str) -> Result<Self, RegexpError> {
        Self::with_case(pattern, Case::Folded)
    }

    /// Reads an expression for which `a` and `A` are different, as with `case-fold-search` nil.
    ///
    /// # Errors
    ///
    /// [`RegexpError`], with the place in `pattern`.
    pub fn exact(pattern: &str) -> Result<Self, RegexpError> {
        Self::with_case(pattern, Case::Exact)
    }

    fn with_case(pattern: &str, case: Case) -> Result<Self, RegexpError> {
        let hir = parse::parse(pattern, case)?;
        let configuration = NFA::config()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(SIZE_MAX));
        let nfa = NFA::compiler().configure(configuration).build_from_hir(&hir);
        let too_big = |_| RegexpError { position: 0, kind: RegexpErrorKind::TooBig };
        Ok(Self { source: pattern.to_owned(), nfa: nfa.map_err(too_big)?, hir })
    }

    /// Whether it matches anywhere in `text`, which is all there is.
    ///
    /// Never blocks; takes time in proportion to the length of `text`.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        let mut search = Search::new(None);
        let found = text.iter().any(|&byte| {
            let found = search.matches(&self.nfa, Next::Byte(byte));
            search.step(&self.nfa, byte);
            found
        });
        found || search.matches(&self.nfa, Next::End)
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it matches where there is nothing to match, or only there.
    pub(super) fn matches_empty(&self) -> bool {
        self.hir.properties().minimum_len() == Some(0)
    }

    /// Whether no text makes it match before it is known that nothing follows.
    pub(super) fn waits_for_the_end(&self) -> bool {
        let properties = self.hir.properties();
        properties.minimum_len().is_none() || properties.look_set_suffix().contains(Look::End)
    }

    pub(super) const fn nfa(&self) -> &NFA {
        &self.nfa
    }
}

impl fmt::Debug for Regexp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regexp").field(&self.source).finish()
    }
}

/// Whether the letters `a` and `A` are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    Folded,
    Exact,
}

/// Why a text is no regular expression, or none that is matched here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at {position}: {kind}")]
#[non_exhaustive]
pub struct RegexpError {
    /// Where it was found out: a count of bytes from the beginning of the expression.
    pub position: usize,
    /// What is wrong.
    pub kind: RegexpErrorKind,
}

impl RegexpError {
    /// What Emacs says behind "Invalid regexp: ", for what Emacs refuses as well.
    #[must_use]
    pub const fn emacs_message(&self) -> Option<&'static str> {
        Some(match self.kind {
            RegexpErrorKind::UnmatchedBracket => "Unmatched [ or [^",
            RegexpErrorKind::UnmatchedOpen => "Unmatched ( or \\(",
            RegexpErrorKind::UnmatchedClose => "Unmatched ) or \\)",
            RegexpErrorKind::UnmatchedBrace => "Unmatched \\{",
            RegexpErrorKind::Repetition => "Invalid content of \\{\\}",
            RegexpErrorKind::ClassName => "Invalid character class name",
            RegexpErrorKind::TrailingBackslash => "Trailing backslash",
            RegexpErrorKind::Group => "Invalid regular expression",
            RegexpErrorKind::PrematureEnd => "Premature end of regular expression",
            RegexpErrorKind::TooBig | RegexpErrorKind::TooDeep => "Regular expression too big",
            RegexpErrorKind::BackReference
            | RegexpErrorKind::Category
            | RegexpErrorKind::Point
            | RegexpErrorKind::RepeatedAssertion
            | RegexpErrorKind::SyntaxClass
            | RegexpErrorKind::BeyondAscii => return None,
        })
    }
}

/// What is wrong with an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegexpErrorKind {
    /// A set without its `]`.
    #[error("the set has no end")]
    UnmatchedBracket,
    /// A `\(` without its `\)`.
    #[error("the group has no end")]
    UnmatchedOpen,
    /// A `\)` without its `\(`.
    #[error("a group ends that has no beginning")]
    UnmatchedClose,
    /// A `\{` without its `\}`.
    #[error("the repetition has no end")]
    UnmatchedBrace,
    /// Something else than one or two numbers up to 65,535, in order, between `\{` and `\}`.
    #[error("no repetition")]
    Repetition,
    /// A class such as `[:foo:]`.
    #[error("no character class of this name")]
    ClassName,
    /// A `\` at the end.
    #[error("nothing follows the backslash")]
    TrailingBackslash,
    /// A `\(?` that leads to no group, or a `\_` that leads to no assertion.
    #[error("no such construct")]
    Group,
    /// A construct that is cut off.
    #[error("the expression ends within a construct")]
    PrematureEnd,
    /// The automaton would take too much memory.
    #[error("too big")]
    TooBig,
    /// More than 200 groups or repetitions within one another.
    #[error("too deep")]
    TooDeep,
    /// `\1` to `\9`.
    #[error("back-references are not supported")]
    BackReference,
    /// `\cX` or `\CX`.
    #[error("character categories are not supported")]
    Category,
    /// `\=`.
    #[error("there is no point to match at")]
    Point,
    /// Something like `\b*`.
    #[error("a repeated assertion is not supported")]
    RepeatedAssertion,
    /// A letter behind `\s` or `\S` that names no syntax class.
    #[error("no syntax class of this letter")]
    SyntaxClass,
    /// A character beyond ASCII as the end of a range or in a negated set.
    #[error("beyond ASCII only single characters of sets that are not negated are supported")]
    BeyondAscii,
}
