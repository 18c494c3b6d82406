//! The machine the benches run on, and what they share as programs.

use std::{
    fmt, fs, io,
    process::{Command, ExitCode},
    thread,
    time::SystemTime,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, getrlimit, rlim_t, setrlimit},
};
use serde::{Deserialize, Serialize};

/// More descriptors than any load needs at a time.
const DESCRIPTORS: rlim_t = 1 << 20;

/// What figures depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Load average at the start: what others did.
    pub(crate) load: String,
    pub(crate) date: String,
    /// What was measured, as git names it; `None` outside of a repository.
    #[serde(default)]
    pub(crate) commit: Option<String>,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
        let model =
            model.map_or("unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            processor: model.into(),
            cores: thread::available_parallelism().map_or(1, std::num::NonZero::get),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().into(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: commit(),
        }
    }

    /// `, commit 1a2b3c4`, if there is one.
    pub(crate) fn of_commit(&self) -> String {
        self.commit.as_ref().map(|name| format!(", commit {name}")).unwrap_or_default()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processor, cores, load, date, .. } = self;
        let of_commit = self.of_commit();
        write!(
            f,
            "Linux {kernel}, {processor}, {cores} cores, load average {load} at the start, {date}{of_commit}"
        )
    }
}

/// The commit that is checked out, with a mark if there is more than that.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"]);
    let told = git.current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let name = String::from_utf8(told.stdout).ok()?;
    told.status.success().then(|| name.trim().into())
}

/// Lets the children have as many connections as the system allows; returns how many descriptors a table of theirs
/// may hold.
pub(crate) fn raise_descriptor_limit() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Only root may pass the hard limit.
    let mut limit = DESCRIPTORS.max(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_err() {
        limit = hard;
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    }
    usize::try_from(limit).map_err(io::Error::other)
}

/// Gives this thread a table of descriptors of its own, with what its process has open by now: the limit is one of
/// each table (unshare(2)).
pub(crate) fn own_descriptors() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_FILES)?)
}

/// What a program's result means to its caller.
pub(crate) fn exit_code(program: &str, ran: io::Result<bool>) -> ExitCode {
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            complain(program, &err.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "what a program has to say besides its output")]
pub(crate) fn complain(program: &str, what: &str) {
    eprintln!("{program}: {what}");
}
