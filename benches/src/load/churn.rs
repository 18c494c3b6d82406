//! Connections that live for one message: connect, shake hands over TLS, send, read the echo, close; N at
//! a time.

use std::{io, sync::Arc, time::Instant};

use rustls::{ClientConfig, HandshakeKind};

use super::{Meter, Traffic, connect, poller::Poller, wire::Wire, wrong_bytes};
use crate::{
    job::{Service, Shape},
    pattern,
    serve::Place,
    tls::keys::Keys,
};

struct Connection {
    wire: Wire,
    /// Its number among all there ever were.
    number: usize,
    started: Instant,
    sent: u64,
    received: u64,
}

/// Where one connection follows the other.
struct Spot {
    /// Of its own, for the tickets in it: each connection takes one up and leaves more.
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
    /// Whether an earlier one has left a ticket.
    has_ticket: bool,
}

pub(super) struct Churn {
    place: Place,
    shape: Shape,
    resumes: bool,
    poller: Poller,
    spots: Vec<Spot>,
    /// How many connections there were.
    count: usize,
    buffer: Vec<u8>,
}

impl Churn {
    pub(super) fn new(place: &Place, service: Service, shape: Shape) -> io::Result<Self> {
        let len = usize::try_from(shape.size).map_err(io::Error::other)?;
        let resumes = service == Service::TlsResumed;
        let keys = if service.is_tls() { Some(Keys::inherited()?) } else { None };
        let spot = |_| {
            let tls = keys.as_ref().map(|keys| keys.client(resumes)).transpose()?;
            Ok(Spot { tls, connection: None, has_ticket: false })
        };
        Ok(Self {
            place: place.clone(),
            shape,
            resumes,
            poller: Poller::new()?,
            spots: (0..shape.connections).map(spot).collect::<io::Result<_>>()?,
            count: 0,
            // Room for more than was asked for.
            buffer: vec![0; len + 1],
        })
    }

    fn start(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        let (number, started) = (self.count, Instant::now());
        let socket = connect(&self.place, number)?;
        self.count += 1;
        self.poller.add(&socket, index)?;
        meter.sent(1);
        let spot = &mut self.spots[index];
        let wire = match &spot.tls {
            Some(config) => Wire::tls(socket, config)?,
            None => Wire::Plain(socket),
        };
        spot.connection = Some(Connection { wire, number, started, sent: 0, received: 0 });
        // Over loopback it is connected already.
        self.go_on(index).map(|_| ())
    }

    /// Sends and reads; returns whether the echo is complete.
    fn go_on(&mut self, index: usize) -> io::Result<bool> {
        let size = self.shape.size;
        let Some(connection) = &mut self.spots[index].connection else { return Ok(false) };
        while connection.sent < size {
            let bytes = pattern::at(connection.number, connection.sent, size - connection.sent);
            let Some(len) = connection.wire.write(bytes)? else { break };
            connection.sent += len as u64;
        }
        connection.wire.flush()?;
        while connection.received < size {
            let Some((len, _)) = connection.wire.read(&mut self.buffer)? else {
                return Ok(false);
            };
            let position = connection.received;
            connection.received += len as u64;
            let expected = pattern::at(connection.number, position, len as u64);
            if self.buffer[..len] != *expected || connection.received > size {
                return Err(wrong_bytes(connection.number, position, len));
            }
        }
        Ok(true)
    }

    /// Ends the connection whose echo is complete.
    fn finish(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        let spot = &mut self.spots[index];
        let Some(mut connection) = spot.connection.take() else { return Ok(()) };
        if spot.tls.is_some() {
            let resumed = self.resumes && spot.has_ticket;
            let expected = if resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
            let found = connection.wire.handshake();
            if found != Some(expected) {
                let what = format!("a handshake of kind {found:?}, not {expected:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            spot.has_ticket = true;
        }
        // Our end closes first, as a client's does.
        connection.wire.finish()?;
        meter.back(1, connection.started, Instant::now());
        Ok(())
    }
}

impl Traffic for Churn {
    fn begin(&mut self, meter: &mut Meter) -> io::Result<()> {
        (0..self.spots.len()).try_for_each(|index| self.start(index, meter))
    }

    fn turn(&mut self, meter: &mut Meter) -> io::Result<()> {
        let ready = self.poller.wait()?;
        for &index in &ready {
            if !self.go_on(index)? {
                continue;
            }
            self.finish(index, meter)?;
            if meter.going {
                self.start(index, meter)?;
            }
        }
        self.poller.reuse(ready);
        Ok(())
    }
}
