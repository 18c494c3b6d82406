//! Network processes as Emacs has them, for Rust: a connection or a server is a *process* with a
//! status, a contact, a filter that gets its input and a sentinel that gets its events.
//!
//! Underneath is one engine over a reactor: io_uring where it really works, epoll, kqueue or
//! poll(2) everywhere else. [`Runtime::new`] picks, and says why.
//!
//! ```no_run
//! use netproc::{Runtime, Service};
//!
//! fn main() -> netproc::Result<()> {
//!     let rt = Runtime::new()?;
//!     let echo = rt.server("echo").host("127.0.0.1").service(Service::Any)
//!         .filter(|process, input| process.send(input))
//!         .start()?;
//!     println!("{} on {}: {}", echo.name(), rt.backend(), echo.contact().local());
//!     rt.run()
//! }
//! ```
//!
//! The filter forwards the very memory the kernel wrote into: nothing is copied, nothing allocated, as long as
//! the peer reads.
//!
//! A client that talks to it, driven without callbacks:
//!
//! ```
//! use std::time::Duration;
//! use netproc::{Event, Runtime, Service};
//!
//! # fn main() -> netproc::Result<()> {
//! let rt = Runtime::new()?;
//! let echo = rt.server("echo").filter(|process, input| process.send(input)).start()?;
//! let client = rt.client("client").remote(echo.contact().local().clone()).start()?;
//! client.send("hello")?;
//! loop {
//!     match rt.next_event(Duration::from_secs(5))? {
//!         Some((process, Event::Input(input))) if process == client => {
//!             assert_eq!(&input[..], b"hello");
//!             break;
//!         }
//!         Some(_) => {}
//!         None => panic!("no answer within 5 seconds"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! * Callbacks run only while one of the waiting methods does ([`Runtime::run`], [`Runtime::turn`],
//!   [`Runtime::next_event`], [`Runtime::next_event_of`], [`Runtime::accept_output`], a `start` that waits,
//!   or looks up a name, [`Process::send_wait`], [`Process::flush`]), and in what deletes ([`Process::delete`],
//!   [`Process::delete_with`], [`Runtime::kill_buffer`]), which tells sentinels before it returns.
//!   [`Process::send`] runs none.
//! * Status and contact are as of the last event delivered.
//! * A callback may do anything: send, stop or delete any process, replace its own filter, wait.
//! * A callback is given its process, and the runtime by [`Process::runtime`]. A closure that keeps
//!   either keeps it alive until its process has ended: then callbacks are dropped.
//! * A runtime does not survive `fork(2)`. With io_uring its methods fail in the child; the readiness backends notice
//!   nothing, and the child takes the parent's input. A forked child may only `exec` or `_exit`, as that of
//!   [`std::process::Command`] and of [`Runtime::spawn_process`] does.
//!
//! # Features
//!
//! * `uring`, on by default: the io_uring backend; without it, and on every system but Linux, the readiness
//!   backend serves.
//! * `starttls`: dialogues that open a stream, as `open-network-stream` does.
//! * `tls-ring` or `tls-aws-lc`: TLS, by rustls; with `native-roots` a client trusts what the system trusts, with
//!   `webpki-roots` Mozilla's list.
//! * `sim`: runtimes over a simulated reactor, in memory, on a virtual clock.
//! * `cli`: the program `netproc`.

mod activation;
mod backend;
mod builder;
mod child;
mod companions;
pub mod emacs;
mod error;
mod handle;
mod handlers;
mod interfaces;
mod lookup;
mod open;
mod output;
mod process;
mod resolve;
mod runtime;
mod shards;
#[cfg(feature = "starttls")]
pub mod stream;
mod thread;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod tls;

#[cfg(feature = "sim")]
pub use netproc_core::sim;
pub use netproc_core::{
    address::{Address, AddressError, Family, NetworkText},
    child::{ChildExit, ChildSignal, ChildSignalError, ProcessType},
    coding::{
        Char, Coding, CodingError, CodingSystem, Decoder, EncodeError, EncodeReport, Encoder,
        LineEnd, Text, TextRef,
    },
    contact::{Contact, Role},
    engine::{
        CredentialsError, DatagramAddressError, FinishError, SendError, SendTextError, UpgradeError,
    },
    event::{Event, Failure, Input, LogEntry, Packet, ProxyRefusal, Reason},
    layer::{Layer, Layers},
    machine::Status,
    options::{OptionError, SockOption},
    output::{Buffer, BufferError, Buffers, Marker},
    plist::{Plist, PlistError, Value},
    pool::Buf,
    process::{Crowded, Exit, Limits},
    proxy::{
        self, IpPrefix, IpPrefixError, ProxyHeader, ProxyHeaderError, ProxyOrigin, ProxyOut,
        ProxyOutError, ProxyVersion, TrustedProxies, TrustedProxiesError,
    },
    reactor::{CloseHow, Config, ConfigError, Counters, Credentials, Kind, Op, Payload, SysError},
    shared_error::SharedError,
    socket::AdoptError,
    table::ProcessId,
    value::{Object, ReadError},
};
pub use netproc_poll::Mechanism;

pub use crate::{
    activation::{ExternalSocket, external_sockets},
    backend::{Backend, BackendError, Choice, ParseBackendError},
    builder::{ClientBuilder, ConnectionType, ServerBuilder, Service, SpawnBuilder, Stderr},
    child::SignalError,
    companions::{ProcessTable, SetOptionError},
    error::{
        Error, HostProblem, ResolverError, ResolverErrorKind, Result, SendWaitError,
        ServiceProblem, SpawnError, StartError, TlsParametersError,
    },
    handle::{Gone, Handle, PostedSendError},
    handlers::{CallbackError, CallbackKind, Outcome, Packets},
    interfaces::{
        HardwareAddress, Interface, InterfaceError, InterfaceFlag, InterfaceInfo,
        network_interface_info, network_interface_list,
    },
    lookup::{LookupError, network_lookup_address_info},
    process::{FilterError, Process},
    runtime::{Runtime, RuntimeBuilder, Timer},
    shards::{Shards, ShardsBuilder, ShardsError},
};

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub use crate::tls::{
    CertificateProblem, HandshakeFailure, ServerNameProblem, TlsAlert, TlsClient, TlsClientBuilder,
    TlsError, TlsFileProblem, TlsIdentity, TlsInfo, TlsServer, TlsServerBuilder, TlsTrust,
    TlsVerification, TlsVersion,
};

/// The README's code is tested as far as it needs nobody else and no files.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
struct Readme;
