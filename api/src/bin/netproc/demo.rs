//! `netproc demo`: echo servers and clients over IPv4, IPv6 and a local socket, on every backend.
//!
//! Every byte that comes back is compared with what was sent. Prints what a user of Emacs would ask
//! for: the process list, contacts as vectors, events in Emacs's words; and what an operator would:
//! messages per second, system calls per message, which backend and why.

mod client;

use std::{
    cell::RefCell, collections::BTreeMap, io::Write as _, path::Path, process::ExitCode, rc::Rc,
    time::Duration,
};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use netproc::{Backend, Family, Process, Runtime, StartError, Status};
use nix::errno::Errno;

use self::client::{Clients, MESSAGE_LEN};
use crate::Outcome;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this one: uring, epoll, kqueue or poll. Default: all that work here.
    #[arg(long, value_name = "B")]
    backend: Option<Backend>,
    /// End within three seconds.
    #[arg(long)]
    quick: bool,
}

/// Connections per server.
const CLIENTS: usize = 16;
/// After this long something hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kinds of address shown, in order.
const PLACES: [(&str, Family); 3] =
    [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6), ("local", Family::Local)];

/// What one server and its clients came to.
#[derive(Default)]
struct Cell {
    messages: u64,
    bytes: u64,
    per_second: f64,
    syscalls: f64,
    verdict: Verdict,
}

/// Whether it was as it should be.
#[derive(Default)]
enum Verdict {
    #[default]
    Right,
    /// This machine has no such address, which is nobody's fault.
    Absent,
    Wrong(String),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Right => f.write_str("every byte right"),
            Self::Absent => f.write_str("left out: this machine has no such address"),
            Self::Wrong(problem) => f.write_str(problem),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let span = Duration::from_millis(if arguments.quick { 150 } else { 1000 });
    let backends = arguments.backend.map_or_else(Backend::available, |backend| vec![backend]);
    let mut out = std::io::stdout().lock();
    let mut figures = table([
        "backend",
        "address",
        "messages",
        "bytes checked",
        "messages/s",
        "system calls/message",
        "result",
    ]);
    for column in 2..6 {
        if let Some(column) = figures.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut wrong = false;
    for backend in backends {
        let rt = Runtime::builder().backend(backend).build()?;
        writeln!(out, "== {}", rt.backend())?;
        let stage = Stage::new(rt.clone());
        for (place, family) in PLACES {
            let cell = stage.play(place, family, span)?;
            wrong |= matches!(cell.verdict, Verdict::Wrong(_));
            figures.add_row(row(&rt, place, &cell));
        }
        writeln!(out, "{}\n{}", stage.processes.borrow(), stage.events.borrow().table())?;
        let left = rt.stats().sockets;
        if left > 0 {
            wrong = true;
            writeln!(out, "{left} sockets are still open")?;
        }
    }
    writeln!(out, "{figures}")?;
    let rt = Runtime::new()?;
    let mut chosen = table(["chosen backend", "reason"]);
    chosen.add_row([rt.backend().name(), rt.backend().reason()]);
    writeln!(out, "{chosen}")?;
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

fn row(rt: &Runtime, place: &str, cell: &Cell) -> [String; 7] {
    [
        rt.backend().to_string(),
        place.into(),
        cell.messages.to_string(),
        cell.bytes.to_string(),
        format!("{:.0}", cell.per_second),
        format!("{:.3}", cell.syscalls),
        cell.verdict.to_string(),
    ]
}

/// One runtime and what is written down about it.
struct Stage {
    rt: Runtime,
    events: Rc<RefCell<Events>>,
    processes: RefCell<Table>,
}

impl Stage {
    fn new(rt: Runtime) -> Self {
        let processes = RefCell::new(table(["process", "status", "local", "remote"]));
        Self { rt, events: Rc::default(), processes }
    }

    /// Runs one server with its clients for `span`, then ends them all.
    fn play(
        &self,
        place: &'static str,
        family: Family,
        span: Duration,
    ) -> Result<Cell, Box<dyn std::error::Error>> {
        let folder = tempfolder()?;
        let server = match self.server(place, family, folder.path()) {
            Ok(server) => server,
            Err(err) if is_absent(&err) => {
                return Ok(Cell { verdict: Verdict::Absent, ..Cell::default() });
            }
            Err(err) => return Err(err.into()),
        };
        let clients = Clients::start(&self.rt, &server, CLIENTS, Rc::clone(&self.events))?;
        let before = self.rt.stats().syscalls;
        let problem = clients.run(span, PATIENCE)?;
        let syscalls = self.rt.stats().syscalls - before;
        self.show(&server, &clients);
        let (messages, bytes) = (clients.messages(), clients.bytes());
        clients.end();
        server.delete();
        let problem = problem.or_else(|| self.settle());
        Ok(Cell {
            messages,
            bytes,
            per_second: ratio(messages, span.as_secs_f64()),
            syscalls: ratio(syscalls, messages.max(1) as f64),
            verdict: problem.map_or(Verdict::Right, Verdict::Wrong),
        })
    }

    fn server(&self, place: &str, family: Family, folder: &Path) -> Result<Process, StartError> {
        let events = Rc::clone(&self.events);
        let log = Rc::clone(&self.events);
        let server = self.rt.server(&format!("echo-{place}")).family(family);
        let server = if family == Family::Local {
            server.service(folder.join("echo").as_path())
        } else {
            server
        };
        let server = server
            .filter(|process, input| process.send(input))
            .sentinel(move |process, event| events.borrow_mut().add(process, event))
            .log(move |server, _, entry| log.borrow_mut().add(server, entry));
        server.start()
    }

    /// Writes the server, its first connection and its first client into the process list.
    fn show(&self, server: &Process, clients: &Clients) {
        let prefix = format!("{} <", server.name());
        let list = self.rt.process_list();
        let connection = list.iter().rev().find(|process| process.name().starts_with(&prefix));
        let shown = [Some(server), connection, clients.first()];
        for process in shown.into_iter().flatten() {
            let contact = process.contact();
            let remote = contact.remote().map_or_else(|| "nil".into(), ToString::to_string);
            let (name, status) = (process.name().to_string(), process.status().to_string());
            self.processes.borrow_mut().add_row([
                name,
                status,
                contact.local().to_string(),
                remote,
            ]);
        }
    }

    /// Waits until every connection has heard of its end; says what hangs otherwise.
    fn settle(&self) -> Option<String> {
        for _ in 0..100 {
            if self.rt.stats().sockets == 0 {
                break;
            }
            if let Err(err) = self.rt.turn(PATIENCE / 100) {
                return Some(err.to_string());
            }
        }
        let live = self.rt.process_list().iter().filter(|p| p.status() != Status::Closed).count();
        (live > 0).then(|| format!("{live} processes did not end"))
    }
}

/// Whether the machine has no address of that family: no IPv6, say.
fn is_absent(err: &StartError) -> bool {
    let StartError::Sys { source, .. } = err else { return false };
    [Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT].map(|errno| errno as i32).contains(&source.errno)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people, far below 2^52")]
fn ratio(count: u64, of: f64) -> f64 {
    count as f64 / of
}

/// A folder for a socket, gone when dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that is gone already is as good.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tempfolder() -> std::io::Result<Folder> {
    let unique = format!("netproc-demo-{}", std::process::id());
    let path = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&path)?;
    Ok(Folder(path))
}

/// Which events came, how often, in the order of their first coming.
#[derive(Default)]
pub(crate) struct Events {
    order: Vec<(String, String)>,
    counts: BTreeMap<(String, String), u64>,
}

impl Events {
    /// Notes an event; connections and clients are counted under what they have in common.
    pub(crate) fn add(&mut self, process: &Process, event: &impl ToString) {
        let name = process.name();
        let common = name.split(['<', '#']).next().unwrap_or(&name).trim_end();
        let who = if name.contains('<') { format!("{common} <…>") } else { common.to_string() };
        let key = (who, event.to_string().escape_debug().to_string());
        let count = self.counts.entry(key.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.order.push(key);
        }
    }

    fn table(&self) -> Table {
        let mut table = table(["process", "event", "times"]);
        for key in &self.order {
            table.add_row([key.0.clone(), format!("\"{}\"", key.1), self.counts[key].to_string()]);
        }
        table
    }
}

const _: () = assert!(MESSAGE_LEN.is_power_of_two(), "the pattern repeats in whole messages");
