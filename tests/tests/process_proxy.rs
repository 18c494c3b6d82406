//! The PROXY protocol over real connections: whom a server believes, what a process shows of the client
//! and of the proxy, and that nothing in front of a header reaches anybody.
//!
//! Headers themselves are tested where they are read, in core/src/proxy, and against the parsers of others
//! in `proxy_oracle.rs`.

use std::time::Duration;

use netproc::{
    Address, CredentialsError, Event, Exit, Failure, Family, Kind, Limits, LogEntry, Process,
    ProxyHeaderError, ProxyOrigin, ProxyOut, ProxyRefusal, ProxyVersion, ServerBuilder, StartError,
    Status, TlsClient, TlsIdentity, TlsServer, TlsTrust, TrustedProxies, Value,
    proxy::tlv,
    stream::{DialogueParams, OpenStreamError, Protocol, StreamKind, StreamType},
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

const LOOPBACK: &str = "127.0.0.1";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

fn trusted(list: &str) -> TrustedProxies {
    list.parse().expect("a list of proxies")
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

/// A server behind a proxy on this machine, which logs every refusal.
fn behind(rig: &Rig) -> ServerBuilder {
    let mut limits = Limits::default();
    limits.log_every = Duration::ZERO;
    rig.server().limits(limits).proxy_protocol(trusted(LOOPBACK))
}

/// A header of version 2 with these bytes for command, family, and all behind the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).expect("a short header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &len, rest].concat()
}

/// The header for a client at `source`.
fn naming(version: ProxyVersion, source: &str, destination: &str) -> ProxyOut {
    ProxyOut::naming(version, address(source), address(destination))
}

/// The host and the address of a client, as text.
type Named = (&'static str, &'static str);

/// Headers of every shape, and whom each names, if it names anybody.
fn headers() -> Vec<(Vec<u8>, Option<Named>)> {
    use ProxyVersion::{V1, V2};
    let written = |out: ProxyOut| out.bytes(None, None).expect("it can be written");
    let (four, six) = ("[192 0 2 7 4711]", "[8193 3512 0 0 0 0 0 1 4711]");
    let (local, name) = ("\"/run/client\"", "\"\\x00client\"");
    let all = [
        (written(naming(V1, four, "[198 51 100 1 443]")), Some(("192.0.2.7", four))),
        (written(naming(V1, six, six)), Some(("2001:db8:0:0:0:0:0:1", six))),
        (written(naming(V2, four, "[198 51 100 1 443]")), Some(("192.0.2.7", four))),
        (written(naming(V2, six, six)), Some(("2001:db8:0:0:0:0:0:1", six))),
        (written(naming(V2, local, "\"\"").tlv(tlv::NOOP, [7; 300])), Some(("-", local))),
        (written(naming(V2, name, name).checksum(true)), Some(("-", name))),
        (written(ProxyOut::local(V1)), None),
        (written(ProxyOut::local(V2)), None),
        (v2(0x21, 0, b""), None),
        (v2(0x20, 0xFF, &[9; 99]), None),
    ];
    all.into()
}

/// Sends `bytes` and waits until they were read at the other end of the same runtime.
fn send_apart(rig: &Rig, client: &Process, bytes: &[u8]) -> Result<(), netproc::SendError> {
    let until = rig.rt.stats().received + bytes.len() as u64;
    client.send(bytes)?;
    rig.until("it is read", || rig.rt.stats().received >= until);
    Ok(())
}

conformance!(a_client_is_who_the_header_names_and_the_proxy_stays_known, |rig| {
    for (header, named) in headers() {
        let server = behind(rig).start()?;
        let client = rig.connect(&server)?;
        let child = rig.child(&server);
        let proxy = client.contact().local().clone();
        assert_eq!((child.status(), child.contact().remote()), (Status::Connect, Some(&proxy)));
        client.send([&header, &b"hello"[..]].concat())?;
        rig.until_bytes(&child, b"hello");
        let (host, remote) = named.unwrap_or((LOOPBACK, ""));
        let remote = named.map_or_else(|| proxy.clone(), |_| address(remote));
        let told = [format!("open from {host} (open)"), "\"hello\" (open)".into()];
        assert_eq!(rig.log.of(&child), told);
        let contact = child.contact();
        assert_eq!((contact.remote(), contact.wire_peer()), (Some(&remote), Some(&proxy)));
        assert_eq!(child.wire_peer(), Some(proxy.clone()));
        assert_eq!(contact.get(":remote"), Some(Value::from(remote)));
        assert_eq!(contact.get(":proxied-by"), Some(Value::from(proxy.clone())));
        let shown = if host == "-" { Value::True } else { host.into() };
        assert_eq!(contact.get(":host"), Some(shown));
        assert_eq!(*child.name(), format!("srv <{}>", proxy.network_text(false)), "by the proxy");
        assert_eq!(contact.local(), server.contact().local(), "its own end is its own");
        let read = child.proxy_header().ok_or("it had one")?;
        let anybody = matches!(read.origin(), ProxyOrigin::Client { .. });
        assert_eq!(anybody, named.is_some());
        child.send("bye")?;
        rig.until_bytes(&client, b"bye");
        assert_eq!(rig.log.of(&server), [format!("log: accept from {LOOPBACK} (listen)")]);
        [server, client, child].iter().for_each(Process::delete);
        rig.settle();
        rig.log.clear();
    }
    Ok(())
});

conformance!(a_header_may_come_in_any_two_pieces, |rig| {
    let server = behind(rig).start()?;
    for (header, named) in headers() {
        let host = named.map_or(LOOPBACK, |(host, _)| host);
        // A path is a hundred NULs, which are one like the other.
        for cut in (1..=header.len()).filter(|cut| *cut < 50 || *cut > header.len() - 8) {
            let client = rig.connect(&server)?;
            send_apart(rig, &client, &header[..cut])?;
            let child = rig.child(&server);
            client.send([&header[cut..], b"hello"].concat())?;
            rig.until_bytes(&child, b"hello");
            assert_eq!(rig.log.of(&child)[0], format!("open from {host} (open)"), "cut at {cut}");
            client.delete();
            rig.until("its end", || rig.children(&server) == 0);
            rig.log.clear();
        }
    }
    Ok(())
});

conformance!(a_header_may_come_byte_by_byte, |rig| {
    let server = behind(rig).start()?;
    let v2 = naming(ProxyVersion::V2, "[192 0 2 7 1]", "[192 0 2 8 2]").checksum(true);
    for header in [V1.to_vec(), v2.bytes(None, None)?] {
        let client = rig.connect(&server)?;
        for byte in header {
            send_apart(rig, &client, &[byte])?;
        }
        let child = rig.child(&server);
        rig.until_line(&child, "open from 192.0.2.7 (open)");
        client.delete();
        rig.until("its end", || rig.children(&server) == 0);
    }
    Ok(())
});

/// Whether it is this error.
type Expected = fn(&ProxyHeaderError) -> bool;

conformance!(whatever_is_no_header_ends_the_connection_and_reaches_nobody, |rig| {
    use ProxyHeaderError as E;
    let four = [192, 0, 2, 7, 198, 51, 100, 1, 0, 1, 0, 2];
    let checksum = [&four[..], &[tlv::CRC32C, 0, 4, 0, 0, 0, 0]].concat();
    let mut forged = naming(ProxyVersion::V2, "[1 2 3 4 5]", "[6 7 8 9 10]").checksum(true);
    forged = forged.tlv(tlv::AUTHORITY, "forged");
    let mut forged = forged.bytes(None, None)?;
    *forged.last_mut().ok_or("bytes")? ^= 1;
    let cases: Vec<(Vec<u8>, Expected)> = vec![
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), |err| *err == E::Missing),
        (b"\x16\x03\x01\x02\0\x01\0".to_vec(), |err| *err == E::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), |err| *err == E::Missing),
        (b"PROXY TCP4 192.0.2.7\r\n".to_vec(), |err| matches!(err, E::Line(_))),
        (b"PROXY UNKNOWN".repeat(9), |err| *err == E::TooLong { max: 107 }),
        ([&b"PROXY UNKNOWN"[..], &[0; 70_000]].concat(), |err| *err == E::TooLong { max: 107 }),
        (v2(0x31, 0x11, &four), |err| *err == E::Version(3)),
        (v2(0x2F, 0x11, &four), |err| *err == E::Command(15)),
        (v2(0x21, 0x41, &four), |err| *err == E::Family(0x41)),
        (v2(0x21, 0x21, &four), |err| *err == E::TooShort { len: 12, needed: 36 }),
        (v2(0x21, 0x11, &[0; 4081]), |err| *err == E::TooLong { max: 4096 }),
        (v2(0x21, 0x31, &[b'/'; 216]), |err| *err == E::Path),
        (v2(0x21, 0x11, &[&four[..], &[1, 0xFF]].concat()), |err| *err == E::Tlv { at: 28 }),
        (v2(0x21, 0x11, &checksum), |err| matches!(err, E::Checksum { sent: 0, .. })),
        (forged, |err| matches!(err, E::Checksum { .. })),
    ];
    for (bytes, expected) in cases {
        let server = behind(rig).start()?;
        let client = rig.connect(&server)?;
        let child = rig.child(&server);
        client.send(bytes)?;
        rig.until("the end of both", || {
            let ended = |process: &Process| process.status() == Status::Closed;
            ended(&child) && ended(&client)
        });
        let Exit::Failed(Failure::ProxyHeader(err)) = child.exit() else {
            return Err(format!("{:?}", child.exit()).into());
        };
        assert!(expected(&err), "{err:?}");
        assert_eq!(rig.log.of(&child), [format!("failed with code {err} (closed)")]);
        let logged = [
            format!("log: accept from {LOOPBACK} (listen)"),
            format!("log: refused from {LOOPBACK}: {err} (listen)"),
        ];
        assert_eq!(rig.log.of(&server), logged);
        assert_eq!(rig.log.len_of(&client), 0, "nothing is answered");
        assert_eq!(rig.children(&server), 0);
        server.delete();
        rig.log.clear();
    }
    Ok(())
});

conformance!(whoever_is_not_trusted_is_closed_unread_and_is_no_process, |rig| {
    let mut limits = Limits::default();
    limits.log_every = Duration::ZERO;
    for list in ["192.0.2.7", "::1 local", "127.0.0.2/31", "126.0.0.0/8"] {
        let server = rig.server().limits(limits).proxy_protocol(trusted(list)).max_connections(1);
        let log = rig.log.clone();
        let server = server.on_accept(move |_, child| log.note(child, "let in")).start()?;
        // More than it has places: who is nobody takes none.
        for count in 1..=2 {
            let client = rig.connect(&server)?;
            client.send([V1, b"believe me"].concat())?;
            rig.until("the end", || client.status() == Status::Closed);
            assert_eq!(rig.children(&server), 0);
            let refusals = vec!["log: refused from 127.0.0.1: no trusted proxy (listen)"; count];
            rig.until("the log", || rig.log.of(&server).len() >= count);
            assert_eq!(rig.log.of(&server), refusals, "{list}");
        }
        assert!(!rig.log.lines().iter().any(|line| line.starts_with("child")), "{}", rig.log);
        server.delete();
        rig.log.clear();
    }
    Ok(())
});

conformance!(refusals_are_logged_once_in_a_while_with_a_count, |rig| {
    let mut limits = Limits::default();
    limits.log_every = Duration::from_secs(3600);
    let entries = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = entries.clone();
    let server = rig.rt.server("srv").limits(limits).proxy_protocol(trusted("192.0.2.7"));
    let server = server.log(move |_, _, entry: &LogEntry| kept.borrow_mut().push(entry.clone()));
    let server = server.start()?;
    for _ in 0..5 {
        let client = rig.connect(&server)?;
        rig.until("the end", || client.status() == Status::Closed);
    }
    let entries = entries.borrow();
    let [LogEntry::ProxyRefused { from, why, count }] = &entries[..] else {
        return Err(format!("{entries:?}").into());
    };
    assert_eq!((why, count), (&ProxyRefusal::Untrusted, &1));
    assert_eq!(from.network_text(true).to_string(), LOOPBACK);
    Ok(())
});

conformance!(a_header_that_is_late_ends_the_connection, |rig| {
    let mut limits = Limits::default();
    limits.handshake_within = Duration::from_millis(50);
    let server = rig.server().proxy_protocol(trusted(LOOPBACK)).limits(limits).start()?;
    for begun in [&b""[..], &V1[..1], &V1[..20], &V1[..V1.len() - 1]] {
        let client = rig.connect(&server)?;
        let child = rig.child(&server);
        client.send(begun)?;
        rig.until_line(&child, "failed with code no PROXY header within the time given (closed)");
        assert_eq!(child.exit(), Exit::Failed(Failure::ProxyHeader(ProxyHeaderError::Late)));
        rig.until_line(&client, "connection broken by remote peer (closed)");
        rig.log.clear();
    }
    Ok(())
});

conformance!(on (sim): the_time_for_a_header_is_that_of_a_handshake_and_no_more, |rig| {
    let server = behind(rig).start()?;
    let within = server.limits().handshake_within;
    let now = || rig.rt.with_simulation(|sim| netproc_core::reactor::Reactor::now(sim));
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    let begin = now().ok_or("a simulation")?;
    client.send(&V1[..9])?;
    rig.until("the end", || child.status() == Status::Closed);
    let took = now().ok_or("a simulation")?.since(begin);
    let around = Duration::from_millis(1);
    assert!(took <= within + around && took >= within - around, "{took:?}");
    Ok(())
});

/// A server's certificate, and a client that trusts it.
fn tls() -> Result<(TlsServer, TlsClient), Box<dyn std::error::Error>> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
    let trust = TlsTrust::from_pem(pair.cert.pem())?;
    let client = TlsClient::builder("localhost").trust(trust).build()?;
    Ok((TlsServer::builder(identity).build()?, client))
}

conformance!(tls_begins_behind_the_header, |rig| {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let (at_server, at_client) = tls()?;
        let server = behind(rig).tls(at_server).start()?;
        let out = naming(version, "[192 0 2 7 4711]", "[198 51 100 1 443]");
        let client = rig.client(&server).tls(at_client).proxy_header(out).start()?;
        let child = rig.child(&server);
        rig.until_line(&child, "open from 192.0.2.7 (open)");
        let bytes = pattern(5, 100_000);
        client.send(bytes.clone())?;
        child.send(bytes.clone())?;
        rig.until_bytes(&child, &bytes);
        rig.until_bytes(&client, &bytes);
        assert!(child.tls_info().is_some() && child.proxy_header().is_some());
        assert_eq!(child.wire_peer().as_ref(), Some(client.contact().local()));
        [server, client].iter().for_each(Process::delete);
        rig.settle();
        rig.log.clear();
    }
    Ok(())
});

conformance!(clear_text_behind_the_header_of_a_tls_server_is_a_failed_handshake, |rig| {
    let server = behind(rig).tls(tls()?.0).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.send([V1, b"GET / HTTP/1.0\r\n\r\n"].concat())?;
    rig.until("the end", || child.status() == Status::Closed);
    assert!(matches!(child.exit(), Exit::Failed(Failure::Handshake(_))), "{:?}", child.exit());
    assert_eq!(child.contact().remote(), Some(&address("[192 0 2 7 4711]")), "whose fault it was");
    Ok(())
});

conformance!(on (sim): header_and_handshake_have_their_times_one_after_the_other, |rig| {
    let mut limits = Limits::default();
    limits.handshake_within = Duration::from_secs(2);
    let (at_server, at_client) = tls()?;
    let server = rig.server().proxy_protocol(trusted(LOOPBACK)).limits(limits).tls(at_server);
    let server = server.start()?;
    // Whoever is slow with the header is not cut off in the handshake that follows it.
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    let late = client.clone();
    rig.rt.run_after(Duration::from_millis(1500), move |_| {
        late.send(V1).expect("it is open");
    });
    let (shakes, mine) = (client.clone(), at_client);
    rig.rt.run_after(Duration::from_millis(3000), move |_| {
        shakes.upgrade(mine).expect("it is open");
    });
    rig.until_line(&child, "open from 192.0.2.7 (open)");
    client.send("in time")?;
    rig.until_bytes(&child, b"in time");
    Ok(())
});

conformance!(whoever_hangs_up_in_the_header_is_a_failure, |rig| {
    for len in [0, 1, 5, 6, 20, V1.len() - 1] {
        let server = behind(rig).start()?;
        let client = rig.connect(&server)?;
        let child = rig.child(&server);
        client.send(&V1[..len])?;
        client.send_eof()?;
        rig.until("the end", || child.status() == Status::Closed);
        let cut = Exit::Failed(Failure::ProxyHeader(ProxyHeaderError::Cut(len)));
        assert_eq!(child.exit(), cut);
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(an_end_right_behind_the_header_is_an_end, |rig| {
    let server = behind(rig).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.send(V1)?;
    client.send_eof()?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    let told = ["open from 192.0.2.7 (open)", "connection broken by remote peer (closed)"];
    assert_eq!(rig.log.of(&child), told);
    Ok(())
});

conformance!(what_was_sent_before_the_header_was_there_comes_after_it, |rig| {
    let server = behind(rig).on_accept(|_, child| child.send("220 hello\r\n")).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    rig.settle();
    assert_eq!(rig.log.len_of(&client), 0, "nobody is greeted who has not said who it is");
    client.send(V1)?;
    rig.until_bytes(&client, b"220 hello\r\n");
    assert_eq!(rig.log.of(&child), ["open from 192.0.2.7 (open)"]);
    Ok(())
});

conformance!(a_stop_does_not_stop_the_header, |rig| {
    let server = behind(rig).on_accept(|_, child| child.stop()).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.send([V1, b"waits"].concat())?;
    rig.until_line(&child, "open from 192.0.2.7 (stop)");
    rig.settle();
    assert_eq!(rig.log.len_of(&child), 0, "stopped");
    child.resume();
    rig.until_bytes(&child, b"waits");
    Ok(())
});

conformance!(deleted_before_its_header_nothing_else_is_told, |rig| {
    let server = behind(rig).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    send_apart(rig, &client, &V1[..9])?;
    child.delete();
    rig.until_line(&client, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.of(&child), ["deleted (closed)"]);
    assert_eq!(child.proxy_header(), None);
    Ok(())
});

conformance!(connections_that_wait_for_their_header_outlive_their_server, |rig| {
    let server = behind(rig).start()?;
    let (good, bad) = (rig.connect(&server)?, rig.connect(&server)?);
    rig.until("both", || rig.children(&server) == 2);
    let connections = rig.connections(&server);
    server.delete();
    good.send(V1)?;
    bad.send("no header")?;
    let of = |client: &Process| {
        let own = client.contact().local().clone();
        connections.iter().find(|it| it.wire_peer().as_ref() == Some(&own)).cloned()
    };
    let (good, bad) = (of(&good).ok_or("a child")?, of(&bad).ok_or("a child")?);
    rig.until_line(&good, "open from 192.0.2.7 (open)");
    rig.until_line(&bad, "failed with code no PROXY header (closed)");
    Ok(())
});

conformance!(those_who_wait_for_their_header_take_places, |rig| {
    let server = behind(rig).max_connections(1).start()?;
    let silent = rig.connect(&server)?;
    rig.until("it is let in", || rig.children(&server) == 1);
    let next = rig.connect(&server)?;
    next.send([V1, b"me"].concat())?;
    rig.settle();
    assert_eq!(rig.children(&server), 1);
    silent.delete();
    rig.until("the place is free", || rig.log.lines().iter().any(|line| line.contains("\"me\"")));
    Ok(())
});

conformance!(pulled_events_show_the_client, |rig| {
    let server = rig.rt.server("s").proxy_protocol(trusted(LOOPBACK)).start()?;
    let out = naming(ProxyVersion::V1, "[192 0 2 7 4711]", "[198 51 100 1 443]");
    let client = rig.rt.client("c").remote(server.contact().local().clone()).proxy_header(out);
    client.start()?.send("hello")?;
    let (child, event) = rig.next();
    let Event::OpenFrom(Some(from)) = event else { return Err(format!("{event:?}").into()) };
    assert_eq!(from, address("[192 0 2 7 4711]"));
    let (same, event) = rig.next();
    assert!(same == child && matches!(event, Event::Input(input) if input[..] == *b"hello"));
    Ok(())
});

conformance!(what_else_a_header_says_is_there_to_be_read, |rig| {
    let server = behind(rig).start()?;
    let out = naming(ProxyVersion::V2, "[192 0 2 7 4711]", "[198 51 100 1 443]");
    let out = out.tlv(tlv::AUTHORITY, "www.example").tlv(0xE0, [0, 1]).tlv(tlv::ALPN, "h2");
    let client = rig.client(&server).proxy_header(out.checksum(true)).start()?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from 192.0.2.7 (open)");
    let header = child.proxy_header().ok_or("it had one")?;
    assert_eq!(header.version(), ProxyVersion::V2);
    assert_eq!(header.destination(), Some(&address("[198 51 100 1 443]")));
    let values: Vec<_> = header.tlvs().take(3).collect();
    assert_eq!(values, [(2, &b"www.example"[..]), (0xE0, &[0, 1]), (1, b"h2")]);
    // What came goes on as it is, by a proxy behind the proxy.
    let second = rig.client(&server).proxy_header(&header).start()?;
    rig.until("the second", || rig.children(&server) == 2);
    let again = rig.child(&server);
    rig.until_line(&again, "open from 192.0.2.7 (open)");
    assert_eq!(again.proxy_header(), Some(header));
    assert_ne!(second.contact().local(), client.contact().local());
    Ok(())
});

conformance!(a_client_names_its_own_ends_unless_told_otherwise, |rig| {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let server = behind(rig).start()?;
        let client = rig.client(&server).proxy_header(version).nowait(true).start()?;
        client.send("early")?;
        let child = rig.child(&server);
        rig.until_bytes(&child, b"early");
        let header = child.proxy_header().ok_or("it had one")?;
        assert_eq!(header.version(), version);
        assert_eq!(header.source(), Some(client.contact().local()));
        assert_eq!(header.destination(), Some(server.contact().local()));
        assert_eq!(child.contact().remote(), Some(client.contact().local()));
        [server, client].iter().for_each(Process::delete);
        rig.until("the end", || child.status() == Status::Closed);
        rig.log.clear();
    }
    Ok(())
});

conformance!(the_bytes_of_a_header_are_on_the_wire_first, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).nowait(true);
    let client = client.proxy_header(naming(ProxyVersion::V1, "[1 2 3 4 5]", "[6 7 8 9 10]"));
    client.start()?.send("GET /")?;
    rig.until_bytes(&rig.child(&server), b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\nGET /");
    Ok(())
});

conformance!(of_several_addresses_the_one_that_connects_gets_the_header_once, |rig| {
    let server = behind(rig).start()?;
    let dead = rig.dead_end()?;
    let to = [dead, server.contact().local().clone()];
    let client = rig.rt.client("c").remotes(to).proxy_header(ProxyVersion::V1).start()?;
    client.send("hello")?;
    let child = rig.child(&server);
    rig.until_bytes(&child, b"hello");
    let header = child.proxy_header().ok_or("it had one")?;
    assert_eq!(header.destination(), Some(server.contact().local()), "whom it has reached");
    assert_eq!(header.source(), Some(client.contact().local()));
    Ok(())
});

conformance!(a_stream_begins_with_its_header_too, |rig| {
    let server = rig.rt.server("mail").proxy_protocol(trusted("127.0.0.1 ::1"));
    let server = server.on_accept(|_, connection| connection.send("220 hello\r\n"));
    let server =
        server.filter(|connection, _| connection.send("250 at your service\r\n")).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let opened = rig
        .rt
        .open_stream("s", "127.0.0.1", port)
        .dialogue(Protocol::Smtp.params(StreamType::Network, "me.example"))
        .proxy_header(ProxyVersion::V2)
        .within(PATIENCE)
        .start()?;
    assert_eq!(opened.kind, StreamKind::Plain);
    let child = rig.child(&server);
    assert_eq!(child.proxy_header().and_then(|it| it.source().cloned()), child.wire_peer());
    let shell = rig.rt.open_stream("s", "127.0.0.1", port).shell_command("true");
    let shell = shell.dialogue(DialogueParams::new(StreamType::Shell));
    let refused = shell.proxy_header(ProxyVersion::V2).start();
    let incompatible = matches!(refused, Err(OpenStreamError::Start(StartError::Incompatible(_))));
    assert!(incompatible, "{refused:?}");
    Ok(())
});

conformance!(what_goes_with_no_header_is_refused_at_the_start, |rig| {
    let to = rig.server().datagram().start()?.contact().local().clone();
    let list = || trusted(LOOPBACK);
    let client = || rig.rt.client("c").remote(to.clone());
    let mixed = naming(ProxyVersion::V2, "[1 2 3 4 5]", "[0 0 0 0 0 0 0 1 5]");
    let mut limits = Limits::default();
    limits.proxy_header_len_max = 231;
    let incompatible: fn(&StartError) -> bool = |err| matches!(err, StartError::Incompatible(_));
    let unwritable: fn(&StartError) -> bool = |err| matches!(err, StartError::ProxyHeader(_));
    let cases = [
        (rig.rt.server("s").datagram().proxy_protocol(list()).start(), incompatible),
        (
            rig.rt
                .server("s")
                .kind(Kind::SeqPacket)
                .family(Family::Local)
                .service("/nowhere/s")
                .proxy_protocol(list())
                .start(),
            incompatible,
        ),
        (rig.rt.server("s").proxy_protocol(TrustedProxies::new()).start(), incompatible),
        (client().datagram().proxy_header(ProxyVersion::V1).start(), incompatible),
        (client().proxy_header(mixed.clone()).start(), unwritable),
        (
            rig.rt
                .client("c")
                .host("localhost")
                .service(7)
                .nowait(true)
                .proxy_header(mixed)
                .start(),
            unwritable,
        ),
        (client().proxy_header(ProxyOut::own(ProxyVersion::V1).checksum(true)).start(), unwritable),
        (rig.rt.server("s").limits(limits).start(), |err| matches!(err, StartError::Limits(_))),
    ];
    for (refused, expected) in cases {
        let refused = refused.expect_err("it would be ignored, or believe nobody");
        assert!(expected(&refused), "{refused:?}");
    }
    Ok(())
});

conformance!(how_long_a_header_may_be_can_be_set, |rig| {
    for (max, taken) in [(4096, false), (7000, true)] {
        let mut limits = Limits::default();
        limits.proxy_header_len_max = max;
        let server = rig.server().limits(limits).proxy_protocol(trusted(LOOPBACK)).start()?;
        let out = ProxyOut::own(ProxyVersion::V2).tlv(tlv::NOOP, [0; 5000]);
        let _client = rig.client(&server).proxy_header(out).start()?;
        let child = rig.child(&server);
        rig.until("its fate", || !rig.log.of(&child).is_empty());
        assert_eq!(child.status() == Status::Open, taken, "{:?}", rig.log.of(&child));
        server.delete();
        rig.log.clear();
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_local_proxy_is_trusted_on_request_only, |rig| {
    let folder = tempfile::tempdir()?;
    for (name, list, taken) in [("no", "127.0.0.1 ::/0", false), ("yes", "local", true)] {
        let path = folder.path().join(name);
        let server = rig.server().family(Family::Local).service(&*path);
        let server = server.proxy_protocol(trusted(list)).start()?;
        let client = rig.connect(&server)?;
        client.send([V1, b"hello"].concat())?;
        if taken {
            let child = rig.child(&server);
            rig.until_bytes(&child, b"hello");
            assert_eq!(rig.log.of(&child)[0], "open from 192.0.2.7 (open)");
            // Who made the connection is the proxy, whatever the header says.
            match child.peer_credentials() {
                Ok(who) => assert_eq!(who.uid, nix::unistd::getuid().as_raw()),
                Err(err) => assert_eq!(err, CredentialsError::Unsupported),
            }
        } else {
            rig.until_line(&client, "connection broken by remote peer (closed)");
            assert_eq!(rig.log.of(&server), ["log: refused from -: no trusted proxy (listen)"]);
        }
    }
    Ok(())
});

conformance!(a_client_over_a_local_socket_names_what_can_be_named, |rig| {
    let server = rig.server().family(Family::Local).service("\0netproc proxy test");
    let server = match server.proxy_protocol(trusted("local")).start() {
        Ok(server) => server,
        // Not every system has abstract names.
        Err(err) if !rig.rt.capabilities().abstract_names => {
            assert!(matches!(err, StartError::Sys { .. }), "{err:?}");
            return Ok(());
        }
        Err(err) => return Err(err.into()),
    };
    let _v2 = rig.client(&server).proxy_header(ProxyVersion::V2).start()?;
    let child = rig.child(&server);
    rig.until_line(&child, "open from - (open)");
    let header = child.proxy_header().ok_or("it had one")?;
    assert_eq!(header.destination(), Some(server.contact().local()));
    let _v1 = rig.client(&server).proxy_header(ProxyVersion::V1).start()?;
    rig.until("the second", || rig.children(&server) == 2);
    let child = rig.child(&server);
    rig.until_line(&child, "open from - (open)");
    let header = child.proxy_header().ok_or("it had one")?;
    assert_eq!(header.origin(), &ProxyOrigin::Unknown, "version 1 has no words for it");
    Ok(())
});
