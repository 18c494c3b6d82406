//! Buffers and markers against what Emacs 28.2 answers, and against a model that does no arithmetic.
//!
//! The tables are Emacs's answers to the same calls under `emacs -Q --batch`. The model is one
//! sequence of characters and places: a place moves because the characters around it do.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::coding::{Char, Text, TextRef};

fn digits() -> Buffer {
    let buffer = Buffers::default().get_or_create("b");
    buffer.insert("0123456789").unwrap();
    buffer
}

#[test]
fn output_goes_to_the_mark_wherever_point_is_and_although_it_is_read_only() {
    // The scenario `default-filter-inserts-at-mark`, without its sockets.
    let buffer = Buffers::default().get_or_create("buf");
    let mark = buffer.marker(usize::MAX);
    mark.output("one ").unwrap();
    assert_eq!((mark.position(), buffer.point()), (Some(5), 5));
    buffer.set_point(2);
    buffer.set_read_only(true);
    mark.output("two ").unwrap();
    assert_eq!((buffer.text(), buffer.point()), ("one two ".into(), 2));
    assert!(buffer.is_read_only());
    buffer.set_read_only(false);
    buffer.set_point(usize::MAX);
    buffer.insert("<user>").unwrap();
    assert_eq!(buffer.point(), 15);
    mark.output("three ").unwrap();
    assert_eq!((buffer.text(), buffer.point()), ("one two three <user>".into(), 21));
    mark.set(&buffer, 1);
    mark.output("zero ").unwrap();
    assert_eq!((buffer.text(), mark.position()), ("zero one two three <user>".into(), Some(6)));
}

/// Source: `(narrow-to-region START END)`, `(goto-char POINT)`, the process mark at MARK among ten
/// digits, then `(internal-default-process-filter process "XYZ")`.
#[test]
fn output_in_a_narrowed_buffer_goes_to_the_mark() {
    // Start, end, mark, point; then start, end, point, and the accessible text.
    let cases = [
        ((3, 7, 5, 5), (3, 10, 8, "23XYZ45")),
        ((3, 7, 5, 4), (3, 10, 4, "23XYZ45")),
        ((3, 7, 3, 3), (3, 10, 6, "XYZ2345")),
        ((3, 7, 3, 5), (3, 10, 8, "XYZ2345")),
        ((3, 7, 7, 7), (3, 10, 10, "2345XYZ")),
        ((3, 7, 7, 4), (3, 10, 4, "2345XYZ")),
        ((4, 4, 4, 4), (4, 7, 7, "XYZ")),
        ((1, 11, 11, 11), (1, 14, 14, "0123456789XYZ")),
        ((1, 7, 1, 1), (1, 10, 4, "XYZ012345")),
        // DIFFERENCE: Emacs inserts at 3 and at 7, the near edges.
        ((3, 7, 1, 3), (6, 10, 6, "2345")),
        ((3, 7, 10, 7), (3, 7, 7, "2345")),
    ];
    for ((start, end, at, point), expected) in cases {
        let buffer = digits();
        let (mark, other) = (buffer.marker(at), buffer.marker(at));
        let before = (at > 1).then(|| buffer.marker(at - 1));
        buffer.narrow(start, end).unwrap();
        buffer.set_point(point);
        mark.output("XYZ").unwrap();
        let found = (buffer.point_min(), buffer.point_max(), buffer.point());
        assert_eq!((found, buffer.text()), {
            let (start, end, point, text) = expected;
            ((start, end, point), text.into())
        });
        assert_eq!((mark.position(), other.position()), (Some(at + 3), Some(at + 3)), "mark {at}");
        let before = before.map(|marker| marker.position());
        assert_eq!(before, (at > 1).then_some(Some(at - 1)), "mark {at}");
        buffer.widen();
        assert_eq!(buffer.substring(at, at + 3).unwrap(), "XYZ", "mark {at}");
    }
}

#[test]
fn positions_are_clamped_or_refused_as_in_emacs() {
    let buffer = digits();
    buffer.narrow(7, 3).unwrap();
    assert_eq!((buffer.point_min(), buffer.point_max(), buffer.point()), (3, 7, 7));
    let out = |start, end| BufferError::OutOfRange { start, end };
    for (start, end) in [(1, 4), (4, 1), (6, 8), (0, usize::MAX), (9, 9)] {
        let expected = out(start.min(end), start.max(end));
        assert_eq!(buffer.substring(start, end), Err(expected), "{start} {end}");
        assert_eq!(buffer.delete(start, end), Err(expected), "{start} {end}");
    }
    assert_eq!(buffer.narrow(0, 5), Err(out(0, 5)));
    assert_eq!(buffer.narrow(1, 12), Err(out(1, 12)));
    assert_eq!((buffer.substring(6, 4).unwrap(), buffer.len()), ("34".into(), 10));
    for (asked, expected) in [(0, 3), (2, 3), (3, 3), (5, 5), (7, 7), (8, 7), (usize::MAX, 7)] {
        buffer.set_point(asked);
        assert_eq!(buffer.point(), expected, "point {asked}");
    }
    for (asked, expected) in [(0, 1), (1, 1), (10, 10), (11, 11), (12, 11), (usize::MAX, 11)] {
        assert_eq!(buffer.marker(asked).position(), Some(expected), "marker {asked}");
    }
    buffer.set_point(3);
    buffer.insert("A").unwrap();
    buffer.set_point(8);
    buffer.insert("Z").unwrap();
    assert_eq!((buffer.text(), buffer.point()), ("A2345Z".into(), 9));
    buffer.narrow(1, 9).unwrap();
    assert_eq!(buffer.text(), "01A2345Z", "narrowing is not limited by what was narrowed");
}

#[test]
fn a_read_only_buffer_refuses_users_and_every_change_but_none() {
    let buffer = digits();
    buffer.set_read_only(true);
    assert_eq!(buffer.insert("x"), Err(BufferError::ReadOnly));
    assert_eq!(buffer.delete(1, 2), Err(BufferError::ReadOnly));
    assert_eq!((buffer.insert(""), buffer.delete(2, 2)), (Ok(()), Ok(())));
    assert_eq!(buffer.text(), "0123456789");
}

#[test]
fn a_full_buffer_takes_what_fits_of_output_and_nothing_of_a_user() {
    let buffer = Buffers::default().get_or_create("b");
    let mark = buffer.marker(1);
    buffer.set_len_max(4);
    let mut text = Text::from("é€");
    text.push_raw(0xFF);
    text.push_str("\u{1F600}é");
    // What was inserted of five elements, how many in all, and how many were lost.
    for (len, lost) in [(4, 1), (4, 5)] {
        assert_eq!(mark.output(&text), Err(BufferError::Full { lost }));
        assert_eq!((buffer.len(), mark.position(), buffer.point()), (len, Some(5), 5));
    }
    assert_eq!(buffer.text().chars().nth(2), Some(Char::Raw(0xFF)));
    assert_eq!((mark.output(""), buffer.insert("")), (Ok(()), Ok(())));
    buffer.delete(1, 2).unwrap();
    assert_eq!(buffer.insert("ab"), Err(BufferError::Full { lost: 2 }));
    assert_eq!((buffer.len(), buffer.insert("a"), buffer.len()), (3, Ok(()), 4));
    buffer.set_len_max(1);
    assert_eq!((buffer.len(), mark.output("x")), (4, Err(BufferError::Full { lost: 1 })));
}

#[test]
fn a_killed_buffer_is_empty_refuses_text_and_frees_its_name() {
    let buffers = Buffers::default();
    let buffer = buffers.get_or_create("k");
    buffer.insert("hey").unwrap();
    buffer.narrow(2, 3).unwrap();
    let marker = buffer.marker(2);
    buffer.kill();
    buffer.kill();
    assert_eq!(buffers.kill_count(), 1);
    assert_eq!((buffers.get("k"), buffers.list()), (None, Vec::new()));
    assert_eq!((buffer.name(), buffer.is_live(), buffer.is_empty()), (None, false, true));
    assert_eq!((buffer.text(), buffer.point(), buffer.point_max()), (Text::new(), 1, 1));
    assert_eq!((marker.position(), marker.buffer()), (None, None));
    marker.set(&buffer, 1);
    assert_eq!((marker.position(), buffer.marker(1).buffer()), (None, None));
    let killed = Err(BufferError::Killed);
    assert_eq!(
        (marker.output("x"), buffer.insert("x"), buffer.delete(1, 1)),
        (killed, killed, killed)
    );
    assert_eq!((buffer.narrow(1, 1), buffers.set_current(&buffer)), (killed, killed));
    buffer.set_point(5);
    buffer.widen();
    assert_eq!((buffer.point(), buffer.len()), (1, 0));
    let again = buffers.get_or_create("k");
    assert_ne!(again, buffer);
    assert!(again.is_live() && again.is_empty());
}

#[test]
fn a_table_knows_its_live_buffers_and_the_current_one() {
    let buffers = Buffers::default();
    let same = buffers.clone();
    assert_eq!(buffers.get("*scratch*"), None);
    let scratch = same.current();
    assert_eq!(buffers.get("*scratch*"), Some(scratch.clone()));
    let (a, b) = (buffers.get_or_create("a"), buffers.get_or_create("b"));
    assert_eq!(same.list(), [scratch.clone(), a.clone(), b.clone()]);
    buffers.set_current(&b).unwrap();
    a.kill();
    assert_eq!(same.current(), b);
    b.kill();
    assert_eq!((same.current(), same.list()), (scratch.clone(), vec![scratch.clone()]));
    scratch.kill();
    assert_ne!(same.current(), scratch);
    let foreign = Buffers::default().get_or_create("a");
    assert_eq!(buffers.set_current(&foreign), Err(BufferError::Foreign));
    drop((buffers, same));
    let mark = foreign.marker(1);
    mark.output("text").unwrap();
    foreign.kill();
    assert_eq!(mark.output("text"), Err(BufferError::Killed), "a buffer outlives its table");
}

#[test]
fn a_marker_goes_from_buffer_to_buffer_and_is_followed_in_the_last() {
    let (a, b) = (digits(), digits());
    let marker = a.marker(5);
    marker.set_insertion_type(InsertionType::Advance);
    let (same, copy) = (marker.clone(), marker.copy());
    assert_eq!(copy.insertion_type(), InsertionType::Advance);
    marker.set(&b, 3);
    marker.set(&a, 6);
    marker.set(&b, 4);
    for buffer in [&a, &b] {
        buffer.set_point(1);
        buffer.insert("ab").unwrap();
    }
    assert_eq!((same.position(), same.buffer()), (Some(6), Some(b.clone())));
    assert_eq!((copy.position(), copy.buffer()), (Some(7), Some(a)));
    assert!(same == marker && copy != marker);
    same.detach();
    assert_eq!((marker.position(), marker.copy().buffer()), (None, None));
    assert_eq!(marker.output("x"), Err(BufferError::Killed));
    assert_eq!(b.text(), "ab0123456789");
}

#[test]
fn markers_that_nobody_holds_take_no_memory() {
    let buffer = digits();
    let kept = buffer.marker(3);
    for _ in 0..10_000 {
        drop(buffer.marker(5));
    }
    assert!(buffer.edit(|state| state.marker_capacity()) < 100);
    kept.output("x").unwrap();
    assert_eq!(kept.position(), Some(4));
}

#[test]
fn values_print_as_lisp_prints_them() {
    let buffer = digits();
    let marker = buffer.marker(4);
    marker.set_insertion_type(InsertionType::Advance);
    assert_eq!(format!("{marker:?}"), "#<marker (moves after insertion) at 4 in b>");
    assert_eq!(format!("{buffer:?}"), "#<buffer b>");
    buffer.kill();
    marker.set_insertion_type(InsertionType::Stay);
    assert_eq!(format!("{buffer:?} {marker:?}"), "#<killed buffer> #<marker in no buffer>");
}

/// A test that never ends where one insertion costs more the more text there is.
#[test]
fn ten_megabytes_arrive_at_the_end_and_go_from_the_front() {
    let buffer = Buffers::default().get_or_create("b");
    let (mark, user) = (buffer.marker(1), buffer.marker(1));
    let line = "sixty-four bytes of a log, the last of them being the newline..\n";
    let lines = (10 << 20) / line.len();
    for _ in 0..lines {
        mark.output(line).unwrap();
    }
    user.set(&buffer, 5 << 20);
    for _ in 0..1000 {
        user.output(line).unwrap();
    }
    let len = (lines + 1000) * line.len();
    assert_eq!((buffer.len(), mark.position()), (len, Some(len + 1)));
    for _ in 0..lines + 1000 {
        buffer.delete(1, line.len() + 1).unwrap();
    }
    assert_eq!((buffer.text(), mark.position(), buffer.point()), (Text::new(), Some(1), 1));
}

/// How many markers the model has. The last is a mark no different from the others.
const MARKERS: usize = 4;

/// An element of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Char(Char),
    Marker(usize),
    Point,
    Start,
    End,
}

/// A buffer as one sequence of characters and places.
#[derive(Debug)]
struct Model {
    tokens: Vec<Token>,
    advances: [bool; MARKERS],
}

impl Model {
    fn new() -> Self {
        let mut tokens = vec![Token::Point, Token::Start, Token::End];
        tokens.extend((0..MARKERS).map(Token::Marker));
        Self { tokens, advances: [false; MARKERS] }
    }

    fn chars(&self) -> Vec<Char> {
        let char = |token: &Token| if let Token::Char(char) = token { Some(*char) } else { None };
        self.tokens.iter().filter_map(char).collect()
    }

    fn position(&self, place: Token) -> usize {
        let before = self.tokens.iter().take_while(|token| **token != place);
        1 + before.filter(|token| matches!(token, Token::Char(_))).count()
    }

    /// Takes the places at `position` out; returns where they were.
    fn open(&mut self, position: usize) -> (usize, Vec<Token>) {
        let is_char = |token: &Token| matches!(token, Token::Char(_));
        let mut chars = self.tokens.iter().enumerate().filter(|(_, token)| is_char(token));
        let start = position.checked_sub(2).map_or(0, |nth| chars.nth(nth).unwrap().0 + 1);
        let count = self.tokens[start..].iter().take_while(|token| !is_char(token)).count();
        (start, self.tokens.drain(start..start + count).collect())
    }

    fn insert(&mut self, position: usize, chars: &[Char], goes: impl Fn(&Token) -> bool) {
        let (at, places) = self.open(position);
        let (behind, mut all): (Vec<_>, Vec<_>) = places.into_iter().partition(goes);
        all.extend(chars.iter().copied().map(Token::Char));
        all.extend(behind);
        self.tokens.splice(at..at, all);
    }

    fn remove(&mut self, start: usize, end: usize) {
        let mut position = 0;
        self.tokens.retain(|token| {
            let is_char = matches!(token, Token::Char(_));
            position += usize::from(is_char);
            !(is_char && (start..end).contains(&position))
        });
    }

    fn set(&mut self, place: Token, position: usize) {
        let (at, mut places) = self.open(position);
        places.push(place);
        self.tokens.splice(at..at, places);
        let mut index = 0..;
        // Of the two of it, the one just put there stays.
        let kept = (at..).zip(&self.tokens[at..]).find(|(_, token)| **token == place).unwrap().0;
        self.tokens.retain(|token| index.next() == Some(kept) || *token != place);
    }
}

/// A call on a buffer; positions are drawn from those that are possible.
#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<Char>),
    Output(usize, Vec<Char>),
    Delete(Index, Index),
    Point(Index),
    Narrow(Index, Index),
    Widen,
    Set(usize, Index),
    Type(usize, bool),
    /// Another handle takes the place of the first, or a marker nobody holds comes and goes.
    Handle(usize, Index),
}

fn step() -> impl Strategy<Value = Step> {
    let chars = || {
        let char = prop_oneof![
            3 => (b' '..=b'~').prop_map(|byte| Char::Unicode(char::from(byte))),
            1 => any::<char>().prop_map(Char::Unicode),
            1 => (0x80u8..).prop_map(Char::Raw),
        ];
        let short = proptest::collection::vec(char, 0..12);
        // Now and then longer than a piece of the buffer.
        (short, prop_oneof![9 => Just(1usize), 1 => Just(1500)])
            .prop_map(|(chars, times)| chars.repeat(times))
    };
    let marker = || 0..MARKERS;
    prop_oneof![
        chars().prop_map(Step::Insert),
        (marker(), chars()).prop_map(|(marker, text)| Step::Output(marker, text)),
        any::<(Index, Index)>().prop_map(|(start, end)| Step::Delete(start, end)),
        any::<Index>().prop_map(Step::Point),
        any::<(Index, Index)>().prop_map(|(start, end)| Step::Narrow(start, end)),
        Just(Step::Widen),
        (marker(), any::<Index>()).prop_map(|(marker, at)| Step::Set(marker, at)),
        (marker(), any::<bool>()).prop_map(|(marker, advances)| Step::Type(marker, advances)),
        (marker(), any::<Index>()).prop_map(|(marker, at)| Step::Handle(marker, at)),
    ]
}

/// Does `step` to both.
fn apply(step: Step, buffer: &Buffer, markers: &mut [Marker], model: &mut Model) {
    let text = |chars: &[Char]| chars.iter().copied().collect::<Text>();
    let (start, end) = (model.position(Token::Start), model.position(Token::End));
    let accessible = |at: Index| start + at.index(end - start + 1);
    let all = |at: Index| 1 + at.index(model.chars().len() + 1);
    match step {
        Step::Insert(chars) => {
            let advances = model.advances;
            buffer.insert(&text(&chars)).unwrap();
            model.insert(model.position(Token::Point), &chars, |token| match token {
                Token::Marker(marker) => advances[*marker],
                Token::Point | Token::End => true,
                Token::Start | Token::Char(_) => false,
            });
        }
        Step::Output(marker, chars) => {
            markers[marker].output(&text(&chars)).unwrap();
            let at = model.position(Token::Marker(marker));
            model.insert(at, &chars, |token| *token != Token::Start);
        }
        Step::Delete(a, b) => {
            let (a, b) = (accessible(a), accessible(b));
            buffer.delete(a, b).unwrap();
            model.remove(a.min(b), a.max(b));
        }
        Step::Point(at) => {
            let at = accessible(at);
            buffer.set_point(at);
            model.set(Token::Point, at);
        }
        Step::Narrow(a, b) => {
            let (a, b) = (all(a), all(b));
            buffer.narrow(a, b).unwrap();
            narrow(model, a.min(b), a.max(b));
        }
        Step::Widen => {
            buffer.widen();
            narrow(model, 1, model.chars().len() + 1);
        }
        Step::Set(marker, at) => {
            let at = all(at);
            markers[marker].set(buffer, at);
            model.set(Token::Marker(marker), at);
        }
        Step::Type(marker, advances) => {
            model.advances[marker] = advances;
            let insertion_type =
                if advances { InsertionType::Advance } else { InsertionType::Stay };
            markers[marker].set_insertion_type(insertion_type);
        }
        Step::Handle(marker, at) => {
            drop(buffer.marker(all(at)));
            markers[marker] = markers[marker].copy();
        }
    }
}

fn narrow(model: &mut Model, start: usize, end: usize) {
    model.set(Token::Start, start);
    model.set(Token::End, end);
    let point = model.position(Token::Point).clamp(start, end);
    model.set(Token::Point, point);
}

proptest! {
    #[test]
    fn no_order_of_calls_moves_a_place_away_from_its_neighbours(
        steps in proptest::collection::vec(step(), 1..50),
    ) {
        let buffer = Buffers::default().get_or_create("b");
        let mut markers: Vec<Marker> = (0..MARKERS).map(|_| buffer.marker(1)).collect();
        let mut model = Model::new();
        for step in steps {
            apply(step, &buffer, &mut markers, &mut model);
            let (start, end) = (model.position(Token::Start), model.position(Token::End));
            prop_assert_eq!((buffer.point_min(), buffer.point_max()), (start, end));
            prop_assert_eq!(buffer.point(), model.position(Token::Point));
            for (index, marker) in markers.iter().enumerate() {
                prop_assert_eq!(marker.position(), Some(model.position(Token::Marker(index))));
            }
            let chars = model.chars();
            let text = buffer.text();
            prop_assert_eq!(buffer.len(), chars.len());
            prop_assert_eq!(TextRef::from(&text).char_count(), end - start);
            prop_assert!(text.chars().eq(chars[start - 1..end - 1].iter().copied()));
        }
    }
}
