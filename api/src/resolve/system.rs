//! The one place where the system's resolver is asked.
//!
//! Invariant: [`ask`] takes a question of its own and gives an answer of its own, so that it can
//! run on any thread; it blocks for as long as the resolver takes, unless the question is one of
//! numbers only. What may be asked is decided by the callers.

use std::net::SocketAddr;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use netproc_core::{address::Family, reactor::Kind};

use crate::error::{ResolverError, ResolverErrorKind};

/// `AI_NUMERICHOST`: the same number on every Unix, also where the library of constants has none.
const NUMERIC_HOST: i32 = 4;

/// `EAI_ADDRFAMILY` and `EAI_NODATA`, where they are something of their own: they left the standard
/// before some libraries had them, and so they are in none of ours. glibc, then the BSDs and macOS.
const ADDRESS_FAMILY: i32 = if cfg!(target_os = "linux") { -9 } else { 1 };
/// See there.
const NO_DATA: i32 = if cfg!(target_os = "linux") { -5 } else { 7 };

/// What dns-lookup puts before the resolver's own text.
const PREFIX: &str = "failed to lookup address information: ";

/// What the resolver shall look up.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// A host name or an address as text.
    pub(crate) host: String,
    /// A service name or a port as text; without one, the port is 0.
    pub(super) service: Option<String>,
    /// Only addresses of this family.
    pub(super) family: Option<Family>,
    /// What the service is for.
    pub(super) kind: Kind,
    /// Take the host as numbers, in whatever form the system reads; nobody is asked for a name.
    pub(super) numeric: bool,
}

/// Every address once, in the resolver's order.
///
/// # Errors
///
/// What the resolver refused with.
pub(crate) fn ask(question: &Question) -> Result<Vec<SocketAddr>, ResolverError> {
    let Question { host, service, family, kind, numeric } = question;
    let hints = AddrInfoHints {
        flags: if *numeric { NUMERIC_HOST } else { 0 },
        address: family.map_or(0, number),
        socktype: socktype(*kind),
        protocol: 0,
    };
    let found = getaddrinfo(Some(host), service.as_deref(), Some(hints)).map_err(refusal)?;
    let mut all = Vec::new();
    // An address of a family that std does not know is no address to us either.
    for address in found.flatten().map(|info| info.sockaddr) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    Ok(all)
}

/// The system's number of a family.
pub(super) fn number(family: Family) -> i32 {
    match family {
        Family::Ipv4 => AddrFamily::Inet.into(),
        Family::Ipv6 => AddrFamily::Inet6.into(),
        Family::Other(number) => number.into(),
        // Local sockets have no names to look up, and the resolver says so.
        Family::Local | _ => AddrFamily::Unix.into(),
    }
}

fn socktype(kind: Kind) -> i32 {
    match kind {
        Kind::Stream => SockType::Stream.into(),
        Kind::Datagram => SockType::DGram.into(),
        Kind::SeqPacket => nix::sys::socket::SockType::SeqPacket as i32,
    }
}

/// Takes over what dns-lookup makes of a refusal, with the resolver's text as it was.
fn refusal(err: LookupError) -> ResolverError {
    let code = err.error_num();
    let kind = match err.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => ResolverErrorKind::NotFound,
        LookupErrorKind::Service => ResolverErrorKind::Service,
        LookupErrorKind::Family => ResolverErrorKind::Family,
        LookupErrorKind::Again => ResolverErrorKind::Temporary,
        LookupErrorKind::Fail => ResolverErrorKind::Failed,
        LookupErrorKind::IO | LookupErrorKind::Unknown if code == ADDRESS_FAMILY => {
            ResolverErrorKind::AddressFamily
        }
        LookupErrorKind::IO | LookupErrorKind::Unknown if code == NO_DATA => {
            ResolverErrorKind::NotFound
        }
        LookupErrorKind::IO
        | LookupErrorKind::Unknown
        | LookupErrorKind::Badflags
        | LookupErrorKind::Socktype
        | LookupErrorKind::Memory
        | LookupErrorKind::System => ResolverErrorKind::System,
    };
    let text = std::io::Error::from(err).to_string();
    let text = text.strip_prefix(PREFIX).unwrap_or(&text).into();
    ResolverError { kind, code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(host: &str, service: Option<&str>) -> Question {
        let service = service.map(String::from);
        Question { host: host.into(), service, family: None, kind: Kind::Stream, numeric: true }
    }

    #[test]
    fn questions_and_answers_can_go_to_another_thread() {
        fn owned<T: Send + 'static>(_: &T) {}
        let question = question("127.0.0.1", None);
        owned(&question);
        owned(&ask(&question));
    }

    #[test]
    fn every_refusal_has_its_kind_and_the_text_of_the_resolver() {
        use ResolverErrorKind::{AddressFamily, Family as NoFamily, NotFound, Service};
        let (v4, other) = (Some(Family::Ipv4), Some(Family::Other(77)));
        let no_service = "Servname not supported for ai_socktype";
        let cases = [
            ("127.0.0.1", "no-such-service", None, Service, no_service),
            ("::1", "9", v4, AddressFamily, "Address family for hostname not supported"),
            ("127.0.0.1", "9", other, NoFamily, "ai_family not supported"),
            ("256.1.1.1", "9", None, NotFound, "Name or service not known"),
        ];
        for (host, service, family, kind, text) in cases {
            let question = Question { family, ..question(host, Some(service)) };
            let refused = ask(&question).unwrap_err();
            assert_eq!(refused.kind(), kind, "{question:?}");
            assert_ne!(refused.code(), 0, "{question:?}");
            if cfg!(all(target_os = "linux", target_env = "gnu")) {
                assert_eq!(refused.to_string(), text, "{question:?}");
            }
        }
    }

    #[test]
    fn an_address_comes_once_however_many_protocols_it_has() {
        let any = Question { kind: Kind::Datagram, ..question("127.0.0.1", Some("7")) };
        let expected: Vec<SocketAddr> = vec![([127, 0, 0, 1], 7).into()];
        assert_eq!(ask(&any), Ok(expected));
    }
}
