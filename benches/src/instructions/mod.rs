//! How many user-space instructions a message costs, counted by callgrind and held to bounds.
//!
//! Invariant: what is counted runs on one thread, in rounds that are all the same, and the cheapest
//! counts: so the figure is that of the program, whatever the machine does besides. It belongs to an
//! optimized build; `cargo bench -p netproc-bench --bench instructions` makes one and counts. Where
//! that cannot be, it says so, and where the environment says `CI=true` a lack of valgrind is a failure, and so
//! is one of io_uring under it, unless it says `NETPROC_WITHOUT_URING=1` as well.

mod work;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{self, Command, ExitCode, Stdio},
};

use comfy_table::{Table, presets::NOTHING};

use self::work::Subject;

/// The argument with which this program is what callgrind counts.
const COUNTED: &str = "counted";

/// Instructions of one unit of work.
type Costs = BTreeMap<Subject, f64>;

/// What a subject may cost.
struct Bound {
    subject: Subject,
    most: f64,
    /// A hand-written server that does the same, and how many times its cost is too much.
    times: Option<(Subject, f64)>,
}

/// What a message of 64 bytes may cost in the parts of a server, and in a server, and what a connection may
/// that comes and goes: 5 to 12 % more than it cost when this was last changed, since no two compilers make
/// the same of a program. What an echo may is the aim itself.
const BOUNDS: [Bound; 10] = [
    Bound { subject: Subject::Pool, most: 205.0, times: None },
    Bound { subject: Subject::Outbox, most: 2_900.0, times: None },
    Bound { subject: Subject::Queue, most: 195.0, times: None },
    Bound { subject: Subject::Simulation, most: 8_600.0, times: None },
    Bound { subject: Subject::Uring, most: 600.0, times: Some((Subject::RawUring, 3.0)) },
    Bound { subject: Subject::Epoll, most: 600.0, times: Some((Subject::RawEpoll, 3.0)) },
    Bound { subject: Subject::UringBegin, most: 4_300.0, times: None },
    Bound { subject: Subject::UringEnd, most: 3_600.0, times: None },
    Bound { subject: Subject::EpollBegin, most: 3_950.0, times: None },
    Bound { subject: Subject::EpollEnd, most: 3_650.0, times: None },
];

/// What `benches/instructions.rs` runs.
#[must_use]
pub fn main() -> ExitCode {
    if env::args().nth(1).is_some_and(|first| first == COUNTED) {
        return report(work::run());
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        say("left out: counting instructions, since this machine has not got valgrind");
        return if is_set("CI", "true") { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if cfg!(debug_assertions) {
        say("left out: counting instructions, which needs an optimized build: \
             `cargo bench -p netproc-bench --bench instructions`");
        return ExitCode::SUCCESS;
    }
    report(count().and_then(|costs| {
        let wants_all = is_set("CI", "true") && !is_set("NETPROC_WITHOUT_URING", "1");
        let (table, broken) = judge(&costs, wants_all);
        writeln!(io::stdout(), "{table}")?;
        if broken.is_empty() { Ok(()) } else { Err(too_many(&broken)) }
    }))
}

fn is_set(variable: &str, value: &str) -> bool {
    env::var_os(variable).is_some_and(|found| found == value)
}

fn report(done: io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            say(&err.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program's own words")]
fn say(what: &str) {
    eprintln!("instructions: {what}");
}

/// Runs this program again, under callgrind.
fn count() -> io::Result<Costs> {
    let folder = env::temp_dir().join(format!("netproc-instructions-{}", process::id()));
    fs::create_dir(&folder)?;
    let counted = count_in(&folder);
    fs::remove_dir_all(&folder)?;
    counted
}

fn count_in(folder: &Path) -> io::Result<Costs> {
    let out = folder.join("out");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", &format!("--dump-before={}", work::MARK)]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    let ran = command.arg(env::current_exe()?).arg(COUNTED).stderr(Stdio::inherit()).output()?;
    if !ran.status.success() {
        return Err(io::Error::other(format!("what was counted ended with {}", ran.status)));
    }
    let labels = String::from_utf8(ran.stdout).map_err(io::Error::other)?;
    costs(&labels, |number| {
        let mut file = PathBuf::from(&out).into_os_string();
        file.push(format!(".{number}"));
        fs::read_to_string(file)
    })
}

/// The least that each subject cost: line by line `labels` has what ran before each mark, and `dump`
/// what callgrind wrote at it, numbered from 1.
fn costs(labels: &str, dump: impl Fn(usize) -> io::Result<String>) -> io::Result<Costs> {
    let mut costs = Costs::new();
    for (number, label) in (1..).zip(labels.lines()) {
        let Some((subject, units)) = work::parse_label(label)? else { continue };
        let text = dump(number)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
        let total: u32 = total.ok_or_else(|| io::Error::other(format!("no totals in: {text}")))?;
        let cost = f64::from(total) / f64::from(units);
        costs.entry(subject).and_modify(|least| *least = cost.min(*least)).or_insert(cost);
    }
    Ok(costs)
}

fn too_many(broken: &[Subject]) -> io::Error {
    let names: Vec<_> = broken.iter().map(Subject::to_string).collect();
    io::Error::other(format!("too many instructions, or none counted: {}", names.join("; ")))
}

/// What everything costs beside what it may, and what costs too much. What is missing does not work here, which
/// is as bad if all is wanted.
fn judge(costs: &Costs, wants_all: bool) -> (Table, Vec<Subject>) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", "instructions", "at most", "of raw", "at most"]);
    let mut broken = Vec::new();
    for Bound { subject, most, times } in &BOUNDS {
        let Some(cost) = costs.get(subject) else {
            table.add_row([subject.to_string(), "left out".to_owned()]);
            broken.extend(wants_all.then_some(*subject));
            continue;
        };
        let mut row = vec![subject.to_string(), format!("{cost:.1}"), format!("{most:.0}")];
        let mut kept = cost <= most;
        if let Some((raw, most)) = times
            && let Some(raw) = costs.get(raw)
        {
            let times = cost / raw;
            row.extend([format!("{times:.2} x {raw:.1}"), format!("{most:.1}")]);
            kept &= times <= *most;
        }
        table.add_row(row);
        if !kept {
            broken.push(*subject);
        }
    }
    (table, broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_of_equal_rounds_counts() {
        let dump = |number| {
            let totals = [7, 6000, 5, 5000, 7000][number - 1];
            Ok(format!("version: 1\nevents: Ir\nfn=(1) f\n1 2\n\ntotals: {totals}\n"))
        };
        let label = |subject| work::label(Some((subject, 50)));
        let lines =
            [work::label(None), label(Subject::Epoll), work::label(None), label(Subject::Epoll)];
        let labels = [&lines[..], &[label(Subject::Uring)]].concat().join("\n");
        let expected = Costs::from([(Subject::Epoll, 100.0), (Subject::Uring, 140.0)]);
        assert_eq!(costs(&labels, dump).unwrap(), expected);
        assert!(costs(&labels, |_| Ok(String::new())).is_err());
        assert!(costs("nonsense", dump).is_err());
    }

    #[test]
    fn what_costs_too_much_is_named() {
        let cheap = || Costs::from([(Subject::Epoll, 590.0), (Subject::RawEpoll, 300.0)]);
        assert_eq!(judge(&cheap(), false).1, []);
        assert_eq!(judge(&cheap(), true).1.len(), BOUNDS.len() - 1, "all but epoll is missing");
        for (subject, cost) in [(Subject::Epoll, 601.0), (Subject::RawEpoll, 195.0)] {
            let mut costs = cheap();
            costs.insert(subject, cost);
            assert_eq!(judge(&costs, false).1, [Subject::Epoll]);
        }
        assert!(too_many(&[Subject::Epoll]).to_string().contains("epoll: echo"));
    }
}
