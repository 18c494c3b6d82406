//! Who is at the other end: the identity of a local peer, and another peer for a packet socket.
//!
//! Invariant: nothing here waits. A refused change leaves the peer there was.

use nix::sys::socket;
use socket2::Socket;

use super::to_sockaddr;
use crate::{
    address::{Address, Family},
    reactor::{Credentials, Op, SysError},
};

/// Who made the local connection of `socket`, as of that moment; for the end that connected, who
/// listened.
///
/// # Errors
///
/// `EOPNOTSUPP` where the system does not say and for sockets that are not local, `ENOTCONN` for one
/// without a peer.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_credentials(socket: &Socket) -> Result<Credentials, SysError> {
    if super::local_addr(socket)?.family() != Family::Local {
        return Err(SysError::unsupported(Op::Option));
    }
    let raw = socket::getsockopt(socket, socket::sockopt::PeerCredentials)
        .map_err(|err| SysError { op: Op::Option, errno: err as i32 })?;
    // A listener names itself, and what never had a peer nobody.
    let listens = socket.is_listener().unwrap_or(false);
    if listens || (raw.pid() == 0 && raw.uid() == u32::MAX) {
        return Err(SysError { op: Op::Option, errno: libc::ENOTCONN });
    }
    // A process outside of our namespace has no number here.
    let pid = (raw.pid() != 0).then(|| raw.pid());
    Ok(Credentials { pid, uid: raw.uid(), gid: raw.gid() })
}

/// Who made the local connection of `socket`, as of that moment; for the end that connected, who
/// listened.
///
/// # Errors
///
/// `EOPNOTSUPP` where the system does not say and for sockets that are not local, `ENOTCONN` for one
/// without a peer.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
))]
pub fn peer_credentials(socket: &Socket) -> Result<Credentials, SysError> {
    if super::local_addr(socket)?.family() != Family::Local {
        return Err(SysError::unsupported(Op::Option));
    }
    let (uid, gid) = nix::unistd::getpeereid(socket)
        .map_err(|err| SysError { op: Op::Option, errno: err as i32 })?;
    Ok(Credentials { pid: None, uid: uid.as_raw(), gid: gid.as_raw() })
}

/// This system does not say.
///
/// # Errors
///
/// Always `EOPNOTSUPP`.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
pub fn peer_credentials(_: &Socket) -> Result<Credentials, SysError> {
    Err(SysError::unsupported(Op::Option))
}

/// Connects a packet socket to `to`, whoever its peer was; that never waits.
///
/// # Errors
///
/// What `connect(2)` says, such as `EAFNOSUPPORT`; the old peer stays then.
pub fn connect_packets(socket: &Socket, to: &Address) -> Result<(), SysError> {
    let connected = to_sockaddr(to).and_then(|address| socket.connect(&address));
    connected.map_err(|err| SysError::new(Op::Connect, &err))
}
