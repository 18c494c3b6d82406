//! Receive memory: four slots are enough for two hundred connections, and whoever keeps what it was
//! given delays others, no more. And what was sent leaves its memory to what is sent next.

use std::{cell::RefCell, rc::Rc};

use netproc::Input;
use netproc_tests::{conformance, contract::pattern};
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use nix::sys::resource::{UsageWho, getrusage};

conformance!(
    two_hundred_connections_share_four_slots,
    |config| {
        config.slots = 4;
        config.slot_len = 4_096;
    },
    |rig| {
        let server = rig.echo().start()?;
        let clients: Vec<_> =
            (0..200).map(|_| rig.client(&server).nowait(true).start()).collect::<Result<_, _>>()?;
        for (number, client) in clients.iter().enumerate() {
            client.send(pattern(number as u64, 20_000))?;
        }
        for (number, client) in clients.iter().enumerate() {
            rig.until_bytes(client, &pattern(number as u64, 20_000));
        }
        assert_eq!(rig.children(&server), 200);
        Ok(())
    }
);

conformance!(
    a_slow_reader_does_not_pin_the_memory_of_others,
    |config| {
        config.slots = 4;
        config.slot_len = 4_096;
    },
    |rig| {
        let server = rig.echo().start()?;
        let slow = rig.connect(&server)?;
        slow.stop();
        let bytes = pattern(1, 900_000);
        slow.send(bytes.clone())?;
        rig.settle();
        for number in 0..20 {
            let quick = rig.connect(&server)?;
            quick.send(pattern(number, 10_000))?;
            rig.until_bytes(&quick, &pattern(number, 10_000));
        }
        slow.resume();
        rig.until_bytes(&slow, &bytes);
        Ok(())
    }
);

conformance!(
    stopped_connections_do_not_pin_the_memory_of_others,
    |config| {
        config.slots = 4;
        config.slot_len = 4_096;
    },
    |rig| {
        let server = rig.echo().start()?;
        let clients: Vec<_> = (0..20).map(|_| rig.connect(&server)).collect::<Result<_, _>>()?;
        rig.until("everybody", || rig.children(&server) == 20);
        let children = rig.connections(&server);
        for (number, client) in clients.iter().enumerate() {
            client.send(pattern(number as u64, 50_000))?;
            rig.rt.turn(std::time::Duration::ZERO)?;
            if number > 0 {
                children[number].stop();
            }
        }
        rig.until_bytes(&clients[0], &pattern(0, 50_000));
        children.iter().for_each(netproc::Process::resume);
        for (number, client) in clients.iter().enumerate() {
            rig.until_bytes(client, &pattern(number as u64, 50_000));
        }
        Ok(())
    }
);

// A few peers, enough to wait for turns at slots, and a crowd, which io_uring reads by calls.
conformance!(
    messages_of_any_length_come_back_whole_wherever_slots_end,
    |config| {
        config.slots = 32;
        config.slot_len = 16_384;
    },
    |rig| {
        let server = rig.echo().start()?;
        for (count, len) in [(4, 6_001), (40, 2_999), (40, 6_001), (40, 16_401), (200, 5_003)] {
            let clients: Vec<_> =
                (0..count).map(|_| rig.connect(&server)).collect::<Result<_, _>>()?;
            let mut expected = vec![Vec::new(); clients.len()];
            for round in 0..3 {
                for (number, client) in clients.iter().enumerate() {
                    let message = pattern((number * 3 + round) as u64, len + number);
                    client.send(message.clone())?;
                    expected[number].extend(message);
                }
                for (client, expected) in clients.iter().zip(&expected) {
                    rig.until_bytes(client, expected);
                }
            }
            clients.iter().for_each(|client| client.delete());
        }
        Ok(())
    }
);

conformance!(
    a_filter_that_keeps_its_input_delays_others_and_loses_nothing,
    |config| {
        config.slots = 4;
        config.slot_len = 4_096;
    },
    |rig| {
        let kept: Rc<RefCell<Vec<Input>>> = Rc::default();
        let (keep, log) = (Rc::clone(&kept), rig.log.clone());
        let server = rig.server().filter(move |process, input| {
            log.input(process, &input);
            keep.borrow_mut().push(input);
        });
        let server = server.start()?;
        let clients: Vec<_> = (0..10).map(|_| rig.connect(&server)).collect::<Result<_, _>>()?;
        rig.until("everybody", || rig.children(&server) == 10);
        let children = rig.connections(&server);
        for client in &clients {
            client.send(pattern(5, 30_000))?;
        }
        let mut rounds = 0;
        while children.iter().any(|child| rig.log.len_of(child) < 30_000) {
            rig.settle();
            kept.borrow_mut().clear();
            rounds += 1;
            assert!(rounds < 200, "{}", rig.log);
        }
        for child in &children {
            rig.until_bytes(child, &pattern(5, 30_000));
        }
        kept.borrow_mut().clear();
        Ok(())
    }
);

// Only glibc gives memory back and is told otherwise.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
conformance!(on (poll epoll uring): a_batch_finds_the_memory_of_the_one_before, |_rig| {
    let batch = || drop((0..32).map(|byte| vec![byte; 16 * 1024]).collect::<Vec<Vec<u8>>>());
    let faults = || getrusage(UsageWho::RUSAGE_THREAD).map(|usage| usage.minor_page_faults());
    batch();
    let before = faults()?;
    (0..100).for_each(|_| batch());
    let faults = faults()? - before;
    assert!(faults < 100, "{faults} in a hundred batches");
    Ok(())
});
