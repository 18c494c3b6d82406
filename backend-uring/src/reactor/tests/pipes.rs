//! Pipes of children: whose memory they are read into.

use std::io::Write as _;

use super::*;

// Kernels before 7.0 say of the end of a pipe that they are done with a buffer, where they go on filling it in parts:
// it would be lent again, and one connection get what another is sent.
#[test]
fn pipes_are_read_into_whole_buffers_of_their_own() {
    for mut rig in Rig::both(Config::default()) {
        let (theirs, mut ours) = std::io::pipe().unwrap();
        let piped = rig.reactor.adopt_pipes(theirs.into(), None, true).unwrap();
        let (id, mut peer) = rig.accepted();
        ours.write_all(b"of a child").unwrap();
        let kept = rig.until(|event| match event {
            Event::Data { id, buf, .. } if id == piped => Some(buf),
            _ => None,
        });
        let guarded = |rig: &mut Rig| {
            let groups = [Group::Streams, Group::Pipes];
            groups.map(|group| rig.reactor.io.group(group).pool().guarded())
        };
        assert_eq!(guarded(&mut rig), [0, 1]);
        assert!(!rig.reactor.io.group(Group::Pipes).is_incremental());
        drop(ours);
        rig.until(|event| matches!(event, Event::Eof { id } if id == piped).then_some(()));
        peer.write_all(b"of a peer").unwrap();
        assert_eq!(rig.data(), b"of a peer");
        assert_eq!(&kept[..], b"of a child");
        drop(kept);
        for id in [piped, id] {
            rig.reactor.close(id, CloseHow::Now);
        }
        rig.assert_clean();
    }
}

// With fewer slots than pipes, and all of those kept, each is read in its turn and none is forgotten.
#[test]
fn more_pipes_than_slots_are_read_in_turn() {
    for mut rig in Rig::both(Config::default()) {
        let mut pipes = Vec::new();
        for _ in 0..60 {
            let (theirs, ours) = std::io::pipe().unwrap();
            pipes.push((rig.reactor.adopt_pipes(theirs.into(), None, true).unwrap(), ours));
        }
        let mut heard = std::collections::HashMap::new();
        for _ in 0..3 {
            let mut kept = Vec::new();
            for (_, ours) in &mut pipes {
                ours.write_all(b"some").unwrap();
            }
            for _ in &pipes {
                let (id, buf) = rig.until(|event| match event {
                    Event::Data { id, mut buf, .. } => {
                        buf.spill_if_scarce();
                        Some((id, buf))
                    }
                    _ => None,
                });
                *heard.entry(id).or_insert(0) += buf.len();
                kept.push(buf);
            }
        }
        for (id, ours) in pipes {
            assert_eq!(heard[&id], 12);
            drop(ours);
            rig.until(|event| matches!(event, Event::Eof { id: of } if of == id).then_some(()));
            rig.reactor.close(id, CloseHow::Now);
        }
        rig.assert_clean();
    }
}

#[test]
fn a_write_into_a_pipe_counts_the_calls_about_the_signal() {
    let mut rig = Rig::new(Config::default());
    let (theirs, _ours) = std::io::pipe().unwrap();
    let (_input, sink) = std::io::pipe().unwrap();
    let id = rig.reactor.adopt_pipes(theirs.into(), Some(sink.into()), true).unwrap();
    rig.settle();
    let before = rig.reactor.counters();
    rig.reactor.send(id, "some".into());
    rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
    let after = rig.reactor.counters();
    assert_eq!(after.sent - before.sent, 4);
    // And the enter.
    assert_eq!(after.syscalls - before.syscalls, 4);
}
