//! From the arguments to a connection that may be spoken on: in clear, under TLS, or after a dialogue.
//!
//! Invariant: what was asked to be encrypted is so, to a server that has proved its name, or there is no
//! connection; nothing of standard input was sent by then.

use std::{fs::File, rc::Rc, time::Duration};

use netproc::{
    Address, Process, ProxyVersion, Runtime, StartError, TlsClient,
    stream::{DialogueReason, OpenStreamError, Opened, Protocol, StreamType},
};

use super::Arguments;
use crate::{
    Context,
    endpoint::{Endpoint, socket_text},
    say,
    talk::Talk,
    tls::{Speech, agreed},
};

/// How long a dialogue may take as a whole, unless `--wait` is longer.
const DIALOGUE_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no connection.
pub(super) enum NotOpened {
    /// The time that `--wait` gives was over.
    Late(Box<dyn std::error::Error>),
    /// Anything else.
    Failed(Box<dyn std::error::Error>),
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for NotOpened {
    fn from(err: E) -> Self {
        Self::Failed(err.into())
    }
}

/// Opens the connection; what comes on it goes to `output`, once the runtime runs.
pub(super) fn open(
    rt: &Runtime,
    arguments: &Arguments,
    output: File,
    talk: &Rc<Talk>,
) -> Result<Process, NotOpened> {
    let speech = arguments.tls.speech(&arguments.endpoint)?;
    let header = arguments.proxy.version(&arguments.endpoint);
    let process = match speech {
        Speech::Clear => start(rt, arguments, header, None)?,
        Speech::Tls(tls) => start(rt, arguments, header, Some(tls))?,
        Speech::StartTls(protocol, tls) => {
            let opened = dialogue(rt, arguments, header, protocol, tls)?;
            if arguments.verbose {
                say_told(&arguments.endpoint, "greeting", opened.greeting.as_deref());
                say_told(&arguments.endpoint, "capabilities", opened.capabilities.as_deref());
            }
            talk.hear_early(&opened, &output);
            opened.process
        }
    };
    if arguments.verbose {
        say_connected(&arguments.endpoint, &process);
    }
    talk.listen(&process, output)?;
    Ok(process)
}

fn start(
    rt: &Runtime,
    arguments: &Arguments,
    header: Option<ProxyVersion>,
    tls: Option<TlsClient>,
) -> Result<Process, NotOpened> {
    let mut client = arguments.endpoint.client(rt, "connect");
    if let Some(tls) = tls {
        client = client.tls(tls);
    }
    if let Some(header) = header {
        client = client.proxy_header(header);
    }
    if let Some(coding) = arguments.coding() {
        client = client.coding(coding);
    }
    if arguments.endpoint.is_datagram() && arguments.endpoint.file().is_some() {
        client = client.local(reply_address()?);
    }
    if let Some(wait) = arguments.wait {
        client = client.within(wait);
    }
    match client.start() {
        Ok(process) => Ok(process),
        Err(err @ (StartError::TimedOut { .. } | StartError::LookupTimedOut { .. }))
            if arguments.wait.is_some() =>
        {
            Err(NotOpened::Late(err.into()))
        }
        Err(err) => Err(err.into()),
    }
}

/// Says who is at the other end, and what was agreed upon with them.
fn say_connected(endpoint: &Endpoint, process: &Process) {
    let peer = process.contact().remote().map_or_else(|| endpoint.to_string(), socket_text);
    let agreed = process.tls_info().map(|info| format!(", {}", agreed(&info))).unwrap_or_default();
    say(&format_args!("{endpoint}: connected to {peer}{agreed}"));
}

/// Says what a server has told, on one line.
fn say_told(endpoint: &Endpoint, what: &str, told: Option<&[u8]>) {
    if let Some(told) = told {
        say(&format_args!("{endpoint}: {what} {}", told.trim_ascii_end().escape_ascii()));
    }
}

/// Holds the dialogue of `protocol`.
fn dialogue(
    rt: &Runtime,
    arguments: &Arguments,
    header: Option<ProxyVersion>,
    protocol: Protocol,
    tls: TlsClient,
) -> Result<Opened, NotOpened> {
    let endpoint = &arguments.endpoint;
    let params = protocol.params(StreamType::StartTls, arguments.tls.name(endpoint));
    let stream = endpoint.stream(rt, "connect").ok_or("--starttls needs a host")?;
    let mut stream = stream.dialogue(params).layers(tls).within(DIALOGUE_WITHIN);
    if let Some(header) = header {
        stream = stream.proxy_header(header);
    }
    if let Some(coding) = arguments.coding() {
        stream = stream.coding(coding);
    }
    if let Some(wait) = arguments.wait {
        stream = stream.within(wait.max(DIALOGUE_WITHIN)).step_within(wait);
    }
    let err = match stream.start() {
        Ok(opened) => return Ok(opened),
        Err(err) => err,
    };
    let too_late = |reason: &DialogueReason| matches!(reason, DialogueReason::TimedOut(_));
    let is_late = matches!(
        &err,
        OpenStreamError::Start(StartError::TimedOut { .. } | StartError::LookupTimedOut { .. })
    ) || matches!(&err, OpenStreamError::Dialogue(failure) if too_late(&failure.reason));
    let what = Context::new(endpoint.to_string(), err);
    let late = is_late && arguments.wait.is_some();
    Err(if late { NotOpened::Late(what.into()) } else { what.into() })
}

/// A name for this end of a local packet socket: without one the peer could not answer.
fn reply_address() -> netproc::Result<Address> {
    let name = format!("netproc-connect-{}", std::process::id());
    let path = if cfg!(target_os = "linux") {
        format!("\0{name}")
    } else {
        std::env::temp_dir().join(name).to_string_lossy().into_owned()
    };
    Ok(Address::local(path).map_err(StartError::from)?)
}
