//! Bytes one way, counted by blocks: out to a sink, or in from a source.
//!
//! A message is a part of a block: one of `size` bytes.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    time::Instant,
};

use socket2::Socket;

use super::{Meter, Traffic, connect, poller::Poller, unless_waiting, wrong_bytes};
use crate::{
    job::Shape,
    oneway::{BLOCK, answer},
    pattern,
    serve::Place,
};

const READ_LEN: usize = 256 * 1024;

/// Where the blocks go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Out,
    In,
}

struct Connection {
    socket: Socket,
    /// Bytes of blocks that went or came.
    position: u64,
    /// Blocks begun: to be sent whole, or asked for.
    blocks: u64,
    /// Single bytes that came or went: an answer each, or a question.
    singles: u64,
    started: VecDeque<Instant>,
}

pub(super) struct OneWay {
    way: Way,
    shape: Shape,
    poller: Poller,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl OneWay {
    pub(super) fn connect(place: &Place, shape: Shape, way: Way) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mut connections = Vec::new();
        for index in 0..shape.connections {
            let socket = connect(place, index)?;
            poller.add(&socket, index)?;
            let started = VecDeque::new();
            connections.push(Connection { socket, position: 0, blocks: 0, singles: 0, started });
        }
        Ok(Self { way, shape, poller, connections, buffer: vec![0; READ_LEN] })
    }

    /// Messages of a block.
    const fn messages(&self) -> u64 {
        BLOCK / self.shape.size
    }

    /// Begins one more block.
    fn add_block(&mut self, index: usize, meter: &mut Meter) {
        let connection = &mut self.connections[index];
        connection.blocks += 1;
        connection.started.push_back(Instant::now());
        meter.sent(self.messages());
    }

    /// Writes what may go: the rest of the blocks, or questions for them.
    fn write(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        loop {
            let bytes = match self.way {
                Way::Out => pattern::at(
                    0,
                    connection.position,
                    connection.blocks * BLOCK - connection.position,
                ),
                Way::In => pattern::at(0, 0, connection.blocks - connection.singles),
            };
            if bytes.is_empty() {
                return Ok(());
            }
            let Some(len) = unless_waiting(connection.socket.write(bytes))? else { return Ok(()) };
            match self.way {
                Way::Out => connection.position += len as u64,
                Way::In => connection.singles += len as u64,
            }
        }
    }

    fn read(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let Some(len) = unless_waiting(connection.socket.read(&mut self.buffer))? else {
                return Ok(());
            };
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let bytes = &self.buffer[..len];
            let done = match self.way {
                Way::Out => {
                    let from = connection.singles;
                    let right =
                        bytes.iter().zip(from..).all(|(&byte, block)| [byte] == *answer(block));
                    connection.singles += len as u64;
                    if !right || connection.singles * BLOCK > connection.position {
                        return Err(wrong_bytes(index, from, len));
                    }
                    len as u64
                }
                Way::In => {
                    let from = connection.position;
                    connection.position += len as u64;
                    let right = *bytes == *pattern::at(0, from, len as u64);
                    if !right || connection.position > connection.blocks * BLOCK {
                        return Err(wrong_bytes(index, from, len));
                    }
                    connection.position / BLOCK - from / BLOCK
                }
            };
            for _ in 0..done {
                self.complete(index, meter)?;
            }
            if len < self.buffer.len() {
                return Ok(());
            }
        }
    }

    fn complete(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        let started = self.connections[index].started.pop_front();
        let started = started.ok_or_else(|| io::Error::other("more came than was asked for"))?;
        meter.back(self.messages(), started, Instant::now());
        if meter.going {
            self.add_block(index, meter);
        }
        Ok(())
    }
}

impl Traffic for OneWay {
    fn begin(&mut self, meter: &mut Meter) -> io::Result<()> {
        for index in 0..self.connections.len() {
            // In blocks as in messages, so that neither end ever waits for the other's turn.
            for _ in 0..self.shape.pipeline.div_ceil(self.messages()) {
                self.add_block(index, meter);
            }
            self.write(index)?;
        }
        Ok(())
    }

    fn turn(&mut self, meter: &mut Meter) -> io::Result<()> {
        let ready = self.poller.wait()?;
        for &index in &ready {
            self.read(index, meter)?;
            self.write(index)?;
        }
        self.poller.reuse(ready);
        Ok(())
    }
}
