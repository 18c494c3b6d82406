//! What callgrind counts: the pieces a message passes, the engine over the simulation, and echo servers.
//!
//! Invariant: [`Marks::mark`] is called before and after what is counted and nowhere else, so that what
//! callgrind dumps at one mark is what ran since the one before. Each subject runs a few times
//! uncounted first, until its memory has its size.

use std::{
    cell::Cell,
    fmt,
    hint::black_box,
    io::{self, IoSlice, Write as _},
    process,
    rc::Rc,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use netproc::{Backend, Mechanism, Plist, Process, Runtime};
use netproc_core::{
    outbox::Outbox,
    pool::{Buf, Pool, Slot},
    queue::EventQueue,
    reactor::{Event, Payload, SockId},
    slots::Key,
};

use crate::{
    rounds::Clients,
    serve::{epoll, uring},
    sim_echo::{Echo, MESSAGE},
};

/// The function of the C library at whose calls callgrind dumps; nothing else here calls it.
pub(super) const MARK: &str = "getppid";

/// Rounds before those that are counted, and those.
const WARM: usize = 8;
const COUNTED: usize = 8;
/// How long everything may take, under callgrind.
const PATIENCE: Duration = Duration::from_secs(120);
/// Units of work in a round.
const UNITS: u8 = 50;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Subject {
    Pool,
    Outbox,
    Queue,
    Simulation,
    Uring,
    RawUring,
    Epoll,
    RawEpoll,
    UringBegin,
    UringEnd,
    EpollBegin,
    EpollEnd,
}

const ALL: [Subject; 12] = [
    Subject::Pool,
    Subject::Outbox,
    Subject::Queue,
    Subject::Simulation,
    Subject::Uring,
    Subject::RawUring,
    Subject::Epoll,
    Subject::RawEpoll,
    Subject::UringBegin,
    Subject::UringEnd,
    Subject::EpollBegin,
    Subject::EpollEnd,
];

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pool => "pool: take, fill, drop",
            Self::Outbox => "outbox: push 16, gather, advance",
            Self::Queue => "queue: push input, pop it",
            Self::Simulation => "simulation: echo, both ends",
            Self::Uring => "io_uring: echo",
            Self::RawUring => "io_uring by hand: echo",
            Self::Epoll => "epoll: echo",
            Self::RawEpoll => "epoll by hand: echo",
            Self::UringBegin => "io_uring: accept, first echo",
            Self::UringEnd => "io_uring: end of a connection",
            Self::EpollBegin => "epoll: accept, first echo",
            Self::EpollEnd => "epoll: end of a connection",
        })
    }
}

/// What ran before a mark, as a line: so many units of a subject, or nothing that counts.
pub(super) fn label(ran: Option<(Subject, u8)>) -> String {
    ran.map_or_else(|| "-".to_owned(), |(subject, units)| format!("{units} {subject}"))
}

/// Reads such a line.
pub(super) fn parse_label(line: &str) -> io::Result<Option<(Subject, u8)>> {
    if line == label(None) {
        return Ok(None);
    }
    let parse = || {
        let (units, name) = line.split_once(' ')?;
        let subject = ALL.into_iter().find(|subject| subject.to_string() == name)?;
        Some((subject, units.parse().ok()?))
    };
    parse().map(Some).ok_or_else(|| io::Error::other(format!("not a label: {line}")))
}

/// What ran before each mark so far.
#[derive(Default)]
struct Marks {
    ran: Vec<Option<(Subject, u8)>>,
}

impl Marks {
    fn mark(&mut self, ran: Option<(Subject, u8)>) {
        self.ran.push(ran);
        black_box(nix::unistd::getppid());
    }

    /// Counts a unit of work, done over and over.
    fn count(&mut self, subject: Subject, mut unit: impl FnMut()) {
        let mut round = || (0..UNITS).for_each(|_| unit());
        (0..WARM).for_each(|_| round());
        for _ in 0..COUNTED {
            self.mark(None);
            round();
            self.mark(Some((subject, UNITS)));
        }
    }

    /// Counts what `serve` does for a message on each connection, with the clients' part left out.
    fn count_echo(
        &mut self,
        subject: Subject,
        mut clients: Clients,
        mut serve: impl FnMut(usize) -> io::Result<()>,
    ) -> io::Result<()> {
        for round in 0..WARM + COUNTED {
            let bytes = clients.send()?;
            let counts = round >= WARM;
            if counts {
                self.mark(None);
            }
            serve(bytes)?;
            if counts {
                self.mark(Some((subject, UNITS)));
            }
            clients.receive()?;
        }
        Ok(())
    }
}

/// Does everything and prints the labels.
pub(super) fn run() -> io::Result<()> {
    // Programs have threads, as the servers of the echo bench have: the C library's calls cost more then.
    let (_working, ends) = mpsc::channel::<()>();
    thread::spawn(move || {
        if ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            process::exit(1); // something waits for ever
        }
    });
    let mut marks = Marks::default();
    count_pool(&mut marks);
    count_outbox(&mut marks);
    count_queue(&mut marks);
    let mut echo = Echo::new(1);
    marks.count(Subject::Simulation, || echo.round());
    let epoll = Backend::Mechanism(Mechanism::Epoll);
    count_netproc(&mut marks, Subject::Epoll, epoll)?;
    count_lives(&mut marks, [Subject::EpollBegin, Subject::EpollEnd], epoll)?;
    let (mut server, address) = epoll::Server::echo()?;
    let clients = Clients::connect(address, UNITS)?;
    server.turn()?; // accepts them
    marks.count_echo(Subject::RawEpoll, clients, |_| turns(UNITS.into(), || server.turn()))?;
    if Backend::available().contains(&Backend::Uring) {
        count_netproc(&mut marks, Subject::Uring, Backend::Uring)?;
        count_lives(&mut marks, [Subject::UringBegin, Subject::UringEnd], Backend::Uring)?;
        let (mut server, address) = uring::Server::echo()?;
        let clients = Clients::connect(address, UNITS)?;
        turns(UNITS.into(), || server.turn())?; // accepts them
        let completions = 2 * usize::from(UNITS);
        marks.count_echo(Subject::RawUring, clients, |_| turns(completions, || server.turn()))?;
    }
    let labels: Vec<_> = marks.ran.into_iter().map(label).collect();
    writeln!(io::stdout(), "{}", labels.join("\n"))
}

/// Turns of a hand-written server until it has had so many events.
fn turns(events: usize, mut turn: impl FnMut() -> io::Result<usize>) -> io::Result<()> {
    let mut had = 0;
    while had < events {
        had += turn()?;
    }
    Ok(())
}

fn count_netproc(marks: &mut Marks, subject: Subject, backend: Backend) -> io::Result<()> {
    let rt = Runtime::builder().backend(backend).build().map_err(io::Error::other)?;
    let left = Rc::new(Cell::new(0));
    let received = Rc::clone(&left);
    let server = rt.server("echo").host("127.0.0.1").nodelay(true).backlog(64);
    let server = server.filter(move |process, input| {
        received.set(received.get() - input.len());
        if received.get() == 0 {
            process.runtime().shutdown();
        }
        process.send(input)
    });
    let server = server.start().map_err(io::Error::other)?;
    let address = server.contact().local().socket_addr();
    let address = address.ok_or_else(|| io::Error::other("an IP server has an address"))?;
    let clients = Clients::connect(address, UNITS)?;
    marks.count_echo(subject, clients, |bytes| {
        left.set(bytes);
        rt.run().map_err(io::Error::other)
    })
}

/// Counts the beginning and the end of connections that are full processes: with names, contacts, property
/// lists, a log that hears of each and a sentinel that hears how it ended.
fn count_lives(marks: &mut Marks, [begin, end]: [Subject; 2], backend: Backend) -> io::Result<()> {
    let rt = Runtime::builder().backend(backend).build().map_err(io::Error::other)?;
    // Bytes to echo, or connections to end, before a run is over.
    let left = Rc::new(Cell::new(0));
    let (echoed, ended, logged) = (Rc::clone(&left), Rc::clone(&left), Rc::new(Cell::new(0)));
    let (accepted, mut plist) = (Rc::clone(&logged), Plist::new());
    plist.put("service", "echo");
    let server = rt.server("echo").host("127.0.0.1").nodelay(true).backlog(64).plist(plist);
    let server = server.log(move |_, _, _| accepted.set(accepted.get() + 1));
    let took = |left: &Cell<usize>, count, process: &Process| {
        left.set(left.get() - count);
        if left.get() == 0 {
            process.runtime().shutdown();
        }
    };
    let server = server.sentinel(move |process, event| {
        if matches!(event, netproc::Event::Broken { .. }) {
            took(&ended, 1, process);
        }
    });
    let server = server.filter(move |process, input| {
        took(&echoed, input.len(), process);
        process.send(input)
    });
    let server = server.start().map_err(io::Error::other)?;
    let address = server.contact().local().socket_addr();
    let address = address.ok_or_else(|| io::Error::other("an IP server has an address"))?;
    for round in 0..WARM + COUNTED {
        let mut mark = |ran| {
            if round >= WARM {
                marks.mark(ran);
            }
        };
        let mut clients = Clients::connect(address, UNITS)?;
        left.set(clients.send()?);
        mark(None);
        rt.run().map_err(io::Error::other)?;
        mark(Some((begin, UNITS)));
        clients.receive()?;
        drop(clients);
        left.set(UNITS.into());
        mark(None);
        rt.run().map_err(io::Error::other)?;
        mark(Some((end, UNITS)));
    }
    assert_eq!(logged.get(), (WARM + COUNTED) * usize::from(UNITS), "each was logged");
    Ok(())
}

fn fill(slot: &mut Slot) -> Buf {
    // What a kernel writes costs nothing here.
    slot.fill(MESSAGE.len(), |room| Ok::<_, ()>(black_box(room.len()))).expect("it has no error")
}

fn count_pool(marks: &mut Marks) {
    let pool = Pool::new(64, 64 * 1024).expect("a pool of legal size");
    marks.count(Subject::Pool, || {
        let mut slot = pool.take().expect("every slot is free");
        let buf = fill(&mut slot);
        drop(slot);
        assert_eq!(buf.len(), MESSAGE.len());
    });
    assert_eq!((pool.free(), pool.guarded()), (64, 0), "no slot was lost");
}

fn count_outbox(marks: &mut Marks) {
    let mut outbox = Outbox::default();
    marks.count(Subject::Outbox, || {
        for _ in 0..16 {
            outbox.push(Payload::Static(black_box(MESSAGE)));
        }
        let mut slices = [IoSlice::new(&[]); 16];
        for (slice, chunk) in slices.iter_mut().zip(outbox.chunks()) {
            *slice = IoSlice::new(chunk);
        }
        assert_eq!(slices.iter().map(|slice| slice.len()).sum::<usize>(), 1024);
        outbox.advance(1000);
        outbox.advance(24);
        assert!(outbox.is_empty());
    });
}

fn count_queue(marks: &mut Marks) {
    let pool = Pool::new(64, 64 * 1024).expect("a pool of legal size");
    let (mut slot, mut queue) = (pool.take().expect("every slot is free"), EventQueue::new());
    let id = SockId(Key::new(7, 1));
    marks.count(Subject::Queue, || {
        queue.push_data(id, fill(&mut slot), 0);
        let Some(Event::Data { buf, .. }) = queue.pop() else { panic!("it was pushed") };
        assert_eq!(buf.len(), MESSAGE.len());
        drop(buf);
        assert!(slot.rewind());
    });
}
