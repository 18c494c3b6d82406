//! Packets of the Internet on their way out, many in one system call.
//!
//! Invariant: packets go out in the order they were queued, each once, with its own bounds. What one call
//! takes are runs from the front of the queue; a run to one peer, of one length but for a shorter last,
//! is handed over as one long packet that the system cuts apart again (`UDP_SEGMENT`), where it knows of
//! that and has not refused it for packets so long. Where there are no such calls, it is one call a packet.

#![cfg_attr(
    any(target_os = "linux", target_os = "android"),
    expect(unsafe_code, reason = "no library sends runs of different lengths in one call")
)]

use std::io;

use socket2::Socket;

use super::to_sockaddr;
use crate::{
    outbox::{Packet, Packets},
    reactor::{Op, SysError},
};

/// Room for what one call points to; kept by a backend for all its sockets.
#[derive(Debug, Default)]
pub struct Burst {
    /// Made when several packets wait for the first time.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    room: Option<Box<system::Room>>,
}

/// What one call took off the front of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Taken {
    /// How many packets.
    pub packets: usize,
    /// Their bytes.
    pub bytes: usize,
    /// What became of packets sent before, which the system tells in place of sending.
    pub late: Option<SysError>,
}

impl Burst {
    /// Sends packets from the front of `packets`, in one call that does not wait, and takes those off
    /// that the system has. There has to be one.
    ///
    /// # Errors
    ///
    /// The system's refusal of the first packet, which stays where it is; `WouldBlock` without room.
    pub fn send(&mut self, socket: &Socket, packets: &mut Packets) -> io::Result<Taken> {
        match self.send_once(socket, packets) {
            Err(err) if may_be_late(&err) => {
                // Told of once. If it was of packets before, the first of these was not tried.
                let taken = self.send_once(socket, packets)?;
                Ok(Taken { late: Some(SysError::new(Op::Send, &err)), ..taken })
            }
            result => result,
        }
    }

    fn send_once(&mut self, socket: &Socket, packets: &mut Packets) -> io::Result<Taken> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if packets.len() > 1 {
            return self.room.get_or_insert_default().send(socket, packets);
        }
        send_first(socket, packets)
    }
}

/// Whether an answer of the network to a packet sent before may be what the system tells.
fn may_be_late(err: &io::Error) -> bool {
    use libc::{ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT};
    let answers = [ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT];
    err.raw_os_error().is_some_and(|errno| answers.contains(&errno))
}

fn send_first(socket: &Socket, packets: &mut Packets) -> io::Result<Taken> {
    let Some(Packet { payload, to }) = packets.front() else {
        return Ok(Taken { packets: 0, bytes: 0, late: None });
    };
    let bytes = payload.as_slice();
    match to {
        Some(to) => socket.send_to_with_flags(bytes, &to_sockaddr(to)?, FLAGS)?,
        None => socket.send_with_flags(bytes, FLAGS)?,
    };
    Ok(taken(packets, 1))
}

/// Takes off what has gone.
fn taken(packets: &mut Packets, count: usize) -> Taken {
    let before = packets.bytes();
    for _ in 0..count {
        packets.pop();
    }
    let bytes = usize::try_from(before - packets.bytes()).expect("they were in memory");
    Taken { packets: count, bytes, late: None }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: i32 = 0;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    //! `sendmmsg(2)` with `UDP_SEGMENT`.

    use std::{fmt, io, iter::Peekable, os::fd::AsRawFd as _};

    use nix::sys::socket::{getsockopt, sockopt::UdpGsoSegment};
    use socket2::{SockAddr, Socket};

    use super::{FLAGS, Packet, Packets, Taken, send_first, taken, to_sockaddr};

    /// Runs in one call.
    const RUNS_MAX: usize = 32;
    /// Packets in one run: what every kernel with `UDP_SEGMENT` takes.
    const RUN_LEN_MAX: usize = 64;
    /// Packets in one call.
    const PARTS_MAX: usize = 512;
    /// Bytes of one run: less than the longest packet of either family.
    const RUN_BYTES_MAX: usize = 65_000;
    /// What every path of the Internet carries.
    const SAFE_LEN: usize = 1_200;

    /// The control message that says where to cut, in the layout of `CMSG_DATA`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Control {
        header: libc::cmsghdr,
        cut: u16,
    }

    pub(super) struct Room {
        headers: [libc::mmsghdr; RUNS_MAX],
        controls: [Control; RUNS_MAX],
        parts: [libc::iovec; PARTS_MAX],
        runs: Vec<Run>,
    }

    /// Packets for one peer that go as one.
    struct Run {
        count: usize,
        /// The length of all but perhaps the last.
        len: usize,
        to: Option<SockAddr>,
    }

    impl Default for Room {
        fn default() -> Self {
            // SAFETY: C structures of pointers and numbers, for which zeros are valid.
            let (header, control): (libc::mmsghdr, Control) = unsafe { std::mem::zeroed() };
            let part = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            Self {
                headers: [header; RUNS_MAX],
                controls: [control; RUNS_MAX],
                parts: [part; PARTS_MAX],
                runs: Vec::with_capacity(RUNS_MAX),
            }
        }
    }

    impl fmt::Debug for Room {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Room").finish_non_exhaustive()
        }
    }

    impl Room {
        pub(super) fn send(&mut self, socket: &Socket, packets: &mut Packets) -> io::Result<Taken> {
            let joined_len_max = *packets.joined_len_max.get_or_insert_with(|| {
                // What does not know of it, a kernel before 4.18 or another protocol than UDP, would not
                // refuse the message that says where to cut, but send all of a run as one packet.
                if getsockopt(socket, UdpGsoSegment).is_ok() { usize::MAX } else { 0 }
            });
            self.gather(packets, joined_len_max)?;
            self.point();
            let (headers, count) = (self.headers.as_mut_ptr(), sized(self.runs.len()));
            // SAFETY: as many headers as there are runs point into this room and into the payloads
            // of `packets`; nobody touches either before the call has returned, and after it
            // nothing reads the headers until `point` writes them anew.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, sized(FLAGS)) };
            if let Ok(sent) = usize::try_from(sent) {
                return Ok(taken(packets, self.runs[..sent].iter().map(|run| run.count).sum()));
            }
            let err = io::Error::last_os_error();
            let Run { count, len, .. } = self.runs[0];
            if count == 1 || !refuses_to_cut(&err) {
                return Err(err);
            }
            // It may be their peer that is refused: only if one goes by itself it was the cutting.
            let sent = send_first(socket, packets)?;
            // Longer than the path carries, or a device that cannot do it at all.
            packets.joined_len_max = Some(if len > SAFE_LEN { SAFE_LEN } else { 0 });
            Ok(sent)
        }

        /// Collects the first packets into runs.
        fn gather(&mut self, packets: &Packets, joined_len_max: usize) -> io::Result<()> {
            self.runs.clear();
            let mut waiting = packets.iter().peekable();
            let mut parts = 0;
            while self.runs.len() < RUNS_MAX && parts < PARTS_MAX {
                let Some(first) = waiting.next() else { break };
                let to = match first.to.as_ref().map(to_sockaddr).transpose() {
                    // Told when it is the first.
                    Err(err) if parts == 0 => return Err(err),
                    Err(_) => break,
                    Ok(to) => to,
                };
                let room = &mut self.parts[parts..];
                let count = gather_run(room, first, &mut waiting, joined_len_max);
                self.runs.push(Run { count, len: first.payload.len(), to });
                parts += count;
            }
            Ok(())
        }

        /// Points the headers at the runs; from here on nothing moves until the call.
        fn point(&mut self) {
            let (parts, controls) = (self.parts.as_mut_ptr(), self.controls.as_mut_ptr());
            let mut start = 0;
            for (index, (run, whole)) in self.runs.iter().zip(&mut self.headers).enumerate() {
                // SAFETY: a C structure of pointers and numbers, for which zeros are valid.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_iov = parts.wrapping_add(start);
                header.msg_iovlen = sized(run.count);
                start += run.count;
                if let Some(to) = &run.to {
                    header.msg_name = to.as_ptr().cast_mut().cast();
                    header.msg_namelen = to.len();
                }
                if run.count > 1 {
                    let control = controls.wrapping_add(index);
                    // SAFETY: inside the array, of which there are as many as runs at most.
                    unsafe { control.write(Control::cut_at(run.len)) };
                    header.msg_control = control.cast();
                    header.msg_controllen = sized(size_of::<Control>());
                }
                *whole = libc::mmsghdr { msg_hdr: header, msg_len: 0 };
            }
        }
    }

    impl Control {
        fn cut_at(len: usize) -> Self {
            // SAFETY: a C structure of numbers, for which zeros are valid.
            let mut control: Self = unsafe { std::mem::zeroed() };
            control.header.cmsg_level = libc::SOL_UDP;
            control.header.cmsg_type = libc::UDP_SEGMENT;
            control.header.cmsg_len = sized(std::mem::offset_of!(Self, cut) + size_of::<u16>());
            control.cut = sized(len);
            control
        }
    }

    /// Points `room` at `first` and the packets behind it that can be joined with it; returns how many.
    fn gather_run<'a>(
        room: &mut [libc::iovec],
        first: &'a Packet,
        waiting: &mut Peekable<impl Iterator<Item = &'a Packet>>,
        joined_len_max: usize,
    ) -> usize {
        let len = first.payload.len();
        room[0] = iovec(first.payload.as_slice());
        if len == 0 || len > joined_len_max {
            return 1;
        }
        let (mut count, mut total, mut last) = (1, len, len);
        while count < RUN_LEN_MAX.min(room.len()) && last == len {
            let fits = |next: &&Packet| {
                let more = next.payload.len();
                (1..=len).contains(&more) && total + more <= RUN_BYTES_MAX && next.to == first.to
            };
            let Some(next) = waiting.next_if(fits) else { break };
            room[count] = iovec(next.payload.as_slice());
            last = next.payload.len();
            total += last;
            count += 1;
        }
        count
    }

    /// Whether it was the joining that the system would not do; a packet alone may still go.
    fn refuses_to_cut(err: &io::Error) -> bool {
        let errno = err.raw_os_error().unwrap_or(0);
        matches!(errno, libc::EINVAL | libc::EMSGSIZE | libc::EIO | libc::EOPNOTSUPP)
    }

    fn iovec(bytes: &[u8]) -> libc::iovec {
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
    }

    /// Types of lengths, counts and flags differ from libc to libc.
    fn sized<T: TryFrom<N>, N>(number: N) -> T {
        T::try_from(number).ok().expect("a small number fits every integer")
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd as _};

    use super::*;
    use crate::address::Address;

    fn queued(lens: &[usize], to: &UdpSocket) -> Packets {
        let to = to.local_addr().expect("it is bound").into();
        let mut packets = Packets::default();
        for &len in lens {
            packets.push(Packet { payload: vec![7; len].into(), to: Some(Clone::clone(&to)) });
        }
        packets
    }

    fn received(socket: &UdpSocket, count: usize) -> Vec<usize> {
        (0..count).map(|_| socket.recv(&mut [0; 2_000]).expect("it was sent")).collect()
    }

    #[test]
    fn one_call_takes_runs_and_single_packets() {
        let (ours, theirs) = (
            Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap()),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let lens = [100, 100, 40, 0, 0, 1_000, 1_000, 1_000];
        let mut packets = queued(&lens, &theirs);
        let taken = Burst::default().send(&ours, &mut packets).unwrap();
        assert_eq!(taken, Taken { packets: 8, bytes: lens.iter().sum(), late: None });
        assert!(packets.is_empty());
        assert_eq!(received(&theirs, lens.len()), lens);
    }

    #[test]
    fn where_joining_is_refused_each_goes_by_itself() {
        let (ours, theirs) = (
            Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap()),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let on: libc::c_int = 1;
        // Without sums there is nothing the system could cut into.
        // SAFETY: the option is an int, and `on` is one that lives until the call returns.
        let set = unsafe {
            libc::setsockopt(
                ours.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                (&raw const on).cast(),
                4,
            )
        };
        assert_eq!(set, 0);
        let lens = [1_500, 1_500, 100, 100, 100];
        let mut packets = queued(&lens, &theirs);
        let mut burst = Burst::default();
        while !packets.is_empty() {
            burst.send(&ours, &mut packets).unwrap();
        }
        assert_eq!(received(&theirs, lens.len()), lens);
        assert_eq!(packets.joined_len_max, Some(0));
    }

    #[test]
    fn a_peer_that_is_refused_says_nothing_of_others() {
        let (ours, theirs) = (
            Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap()),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        // Nobody can be answered who names this port.
        let nowhere = Address::from_vector(&[127, 0, 0, 1, 0]).unwrap();
        let mut packets = Packets::default();
        for _ in 0..2 {
            packets.push(Packet { payload: "no".into(), to: Some(nowhere.clone()) });
        }
        let mut burst = Burst::default();
        for left in [2, 1] {
            let refused = burst.send(&ours, &mut packets).unwrap_err();
            assert_eq!((refused.raw_os_error(), packets.len()), (Some(libc::EINVAL), left));
            packets.pop();
        }
        let mut more = queued(&[9; 3], &theirs);
        more.joined_len_max = packets.joined_len_max;
        assert_eq!(more.joined_len_max, Some(usize::MAX));
        assert_eq!(
            burst.send(&ours, &mut more).unwrap(),
            Taken { packets: 3, bytes: 27, late: None }
        );
        assert_eq!(received(&theirs, 3), [9; 3]);
    }

    #[test]
    fn what_is_not_udp_joins_nothing() {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let mut packets = Packets::default();
        for payload in ["a", "b"] {
            packets.push(Packet { payload: payload.into(), to: None });
        }
        let taken = Burst::default().send(&Socket::from(ours), &mut packets).unwrap();
        assert_eq!(
            (taken, packets.joined_len_max),
            (Taken { packets: 2, bytes: 2, late: None }, Some(0))
        );
        for _ in 0..2 {
            assert_eq!(theirs.recv(&mut [0; 9]).unwrap(), 1);
        }
    }

    #[test]
    fn the_first_that_is_refused_stays() {
        let (ours, theirs) = (
            Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap()),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let mut packets = queued(&[70_000, 70_000, 5], &theirs);
        let mut burst = Burst::default();
        for left in [3, 2] {
            let refused = burst.send(&ours, &mut packets).unwrap_err();
            assert_eq!((refused.raw_os_error(), packets.len()), (Some(libc::EMSGSIZE), left));
            packets.pop();
        }
        burst.send(&ours, &mut packets).unwrap();
        assert_eq!(received(&theirs, 1), [5]);
    }
}
