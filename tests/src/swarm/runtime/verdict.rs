//! The end of a run: what must have arrived and been told, and what must be gone.
//!
//! Invariant: a conversation that nothing was allowed to cut arrived whole, both ways, with both ends
//! told; everybody else was told that it was over; and when all is closed nothing is held.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use crate::swarm::runtime::{
    model::{Life, Role},
    world::World,
};

/// Looks in which closed sockets must be gone.
const CLEAR_MAX: u32 = 1000;
/// Longer than the end of a socket takes without faults.
const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// Judges every process, now that nothing moves any more.
    pub(super) fn judge(&self) -> Result<(), String> {
        self.check_all();
        for index in 0..self.count() {
            let subject = self.subject(index);
            let (role, life) = (subject.role, subject.life);
            let stuck =
                subject.is_stream() && matches!(life, Life::Open | Life::Connect | Life::Starting);
            let untold = life == Life::Closed && !subject.ended;
            let unborn = matches!(role, Role::Child(_)) && !subject.opened;
            let (what, partner) = (format!("{subject:?}"), subject.partner);
            drop(subject);
            if stuck || untold || unborn {
                let partner = partner.map(|partner| format!("{:?}", &*self.subject(partner)));
                return Err(format!(
                    "stuck: {stuck}, untold: {untold}, unborn: {unborn}: {what}, with {partner:?}"
                ));
            }
            if let Role::Client(server) = role {
                self.judge_talk(index, server)?;
            }
        }
        if let Some(first) = self.timers.borrow().first() {
            return Err(format!("the timer {first:?} never ran"));
        }
        let (posted, done) = (self.posted.0.get(), self.posted.1.load(Ordering::Relaxed));
        self.report.borrow_mut().posted = done;
        if posted != done {
            return Err(format!("{posted} calls posted, {done} done"));
        }
        let open = self.pick_all(|s| matches!(s.life, Life::Open | Life::Listen)).len() as u64;
        let sockets = self.rt.stats().sockets;
        if open == sockets { Ok(()) } else { Err(format!("{sockets} sockets of {open} open")) }
    }

    fn judge_talk(&self, index: usize, server: usize) -> Result<(), String> {
        let (life, given, at, partner, own) = {
            let client = self.subject(index);
            let rough = client.cut || client.broken;
            (client.life, client.given, client.at, client.partner, rough)
        };
        if matches!(life, Life::Never | Life::Failed) {
            return Ok(());
        }
        let faults = &self.plan.faults;
        // A connection that a fault resets is told so at one end at least.
        let resets = faults.reset > 0 || self.plan.hasty;
        let Some(partner) = partner else {
            let parent = self.subject(server);
            let excused = own || parent.cut || parent.excuses || resets || given < 4;
            self.report.borrow_mut().cut += 1;
            return if excused { Ok(()) } else { Err(format!("{index} was never accepted")) };
        };
        let (came, sent_back, other) = {
            let other = self.subject(partner);
            (other.at, other.given, (other.cut, other.broken))
        };
        let flushed = self.subject(index).flushed;
        if flushed && !resets && !other.0 && (came != given || other.1) {
            let other = format!("{:?}", &*self.subject(partner));
            return Err(format!("{given} bytes were to be flushed to {other}"));
        }
        let cut = self.subject(index).cut || other.0;
        let broken = own || other.1;
        let whole = came == given && at == sent_back && !broken;
        // Out of time, a queue is thrown away and the peer sees an end like any other.
        if cut || broken && resets || self.plan.hasty && !whole {
            self.report.borrow_mut().cut += 1;
            return Ok(());
        }
        let total = self.subject(index).total;
        if !whole || given != total {
            let what = format!("{:?}", &*self.subject(index));
            let other = format!("{:?}", &*self.subject(partner));
            return Err(format!("was to be complete: {what}, {other}"));
        }
        self.report.borrow_mut().complete += 1;
        Ok(())
    }

    /// Ends what is left and looks for leftovers.
    pub(super) fn clear_up(self: &Rc<Self>) -> Result<(), String> {
        if self.percent(50) {
            self.closed.set(true);
            self.rt.close();
        } else {
            while let Some((index, process)) = self.pick(|subject| subject.is_listed()) {
                self.delete(index, &process, None, true);
            }
            self.closed.set(true);
        }
        for _ in 0..CLEAR_MAX {
            if self.rt.stats().sockets == 0 {
                break;
            }
            self.look(SECOND);
        }
        let left = self.rt.stats();
        if (left.sockets, left.in_flight, left.slots_held) != (0, 0, 0) {
            return Err(format!("left behind: {left:?}"));
        }
        let listed = self.rt.process_list();
        if listed.is_empty() { Ok(()) } else { Err(format!("still listed: {listed:?}")) }
    }
}
