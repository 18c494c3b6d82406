//! Endpoints as written on a command line: `HOST:PORT`, `[::1]:PORT`, `PORT`, `unix:PATH`,
//! `udp:HOST:PORT`.

use std::{fmt, str::FromStr};

use netproc::{Address, Family, Process, Runtime, ServerBuilder};

/// The three forms, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Udp { host: String, port: u16 },
    Unix(String),
}

impl Endpoint {
    /// Begins a server named `name` on this endpoint.
    pub(crate) fn server(&self, rt: &Runtime, name: &str) -> ServerBuilder {
        let server = rt.server(name);
        match self {
            Self::Tcp { host, port } => server.host(host.as_str()).service(*port),
            Self::Udp { host, port } => server.host(host.as_str()).service(*port).datagram(),
            Self::Unix(path) => server.family(Family::Local).service(path.as_str()),
        }
    }

    /// Where `process`, started on this endpoint, is bound: again in the form of an endpoint.
    pub(crate) fn bound(&self, process: &Process) -> String {
        let contact = process.contact();
        match (self, contact.local()) {
            (Self::Unix(path), _) => format!("unix:{path}"),
            (Self::Udp { .. }, local) => format!("udp:{}", socket_text(local)),
            (Self::Tcp { .. }, local) => socket_text(local),
        }
    }
}

/// `127.0.0.1:80` or `[::1]:80`, the way other programs take it.
fn socket_text(address: &Address) -> String {
    address.socket_addr().map_or_else(|| address.to_string(), |address| address.to_string())
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("unix: needs a path".into())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (udp, rest) = match text.strip_prefix("udp:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = split(rest)?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port from 0 to 65535"))?;
        let host = host.to_string();
        Ok(if udp { Self::Udp { host, port } } else { Self::Tcp { host, port } })
    }
}

/// Host and port of `HOST:PORT`, `[IPV6]:PORT` or `PORT`.
fn split(text: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once("]:").ok_or_else(|| format!("{text:?}: [IPV6]:PORT expected"));
    }
    match text.rsplit_once(':') {
        None => Ok(("local", text)),
        Some((host, _)) if host.contains(':') => {
            Err(format!("{text:?}: write an IPv6 address in brackets, [::1]:PORT"))
        }
        Some(("", _)) => Err(format!("{text:?}: the host is missing")),
        Some(split) => Ok(split),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_port = |host: &str, port: &u16| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        match self {
            Self::Tcp { host, port } => f.write_str(&host_port(host, port)),
            Self::Udp { host, port } => write!(f, "udp:{}", host_port(host, port)),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_every_other_refused() {
        let tcp = |host: &str, port| Ok(Endpoint::Tcp { host: host.into(), port });
        let cases = [
            ("127.0.0.1:80", tcp("127.0.0.1", 80)),
            ("localhost:0", tcp("localhost", 0)),
            ("[::1]:7", tcp("::1", 7)),
            ("8080", tcp("local", 8080)),
            ("udp:127.0.0.1:9", Ok(Endpoint::Udp { host: "127.0.0.1".into(), port: 9 })),
            ("udp:[::1]:9", Ok(Endpoint::Udp { host: "::1".into(), port: 9 })),
            ("unix:/run/x:y", Ok(Endpoint::Unix("/run/x:y".into()))),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in [
            "",
            "unix:",
            "::1:7",
            ":80",
            "host:",
            "host:65536",
            "host:-1",
            "[::1]",
            "[::1]7",
            "x:80y",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
