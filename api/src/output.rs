//! Where output goes when no filter takes it: the default filter and the default sentinel, and the
//! buffers they write to.
//!
//! Invariant: a process without a live buffer loses its output, as in Emacs; a buffer that is full
//! is an error that is reported, never memory without a bound.

use std::{error::Error, rc::Rc};

use netproc_core::{
    child::{ChildSignal, ProcessType},
    coding::Text,
    event::{Event, Input},
    output::{Buffer, BufferError, Buffers, Marker},
    plist::Value,
};

use crate::{
    child::Whom,
    handlers::{Filter, Output, Sentinel, SharedFilter},
    process::{Process, shared_filter},
    runtime::Runtime,
};

/// The names under which the dynamic front shows the defaults.
pub(crate) const DEFAULT_FILTER: &str = "internal-default-process-filter";
pub(crate) const DEFAULT_SENTINEL: &str = "internal-default-process-sentinel";

/// The text of an input: what the coding made of it, else its bytes.
pub(crate) fn text_of(input: &Input) -> Text {
    input.text().cloned().unwrap_or_else(|| Text::from_bytes(input))
}

/// Inserts input at the mark of the process.
pub(crate) fn default_filter() -> SharedFilter {
    shared_filter(|process: &Process, input: Input| written(process, &text_of(&input)))
}

/// Tells of an end, or a child's stop, in the buffer of the process. While it runs, nothing is told.
pub(crate) fn default_sentinel() -> Sentinel {
    Rc::new(|process: &Process, event: &Event| {
        // Of a client that was stopped, the status still says so when it has failed.
        let always = matches!(event, Event::Stopped(_) | Event::Failed(_));
        let tells = is_emacs(event) && (always || !process.status().is_live());
        let text = || Text::from(format!("\nProcess {} {event}", process.name()));
        if tells { written(process, &text()).err().map(Box::<dyn Error>::from) } else { None }
    })
}

/// Whether Emacs has this event; the others are for Rust's sentinels only.
pub(crate) const fn is_emacs(event: &Event) -> bool {
    matches!(
        event,
        Event::Open
            | Event::OpenFrom(_)
            | Event::Failed(_)
            | Event::Broken { .. }
            | Event::Deleted
            | Event::Ended { .. }
            | Event::Stopped(_)
            | Event::Continued
    )
}

fn written(process: &Process, text: &Text) -> Result<(), BufferError> {
    let Output { buffer: Some(buffer), mark: Some(mark), .. } =
        process.shared().borrow().handlers.output.clone()
    else {
        return Ok(());
    };
    if mark.buffer().as_ref() != Some(&buffer) {
        // Its user has moved the mark away: its number counts in the process's own buffer.
        mark.set(&buffer, mark.position().unwrap_or(usize::MAX));
    }
    match mark.output(text) {
        // The output of a process whose buffer is gone is thrown away.
        Ok(()) | Err(BufferError::Killed) => Ok(()),
        full => full,
    }
}

impl Process {
    /// Its buffer, dead or alive; `None` if it has none.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Buffers" (`process-buffer`).
    #[must_use]
    pub fn buffer(&self) -> Option<Buffer> {
        self.shared().borrow().handlers.output.buffer.clone()
    }

    /// Sets its buffer; output goes to the end of it from now on, if the filter is the default one.
    ///
    /// A process that had neither filter nor buffer gets the default filter, or its input would wait for
    /// [`Runtime::next_event`].
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Buffers" (`set-process-buffer`).
    pub fn set_buffer(&self, buffer: Option<Buffer>) {
        let mut shared = self.shared().borrow_mut();
        let handlers = &mut shared.handlers;
        let (had_any, has_any) = (handlers.output.buffer.is_some(), buffer.is_some());
        handlers.output.set_buffer(buffer);
        handlers.hung_up = false;
        let pulled = matches!(handlers.filter, Filter::None);
        drop(shared);
        if pulled && !had_any && has_any && !self.is_ignoring_input() {
            self.use_default_filter();
        }
    }

    /// The place in its buffer where the next output goes; you may move it. It is the same marker for as long as the
    /// process has one; another buffer moves it to its end.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Buffers" (`process-mark`).
    #[must_use]
    pub fn mark(&self) -> Option<Marker> {
        self.shared().borrow().handlers.output.mark.clone()
    }

    /// Sets the default filter: input goes into its [`buffer`](Self::buffer) at its
    /// [`mark`](Self::mark), decoded if it has a coding; without a buffer it is thrown away.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let out = rt.buffers().get_or_create("out");
    /// let to = server.contact().local().clone();
    /// let client = rt.client("c").remote(to).buffer(out.clone()).start()?;
    /// let (child, _) = rt.next_event(Duration::from_secs(5))?.expect("the connection");
    /// child.send("hello")?;
    /// assert!(rt.accept_output(Some(&client), Some(Duration::from_secs(5)), false)?);
    /// assert_eq!(out.text(), "hello");
    /// assert_eq!(client.mark().and_then(|mark| mark.position()), Some(6));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Filter Functions".
    pub fn use_default_filter(&self) {
        self.install_filter(Filter::Shared(default_filter()), false, Value::symbol(DEFAULT_FILTER));
    }

    /// Sets the default sentinel, which writes `\nProcess NAME EVENT` into the buffer at the end.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Sentinels".
    pub fn use_default_sentinel(&self) {
        self.install_sentinel(default_sentinel(), Value::symbol(DEFAULT_SENTINEL));
    }
}

impl Process {
    /// Its buffer is killed: that is the end of it, or a child is told so, once.
    fn lose_buffer(&self) {
        if self.process_type() != ProcessType::Real {
            self.delete();
        } else if !std::mem::replace(&mut self.shared().borrow_mut().handlers.hung_up, true) {
            // One that has ended will be told of that.
            let _ended = self.signal_to(Whom::Group, ChildSignal::HUP);
        }
    }
}

impl Runtime {
    /// The buffers of this runtime, by name.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        self.buffer_table()
    }

    /// The newest listed process that has `buffer`.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Buffers" (`get-buffer-process`).
    #[must_use]
    pub fn buffer_process(&self, buffer: &Buffer) -> Option<Process> {
        self.process_list().into_iter().find(|process| process.buffer().as_ref() == Some(buffer))
    }

    /// Kills `buffer` and deletes every process that has it; a child is sent SIGHUP instead, and all of its
    /// group, and ends if it does not ignore that. Sentinels hear of it before this returns. (After [`Buffer::kill`]
    /// the next wait does so.)
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Buffers".
    pub fn kill_buffer(&self, buffer: &Buffer) {
        // Those there now: a sentinel may make the next one, and so may that one's.
        let has_it = |process: &Process| process.buffer().as_ref() == Some(buffer);
        for process in self.process_list().iter().filter(|process| has_it(process)) {
            process.lose_buffer();
        }
        buffer.kill();
    }

    /// Deletes the processes whose buffers were killed since the last look.
    pub(crate) fn delete_without_buffer(&self) {
        let dead = |process: &Process| {
            let shared = process.shared().borrow();
            let Output { buffer, given_dead, .. } = &shared.handlers.output;
            !given_dead && buffer.as_ref().is_some_and(|buffer| !buffer.is_live())
        };
        for process in self.process_list().iter().filter(|process| dead(process)) {
            process.lose_buffer();
        }
    }

    /// A connection accepted by a server with the default filter, or none, gets a buffer of its own: named
    /// as the connection, with the name of the server's buffer in place of the server's own.
    pub(crate) fn give_buffer(&self, server: &Process, process: &Process) {
        let s = server.shared().borrow();
        let own = s.handlers.shows_default_filter();
        let named = s.handlers.output.buffer.as_ref().and_then(Buffer::name);
        drop(s);
        let buffer = own.then(|| {
            let name = process.name();
            let rest = name.strip_prefix(&*server.name()).unwrap_or(&name);
            let name = format!("{}{rest}", named.as_deref().unwrap_or(&server.name()));
            self.buffers().get_or_create(&name)
        });
        let mut p = process.shared().borrow_mut();
        // Nowhere yet: the first output goes behind what its user has written there by then.
        let mark = buffer.as_ref().map(|_| Marker::new());
        p.handlers.output = Output { buffer, mark, given_dead: false };
        p.handlers.no_query = false;
    }
}

/// A buffer as the dynamic front shows it.
pub(crate) fn buffer_value(buffer: Option<Buffer>) -> Value {
    buffer.map_or(Value::Nil, Value::object)
}
