//! What a server says to each command before TLS.
//!
//! Invariant: one function per protocol, from a line to an answer, without state: nothing a client says
//! in clear is remembered. Where lines end and what follows an answer is left to the dialogue.

use super::ServerProtocol;

/// What follows the text of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The next command.
    Only,
    /// The handshake.
    StartTls,
    /// The end.
    Close,
}

/// What the server `name` says first.
pub(super) fn greeting(protocol: ServerProtocol, name: &str) -> Vec<u8> {
    match protocol {
        ServerProtocol::Smtp => format!("220 {name} ESMTP\r\n"),
        ServerProtocol::Imap => format!("* OK {name} ready\r\n"),
        ServerProtocol::Pop3 => format!("+OK {name} ready\r\n"),
    }
    .into_bytes()
}

/// What it says to `line`, and what follows.
pub(super) fn answer(protocol: ServerProtocol, name: &str, line: &[u8]) -> (Answer, Vec<u8>) {
    let words = words(line);
    let words: Option<Vec<&str>> = words.as_ref().map(|line| line.split(' ').collect());
    let (answer, text) = match protocol {
        ServerProtocol::Smtp => smtp(name, words.as_deref()),
        ServerProtocol::Imap => imap(words.as_deref()),
        ServerProtocol::Pop3 => pop3(words.as_deref()),
    };
    (answer, text.into_bytes())
}

/// The command without its line end; `None` when it is not one of printable ASCII.
fn words(line: &[u8]) -> Option<String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_plain = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_plain.then(|| String::from_utf8_lossy(line).trim_end().to_owned())
}

fn smtp(name: &str, words: Option<&[&str]>) -> (Answer, String) {
    let Some([verb, arguments @ ..]) = words else {
        return (Answer::Only, "500 5.5.2 Syntax error\r\n".into());
    };
    let has_none = arguments.is_empty();
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" if !has_none => {
            (Answer::Only, format!("250-{name}\r\n250-PIPELINING\r\n250 STARTTLS\r\n"))
        }
        "HELO" if !has_none => (Answer::Only, format!("250 {name}\r\n")),
        "STARTTLS" if has_none => (Answer::StartTls, "220 go ahead\r\n".into()),
        "EHLO" | "HELO" | "STARTTLS" => {
            (Answer::Only, "501 5.5.4 Syntax error in parameters\r\n".into())
        }
        "NOOP" | "RSET" => (Answer::Only, "250 2.0.0 OK\r\n".into()),
        "QUIT" => (Answer::Close, format!("221 2.0.0 {name} closing\r\n")),
        _ => (Answer::Only, "530 5.7.0 Must issue a STARTTLS command first\r\n".into()),
    }
}

fn imap(words: Option<&[&str]>) -> (Answer, String) {
    let Some([tag, verb, arguments @ ..]) = words.filter(|words| is_tag(words[0])) else {
        return (Answer::Only, "* BAD no command\r\n".into());
    };
    let verb = verb.to_ascii_uppercase();
    if !arguments.is_empty() && ["CAPABILITY", "STARTTLS", "NOOP", "LOGOUT"].contains(&&*verb) {
        return (Answer::Only, format!("{tag} BAD no arguments are expected\r\n"));
    }
    match verb.as_str() {
        "CAPABILITY" => {
            let list = "* CAPABILITY IMAP4rev1 IMAP4rev2 STARTTLS LOGINDISABLED\r\n";
            (Answer::Only, format!("{list}{tag} OK done\r\n"))
        }
        "STARTTLS" => (Answer::StartTls, format!("{tag} OK begin TLS\r\n")),
        "NOOP" => (Answer::Only, format!("{tag} OK done\r\n")),
        "LOGOUT" => (Answer::Close, format!("* BYE\r\n{tag} OK done\r\n")),
        _ => (Answer::Only, format!("{tag} NO [PRIVACYREQUIRED] STARTTLS first\r\n")),
    }
}

/// Tags are repeated to the client, so nothing else gets through (RFC 9051, `tag`).
fn is_tag(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| !b"(){%*\"\\+".contains(&byte))
}

fn pop3(words: Option<&[&str]>) -> (Answer, String) {
    let Some([verb, arguments @ ..]) = words else {
        return (Answer::Only, "-ERR no command\r\n".into());
    };
    let has_none = arguments.is_empty();
    match verb.to_ascii_uppercase().as_str() {
        "CAPA" if has_none => (Answer::Only, "+OK\r\nSTLS\r\nPIPELINING\r\n.\r\n".into()),
        "STLS" if has_none => (Answer::StartTls, "+OK begin TLS\r\n".into()),
        "CAPA" | "STLS" => (Answer::Only, "-ERR no arguments are expected\r\n".into()),
        "QUIT" => (Answer::Close, "+OK bye\r\n".into()),
        _ => (Answer::Only, "-ERR STLS first\r\n".into()),
    }
}
