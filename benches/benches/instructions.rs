//! Instructions a message costs, counted by callgrind and held to bounds; see
//! `netproc_bench::instructions`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    netproc_bench::instructions::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
