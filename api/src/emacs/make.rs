//! `make-network-process`: from a property list to a process, by Emacs's rules and in its order of
//! checks.
//!
//! Invariant: the arguments are kept as given, in order, unknown keywords included; the first error in
//! Emacs's order is the one reported. Opening is `open.rs`'s work.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an argument may be any value, and few are right"
)]

use std::{rc::Rc, time::Duration};

use netproc_core::{
    address::{Address, Family},
    coding::{Coding, CodingSystem},
    engine::Start,
    layer::Layers,
    options::SockOption,
    output::Buffer,
    plist::{Plist, PlistError, Value},
    process::Limits,
    reactor::{FileSpec, Kind},
};

use super::{Signal, callbacks, tls};
use crate::{
    activation::Offer,
    builder::Service,
    error::{HostProblem, ServiceProblem, StartError},
    handlers::{Handlers, Output},
    open::{self, Patience},
    output::{DEFAULT_FILTER, DEFAULT_SENTINEL},
    process::Process,
    resolve::{Place, Wanted, resolve},
    runtime::Runtime,
};

/// How long a connect may take that nobody gave a time.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// What `:server t` passes to the system.
const BACKLOG: u32 = 5;

/// Which coding systems a process gets that names none: Emacs's variables.
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Default Coding Systems" and "Specifying Coding Systems". Differs: services
/// are matched by number or whole name, not by regular expression.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct CodingDefaults {
    /// `coding-system-for-read`: before everything but the argument `:coding`.
    pub for_read: Option<CodingSystem>,
    /// `coding-system-for-write`.
    pub for_write: Option<CodingSystem>,
    /// `network-coding-system-alist`: by the service asked for, a port or a name.
    pub by_service: Vec<(String, Coding)>,
    /// `default-process-coding-system`; at first `utf-8-unix` both ways.
    pub default: Coding,
}

/// What a process is made by that is no argument.
pub(super) struct Way {
    /// How long a connect may take that is waited for.
    pub(super) within: Duration,
    /// By what it is encrypted, whatever `:tls-parameters` say.
    pub(super) layers: Option<Rc<dyn Layers>>,
    /// Whether it has neither filter nor sentinel for now, unless it is given some: its events are pulled.
    pub(super) is_pulled: bool,
}

impl Default for Way {
    fn default() -> Self {
        Self { within: CONNECT_WITHIN, layers: None, is_pulled: false }
    }
}

impl Runtime {
    /// Makes a network process from the arguments of Emacs's `make-network-process`.
    ///
    /// Keywords, values, defaults and the order of checks are Emacs's: no filter is the default
    /// filter, which writes to the `:buffer`, a server listens with a backlog of 5, a packet
    /// client is not connected, keywords nobody knows are kept in the contact. Functions are
    /// [`Function`](super::Function)s or the symbol `ignore`. No arguments make no process.
    ///
    /// A server with `:use-external-socket` is on the first socket that this program was started with and
    /// that is not taken, if there is one; the address it would have had otherwise must be a good one all
    /// the same. See [`ServerBuilder::use_external_socket`](crate::ServerBuilder::use_external_socket).
    ///
    /// Blocks until the connection stands, 60 seconds at most, unless `:nowait` is given. Others are served
    /// meanwhile, but not in the first hundredth of a second: a connect that the system does at once runs no
    /// callback of another process, as in Emacs.
    ///
    /// # Errors
    ///
    /// [`StartError`], whose [`emacs_message`](StartError::emacs_message) has Emacs's words. Nothing
    /// is left of the process; a buffer that was named has been made all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Runtime, Status};
    ///
    /// let rt = Runtime::new()?;
    /// let args = r#"(:name "echo" :server t :host "127.0.0.1" :service t :custom 42)"#.parse()?;
    /// let server = rt.make_network_process(&args)?.expect("there are arguments");
    /// assert_eq!(server.status(), Status::Listen);
    /// assert_eq!(server.contact().get(":custom"), Some(42.into()));
    ///
    /// let wrong = rt.make_network_process(&"(:name x :service 1)".parse()?).unwrap_err();
    /// assert_eq!(wrong.emacs_message().as_deref(), Some("Wrong type argument: stringp, x"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Processes". Differs: numbers out of range, NULs and paths that
    /// do not fit are refused, not cut; filters that are no functions are refused at once. With `:nowait` a
    /// name that leads nowhere is told by an event. The addresses of a name race (RFC 8305) instead of one
    /// waiting for the one before to fail. With `:tls-parameters` the process is connecting until the
    /// handshake is done, in which the server's certificate is judged, and a server speaks TLS too.
    pub fn make_network_process(&self, args: &Plist) -> Result<Option<Process>, StartError> {
        self.make(args, Way::default())
    }

    /// The same, in a way of its own.
    pub(super) fn make(&self, args: &Plist, way: Way) -> Result<Option<Process>, StartError> {
        if args.is_empty() {
            return Ok(None);
        }
        let kind = kind(args)?;
        let backlog = backlog(args)?;
        let nowait = on(args, ":nowait");
        if backlog.is_some() && nowait {
            return Err(StartError::ServerNowait);
        }
        let name = args.get(":name").and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong(args, ":name", "stringp"))?.to_owned();
        let (asked, at) = addresses(args, kind, backlog.is_some(), &name)?;
        let within = Patience::AloneThenUntil(self.deadline(way.within));
        let patience = if nowait { Patience::Nowait } else { within };
        let at = match at {
            Place::Named(_) if nowait => at,
            // A look-up that is waited for fails before there is a buffer.
            place => Place::Known(self.addresses_of(place, patience)?),
        };
        let buffer = self.buffer_argument(args)?;
        let plist = plist(args)?;
        let coding = self.coding_argument(args)?;
        let layers = match way.layers {
            Some(layers) => Some(layers),
            None => self.tls_argument(args, kind, backlog.is_some())?,
        };
        let (mut handlers, deaf) = handlers(args, buffer)?;
        complete(&mut handlers, way.is_pulled);
        if deaf {
            handlers.show_filter(Value::True);
        }
        let start = Start {
            name,
            kind,
            asked,
            plist,
            handlers,
            coding: Some(coding),
            layers,
            trusted: None,
            header: None,
            options: options(args)?,
            stopped: on(args, ":stop"),
            half_open: false,
            reuse_port: false,
            connected: false,
            file: FileSpec::default(),
            limits: Limits::default(),
        };
        let process = match backlog {
            Some(backlog) => {
                let at = self.addresses_of(at, patience)?;
                let remote = args.get(":remote").and_then(|remote| remote.to_address().ok());
                let remote = remote.filter(|_| kind == Kind::Datagram);
                let remote = remote.filter(|remote| remote.family() == at[0].family());
                // Above the offer, so dropped after it, since it may run closures.
                let _kept = (start.handlers.clone(), start.plist.clone());
                match on(args, ":use-external-socket").then(|| Offer::find(None, kind)).flatten() {
                    Some(offer) => {
                        offer.serve(|fd| open::adopted(self, start, fd, remote.as_ref()))?
                    }
                    None => open::server(self, start, &at[0], remote.as_ref(), backlog)?,
                }
            }
            None => open::client(self, start, at, None, patience)?,
        };
        if deaf {
            callbacks::ignore_input(&process);
        }
        Ok(Some(process))
    }

    /// What encrypts, if anything is to.
    fn tls_argument(
        &self,
        args: &Plist,
        kind: Kind,
        is_server: bool,
    ) -> Result<Option<Rc<dyn Layers>>, StartError> {
        let Some(given) = args.get(":tls-parameters").filter(|given| given.is_true()) else {
            return Ok(None);
        };
        if kind != Kind::Stream {
            // Ignored, it would send in clear what was to be encrypted.
            return Err(StartError::Incompatible("only streams have TLS"));
        }
        Ok(Some(tls::layers(self, given, is_server)?))
    }

    pub(super) fn buffer_argument(&self, args: &Plist) -> Result<Option<Buffer>, StartError> {
        match args.get(":buffer") {
            None | Some(Value::Nil) => Ok(None),
            Some(value) => match (value.downcast::<Buffer>(), value.as_str()) {
                (Some(buffer), _) => Ok(Some(buffer.clone())),
                (None, Some("")) => Err(StartError::Incompatible(NO_BUFFER_NAME)),
                (None, Some(name)) => Ok(Some(self.buffers().get_or_create(name))),
                (None, None) => Err(wrong(args, ":buffer", "stringp")),
            },
        }
    }

    pub(super) fn coding_argument(&self, args: &Plist) -> Result<Coding, StartError> {
        let defaults = self.coding_defaults();
        let given = args.get(":coding").filter(|coding| coding.is_true());
        let service = args.get(":service").map(|service| match service.as_str() {
            Some(name) => name.to_owned(),
            None => service.to_string(),
        });
        let by_service = |service: String| {
            defaults.by_service.iter().find(|(name, _)| *name == service).map(|(_, coding)| *coding)
        };
        let default = service.and_then(by_service).unwrap_or(defaults.default);
        let mut coding = match given {
            Some(given) => coding(given, defaults.default)?,
            None => Coding {
                decode: defaults.for_read.or(default.decode),
                encode: defaults.for_write.or(default.encode),
            },
        };
        if matches!(args.get(":filter-multibyte"), Some(Value::Nil)) {
            coding.decode = Some(coding.decode.unwrap_or_else(CodingSystem::undecided).raw_text());
        }
        Ok(coding)
    }
}

fn on(args: &Plist, keyword: &str) -> bool {
    args.get(keyword).is_some_and(Value::is_true)
}

/// The argument `keyword` is of the wrong type: it does not satisfy `expected`.
fn wrong(args: &Plist, keyword: &'static str, expected: &'static str) -> StartError {
    let value = args.get(keyword).map_or_else(|| "nil".into(), Value::to_string);
    StartError::Argument { keyword, expected, value }
}

fn kind(args: &Plist) -> Result<Kind, StartError> {
    match args.get(":type") {
        None | Some(Value::Nil) => Ok(Kind::Stream),
        Some(value) => match value.as_symbol() {
            Some("datagram") => Ok(Kind::Datagram),
            Some("seqpacket") => Ok(Kind::SeqPacket),
            _ => Err(StartError::UnsupportedType(value.to_string())),
        },
    }
}

fn backlog(args: &Plist) -> Result<Option<u32>, StartError> {
    match args.get(":server") {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Integer(backlog)) if *backlog < 0 => Err(StartError::Backlog(*backlog)),
        // The system takes no more than an int, and its own limit is far below.
        Some(Value::Integer(backlog)) => {
            Ok(Some(u32::try_from(*backlog).unwrap_or(u32::MAX).min(i32::MAX.cast_unsigned())))
        }
        Some(_) => Ok(Some(BACKLOG)),
    }
}

/// Where the process is to be, or whom it is to reach; and the arguments as its contact has them.
fn addresses(
    args: &Plist,
    kind: Kind,
    server: bool,
    name: &str,
) -> Result<(Plist, Place), StartError> {
    let mut asked = callbacks::weakened(args);
    let keyword = if server { ":local" } else { ":remote" };
    if let Some(value) = args.get(keyword).filter(|value| value.is_true()) {
        let malformed =
            |source| StartError::MalformedAddress { keyword, value: value.to_string(), source };
        return Ok((asked, Place::Known(vec![value.to_address().map_err(malformed)?])));
    }
    let family = family(args)?;
    let host = match args.get(":host") {
        None | Some(Value::Nil) => None,
        // This machine, as none is; the string of that spelling is a name like any other.
        Some(value) if value.as_symbol() == Some("local") => None,
        Some(value) if value.is_string() => Some(super::bare(value)),
        Some(_) => return Err(wrong(args, ":host", "stringp")),
    };
    if family == Some(Family::Local) {
        if args.get(":host").is_some_and(Value::is_true) {
            asked.put(":host", Value::Nil);
        }
        let path = args.get(":service").and_then(Value::to_bytes);
        let path = path.ok_or_else(|| wrong(args, ":service", "stringp"))?;
        if path.is_empty() {
            let (host, service) = (None, String::new());
            return Err(StartError::Service { host, service, problem: ServiceProblem::Empty });
        }
        return Ok((asked, Place::Known(vec![Address::local(path)?])));
    }
    // As in Emacs, which leaves it to the C library what an address is.
    let short_hosts = true;
    let nowhere =
        Wanted { host: host.as_deref(), service: &Service::Any, family, kind, short_hosts };
    let service = service(args, server, nowhere.host_text(), name)?;
    let wanted = Wanted { service: &service, ..nowhere };
    if args.get(":host").is_some_and(|host| host.is_string() && host.as_str().is_none()) {
        return Err(wanted.bad_host(HostProblem::Bytes));
    }
    let place = resolve(&wanted)?;
    if !server && place.has_no_port() {
        return Err(wanted.bad_service(ServiceProblem::NeedsPort));
    }
    Ok((asked, place))
}

fn family(args: &Plist) -> Result<Option<Family>, StartError> {
    let Some(value) = args.get(":family").filter(|value| value.is_true()) else { return Ok(None) };
    match (value.as_symbol(), value.as_integer()) {
        (Some("ipv4"), _) => Ok(Some(Family::Ipv4)),
        (Some("ipv6"), _) => Ok(Some(Family::Ipv6)),
        (Some("local"), _) => Ok(Some(Family::Local)),
        (_, Some(number)) => match u16::try_from(number) {
            Ok(number) => Ok(Some(Family::Other(number))),
            Err(_) => Err(StartError::UnknownFamily(value.to_string())),
        },
        _ => Err(StartError::UnknownFamily(value.to_string())),
    }
}

fn service(args: &Plist, server: bool, host: String, name: &str) -> Result<Service, StartError> {
    let refused =
        |service: String, problem| StartError::Service { host: Some(host), service, problem };
    match args.get(":service") {
        None | Some(Value::Nil) => Err(StartError::MissingService(name.into())),
        Some(Value::True) if server => Ok(Service::Any),
        Some(Value::True) => Err(refused("t".into(), ServiceProblem::NeedsPort)),
        Some(Value::Integer(0)) if !server => Err(refused("0".into(), ServiceProblem::NeedsPort)),
        Some(Value::Integer(port)) => match u16::try_from(*port) {
            Ok(port) => Ok(Service::Port(port)),
            Err(_) => Err(refused(port.to_string(), ServiceProblem::OutOfRange)),
        },
        Some(value) => match value.as_str() {
            Some(name) => Ok(Service::Name(name.into())),
            None if value.is_string() => Err(refused(super::bare(value), ServiceProblem::Unknown)),
            None => Err(wrong(args, ":service", "stringp")),
        },
    }
}

fn plist(args: &Plist) -> Result<Plist, StartError> {
    let value = args.get(":plist").cloned().unwrap_or_default();
    match value.items() {
        Some(values) => Ok(Plist::from_values(values)?),
        None => Err(wrong(args, ":plist", "sequencep")),
    }
}

/// What `:coding` says: one system for both ways, or a pair.
fn coding(given: &Value, default: Coding) -> Result<Coding, StartError> {
    let half = |value: &Value| match (value, value.as_symbol()) {
        (Value::Nil, _) => Ok(None),
        (_, Some(name)) => Ok(Some(name.parse::<CodingSystem>()?)),
        _ => Err(StartError::Argument {
            keyword: ":coding",
            expected: "symbolp",
            value: value.to_string(),
        }),
    };
    match given {
        Value::Pair(pair) => Ok(Coding { decode: half(&pair.0)?, encode: half(&pair.1)? }),
        // `(SYSTEM)` is the pair of it and nil, and a nil of its own means no conversion.
        Value::List(values) => match &**values {
            [Value::Nil] => Ok(CodingSystem::binary().into()),
            [decode] => Ok(Coding { decode: half(decode)?, encode: default.encode }),
            // The pair of the first and a list of the others, which is no name.
            [decode, rest @ ..] => {
                let (decode, encode) = (half(decode)?, half(&Value::list(rest.iter().cloned()))?);
                Ok(Coding { decode, encode })
            }
            [] => Ok(default),
        },
        system => {
            let system = half(system)?;
            Ok(Coding { decode: system, encode: system })
        }
    }
}

/// What is said of an empty name for a buffer.
pub(super) const NO_BUFFER_NAME: &str = "Empty string for buffer name is not allowed";

/// Arguments as a property list.
pub(super) fn arguments(args: &[Value]) -> Result<Plist, Signal> {
    let key = args.iter().step_by(2).find(|key| key.as_symbol().is_none());
    match (Plist::from_values(args), key) {
        (Err(PlistError::Key(_)), Some(key)) => Err(Signal::wrong_type("symbolp", key.clone())),
        (made, _) => Ok(made?),
    }
}

fn options(args: &Plist) -> Result<Vec<SockOption>, StartError> {
    let mut options = Vec::new();
    for (keyword, value) in args.iter() {
        options.extend(SockOption::new(keyword, value)?);
    }
    Ok(options)
}

/// Fills in the callbacks that were not given, unless what comes is a dialogue's first.
fn complete(handlers: &mut Handlers, is_pulled: bool) {
    handlers.being_opened = is_pulled;
    if !is_pulled {
        handlers.use_defaults();
    }
}

/// The callbacks, and whether input is turned off.
pub(super) fn handlers(
    args: &Plist,
    buffer: Option<Buffer>,
) -> Result<(Handlers, bool), StartError> {
    let mut handlers = Handlers::default();
    handlers.output = Output::new(buffer);
    handlers.no_query = on(args, ":noquery");
    let mut deaf = false;
    match args.get(":filter") {
        None | Some(Value::Nil) => {}
        Some(Value::True) => deaf = true,
        Some(value) if value.as_symbol() == Some(DEFAULT_FILTER) => {}
        Some(value) => {
            let function = callbacks::function(value);
            let function = function.ok_or_else(|| wrong(args, ":filter", "functionp"))?;
            handlers.filter = callbacks::filter(function);
            handlers.show_filter(callbacks::weak(value));
        }
    }
    let function = |keyword| match args.get(keyword) {
        None | Some(Value::Nil) => Ok(None),
        Some(value) if value.as_symbol() == Some(DEFAULT_SENTINEL) => Ok(None),
        Some(value) => match callbacks::function(value) {
            Some(function) => Ok(Some((function, callbacks::weak(value)))),
            None => Err(wrong(args, keyword, "functionp")),
        },
    };
    if let Some((sentinel, shown)) = function(":sentinel")? {
        handlers.sentinel = Some(callbacks::sentinel(sentinel));
        handlers.show_sentinel(shown);
    }
    if let Some((log, _)) = function(":log")? {
        handlers.serving_mut().log = Some(callbacks::log(log));
    }
    Ok((handlers, deaf))
}
