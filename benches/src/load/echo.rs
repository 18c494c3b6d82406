//! Echo over streams: N connections, each with a fixed number of messages under way.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{Meter, Traffic, connect, poller::Poller, wire::Wire, wrong_bytes};
use crate::{
    job::{Service, Shape},
    pattern,
    serve::Place,
    tls::keys::Keys,
};

const READ_LEN: usize = 256 * 1024;
/// Connections opened at a time: fewer than any server lets wait.
pub(super) const BATCH: usize = 64;

struct Connection {
    wire: Wire,
    sent: u64,
    queued: u64,
    received: u64,
    /// When each message under way was queued, the oldest first.
    started: VecDeque<Instant>,
}

pub(super) struct Echo {
    place: Place,
    tls: Option<Arc<ClientConfig>>,
    shape: Shape,
    poller: Poller,
    /// The idle ones last.
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl Echo {
    pub(super) fn connect(place: &Place, service: Service, shape: Shape) -> io::Result<Self> {
        let (poller, connections) = (Poller::new()?, Vec::new());
        let tls = if service.is_tls() { Some(Keys::inherited()?.client(false)?) } else { None };
        let (place, buffer) = (place.clone(), vec![0; READ_LEN]);
        let mut echo = Self { place, tls, shape, poller, connections, buffer };
        echo.open(shape.connections)?;
        Ok(echo)
    }

    /// Opens connections, a batch at a time, and sends one message over each: then all are accepted.
    fn open(&mut self, count: usize) -> io::Result<()> {
        let first = self.connections.len();
        let opened = self.in_batches(first, first + count, |echo, batch| {
            for index in batch {
                let socket = connect(&echo.place, index)?;
                echo.poller.add(&socket, index)?;
                let wire = match &echo.tls {
                    Some(config) => Wire::tls(socket, config)?,
                    None => Wire::Plain(socket),
                };
                let (sent, queued, received, started) = (0, 0, 0, VecDeque::new());
                echo.connections.push(Connection { wire, sent, queued, received, started });
            }
            Ok(())
        });
        opened.map(drop)
    }

    /// Has these connections answer a message; returns how long each batch took, per connection.
    pub(super) fn ask(&mut self, which: Range<usize>) -> io::Result<Vec<Duration>> {
        self.in_batches(which.start, which.end, |_, _| Ok(()))
    }

    /// Makes a batch of connections ready and has each answer a message, until all have; returns how long each
    /// batch took, per connection.
    fn in_batches(
        &mut self,
        first: usize,
        end: usize,
        ready: impl Fn(&mut Self, Range<usize>) -> io::Result<()>,
    ) -> io::Result<Vec<Duration>> {
        let (mut meter, mut times) = (Meter::new()?, Vec::new());
        for from in (first..end).step_by(BATCH) {
            let batch = from..end.min(from + BATCH);
            ready(self, batch.clone())?;
            let (now, len) = (Instant::now(), batch.len());
            for index in batch {
                self.queue(index, 1, now, &mut meter);
                self.write(index)?;
            }
            while meter.under_way() > 0 {
                self.turn(&mut meter)?;
            }
            times.extend(u32::try_from(len).map(|len| now.elapsed() / len));
        }
        Ok(times)
    }

    /// Reads what is there, checks it, and queues a message for each that is complete.
    fn read(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let Some((len, is_all)) = connection.wire.read(&mut self.buffer)? else {
                return Ok(());
            };
            let position = connection.received;
            if self.buffer[..len] != *pattern::at(index, position, len as u64) {
                return Err(wrong_bytes(index, position, len));
            }
            connection.received += len as u64;
            let size = self.shape.size;
            let whole = connection.received / size - position / size;
            self.complete(index, whole, meter)?;
            if is_all {
                return Ok(());
            }
        }
    }

    fn complete(&mut self, index: usize, whole: u64, meter: &mut Meter) -> io::Result<()> {
        if whole == 0 {
            return Ok(());
        }
        let now = Instant::now();
        for _ in 0..whole {
            let started = self.connections[index].started.pop_front();
            let started =
                started.ok_or_else(|| io::Error::other("more came back than was sent"))?;
            meter.back(1, started, now);
        }
        if meter.going {
            self.queue(index, whole, now, meter);
        }
        Ok(())
    }

    fn queue(&mut self, index: usize, messages: u64, now: Instant, meter: &mut Meter) {
        let connection = &mut self.connections[index];
        connection.queued += messages * self.shape.size;
        connection.started.extend((0..messages).map(|_| now));
        meter.sent(messages);
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        while connection.sent < connection.queued {
            let left = connection.queued - connection.sent;
            let bytes = pattern::at(index, connection.sent, left);
            let Some(len) = connection.wire.write(bytes)? else { return Ok(()) };
            connection.sent += len as u64;
        }
        connection.wire.flush()
    }
}

impl Traffic for Echo {
    fn open_idle(&mut self, count: usize) -> io::Result<()> {
        self.open(count)
    }

    fn ask_idle(&mut self, which: Range<usize>) -> io::Result<Vec<Duration>> {
        let before = self.shape.connections;
        self.ask(before + which.start..before + which.end)
    }

    fn begin(&mut self, meter: &mut Meter) -> io::Result<()> {
        let now = Instant::now();
        for index in 0..self.shape.connections {
            self.queue(index, self.shape.pipeline, now, meter);
            self.write(index)?;
        }
        Ok(())
    }

    fn turn(&mut self, meter: &mut Meter) -> io::Result<()> {
        let ready = self.poller.wait()?;
        for &index in &ready {
            self.read(index, meter)?;
        }
        for &index in &ready {
            self.write(index)?;
        }
        self.poller.reuse(ready);
        Ok(())
    }
}
