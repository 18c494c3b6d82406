//! Clients that share a thread with their server: all messages are there before it looks, and nothing
//! runs meanwhile, so every round is the same.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Bytes of a message.
pub const SIZE: usize = 64;
/// How long anything may take before it is an error.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Connected clients, and the number of their round.
#[derive(Debug)]
pub struct Clients {
    streams: Vec<TcpStream>,
    round: u8,
}

impl Clients {
    /// Connects them; the server's backlog must have room for them.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect(address: SocketAddr, count: u8) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        Ok(Self { streams: (0..count).map(connect).collect::<io::Result<_>>()?, round: 0 })
    }

    /// Sends a message on every connection; returns how many bytes those are.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn send(&mut self) -> io::Result<usize> {
        self.round = self.round.wrapping_add(1);
        for (index, stream) in (0..).zip(&mut self.streams) {
            stream.write_all(&[self.round ^ index; SIZE])?;
        }
        Ok(self.streams.len() * SIZE)
    }

    /// Reads the echo of each.
    ///
    /// # Errors
    ///
    /// What the system says; `WouldBlock` when an echo does not come.
    ///
    /// # Panics
    ///
    /// Panics when an echo is not what was sent.
    pub fn receive(&mut self) -> io::Result<()> {
        for (index, stream) in (0..).zip(&mut self.streams) {
            let mut echo = [0; SIZE];
            stream.read_exact(&mut echo)?;
            assert_eq!(
                echo,
                [self.round ^ index; SIZE],
                "connection {index}, round {}",
                self.round
            );
        }
        Ok(())
    }
}
