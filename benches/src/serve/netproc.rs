//! The server under test: netproc through its public interface, as its users would write it.

use std::io;

use netproc::{Backend, Runtime};

use super::{say, watch_stdin};

/// Its own counters, as the parent reads them.
fn counters(rt: &Runtime) -> String {
    serde_json::json!({ "syscalls": rt.stats().syscalls }).to_string()
}

pub(super) fn serve(backend: Backend) -> io::Result<()> {
    let rt = Runtime::builder().backend(backend).build().map_err(io::Error::other)?;
    let server = rt.server("echo").host("127.0.0.1").nodelay(true);
    let server = server.backlog(1024).filter(|process, input| process.send(input));
    let server = server.start().map_err(io::Error::other)?;
    let port = server.contact().local().port().unwrap_or_default();
    let (asking, ending) = (rt.handle(), rt.handle());
    let on_line = move || {
        let answer = |rt: &Runtime| {
            if say(&counters(rt)).is_err() {
                rt.shutdown(); // the parent is gone
            }
        };
        asking.post(answer).map_err(io::Error::other)
    };
    let on_end = move || {
        // A runtime that is already gone needs no shutdown.
        let _gone = ending.shutdown();
    };
    say(&port.to_string())?;
    watch_stdin(on_line, on_end);
    rt.run().map_err(io::Error::other)
}
