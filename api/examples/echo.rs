//! The first program: an echo server whose filter forwards the receive memory without a copy.
//!
//! A client in the same runtime tries it, so that the example ends by itself.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use netproc::{Runtime, Service};

fn main() -> netproc::Result<()> {
    let rt = Runtime::new()?;
    let echo = rt
        .server("echo")
        .host("127.0.0.1")
        .service(Service::Any)
        .filter(|process, input| process.send(input))
        .start()?;
    println!("{} on {}: {}", echo.name(), rt.backend(), echo.contact().local());

    let client = rt
        .client("client")
        .remote(echo.contact().local().clone())
        .filter(|process, input| {
            println!("came back: {}", String::from_utf8_lossy(&input));
            process.runtime().shutdown();
        })
        .start()?;
    client.send("hello")?;
    rt.run()
}
