//! TLS end to end: netproc beside tokio-rustls; see `netproc_bench::tls`.
//!
//! `cargo bench -p netproc-bench --bench tls -- --help` lists the options; as a test it only checks
//! bytes.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    netproc_bench::tls::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
