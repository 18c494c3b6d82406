//! More sockets with input than slots: those who wait are read by calls, in turn and whole.

use std::{
    collections::HashMap,
    io::{IoSlice, Read as _, Write, pipe},
    net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
};

use netproc_core::reactor::Role;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::*;
use crate::crowd::CALM_TURNS;

const CLIENTS: usize = 300;
/// Less than any socket's buffers hold, so that all of it is there before the first poll.
const EACH: usize = 60_000;

/// A server's sockets by the number their clients sent first, and those clients.
fn crowd(rig: &mut Rig) -> (Vec<SockId>, Vec<TcpStream>) {
    let (listener, address) = rig.listen();
    let (mut ids, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect(address).unwrap());
        ids.push(rig.until(|event| match event {
            Event::Accepted { id, .. } => Some(id),
            _ => None,
        }));
    }
    rig.reactor.close(listener, CloseHow::Now);
    rig.closed(listener);
    (ids, clients)
}

/// The same within the machine.
fn local_crowd(rig: &mut Rig) -> (Vec<SockId>, Vec<UnixStream>) {
    let pairs = (0..CLIENTS).map(|_| UnixStream::pair().unwrap());
    pairs.map(|(a, b)| (rig.reactor.adopt(a.into(), Role::Connection, true).unwrap(), b)).unzip()
}

fn bytes_of(client: usize) -> Vec<u8> {
    (0..EACH).map(|at| u8::try_from((at / 7 + client) % 251).unwrap()).collect()
}

/// What came of each, and how it ended.
#[derive(Default)]
struct Heard {
    data: HashMap<SockId, Vec<u8>>,
    ends: Vec<SockId>,
    closed: HashMap<SockId, Option<i32>>,
    /// Polls after which somebody waited to be read by a call.
    in_turn: usize,
}

impl Heard {
    /// Polls until `done`, once what polls before have brought was heard.
    fn until(&mut self, rig: &mut Rig, done: impl Fn(&Self) -> bool) {
        let end = rig.reactor.now().after(PATIENCE);
        self.hear(rig);
        while !done(self) {
            assert!(rig.reactor.now() < end, "did not come: {:?}", rig.reactor.counters());
            self.poll(rig, Wait::Until(end));
        }
    }

    fn poll(&mut self, rig: &mut Rig, wait: Wait) {
        rig.reactor.poll(wait, &mut rig.queue).unwrap();
        self.in_turn += usize::from(rig.reactor.io.reads_in_turn());
        self.hear(rig);
    }

    fn hear(&mut self, rig: &mut Rig) {
        while let Some(event) = rig.queue.pop() {
            match event {
                Event::Data { id, buf, .. } => {
                    self.data.entry(id).or_default().extend_from_slice(&buf);
                }
                Event::Eof { id } => self.ends.push(id),
                Event::Closed { id, cause, .. } => {
                    self.closed.insert(id, cause.map(|err| err.errno));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn len(&self, id: SockId) -> usize {
        self.data.get(&id).map_or(0, Vec::len)
    }
}

fn sized() -> Config {
    let mut config = Config::default();
    (config.slots, config.slot_len) = (64, 16 * 1024);
    config
}

#[test]
fn those_who_wait_are_read_whole_each_in_its_turn() {
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = crowd(&mut rig);
    let (theirs, mut ours) = pipe().unwrap();
    let piped = rig.reactor.adopt_pipes(theirs.into(), None, true).unwrap();
    ours.write_all(b"a pipe is not a socket").unwrap();
    for (at, client) in clients.iter_mut().enumerate() {
        client.write_all(&bytes_of(at)).unwrap();
    }
    let mut heard = Heard::default();
    // One that waits is stopped, another closed.
    heard.until(&mut rig, |heard| heard.in_turn > 0);
    let waits = |at: &usize| heard.len(ids[*at]) == 0;
    let waiting: Vec<_> = (0..CLIENTS).filter(waits).take(2).collect();
    let [stopped, closed] = waiting[..] else { panic!("all were read at once") };
    rig.reactor.set_reading(ids[stopped], false);
    rig.reactor.close(ids[closed], CloseHow::Now);
    let others = |at: &usize| ![stopped, closed].contains(at);
    heard.until(&mut rig, |heard| {
        let mut all = (0..CLIENTS).filter(others);
        all.all(|at| heard.len(ids[at]) == EACH) && heard.closed.contains_key(&ids[closed])
    });
    assert!(heard.in_turn > 20, "many polls of a few slots: {}", heard.in_turn);
    assert_eq!((heard.len(ids[stopped]), heard.len(ids[closed])), (0, 0));
    rig.reactor.set_reading(ids[stopped], true);
    heard.until(&mut rig, |heard| heard.len(ids[stopped]) == EACH && heard.len(piped) == 22);
    for at in (0..CLIENTS).filter(|at| *at != closed) {
        assert!(heard.data[&ids[at]] == bytes_of(at), "client {at} sent something else");
    }
    ids.iter().chain([&piped]).for_each(|id| rig.reactor.close(*id, CloseHow::Now));
    rig.assert_clean();
}

#[test]
fn ends_and_resets_come_behind_the_bytes() {
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = crowd(&mut rig);
    for (at, client) in clients.iter_mut().enumerate() {
        client.write_all(&bytes_of(at)).unwrap();
        if at % 3 == 0 {
            client.shutdown(Shutdown::Write).unwrap();
        }
    }
    let mut heard = Heard::default();
    heard.until(&mut rig, |heard| ids.iter().all(|id| heard.len(*id) == EACH));
    heard.until(&mut rig, |heard| heard.ends.len() == CLIENTS / 3);
    assert!(heard.in_turn > 0);
    for client in clients.iter().skip(1).step_by(3) {
        socket2::SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(clients);
    heard.until(&mut rig, |heard| heard.ends.len() == CLIENTS / 3 * 2);
    heard.until(&mut rig, |heard| heard.closed.len() == CLIENTS / 3);
    for (at, id) in ids.iter().enumerate() {
        assert!(heard.data[id] == bytes_of(at), "client {at} sent something else");
        assert_eq!(heard.closed.get(id), (at % 3 == 1).then_some(&Some(libc::ECONNRESET)));
        assert_eq!(heard.ends.contains(id), at % 3 != 1);
        rig.reactor.close(*id, CloseHow::Now);
    }
    rig.assert_clean();
}

/// A crowd that is one, goes its ways one by one, and is one again.
fn gathers_and_parts(mut rig: Rig, ids: &[SockId], clients: &mut [impl Write]) {
    let mut heard = Heard::default();
    let mut expected: Vec<Vec<u8>> = vec![Vec::new(); CLIENTS];
    for _ in 0..2 {
        for (at, client) in clients.iter_mut().enumerate() {
            client.write_all(&bytes_of(at)).unwrap();
            expected[at].extend(bytes_of(at));
        }
        heard.until(&mut rig, |heard| {
            let mut all = ids.iter().zip(&expected);
            all.all(|(id, expected)| heard.len(*id) == expected.len())
        });
        assert!(rig.reactor.io.crowd.gathered);
        // Each is told of once more after the crowd is over.
        for at in (0..CLIENTS).cycle().take(CALM_TURNS + CLIENTS) {
            clients[at].write_all(b"!").unwrap();
            expected[at].push(b'!');
            heard.until(&mut rig, |heard| heard.len(ids[at]) == expected[at].len());
        }
        assert!(!rig.reactor.io.crowd.gathered);
        assert_eq!(rig.reactor.io.crowd.members(), 0, "the ring has them again");
    }
    for (id, expected) in ids.iter().zip(&expected) {
        assert!(heard.data[id] == *expected, "something else was sent");
        rig.reactor.close(*id, CloseHow::Now);
    }
    rig.assert_clean();
}

#[test]
fn a_crowd_is_received_by_the_ring_again_when_it_has_parted() {
    for mut rig in Rig::both(sized()) {
        let (ids, mut clients) = crowd(&mut rig);
        gathers_and_parts(rig, &ids, &mut clients);
    }
    for mut rig in Rig::both(sized()) {
        let (ids, mut clients) = local_crowd(&mut rig);
        gathers_and_parts(rig, &ids, &mut clients);
    }
}

/// What all of them heard of a message each, which has made them a crowd.
#[track_caller]
fn gathered(rig: &mut Rig, ids: &[SockId], clients: &mut [impl Write]) -> Heard {
    for (at, client) in clients.iter_mut().enumerate() {
        client.write_all(&bytes_of(at)).unwrap();
    }
    let mut heard = Heard::default();
    heard.until(rig, |heard| ids.iter().all(|id| heard.len(*id) == EACH));
    assert!(rig.reactor.io.crowd.gathered && rig.reactor.io.crowd.members() > 0);
    heard
}

#[test]
fn in_a_crowd_bytes_behind_a_descriptor_do_not_wait_for_more() {
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = local_crowd(&mut rig);
    let mut heard = gathered(&mut rig, &ids, &mut clients);
    for (id, client) in ids.iter().zip(&mut clients) {
        let fds = [client.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        for _ in 0..3 {
            let part = [IoSlice::new(b"with ")];
            sendmsg::<()>(client.as_raw_fd(), &part, &rights, MsgFlags::empty(), None).unwrap();
        }
        client.write_all(b"without").unwrap();
        heard.until(&mut rig, |heard| heard.data[id].ends_with(b"with with with without"));
        // Stopped, it tells of nothing; an end is told of whenever it came.
        rig.reactor.set_reading(*id, false);
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        rig.reactor.set_reading(*id, true);
        heard.until(&mut rig, |heard| heard.ends.contains(id));
        assert!(heard.data[id].ends_with(b"last words"));
        rig.reactor.close(*id, CloseHow::Now);
    }
    rig.assert_clean();
}

#[test]
fn a_crowd_without_a_slot_sleeps_until_one_comes_free() {
    for mut rig in Rig::both(sized()) {
        let (ids, mut clients) = local_crowd(&mut rig);
        let mut heard = gathered(&mut rig, &ids, &mut clients);
        // Of the members too few have more to be a crowd, but more than all slots hold.
        for (at, client) in clients.iter_mut().enumerate().take(100) {
            client.write_all(&bytes_of(at)).unwrap();
        }
        let mut kept = Vec::new();
        let mut before;
        loop {
            before = rig.reactor.counters();
            let end = rig.reactor.now().after(Duration::from_millis(20));
            rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
            if rig.queue.is_empty() {
                break;
            }
            kept.extend(std::iter::from_fn(|| rig.queue.pop()));
        }
        let after = rig.reactor.counters();
        assert!(rig.reactor.io.streams.waiting() > 0, "somebody found no slot");
        assert!(rig.reactor.io.crowd.members() > 0);
        let calls = after.syscalls - before.syscalls;
        assert!(calls < 10, "{calls} calls while there was nothing to do");
        rig.reactor.arm(None).unwrap();
        assert!(!life::readable(&rig, 20), "a foreign loop sleeps as well");
        for event in kept.drain(..) {
            let Event::Data { id, buf, .. } = event else { panic!("{event:?}") };
            heard.data.entry(id).or_default().extend_from_slice(&buf);
        }
        let twice = |heard: &Heard| ids[..100].iter().all(|id| heard.len(*id) == EACH * 2);
        heard.until(&mut rig, twice);
        // Nobody is forgotten who has more only now.
        for (at, client) in clients.iter_mut().enumerate().skip(100) {
            client.write_all(&bytes_of(at)).unwrap();
        }
        heard.until(&mut rig, |heard| ids.iter().all(|id| heard.len(*id) == EACH * 2));
        for (at, id) in ids.iter().enumerate() {
            assert!(heard.data[id] == bytes_of(at).repeat(2), "client {at} sent something else");
            rig.reactor.close(*id, CloseHow::Now);
        }
        rig.assert_clean();
    }
}

#[test]
fn in_a_crowd_an_urgent_mark_does_not_hide_what_follows() {
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = crowd(&mut rig);
    let mut heard = gathered(&mut rig, &ids, &mut clients);
    for (id, client) in ids.iter().zip(&mut clients) {
        client.write_all(b"before").unwrap();
        socket2::SockRef::from(&*client).send_out_of_band(b"!").unwrap();
        client.write_all(b"after").unwrap();
        heard.until(&mut rig, |heard| heard.data[id].ends_with(b"beforeafter"));
        rig.reactor.close(*id, CloseHow::Now);
    }
    rig.assert_clean();
}

#[test]
fn in_a_crowd_who_only_looks_sees_all_there_is() {
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = crowd(&mut rig);
    let mut heard = gathered(&mut rig, &ids, &mut clients);
    // Until nobody is left in line, who had more than a slot holds.
    heard.poll(&mut rig, Wait::No);
    for client in &mut clients {
        client.write_all(b"!").unwrap();
    }
    heard.poll(&mut rig, Wait::No);
    let silent = ids.iter().filter(|id| heard.len(**id) == EACH).count();
    assert_eq!(silent, 0, "of {CLIENTS}");
    ids.iter().for_each(|id| rig.reactor.close(*id, CloseHow::Now));
    rig.assert_clean();
}

/// Writes until there is no room.
fn fill(clients: &mut [UnixStream]) {
    for client in clients {
        while client.write(&[7; EACH]).is_ok() {}
    }
}

#[test]
fn in_a_crowd_those_who_send_without_end_keep_nobody_waiting() {
    const ENDLESS: usize = 40;
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = local_crowd(&mut rig);
    let mut heard = gathered(&mut rig, &ids, &mut clients);
    clients[..ENDLESS].iter().for_each(|client| client.set_nonblocking(true).unwrap());
    for is_over in [false, true] {
        let expected = heard.len(ids[ENDLESS]) + 1;
        let mut polls = 0;
        let mut poll = |heard: &mut Heard, clients: &mut [UnixStream]| {
            polls += 1;
            assert!(polls < 2000, "{}", rig.reactor.io.crowd.gathered);
            fill(&mut clients[..ENDLESS]);
            heard.poll(&mut rig, Wait::Until(Tick(u64::MAX)));
            ids[..ENDLESS].iter().for_each(|id| drop(heard.data.remove(id)));
            rig.reactor.io.crowd.gathered
        };
        // They stand in line before anybody else has something to say.
        for _ in 0..20 {
            poll(&mut heard, &mut clients);
        }
        while is_over && poll(&mut heard, &mut clients) {}
        for client in &mut clients[ENDLESS..] {
            client.write_all(b"!").unwrap();
        }
        while ids[ENDLESS..].iter().any(|id| heard.len(*id) < expected) {
            let gathered = poll(&mut heard, &mut clients);
            assert!(gathered || is_over, "they are as many as make a crowd");
        }
    }
    ids.iter().for_each(|id| rig.reactor.close(*id, CloseHow::Now));
    rig.assert_clean();
}

#[test]
fn packets_without_end_keep_nobody_in_line_waiting() {
    for wait in [Wait::No, Wait::Until(Tick(u64::MAX))] {
        let mut config = sized();
        config.events_max = 4;
        let mut rig = Rig::new(config);
        let (ids, mut clients) = crowd(&mut rig);
        let local = "[127 0 0 1 0]".parse().unwrap();
        let spec = OpenSpec { kind: Kind::Datagram, local: Some(&local), ..OpenSpec::default() };
        let flooded = rig.reactor.datagram(&spec, None).unwrap();
        let to = (Ipv4Addr::LOCALHOST, rig.reactor.local_addr(flooded).unwrap().port().unwrap());
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (at, client) in clients.iter_mut().enumerate() {
            client.write_all(&bytes_of(at)).unwrap();
        }
        let (mut left, mut packets, mut polls) = (CLIENTS * EACH, 0, 0);
        while left > 0 {
            polls += 1;
            assert!(polls < 5_000, "{left} bytes have not come, {packets} packets have");
            for _ in 0..8 {
                stranger.send_to(b"!", to).unwrap();
            }
            rig.reactor.poll(wait, &mut rig.queue).unwrap();
            while let Some(event) = rig.queue.pop() {
                match event {
                    Event::Data { buf, .. } => left -= buf.len(),
                    Event::Datagram { .. } => packets += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(packets >= polls, "they wait in turn: {packets} packets in {polls} polls");
        ids.iter().chain([&flooded]).for_each(|id| rig.reactor.close(*id, CloseHow::Now));
        rig.assert_clean();
    }
}

#[test]
fn a_member_that_is_closed_reads_away_without_memory() {
    let mut rig = Rig::new(sized());
    let (ids, mut clients) = local_crowd(&mut rig);
    let mut heard = gathered(&mut rig, &ids, &mut clients);
    // Those of all slots are kept, and somebody stands in line.
    for (at, client) in clients.iter_mut().enumerate().take(100) {
        client.write_all(&bytes_of(at)).unwrap();
    }
    let mut kept = Vec::new();
    loop {
        let end = rig.reactor.now().after(Duration::from_millis(20));
        rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
        if rig.queue.is_empty() {
            break;
        }
        kept.extend(std::iter::from_fn(|| rig.queue.pop()));
    }
    assert!(rig.reactor.io.is_stuck());
    // Both are told of as members, once, and then no more.
    for at in [200, 201] {
        assert!(rig.reactor.io.crowd.gathered);
        rig.reactor.send(ids[at], "answer".into());
        rig.reactor.close(ids[at], CloseHow::Flush { within: PATIENCE * 10 });
        heard.poll(&mut rig, Wait::No);
        let mut answer = [0; 6];
        clients[at].read_exact(&mut answer).unwrap();
        clients[at].write_all(b"unread").unwrap();
        clients[at].shutdown(Shutdown::Write).unwrap();
        heard.until(&mut rig, |heard| heard.closed.contains_key(&ids[at]));
        assert_eq!((&answer, heard.closed[&ids[at]]), (b"answer", None));
    }
    drop(kept);
    ids.iter().for_each(|id| rig.reactor.close(*id, CloseHow::Now));
    rig.assert_clean();
}
