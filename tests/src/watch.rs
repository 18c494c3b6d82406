//! A second thread that looks at the clock: a wait that never returns can be ended from outside
//! only.

use std::{
    io::{self, Write as _},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::contract::Outcome;

/// How long a test may take on the wall's clock before its process is aborted.
pub const STUCK: Duration = Duration::from_secs(120);

/// Runs `body`, and aborts the process when it takes longer than [`STUCK`].
///
/// # Errors
///
/// What `body` returned.
pub fn watched(test: &str, body: impl FnOnce() -> Outcome) -> Outcome {
    let (alive, gone) = mpsc::channel::<()>();
    let test = test.to_owned();
    std::thread::spawn(move || {
        if gone.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
            shout(&format!("{test}: stuck for {STUCK:?}, a call does not return"));
            std::process::abort();
        }
    });
    let outcome = body();
    drop(alive);
    outcome
}

/// Prints what must be seen even of a test that passes, whose `eprintln!` is thrown away.
pub fn shout(line: &str) {
    // With nobody to read it there is nobody to tell.
    let _unread = writeln!(io::stderr(), "{line}");
}
