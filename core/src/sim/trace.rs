//! A fingerprint of every event with its time: equal seeds must leave equal ones.
//!
//! Invariant: whatever an event says goes in, the bytes included. Not for security.

use crate::{
    address::Address,
    reactor::{Event, SockId, SysError},
};

/// A running hash over what a simulation has reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    hash: u64,
}

impl Trace {
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) const fn mix(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x9FB2_1C65_1E98_DF25);
        self.hash = mixed ^ (mixed >> 32);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for &byte in rest {
            self.mix(u64::from(byte));
        }
    }

    fn owner(&mut self, kind: u64, id: SockId) {
        self.mix(kind);
        self.mix(id.0.to_bits());
    }

    fn error(&mut self, err: Option<SysError>) {
        self.mix(
            err.map_or(u64::MAX, |err| {
                (err.op as u64) << 32 | u64::from(err.errno.cast_unsigned())
            }),
        );
    }

    fn address(&mut self, address: Option<&Address>) {
        match address {
            Some(address) => self.bytes(address.to_string().as_bytes()),
            None => self.mix(u64::MAX),
        }
    }

    /// Adds one event that is reported at `now`.
    pub(super) fn event(&mut self, now: u64, event: &Event) {
        self.mix(now);
        match event {
            Event::Accepted { listener, id, peer } => {
                self.owner(1, *listener);
                self.owner(1, *id);
                self.address(peer.as_ref());
            }
            Event::AcceptFailed { listener, err, paused } => {
                self.owner(2, *listener);
                self.error(Some(*err));
                self.mix(u64::from(paused.is_some()));
            }
            Event::Connected { id } => self.owner(3, *id),
            Event::Data { id, buf, lost } => {
                self.owner(4, *id);
                self.bytes(buf);
                self.mix(u64::from(*lost));
            }
            Event::Datagram { id, buf, from, lost } => {
                self.owner(5, *id);
                self.bytes(buf);
                self.address(from.as_ref());
                self.mix(u64::from(*lost));
            }
            Event::Eof { id } => self.owner(6, *id),
            Event::Trouble { id, err } => {
                self.owner(7, *id);
                self.error(Some(*err));
            }
            Event::Sent { id, bytes, queued } => {
                self.owner(8, *id);
                self.mix(*bytes);
                self.mix(*queued);
            }
            Event::Closed { id, cause, unsent } => {
                self.owner(9, *id);
                self.error(*cause);
                self.mix(*unsent);
            }
            Event::Woken => self.mix(10),
        }
    }
}
