//! The text of a buffer, in pieces, so that an insertion moves one piece and not all that follows.
//!
//! Invariant: no piece takes more than `PIECE` bytes, none is empty, and no two neighbours would fit
//! into one, so at most half of the memory is idle. A place is found from the nearer end: output at
//! the end of a large buffer looks at its last piece alone. Positions here count characters from 0;
//! markers, point and bounds are left to the buffer.

use crate::coding::{Text, TextRef};

/// Text that may be changed anywhere; `PIECE` is at least 4, so that any character fits in a piece.
#[derive(Debug, Default)]
pub(super) struct Content<const PIECE: usize> {
    pieces: Vec<Piece>,
    /// In characters.
    len: usize,
}

#[derive(Debug, Default)]
struct Piece {
    text: Text,
    /// In characters.
    len: usize,
}

impl Piece {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: Text::with_capacity(bytes), len: 0 }
    }

    /// At which byte character `at` begins.
    fn byte_at(&self, at: usize) -> usize {
        if at == self.len {
            self.text.byte_len()
        } else if self.len == self.text.byte_len() {
            at
        } else {
            TextRef::from(&self.text).byte_at(at)
        }
    }

    fn part(&self, start: usize, end: usize) -> TextRef<'_> {
        self.text.part(self.byte_at(start)..self.byte_at(end))
    }

    fn insert(&mut self, at: usize, text: &TextRef<'_>, count: usize) {
        let byte = self.byte_at(at);
        self.text.insert_part(byte, text);
        self.len += count;
    }

    fn append(&mut self, text: &TextRef<'_>, count: usize) {
        self.insert(self.len, text, count);
    }

    fn remove(&mut self, start: usize, end: usize) {
        let range = self.byte_at(start)..self.byte_at(end);
        self.text.remove_part(range);
        self.len -= end - start;
    }

    /// Takes what stands behind character `at` out of it.
    fn split_off(&mut self, at: usize) -> Self {
        let mut tail = Self::default();
        tail.append(&self.part(at, self.len), self.len - at);
        self.remove(at, self.len);
        tail
    }
}

impl<const PIECE: usize> Content<PIECE> {
    /// How many characters it has.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Copies the characters from `start` up to `end`.
    pub(super) fn slice(&self, start: usize, end: usize) -> Text {
        debug_assert!(start <= end, "a slice has its start first");
        let mut out = Text::new();
        if start == end {
            return out;
        }
        let ((first, from), (last, to)) = (self.locate(start), self.locate(end));
        for index in first..=last {
            let piece = &self.pieces[index];
            let from = if index == first { from } else { 0 };
            let to = if index == last { to } else { piece.len };
            out.insert_part(out.byte_len(), &piece.part(from, to));
        }
        out
    }

    /// Inserts `text`, which has `count` characters, before character `at`.
    pub(super) fn insert(&mut self, at: usize, text: &TextRef<'_>, count: usize) {
        if count == 0 {
            return;
        }
        let (index, offset) = self.locate(at);
        self.len += count;
        if self.pieces.is_empty() {
            self.pieces.push(Piece::default());
        }
        let piece = &mut self.pieces[index];
        if piece.text.byte_len() + text.byte_len() <= PIECE {
            piece.insert(offset, text, count);
        } else {
            self.insert_pieces(index, offset, text);
        }
    }

    /// Inserts text for which the piece at `index` has no room.
    fn insert_pieces(&mut self, index: usize, offset: usize, text: &TextRef<'_>) {
        let piece = &mut self.pieces[index];
        let tail = piece.split_off(offset);
        let (head, mut rest) = text.split_at(text.bound_before(PIECE - piece.text.byte_len()));
        piece.append(&head, head.char_count());
        let mut added = Vec::with_capacity(rest.byte_len() / PIECE + 2);
        while rest.byte_len() > 0 {
            let (part, next) = rest.split_at(rest.bound_before(PIECE));
            // More will follow: whoever filled one piece is likely to fill the next.
            let mut piece = Piece::with_capacity(PIECE);
            piece.append(&part, part.char_count());
            added.push(piece);
            rest = next;
        }
        if tail.len > 0 {
            added.push(tail);
        }
        let end = index + added.len();
        self.pieces.splice(index + 1..=index, added);
        self.join(index, end);
    }

    /// Removes the characters from `start` up to `end`.
    pub(super) fn remove(&mut self, start: usize, end: usize) {
        debug_assert!(start <= end, "a removal has its start first");
        if start == end {
            return;
        }
        let ((first, from), (last, to)) = (self.locate(start), self.locate(end));
        self.len -= end - start;
        if first == last {
            self.pieces[first].remove(from, to);
            self.join(first, first);
        } else {
            let piece = &mut self.pieces[first];
            piece.remove(from, piece.len);
            self.pieces[last].remove(0, to);
            self.pieces.drain(first + 1..last);
            self.join(first, first + 1);
        }
        if self.len == 0 {
            self.pieces = Vec::new();
        }
    }

    /// Joins neighbours that fit into one piece, from the neighbour before `first` to the one behind
    /// `last`.
    fn join(&mut self, first: usize, last: usize) {
        let mut end = (last + 1).min(self.pieces.len().saturating_sub(1));
        let mut at = first.saturating_sub(1);
        while at < end {
            let sum = self.pieces[at].text.byte_len() + self.pieces[at + 1].text.byte_len();
            if sum <= PIECE {
                let next = self.pieces.remove(at + 1);
                self.pieces[at].append(&TextRef::from(&next.text), next.len);
                end -= 1;
            } else {
                at += 1;
            }
        }
    }

    /// In which piece `at` lies, and where in it. Between two it is the end of the first:
    /// output that goes on there moves nothing.
    fn locate(&self, at: usize) -> (usize, usize) {
        debug_assert!(at <= self.len, "a place behind the text");
        if at > self.len / 2 {
            let mut start = self.len;
            for (index, piece) in self.pieces.iter().enumerate().rev() {
                start -= piece.len;
                if start < at {
                    return (index, at - start);
                }
            }
        } else {
            let mut rest = at;
            for (index, piece) in self.pieces.iter().enumerate() {
                if rest <= piece.len {
                    return (index, rest);
                }
                rest -= piece.len;
            }
        }
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coding::Char;

    fn check<const PIECE: usize>(content: &Content<PIECE>, model: &[Char]) {
        let all: Vec<Char> = content.slice(0, content.len()).chars().collect();
        assert_eq!((all.as_slice(), content.len()), (model, model.len()));
        let sizes: Vec<usize> = content.pieces.iter().map(|piece| piece.text.byte_len()).collect();
        for piece in &content.pieces {
            assert_eq!(piece.len, piece.text.char_count());
        }
        assert!(sizes.iter().all(|size| (1..=PIECE).contains(size)), "sizes {sizes:?}");
        assert!(sizes.windows(2).all(|two| two[0] + two[1] > PIECE), "sizes {sizes:?}");
    }

    fn element() -> impl Strategy<Value = Char> {
        prop_oneof![
            3 => (b'a'..=b'z').prop_map(|byte| Char::Unicode(char::from(byte))),
            2 => any::<char>().prop_map(Char::Unicode),
            1 => any::<u8>().prop_map(Char::Raw),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_changes_tells_pieces_from_one_string(steps in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>(),
             proptest::collection::vec(element(), 0..40)),
            1..60,
        )) {
            let (mut content, mut model) = (Content::<11>::default(), Vec::new());
            for (a, b, removes, elements) in steps {
                let (a, b) = (a.index(model.len() + 1), b.index(model.len() + 1));
                let (start, end) = (a.min(b), a.max(b));
                if removes {
                    let part: Vec<Char> = content.slice(start, end).chars().collect();
                    prop_assert_eq!(&part, &model[start..end]);
                    content.remove(start, end);
                    model.drain(start..end);
                } else {
                    let text: Text = elements.iter().copied().collect();
                    content.insert(a, &TextRef::from(&text), elements.len());
                    model.splice(a..a, elements);
                }
                check(&content, &model);
            }
        }
    }

    #[test]
    fn text_inserted_at_one_place_fills_pieces() {
        for place in [0, 1, 7, 8, 9, 16] {
            let mut content = Content::<8>::default();
            content.insert(0, &TextRef::from("0123456789abcdef"), 16);
            for step in 0..100 {
                content.insert(place + step, &TextRef::from("x"), 1);
            }
            assert!(content.pieces.len() <= 116 / 8 + 3, "at {place}: {}", content.pieces.len());
        }
    }
}
