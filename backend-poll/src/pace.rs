//! When the kernel is asked who is ready, and of how many it may tell then.
//!
//! To be told of a socket touches it, and so does its turn. If there are many between the two it has left the nearest
//! caches meanwhile and is loaded twice for each message: so the queue of those who are ready is left to the kernel,
//! and a few of them are known here.
//!
//! Invariant: everybody who waits for a turn when the kernel has been asked has it before it is asked again, but by
//! who only looks.

/// Sockets that the caches hold, however many of them are busy: of so many the kernel tells at once.
pub(crate) const FEW: usize = 128;
/// Of how many a wait may tell at least, however much they bring: a call for each of them would cost more.
const ROOM_MIN: usize = 8;
/// And at most, however little they bring.
const ROOM_MAX: usize = 64;
/// As many as there are.
pub(crate) const ALL: usize = usize::MAX;

/// How many wait for a turn, and what those before have brought.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Turns until the kernel is asked again.
    turns: usize,
    /// Of how many it may tell.
    room: usize,
    /// It told of as many as it might, so that there may be more.
    filled: bool,
    /// Bytes of streams that have come since.
    bytes: usize,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Self { turns: 0, room: ROOM_MAX, filled: false, bytes: 0 }
    }

    /// Whether it is time to ask the kernel.
    #[inline]
    pub(crate) const fn is_to_ask(&self) -> bool {
        self.turns == 0
    }

    /// Whether the kernel may have more to tell.
    pub(crate) const fn is_filled(&self) -> bool {
        self.filled
    }

    /// Of how many it may tell now, where so many have had a turn and have more: the fewer the more those before have
    /// brought, so that it is asked again after about `bytes_max`. Those with more have a turn each time it is asked;
    /// where they are more than a few, everybody else must have one as well.
    pub(crate) fn room(&mut self, waiting: usize, bytes_max: usize) -> usize {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > bytes_max {
            self.room = (self.room / 2).max(ROOM_MIN);
        } else if self.filled && bytes <= bytes_max / 2 {
            self.room = (self.room * 2).min(ROOM_MAX);
        }
        if waiting <= self.room / 4 { self.room } else { ALL }
    }

    /// It was asked, and has told of as many as it might, or of fewer; so many wait for a turn.
    pub(crate) const fn asked(&mut self, filled: bool, waiting: usize) {
        (self.filled, self.turns) = (filled, waiting);
    }

    /// One of those has its turn.
    #[inline]
    pub(crate) const fn turn(&mut self) {
        self.turns = self.turns.saturating_sub(1);
    }

    /// So many bytes of streams have come.
    #[inline]
    pub(crate) const fn came(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 256 * 1024;

    /// The room of each wait, where every one is filled and each socket brings this much.
    fn rooms(pace: &mut Pace, each: usize, waits: usize) -> Vec<usize> {
        let mut ask = || {
            let room = pace.room(0, BYTES_MAX);
            pace.asked(true, room);
            pace.came(room * each);
            room
        };
        (0..waits).map(|_| ask()).collect()
    }

    #[test]
    fn the_more_comes_the_fewer_are_known() {
        let mut pace = Pace::new();
        assert_eq!(rooms(&mut pace, 64, 3), [64; 3]);
        assert_eq!(rooms(&mut pace, 16 * 1024, 5), [64, 32, 16, 16, 16]);
        assert_eq!(rooms(&mut pace, 64 * 1024, 5), [16, 8, 8, 8, 8]);
        assert_eq!(rooms(&mut pace, 1024, 5), [8, 16, 32, 64, 64]);
        pace.came(2);
        assert_eq!(pace.room(0, 1), 32);
        assert_eq!(pace.room(0, 1), 64, "nothing came");
    }

    #[test]
    fn where_many_have_more_all_are_told_of() {
        let mut pace = Pace::new();
        assert_eq!(
            [0, 16, 17, 1000].map(|waiting| pace.room(waiting, BYTES_MAX)),
            [64, 64, ALL, ALL]
        );
    }

    #[test]
    fn it_is_asked_again_once_everybody_had_a_turn() {
        let mut pace = Pace::new();
        assert!(pace.is_to_ask());
        pace.asked(false, 2);
        for _ in 0..2 {
            assert!(!pace.is_to_ask());
            pace.turn();
        }
        assert!(pace.is_to_ask());
        pace.turn();
        assert!(pace.is_to_ask());
    }
}
