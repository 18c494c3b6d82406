//! Where output goes when a process has no filter: text buffers, point, markers.
//!
//! A [`Buffers`] is a table of buffers by name; a [`Buffer`] holds text, a place called point, and an
//! accessible part; a [`Marker`] is a place that follows the text around it. The mark of a process is
//! such a marker, and [`Marker::output`] is what the default filter and the default sentinel do.
//! Positions count characters from 1, as in Emacs: position 1 is before the first character, and one
//! more than the length is behind the last.
//!
//! Invariant: point lies in the accessible part, the accessible part and every marker lie in the
//! text, and nothing points into a killed buffer. Nothing here calls back: whoever wants to know of
//! killed buffers compares [`Buffers::kill_count`]. Everything belongs to one thread. Which process
//! writes where, and what, is left to the runtime; decoding to [`crate::coding`].
//!
//! Files: `table` holds buffers by name, `buffer` what one buffer is to its users, `state` the text
//! with the places in it, `content` the memory of the text, `marker` the places.
//!
//! # Examples
//!
//! ```
//! use netproc_core::output::Buffers;
//!
//! let buffers = Buffers::default();
//! let buffer = buffers.get_or_create("log");
//! let mark = buffer.marker(1);
//! mark.output("one ")?;
//! buffer.insert("<user>")?;
//! mark.output("two ")?;
//! assert_eq!(buffer.text(), "one two <user>");
//! assert_eq!((mark.position(), buffer.point()), (Some(9), 15));
//! # Ok::<(), netproc_core::output::BufferError>(())
//! ```
//!
//! # Source
//!
//! Emacs Lisp manual 28.2, "Process Buffers", "Markers", "Narrowing". Differs: a narrowed buffer whose
//! mark lies outside the accessible part gets output at the mark, not at the near edge; the size of a
//! buffer is bounded; a mark that points nowhere is an error, where Emacs writes at the end.

mod buffer;
mod content;
mod marker;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use buffer::Buffer;
pub use marker::{InsertionType, Marker};
pub use table::Buffers;

/// How many characters a buffer holds unless told otherwise.
pub const LEN_MAX: usize = 64 << 20;

/// Why a buffer was not changed, or not wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// The buffer was killed, or the marker points nowhere.
    #[error("no live buffer")]
    Killed,
    /// The buffer is read-only; nothing was changed.
    #[error("buffer is read-only")]
    ReadOnly,
    /// The buffer holds as many characters as it may.
    #[error("buffer is full, {lost} characters did not fit")]
    Full {
        /// How many characters, from the end of the text, were not inserted.
        lost: usize,
    },
    /// Not everything asked for is in the accessible part, or, for narrowing, in the buffer.
    #[error("{start} to {end} is out of range")]
    OutOfRange {
        /// The smaller position asked for.
        start: usize,
        /// The larger position asked for.
        end: usize,
    },
    /// The buffer belongs to another table.
    #[error("buffer belongs to another table")]
    Foreign,
}
