//! Where at a host: a port, the name of a service, the path of a local socket.
//!
//! Invariant: nothing is looked up here; what a name leads to is found at the start.

use std::fmt;

use netproc_core::plist::Value;

/// A port, the name of a service, or the path of a local socket.
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
    /// The digits of a port; or a name that the system's table of services has for the kind of the
    /// process (`"https"`, see services(5)); or the path of a local socket, where a leading NUL makes
    /// the name abstract.
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
    /// Bytes that are not UTF-8 are replaced; give such a path as an [`Address`](crate::Address) instead.
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
