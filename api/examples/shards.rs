//! An echo server on two cores: one closure sets both runtimes up, one call ends them.
//!
//! Clients on threads of their own send to the one address and check every byte; the first one they get says
//! which shard serves them.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use netproc::{Process, Shards};

const CLIENTS: usize = 32;
const BYTES: usize = 100_000;

/// Sends a pattern and reads it back; returns the number of the shard, which comes first.
fn talk(address: SocketAddr, client: usize) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    let mut shard = [0];
    stream.read_exact(&mut shard)?;
    let sent: Vec<u8> = (0..BYTES).map(|at| at.wrapping_mul(client + 1).to_le_bytes()[1]).collect();
    let mut writer = stream.try_clone()?;
    let pattern = sent.clone();
    let sending = thread::spawn(move || writer.write_all(&pattern));
    let mut echoed = vec![0; BYTES];
    stream.read_exact(&mut echoed)?;
    sending.join().expect("it only writes")?;
    assert!(echoed == sent, "client {client} got other bytes back");
    Ok(usize::from(shard[0]))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (at, address) = mpsc::channel();
    let shards = Shards::builder().count(2).start(move |rt, _| -> netproc::Result<()> {
        let echo = rt
            .server("echo")
            .on_accept(|server, connection| {
                let shard = server.runtime().shard().unwrap_or(0);
                connection.send(vec![u8::try_from(shard).unwrap_or(u8::MAX)])
            })
            .filter(Process::send)
            .start()?;
        at.send(echo.contact().local().socket_addr()).expect("the program listens");
        Ok(())
    })?;
    let addresses: Vec<_> = address.iter().flatten().take(2).collect();
    assert_eq!(addresses[0], addresses[1], "one service");

    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = addresses[0];
            thread::spawn(move || talk(address, client))
        })
        .collect();
    let mut served = [0; 2];
    for client in clients {
        served[client.join().expect("every byte was right")?] += 1;
    }
    println!("{} {shards:?} served {served:?}", addresses[0]);
    assert!(served.iter().all(|count| *count > 0), "both serve");

    let stats = shards.stats(Duration::from_secs(5))?;
    assert_eq!(stats.accepted, CLIENTS as u64);
    shards.shutdown()?;
    assert!(TcpStream::connect(addresses[0]).is_err(), "nobody is there any more");
    Ok(())
}
