//! The two ways not to refuse a server: not to look, and to look and only tell.
//!
//! Invariant: even so the peer has to prove that it holds the key of the certificate that it shows;
//! what is let through is whom the certificate is for and who vouches for it. Nothing else in the
//! crate takes the place of the library's own check.

use std::sync::{Arc, OnceLock};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{failure::CertificateProblem, provider};

/// What a check found; set once in a handshake, empty if all is well.
pub(super) type Findings = Arc<OnceLock<Vec<CertificateProblem>>>;

/// Takes every server.
#[derive(Debug)]
pub(super) struct Blind(WebPkiSupportedAlgorithms);

impl Blind {
    pub(super) fn new() -> Self {
        Self(provider().signature_verification_algorithms)
    }
}

/// Takes every server, and tells what a strict check would have said. For one connection.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) strict: Arc<WebPkiServerVerifier>,
    pub(super) findings: Findings,
    pub(super) blind: Blind,
}

impl Telling {
    /// The strict check ends at the first problem; the name is looked at in any case.
    fn problems(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Vec<CertificateProblem> {
        let chain = self.strict.verify_server_cert(own, above, name, &[], now);
        let for_name =
            ParsedCertificate::try_from(own).and_then(|parsed| verify_server_name(&parsed, name));
        let found = [chain.map(drop), for_name].into_iter().filter_map(Result::err);
        let mut problems: Vec<CertificateProblem> = found.map(CertificateProblem::from).collect();
        problems.dedup();
        problems
    }
}

impl ServerCertVerifier for Telling {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.findings.get_or_init(|| self.problems(own, above, name, now));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.blind.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.blind.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.blind.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _own: &CertificateDer<'_>,
        _above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
