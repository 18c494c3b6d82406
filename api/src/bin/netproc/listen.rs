//! `netproc listen`: an echo on any number of endpoints, and of sockets it was started with, until a
//! signal. With `--stdio` the first who connects is joined with standard input and output instead, and its
//! end is that of the program, with the exit status of `netproc connect`.
//!
//! With `--coding` what comes is decoded and what goes back encoded again, so that a pair of systems
//! converts; bytes that are no characters come back as they are. With `--tls` or `--starttls` the echo
//! is inside TLS, and what cannot be put there is not served.

mod first;
mod signals;
mod starttls;

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::Args;
use netproc::{
    Backend, Coding, ExternalSocket, Input, Kind, Limits, LogEntry, Process, Role, Runtime,
    ServerBuilder, StartError, Status, TrustedProxies,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::{first::First, signals::Signals};
use crate::{
    Context, Outcome,
    endpoint::{self, Endpoint, socket_text},
    proxy, refuse, say, say_of,
    talk::{self, Terms},
    tls::{self, Service},
};

/// How much of standard input goes out at once: what is worth a read.
const CHUNK_LEN: usize = 64 * 1024;

/// How long a peer may take to read what was echoed after it has ended its own direction.
const FLUSH_WITHIN: Duration = Duration::from_secs(600);
/// How long all peers may take together when a signal ends it.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_help = "SIGINT, SIGTERM and, on Linux and unless it is ignored as under nohup, SIGHUP end it: it \
    takes leave of everybody, within a second, and with --stdio has another for its output.\n\n\
    Exit status: 0 a signal ended it, 1 it could not begin, 2 the arguments are wrong. With --stdio also 0 the \
    connection ended in order, 2 an error broke it, it was cut, bytes stayed unsent or characters were \
    replaced, whatever ended it then, 3 nothing moved for the time --wait gives."
)]
pub(crate) struct Arguments {
    /// Send back whatever comes. That is what it does in any case; it may be left out.
    #[arg(long)]
    echo: bool,
    /// auto, uring, epoll, kqueue or poll.
    #[arg(long, default_value = "auto", value_name = "B")]
    backend: Backend,
    /// Join standard input and output with the first who connects, and end with it. The addresses go to
    /// standard error then.
    #[arg(long, conflicts_with_all = ["echo", "starttls"])]
    stdio: bool,
    /// With --stdio, give up when nothing has moved for this many seconds, once somebody is there: nothing has
    /// come, and the system has taken nothing of what is to be sent. What it still holds for a slow peer does not
    /// count.
    #[arg(short, long, value_name = "SECONDS", value_parser = talk::seconds, requires = "stdio")]
    wait: Option<Duration>,
    /// With --stdio, send every line end as CR LF, also when --coding names another. One that is CR LF already stays so.
    #[arg(long, requires = "stdio")]
    crlf: bool,
    /// What peers speak, by Emacs's name: utf-8-dos, latin-1, "(utf-8 . sjis)" to read one and answer
    /// in the other. Without it bytes are bytes.
    #[arg(long, value_name = "NAME")]
    coding: Option<Coding>,
    /// Serve on the sockets this program was started with, as systemd does it (LISTEN_FDS); with NAME
    /// only on those of that name. Endpoints may be given as well.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true)]
    external: Option<Option<String>>,
    #[command(flatten)]
    tls: tls::Server,
    #[command(flatten)]
    proxy: proxy::Server,
    /// Say on standard error who connects, and how it ends: why, and how much stayed unsent.
    #[arg(short, long)]
    verbose: bool,
    /// HOST:PORT or tcp:HOST:PORT, [IPV6]:PORT, PORT (0 is any free one), udp:HOST:PORT, unix:PATH, unixgram:PATH,
    /// seqpacket:PATH or abstract:NAME. PORT alone is 127.0.0.1, localhost one address of the loopback; [::]:PORT is
    /// everybody, over IPv6 and IPv4, and 0.0.0.0:PORT everybody over IPv4.
    #[arg(required_unless_present = "external", value_name = "ENDPOINT")]
    endpoints: Vec<Endpoint>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let trusted = arguments.proxy.trusted(&arguments.endpoints);
    let service = arguments.tls.service(&arguments.endpoints)?;
    raise_descriptor_limit();
    let rt = Runtime::builder().backend(arguments.backend).build()?;
    say_fallback(&rt, arguments.backend);
    let mut limits = Limits::default();
    limits.flush_within = FLUSH_WITHIN;
    let first = if arguments.stdio { Some(arguments.first()?) } else { None };
    let kind = Serving {
        limits,
        coding: talk::coding(arguments.coding, arguments.crlf),
        service,
        trusted,
        verbose: arguments.verbose,
        first: first.clone(),
    };
    let mut files = Vec::new();
    let mut bound = Vec::new();
    if let Some(name) = &arguments.external {
        for server in external(&rt, name.as_deref(), &kind)? {
            bound.push(endpoint::written(&server));
        }
    }
    for endpoint in &arguments.endpoints {
        let server = endpoint.server(&rt, kind.name());
        let server = kind.start(server).map_err(|err| explain(endpoint, err))?;
        files.extend(endpoint.file().and_then(SocketFile::of));
        bound.push(endpoint.bound(&server));
    }
    // Behind the look-ups, which may take long and shall end at a signal; before any other thread of ours
    // exists, so that only the one that waits for them gets them, which the library's never do; and before
    // the first address is out, from which on somebody may rely on it.
    let signals = Signals::block()?;
    if arguments.stdio {
        bound.iter().for_each(|address| say(&format_args!("listening on {address}")));
    } else {
        let mut out = std::io::stdout().lock();
        for address in bound {
            writeln!(out, "{address}")?;
        }
        out.flush()?;
    }
    signals.await_one(rt.handle())?;
    rt.run()?;
    // A signal leaves nothing behind either.
    drop(files);
    let hurried = signals.let_go()?;
    let talk = first.and_then(|first| first.talk());
    if hurried {
        // Before what follows can be taken for its end.
        if let Some(talk) = &talk {
            talk.hurry();
        }
        take_leave(&rt, arguments.verbose);
    }
    Ok(talk.map_or(ExitCode::SUCCESS, |talk| talk.tell()))
}

impl Arguments {
    /// What waits for the first who connects, on endpoints where somebody can.
    fn first(&self) -> Result<Rc<First>, Context> {
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.is_datagram()) {
            refuse("listen", &format_args!("--stdio needs connections, {endpoint} is packets"));
        }
        First::new(Terms {
            chunk_len: CHUNK_LEN,
            coded: self.coding.is_some(),
            crlf: self.crlf,
            wait: self.wait,
            verbose: self.verbose,
        })
    }
}

/// Whoever left the choice open hears once why it is not io_uring.
fn say_fallback(rt: &Runtime, asked: Backend) {
    if asked == Backend::Auto && rt.backend().name() != "io_uring" {
        say(&format_args!("on {}: {}", rt.backend(), rt.backend().reason()));
    }
}

/// The endpoint at fault, and what to do about a file in the way: the system calls that an address
/// in use as well.
fn explain(endpoint: &Endpoint, err: netproc::Error) -> Context {
    let taken = matches!(
        &err,
        netproc::Error::Start(StartError::Sys { source, .. }) if source.kind() == ErrorKind::AddrInUse
    );
    let file = endpoint.file().filter(|path| taken && fs::symlink_metadata(path).is_ok());
    let what = file.map_or_else(
        || endpoint.to_string(),
        |path| format!("{endpoint}: the file {path} exists; remove it if no server uses it"),
    );
    Context::new(what, err)
}

/// A server on each socket that was handed over, or on each of that name; none at all is an error, since
/// whoever asks for them relies on them.
fn external(
    rt: &Runtime,
    name: Option<&str>,
    kind: &Serving,
) -> Result<Vec<Process>, Box<dyn std::error::Error>> {
    let mut sockets = netproc::external_sockets();
    sockets.retain(|socket| name.is_none_or(|name| socket.name == name));
    if sockets.is_empty() {
        let of_name = name.map(|name| format!(" of the name {name:?}")).unwrap_or_default();
        return Err(format!("this program was started without a socket{of_name}").into());
    }
    let serve = |socket: ExternalSocket| {
        if kind.first.is_some() && socket.kind == Kind::Datagram {
            return Err(format!("--stdio needs connections, {:?} is packets", socket.name).into());
        }
        // No start would refuse this: TLS comes into it with each client.
        if socket.kind != Kind::Stream && matches!(kind.service, Service::StartTls(..)) {
            let name = &socket.name;
            return Err(format!("TLS needs a stream, {name:?} is packets or records").into());
        }
        let server = rt.server(kind.name()).kind(socket.kind).external_socket(&socket.name);
        let what = || format!("the socket {:?} on {}", socket.name, socket_text(&socket.local));
        kind.start(server).map_err(|err| Context::new(what(), err).into())
    };
    sockets.into_iter().map(serve).collect()
}

/// What every server here does.
struct Serving {
    limits: Limits,
    coding: Option<Coding>,
    service: Service,
    /// The proxies that everybody has to come through.
    trusted: Option<TrustedProxies>,
    verbose: bool,
    /// What is done instead of echoing.
    first: Option<Rc<First>>,
}

impl Serving {
    /// What its servers are called, and with an address their connections.
    fn name(&self) -> &'static str {
        if self.first.is_some() { "listen" } else { "echo" }
    }

    fn start(&self, server: ServerBuilder) -> netproc::Result<Process> {
        let mut server = server.limits(self.limits).backlog(4096);
        // What is said before TLS is bytes: a decoder keeps some of them back.
        let is_dialogue = matches!(self.service, Service::StartTls(..));
        if let Some(coding) = self.coding.filter(|_| !is_dialogue) {
            server = server.coding(coding);
        }
        if let Some(trusted) = &self.trusted {
            server = server.proxy_protocol(trusted.clone());
        }
        let server = server.log(|server, _, entry| {
            // Whoever connects is told of when it is served.
            if !matches!(entry, LogEntry::Accepted { .. }) {
                say_of(server, entry);
            }
        });
        let (verbose, first) = (self.verbose, self.first.clone());
        // Without a sentinel the end of a connection would be kept for whoever pulls events.
        let server = server.sentinel(move |process, event| {
            if verbose {
                talk::say_event(process, event);
            }
            if let Some(first) = &first {
                first.hear(process, event);
            }
        });
        let server = if self.first.is_none() { server.filter(echo) } else { server };
        let server = match self.service.clone() {
            Service::Clear => server,
            Service::Tls(tls) => server.tls(tls),
            Service::StartTls(protocol, tls) => {
                let coding = self.coding;
                server.on_accept(move |_, client| {
                    starttls::begin(client, protocol, tls.clone(), coding, verbose)
                })
            }
        };
        Ok(server.start()?)
    }
}

/// Ends every connection in order: what it has been sent goes out, behind TLS with the notice that nothing follows.
fn take_leave(rt: &Runtime, verbose: bool) {
    let deadline = Instant::now() + LEAVE_WITHIN;
    let (servers, mut clients): (Vec<_>, Vec<_>) =
        rt.process_list().into_iter().partition(|process| process.contact().role() == Role::Server);
    servers.iter().for_each(Process::delete);
    // Whoever is still in its handshake has been sent nothing; refused where the end has been told already.
    clients.retain(|client| client.status() == Status::Open && client.send_eof().is_ok());
    for client in &clients {
        // Whoever is gone or takes no more is left behind.
        let _ = client.flush(deadline.saturating_duration_since(Instant::now()));
        if verbose {
            let unsent = client.queued();
            say_of(client, &format_args!("ended by a signal, {unsent} bytes stayed unsent"));
        }
    }
}

/// A reply that cannot go out is the peer's loss: it is gone, or a packet has no way back.
fn echo(process: &Process, input: Input) {
    if let Some(text) = input.text() {
        let _ = process.send_text(text);
    } else {
        let _ = process.send(input);
    }
}

/// A server for everybody should not stop at the 1,024 descriptors a shell allows at first.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If the system refuses, the limit stays as it was, and accepting pauses there.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The file of a local socket, removed when the program ends if it still is that very file.
struct SocketFile {
    path: String,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &str) -> Option<Self> {
        let file = fs::symlink_metadata(path).ok()?;
        let path = path.to_string();
        file.file_type().is_socket().then(|| Self { path, device: file.dev(), inode: file.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        if ours {
            // Somebody else may have been faster; there is nothing left to do about it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
