//! A mechanism this system has not got: it cannot be made, so nothing else here is ever called.

use std::{convert::Infallible, os::fd::BorrowedFd, time::Duration};

use netproc_core::{reactor::SockId, slots::Slots};
use nix::errno::Errno;

use super::{Found, Selector, Side};
use crate::{sock::Sock, wake::PollWaker};

#[derive(Debug)]
pub(crate) struct Absent(Infallible);

impl Absent {
    pub(crate) fn new(_: &PollWaker) -> nix::Result<Self> {
        Err(Errno::EOPNOTSUPP)
    }
}

impl Selector for Absent {
    fn add(&mut self, _: BorrowedFd<'_>, _: SockId, _: Side) -> nix::Result<()> {
        match self.0 {}
    }

    fn tell_room(&mut self, _: BorrowedFd<'_>, _: SockId, _: bool) -> nix::Result<()> {
        match self.0 {}
    }

    fn remove(&mut self, _: BorrowedFd<'_>, _: bool) {
        match self.0 {}
    }

    fn wait(
        &mut self,
        _: &Slots<Sock>,
        _: &PollWaker,
        _: usize,
        _: Option<Duration>,
        _: &mut Found,
    ) -> nix::Result<bool> {
        match self.0 {}
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self.0 {}
    }

    fn arm(&mut self, _: Option<Duration>) -> nix::Result<()> {
        match self.0 {}
    }
}
