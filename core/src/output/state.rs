//! The text of one buffer with the places in it: point, the accessible part, the markers.
//!
//! Invariant: 1 ≤ start of the accessible part ≤ point ≤ its end ≤ length + 1, and every marker in
//! the list lies from 1 to length + 1. Positions count characters from 1. Whether somebody may change
//! the text is decided by the buffer.

use std::{
    mem,
    rc::{Rc, Weak},
};

use super::{
    LEN_MAX,
    content::Content,
    marker::{InsertionType, Place},
};
use crate::coding::{Text, TextRef};

/// Bytes in a piece of text: few enough to move quickly, many enough that a large buffer has few.
const PIECE: usize = 8 << 10;

/// What a buffer is, behind its handles.
pub(super) struct State {
    /// `None` once killed.
    pub(super) name: Option<Rc<str>>,
    content: Content<PIECE>,
    pub(super) point: usize,
    /// Start and end of the accessible part, if narrowed.
    narrowed: Option<(usize, usize)>,
    pub(super) is_read_only: bool,
    pub(super) len_max: usize,
    /// Some may be dead; a walk over all drops those.
    markers: Vec<Weak<Place>>,
}

impl State {
    pub(super) fn new(name: Rc<str>) -> Self {
        Self {
            name: Some(name),
            content: Content::default(),
            point: 1,
            narrowed: None,
            is_read_only: false,
            len_max: LEN_MAX,
            markers: Vec::new(),
        }
    }

    /// Frees everything and returns the name; `None` if there was nothing to free.
    pub(super) fn kill(&mut self) -> Option<(Rc<str>, Vec<Weak<Place>>)> {
        let name = self.name.take()?;
        self.content = Content::default();
        self.point = 1;
        self.narrowed = None;
        Some((name, mem::take(&mut self.markers)))
    }

    /// How many characters it has, accessible or not.
    pub(super) const fn len(&self) -> usize {
        self.content.len()
    }

    /// How many characters fit in.
    pub(super) const fn room(&self) -> usize {
        self.len_max.saturating_sub(self.len())
    }

    /// Start and end of the accessible part.
    pub(super) fn accessible(&self) -> (usize, usize) {
        self.narrowed.unwrap_or((1, self.len() + 1))
    }

    /// Makes `start` to `end`, which lie in the text, the accessible part.
    pub(super) fn narrow(&mut self, start: usize, end: usize) {
        // The whole is not kept as a part: it would be adjusted for nothing.
        self.narrowed = Some((start, end)).filter(|part| *part != (1, self.len() + 1));
        self.point = self.point.clamp(start, end);
        self.check();
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> Text {
        self.content.slice(start - 1, end - 1)
    }

    /// Inserts `text`, of `count` characters that fit, at point, as a user does.
    pub(super) fn insert(&mut self, text: &TextRef<'_>, count: usize) {
        let at = self.point;
        self.insert_at(at, text, count, |place| {
            place.insertion_type.get() == InsertionType::Advance
        });
        self.point = at + count;
        self.check();
    }

    /// Inserts what fits of `text` before everything at `at`; returns how many characters did not.
    pub(super) fn output(&mut self, at: usize, text: &TextRef<'_>) -> usize {
        let count = text.char_count();
        let fits = count.min(self.room());
        if fits == count {
            self.insert_at(at, text, fits, |_| true);
        } else {
            let (text, _) = text.split_at(text.byte_at(fits));
            self.insert_at(at, &text, fits, |_| true);
        }
        if self.point >= at {
            self.point += fits;
        }
        self.check();
        count - fits
    }

    /// Inserts text and moves all but point. Of the markers at the place those move on that
    /// `moves_on` says.
    fn insert_at(
        &mut self,
        at: usize,
        text: &TextRef<'_>,
        count: usize,
        moves_on: impl Fn(&Place) -> bool,
    ) {
        self.content.insert(at - 1, text, count);
        self.walk(|place| {
            let position = place.position.get();
            if position > at || position == at && moves_on(place) {
                place.position.set(position + count);
            }
        });
        // What is inserted at an edge becomes accessible, at either edge, as in Emacs.
        if let Some((start, end)) = &mut self.narrowed {
            if *start > at {
                *start += count;
            }
            if *end >= at {
                *end += count;
            }
        }
    }

    /// Removes `start` to `end`, which lie in the accessible part. Places between them go to `start`.
    pub(super) fn remove(&mut self, start: usize, end: usize) {
        self.content.remove(start - 1, end - 1);
        let moved = |position: usize| {
            if position >= end { position - (end - start) } else { position.min(start) }
        };
        self.walk(|place| place.position.set(moved(place.position.get())));
        self.point = moved(self.point);
        if let Some((_, last)) = &mut self.narrowed {
            *last = moved(*last);
        }
        self.check();
    }

    /// Takes a marker into the list.
    pub(super) fn adopt(&mut self, place: &Rc<Place>) {
        // Before the list would grow, so that markers made and dropped do not fill memory.
        if self.markers.len() == self.markers.capacity() {
            self.markers.retain(|marker| marker.strong_count() > 0);
        }
        self.markers.push(Rc::downgrade(place));
    }

    /// Drops a marker from the list.
    pub(super) fn disown(&mut self, place: &Rc<Place>) {
        self.markers.retain(|marker| marker.as_ptr() != Rc::as_ptr(place));
    }

    /// How much memory the list of markers has.
    #[cfg(test)]
    pub(super) fn marker_capacity(&self) -> usize {
        self.markers.capacity()
    }

    fn walk(&mut self, each: impl Fn(&Place)) {
        self.markers.retain(|marker| {
            let place = marker.upgrade();
            place.as_deref().map(&each).is_some()
        });
    }

    fn check(&self) {
        let (start, end) = self.accessible();
        debug_assert!(1 <= start && end <= self.len() + 1, "the accessible part leaves the text");
        debug_assert!((start..=end).contains(&self.point), "point leaves the accessible part");
    }
}
