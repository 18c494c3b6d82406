//! The other end: whom a packet process talks to, and who a local peer is.
//!
//! Invariant: a refused change leaves the peer there was. Nothing is asked of the system before
//! somebody wants to know it. What a packet brings is `input.rs`'s.

use super::Engine;
use crate::{
    address::{Address, Family},
    contact::Role,
    machine::{Phase, Status},
    process::{Process, Shared},
    reactor::{Credentials, Kind, Reactor, SysError},
};

/// Why a packet process cannot talk to an address. The peer before stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramAddressError {
    /// It is a stream or has records.
    #[error("not a packet process")]
    NotDatagram,
    /// It has ended.
    #[error("process not running, it is {0}")]
    NotOpen(Status),
    /// Its socket is of another family.
    #[error("an address of family {given:?}, its socket is of {own:?}")]
    Family {
        /// That of its socket.
        own: Family,
        /// That of the address.
        given: Family,
    },
    /// The raw address is longer or shorter than its socket's own.
    #[error("an address of {given} bytes, its socket's has {own}")]
    Length {
        /// How many bytes follow the family in its socket's address.
        own: usize,
        /// How many were given.
        given: usize,
    },
    /// Nobody can be there: port 0, or a local socket without a name.
    #[error("an address nobody can have")]
    Nobody,
    /// It is connected, and the system does not connect it there; a client that is not
    /// (`connected(false)`) can talk to anybody.
    #[error("connected to its peer and not to be connected there")]
    Connected(#[source] SysError),
}

/// Why nobody can say who the peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It is no connection between local sockets.
    #[error("not a local connection")]
    NotLocal,
    /// It is not connected yet, or has ended without anybody having asked before.
    #[error("process not running, it is {0}")]
    NotOpen(Status),
    /// This system does not say who a local peer is.
    #[error("this system does not say who a local peer is")]
    Unsupported,
    /// The system's refusal.
    #[error("the system does not say who the peer is")]
    Sys(#[source] SysError),
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Has a packet process talk to `to` from now on, until somebody else's packet comes. What was
    /// sent before still goes to the peer before.
    ///
    /// # Errors
    ///
    /// [`DatagramAddressError`]; the peer before stays.
    pub fn set_peer(
        &mut self,
        process: &Shared<H>,
        to: &Address,
    ) -> Result<(), DatagramAddressError> {
        let mut p = process.borrow_mut();
        if p.kind != Kind::Datagram {
            return Err(DatagramAddressError::NotDatagram);
        }
        let not_open = DatagramAddressError::NotOpen(p.status());
        let sock = p.sock.filter(|_| p.phase == Phase::Open).ok_or(not_open)?;
        fits(p.contact.local(), to)?;
        if p.connected {
            self.reactor.set_peer(sock, to).map_err(DatagramAddressError::Connected)?;
            p.contact.set_local(self.reactor.local_addr(sock).ok());
        }
        p.contact.set_remote(Some(to.clone()));
        Ok(())
    }

    /// Asks again where a packet client is that was not bound: its first packet decides that.
    pub fn update_local(&self, process: &Shared<H>) {
        let mut p = process.borrow_mut();
        let Some(sock) = p.sock.filter(|_| p.is_unbound()) else { return };
        if let Ok(local) = self.reactor.local_addr(sock) {
            p.contact.set_local(Some(local));
        }
    }

    /// Who is at the other end of a local connection, as of its making. The system is asked once;
    /// the contact shows the answer from then on.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`].
    pub fn peer_credentials(&self, process: &Shared<H>) -> Result<Credentials, CredentialsError> {
        let mut p = process.borrow_mut();
        if let Some(known) = p.contact.peer_credentials() {
            return Ok(known);
        }
        let connection = p.kind != Kind::Datagram && p.contact.role() != Role::Server;
        if !connection || p.contact.wire_peer().is_some_and(|peer| peer.family() != Family::Local) {
            return Err(CredentialsError::NotLocal);
        }
        let open = matches!(p.phase, Phase::Open | Phase::Draining);
        let not_open = CredentialsError::NotOpen(p.phase.status(false));
        let sock = p.sock.filter(|_| open).ok_or(not_open)?;
        let asked = self.reactor.peer_credentials(sock).map_err(|err| match err.errno {
            libc::EOPNOTSUPP => CredentialsError::Unsupported,
            // Its end waits to be told.
            libc::EBADF => not_open,
            _ => CredentialsError::Sys(err),
        })?;
        p.contact.set_peer_credentials(asked);
        Ok(asked)
    }
}

impl<H> Process<H> {
    /// Whether its first packet has still to give it an address.
    #[must_use]
    pub fn is_unbound(&self) -> bool {
        let free = self.kind == Kind::Datagram && !self.connected && self.sock.is_some();
        free && self.contact.role() == Role::Client && self.contact.local().port() == Some(0)
    }
}

/// Whether a socket at `own` can send to `to` at all.
fn fits(own: &Address, to: &Address) -> Result<(), DatagramAddressError> {
    if own.family() != to.family() {
        return Err(DatagramAddressError::Family { own: own.family(), given: to.family() });
    }
    match (own, to) {
        (Address::Other { bytes: own, .. }, Address::Other { bytes: given, .. })
            if own.len() != given.len() =>
        {
            Err(DatagramAddressError::Length { own: own.len(), given: given.len() })
        }
        _ if to.port() == Some(0) || *to == Address::unnamed() => Err(DatagramAddressError::Nobody),
        _ => Ok(()),
    }
}
