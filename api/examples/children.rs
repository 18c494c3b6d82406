//! Children: a filter program, one on a terminal, and how each of them ended.
//!
//! `cargo run --example children`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{cell::RefCell, rc::Rc};

use netproc::{ChildSignal, ConnectionType, Event, Process, Runtime, Status};

fn main() -> netproc::Result<()> {
    let rt = Runtime::new()?;
    let heard = Rc::new(RefCell::new(String::new()));

    // One that reads, writes, and is told when there is no more to read.
    let hears = Rc::clone(&heard);
    let sorted = rt
        .spawn_process("sort", "sort")
        .filter(move |_, input| hears.borrow_mut().push_str(&String::from_utf8_lossy(&input)))
        .sentinel(|process: &Process, event: &Event| print!("{}: {event}", process.name()))
        .start()?;
    for word in ["pear", "apple", "fig"] {
        sorted.send(format!("{word}\n"))?;
    }
    sorted.send_eof()?;
    rt.run()?; // until nothing is left to happen
    assert_eq!(heard.take(), "apple\nfig\npear\n");
    assert_eq!((sorted.status(), sorted.exit_status()), (Status::Exit, 0));

    // One that wants to talk to a human: it gets a terminal.
    let hears = Rc::clone(&heard);
    let terminal = rt
        .spawn_process("ask", "sh")
        .args(["-c", "test -t 0 && read -p 'name? ' name && echo hello $name; exit 3"])
        .connection_type(ConnectionType::Pty)
        .filter(move |process, input| {
            hears.borrow_mut().push_str(&String::from_utf8_lossy(&input));
            if input.ends_with(b"name? ") { process.send("netproc\n").map(drop) } else { Ok(()) }
        })
        .sentinel(|process: &Process, event: &Event| print!("{}: {event}", process.name()))
        .start()?;
    assert!(terminal.tty_name().is_some());
    rt.run()?;
    assert!(heard.take().ends_with("hello netproc\n"));
    assert_eq!(terminal.exit_status(), 3);

    // One that would go on for ever: stopped, resumed, and ended by a signal.
    let sleeper = rt
        .spawn_process("sleep", "sleep")
        .arg("1000")
        .sentinel(|process: &Process, event: &Event| -> netproc::Result<()> {
            println!("{}: {}", process.name(), event.to_string().trim_end());
            if let Event::Stopped(_) = event {
                process.resume();
            } else if *event == Event::Continued {
                process.signal(ChildSignal::TERM)?;
            }
            Ok(())
        })
        .start()?;
    sleeper.stop();
    rt.run()?;
    assert_eq!(
        (sleeper.status(), sleeper.exit_status()),
        (Status::Signal, ChildSignal::TERM.number())
    );
    println!("three children on {}, and none is left", rt.backend());
    Ok(())
}
