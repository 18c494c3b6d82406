//! Connections within the machine, and pipes, whose last read brought less than there was room for.
//!
//! Of a pipe in packet mode, which whoever writes into it may choose, a read brings one packet, however much is
//! behind it, and of the rest no edge will tell. Of a connection a read ends behind bytes that descriptors came
//! with, however much is behind them, and the edge that told of the rest may have been before it. Only `recvmsg(2)`
//! would say so, which costs such a message an eighth more, and reading once more costs a call; so who has been
//! silent for a while is read once more.
//!
//! Invariant: a socket is listed at most once, and there is a time set exactly while anybody is listed. Who is
//! read meanwhile stays, and is not read in vain.

use std::time::Duration;

use netproc_core::{
    reactor::{SockId, Tick},
    slots::Slots,
};

use crate::{hub::Hub, sock::Sock};

/// Bytes behind a descriptor come so much later at least, and twice that at most.
const SILENCE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(crate) struct Doubts {
    sockets: Vec<SockId>,
    pub(crate) at: Option<Tick>,
}

impl Hub {
    /// Has the socket read once more if nothing comes from it for a while.
    pub(crate) fn doubt(&mut self, id: SockId, sock: &mut Sock) {
        sock.listed.fresh = true;
        if !std::mem::replace(&mut sock.listed.doubted, true) {
            self.agenda.doubts.sockets.push(id);
        }
        if self.agenda.doubts.at.is_none() {
            self.agenda.doubts.at = Some(self.now().after(SILENCE));
        }
    }

    /// Gives a turn to those who have been silent, if `at` has come.
    #[inline(never)]
    pub(crate) fn resolve_doubts(&mut self, at: Tick, socks: &mut Slots<Sock>) {
        let now = self.now();
        if now < at {
            return;
        }
        let mut doubtful = std::mem::take(&mut self.agenda.doubts.sockets);
        doubtful.retain(|&id| {
            let Some(sock) = socks.get_mut(id.0) else { return false };
            if std::mem::take(&mut sock.listed.fresh) {
                return true;
            }
            sock.listed.doubted = false;
            if sock.eof {
                return false;
            }
            sock.can_read = true;
            // If there was something, a short read proves nothing from there on.
            sock.drain = true;
            if sock.has_work() {
                self.agenda.ready(id, sock);
            }
            false
        });
        self.agenda.doubts.at = (!doubtful.is_empty()).then(|| now.after(SILENCE));
        self.agenda.doubts.sockets = doubtful;
    }
}
