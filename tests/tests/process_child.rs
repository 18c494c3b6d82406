//! Children: what they write and are sent, how they end, and the words Emacs has for it.
//!
//! What Emacs does was asked of Emacs 28.2 on Debian 12, by programs of this shape, the expected words and
//! statuses being what it printed:
//!
//! ```text
//! emacs --batch --eval '(let ((p (make-process :name "p" :command (list "sh" "-c" SCRIPT)
//!                                              :connection-type (quote pipe)
//!     :filter (lambda (p s) (message "filter %S (%s)" s (process-status p)))
//!     :sentinel (lambda (p e) (message "event %S (%s)" e (process-status p))))))
//!   (while (process-live-p p) (accept-process-output p 1)))'
//! ```

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    ChildExit, ChildSignal, Event, Exit, Limits, Process, ProcessType, Reason, SendError,
    SendWaitError, SignalError, SpawnBuilder, Status, Stderr,
};
use netproc_tests::{
    child::die_of,
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};
use nix::sys::signal::Signal;

/// A child of a shell's that logs all it is told.
fn sh(rig: &Rig, script: &str) -> SpawnBuilder {
    program(rig, "sh").args(["-c", script])
}

/// Another program that does.
fn program(rig: &Rig, program: &str) -> SpawnBuilder {
    let log = &rig.log;
    rig.rt.spawn_process("p", program).filter(log.filter()).sentinel(log.sentinel())
}

fn code(code: i32) -> Exit {
    Exit::Child(ChildExit::Code(code))
}

conformance!(on (poll epoll uring): what_is_sent_comes_back_through_cat, |rig| {
    let cat = program(rig, "cat").start()?;
    let born = (cat.status(), cat.process_type(), cat.exit(), cat.is_live());
    assert_eq!(born, (Status::Run, ProcessType::Real, Exit::Alive, true));
    cat.send("hello")?;
    rig.until_bytes(&cat, b"hello");
    cat.send(" again")?;
    rig.until_bytes(&cat, b"hello again");
    cat.send_eof()?;
    assert_eq!(cat.send("more"), Err(SendError::Finished));
    rig.until_line(&cat, "finished (exit)");
    assert_eq!(rig.log.of(&cat), [r#""hello again" (run)"#, "finished (exit)"]);
    assert_eq!((cat.exit(), cat.exit_status(), cat.is_live()), (code(0), 0, false));
    assert_eq!(rig.rt.process_list(), []);
    let other = sh(rig, "exit 0").start()?;
    rig.until_line(&other, "finished (exit)");
    assert_eq!(other.send("more"), Err(SendError::NotOpen(Status::Exit)));
    Ok(())
});

conformance!(on (poll epoll uring): what_is_known_of_a_child_outlives_it, |rig| {
    let child = sh(rig, "echo $$").start()?;
    let pid = child.pid().ok_or("a number")?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(rig.log.bytes_of(&child), format!("{pid}\n").as_bytes());
    assert_eq!(child.pid(), Some(pid));
    assert_eq!(child.command().as_deref(), Some(&["sh".into(), "-c".into(), "echo $$".into()][..]));
    assert_eq!((child.tty_name(), child.description()), (None, "sh -c echo $$".into()));
    let contact = child.contact();
    assert_eq!(contact.plist().to_string(), r#"(:name "p" :command ("sh" "-c" "echo $$"))"#);
    let server = rig.server().start()?;
    assert_eq!((server.pid(), server.command(), server.tty_name()), (None, None, None));
    assert_eq!(server.process_type(), ProcessType::Network);
    Ok(())
});

conformance!(on (poll epoll uring): a_code_is_told_in_emacs_words_behind_the_output, |rig| {
    for (number, words) in [
        (0, "finished (exit)"),
        (1, "exited abnormally with code 1 (exit)"),
        (7, "exited abnormally with code 7 (exit)"),
        (255, "exited abnormally with code 255 (exit)"),
    ] {
        let child = sh(rig, &format!("echo hi; exit {number}")).start()?;
        rig.until_line(&child, words);
        assert_eq!(rig.log.of(&child), ["\"hi\\n\" (run)", words]);
        assert_eq!((child.exit_status(), child.exit()), (number, code(number)));
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_signal_is_told_in_emacs_words, |rig| {
    die_of(Signal::SIGHUP)?;
    let cases = [
        (1, "hangup"),
        (2, "interrupt"),
        (3, "quit"),
        (4, "illegal instruction"),
        (6, "aborted"),
        (8, "floating point exception"),
        (9, "killed"),
        (11, "segmentation fault"),
        (13, "broken pipe"),
        (14, "alarm clock"),
        (15, "terminated"),
        #[cfg(target_os = "linux")]
        (24, "cPU time limit exceeded"),
        #[cfg(target_os = "linux")]
        (34, "real-time signal 0"),
        #[cfg(target_os = "linux")]
        (64, "real-time signal 30"),
    ];
    for (number, words) in cases {
        let child = sh(rig, &format!("ulimit -c 0; echo on; kill -{number} $$; exit 99")).start()?;
        let line = format!("{words} (signal)");
        rig.until_line(&child, &line);
        assert_eq!(rig.log.of(&child), ["\"on\\n\" (run)", &line]);
        assert_eq!(child.exit_status(), number);
        let signal = ChildSignal::new(number);
        assert_eq!(child.exit(), Exit::Child(ChildExit::Signal { signal, core_dumped: false }));
    }
    Ok(())
});

conformance!(on (poll epoll uring): all_that_was_written_comes_before_the_end, |rig| {
    let (bytes, ends) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
    let (counts, notes) = (Rc::clone(&bytes), Rc::clone(&ends));
    let child = rig.rt.spawn_process("p", "sh").args(["-c", "head -c 3000000 /dev/zero; exit 5"]);
    let child = child
        .filter(move |_, input| counts.set(counts.get() + input.len()))
        .sentinel(move |_, event: &Event| notes.borrow_mut().push(event.to_string()))
        .start()?;
    rig.until("its end", || !ends.borrow().is_empty());
    assert_eq!(bytes.get(), 3_000_000, "as it was when the end was told");
    rig.settle();
    assert_eq!(*ends.borrow(), ["exited abnormally with code 5\n"], "once");
    assert_eq!(child.exit_status(), 5);
    Ok(())
});

conformance!(on (poll epoll uring): much_goes_both_ways_in_order, |rig| {
    let cat = program(rig, "cat").start()?;
    let bytes = pattern(7, 3_000_000);
    for chunk in bytes.chunks(100_000) {
        cat.send_wait(chunk, Some(PATIENCE))?;
    }
    cat.send_eof()?;
    rig.until_line(&cat, "finished (exit)");
    rig.until_bytes(&cat, &bytes);
    Ok(())
});

conformance!(
    on (poll epoll uring): many_children_share_two_slots,
    |config| {
        config.slots = 2;
        config.slot_len = 4_096;
    },
    |rig| {
        let children: Vec<_> = (0..20).map(|_| program(rig, "cat").start()).collect::<Result<_, _>>()?;
        for (number, child) in children.iter().enumerate() {
            child.send(pattern(number as u64, 200_000))?;
            child.send_eof()?;
        }
        for (number, child) in children.iter().enumerate() {
            rig.until_line(child, "finished (exit)");
            rig.until_bytes(child, &pattern(number as u64, 200_000));
        }
        Ok(())
    }
);

conformance!(on (poll epoll uring): whoever_keeps_the_output_open_does_not_delay_the_end, |rig| {
    // Emacs tells the exit at once as well, and never hears what comes later.
    let script = "(read x; echo late) <&3 & echo $!; exit 3";
    let child = sh(rig, &format!("exec 3<&0; {script}")).start()?;
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    let lines = rig.log.of(&child);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let grandchild: i32 = String::from_utf8(rig.log.bytes_of(&child))?.trim().parse()?;
    // It finds the end of its input, and nobody who reads what it writes.
    rig.until("the end of the grandchild", || is_gone(grandchild));
    assert_eq!(rig.log.of(&child), lines);
    Ok(())
});

conformance!(on (poll epoll uring): whoever_fills_the_output_does_not_delay_the_end, |rig| {
    let child = sh(rig, "echo first; yes & echo $!; sleep 0.05; echo last; exit 3").start()?;
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    let heard = rig.log.bytes_of(&child);
    assert!(heard.windows(6).any(|six| six == b"\nlast\n"), "all of its own came");
    let count = rig.log.len_of(&child);
    rig.settle();
    assert_eq!(rig.log.len_of(&child), count, "and nothing afterwards");
    Ok(())
});

conformance!(on (poll epoll uring): a_child_may_run_on_without_output, |rig| {
    let script = "echo a; exec >/dev/null 2>&1; read x; exit 4";
    let child = sh(rig, script).start()?;
    rig.until_bytes(&child, b"a\n");
    rig.settle();
    assert_eq!((child.status(), child.is_live()), (Status::Run, true));
    child.send("go on\n")?;
    rig.until_line(&child, "exited abnormally with code 4 (exit)");
    assert_eq!(rig.log.of(&child).len(), 2);
    Ok(())
});

conformance!(on (poll epoll uring): a_runtime_runs_as_long_as_its_children, |rig| {
    let child = sh(rig, "exec >/dev/null 2>&1 </dev/null; sleep 0.1; exit 6").start()?;
    rig.rt.run()?;
    assert_eq!((child.status(), child.exit_status()), (Status::Exit, 6));
    Ok(())
});

conformance!(on (poll epoll uring): a_child_that_reads_no_more_is_trouble_and_goes_on, |rig| {
    let script = "exec </dev/null; trap 'echo b; exit 4' USR1; echo a; while :; do sleep 0.01; done";
    let child = sh(rig, script).start()?;
    rig.until_bytes(&child, b"a\n");
    // A child that another test starts at this moment has a copy of the pipe until it runs.
    rig.until("trouble", || child.send("lost") == Err(SendError::Finished));
    let trouble = format!("trouble with code {} (run)", libc::EPIPE);
    assert_eq!(rig.log.of(&child)[1], trouble);
    assert_eq!((child.status(), child.queued()), (Status::Run, 0));
    child.signal(ChildSignal::USR1)?;
    rig.until_line(&child, "exited abnormally with code 4 (exit)");
    assert_eq!(rig.log.bytes_of(&child), b"a\nb\n", "its output was not cut off");
    Ok(())
});

conformance!(on (poll epoll uring): a_sender_that_waits_hears_that_nobody_reads, |rig| {
    let child = sh(rig, "exec </dev/null; echo a; sleep 100").start()?;
    rig.until_bytes(&child, b"a\n");
    let refused = loop {
        let sent = child.send_wait("lost", Some(PATIENCE));
        if sent.is_err() {
            break sent;
        }
    };
    assert!(matches!(refused, Err(SendWaitError::Refused(err)) if err.errno == libc::EPIPE), "{refused:?}");
    Ok(())
});

// A grandchild keeps the pipe open: only the child's end tells that nobody reads the rest.
conformance!(on (poll epoll uring): a_sender_that_waits_hears_what_was_lost_by_the_end, |rig| {
    let script = "exec 3<&0; sleep 30 >/dev/null 2>&1 & read x; exit 0";
    let child = sh(rig, script).start()?;
    let sent = child.send_wait([&b"x\n"[..], &vec![b'y'; 900_000]].concat(), Some(PATIENCE));
    let Err(SendWaitError::Broken { reason: Reason::End, unsent }) = sent else {
        return Err(format!("{sent:?}").into());
    };
    assert!((100_000..900_000).contains(&unsent), "{unsent}");
    rig.until_line(&child, "finished (exit)");
    Ok(())
});

conformance!(on (poll epoll uring): what_was_not_read_is_counted, |rig| {
    let unsent = Rc::new(Cell::new(None));
    let seen = Rc::clone(&unsent);
    let child = rig.rt.spawn_process("p", "sh").args(["-c", "read x; exit 0"]);
    let child = child.filter(|_, _| {}).sentinel(move |_, event: &Event| {
        if let Event::Ended { unsent, .. } = event {
            seen.set(Some(*unsent));
        }
    });
    let child = child.start()?;
    // More than the pipe holds: the rest is here when the child ends.
    child.send("x\n")?;
    child.send(vec![b'y'; 900_000])?;
    rig.until("its end", || unsent.get().is_some());
    let unsent = unsent.get().unwrap_or_default();
    assert!((100_000..900_000).contains(&unsent), "{unsent}");
    Ok(())
});

conformance!(on (poll epoll uring): a_child_that_does_not_read_is_sent_no_more_than_the_bound, |rig| {
    let mut limits = Limits::default();
    limits.queue_len_max = 100_000;
    let child = program(rig, "sleep").arg("1000").limits(limits).start()?;
    let refused = loop {
        if let Err(refused) = child.send(vec![0; 10_000]) {
            break refused;
        }
        rig.settle();
    };
    assert!(matches!(refused, SendError::QueueFull { limit: 100_000, .. }), "{refused:?}");
    assert!((100_000..110_000).contains(&child.queued()), "{}", child.queued());
    child.delete();
    assert_eq!(child.queued(), 0);
    Ok(())
});

conformance!(on (poll epoll uring): a_refused_sender_hears_that_there_is_room, |rig| {
    let mut limits = Limits::default();
    limits.queue_len_max = 100_000;
    let child = sh(rig, "kill -STOP $$; cat > /dev/null; echo all").limits(limits).start()?;
    rig.until_line(&child, "stopped (signal) (stop)");
    while child.send(vec![b'x'; 10_000]).is_ok() {
        rig.settle();
    }
    assert_eq!(rig.log.of(&child).len(), 1, "there is no room");
    child.resume();
    // Perhaps before it is told that the child goes on.
    let drained = |line: &String| line.starts_with("output drained");
    rig.until("room", || rig.log.of(&child).iter().any(drained));
    child.send_eof()?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(rig.log.bytes_of(&child), b"all\n");
    Ok(())
});

conformance!(on (poll epoll uring): a_child_that_floods_leaves_others_their_turn, |rig| {
    let flooded = Rc::new(Cell::new(0u64));
    let counts = Rc::clone(&flooded);
    let yes = rig.rt.spawn_process("yes", "yes");
    let yes = yes.filter(move |_, input| counts.set(counts.get() + input.len() as u64)).start()?;
    rig.until("the flood", || flooded.get() > 1_000_000);
    let server = rig.echo().start()?;
    let client = rig.connect(&server)?;
    for round in 1..=50 {
        let before = flooded.get();
        client.send("ping ")?;
        rig.until("the echo", || rig.log.len_of(&client) == round * 5);
        // Bounded work: no more than some turns lie between two of the others'.
        assert!(flooded.get() - before < 64 << 20, "{}", flooded.get() - before);
    }
    yes.delete();
    Ok(())
});

conformance!(on (poll epoll uring): a_flood_that_nobody_takes_waits_in_the_child, |rig| {
    let mut limits = Limits::default();
    limits.inbox_len_max = 100_000;
    let yes = rig.rt.spawn_process("yes", "yes").limits(limits).start()?;
    let server = rig.echo().start()?;
    let client = rig.connect(&server)?;
    client.send("ping")?;
    while rig.log.len_of(&client) < 4 {
        // Only this one's are asked for, so the other's wait.
        let event = rig.rt.next_event_of(&client, Duration::from_millis(10))?;
        assert!(event.is_none(), "{event:?}");
    }
    for _ in 0..3 {
        let event = rig.rt.next_event_of(&client, Duration::from_millis(10))?;
        assert!(event.is_none(), "{event:?}");
    }
    let received = rig.rt.stats().received;
    assert!(received < 100_000 + (5 << 20), "{received} bytes, where 100000 are to be kept");
    yes.delete();
    Ok(())
});

conformance!(on (poll epoll uring): a_stop_is_told_and_so_is_its_end, |rig| {
    let cat = program(rig, "cat").start()?;
    cat.send("a")?;
    rig.until_bytes(&cat, b"a");
    cat.stop();
    rig.until_line(&cat, "stopped (signal) (stop)");
    assert_eq!((cat.exit_status(), cat.is_live()), (ChildSignal::STOP.number(), true));
    // What it is sent waits for it.
    cat.send("b")?;
    rig.settle();
    assert_eq!(rig.log.bytes_of(&cat), b"a");
    cat.resume();
    rig.until_line(&cat, "run (run)");
    rig.until_bytes(&cat, b"ab");
    assert_eq!(cat.exit_status(), 0);
    cat.send_eof()?;
    rig.until_line(&cat, "finished (exit)");
    let events: Vec<_> =
        rig.log.of(&cat).into_iter().filter(|line| !line.starts_with('"')).collect();
    assert_eq!(events, ["stopped (signal) (stop)", "run (run)", "finished (exit)"]);
    Ok(())
});

conformance!(on (poll epoll uring): a_child_that_stops_itself_is_resumed, |rig| {
    let child = sh(rig, "echo a; kill -STOP $$; echo b").start()?;
    rig.until_line(&child, "stopped (signal) (stop)");
    rig.until_bytes(&child, b"a\n");
    child.resume();
    rig.until_line(&child, "finished (exit)");
    rig.until_bytes(&child, b"a\nb\n");
    Ok(())
});

conformance!(on (poll epoll uring): a_stopped_child_can_be_killed, |rig| {
    let child = program(rig, "cat").start()?;
    child.stop();
    rig.until_line(&child, "stopped (signal) (stop)");
    child.kill()?;
    rig.until_line(&child, "killed (signal)");
    assert_eq!(rig.log.of(&child), ["stopped (signal) (stop)", "killed (signal)"]);
    assert_eq!(child.exit(), Exit::Child(ChildExit::DELETED));
    Ok(())
});

conformance!(on (poll epoll uring): a_child_may_start_stopped, |rig| {
    let child = program(rig, "cat").stop(true).start()?;
    child.send("early")?;
    rig.until_line(&child, "stopped (signal) (stop)");
    child.resume();
    rig.until_line(&child, "run (run)");
    rig.until_bytes(&child, b"early");
    Ok(())
});

conformance!(on (poll epoll uring): an_interrupt_is_for_the_group_and_a_signal_for_the_child, |rig| {
    let script = "trap 'echo child' INT; sh -c 'trap \"echo grandchild; exit\" INT; echo on; \
                  while :; do sleep 0.01; done'; echo done";
    let child = sh(rig, script).start()?;
    rig.until_bytes(&child, b"on\n");
    child.interrupt()?;
    rig.until_line(&child, "finished (exit)");
    rig.until_bytes(&child, b"on\ngrandchild\nchild\ndone\n");
    let script = "sh -c 'trap \"echo grandchild; exit\" TERM; echo on $$; \
                  while :; do sleep 0.01; done' & wait";
    let child = sh(rig, script).start()?;
    rig.until("its grandchild", || rig.log.bytes_of(&child).ends_with(b"\n"));
    child.signal(ChildSignal::TERM)?;
    rig.until_line(&child, "terminated (signal)");
    let heard = String::from_utf8(rig.log.bytes_of(&child))?;
    let grandchild = heard.trim().strip_prefix("on ").ok_or("a number")?.parse()?;
    assert!(!is_gone(grandchild), "{heard:?}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(grandchild), nix::sys::signal::SIGKILL)?;
    Ok(())
});

conformance!(on (poll epoll uring): quit_and_kill_take_the_group_along, |rig| {
    for (end, words) in [
        (Process::quit as fn(&Process) -> _, "quit (signal)"),
        (Process::kill, "killed (signal)"),
    ] {
        let child = sh(rig, "ulimit -c 0; sleep 1000 & echo $!; wait").start()?;
        rig.until("its grandchild", || rig.log.bytes_of(&child).ends_with(b"\n"));
        let grandchild = String::from_utf8(rig.log.bytes_of(&child))?.trim().parse()?;
        // A shell has its background children ignore the first; so this shows the group.
        let reached = words.starts_with("killed");
        end(&child)?;
        rig.until_line(&child, words);
        if reached {
            rig.until("the end of the grandchild", || is_gone(grandchild));
        } else {
            let grandchild = nix::unistd::Pid::from_raw(grandchild);
            // Gone already if the signal came before it ignored that.
            match nix::sys::signal::kill(grandchild, nix::sys::signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
    Ok(())
});

conformance!(on (poll epoll uring): only_a_child_that_has_not_ended_is_signalled, |rig| {
    let server = rig.server().start()?;
    let network = SignalError::NotAChild(ProcessType::Network);
    for refused in [server.interrupt(), server.quit(), server.kill(), server.signal(ChildSignal::HUP)] {
        assert_eq!(refused, Err(network));
    }
    let child = program(rig, "cat").start()?;
    assert_eq!(child.signal(ChildSignal::new(0)), Ok(()), "it is there");
    let refused = child.signal(ChildSignal::new(9999));
    assert!(matches!(refused, Err(SignalError::Sys(err)) if err.errno == libc::EINVAL), "{refused:?}");
    child.send_eof()?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(child.signal(ChildSignal::TERM), Err(SignalError::Ended(Status::Exit)));
    // Nothing happens, and nobody is hit.
    child.stop();
    child.resume();
    child.delete();
    rig.settle();
    assert_eq!(rig.log.of(&child), ["finished (exit)"]);
    assert_eq!((child.status(), child.exit_status()), (Status::Exit, 0));
    Ok(())
});

conformance!(on (poll epoll uring): a_child_has_its_arguments_and_environment_and_folder, |rig| {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().canonicalize()?;
    let script = r#"pwd; echo "$0|$1|$2"; echo "${A-no}|${B-no}|${HOME-no}""#;
    let child = sh(rig, script).args(["zero", "one two", ""]).cwd(&folder);
    let child = child.env("A", "lost").env_clear().env("A", "a").env("B", "b").env_remove("B");
    let child = child.env("PATH", std::env::var("PATH")?).start()?;
    rig.until_line(&child, "finished (exit)");
    let expected = format!("{}\nzero|one two|\na|no|no\n", folder.display());
    rig.until_bytes(&child, expected.as_bytes());
    Ok(())
});

conformance!(on (poll epoll uring): errors_go_where_they_were_to_go, |rig| {
    const SCRIPT: &str = "echo out; echo err >&2; exit 3";
    let merged = sh(rig, SCRIPT).start()?;
    rig.until_line(&merged, "exited abnormally with code 3 (exit)");
    assert_eq!(rig.log.bytes_of(&merged), b"out\nerr\n");
    assert_eq!(merged.stderr(), None);
    let silent = sh(rig, SCRIPT).stderr(Stderr::Null).start()?;
    rig.until_line(&silent, "exited abnormally with code 3 (exit)");
    assert_eq!(rig.log.bytes_of(&silent), b"out\n");
    Ok(())
});

// In Emacs the process of the errors reads: type `pipe`, status `open`, then `closed` and 0, event
// "finished\n", and it outlives the child while somebody else can write.
conformance!(on (poll epoll uring): errors_may_have_a_process_of_their_own, |rig| {
    let script = "echo out; echo err >&2; exec 3<&0; (exec >/dev/null; read x; echo late >&2) <&3 & exit 3";
    let child = sh(rig, script).stderr(Stderr::Process).start()?;
    let errors = child.stderr().ok_or("a process")?;
    errors.set_filter(rig.log.filter());
    errors.set_sentinel(rig.log.sentinel());
    assert_eq!((&*errors.name(), errors.process_type()), ("p stderr", ProcessType::Pipe));
    assert_eq!((errors.status(), errors.pid(), errors.exit_status()), (Status::Open, None, 0));
    assert_eq!(errors.send("x"), Err(SendError::Finished));
    assert_eq!(errors.interrupt(), Err(SignalError::NotAChild(ProcessType::Pipe)));
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    rig.until_line(&errors, "finished (closed)");
    assert_eq!(rig.log.bytes_of(&child), b"out\n");
    assert_eq!(rig.log.of(&errors), ["\"err\\nlate\\n\" (open)", "finished (closed)"]);
    assert_eq!((errors.exit_status(), child.stderr()), (0, None));
    Ok(())
});

conformance!(on (poll epoll uring): the_process_of_the_errors_is_stopped_and_deleted_like_another, |rig| {
    let child = sh(rig, "echo err >&2; read x").stderr(Stderr::Process).start()?;
    let errors = child.stderr().ok_or("a process")?;
    errors.set_filter(rig.log.filter());
    errors.set_sentinel(rig.log.sentinel());
    errors.stop();
    rig.settle();
    assert_eq!((errors.status(), rig.log.of(&errors)), (Status::Stop, vec![]));
    errors.resume();
    rig.until_bytes(&errors, b"err\n");
    errors.delete();
    assert_eq!(rig.log.of(&errors), ["\"err\\n\" (open)", "finished (closed)"]);
    assert_eq!((child.status(), child.stderr()), (Status::Run, None));
    Ok(())
});

conformance!(on (poll epoll uring): bytes_are_text_to_the_last_one, |rig| {
    let text = Rc::new(RefCell::new(Vec::new()));
    let hears = Rc::clone(&text);
    let child = rig.rt.spawn_process("p", "sh").args(["-c", r"printf 'caf\303'; sleep 0.02; printf '\251\r\n\303'"]);
    let child = child.coding("utf-8-dos").filter(move |_, input| {
        hears.borrow_mut().extend(input.text().map(|text| text.to_bytes()).unwrap_or_default());
    });
    let child = child.sentinel(rig.log.sentinel()).start()?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(*text.borrow(), "caf\u{e9}\n".bytes().chain([0xc3]).collect::<Vec<_>>());
    let cat = program(rig, "cat").coding("latin-1-dos").start()?;
    cat.send_text("\u{e9}\n")?;
    rig.until_bytes(&cat, b"\xe9\r\n");
    Ok(())
});

conformance!(on (poll epoll uring): without_callbacks_all_of_it_is_pulled, |rig| {
    let child = rig.rt.spawn_process("p", "sh").args(["-c", "echo a; exit 2"]).start()?;
    let mut heard = Vec::new();
    loop {
        match rig.rt.next_event_of(&child, PATIENCE)? {
            Some(Event::Input(input)) => heard.extend_from_slice(&input),
            Some(Event::Ended { exit, unsent }) => {
                assert_eq!((exit, unsent), (ChildExit::Code(2), 0));
                break;
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert_eq!(heard, b"a\n");
    assert_eq!(rig.rt.next_event_of(&child, PATIENCE)?, None, "at once");
    Ok(())
});

conformance!(on (poll epoll uring): output_is_waited_for_until_the_end, |rig| {
    let child = sh(rig, "echo a; read x; exec >/dev/null; read x; exit 1").start()?;
    let wait = |within| rig.rt.accept_output(Some(&child), Some(within), false);
    assert!(wait(PATIENCE)?);
    child.send("x\n")?;
    assert!(!wait(Duration::from_millis(50))?, "its output has ended, it has not");
    child.send("x\n")?;
    while child.is_live() {
        assert!(!wait(PATIENCE)?);
    }
    assert_eq!(rig.log.of(&child), ["\"a\\n\" (run)", "exited abnormally with code 1 (exit)"]);
    Ok(())
});

conformance!(on (poll epoll uring): a_filter_with_state_is_not_entered_twice_by_the_end, |rig| {
    let inside = Rc::new(Cell::new(false));
    let (enters, log) = (Rc::clone(&inside), rig.log.clone());
    let child = sh(rig, "echo a; exit 1").start()?;
    child.set_filter_mut(move |process, input| -> netproc::Result<()> {
        assert!(!enters.replace(true));
        // The end comes meanwhile, and waits.
        let rt = process.runtime();
        for _ in 0..5 {
            rt.turn(Duration::from_millis(10))?;
        }
        assert_eq!(process.status(), Status::Run);
        enters.set(false);
        log.input(process, &input);
        Ok(())
    })?;
    rig.until_line(&child, "exited abnormally with code 1 (exit)");
    assert_eq!(rig.log.of(&child), ["\"a\\n\" (run)", "exited abnormally with code 1 (exit)"]);
    Ok(())
});

conformance!(on (poll epoll uring): who_ignores_input_is_told_the_end, |rig| {
    // As in Emacs, whose filter `t` loses the output.
    let child = sh(rig, "echo a; exit 3").start()?;
    child.ignore_input();
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    assert_eq!(rig.log.of(&child), ["exited abnormally with code 3 (exit)"]);
    let child = sh(rig, "echo a; read x; exit 3").start()?;
    rig.until_bytes(&child, b"a\n");
    child.ignore_input();
    child.send("x\n")?;
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    Ok(())
});

conformance!(on (poll epoll uring): the_default_callbacks_write_stops_and_ends, |rig| {
    // The text of the buffer is Emacs's.
    let buffer = rig.rt.buffers().get_or_create("b");
    let script = "echo hi; kill -STOP $$; exit 3";
    let child = rig.rt.spawn_process("q", "sh").args(["-c", script]).buffer(buffer.clone()).start()?;
    rig.until("its stop", || child.status() == Status::Stop);
    assert!(child.is_stopped());
    child.resume();
    rig.until("its end", || child.status() == Status::Exit);
    let stop = "Process q stopped (signal)\n";
    let expected = format!("hi\n\n{stop}\nProcess q exited abnormally with code 3\n");
    // Output and a stop have no order between them.
    let other = format!("\n{stop}hi\n\nProcess q exited abnormally with code 3\n");
    let text = String::from_utf8(buffer.text().to_bytes())?;
    assert!([expected, other].contains(&text), "{text}");
    Ok(())
});

conformance!(on (poll epoll uring): other_threads_send_to_children_by_their_id, |rig| {
    let child = program(rig, "cat").start()?;
    let (handle, id) = (rig.rt.handle(), child.id());
    std::thread::spawn(move || {
        handle.send(id, "a").and_then(|()| handle.stop(id)).and_then(|()| handle.resume(id))
    })
    .join()
    .map_err(|_| "a panic")??;
    rig.until_bytes(&child, b"a");
    let (handle, id) = (rig.rt.handle(), child.id());
    std::thread::spawn(move || handle.delete(id)).join().map_err(|_| "a panic")??;
    rig.until_line(&child, "killed (signal)");
    Ok(())
});

/// Whether the system has forgotten a process; one that nobody has waited for is still there.
fn is_gone(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
}
