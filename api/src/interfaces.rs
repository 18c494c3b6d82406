//! The network interfaces of this machine and their addresses.
//!
//! Invariant: what is listed is one answer of `getifaddrs(3)`, taken at once; nothing is kept. The
//! functions below the public ones are pure: a list of the system in, Emacs's view of it out.
//! Sending to an interface is for socket options, its index for the addresses that carry one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

use netproc_core::address::{Address, Family};
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
    sys::socket::SockaddrStorage,
};

/// The longest name of an interface that Emacs takes: `IFNAMSIZ` less its closing NUL.
const NAME_LEN_MAX: usize = 15;

/// The flags by the names of the system, in the order in which Emacs looks at them. A system that
/// has not got one never sets it.
const FLAGS: [(&str, InterfaceFlag); 16] = [
    ("IFF_UP", InterfaceFlag::Up),
    ("IFF_BROADCAST", InterfaceFlag::Broadcast),
    ("IFF_DEBUG", InterfaceFlag::Debug),
    ("IFF_LOOPBACK", InterfaceFlag::Loopback),
    ("IFF_POINTOPOINT", InterfaceFlag::PointToPoint),
    ("IFF_RUNNING", InterfaceFlag::Running),
    ("IFF_NOARP", InterfaceFlag::NoArp),
    ("IFF_PROMISC", InterfaceFlag::Promiscuous),
    ("IFF_NOTRAILERS", InterfaceFlag::NoTrailers),
    ("IFF_ALLMULTI", InterfaceFlag::AllMulticast),
    ("IFF_MASTER", InterfaceFlag::Master),
    ("IFF_SLAVE", InterfaceFlag::Slave),
    ("IFF_MULTICAST", InterfaceFlag::Multicast),
    ("IFF_PORTSEL", InterfaceFlag::PortSelect),
    ("IFF_AUTOMEDIA", InterfaceFlag::AutoMedia),
    ("IFF_DYNAMIC", InterfaceFlag::Dynamic),
];

/// One address of an interface; an interface with several appears once for each.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Interface {
    /// The interface's name, as `lo`, or the label of this address, as `eth0:1`.
    pub name: String,
    /// The address, with port 0.
    pub address: Address,
    /// The address with every bit set that the mask leaves to hosts, whatever the system says.
    pub broadcast: Option<Address>,
    /// The mask.
    pub netmask: Option<Address>,
}

/// What the system knows of an interface: its first IPv4 address, its hardware, its flags.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct InterfaceInfo {
    /// The address, with port 0.
    pub address: Option<Address>,
    /// The broadcast address as the system has it: 0.0.0.0 where there is an address but no
    /// broadcast, as on the loopback interface.
    pub broadcast: Option<Address>,
    /// The mask.
    pub netmask: Option<Address>,
    /// The hardware's address; `None` where the system has none, as for a tunnel.
    pub hardware: Option<HardwareAddress>,
    /// The flags that are set, in Emacs's order: the last that it knows first.
    pub flags: Vec<InterfaceFlag>,
}

/// The address of an interface below IP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct HardwareAddress {
    /// The system's number of the hardware's kind: on Linux 1 is Ethernet, 772 the loopback.
    pub kind: u16,
    /// Its first six bytes; zeros where it has none.
    pub bytes: [u8; 6],
}

/// What an interface is or does; [`Display`](fmt::Display) writes Emacs's symbol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum InterfaceFlag {
    /// `up`: switched on.
    Up,
    /// `broadcast`: has a broadcast address.
    Broadcast,
    /// `debug`: debugging inside the system.
    Debug,
    /// `loopback`: leads back to this machine.
    Loopback,
    /// `pointopoint`: a link with one peer.
    PointToPoint,
    /// `running`: has its resources; on most hardware, the cable is in.
    Running,
    /// `noarp`: no address resolution.
    NoArp,
    /// `promisc`: takes packets for others too.
    Promiscuous,
    /// `notrailers`: an encapsulation of old is avoided.
    NoTrailers,
    /// `allmulti`: takes every multicast packet.
    AllMulticast,
    /// `master`: stands for a bundle.
    Master,
    /// `slave`: is part of a bundle.
    Slave,
    /// `multicast`: can do multicast.
    Multicast,
    /// `portsel`: can select its medium.
    PortSelect,
    /// `automedia`: selects it by itself.
    AutoMedia,
    /// `dynamic`: loses its addresses when it goes down.
    Dynamic,
    /// Any other, by its bit, from 0.
    Other(u8),
}

impl fmt::Display for InterfaceFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Broadcast => "broadcast",
            Self::Debug => "debug",
            Self::Loopback => "loopback",
            Self::PointToPoint => "pointopoint",
            Self::Running => "running",
            Self::NoArp => "noarp",
            Self::Promiscuous => "promisc",
            Self::NoTrailers => "notrailers",
            Self::AllMulticast => "allmulti",
            Self::Master => "master",
            Self::Slave => "slave",
            Self::Multicast => "multicast",
            Self::PortSelect => "portsel",
            Self::AutoMedia => "automedia",
            Self::Dynamic => "dynamic",
            Self::Other(bit) => return write!(f, "{bit}"),
        })
    }
}

/// Why interfaces could not be listed. That there is no such interface is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// Only addresses of IPv4 and IPv6 are listed.
    #[error("interfaces have no addresses of family {0:?} to list")]
    Family(Family),
    /// A name of 16 bytes or more.
    #[error("interface name too long: {0} bytes, the longest has {NAME_LEN_MAX}")]
    NameTooLong(usize),
    /// The system did not answer.
    #[error("the system does not list its interfaces")]
    Sys(#[source] std::io::Error),
}

impl InterfaceError {
    /// The words Emacs signals this error with; `None` where it has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::network_interface_info;
    ///
    /// let refused = network_interface_info("a-very-long-interface-name").unwrap_err();
    /// assert_eq!(refused.emacs_message(), Some("interface name too long"));
    /// ```
    ///
    /// # Source
    ///
    /// `network-interface-list` and `network-interface-info` of Emacs 28.2, as observed.
    #[must_use]
    pub const fn emacs_message(&self) -> Option<&'static str> {
        match self {
            Self::Family(_) => Some("Unsupported address family"),
            Self::NameTooLong(_) => Some("interface name too long"),
            Self::Sys(_) => None,
        }
    }
}

/// Lists the IPv4 and IPv6 addresses of this machine's interfaces, or those of one family.
///
/// One element per address, the system's last one first; interfaces without an IP address do not
/// appear. Ports are 0. Asks the system, never the network.
///
/// # Errors
///
/// [`InterfaceError::Family`] for any other family; [`InterfaceError::Sys`] when the system does
/// not answer.
///
/// # Examples
///
/// ```
/// use netproc::{Family, network_interface_list};
///
/// let all = network_interface_list(Some(Family::Ipv4))?;
/// let lo = all.iter().find(|it| it.address.to_string() == "[127 0 0 1 0]").expect("a loopback");
/// assert_eq!(lo.broadcast.as_ref().unwrap().to_string(), "[127 255 255 255 0]");
/// assert_eq!(lo.netmask.as_ref().unwrap().to_string(), "[255 0 0 0 0]");
/// # Ok::<(), netproc::InterfaceError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Misc Network" (`network-interface-list` with FULL). Differs: a
/// link-local IPv6 address keeps its interface, so that it can be bound or connected to; its
/// vector form does not show it.
pub fn network_interface_list(family: Option<Family>) -> Result<Vec<Interface>, InterfaceError> {
    match family {
        None | Some(Family::Ipv4 | Family::Ipv6) => {}
        Some(family) => return Err(InterfaceError::Family(family)),
    }
    let mut all: Vec<_> = system()?.iter().filter_map(interface).collect();
    all.retain(|it| family.is_none_or(|family| it.address.family() == family));
    all.reverse();
    Ok(all)
}

/// What is known of the interface called `name`; `None` when there is no such.
///
/// On Linux the label of an address, as `eth0:1`, names that address and the interface it is on.
/// Asks the system, never the network.
///
/// # Errors
///
/// [`InterfaceError::NameTooLong`] from 16 bytes on; [`InterfaceError::Sys`] when the system does
/// not answer.
///
/// # Examples
///
/// ```
/// use netproc::{InterfaceFlag, network_interface_info, network_interface_list};
///
/// let all = network_interface_list(None)?;
/// let lo = all.iter().find(|it| it.address.to_string() == "[127 0 0 1 0]").expect("a loopback");
/// let info = network_interface_info(&lo.name)?.expect("it was listed");
/// assert_eq!(info.netmask, lo.netmask);
/// assert!(info.flags.contains(&InterfaceFlag::Loopback));
/// assert_eq!(network_interface_info("nosuch0")?, None);
/// # Ok::<(), netproc::InterfaceError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Misc Network". Differs: read from `getifaddrs(3)`, which cannot tell a
/// broadcast address equal to the interface's own from none, and has no hardware for a tunnel,
/// where Emacs shows zeros.
pub fn network_interface_info(name: &str) -> Result<Option<InterfaceInfo>, InterfaceError> {
    if name.len() > NAME_LEN_MAX {
        return Err(InterfaceError::NameTooLong(name.len()));
    }
    Ok(info(name, &system()?))
}

fn system() -> Result<Vec<InterfaceAddress>, InterfaceError> {
    let all = getifaddrs().map_err(|errno| InterfaceError::Sys(errno.into()))?;
    Ok(all.collect())
}

/// An entry of the system as an element of the list, if it is one of an IP address.
fn interface(entry: &InterfaceAddress) -> Option<Interface> {
    let address = socket_addr(entry.address.as_ref())?;
    let netmask = socket_addr(entry.netmask.as_ref());
    let all_hosts = netmask.and_then(|mask| broadcast(address.ip(), mask.ip()));
    Some(Interface {
        name: entry.interface_name.clone(),
        address: address.into(),
        broadcast: all_hosts.map(|ip| (ip, 0).into()),
        netmask: netmask.map(Address::from),
    })
}

/// The address with every bit set that is not in the mask.
fn broadcast(ip: IpAddr, mask: IpAddr) -> Option<IpAddr> {
    match (ip, mask) {
        (IpAddr::V4(ip), IpAddr::V4(mask)) => Some((ip | !mask).into()),
        (IpAddr::V6(ip), IpAddr::V6(mask)) => Some((ip | !mask).into()),
        _ => None,
    }
}

/// What the entries of the system say about the interface or label `name`.
fn info(name: &str, all: &[InterfaceAddress]) -> Option<InterfaceInfo> {
    let device = if cfg!(target_os = "linux") { name.split(':').next()? } else { name };
    let of = |name| all.iter().filter(move |it: &&InterfaceAddress| it.interface_name == name);
    let flags = flags(of(device).next()?.flags);
    let v4 = |storage: Option<&SockaddrStorage>| socket_addr(storage).filter(SocketAddr::is_ipv4);
    let inet = of(name).find_map(|it| Some((it, v4(it.address.as_ref())?)));
    Some(InterfaceInfo {
        address: inet.map(|(_, own)| own.into()),
        broadcast: inet.map(|(it, own)| {
            // glibc repeats the address where there is no broadcast.
            let known = v4(it.broadcast.as_ref()).filter(|&said| said != own);
            known.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into()).into()
        }),
        netmask: inet.and_then(|(it, _)| v4(it.netmask.as_ref())).map(Address::from),
        hardware: of(device).find_map(|it| hardware(it.address.as_ref()?)),
        flags,
    })
}

/// The IP address of an entry, with port 0 and, for IPv6, the interface of a link-local one.
fn socket_addr(storage: Option<&SockaddrStorage>) -> Option<SocketAddr> {
    let storage = storage?;
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddrV4::new(v4.ip(), 0).into());
    let v6 = || {
        let v6 = storage.as_sockaddr_in6()?;
        Some(SocketAddrV6::new(v6.ip(), 0, 0, v6.scope_id()).into())
    };
    v4.or_else(v6)
}

/// The address of an entry, if it is one of hardware.
fn hardware(storage: &SockaddrStorage) -> Option<HardwareAddress> {
    let link = storage.as_link_addr()?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let kind = link.hatype();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let kind = link.datalink_type().into();
    Some(HardwareAddress { kind, bytes: link.addr().unwrap_or_default() })
}

/// The flags set, the last known one first, and before them what has no name here.
fn flags(set: InterfaceFlags) -> Vec<InterfaceFlag> {
    // Emacs asks by a call that has room for 16 of them.
    let mut rest = set & InterfaceFlags::from_bits_retain(0xffff);
    let mut found = Vec::new();
    for (name, flag) in FLAGS {
        let known = InterfaceFlags::from_name(name).filter(|&known| rest.contains(known));
        if let Some(known) = known {
            rest.remove(known);
            found.push(flag);
        }
    }
    found.extend((0..16).filter(|bit| rest.bits() & (1 << bit) != 0).map(InterfaceFlag::Other));
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, address: &str, mask: &str, said: Option<&str>) -> InterfaceAddress {
        let storage = |ip: &str| SockaddrStorage::from(SocketAddr::new(ip.parse().unwrap(), 7));
        InterfaceAddress {
            interface_name: name.into(),
            flags: InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST,
            address: Some(storage(address)),
            netmask: Some(storage(mask)),
            broadcast: said.map(storage),
            destination: None,
        }
    }

    fn text(address: Option<&Address>) -> String {
        address.map_or_else(|| "nil".into(), ToString::to_string)
    }

    #[test]
    fn an_element_has_the_address_its_mask_and_the_broadcast_of_both() {
        let v6_mask = "ffff:ffff:ffff:ffff::";
        let all_ones = "[65535 65535 65535 65535 0 0 0 0 0]";
        let cases = [
            ("192.0.2.2", "255.255.255.0", "[192 0 2 2 0]", "[192 0 2 255 0]", "[255 255 255 0 0]"),
            ("10.1.1.1", "255.255.255.255", "[10 1 1 1 0]", "[10 1 1 1 0]", "[255 255 255 255 0]"),
            (
                "10.200.1.1",
                "255.192.0.0",
                "[10 200 1 1 0]",
                "[10 255 255 255 0]",
                "[255 192 0 0 0]",
            ),
            (
                "fd00::2",
                v6_mask,
                "[64768 0 0 0 0 0 0 2 0]",
                "[64768 0 0 0 65535 65535 65535 65535 0]",
                all_ones,
            ),
        ];
        for (address, mask, own, all_hosts, netmask) in cases {
            let it = interface(&entry("x", address, mask, Some("10.0.0.9"))).unwrap();
            assert_eq!(it.address.to_string(), own);
            assert_eq!(text(it.broadcast.as_ref()), all_hosts, "{address}/{mask}");
            assert_eq!(text(it.netmask.as_ref()), netmask, "{address}/{mask}");
        }
        let unmasked =
            InterfaceAddress { netmask: None, ..entry("x", "10.0.0.1", "0.0.0.0", None) };
        let it = interface(&unmasked).unwrap();
        assert_eq!((it.broadcast, it.netmask), (None, None));
        let no_ip = InterfaceAddress { address: None, ..unmasked };
        assert_eq!(interface(&no_ip), None);
    }

    #[test]
    fn an_interface_shows_its_first_address_and_what_the_system_says_of_its_broadcast() {
        let mask = "255.255.255.0";
        let all = [
            entry("d0", "fd00::2", "ffff::", None),
            entry("d0", "10.9.9.9", mask, Some("10.9.9.9")),
            entry("d0", "10.9.7.1", mask, Some("10.9.7.255")),
            entry("d0:1", "10.9.8.1", mask, Some("10.9.8.255")),
            entry("d1", "fd00::3", "ffff::", None),
        ];
        let cases = [
            ("d0", "[10 9 9 9 0]", "[0 0 0 0 0]", "[255 255 255 0 0]"),
            ("d0:1", "[10 9 8 1 0]", "[10 9 8 255 0]", "[255 255 255 0 0]"),
            ("d1", "nil", "nil", "nil"),
        ];
        for (name, address, said, netmask) in cases {
            let it = info(name, &all).unwrap();
            let shown = [it.address, it.broadcast, it.netmask].map(|it| text(it.as_ref()));
            assert_eq!(shown, [address, said, netmask], "{name}");
            assert_eq!(it.flags, [InterfaceFlag::Broadcast, InterfaceFlag::Up]);
        }
        for name in ["", ":", "d2", "D0", "d", "d0\0"] {
            assert_eq!(info(name, &all), None, "{name:?}");
        }
        let labelled = info("d0:2", &all).map(|it| (it.address, it.flags.len()));
        assert_eq!(labelled, cfg!(target_os = "linux").then_some((None, 2)), "the interface alone");
    }

    #[test]
    fn flags_stand_in_the_reverse_of_the_order_they_are_looked_at() {
        let text = |bits| {
            let all = flags(InterfaceFlags::from_bits_retain(bits));
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let named = |names: &[&str]| {
            let all = names.iter().map(|name| InterfaceFlags::from_name(name).unwrap().bits());
            text(all.fold(0, |all, bit| all | bit))
        };
        assert_eq!(text(0), "");
        assert_eq!(
            named(&["IFF_UP", "IFF_BROADCAST", "IFF_RUNNING", "IFF_MULTICAST"]),
            "multicast running broadcast up"
        );
        if cfg!(target_os = "linux") {
            let every = "dynamic automedia portsel multicast slave master allmulti notrailers \
                         promisc noarp running pointopoint loopback debug broadcast up";
            assert_eq!(text(0xffff), every);
            assert_eq!(text(0x1_0001), "up", "as wide as the call that Emacs makes");
        } else {
            assert!(text(0xffff).starts_with(|first: char| first.is_ascii_digit()));
        }
        assert_eq!(InterfaceFlag::Other(12).to_string(), "12");
    }

    /// As the transcript `interface-loopback` in tests/golden/emacs has it, for every machine.
    #[test]
    fn the_list_is_whole_in_the_reverse_order_of_the_system_and_without_ports() {
        let all = network_interface_list(None).unwrap();
        let v4 = network_interface_list(Some(Family::Ipv4)).unwrap();
        let v6 = network_interface_list(Some(Family::Ipv6)).unwrap();
        assert_eq!(all.len(), v4.len() + v6.len());
        assert!(v4.iter().all(|it| it.address.family() == Family::Ipv4), "{v4:?}");
        assert!(v6.iter().all(|it| it.address.family() == Family::Ipv6), "{v6:?}");
        assert!(all.iter().all(|it| it.address.port() == Some(0)), "{all:?}");
        let mut forwards = system().unwrap();
        forwards.retain(|it| socket_addr(it.address.as_ref()).is_some());
        let names: Vec<_> = forwards.iter().rev().map(|it| it.interface_name.as_str()).collect();
        assert_eq!(all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), names);
    }

    #[test]
    fn what_cannot_be_asked_is_refused_in_the_words_of_emacs() {
        for family in [Family::Local, Family::Other(2)] {
            let refused = network_interface_list(Some(family)).unwrap_err();
            assert_eq!(refused.emacs_message(), Some("Unsupported address family"));
        }
        for name in ["1234567890123456", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            let refused = network_interface_info(name).unwrap_err();
            assert!(matches!(refused, InterfaceError::NameTooLong(16)), "{refused}");
            assert_eq!(refused.emacs_message(), Some("interface name too long"));
        }
        for name in ["", "nosuch0", "123456789012345", "lo\0", "lo/"] {
            assert_eq!(network_interface_info(name).unwrap(), None, "{name:?}");
        }
    }
}
