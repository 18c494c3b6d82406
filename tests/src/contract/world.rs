//! What every socket of a reactor has shown so far, and whether that is allowed.
//!
//! Invariant: an event enters a [`World`] only through [`World::note`], which refuses one that
//! breaks the order of the contract, so every test checks points 1, 2 and 4 without asking. What a
//! test expects of the bytes is the test's own affair.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use netproc_core::{
    address::Address,
    reactor::{Event, Kind, SockId, SysError},
};

/// How many of a socket's last events a dump shows.
const MARKS_SHOWN: usize = 12;

/// Which part a socket plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a test's own vocabulary")]
pub enum Part {
    /// It accepts.
    Listener,
    /// It was opened by `connect`, so `Connected` comes before anything else.
    Client,
    /// It was accepted or adopted: connected from the start.
    Child,
    /// It sends and receives packets.
    Packets,
}

/// One packet or record as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests compare it whole")]
pub struct Record {
    /// The part that fitted.
    pub bytes: Vec<u8>,
    /// How many bytes did not.
    pub lost: u32,
    /// Who sent it, where the event says so.
    pub from: Option<Address>,
}

/// How a socket ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests compare it whole")]
pub struct End {
    /// The error that ended it.
    pub cause: Option<SysError>,
    /// Bytes given that the kernel never took.
    pub unsent: u64,
}

impl End {
    /// The errno of the cause.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.cause.map(|cause| cause.errno)
    }
}

/// The bare outline of an event, kept for order and for dumps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "one for each event a socket can have")]
pub enum Mark {
    /// A connection came.
    Accepted,
    /// Accepting failed with this errno.
    AcceptFailed(i32),
    /// The connect came through.
    Connected,
    /// So many bytes of a stream, or one record of that length.
    Data(usize),
    /// A packet of so many bytes.
    Datagram(usize),
    /// The peer's end.
    Eof,
    /// A soft error with this errno.
    Trouble(i32),
    /// The kernel took so many bytes.
    Sent(u64),
    /// The end, with the errno of its cause.
    Closed(Option<i32>),
}

/// Everything one socket has shown.
#[derive(Debug)]
#[non_exhaustive]
pub struct Track {
    /// Which part it plays.
    pub part: Part,
    /// Stream, packets or records.
    pub kind: Kind,
    /// All bytes of its `Data`, put together.
    pub data: Vec<u8>,
    /// Its packets and records one by one.
    pub records: Vec<Record>,
    /// Whom it accepted, oldest first.
    pub children: Vec<SockId>,
    /// What `Accepted` said about its peer.
    pub peer: Option<Address>,
    /// Whether it can carry bytes: `Connected` came, or it was born so.
    pub connected: bool,
    /// Whether the peer has ended.
    pub eof: bool,
    /// Bytes the reactor took into its queue.
    pub given: u64,
    /// Sum of its `Sent`.
    pub sent: u64,
    /// What the last `Sent` said still waits.
    pub queued: u64,
    /// Soft errors.
    pub troubles: Vec<SysError>,
    /// Failed accepts and the pause each announced.
    pub accept_failures: Vec<(SysError, Option<Duration>)>,
    /// How it ended, once it has.
    pub closed: Option<End>,
    /// Its events in outline, in order.
    pub marks: Vec<Mark>,
    /// Whether `Sent` was wanted before the first byte was given, and ever since.
    pub(super) watched: bool,
    /// Whether `Sent` was ever wanted.
    pub(super) ever_watched: bool,
    /// Whether the sending side was ended by `finish` or `close`.
    pub(super) finished: bool,
}

impl Track {
    fn new(part: Part, kind: Kind) -> Self {
        Self {
            part,
            kind,
            data: Vec::new(),
            records: Vec::new(),
            children: Vec::new(),
            peer: None,
            connected: part != Part::Client,
            eof: false,
            given: 0,
            sent: 0,
            queued: 0,
            troubles: Vec::new(),
            accept_failures: Vec::new(),
            closed: None,
            marks: Vec::new(),
            watched: false,
            ever_watched: false,
            finished: false,
        }
    }

    /// The errno that ended it; `None` while it lives and after a clean end.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.closed.and_then(|end| end.errno())
    }

    fn input(&mut self, bytes: &[u8], lost: u32, from: Option<&Address>) -> Result<(), String> {
        if !self.connected {
            return Err("input before Connected".into());
        }
        if self.part == Part::Listener {
            return Err("input of a listener".into());
        }
        if self.eof {
            return Err("input after Eof".into());
        }
        if self.kind == Kind::Stream {
            if bytes.is_empty() || lost != 0 {
                return Err(format!("{} bytes of a stream, {lost} lost", bytes.len()));
            }
        } else {
            self.records.push(Record { bytes: bytes.to_vec(), lost, from: from.cloned() });
        }
        self.data.extend_from_slice(bytes);
        Ok(())
    }

    fn took(&mut self, bytes: u64, queued: u64) -> Result<(), String> {
        if !self.ever_watched {
            return Err("Sent of a socket nobody watches".into());
        }
        if !self.connected {
            return Err("Sent before Connected".into());
        }
        if bytes == 0 && queued > 0 && self.kind == Kind::Stream {
            return Err("Sent of no byte of a stream that goes on".into());
        }
        self.sent += bytes;
        self.queued = queued;
        let (sent, given) = (self.sent, self.given);
        if sent + queued > given {
            return Err(format!("{sent} sent, {queued} queued of {given} given"));
        }
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), String> {
        self.closed = Some(end);
        let (sent, unsent, given) = (self.sent, end.unsent, self.given);
        if self.watched && self.kind != Kind::Datagram && sent + unsent != given {
            return Err(format!("{sent} sent and {unsent} unsent of {given} given"));
        }
        if unsent > given {
            return Err(format!("{unsent} unsent of {given} given"));
        }
        Ok(())
    }
}

/// Every socket a reactor has handed out, by id.
#[derive(Debug, Default)]
pub struct World {
    tracks: BTreeMap<SockId, Track>,
    /// How many `Woken` came.
    wakes: u64,
}

impl World {
    /// Enters a socket its owner has just opened.
    ///
    /// # Panics
    ///
    /// Panics when the id was handed out before: ids are for ever.
    pub(super) fn open(&mut self, id: SockId, part: Part, kind: Kind) {
        let before = self.tracks.insert(id, Track::new(part, kind));
        assert!(before.is_none(), "{id:?} was handed out twice");
    }

    /// Enters an event.
    ///
    /// # Errors
    ///
    /// Which rule of the contract it breaks.
    pub fn note(&mut self, event: &Event) -> Result<(), String> {
        let Some(owner) = event.owner() else {
            self.wakes += 1;
            return Ok(());
        };
        let Some(track) = self.tracks.get_mut(&owner) else {
            return Err("an event of an id nobody was given".into());
        };
        if track.closed.is_some() {
            return Err("an event after Closed".into());
        }
        track.marks.push(mark(event));
        match event {
            Event::Accepted { id, peer, .. } => return self.accepted(owner, *id, peer.as_ref()),
            Event::AcceptFailed { err, paused, .. } => track.accept_failures.push((*err, *paused)),
            Event::Connected { .. } => {
                if track.connected {
                    return Err("Connected of a socket that was".into());
                }
                track.connected = true;
            }
            Event::Data { buf, lost, .. } if track.kind != Kind::Datagram => {
                return track.input(buf, *lost, None);
            }
            Event::Datagram { buf, from, lost, .. } if track.kind == Kind::Datagram => {
                return track.input(buf, *lost, from.as_ref());
            }
            Event::Data { .. } | Event::Datagram { .. } => {
                return Err("input of the wrong kind".into());
            }
            Event::Eof { .. } => {
                if track.eof || !track.connected || track.kind == Kind::Datagram {
                    return Err("Eof twice, before Connected, or of packets".into());
                }
                track.eof = true;
            }
            Event::Trouble { err, .. } => track.troubles.push(*err),
            Event::Sent { bytes, queued, .. } => return track.took(*bytes, *queued),
            Event::Closed { cause, unsent, .. } => {
                return track.end(End { cause: *cause, unsent: *unsent });
            }
            Event::Woken => {}
        }
        Ok(())
    }

    fn accepted(&mut self, by: SockId, id: SockId, peer: Option<&Address>) -> Result<(), String> {
        let listener = self.tracks.get_mut(&by).ok_or("accepted by nobody")?;
        if listener.part != Part::Listener {
            return Err("accepted by a socket that does not listen".into());
        }
        listener.children.push(id);
        let mut child = Track::new(Part::Child, listener.kind);
        child.peer = peer.cloned();
        match self.tracks.insert(id, child) {
            None => Ok(()),
            Some(_) => Err(format!("{id:?} was handed out twice")),
        }
    }

    /// How many `Woken` came.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.wakes
    }

    /// Every id that has no `Closed` yet.
    #[must_use]
    pub fn open_ids(&self) -> Vec<SockId> {
        let open = self.tracks.iter().filter(|(_, track)| track.closed.is_none());
        open.map(|(id, _)| *id).collect()
    }

    /// Every id ever handed out.
    #[must_use]
    pub fn ids(&self) -> Vec<SockId> {
        self.tracks.keys().copied().collect()
    }

    /// The track of `id`, which this world must know.
    pub(super) fn track_mut(&mut self, id: SockId) -> Option<&mut Track> {
        self.tracks.get_mut(&id)
    }

    /// Whether the events of `id` are in this world.
    #[must_use]
    pub fn knows(&self, id: SockId) -> bool {
        self.tracks.contains_key(&id)
    }

    /// Whether `id` has ended.
    #[must_use]
    pub fn closed(&self, id: SockId) -> bool {
        self[id].closed.is_some()
    }
}

impl std::ops::Index<SockId> for World {
    type Output = Track;

    fn index(&self, id: SockId) -> &Track {
        self.tracks.get(&id).expect("a test asks about the ids it was given")
    }
}

/// The dump a failing test prints: a line for each socket, with its last events.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, track) in &self.tracks {
            let mut line = String::new();
            for mark in &track.marks[track.marks.len().saturating_sub(MARKS_SHOWN)..] {
                write!(line, " {mark:?}")?;
            }
            writeln!(
                f,
                "  {}.{} {:?}: {} bytes in, {} given, {} sent, {} events, the last:{line}",
                id.0.index,
                id.0.generation,
                track.part,
                track.data.len(),
                track.given,
                track.sent,
                track.marks.len(),
            )?;
        }
        Ok(())
    }
}

fn mark(event: &Event) -> Mark {
    match event {
        Event::Accepted { .. } | Event::Woken => Mark::Accepted,
        Event::AcceptFailed { err, .. } => Mark::AcceptFailed(err.errno),
        Event::Connected { .. } => Mark::Connected,
        Event::Data { buf, .. } => Mark::Data(buf.len()),
        Event::Datagram { buf, .. } => Mark::Datagram(buf.len()),
        Event::Eof { .. } => Mark::Eof,
        Event::Trouble { err, .. } => Mark::Trouble(err.errno),
        Event::Sent { bytes, .. } => Mark::Sent(*bytes),
        Event::Closed { cause, .. } => Mark::Closed(cause.map(|cause| cause.errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netproc_core::{pool::Buf, slots::Key};

    const LISTENER: SockId = SockId(Key::new(0, 1));
    const CLIENT: SockId = SockId(Key::new(1, 1));
    const CHILD: SockId = SockId(Key::new(2, 1));
    const PACKETS: SockId = SockId(Key::new(3, 1));

    fn world() -> World {
        let mut world = World::default();
        world.open(LISTENER, Part::Listener, Kind::Stream);
        world.open(CLIENT, Part::Client, Kind::Stream);
        world.open(PACKETS, Part::Packets, Kind::Datagram);
        let client = world.track_mut(CLIENT).unwrap();
        (client.given, client.watched, client.ever_watched) = (10, true, true);
        world
    }

    fn accepted(listener: SockId, id: SockId) -> Event {
        Event::Accepted { listener, id, peer: None }
    }

    fn data(id: SockId, text: &str) -> Event {
        Event::Data { id, buf: Buf::copied(text.as_bytes()), lost: 0 }
    }

    fn sent(bytes: u64, queued: u64) -> Event {
        Event::Sent { id: CLIENT, bytes, queued }
    }

    fn closed(id: SockId, unsent: u64) -> Event {
        Event::Closed { id, cause: None, unsent }
    }

    fn connected() -> Event {
        Event::Connected { id: CLIENT }
    }

    fn eof(id: SockId) -> Event {
        Event::Eof { id }
    }

    #[test]
    fn a_life_in_order_is_allowed() {
        let mut world = world();
        let life = [
            accepted(LISTENER, CHILD),
            data(CHILD, "early"),
            connected(),
            sent(4, 6),
            data(CLIENT, "text"),
            eof(CLIENT),
            sent(6, 0),
            closed(CLIENT, 0),
            closed(LISTENER, 0),
            eof(CHILD),
            closed(CHILD, 0),
        ];
        for event in &life {
            assert_eq!(world.note(event), Ok(()), "{event:?}");
        }
    }

    #[test]
    fn whatever_breaks_the_order_is_refused() {
        let packet = |id| Event::Datagram { id, buf: Buf::copied(b"x"), from: None, lost: 0 };
        let cut = Event::Data { id: CLIENT, buf: Buf::copied(b"x"), lost: 1 };
        let unwatched = Event::Sent { id: PACKETS, bytes: 1, queued: 0 };
        let cases = [
            ("input before Connected", vec![data(CLIENT, "x")]),
            ("input of a listener", vec![data(LISTENER, "x")]),
            ("no input of a stream", vec![connected(), data(CLIENT, "")]),
            ("a cut stream", vec![connected(), cut]),
            ("a packet of a stream", vec![connected(), packet(CLIENT)]),
            ("a stream's input of packets", vec![data(PACKETS, "x")]),
            ("input after the end", vec![connected(), eof(CLIENT), data(CLIENT, "x")]),
            ("two ends", vec![connected(), eof(CLIENT), eof(CLIENT)]),
            ("an end of packets", vec![eof(PACKETS)]),
            ("an end before the beginning", vec![eof(CLIENT)]),
            ("connected twice", vec![connected(), connected()]),
            ("sent before Connected", vec![sent(1, 9)]),
            ("nothing sent", vec![connected(), sent(0, 10)]),
            ("more sent than given", vec![connected(), sent(11, 0)]),
            ("sent and queued more than given", vec![connected(), sent(6, 6)]),
            ("sent to nobody who asked", vec![unwatched]),
            ("bytes missing at the end", vec![connected(), sent(6, 4), closed(CLIENT, 3)]),
            ("bytes doubled at the end", vec![connected(), sent(10, 0), closed(CLIENT, 1)]),
            ("an event after Closed", vec![closed(PACKETS, 0), packet(PACKETS)]),
            ("closed twice", vec![closed(PACKETS, 0), closed(PACKETS, 0)]),
            ("an unknown id", vec![closed(CHILD, 0)]),
            ("accepted twice", vec![accepted(LISTENER, CHILD), accepted(LISTENER, CHILD)]),
            ("accepted by a client", vec![connected(), accepted(CLIENT, CHILD)]),
            ("an id in use accepted", vec![accepted(LISTENER, CLIENT)]),
        ];
        for (what, events) in cases {
            let mut world = world();
            let (last, before) = events.split_last().unwrap();
            for event in before {
                assert_eq!(world.note(event), Ok(()), "{what}: {event:?}");
            }
            assert!(world.note(last).is_err(), "{what}");
        }
    }
}
