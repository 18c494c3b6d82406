//! Streams of bytes: reading into slots, sending what is queued, throwing away what is unwanted.
//!
//! Invariant: a turn makes a bounded number of calls; a socket that could go on is put on the hot
//! list. A short read means that nothing is left, unless the kernel hinted that an end, an error or
//! an urgent mark may stand behind it.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd as _,
};

use netproc_core::{
    outbox::{Outbox, Queue},
    pipe,
    reactor::{Event, Op, SockId, SysError},
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use socket2::Socket;

use crate::{
    hub::{Batch, Hub},
    life,
    sock::{Class, Sock},
};

/// Payloads that one call gathers.
const GATHER_MAX: usize = 16;
/// Bytes that one call gathers: some systems refuse more than an `int` counts.
const GATHER_LEN_MAX: usize = 1 << 30;
/// Sending calls of one socket before the next gets its turn.
const SENDS_PER_TURN: u32 = 16;

/// For every send: never SIGPIPE, never wait. Apple's systems have a socket option for the former.
pub(crate) const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | NO_SIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;

/// Reads until nothing is left, the turn is over, or memory runs out.
pub(crate) fn read(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    for _ in 0..hub.config.reads_per_turn {
        if batch.is_full() {
            break;
        }
        let Some(slot) = hub.streams.slot() else {
            hub.counters.starved += 1;
            sock.listed.starving = true;
            hub.streams.starve(id);
            return;
        };
        let room = slot.room() as usize;
        hub.counters.syscalls += 1;
        match slot.fill(room, |room| sock.receive(room)) {
            Ok(buf) if buf.is_empty() => return life::input_ended(id, sock, hub, batch),
            Ok(buf) => {
                let len = buf.len();
                hub.counters.received += len as u64;
                batch.push(Event::Data { id, buf, lost: 0 });
                if sock.is_wound_up(len) {
                    return life::end(id, sock, hub, None);
                }
                if len < room && !sock.drain {
                    sock.can_read = false;
                    return;
                }
            }
            Err(Errno::EAGAIN) => return life::input_dry(id, sock, hub),
            Err(err) => return life::end(id, sock, hub, Some(recv_error(err))),
        }
    }
    hub.agenda.ready(id, sock);
}

/// Reads input away, of a stream or of records, towards the peer's end.
pub(crate) fn discard(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    for _ in 0..hub.config.reads_per_turn {
        hub.counters.syscalls += 1;
        let scratch = hub.scratch();
        let room = scratch.len();
        let bytes = matches!(sock.class, Class::Stream | Class::Pipes);
        match sock.receive(scratch) {
            Ok(0) if bytes || crate::packets::peer_ended(sock, hub) => {
                return life::input_ended(id, sock, hub, batch);
            }
            Ok(len) if len < room && !sock.drain && bytes => {
                sock.can_read = false;
                return;
            }
            Ok(_) => {}
            Err(Errno::EAGAIN) => return life::input_dry(id, sock, hub),
            Err(err) => return life::end(id, sock, hub, Some(recv_error(err))),
        }
    }
    hub.agenda.ready(id, sock);
}

/// Sends what is queued until the kernel takes no more or the turn is over.
pub(crate) fn flush(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    for _ in 0..SENDS_PER_TURN {
        let Queue::Bytes(outbox) = &mut sock.out else { return };
        if outbox.is_empty() {
            return;
        }
        hub.counters.syscalls += 1;
        let (asked, result) = send(&sock.socket, outbox);
        match result {
            Ok(sent) => {
                outbox.advance(sent);
                hub.note_sent(id, sock, sent);
                if sent < asked {
                    hub.counters.short_sends += 1;
                    sock.can_write = false;
                    return;
                }
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                sock.can_write = false;
                return;
            }
            Err(err) => {
                return life::output_failed(id, sock, hub, SysError::new(Op::Send, &err));
            }
        }
    }
    if !sock.out.is_empty() {
        hub.agenda.ready(id, sock);
    }
}

/// One sending call; returns how much was offered with what the system says.
fn send(socket: &Socket, outbox: &Outbox) -> (usize, io::Result<usize>) {
    // One payload, which is almost every time, needs no list of them.
    if outbox.len() == 1 {
        let chunk = outbox.chunks().next().unwrap_or_default();
        let chunk = &chunk[..chunk.len().min(GATHER_LEN_MAX)];
        return (chunk.len(), socket.send_with_flags(chunk, SEND_FLAGS));
    }
    let mut slices = [IoSlice::new(&[]); GATHER_MAX];
    let (mut count, mut total) = (0, 0);
    for (slice, chunk) in slices.iter_mut().zip(outbox.chunks()) {
        let chunk = &chunk[..chunk.len().min(GATHER_LEN_MAX - total)];
        *slice = IoSlice::new(chunk);
        total += chunk.len();
        count += 1;
        if total == GATHER_LEN_MAX {
            break;
        }
    }
    (total, socket.send_vectored_with_flags(&slices[..count], SEND_FLAGS))
}

impl Sock {
    /// One reading call; a signal does not count.
    fn receive(&self, room: &mut [u8]) -> nix::Result<usize> {
        if self.class == Class::Pipes {
            return pipe::read(&self.socket, room);
        }
        receive(&self.socket, room)
    }
}

fn receive(socket: &Socket, room: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(socket.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

pub(crate) fn recv_error(err: Errno) -> SysError {
    SysError { op: Op::Recv, errno: err as i32 }
}
