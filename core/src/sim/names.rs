//! Who is bound where: the simulated kernel's table of addresses.
//!
//! Invariant: an address has one claim, or several that all share it; a wildcard and a specific
//! address of one port exclude each other. Only loopback addresses exist on this host.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    address::{Address, Family},
    reactor::Kind,
    sim::rng::Rng,
    slots::Key,
};

/// The ports the system picks from, as Linux has them by default.
const FRESH_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// What a kernel keeps apart: one port may be taken once in each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Space {
    Tcp,
    Udp,
    Local,
}

impl Space {
    pub(super) const fn of(kind: Kind, family: Family) -> Self {
        match (family, kind) {
            (Family::Local, _) => Self::Local,
            (_, Kind::Datagram) => Self::Udp,
            (_, Kind::Stream | Kind::SeqPacket) => Self::Tcp,
        }
    }
}

/// Who holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    Listener(Key),
    Port(Key),
    /// The calling end of a connection: nobody connects to it.
    Caller,
}

#[derive(Debug)]
struct Claim {
    holder: Holder,
    shared: bool,
}

/// The table.
#[derive(Debug)]
pub(super) struct Names {
    claims: BTreeMap<(Space, Address), Vec<Claim>>,
    next_port: u16,
    next_name: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self { claims: BTreeMap::new(), next_port: *FRESH_PORTS.start(), next_name: 1 }
    }
}

impl Names {
    /// The address a socket gets that asks for `wanted`: port 0 becomes a fresh port.
    pub(super) fn choose(
        &mut self,
        space: Space,
        wanted: &Address,
        shared: bool,
    ) -> Result<Address, i32> {
        let wanted = normal(wanted);
        if let Some(address) = wanted.socket_addr() {
            let ip = address.ip();
            if !(ip.is_loopback() || ip.is_unspecified()) {
                return Err(libc::EADDRNOTAVAIL);
            }
            if address.port() == 0 {
                return self.fresh_port(space, ip);
            }
        } else if wanted == Address::unnamed() {
            return Ok(self.fresh_name());
        }
        if self.is_free(space, &wanted, shared) { Ok(wanted) } else { Err(libc::EADDRINUSE) }
    }

    fn fresh_port(&mut self, space: Space, ip: IpAddr) -> Result<Address, i32> {
        for _ in FRESH_PORTS {
            let address = Address::from((ip, self.next_port));
            self.next_port = match self.next_port {
                port if port == *FRESH_PORTS.end() => *FRESH_PORTS.start(),
                port => port + 1,
            };
            if self.is_free(space, &address, false) {
                return Ok(address);
            }
        }
        Err(libc::EADDRINUSE)
    }

    /// Linux names a local socket that binds to nothing by five hexadecimal digits.
    fn fresh_name(&mut self) -> Address {
        loop {
            let name = format!("{:05x}", self.next_name);
            self.next_name += 1;
            let address = Address::Abstract(name.as_bytes().into());
            if self.is_free(Space::Local, &address, false) {
                return address;
            }
        }
    }

    fn is_free(&self, space: Space, wanted: &Address, shared: bool) -> bool {
        let free = |claims: &[Claim]| shared && claims.iter().all(|claim| claim.shared);
        match wanted.socket_addr() {
            Some(address) if address.ip().is_unspecified() => self
                .claims
                .iter()
                .filter(|((taken, held), _)| {
                    *taken == space
                        && held.family() == wanted.family()
                        && held.port() == wanted.port()
                })
                .all(|(_, claims)| free(claims)),
            _ => [Some(wanted.clone()), wildcard(wanted)]
                .into_iter()
                .flatten()
                .filter_map(|address| self.claims.get(&(space, address)))
                .all(|claims| free(claims)),
        }
    }

    /// Enters who holds an address that [`choose`](Self::choose) gave out.
    pub(super) fn claim(&mut self, space: Space, address: Address, holder: Holder, shared: bool) {
        self.claims.entry((space, address)).or_default().push(Claim { holder, shared });
    }

    /// Strikes one claim of `holder` out.
    pub(super) fn release(&mut self, space: Space, address: &Address, holder: Holder) {
        let place = (space, address.clone());
        if let Some(claims) = self.claims.get_mut(&place) {
            if let Some(at) = claims.iter().position(|claim| claim.holder == holder) {
                claims.remove(at);
            }
            if claims.is_empty() {
                self.claims.remove(&place);
            }
        }
    }

    /// Whoever of those that hold `to`, or its wildcard, and that `fits` the kernel would pick;
    /// those who share an address share what comes.
    pub(super) fn find(
        &self,
        space: Space,
        to: &Address,
        rng: &mut Rng,
        fits: impl Fn(Holder) -> bool,
    ) -> Option<Holder> {
        let to = normal(to);
        [Some(to.clone()), wildcard(&to)].into_iter().flatten().find_map(|address| {
            let claims = self.claims.get(&(space, address))?;
            let fitting: Vec<Holder> =
                claims.iter().map(|claim| claim.holder).filter(|holder| fits(*holder)).collect();
            match fitting.len() {
                0 => None,
                1 => fitting.first().copied(),
                len => fitting.get(rng.index(len)).copied(),
            }
        })
    }

    /// Whether anybody at all is bound to `address`.
    pub(super) fn is_taken(&self, space: Space, address: &Address) -> bool {
        self.claims.contains_key(&(space, address.clone()))
    }
}

/// The address as packets carry it: no flow label, no scope, loopback where the wildcard was asked.
pub(super) fn normal(address: &Address) -> Address {
    match address {
        Address::V6(v6) => Address::from((IpAddr::V6(*v6.ip()), v6.port())),
        Address::V4(_) | Address::Local(_) | Address::Abstract(_) | Address::Other { .. } => {
            address.clone()
        }
    }
}

/// Where a connection or packet to `to` goes: the wildcard as a target means this host.
pub(super) fn target(to: &Address) -> Address {
    match to.socket_addr() {
        Some(address) if address.ip().is_unspecified() => {
            Address::from((loopback(address.ip()), address.port()))
        }
        _ => normal(to),
    }
}

/// Whether there is a way to `to`; other hosts never answer.
pub(super) fn is_here(to: &Address) -> bool {
    to.socket_addr().is_none_or(|address| address.ip().is_loopback())
}

/// The loopback address of the family of `ip`.
pub(super) const fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The wildcard of the same family and port.
fn wildcard(address: &Address) -> Option<Address> {
    let address = address.socket_addr()?;
    let ip = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(Address::from((ip, address.port())))
}
