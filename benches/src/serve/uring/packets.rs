//! Datagrams: one multishot receive into a ring of buffers, each sent back from where it lies; packets
//! of one sender come joined and go back joined (`UDP_GRO`, `UDP_SEGMENT`).
//!
//! Invariant: a buffer goes back to the kernel when the send from it has completed; until then what the
//! send was told does not change.

use std::{io, mem, os::fd::AsRawFd as _, ptr, ptr::NonNull, slice};

use io_uring::{
    IoUring, cqueue,
    opcode::{RecvMsgMulti, SendMsg},
    squeue::Entry,
    types::{Fd, RecvMsgOut},
};
use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};

use super::{
    buffers::{BufferRing, GROUP, zeroed_pages},
    ring, wait,
};
use crate::serve::{Place, READ_LEN, Task, announce, bind_udp, joined::Control};

const BUFFERS: u16 = 64;
/// The token of the receive; a send has the number of its buffer.
const RECEIVE: u64 = u64::MAX;

/// What the kernel is told of a send.
struct Outgoing {
    header: libc::msghdr,
    slice: libc::iovec,
    control: Control,
}

struct Server {
    ring: IoUring,
    fd: Fd,
    buffers: BufferRing,
    /// Never freed.
    memory: NonNull<u8>,
    /// What received packets look like; never freed, and never written while the ring lives.
    header: &'static libc::msghdr,
    /// For each buffer; never moved, never freed before the ring.
    outgoing: Box<[Outgoing]>,
    receiving: bool,
    /// Buffers the kernel may fill.
    free: u16,
}

impl Server {
    fn submit(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: the header of a receive lives for ever; that of a send, and what it points to,
            // does not change before the send has completed.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    fn start(&self, index: u16) -> NonNull<u8> {
        // SAFETY: `index` is below `BUFFERS`, so the result is inside the allocation.
        unsafe { self.memory.add(usize::from(index) * READ_LEN) }
    }

    fn provide(&mut self, index: u16) {
        let len = u32::try_from(READ_LEN).expect("a small constant");
        self.buffers.provide(index, self.start(index), len);
        self.free += 1;
    }

    fn receive(&mut self) -> io::Result<()> {
        self.receiving = true;
        let receive = RecvMsgMulti::new(self.fd, self.header, GROUP).build();
        self.submit(&receive.user_data(RECEIVE))
    }

    fn received(&mut self, cqe: &cqueue::Entry) -> io::Result<()> {
        self.receiving = cqueue::more(cqe.flags());
        let Some(index) = cqueue::buffer_select(cqe.flags()) else { return Ok(()) };
        self.free -= 1;
        let len = usize::try_from(cqe.result()).unwrap_or_default();
        // SAFETY: the kernel has filled this much of the buffer and is done with it.
        let bytes = unsafe { slice::from_raw_parts(self.start(index).as_ptr(), len) };
        let Ok(packet) = RecvMsgOut::parse(bytes, self.header) else {
            self.provide(index);
            return Ok(());
        };
        let (payload, name) = (packet.payload_data(), packet.name_data());
        let joined = Control::read(packet.control_data()).joined();
        let joined = joined.filter(|&size| usize::from(size) < payload.len());
        let outgoing = &mut self.outgoing[usize::from(index)];
        outgoing.control = joined.map_or(Control::NONE, Control::cut);
        outgoing.slice =
            libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        outgoing.header = libc::msghdr {
            msg_name: name.as_ptr().cast_mut().cast(),
            msg_namelen: u32::try_from(name.len()).expect("no longer than an address"),
            msg_iov: &raw mut outgoing.slice,
            msg_iovlen: 1,
            msg_control: ptr::from_mut(&mut outgoing.control).cast(),
            msg_controllen: joined.map_or(0, |_| Control::LEN),
            msg_flags: 0,
        };
        let send = SendMsg::new(self.fd, &raw const outgoing.header).build();
        self.submit(&send.user_data(index.into()))
    }

    fn run(&mut self) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            if !self.receiving && self.free > 0 {
                self.receive()?;
            }
            wait(&mut self.ring, &mut batch)?;
            for cqe in batch.drain(..) {
                match u16::try_from(cqe.user_data()) {
                    // A packet that could not be sent is lost, as packets are.
                    Ok(index) => self.provide(index),
                    Err(_) => self.received(&cqe)?,
                }
            }
        }
    }
}

fn no_header() -> libc::msghdr {
    // SAFETY: all of its fields are numbers and pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let socket = bind_udp()?;
    setsockopt(&socket, UdpGroSegment, &true)?;
    let ring = ring()?;
    let buffers = BufferRing::register(&ring, BUFFERS, 0)?;
    let memory = zeroed_pages(usize::from(BUFFERS) * READ_LEN);
    let name_len = u32::try_from(size_of::<libc::sockaddr_in>()).expect("an address is short");
    let header = Box::leak(Box::new(libc::msghdr {
        msg_namelen: name_len,
        msg_controllen: Control::LEN,
        ..no_header()
    }));
    let outgoing = || Outgoing {
        header: no_header(),
        slice: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
        control: Control::NONE,
    };
    let outgoing = (0..BUFFERS).map(|_| outgoing()).collect();
    announce(task, Place::Ip(socket.local_addr()?))?;
    let fd = Fd(socket.as_raw_fd());
    let (receiving, free) = (false, 0);
    let mut server = Server { ring, fd, buffers, memory, header, outgoing, receiving, free };
    for index in 0..BUFFERS {
        server.provide(index);
    }
    server.run()
}
