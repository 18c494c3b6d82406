//! The end of a run: what must have arrived, and what must be gone.
//!
//! Invariant: a conversation that nothing was allowed to cut arrived whole, both ways, with both
//! ends seen; and when everything is closed the reactor holds nothing.

use netproc_core::reactor::{CloseHow, Reactor, SockId, Wait};

use crate::swarm::{driver::Driver, ledger::Check, plan::Ending, ports};

/// Rounds in which closed sockets must be gone.
const CLEAR_MAX: u32 = 1000;

impl Driver {
    /// Judges every conversation, now that nothing moves any more.
    pub(super) fn judge(&mut self) -> Check {
        let resting = self.resting();
        let stuck: Vec<SockId> =
            self.ledger.open_ids().into_iter().filter(|id| !resting.contains(id)).collect();
        if !stuck.is_empty() {
            return Err(format!("stuck without a fault: {stuck:?}"));
        }
        let mut turned_away = self.reactor.counters().turned_away;
        for talk in 0..self.plan.talks.len() {
            self.judge_talk(talk, &mut turned_away)?;
        }
        self.judge_local_packets()
    }

    /// What stays open by itself: listeners and packet sockets.
    fn resting(&self) -> Vec<SockId> {
        let ports = self.ports.iter().flatten().map(|port| port.id);
        self.listeners.iter().flatten().copied().chain(ports).collect()
    }

    fn judge_talk(&mut self, index: usize, turned_away: &mut u64) -> Check {
        let (talk, outcome) = (&self.plan.talks[index], self.outcomes[index]);
        let faults = &self.faults;
        let doomed = self.plan.doomed == Some(talk.listener);
        if outcome.refused {
            self.report.cut += 1;
            let excused = doomed || faults.refuse > 0 || faults.connect_timeout > 0;
            return if excused { Ok(()) } else { Err(format!("talk {index} was refused")) };
        }
        // A reset is told to somebody: who was told of none must have got everything.
        let cut = outcome.broken && faults.reset > 0;
        if talk.is_rough() || doomed || cut {
            self.report.cut += 1;
            return Ok(());
        }
        let finish = talk.ending == Ending::Finish;
        let returned = if talk.echo { talk.total } else { 0 };
        let arrived = outcome.arrived == talk.total && outcome.arrived_eof;
        let came_back = !finish || (outcome.returned == returned && outcome.returned_eof);
        if outcome.broken || !arrived || !came_back {
            // For want of a descriptor so many were ended before anybody read a byte of theirs.
            if *turned_away > 0 && (outcome.arrived, outcome.returned) == (0, 0) {
                *turned_away -= 1;
                self.report.cut += 1;
                return Ok(());
            }
            return Err(format!("talk {index} was to be complete: {outcome:?}, {talk:?}"));
        }
        self.report.complete += 1;
        Ok(())
    }

    /// Local packets are never lost, so the server has got every one that names itself.
    fn judge_local_packets(&self) -> Check {
        if self.faults.dgram_truncate > 0 {
            return Ok(());
        }
        let len_max = self.packet_len_max();
        let local = |index: &usize| self.ports[*index].as_ref().is_some_and(|port| port.local);
        let mut sent = 0;
        for index in (0..self.ports.len()).filter(local) {
            let name = u8::try_from(index).unwrap_or(u8::MAX);
            let packets = self.ports[index].as_ref().map_or(0, |port| port.packets);
            let full = (0..packets).filter(|n| !ports::packet(name, *n, len_max).is_empty());
            sent += full.count() as u64;
        }
        let server = self.ports.iter().flatten().find(|port| port.local && port.server);
        let came = server.map_or(0, |port| port.inbox.count());
        if came == sent { Ok(()) } else { Err(format!("{came} local packets came of {sent}")) }
    }

    /// Closes what is left and looks for leftovers.
    pub(super) fn clear_up(&mut self) -> Check {
        for id in self.ledger.open_ids() {
            let how = if self.rng.percent(50) { CloseHow::Now } else { CloseHow::Reset };
            self.reactor.close(id, how);
        }
        for _ in 0..CLEAR_MAX {
            self.poll(Wait::Forever)?;
            if self.ledger.open_ids().is_empty() {
                break;
            }
        }
        let open = self.ledger.open_ids();
        if !open.is_empty() {
            return Err(format!("closed, but no Closed came: {open:?}"));
        }
        let left = self.reactor.counters();
        if (left.sockets, left.in_flight, left.slots_held) != (0, 0, 0) {
            return Err(format!("left behind: {left:?}"));
        }
        Ok(())
    }
}
