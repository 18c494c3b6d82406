//! Points 8 and 10: who only looks finds all that is there, and a foreign loop hears of all that comes, however much of
//! it comes at a time.

use std::{
    io::Write as _,
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::BorrowedFd, unix::net::UnixStream},
    time::Duration,
};

use netproc_core::{
    queue::EventQueue,
    reactor::{Descriptors, Event, Kind, Role, SockId, Wait, Wake as _},
};
use netproc_tests::{
    contract,
    contract::{PATIENCE, Rig},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// More than the kernel does at a time for whoever waits for nothing.
const MANY: usize = 200;

/// So many connections, with their other ends.
fn connections<R: Descriptors>(
    rig: &mut Rig<R>,
    count: usize,
) -> Result<(Vec<SockId>, Vec<TcpStream>), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut ids, mut far) = (Vec::new(), Vec::new());
    for _ in 0..count {
        far.push(TcpStream::connect(listener.local_addr()?)?);
        ids.push(rig.adopt(listener.accept()?.0.into(), Role::Connection, Kind::Stream)?);
    }
    rig.settle();
    Ok((ids, far))
}

contract!(on descriptors: a_look_finds_the_input_of_all, |rig| {
    let (ids, mut far) = connections(rig, MANY)?;
    for wait in [Wait::No, Wait::Until(rig.reactor.now())] {
        let before: usize = ids.iter().map(|id| rig.world[*id].data.len()).sum();
        for stream in &mut far {
            stream.write_all(b"x")?;
        }
        rig.poll(wait);
        let after: usize = ids.iter().map(|id| rig.world[*id].data.len()).sum();
        assert_eq!(after - before, MANY, "{wait:?}");
    }
    Ok(())
});

contract!(on descriptors: a_look_finds_who_says_little_behind_those_who_say_much, |rig| {
    // Fewer than there is memory for.
    let (ids, mut far) = connections(rig, 40)?;
    for wait in [Wait::No, Wait::Until(rig.reactor.now())] {
        let heard = |rig: &Rig<R>, id: &SockId| rig.world[*id].data.len();
        let before: Vec<_> = ids.iter().map(|id| heard(rig, id)).collect();
        let (last, others) = far.split_last_mut().ok_or("there are some")?;
        for stream in others {
            // Less than any socket's buffers hold.
            stream.write_all(&[7; 60_000])?;
        }
        last.write_all(b"x")?;
        rig.poll(wait);
        let silent = ids.iter().zip(before).filter(|(id, before)| heard(rig, id) == *before).count();
        assert_eq!(silent, 0, "{wait:?}");
        rig.settle();
    }
    Ok(())
});

contract!(on descriptors: a_wake_before_a_look_is_seen_by_it_behind_much_else, |rig| {
    let mut far = Vec::new();
    for _ in 0..MANY {
        let (near, other) = UnixStream::pair()?;
        rig.adopt(near.into(), Role::Connection, Kind::Stream)?;
        far.push(other);
    }
    rig.settle();
    for stream in &mut far {
        stream.write_all(b"x")?;
    }
    rig.reactor.waker().wake();
    let mut queue = EventQueue::new();
    rig.reactor.poll(Wait::No, &mut queue)?;
    let events = std::iter::from_fn(|| queue.pop());
    assert_eq!(events.filter(|event| matches!(event, Event::Woken)).count(), 1);
    Ok(())
});

/// Whether a foreign loop would wake up for this.
fn wakes(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], patience)? > 0)
}

// What a half-closed connection brings is no event, and still work of the kernel's, which comes before the input.
contract!(on descriptors: a_foreign_loop_hears_of_input_behind_many_half_closes, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(()); // poll(2) has no descriptor
    }
    let (ids, mut far) = connections(rig, MANY)?;
    for &id in &ids {
        rig.finish(id);
    }
    rig.poll(Wait::No);
    far[0].write_all(b"hello")?;
    while rig.world[ids[0]].data.is_empty() {
        rig.reactor.arm(None)?;
        let fd = rig.reactor.as_fd().ok_or("a descriptor")?;
        assert!(wakes(fd)?, "the loop sleeps, and input is there");
        rig.poll(Wait::No);
    }
    Ok(())
});

contract!(on descriptors: a_foreign_loop_hears_of_ends_behind_many_others, |rig| {
    if rig.reactor.as_fd().is_none() {
        return Ok(());
    }
    let (ids, far) = connections(rig, MANY)?;
    for stream in &far {
        stream.shutdown(Shutdown::Write)?;
    }
    while !ids.iter().all(|id| rig.world[*id].eof) {
        rig.reactor.arm(None)?;
        let fd = rig.reactor.as_fd().ok_or("a descriptor")?;
        assert!(wakes(fd)?, "the loop sleeps, and ends are there");
        rig.poll(Wait::No);
    }
    rig.linger(Duration::from_millis(1));
    Ok(())
});
