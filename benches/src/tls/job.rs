//! What is asked of a server: how much goes there, how much comes back, or just a handshake.
//!
//! Invariant: an echo gives back every byte; a sink answers each request with one byte, a source one
//! byte with the same block each time. So each side knows what every byte has to be.

use std::fmt;

use clap::ValueEnum;

/// Bytes of a request to a sink and of an answer of a source.
pub(crate) const BULK_LEN: usize = 256 * 1024;

/// What a server does with what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    Echo,
    Sink,
    Source,
}

/// What a server does and a load asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Job {
    /// Echo of 1 KiB, one message at a time on each connection.
    #[value(name = "echo-1k")]
    Echo1K,
    /// The same, 16 under way.
    #[value(name = "echo-1k-16")]
    Echo1KPipelined,
    /// Echo of 16 KiB, one at a time.
    #[value(name = "echo-16k")]
    Echo16K,
    /// The same, 4 under way.
    #[value(name = "echo-16k-4")]
    Echo16KPipelined,
    /// 256 KiB there, a byte back.
    Sink,
    /// A byte there, 256 KiB back.
    Source,
    /// A connection, a full handshake, an echo of a byte.
    #[value(name = "full")]
    FullHandshake,
    /// The same, with a session taken up again.
    #[value(name = "resumed")]
    ResumedHandshake,
}

impl Job {
    pub(crate) const ALL: [Self; 8] = [
        Self::Echo1K,
        Self::Echo1KPipelined,
        Self::Echo16K,
        Self::Echo16KPipelined,
        Self::Sink,
        Self::Source,
        Self::FullHandshake,
        Self::ResumedHandshake,
    ];

    pub(crate) const fn service(self) -> Service {
        match self {
            Self::Sink => Service::Sink,
            Self::Source => Service::Source,
            Self::Echo1K
            | Self::Echo1KPipelined
            | Self::Echo16K
            | Self::Echo16KPipelined
            | Self::FullHandshake
            | Self::ResumedHandshake => Service::Echo,
        }
    }

    /// Bytes of a request.
    pub(crate) const fn request_len(self) -> usize {
        match self {
            Self::Echo1K | Self::Echo1KPipelined => 1024,
            Self::Echo16K | Self::Echo16KPipelined => 16 * 1024,
            Self::Sink => BULK_LEN,
            Self::Source | Self::FullHandshake | Self::ResumedHandshake => 1,
        }
    }

    /// Bytes of an answer.
    pub(crate) const fn answer_len(self) -> usize {
        match self.service() {
            Service::Sink => 1,
            Service::Source => BULK_LEN,
            Service::Echo => self.request_len(),
        }
    }

    /// Requests under way on a connection.
    pub(crate) const fn under_way(self) -> u64 {
        match self {
            Self::Echo1KPipelined => 16,
            Self::Echo16KPipelined => 4,
            Self::Sink | Self::Source => 2,
            Self::Echo1K | Self::Echo16K | Self::FullHandshake | Self::ResumedHandshake => 1,
        }
    }

    pub(crate) const fn is_handshake(self) -> bool {
        matches!(self, Self::FullHandshake | Self::ResumedHandshake)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is skipped");
        f.pad(value.get_name())
    }
}
