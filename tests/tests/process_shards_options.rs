//! Options of servers that several runtimes share, on a socket handed to the program.
#![cfg(target_os = "linux")]

use std::net::{SocketAddr, TcpListener, TcpStream};

use netproc::{AdoptError, Process, Shards, StartError};
use netproc_tests::{
    child::activated,
    rig::Outcome,
    shards::{assert_echoes, connect, serving, until},
};

/// Whether the server's end of this connection has a timer for `SO_KEEPALIVE`; nothing else has one once all has been
/// acknowledged.
fn keeps_alive(stream: &TcpStream) -> bool {
    let port = |end: SocketAddr| format!("0100007F:{:04X}", end.port());
    let own = port(stream.local_addr().expect("it is bound"));
    let theirs = port(stream.peer_addr().expect("it is connected"));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel shows it");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // A table that changes while it is read may lack a line.
    let line = lines.find(|line| line.get(1..3) == Some(&[&*theirs, &*own]));
    line.is_some_and(|line| line[5].starts_with("02:"))
}

#[test]
fn a_socket_handed_to_the_program_gets_the_options_of_the_server_that_takes_it() -> Outcome {
    let test = concat!(
        module_path!(),
        "::a_socket_handed_to_the_program_gets_the_options_of_the_server_that_takes_it"
    );
    let handed = || Ok(vec![TcpListener::bind("127.0.0.1:0")?.into()]);
    activated(test, handed, &[], || {
        let offered = netproc::external_sockets();
        let (shards, address) = serving(Shards::builder().count(2), move |rt| {
            if rt.shard() == Some(0) {
                let server = rt.server("s").bindtodevice("netproc-none");
                let refused = server.use_external_socket(true).start();
                let no_device = matches!(refused, Err(StartError::Adopt(AdoptError::Sys(_))));
                assert!(no_device, "{refused:?}");
                assert_eq!(netproc::external_sockets(), offered, "it stays");
            }
            let server = rt.server("s").use_external_socket(true).keepalive(true);
            Ok(server.filter(Process::send).start()?)
        })?;
        let mut stream = connect(address)?;
        assert_echoes(&mut stream, b"it is served")?;
        until("it has the timer", || keeps_alive(&stream));
        shards.shutdown()?;
        Ok(())
    })
}
