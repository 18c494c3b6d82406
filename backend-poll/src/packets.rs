//! Packets and records: one call each, one event each, never split and never joined.
//!
//! Invariant: a packet socket is not ended by an error; the packet concerned is gone and the owner
//! told. A record connection is. Packets of UDP may come joined and go many in one call, with their
//! bounds; how is in core's `socket`.

use std::{
    io::{self, IoSliceMut},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    time::Duration,
};

#[cfg(any(target_os = "linux", target_os = "android"))]
use netproc_core::socket::joined_len;
use netproc_core::{
    address::{Address, Family},
    outbox::{Packet, Queue},
    pool::Slot,
    reactor::{Event, Op, SockId, SysError},
    socket::{Pieces, from_sockaddr, to_sockaddr},
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockaddrLike, SockaddrStorage, UnixAddr, recvmsg},
};
#[cfg(any(target_os = "linux", target_os = "android"))]
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use socket2::Socket;

use crate::{
    hub::{Batch, Hub},
    life,
    sock::{Class, Sock},
    stream::{SEND_FLAGS, recv_error},
};

/// A packet is small beside a stream's read, so a turn takes this many times as many.
const PACKETS_PER_READ: u32 = 2;
/// Packets sent from one socket before the next gets its turn.
const SENDS_PER_TURN: u32 = 64;
/// The same where one call takes many.
const BURSTS_PER_TURN: u32 = 4;

/// With this flag Linux says how long a packet was, not how much of it fit.
const RECV_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_TRUNC);

/// Reads packets or records until none is left, the turn is over, or memory runs out.
pub(crate) fn read(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    let turn = hub.config.reads_per_turn.saturating_mul(PACKETS_PER_READ);
    let mut progress = false;
    for _ in 0..turn {
        if batch.is_full() {
            break;
        }
        hub.counters.syscalls += 1;
        let intake = hub.packets().expect("made before the first socket that needs it");
        let Some(slot) = intake.slot() else {
            intake.starve(id);
            hub.counters.starved += 1;
            sock.listed.starving = true;
            return;
        };
        match receive(sock, slot) {
            Ok(Received { buf, lost, .. }) if sock.class == Class::Records => {
                if buf.is_empty() && lost == 0 && peer_ended(sock, hub) {
                    return life::input_ended(id, sock, hub, batch);
                }
                hub.counters.received += buf.len() as u64;
                batch.push(Event::Data { id, buf, lost });
            }
            Ok(Received { buf, from, lost, joined }) => {
                hub.counters.received += buf.len() as u64;
                for (buf, last) in Pieces::new(buf, joined) {
                    let lost = if last { lost } else { 0 };
                    hub.deliver(batch, Event::Datagram { id, buf, from: from.clone(), lost });
                }
            }
            Err(Errno::EAGAIN) => return life::input_dry(id, sock, hub),
            Err(Errno::EINTR) => continue,
            // Of a peer that is gone without having read everything, before what it has sent.
            Err(err) if sock.class == Class::Records => {
                return life::failed(id, sock, hub, recv_error(err));
            }
            Err(err) => {
                batch.push(Event::Trouble { id, err: recv_error(err) });
                continue;
            }
        }
        progress = true;
    }
    if progress || batch.is_full() {
        hub.agenda.ready(id, sock);
    } else {
        // Nothing but errors for a whole turn: wait for the kernel to say that there is more.
        sock.can_read = false;
    }
}

struct Received {
    buf: netproc_core::pool::Buf,
    from: Option<Address>,
    lost: u32,
    /// How long each of several packets is.
    joined: Option<usize>,
}

/// How long a packet waits that found the receiver's queue full. Each try makes the kernel call our
/// end writable once more, so a try costs two waits.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Receives one packet or record into a slot that has room for the longest.
fn receive(sock: &Sock, slot: &mut Slot) -> nix::Result<Received> {
    let (mut from, mut lost, mut joined) = (None, 0, None);
    let read = |room: &mut [u8]| -> nix::Result<usize> {
        let room_len = room.len();
        let (len, cut);
        (len, cut, from) = match (sock.class, sock.family) {
            (Class::Packets, Family::Local) => {
                receive_from::<UnixAddr>(&sock.socket, room, local_name)?
            }
            (Class::Packets, Family::Ipv4 | Family::Ipv6) => {
                receive_joined(&sock.socket, room, &mut joined)?
            }
            (Class::Packets, _) => {
                // A family without a type of its own: its sender is asked for first.
                let peeked = sock.socket.peek_sender();
                let (len, cut, _) = receive_from::<()>(&sock.socket, room, |()| None)?;
                (len, cut, peeked.ok().and_then(|raw| from_sockaddr(&raw)))
            }
            _ => receive_from::<()>(&sock.socket, room, |()| None)?,
        };
        // Where the system only says that the packet was cut, at least one byte is missing.
        let missing = len.saturating_sub(room_len).max(usize::from(cut));
        lost = u32::try_from(missing).unwrap_or(u32::MAX);
        Ok(len.min(room_len))
    };
    let buf = slot.fill(usize::MAX, read)?;
    Ok(Received { buf, from, lost, joined })
}

/// One receiving call of a socket of UDP; `joined` is set if it brought several packets.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_joined(
    socket: &Socket,
    room: &mut [u8],
    joined: &mut Option<usize>,
) -> nix::Result<(usize, bool, Option<Address>)> {
    /// Room for what the system says beside the bytes, where its structures may lie. Of a socket that came
    /// from elsewhere that may be more than the length of joined packets; what has no room is cut.
    #[repr(align(8))]
    struct Control([u8; 256]);
    let mut parts = [IoSliceMut::new(room)];
    let mut control = Control([0; 256]);
    let said = Some(&mut control.0[..]);
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, said, RECV_FLAGS)?;
    let cut = message.flags.contains(MsgFlags::MSG_TRUNC);
    let (len, from) = (message.bytes, message.address.and_then(internet_name));
    *joined = joined_len(&control.0);
    Ok((len, cut, from))
}

/// The same where packets come one by one.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn receive_joined(
    socket: &Socket,
    room: &mut [u8],
    _: &mut Option<usize>,
) -> nix::Result<(usize, bool, Option<Address>)> {
    receive_from::<SockaddrStorage>(socket, room, internet_name)
}

/// One receiving call: the length, whether the packet was cut, and its sender as `name` reads it.
fn receive_from<S: SockaddrLike>(
    socket: &Socket,
    room: &mut [u8],
    name: impl FnOnce(S) -> Option<Address>,
) -> nix::Result<(usize, bool, Option<Address>)> {
    let mut parts = [IoSliceMut::new(room)];
    let message = recvmsg::<S>(socket.as_raw_fd(), &mut parts, None, RECV_FLAGS)?;
    let cut = message.flags.contains(MsgFlags::MSG_TRUNC);
    Ok((message.bytes, cut, message.address.and_then(name)))
}

fn internet_name(raw: SockaddrStorage) -> Option<Address> {
    let v4 = raw.as_sockaddr_in().map(|v4| Address::V4((*v4).into()));
    v4.or_else(|| raw.as_sockaddr_in6().map(|v6| Address::V6((*v6).into())))
}

/// The name of a local sender; most have none, and then the system fills nothing in.
fn local_name(raw: UnixAddr) -> Option<Address> {
    // Of a path without a closing NUL Linux names a length past the structure, and `path` would read there.
    let named =
        std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1..=size_of::<libc::sockaddr_un>();
    if !named.contains(&(raw.len() as usize)) {
        return None;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = raw.as_abstract() {
        return Some(Address::Abstract(name.into()));
    }
    raw.path().map(|path| Address::Local(path.as_os_str().as_bytes().into()))
}

/// Whether an empty record is the peer's end: it looks like one, and only the system can tell.
///
/// It is no end while the peer may still send or something lies behind it. What stays ambiguous: an
/// empty record that is the very last word before the peer's end is taken for that end. Off Linux
/// that also goes for several of them, and for one that comes alone while the peer says nothing.
pub(crate) fn peer_ended(sock: &Sock, hub: &mut Hub) -> bool {
    // Elsewhere half an end cannot be told from an empty record; taken for one, it would be read
    // for ever, so there it is always an end.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        hub.counters.syscalls += 2;
        let asked = PollFlags::from_bits_retain(libc::POLLRDHUP);
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&sock.socket), asked)];
        let _early = poll(&mut fds, PollTimeout::ZERO);
        // `None` says that the flag was set which `nix` has no name for: the one asked for.
        let over = |events: PollFlags| events.contains(PollFlags::POLLHUP);
        if !fds[0].revents().is_none_or(over) {
            return false;
        }
        // From now on each record carries its time of arrival, and the end, being none, does not.
        // Refused, it leaves empty records unseen below.
        let _refused = setsockopt(&sock.socket, sockopt::ReceiveTimestamp, &true);
    }
    // An empty record with others behind it is none.
    hub.counters.syscalls += 1;
    let (mut byte, peek) = ([0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    let mut parts = [IoSliceMut::new(&mut byte)];
    // Without room for the time, the system says that it was cut off, which is all we want to know.
    let another = recvmsg::<()>(sock.socket.as_raw_fd(), &mut parts, None, peek)
        .is_ok_and(|next| next.bytes > 0 || next.flags.contains(MsgFlags::MSG_CTRUNC));
    !another
}

/// Sends what is queued until the kernel takes no more or the turn is over; behind a packet that was refused, once
/// that was told.
///
/// A local receiver whose queue is full holds up only what is for it.
pub(crate) fn flush(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    if sock.speaks_udp() {
        return flush_bursts(id, sock, hub);
    }
    // The last so many found their receiver full; whether anything left the queue at all.
    let (mut deferred, mut progress) = (0, false);
    for _ in 0..SENDS_PER_TURN {
        if sock.listed.troubled {
            return hub.agenda.ready(id, sock);
        }
        let Queue::Packets(packets) = &mut sock.out else { return };
        if deferred == packets.len() {
            break;
        }
        let Some(packet) = packets.front() else { return };
        let len = packet.payload.len();
        hub.counters.syscalls += 1;
        let Err(err) = send(&sock.socket, packet) else {
            packets.pop();
            progress = true;
            hub.note_sent(id, sock, len);
            continue;
        };
        let kind = err.kind();
        let err = SysError::new(Op::Send, &err);
        // The BSDs say so of a local receiver whose queue is full.
        let full = sock.family == Family::Local && err.errno == libc::ENOBUFS;
        if kind == io::ErrorKind::WouldBlock || full {
            if full || sock.family == Family::Local && packets.destination().is_some() {
                deferred += packets.defer_front();
                continue;
            }
            sock.can_write = false;
            return;
        }
        if kind == io::ErrorKind::Interrupted {
            continue;
        }
        if sock.class == Class::Records && err.errno != libc::EMSGSIZE {
            return life::failed(id, sock, hub, err);
        }
        packets.pop();
        progress = true;
        // Told as trouble, and gone as far as sums go.
        hub.note_gone(id, sock, len);
        hub.agenda.trouble(id, sock, err);
    }
    rest_or_go_on(id, sock, hub, deferred, progress);
}

/// The same for UDP, where one call takes many.
fn flush_bursts(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    for _ in 0..BURSTS_PER_TURN {
        if sock.listed.troubled {
            return hub.agenda.ready(id, sock);
        }
        let Queue::Packets(packets) = &mut sock.out else { return };
        let Some(first) = packets.front() else { return };
        let len = first.payload.len();
        hub.counters.syscalls += 1;
        let err = match hub.burst.send(&sock.socket, packets) {
            Ok(taken) => {
                hub.note_sent(id, sock, taken.bytes);
                if let Some(err) = taken.late {
                    hub.agenda.trouble(id, sock, err);
                }
                continue;
            }
            Err(err) => err,
        };
        if err.kind() == io::ErrorKind::WouldBlock {
            return wait_for_room(id, sock, hub);
        }
        if err.kind() != io::ErrorKind::Interrupted {
            packets.pop();
            // Told as trouble, and gone as far as sums go.
            hub.note_gone(id, sock, len);
            hub.agenda.trouble(id, sock, SysError::new(Op::Send, &err));
        }
    }
    if !sock.out.is_empty() {
        hub.agenda.ready(id, sock);
    }
}

/// Has the kernel tell of room, of which there was none for a packet of UDP.
pub(crate) fn wait_for_room(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    sock.can_write = false;
    hub.agenda.blocked.push(id);
}

/// After a turn that the kernel did not end: another one soon, or a rest.
fn rest_or_go_on(id: SockId, sock: &mut Sock, hub: &mut Hub, deferred: usize, progress: bool) {
    let Queue::Packets(packets) = &sock.out else { return };
    if packets.is_empty() {
        return;
    }
    // With more receivers than a turn has calls, one that only met full ones counts as all of them.
    if deferred == packets.len() || (deferred > 0 && !progress) {
        // It is the receivers' queues that are full, and the system says of our end that it is
        // writable: nothing would tell us.
        sock.can_write = false;
        hub.retry(id, sock, RETRY_AFTER);
    } else {
        hub.agenda.ready(id, sock);
    }
}

fn send(socket: &Socket, packet: &Packet) -> io::Result<usize> {
    let bytes = packet.payload.as_slice();
    match &packet.to {
        Some(to) => socket.send_to_with_flags(bytes, &to_sockaddr(to)?, SEND_FLAGS),
        None => socket.send_with_flags(bytes, SEND_FLAGS),
    }
}
