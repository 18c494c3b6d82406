//! The other end of a process: its contact, whom packets go to, and who a local peer is.
//!
//! Invariant: as everywhere in the handle, nothing is kept here. The system is asked only for what a
//! caller asks.

use std::os::fd::OwnedFd;

use netproc_core::{
    address::Address,
    contact::Contact,
    engine::{CredentialsError, DatagramAddressError},
    proxy::ProxyHeader,
    reactor::Credentials,
    socket::AdoptError,
};

use super::Process;

impl Process {
    /// Its contact as of the last event delivered: addresses, host, service, every keyword given.
    ///
    /// The own address of a packet client that was not bound is asked of the system until its first
    /// packet has gone; nothing else is.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Process Information" (`process-contact`).
    #[must_use]
    pub fn contact(&self) -> Contact {
        let unbound = self.shared.borrow().is_unbound();
        if unbound {
            self.rt.engine().update_local(&self.shared);
        }
        self.shared.borrow().contact().clone()
    }

    /// Has this server take over a connection that somebody else has accepted: another thread, a program that
    /// passes descriptors. It is then as if the server had accepted it: it has a name, the server's callbacks
    /// and properties, is logged, counted, and `open from` its peer, at the next wait.
    ///
    /// It is this server's from now on, also when that fails: then it is closed. While the server is stopped
    /// or full it waits, unread; how many wait so is the caller's business.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]: this is no server that accepts, that is no connection of its kind, or the backend, a
    /// simulation, has no descriptors.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{net::{TcpListener, TcpStream}, time::Duration};
    /// use netproc::{AdoptError, Event, Runtime};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// server.adopt(listener.accept().unwrap().0).unwrap();
    /// let (connection, event) = rt.next_event(Duration::from_secs(5))?.expect("an event");
    /// assert!(matches!(event, Event::OpenFrom(Some(from)) if from == client.local_addr().unwrap().into()));
    /// assert!(connection.name().starts_with("s <127.0.0.1:"));
    /// assert_eq!(server.adopt(listener), Err(AdoptError::Listening));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub fn adopt(&self, connection: impl Into<OwnedFd>) -> Result<(), AdoptError> {
        let adopted = self.rt.engine_mut().adopt_connection(&self.shared, connection.into());
        self.rt.nudge();
        adopted
    }

    /// Who is really at the other end: the proxy, where [`contact`](Self::contact) shows the client that its
    /// PROXY header names; else whoever the contact shows.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let client = rt.client("c").remote(server.contact().local().clone()).start()?;
    /// assert_eq!(client.wire_peer().as_ref(), Some(server.contact().local()));
    /// assert_eq!(client.proxy_header(), None);
    /// # Ok::<(), netproc::Error>(())
    /// ```
    #[must_use]
    pub fn wire_peer(&self) -> Option<Address> {
        self.shared.borrow().contact().wire_peer().cloned()
    }

    /// What the proxy in front has said of this connection; `None` before its `open from`, and for all but
    /// connections of a server with
    /// [`proxy_protocol`](crate::ServerBuilder::proxy_protocol).
    #[must_use]
    pub fn proxy_header(&self) -> Option<ProxyHeader> {
        self.shared.borrow().contact().proxy_header().cloned()
    }

    /// Whom a packet process talks to: the sender of the last packet, or the peer it was given.
    /// `None` while there is none, after the end, and for other kinds.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Datagrams" (`process-datagram-address`).
    #[must_use]
    pub fn datagram_address(&self) -> Option<Address> {
        self.shared.borrow().peer().cloned()
    }

    /// Has a packet process talk to `to` from now on, until a packet of somebody else comes.
    ///
    /// What was sent before still goes to the peer before. A client that the system connected is
    /// connected to `to` and hears nobody else; over IP a packet of the old peer that has arrived already is
    /// input all the same, and makes it the address again that
    /// [`datagram_address`](Self::datagram_address) tells. Of a local one Linux drops it. Never blocks.
    ///
    /// # Errors
    ///
    /// [`DatagramAddressError`]: no packet process, ended, an address of another family or size, or
    /// one nobody can have, or the system cannot connect there. The peer before stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{DatagramAddressError, Runtime};
    ///
    /// let rt = Runtime::new()?;
    /// let (a, b) = (rt.server("a").datagram().start()?, rt.server("b").datagram().start()?);
    /// let client = rt.client("c").datagram().remote(a.contact().local().clone()).start()?;
    /// client.set_datagram_address(b.contact().local()).unwrap();
    /// assert_eq!(client.datagram_address().as_ref(), Some(b.contact().local()));
    /// let six = "[0 0 0 0 0 0 0 1 9]".parse().unwrap();
    /// let refused = client.set_datagram_address(&six);
    /// assert!(matches!(refused, Err(DatagramAddressError::Family { .. })));
    /// assert_eq!(client.datagram_address().as_ref(), Some(b.contact().local()), "kept");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Datagrams" (`set-process-datagram-address`). Differs: an error says
    /// what is wrong, where Emacs returns nil; port 0 is refused.
    pub fn set_datagram_address(&self, to: &Address) -> Result<(), DatagramAddressError> {
        let set = self.rt.engine_mut().set_peer(&self.shared, to);
        self.rt.nudge();
        set
    }

    /// Who is at the other end of a local stream or of local records, as the system saw it when the
    /// connection was made; for a client, who listened.
    ///
    /// That the peer has exited since changes nothing. The system is asked at the first call, one
    /// call, and never before; the answer is kept, also after the end, and the contact shows it as
    /// `:peer-credentials (PID UID GID)` from then on. Ask in `on_accept` to have it of every
    /// connection.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]: no local connection, not open, or nothing the system says.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{CredentialsError, Family, Runtime};
    ///
    /// let (folder, rt) = (tempfile::tempdir().unwrap(), Runtime::new()?);
    /// let server = rt.server("s").family(Family::Local).service(&*folder.path().join("s")).start()?;
    /// let client = rt.client("c").remote(server.contact().local().clone()).start()?;
    /// if let Ok(who) = client.peer_credentials() {
    ///     assert!(who.pid.is_none_or(|pid| pid.unsigned_abs() == std::process::id()));
    /// }
    /// assert_eq!(server.peer_credentials(), Err(CredentialsError::NotLocal), "it has no peer");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// unix(7), `SO_PEERCRED`; getpeereid(3) on BSD and macOS, without the process. Emacs has none.
    pub fn peer_credentials(&self) -> Result<Credentials, CredentialsError> {
        self.rt.engine().peer_credentials(&self.shared)
    }
}
