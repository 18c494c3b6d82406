//! HZ: GB 2312 in seven bits, between `~{` and `~}`.
//!
//! Invariant: what is written ends outside the braces. DIFFERENCE: Emacs reads every chunk alone and
//! so loses a pair of braces spread over two; and it writes `\u4E00` for what it cannot express.

use super::{
    charset::GB2312,
    encoder::Writer,
    machine::{Machine, Step},
};

/// Decodes HZ.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    chinese: bool,
}

impl Machine for Reader {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        let stops = |byte: u8| !byte.is_ascii() || byte == b'~' || self.chinese && byte > b' ';
        bytes.iter().position(|&byte| stops(byte)).unwrap_or(bytes.len())
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        let Some(&next) = bytes.get(1) else {
            let waits = bytes[0] == b'~' || self.chinese && (0x21..=0x7E).contains(&bytes[0]);
            return if waits { Step::Incomplete } else { Step::Bytes(1) };
        };
        match (bytes[0], next) {
            (b'~', b'{' | b'}') if self.chinese == (next == b'}') => {
                self.chinese = !self.chinese;
                Step::Skip(2)
            }
            (b'~', b'~') if !self.chinese => Step::Char('~', 2),
            (b'~', b'\n') if !self.chinese => Step::Skip(2),
            (lead @ 0x21..=0x7E, trail @ 0x21..=0x7E) if self.chinese => {
                let found = GB2312.char(u16::from_be_bytes([lead, trail]));
                found.map_or(Step::Bytes(2), |character| Step::Char(character, 2))
            }
            _ => Step::Bytes(1),
        }
    }
}

/// Encodes HZ, one send at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
    chinese: bool,
}

impl Writer for Sender {
    fn plain(&self, text: &str) -> usize {
        let stops = |byte: u8| self.chinese || !byte.is_ascii() || byte == b'~';
        text.bytes().position(stops).unwrap_or(text.len())
    }

    fn write(&mut self, character: char, out: &mut Vec<u8>) -> bool {
        if character.is_ascii() {
            self.end(out);
            out.extend_from_slice(if character == '~' { b"~" } else { b"" });
            out.push(character as u8);
            return true;
        }
        let Some(code) = GB2312.code(character) else { return false };
        if !std::mem::replace(&mut self.chinese, true) {
            out.extend_from_slice(b"~{");
        }
        out.extend_from_slice(&code.to_be_bytes());
        true
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.chinese) {
            out.extend_from_slice(b"~}");
        }
    }
}
