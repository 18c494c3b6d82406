//! Line ends: CRLF and CR to LF in decoded text, and finding out which of them a stream uses.
//!
//! Invariant: works on characters, after the text part of the system was decoded, so that line ends
//! of UTF-16 are found too; a raw byte is never a line end. A CR at the end of what was read is held
//! until the next character decides. Writing line ends is left to the encoder.

use super::text::Text;

/// How lines end in the bytes of a stream. In text they always end in LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the three of Emacs; there will be no fourth")]
pub enum LineEnd {
    /// LF; nothing is converted. Suffix `-unix`.
    Unix,
    /// CRLF. A lone CR or LF read from the peer stays. Suffix `-dos`.
    Dos,
    /// CR. Suffix `-mac`.
    Mac,
}

impl LineEnd {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Unix, Self::Dos, Self::Mac];

    /// What a name with this line end ends in.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Unix => "-unix",
            Self::Dos => "-dos",
            Self::Mac => "-mac",
        }
    }
}

/// Converts the line ends of one stream of decoded text.
#[derive(Clone, Debug)]
pub(super) struct LineEnds {
    /// `None` until a read shows a line end.
    kind: Option<LineEnd>,
    /// Whether a CR was taken back from the end of the text, to be judged with what follows.
    held: bool,
}

impl LineEnds {
    pub(super) const fn new(kind: Option<LineEnd>) -> Self {
        Self { kind, held: false }
    }

    /// What the stream uses, as far as it is known.
    pub(super) const fn kind(&self) -> Option<LineEnd> {
        self.kind
    }

    /// Whether a CR waits.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Delivers a held CR for what it is.
    pub(super) fn finish(&mut self, out: &mut Text) {
        self.before(out);
    }

    /// Puts a held CR back in front of what is about to be decoded.
    pub(super) fn before(&mut self, out: &mut Text) {
        if std::mem::take(&mut self.held) {
            out.push('\r');
        }
    }

    /// Converts `out` from byte `start` on, which is where [`before`](Self::before) was called.
    pub(super) fn after(&mut self, out: &mut Text, start: usize) {
        if self.kind == Some(LineEnd::Unix) {
            return;
        }
        let buffer = out.buffer();
        // DIFFERENCE: Emacs takes a CR at the end of the deciding read for a line
        // end of its own, so that a CRLF cut in two makes a stream `-mac`. Here it waits.
        if self.kind != Some(LineEnd::Mac) && buffer.len() > start && buffer.ends_with(b"\r") {
            buffer.pop();
            self.held = true;
        }
        if self.kind.is_none() {
            self.kind = detect(&buffer[start..]);
        }
        match self.kind {
            None | Some(LineEnd::Unix) => {}
            Some(LineEnd::Dos) => join_crlf(buffer, start),
            Some(LineEnd::Mac) => {
                for byte in buffer[start..].iter_mut().filter(|byte| **byte == b'\r') {
                    *byte = b'\n';
                }
            }
        }
        // Decided just now for a read that also ends in a CR: that one no longer has to wait.
        if self.held && matches!(self.kind, Some(LineEnd::Unix | LineEnd::Mac)) {
            self.held = false;
            buffer.push(if self.kind == Some(LineEnd::Mac) { b'\n' } else { b'\r' });
        }
    }
}

/// The line end that `text` shows: any bare LF means unix, else any CRLF dos, else any CR mac.
fn detect(text: &[u8]) -> Option<LineEnd> {
    let mut found = None;
    let mut previous = 0;
    for &byte in text {
        match (previous, byte) {
            (b'\r', b'\n') => found = Some(LineEnd::Dos),
            (_, b'\n') => return Some(LineEnd::Unix),
            (_, b'\r') if found.is_none() => found = Some(LineEnd::Mac),
            _ => {}
        }
        previous = byte;
    }
    found
}

/// Drops every CR that stands before an LF, from `start` on.
fn join_crlf(buffer: &mut Vec<u8>, start: usize) {
    let Some(first) = buffer[start..].iter().position(|&byte| byte == b'\r') else { return };
    let (mut write, mut read) = (start + first, start + first);
    while read < buffer.len() {
        // A CR stands at `read`.
        if buffer.get(read + 1) != Some(&b'\n') {
            buffer[write] = b'\r';
            write += 1;
        }
        read += 1;
        let rest = &buffer[read..];
        let run = rest.iter().position(|&byte| byte == b'\r').unwrap_or(rest.len());
        buffer.copy_within(read..read + run, write);
        write += run;
        read += run;
    }
    buffer.truncate(write);
}
