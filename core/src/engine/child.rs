//! Children: what is read from them and sent to them goes as for a connection; whether they run, and how
//! they ended, is told by whoever waits for them.
//!
//! Invariant: a child's end is told once, and after all that could be read when it ended: somebody else
//! may hold its output open for ever, so the end of the output is not waited for. Killing and waiting are
//! the upper layer's work.

use std::{os::fd::OwnedFd, rc::Rc};

use super::{Delivery, Engine, Start};
use crate::{
    child::{ChildChange, ChildExit, ChildInfo, ChildState, ProcessType},
    contact::Role,
    event::Event,
    machine::{self, Phase},
    process::{Exit, Process, Shared},
    reactor::{CloseHow, Descriptors, Payload, Reactor, SockId, SysError},
};

/// What a terminal takes for the end of what is sent through it, at the beginning of a line.
const END_OF_FILE: &[u8] = &[4];

impl<R: Descriptors, H: Clone> Engine<R, H> {
    /// Makes the process of a child: its output is read from `output`, what is sent goes into `input`. They
    /// are pipes, or the same terminal twice.
    ///
    /// # Errors
    ///
    /// The system's refusal; no process is left, and both descriptors are closed.
    pub fn child(
        &mut self,
        start: Start<H>,
        info: ChildInfo,
        output: OwnedFd,
        input: OwnedFd,
    ) -> Result<Shared<H>, SysError> {
        let sock = self.reactor.adopt_pipes(output, Some(input), true)?;
        let start = Start { stopped: false, ..start };
        let process = self.list_started(start, Role::Child, Phase::Run, sock);
        let mut p = process.borrow_mut();
        p.process_type = ProcessType::Real;
        p.child = Some(Box::new(ChildState::new(info)));
        drop(p);
        self.children += 1;
        Ok(process)
    }

    /// Makes the process of a pipe that is only read, such as that of a child's errors.
    ///
    /// # Errors
    ///
    /// The system's refusal; no process is left, and the descriptor is closed.
    pub fn pipe(&mut self, start: Start<H>, output: OwnedFd) -> Result<Shared<H>, SysError> {
        let sock = self.reactor.adopt_pipes(output, None, !start.stopped)?;
        let process = self.list_started(start, Role::Child, Phase::Open, sock);
        let mut p = process.borrow_mut();
        p.process_type = ProcessType::Pipe;
        p.finished = true;
        drop(p);
        Ok(process)
    }

    /// What was heard of the child of `process`. Nothing happens to one that has ended.
    pub fn child_changed(&mut self, process: &Shared<H>, change: ChildChange) {
        let mut p = process.borrow_mut();
        let (open, sock, deaf) = (p.phase.is_open(), p.sock, p.deaf);
        let Some(child) = p.child.as_mut().filter(|child| open && child.end.is_none()) else {
            return;
        };
        match (change, sock) {
            (ChildChange::Ended(exit), Some(sock)) => {
                child.end = Some(exit);
                drop(p);
                // It will read nothing more, so nothing need be held back for it.
                self.change_flow(process, |p| p.holding = false);
                if deaf {
                    // Who takes no input is told all the same.
                    self.forget_output(process, sock);
                } else {
                    self.reactor.wind_up(sock);
                }
            }
            (ChildChange::Ended(exit), None) => {
                child.end = Some(exit);
                child.news.push_back(change);
                drop(p);
                self.make_ready(process);
            }
            (ChildChange::Stopped(_) | ChildChange::Continued, _) => {
                child.news.push_back(change);
                drop(p);
                self.make_ready(process);
            }
        }
    }
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// How many children have not ended, as far as was told.
    #[must_use]
    pub const fn children(&self) -> usize {
        self.children
    }

    /// Its input may have been turned off: what it is not to have must not keep the end of its child from it.
    pub(super) fn child_deafened(&mut self, process: &Shared<H>) {
        let p = process.borrow();
        let ended = p.deaf && p.child_has_ended() && p.phase.is_open();
        let sock = p.sock.filter(|_| ended);
        drop(p);
        if let Some(sock) = sock {
            self.forget_output(process, sock);
        }
    }

    fn forget_output(&mut self, process: &Shared<H>, sock: SockId) {
        let mut p = process.borrow_mut();
        p.inbox.retain(|event| !event.is_input());
        p.inbox_len = p.inbox.iter().map(super::event_len).sum();
        drop(p);
        self.reactor.close(sock, CloseHow::Now);
        self.make_ready(process);
    }

    /// Tells the oldest of what was heard of a child.
    pub(super) fn handle_child_news(&mut self, process: &Shared<H>) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        if !p.has_child_news() {
            return None;
        }
        let child = p.child.as_mut()?;
        let (event, machine) = match child.news.pop_front()? {
            ChildChange::Ended(exit) => {
                drop(p);
                return self.child_ended(process, exit);
            }
            ChildChange::Stopped(signal) => {
                child.stopped_by = Some(signal);
                (Event::Stopped(signal), machine::Event::ChildStopped)
            }
            ChildChange::Continued => {
                child.stopped_by = None;
                (Event::Continued, machine::Event::ChildContinued)
            }
        };
        // Of two stops in a row the second is no news.
        p.apply(machine).then(|| Delivery::Event { process: Rc::clone(process), event })
    }

    /// The ends of a child are closed: it has ended, or reads and writes no more.
    pub(super) fn child_closed(&mut self, process: &Shared<H>) -> Option<Delivery<H>> {
        let end = process.borrow().child.as_ref().and_then(|child| child.end);
        end.and_then(|exit| self.child_ended(process, exit))
    }

    fn child_ended(&mut self, process: &Shared<H>, exit: ChildExit) -> Option<Delivery<H>> {
        let killed = matches!(exit, ChildExit::Signal { .. });
        let machine =
            if killed { machine::Event::ChildKilled } else { machine::Event::ChildExited };
        let unsent = process.borrow().unsent;
        let ended = self.end(process, machine, Exit::Child(exit), None);
        let event = Event::Ended { exit, unsent };
        ended.then(|| Delivery::Event { process: Rc::clone(process), event })
    }

    /// The end of what a child reads: its pipe is closed behind everything queued. A terminal stays, and is
    /// sent the character that it takes for the end.
    pub(super) fn finish_child(reactor: &mut R, p: &mut Process<H>, sock: SockId) {
        if p.child.as_ref().is_some_and(|child| child.info.tty.is_some()) {
            p.queued = reactor.send(sock, Payload::from(END_OF_FILE.to_vec()));
        } else {
            p.finished = true;
            reactor.finish(sock);
        }
    }
}
