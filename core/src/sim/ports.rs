//! Packet sockets as a kernel keeps them: queues that drop, block, cut, double and reorder.
//!
//! Invariant: a packet arrives whole, cut with the loss told, or not at all; local packets are never
//! lost, their sender waits instead. Which socket asks when is `packets.rs`'s affair.

use std::{collections::VecDeque, net::IpAddr};

use crate::{
    address::{Address, Family},
    reactor::Kind,
    sim::{
        faults::Chaos,
        names::{self, Holder, Names, Space},
        opening,
    },
    slots::{Key, Slots},
};

/// The longest UDP packet over IPv4.
const UDP_LEN_MAX: usize = 65_507;
/// The longest over IPv6, where the length in the header does not include the header.
const UDP6_LEN_MAX: usize = 65_527;
/// Longer local packets are refused, as a default Linux refuses them.
const LOCAL_LEN_MAX: usize = 212_960;
/// Bytes an IP socket queues before it drops, as a default Linux has it.
const QUEUE_BYTES_MAX: usize = 212_992;
/// Packets a local socket queues before its senders wait (`max_dgram_qlen`).
const QUEUE_LEN_MAX: usize = 10;

#[derive(Debug)]
struct Parcel {
    due: u64,
    from: Option<Address>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Port {
    family: Family,
    local: Option<Address>,
    peer: Option<Address>,
    /// `SO_BROADCAST`: packets may go to broadcast addresses.
    broadcast: bool,
    inbound: VecDeque<Parcel>,
    queued: usize,
    /// An error that came instead of a packet, reported once.
    trouble: Option<i32>,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Posted {
    Taken,
    /// The receiver's queue is full: ask again.
    Full,
    Refused(i32),
}

/// Every packet socket of the simulated kernel.
#[derive(Debug, Default)]
pub(super) struct Ports {
    ports: Slots<Port>,
}

impl Ports {
    /// Opens a socket bound to `wanted` and connected to `peer`, each if given.
    pub(super) fn open(
        &mut self,
        names: &mut Names,
        family: Family,
        wanted: Option<&Address>,
        shared: bool,
    ) -> Result<Key, i32> {
        let space = Space::of(Kind::Datagram, family);
        let local = wanted.map(|wanted| names.choose(space, wanted, shared)).transpose()?;
        let key = self.ports.insert(Port {
            family,
            local: local.clone(),
            peer: None,
            broadcast: false,
            inbound: VecDeque::new(),
            queued: 0,
            trouble: None,
        });
        if let Some(local) = local {
            names.claim(space, local, Holder::Port(key), shared);
        }
        Ok(key)
    }

    /// Connects a socket: only that peer's packets arrive, and none needs an address.
    pub(super) fn connect(&mut self, names: &mut Names, key: Key, to: &Address) -> Result<(), i32> {
        let Some(port) = self.ports.get(key) else { return Err(libc::EBADF) };
        if port.family != to.family() {
            return Err(libc::EAFNOSUPPORT);
        }
        let to = names::target(to);
        if is_broadcast(&to) && !port.broadcast {
            return Err(libc::EACCES);
        }
        if port.family == Family::Local && !names.is_taken(Space::Local, &to) {
            return Err(nobody(&to));
        }
        let ip = to.socket_addr().map(|address| names::loopback(address.ip()));
        self.bind_if_needed(names, key, ip)?;
        if let Some(port) = self.ports.get_mut(key) {
            port.peer = Some(to);
        }
        Ok(())
    }

    /// An IP socket gets a port at `ip` with its first packet, or the wildcard's when it is connected
    /// to nobody; a local one stays without a name.
    fn bind_if_needed(
        &mut self,
        names: &mut Names,
        key: Key,
        ip: Option<IpAddr>,
    ) -> Result<(), i32> {
        let Some(port) = self.ports.get_mut(key) else { return Ok(()) };
        if let (None, Some(ip)) = (&port.local, ip) {
            let local = names.choose(Space::Udp, &Address::from((ip, 0)), false)?;
            names.claim(Space::Udp, local.clone(), Holder::Port(key), false);
            port.local = Some(local);
        }
        Ok(())
    }

    pub(super) fn local(&self, key: Key) -> Option<&Address> {
        self.ports.get(key)?.local.as_ref()
    }

    pub(super) fn set_broadcast(&mut self, key: Key, on: bool) {
        if let Some(port) = self.ports.get_mut(key) {
            port.broadcast = on;
        }
    }

    pub(super) fn family(&self, key: Key) -> Family {
        self.ports.get(key).map_or(Family::Local, |port| port.family)
    }

    pub(super) fn peer(&self, key: Key) -> Option<&Address> {
        self.ports.get(key)?.peer.as_ref()
    }

    /// Sends one packet to `to`, or to the peer of a connected socket.
    pub(super) fn post(
        &mut self,
        names: &mut Names,
        key: Key,
        to: Option<&Address>,
        bytes: &[u8],
        now: u64,
        chaos: &mut Chaos,
    ) -> Posted {
        let Some(port) = self.ports.get(key) else { return Posted::Refused(libc::EBADF) };
        let family = port.family;
        let connected = to.is_none();
        let Some(to) = to.or(port.peer.as_ref()).map(names::target) else {
            return Posted::Refused(libc::EDESTADDRREQ);
        };
        let len_max = match family {
            Family::Local => LOCAL_LEN_MAX,
            Family::Ipv6 => UDP6_LEN_MAX,
            Family::Ipv4 | Family::Other(_) => UDP_LEN_MAX,
        };
        if to.family() != family {
            return Posted::Refused(libc::EAFNOSUPPORT);
        }
        if bytes.len() > len_max {
            return Posted::Refused(libc::EMSGSIZE);
        }
        if is_broadcast(&to) && !port.broadcast {
            return Posted::Refused(libc::EACCES);
        }
        let any = opening::nowhere(family).socket_addr().map(|any| any.ip());
        if let Err(errno) = self.bind_if_needed(names, key, any) {
            return Posted::Refused(errno);
        }
        // Sent from the wildcard, a packet carries the address of the way it took.
        let from = self.local(key).map(names::target);
        let space = Space::of(Kind::Datagram, family);
        let holder = names.find(space, &to, &mut chaos.rng, |holder| match holder {
            Holder::Port(port) => self.admits(port, from.as_ref()),
            Holder::Listener(_) | Holder::Caller => false,
        });
        match holder {
            Some(Holder::Port(port)) => self.deliver(port, from, bytes, now, chaos),
            _ if family == Family::Local => Posted::Refused(nobody_for(names, &to)),
            _ => {
                // Linux tells a connected socket that nobody was there, an unconnected one nothing.
                if connected && let Some(port) = self.ports.get_mut(key) {
                    port.trouble = Some(libc::ECONNREFUSED);
                }
                Posted::Taken
            }
        }
    }

    /// Whether a socket takes packets of `from`: a connected one takes its peer's only.
    fn admits(&self, key: Key, from: Option<&Address>) -> bool {
        self.ports.get(key).is_some_and(|port| port.peer.is_none() || port.peer.as_ref() == from)
    }

    fn deliver(
        &mut self,
        key: Key,
        from: Option<Address>,
        bytes: &[u8],
        now: u64,
        chaos: &mut Chaos,
    ) -> Posted {
        let Some(port) = self.ports.get_mut(key) else { return Posted::Taken };
        let mut copies = 1;
        let mut reordered = false;
        if port.family == Family::Local {
            if port.inbound.len() >= QUEUE_LEN_MAX {
                return Posted::Full;
            }
        } else {
            if port.queued + bytes.len() > QUEUE_BYTES_MAX
                || chaos.strikes(|faults| faults.dgram_loss)
            {
                return Posted::Taken;
            }
            copies += usize::from(chaos.strikes(|faults| faults.dgram_dup));
            reordered = chaos.strikes(|faults| faults.dgram_reorder);
        }
        for _ in 0..copies {
            let late = now + chaos.latency(|faults| faults.delay_max);
            let last = port.inbound.back().map_or(late, |last| last.due.max(late));
            let at = if reordered {
                chaos.rng.index(port.inbound.len() + 1)
            } else {
                port.inbound.len()
            };
            let due = if reordered { late } else { last };
            port.queued += bytes.len();
            port.inbound.insert(at, Parcel { due, from: from.clone(), bytes: bytes.to_vec() });
        }
        Posted::Taken
    }

    /// The error that waits to be reported, once.
    pub(super) fn take_trouble(&mut self, key: Key) -> Option<i32> {
        self.ports.get_mut(key)?.trouble.take()
    }

    /// The length of the packet the next read would take.
    pub(super) fn ready(&self, key: Key, now: u64) -> Option<usize> {
        let inbound = &self.ports.get(key)?.inbound;
        inbound.iter().find(|parcel| parcel.due <= now).map(|parcel| parcel.bytes.len())
    }

    /// Takes that packet: copies what fits into `room`, returns how much and who sent it.
    pub(super) fn read(
        &mut self,
        key: Key,
        now: u64,
        room: &mut [u8],
    ) -> Option<(usize, Option<Address>)> {
        let port = self.ports.get_mut(key)?;
        let at = port.inbound.iter().position(|parcel| parcel.due <= now)?;
        let parcel = port.inbound.remove(at)?;
        port.queued -= parcel.bytes.len();
        let len = parcel.bytes.len().min(room.len());
        room[..len].copy_from_slice(&parcel.bytes[..len]);
        Some((len, parcel.from))
    }

    pub(super) fn close(&mut self, names: &mut Names, key: Key) {
        let Some(port) = self.ports.remove(key) else { return };
        if let Some(local) = port.local {
            names.release(Space::of(Kind::Datagram, port.family), &local, Holder::Port(key));
        }
    }

    /// When the next packet arrives after `now`.
    pub(super) fn next_arrival(&self, key: Key, now: u64) -> Option<u64> {
        let inbound = &self.ports.get(key)?.inbound;
        inbound.iter().map(|parcel| parcel.due).filter(|due| *due > now).min()
    }
}

/// Whether `to` is everybody on the loopback network.
fn is_broadcast(to: &Address) -> bool {
    to.socket_addr().is_some_and(|to| to.ip() == IpAddr::from([127, 255, 255, 255]))
}

/// What a kernel says where no local socket is: a missing path is a missing file.
const fn nobody(to: &Address) -> i32 {
    if matches!(to, Address::Local(_)) { libc::ENOENT } else { libc::ECONNREFUSED }
}

/// The same for one packet, where somebody may be bound who does not take it.
fn nobody_for(names: &Names, to: &Address) -> i32 {
    if names.is_taken(Space::Local, to) { libc::EPERM } else { nobody(to) }
}
