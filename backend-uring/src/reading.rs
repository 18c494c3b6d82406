//! Reading by calls of our own: where many sockets wait for a slot, and the rest of what a slot's end has cut.
//!
//! Invariant: a socket is never read beside a receive of the kernel's. One that is read in its turn joins the
//! [`crate::crowd`], and waits in the queue of its group again when that tells of more. One poll of the reactor
//! reads no more in turns than may stay in cache until it is sent on; and a rest makes no more of a receive than a
//! whole slot would have been.

use netproc_core::{
    reactor::{Kind, Op, Role},
    socket::bytes,
};

use crate::{
    batch::Batch,
    crowd::{CROWD_MIN, LINE_MIN},
    io::Io,
    reactor::UringReactor,
    sock::{Input, Sock},
    sqe,
    token::OpKind,
};

/// Calls of a turn.
const READS_MAX: u32 = 2;
/// Calls, and bytes of each, that one socket's input is read away with at a time.
const AWAY_READS_MAX: u32 = 4;
const SCRATCH_LEN: usize = 16 * 1024;

impl Io {
    /// Whether those who wait for a slot have their turns by calls.
    #[inline]
    pub(crate) fn reads_in_turn(&mut self) -> bool {
        let waiting = self.streams.waiting();
        let many = waiting > 0 && (waiting >= CROWD_MIN || self.crowd.gathered);
        many && self.reading.slot().is_some()
    }

    /// Whether whoever waits longest has a turn by a call now: with `looks`, however few they are.
    fn has_call(&mut self, looks: bool) -> bool {
        let waits = self.streams.waiting() > 0;
        if looks { waits && self.reading.slot().is_some() } else { self.reads_in_turn() }
    }

    /// Whether to ask who of the crowd has input: not while there are enough who are known to have, unless all of those
    /// have had a turn, and stand in line again. Who is told of goes behind them, and the kernel keeps a line as well.
    #[inline]
    pub(crate) fn asks_crowd(&self) -> bool {
        let waiting = self.streams.waiting();
        let due = || waiting < LINE_MIN || self.crowd.turns >= waiting;
        self.crowd.ready && (!self.crowd.gathered || due())
    }

    /// Whether somebody waits who gets no turn before a slot comes free, which a poll begins by looking for.
    pub(crate) fn is_stuck(&mut self) -> bool {
        self.streams.waiting() > 0 && !self.streams.has_turns() && !self.reads_in_turn()
    }
}

impl UringReactor {
    /// Reads those who have waited longest, if they are many, or the caller but looks: then there is no later for them.
    #[inline]
    pub(crate) fn read_in_turn(&mut self, looks: bool, out: &mut Batch<'_>) {
        let (crowd, waiting) = (&self.io.crowd, self.io.streams.waiting());
        if crowd.gathered | crowd.ready || waiting >= CROWD_MIN || looks && waiting > 0 {
            self.read_waiting(looks, out);
        } else {
            // Without guards it is back on top of the stack, and the next the kernel gets.
            self.io.reading.let_go();
        }
    }

    #[inline(never)]
    fn read_waiting(&mut self, looks: bool, out: &mut Batch<'_>) {
        let mut told = 0;
        let mut left = if looks { usize::MAX } else { self.io.config.bytes_max as usize };
        loop {
            if self.io.asks_crowd() {
                told += self.ask_crowd();
            }
            self.io.crowd.note_line(self.io.streams.waiting());
            self.read_line(looks, &mut left, out);
            // Who only looks sees all there is; those within the machine may be told of again and again.
            let more = looks && self.io.asks_crowd() && told < self.io.crowd.members();
            if !more || out.is_full() {
                break;
            }
        }
        if !self.io.crowd.gathered {
            self.io.reading.let_go();
        }
    }

    /// A turn for each in line, while so many bytes are left to read.
    fn read_line(&mut self, looks: bool, left: &mut usize, out: &mut Batch<'_>) {
        let line = self.io.streams.waiting();
        self.io.crowd.passed_over = line > 0 && out.is_full();
        for _ in 0..line {
            if *left == 0 || out.is_full() || !self.io.has_call(looks) {
                break;
            }
            let Some((key, turn)) = self.io.streams.next_turn() else { break };
            let read = self.with(key, |sock, io| sock.read_in_turn(turn, io, out));
            *left = left.saturating_sub(read.unwrap_or(0));
        }
    }
}

impl Sock {
    /// Whether it is a socket of bytes, which may be read by a call. A pipe may not: the call might wait.
    pub(crate) fn is_byte_socket(&self) -> bool {
        self.role == Role::Connection && self.kind == Kind::Stream && self.pipes.is_none()
    }

    /// Reads what is there, or as much as [`READS_MAX`] calls bring; returns how many bytes that was.
    fn read_in_turn(&mut self, turn: u32, io: &mut Io, out: &mut Batch<'_>) -> usize {
        if self.input != Input::Starved {
            return 0; // its owner has closed it, and what comes needs no slot
        }
        self.input = Input::Idle;
        io.crowd.note_turn();
        debug_assert!(self.is_byte_socket(), "nobody else receives into these buffers");
        if !self.wants_input() {
            // Should it want input again, its turn is in the next poll.
            self.turn = turn.wrapping_add(1);
            io.mark(self);
            return 0;
        }
        let mut read = 0;
        // What fills its room is mostly all there is: that is known at once while the socket is in cache.
        for _ in 0..READS_MAX {
            if out.is_full() {
                break;
            }
            match self.read_once(usize::MAX, io, out) {
                None => break,
                Some(Ok((0, _))) => {
                    self.on_end(out);
                    io.mark(self);
                    return read;
                }
                Some(Ok((len, fills))) => {
                    read += len;
                    if !fills {
                        self.watch(true, io);
                        return read;
                    }
                }
                Some(Err(libc::EAGAIN)) if !self.broken => {
                    self.drain = false;
                    self.watch(true, io);
                    return read;
                }
                Some(Err(errno)) => {
                    self.on_recv_error(errno, io, out);
                    io.mark(self);
                    return read;
                }
            }
        }
        if read == 0 {
            self.starve(io);
        } else {
            self.watch(false, io);
        }
        read
    }

    /// One call for at most so many bytes, which are told of: how many came, and whether they fill their room;
    /// `None` where there is no slot.
    fn read_once(
        &self,
        most: usize,
        io: &mut Io,
        out: &mut Batch<'_>,
    ) -> Option<Result<(usize, bool), i32>> {
        let slot = io.reading.slot()?;
        let room = most.min(slot.room() as usize);
        io.counters.syscalls += 1;
        let buf = match slot.fill(room, |room| bytes::recv(&self.fd, room)) {
            Ok(buf) => buf,
            Err(errno) => return Some(Err(errno)),
        };
        let len = buf.len();
        if len > 0 {
            io.reading.note(len);
            io.counters.received += len as u64;
            if !self.muted {
                out.push_data(self.id(), buf);
            }
        }
        Some(Ok((len, len == room)))
    }

    /// A receive that does not go on was cut short by the end of its slot: the rest of what a whole slot
    /// would have taken is read at once, to be told of, and answered, together with its beginning.
    #[inline(never)]
    pub(crate) fn read_rest(&mut self, received: usize, io: &mut Io, out: &mut Batch<'_>) {
        let mut left = (io.streams.pool().slot_len() as usize).saturating_sub(received);
        // Again where the rest found but the rest of a slot itself.
        while left > 0 && !out.is_full() && self.wants_input() && self.is_byte_socket() {
            match self.read_once(left, io, out) {
                None | Some(Err(libc::EAGAIN | libc::EINTR)) => return,
                Some(Ok((0, _))) => return self.on_end(out),
                Some(Ok((_, false))) => return,
                Some(Ok((len, true))) => left -= len,
                Some(Err(errno)) => return self.on_recv_error(errno, io, out),
            }
        }
    }

    /// Whether what comes is for nobody, and can be read into nothing.
    pub(crate) fn reads_away(&self) -> bool {
        self.muted && self.is_byte_socket()
    }

    /// Reads what is there into nothing, which needs no slot, and has the kernel tell of more.
    #[cold]
    pub(crate) fn read_away(&mut self, io: &mut Io) {
        let mut scratch = [0; SCRATCH_LEN];
        self.leave_crowd(io);
        for _ in 0..AWAY_READS_MAX {
            io.counters.syscalls += 1;
            match bytes::recv(&self.fd, &mut scratch) {
                Ok(0) => {
                    (self.eof, self.input) = (true, Input::Idle);
                    return io.mark(self);
                }
                Ok(_) | Err(libc::EINTR) => {}
                Err(libc::EAGAIN) => break,
                Err(errno) => {
                    self.input = Input::Idle;
                    self.fail(Op::Recv, errno);
                    return io.mark(self);
                }
            }
        }
        self.input = Input::Idle;
        if self.wants_input() {
            self.await_input(io);
        }
    }

    /// Has the kernel tell when there is input.
    pub(crate) fn await_input(&mut self, io: &mut Io) {
        let sqe = sqe::poll_in(self.raw(), false, self.token(OpKind::Readable));
        if self.submit(io, &sqe) {
            self.input = Input::Polling;
        }
    }
}
