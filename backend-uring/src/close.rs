//! How a socket ends: flush, stop the kernel, wait for its last completion, close.
//!
//! Invariant: a descriptor is closed when nothing of it is in flight, entries not yet submitted
//! included, so no operation can meet the descriptor's next owner; and then [`Event::Closed`] is
//! pushed, once, after everything else of the socket.

use std::time::Duration;

use netproc_core::reactor::{CloseHow, Event, Op, Role, SysError};

use crate::{
    batch::Batch,
    cqe::Completion,
    dial::Dial,
    io::{Alarm, Due, Io},
    sock::{Finish, Input, Output, Phase, Sock},
    sqe,
    token::OpKind,
};

impl Sock {
    /// Sends our end to the peer; returns whether there was a peer to send it to.
    pub(crate) fn shut_sending(&mut self, io: &mut Io) -> bool {
        self.finish = Finish::Done;
        io.counters.syscalls += 1;
        if let Some(pipes) = &mut self.pipes {
            pipes.sink = None;
            return true;
        }
        self.fd.shutdown(std::net::Shutdown::Write).is_ok()
    }

    /// Does what the owner asks; a later, harsher way counts.
    pub(crate) fn close(&mut self, how: CloseHow, io: &mut Io) {
        self.muted = true;
        match how {
            CloseHow::Flush { within } => self.flush_within(within, io),
            CloseHow::Now => self.phase = Phase::Ending,
            CloseHow::Reset => {
                self.phase = Phase::Ending;
                self.reset = true;
            }
        }
        io.mark(self);
    }

    fn flush_within(&mut self, within: Duration, io: &mut Io) {
        let sent = self.queue.is_empty() && self.output == Output::Idle;
        match self.phase {
            Phase::Open if sent && self.ends_by_closing() => self.phase = Phase::Ending,
            Phase::Open => self.phase = Phase::Flushing,
            // Nobody would miss a connection that brings nothing.
            Phase::Connecting if self.queue.is_empty() => self.phase = Phase::Ending,
            Phase::Connecting | Phase::Flushing | Phase::Discarding | Phase::Ending => {}
        }
        if self.phase == Phase::Ending {
            return;
        }
        let at = io.now().after(within);
        if self.deadline.get().is_none_or(|before| at < before) {
            io.set_timer(self, Alarm::Deadline, Some(at));
        }
    }

    /// A timer of the socket rang.
    pub(crate) fn ring(&mut self, alarm: Alarm, io: &mut Io) {
        match alarm {
            Alarm::Deadline => {
                self.deadline = Due::default();
                self.phase = Phase::Ending;
            }
            Alarm::Retry => {
                self.retry = Due::default();
                self.wake_listener(io);
                if let Some(dialing) = &mut self.dialing
                    && dialing.state == Dial::Waiting
                {
                    dialing.state = Dial::Ready;
                }
                if self.output == Output::Waiting {
                    self.output = Output::Idle;
                }
            }
        }
        io.mark(self);
    }

    /// Ends the socket by an error of the system; the first one is the cause.
    ///
    /// What a receive had brought before goes up, unless the owner has closed.
    pub(crate) fn fail(&mut self, op: Op, errno: i32) {
        let lost = match self.phase {
            Phase::Connecting | Phase::Open => true,
            Phase::Flushing => !self.queue.is_empty(),
            Phase::Discarding | Phase::Ending => false,
        };
        if lost {
            self.cause.get_or_insert(SysError { op, errno });
        }
        self.phase = Phase::Ending;
    }

    /// Whether it has failed, which its owner does not know yet: it is told once the kernel is done with it.
    pub(crate) fn has_failed(&self) -> bool {
        self.phase == Phase::Ending && self.cause.is_some() && !self.muted
    }

    /// The connection is gone: what the peer has sent before comes first, then the end.
    pub(crate) fn fail_behind_input(&mut self, op: Op, errno: i32, io: &mut Io) {
        if self.phase != Phase::Open || self.muted || self.eof || self.broken {
            return self.fail(op, errno);
        }
        self.cause.get_or_insert(SysError { op, errno });
        self.broken = true;
        self.lost += self.queue.clear();
        if self.watched {
            // Input may be off until some of this has gone.
            self.note_for_report(0, io);
        }
    }

    /// Whether an error is to be asked for: the peer's end was read, and the owner goes on.
    pub(crate) fn minds_errors(&self) -> bool {
        let open = self.phase == Phase::Open && !self.muted;
        open && self.eof && self.role == Role::Connection && self.pipes.is_none()
    }

    /// Has the kernel tell of errors.
    pub(crate) fn mind_errors(&mut self, io: &mut Io) {
        let sqe = sqe::poll_errors(self.raw(), self.token(OpKind::Readable));
        if self.submit(io, &sqe) {
            self.input = Input::Minding;
        }
    }

    /// What there is to say of a connection whose peer's end was read: mostly just that.
    pub(crate) fn on_news(&mut self, completion: &Completion, io: &mut Io) {
        let error = u32::from(libc::POLLERR.cast_unsigned());
        if !completion.count().is_ok_and(|events| events & error != 0) {
            return;
        }
        io.counters.syscalls += 1;
        if let Ok(Some(err)) = self.fd.take_error() {
            self.fail(Op::Recv, SysError::new(Op::Recv, &err).errno);
            io.mark(self);
        }
    }

    /// Takes the next step of a close, if the last one is done.
    pub(crate) fn advance_close(&mut self, io: &mut Io) {
        let sent = self.queue.is_empty() && self.output == Output::Idle;
        if self.phase == Phase::Flushing && sent {
            let peer = self.role == Role::Connection
                && (self.finish == Finish::Done || self.ends_by_closing() || self.shut_sending(io));
            self.phase = if peer { Phase::Discarding } else { Phase::Ending };
        }
        let gone = self.broken && matches!(self.phase, Phase::Flushing | Phase::Discarding);
        if gone || self.phase == Phase::Discarding && self.eof {
            self.phase = Phase::Ending;
        }
        if self.phase == Phase::Ending {
            self.stop(io);
        }
    }

    /// Makes the kernel complete all it does for the socket.
    pub(crate) fn stop(&mut self, io: &mut Io) {
        if self.reset && self.role == Role::Connection {
            io.counters.syscalls += 1;
            // Refused by a connection that is gone already, which needs no reset.
            let _ = self.fd.set_linger(Some(Duration::ZERO));
        }
        if self.stopped {
            return;
        }
        // Unless the kernel cannot be told of something: then it is told everything again.
        self.stopped = true;
        let minding = self.input == Input::Minding;
        let idle = self.in_flight == u16::from(minding);
        if minding {
            // It goes on whatever is shut.
            self.stopped &= self.cancel_input(io);
        }
        if self.ends_by_closing() && idle || self.shut_both(io) {
            return;
        }
        self.stopped &= self.cancel_input(io);
        match self.output {
            // A quiet send has been done, or failed, since it was handed over.
            Output::Idle | Output::Waiting | Output::Quiet(_) => {}
            Output::Sending(_) => self.stopped &= self.cancel(OpKind::Send, io),
            Output::Polling => self.stopped &= self.cancel(OpKind::Writable, io),
        }
        if self.dialing.as_ref().is_some_and(|dialing| dialing.state == Dial::InFlight) {
            self.stopped &= self.cancel(OpKind::Connect, io);
        }
    }

    /// Whether the peer's end was read and the descriptor is ours alone: closing it sends our end, and
    /// takes nothing back that came.
    fn ends_by_closing(&self) -> bool {
        self.eof && self.role == Role::Connection && !self.adopted && self.pipes.is_none()
    }

    /// Shuts the socket down, which takes effect now, although the ring still holds the file;
    /// returns whether that completes whatever waits on it.
    ///
    /// A connection sends our end, unless it is to be reset: that must not say goodbye first. A
    /// listener refuses from here on. What was adopted may be another's too, for whom it stays.
    fn shut_both(&self, io: &mut Io) -> bool {
        let shut = !self.adopted
            && match self.role {
                Role::Connection => !self.reset && self.dialing.is_none(),
                Role::Listener => true,
                Role::Datagram => false,
            };
        io.counters.syscalls += u64::from(shut);
        shut && self.fd.shutdown(std::net::Shutdown::Both).is_ok() && self.role == Role::Connection
    }

    /// Bytes were read away behind the shutting down, of which the kernel tells the peer nothing, not even that
    /// there is room again: it might stand before a closed window for minutes. So the close resets the connection,
    /// as it does with bytes that were never read.
    #[cold]
    pub(crate) fn reset_unread(&mut self, io: &mut Io) {
        if self.adopted || self.role != Role::Connection || std::mem::replace(&mut self.reset, true)
        {
            return;
        }
        io.counters.syscalls += 1;
        // Refused by a connection that is gone already.
        let _gone = self.fd.set_linger(Some(Duration::ZERO));
    }

    /// Closes the descriptor and reports the end; nothing is in flight any more.
    pub(crate) fn bury(mut self, io: &mut Io, out: &mut Batch<'_>) {
        debug_assert_eq!(self.in_flight, 0, "the kernel is done with the socket");
        io.set_timer(&mut self, Alarm::Deadline, None);
        io.set_timer(&mut self, Alarm::Retry, None);
        self.leave_crowd(io);
        let unsent = self.unsent();
        self.queue.clear();
        self.report_sent(unsent, out);
        out.push(Event::Closed { id: self.id(), cause: self.cause, unsent });
        io.counters.syscalls += 1;
        io.counters.sockets -= 1;
    }

    /// How many bytes given to `send` the kernel never took.
    pub(crate) fn unsent(&self) -> u64 {
        let dropped = self.pipes.as_ref().map_or(0, |pipes| pipes.dropped());
        self.queue.bytes() + self.lost + dropped
    }

    /// Tells the owner what the kernel took since the last time.
    pub(crate) fn report_sent(&mut self, queued: u64, out: &mut Batch<'_>) {
        let bytes = std::mem::take(&mut self.sent);
        if std::mem::take(&mut self.unreported) {
            out.push(Event::Sent { id: self.id(), bytes, queued });
        }
    }
}
