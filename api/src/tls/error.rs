//! What can be wrong with the ingredients of TLS, found before anything is connected.
//!
//! Invariant: an error names the file it is about and never holds a byte of a file's content, so
//! that no key ends up in a message. What goes wrong with a peer is told in `failure`.

use std::{io, path::PathBuf};

use super::{files::FILE_LEN_MAX, info::TlsVersion};

/// Why a [`TlsClient`](crate::TlsClient), a [`TlsServer`](crate::TlsServer) or one of their parts
/// could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A name that no certificate could be checked against.
    #[error("server name {name:?} {problem}")]
    ServerName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        problem: ServerNameProblem,
    },
    /// A file with certificates, a key or a revocation list.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: TlsFileProblem,
    },
    /// The same, of text that was given in memory.
    #[error("what was given as PEM")]
    Pem(#[source] TlsFileProblem),
    /// The key is not the one of the certificate.
    #[error("the key{} is not that of the certificate{}", of(key), of(certificate))]
    KeyMismatch {
        /// The file of the certificate; `None` if it was given in memory.
        certificate: Option<PathBuf>,
        /// The file of the key; `None` if it was given in memory.
        key: Option<PathBuf>,
    },
    /// The certificate of an identity for one server name is not for that name.
    #[error("the certificate is not for the server name {0:?}")]
    NotForName(String),
    /// There is nothing to trust: none was given, and no feature brings a default.
    #[error("no roots to trust")]
    NoRoots,
    /// The system has no roots, or they could not be read; the text says why, if it is known.
    #[error("the system has no roots to trust: {0}")]
    SystemRoots(String),
    /// A protocol without a name.
    #[error("an ALPN protocol with an empty name")]
    AlpnEmpty,
    /// A protocol whose name has this many bytes; 255 are allowed.
    #[error("an ALPN protocol with a name of {0} bytes, 255 are allowed")]
    AlpnTooLong(usize),
    /// Protocols that take this many bytes together; 8192 are allowed.
    #[error("ALPN protocols of {0} bytes together, 8192 are allowed")]
    AlpnTooMany(usize),
    /// The lowest version allowed is above the highest.
    #[error("the lowest version {min} is above the highest {max}")]
    Versions {
        /// The lowest.
        min: TlsVersion,
        /// The highest.
        max: TlsVersion,
    },
    /// The cryptography refused, for a reason of its own.
    #[error("the cryptography refused: {0}")]
    Crypto(String),
}

/// ` in FILE`, where there is a file.
fn of(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(String::new, |path| format!(" in {}", path.display()))
}

impl TlsError {
    /// The problem of `path`, or of text in memory where there is no path.
    pub(super) fn file(path: Option<&std::path::Path>, problem: TlsFileProblem) -> Self {
        match path {
            Some(path) => Self::File { path: path.into(), problem },
            None => Self::Pem(problem),
        }
    }

    pub(super) fn crypto(error: &rustls::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

/// What is wrong with a file of certificates, keys or revocation lists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileProblem {
    /// The system could not open or read it.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// There is nothing in it but white space.
    #[error("is empty")]
    Empty,
    /// It is larger than anything of its kind: 4 MiB.
    #[error("is larger than {FILE_LEN_MAX} bytes")]
    TooLarge,
    /// It is DER, where PEM is wanted.
    #[error("is DER, PEM is wanted")]
    Der,
    /// It is no PEM.
    #[error("is no PEM")]
    NotPem,
    /// It is PEM, with a section that is cut or damaged.
    #[error("is damaged PEM")]
    Damaged,
    /// It is PEM, but no certificate is in it.
    #[error("holds no certificate")]
    NoCertificate,
    /// It is PEM, but no private key is in it.
    #[error("holds no private key")]
    NoKey,
    /// It is PEM, but no revocation list is in it.
    #[error("holds no revocation list")]
    NoRevocationList,
    /// The private key is encrypted; there is nobody to ask for its password.
    #[error("holds a private key that is encrypted")]
    EncryptedKey,
    /// This certificate, counted from 0, cannot be understood.
    #[error("holds a certificate that cannot be understood, number {0} from 0")]
    BadCertificate(usize),
    /// The private key is of a kind or length that is not supported, or damaged.
    #[error("holds a private key that cannot be used")]
    BadKey,
    /// A revocation list cannot be understood.
    #[error("holds a revocation list that cannot be understood")]
    BadRevocationList,
}

/// What is wrong with the name of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerNameProblem {
    /// It has no characters, or only the closing dot.
    #[error("is empty")]
    Empty,
    /// It has more than the 253 bytes that a name may have, without a closing dot.
    #[error("is longer than 253 bytes")]
    TooLong,
    /// It has a `*`: that is for certificates.
    #[error("has a wildcard")]
    Wildcard,
    /// It has a byte 0.
    #[error("has a NUL")]
    Nul,
    /// It has characters beyond ASCII; the form for the wire begins with `xn--`.
    #[error("is not ASCII")]
    NotAscii,
    /// It is an address where only a name will do: no client can ask for it.
    #[error("is an address")]
    Address,
    /// It is neither a name nor an address.
    #[error("is neither a name nor an address")]
    Malformed,
}
