//! What can go wrong before a child runs.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
};

use netproc_core::reactor::{Op, SysError};

use super::StartError;

/// Why a child could not be started. Nothing is left of it: no process, no name, no descriptor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A bound that nothing can live with, or a coding system that cannot be.
    #[error(transparent)]
    Arguments(#[from] StartError),
    /// The name of the program or its folder, an argument or a variable has a NUL in it.
    #[error("a NUL in what a program is given")]
    Nul,
    /// The folder it is to run in cannot be entered.
    #[error("cannot run a program in {}", cwd.display())]
    Cwd {
        /// The folder.
        cwd: PathBuf,
        /// What the system said.
        source: SysError,
    },
    /// The program is not there, or cannot be run.
    #[error("cannot run {}", program.display())]
    Program {
        /// The program, as given.
        program: OsString,
        /// What the system said.
        source: SysError,
    },
    /// The system has no pipe, terminal, descriptor, thread or process left.
    #[error("no resources for a child")]
    Resources(#[source] SysError),
    /// This reactor, a simulation, has no real descriptors.
    #[error("the {0} backend starts no programs")]
    Unsupported(&'static str),
}

fn sys(err: &io::Error) -> SysError {
    SysError::new(Op::Spawn, err)
}

impl SpawnError {
    pub(crate) fn no_resources(err: &io::Error) -> Self {
        Self::Resources(sys(err))
    }

    /// What was said by the start itself.
    pub(crate) fn of_program(program: &OsStr, err: &io::Error) -> Self {
        use nix::libc::{EAGAIN, EMFILE, ENFILE, ENOMEM};
        match err.raw_os_error() {
            // The standard library looks for these itself.
            None if err.kind() == io::ErrorKind::InvalidInput => Self::Nul,
            Some(EAGAIN | EMFILE | ENFILE | ENOMEM) => Self::no_resources(err),
            _ => Self::Program { program: program.into(), source: sys(err) },
        }
    }
}
