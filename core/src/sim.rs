//! A reactor without a kernel: [`SimReactor`] keeps a whole host in memory, under one seed and on a
//! virtual clock, so that ten thousand schedules, faults included, run in seconds and run again.
//!
//! Invariant: equal seeds, faults and calls give equal events at equal times
//! ([`SimReactor::trace_hash`]). Chance comes from the seed, time from the calls of `poll`; nothing
//! reads a clock, sleeps, or walks a table whose order is not fixed. It obeys the contract in
//! [`reactor`](crate::reactor) under every fault there is: a fault is what a kernel may do, a
//! [`Canary`] what a reactor must not.
//!
//! Two layers, as in a real backend: a kernel (names, wire, ports: addresses, windows, backlogs,
//! resets) and the reactor on top, with the pool, outboxes and tables every backend uses. Both ends
//! of a connection are sockets of the same simulation. Checking is left to the harness that drives
//! it.

mod connection;
mod faults;
mod host;
mod listener;
mod names;
mod opening;
mod packets;
mod ports;
mod rng;
mod sock;
#[cfg(test)]
mod tests;
mod trace;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub use faults::{Canary, Faults};
pub use rng::Rng;

use crate::{
    address::{Address, Family},
    options::SockOption,
    pool::Pool,
    queue::EventQueue,
    reactor::{
        Caps, CloseHow, Config, Counters, Credentials, Event, Op, OpenSpec, Payload, Reactor,
        SockId, SysError, Tick, Wait, Wake,
    },
    sim::{
        connection::Connection,
        faults::Chaos,
        host::{Batch, Host, Memory},
        names::Names,
        ports::Ports,
        sock::{Common, Role, Sock},
        trace::Trace,
        wire::Wire,
    },
    slots::{Key, Slots},
    socket::BoundFile,
};

/// What one call of `poll` takes, so that a caller who never waits still sees time pass.
const CALL: Duration = Duration::from_micros(1);
/// Rounds of one `poll` in which something moved but nothing was to be told.
const ROUNDS_MAX: u32 = 64;
/// Dead ids remembered for events that come too late.
const GRAVES_MAX: usize = 64;

/// Numbers that no seed decides, for the canary that breaks determinism.
static UNSEEDED: AtomicU64 = AtomicU64::new(0);

/// A reactor over a simulated host.
///
/// `poll` jumps to the next thing that is due, or to its deadline. A sleep that nothing could end,
/// `poll(Forever)` with nothing under way, returns at once and is counted by
/// [`endless_sleeps`](Self::endless_sleeps). Both packet and stream memory are made at once.
///
/// # Examples
///
/// ```
/// use netproc_core::{
///     address::Address,
///     queue::EventQueue,
///     reactor::{Config, Event, OpenSpec, Reactor, Wait},
///     sim::{Faults, SimReactor},
/// };
///
/// let mut reactor = SimReactor::new(1, Faults::none(), Config::default());
/// let any: Address = "[127 0 0 1 0]".parse().unwrap();
/// let listener = reactor.listen(&OpenSpec { local: Some(&any), ..OpenSpec::default() }, 5)?;
/// let client = reactor.connect(&OpenSpec::default(), &reactor.local_addr(listener)?)?;
/// let mut events = EventQueue::new();
/// reactor.poll(Wait::Forever, &mut events)?;
/// assert!(matches!(events.pop(), Some(Event::Connected { id }) if id == client));
/// # Ok::<(), netproc_core::reactor::SysError>(())
/// ```
#[derive(Debug)]
pub struct SimReactor {
    socks: Slots<Sock>,
    host: Host,
    wakes: Arc<AtomicBool>,
    /// Sockets in the order of this round; kept for its memory.
    order: Vec<Key>,
    graves: Vec<Key>,
    endless_sleeps: u64,
}

impl SimReactor {
    /// Makes an empty host whose every choice `seed` decides.
    ///
    /// # Panics
    ///
    /// Panics for sizes in `config` that no pool can have: the test that asks for them is wrong.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, config: Config) -> Self {
        let memory = |slots, len| Memory::new(Pool::new(slots, len).expect("a pool of legal size"));
        Self {
            socks: Slots::new(),
            host: Host {
                names: Names::default(),
                wire: Wire::default(),
                ports: Ports::default(),
                chaos: Chaos::new(seed, faults),
                now: 0,
                streams: memory(config.slots, config.slot_len),
                packets: memory(config.packet_slots, config.packet_len),
                config,
                counters: Counters::default(),
                trace: Trace::default(),
                freed: 0,
                leaked: Vec::new(),
            },
            wakes: Arc::default(),
            order: Vec::new(),
            graves: Vec::new(),
            endless_sleeps: 0,
        }
    }

    /// Changes what may go wrong from now on; what already went wrong stays so.
    pub const fn set_faults(&mut self, faults: Faults) {
        self.host.chaos.faults = faults;
    }

    /// Plants a breach of the contract, to prove that a harness sees it.
    pub const fn plant(&mut self, canary: Canary) {
        self.host.chaos.canary = Some(canary);
    }

    /// A fingerprint of every event so far, bytes and times included.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.host.trace.hash()
    }

    /// How often `poll(Forever)` found nothing that could ever end it.
    #[must_use]
    pub const fn endless_sleeps(&self) -> u64 {
        self.endless_sleeps
    }

    fn insert(&mut self, reading: bool, role: Role) -> SockId {
        SockId(
            self.socks.insert_with(|key| Sock { common: Common::new(SockId(key), reading), role }),
        )
    }

    fn sock(&mut self, id: SockId) -> Option<&mut Sock> {
        self.socks.get_mut(id.0).filter(|sock| sock.common.ended.is_none())
    }

    fn live(&self, id: SockId) -> Result<&Sock, SysError> {
        let sock = self.socks.get(id.0).filter(|sock| sock.common.ended.is_none());
        sock.ok_or(SysError { op: Op::Option, errno: libc::EBADF })
    }

    /// Gives every socket its turn, in an order a kernel could choose; returns whether anything
    /// moved, and whether a socket was passed over.
    fn round(&mut self, out: &mut Batch<'_>, skips: bool) -> (bool, bool) {
        let mut moved = self.serve_starved(out);
        let mut skipped = false;
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(self.socks.iter().map(|(key, _)| key));
        self.host.chaos.rng.shuffle(&mut order);
        for &key in &order {
            if out.is_full() {
                break;
            }
            if skips && self.host.chaos.strikes(|faults| faults.spurious_wake) {
                skipped = true;
            } else {
                moved |= self.turn(key, out);
            }
        }
        self.order = order;
        (moved, skipped)
    }

    /// Lets those that wait for a slot go first, oldest first, as long as slots are free.
    fn serve_starved(&mut self, out: &mut Batch<'_>) -> bool {
        let mut moved = false;
        for whole in [false, true] {
            for _ in 0..self.host.memory(whole).starved.len() {
                if !self.host.memory(whole).has_room() || out.is_full() {
                    break;
                }
                let Some(key) = self.host.memory(whole).starved.pop_front() else { break };
                if self.host.chaos.plants(Canary::LostWakeUp) && self.host.chaos.rng.percent(25) {
                    continue;
                }
                if let Some(sock) = self.socks.get_mut(key) {
                    sock.common.starved = false;
                    moved |= self.turn(key, out);
                }
            }
        }
        moved
    }

    fn turn(&mut self, key: Key, out: &mut Batch<'_>) -> bool {
        let Some(Sock { common, role }) = self.socks.get_mut(key) else {
            self.host.counters.stale += 1;
            return false;
        };
        let host = &mut self.host;
        let moved = match role {
            Role::Connection(connection) => connection.turn(common, host, out),
            Role::Packets(packets) => packets.turn(common, host, out),
            Role::Listener(listener) if common.ended.is_none() && common.closing.is_some() => {
                listener.end(common, host);
                true
            }
            Role::Listener(_) => self.accept(key, out),
        };
        let over = self.socks.get(key).is_some_and(|sock| sock.is_over(self.host.now));
        if over && !out.is_full() {
            self.bury(key, out);
        }
        moved || over
    }

    /// Accepts what waits at a listener; each connection is a socket that already reads.
    fn accept(&mut self, key: Key, out: &mut Batch<'_>) -> bool {
        let mut moved = false;
        for _ in 0..self.host.config.accepts_per_turn.max(1) {
            if out.is_full() {
                break;
            }
            let Some(Sock { common, role: Role::Listener(listener) }) = self.socks.get_mut(key)
            else {
                break;
            };
            if common.ended.is_some() {
                break;
            }
            let Some(fd) = listener.accept(common, &mut self.host, out) else {
                break;
            };
            let kind = listener.kind;
            let peer = self.host.wire.live_remote(fd, self.host.now).cloned();
            let id = self.insert(true, Role::Connection(Connection::accepted(kind, fd)));
            self.host.tell(out, Event::Accepted { listener: SockId(key), id, peer });
            moved = true;
        }
        moved
    }

    /// Removes a socket whose last completion has come: the one place that tells `Closed`.
    fn bury(&mut self, key: Key, out: &mut Batch<'_>) {
        if let Some(sock) = self.socks.get_mut(key) {
            let queued = sock.queued();
            sock.common.report_sent(queued, &mut self.host, out);
        }
        // The last `Sent` may have filled the batch; then the end is told with the next.
        if out.is_full() {
            return;
        }
        let Some(mut sock) = self.socks.remove(key) else { return };
        let unsent = match &mut sock.role {
            Role::Listener(_) => 0,
            Role::Connection(connection) => connection.abandon(),
            Role::Packets(packets) => packets.abandon(),
        };
        if self.graves.len() < GRAVES_MAX {
            self.graves.push(key);
        }
        let (id, cause) = (sock.common.id, sock.common.cause);
        if !self.host.chaos.plants(Canary::MissingClosed) {
            self.host.tell(out, Event::Closed { id, cause, unsent });
        }
        if self.host.chaos.plants(Canary::DoubleClose) {
            self.host.tell(out, Event::Closed { id, cause, unsent });
        }
        if self.host.chaos.plants(Canary::EventAfterEnd) {
            self.host.tell(out, Event::Eof { id });
        }
    }

    /// Tells the watched sockets what was taken; what does not fit the batch is told with the next.
    fn report_sent(&mut self, out: &mut Batch<'_>) {
        for (_, sock) in self.socks.iter_mut() {
            if out.is_full() {
                break;
            }
            let queued = sock.queued();
            sock.common.report_sent(queued, &mut self.host, out);
        }
    }

    /// Jumps to the next thing that is due; returns whether there is something to do then.
    fn sleep(&mut self, wait: Wait) -> bool {
        let next = self.socks.iter().filter_map(|(_, sock)| sock.next_due(&self.host)).min();
        let deadline = match wait {
            Wait::No => return false,
            Wait::Until(Tick(deadline)) => deadline,
            Wait::Forever => u64::MAX,
        };
        match next {
            Some(next) if next <= deadline => {
                self.host.now = next;
                true
            }
            None if wait == Wait::Forever => {
                self.endless_sleeps += 1;
                false
            }
            _ => {
                self.host.now = self.host.now.max(deadline);
                false
            }
        }
    }

    /// What every call of `poll` begins with: time passes, a wake is told, old ids come back.
    fn enter(&mut self, wait: Wait, out: &mut Batch<'_>) {
        let later = Tick(self.host.now).after(CALL).0;
        self.host.now = match wait {
            Wait::Until(Tick(deadline)) if deadline > self.host.now => later.min(deadline),
            Wait::No | Wait::Until(_) | Wait::Forever => later,
        };
        self.host.counters.syscalls += 1;
        self.host.counters.waits += u64::from(wait != Wait::No);
        let woken = self.wakes.swap(false, Ordering::AcqRel);
        if woken && !self.host.chaos.plants(Canary::SwallowedWake) {
            self.host.tell(out, Event::Woken);
        }
        if self.host.chaos.plants(Canary::Unseeded) {
            for _ in 0..UNSEEDED.fetch_add(1, Ordering::Relaxed) % 7 {
                self.host.chaos.rng.draw();
            }
        }
        if !self.graves.is_empty() && self.host.chaos.strikes(|faults| faults.stale_event) {
            let grave = self.host.chaos.rng.index(self.graves.len());
            let key = self.graves.swap_remove(grave);
            self.turn(key, out);
        }
    }
}

impl Reactor for SimReactor {
    type Waker = SimWaker;

    fn caps(&self) -> Caps {
        Caps {
            name: "sim",
            seqpacket: true,
            abstract_names: true,
            reuse_port_balances: true,
            packet_len_max: self.host.config.packet_len,
        }
    }

    fn counters(&self) -> Counters {
        let Host { streams, packets, counters, .. } = &self.host;
        let pools = [&streams.pool, &packets.pool];
        Counters {
            spilled: pools.iter().map(|pool| pool.spilled()).sum(),
            sockets: self.socks.len() as u64,
            in_flight: self.socks.iter().filter(|(_, sock)| sock.is_in_flight()).count() as u64,
            slots_held: pools.iter().map(|pool| u64::from(pool.guarded())).sum(),
            ..*counters
        }
    }

    fn now(&self) -> Tick {
        Tick(self.host.now)
    }

    fn listen(&mut self, spec: &OpenSpec<'_>, backlog: u32) -> Result<SockId, SysError> {
        let role = opening::listener(&mut self.host, spec, backlog)?;
        Ok(self.insert(spec.reading, role))
    }

    fn connect(&mut self, spec: &OpenSpec<'_>, to: &Address) -> Result<SockId, SysError> {
        let role = opening::connection(&mut self.host, spec, to)?;
        let id = self.insert(spec.reading, role);
        for option in spec.options {
            self.set_option(id, option)?;
        }
        Ok(id)
    }

    fn datagram(&mut self, spec: &OpenSpec<'_>, to: Option<&Address>) -> Result<SockId, SysError> {
        let role = opening::packets(&mut self.host, spec, to)?;
        Ok(self.insert(spec.reading, role))
    }

    fn set_reading(&mut self, id: SockId, on: bool) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        let host = &mut self.host;
        let under_way = match &sock.role {
            Role::Listener(listener) => host.wire.waiting(listener.fd) as u64,
            Role::Connection(_) | Role::Packets(_) => u64::from(host.streams.pool.slots()),
        };
        sock.common.set_reading(on, under_way, host);
    }

    fn send(&mut self, id: SockId, data: Payload) -> u64 {
        match self.socks.get_mut(id.0) {
            Some(Sock { common, role: Role::Connection(connection) }) => {
                connection.send(data, common)
            }
            Some(Sock { common, role: Role::Packets(packets) }) => packets.send(data, None, common),
            Some(Sock { role: Role::Listener(_), .. }) | None => 0,
        }
    }

    fn send_to(&mut self, id: SockId, data: Payload, to: &Address) -> u64 {
        match self.socks.get_mut(id.0) {
            Some(Sock { common, role: Role::Packets(packets) }) => {
                packets.send(data, Some(to), common)
            }
            Some(sock) => sock.queued(),
            None => 0,
        }
    }

    fn queued(&self, id: SockId) -> u64 {
        self.socks.get(id.0).map_or(0, Sock::queued)
    }

    fn unsent(&self, id: SockId) -> Option<u64> {
        self.socks.get(id.0).map(Sock::unsent)
    }

    fn queued_packets(&self, id: SockId) -> usize {
        self.socks.get(id.0).map_or(0, Sock::queued_packets)
    }

    fn send_failure(&self, id: SockId) -> Option<(SysError, u64)> {
        self.socks.get(id.0).and_then(Sock::send_failure)
    }

    fn watch_sent(&mut self, id: SockId, on: bool) {
        if let Some(sock) = self.socks.get_mut(id.0) {
            sock.common.watch(on);
        }
    }

    fn finish(&mut self, id: SockId) {
        match self.sock(id).map(|sock| &mut sock.role) {
            Some(Role::Connection(connection)) => connection.finish(),
            Some(Role::Packets(packets)) => packets.finish(),
            Some(Role::Listener(_)) | None => {}
        }
    }

    fn close(&mut self, id: SockId, how: CloseHow) {
        let now = self.host.now;
        if let Some(sock) = self.sock(id) {
            sock.common.close(how, now);
        }
    }

    fn local_addr(&self, id: SockId) -> Result<Address, SysError> {
        let sock = self.live(id)?;
        let (local, family) = match &sock.role {
            Role::Listener(listener) => (listener.local(&self.host), Family::Local),
            Role::Connection(connection) => (connection.local(&self.host), Family::Local),
            Role::Packets(packets) => {
                (self.host.ports.local(packets.fd), self.host.ports.family(packets.fd))
            }
        };
        Ok(local.cloned().unwrap_or_else(|| opening::nowhere(family)))
    }

    fn peer_addr(&self, id: SockId) -> Result<Address, SysError> {
        let peer = match &self.live(id)?.role {
            Role::Listener(_) => None,
            Role::Connection(connection) => connection.peer(&self.host),
            Role::Packets(packets) => self.host.ports.peer(packets.fd),
        };
        peer.cloned().ok_or(SysError { op: Op::Option, errno: libc::ENOTCONN })
    }

    fn set_peer(&mut self, id: SockId, to: &Address) -> Result<(), SysError> {
        self.live(id)?;
        let Some(Sock { role: Role::Packets(packets), .. }) = self.socks.get_mut(id.0) else {
            return Err(SysError::unsupported(Op::Connect));
        };
        packets.set_peer(to, &mut self.host)
    }

    /// This host has one process, the first, and one user.
    fn peer_credentials(&self, id: SockId) -> Result<Credentials, SysError> {
        if self.local_addr(id)?.family() != Family::Local {
            return Err(SysError::unsupported(Op::Option));
        }
        self.peer_addr(id).map(|_| Credentials { pid: Some(1), uid: 0, gid: 0 })
    }

    /// This host has no files.
    fn bound_file(&self, id: SockId) -> Result<BoundFile, SysError> {
        self.live(id).and(Err(SysError::unsupported(Op::Option)))
    }

    fn set_option(&mut self, id: SockId, option: &SockOption) -> Result<(), SysError> {
        self.live(id)?;
        opening::check_option(option)?;
        let Some(sock) = self.socks.get_mut(id.0) else { return Ok(()) };
        if let SockOption::Linger(span) = option {
            sock.common.linger_zero = *span == Some(0);
        }
        if let (SockOption::Broadcast(on), Role::Packets(packets)) = (option, &sock.role) {
            self.host.ports.set_broadcast(packets.fd, *on);
        }
        Ok(())
    }

    fn poll(&mut self, wait: Wait, out: &mut EventQueue) -> Result<(), SysError> {
        let mut out = Batch::new(out, self.host.config.events_max);
        self.enter(wait, &mut out);
        if self.host.chaos.strikes(|faults| faults.eintr_poll) {
            return Ok(());
        }
        for _ in 0..ROUNDS_MAX {
            let (mut moved, skipped) = self.round(&mut out, true);
            if !moved && skipped {
                // Passed over is not idle: nobody sleeps before everybody was asked.
                moved = self.round(&mut out, false).0;
            }
            self.report_sent(&mut out);
            if !out.is_empty() || self.host.chaos.strikes(|faults| faults.spurious_wake) {
                break;
            }
            if !moved && !self.sleep(wait) {
                break;
            }
        }
        self.host.streams.rest();
        self.host.packets.rest();
        Ok(())
    }

    fn waker(&self) -> SimWaker {
        SimWaker { wakes: Arc::clone(&self.wakes) }
    }
}

/// Makes a simulated reactor's next `poll` report one `Woken`.
#[derive(Clone, Debug)]
pub struct SimWaker {
    wakes: Arc<AtomicBool>,
}

impl Wake for SimWaker {
    fn wake(&self) {
        self.wakes.store(true, Ordering::Release);
    }
}
