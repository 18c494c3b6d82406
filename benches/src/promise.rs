//! What netproc promises in system calls, for messages of 64 bytes on 50 connections.

use std::fmt;

use crate::{
    figures::as_f64,
    machine,
    measure::{Measured, Row},
    serve::Kind,
};

/// What netproc promises at most, system calls a message besides waits, however small the batches are that
/// two processes fall into: on io_uring none, for the wait hands over everything. How many waits there are
/// for batches that are full is for `tests/counts.rs` to say, for those of a run for `requirement.rs`.
const URING_WORK_MAX: f64 = 0.01;
/// The same on epoll.
const EPOLL_WORK_MAX: f64 = 2.1;

/// A promise with what became of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Promise {
    pub(crate) server: Kind,
    pub(crate) found: f64,
    pub(crate) max: f64,
}

impl Promise {
    pub(crate) fn is_kept(&self) -> bool {
        self.found <= self.max
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, found, max } = self;
        write!(f, "{server}: {found:.3} system calls a message besides waits, promised {max}")
    }
}

/// What is promised of a server, if anything is.
const fn work_max(server: Kind) -> Option<f64> {
    match server {
        Kind::NetprocUring => Some(URING_WORK_MAX),
        Kind::NetprocEpoll => Some(EPOLL_WORK_MAX),
        Kind::NetprocPoll
        | Kind::RawUring
        | Kind::RawEpoll
        | Kind::Tokio
        | Kind::Mio
        | Kind::Monoio
        | Kind::Compio
        | Kind::Glommio => None,
    }
}

impl Row {
    /// What the counts say of netproc's promise.
    pub(crate) fn promise(&self) -> Option<Promise> {
        let (counted, max) = (self.counted?, work_max(self.server)?);
        let counts = counted.counts;
        let found = as_f64(counts.total - counts.waits) / as_f64(counted.messages);
        Some(Promise { server: self.server, found, max })
    }
}

impl Measured {
    /// Each promise that something was counted for.
    fn promises(&self) -> Vec<Promise> {
        self.rows.iter().filter_map(Row::promise).collect()
    }

    /// Those of whom something is promised, who ran, and of whom nothing was counted.
    fn unchecked(&self) -> Vec<Kind> {
        let ran = self.rows.iter().filter(|row| row.unavailable.is_none());
        let uncounted = ran.filter(|row| work_max(row.server).is_some() && row.counted.is_none());
        uncounted.map(|row| row.server).collect()
    }

    /// Whether all of them are kept, for what was not counted may not be; complains of those that are not.
    pub(crate) fn keeps_promises(&self) -> bool {
        let mut promises = self.promises();
        promises.retain(|promise| !promise.is_kept());
        for promise in &promises {
            machine::complain("bench", &promise.to_string());
        }
        let unchecked = self.unchecked();
        for server in &unchecked {
            machine::complain("bench", &format!("{server}: no system calls were counted to check"));
        }
        promises.is_empty() && unchecked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{count::Counts, measure::Counted, verdict::tests::measured};

    #[test]
    fn promises_hold_up_to_their_bound() {
        let cases = [
            (Kind::NetprocUring, 510, 500, Some(true)),
            (Kind::NetprocUring, 511, 500, Some(false)),
            (Kind::NetprocEpoll, 2600, 500, Some(true)),
            (Kind::NetprocEpoll, 2601, 500, Some(false)),
            (Kind::Tokio, 9000, 0, None),
        ];
        for (server, total, waits, kept) in cases {
            let counted = Some(Counted::new(1000, Counts { total, waits }, None));
            let row = Row { counted, ..Row::new(server) };
            let found = row.promise().map(|promise| promise.is_kept());
            assert_eq!(found, kept, "{server} {total} {waits}");
        }
    }

    #[test]
    fn a_promise_that_was_not_checked_is_not_kept() {
        let counts = Counts { total: 500, waits: 500 };
        let cases = [
            (Kind::NetprocUring, None, None, false),
            (Kind::NetprocUring, Some(Counted::new(1000, counts, None)), None, true),
            (Kind::NetprocUring, None, Some("no io_uring here"), true),
            (Kind::NetprocPoll, None, None, true),
        ];
        for (server, counted, unavailable, kept) in cases {
            let mut cell = measured(&[(server, &[1000])]);
            cell.rows[0].counted = counted;
            cell.rows[0].unavailable = unavailable.map(Into::into);
            assert_eq!(cell.keeps_promises(), kept, "{server}, {unavailable:?}");
        }
    }
}
