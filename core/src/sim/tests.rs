//! What the simulated kernel does in each single case; the contract is tested in `netproc-tests`.

use std::time::Duration;

use super::*;
use crate::reactor::Kind;

const LOOPBACK: &str = "[127 0 0 1 0]";
const HOUR: Duration = Duration::from_secs(3600);

struct Rig {
    reactor: SimReactor,
    events: Vec<Event>,
}

impl Rig {
    fn new(faults: Faults) -> Self {
        let config = Config { slots: 4, packet_slots: 4, slot_len: 256, ..Config::default() };
        Self { reactor: SimReactor::new(1, faults, config), events: Vec::new() }
    }

    /// Polls until a sleep would be endless.
    fn settle(&mut self) {
        let sleeps = self.reactor.endless_sleeps();
        while self.reactor.endless_sleeps() == sleeps {
            self.poll(Wait::Forever);
        }
    }

    fn poll(&mut self, wait: Wait) {
        let mut queue = EventQueue::new();
        self.reactor.poll(wait, &mut queue).unwrap();
        self.events.extend(std::iter::from_fn(|| queue.pop()));
    }

    fn listen(&mut self, kind: Kind, local: &str) -> Result<(SockId, Address), i32> {
        let local = local.parse().unwrap();
        let spec = OpenSpec { kind, local: Some(&local), ..OpenSpec::default() };
        let id = self.reactor.listen(&spec, 1).map_err(|err| err.errno)?;
        Ok((id, self.reactor.local_addr(id).unwrap()))
    }

    fn connect(&mut self, kind: Kind, to: &Address) -> SockId {
        self.reactor.connect(&OpenSpec { kind, ..OpenSpec::default() }, to).unwrap()
    }

    /// A connection over IPv4: the client's side and the server's.
    fn pair(&mut self) -> (SockId, SockId) {
        let (listener, to) = self.listen(Kind::Stream, LOOPBACK).unwrap();
        let client = self.connect(Kind::Stream, &to);
        self.settle();
        let child = self.accepted(listener)[0];
        (client, child)
    }

    fn accepted(&self, from: SockId) -> Vec<SockId> {
        let children = self.events.iter().filter_map(|event| {
            if let Event::Accepted { listener, id, .. } = event
                && *listener == from
            {
                Some(*id)
            } else {
                None
            }
        });
        children.collect()
    }

    fn data(&self, of: SockId) -> Vec<u8> {
        let bytes = self.events.iter().filter_map(|event| {
            if let Event::Data { id, buf, .. } = event
                && *id == of
            {
                Some(buf.to_vec())
            } else {
                None
            }
        });
        bytes.flatten().collect()
    }

    /// The errno of the cause, 0 for none, and the bytes unsent.
    fn closed(&self, of: SockId) -> Option<(i32, u64)> {
        self.events.iter().find_map(|event| {
            if let Event::Closed { id, cause, unsent } = event
                && *id == of
            {
                Some((cause.map_or(0, |err| err.errno), *unsent))
            } else {
                None
            }
        })
    }

    fn has_eof(&self, of: SockId) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Eof { id } if *id == of))
    }
}

#[test]
fn every_fault_is_off_in_about_half_of_the_swarms() {
    let counts = (0..1000).map(Faults::swarm).fold([0; 4], |[reset, delay, window, loss], f| {
        [
            reset + u32::from(f.reset == 0),
            delay + u32::from(f.delay_max.is_zero()),
            window + u32::from(f.window == Faults::none().window),
            loss + u32::from(f.dgram_loss == 0),
        ]
    });
    assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
}

#[test]
fn a_name_is_taken_once_until_it_is_closed() {
    let mut rig = Rig::new(Faults::none());
    let cases = [
        (Kind::Stream, "[127 0 0 1 80]", "[127 0 0 1 80]", Err(libc::EADDRINUSE)),
        (Kind::Stream, "[0 0 0 0 81]", "[127 0 0 1 81]", Err(libc::EADDRINUSE)),
        (Kind::Stream, "[127 0 0 1 82]", "[0 0 0 0 82]", Err(libc::EADDRINUSE)),
        (Kind::Stream, "[127 0 0 1 83]", "[0 0 0 0 0 0 0 1 83]", Ok(())),
        (Kind::Stream, "[127 0 0 1 84]", "[127 0 0 2 84]", Ok(())),
        (Kind::Stream, LOOPBACK, LOOPBACK, Ok(())),
        (Kind::Stream, "[127 0 0 1 85]", "[192 0 2 1 85]", Err(libc::EADDRNOTAVAIL)),
        (Kind::SeqPacket, "\"/a\"", "\"/a\"", Err(libc::EADDRINUSE)),
        (Kind::SeqPacket, "\"/b\"", "\"\\x00b\"", Ok(())),
        (Kind::SeqPacket, "\"/c\"", "[127 0 0 1 86]", Err(libc::ESOCKTNOSUPPORT)),
        (Kind::Stream, "[127 0 0 1 87]", "(77 . [1])", Err(libc::EAFNOSUPPORT)),
    ];
    for (kind, first, second, expected) in cases {
        let (one, _) = rig.listen(kind, first).unwrap();
        let other = rig.listen(kind, second);
        assert_eq!(other.clone().map(|_| ()), expected, "{first} and {second}");
        for id in [Some(one), other.ok().map(|(id, _)| id)].into_iter().flatten() {
            rig.reactor.close(id, CloseHow::Now);
        }
        rig.settle();
        rig.listen(kind, first).unwrap();
    }
}

#[test]
fn a_connect_that_cannot_come_through_says_why() {
    let cases = [
        (Kind::Stream, "[127 0 0 1 9]", libc::ECONNREFUSED),
        (Kind::Stream, "[192 0 2 1 9]", libc::ETIMEDOUT),
        (Kind::Stream, "\"/missing\"", libc::ENOENT),
        (Kind::Stream, "\"\\x00missing\"", libc::ECONNREFUSED),
        (Kind::Stream, "\"\\x00records\"", libc::EPROTOTYPE),
    ];
    for (kind, to, errno) in cases {
        let mut rig = Rig::new(Faults::none());
        rig.listen(Kind::SeqPacket, "\"\\x00records\"").unwrap();
        let client = rig.connect(kind, &to.parse().unwrap());
        rig.reactor.send(client, "never".into());
        rig.settle();
        assert_eq!(rig.closed(client), Some((errno, 5)), "{to}");
    }
}

#[test]
fn a_wildcard_listener_is_reached_by_every_address_of_its_family() {
    let mut rig = Rig::new(Faults::none());
    let (listener, to) = rig.listen(Kind::Stream, "[0 0 0 0 0]").unwrap();
    let port = to.port().unwrap();
    for ip in ["127 0 0 1", "127 0 0 9", "0 0 0 0"] {
        rig.connect(Kind::Stream, &format!("[{ip} {port}]").parse().unwrap());
    }
    rig.settle();
    assert_eq!(rig.accepted(listener).len(), 3);
}

#[test]
fn callers_past_the_backlog_wait_for_an_accept() {
    let mut rig = Rig::new(Faults::none());
    let (listener, to) = rig.listen(Kind::Stream, "\"/busy\"").unwrap();
    rig.reactor.set_reading(listener, false);
    for _ in 0..10 {
        rig.connect(Kind::Stream, &to);
    }
    rig.settle();
    let connected = |rig: &Rig| {
        rig.events.iter().filter(|event| matches!(event, Event::Connected { .. })).count()
    };
    assert_eq!((connected(&rig), rig.accepted(listener).len()), (2, 0), "a backlog of 1 and one");
    rig.reactor.set_reading(listener, true);
    rig.settle();
    assert_eq!((connected(&rig), rig.accepted(listener).len()), (10, 10));
}

#[test]
fn a_sleep_that_nothing_ends_returns_and_is_counted() {
    let mut rig = Rig::new(Faults::none());
    rig.poll(Wait::Forever);
    assert_eq!(rig.reactor.endless_sleeps(), 1);
    let deadline = rig.reactor.now().after(HOUR);
    rig.poll(Wait::Until(deadline));
    assert_eq!(rig.reactor.now(), deadline, "the clock jumps");
    rig.poll(Wait::Until(deadline));
    rig.poll(Wait::No);
    assert_eq!(rig.reactor.now().since(deadline), CALL * 2, "a call takes a moment");
    assert_eq!((rig.reactor.endless_sleeps(), rig.reactor.counters().waits), (1, 3));
}

#[test]
fn many_wakes_are_one_woken() {
    let mut rig = Rig::new(Faults::none());
    let waker = rig.reactor.waker();
    for _ in 0..3 {
        waker.clone().wake();
    }
    rig.poll(Wait::Forever);
    rig.poll(Wait::No);
    assert!(matches!(rig.events[..], [Event::Woken]), "{:?}", rig.events);
}

#[test]
fn a_close_with_unread_input_resets_and_a_flush_does_not() {
    for (how, cause) in [(CloseHow::Now, libc::ECONNRESET), (CloseHow::Flush { within: HOUR }, 0)] {
        let mut rig = Rig::new(Faults::none());
        let (client, child) = rig.pair();
        rig.reactor.set_reading(child, false);
        rig.reactor.send(client, "unread".into());
        rig.reactor.send(child, "the answer".into());
        rig.settle();
        rig.reactor.close(child, how);
        rig.settle();
        assert_eq!(rig.data(client), b"the answer", "{how:?}");
        if cause == 0 {
            assert!(rig.has_eof(client), "{how:?}");
            rig.reactor.close(client, CloseHow::Now);
            rig.settle();
        }
        assert_eq!((rig.closed(client), rig.closed(child)), (Some((cause, 0)), Some((0, 0))));
    }
}

#[test]
fn a_reset_destroys_what_has_not_arrived() {
    let mut faults = Faults::none();
    faults.delay_max = Duration::from_millis(10);
    let mut rig = Rig::new(faults);
    let (client, child) = rig.pair();
    rig.reactor.send(client, vec![7; 1000].into());
    rig.poll(Wait::No);
    rig.reactor.close(client, CloseHow::Reset);
    rig.settle();
    assert_eq!((rig.data(child).len(), rig.closed(child)), (0, Some((libc::ECONNRESET, 0))));
}

#[test]
fn a_flush_gives_up_at_its_deadline_and_a_harsher_close_before() {
    for harsher in [false, true] {
        let mut faults = Faults::none();
        faults.window = 100;
        let mut rig = Rig::new(faults);
        let (client, child) = rig.pair();
        rig.reactor.set_reading(child, false);
        rig.reactor.send(client, vec![1; 250].into());
        let begin = rig.reactor.now();
        rig.reactor.close(client, CloseHow::Flush { within: HOUR });
        if harsher {
            rig.poll(Wait::No);
            rig.reactor.close(client, CloseHow::Now);
            rig.reactor.close(client, CloseHow::Flush { within: HOUR });
        }
        rig.settle();
        assert_eq!(rig.closed(client), Some((0, 150)), "harsher {harsher}");
        assert_eq!(rig.reactor.now().since(begin) >= HOUR, !harsher);
    }
}

#[test]
fn a_listener_out_of_descriptors_rests_until_one_comes_free() {
    let mut rig = Rig::new(Faults::none());
    let (client, child) = rig.pair();
    let (listener, to) = rig.listen(Kind::Stream, LOOPBACK).unwrap();
    rig.connect(Kind::Stream, &to);
    let mut faults = Faults::none();
    faults.emfile = 100;
    rig.reactor.set_faults(faults);
    let begin = rig.reactor.now();
    for _ in 0..10 {
        rig.poll(Wait::Until(begin.after(Duration::from_millis(50))));
    }
    let failures = |rig: &Rig| {
        let failed = |event: &&Event| matches!(event, Event::AcceptFailed { paused: Some(_), .. });
        rig.events.iter().filter(failed).count()
    };
    assert_eq!(failures(&rig), 1, "a resting listener does not spin");
    rig.reactor.set_faults(Faults::none());
    rig.poll(Wait::No);
    assert!(rig.accepted(listener).is_empty(), "it rests");
    rig.reactor.close(child, CloseHow::Now);
    rig.poll(Wait::No);
    rig.poll(Wait::No);
    assert_eq!(rig.accepted(listener).len(), 1, "a descriptor came free: {:?}", rig.events);
    assert!(rig.has_eof(client));
}

#[test]
fn records_keep_their_bounds_the_empty_one_too() {
    let mut rig = Rig::new(Faults::none());
    let (listener, to) = rig.listen(Kind::SeqPacket, "\"\\x00records\"").unwrap();
    let client = rig.connect(Kind::SeqPacket, &to);
    for len in [3, 0, 70_000, 300_000, 5] {
        rig.reactor.send(client, vec![1; len].into());
    }
    rig.settle();
    let child = rig.accepted(listener)[0];
    let records = rig.events.iter().filter_map(|event| {
        if let Event::Data { id, buf, lost } = event
            && *id == child
        {
            Some((buf.len(), *lost))
        } else {
            None
        }
    });
    assert_eq!(records.collect::<Vec<_>>(), [(3, 0), (0, 0), (65_536, 4464), (5, 0)]);
    let refused = SysError { op: Op::Send, errno: libc::EMSGSIZE };
    let trouble = |event: &Event| matches!(event, Event::Trouble { err, .. } if *err == refused);
    assert!(rig.events.iter().any(trouble), "longer than the system's records");
}

#[test]
fn a_connected_packet_socket_hears_of_nobody_and_an_unconnected_one_does_not() {
    let mut rig = Rig::new(Faults::none());
    let nobody: Address = "[127 0 0 1 9]".parse().unwrap();
    let connected = rig.reactor.datagram(&OpenSpec::default(), Some(&nobody)).unwrap();
    let other = rig.reactor.datagram(&OpenSpec::default(), None).unwrap();
    rig.reactor.send(connected, "anybody?".into());
    rig.reactor.send_to(other, "anybody?".into(), &nobody);
    rig.reactor.send(other, "whom?".into());
    rig.settle();
    let troubles = rig.events.iter().filter_map(|event| {
        if let Event::Trouble { id, err } = event { Some((*id, err.op, err.errno)) } else { None }
    });
    let mut troubles: Vec<_> = troubles.collect();
    troubles.sort_by_key(|trouble| trouble.0);
    let expected =
        [(connected, Op::Recv, libc::ECONNREFUSED), (other, Op::Send, libc::EDESTADDRREQ)];
    assert_eq!(troubles, expected);
}

#[test]
fn sharers_of_an_address_share_what_comes() {
    let mut rig = Rig::new(Faults::none());
    let local: Address = "[127 0 0 1 90]".parse().unwrap();
    let spec = OpenSpec { local: Some(&local), reuse_port: true, ..OpenSpec::default() };
    let listeners = [(); 2].map(|()| rig.reactor.listen(&spec, 50).unwrap());
    for _ in 0..40 {
        rig.connect(Kind::Stream, &local);
    }
    rig.settle();
    let shares = listeners.map(|listener| rig.accepted(listener).len());
    assert!(
        shares.iter().sum::<usize>() == 40 && shares.iter().all(|&share| share > 5),
        "{shares:?}"
    );
}

#[test]
fn the_seed_decides_the_trace() {
    let trace = |seed| {
        let mut rig = Rig::new(Faults::none());
        rig.reactor = SimReactor::new(seed, Faults::swarm(5), Config::default());
        let (listener, to) = loop {
            if let Ok(found) = rig.listen(Kind::Stream, LOOPBACK) {
                break found;
            }
        };
        for _ in 0..5 {
            if let Ok(client) = rig.reactor.connect(&OpenSpec::default(), &to) {
                rig.reactor.send(client, vec![3; 5000].into());
            }
        }
        rig.settle();
        rig.reactor.close(listener, CloseHow::Now);
        rig.settle();
        rig.reactor.trace_hash()
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
