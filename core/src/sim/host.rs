//! The host a simulation runs on: kernel, clock, chance, receive memory and accounts in one place,
//! so that a socket takes its turn with two borrows, itself and this.
//!
//! Invariant: every event goes through [`Host::tell`], which enters it into the trace. Slots are
//! taken for one `poll` at most; those that wait for one are served in the order they came.

use std::collections::VecDeque;

use crate::{
    pool::{Buf, Pool, Slot},
    queue::EventQueue,
    reactor::{Config, Counters, Event, SockId},
    sim::{
        faults::{Canary, Chaos},
        names::Names,
        ports::Ports,
        sock::Common,
        trace::Trace,
        wire::Wire,
    },
    slots::Key,
};

/// The events of one `poll`: as many as one batch may have, and no more.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    queue: &'a mut EventQueue,
    start: usize,
    full: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(queue: &'a mut EventQueue, events_max: u32) -> Self {
        let start = queue.len();
        let room = usize::try_from(events_max.max(1)).unwrap_or(usize::MAX);
        Self { queue, start, full: start.saturating_add(room) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.len() == self.start
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= self.full
    }
}

/// A pool and those who wait for it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) pool: Pool,
    /// A slot with room left, filled by several reads of one `poll`.
    current: Option<Slot>,
    pub(super) starved: VecDeque<Key>,
}

impl Memory {
    pub(super) const fn new(pool: Pool) -> Self {
        Self { pool, current: None, starved: VecDeque::new() }
    }

    /// A slot to read a stream into: the one begun, sometimes, or another.
    pub(super) fn begun(&mut self, chaos: &mut Chaos) -> Option<&mut Slot> {
        if let Some(slot) = &mut self.current
            && (slot.room() == 0 || chaos.rng.percent(25))
            && !slot.rewind()
        {
            self.current = None;
        }
        if self.current.is_none() {
            self.current = self.pool.take();
        }
        self.current.as_mut()
    }

    /// A whole slot, for something that must not be split.
    pub(super) fn whole(&mut self) -> Option<Slot> {
        self.rest();
        self.pool.take()
    }

    pub(super) fn rest(&mut self) {
        self.current = None;
    }

    pub(super) fn has_room(&self) -> bool {
        self.pool.free() > 0
    }
}

/// Everything of a simulation but its sockets.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) names: Names,
    pub(super) wire: Wire,
    pub(super) ports: Ports,
    pub(super) chaos: Chaos,
    pub(super) now: u64,
    pub(super) streams: Memory,
    pub(super) packets: Memory,
    pub(super) config: Config,
    pub(super) counters: Counters,
    pub(super) trace: Trace,
    /// Descriptors closed so far: a listener out of descriptors rests until this grows.
    pub(super) freed: u64,
    /// What a planted leak holds on to.
    pub(super) leaked: Vec<Buf>,
}

impl Host {
    /// Reports one event.
    pub(super) fn tell(&mut self, out: &mut Batch<'_>, event: Event) {
        self.trace.event(self.now, &event);
        out.queue.push(event);
    }

    /// The memory of streams, or that of packets and records.
    pub(super) const fn memory(&mut self, whole: bool) -> &mut Memory {
        if whole { &mut self.packets } else { &mut self.streams }
    }

    /// Queues a socket for a slot; it is served again when one comes free.
    pub(super) fn starve(&mut self, whole: bool, common: &mut Common) {
        self.counters.starved += 1;
        common.starved = true;
        self.memory(whole).starved.push_back(common.id.0);
    }

    /// Reports input of a connection, with whatever breach is planted there.
    pub(super) fn tell_data(
        &mut self,
        out: &mut Batch<'_>,
        id: SockId,
        buf: Buf,
        lost: u32,
        record: bool,
    ) {
        self.leak_if_planted(&buf);
        if self.chaos.plants(Canary::DoubledData) && self.chaos.rng.percent(2) {
            self.tell(out, Event::Data { id, buf: buf.clone(), lost });
        }
        if record && buf.len() > 1 && self.chaos.plants(Canary::SplitRecord) {
            let half = buf.len() / 2;
            self.tell(out, Event::Data { id, buf: buf.slice(0..half), lost: 0 });
            self.tell(out, Event::Data { id, buf: buf.slice(half..buf.len()), lost });
        } else {
            self.tell(out, Event::Data { id, buf, lost });
        }
    }

    pub(super) fn leak_if_planted(&mut self, buf: &Buf) {
        if self.chaos.plants(Canary::SlotLeak) && self.leaked.is_empty() {
            self.leaked.push(buf.clone());
        }
    }
}
