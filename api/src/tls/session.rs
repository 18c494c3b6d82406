//! One TLS connection as a [`Layer`]: a handshake, then records.
//!
//! Invariant: between two calls nothing of the peer is inside but a record that has come in part, or a
//! message of a handshake, which have bounds of their own. What goes out waits in `output` only until
//! the next [`wire`](Layer::wire). Who is believed was decided in the configuration that the
//! connection was made of.

use std::fmt;

use netproc_core::{layer::Layer, pool::Buf, reactor::Payload, shared_error::SharedError};
use rustls::Error;

use super::{
    failure::HandshakeFailure,
    handshake::{Agreed, Handshake, Link, Recheck},
    info::{TlsInfo, TlsVerification, TlsVersion},
    records::{Records, SealError},
    verify::Findings,
};

/// What an idle connection keeps room for of what goes out.
const OUTPUT_KEPT_MAX: usize = 4;

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
    stage: Stage,
    judgement: Judgement,
    /// The name of the server: what it was checked against, or what the client asked for.
    server_name: Option<String>,
    output: Vec<Payload>,
}

enum Stage {
    Shaking(Box<Handshake>),
    Standing(Box<Agreed>, Box<Records>),
    /// It was given up: nothing is heard or said.
    Over,
}

impl Session {
    /// Begins a connection.
    ///
    /// # Errors
    ///
    /// [`HandshakeFailure`] when the library has nothing to begin with.
    pub(super) fn begin(
        link: Link,
        recheck: Option<Recheck>,
        judgement: Judgement,
        server_name: Option<String>,
    ) -> Result<Self, SharedError> {
        let handshake = Handshake::begin(link, recheck).map_err(|err| failure(err, false))?;
        let stage = Stage::Shaking(Box::new(handshake));
        Ok(Self { stage, judgement, server_name, output: Vec::new() })
    }

    /// What was agreed upon; `None` before the handshake is done.
    pub(super) fn info(&self) -> Option<TlsInfo> {
        let Stage::Standing(agreed, _) = &self.stage else { return None };
        let verification = match &self.judgement {
            _ if agreed.chain.is_empty() => TlsVerification::NoCertificate,
            Judgement::Strict => TlsVerification::Verified,
            Judgement::Blind => TlsVerification::Unchecked,
            Judgement::Told(findings) => match findings.get() {
                Some(problems) if problems.is_empty() => TlsVerification::Verified,
                Some(problems) => TlsVerification::Accepted(problems.clone()),
                None => TlsVerification::Unchecked,
            },
        };
        Some(TlsInfo {
            version: TlsVersion::new(agreed.version)?,
            // The library puts the version into the names of 1.3, the registry does not.
            suite: agreed.suite.as_str()?.replacen("TLS13_", "TLS_", 1),
            key_exchange: agreed.group.and_then(|it| it.as_str().map(str::to_owned)),
            peer_chain: agreed.chain.iter().map(|it| it.to_vec()).collect(),
            verification,
            is_resumed: agreed.is_resumed,
            alpn: agreed.alpn.clone(),
            server_name: agreed.asked_for.as_ref().or(self.server_name.as_ref()).cloned(),
        })
    }

    /// Sends a record that no session would.
    #[cfg(test)]
    pub(super) fn forge(&mut self, kind: rustls::ContentType, bytes: &[u8]) {
        let Stage::Standing(_, records) = &mut self.stage else { panic!("it does not stand") };
        records.seal(kind, bytes, &mut self.output).expect("the cipher takes any kind");
    }

    /// Takes new keys to seal with, though none are due.
    #[cfg(test)]
    pub(super) fn renew_keys(&mut self) {
        let Stage::Standing(_, records) = &mut self.stage else { panic!("it does not stand") };
        records.change_sealing(&mut self.output).expect("1.3 has a next key");
    }

    /// How much of the peer's is held.
    #[cfg(test)]
    pub(super) fn held_len(&self) -> usize {
        match &self.stage {
            Stage::Shaking(handshake) => handshake.held_len(),
            Stage::Standing(_, records) => records.held_len(),
            Stage::Over => 0,
        }
    }

    /// Hands bytes to a handshake under way; returns how many were its own.
    fn shake_hands(&mut self, bytes: &[u8]) -> Result<usize, SharedError> {
        let Stage::Shaking(handshake) = &mut self.stage else { return Ok(0) };
        let taken = handshake.receive(bytes);
        let output = handshake.take_output();
        if !output.is_empty() {
            self.output.push(output.into());
        }
        let taken = taken.map_err(|err| failure(err, !handshake.has_heard()))?;
        if handshake.is_done()
            && let Stage::Shaking(handshake) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            let (agreed, records) = handshake.finish().map_err(|err| failure(err, false))?;
            self.stage = Stage::Standing(Box::new(agreed), Box::new(records));
        }
        Ok(taken)
    }
}

/// The reason for a failure. `is_first`: nothing had been understood before.
fn failure(error: Error, is_first: bool) -> SharedError {
    SharedError::new(HandshakeFailure::new(error, is_first))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, agreed) = match &self.stage {
            Stage::Shaking(_) => ("shaking hands", None),
            Stage::Standing(agreed, _) => ("standing", Some(agreed)),
            Stage::Over => ("over", None),
        };
        f.debug_struct("Session")
            .field("stage", &stage)
            .field("agreed", &agreed)
            .field("judgement", &self.judgement)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Layer for Session {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        let taken = self.shake_hands(&wire)?;
        let Stage::Standing(_, records) = &mut self.stage else { return Ok(()) };
        let received = records.receive(wire, taken, plain, &mut self.output);
        received.map_err(|err| failure(err, false))
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        debug_assert!(self.is_established(), "the engine sends once the handshake is done");
        let Stage::Standing(_, records) = &mut self.stage else { return Ok(()) };
        records.send(plain, &mut self.output).map_err(|err| match err {
            SealError::KeysUsedUp => SharedError::new(HandshakeFailure::KeysUsedUp),
            SealError::Cipher(err) => failure(err, false),
        })
    }

    fn wire(&mut self, out: &mut Vec<Payload>) {
        if let Stage::Shaking(handshake) = &mut self.stage {
            let output = handshake.take_output();
            if !output.is_empty() {
                out.push(output.into());
            }
        }
        out.append(&mut self.output);
        self.output.shrink_to(OUTPUT_KEPT_MAX);
    }

    fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Standing(..))
    }

    fn is_peer_finished(&self) -> bool {
        matches!(&self.stage, Stage::Standing(_, records) if records.is_peer_finished())
    }

    fn finish(&mut self) {
        match &mut self.stage {
            Stage::Standing(_, records) => records.finish(&mut self.output),
            Stage::Shaking(_) | Stage::Over => self.stage = Stage::Over,
        }
    }
}
