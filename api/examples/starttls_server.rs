//! A server that speaks the beginning of SMTP, upgrades to TLS when asked, and repeats what it is told.
//!
//! `starttls_server PORT CERT KEY`: a port of the loopback address, 0 for any, and PEM files of a
//! certificate chain and its key. Without arguments it says so.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{cell::RefCell, error::Error};

use netproc::{
    Process, Runtime, TlsIdentity, TlsServer,
    stream::{ServerDialogue, ServerProtocol, ServerStep},
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, certificate, key] = &args[..] else {
        println!("usage: starttls_server PORT CERT KEY");
        return Ok(());
    };
    let tls = TlsServer::builder(TlsIdentity::from_files(certificate, key)?).build()?;
    let rt = Runtime::new()?;
    let server = rt
        .server("mail")
        .host("127.0.0.1")
        .service(port.parse::<u16>()?)
        .on_accept(move |_, connection| begin(connection, tls.clone()))
        .start()?;
    println!("listening on {}", server.contact().local());
    rt.run()?;
    Ok(())
}

/// A dialogue for a new connection, in clear until its client asks for more.
fn begin(connection: &Process, tls: TlsServer) -> netproc::Result<()> {
    let dialogue = RefCell::new(ServerDialogue::new(ServerProtocol::Smtp, "localhost"));
    let talk = move |connection: &Process, said: &[u8]| -> netproc::Result<()> {
        dialogue.borrow_mut().receive(said);
        loop {
            let step = dialogue.borrow_mut().poll();
            match step {
                Some(ServerStep::Send(answer)) => drop(connection.send(answer)?),
                Some(ServerStep::StartTls) => upgrade(connection, &tls),
                Some(ServerStep::Close) => connection.delete(),
                // It spoke in clear where none may be spoken, or without end.
                Some(_) => connection.delete(),
                None => return Ok(()),
            }
        }
    };
    talk(connection, b"")?;
    connection.set_filter(move |connection, input| talk(connection, &input));
    Ok(())
}

/// From here on everything passes TLS; until its handshake is done nothing is read.
fn upgrade(connection: &Process, tls: &TlsServer) {
    if connection.upgrade(tls.clone()).is_err() {
        return connection.delete();
    }
    let mut line = Vec::new();
    let inside = connection.set_filter_mut(move |connection, input| -> netproc::Result<()> {
        for &byte in input.iter() {
            line.push(byte);
            if byte == b'\n' {
                let said = String::from_utf8_lossy(line.trim_ascii()).into_owned();
                line.clear();
                connection.send(format!("250 you said {said}\r\n"))?;
            } else if line.len() > 8192 {
                connection.delete();
                return Ok(());
            }
        }
        Ok(())
    });
    debug_assert!(inside.is_ok(), "it is no server");
}
