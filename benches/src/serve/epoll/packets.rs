//! Datagrams by the batch: `recvmmsg`, then `sendmmsg` of the same; packets of one sender come joined
//! and go back joined (`UDP_GRO`, `UDP_SEGMENT`). Edge-triggered; a batch that is not full is the last.

#![expect(unsafe_code, reason = "lists of messages for the kernel; argued at each block")]

use std::{
    io, mem,
    os::fd::{AsRawFd as _, RawFd},
    ptr,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{setsockopt, sockopt::UdpGroSegment},
    },
};

use crate::serve::{Place, READ_LEN, Task, announce, bind_udp, joined::Control};

const BATCH: usize = 32;

/// Messages of a batch: what the kernel is told of them, and where they lie.
struct Batch {
    messages: [libc::mmsghdr; BATCH],
    slices: [libc::iovec; BATCH],
    names: [libc::sockaddr_in; BATCH],
    controls: [Control; BATCH],
    packets: Vec<[u8; READ_LEN]>,
}

impl Batch {
    fn new() -> Box<Self> {
        // SAFETY: all of these are numbers and pointers, for which zero is a value.
        let (message, name) = unsafe { mem::zeroed::<(libc::mmsghdr, libc::sockaddr_in)>() };
        Box::new(Self {
            messages: [message; BATCH],
            slices: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH],
            names: [name; BATCH],
            controls: [Control::NONE; BATCH],
            packets: vec![[0; READ_LEN]; BATCH],
        })
    }

    /// Points message `index` to its memory, of which `len` bytes count, and `control_len` of control.
    fn point(&mut self, index: usize, len: usize, control_len: usize) {
        self.slices[index] =
            libc::iovec { iov_base: self.packets[index].as_mut_ptr().cast(), iov_len: len };
        let header = &mut self.messages[index].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
        header.msg_namelen = u32::try_from(size_of::<libc::sockaddr_in>()).expect("a short one");
        header.msg_iov = &raw mut self.slices[index];
        header.msg_iovlen = 1;
        header.msg_control = ptr::from_mut(&mut self.controls[index]).cast();
        header.msg_controllen = control_len;
    }

    /// Reads what is there; returns how many messages that were.
    fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        for index in 0..BATCH {
            self.controls[index] = Control::NONE;
            self.point(index, READ_LEN, Control::LEN);
        }
        let count = u32::try_from(BATCH).expect("a small constant");
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: all messages point to memory of this batch, of the lengths they say.
        let count = unsafe {
            libc::recvmmsg(fd, self.messages.as_mut_ptr(), count, flags, ptr::null_mut())
        };
        match Errno::result(count) {
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            received => Ok(usize::try_from(received?).unwrap_or(0)),
        }
    }

    /// Sends the first `count` messages back; what the socket does not take is lost, as packets are.
    fn send(&mut self, fd: RawFd, count: usize) -> io::Result<()> {
        for index in 0..count {
            let len = self.messages[index].msg_len as usize;
            let joined = self.controls[index].joined().filter(|&size| usize::from(size) < len);
            self.controls[index] = joined.map_or(Control::NONE, Control::cut);
            self.point(index, len, joined.map_or(0, |_| Control::LEN));
        }
        let mut sent = 0;
        while sent < count {
            let rest = &mut self.messages[sent..count];
            let len = u32::try_from(rest.len()).expect("no more than a batch");
            // SAFETY: all messages point to memory of this batch, of the lengths they say.
            let taken = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), len, libc::MSG_DONTWAIT) };
            match Errno::result(taken) {
                Err(Errno::EAGAIN) => break,
                taken => sent += usize::try_from(taken?).unwrap_or(0),
            }
        }
        Ok(())
    }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let socket = bind_udp()?;
    setsockopt(&socket, UdpGroSegment, &true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    announce(task, Place::Ip(socket.local_addr()?))?;
    let mut batch = Batch::new();
    let mut events = [EpollEvent::empty()];
    loop {
        match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => {}
            waited => drop(waited?),
        }
        loop {
            let count = batch.receive(socket.as_raw_fd())?;
            batch.send(socket.as_raw_fd(), count)?;
            if count < BATCH {
                break;
            }
        }
    }
}
