//! Programs that no one here wrote, for tests that speak with them.
//!
//! Invariant: a program that this machine has not got leaves the tests that need it out, and each says so
//! where it is seen even of a test that passes; where the environment says `CI=true` it fails them.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Mutex,
};

use crate::watch::shout;

/// Where the system keeps programs that are not for everybody.
const FOLDERS_MORE: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// How many ports are tried before it is given up.
const TRIES: u32 = 10;

/// Where `program` is. Without it `test`, or all tests of that name, are left out.
///
/// # Panics
///
/// Panics when it is missing where nothing may be.
#[must_use]
pub fn find(test: &str, program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS_MORE.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.or_else(|| left_out(test, program))
}

/// A Python that has `module`. Without one `test`, or all tests of that name, are left out.
///
/// # Panics
///
/// Panics when it is missing where nothing may be.
#[must_use]
pub fn python_with(test: &str, module: &str) -> Option<PathBuf> {
    // The system's own first: the modules of its packages are there.
    let candidates = ["/usr/bin/python3", "python3"].map(PathBuf::from);
    let has = |python: &PathBuf| {
        let mut command = Command::new(python);
        let command = command.arg("-c").arg(format!("import {module}")).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().find(has);
    found.or_else(|| left_out(test, &format!("the Python module {module}")))
}

/// Says that `test` is left out for want of `what`, once.
fn left_out<T>(test: &str, what: &str) -> Option<T> {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let text = format!("left out: {test}, since this machine has not got {what}");
    let in_ci = env::var_os("CI").is_some_and(|ci| ci == OsStr::new("true"));
    assert!(!in_ci, "{text}, where everything has to be there");
    let mut said = SAID.lock().expect("nobody panics with it");
    if said.insert(text.clone()) {
        shout(&text);
    }
    None
}

/// Starts something on ports that were free just now; `start` says `None` when one was taken meanwhile.
///
/// # Panics
///
/// Panics when no port is free for it.
pub fn on_free_ports<T, const N: usize>(mut start: impl FnMut([u16; N]) -> Option<T>) -> T {
    let free = || {
        // All at once, so that they differ.
        let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let port = |it: &std::io::Result<TcpListener>| {
            let listener = it.as_ref().expect("a port is free");
            listener.local_addr().expect("it is bound").port()
        };
        listeners.each_ref().map(port)
    };
    let started = (0..TRIES).find_map(|_| start(free()));
    started.expect("a port stays free for a moment")
}
