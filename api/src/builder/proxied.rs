//! The PROXY protocol: servers behind a proxy, and clients that are one.
//!
//! Invariant: what has no use of a header, or nobody to believe, is an error of `start`. Reading and writing
//! one is `netproc_core::proxy`'s work, when that happens the engine's.

use netproc_core::{
    proxy::{ProxyOut, TrustedProxies},
    reactor::Kind,
};

use super::{ClientBuilder, Common, ServerBuilder};
use crate::error::StartError;

impl ServerBuilder {
    /// Takes connections from proxies only, each of which has to begin with a PROXY header, of version 1 or
    /// 2, that says for whom it is made. Default: nobody's headers are looked for.
    ///
    /// A connection from anybody who is not `trusted` is closed unread. One from a proxy is in `connect`,
    /// under the name of the proxy's address, until its header is there; then it is `open from` the
    /// client, which its contact shows as `:remote` and `:host`, and the proxy as `:proxied-by`. Where the
    /// header names nobody, the proxy's address stays. TLS begins behind the header.
    ///
    /// The header may come in any number of pieces, within
    /// [`Limits::handshake_within`](crate::Limits::handshake_within). One that is malformed, missing, late or
    /// longer than 107 bytes (version 1) or
    /// [`Limits::proxy_header_len_max`](crate::Limits::proxy_header_len_max) (version 2) ends the connection
    /// with [`Failure::ProxyHeader`](crate::Failure::ProxyHeader). The log hears of both,
    /// [`LogEntry::ProxyRefused`](crate::LogEntry::ProxyRefused), at most once in
    /// [`Limits::log_every`](crate::Limits::log_every). A checksum that is wrong makes a header malformed; what
    /// else it says is in [`Process::proxy_header`](crate::Process::proxy_header).
    ///
    /// For streams only, and with somebody who is trusted: `start` refuses others.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use netproc::{ProxyOut, ProxyVersion, Runtime};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("s").proxy_protocol("127.0.0.1".parse().unwrap())
    ///     .filter(|process, _| process.send(process.contact().remote().unwrap().to_string()))
    ///     .start()?;
    /// let out = ProxyOut::naming(
    ///     ProxyVersion::V2,
    ///     "[192 0 2 7 4711]".parse().unwrap(),
    ///     "[198 51 100 1 80]".parse().unwrap(),
    /// );
    /// let client = rt.client("c").remote(server.contact().local().clone()).proxy_header(out).start()?;
    /// client.send("who am I?")?;
    /// let answer = rt.next_event_of(&client, Duration::from_secs(5))?;
    /// assert!(matches!(answer, Some(netproc::Event::Input(it)) if it[..] == *b"[192 0 2 7 4711]"));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// "The PROXY protocol, versions 1 & 2", of HAProxy. Emacs has none.
    pub fn proxy_protocol(mut self, trusted: TrustedProxies) -> Self {
        self.common.trusted = Some(trusted);
        self
    }
}

impl ClientBuilder {
    /// Sends a PROXY header before anything else, TLS included, as soon as the connection stands. A
    /// [`ProxyVersion`](crate::ProxyVersion) alone names this connection's own ends; see [`ProxyOut`]. Default:
    /// none.
    ///
    /// For streams only; what cannot be written is [`StartError::ProxyHeader`]. Bytes of it that never
    /// reached the system count as unsent.
    ///
    /// # Source
    ///
    /// "The PROXY protocol, versions 1 & 2", of HAProxy. Emacs has none.
    pub fn proxy_header(mut self, header: impl Into<ProxyOut>) -> Self {
        self.common.header = Some(Box::new(header.into()));
        self
    }
}

impl Common {
    /// Refuses what would be ignored, and what would refuse everybody.
    pub(super) fn check_proxy(&self) -> Result<(), StartError> {
        let wanted = self.trusted.is_some() || self.header.is_some();
        if wanted && self.kind != Kind::Stream {
            return Err(StartError::Incompatible("only streams begin with a PROXY header"));
        }
        if self.trusted.as_ref().is_some_and(TrustedProxies::is_empty) {
            return Err(StartError::Incompatible("no proxy is trusted, so nobody could connect"));
        }
        self.header.as_ref().map_or(Ok(()), |header| Ok(header.check()?))
    }
}
