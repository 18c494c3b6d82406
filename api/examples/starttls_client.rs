//! A client that upgrades to TLS as mail does, proves its server, and tells how the stream ended.
//!
//! `starttls_client HOST PORT TYPE CA NAME SECRET TIMEOUT`: TYPE is `starttls`, `network` (in clear if the
//! server cannot do better) or `tls`; only the authorities in the PEM file CA are trusted, for the name
//! NAME; nothing is waited for longer than TIMEOUT seconds. Without arguments it says so.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{error::Error, time::Duration};

use netproc::{
    Event, Reason, Runtime, TlsClient, TlsTrust,
    stream::{DialogueParams, OpenStreamError, Opened, StreamKind, StreamType},
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, kind, authorities, name, secret, timeout] = &args[..] else {
        println!("usage: starttls_client HOST PORT TYPE CA NAME SECRET TIMEOUT");
        return Ok(());
    };
    let timeout = Duration::from_secs_f64(timeout.parse()?);
    let tls = TlsClient::builder(&**name).trust(TlsTrust::from_file(authorities)?).build()?;
    let rt = Runtime::new()?;
    let opened = rt
        .open_stream("mail", host, port.parse::<u16>()?)
        .dialogue(dialogue(kind.parse()?))
        .layers(tls)
        .within(timeout)
        .start();
    match opened {
        Ok(opened) => talk(&rt, &opened, secret, timeout),
        Err(err) => {
            println!("failed {}", reason(&err));
            std::process::exit(1)
        }
    }
}

/// What a server that speaks as SMTP's do is told, and what it has to say.
fn dialogue(kind: StreamType) -> DialogueParams {
    let answer = "^[0-9]+ .*\r\n";
    DialogueParams::new(kind)
        .end_of_command(answer)
        .capability_command("EHLO me\r\n")
        .starttls_function(|capabilities| {
            let offers = capabilities.windows(8).any(|word| word.eq_ignore_ascii_case(b"STARTTLS"));
            offers.then(|| b"STARTTLS\r\n".to_vec())
        })
        .success("^220")
}

fn talk(
    rt: &Runtime,
    opened: &Opened,
    secret: &str,
    timeout: Duration,
) -> Result<(), Box<dyn Error>> {
    let kind = if opened.kind == StreamKind::Tls { "tls" } else { "plain" };
    let (greeting, capabilities) = (shown(&opened.greeting), shown(&opened.capabilities));
    println!("open type={kind} greeting={greeting} capabilities={capabilities}");
    let process = &opened.process;
    process.send(format!("{secret}\r\n"))?;
    let mut text = opened.leftover.clone();
    let mut told = 0;
    let end = loop {
        while let Some(len) = text[told..].iter().position(|&byte| byte == b'\n') {
            println!("reply {}", text[told..told + len].trim_ascii_end().escape_ascii());
            told += len + 1;
        }
        match rt.next_event_of(process, timeout)? {
            Some(Event::Input(input)) => text.extend_from_slice(&input),
            Some(Event::Broken { reason, .. }) => break reason,
            Some(_) => {}
            // Nothing more comes: take leave, and see how the server does.
            None if process.is_live() && !process.is_finished() => process.send_eof()?,
            None => break Reason::Truncated,
        }
    };
    println!("end {}", if end == Reason::End { "clean" } else { "broken" });
    println!("buffer {}", text.escape_ascii());
    Ok(())
}

fn shown(text: &Option<Vec<u8>>) -> String {
    text.as_deref().unwrap_or_default().escape_ascii().to_string()
}

/// The error and its causes, on one line.
fn reason(err: &OpenStreamError) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
