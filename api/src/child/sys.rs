//! The calls for children that no library makes safe: what runs between fork and exec, taking a
//! terminal, and signals by number.
//!
//! Invariant: what runs in the forked child makes system calls and nothing else: no memory, no lock, no
//! panic. Everything else about children is safe code elsewhere.

#![expect(
    unsafe_code,
    reason = "a session of its own is made between fork and exec; see each block"
)]

use std::{io, os::unix::process::CommandExt as _, process::Command};

use nix::{errno::Errno, libc};

use crate::shards::Unpinned;

/// What a child obeys even where this program was started to ignore it, as one in the background of a
/// script is: it could not be interrupted otherwise, and a shell could not wait for its own children.
/// SIGHUP is left as it is, since whoever has it ignored means the children too.
const OBEYED: [libc::c_int; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGCHLD];

/// Has the child of `command` lead a session of its own and obey signals, as Emacs's do: no terminal of
/// ours reaches it, and it leads a group, so that those it starts are signalled with it. With `terminal`,
/// its standard input is one and becomes that of the session. Started in a shard that is kept on a processor, it is not.
pub(crate) fn own_session(command: &mut Command, terminal: bool) {
    let unpinned = Unpinned::here();
    let prepare = move || -> io::Result<()> {
        nix::unistd::setsid()?;
        if let Some(unpinned) = &unpinned {
            unpinned.restore();
        }
        OBEYED.into_iter().try_for_each(obey)?;
        if terminal { take_terminal() } else { Ok(()) }
    };
    // SAFETY: in the forked child `prepare` makes system calls only, all async-signal-safe, and on failure
    // an `io::Error` of a number, which takes no memory; it touches nothing another thread could have held.
    unsafe { command.pre_exec(prepare) };
}

/// Gives a signal its default effect.
fn obey(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no handler is installed, so no code of ours ever runs in a signal's context.
    let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the terminal at standard input that of this session.
fn take_terminal() -> io::Result<()> {
    let Some(request) = converted(libc::TIOCSCTTY) else { return Err(Errno::EINVAL.into()) };
    // SAFETY: a plain system call; the request takes a number as its argument, no memory.
    let taken = unsafe { libc::ioctl(libc::STDIN_FILENO, request, 0) };
    if taken < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The types of a request and of the parameter for it differ, each from system to system.
fn converted<T: TryInto<U>, U>(request: T) -> Option<U> {
    request.try_into().ok()
}

/// Sends the signal of that number to a process, or to the group of that number if it is negative.
pub(super) fn kill(to: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: a plain system call over two numbers. Our own process is not among those it is sent to: the
    // number is that of a child, which the system keeps for us meanwhile.
    let sent = unsafe { libc::kill(to, signal) };
    Errno::result(sent).map(drop)
}
