//! What of the ring needs unsafe code to be tested: forking.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use netproc_core::{
    queue::EventQueue,
    reactor::{Config, Event, OpenSpec, Reactor as _, Wait},
};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};

use crate::UringReactor;

/// Everything a child may try with the reactor it inherited; 0 when all of it failed cleanly.
fn misuse(mut reactor: UringReactor, id: netproc_core::reactor::SockId) -> i32 {
    let refused = [
        reactor.poll(Wait::No, &mut EventQueue::new()).is_err(),
        reactor.listen(&OpenSpec::default(), 1).is_err(),
        reactor.connect(&OpenSpec::default(), &"[127 0 0 1 1]".parse().unwrap()).is_err(),
        reactor.local_addr(id).is_err(),
    ];
    reactor.send(id, "from the child".into());
    reactor.set_reading(id, false);
    reactor.close(id, netproc_core::reactor::CloseHow::Reset);
    drop(reactor);
    i32::from(refused != [true; 4])
}

#[test]
fn a_forked_child_does_no_harm_and_does_not_keep_the_ring() {
    for _ in 0..5 {
        let mut reactor = UringReactor::new(Config::default()).unwrap();
        let mut queue = EventQueue::new();
        let local = "[127 0 0 1 0]".parse().unwrap();
        let spec = OpenSpec { local: Some(&local), ..OpenSpec::default() };
        let server = reactor.listen(&spec, 5).unwrap();
        let port = reactor.local_addr(server).unwrap().port().unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let id = loop {
            reactor.poll(Wait::Forever, &mut queue).unwrap();
            if let Some(Event::Accepted { id, .. }) = queue.pop() {
                break id;
            }
        };
        reactor.poll(Wait::No, &mut queue).unwrap();
        // SAFETY: the child runs no other thread's code: it uses what it inherited, on the C
        // library's fork-safe allocator, and exits without unwinding.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = misuse(reactor, id);
                // SAFETY: ends the child at once; nothing is left to flush.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => child,
        };
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        client.write_all(b"still served").unwrap();
        let text = loop {
            reactor.poll(Wait::Forever, &mut queue).unwrap();
            if let Some(Event::Data { buf, .. }) = queue.pop() {
                break buf;
            }
        };
        assert_eq!(&text[..], b"still served");
        drop((reactor, text));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_child_that_lives_on_keeps_no_memory_in_use() {
    let mut reactor = UringReactor::new(Config::default()).unwrap();
    // One of its own: an adopted one stays open for the child, its other holder.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().into();
    reactor.connect(&OpenSpec::default(), &to).unwrap();
    let mut queue = EventQueue::new();
    while !matches!(queue.pop(), Some(Event::Connected { .. })) {
        reactor.poll(Wait::Forever, &mut queue).unwrap();
    }
    let (mut far, _) = listener.accept().unwrap();
    let (hold, release) = std::os::unix::net::UnixStream::pair().unwrap();
    // SAFETY: the child only waits for its parent and exits.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop(release);
            let _ = (&hold).read(&mut [0]);
            // SAFETY: ends the child at once; nothing is left to flush.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => child,
    };
    let start = Instant::now();
    drop(reactor);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(far.read(&mut [0]).unwrap(), 0, "the end came although the child has a copy");
    drop((hold, release));
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
}
