//! The records of a connection that stands: opened where they lie, sealed into what is sent.
//!
//! Invariant: no number is used twice under a key, and no key for more records than its cipher bears.
//! A record is opened in the memory that it came in; only one that straddles two reads is put
//! together first. Of the peer at most one record and one message are held. Whoever breaks the rules
//! is told so once, and nothing more is sent.

use std::ops::Range;

use netproc_core::{pool::Buf, reactor::Payload};
use rustls::{
    AlertDescription, ContentType, Error, InvalidMessage, PeerMisbehaved, ProtocolVersion,
    SupportedCipherSuite,
    crypto::cipher::{InboundOpaqueMessage, OutboundChunks, OutboundPlainMessage},
};

use super::keys::{Keys, Opening, Sealing};

/// The head of a record: its kind, its version, its length.
const HEAD_LEN: usize = 5;

/// The most data of a record, and the most that sealing may add to it.
const DATA_LEN_MAX: usize = 16 * 1024;
const BODY_LEN_MAX: usize = DATA_LEN_MAX + 2048;

/// The longest message of a handshake; the protocol allows 16 MiB.
const MESSAGE_LEN_MAX: usize = 0xffff;

/// Data of a record up to here is moved to that of the record before: it costs less than a filter's call.
const MOVED_LEN_MAX: usize = 4 * 1024;

/// Records without data that may follow each other, warnings in a connection, and new keys that may
/// follow each other without data: what the library allows.
const EMPTY_MAX: u8 = 32;
const WARNINGS_MAX: u8 = 4;
const KEY_UPDATES_MAX: u8 = 32;

/// Tickets of a connection that are looked at: each costs us far more than it does the server.
const TICKETS_MAX: u8 = 32;

/// Kinds of messages that come behind a handshake.
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// The levels of an alert.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// The records of both directions.
pub(super) struct Records {
    keys: Keys,
    opening: Opening,
    sealing: Sealing,
    /// A record that has come in part.
    partial: Vec<u8>,
    /// A message that has come in part.
    message: Vec<u8>,
    /// Where data lies in what is being opened; empty between two calls, kept for its memory.
    data: Vec<Range<usize>>,
    /// What the peer may still do.
    patience: Patience,
    /// It wants us to take new keys before we send data again.
    owes_key_update: bool,
    is_peer_finished: bool,
    /// The last word was said, in peace or not.
    is_finished: bool,
}

/// How often a peer may still do what costs it little.
struct Patience {
    empty: u8,
    warnings: u8,
    key_updates: u8,
    tickets: u8,
    renegotiations: u8,
}

/// Why no more is sent.
#[derive(Debug)]
pub(super) enum SealError {
    /// The key may seal no more, and there is no next one. Good-bye was said.
    KeysUsedUp,
    /// The cipher refused.
    Cipher(Error),
}

/// Why the peer is heard no more, and what it is told.
struct Breach {
    alert: Option<AlertDescription>,
    error: Error,
}

impl<E: Into<Error>> From<(AlertDescription, E)> for Breach {
    fn from((alert, error): (AlertDescription, E)) -> Self {
        Self { alert: Some(alert), error: error.into() }
    }
}

/// The head of a record.
struct Head {
    kind: ContentType,
    version: ProtocolVersion,
    /// Of the whole record, with its head.
    len: usize,
}

impl Head {
    /// The head of the record that begins here; `None` while it is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, InvalidMessage> {
        let [kind, major, minor, high, low, ..] = *bytes else { return Ok(None) };
        let kind = ContentType::from(kind);
        let body = usize::from(u16::from_be_bytes([high, low]));
        if matches!(kind, ContentType::Unknown(_)) {
            return Err(InvalidMessage::InvalidContentType);
        }
        if major != 3 {
            return Err(InvalidMessage::UnknownProtocolVersion);
        }
        if body > BODY_LEN_MAX {
            return Err(InvalidMessage::MessageTooLarge);
        }
        let version = ProtocolVersion::from(u16::from_be_bytes([major, minor]));
        Ok(Some(Self { kind, version, len: HEAD_LEN + body }))
    }
}

impl Records {
    pub(super) const fn new(keys: Keys, opening: Opening, sealing: Sealing) -> Self {
        Self {
            keys,
            opening,
            sealing,
            partial: Vec::new(),
            message: Vec::new(),
            data: Vec::new(),
            patience: Patience {
                empty: EMPTY_MAX,
                warnings: WARNINGS_MAX,
                key_updates: KEY_UPDATES_MAX,
                tickets: TICKETS_MAX,
                renegotiations: 1,
            },
            owes_key_update: false,
            is_peer_finished: false,
            is_finished: false,
        }
    }

    /// Whether the peer has said that it will send no more.
    pub(super) const fn is_peer_finished(&self) -> bool {
        self.is_peer_finished
    }

    /// How much room what is held of the peer takes.
    #[cfg(test)]
    pub(super) fn held_len(&self) -> usize {
        self.partial.capacity() + self.message.capacity()
    }

    fn is_1_3(&self) -> bool {
        matches!(self.keys.suite(), SupportedCipherSuite::Tls13(_))
    }

    /// Takes what came, but for what lies before `from`. Data is appended to `plain`, the whole records
    /// before a bad one included: the peer has sent them, however the wire cut them.
    pub(super) fn receive(
        &mut self,
        mut wire: Buf,
        from: usize,
        plain: &mut Vec<Buf>,
        out: &mut Vec<Payload>,
    ) -> Result<(), Error> {
        let received = self.receive_all(&mut wire, from, plain, out);
        received.map_err(|breach| {
            match breach.alert {
                Some(alert) => self.end(FATAL, alert, out),
                None => self.is_finished = true,
            }
            breach.error
        })
    }

    fn receive_all(
        &mut self,
        wire: &mut Buf,
        mut from: usize,
        plain: &mut Vec<Buf>,
        out: &mut Vec<Payload>,
    ) -> Result<(), Breach> {
        if self.is_peer_finished {
            // Whatever this is, it was not sealed by who said good-bye.
            return Ok(());
        }
        if !self.partial.is_empty() {
            from += self.join(&wire[from..])?;
            let mut record = std::mem::take(&mut self.partial);
            match Head::parse(&record).map_err(malformed)? {
                Some(head) if head.len == record.len() => {
                    if let Some(data) = self.open(&head, &mut record, out)? {
                        plain.push(kept(record, data));
                    }
                }
                _ => self.partial = record,
            }
        }
        if from == wire.len() {
            return Ok(());
        }
        if wire.get_mut().is_none() {
            // Somebody else has an eye on these bytes.
            *wire = Buf::copied(&wire[from..]);
            from = 0;
        }
        let bytes = wire.get_mut().expect("a copy is nobody else's");
        let mut data = std::mem::take(&mut self.data);
        let opened = self.open_all(bytes, from, &mut data, out);
        plain.extend(data.drain(..).map(|data| wire.slice(data)));
        self.data = data;
        opened
    }

    /// Adds to the record that has come in part; returns how much that took.
    fn join(&mut self, bytes: &[u8]) -> Result<usize, Breach> {
        if self.partial.is_empty()
            && let Some(head) = Head::parse(bytes).map_err(malformed)?
        {
            self.partial.reserve_exact(head.len);
        }
        let mut rest = bytes;
        loop {
            let head = Head::parse(&self.partial).map_err(malformed)?;
            let missing = head.map_or(HEAD_LEN, |head| head.len) - self.partial.len();
            if missing == 0 || rest.is_empty() {
                return Ok(bytes.len() - rest.len());
            }
            let (piece, after) = rest.split_at(missing.min(rest.len()));
            self.partial.reserve_exact(missing);
            self.partial.extend_from_slice(piece);
            rest = after;
        }
    }

    /// Opens the records in `bytes` and keeps the part of one at the end. Where data lies is appended to
    /// `data`, that of short records moved together.
    fn open_all(
        &mut self,
        bytes: &mut [u8],
        from: usize,
        data: &mut Vec<Range<usize>>,
        out: &mut Vec<Payload>,
    ) -> Result<(), Breach> {
        let mut at = from;
        while at < bytes.len() && !self.is_peer_finished {
            let rest = &mut bytes[at..];
            let head = Head::parse(rest).map_err(malformed)?;
            let Some(head) = head.filter(|head| head.len <= rest.len()) else {
                self.join(rest)?;
                break;
            };
            let opened = self.open(&head, &mut rest[..head.len], out)?;
            if let Some(opened) = opened {
                let opened = at + opened.start..at + opened.end;
                match data.last_mut() {
                    Some(last) if opened.len() <= MOVED_LEN_MAX => {
                        let len = opened.len();
                        bytes.copy_within(opened, last.end);
                        last.end += len;
                    }
                    _ => data.push(opened),
                }
            }
            at += head.len;
        }
        Ok(())
    }

    /// Opens a whole record in place; returns where its data is, if it has any.
    fn open(
        &mut self,
        head: &Head,
        record: &mut [u8],
        out: &mut Vec<Payload>,
    ) -> Result<Option<Range<usize>>, Breach> {
        // What is sealed is all called data in 1.3, and by its kind in 1.2; this kind never is.
        let is_clear = head.kind == ContentType::ChangeCipherSpec
            || self.is_1_3() && head.kind != ContentType::ApplicationData;
        if is_clear {
            return Err(unexpected(head.kind));
        }
        let start = record.as_ptr().addr();
        let sealed = InboundOpaqueMessage::new(head.kind, head.version, &mut record[HEAD_LEN..]);
        let number = self.opening.number;
        self.opening.number = number.checked_add(1).ok_or_else(|| damaged(Error::DecryptError))?;
        let opened = self.opening.cipher.decrypt(sealed, number).map_err(damaged)?;
        let (kind, from) = (opened.typ, opened.payload.as_ptr().addr() - start);
        let range = from..from + opened.payload.len();
        if kind != ContentType::Handshake && !self.message.is_empty() {
            let error = PeerMisbehaved::MessageInterleavedWithHandshakeMessage;
            return Err((AlertDescription::UnexpectedMessage, error).into());
        }
        if range.is_empty() {
            let left = self.patience.empty.checked_sub(1);
            self.patience.empty =
                left.ok_or_else(|| too_many(PeerMisbehaved::TooManyEmptyFragments))?;
        } else {
            self.patience.empty = EMPTY_MAX;
        }
        match kind {
            ContentType::ApplicationData if range.is_empty() => Ok(None),
            ContentType::ApplicationData => {
                self.patience.key_updates = KEY_UPDATES_MAX;
                Ok(Some(range))
            }
            ContentType::Alert => self.hear_alert(&record[range]).map(|()| None),
            ContentType::Handshake => self.hear_messages(&record[range], out).map(|()| None),
            ContentType::ChangeCipherSpec
            | ContentType::Heartbeat
            | ContentType::Unknown(_)
            | _ => Err(unexpected(kind)),
        }
    }

    fn hear_alert(&mut self, alert: &[u8]) -> Result<(), Breach> {
        let [level, description] = *alert else {
            return Err(malformed(InvalidMessage::MissingData("AlertMessagePayload")));
        };
        let description = AlertDescription::from(description);
        let error = Error::AlertReceived(description);
        match level {
            WARNING | FATAL if description == AlertDescription::CloseNotify => {
                self.is_peer_finished = true;
                Ok(())
            }
            WARNING if self.is_1_3() && description != AlertDescription::UserCanceled => {
                Err((AlertDescription::DecodeError, error).into())
            }
            WARNING => {
                let left = self.patience.warnings.checked_sub(1);
                let error = PeerMisbehaved::TooManyWarningAlertsReceived;
                self.patience.warnings = left.ok_or_else(|| too_many(error))?;
                Ok(())
            }
            FATAL => Err(Breach { alert: None, error }),
            _ => Err((AlertDescription::IllegalParameter, error).into()),
        }
    }

    /// Takes messages of a handshake apart, of which the last may come in part.
    fn hear_messages(&mut self, bytes: &[u8], out: &mut Vec<Payload>) -> Result<(), Breach> {
        let mut joined = std::mem::take(&mut self.message);
        joined.extend_from_slice(bytes);
        let mut rest = &joined[..];
        while let [kind, a, b, c, after @ ..] = rest {
            let len = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if len > MESSAGE_LEN_MAX {
                return Err(malformed(InvalidMessage::HandshakePayloadTooLarge));
            }
            let Some((message, after)) = after.split_at_checked(len) else { break };
            self.hear_message(*kind, message, after.is_empty(), out)?;
            rest = after;
        }
        let done = joined.len() - rest.len();
        if done < joined.len() {
            joined.drain(..done);
            self.message = joined;
        }
        Ok(())
    }

    fn hear_message(
        &mut self,
        kind: u8,
        message: &[u8],
        is_last: bool,
        out: &mut Vec<Payload>,
    ) -> Result<(), Breach> {
        match (kind, self.is_1_3(), self.keys.is_client()) {
            (NEW_SESSION_TICKET, true, true) => {
                // One more is no breach; it is as good as lost.
                let Some(left) = self.patience.tickets.checked_sub(1) else { return Ok(()) };
                self.patience.tickets = left;
                let kept = self.keys.keep_ticket(message);
                kept.map_err(|error| (AlertDescription::DecodeError, error).into())
            }
            (KEY_UPDATE, true, _) => self.change_opening(message, is_last),
            (HELLO_REQUEST, false, true) | (CLIENT_HELLO, false, false) => {
                let left = self.patience.renegotiations.checked_sub(1);
                let error = PeerMisbehaved::TooManyRenegotiationRequests;
                self.patience.renegotiations = left.ok_or_else(|| too_many(error))?;
                let refusal = [WARNING, AlertDescription::NoRenegotiation.into()];
                if !self.is_finished {
                    self.seal(ContentType::Alert, &refusal, out).map_err(damaged)?;
                }
                Ok(())
            }
            _ => Err(unexpected(ContentType::Handshake)),
        }
    }

    /// The peer seals with its next key from now on, and may want us to do the same.
    fn change_opening(&mut self, message: &[u8], is_last: bool) -> Result<(), Breach> {
        if !is_last {
            let error = PeerMisbehaved::KeyEpochWithPendingFragment;
            return Err((AlertDescription::UnexpectedMessage, error).into());
        }
        let left = self.patience.key_updates.checked_sub(1);
        let error = PeerMisbehaved::TooManyKeyUpdateRequests;
        self.patience.key_updates = left.ok_or_else(|| too_many(error))?;
        match message {
            [0] => {}
            // Answered once before the next data, however often it is asked for: nothing piles up.
            [1] => self.owes_key_update = true,
            _ => {
                let error = InvalidMessage::InvalidKeyUpdate;
                return Err((AlertDescription::IllegalParameter, error).into());
            }
        }
        self.opening = self.keys.next_opening().map_err(damaged)?;
        Ok(())
    }

    /// Seals data, record by record.
    ///
    /// With the keys of 1.3 used up, new ones are taken; those of 1.2 end the connection before any of
    /// this data is sealed.
    pub(super) fn send(&mut self, data: &[u8], out: &mut Vec<Payload>) -> Result<(), SealError> {
        if self.is_finished {
            return Ok(());
        }
        let numbers_max = numbers_max(self.keys.suite());
        let records = data.len().div_ceil(DATA_LEN_MAX) as u64;
        let is_1_3 = self.is_1_3();
        if !is_1_3 && self.sealing.number.saturating_add(records) > numbers_max {
            self.finish(out);
            return Err(SealError::KeysUsedUp);
        }
        for piece in data.chunks(DATA_LEN_MAX) {
            // The last number of a key is for the message that says so.
            let is_used_up =
                self.sealing.number > 0 && self.sealing.number >= numbers_max.saturating_sub(1);
            if is_1_3 && (self.owes_key_update || is_used_up) {
                self.change_sealing(out)?;
            }
            self.seal(ContentType::ApplicationData, piece, out)?;
        }
        Ok(())
    }

    /// Seals with the next key from now on, and says so.
    pub(super) fn change_sealing(&mut self, out: &mut Vec<Payload>) -> Result<(), SealError> {
        self.seal(ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, 0], out)?;
        self.sealing = self.keys.next_sealing()?;
        self.owes_key_update = false;
        Ok(())
    }

    /// Says that no more will be sent.
    pub(super) fn finish(&mut self, out: &mut Vec<Payload>) {
        self.end(WARNING, AlertDescription::CloseNotify, out);
    }

    /// Says the last word.
    fn end(&mut self, level: u8, alert: AlertDescription, out: &mut Vec<Payload>) {
        if !std::mem::replace(&mut self.is_finished, true) {
            // A cipher that refuses leaves the peer without it; the end follows all the same.
            let _ = self.seal(ContentType::Alert, &[level, alert.into()], out);
        }
    }

    /// Seals a record: one copy, into memory of its own.
    pub(super) fn seal(
        &mut self,
        kind: ContentType,
        bytes: &[u8],
        out: &mut Vec<Payload>,
    ) -> Result<(), Error> {
        let number = self.sealing.number;
        self.sealing.number = number.checked_add(1).ok_or(Error::EncryptError)?;
        let record = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(bytes),
        };
        let sealed = self.sealing.cipher.encrypt(record, number)?;
        out.push(Payload::Owned(sealed.encode()));
        Ok(())
    }
}

/// The data of a record that was put together, which keeps no more than twice its length: the rest may be padding, as
/// much as the peer likes, and whoever stores data counts what it can read of it.
pub(super) fn kept(record: Vec<u8>, data: Range<usize>) -> Buf {
    if data.len() < record.len() / 2 {
        return Buf::copied(&record[data]);
    }
    Buf::from(record).slice(data)
}

impl From<Error> for SealError {
    fn from(error: Error) -> Self {
        Self::Cipher(error)
    }
}

/// How many records a key of this suite may seal.
fn numbers_max(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
    }
}

fn malformed(error: InvalidMessage) -> Breach {
    (AlertDescription::DecodeError, error).into()
}

fn too_many(error: PeerMisbehaved) -> Breach {
    (AlertDescription::UnexpectedMessage, error).into()
}

fn unexpected(kind: ContentType) -> Breach {
    let expect_types = vec![ContentType::ApplicationData];
    let error = Error::InappropriateMessage { expect_types, got_type: kind };
    (AlertDescription::UnexpectedMessage, error).into()
}

/// What the cipher says of a record that it refuses.
#[expect(clippy::wildcard_enum_match_arm, reason = "only three can come, and each has its alert")]
fn damaged(error: Error) -> Breach {
    let alert = match error {
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::PeerMisbehaved(_) => AlertDescription::UnexpectedMessage,
        Error::DecryptError => AlertDescription::BadRecordMac,
        _ => AlertDescription::InternalError,
    };
    (alert, error).into()
}
