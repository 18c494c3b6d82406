//! Whom one side believes: roots, and lists of what was revoked.
//!
//! Invariant: a [`TlsTrust`] has one root at least. A file without any is an error and never means
//! that everybody is trusted.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore,
    client::WebPkiServerVerifier,
    pki_types::{CertificateDer, CertificateRevocationListDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    error::{TlsError, TlsFileProblem},
    files, provider,
};

/// The authorities that one side trusts, and what they have revoked.
///
/// A root counts by its name and key, whatever its own dates say. Cheap to clone; reading the
/// system's roots takes milliseconds, so several clients should share one.
///
/// # Examples
///
/// ```
/// use netproc::{TlsError, TlsFileProblem, TlsTrust};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// assert_eq!(TlsTrust::from_pem(pair.cert.pem())?.root_count(), 1);
///
/// let error = TlsTrust::from_pem("").unwrap_err();
/// assert!(matches!(error, TlsError::Pem(TlsFileProblem::Empty)));
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network": `:trustfiles` and `:crlfiles`. Differs: a file that is missing
/// or bad is an error, and the given files stand alone unless joined by [`and`](Self::and).
#[derive(Clone)]
pub struct TlsTrust {
    roots: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl TlsTrust {
    /// What the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` in the environment stand in for it.
    /// Blocks while files are read.
    ///
    /// Certificates that cannot be understood are passed over: systems have them.
    ///
    /// # Errors
    ///
    /// [`TlsError::SystemRoots`]: not one was found.
    #[cfg(feature = "native-roots")]
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first();
            let why = why.map_or_else(|| "none found".to_owned(), ToString::to_string);
            return Err(TlsError::SystemRoots(why));
        }
        Ok(Self::new(roots))
    }

    /// Mozilla's list as it was when this program was built: it ages with the program.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub fn webpki() -> Self {
        Self::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// The certificates of a PEM file. Blocks while it is read.
    ///
    /// # Errors
    ///
    /// [`TlsError::File`]: the file, and what is wrong with it; an empty one is.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let path = path.into();
        let parsed = Self::parse(&files::read(&path)?);
        parsed.map_err(|problem| TlsError::file(Some(&path), problem))
    }

    /// The same, of PEM in memory.
    ///
    /// # Errors
    ///
    /// [`TlsError::Pem`]: what is wrong with it.
    pub fn from_pem(bytes: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        Self::parse(bytes.as_ref()).map_err(TlsError::Pem)
    }

    /// Trusts what `other` trusts, too, and knows what it knows as revoked.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let roots = Arc::make_mut(&mut self.roots);
        roots.extend(other.roots.roots.iter().cloned());
        self.revoked.extend(other.revoked);
        self
    }

    /// Refuses what the revocation lists of a PEM file have. Blocks while it is read.
    ///
    /// A certificate whose issuer has no list passes, and so does one whose list is out of date: a
    /// list says who is revoked, not who is good.
    ///
    /// # Errors
    ///
    /// [`TlsError::File`]: the file, and what is wrong with it.
    pub fn and_revocation_file(self, path: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let path = path.into();
        let bytes = files::read(&path)?;
        self.revoke(&bytes).map_err(|problem| TlsError::file(Some(&path), problem))
    }

    /// The same, of PEM in memory.
    ///
    /// # Errors
    ///
    /// [`TlsError::Pem`]: what is wrong with it.
    pub fn and_revocation_pem(self, bytes: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        self.revoke(bytes.as_ref()).map_err(TlsError::Pem)
    }

    /// How many roots are trusted.
    #[must_use]
    pub fn root_count(&self) -> usize {
        self.roots.len()
    }

    /// What is trusted when nothing is said: the system's roots if they were built in, else
    /// Mozilla's.
    pub(crate) fn default_roots() -> Result<Self, TlsError> {
        #[cfg(feature = "native-roots")]
        let roots = Self::system();
        #[cfg(all(feature = "webpki-roots", not(feature = "native-roots")))]
        let roots = Ok(Self::webpki());
        #[cfg(not(any(feature = "native-roots", feature = "webpki-roots")))]
        let roots = Err(TlsError::NoRoots);
        roots
    }

    /// What a client checks its server with.
    pub(super) fn server_verifier(&self) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider().into())
            .with_crls(self.revoked.iter().cloned())
            .allow_unknown_revocation_status()
            .build()
            .map_err(|err| TlsError::Crypto(err.to_string()))
    }

    /// What a server checks its clients with.
    pub(super) fn client_verifier(
        &self,
        is_demanded: bool,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let roots = Arc::clone(&self.roots);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider().into())
            .with_crls(self.revoked.iter().cloned())
            .allow_unknown_revocation_status();
        if !is_demanded {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|err| TlsError::Crypto(err.to_string()))
    }

    fn new(roots: RootCertStore) -> Self {
        Self { roots: Arc::new(roots), revoked: Vec::new() }
    }

    fn parse(bytes: &[u8]) -> Result<Self, TlsFileProblem> {
        let mut roots = RootCertStore::empty();
        for (index, root) in files::certificates(bytes)?.into_iter().enumerate() {
            let added: Result<(), rustls::Error> = roots.add(CertificateDer::from(root.to_vec()));
            added.map_err(|_| TlsFileProblem::BadCertificate(index))?;
        }
        Ok(Self::new(roots))
    }

    fn revoke(mut self, bytes: &[u8]) -> Result<Self, TlsFileProblem> {
        self.revoked.extend(files::revocation_lists(bytes)?);
        // Making a verifier is how the library reads a list.
        self.server_verifier().map_err(|_| TlsFileProblem::BadRevocationList)?;
        Ok(self)
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust")
            .field("roots", &self.roots.len())
            .field("revocation_lists", &self.revoked.len())
            .finish()
    }
}
