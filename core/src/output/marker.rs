//! Markers: places that follow the text around them.
//!
//! Invariant: the buffer a marker points into has it in its list exactly once, and a marker in no
//! list points nowhere. A marker keeps its buffer, a buffer does not keep its markers. How places move
//! is left to `state`.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt, ptr,
    rc::Rc,
};

use super::{Buffer, BufferError};
use crate::{coding::TextRef, value::Object};

/// Where a marker stays when text is inserted just there. Output moves both on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InsertionType {
    /// Before the text: Emacs's `nil`.
    #[default]
    Stay,
    /// Behind the text: Emacs's `t`.
    Advance,
}

/// What a marker is, behind its handles.
#[derive(Default)]
pub(super) struct Place {
    buffer: RefCell<Option<Buffer>>,
    /// From 1; means nothing without a buffer.
    pub(super) position: Cell<usize>,
    pub(super) insertion_type: Cell<InsertionType>,
}

impl Place {
    /// Points nowhere from now on. The buffer's list is left to the caller.
    pub(super) fn forget(&self) {
        self.buffer.take();
    }
}

/// A place in a buffer, which moves with the text before it; or a place nowhere. A clone is the same
/// marker; [`copy`](Self::copy) makes another.
///
/// A marker that nobody holds any more costs nothing: the buffer forgets it by itself.
///
/// # Examples
///
/// ```
/// use netproc_core::output::{Buffers, InsertionType, Marker};
///
/// let buffer = Buffers::default().get_or_create("log");
/// buffer.insert("abc")?;
/// let (stays, goes) = (buffer.marker(2), buffer.marker(2));
/// goes.set_insertion_type(InsertionType::Advance);
/// buffer.set_point(2);
/// buffer.insert("--")?;
/// assert_eq!((stays.position(), goes.position()), (Some(2), Some(4)));
/// buffer.delete(1, 4)?;
/// assert_eq!(format!("{stays:?}"), "#<marker at 1 in log>");
/// assert_eq!(format!("{:?}", Marker::new()), "#<marker in no buffer>");
/// # Ok::<(), netproc_core::output::BufferError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Markers".
#[derive(Clone, Default)]
pub struct Marker(Rc<Place>);

impl Marker {
    /// Makes a marker that points nowhere.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it points, from 1; `None` when it points nowhere.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Information from Markers".
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.0.buffer.borrow().as_ref().map(|_| self.0.position.get())
    }

    /// Which buffer it points into; `None` when it points nowhere. A killed buffer has no markers.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Information from Markers".
    #[must_use]
    pub fn buffer(&self) -> Option<Buffer> {
        self.0.buffer.borrow().clone()
    }

    /// Lets it point to `position` in `buffer`, or to the end nearest to that; nowhere, if `buffer`
    /// was killed. The accessible part does not count.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Moving Markers", `set-marker`.
    pub fn set(&self, buffer: &Buffer, position: usize) {
        if self.0.buffer.borrow().as_ref() != Some(buffer) {
            self.detach();
            if !buffer.is_live() {
                return;
            }
            buffer.edit(|state| state.adopt(&self.0));
            *self.0.buffer.borrow_mut() = Some(buffer.clone());
        }
        self.0.position.set(position.clamp(1, buffer.len() + 1));
    }

    /// Lets it point nowhere.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Moving Markers": `set-marker` with a nil position.
    pub fn detach(&self) {
        if let Some(buffer) = self.0.buffer.take() {
            buffer.edit(|state| state.disown(&self.0));
        }
    }

    /// Makes another marker of the same place and insertion type.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Creating Markers", `copy-marker`. Differs: the insertion type is
    /// copied, too.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy =
            self.buffer().map_or_else(Self::new, |buffer| buffer.marker(self.0.position.get()));
        copy.set_insertion_type(self.insertion_type());
        copy
    }

    /// Where it stays when a user inserts text just there; initially before it.
    #[must_use]
    pub fn insertion_type(&self) -> InsertionType {
        self.0.insertion_type.get()
    }

    /// Says where it stays when a user inserts text just there.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Marker Insertion Types".
    pub fn set_insertion_type(&self, insertion_type: InsertionType) {
        self.0.insertion_type.set(insertion_type);
    }

    /// Inserts `text` here and moves behind it: what the default filter and the default sentinel do.
    ///
    /// A read-only buffer is written to, and stays read-only; what is narrowed does not matter. Point
    /// at this place or after it moves on with the text, point before it stays; all other markers
    /// here move on, whatever their insertion type. Text at either edge of the accessible part
    /// becomes part of it. At the end of a buffer it takes time for the text alone, elsewhere also
    /// for finding the place; always a little for each marker of the buffer. Never blocks.
    ///
    /// # Errors
    ///
    /// * [`BufferError::Killed`]: it points nowhere, perhaps because its buffer was killed.
    /// * [`BufferError::Full`]: the buffer's bound was reached; what fits was inserted.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::{BufferError, Buffers};
    ///
    /// let buffer = Buffers::default().get_or_create("log");
    /// let mark = buffer.marker(1);
    /// buffer.set_read_only(true);
    /// buffer.set_len_max(6);
    /// mark.output("four")?;
    /// assert_eq!(mark.output("four"), Err(BufferError::Full { lost: 2 }));
    /// assert_eq!(buffer.text(), "fourfo");
    /// buffer.kill();
    /// assert_eq!(mark.output("four"), Err(BufferError::Killed));
    /// # Ok::<(), BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Buffers", "Filter Functions". Differs: in a narrowed buffer the
    /// mark decides, where Emacs inserts in the accessible part; a detached mark is an error, where
    /// Emacs inserts at the end.
    pub fn output<'a>(&self, text: impl Into<TextRef<'a>>) -> Result<(), BufferError> {
        let text = text.into();
        let buffer = self.buffer().ok_or(BufferError::Killed)?;
        let lost = buffer.edit(|state| state.output(self.0.position.get(), &text));
        if lost == 0 { Ok(()) } else { Err(BufferError::Full { lost }) }
    }
}

/// The same marker, not another one at the same place.
impl PartialEq for Marker {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(&*self.0, &*other.0)
    }
}

impl Eq for Marker {}

impl Object for Marker {
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
impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("#<marker ")?;
        if self.insertion_type() == InsertionType::Advance {
            f.write_str("(moves after insertion) ")?;
        }
        match self.buffer().and_then(|buffer| buffer.name()) {
            Some(name) => write!(f, "at {} in {name}>", self.0.position.get()),
            None => f.write_str("in no buffer>"),
        }
    }
}
