//! What holds for every dialogue, whatever the other side says: one check for each side, run by
//! `tests/tests/checks_tls.rs` on drawn inputs and by the targets of `tests/fuzz` on hunted ones.
//!
//! Invariant: a check panics when a promise is broken, and for no other reason. An input is read by
//! [`Source`]: every string of bytes is one. Nothing here but `netproc_core` is used.

use netproc_core::dialogue::{
    Dialogue, DialogueLimits, DialogueParams, Outcome, Protocol, Regexp, Stage, Step, StreamKind,
    StreamType,
    server::{ClearText, ServerDialogue, ServerProtocol, ServerStep},
};

/// The most bytes of a response in a check: small, so that limits are met.
const RESPONSE_LEN_MAX: usize = 300;

/// Reads decisions and texts out of bytes; a source that has run dry decides for 0.
#[derive(Debug)]
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// A source of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next decision.
    pub fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    /// The next text, of at most 255 bytes.
    pub fn text(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        text
    }

    /// Whether there is nothing left.
    #[must_use]
    pub const fn is_dry(&self) -> bool {
        self.0.is_empty()
    }
}

/// What happens to a dialogue next.
#[derive(Clone, Debug)]
enum Act {
    Hears(Vec<u8>),
    Secures,
    FailsToSecure,
    LosesPeer,
    IsLate,
}

/// Texts that mean something to some protocol, so that no input has to spell them.
const PHRASES: [&[u8]; 24] = [
    b"220 hello\r\n",
    b"250-mail\r\n250 STARTTLS\r\n",
    b"220 go\r\n",
    b"454 no\r\n",
    b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n",
    b"* CAPABILITY IMAP4rev1 STARTTLS\r\nC1 OK done\r\n",
    b"S1 OK go\r\n",
    b"+OK hi\r\n",
    b"+OK\r\nSTLS\r\n.\r\n",
    b"200 hi\r\n",
    b"101 list\r\nSTARTTLS\r\n.\r\n",
    b"382 go\r\n",
    b"\x30\x0C\x02\x01\x01\x78\x07\x0A\x01\x00\x04\x00\x04\x00",
    b"\x30\x84\xFF\xFF\xFF\xFF",
    b"S",
    b"N",
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
    b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    b"211-Features:\r\n AUTH TLS\r\n211 End\r\n",
    b"234 go\r\n",
    b"\"STARTTLS\"\r\nOK \"hi\"\r\n",
    b"OK\r\n",
    b"\r\n",
    b"250 inside\r\n",
];

fn act(source: &mut Source<'_>) -> Act {
    match source.byte() {
        0..=59 => Act::Hears(source.text().to_vec()),
        phrase @ 60..=223 => Act::Hears(PHRASES[usize::from(phrase) % PHRASES.len()].to_vec()),
        224..=243 => Act::Secures,
        244..=249 => Act::FailsToSecure,
        250..=253 => Act::LosesPeer,
        _ => Act::IsLate,
    }
}

fn params(source: &mut Source<'_>) -> (DialogueParams, StreamType, bool) {
    let types = [
        StreamType::StartTls,
        StreamType::Network,
        StreamType::Tls,
        StreamType::Plain,
        StreamType::Shell,
    ];
    let kind = types[usize::from(source.byte()) % types.len()];
    let number = usize::from(source.byte()) % (Protocol::ALL.len() + 1);
    let mut limits = DialogueLimits::default();
    limits.greeting = RESPONSE_LEN_MAX;
    limits.capabilities = RESPONSE_LEN_MAX;
    limits.answer = RESPONSE_LEN_MAX;
    let params = match Protocol::ALL.get(number) {
        Some(protocol) => protocol.params(kind, "host.example"),
        None => manual(kind),
    };
    let is_text = !matches!(
        Protocol::ALL.get(number),
        Some(Protocol::Ldap | Protocol::PostgreSql | Protocol::Xmpp)
    );
    let always = source.byte().is_multiple_of(2);
    (params.limits(limits).always_query_capabilities(always), kind, is_text)
}

/// The parameters of the manual's example, whose command is whatever the server has said.
fn manual(kind: StreamType) -> DialogueParams {
    DialogueParams::new(kind)
        .end_of_command("^[0-9]+ .*\r\n")
        .capability_command("EHLO me\r\n")
        .success("^220")
        .starttls_function(|capabilities| {
            let offer = Regexp::new("STARTTLS").expect("it is well formed");
            // A careless function: the machine has to keep its command to one line.
            offer.is_match(capabilities).then(|| capabilities.to_vec())
        })
}

/// A dialogue with what it was seen to do.
struct Watched {
    dialogue: Dialogue,
    kind: StreamType,
    is_text: bool,
    /// Whether a handshake is awaited, by what was polled.
    is_shaking: bool,
    /// Whether TLS runs.
    is_secured: bool,
    end: Option<Step>,
}

impl Watched {
    /// Does what it says until it says nothing; a last step stays where it is while more may belong to it.
    fn poll(&mut self, also_the_end: bool) {
        while also_the_end || self.dialogue.stage().is_some() {
            let Some(step) = self.dialogue.poll() else { return };
            assert!(self.end.is_none(), "{step:?} behind the end");
            match &step {
                Step::Send(bytes) => self.sends(bytes),
                Step::StartTls => self.is_shaking = true,
                Step::Reconnect => {
                    assert_eq!(self.kind, StreamType::Network, "nobody else goes on in clear");
                    (self.is_shaking, self.is_secured) = (false, false);
                }
                Step::Done(outcome) => self.done(outcome),
                Step::Failed(failure) => {
                    let text = failure.to_string();
                    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                    assert!(is_plain, "{text:?} is fit for a terminal");
                    self.end = Some(step);
                    continue;
                }
                other => panic!("{other:?} is new"),
            }
            if matches!(step, Step::Done(_)) {
                self.end = Some(step);
            }
        }
    }

    fn sends(&self, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "nothing is no command");
        let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        let is_line = !body.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        assert!(is_line || !self.is_text, "{} is one line", bytes.escape_ascii());
    }

    fn done(&self, outcome: &Outcome) {
        let is_tls = outcome.kind == StreamKind::Tls;
        assert_eq!(is_tls, self.is_secured, "it says what it is");
        let insists = matches!(self.kind, StreamType::StartTls | StreamType::Tls);
        assert!(is_tls || !insists, "{:?} ended in clear", self.kind);
        for told in [&outcome.greeting, &outcome.capabilities].into_iter().flatten() {
            assert!(told.len() <= RESPONSE_LEN_MAX, "{} bytes were kept", told.len());
        }
    }

    fn meets(&mut self, act: &Act, cut: bool) {
        match act {
            Act::Hears(bytes) if cut => {
                for byte in bytes {
                    self.hears(&[*byte]);
                    self.poll(false);
                }
            }
            Act::Hears(bytes) => self.hears(bytes),
            Act::Secures => {
                self.poll(false);
                self.is_secured |= self.dialogue.stage() == Some(Stage::Handshake);
                self.is_shaking = false;
                self.dialogue.tls_done();
            }
            Act::FailsToSecure => {
                self.poll(false);
                self.is_shaking = false;
                self.dialogue.tls_failed("it was not to be");
            }
            Act::LosesPeer => {
                self.poll(false);
                self.dialogue.peer_closed();
            }
            Act::IsLate => self.dialogue.timed_out(),
        }
        self.poll(false);
    }

    fn hears(&mut self, bytes: &[u8]) {
        let was_shaking = self.is_shaking && self.dialogue.stage() == Some(Stage::Handshake);
        self.dialogue.receive(bytes);
        if was_shaking && !bytes.is_empty() {
            assert_eq!(self.dialogue.stage(), None, "clear text during a handshake is fatal");
        }
    }
}

/// Checks a client's dialogue: it keeps its promises whatever the server does, and comes to the same end
/// however the server's words are cut. Returns that end.
///
/// # Panics
///
/// When one of these does not hold.
pub fn client(input: &[u8]) -> Option<Step> {
    let ends = [false, true].map(|cut| {
        let mut source = Source::new(input);
        let (params, kind, is_text) = params(&mut source);
        let Ok(dialogue) = Dialogue::new(params) else { return None };
        let (is_shaking, is_secured, end) = (false, false, None);
        let mut watched = Watched { dialogue, kind, is_text, is_shaking, is_secured, end };
        watched.poll(false);
        while !source.is_dry() {
            let act = act(&mut source);
            watched.meets(&act, cut);
        }
        watched.poll(true);
        let stage = watched.dialogue.stage();
        assert!(stage.is_none() || watched.end.is_none(), "an end is one");
        Some((watched.end, stage))
    });
    let [whole, cut] = ends;
    assert_eq!(whole, cut, "it depends on how the words were cut");
    whole?.0
}

/// What a server's dialogue came to: all it sent, how it ended, and whether it goes on.
#[derive(PartialEq, Debug)]
struct Served {
    sent: Vec<u8>,
    end: Option<ServerStep>,
}

/// Checks a server's dialogue: it answers in lines of its own, whatever the client says and however that
/// is cut, and hears nothing in clear behind the command that starts TLS.
///
/// # Panics
///
/// When one of these does not hold.
pub fn server(input: &[u8]) {
    let mut source = Source::new(input);
    let protocols = [ServerProtocol::Smtp, ServerProtocol::Imap, ServerProtocol::Pop3];
    let protocol = protocols[usize::from(source.byte()) % protocols.len()];
    let clear_text = [ClearText::Refused, ClearText::Dropped][usize::from(source.byte()) % 2];
    let max = usize::from(source.byte()).max(1);
    let words = source.0;
    let [whole, cut] = [words.len().max(1), 1].map(|len| {
        let dialogue = ServerDialogue::new(protocol, "mail.example\r\nx");
        let mut dialogue = dialogue.clear_text(clear_text).line_len_max(max);
        let mut served = Served { sent: Vec::new(), end: None };
        serve(&mut dialogue, &mut served);
        for piece in words.chunks(len) {
            dialogue.receive(piece);
            serve(&mut dialogue, &mut served);
        }
        served
    });
    assert_eq!(whole.end, cut.end, "it depends on how the words were cut");
    if !matches!(whole.end, Some(ServerStep::Failed(_))) {
        assert_eq!(whole.sent, cut.sent, "so do its answers");
    }
    for served in [whole, cut] {
        let lines = served.sent.split_inclusive(|&byte| byte == b'\n');
        for line in lines {
            let body = line.strip_suffix(b"\r\n").expect("answers are lines");
            assert!(body.iter().all(|byte| matches!(byte, b' '..=b'~')), "{body:?}");
        }
    }
}

/// Does what it says, and keeps the end of it.
fn serve(dialogue: &mut ServerDialogue, served: &mut Served) {
    while let Some(step) = dialogue.poll() {
        let is_over = matches!(served.end, Some(ServerStep::Close | ServerStep::Failed(_)));
        assert!(!is_over, "{step:?} behind the end");
        if let ServerStep::Send(bytes) = step {
            assert_eq!(served.end, None, "nothing is said behind the answer to STARTTLS");
            served.sent.extend(bytes);
        } else {
            served.end = Some(step);
        }
    }
}
