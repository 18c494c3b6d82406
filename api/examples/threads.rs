//! Another thread posts calls into a runtime; between two deliveries they run on its thread.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{thread, time::Duration};

use netproc::{Runtime, Status};

fn main() -> netproc::Result<()> {
    let rt = Runtime::new()?;
    let server = rt.server("s").start()?;
    let to = server.contact().local().clone();
    let handle = rt.handle();
    let worker = thread::spawn(move || {
        for number in 0..3 {
            let to = to.clone();
            handle.post(move |rt| {
                let name = format!("client {number}");
                // A blocking start inside a posted call: others are served meanwhile.
                let client = rt.client(&name).remote(to).start().expect("the server listens");
                println!("{} is {}", client.name(), client.status());
            })?;
        }
        handle.shutdown()
    });
    rt.run()?;
    worker.join().expect("the thread does not panic")?;
    while rt.turn(Duration::from_millis(50))? {}
    let open = rt.process_list().iter().filter(|p| p.status() == Status::Open).count();
    assert_eq!(open, 6, "three clients and their three connections");
    rt.close();
    Ok(())
}
