//! More sockets with input than slots: those who wait are read by calls, in turn and whole.

use std::{
    collections::HashMap,
    io::{Write as _, pipe},
    net::{Shutdown, TcpStream},
};

use super::*;

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
    /// Polls until `done`.
    fn until(&mut self, rig: &mut Rig, done: impl Fn(&Self) -> bool) {
        let end = rig.reactor.now().after(PATIENCE);
        while !done(self) {
            assert!(rig.reactor.now() < end, "did not come: {:?}", rig.reactor.counters());
            rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
            self.in_turn += usize::from(rig.reactor.io.reads_in_turn());
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
