//! The words Emacs has for an error, where Emacs signals that error.
//!
//! Invariant: what is written here is what `error-message-string` gives there, character for
//! character on a system with the same C library; `None` where Emacs has no such error or it has
//! not been put into its words yet. Our own words are those of `Display`.

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

impl StartError {
    /// The words Emacs signals this error with; `None` where it has none.
    ///
    /// Now those of hosts, services and their look-up: `HOST/SERVICE MESSAGE`. Where this library
    /// refuses by itself what Emacs hands to the resolver, the message is glibc's.
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
            Self::Service { host: None, .. }
            | Self::MissingService(_)
            | Self::Address(_)
            | Self::Coding(_)
            | Self::Incompatible(_)
            | Self::Sys { .. }
            | Self::TimedOut { .. }
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
