//! Hosts and services by name, from the builders to the contact; a start that is refused leaves
//! nothing.
//!
//! The forms and the words are those of Emacs's transcripts `service-forms`, `server-host-forms` and what
//! `bad-arguments-errors` says of hosts. Port 53 is only resolved, never bound or spoken to.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    time::Duration,
};

use netproc::{
    Address, Exit, Failure, Family, HostProblem, Kind, Process, ResolverErrorKind, Runtime,
    SendError, ServerBuilder, Service, ServiceProblem, StartError, Status, Value,
    network_interface_list, network_lookup_address_info,
};
use netproc_tests::{conformance, rig::Rig};

/// `domain` is one of the few services that have had the same port for both kinds for ever.
const DOMAIN: u16 = 53;

fn loopback(port: u16) -> Address {
    Address::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

fn port(process: &Process) -> u16 {
    process.contact().local().port().expect("an IP address")
}

conformance!(a_clients_service_may_be_a_name_and_stays_one, |rig| {
    let cases = [
        (Service::from("domain"), DOMAIN, "\"domain\""),
        (Service::from("7"), 7, "\"7\""),
        (Service::from(7), 7, "7"),
    ];
    for (service, expected, kept) in cases {
        let client = rig.rt.client("r").datagram().host("127.0.0.1").service(service).start()?;
        assert_eq!(client.contact().remote(), Some(&loopback(expected)));
        let shown = client.contact().get(":service").map(|it| it.to_string());
        assert_eq!(shown.as_deref(), Some(kept));
        client.delete();
    }
    Ok(())
});

conformance!(a_connection_may_be_asked_for_by_the_name_of_its_service, |rig| {
    // Told apart by the port alone: whether somebody listens there is of no concern.
    let client = rig.rt.client("r").host("localhost").family(Family::Ipv4).service("domain");
    let client = client.sentinel(rig.log.sentinel()).nowait(true).start()?;
    rig.until("looked up", || client.contact().remote().is_some());
    assert_eq!(client.contact().remote(), Some(&loopback(DOMAIN)));
    assert_eq!(client.contact().short().to_string(), "(\"localhost\" \"domain\")");
    Ok(())
});

conformance!(a_servers_service_name_is_looked_up_before_it_is_bound, |rig| {
    // An address of documentation, which is nobody's to bind, so that no server of names is met.
    for kind in [Kind::Stream, Kind::Datagram] {
        let refused = rig.rt.server("s").kind(kind).host("192.0.2.77").service("domain").start();
        let Err(StartError::Sys { address, .. }) = refused else {
            return Err(format!("not refused by the system: {refused:?}").into());
        };
        assert_eq!(address.map(|it| it.to_string()).as_deref(), Some("[192 0 2 77 53]"));
    }
    Ok(())
});

conformance!(a_servers_digits_become_its_port, |rig| {
    let free = rig.rt.server("probe").start()?;
    let digits = port(&free).to_string();
    free.delete();
    rig.settle();
    let server = rig.rt.server("n").host("127.0.0.1").service(digits.as_str()).start()?;
    assert_eq!(server.contact().get(":service"), Some(Value::from(i64::from(port(&server)))));
    assert_eq!(server.contact().short().to_string(), format!("(\"127.0.0.1\" {digits})"));
    Ok(())
});

conformance!(a_server_takes_every_form_of_host, |rig| {
    type Form = fn(ServerBuilder) -> ServerBuilder;
    let cases: [(&str, Form, &str, &str); 7] = [
        ("omitted", |it| it, "nil", "[127 0 0 1 P]"),
        ("address", |it| it.host("127.0.0.1"), "\"127.0.0.1\"", "[127 0 0 1 P]"),
        (
            "other loopback",
            |it| it.host("127.0.0.2").family(Family::Ipv4),
            "\"127.0.0.2\"",
            "[127 0 0 2 P]",
        ),
        (
            "short form",
            |it| it.host("127.1").family(Family::Ipv4).short_hosts(true),
            "\"127.1\"",
            "[127 0 0 1 P]",
        ),
        ("any", |it| it.host("0.0.0.0"), "\"0.0.0.0\"", "[0 0 0 0 P]"),
        (
            "family by number",
            |it| it.host("127.0.0.1").family(Family::Other(2)),
            "\"127.0.0.1\"",
            "[127 0 0 1 P]",
        ),
        ("name", |it| it.host("localhost").family(Family::Ipv4), "\"localhost\"", "[127 0 0 1 P]"),
    ];
    for (form, with, host, local) in cases {
        let server = with(rig.rt.server("s")).service(Service::Any).start()?;
        let port = port(&server);
        let contact = server.contact();
        assert_eq!(contact.short().to_string(), format!("({host} {port})"), "{form}");
        let expected = local.replace('P', &port.to_string());
        assert_eq!(contact.local().to_string(), expected, "{form}");
        server.delete();
    }
    Ok(())
});

conformance!(a_short_host_leads_where_the_whole_one_does, |rig| {
    let server = rig.echo().start()?;
    let client = rig.rt.client("client").host("127.1").short_hosts(true).service(port(&server));
    let client = client.filter(rig.log.filter()).sentinel(rig.log.sentinel()).start()?;
    assert_eq!(client.contact().remote(), Some(server.contact().local()));
    client.send("through")?;
    rig.until_bytes(&client, b"through");
    Ok(())
});

conformance!(a_listed_or_looked_up_address_can_be_served_on, |rig| {
    let all = network_interface_list(Some(Family::Ipv4))?;
    let listed = all.iter().find(|it| it.address == loopback(0)).ok_or("a loopback")?;
    let found = network_lookup_address_info("127.1", None)?;
    for address in [&listed.address, &found[0]] {
        let server = rig.rt.server("s").local(address.clone()).start()?;
        assert_eq!(server.contact().local(), &loopback(port(&server)));
    }
    Ok(())
});

/// What must not go by: a host, a service, a family, what refuses it, and Emacs's words for that.
type Refusal = (&'static str, &'static str, Option<Family>, fn(&StartError) -> bool, &'static str);

fn unknown(err: &StartError) -> bool {
    matches!(err, StartError::Service { problem: ServiceProblem::Unknown, .. })
}

fn out_of_range(err: &StartError) -> bool {
    matches!(err, StartError::Service { problem: ServiceProblem::OutOfRange, .. })
}

fn host(err: &StartError) -> bool {
    matches!(err, StartError::Host { .. })
}

/// Of a family that the resolver does not know.
const NO_FAMILY: ResolverErrorKind = ResolverErrorKind::Family;

const REFUSALS: [Refusal; 15] = [
    (
        "127.0.0.1",
        "no-such-service",
        None,
        unknown,
        "127.0.0.1/no-such-service Servname not supported for ai_socktype",
    ),
    ("127.0.0.1", "0x50", None, unknown, "127.0.0.1/0x50 Servname not supported for ai_socktype"),
    ("127.0.0.1", "-1", None, unknown, "127.0.0.1/-1 Servname not supported for ai_socktype"),
    ("127.0.0.1", " 80", None, unknown, "127.0.0.1/ 80 Servname not supported for ai_socktype"),
    (
        "127.0.0.1",
        "65536",
        None,
        out_of_range,
        "127.0.0.1/65536 Servname not supported for ai_socktype",
    ),
    (
        "127.0.0.1",
        "",
        None,
        |err| matches!(err, StartError::Service { problem: ServiceProblem::Empty, .. }),
        "127.0.0.1/ Servname not supported for ai_socktype",
    ),
    // The service first.
    ("", "80x", None, unknown, "/80x Servname not supported for ai_socktype"),
    ("", "9", None, host, "/9 Name or service not known"),
    ("[::1]", "9", None, host, "[::1]/9 Name or service not known"),
    ("127.1", "9", None, host, "127.1/9 Name or service not known"),
    ("256.1.1.1", "9", None, host, "256.1.1.1/9 Name or service not known"),
    (
        "fe80::1%nosuch",
        "9",
        None,
        |err| matches!(err, StartError::Host { problem: HostProblem::Interface, .. }),
        "fe80::1%nosuch/9 Name or service not known",
    ),
    (
        "h\u{e9}.example",
        "9",
        None,
        |err| matches!(err, StartError::Host { problem: HostProblem::NotAscii, .. }),
        "Non-ASCII hostname h\u{e9}.example detected, please use puny-encode-domain",
    ),
    (
        "::1",
        "9",
        Some(Family::Ipv4),
        |err| matches!(err, StartError::Host { problem: HostProblem::Family, .. }),
        "::1/9 Address family for hostname not supported",
    ),
    (
        "127.0.0.1",
        "1",
        Some(Family::Other(77)),
        |err| matches!(err, StartError::Lookup { source, .. } if source.kind() == NO_FAMILY),
        "127.0.0.1/1 ai_family not supported",
    ),
];

/// What the rig has that a start could leave something in.
fn state(rig: &Rig) -> (Vec<Process>, u64, usize) {
    (rig.rt.process_list(), rig.rt.stats().sockets, rig.log.lines().len())
}

conformance!(a_refused_name_leaves_the_process_list_as_it_was, |rig| {
    let bystander = rig.rt.server("bystander").start()?;
    let before = state(rig);
    for (host, service, family, is_it, words) in REFUSALS {
        let mut server = rig.server().host(host).service(service);
        let mut client = rig.rt.client("x").host(host).service(service).nowait(true);
        let mut packets = rig.rt.client("x").datagram().host(host).service(service);
        if let Some(family) = family {
            server = server.family(family);
            client = client.family(family);
            packets = packets.family(family);
        }
        for refused in [server.start(), client.start(), packets.start()] {
            let Err(err) = refused else { return Err(format!("{host:?} {service:?}").into()) };
            assert!(is_it(&err), "{host:?} {service:?}: {err:?}");
            // The words of a resolver that was asked are the system's own.
            if cfg!(target_env = "gnu") || !matches!(err, StartError::Lookup { .. }) {
                assert_eq!(err.emacs_message().as_deref(), Some(words));
            }
            assert_eq!(state(rig), before, "{host:?} {service:?}");
        }
    }
    let next = rig.rt.server("x").start()?;
    assert_eq!(&*next.name(), "x", "the name was not used up");
    assert_eq!(rig.rt.process_list(), [next, bystander]);
    Ok(())
});

conformance!(a_client_is_told_that_it_needs_a_port, |rig| {
    for service in [Service::Any, 0.into(), "0".into()] {
        let refused = rig.rt.client("x").host("127.0.0.1").service(service).start();
        let Err(err @ StartError::Service { problem: ServiceProblem::NeedsPort, .. }) = refused
        else {
            return Err("not refused".into());
        };
        // Emacs connects to port 0, and reports how that fails.
        assert_eq!(err.emacs_message(), None);
    }
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

conformance!(nowait_by_name_connects_in_the_background, |rig| {
    let server = rig.server().start()?;
    let client = rig.rt.client("client").host("localhost").family(Family::Ipv4);
    let client = client.service(port(&server)).nowait(true).sentinel(rig.log.sentinel());
    let client = client.filter(rig.log.filter()).start()?;
    let early = client.send("early");
    assert!(early.is_ok() || client.status() == Status::Open, "{early:?}");
    rig.until_line(&client, "open (open)");
    let child = rig.child(&server);
    rig.until_bytes(&child, b"early");
    assert_eq!(client.contact().remote(), Some(&loopback(port(&server))));
    Ok(())
});

conformance!(a_name_that_leads_nowhere_fails_a_nowait_client_with_an_event, |rig| {
    let client = rig.rt.client("client").host("nosuch.invalid").service(7).nowait(true);
    let client = client.sentinel(rig.log.sentinel()).start()?;
    rig.until_line(&client, "failed with code Name lookup of nosuch.invalid failed (failed)");
    assert_eq!(rig.log.of(&client).len(), 1, "one event");
    let Exit::Failed(Failure::Lookup { host, .. }) = client.exit() else {
        return Err(format!("{:?}", client.exit()).into());
    };
    assert_eq!(&*host, "nosuch.invalid");
    assert!(matches!(client.send("x"), Err(SendError::NotOpen(Status::Failed))));
    assert_eq!(rig.rt.process_list(), [client]);
    Ok(())
});

conformance!(a_name_that_leads_nowhere_refuses_a_client_that_waits, |rig| {
    for host in ["nosuch.invalid", "also.invalid"] {
        let refused = rig.rt.client("c").host(host).service(7).start();
        let err = refused.expect_err("there is no such name");
        assert!(matches!(err, StartError::Lookup { .. }), "{err:?}");
        assert_eq!(err.emacs_message(), Some(format!("{host}/7 Name or service not known")));
    }
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

conformance!(deleted_while_looked_up_it_hears_of_that_only, |rig| {
    let client = rig.rt.client("client").host("localhost").service(1).nowait(true);
    let client = client.sentinel(rig.log.sentinel()).start()?;
    client.delete();
    assert_eq!(rig.log.of(&client), ["deleted (closed)"]);
    rig.settle();
    assert_eq!(rig.log.of(&client).len(), 1, "the answer goes to nobody");
    // Nothing is left that could happen, so this ends.
    rig.rt.run()?;
    Ok(())
});

conformance!(a_packet_client_by_name_opens_in_the_background_too, |rig| {
    let server = rig.server().datagram().start()?;
    let client = rig.rt.client("client").datagram().host("localhost").family(Family::Ipv4);
    let client = client.service(port(&server)).nowait(true).sentinel(rig.log.sentinel());
    let client = client.start()?;
    client.send("one")?;
    client.send("two")?;
    rig.until_line(&client, "open (open)");
    rig.until_bytes(&server, b"onetwo");
    assert_eq!(client.datagram_address(), Some(loopback(port(&server))));
    Ok(())
});

conformance!(run_waits_for_a_look_up, |rig| {
    let client = rig.rt.client("client").host("nosuch.invalid").service(7).nowait(true);
    let client = client.sentinel(rig.log.sentinel()).start()?;
    rig.rt.run()?;
    assert_eq!(client.status(), Status::Failed);
    Ok(())
});

conformance!(a_packet_client_by_name_is_connected_unless_told_not_to, |rig| {
    let server = rig.server().datagram().start()?;
    let stranger = rig.server().datagram().start()?;
    for connected in [true, false] {
        let client = rig.rt.client("client").datagram().host("localhost").family(Family::Ipv4);
        let client = client.service(port(&server)).connected(connected).nowait(true);
        let client = client.filter(rig.log.filter()).sentinel(rig.log.sentinel()).start()?;
        client.send("early")?;
        rig.until_line(&client, "open (open)");
        client.send("late")?;
        rig.until("its packets", || rig.log.bytes_of(&server) == b"earlylate");
        rig.log.clear();
        stranger.send_to("strange", client.contact().local())?;
        server.send("familiar")?;
        rig.settle();
        let heard = rig.log.bytes_of(&client);
        let has = |packet: &[u8]| heard.windows(packet.len()).any(|bytes| bytes == packet);
        assert_eq!((has(b"strange"), has(b"familiar")), (!connected, true), "{connected}");
        rig.log.clear();
        client.delete();
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_name_is_looked_up_however_deep_the_wait_is, |rig| {
    let builder = Runtime::builder().depth_max(2);
    let rt = rig.subject.build(builder, netproc::Config::default()).ok_or("it was there")?;
    let server = rig.server().start()?;
    let service = port(&server);
    let found = Rc::new(Cell::new(false));
    let seen = Rc::clone(&found);
    rt.run_after(Duration::ZERO, move |rt| {
        let client = rt.client("c").host("localhost").family(Family::Ipv4).service(service);
        seen.set(client.within(Duration::from_secs(3)).start().is_ok());
    });
    rt.turn(Duration::from_secs(5))?;
    assert!(found.get(), "it was not answered");
    rt.close();
    Ok(())
});
