//! From a host and a service to addresses.
//!
//! Invariant: text that only looks like an address or a port is refused before anything is asked,
//! the service first. Numeric hosts and `localhost`'s stand-in `local` need no look-up, and services
//! are known to the system itself; a host's name is left as a question, for the threads of
//! [`threads`] to ask. The call itself is [`system`]'s.

mod system;
mod threads;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netproc_core::{
    address::{Address, Family},
    reactor::Kind,
};
use nix::net::if_::if_nametoindex;

use self::system::{ask, number};
pub(crate) use self::{
    system::{Question, ask as ask_here},
    threads::{Answer, Asked, ask_elsewhere},
};
use crate::{
    builder::Service,
    error::{HostProblem, ResolverError, ResolverErrorKind, ServiceProblem, StartError},
};

/// The longest name the domain name system has.
const NAME_LEN_MAX: usize = 253;
/// The longest label of such a name.
const LABEL_LEN_MAX: usize = 63;
/// The longest service name that is looked up; the registered ones have at most 15 bytes.
const SERVICE_LEN_MAX: usize = 255;

/// What a process was given to find its addresses by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// `None` for this machine.
    pub(crate) host: Option<&'a str>,
    pub(crate) service: &'a Service,
    pub(crate) family: Option<Family>,
    pub(crate) kind: Kind,
    /// Whether `127.1` and its like are addresses.
    pub(crate) short_hosts: bool,
}

impl Wanted<'_> {
    /// The family, by its name where it has one.
    fn family(&self) -> Option<Family> {
        let named = [Family::Ipv4, Family::Ipv6].into_iter();
        self.family
            .map(|family| named.clone().find(|&it| number(it) == number(family)).unwrap_or(family))
    }

    fn loopback(&self) -> IpAddr {
        if self.family() == Some(Family::Ipv6) {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        }
    }

    /// The host as Emacs names it in its errors.
    pub(crate) fn host_text(&self) -> String {
        self.host.map_or_else(|| self.loopback().to_string(), Into::into)
    }

    /// The service likewise.
    fn service_text(&self) -> String {
        match self.service {
            Service::Any => "0".into(),
            Service::Port(_) | Service::Name(_) => self.service.to_string(),
        }
    }

    pub(crate) fn bad_host(&self, problem: HostProblem) -> StartError {
        StartError::Host { host: self.host_text(), service: self.service_text(), problem }
    }

    pub(crate) fn bad_service(&self, problem: ServiceProblem) -> StartError {
        let host = Some(self.host_text());
        StartError::Service { host, service: self.service.to_string(), problem }
    }

    fn refused(&self, source: ResolverError) -> StartError {
        StartError::Lookup { host: self.host_text(), service: self.service_text(), source }
    }
}

/// Where a process is to be, or whom somebody has to be asked.
#[derive(Debug)]
pub(crate) enum Place {
    /// The addresses to try, in order; never none.
    Known(Vec<Address>),
    /// A name: the resolver knows.
    Named(Named),
}

impl Place {
    /// Whether nobody could connect there for want of a port.
    pub(crate) fn has_no_port(&self) -> bool {
        match self {
            Self::Known(addresses) => addresses.iter().any(|address| address.port() == Some(0)),
            Self::Named(named) => named.question.service.as_deref() == Some("0"),
        }
    }
}

/// A name to ask the resolver for, with what to say if it leads nowhere.
#[derive(Debug)]
pub(crate) struct Named {
    question: Question,
    service: String,
}

impl Named {
    /// The host.
    pub(crate) fn host(&self) -> &str {
        &self.question.host
    }

    /// What it means for a start that there is no address.
    fn refused(&self, err: ResolverError) -> StartError {
        StartError::Lookup { host: self.host().into(), service: self.service.clone(), source: err }
    }

    /// What an answer means: addresses, in order.
    pub(crate) fn understood(&self, answer: Answer) -> Result<Vec<Address>, StartError> {
        let found = answer.map_err(|err| self.refused(err))?;
        if found.is_empty() {
            let (host, service) = (self.host().into(), self.service.clone());
            return Err(StartError::Host { host, service, problem: HostProblem::Family });
        }
        Ok(found.into_iter().map(Address::from).collect())
    }

    /// The question, for another thread.
    pub(crate) fn question(&self) -> Question {
        self.question.clone()
    }
}

/// Where a process is to be. Asks the resolver for services, which it knows by itself, and for hosts
/// that are numbers; never for a host's name.
pub(crate) fn resolve(wanted: &Wanted<'_>) -> Result<Place, StartError> {
    let port = port(wanted)?;
    let family = wanted.family();
    let numeric = match wanted.host {
        None => Some(wanted.loopback()),
        Some(host) => host.parse().ok(),
    };
    match (numeric, family) {
        (Some(ip), None) => return Ok(Place::Known(vec![(ip, port).into()])),
        (Some(ip), Some(Family::Ipv4 | Family::Ipv6)) => {
            let fits = ip.is_ipv4() == (family == Some(Family::Ipv4));
            let address = fits.then(|| Place::Known(vec![(ip, port).into()]));
            return address.ok_or_else(|| wanted.bad_host(HostProblem::Family));
        }
        // A family known by its number only: the system has to say whether it has addresses.
        (Some(_), Some(_)) => {}
        (None, _) => check(&wanted.host_text(), wanted.short_hosts)
            .map_err(|problem| wanted.bad_host(problem))?,
    }
    let host = wanted.host_text();
    let numeric = only_numbers(&host);
    let service = Some(port.to_string());
    let question = Question { host, service, family, kind: wanted.kind, numeric };
    let named = Named { question, service: wanted.service_text() };
    if !numeric {
        return Ok(Place::Named(named));
    }
    named.understood(ask(&named.question)).map(Place::Known)
}

/// Every address of a host, without ports; the forms of the system count as addresses here.
///
/// # Errors
///
/// What the resolver refused with.
pub(crate) fn look_up(host: &str, family: Option<Family>) -> Result<Vec<Address>, ResolverError> {
    let (kind, numeric) = (Kind::Stream, only_numbers(host));
    let question = Question { host: host.into(), service: None, family, kind, numeric };
    Ok(ask(&question)?.into_iter().map(Address::from).collect())
}

/// Refuses what is no host name before a resolver sees it.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn check(host: &str, short_hosts: bool) -> Result<(), HostProblem> {
    let label_too_long = host.split('.').any(|label| label.len() > LABEL_LEN_MAX);
    match host {
        "" => Err(HostProblem::Empty),
        _ if host.contains('\0') => Err(HostProblem::Nul),
        _ if host.starts_with('[') => Err(HostProblem::Brackets),
        _ if !host.is_ascii() => Err(HostProblem::NotAscii),
        _ if host.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) => {
            Err(HostProblem::Space)
        }
        _ if host.len() > NAME_LEN_MAX || label_too_long => Err(HostProblem::TooLong),
        _ if !short_hosts && short_form(host) => Err(HostProblem::ShortForm),
        _ if !interface_exists(host) => Err(HostProblem::Interface),
        _ => Ok(()),
    }
}

/// Whether a host ends like an IPv4 address: `127.1` and `0x7f.1` are addresses to some resolvers
/// and names to others, a known bypass of filters.
fn short_form(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    last.starts_with(|first: char| first.is_ascii_digit())
        && (last.bytes().all(|byte| byte.is_ascii_digit()) || hexadecimal)
}

/// Whether a host can be an address only, so that no name server need hear of it.
fn only_numbers(host: &str) -> bool {
    host.contains([':', '%']) || host.parse::<Ipv4Addr>().is_ok() || short_form(host)
}

/// Whether the interface behind an address, if one is named, is there.
fn interface_exists(host: &str) -> bool {
    match host.split_once('%') {
        Some((address, scope)) if address.parse::<Ipv6Addr>().is_ok() => {
            scope.parse::<u32>().is_ok() || if_nametoindex(scope).is_ok()
        }
        // What is no IPv6 address has no interface either; the resolver has a word for it.
        _ => true,
    }
}

/// The port of a service; a name is looked up in the system's table for streams or packets.
fn port(wanted: &Wanted<'_>) -> Result<u16, StartError> {
    let refused = |problem| wanted.bad_service(problem);
    let name = match wanted.service {
        Service::Any => return Ok(0),
        Service::Port(port) => return Ok(*port),
        Service::Name(name) => name,
    };
    if name.is_empty() {
        return Err(refused(ServiceProblem::Empty));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse().map_err(|_| refused(ServiceProblem::OutOfRange));
    }
    if name.contains('\0') {
        return Err(refused(ServiceProblem::Nul));
    }
    // " 80", "+80" and "-1" are numbers to some resolvers.
    let named = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !named || name.len() > SERVICE_LEN_MAX {
        return Err(refused(ServiceProblem::Unknown));
    }
    let question = Question {
        host: Ipv4Addr::LOCALHOST.to_string(),
        service: Some(name.clone()),
        family: Some(Family::Ipv4),
        kind: wanted.kind,
        numeric: true,
    };
    // The host is known to be one: on systems with a single word for both, there is no such service.
    let unknown = [ResolverErrorKind::Service, ResolverErrorKind::NotFound];
    let found = ask(&question).map_err(|source| {
        let unknown = unknown.contains(&source.kind());
        if unknown { refused(ServiceProblem::Unknown) } else { wanted.refused(source) }
    })?;
    let first = found.first().map(SocketAddr::port);
    first.ok_or_else(|| refused(ServiceProblem::Unknown))
}

#[cfg(test)]
mod tests;
