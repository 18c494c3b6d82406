//! Standard input, read by a thread of its own, as fast as the peer takes it.
//!
//! Invariant: the thread reads only after it was told that there is room, so no more than one chunk
//! waits beyond the process's own queue.

use std::{
    fs::File,
    io,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
};

use netproc::{Handle, Process, ProcessId, Runtime, SendError};

use super::{End, stdio};

/// Lets the reading thread go on.
pub(crate) struct Pump {
    room: Sender<()>,
}

/// What the reading thread works with.
struct Reader {
    input: File,
    /// Bytes of one read.
    chunk_len: usize,
    crlf: bool,
    handle: Handle,
    id: ProcessId,
    ended: Arc<OnceLock<End>>,
}

impl Pump {
    /// Starts the thread, which sends `chunk_len` bytes at most at once; it waits for
    /// [`more`](Self::more).
    pub(crate) fn start(
        process: &Process,
        chunk_len: usize,
        crlf: bool,
        ended: Arc<OnceLock<End>>,
    ) -> io::Result<Self> {
        let (room, wait) = channel();
        let reader = Reader {
            input: stdio::unbuffered(io::stdin())?,
            // Every byte may become two.
            chunk_len: if crlf { chunk_len / 2 } else { chunk_len },
            crlf,
            handle: process.runtime().handle(),
            id: process.id(),
            ended,
        };
        let thread = std::thread::Builder::new().name("stdin".into());
        // Never joined: it may sit in a read for ever, and ends with the program.
        thread.spawn(move || reader.run(&wait))?;
        Ok(Self { room })
    }

    /// There is room for another chunk.
    pub(crate) fn more(&self) {
        // The thread is gone when standard input has ended.
        let _ = self.room.send(());
    }
}

impl Reader {
    fn run(self, room: &Receiver<()>) {
        let mut chunk = vec![0; self.chunk_len];
        while room.recv().is_ok() {
            let read = stdio::read(&self.input, &mut chunk);
            let last = !matches!(read, Ok(1..));
            let bytes =
                read.map(
                    |len| {
                        if self.crlf { with_crlf(&chunk[..len]) } else { chunk[..len].to_vec() }
                    },
                );
            let (id, ended) = (self.id, Arc::clone(&self.ended));
            let posted = self.handle.post(move |rt| hand_over(rt, id, bytes, &ended));
            if last || posted.is_err() {
                return;
            }
        }
    }
}

/// Every LF with a CR before it.
fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for &byte in bytes {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

/// On the runtime's thread: sends the chunk, or ends the sending direction, or everything.
fn hand_over(rt: &Runtime, id: ProcessId, read: io::Result<Vec<u8>>, ended: &OnceLock<End>) {
    let Some(process) = rt.process_by_id(id) else { return };
    let problem = match read {
        Err(err) => format!("standard input: {err}"),
        Ok(bytes) if bytes.is_empty() => {
            // Refused only when the connection is over, which its sentinel hears.
            let _ = process.send_eof();
            return;
        }
        Ok(bytes) => match process.send(bytes) {
            Ok(_) => return process.notify_drained(),
            // The connection is over, which its sentinel hears.
            Err(SendError::NotOpen(_) | SendError::Finished) => return,
            Err(err) => err.to_string(),
        },
    };
    // If there was an end already, this is but its consequence.
    let _ = ended.set(End::Broken(problem));
    rt.shutdown();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_two_bytes() {
        assert_eq!(with_crlf(b"a\nb\r\n\n"), b"a\r\nb\r\r\n\r\n");
    }
}
