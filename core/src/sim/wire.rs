//! Listeners and connections as a kernel keeps them: backlogs, windows, ends and resets.
//!
//! Invariant: what is on its way lies at the end it goes to, in the order it was written, and never
//! more than the window unless one record is longer than that. A close with unread input, and a
//! reset, destroy what has not arrived, as TCP does; what has arrived can still be read. Which
//! socket asks when, and what it tells its owner, is `connection.rs`'s and `listener.rs`'s affair.

use std::{collections::VecDeque, io::IoSlice};

use crate::{
    address::Address,
    reactor::Kind,
    sim::{
        faults::Chaos,
        names::{self, Holder, Names, Space},
    },
    slots::{Key, Slots},
};

/// Longer records are refused, as a default Linux refuses them.
const RECORD_LEN_MAX: usize = 212_960;

/// One thing on its way to an end.
#[derive(Debug)]
struct Segment {
    due: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Bytes of a stream, or one record, and how many of them have been read.
    Bytes(Vec<u8>, usize),
    Fin,
    Reset,
}

/// What the next read would bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ready {
    Nothing,
    /// At least one byte, or one record of this length.
    Bytes(usize),
    Eof,
    Failed(i32),
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    kind: Kind,
    local: Address,
    remote: Address,
    /// Whether this end claimed `local`.
    caller: bool,
    /// The other end, until it is closed.
    peer: Option<Key>,
    inbound: VecDeque<Segment>,
    /// Bytes in `inbound`.
    queued: usize,
    shut: bool,
}

impl End {
    const fn new(kind: Kind, local: Address, remote: Address) -> Self {
        Self {
            kind,
            local,
            remote,
            caller: false,
            peer: None,
            inbound: VecDeque::new(),
            queued: 0,
            shut: false,
        }
    }

    const fn is_local(&self) -> bool {
        matches!(self.local, Address::Local(_) | Address::Abstract(_))
    }

    /// When something sent now arrives: never before what was sent earlier.
    fn arrival(&self, now: u64, chaos: &mut Chaos) -> u64 {
        let due = now + chaos.latency(|faults| faults.delay_max);
        self.inbound.back().map_or(due, |last| due.max(last.due))
    }

    fn push(&mut self, now: u64, chaos: &mut Chaos, what: What) {
        let due = self.arrival(now, chaos);
        if let What::Bytes(bytes, _) = &what {
            self.queued += bytes.len();
        }
        self.inbound.push_back(Segment { due, what });
    }

    fn push_reset(&mut self, now: u64, chaos: &mut Chaos) {
        self.inbound.retain(|segment| segment.due <= now);
        self.queued = self.inbound.iter().map(Segment::unread).sum();
        self.push(now, chaos, What::Reset);
    }

    /// What a write finds before it looks for room: a reset that has arrived, always the last thing.
    fn broken(&self, now: u64) -> Option<i32> {
        let mut latest = self.inbound.iter().rev();
        let last = latest.next().filter(|last| last.due <= now)?;
        let after_end = latest.next().is_some_and(|segment| matches!(segment.what, What::Fin));
        match last.what {
            What::Bytes(..) | What::Fin => None,
            // Linux answers EPIPE once the peer's end has been seen, else ECONNRESET.
            What::Reset if after_end => Some(libc::EPIPE),
            What::Reset => Some(libc::ECONNRESET),
        }
    }
}

impl Segment {
    const fn unread(&self) -> usize {
        match &self.what {
            What::Bytes(bytes, read) => bytes.len() - *read,
            What::Fin | What::Reset => 0,
        }
    }
}

/// A listener of the kernel.
#[derive(Debug)]
struct Backlog {
    kind: Kind,
    address: Address,
    space: Space,
    len_max: usize,
    /// Ends of this side that nobody has accepted, and when they arrive.
    waiting: VecDeque<(u64, Key)>,
}

/// Why a connect did not come through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    Errno(i32),
    /// The backlog is full: ask again.
    Full,
}

/// Every listener and every connection of the simulated kernel.
#[derive(Debug, Default)]
pub(super) struct Wire {
    listeners: Slots<Backlog>,
    ends: Slots<End>,
}

impl Wire {
    pub(super) fn listen(
        &mut self,
        names: &mut Names,
        kind: Kind,
        wanted: &Address,
        shared: bool,
        backlog: u32,
    ) -> Result<Key, i32> {
        let space = Space::of(kind, wanted.family());
        let address = names.choose(space, wanted, shared)?;
        let key = self.listeners.insert(Backlog {
            kind,
            address: address.clone(),
            space,
            // Linux admits one more than it was asked for.
            len_max: usize::try_from(backlog).unwrap_or(usize::MAX).saturating_add(1),
            waiting: VecDeque::new(),
        });
        names.claim(space, address, Holder::Listener(key), shared);
        Ok(key)
    }

    pub(super) fn listener_address(&self, key: Key) -> Option<&Address> {
        self.listeners.get(key).map(|listener| &listener.address)
    }

    /// How many connections wait there.
    pub(super) fn waiting(&self, key: Key) -> usize {
        self.listeners.get(key).map_or(0, |listener| listener.waiting.len())
    }

    /// Takes the oldest connection that has arrived.
    pub(super) fn accept(&mut self, key: Key, now: u64) -> Option<Key> {
        let listener = self.listeners.get_mut(key)?;
        let &(due, _) = listener.waiting.front()?;
        if due > now {
            return None;
        }
        listener.waiting.pop_front().map(|(_, end)| end)
    }

    /// Whether a connection has arrived there.
    pub(super) fn can_accept(&self, key: Key, now: u64) -> bool {
        let first = self.listeners.get(key).and_then(|listener| listener.waiting.front());
        first.is_some_and(|&(due, _)| due <= now)
    }

    pub(super) fn close_listener(
        &mut self,
        names: &mut Names,
        key: Key,
        now: u64,
        chaos: &mut Chaos,
    ) {
        let Some(listener) = self.listeners.remove(key) else { return };
        names.release(listener.space, &listener.address, Holder::Listener(key));
        for (_, end) in listener.waiting {
            self.close(names, end, now, chaos, true);
        }
    }

    /// Connects from `local` to `to`; both ends can be written at once, before the accept.
    pub(super) fn connect(
        &mut self,
        names: &Names,
        kind: Kind,
        local: &Address,
        to: &Address,
        now: u64,
        chaos: &mut Chaos,
    ) -> Result<Key, Refusal> {
        let to = names::target(to);
        let space = Space::of(kind, to.family());
        let is_listener = |holder: Holder| matches!(holder, Holder::Listener(_));
        let found = names.find(space, &to, &mut chaos.rng, is_listener);
        let Some(Holder::Listener(key)) = found else {
            let missing = matches!(to, Address::Local(_)) && !names.is_taken(space, &to);
            return Err(Refusal::Errno(if missing { libc::ENOENT } else { libc::ECONNREFUSED }));
        };
        let listener = self.listeners.get_mut(key).ok_or(Refusal::Errno(libc::ECONNREFUSED))?;
        if listener.kind != kind {
            return Err(Refusal::Errno(libc::EPROTOTYPE));
        }
        if listener.waiting.len() >= listener.len_max {
            return Err(Refusal::Full);
        }
        let callee = self.ends.insert(End::new(kind, to.clone(), local.clone()));
        let due = now + chaos.latency(|faults| faults.delay_max);
        let due = listener.waiting.back().map_or(due, |&(last, _)| due.max(last));
        listener.waiting.push_back((due, callee));
        let mut end = End::new(kind, local.clone(), to);
        (end.caller, end.peer) = (true, Some(callee));
        let caller = self.ends.insert(end);
        if let Some(end) = self.ends.get_mut(callee) {
            end.peer = Some(caller);
        }
        Ok(caller)
    }

    /// Whether the system resets this connection on demand: an IP connection only.
    pub(super) fn can_reset(&self, key: Key) -> bool {
        self.ends.get(key).is_some_and(|end| !end.is_local())
    }

    pub(super) fn local(&self, key: Key) -> Option<&Address> {
        self.ends.get(key).map(|end| &end.local)
    }

    /// Whom a connection is with, while a kernel would know: `None` after a reset.
    pub(super) fn live_remote(&self, key: Key, now: u64) -> Option<&Address> {
        self.ends.get(key).filter(|end| end.broken(now).is_none()).map(|end| &end.remote)
    }

    /// The error a kernel holds for this end, if the connection was reset.
    pub(super) fn broken(&self, key: Key, now: u64) -> Option<i32> {
        self.ends.get(key)?.broken(now)
    }

    pub(super) fn ready(&self, key: Key, now: u64) -> Ready {
        let first = self.ends.get(key).and_then(|end| end.inbound.front());
        match first {
            Some(segment) if segment.due <= now => match &segment.what {
                What::Bytes(bytes, read) => Ready::Bytes(bytes.len() - read),
                What::Fin => Ready::Eof,
                What::Reset => Ready::Failed(libc::ECONNRESET),
            },
            _ => Ready::Nothing,
        }
    }

    /// Reads what has arrived of a stream into `room` and returns how much that was.
    pub(super) fn read(&mut self, key: Key, now: u64, room: &mut [u8]) -> usize {
        let Some(end) = self.ends.get_mut(key) else { return 0 };
        let mut filled = 0;
        while let Some(Segment { due, what: What::Bytes(bytes, read) }) = end.inbound.front_mut()
            && *due <= now
            && filled < room.len()
        {
            let len = (bytes.len() - *read).min(room.len() - filled);
            room[filled..filled + len].copy_from_slice(&bytes[*read..*read + len]);
            filled += len;
            *read += len;
            if *read == bytes.len() {
                end.inbound.pop_front();
            }
        }
        end.queued -= filled;
        filled
    }

    /// Takes the record that has arrived; what is not read of a record is lost.
    pub(super) fn read_record(&mut self, key: Key, room: &mut [u8]) -> usize {
        let Some(end) = self.ends.get_mut(key) else { return 0 };
        let Some(Segment { what: What::Bytes(bytes, _), .. }) = end.inbound.front() else {
            return 0;
        };
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        end.queued -= bytes.len();
        end.inbound.pop_front();
        len
    }

    /// Throws away what has arrived and returns what comes next.
    pub(super) fn discard(&mut self, key: Key, now: u64) -> Ready {
        if let Some(end) = self.ends.get_mut(key) {
            while let Some(Segment { due, what: What::Bytes(bytes, read) }) = end.inbound.front()
                && *due <= now
            {
                end.queued -= bytes.len() - read;
                end.inbound.pop_front();
            }
        }
        self.ready(key, now)
    }

    /// Writes what the window admits of `chunks`, one record at most; `None` when there is no room.
    pub(super) fn write(
        &mut self,
        key: Key,
        chunks: &[IoSlice<'_>],
        now: u64,
        chaos: &mut Chaos,
    ) -> Result<Option<usize>, i32> {
        let Some(end) = self.ends.get(key) else { return Err(libc::EBADF) };
        if let Some(errno) = end.broken(now) {
            return Err(errno);
        }
        let total: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let record = end.kind == Kind::SeqPacket;
        if end.shut {
            return Err(libc::EPIPE);
        }
        if record && total > RECORD_LEN_MAX {
            return Err(libc::EMSGSIZE);
        }
        let Some(peer) = end.peer else { return self.write_to_nobody(key, total, now, chaos) };
        let Some(peer) = self.ends.get_mut(peer) else { return Err(libc::EPIPE) };
        let room = chaos.faults.window.max(1).saturating_sub(peer.queued);
        let len = match (record, room) {
            (true, _) if peer.queued == 0 || total <= room => total,
            (true, _) | (false, 0) => return Ok(None),
            (false, _) => chaos.part(total.min(room), |faults| faults.short_send),
        };
        let mut bytes = Vec::with_capacity(len);
        for chunk in chunks {
            let part = chunk.len().min(len - bytes.len());
            bytes.extend_from_slice(&chunk[..part]);
        }
        peer.push(now, chaos, What::Bytes(bytes, 0));
        Ok(Some(len))
    }

    /// A write to an end that is closed: refused at once on a local connection, else swallowed and
    /// answered by a reset; the other way round when the fault strikes.
    fn write_to_nobody(
        &mut self,
        key: Key,
        len: usize,
        now: u64,
        chaos: &mut Chaos,
    ) -> Result<Option<usize>, i32> {
        let swapped = chaos.strikes(|faults| faults.eof_then_write);
        match self.ends.get_mut(key) {
            Some(end) if end.is_local() == swapped => {
                end.push_reset(now, chaos);
                Ok(Some(len))
            }
            _ => Err(libc::EPIPE),
        }
    }

    /// Ends the sending direction behind everything written.
    pub(super) fn shutdown(&mut self, key: Key, now: u64, chaos: &mut Chaos) {
        let Some(end) = self.ends.get_mut(key) else { return };
        let peer = if std::mem::replace(&mut end.shut, true) { None } else { end.peer };
        if let Some(peer) = peer.and_then(|peer| self.ends.get_mut(peer)) {
            peer.push(now, chaos, What::Fin);
        }
    }

    /// Closes one end; unread input, or `reset`, resets the other.
    pub(super) fn close(
        &mut self,
        names: &mut Names,
        key: Key,
        now: u64,
        chaos: &mut Chaos,
        reset: bool,
    ) {
        let Some(end) = self.ends.remove(key) else { return };
        if end.caller && end.local != Address::unnamed() {
            let space = Space::of(end.kind, end.local.family());
            names.release(space, &end.local, Holder::Caller);
        }
        let Some(peer) = end.peer.and_then(|peer| self.ends.get_mut(peer)) else { return };
        peer.peer = None;
        if end.queued > 0 || reset {
            peer.push_reset(now, chaos);
        } else if !end.shut {
            peer.push(now, chaos, What::Fin);
        }
    }

    /// Something between the two ends resets both.
    pub(super) fn cut(&mut self, key: Key, now: u64, chaos: &mut Chaos) {
        let peer = self.ends.get(key).and_then(|end| end.peer);
        for key in [Some(key), peer].into_iter().flatten() {
            if let Some(end) = self.ends.get_mut(key) {
                end.peer = None;
                end.push_reset(now, chaos);
            }
        }
    }

    /// When the next thing arrives at `key` after `now`.
    pub(super) fn next_arrival(&self, key: Key, now: u64) -> Option<u64> {
        let inbound = &self.ends.get(key)?.inbound;
        let first = inbound.partition_point(|segment| segment.due <= now);
        inbound.get(first).map(|segment| segment.due)
    }

    /// When the next connection arrives at a listener after `now`.
    pub(super) fn next_caller(&self, key: Key, now: u64) -> Option<u64> {
        let waiting = &self.listeners.get(key)?.waiting;
        waiting.iter().map(|&(due, _)| due).find(|due| *due > now)
    }
}
