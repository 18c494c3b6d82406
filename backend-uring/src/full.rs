//! Packets whose receiver has no room: who waits, for how long, and who passes them meanwhile.
//!
//! Invariant: packets for one destination keep their order, since all of them move behind the rest at once, and
//! nothing moves while the kernel has the first. Whoever was found full is not asked again before a time that is
//! common to all; what is for others passes what is for them, whenever it was queued.

use std::time::Duration;

use netproc_core::{
    address::{Address, Family},
    outbox::Queue,
};

use crate::{
    io::{Alarm, Io},
    sock::{Output, Sock},
    sqe,
    token::OpKind,
};

/// How long a local packet that found its receiver's queue full waits.
const PACKET_RETRY: Duration = Duration::from_millis(20);

/// Local peers who had no room.
#[derive(Debug, Default)]
pub(crate) struct Full {
    peers: Vec<Option<Address>>,
    /// How many packets were queued when all of them were for those.
    packets: usize,
}

impl Sock {
    /// Waits for room: with the kernel where it can tell, else by time. A local packet socket always
    /// has room itself; it is one peer's queue that is full, and packets for others go first. Of a peer
    /// it is connected to the kernel tells, and of no other.
    pub(crate) fn await_room(&mut self, io: &mut Io) {
        if let Queue::Packets(packets) = &self.queue
            && packets.destination().is_some_and(|to| to.family() == Family::Local)
        {
            let to = packets.front().and_then(|first| first.to.clone());
            self.full.get_or_insert_default().peers.push(to);
            if self.retry.is_none() {
                io.set_timer_in(self, Alarm::Retry, PACKET_RETRY);
            }
            return self.pass_full();
        }
        let sqe = sqe::poll_out(self.raw(), self.token(OpKind::Writable));
        if self.submit(io, &sqe) {
            self.output = Output::Polling;
        }
    }

    /// Brings a packet to the front whose receiver is not known to be full. If there is none, all wait.
    pub(crate) fn pass_full(&mut self) {
        let (Some(full), Queue::Packets(packets)) = (&mut self.full, &mut self.queue) else {
            return;
        };
        // Once each, and all that is for them is behind what is for others.
        for _ in 0..=full.peers.len() {
            if packets.front().is_none_or(|first| !full.peers.contains(&first.to)) {
                return;
            }
            packets.defer_front();
        }
        full.packets = packets.len();
        self.output = Output::Waiting;
    }

    /// Whether something was queued since all waited, which may be for somebody else.
    pub(crate) fn look_past_full(&mut self) {
        let queued = self.queue.packets();
        if self.output == Output::Waiting
            && self.full.as_ref().is_none_or(|full| queued > full.packets)
        {
            self.output = Output::Idle;
        }
    }

    /// Everybody may be asked again.
    pub(crate) fn forget_full(&mut self) {
        self.full = None;
        if self.output == Output::Waiting {
            self.output = Output::Idle;
        }
    }
}
