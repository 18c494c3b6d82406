//! What becomes of connections that were handed to a shard when what they wait for ends: their server, or all shards.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
};

use netproc::Runtime;
use netproc_tests::{
    child::descriptors,
    sharded,
    shards::{Counts, assert_echoes, connect, echo, held, serving, shard_of, until},
};

/// Clients that have all been accepted: each end of them is a descriptor.
fn crowd(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Box<dyn std::error::Error>> {
    let before = descriptors()?;
    let clients = (0..count).map(|_| connect(address)).collect::<Result<Vec<_>, _>>()?;
    until("all are accepted", || descriptors().ok() == Some(before + 2 * count));
    Ok(clients)
}

sharded!(alone handed: who_waits_when_a_posted_call_ends_the_server_is_served_by_another, |_case, shards| {
    let ends: [fn(&Runtime); 2] =
        [|rt| rt.get_process("echo").expect("it is there").delete(), Runtime::close];
    for end in ends {
        let counts = Arc::new(Counts::default());
        let (shards, address) = serving(shards.clone(), move |rt| echo(rt, &counts))?;
        let go_on = held(&shards, 0);
        let clients = crowd(address, 10)?;
        shards.handle(0).ok_or("two")?.post(end)?;
        drop(go_on);
        for mut client in clients {
            assert_eq!(shard_of(&mut client)?, 1);
            assert_echoes(&mut client, b"hello")?;
        }
        shards.shutdown()?;
    }
    Ok(())
});

sharded!(alone handed: who_was_handed_over_before_a_shutdown_is_served, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    let go_on = held(&shards, 0);
    let clients = crowd(address, 10)?;
    let other = shards.handle(1).ok_or("two")?.clone();
    let ending = thread::spawn(move || shards.shutdown());
    until("the other has ended", || other.post(|_| {}).is_err());
    drop(go_on);
    let mut served = [0; 2];
    for mut client in clients {
        served[shard_of(&mut client)?] += 1;
    }
    assert_eq!(served, [5, 5]);
    ending.join().map_err(|_| "it panicked")??;
    Ok(())
});
