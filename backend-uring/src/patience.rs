//! For how many completions a wait is: one where messages come singly, several where they come in crowds.
//!
//! Invariant: nobody waits for others longer than `Patience::micros`, and not at all where waiting has
//! brought no crowd, until it is tried again after a pause that doubles each time. Only who has come
//! while the wait was young waits: a message for an idle reactor ends it at once.

use std::time::Duration;

/// From so many sends on, a wait looks past their completions in any case: a timer the kernel has to set
/// costs more than the calls it saves below.
const SENDS_MIN: u32 = 4;
/// The fewest that are worth waiting for.
const CROWD_MIN: u32 = 4;
/// The most: so many share the cost of one call.
const CROWD_MAX: u32 = 32;
/// Waits until one is patient again: at first, and at most.
const PAUSES: (u32, u32) = (16, 1024);

/// What the waits before have taught.
#[derive(Debug)]
pub(crate) struct Patience {
    /// How long a wait is for more than one completion, and then content with one; zero is not at all.
    micros: u32,
    /// So many are likely to come in time.
    crowd: u32,
    /// Waits left until more than one is waited for again.
    rest: u32,
    /// How many those will be when that fails.
    pause: u32,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { micros: micros(limit), crowd: 1, rest: 0, pause: PAUSES.0 }
    }

    /// How long to be patient in a wait of at most `span`.
    pub(crate) fn micros_within(&self, span: Duration) -> u32 {
        self.micros.min(micros(span))
    }

    /// For how many completions to wait, where `sends` complete while they are handed over, almost
    /// always: more than one is with patience.
    #[inline]
    pub(crate) fn wanted(&self, sends: u32) -> u32 {
        let several = self.micros > 0 && (self.crowd > 1 || sends >= SENDS_MIN);
        if several { self.crowd + sends } else { 1 }
    }

    /// Learns from a wait that `brought` so many besides the sends.
    #[inline]
    pub(crate) fn learn(&mut self, brought: u32) {
        if self.rest > 0 {
            self.rest -= 1;
        } else if brought >= self.crowd {
            if self.crowd >= CROWD_MIN {
                self.pause = PAUSES.0;
            }
            self.crowd = (self.crowd * 2).min(CROWD_MAX);
        } else if brought >= CROWD_MIN {
            self.crowd = brought;
        } else {
            self.crowd = 1;
            self.rest = self.pause;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(20);

    /// How many waits of `waits` were for more than one, each brought `per_wait` or what was wanted.
    fn patient(patience: &mut Patience, waits: u32, per_wait: u32) -> u32 {
        let mut patient = 0;
        for _ in 0..waits {
            let wanted = patience.wanted(0);
            patient += u32::from(wanted > 1);
            patience.learn(per_wait.min(wanted));
        }
        patient
    }

    #[test]
    fn a_crowd_is_waited_for_and_no_more_than_come() {
        let mut patience = Patience::new(LIMIT);
        assert_eq!(patient(&mut patience, 100, 1000), 99, "the first cannot know");
        assert_eq!(patience.wanted(0), CROWD_MAX);
        assert_eq!(patience.wanted(3), CROWD_MAX + 3);
        patience.learn(9);
        assert_eq!(patience.wanted(0), 9);
    }

    #[test]
    fn who_comes_alone_is_hardly_ever_kept() {
        for alone in 1..CROWD_MIN {
            let mut patience = Patience::new(LIMIT);
            let before = patient(&mut patience, 10_000, alone);
            assert!(before < 50, "{before}");
            let later = patient(&mut patience, 100_000, alone);
            assert!(later < 300, "{later}");
        }
    }

    #[test]
    fn a_crowd_after_a_long_time_is_noticed() {
        let mut patience = Patience::new(LIMIT);
        patient(&mut patience, 100_000, 1);
        patient(&mut patience, PAUSES.1 + 10, 1000);
        assert_eq!(patience.wanted(0), CROWD_MAX);
    }

    #[test]
    fn without_time_for_it_nobody_is_waited_for() {
        let mut patience = Patience::new(Duration::ZERO);
        assert_eq!(patient(&mut patience, 100, 1000), 0);
        assert_eq!(patience.wanted(100), 1);
    }

    #[test]
    fn sends_are_looked_past_when_they_are_several() {
        let mut patience = Patience::new(LIMIT);
        patient(&mut patience, 3, 0);
        assert_eq!([0, 1, 3, 4, 30].map(|sends| patience.wanted(sends)), [1, 1, 1, 5, 31]);
    }
}
