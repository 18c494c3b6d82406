//! Packets and records: empty ones, cut ones, refused ones, and a receiver that is full.

use std::path::Path;

use super::*;

on_each_mechanism! {
    fn an_empty_packet_is_a_packet(rig, Config::default()) {
        let local = Address::from("127.0.0.1:0".parse::<SocketAddr>().unwrap());
        let spec = OpenSpec { local: Some(&local), kind: Kind::Datagram, ..OpenSpec::default() };
        let id = rig.reactor.datagram(&spec, None).unwrap();
        let Ok(Address::V4(at)) = rig.reactor.local_addr(id) else { panic!("no address") };
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        for packet in [&b""[..], b"one", b"", &[1; 60_000]] {
            peer.send_to(packet, at).unwrap();
        }
        let mut lens = Vec::new();
        while lens.len() < 4 {
            let Event::Datagram { buf, from, lost: 0, .. } = rig.next() else { panic!("no packet") };
            assert_eq!(from, Some(peer.local_addr().unwrap().into()));
            lens.push(buf.len());
        }
        assert_eq!(lens, [0, 3, 0, 60_000]);
        let to = peer.local_addr().unwrap().into();
        rig.reactor.send_to(id, "".into(), &to);
        rig.reactor.send_to(id, "back".into(), &to);
        rig.reactor.send_to(id, vec![0; 70_000].into(), &to);
        let trouble = rig.next();
        let Event::Trouble { err, .. } = trouble else { panic!("{trouble:?}") };
        assert_eq!(err, SysError { op: Op::Send, errno: libc::EMSGSIZE });
        assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 0);
        assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 4);
    }

    fn a_long_packet_is_cut_and_says_by_how_much(rig, small()) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        rig.reactor.adopt(ours.into(), Role::Datagram, true).unwrap();
        theirs.send(&[3; 100]).unwrap();
        let event = rig.next();
        let Event::Datagram { buf, lost, .. } = event else { panic!("{event:?}") };
        assert_eq!(buf.len(), 64);
        assert!(lost == 36 || cfg!(not(target_os = "linux")), "{lost}");
    }

    fn a_refused_packet_is_trouble_and_no_end(rig, Config::default()) {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let spec = OpenSpec { kind: Kind::Datagram, ..OpenSpec::default() };
        let id = rig.reactor.datagram(&spec, Some(&gone.into())).unwrap();
        rig.reactor.send(id, "anyone?".into());
        let event = rig.next();
        let Event::Trouble { err, .. } = event else { panic!("{event:?}") };
        assert_eq!(err.errno, libc::ECONNREFUSED);
        let back = UdpSocket::bind(gone).unwrap();
        rig.reactor.send(id, "again".into());
        rig.drain();
        assert_eq!(back.recv(&mut [0; 9]).unwrap(), 5);
    }

    fn who_waits_for_room_is_told_of_it_and_nobody_else(rig, Config::default()) {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let spec = OpenSpec { kind: Kind::Datagram, ..OpenSpec::default() };
        let to = peer.local_addr().unwrap().into();
        let id = rig.reactor.datagram(&spec, Some(&to)).unwrap();
        rig.drain();
        for waits in [false, true, false] {
            if waits {
                // As if the kernel had refused one: over loopback there is always room.
                let sock = rig.reactor.socks.get_mut(id.0).unwrap();
                crate::packets::wait_for_room(id, sock, &mut rig.reactor.hub);
            }
            rig.reactor.send(id, "packet".into());
            let end = rig.reactor.now().after(Duration::from_millis(20));
            while waits && rig.reactor.queued(id) > 0 {
                assert!(rig.reactor.now() < end.after(PATIENCE), "nobody told of room");
                rig.reactor.poll(Wait::Until(end.after(PATIENCE)), &mut rig.queue).unwrap();
            }
            if !waits {
                rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
                assert!(rig.reactor.now() >= end, "the packet sent ended the wait");
            }
            assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 6);
        }
    }

    fn a_socket_that_others_shut_down_is_told_of_once(rig, Config::default()) {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (ours, _held) = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(peer.local_addr().unwrap()).unwrap();
            (socket.try_clone().unwrap(), socket)
        };
        rig.reactor.adopt(ours.into(), Role::Datagram, true).unwrap();
        rig.drain();
        socket2::SockRef::from(&_held).shutdown(Shutdown::Both).unwrap();
        let before = rig.reactor.counters().syscalls;
        let end = rig.reactor.now().after(Duration::from_millis(50));
        while rig.reactor.now() < end {
            rig.reactor.poll(Wait::Until(end), &mut rig.queue).unwrap();
        }
        let calls = rig.reactor.counters().syscalls - before;
        assert!(calls < 20, "{calls} calls for nothing");
    }

    fn a_full_local_queue_is_tried_again(rig, Config::default()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink");
        let sink = UnixDatagram::bind(&path).unwrap();
        let spec = OpenSpec {
            kind: Kind::Datagram,
            family: Family::Local,
            ..OpenSpec::default()
        };
        let id = rig.reactor.datagram(&spec, None).unwrap();
        let to = Address::Local(path.as_os_str().as_encoded_bytes().into());
        for n in 0..100u8 {
            rig.reactor.send_to(id, vec![n].into(), &to);
        }
        rig.drain();
        assert!(rig.reactor.queued(id) > 0, "the queue of a local socket is short");
        sink.set_nonblocking(true).unwrap();
        let mut next = 0;
        while next < 100 {
            let mut byte = [0];
            match sink.recv(&mut byte) {
                Ok(_) => {
                    assert_eq!(byte, [next]);
                    next += 1;
                }
                Err(_) => {
                    let until = rig.reactor.now().after(PATIENCE);
                    rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
                }
            }
        }
        assert!(rig.queue.is_empty());
    }

    fn records_stay_apart_even_empty_ones(rig, Config::default()) {
        let (ours, theirs) =
            socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).unwrap();
        let id = rig.reactor.adopt(ours.into(), Role::Connection, true).unwrap();
        for record in [&b"one"[..], b"", b"three"] {
            theirs.send(record).unwrap();
        }
        for record in [&b"one"[..], b"", b"three"] {
            assert_eq!(&rig.data(id)[..], record);
        }
        rig.reactor.send(id, "a".into());
        rig.reactor.send(id, "".into());
        rig.reactor.send(id, "bc".into());
        rig.drain();
        for len in [1, 0, 2] {
            assert_eq!(theirs.recv(&mut [std::mem::MaybeUninit::uninit(); 9]).unwrap(), len);
        }
        theirs.send(b"").unwrap();
        theirs.send(b"last").unwrap();
        drop(theirs);
        assert_eq!(rig.data(id).len(), 0);
        assert_eq!(&rig.data(id)[..], b"last");
        assert!(matches!(rig.next(), Event::Eof { .. }));
        rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
        assert_eq!(rig.closed(id).1, 0);
    }

    fn a_full_local_receiver_holds_up_only_its_own(rig, Config::default()) {
        // More full ones than a turn has calls; what fills them is not ours.
        let dir = tempfile::tempdir().unwrap();
        let (id, full) = (local_sender(&mut rig), local_receivers(dir.path(), "full", 100));
        let strangers: Vec<_> = full.iter().map(|(socket, _)| fill(socket)).collect();
        for n in 0..5u8 {
            for (_, to) in &full {
                rig.reactor.send_to(id, vec![n].into(), to);
            }
        }
        let (good, to) = local_receivers(dir.path(), "good", 1).remove(0);
        rig.reactor.send_to(id, "first".into(), &to);
        rig.reactor.send_to(id, "second".into(), &to);
        for wanted in ["first", "second"] {
            let mut text = [0; 9];
            let len = receive(&mut rig, &good, &mut text);
            assert_eq!(&text[..len], wanted.as_bytes());
        }
        // All the rest is for full ones now: they are tried at intervals.
        while rig.reactor.hub.agenda.is_pressing() {
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        }
        let before = rig.reactor.counters();
        let until = rig.reactor.now().after(Duration::from_millis(50));
        while rig.reactor.now() < until {
            rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
        }
        let after = rig.reactor.counters();
        assert!(after.waits - before.waits < 30, "{before:?} {after:?}");
        // Each gets its own in order.
        for ((socket, _), strange) in full.iter().zip(strangers) {
            for wanted in std::iter::repeat_n(STRANGE, strange).chain(0..5) {
                let mut byte = [0];
                assert_eq!((receive(&mut rig, socket, &mut byte), byte), (1, [wanted]));
            }
        }
        assert_eq!(rig.reactor.queued_packets(id), 0);
        assert!(rig.queue.is_empty());
    }

    fn empty_records_before_the_end_hide_nothing(rig, Config::default()) {
        for (sent, got) in [
            (&["a", "", "", "x"][..], &["a", "", "", "x"][..]),
            (&["", "", "", "yy", ""], &["", "", "", "yy"]),
            // The last one looks like the end.
            (&["", "", ""], &["", ""]),
            (&["b"], &["b"]),
            (&[], &[]),
        ] {
            let (ours, theirs) =
                socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None)
                    .unwrap();
            for record in sent {
                theirs.send(record.as_bytes()).unwrap();
            }
            drop(theirs);
            let id = rig.reactor.adopt(ours.into(), Role::Connection, true).unwrap();
            let mut records = Vec::new();
            while let Event::Data { buf, .. } = rig.next() {
                records.push(String::from_utf8(buf.to_vec()).unwrap());
            }
            let linux = cfg!(any(target_os = "linux", target_os = "android"));
            assert!(records == got || !linux, "{records:?} of {sent:?}");
            rig.reactor.close(id, CloseHow::Now);
            assert_eq!(rig.closed(id), (None, 0));
        }
    }
}

fn local_sender(rig: &mut Rig) -> SockId {
    let (kind, family) = (Kind::Datagram, Family::Local);
    rig.reactor.datagram(&OpenSpec { kind, family, ..OpenSpec::default() }, None).unwrap()
}

/// So many bound sockets that do not wait, and their addresses.
fn local_receivers(folder: &Path, name: &str, count: usize) -> Vec<(UnixDatagram, Address)> {
    let bind = |n| {
        let path = folder.join(format!("{name}{n}"));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, Address::Local(path.as_os_str().as_encoded_bytes().into()))
    };
    (0..count).map(bind).collect()
}

/// What others have sent.
const STRANGE: u8 = 255;

/// Fills the queue of a receiver and returns how many packets that took.
fn fill(receiver: &UnixDatagram) -> usize {
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.set_nonblocking(true).unwrap();
    let at = receiver.local_addr().unwrap();
    let path = at.as_pathname().unwrap();
    (0..).take_while(|_: &usize| stranger.send_to(&[STRANGE], path).is_ok()).count()
}

/// Polls until `socket` has a packet.
fn receive(rig: &mut Rig, socket: &UnixDatagram, room: &mut [u8]) -> usize {
    let until = rig.reactor.now().after(PATIENCE);
    loop {
        if let Ok(len) = socket.recv(room) {
            return len;
        }
        assert!(rig.reactor.now() < until, "nothing came: {:?}", rig.reactor.counters());
        rig.reactor.poll(Wait::Until(until), &mut rig.queue).unwrap();
    }
}
