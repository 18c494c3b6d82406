//! Accepting: until the backlog is empty or the turn is over, with a rest when descriptors run out.
//!
//! Invariant: a child is registered before its `Accepted` is told, and told before any of its input.
//! A listener that cannot accept never spins: it rests until a time, or until a descriptor of this
//! reactor comes free. After a rest that did not help, the first who waits is turned away.

use std::io;

use netproc_core::{
    address::Address,
    reactor::{Event, Kind, Op, SockId, SysError},
    socket::from_sockaddr,
};
use socket2::{SockAddr, Socket};

use crate::{
    hub::{Batch, Hub},
    life,
    reactor::PollReactor,
    sock::{Class, Phase, Sock},
};

impl PollReactor {
    /// Accepts what waits on a listener.
    pub(crate) fn accept(&mut self, listener: SockId, kind: Kind, batch: &mut Batch<'_>) {
        for _ in 0..self.hub.config.accepts_per_turn {
            if batch.is_full() {
                break;
            }
            let Some(sock) = self.socks.get_mut(listener.0) else { return };
            self.hub.counters.syscalls += 1;
            match accept(&sock.socket) {
                Ok((socket, from)) => {
                    if std::mem::take(&mut sock.short) {
                        self.hub.reserve.refill();
                    }
                    let from = from_sockaddr(&from);
                    let peer = from.as_ref();
                    let family = peer.map_or(sock.family, Address::family);
                    let class = Class::connection(kind, family);
                    let child = Sock::new(socket, class, family, Phase::Open);
                    let id = SockId(self.socks.insert(child));
                    match self.register(id) {
                        Ok(()) => {
                            self.hub.counters.accepted += 1;
                            batch.push(Event::Accepted { listener, id, peer: from });
                        }
                        Err(err) => {
                            // Nobody has heard of it: it goes without a word of its own, and those
                            // behind it wait for better times.
                            self.socks.remove(id.0);
                            self.hub.counters.turned_away += 1;
                            let err = SysError { op: Op::Accept, ..err };
                            let Some(sock) = self.socks.get_mut(listener.0) else { return };
                            return rest(listener, sock, &mut self.hub, err, batch);
                        }
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    sock.can_read = false;
                    return;
                }
                // The peer has thought better of it, or a signal came: the next, please.
                Err(err) if is_passing(&err) => {}
                Err(err) => {
                    let err = SysError::new(Op::Accept, &err);
                    if err.ends_listening() {
                        life::end(listener, sock, &mut self.hub, Some(err));
                    } else {
                        rest(listener, sock, &mut self.hub, err, batch);
                    }
                    return;
                }
            }
        }
        if let Some(sock) = self.socks.get_mut(listener.0) {
            self.hub.agenda.ready(listener, sock);
        }
    }

    /// A descriptor has come free: listeners that rest for want of one try again.
    pub(crate) fn end_rests(&mut self) {
        while let Some(id) = self.hub.agenda.resting.pop() {
            if let Some(sock) = self.socks.get_mut(id.0) {
                sock.listed.resting = false;
                sock.short = false;
                sock.retry_at = None;
                if sock.has_work() {
                    self.hub.agenda.ready(id, sock);
                }
            }
        }
    }
}

/// Waits for better times; if that has not helped before, the first who waits is turned away.
fn rest(id: SockId, sock: &mut Sock, hub: &mut Hub, err: SysError, batch: &mut Batch<'_>) {
    let lasting = std::mem::replace(&mut sock.short, err.is_out_of_descriptors());
    if lasting && hub.reserve.turn_away(|| accept(&sock.socket)) {
        hub.counters.turned_away += 1;
    }
    let pause = hub.config.accept_pause;
    hub.retry(id, sock, pause);
    hub.agenda.rest(id, sock);
    batch.push(Event::AcceptFailed { listener: id, err, paused: Some(pause) });
}

fn is_passing(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// One accepting call: a socket that does not wait and is not inherited by child processes.
#[cfg(not(target_vendor = "apple"))]
fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
}

/// One accepting call: a socket that does not wait and is not inherited by child processes.
#[cfg(target_vendor = "apple")]
fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, from) = listener.accept_raw()?;
    // Refused when the peer has reset the connection already: that one is gone, not the listener.
    prepare_accepted(&socket).map_err(|_| io::ErrorKind::ConnectionAborted)?;
    Ok((socket, from))
}

#[cfg(target_vendor = "apple")]
fn prepare_accepted(socket: &Socket) -> io::Result<()> {
    socket.set_cloexec(true)?;
    crate::reactor::prepare(socket)
}
