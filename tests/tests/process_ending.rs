//! How a program ends a runtime, as the README says it: what was queued goes out behind `close`, and without it not.
#![cfg(unix)]

use std::thread;

use netproc::{
    Backend, Event, Process, Reason, Runtime, SendError, TlsClient, TlsIdentity, TlsServer,
    TlsTrust,
};
use netproc_tests::rig::PATIENCE;

/// More than the system's own buffers hold.
const BYTES: usize = 16 << 20;

/// What a client under TLS hears of a server that ends with so much unsent: how many bytes, and which end.
fn heard(
    backend: Backend,
    end: impl FnOnce(&Runtime) -> netproc::Result<()>,
) -> Result<(usize, Reason), Box<dyn std::error::Error>> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
    let trust = TlsTrust::from_pem(pair.cert.pem())?;
    let rt = Runtime::builder().backend(backend).build()?;
    let server = rt
        .server("s")
        .tls(TlsServer::builder(identity).build()?)
        .sentinel(|process: &Process, event: &Event| {
            if let Event::OpenFrom(_) = event {
                process.send(vec![7; BYTES])?;
                process.runtime().shutdown();
            }
            Ok::<(), SendError>(())
        })
        .start()?;
    let to = server.contact().local().clone();
    let client = thread::spawn(move || {
        let rt = Runtime::builder().backend(backend).build().expect("it works here");
        let tls = TlsClient::builder("localhost").trust(trust).build().expect("it is in order");
        let client = rt.client("c").remote(to).tls(tls).start().expect("somebody is there");
        let mut len = 0;
        loop {
            match rt.next_event_of(&client, PATIENCE).expect("the runtime works") {
                Some(Event::Input(input)) => len += input.len(),
                Some(Event::Broken { reason, .. }) => return (len, reason),
                Some(_) => {}
                None => panic!("there is no end behind {len} bytes"),
            }
        }
    });
    rt.run()?;
    end(&rt)?;
    drop((server, rt));
    Ok(client.join().expect("it only listens"))
}

#[test]
fn what_was_queued_goes_out_behind_close_and_is_lost_without_it()
-> Result<(), Box<dyn std::error::Error>> {
    for backend in Backend::available() {
        let all = heard(backend, |rt| {
            rt.close();
            rt.run()
        });
        assert_eq!(all?, (BYTES, Reason::End), "{backend}");
        let (len, reason) = heard(backend, |_| Ok(()))?;
        assert!(len < BYTES && reason != Reason::End, "{backend}: {len} bytes, {reason}");
    }
    Ok(())
}
