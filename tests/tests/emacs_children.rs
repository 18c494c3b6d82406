//! Scenarios that Emacs has run: subprocesses, their ends and signals, on pipes and on a terminal.
//!
//! Emacs Lisp manual 28.2, "Asynchronous Processes", "Process Information", "Signals to Processes".

use netproc::{Value, emacs::Emacs};
use netproc_tests::{
    conformance, lisp, scenario,
    transcript::{Tr, number, q, sym},
};

/// `np-sh` of the scenarios: a child of a shell's that logs under its name.
fn sh(t: &Tr, name: &str, script: &str, connection_type: &str) -> Value {
    let command = Value::list(["sh", "-c", script].map(Value::from));
    let rest = lisp![
        :name name, :command command, :noquery true, :coding sym("binary"),
        :filter t.filter(name), :sentinel t.sentinel(name)
    ];
    make(t, connection_type, &rest)
}

/// `make-process` with that `:connection-type`.
fn make(t: &Tr, connection_type: &str, args: &[Value]) -> Value {
    t.f("make-process", &[args, &[sym(":connection-type"), sym(connection_type)]].concat())
}

/// `np-gone`.
fn gone(t: &Tr, p: &Value) {
    t.until(|| !t.is("process-live-p", p));
    t.settle();
}

/// `np-data`.
fn data(t: &Tr, name: &str, len: usize) {
    t.until(|| t.data(name).as_str().map_or(0, str::len) >= len);
}

fn call(t: &Tr, label: &str, name: &str, process: impl Into<Value>) {
    t.call_try(label, name, &[process.into()]);
}

scenario!(on (poll epoll uring): real_process_life, |t| {
    let p = sh(t, "p", "read x; echo got $x; exit 3", "pipe");
    t.state("born", &p);
    t.v("type", t.of("process-type", &p));
    t.v("type by name", t.of("process-type", &"p".into()));
    let has_id = || Value::from(t.of("process-id", &p).as_integer().is_some());
    t.v("has an id", has_id());
    t.v("command", t.of("process-command", &p));
    t.v("tty", t.of("process-tty-name", &p));
    t.v("contact", t.of("process-contact", &p));
    t.v("contact t", t.contact(&p, true));
    t.v("contact :host", t.contact(&p, sym(":host")));
    t.v("coding", t.of("process-coding-system", &p));
    t.v("live", t.of("process-live-p", &p));
    call(t, "datagram address", "process-datagram-address", p.clone());
    t.call_try("option", "set-network-process-option", &[p.clone(), sym(":keepalive"), true.into()]);
    t.call_try("send", "process-send-string", &[p.clone(), "it\n".into()]);
    gone(t, &p);
    t.show(&["p"]);
    t.state("ended", &p);
    t.v("has an id", has_id());
    t.v("command", t.of("process-command", &p));
    for name in [
        "interrupt-process", "kill-process", "quit-process", "stop-process", "continue-process",
        "process-send-eof", "delete-process",
    ] {
        call(t, name, name, p.clone());
    }
    t.call_try("signal", "signal-process", &[p.clone(), sym("TERM")]);
    t.call_try("send", "process-send-string", &[p.clone(), "more".into()]);
    t.state("deleted", &p);

    let p = sh(t, "cat", "cat; exit 0", "pipe");
    t.send(&p, "one");
    call(t, "eof", "process-send-eof", p.clone());
    t.call_try("send after eof", "process-send-string", &[p.clone(), "two".into()]);
    call(t, "eof again", "process-send-eof", "cat");
    gone(t, &p);
    t.show(&["cat"]);
    t.state("ended", &p);

    let p = sh(t, "early", "exec 3<&0; (read x <&3; echo late) & echo early; exit 4", "pipe");
    gone(t, &p);
    t.settle_for(0.6);
    t.show(&["early"]);
    t.state("ended", &p);

    let p = sh(t, "mute", "echo a; exec >/dev/null 2>&1; read x; exit 5", "pipe");
    t.until(|| t.count("mute") > 0);
    t.settle();
    t.state("without output", &p);
    t.send(&p, "\n");
    gone(t, &p);
    t.show(&["mute"]);

    let p = sh(t, "deaf", "echo a; read x; echo b; exit 6", "pipe");
    t.until(|| t.count("deaf") > 0);
    t.f("set-process-filter", &[p.clone(), true.into()]);
    t.send(&p, "\n");
    gone(t, &p);
    t.show(&["deaf"]);
    Ok(())
});

scenario!(on (poll epoll uring): real_process_signals, |t| {
    for n in [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 34, 64] {
        let name = format!("kill -{n}");
        let p = sh(t, &name, &format!("ulimit -c 0; kill -{n} $$; exit 99"), "pipe");
        gone(t, &p);
        t.show(&[&name]);
        t.state("ended", &p);
    }
    let signal = |label: &str, process: Value, signal: Value| {
        t.call_try(label, "signal-process", &[process, signal]);
    };
    let p = sh(t, "s", "echo a; kill -STOP $$; echo b; read x; exit 7", "pipe");
    t.until(|| t.has_status(&p, "stop"));
    t.settle();
    t.state("stopped", &p);
    t.v("live", t.of("process-live-p", &p));
    t.call_try("send", "process-send-string", &[p.clone(), "x\n".into()]);
    call(t, "eof", "process-send-eof", p.clone());
    signal("continue", p.clone(), sym("CONT"));
    data(t, "s", 4);
    t.settle();
    t.state("continued", &p);
    t.send(&p, "x\n");
    gone(t, &p);
    t.v("data", t.data("s"));
    for (kind, text) in t.events("s") {
        if kind == "event" {
            t.line(&format!("event {}", text.as_str().unwrap_or_default()));
        }
    }
    let script = "trap 'echo int' INT; trap 'echo term' TERM; trap 'echo hup' HUP; echo on; \
                  while :; do sleep 0.02; done";
    let p = sh(t, "t", script, "pipe");
    data(t, "t", 3);
    call(t, "stop", "stop-process", p.clone());
    t.settle();
    t.state("not stopped", &p);
    call(t, "stop by name", "stop-process", "t");
    call(t, "interrupt", "interrupt-process", p.clone());
    data(t, "t", 7);
    signal("signal", p.clone(), sym("TERM"));
    data(t, "t", 12);
    signal("signal by its long name", p.clone(), sym("SIGHUP"));
    data(t, "t", 16);
    signal("signal by a small name", p.clone(), sym("int"));
    data(t, "t", 20);
    signal("signal by name of the process", "t".into(), 15.into());
    data(t, "t", 25);
    signal("signal the number of the child", t.of("process-id", &p), 15.into());
    data(t, "t", 30);
    signal("signal 0", p.clone(), 0.into());
    signal("unknown signal", p.clone(), sym("foo"));
    signal("unknown number", p.clone(), 9999.into());
    signal("wrong signal", p.clone(), "TERM".into());
    signal("unknown process", "zzz".into(), sym("TERM"));
    signal("unknown number of a process", 99_999_999.into(), sym("TERM"));
    call(t, "interrupt unknown", "interrupt-process", "zzz");
    call(t, "kill", "kill-process", p.clone());
    gone(t, &p);
    t.show(&["t"]);
    t.state("killed", &p);

    let p = sh(t, "q", "ulimit -c 0; exec cat", "pipe");
    t.send(&p, "a");
    data(t, "q", 1);
    call(t, "quit by name", "quit-process", "q");
    gone(t, &p);
    t.show(&["q"]);

    let p = sh(t, "d", "trap '' HUP INT TERM; echo on; while :; do sleep 0.02; done", "pipe");
    data(t, "d", 3);
    call(t, "delete", "delete-process", p.clone());
    t.show(&["d"]);
    t.state("deleted", &p);
    call(t, "delete again", "delete-process", p);
    t.settle();
    t.v("events", number(t.count_of("d", "event")));
    Ok(())
});

scenario!(on (poll epoll uring): real_process_pty, |t| {
    let p = sh(t, "p", "tty; stty -a; for n in 0 1 2; do test -t $n && echo $n; done", "pty");
    let tty = t.of("process-tty-name", &p);
    t.v("has a tty", tty.is_string());
    gone(t, &p);
    let (name, heard) = (format!("{}\n", tty.as_str().unwrap_or_default()), t.data("p"));
    let rest = heard.as_str().and_then(|heard| heard.strip_prefix(&name));
    t.v("its own", rest.is_some());
    t.line(rest.unwrap_or_default());
    t.state("ended", &p);

    let p = sh(t, "cat", "exec cat", "pty");
    t.send(&p, "hello\n");
    data(t, "cat", 6);
    t.send(&p, "partial");
    call(t, "eof", "process-send-eof", p.clone());
    data(t, "cat", 13);
    t.settle();
    t.state("not at the beginning of a line", &p);
    t.send(&p, "more\n");
    data(t, "cat", 18);
    t.of("process-send-eof", &p);
    gone(t, &p);
    t.show(&["cat"]);

    let to_group = |label: &str, name: &str, p: &Value, group: Value| {
        t.call_try(label, name, &[p.clone(), group]);
    };
    let p = sh(t, "g", "exec sleep 100", "pty");
    t.settle();
    to_group("kill lambda", "kill-process", &p, sym("lambda"));
    t.settle();
    t.state("spared", &p);
    to_group("kill t", "kill-process", &p, true.into());
    gone(t, &p);
    t.show(&["g"]);

    let p = sh(t, "i", "exec sleep 100", "pty");
    t.settle();
    to_group("interrupt lambda", "interrupt-process", &p, sym("lambda"));
    gone(t, &p);
    t.show(&["i"]);

    let args = ["start".into(), Value::Nil, "sh".into(), "-c".into(), "exit 2".into()];
    let p = t.f("start-process", &args);
    t.v("tty", t.of("process-tty-name", &p).is_string());
    t.v("filter", t.of("process-filter", &p));
    t.v("sentinel", t.of("process-sentinel", &p));
    t.v("query", t.of("process-query-on-exit-flag", &p));
    t.v("coding", t.of("process-coding-system", &p));
    gone(t, &p);
    t.state("ended", &p);
    Ok(())
});

scenario!(on (poll epoll uring): real_process_start, |t| {
    let attempt = |label: &str, args: &[Value]| t.call_try(label, "make-process", args);
    let true_command = || q(r#"("true")"#);
    attempt("no arguments", &[]);
    attempt("no name", &lisp![:command true_command()]);
    attempt("name", &lisp![:name sym("x"), :command true_command()]);
    attempt("command", &lisp![:name "x", :command "true"]);
    attempt("argument", &lisp![:name "x", :command q(r#"("true" 3)"#)]);
    attempt("program", &lisp![:name "x", :command q("(true)")]);
    attempt("stop", &lisp![:name "x", :command true_command(), :stop true]);
    attempt("stderr", &lisp![:name "x", :command true_command(), :stderr 3]);
    attempt("coding", &lisp![:name "x", :command true_command(), :coding sym("nosuch")]);
    attempt("buffer", &lisp![:name "x", :command true_command(), :buffer 3]);
    attempt("missing", &lisp![:name "x", :command q(r#"("no-such-program-here")"#)]);
    attempt("a folder", &lisp![:name "x", :command q(r#"("/tmp")"#)]);
    let start = |label: &str, args: [Value; 3]| t.call_try(label, "start-process", &args);
    start("start name", [3.into(), Value::Nil, "true".into()]);
    start("start program", ["x".into(), Value::Nil, 3.into()]);
    let args = ["x".into(), Value::Nil, "true".into(), 3.into()];
    t.call_try("start argument", "start-process", &args);
    t.v("left", t.f("process-list", &[]));

    let errors = Value::object(t.rt().buffers().get_or_create("err"));
    let script = q(r#"("sh" "-c" "echo out; echo err >&2; exit 3")"#);
    let args = lisp![:name "q", :buffer "out", :command script, :noquery true, :stderr errors.clone()];
    let p = make(t, "pipe", &args);
    let e = t.of("get-buffer-process", &errors);
    t.v("listed", t.f("process-list", &[]));
    t.v("name", t.of("process-name", &e));
    t.v("type", t.of("process-type", &e));
    t.state("errors", &e);
    t.v("id", t.of("process-id", &e));
    t.v("command", t.of("process-command", &e));
    t.v("contact", t.of("process-contact", &e));
    t.v("contact :name", t.contact(&e, sym(":name")));
    call(t, "interrupt", "interrupt-process", e.clone());
    t.call_try("signal", "signal-process", &[e.clone(), sym("INT")]);
    t.call_try("send", "process-send-string", &[e.clone(), "x".into()]);
    call(t, "eof", "process-send-eof", e.clone());
    t.call_try("option", "set-network-process-option", &[e.clone(), sym(":keepalive"), true.into()]);
    gone(t, &p);
    gone(t, &e);
    t.v("output", t.text(&"out".into()));
    t.v("errors", t.text(&"err".into()));
    t.state("child", &p);
    t.state("errors", &e);

    let script = q(r#"("sh" "-c" "kill -STOP $$; exit 3")"#);
    let args = lisp![:name "r", :buffer "both", :command script, :noquery true];
    let p = make(t, "pipe", &args);
    t.until(|| t.has_status(&p, "stop"));
    t.settle();
    t.f("signal-process", &[p.clone(), sym("CONT")]);
    gone(t, &p);
    t.v("a stop and an end", t.text(&"both".into()));

    let args = lisp![:name "k", :buffer "kb", :command q(r#"("cat")"#), :noquery true];
    let p = make(t, "pipe", &args);
    t.f("kill-buffer", &["kb".into()]);
    gone(t, &p);
    t.state("buffer killed", &p);
    Ok(())
});

conformance!(on (poll epoll uring): a_child_that_was_given_nothing_has_the_defaults, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let args = q(r#"(:name "x" :command ("true") :connection-type pipe)"#);
    let made = emacs.call("make-process", args.items().unwrap_or_default())?;
    for (function, default) in [
        ("process-filter", "internal-default-process-filter"),
        ("process-sentinel", "internal-default-process-sentinel"),
    ] {
        assert_eq!(emacs.call(function, std::slice::from_ref(&made))?, sym(default));
    }
    Ok(())
});
