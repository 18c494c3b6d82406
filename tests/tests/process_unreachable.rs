//! Addresses to which there is no way, each for another reason, and ports that have run out.
//!
//! Each test has a network of its own and lays its routes itself. connect(2), ip-route(8).
#![cfg(target_os = "linux")]

use std::process::Command;

use netproc::{Address, ClientBuilder, Process, StartError, Status};
use netproc_tests::{
    conformance,
    rig::{Outcome, Rig},
};

/// What routes there are, where they lead, and what a connect to there says.
const ROUTES: [(&str, &str, i32); 4] = [
    ("", "[192 0 2 1 7]", libc::ENETUNREACH),
    ("unreachable", "[198 51 100 1 7]", libc::EHOSTUNREACH),
    ("prohibit", "[198 51 100 2 7]", libc::EACCES),
    ("blackhole", "[198 51 100 3 7]", libc::EINVAL),
];

fn lay_routes() -> Outcome {
    for (kind, to, _) in ROUTES.iter().filter(|(kind, ..)| !kind.is_empty()) {
        let to: Address = to.parse()?;
        let to = to.socket_addr().ok_or("an IP address")?.ip().to_string();
        let laid = Command::new("ip").args(["route", "add", kind, &to]).status()?;
        assert!(laid.success(), "{kind} {to}");
    }
    Ok(())
}

fn client(rig: &Rig, to: &[Address]) -> ClientBuilder {
    rig.rt.client("client").remotes(to.to_vec()).sentinel(rig.log.sentinel())
}

conformance!(apart on (poll epoll uring): without_a_way_a_connect_fails_with_the_reason, |rig| {
    lay_routes()?;
    for (kind, to, errno) in ROUTES {
        let to: Address = to.parse()?;
        let client_of = || client(rig, std::slice::from_ref(&to));
        let failed = client_of().nowait(true).start()?;
        rig.until_line(&failed, &format!("failed with code {errno} (failed)"));
        assert_eq!((rig.log.of(&failed).len(), failed.exit().status()), (1, errno), "{kind}");
        let Err(StartError::Sys { address, source }) = client_of().start() else {
            return Err(format!("{kind}: not refused").into());
        };
        assert_eq!((address, source.errno), (Some(to), errno), "{kind}");
    }
    rig.settle();
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(apart on (poll epoll uring): an_address_without_a_way_makes_way_for_the_next, |rig| {
    lay_routes()?;
    let alive = rig.server().start()?;
    let ways: Vec<Address> =
        ROUTES.iter().map(|(_, to, _)| to.parse()).collect::<Result<_, _>>()?;
    let mut to = ways.clone();
    to.push(alive.contact().local().clone());
    for nowait in [false, true] {
        let client = client(rig, &to).nowait(nowait).start()?;
        rig.until("the connection", || client.status() == Status::Open);
        assert_eq!(client.contact().remote(), Some(alive.contact().local()));
        assert_eq!(rig.log.of(&client).len(), usize::from(nowait));
    }
    let failed = client(rig, &ways).nowait(true).start()?;
    rig.until("the failure", || failed.status() == Status::Failed);
    let last = ROUTES[ROUTES.len() - 1];
    assert_eq!(rig.log.of(&failed), [format!("failed with code {} (failed)", last.2)]);
    assert_eq!(failed.contact().remote(), ways.last());
    Ok(())
});

conformance!(apart on (poll epoll uring): without_a_free_port_a_connect_fails_and_others_stay, |rig| {
    let server = rig.server().start()?;
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "60000 60003")?;
    let others: Vec<Process> =
        (0..4).map(|_| rig.connect(&server)).collect::<Result<_, _>>()?;
    let to = server.contact().local().clone();
    let fifth = client(rig, &[to.clone(), to]).nowait(true).start()?;
    rig.until_line(&fifth, "failed with code 99 (failed)");
    rig.settle();
    assert_eq!(rig.log.of(&fifth).len(), 1);
    for other in &others {
        assert_eq!(other.status(), Status::Open);
        other.send("still here")?;
    }
    let children = rig.connections(&server);
    rig.until("what they send", || children.iter().all(|child| rig.log.len_of(child) == 10));
    Ok(())
});
