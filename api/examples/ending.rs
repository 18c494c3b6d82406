//! Ends a server at SIGTERM or SIGINT, and loses nothing that was sent: the one client has much to read, and begins late.
//!
//! `cargo run --example ending`; it sends the signal to itself.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use netproc::{Limits, Runtime};
use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::getpid,
};

/// More than the system's own buffers hold.
const BYTES: usize = 16 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before the first thread, which inherits it, as do those of the library: nobody gets these signals but who
    // waits for them.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;

    let rt = Runtime::new()?;
    let handle = rt.handle();
    thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            println!("{signal}");
            // Gone if the run has ended by itself.
            let _gone = handle.shutdown();
        }
        // The second run below would wait for what it may still post.
        drop(handle);
        // Another signal ends the program at once: who sends it does not want to wait for late readers.
        if let Ok(signal) = signals.wait() {
            std::process::exit(128 + signal as i32);
        }
    });

    // How long a peer may take to read what is left; 30 seconds if nobody says.
    let mut limits = Limits::default();
    limits.flush_within = Duration::from_secs(20);
    let server = rt
        .server("s")
        .limits(limits)
        .on_accept(|_, connection| {
            connection.send(vec![7; BYTES])?;
            kill(getpid(), Signal::SIGTERM).expect("it is ours");
            Ok::<(), netproc::SendError>(())
        })
        .start()?;
    let address = server.contact().local().socket_addr().expect("it is on IP");
    let (ended, wait) = channel();
    let client = thread::spawn(move || read_late(address, &wait));

    rt.run()?; // until the signal
    ended.send(())?;
    println!("{} bytes wait", rt.process_list().iter().map(netproc::Process::queued).sum::<u64>());
    rt.close(); // nobody is served any more; behind TLS every peer is told that nothing follows
    rt.run()?; // until what waits is sent, or its time is over
    drop((server, rt));
    assert_eq!(client.join().expect("it only reads")?, BYTES);
    Ok(())
}

/// Reads nothing before the server has come to its end.
fn read_late(address: SocketAddr, ended: &Receiver<()>) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    // An error: it has failed before.
    let _failed = ended.recv();
    stream.read_to_end(&mut Vec::new())
}
