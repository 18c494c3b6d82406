//! Which services shards share, by the servers that were started for them.
//!
//! Invariant: servers of one name, kind and wanted address are one service: the first opens it, the others
//! find it there, each shard has one server for it. A service is known as long as somebody has such a server.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use netproc_core::{
    address::{Address, Family},
    engine::Start,
    options::SockOption,
    reactor::{Kind, Op, OpenSpec, SysError},
    socket::{self, AdoptError},
    table::ProcessId,
};

use super::{Seat, service::Service};
use crate::{
    activation::Offer, error::StartError, handle::Handle, handlers::Handlers, open,
    process::Process, runtime::Runtime,
};

/// What makes servers one service.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    name: String,
    kind: Kind,
    wanted: Wanted,
    /// Which of the servers like it: the shard has no other with this number.
    nth: usize,
}

/// Where a service was to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Wanted {
    /// At this address.
    At(Address),
    /// On the socket handed to this program, of this name or the first.
    External(Option<String>),
}

/// A service and who is part of it.
#[derive(Debug)]
enum Entry {
    /// The system shares the address.
    Port { address: Address, members: usize },
    /// A thread accepts for all.
    Handed(Arc<Service>),
}

impl Entry {
    fn local(&self) -> &Address {
        match self {
            Self::Port { address, .. } => address,
            Self::Handed(service) => service.local(),
        }
    }
}

/// What all shards know together.
#[derive(Debug)]
pub(super) struct Registry {
    hand_over: bool,
    /// All shards are to end; each hears of it behind what it was posted before.
    stopping: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    services: HashMap<Key, Entry>,
    /// Of the shards, once they serve.
    handles: Vec<Handle>,
    running: bool,
}

impl Registry {
    pub(super) fn new(hand_over: bool) -> Arc<Self> {
        Arc::new(Self { hand_over, stopping: AtomicBool::default(), state: Mutex::default() })
    }

    /// Nobody's code runs under this lock: whoever starts a server keeps what it may drop.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All shards are set up: connections may come.
    pub(super) fn run(&self, handles: Vec<Handle>) -> io::Result<()> {
        let mut state = self.lock();
        state.running = true;
        state.handles = handles;
        state.services.values().try_for_each(|entry| match entry {
            Entry::Port { .. } => Ok(()),
            Entry::Handed(service) => service.serve(),
        })
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends all shards, as soon as each has control.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let handles = std::mem::take(&mut self.lock().handles);
        for handle in handles {
            // Who is gone has ended.
            let _gone = handle.post(Runtime::end_shard);
        }
    }
}

/// A shard's server as part of a service.
#[derive(Debug)]
pub(super) struct Membership {
    registry: Arc<Registry>,
    key: Key,
    shard: usize,
    server: ProcessId,
}

impl Membership {
    pub(super) const fn server(&self) -> ProcessId {
        self.server
    }

    /// The server is gone; `deleted` says how.
    pub(super) fn leave(self, deleted: bool) {
        let mut state = self.registry.lock();
        let over = match state.services.get_mut(&self.key) {
            Some(Entry::Port { members, .. }) => {
                *members -= 1;
                *members == 0
            }
            Some(Entry::Handed(service)) => service.leave(self.shard, self.server),
            None => false,
        };
        let gone = over.then(|| state.services.remove(&self.key)).flatten();
        if let Some(Entry::Handed(service)) = gone {
            // Under the lock, which its thread never takes: whoever starts it anew finds its address free.
            service.close(deleted);
        }
        drop(state);
    }
}

/// A server to be started as part of a service.
pub(crate) struct Joining<'a> {
    pub(crate) rt: &'a Runtime,
    pub(crate) start: Start<Handlers>,
    pub(crate) remote: Option<&'a Address>,
    pub(crate) backlog: u32,
}

impl State {
    /// Refuses an address where somebody else is: shared as it is, the system would give one the clients of the
    /// other. With `with_all` it may be shared with whoever is no service of these shards.
    fn check_free(
        &self,
        start: &Start<Handlers>,
        local: &Address,
        with_all: bool,
    ) -> Result<(), StartError> {
        let Some(wanted) = local.socket_addr().filter(|it| it.port() != 0) else { return Ok(()) };
        let same_kind = self.services.iter().filter(|(key, _)| key.kind == start.kind);
        let mut near = same_kind
            .filter_map(|(_, entry)| entry.local().socket_addr())
            .filter(|it| it.port() == wanted.port());
        let may_cover = |it: SocketAddr| {
            let any = it.ip().is_unspecified() || wanted.ip().is_unspecified();
            any || it.ip() == wanted.ip()
        };
        if with_all && !near.any(may_cover) {
            return Ok(());
        }
        // The system alone knows what `::` takes, and whether devices keep them apart: it is asked without sharing.
        let spec = OpenSpec { reuse_port: false, ..start.spec(Some(local)) };
        let bound = socket::open(&spec, None).and_then(|socket| {
            let lingers = socket.set_reuse_address(start.kind != Kind::Datagram);
            lingers.map_err(|err| SysError::new(Op::Option, &err))?;
            socket::bind(&socket, &spec)
        });
        bound.map_err(open::sys(local))
    }
}

impl Seat {
    fn key(&self, name: &str, kind: Kind, wanted: Wanted) -> Key {
        let key = Key { name: name.into(), kind, wanted, nth: 0 };
        let memberships = self.memberships().borrow();
        let alike = |it: &&Membership| Key { nth: 0, ..it.key.clone() } == key;
        let taken: Vec<_> = memberships.iter().filter(alike).map(|it| it.key.nth).collect();
        let free = (0..).find(|nth| !taken.contains(nth));
        Key { nth: free.unwrap_or(taken.len()), ..key }
    }

    fn enter(&self, key: Key, process: &Process) {
        let (registry, shard, server) = (Arc::clone(self.registry()), self.shard(), process.id());
        self.memberships().borrow_mut().push(Membership { registry, key, shard, server });
    }

    /// Sets an option where connections are accepted for `server`; `None` if that is its own socket.
    pub(crate) fn set_option(
        &self,
        server: ProcessId,
        option: &SockOption,
    ) -> Option<Result<(), SysError>> {
        let memberships = self.memberships().borrow();
        let membership = memberships.iter().find(|it| it.server() == server)?;
        let state = self.registry().lock();
        let Some(Entry::Handed(service)) = state.services.get(&membership.key) else { return None };
        // The engine resets those of this shard by itself, and those of the others are not to be.
        let resets = *option == SockOption::Linger(Some(0));
        Some(if resets { Ok(()) } else { service.set_option(option) })
    }

    /// Starts a server at `local`, whose port the first of them may leave to the system.
    pub(crate) fn start(
        &self,
        joining: Joining<'_>,
        local: &Address,
    ) -> Result<Process, StartError> {
        let key = self.key(&joining.start.name, joining.start.kind, Wanted::At(local.clone()));
        let over_ip = matches!(local.family(), Family::Ipv4 | Family::Ipv6);
        let balances = over_ip && joining.rt.capabilities().reuse_port_balances;
        if balances && !self.registry().hand_over {
            return self.start_beside(key, joining, local);
        }
        let Joining { rt, mut start, backlog, .. } = joining;
        open::prepare(&mut start, local)?;
        let state = self.registry().lock();
        self.start_handed(rt, state, key, |service| {
            let service = match service {
                Some(service) => service,
                None => {
                    Service::open(&start.spec(Some(local)), backlog).map_err(open::sys(local))?
                }
            };
            Ok((service, start))
        })
    }

    /// A server of its own at an address that those of the others have as well.
    fn start_beside(
        &self,
        key: Key,
        joining: Joining<'_>,
        local: &Address,
    ) -> Result<Process, StartError> {
        let Joining { rt, mut start, remote, backlog } = joining;
        let with_all = std::mem::replace(&mut start.reuse_port, true);
        let mut state = self.registry().lock();
        let address = match state.services.get(&key) {
            Some(entry) => entry.local().clone(),
            None => {
                state.check_free(&start, local, with_all)?;
                local.clone()
            }
        };
        let process = open::server(rt, start, &address, remote, backlog)?;
        let address = process.contact().local().clone();
        let fresh = Entry::Port { address, members: 0 };
        if let Entry::Port { members, .. } = state.services.entry(key.clone()).or_insert(fresh) {
            *members += 1;
        }
        drop(state);
        self.enter(key, &process);
        Ok(process)
    }

    /// A server that is handed its connections; `open` is given the service if there is one, and makes it
    /// otherwise. What all know stays locked as `state` meanwhile.
    fn start_handed(
        &self,
        rt: &Runtime,
        mut state: MutexGuard<'_, State>,
        key: Key,
        open: impl FnOnce(Option<Arc<Service>>) -> Result<(Arc<Service>, Start<Handlers>), StartError>,
    ) -> Result<Process, StartError> {
        if key.kind == Kind::Datagram {
            return Err(StartError::Incompatible(
                "packets cannot be handed over: such a server is one shard's alone, shared(false)",
            ));
        }
        let there = match state.services.get(&key) {
            Some(Entry::Handed(service)) => Some(Arc::clone(service)),
            Some(Entry::Port { .. }) | None => None,
        };
        let (service, start) = open(there)?;
        let shared = rt.engine_mut().serve_handed(start, service.local().clone());
        let process = Process::new(shared, rt.clone());
        service.join(self.shard(), process.id(), rt.handle());
        if state.running
            && let Err(err) = service.serve()
        {
            if service.leave(self.shard(), process.id()) {
                service.close(true);
            }
            drop(state);
            rt.engine_mut().abandon(process.shared());
            let (address, source) = (Some(service.local().clone()), SysError::new(Op::Open, &err));
            return Err(StartError::Sys { address, source });
        }
        state.services.insert(key.clone(), Entry::Handed(service));
        drop(state);
        self.enter(key, &process);
        rt.nudge();
        Ok(process)
    }

    /// Where a service is that was started on a socket handed to this program; the first asks `offered` for
    /// it. `None` if there is neither. Until a server is started there, or not, no service begins or ends.
    pub(crate) fn external(
        &self,
        name: &str,
        kind: Kind,
        external: Option<&str>,
        offered: impl FnOnce() -> Result<Option<Offered>, StartError>,
    ) -> Result<Option<External<'_>>, StartError> {
        let key = self.key(name, kind, Wanted::External(external.map(Into::into)));
        let state = self.registry().lock();
        if let Some(Entry::Handed(service)) = state.services.get(&key) {
            let service = Arc::clone(service);
            return Ok(Some(External { key, service, state, offer: None }));
        }
        Ok(offered()?.map(|Offered { offer, fd, local }| {
            let service = Service::over(fd, local, None);
            External { key, service, state, offer: Some(offer) }
        }))
    }

    /// Starts a server there; the first has its options set on the socket.
    pub(crate) fn start_external(
        &self,
        rt: &Runtime,
        start: Start<Handlers>,
        external: External<'_>,
    ) -> Result<Process, StartError> {
        let External { key, service, state, offer } = external;
        if offer.is_some() {
            let set = start.options.iter().try_for_each(|option| service.set_option(option));
            set.map_err(|err| StartError::Adopt(AdoptError::Sys(err)))?;
        }
        let process = self.start_handed(rt, state, key, |_| Ok((service, start)))?;
        if let Some(offer) = offer {
            offer.take();
        }
        Ok(process)
    }
}

/// A socket handed to this program that becomes a service.
pub(crate) struct Offered {
    pub(crate) offer: Offer,
    /// Its duplicate.
    pub(crate) fd: OwnedFd,
    /// Where it listens.
    pub(crate) local: Address,
}

/// A service on a socket handed to this program.
pub(crate) struct External<'a> {
    key: Key,
    service: Arc<Service>,
    /// Locked, or the service could end, or another shard take a second socket for it, before this one joins.
    state: MutexGuard<'a, State>,
    /// The socket, if it becomes a service now: it stays for another start if this one fails. Whoever holds it
    /// locks the services no more, since they come first.
    offer: Option<Offer>,
}

impl External<'_> {
    /// Where it listens.
    pub(crate) fn local(&self) -> &Address {
        self.service.local()
    }
}
