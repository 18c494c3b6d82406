//! tokio on one thread, as its users would write it: a task and a buffer a connection.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket, UnixListener},
    runtime::Builder,
};
use tokio_rustls::TlsAcceptor;

use super::{Place, READ_LEN, Task, announce, bind_udp, listen_tcp, listen_unix};
use crate::{
    job::{Part, Transport},
    oneway::{Owed, Received},
    tls::keys::Keys,
};

/// What the guide of tokio and most of its users take for a connection.
const BUFFER_LEN: usize = 16 * 1024;

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len]).await?;
    }
}

/// The same over tokio-rustls, whose writes have to be flushed.
async fn tls_echo(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..len]).await?;
        stream.flush().await?;
    }
}

async fn sink(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN];
    let mut received = Received::default();
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        if let Some(answer) = received.add(len) {
            stream.write_all(answer).await?;
        }
    }
}

async fn source(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = [0; 64];
    let mut owed = Owed::default();
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        owed.add(len);
        while let Some(chunk) = owed.chunk() {
            stream.write_all(chunk).await?;
            owed.sent(chunk.len());
        }
    }
}

async fn packets(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..len], from).await?;
    }
}

async fn streams(listener: TcpListener, part: Part) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        match part {
            Part::Sink => drop(tokio::spawn(sink(stream))),
            Part::Source => drop(tokio::spawn(source(stream))),
            Part::Echo => drop(tokio::spawn(echo(stream))),
        }
    }
}

async fn tls_streams(listener: TcpListener) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Keys::inherited()?.server()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(tls_echo(stream, acceptor.clone()));
    }
}

async fn local_streams(listener: UnixListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let rt = Builder::new_current_thread().enable_io().build()?;
    rt.block_on(async {
        match task.service.transport() {
            Transport::Udp => {
                let socket = bind_udp()?;
                socket.set_nonblocking(true)?;
                announce(task, Place::Ip(socket.local_addr()?))?;
                packets(UdpSocket::from_std(socket)?).await
            }
            Transport::Unix => {
                let listener = listen_unix(&task.path)?;
                listener.set_nonblocking(true)?;
                announce(task, Place::Local(task.path.clone()))?;
                local_streams(UnixListener::from_std(listener)?).await
            }
            Transport::Tcp => {
                let listener = listen_tcp()?;
                listener.set_nonblocking(true)?;
                announce(task, Place::Ip(listener.local_addr()?))?;
                let listener = TcpListener::from_std(listener)?;
                if task.service.is_tls() {
                    return tls_streams(listener).await;
                }
                streams(listener, task.service.part()).await
            }
        }
    })
}
