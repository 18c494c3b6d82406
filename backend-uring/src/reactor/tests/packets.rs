//! Packets and records: empty ones, cut ones, refused ones.

use std::{
    net::UdpSocket,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, setsockopt, socketpair, sockopt,
};

use super::*;

fn cut_at(packet_len: u32) -> Config {
    let mut config = Config::default();
    config.packet_len = packet_len;
    config
}

fn datagram(rig: &mut Rig) -> (SockId, std::net::SocketAddr) {
    let local = "[127 0 0 1 0]".parse().unwrap();
    let spec = OpenSpec { kind: Kind::Datagram, local: Some(&local), ..OpenSpec::default() };
    let id = rig.reactor.datagram(&spec, None).unwrap();
    let port = rig.reactor.local_addr(id).unwrap().port().unwrap();
    (id, ([127, 0, 0, 1], port).into())
}

fn packet(rig: &mut Rig) -> (Vec<u8>, Option<Address>, u32) {
    rig.until(|event| match event {
        Event::Datagram { buf, from, lost, .. } => Some((buf.to_vec(), from, lost)),
        _ => None,
    })
}

fn trouble(rig: &mut Rig) -> i32 {
    rig.until(|event| match event {
        Event::Trouble { err, .. } => Some(err.errno),
        _ => None,
    })
}

#[test]
fn empty_and_long_packets_are_packets() {
    let mut rig = Rig::new(cut_at(100));
    let (id, address) = datagram(&mut rig);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = Some(Address::from(stranger.local_addr().unwrap()));
    for len in [0, 5, 0, 0, 100, 101, 1000, 0] {
        stranger.send_to(&vec![9; len], address).unwrap();
        let kept = len.min(100);
        let lost = u32::try_from(len - kept).unwrap();
        assert_eq!(packet(&mut rig), (vec![9; kept], from.clone(), lost), "{len} bytes");
    }
    rig.reactor.close(id, CloseHow::Now);
    rig.assert_clean();
}

#[test]
fn packets_go_out_one_by_one_and_in_order() {
    let mut rig = Rig::new(Config::default());
    let (id, _) = datagram(&mut rig);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = peer.local_addr().unwrap().into();
    for n in 0..20u8 {
        rig.reactor.send_to(id, vec![n; usize::from(n)].into(), &to);
    }
    assert_eq!(rig.reactor.queued(id), (0..20).sum::<u64>());
    rig.reactor.close(id, CloseHow::Flush { within: PATIENCE });
    assert_eq!(rig.closed(id), (None, 0));
    for n in 0..20u8 {
        let mut room = [0; 64];
        let len = peer.recv(&mut room).unwrap();
        assert_eq!(room[..len], vec![n; usize::from(n)]);
    }
    rig.assert_clean();
}

#[test]
fn a_refused_packet_is_trouble_and_the_socket_lives() {
    let mut rig = Rig::new(Config::default());
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = peer.local_addr().unwrap();
    drop(peer);
    let spec = OpenSpec { kind: Kind::Datagram, ..OpenSpec::default() };
    let id = rig.reactor.datagram(&spec, Some(&to.into())).unwrap();
    rig.settle();
    rig.reactor.send(id, "anyone?".into());
    assert_eq!(trouble(&mut rig), libc::ECONNREFUSED);
    let peer = UdpSocket::bind(to).unwrap();
    rig.settle();
    rig.reactor.send(id, Payload::Static(b""));
    rig.reactor.send(id, "you?".into());
    rig.settle();
    let (len, from) = peer.recv_from(&mut [0; 9]).unwrap();
    assert_eq!(len, 0);
    peer.send_to(b"yes", from).unwrap();
    assert_eq!(packet(&mut rig).0, b"yes");
}

#[test]
fn a_packet_too_long_for_its_way_is_trouble() {
    let mut rig = Rig::new(Config::default());
    let (id, address) = datagram(&mut rig);
    rig.reactor.send_to(id, vec![0; 100_000].into(), &address.into());
    rig.reactor.send_to(id, "short".into(), &address.into());
    assert_eq!(trouble(&mut rig), libc::EMSGSIZE);
    assert_eq!(packet(&mut rig).0, b"short");
}

fn send_record(to: &OwnedFd, len: usize) {
    nix::sys::socket::send(to.as_raw_fd(), &vec![1; len], MsgFlags::empty()).unwrap();
}

fn record(rig: &mut Rig) -> (usize, u32) {
    rig.until(|event| match event {
        Event::Data { buf, lost, .. } => Some((buf.len(), lost)),
        Event::Eof { .. } => panic!("an empty record taken for the end"),
        _ => None,
    })
}

#[test]
fn records_keep_their_bounds_and_an_empty_one_is_no_end() {
    let mut rig = Rig::new(cut_at(100));
    let kind = SockType::SeqPacket;
    let (near, far) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let id = rig.reactor.adopt(near, Role::Connection, true).unwrap();
    for (len, expected) in [(3, (3, 0)), (0, (0, 0)), (150, (100, 50)), (0, (0, 0)), (1, (1, 0))] {
        send_record(&far, len);
        assert_eq!(record(&mut rig), expected);
    }
    rig.reactor.send(id, "one".into());
    rig.reactor.send(id, "three".into());
    rig.settle();
    for len in [3, 5] {
        let got = nix::sys::socket::recv(far.as_raw_fd(), &mut [0; 64], MsgFlags::empty());
        assert_eq!(got, Ok(len));
    }
    // An empty record before another, and then the end, all at once.
    rig.reactor.set_reading(id, false);
    rig.settle();
    send_record(&far, 0);
    send_record(&far, 2);
    drop(far);
    rig.reactor.set_reading(id, true);
    assert_eq!(record(&mut rig), (0, 0));
    assert_eq!(record(&mut rig), (2, 0));
    assert!(matches!(rig.next(), Event::Eof { .. }));
    rig.reactor.close(id, CloseHow::Now);
    rig.assert_clean();
}

#[test]
fn empty_records_before_the_end_are_records() {
    for records in [&[1, 0, 0, 1][..], &[0], &[0, 0], &[2, 0], &[0, 0, 0, 3, 0], &[]] {
        for late in [false, true] {
            let mut rig = Rig::new(Config::default());
            let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
            let (near, far) = socketpair(AddressFamily::Unix, kind, None, flags).unwrap();
            let send = || records.iter().for_each(|len| send_record(&far, *len));
            if !late {
                send();
            }
            rig.reactor.adopt(near, Role::Connection, true).unwrap();
            if late {
                rig.settle();
                send();
            }
            drop(far);
            for len in records {
                assert_eq!(record(&mut rig), (*len, 0), "of {records:?}");
            }
            assert!(matches!(rig.next(), Event::Eof { .. }), "{records:?}");
            assert!(rig.settle().is_empty());
        }
    }
}

#[test]
fn a_local_peer_that_does_not_read_delays_no_other() {
    let mut rig = Rig::new(Config::default());
    let name = |text: &str| {
        Address::Abstract(format!("netproc-uring {} {text}", std::process::id()).as_bytes().into())
    };
    let open = |rig: &mut Rig, text: &str, reading| {
        let at = name(text);
        let (kind, family) = (Kind::Datagram, netproc_core::address::Family::Local);
        let spec = OpenSpec { kind, family, local: Some(&at), reading, ..OpenSpec::default() };
        rig.reactor.datagram(&spec, None).unwrap()
    };
    let server = open(&mut rig, "server", true);
    let idle = [open(&mut rig, "idle", false), open(&mut rig, "idle too", false)];
    open(&mut rig, "busy", true);
    let count = 600u16;
    for n in 0..count {
        for to in ["idle", "idle too", "busy"] {
            rig.reactor.send_to(server, n.to_be_bytes().to_vec().into(), &name(to));
        }
    }
    for n in 0..count {
        assert_eq!(packet(&mut rig).0, n.to_be_bytes(), "to who reads");
    }
    assert!(rig.reactor.queued(server) > 0, "the others are full");
    let waits = rig.reactor.counters().waits;
    rig.settle();
    assert!(rig.reactor.counters().waits < waits + 50, "it does not spin");
    for id in idle {
        rig.reactor.set_reading(id, true);
        for n in 0..count {
            assert_eq!(packet(&mut rig).0, n.to_be_bytes(), "in order");
        }
    }
    assert_eq!(rig.reactor.queued(server), 0);
}

#[test]
fn packets_that_come_joined_are_no_crowd() {
    for (per_burst, crowd) in [(1, true), (2, false)] {
        let mut rig = Rig::new(Config::default());
        let (_, address) = datagram(&mut rig);
        let peers = [(); 16].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for _ in 0..20 {
            for peer in &peers {
                setsockopt(peer, sockopt::UdpGsoSegment, &100).unwrap();
                peer.send_to(&vec![7; 100 * per_burst], address).unwrap();
            }
            for _ in 0..peers.len() * per_burst {
                assert_eq!(packet(&mut rig).0, [7; 100]);
            }
            rig.reactor.poll(Wait::No, &mut rig.queue).unwrap();
        }
        let Some(learned) = rig.reactor.io.ring.crowd() else { return };
        assert_eq!(learned > 1, crowd, "{learned} with {per_burst} in a burst");
    }
}

#[test]
fn a_packet_socket_goes_on_when_its_slots_come_back() {
    let mut config = Config::default();
    config.packet_slots = 2;
    let mut rig = Rig::new(config);
    let (_, address) = datagram(&mut rig);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..10u8 {
        stranger.send_to(&[n], address).unwrap();
    }
    let held = rig.settle();
    assert_eq!(held.len(), 2, "{held:?}");
    drop(held);
    for n in 2..10u8 {
        assert_eq!(packet(&mut rig).0, [n]);
    }
}
