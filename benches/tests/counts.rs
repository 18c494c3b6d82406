//! What netproc promises in system calls a message, counted by itself: counts are not timing, so
//! they hold on any machine under any load.
//!
//! Server and clients share one thread: all 50 messages are there before the server looks, and
//! nothing runs meanwhile, so every round is the same.

use std::{
    error::Error,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use netproc::{Backend, Mechanism, Runtime};

const CONNECTIONS: u8 = 50;
const SIZE: usize = 64;
const ROUNDS: u8 = 40;
const MESSAGES: u64 = CONNECTIONS as u64 * ROUNDS as u64;
const PATIENCE: Duration = Duration::from_secs(10);

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// System calls of a window.
struct Calls {
    total: u64,
    waits: u64,
}

/// Counts [`ROUNDS`] rounds over 50 connections.
fn calls(backend: Backend) -> Result<Calls> {
    let rt = Runtime::builder().backend(backend).build()?;
    let server = rt.server("echo").host("127.0.0.1").backlog(64);
    let server = server.filter(|process, input| process.send(input)).start()?;
    let address = server.contact().local().socket_addr().ok_or("an IP server has an address")?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect(address)?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        clients.push(client);
    }
    round(&rt, &mut clients, 0)?; // accepts them too
    let before = rt.stats();
    for n in 1..=ROUNDS {
        round(&rt, &mut clients, n)?;
    }
    let after = rt.stats();
    Ok(Calls { total: after.syscalls - before.syscalls, waits: after.waits - before.waits })
}

/// One message on every connection, there and back.
fn round(rt: &Runtime, clients: &mut [TcpStream], n: u8) -> Result {
    for (index, client) in (0..).zip(clients.iter_mut()) {
        client.write_all(&[n ^ index; SIZE])?;
    }
    let expected = rt.stats().received + u64::from(CONNECTIONS) * SIZE as u64;
    while rt.stats().received < expected {
        assert!(rt.turn(PATIENCE)?, "the server waits with less than {expected} bytes received");
    }
    rt.turn(Duration::ZERO)?; // what filters send leaves with the next wait
    for (index, client) in (0..).zip(clients.iter_mut()) {
        let mut echo = [0; SIZE];
        client.read_exact(&mut echo)?;
        assert_eq!(echo, [n ^ index; SIZE], "connection {index}, round {n}");
    }
    Ok(())
}

/// Two calls a message, a twentieth of one for what happens seldom; a few waits a round.
fn assert_two_calls_a_message(calls: &Calls) {
    let work = calls.total - calls.waits;
    assert!(work * 10 <= MESSAGES * 21, "{work} calls besides waits for {MESSAGES} messages");
    assert!(calls.waits <= u64::from(ROUNDS) * 4, "{} waits in {ROUNDS} rounds", calls.waits);
}

#[test]
#[cfg(target_os = "linux")]
fn io_uring_makes_less_than_one_call_in_ten_messages() -> Result {
    if !Backend::available().contains(&Backend::Uring) {
        eprintln!("not counted: io_uring does not work here");
        return Ok(());
    }
    let Calls { total, .. } = calls(Backend::Uring)?;
    assert!(total * 10 < MESSAGES, "{total} calls for {MESSAGES} messages");
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn epoll_makes_one_call_to_receive_and_one_to_send() -> Result {
    assert_two_calls_a_message(&calls(Backend::Mechanism(Mechanism::Epoll))?);
    Ok(())
}

#[test]
fn poll_makes_one_call_to_receive_and_one_to_send() -> Result {
    assert_two_calls_a_message(&calls(Backend::Mechanism(Mechanism::Poll))?);
    Ok(())
}
