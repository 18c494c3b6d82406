//! From a description to a configured socket, and bytes and packets through it: system calls shared by every backend.
//!
//! Invariant: a socket leaves here close-on-exec, with every option of its description set in
//! order, or not at all. Blocking mode is the backend's choice. Nothing here waits. The files of local
//! sockets are in `socket/file.rs`, their peers in `socket/peer.rs`; whether one from elsewhere can
//! be a server's is asked in `socket/adopt.rs`.

mod adopt;
mod burst;
pub mod bytes;
mod file;
mod joined;
mod peer;

use std::{
    io,
    os::{
        fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use self::joined::joined_len;
pub use self::{
    adopt::{AdoptError, check_connection, check_server, describe},
    burst::{Burst, Taken},
    file::{BoundFile, unbind},
    joined::{Pieces, join_input, speaks_udp},
    peer::{connect_packets, peer_credentials},
};

use crate::{
    address::{self, Address, Family, LOCAL_LEN_MAX},
    options::SockOption,
    reactor::{Kind, Op, OpenSpec, SysError},
};

/// Turns an address into the system's structure.
///
/// # Errors
///
/// `EINVAL` for a local path the structure cannot hold or would end earlier, and for the raw form of a
/// family that has one of its own; `EAFNOSUPPORT` for a raw family where the system has no such numbers.
///
/// # Examples
///
/// ```
/// use netproc_core::{address::Address, socket::{from_sockaddr, to_sockaddr}};
///
/// let address: Address = "[127 0 0 1 80]".parse().unwrap();
/// assert_eq!(from_sockaddr(&to_sockaddr(&address)?), Some(address));
/// # std::io::Result::Ok(())
/// ```
pub fn to_sockaddr(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::V4(v4) => Ok((*v4).into()),
        Address::V6(v6) => Ok((*v6).into()),
        Address::Local(path) if path.contains(&0) => {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        Address::Local(path) => SockAddr::unix(std::ffi::OsStr::from_bytes(path)),
        Address::Abstract(name) => {
            let path = [b"\0", &**name].concat();
            SockAddr::unix(std::ffi::OsString::from_vec(path))
        }
        Address::Other { family, bytes } => raw_sockaddr(*family, bytes),
    }
}

#[expect(unsafe_code, reason = "no library builds the address of a family it does not know")]
fn raw_sockaddr(family: u16, bytes: &[u8]) -> io::Result<SockAddr> {
    let header = std::mem::offset_of!(libc::sockaddr, sa_data);
    let whole = header + bytes.len() <= size_of::<libc::sockaddr_storage>();
    // Anybody can write such an address down, `Address::other` or not.
    if !whole || address::is_known(family) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let init = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        // SAFETY: `storage` is a zeroed `sockaddr_storage`, which begins as every `sockaddr` does.
        let base = unsafe { &mut *storage.cast::<libc::sockaddr>() };
        base.sa_family = libc::sa_family_t::try_from(family)
            .map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        let data = storage.cast::<u8>().wrapping_add(header);
        // SAFETY: header and bytes fit the structure, checked above; the two ranges are of
        // different objects.
        unsafe { data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        let total = libc::socklen_t::try_from(header + bytes.len());
        let total = total.expect("a structure's size fits its length");
        // SAFETY: `len` points to the length `try_init` reads after this closure.
        unsafe { len.write(total) };
        Ok(())
    };
    // SAFETY: `init` leaves `len` bytes initialised in a zeroed storage: family and data. The
    // family has no structure of its own here, checked above, so socket2, which looks inside for
    // the known families only, never misreads it.
    unsafe { SockAddr::try_init(init) }.map(|((), address)| address)
}

/// Turns the system's structure into an address; `None` for the end that has none at all.
///
/// A local path longer than [`LOCAL_LEN_MAX`], which Linux lets others have, counts as no name.
#[must_use]
pub fn from_sockaddr(raw: &SockAddr) -> Option<Address> {
    if let Some(address) = raw.as_socket() {
        return Some(address.into());
    }
    if raw.is_unix() && raw.len() > 0 {
        return Some(match (raw.as_abstract_namespace(), raw.as_pathname()) {
            (Some(name), _) => Address::Abstract(name.into()),
            (None, Some(path)) if path.as_os_str().len() <= LOCAL_LEN_MAX => {
                Address::Local(path.as_os_str().as_bytes().into())
            }
            (None, _) => Address::unnamed(),
        });
    }
    (raw.len() > 0 && !raw.is_unix()).then(|| raw_address(raw))
}

#[expect(
    unsafe_code,
    reason = "socket2 shows the bytes of a family it does not know by pointer only"
)]
fn raw_address(raw: &SockAddr) -> Address {
    let header = std::mem::offset_of!(libc::sockaddr, sa_data);
    let len = (raw.len() as usize).saturating_sub(header);
    let start = raw.as_ptr().cast::<u8>().wrapping_add(header);
    // SAFETY: `as_ptr` points to a whole `sockaddr_storage`, zeroed before the system wrote its
    // part, and `header + len` is the length the system gave; it lives as long as `raw`.
    let bytes: Arc<[u8]> = unsafe { std::slice::from_raw_parts(start, len) }.into();
    // One byte wide on the BSDs, two on Linux.
    let family = u16::try_from(i32::from(raw.family())).expect("a family has at most 16 bits");
    Address::Other { family, bytes }
}

const fn system_kind(kind: Kind) -> Type {
    match kind {
        Kind::Stream => Type::STREAM,
        Kind::Datagram => Type::DGRAM,
        Kind::SeqPacket => Type::SEQPACKET,
    }
}

fn domain(family: Family) -> Domain {
    match family {
        Family::Ipv4 => Domain::IPV4,
        Family::Ipv6 => Domain::IPV6,
        Family::Local => Domain::UNIX,
        Family::Other(number) => Domain::from(i32::from(number)),
    }
}

/// Opens a socket for `spec`, close-on-exec, with its options set; `peer` tells the family when
/// `spec.local` does not. It is not bound: see [`bind`].
///
/// # Errors
///
/// The refusal of `socket(2)` or of an option.
pub fn open(spec: &OpenSpec<'_>, peer: Option<&Address>) -> Result<Socket, SysError> {
    let family = spec.local.or(peer).map_or(spec.family, Address::family);
    let opened = Socket::new(domain(family), system_kind(spec.kind), None);
    let socket = opened.map_err(|err| SysError::new(Op::Open, &err))?;
    let option = |err| SysError::new(Op::Option, &err);
    if spec.reuse_port && !shares_late(spec) {
        set_reuse_port(&socket).map_err(option)?;
    }
    for wanted in spec.options.iter().filter(|wanted| !waits_for_port(spec, wanted)) {
        set_option(&socket, wanted).map_err(option)?;
    }
    Ok(socket)
}

/// Whether an option is set behind [`bind`]: where it chooses a port, Linux gives a packet socket that may reuse
/// addresses the port of another that may.
fn waits_for_port(spec: &OpenSpec<'_>, option: &SockOption) -> bool {
    chooses_port(spec) && matches!(option, SockOption::ReuseAddr(_))
}

/// Whether a packet socket shares its port only behind [`bind`], for the same reason. Elsewhere that is too late.
fn shares_late(spec: &OpenSpec<'_>) -> bool {
    cfg!(target_os = "linux") && chooses_port(spec)
}

fn chooses_port(spec: &OpenSpec<'_>) -> bool {
    spec.kind == Kind::Datagram && spec.local.and_then(Address::port) == Some(0)
}

/// Binds `socket` to `spec.local`, if there is one.
///
/// # Errors
///
/// The refusal of `bind(2)`, such as `EADDRINUSE`.
pub fn bind(socket: &Socket, spec: &OpenSpec<'_>) -> Result<(), SysError> {
    let Some(local) = spec.local else { return Ok(()) };
    let bound = to_sockaddr(local).and_then(|address| match file::path_of(local) {
        Some(path) => file::bind(socket, spec, path, &address),
        None => socket.bind(&address),
    });
    bound.map_err(|err| SysError::new(Op::Bind, &err))
}

/// Opens, binds and listens.
///
/// # Errors
///
/// The first refusal on the way; the socket is closed then.
pub fn listener(spec: &OpenSpec<'_>, backlog: u32) -> Result<Socket, SysError> {
    let socket = open(spec, None)?;
    bind(&socket, spec)?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let listens = socket.listen(backlog).map_err(|err| SysError::new(Op::Listen, &err));
    listens.inspect_err(|_| unbind(&socket))?;
    Ok(socket)
}

/// Opens and binds a packet socket and connects it to `to`, if given; that never waits.
///
/// # Errors
///
/// The first refusal on the way; the socket is closed then.
pub fn datagram(spec: &OpenSpec<'_>, to: Option<&Address>) -> Result<Socket, SysError> {
    let socket = open(spec, to)?;
    bind(&socket, spec)?;
    if spec.reuse_port && shares_late(spec) {
        set_reuse_port(&socket).map_err(|err| SysError::new(Op::Option, &err))?;
    }
    for wanted in spec.options.iter().filter(|wanted| waits_for_port(spec, wanted)) {
        set_option(&socket, wanted).map_err(|err| SysError::new(Op::Option, &err))?;
    }
    if let Some(to) = to {
        connect_packets(&socket, to).inspect_err(|_| unbind(&socket))?;
        if spec.local.is_some() && speaks_udp(&socket) {
            drop_early(&socket);
        }
    }
    Ok(socket)
}

/// Throws away what strangers have sent between the binding and the connecting of a socket, but no more than may
/// have come in that time.
fn drop_early(socket: &Socket) {
    const EARLY_MAX: usize = 1024;
    for _ in 0..EARLY_MAX {
        if bytes::recv(socket, &mut [0]).is_err() {
            break;
        }
    }
}

/// Sets one option.
///
/// # Errors
///
/// What `setsockopt(2)` says; `ENOPROTOOPT` where the system has no such option.
pub fn set_option(socket: &Socket, option: &SockOption) -> io::Result<()> {
    match option {
        SockOption::BindToDevice(name) => bind_to_device(socket, name.as_deref()),
        SockOption::Broadcast(on) => socket.set_broadcast(*on),
        SockOption::DontRoute(on) => {
            nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::DontRoute, on)
                .map_err(Into::into)
        }
        SockOption::KeepAlive(on) => socket.set_keepalive(*on),
        // A close that lingers in the kernel blocks the whole thread, even without O_NONBLOCK and
        // through io_uring; the engine flushes within the time given instead, and the kernel only
        // hears of the time that means "reset".
        SockOption::Linger(seconds) => {
            socket.set_linger((*seconds == Some(0)).then_some(std::time::Duration::ZERO))
        }
        SockOption::NoDelay(on) => socket.set_tcp_nodelay(*on),
        SockOption::OobInline(on) => socket.set_out_of_band_inline(*on),
        SockOption::Priority(priority) => set_priority(socket, *priority),
        SockOption::RecvBuffer(size) => socket.set_recv_buffer_size(*size as usize),
        SockOption::ReuseAddr(on) => socket.set_reuse_address(*on),
        SockOption::SendBuffer(size) => socket.set_send_buffer_size(*size as usize),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_to_device(socket: &Socket, name: Option<&str>) -> io::Result<()> {
    socket.bind_device(name.map(str::as_bytes))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_priority(socket: &Socket, priority: i32) -> io::Result<()> {
    // The system reads an int; socket2 passes the bits of its u32 on as one.
    socket.set_priority(priority.cast_unsigned())
}

#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(any(target_os = "illumos", target_os = "solaris"))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_to_device(_: &Socket, _: Option<&str>) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_priority(_: &Socket, _: i32) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT))
}

/// Where `socket` is bound.
///
/// # Errors
///
/// What `getsockname(2)` says.
pub fn local_addr(socket: &Socket) -> Result<Address, SysError> {
    let raw = socket.local_addr().map_err(|err| SysError::new(Op::Option, &err))?;
    Ok(from_sockaddr(&raw).unwrap_or_else(Address::unnamed))
}

/// Whom `socket` is connected to.
///
/// # Errors
///
/// What `getpeername(2)` says; `ENOTCONN` when the peer is gone.
pub fn peer_addr(socket: &Socket) -> Result<Address, SysError> {
    let raw = socket.peer_addr().map_err(|err| SysError::new(Op::Option, &err))?;
    Ok(from_sockaddr(&raw).unwrap_or_else(Address::unnamed))
}

/// Takes a descriptor from elsewhere over: which kind of socket it is. One of packets keeps no errors for a
/// reader of its own any more (`IP_RECVERR`): nobody here reads them, and poll(2) would tell of them for ever.
///
/// # Errors
///
/// `ENOTSOCK` and its kin; `EPROTONOSUPPORT` for a kind unknown here.
pub fn adopted(fd: OwnedFd) -> Result<(Socket, Kind), SysError> {
    let socket = Socket::from(fd);
    let kind = kind_of(&socket)?;
    if kind == Kind::Datagram {
        keep_no_errors(&socket);
    }
    Ok((socket, kind))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn keep_no_errors(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Refused where there are none: by the other family of addresses, and by local sockets.
    let _ = setsockopt(socket, sockopt::Ipv4RecvErr, &false);
    let _ = setsockopt(socket, sockopt::Ipv6RecvErr, &false);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn keep_no_errors(_: &Socket) {}

fn kind_of(socket: &Socket) -> Result<Kind, SysError> {
    let kind = socket.r#type().map_err(|err| SysError::new(Op::Open, &err))?;
    [Kind::Stream, Kind::Datagram, Kind::SeqPacket]
        .into_iter()
        .find(|&ours| system_kind(ours) == kind)
        .ok_or(SysError { op: Op::Open, errno: libc::EPROTONOSUPPORT })
}

/// The first descriptor that a service manager hands over; those before it are the standard streams.
const FIRST_PASSED: RawFd = 3;

/// Takes over the sockets that whoever started this process has handed to it as descriptors 3 to
/// `2 + count`; they are close-on-exec from then on.
///
/// `None` stands for a number that is no socket handed over: closed, a file or a pipe, or
/// close-on-exec, so that it cannot have come through `execve(2)` and must be this program's own. Such a
/// descriptor is left as it is. Only the first call in a process gets any; every later one gets an
/// empty list. `count` is what the environment says (`LISTEN_FDS`), which the caller has checked to be
/// meant for this process. Never blocks.
///
/// # Source
///
/// sd_listen_fds(3). Differs: what is no socket is not touched.
#[must_use]
pub fn take_passed(count: usize) -> Vec<Option<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    (FIRST_PASSED..RawFd::MAX).take(count).map(passed).collect()
}

#[expect(unsafe_code, reason = "a descriptor handed over comes as a number")]
fn passed(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the number is not negative, and the borrow ends in this function. If it is closed, the
    // first call, `fcntl`, says so and nothing else is done with it.
    let seen = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = FdFlag::from_bits_retain(fcntl(seen, FcntlArg::F_GETFD).ok()?);
    let inherited = !flags.contains(FdFlag::FD_CLOEXEC);
    if !inherited || SockRef::from(&seen).r#type().is_err() {
        return None;
    }
    fcntl(seen, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: the descriptor is open and has come through `execve`: all that std and this library open
    // is close-on-exec. The protocol makes this process the owner of those it counts, and nobody in it
    // has them by another way than this function, which `take_passed` calls once for each number. So
    // nobody else closes it; the value returned does, when it is dropped.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_the_systems_structure() {
        let cases = [
            "[127 0 0 1 80]",
            "[8193 3512 0 0 0 0 0 1 25]",
            "\"/run/x\"",
            "(77 . [1 2 3])",
            "(77 . [])",
            #[cfg(target_os = "linux")]
            "\"\\x00name\\x00x\"",
        ];
        for text in cases {
            let address: Address = text.parse().unwrap();
            let raw = to_sockaddr(&address).unwrap();
            assert_eq!(from_sockaddr(&raw), Some(address), "{text}");
        }
    }

    #[test]
    fn packet_sockets_that_may_reuse_addresses_get_ports_of_their_own() {
        let options = [SockOption::ReuseAddr(true)];
        let local = Address::from((std::net::Ipv4Addr::LOCALHOST.into(), 0));
        let spec = OpenSpec {
            kind: Kind::Datagram,
            local: Some(&local),
            options: &options,
            ..OpenSpec::default()
        };
        let held: Vec<_> = (0..200).map(|_| datagram(&spec, None).unwrap()).collect();
        assert!(held.iter().all(|socket| socket.reuse_address().unwrap()));
        let ports: Vec<_> = held.iter().map(|socket| local_addr(socket).unwrap()).collect();
        // So often that some would have the port of another if the system did not look.
        for _ in 0..2_000 {
            let port = local_addr(&datagram(&spec, None).unwrap()).unwrap();
            assert!(!ports.contains(&port), "{port}");
        }
    }

    #[test]
    fn a_listeners_buffer_sizes_are_those_of_its_connections() {
        let options = [SockOption::RecvBuffer(20_000), SockOption::SendBuffer(30_000)];
        let local = Address::from((std::net::Ipv4Addr::LOCALHOST.into(), 0));
        let spec = OpenSpec { local: Some(&local), options: &options, ..OpenSpec::default() };
        let server = listener(&spec, 1).unwrap();
        let client = open(&OpenSpec::default(), None).unwrap();
        client.connect(&server.local_addr().unwrap()).unwrap();
        let (accepted, _) = server.accept().unwrap();
        let sizes = |socket: &Socket| {
            (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap())
        };
        // Linux doubles them, others do not; what it gives by itself is more.
        let doubled = if cfg!(target_os = "linux") { 2 } else { 1 };
        assert_eq!(sizes(&server), (20_000 * doubled, 30_000 * doubled));
        assert_eq!(sizes(&accepted), sizes(&server));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn packet_sockets_that_share_are_given_a_port_of_their_own() {
        let local = "[127 0 0 1 0]".parse().unwrap();
        let spec = OpenSpec {
            kind: Kind::Datagram,
            local: Some(&local),
            reuse_port: true,
            ..OpenSpec::default()
        };
        // So many that some would have the same, were each given any.
        let sockets: Vec<_> = (0..500).map(|_| datagram(&spec, None).unwrap()).collect();
        let ports: std::collections::BTreeSet<_> =
            sockets.iter().map(|it| local_addr(it).unwrap().port()).collect();
        assert_eq!(ports.len(), sockets.len());
        let taken = local_addr(&sockets[0]).unwrap();
        datagram(&OpenSpec { local: Some(&taken), ..spec }, None)
            .expect("they share it if asked to");
    }
}
