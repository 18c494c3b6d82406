//! What a dialogue asks of whoever runs it, and how it can end.
//!
//! Invariant: nothing a peer sent after the answer that starts TLS is in any of these. Deciding is left
//! to `machine`.

use super::error::{CommandError, Parameter};

/// What is to be done next. Every step is to be done before the next is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Send these bytes, through TLS once it runs.
    Send(Vec<u8>),
    /// Begin a TLS handshake on the connection, then say `tls_done` or `tls_failed`. From here on what
    /// arrives belongs to TLS, and only what TLS decrypts to the dialogue.
    StartTls,
    /// Drop the connection and make a new plain one; the dialogue begins anew. Ask for the next step
    /// when it is open.
    Reconnect,
    /// The stream is ready.
    Done(Outcome),
    /// The dialogue is over; drop the connection.
    Failed(Failure),
}

/// What a stream has become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "encrypted or not")]
pub enum StreamKind {
    /// Readable by everybody on the way.
    Plain,
    /// Under TLS.
    Tls,
}

/// What came of a dialogue.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The greeting, unless none was awaited.
    pub greeting: Option<Vec<u8>>,
    /// The capabilities, unless none were awaited; the ones told through TLS if it runs.
    pub capabilities: Option<Vec<u8>>,
    /// What the stream has become.
    pub kind: StreamKind,
    /// Why it is plain, if more was tried.
    pub error: Option<Unencrypted>,
    /// What came behind the last response on the same layer: the first bytes of the process's input.
    /// Bytes that came in clear are here only if the stream is plain.
    pub leftover: Vec<u8>,
}

/// Why a stream that was to be encrypted if possible is plain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unencrypted {
    /// There is no TLS on our side.
    #[error("TLS is not available")]
    NoTls,
    /// The server does not offer it.
    #[error("server does not support TLS")]
    NotOffered,
    /// It offered and then refused; with its answer.
    #[error("server refused to start TLS: {}", .0.trim_ascii_end().escape_ascii())]
    Refused(Vec<u8>),
    /// The handshake failed, and this is a second connection.
    #[error("TLS handshake failed: {0}")]
    Handshake(String),
}

/// How a dialogue failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// The greeting, if it had come.
    pub greeting: Option<Vec<u8>>,
    /// The capabilities, if they had come.
    pub capabilities: Option<Vec<u8>>,
}

/// Why a dialogue failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Bytes in clear behind the answer that starts TLS: somebody on the way wants them taken for part
    /// of the encrypted stream.
    #[error("clear text after STARTTLS")]
    ClearTextAfterStartTls,
    /// TLS was insisted on, and the server does not offer it.
    #[error("server does not support TLS")]
    NotOffered,
    /// TLS was insisted on, and the server refused; with its answer.
    #[error("server refused to start TLS: {}", .0.trim_ascii_end().escape_ascii())]
    Refused(Vec<u8>),
    /// The handshake failed, with what TLS said.
    #[error("TLS handshake failed: {0}")]
    Handshake(String),
    /// The greeting is not one of this protocol, or turns us away.
    #[error("the server's greeting turns us away: {}", .0.trim_ascii_end().escape_ascii())]
    Greeting(Vec<u8>),
    /// A response passed its limit.
    #[error("{stage} longer than {limit} bytes")]
    TooLong {
        /// Which one.
        stage: Stage,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A response is none of this protocol.
    #[error("{0} malformed")]
    Malformed(Stage),
    /// The peer closed the connection.
    #[error("connection closed by the server while waiting for {0}")]
    Closed(Stage),
    /// The connection ended for a reason of its own: TLS gave up, say.
    #[error("connection broken while waiting for {stage}: {why}")]
    Broken {
        /// What was awaited.
        stage: Stage,
        /// Why.
        why: String,
    },
    /// Time was up.
    #[error("timed out while waiting for {0}")]
    TimedOut(Stage),
    /// A function made a command that is none; it was not sent.
    #[error("the command from {parameter} {why}")]
    Command {
        /// Which function.
        parameter: Parameter,
        /// What is wrong with its command.
        why: CommandError,
    },
}

impl Reason {
    /// What Emacs says of it as the `:error` of its list, if it has words for it.
    #[must_use]
    pub const fn emacs_message(&self) -> Option<&'static str> {
        match self {
            Self::NotOffered | Self::Refused(_) => Some("Server does not support TLS"),
            Self::ClearTextAfterStartTls
            | Self::Handshake(_)
            | Self::Greeting(_)
            | Self::TooLong { .. }
            | Self::Malformed(_)
            | Self::Closed(_)
            | Self::Broken { .. }
            | Self::TimedOut(_)
            | Self::Command { .. } => None,
        }
    }
}

/// What a dialogue waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stage {
    /// The server's greeting.
    #[error("the greeting")]
    Greeting,
    /// Its capabilities.
    #[error("the capabilities")]
    Capabilities,
    /// Its answer to the command that starts TLS.
    #[error("the answer to STARTTLS")]
    Answer,
    /// TLS.
    #[error("the TLS handshake")]
    Handshake,
}
