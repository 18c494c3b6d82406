//! Systems whose characters take one to four bytes and that keep no state: EUC, Shift_JIS, Big5, GBK.
//!
//! Invariant: ASCII bytes are ASCII unless they end a character; a lead byte without a fitting trail
//! byte is raw, and what follows is read anew. A pair of fitting bytes without a character is raw as
//! a whole in the systems that Emacs decodes by structure, its lead alone in the others.

use std::sync::LazyLock;

use encoding_rs::{DecoderResult, EncoderResult, GB18030};

use super::{
    charset::Charset,
    encoder::Writer,
    machine::{Machine, Step},
    text::ascii_len,
};

/// A character set that is built at its first use.
pub(super) type Set = &'static LazyLock<Charset>;

/// How such a system puts codes into bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum MultiByte {
    /// Both bytes of a code with the top bit; half-width katakana behind 8E, another set behind 8F.
    Euc { main: Set, katakana: bool, third: Option<Set> },
    /// Rows of JIS two to a lead byte; half-width katakana as single bytes; a second plane behind.
    ShiftJis { main: Set, second: Option<Set> },
    /// The code is the bytes.
    Bytes { set: Set, katakana: bool, structure: bool },
    /// Two bytes by table, four by arithmetic.
    Gb18030 { set: Set },
}

/// Where half-width katakana stand as single bytes, and in Unicode.
const KATAKANA: std::ops::RangeInclusive<u8> = 0xA1..=0xDF;
const KATAKANA_FIRST: u32 = 0xFF61;

/// The half-width katakana with this byte.
pub(super) fn katakana(byte: u8) -> Option<char> {
    let offset = u32::from(byte.checked_sub(*KATAKANA.start())?);
    if KATAKANA.contains(&byte) { char::from_u32(KATAKANA_FIRST + offset) } else { None }
}

/// The byte of a half-width katakana.
fn katakana_byte(character: char) -> Option<u8> {
    let offset = u8::try_from(u32::from(character).checked_sub(KATAKANA_FIRST)?).ok()?;
    offset.checked_add(*KATAKANA.start()).filter(|byte| KATAKANA.contains(byte))
}

const fn is_gr(byte: u8) -> bool {
    byte >= 0xA1 && byte <= 0xFE
}

impl Machine for MultiByte {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        ascii_len(bytes)
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        let lead = bytes[0];
        match *self {
            Self::Euc { main, katakana: kana, third } => match (lead, bytes.get(1)) {
                (0x8E, None) if kana => Step::Incomplete,
                (0x8E, Some(&byte)) if kana => {
                    katakana(byte).map_or(Step::Bytes(1), |c| Step::Char(c, 2))
                }
                (0x8F, next) => match third {
                    Some(third) if next.is_none_or(|&byte| is_gr(byte)) => euc_third(third, bytes),
                    _ => Step::Bytes(1),
                },
                (lead, None) if is_gr(lead) => Step::Incomplete,
                (lead, Some(&trail)) if is_gr(lead) && is_gr(trail) => {
                    coded(main, lead & 0x7F, trail & 0x7F, 2)
                }
                _ => Step::Bytes(1),
            },
            Self::ShiftJis { main, second } => shift_jis(main, second, bytes),
            Self::Bytes { set, katakana: kana, structure } => {
                if let Some(character) = katakana(lead).filter(|_| kana) {
                    return Step::Char(character, 1);
                }
                two_bytes(set, structure, bytes)
            }
            Self::Gb18030 { set } => match bytes.get(1) {
                Some(b'0'..=b'9') if (0x81..=0xFE).contains(&lead) => gb18030_four(bytes),
                _ => two_bytes(set, false, bytes),
            },
        }
    }
}

/// The character with this code in `set`, `len` bytes long, or that many raw bytes.
fn coded(set: Set, lead: u8, trail: u8, len: usize) -> Step {
    let found = set.char(u16::from_be_bytes([lead, trail]));
    found.map_or(Step::Bytes(len), |character| Step::Char(character, len))
}

fn euc_third(third: Set, bytes: &[u8]) -> Step {
    match *bytes {
        [_, row, cell, ..] if is_gr(cell) => coded(third, row & 0x7F, cell & 0x7F, 3),
        [_, _, _, ..] => Step::Bytes(1),
        _ => Step::Incomplete,
    }
}

fn shift_jis(main: Set, second: Option<Set>, bytes: &[u8]) -> Step {
    let lead = bytes[0];
    if let Some(character) = katakana(lead) {
        return Step::Char(character, 1);
    }
    let last = if second.is_some() { 0xFC } else { 0xEF };
    if !((0x81..=0x9F).contains(&lead) || (0xE0..=last).contains(&lead)) {
        return Step::Bytes(1);
    }
    match bytes.get(1) {
        None => Step::Incomplete,
        Some(&trail @ (0x40..=0x7E | 0x80..=0xFC)) => {
            let odd = trail >= 0x9F;
            let cell = if odd { trail - 0x7E } else { trail - 0x1F - u8::from(trail >= 0x80) };
            let pair = lead - if lead < 0xA0 { 0x81 } else { 0xC1 };
            match second.filter(|_| lead >= 0xF0) {
                Some(second) => {
                    coded(second, SECOND_ROWS[usize::from(lead - 0xF0)][usize::from(odd)], cell, 2)
                }
                None => coded(main, 0x21 + 2 * pair + u8::from(odd), cell, 2),
            }
        }
        Some(_) => Step::Bytes(1),
    }
}

/// Which rows of the second plane of JIS X 0213 each lead byte from F0 on stands for.
const SECOND_ROWS: [[u8; 2]; 13] = [
    [0x21, 0x28],
    [0x23, 0x24],
    [0x25, 0x2C],
    [0x2D, 0x2E],
    [0x2F, 0x6E],
    [0x6F, 0x70],
    [0x71, 0x72],
    [0x73, 0x74],
    [0x75, 0x76],
    [0x77, 0x78],
    [0x79, 0x7A],
    [0x7B, 0x7C],
    [0x7D, 0x7E],
];

/// A character of `set` whose code is its two bytes.
fn two_bytes(set: Set, structure: bool, bytes: &[u8]) -> Step {
    let lead = bytes[0];
    if structure && !is_gr(lead) || !(0x81..=0xFE).contains(&lead) {
        return Step::Bytes(1);
    }
    let Some(&trail) = bytes.get(1) else { return Step::Incomplete };
    match set.char(u16::from_be_bytes([lead, trail])) {
        Some(character) => Step::Char(character, 2),
        None if structure && (is_gr(trail) || (0x40..=0x7E).contains(&trail)) => Step::Bytes(2),
        None => Step::Bytes(1),
    }
}

/// A character of GB18030 of four bytes, the second of which is a digit.
///
/// DIFFERENCE: Emacs 28.2 counts the characters behind 8135F436 wrongly, so that U+1E40 and all that
/// follow in the first plane come out as their neighbours. Here the standard holds.
fn gb18030_four(bytes: &[u8]) -> Step {
    match *bytes {
        [_, _, 0x81..=0xFE] | [_, _] => Step::Incomplete,
        [_, _, 0x81..=0xFE, b'0'..=b'9', ..] => {
            let mut utf8 = [0; 16];
            let mut decoder = GB18030.new_decoder_without_bom_handling();
            let (result, _, len) =
                decoder.decode_to_utf8_without_replacement(&bytes[..4], &mut utf8, true);
            let text = std::str::from_utf8(&utf8[..len]).unwrap_or_default();
            match (result, text.chars().next()) {
                (DecoderResult::InputEmpty, Some(character)) => Step::Char(character, 4),
                _ => Step::Bytes(1),
            }
        }
        _ => Step::Bytes(1),
    }
}

impl Writer for MultiByte {
    fn plain(&self, text: &str) -> usize {
        ascii_len(text.as_bytes())
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        if character.is_ascii() {
            out.push(character as u8);
            return true;
        }
        match *self {
            Self::Euc { main, katakana: kana, third } => {
                if let Some(code) = main.code(character) {
                    out.extend_from_slice(&(code | 0x8080).to_be_bytes());
                } else if let Some(byte) = katakana_byte(character).filter(|_| kana) {
                    out.extend_from_slice(&[0x8E, byte]);
                } else if let Some(code) = third.and_then(|third| third.code(character)) {
                    out.push(0x8F);
                    out.extend_from_slice(&(code | 0x8080).to_be_bytes());
                } else {
                    return false;
                }
            }
            Self::ShiftJis { main, second } => {
                if let Some(byte) = katakana_byte(character) {
                    out.push(byte);
                } else if let Some(code) = main.code(character) {
                    let [row, cell] = code.to_be_bytes();
                    let pair = (row - 0x21) / 2;
                    let lead = pair + if pair < 0x1F { 0x81 } else { 0xC1 };
                    out.extend_from_slice(&[lead, shift_jis_trail(row % 2 == 0, cell)]);
                } else if let Some(code) = second.and_then(|second| second.code(character)) {
                    let [row, cell] = code.to_be_bytes();
                    let found = (0xF0..).zip(SECOND_ROWS).find(|(_, rows)| rows.contains(&row));
                    let (lead, rows) = found.expect("the plane has only these rows");
                    out.extend_from_slice(&[lead, shift_jis_trail(rows[1] == row, cell)]);
                } else {
                    return false;
                }
            }
            Self::Bytes { set, katakana: kana, .. } => {
                if let Some(byte) = katakana_byte(character).filter(|_| kana) {
                    out.push(byte);
                } else if let Some(code) = set.code(character) {
                    out.extend_from_slice(&code.to_be_bytes());
                } else {
                    return false;
                }
            }
            Self::Gb18030 { set } => match set.code(character) {
                Some(code) => out.extend_from_slice(&code.to_be_bytes()),
                None => return write_gb18030_four(character, out),
            },
        }
        true
    }
}

/// The trail byte of Shift_JIS for a cell of the first or second row that share a lead byte.
const fn shift_jis_trail(odd: bool, cell: u8) -> u8 {
    if odd {
        cell + 0x7E
    } else if cell >= 0x60 {
        cell + 0x20
    } else {
        cell + 0x1F
    }
}

fn write_gb18030_four(character: char, out: &mut Vec<u8>) -> bool {
    let (mut utf8, mut bytes) = ([0; 4], [0; 16]);
    let text = character.encode_utf8(&mut utf8);
    let (result, _, len) =
        GB18030.new_encoder().encode_from_utf8_without_replacement(text, &mut bytes, true);
    // Two bytes would be a code that the table here reads as another character.
    let four = result == EncoderResult::InputEmpty && len == 4;
    if four {
        out.extend_from_slice(&bytes[..4]);
    }
    four
}
