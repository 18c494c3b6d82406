//! Children on a terminal. What it is like there was asked of Emacs 28.2, with `:connection-type 'pty`.

use netproc::{ChildSignal, ConnectionType, SpawnBuilder, Status, Stderr};
use netproc_tests::{
    child::die_of,
    conformance,
    contract::pattern,
    rig::{PATIENCE, Rig},
};
use nix::sys::signal::Signal;

/// A child of a shell's on a terminal that logs all it is told.
fn sh(rig: &Rig, script: &str) -> SpawnBuilder {
    let log = &rig.log;
    let shell = rig.rt.spawn_process("p", "sh").args(["-c", script]);
    let shell = shell.connection_type(ConnectionType::Pty);
    shell.filter(log.filter()).sentinel(log.sentinel())
}

/// What such a child writes until it has ended well.
fn output(rig: &Rig, child: SpawnBuilder) -> Result<String, Box<dyn std::error::Error>> {
    let child = child.start()?;
    rig.until_line(&child, "finished (exit)");
    Ok(String::from_utf8(rig.log.bytes_of(&child))?)
}

conformance!(on (poll epoll uring): a_child_has_a_terminal_whose_name_is_known, |rig| {
    let child = sh(rig, "tty; for n in 0 1 2; do test -t $n && echo $n; done").start()?;
    let name = child.tty_name().ok_or("a name")?;
    rig.until_line(&child, "finished (exit)");
    assert_eq!(rig.log.bytes_of(&child), format!("{name}\n0\n1\n2\n").as_bytes());
    assert_eq!(child.tty_name(), Some(name), "known after the end as well");
    assert_eq!(child.contact().get(":connection-type"), Some(netproc::Value::symbol("pty")));
    Ok(())
});

// Letter for letter what `stty -a` writes in a child of Emacs 28.2 on Linux, but for the size.
#[cfg(target_os = "linux")]
conformance!(on (poll epoll uring): a_terminal_is_set_as_emacs_sets_it, |rig| {
    let expected = "\
speed 38400 baud; rows 0; columns 0; line = 0;
intr = ^C; quit = ^\\; erase = <undef>; kill = <undef>; eof = ^D; eol = <undef>;
eol2 = <undef>; swtch = <undef>; start = ^Q; stop = ^S; susp = ^Z; rprnt = ^R;
werase = ^W; lnext = ^V; discard = ^O; min = 1; time = 0;
-parenb -parodd -cmspar cs8 -hupcl -cstopb cread -clocal -crtscts
-ignbrk -brkint -ignpar -parmrk -inpck -istrip -inlcr -igncr icrnl ixon -ixoff
-iuclc -ixany -imaxbel -iutf8
opost -olcuc -ocrnl -onlcr -onocr -onlret -ofill -ofdel nl0 cr0 tab0 bs0 vt0 ff0
isig icanon iexten -echo echoe echok -echonl -noflsh -xcase -tostop -echoprt
echoctl echoke -flusho -extproc
";
    assert_eq!(output(rig, sh(rig, "stty -a"))?, expected);
    Ok(())
});

// `ps` shows the same for Emacs's children.
conformance!(on (poll epoll uring): a_child_leads_a_session_of_its_own, |rig| {
    let script = "set -- $(ps -o pid=,pgid=,sid=,tpgid= -p $$); echo $(($1-$2)) $(($2-$3)) $(($3-$4))";
    assert_eq!(output(rig, sh(rig, script))?, "0 0 0\n", "and is in the foreground of its terminal");
    let log = &rig.log;
    let script = "set -- $(ps -o pid=,pgid=,sid=,tpgid= -p $$); echo $(($1-$2)) $(($2-$3)) $4; tty";
    let piped = rig.rt.spawn_process("q", "sh").args(["-c", script]).filter(log.filter());
    let piped = piped.sentinel(log.sentinel()).start()?;
    rig.until("its end", || !piped.is_live());
    assert_eq!(log.bytes_of(&piped), b"0 0 -1\nnot a tty\n", "without a terminal");
    Ok(())
});

conformance!(on (poll epoll uring): what_is_sent_is_not_echoed, |rig| {
    let cat = sh(rig, "exec cat").start()?;
    cat.send("hello\n")?;
    rig.until_bytes(&cat, b"hello\n");
    cat.send("again\n")?;
    rig.until_bytes(&cat, b"hello\nagain\n");
    rig.settle();
    rig.until_bytes(&cat, b"hello\nagain\n");
    Ok(())
});

// As in Emacs, where the first `C-d` hands out what is there and the second is the end.
conformance!(on (poll epoll uring): the_end_of_a_terminals_input_is_a_character, |rig| {
    let cat = sh(rig, "exec cat").start()?;
    cat.send("hello\n")?;
    cat.send_eof()?;
    rig.until_line(&cat, "finished (exit)");
    assert_eq!(rig.log.of(&cat), ["\"hello\\n\" (run)", "finished (exit)"]);
    let cat = sh(rig, "exec cat").start()?;
    cat.send("partial")?;
    cat.send_eof()?;
    rig.until_bytes(&cat, b"partial");
    cat.send("more\n")?;
    rig.until_bytes(&cat, b"partialmore\n");
    assert_eq!(cat.status(), Status::Run);
    cat.send_eof()?;
    rig.until_line(&cat, "finished (exit)");
    Ok(())
});

conformance!(on (poll epoll uring): a_code_and_a_signal_are_told_behind_the_output, |rig| {
    die_of(Signal::SIGHUP)?;
    for (script, words) in [
        ("echo hi; exit 7", "exited abnormally with code 7 (exit)"),
        ("echo hi; kill -HUP $$; exit 99", "hangup (signal)"),
        ("echo hi; kill $$; exit 99", "terminated (signal)"),
    ] {
        let child = sh(rig, script).start()?;
        rig.until_line(&child, words);
        assert_eq!(rig.log.of(&child), ["\"hi\\n\" (run)", words]);
    }
    Ok(())
});

conformance!(on (poll epoll uring): all_that_was_written_comes_before_the_end, |rig| {
    let child = sh(rig, "head -c 1000000 /dev/zero; exit 5").start()?;
    rig.until_line(&child, "exited abnormally with code 5 (exit)");
    assert_eq!(rig.log.len_of(&child), 1_000_000);
    assert_eq!(rig.log.of(&child).len(), 2);
    Ok(())
});

conformance!(on (poll epoll uring): much_goes_through_a_raw_terminal_in_order, |rig| {
    let cat = sh(rig, "stty raw; echo on; exec head -c 300000").start()?;
    rig.until_bytes(&cat, b"on\n");
    rig.log.clear();
    let bytes = pattern(3, 300_000);
    for chunk in bytes.chunks(50_000) {
        cat.send_wait(chunk, Some(PATIENCE))?;
    }
    rig.until_line(&cat, "finished (exit)");
    rig.until_bytes(&cat, &bytes);
    Ok(())
});

conformance!(on (poll epoll uring): a_terminal_that_nobody_reads_takes_no_more_than_the_bound, |rig| {
    let mut limits = netproc::Limits::default();
    limits.queue_len_max = 100_000;
    let child = sh(rig, "stty raw; echo on; exec sleep 1000").limits(limits).start()?;
    rig.until_bytes(&child, b"on\n");
    while child.send(vec![b'x'; 10_000]).is_ok() {
        rig.settle();
    }
    assert!((100_000..110_000).contains(&child.queued()), "{}", child.queued());
    child.delete();
    Ok(())
});

conformance!(on (poll epoll uring): whoever_keeps_the_terminal_open_does_not_delay_the_end, |rig| {
    let child = sh(rig, "trap '' HUP; sleep 1000 & echo $!; exit 3").start()?;
    rig.until_line(&child, "exited abnormally with code 3 (exit)");
    let grandchild = String::from_utf8(rig.log.bytes_of(&child))?.trim().parse()?;
    let grandchild = nix::unistd::Pid::from_raw(grandchild);
    nix::sys::signal::kill(grandchild, nix::sys::signal::SIGKILL)?;
    Ok(())
});

conformance!(on (poll epoll uring): a_child_may_leave_its_terminal_and_run_on, |rig| {
    let script = "trap 'exit 4' USR1; echo a; exec <&- >&- 2>&-; while :; do sleep 0.01; done";
    let child = sh(rig, script).start()?;
    rig.until_bytes(&child, b"a\n");
    rig.settle();
    assert_eq!(child.status(), Status::Run);
    child.signal(ChildSignal::USR1)?;
    rig.until_line(&child, "exited abnormally with code 4 (exit)");
    Ok(())
});

conformance!(on (poll epoll uring): a_child_on_a_terminal_stops_and_goes_on, |rig| {
    let cat = sh(rig, "exec cat").start()?;
    cat.stop();
    rig.until_line(&cat, "stopped (signal) (stop)");
    cat.send("late\n")?;
    cat.resume();
    rig.until_line(&cat, "run (run)");
    rig.until_bytes(&cat, b"late\n");
    cat.interrupt()?;
    rig.until_line(&cat, "interrupt (signal)");
    Ok(())
});

conformance!(on (poll epoll uring): errors_beside_a_terminal_are_a_pipe, |rig| {
    let script = "test -t 1 && echo out; test -t 2 || echo err >&2";
    let child = sh(rig, script).stderr(Stderr::Process).start()?;
    let errors = child.stderr().ok_or("a process")?;
    errors.set_filter(rig.log.filter());
    errors.set_sentinel(rig.log.sentinel());
    rig.until_line(&child, "finished (exit)");
    rig.until_line(&errors, "finished (closed)");
    assert_eq!(rig.log.bytes_of(&child), b"out\n");
    assert_eq!(rig.log.bytes_of(&errors), b"err\n");
    Ok(())
});

conformance!(alone on (poll epoll uring): many_terminals_leave_nothing, |rig| {
    let before = netproc_tests::child::descriptors()?;
    for _ in 0..3 {
        let children: Vec<_> =
            (0..20).map(|_| sh(rig, "read x; echo $x").start()).collect::<Result<_, _>>()?;
        for child in &children {
            child.send("word\n")?;
        }
        for child in &children {
            rig.until_line(child, "finished (exit)");
            assert_eq!(rig.log.bytes_of(child), b"word\n");
        }
        rig.until("every socket closed", || rig.rt.stats().sockets == 0);
        assert_eq!(netproc_tests::child::descriptors()?, before);
    }
    Ok(())
});
