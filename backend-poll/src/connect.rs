//! Connecting: starting it, learning how it went, and trying again where a backlog is full.
//!
//! Invariant: a connect ends in `Connected` or in `Closed` with a cause, never in an error of the
//! call. A socket is registered only once connecting is under way: before that the kernel calls it
//! hung up.

use std::{io, time::Duration};

use netproc_core::{
    address::Address,
    reactor::{Event, Op, SockId, SysError},
    socket,
};
use socket2::SockAddr;

use crate::{hub::Batch, life, reactor::PollReactor, sock::Phase};

/// How long a local peer with a full backlog is left alone.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(10);

fn refusal(errno: i32) -> SysError {
    SysError { op: Op::Connect, errno }
}

impl PollReactor {
    /// Starts connecting, or starts again.
    pub(crate) fn start_connect(&mut self, id: SockId, to: SockAddr) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        self.hub.counters.syscalls += 1;
        let result = sock.socket.connect(&to);
        let Err(err) = result else {
            sock.phase = Phase::Connecting;
            self.hub.agenda.ready(id, sock);
            return self.register_connecting(id);
        };
        match err.raw_os_error() {
            // A signal interrupts the call, not the connecting.
            Some(libc::EINPROGRESS | libc::EINTR) => {
                sock.phase = Phase::Connecting;
                sock.can_write = false;
                self.register_connecting(id);
            }
            Some(libc::EAGAIN) if to.is_unix() => {
                sock.phase = Phase::Refused(Box::new(to));
                self.hub.retry(id, sock, RETRY_AFTER);
            }
            _ => {
                life::end(id, sock, &mut self.hub, Some(SysError::new(Op::Connect, &err)));
            }
        }
    }

    fn register_connecting(&mut self, id: SockId) {
        if let Err(err) = self.register(id)
            && let Some(sock) = self.socks.get_mut(id.0)
        {
            life::end(id, sock, &mut self.hub, Some(err));
        }
    }

    /// Takes up a connect that waited for a place in a backlog.
    pub(crate) fn retry_connect(&mut self, id: SockId) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        sock.retry_at = None;
        if let Phase::Refused(to) = std::mem::replace(&mut sock.phase, Phase::Connecting) {
            self.start_connect(id, *to);
        }
    }

    /// The socket is writable: connected, failed, or it was a false alarm.
    pub(crate) fn finish_connect(&mut self, id: SockId, batch: &mut Batch<'_>) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        self.hub.counters.syscalls += 2;
        let outcome = match sock.socket.take_error() {
            Ok(None) => sock.socket.peer_addr(),
            Ok(Some(err)) | Err(err) => Err(err),
        };
        let peer = match outcome {
            Ok(raw) => socket::from_sockaddr(&raw),
            // Unless it is hung up, when no further word would come.
            Err(err) if err.kind() == io::ErrorKind::NotConnected && !sock.drain => {
                sock.can_write = false;
                return;
            }
            Err(err) => {
                let cause = SysError::new(Op::Connect, &err);
                return life::end(id, sock, &mut self.hub, Some(cause));
            }
        };
        // Two ends of one socket: the port it was given happened to be the one it called.
        if let Some(peer @ (Address::V4(_) | Address::V6(_))) = peer {
            self.hub.counters.syscalls += 1;
            if socket::local_addr(&sock.socket).is_ok_and(|local| local == peer) {
                let cause = Some(refusal(libc::ECONNREFUSED));
                return life::end(id, sock, &mut self.hub, cause);
            }
        }
        sock.phase = Phase::Open;
        sock.can_write = true;
        if sock.close.is_none() {
            batch.push(Event::Connected { id });
        }
        self.flush(id);
    }
}
