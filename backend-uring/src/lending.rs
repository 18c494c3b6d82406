//! How many slots the kernel has at a time, and how many of those who wait for one get a turn in a poll.
//!
//! Invariant: both are learned from the polls before, by what is counted anyway; nothing here is told of a
//! message's length, and nothing looks at a clock.

/// What the kernel has to fill at a time: with what is being sent it fits a cache of the second level.
const WORKING_SET: u32 = 256 * 1024;
/// The same where messages are small and there are many.
const WORKING_SET_SMALL: u32 = 2 * 1024 * 1024;
/// A small message has at most so many bytes.
const SMALL_MESSAGE: u32 = 4096;
/// The fewest slots of it where the kernel fills each in parts.
const LENT_INCREMENTAL: u16 = 4;
/// The fewest where each receive takes one whole: with less, small messages find none.
const LENT_CLASSIC: u16 = 64;

/// How many of those who wait for a slot get a turn in a poll: as many as the slots are likely to hold
/// messages. More would find none and be tried again in vain, fewer leave the slots to those who have not
/// waited.
#[derive(Default)]
pub(crate) struct Turns {
    likely: u16,
    given: u16,
    in_vain: u16,
    /// Polls until one more is tried.
    rest: u8,
    /// Which poll this is, so that who had a turn in it can be told; zero before the first.
    number: u32,
}

impl Turns {
    /// Polls after a turn in vain in which no more are tried.
    const REST: u8 = 16;
    /// Where the slots hold so many messages, who receives on finds room almost every time.
    const ROOMY: u16 = 128;

    /// A turn was taken.
    pub(crate) fn note_taken(&mut self) {
        self.given += 1;
    }

    /// Whether that was stamped on a turn of this poll.
    pub(crate) fn is_current(&self, number: u32) -> bool {
        number == self.number && number != 0
    }

    /// What to stamp on the turns of this poll.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Learns from the poll before and begins another, in which the kernel has so many slots.
    pub(crate) fn begin(&mut self, slots: u16) -> u16 {
        if self.in_vain > 0 {
            self.likely = self.likely.midpoint(self.given.saturating_sub(self.in_vain));
            self.rest = Self::REST;
        } else if self.given >= self.likely {
            match self.rest.checked_sub(1) {
                Some(rest) => self.rest = rest,
                None => self.likely = self.likely.saturating_add(1),
            }
        }
        (self.given, self.in_vain, self.number) = (0, 0, self.number.wrapping_add(1));
        if slots == 0 {
            return 0;
        }
        // A slot holds one at least.
        self.likely = self.likely.max(slots);
        self.likely
    }

    /// Whether whoever has received stands in line again though nobody waits at the moment: turns were given in
    /// this poll, and the slots hold few messages. A socket that received on instead would find no slot when
    /// its next message comes, or take it from one whose turn it is.
    pub(crate) fn go_round(&self) -> bool {
        self.given > 0 && self.likely < Self::ROOMY
    }

    /// Whether who finds no slot had a turn in this poll; counts it then.
    pub(crate) fn was_in_vain(&mut self, turn: u32) -> bool {
        let in_vain = self.given > self.in_vain && turn == self.number;
        self.in_vain += u16::from(in_vain);
        in_vain
    }
}

/// How many slots the kernel has at a time: as few as stay in cache with what is being sent, and more where
/// messages are so small, and so many, that finding no slot costs more than memory that has left the cache.
pub(crate) struct Lending {
    target: u16,
    least: u16,
    most: u16,
    /// How many receives fill a slot if they are small.
    dense: u32,
    /// Receives into the slot that is being filled.
    receives: u32,
    /// Receives that filled the slot before.
    density: u32,
    /// How many slots the kernel had when the last poll began.
    lent: u16,
    /// How many it filled in the poll before that one.
    filled: u16,
    scarce: bool,
    /// The most slots that were filled in one of the last polls, which are so many.
    filled_max: u16,
    polls: u8,
}

impl Lending {
    /// After so many polls with two slots to spare there is one less.
    const POLLS: u8 = 64;

    /// For a pool of that many slots of that length.
    pub(crate) fn new(slots: u16, slot_len: u32, incremental: bool) -> Self {
        let slots_of = |bytes: u32| u16::try_from(bytes / slot_len).unwrap_or(u16::MAX);
        let fewest = if incremental { LENT_INCREMENTAL } else { LENT_CLASSIC };
        let least = slots_of(WORKING_SET).max(fewest).min(slots);
        // What is left is for guards and for reading by calls, before half of the pool has guards.
        let most = slots_of(WORKING_SET_SMALL).min(slots / 8 * 3).max(least);
        Self {
            target: least,
            least,
            most,
            dense: slot_len.div_ceil(SMALL_MESSAGE),
            receives: 0,
            density: 0,
            lent: 0,
            filled: 0,
            scarce: false,
            filled_max: 0,
            polls: 0,
        }
    }

    #[inline]
    pub(crate) fn add_receive(&mut self) {
        self.receives = self.receives.wrapping_add(1);
    }

    /// The kernel is done with a slot.
    pub(crate) fn end_slot(&mut self) {
        self.density = std::mem::take(&mut self.receives);
    }

    /// Whether the kernel, which holds so many, is to have more.
    pub(crate) fn is_below(&self, held: u16) -> bool {
        held < self.target
    }

    /// Whether what came in the last two polls filled about what is lent: who goes round comes in two halves.
    pub(crate) fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// Begins a poll: learns from the one before, which left the kernel so many slots and so many sockets
    /// waiting for one.
    pub(crate) fn begin_poll(&mut self, left: u16, waiting: usize) {
        let filled = self.lent.saturating_sub(left);
        self.scarce = self.filled + filled + 1 >= self.target;
        self.filled = filled;
        self.filled_max = self.filled_max.max(filled);
        self.polls += 1;
        if self.density < self.dense {
            self.target = self.least;
        } else if waiting > 0 && self.scarce {
            self.target = self.most.min(self.target + 1);
        } else if self.polls < Self::POLLS {
            return;
        } else if self.filled_max + 1 < self.target {
            self.target = self.least.max(self.target - 1);
        }
        (self.filled_max, self.polls) = (0, 0);
    }

    /// The kernel has been given what there was.
    pub(crate) fn note_lent(&mut self, held: u16) {
        self.lent = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many turns in a poll of which so many find room, and begins the next.
    fn poll(turns: &mut Turns, slots: u16, room: u16) -> u16 {
        for _ in 0..turns.likely {
            turns.given += 1;
        }
        for _ in room..turns.likely {
            assert!(turns.was_in_vain(turns.number));
        }
        turns.begin(slots)
    }

    #[test]
    fn turns_become_as_many_as_there_is_room_for() {
        let mut turns = Turns::default();
        assert_eq!(turns.begin(3), 3, "a slot holds one at least");
        for room in [12, 3, 40] {
            let mut in_vain = 0;
            for _ in 0..100 {
                poll(&mut turns, 3, room);
            }
            for _ in 0..170 {
                in_vain += turns.likely.saturating_sub(room);
                let likely = poll(&mut turns, 3, room);
                assert!((room..=room + 1).contains(&likely), "{likely} of {room}");
            }
            assert!((5..=20).contains(&in_vain), "one more is tried now and then: {in_vain}");
        }
    }

    #[test]
    fn turns_go_round_while_somebody_has_one_and_slots_hold_few_messages() {
        let mut turns = Turns::default();
        turns.begin(3);
        assert!(!turns.go_round(), "nobody has had to wait");
        turns.given = 1;
        assert!(turns.go_round());
        turns.begin(3);
        assert!(!turns.go_round(), "nobody waits any more");
        for _ in 0..500 {
            poll(&mut turns, 3, 200);
        }
        turns.given = 1;
        assert!(!turns.go_round(), "there is room for {}", turns.likely);
    }

    #[test]
    fn nobody_has_a_turn_where_there_is_no_slot_and_it_is_no_lesson() {
        let mut turns = Turns::default();
        turns.begin(3);
        for _ in 0..50 {
            poll(&mut turns, 3, 12);
        }
        let before = turns.likely;
        assert_eq!((turns.begin(0), turns.likely), (0, before));
    }

    /// Polls in each of which the kernel fills so many slots with so many receives each, and has as many
    /// again afterwards as it is to have.
    fn fill(lending: &mut Lending, density: u32, waiting: usize, polls: usize, filled: u16) -> u16 {
        for _ in 0..polls {
            lending.note_lent(lending.target);
            for _ in 0..filled {
                (0..density).for_each(|_| lending.add_receive());
                lending.end_slot();
            }
            lending.begin_poll(lending.target.saturating_sub(filled), waiting);
        }
        lending.target
    }

    #[test]
    fn small_messages_get_more_slots_while_somebody_waits_and_large_ones_never() {
        let lending = &mut Lending::new(64, 64 * 1024, true);
        assert_eq!(fill(lending, 15, 1, 50, 4), 4, "large ones wait their turn");
        assert_eq!(fill(lending, 16, 0, 50, 4), 4, "nobody waits");
        assert_eq!(fill(lending, 16, 1, 5, 9), 9, "one more each time");
        assert_eq!(fill(lending, 16, 1, 50, 24), 24, "up to the most");
        assert_eq!(fill(lending, 16, 0, 1000, 23), 24, "all are in use");
        assert_eq!(fill(lending, 16, 0, 63, 9), 24);
        assert_eq!(fill(lending, 16, 0, 64, 9), 23, "one less after a while");
        assert_eq!(fill(lending, 16, 0, 2000, 9), 10, "down to where no two are to spare");
        assert_eq!(fill(lending, 16, 0, 2000, 1), 4, "or to the least");
        assert_eq!(fill(lending, 16, 1, 50, 1), 4, "who waits does not lack memory");
        fill(lending, 16, 1, 50, 24);
        assert_eq!(fill(lending, 2, 1, 1, 4), 4, "large ones, and it is over");
    }

    #[test]
    fn slots_that_nobody_fills_are_not_asked_for() {
        let lending = &mut Lending::new(64, 64 * 1024, true);
        fill(lending, 16, 0, 2, 2);
        // Large messages are read by calls, or guards have the whole pool.
        assert_eq!(fill(lending, 16, 500, 50, 0), 4);
        assert!(!lending.is_scarce());
        for (filled, scarce) in [(1, false), (2, true), (4, true)] {
            fill(lending, 16, 0, 2, filled);
            assert_eq!(lending.is_scarce(), scarce, "{filled} of 4 in each of two polls");
        }
    }

    #[test]
    fn only_who_had_a_turn_in_this_poll_had_it_in_vain() {
        let mut turns = Turns::default();
        assert!(!turns.was_in_vain(0), "nobody has had one");
        turns.begin(3);
        let now = turns.number;
        turns.given = 1;
        assert!(!turns.was_in_vain(now.wrapping_sub(1)));
        assert!(turns.was_in_vain(now));
        assert!(!turns.was_in_vain(now), "no more than were given");
    }
}
