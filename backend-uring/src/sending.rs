//! Output: what a socket does with what is queued.
//!
//! Invariant: one send of a socket is in the kernel at a time, and what it covers stays in the queue; calls of our own
//! are made only while none is, so bytes cannot overtake each other.

use std::time::Duration;

use netproc_core::{
    address::Family,
    outbox::{Queue, SEND_LEN_MAX, TURN_LEN_MAX},
    reactor::{Op, Role, SysError},
    socket::bytes,
};

use crate::{
    batch::Batch,
    io::{Alarm, Io},
    message::Message,
    sock::{Output, Phase, Sock},
    sqe::{self, Sqe},
    token::OpKind,
};

/// How long a local packet that found its receiver's queue full waits.
const PACKET_RETRY: Duration = Duration::from_millis(20);
/// Local receivers that are found full in a row before all packets wait that long.
const VAIN_MAX: u8 = 64;

impl Sock {
    /// Starts the one send that may be in flight, over as much of the queue as it can take.
    #[inline(always)]
    pub(crate) fn send_more(&mut self, io: &mut Io, out: &mut Batch<'_>) {
        let sending = self.steady || matches!(self.phase, Phase::Open | Phase::Flushing);
        if !sending || self.output != Output::Idle {
            return;
        }
        // Almost every time there is one payload of a stream.
        if let Queue::Bytes(outbox) = &self.queue
            && let Some(chunk) = outbox.sole_chunk()
            && chunk.len() <= SEND_LEN_MAX
        {
            let len = chunk.len();
            let sqe = sqe::send(self.raw(), chunk, self.token);
            if self.submit(io, &sqe) {
                self.output = Output::Sending(len);
                io.ring.note_send();
            }
            return;
        }
        if !self.queue.is_empty() {
            self.send_several(io, out);
        }
    }

    /// The same for a gathered send, for one that is only the beginning, and for packets.
    #[inline(never)]
    fn send_several(&mut self, io: &mut Io, out: &mut Batch<'_>) {
        if !self.send_row(io, out) {
            return;
        }
        while self.output == Output::Idle && !self.queue.is_empty() {
            let Some((sqe, len)) = self.next_send() else {
                // Its destination fits no address structure, so no kernel can be asked.
                self.packet_refused(libc::EINVAL, io, out);
                continue;
            };
            if !self.submit(io, &sqe) {
                return;
            }
            self.output = Output::Sending(len);
        }
    }

    /// Sends what is more than one entry may be offered by calls of its own, for which the ring would have all others
    /// have their turns in between; what is left, and what there is no room for, is the ring's. Returns whether it still
    /// sends.
    fn send_row(&mut self, io: &mut Io, out: &mut Batch<'_>) -> bool {
        for _ in 0..TURN_LEN_MAX / SEND_LEN_MAX {
            let Queue::Bytes(outbox) = &self.queue else { break };
            if outbox.bytes() <= SEND_LEN_MAX as u64 || !self.is_byte_socket() {
                break;
            }
            io.counters.syscalls += 1;
            match bytes::send_front(&self.fd, outbox) {
                (asked, Ok(sent)) => {
                    self.took(sent, asked, io);
                    if sent < asked {
                        break;
                    }
                }
                (_, Err(libc::EINTR)) => {}
                (_, Err(libc::EAGAIN)) => break,
                (_, Err(errno)) => {
                    self.on_send_error(errno, io, out);
                    return false;
                }
            }
        }
        true
    }

    /// Sends packets of UDP: by calls of their own, since one takes as many packets as wait, where an
    /// entry of the ring takes one and the next has to wait for it.
    pub(crate) fn send_bursts(&mut self, io: &mut Io, out: &mut Batch<'_>) {
        let sending = matches!(self.phase, Phase::Open | Phase::Flushing);
        while sending && self.output == Output::Idle && !self.queue.is_empty() {
            let Queue::Packets(packets) = &mut self.queue else { return };
            io.counters.syscalls += 1;
            let err = match io.burst.send(&self.fd, packets) {
                Ok(taken) => {
                    io.counters.sent += taken.bytes as u64;
                    self.note_gone(taken.bytes, io);
                    if let Some(SysError { op, errno, .. }) = taken.late {
                        self.trouble(op, errno, out);
                    }
                    continue;
                }
                Err(err) => err,
            };
            match SysError::new(Op::Send, &err).errno {
                libc::EAGAIN => return self.await_room(io),
                libc::EINTR => {}
                errno => self.packet_refused(errno, io, out),
            }
        }
    }

    fn next_send(&mut self) -> Option<(Sqe, usize)> {
        let (fd, token) = (self.raw(), self.token(OpKind::Send));
        match &self.queue {
            Queue::Bytes(outbox) => {
                let message = self.message.get_or_insert_with(Message::boxed);
                let len = message.gather(outbox);
                Some((sqe::send_message(fd, message, token), len))
            }
            Queue::Packets(packets) => {
                let packet = packets.front()?;
                let message = self.message.get_or_insert_with(Message::boxed);
                message.packet(packet).ok()?;
                Some((sqe::send_packet(fd, message, token), packet.payload.len()))
            }
        }
    }

    pub(crate) fn on_send(&mut self, result: i32, io: &mut Io, out: &mut Batch<'_>) {
        let asked = match std::mem::replace(&mut self.output, Output::Idle) {
            Output::Sending(asked) => asked,
            Output::Quiet(asked) => return self.on_quiet_short(asked, result, io, out),
            Output::Idle | Output::Polling | Output::Waiting => return io.mark(self),
        };
        let Ok(count) = usize::try_from(result) else {
            return self.on_send_error(result.saturating_neg(), io, out);
        };
        let all_gone = self.took(count.min(asked), asked, io);
        // A steady socket with nothing queued needs no look.
        if !(self.steady && all_gone) {
            io.list(self);
        }
    }

    #[cold]
    pub(crate) fn on_send_error(&mut self, errno: i32, io: &mut Io, out: &mut Batch<'_>) {
        io.mark(self);
        match errno {
            libc::EINTR | libc::ECANCELED => {}
            libc::EAGAIN if self.phase == Phase::Ending => {}
            libc::EAGAIN => self.await_room(io),
            _ if self.role == Role::Datagram => self.packet_refused(errno, io, out),
            // A record too long is refused alone; the connection goes on.
            libc::EMSGSIZE if self.takes_packets() => {
                self.packet_refused(libc::EMSGSIZE, io, out);
            }
            _ => self.fail_behind_input(Op::Send, errno, io),
        }
    }

    /// Waits for room: with the kernel where it can tell, else by time. A local packet socket always
    /// has room itself; it is one peer's queue that is full, and packets for others go first. Of a peer
    /// it is connected to the kernel tells, and of no other.
    fn await_room(&mut self, io: &mut Io) {
        if let Queue::Packets(packets) = &mut self.queue
            && packets.destination().is_some_and(|to| to.family() == Family::Local)
        {
            self.deferred += packets.defer_front();
            self.vain += 1;
            if self.deferred >= packets.len() || self.vain >= VAIN_MAX {
                // Everybody was asked, or so many that the others can wait as long.
                (self.deferred, self.vain) = (0, 0);
                self.output = Output::Waiting;
                io.set_timer_in(self, Alarm::Retry, PACKET_RETRY);
            }
            return;
        }
        let sqe = sqe::poll_out(self.raw(), self.token(OpKind::Writable));
        if self.submit(io, &sqe) {
            self.output = Output::Polling;
        }
    }

    /// Takes what was sent out of the queue; returns whether nothing is left in it.
    pub(crate) fn took(&mut self, count: usize, asked: usize, io: &mut Io) -> bool {
        io.counters.sent += count as u64;
        io.counters.short_sends += u64::from(count < asked);
        let Queue::Bytes(outbox) = &mut self.queue else { return self.took_packet(count, io) };
        outbox.advance(count);
        let all_gone = outbox.is_empty();
        self.note_gone(count, io);
        all_gone
    }

    #[inline(never)]
    fn took_packet(&mut self, count: usize, io: &mut Io) -> bool {
        if let Queue::Packets(packets) = &mut self.queue {
            drop(packets.pop());
            (self.deferred, self.vain) = (0, 0);
        }
        self.note_gone(count, io);
        self.queue.is_empty()
    }

    /// Counts bytes that left the queue, for whoever watches.
    #[inline]
    fn note_gone(&mut self, count: usize, io: &mut Io) {
        if self.watched {
            self.note_for_report(count, io);
        }
    }

    #[inline(never)]
    pub(crate) fn note_for_report(&mut self, count: usize, io: &mut Io) {
        if !std::mem::replace(&mut self.unreported, true) {
            io.reporting.push(self.key);
        }
        self.sent += count as u64;
    }

    /// Drops the packet the system refused: told as trouble, and gone as far as sums go.
    fn packet_refused(&mut self, errno: i32, io: &mut Io, out: &mut Batch<'_>) {
        if let Queue::Packets(packets) = &mut self.queue
            && let Some(packet) = packets.pop()
        {
            self.note_gone(packet.payload.len(), io);
        }
        self.trouble(Op::Send, errno, out);
    }

    pub(crate) fn on_writable(&mut self, io: &mut Io) {
        self.output = Output::Idle;
        io.mark(self);
    }
}
