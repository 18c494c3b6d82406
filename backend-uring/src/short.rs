//! The short way of almost every completion: bytes received by a steady stream, or all it had sent.
//!
//! Invariant: what is dealt with here changes nothing that the next settling would have to look at, so
//! nobody is marked, and the completions are passed over in one go. Whatever is not as it almost always
//! is stays untouched and is [`crate::reactor`]'s to complete.

use netproc_core::{outbox::Queue, reactor::Counters};

use crate::{
    batch::Batch,
    buffers::BufferGroup,
    cqe::Completion,
    io::Io,
    reactor::UringReactor,
    sock::{Output, Sock},
    token::OpKind,
};

impl UringReactor {
    /// Bytes received by steady streams and bytes sent for them, which is almost every completion, take
    /// the short way; returns how many did, and the first that cannot. Each brings one event at most.
    #[inline(always)]
    pub(crate) fn complete_short(&mut self, out: &mut Batch<'_>) -> (usize, Option<Completion>) {
        let Io { ring, streams, counters, in_flight, .. } = &mut self.io;
        ring.take_short(out.room(), |completion| {
            let token = completion.token;
            if token.is(OpKind::Recv) {
                let sock = self.sockets.at_mut(token.index());
                sock.filter(|sock| token.is_of(sock.token))
                    .is_some_and(|sock| sock.on_part(completion, streams, counters, out))
            } else {
                let sock = self.sockets.at_mut(token.index()).filter(|sock| token == sock.token);
                let done = sock.is_some_and(|sock| sock.on_all_sent(completion.result, counters));
                *in_flight -= u64::from(done);
                done
            }
        })
    }
}

impl Sock {
    /// A receive of a steady stream brought bytes and goes on in the same slot: they are told of. Returns
    /// whether it was that.
    #[inline(always)]
    fn on_part(
        &self,
        completion: &Completion,
        streams: &mut BufferGroup,
        counters: &mut Counters,
        out: &mut Batch<'_>,
    ) -> bool {
        let Some(buf) = self.steady.then(|| streams.complete_part(completion)).flatten() else {
            return false;
        };
        counters.received += buf.len() as u64;
        out.push_data(self.id(), buf);
        true
    }

    /// A send has come to its end: if it was for a steady stream, nobody watches, and all that was queued
    /// is gone, that is noted; returns whether it was.
    #[inline(always)]
    fn on_all_sent(&mut self, result: i32, counters: &mut Counters) -> bool {
        let Queue::Bytes(outbox) = &mut self.queue else { return false };
        let Output::Sending(asked) = self.output else { return false };
        let all = usize::try_from(result) == Ok(asked) && outbox.bytes() == asked as u64;
        if !(all && self.steady && !self.watched) {
            return false;
        }
        outbox.advance(asked);
        self.output = Output::Idle;
        self.in_flight -= 1;
        counters.sent += asked as u64;
        true
    }
}
