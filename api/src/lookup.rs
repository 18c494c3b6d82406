//! Looking a name up without starting anything.
//!
//! Invariant: what can be no name is told apart from a name that there is not, and neither is asked
//! for. The resolver is asked through [`resolve`](crate::resolve).

use netproc_core::address::{Address, Family};

use crate::{
    error::{HostProblem, ResolverError, ResolverErrorKind, emacs},
    resolve::{check, look_up},
};

/// Why a name could not be looked up. That it was not found is no error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Only IPv4 and IPv6 have addresses to look up.
    #[error("names have no addresses of family {0:?}")]
    Family(Family),
    /// A name that is not ASCII.
    #[error("name {0:?} is not ASCII: encode it as punycode")]
    NotAscii(String),
    /// A NUL, where the system would silently end the name.
    #[error("a NUL is not allowed in name {0:?}")]
    Nul(String),
    /// The resolver could not say whether there is such a name.
    #[error("{name}: name look-up failed")]
    Resolver {
        /// The name looked up.
        name: String,
        /// What the resolver said.
        source: ResolverError,
    },
}

impl LookupError {
    /// The words Emacs signals this error with, or, where the resolver failed, leaves in its
    /// messages; `None` where Emacs has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Family, network_lookup_address_info};
    ///
    /// let refused = network_lookup_address_info("127.0.0.1", Some(Family::Local)).unwrap_err();
    /// assert_eq!(refused.emacs_message().as_deref(), Some("Unsupported lookup type"));
    /// ```
    ///
    /// # Source
    ///
    /// `network-lookup-address-info` of Emacs 28.2, as observed.
    #[must_use]
    pub fn emacs_message(&self) -> Option<String> {
        match self {
            Self::Family(_) => Some("Unsupported lookup type".into()),
            Self::NotAscii(name) => Some(emacs::not_ascii(name)),
            Self::Nul(_) => None,
            Self::Resolver { name, source } => Some(format!("{name}/0 {source}")),
        }
    }
}

/// Looks up the addresses of a name: each once, with port 0, in the resolver's order.
///
/// An address is its own name, also in the short forms that the system reads (`127.1`): never let
/// one through a filter for its text. Without a family, those of IPv4 and IPv6. A name that there is
/// not, or that has no such address, or that can be none, has no addresses; `""` is one of those.
/// Blocks for as long as the resolver takes, unless the name is an address.
///
/// # Errors
///
/// [`LookupError`]: a family without names, a name that is not ASCII or has a NUL, a resolver that
/// does not answer.
///
/// # Examples
///
/// ```
/// use netproc::{Family, network_lookup_address_info};
///
/// let found = network_lookup_address_info("127.0.0.1", None)?;
/// assert_eq!(found[0].to_string(), "[127 0 0 1 0]");
/// assert_eq!(network_lookup_address_info("127.0.0.1", Some(Family::Ipv6))?, []);
/// # Ok::<(), netproc::LookupError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Misc Network". Differs: a resolver that fails is an error, not an empty
/// list; a NUL does not end the name; an address of an interface keeps it, which its vector form
/// does not show.
pub fn network_lookup_address_info(
    name: &str,
    family: Option<Family>,
) -> Result<Vec<Address>, LookupError> {
    match family {
        None | Some(Family::Ipv4 | Family::Ipv6) => {}
        Some(family) => return Err(LookupError::Family(family)),
    }
    match check(name, true) {
        Ok(()) => {}
        Err(HostProblem::NotAscii) => return Err(LookupError::NotAscii(name.into())),
        Err(HostProblem::Nul) => return Err(LookupError::Nul(name.into())),
        Err(_) => return Ok(Vec::new()),
    }
    look_up(name, family).or_else(|source| {
        let none = [ResolverErrorKind::NotFound, ResolverErrorKind::AddressFamily];
        if none.contains(&source.kind()) {
            Ok(Vec::new())
        } else {
            Err(LookupError::Resolver { name: name.into(), source })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than the usual three name servers are tried when none of them answers.
    const RESOLVER_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    fn found(name: &str, family: Option<Family>) -> String {
        let all = network_lookup_address_info(name, family).unwrap();
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The answers of the transcript `lookup-address-info` in tests/golden/emacs, and of Emacs 28.2 asked for the rest.
    #[test]
    fn numeric_names_are_their_own_addresses() {
        let (v4, v6) = (Some(Family::Ipv4), Some(Family::Ipv6));
        let cases = [
            ("127.0.0.1", None, "[127 0 0 1 0]"),
            ("127.0.0.1", v4, "[127 0 0 1 0]"),
            ("127.0.0.1", v6, ""),
            ("127.1", None, "[127 0 0 1 0]"),
            ("127.1", v4, "[127 0 0 1 0]"),
            ("127.1", v6, ""),
            ("0x7f.1", None, "[127 0 0 1 0]"),
            ("::1", None, "[0 0 0 0 0 0 0 1 0]"),
            ("::1", v4, ""),
            ("::1", v6, "[0 0 0 0 0 0 0 1 0]"),
            ("256.1.1.1", None, ""),
            ("fe80::1%nosuch", None, ""),
            ("127.0.0.1%lo", None, ""),
            ("::g", None, ""),
            ("[::1]", None, ""),
            ("", None, ""),
            ("a b", None, ""),
        ];
        for (name, family, expected) in cases {
            assert_eq!(found(name, family), expected, "{name:?} {family:?}");
        }
        assert_eq!(found(&"a".repeat(70_000), None), "");
    }

    #[test]
    fn a_name_gives_every_address_once() {
        let all = network_lookup_address_info("localhost", Some(Family::Ipv4)).unwrap();
        let text = found("localhost", Some(Family::Ipv4));
        assert!(text.split("] [").any(|it| it.contains("127 0 0 1 0")), "{text}");
        let mut once = all.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), all.len(), "{text}");
    }

    /// Without a network a name server may be out of reach: then that is said.
    #[test]
    fn a_name_that_there_is_not_has_no_addresses() {
        let (sender, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(network_lookup_address_info("nosuch.invalid", None))
        });
        match answer.recv_timeout(RESOLVER_PATIENCE).expect("resolvers give up") {
            Ok(found) => assert_eq!(found, []),
            Err(LookupError::Resolver { name, source }) => {
                assert_eq!(name, "nosuch.invalid");
                assert_ne!(source.to_string(), "");
            }
            Err(err) => panic!("{err}"),
        }
    }

    #[test]
    fn what_is_no_question_is_refused_by_its_kind() {
        let ascii = "Non-ASCII hostname h\u{e9}.invalid detected, please use puny-encode-domain";
        let (local, by_number) = (Family::Local, Family::Other(2));
        let cases = [
            ("127.0.0.1", Some(local), LookupError::Family(local), "Unsupported lookup type"),
            (
                "127.0.0.1",
                Some(by_number),
                LookupError::Family(by_number),
                "Unsupported lookup type",
            ),
            // The family is looked at first.
            ("h\u{e9}", Some(local), LookupError::Family(local), "Unsupported lookup type"),
            ("h\u{e9}.invalid", None, LookupError::NotAscii("h\u{e9}.invalid".into()), ascii),
        ];
        for (name, family, expected, words) in cases {
            let refused = network_lookup_address_info(name, family).unwrap_err();
            assert_eq!(refused.emacs_message().as_deref(), Some(words), "{name:?} {family:?}");
            assert_eq!(refused, expected);
        }
        let refused = network_lookup_address_info("a\0b", None).unwrap_err();
        assert_eq!((refused.emacs_message(), refused), (None, LookupError::Nul("a\0b".into())));
    }
}
