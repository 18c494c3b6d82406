//! The reactor: its table of sockets and the poll. Accepting is in [`crate::listener`], letting everything go in
//! [`crate::teardown`].
//!
//! Invariant: the ring is entered only by `poll`, `arm`, the constructor and the drop; other methods change
//! what a socket wants and mark it, and at most register something once. In a forked child none of them
//! touches it. One enter submits everything and waits.

use std::{fmt, time::Duration};

use netproc_core::{
    address::Address,
    heap,
    options::SockOption,
    outbox::{Outbox, Queue},
    pipe,
    pool::Pool,
    queue::EventQueue,
    reactor::{
        Caps, CloseHow, Config, Counters, Credentials, Event, Kind, Op, OpenSpec, Payload, Reactor,
        Role, SockId, SysError, Tick, Wait,
    },
    slots::{Key, Slots},
    socket,
};
use socket2::Socket;

use crate::{
    batch::Batch,
    cqe::Completion,
    dial::{Dial, Dialing},
    error::SetupError,
    foreign::Foreign,
    io::{Group, Io, NOBODY},
    packets::stamp_records,
    pipes::Pipes,
    probe::{Features, probe},
    ring::{Ring, Sleep},
    sock::{Finish, Input, Phase, Sock},
    sqe,
    token::{OpKind, Token},
    wake::UringWaker,
};

/// Moves the bytes of many sockets through one io_uring, on one thread.
///
/// Made on the thread that polls it and never moved to another. In a child forked while it
/// existed, every method fails or does nothing, and dropping it leaves the parent's alone.
///
/// # Examples
///
/// ```
/// use netproc_core::{
///     queue::EventQueue,
///     reactor::{Config, OpenSpec, Reactor as _, Wait},
/// };
/// use netproc_uring::UringReactor;
///
/// let Ok(mut reactor) = UringReactor::new(Config::default()) else { return };
/// let local = "[127 0 0 1 0]".parse().unwrap();
/// let server = reactor.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 5).unwrap();
/// assert_ne!(reactor.local_addr(server).unwrap().port(), Some(0));
/// reactor.poll(Wait::No, &mut EventQueue::new()).unwrap();
/// assert_eq!(reactor.counters().sockets, 1);
/// ```
pub struct UringReactor {
    pub(crate) io: Io,
    pub(crate) sockets: Slots<Sock>,
    pub(crate) waker: UringWaker,
    watching: bool,
    woken: bool,
    pub(crate) foreign: Foreign,
    /// Events that happened outside of a poll; a poll has it meanwhile. Boxed, since it goes there and back
    /// each time.
    pub(crate) early: Option<Box<EventQueue>>,
}

impl UringReactor {
    /// Probes the kernel and makes a reactor.
    ///
    /// # Errors
    ///
    /// [`SetupError`] naming the step that failed; nothing stays behind.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let features = probe(&config)?;
        Self::with_features(config, features)
    }

    /// Makes a reactor on a kernel probed before.
    ///
    /// # Errors
    ///
    /// [`SetupError`] naming the step that failed; nothing stays behind.
    pub fn with_features(config: Config, features: Features) -> Result<Self, SetupError> {
        config.check()?;
        Self::over(Ring::new(config.ring_entries, config.patience)?, config, features)
    }

    fn over(ring: Ring, config: Config, features: Features) -> Result<Self, SetupError> {
        let waker =
            UringWaker::new().map_err(|source| SetupError::Open { what: "an eventfd", source })?;
        let pool = Pool::new(config.slots, config.slot_len)?;
        heap::keep_freed();
        let streams = Io::stream_group(&ring, pool, features.incremental())
            .map_err(|source| SetupError::Register { what: "a ring of buffers", source })?;
        Ok(Self {
            io: Io::new(ring, streams, features, config),
            sockets: Slots::new(),
            waker,
            watching: false,
            woken: false,
            foreign: Foreign::default(),
            early: None,
        })
    }

    /// Refuses work in a forked child and on a broken ring.
    pub(crate) fn usable(&self, op: Op) -> Result<(), SysError> {
        if self.io.ring.in_child() {
            return Err(SysError { op, errno: libc::EBADF });
        }
        self.io.broken.map_or(Ok(()), Err)
    }

    pub(crate) fn insert(&mut self, fd: Socket, role: Role, kind: Kind, reading: bool) -> Key {
        if role == Role::Connection && kind == Kind::SeqPacket {
            self.io.counters.syscalls += 1;
            stamp_records(&fd);
        }
        let once = !self.io.local_ends && kind == Kind::Stream && is_local(&fd);
        let key = self.sockets.insert_with(|key| Sock::new(key, fd, role, kind, reading));
        self.io.counters.sockets += 1;
        self.with(key, |sock, io| {
            sock.once = once;
            io.mark(sock);
        });
        key
    }

    /// Runs `change` on the socket, if it lives.
    #[inline]
    pub(crate) fn with<T>(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut Sock, &mut Io) -> T,
    ) -> Option<T> {
        let sock = self.sockets.get_mut(key)?;
        Some(change(sock, &mut self.io))
    }

    fn socket(&self, id: SockId) -> Result<&Socket, SysError> {
        self.usable(Op::Option)?;
        let sock = self.sockets.get(id.0);
        sock.map(|sock| &sock.fd).ok_or(SysError { op: Op::Option, errno: libc::EBADF })
    }

    /// Everything that goes to the kernel with the next enter.
    pub(crate) fn prepare(&mut self, out: &mut Batch<'_>) {
        self.ring_timers();
        self.feed();
        if !self.watching {
            let sqe = sqe::poll_in(self.waker.fd(), true, Token::global(OpKind::Wake, 0));
            self.watching = self.io.submit_own(&sqe);
        }
        self.watch_crowd();
        self.io.ring.serve(&self.io.marked);
        self.send_quietly();
        let mut at = 0;
        while let Some(index) = self.io.marked.get(at).copied() {
            at += 1;
            self.settle(index, out);
        }
        self.io.marked.clear();
    }

    /// Settles whoever lives there: if the one that was marked has gone, that is another, whom it does not
    /// hurt.
    #[inline(always)]
    fn settle(&mut self, index: u32, out: &mut Batch<'_>) {
        let Some(sock) = self.sockets.at_mut(index) else { return };
        if sock.settle(&mut self.io, out) {
            let key = sock.key;
            self.bury(key, out);
        }
    }

    #[inline(never)]
    fn bury(&mut self, key: Key, out: &mut Batch<'_>) {
        let sock = self.sockets.remove(key).expect("its caller has looked at it");
        sock.bury(&mut self.io, out);
        self.wake_resting();
    }

    fn ring_timers(&mut self) {
        if self.io.timers.is_empty() {
            return;
        }
        let now = self.io.now();
        while let Some((at, key, alarm)) = self.io.timers.first().copied()
            && at <= now
        {
            self.io.timers.pop_first();
            if key == NOBODY {
                self.resume_postponed();
            } else {
                self.with(key, |sock, io| sock.ring(alarm, io));
            }
        }
    }

    /// Those whose operations found no room are settled again; if that is another's place by now, it does not hurt.
    #[cold]
    fn resume_postponed(&mut self) {
        for index in std::mem::take(&mut self.io.postponed) {
            if let Some(sock) = self.sockets.at_mut(index) {
                self.io.mark(sock);
            }
        }
    }

    /// Gives the kernel free slots, and the sockets with input that wait for one their turn, the longest
    /// waiting first, unless they are read by calls: then whoever receives on finds no slot and stands in line
    /// as well.
    fn feed(&mut self) {
        self.feed_group(Group::Streams);
        if self.io.has_later {
            self.feed_later();
        }
    }

    #[inline(never)]
    fn feed_later(&mut self) {
        if self.io.packets.is_some() {
            self.feed_group(Group::Packets);
        }
        if self.io.pipes.is_some() {
            self.feed_group(Group::Pipes);
        }
    }

    #[inline(always)]
    fn feed_group(&mut self, which: Group) {
        // Those who found a slot with the kernel would be ahead of a crowd in line.
        let lends = which != Group::Streams || !self.io.crowd.gathered;
        let group = self.io.group(which);
        if lends {
            group.refill();
        }
        let mut turns = group.begin_turns();
        if which == Group::Streams && self.io.reads_in_turn() {
            return;
        }
        while turns > 0
            && let Some((key, turn)) = self.io.group(which).next_turn()
        {
            let fed = self.with(key, |sock, io| {
                if sock.input != Input::Starved {
                    return false; // its owner has closed it, and what comes needs no slot
                }
                (sock.input, sock.turn) = (Input::Idle, turn);
                io.mark(sock);
                sock.wants_input()
            });
            if fed == Some(true) {
                self.io.group(which).note_turn();
                turns -= 1;
            }
        }
    }

    /// How long to sleep in a poll that does not only look.
    fn sleep(&self, wait: Wait) -> Sleep {
        let until = if let Wait::Until(at) = wait { Some(at) } else { None };
        let timer = self.io.next_timer();
        let Some(at) = until.into_iter().chain(timer).min() else { return Sleep::Forever };
        match at.since(self.io.now()) {
            Duration::ZERO => Sleep::No,
            span => Sleep::For(span),
        }
    }

    /// Whether there is something to do before the kernel says more.
    pub(crate) fn has_work(&mut self) -> bool {
        let others = self.io.has_later && self.io.later_groups().any(|group| group.has_turns());
        let held = !self.io.quiet.is_empty() && self.io.is_short();
        let turns = self.io.streams.has_turns() || others || self.io.reads_in_turn();
        let turns = turns || self.io.asks_crowd();
        self.io.ring.has_completions() || turns || held
    }

    pub(crate) fn enter(&mut self, sleep: Sleep) -> Result<(), SysError> {
        if let Err(err) = self.io.ring.enter(sleep) {
            self.io.broken.get_or_insert_with(|| SysError::new(Op::Wait, &err));
        }
        self.io.broken.map_or(Ok(()), Err)
    }

    /// Turns completions into events, until there are none or the caller has enough; returns how many
    /// there were.
    pub(crate) fn drain(&mut self, out: &mut Batch<'_>) -> usize {
        let mut count = 0;
        loop {
            let (short, other) = self.complete_short(out);
            count += short;
            if let Some(completion) = other {
                count += 1;
                self.complete(completion, out);
            } else if short == 0 {
                return count;
            }
        }
    }

    #[inline(never)]
    fn complete(&mut self, completion: Completion, out: &mut Batch<'_>) {
        let (token, more) = (completion.token, completion.more());
        let own = matches!(token.kind(), Some(OpKind::Wake | OpKind::Timeout | OpKind::Crowd));
        self.io.ended(u64::from(!more), own);
        match token.kind() {
            Some(OpKind::Wake) => return self.on_wake(more, out),
            Some(OpKind::Timeout) => return self.foreign.on_timeout(token),
            Some(OpKind::Crowd) => return self.on_crowd(),
            _ => {}
        }
        let tenant = self.sockets.at_mut(token.index());
        let Some(sock) = tenant.filter(|sock| token.is_of(sock.token)) else {
            return self.on_stale(completion);
        };
        let key = sock.key;
        sock.in_flight = sock.in_flight.saturating_sub(u16::from(!more));
        match token.kind() {
            Some(OpKind::Recv) => sock.on_recv(completion, &mut self.io, out),
            Some(OpKind::Send) => sock.on_send(completion.result, &mut self.io, out),
            Some(OpKind::RecvPacket) => sock.on_recv_packet(&completion, &mut self.io, out),
            Some(OpKind::Read) => sock.on_read(&completion, &mut self.io, out),
            Some(OpKind::Connect) => sock.on_connect(&completion, &mut self.io, out),
            Some(OpKind::Readable) => sock.on_readable(&completion, &mut self.io),
            Some(OpKind::Writable) => sock.on_writable(&mut self.io),
            Some(OpKind::Accept) => return self.on_accept(key, completion, out),
            // Only the last completion of what was cancelled counts.
            Some(OpKind::Cancel | OpKind::Wake | OpKind::Timeout | OpKind::Crowd) | None => {}
        }
        self.settle_if_over(key, out);
    }

    /// Spares a socket whose last completion came the wait for the next poll.
    #[inline(never)]
    pub(crate) fn settle_if_over(&mut self, key: Key, out: &mut Batch<'_>) {
        if self.sockets.get(key).is_some_and(Sock::is_over) {
            self.settle(key.index, out);
        }
    }

    /// A completion for nobody: its descriptor is closed, its buffer goes back.
    #[cold]
    fn on_stale(&mut self, completion: Completion) {
        self.io.counters.stale += 1;
        match completion.token.kind() {
            Some(OpKind::Recv) => drop(self.io.group(Group::Streams).complete(&completion)),
            Some(OpKind::RecvPacket) => drop(self.io.group(Group::Packets).complete(&completion)),
            Some(OpKind::Read) => drop(self.io.group(Group::Pipes).complete(&completion)),
            _ => drop(completion.into_fd()),
        }
    }

    fn on_wake(&mut self, more: bool, out: &mut Batch<'_>) {
        self.watching = more;
        self.io.counters.syscalls += 1;
        self.waker.consume();
        if !std::mem::replace(&mut self.woken, true) {
            out.push(Event::Woken);
        }
    }

    fn report_sent(&mut self, out: &mut Batch<'_>) {
        for key in self.io.reporting.drain(..) {
            if let Some(sock) = self.sockets.get_mut(key) {
                let queued = sock.queue.bytes();
                sock.report_sent(queued, out);
            }
        }
    }
}

impl Reactor for UringReactor {
    type Waker = UringWaker;

    fn caps(&self) -> Caps {
        Caps {
            name: "io_uring",
            seqpacket: true,
            abstract_names: true,
            reuse_port_balances: true,
            packet_len_max: self.io.config.packet_len,
        }
    }

    fn counters(&self) -> Counters {
        self.io.counters()
    }

    fn now(&self) -> Tick {
        self.io.now()
    }

    fn listen(&mut self, spec: &OpenSpec<'_>, backlog: u32) -> Result<SockId, SysError> {
        self.usable(Op::Open)?;
        if spec.kind != Kind::Stream {
            self.io.need_packets()?;
        }
        let fd = socket::listener(spec, backlog)?;
        Ok(SockId(self.insert(fd, Role::Listener, spec.kind, spec.reading)))
    }

    fn connect(&mut self, spec: &OpenSpec<'_>, to: &Address) -> Result<SockId, SysError> {
        self.usable(Op::Open)?;
        if spec.kind != Kind::Stream {
            self.io.need_packets()?;
        }
        let fd = socket::open(spec, Some(to))?;
        let to = socket::to_sockaddr(to).map_err(|err| SysError::new(Op::Connect, &err))?;
        socket::bind(&fd, spec)?;
        let key = self.insert(fd, Role::Connection, spec.kind, spec.reading);
        self.with(key, |sock, _| {
            sock.phase = Phase::Connecting;
            sock.dialing = Some(Box::new(Dialing { to, state: Dial::Ready }));
        });
        Ok(SockId(key))
    }

    fn datagram(&mut self, spec: &OpenSpec<'_>, to: Option<&Address>) -> Result<SockId, SysError> {
        self.usable(Op::Open)?;
        self.io.need_packets()?;
        let fd = socket::datagram(spec, to)?;
        let udp = socket::speaks_udp(&fd);
        socket::join_input(&fd, self.io.config.packet_len);
        let key = self.insert(fd, Role::Datagram, Kind::Datagram, spec.reading);
        self.with(key, |sock, _| {
            sock.udp = udp;
            if let Some(to) = to {
                sock.queue.connected(to, None);
            }
        });
        Ok(SockId(key))
    }

    fn set_reading(&mut self, id: SockId, on: bool) {
        self.with(id.0, |sock, io| {
            sock.reading = on;
            io.mark(sock);
        });
    }

    fn send(&mut self, id: SockId, data: Payload) -> u64 {
        let Some(sock) = self.sockets.get_mut(id.0) else { return 0 };
        sock.send(data, None, &mut self.io)
    }

    #[inline(always)]
    fn open_outbox(&mut self, id: SockId) -> Option<&mut Outbox> {
        let sock = self.sockets.get_mut(id.0).filter(|sock| sock.steady)?;
        self.io.list(sock);
        match &mut sock.queue {
            Queue::Bytes(outbox) => Some(outbox),
            Queue::Packets(_) => None,
        }
    }

    fn send_to(&mut self, id: SockId, data: Payload, to: &Address) -> u64 {
        let send = |sock: &mut Sock, io: &mut Io| match sock.role {
            Role::Datagram => sock.send(data, Some(to), io),
            Role::Listener | Role::Connection => sock.queue.bytes(),
        };
        self.with(id.0, send).unwrap_or(0)
    }

    fn queued(&self, id: SockId) -> u64 {
        self.sockets.get(id.0).map_or(0, |sock| sock.queue.bytes())
    }

    fn unsent(&self, id: SockId) -> Option<u64> {
        self.sockets.get(id.0).map(Sock::unsent)
    }

    fn queued_packets(&self, id: SockId) -> usize {
        self.sockets.get(id.0).map_or(0, |sock| sock.queue.packets())
    }

    fn send_failure(&self, id: SockId) -> Option<(SysError, u64)> {
        let sock = self.sockets.get(id.0)?;
        if let Some(dropped) = sock.pipes.as_deref().and_then(Pipes::wound_up) {
            return Some((sock.cause.unwrap_or(pipe::UNREAD), dropped));
        }
        let cause = sock.cause.filter(|_| sock.broken || sock.has_failed())?;
        Some((cause, sock.lost + sock.queue.bytes()))
    }

    fn watch_sent(&mut self, id: SockId, on: bool) {
        self.with(id.0, |sock, _| {
            sock.watched = on;
            if !on {
                (sock.sent, sock.unreported) = (0, false);
            }
        });
    }

    fn finish(&mut self, id: SockId) {
        self.with(id.0, |sock, io| {
            if sock.finish == Finish::No && sock.role != Role::Listener {
                sock.finish = Finish::Wanted;
                io.mark(sock);
            }
        });
    }

    fn close(&mut self, id: SockId, how: CloseHow) {
        self.with(id.0, |sock, io| sock.close(how, io));
    }

    fn local_addr(&self, id: SockId) -> Result<Address, SysError> {
        socket::local_addr(self.socket(id)?)
    }

    fn peer_addr(&self, id: SockId) -> Result<Address, SysError> {
        socket::peer_addr(self.socket(id)?)
    }

    fn set_peer(&mut self, id: SockId, to: &Address) -> Result<(), SysError> {
        self.usable(Op::Connect)?;
        let dead = SysError { op: Op::Connect, errno: libc::EBADF };
        let sock = self.sockets.get_mut(id.0).ok_or(dead)?;
        if sock.role != Role::Datagram {
            return Err(SysError::unsupported(Op::Connect));
        }
        self.io.counters.syscalls += 2;
        let old = socket::peer_addr(&sock.fd).ok();
        socket::connect_packets(&sock.fd, to)?;
        sock.queue.connected(to, old);
        self.io.mark(sock);
        Ok(())
    }

    fn peer_credentials(&self, id: SockId) -> Result<Credentials, SysError> {
        socket::peer_credentials(self.socket(id)?)
    }

    fn bound_file(&self, id: SockId) -> Result<socket::BoundFile, SysError> {
        socket::BoundFile::of(self.socket(id)?)
    }

    fn set_option(&mut self, id: SockId, option: &SockOption) -> Result<(), SysError> {
        socket::set_option(self.socket(id)?, option).map_err(|err| SysError::new(Op::Option, &err))
    }

    fn poll(&mut self, wait: Wait, out: &mut EventQueue) -> Result<(), SysError> {
        self.usable(Op::Wait)?;
        let mut early = self.early.take().unwrap_or_default();
        let events_max = self.io.config.events_max.max(1) as usize;
        let result = self.turn(wait, &mut Batch::new(out, &mut early, events_max));
        self.early = Some(early);
        result
    }

    fn waker(&self) -> UringWaker {
        self.waker.clone()
    }
}

impl UringReactor {
    fn turn(&mut self, wait: Wait, out: &mut Batch<'_>) -> Result<(), SysError> {
        self.woken = false;
        let looks = wait.only_looks(|| self.io.now());
        loop {
            self.prepare(out);
            // What a call has sent meanwhile completes nothing, and is to be told.
            let idle = out.is_empty() && self.io.reporting.is_empty() && !self.has_work();
            let sleep = match idle {
                _ if looks => Sleep::Look,
                true => self.sleep(wait),
                false => Sleep::No,
            };
            self.enter(sleep)?;
            // What fills every poll may not keep those in line waiting for ever: they are first in every other one.
            let line_first = std::mem::take(&mut self.io.crowd.passed_over);
            if line_first {
                self.read_in_turn(looks, out);
            }
            let completions = self.drain(out);
            self.end_quiet_sends();
            if looks || !line_first {
                self.read_in_turn(looks, out);
                self.io.crowd.passed_over &= !line_first;
            }
            let happened = !out.is_empty() || !self.io.reporting.is_empty();
            if happened || looks || self.is_over(wait, completions) {
                break;
            }
        }
        self.report_sent(out);
        Ok(())
    }

    /// Whether a wait that brought no event ends: its time has come, or a signal cut it short.
    fn is_over(&self, wait: Wait, completions: usize) -> bool {
        let now = self.io.now();
        let ran_out = matches!(wait, Wait::Until(at) if now >= at);
        let timer_due = self.io.next_timer().is_some_and(|at| at <= now);
        ran_out || (completions == 0 && !timer_due)
    }
}

fn is_local(fd: &Socket) -> bool {
    fd.domain().is_ok_and(|domain| domain == socket2::Domain::UNIX)
}

impl fmt::Debug for UringReactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringReactor")
            .field("sockets", &self.sockets.len())
            .field("in_flight", &self.io.in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
