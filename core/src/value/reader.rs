//! Reading values from text, as Lisp writes them.
//!
//! Invariant: what a [`Value`] prints is read back as an equal one, but for objects, for what is a float and no
//! number, for symbols with characters in them that end one, and for text of ASCII and raw bytes, which comes back as
//! bytes. Depth and size of what is read are bounded by the text, the depth by a limit as well.

use std::str::FromStr;

use super::Value;
use crate::coding::{Char, Text};

/// Lists and vectors may be nested this deep.
const DEPTH_MAX: usize = 64;

/// Why text is no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a value: {problem} at byte {position}")]
#[non_exhaustive]
pub struct ReadError {
    /// Where the reader stopped, in bytes from 0.
    pub position: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Reads `nil`, `t`, numbers, strings, symbols, keywords, vectors, lists, pairs, and `'X` as X.
///
/// # Errors
///
/// [`ReadError`] says what is wrong, and where.
impl FromStr for Value {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        let mut reader = Reader { text, position: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.position < text.len() {
            return Err(reader.error("something after the value"));
        }
        Ok(value)
    }
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl Reader<'_> {
    const fn error(&self, problem: &'static str) -> ReadError {
        ReadError { position: self.position, problem }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ReadError> {
        if depth > DEPTH_MAX {
            return Err(self.error("nested too deep"));
        }
        self.skip_space();
        match self.peek() {
            None => Err(self.error("a value is missing")),
            Some('\'') => {
                self.next();
                self.value(depth + 1)
            }
            Some('"') => self.string(),
            Some('(') => self.list(depth),
            Some('[') => {
                self.next();
                let mut values = Vec::new();
                while !self.closed(']')? {
                    values.push(self.value(depth + 1)?);
                }
                Ok(Value::vector(values))
            }
            Some(')' | ']') => Err(self.error("nothing to close")),
            Some('#') => Err(self.error("an object cannot be read")),
            Some(_) => self.atom(),
        }
    }

    /// Takes the closing character, if it is next.
    fn closed(&mut self, close: char) -> Result<bool, ReadError> {
        self.skip_space();
        match self.peek() {
            None => Err(self.error("not closed")),
            Some(next) if next == close => {
                self.next();
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ReadError> {
        self.next();
        let mut values = Vec::new();
        while !self.closed(')')? {
            if !values.is_empty() && self.at_dot() {
                // Each element before a dot is a level of its own to whoever walks or drops the value.
                if depth + values.len() > DEPTH_MAX {
                    return Err(self.error("nested too deep"));
                }
                self.next();
                let last = self.value(depth + 1)?;
                if !self.closed(')')? {
                    return Err(self.error("one value only after a dot"));
                }
                let pairs = values.into_iter().rev();
                return Ok(pairs.fold(last, |rest, value| Value::pair(value, rest)));
            }
            values.push(self.value(depth + 1)?);
        }
        Ok(Value::list(values))
    }

    fn at_dot(&self) -> bool {
        let rest = &self.text[self.position..];
        rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(char::is_whitespace))
    }

    fn string(&mut self) -> Result<Value, ReadError> {
        self.next();
        let mut text = Text::new();
        loop {
            match self.next() {
                None => return Err(self.error("the string is not closed")),
                Some('"') => return Ok(unibyte(&text).unwrap_or_else(|| Value::text(text))),
                Some('\\') => self.escape(&mut text)?,
                Some(character) => text.push(character),
            }
        }
    }

    fn escape(&mut self, text: &mut Text) -> Result<(), ReadError> {
        let octal = |c: char| c.to_digit(8);
        match self.next() {
            None => return Err(self.error("the string is not closed")),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(first) if octal(first).is_some() => {
                let mut value = octal(first).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(octal) else { break };
                    self.next();
                    value = value * 8 + digit;
                }
                match u8::try_from(value) {
                    Ok(byte) if byte < 0x80 => text.push(char::from(byte)),
                    Ok(byte) => text.push_raw(byte),
                    Err(_) => return Err(self.error("no byte is that large")),
                }
            }
            Some(quoted) => text.push(quoted),
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<Value, ReadError> {
        let start = self.position;
        let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '"' | '\'');
        while self.peek().is_some_and(|c| !ends(c)) {
            self.next();
        }
        let word = &self.text[start..self.position];
        let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let large = ReadError { position: start, problem: "the integer is too large" };
            return word.parse().map(Value::Integer).map_err(|_| large);
        }
        let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.contains(|c: char| c.is_ascii_digit());
        if numeric && let Ok(value) = word.parse() {
            return Ok(Value::Float(value));
        }
        Ok(Value::symbol(word))
    }
}

/// A string in which some bytes are no characters and all else is ASCII: Lisp reads it as bytes.
fn unibyte(text: &Text) -> Option<Value> {
    let is_byte = |character| match character {
        Char::Unicode(character) => character.is_ascii(),
        Char::Raw(_) => true,
    };
    let is_raw = |character| matches!(character, Char::Raw(_));
    (text.chars().any(is_raw) && text.chars().all(is_byte))
        .then(|| Value::from(text.to_bytes().as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let cases = [
            "nil",
            "t",
            "-12",
            "1.5",
            "\"a \\\"b\\\" \\\\ \u{e9}\"",
            "\"\\377\u{e9}\"",
            ":name",
            "n<1>",
            "[1 2 [3]]",
            "[]",
            "(a (b . c) \"d\")",
            "(77 . [1 2])",
            "(a b . c)",
        ];
        for text in cases {
            let value: Value = text.parse().unwrap();
            let printed = value.to_string();
            assert_eq!(printed, text);
            assert_eq!(printed.parse(), Ok(value));
        }
        for bytes in [&b"\xe9"[..], b"/run/\xff\x80 \"x\""] {
            let value = Value::from(bytes);
            assert_eq!(value.to_string().parse(), Ok(value));
        }
        assert!(matches!("\"\\351\u{e9}\"".parse(), Ok(Value::Text(_))), "a character beside it");
        let quoted: Value = "'(utf-8 . 'latin-1)".parse().unwrap();
        assert_eq!(quoted.to_string(), "(utf-8 . latin-1)");
    }

    #[test]
    fn what_is_no_value_is_told_with_its_place() {
        let deep = "(".repeat(100_000);
        let (long, list) = (format!("({}. b)", "a ".repeat(100_000)), "(a . ".repeat(100_000));
        let cases = [
            ("", 0, "missing"),
            ("  ", 2, "missing"),
            ("(a", 2, "not closed"),
            ("[1 ", 3, "not closed"),
            ("\"a", 2, "not closed"),
            (")", 0, "nothing to close"),
            ("a b", 2, "after the value"),
            ("(a . b c)", 7, "one value"),
            ("99999999999999999999", 0, "too large"),
            ("#<process x>", 0, "object"),
            ("\"\\777\"", 5, "large"),
            (&deep, DEPTH_MAX + 1, "too deep"),
            (&long, 200_001, "too deep"),
            (&list, 5 * DEPTH_MAX + 1, "too deep"),
        ];
        for (text, position, problem) in cases {
            let error = text.parse::<Value>().unwrap_err();
            assert_eq!(error.position, position, "{error}");
            assert!(error.problem.contains(problem), "{error}");
        }
    }
}
