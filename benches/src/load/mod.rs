//! The load generator: a closed loop, so that a slow server is asked for less, not drowned.
//!
//! Invariant: every byte that comes back is compared with what was sent; the first wrong one ends
//! the run with an error. No wait is longer than [`PATIENCE`]. Rates are taken inside the measured window
//! only; what is under way when it ends is still read and checked. It counts for the latencies, since those
//! that take longest are there, and for the CPU of a message, which would else be that of more messages than
//! came back.

mod churn;
mod echo;
mod idle;
mod meter;
mod oneway;
mod packets;
mod poller;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    time::{Duration, Instant},
};

use nix::{
    sys::socket::{setsockopt, sockopt::IpBindAddressNoPort},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

pub(crate) use self::meter::Window;
use self::{churn::Churn, echo::Echo, idle::Table, meter::Meter, oneway::OneWay, packets::Packets};
use crate::{
    job::{Service, Shape},
    serve::Place,
};

/// How long nothing at all may come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a load runs before anything is measured.
const WARM_UP: Duration = Duration::from_millis(100);
/// Of so many idle connections at either end it is said how soon they answer.
const IDLE_END: usize = 1000;
/// How many addresses of this machine connections come from, in turn, so that ports suffice.
const SOURCES: usize = 250;

/// What a load generator's process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Where the busy connections go, then those where only idle ones do.
    pub(crate) places: Vec<Place>,
    pub(crate) service: Service,
    pub(crate) shape: Shape,
    /// The server's process, whose CPU time and memory are read.
    pub(crate) server: i32,
    /// Whether to run a while before anything is measured.
    pub(crate) warm_up: bool,
}

/// What is known once the connections are open.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) idle: Option<Idle>,
}

/// What was found of idle connections.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// By how many bytes the server's own memory grew with them.
    pub(crate) memory: i64,
    /// In how many nanoseconds the first of them answer, a batch at a time, and the last: medians per connection.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// When the measured window ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Until {
    /// After a while in which nothing is measured.
    Warm,
    /// After so many milliseconds, and two rounds of everything under way at least.
    Millis(u64),
    Messages(u64),
    /// When the server has gone away, which is no error then.
    Gone,
}

/// A pattern of traffic.
trait Traffic {
    /// Opens connections that will stay idle.
    fn open_idle(&mut self, _count: usize) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only an echo has idle connections"))
    }

    /// Has these of the idle connections answer, a batch at a time; returns how long each batch took, per connection.
    fn ask_idle(&mut self, _which: Range<usize>) -> io::Result<Vec<Duration>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only an echo has idle connections"))
    }

    /// Starts sending.
    fn begin(&mut self, meter: &mut Meter) -> io::Result<()>;

    /// Waits for something to happen and deals with it; while the meter is going, each message
    /// that came back is followed by another.
    fn turn(&mut self, meter: &mut Meter) -> io::Result<()>;
}

/// Connections to one server, ready to run.
pub(crate) struct Load {
    traffic: Box<dyn Traffic>,
    meter: Meter,
    shape: Shape,
    server: Pid,
    /// Idle connections for which our first table of descriptors had no room.
    tables: Vec<Table>,
}

impl Load {
    /// Opens the connections.
    pub(crate) fn open(orders: &Orders) -> io::Result<(Self, Opened)> {
        let (place, others) = orders.places.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let shape = orders.shape;
        let server = Pid::from_raw(orders.server);
        let traffic: Box<dyn Traffic> = match orders.service {
            Service::Tcp | Service::Unix | Service::Tls => {
                Box::new(Echo::connect(place, orders.service, shape)?)
            }
            Service::Churn | Service::TlsFull | Service::TlsResumed => {
                Box::new(Churn::new(place, orders.service, shape)?)
            }
            Service::Udp | Service::UdpApart => {
                Box::new(Packets::new(place, orders.service, shape)?)
            }
            Service::Sink => Box::new(OneWay::connect(place, shape, oneway::Way::Out)?),
            Service::Source => Box::new(OneWay::connect(place, shape, oneway::Way::In)?),
        };
        let tables = Vec::new();
        let mut load = Self { traffic, meter: Meter::new()?, shape, server, tables };
        if orders.warm_up {
            load.run(Until::Warm)?;
        }
        let idle =
            if shape.idle > 0 { Some(load.open_idle(others, orders.service)?) } else { None };
        Ok((load, Opened { idle }))
    }

    fn open_idle(&mut self, others: &[Place], service: Service) -> io::Result<Idle> {
        let before = own_memory(self.server)?;
        // A table begins as a copy of ours, so all do before ours is full.
        self.tables = others.iter().map(|_| Table::new()).collect::<io::Result<_>>()?;
        self.traffic.open_idle(self.shape.idle_in(0))?;
        for ((place, table), number) in others.iter().zip(&self.tables).zip(1..) {
            let shape = Shape { connections: self.shape.idle_in(number), ..self.shape };
            table.open(place.clone(), service, shape)?;
        }
        let (first, last) = self.ask_all_idle()?;
        let memory = own_memory(self.server)? - before;
        Ok(Idle { memory, first, last })
    }

    /// Has each idle connection answer once more, now that all are there: those at the ends in turn, and last, so
    /// that they differ in nothing but their place. Returns in what time these answer, of the first and of the last.
    fn ask_all_idle(&mut self) -> io::Result<(u64, u64)> {
        let last_table = self.tables.len();
        let last_len = self.shape.idle_in(last_table);
        let end = IDLE_END.min(last_len / 2);
        for table in 0..=last_table {
            let start = if table == 0 { end } else { 0 };
            let len = self.shape.idle_in(table);
            self.ask_idle(table, start..if table == last_table { len - end } else { len })?;
        }
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for from in (0..end).step_by(echo::BATCH) {
            let batch = from..end.min(from + echo::BATCH);
            first.extend(self.ask_idle(0, batch.clone())?);
            let before = last_len - end;
            last.extend(self.ask_idle(last_table, before + batch.start..before + batch.end)?);
        }
        Ok((median(first), median(last)))
    }

    fn ask_idle(&mut self, table: usize, which: Range<usize>) -> io::Result<Vec<Duration>> {
        match table.checked_sub(1) {
            None => self.traffic.ask_idle(which),
            Some(further) => self.tables[further].ask(which),
        }
    }

    /// Runs one window, then reads what is still under way.
    pub(crate) fn run(&mut self, until: Until) -> io::Result<Window> {
        let clocks = [clock_getcpuclockid(self.server)?, ClockId::CLOCK_PROCESS_CPUTIME_ID];
        let cpu = || -> io::Result<[Duration; 2]> {
            let [server, own] = clocks;
            Ok([server.now()?.into(), own.now()?.into()])
        };
        self.meter.restart();
        let (start, before) = (Instant::now(), cpu()?);
        let driven = self.drive(until, start);
        let window = self.meter.window(start.elapsed());
        self.meter.going = false;
        match driven.and_then(|()| self.finish()) {
            Err(err) if matches!(until, Until::Gone) && is_gone(&err) => {}
            finished => finished?,
        }
        let after = cpu()?;
        let used = [0, 1].map(|n| after[n] - before[n]);
        Ok(self.meter.whole(window, start.elapsed(), used))
    }

    /// Reads what is still under way.
    fn finish(&mut self) -> io::Result<()> {
        while self.meter.under_way() > 0 {
            self.traffic.turn(&mut self.meter)?;
        }
        Ok(())
    }

    /// Keeps everything going until the window is over.
    fn drive(&mut self, until: Until, start: Instant) -> io::Result<()> {
        self.traffic.begin(&mut self.meter)?;
        let floor = 2 * self.shape.under_way();
        let done = |meter: &Meter| match until {
            Until::Warm => start.elapsed() >= WARM_UP,
            Until::Millis(millis) => {
                meter.messages() >= floor && start.elapsed() >= Duration::from_millis(millis)
            }
            Until::Messages(count) => meter.messages() >= count,
            Until::Gone => false,
        };
        while !done(&self.meter) {
            self.traffic.turn(&mut self.meter)?;
        }
        Ok(())
    }
}

/// The middle one, in nanoseconds.
fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Whether this is what one hears of a server that went away.
fn is_gone(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::BrokenPipe
    )
}

/// A connecting socket whose calls never wait; `number` chooses the address it comes from.
fn connect(place: &Place, number: usize) -> io::Result<Socket> {
    let (socket, to) = match place {
        Place::Local(path) => {
            (Socket::new(Domain::UNIX, Type::STREAM, None)?, SockAddr::unix(path)?)
        }
        Place::Ip(to) => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_tcp_nodelay(true)?;
            // The port is chosen with the peer in view, so that only the pair need be unique.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            let host = u8::try_from(2 + number % SOURCES).expect("at most 251");
            let from = Ipv4Addr::new(127, 0, 0, host);
            socket.bind(&SocketAddr::from((from, 0)).into())?;
            (socket, (*to).into())
        }
    };
    socket.set_nonblocking(true)?;
    match socket.connect(&to) {
        Err(err) if err.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        connected => connected.map(|()| socket),
    }
}

/// Bytes that belong to a process alone and hold its data: no code, no files.
fn own_memory(process: Pid) -> io::Result<i64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<i64>().ok());
    kilobytes.map(|count| count * 1024).ok_or_else(|| io::Error::other("no `Anonymous:` there"))
}

/// `None` if the call would have to wait, for the other end or for being connected.
fn unless_waiting(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(err)
            if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}

fn wrong_bytes(connection: usize, position: u64, len: usize) -> io::Error {
    let what = format!("connection {connection}: wrong bytes in the {len} from {position}");
    io::Error::new(io::ErrorKind::InvalidData, what)
}
