//! Waits for sockets, edge-triggered.

use std::{io, os::fd::AsFd, time::Duration};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::PATIENCE;

pub(super) struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    ready: Vec<usize>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); 256], ready: Vec::new() })
    }

    /// Reports a socket as `index` whenever it has something to read or room to write again.
    pub(super) fn add(&self, socket: impl AsFd, index: usize) -> io::Result<()> {
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        Ok(self.epoll.add(socket, EpollEvent::new(interest, index as u64))?)
    }

    /// Waits until something is ready; nothing for as long as [`PATIENCE`] is an error.
    pub(super) fn wait(&mut self) -> io::Result<Vec<usize>> {
        let ready = self.wait_for(PATIENCE)?;
        if ready.is_empty() {
            let what = format!("nothing came back for {} seconds", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        Ok(ready)
    }

    /// Waits until something is ready, or in vain. Give the list back with [`Self::reuse`].
    pub(super) fn wait_for(&mut self, patience: Duration) -> io::Result<Vec<usize>> {
        let timeout = EpollTimeout::try_from(patience).map_err(io::Error::other)?;
        let count = loop {
            match self.epoll.wait(&mut self.events, timeout) {
                Err(nix::Error::EINTR) => {}
                waited => break waited?,
            }
        };
        let mut ready = std::mem::take(&mut self.ready);
        let index = |event: &EpollEvent| usize::try_from(event.data()).expect("it was an index");
        ready.extend(self.events[..count].iter().map(index));
        Ok(ready)
    }

    /// Takes the list of a wait back, so that the next one allocates nothing.
    pub(super) fn reuse(&mut self, mut ready: Vec<usize>) {
        ready.clear();
        self.ready = ready;
    }
}
