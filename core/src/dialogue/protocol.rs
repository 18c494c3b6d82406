//! Dialogues that are ready for use, by the name of the protocol.
//!
//! Invariant: every expression takes a whole line or element up to its last byte, begins where a line
//! begins, and says yes to nothing but the one answer of the protocol's specification. What the
//! protocols say once the stream stands is left to their users.

use std::{fmt, str::FromStr};

use super::{
    binary,
    params::{AfterTls, Check, DialogueParams, End, StreamType},
    regexp::Regexp,
};

/// A protocol whose dialogue is known here.
///
/// # Examples
///
/// ```
/// use netproc_core::dialogue::{Dialogue, Protocol, Step, StreamType};
///
/// let protocol: Protocol = "postgresql".parse()?;
/// let mut dialogue = Dialogue::new(protocol.params(StreamType::StartTls, "db.example"))?;
/// assert_eq!(dialogue.poll(), Some(Step::Send(b"\0\0\0\x08\x04\xD2\x16\x2F".to_vec())));
/// dialogue.receive(b"S");
/// assert_eq!(dialogue.poll(), Some(Step::StartTls));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Protocol {
    /// Mail submission and transfer, RFC 5321, with STARTTLS of RFC 3207.
    Smtp,
    /// RFC 9051, STARTTLS in 6.2.1.
    Imap,
    /// RFC 1939, CAPA of RFC 2449, STLS of RFC 2595.
    Pop3,
    /// RFC 3977, STARTTLS of RFC 4642.
    Nntp,
    /// RFC 4511, the extended operation of 4.14. There are no capabilities.
    Ldap,
    /// RFC 6120, 5.
    Xmpp,
    /// RFC 959, FEAT of RFC 2389, AUTH TLS of RFC 4217. `PBSZ` and `PROT` are the user's.
    Ftp,
    /// ManageSieve, RFC 5804.
    Sieve,
    /// `SSLRequest` of the PostgreSQL protocol. There are no capabilities.
    PostgreSql,
}

/// A name that is no protocol's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[error("no dialogue is known for the protocol {0}")]
pub struct ProtocolError(pub String);

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Smtp,
        Self::Imap,
        Self::Pop3,
        Self::Nntp,
        Self::Ldap,
        Self::Xmpp,
        Self::Ftp,
        Self::Sieve,
        Self::PostgreSql,
    ];

    /// Its name in small letters, which is also how it is parsed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Nntp => "nntp",
            Self::Ldap => "ldap",
            Self::Xmpp => "xmpp",
            Self::Ftp => "ftp",
            Self::Sieve => "sieve",
            Self::PostgreSql => "postgresql",
        }
    }

    /// The dialogue of this protocol with the server `host`; any of it can be set anew.
    ///
    /// XMPP names `host` to the server, no other does. SMTP introduces itself as `localhost`; set
    /// another [`capability_command`](DialogueParams::capability_command) for a name that counts.
    #[must_use]
    pub fn params(self, kind: StreamType, host: &str) -> DialogueParams {
        let params = DialogueParams::new(kind);
        match self {
            Self::Smtp => smtp(params),
            Self::Imap => imap(params),
            Self::Pop3 => pop3(params),
            Self::Nntp => nntp(params),
            Self::Ldap => ldap(params),
            Self::Xmpp => xmpp(params, host),
            Self::Ftp => ftp(params),
            Self::Sieve => sieve(params),
            Self::PostgreSql => postgresql(params),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(name: &str) -> Result<Self, ProtocolError> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.name() == name);
        found.ok_or_else(|| ProtocolError(name.to_owned()))
    }
}

/// Sends `command` if the capabilities match `offer`.
fn offered(params: DialogueParams, offer: &'static str, command: &'static str) -> DialogueParams {
    let offer = Regexp::new(offer).expect("the expressions of this file are tested");
    params.starttls_function(move |capabilities| {
        offer.is_match(capabilities).then(|| command.as_bytes().to_vec())
    })
}

/// A reply of SMTP and FTP is complete with the line that has no `-` behind its number.
const REPLY: &str = "^[0-9][0-9][0-9]\\(?: .*\\)?\r?\n";

fn smtp(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command(REPLY)
        .greeting(r"\`220\b")
        .capability_command("EHLO localhost\r\n")
        .success("\\`\\(?:220-.*\r?\n\\)*220\\(?: .*\\)?\r?\n\\'");
    offered(params, "^250[ -]STARTTLS[ \t]*\r?$", "STARTTLS\r\n")
}

fn imap(params: DialogueParams) -> DialogueParams {
    // After PREAUTH the session is authenticated and STARTTLS no command of it.
    let greeting = match params.kind() {
        StreamType::StartTls => r"\`\* OK\b",
        StreamType::Network | StreamType::Plain | StreamType::Tls | StreamType::Shell => {
            r"\`\* \(OK\|PREAUTH\)\b"
        }
    };
    let params = params
        .end_of_greeting("^\\* .*\r?\n")
        .greeting(greeting)
        .capability_command("C1 CAPABILITY\r\n")
        .end_of_capability("^C1 \\(?:OK\\|NO\\|BAD\\)\\b.*\r?\n")
        .end_of_command("^S1 \\(?:OK\\|NO\\|BAD\\)\\b.*\r?\n")
        .success("^S1 OK[ \r\n]");
    let offer = "^\\* CAPABILITY\\(?: [^ \r\n]+\\)* STARTTLS\\(?: .*\\)?\r?$";
    offered(params, offer, "S1 STARTTLS\r\n")
}

fn pop3(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command("^\\(?:\\+OK\\|-ERR\\)\\b.*\r?\n")
        .greeting(r"\`\+OK\b")
        .capability_command("CAPA\r\n")
        .end_of_capability("^\\.\r?\n\\|^-ERR\\b.*\r?\n")
        .success("\\`\\+OK[ \r\n]");
    offered(params, "^STLS[ \t]*\r?$", "STLS\r\n")
}

fn nntp(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command("^[0-9][0-9][0-9]\\b.*\r?\n")
        .greeting(r"\`20[01]\b")
        .capability_command("CAPABILITIES\r\n")
        .end_of_capability("^\\.\r?\n\\|^[2345][0-9][0-9]\\b.*\r?\n")
        .success("\\`382[ \r\n]");
    offered(params, "^STARTTLS[ \t]*\r?$", "STARTTLS\r\n")
}

fn ldap(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command(End::function(binary::ldap_frame))
        .starttls_command(binary::LDAP_REQUEST)
        .success(Check::function(binary::ldap_success));
    // RFC 4511, 4.4.1: anything else says that the server is about to hang up, or that it does not understand.
    DialogueParams { is_silent: true, is_last_word: |it| !binary::ldap_answers(it), ..params }
}

fn xmpp(params: DialogueParams, host: &str) -> DialogueParams {
    let mut header = String::from("<?xml version='1.0'?><stream:stream to='");
    for character in host.chars() {
        match character {
            '&' => header.push_str("&amp;"),
            '<' => header.push_str("&lt;"),
            '>' => header.push_str("&gt;"),
            '\'' => header.push_str("&apos;"),
            '"' => header.push_str("&quot;"),
            other => header.push(other),
        }
    }
    header.push_str("' version='1.0' xmlns='jabber:client'");
    header.push_str(" xmlns:stream='http://etherx.jabber.org/streams'>");
    let features = "</stream:features[ \t\r\n]*>\\|<stream:features\\(?:[ \t\r\n][^>]*\\)?/>";
    let answer = "<\\(?:proceed\\|failure\\)\\(?:[ \t\r\n][^>]*\\)?/>";
    let long_answer = "</\\(?:proceed\\|failure\\)[ \t\r\n]*>";
    let end = "</stream:stream[ \t\r\n]*>";
    let space = "urn:ietf:params:xml:ns:xmpp-tls";
    let params = params
        .capability_command(header)
        .end_of_capability(format!("{features}\\|{end}"))
        .end_of_command(format!("{answer}\\|{long_answer}\\|{end}"))
        .success(format!("\\`[ \t\r\n]*<proceed[ \t\r\n]+xmlns=['\"]{space}['\"][^>]*>"));
    let offer = "<starttls[ \t\r\n]+xmlns=['\"]urn:ietf:params:xml:ns:xmpp-tls['\"]";
    let command = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let params = offered(params, offer, command);
    // RFC 6120, 5.4.2.2: behind a failure the stream is closed.
    DialogueParams { is_silent: true, is_last_word: |_| true, is_farewell: ends_stream, ..params }
}

/// Whether what XMPP's server says ends with the end of its stream: RFC 6120, 4.9.1.1, it has found an error, or is
/// going away.
fn ends_stream(told: &[u8]) -> bool {
    let tag = told.iter().rposition(|&byte| byte == b'<').map(|at| &told[at..]);
    tag.is_some_and(|tag| tag.starts_with(b"</stream:stream"))
}

fn ftp(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command(REPLY)
        // RFC 959, 5.4: that it will be ready in some minutes comes before the greeting.
        .end_of_greeting("^[2-9][0-9][0-9]\\(?: .*\\)?\r?\n")
        .greeting("\\`\\(?:1[0-9][0-9]\\b.*\r?\n\\(?:.*\r?\n\\)*\\)?220\\b")
        .capability_command("FEAT\r\n")
        .success("\\`\\(?:234-.*\r?\n\\)*234\\(?: .*\\)?\r?\n\\'");
    // A server that does not know FEAT may know AUTH all the same.
    let offer = "^ AUTH \\(?:[^ \r\n]*;\\)?TLS\\(?:[; ].*\\)?\r?$\\|\\`5[0-9][0-9]\\b";
    offered(params, offer, "AUTH TLS\r\n")
}

fn sieve(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command("^\\(?:OK\\|NO\\|BYE\\)\\b.*\r?\n")
        .greeting(r"^OK\b")
        .capability_command("CAPABILITY\r\n")
        .success("\\`OK[ \r\n]")
        .after_tls(AfterTls::Told);
    offered(params, "^\"STARTTLS\"[ \t]*\r?$", "STARTTLS\r\n")
}

fn postgresql(params: DialogueParams) -> DialogueParams {
    let params = params
        .end_of_command(End::function(binary::postgresql_frame))
        .starttls_command(binary::POSTGRESQL_REQUEST)
        .success(Check::function(binary::postgresql_success));
    // An `N` invites to go on in clear; an error is cut behind its first byte, and the end.
    DialogueParams { is_silent: true, is_last_word: |answer| answer == b"E", ..params }
}
