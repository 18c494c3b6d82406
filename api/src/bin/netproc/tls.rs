//! What `connect` and `listen` are told about encryption, and the library's values made of it.
//!
//! Invariant: nothing here takes a peer unproved; there is no option for that.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use netproc::{
    TlsClient, TlsIdentity, TlsInfo, TlsServer, TlsServerBuilder, TlsTrust, TlsVerification,
    TlsVersion,
    stream::{Protocol, ServerProtocol},
};

use crate::{endpoint::Endpoint, refuse};

/// The protocols whose servers can be played, by name.
const SERVED: [(&str, ServerProtocol); 3] = [
    ("smtp", ServerProtocol::Smtp),
    ("imap", ServerProtocol::Imap),
    ("pop3", ServerProtocol::Pop3),
];

/// The versions of TLS, by name.
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

/// Reads one of these names.
fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    known: &'static [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(known.iter().map(|(name, _)| *name));
    names.try_map(|name| known.iter().find(|(it, _)| **it == *name).map(|it| it.1).ok_or("unknown"))
}

fn protocol() -> impl TypedValueParser<Value = Protocol> {
    PossibleValuesParser::new(Protocol::ALL.map(Protocol::name))
        .try_map(|name| name.parse::<Protocol>())
}

/// What both sides have.
#[derive(Debug, Args)]
struct Common {
    /// An application protocol to agree upon (ALPN), the best first; may be given again.
    #[arg(long, value_name = "PROTOCOL", requires = "encryption")]
    alpn: Vec<String>,
    /// The lowest version of TLS allowed.
    #[arg(long, value_name = "V", requires = "encryption", default_value = "1.2",
        value_parser = one_of(&VERSIONS))]
    tls_min: TlsVersion,
    /// The highest version of TLS allowed.
    #[arg(long, value_name = "V", requires = "encryption", default_value = "1.3",
        value_parser = one_of(&VERSIONS))]
    tls_max: TlsVersion,
}

/// How `connect` encrypts.
#[derive(Debug, Args)]
pub(crate) struct Client {
    /// Speak TLS from the start. The server has to prove that it is the one of that name.
    #[arg(long, group = "encryption")]
    tls: bool,
    /// Speak this protocol's beginning in clear, start TLS as it does, and go on inside it, or not at
    /// all. Standard input is sent once TLS stands.
    #[arg(long, group = "encryption", value_name = "PROTOCOL", value_parser = protocol())]
    starttls: Option<Protocol>,
    /// Trust the authorities in this PEM file and no others. Default: those of the system.
    #[arg(long, value_name = "FILE", requires = "encryption")]
    ca: Option<PathBuf>,
    /// The name or address that the server's certificate has to be for. Default: the host.
    #[arg(long, requires = "encryption")]
    name: Option<String>,
    /// The certificate to show if the server asks for one, a PEM file; the chain above it may follow.
    #[arg(long, value_name = "FILE", requires = "encryption", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key, a PEM file.
    #[arg(long, value_name = "FILE", requires = "encryption", requires = "cert")]
    key: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What is to be spoken with a server.
pub(crate) enum Speech {
    /// The endpoint's own bytes.
    Clear,
    /// TLS from the start.
    Tls(TlsClient),
    /// TLS after a dialogue.
    StartTls(Protocol, TlsClient),
}

impl Client {
    /// What was asked for, with all files read.
    pub(crate) fn speech(&self, endpoint: &Endpoint) -> netproc::Result<Speech, netproc::TlsError> {
        match self.starttls {
            Some(protocol) => {
                if endpoint.host().is_none() || !endpoint.is_stream() {
                    refuse(
                        "connect",
                        &format_args!("--starttls needs HOST:PORT, {endpoint} is none"),
                    );
                }
                Ok(Speech::StartTls(protocol, self.tls(endpoint)?))
            }
            None if self.tls => {
                if !endpoint.is_stream() {
                    refuse(
                        "connect",
                        &format_args!("--tls needs a stream, {endpoint} is packets or records"),
                    );
                }
                Ok(Speech::Tls(self.tls(endpoint)?))
            }
            None => Ok(Speech::Clear),
        }
    }

    /// The name that the server is checked against.
    pub(crate) fn name<'a>(&'a self, endpoint: &'a Endpoint) -> &'a str {
        let given = self.name.as_deref().or_else(|| endpoint.host());
        given.unwrap_or_else(|| {
            refuse(
                "connect",
                &format_args!("{endpoint} has no host to check a certificate for: --name NAME"),
            )
        })
    }

    fn tls(&self, endpoint: &Endpoint) -> netproc::Result<TlsClient, netproc::TlsError> {
        let Common { alpn, tls_min, tls_max } = &self.common;
        let mut tls = TlsClient::builder(self.name(endpoint)).versions(*tls_min, *tls_max);
        tls = tls.alpn(alpn);
        if let Some(file) = &self.ca {
            tls = tls.trust(TlsTrust::from_file(file)?);
        }
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(TlsIdentity::from_files(certificate, key)?);
        }
        tls.build()
    }
}

/// How `listen` encrypts.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Speak TLS from the start.
    #[arg(long, group = "encryption", requires = "cert")]
    tls: bool,
    /// Speak this protocol's beginning in clear until the client starts TLS, and echo inside it.
    #[arg(long, group = "encryption", requires = "cert", value_name = "PROTOCOL",
        value_parser = one_of(&SERVED))]
    starttls: Option<ServerProtocol>,
    /// A certificate to show, a PEM file; the chain above it may follow. Given again with another --key
    /// each is shown to those who ask for its name, and the first to everybody else.
    #[arg(long, value_name = "FILE", requires = "encryption", requires = "key")]
    cert: Vec<PathBuf>,
    /// Its private key, a PEM file.
    #[arg(long, value_name = "FILE", requires = "encryption", requires = "cert")]
    key: Vec<PathBuf>,
    /// Serve only those with a certificate by an authority in this PEM file.
    #[arg(long, value_name = "FILE", requires = "encryption")]
    client_ca: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What is to be spoken with clients.
#[derive(Clone)]
pub(crate) enum Service {
    /// The endpoint's own bytes.
    Clear,
    /// TLS from the start.
    Tls(TlsServer),
    /// TLS after a dialogue.
    StartTls(ServerProtocol, TlsServer),
}

impl Server {
    /// What was asked for, with all files read.
    pub(crate) fn service(
        &self,
        endpoints: &[Endpoint],
    ) -> netproc::Result<Service, netproc::TlsError> {
        if self.cert.len() != self.key.len() {
            let (certificates, keys) = (self.cert.len(), self.key.len());
            refuse(
                "listen",
                &format_args!("as many --key as --cert: {certificates} --cert, {keys} --key"),
            );
        }
        let mut files = self.cert.iter().zip(&self.key);
        let Some(first) = files.next() else { return Ok(Service::Clear) };
        if let Some(endpoint) = endpoints.iter().find(|endpoint| !endpoint.is_stream()) {
            refuse("listen", &format_args!("TLS needs a stream, {endpoint} is packets or records"));
        }
        let read =
            |(certificate, key): (&PathBuf, &PathBuf)| TlsIdentity::from_files(certificate, key);
        let mut tls = TlsServer::builder(read(first)?);
        for more in files {
            tls = tls.another_identity(read(more)?);
        }
        let tls = self.rest(tls)?.build()?;
        Ok(match self.starttls {
            Some(protocol) => Service::StartTls(protocol, tls),
            None => Service::Tls(tls),
        })
    }

    fn rest(&self, tls: TlsServerBuilder) -> netproc::Result<TlsServerBuilder, netproc::TlsError> {
        let Common { alpn, tls_min, tls_max } = &self.common;
        let tls = tls.versions(*tls_min, *tls_max).alpn(alpn);
        Ok(match &self.client_ca {
            Some(file) => tls.demand_clients(TlsTrust::from_file(file)?),
            None => tls,
        })
    }
}

/// What was agreed upon, on one line.
pub(crate) fn agreed(info: &TlsInfo) -> String {
    let mut words = vec![info.version().to_string(), info.suite().to_owned()];
    words.extend(info.key_exchange().map(str::to_owned));
    let is_verified = *info.verification() == TlsVerification::Verified;
    words.extend(is_verified.then(|| "certificate verified".to_owned()));
    words.extend(info.alpn().map(|it| format!("protocol {}", it.escape_ascii())));
    words.join(", ")
}
