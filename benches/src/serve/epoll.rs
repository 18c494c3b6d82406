//! The least an epoll server can do: edge-triggered, one registration a connection, reading stops
//! at a short read, the reply goes out at once.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;

use super::{announce, listen};

/// The token of the listener; connections have the index of their slot.
const LISTENER: u64 = u64::MAX;
const READ_LEN: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    /// What the socket would not take; while there is some, nothing is read.
    unsent: Vec<u8>,
}

impl Connection {
    /// Writes as much as the socket takes and keeps the rest; returns whether all went.
    fn reply(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match self.stream.write(bytes) {
            Ok(len) if len == bytes.len() => return Ok(true),
            Ok(len) => self.unsent.extend_from_slice(&bytes[len..]),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                self.unsent.extend_from_slice(bytes);
            }
            Err(err) => return Err(err),
        }
        Ok(false)
    }

    /// Echoes until nothing is left to read or the socket takes no more; returns whether the
    /// connection goes on.
    ///
    /// With `ending` the peer's end is behind the bytes, and a short read is not the last one.
    fn serve(&mut self, buffer: &mut [u8], ending: bool) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            if !self.reply(&unsent)? {
                return Ok(true);
            }
        }
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(len) => len,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(err) => return Err(err),
            };
            let drained = len < buffer.len() && !ending;
            if !self.reply(&buffer[..len])? || drained {
                return Ok(true);
            }
        }
    }
}

fn accept(epoll: &Epoll, listener: &TcpListener, all: &mut Slab<Connection>) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(err) => return Err(err),
        };
        stream.set_nonblocking(true)?;
        let interest = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let slot = all.vacant_entry();
        epoll.add(&stream, EpollEvent::new(interest, slot.key() as u64))?;
        slot.insert(Connection { stream, unsent: Vec::new() });
    }
}

/// The server and what it keeps between turns.
pub(crate) struct Server {
    listener: TcpListener,
    epoll: Epoll,
    all: Slab<Connection>,
    buffer: Vec<u8>,
    events: Vec<EpollEvent>,
}

impl Server {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&listener, EpollEvent::new(interest, LISTENER))?;
        let (buffer, events) = (vec![0; READ_LEN], vec![EpollEvent::empty(); 256]);
        Ok(Self { listener, epoll, all: Slab::new(), buffer, events })
    }

    pub(crate) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// One wait and what it brought; returns how many events that were.
    pub(crate) fn turn(&mut self) -> io::Result<usize> {
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => 0,
            waited => waited?,
        };
        for event in &self.events[..count] {
            if event.data() == LISTENER {
                accept(&self.epoll, &self.listener, &mut self.all)?;
                continue;
            }
            let key = usize::try_from(event.data()).map_err(io::Error::other)?;
            let Some(connection) = self.all.get_mut(key) else { continue };
            // A reset of the client ends its connection, like its end does.
            let ending = event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
            if !connection.serve(&mut self.buffer, ending).unwrap_or(false) {
                self.all.remove(key);
            }
        }
        Ok(count)
    }
}

pub(super) fn serve() -> io::Result<()> {
    let mut server = Server::new()?;
    announce(server.listener())?;
    loop {
        server.turn()?;
    }
}
