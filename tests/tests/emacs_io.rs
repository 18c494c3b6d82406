//! Scenarios that Emacs has run: output and input, and waiting for it.
//!
//! Emacs Lisp manual 28.2, "Process Buffers", "Filter Functions", "Accepting Output", "Input to
//! Processes".

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    slice::from_ref,
    time::Duration,
};

use netproc::{Buffer, Marker, Value, emacs::Signal};
use netproc_tests::{
    lisp, scenario,
    transcript::{Tr, bytes, fmt, q, signal_text, sym},
};

/// Calls a function of one argument, a process mostly.
fn of(t: &Tr, name: &str, argument: &Value) -> Value {
    t.f(name, from_ref(argument))
}

/// `process-send-string` of ASCII.
fn send(t: &Tr, process: &Value, text: &str) -> Value {
    t.f("process-send-string", &[process.clone(), bytes(text.as_bytes())])
}

/// `accept-process-output` of one process, so many seconds.
fn accept(t: &Tr, process: &Value, seconds: impl Into<Value>) -> Value {
    t.f("accept-process-output", &[process.clone(), seconds.into()])
}

fn is_live(t: &Tr, process: &Value) -> bool {
    of(t, "process-live-p", process).is_true()
}

/// A variable of the scenario that callbacks read and that is set after they were made.
fn later() -> Rc<RefCell<Value>> {
    Rc::default()
}

scenario!(default_filter_inserts_at_mark, |t| {
    let s = t.server("srv", &[]);
    let args = lisp![:name "cli", :host "127.0.0.1", :service t.port(&s), :noquery true,
        :coding sym("utf-8-unix"), :buffer "buf"];
    let c = t.f("make-network-process", &args);
    let a = t.accepted_one(&s, 1);
    t.v("filter", of(t, "process-filter", &c));
    t.v("buffer", of(t, "process-buffer", &c));
    t.v("mark", of(t, "process-mark", &c));
    let buf = t.rt().buffers().get("buf").expect("the client made it");
    let point = |buffer: &Buffer| Value::from(i64::try_from(buffer.point()).expect("small"));
    let has_text = |text: &str| t.text(&"buf".into()) == Value::from(text);
    let mark = of(t, "process-mark", &c);
    let mark = mark.downcast::<Marker>().expect("the mark is a marker");
    send(t, &a, "one ");
    t.until(|| has_text("one "));
    t.v("mark", of(t, "process-mark", &c));
    // Point at the mark moves along; point before it stays.
    t.v("point", point(&buf));
    buf.set_point(2);
    buf.set_read_only(true);
    send(t, &a, "two ");
    t.until(|| has_text("one two "));
    t.v("point, read-only", Value::list([point(&buf), buf.is_read_only().into()]));
    buf.set_read_only(false);
    buf.set_point(buf.point_max());
    buf.insert("<user>")?;
    t.v("point", point(&buf));
    send(t, &a, "three ");
    t.until(|| has_text("one two three <user>"));
    t.v("text", t.text(&"buf".into()));
    t.v("point", point(&buf));
    // The mark may be moved.
    mark.set(&buf, 1);
    send(t, &a, "zero ");
    t.until(|| buf.text().to_string_lossy().contains("zero"));
    t.v("text", t.text(&"buf".into()));
    t.v("mark", of(t, "process-mark", &c));
    // Without a buffer the output is thrown away.
    let s = t.server("srv2", &[]);
    let args = lisp![:name "cli2", :host "127.0.0.1", :service t.port(&s), :noquery true];
    let c = t.f("make-network-process", &args);
    send(t, &t.accepted_one(&s, 1), "lost");
    t.v("read", accept(t, &c, 2));
    t.v("buffer", of(t, "process-buffer", &c));
    t.state("client", &c);
    // An existing buffer: output goes to its end.
    let old = t.rt().buffers().get_or_create("old");
    old.insert("old text|")?;
    old.set_point(1);
    let s = t.server("srv3", &[]);
    let args = lisp![:name "cli3", :host "127.0.0.1", :service t.port(&s), :noquery true,
        :buffer "old"];
    let c = t.f("make-network-process", &args);
    send(t, &t.accepted_one(&s, 1), "new");
    t.until(|| old.text().to_string_lossy().contains("new"));
    t.v("text", t.text(&"old".into()));
    t.v("point", point(&old));
    t.v("process of buffer", c == of(t, "get-buffer-process", &"old".into()));
    Ok(())
});

scenario!(half_close_send_eof, |t| {
    let answer = t.function(|t, args| {
        t.note("acc", "data", args[1].clone());
        // Answered while the end is not yet read.
        let text = args[1].as_str().unwrap_or_default().to_uppercase();
        t.call("process-send-string", &[args[0].clone(), text.into()])
    });
    let s = t.server("srv", &lisp![:filter answer]);
    let c = t.client("cli", &s, &[]);
    let eof = |label: &str| {
        t.attempt(label, || Ok((c == t.call("process-send-eof", from_ref(&c))?).into()));
    };
    send(t, &c, "data");
    eof("eof returns the process");
    t.state("after eof", &c);
    t.call_try("sending goes nowhere", "process-send-string", &[c.clone(), "lost".into()]);
    eof("eof again");
    t.until(|| !is_live(t, &c));
    t.settle();
    t.show(&["acc", "cli"]);
    t.state("client", &c);
    t.call_try("eof on the closed", "process-send-eof", from_ref(&c));
    // A peer that does not read cannot notice; the other direction is open.
    let s = t.server("srv2", &lisp![:filter true]);
    let c = t.client("cli2", &s, &[]);
    let a = t.accepted_one(&s, 1);
    t.forget();
    of(t, "process-send-eof", &c);
    send(t, &a, "from the other side");
    t.until(|| t.has_data("cli", "from the other side"));
    t.state("client", &c);
    t.state("accepted", &a);
    t.f("set-process-filter", &[a.clone(), t.filter("acc")]);
    t.until(|| !is_live(t, &a));
    t.settle();
    t.show(&["acc", "cli"]);
    Ok(())
});

/// What a filter has been given, all together, and the longest piece.
#[derive(Default)]
struct Pieces {
    all: RefCell<Vec<u8>>,
    longest: Cell<usize>,
}

impl Pieces {
    fn len(&self) -> usize {
        self.all.borrow().len()
    }

    fn filter(self: &Rc<Self>, t: &Tr) -> Value {
        let pieces = Rc::clone(self);
        let filter = t.function(move |_, args| {
            let piece = args[1].to_bytes().unwrap_or_default();
            pieces.longest.set(pieces.longest.get().max(piece.len()));
            pieces.all.borrow_mut().extend_from_slice(&piece);
            Ok(Value::Nil)
        });
        filter.into()
    }
}

scenario!(large_transfer, |t| {
    let size = 6_000_000;
    let pieces = Rc::<Pieces>::default();
    let s = t.server("srv", &lisp![:filter pieces.filter(t)]);
    let c = t.client("cli", &s, &[]);
    let part = (0..60_000_u32).map(|i| (i + (i >> 8)).to_le_bytes()[0]);
    let big = part.collect::<Vec<u8>>().repeat(size / 60_000);
    let _a = t.accepted_one(&s, 1);
    t.v("value", t.f("process-send-string", &[c.clone(), bytes(&big)]));
    t.v("the other side read while we sent", pieces.len() > 1_000_000);
    t.until(|| pieces.len() == size);
    t.v("length", pieces.len() == size);
    t.v("content", *pieces.all.borrow() == big);
    let max = t.rt().input_len_max();
    let within = pieces.longest.get() <= max;
    t.v("one read is at most", Value::list([Value::from(i64::try_from(max)?), within.into()]));
    t.state("client", &c);
    // The limit is the value at the time of reading.
    t.rt().set_input_len_max(100);
    let pieces = Rc::<Pieces>::default();
    let s = t.server("srv2", &[]);
    let c = t.client("cli2", &s, &lisp![:filter pieces.filter(t)]);
    send(t, &t.accepted_one(&s, 1), &"x".repeat(1000));
    t.until(|| pieces.len() == 1000);
    t.v("longest", i64::try_from(pieces.longest.get())?);
    t.v("status", of(t, "process-status", &c));
    Ok(())
});

scenario!(reentrant_send_order, |t| {
    let pieces = Rc::<Pieces>::default();
    let reads = pieces.filter(t);
    let poked = Cell::new(false);
    let poke = t.function(move |t, args| {
        let reads = reads.downcast::<netproc::emacs::Function>().expect("it is one");
        reads.call(args)?;
        if !poked.replace(true) {
            t.call("process-send-string", &[args[0].clone(), "poke".into()])?;
        }
        Ok(Value::Nil)
    });
    let s = t.server("srv", &lisp![:filter poke]);
    let inner = t.function(|t, args| {
        t.note("inner", "got", args[1].clone());
        t.call("process-send-string", &[args[0].clone(), "[INNER]".into()])?;
        t.note("inner", "sent", "");
        Ok(Value::Nil)
    });
    let c = t.client("cli", &s, &lisp![:filter inner]);
    let _a = t.accepted_one(&s, 1);
    send(t, &c, &("x".repeat(4_000_000) + "[OUTER]"));
    t.until(|| pieces.len() == 4_000_014);
    t.v("n", i64::try_from(pieces.len())?);
    let tail = pieces.all.borrow().iter().rev().take(20).rev().copied().collect::<Vec<u8>>();
    t.v("tail", bytes(&tail));
    t.show(&["inner"]);
    Ok(())
});

scenario!(accept_output_timeouts, |t| {
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &[]);
    let a = t.accepted_one(&s, 1);
    let timed = |label: &str, low: f64, high: f64, args: &[Value]| {
        t.v(label, t.timed(low, high, || t.f("accept-process-output", args)));
    };
    let with = |args: &str| [from_ref(&c), q(args).items().expect("a list")].concat();
    t.settle();
    timed("nothing given: a poll", 0.0, 1.0, &[]);
    timed("zero", 0.0, 1.0, &with("(0)"));
    timed("negative", 0.0, 1.0, &with("(-1)"));
    timed("negative float", 0.0, 1.0, &with("(-0.5)"));
    timed("0.2 s", 0.2, 2.0, &with("(0.2)"));
    timed("200 ms", 0.2, 2.0, &with("(nil 200)"));
    timed("0 s 200 ms", 0.2, 2.0, &with("(0 200)"));
    timed("any process, 0.2 s", 0.2, 2.0, &[Value::Nil, 0.2.into()]);
    timed("1 s", 1.0, 4.0, &with("(1)"));
    t.call_try("string", "accept-process-output", &with(r#"("1")"#));
    t.call_try("float milliseconds", "accept-process-output", &with("(0 1.5)"));
    // Input ends the wait.
    send(t, &a, "x");
    timed("input", 0.0, 10.0, &with("(30)"));
    t.v("data", t.data("cli"));
    send(t, &a, "y");
    timed("input, no limit", 0.0, 1.0, &with("()"));
    send(t, &a, "z");
    timed("input of any", 0.0, 10.0, &[Value::Nil, 30.into()]);
    // Input of another does not, but is read.
    send(t, &a, "w");
    timed("input of another", 0.3, 3.0, &[a.clone(), 0.3.into()]);
    t.v("data", t.data("cli"));
    // Neither does an incoming connection.
    t.client("cli2", &s, &[]);
    timed("a connection is not output", 0.3, 3.0, &[Value::Nil, 0.3.into()]);
    t.v("accepted", i64::try_from(t.accepted(&s).len())?);
    // The end of the process does.
    of(t, "delete-process", &a);
    timed("end", 0.0, 10.0, &with("(30)"));
    t.v("status", of(t, "process-status", &c));
    timed("of a closed one", 0.0, 10.0, &with("(30)"));
    timed("of a closed one, no limit", 0.0, 1.0, &with("()"));
    Ok(())
});

scenario!(accept_output_just_this_one, |t| {
    let s = t.server("srv", &[]);
    let c1 = t.client("c1", &s, &lisp![:filter t.filter("c1")]);
    let a1 = t.accepted_one(&s, 1);
    let _c2 = t.client("c2", &s, &lisp![:filter t.filter("c2")]);
    let a2 = t.accepted_one(&s, 2);
    let timed = |label: &str, low: f64, high: f64, args: &str| {
        let args = [from_ref(&c1), q(args).items().expect("a list")].concat();
        t.v(label, t.timed(low, high, || t.f("accept-process-output", &args)));
    };
    let data = || Value::list([t.data("c1"), t.data("c2")]);
    send(t, &a2, "for two");
    timed("nobody asked", 0.2, 2.0, "(0.2 nil t)");
    t.v("two has not been read", t.data("c2"));
    send(t, &a1, "for one");
    timed("one", 0.0, 10.0, "(30 nil t)");
    t.v("data", data());
    timed("without it", 0.2, 2.0, "(0.2)");
    t.v("data", data());
    // An integer also holds the timers.
    let ran = Rc::new(Cell::new(false));
    let timer = Rc::clone(&ran);
    t.rt().run_after(Duration::from_millis(50), move |_| timer.set(true));
    t.f("accept-process-output", &[c1.clone(), 0.2.into(), Value::Nil, 0.into()]);
    t.v("timer held", ran.get());
    accept(t, &c1, 0.2);
    t.v("timer runs", ran.get());
    Ok(())
});

scenario!(filter_deletes_itself, |t| {
    let s = t.server("srv", &[]);
    let deletes_itself = t.function(|t, args| {
        let some = args[1].to_bytes().is_some_and(|bytes| !bytes.is_empty());
        t.note("cli", "filter", format!("called, {}", fmt(&some.into())));
        of(t, "delete-process", &args[0]);
        let status = fmt(&of(t, "process-status", &args[0]));
        t.note("cli", "filter", format!("after, {status}"));
        Ok(Value::Nil)
    });
    let c = t.client("cli", &s, &lisp![:filter deletes_itself]);
    let a = t.accepted_one(&s, 1);
    send(t, &a, &"x".repeat(100_000));
    t.v("read", accept(t, &c, 5));
    t.settle();
    t.show(&["cli"]);
    t.state("client", &c);
    t.until(|| !is_live(t, &a));
    t.settle();
    t.show(&["acc"]);
    // A filter that deletes another process with input waiting.
    let s = t.server("srv2", &[]);
    let deletes = |other: &Rc<RefCell<Value>>| {
        let other = Rc::clone(other);
        t.function(move |t, _| {
            let process = other.borrow().clone();
            t.call("delete-process", &[process])
        })
    };
    let (v1, v2) = (later(), later());
    let c1 = t.client("c1", &s, &lisp![:filter deletes(&v2), :sentinel t.sentinel("c1")]);
    let a1 = t.accepted_one(&s, 1);
    let c2 = t.client("c2", &s, &lisp![:filter deletes(&v1), :sentinel t.sentinel("c2")]);
    v1.replace(c1.clone());
    v2.replace(c2.clone());
    send(t, &t.accepted_one(&s, 2), "x");
    send(t, &a1, "x");
    t.settle();
    // Whoever came first won.
    t.v("events in all", i64::try_from(t.count("c1") + t.count("c2"))?);
    let mut statuses = [&c1, &c2].map(|c| of(t, "process-status", c));
    statuses.sort_by_key(fmt);
    // Lisp has the names as strings there.
    t.v("one is open", Value::list(statuses.map(|status| Value::from(fmt(&status)))));
    v1.take();
    v2.take();
    Ok(())
});

scenario!(filter_recursion, |t| {
    let s = t.server("srv", &[]);
    let peer = later();
    let depth = Cell::new(0);
    let a = Rc::clone(&peer);
    let waits = t.function(move |t, args| {
        depth.set(depth.get() + 1);
        let text = args[1].as_str().unwrap_or_default();
        t.note("c", "enter", format!("{} {text}", depth.get()));
        if depth.get() == 1 {
            let a = a.borrow().clone();
            send(t, &a, "inner");
            t.note("c", "waited", fmt(&accept(t, &args[0], 2)));
        }
        t.note("c", "leave", depth.get().to_string());
        depth.set(depth.get() - 1);
        Ok(Value::Nil)
    });
    let c = t.client("cli", &s, &lisp![:filter waits]);
    peer.replace(t.accepted_one(&s, 1));
    let a = peer.borrow().clone();
    send(t, &a, "outer");
    t.v("value", accept(t, &c, 5));
    t.settle();
    t.show(&["c"]);
    // The end of the process, noticed inside its filter.
    let s = t.server("srv2", &[]);
    let a = Rc::clone(&peer);
    let ends = t.function(move |t, args| {
        t.note("d", "enter", args[1].clone());
        of(t, "delete-process", &a.borrow().clone());
        t.until(|| !is_live(t, &args[0]));
        t.settle();
        t.note("d", "leave", fmt(&of(t, "process-status", &args[0])));
        Ok(Value::Nil)
    });
    let c = t.client("cli2", &s, &lisp![:sentinel t.sentinel("d"), :filter ends]);
    peer.replace(t.accepted_one(&s, 1));
    let a = peer.borrow().clone();
    send(t, &a, "go");
    accept(t, &c, 5);
    t.settle();
    t.show(&["d"]);
    peer.take();
    Ok(())
});

scenario!(filter_error_contained, |t| {
    let reported = t.function(|t, args| {
        t.line(&format!("reported: {}", args[0].as_str().unwrap_or_default()));
        Ok(Value::Nil)
    });
    t.rt().on_callback_error(move |err| {
        let signal = err.error.downcast_ref::<Signal>().expect("the filter signals");
        let said = err.to_string();
        let context = said.strip_suffix(&signal.to_string()).expect("it ends with the error");
        let told = reported.call(&[format!("{context}{}", signal_text(signal)).into()]);
        told.expect("a line can be printed");
    });
    let s = t.server("srv", &[]);
    let fails = t.function(|t, args| {
        t.note("cli", "data", args[1].clone());
        let bad = args[1].as_str().is_some_and(|text| text.contains("bad"));
        if bad { Err(Signal::error("Boom")) } else { Ok(Value::Nil) }
    });
    let c = t.client("cli", &s, &lisp![:filter fails]);
    let a = t.accepted_one(&s, 1);
    send(t, &a, "bad,");
    t.call_try("the waiter sees no error", "accept-process-output", &[c.clone(), 5.into()]);
    t.state("client", &c);
    send(t, &a, "good");
    t.until(|| t.data("cli").as_str().is_some_and(|text| text.contains("good")));
    of(t, "delete-process", &a);
    t.until(|| !is_live(t, &c));
    t.settle();
    t.show(&["cli"]);
    Ok(())
});
