//! Scenarios that Emacs has run: packets and records.
//!
//! Emacs Lisp manual 28.2, "Datagrams", "Network Processes" (`:type seqpacket`).

use std::slice::from_ref;

use netproc::Value;
use netproc_tests::{
    lisp, scenario,
    transcript::{Tr, fmt, q, sym},
};

/// Calls a function of one argument, a process mostly.
fn of(t: &Tr, name: &str, argument: &Value) -> Value {
    t.f(name, from_ref(argument))
}

fn send(t: &Tr, process: &Value, text: &str) {
    t.f("process-send-string", &[process.clone(), text.into()]);
}

/// The address a process has under `key`.
fn contact(t: &Tr, process: &Value, key: &str) -> Value {
    t.f("process-contact", &[process.clone(), sym(key)])
}

scenario!(datagram_echo_reply_address, |t| {
    let answer = t.function(|t, args| {
        let from = of(t, "process-datagram-address", &args[0]);
        let from = of(t, "format-network-address", &from);
        let text = args[1].as_str().unwrap_or_default();
        let from = from.as_str().unwrap_or_default();
        t.note("us", "packet", format!("{text} from {from}"));
        t.call("process-send-string", &[args[0].clone(), text.to_uppercase().into()])
    });
    let args = lisp![:name "us", :server true, :type sym("datagram"), :host "127.0.0.1",
        :service true, :noquery true, :coding sym("binary"), :sentinel t.sentinel("us"),
        :filter answer];
    let s = t.f("make-network-process", &args);
    let make = |name: &str| {
        let args = lisp![:name name, :type sym("datagram"), :host "127.0.0.1",
            :service t.port(&s), :noquery true, :coding sym("binary"),
            :filter t.packet_filter(name), :sentinel t.sentinel(name)];
        t.f("make-network-process", &args)
    };
    let (c1, c2) = (make("c1"), make("c2"));
    t.state("server", &s);
    t.state("client", &c1);
    send(t, &c1, "one");
    t.until(|| t.count("c1") == 1);
    send(t, &c2, "two");
    t.until(|| t.count("c2") == 1);
    send(t, &c1, "three");
    t.until(|| t.count("c1") == 2);
    t.show(&["us", "c1", "c2"]);
    // Unasked, it goes to the last one.
    send(t, &s, "unasked");
    t.until(|| t.count("c1") == 3);
    t.v("c1", t.events("c1").pop().expect("it has come").1);
    // Packets are not joined.
    send(t, &c2, "a");
    send(t, &c2, "b");
    send(t, &c2, "c");
    t.until(|| t.count("c2") == 4);
    t.v("c2", Value::list(t.events("c2").into_iter().map(|(_, text)| text)));
    of(t, "delete-process", &s);
    let (kind, text) = t.events("us").pop().expect("there are some");
    t.v("server", Value::list([of(t, "process-status", &s), Value::pair(sym(&kind), text)]));
    t.call_try("no error from the void", "process-send-string", &[c1.clone(), "hello?".into()]);
    t.settle();
    t.state("client", &c1);
    Ok(())
});

/// The first part of the next scenario: whom a packet process talks to.
fn peers(t: &Tr, a: &Value, b: &Value, c: &Value) {
    let peer = |process: &Value| of(t, "process-datagram-address", process);
    let b_at = contact(t, b, ":local");
    t.v("type", of(t, "process-type", c));
    t.v("server, short", of(t, "process-contact", a));
    t.v("server, local", contact(t, a, ":local"));
    t.call_try("server without peer", "process-send-string", &[a.clone(), "x".into()]);
    t.v("client", t.f("process-contact", &[c.clone(), Value::True]));
    t.v("client peer", peer(c) == contact(t, a, ":local"));
    send(t, c, "to a");
    t.until(|| t.count("a") == 1);
    t.v("peer of the server", contact(t, a, ":remote") == peer(a));
    t.v("it is on the loopback", t.f("format-network-address", &[peer(a), Value::True]));
    t.v("set", t.f("set-process-datagram-address", &[c.clone(), b_at.clone()]) == b_at);
    t.v("get", peer(c) == b_at);
    t.v("contact follows", contact(t, c, ":remote") == b_at);
    send(t, c, "to b");
    t.until(|| t.count("b") == 1);
    send(t, b, "to c");
    t.until(|| t.count("c") == 1);
    // An address of another shape changes nothing.
    for bad in ["[127 0 0 1]", "[0 0 0 0 0 0 0 1 9]", "\"name\"", "nil", "sym"].map(q) {
        let set = fmt(&t.f("set-process-datagram-address", &[c.clone(), bad.clone()]));
        let kept = if peer(c) == b_at { "t" } else { "nil" };
        t.line(&format!("set {}: {set}, kept {kept}", fmt(&bad)));
    }
}

scenario!(datagram_contact_and_peer, |t| {
    let server = |name: &str| {
        let args = lisp![:name name, :server true, :type sym("datagram"), :host "127.0.0.1",
            :service true, :noquery true, :coding sym("binary"), :filter t.packet_filter(name)];
        t.f("make-network-process", &args)
    };
    let (a, b) = (server("a"), server("b"));
    let args = lisp![:name "c", :type sym("datagram"), :host "127.0.0.1", :service t.port(&a),
        :noquery true, :coding sym("binary"), :filter t.packet_filter("c")];
    let c = t.f("make-network-process", &args);
    peers(t, &a, &b, &c);
    // Too large.
    let large = Value::from("x".repeat(70_000));
    t.call_try("too large", "process-send-string", &[c.clone(), large]);
    t.state("client", &c);
    // Nothing to close.
    t.attempt("eof", || Ok((c == t.call("process-send-eof", from_ref(&c))?).into()));
    t.call_try("empty", "process-send-string", &[c.clone(), "".into()]);
    t.settle();
    t.state("client", &c);
    t.show(&["a", "b", "c"]);
    of(t, "delete-process", &c);
    t.v("address of a deleted one", of(t, "process-datagram-address", &c));
    Ok(())
});

scenario!(seqpacket_message_boundaries, |t| {
    let file = t.path("sq");
    let args = lisp![:name "sq", :server true, :type sym("seqpacket"), :family sym("local"),
        :service &*file, :noquery true, :coding sym("binary"),
        :filter t.packet_filter("acc"), :sentinel t.sentinel("acc")];
    let s = t.f("make-network-process", &args);
    let args = lisp![:name "cli", :type sym("seqpacket"), :family sym("local"),
        :service &*file, :noquery true, :coding sym("binary"),
        :filter t.packet_filter("cli"), :sentinel t.sentinel("cli")];
    let c = t.f("make-network-process", &args);
    let a = t.accepted_one(&s, 1);
    t.state("server", &s);
    t.v("accepted", contact(t, &a, ":type"));
    send(t, &c, "one");
    send(t, &c, "two");
    send(t, &c, "three");
    t.until(|| t.count_of("acc", "packet") == 3);
    send(t, &a, "uno");
    send(t, &a, "dos");
    t.until(|| t.count_of("cli", "packet") == 2);
    send(t, &c, "last");
    of(t, "process-send-eof", &c);
    t.until(|| !of(t, "process-live-p", &c).is_true());
    t.settle();
    t.show(&["acc", "cli"]);
    t.call_try("peer of a seqpacket", "process-datagram-address", from_ref(&c));
    let args = lisp![:name "x", :type sym("seqpacket"), :host "127.0.0.1", :service 1];
    t.call_try("not over IP", "make-network-process", &args);
    Ok(())
});
