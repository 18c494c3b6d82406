//! Opening a socket on the simulated host: what `socket`, `bind`, `listen` and `connect` refuse.
//!
//! Invariant: a refusal leaves nothing behind, no name taken and no socket made. The errnos are
//! Linux's. What happens afterwards is each kind's own file.

use std::net::Ipv4Addr;

use crate::{
    address::{Address, Family},
    options::SockOption,
    reactor::{Kind, Op, OpenSpec, SysError},
    sim::{
        connection::{Connection, Fate},
        host::Host,
        listener::Listener,
        names::{self, Holder, Space},
        packets::PacketSocket,
        sock::Role,
    },
};

/// How long a connect that nobody answers takes: Linux's six repetitions of a SYN.
const SYN_TIMEOUT: u64 = 127_000_000_000;

fn refused(op: Op) -> impl Fn(i32) -> SysError {
    move |errno| SysError { op, errno }
}

/// What `socket` and the options say.
fn open(host: &mut Host, spec: &OpenSpec<'_>, family: Family) -> Result<(), SysError> {
    host.counters.syscalls += 1;
    let known = match (family, spec.kind) {
        (Family::Other(_), _) => Err(libc::EAFNOSUPPORT),
        (Family::Ipv4 | Family::Ipv6, Kind::SeqPacket) => Err(libc::ESOCKTNOSUPPORT),
        (Family::Ipv4 | Family::Ipv6 | Family::Local, _) => Ok(()),
    };
    known.map_err(refused(Op::Open))?;
    if host.chaos.strikes(|faults| faults.emfile) {
        return Err(SysError { op: Op::Open, errno: libc::EMFILE });
    }
    spec.options.iter().try_for_each(check_option)
}

/// What `setsockopt` says: this host has one device.
pub(super) fn check_option(option: &SockOption) -> Result<(), SysError> {
    match option {
        SockOption::BindToDevice(Some(name)) if name != "lo" => {
            Err(SysError { op: Op::Option, errno: libc::ENODEV })
        }
        SockOption::BindToDevice(_)
        | SockOption::Broadcast(_)
        | SockOption::DontRoute(_)
        | SockOption::KeepAlive(_)
        | SockOption::Linger(_)
        | SockOption::NoDelay(_)
        | SockOption::OobInline(_)
        | SockOption::Priority(_)
        | SockOption::RecvBuffer(_)
        | SockOption::ReuseAddr(_)
        | SockOption::SendBuffer(_) => Ok(()),
    }
}

/// The address of a socket of `family` that has none.
pub(super) fn nowhere(family: Family) -> Address {
    match family {
        Family::Ipv6 => Address::from((std::net::Ipv6Addr::UNSPECIFIED.into(), 0)),
        Family::Local | Family::Other(_) => Address::unnamed(),
        Family::Ipv4 => Address::from((Ipv4Addr::UNSPECIFIED.into(), 0)),
    }
}

pub(super) fn listener(
    host: &mut Host,
    spec: &OpenSpec<'_>,
    backlog: u32,
) -> Result<Role, SysError> {
    let family = spec.local.map_or(spec.family, Address::family);
    open(host, spec, family)?;
    if spec.kind == Kind::Datagram {
        return Err(SysError { op: Op::Listen, errno: libc::EOPNOTSUPP });
    }
    // An IP socket that listens without a name gets a port; a local one cannot.
    let wanted = match (spec.local, family) {
        (Some(local), _) => local.clone(),
        (None, Family::Local | Family::Other(_)) => {
            return Err(SysError { op: Op::Listen, errno: libc::EINVAL });
        }
        (None, Family::Ipv4 | Family::Ipv6) => nowhere(family),
    };
    let Host { names, wire, .. } = host;
    let fd = wire.listen(names, spec.kind, &wanted, spec.reuse_port, backlog);
    Ok(Role::Listener(Listener::new(fd.map_err(refused(Op::Bind))?, spec.kind)))
}

pub(super) fn connection(
    host: &mut Host,
    spec: &OpenSpec<'_>,
    to: &Address,
) -> Result<Role, SysError> {
    let family = spec.local.map_or_else(|| to.family(), Address::family);
    open(host, spec, family)?;
    if spec.kind == Kind::Datagram {
        return Err(SysError { op: Op::Connect, errno: libc::EPROTOTYPE });
    }
    let space = Space::of(spec.kind, family);
    let bind = refused(Op::Bind);
    let local = match (spec.local, to.socket_addr()) {
        (Some(local), _) => host.names.choose(space, local, spec.reuse_port).map_err(bind)?,
        (None, Some(address)) => {
            let any = Address::from((names::loopback(address.ip()), 0));
            host.names.choose(space, &any, false).map_err(bind)?
        }
        (None, None) => Address::unnamed(),
    };
    if local != Address::unnamed() {
        host.names.claim(space, local.clone(), Holder::Caller, spec.reuse_port);
    }
    let to = names::target(to);
    let (wait, fate) = if family != to.family() {
        (0, Fate::Fails(libc::EAFNOSUPPORT))
    } else if !names::is_here(&to) || host.chaos.strikes(|faults| faults.connect_timeout) {
        (SYN_TIMEOUT, Fate::Fails(libc::ETIMEDOUT))
    } else if host.chaos.strikes(|faults| faults.refuse) {
        (0, Fate::Fails(libc::ECONNREFUSED))
    } else {
        (0, Fate::Try)
    };
    let due = host.now + wait + host.chaos.latency(|faults| faults.delay_max);
    Ok(Role::Connection(Connection::connecting(spec.kind, due, fate, local, to)))
}

pub(super) fn packets(
    host: &mut Host,
    spec: &OpenSpec<'_>,
    to: Option<&Address>,
) -> Result<Role, SysError> {
    let spec = &OpenSpec { kind: Kind::Datagram, ..*spec };
    let family = spec.local.or(to).map_or(spec.family, Address::family);
    open(host, spec, family)?;
    let Host { names, ports, .. } = host;
    let fd = ports.open(names, family, spec.local, spec.reuse_port).map_err(refused(Op::Bind))?;
    for option in spec.options {
        if let SockOption::Broadcast(on) = option {
            ports.set_broadcast(fd, *on);
        }
    }
    if let Some(to) = to
        && let Err(errno) = ports.connect(names, fd, to)
    {
        ports.close(names, fd);
        return Err(SysError { op: Op::Connect, errno });
    }
    Ok(Role::Packets(PacketSocket::new(fd)))
}
