//! How several runtimes behind one service end: by one call, under load, by a set-up that fails, a panic, or
//! for want of descriptors; and that nothing is left of them.

use std::{
    any::Any,
    fmt,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    os::fd::{AsRawFd as _, IntoRawFd as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use netproc::{
    Address, Event, Object, Plist, Process, Runtime, Shards, ShardsError, StartError, Status, Value,
};
use netproc_tests::{
    child::{activated, allow_all_descriptors, allow_descriptors, descriptors},
    contract::{assert_bytes, pattern},
    rig::{Outcome, PATIENCE},
    sharded,
    shards::{
        Counts, ask, assert_echoes, connect, echo, held, serving, shard_of, shut_down, until,
        until_refused,
    },
};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket,
};

/// How many clients keep the shards busy.
const CLIENTS: usize = 4;

sharded!(alone: a_shutdown_under_load_leaves_no_thread_and_no_descriptor, |_case, shards| {
    // A thread that has been joined may still be listed for a moment: they are counted before there are any.
    let threads_before = threads()?;
    // What is made once for the whole program is made now.
    let counts = Arc::new(Counts::default());
    let own = Arc::clone(&counts);
    serving(shards.clone(), move |rt| echo(rt, &own))?.0.shutdown()?;
    let descriptors_before = descriptors()?;
    let own = Arc::clone(&counts);
    let (shards, address) = serving(shards, move |rt| echo(rt, &own))?;
    let over = AtomicBool::new(false);
    let bytes = pattern(3, 20_000);
    thread::scope(|scope| -> Outcome {
        let client = || {
            let mut served = 0;
            while !over.load(Ordering::SeqCst) {
                // Refused, reset, at its end: as it may be once they are gone. It speaks first, since Linux can
                // lose a connection without a word that is made while its listener closes: nobody would ever
                // tell a client that only reads.
                let talked = connect(address).and_then(|mut stream| {
                    stream.write_all(&bytes[..1])?;
                    shard_of(&mut stream)?;
                    stream.read_exact(&mut [0])?;
                    assert_echoes(&mut stream, &bytes)
                });
                match talked {
                    Ok(()) => served += 1,
                    Err(err) if is_end(err.kind()) => {}
                    Err(err) => panic!("{err:?}"),
                }
            }
            served
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        until("both are busy", || counts.accepted().iter().all(|count| *count > 20));
        shards.shutdown()?;
        over.store(true, Ordering::SeqCst);
        let served: usize = clients.into_iter().map(|it| it.join().expect("bytes are right")).sum();
        assert!(served > 0);
        Ok(())
    })?;
    until("all is given back", || {
        descriptors().ok() == Some(descriptors_before) && threads().ok() == Some(threads_before)
    });
    Ok(())
});

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

const fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::NotConnected
    )
}

sharded!(alone: a_set_up_that_fails_or_panics_leaves_nothing, |_case, shards| {
    let (descriptors_before, threads_before) = (descriptors()?, threads()?);
    for panics in [false, true] {
        for bad in [0, 1] {
            let (at, addresses) = mpsc::channel();
            let counts = Arc::new(Counts::default());
            let refused = shards.clone().start(move |rt, shard| -> netproc::Result<()> {
                let local = echo(rt, &counts)?.contact().local().clone();
                at.send(local.clone()).expect("the test listens");
                if shard == bad && panics {
                    panic!("no shard {shard}");
                }
                if shard == bad {
                    rt.server("taken").shared(false).local(local).start()?;
                }
                Ok(())
            });
            match refused {
                Err(ShardsError::Panicked { shard, message }) if panics => {
                    assert_eq!((shard, &*message), (bad, &*format!("no shard {bad}")));
                }
                Err(ShardsError::SetUp { shard, source }) if !panics => {
                    assert_eq!(shard, bad);
                    let err = source.downcast::<netproc::Error>().map_err(|err| err.to_string())?;
                    assert!(matches!(*err, netproc::Error::Start(StartError::Sys { .. })), "{err:?}");
                }
                other => return Err(format!("{other:?}").into()),
            }
            let addresses: Vec<_> = addresses.try_iter().collect();
            assert_eq!(addresses.len(), bad + 1, "those behind it were not even begun");
            let address = addresses[0].socket_addr().ok_or("an address of IP")?;
            until_refused(address);
        }
    }
    until("all is given back", || {
        descriptors().ok() == Some(descriptors_before) && threads().ok() == Some(threads_before)
    });
    Ok(())
});

sharded!(a_panic_in_a_callback_ends_nothing_but_that_call, |_case, shards| {
    let (reports, reported) = mpsc::channel();
    let counts = Arc::new(Counts::default());
    let own = Arc::clone(&counts);
    let (shards, address) = serving(shards, move |rt| {
        let reports = reports.clone();
        rt.on_callback_error(move |err| reports.send(err.panicked).expect("the test listens"));
        let server = echo(rt, &own)?;
        server.set_filter(|process, input| {
            assert_ne!(&input[..], b"bad", "that was bad");
            process.send(input)
        });
        Ok(server)
    })?;
    let mut stream = connect(address)?;
    shard_of(&mut stream)?;
    stream.write_all(b"bad")?;
    assert!(reported.recv_timeout(PATIENCE)?);
    assert_echoes(&mut stream, b"good")?;
    for shard in 0..2 {
        // Posted calls are callbacks as well.
        shards.handle(shard).ok_or("two")?.post(|_| panic!("on purpose"))?;
        assert!(reported.recv_timeout(PATIENCE)?);
    }
    assert_eq!(shards.stats(PATIENCE)?.accepted, 1, "by the kernel's choice or handed over");
    shards.shutdown()?;
    Ok(())
});

/// Panics when it is dropped, on a property list, which is no callback.
struct Bomb;

impl Object for Bomb {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("#<bomb>")
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.is::<Self>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

sharded!(a_panic_outside_of_callbacks_is_told_by_join_and_ends_all, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, _) = serving(shards, move |rt| {
        if rt.shard() == Some(1) {
            let mut plist = Plist::new();
            plist.put("bomb", Value::object(Bomb));
            rt.server("armed").shared(false).plist(plist).start()?;
        }
        echo(rt, &counts)
    })?;
    let first = shards.handle(0).ok_or("two")?.clone();
    first.shutdown()?;
    match shards.join() {
        Err(ShardsError::Panicked { shard: 1, message }) => assert_eq!(message, "dropped"),
        other => return Err(format!("{other:?}").into()),
    }
    assert!(first.post(|_| {}).is_err(), "gone");
    Ok(())
});

sharded!(whoever_ends_first_ends_all, |_case, shards| {
    for shard in 0..2 {
        let counts = Arc::new(Counts::default());
        let (shards, address) = serving(shards.clone(), move |rt| echo(rt, &counts))?;
        let mut stream = connect(address)?;
        shard_of(&mut stream)?;
        let handles: Vec<_> = (0..2).map(|it| shards.handle(it).cloned()).collect();
        shards.handle(shard).ok_or("two")?.post(Runtime::shutdown)?;
        shards.join()?;
        assert!(handles.iter().flatten().all(|handle| handle.post(|_| {}).is_err()));
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "its end, or a reset");
        until_refused(address);
    }
    Ok(())
});

sharded!(shards_that_are_dropped_have_ended, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    let handle = shards.handle(1).ok_or("two")?.clone();
    drop(shards);
    assert!(handle.post(|_| {}).is_err());
    until_refused(address);
    Ok(())
});

sharded!(what_was_sent_goes_out_before_the_end, |_case, shards| {
    let bytes = pattern(9, 500_000);
    let sent = bytes.clone();
    let (shards, address) = serving(shards, move |rt| {
        let sent = sent.clone();
        let server = rt.server("s").on_accept(move |_, connection| {
            connection.send(sent.clone())?;
            connection.runtime().shutdown();
            Ok::<_, netproc::SendError>(())
        });
        Ok(server.filter(|_, _| {}).start()?)
    })?;
    let mut stream = connect(address)?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    assert_bytes(&got, &bytes, "all of it");
    shards.join()?;
    Ok(())
});

sharded!(what_came_before_a_shutdown_is_served, |_case, shards| {
    let (born, births) = mpsc::channel();
    let (shards, address) = serving(shards, move |rt| {
        let born = born.clone();
        let server = rt.server("echo").filter(Process::send).on_accept(move |_, connection| {
            let told = (connection.runtime().shard(), connection.id());
            born.send(told).expect("the test listens");
        });
        Ok(server.start()?)
    })?;
    let mut stream = connect(address)?;
    let (shard, id) = births.recv_timeout(PATIENCE)?;
    let shard = shard.ok_or("one of two")?;
    let go_on = held(&shards, shard);
    stream.write_all(b"read, ")?;
    shards.handle(shard).ok_or("two")?.send(id, "posted, ")?;
    let other = shards.handle(1 - shard).ok_or("two")?.clone();
    let ending = thread::spawn(move || shards.shutdown());
    until("the other has ended", || other.post(|_| {}).is_err());
    drop(go_on);
    let mut got = String::new();
    stream.read_to_string(&mut got)?;
    assert!(got.contains("read, ") && got.contains("posted, "), "{got:?}");
    ending.join().map_err(|_| "it panicked")??;
    Ok(())
});

sharded!(a_run_that_begins_inside_of_a_callback_when_shards_are_to_end_returns, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, _) = serving(shards, move |rt| echo(rt, &counts))?;
    let (go_on, wait) = mpsc::channel::<()>();
    let (done, ran) = mpsc::channel();
    shards.handle(0).ok_or("two")?.post(move |rt| {
        let _over = wait.recv_timeout(PATIENCE);
        // What ends the shards was posted behind this, which runs already.
        done.send(rt.run().is_ok()).expect("the test listens");
    })?;
    let other = shards.handle(1).ok_or("two")?.clone();
    let ending = thread::spawn(move || shards.shutdown());
    until("the other has ended", || other.post(|_| {}).is_err());
    drop(go_on);
    assert!(ran.recv_timeout(PATIENCE)?);
    ending.join().map_err(|_| "it panicked")??;
    Ok(())
});

sharded!(a_peer_that_never_reads_does_not_hold_the_end_up, |_case, shards| {
    let (shards, address) = serving(shards.flush_within(Duration::from_millis(50)), |rt| {
        let server = rt.server("s").on_accept(|_, connection| connection.send(vec![7; 16 << 20]));
        let server = server.filter(|_, _| {});
        Ok::<_, netproc::Error>(server.start()?)
    })?;
    let stream = connect(address)?;
    until("it is served", || shards.stats(PATIENCE).is_ok_and(|stats| stats.sent > 0));
    let begin = Instant::now();
    shards.shutdown()?;
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "it goes by the five seconds there are at first"
    );
    drop(stream);
    Ok(())
});

sharded!(alone handed: without_descriptors_it_is_logged_and_goes_on_as_soon_as_there_are_some, |_case, shards| {
    let (log, logged) = mpsc::channel();
    let (shards, address) = serving(shards, move |rt| {
        let log = log.clone();
        let server = rt.server("echo").filter(Process::send);
        let server = server.on_accept(|_, connection| connection.send(vec![0]));
        let server = server.log(move |_, _, entry| {
            if let netproc::LogEntry::AcceptFailed { err, .. } = entry {
                log.send(err.errno).expect("the test listens");
            }
        });
        Ok(server.start()?)
    })?;
    let mut warm = connect(address)?;
    shard_of(&mut warm)?;
    // One for the client, none for the server.
    allow_descriptors(1)?;
    let mut stream = connect(address)?;
    assert_eq!(logged.recv_timeout(PATIENCE)?, libc::EMFILE);
    allow_all_descriptors()?;
    let other = connect(address).and_then(|mut stream| shard_of(&mut stream));
    assert!(other.is_ok(), "{other:?}");
    // It may have been given up for the reserve, which only a reactor has; else it is served.
    match shard_of(&mut stream) {
        Ok(_) => assert_echoes(&mut stream, b"late, but here")?,
        Err(err) => assert!(is_end(err.kind()), "{err:?}"),
    }
    assert_echoes(&mut warm, b"never minded")?;
    shards.shutdown()?;
    Ok(())
});

/// What the system calls the socket of this number; `None` for what is none.
fn socket_name(number: i32) -> Option<PathBuf> {
    let name = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    name.to_str()?.starts_with("socket:").then_some(name)
}

#[test]
fn a_listener_shut_down_from_outside_ends_the_servers_of_all_shards_once() -> Outcome {
    let test = concat!(
        module_path!(),
        "::a_listener_shut_down_from_outside_ends_the_servers_of_all_shards_once"
    );
    let handed = || Ok(vec![TcpListener::bind("127.0.0.1:0")?.into()]);
    activated(test, handed, &[], || {
        let listener = socket_name(3).ok_or("it was handed over")?;
        let (told, tellings) = mpsc::channel();
        let (shards, _) = serving(Shards::builder().count(2), move |rt| {
            let (told, shard) = (told.clone(), rt.shard());
            let server = rt.server("s").use_external_socket(true).filter(|_, _| {});
            let server = server.sentinel(move |process, event| {
                told.send((shard, event.to_string(), process.status())).expect("it listens");
            });
            Ok(server.start()?)
        })?;
        let number = (3..1000).find(|number| socket_name(*number).as_ref() == Some(&listener));
        let number = number.ok_or("a thread accepts on it")?;
        socket::shutdown(number, socket::Shutdown::Both)?;
        let mut told = [tellings.recv_timeout(PATIENCE)?, tellings.recv_timeout(PATIENCE)?];
        told.sort_by_key(|(shard, ..)| *shard);
        let broken = "connection broken by remote peer\n".to_owned();
        let expected = |shard| (Some(shard), broken.clone(), Status::Closed);
        assert_eq!(told, [expected(0), expected(1)]);
        shards.shutdown()?;
        assert_eq!(tellings.try_iter().count(), 0, "once");
        Ok(())
    })
}

#[test]
fn a_socket_handed_over_stays_for_the_next_start_when_one_fails_late() -> Outcome {
    let test = concat!(
        module_path!(),
        "::a_socket_handed_over_stays_for_the_next_start_when_one_fails_late"
    );
    let handed = || {
        let packets = UdpSocket::bind("127.0.0.1:0")?;
        Ok(vec![TcpListener::bind("127.0.0.1:0")?.into(), packets.into()])
    };
    activated(test, handed, &[("LISTEN_FDNAMES", "web:packets")], || {
        let shards = Shards::builder().count(2).start(|_, _| Ok::<_, netproc::Error>(()))?;
        let offered = netproc::external_sockets();
        let open = descriptors()?;
        let packets = |shared| {
            move |rt: &Runtime| {
                let server = rt.server("p").shared(shared).datagram().external_socket("packets");
                server.filter(|_, _| {}).start().map(|it| it.contact().local().clone())
            }
        };
        let web = |rt: &Runtime| {
            let server = rt.server("s").shared(true).external_socket("web");
            let server = server.on_accept(|_, connection| connection.send(vec![7]));
            server.filter(|_, _| {}).start().map(|it| it.contact().local().clone())
        };
        let refused = ask(&shards, 0, packets(true));
        assert!(matches!(refused, Err(StartError::Incompatible(_))), "{refused:?}");
        assert_eq!((netproc::external_sockets(), descriptors()?), (offered.clone(), open));
        // Enough for a duplicate, not for what stops the thread that accepts.
        allow_descriptors(1)?;
        let refused = ask(&shards, 0, web);
        allow_all_descriptors()?;
        assert!(matches!(refused, Err(StartError::Sys { .. })), "{refused:?}");
        assert_eq!((netproc::external_sockets(), descriptors()?), (offered.clone(), open));
        assert_eq!(ask(&shards, 0, |rt| rt.process_list().len()), 0);
        assert_eq!(ask(&shards, 0, packets(false))?, offered[1].local);
        for shard in [1, 0] {
            assert_eq!(ask(&shards, shard, web)?, offered[0].local);
        }
        assert_eq!(netproc::external_sockets(), []);
        let to = offered[0].local.socket_addr().ok_or("of IP")?;
        assert_eq!(shard_of(&mut connect(to)?)?, 7);
        shards.shutdown()?;
        Ok(())
    })
}

/// A server that is started anew when it breaks, and tells what came of that.
fn steadfast(
    rt: &Runtime,
    port: u16,
    told: &mpsc::Sender<Result<(), String>>,
) -> Result<Process, StartError> {
    let shard = u8::try_from(rt.shard().expect("one of two")).expect("few");
    let told = told.clone();
    let server = rt.server("s").shared(true).service(port).filter(Process::send);
    let server = server.on_accept(move |_, connection| connection.send(vec![shard]));
    let server = server.sentinel(move |process, event| {
        if &*process.name() == "s" && matches!(event, Event::Broken { .. }) {
            let again = steadfast(process.runtime(), port, &told);
            told.send(again.map(drop).map_err(|err| err.to_string())).expect("the test listens");
        }
    });
    server.start()
}

sharded!(alone: a_server_that_broke_is_started_again_at_its_port_and_serves, |_case, shards| {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (told, tellings) = mpsc::channel();
    let (shards, address) = serving(shards, move |rt| Ok(steadfast(rt, port, &told)?))?;
    // The second hears of it when the first has started anew.
    let (go_on, wait) = mpsc::channel();
    let (held, begun) = mpsc::channel();
    shards.handle(1).ok_or("two")?.post(move |_| {
        held.send(()).expect("the test listens");
        let _failed = wait.recv_timeout(PATIENCE);
    })?;
    begun.recv_timeout(PATIENCE)?;
    shut_down(address)?;
    assert_eq!(tellings.recv_timeout(PATIENCE)?, Ok(()));
    for _ in 0..4 {
        assert_eq!(shard_of(&mut connect(address)?)?, 0);
    }
    go_on.send(())?;
    assert_eq!(tellings.recv_timeout(PATIENCE)?, Ok(()));
    until("both serve", || {
        let served = connect(address).and_then(|mut stream| shard_of(&mut stream));
        served.expect("one of them does") == 1
    });
    for shard in 0..2 {
        ask(&shards, shard, |rt| rt.get_process("s").expect("it is back").delete());
    }
    // The last has gone, and its address is free.
    let other = ask(&shards, 0, move |rt| rt.server("t").shared(true).service(port).start().map(drop));
    assert!(other.is_ok(), "{other:?}");
    shards.shutdown()?;
    Ok(())
});

/// How often two shards race for a service that ends.
const RACES: usize = 500;

#[test]
fn a_socket_handed_over_that_ends_in_one_shard_and_begins_in_another_is_served_or_replaced()
-> Outcome {
    let test = concat!(
        module_path!(),
        "::a_socket_handed_over_that_ends_in_one_shard_and_begins_in_another_is_served_or_replaced"
    );
    let names: Vec<_> = (0..RACES).map(|race| race.to_string()).collect();
    let (count, names) = (RACES.to_string(), names.join(":"));
    let variables = [("LISTEN_FDS", &*count), ("LISTEN_FDNAMES", &*names)];
    activated(
        test,
        || Ok(Vec::new()),
        &variables,
        || {
            // More than a shell passes on: they get their numbers here, before anybody asks for them.
            loop {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                if listener.as_raw_fd() >= 3 + i32::try_from(RACES)? {
                    break;
                }
                fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
                let _handed_over = listener.into_raw_fd();
            }
            let shards = Shards::builder().count(2).start(|_, _| Ok::<_, netproc::Error>(()))?;
            // Some numbers were taken: this program was started with descriptors of its own.
            let sockets = netproc::external_sockets();
            assert!(sockets.len() > RACES / 2, "{}", sockets.len());
            for socket in sockets {
                let name = socket.name.clone();
                let start = move |rt: &Runtime| {
                    let server = rt.server("s").shared(true).external_socket(&socket.name);
                    let server = server.on_accept(|_, connection| connection.send(vec![7]));
                    let server = server.filter(|_, _| {}).start()?;
                    Ok::<_, StartError>(server.contact().local().socket_addr())
                };
                ask(&shards, 1, start.clone())?;
                let line = Arc::new(AtomicUsize::new(0));
                let (ends, begins) = (Arc::clone(&line), line);
                let ended = shards.handle(1).ok_or("two")?;
                ended.post(move |rt| {
                    at_once(&ends);
                    rt.get_process("s").expect("it was started").delete();
                })?;
                let address = ask(&shards, 0, move |rt| {
                    at_once(&begins);
                    start(rt)
                })?;
                let served = connect(address.ok_or("of IP")?).and_then(|mut it| shard_of(&mut it));
                assert!(matches!(served, Ok(7)), "{name}: {served:?}");
                ask(&shards, 0, |rt| rt.get_process("s").expect("it was started").delete());
                ask(&shards, 1, |_| ());
            }
            shards.shutdown()?;
            Ok(())
        },
    )
}

sharded!(alone handed: a_service_that_ends_in_one_shard_can_begin_in_another_meanwhile, |case, shards| {
    // In nobody's way, as a port could be.
    let name = format!("netproc-{}-{case:?}", std::process::id());
    let at = Address::Abstract(name.into_bytes().into());
    let start = move |rt: &Runtime| {
        let server = rt.server("s").shared(true).local(at.clone()).filter(|_, _| {});
        server.start().map(drop).map_err(|err| format!("{err:?}"))
    };
    let shards = shards.start(|_, _| Ok::<_, netproc::Error>(()))?;
    ask(&shards, 1, start.clone())?;
    for race in 0..RACES {
        let (old, new) = if race % 2 == 0 { (1, 0) } else { (0, 1) };
        let line = Arc::new(AtomicUsize::new(0));
        let (ends, begins) = (Arc::clone(&line), line);
        shards.handle(old).ok_or("two")?.post(move |rt| {
            at_once(&ends);
            rt.get_process("s").expect("it was started").delete();
        })?;
        let start = start.clone();
        let begun = ask(&shards, new, move |rt| {
            at_once(&begins);
            start(rt)
        });
        assert_eq!(begun, Ok(()), "race {race}");
    }
    shards.shutdown()?;
    Ok(())
});

sharded!(alone handed: who_waits_for_a_shard_that_closes_is_served_by_another, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts).inspect(Process::stop))?;
    let before = descriptors()?;
    let clients = (0..10).map(|_| connect(address)).collect::<Result<Vec<_>, _>>()?;
    until("each waits for one of the two", || descriptors().ok() == Some(before + 20));
    ask(&shards, 0, Runtime::close);
    ask(&shards, 1, |rt| rt.get_process("echo").expect("it is there").resume());
    for mut client in clients {
        assert_eq!(shard_of(&mut client)?, 1);
        assert_echoes(&mut client, b"hello")?;
    }
    shards.shutdown()?;
    Ok(())
});

sharded!(alone handed: who_waits_behind_one_that_deletes_the_server_is_served_by_another, |_case, shards| {
    let (shards, address) = serving(shards, move |rt| {
        let shard = rt.shard().expect("it is one of several");
        let server = rt.server("echo").filter(Process::send).on_accept(move |server, connection| {
            if shard == 0 {
                server.delete();
            }
            connection.send(vec![u8::try_from(shard).expect("few shards")])
        });
        Ok(server.start()?)
    })?;
    let before = descriptors()?;
    let (go, gone) = mpsc::channel::<()>();
    shards.handle(0).ok_or("two")?.post(move |_| assert!(gone.recv().is_err(), "nothing is sent"))?;
    let clients = (0..20).map(|_| connect(address)).collect::<Result<Vec<_>, _>>()?;
    until("each waits for one of the two, or is served", || {
        descriptors().ok() == Some(before + 40)
    });
    drop(go);
    let mut deleted_by = 0;
    for mut client in clients {
        if shard_of(&mut client)? == 0 {
            deleted_by += 1;
        }
        assert_echoes(&mut client, b"hello")?;
    }
    assert_eq!(deleted_by, 1, "one was there before the server went");
    shards.shutdown()?;
    Ok(())
});

sharded!(a_run_inside_of_a_callback_ends_with_the_shards, |_case, shards| {
    let counts = Arc::new(Counts::default());
    let (shards, address) = serving(shards, move |rt| echo(rt, &counts))?;
    let (told, inside) = mpsc::channel();
    shards.handle(0).ok_or("two")?.post(move |rt| {
        rt.run_after(Duration::ZERO, move |_| told.send(()).expect("the test listens"));
        rt.run().expect("it is not too deep");
    })?;
    inside.recv_timeout(PATIENCE)?;
    shards.shutdown()?;
    until_refused(address);
    Ok(())
});

/// Returns when both have come to the line, at once.
fn at_once(line: &AtomicUsize) {
    line.fetch_add(1, Ordering::SeqCst);
    while line.load(Ordering::SeqCst) < 2 {
        std::hint::spin_loop();
    }
}
