//! The least an io_uring server can do: multishot accept, multishot receive into a short ring of
//! incremental buffers, sends straight from them, one `io_uring_enter` a batch.
//!
//! Invariant: every send from a buffer completes before the buffer goes back to the kernel; a
//! connection is forgotten only when no operation of it is in flight.

#![expect(unsafe_code, reason = "buffers are shared with the kernel; argued at each block")]

mod buffers;
mod packets;

use std::{
    collections::VecDeque,
    io,
    net::{Shutdown, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::NonNull,
};

use io_uring::{
    IoUring, cqueue,
    opcode::{AcceptMulti, RecvMulti, Send},
    squeue::Entry,
    types::Fd,
};
use slab::Slab;
use socket2::Socket;

use self::buffers::{Buffers, GROUP};
use super::{Place, Task, announce, listen_tcp, listen_unix};
use crate::{
    job::{Part, Transport},
    oneway::State,
};

/// What stays in the second-level cache with everything else.
const BUFFER_LEN: u32 = 64 * 1024;
/// For bulk one way: larger reads are worth more than the cache.
const SINK_BUFFER_LEN: u32 = 256 * 1024;

/// Starved connections that try again at a time: more than there are buffers, as not all fill one.
const FED: usize = 8;

const ACCEPT: u64 = 0;
const RECV: u64 = 1;
const SEND: u64 = 2;

fn token(kind: u64, key: usize) -> u64 {
    kind << 32 | key as u64
}

/// A ring set up the way that costs least.
fn ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4096);
    builder.build(1024)
}

/// Waits for completions and moves them to `batch`.
fn wait(ring: &mut IoUring, batch: &mut Vec<cqueue::Entry>) -> io::Result<()> {
    match ring.submit_and_wait(1) {
        Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
        waited => drop(waited?),
    }
    batch.extend(ring.completion());
    Ok(())
}

/// Bytes that wait to be sent.
struct Chunk {
    start: NonNull<u8>,
    len: u32,
    /// The receive buffer they lie in; bytes in none are never freed.
    index: Option<u16>,
}

impl Chunk {
    fn fixed(bytes: &'static [u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("chunks are short");
        Self { start: NonNull::from(bytes).cast(), len, index: None }
    }
}

struct Connection {
    socket: Socket,
    state: State,
    unsent: VecDeque<Chunk>,
    receiving: bool,
    /// Its peer has ended or it failed: gone once nothing is in flight.
    ended: bool,
}

impl Connection {
    fn new(socket: Socket, part: Part) -> Self {
        let (state, unsent) = (State::new(part), VecDeque::new());
        Self { socket, state, unsent, receiving: false, ended: false }
    }

    /// Queues a chunk of what a source owes, if nothing else waits.
    fn pay(&mut self) {
        if let State::Source(owed) = &mut self.state
            && self.unsent.is_empty()
            && !self.ended
            && let Some(chunk) = owed.chunk()
        {
            owed.sent(chunk.len());
            self.unsent.push_back(Chunk::fixed(chunk));
        }
    }
}

/// The server and what it keeps between turns.
pub(crate) struct Server {
    ring: IoUring,
    buffers: Buffers,
    listener: Socket,
    part: Part,
    all: Slab<Connection>,
    /// Connections whose receive found no buffer, the oldest first.
    starved: VecDeque<usize>,
    batch: Vec<cqueue::Entry>,
}

impl Server {
    /// One that echoes over TCP, and where.
    pub(crate) fn echo() -> io::Result<(Self, SocketAddr)> {
        let listener = listen_tcp()?;
        let address = listener.local_addr()?;
        Ok((Self::new(listener.into(), Part::Echo)?, address))
    }

    fn new(listener: Socket, part: Part) -> io::Result<Self> {
        let len = if part == Part::Sink { SINK_BUFFER_LEN } else { BUFFER_LEN };
        let ring = ring()?;
        let buffers = Buffers::register(&ring, len)?;
        let (all, starved, batch) = (Slab::new(), VecDeque::new(), Vec::new());
        let mut server = Self { ring, buffers, listener, part, all, starved, batch };
        server.accept()?;
        Ok(server)
    }

    fn submit(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: an accept and a receive point to nothing; what a send points to stays in its
            // buffer until the send has completed, or is never freed.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let accept = AcceptMulti::new(Fd(self.listener.as_raw_fd())).build();
        self.submit(&accept.user_data(token(ACCEPT, 0)))
    }

    fn receive(&mut self, key: usize) -> io::Result<()> {
        let Some(connection) = self.all.get_mut(key) else { return Ok(()) };
        connection.receiving = true;
        let receive = RecvMulti::new(Fd(connection.socket.as_raw_fd()), GROUP).build();
        self.submit(&receive.user_data(token(RECV, key)))
    }

    /// Sends the oldest chunk of a connection, if there is one.
    fn send(&mut self, key: usize) -> io::Result<()> {
        let connection = &self.all[key];
        let Some(chunk) = connection.unsent.front() else { return Ok(()) };
        let fd = Fd(connection.socket.as_raw_fd());
        let send = Send::new(fd, chunk.start.as_ptr(), chunk.len);
        let send = send.flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build();
        self.submit(&send.user_data(token(SEND, key)))
    }

    fn handle(&mut self, cqe: &cqueue::Entry) -> io::Result<()> {
        let key = usize::try_from(cqe.user_data() & u64::from(u32::MAX)).expect("was a key");
        match cqe.user_data() >> 32 {
            ACCEPT => self.accepted(cqe),
            RECV => self.received(key, cqe),
            _ => self.sent(key, cqe.result()),
        }
    }

    fn accepted(&mut self, cqe: &cqueue::Entry) -> io::Result<()> {
        if cqe.result() >= 0 {
            // SAFETY: a successful accept gives a new descriptor that nobody else has.
            let fd = unsafe { OwnedFd::from_raw_fd(cqe.result()) };
            let key = self.all.insert(Connection::new(fd.into(), self.part));
            self.receive(key)?;
        }
        if cqueue::more(cqe.flags()) { Ok(()) } else { self.accept() }
    }

    fn received(&mut self, key: usize, cqe: &cqueue::Entry) -> io::Result<()> {
        let flags = cqe.flags();
        let connection = &mut self.all[key];
        connection.receiving = cqueue::more(flags);
        let Some(index) = cqueue::buffer_select(flags).filter(|_| cqe.result() > 0) else {
            if cqe.result() == -libc::ENOBUFS {
                self.starved.push_back(key);
                return Ok(());
            }
            connection.ended = true;
            return self.forget_if_idle(key);
        };
        let rearm = !connection.receiving;
        let idle = connection.unsent.is_empty();
        let len = cqe.result().unsigned_abs();
        let chunk = self.buffers.filled(index, len, cqueue::buffer_more(flags));
        let unneeded = match &mut connection.state {
            State::Echo => {
                connection.unsent.push_back(chunk);
                None
            }
            State::Sink(received) => {
                let answer = received.add(len as usize);
                connection.unsent.extend(answer.map(Chunk::fixed));
                Some(chunk)
            }
            State::Source(owed) => {
                owed.add(len as usize);
                connection.pay();
                Some(chunk)
            }
        };
        if let Some(chunk) = unneeded {
            self.buffers.release(&chunk);
        }
        if idle {
            self.send(key)?;
        }
        if rearm { self.receive(key) } else { Ok(()) }
    }

    /// Lets some of those receive that found no buffer, if there is one: all had something to read.
    fn feed_starved(&mut self) -> io::Result<()> {
        let count = if self.buffers.is_any_lent() { self.starved.len().min(FED) } else { 0 };
        for _ in 0..count {
            let key = self.starved.pop_front().expect("counted above");
            self.receive(key)?;
        }
        Ok(())
    }

    fn sent(&mut self, key: usize, result: i32) -> io::Result<()> {
        let connection = &mut self.all[key];
        let chunk = connection.unsent.front_mut().expect("a send has a chunk");
        let len = result.unsigned_abs();
        if result > 0 && len < chunk.len {
            // SAFETY: the kernel sent a part of the chunk, so this is inside it.
            chunk.start = unsafe { chunk.start.add(len as usize) };
            chunk.len -= len;
            return self.send(key);
        }
        if result > 0 {
            let chunk = connection.unsent.pop_front().expect("it was sent");
            connection.pay();
            self.buffers.release(&chunk);
            self.send(key)?;
        } else {
            if !std::mem::replace(&mut connection.ended, true) {
                // The receive in flight ends with this; an error means it has ended already.
                let _ended = connection.socket.shutdown(Shutdown::Both);
            }
            for chunk in std::mem::take(&mut connection.unsent) {
                self.buffers.release(&chunk);
            }
        }
        self.forget_if_idle(key)
    }

    fn forget_if_idle(&mut self, key: usize) -> io::Result<()> {
        let connection = &self.all[key];
        if connection.ended && !connection.receiving && connection.unsent.is_empty() {
            self.all.remove(key);
        }
        Ok(())
    }

    /// Submits, waits and handles what that brought; returns how many completions that were.
    pub(crate) fn turn(&mut self) -> io::Result<usize> {
        let mut batch = std::mem::take(&mut self.batch);
        wait(&mut self.ring, &mut batch)?;
        let count = batch.len();
        for cqe in batch.drain(..) {
            self.handle(&cqe)?;
        }
        self.batch = batch;
        self.feed_starved()?;
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
