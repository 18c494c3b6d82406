//! Scenarios that Emacs has run: servers, and what their connections take over from them.
//!
//! Emacs Lisp manual 28.2, "Network Servers", "Network Processes", "Process Information".

use std::{any::Any, cell::RefCell, fmt, rc::Rc};

use netproc::{Object, Value};
use netproc_tests::{
    lisp, scenario,
    transcript::{Tr, fmt, processes, q, sym},
};

scenario!(accepted_connection_properties, |t| {
    let (f, st) = (t.filter("acc"), t.sentinel("acc"));
    let args = lisp![:filter f.clone(), :sentinel st.clone(),
        :coding q("(utf-8-unix . latin-1-unix)"), :buffer "sbuf", :stop false,
        :log sym("ignore"), :plist q("(k v)"), :foo sym("bar")];
    let s = t.server("srv", &args);
    let c = t.client("cli", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.v("name", t.of("process-name", &a));
    t.v("type", t.of("process-type", &a));
    t.state("accepted", &a);
    t.v("same filter", f == t.of("process-filter", &a));
    t.v("same sentinel", st == t.of("process-sentinel", &a));
    t.v("buffer, filter given", t.of("process-buffer", &a));
    t.v("server buffer", t.of("process-buffer", &s));
    t.v("coding", t.of("process-coding-system", &a));
    t.v("plist", t.of("process-plist", &a));
    t.v("command", t.of("process-command", &a));
    t.v("contact", t.contact(&a, true));
    // :noquery of the server is not a property of its connections.
    let flags = [&s, &c, &a].map(|process| t.of("process-query-on-exit-flag", process));
    t.v("query", Value::list(flags));
    t.v("peer", t.contact(&a, Value::Nil));
    t.v("in the list", processes(&t.f("process-list", &[])).contains(&a));
    Ok(())
});

/// A list of one element that can be replaced: values are never changed in place, but a thing of the
/// program's own can be.
#[derive(Debug)]
struct Cons(RefCell<Value>);

impl Object for Cons {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", fmt(&self.0.borrow()))
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| std::ptr::eq(self, other))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `eq` of two lists: not whether they say the same, but whether they are the same.
fn same_list(a: &Value, b: &Value) -> bool {
    matches!((a, b), (Value::List(a), Value::List(b)) if Rc::ptr_eq(a, b))
}

scenario!(plist_inherited_copy, |t| {
    let plist = |process: &Value| t.of("process-plist", process);
    let put = |process: &Value, key: &str, value: Value| {
        t.f("process-put", &[process.clone(), sym(key), value]);
    };
    let get = |process: &Value, key: &str| t.f("process-get", &[process.clone(), sym(key)]);
    let given = q("(a (1) b 2)");
    let s = t.server("srv", &lisp![:plist given.clone()]);
    // DIFFERENCE: a blocking connect serves others meanwhile, so that the server may accept within it
    // (should-do-better, "blocking connect … stop the event loop"). With :nowait it accepts in the
    // next wait, as Emacs does after either.
    let c = t.client("cli", &s, &lisp![:nowait true]);
    t.v("a copy", !same_list(&given, &plist(&s)));
    put(&s, "c", 3.into());
    t.v("given", given);
    t.v("server", plist(&s));
    t.v("contact keeps the original", t.contact(&s, sym(":plist")));
    t.v("client has its own", plist(&c));
    let a1 = t.accepted_one(&s, 1);
    t.v("accepted, as of now", plist(&a1));
    put(&a1, "a", sym("changed"));
    put(&a1, "d", 4.into());
    t.v("accepted", plist(&a1));
    t.v("server untouched", plist(&s));
    let inner = Value::object(Cons(RefCell::new(sym("y"))));
    t.f("set-process-plist", &[s.clone(), Value::list([sym("x"), inner])]);
    t.client("cli2", &s, &[]);
    let a2 = t.accepted_one(&s, 2);
    t.v("later connection", plist(&a2));
    let shared = get(&a2, "x");
    let shared = shared.downcast::<Cons>().expect("what the server was given");
    shared.0.replace(sym("z"));
    t.v("inner objects are shared", plist(&s));
    t.call_try("set", "set-process-plist", &[c.clone(), q("(p q)")]);
    t.attempt("get", || Ok(Value::list([get(&c, "p"), get(&c, "none")])));
    t.call_try("put", "process-put", &[c.clone(), sym("p"), 5.into()]);
    t.call_try("not a list", "set-process-plist", &[c, sym("foo")]);
    Ok(())
});

scenario!(log_function_arguments, |t| {
    let log = t.function(|t, args| {
        let [server, client, message] = args else { panic!("three arguments, not {args:?}") };
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let name = |process: &Value| text(&t.of("process-name", process));
        let status = t.of("process-status", client);
        let line = format!("{}|{}|{status}|{}", name(server), name(client), text(message));
        t.note("k", "log", line);
        Ok(Value::Nil)
    });
    let args = lisp![:log log, :filter t.filter("k"), :sentinel t.sentinel("k")];
    let s = t.server("srv", &args);
    let c = t.client("cli", &s, &[]);
    t.send(&c, "data");
    t.until(|| t.has_data("k", "data"));
    t.of("delete-process", &c);
    t.settle();
    t.show(&["k"]);
    // It may equip the connection before anything happens on it.
    let equip = t.function(|t, args| {
        let client = &args[1];
        t.f("process-put", &[client.clone(), sym("seen"), true.into()]);
        t.f("set-process-filter", &[client.clone(), t.filter("mine")]);
        t.f("set-process-sentinel", &[client.clone(), t.sentinel("mine")]);
        Ok(Value::Nil)
    });
    let s = t.server("two", &lisp![:log equip]);
    let c = t.client("cli", &s, &[]);
    t.send(&c, "hello");
    t.until(|| t.has_data("mine", "hello"));
    t.v("plist", t.of("process-plist", &t.accepted_one(&s, 1)));
    t.show(&["mine", "acc"]);
    // A server without one.
    let s = t.server("three", &[]);
    t.client("cli", &s, &[]);
    t.v("no log", t.of("process-status", &t.accepted_one(&s, 1)));
    Ok(())
});

/// A server that names little but its place.
fn plain_server(t: &Tr, name: &str, args: &[Value]) -> Value {
    let rest = lisp![:name name, :server true, :host "127.0.0.1", :service true, :noquery true];
    t.f("make-network-process", &[&rest, args].concat())
}

scenario!(accepted_buffer_naming, |t| {
    let buffer = |process: &Value| t.of("process-buffer", process);
    let s = plain_server(t, "srv", &lisp![:coding sym("binary")]);
    let c = t.client("cli", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.v("server has no buffer", buffer(&s));
    t.v("named after the process", buffer(&a));
    t.send(&c, "abc");
    t.until(|| t.text(&buffer(&a)) == Value::from("abc"));
    t.v("text", t.text(&buffer(&a)));
    t.v("contact buffer", t.contact(&a, sym(":buffer")));
    let sbuf = Value::object(t.rt().buffers().get_or_create("sbuf"));
    let s = plain_server(t, "srv2", &lisp![:buffer sbuf]);
    t.client("cli2", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.v("named after the buffer", buffer(&a));
    t.v("process name", t.of("process-name", &a));
    t.v("contact buffer is the server's", t.contact(&a, sym(":buffer")));
    // Filter t counts as none.
    let s = plain_server(t, "srv3", &lisp![:filter true]);
    t.client("cli3", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.v("filter t", t.of("process-filter", &a));
    t.v("buffer", buffer(&a));
    // Any other filter means no buffer.
    let s = plain_server(t, "srv4", &lisp![:buffer "sbuf4", :filter sym("ignore")]);
    t.client("cli4", &s, &[]);
    t.v("with a filter", buffer(&t.accepted_one(&s, 1)));
    Ok(())
});

scenario!(server_delete, |t| {
    let sentinel = t.function(|t, args| {
        let status = t.of("process-status", &args[0]);
        let server = t.contact(&args[0], sym(":server")).is_true();
        let key = if server { "server" } else { "acc" };
        t.note(key, "event", format!("{} {status}", fmt(&args[1])));
        Ok(Value::Nil)
    });
    let s = t.server("srv", &lisp![:sentinel sentinel]);
    let c = t.client("cli", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.of("delete-process", &s);
    t.state("server", &s);
    t.state("accepted", &a);
    t.state("client", &c);
    t.send(&c, "still here");
    t.until(|| t.has_data("acc", "still here"));
    t.send(&a, "yes");
    t.until(|| t.has_data("cli", "yes"));
    let late = t.client_args("late", &s, &[]);
    t.call_try("connect", "make-network-process", &late);
    t.of("delete-process", &c);
    t.settle();
    t.show(&["server", "acc", "cli"]);
    Ok(())
});
