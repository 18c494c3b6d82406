//! The servers: netproc's two and tokio-rustls, each as its users would write it.
//!
//! Invariant: each listens on a free port of 127.0.0.1 with `TCP_NODELAY`, prints the port, and serves
//! on one thread until standard input ends. All serve with the same certificate, and with tickets.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read as _, Write as _},
    net::TcpListener as StdListener,
    process, thread,
};

use clap::ValueEnum;
use netproc::{Backend, Input, Mechanism, Payload, Process, Runtime, TlsIdentity, TlsServer};
use nix::sys::socket::{setsockopt, sockopt::TcpNoDelay};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_rustls::TlsAcceptor;

use super::{
    job::{BULK_LEN, Job, Service},
    keys::Keys,
};

/// What a source answers.
pub(crate) static BLOCK: [u8; BULK_LEN] = {
    let mut block = [0; BULK_LEN];
    let mut at = 0;
    while at < BULK_LEN {
        #[expect(clippy::cast_possible_truncation, reason = "below a prime that fits")]
        let byte = (at % 251) as u8;
        block[at] = byte;
        at += 1;
    }
    block
};

/// What a sink answers.
pub(crate) const ACK: u8 = b'.';

/// A server to measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Peer {
    NetprocUring,
    NetprocEpoll,
    TokioRustls,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::NetprocUring, Self::NetprocEpoll, Self::TokioRustls];
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is skipped");
        f.pad(value.get_name())
    }
}

/// Serves in this process until standard input ends.
pub(crate) fn serve(peer: Peer, job: Job, keys: &Keys) -> io::Result<()> {
    match peer {
        Peer::NetprocUring => serve_netproc(Backend::Uring, job, keys),
        Peer::NetprocEpoll => serve_netproc(Backend::Mechanism(Mechanism::Epoll), job, keys),
        Peer::TokioRustls => serve_tokio(job, keys),
    }
}

fn announce(port: u16) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{port}")?;
    stdout.flush()
}

fn at_end_of_stdin(end: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        end();
    });
}

/// How many requests are whole once `len` more bytes have come.
const fn whole(job: Job, pending: usize, len: usize) -> (usize, usize) {
    let total = pending + len;
    (total / job.request_len(), total % job.request_len())
}

fn serve_netproc(backend: Backend, job: Job, keys: &Keys) -> io::Result<()> {
    let rt = Runtime::builder().backend(backend).build().map_err(io::Error::other)?;
    let identity = TlsIdentity::from_pem(&keys.certificate, &keys.key);
    let tls = TlsServer::builder(identity.map_err(io::Error::other)?).build();
    let server = rt.server("tls").host("127.0.0.1").nodelay(true).backlog(1024);
    let server = server.tls(tls.map_err(io::Error::other)?);
    let server = match job.service() {
        Service::Sink | Service::Source => server.on_accept(move |_, connection| {
            let pending = Cell::new(0);
            connection.set_filter(move |process: &Process, input: Input| {
                let (requests, rest) = whole(job, pending.get(), input.len());
                pending.set(rest);
                answer(process, job, requests)
            });
        }),
        Service::Echo => server.filter(|process, input| process.send(input)),
    };
    let server = server.start().map_err(io::Error::other)?;
    announce(server.contact().local().port().unwrap_or_default())?;
    let ending = rt.handle();
    at_end_of_stdin(move || {
        // A runtime that is already gone needs no shutdown.
        let _gone = ending.shutdown();
    });
    rt.run().map_err(io::Error::other)
}

fn answer(process: &Process, job: Job, requests: usize) -> netproc::Result<()> {
    if job == Job::Source {
        for _ in 0..requests {
            process.send(Payload::Static(&BLOCK))?;
        }
    } else if requests > 0 {
        process.send(vec![ACK; requests])?;
    }
    Ok(())
}

fn serve_tokio(job: Job, keys: &Keys) -> io::Result<()> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    setsockopt(&listener, TcpNoDelay, &true)?; // accepted sockets inherit it
    listener.set_nonblocking(true)?;
    announce(listener.local_addr()?.port())?;
    at_end_of_stdin(|| process::exit(0));
    let acceptor = TlsAcceptor::from(keys.server()?);
    let rt = Builder::new_current_thread().enable_io().build()?;
    rt.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve_connection(stream, acceptor.clone(), job));
        }
    })
}

async fn serve_connection(stream: TcpStream, acceptor: TlsAcceptor, job: Job) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; 16 * 1024];
    let mut pending = 0;
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return stream.shutdown().await;
        }
        match job.service() {
            Service::Sink | Service::Source => {
                let (requests, rest) = whole(job, pending, len);
                pending = rest;
                for _ in 0..requests {
                    let answer = if job == Job::Source { &BLOCK[..] } else { &[ACK] };
                    stream.write_all(answer).await?;
                }
            }
            Service::Echo => stream.write_all(&buffer[..len]).await?,
        }
        stream.flush().await?;
    }
}
