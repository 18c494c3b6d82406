//! Scenarios that Emacs has run: coding systems of processes, both ways.
//!
//! Emacs Lisp manual 28.2, "Process Information" (`set-process-coding-system`), "Decoding Output",
//! "Input to Processes".

use netproc::{Text, Value};
use netproc_tests::{
    lisp, scenario,
    transcript::{Tr, bytes, fmt, q, sym},
};

/// Calls a function of one argument, a process mostly.
fn of(t: &Tr, name: &str, argument: &Value) -> Value {
    t.f(name, std::slice::from_ref(argument))
}

fn send(t: &Tr, process: &Value, string: Value) {
    t.f("process-send-string", &[process.clone(), string]);
}

scenario!(coding_utf8_split_across_reads, |t| {
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &lisp![:coding sym("utf-8-unix")]);
    let a = t.accepted_one(&s, 1);
    let feed = |part: &[u8]| {
        send(t, &a, bytes(part));
        t.settle_for(0.1);
        t.line(&format!("sent {}, have {}", fmt(&bytes(part)), fmt(&t.data("cli"))));
    };
    feed(b"h\xc3");
    feed(b"\xa9llo ");
    feed(b"\xe2");
    feed(b"\x82");
    feed(b"\xac ");
    feed(b"\xf0\x9f");
    feed(b"\x98\x80.");
    let data = t.data("cli");
    t.v("multibyte", matches!(data, Value::String(_) | Value::Text(_)));
    let text = data.as_str().expect("every byte was of a character");
    t.v("length", i64::try_from(text.chars().count())?);
    t.v("coding", of(t, "process-coding-system", &c));
    Ok(())
});

/// What is read and written with one kind of line end.
fn both(t: &Tr, coding: &str) {
    t.forget();
    let s = t.server(&format!("s-{coding}"), &[]);
    let c = t.client("c", &s, &lisp![:coding sym(coding)]);
    let a = t.accepted_one(&s, 1);
    send(t, &a, bytes(b"a\r\nb\nc\rd"));
    t.settle_for(0.1);
    send(t, &c, bytes(b"1\n2\r\n3"));
    t.settle_for(0.1);
    let (read, wrote) = (fmt(&t.data("cli")), fmt(&t.data("acc")));
    t.line(&format!("{coding}: read {read}, wrote {wrote}"));
}

scenario!(coding_latin1_crlf, |t| {
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &lisp![:coding sym("latin-1-dos")]);
    let a = t.accepted_one(&s, 1);
    send(t, &a, bytes(b"caf\xe9\r\nx\r\n"));
    t.settle();
    t.v("decoded", t.data("cli"));
    send(t, &c, "caf\u{e9}\ny\n".into());
    t.settle();
    t.v("encoded", t.data("acc"));
    // The kinds of line ends.
    both(t, "latin-1-unix");
    both(t, "latin-1-dos");
    both(t, "latin-1-mac");
    both(t, "utf-8-unix");
    both(t, "utf-8-dos");
    both(t, "binary");
    both(t, "no-conversion");
    both(t, "raw-text-unix");
    both(t, "raw-text-dos");
    Ok(())
});

/// What goes out of `strings` in one coding.
fn out(t: &Tr, coding: &str, strings: &[Value]) {
    t.forget();
    let coding = q(coding);
    let s = t.server(&format!("s-{}", fmt(&coding)), &[]);
    let c = t.client("c", &s, &lisp![:coding coding.clone()]);
    let _a = t.accepted_one(&s, 1);
    for string in strings {
        send(t, &c, string.clone());
    }
    t.settle_for(0.1);
    t.line(&format!("{}: {}", fmt(&coding), fmt(&t.data("acc"))));
    of(t, "delete-process", &c);
}

scenario!(coding_send_encodings, |t| {
    out(t, "utf-8-unix", &["\u{e9}\u{20ac}\n".into()]);
    out(t, "latin-1-unix", &["\u{e9}\n".into()]);
    out(t, "(utf-8-unix . latin-1-dos)", &["\u{e9}\n".into()]);
    out(t, "euc-jp-unix", &["\u{3042}".into()]);
    out(t, "sjis-unix", &["\u{3042}".into()]);
    out(t, "gb18030-unix", &["\u{4e2d}".into()]);
    out(t, "windows-1252-unix", &["\u{20ac}".into()]);
    out(t, "koi8-r-unix", &["\u{430}".into()]);
    // Raw bytes in a multibyte string stay what they are.
    let mut mixed = Text::from("\u{e9}");
    mixed.push_raw(0xff);
    mixed.push_raw(0xc3);
    mixed.push('z');
    out(t, "utf-8-unix", &[Value::text(mixed)]);
    // A unibyte string is not encoded, but its line ends are converted.
    out(t, "utf-8-unix", &[bytes(b"\xe9\n")]);
    out(t, "latin-1-dos", &[bytes(b"\xe9\n")]);
    out(t, "utf-8-dos", &[bytes(b"\xe9\n"), "\u{e9}\n".into()]);
    // No conversion of a multibyte string: its characters as UTF-8.
    out(t, "binary", &["\u{e9}\n".into()]);
    out(t, "utf-8-unix", &[bytes(b""), bytes(b"a"), bytes(b""), bytes(b"b")]);
    Ok(())
});

scenario!(set_coding_system, |t| {
    let s = t.server("srv", &lisp![:coding sym("latin-1-unix")]);
    let c = t.client("cli", &s, &lisp![:coding sym("utf-8-unix")]);
    let a = t.accepted_one(&s, 1);
    let coding = |process: &Value| of(t, "process-coding-system", process);
    let set = |label: &str, decode: &str, encode: &str| {
        let args = [c.clone(), sym(decode), sym(encode)];
        t.call_try(label, "set-process-coding-system", &args);
    };
    t.v("client", coding(&c));
    t.v("accepted", coding(&a));
    set("set", "latin-1-unix", "latin-1-dos");
    t.v("now", coding(&c));
    t.v("contact is not touched", t.f("process-contact", &[c.clone(), sym(":coding")]));
    send(t, &a, "\u{e9}".into());
    t.until(|| t.has_data("cli", "\u{e9}"));
    send(t, &c, "\u{e9}\n".into());
    t.until(|| t.has_data("acc", "\u{e9}\r\n"));
    t.v("data", Value::list([t.data("cli"), t.data("acc")]));
    // An encoding system without line ends gets those of unix.
    set("no line ends", "utf-8", "utf-8");
    t.v("now", coding(&c));
    set("binary", "binary", "binary");
    t.v("now", coding(&c));
    set("unknown", "no-such-coding", "utf-8");
    t.v("unchanged", coding(&c));
    of(t, "delete-process", &c);
    set("on a closed process", "utf-8-unix", "utf-8-unix");
    t.v("remembered", coding(&c));
    Ok(())
});
