//! For how many completions a wait is: one where messages come singly, several where they come in crowds.
//!
//! Invariant: nobody waits for others longer than `Patience::micros`, and hardly ever where that would
//! bring no others or keep those waiting who have others to wait for. Only who has come while the wait was
//! young waits: a message for an idle reactor ends it at once.

use std::time::Duration;

/// The fewest that are worth waiting for: with fewer, calls are saved, but the reactor sleeps more often, and a sleep
/// with a timer costs more than they do.
const CROWD_MIN: u32 = 8;
/// The most: so many share the cost of one call.
const CROWD_MAX: u32 = 32;
/// So many at least should be under way elsewhere while a crowd is served: with fewer, server and peers
/// take turns instead of working at a time.
const OTHERS_MIN: usize = 8;
/// Waits until more than one is waited for again, and batches until more are than leave others: at first,
/// and at most.
const PAUSES: (u32, u32) = (16, 1024);
/// A batch that a wait was for may be larger than its crowd by so many.
const SLACK: usize = 4;
/// Batches after which as many as were tried are as many as may be.
const TRIAL: u32 = 8;

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
    others: Others,
}

/// How large a crowd may be so that others are under way elsewhere while it is served.
#[derive(Debug)]
struct Others {
    /// One is no crowd.
    crowd_max: u32,
    /// Batches left until it becomes more, or until it is known that it may be as many.
    rest: u32,
    tried: bool,
    /// How many those will be when more has failed.
    pause: u32,
    /// Whom the batch before served first.
    first: Option<u32>,
}

impl Others {
    const fn new() -> Self {
        Self { crowd_max: CROWD_MAX, rest: 0, tried: false, pause: PAUSES.0, first: None }
    }

    /// Learns whom a batch is to serve, in order, when `crowd` were waited for: if one whom the batch
    /// before served is back before [`OTHERS_MIN`] others, those were all but everybody.
    #[inline]
    fn learn(&mut self, batch: &[u32], crowd: u32) {
        let Some(&first) = batch.first() else { return };
        let before = self.first.replace(first);
        // Of fewer others heard no answer, of many more it was not the wait that brought them together.
        let crowd_len = crowd as usize;
        let waited_for = crowd > 1 && (crowd_len..=crowd_len + SLACK).contains(&batch.len());
        if waited_for && batch.iter().take(OTHERS_MIN).any(|&other| Some(other) == before) {
            self.be_content(crowd / 2);
        } else {
            self.go_on();
        }
    }

    #[cold]
    fn be_content(&mut self, crowd: u32) {
        self.crowd_max = if crowd >= CROWD_MIN { crowd } else { 1 };
        (self.rest, self.tried) = (self.pause, false);
        self.pause = (self.pause * 2).min(PAUSES.1);
        // What this batch was too large for says nothing of the next.
        self.first = None;
    }

    fn go_on(&mut self) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        if std::mem::take(&mut self.tried) {
            self.pause = PAUSES.0;
        }
        if self.crowd_max < CROWD_MAX {
            self.crowd_max = (self.crowd_max * 2).clamp(CROWD_MIN, CROWD_MAX);
            (self.rest, self.tried) = (TRIAL, true);
        }
    }
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        let (rest, pause, others) = (0, PAUSES.0, Others::new());
        Self { micros: micros(limit), crowd: 1, rest, pause, others }
    }

    /// How long to be patient in a wait of at most `span`.
    pub(crate) fn micros_within(&self, span: Duration) -> u32 {
        self.micros.min(micros(span))
    }

    /// For how many completions to wait, where `sends` complete while they are handed over, almost
    /// always: more than one is with patience, and looks past those.
    #[inline]
    pub(crate) fn wanted(&self, sends: u32) -> u32 {
        let several = self.micros > 0 && self.crowd > 1;
        if several { self.crowd + sends } else { 1 }
    }

    /// Learns whom the next batch is to serve, in order.
    #[inline]
    pub(crate) fn serve(&mut self, batch: &[u32]) {
        self.others.learn(batch, self.crowd);
        self.crowd = self.crowd.min(self.others.crowd_max);
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
            self.crowd = (self.crowd * 2).min(self.others.crowd_max);
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

    /// For how many each of so many waits is when `peers` take turns, each back once it was answered.
    fn crowds(patience: &mut Patience, waits: u32, peers: u32) -> Vec<u32> {
        let mut next = 0;
        let wait = |_| {
            let wanted = patience.wanted(0);
            let came = wanted.min(peers);
            let batch: Vec<u32> = (next..next + came).map(|at| at % peers).collect();
            next = (next + came) % peers;
            patience.learn(came);
            patience.serve(&batch);
            wanted
        };
        (0..waits).map(wait).collect()
    }

    #[test]
    fn a_few_who_take_turns_with_us_are_hardly_ever_kept() {
        for peers in 1..=15 {
            let mut patience = Patience::new(LIMIT);
            let mut kept = |waits| {
                crowds(&mut patience, waits, peers).iter().filter(|&&crowd| crowd > 1).count()
            };
            let (before, later) = (kept(10_000), kept(100_000));
            assert!(before < 70 && later < 400, "{before} and {later} of {peers}");
        }
    }

    #[test]
    fn a_crowd_leaves_enough_who_are_under_way_elsewhere() {
        for peers in [16, 24, 50] {
            let mut patience = Patience::new(LIMIT);
            let crowds = crowds(&mut patience, 20_000, peers).split_off(10_000);
            let most = CROWD_MAX.min(peers - 8).max(peers / 2);
            let more = crowds.iter().filter(|&&crowd| crowd > most).count();
            let fewer = crowds.iter().filter(|&&crowd| crowd < most / 2).count();
            assert!(more <= 30 && fewer <= 30, "{more} and {fewer} of {peers}");
        }
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
    fn sends_are_looked_past_where_a_crowd_is_waited_for() {
        let mut patience = Patience::new(LIMIT);
        assert_eq!([0, 1, 30].map(|sends| patience.wanted(sends)), [1, 1, 1]);
        patience.learn(1);
        assert_eq!([0, 1, 30].map(|sends| patience.wanted(sends)), [2, 3, 32]);
    }
}
