//! Point 7: an id that is dead, stale or never was. Every method does nothing or says `EBADF`.

use netproc_core::{
    options::SockOption,
    reactor::{CloseHow, OpenSpec, Reactor, SockId, Wait},
    slots::Key,
};
use netproc_tests::{
    contract,
    contract::{Rig, loopback, pattern},
};

/// Calls every method with `id`, which names nothing alive.
fn poke<R: Reactor>(rig: &mut Rig<R>, id: SockId) {
    let reactor = &mut rig.reactor;
    reactor.set_reading(id, false);
    reactor.set_reading(id, true);
    assert_eq!(reactor.send(id, "into the void".into()), 0);
    assert_eq!(reactor.send_to(id, "into the void".into(), &loopback(9)), 0);
    assert_eq!(reactor.queued(id), 0);
    reactor.watch_sent(id, true);
    reactor.watch_sent(id, false);
    reactor.finish(id);
    for how in
        [CloseHow::Flush { within: std::time::Duration::ZERO }, CloseHow::Reset, CloseHow::Now]
    {
        reactor.close(id, how);
    }
    let answers = [
        reactor.local_addr(id).err(),
        reactor.peer_addr(id).err(),
        reactor.set_option(id, &SockOption::KeepAlive(true)).err(),
    ];
    for answer in answers {
        assert_eq!(answer.map(|err| err.errno), Some(libc::EBADF), "{id:?}");
    }
}

contract!(an_id_that_never_was_is_ignored, |rig| {
    for key in [Key::new(0, 1), Key::new(0, 0), Key::new(u32::MAX, 1), Key::new(7, u32::MAX)] {
        poke(rig, SockId(key));
    }
    assert_eq!(rig.poll(Wait::No), 0);
    let (client, _) = rig.pair()?;
    for key in [
        Key::new(client.0.index, client.0.generation.wrapping_add(1)),
        Key::new(client.0.index, 0),
        Key::new(client.0.index + 1_000, 1),
        // A token that keeps fewer bits of the generation must not confuse these two.
        Key::new(client.0.index, client.0.generation.wrapping_add(1 << 24)),
    ] {
        poke(rig, SockId(key));
    }
    rig.settle();
    assert!(!rig.world.closed(client), "its neighbours' names are not its own");
    Ok(())
});

contract!(a_dead_id_is_ignored, |rig| {
    let (client, server) = rig.pair()?;
    rig.close(client, CloseHow::Now);
    rig.close(server, CloseHow::Now);
    rig.until("both ends", |world| world.closed(client) && world.closed(server));
    poke(rig, client);
    poke(rig, server);
    rig.settle();
    Ok(())
});

contract!(a_stale_id_does_not_reach_the_next_tenant, |rig| {
    let listener = rig.echo()?;
    let mut stale: Vec<SockId> = Vec::new();
    let mut reused = 0;
    for round in 0..20 {
        let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
        reused += stale.iter().filter(|old| old.0.index == client.0.index).count();
        assert!(!stale.contains(&client) && !stale.contains(&server), "ids are for ever");
        rig.send(client, pattern(round, 1_000));
        for &old in &stale {
            poke(rig, old);
        }
        rig.until("the echo", |world| world[client].data.len() == 1_000);
        for &old in &stale {
            poke(rig, old);
        }
        assert!(!rig.world.closed(client) && !rig.world.closed(server));
        rig.close(client, CloseHow::Now);
        rig.until("both ends", |world| world.closed(client) && world.closed(server));
        stale.extend([client, server]);
    }
    assert!(reused > 0, "places are reused, or this test shows nothing");
    Ok(())
});

contract!(a_closing_id_takes_nothing_more, |rig| {
    let (client, server) = rig.pair()?;
    rig.close(client, CloseHow::Now);
    assert_eq!(rig.reactor.send(client, "too late".into()), 0);
    rig.reactor.finish(client);
    rig.reactor.set_reading(client, true);
    rig.until("its end", |world| world.closed(client) && world[server].eof);
    assert_eq!(rig.world[server].data, b"");
    assert_eq!(rig.world[client].closed.ok_or("closed")?.unsent, 0);
    Ok(())
});

contract!(methods_of_the_wrong_kind_of_socket_do_no_harm, |rig| {
    let listener = rig.listener()?;
    let (client, server) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.send(listener, "a listener sends nothing");
    rig.reactor.finish(listener);
    rig.reactor.watch_sent(listener, true);
    rig.settle();
    let (again, _) = rig.pair_at(listener, &OpenSpec::default())?;
    rig.send(client, "still working");
    rig.until("it", |world| world[server].data == b"still working" && world[again].connected);
    Ok(())
});

contract!(descriptors_reused_in_one_batch_do_not_mix, |rig| {
    let listener = rig.echo()?;
    let mut open: Vec<(SockId, Vec<u8>)> = Vec::new();
    for round in 0..300 {
        let client = rig.client(listener)?;
        let bytes = pattern(round, 500);
        rig.send(client, bytes.clone());
        open.push((client, bytes));
        if open.len() > 10 {
            let (old, _) = open.remove(usize::try_from(round)? % open.len());
            rig.close(old, if round % 2 == 0 { CloseHow::Now } else { CloseHow::Reset });
        }
        rig.poll(Wait::No);
    }
    for (client, bytes) in &open {
        rig.until("the echo", |world| world[*client].data.len() >= bytes.len());
        assert_eq!(&rig.world[*client].data, bytes);
    }
    Ok(())
});
