//! TLS of the dynamic front: what `:tls-parameters` and `:client-certificate` say, as clients and
//! servers of `tls`.
//!
//! Invariant: everything given is honoured or refused with its reason; what is passed over would only
//! have made the connection weaker. A certificate is judged during the handshake, in every case. Priority
//! strings are [`priority`]'s business.

mod priority;

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf, rc::Rc};

use netproc_core::{
    layer::Layers,
    plist::{Plist, Value},
    shared_error::SharedError,
};

use super::Signal;
use crate::{
    error::TlsParametersError,
    runtime::Runtime,
    tls::{
        CertificateProblem, HandshakeFailure, TlsClient, TlsError, TlsIdentity, TlsServer,
        TlsTrust, TlsVersion,
    },
};

type Result<T> = std::result::Result<T, TlsParametersError>;

/// The one kind of credentials that proves anything.
const X509: &str = "gnutls-x509pki";

impl From<TlsError> for TlsParametersError {
    fn from(err: TlsError) -> Self {
        Self::Tls(SharedError::new(err))
    }
}

/// What makes the layers of a process with these `:tls-parameters`.
pub(super) fn layers(rt: &Runtime, given: &Value, is_server: bool) -> Result<Rc<dyn Layers>> {
    let given = Given::new(given)?;
    if is_server { Ok(Rc::new(given.server()?)) } else { Ok(Rc::new(given.client(rt, None)?)) }
}

/// What makes the layers of a stream to a host, in ASCII, and a service: a client of that host, with
/// what `:tls-parameters` and `:client-certificate` say.
#[cfg(feature = "starttls")]
pub(super) fn stream_layers(
    rt: &Runtime,
    (host, service): (&str, &str),
    parameters: &Value,
    certificate: &Value,
) -> Result<Rc<dyn Layers>> {
    let mut given = match parameters {
        Value::Nil => Given { plist: Plist::new() },
        given => Given::new(given)?,
    };
    if given.get(":hostname").is_none() {
        given.plist.put(":hostname", host);
    }
    let identity = match certificate {
        Value::Nil => None,
        Value::True => TlsIdentity::from_authinfo(host, service)?,
        pair => Some(pair_of_files(":client-certificate", pair)?),
    };
    Ok(Rc::new(given.client(rt, identity)?))
}

/// `:tls-parameters` whose every value is of a type it may be.
struct Given {
    plist: Plist,
}

impl Given {
    fn new(given: &Value) -> Result<Self> {
        let no_list = || wrong(":tls-parameters", "listp", given);
        let Some([credentials, rest @ ..]) = given.items() else { return Err(no_list()) };
        let anonymous = "they prove nobody's name";
        match credentials.as_symbol() {
            Some(X509) => {}
            Some("gnutls-anon") => return Err(unsupported("credentials", credentials, anonymous)),
            _ => return Err(unsupported("credentials", credentials, "no such type")),
        }
        let given = Self { plist: Plist::from_values(rest)? };
        given.plist.iter().try_for_each(|(key, value)| check(key, value))?;
        Ok(given)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.plist.get(key).filter(|value| value.is_true())
    }

    fn client(&self, rt: &Runtime, identity: Option<TlsIdentity>) -> Result<TlsClient> {
        let host = self.get(":hostname").ok_or(TlsParametersError::NoHostname)?;
        let host = host.as_str().ok_or_else(|| wrong(":hostname", "stringp", host))?;
        let (min, max) = self.versions()?;
        let identity = identity.map_or_else(|| self.identity(), |identity| Ok(Some(identity)))?;
        let mut client = TlsClient::builder(host).trust(self.trust(rt)?).versions(min, max);
        if let Some(identity) = identity {
            client = client.identity(identity);
        }
        Ok(client.build()?)
    }

    /// Clients have to show a certificate if it is said who may vouch for it.
    fn server(&self) -> Result<TlsServer> {
        let identity = self.identity()?.ok_or(TlsParametersError::NoIdentity)?;
        let (min, max) = self.versions()?;
        let mut server = TlsServer::builder(identity).versions(min, max);
        let roots = self.files(":trustfiles")?.unwrap_or_default();
        if let Some(trust) = join(&roots, None)? {
            let lists = self.files(":crlfiles")?.unwrap_or_default();
            server = server.demand_clients(revoke(trust, &lists)?);
        } else if let Some((key, value)) =
            [":verify-error", ":crlfiles"].into_iter().find_map(|key| Some((key, self.get(key)?)))
        {
            return Err(unsupported(key, value, "a server checks its clients by :trustfiles"));
        }
        Ok(server.build()?)
    }

    fn versions(&self) -> Result<(TlsVersion, TlsVersion)> {
        let Some(given) = self.get(":priority") else {
            return Ok((TlsVersion::V1_2, TlsVersion::V1_3));
        };
        let text = given.as_str().ok_or_else(|| wrong(":priority", "stringp", given))?;
        priority::versions(text).map_err(|why| unsupported(":priority", given, why))
    }

    /// What `:trustfiles` and `:crlfiles` name, or the settings, with what this machine trusts.
    fn trust(&self, rt: &Runtime) -> Result<TlsTrust> {
        let defaults = rt.stream_defaults();
        let roots = self.files(":trustfiles")?.unwrap_or(defaults.trustfiles);
        let own = match defaults.system_roots.then(|| rt.default_roots()) {
            Some(Ok(roots)) => Some(roots),
            // Whose roots were named needs no others.
            Some(Err(_)) if !roots.is_empty() => None,
            Some(Err(err)) => return Err(err.into()),
            None => None,
        };
        let trust = join(&roots, own)?.ok_or(TlsError::NoRoots)?;
        revoke(trust, &self.files(":crlfiles")?.unwrap_or(defaults.crlfiles))
    }

    /// The key and certificate of `:keylist`.
    fn identity(&self) -> Result<Option<TlsIdentity>> {
        let Some(given) = self.get(":keylist") else { return Ok(None) };
        match given.items() {
            Some([pair]) => Ok(Some(pair_of_files(":keylist", pair)?)),
            Some(_) => Err(unsupported(":keylist", given, "one certificate is shown")),
            None => Err(wrong(":keylist", "listp", given)),
        }
    }

    /// The files a list names; `None` if there is no list.
    fn files(&self, key: &'static str) -> Result<Option<Vec<PathBuf>>> {
        let Some(given) = self.get(key) else { return Ok(None) };
        let names = given.items().ok_or_else(|| wrong(key, "listp", given))?;
        names.iter().map(|name| file(key, name)).collect::<Result<_>>().map(Some)
    }
}

/// Refuses what cannot be honoured, key by key.
fn check(key: &str, value: &Value) -> Result<()> {
    let integer = |key| match value {
        Value::Nil | Value::Integer(_) => Ok(()),
        other => Err(wrong(key, "integerp", other)),
    };
    match key {
        // Looked at where they count.
        ":hostname" | ":priority" | ":trustfiles" | ":crlfiles" | ":keylist" => Ok(()),
        // There is no Diffie-Hellman over primes here, and what is logged is the program's business.
        ":min-prime-bits" => integer(":min-prime-bits"),
        ":loglevel" => integer(":loglevel"),
        // A handshake is always waited for where a connection is, and everything is verified.
        ":complete-negotiation" => Ok(()),
        ":verify-error" => {
            let known = |it: &Value| matches!(it.as_symbol(), Some(":trustfiles" | ":hostname"));
            let all = value.items().is_some_and(|them| them.iter().all(known));
            if all || *value == Value::True {
                return Ok(());
            }
            Err(unsupported(key, value, "no such verification"))
        }
        ":verify-flags" if matches!(value, Value::Integer(0)) => Ok(()),
        ":verify-flags" if value.is_true() => {
            Err(unsupported(key, value, "flags of a library that is not used here"))
        }
        _ if value.is_true() => Err(TlsParametersError::Unknown(key.into())),
        _ => Ok(()),
    }
}

fn join(files: &[PathBuf], own: Option<TlsTrust>) -> Result<Option<TlsTrust>> {
    files.iter().try_fold(own, |trust, file| {
        let more = TlsTrust::from_file(file)?;
        Ok(Some(match trust {
            Some(trust) => trust.and(more),
            None => more,
        }))
    })
}

fn revoke(trust: TlsTrust, lists: &[PathBuf]) -> Result<TlsTrust> {
    Ok(lists.iter().try_fold(trust, TlsTrust::and_revocation_file)?)
}

/// `(KEYFILE CERTFILE)`.
fn pair_of_files(key: &'static str, pair: &Value) -> Result<TlsIdentity> {
    match pair.items() {
        Some([of_key, of_certificate]) => {
            Ok(TlsIdentity::from_files(file(key, of_certificate)?, file(key, of_key)?)?)
        }
        Some(_) => Err(unsupported(key, pair, "it has to name a key and a certificate")),
        None => Err(wrong(key, "listp", pair)),
    }
}

fn file(key: &'static str, name: &Value) -> Result<PathBuf> {
    let bytes = name.to_bytes().ok_or_else(|| wrong(key, "stringp", name))?;
    Ok(OsString::from_vec(bytes).into())
}

fn wrong(key: &'static str, expected: &'static str, value: &Value) -> TlsParametersError {
    TlsParametersError::Type { key, expected, value: value.to_string() }
}

fn unsupported(key: &str, value: &Value, why: &'static str) -> TlsParametersError {
    TlsParametersError::Unsupported { key: key.into(), value: value.to_string(), why }
}

/// Whether TLS is refused for want of something on this machine, not for what was asked.
#[cfg(feature = "starttls")]
pub(super) fn cannot_be_had(err: &TlsParametersError) -> bool {
    let TlsParametersError::Tls(source) = err else { return false };
    matches!(
        source.downcast(),
        Some(TlsError::NoRoots | TlsError::SystemRoots(_) | TlsError::ServerName { .. })
    )
}

fn problem(err: &SharedError) -> Option<&CertificateProblem> {
    if let HandshakeFailure::Certificate(problem) = err.downcast()? { Some(problem) } else { None }
}

/// Whether it was the peer's certificate for which a handshake was given up.
#[cfg(feature = "starttls")]
pub(super) fn is_refusal(err: &SharedError) -> bool {
    problem(err).is_some()
}

/// What Emacs signals for a handshake with `host` that failed, and our reason.
pub(super) fn handshake_signal(host: &str, err: &SharedError) -> Signal {
    match problem(err) {
        Some(problem) => {
            let words = certificate_words(host, problem);
            Signal::new("error", vec![words.into(), problem.to_string().into()])
        }
        None => Signal::new("gnutls-error", vec![err.to_string().into()]),
    }
}

/// The words of Emacs for a certificate that is refused during the handshake; the code is GnuTLS's.
fn certificate_words(host: &str, problem: &CertificateProblem) -> String {
    /// The certificate is not valid; goes with every other.
    const INVALID: u32 = 0x2;
    let code = match problem {
        CertificateProblem::WrongName { .. } => {
            return format!("The x509 certificate does not match \"{host}\"");
        }
        CertificateProblem::Revoked => INVALID | 0x20,
        CertificateProblem::UnknownIssuer => INVALID | 0x40,
        CertificateProblem::NotYetValid => INVALID | 0x200,
        CertificateProblem::Expired => INVALID | 0x400,
        CertificateProblem::Signature => INVALID | 0x800,
        CertificateProblem::Purpose => INVALID | 0x4_0000,
        CertificateProblem::Malformed | CertificateProblem::Other(_) => INVALID,
    };
    format!("Certificate validation failed {host}, verification code {code:x}")
}
