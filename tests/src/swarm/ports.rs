//! Packet sockets: clients that send known packets, servers that send each back to whoever sent it.
//!
//! Invariant: packet `n` of port `p` has a length and bytes that both decide, so a packet that
//! arrives is judged whole, cut or not. Over IP packets may be lost, doubled and reordered while
//! those faults are on; local ones never are.

use std::collections::BTreeMap;

use netproc_core::{
    address::Address,
    reactor::SockId,
    sim::{Faults, Rng},
};

use crate::swarm::{ledger::Check, streams};

/// Port and number at the front of every packet that is not empty.
const HEAD_LEN: usize = 5;
/// Conversation numbers of packets begin here, so that no stream has the same bytes.
const TALKS: usize = 1 << 20;

/// Packet `number` of `port`: sometimes empty, never longer than `len_max`.
pub(crate) fn packet(port: u8, number: u32, len_max: usize) -> Vec<u8> {
    let mut rng = Rng::new(u64::from(number) << 8 | u64::from(port));
    if rng.percent(5) {
        return Vec::new();
    }
    let len = rng.len(len_max - HEAD_LEN);
    let mut bytes = vec![port];
    bytes.extend(number.to_le_bytes());
    bytes.extend(streams::bytes(TALKS + usize::from(port), u64::from(number) << 16, len));
    bytes
}

/// Judges the packets of one direction.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// By port: how many packets came, and the number after the last.
    seen: BTreeMap<u8, (u64, u32)>,
}

impl Inbox {
    /// Takes one packet; `exact` says that none may be lost, doubled or reordered on its way.
    pub(crate) fn take(&mut self, buf: &[u8], lost: u32, len_max: usize, exact: bool) -> Check {
        let total = buf.len() + lost as usize;
        if total == 0 || (lost > 0 && buf.len() < HEAD_LEN) {
            return Ok(());
        }
        let Some((head, _)) = buf.split_at_checked(HEAD_LEN) else {
            return Err(format!("a packet of {} bytes, none lost", buf.len()));
        };
        let (port, number) = (head[0], u32::from_le_bytes([head[1], head[2], head[3], head[4]]));
        let wanted = packet(port, number, len_max);
        if total != wanted.len() || !wanted.starts_with(buf) {
            return Err(format!(
                "packet {number} of port {port}: {} bytes, {lost} lost",
                buf.len()
            ));
        }
        let (count, next) = self.seen.entry(port).or_default();
        *count += 1;
        if exact && number < *next {
            return Err(format!("packet {number} of port {port} after {next}"));
        }
        *next = number + 1;
        Ok(())
    }

    /// How many packets of all ports that named themselves have come.
    pub(crate) fn count(&self) -> u64 {
        self.seen.values().map(|(count, _)| count).sum()
    }
}

/// One packet socket.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: SockId,
    pub(crate) server: bool,
    /// Where its packets go; `None` on a server and on a connected socket.
    pub(crate) to: Option<Address>,
    pub(crate) local: bool,
    pub(crate) inbox: Inbox,
    pub(crate) packets: u32,
    pub(crate) sent: u32,
}

/// Whether the faults leave order and number of IP packets alone.
pub(crate) const fn is_exact(faults: &Faults) -> bool {
    faults.dgram_dup == 0 && faults.dgram_reorder == 0
}
