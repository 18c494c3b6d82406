//! Packets as many at a time as have come: whole, in order, each with its sender, and no more than fit.

use std::{cell::RefCell, rc::Rc};

use netproc::{Address, Packets, Process, SendError, Status};
use netproc_tests::{conformance, contract::pattern};

/// What batch filters saw: a list of packets and their senders for each call.
type Seen = Rc<RefCell<Vec<Vec<(Vec<u8>, Option<Address>)>>>>;

fn seeing(seen: &Seen) -> impl Fn(&Process, Packets<'_>) + 'static {
    let seen = Rc::clone(seen);
    move |_: &Process, packets: Packets<'_>| {
        assert_eq!(packets.len(), packets.as_slice().len());
        let call = packets.map(|packet| (packet.input.to_vec(), packet.from));
        seen.borrow_mut().push(call.collect());
    }
}

fn total(seen: &Seen) -> usize {
    seen.borrow().iter().map(Vec::len).sum()
}

conformance!(a_burst_comes_in_fewer_calls_than_packets, |rig| {
    let seen = Seen::default();
    let server = rig.server().datagram().batch_filter(seeing(&seen)).start()?;
    let client = rig.client(&server).datagram().start()?;
    for n in 0..300 {
        client.send(pattern(n, 64))?;
    }
    rig.until("all of them", || total(&seen) == 300);
    let seen = seen.borrow();
    assert!(seen.len() < 300, "{} calls", seen.len());
    assert!(seen.iter().all(|call| (1..=256).contains(&call.len())));
    let from = Some(client.contact().local().clone());
    for (n, (bytes, sender)) in (0..).zip(seen.iter().flatten()) {
        assert_eq!((bytes, sender), (&pattern(n, 64), &from), "packet {n}");
    }
    assert_eq!(server.datagram_address(), from, "that of the last");
    Ok(())
});

conformance!(each_packet_of_a_batch_is_answered_to_its_sender, |rig| {
    let echo = |process: &Process, packets: Packets<'_>| {
        for packet in packets {
            let Some(from) = packet.from else { continue };
            process.send_to(packet.input, &from)?;
        }
        Ok::<_, SendError>(())
    };
    let server = rig.server().datagram().batch_filter(echo).start()?;
    let clients: Vec<_> =
        (0..8).map(|_| rig.client(&server).datagram().start()).collect::<Result<_, _>>()?;
    for n in 0..20 {
        for (client, seed) in clients.iter().zip(1..) {
            client.send(pattern(seed * 100 + n, 40))?;
        }
    }
    rig.until("every answer", || {
        clients.iter().all(|client| rig.log.inputs_of(client).len() == 20)
    });
    for (client, seed) in clients.iter().zip(1..) {
        let wanted: Vec<_> = (0..20).map(|n| pattern(seed * 100 + n, 40)).collect();
        assert_eq!(rig.log.inputs_of(client), wanted);
    }
    Ok(())
});

conformance!(a_stream_and_a_stopped_process_are_given_what_is_theirs, |rig| {
    let seen = Seen::default();
    let server = rig.server().batch_filter(seeing(&seen)).start()?;
    let client = rig.client(&server).start()?;
    client.send("stream")?;
    rig.until("it", || total(&seen) == 1);
    assert_eq!(seen.borrow()[0][0].0, b"stream");
    let stopped = rig.server().datagram().stop(true).batch_filter(seeing(&seen)).start()?;
    let client = rig.client(&stopped).datagram().start()?;
    for n in 0..5 {
        client.send(vec![n])?;
    }
    rig.settle();
    assert_eq!(total(&seen), 1, "a stopped process is given nothing");
    stopped.resume();
    rig.until("the rest", || total(&seen) == 6);
    let packets: Vec<_> = seen.borrow().iter().flatten().skip(1).map(|it| it.0.clone()).collect();
    assert_eq!(packets, [[0], [1], [2], [3], [4]]);
    Ok(())
});

conformance!(what_a_batch_filter_leaves_is_dropped_and_its_error_told, |rig| {
    let calls = Rc::new(RefCell::new(0));
    let failing = {
        let calls = Rc::clone(&calls);
        move |_: &Process, mut packets: Packets<'_>| {
            *calls.borrow_mut() += packets.len();
            drop(packets.next());
            Err::<(), _>("enough")
        }
    };
    let server = rig.server().datagram().batch_filter(failing).start()?;
    let errors = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&errors);
    rig.rt.on_callback_error(move |err| told.borrow_mut().push(err.to_string()));
    let client = rig.client(&server).datagram().start()?;
    for _ in 0..10 {
        client.send("x")?;
    }
    rig.until("all of them", || *calls.borrow() == 10);
    assert_eq!(server.status(), Status::Open);
    assert!(errors.borrow().iter().all(|err| err == "error in process filter: enough"));
    Ok(())
});

conformance!(a_batch_filter_may_wait_and_delete, |rig| {
    let seen = Seen::default();
    let (other, inner) = (Rc::clone(&seen), Rc::clone(&seen));
    let waiting = move |process: &Process, packets: Packets<'_>| {
        let first = inner.borrow().is_empty();
        inner
            .borrow_mut()
            .push(packets.map(|packet| (packet.input.to_vec(), packet.from)).collect());
        if first {
            // What comes meanwhile goes to the same filter, entered again.
            process.runtime().turn(std::time::Duration::ZERO)?;
        } else if inner.borrow().len() == 3 {
            process.delete();
        }
        Ok::<_, netproc::Error>(())
    };
    let server = rig.server().datagram().batch_filter(waiting).start()?;
    let client = rig.client(&server).datagram().start()?;
    // Ever longer, so that the system joins none; sent one after the other, so that calls are several.
    for len in 1..=20 {
        client.send(pattern(len, usize::try_from(len)?))?;
        rig.turn();
    }
    rig.until("the end", || server.status() == Status::Closed);
    let seen = other.borrow();
    let lens: Vec<_> = seen.iter().flatten().map(|(bytes, _)| bytes.len()).collect();
    assert_eq!(lens, (1..=lens.len()).collect::<Vec<_>>(), "in order and each once");
    Ok(())
});
