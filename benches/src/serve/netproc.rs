//! The server under test: netproc through its public interface, as its users would write it.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};

use netproc::{
    Config, Event, Family, LogEntry, Payload, Plist, Process, Runtime, SendError, ServerBuilder,
    Service, TlsIdentity, TlsServer,
};

use super::{BACKLOG, Kind, Place, Task, announce_with, say};
use crate::{
    job,
    oneway::{Owed, Received},
    tls::keys::Keys,
};

/// Receive slots of a server on io_uring that only reads: longer reads are worth some of the cache then. On
/// epoll both read what an echo does.
const BULK_SLOT_LEN: u32 = 128 * 1024;

/// Its own counters, as the parent reads them.
fn counters(rt: &Runtime) -> String {
    serde_json::json!({ "syscalls": rt.stats().syscalls }).to_string()
}

/// Reads and drops, but for an answer to each block.
fn sink(server: ServerBuilder) -> ServerBuilder {
    server.on_accept(|_, process| {
        let mut received = Received::default();
        process.set_filter_mut(move |process, input| {
            let Some(answer) = received.add(input.len()) else { return Ok(0) };
            process.send(Payload::Static(answer))
        })
    })
}

/// Sends what is owed until the queue is full; `Drained` tells when to go on.
fn pay(process: &Process, owed: &mut Owed) {
    while let Some(chunk) = owed.chunk() {
        if process.send(Payload::Static(chunk)).is_err() {
            return;
        }
        owed.sent(chunk.len());
    }
}

fn source(server: ServerBuilder) -> ServerBuilder {
    server.on_accept(|_, process| {
        let owed = Rc::new(RefCell::new(Owed::default()));
        let drained = Rc::clone(&owed);
        process.set_sentinel(move |process, event| {
            if matches!(event, Event::Drained) {
                pay(process, &mut drained.borrow_mut());
            }
        });
        process.set_filter_mut(move |process, input| {
            let mut owed = owed.borrow_mut();
            owed.add(input.len());
            pay(process, &mut owed);
        })
    })
}

/// An echo with everything a process can have: a property list, which connections inherit, a log of
/// who was accepted, a sentinel that hears how each one ended.
fn churn(server: ServerBuilder) -> ServerBuilder {
    let (accepted, ended) = (Cell::new(0u64), Cell::new(0u64));
    let mut plist = Plist::new();
    plist.put("service", "echo");
    let server = server.plist(plist).log(move |_, _, entry| {
        if matches!(entry, LogEntry::Accepted { .. }) {
            accepted.set(accepted.get() + 1);
        }
    });
    let server = server.sentinel(move |_, event| {
        if matches!(event, Event::Broken { .. }) {
            ended.set(ended.get() + 1);
        }
    });
    echo(server)
}

fn echo(server: ServerBuilder) -> ServerBuilder {
    server.filter(|process, input| process.send(input))
}

/// Answers whoever sent, as many at a time as have come.
fn packets(server: ServerBuilder) -> ServerBuilder {
    server.batch_filter(|process, packets| {
        for packet in packets {
            let Some(from) = packet.from else { continue };
            process.send_to(packet.input, &from)?;
        }
        Ok::<_, SendError>(())
    })
}

fn tls() -> io::Result<TlsServer> {
    let keys = Keys::inherited()?;
    let identity = TlsIdentity::from_pem(&keys.certificate, &keys.key).map_err(io::Error::other)?;
    TlsServer::builder(identity).build().map_err(io::Error::other)
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let backend = task.kind.backend().ok_or(io::ErrorKind::Unsupported)?;
    let mut config = Config::default();
    if task.service == job::Service::Sink && task.kind == Kind::NetprocUring {
        config.slot_len = BULK_SLOT_LEN;
    }
    let rt = Runtime::builder().backend(backend).config(config).build();
    let rt = rt.map_err(io::Error::other)?;
    let server = rt.server("bench");
    let tcp = || rt.server("bench").nodelay(true);
    let server = match task.service {
        job::Service::Unix => echo(server.family(Family::Local).service(task.path.as_path())),
        job::Service::Udp | job::Service::UdpApart => {
            packets(server.datagram().service(Service::Any))
        }
        job::Service::Tcp => echo(tcp()),
        job::Service::Churn => churn(tcp()),
        job::Service::Tls | job::Service::TlsFull | job::Service::TlsResumed => {
            echo(tcp().tls(tls()?))
        }
        job::Service::Sink => sink(tcp()),
        job::Service::Source => source(tcp()),
    };
    let server = server.backlog(BACKLOG.unsigned_abs()).start().map_err(io::Error::other)?;
    let place = match server.contact().local().socket_addr() {
        Some(address) => Place::Ip(address),
        None => Place::Local(task.path.clone()),
    };
    let (asking, ending) = (rt.handle(), rt.handle());
    let on_line = move || {
        let answer = |rt: &Runtime| {
            if say(&counters(rt)).is_err() {
                rt.shutdown(); // the parent is gone
            }
        };
        asking.post(answer).map_err(io::Error::other)
    };
    let on_end = move || {
        // A runtime that is already gone needs no shutdown.
        let _gone = ending.shutdown();
    };
    announce_with(task, place, on_line, on_end)?;
    rt.run().map_err(io::Error::other)
}
