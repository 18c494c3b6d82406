//! Scenarios that Emacs has run: creation and contact.
//!
//! Emacs Lisp manual 28.2, "Network Processes", "Process Information".

use std::{
    cell::RefCell,
    error::Error,
    os::fd::{AsRawFd as _, OwnedFd},
    slice,
};

use netproc::Value;
use netproc_tests::{
    lisp, scenario,
    transcript::{Tr, fmt, processes, q, sym},
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};

/// The names of the listed processes, the newest first.
fn names(t: &Tr) -> Value {
    let listed = processes(&t.f("process-list", &[]));
    Value::list(listed.iter().map(|process| t.f("process-name", slice::from_ref(process))))
}

/// A socket that is bound to this port and does not listen: a connect is refused as without it, and the
/// system gives the port to no other test. The ports of a simulation are its own.
fn held(t: &Tr, port: i64) -> Result<Option<OwnedFd>, Box<dyn Error>> {
    if t.rt().with_simulation(|_| ()).is_some() {
        return Ok(None);
    }
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port.try_into()?))?;
    Ok(Some(socket))
}

scenario!(server_random_port, |t| {
    let s = t.server("srv", &[]);
    t.state("server", &s);
    let of = |name: &str| fmt(&t.f(name, slice::from_ref(&s)));
    t.line(&format!("type={} id={}", of("process-type"), of("process-id")));
    let contact = |key: &str| t.f("process-contact", &[s.clone(), sym(key)]);
    t.v("local", contact(":local"));
    t.v("service is the port", contact(":service") == Value::from(t.port(&s)));
    t.v("host and service", t.f("process-contact", slice::from_ref(&s)));
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
    let name = |process: &Value| t.f("process-name", slice::from_ref(process));
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
    t.v("a process is its own answer", s == t.f("get-process", slice::from_ref(&s)));
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

scenario!(server_local_address, |t| {
    let contact = |process: &Value, key: Value| t.f("process-contact", &[process.clone(), key]);
    let local = q("[127 0 0 1 0]");
    let show = |args: &[Value]| {
        let s = t.f("make-network-process", args);
        t.v("contact", contact(&s, Value::True));
        t.v("short", contact(&s, Value::Nil));
    };
    show(&lisp![:name "a", :server true, :noquery true, :local local.clone()]);
    show(&lisp![:name "b", :server true, :noquery true, :local local.clone(),
        :host "nosuch.invalid", :service 25, :family sym("local")]);
    // A fixed port in the vector.
    let a = t.server("probe", &[]);
    let port = t.port(&a);
    t.f("delete-process", &[a]);
    let fixed = Value::vector([127, 0, 0, 1, port].map(Value::from));
    let args = lisp![:name "c", :server true, :noquery true, :local fixed];
    let s = t.f("make-network-process", &args);
    t.v("same port", contact(&s, sym(":service")) == Value::from(port));
    t.v("status", t.f("process-status", &[s]));
    // `:remote` is no business of a stream server.
    let args = lisp![:name "d", :server true, :noquery true, :local local,
        :remote q("[127 0 0 1 9]")];
    let s = t.f("make-network-process", &args);
    t.v("remote kept as given", contact(&s, sym(":remote")));
    Ok(())
});

scenario!(server_host_forms, |t| {
    let made = |rest: &[Value]| {
        [&lisp![:name "s", :server true, :service true, :noquery true], rest].concat()
    };
    let ports = RefCell::new(Vec::new());
    let show = |label: &str, rest: &[Value]| {
        let s = loop {
            let s = t.f("make-network-process", &made(rest));
            let port = t.port(&s);
            // A port that the system gives a second time would print under its first name.
            if !ports.borrow().contains(&port) {
                ports.borrow_mut().push(port);
                break s;
            }
            t.f("delete-process", &[s]);
        };
        let contact = |key: Value| fmt(&t.f("process-contact", &[s.clone(), key]));
        t.line(&format!("{label}: {} {}", contact(Value::Nil), contact(Value::True)));
        t.f("delete-process", &[s]);
    };
    show("omitted", &[]);
    show("local", &lisp![:host sym("local")]);
    show("address", &lisp![:host "127.0.0.1"]);
    show("other loopback", &lisp![:host "127.0.0.2", :family sym("ipv4")]);
    show("short form", &lisp![:host "127.1", :family sym("ipv4")]);
    show("any", &lisp![:host "0.0.0.0"]);
    show("family by number", &lisp![:family 2, :host "127.0.0.1"]);
    let foreign = lisp![:name "s", :server true, :service true, :host "192.0.2.1"];
    t.call_try("foreign address", "make-network-process", &foreign);
    Ok(())
});

scenario!(process_contact_every_form, |t| {
    let contact = |process: &Value, key: Value| t.f("process-contact", &[process.clone(), key]);
    let s = t.server("srv", &lisp![:foo sym("bar"), :plist q("(a 1)")]);
    let c = t.client("cli", &s, &lisp![:custom 42]);
    let a = t.accepted_one(&s, 1);
    t.v("server nil", contact(&s, Value::Nil));
    t.v("server t", contact(&s, Value::True));
    t.v("server :foo", contact(&s, sym(":foo")));
    t.v("server :server", contact(&s, sym(":server")));
    t.v("client nil", contact(&c, Value::Nil));
    t.v("client t", contact(&c, Value::True));
    for key in [":custom", ":remote", ":local", ":nosuch"] {
        t.v(&format!("client {key}"), contact(&c, sym(key)));
    }
    t.v("accepted nil", contact(&a, Value::Nil));
    t.v("accepted t", contact(&a, Value::True));
    let same = |one: &str, other: &str| contact(&a, sym(one)) == contact(&c, sym(other));
    t.v("mirror", same(":remote", ":local") && same(":local", ":remote"));
    t.call_try("by name", "process-contact", &["cli".into()]);
    // The setters write through.
    let set = |name: &str, value: Value| t.f(name, &[c.clone(), value]);
    let shown = || {
        let keys = [":filter", ":sentinel", ":buffer"];
        Value::list(keys.map(|key| contact(&c, sym(key))))
    };
    set("set-process-filter", sym("ignore"));
    set("set-process-sentinel", sym("ignore"));
    set("set-process-buffer", Value::object(t.rt().buffers().get_or_create("buf")));
    t.v("after setters", shown());
    set("set-process-filter", Value::Nil);
    set("set-process-sentinel", Value::Nil);
    set("set-process-buffer", Value::Nil);
    t.v("after resetting", shown());
    // It survives the process.
    t.f("delete-process", slice::from_ref(&c));
    t.v("dead nil", contact(&c, Value::Nil));
    t.v("dead :custom", contact(&c, sym(":custom")));
    Ok(())
});

scenario!(service_forms, |t| {
    let contact = |process: &Value, key: &str| t.f("process-contact", &[process.clone(), sym(key)]);
    let s = t.server("srv", &[]);
    let port = t.port(&s);
    for (form, service) in [("integer", port.into()), ("string", port.to_string().into())] {
        let service: Value = service;
        let args = lisp![:name "c", :host "127.0.0.1", :service service.clone(), :noquery true];
        let c = t.f("make-network-process", &args);
        let remote = fmt(&(contact(&c, ":remote") == contact(&s, ":local")).into());
        let kept = fmt(&(contact(&c, ":service") == service).into());
        t.line(&format!("{form}: remote ok {remote}, service kept {kept}"));
        t.f("delete-process", &[c]);
    }
    // A datagram client resolves without any traffic.
    let resolve = |label: &str, service: Value| {
        t.attempt(label, || {
            let args = lisp![:name "r", :type sym("datagram"), :host "127.0.0.1",
                :service service, :noquery true];
            let c = t.call("make-network-process", &args)?;
            let shown = Value::list([contact(&c, ":remote"), contact(&c, ":service")]);
            t.call("delete-process", &[c])?;
            Ok(shown)
        });
    };
    resolve("name", "domain".into());
    resolve("integer string", "7".into());
    resolve("integer", 7.into());
    resolve("unknown name", "no-such-service".into());
    resolve("hexadecimal", "0x50".into());
    resolve("negative", (-1).into());
    resolve("float", 7.5.into());
    let missing = lisp![:name "x", :host "127.0.0.1"];
    t.call_try("missing", "make-network-process", &missing);
    let missing = lisp![:name "x", :server true, :host "127.0.0.1"];
    t.call_try("missing, server", "make-network-process", &missing);
    // A server's service string is replaced by the number.
    let probe = t.server("probe", &[]);
    let port = t.port(&probe);
    t.f("delete-process", &[probe]);
    let args = lisp![:name "n", :server true, :host "127.0.0.1", :noquery true,
        :service port.to_string()];
    let s = t.f("make-network-process", &args);
    let short = Value::list(["127.0.0.1".into(), port.into()]);
    t.v("server, string", t.f("process-contact", &[s]) == short);
    t.v("left", names(t));
    Ok(())
});

scenario!(connect_refused_error, |t| {
    let s = t.server("probe", &[]);
    let port = t.port(&s);
    t.f("delete-process", &[s]);
    let _held = held(t, port)?;
    let args = lisp![:name "cli", :host "127.0.0.1", :service port, :custom sym("yes"),
        :sentinel t.sentinel("cli")];
    let err = t.call("make-network-process", &args).expect_err("nobody listens there");
    t.v("symbol", sym(err.symbol()));
    t.v("strings", Value::list(err.data()[..2].to_vec()));
    t.v("then the contact", Value::list(err.data()[2..8].to_vec()));
    t.v("message", &err.to_string()[..47]);
    t.v("process", t.f("get-process", &["cli".into()]));
    t.settle();
    t.v("sentinel calls", i64::try_from(t.count("cli"))?);
    let remote = Value::vector([127, 0, 0, 1, port].map(Value::from));
    t.call_try("by :remote", "make-network-process", &lisp![:name "cli", :remote remote]);
    let args = lisp![:name "cli", :host "127.0.0.1", :service port, :buffer "made"];
    t.call_try("buffer is made all the same", "make-network-process", &args);
    t.v("buffer", t.rt().buffers().get("made").is_some_and(|buffer| buffer.is_live()));
    Ok(())
});

scenario!(address_in_use, |t| {
    let make = |args: &[Value]| t.call("make-network-process", args);
    let status = |process: Value| t.f("process-status", &[process]);
    let s = t.server("first", &[]);
    let port = t.port(&s);
    t.attempt("again", || make(&t.server_args("second", &lisp![:service port])));
    let local = Value::vector([127, 0, 0, 1, port].map(Value::from));
    t.attempt("by address", || make(&lisp![:name "third", :server true, :local local]));
    let reuse = lisp![:service port, :reuseaddr true];
    t.attempt("with reuseaddr", || make(&t.server_args("fourth", &reuse)));
    t.v("processes", names(t));
    t.v("client is served", status(t.client("cli", &s, &[])));
    // Another address of the loopback is another matter.
    let other = lisp![:host "127.0.0.2", :service port];
    t.v("other address", status(t.server("fifth", &other)));
    // As is UDP.
    let datagram = lisp![:name "sixth", :server true, :type sym("datagram"), :noquery true,
        :host "127.0.0.1", :service port];
    t.v("datagram", status(t.f("make-network-process", &datagram)));
    Ok(())
});

// The simulation has addresses of local sockets, but no files.
scenario!(on (poll epoll uring): unix_socket_basics, |t| {
    let contact = |process: &Value, key: Value| t.f("process-contact", &[process.clone(), key]);
    let name = |process: &Value| t.f("process-name", slice::from_ref(process));
    let file = t.path("sock");
    let log = t.function(|t, args| {
        let name = |process: &Value| t.f("process-name", slice::from_ref(process));
        let parts = [name(&args[0]), name(&args[1]), args[2].clone()];
        let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
        t.note("log", "log", parts.join("|"));
        Ok(Value::Nil)
    });
    let args = lisp![:name "ls", :server true, :family sym("local"), :service &*file,
        :noquery true, :coding sym("binary"), :filter t.filter("acc"),
        :sentinel t.sentinel("acc"), :log log];
    let s = t.f("make-network-process", &args);
    let args = lisp![:name "lc", :family sym("local"), :service &*file, :noquery true,
        :coding sym("binary"), :sentinel t.sentinel("cli"), :filter t.filter("cli")];
    let c = t.f("make-network-process", &args);
    let a = t.accepted_one(&s, 1);
    for (label, process) in [("server", &s), ("client", &c), ("accepted", &a)] {
        t.v(label, contact(process, Value::True));
        t.v(&format!("{label}, short"), contact(process, Value::Nil));
    }
    t.v("accepted name", name(&a));
    let args = lisp![:name "lc2", :family sym("local"), :service &*file, :noquery true];
    let _second = t.f("make-network-process", &args);
    t.v("next name", name(&t.accepted_one(&s, 2)));
    t.f("process-send-string", &[c.clone(), "over".into()]);
    t.settle();
    t.f("process-send-string", &[a, "back".into()]);
    t.settle();
    t.f("delete-process", &[c]);
    t.settle();
    t.show(&["log", "acc", "cli"]);
    let exists = || std::fs::exists(&file);
    t.v("file", exists()?);
    t.f("delete-process", &[s]);
    t.v("file after", exists()?);
    let again = lisp![:name "again", :server true, :family sym("local"), :service &*file];
    t.call_try("bind again", "make-network-process", &again);
    std::fs::remove_file(&file)?;
    t.attempt("bind after removal", || {
        let again = [&again[..], &lisp![:noquery true]].concat();
        t.call("process-status", &[t.call("make-network-process", &again)?])
    });
    Ok(())
});

// As above: which files there are decides here.
scenario!(on (poll epoll uring): unix_socket_errors, |t| {
    let contact = |process: &Value, key: Value| t.f("process-contact", &[process.clone(), key]);
    let client = |label: &str, file: &str| {
        let args = lisp![:name "x", :family sym("local"), :service t.path(file)];
        t.call_try(label, "make-network-process", &args);
    };
    let server = |label: &str, file: &str| {
        let args = lisp![:name "x", :server true, :family sym("local"), :service t.path(file)];
        t.call_try(label, "make-network-process", &args);
    };
    client("missing", "none");
    std::fs::write(t.path("plain"), "")?;
    client("plain file", "plain");
    server("no directory", "no/dir/sock");
    server("file in the way", "plain");
    let args = lisp![:name "s", :server true, :family sym("local"), :service t.path("sock"),
        :host "somewhere", :noquery true];
    let s = t.f("make-network-process", &args);
    t.v("host is dropped", contact(&s, Value::True));
    t.f("delete-process", &[s]);
    client("nobody listens", "sock");
    // As an address.
    let file = t.path("sock2");
    let args = lisp![:name "s", :server true, :local &*file, :noquery true];
    let s = t.f("make-network-process", &args);
    let args = lisp![:name "c", :remote &*file, :noquery true];
    let c = t.f("make-network-process", &args);
    t.v("server", contact(&s, Value::True));
    t.v("client", contact(&c, Value::True));
    t.v("short", Value::list([contact(&s, Value::Nil), contact(&c, Value::Nil)]));
    let mut left = names(t).items().unwrap_or_default().to_vec();
    left.sort_by_key(fmt);
    t.v("left", Value::list(left));
    Ok(())
});
