//! The server's side: which certificate for which name, and what is asked of clients.
//!
//! Invariant: a [`TlsServer`] always has a certificate to show, the first if no other fits the name
//! asked for. No data is taken before a handshake is done (no 0-RTT), so nothing can be replayed.

use std::{cell::Cell, collections::HashMap, fmt, sync::Arc, time::SystemTime};

use netproc_core::{
    layer::{Layer, Layers},
    shared_error::SharedError,
};
use rustls::{
    KeyLogFile, ServerConfig,
    client::verify_server_name,
    pki_types::ServerName,
    server::{
        ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets,
        ResolvesServerCert, UnbufferedServerConnection, danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use super::{
    Clock, Common,
    client::parse_name,
    error::{ServerNameProblem, TlsError},
    failure::{self, HandshakeFailure},
    handshake::{Link, Recheck},
    identity::TlsIdentity,
    info::TlsVersion,
    provider,
    session::{Judgement, Session},
    trust::TlsTrust,
};

/// TLS of one service; makes the layer of each connection that it accepts.
///
/// Cheap to clone; clones share the keys of the session tickets.
///
/// No data is taken before a handshake is done, and no ticket allows a client to send any. One that does so all the same,
/// with a ticket of another server, is connected if that is not more than a few kilobytes in one record, and refused
/// otherwise.
///
/// # Examples
///
/// ```
/// use netproc::{Layers, TlsError, TlsIdentity, TlsServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()])?;
/// let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
/// let builder = TlsServer::builder(identity.clone()).alpn(["h2", "http/1.1"]);
/// assert!(!builder.clone().build()?.make()?.is_established());
///
/// let error = builder.identity_for("b.example", identity).build().unwrap_err();
/// assert!(matches!(error, TlsError::NotForName(name) if name == "b.example"));
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// Nothing of Emacs: its servers do not speak TLS.
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl TlsServer {
    /// Begins a server that shows `identity` to whoever asks for no other name.
    pub fn builder(identity: TlsIdentity) -> TlsServerBuilder {
        TlsServerBuilder {
            identity,
            by_name: Vec::new(),
            others: Vec::new(),
            clients: Clients::Ignored,
            common: Common::default(),
        }
    }
}

impl Layers for TlsServer {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        let link = UnbufferedServerConnection::new(Arc::clone(&self.config))
            .map_err(|err| SharedError::new(HandshakeFailure::new(err, false)))?;
        let recheck = self.verifier.as_ref().map(|verifier| Recheck::Client {
            verifier: Arc::clone(verifier),
            clock: Arc::clone(&self.config.time_provider),
        });
        Ok(Box::new(Session::begin(Link::Server(link), recheck, Judgement::Strict, None)?))
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

/// What is asked of clients.
#[derive(Clone, Debug)]
enum Clients {
    Ignored,
    Asked(TlsTrust),
    Demanded(TlsTrust),
}

/// What a [`TlsServer`] is to be; made by [`TlsServer::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build`"]
pub struct TlsServerBuilder {
    identity: TlsIdentity,
    by_name: Vec<(String, TlsIdentity)>,
    others: Vec<TlsIdentity>,
    clients: Clients,
    common: Common,
}

impl TlsServerBuilder {
    /// Shows `identity` to clients that ask for `server_name`, which its certificate has to be for.
    /// The last one given for a name counts.
    pub fn identity_for(mut self, server_name: impl Into<String>, identity: TlsIdentity) -> Self {
        self.by_name.push((server_name.into(), identity));
        self
    }

    /// Shows `identity` to clients that ask for any name its certificate is for, if none was set for that
    /// name. The first one given that fits counts; the identity the server began with comes before all.
    pub fn another_identity(mut self, identity: TlsIdentity) -> Self {
        self.others.push(identity);
        self
    }

    /// Asks clients for a certificate and takes those that show none. One that `trust` does not
    /// vouch for is refused all the same. Default: clients are not asked.
    pub fn ask_clients(mut self, trust: TlsTrust) -> Self {
        self.clients = Clients::Asked(trust);
        self
    }

    /// Takes only clients with a certificate that `trust` vouches for.
    pub fn demand_clients(mut self, trust: TlsTrust) -> Self {
        self.clients = Clients::Demanded(trust);
        self
    }

    common_methods! {
        alpn: "The application protocols, the best first, each of 1 to 255 bytes. A client that offers \
            some, but none of them, is refused. Default: none, and what clients offer is passed over.",
        tickets: "Whether clients get tickets with which to take a session up again. Default: true. The \
            keys of the tickets change by themselves and are never stored.",
        clock: "The clock by which certificates of clients expire, those of sessions taken up again as well. \
            Default: the system's. A time before 1970 fails every handshake that needs one."
    }

    /// Makes the server. Never blocks.
    ///
    /// # Errors
    ///
    /// * [`TlsError::ServerName`]: a name that no client can ask for.
    /// * [`TlsError::NotForName`]: an identity that is not for its name.
    /// * [`TlsError::AlpnEmpty`], [`TlsError::AlpnTooLong`], [`TlsError::AlpnTooMany`].
    /// * [`TlsError::Versions`]: the lowest is above the highest.
    /// * [`TlsError::Crypto`]: no keys for tickets could be had.
    pub fn build(self) -> Result<TlsServer, TlsError> {
        let (alpn, versions) = (self.common.alpn()?, self.common.versions()?);
        let mut by_name = HashMap::new();
        for (name, identity) in self.by_name {
            by_name.insert(checked_name(&name, &identity)?, Arc::clone(identity.certified()));
        }
        let first = Arc::clone(self.identity.certified());
        let others = self.others.iter().map(|it| Arc::clone(it.certified())).collect();
        let resolver = Resolver { first, by_name, others };
        let builder =
            ServerConfig::builder_with_details(provider().into(), Arc::clone(&self.common.clock))
                .with_protocol_versions(&versions)
                .map_err(|err| TlsError::crypto(&err))?;
        let verifier = match &self.clients {
            Clients::Ignored => None,
            Clients::Asked(trust) => Some(trust.client_verifier(false)?),
            Clients::Demanded(trust) => Some(trust.client_verifier(true)?),
        };
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = alpn;
        // Once it stands, the records are ours: `keys`.
        config.enable_secret_extraction = true;
        if self.common.resumption {
            config.ticketer = ticketer().map_err(|err| TlsError::crypto(&err))?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        if self.common.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(TlsServer { config: Arc::new(config), verifier })
    }
}

/// Keys for session tickets, of the same cryptography as everything else.
fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    #[cfg(feature = "tls-ring")]
    let ticketer = rustls::crypto::ring::Ticketer::new();
    #[cfg(not(feature = "tls-ring"))]
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new();
    ticketer
}

/// `name` as clients send it, once `identity` is known to be for it.
fn checked_name(name: &str, identity: &TlsIdentity) -> Result<String, TlsError> {
    let parsed = parse_name(name)?;
    if matches!(parsed, ServerName::IpAddress(_)) {
        let problem = ServerNameProblem::Address;
        return Err(TlsError::ServerName { name: name.into(), problem });
    }
    if !is_for(identity.certified(), &parsed) {
        return Err(TlsError::NotForName(name.into()));
    }
    Ok(failure::text(&parsed))
}

/// Whether the certificate is for this name.
fn is_for(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = certified.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.and_then(|certificate| verify_server_name(&certificate, name)).is_ok()
}

/// Picks the certificate by the name asked for.
#[derive(Debug)]
struct Resolver {
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    others: Vec<Arc<CertifiedKey>>,
}

impl Resolver {
    /// The one that is shown to whoever asks for `name`, in small letters.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        if let Some(found) = self.by_name.get(name) {
            return Some(found);
        }
        if self.others.is_empty() {
            return None;
        }
        let name = ServerName::try_from(name).ok()?;
        std::iter::once(&self.first).chain(&self.others).find(|it| is_for(it, &name))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let found = asked.as_deref().and_then(|name| self.find(name));
        ASKED_FOR.set(asked);
        Some(Arc::clone(found.unwrap_or(&self.first)))
    }
}

thread_local! {
    /// The name that the last client has asked for on this thread. The library tells it to who picks
    /// the certificate and to nobody else, in the midst of a call, and one picks for all connections.
    static ASKED_FOR: Cell<Option<String>> = const { Cell::new(None) };
}

/// Takes the name that a client has asked for since this was last called on this thread.
pub(super) fn take_asked_for() -> Option<String> {
    ASKED_FOR.take()
}
