//! A service whose connections are handed over: one listener, a thread that accepts, and the shards that
//! have a server for it.
//!
//! Invariant: every connection goes to one shard, in rotation among those that keep up; while all have as
//! many waiting as they may, the rest stay in the backlog. The listener is closed when the last shard has
//! left, before whoever left goes on. The locks of this file are held for moves and options only, and never two
//! of them.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use netproc_core::{
    address::Address,
    options::SockOption,
    reactor::{Op, OpenSpec, SysError},
    socket::{self, BoundFile},
    table::ProcessId,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::Handed;
use crate::handle::Handle;

/// Connections that one shard may have waiting.
const WAITING_MAX: usize = 64;
/// How long the thread rests that could not accept.
pub(super) const REST: Duration = Duration::from_millis(100);

/// See the file's head.
#[derive(Debug)]
pub(super) struct Service {
    local: Address,
    /// To be removed with the last server that is deleted.
    file: Option<BoundFile>,
    state: Mutex<State>,
    /// A shard has room again, or it is over.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    /// Until it is closed; the thread has it as well.
    listener: Option<Arc<socket2::Socket>>,
    acceptor: Option<Acceptor>,
    members: Vec<Member>,
    /// Where the rotation goes on.
    next: usize,
    over: bool,
    /// Why the thread never will accept again; it is over then as well.
    failed: Option<SysError>,
}

/// The thread that accepts; it ends when the other end of its stream is closed.
#[derive(Debug)]
struct Acceptor {
    thread: JoinHandle<()>,
    _stop: UnixStream,
}

/// A shard's server.
#[derive(Debug)]
struct Member {
    shard: usize,
    server: ProcessId,
    /// Counted, since a handle that is dropped wakes its runtime.
    handle: Arc<Handle>,
    waiting: usize,
}

impl State {
    /// Who is next: the first in rotation of those with the fewest waiting.
    fn pick(&self) -> Option<usize> {
        let count = self.members.len();
        let rotation = (0..count).map(|at| (self.next + at) % count);
        rotation.min_by_key(|at| self.members[*at].waiting)
    }

    fn find(&mut self, shard: usize, server: ProcessId) -> Option<usize> {
        self.members.iter().position(|it| (it.shard, it.server) == (shard, server))
    }
}

impl Service {
    /// Opens a listener as a server would.
    pub(super) fn open(spec: &OpenSpec<'_>, backlog: u32) -> Result<Arc<Self>, SysError> {
        let listener = socket::listener(spec, backlog)?;
        let unlinks = spec.file.unlink_on_delete;
        let file = unlinks.then(|| BoundFile::of(&listener).ok()).flatten();
        let local = socket::local_addr(&listener)?;
        Ok(Self::over(listener.into(), local, file))
    }

    /// The same of a listener that is there.
    pub(super) fn over(listener: OwnedFd, local: Address, file: Option<BoundFile>) -> Arc<Self> {
        let state = State {
            listener: Some(Arc::new(listener.into())),
            acceptor: None,
            members: Vec::new(),
            next: 0,
            over: false,
            failed: None,
        };
        Arc::new(Self { local, file, state: Mutex::new(state), room: Condvar::new() })
    }

    /// Where it listens.
    pub(super) const fn local(&self) -> &Address {
        &self.local
    }

    /// Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard has a server for it.
    pub(super) fn join(&self, shard: usize, server: ProcessId, handle: Handle) {
        let handle = Arc::new(handle);
        let member = Member { shard, server, handle: Arc::clone(&handle), waiting: 0 };
        let mut state = self.lock();
        state.members.push(member);
        let failed = state.failed;
        drop(state);
        // A connection that waits for room may have it here.
        self.room.notify_all();
        if let Some(err) = failed {
            // The others were told before it was one of them.
            let _gone = handle.post(move |rt| rt.accept_failed_for(server, err, true));
        }
    }

    /// Begins to accept, if it has not.
    pub(super) fn serve(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.lock();
        let unserved = state.listener.as_ref().filter(|_| state.acceptor.is_none());
        let Some(listener) = unserved.cloned() else { return Ok(()) };
        let (stop, stopped) = UnixStream::pair()?;
        listener.set_nonblocking(true)?;
        let service = Arc::clone(self);
        let thread = thread::Builder::new().name("netproc-accept".into());
        let thread = crate::thread::start(thread, move || service.accept(&listener, &stopped))?;
        state.acceptor = Some(Acceptor { thread, _stop: stop });
        Ok(())
    }

    /// Sets an option of the listener, which its later connections inherit, whichever shard gets them.
    pub(super) fn set_option(&self, option: &SockOption) -> Result<(), SysError> {
        // Under the lock, so that nobody who closes it meanwhile finds its address still in use.
        let state = self.lock();
        let Some(listener) = &state.listener else {
            return Err(SysError { op: Op::Option, errno: Errno::EBADF as i32 });
        };
        let set = socket::set_option(listener, option);
        set.map_err(|err| SysError::new(Op::Option, &err))
    }

    /// A shard's server is gone; returns whether it is over: it was the last, or no other will ever get anything.
    /// Then [`close`](Self::close) follows.
    pub(super) fn leave(&self, shard: usize, server: ProcessId) -> bool {
        let mut state = self.lock();
        let at = state.find(shard, server);
        let left = at.map(|at| state.members.remove(at));
        state.over |= state.members.is_empty();
        let over = state.over;
        drop(state);
        self.room.notify_all();
        // Its handle wakes somebody, which is nothing to do under a lock.
        drop(left);
        over
    }

    /// Closes the listener, so that its address is free when this returns; with `deleted` its file goes.
    pub(super) fn close(&self, deleted: bool) {
        if let Some(file) = self.file.as_ref().filter(|_| deleted) {
            // Before the close: the socket keeps the inode.
            file.remove();
        }
        let mut state = self.lock();
        let (acceptor, listener) = (state.acceptor.take(), state.listener.take());
        drop(state);
        drop(listener);
        if let Some(Acceptor { thread, _stop }) = acceptor {
            drop(_stop);
            // It calls nobody, and whatever it waits for has just ended.
            let _panicked = thread.join();
        }
    }

    /// Hands a connection to a shard; one that is `patient` waits for room. Without any shard it is closed.
    fn hand(self: &Arc<Self>, fd: OwnedFd, patient: bool) {
        let mut state = self.lock();
        let at = loop {
            match state.pick().filter(|_| !state.over) {
                None => return,
                Some(at) if patient && state.members[at].waiting >= WAITING_MAX => {
                    state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(at) => break at,
            }
        };
        state.next = at + 1;
        let member = &mut state.members[at];
        member.waiting += 1;
        let (shard, server, handle) = (member.shard, member.server, Arc::clone(&member.handle));
        drop(state);
        let ticket = Ticket { service: Arc::clone(self), shard, server };
        // A runtime that is gone has ended, and all shards are ending.
        let _gone = handle.hand(Handed { fd, ticket });
    }

    /// Tells a shard, or all of them, that accepting has failed.
    fn failed(&self, err: SysError, ended: bool) {
        let mut state = self.lock();
        if ended {
            // The first to leave takes it away, so that whoever starts it anew does not join this one.
            (state.over, state.failed) = (true, Some(err));
        }
        let at = state.pick();
        let told: Vec<_> = match at {
            Some(at) if !ended => {
                state.next = at + 1;
                vec![at]
            }
            _ => (0..state.members.len()).collect(),
        };
        let member = |at: usize| {
            let member = &state.members[at];
            (member.server, Arc::clone(&member.handle))
        };
        let told: Vec<_> = told.into_iter().map(member).collect();
        drop(state);
        for (server, handle) in told {
            let _gone = handle.post(move |rt| rt.accept_failed_for(server, err, ended));
        }
    }

    /// What the thread does.
    fn accept(self: Arc<Self>, listener: &socket2::Socket, stopped: &UnixStream) {
        while !is_readable(stopped, Some(listener), PollTimeout::NONE) {
            let err = match listener.accept() {
                Ok((connection, _)) => {
                    self.hand(connection.into(), true);
                    continue;
                }
                Err(err) => err,
            };
            let again = matches!(
                err.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted
            );
            if again {
                continue;
            }
            let err = SysError::new(Op::Accept, &err);
            self.failed(err, err.ends_listening());
            let rest = PollTimeout::try_from(REST).unwrap_or(PollTimeout::ZERO);
            if err.ends_listening() || is_readable(stopped, None, rest) {
                break;
            }
        }
    }
}

/// Waits until one of the two has something, at most `timeout`; returns whether it was `stopped`.
fn is_readable(
    stopped: &UnixStream,
    listener: Option<&socket2::Socket>,
    timeout: PollTimeout,
) -> bool {
    let mut fds = vec![PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    fds.extend(listener.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
    match poll(&mut fds, timeout) {
        Ok(_) => fds[0].any() == Some(true),
        Err(Errno::EINTR | Errno::EAGAIN) => false,
        // The descriptors are ours; what else there could be would be so for ever.
        Err(_) => true,
    }
}

/// A connection that a shard has been handed and whose server has not taken it yet.
#[derive(Debug)]
pub(super) struct Ticket {
    service: Arc<Service>,
    shard: usize,
    server: ProcessId,
}

impl Ticket {
    /// Whose connection it is.
    pub(super) const fn server(&self) -> ProcessId {
        self.server
    }

    /// The server is gone: another shard's shall have it.
    pub(super) fn pass_on(self, fd: OwnedFd) {
        let service = Arc::clone(&self.service);
        drop(self);
        service.hand(fd, false);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.service.lock();
        if let Some(at) = state.find(self.shard, self.server) {
            state.members[at].waiting -= 1;
        }
        drop(state);
        self.service.room.notify_one();
    }
}
