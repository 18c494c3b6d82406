//! A packet socket's turn: sends what is queued, reports troubles and packets.
//!
//! Invariant: packets leave in the order they were queued; a refused one is told as `Trouble` and
//! counts as dealt with, or the bytes told as sent would never add up. Loss, doubles and reordering
//! are `ports.rs`'s affair.

use crate::{
    address::Address,
    outbox::{Packet, Packets},
    reactor::{Event, Op, Payload, SysError},
    sim::{
        faults::Canary,
        host::{Batch, Host},
        ports::Posted,
        sock::{Closing, Common},
    },
    slots::Key,
};

/// Packets one turn moves in each direction, at most.
const BATCH_MAX: usize = 16;

/// What only a packet socket has.
#[derive(Debug)]
pub(super) struct PacketSocket {
    pub(super) fd: Key,
    packets: Packets,
    finished: bool,
}

impl PacketSocket {
    pub(super) fn new(fd: Key) -> Self {
        Self { fd, packets: Packets::default(), finished: false }
    }

    pub(super) fn queued(&self) -> u64 {
        self.packets.bytes()
    }

    pub(super) fn queued_packets(&self) -> usize {
        self.packets.len()
    }

    /// Queues one packet unless nothing more may be sent; returns what waits.
    pub(super) fn send(&mut self, payload: Payload, to: Option<&Address>, common: &Common) -> u64 {
        if !self.finished && common.closing.is_none() {
            self.packets.push(Packet { payload, to: to.cloned() });
        }
        self.queued()
    }

    /// Connects it to another peer; what is queued still goes to the old one.
    pub(super) fn set_peer(&mut self, to: &Address, host: &mut Host) -> Result<(), SysError> {
        host.counters.syscalls += 1;
        let old = host.ports.peer(self.fd).cloned();
        let connected = host.ports.connect(&mut host.names, self.fd, to);
        connected.map_err(|errno| SysError { op: Op::Connect, errno })?;
        self.packets.connected(to, old);
        Ok(())
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
        if common.ended.is_some() {
            return false;
        }
        if common.must_end(host.now) {
            self.end(common, host);
            return true;
        }
        let mut moved = self.write(common, host, out);
        if matches!(common.closing, Some(Closing::Flush { .. })) && self.packets.is_empty() {
            self.end(common, host);
            return true;
        }
        moved |= self.read(common, host, out);
        moved
    }

    fn write(&mut self, common: &mut Common, host: &mut Host, out: &mut Batch<'_>) -> bool {
        // How many at the end of the queue have found their receiver's full.
        let (mut moved, mut deferred) = (false, 0);
        for _ in 0..BATCH_MAX {
            if deferred == self.packets.len() {
                break;
            }
            let Some(packet) = self.packets.front().filter(|_| !out.is_full()) else { break };
            host.counters.syscalls += 1;
            let Host { names, ports, chaos, now, .. } = host;
            let bytes = packet.payload.as_slice();
            let posted = ports.post(names, self.fd, packet.to.as_ref(), bytes, *now, chaos);
            let len = bytes.len() as u64;
            match posted {
                Posted::Full => {
                    deferred += self.packets.defer_front();
                    continue;
                }
                Posted::Taken => {}
                Posted::Refused(errno) => {
                    let err = SysError { op: Op::Send, errno };
                    host.tell(out, Event::Trouble { id: common.id, err });
                }
            }
            self.packets.pop();
            common.took_output(len, host);
            moved = true;
        }
        moved
    }

    fn read(&self, common: &mut Common, host: &mut Host, out: &mut Batch<'_>) -> bool {
        let mut moved = false;
        for _ in 0..host.chaos.rng.len(BATCH_MAX) {
            if common.starved || out.is_full() || !common.wants_input() {
                break;
            }
            let len = host.ports.ready(self.fd, host.now);
            let spurious = len.is_some() && host.chaos.strikes(|faults| faults.icmp_error);
            let spurious = spurious.then_some(libc::EHOSTUNREACH);
            if let Some(errno) = host.ports.take_trouble(self.fd).or(spurious) {
                let err = SysError { op: Op::Recv, errno };
                host.tell(out, Event::Trouble { id: common.id, err });
                moved = true;
                continue;
            }
            let Some(len) = len else { break };
            host.counters.syscalls += 1;
            moved = true;
            if !self.deliver(len, common, host, out) {
                break;
            }
        }
        moved
    }

    /// Reads one packet into a slot and reports it; without a slot the socket queues for one.
    fn deliver(
        &self,
        len: usize,
        common: &mut Common,
        host: &mut Host,
        out: &mut Batch<'_>,
    ) -> bool {
        let Host { ports, chaos, packets, now, .. } = host;
        let denied = chaos.strikes(|faults| faults.enobufs_recv);
        let cut = len > 0 && chaos.strikes(|faults| faults.dgram_truncate);
        let most = if cut { chaos.rng.index(len) } else { len };
        let slot = if denied { None } else { packets.whole() };
        let mut from = None;
        let filled = slot.and_then(|mut slot| {
            let read = |room: &mut [u8]| {
                let (len, sender) = ports.read(self.fd, *now, room).ok_or(())?;
                from = sender;
                Ok::<_, ()>(len)
            };
            slot.fill(most, read).ok()
        });
        let Some(buf) = filled else {
            host.starve(true, common);
            return false;
        };
        common.took_input();
        host.counters.received += buf.len() as u64;
        let lost = if host.chaos.plants(Canary::SilentTruncation) { 0 } else { len - buf.len() };
        let lost = u32::try_from(lost).unwrap_or(u32::MAX);
        host.leak_if_planted(&buf);
        host.tell(out, Event::Datagram { id: common.id, buf, from, lost });
        true
    }

    fn end(&self, common: &mut Common, host: &mut Host) {
        host.ports.close(&mut host.names, self.fd);
        host.freed += 1;
        common.end(None, host);
    }

    pub(super) fn next_due(&self, host: &Host) -> Option<u64> {
        host.ports.next_arrival(self.fd, host.now)
    }

    /// Throws away what the kernel never took and returns how much that was.
    pub(super) fn abandon(&mut self) -> u64 {
        self.packets.clear()
    }
}
