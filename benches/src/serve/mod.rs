//! The echo servers, one process each: netproc's three, two written by hand, and tokio's.
//!
//! Invariant: every server listens on a free port of 127.0.0.1 with `TCP_NODELAY`, prints the port,
//! echoes until standard input ends, and answers each line on it with its own counters or with `-`.
//! A server that cannot work here says `unavailable: why` in place of the port.

pub(crate) mod epoll;
mod netproc;
mod tokio;
pub(crate) mod uring;

use std::{
    fmt,
    io::{self, BufRead as _, Write as _},
    net::TcpListener,
    process, thread,
};

use ::netproc::{Backend, Mechanism};
use clap::ValueEnum;
use nix::sys::socket::{setsockopt, sockopt::TcpNoDelay};

/// A server to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    NetprocUring,
    NetprocEpoll,
    NetprocPoll,
    RawUring,
    RawEpoll,
    Tokio,
}

impl Kind {
    /// The hand-written server on the same mechanism; poll(2) is compared with epoll.
    pub(crate) const fn raw(self) -> Self {
        match self {
            Self::NetprocUring | Self::RawUring => Self::RawUring,
            Self::NetprocEpoll | Self::NetprocPoll | Self::RawEpoll | Self::Tokio => Self::RawEpoll,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NetprocUring => "netproc-uring",
            Self::NetprocEpoll => "netproc-epoll",
            Self::NetprocPoll => "netproc-poll",
            Self::RawUring => "raw-uring",
            Self::RawEpoll => "raw-epoll",
            Self::Tokio => "tokio",
        })
    }
}

/// Serves in this process until standard input ends.
pub(crate) fn serve(kind: Kind) -> io::Result<()> {
    let served = match kind {
        Kind::NetprocUring => netproc::serve(Backend::Uring),
        Kind::NetprocEpoll => netproc::serve(Backend::Mechanism(Mechanism::Epoll)),
        Kind::NetprocPoll => netproc::serve(Backend::Mechanism(Mechanism::Poll)),
        Kind::RawUring => uring::serve(),
        Kind::RawEpoll => epoll::serve(),
        Kind::Tokio => tokio::serve(),
    };
    served.or_else(|err| say(&format!("unavailable: {err}")))
}

/// Prints one line for the parent.
fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A listener for the servers that are not netproc's.
fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    setsockopt(&listener, TcpNoDelay, &true)?; // accepted sockets inherit it
    Ok(listener)
}

/// Says where the server listens and watches standard input on a thread of its own.
fn announce(listener: &TcpListener) -> io::Result<()> {
    say(&listener.local_addr()?.port().to_string())?;
    watch_stdin(|| say("-"), || process::exit(0));
    Ok(())
}

fn watch_stdin(
    mut on_line: impl FnMut() -> io::Result<()> + Send + 'static,
    on_end: impl FnOnce() + Send + 'static,
) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.and_then(|_| on_line()).is_err() {
                break;
            }
        }
        on_end();
    });
}
