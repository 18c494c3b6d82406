//! What the callbacks of a rig were told: by whom, in which order, and the status seen inside.
//!
//! As lines, `child: open from 127.0.0.1 (open)`: the process, Emacs's words without their line end,
//! the status its handle showed inside the callback. An accepted connection is `child`. Input
//! reads `"hello"`; what came in several pieces without anything between is one line, since how a
//! stream is cut is nobody's promise. The log keeps ids, not processes: it keeps nothing alive.

use std::{cell::RefCell, fmt, rc::Rc};

use netproc::{Event, Input, LogEntry, Process, ProcessId, Role, Status};

/// A failure shows this many lines, the last ones.
const LINES_MAX: usize = 60;
/// Input longer than this is shown by its length.
const SHOWN_MAX: usize = 80;

#[derive(Clone, Debug)]
enum What {
    Input(Vec<u8>),
    Words(String),
}

#[derive(Clone, Debug)]
struct Entry {
    id: ProcessId,
    label: String,
    status: Status,
    what: What,
}

impl Entry {
    fn text(&self) -> String {
        let what = match &self.what {
            What::Input(bytes) if bytes.len() > SHOWN_MAX => format!("{} bytes", bytes.len()),
            What::Input(bytes) => format!("\"{}\"", bytes.escape_ascii()),
            What::Words(words) => words.clone(),
        };
        format!("{what} ({})", self.status)
    }
}

/// The log; clones are the same log.
#[derive(Clone, Default, Debug)]
pub struct Log {
    entries: Rc<RefCell<Vec<Entry>>>,
}

/// Emacs's text of an event without its line end.
///
/// # Panics
///
/// Panics when it has none.
#[must_use]
pub fn word(event: &Event) -> String {
    let text = event.to_string();
    match text.strip_suffix('\n') {
        Some(word) => word.to_owned(),
        None => {
            assert_eq!(*event, Event::Continued, "Emacs's texts end their line, but this one");
            text
        }
    }
}

impl Log {
    fn add(&self, process: &Process, what: What) {
        let accepted = process.contact().role() == Role::Accepted;
        let label = if accepted { "child".into() } else { process.name().to_string() };
        let entry = Entry { id: process.id(), label, status: process.status(), what };
        self.entries.borrow_mut().push(entry);
    }

    /// Writes `words` for `process` down.
    pub fn note(&self, process: &Process, words: impl Into<String>) {
        self.add(process, What::Words(words.into()));
    }

    /// Writes input of `process` down.
    pub fn input(&self, process: &Process, input: &[u8]) {
        self.add(process, What::Input(input.to_vec()));
    }

    /// Writes an event of `process` down.
    pub fn event(&self, process: &Process, event: &Event) {
        self.note(process, word(event));
    }

    /// A filter that writes its input down.
    pub fn filter(&self) -> impl Fn(&Process, Input) + use<> {
        let log = self.clone();
        move |process, input| log.input(process, &input)
    }

    /// A sentinel that writes its events down.
    pub fn sentinel(&self) -> impl Fn(&Process, &Event) + use<> {
        let log = self.clone();
        move |process, event| log.event(process, event)
    }

    /// A server's log function that writes down what it is told.
    pub fn log(&self) -> impl Fn(&Process, Option<&Process>, &LogEntry) + use<> {
        let log = self.clone();
        move |server, _, entry| log.note(server, format!("log: {}", entry.to_string().trim_end()))
    }

    /// Everything, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let joined = joined(self.entries.borrow().iter());
        joined.iter().map(|entry| format!("{}: {}", entry.label, entry.text())).collect()
    }

    /// What `process` was told, in order.
    #[must_use]
    pub fn of(&self, process: &Process) -> Vec<String> {
        let (id, entries) = (process.id(), self.entries.borrow());
        joined(entries.iter().filter(|entry| entry.id == id)).iter().map(Entry::text).collect()
    }

    /// All input of `process`, put together.
    #[must_use]
    pub fn bytes_of(&self, process: &Process) -> Vec<u8> {
        self.inputs_of(process).concat()
    }

    /// Its input as it came: what each call of the filter was given.
    #[must_use]
    pub fn inputs_of(&self, process: &Process) -> Vec<Vec<u8>> {
        let (id, entries) = (process.id(), self.entries.borrow());
        let of = entries.iter().filter(|entry| entry.id == id);
        of.filter_map(|entry| match &entry.what {
            What::Input(bytes) => Some(bytes.clone()),
            What::Words(_) => None,
        })
        .collect()
    }

    /// How many bytes of input it was given.
    #[must_use]
    pub fn len_of(&self, process: &Process) -> usize {
        let (id, entries) = (process.id(), self.entries.borrow());
        let len = |entry: &Entry| match &entry.what {
            What::Input(bytes) if entry.id == id => bytes.len(),
            What::Input(_) | What::Words(_) => 0,
        };
        entries.iter().map(len).sum()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries.borrow_mut().clear();
    }
}

/// The entries, with pieces of input that follow one another put together.
fn joined<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    for entry in entries {
        if let What::Input(more) = &entry.what
            && let Some(Entry { id, status, what: What::Input(bytes), .. }) = all.last_mut()
            && (*id, *status) == (entry.id, entry.status)
        {
            bytes.extend_from_slice(more);
        } else {
            all.push(entry.clone());
        }
    }
    all
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        let earlier = lines.len().saturating_sub(LINES_MAX);
        if earlier > 0 {
            writeln!(f, "  ({earlier} lines before these)")?;
        }
        lines[earlier..].iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
