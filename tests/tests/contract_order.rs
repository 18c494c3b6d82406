//! Points 1 to 4: the order of events, one end for every id, bytes whole and in order, `Sent` sums.
//!
//! The rig checks the order and the sums on every event of every test; here is what provokes them.

use netproc_core::{
    pool::Buf,
    reactor::{CloseHow, Payload, Wait},
};
use netproc_tests::{
    contract,
    contract::{FLUSH, Mark, assert_bytes, pattern},
};

contract!(accepted_comes_before_the_childs_input, |rig| {
    let listener = rig.listener()?;
    let client = rig.client(listener)?;
    rig.send(client, "at once");
    rig.until("the input", |world| {
        world[listener].children.first().is_some_and(|&child| world[child].data == b"at once")
    });
    assert_eq!(rig.world[listener].marks, [Mark::Accepted]);
    Ok(())
});

contract!(connected_comes_first_and_once, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(server, "greeting");
    rig.until("the greeting", |world| world[client].data == b"greeting");
    assert_eq!(rig.world[client].marks[0], Mark::Connected);
    Ok(())
});

contract!(accepted_names_the_peer, |rig| {
    let (client, server) = rig.pair()?;
    let local = rig.reactor.local_addr(client)?;
    assert_eq!(rig.world[server].peer.as_ref(), Some(&local));
    assert_eq!(rig.reactor.peer_addr(server)?, local);
    assert_eq!(rig.reactor.peer_addr(client)?, rig.reactor.local_addr(server)?);
    Ok(())
});

contract!(an_end_of_either_side_closes_both_once, |rig| {
    let listener = rig.listener()?;
    for client_first in [true, false] {
        let (client, server) = rig.pair_at(listener, &Default::default())?;
        let (first, second) = if client_first { (client, server) } else { (server, client) };
        rig.close(first, CloseHow::Now);
        rig.until("the end of the one, Eof at the other", |world| {
            world.closed(first) && world[second].eof
        });
        rig.close(second, CloseHow::Now);
        rig.until("the end of the other", |world| world.closed(second));
        for id in [first, second] {
            assert_eq!(rig.world[id].errno(), None, "its owner closed it");
        }
    }
    Ok(())
});

contract!(both_sides_may_end_in_the_same_batch, |rig| {
    let listener = rig.listener()?;
    for how in [CloseHow::Now, FLUSH, CloseHow::Reset] {
        let (client, server) = rig.pair_at(listener, &Default::default())?;
        rig.close(client, how);
        rig.close(server, how);
        rig.until("two ends", |world| world.closed(client) && world.closed(server));
    }
    Ok(())
});

contract!(closing_twice_gives_one_closed, |rig| {
    let (client, server) = rig.pair()?;
    for id in [client, server] {
        rig.close(id, CloseHow::Now);
        rig.close(id, CloseHow::Now);
    }
    rig.until("two ends", |world| world.closed(client) && world.closed(server));
    rig.settle();
    Ok(())
});

contract!(a_closed_listener_ends_and_leaves_its_children_alone, |rig| {
    let listener = rig.echo()?;
    let (client, _) = rig.pair_at(listener, &Default::default())?;
    rig.close(listener, CloseHow::Now);
    rig.until("the listener's end", |world| world.closed(listener));
    rig.send(client, "still there?");
    rig.until("the echo", |world| world[client].data == b"still there?");
    Ok(())
});

contract!(close_says_nothing_before_the_next_poll, |rig| {
    let (client, _) = rig.pair()?;
    rig.close(client, CloseHow::Now);
    assert!(!rig.world.closed(client));
    rig.until("the end", |world| world.closed(client));
    Ok(())
});

contract!(bytes_arrive_whole_and_in_order_both_ways, |rig| {
    let (client, server) = rig.pair()?;
    let (up, down) = (pattern(1, 3_000_000), pattern(2, 3_000_000));
    let mut from = 0;
    let mut len = 1;
    while from < up.len() {
        let to = (from + len).min(up.len());
        rig.send(client, &up[from..to]);
        rig.send(server, &down[from..to]);
        from = to;
        len = len * 7 % 90_001 + 1;
        if len % 3 == 0 {
            rig.poll(Wait::No);
        }
    }
    rig.until("everything", |world| {
        world[server].data.len() >= up.len() && world[client].data.len() >= down.len()
    });
    assert_bytes(&rig.world[server].data, &up, "client to server");
    assert_bytes(&rig.world[client].data, &down, "server to client");
    Ok(())
});

contract!(every_payload_is_carried_alike, |rig| {
    let (client, server) = rig.pair()?;
    let buf = Buf::copied(b"four");
    rig.send(client, Payload::Static(b"one "));
    rig.send(client, Payload::Owned(b"two ".to_vec()));
    rig.send(client, Payload::Shared(b"three ".as_slice().into()));
    rig.send(client, Payload::Buf(buf.slice(0..2)));
    rig.send(client, Payload::Buf(buf.slice(2..4)));
    rig.until("all of them", |world| world[server].data.len() >= 18);
    assert_eq!(rig.world[server].data.escape_ascii().to_string(), "one two three four");
    Ok(())
});

contract!(many_small_payloads_stay_in_order, |rig| {
    let (client, server) = rig.pair()?;
    let bytes = pattern(3, 20_000);
    for piece in bytes.chunks(7) {
        rig.send(client, piece);
    }
    rig.until("everything", |world| world[server].data.len() >= bytes.len());
    assert_bytes(&rig.world[server].data, &bytes, "in 7-byte payloads");
    Ok(())
});

contract!(a_megabyte_comes_back_from_an_echo, |rig| {
    let listener = rig.echo()?;
    let client = rig.client(listener)?;
    let bytes = pattern(4, 1 << 20);
    rig.send(client, bytes.clone());
    rig.finish(client);
    rig.until("the echo and its end", |world| world[client].eof);
    assert_bytes(&rig.world[client].data, &bytes, "echoed");
    Ok(())
});

contract!(fifty_connections_do_not_mix, |rig| {
    let listener = rig.echo()?;
    let mut clients = Vec::new();
    for seed in 0..50 {
        let client = rig.client(listener)?;
        let bytes = pattern(seed, 40_000);
        rig.send(client, bytes.clone());
        rig.finish(client);
        clients.push((client, bytes));
    }
    for (client, bytes) in &clients {
        rig.until("the echo and its end", |world| world[*client].eof);
        assert_bytes(&rig.world[*client].data, bytes, "echoed");
    }
    Ok(())
});

contract!(what_is_sent_before_connected_goes_out_after_it, |rig| {
    let listener = rig.listener()?;
    let client = rig.client(listener)?;
    assert_eq!(rig.send(client, "early "), 6);
    assert_eq!(rig.send(client, "bird"), 10);
    rig.finish(client);
    rig.until("both and the end", |world| {
        world[listener].children.first().is_some_and(|&child| world[child].eof)
    });
    let child = rig.world[listener].children[0];
    assert_eq!(rig.world[child].data, b"early bird");
    Ok(())
});

contract!(send_answers_how_much_waits, |rig| {
    let (client, server) = rig.pair()?;
    assert_eq!(rig.send(client, "12345"), 5);
    assert_eq!(rig.send(client, "678"), 8);
    assert_eq!(rig.send(client, ""), 8, "an empty payload of a stream is nothing");
    rig.until("all of it", |world| world[server].data == b"12345678");
    assert_eq!(rig.reactor.queued(client), 0);
    assert_eq!(rig.send(client, "9"), 1, "what went out waits no more");
    assert_eq!(rig.reactor.queued(client), 1);
    Ok(())
});

contract!(an_empty_payload_of_a_stream_is_nothing, |rig| {
    let (client, server) = rig.pair()?;
    rig.watch(client);
    assert_eq!(rig.send(client, ""), 0);
    rig.settle();
    assert_eq!(rig.world[client].marks, [Mark::Connected]);
    assert!(rig.world[server].marks.is_empty());
    Ok(())
});

contract!(sent_sums_to_what_was_given, |rig| {
    let (client, server) = rig.pair()?;
    rig.watch(client);
    rig.watch(server);
    for round in 0..60 {
        rig.send(client, pattern(round, 50_000));
        rig.send(server, pattern(round, 777));
        rig.poll(Wait::No);
    }
    rig.until("all sent", |world| {
        world[client].sent == 60 * 50_000 && world[server].sent == 60 * 777
    });
    assert_eq!((rig.world[client].queued, rig.world[server].queued), (0, 0));
    Ok(())
});

contract!(sent_comes_at_most_once_a_poll, |rig| {
    let (client, server) = rig.pair()?;
    rig.watch(client);
    for _ in 0..100 {
        rig.send(client, pattern(1, 100));
        rig.send(client, pattern(2, 100));
        let before = sents(&rig.world[client].marks);
        rig.poll(Wait::No);
        assert!(sents(&rig.world[client].marks) <= before + 1, "summed over one poll");
    }
    rig.until("everything", |world| world[server].data.len() == 20_000);
    rig.until("all of it sent", |world| world[client].sent == 20_000);
    Ok(())
});

fn sents(marks: &[Mark]) -> usize {
    marks.iter().filter(|mark| matches!(mark, Mark::Sent(_))).count()
}

contract!(nobody_hears_of_sent_who_did_not_ask, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(client, pattern(1, 5_000));
    rig.until("everything", |world| world[server].data.len() == 5_000);
    rig.settle();
    assert_eq!(sents(&rig.world[client].marks), 0);
    Ok(())
});

contract!(sent_can_be_asked_for_later_and_declined_again, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(client, "before");
    rig.until("the first", |world| world[server].data.len() == 6);
    rig.settle();
    rig.watch(client);
    rig.send(client, "between");
    rig.until("the second is sent", |world| world[client].sent == 7);
    rig.unwatch(client);
    rig.send(client, "after");
    rig.until("the third", |world| world[server].data.len() == 18);
    rig.settle();
    assert_eq!(rig.world[client].sent, 7);
    Ok(())
});

contract!(sent_still_comes_after_eof, |rig| {
    let (client, server) = rig.pair()?;
    rig.watch(server);
    rig.finish(client);
    rig.until("the end of the input", |world| world[server].eof);
    rig.send(server, "still talking");
    rig.until("sent and received", |world| {
        world[server].sent == 13 && world[client].data == b"still talking"
    });
    Ok(())
});

contract!(after_close_now_sent_and_unsent_sum_to_what_was_given, |rig| {
    for how in [CloseHow::Now, CloseHow::Reset] {
        let (client, server) = rig.pair()?;
        rig.stop(server);
        rig.watch(client);
        for round in 0..32 {
            rig.send(client, pattern(round, 1 << 20));
        }
        rig.until("the kernel is full", |world| world[client].sent > 0);
        rig.settle();
        rig.close(client, how);
        rig.until("the end", |world| world.closed(client));
        let track = &rig.world[client];
        let end = track.closed.ok_or("closed")?;
        assert!(end.unsent > 0, "{how:?}: no kernel takes 32 MiB for a peer that does not read");
        assert_eq!(track.sent + end.unsent, 32 << 20, "{how:?}");
        assert_eq!(end.cause, None, "{how:?}: its owner closed it");
    }
    Ok(())
});

contract!(bytes_never_polled_out_are_unsent, |rig| {
    let (client, _) = rig.pair()?;
    rig.watch(client);
    rig.send(client, "never");
    rig.close(client, CloseHow::Now);
    rig.until("the end", |world| world.closed(client));
    let end = rig.world[client].closed.ok_or("closed")?;
    assert_eq!((rig.world[client].sent, end.unsent, end.cause), (0, 5, None));
    Ok(())
});
