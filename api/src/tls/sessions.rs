//! Sessions that a client keeps to take up again: none outlives the certificate it was made under.
//!
//! Invariant: the library takes a session up without a look at the server's certificate, so one is given out only
//! while the chain that passed last for its name would still pass; a session made under an older chain is found
//! when the server takes it up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, NamedGroup, SignatureScheme,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue,
        Tls13ClientSessionValue, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    time_provider::TimeProvider,
};

/// Servers that a client keeps sessions of.
const SERVERS_MAX: usize = 256;
/// Sessions of one of them: the library counts these.
const SESSIONS_EACH: usize = 8;

/// A certificate with those above it.
type Chain = Arc<[CertificateDer<'static>]>;

/// Checks servers, and keeps what was agreed upon with those that passed.
#[derive(Debug)]
pub(super) struct Sessions {
    strict: Arc<WebPkiServerVerifier>,
    clock: Arc<dyn TimeProvider>,
    kept: ClientSessionMemoryCache,
    /// The chain that passed last for a name; the oldest names first.
    passed: Mutex<VecDeque<(ServerName<'static>, Chain)>>,
}

impl Sessions {
    pub(super) fn new(strict: Arc<WebPkiServerVerifier>, clock: Arc<dyn TimeProvider>) -> Self {
        let kept = ClientSessionMemoryCache::new(SERVERS_MAX * SESSIONS_EACH);
        Self { strict, clock, kept, passed: Mutex::default() }
    }

    /// Only moves are done under this lock.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(ServerName<'static>, Chain)>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chain_of(&self, name: &ServerName<'_>) -> Option<Chain> {
        let passed = self.lock();
        passed.iter().find(|(of, _)| of == name).map(|(_, chain)| Arc::clone(chain))
    }

    /// A chain has passed for a name: what was agreed upon under another is given out no more.
    fn note(&self, name: &ServerName<'_>, own: &CertificateDer<'_>, above: &[CertificateDer<'_>]) {
        let chain: Chain =
            std::iter::once(own).chain(above).map(|it| it.clone().into_owned()).collect();
        if self.chain_of(name).is_some_and(|before| before == chain) {
            return;
        }
        self.forget(&name.to_owned());
        let mut passed = self.lock();
        if passed.len() == SERVERS_MAX {
            passed.pop_front();
        }
        passed.push_back((name.to_owned(), chain));
    }

    fn forget(&self, name: &ServerName<'static>) {
        self.lock().retain(|(of, _)| of != name);
        self.kept.remove_tls12_session(name);
        while self.kept.take_tls13_ticket(name).is_some() {}
    }

    /// Judges a chain as of now.
    fn judge(&self, name: &ServerName<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (own, above) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = self.clock.current_time().ok_or(Error::FailedToGetCurrentTime)?;
        self.strict.verify_server_cert(own, above, name, &[], now).map(drop)
    }

    /// Whether a session with this server may be given out.
    fn may_go_on(&self, name: &ServerName<'static>) -> bool {
        let chain = self.chain_of(name);
        let passes = chain.is_some_and(|chain| self.judge(name, &chain).is_ok());
        if !passes {
            self.forget(name);
        }
        passes
    }

    /// Judges the chain of a session that the server has taken up.
    pub(super) fn recheck(
        &self,
        name: &ServerName<'static>,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        // That one passed when the session was given out.
        if self.chain_of(name).is_some_and(|passed| *passed == *chain) {
            return Ok(());
        }
        self.judge(name, chain).inspect_err(|_| self.forget(name))
    }
}

impl ServerCertVerifier for Sessions {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let passed = self.strict.verify_server_cert(own, above, name, ocsp_response, now)?;
        self.note(name, own, above);
        Ok(passed)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.strict.root_hint_subjects()
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let session = self.kept.tls12_session(name)?;
        self.may_go_on(&name.to_owned()).then_some(session)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.kept.take_tls13_ticket(name)?;
        self.may_go_on(name).then_some(ticket)
    }
}
