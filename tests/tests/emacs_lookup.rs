//! The dynamic front while a host's name is looked up: what waits for it and what does not.
//!
//! `states-and-events`, "Asynchronous connect in detail"; Emacs Lisp manual 28.2, "Process
//! Information". Emacs's own answers: `process-contact` is `nil` with NO-BLOCK until there is a socket.

use netproc::{Failure, Runtime, Value, emacs::Emacs};
use netproc_tests::{conformance, lisp};

fn started(rt: &Runtime, host: &str, port: u16) -> (Emacs, Value) {
    let emacs = Emacs::new(rt);
    let args = lisp![:name "c", :host host, :service i64::from(port), :nowait true];
    let client = emacs.call("make-network-process", &args).expect("it is looked up later");
    (emacs, client)
}

// The simulation has no threads, and has looked up at once.
conformance!(on (poll epoll uring): a_contact_waits_for_the_look_up_unless_told_not_to, |rig| {
    let server = rig.server().start()?;
    let port = server.contact().local().port().expect("a port");
    let (emacs, client) = started(&rig.rt, "localhost", port);
    let contact = |no_block: bool| {
        emacs.call("process-contact", &[client.clone(), Value::symbol(":remote"), no_block.into()])
    };
    assert_eq!(contact(true)?, Value::Nil);
    assert!(contact(false)?.to_address().is_ok(), "looked up by now");
    assert!(contact(true)?.is_true());
    Ok(())
});

conformance!(a_send_waits_for_the_look_up_and_the_connection, |rig| {
    let server = rig.server().start()?;
    let port = server.contact().local().port().expect("a port");
    let (emacs, client) = started(&rig.rt, "localhost", port);
    assert_eq!(emacs.call("process-send-string", &[client, "hello".into()])?, Value::Nil);
    let child = rig.child(&server);
    rig.until_bytes(&child, b"hello");
    Ok(())
});

conformance!(a_look_up_that_fails_is_a_failed_process, |rig| {
    let (emacs, client) = started(&rig.rt, "nosuch.invalid", 7);
    let of = |name: &str| emacs.call(name, std::slice::from_ref(&client));
    let sent = emacs.call("process-send-string", &[client.clone(), "x".into()]);
    assert_eq!(sent.expect_err("nobody is there").to_string(), "Process c not running");
    assert_eq!(of("process-status")?, Value::symbol("failed"));
    assert_eq!(of("process-exit-status")?, "Name lookup of nosuch.invalid failed".into());
    let process = rig.rt.get_process("c").ok_or("it stays listed")?;
    assert!(matches!(process.exit(), netproc::Exit::Failed(Failure::Lookup { .. })));
    assert_eq!(of("delete-process")?, Value::Nil);
    Ok(())
});
