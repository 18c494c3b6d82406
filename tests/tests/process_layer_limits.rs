//! Layers that never stand: their handshake ends when its time is over, whatever else goes on, and nothing waits for
//! one whose process has gone.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{
    CloseHow, Exit, Layer, Layers, Limits, Process, Runtime, SharedError, Status, UpgradeError,
    Value, emacs::Emacs,
};
use netproc_tests::{conformance, layers::silence, rig::Rig};

/// Far more than a handshake here may take, and less than what a test may.
const LONG: Duration = Duration::from_secs(15);

/// A client that shakes hands with nobody, for so long.
fn mute(rig: &Rig, within: Duration) -> Result<Process, netproc::Error> {
    let server = rig.rt.server("silent").filter(|_, _| {}).start()?;
    let mut limits = Limits::default();
    limits.handshake_within = within;
    let client = rig.client(&server).layers(silence()).limits(limits).nowait(true);
    Ok(client.start()?)
}

conformance!(a_wait_that_holds_timers_ends_a_handshake_in_time, |rig| {
    let emacs = Emacs::new(&rig.rt);
    for just_this_one in [Value::Nil, 1.into()] {
        let client = mute(rig, Duration::from_millis(100))?;
        let begin = Instant::now();
        let process = Value::object(client.clone());
        emacs.call("accept-process-output", &[process, 10.into(), Value::Nil, just_this_one])?;
        assert_eq!(client.status(), Status::Failed);
        assert!(begin.elapsed() < Duration::from_secs(9), "it had a tenth of a second");
        rig.rt.get_process("silent").ok_or("it is there")?.delete();
    }
    Ok(())
});

// The inner wait has no end of its own, and the outer one holds the timers.
conformance!(a_sender_inside_a_wait_that_holds_timers_comes_back, |rig| {
    let emacs = Emacs::new(&rig.rt);
    // Long enough that it has not passed before the wait begins.
    let silent = mute(rig, Duration::from_secs(2))?;
    let server = rig.rt.server("other").start()?;
    let (own, to) = (emacs.clone(), Value::object(silent.clone()));
    let refused = Rc::new(Cell::new(false));
    let told = Rc::clone(&refused);
    let other = rig.client(&server).filter(move |_, _| {
        told.set(own.call("process-send-string", &[to.clone(), "x".into()]).is_err());
    });
    let other = other.start()?;
    let (peer, _) = rig.next();
    rig.settle();
    assert_eq!(silent.status(), Status::Connect);
    peer.send("go")?;
    let wait = [Value::object(other), 10.into(), Value::Nil, 1.into()];
    emacs.call("accept-process-output", &wait)?;
    assert!(refused.get(), "it was told that its process does not run");
    rig.until("that is told to all", || silent.status() == Status::Failed);
    Ok(())
});

conformance!(on (poll epoll uring): nothing_waits_for_the_handshake_of_a_process_that_is_gone, |rig| {
    let ends: [fn(&Runtime, &Process); 2] =
        [|_, client| client.delete_with(CloseHow::Now), |rt, _| rt.close()];
    for end in ends {
        let (server, client, child) = rig.pair()?;
        client.upgrade(silence())?;
        end(&rig.rt, &client);
        child.delete();
        server.delete();
        let begin = Instant::now();
        rig.rt.run()?;
        assert!(begin.elapsed() < LONG, "nothing was left to wait for");
    }
    Ok(())
});

/// What asks the runtime who is there when it is dropped.
#[derive(Debug)]
struct Asking {
    rt: Runtime,
    listed: Rc<Cell<usize>>,
}

impl Layers for Asking {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        Err(SharedError::new("never made"))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.listed.set(self.rt.process_list().len());
    }
}

conformance!(layers_that_are_refused_may_ask_the_runtime_when_they_go, |rig| {
    let (_server, client, _child) = rig.pair()?;
    client.delete();
    let listed = Rc::new(Cell::new(0));
    let asking = Asking { rt: rig.rt.clone(), listed: Rc::clone(&listed) };
    assert_eq!(client.upgrade(asking), Err(UpgradeError::NotOpen(Status::Closed)));
    assert_eq!(listed.get(), 2);
    Ok(())
});

conformance!(a_peer_that_has_ended_cannot_shake_hands, |rig| {
    let server = rig.server().half_open(true).start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    client.send_eof()?;
    rig.until("the end of the peer", || {
        rig.log.of(&child).iter().any(|line| line.contains("input ended"))
    });
    assert_eq!(child.upgrade(silence()), Err(UpgradeError::PeerFinished));
    assert_eq!((child.status(), child.exit()), (Status::Open, Exit::Alive));
    child.send("still in clear")?;
    rig.until_bytes(&client, b"still in clear");
    Ok(())
});
