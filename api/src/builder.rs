//! Builders of servers and clients: one method per keyword of `make-network-process`.
//!
//! Invariant: nothing touches the system before `start`, and a `start` that fails leaves nothing.

use std::{collections::VecDeque, fmt, time::Duration};

use netproc_core::{
    address::{Address, Family},
    coding::{Coding, CodingError},
    contact::Role,
    engine::Start,
    event::{Event, Input, LogEntry},
    machine::Status,
    options::SockOption,
    plist::{Plist, Value},
    process::{Crowded, Exit, Limits},
    reactor::{Kind, Op, SysError},
};

use crate::{
    error::StartError,
    handlers::{Filter, Handlers, Outcome},
    process::{Process, shared_filter},
    resolve::resolve,
    runtime::Runtime,
};

/// How long a blocking connect may take unless told otherwise.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Connections the system keeps for a server that has not accepted them yet.
const BACKLOG: u32 = 1024;

/// A port, or the path of a local socket.
///
/// # Examples
///
/// ```
/// use netproc::Service;
///
/// assert_eq!(Service::from(80), Service::Port(80));
/// assert_eq!(Service::from("/run/echo").to_string(), "/run/echo");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Service {
    /// Any free port: `:service t`. Servers only.
    Any,
    /// A port; 0 is any free one.
    Port(u16),
    /// The digits of a port, or the path of a local socket; a leading NUL makes the name abstract.
    Name(String),
}

impl From<u16> for Service {
    fn from(port: u16) -> Self {
        Self::Port(port)
    }
}

impl From<&str> for Service {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<String> for Service {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<&std::path::Path> for Service {
    /// Bytes that are not UTF-8 are replaced; give such a path as an [`Address`] instead.
    fn from(path: &std::path::Path) -> Self {
        Self::Name(path.to_string_lossy().into_owned())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("t"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<&Service> for Value {
    fn from(service: &Service) -> Self {
        match service {
            Service::Any => Self::True,
            Service::Port(port) => i64::from(*port).into(),
            Service::Name(name) => name.as_str().into(),
        }
    }
}

/// What both builders collect.
#[derive(Debug)]
struct Common {
    rt: Runtime,
    name: String,
    host: Option<String>,
    service: Option<Service>,
    family: Option<Family>,
    kind: Kind,
    options: Vec<SockOption>,
    plist: Plist,
    handlers: Handlers,
    coding: Option<Result<Coding, CodingError>>,
    stopped: bool,
    half_open: bool,
    limits: Limits,
}

impl Common {
    fn new(rt: &Runtime, name: &str) -> Self {
        Self {
            rt: rt.clone(),
            name: name.into(),
            host: None,
            service: None,
            family: None,
            kind: Kind::Stream,
            options: Vec::new(),
            plist: Plist::new(),
            handlers: Handlers::default(),
            coding: None,
            stopped: false,
            half_open: false,
            limits: Limits::default(),
        }
    }

    /// The arguments as the contact shows them.
    fn asked(&self) -> Plist {
        let mut asked = Plist::new();
        asked.put(":name", self.name.as_str());
        match self.kind {
            Kind::Stream => {}
            Kind::Datagram => drop(asked.put(":type", Value::Symbol("datagram".into()))),
            Kind::SeqPacket => drop(asked.put(":type", Value::Symbol("seqpacket".into()))),
        }
        if let Some(host) = &self.host {
            asked.put(":host", host.as_str());
        }
        if let Some(service) = &self.service {
            asked.put(":service", service);
        }
        if let Some(family) = self.family {
            asked.put(":family", family_value(family));
        }
        if let Some(Ok(coding)) = &self.coding {
            asked.put(":coding", Value::Symbol(coding.to_string().into()));
        }
        asked
    }

    /// A second hold on all that may run something when it is dropped: a start that fails drops its
    /// own while the engine is at work, and this one after that.
    fn kept(&self) -> (Handlers, Plist) {
        (self.handlers.clone(), self.plist.clone())
    }

    fn start(self, asked: Plist, reuse_port: bool) -> Result<Start<Handlers>, StartError> {
        self.limits.check()?;
        Ok(Start {
            name: self.name,
            kind: self.kind,
            asked,
            plist: self.plist,
            handlers: self.handlers,
            coding: self.coding.transpose()?,
            options: self.options,
            stopped: self.stopped,
            half_open: self.half_open,
            reuse_port,
            limits: self.limits,
        })
    }

    /// The addresses that host, service and family lead to.
    fn addresses(&self) -> Result<Vec<Address>, StartError> {
        let missing = || StartError::MissingService(self.name.clone());
        if self.kind == Kind::SeqPacket && self.family != Some(Family::Local) {
            return Err(StartError::Incompatible("seqpacket is for local sockets only"));
        }
        if let Some(Family::Other(_)) = self.family {
            return Err(StartError::Incompatible(
                "unknown address family: give an address instead",
            ));
        }
        let service = self.service.as_ref().ok_or_else(missing)?;
        if self.family != Some(Family::Local) {
            return resolve(self.host.as_deref(), service, self.family);
        }
        match service {
            Service::Name(path) if path.is_empty() => {
                Err(StartError::Service { service: path.clone(), problem: "an empty path" })
            }
            Service::Name(path) => Ok(vec![Address::local(path)?]),
            Service::Any | Service::Port(_) => Err(StartError::Service {
                service: service.to_string(),
                problem: "a local socket needs a path",
            }),
        }
    }
}

fn family_value(family: Family) -> Value {
    match family {
        Family::Ipv4 => Value::Symbol("ipv4".into()),
        Family::Ipv6 => Value::Symbol("ipv6".into()),
        Family::Local => Value::Symbol("local".into()),
        Family::Other(number) => i64::from(number).into(),
        _ => Value::Nil,
    }
}

fn sys(address: &Address) -> impl Fn(SysError) -> StartError {
    let address = Some(address.clone());
    move |source| StartError::Sys { address: address.clone(), source }
}

/// The methods both builders have.
macro_rules! common_methods {
    () => {
        /// `:host`: an address or a name; `local` is this machine. Default: the loopback address.
        pub fn host(mut self, host: impl Into<String>) -> Self {
            self.common.host = Some(host.into());
            self
        }

        /// `:service`: a port, or the path of a local socket.
        pub fn service(mut self, service: impl Into<Service>) -> Self {
            self.common.service = Some(service.into());
            self
        }

        /// `:family`: default is whatever the host leads to.
        pub fn family(mut self, family: Family) -> Self {
            self.common.family = Some(family);
            self
        }

        /// `:type`: default is a stream.
        pub fn kind(mut self, kind: Kind) -> Self {
            self.common.kind = kind;
            self
        }

        /// `:type 'datagram`: packets.
        pub fn datagram(self) -> Self {
            self.kind(Kind::Datagram)
        }

        /// `:filter`: called with each input; without one, input goes to
        /// [`Runtime::next_event`]. A server's is inherited by its connections.
        pub fn filter<O: Outcome>(
            mut self,
            filter: impl Fn(&Process, Input) -> O + 'static,
        ) -> Self {
            self.common.handlers.filter = Filter::Shared(shared_filter(filter));
            self
        }

        /// `:sentinel`: called with each event; without one, events go to
        /// [`Runtime::next_event`]. A server's is inherited by its connections.
        pub fn sentinel<O: Outcome>(
            mut self,
            sentinel: impl Fn(&Process, &Event) -> O + 'static,
        ) -> Self {
            self.common.handlers.sentinel =
                Some(std::rc::Rc::new(move |process: &Process, event: &Event| {
                    sentinel(process, event).into_error()
                }));
            self
        }

        /// `:coding`: how bytes are text, by Emacs's name (`"utf-8-dos"`, `"(utf-8 . latin-1)"`) or
        /// as a [`Coding`]. Input then carries [`Input::text`]. Default: bytes are bytes. A
        /// server's is inherited by its connections.
        pub fn coding<C>(mut self, coding: C) -> Self
        where
            C: TryInto<Coding>,
            C::Error: Into<CodingError>,
        {
            self.common.coding = Some(coding.try_into().map_err(Into::into));
            self
        }

        /// `:plist`: what you hang on the process. A server's is copied to its connections.
        pub fn plist(mut self, plist: Plist) -> Self {
            self.common.plist = plist;
            self
        }

        /// `:stop`: start stopped. Default `false`.
        pub fn stop(mut self, stop: bool) -> Self {
            self.common.stopped = stop;
            self
        }

        /// Stay open when the peer ends its direction, and say so by
        /// [`Event::PeerFinished`]; [`Process::send_eof`] then ends it. Default `false`, as Emacs
        /// has it: the peer's end is the end.
        pub fn half_open(mut self, half_open: bool) -> Self {
            self.common.half_open = half_open;
            self
        }

        /// Bounds of the process, and of connections accepted by it.
        pub fn limits(mut self, limits: Limits) -> Self {
            self.common.limits = limits;
            self
        }

        /// A socket option, set between `socket` and `bind`, in the order given.
        pub fn option(mut self, option: SockOption) -> Self {
            self.common.options.push(option);
            self
        }

        /// `:keepalive`: probe an idle connection. Default `false`.
        pub fn keepalive(self, on: bool) -> Self {
            self.option(SockOption::KeepAlive(on))
        }

        /// `:nodelay`: send small segments at once. Default `false`.
        pub fn nodelay(self, on: bool) -> Self {
            self.option(SockOption::NoDelay(on))
        }

        /// `:linger`: how many seconds queued bytes may take after deletion; 0 resets.
        pub fn linger(self, seconds: impl Into<Option<u16>>) -> Self {
            self.option(SockOption::Linger(seconds.into()))
        }

        /// `:broadcast`: packets may go to broadcast addresses. Default `false`.
        pub fn broadcast(self, on: bool) -> Self {
            self.option(SockOption::Broadcast(on))
        }
    };
}

/// Builds a server. Made by [`Runtime::server`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `start`"]
pub struct ServerBuilder {
    common: Common,
    local: Option<Address>,
    remote: Option<Address>,
    backlog: u32,
    reuse_port: bool,
    connections_max: Option<usize>,
    crowded: Option<Crowded>,
}

impl ServerBuilder {
    pub(crate) fn new(rt: &Runtime, name: &str) -> Self {
        let mut common = Common::new(rt, name);
        common.service = Some(Service::Any);
        Self {
            common,
            local: None,
            remote: None,
            backlog: BACKLOG,
            reuse_port: false,
            connections_max: None,
            crowded: None,
        }
    }

    common_methods!();

    /// `:local`: bind here; host, service and family are not looked at then.
    pub fn local(mut self, local: impl Into<Address>) -> Self {
        self.local = Some(local.into());
        self
    }

    /// `:remote`: whom a packet server talks to before it has heard from anybody.
    pub fn remote(mut self, remote: impl Into<Address>) -> Self {
        self.remote = Some(remote.into());
        self
    }

    /// `:server N`: how many connections the system keeps until they are accepted. Default 1024,
    /// bounded by the system; Emacs's is 5.
    pub const fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// How many connections the server may have at a time; see [`Limits::connections_max`].
    ///
    /// Default: the descriptors this program may have, as of the runtime's making, but 64, counted for
    /// each server of its own. Over a simulation there is no default limit. What becomes of further
    /// ones is [`crowded`](Self::crowded)'s choice; either way the log hears
    /// [`LogEntry::Crowded`], at most once in [`Limits::log_every`].
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("few").max_connections(2).start()?;
    /// assert_eq!(server.limits().connections_max, Some(2));
    /// assert!(rt.server("none").max_connections(0).start().is_err());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Nothing in Emacs; there a server accepts until descriptors run out.
    pub const fn max_connections(mut self, count: usize) -> Self {
        self.connections_max = Some(count);
        self
    }

    /// What becomes of those above [`max_connections`](Self::max_connections). Default: they are
    /// left in the backlog.
    pub const fn crowded(mut self, crowded: Crowded) -> Self {
        self.crowded = Some(crowded);
        self
    }

    /// Share the address with servers of other runtimes. Default `false`.
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// `:reuseaddr`: bind although old connections linger. Default `true` over IP.
    pub fn reuseaddr(self, on: bool) -> Self {
        self.option(SockOption::ReuseAddr(on))
    }

    /// `:log`: called with the server, the new connection if there is one, and what happened.
    pub fn log<O: Outcome>(
        mut self,
        log: impl Fn(&Process, Option<&Process>, &LogEntry) -> O + 'static,
    ) -> Self {
        self.common.handlers.log = Some(std::rc::Rc::new(
            move |server: &Process, process: Option<&Process>, entry: &LogEntry| {
                log(server, process, entry).into_error()
            },
        ));
        self
    }

    /// Called with the server and each new connection before anything else is told of it: the place
    /// to give it a filter with state of its own.
    pub fn on_accept<O: Outcome>(
        mut self,
        on_accept: impl Fn(&Process, &Process) -> O + 'static,
    ) -> Self {
        self.common.handlers.on_accept =
            Some(std::rc::Rc::new(move |server: &Process, process: &Process| {
                on_accept(server, process).into_error()
            }));
        self
    }

    /// Opens the socket and lists the process. Never blocks, unless a host name has to be looked up.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a host or service that cannot be, a bound that holds nothing, or the system's
    /// refusal, such as `EADDRINUSE`. Nothing is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Runtime, StartError};
    ///
    /// let rt = Runtime::new()?;
    /// let first = rt.server("s").start()?;
    /// let taken = first.contact().local().clone();
    /// let second = rt.server("s").local(taken).start();
    /// assert!(matches!(second, Err(StartError::Sys { .. })));
    /// assert_eq!(rt.process_list(), [first]);
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Processes" (`make-network-process` with `:server`).
    pub fn start(self) -> Result<Process, StartError> {
        let Self { mut common, local, remote, backlog, reuse_port, connections_max, crowded } =
            self;
        let limits = &mut common.limits;
        limits.crowded = crowded.unwrap_or(limits.crowded);
        let asked_for = connections_max.or(limits.connections_max);
        limits.connections_max = asked_for.or_else(|| common.rt.connections_max());
        let mut asked = common.asked();
        asked.put(":server", Value::True);
        let local = match local {
            Some(local) => local,
            None => common.addresses()?.swap_remove(0),
        };
        let over_ip = matches!(local.family(), Family::Ipv4 | Family::Ipv6);
        if over_ip && common.kind != Kind::Datagram {
            // First, so that the caller's own word on it comes later and counts.
            common.options.insert(0, SockOption::ReuseAddr(true));
        }
        let rt = common.rt.clone();
        let datagram = common.kind == Kind::Datagram;
        if datagram && (common.handlers.on_accept.is_some() || connections_max.is_some()) {
            return Err(StartError::Incompatible("a packet server accepts no connections"));
        }
        if !datagram && remote.is_some() {
            return Err(StartError::Incompatible(
                "only a packet server has a remote to begin with",
            ));
        }
        let _kept = common.kept();
        let start = common.start(asked, reuse_port)?;
        let mut engine = rt.engine_mut();
        let made = if datagram {
            engine.datagram(start, Role::Server, Some(&local), remote.as_ref())
        } else {
            engine.listen(start, &local, backlog)
        };
        drop(engine);
        rt.nudge();
        Ok(Process::new(made.map_err(sys(&local))?, rt))
    }
}

/// Builds a client. Made by [`Runtime::client`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `start`"]
pub struct ClientBuilder {
    common: Common,
    remote: Option<Address>,
    local: Option<Address>,
    nowait: bool,
    within: Duration,
}

impl ClientBuilder {
    pub(crate) fn new(rt: &Runtime, name: &str) -> Self {
        let common = Common::new(rt, name);
        Self { common, remote: None, local: None, nowait: false, within: CONNECT_WITHIN }
    }

    common_methods!();

    /// `:remote`: connect here; host, service and family are not looked at then.
    pub fn remote(mut self, remote: impl Into<Address>) -> Self {
        self.remote = Some(remote.into());
        self
    }

    /// Bind this end before connecting.
    pub fn local(mut self, local: impl Into<Address>) -> Self {
        self.local = Some(local.into());
        self
    }

    /// `:nowait`: `start` returns at once; the sentinel hears `open` or `failed`. Default `false`.
    ///
    /// A process that failed stays in the list, with its name and its callbacks, until it is
    /// deleted, as in Emacs.
    pub const fn nowait(mut self, nowait: bool) -> Self {
        self.nowait = nowait;
        self
    }

    /// How long a `start` that waits may wait. Default 60 seconds.
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Opens the socket and connects it, trying each address of the host in turn.
    ///
    /// Without [`nowait`](Self::nowait) it waits until the connection stands; other processes are
    /// served meanwhile. No `open` event is sent then.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a host or service that cannot be, a bound that holds nothing, the refusal of
    /// the last address, or `TimedOut`. Nothing is left.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Processes" (`make-network-process`). Differs: a waiting
    /// connect has a time limit and serves others meanwhile.
    pub fn start(self) -> Result<Process, StartError> {
        let Self { common, remote, local, nowait, within } = self;
        let asked = common.asked();
        let to = match remote {
            Some(remote) => vec![remote],
            None => common.addresses()?,
        };
        if to.iter().any(|address| address.port() == Some(0)) {
            let service = common.service.as_ref().map_or_else(String::new, ToString::to_string);
            return Err(StartError::Service { service, problem: "a client needs a port" });
        }
        let rt = common.rt.clone();
        let datagram = common.kind == Kind::Datagram;
        let _kept = common.kept();
        let start = common.start(asked, false)?;
        let first = to[0].clone();
        // Packets go to the first, a connection is tried to each: the last is the one that failed.
        let tried = if datagram { first.clone() } else { to[to.len() - 1].clone() };
        let made = if datagram {
            rt.engine_mut().datagram(start, Role::Client, local.as_ref(), Some(&first))
        } else {
            rt.engine_mut().connect(start, VecDeque::from(to), local, nowait)
        };
        rt.nudge();
        let process = Process::new(made.map_err(sys(&tried))?, rt);
        if nowait || datagram { Ok(process) } else { connected(process, within) }
    }
}

/// Waits until `process` is connected, or takes it back.
fn connected(process: Process, within: Duration) -> Result<Process, StartError> {
    let rt = process.runtime().clone();
    let waited = rt.wait_connecting(&process, within);
    let address = process.contact().remote().cloned().unwrap_or_else(Address::unnamed);
    let problem = match (waited, process.exit()) {
        (Err(err), _) => StartError::Runtime(Box::new(err)),
        (Ok(_), Exit::Failed(source)) => StartError::Sys { address: Some(address), source },
        (Ok(true), _) => StartError::TimedOut { address },
        // Deleted by a callback that ran meanwhile, or open and ended already.
        (Ok(false), Exit::Deleted) if process.status() == Status::Closed => {
            StartError::Sys { address: Some(address), source: SysError::canceled(Op::Connect) }
        }
        (Ok(false), _) => return Ok(process),
    };
    rt.engine_mut().abandon(process.shared());
    rt.nudge();
    Err(problem)
}
