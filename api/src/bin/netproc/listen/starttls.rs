//! A connection that is served in clear until its client starts TLS, and then echoes inside it.
//!
//! Invariant: what came in clear never gets into the echo. Which commands there are is the dialogue's
//! business; of those inside TLS only the question that clients ask first is answered, what else comes
//! is echoed. The coding is that of what is echoed: commands and that question are bytes, and decide nothing of
//! it. So the process has none.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    Coding, Event, Process, SendError, Text, Timer, TlsServer,
    stream::{ServerDialogue, ServerProtocol, ServerStep},
};

use super::echo;
use crate::talk::say_event;

/// How long a client may take to start TLS.
const CLEAR_WITHIN: Duration = Duration::from_secs(30);

/// Greets a new client and lets its input go to the dialogue; `coding` is that of the echo, and `verbose` tells of
/// its events.
pub(super) fn begin(
    client: &Process,
    protocol: ServerProtocol,
    tls: TlsServer,
    coding: Option<Coding>,
    verbose: bool,
) -> Result<(), SendError> {
    let id = client.id();
    let limit = client.runtime().run_after(CLEAR_WITHIN, move |rt| {
        if let Some(client) = rt.process_by_id(id) {
            client.delete();
        }
    });
    let dialogue = RefCell::new(ServerDialogue::new(protocol, "localhost"));
    let limit = Cell::new(Some(limit));
    let clear = Clear { protocol, dialogue, tls, coding, verbose, limit };
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
    verbose: bool,
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
                    let recoder = self.coding.map(|coding| recode(client, coding, self.verbose));
                    serve_inside(client, self.protocol, recoder);
                }
                // It has taken leave, or spoke where or how it may not.
                Some(_) => client.delete(),
                None => return Ok(()),
            }
        }
    }
}

/// What gives back in one coding what came in another.
type Recoder = Rc<dyn Fn(&Process, Option<&[u8]>)>;

/// What recodes for `client`, whose end brings out what its last character lacks.
fn recode(client: &Process, coding: Coding, verbose: bool) -> Recoder {
    let state = RefCell::new((coding.decoder(), coding.encoder()));
    let recoder: Recoder = Rc::new(move |client, input| {
        let (decoder, encoder) = &mut *state.borrow_mut();
        let (mut text, mut bytes) = (Text::new(), Vec::new());
        match input {
            Some(input) => decoder.decode(input, &mut text),
            None => decoder.finish(&mut text),
        }
        encoder.encode(&text, &mut bytes);
        // Whoever hears no answer is gone, which ends this.
        let _ = client.send(bytes);
    });
    let last = Rc::clone(&recoder);
    client.set_half_open(true);
    client.set_sentinel(move |client, event| {
        if verbose {
            say_event(client, event);
        }
        if let Event::PeerFinished = event {
            last(client, None);
            let _ = client.send_eof();
        }
    });
    recoder
}

/// Echoes, but for a question about capabilities if nothing else comes first: whoever has started TLS
/// has to ask again.
fn serve_inside(client: &Process, protocol: ServerProtocol, recoder: Option<Recoder>) {
    let is_first = Cell::new(true);
    client.set_filter(move |client, input| {
        let asked = is_first.replace(false).then(|| capabilities(protocol, &input)).flatten();
        match (asked, &recoder) {
            // Whoever hears no answer is gone, which ends this.
            (Some(answer), _) => _ = client.send(answer),
            (None, None) => echo(client, input),
            (None, Some(recoder)) => recoder(client, Some(&input)),
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
