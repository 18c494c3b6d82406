//! A server that speaks the beginning of SMTP, upgrades to TLS when asked, and repeats what it is told.
//!
//! `starttls_server PORT CERT KEY`: a port of the loopback address, 0 for any, and PEM files of a
//! certificate chain and its key. Without arguments it says so.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{cell::RefCell, error::Error, time::Duration};

use netproc::{
    Process, Runtime, TlsIdentity, TlsServer,
    stream::{ServerDialogue, ServerProtocol, ServerStep},
};

/// How long a client may take to ask for TLS. Its handshake has a limit of its own.
const CLEAR_WITHIN: Duration = Duration::from_secs(60);

/// The longest line that is repeated, its end included.
const LINE_LEN_MAX: usize = 64 * 1024;

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
        // Without one the end of each connection would wait for somebody to ask for it.
        .sentinel(|_, _| {})
        .start()?;
    let local = server.contact().local().socket_addr().ok_or("it is no address of IP")?;
    println!("listening on {local}");
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
                // It has taken leave; or it spoke in clear where none may be spoken, or without end.
                Some(_) => connection.delete(),
                None => return Ok(()),
            }
        }
    };
    talk(connection, b"")?;
    connection.set_filter(move |connection, input| talk(connection, &input));
    let id = connection.id();
    connection.runtime().run_after(CLEAR_WITHIN, move |rt| {
        let late = rt.process_by_id(id).filter(|it| it.get("upgraded").is_none());
        if let Some(late) = late {
            late.delete();
        }
    });
    Ok(())
}

/// From here on everything passes TLS; until its handshake is done nothing is read.
fn upgrade(connection: &Process, tls: &TlsServer) {
    if connection.upgrade(tls.clone()).is_err() {
        return connection.delete();
    }
    connection.put("upgraded", true);
    let mut line = Vec::new();
    let inside = connection.set_filter_mut(move |connection, input| -> netproc::Result<()> {
        for &byte in input.iter() {
            line.push(byte);
            if byte == b'\n' {
                let said = line.strip_suffix(b"\r\n").unwrap_or(&line[..line.len() - 1]);
                let answer = [b"250 you said ", said, b"\r\n"].concat();
                line.clear();
                connection.send(answer)?;
            } else if line.len() == LINE_LEN_MAX {
                connection.delete();
                return Ok(());
            }
        }
        Ok(())
    });
    debug_assert!(inside.is_ok(), "it is no server");
}
