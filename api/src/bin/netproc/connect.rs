//! `netproc connect`: standard input to the peer, what the peer says to standard output.
//!
//! With `--coding` both are UTF-8 on this side, and the coding system's on the other; bytes that are
//! no characters there go through as they are, both ways. `--crlf` sends CR LF whatever line end the
//! coding names; what comes is always read by the coding's own.
//!
//! With `--tls` or `--starttls` nothing of standard input is sent before TLS stands and the server has
//! proved its name.
//!
//! When the peer has ended its side, standard input still goes out to its end, or until it has had nothing for a
//! second; at a terminal that is the end.
//!
//! Exit status: 0 when the connection ended in order, 1 when there was none to begin with, 2 when an
//! error broke it, it was cut, bytes stayed unsent, characters were replaced, or the arguments are wrong, 3
//! when nothing moved for the time `--wait` gives. Whatever is not 0 is explained in a line on standard error.

mod open;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use netproc::{Backend, Coding, Runtime};

use self::open::NotOpened;
use crate::{
    Outcome, complain,
    endpoint::Endpoint,
    proxy,
    talk::{self, LATE, Talk, Terms, stdio},
    tls,
};

#[derive(Debug, Args)]
#[command(
    after_help = "When the peer has ended its side, standard input is still sent to its end, or until it \
    has had nothing for a second, which is told of if it has not ended; from a terminal no more is. Packets \
    have no end: with --wait it is over when all was answered.\n\n\
    Exit status: 0 the connection ended in order, 1 there was none, or something it needs cannot be had, such \
    as a file, 2 an error broke it, it was cut, bytes stayed unsent, characters were replaced that --coding \
    cannot express, or the arguments are wrong, 3 nothing moved for the time --wait gives."
)]
pub(crate) struct Arguments {
    /// auto, uring, epoll, kqueue or poll.
    #[arg(long, default_value = "auto", value_name = "B")]
    backend: Backend,
    /// Give up when nothing has moved for this many seconds, connecting included: nothing has come, and the
    /// system has taken nothing of what is to be sent. What it still holds for a slow peer does not count.
    #[arg(short, long, value_name = "SECONDS", value_parser = talk::seconds)]
    wait: Option<Duration>,
    /// Send every line end as CR LF, also when --coding names another. One that is CR LF already stays so.
    #[arg(long)]
    crlf: bool,
    /// What the peer speaks, by Emacs's name: utf-8-dos, latin-1, "(utf-8 . sjis)" to read one and
    /// send the other. Standard input and output are then UTF-8 text. Without it bytes are bytes.
    #[arg(long, value_name = "NAME")]
    coding: Option<Coding>,
    /// Say on standard error who is connected to, and what was agreed upon with --tls or --starttls.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    tls: tls::Client,
    #[command(flatten)]
    proxy: proxy::Client,
    /// HOST:PORT or tcp:HOST:PORT, [IPV6]:PORT, PORT, udp:HOST:PORT, unix:PATH, unixgram:PATH, seqpacket:PATH or
    /// abstract:NAME. PORT alone is this machine; behind a host it may be the name of a service.
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,
    /// Never there. Without it the PORT of who writes HOST PORT would be told of, and nothing of how it is written.
    #[arg(hide = true, value_name = "ENDPOINT", value_parser = no_second)]
    _second: Option<String>,
}

fn no_second(_: &str) -> Result<String, &'static str> {
    Err("one endpoint expected")
}

impl Arguments {
    /// The coding asked for, with the line end that goes out.
    fn coding(&self) -> Option<Coding> {
        talk::coding(self.coding, self.crlf)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let rt = Runtime::builder().backend(arguments.backend).build()?;
    let talk = Talk::new(arguments.endpoint.to_string());
    let output = stdio::unbuffered(std::io::stdout())?;
    let process = match open::open(&rt, arguments, output, &talk) {
        Ok(process) => process,
        Err(NotOpened::Late(err)) => {
            complain(&*err);
            return Ok(ExitCode::from(LATE));
        }
        Err(NotOpened::Failed(err)) => return Err(err),
    };
    let terms = Terms {
        chunk_len: arguments.endpoint.chunk_len(),
        coded: arguments.coding().is_some(),
        crlf: arguments.crlf,
        wait: arguments.wait,
        verbose: false,
    };
    talk.begin(&process, &terms)?;
    rt.run()?;
    Ok(talk.tell())
}
