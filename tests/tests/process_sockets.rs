//! Sockets of every family and kind: what they carry, whom they hear, and what is refused. Files of
//! local servers and the identity of local peers are in `process_local.rs`.

use netproc::{
    Address, DatagramAddressError, Event, Family, Kind, Process, SendError, StartError, Status,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{Outcome, Rig},
    watch::shout,
};

fn address(text: &str) -> Address {
    text.parse().expect("a legal form")
}

/// The errno of a start that must fail.
fn refusal(made: Result<Process, StartError>) -> i32 {
    match made {
        Err(StartError::Sys { source, .. }) => source.errno,
        other => panic!("no refusal of the system: {other:?}"),
    }
}

/// A packet client of `server` that the system does not connect.
fn unconnected(rig: &Rig, server: &Process) -> Result<Process, StartError> {
    rig.client(server).datagram().connected(false).start()
}

/// `process`'s port at the loopback address: where others reach it.
fn reachable(process: &Process) -> Address {
    let port = process.contact().local().port().expect("a socket with a port");
    Address::from(([127, 0, 0, 1].into(), port))
}

conformance!(an_unconnected_client_has_no_port_until_its_first_packet, |rig| {
    let server = rig.server().datagram().start()?;
    let client = unconnected(rig, &server)?;
    let nowhere = address("[0 0 0 0 0]");
    assert_eq!(client.contact().local(), &nowhere);
    assert_eq!(client.contact().remote(), Some(server.contact().local()));
    rig.settle();
    assert_eq!(client.contact().local(), &nowhere, "nothing was sent yet");
    client.send("x")?;
    rig.until_bytes(&server, b"x");
    let local = client.contact().local().clone();
    assert_ne!(local, nowhere);
    assert_eq!(server.datagram_address(), Some(reachable(&client)));
    server.send("y")?;
    rig.until_bytes(&client, b"y");
    assert_eq!(client.contact().local(), &local, "stable");
    client.delete();
    assert_eq!(client.contact().local(), &local, "readable after the end");
    Ok(())
});

conformance!(the_peer_of_an_unconnected_client_is_whoever_sent_last, |rig| {
    let (one, two) = (rig.server().datagram().start()?, rig.server().datagram().start()?);
    let client = unconnected(rig, &one)?;
    let log = rig.log.clone();
    client.set_filter(move |client, input| {
        log.input(client, &input);
        log.note(client, format!("{}", client.datagram_address().expect("somebody sent it")));
        client.send(input)
    });
    client.send("first")?;
    rig.until_bytes(&one, b"first");
    for peer in [&two, &one, &two] {
        rig.log.clear();
        peer.send_to("hello", &reachable(&client))?;
        rig.until_bytes(peer, b"hello");
        let seen = [r#""hello" (open)"#.into(), format!("{} (open)", peer.contact().local())];
        assert_eq!(rig.log.of(&client), seen, "the peer is new before the filter runs");
        assert_eq!(client.contact().remote(), Some(peer.contact().local()));
    }
    Ok(())
});

conformance!(a_connected_client_hears_its_peer_only, |rig| {
    let (one, two) = (rig.server().datagram().start()?, rig.server().datagram().start()?);
    let client = rig.client(&one).datagram().start()?;
    two.send_to("stranger", client.contact().local())?;
    rig.settle();
    one.send_to("peer", client.contact().local())?;
    rig.until_bytes(&client, b"peer");
    rig.settle();
    assert_eq!(rig.log.bytes_of(&client), b"peer");
    Ok(())
});

conformance!(forty_peers_of_one_unconnected_client_get_their_own_answers, |rig| {
    let dead = rig.server().datagram().start()?;
    let client = unconnected(rig, &dead)?;
    client.send("a port, please")?;
    rig.until("its packet", || rig.log.len_of(&dead) > 0);
    client.set_filter(Process::send);
    let at = reachable(&client);
    let peers: Vec<_> =
        (0..40).map(|_| rig.server().datagram().start()).collect::<Result<_, _>>()?;
    for round in 0..3 {
        for (number, peer) in peers.iter().enumerate() {
            peer.send_to(format!("{number} in round {round}"), &at)?;
        }
        rig.until("this round", || {
            peers.iter().all(|peer| rig.log.inputs_of(peer).len() == round + 1)
        });
    }
    for (number, peer) in peers.iter().enumerate() {
        let own = |round| format!("{number} in round {round}").into_bytes();
        assert_eq!(rig.log.inputs_of(peer), (0..3).map(own).collect::<Vec<_>>());
    }
    Ok(())
});

conformance!(an_unconnected_client_hears_of_no_refused_port, |rig| {
    let dead = rig.server().datagram().start()?;
    let client = unconnected(rig, &dead)?;
    let sockets = rig.rt.stats().sockets;
    dead.delete();
    rig.until("its socket closed", || rig.rt.stats().sockets < sockets);
    client.send("anybody?")?;
    rig.settle();
    assert_eq!(rig.log.of(&client), [""; 0]);
    let alive = rig.server().datagram().start()?;
    client.set_datagram_address(alive.contact().local())?;
    client.send("somebody")?;
    rig.until_bytes(&alive, b"somebody");
    Ok(())
});

/// One of each that can talk to `first`: connected, not connected, a server.
fn talkers(rig: &Rig, first: &Process) -> Result<[Process; 3], StartError> {
    let to = first.contact().local().clone();
    Ok([
        rig.client(first).datagram().start()?,
        unconnected(rig, first)?,
        rig.server().datagram().remote(to).start()?,
    ])
}

conformance!(a_peer_that_is_set_gets_what_is_sent_afterwards, |rig| {
    let (one, two) = (rig.server().datagram().start()?, rig.server().datagram().start()?);
    for process in talkers(rig, &one)? {
        rig.log.clear();
        // Nothing has left when the peer is changed: each packet keeps the one of its time.
        process.send("one")?;
        process.set_datagram_address(two.contact().local())?;
        process.send("two")?;
        process.set_datagram_address(one.contact().local())?;
        process.send("one")?;
        rig.until("three packets", || rig.log.len_of(&one) + rig.log.len_of(&two) == 9);
        assert_eq!(rig.log.inputs_of(&one), [b"one", b"one"]);
        assert_eq!(rig.log.inputs_of(&two), [b"two"]);
        process.set_datagram_address(two.contact().local())?;
        assert_eq!(process.datagram_address().as_ref(), Some(two.contact().local()));
        assert_eq!(process.contact().remote(), Some(two.contact().local()));
        assert_eq!(two.datagram_address(), Some(reachable(&process)));
        two.send("answer")?;
        rig.until_bytes(&process, b"answer");
    }
    Ok(())
});

conformance!(a_peer_that_cannot_be_is_refused_and_the_old_one_kept, |rig| {
    let server = rig.server().datagram().start()?;
    let own = Family::Ipv4;
    let family = |given| DatagramAddressError::Family { own, given };
    let bad = [
        (address("[0 0 0 0 0 0 0 1 9]"), family(Family::Ipv6)),
        (address("\"/name\""), family(Family::Local)),
        (address("(77 . [1 2 3])"), family(Family::Other(77))),
        (address("[127 0 0 1 0]"), DatagramAddressError::Nobody),
    ];
    for process in talkers(rig, &server)? {
        for (to, why) in &bad {
            assert_eq!(process.set_datagram_address(to), Err(*why), "{to}");
            assert_eq!(process.datagram_address().as_ref(), Some(server.contact().local()));
        }
        rig.log.clear();
        process.send("kept")?;
        rig.until_bytes(&server, b"kept");
        process.delete();
        assert_eq!(process.datagram_address(), None, "after the end");
        let ended = Err(DatagramAddressError::NotOpen(Status::Closed));
        assert_eq!(process.set_datagram_address(server.contact().local()), ended);
    }
    let (_server, stream, _child) = rig.pair()?;
    let refused = stream.set_datagram_address(server.contact().local());
    assert_eq!(refused, Err(DatagramAddressError::NotDatagram));
    Ok(())
});

conformance!(a_connected_client_keeps_its_peer_when_the_system_refuses_another, |rig| {
    let folder = tempfile::tempdir()?;
    let at = |name| Address::local(folder.path().join(name).as_os_str().as_encoded_bytes());
    let server = rig.server().datagram().local(at("server")?).start()?;
    let client = rig.client(&server).datagram().start()?;
    let refused = client.set_datagram_address(&at("nobody")?);
    let Err(DatagramAddressError::Connected(err)) = refused else { panic!("{refused:?}") };
    assert_eq!(err.errno, libc::ENOENT);
    assert_eq!(client.datagram_address().as_ref(), Some(server.contact().local()));
    client.send("kept")?;
    rig.until_bytes(&server, b"kept");
    let refused = client.set_datagram_address(&Address::unnamed());
    assert_eq!(refused, Err(DatagramAddressError::Nobody));
    Ok(())
});

conformance!(broadcasts_want_the_option, |rig| {
    let server = rig.server().datagram().local(address("[0 0 0 0 0]")).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let everybody = Address::from(([127, 255, 255, 255].into(), port));
    let client = || rig.client_at(everybody.clone()).datagram();
    assert_eq!(refusal(client().start()), libc::EACCES);
    let refused = client().connected(false).start()?;
    refused.send("x")?;
    rig.until_line(&refused, "trouble with code 13 (open)");
    assert_eq!(refused.status(), Status::Open);
    for connected in [true, false] {
        rig.log.clear();
        client().connected(connected).broadcast(true).start()?.send("to all")?;
        rig.until_bytes(&server, b"to all");
    }
    Ok(())
});

conformance!(empty_packets_go_both_ways, |rig| {
    let folder = tempfile::tempdir()?;
    let at = |name| Address::local(folder.path().join(name).as_os_str().as_encoded_bytes());
    for local in [false, true] {
        let mut server = rig.echo().datagram();
        if local {
            server = server.local(at("server")?);
        }
        let server = server.start()?;
        let mut client = rig.client(&server).datagram().connected(false);
        if local {
            client = client.local(at("client")?);
        }
        let client = client.start()?;
        for packet in ["", "x", ""] {
            client.send(packet)?;
        }
        rig.until("the answers", || rig.log.inputs_of(&client).len() == 3);
        assert_eq!(rig.log.inputs_of(&client), [b"".to_vec(), b"x".to_vec(), vec![]], "{local}");
    }
    Ok(())
});

conformance!(a_packet_longer_than_the_family_carries_is_trouble_for_its_client, |rig| {
    for (family, longest) in [(Family::Ipv4, 65_507), (Family::Ipv6, 65_527)] {
        let server = rig.server().datagram().family(family).start()?;
        let client = unconnected(rig, &server)?;
        client.send(pattern(5, longest))?;
        rig.until_bytes(&server, &pattern(5, longest));
        client.send(vec![0; longest + 1])?;
        rig.until_line(&client, "trouble with code 90 (open)");
        client.send("lives")?;
        rig.until("the last", || rig.log.inputs_of(&server).len() == 2);
        assert_eq!(rig.log.inputs_of(&server)[1], b"lives");
        assert_eq!(client.status(), Status::Open);
    }
    Ok(())
});

conformance!(
    local_packets_and_records_too_long_for_their_slot_say_what_was_lost,
    |config| {
        config.packet_len = 1_000;
    },
    |rig| {
        for kind in [Kind::Datagram, Kind::SeqPacket] {
            let folder = tempfile::tempdir()?;
            let server = rig.rt.server("srv").family(Family::Local).kind(kind);
            let server = server.service(&*folder.path().join("s")).start()?;
            let client = rig.client(&server).kind(kind).start()?;
            for (len, lost) in [(999, 0), (1_000, 0), (1_001, 1), (9_000, 8_000)] {
                client.send(pattern(3, len))?;
                let input = loop {
                    if let Event::Input(input) = rig.next().1 {
                        break input;
                    }
                };
                let kept = &pattern(3, len.min(1_000))[..];
                assert_eq!((&*input, input.lost()), (kept, lost), "{kind:?}, {len} bytes");
            }
        }
        Ok(())
    }
);

conformance!(a_family_nobody_has_is_the_systems_refusal, |rig| {
    let far = address("(77 . [1 2 3])");
    for kind in [Kind::Stream, Kind::Datagram, Kind::SeqPacket] {
        let client = || rig.client_at(far.clone()).kind(kind);
        assert_eq!(refusal(client().start()), libc::EAFNOSUPPORT, "{kind:?}");
        assert_eq!(refusal(client().nowait(true).start()), libc::EAFNOSUPPORT, "{kind:?}");
        let server = rig.server().kind(kind).local(far.clone());
        assert_eq!(refusal(server.start()), libc::EAFNOSUPPORT, "{kind:?}");
    }
    let client = rig.client_at(far).datagram().connected(false);
    assert_eq!(refusal(client.start()), libc::EAFNOSUPPORT);
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

conformance!(a_remote_of_another_family_is_refused, |rig| {
    let (four, six) = (address("[127 0 0 1 0]"), address("[0 0 0 0 0 0 0 1 9]"));
    for kind in [Kind::Stream, Kind::Datagram] {
        let client = rig.client_at(six.clone()).kind(kind).local(four.clone());
        assert_eq!(refusal(client.start()), libc::EAFNOSUPPORT, "{kind:?}");
    }
    let client = rig.client_at(six.clone()).datagram().connected(false).local(four.clone());
    assert_eq!(refusal(client.start()), libc::EAFNOSUPPORT);
    let server = rig.server().datagram().local(four).remote(six);
    assert_eq!(refusal(server.start()), libc::EAFNOSUPPORT);
    assert_eq!(rig.rt.process_list(), []);
    let stream = rig.client_at(address("[127 0 0 1 9]")).connected(false).start();
    assert!(matches!(stream, Err(StartError::Incompatible(_))), "{stream:?}");
    Ok(())
});

/// A request for all network interfaces, as `rtnetlink(7)` has it, with this number.
#[cfg(target_os = "linux")]
fn interfaces(number: u32) -> Vec<u8> {
    let (len, kind, flags) = (32u32, libc::RTM_GETLINK, libc::NLM_F_REQUEST | libc::NLM_F_DUMP);
    let flags = u16::try_from(flags).expect("two small flags");
    let header = [len.to_ne_bytes(), number.to_ne_bytes(), [0; 4]];
    let kind = [kind.to_ne_bytes(), flags.to_ne_bytes()].concat();
    [&header[0][..], &kind, &header[1], &header[2], &[0; 16]].concat()
}

/// Asks the kernel for its interfaces over `client` and waits for the loopback among them.
#[cfg(target_os = "linux")]
fn ask_kernel(rig: &Rig, client: &Process, number: u32) -> Outcome {
    rig.log.clear();
    client.send(interfaces(number))?;
    rig.until("an answer", || !rig.log.inputs_of(client).is_empty());
    let answer = rig.log.inputs_of(client).swap_remove(0);
    assert_eq!(answer[4..6], libc::RTM_NEWLINK.to_ne_bytes());
    assert_eq!(answer[8..12], number.to_ne_bytes(), "the number of our request");
    assert!(answer.windows(3).any(|name| name == b"lo\0"), "the loopback interface");
    Ok(())
}

// Netlink sockets are the ones of a raw family that every kernel has and everybody may open.
#[cfg(target_os = "linux")]
conformance!(on (poll epoll uring): packets_of_a_raw_family_reach_the_kernel_and_come_back, |rig| {
    let kernel = Address::other(16, &[0; 10])?;
    for (number, connected) in [(7, true), (8, false)] {
        let client = rig.client_at(kernel.clone()).datagram().connected(connected);
        let client = match client.start() {
            Err(StartError::Sys { source, .. }) if source.errno == libc::EAFNOSUPPORT => {
                shout(&format!("left out: no netlink here: {source}"));
                return Ok(());
            }
            made => made?,
        };
        assert_eq!(client.contact().remote(), Some(&kernel));
        ask_kernel(rig, &client, number)?;
        assert_eq!(client.datagram_address().as_ref(), Some(&kernel), "the kernel answered");
        let short = Address::other(16, &[0; 9])?;
        let refused = client.set_datagram_address(&short);
        assert_eq!(refused, Err(DatagramAddressError::Length { own: 10, given: 9 }));
        client.set_datagram_address(&kernel)?;
        ask_kernel(rig, &client, number + 10)?;
    }
    let server = rig.server().datagram().local(kernel.clone()).remote(kernel).start()?;
    assert_eq!(server.contact().local().family(), Family::Other(16));
    ask_kernel(rig, &server, 30)
});

conformance!(on (poll epoll uring): a_server_on_every_address_sees_ipv4_peers_mapped, |rig| {
    let everywhere = address("[0 0 0 0 0 0 0 0 0]");
    let server = rig.server().local(everywhere.clone()).start()?;
    let bound = server.contact().local().clone();
    assert_eq!(bound.to_vector().map(|vector| vector[..8].to_vec()), Some(vec![0; 8]));
    let port = bound.port().ok_or("a port")?;
    let client = rig.client_at(Address::from(([127, 0, 0, 1].into(), port))).start()?;
    let child = rig.child(&server);
    let mapped = |port| Address::from_vector(&[0, 0, 0, 0, 0, 65_535, 32_512, 1, i64::from(port)]);
    let of_client = mapped(client.contact().local().port().ok_or("a port")?)?;
    for _ in 0..3 {
        assert_eq!(child.contact().remote(), Some(&of_client));
        assert_eq!(child.contact().local(), &mapped(port)?);
        client.send("x")?;
        rig.until("it", || rig.log.len_of(&child) > 0);
        rig.log.clear();
    }
    client.delete();
    rig.until("the end", || child.status() == Status::Closed);
    assert_eq!(child.contact().remote(), Some(&of_client), "after the end");
    let six = Address::from(([0u16, 0, 0, 0, 0, 0, 0, 1].into(), port));
    rig.client_at(six).start()?.send("six")?;
    rig.until("it", || rig.log.lines().iter().any(|line| line.starts_with("child: \"six\"")));
    Ok(())
});

conformance!(on (poll epoll uring): a_packet_server_on_every_address_answers_ipv4_peers, |rig| {
    let server = rig.echo().datagram().local(address("[0 0 0 0 0 0 0 0 0]")).start()?;
    let client = rig.client_at(reachable(&server)).datagram().start()?;
    client.send("x")?;
    rig.until_bytes(&client, b"x");
    let peer = server.datagram_address().and_then(|peer| peer.to_vector()).ok_or("a peer")?;
    assert_eq!(peer[..8], [0, 0, 0, 0, 0, 65_535, 32_512, 1]);
    Ok(())
});

conformance!(local_sockets_of_every_kind_carry_under_paths_and_abstract_names, |rig| {
    let folder = tempfile::tempdir()?;
    for kind in [Kind::Stream, Kind::Datagram, Kind::SeqPacket] {
        for hidden in [false, true] {
            let name = |end: &str| {
                let path = folder.path().join(format!("{kind:?} {end}"));
                let path = path.as_os_str().as_encoded_bytes();
                Address::local(if hidden { [b"\0", path].concat() } else { path.to_vec() })
            };
            let (here, there) = (name("client")?, name("server")?);
            let server = rig.echo().kind(kind).local(there.clone()).start()?;
            assert_eq!(server.contact().local(), &there);
            let client = rig.client(&server).kind(kind).local(here.clone()).start()?;
            assert_eq!(client.contact().local(), &here);
            client.send("hello")?;
            rig.until_bytes(&client, b"hello");
            let peer = match kind {
                Kind::Datagram => server.contact().remote().cloned(),
                Kind::Stream | Kind::SeqPacket => rig.child(&server).contact().remote().cloned(),
            };
            assert_eq!(peer.as_ref(), Some(&here), "{kind:?}, hidden: {hidden}");
            rig.log.clear();
        }
    }
    Ok(())
});

conformance!(a_local_path_has_107_bytes_at_most, |rig| {
    let folder = tempfile::tempdir()?;
    let base = folder.path().as_os_str().len() + 1;
    let path = |len: usize| folder.path().join("x".repeat(len - base));
    let server = rig.echo().family(Family::Local).service(&*path(107)).start()?;
    let client = rig.connect(&server)?;
    client.send("x")?;
    rig.until_bytes(&client, b"x");
    let sockets = rig.rt.stats().sockets;
    let refused = rig.server().family(Family::Local).service(&*path(108)).start();
    assert!(matches!(refused, Err(StartError::Address(_))), "{refused:?}");
    let refused = rig.rt.client("c").family(Family::Local).service(&*path(108)).start();
    assert!(matches!(refused, Err(StartError::Address(_))), "{refused:?}");
    assert_eq!((rig.rt.stats().sockets, path(108).exists()), (sockets, false));
    Ok(())
});

conformance!(a_nameless_local_sender_leaves_nobody_to_answer, |rig| {
    let folder = tempfile::tempdir()?;
    let at = Address::local(folder.path().join("s").as_os_str().as_encoded_bytes())?;
    let server = rig.server().datagram().local(at).start()?;
    let named = folder.path().join("named");
    let named = Address::local(named.as_os_str().as_encoded_bytes())?;
    let named = rig.client(&server).datagram().connected(false).local(named).start()?;
    let nameless = unconnected(rig, &server)?;
    assert_eq!(nameless.contact().local(), &Address::unnamed());
    named.send("a")?;
    rig.until_bytes(&server, b"a");
    assert_eq!(server.datagram_address().as_ref(), Some(named.contact().local()));
    nameless.send("b")?;
    rig.until_bytes(&server, b"ab");
    assert_eq!(server.datagram_address(), None, "not the one before");
    assert_eq!(server.send("y"), Err(SendError::NoPeer));
    assert_eq!(nameless.contact().local(), &Address::unnamed(), "sending gives it no name");
    Ok(())
});
