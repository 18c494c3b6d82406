//! Two ends of pipes under one id: they live and break apart, nobody is sent SIGPIPE, and what was written
//! is read though others keep the pipe open.

use std::{
    fs::File,
    io::{PipeReader, PipeWriter, Read as _, Write as _, pipe},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use netproc_core::{
    queue::EventQueue,
    reactor::{CloseHow, Descriptors, Event, SockId, Wait},
};
use netproc_tests::{
    child::{descriptors, die_of},
    contract,
    contract::{FLUSH, PATIENCE, Rig, assert_bytes, pattern},
};
use nix::sys::signal::Signal;

/// What the child would have: what it reads, and what it writes into.
struct Theirs {
    input: PipeReader,
    output: PipeWriter,
}

fn pipes<R: Descriptors>(rig: &mut Rig<R>) -> Result<(SockId, Theirs), Box<dyn std::error::Error>> {
    let ((output, theirs), (input, ours)) = (pipe()?, pipe()?);
    let id = rig.adopt_pipes(output, Some(ours))?;
    Ok((id, Theirs { input, output: theirs }))
}

/// Has somebody else send back what comes, until its end.
fn echo(theirs: Theirs) -> std::thread::JoinHandle<std::io::Result<u64>> {
    let Theirs { mut input, mut output } = theirs;
    std::thread::spawn(move || std::io::copy(&mut input, &mut output))
}

contract!(on descriptors: bytes_go_in_and_come_out, |rig| {
    let (id, theirs) = pipes(rig)?;
    rig.watch(id);
    let other = echo(theirs);
    for chunk in pattern(1, 500_000).chunks(7_000) {
        rig.send(id, chunk.to_vec());
    }
    rig.finish(id);
    rig.until("all of it, and the end", |world| world[id].eof);
    assert_bytes(&rig.world[id].data, &pattern(1, 500_000), "out and back");
    assert_eq!(other.join().map_err(|_| "a panic")??, 500_000);
    assert!(!rig.world.closed(id), "the end of what is read is not the end of it");
    rig.close(id, CloseHow::Now);
    rig.until("its end", |world| world.closed(id));
    assert_eq!(rig.world[id].closed.map(|end| (end.cause, end.unsent)), Some((None, 0)));
    Ok(())
});

contract!(on descriptors: what_a_pipe_has_taken_ends_the_wait_of_who_watches, |rig| {
    let (id, theirs) = pipes(rig)?;
    rig.watch(id);
    for len in [4, 8] {
        rig.send(id, "more");
        let begin = Instant::now();
        assert!(rig.poll(Wait::Until(rig.reactor.now().after(PATIENCE))) > 0, "told");
        assert!(begin.elapsed() < PATIENCE, "it slept");
        assert_eq!(rig.world[id].sent, len);
    }
    drop(theirs);
    Ok(())
});

contract!(on descriptors: after_the_end_of_what_is_read_writing_goes_on, |rig| {
    let (id, theirs) = pipes(rig)?;
    let Theirs { mut input, output } = theirs;
    drop(output);
    rig.until("the end", |world| world[id].eof);
    rig.send(id, "still there");
    rig.settle();
    let mut room = [0; 20];
    assert_eq!(input.read(&mut room)?, 11);
    rig.finish(id);
    rig.settle();
    assert_eq!(input.read(&mut room)?, 0, "finished behind what was queued");
    Ok(())
});

contract!(alone on descriptors: a_pipe_that_nobody_reads_is_told_once_and_read_on, |rig| {
    die_of(Signal::SIGPIPE)?;
    let (id, theirs) = pipes(rig)?;
    rig.watch(id);
    let Theirs { input, mut output } = theirs;
    rig.send(id, "taken");
    rig.settle();
    drop(input);
    rig.send(id, vec![0; 1000]);
    rig.send(id, vec![0; 1000]);
    rig.until("trouble", |world| !world[id].troubles.is_empty());
    output.write_all(b"and on")?;
    rig.until("input", |world| world[id].data == b"and on");
    rig.settle();
    let troubles: Vec<_> = rig.world[id].troubles.iter().map(|err| err.errno).collect();
    assert_eq!(troubles, [libc::EPIPE]);
    assert_eq!(rig.reactor.queued(id), 0);
    rig.close(id, CloseHow::Now);
    rig.until("its end", |world| world.closed(id));
    let end = rig.world[id].closed.ok_or("an end")?;
    assert_eq!((end.cause, end.unsent), (None, 2000));
    Ok(())
});

contract!(on descriptors: a_full_pipe_holds_the_queue_and_nobody_else, |rig| {
    let (full, theirs) = pipes(rig)?;
    rig.send(full, vec![7; 1_000_000]);
    rig.settle();
    let waiting = rig.reactor.queued(full);
    assert!((1..1_000_000).contains(&waiting), "{waiting}");
    let waits = rig.reactor.counters().waits;
    rig.linger(Duration::from_millis(100));
    assert!(rig.reactor.counters().waits - waits < 20, "it spins");
    let (other, others) = pipes(rig)?;
    let _other = echo(others);
    rig.send(other, "hello");
    rig.until("the echo", |world| world[other].data == b"hello");
    rig.finish(full);
    let Theirs { mut input, output } = theirs;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map(|_| bytes)
    });
    while !reader.is_finished() {
        rig.poll(Wait::No);
    }
    assert_eq!(reader.join().map_err(|_| "a panic")??, vec![7; 1_000_000]);
    drop(output);
    rig.finish(other);
    Ok(())
});

contract!(on descriptors: nothing_is_read_while_reading_is_off, |rig| {
    let (id, theirs) = pipes(rig)?;
    let Theirs { input: _input, mut output } = theirs;
    rig.settle();
    rig.stop(id);
    rig.settle();
    output.write_all(b"waits")?;
    rig.settle();
    assert_eq!(rig.world[id].data, b"");
    rig.resume(id);
    rig.until("it", |world| world[id].data == b"waits");
    rig.stop(id);
    drop(output);
    rig.settle();
    assert!(!rig.world[id].eof);
    rig.resume(id);
    rig.until("the end", |world| world[id].eof);
    Ok(())
});

contract!(on descriptors: winding_up_reads_what_there_is_and_ends, |rig| {
    for len in [0, 1, 5_000, 60_000] {
        let (id, theirs) = pipes(rig)?;
        rig.settle();
        let Theirs { input: _input, mut output } = theirs;
        // Room for more than that has every pipe of Linux; the output stays open.
        output.write_all(&pattern(2, len))?;
        rig.reactor.wind_up(id);
        rig.until("its end", |world| world.closed(id));
        assert_bytes(&rig.world[id].data, &pattern(2, len), "all that was there");
        assert!(!rig.world[id].eof);
        assert_eq!(rig.world[id].closed.and_then(|end| end.cause), None);
    }
    Ok(())
});

contract!(on descriptors: winding_up_waits_for_a_reader_that_is_off, |rig| {
    let (id, theirs) = pipes(rig)?;
    let Theirs { input: _input, mut output } = theirs;
    rig.stop(id);
    output.write_all(b"late")?;
    rig.reactor.wind_up(id);
    rig.settle();
    assert!(!rig.world.closed(id), "nobody has had it");
    rig.resume(id);
    rig.until("its end", |world| world.closed(id));
    assert_eq!(rig.world[id].data, b"late");
    Ok(())
});

contract!(on descriptors: winding_up_does_not_wait_for_those_who_write_on, |rig| {
    let (id, theirs) = pipes(rig)?;
    let Theirs { input: _input, mut output } = theirs;
    output.write_all(b"first")?;
    let flood = std::thread::spawn(move || {
        while output.write_all(&[b'x'; 4_096]).is_ok() {}
    });
    rig.until("a flood", |world| world[id].data.len() > 1_000_000);
    rig.reactor.wind_up(id);
    rig.until("its end", |world| world.closed(id));
    // They find that nobody reads; this program ignores SIGPIPE.
    flood.join().map_err(|_| "a panic")?;
    Ok(())
});

contract!(on descriptors: winding_up_drops_and_counts_what_was_queued, |rig| {
    let (id, _theirs) = pipes(rig)?;
    rig.watch(id);
    rig.send(id, vec![7; 1_000_000]);
    rig.settle();
    let waiting = rig.reactor.queued(id);
    rig.reactor.wind_up(id);
    rig.until("its end", |world| world.closed(id));
    assert_eq!(rig.world[id].closed.map(|end| end.unsent), Some(waiting));
    Ok(())
});

contract!(on descriptors: winding_up_is_for_pipes, |rig| {
    let (client, child) = rig.pair()?;
    rig.reactor.wind_up(client);
    rig.send(client, "goes on");
    rig.until("it", |world| world[child].data == b"goes on");
    // Nor does it take anything from what is on its way.
    rig.stop(child);
    rig.settle();
    let bytes = pattern(1, 8 << 20);
    rig.send(client, bytes.clone());
    rig.settle();
    assert_ne!(rig.reactor.queued(client), 0);
    rig.reactor.wind_up(client);
    rig.resume(child);
    rig.until("all of it", |world| world[child].data.len() == 7 + bytes.len());
    assert_bytes(&rig.world[child].data[7..], &bytes, "it went on");
    Ok(())
});

contract!(on descriptors: a_flushing_close_goes_on_until_the_end, |rig| {
    let (id, theirs) = pipes(rig)?;
    let other = echo(theirs);
    rig.send(id, vec![7; 300_000]);
    rig.close(id, FLUSH);
    rig.until("its end", |world| world.closed(id));
    assert_eq!(other.join().map_err(|_| "a panic")??, 300_000, "all of it, then the end");
    assert_eq!(rig.world[id].closed.map(|end| (end.cause, end.unsent)), Some((None, 0)));
    Ok(())
});

contract!(on descriptors: one_end_alone_is_only_read, |rig| {
    let (output, mut theirs) = pipe()?;
    let id = rig.adopt_pipes(output, None)?;
    theirs.write_all(b"hello")?;
    rig.until("it", |world| world[id].data == b"hello");
    rig.finish(id);
    rig.settle();
    drop(theirs);
    rig.until("the end", |world| world[id].eof);
    rig.close(id, FLUSH);
    rig.until("its end", |world| world.closed(id));
    Ok(())
});

contract!(
    on descriptors: many_pipes_share_two_slots,
    |config| {
        config.slots = 2;
        config.slot_len = 512;
    },
    |rig| {
        let mut all = Vec::new();
        for number in 0..30 {
            let (id, theirs) = pipes(rig)?;
            all.push((id, number, echo(theirs)));
            rig.send(id, pattern(number, 20_000));
            rig.finish(id);
        }
        for (id, number, other) in all {
            rig.until("all of it", |world| world[id].eof);
            assert_bytes(&rig.world[id].data, &pattern(number, 20_000), "out and back");
            other.join().map_err(|_| "a panic")??;
        }
        Ok(())
    }
);

contract!(
    on descriptors: who_winds_up_waits_for_memory,
    |config| {
        config.slots = 2;
        config.slot_len = 4_096;
    },
    |rig| {
        // Somebody keeps all of the memory meanwhile.
        let (near, far) = rig.pair()?;
        rig.hold();
        rig.send(near, pattern(1, 100_000));
        let held = |world: &contract::World| world[far].data.len() >= 8_000;
        rig.until("all memory held", held);
        let (id, theirs) = pipes(rig)?;
        let Theirs { input: _input, mut output } = theirs;
        output.write_all(&pattern(2, 10_000))?;
        rig.reactor.wind_up(id);
        rig.settle();
        rig.release();
        rig.until("its end", |world| world.closed(id));
        assert_bytes(&rig.world[id].data, &pattern(2, 10_000), "all that was there");
        rig.until("the other's", |world| world[far].data.len() == 100_000);
        Ok(())
    }
);

contract!(alone on descriptors: both_ends_are_closed_at_the_end, |rig| {
    let before = descriptors()?;
    let (id, theirs) = pipes(rig)?;
    rig.send(id, vec![0; 1_000_000]);
    rig.settle();
    drop(theirs);
    rig.until("trouble or the end", |world| world[id].eof);
    rig.close(id, CloseHow::Now);
    rig.until("its end", |world| world.closed(id));
    assert_eq!(descriptors()?, before);
    // A file is no pipe: epoll takes none, and the others read it to its end.
    let file = OwnedFd::from(File::open("/dev/null")?);
    if let Ok(id) = rig.adopt_pipes(file, None) {
        rig.until("the end", |world| world[id].eof);
        rig.close(id, CloseHow::Now);
        rig.until("its end", |world| world.closed(id));
    }
    assert_eq!(descriptors()?, before);
    Ok(())
});

// The reactor reads a crowd by calls into a slot of its own, which a pipe cannot be read into.
contract!(on descriptors: many_pipes_go_on_with_one_slot,
    |config| {
        config.slots = 8;
        config.slot_len = 65_536;
    },
    |rig| {
    const EACH: usize = 40_000;
    let mut other = rig.another();
    let reactor = &mut other.reactor;
    let mut writers = Vec::new();
    for _ in 0..300 {
        let (output, mut input) = pipe()?;
        input.write_all(&[7; EACH])?;
        reactor.adopt_pipes(output.into(), None, true)?;
        writers.push(input);
    }
    let (mut queue, mut kept, mut received) = (EventQueue::new(), Vec::new(), 0);
    // All slots are held, then let go, then all but one are held for good.
    let (mut emptied, mut keeping) = (false, true);
    let begin = Instant::now();
    while received < writers.len() * EACH {
        assert!(begin.elapsed() < PATIENCE, "{received} bytes came");
        let soon = reactor.now().after(Duration::from_millis(50));
        reactor.poll(Wait::Until(soon), &mut queue)?;
        while let Some(event) = queue.pop() {
            if let Event::Data { buf, .. } = event {
                received += buf.len();
                kept.extend(keeping.then_some(buf));
            }
        }
        let held = reactor.counters().slots_held;
        if keeping && !emptied && held == 8 {
            kept.clear();
            emptied = true;
        } else if keeping && emptied && held >= 7 {
            keeping = false;
            while reactor.counters().slots_held > 7 {
                kept.pop();
            }
        }
    }
    Ok(())
});

#[cfg(target_os = "linux")]
contract!(on descriptors: packets_of_a_pipe_are_read_though_a_read_brings_only_one, |rig| {
    use nix::{fcntl::OFlag, unistd::pipe2};
    let (output, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_DIRECT)?;
    let id = rig.adopt_pipes(output, None)?;
    let mut theirs = File::from(theirs);
    for round in 1..=2 {
        for _ in 0..5 {
            theirs.write_all(&[round; 10])?;
        }
        rig.until("all five", |world| world[id].data.len() == usize::from(round) * 50);
    }
    Ok(())
});
