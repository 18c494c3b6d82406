//! What a dialogue is to say and to expect, and what is wrong with it before anything is sent.
//!
//! Invariant: a [`DialogueParams`] is only a wish; `check` turns it into [`Checked`], in which every
//! expression is compiled, every fixed command fit to be sent, and nothing is missing that the type of
//! stream needs. Running the dialogue is left to `machine`.

use std::{fmt, rc::Rc, str::FromStr};

use super::{
    error::{CommandError, DialogueError, Parameter, check_command},
    regexp::Regexp,
};

/// What a stream shall become.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum StreamType {
    /// Plain, and made TLS by the dialogue when the server offers it; plain again when that fails.
    #[default]
    Network,
    /// Plain for ever.
    Plain,
    /// Plain at first; TLS by the dialogue or not at all.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// No connection but a program, which speaks for the server: plain for ever. Capabilities are asked for
    /// if there is a command for that.
    Shell,
}

/// A name that is no type of stream.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[error("invalid connection type {0}")]
pub struct StreamTypeError(pub String);

impl FromStr for StreamType {
    type Err = StreamTypeError;

    /// Reads Emacs's names: `nil` and `network`, `plain`, `starttls`, `tls` and `ssl`, `shell`.
    fn from_str(name: &str) -> Result<Self, StreamTypeError> {
        Ok(match name {
            "nil" | "network" => Self::Network,
            "plain" => Self::Plain,
            "starttls" => Self::StartTls,
            "tls" | "ssl" => Self::Tls,
            "shell" => Self::Shell,
            other => return Err(StreamTypeError(other.to_owned())),
        })
    }
}

type FrameFn = Rc<dyn Fn(&[u8]) -> Frame>;
type CheckFn = Rc<dyn Fn(&[u8]) -> bool>;
type OfGreetingFn = Rc<dyn Fn(Option<&[u8]>) -> Option<Vec<u8>>>;
type OfCapabilitiesFn = Rc<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// What an [`End::Function`] finds in the bytes of a response so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a response is complete, not yet, or never")]
pub enum Frame {
    /// The response is not complete.
    More,
    /// It is complete with the first so many bytes.
    Complete(usize),
    /// Whatever follows, it will be no response.
    Malformed,
}

/// How to tell that a response is complete.
#[derive(Clone)]
#[non_exhaustive]
pub enum End {
    /// An expression in Emacs's syntax: complete with the first byte at which it matches.
    Regexp(String),
    /// A function of the response so far, for protocols that are not lines of text.
    ///
    /// It is called whenever something came, with everything that belongs to the response, so it should
    /// look at the head only. It must answer by the bytes it needs, not by how many there are.
    Function(FrameFn),
}

impl End {
    /// Makes an end of a function.
    pub fn function(end: impl Fn(&[u8]) -> Frame + 'static) -> Self {
        Self::Function(Rc::new(end))
    }
}

/// What a response must look like.
#[derive(Clone)]
#[non_exhaustive]
pub enum Check {
    /// An expression in Emacs's syntax that must match somewhere in the response.
    Regexp(String),
    /// A function of the response.
    Function(CheckFn),
}

impl Check {
    /// Makes a check of a function.
    pub fn function(check: impl Fn(&[u8]) -> bool + 'static) -> Self {
        Self::Function(Rc::new(check))
    }
}

/// A command: bytes, or a function that makes them of a response.
#[derive(Clone)]
pub(super) enum Command {
    Bytes(Vec<u8>),
    OfGreeting(OfGreetingFn),
}

/// How to ask for TLS.
#[derive(Clone)]
pub(super) enum Upgrade {
    /// Whatever the server can do.
    Always(Vec<u8>),
    OfCapabilities(OfCapabilitiesFn),
}

/// What a server does about capabilities once TLS runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_enums, reason = "asked or not asked")]
pub enum AfterTls {
    /// It tells them when asked again by the same command.
    #[default]
    Ask,
    /// It tells them unasked.
    Told,
}

/// How long responses may be, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DialogueLimits {
    /// The greeting; 64 KiB.
    pub greeting: usize,
    /// All lines of the capabilities together; 64 KiB.
    pub capabilities: usize,
    /// The answer to the command that starts TLS; 64 KiB.
    pub answer: usize,
}

impl Default for DialogueLimits {
    fn default() -> Self {
        Self { greeting: 64 << 10, capabilities: 64 << 10, answer: 64 << 10 }
    }
}

/// The parameters of a dialogue, named like the keywords of `open-network-stream`.
///
/// Expressions are in Emacs's syntax; see [`Regexp`].
///
/// # Examples
///
/// ```
/// use netproc_core::dialogue::{DialogueParams, StreamType};
///
/// let smtp = DialogueParams::new(StreamType::StartTls)
///     .end_of_command("^[0-9]+ .*\r\n")
///     .capability_command("EHLO me.example\r\n")
///     .success("^220")
///     .starttls_function(|capabilities| {
///         let offered = capabilities.windows(8).any(|word| word == b"STARTTLS");
///         offered.then(|| b"STARTTLS\r\n".to_vec())
///     });
/// assert!(!smtp.is_simple(true));
/// ```
///
/// # Source
///
/// Emacs Lisp manual, "Network". `:use-starttls-if-possible` is missing: it only decides where TLS is
/// not built in.
#[derive(Clone)]
pub struct DialogueParams {
    pub(super) kind: StreamType,
    pub(super) end_of_greeting: Option<End>,
    pub(super) end_of_command: Option<End>,
    pub(super) end_of_capability: Option<End>,
    pub(super) greeting: Option<Check>,
    pub(super) capability_command: Option<Command>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) success: Option<Check>,
    pub(super) always_query_capabilities: bool,
    pub(super) nogreeting: bool,
    /// Whether the server never speaks first, whatever the type.
    pub(super) is_silent: bool,
    /// Whether the server hangs up behind this refusal to start TLS.
    pub(super) is_last_word: fn(&[u8]) -> bool,
    /// Whether these capabilities are none, but the server's leave.
    pub(super) is_farewell: fn(&[u8]) -> bool,
    pub(super) after_tls: AfterTls,
    pub(super) tls_available: bool,
    pub(super) limits: DialogueLimits,
}

impl DialogueParams {
    /// Parameters of a dialogue that says nothing and expects nothing.
    #[must_use]
    pub fn new(kind: StreamType) -> Self {
        Self {
            kind,
            end_of_greeting: None,
            end_of_command: None,
            end_of_capability: None,
            greeting: None,
            capability_command: None,
            upgrade: None,
            success: None,
            always_query_capabilities: false,
            nogreeting: false,
            is_silent: false,
            is_last_word: |_| false,
            is_farewell: |_| false,
            after_tls: AfterTls::Ask,
            tls_available: true,
            limits: DialogueLimits::default(),
        }
    }

    /// When the greeting and the answer to the STARTTLS command are complete. Not set: neither is
    /// awaited. Keyword `:end-of-command`.
    #[must_use]
    pub fn end_of_command(mut self, end: impl Into<End>) -> Self {
        self.end_of_command = Some(end.into());
        self
    }

    /// When the greeting is complete, if not by [`end_of_command`](Self::end_of_command). No keyword.
    #[must_use]
    pub fn end_of_greeting(mut self, end: impl Into<End>) -> Self {
        self.end_of_greeting = Some(end.into());
        self
    }

    /// When the capabilities are complete, if not by [`end_of_command`](Self::end_of_command). Keyword
    /// `:end-of-capability`.
    #[must_use]
    pub fn end_of_capability(mut self, end: impl Into<End>) -> Self {
        self.end_of_capability = Some(end.into());
        self
    }

    /// What the greeting must look like, else the dialogue fails. Not set: like anything. No keyword.
    #[must_use]
    pub fn greeting(mut self, check: impl Into<Check>) -> Self {
        self.greeting = Some(check.into());
        self
    }

    /// What to send to be told the capabilities. Keyword `:capability-command`, a string.
    #[must_use]
    pub fn capability_command(mut self, command: impl Into<Vec<u8>>) -> Self {
        self.capability_command = Some(Command::Bytes(command.into()));
        self
    }

    /// Makes that command of the greeting, if there was one; `None` asks for nothing. With
    /// [`StreamType::Tls`] it is told no greeting. Keyword `:capability-command`, a function.
    ///
    /// It is called while the dialogue is busy and must not use it.
    #[must_use]
    pub fn capability_function(
        mut self,
        make: impl Fn(Option<&[u8]>) -> Option<Vec<u8>> + 'static,
    ) -> Self {
        self.capability_command = Some(Command::OfGreeting(Rc::new(make)));
        self
    }

    /// Makes the command that starts TLS of the capabilities; `None`: the server does not offer it.
    /// Keyword `:starttls-function`.
    ///
    /// It is called while the dialogue is busy and must not use it.
    #[must_use]
    pub fn starttls_function(mut self, make: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static) -> Self {
        self.upgrade = Some(Upgrade::OfCapabilities(Rc::new(make)));
        self
    }

    /// The command that starts TLS, sent whatever the capabilities are, and without any. It may be
    /// binary. No keyword.
    #[must_use]
    pub fn starttls_command(mut self, command: impl Into<Vec<u8>>) -> Self {
        self.upgrade = Some(Upgrade::Always(command.into()));
        self
    }

    /// What the answer to that command looks like when TLS may start. Keyword `:success`.
    #[must_use]
    pub fn success(mut self, check: impl Into<Check>) -> Self {
        self.success = Some(check.into());
        self
    }

    /// Whether capabilities are asked for with [`StreamType::Plain`], too. Default: no. Keyword
    /// `:always-query-capabilities`.
    #[must_use]
    pub const fn always_query_capabilities(mut self, yes: bool) -> Self {
        self.always_query_capabilities = yes;
        self
    }

    /// Whether the server says nothing before it is spoken to. Default: no. Not looked at with
    /// [`StreamType::Plain`] alone, [`StreamType::Tls`] and [`StreamType::Shell`], as in Emacs. Keyword
    /// `:nogreeting`.
    #[must_use]
    pub const fn nogreeting(mut self, yes: bool) -> Self {
        self.nogreeting = yes;
        self
    }

    /// Whether capabilities come unasked once TLS runs. Default: [`AfterTls::Ask`]. No keyword.
    #[must_use]
    pub const fn after_tls(mut self, after: AfterTls) -> Self {
        self.after_tls = after;
        self
    }

    /// Whether there is a TLS to start. Default: yes. Without, [`StreamType::Network`] stays plain and
    /// says why, and the types that insist on it are refused. No keyword.
    #[must_use]
    pub const fn tls_available(mut self, yes: bool) -> Self {
        self.tls_available = yes;
        self
    }

    /// How long responses may be. No keyword.
    #[must_use]
    pub const fn limits(mut self, limits: DialogueLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What the stream shall become.
    #[must_use]
    pub const fn kind(&self) -> StreamType {
        self.kind
    }

    /// Whether `open-network-stream` holds no dialogue at all but only connects.
    ///
    /// So it is when no list of results is wanted (`returns_list`, keyword `:return-list`) and the type
    /// is plain, or the parameters do not suffice for an upgrade.
    #[must_use]
    pub fn is_simple(&self, returns_list: bool) -> bool {
        let can_upgrade = self.success.is_some()
            && (self.capability_command.is_some()
                || matches!(self.upgrade, Some(Upgrade::Always(_))));
        match self.kind {
            StreamType::Plain => !returns_list,
            StreamType::Network => !returns_list && !can_upgrade,
            StreamType::StartTls | StreamType::Tls | StreamType::Shell => false,
        }
    }

    pub(super) fn check(self) -> Result<Checked, DialogueError> {
        self.refuse_missing()?;
        if let Some(Command::Bytes(command)) = &self.capability_command {
            let wrong =
                |why| DialogueError::Command { parameter: Parameter::CapabilityCommand, why };
            check_command(command).map_err(wrong)?;
        }
        if let Some(Upgrade::Always(command)) = &self.upgrade
            && command.is_empty()
        {
            let (parameter, why) = (Parameter::StarttlsCommand, CommandError::Empty);
            return Err(DialogueError::Command { parameter, why });
        }
        let end_of_command = compile_end(self.end_of_command, Parameter::EndOfCommand)?;
        let of_greeting = compile_end(self.end_of_greeting, Parameter::EndOfGreeting)?;
        let of_capability = compile_end(self.end_of_capability, Parameter::EndOfCapability)?;
        Ok(Checked {
            kind: self.kind,
            end_of_greeting: of_greeting.or_else(|| end_of_command.clone()),
            end_of_capability: of_capability.or_else(|| end_of_command.clone()),
            end_of_command,
            greeting: compile_check(self.greeting, Parameter::Greeting)?,
            capability_command: self.capability_command,
            upgrade: self.upgrade,
            success: compile_check(self.success, Parameter::Success)?,
            always_query_capabilities: self.always_query_capabilities,
            nogreeting: self.nogreeting,
            is_silent: self.is_silent,
            is_last_word: self.is_last_word,
            is_farewell: self.is_farewell,
            after_tls: self.after_tls,
            tls_available: self.tls_available,
            limits: self.limits,
        })
    }

    /// An upgrade that is wanted and cannot succeed is refused before anything is sent.
    fn refuse_missing(&self) -> Result<(), DialogueError> {
        let insists = self.kind == StreamType::StartTls;
        if !self.tls_available && (insists || self.kind == StreamType::Tls) {
            return Err(DialogueError::NoTls);
        }
        let is_fixed = matches!(self.upgrade, Some(Upgrade::Always(_)));
        let may_upgrade = self.kind == StreamType::Network
            && self.success.is_some()
            && self.upgrade.is_some()
            && (is_fixed || self.capability_command.is_some());
        let needed = [
            (Parameter::Success, self.success.is_none()),
            (Parameter::StarttlsFunction, self.upgrade.is_none()),
            (Parameter::CapabilityCommand, self.capability_command.is_none() && !is_fixed),
            (Parameter::EndOfCommand, self.end_of_command.is_none()),
        ];
        let missing = needed.into_iter().find(|&(_, is_missing)| is_missing);
        match missing {
            Some((parameter, _)) if insists || may_upgrade => {
                Err(DialogueError::Missing(parameter))
            }
            _ => Ok(()),
        }
    }
}

/// Parameters with which a dialogue can run.
pub(super) struct Checked {
    pub(super) kind: StreamType,
    pub(super) end_of_greeting: Option<ReadyEnd>,
    pub(super) end_of_command: Option<ReadyEnd>,
    pub(super) end_of_capability: Option<ReadyEnd>,
    pub(super) greeting: Option<ReadyCheck>,
    pub(super) capability_command: Option<Command>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) success: Option<ReadyCheck>,
    pub(super) always_query_capabilities: bool,
    pub(super) nogreeting: bool,
    /// Whether the server never speaks first, whatever the type.
    pub(super) is_silent: bool,
    /// Whether the server hangs up behind this refusal to start TLS.
    pub(super) is_last_word: fn(&[u8]) -> bool,
    /// Whether these capabilities are none, but the server's leave.
    pub(super) is_farewell: fn(&[u8]) -> bool,
    pub(super) after_tls: AfterTls,
    pub(super) tls_available: bool,
    pub(super) limits: DialogueLimits,
}

/// An [`End`] that can be looked for.
#[derive(Clone)]
pub(super) enum ReadyEnd {
    Regexp(Rc<Regexp>),
    Function(FrameFn),
}

/// A [`Check`] that can be made.
pub(super) enum ReadyCheck {
    Regexp(Regexp),
    Function(CheckFn),
}

impl ReadyCheck {
    pub(super) fn passes(&self, response: &[u8]) -> bool {
        match self {
            Self::Regexp(regexp) => regexp.is_match(response),
            Self::Function(check) => check(response),
        }
    }
}

fn compile(text: &str, parameter: Parameter) -> Result<Regexp, DialogueError> {
    let regexp = Regexp::new(text);
    let regexp = regexp.map_err(|source| DialogueError::Regexp { parameter, source })?;
    if regexp.matches_empty() {
        return Err(DialogueError::MatchesNothing(parameter));
    }
    Ok(regexp)
}

fn compile_end(end: Option<End>, parameter: Parameter) -> Result<Option<ReadyEnd>, DialogueError> {
    Ok(match end {
        None => None,
        Some(End::Function(function)) => Some(ReadyEnd::Function(function)),
        Some(End::Regexp(text)) => {
            let regexp = compile(&text, parameter)?;
            if regexp.waits_for_the_end() {
                return Err(DialogueError::NeverMatches(parameter));
            }
            Some(ReadyEnd::Regexp(Rc::new(regexp)))
        }
    })
}

fn compile_check(
    check: Option<Check>,
    parameter: Parameter,
) -> Result<Option<ReadyCheck>, DialogueError> {
    Ok(match check {
        None => None,
        Some(Check::Function(function)) => Some(ReadyCheck::Function(function)),
        Some(Check::Regexp(text)) => Some(ReadyCheck::Regexp(compile(&text, parameter)?)),
    })
}

macro_rules! from_text {
    ($($type:ident),*) => {$(
        impl From<&str> for $type {
            fn from(regexp: &str) -> Self {
                Self::Regexp(regexp.to_owned())
            }
        }

        impl From<String> for $type {
            fn from(regexp: String) -> Self {
                Self::Regexp(regexp)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Regexp(text) => f.debug_tuple("Regexp").field(text).finish(),
                    Self::Function(_) => f.write_str("Function"),
                }
            }
        }
    )*};
}

from_text!(End, Check);

impl fmt::Debug for DialogueParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Commands are left out: a protocol may put something secret into one.
        f.debug_struct("DialogueParams")
            .field("kind", &self.kind)
            .field("end_of_command", &self.end_of_command)
            .field("end_of_greeting", &self.end_of_greeting)
            .field("end_of_capability", &self.end_of_capability)
            .field("greeting", &self.greeting)
            .field("success", &self.success)
            .finish_non_exhaustive()
    }
}
