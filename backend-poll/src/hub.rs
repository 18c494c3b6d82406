//! What all sockets share: the agenda, the receive memory, the counters; and one poll's batch.
//!
//! Invariant: nothing here knows a socket, so a socket and this can be borrowed side by side.

use std::time::{Duration, Instant};

use netproc_core::{
    pool::Buf,
    queue::EventQueue,
    reactor::{Config, Counters, Event, SockId, SysError, Tick},
    reserve::Reserve,
    socket::Burst,
};

use crate::{agenda::Agenda, intake::Intake, sock::Sock};

/// Bytes one read throws away at most, from a socket that is closing.
const SCRATCH_LEN: usize = 64 * 1024;
/// Bytes of streams after which a poll hands out what it has, since soon they are in the nearest caches no
/// more.
const WARM_LEN: u32 = 48 * 1024;

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) agenda: Agenda,
    pub(crate) counters: Counters,
    pub(crate) streams: Intake,
    /// Made with the first socket that receives packets or records.
    packets: Option<Intake>,
    /// Where input goes that nobody wants; made when there is some.
    scratch: Vec<u8>,
    pub(crate) reserve: Reserve,
    /// Sends packets of UDP.
    pub(crate) burst: Burst,
    epoch: Instant,
}

impl Hub {
    pub(crate) fn new(config: Config) -> Result<Self, SysError> {
        Ok(Self {
            streams: Intake::for_streams(config.slots, config.slot_len)?,
            packets: None,
            agenda: Agenda::default(),
            counters: Counters::default(),
            scratch: Vec::new(),
            reserve: Reserve::new(config.reserve_descriptor),
            burst: Burst::default(),
            epoch: Instant::now(),
            config,
        })
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(0).after(self.epoch.elapsed())
    }

    /// The memory for packets and records.
    pub(crate) fn packets(&mut self) -> Result<&mut Intake, SysError> {
        let Config { packet_slots, packet_len, .. } = self.config;
        match &mut self.packets {
            Some(intake) => Ok(intake),
            none => Ok(none.insert(Intake::for_packets(packet_slots, packet_len)?)),
        }
    }

    pub(crate) fn intakes(&self) -> impl Iterator<Item = &Intake> {
        [Some(&self.streams), self.packets.as_ref()].into_iter().flatten()
    }

    pub(crate) fn intakes_mut(&mut self) -> impl Iterator<Item = &mut Intake> {
        [Some(&mut self.streams), self.packets.as_mut()].into_iter().flatten()
    }

    /// Puts a packet into the batch, or behind those that wait for the next.
    pub(crate) fn deliver(&mut self, batch: &mut Batch<'_>, event: Event) {
        if batch.is_full() || !self.agenda.pieces.is_empty() {
            self.agenda.pieces.push(event);
        } else {
            batch.push(event);
        }
    }

    /// Room for input that nobody wants.
    pub(crate) fn scratch(&mut self) -> &mut [u8] {
        self.scratch.resize(SCRATCH_LEN, 0);
        &mut self.scratch
    }

    /// Has the socket try again after `pause`.
    pub(crate) fn retry(&mut self, id: SockId, sock: &mut Sock, pause: Duration) {
        let at = self.now().after(pause);
        sock.retry_at = Some(at);
        self.agenda.at(at, id);
    }

    /// After how many bytes of streams, about, the kernel is asked again who is ready.
    pub(crate) fn bytes_max(&self) -> usize {
        most(self.config.bytes_max)
    }

    /// Accounts for bytes the kernel took.
    #[inline]
    pub(crate) fn note_sent(&mut self, id: SockId, sock: &mut Sock, bytes: usize) {
        self.counters.sent += bytes as u64;
        self.note_gone(id, sock, bytes);
    }

    /// Counts bytes that left the queue, for whoever watches.
    #[inline]
    pub(crate) fn note_gone(&mut self, id: SockId, sock: &mut Sock, bytes: usize) {
        if sock.watched {
            self.note_for_report(id, sock, bytes);
        }
    }

    #[inline(never)]
    fn note_for_report(&mut self, id: SockId, sock: &mut Sock, bytes: usize) {
        sock.sent += bytes as u64;
        self.agenda.sent(id, sock);
    }
}

/// The events of one poll, and how many more there may be.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    queue: &'a mut EventQueue,
    /// How long `queue` was, and how long it may become.
    before: usize,
    len_max: usize,
    /// Bytes of streams there are, and with how many nobody gets a turn any more.
    bytes: usize,
    bytes_max: usize,
}

/// A bound that lets something pass.
fn most(max: u32) -> usize {
    usize::try_from(max.max(1)).unwrap_or(usize::MAX)
}

impl<'a> Batch<'a> {
    pub(crate) fn new(queue: &'a mut EventQueue, config: &Config) -> Self {
        let before = queue.len();
        let len_max = before.saturating_add(most(config.events_max));
        Self { queue, before, len_max, bytes: 0, bytes_max: most(config.bytes_max.min(WARM_LEN)) }
    }

    /// Gives everybody a turn who is ready, whatever those before have brought.
    pub(crate) fn take_all_bytes(&mut self) {
        self.bytes_max = usize::MAX;
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.queue.push(event);
    }

    /// Pushes an [`Event::Data`] of a stream.
    #[inline(always)]
    pub(crate) fn push_data(&mut self, id: SockId, buf: Buf) {
        self.bytes += buf.len();
        self.queue.push_data(id, buf, 0);
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= self.len_max
    }

    /// Bytes of streams there are.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether whoever is ready has to wait for the next poll.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.is_full() || self.bytes >= self.bytes_max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.len() == self.before
    }
}
