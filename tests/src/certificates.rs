//! Certificates for tests, made on the spot: an authority, and what it signs.
//!
//! Invariant: they are valid now and for long, so that a test that wants a bad one says so itself.

use std::sync::atomic::{AtomicU32, Ordering};

use netproc::{TlsError, TlsIdentity, TlsServer, TlsTrust};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// Who signs certificates.
#[expect(missing_debug_implementations, reason = "it holds a key, and nobody looks")]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, each as PEM.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Signed {
    /// As what one side shows.
    ///
    /// # Errors
    ///
    /// As [`TlsIdentity::from_pem`].
    pub fn identity(&self) -> Result<TlsIdentity, TlsError> {
        TlsIdentity::from_pem(&self.certificate, &self.key)
    }
}

impl Authority {
    /// A new one, which nobody knows yet.
    ///
    /// # Errors
    ///
    /// What the library that makes it says.
    pub fn new() -> Result<Self, rcgen::Error> {
        // Two of one name would be taken for the same.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// One of this name, of which there should be no other.
    ///
    /// # Errors
    ///
    /// What the library that makes it says.
    pub fn named(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its own certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// As DER.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// What trusts it and nobody else.
    ///
    /// # Errors
    ///
    /// As [`TlsTrust::from_pem`].
    pub fn trust(&self) -> Result<TlsTrust, TlsError> {
        TlsTrust::from_pem(self.pem())
    }

    /// A certificate for these names and addresses.
    ///
    /// # Errors
    ///
    /// What the library that makes it says.
    pub fn sign(&self, names: &[&str]) -> Result<Signed, rcgen::Error> {
        self.sign_with(names, |_| {})
    }

    /// The same with more said of it.
    ///
    /// # Errors
    ///
    /// What the library that makes it says.
    pub fn sign_with(
        &self,
        names: &[&str],
        more: impl FnOnce(&mut CertificateParams),
    ) -> Result<Signed, rcgen::Error> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        more(&mut params);
        self.sign_params(params)
    }

    /// What is said there, signed.
    ///
    /// # Errors
    ///
    /// What the library that makes it says.
    pub fn sign_params(&self, params: CertificateParams) -> Result<Signed, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?.pem();
        Ok(Signed { certificate, key: key.serialize_pem() })
    }

    /// A server that shows one for these.
    ///
    /// # Errors
    ///
    /// What the libraries say.
    pub fn server(&self, names: &[&str]) -> Result<TlsServer, Box<dyn std::error::Error>> {
        Ok(TlsServer::builder(self.sign(names)?.identity()?).build()?)
    }
}
