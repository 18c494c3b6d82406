//! What a buffer is to its users: every call checks whether it may, then changes the state once.
//!
//! Invariant: no borrow of the state lasts beyond a call, and nothing that could call here again is
//! run or dropped inside one. A killed buffer is empty and refuses text.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    hash::{Hash, Hasher},
    ptr,
    rc::{Rc, Weak},
};

use super::{BufferError, Marker, state::State, table::Shelf};
use crate::{
    coding::{Text, TextRef},
    value::Object,
};

struct Body {
    serial: u64,
    /// Who holds it under its name. Weak, or the table would hold itself.
    table: Weak<Shelf>,
    state: RefCell<State>,
}

/// A text with a point and an accessible part. Clones are the same buffer, and equal.
///
/// Positions count characters and raw bytes from 1. A killed buffer stays a value: it is empty, and
/// changing it does nothing or fails.
///
/// # Examples
///
/// ```
/// use netproc_core::output::{BufferError, Buffers};
///
/// let buffer = Buffers::default().get_or_create("log");
/// buffer.insert("0123456789")?;
/// buffer.narrow(3, 7)?;
/// assert_eq!((buffer.text(), buffer.len()), ("2345".into(), 10));
/// assert_eq!((buffer.point_min(), buffer.point(), buffer.point_max()), (3, 7, 7));
/// buffer.set_read_only(true);
/// assert_eq!(buffer.delete(3, 4), Err(BufferError::ReadOnly));
/// buffer.kill();
/// assert_eq!(format!("{buffer:?}"), "#<killed buffer>");
/// # Ok::<(), BufferError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Buffers", "Positions", "Narrowing".
#[derive(Clone)]
pub struct Buffer(Rc<Body>);

impl Buffer {
    pub(super) fn new(serial: u64, name: Rc<str>, table: Weak<Shelf>) -> Self {
        Self(Rc::new(Body { serial, table, state: RefCell::new(State::new(name)) }))
    }

    /// Whether `table` made it.
    pub(super) fn is_of(&self, table: &Rc<Shelf>) -> bool {
        ptr::eq(self.0.table.as_ptr(), Rc::as_ptr(table))
    }

    /// Runs `change` on the state; it must not come back here.
    pub(super) fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.borrow_mut())
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.borrow())
    }

    /// What it is called; `None` once it was killed.
    #[must_use]
    pub fn name(&self) -> Option<Rc<str>> {
        self.read(|state| state.name.clone())
    }

    /// Whether it was not killed.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.read(|state| state.name.is_some())
    }

    /// Kills it: frees the text, lets its markers point nowhere, and takes it out of its table, so
    /// that the name is free. Once killed, does nothing.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Killing Buffers". Differs: what becomes of a process whose buffer this
    /// is, the runtime decides later.
    pub fn kill(&self) {
        let Some((name, markers)) = self.edit(State::kill) else { return };
        for place in markers.iter().filter_map(Weak::upgrade) {
            place.forget();
        }
        if let Some(table) = self.0.table.upgrade() {
            table.remove(self.0.serial, &name);
        }
    }

    /// Copies the accessible part of the text.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Buffer Contents", `buffer-string`.
    #[must_use]
    pub fn text(&self) -> Text {
        self.read(|state| {
            let (start, end) = state.accessible();
            state.slice(start, end)
        })
    }

    /// Copies the text between two positions, in either order.
    ///
    /// # Errors
    ///
    /// [`BufferError::OutOfRange`]: not all of it is in the accessible part.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::{BufferError, Buffers};
    ///
    /// let buffer = Buffers::default().get_or_create("log");
    /// buffer.insert("0123456789")?;
    /// assert_eq!(buffer.substring(4, 2)?, "12");
    /// let error = BufferError::OutOfRange { start: 0, end: 2 };
    /// assert_eq!(buffer.substring(0, 2), Err(error));
    /// # Ok::<(), BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Buffer Contents", `buffer-substring`.
    pub fn substring(&self, start: usize, end: usize) -> Result<Text, BufferError> {
        self.read(|state| {
            let (start, end) = in_range(start, end, state.accessible())?;
            Ok(state.slice(start, end))
        })
    }

    /// How many characters and raw bytes it has, accessible or not.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Point", `buffer-size`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(State::len)
    }

    /// Whether it has no text, accessible or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where users insert.
    #[must_use]
    pub fn point(&self) -> usize {
        self.read(|state| state.point)
    }

    /// Where the accessible part begins: 1, unless narrowed.
    #[must_use]
    pub fn point_min(&self) -> usize {
        self.read(|state| state.accessible().0)
    }

    /// Where the accessible part ends: one more than the length, unless narrowed.
    #[must_use]
    pub fn point_max(&self) -> usize {
        self.read(|state| state.accessible().1)
    }

    /// Moves point to `position`, or to the end of the accessible part nearest to that.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Character Motion", `goto-char`.
    pub fn set_point(&self, position: usize) {
        self.edit(|state| {
            let (start, end) = state.accessible();
            state.point = position.clamp(start, end);
        });
    }

    /// Inserts `text` at point, as a user does, and moves point behind it.
    ///
    /// Markers at the place do as their insertion type says. No text at all may be inserted anywhere.
    ///
    /// # Errors
    ///
    /// * [`BufferError::Killed`]: the buffer was killed.
    /// * [`BufferError::ReadOnly`]: the buffer is read-only.
    /// * [`BufferError::Full`]: it would have more than [`len_max`](Self::len_max) characters.
    ///
    /// Nothing was inserted in any of these cases.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::{BufferError, Buffers};
    ///
    /// let buffer = Buffers::default().get_or_create("log");
    /// buffer.insert("caf\u{E9}")?;
    /// assert_eq!((buffer.text(), buffer.point()), ("caf\u{E9}".into(), 5));
    /// buffer.set_len_max(5);
    /// assert_eq!(buffer.insert("!!"), Err(BufferError::Full { lost: 2 }));
    /// # Ok::<(), BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Insertion", `insert`.
    pub fn insert<'a>(&self, text: impl Into<TextRef<'a>>) -> Result<(), BufferError> {
        let text = text.into();
        let count = text.char_count();
        self.edit(|state| {
            may_change(state, count)?;
            if count > state.room() {
                return Err(BufferError::Full { lost: count });
            }
            state.insert(&text, count);
            Ok(())
        })
    }

    /// Deletes the text between two positions, in either order. Places in between go to its start.
    ///
    /// # Errors
    ///
    /// * [`BufferError::Killed`]: the buffer was killed.
    /// * [`BufferError::OutOfRange`]: not all of it is in the accessible part.
    /// * [`BufferError::ReadOnly`]: the buffer is read-only.
    ///
    /// Nothing was deleted in any of these cases.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::{BufferError, Buffers};
    ///
    /// let buffer = Buffers::default().get_or_create("log");
    /// buffer.insert("0123456789")?;
    /// let after = buffer.marker(9);
    /// buffer.delete(2, 5)?;
    /// assert_eq!((buffer.text(), after.position()), ("0456789".into(), Some(6)));
    /// # Ok::<(), BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Deletion", `delete-region`.
    pub fn delete(&self, start: usize, end: usize) -> Result<(), BufferError> {
        self.edit(|state| {
            may_change(state, 0)?;
            let (start, end) = in_range(start, end, state.accessible())?;
            may_change(state, end - start)?;
            state.remove(start, end);
            Ok(())
        })
    }

    /// Whether users may not change the text. Output goes in all the same.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read(|state| state.is_read_only)
    }

    /// Says whether users may not change the text; initially they may.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Read Only Buffers", `buffer-read-only`.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.edit(|state| state.is_read_only = is_read_only);
    }

    /// Makes the text between two positions, in either order, the accessible part: what can be read
    /// and changed, and where point can be. What was accessible before does not matter.
    ///
    /// # Errors
    ///
    /// * [`BufferError::Killed`]: the buffer was killed.
    /// * [`BufferError::OutOfRange`]: not all of it is in the buffer.
    ///
    /// The accessible part is then what it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::{BufferError, Buffers};
    ///
    /// let buffer = Buffers::default().get_or_create("log");
    /// buffer.insert("0123456789")?;
    /// buffer.narrow(3, 5)?;
    /// buffer.set_point(1);
    /// assert_eq!((buffer.text(), buffer.point()), ("23".into(), 3));
    /// buffer.marker(1).output("out of sight")?;
    /// assert_eq!((buffer.text(), buffer.point()), ("23".into(), 15));
    /// # Ok::<(), BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Narrowing", `narrow-to-region`.
    pub fn narrow(&self, start: usize, end: usize) -> Result<(), BufferError> {
        self.edit(|state| {
            may_change(state, 0)?;
            let (start, end) = in_range(start, end, (1, state.len() + 1))?;
            state.narrow(start, end);
            Ok(())
        })
    }

    /// Makes all of the text accessible.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Narrowing", `widen`.
    pub fn widen(&self) {
        self.edit(|state| state.narrow(1, state.len() + 1));
    }

    /// Makes a marker at `position`, or at the end of the text nearest to that: `usize::MAX` is the
    /// end. In a killed buffer, makes one that points nowhere.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::Buffers;
    ///
    /// let buffer = Buffers::default().get_or_create("old");
    /// buffer.insert("old text|")?;
    /// buffer.set_point(1);
    /// buffer.marker(usize::MAX).output("new")?;
    /// assert_eq!((buffer.text(), buffer.point()), ("old text|new".into(), 1));
    /// # Ok::<(), netproc_core::output::BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Creating Markers", `copy-marker`.
    #[must_use]
    pub fn marker(&self, position: usize) -> Marker {
        let marker = Marker::new();
        marker.set(self, position);
        marker
    }

    /// How many characters it may have; initially [`LEN_MAX`](super::LEN_MAX).
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.read(|state| state.len_max)
    }

    /// Says how many characters it may have. What is there already stays.
    ///
    /// A peer that never stops sending fills a buffer without bound otherwise. Emacs has no such
    /// limit.
    pub fn set_len_max(&self, characters: usize) {
        self.edit(|state| state.len_max = characters);
    }
}

/// Refuses to change `count` characters for a user who may not. To change none is no change.
const fn may_change(state: &State, count: usize) -> Result<(), BufferError> {
    if state.name.is_none() {
        Err(BufferError::Killed)
    } else if state.is_read_only && count > 0 {
        Err(BufferError::ReadOnly)
    } else {
        Ok(())
    }
}

/// Puts two positions in order and refuses those beyond `bounds`.
fn in_range(a: usize, b: usize, bounds: (usize, usize)) -> Result<(usize, usize), BufferError> {
    let (start, end) = (a.min(b), a.max(b));
    if bounds.0 <= start && end <= bounds.1 {
        Ok((start, end))
    } else {
        Err(BufferError::OutOfRange { start, end })
    }
}

/// The same buffer, not another one with the same text.
impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Buffer {}

impl Hash for Buffer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ptr::hash(Rc::as_ptr(&self.0), state);
    }
}

impl Object for Buffer {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<Self>() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// As Lisp prints it.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "#<buffer {name}>"),
            None => f.write_str("#<killed buffer>"),
        }
    }
}
