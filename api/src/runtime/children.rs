//! Children: the builder, and what threads that wait for children have heard.
//!
//! Invariant: what is heard of a child whose process has ended goes to nobody. Nobody is called here: the
//! next wait tells.

use std::ffi::OsStr;

use netproc_core::{child::ChildChange, table::ProcessId};

use super::Runtime;
use crate::builder::SpawnBuilder;

impl Runtime {
    /// Builds a process named `name` that stands for a child: `program`, looked for in `PATH` unless there is
    /// a slash in it. No shell is involved.
    ///
    /// Its filter gets what the child writes; [`Process::send`](crate::Process::send) is what the child reads,
    /// [`send_eof`](crate::Process::send_eof) the end of it. Its status is `run`, then `exit` or `signal`;
    /// its sentinel hears [`Event::Ended`](crate::Event::Ended), once, after all that could be read when the
    /// child ended: what others write that keep its output open is lost. It is stopped and resumed by signals,
    /// and killed when it is deleted, or when the runtime goes.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Event, Runtime, Status};
    /// use std::{cell::RefCell, rc::Rc, time::Duration};
    ///
    /// let rt = Runtime::new()?;
    /// let (heard, told) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(String::new())));
    /// let (hears, tells) = (heard.clone(), told.clone());
    /// let child = rt.spawn_process("sum", "sh").args(["-c", "read a b; echo $((a + b)); exit 3"])
    ///     .filter(move |_, input| hears.borrow_mut().extend_from_slice(&input))
    ///     .sentinel(move |_, event: &Event| tells.borrow_mut().push_str(&event.to_string()))
    ///     .start()?;
    /// assert_eq!(child.status(), Status::Run);
    /// child.send("40 2\n")?;
    /// rt.run()?; // until nothing is left to happen
    /// assert_eq!((child.status(), child.exit_status()), (Status::Exit, 3));
    /// assert_eq!(*heard.borrow(), b"42\n");
    /// assert_eq!(*told.borrow(), "exited abnormally with code 3\n");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Asynchronous Processes" (`make-process`, `start-process`).
    pub fn spawn_process(&self, name: &str, program: impl AsRef<OsStr>) -> SpawnBuilder {
        SpawnBuilder::new(self, name, program.as_ref())
    }

    /// What was heard of a child.
    pub(crate) fn child_changed(&self, id: ProcessId, change: ChildChange) {
        if let Some(process) = self.process_by_id(id) {
            self.engine_mut().child_changed(process.shared(), change);
            self.nudge();
        }
    }
}
