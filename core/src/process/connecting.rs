//! What a process has only until its connection stands: where it is looked for, which addresses race, what was sent
//! before.

use std::collections::VecDeque;

use crate::{
    address::Address,
    eyeballs::Race,
    options::SockOption,
    outbox,
    proxy::{ProxyHeader, ProxyOut},
    reactor::{Kind, Payload, SockId},
    timer::TimerId,
};

/// The part of a process that only a connecting client has.
#[derive(Debug, Default)]
pub(crate) struct Connecting {
    /// It is not known yet where to connect to; there is no socket.
    pub(crate) looking_up: bool,
    /// The race between its addresses, if there are several.
    pub(crate) racing: Option<Box<Racing>>,
    /// Where attempts still to come bind, if anywhere.
    pub(crate) local: Option<Address>,
    /// Options of their sockets.
    pub(crate) options: Vec<SockOption>,
    /// Goes in front of everything as soon as the connection stands.
    pub(crate) header: Option<Box<ProxyOut>>,
    /// What the proxy in front has said, of which nothing was told yet.
    pub(crate) proxied: Option<ProxyHeader>,
    /// What was sent before the connection stood, in order, empty records included.
    pub(crate) early: VecDeque<Payload>,
    /// Bytes in `early`.
    pub(crate) early_len: u64,
}

/// The race of a client with several addresses.
#[derive(Debug)]
pub(crate) struct Racing {
    /// The attempts, each with its socket.
    pub(crate) race: Race<SockId>,
    /// When the next one is due.
    pub(crate) timer: Option<TimerId>,
}

impl Connecting {
    /// Keeps `data` for when the connection stands.
    pub(crate) fn send_later(&mut self, kind: Kind, mut data: Payload) {
        self.early_len += data.len() as u64;
        if kind == Kind::Stream && outbox::joins(self.early.len(), &data) {
            return outbox::join(&mut self.early, data.as_slice());
        }
        if let Payload::Buf(buf) = &mut data {
            buf.spill_if_scarce();
        }
        self.early.push_back(data);
    }
}
