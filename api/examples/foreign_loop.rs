//! A loop of your own drives the runtime: sleep on its descriptor, turn it when that is readable.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{Error, Runtime};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> netproc::Result<()> {
    let rt = Runtime::new()?;
    let echo = rt.server("echo").filter(|process, input| process.send(input)).start()?;
    let done = Rc::new(Cell::new(false));
    let answered = Rc::clone(&done);
    let client = rt
        .client("client")
        .remote(echo.contact().local().clone())
        .filter(move |_, input| answered.set(&input[..] == b"ping"))
        .start()?;
    let fd = match rt.as_fd() {
        Err(Error::NoDescriptor(backend)) => {
            println!("{backend} has no descriptor to sleep on");
            return Ok(());
        }
        fd => fd?,
    };
    client.send("ping")?;
    while !done.get() {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(5000u16)).expect("poll(2) works");
        assert_eq!(ready, 1, "the runtime had something to do within 5 seconds");
        rt.turn(Duration::ZERO)?;
    }
    println!("answered, driven by poll(2) over {}", rt.backend());
    Ok(())
}
