//! Children: what a process holds of the program it stands for, to signal it and to let it go.
//!
//! Invariant: a number is signalled only while the system keeps it for our child: the child is waited
//! for under the lock that a signal takes, by a thread of its own (`child/wait.rs`), as soon as it has
//! ended, whether the runtime runs or not. So there are no zombies, and no stranger is ever hit. Whoever
//! lets go of a child that has not ended kills it. No handler of SIGCHLD is installed, and nobody else's
//! children are waited for.

pub(crate) mod sys;
pub(crate) mod terminal;
pub(crate) mod wait;

use std::{
    os::fd::OwnedFd,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use netproc_core::{
    child::{ChildSignal, ProcessType},
    machine::Status,
    reactor::{Op, SysError},
};

/// Why a child was not signalled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The process stands for no child.
    #[error("a {0} process is not a child and cannot be signalled")]
    NotAChild(ProcessType),
    /// The child has ended, which its process may not have been told yet.
    #[error("the child has ended, its process is {0}")]
    Ended(Status),
    /// The system refused: there is no such signal, or the child runs for somebody else.
    #[error("the child cannot be signalled")]
    Sys(#[source] SysError),
}

/// Who gets a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whom {
    /// The child alone.
    Child,
    /// The child and all it has started that did not leave its group.
    Group,
    /// The group in the foreground of its terminal; without a terminal, its own.
    Foreground,
    /// The same, unless that is the child's own.
    OthersInForeground,
}

/// The child itself, shared with the thread that waits for it; `None` once the system has forgotten it.
#[derive(Debug)]
pub(crate) struct Body(Mutex<Option<process::Child>>);

impl Body {
    pub(crate) const fn new(child: process::Child) -> Self {
        Self(Mutex::new(Some(child)))
    }

    /// A panic cannot happen under this lock: only system calls are made there.
    fn lock(&self) -> MutexGuard<'_, Option<process::Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a process holds of its child.
#[derive(Debug)]
pub(crate) struct Leash {
    pid: i32,
    /// The number of this program: a copy of it, forked, has no children.
    parent: u32,
    body: Arc<Body>,
    /// Its terminal, to ask who is in the foreground.
    terminal: Option<OwnedFd>,
}

impl Leash {
    pub(crate) fn new(pid: i32, body: Arc<Body>, terminal: Option<OwnedFd>) -> Self {
        Self { pid, parent: process::id(), body, terminal }
    }

    /// Sends `signal`; returns whether the child had not ended.
    pub(crate) fn signal(&self, whom: Whom, signal: ChildSignal) -> Result<bool, SysError> {
        // Before the lock, which a fork may have copied while it was held.
        if process::id() != self.parent {
            return Ok(false);
        }
        let body = self.body.lock();
        if body.is_none() {
            return Ok(false);
        }
        let group = self.terminal.as_ref().and_then(|fd| nix::unistd::tcgetpgrp(fd).ok());
        // Nobody in the foreground is 0 on some systems, which would be our own group.
        let group = group.map(nix::unistd::Pid::as_raw).filter(|&group| group > 1);
        let foreground = group.unwrap_or(self.pid);
        // Its own session begins with its own group, which has its number.
        let to = match whom {
            Whom::Child => self.pid,
            Whom::OthersInForeground if foreground == self.pid => return Ok(true),
            Whom::Foreground | Whom::OthersInForeground => -foreground,
            Whom::Group => -self.pid,
        };
        let sent = sys::kill(to, signal.number());
        drop(body);
        sent.map(|()| true).map_err(|err| SysError { op: Op::Signal, errno: err as i32 })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Refused where it runs for somebody else by now, and then it is not ours to end.
        let _refused = self.signal(Whom::Group, ChildSignal::KILL);
    }
}
