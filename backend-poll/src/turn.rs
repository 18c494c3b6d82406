//! One poll: send, wait, take turns, tell the ends.
//!
//! Invariant: bounded work. Each list is gone through once, as long as it was; what could go on, or
//! did not fit the batch, stays listed and makes the next wait one of no length.

use std::{os::fd::AsFd as _, time::Duration};

use netproc_core::{
    outbox::Queue,
    reactor::{CloseHow, Event, Op, SockId, SysError, Tick, Wait},
    slots::Key,
};
use nix::errno::Errno;

use crate::{
    hub::{Batch, Hub},
    life,
    pace::{ALL, FEW},
    packets, pipes,
    reactor::PollReactor,
    selector::{AnySelector, OURS, Ready, Selector as _},
    sock::{Class, Phase, Sock},
    stream,
};

impl PollReactor {
    pub(crate) fn one_poll(&mut self, wait: Wait, batch: &mut Batch<'_>) -> Result<(), SysError> {
        let only_looks = wait.only_looks(|| self.hub.now());
        // First, or those who have something in each poll could fill a small batch; every other time, or wakes could.
        self.woke_first = !self.woke_first && self.waker.is_pending() && self.tell_woken(batch);
        if only_looks {
            batch.take_all_bytes();
        }
        // What the last batch's callbacks have queued goes out before anything else.
        self.flush_dirty();
        if self.hub.agenda.is_behind() {
            self.tell_rest(batch);
        }
        self.feed_starving();
        self.go_on(batch);
        let asks = only_looks || self.pace.is_to_ask() && !self.hub.agenda.goes_on();
        let mut filled = false;
        if asks {
            let timeout = self.timeout(wait, batch);
            filled = self.wait(only_looks, timeout)?;
        }
        self.expire();
        if let Some(at) = self.hub.agenda.doubts.at {
            self.hub.resolve_doubts(at, &mut self.socks);
        }
        self.take_turns(batch);
        // One of a poll: what has woken since the first was told is the next one's.
        if !self.woke_first && (self.found.woken || self.waker.is_pending()) {
            self.tell_woken(batch);
        }
        self.tell_troubles(batch);
        self.tell_sent(batch);
        self.close_ended(batch);
        self.pace.came(batch.bytes());
        if asks {
            self.pace.asked(filled, self.hub.agenda.ready.len());
        }
        Ok(())
    }

    /// Sends what was queued since the last time, a turn for each socket.
    pub(crate) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.hub.agenda.dirty);
        for id in dirty.drain(..) {
            if let Some(sock) = self.socks.get_mut(id.0) {
                sock.listed.dirty = false;
                flush(id, sock, &mut self.hub);
            }
        }
        debug_assert!(self.hub.agenda.dirty.is_empty(), "sending queues nothing new");
        self.hub.agenda.dirty = dirty;
        while let Some(id) = self.hub.agenda.blocked.pop() {
            if let Some(sock) = self.socks.get_mut(id.0) {
                tell_room(id, sock, true, &mut self.selector, &mut self.hub);
            }
        }
    }

    /// Tells what earlier polls had no room for, or what sending has ended.
    #[inline(never)]
    fn tell_rest(&mut self, batch: &mut Batch<'_>) {
        self.close_finished();
        self.tell_pieces(batch);
        // Every other time, or those who send in each poll could fill a small batch, and those whose packets are
        // refused a large one.
        let agenda = &self.hub.agenda;
        let sent = !(agenda.sent.is_empty() && agenda.troubles.is_empty());
        self.sent_first = !self.sent_first && sent;
        if self.sent_first {
            self.tell_troubles(batch);
        }
        self.close_ended(batch);
        if self.sent_first {
            self.tell_sent(batch);
        }
    }

    /// Closes the ends of pipes that nothing more goes into.
    pub(crate) fn close_finished(&mut self) {
        while let Some(sink) = self.hub.agenda.finished.pop() {
            self.selector.remove(sink.as_fd(), true);
        }
    }

    /// Sends what one socket has queued and does what was to follow.
    pub(crate) fn flush(&mut self, id: SockId) {
        if let Some(sock) = self.socks.get_mut(id.0) {
            flush(id, sock, &mut self.hub);
        }
        self.close_finished();
    }

    /// Lets as many starving sockets read as there is memory for, oldest first.
    pub(crate) fn feed_starving(&mut self) {
        let mut fed = Vec::new();
        for intake in self.hub.intakes_mut() {
            let mut turns = intake.fed();
            while turns > 0
                && let Some(id) = intake.next_starving()
            {
                let Some(sock) = self.socks.get_mut(id.0) else { continue };
                sock.listed.starving = false;
                // The dead and the paused use none of the memory, and are nobody's turn: with any
                // left to wait, somebody here makes the next wait one of no length.
                if sock.has_work() {
                    turns -= 1;
                    fed.push(id);
                }
            }
        }
        for id in fed {
            if let Some(sock) = self.socks.get_mut(id.0) {
                self.hub.agenda.ready(id, sock);
            }
        }
    }

    /// How long the kernel may keep us: `None` for ever.
    fn timeout(&mut self, wait: Wait, batch: &Batch<'_>) -> Option<Duration> {
        if wait == Wait::No || !batch.is_empty() || self.hub.agenda.is_pressing() {
            return Some(Duration::ZERO);
        }
        let ours = self.next_time();
        let until = match wait {
            Wait::Until(at) => Some(ours.map_or(at, |ours| ours.min(at))),
            Wait::No | Wait::Forever => ours,
        };
        until.map(|until| until.since(self.hub.now()))
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn next_time(&mut self) -> Option<Tick> {
        let deadline = self.next_deadline().map(|(at, _)| at);
        deadline.into_iter().chain(self.hub.agenda.doubts.at).min()
    }

    fn next_deadline(&mut self) -> Option<(Tick, SockId)> {
        let socks = &self.socks;
        self.hub.agenda.next_deadline(|id, at| socks.get(id.0).is_some_and(|sock| sock.is_due(at)))
    }

    /// Asks the kernel who is ready: all that are, or as many as can have a turn soon; returns whether there may be
    /// more.
    fn wait(&mut self, all: bool, timeout: Option<Duration>) -> Result<bool, SysError> {
        let room = if all || self.socks.len() <= FEW {
            ALL
        } else {
            self.pace.room(self.hub.agenda.ready.len(), self.hub.bytes_max())
        };
        let mut filled = self.ask(room, timeout)?;
        // Each is told of once, by kqueue twice, or again and again.
        while filled && all && self.found.sockets.len() <= 2 * self.socks.len() {
            filled = self.ask(ALL, Some(Duration::ZERO))?;
        }
        Ok(filled)
    }

    fn ask(&mut self, room: usize, timeout: Option<Duration>) -> Result<bool, SysError> {
        self.hub.counters.waits += 1;
        self.hub.counters.syscalls += 1;
        let mut found = std::mem::take(&mut self.found);
        let filled = match self.selector.wait(&self.socks, &self.waker, room, timeout, &mut found) {
            Ok(filled) => filled,
            // A signal: whoever waits for one wants to look.
            Err(Errno::EINTR) => false,
            Err(err) => return Err(SysError { op: Op::Wait, errno: err as i32 }),
        };
        self.found = found;
        Ok(filled)
    }

    /// Remembers what the kernel said of a socket, whether it is wanted now or not, and gives it its turn
    /// at once if it can have one.
    #[inline]
    pub(crate) fn note_ready(&mut self, key: Key, ready: Ready, batch: &mut Batch<'_>) {
        let Some(sock) = self.socks.get_mut(key) else {
            self.hub.counters.stale += u64::from(key.index != OURS);
            return;
        };
        let id = SockId(key);
        let room = sock.note(ready);
        // Of others nothing is looked at that lies further down in the socket.
        if sock.class == Class::Packets && ready.writable && sock.tells_room {
            tell_room(id, sock, false, &mut self.selector, &mut self.hub);
        }
        // Who has had a turn and could go on has its next in the next poll.
        let turn = !sock.listed.ready && !batch.is_done();
        if turn && !room && sock.only_reads() {
            stream::read(id, sock, &mut self.hub, batch);
        } else if sock.has_work() {
            if turn {
                self.turn(id, batch);
            } else {
                self.hub.agenda.ready(id, sock);
            }
        }
    }

    /// Does what is due: rests end, connects are tried again, flushing closes lose patience.
    fn expire(&mut self) {
        let Some((mut at, mut id)) = self.next_deadline() else { return };
        let now = self.hub.now();
        while at <= now {
            self.hub.agenda.pop_deadline();
            if let Some(sock) = self.socks.get_mut(id.0) {
                if sock.flush_by.is_some_and(|by| by <= now) {
                    sock.flush_by = None;
                    life::end(id, sock, &mut self.hub, None);
                } else if matches!(sock.phase, Phase::Refused(_)) {
                    self.retry_connect(id);
                } else {
                    sock.retry_at = None;
                    sock.can_write = true;
                    if sock.has_work() {
                        self.hub.agenda.ready(id, sock);
                    }
                }
            }
            let Some(next) = self.next_deadline() else { return };
            (at, id) = next;
        }
    }

    /// Goes on with the turn that the end of the last poll has cut: what it brought has been sent on since, and what
    /// comes now lies in the same slot, which is in cache. Whose peer takes no more has its next turn as all others.
    #[inline]
    fn go_on(&mut self, batch: &mut Batch<'_>) {
        let Some((id, reads)) = self.hub.agenda.take_going_on() else { return };
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        sock.listed.ready = false;
        if sock.may_go_on() {
            stream::read_on::<true>(id, sock, &mut self.hub, batch, reads);
        } else if sock.has_work() {
            self.hub.agenda.ready(id, sock);
        }
    }

    /// A turn for each socket that was on the hot list when this began, then for each that the kernel has
    /// just named.
    fn take_turns(&mut self, batch: &mut Batch<'_>) {
        for _ in 0..self.hub.agenda.ready.len() {
            if batch.is_done() {
                break;
            }
            let Some(id) = self.hub.agenda.ready.pop_front() else { break };
            self.pace.turn();
            if let Some(sock) = self.socks.get_mut(id.0) {
                sock.listed.ready = false;
                self.turn(id, batch);
            }
        }
        let mut found = std::mem::take(&mut self.found.sockets);
        for (key, ready) in found.drain(..) {
            self.note_ready(key, ready, batch);
        }
        self.found.sockets = found;
    }

    #[inline(never)]
    fn turn(&mut self, id: SockId, batch: &mut Batch<'_>) {
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        if sock.can_write && sock.wants_output() {
            if matches!(sock.phase, Phase::Connecting) {
                self.finish_connect(id, batch);
            } else {
                self.flush(id);
            }
        }
        let Some(sock) = self.socks.get_mut(id.0) else { return };
        if sock.can_read && sock.wants_input() && !sock.is_starving() {
            let hub = &mut self.hub;
            match sock.class {
                Class::Listener(kind) => self.accept(id, kind, batch),
                Class::Stream | Class::Local | Class::Records | Class::Pipes if sock.discards() => {
                    stream::discard(id, sock, hub, batch);
                }
                Class::Stream | Class::Local | Class::Pipes => {
                    stream::read_any(id, sock, hub, batch);
                }
                Class::Records | Class::Packets => packets::read(id, sock, hub, batch),
            }
        } else if sock.error && sock.eof && !matches!(sock.phase, Phase::Ended) {
            life::late_error(id, sock, &mut self.hub);
        }
    }

    /// Does not wait for the kernel's word of it, which comes behind that of everybody who was ready before; returns
    /// whether there was one to tell.
    #[inline(never)]
    fn tell_woken(&mut self, batch: &mut Batch<'_>) -> bool {
        // Without room it stays readable, and the next wait ends at once.
        if batch.is_full() {
            return false;
        }
        self.found.woken = false;
        let woken = self.waker.take();
        if woken {
            batch.push(Event::Woken);
        }
        woken
    }

    /// Packets that the last batch had no room for; those of a socket its owner has closed are nobody's.
    fn tell_pieces(&mut self, batch: &mut Batch<'_>) {
        while !batch.is_full()
            && let Some(event) = self.hub.agenda.pieces.pop()
        {
            let owner = event.owner().and_then(|id| self.socks.get(id.0));
            if owner.is_some_and(|sock| sock.close.is_none()) {
                batch.push(event);
            }
        }
    }

    fn tell_troubles(&mut self, batch: &mut Batch<'_>) {
        while !batch.is_full()
            && let Some((id, err)) = self.hub.agenda.troubles.pop_front()
        {
            if let Some(sock) = self.socks.get_mut(id.0) {
                sock.listed.troubled = false;
                batch.push(Event::Trouble { id, err });
            }
        }
    }

    fn tell_sent(&mut self, batch: &mut Batch<'_>) {
        while !batch.is_full()
            && let Some(id) = self.hub.agenda.sent.pop_front()
        {
            let Some(sock) = self.socks.get_mut(id.0) else { continue };
            sock.listed.sent = false;
            let bytes = std::mem::take(&mut sock.sent);
            if sock.watched {
                batch.push(Event::Sent { id, bytes, queued: sock.out.bytes() });
            }
        }
    }

    /// Closes what is over and tells it, as the last word of each id.
    fn close_ended(&mut self, batch: &mut Batch<'_>) {
        // Whatever else there is to tell of them comes first.
        while !batch.is_full() && self.hub.agenda.pieces.is_empty() {
            let Some(&id) = self.hub.agenda.ended.front() else { return };
            let sock = self.socks.get_mut(id.0);
            if sock.as_ref().is_some_and(|sock| sock.listed.troubled) {
                return;
            }
            if let Some(sock) = sock
                && sock.sent > 0
            {
                let (bytes, queued) = (std::mem::take(&mut sock.sent), sock.out.bytes());
                batch.push(Event::Sent { id, bytes, queued });
                continue;
            }
            self.hub.agenda.ended.pop_front();
            let Some(sock) = self.socks.remove(id.0) else { continue };
            if sock.close == Some(CloseHow::Reset) {
                // Refused only where there is no connection left to reset.
                let _gone = sock.socket.set_linger(Some(Duration::ZERO));
            }
            self.selector.remove(sock.socket.as_fd(), sock.shared);
            if let Some(sink) = &sock.sink {
                self.selector.remove(sink.as_fd(), sock.shared);
            }
            let (unsent, cause, had_limit) = (sock.unsent(), sock.cause, sock.flush_by.is_some());
            self.hub.counters.syscalls += 1;
            // Closed first: whoever hears of the end may count on the descriptor being free.
            drop(sock);
            if had_limit {
                let socks = &self.socks;
                let holds = |id: SockId, at| socks.get(id.0).is_some_and(|sock| sock.is_due(at));
                self.hub.agenda.tidy_deadlines(socks.len(), holds);
            }
            batch.push(Event::Closed { id, cause, unsent });
            self.end_rests();
        }
    }
}

/// Has a socket of UDP told of room to write, or no more.
#[cold]
fn tell_room(id: SockId, sock: &mut Sock, on: bool, selector: &mut AnySelector, hub: &mut Hub) {
    if std::mem::replace(&mut sock.tells_room, on) != on {
        hub.counters.syscalls += u64::from(matches!(selector, AnySelector::Epoll(_)));
        // It is watched, and a change takes no memory: nothing can be refused.
        let _told = selector.tell_room(sock.socket.as_fd(), id, on);
    }
}

/// Sends what a socket has queued and does what was to follow: of an open stream whose owner goes on, which
/// is almost every one, nothing.
#[inline(always)]
fn flush(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    if sock.can_write && sock.takes_output() {
        stream::flush(id, sock, hub);
    } else {
        flush_any(id, sock, hub);
    }
}

#[inline(never)]
fn flush_any(id: SockId, sock: &mut Sock, hub: &mut Hub) {
    if sock.can_write && matches!(sock.phase, Phase::Open) {
        match sock.out {
            Queue::Bytes(_) if sock.class == Class::Pipes => pipes::flush(id, sock, hub),
            Queue::Bytes(_) => stream::flush(id, sock, hub),
            Queue::Packets(_) => packets::flush(id, sock, hub),
        }
    }
    life::output_settled(id, sock, hub);
}
