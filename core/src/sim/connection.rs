//! A connection's turn: connect, write, finish, read, drain, end.
//!
//! Invariant: at most one write is in flight, and its payloads stay queued until it is reported
//! done; the sending side is shut down only when nothing is queued; `Flush` reads the input away
//! before it closes. What the bytes do on their way is `wire.rs`'s affair.

use std::io::IoSlice;

use crate::{
    address::Address,
    outbox::{Outbox, Packet, Packets},
    reactor::{Event, Kind, Op, Payload, SysError},
    sim::{
        faults::Canary,
        host::{Batch, Host},
        names::{Holder, Space},
        sock::{Closing, Common},
        wire::{Ready, Refusal},
    },
    slots::Key,
};

/// Payloads one write gathers, as the backends gather.
const GATHER_MAX: usize = 16;
/// Turns after which a doomed connection is cut, at most.
const DOOM_TURNS_MAX: u64 = 200;

/// How a connect will end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// As whoever listens there decides.
    Try,
    Fails(i32),
}

#[derive(Debug)]
enum Link {
    /// Asked at `due`; `local` is claimed for it.
    Connecting {
        due: u64,
        fate: Fate,
        local: Address,
        to: Address,
    },
    Open(Key),
    Gone,
}

/// A write the kernel has taken and not yet reported.
#[derive(Clone, Copy, Debug)]
struct Flight {
    due: u64,
    len: usize,
}

/// What waits to be sent: bytes that may be cut anywhere, or records that may not.
#[derive(Debug)]
enum Out {
    Bytes(Outbox),
    Records(Packets),
}

impl Out {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::SeqPacket => Self::Records(Packets::default()),
            Kind::Stream | Kind::Datagram => Self::Bytes(Outbox::default()),
        }
    }

    fn push(&mut self, payload: Payload) {
        match self {
            Self::Bytes(outbox) => outbox.push(payload),
            Self::Records(packets) => packets.push(Packet { payload, to: None }),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(outbox) => outbox.bytes(),
            Self::Records(packets) => packets.bytes(),
        }
    }

    fn packets(&self) -> usize {
        match self {
            Self::Bytes(_) => 0,
            Self::Records(packets) => packets.len(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(outbox) => outbox.is_empty(),
            Self::Records(packets) => packets.is_empty(),
        }
    }

    /// Appends what one write takes: a few payloads, or one record.
    fn gather<'a>(&'a self, chunks: &mut Vec<IoSlice<'a>>) {
        match self {
            Self::Bytes(outbox) => outbox.gather(chunks, GATHER_MAX),
            Self::Records(packets) => {
                chunks
                    .extend(packets.front().map(|packet| IoSlice::new(packet.payload.as_slice())));
            }
        }
    }

    /// Forgets `len` bytes of a stream, or the first record.
    fn advance(&mut self, len: usize) {
        match self {
            Self::Bytes(outbox) => outbox.advance(len),
            Self::Records(packets) => drop(packets.pop()),
        }
    }

    fn clear(&mut self) -> u64 {
        match self {
            Self::Bytes(outbox) => outbox.clear(),
            Self::Records(packets) => packets.clear(),
        }
    }
}

/// What only a connection has.
#[derive(Debug)]
pub(super) struct Connection {
    link: Link,
    kind: Kind,
    out: Out,
    flight: Option<Flight>,
    /// Whether `finish` was called: nothing more is queued.
    finished: bool,
    /// Whether the sending side is shut down.
    shut: bool,
    eof: bool,
    /// Why nothing can be sent any more: what has arrived is read first, then comes the end.
    failed: Option<SysError>,
    /// Bytes queued that will never be sent.
    lost: u64,
    /// Turns left until something between the ends cuts the connection.
    doom: Option<u64>,
}

impl Connection {
    fn new(link: Link, kind: Kind) -> Self {
        Self {
            link,
            kind,
            out: Out::new(kind),
            flight: None,
            finished: false,
            shut: false,
            eof: false,
            failed: None,
            lost: 0,
            doom: None,
        }
    }

    pub(super) fn connecting(
        kind: Kind,
        due: u64,
        fate: Fate,
        local: Address,
        to: Address,
    ) -> Self {
        Self::new(Link::Connecting { due, fate, local, to }, kind)
    }

    pub(super) fn accepted(kind: Kind, fd: Key) -> Self {
        Self::new(Link::Open(fd), kind)
    }

    pub(super) fn queued(&self) -> u64 {
        self.out.bytes()
    }

    /// The same with those that will never be sent.
    pub(super) fn unsent(&self) -> u64 {
        self.lost + self.out.bytes()
    }

    pub(super) fn queued_packets(&self) -> usize {
        self.out.packets()
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        self.flight.is_some()
    }

    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting { .. })
    }

    pub(super) fn local<'a>(&'a self, host: &'a Host) -> Option<&'a Address> {
        match &self.link {
            Link::Connecting { local, .. } => Some(local),
            Link::Open(fd) => host.wire.local(*fd),
            Link::Gone => None,
        }
    }

    pub(super) fn peer<'a>(&self, host: &'a Host) -> Option<&'a Address> {
        match self.link {
            Link::Open(fd) => host.wire.live_remote(fd, host.now),
            Link::Connecting { .. } | Link::Gone => None,
        }
    }

    /// Queues `data` unless nothing more may be sent; returns what waits.
    pub(super) fn send(&mut self, data: Payload, common: &Common) -> u64 {
        if !self.finished && common.closing.is_none() {
            if self.failed.is_some() {
                self.lost += data.len() as u64;
            } else {
                self.out.push(data);
            }
        }
        self.queued()
    }

    /// Why nothing can be sent any more and how much was lost by that, while it is not over.
    pub(super) fn send_failure(&self) -> Option<(SysError, u64)> {
        self.failed.map(|err| (err, self.lost))
    }

    pub(super) const fn finish(&mut self) {
        self.finished = true;
    }

    /// Moves whatever can be moved; returns whether anything was.
    pub(super) fn turn(
        &mut self,
        common: &mut Common,
        host: &mut Host,
        out: &mut Batch<'_>,
    ) -> bool {
        let mut moved = self.complete(common, host);
        if common.ended.is_some() {
            return moved;
        }
        // Nobody would miss a connection that brings nothing.
        let unborn = self.is_connecting() && self.out.is_empty() && common.closing.is_some();
        if unborn || common.must_end(host.now) {
            self.end(None, common, host);
            return true;
        }
        let fd = match self.link {
            Link::Open(fd) => fd,
            Link::Connecting { .. } => return self.connect(common, host, out) || moved,
            Link::Gone => return moved,
        };
        moved |= self.meet_doom(fd, host);
        let write_first = host.chaos.rng.percent(50);
        for write in [write_first, !write_first] {
            let result = if write {
                self.write(fd, common, host, out).map_err(|errno| (Op::Send, errno))
            } else {
                self.read(fd, common, host, out).map_err(|errno| (Op::Recv, errno))
            };
            match result {
                Ok(step) => moved |= step,
                Err((Op::Send, errno)) if !self.eof && common.closing.is_none() => {
                    self.failed = Some(SysError { op: Op::Send, errno });
                    self.lost += self.out.clear();
                    common.lost_output();
                    moved = true;
                }
                Err(cause) => {
                    self.end(Some(cause), common, host);
                    return true;
                }
            }
        }
        if let Some(SysError { op, errno }) = self.failed
            && (common.closing.is_some() || common.wants_input() && self.is_read(fd, host))
        {
            self.end(Some((op, errno)), common, host);
            return true;
        }
        // No read brings an error any more.
        if self.eof
            && common.closing.is_none()
            && let Some(errno) = host.wire.broken(fd, host.now)
        {
            self.end(Some((Op::Recv, errno)), common, host);
            return true;
        }
        if matches!(common.closing, Some(Closing::Flush { .. })) {
            moved |= self.drain(fd, common, host);
        }
        moved
    }

    /// Asks whoever listens; `Connected` or an end follows.
    fn connect(&mut self, common: &mut Common, host: &mut Host, out: &mut Batch<'_>) -> bool {
        let Link::Connecting { due, fate, local, to } = &self.link else { return false };
        if *due > host.now {
            return false;
        }
        let result = match fate {
            Fate::Try => {
                let Host { names, wire, chaos, now, .. } = host;
                wire.connect(names, self.kind, local, to, *now, chaos)
            }
            Fate::Fails(errno) => Err(Refusal::Errno(*errno)),
        };
        match result {
            Ok(fd) => {
                self.link = Link::Open(fd);
                if host.chaos.strikes(|faults| faults.reset) {
                    self.doom = Some(host.chaos.rng.between(0, DOOM_TURNS_MAX));
                }
                if common.closing.is_none() {
                    host.tell(out, Event::Connected { id: common.id });
                }
                true
            }
            // The next accept makes room; until then the caller waits in the kernel.
            Err(Refusal::Full) => false,
            Err(Refusal::Errno(errno)) => {
                self.end(Some((Op::Connect, errno)), common, host);
                true
            }
        }
    }

    /// Whether nothing is left to read but perhaps an end.
    fn is_read(&self, fd: Key, host: &Host) -> bool {
        self.eof || !matches!(host.wire.ready(fd, host.now), Ready::Bytes(_))
    }

    fn meet_doom(&mut self, fd: Key, host: &mut Host) -> bool {
        match self.doom {
            // Faults that were switched off strike no more.
            Some(_) if host.chaos.faults.reset == 0 => self.doom = None,
            Some(0) => {
                self.doom = None;
                host.wire.cut(fd, host.now, &mut host.chaos);
                return true;
            }
            Some(turns) => self.doom = Some(turns - 1),
            None => {}
        }
        false
    }

    /// Takes the report of a write that is done.
    fn complete(&mut self, common: &mut Common, host: &mut Host) -> bool {
        let Some(Flight { due, len }) = self.flight else { return false };
        if due > host.now {
            return false;
        }
        self.flight = None;
        self.out.advance(len);
        common.took_output(len as u64, host);
        true
    }

    fn write(
        &mut self,
        fd: Key,
        common: &mut Common,
        host: &mut Host,
        out: &mut Batch<'_>,
    ) -> Result<bool, i32> {
        if self.failed.is_some() {
            return Ok(false);
        }
        let hasty = self.finished && host.chaos.plants(Canary::HastyFinish);
        let ending = self.finished || matches!(common.closing, Some(Closing::Flush { .. }));
        if ending && !self.shut && self.flight.is_none() && (self.out.is_empty() || hasty) {
            host.wire.shutdown(fd, host.now, &mut host.chaos);
            host.counters.syscalls += 1;
            self.shut = true;
            return Ok(true);
        }
        if self.out.is_empty() || self.flight.is_some() || out.is_full() {
            return Ok(false);
        }
        let mut chunks: Vec<IoSlice<'_>> = Vec::new();
        self.out.gather(&mut chunks);
        if chunks.len() > 1 && host.chaos.plants(Canary::ReorderedSend) {
            chunks.swap(0, 1);
        }
        let total: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        host.counters.syscalls += 1;
        let len = match host.wire.write(fd, &chunks, host.now, &mut host.chaos) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(false),
            // A record too long for the system is refused alone; the connection goes on.
            Err(libc::EMSGSIZE) => {
                let err = SysError { op: Op::Send, errno: libc::EMSGSIZE };
                host.tell(out, Event::Trouble { id: common.id, err });
                total
            }
            Err(errno) => return Err(errno),
        };
        host.counters.short_sends += u64::from(len < total);
        let late = host.chaos.strikes(|faults| faults.sent_batching);
        let due = host.now + if late { host.chaos.rng.between(1, 50_000) } else { 0 };
        self.flight = Some(Flight { due, len });
        self.complete(common, host);
        Ok(true)
    }

    /// Delivers input, a few reads at most.
    fn read(
        &mut self,
        fd: Key,
        common: &mut Common,
        host: &mut Host,
        out: &mut Batch<'_>,
    ) -> Result<bool, i32> {
        let mut moved = false;
        for _ in 0..host.chaos.rng.between(1, u64::from(host.config.reads_per_turn)) {
            if self.eof || common.starved || out.is_full() || !common.wants_input() {
                break;
            }
            match host.wire.ready(fd, host.now) {
                Ready::Nothing => break,
                // The first cause counts.
                Ready::Failed(_) | Ready::Eof if self.failed.is_some() => break,
                Ready::Failed(errno) => return Err(errno),
                Ready::Eof => {
                    self.eof = true;
                    common.took_input();
                    host.tell(out, Event::Eof { id: common.id });
                }
                Ready::Bytes(len) => {
                    host.counters.syscalls += 1;
                    if !self.deliver(fd, len, common, host, out) {
                        return Ok(true);
                    }
                }
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Reads once into a slot and reports it; without a slot the socket queues for one.
    fn deliver(
        &self,
        fd: Key,
        len: usize,
        common: &mut Common,
        host: &mut Host,
        out: &mut Batch<'_>,
    ) -> bool {
        let record = self.kind == Kind::SeqPacket;
        let Host { wire, chaos, streams, packets, now, .. } = host;
        let denied = chaos.strikes(|faults| faults.enobufs_recv);
        let filled = if denied {
            None
        } else if record {
            packets.whole().and_then(|mut slot| {
                slot.fill(len, |room| Ok::<_, ()>(wire.read_record(fd, room))).ok()
            })
        } else {
            let most = chaos.part(len, |faults| faults.short_recv);
            streams.begun(chaos).and_then(|slot| {
                slot.fill(most, |room| Ok::<_, ()>(wire.read(fd, *now, room))).ok()
            })
        };
        let Some(buf) = filled else {
            host.starve(record, common);
            return false;
        };
        common.took_input();
        host.counters.received += buf.len() as u64;
        let lost = if record { len - buf.len() } else { 0 };
        host.tell_data(out, common.id, buf, u32::try_from(lost).unwrap_or(u32::MAX), record);
        true
    }

    /// Reads the input away once everything is sent, and ends when the peer has.
    fn drain(&mut self, fd: Key, common: &mut Common, host: &mut Host) -> bool {
        if self.shut && host.chaos.plants(Canary::HastyFlush) {
            self.end(None, common, host);
            return true;
        }
        if !self.eof {
            match host.wire.discard(fd, host.now) {
                Ready::Eof => self.eof = true,
                Ready::Failed(errno) => {
                    self.end(Some((Op::Recv, errno)), common, host);
                    return true;
                }
                Ready::Nothing | Ready::Bytes(_) => {}
            }
        }
        let over = self.eof && self.shut;
        if over {
            self.end(None, common, host);
        }
        over
    }

    /// Closes the descriptor; what is in flight is still reported.
    fn end(&mut self, cause: Option<(Op, i32)>, common: &mut Common, host: &mut Host) {
        match std::mem::replace(&mut self.link, Link::Gone) {
            Link::Open(fd) => {
                let asked = common.closing == Some(Closing::Reset) || common.linger_zero;
                let reset = asked && host.wire.can_reset(fd);
                let Host { names, wire, chaos, now, .. } = host;
                wire.close(names, fd, *now, chaos, reset);
            }
            Link::Connecting { local, .. } => {
                let space = Space::of(self.kind, local.family());
                host.names.release(space, &local, Holder::Caller);
            }
            Link::Gone => {}
        }
        host.freed += 1;
        common.end(cause, host);
    }

    pub(super) fn next_due(&self, host: &Host) -> Option<u64> {
        let link = match &self.link {
            Link::Connecting { due, .. } => Some(*due).filter(|due| *due > host.now),
            Link::Open(fd) => host.wire.next_arrival(*fd, host.now),
            Link::Gone => None,
        };
        let flight = self.flight.map(|flight| flight.due).filter(|due| *due > host.now);
        [link, flight].into_iter().flatten().min()
    }

    /// Throws away what the kernel never took and returns how much that was.
    pub(super) fn abandon(&mut self) -> u64 {
        self.lost + self.out.clear()
    }
}
