//! The reactor itself: waking, sleeping, foreign loops, stale completions, running out, ending.

use std::{
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, IntoRawFd as _},
        unix::net::UnixStream,
    },
    process::Command,
    thread,
    time::Instant,
};

use netproc_core::reactor::Wake as _;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::resource::{Resource, setrlimit},
};

use super::*;

#[test]
fn many_wakes_are_one_event_a_poll() {
    let mut rig = Rig::new(Config::default());
    let waker = rig.reactor.waker();
    for _ in 0..3 {
        (0..100).for_each(|_| waker.wake());
        rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
        assert!(matches!(rig.queue.pop(), Some(Event::Woken)));
        assert!(rig.queue.is_empty());
    }
    let waking = thread::spawn(move || waker.wake());
    rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
    assert!(matches!(rig.queue.pop(), Some(Event::Woken)));
    waking.join().unwrap();
}

#[test]
fn wakes_from_other_threads_are_never_lost() {
    let mut rig = Rig::new(Config::default());
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let waker = rig.reactor.waker();
    let waking = thread::spawn(move || asked.iter().for_each(|()| waker.wake()));
    for _ in 0..5000 {
        ask.send(()).unwrap();
        rig.until(|event| matches!(event, Event::Woken).then_some(()));
    }
    drop(ask);
    waking.join().unwrap();
}

#[test]
fn an_idle_reactor_sleeps_until_its_deadline() {
    let mut rig = Rig::new(Config::default());
    rig.listen();
    rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
    let before = rig.reactor.counters();
    let end = rig.reactor.now().after(Duration::from_millis(60));
    rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
    assert!(rig.reactor.now() >= end && rig.queue.is_empty());
    let after = rig.reactor.counters();
    assert_eq!((after.waits, after.syscalls), (before.waits + 1, before.syscalls + 1));
}

/// Sleeps on the descriptor, and says whether something woke it: running out of time is no waking,
/// whatever the descriptor shows by then.
pub(super) fn readable(rig: &Rig, within: u16) -> bool {
    let mut ask = [PollFd::new(rig.reactor.as_fd().unwrap(), PollFlags::POLLIN)];
    let start = Instant::now();
    let found = nix::poll::poll(&mut ask, PollTimeout::from(within)).unwrap() > 0;
    found && start.elapsed() < Duration::from_millis(within.into())
}

#[test]
fn a_foreign_loop_is_woken_from_its_sleep() {
    let mut rig = Rig::new(Config::default());
    let (near, far) = UnixStream::pair().unwrap();
    rig.reactor.adopt(near.into(), Role::Connection, true).unwrap();
    let (ask, asked) = std::sync::mpsc::channel::<u8>();
    let waker = rig.reactor.waker();
    let other = thread::spawn(move || {
        for round in asked {
            // Late enough for the loop to be asleep, most of the time; on a busy machine one yield may be.
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1) {
                thread::yield_now();
            }
            if round % 2 == 0 {
                (&far).write_all(&[round]).unwrap();
            } else {
                waker.wake();
            }
        }
    });
    for round in 0..200 {
        rig.reactor.arm(None).unwrap();
        ask.send(round).unwrap();
        let mut event = None;
        while event.is_none() {
            assert!(readable(&rig, 5000), "round {round}");
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            event = rig.queue.pop();
            rig.reactor.arm(None).unwrap();
        }
        match event {
            Some(Event::Data { buf, .. }) => assert_eq!(buf[..], [round]),
            Some(Event::Woken) => assert_eq!(round % 2, 1),
            other => panic!("{other:?}"),
        }
    }
    drop(ask);
    other.join().unwrap();
}

#[test]
fn a_foreign_loop_can_sleep_on_the_descriptor() {
    let mut rig = Rig::new(Config::default());
    let (id, mut client) = rig.accepted();
    for _ in 0..3 {
        // A time set earlier and replaced must not make the descriptor readable.
        for far in [Duration::from_secs(5), Duration::from_secs(9)] {
            let at = rig.reactor.now().after(far);
            rig.reactor.arm(Some(at)).unwrap();
            assert!(!readable(&rig, 20), "nothing to do yet");
        }
        let soon = rig.reactor.now().after(Duration::from_millis(30));
        rig.reactor.arm(Some(soon)).unwrap();
        assert!(readable(&rig, 2000), "the time set");
        assert!(rig.reactor.now() >= soon);
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        rig.reactor.send(id, "pong".into());
        rig.reactor.arm(None).unwrap();
        let mut room = [0; 4];
        client.read_exact(&mut room).unwrap();
        client.write_all(b"ping").unwrap();
        assert!(readable(&rig, 2000), "input");
        assert_eq!(rig.data(), b"ping");
    }
    rig.reactor.waker().wake();
    assert!(readable(&rig, 2000), "a wake");
    rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
    rig.reactor.close(id, CloseHow::Now);
    rig.reactor.arm(None).unwrap();
    assert!(readable(&rig, 2000), "an event that waits inside");
    rig.closed(id);
}

// Without deferred task work the kernel completes while a foreign loop arms, not only when the ring is entered.
#[test]
fn what_comes_while_a_foreign_loop_arms_wakes_it() {
    const ROUNDS: u32 = 10_000;
    let config = Config::default();
    let ring = Ring::without_deferred_work(config.ring_entries).unwrap();
    let reactor = UringReactor::over(ring, config, probe(&config).unwrap()).unwrap();
    let mut rig = Rig { reactor, queue: EventQueue::new() };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let id = rig.reactor.adopt(ours.into(), Role::Connection, true).unwrap();
    let peer = thread::spawn(move || {
        for round in 0..ROUNDS {
            // At another time of the turn in each round.
            for _ in 0..round * 7 % 1500 {
                std::hint::spin_loop();
            }
            theirs.write_all(b"x").unwrap();
            theirs.read_exact(&mut [0]).unwrap();
        }
    });
    let mut heard = 0;
    while heard < ROUNDS {
        rig.reactor.arm(None).unwrap();
        assert!(readable(&rig, 2000), "{heard} heard, and asleep over the next");
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        while let Some(event) = rig.queue.pop() {
            let Event::Data { .. } = event else { continue };
            heard += 1;
            rig.reactor.send(id, "y".into());
        }
    }
    // The last answer goes out.
    rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
    peer.join().unwrap();
}

#[test]
fn a_stale_completion_is_counted_and_its_descriptor_closed() {
    let mut rig = Rig::new(Config::default());
    let (id, client) = rig.accepted();
    let (near, mut far) = UnixStream::pair().unwrap();
    let old = Key::new(id.0.index, id.0.generation.wrapping_sub(1));
    let more = 2;
    let forged = [
        Completion::forged(Token::new(OpKind::Accept, old), near.into_raw_fd(), more),
        Completion::forged(Token::new(OpKind::Recv, old), 10, more | 1 | 60_000 << 16),
        Completion::forged(Token::new(OpKind::RecvPacket, old), 10, more | 1),
        Completion::forged(Token::new(OpKind::Send, old), 10, more),
        Completion::forged(Token::new(OpKind::Recv, Key::new(9999, 1)), 0, more),
        Completion::forged(Token(u64::MAX), 0, more),
    ];
    let before = rig.reactor.counters().slots_held;
    let count = forged.len() as u64;
    for completion in forged {
        let mut early = EventQueue::new();
        rig.reactor.complete(completion, &mut Batch::new(&mut rig.queue, &mut early, 9));
    }
    let counters = rig.reactor.counters();
    assert_eq!((counters.stale, counters.slots_held), (count, before));
    assert_eq!(far.read(&mut [0]).unwrap(), 0, "the descriptor nobody wanted is closed");
    assert!(rig.queue.is_empty());
    drop(client);
    assert!(matches!(rig.next(), Event::Eof { .. }));
}

#[test]
fn a_dead_id_is_ignored_by_every_method() {
    let mut rig = Rig::new(Config::default());
    let (id, _client) = rig.accepted();
    rig.reactor.close(id, CloseHow::Now);
    rig.closed(id);
    rig.listen();
    rig.listen();
    let reactor = &mut rig.reactor;
    assert_eq!(reactor.send(id, "x".into()), 0);
    assert_eq!(reactor.send_to(id, "x".into(), &Address::unnamed()), 0);
    assert_eq!(reactor.queued(id), 0);
    reactor.set_reading(id, false);
    reactor.watch_sent(id, true);
    reactor.finish(id);
    reactor.close(id, CloseHow::Reset);
    assert_eq!(reactor.local_addr(id).unwrap_err().errno, libc::EBADF);
    assert_eq!(reactor.peer_addr(id).unwrap_err().errno, libc::EBADF);
    let refused = reactor.set_option(id, &SockOption::NoDelay(true)).unwrap_err();
    assert_eq!(refused.errno, libc::EBADF);
    assert!(rig.settle().is_empty());
}

/// Runs `body`, which is the test `name`, in a process of its own, where limits harm nobody.
fn alone(name: &str, body: fn()) {
    const ALONE: &str = "NETPROC_URING_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = [run.stdout, run.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn without_descriptors_a_listener_rests_and_goes_on() {
    alone(
        "reactor::tests::life::without_descriptors_a_listener_rests_and_goes_on",
        running_out_of_descriptors,
    );
}

fn running_out_of_descriptors() {
    let mut config = Config::default();
    config.accept_pause = Duration::from_millis(50);
    config.reserve_descriptor = false;
    let mut rig = Rig::new(config);
    let (id, mut first) = rig.accepted();
    let (_, address) = rig.listen();
    let client = || Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let clients = [client().unwrap(), client().unwrap()];
    let next = u64::try_from(std::fs::File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, next, next).unwrap();
    clients.iter().for_each(|client| client.connect(&address.into()).unwrap());
    for _ in 0..3 {
        let (err, paused) = rig.until(|event| match event {
            Event::AcceptFailed { err, paused, .. } => Some((err, paused)),
            _ => None,
        });
        assert!(err.is_out_of_descriptors(), "{err}");
        assert_eq!(paused, Some(config.accept_pause));
    }
    assert!(rig.reactor.io.resting.len() <= 1, "a listener rests once, however often");
    first.write_all(b"others go on").unwrap();
    assert_eq!(rig.data(), b"others go on");
    // A descriptor of this reactor comes free: no need to wait for the pause.
    rig.reactor.close(id, CloseHow::Now);
    rig.until(|event| matches!(event, Event::Accepted { .. }).then_some(()));
    let waits = rig.reactor.counters().waits;
    rig.reactor
        .poll(Wait::Until(rig.reactor.now().after(config.accept_pause)), &mut rig.queue)
        .unwrap();
    assert!(rig.reactor.counters().waits < waits + 5, "it does not spin");
}

#[test]
fn dropped_with_everything_in_flight_it_is_gone_at_once() {
    let start = Instant::now();
    for _ in 0..20 {
        let mut rig = Rig::new(Config::default());
        let (id, mut reader) = rig.accepted();
        let (_, mut idle) = rig.accepted();
        rig.listen();
        let to = "[127 0 0 1 1]".parse().unwrap();
        rig.reactor.connect(&OpenSpec::default(), &to).unwrap();
        rig.reactor.send(id, vec![1; 16 << 20].into());
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        reader.write_all(b"never read").unwrap();
        drop(rig);
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the peer sees the end");
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
        assert!(rest.len() < 16 << 20);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn buffers_outlive_the_reactor() {
    let mut rig = Rig::new(Config::default());
    let (_, mut client) = rig.accepted();
    client.write_all(b"kept").unwrap();
    let buf = rig.until(|event| match event {
        Event::Data { buf, .. } => Some(buf),
        _ => None,
    });
    drop(rig);
    let _ = client.write_all(b"late");
    assert_eq!(&buf[..], b"kept");
}

#[test]
fn an_adopted_socket_may_be_non_blocking() {
    let mut rig = Rig::new(Config::default());
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let id = rig.reactor.adopt(near.into(), Role::Connection, true).unwrap();
    rig.settle();
    far.write_all(b"hello").unwrap();
    assert_eq!(rig.data(), b"hello");
    rig.reactor.send(id, vec![3; 1 << 20].into());
    let reading = thread::spawn(move || {
        let mut got = vec![0; 1 << 20];
        far.read_exact(&mut got).map(|()| far)
    });
    while rig.reactor.queued(id) > 0 {
        let end = rig.reactor.now().after(Duration::from_millis(5));
        rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
    }
    drop(reading.join().unwrap().unwrap());
}

#[test]
fn closing_an_adopted_connection_leaves_it_to_its_other_holders() {
    for how in [CloseHow::Now, CloseHow::Flush { within: Duration::ZERO }] {
        let mut rig = Rig::new(Config::default());
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut other = near.try_clone().unwrap();
        let id = rig.reactor.adopt(near.into(), Role::Connection, true).unwrap();
        rig.settle();
        rig.reactor.close(id, how);
        assert_eq!(rig.closed(id), (None, 0));
        rig.assert_clean();
        if how == CloseHow::Now {
            other.write_all(b"still here").unwrap();
            far.read_exact(&mut [0; 10]).unwrap();
        }
        far.write_all(b"you too").unwrap();
        other.read_exact(&mut [0; 7]).unwrap();
        drop(other);
        assert_eq!(far.read(&mut [0]).unwrap(), 0, "the last holder ends it");
    }
}

#[test]
fn closing_a_connection_costs_no_operation() {
    let mut rig = Rig::new(Config::default());
    let (id, _client) = rig.accepted();
    rig.settle();
    let before = rig.reactor.counters().in_flight;
    rig.reactor.close(id, CloseHow::Now);
    let mut early = EventQueue::new();
    rig.reactor.prepare(&mut Batch::new(&mut rig.queue, &mut early, 9));
    assert_eq!(rig.reactor.counters().in_flight, before, "shutting it down was enough");
    rig.closed(id);
    rig.assert_clean();
}

#[test]
fn a_size_out_of_range_is_refused_by_its_name() {
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 4] = [
        ("ring_entries", |config| config.ring_entries = u32::MAX),
        ("events_max", |config| config.events_max = 0),
        ("packet_slots", |config| config.packet_slots = 1),
        ("accept_pause", |config| config.accept_pause = Duration::ZERO),
    ];
    for (field, change) in changes {
        let mut config = Config::default();
        change(&mut config);
        let refused = UringReactor::new(config).map(drop).unwrap_err();
        assert!(matches!(&refused, SetupError::Config(err) if err.field == field), "{refused}");
    }
}

#[test]
fn what_is_no_socket_of_its_role_is_refused() {
    let mut rig = Rig::new(Config::default());
    let (datagram, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let refused = rig.reactor.adopt(datagram.into(), Role::Connection, true).unwrap_err();
    assert_eq!(refused.errno, libc::EPROTOTYPE);
    let file = std::fs::File::open("/dev/null").unwrap();
    let refused = rig.reactor.adopt(file.into(), Role::Connection, true).unwrap_err();
    assert_eq!(refused.errno, libc::ENOTSOCK);
}

#[test]
fn descriptors_are_those_from_before() {
    alone("reactor::tests::life::descriptors_are_those_from_before", counting_descriptors);
}

fn counting_descriptors() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    for _ in 0..3 {
        let mut rig = Rig::new(Config::default());
        let (id, client) = rig.accepted();
        let inside = count();
        for _ in 0..50 {
            let (id, _client) = rig.accepted();
            rig.reactor.close(id, CloseHow::Reset);
            rig.closed(id);
        }
        assert_eq!(count(), inside);
        rig.reactor.close(id, CloseHow::Now);
        drop((rig, client));
        assert_eq!(count(), before);
    }
}

#[test]
fn what_is_sent_to_one_that_has_failed_counts_as_unsent() {
    let mut rig = Rig::new(Config::default());
    let (id, client) = rig.accepted();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    rig.until(|event| matches!(event, Event::Eof { .. }).then_some(()));
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let end = rig.reactor.now().after(PATIENCE);
    while rig.reactor.send_failure(id).is_none() {
        // It fails in one poll and is told of in the next.
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        assert!(rig.queue.is_empty() && rig.reactor.now() < end);
    }
    rig.reactor.send(id, Payload::Static(b"late"));
    assert_eq!(rig.reactor.send_failure(id).unwrap().1, 4);
    let (cause, unsent) = rig.until(|event| match event {
        Event::Closed { cause, unsent, .. } => Some((cause.unwrap().errno, unsent)),
        _ => None,
    });
    assert!([libc::EPIPE, libc::ECONNRESET].contains(&cause), "{cause}");
    assert_eq!(unsent, 4);
}
