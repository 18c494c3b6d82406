//! glommio on one executor, as its examples are: a task and a buffer a connection.

use std::io;

use futures_util::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use glommio::{
    LocalExecutorBuilder, Placement,
    net::{TcpListener, UdpSocket, UnixListener},
};

use super::{Place, READ_LEN, Task, announce};
use crate::{
    job::{Part, Transport},
    oneway::{Owed, Received},
};

/// A buffer of its own for each connection, as with tokio.
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
        let stream = listener.accept().await?;
        stream.set_nodelay(true)?;
        match part {
            Part::Sink => drop(glommio::spawn_local(sink(stream)).detach()),
            Part::Source => drop(glommio::spawn_local(source(stream)).detach()),
            Part::Echo => drop(glommio::spawn_local(echo(stream)).detach()),
        }
    }
}

async fn local_streams(listener: UnixListener) -> io::Result<()> {
    loop {
        let stream = listener.accept().await?;
        drop(glommio::spawn_local(echo(stream)).detach());
    }
}

pub(super) fn serve(task: &Task) -> io::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
    executor.run(async {
        match task.service.transport() {
            Transport::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                announce(task, Place::Ip(socket.local_addr()?))?;
                packets(socket).await
            }
            Transport::Unix => {
                let listener = UnixListener::bind(&task.path)?;
                announce(task, Place::Local(task.path.clone()))?;
                local_streams(listener).await
            }
            Transport::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                announce(task, Place::Ip(listener.local_addr()?))?;
                streams(listener, task.service.part()).await
            }
        }
    })
}
