//! The least an io_uring server can do: multishot accept, multishot receive into a short ring of
//! incremental buffers (`IOU_PBUF_RING_INC`, Linux 6.12), sends straight from them, one
//! `io_uring_enter` a batch.
//!
//! Invariant: a buffer goes back to the kernel only when the kernel is done filling it and every
//! send from it has completed; a connection is forgotten only when no operation of it is in flight.

#![expect(unsafe_code, reason = "buffers are shared with the kernel; argued at each block")]

use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    collections::VecDeque,
    io,
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{
    IoUring, cqueue,
    opcode::{AcceptMulti, RecvMulti, Send},
    squeue::Entry,
    types::{BufRingEntry, Fd},
};
use slab::Slab;

use super::{announce, listen};

const BUFFERS: u16 = 4;
const BUFFER_LEN: u32 = 64 * 1024;
const GROUP: u16 = 0;
/// `IOU_PBUF_RING_INC` of `<linux/io_uring.h>`, which the crate keeps to itself.
const INCREMENTAL: u16 = 2;
const PAGE: usize = 4096;

const ACCEPT: u64 = 0;
const RECV: u64 = 1;
const SEND: u64 = 2;

fn token(kind: u64, key: usize) -> u64 {
    kind << 32 | key as u64
}

fn zeroed_pages(len: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(len, PAGE).expect("a small constant size");
    // SAFETY: the length is a nonzero constant of this file.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// What the server knows of one buffer.
#[derive(Clone, Copy, Default)]
struct Buffer {
    /// Bytes the kernel has filled, from the front.
    filled: u32,
    /// Chunks not sent yet.
    unsent: u32,
    /// The kernel will fill no more of it.
    full: bool,
}

/// The buffer ring and its memory, never freed: both live as long as the process.
struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
    state: [Buffer; BUFFERS as usize],
}

impl Buffers {
    fn register(ring: &IoUring) -> io::Result<Self> {
        let entries = zeroed_pages(PAGE).cast::<BufRingEntry>();
        let memory = zeroed_pages(usize::from(BUFFERS) * BUFFER_LEN as usize);
        let state = [Buffer::default(); BUFFERS as usize];
        let submitter = ring.submitter();
        let address = entries.as_ptr() as u64;
        // SAFETY: the page holds four entries of 16 bytes and is never freed.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS, GROUP, INCREMENTAL) };
        registered?;
        let mut buffers = Self { entries, memory, tail: 0, state };
        for index in 0..BUFFERS {
            buffers.provide(index);
        }
        Ok(buffers)
    }

    fn start(&self, index: u16) -> NonNull<u8> {
        // SAFETY: `index` is below `BUFFERS`, so the result is inside the allocation.
        unsafe { self.memory.add(usize::from(index) * BUFFER_LEN as usize) }
    }

    /// Gives one whole buffer to the kernel.
    fn provide(&mut self, index: u16) {
        self.state[usize::from(index)] = Buffer::default();
        let address = self.start(index).as_ptr() as u64;
        // SAFETY: the masked position is one of the four entries.
        let entry = unsafe { self.entries.add(usize::from(self.tail % BUFFERS)) };
        // SAFETY: the kernel does not read entries at or behind the tail, and at most `BUFFERS`
        // are before it: this buffer was not in the ring. The tail lies in a field none of the
        // setters below touches.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(BUFFER_LEN);
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the pointer is that of the first entry of a registered ring, in zeroed memory.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 in memory that is never freed, and the kernel only
        // reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Accounts for `len` bytes that the kernel put into a buffer.
    fn filled(&mut self, index: u16, len: u32, more: bool) -> Chunk {
        let start = self.start(index);
        let buffer = &mut self.state[usize::from(index)];
        // SAFETY: what the kernel fills of a buffer lies inside it.
        let start = unsafe { start.add(buffer.filled as usize) };
        buffer.filled += len;
        buffer.unsent += 1;
        buffer.full = !more;
        Chunk { start, len, index }
    }

    /// A chunk is no longer needed; returns whether its buffer went back to the kernel.
    fn release(&mut self, chunk: &Chunk) -> bool {
        let buffer = &mut self.state[usize::from(chunk.index)];
        buffer.unsent -= 1;
        let reusable = buffer.unsent == 0 && buffer.full;
        if reusable {
            self.provide(chunk.index);
        }
        reusable
    }
}

/// Received bytes that wait to be sent back.
struct Chunk {
    start: NonNull<u8>,
    len: u32,
    index: u16,
}

struct Connection {
    stream: TcpStream,
    /// The first chunk is being sent.
    unsent: VecDeque<Chunk>,
    receiving: bool,
    /// Its peer has ended or it failed: gone once nothing is in flight.
    ended: bool,
}

/// The server and what it keeps between turns.
pub(crate) struct Server {
    ring: IoUring,
    buffers: Buffers,
    listener: TcpListener,
    all: Slab<Connection>,
    /// Connections whose receive found no buffer, the oldest first.
    starved: VecDeque<usize>,
    batch: Vec<cqueue::Entry>,
}

impl Server {
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4096);
        let ring = builder.build(1024)?;
        let buffers = Buffers::register(&ring)?;
        let listener = listen()?;
        let (all, starved, batch) = (Slab::new(), VecDeque::new(), Vec::new());
        let mut server = Self { ring, buffers, listener, all, starved, batch };
        server.accept()?;
        Ok(server)
    }

    pub(crate) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    fn submit(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: an accept and a receive point to nothing; what a send points to stays in its
            // buffer until the send has completed.
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
        let receive = RecvMulti::new(Fd(connection.stream.as_raw_fd()), GROUP).build();
        self.submit(&receive.user_data(token(RECV, key)))
    }

    /// Sends the oldest chunk of a connection, if there is one.
    fn send(&mut self, key: usize) -> io::Result<()> {
        let connection = &self.all[key];
        let Some(chunk) = connection.unsent.front() else { return Ok(()) };
        let fd = Fd(connection.stream.as_raw_fd());
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
            let (stream, unsent) = (TcpStream::from(fd), VecDeque::new());
            let connection = Connection { stream, unsent, receiving: false, ended: false };
            let key = self.all.insert(connection);
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
        connection.unsent.push_back(chunk);
        if idle {
            self.send(key)?;
        }
        if rearm { self.receive(key) } else { Ok(()) }
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
        let failed = result <= 0;
        let done = if failed { connection.unsent.len() } else { 1 };
        let done: Vec<Chunk> = connection.unsent.drain(..done).collect();
        if failed && !connection.ended {
            // The receive in flight ends with this; an error means it has ended already.
            let _ended = connection.stream.shutdown(Shutdown::Both);
        }
        let provided = done.iter().fold(false, |any, chunk| self.buffers.release(chunk) | any);
        if provided {
            for _ in 0..self.starved.len() {
                let key = self.starved.pop_front().expect("counted above");
                self.receive(key)?;
            }
        }
        self.send(key)?;
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
        match self.ring.submit_and_wait(1) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            waited => drop(waited?),
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.extend(self.ring.completion());
        let count = batch.len();
        for cqe in batch.drain(..) {
            self.handle(&cqe)?;
        }
        self.batch = batch;
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
