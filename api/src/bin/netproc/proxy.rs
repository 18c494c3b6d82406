//! What `connect` and `listen` are told about the PROXY protocol.
//!
//! Both take their word behind `=` only, so that an endpoint behind the bare option stays one.

use clap::Args;
use netproc::{ProxyVersion, TrustedProxies, TrustedProxiesError};

use crate::{endpoint::Endpoint, refuse};

/// Whom `listen` believes where nobody is named: whoever is on this machine.
const THIS_MACHINE: &str = "127.0.0.0/8,::1,local";

/// What `connect` sends.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Client {
    /// Begin with a PROXY header that names this connection's own ends, in clear, of version 1 or 2.
    #[arg(long, value_name = "VERSION", num_args = 0..=1, require_equals = true,
        default_missing_value = "1", value_parser = version)]
    proxy_protocol: Option<ProxyVersion>,
}

impl Client {
    /// The version asked for, of a header that can be sent there.
    pub(crate) fn version(&self, endpoint: &Endpoint) -> Option<ProxyVersion> {
        if self.proxy_protocol.is_some() {
            refuse_others("connect", endpoint);
        }
        self.proxy_protocol
    }
}

/// Whom `listen` believes.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Server {
    /// Serve only proxies, which begin with a PROXY header of either version: those whose address is
    /// among FROM, as in 10.0.0.0/8,192.0.2.7,local; local means local sockets. Default: this machine.
    #[arg(long, value_name = "FROM", num_args = 0..=1, require_equals = true,
        default_missing_value = THIS_MACHINE, value_parser = trusted)]
    proxy_protocol: Option<TrustedProxies>,
}

impl Server {
    /// Who is believed, where headers are wanted, on endpoints that can have them.
    pub(crate) fn trusted(&self, endpoints: &[Endpoint]) -> Option<TrustedProxies> {
        let trusted = self.proxy_protocol.clone()?;
        endpoints.iter().for_each(|endpoint| refuse_others("listen", endpoint));
        Some(trusted)
    }
}

fn refuse_others(subcommand: &str, endpoint: &Endpoint) {
    if !endpoint.is_stream() {
        let needed = "--proxy-protocol needs a stream";
        refuse(subcommand, &format_args!("{needed}, {endpoint} is packets or records"));
    }
}

fn version(text: &str) -> Result<ProxyVersion, &'static str> {
    match text {
        "1" => Ok(ProxyVersion::V1),
        "2" => Ok(ProxyVersion::V2),
        _ => Err("1 or 2 expected"),
    }
}

/// Reads a list of proxies; the word that is none is all there is to say.
fn trusted(text: &str) -> Result<TrustedProxies, String> {
    let trusted: TrustedProxies =
        text.parse().map_err(|err: TrustedProxiesError| err.0.to_string())?;
    if trusted.is_empty() { Err("somebody to trust expected".into()) } else { Ok(trusted) }
}
