//! What is asked of a process from outside its data: options, the exit query, the process table.
//!
//! Invariant: nothing here waits.

use std::fmt;

use netproc_core::{
    address::Address,
    child::ProcessType,
    contact::Role,
    machine::Status,
    options::{OptionError, SockOption},
    reactor::{Kind, SysError},
};

use crate::{process::Process, runtime::Runtime};

/// A column of the table is padded to this width at most: a long name sticks out of it.
const WIDTH_MAX: usize = 80;

/// Why an option of a live process was not set. Nothing was recorded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetOptionError {
    /// Its value is none the system can hold.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// It has no socket: it has failed or ended.
    #[error("process is not running, it is {0}")]
    NotRunning(Status),
    /// The system refused.
    #[error("cannot set the option")]
    Sys(#[source] SysError),
}

impl Process {
    /// Sets an option of its socket and shows it in the contact. A server's later connections have it as well; where
    /// they are handed over among [`Shards`](crate::Shards), those of all shards have, but for
    /// [`Linger`](SockOption::Linger), which is each server's own.
    ///
    /// # Errors
    ///
    /// [`SetOptionError`]; nothing was recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{SockOption, Value};
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// assert_eq!(server.set_option(SockOption::KeepAlive(true)), Ok(()));
    /// assert_eq!(server.contact().get(":keepalive"), Some(Value::True));
    /// server.delete();
    /// assert!(server.set_option(SockOption::KeepAlive(false)).is_err());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Options" (`set-network-process-option`).
    pub fn set_option(&self, option: SockOption) -> Result<(), SetOptionError> {
        let status = self.status_beneath_stop();
        if !status.is_live() {
            return Err(SetOptionError::NotRunning(status));
        }
        option.check()?;
        let rt = self.runtime();
        let shared = rt.seat().and_then(|seat| seat.set_option(self.id(), &option));
        shared.unwrap_or(Ok(())).map_err(SetOptionError::Sys)?;
        let set = rt.engine_mut().set_option(self.shared(), &option);
        set.map_err(SetOptionError::Sys)?;
        let mut shared = self.shared().borrow_mut();
        let before = shared.contact_mut().set(option.keyword(), option.value());
        drop(shared);
        drop(before);
        Ok(())
    }

    /// Emacs's number for how it ended: 0 while it lives and once it was deleted, 256 after a broken
    /// connection, the errno after a failed connect; of a child the code, or the number of the signal that
    /// has ended it, or stopped it. [`exit`](Self::exit) says more.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-exit-status`).
    #[must_use]
    pub fn exit_status(&self) -> i32 {
        self.shared().borrow().exit_status()
    }

    /// Whether it takes part: connecting, open, listening or stopped.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-live-p`).
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status().is_live()
    }

    /// Its status were it not stopped: a stop hides that a connection has failed, and that there is no socket.
    pub(crate) fn status_beneath_stop(&self) -> Status {
        self.shared().borrow().phase().status(false)
    }

    /// Whether it is worth a question before the program ends; see
    /// [`Runtime::processes_to_query`]. At first `true`.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Query Before Exit" (`process-query-on-exit-flag`).
    #[must_use]
    pub fn query_on_exit(&self) -> bool {
        !self.shared().borrow().handlers.no_query
    }

    /// Sets that.
    pub fn set_query_on_exit(&self, query: bool) {
        self.shared().borrow_mut().handlers.no_query = !query;
    }

    /// What it is, as the table of processes shows it: `network server on 127.0.0.1:4711`; of a child, the
    /// program and its arguments.
    #[must_use]
    pub fn description(&self) -> String {
        if let Some(command) = self.command() {
            let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
            return words.join(" ");
        }
        if self.process_type() == ProcessType::Pipe {
            return "pipe".into();
        }
        let contact = self.contact();
        let kind = if self.kind() == Kind::Datagram { "datagram" } else { "network" };
        let (what, address) = if contact.role() == Role::Server {
            ("server on", Some(contact.local()))
        } else {
            ("connection to", contact.remote())
        };
        let shown = |address: &Address| {
            // The other end of a local connection has no name: the path is this one's.
            let unnamed = *address == Address::unnamed();
            let address = if unnamed { contact.local() } else { address };
            address.network_text(false).to_string()
        };
        let address = address.map_or_else(|| "nobody yet".into(), shown);
        format!("{kind} {what} {address}")
    }
}

/// The listed processes as a table, as Emacs's `list-processes` shows them; `Display` writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessTable {
    rows: Vec<[String; 4]>,
}

impl Runtime {
    /// Live processes that want a question before the program ends, the newest first: what is empty
    /// when it may end at once.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let asked = rt.server("asked").start()?;
    /// let _silent = rt.server("silent").noquery(true).start()?;
    /// assert_eq!(rt.processes_to_query(), [asked]);
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Query Before Exit". Differs: who asks, and how, is the program's
    /// business.
    #[must_use]
    pub fn processes_to_query(&self) -> Vec<Process> {
        let mut listed = self.process_list();
        listed.retain(|process| process.is_live() && process.query_on_exit());
        listed
    }

    /// The listed processes as a table, by name; with `query_only` those that want a question before
    /// the program ends.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("echo").start()?;
    /// let table = rt.list_processes(false).to_string();
    /// let lines: Vec<_> = table.lines().collect();
    /// assert!(lines[0].starts_with("Process"));
    /// assert!(lines[1].starts_with("echo") && lines[1].contains("listen"));
    /// assert!(lines[1].contains("(network server on 127.0.0.1:"));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`list-processes`). Differs: columns that are
    /// always empty for network processes (PID, TTY, Thread) are left out; nothing is deleted.
    #[must_use]
    pub fn list_processes(&self, query_only: bool) -> ProcessTable {
        let mut listed = self.process_list();
        listed.retain(|process| !query_only || process.query_on_exit());
        let row = |process: &Process| {
            let buffer = match process.buffer() {
                None => "--".into(),
                Some(buffer) => {
                    buffer.name().map_or_else(|| "(Killed)".into(), |name| name.to_string())
                }
            };
            let (name, status) = (process.name().to_string(), process.status().to_string());
            let description = process.description();
            // As in Emacs, what is no command stands in brackets.
            let description =
                if process.pid().is_some() { description } else { format!("({description})") };
            [name, status, buffer, description]
        };
        let mut rows: Vec<_> = listed.iter().map(row).collect();
        rows.sort();
        ProcessTable { rows }
    }
}

impl ProcessTable {
    /// Name, status, buffer and description of each process.
    #[must_use]
    pub fn rows(&self) -> &[[String; 4]] {
        &self.rows
    }
}

impl fmt::Display for ProcessTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["Process", "Status", "Buffer", "Command"].map(str::to_owned);
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&header]).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default().min(WIDTH_MAX)
        };
        let [name_width, status_width, buffer_width] = [width(0), width(1), width(2)];
        for [name, status, buffer, command] in [&header].into_iter().chain(&self.rows) {
            // A name may hold anything; a line stays a line.
            let name = name.replace(char::is_control, "?");
            let buffer = buffer.replace(char::is_control, "?");
            writeln!(
                f,
                "{name:name_width$}  {status:status_width$}  {buffer:buffer_width$}  {}",
                command.replace(char::is_control, "?")
            )?;
        }
        Ok(())
    }
}
