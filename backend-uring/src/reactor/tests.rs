//! The reactor against plain sockets of the standard library: what is its own, beyond the contract
//! that every reactor is tested for.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one event among all")]

mod life;
mod packets;
mod pipes;
mod quiet;
mod reading;
mod room;
mod streams;

use netproc_core::reactor::Descriptors as _;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A reactor, its queue, and what a test does with both.
struct Rig {
    reactor: UringReactor,
    queue: EventQueue,
}

impl Rig {
    fn new(config: Config) -> Self {
        Self { reactor: UringReactor::new(config).unwrap(), queue: EventQueue::new() }
    }

    /// One with all that this kernel has, and one with what every kernel has.
    fn both(config: Config) -> [Self; 2] {
        let features = probe(&config).unwrap();
        let least = features.without_incremental().without_quiet().without_local_ends();
        [features, least].map(|features| {
            let reactor = UringReactor::with_features(config, features).unwrap();
            Self { reactor, queue: EventQueue::new() }
        })
    }

    fn listen(&mut self) -> (SockId, std::net::SocketAddr) {
        let local = "[127 0 0 1 0]".parse().unwrap();
        let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
        let id = self.reactor.listen(&spec, 1024).unwrap();
        let port = self.reactor.local_addr(id).unwrap().port().unwrap();
        (id, ([127, 0, 0, 1], port).into())
    }

    /// A connection accepted from a plain client.
    fn accepted(&mut self) -> (SockId, std::net::TcpStream) {
        let (listener, address) = self.listen();
        let client = std::net::TcpStream::connect(address).unwrap();
        let id = self.until(|event| match event {
            Event::Accepted { id, .. } => Some(id),
            _ => None,
        });
        self.reactor.close(listener, CloseHow::Now);
        self.closed(listener);
        (id, client)
    }

    fn next(&mut self) -> Event {
        let end = self.reactor.now().after(PATIENCE);
        loop {
            if let Some(event) = self.queue.pop() {
                return event;
            }
            assert!(self.reactor.now() < end, "nothing came: {:?}", self.reactor.counters());
            self.reactor.poll(Wait::Until(end), &mut self.queue).unwrap();
        }
    }

    /// Polls until `wanted` finds its event; the others are dropped.
    fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next()) {
                return found;
            }
        }
    }

    /// Polls for a moment and returns what came.
    fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let quiet = Duration::from_millis(30);
        let mut end = self.reactor.now().after(quiet);
        while self.reactor.now() < end {
            self.reactor.poll(Wait::Until(end), &mut self.queue).unwrap();
            while let Some(event) = self.queue.pop() {
                events.push(event);
                end = self.reactor.now().after(quiet);
            }
        }
        events
    }

    fn closed(&mut self, wanted: SockId) -> (Option<SysError>, u64) {
        self.until(|event| match event {
            Event::Closed { id, cause, unsent } if id == wanted => Some((cause, unsent)),
            _ => None,
        })
    }

    fn data(&mut self) -> Vec<u8> {
        self.until(|event| match event {
            Event::Data { buf, .. } => Some(buf.to_vec()),
            _ => None,
        })
    }

    /// Whether everything is given back: memory, operations, sockets.
    fn assert_clean(&mut self) {
        self.settle();
        let counters = self.reactor.counters();
        assert_eq!((counters.sockets, counters.slots_held), (0, 0), "{counters:?}");
        assert_eq!(counters.in_flight, 0, "{counters:?}");
    }
}
