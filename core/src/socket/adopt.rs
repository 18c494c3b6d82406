//! Whether a socket from elsewhere can be a server's, or a server's connection: its kind, its peer, its
//! address.
//!
//! Invariant: looking changes nothing about the socket, so that one that is refused can still serve
//! somebody else. Taking a descriptor over is `socket.rs`'s and the reactor's work.

use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{SockRef, Socket};

use super::{from_sockaddr, kind_of};
use crate::{
    address::{Address, Family},
    reactor::{Kind, Op, SysError},
};

/// Why a socket from elsewhere cannot be the server asked for, or a server's connection. Looking has changed
/// nothing about it.
///
/// # Examples
///
/// ```
/// use netproc_core::{reactor::Kind, socket::{AdoptError, check_server}};
///
/// let packets = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// let refused = check_server(&packets, Kind::Stream).unwrap_err();
/// assert_eq!(refused, AdoptError::Kind { wanted: Kind::Stream, found: Kind::Datagram });
/// assert_eq!(refused.to_string(), "a datagram socket where a stream one is needed");
/// assert!(check_server(&packets, Kind::Datagram).is_ok());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// A socket of another kind than the server's.
    #[error("a {} socket where a {} one is needed", word(*.found), word(*.wanted))]
    Kind {
        /// What the server was to be.
        wanted: Kind,
        /// What the socket is.
        found: Kind,
    },
    /// It has a peer: it is one connection, or packets of one sender, not a server's socket.
    #[error("a socket that is connected is no server's")]
    Connected,
    /// Nobody has called `listen(2)` on it.
    #[error("the socket does not listen")]
    NotListening,
    /// It has no address that anybody could send packets to.
    #[error("the socket is bound to no address")]
    NotBound,
    /// It listens where a connection is needed.
    #[error("a socket that listens is no connection")]
    Listening,
    /// The process that was to have the connection takes none: it is no server of connections, or has
    /// ended.
    #[error("the process accepts no connections")]
    NotAccepting,
    /// This reactor, a simulation, has no descriptors.
    #[error("the {0} backend takes over no descriptors")]
    Unsupported(&'static str),
    /// No socket at all (`ENOTSOCK`), one of an unknown kind (`EPROTONOSUPPORT`), or the system
    /// refused to set an option or to register it.
    #[error("the socket cannot be taken over")]
    Sys(#[source] SysError),
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "stream",
        Kind::Datagram => "datagram",
        Kind::SeqPacket => "seqpacket",
    }
}

/// What a socket is and where it is bound.
///
/// # Errors
///
/// `ENOTSOCK` and its kin; `EPROTONOSUPPORT` for a kind unknown here.
pub fn describe(fd: &impl AsFd) -> Result<(Kind, Address), SysError> {
    let socket = SockRef::from(fd);
    Ok((kind_of(&socket)?, super::local_addr(&socket)?))
}

/// Checks that a socket can be the one of a server of this kind: it listens, or takes packets at an
/// address of its own.
///
/// # Errors
///
/// The first of [`AdoptError`] that applies, but `Unsupported`.
pub fn check_server(fd: &impl AsFd, wanted: Kind) -> Result<(), AdoptError> {
    let socket = SockRef::from(fd);
    let found = kind_of(&socket).map_err(AdoptError::Sys)?;
    if found != wanted {
        return Err(AdoptError::Kind { wanted, found });
    }
    if is_connected(&socket)? {
        return Err(AdoptError::Connected);
    }
    if wanted == Kind::Datagram {
        let local = super::local_addr(&socket).map_err(AdoptError::Sys)?;
        let nowhere = local.port() == Some(0)
            || local.family() == Family::Local && local == Address::unnamed();
        return if nowhere { Err(AdoptError::NotBound) } else { Ok(()) };
    }
    if listens(fd)? { Ok(()) } else { Err(AdoptError::NotListening) }
}

/// Checks that a socket can be a connection of a server of this kind. Its peer may be gone already.
///
/// # Errors
///
/// [`AdoptError::Kind`], [`AdoptError::Listening`] or [`AdoptError::Sys`].
pub fn check_connection(fd: &impl AsFd, wanted: Kind) -> Result<(), AdoptError> {
    let found = kind_of(&SockRef::from(fd)).map_err(AdoptError::Sys)?;
    if found != wanted {
        return Err(AdoptError::Kind { wanted, found });
    }
    if listens(fd)? { Err(AdoptError::Listening) } else { Ok(()) }
}

fn listens(fd: &impl AsFd) -> Result<bool, AdoptError> {
    let refused = |errno| AdoptError::Sys(SysError { op: Op::Option, errno: errno as i32 });
    getsockopt(fd, sockopt::AcceptConn).map_err(refused)
}

/// Whether the system knows a peer of it.
fn is_connected(socket: &Socket) -> Result<bool, AdoptError> {
    match socket.peer_addr() {
        // Some systems name the nameless peer of a socket that has none.
        Ok(peer) => Ok(from_sockaddr(&peer).is_some()),
        // The BSDs say `EINVAL` of one whose peer has gone.
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOTCONN | libc::EINVAL)) => Ok(false),
        Err(err) => Err(AdoptError::Sys(SysError::new(Op::Open, &err))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            fd::OwnedFd,
            unix::net::{UnixDatagram, UnixListener, UnixStream},
        },
    };

    use super::*;

    /// What is handed in, the kind wanted of it, and the complaint; none where it fits.
    type Case = (OwnedFd, Kind, Option<AdoptError>);

    #[test]
    fn only_what_can_serve_is_a_servers_socket() {
        use Kind::{Datagram, SeqPacket, Stream};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let packets = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(packets.local_addr().unwrap()).unwrap();
        let (family, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let idle = Socket::new(family, kind, None).unwrap();
        let portless = Socket::new(family, socket2::Type::DGRAM, None).unwrap();
        let file = std::fs::File::create(path("file")).unwrap();
        let no_socket = SysError { op: Op::Open, errno: libc::ENOTSOCK };
        let kind = |wanted, found| Some(AdoptError::Kind { wanted, found });
        let cases: [Case; 12] = [
            (client.into(), Stream, Some(AdoptError::Connected)),
            (listener.try_clone().unwrap().into(), Stream, None),
            (listener.try_clone().unwrap().into(), Datagram, kind(Datagram, Stream)),
            (listener.into(), SeqPacket, kind(SeqPacket, Stream)),
            (UnixListener::bind(path("listener")).unwrap().into(), Stream, None),
            (UnixStream::pair().unwrap().0.into(), Stream, Some(AdoptError::Connected)),
            (idle.into(), Stream, Some(AdoptError::NotListening)),
            (packets.into(), Datagram, None),
            (connected.into(), Datagram, Some(AdoptError::Connected)),
            (portless.into(), Datagram, Some(AdoptError::NotBound)),
            (UnixDatagram::unbound().unwrap().into(), Datagram, Some(AdoptError::NotBound)),
            (file.into(), Stream, Some(AdoptError::Sys(no_socket))),
        ];
        for (at, (fd, wanted, complaint)) in cases.into_iter().enumerate() {
            assert_eq!(check_server(&fd, wanted).err(), complaint, "case {at}");
        }
    }

    #[test]
    fn only_a_connection_of_its_kind_is_a_servers() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (gone, peer) = UnixStream::pair().unwrap();
        drop(peer);
        let file = std::fs::File::create(folder.path().join("file")).unwrap();
        let no_socket = SysError { op: Op::Open, errno: libc::ENOTSOCK };
        let (wanted, found) = (Kind::Stream, Kind::Datagram);
        let cases: [(OwnedFd, Option<AdoptError>); 5] = [
            (client.into(), None),
            (gone.into(), None),
            (listener.into(), Some(AdoptError::Listening)),
            (UnixDatagram::unbound().unwrap().into(), Some(AdoptError::Kind { wanted, found })),
            (file.into(), Some(AdoptError::Sys(no_socket))),
        ];
        for (at, (fd, complaint)) in cases.into_iter().enumerate() {
            assert_eq!(check_connection(&fd, Kind::Stream).err(), complaint, "case {at}");
        }
    }

    #[test]
    fn a_bound_socket_says_what_it_is() {
        let packets = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = Address::from(packets.local_addr().unwrap());
        assert_eq!(describe(&packets), Ok((Kind::Datagram, local)));
    }
}
