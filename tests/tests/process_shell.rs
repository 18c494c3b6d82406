//! Streams of the type `shell`: a program speaks for the server. What Emacs 28.2 returns was asked of its
//! `open-network-stream`; where a host could run commands there, it is refused here.

use std::time::Duration;

use netproc::{
    ProcessType, Runtime, SpawnError, Status,
    stream::{
        DialogueParams, DialogueReason, OpenStreamError, Opened, ShellCommandError, Stage,
        StreamKind, StreamType,
    },
};
use netproc_tests::{conformance, rig::Rig};

fn params() -> DialogueParams {
    DialogueParams::new(StreamType::Shell).end_of_command("\n")
}

fn open(rig: &Rig, command: &str, params: DialogueParams) -> Result<Opened, OpenStreamError> {
    let stream = rig.rt.open_stream("s", "the-host", "smtp").dialogue(params);
    stream.shell_command(command).start()
}

/// Asserts that it failed for that reason, and that nothing is left of it.
#[track_caller]
fn assert_failed(rig: &Rig, opened: Result<Opened, OpenStreamError>, reason: &DialogueReason) {
    match opened {
        Err(OpenStreamError::Dialogue(failure)) => assert_eq!(failure.reason, *reason),
        other => panic!("no failed dialogue: {other:?}"),
    }
    assert_eq!(rig.rt.process_list(), []);
}

conformance!(on (poll epoll uring): greeting_and_capabilities_are_awaited, |rig| {
    let asking = params().capability_command("CAPA\n").end_of_capability("CAPA\n");
    let opened = open(rig, "echo hello '%s' %p 100%%; cat", asking)?;
    assert_eq!(opened.greeting.as_deref(), Some(&b"hello the-host smtp 100%\n"[..]));
    assert_eq!(opened.capabilities.as_deref(), Some(&b"CAPA\n"[..]));
    assert_eq!((opened.kind, opened.error, opened.leftover), (StreamKind::Plain, None, vec![]));
    let shell = opened.process;
    assert_eq!((shell.process_type(), shell.status()), (ProcessType::Real, Status::Run));
    assert_eq!(shell.tty_name(), None);
    let command = shell.command().ok_or("a command")?;
    assert_eq!(command[..2], ["/bin/sh", "-c"]);
    assert_eq!(command[2], "echo hello 'the-host' smtp 100%; cat");
    shell.set_filter(rig.log.filter());
    shell.set_sentinel(rig.log.sentinel());
    shell.send("and on\n")?;
    rig.until_bytes(&shell, b"and on\n");
    shell.send_eof()?;
    rig.until_line(&shell, "finished (exit)");
    Ok(())
});

conformance!(on (poll epoll uring): without_an_end_nothing_is_awaited, |rig| {
    let opened = open(rig, "exec cat", DialogueParams::new(StreamType::Shell))?;
    assert_eq!((opened.greeting, opened.capabilities), (None, None));
    assert_eq!(opened.process.status(), Status::Run);
    Ok(())
});

conformance!(on (poll epoll uring): what_comes_behind_the_dialogue_is_handed_out, |rig| {
    let opened = open(rig, "printf 'hello\nmore'; cat", params())?;
    opened.process.set_filter(rig.log.filter());
    opened.process.send("!")?;
    let behind = || [&opened.leftover[..], &rig.log.bytes_of(&opened.process)].concat();
    rig.until("all of it", || behind() == b"more!");
    Ok(())
});

conformance!(on (poll epoll uring): a_program_that_ends_too_early_is_an_error, |rig| {
    // Emacs returns a process that has exited, and nil for what was awaited.
    let closed = DialogueReason::Closed(Stage::Greeting);
    assert_failed(rig, open(rig, "exit 3", params()), &closed);
    assert_failed(rig, open(rig, "no-such-program-here 2>/dev/null", params()), &closed);
    let asking = params().capability_command("x\n");
    let closed = DialogueReason::Closed(Stage::Capabilities);
    assert_failed(rig, open(rig, "echo a; read x; exit 3", asking), &closed);
    Ok(())
});

conformance!(on (poll epoll uring): a_silent_program_costs_no_more_than_the_time_given_and_is_killed, |rig| {
    let folder = tempfile::tempdir()?;
    let mark = folder.path().join("pid");
    let command = format!("trap '' TERM HUP; echo $$ > {}; sleep 1000; sleep 1000", mark.display());
    let stream = rig.rt.open_stream("s", "h", 1).dialogue(params()).shell_command(command);
    let opened = stream.within(Duration::from_millis(300)).start();
    assert_failed(rig, opened, &DialogueReason::TimedOut(Stage::Greeting));
    // On a machine that is very busy the shell has not come so far.
    if let Ok(pid) = std::fs::read_to_string(&mark).unwrap_or_default().trim().parse() {
        let pid = nix::unistd::Pid::from_raw(pid);
        let gone = || nix::sys::signal::kill(pid, None) == Err(nix::errno::Errno::ESRCH);
        rig.until("the end of the shell", gone);
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_host_runs_no_commands, |rig| {
    let folder = tempfile::tempdir()?;
    let mark = folder.path().join("pwned");
    let touch = format!("touch {}", mark.display());
    let hosts =
        [format!("a;{touch}"), format!("$({touch})"), format!("`{touch}`"), format!("a\n{touch}"),
         format!("'; {touch}; '"), format!("a&{touch}"), "-oProxyCommand=x".into()];
    for host in &hosts {
        for template in ["echo %s", "echo '%s'", "echo \"%s\""] {
            let stream = rig.rt.open_stream("s", host, 25).dialogue(params());
            let refused = stream.shell_command(template).start();
            let expected = ShellCommandError::Host(host.clone());
            assert!(matches!(&refused, Err(OpenStreamError::Shell(err)) if *err == expected), "{refused:?}");
        }
        let stream = rig.rt.open_stream("s", "h", host.as_str()).dialogue(params());
        let refused = stream.shell_command("echo %p").start();
        assert!(matches!(refused, Err(OpenStreamError::Shell(ShellCommandError::Service(_)))));
    }
    let missing = rig.rt.open_stream("s", "h", 1).dialogue(params()).start();
    assert!(matches!(missing, Err(OpenStreamError::Shell(ShellCommandError::Missing))));
    rig.settle();
    assert!(!mark.exists());
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

#[test]
fn a_simulation_starts_no_shell() {
    use netproc::sim::{Faults, SimReactor};
    let config = netproc::Config::default();
    let rt = Runtime::builder().simulated(SimReactor::new(1, Faults::none(), config));
    let refused = rt.open_stream("s", "h", 1).dialogue(params()).shell_command("cat").start();
    assert!(matches!(refused, Err(OpenStreamError::Spawn(SpawnError::Unsupported("sim")))));
}
