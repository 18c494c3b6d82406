//! Picks a reactor and hides which: the one place of this crate that knows systems apart.
//!
//! Invariant: the choice is made once, when a runtime is made; afterwards it is one predicted
//! branch per call. Automatic choice never fails because io_uring does.

#[cfg(unix)]
use std::os::fd::{BorrowedFd, OwnedFd};
use std::{fmt, io, str::FromStr};

use netproc_core::{
    address::Address,
    options::SockOption,
    outbox::Outbox,
    queue::EventQueue,
    reactor::{
        Caps, CloseHow, Config, Counters, Credentials, Descriptors, OpenSpec, Payload, Reactor,
        Role, SockId, SysError, Tick, Wait, Wake,
    },
    socket::BoundFile,
};
#[cfg(feature = "sim")]
use netproc_core::{
    reactor::Op,
    sim::{SimReactor, SimWaker},
};
use netproc_poll::{Mechanism, PollReactor};
#[cfg(all(target_os = "linux", feature = "uring"))]
use netproc_uring::UringReactor;

/// Descriptors that connections of a server leave to everything else, unless it is told otherwise.
#[cfg(unix)]
const RESERVED: usize = 64;

/// How many connections there are descriptors for; `None` without a limit.
pub(crate) fn connections_max() -> Option<usize> {
    #[cfg(unix)]
    let max = netproc_core::reserve::descriptors_max();
    #[cfg(unix)]
    let max = max.map(|max| max.saturating_sub(RESERVED).max(1));
    #[cfg(not(unix))]
    let max = None;
    max
}

/// The environment variable that decides where the program leaves the choice open.
const OVERRIDE: &str = "NETPROC_BACKEND";

/// Which reactor to run on.
///
/// As text: `auto`, `uring`, `epoll`, `kqueue`, `poll`; the last three name a mechanism.
///
/// # Examples
///
/// ```
/// use netproc::{Backend, Mechanism};
///
/// assert_eq!("epoll".parse(), Ok(Backend::Mechanism(Mechanism::Epoll)));
/// assert_eq!(Backend::Uring.to_string(), "uring");
/// assert!("iocp".parse::<Backend>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Backend {
    /// What `NETPROC_BACKEND` says, else io_uring if it works, else the readiness backend.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// The readiness backend with the best mechanism of this system.
    Poll,
    /// The readiness backend with this mechanism, or an error.
    Mechanism(Mechanism),
}

/// Text that names no backend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown backend {0:?}: auto, uring, epoll, kqueue or poll")]
#[non_exhaustive]
pub struct ParseBackendError(pub String);

impl FromStr for Backend {
    type Err = ParseBackendError;

    fn from_str(text: &str) -> Result<Self, ParseBackendError> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" | "io_uring" => Ok(Self::Uring),
            "epoll" => Ok(Self::Mechanism(Mechanism::Epoll)),
            "kqueue" => Ok(Self::Mechanism(Mechanism::Kqueue)),
            "poll" => Ok(Self::Mechanism(Mechanism::Poll)),
            _ => Err(ParseBackendError(text.into())),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Uring => f.pad("uring"),
            Self::Poll => f.pad("readiness"),
            Self::Mechanism(mechanism) => f.pad(&mechanism.to_string()),
        }
    }
}

impl Backend {
    /// The backends that work on this machine now, the preferred one first. Tries io_uring.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let uring = AnyReactor::uring(&Config::default()).is_ok().then_some(Self::Uring);
        let rest = Mechanism::available().iter().map(|&mechanism| Self::Mechanism(mechanism));
        uring.into_iter().chain(rest).collect()
    }
}

/// Why no reactor could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// io_uring was asked for and does not work; the text says which step failed how.
    #[error("io_uring does not work here: {0}")]
    Uring(String),
    /// The readiness mechanism does not work.
    #[error("{backend} does not work here")]
    Poll {
        /// What was asked for.
        backend: Backend,
        /// What the system said.
        source: SysError,
    },
    /// `NETPROC_BACKEND` names no backend.
    #[error("{OVERRIDE}: {0}")]
    Override(ParseBackendError),
}

/// The reactor a runtime runs on, and why. `Display` gives the mechanism: `io_uring`, `epoll`,
/// `kqueue`, `poll`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    name: &'static str,
    reason: String,
}

impl Choice {
    /// The mechanism.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Why this one: who asked for it, or what is wrong with the better one.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// One of the reactors; every method is a `match`.
#[derive(Debug)]
pub(crate) enum AnyReactor {
    #[cfg(all(target_os = "linux", feature = "uring"))]
    Uring(Box<UringReactor>),
    Poll(Box<PollReactor>),
    #[cfg(feature = "sim")]
    Sim(Box<SimReactor>),
}

/// Says why automatic choice did not take io_uring, or that it was not there to take.
#[cfg(all(target_os = "linux", feature = "uring"))]
fn why_not(err: &str) -> String {
    format!("io_uring does not work here: {err}")
}

#[cfg(not(all(target_os = "linux", feature = "uring")))]
fn why_not(err: &str) -> String {
    err.to_owned()
}

/// An error with its causes, for where it is kept as text.
#[cfg(all(target_os = "linux", feature = "uring"))]
fn with_causes(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(err.source(), |&cause| cause.source());
    causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl AnyReactor {
    #[cfg(all(target_os = "linux", feature = "uring"))]
    fn uring(config: &Config) -> Result<Self, String> {
        let made = UringReactor::new(*config);
        made.map(|reactor| Self::Uring(Box::new(reactor))).map_err(|err| with_causes(&err))
    }

    #[cfg(not(all(target_os = "linux", feature = "uring")))]
    fn uring(_: &Config) -> Result<Self, String> {
        if cfg!(target_os = "linux") {
            Err("built without the feature `uring`".into())
        } else {
            Err("io_uring is Linux's alone".into())
        }
    }

    fn readiness(backend: Backend, config: &Config) -> Result<Self, BackendError> {
        let made = match backend {
            Backend::Mechanism(mechanism) => PollReactor::with(mechanism, *config),
            Backend::Auto | Backend::Uring | Backend::Poll => PollReactor::new(*config),
        };
        made.map(|reactor| Self::Poll(Box::new(reactor)))
            .map_err(|source| BackendError::Poll { backend, source })
    }

    /// Makes the reactor that `asked` and the environment lead to.
    pub(crate) fn choose(asked: Backend, config: &Config) -> Result<(Self, Choice), BackendError> {
        let named = std::env::var(OVERRIDE).ok().filter(|text| !text.is_empty());
        let (backend, who) = match (asked, named) {
            (Backend::Auto, Some(text)) => {
                (text.parse().map_err(BackendError::Override)?, format!("{OVERRIDE}={text}"))
            }
            (asked, _) => (asked, "asked for by the program".into()),
        };
        let (reactor, reason) = match backend {
            Backend::Auto => match Self::uring(config) {
                Ok(reactor) => (reactor, "the probe passed: it works here".into()),
                Err(err) => (Self::readiness(backend, config)?, why_not(&err)),
            },
            Backend::Uring => {
                let made = Self::uring(config);
                (made.map_err(BackendError::Uring)?, who)
            }
            Backend::Poll | Backend::Mechanism(_) => (Self::readiness(backend, config)?, who),
        };
        let name = reactor.caps().name;
        Ok((reactor, Choice { name, reason }))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(reactor: SimReactor) -> (Self, Choice) {
        let choice = Choice { name: reactor.caps().name, reason: "a simulation was given".into() };
        (Self::Sim(Box::new(reactor)), choice)
    }
}

/// Wakes whichever reactor there is.
#[derive(Clone, Debug)]
pub(crate) enum AnyWaker {
    #[cfg(all(target_os = "linux", feature = "uring"))]
    Uring(<UringReactor as Reactor>::Waker),
    Poll(<PollReactor as Reactor>::Waker),
    #[cfg(feature = "sim")]
    Sim(SimWaker),
}

impl Wake for AnyWaker {
    fn wake(&self) {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(waker) => waker.wake(),
            Self::Poll(waker) => waker.wake(),
            #[cfg(feature = "sim")]
            Self::Sim(waker) => waker.wake(),
        }
    }
}

/// Calls the same method on whichever reactor there is.
macro_rules! each {
    ($self:expr, $reactor:ident => $call:expr) => {
        match $self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring($reactor) => $call,
            Self::Poll($reactor) => $call,
            #[cfg(feature = "sim")]
            Self::Sim($reactor) => $call,
        }
    };
}

impl Reactor for AnyReactor {
    type Waker = AnyWaker;

    fn caps(&self) -> Caps {
        each!(self, r => r.caps())
    }

    fn counters(&self) -> Counters {
        each!(self, r => r.counters())
    }

    fn now(&self) -> Tick {
        each!(self, r => r.now())
    }

    fn listen(&mut self, spec: &OpenSpec<'_>, backlog: u32) -> Result<SockId, SysError> {
        each!(self, r => r.listen(spec, backlog))
    }

    fn connect(&mut self, spec: &OpenSpec<'_>, to: &Address) -> Result<SockId, SysError> {
        each!(self, r => r.connect(spec, to))
    }

    fn datagram(&mut self, spec: &OpenSpec<'_>, to: Option<&Address>) -> Result<SockId, SysError> {
        each!(self, r => r.datagram(spec, to))
    }

    fn set_reading(&mut self, id: SockId, on: bool) {
        each!(self, r => r.set_reading(id, on));
    }

    fn send(&mut self, id: SockId, data: Payload) -> u64 {
        each!(self, r => r.send(id, data))
    }

    #[inline(always)]
    fn open_outbox(&mut self, id: SockId) -> Option<&mut Outbox> {
        each!(self, r => r.open_outbox(id))
    }

    fn send_to(&mut self, id: SockId, data: Payload, to: &Address) -> u64 {
        each!(self, r => r.send_to(id, data, to))
    }

    fn queued(&self, id: SockId) -> u64 {
        each!(self, r => r.queued(id))
    }

    fn unsent(&self, id: SockId) -> Option<u64> {
        each!(self, r => r.unsent(id))
    }

    fn queued_packets(&self, id: SockId) -> usize {
        each!(self, r => r.queued_packets(id))
    }

    fn send_failure(&self, id: SockId) -> Option<(SysError, u64)> {
        each!(self, r => r.send_failure(id))
    }

    fn watch_sent(&mut self, id: SockId, on: bool) {
        each!(self, r => r.watch_sent(id, on));
    }

    fn finish(&mut self, id: SockId) {
        each!(self, r => r.finish(id));
    }

    fn close(&mut self, id: SockId, how: CloseHow) {
        each!(self, r => r.close(id, how));
    }

    fn local_addr(&self, id: SockId) -> Result<Address, SysError> {
        each!(self, r => r.local_addr(id))
    }

    fn peer_addr(&self, id: SockId) -> Result<Address, SysError> {
        each!(self, r => r.peer_addr(id))
    }

    fn set_peer(&mut self, id: SockId, to: &Address) -> Result<(), SysError> {
        each!(self, r => r.set_peer(id, to))
    }

    fn peer_credentials(&self, id: SockId) -> Result<Credentials, SysError> {
        each!(self, r => r.peer_credentials(id))
    }

    fn bound_file(&self, id: SockId) -> Result<BoundFile, SysError> {
        each!(self, r => r.bound_file(id))
    }

    fn set_option(&mut self, id: SockId, option: &SockOption) -> Result<(), SysError> {
        each!(self, r => r.set_option(id, option))
    }

    fn poll(&mut self, wait: Wait, out: &mut EventQueue) -> Result<(), SysError> {
        each!(self, r => r.poll(wait, out))
    }

    fn waker(&self) -> AnyWaker {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(reactor) => AnyWaker::Uring(reactor.waker()),
            Self::Poll(reactor) => AnyWaker::Poll(reactor.waker()),
            #[cfg(feature = "sim")]
            Self::Sim(reactor) => AnyWaker::Sim(reactor.waker()),
        }
    }
}

#[cfg(unix)]
impl Descriptors for AnyReactor {
    fn adopt(&mut self, fd: OwnedFd, role: Role, reading: bool) -> Result<SockId, SysError> {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(reactor) => reactor.adopt(fd, role, reading),
            Self::Poll(reactor) => reactor.adopt(fd, role, reading),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Err(SysError::unsupported(Op::Open)),
        }
    }

    fn adopt_pipes(
        &mut self,
        output: OwnedFd,
        input: Option<OwnedFd>,
        reading: bool,
    ) -> Result<SockId, SysError> {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(reactor) => reactor.adopt_pipes(output, input, reading),
            Self::Poll(reactor) => reactor.adopt_pipes(output, input, reading),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Err(SysError::unsupported(Op::Open)),
        }
    }

    fn wind_up(&mut self, id: SockId) {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(reactor) => reactor.wind_up(id),
            Self::Poll(reactor) => reactor.wind_up(id),
            // It never had pipes.
            #[cfg(feature = "sim")]
            Self::Sim(_) => {}
        }
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(reactor) => reactor.as_fd(),
            Self::Poll(reactor) => reactor.as_fd(),
            #[cfg(feature = "sim")]
            Self::Sim(_) => None,
        }
    }

    fn arm(&mut self, at: Option<Tick>) -> Result<(), SysError> {
        match self {
            #[cfg(all(target_os = "linux", feature = "uring"))]
            Self::Uring(reactor) => reactor.arm(at),
            Self::Poll(reactor) => reactor.arm(at),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Err(SysError::unsupported(Op::Open)),
        }
    }
}

impl From<BackendError> for io::Error {
    fn from(err: BackendError) -> Self {
        Self::other(err)
    }
}
