//! TLS by rustls: clients and servers as [`Layers`](netproc_core::layer::Layers) of the engine.
//!
//! Invariant: this module and those below it are the only place where a name of rustls stands, and
//! none is in a public signature. Versions 1.2 and 1.3 only, forward secrecy only, names from
//! subjectAltName only; a peer is believed only if its certificate leads to a trusted root, unless a
//! constructor that begins with `dangerous_` said otherwise. No provider of cryptography is ever
//! installed for the process. Sockets, deadlines and the STARTTLS dialogue are the engine's affair.

/// The methods both builders have.
macro_rules! common_methods {
    (alpn: $alpn:literal, $resumption:ident: $resumption_doc:literal, clock: $clock:literal) => {
        #[doc = $alpn]
        pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
            self.common.alpn = protocols.into_iter().map(|it| it.as_ref().to_vec()).collect();
            self
        }

        /// The lowest and the highest version allowed. Default: 1.2 and 1.3.
        pub const fn versions(mut self, min: TlsVersion, max: TlsVersion) -> Self {
            self.common.versions = (min, max);
            self
        }

        #[doc = $resumption_doc]
        pub const fn $resumption(mut self, is_wanted: bool) -> Self {
            self.common.resumption = is_wanted;
            self
        }

        /// Whether the secrets of each session are appended to the file that `SSLKEYLOGFILE` in the
        /// environment names, for who has to read a capture. Default: false, whatever the environment.
        pub const fn key_log(mut self, is_wanted: bool) -> Self {
            self.common.key_log = is_wanted;
            self
        }

        #[doc = $clock]
        pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
            self.common.clock = Arc::new(Clock(clock));
            self
        }
    };
}

mod authinfo;
mod client;
mod error;
mod failure;
mod files;
mod handshake;
mod identity;
mod info;
mod keys;
mod records;
mod server;
mod session;
mod sessions;
#[cfg(test)]
mod tests;
mod trust;
mod verify;

use std::{fmt, sync::Arc, time::SystemTime};

use crate::{
    builder::{ClientBuilder, ServerBuilder},
    process::Process,
};
use rustls::{
    SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::UnixTime,
    time_provider::{DefaultTimeProvider, TimeProvider},
    version::{TLS12, TLS13},
};

pub use self::{
    client::{TlsClient, TlsClientBuilder},
    error::{ServerNameProblem, TlsError, TlsFileProblem},
    failure::{CertificateProblem, HandshakeFailure, TlsAlert},
    identity::TlsIdentity,
    info::{TlsInfo, TlsVerification, TlsVersion},
    server::{TlsServer, TlsServerBuilder},
    trust::TlsTrust,
};

/// The longest name of a protocol that fits its one byte of length.
const ALPN_NAME_LEN_MAX: usize = 255;

/// The longest list of protocols, which keeps a hello within one record whatever else is in it.
const ALPN_LEN_MAX: usize = 8 * 1024;

/// The cryptography that was compiled in, ring before AWS-LC.
fn provider() -> CryptoProvider {
    #[cfg(feature = "tls-ring")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "tls-ring"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
}

/// What clients and servers have in common.
#[derive(Clone, Debug)]
struct Common {
    alpn: Vec<Vec<u8>>,
    versions: (TlsVersion, TlsVersion),
    resumption: bool,
    key_log: bool,
    clock: Arc<dyn TimeProvider>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            alpn: Vec::new(),
            versions: (TlsVersion::V1_2, TlsVersion::V1_3),
            resumption: true,
            key_log: false,
            clock: Arc::new(DefaultTimeProvider),
        }
    }
}

impl Common {
    /// The protocols, once they are known to fit on the wire.
    fn alpn(&self) -> Result<Vec<Vec<u8>>, TlsError> {
        for protocol in &self.alpn {
            match protocol.len() {
                0 => return Err(TlsError::AlpnEmpty),
                1..=ALPN_NAME_LEN_MAX => {}
                len => return Err(TlsError::AlpnTooLong(len)),
            }
        }
        let len = self.alpn.iter().map(|it| it.len() + 1).sum();
        if len > ALPN_LEN_MAX {
            return Err(TlsError::AlpnTooMany(len));
        }
        Ok(self.alpn.clone())
    }

    /// The versions from the first to the last allowed.
    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let (min, max) = self.versions;
        let known = [(TlsVersion::V1_2, &TLS12), (TlsVersion::V1_3, &TLS13)];
        let allowed = known.into_iter().filter(|(version, _)| (min..=max).contains(version));
        let versions: Vec<_> = allowed.map(|(_, version)| version).collect();
        if versions.is_empty() { Err(TlsError::Versions { min, max }) } else { Ok(versions) }
    }
}

/// A clock of the user's.
struct Clock<F>(F);

impl<F: Fn() -> SystemTime + Send + Sync> TimeProvider for Clock<F> {
    fn current_time(&self) -> Option<UnixTime> {
        let since = (self.0)().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

impl<F> fmt::Debug for Clock<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl ClientBuilder {
    /// TLS from the beginning: the process is connecting until the handshake is done.
    pub fn tls(self, tls: TlsClient) -> Self {
        self.layers(tls)
    }
}

impl ServerBuilder {
    /// TLS for every connection, from the beginning: each is connecting until its handshake is done.
    pub fn tls(self, tls: TlsServer) -> Self {
        self.layers(tls)
    }
}

impl Process {
    /// What TLS has agreed upon, and who the other one is; `None` before the handshake is done, and
    /// without TLS.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network Security" (`gnutls-peer-status`).
    #[must_use]
    pub fn tls_info(&self) -> Option<TlsInfo> {
        TlsInfo::of(self.shared().borrow().layer()?)
    }
}
