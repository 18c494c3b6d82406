//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before the connection
//! itself begins.
//!
//! Invariant: what a header means does not depend on how it was cut, and nothing is kept beyond its
//! bound. Versions are apart in `v1` and `v2`, whom to
//! believe in `trusted`, what a client sends in `out`; when a header is read is the engine's affair.

mod crc32c;
mod out;
mod reader;
#[cfg(test)]
mod tests;
mod trusted;
mod v1;
mod v2;

use std::fmt;

pub(crate) use self::reader::HeaderReader;
pub use self::{
    out::{ProxyOut, ProxyOutError},
    trusted::{IpPrefix, IpPrefixError, TrustedProxies, TrustedProxiesError},
};
use crate::{address::Address, reactor::Kind};

/// The longest header of version 1, its line end included.
pub const V1_LEN_MAX: usize = 107;
/// The longest header of version 2 without anything behind the addresses.
pub const V2_ADDRESSES_LEN_MAX: usize = v2::START_LEN + 2 * v2::UNIX_LEN;
/// The longest header there can be: version 2 says its length in 16 bits.
pub const HEADER_LEN_MOST: usize = v2::START_LEN + u16::MAX as usize;

/// How a header is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Bytes, with room for more than addresses.
    V2,
}

impl fmt::Display for ProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// For whom a proxy has made a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProxyOrigin {
    /// For itself, to see whether somebody is there (`LOCAL`). Version 2 only.
    Proxy,
    /// For somebody it cannot or will not name (`UNKNOWN`, `UNSPEC`).
    Unknown,
    /// For this client.
    Client {
        /// What the client has made; in version 1 always a stream.
        kind: Kind,
        /// Where the client is.
        source: Address,
        /// Whom it wanted to reach.
        destination: Address,
    },
}

/// What a proxy has said of a connection.
///
/// # Examples
///
/// ```
/// use netproc_core::proxy::ProxyHeader;
///
/// let bytes = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nGET /";
/// let (header, len) = ProxyHeader::parse(bytes, 4096)?.expect("it is whole");
/// assert_eq!(header.source(), "[192 0 2 7 4711]".parse().ok().as_ref());
/// assert_eq!(&bytes[len..], b"GET /");
/// assert_eq!(ProxyHeader::parse(&bytes[..20], 4096)?, None, "so far so good");
/// assert!(ProxyHeader::parse(b"GET /", 4096).is_err());
/// # Ok::<(), netproc_core::proxy::ProxyHeaderError>(())
/// ```
///
/// # Source
///
/// "The PROXY protocol, versions 1 & 2", of HAProxy. Emacs has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyHeader {
    version: ProxyVersion,
    origin: ProxyOrigin,
    /// Types, lengths and values as they came, every length within its bounds.
    tlvs: Box<[u8]>,
}

/// Why a connection did not begin with a header, or with one that can be believed. Nothing of what came
/// was handed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The first bytes are those of no version.
    #[error("no PROXY header")]
    Missing,
    /// A line of version 1 that is not as it has to be.
    #[error("a malformed PROXY line: no {0} where one has to be")]
    Line(&'static str),
    /// A version that there is not.
    #[error("a PROXY header of version {0}")]
    Version(u8),
    /// A command that there is not.
    #[error("a PROXY header with the unknown command {0}")]
    Command(u8),
    /// A family or a transport that there is not.
    #[error("a PROXY header of the unknown family and transport {0:#04x}")]
    Family(u8),
    /// Longer than it may be.
    #[error("a PROXY header of more than {max} bytes")]
    TooLong {
        /// The bound, the header's beginning included.
        max: usize,
    },
    /// Version 2 announces fewer bytes than its addresses take.
    #[error("a PROXY header with {len} bytes for addresses of {needed}")]
    TooShort {
        /// How many it announces.
        len: usize,
        /// How many there have to be.
        needed: usize,
    },
    /// The path of a local socket that no socket can have.
    #[error("a PROXY header with the path of a local socket that is too long")]
    Path,
    /// A value that ends behind the header, or has not the length that its type has.
    #[error("a PROXY header with a malformed value at byte {at}")]
    Tlv {
        /// Where its type stands, counted from the header's beginning.
        at: usize,
    },
    /// The checksum is not that of the header.
    #[error("a PROXY header with the checksum {sent:#010x}, it has to be {computed:#010x}")]
    Checksum {
        /// That of the sender.
        sent: u32,
        /// Ours.
        computed: u32,
    },
    /// The connection ended before its header did.
    #[error("hung up after {0} bytes of a PROXY header")]
    Cut(usize),
    /// The header was not there in time.
    #[error("no PROXY header within the time given")]
    Late,
}

impl ProxyHeader {
    /// Reads a header off the beginning of `bytes`; returns it and its length, or `None` while more has
    /// to come. A header of version 2 may have `len_max` bytes in all; one of version 1 always has 107 at
    /// most.
    ///
    /// # Errors
    ///
    /// [`ProxyHeaderError`]: at the first byte that no header begins with, at the bound, or once all of it
    /// is there.
    pub fn parse(bytes: &[u8], len_max: usize) -> Result<Option<(Self, usize)>, ProxyHeaderError> {
        match bytes.first() {
            None => Ok(None),
            Some(b'P') => v1::parse(bytes),
            Some(b'\r') => v2::parse(bytes, len_max),
            Some(_) => Err(ProxyHeaderError::Missing),
        }
    }

    /// How it was written.
    #[must_use]
    pub const fn version(&self) -> ProxyVersion {
        self.version
    }

    /// For whom the connection was made.
    #[must_use]
    pub const fn origin(&self) -> &ProxyOrigin {
        &self.origin
    }

    /// Where the client is, if one is named.
    #[must_use]
    pub const fn source(&self) -> Option<&Address> {
        if let ProxyOrigin::Client { source, .. } = &self.origin { Some(source) } else { None }
    }

    /// Whom the client wanted to reach, if that is named.
    #[must_use]
    pub const fn destination(&self) -> Option<&Address> {
        if let ProxyOrigin::Client { destination, .. } = &self.origin {
            Some(destination)
        } else {
            None
        }
    }

    /// What else it says, in its order: numbers as of [`tlv`](mod@tlv) and bytes. Nobody has checked
    /// the bytes, but the checksum.
    ///
    /// None of a connection that the proxy has made for itself: nothing is to be read there.
    pub fn tlvs(&self) -> impl Iterator<Item = (u8, &[u8])> {
        v2::Tlvs::new(&self.tlvs).map_while(Result::ok).map(|tlv| (tlv.kind, tlv.value))
    }

    /// The first value of this type.
    #[must_use]
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        self.tlvs().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

/// The types of values that a header of version 2 may have, as the protocol numbers them.
pub mod tlv {
    /// What was agreed upon by ALPN.
    pub const ALPN: u8 = 0x01;
    /// The host the client has asked for, as in SNI; UTF-8.
    pub const AUTHORITY: u8 = 0x02;
    /// The checksum of the whole header; checked before anybody sees it.
    pub const CRC32C: u8 = 0x03;
    /// Padding.
    pub const NOOP: u8 = 0x04;
    /// What the proxy calls the connection.
    pub const UNIQUE_ID: u8 = 0x05;
    /// What is known of TLS between client and proxy.
    pub const SSL: u8 = 0x20;
    /// The network namespace; ASCII.
    pub const NETNS: u8 = 0x30;
}
