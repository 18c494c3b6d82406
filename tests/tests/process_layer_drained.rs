//! `Drained` of a process whose handshake is under way: told when what waits for the handshake has gone,
//! and not when the handshake itself has. And senders that wait for a handshake.

use std::{cell::RefCell, rc::Rc, time::Duration};

use netproc::{
    Buf, CloseHow, Event, Layer, Layers, Payload, Process, SendError, SendWaitError, SharedError,
    Status,
};
use netproc_tests::{
    conformance,
    contract::pattern,
    rig::{Outcome, Rig},
};

const LEN: usize = 2 << 20;

/// Says `hello`, and waits to be told the same; then nothing is changed.
#[derive(Debug, Default)]
struct Greeter {
    out: Vec<Payload>,
    greeted: bool,
}

#[derive(Debug)]
struct Greeters;

impl Layers for Greeters {
    fn make(&self) -> Result<Box<dyn Layer>, SharedError> {
        Ok(Box::new(Greeter { out: vec!["hello".into()], greeted: false }))
    }
}

impl Layer for Greeter {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        if !self.greeted && wire[..] != *b"hello" {
            return Err(SharedError::new("no greeting"));
        }
        if std::mem::replace(&mut self.greeted, true) {
            plain.push(wire);
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        self.out.push(plain.to_vec().into());
        Ok(())
    }

    fn wire(&mut self, out: &mut Vec<Payload>) {
        out.append(&mut self.out);
    }

    fn is_established(&self) -> bool {
        self.greeted
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

/// What was queued whenever a process was told that its queue has drained.
type Drained = Rc<RefCell<Vec<u64>>>;

/// Fills the queue of a process that shakes hands with `peer`, and lets it finish that when its greeting
/// has come and gone.
fn fill(rig: &Rig, process: &Process, peer: &Process) -> Result<Drained, netproc::Error> {
    let (told, log) = (Drained::default(), rig.log.sentinel());
    let drained = Rc::clone(&told);
    process.set_sentinel(move |process: &Process, event: &Event| {
        if *event == Event::Drained {
            drained.borrow_mut().push(process.queued());
        }
        log(process, event);
    });
    let bytes = pattern(8, LEN);
    process.send(bytes)?;
    assert!(matches!(process.send("more"), Err(SendError::QueueFull { .. })));
    rig.until_bytes(peer, b"hello");
    Ok(told)
}

/// Nothing is told until the peer answers; then it is told once, and there is room.
fn drains(rig: &Rig, process: &Process, peer: &Process) -> Outcome {
    let told = fill(rig, process, peer)?;
    rig.settle();
    assert_eq!((process.queued(), &told.borrow()[..]), (LEN as u64, &[][..]), "nothing has gone");
    peer.send("hello")?;
    rig.until("room", || !told.borrow().is_empty());
    let low = process.limits().queue_len_low;
    assert!(told.borrow()[0] <= low, "{told:?} is more than {low}");
    process.send("more")?;
    rig.until("all", || rig.log.len_of(peer) == 5 + LEN + 4);
    rig.settle();
    assert_eq!(told.borrow().len(), 1, "told once");
    Ok(())
}

conformance!(a_connect_that_shakes_hands_has_not_drained, |rig| {
    let server = rig.server().start()?;
    let client = rig.client(&server).layers(Greeters).nowait(true).start()?;
    drains(rig, &client, &rig.child(&server))
});

conformance!(an_accepted_connection_that_shakes_hands_has_not_drained, |rig| {
    let (_server, client, child) = rig.pair_at(rig.server().layers(Greeters))?;
    drains(rig, &child, &client)
});

conformance!(an_upgrade_that_shakes_hands_has_not_drained, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.upgrade(Greeters)?;
    drains(rig, &child, &client)
});

// What was refused before the upgrade may be sent as soon as there is room, handshake or not.
conformance!(what_an_upgrade_finds_refused_is_told_of_too, |rig| {
    let (_server, client, child) = rig.pair()?;
    child.send(pattern(9, LEN))?;
    assert!(matches!(child.send("more"), Err(SendError::QueueFull { .. })));
    child.upgrade(Greeters)?;
    rig.until_line(&child, "output drained (open)");
    assert!(child.queued() <= child.limits().queue_len_low);
    rig.until("the greeting", || rig.log.len_of(&client) == LEN + 5);
    client.send("hello")?;
    rig.until_line(&child, "secured (open)");
    Ok(())
});

conformance!(what_was_sent_in_clear_before_an_upgrade_is_queued_until_it_has_gone, |rig| {
    let (_server, client, child) = rig.pair()?;
    client.stop();
    let bytes = pattern(2, 8 * LEN);
    let sent = child.send_wait(bytes, Some(Duration::from_millis(10)));
    let Err(SendWaitError::TimedOut { queued }) = sent else {
        return Err(format!("{sent:?}").into());
    };
    child.upgrade(Greeters)?;
    assert!(child.queued() >= queued, "{} of {queued}", child.queued());
    assert!(matches!(child.send("more"), Err(SendError::QueueFull { .. })), "it is full");
    child.notify_drained();
    let flushed = child.flush(Duration::from_millis(10));
    assert!(matches!(flushed, Err(SendWaitError::TimedOut { .. })), "{flushed:?}");
    assert_eq!(rig.log.of(&child), ["open from 127.0.0.1 (open)"]);
    client.resume();
    rig.until_line(&child, "output drained (open)");
    rig.until("all", || rig.log.len_of(&client) == 8 * LEN + 5);
    assert_eq!(child.queued(), 0, "all has gone, though its handshake has not ended");
    Ok(())
});

conformance!(a_filter_with_state_waits_for_an_upgrade_of_its_process, |rig| {
    let (_server, client, child) = rig.pair()?;
    let sent: Rc<RefCell<Vec<_>>> = Rc::default();
    let (results, sender) = (Rc::clone(&sent), client.clone());
    child.set_filter_mut(move |child, input| {
        match &input[..] {
            b"go" => sender.send("hello")?,
            _ => return Ok(()),
        };
        child.upgrade(Greeters)?;
        results.borrow_mut().push(child.send_wait("answer", None));
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    client.send("go")?;
    rig.until("the answer", || !sent.borrow().is_empty());
    assert!(matches!(sent.borrow_mut().pop(), Some(Ok(()))));
    rig.until_bytes(&client, b"helloanswer");
    child.clear_filter();
    Ok(())
});

conformance!(nor_does_it_wait_for_one_whose_peer_is_gone, |rig| {
    let (_server, client, child) = rig.pair()?;
    let sent: Rc<RefCell<Vec<_>>> = Rc::default();
    let (results, peer) = (Rc::clone(&sent), client.clone());
    child.set_filter_mut(move |child, _| {
        child.upgrade(Greeters)?;
        peer.delete_with(CloseHow::Reset);
        results.borrow_mut().push(child.send_wait("answer", None));
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    client.send("go")?;
    rig.until("the answer", || !sent.borrow().is_empty());
    let told = sent.borrow_mut().pop();
    assert!(matches!(told, Some(Err(SendWaitError::Broken { unsent: 6, .. }))), "{told:?}");
    rig.until("its end", || child.status() == Status::Closed);
    Ok(())
});
