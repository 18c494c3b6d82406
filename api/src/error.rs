//! What can go wrong before a process exists, and what can end a runtime.

use netproc_core::{
    address::{Address, AddressError},
    coding::CodingError,
    engine::{FinishError, SendError, SendTextError},
    reactor::{ConfigError, SysError},
};

use crate::{backend::BackendError, handle::Gone, process::FilterError};

/// Why a process could not be started. Nothing is left of it: no socket, no name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Neither a service nor an address was given.
    #[error("process {0:?} has no service")]
    MissingService(String),
    /// A host that is empty, has a NUL, a space or brackets, or is no plain IPv4 address although
    /// it looks like one.
    #[error("host {host:?}: {problem}")]
    Host {
        /// What was given.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A service that is no port and no path where one is needed.
    #[error("service {service:?}: {problem}")]
    Service {
        /// What was given.
        service: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name look-up of a host failed.
    #[error("{host}/{service}: name look-up failed")]
    Lookup {
        /// The host looked up.
        host: String,
        /// The service looked up with it.
        service: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// A path or address that cannot be.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A coding system that is unknown or refused.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// A bound that nothing can live with.
    #[error(transparent)]
    Limits(#[from] ConfigError),
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
    /// Bytes were refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Text was refused.
    #[error(transparent)]
    SendText(#[from] SendTextError),
    /// A coding system is unknown or refused.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// The sending direction could not be ended.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// A filter could not be set.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The runtime behind a handle is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The reactor is unusable, for good.
    #[error("the reactor failed")]
    Reactor(#[source] SysError),
    /// Waiting methods were called inside callbacks, too deep.
    #[error("waits nested {0} deep inside callbacks")]
    TooDeep(u32),
    /// This backend has no descriptor a foreign loop could wait on.
    #[error("the {0} backend has no descriptor to wait on")]
    NoDescriptor(&'static str),
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
