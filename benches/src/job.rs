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
}

impl Shape {
    pub(crate) const fn new(connections: usize, size: u64, pipeline: u64) -> Self {
        Self { connections, size, pipeline, idle: 0 }
    }

    /// Messages under way at a time.
    pub(crate) const fn under_way(&self) -> u64 {
        self.connections as u64 * self.pipeline
    }
}
