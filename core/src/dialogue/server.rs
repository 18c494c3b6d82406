//! The other side: a server's part of SMTP, IMAP and POP3 up to TLS, without sockets.
//!
//! Invariant: nothing a client sent in clear behind the command that starts TLS is ever looked at. A
//! line never takes more than its limit. What follows under TLS, where clients authenticate, is left
//! to the program; so are clocks, and how many commands are one too many.

mod words;

use std::collections::VecDeque;

use self::words::Answer;

/// A protocol whose beginning can be served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ServerProtocol {
    /// RFC 5321 with RFC 3207.
    Smtp,
    /// RFC 9051.
    Imap,
    /// RFC 1939 with RFC 2449 and RFC 2595.
    Pop3,
}

/// What becomes of clear text behind the command that starts TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_enums, reason = "taking it for part of the session is not offered")]
pub enum ClearText {
    /// The connection ends with [`ServerReason::ClearTextAfterStartTls`].
    #[default]
    Refused,
    /// It is dropped. A client that begins its handshake without waiting for the answer then loses it.
    Dropped,
}

/// What a server is to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ServerStep {
    /// Send these bytes, in clear.
    Send(Vec<u8>),
    /// Begin a TLS handshake. The dialogue is over; what follows is the program's.
    StartTls,
    /// The client has taken leave: close the connection once all is sent.
    Close,
    /// Drop the connection.
    Failed(ServerReason),
}

/// Why a client is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerReason {
    /// It sent clear text behind the command that starts TLS.
    #[error("clear text after STARTTLS")]
    ClearTextAfterStartTls,
    /// It sent a line longer than this many bytes.
    #[error("line longer than {0} bytes")]
    LineTooLong(usize),
}

/// A server's part of a conversation, until TLS starts.
///
/// Commands that need TLS are refused with the answer the protocol has for that. Nothing blocks.
///
/// # Examples
///
/// ```
/// use netproc_core::dialogue::server::{ServerDialogue, ServerProtocol, ServerReason, ServerStep};
///
/// let mut server = ServerDialogue::new(ServerProtocol::Pop3, "mail.example");
/// assert_eq!(server.poll(), Some(ServerStep::Send(b"+OK mail.example ready\r\n".to_vec())));
/// server.receive(b"STLS\r\n");
/// assert_eq!(server.poll(), Some(ServerStep::Send(b"+OK begin TLS\r\n".to_vec())));
/// assert_eq!(server.poll(), Some(ServerStep::StartTls));
///
/// let mut server = ServerDialogue::new(ServerProtocol::Pop3, "mail.example");
/// server.receive(b"STLS\r\nUSER evil\r\n");
/// let reason = ServerReason::ClearTextAfterStartTls;
/// assert_eq!(server.poll(), Some(ServerStep::Failed(reason)));
/// ```
#[derive(Debug)]
pub struct ServerDialogue {
    protocol: ServerProtocol,
    name: String,
    clear_text: ClearText,
    line_len_max: usize,
    line: Vec<u8>,
    state: State,
    steps: VecDeque<ServerStep>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Talking,
    /// The command that starts TLS was answered.
    Starting,
    /// Nothing is taken any more.
    Over,
}

impl ServerDialogue {
    /// Begins with the greeting of the server `name`.
    ///
    /// A character of `name` that is not printable ASCII becomes `?`, so that it stays one word of one
    /// line.
    #[must_use]
    pub fn new(protocol: ServerProtocol, name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let name: String = name.chars().map(plain).collect();
        let greeting = words::greeting(protocol, &name);
        Self {
            protocol,
            name,
            clear_text: ClearText::Refused,
            line_len_max: 8 << 10,
            line: Vec::new(),
            state: State::Talking,
            steps: VecDeque::from([ServerStep::Send(greeting)]),
        }
    }

    /// What becomes of clear text behind the command that starts TLS; default: refused.
    #[must_use]
    pub const fn clear_text(mut self, clear_text: ClearText) -> Self {
        self.clear_text = clear_text;
        self
    }

    /// How long a line may be, its end included, in bytes; default: 8 KiB.
    #[must_use]
    pub const fn line_len_max(mut self, max: usize) -> Self {
        self.line_len_max = max;
        self
    }

    /// The next thing to do; `None` until the client says more.
    pub fn poll(&mut self) -> Option<ServerStep> {
        self.steps.pop_front()
    }

    /// Takes what the client sent, in any pieces.
    ///
    /// What arrives behind [`ServerStep::StartTls`] belongs to TLS; what is given here all the same is
    /// clear text where none may be. Behind [`Close`](ServerStep::Close) and
    /// [`Failed`](ServerStep::Failed) nothing is taken.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            match self.state {
                State::Over => return,
                State::Starting if self.clear_text == ClearText::Dropped => return,
                State::Starting => return self.fail(ServerReason::ClearTextAfterStartTls),
                State::Talking if self.line.len() == self.line_len_max => {
                    return self.fail(ServerReason::LineTooLong(self.line_len_max));
                }
                State::Talking => self.line.push(byte),
            }
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.answer(&line);
            }
            rest = behind;
        }
    }

    fn answer(&mut self, line: &[u8]) {
        let (answer, text) = words::answer(self.protocol, &self.name, line);
        self.send(text);
        match answer {
            Answer::Only => {}
            Answer::StartTls => {
                self.steps.push_back(ServerStep::StartTls);
                self.state = State::Starting;
            }
            Answer::Close => {
                self.steps.push_back(ServerStep::Close);
                self.state = State::Over;
            }
        }
    }

    /// Answers to commands that came together go out together.
    fn send(&mut self, text: Vec<u8>) {
        if let Some(ServerStep::Send(waiting)) = self.steps.back_mut() {
            waiting.extend(text);
        } else {
            self.steps.push_back(ServerStep::Send(text));
        }
    }

    fn fail(&mut self, reason: ServerReason) {
        self.steps.clear();
        self.steps.push_back(ServerStep::Failed(reason));
        self.state = State::Over;
    }
}
