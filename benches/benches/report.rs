//! The report: netproc beside hand-written servers and its peers, in every cell; see
//! `netproc_bench::report`.
//!
//! `cargo bench -p netproc-bench --features peers --bench report -- --out DIR` runs all of it,
//! with `--quick` some of it in a minute; as a test it only checks bytes.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    netproc_bench::report::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
