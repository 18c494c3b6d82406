//! One response: bytes until its end is found.
//!
//! Invariant: where it ends depends on the bytes alone, not on how they come. It ends at the first
//! place at which the expression matches whatever follows; where only the byte that follows decides
//! (`$`, `\>`) it ends before that byte, but a line feed that decides is taken along, so that `$` leaves
//! no half line end behind. It never holds more than its limit. What a response means is left to
//! `machine`.

use super::{
    params::{Frame, ReadyEnd},
    regexp::{Next, Regexp, Search},
};

/// A response that is coming in.
#[derive(Debug)]
pub(super) struct Response {
    bytes: Vec<u8>,
    search: Search,
    limit: usize,
}

/// What some more bytes have made of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fed {
    /// They all belong to it, and it goes on.
    More,
    /// It is complete with the first so many of them.
    Complete(usize),
    TooLong,
    Malformed,
}

impl Response {
    /// Begins one behind the byte `before`, which decides whether it begins a line.
    pub(super) const fn new(before: Option<u8>, limit: usize) -> Self {
        Self { bytes: Vec::new(), search: Search::new(before), limit }
    }

    /// The limit, in bytes.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// What there is of it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bytes of it there are.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes what belongs to it from the beginning of `chunk`.
    pub(super) fn feed(&mut self, end: &ReadyEnd, chunk: &[u8]) -> Fed {
        match end {
            ReadyEnd::Regexp(regexp) => self.feed_to_regexp(regexp, chunk),
            ReadyEnd::Function(function) => self.feed_to_function(&**function, chunk),
        }
    }

    fn feed_to_regexp(&mut self, regexp: &Regexp, chunk: &[u8]) -> Fed {
        let nfa = regexp.nfa();
        for (index, &byte) in chunk.iter().enumerate() {
            if self.search.matches(nfa, Next::Byte(byte)) {
                let is_certain = self.search.matches(nfa, Next::Unknown);
                if is_certain || byte != b'\n' {
                    return Fed::Complete(index);
                }
                if self.bytes.len() < self.limit {
                    self.bytes.push(byte);
                    return Fed::Complete(index + 1);
                }
            }
            if self.bytes.len() == self.limit {
                return Fed::TooLong;
            }
            self.bytes.push(byte);
            self.search.step(nfa, byte);
        }
        let is_match = self.search.matches(nfa, Next::Unknown);
        if is_match { Fed::Complete(chunk.len()) } else { Fed::More }
    }

    fn feed_to_function(&mut self, end: &dyn Fn(&[u8]) -> Frame, chunk: &[u8]) -> Fed {
        let before = self.bytes.len();
        let taken = chunk.len().min(self.limit - before);
        self.bytes.extend_from_slice(&chunk[..taken]);
        match end(&self.bytes) {
            Frame::More if taken < chunk.len() => Fed::TooLong,
            Frame::More => Fed::More,
            // An end that lies before what came now should have been found then, and one beyond it not yet.
            Frame::Complete(len) if before < len && len <= self.bytes.len() => {
                self.bytes.truncate(len);
                Fed::Complete(len - before)
            }
            Frame::Complete(_) | Frame::Malformed => Fed::Malformed,
        }
    }

    /// How many states of automata were looked at.
    #[cfg(test)]
    pub(super) const fn work(&self) -> u64 {
        self.search.work
    }
}
