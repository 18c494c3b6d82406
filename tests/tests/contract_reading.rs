//! Point 6: stop and continue, of connections and of listeners. Nothing is lost, nothing doubled.

use netproc_core::reactor::{CloseHow, OpenSpec, Wait};
use netproc_tests::{
    contract,
    contract::{Mark, assert_bytes, loopback, pattern},
};

contract!(a_stopped_connection_brings_finitely_much, |rig| {
    let (client, server) = rig.pair()?;
    let bytes = pattern(1, 16 << 20);
    rig.send(client, bytes.clone());
    rig.until("the flow has begun", |world| !world[server].data.is_empty());
    rig.stop(server);
    let before = rig.world[server].data.len();
    rig.settle();
    let pool = usize::from(rig.config.slots) * rig.config.slot_len as usize;
    let more = rig.world[server].data.len() - before;
    assert!(more <= pool, "{more} bytes after the stop, a pool has {pool}");
    let stopped_at = rig.world[server].data.len();
    rig.settle();
    assert_eq!(rig.world[server].data.len(), stopped_at, "and then nothing");
    rig.resume(server);
    rig.until("the rest", |world| world[server].data.len() >= bytes.len());
    assert_bytes(&rig.world[server].data, &bytes, "over a stop");
    Ok(())
});

contract!(a_connection_opened_stopped_waits_for_continue, |rig| {
    let listener = rig.listener()?;
    let spec = OpenSpec { reading: false, ..OpenSpec::default() };
    let (client, server) = rig.pair_at(listener, &spec)?;
    rig.send(server, "patience");
    rig.settle();
    assert_eq!(rig.world[client].marks, [Mark::Connected]);
    rig.resume(client);
    rig.until("the input", |world| world[client].data == b"patience");
    Ok(())
});

contract!(a_connection_stopped_while_idle_stays_silent, |rig| {
    let (client, server) = rig.pair()?;
    rig.settle();
    rig.stop(server);
    rig.settle();
    rig.send(client, "not yet");
    rig.settle();
    assert_eq!(rig.world[server].data, b"", "stopped long before the bytes came");
    rig.resume(server);
    rig.until("the input", |world| world[server].data == b"not yet");
    Ok(())
});

contract!(a_stopped_connection_still_sends, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(server);
    rig.send(server, pattern(5, 100_000));
    rig.until("it", |world| world[client].data.len() == 100_000);
    assert_bytes(&rig.world[client].data, &pattern(5, 100_000), "sent while stopped");
    Ok(())
});

contract!(stop_and_continue_in_one_breath_change_nothing, |rig| {
    let (client, server) = rig.pair()?;
    for round in 0..20 {
        rig.send(client, pattern(round, 10));
        rig.stop(server);
        rig.resume(server);
        rig.until("the input", |world| world[server].data.len() as u64 == 10 * (round + 1));
    }
    Ok(())
});

contract!(stop_and_continue_may_be_repeated, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(server);
    rig.stop(server);
    rig.poll(Wait::No);
    rig.stop(server);
    rig.send(client, "once");
    rig.settle();
    rig.resume(server);
    rig.resume(server);
    rig.poll(Wait::No);
    rig.resume(server);
    rig.until("the input", |world| !world[server].data.is_empty());
    rig.settle();
    assert_eq!(rig.world[server].data, b"once", "and not twice");
    Ok(())
});

contract!(a_thousand_toggles_under_load_lose_and_double_nothing, |rig| {
    let (client, server) = rig.pair()?;
    let (up, down) = (pattern(6, 2_000_000), pattern(7, 2_000_000));
    for round in 0..1_000 {
        let piece = round * 2_000..(round + 1) * 2_000;
        rig.send(client, &up[piece.clone()]);
        rig.send(server, &down[piece]);
        let (id, other) = if round % 2 == 0 { (client, server) } else { (server, client) };
        rig.stop(id);
        rig.resume(other);
        rig.poll(Wait::No);
        if round % 5 == 0 {
            rig.resume(id);
            rig.poll(Wait::No);
        }
    }
    rig.resume(client);
    rig.resume(server);
    rig.until("everything", |world| {
        world[server].data.len() >= up.len() && world[client].data.len() >= down.len()
    });
    assert_bytes(&rig.world[server].data, &up, "client to server");
    assert_bytes(&rig.world[client].data, &down, "server to client");
    Ok(())
});

contract!(a_stopped_echo_goes_on_after_continue, |rig| {
    let listener = rig.echo()?;
    let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
    let bytes = pattern(8, 500_000);
    rig.send(client, bytes.clone());
    rig.finish(client);
    for _ in 0..50 {
        rig.stop(server);
        rig.poll(Wait::No);
        rig.resume(server);
        rig.poll(Wait::No);
    }
    rig.until("the echo and its end", |world| world[client].eof);
    assert_bytes(&rig.world[client].data, &bytes, "echoed");
    Ok(())
});

contract!(the_peers_end_waits_behind_unread_bytes, |rig| {
    let (client, server) = rig.pair()?;
    rig.settle();
    rig.stop(server);
    rig.settle();
    rig.send(client, "last words");
    rig.finish(client);
    rig.settle();
    rig.resume(server);
    rig.until("the end", |world| world[server].eof);
    assert_eq!(rig.world[server].data, b"last words");
    Ok(())
});

contract!(a_stopped_connection_can_be_closed, |rig| {
    let (client, server) = rig.pair()?;
    rig.stop(server);
    rig.send(client, pattern(9, 300_000));
    rig.settle();
    rig.close(server, CloseHow::Now);
    rig.until("its end", |world| world.closed(server));
    Ok(())
});

contract!(a_stopped_listener_leaves_connects_in_the_backlog, |rig| {
    let listener = rig.listener()?;
    rig.settle();
    rig.stop(listener);
    rig.settle();
    let clients = [rig.client(listener)?, rig.client(listener)?, rig.client(listener)?];
    rig.settle();
    assert_eq!(rig.world[listener].children.len(), 0, "accepted while stopped");
    for client in clients {
        rig.send(client, "hello");
    }
    rig.resume(listener);
    rig.until("three children with input", |world| {
        let children = &world[listener].children;
        children.len() == 3 && children.iter().all(|&child| world[child].data == b"hello")
    });
    Ok(())
});

contract!(a_listener_opened_stopped_waits_for_continue, |rig| {
    let local = loopback(0);
    let spec = OpenSpec { local: Some(&local), reading: false, ..OpenSpec::default() };
    let listener = rig.listen(&spec, 16)?;
    let client = rig.client(listener)?;
    rig.settle();
    assert_eq!(rig.world[listener].children.len(), 0, "accepted while stopped");
    rig.resume(listener);
    rig.until("a child", |world| world[listener].children.len() == 1 && world[client].connected);
    Ok(())
});

contract!(a_child_reads_although_its_listener_stops, |rig| {
    let listener = rig.listener()?;
    let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.stop(listener);
    rig.send(client, "for the child");
    rig.until("the input", |world| world[server].data == b"for the child");
    Ok(())
});

contract!(a_listener_toggled_under_load_accepts_each_connection_once, |rig| {
    let listener = rig.echo()?;
    let mut clients = Vec::new();
    for round in 0..1_000 {
        if round % 20 == 0 {
            let client = rig.client(listener)?;
            rig.send(client, format!("client {round}"));
            clients.push((client, format!("client {round}")));
        }
        if round % 2 == 0 {
            rig.stop(listener);
        } else {
            rig.resume(listener);
        }
        rig.poll(Wait::No);
    }
    rig.resume(listener);
    for (client, text) in &clients {
        rig.until("the echo", |world| world[*client].data.len() >= text.len());
        assert_eq!(rig.world[*client].data, text.as_bytes());
    }
    rig.settle();
    assert_eq!(rig.world[listener].children.len(), clients.len());
    assert_eq!(rig.reactor.counters().accepted, clients.len() as u64);
    Ok(())
});

contract!(a_stop_of_one_does_not_stop_another, |rig| {
    let listener = rig.echo()?;
    let (_, stopped) = rig.pair_at(listener, &OpenSpec::default())?;
    let (client, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.stop(stopped);
    rig.send(client, "other");
    rig.until("the echo", |world| world[client].data == b"other");
    Ok(())
});
