//! A connection that is served in clear until its client starts TLS, and then echoes inside it.
//!
//! Invariant: what came in clear never gets into the echo. Which commands there are is the dialogue's
//! business; of those inside TLS only the question that clients ask first is answered, what else comes
//! is echoed. The coding is that of what is echoed: commands and that question are bytes, and decide nothing of
//! it. So the process has none.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use netproc::{
    Coding, Process, SendError, Text, Timer, TlsServer,
    stream::{ServerDialogue, ServerProtocol, ServerStep},
};

use super::echo;

/// How long a client may take to start TLS.
const CLEAR_WITHIN: Duration = Duration::from_secs(30);

/// Greets a new client and lets its input go to the dialogue; `coding` is that of the echo.
pub(super) fn begin(
    client: &Process,
    protocol: ServerProtocol,
    tls: TlsServer,
    coding: Option<Coding>,
) -> Result<(), SendError> {
    let id = client.id();
    let limit = client.runtime().run_after(CLEAR_WITHIN, move |rt| {
        if let Some(client) = rt.process_by_id(id) {
            client.delete();
        }
    });
    let dialogue = RefCell::new(ServerDialogue::new(protocol, "localhost"));
    let clear = Clear { protocol, dialogue, tls, coding, limit: Cell::new(Some(limit)) };
    clear.play(client)?;
    client.set_filter(move |client, input| {
        clear.dialogue.borrow_mut().receive(&input);
        clear.play(client)
    });
    Ok(())
}

/// A connection in clear.
struct Clear {
    protocol: ServerProtocol,
    dialogue: RefCell<ServerDialogue>,
    tls: TlsServer,
    /// That of the echo.
    coding: Option<Coding>,
    /// What ends it when it takes too long.
    limit: Cell<Option<Timer>>,
}

impl Clear {
    /// Does what the dialogue asks for.
    fn play(&self, client: &Process) -> Result<(), SendError> {
        loop {
            let step = self.dialogue.borrow_mut().poll();
            match step {
                Some(ServerStep::Send(answer)) => drop(client.send(answer)?),
                Some(ServerStep::StartTls) if client.upgrade(self.tls.clone()).is_ok() => {
                    self.limit.take().map(Timer::cancel);
                    serve_inside(client, self.protocol, self.coding);
                }
                // It has taken leave, or spoke where or how it may not.
                Some(_) => client.delete(),
                None => return Ok(()),
            }
        }
    }
}

/// Echoes, but for a question about capabilities if nothing else comes first: whoever has started TLS
/// has to ask again.
fn serve_inside(client: &Process, protocol: ServerProtocol, coding: Option<Coding>) {
    let is_first = Cell::new(true);
    let recoder = coding.map(|coding| RefCell::new((coding.decoder(), coding.encoder())));
    client.set_filter(move |client, input| {
        let asked = is_first.replace(false).then(|| capabilities(protocol, &input)).flatten();
        match (asked, &recoder) {
            // Whoever hears no answer is gone, which ends this.
            (Some(answer), _) => _ = client.send(answer),
            (None, None) => echo(client, input),
            (None, Some(recoder)) => {
                let (decoder, encoder) = &mut *recoder.borrow_mut();
                let (mut text, mut bytes) = (Text::new(), Vec::new());
                decoder.decode(&input, &mut text);
                encoder.encode(&text, &mut bytes);
                let _ = client.send(bytes);
            }
        }
    });
}

/// What is said to `line` if it is nothing but the question for capabilities.
fn capabilities(protocol: ServerProtocol, line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        return None;
    }
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (is_asked, answer) = match protocol {
        ServerProtocol::Smtp => (first.eq_ignore_ascii_case("EHLO"), "250 localhost\r\n".into()),
        ServerProtocol::Imap => {
            let answer = format!("* CAPABILITY IMAP4rev1\r\n{first} OK done\r\n");
            (rest.eq_ignore_ascii_case("CAPABILITY"), answer)
        }
        ServerProtocol::Pop3 => (line.eq_ignore_ascii_case("CAPA"), "+OK\r\n.\r\n".into()),
        _ => return None,
    };
    is_asked.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_for_capabilities_is_answered() {
        use ServerProtocol::{Imap, Pop3, Smtp};
        let cases = [
            (Smtp, "EHLO me\r\n", Some("250 localhost\r\n")),
            (Smtp, "ehlo me\n", Some("250 localhost\r\n")),
            (Smtp, "EHLO me\r\nNOOP\r\n", None),
            (Smtp, "EHLO me", None),
            (Smtp, "HELLO me\r\n", None),
            (Imap, "C1 capability\r\n", Some("* CAPABILITY IMAP4rev1\r\nC1 OK done\r\n")),
            (Imap, "CAPABILITY\r\n", None),
            (Pop3, "CAPA\r\n", Some("+OK\r\n.\r\n")),
            (Pop3, "CAPABLE\r\n", None),
        ];
        for (protocol, line, answer) in cases {
            let said = capabilities(protocol, line.as_bytes());
            assert_eq!(said.as_deref(), answer, "{line:?}");
        }
    }
}
