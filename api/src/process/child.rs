//! The child that a process stands for: what is known of it, and signals.
//!
//! Invariant: a signal goes to our child or to nobody, however long ago it ended.

use std::{ffi::OsString, rc::Rc};

use netproc_core::{
    child::{ChildSignal, ProcessType},
    event::Event,
    process::Exit,
};

use super::Process;
use crate::child::{SignalError, Whom};

impl Process {
    /// What it stands for: a connection or server, a child, the pipe of a child's errors.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-type`).
    #[must_use]
    pub fn process_type(&self) -> ProcessType {
        self.shared.borrow().process_type()
    }

    /// The number the system has, or had, for its child. `None` if it stands for none.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-id`).
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.shared.borrow().child().map(|child| child.pid)
    }

    /// The program and its arguments, of a child.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-command`).
    #[must_use]
    pub fn command(&self) -> Option<Rc<[OsString]>> {
        self.shared.borrow().child().map(|child| Rc::clone(&child.command))
    }

    /// The name of the terminal its child was given, if it was: `/dev/pts/4`.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{ConnectionType, Runtime};
    ///
    /// let rt = Runtime::new()?;
    /// let child = rt.spawn_process("c", "cat").connection_type(ConnectionType::Pty).start()?;
    /// assert!(child.tty_name().is_some_and(|name| name.starts_with("/dev/")));
    /// assert_eq!(rt.spawn_process("d", "cat").start()?.tty_name(), None);
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-tty-name`).
    #[must_use]
    pub fn tty_name(&self) -> Option<Rc<str>> {
        self.shared.borrow().child().and_then(|child| child.tty.clone())
    }

    /// The process of its child's errors, if they were to have one ([`Stderr::Process`](crate::Stderr)) and it
    /// has not ended. Nothing is read before the first wait, so there is time to give it a filter.
    #[must_use]
    pub fn stderr(&self) -> Option<Self> {
        let errors = self.shared.borrow().handlers.ties().and_then(|ties| ties.errors);
        errors.and_then(|id| self.rt.process_by_id(id))
    }

    /// Sends `signal` to its child, and to nobody else.
    ///
    /// What becomes of it is the child's affair, and told by its sentinel. Number 0 only asks whether the
    /// child could be signalled.
    ///
    /// # Errors
    ///
    /// [`SignalError`]: no child, one that has ended, or a refusal of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{ChildSignal, Runtime, SignalError};
    ///
    /// let rt = Runtime::new()?;
    /// let child = rt.spawn_process("c", "cat").filter(|_, _| {}).sentinel(|_, _| {}).start()?;
    /// child.signal(ChildSignal::TERM)?;
    /// rt.run()?;
    /// assert_eq!(child.exit_status(), ChildSignal::TERM.number());
    /// assert!(matches!(child.signal(ChildSignal::TERM), Err(SignalError::Ended(_))));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Signals to Processes" (`signal-process`). Differs: only our own children are
    /// signalled.
    pub fn signal(&self, signal: ChildSignal) -> Result<(), SignalError> {
        self.signal_to(Whom::Child, signal)
    }

    /// Sends SIGINT to its child and all of its group, as `C-c` at a terminal does.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Signals to Processes" (`interrupt-process`).
    pub fn interrupt(&self) -> Result<(), SignalError> {
        self.signal_to(Whom::Group, ChildSignal::INT)
    }

    /// Sends SIGQUIT to its child and all of its group.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Signals to Processes" (`quit-process`).
    pub fn quit(&self) -> Result<(), SignalError> {
        self.signal_to(Whom::Group, ChildSignal::QUIT)
    }

    /// Sends SIGKILL to its child and all of its group. Unlike [`delete`](Self::delete) it waits for nothing
    /// and throws nothing away: the end is told when it has come, behind the output.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Signals to Processes" (`kill-process`).
    pub fn kill(&self) -> Result<(), SignalError> {
        self.signal_to(Whom::Group, ChildSignal::KILL)
    }

    pub(crate) fn signal_to(&self, whom: Whom, signal: ChildSignal) -> Result<(), SignalError> {
        let process_type = self.process_type();
        if process_type != ProcessType::Real {
            return Err(SignalError::NotAChild(process_type));
        }
        let p = self.shared.borrow();
        let leash = p.handlers.ties().and_then(|ties| ties.leash.clone());
        drop(p);
        let ended = || SignalError::Ended(self.status());
        match leash.ok_or_else(ended)?.signal(whom, signal) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ended()),
            Err(refused) => Err(SignalError::Sys(refused)),
        }
    }

    /// Signals the group of its child; returns whether it stands for one.
    pub(super) fn signal_child(&self, signal: ChildSignal) -> bool {
        let sent = self.signal_to(Whom::Group, signal);
        // One that has ended neither stops nor goes on, and a refusal shows in that it does not.
        !matches!(sent, Err(SignalError::NotAChild(_)))
    }

    /// Kills its child, if it has one that has not ended.
    pub(super) fn let_child_go(&self) {
        let mut p = self.shared.borrow_mut();
        let leash = p.handlers.held().and_then(|ties| ties.leash.take());
        drop(p);
        drop(leash);
    }

    /// What is told of its deletion.
    pub(super) fn deletion(&self) -> Event {
        let Exit::Child(exit) = self.exit() else { return Event::Deleted };
        Event::Ended { exit, unsent: self.shared.borrow().unsent() }
    }
}
