//! One socket: what its owner wants of it, what the kernel is doing for it, and how the two meet.
//!
//! Invariant: methods of the owner only change wants; [`Sock::settle`] compares wants with what is in
//! the kernel and submits the difference; completions change what is in the kernel and yield events.
//! At most one operation of each kind is in flight, cancels aside, so bytes cannot overtake each other. How a
//! socket ends is in [`crate::close`], connecting in [`crate::dial`], sending in [`crate::sending`]; accepting, which
//! makes new sockets, in [`crate::listener`].

use std::os::fd::{AsRawFd as _, RawFd};

use netproc_core::{
    address::Address,
    outbox::Queue,
    reactor::{Event, Kind, Op, Payload, Role, SockId, SysError},
    slots::Key,
};
use socket2::Socket;

use crate::{
    batch::Batch,
    cqe::Completion,
    dial::Dialing,
    io::{Due, Group, Io},
    message::Message,
    pipes::Pipes,
    sqe::{self, Sqe},
    token::{OpKind, Token},
};

/// Where a socket is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Connecting, or waiting to try again.
    Connecting,
    /// In use.
    Open,
    /// Its owner is done with it; what is queued still goes out. Input is thrown away.
    Flushing,
    /// All is sent and the sending side shut; input is thrown away until the peer's end, because
    /// unread input would turn the close into a reset that destroys bytes the kernel has taken.
    Discarding,
    /// The kernel is told to stop; the descriptor goes with the last completion.
    Ending,
}

/// What the kernel does for a socket's input: receiving or, for a listener, accepting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    Idle,
    /// The multishot operation is in the kernel.
    Armed,
    /// A poll for readiness is in the kernel, in place of the operation.
    Polling,
    /// The crowd's epoll tells when there is input.
    Watched,
    /// After the peer's end, a poll for errors is in the kernel: no receive would bring one.
    Minding,
    /// Whichever it was, it has been cancelled and has not completed yet.
    Cancelling,
    /// Waits for its turn at a buffer, in its group's queue, wanted or not.
    Starved,
    /// A listener waits for a descriptor, on a timer.
    Resting,
}

/// What the kernel does for a socket's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    Idle,
    /// A send of this many bytes is in the kernel; what it covers stays in the queue.
    Sending(usize),
    /// The same of all there is, in an entry that completes only if the kernel does not take all of it at
    /// once: [`crate::quiet`] notes that it has.
    Quiet(usize),
    /// A poll for room is in the kernel.
    Polling,
    /// Waits on a timer, as a poll would find room at once.
    Waiting,
}

/// How far the owner's wish to end the sending side has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finish {
    No,
    Wanted,
    Done,
}

/// One entry of the reactor's table. In the order of declaration, with what every message needs at the top,
/// where it lies together.
#[repr(C)]
pub(crate) struct Sock {
    pub(crate) key: Key,
    /// What its sends are tokened with, and its other operations but for the kind.
    pub(crate) token: Token,
    /// Of pipes, the end that bytes come from.
    pub(crate) fd: Socket,
    /// Operations in the kernel or on their way there.
    pub(crate) in_flight: u16,
    /// It was settled as an open stream that receives and is not to end, and nothing of it has changed
    /// since but what is queued: only its output needs a look. Set by `settle`, and taken back by
    /// whoever marks it for another reason.
    pub(crate) steady: bool,
    /// On the list of those to settle.
    pub(crate) marked: bool,
    pub(crate) watched: bool,
    pub(crate) phase: Phase,
    pub(crate) input: Input,
    pub(crate) finish: Finish,
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    /// The owner wants input.
    pub(crate) reading: bool,
    /// The owner has closed it and wants no more events but the last.
    pub(crate) muted: bool,
    pub(crate) output: Output,
    pub(crate) queue: Queue,

    /// What only pipes have.
    pub(crate) pipes: Option<Box<Pipes>>,
    pub(crate) message: Option<Box<Message>>,
    pub(crate) dialing: Option<Box<Dialing>>,
    pub(crate) deadline: Due,
    pub(crate) retry: Due,
    /// Bytes sent since the last report, if watched.
    pub(crate) sent: u64,
    /// Bytes queued that will never be sent, since it is broken.
    pub(crate) lost: u64,
    /// Packets put behind others since one has gone, because their destination had no room.
    pub(crate) deferred: usize,
    /// How often that was since one has gone.
    pub(crate) vain: u8,
    pub(crate) cause: Option<SysError>,
    /// The last poll in which it had a turn at a slot.
    pub(crate) turn: u32,
    /// There is something to report, be it no byte.
    pub(crate) unreported: bool,
    /// The peer has sent its end.
    pub(crate) eof: bool,
    /// The operation last declined to wait, so readiness is asked for before it is tried again.
    pub(crate) cautious: bool,
    /// The owner wants a reset.
    pub(crate) reset: bool,
    /// It came from elsewhere, where others may still listen on it.
    pub(crate) adopted: bool,
    /// Its packets are UDP's: they may come joined, and go many in one call.
    pub(crate) udp: bool,
    /// A receive of it that went on might miss the end: each is for what there is.
    pub(crate) once: bool,
    /// A listener found no descriptor when it last accepted, and none of ours came free since.
    pub(crate) short: bool,
    /// Nothing can be sent any more: input is read until there is nothing, then comes the end.
    pub(crate) broken: bool,
    /// The kernel has been told to stop.
    pub(crate) stopped: bool,
    /// The crowd's epoll has it.
    pub(crate) member: bool,
    /// It has told of an end or an urgent mark: a read with room to spare does not prove that nothing is left.
    pub(crate) drain: bool,
}

impl Sock {
    pub(crate) fn new(key: Key, fd: Socket, role: Role, kind: Kind, reading: bool) -> Self {
        Self {
            key,
            token: Token::new(OpKind::Send, key),
            steady: false,
            fd,
            pipes: None,
            role,
            kind,
            phase: Phase::Open,
            input: Input::Idle,
            output: Output::Idle,
            finish: Finish::No,
            reading,
            eof: false,
            cautious: false,
            muted: false,
            reset: false,
            adopted: false,
            udp: false,
            once: false,
            short: false,
            broken: false,
            stopped: false,
            member: false,
            drain: false,
            marked: false,
            watched: false,
            deferred: 0,
            vain: 0,
            turn: 0,
            in_flight: 0,
            sent: 0,
            unreported: false,
            lost: 0,
            cause: None,
            queue: Queue::of(kind),
            message: None,
            dialing: None,
            deadline: Due::default(),
            retry: Due::default(),
        }
    }

    pub(crate) fn id(&self) -> SockId {
        SockId(self.key)
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn token(&self, kind: OpKind) -> Token {
        self.token.of_kind(kind)
    }

    /// Whether input comes as packets or records.
    pub(crate) fn takes_packets(&self) -> bool {
        self.kind != Kind::Stream
    }

    /// Where input comes into.
    fn group(&self) -> Group {
        match (&self.pipes, self.kind) {
            (Some(_), _) => Group::Pipes,
            (None, Kind::Stream) => Group::Streams,
            (None, Kind::Datagram | Kind::SeqPacket) => Group::Packets,
        }
    }

    #[inline]
    pub(crate) fn submit(&mut self, io: &mut Io, sqe: &Sqe) -> bool {
        let pushed = io.submit(sqe);
        self.in_flight += u16::from(pushed);
        pushed
    }

    /// Queues `payload` unless the sending side is over; returns the bytes that wait.
    pub(crate) fn send(&mut self, payload: Payload, to: Option<&Address>, io: &mut Io) -> u64 {
        let open = matches!(self.phase, Phase::Connecting | Phase::Open) && !self.muted;
        let takes = open && self.finish == Finish::No && self.role != Role::Listener;
        if self.is_unread() {
            self.drop_payload(&payload);
        } else if takes && self.broken || self.finish == Finish::No && self.has_failed() {
            self.lost += payload.len() as u64;
        } else if takes {
            self.queue.push(payload, to);
            io.list(self);
        }
        self.queue.bytes()
    }

    /// Brings what the kernel does in line with what is wanted; returns whether the socket is over.
    #[inline(always)]
    pub(crate) fn settle(&mut self, io: &mut Io, out: &mut Batch<'_>) -> bool {
        self.marked = false;
        if self.steady {
            debug_assert!(self.is_steady(), "who changes anything else marks it");
            self.send_more(io, out);
            return false;
        }
        self.settle_all(io, out)
    }

    #[inline(never)]
    fn settle_all(&mut self, io: &mut Io, out: &mut Batch<'_>) -> bool {
        self.dial(io);
        if self.pipes.is_some() {
            self.settle_pipes(io, out);
        } else if self.udp {
            self.send_bursts(io, out);
        } else {
            self.send_more(io, out);
        }
        self.half_close(io);
        self.advance_close(io);
        self.adjust_input(io);
        self.steady = self.is_steady();
        self.is_over()
    }

    /// Whether nothing but its output will need a look until something changes.
    fn is_steady(&self) -> bool {
        let whole = self.finish == Finish::No && !self.muted && !self.broken;
        let open = self.phase == Phase::Open && whole;
        let receives = !matches!(self.input, Input::Idle | Input::Cancelling | Input::Resting);
        self.is_byte_socket() && open && receives && self.reading && !self.eof
    }

    /// Whether nothing is left but to close its descriptor.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Ending && self.in_flight == 0
    }

    pub(crate) fn trouble(&self, op: Op, errno: i32, out: &mut Batch<'_>) {
        if !self.muted && self.phase == Phase::Open {
            out.push(Event::Trouble { id: self.id(), err: SysError { op, errno } });
        }
    }

    fn half_close(&mut self, io: &mut Io) {
        let sent = self.queue.is_empty() && self.output == Output::Idle;
        if self.finish == Finish::Wanted && sent && self.phase == Phase::Open {
            self.shut_sending(io);
        }
    }

    pub(crate) fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Ending => false,
            Phase::Open => self.reading && !self.eof,
            Phase::Flushing | Phase::Discarding => self.role == Role::Connection && !self.eof,
        }
    }

    fn adjust_input(&mut self, io: &mut Io) {
        let wanted = self.wants_input();
        match self.input {
            Input::Idle if wanted => self.arm_input(io),
            Input::Idle if self.minds_errors() => self.mind_errors(io),
            // Shutting the socket down, or a cancel before, completes what is there.
            // Of a broken one, whatever would wait for input that may never come.
            Input::Armed | Input::Polling if (!wanted || self.broken) && !self.stopped => {
                let _told = self.cancel_input(io);
            }
            Input::Resting if !wanted => self.wake_listener(io),
            Input::Starved if wanted && self.reads_away() => self.read_away(io),
            // With all memory held nobody asks the crowd, and what is read away needs none.
            Input::Watched if wanted && (self.broken || self.reads_away()) => self.starve(io),
            Input::Idle
            | Input::Armed
            | Input::Polling
            | Input::Watched
            | Input::Minding
            | Input::Cancelling
            | Input::Starved
            | Input::Resting => {}
        }
    }

    fn arm_input(&mut self, io: &mut Io) {
        let fd = self.raw();
        let group = self.group();
        let fills = self.role != Role::Listener;
        let in_turn = fills && io.group(group).is_turn(self.turn);
        let called = self.member && io.crowd.gathered;
        if !self.cautious && fills && !in_turn && (called || io.group(group).has_line()) {
            // The kernel would refuse it at once or soon, or give it what others have waited for.
            return self.starve(io);
        }
        self.leave_crowd(io);
        if self.cautious && !self.broken {
            return self.await_input(io);
        }
        let token = self.token(self.input_op());
        let sqe = if self.role == Role::Listener {
            sqe::accept(fd, token)
        } else {
            let id = io.group(group).id();
            match &io.packets {
                Some(own) if group == Group::Packets => {
                    sqe::recv_packets(fd, own.header(self.udp), id, !self.broken, token)
                }
                _ if group == Group::Pipes => sqe::read(fd, id, token),
                // Going on, it would find no slot the next time, which costs more than a turn.
                _ if in_turn || self.once => sqe::recv_once(fd, id, !self.broken, token),
                _ => sqe::recv(fd, id, !self.broken, token),
            }
        };
        if self.submit(io, &sqe) {
            self.input = Input::Armed;
        }
    }

    /// A receive finds no slot, or is not to take one out of turn: it waits for its turn. Whoever turns out to
    /// have no input then waits for that with the kernel, as any other, and takes no slot from those behind it.
    pub(crate) fn starve(&mut self, io: &mut Io) {
        if self.reads_away() {
            return self.read_away(io);
        }
        io.counters.starved += 1;
        self.input = Input::Starved;
        io.group(self.group()).starve(self.key, self.turn);
    }

    fn input_op(&self) -> OpKind {
        match (self.role, self.group()) {
            (Role::Listener, _) => OpKind::Accept,
            (Role::Connection | Role::Datagram, Group::Streams) => OpKind::Recv,
            (Role::Connection | Role::Datagram, Group::Packets) => OpKind::RecvPacket,
            (Role::Connection | Role::Datagram, Group::Pipes) => OpKind::Read,
        }
    }

    /// Cancels whatever the kernel does for input; returns whether there was room to say so, or nothing to say.
    pub(crate) fn cancel_input(&mut self, io: &mut Io) -> bool {
        let target = match self.input {
            Input::Armed => self.input_op(),
            Input::Polling | Input::Minding => OpKind::Readable,
            Input::Idle | Input::Watched | Input::Cancelling | Input::Starved | Input::Resting => {
                return true;
            }
        };
        let told = self.cancel(target, io);
        if told {
            self.input = Input::Cancelling;
        }
        told
    }

    pub(crate) fn cancel(&mut self, target: OpKind, io: &mut Io) -> bool {
        let sqe = sqe::cancel(self.token(target), self.token(OpKind::Cancel));
        self.submit(io, &sqe)
    }

    pub(crate) fn on_readable(&mut self, completion: &Completion, io: &mut Io) {
        if self.input == Input::Minding {
            self.on_news(completion, io);
        }
        if completion.more() {
            return;
        }
        let cancelled = self.input == Input::Cancelling;
        self.input = Input::Idle;
        io.mark(self);
        if !cancelled {
            self.cautious = false;
        }
    }

    /// A receive brought something.
    pub(crate) fn on_recv(&mut self, completion: Completion, io: &mut Io, out: &mut Batch<'_>) {
        if completion.result <= 0 || self.muted || !completion.more() {
            return self.on_any_recv(completion, io, out);
        }
        if let Some(buf) = io.streams.complete(&completion) {
            io.counters.received += buf.len() as u64;
            out.push_data(self.id(), buf);
        } else {
            self.on_hole(io);
        }
    }

    /// Bytes without the buffer they are in: the stream has a hole.
    fn on_hole(&mut self, io: &mut Io) {
        io.mark(self);
        self.fail(Op::Recv, libc::EIO);
    }

    /// A receive brought whatever it may be, and perhaps it was its last.
    fn on_any_recv(&mut self, completion: Completion, io: &mut Io, out: &mut Batch<'_>) {
        io.mark(self);
        if !completion.more() {
            // For whatever reason: end, error, cancel, or the kernel's own choice.
            self.input = Input::Idle;
        }
        match (completion.count(), io.streams.complete(&completion)) {
            (Ok(count), Some(buf)) if count > 0 => {
                io.counters.received += u64::from(count);
                if !self.muted {
                    out.push_data(self.id(), buf);
                    if completion.is_cut() {
                        self.read_rest(count as usize, io, out);
                    }
                } else if self.stopped {
                    self.reset_unread(io);
                }
            }
            (Ok(count), _) => self.on_nothing(count, out),
            (Err(errno), _) => self.on_recv_error(errno, io, out),
        }
    }

    /// A receive without a buffer is the end, unless it claims bytes: then the stream has a hole.
    pub(crate) fn on_nothing(&mut self, count: u32, out: &mut Batch<'_>) {
        if count == 0 { self.on_end(out) } else { self.fail(Op::Recv, libc::EIO) }
    }

    pub(crate) fn on_end(&mut self, out: &mut Batch<'_>) {
        if self.broken {
            self.phase = Phase::Ending;
        } else if !self.eof && !self.muted && self.phase == Phase::Open {
            out.push(Event::Eof { id: self.id() });
        }
        self.eof = true;
    }

    pub(crate) fn on_recv_error(&mut self, errno: i32, io: &mut Io, out: &mut Batch<'_>) {
        match errno {
            // So Linux says that nobody has the other side of a terminal open any more.
            libc::EIO if self.pipes.is_some() => self.on_gone(out),
            libc::ENOBUFS if self.wants_input() => self.starve(io),
            libc::ENOBUFS | libc::ECANCELED | libc::EINTR => {}
            libc::EAGAIN if self.broken => self.phase = Phase::Ending,
            libc::EAGAIN => self.cautious = true,
            // These would come again at once, for ever.
            libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EFAULT | libc::EOPNOTSUPP => {
                self.fail(Op::Recv, errno);
            }
            _ if self.role == Role::Datagram => self.trouble(Op::Recv, errno, out),
            // Of a peer that is gone without having read everything, before the records that it has sent.
            _ if self.takes_packets() => self.fail_behind_input(Op::Recv, errno, io),
            _ => self.fail(Op::Recv, errno),
        }
    }
}
