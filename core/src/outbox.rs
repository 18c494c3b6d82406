//! What waits to be sent: a queue of payloads with an offset into the first.
//!
//! Invariant: `bytes` is the sum of what is queued less what was advanced over, and a payload is
//! dropped only once `advance` has passed its last byte: while a kernel may still read it, it stays. Only what
//! lies behind more payloads than a send is offered may still grow.
//! How much may wait is the engine's policy; sending it is the backends' work.

use std::{collections::VecDeque, io::IoSlice};

use crate::{
    address::Address,
    reactor::{Kind, Payload},
};

/// The most bytes of a stream that one send is offered: of what is sent in larger pieces much has left the
/// sender's cache before the system is done with it.
pub const SEND_LEN_MAX: usize = 64 * 1024;

/// The most bytes of a stream that a socket sends before the next has its turn, in a row of sends: what serves
/// one peer a while finds more of it in cache than what serves all in pieces, and nobody waits long for so much.
pub const TURN_LEN_MAX: usize = 4 * SEND_LEN_MAX;

/// So many payloads at the front of a queue stay as they were sent: no fewer than one send is offered, so
/// nothing changes that a kernel may be reading. Behind them small ones are joined, for a peer that sends
/// byte by byte and reads nothing would else have each byte of an echo kept at many times its size.
pub const APART_MIN: usize = 64;

/// How much memory joined payloads share; longer ones are not joined, for which their own memory is little.
const JOINED_LEN: usize = 512;

/// Copies the bytes of a payload of a stream to the end of `queue`, where others may be already.
pub(crate) fn join(queue: &mut VecDeque<Payload>, bytes: &[u8]) {
    let mut rest = bytes;
    if let Some(Payload::Owned(tail)) = queue.back_mut() {
        // No more than there is room for, so that what is there stays where it is.
        let (fits, more) = bytes.split_at(bytes.len().min(tail.capacity() - tail.len()));
        tail.extend_from_slice(fits);
        rest = more;
    }
    if !rest.is_empty() {
        let mut tail = Vec::with_capacity(JOINED_LEN.max(rest.len()));
        tail.extend_from_slice(rest);
        queue.push_back(Payload::Owned(tail));
    }
}

/// Whether `payload` is to be joined to a queue of `count` others: not where it costs nothing but its place, as
/// what is sent to many does, unless a place is more than it.
pub(crate) fn joins(count: usize, payload: &Payload) -> bool {
    let len = match payload {
        Payload::Buf(_) | Payload::Owned(_) => JOINED_LEN,
        Payload::Shared(_) | Payload::Static(_) => size_of::<Payload>(),
    };
    count > APART_MIN && payload.len() <= len
}

/// The outgoing bytes of a stream.
///
/// # Examples
///
/// ```
/// use netproc_core::outbox::Outbox;
///
/// let mut outbox = Outbox::default();
/// outbox.push("hello ".into());
/// outbox.push("world".into());
/// assert_eq!(outbox.bytes(), 11);
/// outbox.advance(8);
/// assert_eq!(outbox.chunks().next(), Some(&b"rld"[..]));
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    /// What goes next. It has a place of its own, for most of the time there is no other: so a
    /// connection that sends one thing at a time needs no memory besides, and no queue is turned.
    first: Option<Payload>,
    /// What goes after that.
    rest: VecDeque<Payload>,
    /// How much of the first payload has gone.
    offset: usize,
    bytes: u64,
}

impl Outbox {
    /// Queues `payload` behind the rest; an empty one is dropped, since a stream cannot carry it.
    ///
    /// A stored receive slot is copied first when slots are scarce, and behind [`APART_MIN`] others whatever
    /// is small.
    #[inline(always)]
    pub fn push(&mut self, payload: Payload) {
        match payload {
            // What an echo has: it is moved to its place at once, and nowhere else before.
            Payload::Buf(buf) if self.first.is_none() && !buf.is_empty() && !buf.is_scarce() => {
                self.bytes += buf.len() as u64;
                self.first = Some(Payload::Buf(buf));
            }
            payload @ (Payload::Buf(_)
            | Payload::Owned(_)
            | Payload::Shared(_)
            | Payload::Static(_)) => self.push_any(payload),
        }
    }

    #[inline(never)]
    fn push_any(&mut self, mut payload: Payload) {
        let len = payload.len();
        if len == 0 {
            return;
        }
        self.bytes += len as u64;
        if joins(self.rest.len(), &payload) {
            return join(&mut self.rest, payload.as_slice());
        }
        if let Payload::Buf(buf) = &mut payload {
            buf.spill_if_scarce();
        }
        match &mut self.first {
            first @ None => *first = Some(payload),
            Some(_) => self.rest.push_back(payload),
        }
    }

    /// Bytes that wait.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How many payloads wait.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// All that waits, if that is one payload, without the part that has gone.
    #[must_use]
    #[inline]
    pub fn sole_chunk(&self) -> Option<&[u8]> {
        let first = self.first.as_ref().filter(|_| self.rest.is_empty())?;
        Some(&first.as_slice()[self.offset..])
    }

    /// What waits, payload by payload; the first without the part that has gone.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut offset = self.offset;
        let payloads = self.first.iter().chain(&self.rest);
        payloads.map(move |payload| &payload.as_slice()[std::mem::take(&mut offset)..])
    }

    /// The same as far as `len` bytes go.
    pub fn first_chunks(&self, len: usize) -> impl Iterator<Item = &[u8]> {
        let mut left = len;
        self.chunks().map_while(move |chunk| {
            let part = &chunk[..chunk.len().min(left)];
            left -= part.len();
            // No payload is empty.
            Some(part).filter(|part| !part.is_empty())
        })
    }

    /// Appends at most `max` chunks to `out`, for one gathered write.
    pub fn gather<'a>(&'a self, out: &mut Vec<IoSlice<'a>>, max: usize) {
        out.extend(self.chunks().take(max).map(IoSlice::new));
    }

    /// Forgets the first `sent` bytes and drops the payloads they complete.
    ///
    /// # Panics
    ///
    /// Panics when more is forgotten than waits: a kernel cannot send what was not queued.
    #[inline(always)]
    pub fn advance(&mut self, sent: usize) {
        if sent as u64 > self.bytes {
            oversent(sent, self.bytes);
        }
        self.bytes -= sent as u64;
        if self.bytes == 0 && self.rest.is_empty() {
            // All is gone, as almost every time.
            self.offset = 0;
            return self.drop_first();
        }
        self.advance_within(sent);
    }

    /// Forgets all that waits, which is what [`sole_chunk`](Self::sole_chunk) gave and has gone whole.
    #[inline(always)]
    pub fn pass_sole(&mut self) {
        debug_assert!(self.sole_chunk().is_some(), "one payload and no other");
        (self.bytes, self.offset) = (0, 0);
        self.drop_first();
    }

    /// Drops the first payload, the one an echo has without a look at what others there are.
    #[inline(always)]
    fn drop_first(&mut self) {
        match self.first.take() {
            Some(Payload::Buf(buf)) => drop(buf),
            // Back to its place, so that nothing here needs to know how to drop it.
            other @ (Some(Payload::Owned(_) | Payload::Shared(_) | Payload::Static(_)) | None) => {
                self.first = other;
                self.drop_other();
            }
        }
    }

    #[inline(never)]
    fn drop_other(&mut self) {
        self.first = None;
    }

    #[inline(never)]
    fn advance_within(&mut self, sent: usize) {
        let mut passed = self.offset + sent;
        while let Some(first) = &self.first {
            let len = first.len();
            if passed < len {
                break;
            }
            passed -= len;
            self.first = self.rest.pop_front();
        }
        self.offset = passed;
    }

    /// Throws everything away and returns how many bytes that was.
    pub fn clear(&mut self) -> u64 {
        self.first = None;
        self.rest.clear();
        self.offset = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// Apart, and with numbers instead of references to them, which would have to lie in memory.
#[cold]
#[inline(never)]
fn oversent(sent: usize, queued: u64) -> ! {
    panic!("{sent} bytes sent of {queued} queued")
}

/// One packet on its way out.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "backends take it apart")]
pub struct Packet {
    /// The bytes; none is a packet too.
    pub payload: Payload,
    /// Whom it is for; `None` on a connected socket.
    pub to: Option<Address>,
}

/// The outgoing packets or records of a socket, oldest first.
#[derive(Debug, Default)]
pub struct Packets {
    queue: VecDeque<Packet>,
    bytes: u64,
    /// How many say whom they are for.
    named: usize,
    /// Whom those are for that do not say so, where that is known.
    peer: Option<Box<Address>>,
    /// Longer packets are not joined for the system to cut apart: it does not know of that, or has refused
    /// it once. `None` until it is asked.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) joined_len_max: Option<usize>,
}

impl Packets {
    /// Queues one packet, empty or not; a stored receive slot is copied when slots are scarce.
    pub fn push(&mut self, mut packet: Packet) {
        if let Payload::Buf(buf) = &mut packet.payload {
            buf.spill_if_scarce();
        }
        self.bytes += packet.payload.len() as u64;
        self.named += usize::from(packet.to.is_some());
        self.queue.push_back(packet);
    }

    /// The packet to send next.
    #[must_use]
    pub fn front(&self) -> Option<&Packet> {
        self.queue.front()
    }

    /// What waits, oldest first, for one batched write.
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        self.queue.iter()
    }

    /// Moves the oldest packet, and every later one for the same destination, behind the rest, and
    /// returns how many those are. Among themselves they keep their order, and so does the rest.
    pub fn defer_front(&mut self) -> usize {
        let Some(to) = self.front().map(|first| first.to.clone()) else { return 0 };
        // A stable sort by two values: once over the queue, in place.
        self.queue.make_contiguous().sort_by_key(|packet| packet.to == to);
        self.queue.iter().rev().take_while(|packet| packet.to == to).count()
    }

    /// Notes that the socket is connected to `peer`. Packets that have no destination of their own are for the one
    /// noted before from then on, or for `before` if there is none: the system forgets a local peer that is gone.
    pub fn connected(&mut self, peer: &Address, before: Option<Address>) {
        if let Some(before) = self.peer.take().map(|before| *before).or(before) {
            for packet in self.queue.iter_mut().filter(|packet| packet.to.is_none()) {
                packet.to = Some(before.clone());
            }
            self.named = self.queue.len();
        }
        self.peer = Some(Box::new(peer.clone()));
    }

    /// Whom the next packet is for that says so, if any does.
    #[must_use]
    pub fn destination(&self) -> Option<&Address> {
        // Most often none does, and the queue may be long.
        let mut any = (self.named > 0).then(|| self.queue.iter()).into_iter().flatten();
        any.find_map(|packet| packet.to.as_ref())
    }

    /// Takes the oldest packet, which the kernel has taken or refused.
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.queue.pop_front()?;
        self.bytes -= packet.payload.len() as u64;
        self.named -= usize::from(packet.to.is_some());
        Some(packet)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many packets wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Throws everything away and returns how many bytes that was.
    pub fn clear(&mut self) -> u64 {
        self.queue.clear();
        self.named = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// What waits to be sent on a socket of any kind.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "backends send each its own way")]
pub enum Queue {
    /// A stream's bytes.
    Bytes(Outbox),
    /// Packets or records, kept apart.
    Packets(Packets),
}

impl Queue {
    /// As [`Packets::connected`]; a stream's peer is never another.
    pub fn connected(&mut self, peer: &Address, before: Option<Address>) {
        if let Self::Packets(packets) = self {
            packets.connected(peer, before);
        }
    }

    /// An empty queue for a socket of this kind.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Stream => Self::Bytes(Outbox::default()),
            Kind::Datagram | Kind::SeqPacket => Self::Packets(Packets::default()),
        }
    }

    /// Queues `payload` behind the rest, for `to` where packets go to several.
    #[inline(always)]
    pub fn push(&mut self, payload: Payload, to: Option<&Address>) {
        match self {
            Self::Bytes(outbox) => outbox.push(payload),
            Self::Packets(packets) => packets.push(Packet { payload, to: to.cloned() }),
        }
    }

    /// Bytes that wait.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(outbox) => outbox.bytes(),
            Self::Packets(packets) => packets.bytes(),
        }
    }

    /// Packets or records that wait; 0 on a stream.
    #[must_use]
    pub fn packets(&self) -> usize {
        match self {
            Self::Bytes(_) => 0,
            Self::Packets(packets) => packets.len(),
        }
    }

    /// Whether nothing waits, not even an empty packet.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(outbox) => outbox.is_empty(),
            Self::Packets(packets) => packets.is_empty(),
        }
    }

    /// Throws everything away and returns how many bytes that was.
    pub fn clear(&mut self) -> u64 {
        match self {
            Self::Bytes(outbox) => outbox.clear(),
            Self::Packets(packets) => packets.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use proptest::prelude::*;

    #[test]
    fn an_empty_payload_is_nothing_on_a_stream_and_a_packet_on_its_own() {
        let mut outbox = Outbox::default();
        outbox.push(Payload::Static(b""));
        assert!(outbox.is_empty());
        let mut packets = Packets::default();
        packets.push(Packet { payload: Payload::Static(b""), to: None });
        assert_eq!((packets.len(), packets.bytes()), (1, 0));
    }

    #[test]
    fn a_payload_is_dropped_by_the_advance_that_passes_it() {
        let pool = Pool::new(4, 64).unwrap();
        let mut outbox = Outbox::default();
        for _ in 0..2 {
            let buf = pool.take().unwrap().fill(10, |_| Ok::<_, ()>(10)).unwrap();
            outbox.push(buf.into());
        }
        assert_eq!(pool.guarded(), 2);
        outbox.advance(9);
        assert_eq!(pool.guarded(), 2, "one byte of the first still waits");
        outbox.advance(1);
        assert_eq!(pool.guarded(), 1);
        assert_eq!(outbox.clear(), 10);
        assert_eq!(pool.guarded(), 0);
    }

    #[test]
    fn a_slow_reader_cannot_pin_more_than_half_of_the_pool_and_one() {
        let pool = Pool::new(4, 64).unwrap();
        let mut outbox = Outbox::default();
        for n in 0..60u8 {
            let mut slot = pool.take().expect("a slot is always left");
            let fill = |room: &mut [u8]| {
                room.fill(n);
                Ok::<_, ()>(room.len())
            };
            outbox.push(slot.fill(64, fill).unwrap().into());
        }
        assert!(pool.spilled() > 50 && pool.free() >= 1, "{pool:?}");
        for (n, chunk) in (0..60).zip(outbox.chunks()) {
            assert_eq!(chunk, [n; 64]);
        }
    }

    #[test]
    fn first_chunks_end_where_their_length_does() {
        let mut outbox = Outbox::default();
        for payload in ["one", "two", "three"] {
            outbox.push(payload.into());
        }
        outbox.advance(1);
        for len in 0..12 {
            let first: Vec<_> = outbox.first_chunks(len).collect();
            assert_eq!(first.concat(), &b"netwothree"[..len.min(10)]);
            let whole = [(0, 0), (2, 1), (5, 2), (10, 3)];
            assert!(
                whole.iter().all(|&(at, count)| at != len || first.len() == count),
                "{first:?}"
            );
        }
    }

    #[test]
    fn small_payloads_cost_no_more_than_twice_their_bytes() {
        for lens in [&[1][..], &[1, JOINED_LEN + 1], &[1, JOINED_LEN], &[600, 1, 1]] {
            let pool = Pool::new(4, 8192).unwrap();
            let mut outbox = Outbox::default();
            for len in lens.iter().copied().cycle() {
                if outbox.bytes() >= 1 << 20 {
                    break;
                }
                let mut slot = pool.take().expect("a slot is always left");
                let buf = slot.fill(len, |_| Ok::<_, ()>(len)).unwrap();
                outbox.push(buf.into());
            }
            let memory = |payload: &Payload| match payload {
                Payload::Owned(bytes) => bytes.capacity(),
                Payload::Buf(_) | Payload::Shared(_) | Payload::Static(_) => payload.len(),
            };
            let held: usize = outbox.rest.iter().map(memory).sum();
            assert!(held <= 2 * (1 << 20) + 2 * JOINED_LEN, "{lens:?}: {held} bytes");
            let count = outbox.len();
            assert!(count <= APART_MIN + 4 + (1 << 20) / JOINED_LEN * 2, "{lens:?}: {count}");
            assert_eq!(outbox.chunks().map(<[u8]>::len).sum::<usize>() as u64, outbox.bytes());
        }
    }

    #[test]
    fn what_a_send_may_be_offered_stays_as_it_is_and_where_it_is() {
        let mut outbox = Outbox::default();
        let mut sent = 0;
        let places = |outbox: &Outbox| -> Vec<(*const u8, usize)> {
            outbox.chunks().take(APART_MIN).map(|chunk| (chunk.as_ptr(), chunk.len())).collect()
        };
        let mut offered = Vec::new();
        for n in 0..200_000_usize {
            outbox.push((&[n.to_le_bytes()[0]]).into());
            if n % 1_000 == 999 {
                assert!(places(&outbox).starts_with(&offered), "after {n}");
                let gone = (n % 7) * 300;
                outbox.advance(gone.min(usize::try_from(outbox.bytes()).unwrap()));
                sent = n + 1 - usize::try_from(outbox.bytes()).unwrap();
                offered = places(&outbox);
            }
        }
        let bytes = (sent..200_000).map(|n| n.to_le_bytes()[0]);
        assert!(outbox.chunks().flatten().copied().eq(bytes), "each byte once and in order");
    }

    #[test]
    fn what_several_queues_share_is_not_copied() {
        let news: std::sync::Arc<[u8]> = vec![7; 100].into();
        let mut outbox = Outbox::default();
        for _ in 0..1_000 {
            outbox.push(Payload::Shared(news.clone()));
            outbox.push(Payload::Static(&[8; 100]));
        }
        assert_eq!((outbox.len(), std::sync::Arc::strong_count(&news)), (2_000, 1_001));
    }

    #[test]
    fn joined_payloads_stay_where_they_are() {
        let mut outbox = Outbox::default();
        let push = |outbox: &mut Outbox| outbox.push(Payload::Static(b"abc"));
        (0..APART_MIN + 2).for_each(|_| push(&mut outbox));
        assert_eq!(outbox.len(), APART_MIN + 2, "none was joined");
        let tail = |outbox: &Outbox| outbox.chunks().nth(APART_MIN + 2).map(<[u8]>::as_ptr);
        push(&mut outbox);
        let before = tail(&outbox);
        assert!(before.is_some());
        (0..2_000).for_each(|_| push(&mut outbox));
        assert_eq!((outbox.len(), tail(&outbox)), (APART_MIN + 14, before), "twelve tails by now");
    }

    #[test]
    fn a_full_destination_lets_the_others_pass_and_keeps_its_order() {
        let mut packets = Packets::default();
        assert_eq!(packets.defer_front(), 0);
        for text in ["a1", "b1", "a2", "c1", "b2", "a3"] {
            let to = Address::Local(text.as_bytes()[..1].into());
            packets.push(Packet { payload: text.as_bytes().into(), to: Some(to) });
        }
        let order = |packets: &Packets| -> Vec<String> {
            let text = |packet: &Packet| String::from_utf8_lossy(packet.payload.as_slice()).into();
            packets.iter().map(text).collect()
        };
        assert_eq!(packets.defer_front(), 3);
        assert_eq!(order(&packets), ["b1", "c1", "b2", "a1", "a2", "a3"]);
        assert_eq!(packets.defer_front(), 2);
        assert_eq!(order(&packets), ["c1", "a1", "a2", "a3", "b1", "b2"]);
        assert_eq!((packets.len(), packets.bytes()), (6, 12));
    }

    #[test]
    #[should_panic(expected = "bytes sent of")]
    fn more_sent_than_queued_is_caught() {
        Outbox::default().advance(1);
    }

    proptest! {
        #[test]
        fn behaves_as_one_long_queue_of_bytes(
            steps in proptest::collection::vec(prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20).prop_map(Some),
                Just(None),
            ], 1..60),
            cuts in proptest::collection::vec(0usize..30, 60),
        ) {
            let (mut outbox, mut model) = (Outbox::default(), VecDeque::new());
            for (step, cut) in steps.into_iter().zip(cuts) {
                match step {
                    Some(bytes) => {
                        model.extend(&bytes);
                        outbox.push(bytes.into());
                    }
                    None => {
                        let sent = cut.min(model.len());
                        model.drain(..sent);
                        outbox.advance(sent);
                    }
                }
                prop_assert_eq!(outbox.bytes(), model.len() as u64);
                prop_assert_eq!(outbox.chunks().flatten().copied().collect::<VecDeque<_>>(), model.clone());
                let mut slices = Vec::new();
                outbox.gather(&mut slices, 2);
                prop_assert_eq!(slices.len(), outbox.len().min(2));
                let sole = (outbox.len() == 1).then(|| outbox.chunks().next()).flatten();
                prop_assert_eq!(outbox.sole_chunk(), sole);
            }
        }
    }
}
