//! What one side shows of itself: a certificate chain and the key to it.
//!
//! Invariant: a [`TlsIdentity`] exists only if its key can sign and is that of its first certificate.
//! The key shows in no `Debug`, no error and no log.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::sign::CertifiedKey;

use super::{
    authinfo,
    error::{TlsError, TlsFileProblem},
    files, provider,
};

/// A certificate chain and its private key, of a server or of a client.
///
/// Cheap to clone.
///
/// # Examples
///
/// ```
/// use netproc::{TlsError, TlsIdentity};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
/// assert_eq!(identity.chain().count(), 1);
///
/// let another = rcgen::KeyPair::generate()?;
/// let error = TlsIdentity::from_pem(pair.cert.pem(), another.serialize_pem()).unwrap_err();
/// assert!(matches!(error, TlsError::KeyMismatch { .. }));
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network": `:keylist`, and `:client-certificate` of
/// `open-network-stream`. Differs: a file that cannot be used is an error, not passed over.
#[derive(Clone)]
pub struct TlsIdentity(Arc<CertifiedKey>);

impl TlsIdentity {
    /// Reads a chain and a key from PEM files, which may be the same.
    ///
    /// The chain begins with the certificate that is the identity's own; each one after it has signed
    /// the one before. The first private key of its file counts: PKCS#8, PKCS#1 or SEC1, not
    /// encrypted. Blocks while the files are read; 4 MiB are the most they may have.
    ///
    /// # Errors
    ///
    /// * [`TlsError::File`]: the file, and what is wrong with it.
    /// * [`TlsError::KeyMismatch`]: both files are good, but do not belong together.
    pub fn from_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let (chain_bytes, key_bytes) = (files::read(&certificate)?, files::read(&key)?);
        Self::load(&chain_bytes, &key_bytes, Some(&certificate), Some(&key))
    }

    /// The same, of PEM in memory.
    ///
    /// # Errors
    ///
    /// * [`TlsError::Pem`]: what is wrong with it.
    /// * [`TlsError::KeyMismatch`]: both are good, but do not belong together.
    pub fn from_pem(
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        Self::load(certificate.as_ref(), key.as_ref(), None, None)
    }

    /// Looks for the files in `~/.authinfo` and `~/.netrc`: the first entry for `host` that names
    /// both a `key` and a `cert`, and whose `port`, if it has one, is `service`.
    ///
    /// `None` if there is no such entry, no such file or no home. Blocks while files are read.
    ///
    /// # Errors
    ///
    /// * [`TlsError::File`]: one of the two is there and cannot be read, or a file that the entry
    ///   names is not usable.
    /// * [`TlsError::KeyMismatch`]: the files it names do not belong together.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network": `:client-certificate` t. Differs: `~/.authinfo.gpg` is not
    /// looked at, and an entry with unusable files is an error instead of no certificate.
    pub fn from_authinfo(host: &str, service: &str) -> Result<Option<Self>, TlsError> {
        let Some(home) = std::env::home_dir() else { return Ok(None) };
        Self::from_authinfo_below(&home, host, service)
    }

    /// The same with another home, in which `~` is looked up too.
    pub(super) fn from_authinfo_below(
        home: &Path,
        host: &str,
        service: &str,
    ) -> Result<Option<Self>, TlsError> {
        let found = authinfo::find(home, host, service)?;
        found.map(|(certificate, key)| Self::from_files(certificate, key)).transpose()
    }

    /// The certificates, each as DER, its own first.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.0.cert.iter().map(AsRef::as_ref)
    }

    pub(super) const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.0
    }

    fn load(
        chain_bytes: &[u8],
        key_bytes: &[u8],
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let of_chain = |problem| TlsError::file(certificate, problem);
        let of_key = |problem| TlsError::file(key, problem);
        let chain = files::certificates(chain_bytes).map_err(of_chain)?;
        let der = files::key(key_bytes).map_err(of_key)?;
        // The library's own error may describe what it found in the key.
        let signer = provider().key_provider.load_private_key(der);
        let signer = signer.map_err(|_| of_key(TlsFileProblem::BadKey))?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) => Ok(Self(Arc::new(certified))),
            Err(rustls::Error::InvalidCertificate(_)) => {
                Err(of_chain(TlsFileProblem::BadCertificate(0)))
            }
            Err(_) => Err(TlsError::KeyMismatch {
                certificate: certificate.map(Into::into),
                key: key.map(Into::into),
            }),
        }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("certificates", &self.0.cert.len())
            .finish_non_exhaustive()
    }
}
