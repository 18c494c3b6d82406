//! Who is at the other end: the identity of a local peer, and another peer for a packet socket.
//!
//! Invariant: nothing here waits. A refused change leaves the peer there was.

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
pub fn peer_credentials(socket: &Socket) -> Result<Credentials, SysError> {
    if super::local_addr(socket)?.family() != Family::Local {
        return Err(SysError::unsupported(Op::Option));
    }
    credentials(socket).map_err(|err| SysError { op: Op::Option, errno: err as i32 })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(socket: &Socket) -> nix::Result<Credentials> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

    let raw = getsockopt(socket, PeerCredentials)?;
    // A listener names itself, and what never had a peer nobody.
    let listens = socket.is_listener().unwrap_or(false);
    if listens || (raw.pid() == 0 && raw.uid() == u32::MAX) {
        return Err(nix::errno::Errno::ENOTCONN);
    }
    // A process outside of our namespace has no number here.
    let pid = (raw.pid() != 0).then(|| raw.pid());
    Ok(Credentials { pid, uid: raw.uid(), gid: raw.gid() })
}

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
))]
fn credentials(socket: &Socket) -> nix::Result<Credentials> {
    let (uid, gid) = nix::unistd::getpeereid(socket)?;
    Ok(Credentials { pid: None, uid: uid.as_raw(), gid: gid.as_raw() })
}

/// This system does not say.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
fn credentials(_: &Socket) -> nix::Result<Credentials> {
    Err(nix::errno::Errno::EOPNOTSUPP)
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
