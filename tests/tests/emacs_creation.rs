//! Scenarios that Emacs has run: creation and contact.
//!
//! Emacs Lisp manual 28.2, "Network Processes", "Process Information".

use std::slice::from_ref;

use netproc::Value;
use netproc_tests::{
    lisp, scenario,
    transcript::{fmt, processes, q, sym},
};

scenario!(server_random_port, |t| {
    let s = t.server("srv", &[]);
    t.state("server", &s);
    let of = |name: &str| fmt(&t.f(name, from_ref(&s)));
    t.line(&format!("type={} id={}", of("process-type"), of("process-id")));
    let contact = |key: &str| t.f("process-contact", &[s.clone(), sym(key)]);
    t.v("local", contact(":local"));
    t.v("service is the port", contact(":service") == Value::from(t.port(&s)));
    t.v("host and service", t.f("process-contact", from_ref(&s)));
    t.v("remote", contact(":remote"));
    t.v("port in range", (1..65536).contains(&t.port(&s)));
    t.v("distinct", t.port(&s) != t.port(&t.server("other", &[])));
    let c = t.client("cli", &s, &[]);
    let remote = t.f("process-contact", &[c, sym(":remote")]);
    t.v("remote of client", remote == contact(":local"));
    Ok(())
});

scenario!(name_uniquified, |t| {
    let s = t.server("n", &[]);
    let names = ["n", "n", "n<1>", "", ""];
    let cs: Vec<Value> = names.iter().map(|name| t.client(name, &s, &[])).collect();
    let name = |process: &Value| t.f("process-name", from_ref(process));
    t.v("names", Value::list(cs.iter().map(name)));
    t.v("contact name is as asked", t.f("process-contact", &[cs[0].clone(), sym(":name")]));
    t.v("found", cs[1] == t.f("get-process", &["n<2>".into()]));
    t.v("accepted name", name(&t.accepted_one(&s, 1)));
    t.f("delete-process", &[cs[0].clone()]);
    t.v("freed", t.f("get-process", &["n<1>".into()]));
    let c = t.client("n", &s, &[]);
    t.v("reused", name(&c));
    t.v("found", c == t.f("get-process", &["n<1>".into()]));
    t.call_try("not a string", "get-process", &[sym("n")]);
    t.v("a process is its own answer", s == t.f("get-process", from_ref(&s)));
    t.v("unknown", t.f("get-process", &["zzz".into()]));
    let listed = processes(&t.f("process-list", &[]));
    let names = listed.iter().map(name);
    let own = names.filter(|name| !name.as_str().is_some_and(|name| name.contains("127")));
    t.v("newest first", Value::list(own));
    Ok(())
});

scenario!(bad_arguments_errors, |t| {
    let bad = |label: &str, args: &str| {
        t.call_try(label, "make-network-process", q(args).items().expect("a list"));
    };
    bad("no arguments", "()");
    bad("no name", r#"(:service 1 :host "127.0.0.1")"#);
    bad("name not a string", "(:name x :service 1)");
    bad("unknown type", r#"(:name "x" :type foo :service 1)"#);
    bad("stream is not a name of a type", r#"(:name "x" :type stream :service 1)"#);
    bad("unknown family", r#"(:name "x" :family inet :service 1)"#);
    bad("server and nowait", r#"(:name "x" :server t :nowait t :service t)"#);
    bad("host not a string", r#"(:name "x" :host foo :service 1)"#);
    bad("host a number", r#"(:name "x" :host 12 :service 1)"#);
    bad("non-ASCII host", "(:name \"x\" :host \"h\u{e9}.example\" :service 1)");
    bad("local without service", r#"(:name "x" :family local)"#);
    bad("local with number", r#"(:name "x" :family local :service 12)"#);
    let long = format!(r#"(:name "x" :family local :service "{}")"#, "a".repeat(108));
    bad("local too long", &long);
    let server =
        |rest: &str| format!(r#"(:name "x" :server t :host "127.0.0.1" :service t {rest})"#);
    bad("plist not a list", &server(":plist foo"));
    bad("unknown coding", &server(":coding no-such-coding"));
    bad("buffer a number", &server(":buffer 12"));
    bad("type before name", "(:type foo)");
    bad("name before address", "(:remote [1])");
    bad("server and nowait before name", "(:server t :nowait t)");
    t.v("no process left", t.f("process-list", &[]));
    Ok(())
});

scenario!(client_by_remote_address, |t| {
    let contact = |process: &Value, key: Value| t.f("process-contact", &[process.clone(), key]);
    let s = t.server("srv", &[]);
    let args = lisp![:name "cli", :remote contact(&s, sym(":local")), :noquery true,
        :coding sym("binary")];
    let c = t.f("make-network-process", &args);
    t.v("contact", contact(&c, Value::True));
    t.v("short", contact(&c, Value::Nil));
    t.v("status", t.f("process-status", &[c]));
    let s = t.server("srv2", &[]);
    let args = lisp![:name "cli2", :remote contact(&s, sym(":local")), :noquery true,
        :host "ignored.invalid", :service 1, :family sym("local")];
    let c = t.f("make-network-process", &args);
    t.v("short, host and service given", contact(&c, Value::Nil));
    t.v("remote", contact(&c, sym(":remote")) == contact(&s, sym(":local")));
    let bad = |label: &str, args: &str| {
        t.call_try(label, "make-network-process", q(args).items().expect("a list"));
    };
    bad("three elements", r#"(:name "x" :remote [127 0 0])"#);
    bad("four elements", r#"(:name "x" :remote [127 0 0 1])"#);
    bad("six elements", r#"(:name "x" :remote [127 0 0 1 2 3])"#);
    bad("symbol", r#"(:name "x" :remote local)"#);
    bad("cons without vector", r#"(:name "x" :remote (2 . "a"))"#);
    bad("server", r#"(:name "x" :server t :local [1 2 3])"#);
    t.v("nothing left behind", t.f("get-process", &["x".into()]));
    Ok(())
});
