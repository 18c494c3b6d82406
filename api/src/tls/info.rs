//! What a handshake has agreed upon, as data.
//!
//! Invariant: it is a copy, without a secret in it; the connection may be gone. Whether it is good
//! enough is for the caller to say.

use std::{any::Any, fmt};

use netproc_core::layer::Layer;
use rustls::ProtocolVersion;

use super::{failure::CertificateProblem, session::Session};

/// What two sides have agreed upon, and who the other one is.
///
/// # Examples
///
/// ```
/// use netproc::{Buf, Layer, Layers, TlsClient, TlsIdentity, TlsInfo, TlsServer, TlsTrust};
/// use netproc::{TlsVerification, TlsVersion};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
/// let mut server = TlsServer::builder(identity).build()?.make()?;
/// let trust = TlsTrust::from_pem(pair.cert.pem())?;
/// let mut client = TlsClient::builder("localhost").trust(trust).build()?.make()?;
/// assert_eq!(TlsInfo::of(&*client), None);
///
/// let carry = |from: &mut dyn Layer, to: &mut dyn Layer| {
///     let mut wire = Vec::new();
///     from.wire(&mut wire);
///     wire.iter().try_for_each(|it| to.receive(Buf::copied(it.as_slice()), &mut Vec::new()))
/// };
/// while !(client.is_established() && server.is_established()) {
///     carry(&mut *client, &mut *server)?;
///     carry(&mut *server, &mut *client)?;
/// }
/// let info = TlsInfo::of(&*client).expect("the handshake is done");
/// assert_eq!(info.version(), TlsVersion::V1_3);
/// assert_eq!(info.verification(), &TlsVerification::Verified);
/// assert_eq!(info.peer_chain()[0], pair.cert.der().to_vec());
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network Security": `gnutls-peer-status`. Differs: certificates are
/// DER, which every tool reads, and a server has it too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsInfo {
    pub(super) version: TlsVersion,
    pub(super) suite: String,
    pub(super) key_exchange: Option<String>,
    pub(super) peer_chain: Vec<Vec<u8>>,
    pub(super) verification: TlsVerification,
    pub(super) is_resumed: bool,
    pub(super) alpn: Option<Vec<u8>>,
    pub(super) server_name: Option<String>,
}

impl TlsInfo {
    /// What the connection of `layer` has agreed upon; `None` before its handshake is done, and of a
    /// layer that is not TLS.
    #[must_use]
    pub fn of(layer: &(dyn Layer + 'static)) -> Option<Self> {
        let layer: &dyn Any = layer;
        layer.downcast_ref::<Session>()?.info()
    }

    /// The version of the protocol.
    #[must_use]
    pub const fn version(&self) -> TlsVersion {
        self.version
    }

    /// The cipher suite by its registered name, as `TLS_AES_256_GCM_SHA384`.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The group in which keys were exchanged, as `X25519`; `None` for a resumed 1.2 session.
    #[must_use]
    pub fn key_exchange(&self) -> Option<&str> {
        self.key_exchange.as_deref()
    }

    /// The certificates that the peer showed, each as DER, its own first; in a resumed session those
    /// of the first. Empty for a client that showed none.
    #[must_use]
    pub fn peer_chain(&self) -> &[Vec<u8>] {
        &self.peer_chain
    }

    /// How the peer was judged.
    #[must_use]
    pub const fn verification(&self) -> &TlsVerification {
        &self.verification
    }

    /// Whether an earlier session was taken up again.
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// The application protocol agreed upon, if any.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// On the client's side the name or address that the server was checked against, on the server's
    /// the name that the client asked for, if it did.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

/// How a peer was judged.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TlsVerification {
    /// Its certificate leads to a trusted root and, of a server, is for the name asked for.
    Verified,
    /// It showed no certificate, as clients do that need none.
    NoCertificate,
    /// Nobody looked: [`TlsClient::dangerous_unverified`](crate::TlsClient::dangerous_unverified).
    Unchecked,
    /// It should have been refused for this, and was accepted all the same:
    /// [`TlsClient::dangerous_reporting`](crate::TlsClient::dangerous_reporting). Not empty.
    Accepted(Vec<CertificateProblem>),
}

/// A version of the protocol, older before newer; `Display` writes `TLS 1.3`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246; only its suites with forward secrecy and authenticated encryption.
    V1_2,
    /// TLS 1.3, RFC 8446.
    V1_3,
}

impl TlsVersion {
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls speaks no other")]
    pub(super) const fn new(version: ProtocolVersion) -> Option<Self> {
        match version {
            ProtocolVersion::TLSv1_2 => Some(Self::V1_2),
            ProtocolVersion::TLSv1_3 => Some(Self::V1_3),
            _ => None,
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        })
    }
}
