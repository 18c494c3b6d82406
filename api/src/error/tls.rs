//! What can be wrong with `:tls-parameters`.
//!
//! Invariant: whoever asks for TLS in a way that cannot be honoured is told before anybody is connected
//! to; what would be stricter than asked is no error. It says nothing of cryptography, so that it is the
//! same in every build.

use netproc_core::{plist::PlistError, shared_error::SharedError};

/// Why `:tls-parameters` make no TLS. Nobody was connected to, nothing listens.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsParametersError {
    /// There is no cryptography in this build.
    #[error("TLS needs the feature tls-ring or tls-aws-lc")]
    NotBuilt,
    /// They, or one of them, are of the wrong type.
    #[error("wrong type of {key}: {value}, it has to satisfy {expected}")]
    Type {
        /// The keyword.
        key: &'static str,
        /// Emacs's name of what it has to be, such as `stringp`.
        expected: &'static str,
        /// What was given, as Lisp prints it.
        value: String,
    },
    /// What follows the type of credentials is no property list.
    #[error(transparent)]
    Plist(#[from] PlistError),
    /// A client that does not say which server it means.
    #[error("no :hostname to check the server's certificate against")]
    NoHostname,
    /// A server that has no certificate to show.
    #[error("a server needs a :keylist with its key and certificate")]
    NoIdentity,
    /// A keyword that means nothing here; to pass it over might weaken the connection. Its value is not
    /// told: it may be a password.
    #[error("{0} is no parameter of TLS here")]
    Unknown(String),
    /// Something that cannot be honoured; to pass it over might weaken the connection.
    #[error("{key} {value}: {why}")]
    Unsupported {
        /// The keyword, or what else it is about.
        key: String,
        /// What was given, as Lisp prints it.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// A file, a name or a root that cannot be used; inside is a `TlsError`.
    #[error("TLS cannot be had")]
    Tls(#[source] SharedError),
}

impl TlsParametersError {
    /// The words Emacs signals this error with; `None` where it has none.
    #[must_use]
    pub fn emacs_message(&self) -> Option<String> {
        match self {
            Self::Type { expected, value, .. } => {
                Some(format!("Wrong type argument: {expected}, {value}"))
            }
            Self::NoHostname => {
                Some("gnutls-boot: invalid :hostname parameter (not a string)".into())
            }
            Self::NotBuilt
            | Self::Plist(_)
            | Self::NoIdentity
            | Self::Unknown(_)
            | Self::Unsupported { .. }
            | Self::Tls(_) => None,
        }
    }
}
