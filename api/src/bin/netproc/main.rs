//! The program `netproc`: what the library does, from a shell.
//!
//! One file per subcommand; each returns its exit status. Results go to standard output, complaints
//! to standard error.

mod complaint;
mod connect;
mod demo;
mod endpoint;
mod listen;
mod probe;
mod proxy;
mod talk;
mod tls;

use std::{error::Error, fmt, io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use netproc::Process;

/// Network processes as Emacs has them, on io_uring where it works.
#[derive(Debug, Parser)]
#[command(name = "netproc", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run echo servers and clients on every backend of this machine and check every byte.
    Demo(demo::Arguments),
    /// Serve on the endpoints given until SIGINT or SIGTERM, on Linux SIGHUP as well.
    Listen(listen::Arguments),
    /// Connect standard input and output with an endpoint.
    Connect(connect::Arguments),
    /// Say which backends work here, which is chosen, and why.
    Probe,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => complaint::until_unread(demo::run(&arguments)),
        Command::Listen(arguments) => listen::run(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Probe => complaint::until_unread(probe::run()),
    };
    match done {
        Ok(code) => code,
        Err(err) => {
            complain(&*err);
            complaint::status(&*err)
        }
    }
}

/// Ends the program as `subcommand` does for wrong arguments, where what is wrong is how they go together.
fn refuse(subcommand: &str, what: &dyn fmt::Display) -> ! {
    let mut whole = Arguments::command();
    // Its usage begins with the program's name once this is done.
    whole.build();
    let mut command = whole.find_subcommand(subcommand).unwrap_or(&whole).clone();
    command.error(ErrorKind::ArgumentConflict, what).exit()
}

/// What a subcommand comes to: an exit status, or an error that becomes one.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// An error with what was being done before it; the error stays whole behind it, as its source.
#[derive(Debug)]
struct Context {
    what: String,
    source: Box<dyn Error>,
}

impl Context {
    fn new(what: impl Into<String>, source: impl Into<Box<dyn Error>>) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Context {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Prints an error with everything behind it on one line of standard error.
fn complain(err: &(dyn Error + 'static)) {
    say(&complaint::with_causes(err));
}

/// One line on standard error of what has happened to `process`.
fn say_of(process: &Process, what: &dyn fmt::Display) {
    let (name, text) = (process.name(), what.to_string());
    say(&format_args!("{name}: {}", text.trim_end()));
}

/// One line on standard error. Whoever has closed it wants to hear nothing, so nothing fails.
fn say(text: &dyn fmt::Display) {
    let _ = writeln!(std::io::stderr(), "netproc: {text}");
}
