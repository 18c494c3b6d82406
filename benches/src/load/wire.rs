//! What an echo goes over: a bare socket, or TLS on one.

use std::{
    io::{self, Read as _, Write as _},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use socket2::Socket;

use super::unless_waiting;
use crate::tls::keys;

pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Wire {
    /// TLS on a connecting socket; the handshake happens as bytes are to be read and written.
    pub(super) fn tls(socket: Socket, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = keys::NAME.try_into().map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// Returns how much was read and whether that was all there is; `None` if nothing is there yet.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let (len, is_all) = match self {
            Self::Plain(socket) => {
                let len = unless_waiting(socket.read(buffer))?;
                (len, len.is_some_and(|len| len < buffer.len()))
            }
            // A record at a time, and some may be waiting in it.
            Self::Tls(stream) => (unless_waiting(stream.read(buffer))?, false),
        };
        match len {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            len => Ok(len.map(|len| (len, is_all))),
        }
    }

    /// Returns how much was taken; `None` if nothing can be just now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let len = match self {
            Self::Plain(socket) => unless_waiting(socket.write(bytes))?,
            Self::Tls(stream) => unless_waiting(stream.write(bytes))?,
        };
        Ok(len.filter(|&len| len > 0))
    }

    /// Writes what was taken and is still here.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => unless_waiting(stream.flush().map(|()| 0)).map(|_| ()),
        }
    }

    /// Which handshake there was; `None` without TLS, or before it is over.
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.conn.handshake_kind(),
        }
    }

    /// Says good-bye, where there is a way to.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
        }
        self.flush()
    }
}
