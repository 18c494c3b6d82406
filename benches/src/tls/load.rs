//! The load: N connections with a fixed number of requests under way, or N threads that connect.
//!
//! Invariant: every byte that comes back is compared with what it has to be; the first wrong one ends
//! the run with an error. No wait is longer than [`PATIENCE`]. The window begins once all connections
//! stand and are warm.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, Stream};

use super::{
    Until,
    job::{BULK_LEN, Job, Service},
    keys::{self, Keys},
    options::LoadOptions,
    peers::{ACK, BLOCK},
    report::Window,
};
use crate::pattern;

/// How long nothing at all may come back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers before anything is measured, on each connection.
const WARM_UP: u64 = 50;
/// Handshakes before anything is measured, in each thread: the first is never resumed.
const WARM_UP_HANDSHAKES: u64 = 3;

/// What the child does: warms up, measures one window, prints it.
pub(crate) fn main(options: &LoadOptions, keys: &Keys) -> io::Result<()> {
    let until = match options.unit.as_str() {
        "millis" => Until::Elapsed(Duration::from_millis(options.amount)),
        "count" => Until::Count(options.amount),
        other => return Err(io::Error::other(format!("no unit: {other}"))),
    };
    let (server, pid) = (([127, 0, 0, 1], options.port).into(), Pid::from_raw(options.pid));
    let clock = clock_getcpuclockid(pid)?;
    let job = options.job;
    let window = if job.is_handshake() {
        Handshakes::new(job, server, keys).run(options.connections, until, clock)
    } else {
        Load::connect(job, server, &keys.client(false)?, options.connections)
            .and_then(|mut load| load.run(until, clock))
    };
    let mut stdout = io::stdout().lock();
    match window {
        Ok(window) => writeln!(stdout, "{}", serde_json::to_string(&window)?),
        Err(err) => {
            writeln!(stdout, "{err}")?;
            Err(err)
        }
    }
}

fn cpu_time(clock: ClockId) -> io::Result<Duration> {
    Ok(clock.now()?.into())
}

fn connect(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
) -> io::Result<(TcpStream, ClientConnection)> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = keys::NAME.try_into().map_err(io::Error::other)?;
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    Ok((stream, tls))
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    tls: ClientConnection,
    /// Bytes of requests, those given to TLS and those that should be.
    asked: u64,
    wanted: u64,
    received: u64,
}

/// Connections to one server, ready to run.
#[derive(Debug)]
struct Load {
    job: Job,
    epoll: Epoll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    count: u64,
}

impl Load {
    fn connect(
        job: Job,
        server: SocketAddr,
        config: &Arc<ClientConfig>,
        count: usize,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let (mut stream, mut tls) = connect(server, config)?;
            while tls.is_handshaking() {
                tls.complete_io(&mut stream)?;
            }
            stream.set_nonblocking(true)?;
            let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            epoll.add(&stream, EpollEvent::new(interest, index as u64))?;
            connections.push(Connection { stream, tls, asked: 0, wanted: 0, received: 0 });
        }
        let buffer = vec![0; BULK_LEN];
        Ok(Self { job, epoll, connections, buffer, count: 0 })
    }

    fn run(&mut self, until: Until, clock: ClockId) -> io::Result<Window> {
        for index in 0..self.connections.len() {
            self.ask(index, self.job.under_way())?;
        }
        let warm = WARM_UP * self.connections.len() as u64;
        while self.count < warm {
            self.turn()?;
        }
        let (start, cpu, before) = (Instant::now(), cpu_time(clock)?, self.count);
        let done = |load: &Self| match until {
            Until::Elapsed(window) => start.elapsed() >= window,
            Until::Count(count) => load.count - before >= count,
        };
        while !done(self) {
            self.turn()?;
        }
        let (elapsed, server_cpu) = (start.elapsed(), cpu_time(clock)? - cpu);
        Ok(Window { count: self.count - before, elapsed, server_cpu })
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let patience = EpollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
        let count = match self.epoll.wait(&mut events, patience) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer came")),
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(err) => return Err(err.into()),
        };
        for event in &events[..count] {
            let index = usize::try_from(event.data()).map_err(io::Error::other)?;
            self.read(index)?;
            self.ask(index, 0)?;
        }
        Ok(())
    }

    /// Reads what is there, checks it, and asks anew for each answer that is complete.
    fn read(&mut self, index: usize) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let len = match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            };
            let mut wire = &self.buffer[..len];
            let before = connection.received;
            while !wire.is_empty() {
                connection.tls.read_tls(&mut wire)?;
                connection.tls.process_new_packets().map_err(io::Error::other)?;
                connection.check(self.job, index)?;
            }
            let len = self.job.answer_len() as u64;
            let whole = connection.received / len - before / len;
            self.count += whole;
            self.ask(index, whole)?;
        }
    }

    /// Asks for so many more answers, and goes on with what could not be sent before.
    fn ask(&mut self, index: usize, more: u64) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.wanted += more * self.job.request_len() as u64;
        loop {
            while connection.tls.wants_write() {
                match connection.tls.write_tls(&mut connection.stream) {
                    Ok(_) => {}
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(err) => return Err(err),
                }
            }
            if connection.asked == connection.wanted {
                return Ok(());
            }
            // Each request is written by itself, so it has records of its own.
            let len = self.job.request_len() as u64;
            let bytes = pattern::at(index, connection.asked, len - connection.asked % len);
            connection.asked += connection.tls.writer().write(bytes)? as u64;
        }
    }
}

impl Connection {
    /// Takes what was decrypted and compares it with what it has to be.
    fn check(&mut self, job: Job, index: usize) -> io::Result<()> {
        use io::BufRead as _;
        let mut reader = self.tls.reader();
        loop {
            let bytes = match reader.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => bytes,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            };
            let at = usize::try_from(self.received % BULK_LEN as u64).map_err(io::Error::other)?;
            let expected = match job.service() {
                Service::Sink => &[ACK][..],
                Service::Source => &BLOCK[at..],
                Service::Echo => pattern::at(index, self.received, bytes.len() as u64),
            };
            let len = bytes.len().min(expected.len());
            if bytes[..len] != expected[..len] {
                return Err(wrong(format!("connection {index}: wrong bytes at {}", self.received)));
            }
            reader.consume(len);
            self.received += len as u64;
        }
    }
}

/// Threads that connect, shake hands, have one byte echoed, say good-bye, and begin anew.
#[derive(Debug)]
struct Handshakes<'a> {
    job: Job,
    server: SocketAddr,
    keys: &'a Keys,
    count: AtomicU64,
    /// The count that ends the window.
    last: AtomicU64,
    is_over: AtomicBool,
}

/// What a thread has to tell.
#[derive(Debug)]
enum Word {
    Warm,
    Last,
    Failed(io::Error),
}

impl<'a> Handshakes<'a> {
    fn new(job: Job, server: SocketAddr, keys: &'a Keys) -> Self {
        let (count, last) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { job, server, keys, count, last, is_over: AtomicBool::new(false) }
    }

    fn run(&self, threads: usize, until: Until, clock: ClockId) -> io::Result<Window> {
        let (teller, told) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..threads {
                let teller = teller.clone();
                scope.spawn(move || {
                    if let Err(err) = self.repeat(&teller) {
                        // With nobody to tell, the window is over.
                        let _over = teller.send(Word::Failed(err));
                    }
                });
            }
            let window = self.measure(threads, until, clock, &told);
            self.is_over.store(true, Ordering::Relaxed);
            window
        })
    }

    fn measure(
        &self,
        threads: usize,
        until: Until,
        clock: ClockId,
        told: &Receiver<Word>,
    ) -> io::Result<Window> {
        for _ in 0..threads {
            hear(told, PATIENCE)?;
        }
        let count = || self.count.load(Ordering::Relaxed);
        let (start, cpu, before) = (Instant::now(), cpu_time(clock)?, count());
        match until {
            Until::Elapsed(window) => match hear(told, window) {
                Err(err) if err.kind() == io::ErrorKind::TimedOut => {}
                heard => heard?,
            },
            Until::Count(wanted) => {
                self.last.store(before + wanted, Ordering::Relaxed);
                hear(told, Duration::MAX)?;
            }
        }
        let (elapsed, server_cpu) = (start.elapsed(), cpu_time(clock)? - cpu);
        Ok(Window { count: count() - before, elapsed, server_cpu })
    }

    fn repeat(&self, teller: &Sender<Word>) -> io::Result<()> {
        // Tickets of its own: each connection takes one up and leaves more.
        let config = self.keys.client(self.job == Job::ResumedHandshake)?;
        let (mut done, mut is_last_told) = (0, false);
        while !self.is_over.load(Ordering::Relaxed) {
            self.once(&config, done > 0)?;
            done += 1;
            let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            if done == WARM_UP_HANDSHAKES {
                let _over = teller.send(Word::Warm);
            }
            if count >= self.last.load(Ordering::Relaxed) && !is_last_told {
                is_last_told = true;
                let _over = teller.send(Word::Last);
            }
        }
        Ok(())
    }

    fn once(&self, config: &Arc<ClientConfig>, may_resume: bool) -> io::Result<()> {
        let (mut socket, mut tls) = connect(self.server, config)?;
        let mut stream = Stream::new(&mut tls, &mut socket);
        stream.write_all(b"x")?;
        let mut echo = [0];
        stream.read_exact(&mut echo)?;
        let resumes = may_resume && self.job == Job::ResumedHandshake;
        let (kind, expected) =
            (tls.handshake_kind(), [HandshakeKind::Full, HandshakeKind::Resumed]);
        let is_expected = kind == Some(expected[usize::from(resumes)]);
        if echo != *b"x" || !is_expected {
            return Err(wrong(format!("echoed {echo:?} after a handshake of kind {kind:?}")));
        }
        tls.send_close_notify();
        tls.write_tls(&mut socket)?;
        Ok(())
    }
}

/// The next word, or an error if that is one or none comes.
fn hear(told: &Receiver<Word>, within: Duration) -> io::Result<()> {
    match told.recv_timeout(within) {
        Ok(Word::Warm | Word::Last) => Ok(()),
        Ok(Word::Failed(err)) => Err(err),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
