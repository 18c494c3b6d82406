//! One TLS connection as a [`Layer`]: rustls's buffered connection between two byte strings.
//!
//! Invariant: after each call nothing that was decrypted is left inside, and of the peer's bytes no
//! more than one record or one message of a handshake, which have bounds of their own. What goes
//! out waits in `output` only until the next [`wire`](Layer::wire). Who is believed was decided in
//! the configuration that the connection was made of.

use std::{
    fmt,
    io::{BufRead, Write},
};

use netproc_core::{layer::Layer, shared_error::SharedError};
use rustls::{Connection, HandshakeKind};

use super::{
    failure::HandshakeFailure,
    info::{TlsInfo, TlsVerification, TlsVersion},
    verify::Findings,
};

/// The most that rustls may hold of one direction. Twice it would be as fast, half of it is not.
const BUFFER_LEN_MAX: usize = 64 * 1024;

/// The first byte of a record with an alert.
const ALERT: u8 = 21;

/// What an idle connection keeps of its room for output.
const OUTPUT_KEPT_MAX: usize = 4 * 1024;

/// How the peer was judged, as far as the connection does not know it by itself.
#[derive(Debug)]
pub(super) enum Judgement {
    /// By the library: whoever showed a certificate and is connected has passed.
    Strict,
    /// Not at all.
    Blind,
    /// By the library, which only told.
    Told(Findings),
}

/// A connection, client or server.
pub(super) struct Session {
    link: Connection,
    judgement: Judgement,
    /// The name of the server: what it was checked against, or what the client asked for.
    server_name: Option<String>,
    output: Vec<u8>,
    is_finished: bool,
    is_worn_out: bool,
    is_peer_finished: bool,
}

impl Session {
    pub(super) fn new(
        mut link: Connection,
        judgement: Judgement,
        server_name: Option<String>,
    ) -> Self {
        link.set_buffer_limit(Some(BUFFER_LEN_MAX));
        Self {
            link,
            judgement,
            server_name,
            output: Vec::new(),
            is_finished: false,
            is_worn_out: false,
            is_peer_finished: false,
        }
    }

    /// What was agreed upon; `None` before the handshake is done.
    pub(super) fn info(&self) -> Option<TlsInfo> {
        if self.link.is_handshaking() {
            return None;
        }
        let chain = self.link.peer_certificates();
        let verification = match &self.judgement {
            _ if chain.is_none_or(<[_]>::is_empty) => TlsVerification::NoCertificate,
            Judgement::Strict => TlsVerification::Verified,
            Judgement::Blind => TlsVerification::Unchecked,
            Judgement::Told(findings) => match findings.get() {
                Some(problems) if problems.is_empty() => TlsVerification::Verified,
                Some(problems) => TlsVerification::Accepted(problems.clone()),
                None => TlsVerification::Unchecked,
            },
        };
        let asked_for = match &self.link {
            Connection::Client(_) => None,
            Connection::Server(server) => server.server_name().map(str::to_owned),
        };
        let suite = self.link.negotiated_cipher_suite()?.suite();
        let group = self.link.negotiated_key_exchange_group();
        Some(TlsInfo {
            version: TlsVersion::new(self.link.protocol_version()?)?,
            // The library puts the version into the names of 1.3, the registry does not.
            suite: suite.as_str()?.replacen("TLS13_", "TLS_", 1),
            key_exchange: group.and_then(|it| it.name().as_str()).map(str::to_owned),
            peer_chain: chain.into_iter().flatten().map(|it| it.to_vec()).collect(),
            verification,
            is_resumed: self.link.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: self.link.alpn_protocol().map(<[u8]>::to_vec),
            server_name: asked_for.or_else(|| self.server_name.clone()),
        })
    }

    /// Moves what was decrypted to `plain`.
    fn take_plain(&mut self, plain: &mut Vec<u8>) {
        let mut reader = self.link.reader();
        while let Ok(chunk) = reader.fill_buf() {
            let len = chunk.len();
            if len == 0 {
                break;
            }
            plain.extend_from_slice(chunk);
            reader.consume(len);
        }
    }

    /// Moves what has to be sent to `output`.
    fn take_output(&mut self) {
        while self.link.wants_write() {
            self.link.write_tls(&mut self.output).expect("a Vec takes every byte");
        }
    }

    fn failure(&self, error: rustls::Error) -> SharedError {
        // There is a version as soon as the peer's hello is understood.
        SharedError::new(HandshakeFailure::new(error, self.link.protocol_version().is_none()))
    }
}

/// Whether an alert is among these whole records. In 1.3 alerts look like data, and are not seen.
fn has_alert(mut records: &[u8]) -> bool {
    while let [kind, _, _, high, low, rest @ ..] = records {
        if *kind == ALERT {
            return true;
        }
        records = rest.get(u16::from_be_bytes([*high, *low]).into()..).unwrap_or_default();
    }
    false
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("link", &self.link)
            .field("judgement", &self.judgement)
            .field("server_name", &self.server_name)
            .field("output_len", &self.output.len())
            .field("is_finished", &self.is_finished)
            .field("is_worn_out", &self.is_worn_out)
            .field("is_peer_finished", &self.is_peer_finished)
            .finish()
    }
}

impl Layer for Session {
    fn receive(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> Result<(), SharedError> {
        let mut rest = wire;
        // What comes after close_notify is nobody's: it was not sealed by who said good-bye.
        while !rest.is_empty() && !self.is_peer_finished {
            let read = self.link.read_tls(&mut rest);
            // It refuses only messages of a handshake that are longer than any may be.
            let read =
                read.map_err(|err| SharedError::new(HandshakeFailure::Protocol(err.to_string())))?;
            debug_assert!(read > 0, "everything decrypted was taken, so there is room for more");
            if read == 0 {
                break;
            }
            let state = self.link.process_new_packets();
            // Whole records before a bad one were sent by the peer, however the wire cut them.
            self.take_plain(plain);
            let state = state.map_err(|err| self.failure(err))?;
            self.is_peer_finished = state.peer_has_closed();
        }
        if self.is_worn_out {
            return Err(SharedError::new(HandshakeFailure::KeysUsedUp));
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) {
        debug_assert!(self.is_established(), "the engine sends once the handshake is done");
        let mut rest = plain;
        while !rest.is_empty() && !self.is_finished {
            self.take_output();
            let before = self.output.len();
            let taken = self.link.writer().write(rest).expect("a session takes what has room");
            rest = &rest[taken..];
            self.take_output();
            // The library says good-bye, and drops the data, once the keys of 1.2 may seal no more.
            if has_alert(&self.output[before..]) {
                (self.is_worn_out, self.is_finished) = (true, true);
            }
        }
    }

    fn wire(&mut self, out: &mut Vec<u8>) {
        self.take_output();
        out.append(&mut self.output);
        self.output.shrink_to(OUTPUT_KEPT_MAX);
    }

    fn is_established(&self) -> bool {
        !self.link.is_handshaking()
    }

    fn is_peer_finished(&self) -> bool {
        self.is_peer_finished
    }

    fn finish(&mut self) {
        self.is_finished = true;
        self.link.send_close_notify();
    }
}
