//! Two shards under test, in both ways there are, and clients of theirs: plain sockets on other threads.
//!
//! [`sharded!`](crate::sharded!) makes the tests of one sentence: on each backend, with an address that the
//! system shares, and with connections that are handed over. Invariant: nothing here waits longer than
//! [`PATIENCE`].

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use netproc::{Config, Event, Process, Runtime, Shards, ShardsBuilder, ShardsError};
use nix::sys::socket::{self, SockaddrIn};

use crate::{
    child,
    contract::assert_bytes,
    rig::{Outcome, PATIENCE, Subject},
    watch::watched,
};

/// A backend, and how connections come to a shard.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The backend.
    pub subject: Subject,
    /// By a thread that accepts, where the system would share the address.
    pub handed: bool,
}

impl Case {
    /// That case.
    #[must_use]
    pub const fn new(subject: Subject, handed: bool) -> Self {
        Self { subject, handed }
    }

    /// Two shards, as yet without anything; `None` where io_uring is left out on purpose.
    #[must_use]
    pub fn shards(self) -> Option<ShardsBuilder> {
        let runtime = self.subject.builder(Config::default())?;
        Some(Shards::builder().count(2).runtime(runtime).hand_over(self.handed))
    }
}

/// Runs `body` with two shards to be started.
///
/// # Errors
///
/// What `body` returned.
pub fn run(test: &str, case: Case, body: fn(Case, ShardsBuilder) -> Outcome) -> Outcome {
    let Some(shards) = case.shards() else { return Ok(()) };
    watched(test, || body(case, shards))
}

/// The same in a process of its own.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when the process failed.
pub fn run_alone(test: &str, case: Case, body: fn(Case, ShardsBuilder) -> Outcome) -> Outcome {
    child::alone(test, || run(test, case, body))
}

/// Makes a test for each backend and each way from a sentence and a body, which is given two shards to be
/// started; `alone` in a process of its own, `handed` in that way only.
#[macro_export]
macro_rules! sharded {
    (alone: $name:ident, $($rest:tt)+) => {
        $crate::sharded! { @module $name run_alone (beside handed) $($rest)+ }
    };
    (handed: $name:ident, $($rest:tt)+) => {
        $crate::sharded! { @module $name run (handed) $($rest)+ }
    };
    (alone handed: $name:ident, $($rest:tt)+) => {
        $crate::sharded! { @module $name run_alone (handed) $($rest)+ }
    };
    (@module $name:ident $run:ident ($($way:ident)+) |$case:ident, $shards:ident| $body:block) => {
        mod $name {
            use super::*;

            fn body(
                $case: $crate::shards::Case,
                $shards: ::netproc::ShardsBuilder,
            ) -> $crate::rig::Outcome $body

            $(mod $way {
                $crate::sharded! { @test $run $way epoll Epoll }
                $crate::sharded! { @test $run $way poll Poll }
                $crate::sharded! { @test $run $way uring Uring }
            })+
        }
    };
    (@test $run:ident $way:ident $test:ident $subject:ident) => {
        #[test]
        fn $test() -> $crate::rig::Outcome {
            let test = concat!(module_path!(), "::", stringify!($test));
            let handed = stringify!($way) == "handed";
            let case = $crate::shards::Case::new($crate::rig::Subject::$subject, handed);
            $crate::shards::$run(test, case, super::body)
        }
    };
    ($name:ident, $($rest:tt)+) => {
        $crate::sharded! { @module $name run (beside handed) $($rest)+ }
    };
}

/// What the shards have counted, each for itself.
#[derive(Default, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// Connections of each.
    pub accepted: [AtomicUsize; 2],
    /// Those of them that have ended.
    pub ended: [AtomicUsize; 2],
}

impl Counts {
    /// How many connections each has had.
    #[must_use]
    pub fn accepted(&self) -> [usize; 2] {
        self.accepted.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// How many of them have ended.
    #[must_use]
    pub fn ended(&self) -> [usize; 2] {
        self.ended.each_ref().map(|count| count.load(Ordering::SeqCst))
    }
}

/// An echo server on this runtime, whose connections first say which shard they are in; it is counted there.
///
/// # Errors
///
/// What went wrong.
///
/// # Panics
///
/// Panics when what it is about is not so.
pub fn echo(rt: &Runtime, counts: &Arc<Counts>) -> netproc::Result<Process> {
    let shard = rt.shard().expect("it is one of several");
    let (born, gone) = (Arc::clone(counts), Arc::clone(counts));
    let server = rt
        .server("echo")
        .on_accept(move |_, connection| {
            born.accepted[shard].fetch_add(1, Ordering::SeqCst);
            connection.send(vec![u8::try_from(shard).expect("few shards")])
        })
        .sentinel(move |_, event: &Event| {
            if matches!(event, Event::Broken { .. } | Event::Deleted) {
                gone.ended[shard].fetch_add(1, Ordering::SeqCst);
            }
        })
        .filter(Process::send);
    Ok(server.start()?)
}

/// Shards that all run `server`, and the address they have.
///
/// # Errors
///
/// What went wrong.
///
/// # Panics
///
/// Panics when what it is about is not so.
pub fn serving(
    shards: ShardsBuilder,
    server: impl Fn(&Runtime) -> netproc::Result<Process> + Send + Sync + 'static,
) -> Result<(Shards, SocketAddr), ShardsError> {
    let (at, addresses) = mpsc::channel();
    let shards = shards.start(move |rt, _| -> netproc::Result<()> {
        let address = server(rt)?.contact().local().socket_addr();
        at.send(address.expect("an address of IP")).expect("the test listens");
        Ok(())
    })?;
    let addresses: Vec<_> = addresses.try_iter().collect();
    assert_eq!(addresses.len(), shards.count());
    assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    assert_ne!(addresses[0].port(), 0);
    Ok((shards, addresses[0]))
}

/// A client that waits for what it reads no longer than a test does.
///
/// # Errors
///
/// What the system says.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The number of the shard that serves this connection.
///
/// # Errors
///
/// What the system says.
pub fn shard_of(stream: &mut TcpStream) -> io::Result<usize> {
    let mut shard = [0];
    stream.read_exact(&mut shard)?;
    Ok(shard[0].into())
}

/// Sends these bytes while it reads them back.
///
/// # Errors
///
/// What went wrong.
///
/// # Panics
///
/// Panics when what it is about is not so.
pub fn assert_echoes(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut back = vec![0; bytes.len()];
    thread::scope(|scope| {
        let writing = scope.spawn(move || writer.write_all(bytes));
        stream.read_exact(&mut back)?;
        writing.join().expect("it only writes")
    })?;
    assert_bytes(&back, bytes, "the echo");
    Ok(())
}

/// Waits until `done`, which other threads bring about.
///
/// # Panics
///
/// Panics when they do not.
#[track_caller]
pub fn until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}: did not come about");
        thread::yield_now();
    }
}

/// Waits until nobody listens there any more. At first somebody may: a child that another test is starting
/// has a copy of every descriptor until it runs its own program, and another test may be given the port.
///
/// # Panics
///
/// Panics when somebody goes on listening.
#[track_caller]
pub fn until_refused(address: SocketAddr) {
    until("nobody listens any more", || connect(address).is_err());
}

/// Ends whatever listens there as somebody else would who has a duplicate of it.
///
/// # Errors
///
/// What the system says.
///
/// # Panics
///
/// Panics when nobody listens there.
pub fn shut_down(address: SocketAddr) -> Outcome {
    let SocketAddr::V4(address) = address else { return Err("not of IPv4".into()) };
    let is_there = |number: &i32| {
        socket::getsockname::<SockaddrIn>(*number)
            .is_ok_and(|own| SocketAddrV4::from(own) == address)
    };
    // What was accepted has the same address.
    let listens = |number: &i32| socket::getpeername::<SockaddrIn>(*number).is_err();
    let listeners: Vec<_> = (3..1000).filter(is_there).filter(listens).collect();
    assert!(!listeners.is_empty(), "{address}");
    listeners.into_iter().try_for_each(|it| socket::shutdown(it, socket::Shutdown::Both))?;
    Ok(())
}

/// Holds a shard up until what this returns is dropped.
///
/// # Panics
///
/// Panics when it does not begin.
#[must_use]
pub fn held(shards: &Shards, shard: usize) -> mpsc::Sender<()> {
    let (go_on, wait) = mpsc::channel();
    let (hold, begun) = mpsc::channel();
    let handle = shards.handle(shard).expect("there are two");
    let job = move |_: &Runtime| {
        hold.send(()).expect("the test waits");
        assert!(wait.recv_timeout(PATIENCE).is_err(), "nothing is sent");
    };
    handle.post(job).expect("it runs");
    begun.recv_timeout(PATIENCE).expect("it begins");
    go_on
}

/// Asks a shard something.
///
/// # Panics
///
/// Panics when it does not answer.
pub fn ask<T: Send + 'static>(
    shards: &Shards,
    shard: usize,
    question: impl FnOnce(&Runtime) -> T + Send + 'static,
) -> T {
    let (answer, answered) = mpsc::channel();
    let handle = shards.handle(shard).expect("there are two");
    handle.post(move |rt| answer.send(question(rt)).expect("the test waits")).expect("it runs");
    answered.recv_timeout(PATIENCE).expect("it answers")
}
