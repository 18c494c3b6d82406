//! Families, names and options: what is bound is what is reported, on every family.

use netproc_core::{
    address::{Address, Family},
    options::SockOption,
    reactor::{Kind, Op, OpenSpec, Reactor},
};
use netproc_tests::{
    contract,
    contract::{Outcome, Rig, loopback},
};

/// Listens on `local`, connects and exchanges a word each way.
fn exchange<R: Reactor>(rig: &mut Rig<R>, local: &Address, options: &[SockOption]) -> Outcome {
    let spec = OpenSpec { local: Some(local), options, ..OpenSpec::default() };
    let listener = rig.listen(&spec, 16)?;
    let at = rig.reactor.local_addr(listener)?;
    assert_eq!(at.family(), local.family());
    assert!(at.port() != Some(0), "a real port: {at}");
    let (client, server) = rig
        .pair_at(listener, &OpenSpec { family: local.family(), options, ..OpenSpec::default() })?;
    assert_eq!(rig.reactor.peer_addr(client)?, at);
    assert_eq!(rig.reactor.local_addr(server)?, at);
    rig.send(client, "ping");
    rig.send(server, "pong");
    rig.until("a word each way", |world| {
        world[server].data == b"ping" && world[client].data == b"pong"
    });
    Ok(())
}

contract!(ipv4_carries, |rig| { exchange(rig, &loopback(0), &[]) });

contract!(ipv6_carries, |rig| {
    let local: Address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)).into();
    exchange(rig, &local, &[])
});

contract!(a_local_path_carries, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("here").into_os_string().into_encoded_bytes();
    exchange(rig, &Address::local(path)?, &[])
});

contract!(an_abstract_name_carries_where_there_are_some, |rig| {
    let name = format!("\0netproc-{}-{}", std::process::id(), rig.reactor.caps().name);
    let local = Address::local(name)?;
    assert!(rig.reactor.caps().abstract_names || cfg!(not(target_os = "linux")), "Linux has them");
    if rig.reactor.caps().abstract_names { exchange(rig, &local, &[]) } else { Ok(()) }
});

contract!(a_clients_end_of_a_local_connection_has_no_name, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("here").into_os_string().into_encoded_bytes();
    let local = Address::local(path)?;
    let listener = rig.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 16)?;
    let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
    assert_eq!(rig.reactor.local_addr(client)?, Address::unnamed());
    assert_eq!(rig.reactor.peer_addr(server)?, Address::unnamed());
    Ok(())
});

contract!(a_path_in_use_is_taken, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("here").into_os_string().into_encoded_bytes();
    let local = Address::local(path)?;
    let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
    rig.listen(&spec, 16)?;
    let err = rig.listen(&spec, 16).err().ok_or("refused")?;
    assert_eq!((err.op, err.errno), (Op::Bind, libc::EADDRINUSE));
    Ok(())
});

contract!(port_zero_is_a_new_port_each_time, |rig| {
    let (first, second) = (rig.listener()?, rig.listener()?);
    assert_ne!(rig.reactor.local_addr(first)?, rig.reactor.local_addr(second)?);
    Ok(())
});

contract!(ipv6_packets_carry, |rig| {
    let local: Address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)).into();
    let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
    let (a, b) = (rig.datagram(&spec, None)?, rig.datagram(&spec, None)?);
    let to = rig.reactor.local_addr(b)?;
    rig.send_to(a, "six", &to);
    rig.until("it", |world| world[b].data == b"six");
    let from = rig.reactor.local_addr(a)?;
    assert_eq!(rig.world[b].records[0].from, Some(from));
    Ok(())
});

contract!(options_are_set_before_bind_and_on_clients, |rig| {
    let options = [
        SockOption::ReuseAddr(true),
        SockOption::KeepAlive(true),
        SockOption::NoDelay(true),
        SockOption::OobInline(true),
        SockOption::DontRoute(false),
        SockOption::Linger(Some(3)),
        SockOption::Linger(None),
        SockOption::RecvBuffer(10_000),
        SockOption::SendBuffer(10_000),
    ];
    exchange(rig, &loopback(0), &options)
});

contract!(options_can_be_set_on_an_open_socket, |rig| {
    let (client, server) = rig.pair()?;
    for option in [
        SockOption::NoDelay(true),
        SockOption::NoDelay(false),
        SockOption::KeepAlive(true),
        SockOption::Linger(Some(1)),
        SockOption::RecvBuffer(10_000),
        SockOption::SendBuffer(10_000),
    ] {
        rig.reactor.set_option(client, &option)?;
        rig.reactor.set_option(server, &option)?;
    }
    Ok(())
});

contract!(on descriptors: an_option_the_system_refuses_aborts_the_opening, |rig| {
    let before = rig.reactor.counters().sockets;
    let local = loopback(0);
    let options = [SockOption::BindToDevice(Some("no-such-interface".into()))];
    let spec = OpenSpec { local: Some(&local), options: &options, ..OpenSpec::default() };
    let err = rig.listen(&spec, 16).err().ok_or("refused")?;
    assert_eq!(err.op, Op::Option);
    assert!(rig.connect(&OpenSpec { local: None, ..spec }, &loopback(9)).is_err());
    assert!(rig.datagram(&spec, None).is_err());
    assert_eq!(rig.reactor.counters().sockets, before, "no id is consumed");
    Ok(())
});

contract!(an_address_in_use_can_be_shared_by_reactors, |rig| {
    if !rig.reactor.caps().reuse_port_balances {
        return Ok(());
    }
    let mut other = rig.another();
    let local = loopback(0);
    let spec = OpenSpec { local: Some(&local), reuse_port: true, ..OpenSpec::default() };
    let first = rig.listen(&spec, 64)?;
    let shared = rig.reactor.local_addr(first)?;
    let spec = OpenSpec { local: Some(&shared), reuse_port: true, ..OpenSpec::default() };
    // A second simulation is another world; there both listeners live in one reactor.
    let simulated = rig.reactor.caps().name == "sim";
    let second = if simulated { rig.listen(&spec, 64)? } else { other.listen(&spec, 64)? };
    for _ in 0..64 {
        rig.client(first)?;
    }
    rig.settle();
    other.settle();
    let mine = rig.world[first].children.len();
    let theirs = if simulated { &rig.world } else { &other.world }[second].children.len();
    assert_eq!(mine + theirs, 64);
    assert!(mine > 0 && theirs > 0, "{mine} here, {theirs} there");
    other.tear_down();
    Ok(())
});

contract!(an_address_is_not_shared_unasked, |rig| {
    let local = loopback(0);
    let first = rig.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 16)?;
    let taken = rig.reactor.local_addr(first)?;
    let spec = OpenSpec { local: Some(&taken), reuse_port: true, ..OpenSpec::default() };
    assert_eq!(rig.listen(&spec, 16).err().map(|err| err.errno), Some(libc::EADDRINUSE));
    Ok(())
});

contract!(a_family_nobody_has_is_an_error_at_once, |rig| {
    let before = rig.reactor.counters().sockets;
    let far = Address::other(250, &[1, 2, 3])?;
    assert!(rig.connect(&OpenSpec::default(), &far).is_err());
    let spec = OpenSpec { local: Some(&far), ..OpenSpec::default() };
    assert!(rig.listen(&spec, 16).is_err());
    assert!(
        rig.datagram(&OpenSpec { family: Family::Other(250), ..OpenSpec::default() }, None)
            .is_err()
    );
    assert_eq!(rig.reactor.counters().sockets, before, "no id is consumed");
    Ok(())
});

contract!(capabilities_name_the_mechanism, |rig| {
    let caps = rig.reactor.caps();
    assert!(["sim", "poll", "epoll", "io_uring"].contains(&caps.name), "{}", caps.name);
    assert_eq!(caps.packet_len_max, rig.config.packet_len);
    assert_eq!(OpenSpec::default().kind, Kind::Stream);
    Ok(())
});
