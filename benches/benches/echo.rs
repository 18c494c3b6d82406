//! End-to-end echo: netproc beside hand-written servers and tokio; see `netproc_bench::echo`.
//!
//! `cargo bench -p netproc-bench --bench echo -- --help` lists the options; as a test it only
//! checks bytes.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    netproc_bench::echo::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
