//! From intent to submission entry, a short function each.
//!
//! Invariant: whatever an entry points to is owned by its socket (payload, boxed message, boxed
//! address) or by the reactor (header of packets, time), and stays where it is until the
//! operation's last completion; that is what [`crate::ring`] relies on. Nothing here submits.

use std::os::fd::RawFd;

use io_uring::{
    opcode, squeue,
    types::{Fd, TimeoutFlags, Timespec},
};
use socket2::SockAddr;

use crate::{message::Message, packets::PacketHeader, token::Token};

/// A submission entry over memory that its owner keeps.
#[derive(Clone)]
pub(crate) struct Sqe(squeue::Entry);

impl Sqe {
    pub(crate) fn entry(&self) -> &squeue::Entry {
        &self.0
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.0.get_user_data())
    }
}

#[inline]
fn entry(entry: squeue::Entry, token: Token) -> Sqe {
    Sqe(entry.user_data(token.0))
}

/// The kernel's flags are signed in one structure and unsigned in the other.
const fn unsigned(flags: libc::c_int) -> u32 {
    flags.cast_unsigned()
}

pub(crate) fn accept(fd: RawFd, token: Token) -> Sqe {
    entry(opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build(), token)
}

/// Of a receive, whether it waits for input where there is none.
const fn patience(waits: bool) -> libc::c_int {
    if waits { 0 } else { libc::MSG_DONTWAIT }
}

/// What there is on a stream, and unless it does not wait what comes next, as often as there is something.
pub(crate) fn recv(fd: RawFd, group: u16, waits: bool, token: Token) -> Sqe {
    entry(opcode::RecvMulti::new(Fd(fd), group).flags(patience(waits)).build(), token)
}

/// The same, once: as much as one slot of the group takes.
pub(crate) fn recv_once(fd: RawFd, group: u16, waits: bool, token: Token) -> Sqe {
    // As for `read`.
    let recv = opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0).flags(patience(waits));
    entry(recv.buf_group(group).build().flags(squeue::Flags::BUFFER_SELECT), token)
}

/// Of a pipe or a terminal, once: as much as one slot of the group takes.
pub(crate) fn read(fd: RawFd, group: u16, token: Token) -> Sqe {
    // The length is the slot's, the memory is chosen when there is something to read.
    let read = opcode::Read::new(Fd(fd), std::ptr::null_mut(), 0).buf_group(group).build();
    entry(read.flags(squeue::Flags::BUFFER_SELECT), token)
}

pub(crate) fn recv_packets(
    fd: RawFd,
    header: &PacketHeader,
    group: u16,
    waits: bool,
    token: Token,
) -> Sqe {
    // So that the header tells the length a packet had, however much of it fits.
    let flags = unsigned(libc::MSG_TRUNC | patience(waits));
    let recv = opcode::RecvMsgMulti::new(Fd(fd), header.as_ptr(), group).flags(flags);
    entry(recv.build(), token)
}

/// A stream waits for room inside the kernel, until all of it is taken.
const STREAM: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
/// A packet does not: when the kernel itself tries again after a copy that found no room, what it
/// sends is empty (seen on Linux 6.18 with local packets).
const PACKET: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

/// `bytes` belong to a payload at the front of the socket's queue.
#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8], token: Token) -> Sqe {
    let len = u32::try_from(bytes.len()).expect("at most SEND_LEN_MAX bytes");
    entry(opcode::Send::new(Fd(fd), bytes.as_ptr(), len).flags(STREAM).build(), token)
}

/// The same, but what there is room for now, and completed only if that is not all.
#[inline]
pub(crate) fn send_quietly(fd: RawFd, bytes: &[u8], token: Token) -> Sqe {
    let len = u32::try_from(bytes.len()).expect("at most SEND_LEN_MAX bytes");
    // Only what is asked to wait for all counts as failed when it falls short.
    let send = opcode::Send::new(Fd(fd), bytes.as_ptr(), len).flags(STREAM | libc::MSG_DONTWAIT);
    entry(send.build().flags(squeue::Flags::SKIP_SUCCESS), token)
}

/// `message` is boxed by its socket.
pub(crate) fn send_message(fd: RawFd, message: &Message, token: Token) -> Sqe {
    let send = opcode::SendMsg::new(Fd(fd), message.header()).flags(unsigned(STREAM));
    entry(send.build(), token)
}

/// Likewise, as one packet.
pub(crate) fn send_packet(fd: RawFd, message: &Message, token: Token) -> Sqe {
    let send = opcode::SendMsg::new(Fd(fd), message.header()).flags(unsigned(PACKET));
    entry(send.build(), token)
}

/// `to` is boxed by its socket.
pub(crate) fn connect(fd: RawFd, to: &SockAddr, token: Token) -> Sqe {
    entry(opcode::Connect::new(Fd(fd), to.as_ptr().cast(), to.len()).build(), token)
}

pub(crate) fn cancel(target: Token, token: Token) -> Sqe {
    entry(opcode::AsyncCancel::new(target.0).build(), token)
}

pub(crate) fn poll_in(fd: RawFd, multi: bool, token: Token) -> Sqe {
    let events = u32::from(libc::POLLIN.cast_unsigned());
    entry(opcode::PollAdd::new(Fd(fd), events).multi(multi).build(), token)
}

/// Of errors and ends, which every poll tells of, as often as there is news: a poll that goes on, since the peer's
/// end, which was read, completes any other at once.
pub(crate) fn poll_errors(fd: RawFd, token: Token) -> Sqe {
    entry(opcode::PollAdd::new(Fd(fd), 0).multi(true).build(), token)
}

pub(crate) fn poll_out(fd: RawFd, token: Token) -> Sqe {
    let events = u32::from(libc::POLLOUT.cast_unsigned());
    entry(opcode::PollAdd::new(Fd(fd), events).build(), token)
}

/// `time` is boxed by the reactor and absolute on no clock: it counts from now.
pub(crate) fn timeout(time: &Timespec, token: Token) -> Sqe {
    entry(opcode::Timeout::new(time).flags(TimeoutFlags::empty()).build(), token)
}
