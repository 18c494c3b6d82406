//! Standard input, read by a thread of its own, as fast as the peer takes it.
//!
//! Invariant: the thread reads only after it was told that there is room, so no more than one chunk
//! waits beyond the process's own queue.

use std::{
    io::{self, Read as _},
    sync::mpsc::{Receiver, Sender, channel},
};

use netproc::{Handle, Process, ProcessId, Runtime};

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;

/// Lets the reading thread go on.
pub(crate) struct Pump {
    room: Sender<()>,
}

impl Pump {
    /// Starts the thread; it waits for [`more`](Self::more).
    pub(crate) fn start(process: &Process, crlf: bool) -> io::Result<Self> {
        let (room, wait) = channel();
        let (handle, id) = (process.runtime().handle(), process.id());
        let thread = std::thread::Builder::new().name("stdin".into());
        // Never joined: it may sit in a read for ever, and ends with the program.
        thread.spawn(move || read(&wait, &handle, id, crlf))?;
        Ok(Self { room })
    }

    /// There is room for another chunk.
    pub(crate) fn more(&self) {
        // The thread is gone when standard input has ended.
        let _ = self.room.send(());
    }
}

fn read(room: &Receiver<()>, handle: &Handle, id: ProcessId, crlf: bool) {
    let mut chunk = vec![0; CHUNK];
    while room.recv().is_ok() {
        // An unreadable input is at its end.
        let len = io::stdin().lock().read(&mut chunk).unwrap_or(0);
        let bytes = if crlf { with_crlf(&chunk[..len]) } else { chunk[..len].to_vec() };
        let posted = handle.post(move |rt| hand_over(rt, id, bytes));
        if len == 0 || posted.is_err() {
            return;
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

/// On the runtime's thread: sends the chunk, or ends the sending direction.
fn hand_over(rt: &Runtime, id: ProcessId, bytes: Vec<u8>) {
    let Some(process) = rt.process_by_id(id) else { return };
    if bytes.is_empty() {
        // Refused only when the connection is over, which its sentinel hears.
        let _ = process.send_eof();
    } else if process.send(bytes).is_ok() {
        process.notify_drained();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_two_bytes() {
        assert_eq!(with_crlf(b"a\nb\r\n\n"), b"a\r\nb\r\r\n\r\n");
    }
}
