//! The words Emacs has for an error, where Emacs signals that error.
//!
//! Invariant: what is written here is what `error-message-string` gives there, character for
//! character on a system with the same C library; `None` where Emacs has no such error or it has
//! not been put into its words yet. Our own words are those of `Display`.

use netproc_core::{
    address::AddressError,
    coding::CodingError,
    reactor::{Op, SysError},
};

use super::{HostProblem, ServiceProblem, StartError};

/// What glibc says of a host that there is not.
const NO_HOST: &str = "Name or service not known";
/// What glibc says of an address of another family than the one asked for.
const NO_FAMILY: &str = "Address family for hostname not supported";
/// What glibc says of a service that there is not.
const NO_SERVICE: &str = "Servname not supported for ai_socktype";

/// Emacs's refusal of a host or name that is not ASCII.
pub(crate) fn not_ascii(host: &str) -> String {
    format!("Non-ASCII hostname {host} detected, please use puny-encode-domain")
}

/// A refusal of the system, as a client or a server that is bound meets it.
fn of_system(err: SysError) -> String {
    let tried = match err.op {
        Op::Bind => "Cannot bind server socket",
        Op::Listen => "Cannot listen on server socket",
        Op::Option => "Cannot set network option",
        Op::Spawn => "Searching for program",
        Op::Signal => "Signalling process",
        Op::Open | Op::Accept | Op::Connect | Op::Recv | Op::Send | Op::Shutdown | Op::Wait => {
            "make client process failed"
        }
    };
    format!("{tried}: {}", err.message())
}

impl StartError {
    /// The words Emacs signals this error with; `None` where it has none.
    ///
    /// Where this library refuses by itself what Emacs hands to the resolver, the message is glibc's;
    /// what Emacs appends to a refusal of the system, the arguments, is left out.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::Runtime;
    ///
    /// let refused = Runtime::new()?.server("s").service("-1").start().unwrap_err();
    /// let words = "127.0.0.1/-1 Servname not supported for ai_socktype";
    /// assert_eq!(refused.emacs_message().as_deref(), Some(words));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// `make-network-process` of Emacs 28.2, as observed.
    #[must_use]
    pub fn emacs_message(&self) -> Option<String> {
        match self {
            Self::Host { host, service, problem } => Some(match problem {
                HostProblem::NotAscii => not_ascii(host),
                HostProblem::Family => format!("{host}/{service} {NO_FAMILY}"),
                HostProblem::Empty
                | HostProblem::Nul
                | HostProblem::Brackets
                | HostProblem::Bytes
                | HostProblem::Space
                | HostProblem::TooLong
                | HostProblem::ShortForm
                | HostProblem::Interface => format!("{host}/{service} {NO_HOST}"),
            }),
            Self::Service { host: Some(host), service, problem } => match problem {
                ServiceProblem::Empty
                | ServiceProblem::Nul
                | ServiceProblem::Unknown
                | ServiceProblem::OutOfRange => Some(format!("{host}/{service} {NO_SERVICE}")),
                ServiceProblem::NeedsPort | ServiceProblem::NeedsPath => None,
            },
            Self::Lookup { host, service, source } => Some(format!("{host}/{service} {source}")),
            Self::Argument { expected, value, .. } => {
                Some(format!("Wrong type argument: {expected}, {value}"))
            }
            Self::MissingService(_) => Some("Wrong type argument: stringp, nil".into()),
            Self::UnsupportedType(_) => Some("Unsupported connection type".into()),
            Self::UnknownFamily(_) => Some("Unknown address family".into()),
            Self::ServerNowait => Some(self.to_string()),
            Self::Address(AddressError::PathTooLong(_))
            | Self::MalformedAddress { source: Some(AddressError::PathTooLong(_)), .. } => {
                Some("Service name too long".into())
            }
            Self::MalformedAddress { .. } => Some("Malformed :address".into()),
            Self::Option(err) => Some(err.emacs_message()),
            Self::Coding(CodingError::Unknown(name) | CodingError::MalformedPair(name)) => {
                Some(format!("Invalid coding system: {name}"))
            }
            Self::Coding(CodingError::Refused { name, .. }) => {
                Some(format!("Invalid coding system: {name}"))
            }
            Self::Sys { source, .. } => Some(of_system(*source)),
            Self::TlsParameters(err) => err.emacs_message(),
            Self::Handshake { source, .. } => Some(source.to_string()),
            Self::LookupTimedOut { .. } => None,
            Self::TimedOut { .. } => Some(of_system(SysError::timed_out(Op::Connect))),
            Self::Service { host: None, .. }
            | Self::Coding(_)
            | Self::Address(_)
            | Self::NoAddress
            | Self::Plist(_)
            | Self::Backlog(_)
            | Self::Limits(_)
            | Self::ProxyHeader(_)
            | Self::Incompatible(_)
            | Self::Adopt(_)
            | Self::Runtime(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ResolverError, ResolverErrorKind};

    fn host(host: &str, problem: HostProblem) -> StartError {
        StartError::Host { host: host.into(), service: "9".into(), problem }
    }

    fn service(service: &str, problem: ServiceProblem) -> StartError {
        let host = Some("127.0.0.1".into());
        StartError::Service { host, service: service.into(), problem }
    }

    /// The words are those of `service-forms`, `bad-arguments-errors` and Emacs 28.2 asked directly.
    #[test]
    fn look_up_errors_read_as_in_emacs() {
        let source = ResolverError {
            kind: ResolverErrorKind::Family,
            code: -6,
            text: "ai_family not supported".into(),
        };
        let lookup = StartError::Lookup { host: "127.0.0.1".into(), service: "1".into(), source };
        let unknown = "127.0.0.1/no-such-service Servname not supported for ai_socktype";
        let cases = [
            (service("no-such-service", ServiceProblem::Unknown), unknown),
            (
                service("-1", ServiceProblem::Unknown),
                "127.0.0.1/-1 Servname not supported for ai_socktype",
            ),
            (
                service("70000", ServiceProblem::OutOfRange),
                "127.0.0.1/70000 Servname not supported for ai_socktype",
            ),
            (host("", HostProblem::Empty), "/9 Name or service not known"),
            (host("[::1]", HostProblem::Brackets), "[::1]/9 Name or service not known"),
            (host("::1", HostProblem::Family), "::1/9 Address family for hostname not supported"),
            (
                host("h\u{e9}.example", HostProblem::NotAscii),
                "Non-ASCII hostname h\u{e9}.example detected, please use puny-encode-domain",
            ),
            (lookup, "127.0.0.1/1 ai_family not supported"),
        ];
        for (err, expected) in cases {
            assert_eq!(err.emacs_message().as_deref(), Some(expected), "{err:?}");
        }
    }

    #[test]
    fn what_emacs_words_otherwise_is_left_out() {
        let problem = ServiceProblem::NeedsPath;
        let local = StartError::Service { host: None, service: "12".into(), problem };
        for err in [local, service("t", ServiceProblem::NeedsPort), StartError::Incompatible("")] {
            assert_eq!(err.emacs_message(), None, "{err:?}");
        }
    }
}
