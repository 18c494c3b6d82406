//! What the contract's suite in `netproc-tests` cannot see, or what is easier to see from inside:
//! each test runs on every mechanism of this system, against peers that are plain std sockets.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    time::Duration,
};

use netproc_core::{
    address::{Address, Family},
    outbox::TURN_LEN_MAX,
    pool::Buf,
    queue::EventQueue,
    reactor::{
        CloseHow, Config, Descriptors as _, Event, Kind, Op, OpenSpec, Reactor as _, Role, SockId,
        SysError, Tick, Wait, Wake as _,
    },
    slots::Key,
};

use crate::{
    Mechanism, PollReactor,
    hub::Batch,
    selector::{Drain, Ready},
};

/// Longer than anything here takes, shorter than a patient reader.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    reactor: PollReactor,
    queue: EventQueue,
}

impl Rig {
    fn new(mechanism: Mechanism, config: Config) -> Self {
        let reactor = PollReactor::with(mechanism, config).unwrap();
        Self { reactor, queue: EventQueue::new() }
    }

    /// The next event, waiting for it.
    fn next(&mut self) -> Event {
        let until = self.reactor.now().after(PATIENCE);
        loop {
            if let Some(event) = self.queue.pop() {
                return event;
            }
            assert!(self.reactor.now() < until, "nothing came: {:?}", self.reactor);
            self.reactor.poll(Wait::Until(until), &mut self.queue).unwrap();
        }
    }

    /// Everything that comes without waiting.
    fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            self.reactor.poll(Wait::No, &mut self.queue).unwrap();
            if self.queue.is_empty() && !self.reactor.hub.agenda.is_pressing() {
                return events;
            }
            events.extend(std::iter::from_fn(|| self.queue.pop()));
        }
    }

    fn tcp_server(&mut self) -> (SockId, SocketAddr) {
        let local = Address::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
        let id = self.reactor.listen(&spec, 128).unwrap();
        let Address::V4(local) = self.reactor.local_addr(id).unwrap() else { unreachable!() };
        (id, local.into())
    }

    /// A local connection: our end and the peer's.
    fn pair(&mut self) -> (SockId, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let id = self.reactor.adopt(ours.into(), Role::Connection, true).unwrap();
        (id, theirs)
    }

    /// A TCP connection accepted by a server of the rig: our end and the peer's.
    fn tcp_pair(&mut self) -> (SockId, TcpStream) {
        let (server, at) = self.tcp_server();
        let theirs = TcpStream::connect(at).unwrap();
        let Event::Accepted { listener, id, peer } = self.next() else { panic!("not accepted") };
        assert_eq!(listener, server);
        assert_eq!(peer, Some(theirs.local_addr().unwrap().into()));
        self.reactor.close(server, CloseHow::Now);
        assert!(matches!(self.next(), Event::Closed { cause: None, .. }));
        (id, theirs)
    }

    fn data(&mut self, from: SockId) -> Buf {
        match self.next() {
            Event::Data { id, buf, lost: 0 } if id == from => buf,
            other => panic!("{other:?}"),
        }
    }

    fn closed(&mut self, which: SockId) -> (Option<SysError>, u64) {
        match self.next() {
            Event::Closed { id, cause, unsent } if id == which => (cause, unsent),
            other => panic!("{other:?}"),
        }
    }
}

fn small() -> Config {
    let mut config = Config::default();
    (config.slots, config.slot_len, config.packet_slots, config.packet_len) = (4, 64, 2, 64);
    config
}

macro_rules! on_each_mechanism {
    ($($(#[$attr:meta])* fn $name:ident($rig:ident, $config:expr) $body:block)*) => {
        mod epoll {
            $(
                #[test]
                #[cfg(any(target_os = "linux", target_os = "android"))]
                fn $name() { super::cases::$name(super::Mechanism::Epoll) }
            )*
        }
        mod kqueue {
            $(
                #[test]
                #[cfg(any(
                    target_os = "freebsd",
                    target_os = "dragonfly",
                    target_os = "netbsd",
                    target_os = "openbsd",
                    target_vendor = "apple",
                ))]
                fn $name() { super::cases::$name(super::Mechanism::Kqueue) }
            )*
        }
        mod poll {
            $(
                #[test]
                fn $name() { super::cases::$name(super::Mechanism::Poll) }
            )*
        }
        mod cases {
            use super::*;
            $(
                $(#[$attr])*
                pub(super) fn $name(mechanism: Mechanism) {
                    let mut $rig = Rig::new(mechanism, $config);
                    $body
                }
            )*
        }
    };
}

mod bounds;
mod packets;

on_each_mechanism! {
    fn an_echo_costs_a_read_a_write_and_a_wait(rig, Config::default()) {
        let (id, mut peer) = rig.tcp_pair();
        let before = rig.reactor.counters();
        for _ in 0..100 {
            peer.write_all(b"hello").unwrap();
            let buf = rig.data(id);
            assert_eq!(&buf[..], b"hello");
            assert_eq!(rig.reactor.send(id, buf.into()), 5);
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            assert_eq!(rig.reactor.queued(id), 0);
            peer.read_exact(&mut [0; 5]).unwrap();
        }
        let after = rig.reactor.counters();
        let calls = (after.syscalls - before.syscalls) - (after.waits - before.waits);
        assert_eq!(calls, 200, "a read and a write for each");
        assert_eq!((after.received, after.sent, after.spilled), (500, 500, 0));
    }

    fn many_payloads_go_out_in_one_call(rig, Config::default()) {
        let (id, mut peer) = rig.pair();
        let before = rig.reactor.counters();
        for n in 0..16u8 {
            rig.reactor.send(id, vec![n; 3].into());
        }
        rig.drain();
        let after = rig.reactor.counters();
        assert_eq!((after.syscalls - before.syscalls) - (after.waits - before.waits), 1);
        let mut bytes = [0; 48];
        peer.read_exact(&mut bytes).unwrap();
        assert!(bytes.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at / 3));
    }

    fn fifty_connections_share_four_slots(rig, small()) {
        let (_, at) = rig.tcp_server();
        let text: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let mut peer = TcpStream::connect(at).unwrap();
                    let mut reader = peer.try_clone().unwrap();
                    scope.spawn(move || {
                        let mut back = Vec::new();
                        reader.read_to_end(&mut back).unwrap();
                        assert_eq!(back.len(), 20_000);
                        assert!(back.iter().copied().eq((0..=255).cycle().take(20_000)));
                    });
                    peer.write_all(&text).unwrap();
                    peer.shutdown(Shutdown::Write).unwrap();
                });
            }
            let mut open = 50;
            while open > 0 {
                match rig.next() {
                    Event::Accepted { .. } => {}
                    Event::Data { id, buf, .. } => drop(rig.reactor.send(id, buf.into())),
                    Event::Eof { id } => {
                        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
                    }
                    Event::Closed { cause: None, unsent: 0, .. } => open -= 1,
                    other => panic!("{other:?}"),
                }
            }
        });
        let counters = rig.reactor.counters();
        assert_eq!((counters.sockets, counters.slots_held, counters.accepted), (1, 0, 50));
    }

    fn starving_sockets_sleep_and_go_on_when_memory_returns(rig, small()) {
        let (id, mut peer) = rig.pair();
        let (other, mut other_peer) = rig.pair();
        peer.write_all(&[1; 1000]).unwrap();
        let mut kept = Vec::new();
        let mut got = 0;
        while got < 4 * 64 {
            let buf = rig.data(id);
            got += buf.len();
            kept.push(buf);
        }
        other_peer.write_all(b"me too").unwrap();
        rig.drain();
        let before = rig.reactor.counters();
        assert!(before.starved >= 2 && before.slots_held == 4, "{before:?}");
        // Nothing to do: the reactor sleeps instead of asking for memory again and again.
        let until = rig.reactor.now().after(Duration::from_millis(30));
        rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
        assert!(rig.reactor.now() >= until && rig.queue.is_empty());
        assert_eq!(rig.reactor.counters().waits, before.waits + 1);
        kept.clear();
        let mut others = 0;
        while got < 1000 || others < 6 {
            match rig.next() {
                Event::Data { id: of, buf, .. } if of == id => got += buf.len(),
                Event::Data { id: of, buf, .. } if of == other => others += buf.len(),
                event => panic!("{event:?}"),
            }
        }
        assert_eq!((got, others), (1000, 6));
    }

    fn starving_packets_are_not_lost(rig, small()) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let id = rig.reactor.adopt(ours.into(), Role::Datagram, true).unwrap();
        for n in 0..5u8 {
            theirs.send(&[n]).unwrap();
        }
        let mut kept: Vec<_> = rig.drain();
        assert_eq!(kept.len(), 2, "one packet a slot");
        assert!(rig.drain().is_empty());
        kept.clear();
        let mut seen = 2;
        while seen < 5 {
            match rig.next() {
                Event::Datagram { id: of, buf, from: None, lost: 0 } => {
                    assert_eq!((of, &buf[..]), (id, &[seen][..]));
                    seen += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn a_flush_succeeds_although_input_is_unread(rig, Config::default()) {
        let (id, peer) = rig.tcp_pair();
        rig.reactor.set_reading(id, false);
        (&peer).write_all(&[7; 600]).unwrap();
        rig.drain();
        let text = vec![9; 3_000_000];
        rig.reactor.send(id, text.into());
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut back = Vec::new();
                (&peer).read_to_end(&mut back).map(|_| back.len())
            });
            let peer = &peer;
            scope.spawn(move || {
                // Talks on until the other side has gone.
                while (&mut &*peer).write_all(&[7; 100]).is_ok() {
                    if reader.is_finished() {
                        assert_eq!(reader.join().unwrap().unwrap(), 3_000_000);
                        peer.shutdown(Shutdown::Write).unwrap();
                        return;
                    }
                }
                panic!("reset before everything was read");
            });
            assert_eq!(rig.closed(id), (None, 0));
        });
    }

    fn a_flush_loses_patience(rig, Config::default()) {
        let (id, peer) = rig.pair();
        rig.reactor.send(id, vec![0; 10_000_000].into());
        rig.reactor.close(id, CloseHow::Flush { within: Duration::from_millis(30) });
        let start = rig.reactor.now();
        let (cause, unsent) = rig.closed(id);
        assert!(rig.reactor.now().since(start) >= Duration::from_millis(29));
        assert!(cause.is_none() && unsent > 5_000_000, "{cause:?}, {unsent}");
        drop(peer);
    }

    fn a_harsher_close_overtakes_a_gentle_one(rig, Config::default()) {
        let (id, mut peer) = rig.tcp_pair();
        rig.reactor.send(id, vec![0; 10_000_000].into());
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        assert!(rig.drain().is_empty());
        rig.reactor.close(id, CloseHow::Reset);
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        let (cause, unsent) = rig.closed(id);
        assert!(cause.is_none() && unsent > 0);
        let err = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionReset);
    }

    fn input_sent_before_a_reset_arrives_before_the_end(rig, Config::default()) {
        let (id, mut peer) = rig.tcp_pair();
        rig.reactor.set_reading(id, false);
        peer.write_all(b"last words").unwrap();
        rig.reactor.send(id, "unread".into());
        rig.drain();
        // Closing with unread input resets; our next send finds that out.
        drop(peer);
        rig.reactor.send(id, "into the void".into());
        assert!(rig.drain().is_empty(), "paused: the end waits behind the input");
        rig.reactor.set_reading(id, true);
        assert_eq!(&rig.data(id)[..], b"last words");
        let (cause, unsent) = rig.closed(id);
        let cause = cause.expect("the peer is gone");
        assert!(matches!(cause.errno, libc::ECONNRESET | libc::EPIPE), "{cause:?}");
        assert_eq!(unsent, 13);
    }

    fn a_half_closed_peer_still_gets_everything(rig, Config::default()) {
        let (id, mut peer) = rig.tcp_pair();
        peer.write_all(b"question").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(&rig.data(id)[..], b"question");
        assert!(matches!(rig.next(), Event::Eof { id: of } if of == id));
        rig.reactor.watch_sent(id, true);
        rig.reactor.send(id, "ans".into());
        rig.reactor.send(id, "wer".into());
        rig.reactor.finish(id);
        rig.reactor.send(id, "too late".into());
        let sent = rig.next();
        assert!(matches!(sent, Event::Sent { bytes: 6, queued: 0, .. }), "{sent:?}");
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        assert_eq!(rig.closed(id), (None, 0));
    }

    fn a_paused_socket_costs_nothing_and_misses_nothing(rig, Config::default()) {
        let (id, mut peer) = rig.pair();
        rig.reactor.set_reading(id, false);
        rig.drain();
        let writer = std::thread::spawn(move || {
            peer.write_all(&[5; 5_000_000]).unwrap();
        });
        let until = rig.reactor.now().after(Duration::from_millis(30));
        let before = rig.reactor.counters();
        while rig.reactor.now() < until {
            rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
        }
        let after = rig.reactor.counters();
        assert!(rig.queue.is_empty() && after.waits - before.waits < 10, "{after:?}");
        assert_eq!(after.received, 0);
        rig.reactor.set_reading(id, true);
        let mut got = 0;
        loop {
            match rig.next() {
                Event::Data { buf, .. } => got += buf.len(),
                Event::Eof { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, 5_000_000);
        writer.join().unwrap();
    }

    fn a_paused_socket_whose_peer_hung_up_does_not_spin(rig, Config::default()) {
        let (id, mut peer) = rig.pair();
        rig.reactor.set_reading(id, false);
        peer.write_all(b"bye").unwrap();
        drop(peer);
        rig.drain();
        let before = rig.reactor.counters().waits;
        let until = rig.reactor.now().after(Duration::from_millis(20));
        rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
        assert!(rig.reactor.now() >= until && rig.reactor.counters().waits == before + 1);
        rig.reactor.set_reading(id, true);
        assert_eq!(&rig.data(id)[..], b"bye");
        assert!(matches!(rig.next(), Event::Eof { .. }));
    }

    fn what_is_said_of_a_dead_socket_reaches_nobody(rig, Config::default()) {
        let (old, peer) = rig.pair();
        rig.reactor.close(old, CloseHow::Now);
        assert_eq!(rig.closed(old), (None, 0));
        drop(peer);
        // The next socket has the same descriptor and the same index.
        let (new, mut peer) = rig.pair();
        assert_eq!(new.index(), old.index());
        let all =
            Ready { readable: true, writable: true, drain: Drain::Over, error: true };
        let mut events = EventQueue::new();
        let mut batch = Batch::new(&mut events, &Config::default());
        rig.reactor.note_ready(old.0, all, &mut batch);
        rig.reactor.note_ready(Key::new(77, 1), all, &mut batch);
        assert!(batch.is_empty());
        assert_eq!(rig.reactor.counters().stale, 2);
        rig.reactor.send(old, "lost".into());
        rig.reactor.close(old, CloseHow::Reset);
        rig.reactor.finish(old);
        assert_eq!(rig.reactor.local_addr(old).unwrap_err().errno, libc::EBADF);
        assert!(rig.drain().is_empty());
        peer.write_all(b"mine").unwrap();
        assert_eq!(&rig.data(new)[..], b"mine");
    }

    fn a_shared_descriptor_goes_quiet_when_it_is_closed_here(rig, Config::default()) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let copy: OwnedFd = ours.try_clone().unwrap().into();
        let id = rig.reactor.adopt(copy, Role::Connection, true).unwrap();
        rig.reactor.close(id, CloseHow::Now);
        rig.closed(id);
        theirs.write_all(b"for the other holder").unwrap();
        assert!(rig.drain().is_empty());
        assert_eq!(rig.reactor.counters().stale, 0);
    }

    fn another_thread_wakes_a_wait(rig, Config::default()) {
        let waker = rig.reactor.waker();
        for _ in 0..100 {
            let waker = waker.clone();
            let thread = std::thread::spawn(move || waker.wake());
            assert!(matches!(rig.next(), Event::Woken));
            thread.join().unwrap();
        }
        for _ in 0..10 {
            waker.wake();
        }
        assert!(matches!(rig.drain()[..], [Event::Woken]), "many wakes are one");
        drop(rig);
        waker.wake();
    }

    fn refused_connects_end_with_their_cause(rig, Config::default()) {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let cases = [
            (Address::from(gone), libc::ECONNREFUSED),
            (Address::Local(b"/nonexistent/socket"[..].into()), libc::ENOENT),
        ];
        for (to, errno) in cases {
            let id = rig.reactor.connect(&OpenSpec::default(), &to).unwrap();
            rig.reactor.send(id, "hello".into());
            let (cause, unsent) = rig.closed(id);
            assert_eq!(cause, Some(SysError { op: Op::Connect, errno }), "{to}");
            assert_eq!(unsent, 5);
        }
    }

    fn a_connect_sends_what_was_queued_before(rig, Config::default()) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap().into();
        let id = rig.reactor.connect(&OpenSpec::default(), &to).unwrap();
        rig.reactor.send(id, "early".into());
        rig.reactor.finish(id);
        assert!(matches!(rig.next(), Event::Connected { id: of } if of == id));
        assert_eq!(rig.reactor.peer_addr(id).unwrap(), to);
        let mut text = String::new();
        server.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "early");
        assert!(matches!(rig.next(), Event::Eof { .. }));
    }

    fn a_full_backlog_is_no_refusal(rig, Config::default()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server");
        let server = UnixListener::bind(&path).unwrap();
        let socket = socket2::SockRef::from(&server);
        socket.listen(0).unwrap();
        let to = Address::Local(path.as_os_str().as_encoded_bytes().into());
        let ids: Vec<_> =
            (0..5).map(|_| rig.reactor.connect(&OpenSpec::default(), &to).unwrap()).collect();
        let accepting = std::thread::spawn(move || {
            (0..5).map(|_| server.accept().unwrap().0).collect::<Vec<_>>()
        });
        for _ in &ids {
            assert!(matches!(rig.next(), Event::Connected { .. }));
        }
        accepting.join().unwrap();
    }

    fn a_stopped_listener_accepts_nothing(rig, Config::default()) {
        let (server, at) = rig.tcp_server();
        rig.reactor.set_reading(server, false);
        let _peer = TcpStream::connect(at).unwrap();
        assert!(rig.drain().is_empty());
        rig.reactor.set_reading(server, true);
        assert!(matches!(rig.next(), Event::Accepted { .. }));
    }

    fn a_poll_brings_no_more_events_than_configured(rig, {
        let mut config = small();
        config.events_max = 3;
        config.slots = 64;
        config
    }) {
        let (_, mut peer) = rig.pair();
        let (_, mut other) = rig.pair();
        peer.write_all(&[0; 640]).unwrap();
        other.write_all(&[0; 640]).unwrap();
        let mut got = 0;
        while got < 1280 {
            rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
            assert!((1..=3).contains(&rig.queue.len()), "{}", rig.queue.len());
            while let Some(event) = rig.queue.pop() {
                let Event::Data { buf, .. } = event else { panic!("{event:?}") };
                got += buf.len();
            }
        }
    }

    fn the_last_words_keep_to_the_bound_too(rig, {
        let mut config = small();
        config.events_max = 1;
        config
    }) {
        let (id, mut peer) = rig.pair();
        rig.reactor.watch_sent(id, true);
        rig.reactor.send(id, "bye".into());
        rig.reactor.waker().wake();
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        rig.reactor.close(id, CloseHow::Now);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            rig.reactor.poll(Wait::Forever, &mut rig.queue).unwrap();
            assert!(rig.queue.len() <= 1 || seen.is_empty(), "{:?}", rig.queue);
            seen.extend(std::iter::from_fn(|| rig.queue.pop()));
        }
        let sent = seen.iter().position(|event| matches!(event, Event::Sent { bytes: 3, .. }));
        let end = seen.iter().position(|event| matches!(event, Event::Closed { unsent: 0, .. }));
        assert!(sent.is_some() && sent < end, "{seen:?}");
        assert!(seen.iter().any(|event| matches!(event, Event::Woken)), "{seen:?}");
        peer.read_exact(&mut [0; 3]).unwrap();
    }

    fn urgent_data_does_not_hide_what_follows(rig, Config::default()) {
        let (id, peer) = rig.tcp_pair();
        (&peer).write_all(b"before").unwrap();
        socket2::SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        (&peer).write_all(b"after").unwrap();
        let mut text = Vec::new();
        while text.len() < 11 {
            text.extend_from_slice(&rig.data(id));
        }
        assert_eq!(text, b"beforeafter");
    }

    fn a_connection_to_oneself_is_refused(rig, Config::default()) {
        // A port that is free, and then bound by the very socket that connects to it.
        let probe = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().into();
        let spec = OpenSpec { local: Some(&probe), ..OpenSpec::default() };
        let id = rig.reactor.connect(&spec, &probe).unwrap();
        let (cause, _) = rig.closed(id);
        assert_eq!(cause, Some(SysError { op: Op::Connect, errno: libc::ECONNREFUSED }));
    }

    fn events_sum_up_what_was_sent(rig, Config::default()) {
        let (id, mut peer) = rig.pair();
        rig.reactor.watch_sent(id, true);
        rig.reactor.send(id, vec![1; 3_000_000].into());
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        let reader = std::thread::spawn(move || {
            let mut back = Vec::new();
            peer.read_to_end(&mut back).unwrap();
            back.len()
        });
        let mut sent = 0;
        loop {
            match rig.next() {
                Event::Sent { bytes, queued, .. } => {
                    sent += bytes;
                    assert_eq!(queued, 3_000_000 - sent);
                }
                Event::Closed { cause: None, unsent: 0, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sent, reader.join().unwrap()), (3_000_000, 3_000_000));
    }
}

#[test]
fn a_mechanism_of_another_system_is_refused() {
    for mechanism in [Mechanism::Epoll, Mechanism::Kqueue, Mechanism::Poll] {
        let made = PollReactor::with(mechanism, Config::default());
        if Mechanism::available().contains(&mechanism) {
            assert_eq!(made.unwrap().caps().name, mechanism.name());
        } else {
            let refused = SysError { op: Op::Open, errno: libc::EOPNOTSUPP };
            assert_eq!(made.unwrap_err(), refused, "{mechanism:?}");
        }
    }
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn a_foreign_loop_may_sleep_on_the_descriptor() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(rig: &Rig, millis: u16) -> bool {
        let mut fds = [PollFd::new(rig.reactor.as_fd().unwrap(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(millis)).unwrap() > 0
    }

    let mut rig = Rig::new(Mechanism::Epoll, small());
    let (id, mut peer) = rig.pair();
    rig.drain();
    rig.reactor.arm(None).unwrap();
    assert!(!readable(&rig, 0));
    peer.write_all(b"x").unwrap();
    assert!(readable(&rig, 1000), "input");
    assert_eq!(rig.data(id).len(), 1);
    let soon = rig.reactor.now().after(Duration::from_millis(5));
    rig.reactor.arm(Some(soon)).unwrap();
    assert!(readable(&rig, 1000) && rig.reactor.now() >= soon, "time");
    assert!(rig.drain().is_empty() && !readable(&rig, 0), "once");
    rig.reactor.send(id, "out".into());
    rig.reactor.arm(None).unwrap();
    peer.read_exact(&mut [0; 3]).unwrap();
    rig.drain();
    rig.reactor.close(id, CloseHow::Now);
    rig.reactor.arm(None).unwrap();
    assert!(readable(&rig, 1000), "an end to be told");
    rig.closed(id);
    rig.reactor.waker().wake();
    assert!(readable(&rig, 1000), "a wake");

    let mut rig = Rig::new(Mechanism::Poll, small());
    assert!(rig.reactor.as_fd().is_none());
    assert_eq!(rig.reactor.arm(None).unwrap_err().errno, libc::EOPNOTSUPP);
}
