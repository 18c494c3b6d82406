//! compio on io_uring, as its examples are: a task a connection, whose buffer goes into each operation
//! and comes back from it.
//!
//! Multishot reads from its pool of buffers were tried: a tenth less CPU with 50 connections, four times as
//! much with 1,000, where each dry pool ends a read.

use std::io;

use compio::{
    buf::BufResult,
    driver::ProactorBuilder,
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket, UnixListener},
    runtime::Runtime,
};

use super::{Place, READ_LEN, Task, announce, bind_udp, listen_tcp, listen_unix};
use crate::{
    job::{Part, Transport},
    oneway::{Owed, Received},
};

/// A buffer of its own for each connection, as with tokio.
const BUFFER_LEN: usize = 16 * 1024;

async fn echo(mut stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_LEN);
    loop {
        let BufResult(read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let BufResult(written, filled) = stream.write_all(filled).await;
        written?;
        buffer = filled;
        buffer.clear();
    }
}

async fn sink(mut stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_LEN);
    let mut received = Received::default();
    loop {
        let BufResult(read, filled) = stream.read(buffer).await;
        let len = read?;
        if len == 0 {
            return Ok(());
        }
        if let Some(answer) = received.add(len) {
            stream.write_all(answer).await.0?;
        }
        buffer = filled;
        buffer.clear();
    }
}

async fn source(mut stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64);
    let mut owed = Owed::default();
    loop {
        let BufResult(read, filled) = stream.read(buffer).await;
        let len = read?;
        if len == 0 {
            return Ok(());
        }
        owed.add(len);
        while let Some(chunk) = owed.chunk() {
            stream.write_all(chunk).await.0?;
            owed.sent(chunk.len());
        }
        buffer = filled;
        buffer.clear();
    }
}

async fn packets(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_LEN);
    loop {
        let BufResult(received, filled) = socket.recv_from(buffer).await;
        let (_, from) = received?;
        let BufResult(sent, filled) = socket.send_to(filled, from).await;
        sent?;
        buffer = filled;
        buffer.clear();
    }
}

async fn streams(listener: TcpListener, part: Part) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        match part {
            Part::Sink => compio::runtime::spawn(sink(stream)).detach(),
            Part::Source => compio::runtime::spawn(source(stream)).detach(),
            Part::Echo => compio::runtime::spawn(echo(stream)).detach(),
        }
    }
}

async fn local_streams(listener: UnixListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        compio::runtime::spawn(echo(stream)).detach();
    }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let mut proactor = ProactorBuilder::new();
    proactor.single_issuer(true).defer_taskrun(true);
    let rt = Runtime::builder().with_proactor(proactor).build()?;
    rt.block_on(async {
        match task.service.transport() {
            Transport::Udp => {
                let socket = bind_udp()?;
                let place = Place::Ip(socket.local_addr()?);
                let socket = UdpSocket::from_std(socket)?;
                announce(task, place)?;
                packets(socket).await
            }
            Transport::Unix => {
                let listener = UnixListener::from_std(listen_unix(&task.path)?)?;
                announce(task, Place::Local(task.path.clone()))?;
                local_streams(listener).await
            }
            Transport::Tcp => {
                let listener = listen_tcp()?;
                let place = Place::Ip(listener.local_addr()?);
                let listener = TcpListener::from_std(listener)?;
                announce(task, place)?;
                streams(listener, task.service.part()).await
            }
        }
    })
}
