//! The load generator: N connections, each with a fixed number of messages under way, closed loop.
//!
//! Invariant: every byte that comes back is compared with what was sent; the first wrong one ends
//! the run with an error. No wait is longer than [`PATIENCE`]. Figures are taken inside the measured
//! window only; what is under way when it ends is still read and checked.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use nix::{
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::pattern::Pattern;

/// How long nothing at all may come back.
const PATIENCE: Duration = Duration::from_secs(10);
const READ_LEN: usize = 256 * 1024;
/// Nanoseconds; more counts as this much.
const LATENCY_MAX: u64 = 60_000_000_000;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Bytes of a message.
    pub(crate) size: u64,
    /// Messages under way on each connection.
    pub(crate) pipeline: u64,
}

/// When the measured window ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    Messages(u64),
}

/// What a window measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Messages that came back whole within the window.
    pub(crate) messages: u64,
    /// Those, and the ones read after its end.
    pub(crate) messages_total: u64,
    pub(crate) elapsed: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// CPU time of the server, user and system.
    pub(crate) server_cpu: Duration,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    sent: u64,
    queued: u64,
    received: u64,
    /// When each message under way was queued, the oldest first.
    started: VecDeque<Instant>,
}

/// Connections to one server, ready to run.
#[derive(Debug)]
pub(crate) struct Load {
    shape: Shape,
    pattern: Pattern,
    epoll: Epoll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    /// Whether a message that came back is followed by another.
    going: bool,
    under_way: u64,
    messages: u64,
}

fn cpu_time(clock: ClockId) -> io::Result<Duration> {
    Ok(clock.now()?.into())
}

impl Load {
    /// Opens the connections.
    pub(crate) fn connect(server: SocketAddr, shape: Shape) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::with_capacity(shape.connections);
        for index in 0..shape.connections {
            let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            epoll.add(&stream, EpollEvent::new(interest, index as u64))?;
            let started = VecDeque::new();
            connections.push(Connection { stream, sent: 0, queued: 0, received: 0, started });
        }
        Ok(Self {
            pattern: Pattern::new(READ_LEN),
            epoll,
            connections,
            buffer: vec![0; READ_LEN],
            latency: Histogram::new_with_max(LATENCY_MAX, 3).map_err(io::Error::other)?,
            shape,
            going: false,
            under_way: 0,
            messages: 0,
        })
    }

    /// Runs one window against the server process `server`, then reads what is still under way.
    pub(crate) fn run(&mut self, until: Until, server: Pid) -> io::Result<Window> {
        let clock = clock_getcpuclockid(server)?;
        self.latency.reset();
        self.messages = 0;
        self.going = true;
        let (start, cpu) = (Instant::now(), cpu_time(clock)?);
        for index in 0..self.connections.len() {
            self.queue(index, self.shape.pipeline, start);
            self.write(index)?;
        }
        let done = |load: &Self| match until {
            Until::Elapsed(window) => start.elapsed() >= window,
            Until::Messages(count) => load.messages >= count,
        };
        while !done(self) {
            self.turn()?;
        }
        let (elapsed, server_cpu) = (start.elapsed(), cpu_time(clock)? - cpu);
        let messages = self.messages;
        let percentile = |p| Duration::from_nanos(self.latency.value_at_quantile(p));
        let (p50, p99) = (percentile(0.5), percentile(0.99));
        self.going = false;
        while self.under_way > 0 {
            self.turn()?;
        }
        let messages_total = self.messages;
        Ok(Window { messages, messages_total, elapsed, p50, p99, server_cpu })
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let patience = EpollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
        let count = match self.epoll.wait(&mut events, patience) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no echo came back")),
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(err) => return Err(err.into()),
        };
        for event in &events[..count] {
            let index = usize::try_from(event.data()).map_err(io::Error::other)?;
            self.read(index)?;
            self.write(index)?;
        }
        Ok(())
    }

    /// Reads what is there, checks it, and queues a message for each that is complete.
    fn read(&mut self, index: usize) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let len = match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            };
            let position = connection.received;
            if self.buffer[..len] != *self.pattern.at(index, position, len as u64) {
                let what = format!("connection {index}: wrong bytes in the {len} from {position}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            connection.received += len as u64;
            let size = self.shape.size;
            let whole = connection.received / size - position / size;
            self.complete(index, whole)?;
            if len < self.buffer.len() {
                return Ok(());
            }
        }
    }

    fn complete(&mut self, index: usize, whole: u64) -> io::Result<()> {
        if whole == 0 {
            return Ok(());
        }
        let now = Instant::now();
        for _ in 0..whole {
            let started = self.connections[index].started.pop_front();
            let started =
                started.ok_or_else(|| io::Error::other("more came back than was sent"))?;
            let nanos = u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX);
            self.latency.saturating_record(nanos);
        }
        self.messages += whole;
        self.under_way -= whole;
        if self.going {
            self.queue(index, whole, now);
        }
        Ok(())
    }

    fn queue(&mut self, index: usize, messages: u64, now: Instant) {
        let connection = &mut self.connections[index];
        connection.queued += messages * self.shape.size;
        connection.started.extend((0..messages).map(|_| now));
        self.under_way += messages;
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        while connection.sent < connection.queued {
            let left = connection.queued - connection.sent;
            let bytes = self.pattern.at(index, connection.sent, left);
            match connection.stream.write(bytes) {
                Ok(len) => connection.sent += len as u64,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}
