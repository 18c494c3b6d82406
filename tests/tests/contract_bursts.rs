//! Packets of UDP in bursts: many in one call, joined on the way, and each still by itself.

use netproc_core::{
    address::Address,
    reactor::{OpenSpec, Reactor, SockId, SysError},
};
use netproc_tests::{
    contract,
    contract::{Record, Rig, assert_bytes, loopback, pattern},
};

/// A packet socket on the loopback and its address.
fn bound<R: Reactor>(rig: &mut Rig<R>) -> Result<(SockId, Address), SysError> {
    let local = loopback(0);
    let id = rig.datagram(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, None)?;
    Ok((id, rig.reactor.local_addr(id)?))
}

/// Lengths that can be joined, and such that cannot: runs with a shorter end, longer ones behind
/// shorter, none at all, and runs too long for one packet.
fn lens() -> impl Iterator<Item = usize> {
    let runs = [
        (3, 100),
        (1, 40),
        (2, 41),
        (1, 0),
        (2, 0),
        (1, 1),
        (70, 64),
        (1, 64),
        (3, 1_300),
        (5, 20_000),
    ];
    runs.into_iter().flat_map(|(count, len)| std::iter::repeat_n(len, count))
}

/// What packet `n` of `len` bytes for peer `peer` holds.
fn packet(peer: u8, n: usize, len: usize) -> Vec<u8> {
    pattern(u64::from(peer) * 1_000 + n as u64, len)
}

fn assert_records(records: &[Record], peer: u8, from: &Address) {
    let wanted: Vec<Vec<u8>> = lens().enumerate().map(|(n, len)| packet(peer, n, len)).collect();
    let got: Vec<usize> = records.iter().map(|record| record.bytes.len()).collect();
    assert_eq!(got, lens().collect::<Vec<_>>(), "of peer {peer}");
    for (record, wanted) in records.iter().zip(&wanted) {
        assert_bytes(&record.bytes, wanted, "in a packet");
        assert_eq!((record.lost, record.from.as_ref()), (0, Some(from)));
    }
}

contract!(packets_for_several_keep_their_bounds_and_their_order, |rig| {
    let ((a, at_a), (b, at_b), (c, at_c)) = (bound(rig)?, bound(rig)?, bound(rig)?);
    for (n, len) in lens().enumerate() {
        rig.send_to(a, packet(1, n, len), &at_b);
        // In turn at first, then in runs.
        if n > 20 {
            continue;
        }
        rig.send_to(a, packet(2, n, len), &at_c);
    }
    for (n, len) in lens().enumerate().skip(21) {
        rig.send_to(a, packet(2, n, len), &at_c);
    }
    let count = lens().count();
    rig.until("all of them", |world| {
        world[b].records.len() == count && world[c].records.len() == count
    });
    assert_records(&rig.world[b].records, 1, &at_a);
    assert_records(&rig.world[c].records, 2, &at_a);
    assert_eq!(rig.reactor.queued_packets(a), 0);
    Ok(())
});

contract!(
    joined_packets_wait_for_a_batch_with_room,
    |config| {
        config.events_max = 3;
    },
    |rig| {
        let ((a, at_a), (b, at_b)) = (bound(rig)?, bound(rig)?);
        for (n, len) in lens().enumerate() {
            rig.send_to(a, packet(7, n, len), &at_b);
        }
        rig.until("all of them", |world| world[b].records.len() == lens().count());
        assert_records(&rig.world[b].records, 7, &at_a);
        Ok(())
    }
);

contract!(
    joined_packets_of_a_socket_that_is_closed_are_nobodys,
    |config| {
        config.events_max = 2;
    },
    |rig| {
        let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
        for n in 0..40 {
            rig.send_to(a, packet(3, n, 50), &at_b);
        }
        rig.until("the first", |world| !world[b].records.is_empty());
        rig.close(b, netproc_core::reactor::CloseHow::Now);
        rig.until("the end", |world| world.closed(b));
        Ok(())
    }
);

contract!(
    with_little_room_for_a_packet_none_is_cut_for_being_joined,
    |config| {
        config.packet_len = 2_000;
    },
    |rig| {
        let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
        for n in 0..30 {
            rig.send_to(a, packet(4, n, 1_000), &at_b);
        }
        rig.until("all of them", |world| world[b].records.len() == 30);
        assert!(rig.world[b].records.iter().all(|record| record.bytes.len() == 1_000));
        Ok(())
    }
);

contract!(on descriptors: a_burst_takes_few_calls, |rig| {
    let ((a, _), (b, at_b)) = (bound(rig)?, bound(rig)?);
    rig.stop(b);
    rig.settle();
    let before = rig.reactor.counters().syscalls;
    for n in 0..256 {
        rig.send_to(a, packet(5, n, 64), &at_b);
    }
    rig.settle();
    let calls = rig.reactor.counters().syscalls - before;
    if cfg!(target_os = "linux") {
        assert!(calls < 64, "{calls} calls for 256 packets");
    }
    rig.resume(b);
    rig.until("all of them", |world| world[b].records.len() == 256);
    Ok(())
});

#[cfg(target_os = "linux")]
contract!(on descriptors: what_another_program_joins_comes_apart, |rig| {
    use std::{io::IoSlice, net::UdpSocket, os::fd::AsRawFd as _};
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

    let (b, at_b) = bound(rig)?;
    let Address::V4(to) = at_b else { return Err("an address of version 4".into()) };
    let stranger = UdpSocket::bind("127.0.0.1:0")?;
    let bytes = pattern(9, 10 * 300 + 7);
    let cut = [ControlMessage::UdpGsoSegments(&300)];
    sendmsg(stranger.as_raw_fd(), &[IoSlice::new(&bytes)], &cut, MsgFlags::empty(), Some(&SockaddrIn::from(to)))?;
    rig.until("all of them", |world| world[b].records.len() == 11);
    let from = Some(Address::from(stranger.local_addr()?));
    for (record, wanted) in rig.world[b].records.iter().zip(bytes.chunks(300)) {
        assert_eq!((&record.bytes[..], record.lost, &record.from), (wanted, 0, &from));
    }
    Ok(())
});

#[cfg(target_os = "linux")]
contract!(on descriptors: what_the_system_says_beside_a_packet_costs_none, |rig| {
    use std::{io::IoSlice, net::{SocketAddr, UdpSocket}, os::fd::AsRawFd as _};
    use netproc_core::reactor::{Kind, Role};
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt, sockopt};

    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let SocketAddr::V4(to) = socket.local_addr()? else { return Err("an address of version 4".into()) };
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    let adopted = rig.adopt(socket.into(), Role::Datagram, Kind::Datagram)?;
    let stranger = UdpSocket::bind("127.0.0.1:0")?;
    stranger.send_to(b"alone", to)?;
    let bytes = pattern(10, 10 * 300 + 7);
    let cut = [ControlMessage::UdpGsoSegments(&300)];
    sendmsg(stranger.as_raw_fd(), &[IoSlice::new(&bytes)], &cut, MsgFlags::empty(), Some(&SockaddrIn::from(to)))?;
    rig.until("all of them", |world| world[adopted].records.len() == 12);
    let wanted = std::iter::once(&b"alone"[..]).chain(bytes.chunks(300));
    let from = Some(Address::from(stranger.local_addr()?));
    for (record, wanted) in rig.world[adopted].records.iter().zip(wanted) {
        assert_eq!((&record.bytes[..], record.lost, &record.from), (wanted, 0, &from));
    }
    Ok(())
});
