//! What the driver and the callbacks do: send, stop, exchange, delete, start, set timers, misbehave.
//!
//! Invariant: the model takes each step before the runtime is asked to, and the runtime's answer must
//! be the one the model has.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use netproc::{CloseHow, Kind, Payload, Process, SendError};
use netproc_core::reactor::Tick;

use crate::swarm::{
    ports,
    runtime::{
        Lapse,
        model::{Filter, Life, Role},
        plan::{LONG, Style, narrow},
        world::World,
    },
    streams,
};

/// Packets one client sends at most.
const PACKETS_MAX: u32 = 40;

impl World {
    /// Something done inside a callback.
    pub(super) fn inside(self: &Rc<Self>) {
        if !self.meddling.get() || !self.percent(self.plan.lively) {
            return;
        }
        if self.percent(30) {
            self.wait(None);
        } else {
            self.act();
        }
        if self.percent(20) {
            self.check_all();
        }
    }

    /// Does one thing.
    pub(super) fn act(self: &Rc<Self>) {
        if self.percent(self.plan.deadly) {
            return self.delete_some();
        }
        match self.below(100) {
            0..=14 => self.start_client(),
            15..=44 => {
                let live = |life| matches!(life, Life::Open | Life::Connect);
                let client = self.pick(|s| matches!(s.role, Role::Client(_)) && live(s.life));
                if let Some((index, process)) = client {
                    self.send_some(index, &process);
                }
            }
            45..=54 => self.stop_or_resume(),
            55..=64 => self.exchange(),
            65..=74 => self.set_timer_or_cancel(),
            75..=79 => self.post(),
            80..=84 => self.finish_some(),
            85..=89 => {
                if let Some((index, process)) = self.pick(|s| s.life == Life::Open && s.is_stream())
                {
                    let mut subject = self.subject(index);
                    (subject.asked, subject.owed) = (subject.asked + 1, true);
                    drop(subject);
                    process.notify_drained();
                }
            }
            90..=97 => self.send_packet_of_some(),
            _ => self.held.borrow_mut().clear(),
        }
    }

    fn stop_or_resume(&self) {
        let Some((index, process)) = self.pick(|subject| subject.life != Life::Never) else {
            return;
        };
        let mut subject = self.subject(index);
        subject.stopped = if self.percent(60) { !subject.stopped } else { subject.stopped };
        let stopped = subject.stopped;
        drop(subject);
        if stopped {
            process.stop();
        } else {
            process.resume();
        }
    }

    /// Exchanges a filter or a sentinel, or takes a filter away.
    fn exchange(self: &Rc<Self>) {
        let Some((index, process)) = self.pick(|s| s.is_listed()) else { return };
        let pull = matches!(self.subject(index).role, Role::Server(Style::Pull));
        match self.below(if self.plan.drops { 4 } else { 5 }) {
            0 if !pull => self.install_filter(index, &process),
            1 => self.install_own_filter(index, &process),
            2 if !pull => self.install_sentinel(index, &process),
            3 => {
                let mut subject = self.subject(index);
                (subject.filter, subject.deaf) = (Filter::None, true);
                drop(subject);
                process.ignore_input();
            }
            4 => {
                let mut subject = self.subject(index);
                (subject.filter, subject.deaf) = (Filter::None, false);
                drop(subject);
                process.clear_filter();
            }
            _ => {}
        }
    }

    fn delete_some(self: &Rc<Self>) {
        if self.percent(20) {
            return self.delete_starting();
        }
        let spared = self.percent(70);
        let wanted = self.pick(|subject| {
            subject.is_listed() && !(spared && matches!(subject.role, Role::Server(_)))
        });
        let Some((index, process)) = wanted else { return };
        let within = Duration::from_micros(self.below(20_000));
        let how = match self.below(5) {
            0 => Some(CloseHow::Now),
            1 => Some(CloseHow::Reset),
            2 => Some(CloseHow::Flush { within }),
            3 => Some(CloseHow::Flush { within: LONG }),
            _ => None,
        };
        self.delete(index, &process, how, true);
    }

    /// Deletes what somebody is waiting for just now.
    fn delete_starting(&self) {
        let starting = self.pick_all(|s| s.life == Life::Starting && s.process.is_none());
        let Some(&index) = starting.last() else { return };
        let name = self.subject(index).name.clone();
        if let Some(process) = self.rt.get_process(&name) {
            self.bind(index, &process);
            self.delete(index, &process, None, true);
        }
    }

    /// Deletes one process; `cut` says that its conversation was not over.
    pub(super) fn delete(&self, index: usize, process: &Process, how: Option<CloseHow>, cut: bool) {
        let flushes = match how {
            Some(CloseHow::Flush { within }) => within == LONG,
            Some(CloseHow::Now | CloseHow::Reset) => false,
            None => process.queued() > 0 && !self.plan.hasty,
        };
        let mut subject = self.subject(index);
        let life = subject.life;
        subject.flushed |= flushes && life == Life::Open;
        let first = subject.is_listed() || life == Life::Starting;
        if first {
            subject.life = Life::Closed;
            subject.cut |= cut;
        }
        let (role, nameless) = (subject.role, subject.talk.is_none());
        subject.pending.clear();
        let told = subject.sentinel.is_some();
        drop(subject);
        if let Role::Child(server) = role
            && nameless
        {
            // Whose conversation it cut cannot be known any more.
            self.subject(server).excuses = true;
        }
        match how {
            Some(how) => process.delete_with(how),
            None => process.delete(),
        }
        let mut subject = self.subject(index);
        let heard = std::mem::replace(&mut subject.ended, true);
        drop(subject);
        if first && told && !heard {
            self.fail_of(index, "was not told that it was deleted");
        }
        self.check(index);
    }

    /// Sends one payload and compares the answer with the model.
    pub(super) fn send(
        &self,
        index: usize,
        process: &Process,
        payload: Payload,
    ) -> Result<u64, SendError> {
        let len = payload.len() as u64;
        let max = self.plan.limits.queue_len_max;
        let sent = process.send(payload);
        let mut subject = self.subject(index);
        let life = subject.life;
        let may = matches!(life, Life::Open | Life::Connect | Life::Starting);
        let right = match &sent {
            Ok(waiting) => {
                subject.given += len;
                subject.longest = subject.longest.max(len);
                if process.kind() == Kind::SeqPacket {
                    subject.records.push_back(narrow(len));
                }
                may && !subject.finished && *waiting < max + len
            }
            Err(SendError::QueueFull { queued, limit }) => {
                (subject.asked, subject.owed) = (subject.asked + 1, true);
                self.report.borrow_mut().refused += 1;
                may && !subject.finished && *limit == max && *queued >= max
            }
            Err(SendError::Finished) => {
                let draining = !subject.finished;
                subject.draining |= draining;
                may && !(draining && subject.half_open)
            }
            Err(SendError::NotOpen(status)) => !may && !status.is_live(),
            Err(SendError::NoPeer) => subject.role == Role::PacketServer,
            Err(_) => false,
        };
        drop(subject);
        self.note(8, sent.unwrap_or(u64::MAX));
        if !right {
            self.fail_of(index, &format!("sending {len} bytes was answered by {sent:?}"));
        }
        sent
    }

    /// Sends some of what a client has left to say; returns whether any was taken.
    pub(super) fn send_some(&self, index: usize, process: &Process) -> bool {
        let (given, total, may) = {
            let subject = self.subject(index);
            let live = matches!(subject.life, Life::Open | Life::Connect);
            (subject.given, subject.total, live && !subject.finished)
        };
        let left = usize::try_from(total - given).unwrap_or(usize::MAX);
        if left == 0 || !may {
            return false;
        }
        // The first record must name the conversation.
        let record = process.kind() == Kind::SeqPacket;
        let least = if record { left.min(4) } else { 1 };
        let len = self.length(self.chunk_max(process)).min(left).max(least);
        let bytes = streams::bytes(index, given, len);
        let payload =
            if self.percent(50) { Payload::Owned(bytes) } else { Payload::Shared(bytes.into()) };
        self.send(index, process, payload).is_ok()
    }

    /// Ends the sending direction of one process.
    pub(super) fn finish(&self, index: usize, process: &Process) {
        let done = process.send_eof();
        let mut subject = self.subject(index);
        let live = matches!(subject.life, Life::Open | Life::Connect | Life::Starting);
        let wrong = done.is_ok() != live;
        if live && subject.is_stream() {
            subject.finished = true;
            subject.total = subject.given;
            // An answer that ends before the question does cuts it short.
            subject.cut |= matches!(subject.role, Role::Child(_));
        }
        drop(subject);
        if wrong {
            self.fail_of(index, &format!("ending its sending was answered by {done:?}"));
        }
    }

    fn finish_some(&self) {
        let rare = self.percent(10);
        let wanted = |role| rare || matches!(role, Role::Client(_));
        if let Some((index, process)) = self.pick(|subject| wanted(subject.role)) {
            self.finish(index, &process);
        }
    }

    fn send_packet_of_some(&self) {
        let clients = |role| matches!(role, Role::PacketClient);
        let Some((index, process)) = self.pick(|s| clients(s.role) && s.life == Life::Open) else {
            return;
        };
        let number = self.subject(index).packets;
        if number < PACKETS_MAX {
            let name = u8::try_from(index).unwrap_or(u8::MAX);
            let packet = ports::packet(name, number, self.packet_len_max());
            self.subject(index).packets += 1;
            self.send_packet(index, &process, packet.into());
        }
    }

    /// Sends one packet; what is refused is lost, as packets may be.
    pub(super) fn send_packet(&self, index: usize, process: &Process, packet: Payload) {
        self.send(index, process, packet).ok();
    }

    fn set_timer_or_cancel(self: &Rc<Self>) {
        let count = self.handles.borrow().len();
        if count > 0 && self.percent(40) {
            let chosen = self.position(count);
            let (key, timer) = self.handles.borrow_mut().swap_remove(chosen);
            let pending = self.timers.borrow_mut().remove(&key);
            if timer.cancel() != pending {
                self.fail(format!("cancelling the timer {key:?}, pending: {pending}"));
            }
            self.report.borrow_mut().timers += u64::from(pending);
            return;
        }
        let zero = self.percent(30);
        let delay = if zero { 0 } else { self.below(10_000) };
        let links = self.below(4);
        self.set_timer(Duration::from_micros(delay), links);
    }

    fn set_timer(self: &Rc<Self>, delay: Duration, links: u64) {
        let key = (self.due(delay), self.timer_count.get());
        self.timer_count.set(key.1 + 1);
        self.timers.borrow_mut().insert(key);
        let world = Rc::downgrade(self);
        let timer = self.rt.run_after(delay, move |_| {
            if let Some(world) = world.upgrade() {
                world.rang(key, links);
            }
        });
        self.handles.borrow_mut().push((key, timer));
    }

    /// A timer ran: the first that was due, and not before its time.
    fn rang(self: &Rc<Self>, key: (Tick, u64), links: u64) {
        self.report.borrow_mut().heard += 1;
        self.report.borrow_mut().timers += 1;
        self.note(9, key.1);
        let early = self.lapse == Some(Lapse::EarlyTimer);
        let now = if early { Tick::default() } else { self.now() };
        let first = self.timers.borrow_mut().pop_first();
        if now < key.0 || first != Some(key) || self.closed.get() {
            self.fail(format!("the timer {key:?} ran at {now:?}, {first:?} was the next"));
        }
        self.inside();
        if links > 0 && self.meddling.get() {
            self.set_timer(Duration::ZERO, links - 1);
        }
        self.panic_at_times();
    }

    /// Has something done as another thread would.
    fn post(&self) {
        let (count, done) = &self.posted;
        count.set(count.get() + 1);
        let done = Arc::clone(done);
        let posted = self.rt.handle().post(move |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        if posted.is_err() {
            self.fail("nothing can be posted".into());
        }
    }

    /// Lets everybody go on with what is left to do; returns whether anybody did anything.
    pub(super) fn feed(self: &Rc<Self>) -> bool {
        let mut fed = false;
        for index in 0..self.count() {
            let (process, wanted) = {
                let subject = self.subject(index);
                let live = matches!(subject.life, Life::Open | Life::Connect);
                (subject.process.clone(), live && subject.is_stream() && !subject.owed)
            };
            let Some(process) = process.filter(|_| wanted) else { continue };
            fed |= self.send_pending(index, &process);
            let client = matches!(self.subject(index).role, Role::Client(_));
            if client {
                fed |= self.send_some(index, &process);
                let done = {
                    let subject = self.subject(index);
                    subject.given == subject.total && !subject.finished
                };
                if done {
                    self.finish(index, &process);
                    fed = true;
                }
            }
            self.wind_up(index, &process);
        }
        fed
    }
}
