//! Buffers by name, and which one is current.
//!
//! Invariant: the table holds live buffers only, each under its name; the current buffer is one of
//! them or none. A buffer leaves when it is killed, and knows the table only as long as it lives.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt,
    rc::Rc,
};

use super::{Buffer, BufferError};

/// The name of the buffer that is current when no other is.
const SCRATCH: &str = "*scratch*";

#[derive(Default)]
struct Table {
    names: HashMap<Rc<str>, Buffer>,
    /// The same by serial number, so in order of creation.
    buffers: BTreeMap<u64, Buffer>,
    created: u64,
    current: Option<Buffer>,
}

/// The table, and what is asked of it once per message.
#[derive(Default)]
pub(super) struct Shelf {
    table: RefCell<Table>,
    killed: Cell<u64>,
}

impl Shelf {
    /// Forgets the buffer `serial`, which was called `name`.
    pub(super) fn remove(&self, serial: u64, name: &str) {
        let mut table = self.table.borrow_mut();
        let buffer = table.names.remove(name);
        table.buffers.remove(&serial);
        if buffer == table.current {
            table.current = None;
        }
        self.killed.set(self.killed.get() + 1);
    }
}

/// A table of buffers by name. A clone is the same table.
///
/// # Examples
///
/// ```
/// use netproc_core::output::Buffers;
///
/// let buffers = Buffers::default();
/// let log = buffers.get_or_create("log");
/// assert_eq!(buffers.get_or_create("log"), log);
/// assert_eq!(buffers.get("news"), None);
/// assert_eq!(format!("{buffers:?}"), "[#<buffer log>]");
/// log.kill();
/// assert_eq!(buffers.get("log"), None);
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Buffers".
#[derive(Clone, Default)]
pub struct Buffers(Rc<Shelf>);

impl Buffers {
    /// The live buffer called `name`.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Buffer Names", `get-buffer`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Buffer> {
        self.0.table.borrow().names.get(name).cloned()
    }

    /// The live buffer called `name`, made now, and empty, if there is none.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Creating Buffers", `get-buffer-create`. Differs: the empty name is a
    /// name.
    #[must_use]
    pub fn get_or_create(&self, name: &str) -> Buffer {
        if let Some(buffer) = self.get(name) {
            return buffer;
        }
        let name: Rc<str> = name.into();
        let mut table = self.0.table.borrow_mut();
        let serial = table.created;
        table.created += 1;
        let buffer = Buffer::new(serial, Rc::clone(&name), Rc::downgrade(&self.0));
        table.names.insert(name, buffer.clone());
        table.buffers.insert(serial, buffer.clone());
        buffer
    }

    /// The live buffers, oldest first.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Buffer List". Differs: Emacs puts first what was shown last.
    #[must_use]
    pub fn list(&self) -> Vec<Buffer> {
        self.0.table.borrow().buffers.values().cloned().collect()
    }

    /// The current buffer: the one set last, if it lives, else one called `*scratch*`, made if need
    /// be.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::output::Buffers;
    ///
    /// let buffers = Buffers::default();
    /// assert_eq!(format!("{:?}", buffers.current()), "#<buffer *scratch*>");
    /// let log = buffers.get_or_create("log");
    /// buffers.set_current(&log)?;
    /// assert_eq!(buffers.current(), log);
    /// log.kill();
    /// assert_eq!(format!("{:?}", buffers.current()), "#<buffer *scratch*>");
    /// # Ok::<(), netproc_core::output::BufferError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Current Buffer". Differs: Emacs goes on with the buffer shown before.
    #[must_use]
    pub fn current(&self) -> Buffer {
        let current = self.0.table.borrow().current.clone();
        current.unwrap_or_else(|| {
            let scratch = self.get_or_create(SCRATCH);
            self.0.table.borrow_mut().current = Some(scratch.clone());
            scratch
        })
    }

    /// Makes `buffer` the current one.
    ///
    /// # Errors
    ///
    /// * [`BufferError::Killed`]: it was killed.
    /// * [`BufferError::Foreign`]: another table made it.
    ///
    /// In both cases the current buffer is what it was.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Current Buffer", `set-buffer`.
    pub fn set_current(&self, buffer: &Buffer) -> Result<(), BufferError> {
        if !buffer.is_live() {
            return Err(BufferError::Killed);
        }
        if !buffer.is_of(&self.0) {
            return Err(BufferError::Foreign);
        }
        self.0.table.borrow_mut().current = Some(buffer.clone());
        Ok(())
    }

    /// How many of its buffers were killed so far.
    ///
    /// While this number stays the same nobody has to look whether the buffer of a process still
    /// lives.
    #[must_use]
    #[inline]
    pub fn kill_count(&self) -> u64 {
        self.0.killed.get()
    }
}

/// The live buffers, oldest first.
impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}
