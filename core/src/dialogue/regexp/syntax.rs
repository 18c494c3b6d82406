//! What a byte is: Emacs's standard syntax table and its character classes, for bytes.
//!
//! Invariant: as in a buffer without a mode of its own whose text came in by the coding `binary`;
//! `tests/golden/regexp.tsv` holds Emacs's answers. Case is left to the parser.

/// A set of bytes as ranges, both ends included.
pub(super) type Ranges = &'static [(u8, u8)];

const WORD: Ranges = &[(b'$', b'%'), (b'0', b'9'), (b'A', b'Z'), (b'a', b'z'), (0x80, 0xFF)];
const SPACE: Ranges = &[(b'\t', b'\n'), (0x0C, b'\r'), (b' ', b' ')];
const SYMBOL: Ranges = &[
    (b'&', b'&'),
    (b'*', b'+'),
    (b'-', b'-'),
    (b'/', b'/'),
    (b'<', b'>'),
    (b'_', b'_'),
    (b'|', b'|'),
];
const OPEN: Ranges = &[(b'(', b'('), (b'[', b'['), (b'{', b'{')];
const CLOSE: Ranges = &[(b')', b')'), (b']', b']'), (b'}', b'}')];
const PUNCTUATION: Ranges = &[
    (0, 8),
    (0x0B, 0x0B),
    (0x0E, 0x1F),
    (b'!', b'!'),
    (b'#', b'#'),
    (b'\'', b'\''),
    (b',', b','),
    (b'.', b'.'),
    (b':', b';'),
    (b'?', b'@'),
    (b'^', b'^'),
    (b'`', b'`'),
    (b'~', 0x7F),
];

/// The bytes of a syntax class by its letter; `None` when there is no such class.
pub(super) const fn class_of(letter: char) -> Option<Ranges> {
    Some(match letter {
        '-' | ' ' => SPACE,
        'w' => WORD,
        '_' => SYMBOL,
        '.' => PUNCTUATION,
        '(' => OPEN,
        ')' => CLOSE,
        '"' => &[(b'"', b'"')],
        '\\' => &[(b'\\', b'\\')],
        // Classes that hold nothing in the standard table.
        '/' | '$' | '\'' | '<' | '>' | '@' | '!' | '|' => &[],
        _ => return None,
    })
}

/// The bytes of a class such as `alpha`; `None` when there is no such class.
pub(super) fn named(name: &str) -> Option<Ranges> {
    Some(match name {
        "alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        "alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        "ascii" | "unibyte" => &[(0, 0x7F)],
        "blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        "cntrl" => &[(0, 0x1F)],
        "digit" => &[(b'0', b'9')],
        "graph" => &[(b'!', b'~')],
        "lower" => &[(b'a', b'z')],
        // Bytes from 128 are neither: they are no characters.
        "multibyte" | "nonascii" => &[],
        "print" => &[(b' ', b'~')],
        "punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        "space" => SPACE,
        "upper" => &[(b'A', b'Z')],
        "word" => WORD,
        "xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    })
}

/// What a byte is to the words or symbols around it. Neighbours of one kind are not parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Part of none.
    Other,
    /// A letter, digit or sign.
    Ascii,
    /// A byte from 128: a letter, but of another script, so it parts words.
    High,
}

fn is_in(byte: u8, ranges: Ranges) -> bool {
    ranges.iter().any(|&(first, last)| (first..=last).contains(&byte))
}

/// What `byte` is to words.
pub(super) fn word_kind(byte: u8) -> Kind {
    match byte {
        0x80.. => Kind::High,
        _ if is_in(byte, WORD) => Kind::Ascii,
        _ => Kind::Other,
    }
}

/// What `byte` is to symbols, which take words and know no scripts.
pub(super) fn symbol_kind(byte: u8) -> Kind {
    if is_in(byte, WORD) || is_in(byte, SYMBOL) { Kind::Ascii } else { Kind::Other }
}
