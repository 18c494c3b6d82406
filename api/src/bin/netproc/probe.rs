//! `netproc probe`: which backends work on this machine, and which one a program gets.

use std::{io::Write as _, process::ExitCode};

use comfy_table::{Table, presets};
use netproc::{Backend, Mechanism, Runtime};

use crate::Outcome;

pub(crate) fn run() -> Outcome {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["backend", "here", "why"]);
    let mechanisms = [Mechanism::Epoll, Mechanism::Kqueue, Mechanism::Poll];
    let named = mechanisms.map(Backend::Mechanism);
    for backend in std::iter::once(Backend::Uring).chain(named) {
        let (here, why) = match Runtime::builder().backend(backend).build() {
            Ok(_) => ("works", String::new()),
            Err(err) => ("no", reason(&err)),
        };
        table.add_row([backend.to_string(), here.into(), why]);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{table}")?;
    let rt = Runtime::new()?;
    writeln!(out, "chosen: {} ({})", rt.backend(), rt.backend().reason())?;
    Ok(ExitCode::SUCCESS)
}

/// The innermost cause: what the system said.
fn reason(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), reason)
}
