//! Options of servers that several runtimes share: on a socket handed to the program, and set later.
#![cfg(target_os = "linux")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use netproc::{AdoptError, Process, Runtime, SetOptionError, Shards, SockOption, StartError};
use netproc_tests::{
    child::activated,
    rig::Outcome,
    sharded,
    shards::{Counts, ask, assert_echoes, connect, echo, serving, shard_of, until},
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

sharded!(an_option_set_on_a_server_is_that_of_its_later_connections, |case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    let set = |option: SockOption| {
        move |rt: &Runtime| {
            let server = rt.get_process("echo").expect("it was started");
            let set = server.set_option(option.clone());
            let contact = server.contact();
            (set, contact.get(option.keyword()).map(|value| value.to_string()))
        }
    };
    let (refused, shown) = ask(&shards, 0, set(SockOption::BindToDevice(Some("no-such-0".into()))));
    assert!(matches!(refused, Err(SetOptionError::Sys(_))), "{refused:?}");
    assert_eq!(shown, None);
    let keepalive = SockOption::KeepAlive(true);
    assert_eq!(ask(&shards, 0, set(keepalive.clone())), (Ok(()), Some("t".into())));
    if !case.handed {
        // Each has a listener of its own there.
        assert_eq!(ask(&shards, 1, set(keepalive)), (Ok(()), Some("t".into())));
    }
    let mut served = [false; 2];
    while served != [true; 2] {
        let mut stream = connect(address)?;
        served[shard_of(&mut stream)?] = true;
        assert_echoes(&mut stream, b"all is acknowledged")?;
        until("it has the timer", || keeps_alive(&stream));
    }
    shards.shutdown()?;
    Ok(())
});

sharded!(a_linger_set_on_a_server_is_that_of_one_shard, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| {
        let server = echo(rt, &counts)?;
        server.set_filter(|process: &Process, _| process.delete());
        Ok(server)
    })?;
    let linger = |rt: &Runtime| {
        let server = rt.get_process("echo").expect("it was started");
        server.set_option(SockOption::Linger(Some(0)))
    };
    assert_eq!(ask(&shards, 0, linger), Ok(()));
    let mut served = [false; 2];
    while served != [true; 2] {
        let mut stream = connect(address)?;
        let shard = shard_of(&mut stream)?;
        served[shard] = true;
        stream.write_all(b"go")?;
        let end = stream.read(&mut [0]).map_err(|err| err.kind());
        let expected = [Err(ErrorKind::ConnectionReset), Ok(0)];
        assert_eq!(end, expected[shard], "{shard}");
    }
    shards.shutdown()?;
    Ok(())
});

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
