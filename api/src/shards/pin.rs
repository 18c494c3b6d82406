//! Keeps a thread on one processor.
//!
//! Invariant: only processors that the program was given are used. Linux alone has this; elsewhere it is an
//! error, never ignored.

use std::io;

/// Keeps this thread on the processor number `shard` of those it may use, counted round about.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn pin(shard: usize) -> io::Result<()> {
    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        unistd::Pid,
    };
    let myself = Pid::from_raw(0);
    let allowed = sched_getaffinity(myself)?;
    let usable = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let usable: Vec<usize> = (0..CpuSet::count()).filter(usable).collect();
    let cpu = usable.get(shard % usable.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
    let mut one = CpuSet::new();
    one.set(*cpu)?;
    Ok(sched_setaffinity(myself, &one)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn pin(_shard: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
