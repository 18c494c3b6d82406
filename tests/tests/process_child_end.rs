//! What is left of children: nothing. Deletion, a runtime that goes, starts that fail, many at once,
//! programs that treat signals otherwise.

use std::{
    cell::RefCell,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{
    ChildExit, ChildSignal, ConnectionType, Event, Exit, Process, Runtime, SpawnBuilder,
    SpawnError, Status, Stderr,
};
use netproc_tests::{
    child::{allow_all_descriptors, allow_descriptors, descriptors, die_of, ignore_signals},
    conformance,
    rig::{PATIENCE, Rig},
};
use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};

/// A child of a shell's that logs all it is told.
fn sh(rig: &Rig, script: &str) -> SpawnBuilder {
    let log = &rig.log;
    let shell = rig.rt.spawn_process("p", "sh").args(["-c", script]);
    shell.filter(log.filter()).sentinel(log.sentinel())
}

/// Whether the system has forgotten a process; one that nobody has waited for is still there.
fn is_gone(pid: u32) -> bool {
    signal::kill(Pid::from_raw(pid.cast_signed()), None) == Err(Errno::ESRCH)
}

fn pid(child: &Process) -> u32 {
    child.pid().expect("it stands for a child")
}

/// Waits, without a runtime, until the system has forgotten all of them.
fn await_gone(pids: &[u32]) {
    let begin = Instant::now();
    while !pids.iter().all(|&pid| is_gone(pid)) {
        assert!(begin.elapsed() < PATIENCE, "left: {pids:?}");
        std::thread::yield_now();
    }
}

/// A child that can be ended by nothing but SIGKILL, which has said that it is there.
fn stubborn(rig: &Rig) -> Result<Process, SpawnError> {
    let child = sh(rig, "trap '' HUP INT TERM; echo on; while :; do sleep 0.01; done").start()?;
    rig.until_bytes(&child, b"on\n");
    Ok(child)
}

conformance!(on (poll epoll uring): a_deleted_child_is_killed_and_told_so_at_once, |rig| {
    let child = stubborn(rig)?;
    child.delete();
    let lines = ["\"on\\n\" (run)", "killed (signal)"];
    assert_eq!(rig.log.of(&child), lines);
    assert_eq!((child.status(), child.exit_status()), (Status::Signal, ChildSignal::KILL.number()));
    assert_eq!(child.exit(), Exit::Child(ChildExit::DELETED));
    assert_eq!(rig.rt.get_process("p"), None, "its name is free");
    await_gone(&[pid(&child)]);
    child.delete();
    rig.settle();
    assert_eq!(rig.log.of(&child), lines, "once");
    Ok(())
});

conformance!(on (poll epoll uring): deletion_takes_the_group_along, |rig| {
    let child = sh(rig, "sleep 1000 & echo $!; wait").start()?;
    rig.until("its grandchild", || rig.log.bytes_of(&child).ends_with(b"\n"));
    let grandchild = String::from_utf8(rig.log.bytes_of(&child))?.trim().parse()?;
    child.delete();
    await_gone(&[pid(&child), grandchild]);
    Ok(())
});

conformance!(on (poll epoll uring): a_filter_may_delete_its_own_child, |rig| {
    let log = rig.log.clone();
    let child = rig.rt.spawn_process("p", "yes").sentinel(rig.log.sentinel());
    let child = child.filter(move |process, _| {
        log.note(process, "input");
        process.delete();
    });
    let child = child.start()?;
    rig.until_line(&child, "killed (signal)");
    rig.settle();
    assert_eq!(rig.log.of(&child), ["input (run)", "killed (signal)"]);
    Ok(())
});

conformance!(on (poll epoll uring): a_sentinel_may_start_the_next_child, |rig| {
    let left = Rc::new(RefCell::new(vec!["c", "b"]));
    let log = rig.log.clone();
    let child = rig.rt.spawn_process("a", "true");
    let child = child.sentinel(move |process, event: &Event| -> Result<(), SpawnError> {
        log.event(process, event);
        if let Some(name) = left.borrow_mut().pop() {
            let log = log.clone();
            let next = process.runtime().spawn_process(name, "true");
            next.sentinel(move |process, event: &Event| log.event(process, event)).start()?;
        }
        Ok(())
    });
    child.start()?;
    rig.until("two ends", || rig.log.lines().len() == 2);
    assert_eq!(rig.log.lines(), ["a: finished (exit)", "b: finished (exit)"]);
    Ok(())
});

conformance!(on (poll epoll uring): a_runtime_that_goes_takes_its_children_along, |rig| {
    let (mut pids, rt) = (Vec::new(), rig.another());
    for (program, connection_type) in
        [("cat", ConnectionType::Pipe), ("cat", ConnectionType::Pty), ("yes", ConnectionType::Pipe)]
    {
        let child = rt.spawn_process("p", program).connection_type(connection_type);
        let child = child.stderr(Stderr::Process).filter(|_, _| {}).start()?;
        pids.push(pid(&child));
    }
    let stopped = rt.spawn_process("s", "sleep").arg("1000").stop(true).start()?;
    pids.push(pid(&stopped));
    drop(stopped);
    rt.turn(Duration::ZERO)?;
    assert!(!pids.iter().any(|&pid| is_gone(pid)));
    drop(rt);
    await_gone(&pids);
    Ok(())
});

conformance!(on (poll epoll uring): a_runtime_that_is_closed_tells_nobody, |rig| {
    let children = [stubborn(rig)?, stubborn(rig)?];
    rig.log.clear();
    rig.rt.close();
    await_gone(&children.each_ref().map(pid));
    rig.settle();
    assert_eq!(rig.log.lines(), [] as [&str; 0]);
    assert_eq!(children[0].status(), Status::Signal);
    Ok(())
});

conformance!(on (poll epoll uring): nobody_has_to_come_round_for_a_child_that_has_ended, |rig| {
    // The runtime is not run: the thread that waits reaps all the same.
    let child = sh(rig, "exit 3").start()?;
    await_gone(&[pid(&child)]);
    assert_eq!((child.status(), rig.log.lines().len()), (Status::Run, 0), "nobody was told yet");
    assert!(child.kill().is_err(), "its number may be another's");
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    Ok(())
});

conformance!(alone on (poll epoll uring): a_hundred_children_leave_nothing, |rig| {
    let before = descriptors()?;
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let threads_before = threads();
    let children: Vec<_> = (0..100)
        .map(|number| sh(rig, &format!("cat; exit {number}")).start())
        .collect::<Result<_, _>>()?;
    for (number, child) in children.iter().enumerate() {
        child.send(format!("I am {number}"))?;
        child.send_eof()?;
    }
    for (number, child) in children.iter().enumerate() {
        rig.until("its end", || !child.is_live());
        rig.until_bytes(child, format!("I am {number}").as_bytes());
        assert_eq!(child.exit_status(), i32::try_from(number)?);
        assert_eq!(rig.log.of(child).len(), 2, "its output and one end");
    }
    await_gone(&children.iter().map(pid).collect::<Vec<_>>());
    rig.until("every socket closed", || rig.rt.stats().sockets == 0);
    assert_eq!(descriptors()?, before);
    rig.until("every thread gone", || threads() == threads_before);
    Ok(())
});

conformance!(alone on (poll epoll uring): what_cannot_be_started_leaves_nothing, |rig| {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("plain"), "no program")?;
    let missing = path("missing");
    let before = descriptors()?;
    let errno = |err: &SpawnError| match err {
        SpawnError::Program { source, .. } => ("program", source.errno),
        SpawnError::Cwd { source, .. } => ("cwd", source.errno),
        SpawnError::Nul => ("nul", 0),
        SpawnError::Arguments(_) => ("arguments", 0),
        SpawnError::Resources(source) => ("resources", source.errno),
        other @ (SpawnError::Unsupported(_) | _) => panic!("{other:?}"),
    };
    let spawn = |program: PathBuf| rig.rt.spawn_process("p", program);
    let no_bound = {
        let mut limits = netproc::Limits::default();
        limits.queue_len_max = 0;
        limits
    };
    let cases = [
        (spawn("no-such-program-here".into()), ("program", libc::ENOENT)),
        (spawn(missing.clone()), ("program", libc::ENOENT)),
        (spawn(missing.join("below")), ("program", libc::ENOENT)),
        (spawn(path("plain").join("below")), ("program", libc::ENOTDIR)),
        (spawn(path("plain")), ("program", libc::EACCES)),
        (spawn(folder.path().into()), ("program", libc::EACCES)),
        (spawn(PathBuf::new()), ("program", libc::ENOENT)),
        (spawn("cat".into()).cwd(&missing), ("cwd", libc::ENOENT)),
        (spawn("cat".into()).cwd(path("plain")), ("cwd", libc::ENOTDIR)),
        (spawn("cat".into()).cwd("a\0b"), ("nul", 0)),
        (spawn("c\0at".into()), ("nul", 0)),
        (spawn("cat".into()).arg("a\0b"), ("nul", 0)),
        (spawn("cat".into()).env("A", "a\0b"), ("nul", 0)),
        (spawn("cat".into()).arg("x".repeat(16 << 20)), ("program", libc::E2BIG)),
        (spawn("cat".into()).coding("no-such-coding"), ("arguments", 0)),
        (spawn("cat".into()).limits(no_bound), ("arguments", 0)),
    ];
    for (at, (builder, expected)) in cases.into_iter().enumerate() {
        let refused = builder.stderr(Stderr::Process).start().err().ok_or("a refusal")?;
        assert_eq!(errno(&refused), expected, "case {at}: {refused:?}");
        assert_eq!(rig.rt.process_list(), [], "case {at}");
    }
    let refused = spawn(missing.clone()).connection_type(ConnectionType::Pty).start();
    let refused = refused.err().ok_or("a refusal")?;
    assert_eq!(refused.to_string(), format!("cannot run {}", missing.display()));
    assert_eq!(descriptors()?, before, "nothing is left open");
    let child = sh(rig, "exit 0").start()?;
    assert_eq!(&*child.name(), "p", "no name was used up");
    rig.until_line(&child, "finished (exit)");
    Ok(())
});

conformance!(alone on (poll epoll uring): a_folder_that_is_locked_is_the_folders_fault, |rig| {
    if nix::unistd::geteuid().is_root() {
        // Nothing is locked to root, so somebody else tries.
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65534))?;
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534))?;
    }
    let folder = tempfile::tempdir_in("/tmp")?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o600))?;
    let refused = rig.rt.spawn_process("p", "true").cwd(folder.path()).start();
    let entered = matches!(&refused, Err(SpawnError::Cwd { source, .. }) if source.errno == libc::EACCES);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
    assert!(entered, "{refused:?}");
    Ok(())
});

conformance!(alone on (poll epoll uring): no_descriptors_is_an_error_that_leaves_nothing, |rig| {
    let before = descriptors()?;
    // Enough for each step but the next, until there is enough.
    let mut started = None;
    for more in 0..40 {
        allow_descriptors(more)?;
        let child = rig.rt.spawn_process("p", "cat").connection_type(ConnectionType::Pty);
        let child = child.stderr(Stderr::Process).start();
        allow_all_descriptors()?;
        match child {
            Ok(child) => {
                started = Some((more, child));
                break;
            }
            Err(SpawnError::Resources(err)) => assert_eq!(err.errno, libc::EMFILE),
            Err(other) => return Err(format!("with {more}: {other:?}").into()),
        }
        assert_eq!(rig.rt.process_list(), []);
        rig.settle();
        assert_eq!(descriptors()?, before, "with {more}");
    }
    let (more, child) = started.ok_or("a child")?;
    assert!(more > 5, "{more}");
    child.delete();
    Ok(())
});

conformance!(alone on (poll epoll uring): a_child_has_only_its_own_descriptors, |rig| {
    let list = "ls /proc/self/fd | wc -l";
    let plain = Command::new("sh").args(["-c", list]).output()?.stdout;
    let server = rig.echo().start()?;
    let _client = rig.connect(&server)?;
    let _other = sh(rig, "read x").stderr(Stderr::Process).start()?;
    let _tty = rig.rt.spawn_process("t", "cat").connection_type(ConnectionType::Pty).start()?;
    let child = sh(rig, list).start()?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(rig.log.bytes_of(&child), plain);
    // Our ends of another's pipes would keep it from its end.
    let cat = sh(rig, "cat").start()?;
    let _later = sh(rig, "read x").start()?;
    cat.send_eof()?;
    rig.until_line(&cat, "finished (exit)");
    Ok(())
});

conformance!(alone on (poll epoll uring): a_program_that_dies_of_sigpipe_does_not, |rig| {
    die_of(Signal::SIGPIPE)?;
    let child = sh(rig, "exec </dev/null; echo a; read x; sleep 1000").start()?;
    rig.until_bytes(&child, b"a\n");
    child.send("x")?;
    rig.until_line(&child, &format!("trouble with code {} (run)", libc::EPIPE));
    let mask = signal::SigSet::thread_get_mask()?;
    assert!(!mask.contains(signal::SIGPIPE), "as before");
    // A child does: what it is started with is not ours.
    let child = sh(rig, "yes | head -n 1; sh -c 'kill -PIPE $$'; echo $?").start()?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(rig.log.bytes_of(&child), format!("y\n{}\n", 128 + libc::SIGPIPE).as_bytes());
    Ok(())
});

#[cfg(target_os = "linux")]
conformance!(alone on (poll epoll uring): children_obey_what_this_program_ignores, |rig| {
    // As those of an Emacs 28.2 started by `sh -c "trap '' HUP INT QUIT TERM CHLD; exec emacs --batch …"`,
    // on pipes and on a terminal.
    use Signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let ignored = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD];
    ignore_signals(&ignored)?;
    for connection_type in [ConnectionType::Pipe, ConnectionType::Pty] {
        // No shell: it might change what its own children are given.
        let child = rig.rt.spawn_process("p", "grep").args(["SigIgn", "/proc/self/status"]);
        let child = child.filter(rig.log.filter()).connection_type(connection_type).start()?;
        rig.until("its end", || !child.is_live());
        let line = String::from_utf8(rig.log.bytes_of(&child))?;
        let mask = line.trim().strip_prefix("SigIgn:").ok_or("no mask")?;
        let mask = u64::from_str_radix(mask.trim(), 16)?;
        let still = ignored.into_iter().filter(|&it| mask & (1 << (it as i32 - 1)) != 0);
        assert_eq!(still.collect::<Vec<_>>(), [SIGHUP], "{connection_type:?}");
    }
    Ok(())
});

conformance!(alone on (poll epoll uring): where_nobody_is_told_how_a_child_ended_that_is_said, |rig| {
    ignore_signals(&[Signal::SIGCHLD])?;
    let child = sh(rig, "echo a; exit 3").start()?;
    rig.until_line(&child, "exited with unknown status (exit)");
    assert_eq!(rig.log.bytes_of(&child), b"a\n");
    assert_eq!((child.exit(), child.exit_status()), (Exit::Child(ChildExit::Unknown), -1));
    Ok(())
});

conformance!(on (poll epoll uring): children_of_the_program_itself_are_left_to_it, |rig| {
    let mut own = Command::new("sh").args(["-c", "exit 42"]).spawn()?;
    let child = sh(rig, "exit 3").start()?;
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    assert_eq!(own.wait()?.code(), Some(42));
    Ok(())
});

conformance!(on (poll epoll uring): a_foreign_loop_hears_of_children, |rig| {
    if rig.rt.as_fd().is_err() {
        // poll(2) has no descriptor to sleep on.
        return Ok(());
    }
    let child = sh(rig, "read x; echo $x; kill -STOP $$; exit 3").start()?;
    let turn_until = |line: &str| -> netproc_tests::rig::Outcome {
        while !rig.log.of(&child).iter().any(|seen| seen == line) {
            let fd = rig.rt.as_fd()?;
            let mut fds = [nix::poll::PollFd::new(fd, nix::poll::PollFlags::POLLIN)];
            let ready = nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(20_000u16))?;
            assert_eq!(ready, 1, "nothing came\n{}", rig.log);
            rig.rt.turn(Duration::ZERO)?;
        }
        Ok(())
    };
    child.send("on\n")?;
    turn_until("stopped (signal) (stop)")?;
    child.resume();
    turn_until("exited abnormally with code 3 (exit)")
});

#[test]
fn a_simulation_starts_no_programs() {
    use netproc::sim::{Faults, SimReactor};
    let config = netproc::Config::default();
    let rt = Runtime::builder().simulated(SimReactor::new(1, Faults::none(), config));
    let refused = rt.spawn_process("p", "true").start();
    assert!(matches!(refused, Err(SpawnError::Unsupported("sim"))), "{refused:?}");
    assert_eq!(rt.process_list(), []);
}

conformance!(alone on (poll epoll uring): a_forked_copy_of_the_program_has_no_children, |rig| {
    let child = sh(rig, "cat").start()?;
    let copy = child.clone();
    netproc_tests::child::join(netproc_tests::child::fork(move || {
        // It holds nothing, so there is nothing it could let go of.
        assert!(copy.kill().is_err() && copy.interrupt().is_err());
    })?)?;
    child.send("still there")?;
    rig.until_bytes(&child, b"still there");
    Ok(())
});
