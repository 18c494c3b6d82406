//! What can go wrong before a process exists, and what can end a runtime.
//!
//! Invariant: every error keeps what it is about, so that a caller never has to read its text. What
//! is wrong with hosts and services is told in [`names`], Emacs's words are made in [`emacs`].

pub(crate) mod emacs;
mod names;
mod spawn;
mod tls;

use netproc_core::{
    address::{Address, AddressError},
    coding::CodingError,
    engine::{
        CredentialsError, DatagramAddressError, FinishError, SendError, SendTextError, UpgradeError,
    },
    event::Reason,
    options::OptionError,
    plist::PlistError,
    proxy::{ProxyOutError, TrustedProxiesError},
    reactor::{ConfigError, SysError},
    shared_error::SharedError,
    socket::AdoptError,
};

pub use self::{
    names::{HostProblem, ResolverError, ResolverErrorKind, ServiceProblem},
    spawn::SpawnError,
    tls::TlsParametersError,
};
#[cfg(feature = "starttls")]
use crate::stream::OpenStreamError;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::tls::TlsError;
use crate::{
    backend::BackendError, child::SignalError, companions::SetOptionError, handle::Gone,
    interfaces::InterfaceError, lookup::LookupError, process::FilterError, shards::ShardsError,
};

/// Why a process could not be started. Nothing is left of it: no socket, no name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Neither a service nor an address was given.
    #[error("process {0:?} has no service")]
    MissingService(String),
    /// A host that can be no host, or is not of the family asked for; no resolver was asked.
    #[error("host {host:?}: {problem}")]
    Host {
        /// What was given.
        host: String,
        /// The service given with it, as Emacs writes it: any port is 0.
        service: String,
        /// What is wrong with it.
        problem: HostProblem,
    },
    /// A service that is no port, is not known, or is no path where one is needed.
    #[error("service {service:?}: {problem}")]
    Service {
        /// The host it was to be looked up with, the loopback address if no other was given; `None`
        /// where none was needed, as for local sockets.
        host: Option<String>,
        /// What was given.
        service: String,
        /// What is wrong with it.
        problem: ServiceProblem,
    },
    /// The resolver refused a host.
    #[error("{host}/{service}: name look-up failed")]
    Lookup {
        /// The host looked up.
        host: String,
        /// The service given with it, as Emacs writes it: any port is 0.
        service: String,
        /// What the resolver said.
        source: ResolverError,
    },
    /// The resolver did not answer within the time given.
    #[error("{host}: no answer to the name look-up within the time given")]
    LookupTimedOut {
        /// The host looked up.
        host: String,
    },
    /// A path or address that cannot be.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A client was given a list of addresses, and there is none in it.
    #[error("no address to connect to")]
    NoAddress,
    /// The arguments are no property list: the last keyword has no value.
    #[error(transparent)]
    Plist(#[from] PlistError),
    /// An argument of the wrong type.
    #[error("wrong type of {keyword}: {value}, it has to satisfy {expected}")]
    Argument {
        /// The keyword.
        keyword: &'static str,
        /// Emacs's name of what it has to be, such as `stringp`.
        expected: &'static str,
        /// What was given, as Lisp prints it.
        value: String,
    },
    /// A `:type` that is none.
    #[error("unsupported connection type {0}")]
    UnsupportedType(String),
    /// A `:family` that is none.
    #[error("unknown address family {0}")]
    UnknownFamily(String),
    /// A server that shall not be waited for: it never is.
    #[error("':server' is incompatible with ':nowait'")]
    ServerNowait,
    /// A `:local` or `:remote` that is no address.
    #[error("malformed {keyword} address {value}")]
    MalformedAddress {
        /// The keyword.
        keyword: &'static str,
        /// What was given, as Lisp prints it.
        value: String,
        /// What is wrong, if it has the shape of an address at all.
        source: Option<AddressError>,
    },
    /// A backlog that is negative.
    #[error("a backlog of {0} is no number of connections")]
    Backlog(i64),
    /// A socket option that does not fit.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A coding system that is unknown or refused.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// `:tls-parameters` that make no TLS.
    #[error("no TLS with these parameters")]
    TlsParameters(#[from] TlsParametersError),
    /// A bound that nothing can live with.
    #[error(transparent)]
    Limits(#[from] ConfigError),
    /// A PROXY header that cannot be written.
    #[error(transparent)]
    ProxyHeader(#[from] ProxyOutError),
    /// Things that do not go together; the text says which.
    #[error("{0}")]
    Incompatible(&'static str),
    /// The system refused to make or bind the socket, or to connect it.
    #[error("cannot use {}", address.as_ref().map_or_else(|| "any address".into(), ToString::to_string))]
    Sys {
        /// The address at fault, where one is known.
        address: Option<Address>,
        /// What was tried and what the system said.
        source: SysError,
    },
    /// A socket from elsewhere cannot be this server's. One that was handed to this process at its start
    /// is still there for another server.
    #[error("cannot serve on the socket given")]
    Adopt(#[source] AdoptError),
    /// The connection stood, but the handshake of the layer on top, such as TLS, failed.
    #[error("{address}: the handshake failed")]
    Handshake {
        /// Whom it was tried with.
        address: Address,
        /// Why.
        source: SharedError,
    },
    /// The connection did not stand within the time given.
    #[error("{address}: no connection within the time given")]
    TimedOut {
        /// The last address tried.
        address: Address,
    },
    /// While waiting for the connection, the runtime failed.
    #[error("the runtime could not wait for the connection")]
    Runtime(#[source] Box<Error>),
}

/// Why a send that waits, or a flush, did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendWaitError {
    /// The bytes were refused; nothing was queued.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The system refused the packet, or the child reads no more and what was queued for it is lost. The process
    /// lives on.
    #[error("what was sent was refused")]
    Refused(#[source] SysError),
    /// A callback deleted the process meanwhile.
    #[error("the process was deleted while {unsent} bytes waited to be sent")]
    Deleted {
        /// Bytes the system did not have then.
        unsent: u64,
    },
    /// The connection ended meanwhile.
    #[error("the connection ended while {unsent} bytes waited to be sent: {reason}")]
    Broken {
        /// In order, or by which error.
        reason: Reason,
        /// Bytes the system did not have then.
        unsent: u64,
    },
    /// The time is over; what is left stays queued.
    #[error("{queued} bytes still wait to be sent after the time given")]
    TimedOut {
        /// Bytes that wait.
        queued: u64,
    },
    /// The runtime could not wait.
    #[error("the runtime could not wait")]
    Runtime(#[from] Box<Error>),
}

impl From<Error> for SendWaitError {
    fn from(err: Error) -> Self {
        Self::Runtime(Box::new(err))
    }
}

/// Anything this crate returns, for programs that pass it on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size in the configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No reactor could be made.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A process could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A child could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A child was not signalled.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// Bytes were refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Text was refused.
    #[error(transparent)]
    SendText(#[from] SendTextError),
    /// A coding system is unknown or refused.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// A name could not be looked up.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The interfaces of this machine could not be listed.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The sending direction could not be ended.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// A packet process cannot talk to an address.
    #[error(transparent)]
    DatagramAddress(#[from] DatagramAddressError),
    /// Nobody can say who the peer is.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A filter could not be set.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// What was sent with a wait has not all gone.
    #[error(transparent)]
    SendWait(#[from] SendWaitError),
    /// A connection cannot get a layer.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// A descriptor is nothing that could be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// An option was not set.
    #[error(transparent)]
    SetOption(#[from] SetOptionError),
    /// Something is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Something names no proxies.
    #[error(transparent)]
    TrustedProxies(#[from] TrustedProxiesError),
    /// Shards did not start, or ended by an error.
    #[error(transparent)]
    Shards(#[from] Box<ShardsError>),
    /// A stream was not opened.
    #[cfg(feature = "starttls")]
    #[error(transparent)]
    Stream(#[from] Box<OpenStreamError>),
    /// What TLS is to go by is wrong.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The runtime behind a handle is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The reactor is unusable, for good.
    #[error("the reactor failed")]
    Reactor(#[source] SysError),
    /// Waiting methods were called inside callbacks, too deep.
    #[error("waits nested {0} deep inside callbacks")]
    TooDeep(u32),
    /// The process awaited lives in another runtime, where nothing comes of waiting here.
    #[error("no such process in this runtime: {0}")]
    NoSuchProcess(String),
    /// This backend has no descriptor a foreign loop could wait on.
    #[error("the {0} backend has no descriptor to wait on")]
    NoDescriptor(&'static str),
}

impl From<ShardsError> for Error {
    fn from(err: ShardsError) -> Self {
        Box::new(err).into()
    }
}

#[cfg(feature = "starttls")]
impl From<OpenStreamError> for Error {
    fn from(err: OpenStreamError) -> Self {
        Box::new(err).into()
    }
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
