//! Endpoints as written on a command line: `HOST:PORT`, `[::1]:PORT`, `PORT`, `tcp:…`, `udp:…`,
//! `unix:PATH`, `unixgram:PATH`, `seqpacket:PATH`, `abstract:NAME`. A port behind a host may be the name of a
//! service, which is looked up when a process is started.

use std::{fmt, str::FromStr};

use netproc::{
    Address, ClientBuilder, Family, Kind, Process, Runtime, ServerBuilder, Service,
    stream::StreamBuilder,
};

/// What an endpoint comes to: a kind of socket, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    place: Place,
}

/// The word before the first colon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Tcp,
    Udp,
    Unix,
    UnixGram,
    SeqPacket,
    Abstract,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Host(String, Service),
    Path(String),
}

/// The host of an endpoint that names none, as Emacs calls it.
const LOCAL: &str = "local";

/// Every word with what it means; the first is what stands for itself.
const SCHEMES: [(&str, Scheme); 6] = [
    ("tcp", Scheme::Tcp),
    ("udp", Scheme::Udp),
    ("unix", Scheme::Unix),
    ("unixgram", Scheme::UnixGram),
    ("seqpacket", Scheme::SeqPacket),
    ("abstract", Scheme::Abstract),
];

impl Endpoint {
    const fn kind(&self) -> Kind {
        match self.scheme {
            Scheme::Tcp | Scheme::Unix | Scheme::Abstract => Kind::Stream,
            Scheme::Udp | Scheme::UnixGram => Kind::Datagram,
            Scheme::SeqPacket => Kind::SeqPacket,
        }
    }

    /// Whether it is packets without a connection, which has no end to wait for.
    pub(crate) fn is_datagram(&self) -> bool {
        self.kind() == Kind::Datagram
    }

    /// Whether it is a stream of bytes.
    pub(crate) fn is_stream(&self) -> bool {
        self.kind() == Kind::Stream
    }

    /// The host by the name its certificate would have; a local socket has none.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Host(host, _) if host == LOCAL => Some("localhost"),
            Place::Host(host, _) => Some(host),
            Place::Path(_) => None,
        }
    }

    /// Begins a stream named `name` to this endpoint, which has a host and a port.
    pub(crate) fn stream(&self, rt: &Runtime, name: &str) -> Option<StreamBuilder> {
        match &self.place {
            Place::Host(host, port) => Some(rt.open_stream(name, host, port.clone())),
            Place::Path(_) => None,
        }
    }

    /// How many bytes a client sends at once: on a stream what is worth a read, else one packet. One
    /// of UDP holds 65,507 bytes at most, and what is far smaller is less likely lost.
    pub(crate) const fn chunk_len(&self) -> usize {
        match self.kind() {
            Kind::Stream | Kind::SeqPacket => 64 * 1024,
            Kind::Datagram => 8 * 1024,
        }
    }

    /// The path of a local socket, as the service of a builder takes it.
    fn service(&self, path: &str) -> String {
        if self.scheme == Scheme::Abstract { format!("\0{path}") } else { path.into() }
    }

    /// The file a server on this endpoint makes.
    pub(crate) fn file(&self) -> Option<&str> {
        match &self.place {
            Place::Path(path) if self.scheme != Scheme::Abstract => Some(path),
            Place::Path(_) | Place::Host(..) => None,
        }
    }

    /// Begins a server named `name` on this endpoint.
    pub(crate) fn server(&self, rt: &Runtime, name: &str) -> ServerBuilder {
        let server = rt.server(name).kind(self.kind());
        match &self.place {
            Place::Host(host, port) => {
                let server = server.host(host.as_str()).service(port.clone());
                // Nobody's packets are to be taken from him in silence.
                if self.is_datagram() { server.reuseaddr(false) } else { server }
            }
            Place::Path(path) => {
                let server = server.family(Family::Local).service(self.service(path));
                // As one that was killed has left it.
                server.replace_stale(self.file().is_some())
            }
        }
    }

    /// Begins a client named `name` of this endpoint.
    pub(crate) fn client(&self, rt: &Runtime, name: &str) -> ClientBuilder {
        let client = rt.client(name).kind(self.kind());
        match &self.place {
            Place::Host(host, port) => client.host(host.as_str()).service(port.clone()),
            Place::Path(path) => client.family(Family::Local).service(self.service(path)),
        }
    }

    /// Where `process`, started on this endpoint, is bound: again in the form of an endpoint.
    pub(crate) fn bound(&self, process: &Process) -> String {
        match (&self.place, self.scheme) {
            (Place::Path(_), _) => self.to_string(),
            (Place::Host(..), Scheme::Udp) => {
                format!("udp:{}", socket_text(process.contact().local()))
            }
            (Place::Host(..), _) => socket_text(process.contact().local()),
        }
    }
}

/// Where a server on a socket from elsewhere is bound, in the form of an endpoint.
pub(crate) fn written(server: &Process) -> String {
    let (kind, contact) = (server.kind(), server.contact());
    let named = |scheme: Scheme, path: &[u8]| {
        let place = Place::Path(String::from_utf8_lossy(path).into_owned());
        Endpoint { scheme, place }.to_string()
    };
    match (contact.local(), kind) {
        (Address::Local(path), Kind::Stream) => named(Scheme::Unix, path),
        (Address::Local(path), Kind::Datagram) => named(Scheme::UnixGram, path),
        (Address::Local(path), Kind::SeqPacket) => named(Scheme::SeqPacket, path),
        (Address::Abstract(name), Kind::Stream) => named(Scheme::Abstract, name),
        (local, Kind::Datagram) => format!("udp:{}", socket_text(local)),
        (local, Kind::Stream | Kind::SeqPacket) => socket_text(local),
    }
}

/// `127.0.0.1:80` or `[::1]:80`, the way other programs take it; of a local socket its path or its name.
pub(crate) fn socket_text(address: &Address) -> String {
    if let Address::Local(path) = address
        && !path.is_empty()
    {
        path.escape_ascii().to_string()
    } else if let Address::Abstract(name) = address {
        format!("abstract:{}", name.escape_ascii())
    } else {
        address.socket_addr().map_or_else(|| address.to_string(), |address| address.to_string())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once(':').and_then(|(word, rest)| {
            let known = SCHEMES.iter().find(|(name, _)| *name == word)?;
            Some((known.1, rest))
        });
        let (scheme, rest) = named.unwrap_or((Scheme::Tcp, text));
        let place = match scheme {
            Scheme::Tcp | Scheme::Udp => {
                let (host, port) = split(rest).map_err(|wrong| format!("{text:?}: {wrong}"))?;
                Place::Host(host.into(), service(port).ok_or_else(|| no_port(text))?)
            }
            _ if rest.is_empty() => return Err(format!("{text:?} needs a path")),
            Scheme::Unix | Scheme::UnixGram | Scheme::SeqPacket | Scheme::Abstract => {
                Place::Path(rest.into())
            }
        };
        Ok(Self { scheme, place })
    }
}

/// A port, or the name of a service: those of the system begin with a letter, but for a few that are left to
/// their number, so that a slip in a port is noticed here.
fn service(text: &str) -> Option<Service> {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.+".contains(letter));
    // A sign is a slip, too, though the number behind it would do.
    let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
    let port = || text.parse().ok().filter(|_| is_number).map(Service::Port);
    if is_name { Some(text.into()) } else { port() }
}

fn no_port(text: &str) -> String {
    format!("{text:?}: a port from 0 to 65535 expected, or the name of a service behind a host")
}

/// Host and port of `HOST:PORT`, `[IPV6]:PORT` or `PORT`.
fn split(text: &str) -> Result<(&str, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once("]:").ok_or("[IPV6]:PORT expected");
    }
    match text.rsplit_once(':') {
        None if text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
            && !text.contains(['.', '/']) =>
        {
            Ok((LOCAL, text))
        }
        // As of those who are used to HOST PORT, or to options that take the next argument.
        None => Err(
            "HOST:PORT expected, as one argument; the word of an option goes behind =, OPTION=WORD",
        ),
        Some((host, _)) if host.contains(':') => {
            Err("write an IPv6 address in brackets, [::1]:PORT")
        }
        Some(("", _)) => Err("the host is missing"),
        // The system's resolver takes it for this machine alone.
        Some(("*", _)) => Err("write 0.0.0.0:PORT or [::]:PORT for every address"),
        Some(split) => Ok(split),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            SCHEMES.iter().find(|(_, scheme)| *scheme == self.scheme).map_or("", |(word, _)| word);
        match &self.place {
            Place::Path(path) => write!(f, "{word}:{path}"),
            Place::Host(host, port) => {
                let word =
                    if self.scheme == Scheme::Tcp { String::new() } else { format!("{word}:") };
                let brackets = if host.contains(':') { ["[", "]"] } else { ["", ""] };
                write!(f, "{word}{}{host}{}:{port}", brackets[0], brackets[1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        let host = |host: &str, port| Place::Host(host.into(), Service::Port(port));
        let named = |host: &str, name: &str| Place::Host(host.into(), name.into());
        let path = |path: &str| Place::Path(path.into());
        let cases = [
            ("127.0.0.1:80", Scheme::Tcp, host("127.0.0.1", 80), "127.0.0.1:80"),
            ("tcp:localhost:0", Scheme::Tcp, host("localhost", 0), "localhost:0"),
            ("localhost:http", Scheme::Tcp, named("localhost", "http"), "localhost:http"),
            ("udp:[::1]:domain", Scheme::Udp, named("::1", "domain"), "udp:[::1]:domain"),
            ("[::1]:7", Scheme::Tcp, host("::1", 7), "[::1]:7"),
            ("8080", Scheme::Tcp, host("local", 8080), "local:8080"),
            ("udp:127.0.0.1:9", Scheme::Udp, host("127.0.0.1", 9), "udp:127.0.0.1:9"),
            ("udp:[::1]:9", Scheme::Udp, host("::1", 9), "udp:[::1]:9"),
            ("udp:9", Scheme::Udp, host("local", 9), "udp:local:9"),
            ("unix:/run/x:y", Scheme::Unix, path("/run/x:y"), "unix:/run/x:y"),
            ("unixgram:g", Scheme::UnixGram, path("g"), "unixgram:g"),
            ("seqpacket:/s", Scheme::SeqPacket, path("/s"), "seqpacket:/s"),
            ("abstract:name", Scheme::Abstract, path("name"), "abstract:name"),
        ];
        for (text, scheme, place, written) in cases {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint, Endpoint { scheme, place }, "{text}");
            assert_eq!(endpoint.to_string(), written);
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let (one, port, brackets) = ("HOST:PORT expected", "a port from 0 to 65535", "brackets");
        let cases = [
            ("", one),
            ("localhost", one),
            ("127.0.0.1", one),
            ("10.0.0.0/8", one),
            ("udp:", one),
            ("tcp:x", one),
            ("host:", port),
            ("host:65536", port),
            ("65536", port),
            ("-1", port),
            ("host:-1", port),
            ("host:+80", port),
            ("x:80y", port),
            ("x:a b", port),
            ("unix:", "needs a path"),
            ("abstract:", "needs a path"),
            ("::1:7", brackets),
            (":80", "the host is missing"),
            ("[::1]", "[IPV6]:PORT expected"),
            ("[::1]7", "[IPV6]:PORT expected"),
            ("*:80", "for every address"),
            ("udp:*:9", "for every address"),
        ];
        for (text, words) in cases {
            let problem = text.parse::<Endpoint>().unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
