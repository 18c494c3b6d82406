//! From what the builders and the property-list front have gathered to an open process.
//!
//! Invariant: a start that fails leaves nothing, neither a socket nor a name; what runs closures when
//! it is dropped is dropped with nothing borrowed.

use std::{os::fd::OwnedFd, time::Duration};

use netproc_core::{
    address::{Address, Family},
    contact::Role,
    engine::{NoAttempt, Start},
    event::Failure,
    machine::Status,
    options::SockOption,
    process::Exit,
    reactor::{Kind, Op, SysError, Tick},
};

use crate::{
    error::{Error, ServiceProblem, StartError},
    handlers::Handlers,
    process::Process,
    resolve::Place,
    runtime::Runtime,
};

pub(crate) fn sys(address: &Address) -> impl Fn(SysError) -> StartError {
    let address = Some(address.clone());
    move |source| StartError::Sys { address: address.clone(), source }
}

/// Looks whether a server can be at `local`, and sets what every server there has.
pub(crate) fn prepare(start: &mut Start<Handlers>, local: &Address) -> Result<(), StartError> {
    if *local == Address::unnamed() {
        // The system would make a name up, which nobody asked for.
        let (host, service) = (None, String::new());
        return Err(StartError::Service { host, service, problem: ServiceProblem::NeedsPath });
    }
    let over_ip = matches!(local.family(), Family::Ipv4 | Family::Ipv6);
    // Packets that shards share would be anybody's with it, those of other users and other services included.
    if over_ip && !(start.kind == Kind::Datagram && start.reuse_port) {
        // First, so that the caller's own word on it comes later and counts.
        start.options.insert(0, SockOption::ReuseAddr(true));
    }
    Ok(())
}

/// Opens a server on `local`; a packet server may know a peer to begin with.
pub(crate) fn server(
    rt: &Runtime,
    mut start: Start<Handlers>,
    local: &Address,
    remote: Option<&Address>,
    backlog: u32,
) -> Result<Process, StartError> {
    prepare(&mut start, local)?;
    let datagram = start.kind == Kind::Datagram;
    let _kept = (start.handlers.clone(), start.plist.clone());
    let mut engine = rt.engine_mut();
    let made = if datagram {
        engine.datagram(start, Role::Server, Some(local), remote)
    } else {
        engine.listen(start, local, backlog)
    };
    drop(engine);
    rt.nudge();
    Ok(Process::new(made.map_err(sys(local))?, rt.clone()))
}

/// Makes a server of a socket that was opened elsewhere; a packet server may know a peer to begin with.
pub(crate) fn adopted(
    rt: &Runtime,
    start: Start<Handlers>,
    fd: OwnedFd,
    remote: Option<&Address>,
) -> Result<Process, StartError> {
    let _kept = (start.handlers.clone(), start.plist.clone());
    let mut engine = rt.engine_mut();
    let made = if start.kind == Kind::Datagram {
        engine.adopt_datagram(start, fd, remote)
    } else {
        engine.adopt_listener(start, fd)
    };
    drop(engine);
    rt.nudge();
    Ok(Process::new(made.map_err(StartError::Adopt)?, rt.clone()))
}

/// How long a start that holds its peace serves nobody else: most connections stand by then, and nobody
/// notices a delay so short.
pub(crate) const ALONE: Duration = Duration::from_millis(10);

/// How a client waits for its connection, the look-up of its host included.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all: its sentinel hears how it went.
    Nowait,
    /// At most until then, serving everybody.
    Until(Tick),
    /// At most until then, at first serving nobody else: as in Emacs, no callback runs during a connect
    /// that the system does at once.
    AloneThenUntil(Tick),
}

/// Opens a client of whichever of `to` takes it first; packets go to the first.
pub(crate) fn client(
    rt: &Runtime,
    start: Start<Handlers>,
    to: Place,
    local: Option<Address>,
    patience: Patience,
) -> Result<Process, StartError> {
    let to = match (to, patience) {
        (Place::Named(named), Patience::Nowait) => {
            let _kept = (start.handlers.clone(), start.plist.clone());
            let shared = rt.engine_mut().look_up(start, local);
            let process = Process::new(shared, rt.clone());
            rt.look_up_for(&process, named);
            rt.nudge();
            return Ok(process);
        }
        (place, patience) => rt.addresses_of(place, patience)?,
    };
    let datagram = start.kind == Kind::Datagram;
    let _kept = (start.handlers.clone(), start.plist.clone());
    let announced = matches!(patience, Patience::Nowait);
    let made = if datagram {
        let made = rt.engine_mut().datagram(start, Role::Client, local.as_ref(), Some(&to[0]));
        made.map_err(sys(&to[0]))
    } else {
        let made = rt.engine_mut().connect(start, to, local, announced);
        made.map_err(|NoAttempt { address, source, .. }| StartError::Sys { address, source })
    };
    rt.nudge();
    let process = Process::new(made?, rt.clone());
    let waited = match patience {
        Patience::Nowait => return Ok(process),
        _ if datagram => return Ok(process),
        Patience::Until(deadline) => rt.wait_connecting(&process, deadline),
        Patience::AloneThenUntil(deadline) => {
            match rt.wait_connecting_alone(&process, deadline.min(rt.deadline(ALONE))) {
                Ok(true) => rt.wait_connecting(&process, deadline),
                waited => waited,
            }
        }
    };
    connected(process, waited)
}

/// Hands out `process` if it is connected after the wait, or takes it back.
fn connected(process: Process, waited: Result<bool, Error>) -> Result<Process, StartError> {
    let rt = process.runtime().clone();
    // Nobody is told of the end of its handshake but the caller.
    rt.lift_handshake_limit(&process);
    let address = process.contact().remote().cloned().unwrap_or_else(Address::unnamed);
    let is_connecting = process.shared().borrow().is_connecting();
    let given_up = process.layer_error().filter(|_| is_connecting);
    let problem = match (waited, process.exit()) {
        (Err(err), _) => StartError::Runtime(Box::new(err)),
        (Ok(_), Exit::Alive) if given_up.is_some() => {
            let source = given_up.expect("it was looked at just now");
            StartError::Handshake { address, source }
        }
        (Ok(_), Exit::Failed(Failure::Sys(source))) => {
            StartError::Sys { address: Some(address), source }
        }
        (Ok(_), Exit::Failed(Failure::Handshake(source))) => {
            StartError::Handshake { address, source }
        }
        (Ok(_), Exit::Failed(_)) => StartError::TimedOut { address },
        (Ok(true), _) => StartError::TimedOut { address },
        // Deleted by a callback that ran meanwhile, or open and ended already.
        (Ok(false), Exit::Deleted) if process.status() == Status::Closed => {
            StartError::Sys { address: Some(address), source: SysError::canceled(Op::Connect) }
        }
        (Ok(false), _) => return Ok(process),
    };
    rt.engine_mut().abandon(process.shared());
    if matches!(problem, StartError::Handshake { .. }) {
        // Its peer hears why, also when nobody waits for anything any more.
        rt.let_go();
    }
    rt.nudge();
    Err(problem)
}
