//! Status, contact, name and list of every sort of process.

use netproc::{Address, Exit, Family, Kind, Plist, Role, Service, SockOption, Status, Value};
use netproc_tests::conformance;

/// An IP address as Emacs shows it, `a.b.c.d:port` or with brackets.
fn text(address: Option<&Address>) -> Result<String, &'static str> {
    Ok(address.ok_or("an address")?.network_text(false).to_string())
}

conformance!(every_role_has_its_status, |rig| {
    let (server, client, child) = rig.pair()?;
    let packets = rig.rt.server("packets").datagram().start()?;
    let to_packets =
        rig.rt.client("to packets").datagram().remote(packets.contact().local().clone()).start()?;
    let connecting = rig.client(&server).nowait(true).start()?;
    let cases = [
        (&server, Status::Listen, "listen"),
        (&client, Status::Open, "open"),
        (&child, Status::Open, "open"),
        (&packets, Status::Open, "open"),
        (&to_packets, Status::Open, "open"),
        (&connecting, Status::Connect, "connect"),
    ];
    for (process, status, word) in cases {
        assert_eq!((process.status(), process.status().to_string()), (status, word.into()));
        assert!(process.status().is_live());
        assert_eq!((process.exit(), process.exit().status()), (Exit::Alive, 0), "{process:?}");
    }
    Ok(())
});

conformance!(a_stop_lies_over_every_status_but_closed, |rig| {
    let (server, client, child) = rig.pair()?;
    let packets = rig.rt.server("packets").datagram().start()?;
    let refused = rig.client_at(rig.dead_end()?).nowait(true).start()?;
    rig.until("the refusal", || refused.status() == Status::Failed);
    for process in [&server, &client, &child, &packets, &refused] {
        let before = process.status();
        process.stop();
        process.stop();
        assert_eq!((process.status(), process.is_stopped()), (Status::Stop, true));
        process.resume();
        process.resume();
        assert_eq!((process.status(), process.is_stopped()), (before, false));
        process.stop();
        process.delete();
        assert_eq!(process.status(), Status::Closed);
        assert!(process.is_stopped(), "the flag outlives the end");
        process.resume();
        assert_eq!(process.status(), Status::Closed);
    }
    let connecting = rig.client_at(rig.dead_end()?).nowait(true).stop(true).start()?;
    assert_eq!(connecting.status(), Status::Stop);
    connecting.resume();
    assert_eq!(connecting.status(), Status::Connect);
    Ok(())
});

conformance!(stop_and_resume_send_no_event, |rig| {
    let (server, client, child) = rig.pair()?;
    rig.settle();
    rig.log.clear();
    for process in [&server, &client, &child] {
        process.stop();
        process.resume();
    }
    rig.settle();
    assert_eq!(rig.log.lines(), [""; 0]);
    Ok(())
});

conformance!(contacts_over_ipv4, |rig| {
    let (server, client, child) = rig.pair()?;
    let (at, from) = (server.contact(), client.contact());
    let port = i64::from(at.local().port().ok_or("a port")?);
    assert_eq!(at.local().to_string(), format!("[127 0 0 1 {port}]"));
    assert_eq!((at.role(), at.get(":server")), (Role::Server, Some(Value::True)));
    assert_eq!(at.short().to_string(), format!("(nil {port})"), "`t` became the port");
    assert_eq!((from.role(), from.remote()), (Role::Client, Some(at.local())));
    assert_ne!(from.local().port(), Some(0));
    let contact = child.contact();
    assert_eq!((contact.local(), contact.remote()), (at.local(), Some(from.local())));
    let peer = i64::from(from.local().port().ok_or("a port")?);
    assert_eq!(contact.short().to_string(), format!("(\"127.0.0.1\" {peer})"));
    assert_eq!(contact.get(":server"), Some(Value::Nil));
    assert_eq!(contact.get(":name"), Some("srv".into()), "as asked of the server");
    assert_eq!(*child.name(), format!("srv <127.0.0.1:{peer}>"));
    Ok(())
});

conformance!(contacts_over_ipv6, |rig| {
    let (server, client, child) = rig.pair_at(rig.server().family(Family::Ipv6))?;
    let local = client.contact().local().clone();
    assert_eq!(server.contact().local().family(), Family::Ipv6);
    assert_eq!(child.contact().remote(), Some(&local));
    let peer = local.port().ok_or("a port")?;
    assert_eq!(*child.name(), format!("srv <[0:0:0:0:0:0:0:1]:{peer}>"));
    assert_eq!(text(child.contact().remote())?, format!("[0:0:0:0:0:0:0:1]:{peer}"));
    let host = child.contact().short().to_string();
    assert_eq!(host, format!("(\"0:0:0:0:0:0:0:1\" {peer})"));
    rig.until_line(&child, "open from 0:0:0:0:0:0:0:1 (open)");
    Ok(())
});

conformance!(contacts_of_local_sockets, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let path = path.to_str().ok_or("a path in UTF-8")?;
    for kind in [Kind::Stream, Kind::SeqPacket] {
        let server = rig.server().family(Family::Local).kind(kind).service(path);
        let server = server.start()?;
        let address = Address::local(path)?;
        assert_eq!(server.contact().local(), &address);
        assert_eq!(server.contact().short().to_string(), format!("(nil \"{path}\")"));
        let client = rig.rt.client("client").family(Family::Local).kind(kind).service(path);
        let client = client.start()?;
        assert_eq!(client.contact().remote(), Some(&address));
        let child = rig.child(&server);
        assert_eq!((child.kind(), child.contact().local()), (kind, &address));
        assert_eq!(child.contact().short().to_string(), format!("(t \"{path}\")"));
        let unnamed = child.contact().remote().map(ToString::to_string);
        assert_eq!(unnamed.as_deref(), Some("\"\""));
        rig.until_line(&child, "open from - (open)");
        rig.until_line(&server, "log: accept from - (listen)");
        for process in [server, client, child] {
            process.delete();
        }
        if rig.subject.is_real() {
            std::fs::remove_file(path)?;
        } else {
            break;
        }
    }
    Ok(())
});

conformance!(local_connections_are_numbered_over_all_servers, |rig| {
    let folder = tempfile::tempdir()?;
    let over_ip = rig.rt.server("ip").start()?;
    let mut names = Vec::new();
    for name in ["a", "b", "a again"] {
        let path = folder.path().join(name);
        let server = rig.rt.server(name).family(Family::Local).service(&*path).start()?;
        rig.rt.client("client").remote(server.contact().local().clone()).start()?;
        names.push(rig.child(&server).name().to_string());
        if name == "a" {
            rig.connect(&over_ip)?;
            assert_eq!(rig.child(&over_ip).status(), Status::Open);
        }
    }
    assert_eq!(names, ["a <1>", "b <3>", "a again <4>"]);
    Ok(())
});

conformance!(a_server_on_every_address_knows_where_it_was_called, |rig| {
    let server = rig.server().host("0.0.0.0").start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    assert_eq!(server.contact().local().to_string(), format!("[0 0 0 0 {port}]"));
    let client = rig.rt.client("client").host("127.0.0.1").service(port).start()?;
    let child = rig.child(&server);
    assert_eq!(child.contact().local().to_string(), format!("[127 0 0 1 {port}]"));
    assert_eq!(child.contact().remote(), Some(client.contact().local()));
    Ok(())
});

conformance!(a_contact_outlives_its_process, |rig| {
    let (server, client, child) = rig.pair()?;
    let before: Vec<_> = [&server, &client, &child].map(netproc::Process::contact).into();
    server.delete();
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    for (process, contact) in [server, client, child].iter().zip(before) {
        assert_eq!((process.status(), process.contact()), (Status::Closed, contact));
    }
    Ok(())
});

conformance!(names_are_made_unique_and_free_after_the_end, |rig| {
    let server = rig.rt.server("n").start()?;
    let second = rig.rt.server("n").start()?;
    let third = rig.rt.server("n").start()?;
    let suffixed = rig.rt.server("n<1>").start()?;
    let empty = rig.rt.server("").start()?;
    let names = [&server, &second, &third, &suffixed, &empty].map(|process| process.name());
    assert_eq!(names.each_ref().map(|name| &**name), ["n", "n<1>", "n<2>", "n<1><1>", ""]);
    assert_eq!(second.contact().get(":name"), Some("n".into()), "the name asked for");
    second.delete();
    assert_eq!(rig.rt.get_process("n<1>"), None);
    let again = rig.rt.server("n").start()?;
    assert_eq!(&*again.name(), "n<1>");
    assert_eq!(rig.rt.get_process("n<1>"), Some(again));
    assert_eq!(&*second.name(), "n<1>", "its name stays readable");
    Ok(())
});

conformance!(the_list_is_newest_first, |rig| {
    let (server, client, child) = rig.pair()?;
    let packets = rig.rt.server("packets").datagram().start()?;
    let names = |list: &[netproc::Process]| -> Vec<String> {
        list.iter().map(|process| process.name().to_string()).collect()
    };
    assert_eq!(
        names(&rig.rt.process_list()),
        ["packets", &child.name(), "client", "srv"],
        "the connection was born when it was accepted"
    );
    client.delete();
    assert_eq!(names(&rig.rt.process_list()), ["packets", &child.name(), "srv"]);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(rig.rt.process_list(), [packets, server]);
    Ok(())
});

conformance!(a_connection_gets_a_copy_of_its_servers_property_list, |rig| {
    let plist: Plist = [("a", Value::from(1)), ("b", Value::from("x"))].into_iter().collect();
    let (server, _client, child) = rig.pair_at(rig.server().plist(plist.clone()))?;
    assert_eq!(child.plist(), plist);
    child.put("a", 2);
    server.put("c", 3);
    assert_eq!((server.get("a"), child.get("a")), (Some(1.into()), Some(2.into())));
    assert_eq!(child.get("c"), None);
    rig.connect(&server)?;
    rig.until("the second", || rig.children(&server) == 2);
    let second = rig.child(&server);
    assert_eq!((second.get("a"), second.get("c")), (Some(1.into()), Some(3.into())));
    Ok(())
});

conformance!(a_connection_gets_the_filter_its_server_has_at_that_moment, |rig| {
    let server = rig.server().start()?;
    let first = rig.connect(&server)?;
    let one = rig.child(&server);
    let log = rig.log.clone();
    server.set_filter(move |process, input| {
        log.note(process, format!("new {}", input.escape_ascii()));
    });
    let second = rig.connect(&server)?;
    rig.until("the second", || rig.children(&server) == 2);
    let two = rig.child(&server);
    first.send("a")?;
    second.send("b")?;
    rig.until_line(&one, "\"a\" (open)");
    rig.until_line(&two, "new b (open)");
    Ok(())
});

conformance!(starting_what_cannot_be_leaves_nothing, |rig| {
    let server = rig.rt.server("srv").start()?;
    let taken = server.contact().local().clone();
    rig.settle();
    let sockets = rig.rt.stats().sockets;
    assert!(rig.rt.server("x").local(taken).start().is_err(), "the address is in use");
    assert!(rig.rt.server("x").local("[192 0 2 1 0]".parse::<Address>()?).start().is_err());
    assert!(rig.rt.server("x").kind(Kind::SeqPacket).start().is_err());
    assert!(rig.rt.server("x").family(Family::Local).start().is_err(), "no path");
    assert!(rig.rt.client("x").host("127.0.0.1").start().is_err(), "no service");
    assert!(rig.rt.client("x").service(Service::Any).start().is_err());
    assert!(rig.rt.client("x").service(0).start().is_err());
    let unknown = SockOption::BindToDevice(Some("no-such-device".into()));
    assert!(rig.rt.server("x").option(unknown).start().is_err());
    rig.settle();
    assert_eq!(rig.rt.process_list(), [server]);
    assert_eq!(rig.rt.stats().sockets, sockets);
    Ok(())
});
