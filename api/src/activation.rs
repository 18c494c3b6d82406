//! Sockets handed to this process at its start by a service manager, as systemd and
//! `systemd-socket-activate` do: the environment says how many, for whom, and by which names.
//!
//! Invariant: a socket is one server's at most, in the whole process; one that was refused stays. The
//! environment is read once, when somebody first asks, and never changed: whoever is started from here
//! sees by its pid that the sockets are not meant for it. Taking the descriptors is core's `socket.rs`.

use std::{
    os::fd::OwnedFd,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use netproc_core::{
    address::Address,
    reactor::{Kind, Op, SysError},
    socket,
};

use crate::error::StartError;

/// More sockets than this nobody hands over: the number is wrong.
const COUNT_MAX: usize = 4096;
/// The name of a socket where none is told.
const UNKNOWN: &str = "unknown";

/// A socket that was handed to this process at its start and that no server has taken yet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ExternalSocket {
    /// The name it was given (`FileDescriptorName=` of a systemd unit); `unknown` where none was.
    pub name: String,
    /// Stream, packets or records: what the server has to be.
    pub kind: Kind,
    /// Where it is bound.
    pub local: Address,
}

/// The sockets handed to this process at its start and not taken by a server yet, in order.
///
/// Empty where nobody handed any over: the usual case. Reads the environment when it, or a start with
/// [`use_external_socket`](crate::ServerBuilder::use_external_socket), is first called; `LISTEN_PID`
/// has to be this process, `LISTEN_FDS` a sensible number. What is no socket is left out and left
/// alone. Names that do not match the number of sockets are not believed. Never blocks.
///
/// # Examples
///
/// ```
/// // Nobody has started this test with a socket.
/// assert!(netproc::external_sockets().is_empty());
/// ```
///
/// # Source
///
/// sd_listen_fds(3). Differs: the environment stays as it is.
#[must_use]
pub fn external_sockets() -> Vec<ExternalSocket> {
    let described = |handed: &Handed| {
        let (kind, local) = socket::describe(&handed.fd).ok()?;
        Some(ExternalSocket { name: handed.name.clone(), kind, local })
    };
    lock().iter().filter_map(described).collect()
}

/// A socket not taken yet.
#[derive(Debug)]
struct Handed {
    name: String,
    fd: OwnedFd,
}

fn lock() -> MutexGuard<'static, Vec<Handed>> {
    static HANDED: LazyLock<Mutex<Vec<Handed>>> = LazyLock::new(|| Mutex::new(handed_over()));
    // A panic under this lock leaves the list whole: it loses one element by one call.
    HANDED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handed_over() -> Vec<Handed> {
    let variable = |name| std::env::var(name).ok();
    let (pid, fds) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
    let count = count(pid.as_deref(), fds.as_deref(), std::process::id());
    let names = names(variable("LISTEN_FDNAMES").as_deref(), count);
    let sockets = socket::take_passed(count);
    let named = sockets.into_iter().zip(names);
    named.filter_map(|(fd, name)| fd.map(|fd| Handed { name, fd })).collect()
}

/// How many descriptors the environment promises to the process `own`.
fn count(pid: Option<&str>, fds: Option<&str>, own: u32) -> usize {
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let pid = pid.filter(digits).and_then(|pid| pid.parse().ok());
    let fds = fds.filter(digits).and_then(|fds| fds.parse().ok());
    fds.filter(|&count| pid == Some(own) && count <= COUNT_MAX).unwrap_or(0)
}

/// A name for each of `count` descriptors.
fn names(told: Option<&str>, count: usize) -> Vec<String> {
    let told = told.map(|names| names.split(':').map(String::from).collect::<Vec<_>>());
    told.filter(|names| names.len() == count).unwrap_or_else(|| vec![UNKNOWN.into(); count])
}

/// A socket about to be taken. Nobody else can take any meanwhile, so that one that was refused still
/// has its place in the order; whoever holds this must not run anybody's code.
#[derive(Debug)]
pub(crate) struct Offer {
    handed: MutexGuard<'static, Vec<Handed>>,
    at: usize,
}

impl Offer {
    /// The first socket left of that name, if one is given, that a server of that kind can have; if there is none,
    /// the first all the same, whose misfit is worth telling.
    pub(crate) fn find(name: Option<&str>, kind: Kind) -> Option<Self> {
        let handed = lock();
        let named = |it: &Handed| name.is_none_or(|name| it.name == name);
        let fits = |it: &Handed| socket::check_server(&it.fd, kind).is_ok();
        let fitting = handed.iter().position(|it| named(it) && fits(it));
        let at = fitting.or_else(|| handed.iter().position(named))?;
        Some(Self { handed, at })
    }

    /// Has `start` make a server of it; the socket stays here for another one if that fails.
    pub(crate) fn serve<T>(
        self,
        start: impl FnOnce(OwnedFd) -> Result<T, StartError>,
    ) -> Result<T, StartError> {
        let made = start(self.duplicate()?)?;
        self.take();
        Ok(made)
    }

    /// What a server is made of: a duplicate, since the original is what stays if that fails. Both are the same
    /// socket to the system.
    pub(crate) fn duplicate(&self) -> Result<OwnedFd, StartError> {
        let own = self.handed[self.at].fd.try_clone();
        own.map_err(|err| StartError::Sys { address: None, source: SysError::new(Op::Open, &err) })
    }

    /// A server stands on it: nobody else is given it.
    pub(crate) fn take(mut self) {
        self.handed.remove(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sensible_promise_to_this_process_counts() {
        let cases = [
            (Some("77"), Some("1"), 1),
            (Some("77"), Some("4096"), 4096),
            (Some("77"), Some("0"), 0),
            (Some("77"), Some("4097"), 0),
            (Some("77"), Some("18446744073709551616"), 0),
            (Some("77"), Some("-1"), 0),
            (Some("77"), Some("+1"), 0),
            (Some("77"), Some(" 1"), 0),
            (Some("77"), Some("1x"), 0),
            (Some("77"), Some(""), 0),
            (Some("77"), None, 0),
            (Some("78"), Some("1"), 0),
            (Some("+77"), Some("1"), 0),
            (Some("4294967373"), Some("1"), 0),
            (Some(""), Some("1"), 0),
            (Some("self"), Some("1"), 0),
            (None, Some("1"), 0),
            (None, None, 0),
        ];
        for (pid, fds, expected) in cases {
            assert_eq!(count(pid, fds, 77), expected, "{pid:?} {fds:?}");
        }
    }

    #[test]
    fn names_are_believed_only_if_there_is_one_for_each() {
        let cases: [(_, _, &[&str]); 7] = [
            (Some("http"), 1, &["http"]),
            (Some("http:admin"), 2, &["http", "admin"]),
            (Some("a::b"), 3, &["a", "", "b"]),
            (Some("http"), 2, &["unknown", "unknown"]),
            (Some("http:admin"), 1, &["unknown"]),
            (Some(""), 1, &[""]),
            (None, 2, &["unknown", "unknown"]),
        ];
        for (told, count, expected) in cases {
            assert_eq!(names(told, count), expected, "{told:?}");
        }
    }
}
