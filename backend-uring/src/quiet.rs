//! Sends without a completion, where a completion would cost a wait of its own.
//!
//! Invariant: a quiet send never waits: the enter that hands it over does all of it, or posts a completion
//! before it returns. So once the kernel has taken every entry and every completion was looked at, those
//! of which nothing was heard have sent everything. Only a steady stream that nobody watches sends so, all
//! that it has: whatever may come next of it waits for somebody's event in any case.

use netproc_core::outbox::Queue;

use crate::{
    batch::Batch,
    io::Io,
    reactor::UringReactor,
    sock::{Output, Sock},
    sqe,
};

/// So many sockets at most send quietly in one poll. Else the wait for the next message would return at once for the
/// completion of a send, where messages come singly; of many, quiet sends cost more, in the kernel: 2 to 3 % with 50
/// peers.
const QUIET_MAX: usize = 4;
/// What is longer finds room for less of it too often.
const LEN_MAX: usize = 64 * 1024;

/// The quiet sends under way.
pub(crate) struct QuietSends {
    /// Whether the kernel was seen to do them.
    works: bool,
    /// Places of the sockets; one may have failed, and its place be somebody else's.
    sent: Vec<u32>,
}

impl QuietSends {
    pub(crate) fn new(works: bool) -> Self {
        Self { works, sent: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}

impl UringReactor {
    /// Sends what the sockets to settle have, if they are few and it may be sent quietly; settling them
    /// leaves that alone.
    #[inline]
    pub(crate) fn send_quietly(&mut self) {
        if !self.io.quiet.works || self.io.marked.len() > QUIET_MAX {
            return;
        }
        for at in 0..self.io.marked.len() {
            if let Some(sock) = self.sockets.at_mut(self.io.marked[at]) {
                sock.send_quietly(&mut self.io);
            }
        }
    }

    /// Notes which quiet sends are done, after completions were looked at.
    #[inline]
    pub(crate) fn end_quiet_sends(&mut self) {
        if !self.io.quiet.is_empty() && self.io.ring.is_settled() {
            while let Some(index) = self.io.quiet.sent.pop() {
                if let Some(sock) = self.sockets.at_mut(index) {
                    sock.on_quiet_end(&mut self.io);
                }
            }
        }
    }
}

impl Sock {
    fn send_quietly(&mut self, io: &mut Io) {
        if !self.steady || self.watched || self.output != Output::Idle {
            return;
        }
        let Queue::Bytes(outbox) = &self.queue else { return };
        let Some(bytes) = outbox.sole_chunk().filter(|bytes| bytes.len() <= LEN_MAX) else {
            return;
        };
        let (sqe, len) = (sqe::send_quietly(self.raw(), bytes, self.token), bytes.len());
        if self.submit(io, &sqe) {
            self.output = Output::Quiet(len);
            io.quiet.sent.push(self.key.index);
        }
    }

    /// The kernel did not take all of a quiet send.
    pub(crate) fn on_quiet_short(
        &mut self,
        asked: usize,
        result: i32,
        io: &mut Io,
        out: &mut Batch<'_>,
    ) {
        // No longer steady, it sends the rest in an entry that waits for room.
        io.mark(self);
        match usize::try_from(result) {
            Ok(count) => drop(self.took(count.min(asked), asked, io)),
            Err(_) if result == -libc::EAGAIN => io.counters.short_sends += 1,
            Err(_) => self.on_send_error(result.saturating_neg(), io, out),
        }
    }

    /// Nothing was heard of its quiet send, which is therefore done.
    fn on_quiet_end(&mut self, io: &mut Io) {
        let Output::Quiet(asked) = self.output else { return };
        self.output = Output::Idle;
        self.in_flight -= 1;
        io.ended(1, false);
        let all_gone = self.took(asked, asked, io);
        // As after any other send.
        if !(self.steady && all_gone) {
            io.list(self);
        }
    }
}
