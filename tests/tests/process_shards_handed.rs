//! What becomes of connections that were handed to a shard when what they wait for ends: their server, its listener,
//! or all shards.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

use netproc::{Event, Process, Runtime, Shards, ShardsBuilder, ShardsError, Status};
use netproc_tests::{
    child::descriptors,
    rig::{Outcome, PATIENCE},
    sharded,
    shards::{
        Counts, ask, assert_echoes, connect, echo, held, serving, shard_of, shut_down, until,
    },
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

sharded!(alone handed: who_comes_in_a_wait_for_another_server_is_served_by_another_shard, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    let (at, other) = mpsc::channel();
    shards.handle(0).ok_or("two")?.post(move |rt| {
        let other = rt.server("other").shared(false).start().expect("any address will do");
        at.send(other.contact().local().socket_addr()).expect("the test listens");
        let waited = rt.accept_output(Some(&other), Some(PATIENCE), true);
        assert!(waited.is_ok(), "{waited:?}");
    })?;
    let other = other.recv_timeout(PATIENCE)?.ok_or("an address of IP")?;
    let clients = crowd(address, 10)?;
    for _ in 0..10 {
        // Whatever it does with those that were handed to it, it has done it.
        assert!(ask(&shards, 0, |rt| rt.get_process("echo").is_some()));
    }
    shards.handle(0).ok_or("two")?.post(|rt| rt.get_process("echo").expect("it is there").delete())?;
    for mut client in clients {
        assert_eq!(shard_of(&mut client)?, 1);
        assert_echoes(&mut client, b"hello")?;
    }
    drop(connect(other)?);
    shards.shutdown()?;
    Ok(())
});

sharded!(alone handed: who_was_handed_over_before_a_shutdown_is_served, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    let (go_on, other_goes_on) = (held(&shards, 0), held(&shards, 1));
    let clients = crowd(address, 10)?;
    drop(other_goes_on);
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

/// What a server tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Born,
    Ended(Status),
}

/// What servers tell, with the numbers of their shards.
type Tellings = mpsc::Receiver<(usize, Told)>;

/// Shards whose servers tell what happens to them.
fn telling(shards: ShardsBuilder) -> Result<(Shards, SocketAddr, Tellings), ShardsError> {
    let (told, tellings) = mpsc::channel();
    let (shards, address) = serving(shards, move |rt| {
        let shard = rt.shard().expect("it is one of several");
        let (born, ended) = (told.clone(), told.clone());
        let server = rt.server("s").on_accept(move |_, connection| {
            born.send((shard, Told::Born)).expect("the test listens");
            connection.send(vec![u8::try_from(shard).expect("few shards")])
        });
        let server = server.sentinel(move |process, event| {
            if &*process.name() == "s" && matches!(event, Event::Broken { .. }) {
                ended.send((shard, Told::Ended(process.status()))).expect("the test listens");
            }
        });
        Ok(server.filter(Process::send).start()?)
    })?;
    Ok((shards, address, tellings))
}

/// Three connections in each shard, and then the end.
fn assert_births_before_ends(tellings: &Tellings) -> Outcome {
    let told: Vec<_> = (0..8).map(|_| tellings.recv_timeout(PATIENCE)).collect::<Result<_, _>>()?;
    for shard in 0..2 {
        let own: Vec<_> = told.iter().filter(|it| it.0 == shard).map(|it| it.1).collect();
        assert_eq!(own, [Told::Born, Told::Born, Told::Born, Told::Ended(Status::Closed)]);
    }
    Ok(())
}

/// Shuts the listener down, and waits until the thread that accepts has told the shards and is gone.
fn shut_down_service(address: SocketAddr) -> Outcome {
    assert!(accepts()?, "a thread does");
    shut_down(address)?;
    until("its thread is gone", || matches!(accepts(), Ok(false)));
    Ok(())
}

/// Whether a thread of this process accepts for shards.
fn accepts() -> io::Result<bool> {
    for task in fs::read_dir("/proc/self/task")? {
        // One that has just ended has no name any more.
        let name = fs::read_to_string(task?.path().join("comm"));
        if name.is_ok_and(|name| name.trim_end() == "netproc-accept") {
            return Ok(true);
        }
    }
    Ok(false)
}

sharded!(alone handed: a_listener_that_ends_leaves_those_who_were_accepted_before_it, |_case, shards| {
    let (shards, address, tellings) = telling(shards)?;
    let go_on = [held(&shards, 0), held(&shards, 1)];
    let clients = crowd(address, 6)?;
    shut_down_service(address)?;
    let (is, found) = mpsc::channel();
    for shard in 0..2 {
        let is = is.clone();
        shards.handle(shard).ok_or("two")?.post(move |rt| {
            let status = rt.get_process("s").expect("it has heard of no end").status();
            is.send(status).expect("the test listens");
        })?;
    }
    drop(go_on);
    let mut served = [0; 2];
    for mut client in clients {
        served[shard_of(&mut client)?] += 1;
        assert_echoes(&mut client, b"hello")?;
    }
    assert_eq!(served, [3, 3]);
    for _ in 0..2 {
        assert_eq!(found.recv_timeout(PATIENCE)?, Status::Listen, "nobody was told of the end");
    }
    assert_births_before_ends(&tellings)?;
    shards.shutdown()?;
    Ok(())
});

sharded!(alone handed: a_listener_that_ends_is_heard_of_by_a_stopped_server_when_it_goes_on, |_case, shards| {
    let (shards, address, tellings) = telling(shards)?;
    for shard in 0..2 {
        ask(&shards, shard, |rt| rt.get_process("s").expect("it is there").stop());
    }
    let clients = crowd(address, 6)?;
    shut_down_service(address)?;
    for shard in [0, 1, 0, 1] {
        let status = ask(&shards, shard, |rt| rt.get_process("s").map(|it| it.status()));
        assert_eq!(status, Some(Status::Stop));
    }
    assert_eq!(tellings.try_iter().count(), 0, "they are stopped");
    for shard in 0..2 {
        ask(&shards, shard, |rt| rt.get_process("s").expect("it is there").resume());
    }
    for mut client in clients {
        shard_of(&mut client)?;
        assert_echoes(&mut client, b"hello")?;
    }
    assert_births_before_ends(&tellings)?;
    shards.shutdown()?;
    Ok(())
});
