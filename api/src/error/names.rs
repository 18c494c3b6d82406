//! What can be wrong with a host or a service, and what the system's resolver may answer.
//!
//! Invariant: a problem stands here only if it was found before a resolver was asked, the unknown
//! service excepted; a resolver's own refusal keeps its code and its text. Which host or service
//! it was about is the business of the error around it.

use std::fmt;

/// What is wrong with a host.
///
/// # Examples
///
/// ```
/// use netproc::{HostProblem, Runtime, StartError};
///
/// let refused = Runtime::new()?.server("s").host("127.1").start().unwrap_err();
/// assert!(matches!(refused, StartError::Host { problem: HostProblem::ShortForm, .. }));
/// # Ok::<(), netproc::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostProblem {
    /// Nothing but the empty text.
    #[error("empty")]
    Empty,
    /// A NUL, where the system would silently end it.
    #[error("a NUL is not allowed")]
    Nul,
    /// An address in brackets.
    #[error("write the address without brackets")]
    Brackets,
    /// A character that is not ASCII.
    #[error("not ASCII: encode it as punycode")]
    NotAscii,
    /// Bytes that are no characters.
    #[error("bytes that are no characters")]
    Bytes,
    /// White space or a control character.
    #[error("no host name has a space")]
    Space,
    /// More than 253 bytes, or a label of more than 63.
    #[error("name too long")]
    TooLong,
    /// Numbers that are no plain IPv4 address: `127.1`, `0177.0.0.1`, `0x7f.1`, `256.1.1.1`.
    #[error("neither a plain IPv4 address nor a name")]
    ShortForm,
    /// An address of another family than the one asked for.
    #[error("not an address of the family asked for")]
    Family,
    /// An IPv6 address of an interface that there is not, as `fe80::1%nosuch`.
    #[error("unknown interface behind the %")]
    Interface,
}

/// What is wrong with a service.
///
/// # Examples
///
/// ```
/// use netproc::{Runtime, ServiceProblem, StartError};
///
/// let refused = Runtime::new()?.server("s").service("65536").start().unwrap_err();
/// assert!(matches!(refused, StartError::Service { problem: ServiceProblem::OutOfRange, .. }));
/// # Ok::<(), netproc::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceProblem {
    /// Nothing but the empty text.
    #[error("empty")]
    Empty,
    /// A NUL, where the system would silently end it.
    #[error("a NUL is not allowed")]
    Nul,
    /// Neither a port nor a name that the system knows for this kind of process.
    #[error("unknown service")]
    Unknown,
    /// A number that is no port.
    #[error("port out of range 0 to 65535")]
    OutOfRange,
    /// No port, or any, where a peer's is needed.
    #[error("a client needs a port")]
    NeedsPort,
    /// No path where a local socket's is needed.
    #[error("a local socket needs a path")]
    NeedsPath,
}

/// What the system's resolver refused with; [`Display`](fmt::Display) is its own text.
///
/// # Examples
///
/// ```
/// use netproc::{Family, ResolverErrorKind, Runtime, StartError};
///
/// let rt = Runtime::new()?;
/// let refused = rt.server("s").host("127.0.0.1").family(Family::Other(77)).start();
/// let Err(StartError::Lookup { source, .. }) = refused else { panic!("family 77 works") };
/// assert_eq!(source.kind(), ResolverErrorKind::Family);
/// # Ok::<(), netproc::Error>(())
/// ```
///
/// # Source
///
/// getaddrinfo(3), gai_strerror(3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolverError {
    pub(crate) kind: ResolverErrorKind,
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl ResolverError {
    /// What it comes to, on whatever system this runs.
    #[must_use]
    pub const fn kind(&self) -> ResolverErrorKind {
        self.kind
    }

    /// The system's number for it (`EAI_NONAME` and so on); 0 where it gave none.
    #[must_use]
    pub const fn code(&self) -> i32 {
        self.code
    }
}

impl fmt::Display for ResolverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ResolverError {}

/// The classes of a resolver's refusals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ResolverErrorKind {
    /// There is no such name, or it has no address (`EAI_NONAME`, `EAI_NODATA`).
    NotFound,
    /// It has none of the family asked for (`EAI_ADDRFAMILY`).
    AddressFamily,
    /// The system knows no such service for this kind of socket (`EAI_SERVICE`).
    Service,
    /// The system cannot look up this family (`EAI_FAMILY`).
    Family,
    /// No answer for now: asking again later may help (`EAI_AGAIN`).
    Temporary,
    /// A name server refused, for good (`EAI_FAIL`).
    Failed,
    /// Anything else, such as being out of memory or descriptors.
    System,
}
