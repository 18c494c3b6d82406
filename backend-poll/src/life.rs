//! What a read, a write or an owner's wish means for a socket's life; all endings pass here.
//!
//! Invariant: `Phase::Ended` is set here only, with the first cause; the socket is closed and its
//! `Closed` told later, by `turn.rs`. A peer that vanished while we were sending does not end the
//! socket before its input was read.

use std::net::Shutdown;

use netproc_core::{
    address::Family,
    reactor::{CloseHow, Event, Op, SockId, SysError, Tick},
    socket,
};

use crate::{
    hub::{Batch, Hub},
    sock::{Class, Phase, Sock},
};

/// Ends the socket, for `cause` unless there was one before.
pub(crate) fn end(id: SockId, sock: &mut Sock, hub: &mut Hub, cause: Option<SysError>) {
    // A connect that fails leaves nothing; what the owner ends is the owner's to tidy.
    let failed = cause.is_some() && matches!(sock.phase, Phase::Connecting);
    if failed && sock.family == Family::Local {
        socket::unbind(&sock.socket);
    }
    sock.cause = sock.cause.or(cause);
    sock.phase = Phase::Ended;
    hub.agenda.ended(id, sock);
}

/// The peer's end was read.
pub(crate) fn input_ended(id: SockId, sock: &mut Sock, hub: &mut Hub, batch: &mut Batch<'_>) {
    sock.eof = true;
    sock.can_read = false;
    if sock.broken || matches!(sock.phase, Phase::Draining) {
        end(id, sock, hub, None);
    } else if !sock.discards() {
        batch.push(Event::Eof { id });
    }
}

/// There is nothing to read for now.
pub(crate) fn input_dry(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    sock.can_read = false;
    sock.drain = false;
    if sock.broken {
        end(id, sock, hub, None);
    }
}

/// The connection is gone: what input there is comes first, then the end.
pub(crate) fn failed(id: SockId, sock: &mut Sock, hub: &mut Hub, err: SysError) {
    let again = std::mem::replace(&mut sock.broken, true);
    sock.drop_output();
    if again || sock.eof || sock.discards() {
        return end(id, sock, hub, Some(err));
    }
    sock.cause = sock.cause.or(Some(err));
    if sock.watched {
        // Input may be off until some of this has gone.
        hub.agenda.sent(id, sock);
    }
    sock.can_read = true;
    sock.drain = true;
    if sock.wants_input() {
        hub.agenda.ready(id, sock);
    }
}

/// Does what was to be done once everything queued is sent: half-close, or go on closing.
#[inline]
pub(crate) fn output_settled(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    if sock.fin || sock.close.is_some() {
        go_on_ending(id, sock, hub);
    }
}

#[inline(never)]
fn go_on_ending(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    let waits = !matches!(sock.phase, Phase::Open) || !sock.out.is_empty();
    if waits || matches!(sock.class, Class::Listener(_)) {
        return;
    }
    let closing = sock.close.is_some();
    if (sock.fin || closing)
        && !sock.fin_sent
        && !sock.broken
        && !(closing && ends_by_closing(sock))
    {
        sock.fin_sent = true;
        hub.counters.syscalls += 1;
        if sock.class == Class::Pipes {
            hub.agenda.finished.extend(sock.sink.take());
        } else {
            // Refused only when the connection is gone, which reading will tell, or when a packet
            // socket has no peer to be told.
            let _gone = sock.socket.shutdown(Shutdown::Write);
        }
    }
    if closing {
        if sock.eof || sock.broken || sock.class == Class::Packets {
            end(id, sock, hub, None);
        } else {
            sock.phase = Phase::Draining;
            if sock.can_read {
                hub.agenda.ready(id, sock);
            }
        }
    }
}

/// Whether the peer's end was read and the descriptor is ours alone: closing it sends our end, and takes
/// nothing back that came.
fn ends_by_closing(sock: &Sock) -> bool {
    sock.eof && !sock.shared && matches!(sock.class, Class::Stream | Class::Local)
}

/// Asks for the error the system holds, where no read will bring it: after the peer's end.
pub(crate) fn late_error(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    sock.error = false;
    hub.counters.syscalls += 1;
    if let Ok(Some(err)) = sock.socket.take_error() {
        end(id, sock, hub, Some(SysError::new(Op::Recv, &err)));
    }
}

/// The owner wants the socket closed, `now` as it says.
pub(crate) fn close(id: SockId, sock: &mut Sock, hub: &mut Hub, how: CloseHow, now: Tick) {
    if sock.close.is_some_and(|before| harshness(before) > harshness(how)) {
        return;
    }
    sock.close = Some(how);
    let CloseHow::Flush { within } = how else {
        end(id, sock, hub, None);
        return;
    };
    let done = match sock.phase {
        Phase::Open => ends_by_closing(sock),
        // Nobody would miss a connection that brings nothing.
        Phase::Connecting | Phase::Refused(_) => true,
        Phase::Draining | Phase::Ended => false,
    };
    if sock.broken || done && sock.out.is_empty() || matches!(sock.class, Class::Listener(_)) {
        end(id, sock, hub, None);
        return;
    }
    let by = now.after(within);
    if sock.flush_by.is_none_or(|before| by < before) {
        sock.flush_by = Some(by);
        hub.agenda.at(by, id);
    }
    hub.agenda.dirty(id, sock);
    if sock.has_work() {
        hub.agenda.ready(id, sock);
    }
}

const fn harshness(how: CloseHow) -> u8 {
    match how {
        CloseHow::Flush { .. } => 0,
        CloseHow::Now => 1,
        CloseHow::Reset => 2,
    }
}
