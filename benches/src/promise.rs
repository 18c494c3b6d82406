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

impl Row {
    /// What the counts say of netproc's promise.
    pub(crate) fn promise(&self) -> Option<Promise> {
        let counted = self.counted?;
        let counts = counted.counts;
        let max = match self.server {
            Kind::NetprocUring => URING_WORK_MAX,
            Kind::NetprocEpoll => EPOLL_WORK_MAX,
            Kind::NetprocPoll
            | Kind::RawUring
            | Kind::RawEpoll
            | Kind::Tokio
            | Kind::Mio
            | Kind::Monoio
            | Kind::Compio
            | Kind::Glommio => return None,
        };
        let found = as_f64(counts.total - counts.waits) / as_f64(counted.messages);
        Some(Promise { server: self.server, found, max })
    }
}

impl Measured {
    /// Each promise that something was counted for.
    fn promises(&self) -> Vec<Promise> {
        self.rows.iter().filter_map(Row::promise).collect()
    }

    /// Whether all of them are kept; complains of those that are not.
    pub(crate) fn keeps_promises(&self) -> bool {
        let mut promises = self.promises();
        promises.retain(|promise| !promise.is_kept());
        for promise in &promises {
            machine::complain("bench", &promise.to_string());
        }
        promises.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{count::Counts, measure::Counted};

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
}
