//! What all sockets of a reactor share: ring, buffers, timers, lists of who needs attention.
//!
//! Invariant: `in_flight` is the sum over all sockets, plus the reactor's own operations. Whoever
//! changes what a socket wants marks it; [`crate::reactor`] settles the marked ones when a poll
//! begins, so that all of a batch goes out with one enter.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use netproc_core::{
    pool::{Pool, SharedSlot},
    reactor::{Config, Counters, Op, SysError, Tick},
    reserve::Reserve,
    slots::Key,
    socket::Burst,
};

use crate::{
    buffers::BufferGroup,
    crowd::Crowd,
    packets::{HEADER_LEN, PacketHeader},
    probe::Features,
    quiet::QuietSends,
    ring::Ring,
    sock::Sock,
    sqe::Sqe,
};

const STREAM_GROUP: u16 = 0;
const PACKET_GROUP: u16 = 1;
const PIPE_GROUP: u16 = 2;
/// Slots of the pipes' group at most: a line takes a whole one, as long as somebody keeps it. What none was read
/// into takes no memory.
const PIPE_SLOTS: u16 = 256;

/// The groups of buffers, by who receives into them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    Streams,
    /// Packets and records.
    Packets,
    /// Pipes and terminals.
    Pipes,
}

/// How long an operation waits that the kernel had no room for.
const ROOM_RETRY: Duration = Duration::from_millis(1);
/// Whose timer is for all operations that wait for room; no socket has this key.
pub(crate) const NOBODY: Key = Key::new(0, 0);

/// What a timer of a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Alarm {
    /// A flushing close has had its time.
    Deadline,
    /// A resting listener or a connect that found no room tries again.
    Retry,
}

/// When a timer of a socket rings, if it is set: in half the room of an [`Option`], since every idle connection has
/// them. None is ever set for the end of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due(Tick);

impl Default for Due {
    fn default() -> Self {
        Self(Tick(u64::MAX))
    }
}

impl Due {
    pub(crate) fn get(self) -> Option<Tick> {
        Some(self.0).filter(|at| at.0 < u64::MAX)
    }

    /// Sets it to `at`; returns what it was.
    pub(crate) fn replace(&mut self, at: Option<Tick>) -> Option<Tick> {
        std::mem::replace(self, at.map_or_else(Self::default, Self)).get()
    }
}

/// The second group of buffers, made with the first packet socket.
pub(crate) struct Packets {
    pub(crate) group: BufferGroup,
    pub(crate) narrow: PacketHeader,
    pub(crate) wide: PacketHeader,
}

impl Packets {
    /// The template for a socket that speaks UDP or does not.
    pub(crate) fn header(&self, udp: bool) -> &PacketHeader {
        if udp { &self.wide } else { &self.narrow }
    }
}

/// See the head of this file. The ring goes before the buffers: fields drop in order.
pub(crate) struct Io {
    pub(crate) ring: Ring,
    pub(crate) streams: BufferGroup,
    pub(crate) packets: Option<Packets>,
    pub(crate) pipes: Option<BufferGroup>,
    /// Whether either of those is there, which is one look for each poll of who has streams only.
    pub(crate) has_later: bool,
    /// What calls of our own read into.
    pub(crate) reading: SharedSlot,
    pub(crate) config: Config,
    /// Sockets whose wants may differ from what the kernel is doing, each once, or those that were there.
    pub(crate) marked: Vec<u32>,
    /// Listeners that wait for a descriptor to come free, each once.
    pub(crate) resting: Vec<Key>,
    pub(crate) quiet: QuietSends,
    /// Whether a receive from a local stream that goes on never misses the end.
    pub(crate) local_ends: bool,
    pub(crate) crowd: Crowd,
    /// Watched sockets that sent something in this poll.
    pub(crate) reporting: Vec<Key>,
    /// Places of the sockets that have an operation the kernel had no room for; a timer marks them again.
    pub(crate) postponed: Vec<u32>,
    pub(crate) timers: BTreeSet<(Tick, Key, Alarm)>,
    pub(crate) in_flight: u64,
    /// Those of them that are the reactor's own: always a poll for wakes, sometimes a time, or a poll for the
    /// crowd.
    own: u64,
    pub(crate) counters: Counters,
    pub(crate) reserve: Reserve,
    /// Sends packets of UDP.
    pub(crate) burst: Burst,
    /// Why the ring is unusable, once it is.
    pub(crate) broken: Option<SysError>,
    epoch: Instant,
}

impl Io {
    pub(crate) fn new(
        ring: Ring,
        streams: BufferGroup,
        features: Features,
        config: Config,
    ) -> Self {
        Self {
            ring,
            reading: SharedSlot::for_streams(streams.pool().clone()),
            streams,
            packets: None,
            pipes: None,
            has_later: false,
            config,
            marked: Vec::new(),
            resting: Vec::new(),
            quiet: QuietSends::new(features.quiet()),
            local_ends: features.local_ends(),
            crowd: Crowd::default(),
            reporting: Vec::new(),
            postponed: Vec::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            own: 0,
            counters: Counters::default(),
            reserve: Reserve::new(config.reserve_descriptor),
            burst: Burst::default(),
            broken: None,
            epoch: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(0).after(self.epoch.elapsed())
    }

    /// Queues one operation and counts it. If there is no room its socket is settled again in a while, and is to
    /// be left as though nobody had tried.
    #[inline]
    pub(crate) fn submit(&mut self, sqe: &Sqe) -> bool {
        // A copy for the rare case, or the entry could not be written straight to its place.
        let pushed = self.ring.try_push(sqe) || self.submit_into_full(&sqe.clone());
        self.in_flight += u64::from(pushed);
        pushed
    }

    #[cold]
    fn submit_into_full(&mut self, sqe: &Sqe) -> bool {
        // Where one found no room others would find none, each after as long.
        if self.postponed.is_empty() {
            match self.ring.push(sqe) {
                Ok(true) => return true,
                Ok(false) => {
                    let at = self.now().after(ROOM_RETRY);
                    self.timers.insert((at, NOBODY, Alarm::Retry));
                }
                Err(err) => {
                    self.broken.get_or_insert_with(|| SysError::new(Op::Wait, &err));
                    return false;
                }
            }
        }
        self.postponed.push(sqe.token().index());
        false
    }

    /// Queues one operation of the reactor's own.
    pub(crate) fn submit_own(&mut self, sqe: &Sqe) -> bool {
        let pushed = self.submit(sqe);
        self.own += u64::from(pushed);
        pushed
    }

    /// Counts `count` operations out, the reactor's `own` or a socket's.
    #[inline]
    pub(crate) fn ended(&mut self, count: u64, own: bool) {
        debug_assert!(self.in_flight >= count || cfg!(test), "every operation was counted in");
        self.in_flight = self.in_flight.wrapping_sub(count);
        if own {
            self.own = self.own.saturating_sub(count);
        }
    }

    /// Puts `sock` on the list of those to settle, since anything of it may have changed.
    #[inline]
    pub(crate) fn mark(&mut self, sock: &mut Sock) {
        sock.steady = false;
        self.list(sock);
    }

    /// The same for one of which nothing has changed but what is queued.
    #[inline]
    pub(crate) fn list(&mut self, sock: &mut Sock) {
        if !sock.marked {
            sock.marked = true;
            let index = sock.key.index;
            if self.marked.len() < self.marked.capacity() {
                self.marked.push(index);
            } else {
                self.list_one_more(index);
            }
        }
    }

    /// Apart, so that the values of its caller need not get out of the way of a call.
    #[cold]
    fn list_one_more(&mut self, index: u32) {
        self.marked.push(index);
    }

    /// A group of buffers; that for streams stands in for one that was never made.
    pub(crate) fn group(&mut self, which: Group) -> &mut BufferGroup {
        let own = match which {
            Group::Streams => None,
            Group::Packets => self.packets.as_mut().map(|own| &mut own.group),
            Group::Pipes => self.pipes.as_mut(),
        };
        own.unwrap_or(&mut self.streams)
    }

    /// The groups made when they were first needed.
    pub(crate) fn later_groups(&mut self) -> impl Iterator<Item = &mut BufferGroup> {
        self.packets.as_mut().map(|own| &mut own.group).into_iter().chain(&mut self.pipes)
    }

    /// Whether somebody may wait for a slot that is not free yet.
    pub(crate) fn is_short(&mut self) -> bool {
        self.streams.is_short() || self.has_later && self.later_groups().any(|it| it.is_short())
    }

    /// Makes the buffers for packets and records, if they are not there yet.
    ///
    /// # Errors
    ///
    /// There is no memory for them, or the kernel refuses the ring.
    pub(crate) fn need_packets(&mut self) -> Result<(), SysError> {
        if self.packets.is_some() {
            return Ok(());
        }
        let no_memory = SysError { op: Op::Open, errno: libc::ENOMEM };
        let len = self.config.packet_len.checked_add(HEADER_LEN).ok_or(no_memory)?;
        let pool = Pool::new(self.config.packet_slots, len).map_err(|_| no_memory)?;
        let group = BufferGroup::register(&self.ring, PACKET_GROUP, pool, false);
        let group = group.map_err(|err| SysError::new(Op::Open, &err))?;
        let (narrow, wide) = (PacketHeader::narrow(), PacketHeader::wide());
        self.packets = Some(Packets { group, narrow, wide });
        self.has_later = true;
        Ok(())
    }

    /// Makes the buffers for pipes and terminals, if they are not there yet: whole ones in any case. Of the end of
    /// a pipe, kernels before 7.0 say that they are done with a slot they go on filling in parts, and of some reads
    /// that are done with it, in the same words; of whole slots it is always true.
    ///
    /// # Errors
    ///
    /// There is no memory for them, or the kernel refuses the ring.
    pub(crate) fn need_pipes(&mut self) -> Result<(), SysError> {
        if self.pipes.is_some() {
            return Ok(());
        }
        let no_memory = SysError { op: Op::Open, errno: libc::ENOMEM };
        let slots = self.config.slots.min(PIPE_SLOTS);
        let pool = Pool::new(slots, self.config.slot_len).map_err(|_| no_memory)?;
        let group = BufferGroup::register(&self.ring, PIPE_GROUP, pool, false);
        self.pipes = Some(group.map_err(|err| SysError::new(Op::Open, &err))?);
        self.has_later = true;
        Ok(())
    }

    /// Makes the buffers for streams.
    pub(crate) fn stream_group(
        ring: &Ring,
        pool: Pool,
        incremental: bool,
    ) -> std::io::Result<BufferGroup> {
        BufferGroup::register(ring, STREAM_GROUP, pool, incremental)
    }

    pub(crate) fn groups(&mut self) -> impl Iterator<Item = &mut BufferGroup> {
        let packets = self.packets.as_mut().map(|own| &mut own.group);
        std::iter::once(&mut self.streams).chain(packets).chain(&mut self.pipes)
    }

    /// Sets the timer of `sock` for `alarm` to `at`, in place of any before.
    pub(crate) fn set_timer(&mut self, sock: &mut Sock, alarm: Alarm, at: Option<Tick>) {
        // Nobody waits for the end of time.
        let at = at.filter(|at| at.0 < u64::MAX);
        let place = match alarm {
            Alarm::Deadline => &mut sock.deadline,
            Alarm::Retry => &mut sock.retry,
        };
        if let Some(old) = place.replace(at) {
            self.timers.remove(&(old, sock.key, alarm));
        }
        if let Some(at) = at {
            self.timers.insert((at, sock.key, alarm));
        }
    }

    /// Sets the timer of `sock` for `alarm` to `span` from now.
    pub(crate) fn set_timer_in(&mut self, sock: &mut Sock, alarm: Alarm, span: Duration) {
        let at = self.now().after(span);
        self.set_timer(sock, alarm, Some(at));
    }

    /// The earliest timer.
    pub(crate) fn next_timer(&self) -> Option<Tick> {
        self.timers.first().map(|(at, _, _)| *at)
    }

    /// Everything counted, here, in the ring and in the pools.
    pub(crate) fn counters(&self) -> Counters {
        let packets = self.packets.as_ref().map(|own| own.group.pool());
        let pipes = self.pipes.as_ref().map(BufferGroup::pool);
        let pools = || std::iter::once(self.streams.pool()).chain(packets).chain(pipes);
        Counters {
            waits: self.ring.counters.waits,
            syscalls: self.counters.syscalls + self.ring.counters.enters,
            overflows: self.ring.counters.overflows,
            in_flight: self.in_flight - self.own,
            spilled: pools().map(Pool::spilled).sum(),
            slots_held: pools().map(|pool| u64::from(pool.guarded())).sum(),
            ..self.counters
        }
    }
}
