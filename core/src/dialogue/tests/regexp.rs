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
