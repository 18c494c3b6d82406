//! Point 5 and its neighbours: half-close, the three ways to close, resets, deadlines.

use std::time::{Duration, Instant};

use netproc_core::{
    address::Address,
    options::SockOption,
    reactor::{CloseHow, OpenSpec, Wait},
};
use netproc_tests::{
    contract,
    contract::{FLUSH, assert_bytes, loopback, pattern},
};

contract!(finish_sends_everything_and_then_the_end, |rig| {
    let (client, server) = rig.pair()?;
    let bytes = pattern(1, 4 << 20);
    rig.send(client, bytes.clone());
    rig.finish(client);
    rig.until("the end", |world| world[server].eof);
    assert_bytes(&rig.world[server].data, &bytes, "before the end");
    assert!(!rig.world.closed(client), "a half-close is no close");
    Ok(())
});

contract!(half_close_works_both_ways, |rig| {
    let (client, server) = rig.pair()?;
    for (ends, answers) in [(client, server), (server, client)] {
        if ends == client {
            rig.finish(ends);
            rig.until("the end", |world| world[answers].eof);
            rig.send(answers, pattern(2, 1 << 20));
            rig.until("the answer", |world| world[ends].data.len() == 1 << 20);
            assert_bytes(&rig.world[ends].data, &pattern(2, 1 << 20), "after the half-close");
        } else {
            rig.finish(ends);
            rig.until("the other end", |world| world[answers].eof);
        }
    }
    Ok(())
});

contract!(finish_on_an_idle_connection_ends_it_at_once, |rig| {
    let (client, server) = rig.pair()?;
    rig.finish(server);
    rig.until("the end", |world| world[client].eof);
    assert_eq!(rig.world[client].data, b"");
    Ok(())
});

contract!(finish_twice_is_finish_once, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(client, "bye");
    rig.finish(client);
    rig.finish(client);
    rig.until("the end", |world| world[server].eof);
    rig.finish(client);
    rig.settle();
    assert_eq!(rig.world[server].data, b"bye");
    Ok(())
});

contract!(finish_before_connected_counts_after_it, |rig| {
    let listener = rig.listener()?;
    let client = rig.client(listener)?;
    rig.finish(client);
    rig.until("connected, and the end", |world| {
        world[client].connected
            && world[listener].children.first().is_some_and(|&child| world[child].eof)
    });
    Ok(())
});

contract!(bytes_after_finish_are_dropped, |rig| {
    let (client, server) = rig.pair()?;
    rig.watch(client);
    rig.send(client, "counted");
    rig.finish(client);
    rig.send(client, " not counted");
    rig.until("the end", |world| world[server].eof);
    assert_eq!(rig.world[server].data, b"counted");
    rig.close(client, FLUSH);
    rig.close(server, CloseHow::Now);
    rig.until("both ends", |world| world.closed(client));
    let end = rig.world[client].closed.ok_or("closed")?;
    assert_eq!((end.cause, end.unsent), (None, 0));
    Ok(())
});

contract!(flush_sends_everything_although_input_is_unread, |rig| {
    let (client, server) = rig.pair()?;
    rig.settle();
    rig.stop(server);
    rig.stop(client);
    rig.settle();
    rig.send(client, pattern(3, 600));
    rig.settle();
    let bytes = pattern(4, 4 << 20);
    rig.watch(server);
    rig.send(server, bytes.clone());
    rig.close(server, FLUSH);
    rig.settle();
    rig.resume(client);
    rig.until("everything and the end", |world| {
        world[client].eof || world[client].closed.is_some()
    });
    assert_bytes(&rig.world[client].data, &bytes, "before the end");
    assert_eq!(rig.world[client].closed, None, "no reset");
    rig.close(client, CloseHow::Now);
    rig.until("the server's end", |world| world.closed(server));
    let end = rig.world[server].closed.ok_or("closed")?;
    assert_eq!((end.cause, end.unsent, rig.world[server].sent), (None, 0, 4 << 20));
    Ok(())
});

contract!(flush_survives_a_peer_that_goes_on_talking, |rig| {
    let (client, server) = rig.pair()?;
    let bytes = pattern(5, 2 << 20);
    rig.send(server, bytes.clone());
    rig.close(server, FLUSH);
    for round in 0..200 {
        rig.send(client, pattern(round, 5_000));
        rig.poll(Wait::No);
    }
    rig.until("everything and the end", |world| world[client].eof);
    assert_bytes(&rig.world[client].data, &bytes, "before the end");
    let server_data = rig.world[server].data.len();
    rig.finish(client);
    rig.until("the server's end", |world| world.closed(server));
    assert_eq!(rig.world[server].data.len(), server_data, "a flushing socket reads to throw away");
    assert_eq!(rig.world[server].errno(), None);
    Ok(())
});

contract!(flush_of_an_empty_queue_ends_when_the_peer_does, |rig| {
    let (client, server) = rig.pair()?;
    rig.close(server, FLUSH);
    rig.until("the end at the client", |world| world[client].eof);
    rig.close(client, FLUSH);
    rig.until("both", |world| world.closed(server) && world.closed(client));
    assert_eq!((rig.world[server].errno(), rig.world[client].errno()), (None, None));
    Ok(())
});

contract!(flush_gives_up_at_its_deadline, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(client);
    rig.settle();
    rig.watch(server);
    rig.send(server, pattern(6, 32 << 20));
    let begin = rig.reactor.now();
    rig.close(server, CloseHow::Flush { within: Duration::from_millis(200) });
    rig.until("its end", |world| world.closed(server));
    let took = rig.reactor.now().since(begin);
    assert!(took >= Duration::from_millis(200), "gave up after {took:?}");
    assert!(took < Duration::from_secs(3), "took {took:?}");
    let end = rig.world[server].closed.ok_or("closed")?;
    assert!(end.unsent > 0, "no kernel takes 32 MiB for a peer that does not read");
    assert_eq!(rig.world[server].sent + end.unsent, 32 << 20);
    Ok(())
});

contract!(flush_gives_up_on_a_peer_that_never_ends, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(server, "all of it");
    let begin = rig.reactor.now();
    rig.close(server, CloseHow::Flush { within: Duration::from_millis(150) });
    rig.until("its end", |world| world.closed(server));
    let took = rig.reactor.now().since(begin);
    assert!(took >= Duration::from_millis(150), "gave up after {took:?}");
    assert!(took < Duration::from_secs(3), "took {took:?}");
    assert_eq!(rig.world[client].data, b"all of it");
    assert_eq!(rig.world[server].closed.ok_or("closed")?.unsent, 0);
    Ok(())
});

contract!(a_flush_within_no_time_ends_at_once, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(client);
    rig.send(server, pattern(7, 32 << 20));
    let begin = rig.reactor.now();
    rig.close(server, CloseHow::Flush { within: Duration::ZERO });
    rig.until("its end", |world| world.closed(server));
    let took = rig.reactor.now().since(begin);
    assert!(took < Duration::from_secs(2), "took {took:?}");
    Ok(())
});

contract!(a_flush_for_ever_waits_for_the_peer, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(server, "slow");
    rig.close(server, CloseHow::Flush { within: Duration::MAX });
    rig.until("all of it", |world| world[client].eof);
    rig.close(client, CloseHow::Now);
    rig.until("its end", |world| world.closed(server));
    assert_eq!(rig.world[server].errno(), None);
    Ok(())
});

contract!(a_flush_becomes_a_now, |rig| {
    for harsher in [CloseHow::Now, CloseHow::Reset] {
        let (client, server) = rig.pair()?;
        rig.stop(client);
        rig.watch(server);
        rig.send(server, pattern(8, 32 << 20));
        rig.close(server, CloseHow::Flush { within: Duration::from_secs(3600) });
        rig.settle();
        assert!(!rig.world.closed(server), "it waits for a peer that does not read");
        rig.close(server, harsher);
        let begin = rig.reactor.now();
        rig.until("its end", |world| world.closed(server));
        let took = rig.reactor.now().since(begin);
        assert!(took < Duration::from_secs(2), "{harsher:?} took {took:?}");
        assert!(rig.world[server].closed.ok_or("closed")?.unsent > 0, "{harsher:?}");
        rig.close(client, CloseHow::Now);
    }
    Ok(())
});

contract!(a_milder_close_does_not_soften_a_harsher_one, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(client);
    rig.send(server, pattern(9, 32 << 20));
    rig.close(server, CloseHow::Now);
    rig.close(server, CloseHow::Flush { within: Duration::from_secs(3600) });
    let begin = rig.reactor.now();
    rig.until("its end", |world| world.closed(server));
    let took = rig.reactor.now().since(begin);
    assert!(took < Duration::from_secs(2), "took {took:?}");
    Ok(())
});

contract!(finish_and_then_flush_ends_cleanly, |rig| {
    let (client, server) = rig.pair()?;
    let bytes = pattern(10, 1 << 20);
    rig.send(server, bytes.clone());
    rig.finish(server);
    rig.close(server, FLUSH);
    rig.until("the end", |world| world[client].eof);
    assert_bytes(&rig.world[client].data, &bytes, "before the end");
    rig.close(client, FLUSH);
    rig.until("both", |world| world.closed(server) && world.closed(client));
    assert_eq!((rig.world[server].errno(), rig.world[client].errno()), (None, None));
    Ok(())
});

contract!(flush_after_the_peers_end_ends_by_itself, |rig| {
    let (client, server) = rig.pair()?;
    rig.finish(client);
    rig.until("the end of the input", |world| world[server].eof);
    rig.send(server, "last");
    rig.close(server, FLUSH);
    rig.until("its end", |world| world.closed(server) && world[client].eof);
    assert_eq!(rig.world[client].data, b"last");
    assert_eq!(rig.world[server].errno(), None);
    Ok(())
});

contract!(a_reset_reaches_the_peer_behind_the_bytes_before_it, |rig| {
    let (client, server) = rig.pair()?;
    rig.watch(client);
    rig.send(client, pattern(11, 1_000));
    rig.until("sent", |world| world[client].sent == 1_000);
    rig.close(client, CloseHow::Reset);
    rig.until("both ends", |world| world.closed(client) && world.closed(server));
    assert_bytes(&rig.world[server].data, &pattern(11, 1_000), "before the reset");
    assert_eq!(rig.world[server].errno(), Some(libc::ECONNRESET));
    assert_eq!(rig.world[client].errno(), None, "its owner reset it");
    assert!(!rig.world[server].eof, "a reset is no orderly end");
    Ok(())
});

contract!(a_reset_does_not_destroy_what_a_stopped_peer_has_not_read, |rig| {
    let (client, server) = rig.pair()?;
    rig.settle();
    rig.stop(server);
    rig.settle();
    rig.watch(client);
    rig.send(client, pattern(12, 1_000));
    rig.until("sent", |world| world[client].sent == 1_000);
    rig.close(client, CloseHow::Reset);
    rig.until("the client's end", |world| world.closed(client));
    rig.settle();
    rig.resume(server);
    rig.until("the server's end", |world| world.closed(server));
    assert_bytes(&rig.world[server].data, &pattern(12, 1_000), "before the reset");
    assert_eq!(rig.world[server].errno(), Some(libc::ECONNRESET));
    Ok(())
});

contract!(sending_to_a_peer_that_has_gone_ends_with_its_cause, |rig| {
    let (client, server) = rig.pair()?;
    rig.close(client, CloseHow::Now);
    rig.until("the end at the server", |world| world.closed(client) && world[server].eof);
    // The first bytes draw the reset, the next ones meet it.
    for _ in 0..100 {
        rig.send(server, "anybody?");
        rig.poll(Wait::No);
        if rig.world.closed(server) {
            break;
        }
    }
    rig.until("the server's end", |world| world.closed(server));
    let errno = rig.world[server].errno();
    assert!(matches!(errno, Some(libc::EPIPE | libc::ECONNRESET)), "{errno:?}");
    Ok(())
});

// A peer's end shows by a send that fails as well as by a read; what it has sent before is there in both.
contract!(a_send_that_fails_loses_nothing_the_peer_has_sent, |rig| {
    let folder = tempfile::tempdir()?;
    for local in
        [loopback(0), Address::local(folder.path().join("s").as_os_str().as_encoded_bytes())?]
    {
        let listener = rig.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 5)?;
        let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
        rig.settle();
        rig.stop(server);
        rig.watch(server);
        rig.settle();
        rig.watch(client);
        rig.send(client, pattern(14, 100_000));
        rig.until("sent", |world| world[client].sent == 100_000);
        rig.close(client, CloseHow::Now);
        rig.until("the client's end", |world| world.closed(client));
        for _ in 0..3 {
            rig.send(server, "anybody?");
            rig.settle();
        }
        rig.resume(server);
        rig.until("the server's end", |world| world[server].eof || world.closed(server));
        assert_bytes(&rig.world[server].data, &pattern(14, 100_000), "before the end");
        rig.close(server, CloseHow::Now);
        rig.until("it closed", |world| world.closed(server));
    }
    Ok(())
});

contract!(the_peers_end_leaves_the_socket_open_for_sending, |rig| {
    let (client, server) = rig.pair()?;
    rig.finish(client);
    rig.until("the end of the input", |world| world[server].eof);
    rig.settle();
    assert!(!rig.world.closed(server) && !rig.world.closed(client));
    Ok(())
});

contract!(a_reset_behind_the_peers_end_is_told_without_a_send, |rig| {
    for answer in ["", "taken by the kernel, read by nobody"] {
        let (client, server) = rig.pair()?;
        rig.stop(client);
        rig.finish(client);
        rig.until("the end of the input", |world| world[server].eof);
        rig.watch(server);
        rig.send(server, answer);
        rig.until("sent", |world| world[server].sent == answer.len() as u64);
        rig.settle();
        assert!(!rig.world.closed(server), "the end of the input is not the end");
        rig.close(client, CloseHow::Reset);
        rig.until("the server's end", |world| world.closed(server));
        let errno = rig.world[server].errno();
        assert!(matches!(errno, Some(libc::EPIPE | libc::ECONNRESET)), "{errno:?}");
    }
    Ok(())
});

contract!(a_peer_that_closes_behind_its_end_is_no_error_and_nothing_to_wait_for, |rig| {
    let folder = tempfile::tempdir()?;
    let local = Address::local(folder.path().join("s").as_os_str().as_encoded_bytes())?;
    for (local, finishes) in [(loopback(0), false), (loopback(0), true), (local, false)] {
        let listener = rig.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 5)?;
        let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
        rig.finish(client);
        rig.until("the end of the input", |world| world[server].eof);
        rig.settle();
        if finishes {
            rig.finish(server);
            rig.until("the end there", |world| world[client].eof);
        }
        rig.close(client, CloseHow::Now);
        rig.until("the client's end", |world| world.closed(client));
        rig.settle();
        let before = rig.reactor.counters().waits;
        rig.linger(Duration::from_millis(100));
        let waits = rig.reactor.counters().waits - before;
        assert!(waits <= 3, "{waits} waits in 0.1 s of nothing at {local}");
        assert!(!rig.world.closed(server), "{local}");
        rig.close(server, FLUSH);
        rig.until("the server's end", |world| world.closed(server));
        assert_eq!(rig.world[server].errno(), None, "{local}");
    }
    Ok(())
});

// Within the machine a peer that leaves something unread has reset the connection.
contract!(a_local_peer_that_leaves_the_answer_unread_is_told_without_a_send, |rig| {
    let folder = tempfile::tempdir()?;
    let local = Address::local(folder.path().join("s").as_os_str().as_encoded_bytes())?;
    let listener = rig.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 5)?;
    let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.settle();
    rig.stop(client);
    rig.settle();
    rig.finish(client);
    rig.until("the end of the input", |world| world[server].eof);
    rig.watch(server);
    rig.send(server, "answer");
    rig.until("sent", |world| world[server].sent == 6);
    rig.close(client, CloseHow::Now);
    rig.until("the server's end", |world| world.closed(server));
    let errno = rig.world[server].errno();
    assert!(matches!(errno, Some(libc::EPIPE | libc::ECONNRESET)), "{errno:?}");
    Ok(())
});

contract!(now_throws_the_queue_away_and_the_peer_sees_an_end, |rig| {
    let (client, server) = rig.pair()?;
    rig.send(client, "sent");
    rig.until("the first", |world| world[server].data == b"sent");
    rig.send(client, "queued only");
    rig.close(client, CloseHow::Now);
    rig.until("the ends", |world| {
        world.closed(client) && (world[server].eof || world.closed(server))
    });
    assert_eq!(rig.world[server].data, b"sent");
    Ok(())
});

contract!(a_positive_linger_does_not_block, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(client);
    rig.reactor.set_option(server, &SockOption::Linger(Some(5)))?;
    rig.send(server, pattern(13, 16 << 20));
    rig.settle();
    let begin = Instant::now();
    rig.close(server, CloseHow::Now);
    rig.until("its end", |world| world.closed(server));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(2), "blocked for {took:?}");
    Ok(())
});

contract!(a_linger_of_no_time_resets, |rig| {
    let listener = rig.listener()?;
    let options = [SockOption::Linger(Some(0))];
    let spec = OpenSpec { options: &options, ..OpenSpec::default() };
    let (client, server) = rig.pair_at(listener, &spec)?;
    rig.close(client, CloseHow::Now);
    rig.until("both ends", |world| {
        world.closed(client) && (world.closed(server) || world[server].eof)
    });
    Ok(())
});

contract!(closing_a_listener_ends_the_connections_it_did_not_accept, |rig| {
    let listener = rig.listener()?;
    rig.stop(listener);
    rig.settle();
    let client = rig.client(listener)?;
    rig.until("connected", |world| world[client].connected);
    rig.close(listener, CloseHow::Now);
    rig.until("both ends", |world| {
        world.closed(listener) && (world.closed(client) || world[client].eof)
    });
    assert_eq!(rig.world[listener].children.len(), 0);
    Ok(())
});
