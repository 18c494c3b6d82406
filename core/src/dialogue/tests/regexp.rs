//! Regular expressions against the answers of Emacs 28.2, which `tests/golden/regexp.el` asked for.

use crate::dialogue::{Regexp, RegexpError, RegexpErrorKind as Kind};

const GOLDEN: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/regexp.tsv"));

/// DIFFERENCE: what Emacs accepts and we refuse, because it means something else from one such
/// assertion to the next, needs a point or has no class.
const REFUSED: &[(&str, Kind)] = &[
    (r"\b+", Kind::RepeatedAssertion),
    (r"\>*", Kind::RepeatedAssertion),
    (r"\(a\)\1", Kind::BackReference),
    (r"\ca", Kind::Category),
    (r"\Ca", Kind::Category),
    (r"\=a", Kind::Point),
    (r"\s~", Kind::SyntaxClass),
    (r"\s;a", Kind::SyntaxClass),
];

fn unquoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend(parts.next().unwrap().bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    bytes
}

fn compile(case: &str, pattern: &str) -> Result<Regexp, RegexpError> {
    let pattern = String::from_utf8(unquoted(pattern)).unwrap();
    match case {
        "fold" => Regexp::new(&pattern),
        "exact" => Regexp::exact(&pattern),
        _ => panic!("{case}"),
    }
}

/// An answer as `regexp.el` writes it.
fn answer(regexp: &Regexp, text: &[u8]) -> String {
    let first = (0..=text.len()).find(|&len| regexp.is_match(&text[..len]));
    let first = first.map_or_else(|| "-".to_owned(), |len| len.to_string());
    format!("{}{first}", if regexp.is_match(text) { 'y' } else { 'n' })
}

#[test]
fn expressions_match_what_they_match_in_emacs() {
    let mut texts = Vec::new();
    let (mut differing, mut count) = (Vec::new(), 0);
    for line in GOLDEN.lines() {
        let row: Vec<&str> = line.split('\t').collect();
        let [case, pattern, emacs] = row[..] else {
            texts.push(unquoted(row[1]));
            continue;
        };
        let ours = match compile(case, pattern) {
            Ok(regexp) => {
                let answers: Vec<String> = texts.iter().map(|text| answer(&regexp, text)).collect();
                answers.join(" ")
            }
            Err(error) => match error.emacs_message() {
                Some(message) => format!("error: {message}"),
                None if REFUSED.contains(&(pattern, error.kind)) => continue,
                None => format!("refused: {error}"),
            },
        };
        count += texts.len();
        if ours != emacs {
            differing.push(format!("{case} {pattern}\n  ours  {ours}\n  Emacs {emacs}"));
        }
    }
    assert!(count > 10_000, "{count} answers");
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn what_is_refused_is_named_with_its_place() {
    let deep = r"\(".repeat(1000) + &r"\)".repeat(1000);
    let cases = [
        (r"ab\(cd", "at 2: the group has no end"),
        (r"ab\)cd", "at 2: a group ends that has no beginning"),
        ("ab[cd", "at 2: the set has no end"),
        (r"ab\{2", "at 2: the repetition has no end"),
        (r"ab\{2x\}", "at 2: no repetition"),
        (r"a\{65536\}", "at 1: no repetition"),
        ("a[[:foo:]]", "at 2: no character class of this name"),
        ("ab\\", "at 2: nothing follows the backslash"),
        (r"ab\_c", "at 2: no such construct"),
        (r"ab\(?<c\)", "at 2: no such construct"),
        (r"ab\s", "at 2: the expression ends within a construct"),
        (r"ab\sZ", "at 2: no syntax class of this letter"),
        (r"\(a\)\1", "at 5: back-references are not supported"),
        (r"ab\cg", "at 2: character categories are not supported"),
        (r"ab\=", "at 2: there is no point to match at"),
        (r"ab\b*", "at 4: a repeated assertion is not supported"),
        (r"\(a\{1000\}\)\{1000\}", "at 0: too big"),
        (r"\(\(\)\{65535\}a\)\{65535\}", "at 0: too big"),
        (&deep, "at 400: too deep"),
        (&("a".to_owned() + &"*".repeat(1000)), "at 201: too deep"),
    ];
    for (pattern, expected) in cases {
        assert_eq!(Regexp::new(pattern).unwrap_err().to_string(), expected, "{pattern}");
    }
    let beyond = ["[a-\u{E9}]", "[\u{E0}-\u{E9}]", "[^\u{E9}]"];
    for pattern in beyond {
        assert_eq!(Regexp::new(pattern).unwrap_err().kind, Kind::BeyondAscii, "{pattern}");
    }
}

#[test]
fn characters_beyond_ascii_are_their_bytes() {
    let cases = [
        ("^\u{E9}$", "\u{E9}", true),
        ("^\u{E9}\\{2\\}$", "\u{E9}\u{E9}", true),
        ("^[a\u{E9}\u{20AC}]+$", "\u{20AC}a\u{E9}", true),
        ("^[a\u{E9}]$", "\u{C3}", false),
        ("^..$", "\u{E9}", true),
        ("\u{E9}", "\u{C9}", false),
        ("^[^a]+$", "\u{E9}", true),
    ];
    for (pattern, text, expected) in cases {
        let regexp = Regexp::new(pattern).unwrap();
        assert_eq!(regexp.is_match(text.as_bytes()), expected, "{pattern} in {text}");
    }
}
