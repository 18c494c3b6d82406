//! System calls of another process, counted by `perf stat` or by `strace -c`, not by the process.
//!
//! Invariant: when [`Counter::start`] returns, every call of the process is being counted; what
//! [`Counter::finish`] returns is what the tool wrote when it let go.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{
    child::{PATIENCE, Talk},
    options::CountWith,
};

/// The calls that wait: what a server does once per batch, not once per message.
const WAITS: [&str; 6] =
    ["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "io_uring_enter"];

/// System calls of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    /// Those of [`WAITS`].
    pub(crate) waits: u64,
}

/// A tool attached to a process.
#[derive(Debug)]
pub(crate) struct Counter {
    tool: Tool,
    file: PathBuf,
}

#[derive(Debug)]
enum Tool {
    /// Counts while its own child, a `cat`, lives.
    Perf(Talk),
    Strace(Child),
}

/// The tool that `asked` means here, tried on this process; `None` when there is none.
pub(crate) fn choose(asked: CountWith) -> Option<CountWith> {
    let tools: &[CountWith] = match asked {
        CountWith::Auto => &[CountWith::Perf, CountWith::Strace],
        CountWith::Perf => &[CountWith::Perf],
        CountWith::Strace => &[CountWith::Strace],
        CountWith::None => &[],
    };
    tools.iter().copied().find(|&tool| works(tool).unwrap_or(false))
}

/// Tries a tool on a process that only waits.
fn works(tool: CountWith) -> io::Result<bool> {
    let idle = Talk::start(&mut Command::new("cat"))?;
    Counter::start(tool, idle.pid())?.finish()?;
    Ok(true)
}

impl Counter {
    /// Attaches `tool` to the process and its threads.
    pub(crate) fn start(tool: CountWith, pid: Pid) -> io::Result<Self> {
        let name = format!("netproc-bench-{}-{pid}", process::id());
        let file = std::env::temp_dir().join(name);
        let tool = match tool {
            CountWith::Perf => Tool::Perf(start_perf(pid, &file)?),
            CountWith::Strace => Tool::Strace(start_strace(pid, &file)?),
            CountWith::Auto | CountWith::None => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { tool, file })
    }

    /// Detaches and returns what was counted.
    pub(crate) fn finish(self) -> io::Result<Counts> {
        let parse = match self.tool {
            Tool::Perf(talk) => {
                talk.end(PATIENCE)?;
                parse_perf
            }
            Tool::Strace(mut child) => {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT)?;
                child.wait()?;
                parse_strace
            }
        };
        let text = fs::read_to_string(&self.file)?;
        fs::remove_file(&self.file)?;
        parse(&text).ok_or_else(|| io::Error::other(format!("no counts in: {text}")))
    }
}

fn start_perf(pid: Pid, file: &PathBuf) -> io::Result<Talk> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter"]);
    for call in WAITS {
        command.args(["-e", &format!("syscalls:sys_enter_{call}")]);
    }
    command.args(["-p", &pid.to_string(), "-o"]).arg(file).arg("cat").stderr(Stdio::null());
    let mut talk = Talk::start(&mut command)?;
    // perf starts its child once it counts, so an answer means that it does.
    talk.say("counting")?;
    talk.hear(PATIENCE)?;
    Ok(talk)
}

fn start_strace(pid: Pid, file: &PathBuf) -> io::Result<Child> {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(file).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stderr = child.stderr.take().expect("standard error was piped");
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line)?;
    if line.contains("attached") { Ok(child) } else { Err(io::Error::other(line)) }
}

/// Reads lines of `count,unit,event,…`.
fn parse_perf(text: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut any = false;
    for line in text.lines() {
        let mut fields = line.split(',');
        let (Some(count), Some(event)) = (fields.next(), fields.nth(1)) else { continue };
        // What perf says of a process that never ran.
        let count = if count == "<not counted>" { 0 } else { count.parse::<u64>().ok()? };
        any = true;
        match event.strip_prefix("syscalls:sys_enter_") {
            Some(_) => counts.waits += count,
            None => counts.total += count,
        }
    }
    any.then_some(counts)
}

/// Reads the table of `strace -c`: `% time, seconds, usecs/call, calls, [errors,] syscall`; it is
/// empty when there was no call.
#[expect(clippy::unnecessary_wraps, reason = "the other tool can fail")]
fn parse_strace(text: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(Ok(calls))) =
            (fields.last(), fields.get(3).map(|n| n.parse::<u64>()))
        else {
            continue;
        };
        match *name {
            "total" => counts.total = calls,
            name if WAITS.contains(&name) => counts.waits += calls,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_both_tools_are_understood() {
        let perf = "# started on Mon\n\n1200,,raw_syscalls:sys_enter,5,100.00,,\n\
                    100,,syscalls:sys_enter_epoll_wait,5,100.00,,\n0,,syscalls:sys_enter_poll,5,100.00,,\n";
        let expected = Counts { total: 1200, waits: 100 };
        assert_eq!(parse_perf(perf), Some(expected));
        let idle = "<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n";
        assert_eq!(parse_perf(idle), Some(Counts::default()));
        assert_eq!(parse_perf("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ----------------\n \
                      60.00    0.000100           1      1000         3 recvfrom\n \
                      40.00    0.000100           1       100           epoll_wait\n \
                      0.00    0.000000           0       100           close\n\
                      100.00    0.000200           1      1200         3 total\n";
        assert_eq!(parse_strace(strace), Some(expected));
        assert_eq!(parse_strace(""), Some(Counts::default()));
    }
}
