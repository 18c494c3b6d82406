//! Servers on sockets from elsewhere: handed over by a service manager, or opened by the program.
//!
//! Invariant: a server comes to be from a socket that fits it, with every option set, or nothing is
//! listed. The descriptor is the engine's either way and closed with the server, or with the refusal;
//! whoever wants to try again keeps a duplicate.

use std::os::fd::OwnedFd;

use socket2::Socket;

use super::{Engine, Start};
use crate::{
    address::Address,
    contact::Role,
    machine::Phase,
    process::Shared,
    reactor::{self, Descriptors, FileSpec, Kind, Op, SockId, SysError},
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
        self.reactor.adopt(socket.into(), role, !start.stopped).map_err(|err| {
            if err == SysError::unsupported(Op::Open) {
                return AdoptError::Unsupported(self.reactor.caps().name);
            }
            AdoptError::Sys(err)
        })
    }
}
