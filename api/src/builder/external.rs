//! Servers on sockets that somebody else has opened: handed over at the start of this process, or the
//! program's own.
//!
//! Invariant: a start that fails leaves a socket that was handed over where it was. What the contact
//! shows of host, service and family is the socket's, not what was asked for in its place.

use std::os::fd::OwnedFd;

use netproc_core::{
    address::Address,
    engine::Start,
    reactor::FileSpec,
    socket::{self, AdoptError},
};

use super::{ServerBuilder, Service};
use crate::{
    activation::Offer, error::StartError, handlers::Handlers, open, process::Process,
    runtime::Runtime,
};

/// Where the socket of a server comes from.
#[derive(Default)]
pub(super) enum Origin {
    /// From `start`.
    #[default]
    Own,
    /// From whoever started this process: the first, or the first of that name; from `start` if there
    /// is none.
    External(Option<String>),
    /// From the program.
    Adopted(OwnedFd),
}

impl ServerBuilder {
    /// `:use-external-socket`: serve on the first socket that was handed to this process at its start, that fits and
    /// that no server has taken yet. Default `false`.
    ///
    /// Ignored when there is none left: the server then opens a socket as the other methods say. Each
    /// socket is given once, to the first server that asks and fits; if none that is left fits, `start` fails with
    /// [`StartError::Adopt`]. Of the other methods `host`,
    /// `service`, `family`, `local`, `backlog`, `reuse_port` and those about a file then do nothing,
    /// since whoever opened the socket has decided; options are set on it, among [`Shards`](crate::Shards) those of
    /// the server that takes it, and stay set when `start` fails later than that. Which sockets there are says
    /// [`external_sockets`](crate::external_sockets).
    ///
    /// # Examples
    ///
    /// ```
    /// // Started from a shell: a port of its own. Started by systemd with a socket: that one.
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").host("127.0.0.1").service(0).use_external_socket(true).start()?;
    /// assert_ne!(server.contact().local().port(), Some(0));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Processes" (`:use-external-socket`); sd_listen_fds(3). Differs:
    /// any number of sockets, by name too ([`external_socket`](Self::external_socket)).
    pub fn use_external_socket(mut self, on: bool) -> Self {
        self.origin = if on { Origin::External(None) } else { Origin::Own };
        self
    }

    /// The same for the first socket of this name (`FileDescriptorName=` of a systemd unit), ignored when
    /// none of that name is left.
    pub fn external_socket(mut self, name: &str) -> Self {
        self.origin = Origin::External(Some(name.into()));
        self
    }

    /// Serve on a socket the program has opened itself: one that listens, or a bound packet socket.
    ///
    /// Of the other methods `host`, `service`, `family`, `local` and `backlog` then do nothing. The
    /// socket is the server's from now on: it is closed when the server is deleted, and also when
    /// `start` fails. A duplicate of it that somebody else keeps goes on listening.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{AdoptError, Runtime, StartError};
    /// use std::net::TcpListener;
    ///
    /// let rt = Runtime::new()?;
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let local = listener.local_addr().unwrap();
    /// let refused = rt.server("s").datagram().adopt(listener.try_clone().unwrap()).start();
    /// assert!(matches!(refused, Err(StartError::Adopt(AdoptError::Kind { .. }))));
    /// let server = rt.server("s").adopt(listener).start()?;
    /// assert_eq!(*server.contact().local(), local.into());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub fn adopt(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.origin = Origin::Adopted(fd.into());
        self
    }

    /// Starts on the socket that was given, if one was.
    pub(super) fn start_given(mut self) -> Result<Process, StartError> {
        match std::mem::take(&mut self.origin) {
            Origin::Own => self.start_own(false),
            Origin::Adopted(fd) => {
                if self.common.file != FileSpec::default() || self.reuse_port {
                    return Err(StartError::Incompatible(
                        "a socket that is bound already takes no choices about its file or address",
                    ));
                }
                self.start_on(fd, false)
            }
            Origin::External(name) => {
                // Above the offer, so dropped after it: what runs closures when it goes must not find
                // the list of sockets locked.
                let _kept = self.common.kept();
                let rt = self.common.rt.clone();
                if let Some(seat) = rt.seat().filter(|seat| self.shares(seat)) {
                    match self.start_external(seat, name.as_deref())? {
                        Ok(process) => return Ok(process),
                        Err(own) => return own.start_own(true),
                    }
                }
                match Offer::find(name.as_deref(), self.common.kind) {
                    Some(offer) => offer.serve(|fd| self.start_on(fd, true)),
                    None => self.start_own(true),
                }
            }
        }
    }

    fn start_on(self, fd: OwnedFd, external: bool) -> Result<Process, StartError> {
        let described = socket::describe(&fd);
        let (_, local) = described.map_err(|err| StartError::Adopt(AdoptError::Sys(err)))?;
        self.start_at(&local, external, |rt, start, remote| open::adopted(rt, start, fd, remote))
    }

    /// Has `open` start on a socket that is at `local` already.
    pub(super) fn start_at(
        mut self,
        local: &Address,
        external: bool,
        open: impl FnOnce(&Runtime, Start<Handlers>, Option<&Address>) -> Result<Process, StartError>,
    ) -> Result<Process, StartError> {
        self.common.host = None;
        self.common.family = Some(local.family());
        self.common.service = Some(service(local));
        self.check_keywords()?;
        let asked = self.asked(external);
        let rt = self.common.rt.clone();
        let _kept = self.common.kept();
        let start = self.common.start(asked, false)?;
        open(&rt, start, self.remote.as_ref())
    }
}

/// What stands for the address of a socket as a service.
fn service(local: &Address) -> Service {
    if let Address::Local(path) = local {
        return Service::Name(String::from_utf8_lossy(path).into_owned());
    }
    if let Address::Abstract(name) = local {
        return Service::Name(format!("\0{}", String::from_utf8_lossy(name)));
    }
    local.port().map_or(Service::Any, Service::Port)
}
