//! Accepting when descriptors run out. In a program of its own, since the limit is the whole
//! process's.
#![cfg(unix)]
#![expect(clippy::wildcard_enum_match_arm, reason = "any event but the one expected fails a test")]
#![expect(clippy::unwrap_used, reason = "a failure to set up fails the test")]

use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use netproc_core::{
    address::Address,
    queue::EventQueue,
    reactor::{CloseHow, Config, Event, OpenSpec, Reactor as _, SockId, Wait},
};
use netproc_poll::{Mechanism, PollReactor};
use nix::sys::resource::{Resource, setrlimit};

const PAUSE: Duration = Duration::from_millis(50);

struct Rig {
    reactor: PollReactor,
    queue: EventQueue,
}

impl Rig {
    fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.queue.pop() {
                return event;
            }
            self.reactor.poll(Wait::Forever, &mut self.queue).unwrap();
        }
    }

    fn accepted(&mut self) -> SockId {
        match self.next() {
            Event::Accepted { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn rested(&mut self) {
        match self.next() {
            Event::AcceptFailed { err, paused: Some(PAUSE), .. } => {
                assert!(err.is_out_of_descriptors(), "{err}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn run(mechanism: Mechanism) {
    let mut config = Config::default();
    config.accept_pause = PAUSE;
    config.reserve_descriptor = false;
    let reactor = PollReactor::with(mechanism, config).unwrap();
    let mut rig = Rig { reactor, queue: EventQueue::new() };
    let local = Address::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
    let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
    let server = rig.reactor.listen(&spec, 128).unwrap();
    let Ok(Address::V4(at)) = rig.reactor.local_addr(server) else { panic!("no address") };
    let peers: Vec<_> = (0..4).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut spare: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!spare.is_empty(), "descriptors have run out");

    // Nothing is free: it rests for the time said, and no shorter waits come in between.
    rig.rested();
    let (start, waits) = (rig.reactor.now(), rig.reactor.counters().waits);
    rig.rested();
    assert!(rig.reactor.now().since(start) >= PAUSE - Duration::from_millis(1));
    assert!(rig.reactor.counters().waits - waits <= 2, "it slept");

    // One comes free elsewhere: it is found after the next rest.
    spare.pop();
    let first = rig.accepted();
    rig.rested();

    // One comes free here: it is taken up at once, before the rest is over.
    let start = rig.reactor.now();
    rig.reactor.close(first, CloseHow::Now);
    assert!(matches!(rig.next(), Event::Closed { cause: None, .. }));
    let second = rig.accepted();
    assert!(rig.reactor.now().since(start) < PAUSE / 2);
    rig.rested();

    // A stopped listener stays quiet after its rest.
    rig.reactor.set_reading(server, false);
    spare.clear();
    let until = rig.reactor.now().after(PAUSE * 2);
    while rig.reactor.now() < until {
        rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
    }
    assert!(rig.queue.is_empty());
    rig.reactor.set_reading(server, true);
    for _ in 0..2 {
        rig.accepted();
    }
    rig.reactor.close(second, CloseHow::Reset);
    assert!(matches!(rig.next(), Event::Closed { .. }));
    assert_eq!(rig.reactor.counters().accepted, 4);
    drop(peers);
}

#[test]
fn a_listener_without_descriptors_rests_and_goes_on() {
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    for &mechanism in Mechanism::available() {
        run(mechanism);
    }
}
