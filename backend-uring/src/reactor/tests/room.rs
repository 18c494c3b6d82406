//! A kernel that takes nothing for a while: what found no room is tried again, and nothing is lost.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixDatagram,
};

use netproc_core::address::Family;

use super::*;

impl Rig {
    /// Has the ring take entries, or none, as where the kernel has no memory for them.
    fn refuse(&mut self, refuses: bool) {
        self.reactor.io.ring.refuses = refuses;
        if refuses {
            self.settle();
            assert!(!self.reactor.io.postponed.is_empty(), "something found no room");
        }
    }
}

#[test]
fn what_finds_no_room_is_tried_again() {
    for mut rig in Rig::both(Config::default()) {
        let (id, mut peer) = rig.accepted();
        let (closed, mut closed_peer) = rig.accepted();
        let (stopped, mut stopped_peer) = rig.accepted();
        let (quiet, mut quiet_peer) = rig.accepted();
        let (theirs, mut ours) = std::io::pipe().unwrap();
        let piped = rig.reactor.adopt_pipes(theirs.into(), None, false).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets");
        let packets = UnixDatagram::bind(&path).unwrap();
        let at = Address::local(path.into_os_string().into_encoded_bytes()).unwrap();
        rig.settle();

        // A send, ends of all sorts, a stop, a connect, a packet, and a read, none of which finds room.
        rig.reactor.io.ring.refuses = true;
        rig.reactor.send(id, "at last".into());
        rig.reactor.close(closed, CloseHow::Reset);
        rig.reactor.set_reading(stopped, false);
        rig.reactor.set_reading(piped, true);
        let client = rig.reactor.connect(&OpenSpec::default(), &to).unwrap();
        let gone = rig.reactor.connect(&OpenSpec::default(), &to).unwrap();
        let spec = OpenSpec { kind: Kind::Datagram, family: Family::Local, ..OpenSpec::default() };
        let sender = rig.reactor.datagram(&spec, None).unwrap();
        rig.reactor.send_to(sender, "a packet".into(), &at);
        rig.refuse(true);
        rig.reactor.close(gone, CloseHow::Now);
        rig.closed(gone);
        rig.reactor.arm(None).unwrap();
        assert!(life::readable(&rig, 1000), "a foreign loop is not let down");
        quiet_peer.write_all(b"heard meanwhile").unwrap();
        assert_eq!(rig.data(), b"heard meanwhile");
        rig.reactor.send(quiet, "answered".into());
        rig.settle();

        rig.refuse(false);
        rig.closed(closed);
        rig.until(|event| matches!(event, Event::Connected { id } if id == client).then_some(()));
        let mut room = [0; 8];
        for (peer, wanted) in [(&mut peer, &b"at last"[..]), (&mut quiet_peer, b"answered")] {
            peer.read_exact(&mut room[..wanted.len()]).unwrap();
            assert_eq!(&room[..wanted.len()], wanted);
        }
        assert!(closed_peer.read(&mut room).is_err(), "it was reset");
        assert_eq!(packets.recv(&mut room).unwrap(), 8);
        stopped_peer.write_all(b"unheard").unwrap();
        ours.write_all(b"of a child").unwrap();
        assert_eq!(rig.data(), b"of a child", "and nothing of who was stopped");
        rig.reactor.set_reading(stopped, true);
        assert_eq!(rig.data(), b"unheard");
        for id in [id, stopped, quiet, piped, client, sender] {
            rig.reactor.close(id, CloseHow::Now);
        }
        rig.assert_clean();
    }
}

#[test]
fn dropped_while_nothing_finds_room_it_is_gone() {
    let mut rig = Rig::new(Config::default());
    let (_, mut peer) = rig.accepted();
    rig.settle();
    rig.reactor.io.ring.refuses = true;
    drop(rig);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}
