//! What netproc promises in system calls, for messages of 64 bytes on 50 connections.

use std::fmt;

use crate::{
    figures::as_f64,
    machine,
    measure::{Measured, Row},
    serve::Kind,
};

/// What netproc on io_uring promises at most, system calls a message, however small the batches are that a
/// busy machine makes. What it has to be on a quiet one is less: see `requirement.rs`.
const URING_TOTAL_MAX: f64 = 0.1;
/// What netproc on epoll promises at most, system calls a message, waits not counted.
const EPOLL_WORK_MAX: f64 = 2.1;

/// A promise with what became of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Promise {
    pub(crate) server: Kind,
    /// Which calls are counted.
    pub(crate) what: &'static str,
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
        let Self { server, what, found, max } = self;
        write!(f, "{server}: {found:.3} system calls a message {what}, promised {max}")
    }
}

impl Row {
    /// What the counts say of netproc's promise.
    pub(crate) fn promise(&self) -> Option<Promise> {
        let counted = self.counted?;
        let counts = counted.counts;
        let (what, found, max) = match self.server {
            Kind::NetprocUring => ("in all", counts.total, URING_TOTAL_MAX),
            Kind::NetprocEpoll => ("besides waits", counts.total - counts.waits, EPOLL_WORK_MAX),
            Kind::NetprocPoll
            | Kind::RawUring
            | Kind::RawEpoll
            | Kind::Tokio
            | Kind::Mio
            | Kind::Monoio
            | Kind::Compio
            | Kind::Glommio => return None,
        };
        let found = as_f64(found) / as_f64(counted.messages);
        Some(Promise { server: self.server, what, found, max })
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
            (Kind::NetprocUring, 100, 100, Some(true)),
            (Kind::NetprocUring, 101, 101, Some(false)),
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
