//! Keeps a thread on one processor, and lets go of it what such a thread starts.
//!
//! Invariant: only processors that the program was given are used. Linux alone has this; elsewhere it is an
//! error, never ignored.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{Unpinned, pin};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use elsewhere::{Unpinned, pin};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::{cell::Cell, io};

    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        unistd::Pid,
    };

    thread_local! {
        /// What this thread could use before it was kept on one.
        static BEFORE: Cell<Option<CpuSet>> = const { Cell::new(None) };
    }

    /// Keeps this thread on the processor number `shard` of those it may use, counted round about.
    pub(crate) fn pin(shard: usize) -> io::Result<()> {
        let myself = Pid::from_raw(0);
        let allowed = sched_getaffinity(myself)?;
        let usable = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
        let usable: Vec<usize> = (0..CpuSet::count()).filter(usable).collect();
        let cpu = usable.get(shard % usable.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
        let mut one = CpuSet::new();
        one.set(*cpu)?;
        sched_setaffinity(myself, &one)?;
        BEFORE.set(Some(allowed));
        Ok(())
    }

    /// The processors for what a thread starts: those it could use before it was kept on one.
    #[derive(Clone, Copy)]
    pub(crate) struct Unpinned(CpuSet);

    impl Unpinned {
        /// Of this thread, if it is kept on one.
        pub(crate) fn here() -> Option<Self> {
            BEFORE.get().map(Self)
        }

        /// Lets the calling thread, or process, use them. One system call, and no more than that.
        pub(crate) fn restore(&self) {
            // Taken from the program meanwhile, they are not to be had: it stays where it is.
            let _refused = sched_setaffinity(Pid::from_raw(0), &self.0);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    use std::io;

    pub(crate) fn pin(_shard: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// There is none: no thread is kept on a processor.
    #[derive(Clone, Copy)]
    pub(crate) enum Unpinned {}

    impl Unpinned {
        pub(crate) const fn here() -> Option<Self> {
            None
        }

        pub(crate) const fn restore(&self) {
            match *self {}
        }
    }
}
