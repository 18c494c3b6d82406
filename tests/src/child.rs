//! Tests that need a process of their own: limits, signal dispositions, descriptor counts, forks, a
//! network without name servers.
//!
//! The test binary starts itself again with one test and a mark in the environment; forks happen in
//! such a process only, where no other test runs. The four calls that std leaves to libc are here.

use std::{
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigHandler, Signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid},
};

use crate::contract::Outcome;

/// Names the one test that shall run here, in the process started for it.
const MARK: &str = "NETPROC_TEST_ALONE";

/// Runs `body` in a process of its own; `test` is its path, the crate's name first.
///
/// # Errors
///
/// What `body` returned, in the new process; in the old one, that it could not be started.
///
/// # Panics
///
/// Panics in the old process when the new one failed, with all that it printed.
pub fn alone(test: &str, body: impl FnOnce() -> Outcome) -> Outcome {
    alone_with(test, &[], body)
}

/// The same, with these variables in the environment of the new process.
///
/// # Errors
///
/// As [`alone`].
///
/// # Panics
///
/// As [`alone`].
pub fn alone_with(
    test: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce() -> Outcome,
) -> Outcome {
    if std::env::var_os(MARK).is_some_and(|mark| mark == test) {
        return body();
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.envs(variables.iter().copied());
    repeat(test, command)
}

/// Runs `test` once more by `command`, which starts this program.
fn repeat(test: &str, mut command: Command) -> Outcome {
    let (_, name) = test.split_once("::").ok_or("a test's path begins with its crate")?;
    let run = command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(
        run.status.success() && (out.contains("1 passed") || err.contains("1 passed")),
        "{name}, in a process of its own: {}\n{out}{err}",
        run.status
    );
    Ok(())
}

/// What sets a network of its own up: loopback only, with the files of the folder `$NETPROC_TEST_ETC` in
/// place of the system's, where it has them.
const APART: &str = r#"ip link set lo up || exit
for file in "$NETPROC_TEST_ETC"/*; do
    target=/etc/${file##*/}
    [ ! -e "$target" ] || mount --bind "$file" "$target" || exit
done
exec "$0" "$@""#;

/// As [`alone`], in a network of its own with loopback addresses only; each of `etc` is a file's name and
/// what it says there in place of the one in `/etc`. Left out, and said to be, where the system allows no
/// such thing.
///
/// # Errors
///
/// What `body` returned, in the new process; in the old one, that it could not be started.
///
/// # Panics
///
/// Panics in the old process when the new one failed, with all that it printed.
#[cfg(target_os = "linux")]
pub fn apart(test: &str, etc: &[(&str, &str)], body: impl FnOnce() -> Outcome) -> Outcome {
    if std::env::var_os(MARK).is_some_and(|mark| mark == test) {
        return body();
    }
    let folder = tempfile::tempdir()?;
    for (name, text) in etc {
        std::fs::write(folder.path().join(name), text)?;
    }
    let shell = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", APART]);
        command.env("NETPROC_TEST_ETC", folder.path());
        command
    };
    match shell().arg("true").output() {
        Ok(tried) if tried.status.success() => {}
        refused => {
            let why = refused.map(|tried| String::from_utf8_lossy(&tried.stderr).into_owned());
            let why = why.unwrap_or_else(|err| err.to_string());
            crate::watch::shout(&format!("left out: no network of its own here: {}", why.trim()));
            return Ok(());
        }
    }
    let mut command = shell();
    command.arg(std::env::current_exe()?);
    repeat(test, command)
}

/// As [`alone`], in a process that was started with descriptors, as [`handing_over`] does it; with
/// these variables in its environment as well.
///
/// # Errors
///
/// What `body` returned, in the new process; in the old one, that it could not be started.
///
/// # Panics
///
/// Panics in the old process when the new one failed, with all that it printed.
pub fn activated(
    test: &str,
    handed: impl FnOnce() -> io::Result<Vec<OwnedFd>>,
    variables: &[(&str, &str)],
    body: impl FnOnce() -> Outcome,
) -> Outcome {
    if std::env::var_os(MARK).is_some_and(|mark| mark == test) {
        return body();
    }
    let mut command = handing_over(&std::env::current_exe()?, handed()?);
    command.envs(variables.iter().copied());
    repeat(test, command)
}

/// A command that starts `program` with `handed`, at most two, as descriptors 3 and 4 and a
/// `LISTEN_PID` that is its own, as a service manager does. With two, what it writes to standard output
/// goes to standard error; its standard input has nothing.
///
/// They reach the shell as its standard streams and get their numbers there: so nothing has to run
/// between fork and exec, and no descriptor leaks into what other threads start.
///
/// # Panics
///
/// Panics on more than two.
#[must_use]
pub fn handing_over(program: &Path, handed: Vec<OwnedFd>) -> Command {
    let numbers = match handed.len() {
        0 => "0</dev/null",
        1 => "3<&0 0</dev/null",
        2 => "3<&0 4>&1 0</dev/null 1>&2",
        more => panic!("{more} descriptors, a shell passes two on"),
    };
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(r#"LISTEN_PID=${{LISTEN_PID-$$}} exec "$0" "$@" {numbers}"#));
    command.arg(program);
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    command.env("LISTEN_FDS", handed.len().to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut handed = handed.into_iter().map(Stdio::from);
    command.stdin(handed.next().unwrap_or_else(Stdio::null));
    if let Some(second) = handed.next() {
        command.stdout(second);
    }
    command
}

/// How many descriptors this process has open.
///
/// # Errors
///
/// When the system does not show them.
pub fn descriptors() -> io::Result<usize> {
    // The listing has a descriptor of its own, each time.
    Ok(std::fs::read_dir("/dev/fd")?.count())
}

/// Lets this process open `more` descriptors than it has, and no further one.
///
/// The kernel limits the number of a descriptor, not how many there are, so gaps count as room.
///
/// # Errors
///
/// What the system says.
pub fn allow_descriptors(more: usize) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = (0..hard).filter(|&number| !is_open(number)).nth(more).unwrap_or(hard);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?)
}

/// Lifts that limit again.
///
/// # Errors
///
/// What the system says.
pub fn allow_all_descriptors() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

fn is_open(number: u64) -> bool {
    Path::new(&format!("/dev/fd/{number}")).symlink_metadata().is_ok()
}

/// Has this process die of a signal, and its children, which inherit that: std ignores SIGPIPE before `main`, and
/// whoever runs the tests with `nohup` SIGHUP.
///
/// # Errors
///
/// What the system says.
#[expect(unsafe_code, reason = "only sigaction undoes what ignores a signal")]
pub fn die_of(signal: Signal) -> io::Result<()> {
    // SAFETY: no handler is installed, so no code of ours ever runs in a signal's context.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    Ok(())
}

/// Has this process ignore these signals. With SIGCHLD among them, the system forgets its children as
/// soon as they end, told to nobody.
///
/// # Errors
///
/// What the system says.
#[expect(unsafe_code, reason = "only sigaction sets that")]
pub fn ignore_signals(signals: &[Signal]) -> io::Result<()> {
    for &signal in signals {
        // SAFETY: no handler is installed, so no code of ours ever runs in a signal's context.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Forks; the child runs `body` and leaves at once, with 1 when that panicked.
///
/// # Errors
///
/// What the system says.
#[expect(unsafe_code, reason = "std has no fork without exec")]
pub fn fork(body: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: called in a process with one test and its watchdog only, which holds no lock that
    // `body` could need; the allocator makes itself safe across a fork.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
            // SAFETY: ends the process without running the parent's exit handlers a second time;
            // nothing runs afterwards.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Waits for a forked child.
///
/// # Errors
///
/// What the system says, and how the child ended if not with 0.
pub fn join(child: Pid) -> Outcome {
    let status = waitpid(child, None)?;
    if status == WaitStatus::Exited(child, 0) {
        Ok(())
    } else {
        Err(format!("the child: {status:?}").into())
    }
}
