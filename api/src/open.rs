//! From what the builders and the property-list front have gathered to an open process.
//!
//! Invariant: a start that fails leaves nothing, neither a socket nor a name; what runs closures when
//! it is dropped is dropped with nothing borrowed.

use std::{collections::VecDeque, time::Duration};

use netproc_core::{
    address::{Address, Family},
    contact::Role,
    engine::Start,
    event::Failure,
    machine::Status,
    options::SockOption,
    process::Exit,
    reactor::{Kind, Op, SysError},
};

use crate::{error::StartError, handlers::Handlers, process::Process, runtime::Runtime};

fn sys(address: &Address) -> impl Fn(SysError) -> StartError {
    let address = Some(address.clone());
    move |source| StartError::Sys { address: address.clone(), source }
}

/// Opens a server on `local`; a packet server may know a peer to begin with.
pub(crate) fn server(
    rt: &Runtime,
    mut start: Start<Handlers>,
    local: &Address,
    remote: Option<&Address>,
    backlog: u32,
) -> Result<Process, StartError> {
    let over_ip = matches!(local.family(), Family::Ipv4 | Family::Ipv6);
    let datagram = start.kind == Kind::Datagram;
    if over_ip && !datagram {
        // First, so that the caller's own word on it comes later and counts.
        start.options.insert(0, SockOption::ReuseAddr(true));
    }
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

/// How a client waits for its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all: its sentinel hears how it went.
    Nowait,
    /// At most so long.
    Within(Duration),
}

/// Opens a client of the first of `to` that takes it; packets go to the first.
pub(crate) fn client(
    rt: &Runtime,
    start: Start<Handlers>,
    to: Vec<Address>,
    local: Option<Address>,
    patience: Patience,
) -> Result<Process, StartError> {
    let datagram = start.kind == Kind::Datagram;
    let _kept = (start.handlers.clone(), start.plist.clone());
    let first = to[0].clone();
    // Packets go to the first, a connection is tried to each: the last is the one that failed.
    let tried = if datagram { first.clone() } else { to[to.len() - 1].clone() };
    let announced = matches!(patience, Patience::Nowait);
    let made = if datagram {
        rt.engine_mut().datagram(start, Role::Client, local.as_ref(), Some(&first))
    } else {
        rt.engine_mut().connect(start, VecDeque::from(to), local, announced)
    };
    rt.nudge();
    let process = Process::new(made.map_err(sys(&tried))?, rt.clone());
    match patience {
        Patience::Within(within) if !datagram => connected(process, within),
        Patience::Within(_) | Patience::Nowait => Ok(process),
    }
}

/// Waits until `process` is connected, or takes it back.
fn connected(process: Process, within: Duration) -> Result<Process, StartError> {
    let rt = process.runtime().clone();
    let waited = rt.wait_connecting(&process, within);
    let address = process.contact().remote().cloned().unwrap_or_else(Address::unnamed);
    let problem = match (waited, process.exit()) {
        (Err(err), _) => StartError::Runtime(Box::new(err)),
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
    rt.nudge();
    Err(problem)
}
