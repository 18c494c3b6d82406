//! Builders of servers and clients: one method per keyword of `make-network-process`.
//!
//! Invariant: nothing touches the system before `start`, and a `start` that fails leaves nothing.
//! Keywords that only some sockets have are in `builder/sockets.rs`, servers on sockets that somebody
//! else has opened in `builder/external.rs`, clients of several addresses in `builder/race.rs`, the PROXY
//! protocol in `builder/proxied.rs`, children in `builder/spawn.rs`, how the arguments are shown in
//! `builder/shown.rs`.

mod external;
mod places;
mod proxied;
mod race;
mod service;
mod sharing;
mod shown;
mod sockets;
mod spawn;

use std::{rc::Rc, time::Duration};

use netproc_core::{
    address::{Address, Family},
    coding::{Coding, CodingError, CodingSystem},
    engine::Start,
    event::{Event, Input, LogEntry},
    layer::Layers,
    options::SockOption,
    output::Buffer,
    plist::Plist,
    process::Limits,
    proxy::{ProxyOut, TrustedProxies},
    reactor::{FileSpec, Kind},
};

use self::places::Places;
pub(crate) use self::spawn::command_value;
pub use self::{
    service::Service,
    spawn::{ConnectionType, SpawnBuilder, Stderr},
};
use crate::{
    error::{ServiceProblem, StartError},
    handlers::{Filter, Handlers, Outcome, Output, Packets},
    open::{self, Patience},
    process::{Process, batch_filter, shared_filter},
    resolve::{Place, Wanted, resolve},
    runtime::Runtime,
    shards::Joining,
};

/// How long a blocking connect may take unless told otherwise.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Connections the system keeps for a server that has not accepted them yet.
const BACKLOG: u32 = 1024;

/// What both builders collect.
struct Common {
    rt: Runtime,
    name: String,
    host: Option<String>,
    service: Option<Service>,
    family: Option<Family>,
    short_hosts: bool,
    kind: Kind,
    options: Vec<SockOption>,
    plist: Plist,
    handlers: Handlers,
    coding: Option<Result<Coding, CodingError>>,
    unibyte: bool,
    stopped: bool,
    half_open: bool,
    layers: Option<Rc<dyn Layers>>,
    trusted: Option<TrustedProxies>,
    header: Option<Box<ProxyOut>>,
    limits: Limits,
    connected: bool,
    file: FileSpec,
}

impl Common {
    fn new(rt: &Runtime, name: &str) -> Self {
        Self {
            rt: rt.clone(),
            name: name.into(),
            host: None,
            service: None,
            family: None,
            short_hosts: false,
            kind: Kind::Stream,
            options: Vec::new(),
            plist: Plist::new(),
            handlers: Handlers::default(),
            coding: None,
            unibyte: false,
            stopped: false,
            half_open: false,
            layers: None,
            trusted: None,
            header: None,
            limits: Limits::default(),
            connected: true,
            file: FileSpec::default(),
        }
    }

    /// A second hold on all that may run something when it is dropped: a start that fails drops its
    /// own while the engine is at work, and this one after that.
    fn kept(&self) -> (Handlers, Plist, Option<Rc<dyn Layers>>) {
        (self.handlers.clone(), self.plist.clone(), self.layers.clone())
    }

    fn start(mut self, asked: Plist, reuse_port: bool) -> Result<Start<Handlers>, StartError> {
        self.limits.check()?;
        self.options.iter().try_for_each(SockOption::check)?;
        if self.layers.is_some() && self.kind != Kind::Stream {
            // Ignored, it would send in clear what was to be encrypted.
            return Err(StartError::Incompatible("only streams have layers"));
        }
        self.check_proxy()?;
        let mut coding = self.coding.transpose()?;
        if self.unibyte {
            let coding = coding.get_or_insert_default();
            coding.decode = Some(coding.decode.unwrap_or_else(CodingSystem::undecided).raw_text());
        }
        if self.handlers.output.buffer.is_some() {
            self.handlers.use_defaults();
        }
        Ok(Start {
            name: self.name,
            kind: self.kind,
            asked,
            plist: self.plist,
            handlers: self.handlers,
            coding,
            layers: self.layers,
            trusted: self.trusted,
            header: self.header,
            options: self.options,
            stopped: self.stopped,
            half_open: self.half_open,
            reuse_port,
            connected: self.connected,
            file: self.file,
            limits: self.limits,
        })
    }

    /// Where host, service and family lead.
    fn place(&self) -> Result<Place, StartError> {
        let missing = || StartError::MissingService(self.name.clone());
        if self.kind == Kind::SeqPacket && self.family != Some(Family::Local) {
            return Err(StartError::Incompatible("seqpacket is for local sockets only"));
        }
        let service = self.service.as_ref().ok_or_else(missing)?;
        if self.family != Some(Family::Local) {
            return resolve(&self.wanted(service));
        }
        match service {
            Service::Name(path) if !path.is_empty() => {
                Ok(Place::Known(vec![Address::local(path)?]))
            }
            Service::Any | Service::Port(_) | Service::Name(_) => Err(StartError::Service {
                host: None,
                service: service.to_string(),
                problem: ServiceProblem::NeedsPath,
            }),
        }
    }

    fn wanted<'a>(&'a self, service: &'a Service) -> Wanted<'a> {
        Wanted {
            // Emacs has a symbol for this machine, and a name of that spelling besides.
            host: self.host.as_deref().filter(|&host| host != "local"),
            service,
            family: self.family,
            kind: self.kind,
            short_hosts: self.short_hosts,
        }
    }
}

/// The methods of whatever is looked up.
macro_rules! place_methods {
    () => {
        /// `:host`: an address or a name; `local` is this machine. Default: the loopback address.
        ///
        /// A name is the system's resolver's to look up, on threads that all runtimes of the program share:
        /// at most 8 names at a time, the others wait. Nobody waits for it longer than they said.
        pub fn host(mut self, host: impl Into<String>) -> Self {
            self.common.host = Some(host.into());
            self
        }

        /// `:service`: a port, the name of a service, or the path of a local socket.
        pub fn service(mut self, service: impl Into<Service>) -> Self {
            self.common.service = Some(service.into());
            self
        }

        /// Lets hosts like `127.1`, `0177.0.0.1` and `0x7f.1` through to the resolver, which reads
        /// them as Emacs does: as 127.0.0.1. Default `false`: they are refused, since what is one
        /// address to the resolver and another text to a filter of addresses is a known way around
        /// that filter.
        pub fn short_hosts(mut self, on: bool) -> Self {
            self.common.short_hosts = on;
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

        /// In place of a filter: called with the packets that have come together, each with its sender;
        /// at most 256 at a time. A record, and what a stream brings, comes by itself.
        ///
        /// See [`Process::set_batch_filter`]. Not in Emacs.
        pub fn batch_filter<O: Outcome>(
            mut self,
            filter: impl Fn(&Process, Packets<'_>) -> O + 'static,
        ) -> Self {
            self.common.handlers.filter = Filter::Batch(batch_filter(filter));
            self
        }

        /// `:type 'datagram`: packets.
        pub fn datagram(self) -> Self {
            self.kind(Kind::Datagram)
        }
    };
}

/// The methods of whatever becomes a process.
macro_rules! process_methods {
    () => {
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
                Some(Rc::new(move |process: &Process, event: &Event| {
                    sentinel(process, event).into_error()
                }));
            self
        }

        /// `:coding`: how bytes are text, by Emacs's name (`"utf-8-dos"`, `"(utf-8 . latin-1)"`) or
        /// as a [`Coding`]. Input then carries [`Input::text`]. Default: bytes are bytes. A
        /// server's is inherited by its connections.
        ///
        /// Packets are one stream to it, whoever they are from, as in Emacs: a character may begin in one and
        /// end in the next. Where one sender must not mangle another's, leave the bytes bytes.
        pub fn coding<C>(mut self, coding: C) -> Self
        where
            C: TryInto<Coding>,
            C::Error: Into<CodingError>,
        {
            self.common.coding = Some(coding.try_into().map_err(Into::into));
            self
        }

        /// `:filter-multibyte`: with `false` the filter gets bytes of which only the line ends are
        /// converted, whatever text the coding would make of them. Default `true`.
        ///
        /// Differs: Emacs 28.2 documents the keyword and ignores it.
        pub const fn filter_multibyte(mut self, multibyte: bool) -> Self {
            self.common.unibyte = !multibyte;
            self
        }

        /// `:buffer`: where output goes if no filter is given, and word of the end if no sentinel is.
        ///
        /// Without a filter of its own the process then has the default one, and without a sentinel
        /// the default one: nothing waits for [`Runtime::next_event`]. Connections of a server get
        /// a buffer each.
        pub fn buffer(mut self, buffer: Buffer) -> Self {
            self.common.handlers.output = Output::new(Some(buffer));
            self
        }

        /// `:noquery`: whoever ends the program need not be asked about it; see
        /// [`Runtime::processes_to_query`]. Default `false`.
        pub const fn noquery(mut self, noquery: bool) -> Self {
            self.common.handlers.no_query = noquery;
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

        /// Bounds of the process, and of connections accepted by it.
        pub fn limits(mut self, limits: Limits) -> Self {
            self.common.limits = limits;
            self
        }
    };
}

use process_methods;

/// The methods of whatever has a socket.
macro_rules! socket_methods {
    () => {
        /// Stay open when the peer ends its direction, and say so by
        /// [`Event::PeerFinished`]; [`Process::send_eof`] then ends it. Default `false`, as Emacs
        /// has it: the peer's end is the end. So it is where TLS was cut off, whatever was set here.
        pub fn half_open(mut self, half_open: bool) -> Self {
            self.common.half_open = half_open;
            self
        }

        /// What lies between each connection and its wire, such as TLS: the process is connecting until
        /// its handshake is done. For streams only: others are refused.
        pub fn layers(mut self, layers: impl Layers + 'static) -> Self {
            self.common.layers = Some(Rc::new(layers));
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

        /// `:linger`: how many seconds queued bytes may take after deletion; 0 resets. Default `None`: as long as
        /// [`Limits::flush_within`] says.
        pub fn linger(self, seconds: impl Into<Option<u16>>) -> Self {
            self.option(SockOption::Linger(seconds.into()))
        }

        /// `:broadcast`: packets may go to broadcast addresses. Default `false`.
        pub fn broadcast(self, on: bool) -> Self {
            self.option(SockOption::Broadcast(on))
        }

        /// `:dontroute`: only to hosts on a connected network. Default `false`.
        pub fn dontroute(self, on: bool) -> Self {
            self.option(SockOption::DontRoute(on))
        }

        /// `:oobinline`: urgent bytes in line with the others. Default `false`.
        pub fn oobinline(self, on: bool) -> Self {
            self.option(SockOption::OobInline(on))
        }

        /// `:priority`: of the packets sent; which values there are is the system's business (Linux).
        pub fn priority(self, priority: i32) -> Self {
            self.option(SockOption::Priority(priority))
        }

        /// `:recv-buffer-size`: bytes the system keeps of what was not read yet, before the peer has to wait.
        /// Default: it fits that to each connection, up to several MiB. See [`SockOption::RecvBuffer`].
        pub fn recv_buffer_size(self, size: u32) -> Self {
            self.option(SockOption::RecvBuffer(size))
        }

        /// `:send-buffer-size`: bytes the system keeps of what the peer has not got yet; more stays queued with the
        /// process. Default: as above. See [`SockOption::SendBuffer`].
        pub fn send_buffer_size(self, size: u32) -> Self {
            self.option(SockOption::SendBuffer(size))
        }

        /// `:bindtodevice`: use the network device of this name only (Linux).
        pub fn bindtodevice(self, device: impl Into<String>) -> Self {
            self.option(SockOption::BindToDevice(Some(device.into())))
        }
    };
}

/// The methods both builders have.
macro_rules! common_methods {
    () => {
        place_methods!();
        process_methods!();
        socket_methods!();
    };
}

/// Builds a server. Made by [`Runtime::server`].
#[must_use = "a builder does nothing before `start`"]
pub struct ServerBuilder {
    common: Common,
    local: Option<Address>,
    remote: Option<Address>,
    backlog: u32,
    reuse_port: bool,
    shared: Option<bool>,
    places: Places,
    origin: external::Origin,
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
            shared: None,
            places: Places::default(),
            origin: external::Origin::default(),
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

    /// Share the address with servers of other runtimes, of other programs of this user too. Default `false`.
    pub const fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// `:reuseaddr`: bind although old connections linger. Default `true` over IP, but for packets with `reuse_port`.
    ///
    /// On Linux the newest of the packet servers at an address that have it gets what comes, and the others hear
    /// nothing, not even that; `false` for one of them makes a second one fail to start.
    pub fn reuseaddr(self, on: bool) -> Self {
        self.option(SockOption::ReuseAddr(on))
    }

    /// `:log`: called with the server, the new connection if there is one, and what happened. Of a new connection it
    /// hears behind [`on_accept`](Self::on_accept), and before the connection's own sentinel hears `open from`.
    pub fn log<O: Outcome>(
        mut self,
        log: impl Fn(&Process, Option<&Process>, &LogEntry) -> O + 'static,
    ) -> Self {
        self.common.handlers.serving_mut().log =
            Some(Rc::new(move |server: &Process, process: Option<&Process>, entry: &LogEntry| {
                log(server, process, entry).into_error()
            }));
        self
    }

    /// Called with the server and each new connection before anything else is told of it: the place
    /// to give it a filter with state of its own.
    pub fn on_accept<O: Outcome>(
        mut self,
        on_accept: impl Fn(&Process, &Process) -> O + 'static,
    ) -> Self {
        self.common.handlers.serving_mut().on_accept =
            Some(Rc::new(move |server: &Process, process: &Process| {
                on_accept(server, process).into_error()
            }));
        self
    }

    /// Opens the socket and lists the process. Waits only for a host's name to be looked up, 60 seconds
    /// at most, and serves everybody meanwhile.
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
    pub fn start(mut self) -> Result<Process, StartError> {
        let places = std::mem::take(&mut self.places);
        let told = places.settle(&mut self.common.limits, &self.common.rt);
        if told && self.common.kind == Kind::Datagram {
            return Err(StartError::Incompatible("a packet server accepts no connections"));
        }
        self.start_given()
    }

    /// Starts on a socket made here; `external` says that one from elsewhere was asked for first.
    fn start_own(self, external: bool) -> Result<Process, StartError> {
        let asked = self.asked(external);
        let local = match &self.local {
            Some(local) => local.clone(),
            None => {
                let place = self.common.place()?;
                let patience = Patience::Until(self.common.rt.deadline(CONNECT_WITHIN));
                self.common.rt.addresses_of(place, patience)?.swap_remove(0)
            }
        };
        sockets::check_file(self.common.file, &local)?;
        self.check_keywords()?;
        let rt = self.common.rt.clone();
        let seat = rt.seat().filter(|seat| self.shares(seat));
        let Self { common, remote, backlog, reuse_port, .. } = self;
        let _kept = common.kept();
        let start = common.start(asked, reuse_port)?;
        let remote = remote.as_ref();
        match seat {
            Some(seat) => seat.start(Joining { rt: &rt, start, remote, backlog }, &local),
            None => open::server(&rt, start, &local, remote, backlog),
        }
    }

    /// Refuses what does not go with the kind of the server.
    fn check_keywords(&self) -> Result<(), StartError> {
        let datagram = self.common.kind == Kind::Datagram;
        let serving = self.common.handlers.serving();
        if datagram && serving.is_some_and(|serving| serving.on_accept.is_some()) {
            return Err(StartError::Incompatible("a packet server accepts no connections"));
        }
        if !datagram && self.remote.is_some() {
            return Err(StartError::Incompatible(
                "only a packet server has a remote to begin with",
            ));
        }
        Ok(())
    }
}

/// Builds a client. Made by [`Runtime::client`].
#[must_use = "a builder does nothing before `start`"]
pub struct ClientBuilder {
    common: Common,
    remotes: Option<Vec<Address>>,
    local: Option<Address>,
    nowait: bool,
    within: Duration,
    attempt_delay: Option<Duration>,
}

impl ClientBuilder {
    pub(crate) fn new(rt: &Runtime, name: &str) -> Self {
        Self {
            common: Common::new(rt, name),
            remotes: None,
            local: None,
            nowait: false,
            within: CONNECT_WITHIN,
            attempt_delay: None,
        }
    }

    common_methods!();

    /// `:remote`: connect here; host, service and family are not looked at then.
    pub fn remote(self, remote: impl Into<Address>) -> Self {
        self.remotes([remote])
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
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Event, Runtime, Status};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let to = server.contact().local().clone();
    /// let client = rt.client("c").remote(to).nowait(true).sentinel(|client, event| {
    ///     assert_eq!((event, client.status()), (&Event::Open, Status::Open));
    ///     client.runtime().shutdown();
    /// });
    /// let client = client.start()?;
    /// assert_eq!(client.status(), Status::Connect);
    /// rt.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn nowait(mut self, nowait: bool) -> Self {
        self.nowait = nowait;
        self
    }

    /// How long a `start` that waits may wait, for the look-up of its host, for the connection, and for its
    /// handshake. Default 60 seconds. One that does not wait has
    /// [`Limits::handshake_within`](crate::Limits::handshake_within) for its handshake.
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Connects, to whichever address of the host takes the connection first.
    ///
    /// The addresses race as RFC 8305 has it: IPv6 and IPv4 take turns, beginning with what the resolver
    /// gave first; each has [`attempt_delay`](Self::attempt_delay) for itself before the next is tried
    /// beside it, 16 at a time at most, and one at a time if they are to be bound to a port. The contact
    /// shows the address tried last, and in the end the one that was connected to; what was sent meanwhile
    /// goes there only.
    ///
    /// Without [`nowait`](Self::nowait) it waits until the connection stands; other processes are
    /// served meanwhile. No `open` event is sent then.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a host or service that cannot be, a bound that holds nothing, the refusal of
    /// the address that failed last, or `TimedOut`. Nothing is left.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Processes" (`make-network-process`); RFC 8305. Differs: a waiting
    /// connect has a time limit and serves others meanwhile; Emacs tries an address when the one before
    /// has failed.
    pub fn start(self) -> Result<Process, StartError> {
        let Self { mut common, remotes, local, nowait, within, attempt_delay } = self;
        common.limits.attempt_delay = attempt_delay.unwrap_or(common.limits.attempt_delay);
        sockets::check_connected(common.connected, common.kind)?;
        let asked = common.asked();
        let to = match remotes {
            Some(none) if none.is_empty() => return Err(StartError::NoAddress),
            Some(remotes) => Place::Known(remotes),
            None => common.place()?,
        };
        if to.has_no_port() {
            let (host, service) = (common.host.clone(), common.service.as_ref());
            let service = service.map_or_else(|| "0".into(), ToString::to_string);
            return Err(StartError::Service { host, service, problem: ServiceProblem::NeedsPort });
        }
        let rt = common.rt.clone();
        let _kept = common.kept();
        let start = common.start(asked, false)?;
        let patience = if nowait { Patience::Nowait } else { Patience::Until(rt.deadline(within)) };
        open::client(&rt, start, to, local, patience)
    }
}
