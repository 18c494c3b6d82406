//! Standard input, read by a thread of its own, as fast as the peer takes it.
//!
//! Invariant: the thread reads only after it was told that there is room, so no more than one chunk
//! waits beyond the process's own queue.

use std::{
    borrow::Cow,
    fs::File,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use netproc::{
    Coding, Decoder, Handle, Process, ProcessId, Runtime, SendError, SendTextError, Text,
};

use super::{End, stdio};
use crate::say;

/// Lets the reading thread go on.
pub(super) struct Pump {
    room: Sender<()>,
    progress: Arc<Progress>,
}

/// How far standard input has got.
#[derive(Debug, Default)]
pub(super) struct Progress {
    chunks: AtomicU64,
    over: AtomicBool,
    cut: AtomicBool,
}

impl Progress {
    /// How many chunks were handed over.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Whether it has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// It counts as sent, whatever may still come.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

/// What becomes of standard input.
#[derive(Debug)]
pub(crate) struct Form {
    /// It is UTF-8, and goes to this peer in the coding of the process.
    pub(crate) text_to: Option<String>,
    /// Every LF gets a CR before it, unless it has one.
    pub(crate) crlf: bool,
    /// Set once characters were replaced, and that was said.
    pub(crate) replaced: Arc<AtomicBool>,
}

/// What was read and goes out next.
enum Chunk {
    Bytes(Vec<u8>),
    Text(Text),
}

/// What the reading thread works with.
struct Reader {
    input: File,
    /// Bytes of one read.
    chunk_len: usize,
    form: Form,
    /// The last byte read before was a CR.
    behind_cr: bool,
    /// Keeps characters together that a read has cut; bytes that are none stay what they are.
    decoder: Decoder,
    handle: Handle,
    id: ProcessId,
    ended: Arc<OnceLock<End>>,
    progress: Arc<Progress>,
}

impl Pump {
    /// Starts the thread, which sends `chunk_len` bytes at most at once; it waits for
    /// [`more`](Self::more).
    pub(super) fn start(
        process: &Process,
        chunk_len: usize,
        form: Form,
        ended: Arc<OnceLock<End>>,
    ) -> io::Result<Self> {
        let (room, wait) = channel();
        let progress = Arc::<Progress>::default();
        let reader = Reader {
            input: stdio::unbuffered(io::stdin())?,
            // Every byte may become two.
            chunk_len: if form.crlf { chunk_len / 2 } else { chunk_len },
            form,
            behind_cr: false,
            decoder: Coding::default().decoder(),
            handle: process.runtime().handle(),
            id: process.id(),
            ended,
            progress: Arc::clone(&progress),
        };
        let thread = std::thread::Builder::new().name("stdin".into());
        // Never joined: it may sit in a read for ever, and ends with the program.
        thread.spawn(move || reader.run(&wait))?;
        Ok(Self { room, progress })
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// There is room for another chunk.
    pub(super) fn more(&self) {
        // The thread is gone when standard input has ended.
        let _ = self.room.send(());
    }
}

impl Reader {
    fn run(mut self, room: &Receiver<()>) {
        let mut chunk = vec![0; self.chunk_len];
        while room.recv().is_ok() {
            let read = stdio::read(&self.input, &mut chunk);
            let last = !matches!(read, Ok(1..));
            let chunk = read.map(|len| self.formed(&chunk[..len]));
            let sender = self.sender();
            let posted = self.handle.post(move |rt| sender.hand_over(rt, chunk, last));
            if last || posted.is_err() {
                return;
            }
        }
    }

    /// What goes out for one read; for the last, which is empty, what was kept of the reads before.
    fn formed(&mut self, bytes: &[u8]) -> Chunk {
        let bytes = if self.form.crlf {
            Cow::Owned(with_crlf(bytes, &mut self.behind_cr))
        } else {
            Cow::Borrowed(bytes)
        };
        if self.form.text_to.is_none() {
            return Chunk::Bytes(bytes.into_owned());
        }
        let mut text = Text::with_capacity(bytes.len());
        if bytes.is_empty() {
            self.decoder.finish(&mut text);
        } else {
            self.decoder.decode(&bytes, &mut text);
        }
        Chunk::Text(text)
    }

    fn sender(&self) -> Sending {
        let peer = self.form.text_to.clone();
        let (ended, replaced) = (Arc::clone(&self.ended), Arc::clone(&self.form.replaced));
        let progress = Arc::clone(&self.progress);
        Sending { id: self.id, peer, ended, replaced, progress }
    }
}

/// What the runtime's thread needs to send a chunk.
struct Sending {
    id: ProcessId,
    /// Whose coding may not express all.
    peer: Option<String>,
    ended: Arc<OnceLock<End>>,
    replaced: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

impl Sending {
    /// Sends the chunk, after the `last` of them ends the sending direction; or ends everything.
    fn hand_over(&self, rt: &Runtime, read: io::Result<Chunk>, last: bool) {
        let Some(process) = rt.process_by_id(self.id) else { return };
        self.progress.chunks.fetch_add(1, Ordering::Relaxed);
        self.progress.over.store(last, Ordering::Relaxed);
        let problem = match read.map(|chunk| self.send(&process, chunk)) {
            Err(err) => format!("standard input: {err}"),
            // It was taken for sent, since there was nothing for a while.
            Ok(Err(SendTextError::Send(SendError::Finished))) if self.progress.is_cut() => {
                "standard input had more when the peer had ended".into()
            }
            // The connection is over, or about to be, which its sentinel hears.
            Ok(Err(SendTextError::Send(SendError::Finished | SendError::NotOpen(_)))) => return,
            Ok(Err(err)) => err.to_string(),
            Ok(Ok(())) if last => {
                // Refused only when the connection is over, which its sentinel hears.
                let _ = process.send_eof();
                return;
            }
            Ok(Ok(())) => return process.notify_drained(),
        };
        // If there was an end already, this is but its consequence.
        let _ = self.ended.set(End::Broken(problem));
        rt.shutdown();
    }

    /// Sends one chunk. An empty one would be a packet, where packets are sent, and nothing elsewhere.
    fn send(&self, process: &Process, chunk: Chunk) -> Result<(), SendTextError> {
        match chunk {
            Chunk::Bytes(bytes) if bytes.is_empty() => {}
            Chunk::Text(text) if text.is_empty() => {}
            Chunk::Bytes(bytes) => _ = process.send(bytes)?,
            Chunk::Text(text) => {
                let (_, report) = process.send_text(&text)?;
                if report.replaced > 0 {
                    self.say_replaced(process);
                }
            }
        }
        Ok(())
    }

    /// Says that not everything could be sent as it is: once, since the next may be like it.
    fn say_replaced(&self, process: &Process) {
        if let (Some(peer), false) = (&self.peer, self.replaced.swap(true, Ordering::Relaxed)) {
            let coding = process.coding().unwrap_or_default().encoder().system();
            say(&format_args!("{peer}: {coding} cannot express every character; replaced"));
        }
    }
}

/// Every LF with a CR before it, a new one where there is none; `behind_cr` goes on from one read to the next.
fn with_crlf(bytes: &[u8], behind_cr: &mut bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for &byte in bytes {
        if byte == b'\n' && !*behind_cr {
            out.push(b'\r');
        }
        *behind_cr = byte == b'\r';
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_two_bytes() {
        let text = b"a\nb\r\n\n\r\r\n\rc\r\n";
        // However it is cut into reads, and though the last of them is empty.
        for len in 1..=text.len() {
            let mut behind_cr = false;
            let mut out: Vec<u8> =
                text.chunks(len).flat_map(|read| with_crlf(read, &mut behind_cr)).collect();
            out.extend(with_crlf(b"", &mut behind_cr));
            assert_eq!(out, b"a\r\nb\r\n\r\n\r\r\n\rc\r\n", "{len}");
        }
    }
}
