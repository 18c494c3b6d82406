//! The client's side: one server name, whom to trust, what to show.
//!
//! Invariant: a [`TlsClient`] has everything it needs, so that only the peer can make a handshake
//! fail. Sessions to take up again are shared by its clones and by no client with other checks.

use std::{fmt, net::IpAddr, sync::Arc, time::SystemTime};

use netproc_core::{
    layer::{Layer, Layers},
    shared_error::SharedError,
};
use rustls::{
    ClientConfig, KeyLogFile,
    client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier},
    pki_types::{DnsName, ServerName},
    sign::SingleCertAndKey,
};

use super::{
    Clock, Common,
    error::{ServerNameProblem, TlsError},
    failure::{self, HandshakeFailure},
    handshake::{Link, Recheck},
    identity::TlsIdentity,
    info::TlsVersion,
    provider,
    session::{Judgement, Session},
    sessions::Sessions,
    trust::TlsTrust,
    verify::{Blind, Findings, Telling},
};

/// The longest name of a host, without a closing dot.
const NAME_LEN_MAX: usize = 253;

/// TLS towards one server; makes the layer of each connection to it.
///
/// Cheap to clone; clones share the sessions that can be resumed.
///
/// # Examples
///
/// ```
/// use netproc::{HandshakeFailure, Layers, ServerNameProblem, TlsClient, TlsError, TlsTrust};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// let trust = TlsTrust::from_pem(pair.cert.pem())?;
/// let client = TlsClient::builder("localhost.").trust(trust.clone()).alpn(["imap"]).build()?;
/// assert_eq!(client.server_name(), "localhost");
///
/// let mut hello = Vec::new();
/// client.make()?.wire(&mut hello);
/// assert_eq!(hello[0].as_slice()[..2], [22, 3], "a record of a handshake");
///
/// let problem = ServerNameProblem::Wildcard;
/// let error = TlsClient::builder("*.example").trust(trust).build().unwrap_err();
/// assert!(matches!(error, TlsError::ServerName { problem: it, .. } if it == problem));
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network": `:tls-parameters`. Differs: the certificate is judged during
/// the handshake, and judged strictly; there is no priority string.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    checks: Checks,
}

/// How far the server is checked.
#[derive(Clone)]
enum Checks {
    Strict(Arc<Sessions>),
    Blind,
    Telling(Arc<WebPkiServerVerifier>),
}

impl TlsClient {
    /// Begins a client of `server_name`, which is sent to the server unless it is an address, and
    /// which its certificate has to be for. One closing dot is taken off.
    ///
    /// A name counts if it is among the certificate's subjectAltNames, an address if it is there as
    /// one; the subject's common name never does.
    pub fn builder(server_name: impl Into<String>) -> TlsClientBuilder {
        TlsClientBuilder::new(server_name.into(), Mode::Strict)
    }

    /// Begins a client that takes every server, and tells what should have kept it from doing so.
    ///
    /// **Anybody on the way can pose as the server.** The problems are in
    /// [`TlsInfo::verification`](crate::TlsInfo::verification), as data, before the first byte is
    /// sent: the caller is expected to judge. Sessions are not resumed, since that would skip the
    /// check.
    pub fn dangerous_reporting(server_name: impl Into<String>) -> TlsClientBuilder {
        TlsClientBuilder::new(server_name.into(), Mode::Telling)
    }

    /// Begins a client that takes every server, unseen. No roots are needed.
    ///
    /// **Anybody on the way can pose as the server.** This is for encryption against who only
    /// listens, where the alternative would be none.
    pub fn dangerous_unverified(server_name: impl Into<String>) -> TlsClientBuilder {
        TlsClientBuilder::new(server_name.into(), Mode::Blind)
    }

    /// The same towards another server: same trust, same identity, nothing read again.
    ///
    /// # Errors
    ///
    /// [`TlsError::ServerName`]: no certificate could be checked against that name.
    pub fn with_server_name(&self, server_name: &str) -> Result<Self, TlsError> {
        Ok(Self { name: parse_name(server_name)?, ..self.clone() })
    }

    /// The name or address that the server is checked against.
    #[must_use]
    pub fn server_name(&self) -> String {
        failure::text(&self.name)
    }
}

impl Layers for TlsClient {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        let mut recheck = None;
        let (config, judgement) = match &self.checks {
            Checks::Strict(sessions) => {
                let (sessions, name) = (Arc::clone(sessions), self.name.clone());
                recheck = Some(Recheck::Server { sessions, name });
                (Arc::clone(&self.config), Judgement::Strict)
            }
            Checks::Blind => (Arc::clone(&self.config), Judgement::Blind),
            Checks::Telling(strict) => {
                // What is found belongs to one connection, and so does who finds it.
                let findings = Findings::default();
                let verifier = Telling {
                    strict: Arc::clone(strict),
                    findings: Arc::clone(&findings),
                    blind: Blind::new(),
                };
                let mut config = ClientConfig::clone(&self.config);
                config.dangerous().set_certificate_verifier(Arc::new(verifier));
                (Arc::new(config), Judgement::Told(findings))
            }
        };
        let link = UnbufferedClientConnection::new(config, self.name.clone())
            .map_err(|err| SharedError::new(HandshakeFailure::new(err, false)))?;
        let (link, name) = (Link::Client(link), Some(self.server_name()));
        Ok(Box::new(Session::begin(link, recheck, judgement, name)?))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name())
            .finish_non_exhaustive()
    }
}

/// Which constructor began.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Strict,
    Telling,
    Blind,
}

/// What a [`TlsClient`] is to be; made by [`TlsClient::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build`"]
pub struct TlsClientBuilder {
    server_name: String,
    mode: Mode,
    trust: Option<TlsTrust>,
    identity: Option<TlsIdentity>,
    sends_server_name: bool,
    common: Common,
}

impl TlsClientBuilder {
    fn new(server_name: String, mode: Mode) -> Self {
        let common = Common::default();
        Self { server_name, mode, trust: None, identity: None, sends_server_name: true, common }
    }

    /// Whom to trust. Default: what the system trusts (feature `native-roots`), or Mozilla's list
    /// (feature `webpki-roots`); without both it has to be given. `:trustfiles`, `:crlfiles`.
    pub fn trust(mut self, trust: TlsTrust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The certificate to show if the server asks for one. Default: none. `:keylist`,
    /// `:client-certificate`.
    pub fn identity(mut self, identity: TlsIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Whether the server is told which name is asked for. Default: true. An address never is.
    pub const fn server_name_indication(mut self, is_sent: bool) -> Self {
        self.sends_server_name = is_sent;
        self
    }

    common_methods! {
        alpn: "The application protocols to offer, the best first, each of 1 to 255 bytes. Default: none.",
        resumption: "Whether sessions are taken up again. Default: true, for the last 256 server names; \
            never by the constructors that do not check the server.",
        clock: "The clock by which certificates expire, those of sessions taken up again as well. Default: the \
            system's. A time before 1970 fails every handshake."
    }

    /// Makes the client. Blocks while the system's roots are read, if they are needed.
    ///
    /// # Errors
    ///
    /// * [`TlsError::ServerName`]: the name, and what is wrong with it.
    /// * [`TlsError::NoRoots`], [`TlsError::SystemRoots`]: nothing to trust was given or found.
    /// * [`TlsError::AlpnEmpty`], [`TlsError::AlpnTooLong`], [`TlsError::AlpnTooMany`].
    /// * [`TlsError::Versions`]: the lowest is above the highest.
    pub fn build(self) -> Result<TlsClient, TlsError> {
        let name = parse_name(&self.server_name)?;
        let (alpn, versions) = (self.common.alpn()?, self.common.versions()?);
        let strict = match self.mode {
            Mode::Blind => None,
            Mode::Strict | Mode::Telling => {
                let trust = self.trust.map_or_else(TlsTrust::default_roots, Ok)?;
                Some(trust.server_verifier()?)
            }
        };
        let builder =
            ClientConfig::builder_with_details(provider().into(), Arc::clone(&self.common.clock))
                .with_protocol_versions(&versions)
                .map_err(|err| TlsError::crypto(&err))?;
        let checks = match (self.mode, strict) {
            (Mode::Telling, Some(strict)) => Checks::Telling(strict),
            (Mode::Strict, Some(strict)) => {
                Checks::Strict(Arc::new(Sessions::new(strict, Arc::clone(&self.common.clock))))
            }
            (Mode::Blind | Mode::Telling | Mode::Strict, _) => Checks::Blind,
        };
        let builder = match &checks {
            Checks::Strict(strict) => {
                let strict = Arc::clone(strict);
                builder.dangerous().with_custom_certificate_verifier(strict)
            }
            // Another takes its place in each connection.
            Checks::Telling(strict) => builder.with_webpki_verifier(Arc::clone(strict)),
            Checks::Blind => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Blind::new()))
            }
        };
        let mut config = match &self.identity {
            Some(identity) => {
                let shown = SingleCertAndKey::from(Arc::clone(identity.certified()));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn;
        // Once it stands, the records are ours: `keys`.
        config.enable_secret_extraction = true;
        config.enable_sni = self.sends_server_name;
        config.resumption = match &checks {
            Checks::Strict(sessions) if self.common.resumption => {
                Resumption::store(Arc::clone(sessions) as _)
            }
            Checks::Strict(_) | Checks::Blind | Checks::Telling(_) => Resumption::disabled(),
        };
        if self.common.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(TlsClient { config: Arc::new(config), name, checks })
    }
}

/// The name of a server as certificates have it: without closing dot, small letters.
pub(super) fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let problem = if bare.is_empty() {
        ServerNameProblem::Empty
    } else if bare.contains('\0') {
        ServerNameProblem::Nul
    } else if bare.contains('*') {
        ServerNameProblem::Wildcard
    } else if bare.len() > NAME_LEN_MAX {
        ServerNameProblem::TooLong
    } else if !bare.is_ascii() {
        ServerNameProblem::NotAscii
    } else if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    } else if let Ok(name) = DnsName::try_from(bare.to_ascii_lowercase())
        && !bare.ends_with('.')
    {
        return Ok(ServerName::DnsName(name));
    } else {
        ServerNameProblem::Malformed
    };
    Err(TlsError::ServerName { name: name.into(), problem })
}
