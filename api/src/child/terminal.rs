//! A terminal for a child: made, named, and set as Emacs sets it.
//!
//! Invariant: both sides are close-on-exec; the child gets copies of its side as its standard streams.

use std::{os::fd::OwnedFd, rc::Rc};

use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
    tcgetattr, tcsetattr,
};

/// Both sides of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Ours.
    pub(crate) master: OwnedFd,
    /// The child's.
    pub(crate) slave: OwnedFd,
    /// The name of the child's side.
    pub(crate) name: Rc<str>,
}

impl Terminal {
    /// Makes a terminal.
    pub(crate) fn open() -> nix::Result<Self> {
        let (master, slave) = pair()?;
        let mut modes = tcgetattr(&slave)?;
        set_modes(&mut modes);
        tcsetattr(&slave, SetArg::TCSANOW, &modes)?;
        let name = nix::unistd::ttyname(&slave)?;
        Ok(Self { master, slave, name: name.to_string_lossy().into() })
    }
}

/// Lines are edited by nobody: what is sent is no typing, so it is not echoed and erases nothing; line ends
/// stay as the child writes them. The rest is as the system has it. So `stty -a` shows it in a child of
/// Emacs 28.2.
fn set_modes(modes: &mut Termios) {
    modes.input_flags.remove(InputFlags::ISTRIP);
    modes.output_flags.insert(OutputFlags::OPOST);
    modes.output_flags.remove(OutputFlags::ONLCR);
    modes.control_flags.remove(ControlFlags::CSIZE);
    modes.control_flags.insert(ControlFlags::CS8);
    modes.local_flags.insert(LocalFlags::ISIG | LocalFlags::ICANON);
    modes.local_flags.remove(LocalFlags::ECHO);
    let characters = &mut modes.control_chars;
    characters[SpecialCharacterIndices::VERASE as usize] = nix::libc::_POSIX_VDISABLE;
    characters[SpecialCharacterIndices::VKILL as usize] = nix::libc::_POSIX_VDISABLE;
    characters[SpecialCharacterIndices::VEOF as usize] = 4;
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    use nix::{
        fcntl::OFlag,
        pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
        sys::stat::Mode,
    };
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = nix::fcntl::open(&*ptsname_r(&master)?, flags, Mode::empty())?;
    Ok((master.into(), slave))
}

/// Elsewhere the two are close-on-exec a moment after they were opened.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let both = nix::pty::openpty(None, None)?;
    for fd in [&both.master, &both.slave] {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok((both.master, both.slave))
}
