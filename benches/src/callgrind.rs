//! User-space instructions of a server, counted by callgrind: exact, whatever else the machine does.
//!
//! Invariant: a figure is the difference of two processes that served a different number of messages, so
//! that starting up and opening connections are in both and cancel out.
//!
//! Callgrind writes down its count when a signal ends the process. Valgrind 3.19 takes io_uring's system
//! call for one that never waits, and looks for signals only after a while of running code; so the load
//! goes on until the server is gone, and what it has answered by then is what it has served.

use std::{env, fs, io, process::Command, thread};

use tempfile::TempDir;

use crate::{
    child::{Core, Loader, Server},
    job::{Service, Shape},
    load::Until,
    serve::Kind,
};

/// Messages that the first process serves at least, enough to have been everywhere; and how many more the
/// second one serves, so many that the batches in which they end do not show. Cryptography takes long.
const fn counts(service: Service) -> (u64, u64) {
    match service {
        Service::TlsFull | Service::TlsResumed => (32, 100),
        Service::Tls => (200, 2000),
        Service::Sink | Service::Source | Service::Udp | Service::UdpApart => (500, 10_000),
        Service::Tcp | Service::Churn | Service::Unix => (1000, 40_000),
    }
}

/// Whether callgrind works here.
pub(crate) fn can_count() -> bool {
    let run = Command::new("valgrind").args(["--tool=callgrind", "--version"]).output();
    run.is_ok_and(|output| output.status.success())
}

/// What a process has done in its life.
#[derive(Clone, Copy, Debug)]
struct Life {
    instructions: u64,
    messages: u64,
}

/// Instructions per message.
pub(crate) fn count(kind: Kind, service: Service, shape: Shape) -> io::Result<f64> {
    let (few, more) = counts(service);
    let few = few.max(2 * shape.under_way());
    // Nothing is timed, so both may run at once.
    let [short, long] = thread::scope(|scope| {
        let live = |core, messages| scope.spawn(move || live(core, kind, service, shape, messages));
        let lives = [live(Core::First, few), live(Core::Second, few + more)];
        lives.map(|life| life.join().unwrap_or_else(|_| Err(io::Error::other("a count panicked"))))
    });
    per_message(short?, long?).ok_or_else(|| io::Error::other("the counts make no sense"))
}

fn per_message(short: Life, long: Life) -> Option<f64> {
    let instructions = long.instructions.checked_sub(short.instructions)?;
    let messages = long.messages.checked_sub(short.messages).filter(|&count| count > 0)?;
    Some(crate::figures::as_f64(instructions) / crate::figures::as_f64(messages))
}

/// Lets a server serve so many messages and a few more, then ends it.
fn live(core: Core, kind: Kind, service: Service, shape: Shape, messages: u64) -> io::Result<Life> {
    let folder = TempDir::with_prefix("netproc-bench-")?;
    let output = folder.path().join("callgrind");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "-q"]);
    command.arg(format!("--callgrind-out-file={}", output.display()));
    command.arg(format!("--log-file={}", folder.path().join("log").display()));
    command.arg(env::current_exe()?);
    let server = Server::start_by(command, core, kind, service, shape.tables)?;
    let mut loader = Loader::start_on(core.other(), &server, shape, false)?;
    let served = loader.run(Until::Messages(messages))?.messages_total;
    let rest = loader.run_until_gone(server)?;
    loader.end()?;
    let text = fs::read_to_string(&output)?;
    let instructions = parse(&text).ok_or_else(|| io::Error::other("callgrind wrote no total"))?;
    Ok(Life { instructions, messages: served + rest.messages_total })
}

/// The number of instructions in callgrind's output.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_one_process_did_more_counts() {
        let life = |instructions, messages| Life { instructions, messages };
        assert_eq!(per_message(life(1000, 10), life(1600, 30)), Some(30.0));
        assert_eq!(per_message(life(1000, 10), life(900, 30)), None);
        assert_eq!(per_message(life(1000, 10), life(1600, 10)), None);
    }

    #[test]
    fn the_total_stands_on_a_line_of_its_own() {
        let text = "# callgrind format\nevents: Ir\nfn=(1) main\n1 20\n\ntotals: 2338519\n";
        assert_eq!(parse(text), Some(2_338_519));
        assert_eq!(parse("events: Ir\n"), None);
    }
}
