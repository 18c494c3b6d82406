//! Standard input and output as whole reads and writes, also where they do not block.
//!
//! Invariant: an interrupted or unready call is tried again, so every error that comes out is one.
//! Whoever shares a terminal with us may have set it non-blocking.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Write as _},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The same open file, without std's buffer before it.
pub(crate) fn unbuffered(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Reads what is there, waiting for it; 0 is the end.
pub(super) fn read(mut file: &File, chunk: &mut [u8]) -> io::Result<usize> {
    until_ready(file, PollFlags::POLLIN, || file.read(chunk))
}

/// Writes all of `bytes`.
pub(super) fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match until_ready(file, PollFlags::POLLOUT, || file.write(bytes))? {
            0 => return Err(ErrorKind::WriteZero.into()),
            len => bytes = &bytes[len..],
        }
    }
    Ok(())
}

/// Repeats `attempt` until it is neither interrupted nor too early.
fn until_ready(
    file: &File,
    awaited: PollFlags,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                // Whatever this says, interrupted included, the next attempt says it better.
                let _ = poll(&mut [PollFd::new(file.as_fd(), awaited)], PollTimeout::NONE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_attempt_is_repeated_and_an_error_is_not() {
        let null = File::open("/dev/null").unwrap();
        let mut left = vec![Err(ErrorKind::IsADirectory), Ok(3), Err(ErrorKind::Interrupted)];
        let mut attempt = || left.pop().expect("three are enough").map_err(io::Error::from);
        assert_eq!(until_ready(&null, PollFlags::POLLIN, &mut attempt).unwrap(), 3);
        let failed = until_ready(&null, PollFlags::POLLIN, &mut attempt).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::IsADirectory);
    }
}
