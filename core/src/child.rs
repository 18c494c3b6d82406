//! Children: programs that this one has started. Which signals there are, how a child ends, and
//! Emacs's words for both.
//!
//! Invariant: plain values. Starting, signalling and waiting are done above; what becomes of the process
//! that stands for a child is the engine's affair (`engine/child.rs`).

use std::{collections::VecDeque, ffi::OsString, fmt, rc::Rc, str::FromStr};

/// What a process stands for: Emacs's `process-type`.
///
/// # Examples
///
/// ```
/// assert_eq!(netproc_core::child::ProcessType::Real.to_string(), "real");
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Process Information" (`process-type`). Serial ports are not offered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum ProcessType {
    /// A connection, a server, a packet socket.
    #[default]
    Network,
    /// A child: a program of the system that this one has started.
    Real,
    /// The reading end of a pipe: what a child writes to its standard error, if that is kept apart.
    Pipe,
}

impl ProcessType {
    /// The word Emacs has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Real => "real",
            Self::Pipe => "pipe",
        }
    }
}

impl fmt::Display for ProcessType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A signal of the system, by its number; `Display` is Emacs's text of it.
///
/// # Examples
///
/// ```
/// use netproc_core::child::ChildSignal;
///
/// assert_eq!(ChildSignal::KILL.to_string(), "killed");
/// assert_eq!("SIGHUP".parse(), Ok(ChildSignal::HUP));
/// assert_eq!("usr1".parse(), Ok(ChildSignal::USR1));
/// let unknown = "foo".parse::<ChildSignal>().unwrap_err();
/// assert_eq!(unknown.to_string(), "undefined signal name foo");
/// ```
///
/// # Source
///
/// signal(7). The texts are those of Emacs 28.2 on Linux, as observed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildSignal(i32);

/// A name that no signal has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("undefined signal name {0}")]
#[non_exhaustive]
pub struct ChildSignalError(pub String);

/// Number, name and text.
type Row = (i32, &'static str, &'static str);

/// The signals that every Unix has.
const COMMON: [Row; 28] = [
    (libc::SIGHUP, "HUP", "hangup"),
    (libc::SIGINT, "INT", "interrupt"),
    (libc::SIGQUIT, "QUIT", "quit"),
    (libc::SIGILL, "ILL", "illegal instruction"),
    (libc::SIGTRAP, "TRAP", "trace/breakpoint trap"),
    (libc::SIGABRT, "ABRT", "aborted"),
    (libc::SIGBUS, "BUS", "bus error"),
    (libc::SIGFPE, "FPE", "floating point exception"),
    (libc::SIGKILL, "KILL", "killed"),
    (libc::SIGUSR1, "USR1", "user defined signal 1"),
    (libc::SIGSEGV, "SEGV", "segmentation fault"),
    (libc::SIGUSR2, "USR2", "user defined signal 2"),
    (libc::SIGPIPE, "PIPE", "broken pipe"),
    (libc::SIGALRM, "ALRM", "alarm clock"),
    (libc::SIGTERM, "TERM", "terminated"),
    (libc::SIGCHLD, "CHLD", "child exited"),
    (libc::SIGCONT, "CONT", "continued"),
    (libc::SIGSTOP, "STOP", "stopped (signal)"),
    (libc::SIGTSTP, "TSTP", "stopped"),
    (libc::SIGTTIN, "TTIN", "stopped (tty input)"),
    (libc::SIGTTOU, "TTOU", "stopped (tty output)"),
    (libc::SIGURG, "URG", "urgent I/O condition"),
    // The first letter is made small, whatever follows.
    (libc::SIGXCPU, "XCPU", "cPU time limit exceeded"),
    (libc::SIGXFSZ, "XFSZ", "file size limit exceeded"),
    (libc::SIGVTALRM, "VTALRM", "virtual timer expired"),
    (libc::SIGPROF, "PROF", "profiling timer expired"),
    (libc::SIGWINCH, "WINCH", "window changed"),
    (libc::SIGSYS, "SYS", "bad system call"),
];

#[cfg(any(target_os = "linux", target_os = "android"))]
const OTHERS: &[Row] = &[
    (libc::SIGSTKFLT, "STKFLT", "stack fault"),
    (libc::SIGIO, "IO", "i/O possible"),
    (libc::SIGPWR, "PWR", "power failure"),
];
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const OTHERS: &[Row] = &[(libc::SIGIO, "IO", "i/O possible")];

#[cfg(any(target_os = "linux", target_os = "android"))]
fn first_of_real_time() -> Option<i32> {
    Some(libc::SIGRTMIN())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn first_of_real_time() -> Option<i32> {
    None
}

fn rows() -> impl Iterator<Item = &'static Row> {
    COMMON.iter().chain(OTHERS)
}

impl ChildSignal {
    /// The terminal was hung up.
    pub const HUP: Self = Self(libc::SIGHUP);
    /// As by `C-c` at a terminal.
    pub const INT: Self = Self(libc::SIGINT);
    /// As by `C-\` at a terminal.
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// The end, which nobody can catch.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// A request to end.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// A stop, which nobody can catch.
    pub const STOP: Self = Self(libc::SIGSTOP);
    /// A stop as by `C-z` at a terminal. The system throws it away where nobody could continue the stopped,
    /// which is so of every child that has not made a session with job control of its own.
    pub const TSTP: Self = Self(libc::SIGTSTP);
    /// Go on after a stop.
    pub const CONT: Self = Self(libc::SIGCONT);
    /// The program's own affair.
    pub const USR1: Self = Self(libc::SIGUSR1);
    /// Likewise.
    pub const USR2: Self = Self(libc::SIGUSR2);

    /// The signal of that number, whether the system has it or not.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for ChildSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, _, text)) = rows().find(|(number, ..)| *number == self.0) {
            return f.write_str(text);
        }
        match first_of_real_time() {
            Some(first) if self.0 >= first && self.0 <= 64 => {
                write!(f, "real-time signal {}", self.0 - first)
            }
            _ => write!(f, "unknown signal {}", self.0),
        }
    }
}

impl fmt::Debug for ChildSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match rows().find(|(number, ..)| *number == self.0) {
            Some((_, name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for ChildSignal {
    type Err = ChildSignalError;

    /// Reads a name with or without `SIG`, in small letters or capitals.
    fn from_str(text: &str) -> Result<Self, ChildSignalError> {
        let capitals = text.to_ascii_uppercase();
        let name = capitals.strip_prefix("SIG").unwrap_or(&capitals);
        let row = rows().find(|(_, known, _)| *known == name);
        row.map(|(number, ..)| Self(*number)).ok_or_else(|| ChildSignalError(text.into()))
    }
}

/// How a child ended; `Display` is Emacs's text without its line end.
///
/// # Examples
///
/// ```
/// use netproc_core::child::{ChildExit, ChildSignal};
///
/// let crash = ChildExit::Signal { signal: ChildSignal::new(11), core_dumped: true };
/// assert_eq!(crash.to_string(), "segmentation fault (core dumped)");
/// assert_eq!(ChildExit::Code(0).to_string(), "finished");
/// assert_eq!(ChildExit::Code(3).to_string(), "exited abnormally with code 3");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ChildExit {
    /// By itself, with this code, 0 to 255.
    Code(i32),
    /// By a signal.
    Signal {
        /// Which.
        signal: ChildSignal,
        /// Whether the system wrote its memory to a file.
        core_dumped: bool,
    },
    /// It is gone, and nobody here was told how: this program ignores `SIGCHLD`, or something else in it
    /// has waited for all of its children.
    Unknown,
}

impl ChildExit {
    /// How a child ends that is deleted.
    pub const DELETED: Self = Self::Signal { signal: ChildSignal::KILL, core_dumped: false };

    /// The number Emacs's `process-exit-status` gives: the code, or the number of the signal; -1 where it
    /// is not known.
    #[must_use]
    pub const fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal { signal, .. } => signal.number(),
            Self::Unknown => -1,
        }
    }

    /// Whether it is what programs end with that were successful.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for ChildExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(0) => f.write_str("finished"),
            Self::Code(code) => write!(f, "exited abnormally with code {code}"),
            Self::Signal { signal, core_dumped: false } => write!(f, "{signal}"),
            Self::Signal { signal, core_dumped: true } => write!(f, "{signal} (core dumped)"),
            Self::Unknown => f.write_str("exited with unknown status"),
        }
    }
}

/// What whoever waits for a child has heard of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the engine must handle each one")]
pub enum ChildChange {
    /// A signal has stopped it.
    Stopped(ChildSignal),
    /// It goes on.
    Continued,
    /// It has ended, and the system has forgotten it.
    Ended(ChildExit),
}

/// What is known of a child when it is given to the engine.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the builder fills every field")]
pub struct ChildInfo {
    /// Its number in the system.
    pub pid: u32,
    /// The program and its arguments.
    pub command: Rc<[OsString]>,
    /// The name of its terminal, if it has one.
    pub tty: Option<Rc<str>>,
}

/// The part of a process that only a child's has.
#[derive(Debug)]
pub(crate) struct ChildState {
    pub(crate) info: ChildInfo,
    /// What was heard of it and not told yet, but for its end while its output is still read.
    pub(crate) news: VecDeque<ChildChange>,
    /// How it ended, told or not.
    pub(crate) end: Option<ChildExit>,
    /// Which signal has stopped it, while it is.
    pub(crate) stopped_by: Option<ChildSignal>,
    /// It reads no more of what it is sent.
    pub(crate) unread: bool,
}

impl ChildState {
    pub(crate) const fn new(info: ChildInfo) -> Self {
        Self { info, news: VecDeque::new(), end: None, stopped_by: None, unread: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sentinel of Emacs 28.2 was told of `sh -c "kill -N $$"`.
    #[test]
    #[cfg(target_os = "linux")]
    fn signals_read_as_in_emacs() {
        let cases = [
            (1, "hangup"),
            (2, "interrupt"),
            (3, "quit"),
            (4, "illegal instruction"),
            (5, "trace/breakpoint trap"),
            (6, "aborted"),
            (7, "bus error"),
            (8, "floating point exception"),
            (9, "killed"),
            (10, "user defined signal 1"),
            (11, "segmentation fault"),
            (12, "user defined signal 2"),
            (13, "broken pipe"),
            (14, "alarm clock"),
            (15, "terminated"),
            (16, "stack fault"),
            (19, "stopped (signal)"),
            (24, "cPU time limit exceeded"),
            (25, "file size limit exceeded"),
            (26, "virtual timer expired"),
            (27, "profiling timer expired"),
            (29, "i/O possible"),
            (30, "power failure"),
            (31, "bad system call"),
            (34, "real-time signal 0"),
            (64, "real-time signal 30"),
        ];
        for (number, text) in cases {
            assert_eq!(ChildSignal::new(number).to_string(), text, "{number}");
        }
        assert_eq!(ChildSignal::new(65).to_string(), "unknown signal 65");
    }

    #[test]
    fn every_name_is_read_in_each_of_its_forms() {
        for (number, name, _) in rows() {
            let lower = name.to_ascii_lowercase();
            for text in
                [(*name).to_owned(), format!("SIG{name}"), lower.clone(), format!("sig{lower}")]
            {
                assert_eq!(text.parse(), Ok(ChildSignal::new(*number)), "{text}");
            }
        }
        for text in ["", "SIG", "SIGSIGINT", "9", "INT ", "kıll"] {
            assert_eq!(text.parse::<ChildSignal>(), Err(ChildSignalError(text.into())));
        }
    }

    #[test]
    fn an_end_reads_and_counts_as_in_emacs() {
        let signal = |number, core_dumped| ChildExit::Signal {
            signal: ChildSignal::new(number),
            core_dumped,
        };
        let cases = [
            (ChildExit::Code(0), "finished", 0),
            (ChildExit::Code(1), "exited abnormally with code 1", 1),
            (ChildExit::Code(255), "exited abnormally with code 255", 255),
            (signal(libc::SIGHUP, false), "hangup", libc::SIGHUP),
            (signal(libc::SIGSEGV, true), "segmentation fault (core dumped)", libc::SIGSEGV),
            (ChildExit::DELETED, "killed", libc::SIGKILL),
        ];
        for (exit, text, status) in cases {
            assert_eq!((exit.to_string().as_str(), exit.status()), (text, status));
        }
    }
}
