//! Packets and records: each is one call of the filter, an empty one too.

use std::{cell::RefCell, rc::Rc};

use netproc::{
    Address, Event, Family, Kind, Limits, Process, SendError, ServerBuilder, StartError, Status,
};
use netproc_tests::{conformance, contract::pattern, rig::Rig};

/// A packet server that sends everything back, and a client of it.
fn echo(rig: &Rig) -> netproc::Result<(Process, Process)> {
    let server = rig.echo().datagram().start()?;
    let client = rig.client(&server).datagram().start()?;
    Ok((server, client))
}

conformance!(packets_come_back_whole_and_in_order, |rig| {
    let (server, client) = echo(rig)?;
    assert_eq!((server.status(), client.status()), (Status::Open, Status::Open));
    assert_eq!((server.kind(), client.kind()), (Kind::Datagram, Kind::Datagram));
    let packets: Vec<_> = [1, 2, 1_000, 0, 9_000].map(|len| pattern(7, len)).into();
    for packet in &packets {
        client.send(packet.clone())?;
    }
    rig.until("every answer", || rig.log.inputs_of(&client).len() == packets.len());
    assert_eq!(rig.log.inputs_of(&client), packets);
    Ok(())
});

conformance!(a_bound_on_inputs_cuts_no_packet, |rig| {
    rig.rt.set_input_len_max(4);
    let (_server, client) = echo(rig)?;
    let packets = [pattern(1, 10), pattern(2, 4), pattern(3, 5_000)];
    for packet in &packets {
        client.send(packet.clone())?;
    }
    rig.until("every answer", || rig.log.inputs_of(&client).len() == packets.len());
    assert_eq!(rig.log.inputs_of(&client), packets);
    Ok(())
});

conformance!(an_empty_packet_is_input_and_ends_nothing, |rig| {
    let (server, client) = echo(rig)?;
    for _ in 0..3 {
        client.send("")?;
    }
    client.send("x")?;
    rig.until("the answers", || rig.log.inputs_of(&client).len() == 4);
    assert_eq!(rig.log.inputs_of(&client), [b"".to_vec(), vec![], vec![], b"x".to_vec()]);
    assert_eq!((server.status(), client.status()), (Status::Open, Status::Open));
    Ok(())
});

conformance!(empty_packets_go_out_behind_a_delete, |rig| {
    let server = rig.server().datagram().start()?;
    let client = rig.client(&server).datagram().start()?;
    client.send("")?;
    client.delete();
    rig.until("the packet", || rig.log.inputs_of(&server).len() == 1);
    assert_eq!(rig.log.inputs_of(&server), [b"".to_vec()]);
    Ok(())
});

conformance!(the_peer_is_the_sender_of_the_last_packet, |rig| {
    let server = rig.server().datagram().start()?;
    assert_eq!(server.datagram_address(), None);
    assert_eq!(server.send("x"), Err(SendError::NoPeer));
    let clients =
        [rig.client(&server).datagram().start()?, rig.client(&server).datagram().start()?];
    for client in [&clients[0], &clients[1], &clients[0]] {
        assert_eq!(client.datagram_address().as_ref(), Some(server.contact().local()));
        rig.log.clear();
        client.send("x")?;
        rig.until_bytes(&server, b"x");
        assert_eq!(server.datagram_address().as_ref(), Some(client.contact().local()));
        assert_eq!(server.contact().remote(), Some(client.contact().local()));
        server.send("for you")?;
        rig.until_bytes(client, b"for you");
    }
    Ok(())
});

conformance!(answers_go_to_the_sender_of_each_packet, |rig| {
    let (server, _client) = echo(rig)?;
    let clients: Vec<_> =
        (0..40).map(|_| rig.client(&server).datagram().start()).collect::<Result<_, _>>()?;
    for round in 0..5 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number} in round {round}"))?;
        }
        rig.until("this round", || {
            clients.iter().all(|client| rig.log.inputs_of(client).len() == round + 1)
        });
    }
    for (number, client) in clients.iter().enumerate() {
        let own = |round| format!("{number} in round {round}").into_bytes();
        assert_eq!(rig.log.inputs_of(client), (0..5).map(own).collect::<Vec<_>>());
    }
    Ok(())
});

conformance!(a_packet_may_go_to_anybody, |rig| {
    let (one, two) = (rig.server().datagram().start()?, rig.server().datagram().start()?);
    let to = two.contact().local().clone();
    one.send_to("hello", &to)?;
    one.send_to("", &to)?;
    rig.until("both", || rig.log.inputs_of(&two).len() == 2);
    assert_eq!(rig.log.inputs_of(&two), [b"hello".to_vec(), vec![]]);
    assert_eq!(two.datagram_address().as_ref(), Some(one.contact().local()));
    assert_eq!(one.datagram_address(), None, "sending makes nobody the peer");
    let (_server, stream, _child) = rig.pair()?;
    assert_eq!(stream.send_to("x", &to), Err(SendError::NoPeer));
    assert_eq!(stream.datagram_address(), None);
    Ok(())
});

conformance!(a_server_may_be_given_its_first_peer, |rig| {
    let one = rig.server().datagram().start()?;
    let two = rig.server().datagram().remote(one.contact().local().clone()).start()?;
    assert_eq!(two.datagram_address().as_ref(), Some(one.contact().local()));
    two.send("first")?;
    rig.until_bytes(&one, b"first");
    Ok(())
});

conformance!(the_longest_packet_is_whole_and_a_longer_one_trouble, |rig| {
    let (server, client) = echo(rig)?;
    let longest = pattern(1, 65_507);
    client.send(longest.clone())?;
    rig.until_bytes(&client, &longest);
    client.send(vec![0; 65_508])?;
    rig.until_line(&client, "trouble with code 90 (open)");
    client.send("lives")?;
    rig.until("an answer", || rig.log.inputs_of(&client).len() == 2);
    assert_eq!((server.status(), client.status()), (Status::Open, Status::Open));
    Ok(())
});

conformance!(
    a_packet_too_long_for_its_slot_says_what_was_lost,
    |config| {
        config.packet_len = 1_000;
    },
    |rig| {
        let server = rig.rt.server("srv").datagram().start()?;
        let client = rig.client(&server).datagram().start()?;
        for (len, lost) in [(999, 0), (1_000, 0), (1_001, 1), (9_000, 8_000)] {
            client.send(pattern(3, len))?;
            let (_, event) = rig.next();
            let Event::Input(input) = event else { return Err("no input".into()) };
            assert_eq!((&*input, input.lost()), (&pattern(3, len.min(1_000))[..], lost), "{len}");
        }
        Ok(())
    }
);

conformance!(a_refused_packet_is_trouble_for_a_client_and_ends_nothing, |rig| {
    let dead = rig.server().datagram().start()?;
    let client = rig.client(&dead).datagram().start()?;
    let sockets = rig.rt.stats().sockets;
    dead.delete();
    rig.until("its socket closed", || rig.rt.stats().sockets < sockets);
    client.send("anybody?")?;
    rig.until_line(&client, "trouble with code 111 (open)");
    assert_eq!(client.status(), Status::Open);
    Ok(())
});

conformance!(a_stopped_packet_process_gets_its_packets_later, |rig| {
    let server = rig.server().datagram().start()?;
    let client = rig.client(&server).datagram().start()?;
    server.stop();
    for word in ["a", "b"] {
        client.send(word)?;
    }
    rig.settle();
    assert_eq!(rig.log.of(&server), [""; 0]);
    server.resume();
    rig.until("both", || rig.log.inputs_of(&server) == [b"a", b"b"]);
    Ok(())
});

conformance!(an_ignoring_packet_server_reads_nothing, |rig| {
    let server = rig.server().datagram().start()?;
    let client = rig.client(&server).datagram().start()?;
    server.ignore_input();
    client.send("x")?;
    rig.settle();
    assert_eq!(rig.log.of(&server), [""; 0]);
    server.set_filter(rig.log.filter());
    rig.until_bytes(&server, b"x");
    Ok(())
});

#[cfg(target_os = "linux")]
conformance!(on (poll epoll uring): a_packet_server_may_have_the_address_of_another_unless_one_says_no, |rig| {
    let first = rig.server().datagram().start()?;
    let at = first.contact().local().clone();
    let second = rig.server().datagram().local(at.clone()).start()?;
    let client = rig.client(&first).datagram().start()?;
    client.send("whose?")?;
    rig.until_bytes(&second, b"whose?");
    assert_eq!(rig.log.of(&first), [""; 0]);
    let in_use = |server: ServerBuilder| match server.datagram().local(at.clone()).start() {
        Err(StartError::Sys { source, .. }) => source.errno == libc::EADDRINUSE,
        other => panic!("{other:?}"),
    };
    assert!(in_use(rig.server().reuseaddr(false)));
    assert!(in_use(rig.server().reuse_port(true)), "it is no default of those");
    first.delete();
    second.delete();
    let _own = rig.server().datagram().local(at.clone()).reuseaddr(false).start()?;
    assert!(in_use(rig.server()));
    Ok(())
});

conformance!(the_end_of_sending_means_nothing_to_packets, |rig| {
    let (server, client) = echo(rig)?;
    client.send_eof()?;
    server.send_eof()?;
    client.send("x")?;
    rig.until_bytes(&client, b"x");
    client.delete();
    assert_eq!(rig.log.of(&client).pop().as_deref(), Some("deleted (closed)"));
    assert!(client.send_eof().is_err());
    Ok(())
});

conformance!(packets_over_ipv6, |rig| {
    let server = rig.echo().datagram().family(Family::Ipv6).start()?;
    let client = rig.client(&server).datagram().start()?;
    client.send("x")?;
    rig.until_bytes(&client, b"x");
    assert_eq!(server.datagram_address().as_ref(), Some(client.contact().local()));
    Ok(())
});

conformance!(a_local_packet_without_a_name_has_no_peer_to_answer, |rig| {
    let folder = tempfile::tempdir()?;
    let at = |name| Address::local(folder.path().join(name).as_os_str().as_encoded_bytes());
    let server = rig.server().datagram().local(at("server")?).start()?;
    let client = rig.client(&server).datagram().start()?;
    client.send("x")?;
    rig.until_bytes(&server, b"x");
    assert_eq!(server.send("y"), Err(SendError::NoPeer));
    let named = rig.client(&server).datagram().local(at("client")?).start()?;
    named.send("z")?;
    rig.until_bytes(&server, b"xz");
    server.send("answer")?;
    rig.until_bytes(&named, b"answer");
    Ok(())
});

conformance!(a_record_is_one_call_of_the_filter, |rig| {
    let folder = tempfile::tempdir()?;
    let server = rig.echo().family(Family::Local).kind(Kind::SeqPacket);
    let server = server.service(&*folder.path().join("socket")).start()?;
    let client = rig.client(&server).kind(Kind::SeqPacket).start()?;
    // Which is for streams.
    rig.rt.set_input_len_max(4);
    let records: Vec<_> = [5, 1, 3_000, 20_000].map(|len| pattern(9, len)).into();
    for record in &records {
        client.send(record.clone())?;
    }
    rig.until("every answer", || rig.log.inputs_of(&client).len() == records.len());
    assert_eq!(rig.log.inputs_of(&client), records);
    let child = rig.child(&server);
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    Ok(())
});

/// A server of records, of whose answers no more than 16 may wait, and a client of it.
fn few_records(
    rig: &Rig,
    server: ServerBuilder,
) -> Result<(Process, Process, tempfile::TempDir), netproc::Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut limits = Limits::default();
    limits.queue_packets_max = 16;
    let server = server.family(Family::Local).kind(Kind::SeqPacket).limits(limits);
    let server = server.service(&*folder.path().join("socket")).start()?;
    let client = rig.client(&server).kind(Kind::SeqPacket).start()?;
    Ok((server, client, folder))
}

conformance!(an_echo_of_many_small_records_loses_none, |rig| {
    rig.rt.on_callback_error(|err| panic!("{err}"));
    let (_server, client, _folder) = few_records(rig, rig.echo())?;
    client.stop();
    for number in 0..3_000_u16 {
        client.send(number.to_be_bytes().to_vec())?;
    }
    rig.settle();
    client.resume();
    rig.until("all of them", || rig.log.inputs_of(&client).len() == 3_000);
    let all: Vec<_> = (0..3_000_u16).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(rig.log.inputs_of(&client), all);
    Ok(())
});

conformance!(there_is_no_room_while_as_many_packets_wait_as_may, |rig| {
    let (server, client, _folder) = few_records(rig, rig.server())?;
    client.stop();
    let child = rig.child(&server);
    while child.send("x").is_ok() {
        while child.send("x").is_ok() {}
        rig.settle();
    }
    let drained = || rig.log.of(&child).iter().filter(|line| line.contains("drained")).count();
    let before = drained();
    child.notify_drained();
    assert!(matches!(child.send("y"), Err(SendError::QueueFull { .. })));
    rig.settle();
    assert_eq!(drained(), before, "none has gone");
    client.resume();
    rig.until("room", || drained() > before);
    assert!(child.send("z").is_ok());
    Ok(())
});

conformance!(bytes_of_packets_stay_apart_whatever_the_coding, |rig| {
    let got: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let seen = Rc::clone(&got);
    let server = rig.rt.server("s").datagram().coding("utf-8");
    let server = server.filter(move |_, input| seen.borrow_mut().push(input.to_vec())).start()?;
    let (one, other) = (rig.client(&server).datagram(), rig.client(&server).datagram());
    let (one, other) = (one.start()?, other.start()?);
    let sent: [(&Process, &[u8]); 4] =
        [(&one, b"\xe2"), (&other, b""), (&other, b"\x82\xac"), (&one, b"z")];
    for (count, (client, bytes)) in sent.iter().enumerate() {
        client.send(bytes.to_vec())?;
        rig.until("it", || got.borrow().len() > count);
    }
    assert_eq!(*got.borrow(), sent.map(|(_, bytes)| bytes.to_vec()));
    Ok(())
});
