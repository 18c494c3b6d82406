//! One search through a text that comes piece by piece.
//!
//! The automaton is followed through all its states at once. What is kept between two bytes is the
//! set of states the text so far has led to, so a byte is looked at when it comes and never again:
//! there is no place a search would have to go back to, because every place where a match could have
//! begun is in that set. The cost of a byte is at most the number of states, twice when the text
//! pauses there.
//!
//! Invariant: the set holds states *before* the assertions at the present place are judged, because
//! `$` and `\b` need the byte that follows. Which match is the longest or has which groups is left out;
//! the question is only whether one ends here.

use regex_automata::{
    nfa::thompson::{NFA, State},
    util::{look::Look, primitives::StateID},
};

use super::syntax::{Kind, symbol_kind, word_kind};

/// What follows the present place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dialogue) enum Next {
    /// This byte.
    Byte(u8),
    /// Nothing, for ever.
    End,
    /// Not known yet: an assertion holds only if it does whatever comes.
    Unknown,
}

/// The states of an automaton that a text has led to.
#[derive(Clone, Debug)]
pub(in crate::dialogue) struct Search {
    /// What stood before the present place; `None` at the beginning of everything.
    before: Option<u8>,
    /// Where the bytes so far have led, besides the beginning, without repetition.
    reached: Vec<StateID>,
    /// The states behind those that take a byte, as of the last `matches`.
    taking: Vec<StateID>,
    /// What is still to be followed; empty between calls.
    stack: Vec<StateID>,
    /// The round in which each state was last met.
    met: Vec<u64>,
    round: u64,
    /// How many states were met: the whole cost, but for a constant.
    #[cfg(test)]
    pub(in crate::dialogue) work: u64,
}

impl Search {
    /// Begins a search at a place behind `before`.
    pub(in crate::dialogue) const fn new(before: Option<u8>) -> Self {
        Self {
            before,
            reached: Vec::new(),
            taking: Vec::new(),
            stack: Vec::new(),
            met: Vec::new(),
            round: 0,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Whether a match ends at the present place. Must be asked, with what follows, before `step`.
    pub(in crate::dialogue) fn matches(&mut self, nfa: &NFA, next: Next) -> bool {
        self.begin_round(nfa);
        self.taking.clear();
        // A match may begin anywhere, so the beginning of the automaton is in every set.
        self.stack.push(nfa.start_anchored());
        self.stack.extend_from_slice(&self.reached);
        let mut is_match = false;
        while let Some(id) = self.stack.pop() {
            if !self.meet(id) {
                continue;
            }
            match nfa.state(id) {
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) => {
                    self.taking.push(id);
                }
                State::Look { look, next: behind } => {
                    if holds(*look, self.before, next) {
                        self.stack.push(*behind);
                    }
                }
                State::Union { alternates } => self.stack.extend_from_slice(alternates),
                State::BinaryUnion { alt1, alt2 } => self.stack.extend([*alt1, *alt2]),
                State::Capture { next: behind, .. } => self.stack.push(*behind),
                State::Fail => {}
                State::Match { .. } => is_match = true,
            }
        }
        is_match
    }

    /// Goes past `byte`, which `matches` was told of.
    pub(in crate::dialogue) fn step(&mut self, nfa: &NFA, byte: u8) {
        self.begin_round(nfa);
        self.reached.clear();
        for at in 0..self.taking.len() {
            let behind = match nfa.state(self.taking[at]) {
                State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
                State::Sparse(several) => several.matches_byte(byte),
                State::Dense(all) => all.matches_byte(byte),
                State::Look { .. }
                | State::Union { .. }
                | State::BinaryUnion { .. }
                | State::Capture { .. }
                | State::Fail
                | State::Match { .. } => None,
            };
            if let Some(id) = behind
                && self.meet(id)
            {
                self.reached.push(id);
            }
        }
        self.before = Some(byte);
    }

    fn begin_round(&mut self, nfa: &NFA) {
        self.met.resize(nfa.states().len(), 0);
        self.round += 1;
    }

    /// Whether this round had not met `id` yet.
    fn meet(&mut self, id: StateID) -> bool {
        #[cfg(test)]
        {
            self.work += 1;
        }
        let met = &mut self.met[id.as_usize()];
        std::mem::replace(met, self.round) != self.round
    }
}

/// Whether an assertion holds between `before` and `next`.
///
/// Emacs's assertions go under the names of those of `regex-syntax` that are nearest: those of symbols
/// under the halves. They are judged only here, by Emacs's rules.
fn holds(look: Look, before: Option<u8>, next: Next) -> bool {
    let by = |kind: fn(u8) -> Kind| {
        let behind = match next {
            Next::Byte(byte) => Some(kind(byte)),
            Next::End => Some(Kind::Other),
            Next::Unknown => None,
        };
        Sides { left: before.map_or(Kind::Other, kind), right: behind }
    };
    let at_an_end = before.is_none() || next == Next::End;
    match look {
        Look::Start => before.is_none(),
        Look::End => next == Next::End,
        Look::StartLF => before.is_none_or(|byte| byte == b'\n'),
        Look::EndLF => matches!(next, Next::End | Next::Byte(b'\n')),
        Look::WordAscii => at_an_end || by(word_kind).differ(),
        Look::WordAsciiNegate => !at_an_end && by(word_kind).are_equal(),
        Look::WordStartAscii => by(word_kind).begin(),
        Look::WordEndAscii => by(word_kind).end(),
        Look::WordStartHalfAscii => by(symbol_kind).begin(),
        Look::WordEndHalfAscii => by(symbol_kind).end(),
        Look::StartCRLF
        | Look::EndCRLF
        | Look::WordUnicode
        | Look::WordUnicodeNegate
        | Look::WordStartUnicode
        | Look::WordEndUnicode
        | Look::WordStartHalfUnicode
        | Look::WordEndHalfUnicode => false,
    }
}

/// What stands on both sides of a place; on the right, if it is known.
struct Sides {
    left: Kind,
    right: Option<Kind>,
}

impl Sides {
    fn differ(&self) -> bool {
        self.right.is_some_and(|right| right != self.left)
    }

    fn are_equal(&self) -> bool {
        self.right == Some(self.left)
    }

    /// Whether a word or symbol begins here.
    fn begin(&self) -> bool {
        self.differ() && self.right != Some(Kind::Other)
    }

    /// Whether one ends here.
    fn end(&self) -> bool {
        self.differ() && self.left != Kind::Other
    }
}
