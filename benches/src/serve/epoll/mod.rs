//! The least an epoll server can do: edge-triggered, one registration a connection, reading stops
//! at a short read, the reply goes out at once.

mod packets;

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::AsRawFd as _,
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    socket::{MsgFlags, recv, send},
};
use slab::Slab;
use socket2::Socket;

use super::{
    Place, READ_LEN, Task, announce, listen_tcp, listen_unix,
    ready::{Connection, Until},
};
use crate::job::{Part, Transport};

/// The token of the listener; connections have the index of their slot.
const LISTENER: u64 = u64::MAX;

/// A socket whose calls never wait, without the call that would make it so.
struct NoWait(Socket);

impl Read for NoWait {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }
}

impl Write for NoWait {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        Ok(send(self.0.as_raw_fd(), bytes, flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server and what it keeps between turns.
pub(crate) struct Server {
    epoll: Epoll,
    listener: Socket,
    part: Part,
    all: Slab<Connection<NoWait>>,
    buffer: Vec<u8>,
    events: Vec<EpollEvent>,
}

impl Server {
    /// One that echoes over TCP, and where.
    pub(crate) fn echo() -> io::Result<(Self, SocketAddr)> {
        let listener = listen_tcp()?;
        let address = listener.local_addr()?;
        Ok((Self::new(listener.into(), Part::Echo)?, address))
    }

    fn new(listener: Socket, part: Part) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&listener, EpollEvent::new(interest, LISTENER))?;
        let (buffer, events) = (vec![0; READ_LEN], vec![EpollEvent::empty(); 256]);
        Ok(Self { epoll, listener, part, all: Slab::new(), buffer, events })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            };
            let interest = EpollFlags::EPOLLIN
                | EpollFlags::EPOLLOUT
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLET;
            let slot = self.all.vacant_entry();
            self.epoll.add(&stream, EpollEvent::new(interest, slot.key() as u64))?;
            slot.insert(Connection::new(NoWait(stream), self.part));
        }
    }

    fn handle(&mut self, event: EpollEvent) -> io::Result<()> {
        let key = usize::try_from(event.data()).map_err(io::Error::other)?;
        let Some(connection) = self.all.get_mut(key) else { return Ok(()) };
        // Over local sockets whatever the peer reads makes room and wakes, and a read would find nothing.
        if event.events() == EpollFlags::EPOLLOUT && !connection.waits_for_room() {
            return Ok(());
        }
        // The peer's end is behind the bytes, so a short read is not the last one.
        let ending = event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
        let until = if ending { Until::WouldBlock } else { Until::Short };
        // A reset of the client ends its connection, like its end does.
        if !connection.serve(&mut self.buffer, until).unwrap_or(false) {
            self.all.remove(key);
        }
        Ok(())
    }

    /// One wait and what it brought; returns how many events that were.
    pub(crate) fn turn(&mut self) -> io::Result<usize> {
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => 0,
            waited => waited?,
        };
        for index in 0..count {
            let event = self.events[index];
            if event.data() == LISTENER { self.accept()? } else { self.handle(event)? }
        }
        Ok(count)
    }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let (listener, place): (Socket, _) = match task.service.transport() {
        Transport::Udp => return packets::serve(task),
        Transport::Unix => (listen_unix(&task.path)?.into(), Place::Local(task.path.clone())),
        Transport::Tcp => {
            let listener = listen_tcp()?;
            let place = Place::Ip(listener.local_addr()?);
            (listener.into(), place)
        }
    };
    let mut server = Server::new(listener, task.service.part())?;
    announce(task, place)?;
    loop {
        server.turn()?;
    }
}
