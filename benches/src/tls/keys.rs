//! The certificate that every server shows, and how the load knows it.
//!
//! Invariant: one certificate of one run, made by the parent and handed to its children in their
//! environment; every connection has the same version and the same cipher suite.

use std::{env, io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};

const CERTIFICATE: &str = "NETPROC_BENCH_TLS_CERTIFICATE";
const KEY: &str = "NETPROC_BENCH_TLS_KEY";

/// The name that the certificate is for.
pub(crate) const NAME: &str = "localhost";

/// A certificate and its key, as PEM.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Keys {
    pub(crate) fn new() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.map_err(io::Error::other)?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// Those of the parent.
    pub(crate) fn inherited() -> io::Result<Self> {
        let variable = |name| env::var(name).map_err(io::Error::other);
        Ok(Self { certificate: variable(CERTIFICATE)?, key: variable(KEY)? })
    }

    pub(crate) fn inherit(&self) -> [(&str, &str); 2] {
        [(CERTIFICATE, &self.certificate), (KEY, &self.key)]
    }

    fn chain(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        chain.collect::<Result<_, _>>().map_err(io::Error::other)
    }

    /// What a load connects with. One suite, so that all servers agree upon the same.
    pub(crate) fn client(&self, resumes: bool) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in self.chain()? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
        let config = ClientConfig::builder_with_provider(provider.into());
        let config = config.with_protocol_versions(&[&TLS13]).map_err(io::Error::other)?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(config.into())
    }

    /// What a server that is not netproc's serves with: as netproc's, with tickets.
    pub(crate) fn server(&self) -> io::Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = config.with_no_client_auth().with_single_cert(self.chain()?, key);
        let mut config = config.map_err(io::Error::other)?;
        config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
        Ok(config.into())
    }
}
