//! A handshake: the library's unbuffered connection, fed record by record until it stands.
//!
//! Invariant: what is held of the peer is one record and one message of the handshake, each with a
//! bound. The library sees no byte behind the record that ends the handshake: from there on its keys
//! are ours (`keys`), and so are the records (`records`).

use std::{fmt, sync::Arc};

use rustls::{
    AlertDescription, CipherSuite, Error, HandshakeKind, InvalidMessage, NamedGroup,
    PeerMisbehaved, ProtocolVersion,
    client::UnbufferedClientConnection,
    pki_types::{CertificateDer, ServerName},
    server::{UnbufferedServerConnection, danger::ClientCertVerifier},
    time_provider::TimeProvider,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus},
};

use super::{
    keys::{self, Keys},
    records::Records,
    server,
    sessions::Sessions,
};

/// The head of a record: its kind, its version, its length.
const HEAD_LEN: usize = 5;

/// The most that is held of messages that are not whole, in the records they come in: what the library
/// allows itself where it keeps them.
const HELD_LEN_MAX: usize = 0xffff;

/// The most records that this comes in: of early data that it does not take, the library tries each one held again
/// whenever another has come.
const HELD_RECORDS_MAX: u16 = 256;

/// A fatal alert in clear, but for its description.
const ALERT: [u8; 6] = [21, 3, 3, 0, 2, 2];

/// The library's connection, client or server.
pub(super) enum Link {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What judges the certificates of sessions: the library takes them as they were when the session was made.
pub(super) enum Recheck {
    Client { verifier: Arc<dyn ClientCertVerifier>, clock: Arc<dyn TimeProvider> },
    Server { sessions: Arc<Sessions>, name: ServerName<'static> },
}

impl Recheck {
    fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        match self {
            Self::Client { verifier, clock } => {
                let Some((first, others)) = chain.split_first() else { return Ok(()) };
                let now = clock.current_time().ok_or(Error::FailedToGetCurrentTime)?;
                verifier.verify_client_cert(first, others, now).map(drop)
            }
            Self::Server { sessions, name } => sessions.recheck(name, chain),
        }
    }
}

impl Link {
    fn common(&self) -> &rustls::CommonState {
        match self {
            Self::Client(link) => link,
            Self::Server(link) => link,
        }
    }
}

/// What was agreed upon, as the library has it.
pub(super) struct Agreed {
    pub(super) version: ProtocolVersion,
    pub(super) suite: CipherSuite,
    pub(super) group: Option<NamedGroup>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) is_resumed: bool,
    pub(super) alpn: Option<Vec<u8>>,
    /// The name that a client has asked a server for.
    pub(super) asked_for: Option<String>,
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreed")
            .field("version", &self.version)
            .field("suite", &self.suite)
            .field("group", &self.group)
            // Some have a hundred kilobytes.
            .field("chain", &self.chain.len())
            .field("is_resumed", &self.is_resumed)
            .field("alpn", &self.alpn)
            .field("asked_for", &self.asked_for)
            .finish()
    }
}

/// A handshake under way.
pub(super) struct Handshake {
    link: Link,
    /// Who looks at the peer's certificate if it was shown in an earlier session.
    recheck: Option<Recheck>,
    /// What the library has not let go of, and of the record under way what has come.
    held: Vec<u8>,
    /// Where in it the record under way begins.
    record: usize,
    /// How many there are before that, at most.
    records: u16,
    output: Vec<u8>,
    asked_for: Option<String>,
}

impl Handshake {
    /// Begins it: a client has something to say first.
    pub(super) fn begin(link: Link, recheck: Option<Recheck>) -> Result<Self, Error> {
        let mut handshake = Self {
            link,
            recheck,
            held: Vec::new(),
            record: 0,
            records: 0,
            output: Vec::new(),
            asked_for: None,
        };
        if let Link::Client(_) = &handshake.link {
            handshake.go_on()?;
        }
        Ok(handshake)
    }

    /// Whether something of the peer was understood.
    pub(super) fn has_heard(&self) -> bool {
        self.link.common().protocol_version().is_some()
    }

    pub(super) fn is_done(&self) -> bool {
        !self.link.common().is_handshaking()
    }

    /// How much room what is held of the peer takes.
    #[cfg(test)]
    pub(super) fn held_len(&self) -> usize {
        self.held.capacity()
    }

    /// Takes what is to be sent now.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes bytes of the peer, up to the end of the handshake; returns how many those were.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_done() {
            if self.record > HELD_LEN_MAX || self.records > HELD_RECORDS_MAX {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let is_whole = self.take(&mut rest);
            self.go_on()?;
            if is_whole {
                self.record = self.held.len();
                self.records = if self.record > 0 { self.records + 1 } else { 0 };
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Takes what there is of the record under way; returns whether it is whole.
    fn take(&mut self, rest: &mut &[u8]) -> bool {
        // Its head, then the body that the head tells the length of.
        for _ in 0..2 {
            let (piece, after) = rest.split_at(self.missing().min(rest.len()));
            self.held.extend_from_slice(piece);
            *rest = after;
        }
        self.missing() == 0
    }

    /// What the record under way wants for its head, or once that is there for its body.
    fn missing(&self) -> usize {
        match &self.held[self.record..] {
            [_, _, _, high, low, body @ ..] => {
                usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(body.len())
            }
            head => HEAD_LEN - head.len(),
        }
    }

    /// Lets the library do what it can.
    fn go_on(&mut self) -> Result<(), Error> {
        loop {
            let (discard, step) = match &mut self.link {
                Link::Client(link) => {
                    taken(link.process_tls_records(&mut self.held), &mut self.output)
                }
                Link::Server(link) => {
                    drop(server::take_asked_for());
                    let taken = taken(link.process_tls_records(&mut self.held), &mut self.output);
                    if let Some(name) = server::take_asked_for() {
                        self.asked_for = Some(name);
                    }
                    taken
                }
            };
            self.held.drain(..discard);
            self.record = self.record.saturating_sub(discard);
            if discard > 0 {
                self.records = 0;
            }
            match step {
                Ok(step) => {
                    self.recheck()?;
                    if matches!(step, Step::Blocked) {
                        return Ok(());
                    }
                }
                Err(err) => {
                    self.take_alert();
                    return Err(err);
                }
            }
        }
    }

    /// Looks at the certificate of a session as soon as it is taken up, before the peer hears of that: a
    /// handshake that ends makes new tickets with the same certificate.
    fn recheck(&mut self) -> Result<(), Error> {
        let common = self.link.common();
        if common.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let Some(recheck) = self.recheck.take() else { return Ok(()) };
        let checked = recheck.check(common.peer_certificates().unwrap_or_default());
        checked.inspect_err(|error| {
            let alert = if let Error::InvalidCertificate(error) = error {
                error.clone().into()
            } else {
                AlertDescription::InternalError
            };
            // The library's answer has not gone, so the peer still hears what is in clear.
            self.output.clear();
            self.output.extend(ALERT);
            self.output.push(alert.into());
        })
    }

    /// After a failure: what the library wants the peer to know. It must not look at the input again,
    /// and does not as long as it has something to say.
    fn take_alert(&mut self) {
        while self.link.common().wants_write() {
            let (_, step) = match &mut self.link {
                Link::Client(link) => taken(link.process_tls_records(&mut []), &mut self.output),
                Link::Server(link) => taken(link.process_tls_records(&mut []), &mut self.output),
            };
            if !matches!(step, Ok(Step::Again)) {
                break;
            }
        }
    }

    /// What was agreed upon, and the records that follow. The handshake is done.
    pub(super) fn finish(self) -> Result<(Agreed, Records), Error> {
        if !self.held.is_empty() {
            // Behind its last message, and under its keys, nothing may come.
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        let common = self.link.common();
        let unknown = || Error::HandshakeNotComplete;
        let agreed = Agreed {
            version: common.protocol_version().ok_or_else(unknown)?,
            suite: common.negotiated_cipher_suite().ok_or_else(unknown)?.suite(),
            group: common.negotiated_key_exchange_group().map(|group| group.name()),
            chain: common.peer_certificates().unwrap_or_default().to_vec(),
            is_resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: common.alpn_protocol().map(<[u8]>::to_vec),
            asked_for: self.asked_for,
        };
        let (secrets, keys) = match self.link {
            Link::Client(link) => {
                let (secrets, keys) = link.dangerous_into_kernel_connection()?;
                (secrets, Keys::Client(keys))
            }
            Link::Server(link) => {
                let (secrets, keys) = link.dangerous_into_kernel_connection()?;
                (secrets, Keys::Server(keys))
            }
        };
        let suite = keys.suite();
        let opening = keys::opening(suite, secrets.rx.0, secrets.rx.1)?;
        let sealing = keys::sealing(suite, secrets.tx.0, secrets.tx.1)?;
        Ok((agreed, Records::new(keys, opening, sealing)))
    }
}

/// What a step of the library has led to.
enum Step {
    Again,
    /// It wants more of the peer, or nothing more.
    Blocked,
}

/// Does what the library asks for; returns what it has let go of as well.
fn taken<D>(
    status: UnbufferedStatus<'_, '_, D>,
    output: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(data) => encode(data, output).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(Step::Blocked),
        // Data and good-byes come behind the handshake, and it is not shown what does.
        ConnectionState::ReadEarlyData(_)
        | ConnectionState::ReadTraffic(_)
        | ConnectionState::PeerClosed
        | ConnectionState::Closed
        | _ => Err(Error::General("the library is ahead of its handshake".into())),
    });
    (discard, step)
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, output: &mut Vec<u8>) -> Result<(), Error> {
    let from = output.len();
    if let Err(EncodeError::InsufficientSize(wanted)) = data.encode(&mut []) {
        output.resize(from + wanted.required_size, 0);
    }
    let encoded = data.encode(&mut output[from..]);
    encoded.map(drop).map_err(|err| Error::General(err.to_string()))
}
