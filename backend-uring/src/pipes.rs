//! Pipes and terminals of children: one end to read, one to write, under one id.
//!
//! Invariant: the two ends live and break apart. Reading is the ring's, one read at a time into a provided buffer
//! of a group of their own, each read a whole one. Writing is a plain system call that does not wait, since a write
//! of the kernel's own raises SIGPIPE in whatever thread happens to do it; the ring says when there is room. How
//! those who read share the buffers is in [`crate::sock`].

use std::{
    io::IoSlice,
    os::fd::{AsRawFd as _, OwnedFd},
};

use netproc_core::{
    outbox::{Queue, SEND_LEN_MAX},
    pipe,
    reactor::{Event, Op, Payload, SysError},
};
use nix::errno::Errno;

use crate::{
    batch::Batch,
    cqe::Completion,
    io::{Group, Io},
    sock::{Input, Output, Phase, Sock},
    sqe,
    token::OpKind,
};

/// Payloads that one call gathers.
const GATHER_MAX: usize = 16;
/// What a write takes: the call itself, and blocking SIGPIPE before it and no longer behind it.
const WRITE_CALLS: u64 = 3;

/// What only pipes have.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// The end that bytes go into, if there is one and it was not finished.
    pub(crate) sink: Option<OwnedFd>,
    /// Nobody reads what goes into the sink.
    unread: bool,
    /// Those who wrote are gone: so much may be left of what they wrote, then comes the end.
    left: Option<u64>,
    /// Bytes thrown away since nobody could take them.
    dropped: u64,
}

impl Pipes {
    pub(crate) fn new(sink: Option<OwnedFd>) -> Result<Self, SysError> {
        sink.as_ref().map_or(Ok(()), pipe::set_nonblocking)?;
        Ok(Self { unread: sink.is_none(), sink, left: None, dropped: 0 })
    }

    /// How much was thrown away, if the end of it was told: nothing can be sent any more.
    pub(crate) fn wound_up(&self) -> Option<u64> {
        self.left.map(|_| self.dropped)
    }

    /// Bytes given to `send` that were thrown away.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Sock {
    /// Whether it is a pipe whose reader is gone, or that never had one.
    pub(crate) fn is_unread(&self) -> bool {
        self.pipes.as_ref().is_some_and(|pipes| pipes.unread)
    }

    pub(crate) fn drop_payload(&mut self, payload: &Payload) {
        if let Some(pipes) = &mut self.pipes {
            pipes.dropped += payload.len() as u64;
        }
    }

    /// Nothing more goes into the sink.
    fn give_up_output(&mut self) {
        let left = self.queue.clear();
        if let Some(pipes) = &mut self.pipes {
            pipes.unread = true;
            pipes.dropped += left;
        }
    }

    /// Those who wrote are gone.
    pub(crate) fn wind_up(&mut self, io: &mut Io) {
        if self.pipes.is_none() {
            return;
        }
        self.give_up_output();
        if let Some(pipes) = &mut self.pipes {
            pipes.left = Some(pipe::capacity(&self.fd));
            io.mark(self);
        }
    }

    /// A read brought something, or came to nothing.
    pub(crate) fn on_read(&mut self, completion: &Completion, io: &mut Io, out: &mut Batch<'_>) {
        io.mark(self);
        self.input = Input::Idle;
        self.note_read(completion.count().unwrap_or(0));
        match (completion.count(), io.group(Group::Pipes).complete(completion)) {
            (Ok(count), Some(buf)) if count > 0 => {
                io.counters.received += u64::from(count);
                if !self.muted {
                    out.push_data(self.id(), buf);
                }
            }
            (Ok(count), _) => self.on_nothing(count, out),
            (Err(errno), _) => self.on_recv_error(errno, io, out),
        }
    }

    /// Counts bytes read: those that come behind what could be left were written by others, who may go on for
    /// ever.
    fn note_read(&mut self, count: u32) {
        if let Some(left) = self.pipes.as_mut().and_then(|pipes| pipes.left.as_mut()) {
            *left = left.saturating_sub(count.into());
        }
    }

    /// Nobody has the other side of a terminal open any more. What was written last may have come after the
    /// kernel looked: then it is read next.
    pub(crate) fn on_gone(&mut self, out: &mut Batch<'_>) {
        if !pipe::has_input(&self.fd) {
            self.on_end(out);
        }
    }

    /// Brings both ends in line with what is wanted.
    pub(crate) fn settle_pipes(&mut self, io: &mut Io, out: &mut Batch<'_>) {
        self.write_more(io, out);
        self.read_up(io);
    }

    fn write_more(&mut self, io: &mut Io, out: &mut Batch<'_>) {
        let sending = matches!(self.phase, Phase::Open | Phase::Flushing);
        while sending && self.output == Output::Idle && !self.queue.is_empty() {
            let Some(sink) = self.pipes.as_ref().and_then(|pipes| pipes.sink.as_ref()) else {
                return self.give_up_output();
            };
            let fd = sink.as_raw_fd();
            let Queue::Bytes(outbox) = &mut self.queue else { return };
            let mut slices = [IoSlice::new(&[]); GATHER_MAX];
            let (mut count, mut asked) = (0, 0);
            for (slice, chunk) in slices.iter_mut().zip(outbox.chunks()) {
                let chunk = &chunk[..chunk.len().min(SEND_LEN_MAX - asked)];
                *slice = IoSlice::new(chunk);
                (count, asked) = (count + 1, asked + chunk.len());
                if asked == SEND_LEN_MAX {
                    break;
                }
            }
            io.counters.syscalls += WRITE_CALLS;
            match pipe::write(sink, &slices[..count]) {
                Ok(sent) => {
                    self.took(sent, asked, io);
                }
                Err(Errno::EAGAIN) => {
                    let sqe = sqe::poll_out(fd, self.token(OpKind::Writable));
                    if self.submit(io, &sqe) {
                        self.output = Output::Polling;
                    }
                    return;
                }
                Err(err) => {
                    self.give_up_output();
                    let err = SysError { op: Op::Send, errno: err as i32 };
                    if !self.muted {
                        out.push(Event::Trouble { id: self.id(), err });
                    }
                }
            }
        }
    }

    /// While winding up: the next read, or the end if there is nothing to read.
    fn read_up(&mut self, io: &mut Io) {
        let Some(left) = self.pipes.as_ref().and_then(|pipes| pipes.left) else { return };
        if self.phase != Phase::Open {
            return;
        }
        if self.eof || left == 0 {
            self.phase = Phase::Ending;
            return;
        }
        match self.input {
            // It may wait for others who keep the pipe open.
            Input::Armed | Input::Polling => {
                let _told = self.cancel_input(io);
            }
            Input::Idle if self.reading => {
                io.counters.syscalls += 1;
                if pipe::has_input(&self.fd) {
                    self.cautious = false;
                } else {
                    self.phase = Phase::Ending;
                }
            }
            Input::Idle
            | Input::Watched
            | Input::Minding
            | Input::Cancelling
            | Input::Starved
            | Input::Resting => {}
        }
    }
}
