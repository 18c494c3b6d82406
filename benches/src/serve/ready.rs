//! A connection for servers that are told of readiness: what raw epoll and mio have in common.
//!
//! Invariant: nothing is read while there is something to send, so a peer that does not read costs no
//! memory; what a peer does wrong ends its connection alone.

use std::io::{self, Read, Write};

use crate::{job::Part, oneway::State};

/// When reading stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Until {
    /// At a read that did not fill the buffer, which epoll(7) says is enough.
    Short,
    /// When the socket says that there is no more.
    WouldBlock,
}

pub(super) struct Connection<S> {
    pub(super) stream: S,
    state: State,
    /// What the socket would not take.
    unsent: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    pub(super) fn new(stream: S, part: Part) -> Self {
        Self { stream, state: State::new(part), unsent: Vec::new() }
    }

    /// Whether room to write is of use: only what waits, or is owed, goes out then.
    pub(super) fn waits_for_room(&self) -> bool {
        let owes = matches!(&self.state, State::Source(owed) if owed.chunk().is_some());
        owes || !self.unsent.is_empty()
    }

    /// Serves until nothing is left to read or the socket takes no more; returns whether the
    /// connection goes on.
    pub(super) fn serve(&mut self, buffer: &mut [u8], until: Until) -> io::Result<bool> {
        loop {
            if !self.flush()? {
                return Ok(true);
            }
            let len = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(len) => len,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(err) => return Err(err),
            };
            match &mut self.state {
                State::Echo => self.send(&buffer[..len])?,
                State::Sink(received) => {
                    if let Some(answer) = received.add(len) {
                        self.send(answer)?;
                    }
                }
                State::Source(owed) => owed.add(len),
            }
            if until == Until::Short && len < buffer.len() {
                return self.flush().map(|_| true);
            }
        }
    }

    /// Writes as much as the socket takes and keeps the rest.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = write(&mut self.stream, bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits; returns whether all of it went.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent)?;
            if !self.unsent.is_empty() {
                return Ok(false);
            }
        }
        let State::Source(owed) = &mut self.state else { return Ok(true) };
        while let Some(chunk) = owed.chunk() {
            let sent = write(&mut self.stream, chunk)?;
            owed.sent(sent);
            if sent < chunk.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns how many bytes the socket took.
fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and has one to read.
    struct Narrow(usize);

    impl Read for Narrow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer[0] = b'?';
            Ok(1)
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.0);
            self.0 -= len;
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_has_sent_everything_has_no_use_for_room() {
        for (part, room, waits) in
            [(Part::Echo, 1, false), (Part::Echo, 0, true), (Part::Source, 1000, true)]
        {
            let mut connection = Connection::new(Narrow(room), part);
            assert!(!connection.waits_for_room());
            assert!(connection.serve(&mut [0; 2], Until::Short).unwrap());
            assert_eq!(connection.waits_for_room(), waits, "{part:?}, {room}");
        }
    }
}
