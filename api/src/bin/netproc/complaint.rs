//! Errors in the words of this program, and the exit status they come to.
//!
//! Invariant: an address is written as an endpoint is, `127.0.0.1:80`, not as Lisp has it.

use std::{
    error::Error,
    io::{self, ErrorKind},
    process::ExitCode,
};

use netproc::{BackendError, StartError, TlsError};

use crate::{Outcome, endpoint::socket_text};

/// The exit status for wrong arguments, which is clap's as well.
const WRONG: u8 = 2;

/// What a shell calls the end by SIGPIPE, 128 and its number.
const UNREAD: u8 = 128 + 13;

/// The exit status of a subcommand that failed with `err`: what is wrong with arguments is at times found by the
/// library, and by then nobody was connected to.
pub(crate) fn status(err: &(dyn Error + 'static)) -> ExitCode {
    if chain(err).any(is_of_arguments) { ExitCode::from(WRONG) } else { ExitCode::FAILURE }
}

/// What a subcommand came to that has nothing to do but print: without readers it ends as other tools do, in silence.
pub(crate) fn until_unread(done: Outcome) -> Outcome {
    let is_unread = |err: &io::Error| err.kind() == ErrorKind::BrokenPipe;
    match done {
        Err(err) if err.downcast_ref().is_some_and(is_unread) => Ok(ExitCode::from(UNREAD)),
        done => done,
    }
}

/// An error with everything behind it.
pub(crate) fn with_causes(err: &(dyn Error + 'static)) -> String {
    chain(err).map(worded).collect::<Vec<_>>().join(": ")
}

/// An error, and what is behind it.
fn chain<'a>(err: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(err), |&err| err.source())
}

/// The error of a start that this is, in the library's common type or by itself.
fn start_error<'a>(err: &'a (dyn Error + 'static)) -> Option<&'a StartError> {
    if let Some(netproc::Error::Start(err)) = err.downcast_ref() {
        Some(err)
    } else {
        err.downcast_ref()
    }
}

fn is_of_arguments(err: &(dyn Error + 'static)) -> bool {
    let is_start = |err: &StartError| {
        matches!(err, StartError::Host { .. } | StartError::Service { .. } | StartError::Address(_))
    };
    let is_tls = |err: &TlsError| {
        matches!(
            err,
            TlsError::ServerName { .. }
                | TlsError::AlpnEmpty
                | TlsError::AlpnTooLong(_)
                | TlsError::AlpnTooMany(_)
                | TlsError::Versions { .. }
        )
    };
    start_error(err).is_some_and(is_start)
        || err.downcast_ref().is_some_and(is_tls)
        || matches!(err.downcast_ref(), Some(netproc::Error::Backend(BackendError::Override(_))))
}

/// One error without what is behind it.
fn worded(err: &(dyn Error + 'static)) -> String {
    if let Some(StartError::Sys { address: Some(address), .. }) = start_error(err) {
        format!("cannot use {}", socket_text(address))
    } else if let Some(StartError::Handshake { address, .. }) = start_error(err) {
        format!("{}: the handshake failed", socket_text(address))
    } else if let Some(StartError::TimedOut { address }) = start_error(err) {
        format!("{}: no connection within the time given", socket_text(address))
    } else {
        err.to_string()
    }
}
