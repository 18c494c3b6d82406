//! What netproc promises in system calls a message, counted by itself: counts are not timing, so
//! they hold on any machine under any load.

use std::{error::Error, time::Duration};

use netproc::{Backend, Mechanism, Runtime};
use netproc_bench::rounds::{Clients, PATIENCE};

const CONNECTIONS: u8 = 50;
const ROUNDS: u8 = 40;
const MESSAGES: u64 = CONNECTIONS as u64 * ROUNDS as u64;

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
    let mut clients = Clients::connect(address, CONNECTIONS)?;
    round(&rt, &mut clients)?; // accepts them too
    let before = rt.stats();
    for _ in 0..ROUNDS {
        round(&rt, &mut clients)?;
    }
    let after = rt.stats();
    Ok(Calls { total: after.syscalls - before.syscalls, waits: after.waits - before.waits })
}

/// One message on every connection, there and back.
fn round(rt: &Runtime, clients: &mut Clients) -> Result {
    let expected = rt.stats().received + clients.send()? as u64;
    while rt.stats().received < expected {
        assert!(rt.turn(PATIENCE)?, "the server waits with less than {expected} bytes received");
    }
    rt.turn(Duration::ZERO)?; // what filters send leaves with the next wait
    clients.receive()?;
    Ok(())
}

/// Two calls a message and no more; a few waits a round.
fn assert_two_calls_a_message(calls: &Calls) {
    let work = calls.total - calls.waits;
    assert!(work <= MESSAGES * 2, "{work} calls besides waits for {MESSAGES} messages");
    assert!(calls.waits <= u64::from(ROUNDS) * 4, "{} waits in {ROUNDS} rounds", calls.waits);
}

#[test]
#[cfg(target_os = "linux")]
fn io_uring_makes_six_calls_for_a_hundred_messages() -> Result {
    if !Backend::available().contains(&Backend::Uring) {
        eprintln!("not counted: io_uring does not work here");
        return Ok(());
    }
    let Calls { total, .. } = calls(Backend::Uring)?;
    assert!(total * 100 <= MESSAGES * 6, "{total} calls for {MESSAGES} messages");
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
