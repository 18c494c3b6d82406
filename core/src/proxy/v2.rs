//! Version 2: a signature, a length, two addresses, and values of any type behind them.
//!
//! Invariant: nothing is looked at before all of it is there, and no length is believed that leads out of
//! the header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ProxyHeader, ProxyHeaderError, ProxyOrigin, ProxyVersion, crc32c::crc32c, tlv};
use crate::{address::Address, reactor::Kind};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(super) const START_LEN: usize = 16;
/// The address of a local socket, filled up with NULs.
pub(super) const UNIX_LEN: usize = 108;
/// Type and length of a value.
const TLV_START_LEN: usize = 3;
/// The length of the value that is a checksum.
const CRC_LEN: usize = 4;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

pub(super) fn parse(
    bytes: &[u8],
    len_max: usize,
) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] != SIGNATURE[..begun] {
        return Err(ProxyHeaderError::Missing);
    }
    let Some(&command) = bytes.get(SIGNATURE.len()) else { return Ok(None) };
    if command >> 4 != 2 {
        return Err(ProxyHeaderError::Version(command >> 4));
    }
    let command = command & 0xF;
    if command > PROXY {
        return Err(ProxyHeaderError::Command(command));
    }
    let Some(&[family, len_high, len_low]) = bytes.get(SIGNATURE.len() + 1..START_LEN) else {
        return Ok(None);
    };
    let len = START_LEN + usize::from(u16::from_be_bytes([len_high, len_low]));
    if len > len_max {
        return Err(ProxyHeaderError::TooLong { max: len_max });
    }
    let version = ProxyVersion::V2;
    if command == LOCAL {
        // All of it is to be skipped, its family included.
        let header = ProxyHeader { version, origin: ProxyOrigin::Proxy, tlvs: Box::default() };
        return Ok((bytes.len() >= len).then_some((header, len)));
    }
    let shape = Shape::of(family).ok_or(ProxyHeaderError::Family(family))?;
    let (tlvs_at, announced) = (START_LEN + shape.len(), len - START_LEN);
    if len < tlvs_at {
        return Err(ProxyHeaderError::TooShort { len: announced, needed: shape.len() });
    }
    let Some(whole) = bytes.get(..len) else { return Ok(None) };
    let origin = shape.origin(&whole[START_LEN..tlvs_at])?;
    let tlvs = match (check(whole, tlvs_at), shape.family) {
        (Ok(()), _) => whole[tlvs_at..].into(),
        // Addresses of a family that is not told, then, which are to be skipped.
        (Err(ProxyHeaderError::Tlv { .. }), Family::Unspecified) => Box::default(),
        (Err(err), _) => return Err(err),
    };
    Ok(Some((ProxyHeader { version, origin, tlvs }, len)))
}

/// What stands in front of the values.
#[derive(Clone, Copy)]
struct Shape {
    family: Family,
    /// None where it is not said.
    kind: Option<Kind>,
}

#[derive(Clone, Copy)]
enum Family {
    Unspecified,
    Ipv4,
    Ipv6,
    Unix,
}

impl Shape {
    const fn of(byte: u8) -> Option<Self> {
        let family = match byte >> 4 {
            0 => Family::Unspecified,
            1 => Family::Ipv4,
            2 => Family::Ipv6,
            3 => Family::Unix,
            _ => return None,
        };
        let kind = match byte & 0xF {
            0 => None,
            1 => Some(Kind::Stream),
            2 => Some(Kind::Datagram),
            _ => return None,
        };
        Some(Self { family, kind })
    }

    /// How many bytes its addresses have.
    const fn len(self) -> usize {
        match self.family {
            Family::Unspecified => 0,
            Family::Ipv4 => 2 * (4 + 2),
            Family::Ipv6 => 2 * (16 + 2),
            Family::Unix => 2 * UNIX_LEN,
        }
    }

    fn origin(self, bytes: &[u8]) -> Result<ProxyOrigin, ProxyHeaderError> {
        debug_assert_eq!(bytes.len(), self.len());
        let addresses = match self.family {
            Family::Unspecified => None,
            Family::Ipv4 => ips::<4>(bytes, |ip| IpAddr::V4(Ipv4Addr::from(ip))),
            Family::Ipv6 => ips::<16>(bytes, |ip| IpAddr::V6(Ipv6Addr::from(ip))),
            Family::Unix => {
                let (source, destination) = bytes.split_at(UNIX_LEN);
                Some((unix(source)?, unix(destination)?))
            }
        };
        Ok(match self.kind.zip(addresses) {
            Some((kind, (source, destination))) => {
                ProxyOrigin::Client { kind, source, destination }
            }
            None => ProxyOrigin::Unknown,
        })
    }
}

/// Two addresses of `N` bytes, then their ports.
fn ips<const N: usize>(bytes: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<(Address, Address)> {
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (port, _) = rest.split_first_chunk::<2>()?;
    let address = |ip, port: &[u8; 2]| Address::from((ip, u16::from_be_bytes(*port)));
    Some((address(ip(*source), source_port), address(ip(*destination), port)))
}

/// A path ends at its first NUL; an abstract name begins with one and ends where only NULs follow.
fn unix(bytes: &[u8]) -> Result<Address, ProxyHeaderError> {
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let path = match bytes[..used].iter().position(|&byte| byte == 0) {
        Some(0) | None => &bytes[..used],
        Some(end) => &bytes[..end],
    };
    Address::local(path).map_err(|_| ProxyHeaderError::Path)
}

/// Looks at every value of the header `whole`, and at its checksum if it has one.
fn check(whole: &[u8], tlvs_at: usize) -> Result<(), ProxyHeaderError> {
    let mut crc_at = None;
    for found in Tlvs::new(&whole[tlvs_at..]) {
        let malformed = |at| ProxyHeaderError::Tlv { at: tlvs_at + at };
        let found = found.map_err(malformed)?;
        if found.kind == tlv::CRC32C {
            // A second one could only be right if it did not count for the first.
            if found.value.len() != CRC_LEN || crc_at.is_some() {
                return Err(malformed(found.at));
            }
            crc_at = Some(tlvs_at + found.at + TLV_START_LEN);
        }
    }
    let Some(at) = crc_at else { return Ok(()) };
    let (sent, computed) = (sent(&whole[at..]), checksum(whole, at));
    if sent == computed { Ok(()) } else { Err(ProxyHeaderError::Checksum { sent, computed }) }
}

fn sent(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<CRC_LEN>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The checksum of a header, with zeros where itself stands.
fn checksum(whole: &[u8], at: usize) -> u32 {
    crc32c(whole[..at].iter().chain(&[0; CRC_LEN]).chain(&whole[at + CRC_LEN..]))
}

/// A value and where its type stands.
pub(super) struct Tlv<'a> {
    at: usize,
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
}

/// The values one by one; one that does not fit ends them, as its place.
pub(super) struct Tlvs<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tlvs<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let split = rest.split_first_chunk::<TLV_START_LEN>().and_then(|(start, rest)| {
            let len = usize::from(u16::from_be_bytes([start[1], start[2]]));
            Some((start[0], rest.get(..len)?))
        });
        let Some((kind, value)) = split else {
            self.at = self.bytes.len();
            return Some(Err(at));
        };
        self.at = at + TLV_START_LEN + value.len();
        Some(Ok(Tlv { at, kind, value }))
    }
}

/// Family and transport as a byte, and the addresses as bytes; `None` for two that version 2 cannot name
/// together.
pub(super) fn block(origin: &ProxyOrigin) -> Option<(u8, Vec<u8>)> {
    let ProxyOrigin::Client { kind, source, destination } = origin else {
        return Some((0, Vec::new()));
    };
    let (family, bytes) = match (source, destination) {
        (Address::V4(from), Address::V4(to)) => {
            let ports = [from.port(), to.port()].map(u16::to_be_bytes);
            (1, [&from.ip().octets()[..], &to.ip().octets(), &ports[0], &ports[1]].concat())
        }
        (Address::V6(from), Address::V6(to)) => {
            let ports = [from.port(), to.port()].map(u16::to_be_bytes);
            (2, [&from.ip().octets()[..], &to.ip().octets(), &ports[0], &ports[1]].concat())
        }
        _ => (3, [filled(source)?, filled(destination)?].concat()),
    };
    let transport = match kind {
        Kind::Stream => 1,
        Kind::Datagram => 2,
        // The protocol has no number for records.
        Kind::SeqPacket => return None,
    };
    Some((family << 4 | transport, bytes))
}

/// The address of a local socket, filled up with NULs.
fn filled(address: &Address) -> Option<[u8; UNIX_LEN]> {
    let mut bytes = [0; UNIX_LEN];
    let (at, name) = match address {
        Address::Local(path) => (0, path),
        Address::Abstract(name) => (1, name),
        Address::V4(_) | Address::V6(_) | Address::Other { .. } => return None,
    };
    bytes.get_mut(at..at + name.len())?.copy_from_slice(name);
    Some(bytes)
}

pub(super) fn put_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) -> Option<()> {
    let [high, low] = u16::try_from(value.len()).ok()?.to_be_bytes();
    out.extend_from_slice(&[kind, high, low]);
    out.extend_from_slice(value);
    Some(())
}

/// The header for `origin`; `None` where version 2 has no words for it, or no length so great.
pub(super) fn written(origin: &ProxyOrigin, tlvs: &[u8], checksum: bool) -> Option<Vec<u8>> {
    let (family, addresses) = block(origin)?;
    let command = if *origin == ProxyOrigin::Proxy { LOCAL } else { PROXY };
    let mut out = [&SIGNATURE[..], &[0x20 | command, family, 0, 0], &addresses, tlvs].concat();
    if checksum {
        put_tlv(&mut out, tlv::CRC32C, &[0; CRC_LEN])?;
    }
    let len = u16::try_from(out.len() - START_LEN).ok()?;
    out[START_LEN - 2..START_LEN].copy_from_slice(&len.to_be_bytes());
    if checksum {
        let at = out.len() - CRC_LEN;
        let computed = self::checksum(&out, at);
        out[at..].copy_from_slice(&computed.to_be_bytes());
    }
    Some(out)
}
