//! The processes of a run: this executable again, as a server or as a load generator.
//!
//! Invariant: a child ends when its standard input does and is killed when its parent dies, so none
//! outlives it; no answer of a child is waited for longer than a bound. A server is pinned to one core
//! and a load generator to the other, where there are two.

use std::{
    env,
    io::{self, BufRead as _, Read as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CpuSet, sched_setaffinity},
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::TempDir;

use crate::{
    job::{Service, Shape},
    load::{Load, Opened, Orders, Until, Window},
    serve::{self, Announced, Kind, Place, Task},
    tls::keys::Keys,
    turnover::{self, Costs},
};

/// How long a child may take for an answer that needs no load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a window may take, or opening all connections: the load generator itself gives up
/// sooner when nothing comes back.
const WINDOW_PATIENCE: Duration = Duration::from_secs(120);

/// Where a child runs, if the machine has two cores at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Core {
    First,
    Second,
}

impl Core {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    const fn number(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// What a child is told in its command line.
#[derive(Serialize, Deserialize)]
struct Told<T> {
    core: usize,
    orders: T,
}

/// The certificate of this run.
fn keys() -> io::Result<&'static Keys> {
    static KEYS: LazyLock<io::Result<Keys>> = LazyLock::new(Keys::new);
    KEYS.as_ref().map_err(|err| io::Error::other(err.to_string()))
}

/// A child that is spoken to line by line.
#[derive(Debug)]
pub(crate) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// What came and was not asked for yet.
    heard: Vec<u8>,
}

impl Talk {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("standard output was piped");
        Ok(Self { stdin: child.stdin.take(), stdout, child, heard: Vec::new() })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for one line; the end of the child's output is an error, and so is silence.
    pub(crate) fn hear(&mut self, patience: Duration) -> io::Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.read_until(deadline)? {
                let what = "the child ended early";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
        }
    }

    /// Reads what there is; returns whether there was something before the end.
    fn read_until(&mut self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => {
                let what = "the child does not answer";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Err(nix::Error::EINTR) => return Ok(true),
            polled => drop(polled?),
        }
        let mut buffer = [0; 4096];
        let len = self.stdout.read(&mut buffer)?;
        self.heard.extend_from_slice(&buffer[..len]);
        Ok(len > 0)
    }

    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().expect("open until `end`");
        writeln!(stdin, "{line}")
    }

    /// Ends the child's input and waits for it to go.
    pub(crate) fn end(mut self, patience: Duration) -> io::Result<()> {
        self.stdin = None;
        let status = self.wait(patience)?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("child: {status}"))) }
    }

    fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        // Its output ends when it does.
        while self.read_until(deadline)? {}
        self.child.wait()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // After an error the child may be stuck; one that has ended cannot be killed, nor need be.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// What netproc's server counts itself.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct OwnCounts {
    pub(crate) syscalls: u64,
}

/// A server in a process of its own.
#[derive(Debug)]
pub(crate) struct Server {
    talk: Talk,
    /// Several, if it has several tables of descriptors.
    places: Vec<Place>,
    service: Service,
    /// Where the file of a local socket is, if there is one; removed at the end.
    _folder: TempDir,
}

impl Server {
    /// Starts a server; an error of kind `Unsupported` says why it cannot work here.
    pub(crate) fn start(kind: Kind, service: Service, tables: usize) -> io::Result<Self> {
        Self::start_by(Command::new(env::current_exe()?), Core::First, kind, service, tables)
    }

    /// Starts one under a tool, which `command` runs with this executable.
    pub(crate) fn start_by(
        mut command: Command,
        core: Core,
        kind: Kind,
        service: Service,
        tables: usize,
    ) -> io::Result<Self> {
        let folder = TempDir::with_prefix("netproc-bench-")?;
        let path = |number| folder.path().join(format!("socket-{number}"));
        let task = |number| Task { kind, service, path: path(number), number };
        let orders: Vec<Task> = (0..tables).map(task).collect();
        let told = Told { core: core.number(), orders };
        command.arg("serve").arg(serde_json::to_string(&told)?).envs(keys()?.inherit());
        let mut talk = Talk::start(&mut command)?;
        let mut announced = Vec::new();
        while announced.len() < tables {
            let line = talk.hear(PATIENCE)?;
            let one: Announced = serde_json::from_str(&line)
                .map_err(|_| io::Error::new(io::ErrorKind::Unsupported, line))?;
            announced.push(one);
        }
        announced.sort_by_key(|it| it.number);
        let places = announced.into_iter().map(|it| it.place).collect();
        Ok(Self { talk, places, service, _folder: folder })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.talk.pid()
    }

    /// Its own counters, if it has some.
    pub(crate) fn counts(&mut self) -> io::Result<Option<OwnCounts>> {
        self.talk.say("counts")?;
        let line = self.talk.hear(PATIENCE)?;
        if line == "-" { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.talk.end(PATIENCE)
    }
}

/// A load generator in a process of its own.
#[derive(Debug)]
pub(crate) struct Loader {
    talk: Talk,
    pub(crate) opened: Opened,
}

impl Loader {
    /// Starts one and waits until its connections are open, and warm if that is asked for.
    pub(crate) fn start(server: &Server, shape: Shape, warm_up: bool) -> io::Result<Self> {
        Self::start_on(Core::Second, server, shape, warm_up)
    }

    pub(crate) fn start_on(
        core: Core,
        server: &Server,
        shape: Shape,
        warm_up: bool,
    ) -> io::Result<Self> {
        let orders = Orders {
            places: server.places.clone(),
            service: server.service,
            shape,
            server: server.pid().as_raw(),
            warm_up,
        };
        let mut command = Command::new(env::current_exe()?);
        let told = Told { core: core.number(), orders };
        command.arg("load").arg(serde_json::to_string(&told)?).envs(keys()?.inherit());
        let mut talk = Talk::start(&mut command)?;
        let opened = answer(&mut talk)?;
        Ok(Self { talk, opened })
    }

    /// Runs one window.
    pub(crate) fn run(&mut self, until: Until) -> io::Result<Window> {
        self.talk.say(&serde_json::to_string(&until)?)?;
        answer(&mut self.talk)
    }

    /// Ends the server by a signal and goes on until it is gone; returns what it served meanwhile.
    pub(crate) fn run_until_gone(&mut self, mut server: Server) -> io::Result<Window> {
        self.talk.say(&serde_json::to_string(&Until::Gone)?)?;
        kill(server.pid(), Signal::SIGTERM)?;
        let window = answer(&mut self.talk)?;
        server.talk.wait(PATIENCE)?;
        Ok(window)
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.talk.end(PATIENCE)
    }
}

/// A runtime in a process of its own, whose processes come and go.
#[derive(Debug)]
pub(crate) struct Turned {
    talk: Talk,
    /// Where the file of its server is.
    _folder: TempDir,
}

/// What its child is told.
#[derive(Serialize, Deserialize)]
struct TurnOrders {
    task: Task,
    processes: u64,
}

impl Turned {
    pub(crate) fn start(kind: Kind, processes: u64) -> io::Result<Self> {
        let folder = TempDir::with_prefix("netproc-bench-")?;
        let path = folder.path().join("socket");
        let task = Task { kind, service: Service::Unix, path, number: 0 };
        let told = Told { core: Core::First.number(), orders: TurnOrders { task, processes } };
        let mut command = Command::new(env::current_exe()?);
        command.arg("turn-over").arg(serde_json::to_string(&told)?);
        Ok(Self { talk: Talk::start(&mut command)?, _folder: folder })
    }

    pub(crate) fn costs(mut self) -> io::Result<Costs> {
        let costs = answer(&mut self.talk)?;
        self.talk.end(PATIENCE)?;
        Ok(costs)
    }
}

/// What the child of [`Turned`] does.
fn turn_over(orders: &TurnOrders) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match turnover::turn_over(&orders.task, orders.processes) {
        Ok(costs) => say(&mut stdout, &costs),
        Err(err) => {
            writeln!(stdout, "{err}")?;
            Err(err)
        }
    }
}

/// What a child answers: what was asked for, or what went wrong in its own words.
fn answer<T: DeserializeOwned>(talk: &mut Talk) -> io::Result<T> {
    let line = talk.hear(WINDOW_PATIENCE)?;
    serde_json::from_str(&line).map_err(|_| io::Error::other(line))
}

/// Does a child's work, if this process is one.
pub(crate) fn work() -> Option<io::Result<()>> {
    let (role, told) = (env::args().nth(1)?, env::args().nth(2)?);
    match role.as_str() {
        "serve" => Some(child(&told, |tasks: &Vec<Task>| serve::serve_all(tasks))),
        "load" => Some(child(&told, load)),
        "turn-over" => Some(child(&told, turn_over)),
        _ => None,
    }
}

fn child<T: DeserializeOwned>(
    told: &str,
    work: impl FnOnce(&T) -> io::Result<()>,
) -> io::Result<()> {
    // The parent is the thread that started us.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let told: Told<T> = serde_json::from_str(told)?;
    pin(told.core)?;
    work(&told.orders)
}

/// What the child of [`Loader`] does: opens connections, then a window for each line.
fn load(orders: &Orders) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut drive = || {
        let (mut load, opened) = Load::open(orders)?;
        say(&mut stdout, &opened)?;
        for line in io::stdin().lock().lines() {
            let window = load.run(serde_json::from_str(&line?)?)?;
            say(&mut stdout, &window)?;
        }
        Ok(())
    };
    let driven: io::Result<()> = drive();
    if let Err(err) = &driven {
        writeln!(stdout, "{err}")?;
    }
    driven
}

fn say(stdout: &mut impl io::Write, what: &impl Serialize) -> io::Result<()> {
    writeln!(stdout, "{}", serde_json::to_string(what)?)
}

/// Keeps this process on one core, if the machine has more than one.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    if thread::available_parallelism()?.get() < 2 {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
