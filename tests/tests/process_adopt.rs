//! A server takes a connection that somebody else has accepted, as if it had done so itself.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
};

use netproc::AdoptError;
use netproc_tests::conformance;

conformance!(on (poll epoll uring): a_connection_from_elsewhere_is_as_one_accepted, |rig| {
    let server = rig.server().start()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.write_all(b"early")?;
    server.adopt(listener.accept()?.0)?;
    let child = rig.child(&server);
    rig.until_bytes(&child, b"early");
    let own = client.local_addr()?;
    assert_eq!(*child.name(), format!("srv <127.0.0.1:{}>", own.port()));
    assert_eq!(child.contact().remote(), Some(&own.into()));
    let told = ["open from 127.0.0.1 (open)", "\"early\" (open)"];
    assert_eq!(rig.log.of(&child), told);
    assert_eq!(rig.log.of(&server), ["log: accept from 127.0.0.1 (listen)"]);
    drop(client);
    rig.until_line(&child, "connection broken by remote peer (closed)");
    Ok(())
});

conformance!(on (poll epoll uring): a_stopped_server_takes_connections_from_elsewhere_later, |rig| {
    let server = rig.server().max_connections(1).start()?;
    server.stop();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (mut near, far) = UnixStream::pair()?;
        near.write_all(b"x")?;
        clients.push(near);
        server.adopt(far)?;
    }
    rig.settle();
    assert_eq!(rig.children(&server), 0);
    server.resume();
    rig.until_bytes(&rig.child(&server), b"x");
    rig.settle();
    assert_eq!(rig.children(&server), 1, "it is full");
    rig.child(&server).delete();
    rig.until("the next", || rig.children(&server) == 1);
    assert_eq!(*rig.child(&server).name(), "srv <2>".to_owned());
    server.delete();
    Ok(())
});

conformance!(on (poll epoll uring): what_is_no_connection_of_the_server_is_refused, |rig| {
    let (server, client, _child) = rig.pair()?;
    let packets = rig.rt.server("p").datagram().start()?;
    let connection = || UnixStream::pair().map(|(near, _)| near);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    assert_eq!(server.adopt(listener), Err(AdoptError::Listening));
    assert!(matches!(server.adopt(UdpSocket::bind("127.0.0.1:0")?), Err(AdoptError::Kind { .. })));
    assert!(matches!(server.adopt(tempfile::tempfile()?), Err(AdoptError::Sys(_))));
    for process in [&client, &packets] {
        assert_eq!(process.adopt(connection()?), Err(AdoptError::NotAccepting));
    }
    server.delete();
    assert_eq!(server.adopt(connection()?), Err(AdoptError::NotAccepting));
    Ok(())
});

conformance!(on (sim): a_simulation_takes_no_connection_from_elsewhere, |rig| {
    let server = rig.server().start()?;
    let refused = server.adopt(UnixStream::pair()?.0);
    assert_eq!(refused, Err(AdoptError::Unsupported("sim")));
    Ok(())
});
