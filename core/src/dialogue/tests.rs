//! Tests of the dialogue: conversations as tables, run whole and in pieces.
//!
//! A conversation is a list of lines by both sides and a text that says how it ended. Those of a real
//! protocol name the document they are from.

mod cuts;
mod emacs;
mod hostile;
mod lines;
mod refusals;
mod regexp;
mod server;
mod xml_and_binary;

use std::rc::Rc;

use super::{params::ReadyEnd, *};

/// What happens next in a conversation.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// The server says this.
    S(&'static str),
    /// The server says this, which is no text.
    Bytes(&'static [u8]),
    /// The client must say exactly this.
    C(&'static str),
    /// The client must say exactly this, which is no text.
    Sends(&'static [u8]),
    /// The client must begin a handshake, which succeeds.
    Tls,
    /// The client must begin a handshake, which fails.
    TlsFails,
    /// The client must begin a handshake, and the server closes the connection.
    TlsHangsUp,
    /// The client must connect anew.
    Reconnect,
    /// The server closes the connection.
    Closes,
    /// Time is up.
    Late,
}
use Line::{Bytes, C, Closes, Late, Reconnect, S, Sends, Tls, TlsFails, TlsHangsUp};

struct Conversation {
    name: &'static str,
    params: fn() -> DialogueParams,
    script: &'static [Line],
    /// As `summary` writes it.
    end: &'static str,
}

impl Conversation {
    /// Holds it, the server's words cut by `cut`, and says how it ended.
    fn hold(&self, cut: &mut dyn FnMut(&[u8]) -> Vec<Vec<u8>>) -> String {
        let name = self.name;
        let mut dialogue = Dialogue::new((self.params)()).unwrap();
        let mut last = None;
        // What is polled between two pieces; the end may come there.
        let mut early = Vec::new();
        for line in self.script {
            let mut next =
                || if early.is_empty() { dialogue.poll() } else { Some(early.remove(0)) };
            match *line {
                C(text) => assert_eq!(next(), Some(Step::Send(text.into())), "{name}"),
                Sends(bytes) => assert_eq!(next(), Some(Step::Send(bytes.into())), "{name}"),
                Tls => {
                    assert_eq!(next(), Some(Step::StartTls), "{name}");
                    dialogue.tls_done();
                }
                TlsFails => {
                    assert_eq!(next(), Some(Step::StartTls), "{name}");
                    dialogue.tls_failed("bad certificate");
                }
                TlsHangsUp => {
                    assert_eq!(next(), Some(Step::StartTls), "{name}");
                    dialogue.peer_closed();
                }
                Reconnect => assert_eq!(next(), Some(Step::Reconnect), "{name}"),
                Closes => dialogue.peer_closed(),
                Late => dialogue.timed_out(),
                S(text) => receive(&mut dialogue, cut(text.as_bytes()), &mut early),
                Bytes(bytes) => receive(&mut dialogue, cut(bytes), &mut early),
            }
        }
        for step in early.into_iter().chain(std::iter::from_fn(|| dialogue.poll())) {
            let is_failure = matches!(step, Step::Failed(_));
            assert!(last.is_none() || is_failure, "{name}: {last:?} was not expected");
            last = Some(step);
        }
        assert_eq!(dialogue.poll(), None, "{name}");
        last.map_or_else(|| format!("waits for {}", dialogue.stage().unwrap()), |end| summary(&end))
    }
}

/// Feeds pieces and polls between them. An end stays in place: more may belong to its leftover.
fn receive(dialogue: &mut Dialogue, pieces: Vec<Vec<u8>>, early: &mut Vec<Step>) {
    for piece in pieces {
        dialogue.receive(&piece);
        while dialogue.stage().is_some()
            && let Some(step) = dialogue.poll()
        {
            early.push(step);
        }
    }
}

/// An end in one line of text.
fn summary(step: &Step) -> String {
    let text = |bytes: &[u8]| format!("{}", bytes.escape_ascii());
    let maybe = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or_else(|| "nil".into(), text);
    if let Step::Failed(failure) = step {
        return format!("failed: {failure}");
    }
    let Step::Done(outcome) = step else { return format!("{step:?}") };
    let kind = format!("{:?}", outcome.kind).to_lowercase();
    let (greeting, capabilities) = (maybe(&outcome.greeting), maybe(&outcome.capabilities));
    let error = outcome.error.as_ref().map(|error| format!(" error {error}"));
    let rest = Some(text(&outcome.leftover)).filter(|rest| !rest.is_empty());
    let rest = rest.map(|rest| format!(" left {rest}"));
    let tail = error.into_iter().chain(rest).collect::<String>();
    format!("{kind} [{greeting}] [{capabilities}]{tail}")
}

const fn one(
    name: &'static str,
    params: fn() -> DialogueParams,
    script: &'static [Line],
    end: &'static str,
) -> Conversation {
    Conversation { name, params, script, end }
}

fn whole(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![bytes.to_vec()]
}

/// Holds every conversation and compares the ends.
fn hold_all(conversations: &[Conversation]) {
    for conversation in conversations {
        assert_eq!(conversation.hold(&mut whole), conversation.end, "{}", conversation.name);
    }
}

/// The parameters of the manual's example, more or less.
fn manual(kind: StreamType) -> DialogueParams {
    DialogueParams::new(kind)
        .end_of_command("^[0-9]+ .*\r\n")
        .capability_command("EHLO me\r\n")
        .success("^220")
        .starttls_function(|capabilities| {
            let offer = Regexp::new("STARTTLS").unwrap();
            offer.is_match(capabilities).then(|| b"STARTTLS\r\n".to_vec())
        })
}

/// An end that can be looked for.
fn ready(regexp: Regexp) -> ReadyEnd {
    ReadyEnd::Regexp(Rc::new(regexp))
}
