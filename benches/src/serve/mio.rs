//! mio as its guide says: edge-triggered, whatever is ready is read until it would block.

use std::io::{self, Read, Write};

use mio::{
    Events, Interest, Poll, Token,
    event::Source,
    net::{TcpListener, UdpSocket, UnixListener},
};
use slab::Slab;

use super::{
    Place, READ_LEN, Task, announce, bind_udp, listen_tcp, listen_unix,
    ready::{Connection, Until},
};
use crate::job::{Part, Transport};

const LISTENER: Token = Token(usize::MAX);

/// Serves what `accept` gives; the listener is registered already.
fn run<S: Source + Read + Write>(
    mut poll: Poll,
    part: Part,
    accept: impl Fn() -> io::Result<S>,
) -> io::Result<()> {
    let mut all = Slab::new();
    let mut buffer = vec![0; READ_LEN];
    let mut events = Events::with_capacity(256);
    loop {
        wait(&mut poll, &mut events)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Some(mut stream) = unless_blocked(accept())? {
                    let slot = all.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(slot.key()), interest)?;
                    slot.insert(Connection::new(stream, part));
                }
                continue;
            }
            let key = event.token().0;
            let Some(connection) = all.get_mut(key) else { continue };
            // Room to write alone brings nothing to read.
            let is_input = event.is_readable() || event.is_read_closed() || event.is_error();
            if !is_input && !connection.waits_for_room() {
                continue;
            }
            if !connection.serve(&mut buffer, Until::WouldBlock).unwrap_or(false) {
                poll.registry().deregister(&mut connection.stream)?;
                all.remove(key);
            }
        }
    }
}

fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, None) {
        Err(err) if err.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        waited => waited,
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

fn packets(mut poll: Poll, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN];
    let mut events = Events::with_capacity(4);
    loop {
        wait(&mut poll, &mut events)?;
        while let Some((len, from)) = unless_blocked(socket.recv_from(&mut buffer))? {
            // What the socket does not take is lost, as packets are.
            unless_blocked(socket.send_to(&buffer[..len], from))?;
        }
    }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let poll = Poll::new()?;
    let register =
        |source: &mut dyn Source| poll.registry().register(source, LISTENER, Interest::READABLE);
    match task.service.transport() {
        Transport::Udp => {
            let socket = bind_udp()?;
            socket.set_nonblocking(true)?;
            let place = Place::Ip(socket.local_addr()?);
            let mut socket = UdpSocket::from_std(socket);
            register(&mut socket)?;
            announce(task, place)?;
            packets(poll, &socket)
        }
        Transport::Unix => {
            let listener = listen_unix(&task.path)?;
            listener.set_nonblocking(true)?;
            let mut listener = UnixListener::from_std(listener);
            register(&mut listener)?;
            announce(task, Place::Local(task.path.clone()))?;
            run(poll, task.service.part(), || Ok(listener.accept()?.0))
        }
        Transport::Tcp => {
            let listener = listen_tcp()?;
            listener.set_nonblocking(true)?;
            let place = Place::Ip(listener.local_addr()?);
            let mut listener = TcpListener::from_std(listener);
            register(&mut listener)?;
            announce(task, place)?;
            run(poll, task.service.part(), || Ok(listener.accept()?.0))
        }
    }
}
