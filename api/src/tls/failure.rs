//! Why a peer was refused, or refused us: the reasons of a handshake, and of a session after it.
//!
//! Invariant: the reasons are ours; what rustls adds in words is kept only where there is no type
//! for it. When a reason ends a process, and with which event, is the engine's affair.

use std::{fmt, net::IpAddr};

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::ServerName,
};

/// Why a handshake failed, or a session after it; the error inside a
/// [`SharedError`](crate::SharedError) of TLS.
///
/// # Examples
///
/// ```
/// use netproc::{Buf, HandshakeFailure, Layers, TlsIdentity, TlsServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
/// let server = TlsServer::builder(TlsIdentity::from_pem(certificate, key)?).build()?;
/// let mut layer = server.make()?;
/// let request = Buf::copied(b"GET / HTTP/1.1\r\n\r\n");
/// let failed = layer.receive(request, &mut Vec::new()).unwrap_err();
/// assert_eq!(failed.downcast(), Some(&HandshakeFailure::NotTls));
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network": a failed handshake is a code of the library there. Differs:
/// typed reasons, and a certificate is judged during the handshake.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The peer's certificate was refused.
    #[error("certificate refused: {0}")]
    Certificate(CertificateProblem),
    /// The peer had to show a certificate and showed none.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// No version in common: the peer knows none from 1.2 on, or only one that was switched off.
    #[error("no TLS version in common")]
    Version,
    /// No cipher suite, key exchange or signature scheme in common, all of them with forward secrecy.
    #[error("no cipher suite in common")]
    NoCommonSuite,
    /// The peer speaks none of the protocols of the server's ALPN list.
    #[error("no application protocol in common")]
    NoCommonProtocol,
    /// The peer gave up, for a reason of its own.
    #[error("the peer gave up: {0}")]
    Alert(TlsAlert),
    /// What came first is no TLS at all.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// A record was damaged, repeated or injected on its way: nothing of it was let through.
    #[error("a record was damaged on its way")]
    DamagedRecord,
    /// The keys of a session of TLS 1.2 may seal no more records than its 2 to the 24th. Good-bye was
    /// said; what was sent after is lost. Sessions of 1.3 take new keys instead.
    #[error("the keys of the session are used up")]
    KeysUsedUp,
    /// The peer broke the rules of the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// Something failed on this side, such as the clock or the source of randomness.
    #[error("TLS failed on this side: {0}")]
    Internal(String),
}

impl HandshakeFailure {
    /// The reason that rustls gives in its words. `is_first`: nothing had been understood before.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls adds to its errors, and the rest is ours"
    )]
    pub(super) fn new(error: Error, is_first: bool) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::Certificate(error.into()),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::Alert(TlsAlert(alert.into())),
            Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::PeerIncompatible(why) => Self::incompatible(&why),
            Error::DecryptError | Error::PeerSentOversizedRecord => Self::DamagedRecord,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) if is_first => Self::NotTls,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::UnsupportedNameType
            | Error::PeerMisbehaved(_) => Self::Protocol(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls adds to its errors, and the rest has no type"
    )]
    fn incompatible(why: &PeerIncompatible) -> Self {
        match why {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            // A hello of 1.0 or 1.1 names no signatures, and that is noticed before its version.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic => Self::Version,
            PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
            | PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoEcPointFormatsInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon => Self::NoCommonSuite,
            _ => Self::Protocol(split_words(&format!("{why:?}"))),
        }
    }
}

/// What is wrong with the certificate of a peer, or with the chain above it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is no longer valid, by the clock of this side.
    #[error("expired")]
    Expired,
    /// It is not valid yet, by the clock of this side.
    #[error("not yet valid")]
    NotYetValid,
    /// Nobody that is trusted has signed it: the issuer is unknown or itself untrusted, a
    /// certificate in between was not sent, or it is signed by itself.
    #[error("unknown issuer")]
    UnknownIssuer,
    /// It is for other names. A name counts only as a subjectAltName, an address only as one of type
    /// address.
    #[error("not for {expected:?} but for {}", listed(presented))]
    WrongName {
        /// The name or address it was checked against.
        expected: String,
        /// The names and addresses it is for, and what else it is for in the words of the library. From the
        /// peer: not to be believed.
        presented: Vec<String>,
    },
    /// A revocation list has it, or one above it.
    #[error("revoked")]
    Revoked,
    /// It, or one above it, is not for this: a client's is shown by a server, an authority's as its
    /// own, or who is no authority has signed.
    #[error("not for this purpose (an authority's, or for the other side)")]
    Purpose,
    /// A signature in the chain is wrong, or of a kind that is not supported.
    #[error("bad signature")]
    Signature,
    /// It cannot be understood.
    #[error("malformed")]
    Malformed,
    /// Anything else, in the words of the library.
    #[error("{0}")]
    Other(String),
}

impl From<CertificateError> for CertificateProblem {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls adds to its errors, and what has no type keeps its words"
    )]
    fn from(error: CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::NotValidForNameContext { expected, presented } => {
                let presented = presented.iter().map(|name| plain(name)).collect();
                Self::WrongName { expected: text(&expected), presented }
            }
            E::Revoked => Self::Revoked,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::Purpose,
            E::BadSignature
            | E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Signature,
            E::BadEncoding => Self::Malformed,
            // webpki's own words, for which rustls has no type.
            E::Other(other) => match other.to_string().as_str() {
                "CaUsedAsEndEntity" | "EndEntityUsedAsCa" => Self::Purpose,
                word => Self::Other(split_words(word)),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Error> for CertificateProblem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only one kind is about certificates")]
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

/// A name of a certificate without what the library writes around it, as `DnsName("a.example")`; an address,
/// `IpAddress(0::1)`, as everybody writes it.
fn plain(name: &str) -> String {
    let between = |start, end| name.strip_prefix(start)?.strip_suffix(end);
    let address = between("IpAddress(", ")");
    if let Some(address) = address.and_then(|address| address.parse::<IpAddr>().ok()) {
        return address.to_string();
    }
    between("DnsName(\"", "\")").unwrap_or(name).to_owned()
}

/// Names in a row, each with what is no plain text in it escaped.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// A server's name as it is written.
pub(super) fn text(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// The peer's reason for giving up, by the number that it has on the wire.
///
/// `Display` writes the name of RFC 8446 in words, as `unknown ca`.
///
/// # Examples
///
/// ```
/// use netproc::TlsAlert;
///
/// assert_eq!(TlsAlert::new(42).to_string(), "bad certificate");
/// assert_eq!(TlsAlert::new(42).code(), 42);
/// assert_eq!(TlsAlert::new(250).to_string(), "alert 250");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TlsAlert(u8);

impl TlsAlert {
    /// The alert of this number.
    #[must_use]
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// Its number, as in RFC 8446, section 6.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for TlsAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match AlertDescription::from(self.0).as_str() {
            Some(name) => f.write_str(&split_words(name)),
            None => write!(f, "alert {}", self.0),
        }
    }
}

/// A name as `UnknownCA` in words, as `unknown ca`.
fn split_words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut was_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && was_small {
            words.push(' ');
        }
        was_small = letter.is_lowercase();
        words.push(letter.to_ascii_lowercase());
    }
    words
}
