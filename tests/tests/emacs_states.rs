//! Scenarios that Emacs has run: the states of a process and the events that tell of them.
//!
//! Emacs Lisp manual 28.2, "Process Information", "Sentinels", "Deleting Processes",
//! "Signals to Processes".

use std::{cell::RefCell, rc::Rc};

use netproc::{Value, emacs::Function};
use netproc_tests::{
    lisp, scenario,
    transcript::{Tr, number, processes, q, sym},
};

scenario!(client_nowait_open, |t| {
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &lisp![:nowait true]);
    t.v("at once", t.of("process-status", &c));
    t.v("live", t.is("process-live-p", &c));
    t.v("no event yet", number(t.count("cli")));
    t.until(|| t.has_status(&c, "open"));
    t.v("contact", t.contact(&c, true));
    t.v("short", t.contact(&c, Value::Nil));
    t.send(&c, "ping");
    t.until(|| t.has_data("acc", "ping"));
    t.send(&t.accepted_one(&s, 1), "pong");
    t.until(|| t.has_data("cli", "pong"));
    t.show(&["cli", "acc"]);
    Ok(())
});

scenario!(client_nowait_refused, |t| {
    let s = t.server("probe", &[]);
    let port = t.port(&s);
    t.of("delete-process", &s);
    let args = lisp![:name "cli", :host "127.0.0.1", :service port, :nowait true, :noquery true,
        :sentinel t.sentinel("cli"), :filter t.filter("cli")];
    let c = t.f("make-network-process", &args);
    t.v("at once", t.of("process-status", &c));
    t.until(|| !t.has_status(&c, "connect"));
    t.settle();
    t.show(&["cli"]);
    t.state("failed", &c);
    t.call_try("send", "process-send-string", &[c.clone(), "x".into()]);
    t.call_try("eof", "process-send-eof", std::slice::from_ref(&c));
    t.v("short contact", t.contact(&c, Value::Nil));
    let waiting = || t.f("accept-process-output", &[c.clone(), 30.into()]);
    t.v("accept-process-output", t.timed(0.0, 10.0, waiting));
    Ok(())
});

scenario!(sentinel_order_on_remote_close, |t| {
    let size = 300_000;
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.send(&a, &("x".repeat(size) + "END"));
    t.of("delete-process", &a);
    t.until(|| !t.is("process-live-p", &c));
    t.settle();
    let events = t.events("cli");
    t.v("kinds", Value::list(events.iter().map(|(kind, _)| sym(kind))));
    let data = t.data("cli");
    let data = data.as_str().expect("all of it is ASCII");
    t.v("all of it", data.len() == size + 3);
    t.v("tail", &data[data.len() - 5..]);
    t.v("event", events.last().expect("an event").1.clone());
    t.state("client", &c);
    // The sentinel of the deleted side knew at once.
    t.show(&["acc"]);
    // The process is out of the list when its sentinel runs, and so is its name.
    let s = t.server("srv2", &[]);
    let seen = Rc::new(RefCell::new(Value::Nil));
    let sentinel = t.function({
        let seen = Rc::clone(&seen);
        move |t, args| {
            let p = &args[0];
            let listed = processes(&t.f("process-list", &[])).contains(p);
            *seen.borrow_mut() = Value::list([
                t.of("process-status", p),
                listed.into(),
                t.of("get-process", &"cli2".into()),
                t.of("process-exit-status", p),
            ]);
            Ok(Value::Nil)
        }
    });
    let c = t.client("cli2", &s, &lisp![:sentinel sentinel]);
    t.of("delete-process", &t.accepted_one(&s, 1));
    t.until(|| seen.borrow().is_true());
    t.v("seen by the sentinel", seen.take());
    t.v("contact still there", t.contact(&c, Value::Nil));
    Ok(())
});

scenario!(delete_process_events, |t| {
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &[]);
    let _a = t.accepted_one(&s, 1);
    t.v("value", t.of("delete-process", &c));
    t.show(&["cli"]);
    t.state("deleted", &c);
    t.v("again", t.of("delete-process", &c));
    t.show(&["cli"]);
    t.settle();
    t.show(&["acc"]);
    t.call_try("send", "process-send-string", &[c.clone(), "x".into()]);
    t.call_try("eof", "process-send-eof", std::slice::from_ref(&c));
    let option = [c.clone(), sym(":keepalive"), true.into()];
    t.call_try("option", "set-network-process-option", &option);
    t.call_try("by name", "delete-process", &["cli".into()]);
    let filter = t.of("process-filter", &c);
    t.v("still has filter", is_function(&filter));
    let stopped = Value::from(c == t.of("stop-process", &c));
    let stopped = [stopped, t.of("process-status", &c)];
    let continued = Value::from(c == t.of("continue-process", &c));
    let continued = [continued, t.of("process-status", &c)];
    t.v("stop and continue do nothing", Value::list([stopped, continued].concat()));
    let waiting = || t.f("accept-process-output", &[c.clone(), 30.into()]);
    t.v("accept-process-output", t.timed(0.0, 10.0, waiting));
    // A connection that the peer broke: 256, and 0 once deleted.
    let s = t.server("srv2", &[]);
    let c = t.client("cli2", &s, &[]);
    t.forget();
    t.of("delete-process", &t.accepted_one(&s, 1));
    t.until(|| !t.is("process-live-p", &c));
    t.settle();
    t.state("broken", &c);
    t.of("delete-process", &c);
    t.state("deleted", &c);
    t.show(&["cli"]);
    Ok(())
});

/// `functionp`: of a function somebody could still call.
fn is_function(value: &Value) -> bool {
    value.downcast::<Function>().is_some()
}

/// `with-current-buffer`.
fn with_current_buffer<T>(t: &Tr, name: &str, body: impl FnOnce() -> T) -> T {
    let buffers = t.rt().buffers();
    let before = buffers.current();
    let buffer = buffers.get(name).expect("the buffer is there");
    buffers.set_current(&buffer).expect("the buffer lives");
    let value = body();
    buffers.set_current(&before).expect("the buffer lives");
    value
}

scenario!(process_designators, |t| {
    let s = t.server("p", &[]);
    let c = t.client("c", &s, &lisp![:buffer "buf"]);
    let d = t.client("d", &s, &lisp![:buffer "buf"]);
    let _a = t.accepted_one(&s, 2);
    let of = |label: &str, name: &str, designator: Value| t.call_try(label, name, &[designator]);
    of("process-status name", "process-status", "p".into());
    of("process-status unknown name", "process-status", "zzz".into());
    of("process-status buffer name", "process-status", "buf".into());
    let buf = t.rt().buffers().get("buf").expect("the buffer is there");
    of("process-status buffer", "process-status", Value::object(buf));
    of("process-status symbol", "process-status", sym("c"));
    of("process-status nil", "process-status", Value::Nil);
    with_current_buffer(t, "buf", || {
        of("process-status nil in its buffer", "process-status", Value::Nil)
    });
    of("process-type name", "process-type", "p".into());
    of("process-type buffer name", "process-type", "buf".into());
    of("process-type unknown name", "process-type", "zzz".into());
    of("process-exit-status name", "process-exit-status", "p".into());
    of("process-name name", "process-name", "p".into());
    of("process-command name", "process-command", "p".into());
    of("process-live-p name", "process-live-p", "p".into());
    let are = [s.clone(), "p".into(), Value::Nil].map(|value| t.of("processp", &value));
    t.attempt("processp", || Ok(Value::list(are)));
    of("get-buffer-process", "get-buffer-process", "buf".into());
    of("get-buffer-process unknown", "get-buffer-process", "zzz".into());
    of("get-buffer-process nil", "get-buffer-process", Value::Nil);
    let send = |label: &str, to: Value, text: &str| {
        t.call_try(label, "process-send-string", &[to, text.into()]);
    };
    send("send to buffer name", "buf".into(), "from buf");
    t.until(|| t.has_data("acc", "from buf"));
    send("send to unknown", "zzz".into(), "x");
    send("send to nil", Value::Nil, "x");
    let accept = ["c".into(), 0.1.into()];
    t.call_try("accept-process-output name", "accept-process-output", &accept);
    of("delete buffer name", "delete-process", "buf".into());
    let status = |process: &Value| t.of("process-status", process);
    t.v("newest of the buffer went", Value::list([status(&c), status(&d)]));
    with_current_buffer(t, "buf", || of("delete nil", "delete-process", Value::Nil));
    of("delete buffer without process", "delete-process", "buf".into());
    of("delete unknown", "delete-process", "zzz".into());
    of("delete name", "delete-process", "p".into());
    t.v("status", status(&s));
    Ok(())
});

scenario!(not_a_subprocess, |t| {
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &[]);
    let of = |label: &str, name: &str, process: &Value| {
        t.call_try(label, name, std::slice::from_ref(process));
    };
    for p in [&s, &c] {
        t.v("name", t.of("process-name", p));
        of("id", "process-id", p);
        of("type", "process-type", p);
        of("command", "process-command", p);
        of("tty", "process-tty-name", p);
        of("interrupt", "interrupt-process", p);
        of("kill", "kill-process", p);
        of("quit", "quit-process", p);
        t.call_try("signal", "signal-process", &[p.clone(), sym("TERM")]);
    }
    // Stopping works on the object only.
    of("stop by name", "stop-process", &"cli".into());
    of("continue by name", "continue-process", &"cli".into());
    of("stop unknown", "stop-process", &"zzz".into());
    // A server does not transfer data.
    t.call_try("send to server", "process-send-string", &[s.clone(), "x".into()]);
    of("eof to server", "process-send-eof", &s);
    t.v("server unharmed", t.of("process-status", &s));
    of("datagram address of a stream", "process-datagram-address", &c);
    t.call_try("set it", "set-process-datagram-address", &[c, q("[127 0 0 1 9]")]);
    Ok(())
});

/// A client with the default filter and sentinel; `args` come last.
fn plain_client(t: &Tr, name: &str, port: i64, args: &[Value]) -> Value {
    let rest = lisp![:name name, :host "127.0.0.1", :service port, :noquery true];
    t.f("make-network-process", &[&rest, args].concat())
}

scenario!(default_sentinel_message, |t| {
    let text = |name: &str| t.text(&name.into());
    let s = t.server("srv", &[]);
    let c = plain_client(t, "cli", t.port(&s), &lisp![:buffer "b1"]);
    let a = t.accepted_one(&s, 1);
    t.v("sentinel", t.of("process-sentinel", &c));
    t.send(&a, "last words");
    t.of("delete-process", &a);
    t.until(|| !t.is("process-live-p", &c));
    t.settle();
    t.v("broken", text("b1"));
    let s = t.server("srv2", &[]);
    let c = plain_client(t, "cli", t.port(&s), &lisp![:buffer "b2"]);
    t.of("delete-process", &c);
    t.v("deleted", text("b2"));
    let s = t.server("srv3", &[]);
    let c = plain_client(t, "cli", t.port(&s), &lisp![:buffer "b3", :nowait true]);
    t.until(|| t.has_status(&c, "open"));
    t.v("open", text("b3"));
    let s = t.server("srv4", &[]);
    let port = t.port(&s);
    t.of("delete-process", &s);
    let c = plain_client(t, "fail", port, &lisp![:buffer "b4", :nowait true]);
    t.until(|| t.has_status(&c, "failed"));
    t.settle();
    t.v("failed", text("b4"));
    // The server's own.
    let args = lisp![:name "server", :server true, :host "127.0.0.1", :service true,
        :noquery true, :buffer "b5"];
    let s = t.f("make-network-process", &args);
    t.of("delete-process", &s);
    t.v("server", text("b5"));
    // Without a buffer it is no error.
    let s = t.server("srv6", &[]);
    let c = plain_client(t, "cli", t.port(&s), &lisp![:buffer Value::Nil]);
    let _a = t.accepted_one(&s, 1);
    t.call_try("no buffer", "delete-process", &[c]);
    Ok(())
});
