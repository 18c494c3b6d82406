//! [`PollReactor`]: the contract's methods. They look an id up, note what is wanted and leave the
//! doing to the next poll (`turn.rs`), so that none of them blocks or fails late.
//!
//! Invariant: a socket is registered with the selector as long as it is in the table, but for one
//! whose connect has not begun.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use netproc_core::{
    address::{Address, Family},
    heap,
    options::SockOption,
    outbox::{Outbox, Queue},
    pipe,
    queue::EventQueue,
    reactor::{
        Caps, CloseHow, Config, Counters, Credentials, Descriptors, Kind, Op, OpenSpec, Payload,
        Reactor, Role, SockId, SysError, Tick, Wait,
    },
    slots::Slots,
    socket,
};
use socket2::Socket;

use crate::{
    hub::{Batch, Hub},
    life,
    pace::Pace,
    pipes,
    selector::{AnySelector, Found, Mechanism, Selector as _, Side},
    sock::{Class, Phase, Sock},
    wake::PollWaker,
};

/// Moves bytes by asking the kernel which sockets are ready.
///
/// Made on the thread that uses it; stays there.
///
/// A forked child must neither use nor drop its copy: that would take the parent's input away (see
/// [Fork](crate#fork)).
#[derive(Debug)]
pub struct PollReactor {
    pub(crate) socks: Slots<Sock>,
    pub(crate) hub: Hub,
    pub(crate) selector: AnySelector,
    pub(crate) found: Found,
    pub(crate) waker: PollWaker,
    pub(crate) pace: Pace,
    /// The last poll has told of a wake before all else.
    pub(crate) woke_first: bool,
    /// The last one with something left to tell has told of what was sent, or refused, before all else.
    pub(crate) sent_first: bool,
    pub(crate) mechanism: Mechanism,
}

impl PollReactor {
    /// Makes a reactor on the best mechanism of this system.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a size in `config` out of range, `ENOMEM` for memory the system does not give,
    /// `EMFILE` and its kin for the descriptors this needs.
    pub fn new(config: Config) -> Result<Self, SysError> {
        Self::with(Mechanism::available()[0], config)
    }

    /// Makes a reactor on the mechanism named.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the system has no such mechanism; else as [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::reactor::{Config, Reactor};
    /// use netproc_poll::{Mechanism, PollReactor};
    ///
    /// let reactor = PollReactor::with(Mechanism::Poll, Config::default())?;
    /// assert_eq!(reactor.caps().name, "poll");
    /// # Ok::<(), netproc_core::reactor::SysError>(())
    /// ```
    pub fn with(mechanism: Mechanism, config: Config) -> Result<Self, SysError> {
        config.check().map_err(|_| SysError { op: Op::Open, errno: libc::EINVAL })?;
        let waker = PollWaker::new().map_err(|err| SysError::new(Op::Open, &err))?;
        heap::keep_freed();
        Ok(Self {
            selector: AnySelector::new(mechanism, &waker)?,
            socks: Slots::new(),
            hub: Hub::new(config)?,
            found: Found::default(),
            waker,
            pace: Pace::new(),
            woke_first: false,
            sent_first: false,
            mechanism,
        })
    }

    /// Has the kernel watch a socket of the table.
    pub(crate) fn register(&mut self, id: SockId) -> Result<(), SysError> {
        let Some(sock) = self.socks.get(id.0) else { return Ok(()) };
        if self.mechanism == Mechanism::Epoll {
            self.hub.counters.syscalls += 1;
        }
        let no_room = sock.speaks_udp() || sock.class == Class::Pipes;
        let side = if no_room { Side::Input } else { Side::Both };
        let mut added = self.selector.add(sock.socket.as_fd(), id, side);
        if let (Ok(()), Some(sink)) = (added, &sock.sink) {
            added = self.selector.add(sink.as_fd(), id, Side::Output);
        }
        added.map_err(|err| SysError { op: Op::Open, errno: err as i32 })
    }

    /// Puts a socket that is in use already into the table and has it watched; one that was opened for this leaves
    /// no file behind if it cannot be.
    fn insert(&mut self, sock: Sock) -> Result<SockId, SysError> {
        let id = SockId(self.socks.insert(sock));
        self.register(id).inspect_err(|_| {
            if let Some(sock) = self.socks.remove(id.0).filter(|sock| !sock.shared) {
                socket::unbind(&sock.socket);
            }
        })?;
        Ok(id)
    }

    /// Memory first: whoever has none for packets opens nothing that would have to be undone.
    fn make_packet_memory(&mut self, class: Class) -> Result<(), SysError> {
        match class {
            Class::Stream | Class::Local | Class::Pipes | Class::Listener(Kind::Stream) => Ok(()),
            Class::Records | Class::Packets | Class::Listener(_) => self.hub.packets().map(|_| ()),
        }
    }

    fn push_any(&mut self, id: SockId, payload: Payload, to: Option<&Address>) -> u64 {
        let Some(sock) = self.socks.get_mut(id.0) else { return 0 };
        if sock.fin || sock.close.is_some() || matches!(sock.class, Class::Listener(_)) {
            // The owner has said that there is no more: these bytes never were.
        } else if sock.broken || sock.is_unread() || matches!(sock.phase, Phase::Ended) {
            sock.dropped += payload.len() as u64;
        } else {
            sock.out.push(payload, to);
            self.hub.agenda.dirty(id, sock);
        }
        sock.out.bytes()
    }

    fn sock(&self, id: SockId, op: Op) -> Result<&Sock, SysError> {
        self.socks.get(id.0).ok_or(SysError { op, errno: libc::EBADF })
    }
}

/// Makes a socket one that never waits and never raises SIGPIPE.
pub(crate) fn prepare(socket: &Socket) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    socket.set_nonblocking(true)
}

fn prepared(socket: Socket) -> Result<Socket, SysError> {
    prepare(&socket).map_err(|err| SysError::new(Op::Open, &err))?;
    Ok(socket)
}

fn family(spec: &OpenSpec<'_>, peer: Option<&Address>) -> Family {
    spec.local.or(peer).map_or(spec.family, Address::family)
}

impl Reactor for PollReactor {
    type Waker = PollWaker;

    fn caps(&self) -> Caps {
        let linux = cfg!(any(target_os = "linux", target_os = "android"));
        Caps {
            name: self.mechanism.name(),
            seqpacket: linux
                || cfg!(any(
                    target_os = "freebsd",
                    target_os = "dragonfly",
                    target_os = "netbsd",
                    target_os = "openbsd",
                )),
            abstract_names: linux,
            reuse_port_balances: linux,
            packet_len_max: self.hub.config.packet_len,
        }
    }

    fn counters(&self) -> Counters {
        let pools = || self.hub.intakes().map(crate::intake::Intake::pool);
        Counters {
            spilled: pools().map(netproc_core::pool::Pool::spilled).sum(),
            slots_held: pools().map(|pool| u64::from(pool.guarded())).sum(),
            sockets: self.socks.len() as u64,
            ..self.hub.counters
        }
    }

    fn now(&self) -> Tick {
        self.hub.now()
    }

    fn listen(&mut self, spec: &OpenSpec<'_>, backlog: u32) -> Result<SockId, SysError> {
        let class = Class::Listener(spec.kind);
        self.make_packet_memory(class)?;
        let socket = prepared(socket::listener(spec, backlog)?)?;
        let mut sock = Sock::new(socket, class, family(spec, None), Phase::Open);
        sock.reading = spec.reading;
        self.insert(sock)
    }

    fn connect(&mut self, spec: &OpenSpec<'_>, to: &Address) -> Result<SockId, SysError> {
        let family = family(spec, Some(to));
        let class = Class::connection(spec.kind, family);
        self.make_packet_memory(class)?;
        let socket = prepared(socket::open(spec, Some(to))?)?;
        socket::bind(&socket, spec)?;
        let mut sock = Sock::new(socket, class, family, Phase::Connecting);
        sock.reading = spec.reading;
        let id = SockId(self.socks.insert(sock));
        match socket::to_sockaddr(to) {
            Ok(to) => self.start_connect(id, to),
            Err(err) => {
                let sock = self.socks.get_mut(id.0).expect("inserted above");
                life::end(id, sock, &mut self.hub, Some(SysError::new(Op::Connect, &err)));
            }
        }
        Ok(id)
    }

    fn datagram(&mut self, spec: &OpenSpec<'_>, to: Option<&Address>) -> Result<SockId, SysError> {
        self.make_packet_memory(Class::Packets)?;
        let socket = prepared(socket::datagram(spec, to)?)?;
        socket::join_input(&socket, self.hub.config.packet_len);
        let mut sock = Sock::new(socket, Class::Packets, family(spec, to), Phase::Open);
        sock.reading = spec.reading;
        if let Some(to) = to {
            sock.out.connected(to, None);
        }
        self.insert(sock)
    }

    fn set_reading(&mut self, id: SockId, on: bool) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        sock.reading = on;
        if sock.has_work() {
            self.hub.agenda.ready(id, sock);
        }
    }

    fn send(&mut self, id: SockId, data: Payload) -> u64 {
        self.push_any(id, data, None)
    }

    #[inline(always)]
    fn open_outbox(&mut self, id: SockId) -> Option<&mut Outbox> {
        let sock = self.socks.get_mut(id.0).filter(|sock| sock.takes_output())?;
        self.hub.agenda.dirty(id, sock);
        match &mut sock.out {
            Queue::Bytes(outbox) => Some(outbox),
            Queue::Packets(_) => None,
        }
    }

    fn send_to(&mut self, id: SockId, data: Payload, to: &Address) -> u64 {
        self.push_any(id, data, Some(to))
    }

    fn queued(&self, id: SockId) -> u64 {
        self.socks.get(id.0).map_or(0, |sock| sock.out.bytes())
    }

    fn unsent(&self, id: SockId) -> Option<u64> {
        self.socks.get(id.0).map(Sock::unsent)
    }

    fn queued_packets(&self, id: SockId) -> usize {
        // One that was refused is with us until that is told.
        let packets = |sock: &Sock| sock.out.packets() + usize::from(sock.listed.troubled);
        self.socks.get(id.0).map_or(0, packets)
    }

    fn send_failure(&self, id: SockId) -> Option<(SysError, u64)> {
        let sock = self.socks.get(id.0).filter(|sock| sock.broken)?;
        let wound_up = || sock.left.map(|_| pipe::UNREAD);
        Some((sock.cause.or_else(wound_up)?, sock.unsent()))
    }

    fn watch_sent(&mut self, id: SockId, on: bool) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        sock.watched = on;
        if !on {
            sock.sent = 0;
        }
    }

    fn finish(&mut self, id: SockId) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        sock.fin = true;
        self.hub.agenda.dirty(id, sock);
    }

    fn close(&mut self, id: SockId, how: CloseHow) {
        let now = self.hub.now();
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        life::close(id, sock, &mut self.hub, how, now);
    }

    fn local_addr(&self, id: SockId) -> Result<Address, SysError> {
        socket::local_addr(&self.sock(id, Op::Option)?.socket)
    }

    fn peer_addr(&self, id: SockId) -> Result<Address, SysError> {
        socket::peer_addr(&self.sock(id, Op::Option)?.socket)
    }

    fn set_peer(&mut self, id: SockId, to: &Address) -> Result<(), SysError> {
        let dead = SysError { op: Op::Connect, errno: libc::EBADF };
        let sock = self.socks.get_mut(id.0).ok_or(dead)?;
        if sock.class != Class::Packets {
            return Err(SysError::unsupported(Op::Connect));
        }
        let old = socket::peer_addr(&sock.socket).ok();
        socket::connect_packets(&sock.socket, to)?;
        sock.out.connected(to, old);
        // It may have waited for the old peer's room.
        sock.can_write = true;
        if sock.has_work() {
            self.hub.agenda.ready(id, sock);
        }
        Ok(())
    }

    fn peer_credentials(&self, id: SockId) -> Result<Credentials, SysError> {
        socket::peer_credentials(&self.sock(id, Op::Option)?.socket)
    }

    fn bound_file(&self, id: SockId) -> Result<socket::BoundFile, SysError> {
        socket::BoundFile::of(&self.sock(id, Op::Option)?.socket)
    }

    fn set_option(&mut self, id: SockId, option: &SockOption) -> Result<(), SysError> {
        let sock = self.sock(id, Op::Option)?;
        let set = socket::set_option(&sock.socket, option);
        set.map_err(|err| SysError::new(Op::Option, &err))
    }

    fn poll(&mut self, wait: Wait, out: &mut EventQueue) -> Result<(), SysError> {
        let mut batch = Batch::new(out, &self.hub.config);
        self.one_poll(wait, &mut batch)
    }

    fn waker(&self) -> PollWaker {
        self.waker.clone()
    }
}

impl Descriptors for PollReactor {
    fn adopt(&mut self, fd: OwnedFd, role: Role, reading: bool) -> Result<SockId, SysError> {
        let (socket, kind) = socket::adopted(fd)?;
        let family = socket::local_addr(&socket)?.family();
        let class = match (role, kind) {
            (Role::Listener, Kind::Stream | Kind::SeqPacket) => Class::Listener(kind),
            (Role::Connection, _) | (Role::Datagram, Kind::Datagram) => {
                Class::connection(kind, family)
            }
            (Role::Listener, Kind::Datagram) | (Role::Datagram, _) => {
                return Err(SysError { op: Op::Open, errno: libc::EPROTOTYPE });
            }
        };
        self.make_packet_memory(class)?;
        let socket = prepared(socket)?;
        let mut sock = Sock::new(socket, class, family, Phase::Open);
        sock.shared = true;
        sock.reading = reading;
        let id = self.insert(sock)?;
        self.hub.counters.accepted += u64::from(role == Role::Connection);
        Ok(id)
    }

    fn adopt_pipes(
        &mut self,
        output: OwnedFd,
        input: Option<OwnedFd>,
        reading: bool,
    ) -> Result<SockId, SysError> {
        let mut sock = pipes::adopted(output, input)?;
        sock.reading = reading;
        self.insert(sock)
    }

    fn wind_up(&mut self, id: SockId) {
        if let Some(sock) = self.socks.get_mut(id.0) {
            pipes::wind_up(id, sock, &mut self.hub);
        }
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.selector.as_fd()
    }

    fn arm(&mut self, at: Option<Tick>) -> Result<(), SysError> {
        self.flush_dirty();
        self.close_finished();
        self.feed_starving();
        let ours = self.next_time();
        let now = self.hub.now();
        let at = match (at, ours) {
            // A loop that is told of changes only would hear of those the kernel keeps no more.
            _ if self.hub.agenda.is_pressing()
                || self.pace.is_filled()
                || self.waker.is_pending() =>
            {
                Some(now)
            }
            (Some(at), Some(ours)) => Some(at.min(ours)),
            (at, ours) => at.or(ours),
        };
        let armed = self.selector.arm(at.map(|at| at.since(now)));
        armed.map_err(|err| SysError { op: Op::Wait, errno: err as i32 })
    }
}
