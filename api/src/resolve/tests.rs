//! Every form of host and service, told by text.

use super::*;

/// One look-up, with the defaults of a builder.
fn wanted<'a>(host: Option<&'a str>, service: &'a Service, family: Option<Family>) -> Wanted<'a> {
    Wanted { host, service, family, kind: Kind::Stream, short_hosts: false }
}

/// Where that leads, the resolver asked if need be.
fn addresses(wanted: &Wanted<'_>) -> Result<Vec<Address>, StartError> {
    match resolve(wanted)? {
        Place::Known(addresses) => Ok(addresses),
        Place::Named(named) => named.understood(ask(&named.question)),
    }
}

fn shown(found: Result<Vec<Address>, StartError>) -> Result<String, String> {
    let found = found.map_err(|err| err.to_string())?;
    Ok(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn resolved(host: Option<&str>, service: &str, family: Option<Family>) -> Result<String, String> {
    shown(addresses(&wanted(host, &Service::from(service), family)))
}

/// The same in Emacs's words.
fn refused(host: Option<&str>, service: &str, family: Option<Family>) -> String {
    let err = addresses(&wanted(host, &Service::from(service), family)).unwrap_err();
    err.emacs_message().unwrap_or_else(|| panic!("no words for {err}"))
}

#[test]
fn numeric_hosts_and_ports_need_no_look_up() {
    let v6 = Some(Family::Ipv6);
    let cases = [
        (None, "7", None, "[127 0 0 1 7]"),
        (None, "7", v6, "[0 0 0 0 0 0 0 1 7]"),
        (Some("10.1.2.3"), "80", None, "[10 1 2 3 80]"),
        (Some("10.1.2.3"), "00080", None, "[10 1 2 3 80]"),
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
        (Some("fe80::1%nosuch"), "7", "unknown interface"),
        (Some("fe80::1%"), "7", "unknown interface"),
        (Some("fe80::1%4294967296"), "7", "unknown interface"),
        (None, "", "empty"),
        (None, "80x", "unknown service"),
        (None, "0x50", "unknown service"),
        (None, "no-such-service", "unknown service"),
        (None, " 80", "unknown service"),
        (None, "80 ", "unknown service"),
        (None, "+80", "unknown service"),
        (None, "-1", "unknown service"),
        (None, "dom\u{e4}n", "unknown service"),
        (None, "80\0", "NUL"),
        (None, "65536", "out of range"),
        (None, "99999999999999999999", "out of range"),
    ];
    for (host, service, expected) in cases {
        let refused = resolved(host, service, None).unwrap_err();
        assert!(refused.contains(expected), "{host:?} {service:?}: {refused}");
        let named = if expected.contains("service") { service } else { host.unwrap_or(service) };
        assert!(refused.contains(&format!("{named:?}")), "{host:?} {service:?}: {refused}");
    }
    assert!(resolved(Some("::1"), "9", Some(Family::Ipv4)).unwrap_err().contains("family"));
    assert!(resolved(Some("127.0.0.1"), "9", Some(Family::Ipv6)).unwrap_err().contains("family"));
}

/// A resolver has been known to scan such a name again and again.
#[test]
fn an_endless_service_name_is_not_looked_up() {
    let endless = "a".repeat(70_000);
    assert!(resolved(None, &endless, None).unwrap_err().ends_with("unknown service"));
    let longest = "a".repeat(SERVICE_LEN_MAX);
    assert!(resolved(None, &longest, None).unwrap_err().ends_with("unknown service"));
}

#[test]
fn the_service_is_looked_at_before_the_host() {
    for host in ["", "[::1]", "a b", "127.1", "nosuch.invalid", "::1", "fe80::1%nosuch"] {
        for service in ["", "-1", "65536", "no-such-service", "a\0"] {
            let service = Service::from(service);
            let refused = addresses(&wanted(Some(host), &service, Some(Family::Ipv4))).unwrap_err();
            assert!(matches!(refused, StartError::Service { .. }), "{host:?} {service}: {refused}");
        }
    }
}

/// `tests/tests/process_names.rs` asks for them by processes, too.
#[test]
fn a_service_name_is_looked_up_for_the_kind_of_the_process() {
    let cases = [
        ("domain", Kind::Stream, Ok("[127 0 0 1 53]")),
        ("domain", Kind::Datagram, Ok("[127 0 0 1 53]")),
        ("https", Kind::Stream, Ok("[127 0 0 1 443]")),
    ];
    for (name, kind, expected) in cases {
        let service = Service::from(name);
        let found = shown(addresses(&Wanted { kind, ..wanted(None, &service, None) }));
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name} {kind:?}");
    }
    let v6 = resolved(Some("::1"), "domain", None);
    assert_eq!(v6.as_deref(), Ok("[0 0 0 0 0 0 0 1 53]"));
}

/// Which services are for one kind only differs from table to table.
#[test]
fn a_service_of_streams_is_none_of_packets() {
    let table = std::fs::read_to_string("/etc/services").expect("a table of services");
    let ports = |protocol: &str| {
        let lines = table.lines().map(|line| line.split('#').next().unwrap_or_default());
        let entries = lines.filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (name, port) = (words.next()?, words.next()?.strip_suffix(protocol)?);
            Some((name.to_owned(), port.to_owned()))
        });
        entries.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (tcp, udp) = (ports("/tcp"), ports("/udp"));
    // Aliases are names as well, so only what is nowhere else counts.
    let only = tcp.iter().find(|(name, _)| table.matches(name.as_str()).count() == 1);
    let (name, port) = only.expect("a service of streams");
    assert!(!udp.contains_key(name));
    let (service, expected) = (Service::from(name.as_str()), format!("[127 0 0 1 {port}]"));
    let stream = wanted(None, &service, None);
    assert_eq!(shown(addresses(&stream)), Ok(expected));
    let refused = shown(addresses(&Wanted { kind: Kind::Datagram, ..stream }));
    assert_eq!(refused, Err(format!("service {name:?}: unknown service")));
}

#[test]
fn short_hosts_are_let_through_only_when_asked_for() {
    let service = Service::from(7);
    for host in ["127.1", "0x7f.1", "0177.0.0.1", "2130706433"] {
        let plain = wanted(Some(host), &service, None);
        assert!(shown(addresses(&plain)).unwrap_err().contains("neither"), "{host}");
        let short = Wanted { short_hosts: true, ..plain };
        assert_eq!(shown(addresses(&short)).as_deref(), Ok("[127 0 0 1 7]"), "{host}");
        let v6 = Wanted { family: Some(Family::Ipv6), ..short };
        assert!(matches!(addresses(&v6), Err(StartError::Lookup { .. })), "{host}");
    }
    // No name server is asked for what looks like numbers, but is none.
    for host in ["256.1.1.1", "1.2.3.4.5", "0x", "08.1"] {
        let short = Wanted { short_hosts: true, ..wanted(Some(host), &service, None) };
        let Err(StartError::Lookup { source, .. }) = addresses(&short) else {
            panic!("{host} is an address");
        };
        assert_eq!(source.kind(), ResolverErrorKind::NotFound, "{host}");
    }
}

#[test]
fn an_address_of_an_interface_keeps_it() {
    let interfaces = crate::interfaces::network_interface_list(None).unwrap();
    let lo = interfaces.iter().find(|it| it.address.to_string() == "[127 0 0 1 0]").unwrap();
    let index = if_nametoindex(lo.name.as_str()).unwrap();
    for scope in [lo.name.clone(), index.to_string()] {
        let (host, service) = (format!("fe80::1%{scope}"), Service::from(7));
        let found = addresses(&wanted(Some(&host), &service, None)).unwrap();
        let expected =
            SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, index));
        assert_eq!(found, [expected.into()], "{host}");
    }
}

#[test]
fn a_family_may_be_given_by_its_number() {
    let number = |family| Some(Family::Other(u16::try_from(number(family)).unwrap()));
    let (v4, v6) = (number(Family::Ipv4), number(Family::Ipv6));
    assert_eq!(resolved(Some("127.0.0.1"), "7", v4).as_deref(), Ok("[127 0 0 1 7]"));
    assert_eq!(resolved(None, "7", v6).as_deref(), Ok("[0 0 0 0 0 0 0 1 7]"));
    assert!(resolved(Some("::1"), "7", v4).unwrap_err().contains("family"));
}

/// Each line is what Emacs 28.2 says to the same arguments.
#[test]
fn refusals_read_as_in_emacs() {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        return; // The words of other resolvers are their own.
    }
    let (v4, v6, other) = (Some(Family::Ipv4), Some(Family::Ipv6), Some(Family::Other(77)));
    let cases = [
        (
            Some("127.0.0.1"),
            "no-such",
            None,
            "127.0.0.1/no-such Servname not supported for ai_socktype",
        ),
        (Some("127.0.0.1"), "-1", None, "127.0.0.1/-1 Servname not supported for ai_socktype"),
        (Some("127.0.0.1"), "0x50", None, "127.0.0.1/0x50 Servname not supported for ai_socktype"),
        (Some("127.0.0.1"), "80 ", None, "127.0.0.1/80  Servname not supported for ai_socktype"),
        (None, "nosuch", None, "127.0.0.1/nosuch Servname not supported for ai_socktype"),
        (None, "nosuch", v6, "::1/nosuch Servname not supported for ai_socktype"),
        (Some(""), "9", None, "/9 Name or service not known"),
        (Some("::1"), "9", v4, "::1/9 Address family for hostname not supported"),
        (Some("127.0.0.1"), "9", v6, "127.0.0.1/9 Address family for hostname not supported"),
        (Some("127.0.0.1"), "1", other, "127.0.0.1/1 ai_family not supported"),
        (Some("fe80::1%nosuch"), "1", None, "fe80::1%nosuch/1 Name or service not known"),
        (Some("[::1]"), "1", None, "[::1]/1 Name or service not known"),
        (Some("256.1.1.1"), "1", None, "256.1.1.1/1 Name or service not known"),
        (Some("a b"), "1", None, "a b/1 Name or service not known"),
        (
            Some("h\u{e9}.example"),
            "1",
            None,
            "Non-ASCII hostname h\u{e9}.example detected, please use puny-encode-domain",
        ),
    ];
    for (host, service, family, expected) in cases {
        assert_eq!(refused(host, service, family), expected, "{host:?} {service:?} {family:?}");
    }
    let any = addresses(&wanted(Some("a b"), &Service::Any, None)).unwrap_err();
    assert_eq!(any.emacs_message().as_deref(), Some("a b/0 Name or service not known"));
}
