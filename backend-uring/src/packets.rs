//! Packets and records received: the layout in which the kernel delivers them into a provided buffer (header,
//! address, bytes), and what is made of one.
//!
//! Invariant: lengths come from the completion and are checked against the buffer; the length a
//! packet *had* is only reported, never used for slicing.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use io_uring::types::RecvMsgOut;
use netproc_core::{
    address::Address,
    pool::Buf,
    reactor::{Event, Op, Role},
    socket::{Pieces, joined_len},
};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestamp};
use socket2::Socket;

use crate::{
    batch::Batch,
    cqe::Completion,
    io::{Group, Io},
    ring::empty_header,
    sock::{Input, Sock},
};

/// The most that stands in front of a packet: `struct io_uring_recvmsg_out`, an address, what is said
/// beside.
pub(crate) const HEADER_LEN: u32 = OUT_LEN + NAME_LEN + HEAD_LEN as u32 + 8;
/// `struct io_uring_recvmsg_out`.
const OUT_LEN: u32 = 16;
const NAME_LEN: u32 = 128;
/// The head of one control message.
const HEAD_LEN: u8 = if size_of::<libc::cmsghdr>() == 12 { 12 } else { 16 };
/// How long the packets are that came joined, and what a socket that came from elsewhere has asked for and the
/// kernel says before that, such as times of arrival: five times what a number takes, which leaves a name of IP room.
const WIDE_LEN: u8 = 5 * (HEAD_LEN + 8);

/// The template of every packet receive: how much room address and control messages have.
pub(crate) struct PacketHeader(Box<libc::msghdr>);

impl PacketHeader {
    /// For records and local packets: room for the head of one control message and nothing behind it.
    /// The time of arrival is cut off, and that one was there is all we want to know. With more room
    /// the kernel would put the descriptors there that a local peer passes, opened for us; so it
    /// closes them.
    pub(crate) fn narrow() -> Self {
        Self::new(HEAD_LEN)
    }

    /// For packets of UDP, which pass no descriptors, and may come joined.
    pub(crate) fn wide() -> Self {
        Self::new(WIDE_LEN)
    }

    fn new(control_len: u8) -> Self {
        let mut header = Box::new(empty_header());
        // What one has less for control messages goes to the name, so that packets find the same room.
        header.msg_namelen = HEADER_LEN - OUT_LEN - u32::from(control_len);
        header.msg_controllen = control_len.into();
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
        let said = parts.control_data();
        let (stamped, joined) = (!said.is_empty(), joined_len(said));
        Some(Received { bytes: filled.slice(start..start + len), from, lost, stamped, joined })
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
    /// How long each of several packets is.
    pub(crate) joined: Option<usize>,
}

impl Received {
    /// The packets it is.
    pub(crate) fn pieces(self) -> Pieces {
        Pieces::new(self.bytes, self.joined)
    }
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
            // `None` for a path longer than ours can be.
            _ => Address::local(rest.split(|byte| *byte == 0).next()?).ok(),
        },
        _ => Some(Address::Other { family, bytes: rest.into() }),
    }
}

impl Sock {
    /// A receive of packets or records brought something.
    pub(crate) fn on_recv_packet(
        &mut self,
        completion: &Completion,
        io: &mut Io,
        out: &mut Batch<'_>,
    ) {
        if !completion.more() {
            self.input = Input::Idle;
            io.mark(self);
        }
        match (completion.count(), io.group(Group::Packets).complete(completion)) {
            (Ok(_), Some(buf)) => self.on_packet(&buf, io, out),
            (Ok(count), None) => self.on_nothing(count, out),
            (Err(errno), _) => self.on_recv_error(errno, io, out),
        }
    }

    fn on_packet(&mut self, filled: &Buf, io: &mut Io, out: &mut Batch<'_>) {
        let parsed = io.packets.as_ref().and_then(|own| own.header(self.udp).parse(filled));
        let Some(mut received) = parsed else { return self.fail(Op::Recv, libc::EIO) };
        if self.role == Role::Connection && received.bytes.is_empty() && !received.stamped {
            return self.on_end(out);
        }
        io.counters.received += received.bytes.len() as u64;
        if received.joined.is_some() {
            io.ring.note_joined();
        }
        if self.muted {
            return;
        }
        let (id, lost) = (self.id(), received.lost);
        if self.role == Role::Connection {
            return out.push(Event::Data { id, buf: received.bytes, lost });
        }
        let from = received.from.take();
        for (buf, last) in received.pieces() {
            let lost = if last { lost } else { 0 };
            out.push(Event::Datagram { id, buf, from: from.clone(), lost });
        }
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
        let endless = [1u16.to_ne_bytes().as_slice(), &[b'x'; 108]].concat();
        assert_eq!(address(&endless), None, "longer than ours can be");
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
