//! Points 10 and 11: receive memory. Whoever holds it delays others; nothing is lost, all go on.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};

use netproc_core::{
    pool::Buf,
    reactor::{CloseHow, Kind, OpenSpec, Role, SockId, Wait},
};
use netproc_tests::{
    contract,
    contract::{PATIENCE, assert_bytes, pattern},
};

contract!(
    held_buffers_delay_and_lose_nothing,
    |config| {
        config.slots = 4;
        config.slot_len = 1024;
    },
    |rig| {
        let listener = rig.listener()?;
        let mut pairs = Vec::new();
        for seed in 0..10 {
            let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
            pairs.push((client, server, pattern(seed, 20_000)));
        }
        rig.hold();
        for (client, _, bytes) in &pairs {
            rig.send(*client, bytes.clone());
        }
        rig.settle();
        let counters = rig.reactor.counters();
        assert!(counters.slots_held <= 4, "{counters:?}");
        assert!(counters.starved > 0, "ten senders and four held slots: {counters:?}");
        assert!(rig.release() > 0);
        for (_, server, bytes) in &pairs {
            rig.until("everything", |world| world[*server].data.len() >= bytes.len());
            assert_bytes(&rig.world[*server].data, bytes, "after the hold");
        }
        Ok(())
    }
);

contract!(
    held_buffers_stay_as_they_were,
    |config| {
        config.slots = 8;
        config.slot_len = 512;
    },
    |rig| {
        let (client, server) = rig.pair()?;
        rig.hold();
        let bytes = pattern(1, 100_000);
        rig.send(client, bytes.clone());
        rig.settle();
        let held: Vec<u8> = rig.held().iter().flat_map(|buf| buf.iter().copied()).collect();
        assert!(!held.is_empty() && held.len() < bytes.len(), "{} bytes held", held.len());
        assert_bytes(&held, &bytes[..held.len()], "held while more waits");
        rig.release();
        rig.until("everything", |world| world[server].data.len() >= bytes.len());
        assert_bytes(&rig.world[server].data, &bytes, "after the hold");
        Ok(())
    }
);

contract!(
    holding_again_and_again_never_stalls,
    |config| {
        config.slots = 2;
        config.slot_len = 256;
    },
    |rig| {
        let (client, server) = rig.pair()?;
        let bytes = pattern(2, 20_000);
        rig.send(client, bytes.clone());
        let mut rounds = 0;
        while rig.world[server].data.len() < bytes.len() {
            rig.hold();
            rig.poll(Wait::No);
            rig.poll(Wait::No);
            rig.release();
            let before = rig.world[server].data.len();
            if before < bytes.len() {
                rig.until("more", |world| world[server].data.len() > before);
            }
            rounds += 1;
            assert!(rounds < 20_000, "{} bytes only", rig.world[server].data.len());
        }
        assert_bytes(&rig.world[server].data, &bytes, "in between");
        Ok(())
    }
);

contract!(
    a_starved_reactor_sleeps,
    |config| {
        config.slots = 2;
        config.slot_len = 256;
    },
    |rig| {
        let (client, server) = rig.pair()?;
        rig.hold();
        rig.send(client, pattern(3, 50_000));
        rig.settle();
        let before = rig.reactor.counters().waits;
        assert_eq!(rig.linger(Duration::from_millis(300)), 0);
        let waits = rig.reactor.counters().waits - before;
        assert!(waits <= 3, "{waits} waits in 0.3 s without memory");
        rig.release();
        rig.until("everything", |world| world[server].data.len() == 50_000);
        Ok(())
    }
);

contract!(
    a_starved_socket_can_be_closed,
    |config| {
        config.slots = 2;
        config.slot_len = 256;
    },
    |rig| {
        let listener = rig.listener()?;
        rig.hold();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
            rig.send(client, pattern(4, 5_000));
            ids.extend([client, server]);
        }
        rig.settle();
        for &id in &ids {
            rig.close(id, CloseHow::Now);
        }
        rig.until("every end", |world| ids.iter().all(|&id| world.closed(id)));
        Ok(())
    }
);

contract!(
    a_starved_socket_can_be_stopped_and_continued,
    |config| {
        config.slots = 2;
        config.slot_len = 256;
    },
    |rig| {
        let (client, server) = rig.pair()?;
        rig.hold();
        rig.send(client, pattern(5, 10_000));
        rig.settle();
        rig.stop(server);
        rig.poll(Wait::No);
        rig.release();
        rig.settle();
        rig.resume(server);
        rig.until("everything", |world| world[server].data.len() >= 10_000);
        assert_bytes(&rig.world[server].data, &pattern(5, 10_000), "after all that");
        Ok(())
    }
);

contract!(
    the_peers_end_is_seen_without_memory_once_it_returns,
    |config| {
        config.slots = 2;
        config.slot_len = 256;
    },
    |rig| {
        let (client, server) = rig.pair()?;
        rig.hold();
        rig.send(client, pattern(6, 4_000));
        rig.finish(client);
        rig.settle();
        assert!(!rig.world[server].eof, "its bytes come first");
        rig.release();
        rig.until("everything and the end", |world| world[server].eof);
        assert_bytes(&rig.world[server].data, &pattern(6, 4_000), "before the end");
        Ok(())
    }
);

contract!(
    a_flushing_close_without_memory_is_delayed_and_keeps_its_deadline,
    |config| {
        config.slots = 2;
        config.slot_len = 256;
    },
    |rig| {
        let listener = rig.listener()?;
        let (hog, _) = rig.pair_at(listener, &OpenSpec::default())?;
        let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
        let (hasty, other) = rig.pair_at(listener, &OpenSpec::default())?;
        rig.hold();
        rig.send(hog, pattern(7, 10_000));
        rig.settle();
        for id in [client, server] {
            rig.send(id, "last words");
            rig.close(id, CloseHow::Flush { within: PATIENCE * 100 });
        }
        for id in [hasty, other] {
            rig.close(id, CloseHow::Flush { within: Duration::from_millis(200) });
        }
        rig.until("the hasty ones", |world| world.closed(hasty) && world.closed(other));
        rig.release();
        rig.until("the patient ones", |world| world.closed(client) && world.closed(server));
        assert_eq!((rig.world[client].errno(), rig.world[server].errno()), (None, None));
        Ok(())
    }
);

contract!(
    a_slow_reader_does_not_pin_the_memory_of_others,
    |config| {
        config.slots = 4;
        config.slot_len = 1024;
    },
    |rig| {
        let listener = rig.echo()?;
        let (slow, _) = rig.pair_at(listener, &OpenSpec::default())?;
        rig.stop(slow);
        let bytes = pattern(8, 24 << 20);
        rig.send(slow, bytes.clone());
        rig.settle();
        let mut quick = Vec::new();
        for seed in 0..20 {
            let client = rig.client(listener)?;
            rig.send(client, pattern(seed, 30_000));
            quick.push((client, pattern(seed, 30_000)));
        }
        for (client, sent) in &quick {
            rig.until("the echo", |world| world[*client].data.len() >= sent.len());
            assert_bytes(&rig.world[*client].data, sent, "echoed beside a slow reader");
        }
        assert!(
            rig.reactor.counters().spilled > 0,
            "what the slow one does not read was copied out"
        );
        rig.resume(slow);
        rig.until("the slow one's echo", |world| world[slow].data.len() >= bytes.len());
        assert_bytes(&rig.world[slow].data, &bytes, "echoed to the slow reader");
        Ok(())
    }
);

contract!(
    four_slots_serve_two_hundred_connections,
    |config| {
        config.slots = 4;
        config.slot_len = 2048;
    },
    |rig| {
        let listener = rig.echo()?;
        let mut clients = Vec::new();
        for seed in 0..200 {
            let client = rig.client(listener)?;
            rig.send(client, pattern(seed, 10_000));
            rig.finish(client);
            clients.push((client, pattern(seed, 10_000)));
        }
        for (client, bytes) in &clients {
            rig.until("the echo and its end", |world| world[*client].eof);
            assert_bytes(&rig.world[*client].data, bytes, "echoed");
            rig.close(*client, CloseHow::Now);
        }
        Ok(())
    }
);

contract!(a_buffer_outlives_its_socket, |rig| {
    let (client, server) = rig.pair()?;
    rig.hold();
    rig.send(client, "kept");
    rig.until("it", |world| world[server].data == b"kept");
    rig.close(server, CloseHow::Now);
    rig.close(client, CloseHow::Now);
    rig.until("both ends", |world| world.closed(client) && world.closed(server));
    assert_eq!(rig.held().iter().map(|buf| buf.len()).sum::<usize>(), 4);
    assert_eq!(&rig.held()[0][..], b"kept");
    assert!(rig.reactor.counters().slots_held <= 1);
    Ok(())
});

contract!(a_buffer_outlives_its_reactor, |rig| {
    let mut other = rig.another();
    let (client, server) = other.pair()?;
    other.hold();
    other.send(client, pattern(9, 3_000));
    other.until("it", |world| world[server].data.len() == 3_000);
    let kept: Vec<Buf> = other.held().to_vec();
    drop(other);
    let bytes: Vec<u8> = kept.iter().flat_map(|buf| buf.iter().copied()).collect();
    assert_bytes(&bytes, &pattern(9, 3_000), "after the reactor");
    Ok(())
});

contract!(
    a_forwarded_buffer_comes_back_to_the_pool,
    |config| {
        config.slots = 4;
        config.slot_len = 512;
    },
    |rig| {
        let listener = rig.echo()?;
        let (client, _) = rig.pair_at(listener, &OpenSpec::default())?;
        for round in 0..200 {
            let before = rig.world[client].data.len();
            rig.send(client, pattern(round, 1_500));
            rig.until("the echo", |world| world[client].data.len() == before + 1_500);
        }
        rig.settle();
        assert_eq!(rig.reactor.counters().slots_held, 0);
        Ok(())
    }
);

contract!(slots_held_counts_what_a_test_keeps, |rig| {
    let (client, server) = rig.pair()?;
    rig.hold();
    rig.send(client, "a little");
    rig.until("it", |world| world[server].data.len() == 8);
    assert_eq!(rig.reactor.counters().slots_held, 1);
    rig.release();
    assert_eq!(rig.reactor.counters().slots_held, 0);
    Ok(())
});

contract!(
    answers_given_inside_a_batch_keep_their_order,
    |config| {
        config.slots = 4;
    },
    |rig| {
        let listener = rig.echo()?;
        let mut expected: BTreeMap<SockId, Vec<u8>> = BTreeMap::new();
        for _ in 0..16 {
            let (client, _) = rig.pair_at(listener, &OpenSpec::default())?;
            expected.insert(client, Vec::new());
        }
        for round in 0..100u64 {
            for (client, bytes) in &mut expected {
                let piece = pattern(round ^ u64::from(client.0.index), 333);
                rig.send(*client, piece.clone());
                bytes.extend(piece);
            }
            rig.poll(Wait::No);
        }
        for (client, bytes) in &expected {
            rig.until("the echo", |world| world[*client].data.len() >= bytes.len());
            assert_bytes(&rig.world[*client].data, bytes, "echoed");
        }
        Ok(())
    }
);

contract!(counters_add_up, |rig| {
    let listener = rig.echo()?;
    let (client, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.send(client, pattern(10, 250_000));
    rig.until("the echo", |world| world[client].data.len() == 250_000);
    let counters = rig.reactor.counters();
    assert_eq!((counters.received, counters.sent), (500_000, 500_000));
    assert_eq!((counters.accepted, counters.sockets), (1, 3));
    assert!(counters.waits > 0 && counters.syscalls >= counters.waits);
    Ok(())
});

// Its peer would hear of a reset otherwise, which may cost it the answer.
contract!(
    on descriptors: a_close_that_flushes_reads_away_without_memory,
    |config| {
        config.slots = 2;
        config.slot_len = 4096;
    },
    |rig| {
        let (_hog, hog_peer) = rig.pair()?;
        rig.hold();
        rig.send(hog_peer, vec![1; 20_000]);
        rig.settle();
        for rounds in 1..3 {
            let (near, mut far) = UnixStream::pair()?;
            far.set_read_timeout(Some(PATIENCE))?;
            let near = rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
            far.write_all(b"unread")?;
            rig.settle();
            rig.send(near, "answer");
            rig.close(near, CloseHow::Flush { within: PATIENCE * 10 });
            rig.settle();
            for _ in 0..rounds {
                far.write_all(&pattern(1, 100_000))?;
                rig.settle();
            }
            far.shutdown(Shutdown::Write)?;
            rig.until("its end", |world| world.closed(near));
            let mut all = Vec::new();
            far.read_to_end(&mut all)?;
            assert_eq!(all, b"answer");
        }
        rig.release();
        Ok(())
    }
);
