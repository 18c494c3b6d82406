//! `netproc connect`: standard input to the peer, what the peer says to standard output.
//!
//! With `--coding` both are UTF-8 on this side, and the coding system's on the other; bytes that are
//! no characters there go through as they are, both ways. `--crlf` sends CR LF whatever line end the
//! coding names; what comes is always read by the coding's own.
//!
//! With `--tls` or `--starttls` nothing of standard input is sent before TLS stands and the server has
//! proved its name.
//!
//! Exit status: 0 when the connection ended in order, 1 when there was none to begin with, 2 when an
//! error broke it, it was cut, or bytes stayed unsent, 3 when nothing moved for the time `--wait` gives. Whatever
//! is not 0 is explained in a line on standard error.

mod input;
mod open;
mod stdio;

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fs::File,
    io::ErrorKind,
    process::ExitCode,
    rc::Rc,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use clap::Args;
use netproc::{Backend, Coding, Event, Input, LineEnd, Process, Reason, Runtime, SysError, Text};

use self::open::NotOpened;
use crate::{Context, Outcome, complain, endpoint::Endpoint, proxy, say, tls};

/// How a talk ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer ended it, or nobody reads our output any more.
    InOrder,
    /// An error ended it, or not everything went out.
    Broken(String),
    /// Nothing moved for this long.
    Late(Duration),
}

impl End {
    /// The exit status, with the reason said.
    fn tell(&self, endpoint: &Endpoint) -> ExitCode {
        match self {
            Self::InOrder => ExitCode::SUCCESS,
            Self::Broken(problem) => {
                say(&format_args!("{endpoint}: {problem}"));
                ExitCode::from(2)
            }
            Self::Late(wait) => {
                say(&format_args!("{endpoint}: nothing moved for {} s", wait.as_secs_f64()));
                ExitCode::from(LATE)
            }
        }
    }
}

/// Nothing moved for too long.
const LATE: u8 = 3;

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 the connection ended in order, 1 there was none, \
    2 an error broke it, it was cut, or bytes stayed unsent, 3 nothing moved for the time --wait gives.")]
pub(crate) struct Arguments {
    /// auto, uring, epoll, kqueue or poll.
    #[arg(long, default_value = "auto", value_name = "B")]
    backend: Backend,
    /// Give up when nothing has moved for this many seconds, connecting included.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Send every line end as CR LF, also when --coding names another.
    #[arg(long)]
    crlf: bool,
    /// What the peer speaks, by Emacs's name: utf-8-dos, latin-1, "(utf-8 . sjis)" to read one and
    /// send the other. Standard input and output are then UTF-8 text. Without it bytes are bytes.
    #[arg(long, value_name = "NAME")]
    coding: Option<Coding>,
    #[command(flatten)]
    tls: tls::Client,
    #[command(flatten)]
    proxy: proxy::Client,
    /// HOST:PORT, [IPV6]:PORT, PORT, udp:HOST:PORT, unix:PATH, unixgram:PATH, seqpacket:PATH or
    /// abstract:NAME.
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,
}

impl Arguments {
    /// The coding asked for, with the line end that goes out.
    fn coding(&self) -> Option<Coding> {
        let mut coding = self.coding?;
        if self.crlf {
            coding.encode = Some(coding.encoder().system().with_line_end(LineEnd::Dos));
        }
        Some(coding)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds expected".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|err| err.to_string())
}

/// What the callbacks tell the main loop.
struct Talk {
    /// How it ended, once it has: the first end counts. Standard input's thread shares it.
    ended: Arc<OnceLock<End>>,
    moved: Cell<Instant>,
    /// What packets have met with so far.
    troubles: RefCell<HashSet<SysError>>,
}

impl Talk {
    fn end(&self, process: &Process, end: End) {
        // Whatever comes behind the first end is its consequence.
        let _ = self.ended.set(end);
        process.runtime().shutdown();
    }

    /// Says what a packet met with, once for each kind: the next thousand may meet with the same.
    fn trouble(&self, endpoint: &Endpoint, err: SysError) {
        if self.troubles.borrow_mut().insert(err) {
            say(&format_args!("{endpoint}: {err}"));
        }
    }

    /// Hands input on to standard output.
    fn hear(&self, process: &Process, output: &File, input: &Input) {
        self.moved.set(Instant::now());
        match input.text() {
            None => self.write(process, output, input),
            Some(text) => self.write_text(process, output, text),
        }
    }

    /// The same for what came right behind a dialogue; a character that it cuts stays cut.
    fn hear_early(&self, process: &Process, output: &File, bytes: &[u8]) {
        let Some(coding) = process.coding() else { return self.write(process, output, bytes) };
        let (mut decoder, mut text) = (coding.decoder(), Text::new());
        decoder.decode(bytes, &mut text);
        decoder.finish(&mut text);
        self.write_text(process, output, &text);
    }

    fn write_text(&self, process: &Process, output: &File, text: &Text) {
        let mut utf8 = Vec::with_capacity(text.byte_len());
        Coding::default().encoder().encode(text, &mut utf8);
        self.write(process, output, &utf8);
    }

    fn write(&self, process: &Process, output: &File, bytes: &[u8]) {
        match stdio::write_all(output, bytes) {
            Ok(()) => {}
            // Whoever read our output is gone: nobody is left to talk for.
            Err(err) if err.kind() == ErrorKind::BrokenPipe => self.end(process, End::InOrder),
            Err(err) => self.end(process, End::Broken(format!("standard output: {err}"))),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let rt = Runtime::builder().backend(arguments.backend).build()?;
    let talk = Rc::new(Talk {
        ended: Arc::default(),
        moved: Cell::new(Instant::now()),
        troubles: RefCell::default(),
    });
    let output = stdio::unbuffered(std::io::stdout())?;
    let process = match open::open(&rt, arguments, output, &talk) {
        Ok(process) => process,
        Err(NotOpened::Late(err)) => {
            complain(&*err);
            return Ok(ExitCode::from(LATE));
        }
        Err(NotOpened::Failed(err)) => return Err(err),
    };
    if let Some(wait) = arguments.wait {
        watch(&rt, process.clone(), Rc::clone(&talk), wait);
    }
    let chunk_len = arguments.endpoint.chunk_len();
    let form = match arguments.coding() {
        Some(_) => input::Form::Text(arguments.endpoint.clone()),
        None if arguments.crlf => input::Form::Crlf,
        None => input::Form::Bytes,
    };
    let pump = input::Pump::start(&process, chunk_len, form, Arc::clone(&talk.ended))
        .map_err(|err| Context::new("standard input", err))?;
    talk.moved.set(Instant::now());
    let (sentinel_talk, endpoint) = (Rc::clone(&talk), arguments.endpoint.clone());
    process.set_sentinel(move |process, event| {
        sentinel_talk.moved.set(Instant::now());
        if let Event::Drained = event {
            pump.more();
        } else if let Event::Trouble(err) = event {
            sentinel_talk.trouble(&endpoint, *err);
        } else if let Event::Broken { reason, unsent } = event {
            sentinel_talk.end(process, end(process, *reason, *unsent));
        }
    });
    process.notify_drained();
    rt.run()?;
    Ok(talk.ended.get().unwrap_or(&End::InOrder).tell(&arguments.endpoint))
}

fn end(process: &Process, reason: Reason, unsent: u64) -> End {
    let text = match (reason, process.layer_error()) {
        (Reason::End, _) if unsent == 0 => return End::InOrder,
        (Reason::Corrupt, Some(err)) => err.to_string(),
        (reason, _) => reason.to_string(),
    };
    End::Broken(if unsent == 0 { text } else { format!("{text}, {unsent} bytes stayed unsent") })
}

/// Ends the talk when nothing has moved for `wait`.
fn watch(rt: &Runtime, process: Process, talk: Rc<Talk>, wait: Duration) {
    let left = wait.saturating_sub(talk.moved.get().elapsed());
    rt.run_after(left, move |rt| {
        if talk.moved.get().elapsed() >= wait {
            talk.end(&process, End::Late(wait));
        } else {
            watch(rt, process, talk, wait);
        }
    });
}
