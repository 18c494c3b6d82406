//! Sends without a completion.

use std::{
    io::{Read as _, Write as _},
    thread,
};

use super::*;

const LEN: usize = 48 * 1024;

/// The bytes of one send, different from those of the next.
fn bytes_of(send: usize) -> Vec<u8> {
    (0..LEN).map(|at| (at ^ at >> 8 ^ send).to_le_bytes()[0]).collect()
}

#[test]
fn an_answer_to_one_peer_takes_one_enter() {
    const TIMES: u64 = 200;
    let quiet = probe(&Config::default()).unwrap().quiet();
    for (mut rig, quiet) in Rig::both(Config::default()).into_iter().zip([quiet, false]) {
        let (id, mut client) = rig.accepted();
        rig.settle();
        let before = rig.reactor.counters();
        let asking = thread::spawn(move || {
            for _ in 0..TIMES {
                client.write_all(b"?").unwrap();
                client.read_exact(&mut [0]).unwrap();
            }
        });
        for _ in 0..TIMES {
            assert_eq!(rig.data(), b"?");
            rig.reactor.send(id, "!".into());
        }
        rig.until(|event| matches!(event, Event::Eof { .. }).then_some(()));
        asking.join().unwrap();
        let after = rig.reactor.counters();
        assert_eq!(after.sent - before.sent, TIMES);
        let calls = after.syscalls - before.syscalls;
        // A completion ends the wait behind its send, unless the next question comes first.
        let most = if quiet { TIMES + 20 } else { 2 * TIMES + 20 };
        assert!((TIMES..most).contains(&calls), "{calls}, quiet: {quiet}");
        assert_eq!(after.in_flight, 0, "the end was the last of it");
    }
}

#[test]
fn what_there_is_no_room_for_goes_later_and_in_order() {
    let mut config = Config::default();
    config.events_max = 1;
    let quiet = probe(&config).unwrap().quiet();
    for (mut rig, quiet) in Rig::both(config).into_iter().zip([quiet, false]) {
        let peers: [_; 2] = std::array::from_fn(|_| rig.accepted());
        rig.settle();
        let mut sends = 0;
        // The last finds nobody's queue empty: it is not all in one send any more.
        while peers.iter().any(|(id, _)| rig.reactor.queued(*id) < 3 * LEN as u64) {
            for (id, _) in &peers {
                rig.reactor.send(*id, bytes_of(sends).into());
            }
            sends += 1;
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
            assert!(rig.queue.pop().is_none());
        }
        // Those that wait for room inside the kernel never fall short.
        assert_eq!(rig.reactor.counters().short_sends >= 2, quiet, "{:?}", rig.reactor.counters());
        let reading = peers.map(|(id, mut peer)| {
            rig.reactor.finish(id);
            thread::spawn(move || {
                for send in 0..sends {
                    let mut got = vec![0; LEN];
                    peer.read_exact(&mut got).unwrap();
                    assert!(got == bytes_of(send), "send {send} of {sends}");
                }
                assert_eq!(peer.read(&mut [0]).unwrap(), 0, "and nothing more");
            })
        });
        for _ in &reading {
            rig.until(|event| matches!(event, Event::Eof { .. }).then_some(()));
        }
        for thread in reading {
            thread.join().unwrap();
        }
    }
}
