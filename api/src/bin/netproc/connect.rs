//! `netproc connect`: standard input to the peer, what the peer says to standard output.
//!
//! Exit status: 0 when the connection ended in order, 1 when there was none to begin with, 2 when an
//! error broke it or bytes stayed unsent, 3 when nothing moved for the time `--wait` gives.

mod input;

use std::{
    cell::Cell,
    io::Write as _,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::Args;
use netproc::{Address, Backend, Event, Process, Reason, Runtime};

use crate::{Outcome, endpoint::Endpoint};

/// The peer ended in order.
const IN_ORDER: u8 = 0;
/// An error ended it, or not everything went out.
const BROKEN: u8 = 2;
/// Nothing moved for too long.
const LATE: u8 = 3;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// auto, uring, epoll, kqueue or poll.
    #[arg(long, default_value = "auto", value_name = "B")]
    backend: Backend,
    /// Give up when nothing has moved for this many seconds, connecting included.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Send every line end as CR LF.
    #[arg(long)]
    crlf: bool,
    /// HOST:PORT, [IPV6]:PORT, PORT, udp:HOST:PORT, unix:PATH, unixgram:PATH, seqpacket:PATH or
    /// abstract:NAME.
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds expected".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|err| err.to_string())
}

/// What the callbacks tell the main loop.
struct Talk {
    /// How it ended, once it has.
    ended: Cell<Option<u8>>,
    moved: Cell<Instant>,
}

impl Talk {
    fn end(&self, process: &Process, status: u8) {
        self.ended.set(Some(status));
        process.runtime().shutdown();
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let rt = Runtime::builder().backend(arguments.backend).build()?;
    let talk = Rc::new(Talk { ended: Cell::new(None), moved: Cell::new(Instant::now()) });
    let process = start(&rt, arguments, &talk)?;
    if let Some(wait) = arguments.wait {
        watch(&rt, process.clone(), Rc::clone(&talk), wait);
    }
    let pump = input::Pump::start(&process, arguments.crlf)?;
    talk.moved.set(Instant::now());
    let sentinel_talk = Rc::clone(&talk);
    process.set_sentinel(move |process, event| {
        sentinel_talk.moved.set(Instant::now());
        if let Event::Drained = event {
            pump.more();
        } else if let Event::Broken { reason, unsent } = event {
            let in_order = *reason == Reason::End && *unsent == 0;
            sentinel_talk.end(process, if in_order { IN_ORDER } else { BROKEN });
        }
    });
    process.notify_drained();
    rt.run()?;
    Ok(ExitCode::from(talk.ended.get().unwrap_or(IN_ORDER)))
}

fn start(rt: &Runtime, arguments: &Arguments, talk: &Rc<Talk>) -> netproc::Result<Process> {
    let talk = Rc::clone(talk);
    let mut client = arguments.endpoint.client(rt, "connect").filter(move |process, input| {
        talk.moved.set(Instant::now());
        let mut out = std::io::stdout().lock();
        if out.write_all(&input).and_then(|()| out.flush()).is_err() {
            // Whoever read our output is gone: nobody is left to talk for.
            talk.end(process, IN_ORDER);
        }
    });
    if arguments.endpoint.is_datagram() && arguments.endpoint.file().is_some() {
        client = client.local(reply_address()?);
    }
    if let Some(wait) = arguments.wait {
        client = client.within(wait);
    }
    Ok(client.start()?)
}

/// A name for this end of a local packet socket: without one the peer could not answer.
fn reply_address() -> netproc::Result<Address> {
    let name = format!("netproc-connect-{}", std::process::id());
    let path = if cfg!(target_os = "linux") {
        format!("\0{name}")
    } else {
        std::env::temp_dir().join(name).to_string_lossy().into_owned()
    };
    Ok(Address::local(path).map_err(netproc::StartError::from)?)
}

/// Ends the talk when nothing has moved for `wait`.
fn watch(rt: &Runtime, process: Process, talk: Rc<Talk>, wait: Duration) {
    let left = wait.saturating_sub(talk.moved.get().elapsed());
    rt.run_after(left, move |rt| {
        if talk.moved.get().elapsed() >= wait {
            talk.end(&process, LATE);
        } else {
            watch(rt, process, talk, wait);
        }
    });
}
