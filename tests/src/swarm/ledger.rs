//! What a reactor owes for every id it gave out, checked event by event.
//!
//! Invariant: an event that breaks the order of the contract, a sum that does not add up or input
//! long after a pause is refused here, whatever the bytes were. The bytes are `streams.rs`'s and
//! `ports.rs`'s affair. Nothing here knows which reactor it is.

use std::collections::BTreeMap;

use netproc_core::reactor::{Event, SockId};

/// The outcome of one check; the text says what was wrong.
pub(crate) type Check = Result<(), String>;

/// How an id came into the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Birth {
    Listening,
    Connecting,
    Accepted,
    Packets,
}

#[derive(Debug)]
struct Entry {
    birth: Birth,
    connected: bool,
    eof: bool,
    closed: bool,
    watched: bool,
    given: u64,
    sent: u64,
    /// The number of the `poll` after which it was paused.
    paused: Option<u64>,
    /// Inputs of later polls.
    late: u64,
}

/// Every id of one reactor.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: BTreeMap<SockId, Entry>,
    polls: u64,
    /// Inputs that may come after a pause: one pool.
    late_max: u64,
}

impl Ledger {
    pub(crate) const fn new(late_max: u64) -> Self {
        Self { entries: BTreeMap::new(), polls: 0, late_max }
    }

    /// Enters an id that the reactor gave out.
    pub(crate) fn open(&mut self, id: SockId, birth: Birth, watched: bool) -> Check {
        let entry = Entry {
            birth,
            connected: birth != Birth::Connecting,
            eof: false,
            closed: false,
            watched,
            given: 0,
            sent: 0,
            paused: None,
            late: 0,
        };
        match self.entries.insert(id, entry) {
            None => Ok(()),
            Some(old) => Err(format!("{id:?} was given out twice, first as {:?}", old.birth)),
        }
    }

    /// Notes that the next events come from another `poll`.
    pub(crate) const fn polled(&mut self) {
        self.polls += 1;
    }

    pub(crate) fn gave(&mut self, id: SockId, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.given += bytes as u64;
        }
    }

    pub(crate) fn set_reading(&mut self, id: SockId, on: bool) {
        let polls = self.polls;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.paused = if on { None } else { entry.paused.or(Some(polls)) };
            entry.late = 0;
        }
    }

    pub(crate) fn is_open(&self, id: SockId) -> bool {
        self.entries.get(&id).is_some_and(|entry| !entry.closed)
    }

    /// Every id that is still owed its `Closed`.
    pub(crate) fn open_ids(&self) -> Vec<SockId> {
        let open = self.entries.iter().filter(|(_, entry)| !entry.closed);
        open.map(|(id, _)| *id).collect()
    }

    /// Enters one event, or says what is wrong with it.
    pub(crate) fn note(&mut self, event: &Event) -> Check {
        let Some(id) = event.owner() else { return Ok(()) };
        let (polls, late_max) = (self.polls, self.late_max);
        let Some(entry) = self.entries.get_mut(&id) else {
            return Err(format!("an event of an id nobody was given: {event:?}"));
        };
        if entry.closed {
            return Err(format!("an event after Closed: {event:?}"));
        }
        entry.note(event)?;
        let input = matches!(
            event,
            Event::Accepted { .. }
                | Event::Data { .. }
                | Event::Datagram { .. }
                | Event::Eof { .. }
        );
        if input && entry.paused.is_some_and(|at| at < polls) {
            entry.late += 1;
            if entry.late > late_max {
                return Err(format!("{} inputs after a pause: {event:?}", entry.late));
            }
        }
        Ok(())
    }
}

impl Entry {
    fn note(&mut self, event: &Event) -> Check {
        let wrong = |why: &str| Err(format!("{why}: {event:?}"));
        match event {
            Event::Accepted { .. } | Event::AcceptFailed { .. } => match self.birth {
                Birth::Listening => {}
                Birth::Connecting | Birth::Accepted | Birth::Packets => {
                    return wrong("only a listener accepts");
                }
            },
            Event::Connected { .. } if self.connected => return wrong("connected twice"),
            Event::Connected { .. } => self.connected = true,
            Event::Data { .. } | Event::Eof { .. } if self.eof => return wrong("input after Eof"),
            Event::Data { .. } | Event::Datagram { .. } | Event::Eof { .. } if !self.connected => {
                return wrong("input before Connected");
            }
            Event::Eof { .. } => self.eof = true,
            Event::Data { .. } | Event::Datagram { .. } | Event::Trouble { .. } | Event::Woken => {}
            Event::Sent { .. } if !self.watched => return wrong("nobody watches"),
            Event::Sent { bytes, queued, .. } => {
                self.sent += bytes;
                if self.sent + queued > self.given {
                    return Err(format!("{event:?} after {} of {} given", self.sent, self.given));
                }
            }
            Event::Closed { unsent, .. } => {
                self.closed = true;
                if self.watched && self.sent + unsent != self.given {
                    let (sent, given) = (self.sent, self.given);
                    return Err(format!("{event:?}, but {sent} sent of {given} given"));
                }
            }
        }
        Ok(())
    }
}
