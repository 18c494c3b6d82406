//! Parts of texts: counted in characters, cut and joined at them.
//!
//! Invariant: a byte index given or taken here lies where a character or raw byte begins, or at the
//! end. Both begin with a byte that is not 10xxxxxx and go on with bytes that are, which is all that
//! counting needs to know. Where a buffer keeps its text is left to [`crate::output`].

use std::ops::Range;

use super::{Pieces, RAW_LEAD, Text};
use crate::coding::TextRef;

/// Bytes looked at in one go. The compiler counts within a block by vectors.
const BLOCK: usize = 64;

impl Text {
    /// How many elements it has, raw bytes included. Takes linear time.
    #[must_use]
    pub fn char_count(&self) -> usize {
        TextRef::from(self).char_count()
    }

    /// The part of it in `range`, in bytes.
    pub(crate) fn part(&self, range: Range<usize>) -> TextRef<'_> {
        TextRef::from(self).split_at(range.end).0.split_at(range.start).1
    }

    /// Inserts `part` at byte `at`.
    pub(crate) fn insert_part(&mut self, at: usize, part: &TextRef<'_>) {
        debug_assert!(is_bound(&self.bytes, at), "an insertion inside a character");
        self.raw += part.0.raw;
        if at == self.bytes.len() {
            self.bytes.extend_from_slice(part.0.rest);
        } else {
            self.bytes.splice(at..at, part.0.rest.iter().copied());
        }
    }

    /// Removes `range`, in bytes.
    pub(crate) fn remove_part(&mut self, range: Range<usize>) {
        self.raw -= self.part(range.clone()).0.raw;
        self.bytes.drain(range);
    }
}

impl<'a> TextRef<'a> {
    /// How many bytes of memory it takes.
    pub(crate) const fn byte_len(&self) -> usize {
        self.0.rest.len()
    }

    /// How many characters and raw bytes it has.
    pub(crate) fn char_count(&self) -> usize {
        self.0.rest.chunks(BLOCK).map(starts).sum()
    }

    /// At which byte element `index` begins; the length where there are no more than `index`.
    pub(crate) fn byte_at(&self, index: usize) -> usize {
        let (mut at, mut left) = (0, index);
        for block in self.0.rest.chunks(BLOCK) {
            let count = starts(block);
            if count > left {
                let mut begins = block.iter().enumerate().filter(|(_, byte)| is_start(**byte));
                return at + begins.nth(left).map_or(block.len(), |(offset, _)| offset);
            }
            left -= count;
            at += block.len();
        }
        at
    }

    /// The last byte not past `at` that may be cut at.
    pub(crate) fn bound_before(&self, at: usize) -> usize {
        let end = self.byte_len();
        if at >= end {
            return end;
        }
        (0..=at).rev().find(|&at| is_bound(self.0.rest, at)).unwrap_or(0)
    }

    /// What stands before byte `at`, and the rest.
    pub(crate) fn split_at(&self, at: usize) -> (Self, Self) {
        debug_assert!(is_bound(self.0.rest, at), "a cut inside a character");
        let (head, tail) = self.0.rest.split_at(at);
        // Text without raw bytes is the rule, and is not looked at.
        let raw = if self.0.raw == 0 { 0 } else { head.iter().filter(is_raw_lead).count() };
        let part = |rest: &'a [u8], raw| Self(Pieces { rest, raw });
        (part(head, raw), part(tail, self.0.raw - raw))
    }
}

fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| is_start(**byte)).count()
}

const fn is_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn is_raw_lead(byte: &&u8) -> bool {
    RAW_LEAD.contains(*byte)
}

fn is_bound(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).map_or(at == bytes.len(), |byte| is_start(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Char;

    /// Longer than two blocks, every length of character and a raw byte of each lead.
    fn mixed() -> Text {
        let mut text = Text::new();
        for round in 0..20 {
            text.push_str("aé€\u{1F600}");
            text.push_raw(0xC0 | round);
            text.push_raw((0x40 * (round % 4)) | round);
        }
        text
    }

    #[test]
    fn every_cut_at_a_character_parts_the_elements_there() {
        let text = mixed();
        let elements: Vec<Char> = text.chars().collect();
        assert_eq!(text.char_count(), elements.len());
        for index in 0..=elements.len() {
            let at = TextRef::from(&text).byte_at(index);
            let (head, tail) = (text.part(0..at), text.part(at..text.byte_len()));
            assert_eq!((head.char_count(), tail.char_count()), (index, elements.len() - index));
            let mut joined = Text::new();
            joined.insert_part(0, &tail);
            joined.insert_part(0, &head);
            assert_eq!((&joined, joined.raw_count()), (&text, 40), "joined at {index}");
            joined.remove_part(0..at);
            let rest: Vec<Char> = joined.chars().collect();
            assert_eq!(rest, elements[index..], "cut at {index}");
            let raw = rest.iter().filter(|element| matches!(element, Char::Raw(_))).count();
            assert_eq!(joined.raw_count(), raw, "cut at {index}");
        }
        assert_eq!(TextRef::from(&text).byte_at(elements.len() + 7), text.byte_len());
    }

    #[test]
    fn a_cut_inside_a_character_goes_to_its_beginning() {
        let cases =
            [("aé", 0, 0), ("aé", 1, 1), ("aé", 2, 1), ("aé", 3, 3), ("aé", 9, 3), ("", 1, 0)];
        for (text, at, expected) in cases {
            assert_eq!(TextRef::from(text).bound_before(at), expected, "{text:?} at {at}");
        }
    }
}
