//! What several reactors have done together.
//!
//! Invariant: every counter is in the sum, or this does not compile.

use std::iter::Sum;

use super::Counters;

/// Figures of several reactors together.
impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            waits: a.waits + b.waits,
            syscalls: a.syscalls + b.syscalls,
            received: a.received + b.received,
            sent: a.sent + b.sent,
            accepted: a.accepted + b.accepted,
            turned_away: a.turned_away + b.turned_away,
            starved: a.starved + b.starved,
            overflows: a.overflows + b.overflows,
            stale: a.stale + b.stale,
            short_sends: a.short_sends + b.short_sends,
            spilled: a.spilled + b.spilled,
            sockets: a.sockets + b.sockets,
            in_flight: a.in_flight + b.in_flight,
            slots_held: a.slots_held + b.slots_held,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_summed_by_itself() {
        let one = Counters { waits: 1, received: 10, sockets: 2, ..Counters::default() };
        let two = Counters { waits: 2, sent: 5, sockets: 3, ..Counters::default() };
        let sum: Counters = [one, two].into_iter().sum();
        let expected =
            Counters { waits: 3, received: 10, sent: 5, sockets: 5, ..Counters::default() };
        assert_eq!(sum, expected);
    }
}
