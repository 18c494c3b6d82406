//! State of its own for every connection: a server that numbers the lines each client sends.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use netproc::{Event, Process, Runtime};

fn main() -> netproc::Result<()> {
    let rt = Runtime::new()?;
    let server = rt
        .server("numbers")
        .on_accept(|_server, connection| {
            let (mut line, mut number) = (Vec::new(), 0);
            connection.set_filter_mut(move |connection: &Process, input| {
                // One input has up to 64 KiB, which is thousands of lines: all answers go at once, since a peer that
                // does not read them is given no further call, but in this one the queue may run full.
                let mut answers = String::new();
                for &byte in input.iter() {
                    line.push(byte);
                    if byte == b'\n' {
                        number += 1;
                        answers += &format!("{number} {}", String::from_utf8_lossy(&line));
                        line.clear();
                    }
                }
                connection.send(answers).map(drop)
            })
        })
        .sentinel(|process, event| print!("{}: {event}", process.name()))
        .start()?;

    let client = rt.client("client").remote(server.contact().local().clone()).start()?;
    client.send("first\nsec")?;
    client.send("ond\n")?;
    let mut answer = String::new();
    while !answer.ends_with("2 second\n") {
        match rt.next_event_of(&client, Duration::from_secs(5))? {
            Some(Event::Input(input)) => answer.push_str(&String::from_utf8_lossy(&input)),
            other => panic!("no answer: {other:?}"),
        }
    }
    print!("{answer}");
    client.delete();
    server.delete();
    rt.run()
}
