//! What a gathered or addressed send points to: header, parts and address, boxed per socket.
//!
//! Invariant: while the kernel has the message nobody fills it again, and it does not move: it lives
//! in a `Box` of its own, made once per socket, at the first send that needs one.

use std::io;

use netproc_core::{
    outbox::{APART_MIN, Outbox, Packet, SEND_LEN_MAX},
    socket::to_sockaddr,
};
use socket2::SockAddr;

use crate::ring::empty_header;

/// The most payloads one gathered send takes.
pub(crate) const PARTS_MAX: usize = 16;

const _: () = assert!(PARTS_MAX <= APART_MIN, "behind those a queue joins what is small");

/// The memory of one `sendmsg`.
pub(crate) struct Message {
    header: libc::msghdr,
    parts: [libc::iovec; PARTS_MAX],
    to: Option<SockAddr>,
}

impl Message {
    pub(crate) fn boxed() -> Box<Self> {
        let part = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Self { header: empty_header(), parts: [part; PARTS_MAX], to: None })
    }

    /// What the kernel gets; valid while the box stays and is not filled again.
    pub(crate) fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }

    /// Points at the first payloads of `outbox`; returns how many bytes they have.
    pub(crate) fn gather(&mut self, outbox: &Outbox) -> usize {
        let (mut count, mut total) = (0, 0);
        for (part, chunk) in self.parts.iter_mut().zip(outbox.first_chunks(SEND_LEN_MAX)) {
            *part = iovec(chunk);
            (count, total) = (count + 1, total + chunk.len());
        }
        self.point(count);
        total
    }

    /// Points at one packet and its destination.
    ///
    /// # Errors
    ///
    /// The destination does not fit the system's structure.
    pub(crate) fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        self.to = packet.to.as_ref().map(to_sockaddr).transpose()?;
        self.parts[0] = iovec(packet.payload.as_slice());
        self.point(1);
        if let Some(to) = &self.to {
            self.header.msg_name = to.as_ptr().cast_mut().cast();
            self.header.msg_namelen = to.len();
        }
        Ok(())
    }

    fn point(&mut self, count: usize) {
        self.header = empty_header();
        self.header.msg_iov = self.parts.as_mut_ptr();
        self.header.msg_iovlen = sized(count);
    }
}

/// The type of the count differs from libc to libc.
fn sized<T: TryFrom<usize>>(count: usize) -> T {
    T::try_from(count).ok().expect("sixteen fits every integer")
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}
