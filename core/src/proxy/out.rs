//! The header a client sends in front of everything else.
//!
//! Invariant: it is only described here; what cannot be written is an error of the start, and what is
//! known once the connection stands, its own addresses, is filled in then.

use super::{HEADER_LEN_MOST, ProxyHeader, ProxyOrigin, ProxyVersion, tlv, v1, v2};
use crate::{address::Address, reactor::Kind};

/// A header to send: by whom, for whom, and what else.
///
/// # Examples
///
/// ```
/// use netproc_core::proxy::{ProxyHeader, ProxyOut, ProxyVersion, tlv};
///
/// let client = "[192 0 2 7 4711]".parse()?;
/// let out = ProxyOut::naming(ProxyVersion::V2, client, "[198 51 100 1 443]".parse()?)
///     .tlv(tlv::AUTHORITY, "www.example")
///     .checksum(true);
/// let bytes = out.bytes(None, None)?;
/// let (header, len) = ProxyHeader::parse(&bytes, 4096)?.expect("it is whole");
/// assert_eq!(header.source().map(ToString::to_string).as_deref(), Some("[192 0 2 7 4711]"));
/// assert_eq!(header.tlv(tlv::AUTHORITY), Some(&b"www.example"[..]));
/// assert_eq!(len, bytes.len());
/// // What came can go on as it is.
/// assert_eq!(ProxyOut::from(&header).bytes(None, None)?, bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
///
/// "The PROXY protocol, versions 1 & 2", of HAProxy. Emacs has none.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct ProxyOut {
    version: ProxyVersion,
    /// None: whoever sends it is the client.
    origin: Option<ProxyOrigin>,
    tlvs: Vec<(u8, Vec<u8>)>,
    checksum: bool,
}

/// Why a header cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyOutError {
    /// Two addresses that the version cannot name together.
    #[error("a PROXY header of {version} cannot name {source_address} and {destination} together")]
    Addresses {
        /// Which version.
        version: ProxyVersion,
        /// Where the client is said to be.
        source_address: Address,
        /// Whom it is said to have wanted.
        destination: Address,
    },
    /// Version 1 has addresses only.
    #[error("a PROXY header of v1 has no values")]
    Values,
    /// The checksum is asked for by name: nobody could compute it before.
    #[error("the checksum of a PROXY header is no value to give")]
    GivenChecksum,
    /// More than 16 bits can say.
    #[error("a PROXY header of more than {HEADER_LEN_MOST} bytes")]
    TooLong,
}

impl ProxyOut {
    const fn new(version: ProxyVersion, origin: Option<ProxyOrigin>) -> Self {
        Self { version, origin, tlvs: Vec::new(), checksum: false }
    }

    /// Names this end as the client, and the other as what it wanted: the connection's own addresses.
    /// Where the version has no words for them, nobody is named.
    pub const fn own(version: ProxyVersion) -> Self {
        Self::new(version, None)
    }

    /// Says that the connection is the proxy's own, to see whether somebody is there. Version 1 can only
    /// say that nobody is named, which some receivers refuse.
    pub const fn local(version: ProxyVersion) -> Self {
        Self::new(version, Some(ProxyOrigin::Proxy))
    }

    /// Names `source` as the client, which wanted `destination`.
    pub const fn naming(version: ProxyVersion, source: Address, destination: Address) -> Self {
        let kind = Kind::Stream;
        Self::new(version, Some(ProxyOrigin::Client { kind, source, destination }))
    }

    /// Adds a value; see [`tlv`](mod@super::tlv) for the types. Version 2 only.
    pub fn tlv(mut self, kind: u8, value: impl Into<Vec<u8>>) -> Self {
        self.tlvs.push((kind, value.into()));
        self
    }

    /// Adds a checksum behind everything. Version 2 only; default `false`.
    pub const fn checksum(mut self, on: bool) -> Self {
        self.checksum = on;
        self
    }

    /// The header of a connection from `local` to `remote`, which count where no client was named.
    ///
    /// # Errors
    ///
    /// [`ProxyOutError`]; never because of `local` or `remote`.
    pub fn bytes(
        &self,
        local: Option<&Address>,
        remote: Option<&Address>,
    ) -> Result<Vec<u8>, ProxyOutError> {
        let origin = match &self.origin {
            Some(origin) => origin.clone(),
            None => self.own_origin(local, remote),
        };
        if let ProxyOrigin::Client { source, destination, .. } = &origin
            && !self.names(&origin)
        {
            let (source_address, destination) = (source.clone(), destination.clone());
            let version = self.version;
            return Err(ProxyOutError::Addresses { version, source_address, destination });
        }
        match self.version {
            ProxyVersion::V1 if self.checksum || !self.tlvs.is_empty() => {
                Err(ProxyOutError::Values)
            }
            ProxyVersion::V1 => Ok(v1::written(&origin).unwrap_or_default()),
            ProxyVersion::V2 => self.written(&origin),
        }
    }

    /// Looks whether it can be written at all.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes).
    pub fn check(&self) -> Result<(), ProxyOutError> {
        // Nothing but these addresses is longer than those of a socket, which are not known yet.
        let path = Address::unnamed();
        self.bytes(Some(&path), Some(&path)).map(drop)
    }

    fn names(&self, origin: &ProxyOrigin) -> bool {
        match self.version {
            ProxyVersion::V1 => v1::written(origin).is_some(),
            ProxyVersion::V2 => v2::block(origin).is_some(),
        }
    }

    fn own_origin(&self, local: Option<&Address>, remote: Option<&Address>) -> ProxyOrigin {
        let client = local.zip(remote).map(|(source, destination)| {
            let (source, destination) = (source.clone(), destination.clone());
            ProxyOrigin::Client { kind: Kind::Stream, source, destination }
        });
        client.filter(|client| self.names(client)).unwrap_or(ProxyOrigin::Unknown)
    }

    fn written(&self, origin: &ProxyOrigin) -> Result<Vec<u8>, ProxyOutError> {
        let mut tlvs = Vec::new();
        for (kind, value) in &self.tlvs {
            if *kind == tlv::CRC32C {
                return Err(ProxyOutError::GivenChecksum);
            }
            v2::put_tlv(&mut tlvs, *kind, value).ok_or(ProxyOutError::TooLong)?;
        }
        v2::written(origin, &tlvs, self.checksum).ok_or(ProxyOutError::TooLong)
    }
}

impl From<ProxyVersion> for ProxyOut {
    /// The connection's own addresses.
    fn from(version: ProxyVersion) -> Self {
        Self::own(version)
    }
}

impl From<&ProxyHeader> for ProxyOut {
    /// What came, to pass it on: with a checksum of its own if it had one.
    fn from(header: &ProxyHeader) -> Self {
        let mut out = Self::new(header.version(), Some(header.origin().clone()));
        for (kind, value) in header.tlvs() {
            if kind == tlv::CRC32C {
                out.checksum = true;
            } else {
                out.tlvs.push((kind, value.to_vec()));
            }
        }
        out
    }
}
