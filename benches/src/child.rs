//! The processes of a run: this executable again, as a server or as a load generator.
//!
//! Invariant: a child ends when its standard input does, so none outlives its parent; a server is
//! pinned to core 0 and a load generator to core 1 where there are two.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Deserialize;

use crate::{
    load::{Load, Shape, Until, Window},
    options::LoadOptions,
    serve::Kind,
};

/// A child that is spoken to line by line.
#[derive(Debug)]
pub(crate) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("standard output was piped");
        Ok(Self { stdin: child.stdin.take(), stdout: BufReader::new(stdout), child })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for one line; the end of the child's output is an error.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the child ended early"));
        }
        Ok(line.trim_end().to_owned())
    }

    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().expect("open until `end`");
        writeln!(stdin, "{line}")
    }

    /// Ends the child's input and waits for it to go.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.stdin = None;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("child: {status}"))) }
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
    address: SocketAddr,
}

impl Server {
    /// Starts a server; an error of kind `Unsupported` says why it cannot work here.
    pub(crate) fn start(kind: Kind) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut talk = Talk::start(command.arg("serve").arg(kind.to_string()))?;
        let line = talk.hear()?;
        let port: u16 =
            line.parse().map_err(|_| io::Error::new(io::ErrorKind::Unsupported, line))?;
        Ok(Self { talk, address: ([127, 0, 0, 1], port).into() })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.talk.pid()
    }

    /// Its own counters, if it has some.
    pub(crate) fn counts(&mut self) -> io::Result<Option<OwnCounts>> {
        self.talk.say("counts")?;
        let line = self.talk.hear()?;
        if line == "-" { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.talk.end()
    }
}

/// A load generator in a process of its own.
#[derive(Debug)]
pub(crate) struct Loader {
    talk: Talk,
}

impl Loader {
    /// Starts one and waits until its connections are open and warm.
    pub(crate) fn start(server: &Server, shape: Shape) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["load", &server.address.to_string(), &server.pid().to_string()]);
        command.args([shape.connections.to_string(), shape.size.to_string()]);
        let mut talk = Talk::start(command.arg(shape.pipeline.to_string()))?;
        match talk.hear()?.as_str() {
            "warm" => Ok(Self { talk }),
            other => Err(io::Error::other(format!("load generator: {other}"))),
        }
    }

    /// Runs one window.
    pub(crate) fn run(&mut self, until: Until) -> io::Result<Window> {
        self.talk.say(&match until {
            Until::Elapsed(window) => format!("millis {}", window.as_millis()),
            Until::Messages(count) => format!("messages {count}"),
        })?;
        let line = self.talk.hear()?;
        serde_json::from_str(&line).map_err(|_| io::Error::other(format!("load generator: {line}")))
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.talk.end()
    }
}

/// What the child of [`Loader`] does: warms up, then a window for each line.
pub(crate) fn load(options: &LoadOptions) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut drive = || {
        let server = Pid::from_raw(options.pid);
        let mut load = Load::connect(options.server, options.shape())?;
        load.run(Until::Elapsed(LoadOptions::WARM_UP), server)?;
        writeln!(stdout, "warm")?;
        for line in io::stdin().lock().lines() {
            let window = load.run(parse_until(&line?)?, server)?;
            writeln!(stdout, "{}", serde_json::to_string(&window)?)?;
        }
        Ok(())
    };
    let driven: io::Result<()> = drive();
    if let Err(err) = &driven {
        writeln!(stdout, "{err}")?;
    }
    driven
}

fn parse_until(line: &str) -> io::Result<Until> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("no window: {line}"));
    let (unit, number) = line.split_once(' ').ok_or_else(wrong)?;
    let number = number.parse().map_err(|_| wrong())?;
    match unit {
        "millis" => Ok(Until::Elapsed(std::time::Duration::from_millis(number))),
        "messages" => Ok(Until::Messages(number)),
        _ => Err(wrong()),
    }
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
