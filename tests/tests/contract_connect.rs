//! Connecting: what is refused, what waits, what can be given up. A refusal is always `Closed`.

use netproc_core::{
    address::{Address, Family},
    reactor::{CloseHow, Kind, Op, OpenSpec},
};
use netproc_tests::{
    contract,
    contract::{Mark, PATIENCE, loopback},
};

/// An address nobody listens on and nobody else can take: the client's end of a connection.
macro_rules! deaf_address {
    ($rig:ident) => {{
        let (client, _) = $rig.pair()?;
        $rig.reactor.local_addr(client)?
    }};
}

/// An address that is free to bind, since a listener just left it.
macro_rules! free_address {
    ($rig:ident) => {{
        let listener = $rig.listener()?;
        let address = $rig.reactor.local_addr(listener)?;
        $rig.close(listener, CloseHow::Now);
        $rig.until("the listener's end", |world| world.closed(listener));
        address
    }};
}

contract!(a_refused_connect_is_closed_with_its_cause, |rig| {
    let nobody = deaf_address!(rig);
    let client = rig.connect(&OpenSpec::default(), &nobody)?;
    rig.send(client, "for nobody");
    rig.until("its end", |world| world.closed(client));
    let end = rig.world[client].closed.ok_or("closed")?;
    let cause = end.cause.ok_or("a cause")?;
    assert_eq!((cause.op, cause.errno), (Op::Connect, libc::ECONNREFUSED));
    assert_eq!(end.unsent, 10);
    assert_eq!(rig.world[client].marks, [Mark::Closed(Some(libc::ECONNREFUSED))]);
    Ok(())
});

contract!(a_missing_path_is_closed_with_enoent, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("nobody").into_os_string().into_encoded_bytes();
    let to = Address::local(path)?;
    let client = rig.connect(&OpenSpec::default(), &to)?;
    rig.until("its end", |world| world.closed(client));
    assert_eq!(rig.world[client].marks, [Mark::Closed(Some(libc::ENOENT))]);
    assert_eq!(rig.world[client].closed.and_then(|end| end.cause).map(|c| c.op), Some(Op::Connect));
    Ok(())
});

contract!(a_refused_connect_leaves_the_others_alone, |rig| {
    let nobody = deaf_address!(rig);
    let listener = rig.echo()?;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push((rig.client(listener)?, rig.connect(&OpenSpec::default(), &nobody)?));
    }
    for (good, bad) in clients {
        rig.send(good, "hello");
        rig.until("echo and refusal", |world| world[good].data == b"hello" && world.closed(bad));
        assert_eq!(rig.world[bad].errno(), Some(libc::ECONNREFUSED));
    }
    Ok(())
});

contract!(a_connect_can_be_given_up, |rig| {
    let listener = rig.listener()?;
    for how in [CloseHow::Now, CloseHow::Reset, CloseHow::Flush { within: PATIENCE }] {
        let client = rig.client(listener)?;
        rig.close(client, how);
        rig.until("its end", |world| {
            // A flushing close may come through first, and then the peer has to end too.
            world.closed(client) || world[listener].children.iter().any(|&child| world[child].eof)
        });
        for child in rig.world[listener].children.clone() {
            rig.close(child, CloseHow::Now);
        }
        rig.until("every end", |world| world.closed(client));
    }
    Ok(())
});

contract!(a_connect_to_itself_is_refused, |rig| {
    let address = free_address!(rig);
    let spec = OpenSpec { local: Some(&address), ..OpenSpec::default() };
    let client = rig.connect(&spec, &address)?;
    rig.until("its end", |world| world.closed(client));
    assert_eq!(rig.world[client].marks, [Mark::Closed(Some(libc::ECONNREFUSED))]);
    Ok(())
});

contract!(a_full_local_backlog_is_waited_for, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("busy").into_os_string().into_encoded_bytes();
    let local = Address::local(path)?;
    let spec = OpenSpec { local: Some(&local), reading: false, ..OpenSpec::default() };
    let listener = rig.listen(&spec, 1)?;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(rig.connect(&OpenSpec::default(), &local)?);
    }
    rig.settle();
    for &client in &clients {
        assert_eq!(rig.world[client].closed, None, "a full backlog is no refusal");
        rig.send(client, "let me in");
    }
    rig.resume(listener);
    rig.until("all in", |world| {
        let children = &world[listener].children;
        children.len() == 8 && children.iter().all(|&child| world[child].data == b"let me in")
    });
    Ok(())
});

contract!(waiting_for_a_full_backlog_can_be_given_up, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("busy").into_os_string().into_encoded_bytes();
    let local = Address::local(path)?;
    let spec = OpenSpec { local: Some(&local), reading: false, ..OpenSpec::default() };
    rig.listen(&spec, 1)?;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(rig.connect(&OpenSpec::default(), &local)?);
    }
    rig.settle();
    for &client in &clients {
        rig.close(client, CloseHow::Now);
    }
    rig.until("every end", |world| clients.iter().all(|&client| world.closed(client)));
    for client in clients {
        assert_eq!(rig.world[client].errno(), None);
    }
    Ok(())
});

contract!(a_client_can_be_bound, |rig| {
    let local = free_address!(rig);
    let listener = rig.listener()?;
    let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
    let (client, server) = rig.pair_at(listener, &spec)?;
    assert_eq!(rig.reactor.local_addr(client)?, local);
    assert_eq!(rig.reactor.peer_addr(server)?, local);
    Ok(())
});

contract!(a_taken_address_is_an_error_at_once, |rig| {
    let listener = rig.listener()?;
    let taken = rig.reactor.local_addr(listener)?;
    let spec = OpenSpec { local: Some(&taken), ..OpenSpec::default() };
    let before = rig.reactor.counters().sockets;
    let err = rig.listen(&spec, 16).err().ok_or("refused")?;
    // Which of the two calls notices is the system's affair.
    assert!(matches!(err.op, Op::Bind | Op::Listen), "{err}");
    assert_eq!(err.errno, libc::EADDRINUSE);
    assert_eq!(rig.reactor.counters().sockets, before, "no id is consumed");
    Ok(())
});

contract!(an_address_of_another_machine_is_an_error_at_once, |rig| {
    // TEST-NET-1 (RFC 5737): no machine has it.
    let far: Address = std::net::SocketAddr::from(([192, 0, 2, 1], 0)).into();
    let spec = OpenSpec { local: Some(&far), ..OpenSpec::default() };
    let err = rig.listen(&spec, 16).err().ok_or("refused")?;
    assert_eq!((err.op, err.errno), (Op::Bind, libc::EADDRNOTAVAIL));
    Ok(())
});

contract!(a_listener_without_an_address_is_an_error_or_gets_one, |rig| {
    let spec = OpenSpec { family: Family::Ipv4, ..OpenSpec::default() };
    if let Ok(listener) = rig.listen(&spec, 16) {
        assert!(rig.reactor.local_addr(listener)?.port().is_some_and(|port| port != 0));
    }
    Ok(())
});

contract!(records_are_refused_where_there_are_none, |rig| {
    let local = loopback(0);
    let spec = OpenSpec { kind: Kind::SeqPacket, local: Some(&local), ..OpenSpec::default() };
    let before = rig.reactor.counters().sockets;
    assert!(rig.listen(&spec, 16).is_err(), "IP has no record sockets");
    assert_eq!(rig.reactor.counters().sockets, before, "no id is consumed");
    Ok(())
});

contract!(a_hundred_connects_in_one_batch_all_come_through, |rig| {
    let listener = rig.listener()?;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(rig.client(listener)?);
    }
    rig.until("all connected and accepted", |world| {
        world[listener].children.len() == 100
            && clients.iter().all(|&client| world[client].connected)
    });
    assert_eq!(rig.reactor.counters().accepted, 100);
    Ok(())
});

contract!(on descriptors: the_file_of_a_client_that_is_closed_early_is_its_owners, |rig| {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let address = |name| Address::local(at(name).into_os_string().into_encoded_bytes());
    let (server, ours) = (address("server")?, address("ours")?);
    rig.listen(&OpenSpec { local: Some(&server), ..OpenSpec::default() }, 16)?;
    let spec = OpenSpec { local: Some(&ours), ..OpenSpec::default() };
    let client = rig.connect(&spec, &server)?;
    rig.close(client, CloseHow::Now);
    rig.until("its end", |world| world.closed(client));
    assert!(at("ours").exists(), "what the owner ends is the owner's to tidy");
    std::fs::remove_file(at("ours"))?;
    let refused = rig.connect(&spec, &address("nobody")?)?;
    rig.until("its end", |world| world.closed(refused));
    assert!(!at("ours").exists(), "a connect that fails leaves nothing");
    Ok(())
});
