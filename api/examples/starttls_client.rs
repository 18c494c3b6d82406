//! A client that upgrades to TLS as mail does, proves its server, and tells how the stream ended.
//!
//! `starttls_client HOST PORT TYPE CA NAME SECRET TIMEOUT`: TYPE is `starttls`, `network` (in clear if the
//! server cannot do better) or `tls`; only the authorities in the PEM file CA are trusted, for the name
//! NAME; no step takes longer than TIMEOUT seconds. Without arguments it says so.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use netproc::{
    Event, Reason, Runtime, TlsClient, TlsTrust,
    stream::{DialogueParams, Opened, StreamKind, StreamType},
};

/// How long an opening may take as a whole, unless one step of it may take longer.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// The most that is kept of what a server says.
const TEXT_LEN_MAX: usize = 1 << 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, kind, authorities, name, secret, timeout] = &args[..] else {
        println!("usage: starttls_client HOST PORT TYPE CA NAME SECRET TIMEOUT");
        return if args.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let opened = within(timeout).and_then(|timeout| {
        let rt = Runtime::new()?;
        let opened = open(&rt, [host, port, kind, authorities, name], timeout)?;
        talk(&rt, &opened, secret, timeout)
    });
    opened.map_or_else(
        |err| {
            println!("failed {}", reason(&*err));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn within(seconds: &str) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

/// Whatever is wrong with the arguments is said before anybody is connected to.
fn open(
    rt: &Runtime,
    [host, port, kind, authorities, name]: [&String; 5],
    step: Duration,
) -> Result<Opened, Box<dyn Error>> {
    let kind = match &**kind {
        "starttls" => StreamType::StartTls,
        "network" => StreamType::Network,
        "tls" => StreamType::Tls,
        other => return Err(format!("{other} is no type: starttls, network or tls").into()),
    };
    let tls = TlsClient::builder(name).trust(TlsTrust::from_file(authorities)?).build()?;
    let stream = rt.open_stream("mail", host, port.parse::<u16>()?).dialogue(dialogue(kind));
    Ok(stream.layers(tls).step_within(step).within(step.max(OPEN_WITHIN)).start()?)
}

/// What a server that speaks as SMTP's do is told, and what it has to say.
fn dialogue(kind: StreamType) -> DialogueParams {
    DialogueParams::new(kind)
        .end_of_command("^[0-9]+ .*\r\n")
        .capability_command("EHLO me\r\n")
        .starttls_function(|capabilities| {
            let mut lines = capabilities.split(|&byte| byte == b'\n');
            lines.any(is_offer).then(|| b"STARTTLS\r\n".to_vec())
        })
        .success("^220")
}

/// Whether a line of an answer that says yes offers STARTTLS, and nothing that only looks like it.
fn is_offer(line: &[u8]) -> bool {
    let word = line.strip_prefix(b"250-").or_else(|| line.strip_prefix(b"250 "));
    word.is_some_and(|word| word.trim_ascii_end().eq_ignore_ascii_case(b"STARTTLS"))
}

/// Says the secret and hears what comes of it; then takes leave, if the server has not.
fn talk(
    rt: &Runtime,
    opened: &Opened,
    secret: &str,
    timeout: Duration,
) -> Result<(), Box<dyn Error>> {
    let kind = if opened.kind == StreamKind::Tls { "tls" } else { "plain" };
    let shown = |text: &Option<Vec<u8>>| shown(text.as_deref().unwrap_or_default());
    let (greeting, capabilities) = (shown(&opened.greeting), shown(&opened.capabilities));
    println!("open type={kind} greeting={greeting} capabilities={capabilities}");
    let process = &opened.process;
    // A connection that has ended meanwhile says so below.
    let _ = process.send(format!("{secret}\r\n"));
    let (mut text, mut told) = (opened.leftover.clone(), 0);
    let mut until = Instant::now() + timeout;
    let end = loop {
        while let Some(len) = text[told..].iter().position(|&byte| byte == b'\n') {
            println!("reply {}", self::shown(text[told..told + len].trim_ascii_end()));
            told += len + 1;
        }
        let left = until.saturating_duration_since(Instant::now());
        let next = if left.is_zero() { None } else { rt.next_event_of(process, left)? };
        match next {
            Some(Event::Input(input)) if text.len() + input.len() > TEXT_LEN_MAX => {
                break Reason::Truncated;
            }
            Some(Event::Input(input)) => text.extend_from_slice(&input),
            Some(Event::Broken { reason, .. }) => break reason,
            Some(_) => {}
            None if process.is_live() && !process.is_finished() => {
                process.send_eof()?;
                until = Instant::now() + timeout;
            }
            None => break Reason::Truncated,
        }
    };
    println!("end {}", if end == Reason::End { "clean" } else { "broken" });
    println!("buffer {}", self::shown(&text));
    Ok(())
}

/// Text of a peer, on one line and without power over a terminal.
fn shown(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in String::from_utf8_lossy(text).chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The error and its causes, on one line.
fn reason(err: &dyn Error) -> String {
    let causes = std::iter::successors(Some(err), |&err| err.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
