//! What can be wrong with the parameters of a dialogue, and with a command.
//!
//! Invariant: an error names the parameter it is about, and no error shows what a command says. Finding
//! them is left to `params`, but for commands, which functions make later.

use std::fmt;

use super::regexp::RegexpError;

/// A command is one line: whatever else stood in it would be a second command.
pub(super) fn check_command(command: &[u8]) -> Result<(), CommandError> {
    let line = command.strip_suffix(b"\n").unwrap_or(command);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(CommandError::Empty);
    }
    match line.iter().position(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        Some(position) if line[position] == 0 => Err(CommandError::Nul { position }),
        Some(position) => Err(CommandError::LineBreak { position }),
        None => Ok(()),
    }
}

/// Which parameter of a dialogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Parameter {
    /// [`end_of_command`](super::DialogueParams::end_of_command).
    EndOfCommand,
    /// [`end_of_greeting`](super::DialogueParams::end_of_greeting).
    EndOfGreeting,
    /// [`end_of_capability`](super::DialogueParams::end_of_capability).
    EndOfCapability,
    /// [`greeting`](super::DialogueParams::greeting).
    Greeting,
    /// [`capability_command`](super::DialogueParams::capability_command) or its function.
    CapabilityCommand,
    /// [`starttls_function`](super::DialogueParams::starttls_function).
    StarttlsFunction,
    /// [`starttls_command`](super::DialogueParams::starttls_command).
    StarttlsCommand,
    /// [`success`](super::DialogueParams::success).
    Success,
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndOfCommand => "end-of-command",
            Self::EndOfGreeting => "end-of-greeting",
            Self::EndOfCapability => "end-of-capability",
            Self::Greeting => "greeting",
            Self::CapabilityCommand => "capability-command",
            Self::StarttlsFunction => "starttls-function",
            Self::StarttlsCommand => "starttls-command",
            Self::Success => "success",
        })
    }
}

/// Why a command is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It says nothing, or nothing but a line end.
    #[error("is empty")]
    Empty,
    /// It has a NUL.
    #[error("has a NUL at {position}")]
    Nul {
        /// The place, counted in bytes.
        position: usize,
    },
    /// It has a CR or LF that is not its end: two commands in one.
    #[error("has a line break at {position}")]
    LineBreak {
        /// The place, counted in bytes.
        position: usize,
    },
}

/// Why there can be no dialogue with these parameters. Nothing was sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialogueError {
    /// An upgrade is wanted, and this is not there.
    #[error("no upgrade to TLS without {0}")]
    Missing(Parameter),
    /// TLS is wanted, and there is none.
    #[error("TLS is not available")]
    NoTls,
    /// An expression that cannot be read.
    #[error("invalid regexp in {parameter}")]
    Regexp {
        /// Where it stands.
        parameter: Parameter,
        /// What is wrong.
        source: RegexpError,
    },
    /// An expression that matches the empty string: every response would be one.
    #[error("the regexp in {0} matches the empty string")]
    MatchesNothing(Parameter),
    /// An expression that matches, if ever, only when the connection has ended.
    #[error("the regexp in {0} never matches while the connection is open")]
    NeverMatches(Parameter),
    /// A command that is none.
    #[error("the command in {parameter} {why}")]
    Command {
        /// Where it stands.
        parameter: Parameter,
        /// What is wrong.
        why: CommandError,
    },
}
