//! What is measured: the service a server offers, and the shape of the load on it.
//!
//! Invariant: both ends of a run, each a process of its own, are told the same [`Service`].

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a server does, whoever wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Service {
    /// Sends back what comes over TCP.
    Tcp,
    /// The same for connections that live for one message.
    Churn,
    /// The same over a local stream.
    Unix,
    /// The same over TLS 1.3.
    Tls,
    /// The same for connections that live for one message, after a full handshake.
    TlsFull,
    /// The same after taking a session up again.
    TlsResumed,
    /// Sends back each datagram; the load sends and takes them joined (`UDP_SEGMENT`, `UDP_GRO`).
    Udp,
    /// The same for a load to which each datagram is a call of its own.
    UdpApart,
    /// Reads over TCP and answers each MiB with one byte.
    Sink,
    /// Answers each byte over TCP with a MiB.
    Source,
}

/// What a service runs over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Udp,
}

/// What is done with what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Echo,
    Sink,
    Source,
}

impl Service {
    pub(crate) const fn transport(self) -> Transport {
        match self {
            Self::Tcp
            | Self::Churn
            | Self::Tls
            | Self::TlsFull
            | Self::TlsResumed
            | Self::Sink
            | Self::Source => Transport::Tcp,
            Self::Unix => Transport::Unix,
            Self::Udp | Self::UdpApart => Transport::Udp,
        }
    }

    pub(crate) const fn part(self) -> Part {
        match self {
            Self::Tcp
            | Self::Churn
            | Self::Tls
            | Self::TlsFull
            | Self::TlsResumed
            | Self::Unix
            | Self::Udp
            | Self::UdpApart => Part::Echo,
            Self::Sink => Part::Sink,
            Self::Source => Part::Source,
        }
    }

    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsFull | Self::TlsResumed)
    }
}

/// What to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Connections at a time; flows, for datagrams.
    pub(crate) connections: usize,
    /// Bytes of a message.
    pub(crate) size: u64,
    /// Messages under way on each connection.
    pub(crate) pipeline: u64,
    /// Further connections, over which one message went once.
    pub(crate) idle: usize,
    /// How many tables of descriptors these are spread over at each end, since one has a bound.
    pub(crate) tables: usize,
}

impl Shape {
    pub(crate) const fn new(connections: usize, size: u64, pipeline: u64) -> Self {
        Self { connections, size, pipeline, idle: 0, tables: 1 }
    }

    /// With as many messages under way as a connection has with pipelining: 16, or 4 where these would be 1 GiB in
    /// all, which has to go round twice in a window and once more behind it: 5 seconds and more for each server
    /// and round.
    pub(crate) const fn deep(connections: usize, size: u64) -> Self {
        const DEEPEST: u64 = 16;
        const LEAST: u64 = 4;
        const BYTES_MAX: u64 = 256 << 20;
        let bytes = connections as u64 * size * DEEPEST;
        Self::new(connections, size, if bytes > BYTES_MAX { LEAST } else { DEEPEST })
    }

    /// The same beside so many idle connections, where a table holds so many descriptors.
    pub(crate) const fn beside(self, idle: usize, descriptors: usize) -> Self {
        /// For everything that is no connection.
        const LEFT: usize = 300;
        let room = descriptors.saturating_sub(self.connections + LEFT);
        let tables = if idle == 0 { 1 } else { idle.div_ceil(if room == 0 { 1 } else { room }) };
        Self { idle, tables, ..self }
    }

    /// How many of the idle connections are in one of the tables.
    pub(crate) const fn idle_in(&self, table: usize) -> usize {
        self.idle / self.tables + (table < self.idle % self.tables) as usize
    }

    /// Messages under way at a time.
    pub(crate) const fn under_way(&self) -> u64 {
        self.connections as u64 * self.pipeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_spread_over_as_many_tables_as_they_need() {
        let beside = |idle, descriptors| Shape::new(50, 64, 1).beside(idle, descriptors);
        for (idle, descriptors, tables) in
            [(0, 1000, 1), (650, 1000, 1), (651, 1000, 2), (100_000, 20_000, 6), (7, 10, 7)]
        {
            let shape = beside(idle, descriptors);
            let all: usize = (0..tables).map(|table| shape.idle_in(table)).sum();
            assert_eq!((shape.tables, all), (tables, idle), "{idle} in {descriptors}");
        }
    }
}
