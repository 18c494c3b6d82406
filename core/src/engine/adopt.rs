//! Sockets from elsewhere: servers on those that a service manager has handed over or the program has
//! opened, and connections that somebody else has accepted for a server.
//!
//! Invariant: a server comes to be from a socket that fits it, with every option set, or nothing is
//! listed; a connection is born as if its server had accepted it, in order. The descriptor is the engine's
//! either way and closed with the process, or with the refusal; whoever wants to try again keeps a
//! duplicate.

use std::{os::fd::OwnedFd, time::Duration};

use socket2::Socket;

use super::{Engine, Start};
use crate::{
    address::Address,
    contact::Role,
    machine::Phase,
    process::{Process, Shared},
    reactor::{self, Descriptors, FileSpec, Kind, Op, SockId, SysError},
    slots::Key,
    socket::{self, AdoptError},
};

impl<R: Descriptors, H: Clone> Engine<R, H> {
    /// Makes a server of a socket that listens, of the kind of `start`. Where it listens, with which
    /// backlog, and what becomes of its file was decided by whoever opened it.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]; no process is left.
    pub fn adopt_listener(
        &mut self,
        start: Start<H>,
        fd: OwnedFd,
    ) -> Result<Shared<H>, AdoptError> {
        let sock = self.adopt(&start, fd, reactor::Role::Listener)?;
        let start = Start { file: FileSpec::default(), ..start };
        Ok(self.list_started(start, Role::Server, Phase::Listen, sock))
    }

    /// Makes a packet server of a bound socket; it sends to `remote`, if given, until it hears from
    /// somebody.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]; `EAFNOSUPPORT` for a `remote` of another family. No process is left.
    pub fn adopt_datagram(
        &mut self,
        start: Start<H>,
        fd: OwnedFd,
        remote: Option<&Address>,
    ) -> Result<Shared<H>, AdoptError> {
        if let Some(remote) = remote {
            let (_, local) = socket::describe(&fd).map_err(AdoptError::Sys)?;
            if local.family() != remote.family() {
                let err = SysError { op: Op::Connect, errno: libc::EAFNOSUPPORT };
                return Err(AdoptError::Sys(err));
            }
        }
        let sock = self.adopt(&start, fd, reactor::Role::Datagram)?;
        let start = Start { file: FileSpec::default(), ..start };
        let process = self.list_started(start, Role::Server, Phase::Open, sock);
        process.borrow_mut().contact.set_remote(remote.cloned());
        Ok(process)
    }

    /// Makes a server for which somebody else accepts, at `local`: it has no socket, and its connections come
    /// by [`adopt_connection`](Self::adopt_connection).
    pub fn serve_handed(&mut self, start: Start<H>, local: Address) -> Shared<H> {
        let process = self.list_start(start, Role::Server, Phase::Listen, None);
        process.borrow_mut().contact.set_local(Some(local));
        process
    }

    /// Has a server take over a connection that was accepted elsewhere. It is born as any other: in its turn,
    /// and only when the server is neither stopped nor full, which
    /// [`Process::takes_connections`] tells.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]; the connection is closed.
    pub fn adopt_connection(&mut self, server: &Shared<H>, fd: OwnedFd) -> Result<(), AdoptError> {
        let s = server.borrow();
        let kind = s.kind;
        if s.phase != Phase::Listen {
            return Err(AdoptError::NotAccepting);
        }
        drop(s);
        socket::check_connection(&fd, kind)?;
        let adopted = self.reactor.adopt(fd, reactor::Role::Connection, false);
        let id = adopted.map_err(|err| self.not_adopted(err))?;
        let peer = self.reactor.peer_addr(id).ok();
        // No reactor has a listener for it; whose it is, is known.
        self.store(server, reactor::Event::Accepted { listener: id, id, peer });
        Ok(())
    }

    /// Whoever accepts for `server` could not; it is logged as if the server had tried.
    pub fn accept_failed(&mut self, server: &Shared<H>, err: SysError, paused: Option<Duration>) {
        let entry = self.handle_accept_failed(server, err, paused);
        self.notices.extend(entry);
    }

    /// Whoever accepted for `server` never will again: it ends as one whose socket is gone, behind the connections it
    /// has been given, and only when it is not stopped.
    pub fn accepts_no_more(&mut self, server: &Shared<H>, err: SysError) {
        // No reactor has a listener for it; whose end it is, is known.
        let id = SockId(Key::new(0, 0));
        self.store(server, reactor::Event::Closed { id, cause: Some(err), unsent: 0 });
    }

    fn not_adopted(&self, err: SysError) -> AdoptError {
        if err == SysError::unsupported(Op::Open) {
            return AdoptError::Unsupported(self.reactor.caps().name);
        }
        AdoptError::Sys(err)
    }

    /// Hands a socket that fits to the reactor, with the options of `start` set.
    fn adopt(
        &mut self,
        start: &Start<H>,
        fd: OwnedFd,
        role: reactor::Role,
    ) -> Result<SockId, AdoptError> {
        debug_assert_eq!(role == reactor::Role::Datagram, start.kind == Kind::Datagram);
        socket::check_server(&fd, start.kind)?;
        let socket = Socket::from(fd);
        for option in &start.options {
            let set = socket::set_option(&socket, option);
            set.map_err(|err| AdoptError::Sys(SysError::new(Op::Option, &err)))?;
        }
        let adopted = self.reactor.adopt(socket.into(), role, !start.stopped);
        adopted.map_err(|err| self.not_adopted(err))
    }
}

impl<H> Process<H> {
    /// Whether a connection handed to it now would be born next: a server that is neither stopped nor full, and
    /// has none that waits already. Who waits would be lost with it.
    #[must_use]
    pub fn takes_connections(&self) -> bool {
        self.phase == Phase::Listen
            && self.takes_input()
            && self.inbox.is_empty()
            && self.has_place()
    }
}
