//! Packets of one sender that the system hands over as one, and how they come apart again.
//!
//! Invariant: every packet keeps its bounds. All pieces of a joined packet are of the length the system
//! names, but for a shorter last one.

use socket2::{Socket, Type};

use crate::pool::Buf;

/// Whether `socket` sends and receives packets of UDP.
#[must_use]
pub fn speaks_udp(socket: &Socket) -> bool {
    // The family of the address, even of none: not every system can be asked for the socket's own.
    let internet = socket.local_addr().is_ok_and(|local| local.is_ipv4() || local.is_ipv6());
    internet && matches!(socket.r#type(), Ok(Type::DGRAM))
}

/// The longest that joined packets can be.
#[cfg(any(target_os = "linux", target_os = "android"))]
const JOINED_LEN_MAX: u32 = 64 * 1024 - 1;

/// Has the system join packets of one sender that come together (`UDP_GRO`), if whoever reads has room
/// for as many bytes as that can be; the reader then has to look for the length of each.
///
/// # Source
///
/// udp(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn join_input(socket: &Socket, room: u32) {
    use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
    if room >= JOINED_LEN_MAX && speaks_udp(socket) {
        // A kernel before 5.0 has no such thing, and then each comes by itself.
        let _refused = setsockopt(socket, UdpGroSegment, &true);
    }
}

/// Nothing: there is no such thing here.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const fn join_input(_: &Socket, _room: u32) {}

/// How long packets are that came joined, if one of the control messages in `said` tells (`UDP_GRO`): what
/// `recvmsg(2)` has filled in, in whole or cut short, with whatever else was asked for.
///
/// # Source
///
/// `cmsg(3)`, `udp(7)`.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[must_use]
pub fn joined_len(mut said: &[u8]) -> Option<usize> {
    const WORD: usize = size_of::<libc::c_long>();
    let wanted = [libc::SOL_UDP, libc::UDP_GRO].map(i32::to_ne_bytes);
    loop {
        let (len, rest) = said.split_first_chunk::<WORD>()?;
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        if [*level, *kind] == wanted {
            return usize::try_from(i32::from_ne_bytes(*rest.first_chunk()?)).ok();
        }
        // A length of nothing stands where nothing was filled in.
        let len =
            usize::from_ne_bytes(*len).checked_next_multiple_of(WORD).filter(|&len| len > 0)?;
        said = said.get(len..)?;
    }
}

/// The packets in what one receive brought.
///
/// # Examples
///
/// ```
/// use netproc_core::{pool::Buf, socket::Pieces};
///
/// let lens = |bytes: &[u8], len| Pieces::new(Buf::copied(bytes), len).map(|(buf, _)| buf.len()).collect::<Vec<_>>();
/// assert_eq!(lens(b"abcdefgh", Some(3)), [3, 3, 2]);
/// assert_eq!(lens(b"abcdefgh", None), [8], "not joined");
/// assert_eq!(lens(b"", None), [0], "an empty packet is one, too");
/// ```
#[derive(Debug)]
pub struct Pieces {
    joined: Buf,
    len: usize,
    at: usize,
    done: bool,
}

impl Pieces {
    /// The packets in `joined`, each `len` bytes long but for the last, if the system named a length.
    #[must_use]
    pub fn new(joined: Buf, len: Option<usize>) -> Self {
        // A length of nothing would never come to an end.
        let len = len.filter(|&len| len > 0).unwrap_or(usize::MAX);
        Self { joined, len, at: 0, done: false }
    }
}

impl Iterator for Pieces {
    /// A packet, and whether it is the last.
    type Item = (Buf, bool);

    fn next(&mut self) -> Option<(Buf, bool)> {
        if self.done {
            return None;
        }
        let end = self.at.saturating_add(self.len).min(self.joined.len());
        let piece = self.joined.slice(self.at..end);
        (self.at, self.done) = (end, end == self.joined.len());
        Some((piece, self.done))
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    /// A control message of a number.
    fn said(level: i32, kind: i32, number: i32) -> Vec<u8> {
        let len = size_of::<libc::c_long>() + 12;
        let mut bytes = [&len.to_ne_bytes()[..], &level.to_ne_bytes()].concat();
        bytes.extend([kind, number].map(i32::to_ne_bytes).as_flattened());
        bytes.resize(len.next_multiple_of(size_of::<libc::c_long>()), 0);
        bytes
    }

    #[test]
    fn only_the_length_of_joined_packets_counts() {
        let ours = said(libc::SOL_UDP, libc::UDP_GRO, 1_200);
        let others = said(libc::SOL_SOCKET, libc::UDP_GRO, 7);
        assert_eq!(joined_len(&ours), Some(1_200));
        assert_eq!(joined_len(&said(libc::SOL_UDP, libc::UDP_GRO, -1)), None);
        assert_eq!(joined_len(&others), None);
        assert_eq!(joined_len(&said(libc::SOL_UDP, libc::UDP_SEGMENT, 1_200)), None);
        let behind = [&others[..], &others, &ours, &others].concat();
        assert_eq!(joined_len(&behind), Some(1_200));
        let end = others.len() * 2 + size_of::<libc::c_long>() + 12;
        for cut in 0..=behind.len() {
            assert_eq!(joined_len(&behind[..cut]), (cut >= end).then_some(1_200), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_the_end() {
        let ours = said(libc::SOL_UDP, libc::UDP_GRO, 1_200);
        for len in [0, 1, 8, 1_000, usize::MAX, usize::MAX - 3] {
            let mut bytes = said(libc::SOL_SOCKET, 0, 0);
            bytes[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            bytes.extend(&ours);
            assert_eq!(joined_len(&bytes), None, "a length of {len}");
        }
        assert_eq!(joined_len(&[0; 256]), None);
    }
}
