//! Programs that a test runs: `netproc`, the examples of the library, and what they are tried against.
//!
//! Invariant: every wait has a bound, and a program still running when its test ends is killed, by its
//! id. Ours are built here, since they need features that this package does not turn on.

use std::{
    fs::File,
    io::{Read, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
};

use netproc::Backend;
use nix::{
    fcntl::OFlag,
    sys::{
        signal::{Signal, kill},
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike as _},
    },
    unistd::{Pid, pipe2},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::PATIENCE;

/// The program `netproc`, built once into the folder the test was built into.
pub static PROGRAM: LazyLock<PathBuf> =
    LazyLock::new(|| build(&["--features", "cli", "--bin", "netproc"]));

/// Builds one program of the library into the folder this test was built into, and says where it is.
///
/// # Panics
///
/// Panics when it cannot be built.
#[must_use]
pub fn build(target_args: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let target = test.ancestors().nth(3).expect("a test is in TARGET/PROFILE/deps");
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package is nothing to tell another cargo: a crate that goes by it would be
    // compiled anew, and with it all that stand on it, here and the next time outside.
    for (name, _) in std::env::vars_os() {
        let told = [&b"CARGO_PKG_"[..], b"CARGO_MANIFEST_"];
        if told.iter().any(|start| name.as_encoded_bytes().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    let built = cargo
        .args(["build", "-p", "netproc"])
        .args(target_args)
        .args(["--message-format", "json", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is where it was when it built this test");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout).expect("JSON is UTF-8");
    let messages = messages
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("cargo writes JSON"));
    let mut program =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.next_back().expect("a program was built")
}

/// A run of a program.
#[derive(Debug)]
pub struct Run {
    child: Pid,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    errors: Receiver<Vec<u8>>,
    /// What came on standard output and was not asked for yet.
    heard: Vec<u8>,
    /// What came on standard error.
    complaints: Vec<u8>,
    /// How much of it was looked at.
    noted: usize,
    ended: Receiver<ExitStatus>,
    reaped: bool,
}

/// What is left of a run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Left {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output and nobody had asked for.
    pub output: Vec<u8>,
    /// What it wrote to standard error.
    pub errors: String,
}

/// The program `netproc`, to be started with these arguments.
#[must_use]
pub fn program(args: &[&str]) -> Command {
    let mut command = command(&*PROGRAM);
    command.args(args).env_remove("NETPROC_BACKEND");
    command
}

/// A program, to be started with all three streams in the test's hands.
#[must_use]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Run {
    /// Starts `netproc` with these arguments.
    #[must_use]
    pub fn new(args: &[&str]) -> Self {
        Self::of(program(args))
    }

    /// Starts a program.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be started.
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        let mut child =
            command.spawn().unwrap_or_else(|err| panic!("{:?}: {err}", command.get_program()));
        // What goes elsewhere is at its end here.
        let output = child.stdout.take().map_or_else(|| channel().1, collect);
        let errors = child.stderr.take().map_or_else(|| channel().1, collect);
        let input = child.stdin.take();
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("the system calls it a pid_t"));
        let (heard, complaints, ended) = (Vec::new(), Vec::new(), reap(child));
        let (noted, reaped) = (0, false);
        Self { child: pid, input, output, errors, heard, complaints, noted, ended, reaped }
    }

    /// Writes `bytes` to standard input beside what else is done, then ends it.
    ///
    /// # Panics
    ///
    /// Panics when standard input has ended already.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        let mut input = self.take_input();
        // A program that ends early takes no more; its status tells.
        thread::spawn(move || input.write_all(&bytes));
    }

    /// Writes a little to standard input, which goes on. A program that has ended hears it not.
    ///
    /// # Panics
    ///
    /// Panics when standard input has ended already.
    pub fn say(&mut self, text: &str) {
        let input = self.input.as_mut().expect("it goes on");
        // What has ended says so by its status.
        let _ = input.write_all(text.as_bytes());
    }

    /// Standard input; dropping it ends it.
    ///
    /// # Panics
    ///
    /// Panics when it was taken before.
    pub const fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("taken once")
    }

    /// Waits until this much has come on standard output.
    ///
    /// # Panics
    ///
    /// Panics when it does not come.
    #[track_caller]
    pub fn hear(&mut self, len: usize) -> Vec<u8> {
        while self.heard.len() < len {
            self.listen();
        }
        self.heard.drain(..len).collect()
    }

    /// The next line of standard output.
    ///
    /// # Panics
    ///
    /// Panics when none comes, or one that is no text.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.hear_until("\n");
        line.trim_end().into()
    }

    /// Waits until `text` has come on standard output, and returns all up to its end.
    ///
    /// # Panics
    ///
    /// Panics when it does not come, or something that is no text.
    #[track_caller]
    pub fn hear_until(&mut self, text: &str) -> String {
        let end = loop {
            if let Some(at) = find(&self.heard, text.as_bytes()) {
                break at + text.len();
            }
            self.listen();
        };
        String::from_utf8(self.hear(end)).expect("what was heard is text")
    }

    /// Waits until `text` has come on standard error, behind what was waited for before; returns whether
    /// it has, before the end of what comes there.
    ///
    /// # Panics
    ///
    /// Panics when neither comes.
    #[track_caller]
    pub fn complains(&mut self, text: &str) -> bool {
        loop {
            if let Some(at) = find(&self.complaints[self.noted..], text.as_bytes()) {
                self.noted += at + text.len();
                return true;
            }
            match self.errors.recv_timeout(PATIENCE) {
                Ok(piece) => self.complaints.extend(piece),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} did not come: {self}"),
            }
        }
    }

    #[track_caller]
    fn listen(&mut self) {
        match self.output.recv_timeout(PATIENCE) {
            Ok(piece) => self.heard.extend(piece),
            Err(err) => {
                self.complaints.extend(self.errors.try_iter().flatten());
                panic!("there is no more output, {err}: {self}");
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// Panics when it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(self.child, signal).expect("it was not waited for yet");
    }

    /// Ends its standard input, and waits for the end of the program and of what it says.
    ///
    /// # Panics
    ///
    /// Panics when it does not end.
    #[track_caller]
    #[must_use]
    pub fn end(mut self) -> Left {
        drop(self.input.take());
        let Ok(status) = self.ended.recv_timeout(PATIENCE) else {
            self.heard.extend(self.output.try_iter().flatten());
            self.complaints.extend(self.errors.try_iter().flatten());
            panic!("the program does not end: {self}");
        };
        self.reaped = true;
        let mut output = std::mem::take(&mut self.heard);
        output.extend(self.output.iter().flatten());
        let mut errors = std::mem::take(&mut self.complaints);
        errors.extend(self.errors.iter().flatten());
        let errors = String::from_utf8(errors).expect("complaints are text");
        Left { code: status.code(), output, errors }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (heard, complaints) =
            (String::from_utf8_lossy(&self.heard), String::from_utf8_lossy(&self.complaints));
        write!(f, "it said {heard:?}, and complained {complaints:?}")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.reaped && self.ended.try_recv().is_err() {
            // It may have ended just now.
            let _ = kill(self.child, Signal::SIGKILL);
        }
    }
}

impl Left {
    /// Checks the exit status, and that one line on standard error has the complaint.
    ///
    /// # Panics
    ///
    /// Panics when it is otherwise.
    #[track_caller]
    pub fn check(&self, code: i32, complaint: &str) {
        assert_eq!(self.code, Some(code), "{}", self.errors);
        assert!(self.errors.contains(complaint), "{complaint:?} in {:?}", self.errors);
        let panicked = self.errors.contains("panicked");
        assert!(!panicked && self.errors.lines().count() <= 1, "{}", self.errors);
    }

    /// Checks that all was well, and nothing was said about it.
    ///
    /// # Panics
    ///
    /// Panics when it is otherwise.
    #[track_caller]
    pub fn check_well(&self) {
        assert_eq!((self.code, self.errors.as_str()), (Some(0), ""));
    }

    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

/// Where `part` is in `bytes`.
fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Reads all there is, piece by piece, on a thread.
fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut piece = vec![0; 1 << 16];
        while let Ok(len @ 1..) = from.read(&mut piece) {
            if tell.send(piece[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    told
}

fn reap(mut child: Child) -> Receiver<ExitStatus> {
    let (tell, told) = channel();
    // Nobody listens any more when the test has failed.
    thread::spawn(move || child.wait().map(|status| tell.send(status)));
    told
}

/// The names of the backends of this machine, each of which must do the same.
///
/// # Panics
///
/// Panics when looking for them does.
#[must_use]
pub fn backends() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        // On a thread of its own: the system interrupts whoever has used a ring to clear up behind
        // it, and a read with a time limit does not go on after that.
        let found = thread::spawn(Backend::available).join().expect("looking does not panic");
        found.iter().map(ToString::to_string).collect()
    });
    &NAMES
}

/// An echo server on these endpoints, with the lines it printed.
#[must_use]
pub fn listen(backend: &str, endpoints: &[&str]) -> (Run, Vec<String>) {
    let mut run = Run::new(&[&["listen", "--echo", "--backend", backend][..], endpoints].concat());
    let lines = endpoints.iter().map(|_| run.line()).collect();
    (run, lines)
}

/// Bytes of which no two stretches look alike.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1), next).map(|state| state.to_be_bytes()[0]).take(len).collect()
}

/// An endpoint in `folder`.
#[must_use]
pub fn local(scheme: &str, folder: &TempDir) -> String {
    format!("{scheme}:{}", folder.path().join(scheme).display())
}

/// A listening socket of the test, and its endpoint.
///
/// # Panics
///
/// Panics when there can be none.
#[must_use]
pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    // Bounds accepting.
    let patience = TimeVal::seconds(i64::try_from(PATIENCE.as_secs()).expect("seconds"));
    setsockopt(&listener, ReceiveTimeout, &patience).expect("a socket has this option");
    let endpoint = listener.local_addr().expect("it is bound").to_string();
    (listener, endpoint)
}

/// The next connection of it.
///
/// # Panics
///
/// Panics when none comes.
#[must_use]
pub fn accept(listener: &TcpListener) -> TcpStream {
    let (peer, _) = listener.accept().expect("the program connects");
    peer.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
    peer
}

/// An input that has nothing yet, and its other end.
///
/// # Panics
///
/// Panics when there can be none.
#[must_use]
pub fn silence() -> (File, Stdio) {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("there are descriptors");
    (File::from(write), read.into())
}
