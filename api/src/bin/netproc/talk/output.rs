//! Standard output, written by a thread of its own: whoever does not read it holds up the input that goes there, and
//! nothing else.
//!
//! Invariant: no more than [`HELD_MAX`] bytes and one input wait to be written; until they are few the process is
//! stopped, so that the peer waits.

use std::{
    fs::File,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use netproc::{Handle, Process, ProcessId};

use super::{End, stdio};

/// With more bytes than this waiting, no further input is read.
const HELD_MAX: usize = 1 << 20;
/// With no more than this waiting it goes on.
const HELD_LOW: usize = 1 << 18;
/// So much is written at a time: a pipe says nothing of more before all of it has room.
const PIECE_LEN: usize = 4096;

/// What waits for the thread, and how it fares.
#[derive(Debug)]
struct State {
    bytes: usize,
    /// The process is stopped.
    holds: bool,
    /// When something was last written.
    moved: Instant,
    /// Why nothing more is.
    failed: Option<Arc<io::Error>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How the talk ended.
    ended: Arc<OnceLock<End>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has become of all that was to be written.
#[derive(Debug)]
pub(super) enum Written {
    All,
    /// The time was over.
    Late,
    Failed(Arc<io::Error>),
}

/// How long whoever reads may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    Endless,
    /// So long for each piece.
    Moving(Duration),
    /// So long in all.
    Within(Duration),
}

/// Lets the writing thread go on.
#[derive(Debug)]
pub(super) struct Output {
    chunks: Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Output {
    /// Starts the thread, which writes to `file` what `process` was sent.
    pub(super) fn start(
        file: File,
        process: &Process,
        ended: Arc<OnceLock<End>>,
    ) -> io::Result<Self> {
        let (chunks, receiver) = channel();
        let state = State { bytes: 0, holds: false, moved: Instant::now(), failed: None };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), ended };
        let shared = Arc::new(shared);
        let (handle, id) = (process.runtime().handle(), process.id());
        let writer = Writer { file, shared: Arc::clone(&shared), handle, id };
        // Never joined: it may sit in a write for ever, and ends with the program.
        std::thread::Builder::new().name("stdout".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { chunks, shared })
    }

    /// Has these bytes written, and no more of `process` read while too many wait.
    pub(super) fn write(&self, process: &Process, bytes: Vec<u8>) {
        let mut state = self.shared.lock();
        state.bytes += bytes.len();
        let stops = state.bytes > HELD_MAX && !state.holds && state.failed.is_none();
        state.holds |= stops;
        drop(state);
        if stops {
            // The thread has it resumed by a posted call, which comes behind this.
            process.stop();
        }
        // The thread is gone when nobody reads what it writes.
        let _ = self.chunks.send(bytes);
    }

    /// When something was last written.
    pub(super) fn moved(&self) -> Instant {
        self.shared.lock().moved
    }

    /// Waits until all is written.
    pub(super) fn finish(&self, patience: Patience) -> Written {
        let begin = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(err) = &state.failed {
                return Written::Failed(Arc::clone(err));
            }
            if state.bytes == 0 {
                return Written::All;
            }
            let left = match patience {
                Patience::Endless => {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Patience::Moving(wait) => wait.saturating_sub(state.moved.max(begin).elapsed()),
                Patience::Within(time) => time.saturating_sub(begin.elapsed()),
            };
            if left.is_zero() {
                return Written::Late;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What the writing thread works with.
struct Writer {
    file: File,
    shared: Arc<Shared>,
    handle: Handle,
    id: ProcessId,
}

impl Writer {
    fn run(self, chunks: &Receiver<Vec<u8>>) {
        for bytes in chunks {
            let failed = self.write(&bytes).err().map(Arc::new);
            let mut state = self.shared.lock();
            state.bytes -= bytes.len();
            state.failed.clone_from(&failed);
            let resumes = state.holds && state.bytes <= HELD_LOW;
            state.holds &= !resumes;
            drop(state);
            self.shared.changed.notify_all();
            if let Some(err) = failed {
                return self.fail(&err);
            }
            if resumes {
                let id = self.id;
                // Gone only when the program is on its way out.
                let _ = self.handle.post(move |rt| {
                    if let Some(process) = rt.process_by_id(id) {
                        process.resume();
                    }
                });
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE_LEN) {
            stdio::write_all(&self.file, piece)?;
            self.shared.lock().moved = Instant::now();
        }
        Ok(())
    }

    /// Ends the talk.
    fn fail(&self, err: &io::Error) {
        // If there was an end already, this is but its consequence.
        let _ = self.shared.ended.set(End::of_output(err));
        let _ = self.handle.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        io::{PipeReader, Read as _, Write as _, pipe},
        net::{TcpListener, TcpStream},
        os::fd::OwnedFd,
        rc::Rc,
        thread,
    };

    use netproc::{Runtime, Status};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A process whose input is written to a pipe that nobody reads yet.
    struct Rig {
        rt: Runtime,
        process: Process,
        peer: TcpStream,
        output: Rc<Output>,
        heard: Rc<Cell<usize>>,
        unread: PipeReader,
    }

    impl Rig {
        fn new() -> Self {
            let rt = Runtime::new().unwrap();
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let process = rt.client("p").host("127.0.0.1").service(port).start().unwrap();
            let (peer, _) = listener.accept().unwrap();
            let (unread, file) = pipe().unwrap();
            let file = File::from(OwnedFd::from(file));
            let output = Rc::new(Output::start(file, &process, Arc::default()).unwrap());
            let heard = Rc::new(Cell::new(0));
            let (own, count) = (Rc::clone(&output), Rc::clone(&heard));
            process.set_filter(move |process, input| {
                count.set(count.get() + input.len());
                own.write(process, input.to_vec());
            });
            Self { rt, process, peer, output, heard, unread }
        }
    }

    fn until(rt: &Runtime, what: &str, done: impl Fn() -> bool) {
        let begin = Instant::now();
        while !done() {
            rt.turn(PATIENCE).unwrap();
            assert!(begin.elapsed() < PATIENCE, "{what}: did not come about");
        }
    }

    #[test]
    fn who_is_held_up_by_output_goes_on_once_it_is_read() {
        let Rig { rt, process, mut peer, output, heard, mut unread } = Rig::new();
        let bytes: Vec<u8> = (0..=250).cycle().take(4 * HELD_MAX).collect();
        let sent = bytes.clone();
        let sending = thread::spawn(move || peer.write_all(&sent));
        until(&rt, "it is held up", || process.status() == Status::Stop);
        assert!(heard.get() < 2 * HELD_MAX, "{}", heard.get());
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            unread.read_to_end(&mut read).map(|_| read)
        });
        until(&rt, "it goes on, to the end", || process.status() == Status::Closed);
        sending.join().unwrap().unwrap();
        assert!(matches!(output.finish(Patience::Within(PATIENCE)), Written::All));
        drop((process, output, rt));
        assert!(reading.join().unwrap().unwrap() == bytes);
    }

    #[test]
    fn output_that_moves_slowly_moves() {
        let Rig { rt, process: _process, mut peer, output, heard, mut unread } = Rig::new();
        let sending = thread::spawn(move || peer.write_all(&[7; HELD_LOW]));
        until(&rt, "all has come", || heard.get() == HELD_LOW);
        sending.join().unwrap().unwrap();
        // A page that comes free in a full pipe has room for a piece, and not for what came with it.
        let mut page = vec![0; 2 * PIECE_LEN];
        let begin = Instant::now();
        for _ in 0..4 {
            let before = output.moved();
            unread.read_exact(&mut page).unwrap();
            while output.moved() == before {
                assert!(begin.elapsed() < PATIENCE, "nothing moved");
                thread::yield_now();
            }
        }
    }

    #[test]
    fn the_end_waits_for_output_no_longer_than_it_may() {
        let Rig { rt, process: _process, mut peer, output, heard, unread } = Rig::new();
        // More than a pipe holds.
        let sending = thread::spawn(move || peer.write_all(&[7; HELD_LOW]));
        until(&rt, "all has come", || heard.get() == HELD_LOW);
        sending.join().unwrap().unwrap();
        assert!(matches!(output.finish(Patience::Within(Duration::ZERO)), Written::Late));
        assert!(matches!(
            output.finish(Patience::Moving(Duration::from_millis(10))),
            Written::Late
        ));
        drop(unread);
        assert!(
            matches!(output.finish(Patience::Endless), Written::Failed(_)),
            "a pipe nobody reads any more"
        );
    }
}
