//! Bytes of a stream in and out, by calls that do not wait.
//!
//! Invariant: one call, one system call, on a slice that lives until it returns. On Linux it is made
//! past the C library, whose own `recv` and `send` are points of cancellation: in a program with
//! threads each of them locks a word before and after, which costs more instructions than all that a
//! message costs here besides. Nobody cancels a thread of Rust.

#![expect(unsafe_code, reason = "no library makes these calls without points of cancellation")]

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd as _,
};

use socket2::Socket;

use crate::outbox::{Outbox, SEND_LEN_MAX};

/// The flag of every call here, and for sending that no signal is raised; Apple's systems have an
/// option of the socket for the latter.
const RECV_FLAGS: libc::c_int = libc::MSG_DONTWAIT;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT;
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// No address, in a whole register: what is passed on may be as wide as a pointer.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const NOBODY: *const libc::sockaddr = std::ptr::null();

/// Reads what is there into `room`; returns how many bytes that were, 0 at the peer's end.
///
/// # Errors
///
/// What `recv(2)` says, as its number: `EAGAIN` when nothing is there, `EINTR` after a signal.
///
/// # Source
///
/// `recv(2)`.
#[inline]
pub fn recv(socket: &Socket, room: &mut [u8]) -> Result<usize, i32> {
    let (fd, start, len) = (socket.as_raw_fd(), room.as_mut_ptr(), room.len());
    // SAFETY: a plain system call that writes at most `len` bytes from `start` on, which are `room`'s.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    let result =
        unsafe { libc::syscall(libc::SYS_recvfrom, fd, start, len, RECV_FLAGS, NOBODY, NOBODY) };
    // SAFETY: likewise.
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    let result = unsafe { libc::recv(fd, start.cast(), len, RECV_FLAGS) };
    usize::try_from(result).map_err(|_| errno())
}

/// Sends as much of `bytes` as there is room for; returns how much that was.
///
/// # Errors
///
/// What `send(2)` says, as its number: `EAGAIN` without room, `EINTR` after a signal.
///
/// # Source
///
/// `send(2)`.
#[inline]
pub fn send(socket: &Socket, bytes: &[u8]) -> Result<usize, i32> {
    let (fd, start, len) = (socket.as_raw_fd(), bytes.as_ptr(), bytes.len());
    // SAFETY: a plain system call that reads at most `len` bytes from `start` on, which are `bytes`'.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    let result =
        unsafe { libc::syscall(libc::SYS_sendto, fd, start, len, SEND_FLAGS, NOBODY, 0_usize) };
    // SAFETY: likewise.
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    let result = unsafe { libc::send(fd, start.cast(), len, SEND_FLAGS) };
    usize::try_from(result).map_err(|_| errno())
}

/// Payloads that one call gathers.
const GATHER_MAX: usize = 16;

/// Sends as much of the front of `outbox`, of [`SEND_LEN_MAX`] bytes at most, as there is room for; returns how
/// much was offered with how much that was.
///
/// # Errors
///
/// As [`send`], beside how much was offered.
///
/// # Source
///
/// `sendmsg(2)`.
pub fn send_front(socket: &Socket, outbox: &Outbox) -> (usize, Result<usize, i32>) {
    let mut slices = [IoSlice::new(&[]); GATHER_MAX];
    let (mut count, mut total) = (0, 0);
    for (slice, chunk) in slices.iter_mut().zip(outbox.first_chunks(SEND_LEN_MAX)) {
        *slice = IoSlice::new(chunk);
        (count, total) = (count + 1, total + chunk.len());
    }
    let sent = socket.send_vectored_with_flags(&slices[..count], SEND_FLAGS);
    (total, sent.map_err(|err| number(&err)))
}

#[cold]
fn errno() -> i32 {
    number(&io::Error::last_os_error())
}

fn number(err: &io::Error) -> i32 {
    err.raw_os_error().unwrap_or(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Payload;
    use socket2::{Domain, Type};

    #[test]
    fn bytes_pass_and_nothing_waits() {
        let (a, b) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let mut room = [0; 8];
        assert_eq!(recv(&a, &mut room), Err(libc::EAGAIN));
        assert_eq!(send(&b, b"hello"), Ok(5));
        assert_eq!(recv(&a, &mut room[..3]), Ok(3));
        assert_eq!(recv(&a, &mut room[3..]), Ok(2));
        assert_eq!(&room[..5], b"hello");
        let full = std::iter::repeat_with(|| send(&b, &[0; 65_536])).find_map(Result::err);
        assert_eq!(full, Some(libc::EAGAIN));
        drop(a);
        assert_eq!(send(&b, b"gone"), Err(libc::EPIPE), "and no signal");
    }

    #[test]
    fn the_front_of_a_queue_goes_in_one_call_of_a_bounded_length() {
        let (a, b) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let mut outbox = Outbox::default();
        outbox.push(Payload::Static(b"one"));
        outbox.push(Payload::Static(b"two"));
        assert_eq!(send_front(&b, &outbox), (6, Ok(6)));
        let mut room = [0; 8];
        assert_eq!(recv(&a, &mut room), Ok(6));
        assert_eq!(&room[..6], b"onetwo");
        outbox.push(vec![0; SEND_LEN_MAX].into());
        assert_eq!(send_front(&b, &outbox).0, SEND_LEN_MAX, "of the last no more than fits");
        drop(a);
        assert_eq!(send_front(&b, &outbox), (SEND_LEN_MAX, Err(libc::EPIPE)));
    }

    #[test]
    fn the_end_is_no_byte() {
        let (a, b) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        drop(b);
        assert_eq!(recv(&a, &mut [0; 8]), Ok(0));
    }
}
