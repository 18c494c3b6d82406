//! From a host and a service to addresses.
//!
//! Invariant: text that only looks like an address is refused before anything is asked. Numeric
//! hosts and `localhost`'s stand-in `local` need no look-up; a name is looked up by the system,
//! which blocks the calling thread for as long as its resolver takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};

use netproc_core::address::{Address, Family};

use crate::{builder::Service, error::StartError};

/// The longest name the domain name system has.
const NAME_LEN_MAX: usize = 253;

/// The addresses to try, in order.
pub(crate) fn resolve(
    host: Option<&str>,
    service: &Service,
    family: Option<Family>,
) -> Result<Vec<Address>, StartError> {
    let port = port(service)?;
    let Some(host) = host.filter(|&host| host != "local") else {
        let loopback = if family == Some(Family::Ipv6) {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        };
        return Ok(vec![(loopback, port).into()]);
    };
    let refused = |problem| StartError::Host { host: host.into(), problem };
    let fits = |ip: &IpAddr| match family {
        Some(Family::Ipv4) => ip.is_ipv4(),
        Some(Family::Ipv6) => ip.is_ipv6(),
        _ => true,
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return if fits(&ip) {
            Ok(vec![(ip, port).into()])
        } else {
            Err(refused("not an address of the family asked for"))
        };
    }
    check(host).map_err(refused)?;
    let failed =
        |source| StartError::Lookup { host: host.into(), service: service.to_string(), source };
    let found = (host, port).to_socket_addrs().map_err(failed)?;
    let found: Vec<Address> = found.filter(|addr| fits(&addr.ip())).map(Address::from).collect();
    if found.is_empty() {
        Err(refused("has no address of the family asked for"))
    } else {
        Ok(found)
    }
}

/// Refuses what is no host name before a resolver sees it.
fn check(host: &str) -> Result<(), &'static str> {
    let label_too_long = host.split('.').any(|label| label.len() > 63);
    // `127.1` and `0x7f.1` are addresses to some resolvers and names to others: a known bypass.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let numeric = last.starts_with(|first: char| first.is_ascii_digit())
        && (last.bytes().all(|byte| byte.is_ascii_digit()) || hexadecimal);
    match host {
        "" => Err("empty"),
        _ if host.contains('\0') => Err("a NUL is not allowed"),
        _ if host.starts_with('[') => Err("write the address without brackets"),
        _ if !host.is_ascii() => Err("not ASCII: encode it as punycode"),
        _ if host.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) => {
            Err("no host name has a space")
        }
        _ if host.len() > NAME_LEN_MAX || label_too_long => Err("name too long"),
        _ if numeric => Err("neither a plain IPv4 address nor a name"),
        _ => Ok(()),
    }
}

fn port(service: &Service) -> Result<u16, StartError> {
    let name = match service {
        Service::Any => return Ok(0),
        Service::Port(port) => return Ok(*port),
        Service::Name(name) => name,
    };
    let refused = |problem| StartError::Service { service: name.clone(), problem };
    if name.is_empty() {
        return Err(refused("empty"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused("not a port; service names are not looked up"));
    }
    name.parse().map_err(|_| refused("port out of range 0 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(
        host: Option<&str>,
        service: &str,
        family: Option<Family>,
    ) -> Result<String, String> {
        let found =
            resolve(host, &Service::from(service), family).map_err(|err| err.to_string())?;
        Ok(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn numeric_hosts_and_ports_need_no_look_up() {
        let v6 = Some(Family::Ipv6);
        let cases = [
            (None, "7", None, "[127 0 0 1 7]"),
            (None, "7", v6, "[0 0 0 0 0 0 0 1 7]"),
            (Some("local"), "7", None, "[127 0 0 1 7]"),
            (Some("10.1.2.3"), "80", None, "[10 1 2 3 80]"),
            (Some("::1"), "0", v6, "[0 0 0 0 0 0 0 1 0]"),
        ];
        for (host, service, family, expected) in cases {
            assert_eq!(resolved(host, service, family).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn bad_hosts_and_services_are_refused_by_name() {
        let long = "a".repeat(64);
        let cases = [
            (Some(""), "7", "empty"),
            (Some("a\0b"), "7", "NUL"),
            (Some("[::1]"), "7", "brackets"),
            (Some("256.1.1.1"), "7", "neither"),
            (Some("127.1"), "7", "neither"),
            (Some("0x7f.1"), "7", "neither"),
            (Some("0X7F000001"), "7", "neither"),
            (Some("127.0.0.0X1"), "7", "neither"),
            (Some("0177.0.0.1"), "7", "neither"),
            (Some("a b"), "7", "space"),
            (Some("h\u{f6}st"), "7", "punycode"),
            (Some(&*long), "7", "too long"),
            (None, "", "empty"),
            (None, "80x", "not a port"),
            (None, " 80", "not a port"),
            (None, "-1", "not a port"),
            (None, "65536", "out of range"),
        ];
        for (host, service, expected) in cases {
            let refused = resolved(host, service, None).unwrap_err();
            assert!(refused.contains(expected), "{host:?} {service:?}: {refused}");
        }
        assert!(resolved(Some("::1"), "9", Some(Family::Ipv4)).unwrap_err().contains("family"));
    }
}
