//! Conditions: what a function of the dynamic front signals, in Emacs's words.
//!
//! Invariant: a signal has one of Emacs's condition symbols, and data whose
//! leading strings are Emacs's. Typed errors become signals here and nowhere else.

use std::{fmt, io};

use netproc_core::{
    coding::CodingError,
    options::SockOption,
    plist::{Plist, PlistError, Value},
    reactor::{Op, SysError},
    socket::set_option,
};
use socket2::{Domain, Socket, Type};

use super::tls;
use crate::{
    error::{Error, StartError, TlsParametersError},
    process::Process,
};

/// An error of the dynamic front: a condition and its data, as Emacs's `signal` takes them.
///
/// # Examples
///
/// ```
/// use netproc::{Value, emacs::Signal};
///
/// let signal = Signal::wrong_type("stringp", Value::from(12));
/// assert_eq!(signal.symbol(), "wrong-type-argument");
/// assert_eq!(signal.to_string(), "Wrong type argument: stringp, 12");
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Signal {
    symbol: &'static str,
    data: Vec<Value>,
}

impl Signal {
    /// A condition with its data.
    #[must_use]
    pub const fn new(symbol: &'static str, data: Vec<Value>) -> Self {
        Self { symbol, data }
    }

    /// A plain `error` with its message.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new("error", vec![message.into().into()])
    }

    /// A `wrong-type-argument`: the predicate that failed, and for what.
    #[must_use]
    pub fn wrong_type(predicate: &str, value: Value) -> Self {
        Self::new("wrong-type-argument", vec![Value::symbol(predicate), value])
    }

    /// A `file-error`, or `file-missing` for `ENOENT`: what was tried, what the system said, context.
    #[must_use]
    pub fn file(tried: &str, err: SysError, context: Vec<Value>) -> Self {
        let missing = err.kind() == io::ErrorKind::NotFound;
        let symbol = if missing { "file-missing" } else { "file-error" };
        let mut data = vec![tried.into(), err.message().into()];
        data.extend(context);
        Self::new(symbol, data)
    }

    /// The condition symbol: `error`, `wrong-type-argument`, `file-error`, …
    #[must_use]
    pub const fn symbol(&self) -> &'static str {
        self.symbol
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &[Value] {
        &self.data
    }

    /// What a failed start is in Emacs, the values taken from the arguments it was called with.
    pub(crate) fn from_start(err: &StartError, args: &Plist) -> Self {
        let server = args.get(":server").is_some_and(Value::is_true);
        match err {
            StartError::Argument { keyword, expected, value } => {
                // The very value, unless it was a part of it that is wrong.
                let given = args.get(keyword).cloned().unwrap_or_default();
                let part = (given.to_string() != *value).then(|| value.parse().ok()).flatten();
                Self::wrong_type(expected, part.unwrap_or(given))
            }
            StartError::TlsParameters(err) => Self::from_tls_parameters(err),
            StartError::Handshake { source, .. } => {
                let host = args.get(":tls-parameters").and_then(Value::items).unwrap_or_default();
                let mut after = host.iter().skip_while(|it| it.as_symbol() != Some(":hostname"));
                let host = after.nth(1).and_then(Value::as_str).unwrap_or_default();
                tls::handshake_signal(host, source)
            }
            StartError::MissingService(_) => Self::wrong_type("stringp", Value::Nil),
            StartError::Plist(err) => err.clone().into(),
            StartError::Coding(err) => err.clone().into(),
            StartError::Sys { source, .. } => Self::from_sys(*source, server, args),
            StartError::TimedOut { .. } => {
                Self::from_sys(SysError::timed_out(Op::Connect), server, args)
            }
            other => Self::error(other.emacs_message().unwrap_or_else(|| other.to_string())),
        }
    }

    /// What parameters of TLS that make none are in Emacs, or would be.
    pub(crate) fn from_tls_parameters(err: &TlsParametersError) -> Self {
        match err {
            TlsParametersError::Type { expected, value, .. } => {
                Self::wrong_type(expected, value.parse().unwrap_or_default())
            }
            other => Self::error(other.emacs_message().unwrap_or_else(|| with_causes(other))),
        }
    }

    fn from_sys(err: SysError, server: bool, args: &Plist) -> Self {
        let context = args.to_value().items().unwrap_or_default().to_vec();
        match err.op {
            Op::Bind => Self::file("Cannot bind server socket", err, Vec::new()),
            Op::Listen => Self::file("Cannot listen on server socket", err, Vec::new()),
            Op::Option => Self::file("Cannot set network option", err, options(args, err)),
            _ if server => Self::file("make server process failed", err, context),
            _ => Self::file("make client process failed", err, context),
        }
    }

    /// The signal of a process that cannot send.
    pub(crate) fn not_running(process: &Process) -> Self {
        Self::error(format!("Process {} not running", process.name()))
    }
}

/// An error and its causes, as `file: cannot be read: no such file`.
pub(super) fn with_causes(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        let more = source.to_string();
        // What shows its cause as its own text has said it.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    text
}

/// The socket option among the arguments that the system has refused, as Emacs names it, or all of them. They are
/// tried again, since the system does not say which one it was.
fn options(args: &Plist, err: SysError) -> Vec<Value> {
    let is_local = args.get(":family").and_then(Value::as_symbol) == Some("local");
    let domain = if is_local { Domain::UNIX } else { Domain::IPV4 };
    let scratch = Socket::new(domain, Type::DGRAM, None).ok();
    let set = |option: &SockOption| scratch.as_ref().and_then(|to| set_option(to, option).err());
    let is_it = |&(keyword, value): &(&str, &Value)| {
        let refused =
            SockOption::new(keyword, value).ok().flatten().and_then(|option| set(&option));
        refused.is_some_and(|refused| refused.raw_os_error() == Some(err.errno))
    };
    let of = |(keyword, value): (&str, &Value)| [Value::symbol(keyword), value.clone()];
    if let Some(found) = args.iter().find(is_it) {
        return of(found).into();
    }
    let known = args.iter().filter(|(keyword, _)| SockOption::KEYWORDS.contains(keyword));
    known.flat_map(of).collect()
}

impl From<CodingError> for Signal {
    fn from(err: CodingError) -> Self {
        match err {
            CodingError::Refused { name, .. } => {
                Self::new("coding-system-error", vec![Value::symbol(name)])
            }
            CodingError::Unknown(name) | CodingError::MalformedPair(name) => {
                Self::new("coding-system-error", vec![Value::symbol(&name)])
            }
            other => Self::error(other.to_string()),
        }
    }
}

impl From<PlistError> for Signal {
    fn from(err: PlistError) -> Self {
        Self::error(err.to_string())
    }
}

/// The runtime itself failed.
impl From<Error> for Signal {
    fn from(err: Error) -> Self {
        Self::error(err.to_string())
    }
}

/// As Emacs's `error-message-string` puts it.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = matches!(self.symbol, "file-error" | "file-missing");
        let mut rest = &self.data[..];
        let mut lead = match self.symbol {
            "error" => "",
            "wrong-type-argument" => "Wrong type argument",
            "args-out-of-range" => "Args out of range",
            "coding-system-error" => "Invalid coding system",
            "invalid-regexp" => "Invalid regexp",
            "gnutls-error" => "GnuTLS error",
            "wrong-number-of-arguments" => "Wrong number of arguments",
            "void-function" => "Symbol's function definition is void",
            other if !file => other,
            _ => "",
        };
        if let (true, Some((first, others))) = (file || lead.is_empty(), self.data.split_first()) {
            lead = first.as_str().unwrap_or_default();
            rest = others;
        }
        f.write_str(lead)?;
        for (index, value) in rest.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            match value.as_str().filter(|_| file) {
                Some(text) => f.write_str(text)?,
                None => write!(f, "{value}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Signal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_emacs() {
        let refused = SysError { op: Op::Connect, errno: 111 };
        let cases = [
            (Signal::error("Boom"), "error", "Boom"),
            (
                Signal::wrong_type("stringp", Value::symbol("x")),
                "wrong-type-argument",
                "Wrong type argument: stringp, x",
            ),
            (
                Signal::file(
                    "make client process failed",
                    refused,
                    vec![Value::symbol(":name"), "x".into()],
                ),
                "file-error",
                "make client process failed: Connection refused, :name, x",
            ),
            (
                Signal::file(
                    "Cannot bind server socket",
                    SysError { op: Op::Bind, errno: 2 },
                    Vec::new(),
                ),
                "file-missing",
                "Cannot bind server socket: No such file or directory",
            ),
        ];
        for (signal, symbol, message) in cases {
            assert_eq!((signal.symbol(), signal.to_string().as_str()), (symbol, message));
        }
    }
}
