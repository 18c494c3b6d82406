//! Connections behind a proxy that wait to be born: what was read of them meanwhile counts from the first
//! byte to the end.
//!
//! The peers here are sockets of the system's, which send all they have before the runtime looks.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use netproc::{
    Address, Exit, Failure, Limits, Process, ProxyHeaderError, Reason, ServerBuilder, Status,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
const LEN: usize = 100 * 1024;

fn behind(rig: &Rig) -> ServerBuilder {
    rig.server().proxy_protocol("127.0.0.1".parse().expect("a list of proxies"))
}

fn dial(server: &Process) -> Result<TcpStream, Box<dyn std::error::Error>> {
    let Address::V4(at) = server.contact().local().clone() else { return Err("IPv4".into()) };
    Ok(TcpStream::connect(at)?)
}

/// Has `server` accept a connection that has sent `bytes` and its end, all of which is read while somebody
/// hands the system what it sends and nobody else is served. Returns the connection, and its peer.
fn born_late(
    rig: &Rig,
    make: impl Fn(&Rig) -> ServerBuilder,
    bytes: &[u8],
) -> Result<(Process, TcpStream), Box<dyn std::error::Error>> {
    let (_sink, sender, _) = rig.pair()?;
    let mut teller = {
        let sender = sender.clone();
        let first = rig
            .server()
            .filter(move |_: &Process, _| sender.send_wait(vec![0; 1 << 20], Some(PATIENCE)));
        dial(&first.start()?)?
    };
    rig.until("the teller is in", || rig.rt.process_list().len() == 5);
    let server = make(rig).start()?;
    teller.write_all(b"go")?;
    let mut peer = dial(&server)?;
    peer.write_all(bytes)?;
    peer.shutdown(Shutdown::Write)?;
    Ok((rig.child(&server), peer))
}

conformance!(on (poll epoll uring): what_came_before_a_birth_is_told_behind_the_header, |rig| {
    let bytes = pattern(4, LEN);
    let (child, _peer) = born_late(rig, behind, &[V1, &bytes].concat())?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(rig.log.of(&child)[0], "open from 192.0.2.7 (open)");
    assert!(rig.log.bytes_of(&child) == bytes, "{} bytes of {LEN}", rig.log.len_of(&child));
    assert_eq!(child.exit(), Exit::Broken(Reason::End));
    Ok(())
});

conformance!(on (poll epoll uring): what_came_before_the_birth_of_a_stopped_one_waits, |rig| {
    let bytes = pattern(5, LEN);
    let stopped = |rig: &Rig| {
        let mut limits = Limits::default();
        limits.inbox_len_max = 1000;
        behind(rig).limits(limits).on_accept(|_, child| child.stop())
    };
    let (child, _peer) = born_late(rig, stopped, &[V1, &bytes].concat())?;
    rig.until_line(&child, "open from 192.0.2.7 (stop)");
    rig.settle();
    assert_eq!(rig.log.len_of(&child), 0, "stopped");
    child.resume();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert!(rig.log.bytes_of(&child) == bytes, "{} bytes of {LEN}", rig.log.len_of(&child));
    Ok(())
});

conformance!(on (poll epoll uring): a_header_alone_before_a_birth_is_followed_by_the_end, |rig| {
    let (child, _peer) = born_late(rig, behind, V1)?;
    rig.until_line(&child, "connection broken by remote peer (closed)");
    let told = ["open from 192.0.2.7 (open)", "connection broken by remote peer (closed)"];
    assert_eq!(rig.log.of(&child), told);
    Ok(())
});

conformance!(on (poll epoll uring): nothing_behind_a_bad_header_before_a_birth_reaches_anybody, |rig| {
    let (child, mut peer) = born_late(rig, behind, &pattern(6, LEN))?;
    rig.until("the end", || child.status() == Status::Closed);
    let missing = Failure::ProxyHeader(ProxyHeaderError::Missing);
    assert_eq!((child.exit(), rig.log.len_of(&child)), (Exit::Failed(missing), 0));
    peer.set_read_timeout(Some(PATIENCE))?;
    let answer = peer.read(&mut [0]);
    assert!(matches!(answer, Ok(0) | Err(_)), "{answer:?}");
    Ok(())
});
