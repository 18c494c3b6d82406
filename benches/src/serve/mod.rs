//! The servers, one process each: netproc's three, two written by hand, and the peers.
//!
//! Invariant: every server listens on a place of its own with `TCP_NODELAY`, prints its address, serves
//! until standard input ends, and answers each line on it with its own counters or with `-`. A server
//! that cannot work here says `unavailable: why` in place of the address. Where one table of descriptors is too
//! small there are several alike, each on a thread with a table of its own; the first one answers.

#[cfg(feature = "peers")]
mod compio;
pub(crate) mod epoll;
#[cfg(feature = "peers")]
mod glommio;
mod joined;
#[cfg(feature = "peers")]
mod mio;
#[cfg(feature = "peers")]
mod monoio;
mod netproc;
mod ready;
mod tokio;
pub(crate) mod uring;

use std::{
    fmt,
    io::{self, BufRead as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process, thread,
};

use ::netproc::{Backend, Mechanism};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::{job::Service, machine};

/// Connections that may wait to be accepted: more than any load opens at a time.
const BACKLOG: i32 = 4096;
/// What one read brings at most, where the peers' users choose it: as much as netproc reads.
const READ_LEN: usize = 64 * 1024;

/// A server to measure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    NetprocUring,
    NetprocEpoll,
    NetprocPoll,
    RawUring,
    RawEpoll,
    Tokio,
    Mio,
    Monoio,
    Compio,
    Glommio,
}

impl Kind {
    /// All there are, netproc's beside what is written by hand for the same mechanism.
    pub(crate) const EVERY: [Self; 10] = [
        Self::NetprocUring,
        Self::RawUring,
        Self::NetprocEpoll,
        Self::RawEpoll,
        Self::NetprocPoll,
        Self::Tokio,
        Self::Mio,
        Self::Monoio,
        Self::Compio,
        Self::Glommio,
    ];

    /// How many of them, from the first, need nothing but what every build has.
    const WITHOUT_PEERS: usize = 6;

    /// All that this build has.
    pub(crate) fn all() -> &'static [Self] {
        if cfg!(feature = "peers") { &Self::EVERY } else { &Self::EVERY[..Self::WITHOUT_PEERS] }
    }

    /// What netproc's runtime is asked for; `None` if it is not netproc.
    pub(crate) const fn backend(self) -> Option<Backend> {
        match self {
            Self::NetprocUring => Some(Backend::Uring),
            Self::NetprocEpoll => Some(Backend::Mechanism(Mechanism::Epoll)),
            Self::NetprocPoll => Some(Backend::Mechanism(Mechanism::Poll)),
            Self::RawUring
            | Self::RawEpoll
            | Self::Tokio
            | Self::Mio
            | Self::Monoio
            | Self::Compio
            | Self::Glommio => None,
        }
    }

    /// What a runtime runs on here if nobody chooses.
    pub(crate) fn automatic() -> Option<Self> {
        let backend = *Backend::available().first()?;
        Self::EVERY.into_iter().find(|kind| kind.backend() == Some(backend))
    }

    /// The hand-written server on the same mechanism; poll(2) is compared with epoll.
    pub(crate) const fn raw(self) -> Self {
        match self {
            Self::NetprocUring | Self::RawUring | Self::Monoio | Self::Compio | Self::Glommio => {
                Self::RawUring
            }
            Self::NetprocEpoll | Self::NetprocPoll | Self::RawEpoll | Self::Tokio | Self::Mio => {
                Self::RawEpoll
            }
        }
    }

    pub(crate) const fn is_netproc(self) -> bool {
        matches!(self, Self::NetprocUring | Self::NetprocEpoll | Self::NetprocPoll)
    }

    /// Whether it is a library that does what netproc does.
    pub(crate) const fn is_peer(self) -> bool {
        !self.is_netproc() && !matches!(self, Self::RawUring | Self::RawEpoll)
    }

    /// Whether it can be asked for this service: TLS is there where the library has it, or its usual
    /// companion.
    pub(crate) const fn offers(self, service: Service) -> bool {
        !service.is_tls() || self.is_netproc() || matches!(self, Self::Tokio)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NetprocUring => "netproc-uring",
            Self::NetprocEpoll => "netproc-epoll",
            Self::NetprocPoll => "netproc-poll",
            Self::RawUring => "raw-uring",
            Self::RawEpoll => "raw-epoll",
            Self::Tokio => "tokio",
            Self::Mio => "mio",
            Self::Monoio => "monoio",
            Self::Compio => "compio",
            Self::Glommio => "glommio",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a server is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    pub(crate) service: Service,
    /// A path for a local socket, not there yet.
    pub(crate) path: PathBuf,
    /// Which of several that are alike it is.
    pub(crate) number: usize,
}

/// Where a server can be reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    Ip(SocketAddr),
    Local(PathBuf),
}

/// Where a server can be reached, and which of several it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announced {
    pub(crate) number: usize,
    pub(crate) place: Place,
}

/// Serves in this process until standard input ends, with a thread for each task.
pub(crate) fn serve_all(tasks: &[Task]) -> io::Result<()> {
    let (first, others) = tasks.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    for task in others {
        let task = task.clone();
        thread::spawn(move || {
            let served = machine::own_descriptors().and_then(|()| serve(&task));
            served.or_else(|err| say(&format!("unavailable: {err}")))
        });
    }
    serve(first)
}

fn serve(task: &Task) -> io::Result<()> {
    if !task.kind.offers(task.service) {
        return say("unavailable: it has no such service");
    }
    let served = match task.kind {
        Kind::NetprocUring | Kind::NetprocEpoll | Kind::NetprocPoll => netproc::serve(task),
        Kind::RawUring => uring::serve(task),
        Kind::RawEpoll => epoll::serve(task),
        Kind::Tokio => tokio::serve(task),
        #[cfg(feature = "peers")]
        Kind::Mio => mio::serve(task),
        #[cfg(feature = "peers")]
        Kind::Monoio => monoio::serve(task),
        #[cfg(feature = "peers")]
        Kind::Compio => compio::serve(task),
        #[cfg(feature = "peers")]
        Kind::Glommio => glommio::serve(task),
        #[cfg(not(feature = "peers"))]
        Kind::Mio | Kind::Monoio | Kind::Compio | Kind::Glommio => {
            Err(io::Error::other("built without the feature `peers`"))
        }
    };
    served.or_else(|err| say(&format!("unavailable: {err}")))
}

/// Prints one line for the parent.
fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A TCP listener for the servers that do not make their own.
fn listen_tcp() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?; // accepted sockets inherit it
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_udp() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Says where the server can be reached and watches standard input on a thread of its own.
fn announce(task: &Task, place: Place) -> io::Result<()> {
    announce_with(task, place, || say("-"), || process::exit(0))
}

/// The same for a server that answers for itself.
fn announce_with(
    task: &Task,
    place: Place,
    mut on_line: impl FnMut() -> io::Result<()> + Send + 'static,
    on_end: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let number = task.number;
    say(&serde_json::to_string(&Announced { number, place })?)?;
    if number > 0 {
        return Ok(());
    }
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.and_then(|_| on_line()).is_err() {
                break;
            }
        }
        on_end();
    });
    Ok(())
}
