//! The layout in which the kernel delivers packets into a provided buffer: header, address, bytes.
//!
//! Invariant: lengths come from the completion and are checked against the buffer; the length a
//! packet *had* is only reported, never used for slicing.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use io_uring::types::RecvMsgOut;
use netproc_core::{address::Address, pool::Buf};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestamp};
use socket2::Socket;

use crate::ring::empty_header;

/// `struct io_uring_recvmsg_out` and the room for an address and a control message's head in front of every packet.
pub(crate) const HEADER_LEN: u32 = 16 + NAME_LEN + TIME_LEN as u32;
const NAME_LEN: u32 = 128;
/// The head of one control message and nothing behind it: the time of arrival is cut off, and that
/// one was there is all we want to know. With more room the kernel would put the descriptors there
/// that a local peer passes, opened for us; so it closes them.
const TIME_LEN: u8 = if size_of::<libc::cmsghdr>() == 12 { 12 } else { 16 };

/// The template of every packet receive: how much room address and control message have.
pub(crate) struct PacketHeader(Box<libc::msghdr>);

impl PacketHeader {
    pub(crate) fn new() -> Self {
        let mut header = Box::new(empty_header());
        header.msg_namelen = NAME_LEN;
        header.msg_controllen = TIME_LEN.into();
        Self(header)
    }

    pub(crate) fn as_ptr(&self) -> *const libc::msghdr {
        &raw const *self.0
    }

    /// Takes a filled buffer apart; `None` when the kernel wrote less than the header.
    pub(crate) fn parse(&self, filled: &Buf) -> Option<Received> {
        let parts = RecvMsgOut::parse(filled, &self.0).ok()?;
        let from = (!parts.is_name_data_truncated()).then(|| address(parts.name_data())).flatten();
        let len = parts.payload_data().len();
        let had = parts.incoming_payload_len();
        let lost = had.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
        let start = HEADER_LEN as usize;
        let stamped = !parts.control_data().is_empty();
        Some(Received { bytes: filled.slice(start..start + len), from, lost, stamped })
    }
}

/// One packet or record.
pub(crate) struct Received {
    pub(crate) bytes: Buf,
    pub(crate) from: Option<Address>,
    pub(crate) lost: u32,
    /// Whether the kernel said when it came; it always does after [`stamp_records`], except of the
    /// end of the connection, which without this is just like a record of no bytes.
    pub(crate) stamped: bool,
}

/// Has the kernel say of every record when it came, also of those that wait already.
pub(crate) fn stamp_records(fd: &Socket) {
    // Where this is refused, which no kernel has reason to, an empty record is taken for the end.
    let _ = setsockopt(fd, ReceiveTimestamp, &true);
}

/// Reads a `sockaddr` of any family from its bytes; `None` for a peer without a name.
fn address(raw: &[u8]) -> Option<Address> {
    let (family, rest) = raw.split_first_chunk::<2>()?;
    let family = u16::from_ne_bytes(*family);
    match i32::from(family) {
        libc::AF_INET => {
            let (port, rest) = rest.split_first_chunk::<2>()?;
            let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
            Some(Address::V4(SocketAddrV4::new(ip, u16::from_be_bytes(*port))))
        }
        libc::AF_INET6 => {
            let (port, rest) = rest.split_first_chunk::<2>()?;
            let (flow, rest) = rest.split_first_chunk::<4>()?;
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
            let (ip, port) = (Ipv6Addr::from(*ip), u16::from_be_bytes(*port));
            Some(Address::V6(SocketAddrV6::new(ip, port, u32::from_ne_bytes(*flow), scope)))
        }
        libc::AF_UNIX => match rest.split_first()? {
            (0, name) => Some(Address::Abstract(name.into())),
            _ => Some(Address::Local(rest.split(|byte| *byte == 0).next()?.into())),
        },
        _ => Some(Address::Other { family, bytes: rest.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_read_from_its_bytes() {
        let v4 = [2u16.to_ne_bytes().as_slice(), &[0, 80, 127, 0, 0, 1], &[0; 8]].concat();
        assert_eq!(address(&v4).unwrap().to_string(), "[127 0 0 1 80]");
        let groups = [32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let v6 = [10u16.to_ne_bytes().as_slice(), &[0, 25, 0, 0, 0, 0], &groups, &[0; 4]].concat();
        assert_eq!(address(&v6).unwrap().to_string(), "[8193 3512 0 0 0 0 0 1 25]");
        let local = [1u16.to_ne_bytes().as_slice(), b"/run/x\0"].concat();
        assert_eq!(address(&local), Some(Address::Local(b"/run/x".as_slice().into())));
        let hidden = [1u16.to_ne_bytes().as_slice(), b"\0name"].concat();
        assert_eq!(address(&hidden), Some(Address::Abstract(b"name".as_slice().into())));
        assert_eq!(address(&1u16.to_ne_bytes()), None, "a local socket without a name");
        let other = [77u16.to_ne_bytes().as_slice(), &[1, 2]].concat();
        assert_eq!(address(&other), Some(Address::Other { family: 77, bytes: [1, 2].into() }));
        for cut in 0..v6.len() {
            let _ = address(&v6[..cut]);
        }
    }
}
