//! One cell of one's own choice, end to end; see `netproc_bench::echo`.
//!
//! `cargo bench -p netproc-bench --bench echo -- --help` lists the options.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    netproc_bench::echo::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
