//! What all decoding machines share: one step at a time, with the incomplete rest kept between reads.
//!
//! Invariant: a machine looks at the bytes alone, never at where a read ended, so cutting a stream
//! elsewhere changes nothing; and it says `Incomplete` only for at most `PENDING_MAX` bytes that more
//! bytes can still make sense of. What the bytes mean is the machines' business.

use super::text::Text;

/// The longest incomplete sequence: a designation of ISO 2022 lacks its last byte after three, a
/// character of GB18030 likewise; half a pair of UTF-7 is kept in the machine itself.
const PENDING_MAX: usize = 3;

/// What stands at the start of the bytes given to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A character of this many bytes.
    Char(char, usize),
    /// This many bytes that mean nothing: ASCII stays, the rest is raw.
    Bytes(usize),
    /// This many bytes that are all raw, those below 0x80 too.
    Raw(usize),
    /// This many bytes that are no text: a mark, a shift.
    Skip(usize),
    /// Too few bytes to tell.
    Incomplete,
}

/// A decoder of the text part of a coding system.
pub(super) trait Machine {
    /// How many bytes at the start are UTF-8 and mean just that; the machine is past them after.
    fn plain(&mut self, bytes: &[u8]) -> usize;

    /// Judges what stands at the start of `bytes`, which is not empty.
    fn step(&mut self, bytes: &[u8]) -> Step;

    /// Delivers the start of a sequence that the end of the stream cut short, one byte of it at
    /// least, and returns how much that was; the rest is read anew.
    fn cut_short(&mut self, bytes: &[u8], out: &mut Text) -> usize {
        out.push_bytes(&bytes[..1]);
        1
    }

    /// Delivers at the end of the stream what the machine itself still holds.
    fn end(&mut self, _out: &mut Text) {}

    /// The name of the system that the stream turned out to be in, when the one asked for is open.
    fn found(&self) -> Option<&'static str> {
        None
    }
}

/// The bytes of an incomplete sequence, kept until more come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    bytes: [u8; PENDING_MAX],
    len: usize,
}

impl Pending {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn set(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
    }

    /// The kept bytes and the start of `bytes` in one array, and how much of it is filled.
    pub(super) fn join(&self, bytes: &[u8]) -> ([u8; 2 * PENDING_MAX + 2], usize) {
        let mut joined = [0; 2 * PENDING_MAX + 2];
        joined[..self.len].copy_from_slice(self.as_slice());
        let more = bytes.len().min(joined.len() - self.len);
        joined[self.len..self.len + more].copy_from_slice(&bytes[..more]);
        (joined, self.len + more)
    }
}

/// Decodes `bytes` after what is pending, and keeps what is incomplete at their end.
pub(super) fn decode<M: Machine>(
    machine: &mut M,
    pending: &mut Pending,
    bytes: &[u8],
    out: &mut Text,
) {
    let kept = pending.len;
    let mut rest = bytes;
    if kept > 0 {
        // The join is long enough for any sequence that begins among the kept bytes.
        let (joined, len) = pending.join(bytes);
        let used = run(machine, &joined[..len], out);
        if used < kept {
            pending.set(&joined[used..len]);
            return;
        }
        rest = &bytes[used - kept..];
        pending.set(&[]);
    }
    let used = run(machine, rest, out);
    pending.set(&rest[used..]);
}

/// Delivers what is pending although nothing follows: an incomplete sequence means nothing.
pub(super) fn finish<M: Machine>(machine: &mut M, pending: &mut Pending, out: &mut Text) {
    let kept = *pending;
    let mut rest = kept.as_slice();
    while !rest.is_empty() {
        let used = run(machine, rest, out);
        let used = if used == 0 { machine.cut_short(rest, out) } else { used };
        rest = &rest[used..];
    }
    pending.set(&[]);
    machine.end(out);
}

/// Decodes as much of `bytes` as is complete, and returns how much that was.
fn run<M: Machine>(machine: &mut M, bytes: &[u8], out: &mut Text) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let plain = machine.plain(rest);
        if plain > 0 {
            out.buffer().extend_from_slice(&rest[..plain]);
            at += plain;
            continue;
        }
        at += match machine.step(rest) {
            Step::Char(character, len) => {
                out.push(character);
                len
            }
            Step::Bytes(len) => {
                out.push_bytes(&rest[..len]);
                len
            }
            Step::Raw(len) => {
                rest[..len].iter().for_each(|&byte| out.push_raw(byte));
                len
            }
            Step::Skip(len) => len,
            Step::Incomplete => break,
        };
    }
    at
}
