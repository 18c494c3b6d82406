//! The keys of a connection that stands: what opens and seals its records, and how they change.
//!
//! Invariant: a key comes from the library with the number of its next record, and ciphers are the
//! library's: how a nonce is made of a number, and what is sealed besides the data, is not decided here.

use rustls::{
    ConnectionTrafficSecrets, Error, SupportedCipherSuite,
    client::ClientConnectionData,
    crypto::cipher::{AeadKey, Iv, MessageDecrypter, MessageEncrypter},
    kernel::KernelConnection,
    server::ServerConnectionData,
};
#[cfg(not(feature = "tls-ring"))]
use rustls::{
    ContentType, ProtocolVersion,
    crypto::cipher::{OutboundChunks, OutboundPlainMessage},
};

/// A cipher and the number of the next record under its key.
pub(super) struct Numbered<C: ?Sized> {
    pub(super) cipher: Box<C>,
    pub(super) number: u64,
}

pub(super) type Opening = Numbered<dyn MessageDecrypter>;
pub(super) type Sealing = Numbered<dyn MessageEncrypter>;

/// What is left of the library's connection: how keys follow from keys, and where tickets go.
pub(super) enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl Keys {
    pub(super) fn suite(&self) -> SupportedCipherSuite {
        match self {
            Self::Client(keys) => keys.negotiated_cipher_suite(),
            Self::Server(keys) => keys.negotiated_cipher_suite(),
        }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// Keeps a ticket of a server of 1.3, given without the head of its message. None is a server's.
    pub(super) fn keep_ticket(&mut self, ticket: &[u8]) -> Result<(), Error> {
        match self {
            Self::Client(keys) => keys.handle_new_session_ticket(ticket),
            Self::Server(_) => Ok(()),
        }
    }

    /// The next key to open with. Only 1.3 has one.
    pub(super) fn next_opening(&mut self) -> Result<Opening, Error> {
        let (number, secret) = match self {
            Self::Client(keys) => keys.update_rx_secret(),
            Self::Server(keys) => keys.update_rx_secret(),
        }?;
        opening(self.suite(), number, secret)
    }

    /// The next key to seal with. Only 1.3 has one.
    pub(super) fn next_sealing(&mut self) -> Result<Sealing, Error> {
        let (number, secret) = match self {
            Self::Client(keys) => keys.update_tx_secret(),
            Self::Server(keys) => keys.update_tx_secret(),
        }?;
        sealing(self.suite(), number, secret)
    }
}

/// What opens the records of a direction from `number` on.
pub(super) fn opening(
    suite: SupportedCipherSuite,
    number: u64,
    secret: ConnectionTrafficSecrets,
) -> Result<Opening, Error> {
    let (key, iv) = taken_apart(secret)?;
    let cipher = match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
        }
    };
    Ok(Numbered { cipher, number })
}

/// What seals the records of a direction from `number` on.
pub(super) fn sealing(
    suite: SupportedCipherSuite,
    number: u64,
    secret: ConnectionTrafficSecrets,
) -> Result<Sealing, Error> {
    let (key, iv) = taken_apart(secret)?;
    let cipher = match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            let (iv, explicit) = iv.as_ref().split_at(fixed);
            suite.aead_alg.encrypter(key, iv, explicit)
        }
    };
    #[cfg(not(feature = "tls-ring"))]
    let cipher = if number > 0 { begun_at_zero(cipher)? } else { cipher };
    Ok(Numbered { cipher, number })
}

/// Seals an empty record with the number 0, which the handshake has used up, and drops it unseen.
///
/// AWS-LC sees to it that nonces only grow, and can tell only by the first, which has to be that of 0.
#[cfg(not(feature = "tls-ring"))]
fn begun_at_zero(
    mut cipher: Box<dyn MessageEncrypter>,
) -> Result<Box<dyn MessageEncrypter>, Error> {
    let record = OutboundPlainMessage {
        typ: ContentType::ApplicationData,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(&[]),
    };
    cipher.encrypt(record, 0)?;
    Ok(cipher)
}

/// The key and the nonce to begin with, the explicit part of 1.2 behind the fixed one.
fn taken_apart(secret: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match secret {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher that cannot be taken over".into())),
    }
}
