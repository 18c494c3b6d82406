//! How a transcript prints values, signals and ports: as `prelude.el` does.

#![expect(clippy::wildcard_enum_match_arm, reason = "a value may be anything, most print alike")]

use std::fmt::Write as _;

use netproc::{
    Buffer, Char, Marker, Process, Text, Value,
    emacs::{Function, Signal},
};

/// `tr-str`: a string in readable ASCII.
fn string(characters: impl Iterator<Item = Char>) -> String {
    let mut out = String::from("\"");
    for character in characters {
        let written = match character {
            Char::Unicode('\n') => write!(out, "\\n"),
            Char::Unicode('\r') => write!(out, "\\r"),
            Char::Unicode('\t') => write!(out, "\\t"),
            Char::Unicode(quoted @ ('"' | '\\')) => write!(out, "\\{quoted}"),
            Char::Unicode(plain @ ' '..='~') => write!(out, "{plain}"),
            Char::Unicode(other) if other.is_ascii() => write!(out, "\\x{:02X}", u32::from(other)),
            Char::Unicode(other) => write!(out, "\\u{{{:X}}}", u32::from(other)),
            Char::Raw(byte) => write!(out, "\\x{byte:02X}"),
        };
        written.expect("a string takes all");
    }
    out.push('"');
    out
}

/// The characters of a string of any kind.
fn characters(value: &Value) -> Option<Text> {
    match value {
        Value::String(text) => Some(Text::from(&**text)),
        Value::Text(text) => Some((**text).clone()),
        Value::Bytes(bytes) => Some(Text::from_bytes(bytes)),
        other if other.is_string() => Some(Text::from(other.as_str()?)),
        _ => None,
    }
}

/// Two strings put together: unibyte only if both are.
pub(super) fn joined(first: &Value, second: &Value) -> Value {
    if let (Value::Bytes(a), Value::Bytes(b)) = (first, second) {
        return Value::Bytes([&**a, &**b].concat().into());
    }
    if first.as_str() == Some("") {
        return second.clone();
    }
    let mut text = characters(first).expect("a string");
    text.push_text(&characters(second).expect("a string"));
    Value::text(text)
}

/// `tr-fmt`: a value, stable from run to run.
pub(super) fn value(value: &Value) -> String {
    if let Some(text) = characters(value) {
        return string(text.chars());
    }
    if let Some(process) = value.downcast::<Process>() {
        return format!("<process {}>", process.name());
    }
    if let Some(buffer) = value.downcast::<Buffer>() {
        let name = buffer.name();
        return name.map_or_else(|| "<killed buffer>".into(), |name| format!("<buffer {name}>"));
    }
    if let Some(marker) = value.downcast::<Marker>() {
        let position = marker.position().map_or_else(|| "nil".into(), |at| at.to_string());
        return format!("<marker {position}>");
    }
    if let Some(function) = value.downcast::<Function>() {
        let printed = format!("{function:?}");
        return if printed.starts_with('#') { "<function>".into() } else { printed };
    }
    let all = |values: &[Value]| values.iter().map(self::value).collect::<Vec<_>>().join(" ");
    match value {
        Value::Vector(values) => format!("[{}]", all(values)),
        Value::List(values) => format!("({})", all(values)),
        Value::Pair(pair) => format!("({} . {})", self::value(&pair.0), self::value(&pair.1)),
        other => other.to_string(),
    }
}

/// `tr-err`: the condition, then the strings that lead its data.
pub(super) fn signal(signal: &Signal) -> String {
    let data = signal.data();
    let strings = data.iter().take_while(|value| value.is_string()).count();
    let mut out = signal.symbol().to_owned();
    for text in &data[..strings] {
        let straight = characters(text)
            .expect("a string")
            .to_string_lossy()
            .replace(['\u{2018}', '\u{2019}'], "'");
        out = format!("{out} {}", string(Text::from(straight).chars()));
    }
    match &data[strings..] {
        [] => {}
        [first, ..] if first.as_symbol().is_some_and(|key| key.starts_with(':')) => {
            out.push_str(" ...");
        }
        rest => {
            for value in rest {
                out = format!("{out} {}", self::value(value));
            }
        }
    }
    out
}

/// `tr-norm` for ports: numbers of the ephemeral range that stand alone become P1, P2, …
pub(super) fn with_ports(line: &str, ports: &mut Vec<u64>) -> String {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_digit());
        let end = end.map_or(rest.len(), |end| start + end);
        let before = rest[..start].chars().next_back().or_else(|| out.chars().next_back());
        let alone = !before.is_some_and(joins) && !rest[end..].chars().next().is_some_and(joins);
        out.push_str(&rest[..start]);
        match rest[start..end].parse() {
            Ok(port @ 32768..65535) if alone => {
                let at = ports.iter().position(|&known| known == port).unwrap_or_else(|| {
                    ports.push(port);
                    ports.len() - 1
                });
                out = format!("{out}P{}", at + 1);
            }
            _ => out.push_str(&rest[start..end]),
        }
        rest = &rest[end..];
    }
    out + rest
}

/// The lines that differ, those of Emacs first.
pub(super) fn difference(golden: &str, printed: &str) -> String {
    let (mut golden, mut printed) = (golden.lines(), printed.lines());
    let mut out = String::from("the transcript differs (- Emacs, + netproc):\n");
    loop {
        let (expected, found) = (golden.next(), printed.next());
        if expected.is_none() && found.is_none() {
            return out;
        }
        if expected != found {
            for (sign, line) in [('-', expected), ('+', found)] {
                if let Some(line) = line {
                    out = format!("{out}{sign} {line}\n");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_stand_alone_get_names() {
        let mut ports = Vec::new();
        let line = "[127 0 0 1 40001] 127.0.0.1:40002 x40003 400.40003 40001 32767 65535";
        let expected = "[127 0 0 1 P1] 127.0.0.1:P2 x40003 400.40003 P1 32767 65535";
        assert_eq!(with_ports(line, &mut ports), expected);
    }

    #[test]
    fn strings_print_in_ascii() {
        let raw = Value::text(Text::from_bytes(b"a\xff"));
        let cases = [
            (Value::from("a\n\"\u{e9}\u{7f}"), "\"a\\n\\\"\\u{E9}\\x7F\""),
            (Value::from(&b"\xe9"[..]), "\"\\xE9\""),
            (joined(&raw, &"\u{20ac}".into()), "\"a\\xFF\\u{20AC}\""),
            (Value::list([Value::symbol(":a"), "b".into(), Value::Nil]), "(:a \"b\" nil)"),
        ];
        for (given, expected) in cases {
            assert_eq!(value(&given), expected);
        }
    }
}
