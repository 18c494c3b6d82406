//! Pipes and terminals of children: one end to read, one to write, under one id.
//!
//! Invariant: the two ends live and break apart. A sink that nobody reads is told of once and used no more,
//! and reading goes on; the end of what is read leaves the sink open. What reading shares with sockets is in
//! `stream.rs`.

use std::{io::IoSlice, os::fd::OwnedFd};

use netproc_core::{
    address::Family,
    outbox::{Outbox, Queue},
    pipe,
    reactor::{Op, SockId, SysError},
};
use nix::errno::Errno;
use socket2::Socket;

use crate::{
    hub::Hub,
    life,
    sock::{Class, Phase, Sock},
};

/// Payloads that one call gathers.
const GATHER_MAX: usize = 16;
/// Bytes that one call gathers.
const GATHER_LEN_MAX: usize = 1 << 30;
/// Writing calls of one pipe before the next gets its turn.
const WRITES_PER_TURN: u32 = 16;

impl Sock {
    /// Whether it is a pipe whose reader is gone, or that never had one.
    pub(crate) fn is_unread(&self) -> bool {
        self.class == Class::Pipes && (self.unread || self.sink.is_none())
    }
}

/// An entry of the table for two ends.
pub(crate) fn adopted(output: OwnedFd, input: Option<OwnedFd>) -> Result<Sock, SysError> {
    pipe::set_nonblocking(&output)?;
    input.as_ref().map_or(Ok(()), pipe::set_nonblocking)?;
    // A descriptor like any other to everything but the calls for sockets, which are not made of pipes.
    let mut sock = Sock::new(Socket::from(output), Class::Pipes, Family::Local, Phase::Open);
    sock.sink = input;
    // Both ends of a terminal are one file, and a program just forked still has copies of all.
    sock.shared = true;
    Ok(sock)
}

/// Writes what is queued until there is no room or the turn is over.
pub(crate) fn flush(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    for _ in 0..WRITES_PER_TURN {
        let (Queue::Bytes(outbox), Some(sink)) = (&mut sock.out, &sock.sink) else { return };
        if outbox.is_empty() {
            return;
        }
        hub.counters.syscalls += 1;
        let (asked, result) = write(sink, outbox);
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
            Err(Errno::EAGAIN) => {
                sock.can_write = false;
                return;
            }
            Err(err) => {
                sock.drop_output();
                sock.unread = true;
                let err = SysError { op: Op::Send, errno: err as i32 };
                return hub.agenda.trouble(id, sock, err);
            }
        }
    }
    if !sock.out.is_empty() {
        hub.agenda.ready(id, sock);
    }
}

/// One writing call; returns how much was offered with what the system says.
fn write(sink: &OwnedFd, outbox: &Outbox) -> (usize, nix::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); GATHER_MAX];
    let (mut count, mut total) = (0, 0);
    for (slice, chunk) in slices.iter_mut().zip(outbox.first_chunks(GATHER_LEN_MAX)) {
        *slice = IoSlice::new(chunk);
        (count, total) = (count + 1, total + chunk.len());
    }
    (total, pipe::write(sink, &slices[..count]))
}

impl Sock {
    /// Counts bytes read; returns whether those were the last ones wanted: what comes behind them was
    /// written by others, who may go on for ever.
    pub(crate) fn is_wound_up(&mut self, read: usize) -> bool {
        let Some(left) = &mut self.left else { return false };
        *left = left.saturating_sub(read as u64);
        *left == 0
    }
}

/// Reads what there is, then ends.
pub(crate) fn wind_up(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    if sock.class != Class::Pipes || matches!(sock.phase, Phase::Ended) {
        return;
    }
    sock.broken = true;
    sock.left = Some(pipe::capacity(&sock.socket));
    sock.drop_output();
    if sock.eof {
        return life::end(id, sock, hub, None);
    }
    // Others may keep the pipe open, so no word of its end need come: read until there is nothing.
    sock.can_read = true;
    sock.drain = true;
    if sock.wants_input() {
        hub.agenda.ready(id, sock);
    }
}
