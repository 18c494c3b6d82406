//! Streams of bytes: reading into slots, sending what is queued, throwing away what is unwanted.
//!
//! Invariant: a turn makes a bounded number of calls, across polls where the end of one cuts it short; a
//! socket that could go on is put on the hot list. A short read means that nothing is left, unless the
//! kernel hinted that an end, an error or an urgent mark may stand behind it; of a pipe, or a connection
//! within the machine, it is in doubt.

use std::time::Duration;

use netproc_core::{
    outbox::{Queue, SEND_LEN_MAX, TURN_LEN_MAX},
    pipe,
    reactor::{Op, SockId, SysError},
    socket::bytes,
};
use nix::errno::Errno;
use socket2::Socket;

use crate::{
    hub::{Batch, Hub},
    life,
    sock::{Class, Sock},
};

/// Sending calls of one socket before the next gets its turn, which it gets earlier after [`TURN_LEN_MAX`] bytes.
const SENDS_PER_TURN: u32 = 16;

/// Reads after which a turn goes on in no other poll, however many it may have: the kernel is not asked meanwhile.
const GOES_ON_MAX: u32 = 16;
/// Reads of what nobody wants, of which no poll has a bound.
const DISCARDS_PER_TURN: u32 = 4;

/// How long a send waits for which the system had no memory.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(20);

/// For every send: never SIGPIPE, never wait. Apple's systems have a socket option for the former.
pub(crate) const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | NO_SIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;

/// Reads until nothing is left, the turn is over, or memory runs out, where there is room for one read. That is
/// almost every time enough, so it is apart from those that may follow.
#[inline(always)]
pub(crate) fn read(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    if read_once::<false>(id, sock, hub, batch) {
        read_on::<false>(id, sock, hub, batch, 1);
    }
}

/// The same for what may be a pipe, or a connection within the machine.
pub(crate) fn read_any(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    if batch.is_done() {
        hub.agenda.ready(id, sock);
    } else if read_once::<true>(id, sock, hub, batch) {
        read_on::<true>(id, sock, hub, batch, 1);
    }
}

/// Goes on with a turn behind so many reads, which the end of a poll may have come after.
#[inline(never)]
pub(crate) fn read_on<const ANY: bool>(
    id: SockId,
    sock: &mut Sock,
    hub: &mut Hub,
    batch: &mut Batch<'_>,
    reads: u32,
) {
    for read in reads..hub.config.reads_per_turn {
        if batch.is_done() {
            if read < GOES_ON_MAX {
                return hub.agenda.go_on(id, sock, read);
            }
            break;
        }
        if !read_once::<ANY>(id, sock, hub, batch) {
            return;
        }
    }
    hub.agenda.ready(id, sock);
}

/// One read; returns whether there may be more.
#[inline(always)]
fn read_once<const ANY: bool>(
    id: SockId,
    sock: &mut Sock,
    hub: &mut Hub,
    batch: &mut Batch<'_>,
) -> bool {
    let Some(slot) = hub.streams.slot() else {
        starve(id, sock, hub);
        return false;
    };
    let room = slot.room() as usize;
    hub.counters.syscalls += 1;
    let receive = |room: &mut [u8]| match ANY {
        true => sock.receive(room),
        false => receive(&sock.socket, room),
    };
    let len = match slot.fill(usize::MAX, receive) {
        Ok(buf) if !buf.is_empty() => {
            let len = buf.len();
            batch.push_data(id, buf);
            len
        }
        other => {
            read_nothing(id, sock, hub, batch, other.map(drop));
            return false;
        }
    };
    hub.counters.received += len as u64;
    hub.streams.note(len);
    if ANY && sock.is_wound_up(len) {
        life::end(id, sock, hub, None);
        return false;
    }
    sock.can_read = len == room || sock.drain;
    if ANY && matches!(sock.class, Class::Local | Class::Pipes) && !sock.can_read {
        hub.doubt(id, sock);
    }
    sock.can_read
}

/// Has the socket wait for memory.
#[cold]
fn starve(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    hub.counters.starved += 1;
    sock.listed.starving = true;
    hub.streams.starve(id);
}

/// A read brought no byte: the end, nothing for now, or an error.
#[inline(never)]
fn read_nothing(
    id: SockId,
    sock: &mut Sock,
    hub: &mut Hub,
    batch: &mut Batch<'_>,
    result: Result<(), i32>,
) {
    match result {
        Ok(()) => life::input_ended(id, sock, hub, batch),
        Err(libc::EAGAIN) => life::input_dry(id, sock, hub),
        Err(errno) => life::end(id, sock, hub, Some(SysError { op: Op::Recv, errno })),
    }
}

/// Reads input away, of a stream or of records, towards the peer's end.
pub(crate) fn discard(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    for _ in 0..hub.config.reads_per_turn.min(DISCARDS_PER_TURN) {
        hub.counters.syscalls += 1;
        let scratch = hub.scratch();
        let room = scratch.len();
        let bytes = matches!(sock.class, Class::Stream | Class::Local | Class::Pipes);
        match sock.receive(scratch) {
            Ok(0) if bytes || crate::packets::peer_ended(sock, hub) => {
                return read_nothing(id, sock, hub, batch, Ok(()));
            }
            Ok(len) if len < room && !sock.drain && bytes => {
                // Of a local one more may be there, but nobody wants it, and an end is hinted.
                sock.can_read = false;
                return;
            }
            Ok(_) => {}
            Err(errno) => return read_nothing(id, sock, hub, batch, Err(errno)),
        }
    }
    hub.agenda.ready(id, sock);
}

/// Sends what is queued until the kernel takes no more or the turn is over. One payload that goes whole
/// is almost every time all, so it is apart from everything else.
#[inline(always)]
pub(crate) fn flush(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    let Queue::Bytes(outbox) = &mut sock.out else { return };
    let sole = outbox.sole_chunk().filter(|chunk| chunk.len() <= SEND_LEN_MAX);
    let Some(chunk) = sole else { return send_several(id, sock, hub) };
    hub.counters.syscalls += 1;
    let asked = chunk.len();
    let result = bytes::send(&sock.socket, chunk);
    if result == Ok(asked) {
        outbox.pass_sole();
        hub.note_sent(id, sock, asked);
    } else if has_sent(id, sock, hub, asked, result) {
        send_several(id, sock, hub);
    }
}

#[inline(never)]
fn send_several(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    if sock.out.is_empty() {
        return;
    }
    let enough = hub.counters.sent + TURN_LEN_MAX as u64;
    for _ in 0..SENDS_PER_TURN {
        if !send_once(id, sock, hub) {
            return;
        }
        if hub.counters.sent >= enough {
            break;
        }
    }
    hub.agenda.ready(id, sock);
}

/// One sending call; returns whether there is more and may be room for it.
fn send_once(id: SockId, sock: &mut Sock, hub: &mut Hub) -> bool {
    let Queue::Bytes(outbox) = &mut sock.out else { return false };
    hub.counters.syscalls += 1;
    let (asked, result) = bytes::send_front(&sock.socket, outbox);
    has_sent(id, sock, hub, asked, result)
}

/// Sees to what a call that was offered `asked` bytes came to; returns whether there is more and may be
/// room for it.
#[inline(never)]
fn has_sent(
    id: SockId,
    sock: &mut Sock,
    hub: &mut Hub,
    asked: usize,
    result: Result<usize, i32>,
) -> bool {
    let Queue::Bytes(outbox) = &mut sock.out else { return false };
    let sent = match result {
        Ok(sent) => sent,
        Err(errno) => return send_failed(id, sock, hub, errno),
    };
    outbox.advance(sent);
    let more = !outbox.is_empty();
    hub.note_sent(id, sock, sent);
    if sent < asked {
        hub.counters.short_sends += 1;
        sock.can_write = false;
        return false;
    }
    more
}

/// A send took nothing; returns whether it is to be tried again.
#[inline(never)]
fn send_failed(id: SockId, sock: &mut Sock, hub: &mut Hub, errno: i32) -> bool {
    match errno {
        libc::EINTR => return true,
        libc::EAGAIN => sock.can_write = false,
        // The system has no memory for now, and does not tell when it has: so it is on the BSDs when many
        // send much.
        libc::ENOBUFS => {
            sock.can_write = false;
            hub.retry(id, sock, RETRY_AFTER);
        }
        errno => life::failed(id, sock, hub, SysError { op: Op::Send, errno }),
    }
    false
}

impl Sock {
    /// One reading call; a signal does not count.
    #[inline]
    fn receive(&self, room: &mut [u8]) -> Result<usize, i32> {
        if self.class == Class::Pipes {
            return pipe::read(&self.socket, room).map_err(|err| err as i32);
        }
        receive(&self.socket, room)
    }
}

#[inline]
fn receive(socket: &Socket, room: &mut [u8]) -> Result<usize, i32> {
    loop {
        match bytes::recv(socket, room) {
            Err(libc::EINTR) => {}
            result => return result,
        }
    }
}

pub(crate) fn recv_error(err: Errno) -> SysError {
    SysError { op: Op::Recv, errno: err as i32 }
}
