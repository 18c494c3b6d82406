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

pub(super) fn serve() -> io::Result<()> {
    let listener = listen()?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&listener, EpollEvent::new(interest, LISTENER))?;
    announce(&listener)?;
    let mut all = Slab::new();
    let mut buffer = vec![0; READ_LEN];
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => 0,
            waited => waited?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(&epoll, &listener, &mut all)?;
                continue;
            }
            let key = usize::try_from(event.data()).map_err(io::Error::other)?;
            let Some(connection) = all.get_mut(key) else { continue };
            // A reset of the client ends its connection, like its end does.
            let ending = event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
            if !connection.serve(&mut buffer, ending).unwrap_or(false) {
                all.remove(key);
            }
        }
    }
}
