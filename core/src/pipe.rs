//! Reading and writing of pipes and terminals, for every backend the same way.
//!
//! Invariant: nothing here waits, and nothing raises SIGPIPE. `MSG_NOSIGNAL`, which sees to that for
//! sockets, has no counterpart for pipes, and what a program does about a signal is its own business. So
//! on Linux the signal is blocked in this thread for as long as the write takes, and taken back if it came;
//! nothing of the program's disposition is touched, nor is a mask left changed. Elsewhere nothing is done:
//! a Rust program ignores SIGPIPE unless it was told otherwise.

use std::{io::IoSlice, os::fd::AsFd};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout},
};

use crate::reactor::{Op, SysError};

/// Why nothing more goes into a pipe: nobody reads it.
pub const UNREAD: SysError = SysError { op: Op::Send, errno: libc::EPIPE };

/// Reads what there is, at most as much as there is room for; 0 at the end.
///
/// `EIO` is how Linux says that nobody has the other side of a terminal open any more: that is the end, once
/// a second look found nothing either (see [`has_input`]).
///
/// # Errors
///
/// `EAGAIN` when there is nothing now and the descriptor does not wait; else what `read(2)` says.
///
/// # Examples
///
/// ```
/// let (output, input) = std::io::pipe()?;
/// netproc_core::pipe::write(&input, &[std::io::IoSlice::new(b"hello")])?;
/// let mut room = [0; 9];
/// assert_eq!(netproc_core::pipe::read(&output, &mut room)?, 5);
/// drop(input);
/// assert_eq!(netproc_core::pipe::read(&output, &mut room)?, 0);
/// # std::io::Result::Ok(())
/// ```
pub fn read(fd: impl AsFd, room: &mut [u8]) -> nix::Result<usize> {
    until_sure(|| nix::unistd::read(&fd, room))
}

fn until_sure(mut read: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    let mut gone = false;
    loop {
        match read() {
            Err(Errno::EINTR) => {}
            Err(Errno::EIO) if gone => return Ok(0),
            Err(Errno::EIO) => gone = true,
            result => return result,
        }
    }
}

/// Whether a read would bring something now; on Linux an end is nothing.
///
/// Linux looks into a terminal first and then for whether its other side is still open. Whoever writes the
/// last and closes between the two is told of with `EIO`, and what it wrote is still to be read.
///
/// # Examples
///
/// ```
/// let (output, input) = std::io::pipe()?;
/// assert!(!netproc_core::pipe::has_input(&output));
/// netproc_core::pipe::write(&input, &[std::io::IoSlice::new(b"hello")])?;
/// drop(input);
/// assert!(netproc_core::pipe::has_input(&output));
/// # std::io::Result::Ok(())
/// ```
#[must_use]
pub fn has_input(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let polled = nix::poll::poll(&mut fds, PollTimeout::ZERO);
    let readable = |fd: &PollFd<'_>| fd.revents().is_some_and(|ev| ev.contains(PollFlags::POLLIN));
    polled.is_ok() && fds.iter().any(readable)
}

/// Writes as much as there is room for, of all slices in their order.
///
/// # Errors
///
/// `EAGAIN` when there is no room now and the descriptor does not wait; `EPIPE` when nobody reads any
/// more; else what `writev(2)` says.
pub fn write(fd: impl AsFd, slices: &[IoSlice<'_>]) -> nix::Result<usize> {
    loop {
        match without_sigpipe(|| nix::sys::uio::writev(&fd, slices)) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The most bytes that can wait to be read: what was written before a certain time is among the next so many.
#[must_use]
pub fn capacity(fd: impl AsFd) -> u64 {
    // A terminal's buffers are smaller than that, and so are the pipes of systems that do not tell.
    const MOST: u64 = 1 << 20;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let told = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETPIPE_SZ);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let told = {
        let _ = fd;
        Err::<i32, _>(Errno::EINVAL)
    };
    told.ok().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(MOST)
}

/// Makes a descriptor one that never waits.
///
/// # Errors
///
/// What `fcntl(2)` says.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), SysError> {
    use nix::fcntl::FcntlArg::{F_GETFL, F_SETFL};
    let set = nix::fcntl::fcntl(&fd, F_GETFL).and_then(|flags| {
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&fd, F_SETFL(flags))
    });
    set.map(drop).map_err(|err| SysError { op: Op::Open, errno: err as i32 })
}

#[cfg(target_os = "linux")]
fn without_sigpipe<T>(write: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    let mut sigpipe = SigSet::empty();
    sigpipe.add(Signal::SIGPIPE);
    let before = sigpipe.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let result = write();
    if before.contains(Signal::SIGPIPE) {
        // Whoever blocks it looks for it, perhaps.
        return result;
    }
    if matches!(result, Err(Errno::EPIPE)) {
        // It is pending for this thread now, even where it is ignored, so this does not wait.
        let _taken = sigpipe.wait();
    }
    // Can fail for an invalid argument only.
    let _restored = before.thread_set_mask();
    result
}

#[cfg(not(target_os = "linux"))]
fn without_sigpipe<T>(write: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
    write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_and_no_signal() {
        let (output, input) = std::io::pipe().unwrap();
        drop(output);
        for _ in 0..3 {
            assert_eq!(write(&input, &[IoSlice::new(b"x")]), Err(Errno::EPIPE));
        }
    }

    #[test]
    fn no_more_waits_than_the_capacity() {
        let (output, input) = std::io::pipe().unwrap();
        set_nonblocking(&input).unwrap();
        let mut total = 0;
        while let Ok(written) = write(&input, &[IoSlice::new(&[0; 512])]) {
            total += written as u64;
        }
        assert!((4096..=capacity(&output)).contains(&total), "{total}");
        assert_eq!(capacity(std::fs::File::open("/dev/null").unwrap()), 1 << 20, "no pipe");
    }

    #[test]
    fn the_end_of_a_terminal_has_to_be_told_twice() {
        let told = |answers: Vec<nix::Result<usize>>| {
            let mut answers = answers.into_iter();
            (until_sure(|| answers.next().unwrap()), answers.len())
        };
        let (gone, cut) = (Err(Errno::EIO), Err(Errno::EINTR));
        assert_eq!(told(vec![gone, Ok(6), gone]), (Ok(6), 1), "written in between");
        assert_eq!(told(vec![gone, cut, gone]), (Ok(0), 0));
        assert_eq!(told(vec![gone, Err(Errno::EAGAIN)]), (Err(Errno::EAGAIN), 0), "opened again");
    }

    #[test]
    fn nothing_waits() {
        let (output, input) = std::io::pipe().unwrap();
        set_nonblocking(&output).unwrap();
        set_nonblocking(&input).unwrap();
        assert_eq!(read(&output, &mut [0]), Err(Errno::EAGAIN));
        let chunk = [0; 4096];
        while write(&input, &[IoSlice::new(&chunk), IoSlice::new(&chunk)]).is_ok() {}
        assert_eq!(write(&input, &[IoSlice::new(&chunk)]), Err(Errno::EAGAIN));
    }
}
