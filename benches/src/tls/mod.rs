//! The TLS bench: netproc beside tokio-rustls, the same load on each, in interleaved rounds.
//!
//! Invariant: every byte that comes back is checked; server and load are processes of their own, on
//! cores of their own; what a server costs is read from its process's clock. Without `--bench`, which
//! only `cargo bench` gives, nothing is timed: a short run checks the bytes of every server.

mod job;
pub(crate) mod keys;
mod load;
mod options;
mod peers;
mod report;

use std::{
    env,
    io::{self, Write as _},
    process::{Command, ExitCode},
    time::Duration,
};

use clap::Parser as _;
use netproc::Backend;

use self::{
    job::Job,
    keys::Keys,
    options::{Options, Role},
    peers::Peer,
    report::{Report, Window},
};
use crate::child::{self, PATIENCE, Talk};

/// What `benches/tls.rs` runs.
#[must_use]
pub fn main() -> ExitCode {
    let is_child = env::args().nth(1).is_some_and(|first| ["serve", "load"].contains(&&*first));
    let ran = if is_child || env::args().any(|arg| arg == "--bench") {
        run(&Options::parse())
    } else {
        smoke()
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            complain(&err.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program's last word")]
fn complain(what: &str) {
    eprintln!("tls: {what}");
}

fn run(options: &Options) -> io::Result<()> {
    match &options.role {
        Some(Role::Serve { peer, job }) => {
            child::pin(0)?;
            peers::serve(*peer, *job, &Keys::inherited()?)
        }
        Some(Role::Load(options)) => {
            child::pin(1)?;
            load::main(options, &Keys::inherited()?)
        }
        None => bench(options),
    }
}

/// Lets every server do a little of every job. One on io_uring is left out only where the environment says that
/// it may be missing, so that no test run leaves it out unseen.
fn smoke() -> io::Result<()> {
    let (keys, mut stdout) = (Keys::new()?, io::stdout());
    let may_miss = env::var_os("NETPROC_WITHOUT_URING").is_some_and(|on| on == "1");
    let is_missing = !Backend::available().contains(&Backend::Uring);
    for peer in Peer::ALL {
        if peer == Peer::NetprocUring && is_missing && may_miss {
            writeln!(stdout, "{peer}: left out, since io_uring does not work here")?;
            continue;
        }
        for job in Job::ALL {
            let window = round(&keys, peer, job, 3, &Until::Count(20))?;
            writeln!(stdout, "{peer}, {job}: {} done, every byte as it should be", window.count)?;
        }
    }
    Ok(())
}

fn bench(options: &Options) -> io::Result<()> {
    let keys = Keys::new()?;
    let mut report = Report::default();
    let until = match options.count {
        Some(count) => Until::Count(count),
        None => Until::Elapsed(Duration::from_secs_f64(options.seconds)),
    };
    for _ in 0..options.rounds {
        for &job in options.jobs() {
            for &peer in options.peers() {
                report.add(job, peer, round(&keys, peer, job, options.connections, &until)?);
            }
        }
    }
    writeln!(io::stdout(), "{report}")
}

/// When a window ends.
#[derive(Clone, Copy, Debug)]
enum Until {
    Elapsed(Duration),
    Count(u64),
}

fn round(keys: &Keys, peer: Peer, job: Job, connections: u32, until: &Until) -> io::Result<Window> {
    let child = |role: &str| -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(role).envs(keys.inherit());
        Ok(command)
    };
    let mut server = Talk::start(child("serve")?.args([peer.to_string(), job.to_string()]))?;
    let port = server.hear(PATIENCE)?;
    let mut load = child("load")?;
    load.args([job.to_string(), port, server.pid().to_string(), connections.to_string()]);
    let mut load = Talk::start(load.args(match until {
        Until::Elapsed(window) => ["millis".to_owned(), window.as_millis().to_string()],
        Until::Count(count) => ["count".to_owned(), count.to_string()],
    }))?;
    let line = load.hear(PATIENCE)?;
    let window = serde_json::from_str(&line);
    let window = window.map_err(|_| io::Error::other(format!("{peer}, {job}: {line}")))?;
    load.end(PATIENCE)?;
    server.end(PATIENCE)?;
    Ok(window)
}
