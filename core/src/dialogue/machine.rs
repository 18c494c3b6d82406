//! The machine that holds a conversation.
//!
//! Invariant: `stage` is the only thing that says what is awaited, and one function per stage says what
//! comes after it. Once the dialogue is over nothing changes any more but the leftover of an outcome
//! that was not taken yet. Where a response ends is left to `response`.

use std::{collections::VecDeque, fmt};

use super::{
    error::{DialogueError, Parameter, check_command},
    params::{AfterTls, Checked, Command, DialogueParams, ReadyEnd, StreamType, Upgrade},
    response::{Fed, Response},
    step::{Failure, Outcome, Reason, Stage, Step, StreamKind, Unencrypted},
};

/// A conversation that makes a connection a stream.
///
/// Make it before connecting: wrong parameters are refused here. When the connection is open, do what
/// [`poll`](Self::poll) says until it says nothing, and again after each call of another method. What
/// the peer sends goes to [`receive`](Self::receive), once TLS runs as TLS decrypts it. Nothing blocks,
/// nothing is read or sent; there is no time but the caller's, who says [`timed_out`](Self::timed_out).
///
/// | type | what is said |
/// | --- | --- |
/// | `Plain` | greeting; capabilities only if always wanted |
/// | `Network` | greeting, capabilities, STARTTLS if offered; plain if not or if refused, on a second connection if the handshake fails or the server hangs up behind a refusal |
/// | `StartTls` | the same, but TLS or failure |
/// | `Tls` | handshake, greeting, capabilities |
/// | `Shell` | greeting, capabilities, with a program instead of a server |
///
/// What comes behind a response belongs to the next one.
///
/// # Source
///
/// Emacs Lisp manual, "Network", `open-network-stream`. Differs: clear text behind the answer that
/// starts TLS is fatal; after a failed handshake the second connection's dialogue begins at its
/// beginning; the outcome says why a stream is plain; responses have limits and end at the same byte
/// however they arrive.
pub struct Dialogue {
    params: Checked,
    /// `None` once the dialogue is over.
    stage: Option<Stage>,
    /// Whether TLS runs.
    is_encrypted: bool,
    /// Whether this is the second, plain connection.
    has_fallen_back: bool,
    /// What is coming in, in the stages that await a response.
    response: Response,
    /// The last byte of the last response on this layer.
    before: Option<u8>,
    greeting: Option<Vec<u8>>,
    capabilities: Option<Vec<u8>>,
    /// The command that asks for capabilities, once it is known; `None` within: nothing to ask.
    command: Option<Option<Vec<u8>>>,
    /// Why there is no TLS, once that is known.
    error: Option<Unencrypted>,
    /// What is to be done, besides the end.
    steps: VecDeque<Step>,
    /// How it ended, until that is taken.
    end: Option<Step>,
}

impl Dialogue {
    /// Prepares a conversation; the first step is there at once.
    ///
    /// # Errors
    ///
    /// [`DialogueError`] for whatever is wrong with `params`. Nothing needs to be connected for that.
    pub fn new(params: DialogueParams) -> Result<Self, DialogueError> {
        let params = params.check()?;
        let mut dialogue = Self {
            response: Response::new(None, params.limits.greeting),
            params,
            stage: None,
            is_encrypted: false,
            has_fallen_back: false,
            before: None,
            greeting: None,
            capabilities: None,
            command: None,
            error: None,
            steps: VecDeque::new(),
            end: None,
        };
        dialogue.begin();
        Ok(dialogue)
    }

    /// The next thing to do; `None` while the peer, TLS or time has to say something first, and for ever
    /// behind [`Step::Done`] and [`Step::Failed`].
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front().or_else(|| self.end.take())
    }

    /// Takes what the peer sent, in any pieces.
    ///
    /// Behind [`Step::StartTls`] it takes what TLS decrypted, after [`tls_done`](Self::tls_done); what
    /// it is given before that is clear text where none may be. Once [`poll`](Self::poll) has said that
    /// the dialogue is over, what arrives is the stream's own and nothing of it is taken here.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(stage) = self.stage else {
                if let Some(Step::Done(outcome)) = &mut self.end {
                    outcome.leftover.extend_from_slice(rest);
                }
                return;
            };
            // Only a handshake awaits no response.
            let Some(end) = self.end_of(stage) else {
                return self.fail(Reason::ClearTextAfterStartTls);
            };
            match self.response.feed(&end, rest) {
                Fed::More => return,
                Fed::Complete(len) => {
                    rest = &rest[len..];
                    let had_fallen_back = self.has_fallen_back;
                    self.respond(stage);
                    if self.has_fallen_back != had_fallen_back {
                        // The rest is of the connection that is given up.
                        return;
                    }
                }
                Fed::TooLong => {
                    let limit = self.response.limit();
                    return self.fail(Reason::TooLong { stage, limit });
                }
                Fed::Malformed => return self.fail(Reason::Malformed(stage)),
            }
        }
    }

    /// Says that the handshake is complete, certificate and name approved.
    ///
    /// Does nothing unless a handshake is under way.
    pub fn tls_done(&mut self) {
        if self.stage != Some(Stage::Handshake) {
            return;
        }
        self.is_encrypted = true;
        // Under TLS a conversation begins a line of its own, and what was told in clear is void.
        self.before = None;
        self.capabilities = None;
        match (self.params.kind, self.params.after_tls) {
            (StreamType::Tls, _) => self.await_greeting(),
            (_, AfterTls::Ask) => self.ask_capabilities(),
            (_, AfterTls::Told) => self.await_capabilities(),
        }
    }

    /// Says that the handshake failed, and why.
    ///
    /// A stream of the type `Network` is given a second connection, which stays plain; any other fails.
    /// Does nothing unless a handshake is under way.
    pub fn tls_failed(&mut self, reason: impl Into<String>) {
        if self.stage != Some(Stage::Handshake) {
            return;
        }
        let reason = reason.into();
        if self.params.kind != StreamType::Network {
            return self.fail(Reason::Handshake(reason));
        }
        self.fall_back(Unencrypted::Handshake(reason));
    }

    /// A connection more, which stays plain.
    fn fall_back(&mut self, error: Unencrypted) {
        self.error = Some(error);
        self.has_fallen_back = true;
        (self.greeting, self.capabilities, self.command, self.before) = (None, None, None, None);
        self.steps.clear();
        self.steps.push_back(Step::Reconnect);
        self.begin();
    }

    /// Says that the handshake failed in a way after which nothing may go on, not even in clear: whoever
    /// answers is not who was to answer, say. Fails a stream of any type.
    ///
    /// Does nothing unless a handshake is under way.
    pub fn tls_refused(&mut self, reason: impl Into<String>) {
        if self.stage == Some(Stage::Handshake) {
            self.fail(Reason::Handshake(reason.into()));
        }
    }

    /// Says that the peer closed the connection. During a handshake it fails the handshake.
    ///
    /// What was received before is judged first; a dialogue that is over stays as it is.
    pub fn peer_closed(&mut self) {
        match self.stage {
            Some(Stage::Handshake) => self.tls_failed("connection closed by the server"),
            Some(stage) => self.fail(Reason::Closed(stage)),
            None => {}
        }
    }

    /// Says that the connection ended for a reason of its own. During a handshake it fails the handshake.
    ///
    /// Otherwise as [`peer_closed`](Self::peer_closed).
    pub fn peer_broke(&mut self, why: impl Into<String>) {
        match self.stage {
            Some(Stage::Handshake) => self.tls_failed(why),
            Some(stage) => self.fail(Reason::Broken { stage, why: why.into() }),
            None => {}
        }
    }

    /// Says that the time for the whole dialogue is up. One that is over stays as it is.
    pub fn timed_out(&mut self) {
        if let Some(stage) = self.stage {
            self.fail(Reason::TimedOut(stage));
        }
    }

    /// What is awaited; `None` once the dialogue is over.
    #[must_use]
    pub const fn stage(&self) -> Option<Stage> {
        self.stage
    }

    /// How much of a response is held.
    #[cfg(test)]
    pub(super) const fn response_len(&self) -> usize {
        self.response.len()
    }

    fn begin(&mut self) {
        if self.params.kind == StreamType::Tls {
            self.steps.push_back(Step::StartTls);
            self.stage = Some(Stage::Handshake);
        } else {
            self.await_greeting();
        }
    }

    /// Whether capabilities are part of the conversation.
    fn asks(&self) -> bool {
        self.params.kind != StreamType::Plain || self.params.always_query_capabilities
    }

    fn await_greeting(&mut self) {
        // Emacs looks at `:nogreeting` only where STARTTLS could come.
        let upgrades = !matches!(self.params.kind, StreamType::Tls | StreamType::Shell);
        let looks = self.asks() && upgrades;
        let is_silent = self.params.is_silent || self.params.nogreeting && looks;
        if is_silent || self.params.end_of_greeting.is_none() {
            self.ask_capabilities();
        } else {
            self.expect(Stage::Greeting, self.params.limits.greeting);
        }
    }

    fn ask_capabilities(&mut self) {
        if !self.asks() {
            return self.finish();
        }
        let known = self.command.take();
        let command = known.unwrap_or_else(|| match &self.params.capability_command {
            None => None,
            Some(Command::Bytes(bytes)) => Some(bytes.clone()),
            Some(Command::OfGreeting(make)) => {
                let is_told = self.params.kind != StreamType::Tls;
                make(self.greeting.as_deref().filter(|_| is_told))
            }
        });
        self.command = Some(command.clone());
        match command {
            None => self.decide(),
            Some(command) => {
                if self.send(command, Parameter::CapabilityCommand) {
                    self.await_capabilities();
                }
            }
        }
    }

    fn await_capabilities(&mut self) {
        if self.params.end_of_capability.is_none() {
            self.decide();
        } else {
            self.expect(Stage::Capabilities, self.params.limits.capabilities);
        }
    }

    /// With all capabilities there are: whether to ask for TLS.
    fn decide(&mut self) {
        let may = match self.params.kind {
            StreamType::Network => !self.has_fallen_back,
            StreamType::StartTls => true,
            StreamType::Plain | StreamType::Tls | StreamType::Shell => false,
        };
        let Some(upgrade) = &self.params.upgrade else { return self.finish() };
        if self.is_encrypted || self.params.success.is_none() {
            return self.finish();
        }
        if !may {
            // A plain stream asks as well, as in Emacs; what for is its user's affair.
            if let (StreamType::Plain, Upgrade::OfCapabilities(make), Some(told)) =
                (self.params.kind, upgrade, &self.capabilities)
            {
                drop(make(told));
            }
            return self.finish();
        }
        let (parameter, command) = match (upgrade, &self.capabilities) {
            (Upgrade::Always(command), _) => (Parameter::StarttlsCommand, Some(command.clone())),
            (Upgrade::OfCapabilities(make), Some(told)) => {
                (Parameter::StarttlsFunction, make(told))
            }
            (Upgrade::OfCapabilities(_), None) => (Parameter::StarttlsFunction, None),
        };
        match command {
            None => self.stay_plain(Reason::NotOffered, Unencrypted::NotOffered),
            Some(_) if !self.params.tls_available => {
                self.stay_plain(Reason::NotOffered, Unencrypted::NoTls);
            }
            Some(command) => {
                if self.send(command, parameter) {
                    self.expect(Stage::Answer, self.params.limits.answer);
                }
            }
        }
    }

    /// With a complete response in hand.
    fn respond(&mut self, stage: Stage) {
        let empty = Response::new(None, 0);
        let bytes = std::mem::replace(&mut self.response, empty).into_bytes();
        self.before = bytes.last().copied().or(self.before);
        match stage {
            Stage::Greeting => {
                let is_welcome = self.params.greeting.as_ref().is_none_or(|is| is.passes(&bytes));
                self.greeting = Some(bytes.clone());
                if is_welcome {
                    self.ask_capabilities();
                } else {
                    self.fail(Reason::Greeting(bytes));
                }
            }
            Stage::Capabilities => {
                let is_farewell = (self.params.is_farewell)(&bytes);
                self.capabilities = Some(bytes);
                if is_farewell {
                    self.fail(Reason::Closed(stage));
                } else {
                    self.decide();
                }
            }
            Stage::Answer => {
                let success = self.params.success.as_ref().is_some_and(|is| is.passes(&bytes));
                if success {
                    self.steps.push_back(Step::StartTls);
                    self.stage = Some(Stage::Handshake);
                } else if self.params.kind == StreamType::Network
                    && (self.params.is_last_word)(&bytes)
                {
                    self.fall_back(Unencrypted::Refused(bytes));
                } else {
                    self.stay_plain(Reason::Refused(bytes.clone()), Unencrypted::Refused(bytes));
                }
            }
            Stage::Handshake => {}
        }
    }

    /// There will be no TLS: too bad for who insists, worth a word to who does not.
    fn stay_plain(&mut self, reason: Reason, error: Unencrypted) {
        if self.params.kind == StreamType::StartTls {
            self.fail(reason);
        } else {
            self.error = Some(error);
            self.finish();
        }
    }

    fn end_of(&self, stage: Stage) -> Option<ReadyEnd> {
        match stage {
            Stage::Greeting => self.params.end_of_greeting.clone(),
            Stage::Capabilities => self.params.end_of_capability.clone(),
            Stage::Answer => self.params.end_of_command.clone(),
            Stage::Handshake => None,
        }
    }

    fn expect(&mut self, stage: Stage, limit: usize) {
        self.response = Response::new(self.before, limit);
        self.stage = Some(stage);
    }

    /// Whether `command` is fit to be sent, and then sends it.
    fn send(&mut self, command: Vec<u8>, parameter: Parameter) -> bool {
        // A fixed command may be binary; it was looked at before the beginning.
        if parameter != Parameter::StarttlsCommand
            && let Err(why) = check_command(&command)
        {
            self.fail(Reason::Command { parameter, why });
            return false;
        }
        self.steps.push_back(Step::Send(command));
        true
    }

    fn finish(&mut self) {
        self.stage = None;
        let kind = if self.is_encrypted { StreamKind::Tls } else { StreamKind::Plain };
        self.end = Some(Step::Done(Outcome {
            greeting: self.greeting.take(),
            capabilities: self.capabilities.take(),
            kind,
            error: self.error.take(),
            leftover: Vec::new(),
        }));
    }

    /// Ends it; what was still to be done is not done any more.
    fn fail(&mut self, reason: Reason) {
        self.stage = None;
        self.steps.clear();
        self.end = Some(Step::Failed(Failure {
            reason,
            greeting: self.greeting.take(),
            capabilities: self.capabilities.take(),
        }));
    }
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialogue")
            .field("kind", &self.params.kind)
            .field("stage", &self.stage)
            .field("is_encrypted", &self.is_encrypted)
            .field("has_fallen_back", &self.has_fallen_back)
            .field("response_len", &self.response.len())
            .finish_non_exhaustive()
    }
}
