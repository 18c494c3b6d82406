//! Several runtimes behind one service: every byte right, every connection served once, by both, as if
//! there were one.
//!
//! Each test runs on every backend in both ways there are. How they end is in `process_shards_ends.rs`, how a
//! server takes a connection of somebody else in `process_adopt.rs`.

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Barrier, Mutex, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use netproc::{
    Event, Family, Plist, Process, ProxyOut, ProxyVersion, Runtime, Shards, ShardsBuilder,
    ShardsError, StartError, Status, TlsIdentity, TlsServer, Value,
};
use netproc_tests::{
    child::activated,
    contract::pattern,
    rig::{Outcome, PATIENCE},
    sharded,
    shards::{Counts, ask, assert_echoes, connect, echo, serving, shard_of, until, until_refused},
};

const CLIENTS: usize = 4;
const EACH: usize = 16;

sharded!(two_shards_serve_a_load_without_a_wrong_byte_and_each_connection_once, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let own = Arc::clone(&counts);
    let (shards, address) = serving(shards, move |rt| echo(rt, &own))?;
    let served = Mutex::new([0; 2]);
    thread::scope(|scope| -> Outcome {
        let client = |client: usize| {
            let served = &served;
            move || -> io::Result<()> {
                for round in 0..EACH {
                    let mut stream = connect(address)?;
                    let shard = shard_of(&mut stream)?;
                    let seed = u64::try_from(client * EACH + round).expect("few");
                    assert_echoes(&mut stream, &pattern(seed, 50_000))?;
                    served.lock().expect("nobody panics with it")[shard] += 1;
                }
                Ok(())
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        clients.into_iter().try_for_each(|it| it.join().expect("all bytes are right"))?;
        Ok(())
    })?;
    let served = served.into_inner()?;
    assert_eq!(served.iter().sum::<usize>(), CLIENTS * EACH);
    assert_eq!(counts.accepted(), served, "as the clients have seen it");
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    until("all have ended", || counts.ended() == served);
    let stats = shards.stats(PATIENCE)?;
    let bytes = u64::try_from(CLIENTS * EACH * 50_000)?;
    assert_eq!(stats.received, bytes);
    let each = shards.stats_of_each(PATIENCE)?;
    assert_eq!(each.iter().map(|it| it.received).sum::<u64>(), bytes);
    shards.shutdown()?;
    Ok(())
});

sharded!(connections_are_processes_as_if_their_server_had_accepted_them, |_case, shards| {
    let (told, tellings) = mpsc::channel();
    let (shards, address) = serving(shards, move |rt| {
        let told = told.clone();
        let log = told.clone();
        let plist: Plist = [("color", Value::from("green"))].into_iter().collect();
        let server = rt.server("srv").plist(plist).log(move |server, connection, entry| {
            let name = connection.map(|it| it.name().to_string());
            log.send(format!("{} logs {entry}of {name:?}", server.name())).expect("it listens");
        });
        let server = server.sentinel(move |process, event| {
            let color = process.get("color");
            let contact = process.contact().plist();
            let what =
                format!("{}: {event}{color:?} {} {contact}", process.name(), process.status());
            told.send(what).expect("it listens");
        });
        Ok(server.filter(|_, _| {}).start()?)
    })?;
    let client = connect(address)?;
    let (own, port) = (client.local_addr()?, address.port());
    let name = format!("srv <127.0.0.1:{}>", own.port());
    let vector = |port| format!("[127 0 0 1 {port}]");
    let contact = format!(
        "(:name \"srv\" :service {} :server nil :local {} :host \"127.0.0.1\" :remote {})",
        own.port(),
        vector(port),
        vector(own.port()),
    );
    let log = format!("srv logs accept from 127.0.0.1\nof Some({name:?})");
    let open = format!("{name}: open from 127.0.0.1\nSome(\"green\") open {contact}");
    assert_eq!(tellings.recv_timeout(PATIENCE)?, log);
    assert_eq!(tellings.recv_timeout(PATIENCE)?, open);
    drop(client);
    let broken = tellings.recv_timeout(PATIENCE)?;
    assert!(broken.starts_with(&format!("{name}: connection broken by remote peer\n")), "{broken}");
    shards.shutdown()?;
    assert_eq!(tellings.try_iter().count(), 0, "nobody is told of the end of all");
    Ok(())
});

sharded!(each_name_kind_and_address_is_a_service_of_its_own, |_case, shards| {
    let (at, addresses) = mpsc::channel();
    let shards = shards.start(move |rt, _| -> netproc::Result<()> {
        let start = |name, host| rt.server(name).host(host).filter(|_, _| {}).start();
        let servers = [
            start("a", "127.0.0.1")?,
            start("a", "127.0.0.1")?,
            start("a", "::1")?,
            start("b", "127.0.0.1")?,
            rt.server("own").shared(false).filter(|_, _| {}).start()?,
        ];
        let local = servers.map(|server| server.contact().local().clone());
        at.send(local).expect("the test listens");
        Ok(())
    })?;
    let addresses: Vec<_> = addresses.try_iter().collect();
    let [first, second] = &addresses[..] else { return Err("two shards".into()) };
    assert_eq!(first[..4], second[..4], "shared");
    assert_ne!(first[4], second[4], "not shared");
    let different: BTreeSet<_> = first.iter().chain([&second[4]]).collect();
    assert_eq!(different.len(), 6);
    shards.shutdown()?;
    Ok(())
});

sharded!(an_address_belongs_to_one_service, |case, shards| {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let in_use = |outcome: Result<Shards, ShardsError>| match outcome {
        Err(ShardsError::SetUp { shard, source }) => {
            let err = source.downcast::<StartError>().expect("an error of the start");
            let StartError::Sys { source, .. } = *err else { panic!("{err:?}") };
            (shard, source.errno == libc::EADDRINUSE)
        }
        other => panic!("{other:?}"),
    };
    let refused = shards.clone().start(move |rt, _| rt.server("s").service(port).start());
    assert_eq!(in_use(refused), (0, true), "a stranger's");
    drop(taken);
    let refused = shards.clone().start(move |rt, _| {
        rt.server("s").service(port).start()?;
        rt.server("t").service(port).start()
    });
    assert_eq!(in_use(refused), (0, true), "their own");
    let refused = shards.clone().start(move |rt, _| {
        rt.server("s").service(port).start()?;
        rt.server("s").service(port).start()
    });
    assert_eq!(in_use(refused), (0, true), "the same again");
    let start = |packets: bool, with_all: bool| {
        shards.clone().start(move |rt, _| {
            let server = rt.server("s").service(port).reuse_port(with_all).filter(|_, _| {});
            if packets { server.datagram().start() } else { server.start() }
        })
    };
    for packets in [false, true] {
        if case.handed && packets {
            continue;
        }
        let first = start(packets, false)?;
        assert_eq!(in_use(start(packets, false)), (0, true), "that of others of its kind");
        assert_eq!(
            start(packets, true).is_err(),
            case.handed,
            "wanted so, where the system shares"
        );
        first.shutdown()?;
        start(packets, false)?.shutdown()?;
    }
    Ok(())
});

sharded!(streams_and_packets_may_have_one_port, |case, shards| {
    if case.handed {
        return Ok(());
    }
    let is_in_use = |err: &ShardsError| {
        let ShardsError::SetUp { source, .. } = err else { return false };
        matches!(source.downcast_ref::<StartError>(), Some(StartError::Sys { source, .. })
            if source.kind() == io::ErrorKind::AddrInUse)
    };
    for packets_first in [false, true] {
        let start = || {
            shards.clone().start(move |rt, _| -> Result<(), StartError> {
                let server = |packets: bool, port: u16| {
                    let name = if packets { "dns-udp" } else { "dns" };
                    let server = rt.server(name).service(port).filter(|_, _| {});
                    if packets { server.datagram().start() } else { server.start() }
                };
                let first = server(packets_first, 0)?;
                let second =
                    server(!packets_first, first.contact().local().port().expect("of IP"))?;
                assert_eq!(first.contact().local(), second.contact().local());
                Ok(())
            })
        };
        // The port that the system has found for one kind may be somebody else's for the other.
        let mut tried = (0..50).map(|_| start());
        let free = tried.find(|started| !started.as_ref().is_err_and(is_in_use));
        free.ok_or("no port is free for both")??.shutdown()?;
    }
    Ok(())
});

sharded!(an_address_of_a_service_for_all_is_taken_as_well, |case, shards| {
    for packets in [false, true] {
        if packets && case.handed {
            continue;
        }
        for [first, second] in
            [["0.0.0.0", "127.0.0.1"], ["127.0.0.1", "0.0.0.0"], ["::", "127.0.0.1"], ["::1", "::"]]
        {
            let refused = shards.clone().start(move |rt, _| -> Result<(), StartError> {
                let server = |host| {
                    let server = rt.server(host).host(host);
                    if packets { server.datagram() } else { server }
                };
                let port = server(first).start()?.contact().local().port().expect("of IP");
                match server(second).service(port).start() {
                    Err(StartError::Sys { source, .. }) => {
                        assert_eq!(source.errno, libc::EADDRINUSE);
                        Ok(())
                    }
                    other => panic!("{second} beside {first}: {other:?}"),
                }
            });
            refused?.shutdown()?;
        }
    }
    Ok(())
});

sharded!(different_addresses_with_one_port_are_different_services, |_case, shards| {
    let shards = shards.start(move |rt, _| -> Result<(), StartError> {
        let port = rt.server("a").host("127.0.0.1").start()?.contact().local().port();
        let port = port.expect("of IP");
        for host in ["127.0.0.2", "::1"] {
            rt.server("b").host(host).service(port).start()?;
        }
        Ok(())
    })?;
    shards.shutdown()?;
    Ok(())
});

// Alone, as the copy that a child has of a deleted server would be given connections by the system.
sharded!(alone: a_server_deleted_in_one_shard_leaves_the_service_to_the_other, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let own = Arc::clone(&counts);
    let (shards, address) = serving(shards, move |rt| echo(rt, &own))?;
    let delete = |rt: &Runtime| rt.get_process("echo").expect("it was started").delete();
    ask(&shards, 0, delete);
    for _ in 0..20 {
        let mut stream = connect(address)?;
        assert_eq!(shard_of(&mut stream)?, 1);
        assert_echoes(&mut stream, b"still here")?;
    }
    // Back again, at the same address.
    let own = Arc::clone(&counts);
    let back = ask(&shards, 0, move |rt| {
        let born = own;
        let server = rt.server("echo").shared(true).on_accept(move |_, connection| {
            born.accepted[0].fetch_add(1, Ordering::SeqCst);
            connection.send(vec![0])
        });
        server.filter(Process::send).start().map(|server| server.contact().local().clone())
    });
    assert_eq!(back?, address.into());
    until("it serves again", || {
        let served = connect(address).and_then(|mut stream| shard_of(&mut stream));
        served.expect("both are there") == 0
    });
    ask(&shards, 1, delete);
    assert_eq!(shard_of(&mut connect(address)?)?, 0);
    ask(&shards, 0, delete);
    // The last has gone, and its address is free.
    until_refused(address);
    until("it can be bound", || TcpListener::bind(address).is_ok());
    shards.shutdown()?;
    Ok(())
});

sharded!(a_server_started_again_joins_its_own_service_among_those_alike, |_case, shards| {
    let shards = shards.start(|rt, _| -> Result<(), StartError> {
        rt.server("s").start()?;
        rt.server("s").start().map(drop)
    })?;
    let again = ask(&shards, 0, |rt| {
        let alike = rt.process_list();
        let [second, first] = &alike[..] else { panic!("{alike:?}") };
        let (was, other) = (first.contact().local().clone(), second.contact().local().clone());
        assert_ne!(was, other);
        first.delete();
        let again = rt.server("s").shared(true).start().expect("its address is still in use");
        (was, again.contact().local().clone())
    });
    assert_eq!(again.0, again.1, "where it is served by the other shard");
    shards.shutdown()?;
    Ok(())
});

sharded!(servers_over_tls_are_shared_as_well, |_case, shards| {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
    let trust = netproc::TlsTrust::from_pem(pair.cert.pem())?;
    let tls = TlsServer::builder(identity).build()?;
    let (shards, address) = serving(shards, move |rt| {
        let shard = u8::try_from(rt.shard().expect("one of two")).expect("few");
        let server = rt.server("s").tls(tls.clone());
        let server =
            server.filter(move |process, input| process.send([&[shard], &input[..]].concat()));
        Ok(server.start()?)
    })?;
    let rt = Runtime::new()?;
    let mut served = [0; 2];
    for _ in 0..60 {
        if served.iter().all(|count| *count > 0) {
            break;
        }
        let tls = netproc::TlsClient::builder("localhost").trust(trust.clone()).build()?;
        let client = rt.client("c").remote(address).tls(tls).start()?;
        client.send("secret")?;
        let mut got = Vec::new();
        while got.len() < 7 {
            match rt.next_event_of(&client, PATIENCE)? {
                Some(Event::Input(input)) => got.extend_from_slice(&input),
                other => return Err(format!("{other:?}").into()),
            }
        }
        assert_eq!(&got[1..], b"secret");
        served[usize::from(got[0])] += 1;
        client.delete();
    }
    while rt.stats().sockets > 0 {
        // Until they have said goodbye, or the shards would wait for that.
        rt.turn(Duration::from_millis(10))?;
    }
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    shards.shutdown()?;
    Ok(())
});

sharded!(a_proxy_is_believed_by_every_shard, |_case, shards| {
    let (shards, address) = serving(shards, |rt| {
        let server = rt.server("s").proxy_protocol("127.0.0.1".parse().expect("a list"));
        Ok(server
            .filter(|process, _| {
                let remote = process.contact().remote().map(ToString::to_string);
                process.send(remote.unwrap_or_default())
            })
            .start()?)
    })?;
    let client = "[192 0 2 7 4711]".parse()?;
    let out = ProxyOut::naming(ProxyVersion::V2, client, "[198 51 100 1 443]".parse()?);
    let header = out.bytes(None, None)?;
    for _ in 0..10 {
        let mut stream = connect(address)?;
        stream.write_all(&[&header[..], b"who am I?"].concat())?;
        let mut answer = [0; 16];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"[192 0 2 7 4711]");
    }
    shards.shutdown()?;
    Ok(())
});

sharded!(local_servers_are_shared_by_handing_over, |_case, shards| {
    let folder = tempfile::tempdir()?;
    for kind in [netproc::Kind::Stream, netproc::Kind::SeqPacket] {
        let path = folder.path().join(format!("{kind:?}"));
        let at = path.clone();
        let shards = shards.clone().start(move |rt, shard| {
            let server = rt.server("s").family(Family::Local).kind(kind).service(&*at);
            let server = server.unlink_on_delete(true).mode(0o600).filter(move |process, input| {
                let who = process.peer_credentials().map(|who| who.uid);
                assert_eq!(who.ok(), Some(nix::unistd::getuid().as_raw()));
                process.send([&[u8::try_from(shard).expect("few")], &input[..]].concat())
            });
            server.start()
        })?;
        let rt = Runtime::new()?;
        let mut served = [0; 2];
        for _ in 0..10 {
            let client = rt.client("c").family(Family::Local).kind(kind).service(&*path).start()?;
            client.send("hello")?;
            let Some(Event::Input(input)) = rt.next_event_of(&client, PATIENCE)? else {
                return Err("no answer".into());
            };
            assert_eq!(&input[1..], b"hello");
            served[usize::from(input[0])] += 1;
            client.delete();
        }
        assert_eq!(served, [5, 5], "in rotation");
        shards.shutdown()?;
        assert!(!path.exists(), "its file has gone with the last server");
    }
    Ok(())
});

/// Receives a packet, whatever signal comes: a ring that this thread has made and dropped may still send one.
fn receive(socket: &UdpSocket, answer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(answer) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

sharded!(packets_are_shared_where_the_system_balances_and_refused_elsewhere, |case, shards| {
    let server = |rt: &Runtime| {
        let shard = u8::try_from(rt.shard().expect("one of two")).expect("few");
        let server = rt.server("s").datagram();
        let server =
            server.filter(move |process, input| process.send([&[shard], &input[..]].concat()));
        Ok(server.start()?)
    };
    if case.handed {
        let refused = serving(shards, server).map(drop);
        let Err(ShardsError::SetUp { shard: 0, source }) = refused else {
            return Err(format!("{refused:?}").into());
        };
        assert!(source.to_string().starts_with("packets cannot be handed over"), "{source}");
        return Ok(());
    }
    let (shards, address) = serving(shards, server)?;
    let mut served = [0; 2];
    for number in 0..60_u8 {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut first = None;
        for packet in 0..3 {
            socket.send_to(&[number, packet], address)?;
            let mut answer = [0; 9];
            let (len, from) = receive(&socket, &mut answer)?;
            assert_eq!((&answer[1..len], from), (&[number, packet][..], address));
            let shard = *first.get_or_insert(answer[0]);
            assert_eq!(answer[0], shard, "whoever was once served by one is served by it");
        }
        served[usize::from(first.unwrap_or(9))] += 1;
    }
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    shards.shutdown()?;
    Ok(())
});

/// Connects and sends something.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    stream.write_all(b"x")?;
    Ok(stream)
}

/// Connects more clients than may wait for a shard.
fn crowd(address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    (0..200).map(|_| begin(address)).collect()
}

/// Reads from each which shard serves it, in the order in which they are served, and ends it.
fn serve_all(waiting: &mut Vec<TcpStream>) -> Result<[usize; 2], Box<dyn std::error::Error>> {
    let mut served = [0; 2];
    while let Some(at) = ready(waiting)? {
        served[shard_of(&mut waiting.swap_remove(at))?] += 1;
    }
    Ok(served)
}

sharded!(handed: a_stopped_shard_is_passed_over_and_nobody_is_lost, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    ask(&shards, 0, |rt| rt.get_process("echo").expect("it is there").stop());
    let mut waiting = crowd(address)?;
    // Some wait for the one that is stopped, no more than may; the other serves the rest.
    let mut served = 0;
    while served < 200 - 64 {
        let at = ready(&mut waiting)?.ok_or("the other shard serves")?;
        assert_eq!(shard_of(&mut waiting.swap_remove(at))?, 1, "the other is stopped");
        served += 1;
    }
    ask(&shards, 0, |rt| rt.get_process("echo").expect("it is there").resume());
    let [first, second] = serve_all(&mut waiting)?;
    assert_eq!(served + first + second, 200);
    assert!(first > 0, "who waited there");
    shards.shutdown()?;
    Ok(())
});

sharded!(handed: a_full_shard_is_passed_over_and_nobody_is_lost, |_case, shards| {
    let (shards, address) = serving(shards, move |rt| {
        let shard = u8::try_from(rt.shard().expect("one of two")).expect("few");
        let server = rt.server("echo").max_connections(1).filter(Process::send);
        Ok(server.on_accept(move |_, connection| connection.send(vec![shard])).start()?)
    })?;
    let served = serve_all(&mut crowd(address)?)?;
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    assert_eq!(served.iter().sum::<usize>(), 200);
    shards.shutdown()?;
    Ok(())
});

sharded!(handed: who_waits_for_a_full_shard_is_served_by_one_that_joins, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    ask(&shards, 0, |rt| rt.get_process("echo").expect("it is there").stop());
    ask(&shards, 1, |rt| rt.get_process("echo").expect("it is there").delete());
    let mut waiting = crowd(address)?;
    let again = ask(&shards, 1, move |rt| {
        let server = rt.server("echo").shared(true);
        let server = server.on_accept(|_, connection| connection.send(vec![1]));
        server.filter(Process::send).start().map(|_| ())
    });
    again?;
    for _ in 0..200 - 64 {
        let at = ready(&mut waiting)?.ok_or("the other shard serves")?;
        assert_eq!(shard_of(&mut waiting.swap_remove(at))?, 1, "the other is stopped");
    }
    ask(&shards, 0, |rt| rt.get_process("echo").expect("it is there").resume());
    assert_eq!(serve_all(&mut waiting)?.iter().sum::<usize>(), 64);
    shards.shutdown()?;
    Ok(())
});

/// Waits for one of them that has been answered; `None` when there are none left.
fn ready(streams: &mut [TcpStream]) -> Result<Option<usize>, Box<dyn std::error::Error>> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    if streams.is_empty() {
        return Ok(None);
    }
    let mut fds: Vec<_> =
        streams.iter().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)).collect();
    let count = poll(&mut fds, PollTimeout::try_from(PATIENCE)?)?;
    assert!(count > 0, "{} wait in vain", streams.len());
    Ok(fds.iter().position(|fd| fd.any() == Some(true)))
}

sharded!(all_stopped_they_wait_in_the_backlog, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let own = Arc::clone(&counts);
    let (shards, address) = serving(shards, move |rt| echo(rt, &own).inspect(Process::stop))?;
    let mut streams: Vec<TcpStream> = (0..50).map(|_| begin(address)).collect::<io::Result<_>>()?;
    for shard in 0..2 {
        assert_eq!(ask(&shards, shard, |rt| rt.process_list().len()), 1, "the server alone");
        let status = ask(&shards, shard, |rt| rt.get_process("echo").map(|it| it.status()));
        assert_eq!(status, Some(Status::Stop));
    }
    for shard in 0..2 {
        ask(&shards, shard, |rt| rt.get_process("echo").expect("it is there").resume());
    }
    let mut served = [0; 2];
    for stream in &mut streams {
        served[shard_of(stream)?] += 1;
    }
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    assert_eq!(counts.accepted(), served, "each once");
    shards.shutdown()?;
    Ok(())
});

sharded!(alone: a_thread_that_is_pinned_stays_on_one_processor, |_case, shards| {
    use nix::{sched::{CpuSet, sched_getaffinity}, unistd::Pid};
    let cpus = |set: &CpuSet| -> Vec<usize> {
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
    };
    let usable = cpus(&sched_getaffinity(Pid::from_raw(0))?);
    let (at, places) = mpsc::channel();
    let (started, children) = mpsc::channel();
    let shards = shards.pin(true).start(move |rt, shard| -> io::Result<()> {
        at.send((shard, cpus(&sched_getaffinity(Pid::from_raw(0))?))).expect("the test listens");
        // What a shard starts is not kept there.
        let child = rt.spawn_process("child", "sleep").arg("600").start().expect("there is one");
        let child = Pid::from_raw(child.pid().expect("it runs").cast_signed());
        started.send(cpus(&sched_getaffinity(child)?)).expect("the test listens");
        Ok(())
    })?;
    assert_eq!(children.try_iter().collect::<Vec<_>>(), [usable.clone(), usable.clone()]);
    let mut places: Vec<_> = places.try_iter().collect();
    places.sort_unstable();
    let expected = |shard: usize| (shard, vec![usable[shard % usable.len()]]);
    assert_eq!(places, [expected(0), expected(1)]);
    shards.shutdown()?;
    Ok(())
});

sharded!(a_shard_that_is_held_up_is_named, |_case, shards| {
    let shards = shards.start(|_, _| Ok::<_, StartError>(()))?;
    let held = Arc::new(Barrier::new(2));
    let own = Arc::clone(&held);
    shards.handle(1).ok_or("two")?.post(move |_| {
        own.wait();
    })?;
    let silent = shards.stats(Duration::from_secs(2));
    assert!(matches!(silent, Err(ShardsError::Silent { shard: 1 })), "{silent:?}");
    held.wait();
    assert_eq!(shards.stats_of_each(PATIENCE)?.len(), 2);
    assert!(shards.handle(2).is_none());
    shards.shutdown()?;
    Ok(())
});

#[test]
fn a_number_of_shards_that_makes_no_sense_is_refused() {
    for count in [0, 1025, usize::MAX] {
        let refused = Shards::builder().count(count).start(|_, _| Ok::<_, StartError>(()));
        let expected = matches!(refused, Err(ShardsError::Count { max: 1024, .. }));
        assert!(expected, "{refused:?}");
    }
}

#[test]
fn shards_and_their_errors_go_anywhere() {
    const fn check<T: Send + Sync + 'static>() {}
    check::<Shards>();
    check::<ShardsBuilder>();
    check::<ShardsError>();
}

#[test]
fn as_many_as_there_are_processors_unless_told_otherwise() -> Outcome {
    let shards = Shards::builder().start(|rt, shard| {
        assert_eq!(rt.shard(), Some(shard));
        Ok::<_, StartError>(())
    })?;
    assert_eq!(shards.count(), thread::available_parallelism()?.get());
    shards.shutdown()?;
    Ok(())
}

#[test]
fn a_runtime_by_itself_shares_nothing() -> netproc::Result<()> {
    let rt = Runtime::new()?;
    let server = rt.server("s").shared(true).start()?;
    let refused = rt.server("t").shared(true).local(server.contact().local().clone()).start();
    assert!(matches!(refused, Err(StartError::Sys { .. })), "{refused:?}");
    assert_eq!(rt.shard(), None);
    Ok(())
}

#[test]
fn a_socket_handed_to_the_program_serves_all_shards() -> Outcome {
    let test = concat!(module_path!(), "::a_socket_handed_to_the_program_serves_all_shards");
    let handed = || Ok(vec![TcpListener::bind("127.0.0.1:0")?.into()]);
    activated(test, handed, &[], || {
        let counts = Arc::new(Counts::default());
        let own = Arc::clone(&counts);
        let (shards, address) = serving(Shards::builder().count(2), move |rt| {
            let shard = rt.shard().expect("one of two");
            let born = Arc::clone(&own);
            let server = rt.server("s").use_external_socket(true).on_accept(move |_, it| {
                born.accepted[shard].fetch_add(1, Ordering::SeqCst);
                it.send(vec![0])
            });
            Ok(server.filter(Process::send).start()?)
        })?;
        assert_eq!(netproc::external_sockets(), [], "it was taken");
        for _ in 0..10 {
            let mut stream = connect(address)?;
            shard_of(&mut stream)?;
            assert_echoes(&mut stream, b"by both")?;
        }
        assert_eq!(counts.accepted(), [5, 5]);
        shards.shutdown()?;
        Ok(())
    })
}
