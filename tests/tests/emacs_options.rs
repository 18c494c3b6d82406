//! Scenarios that Emacs has run: options, features, addresses and names of the machine.
//!
//! Emacs Lisp manual 28.2, "Network Options", "Network Feature Testing", "Misc Network".

use std::slice;

use netproc::Value;
use netproc_tests::{
    lisp, scenario,
    transcript::{fmt, processes, q, sym},
};

scenario!(options_at_creation, |t| {
    let opt = |key: &str, value: &str| {
        let value = q(value);
        t.attempt(&format!("{key} {}", fmt(&value)), || {
            let args = t.server_args("o", &[sym(key), value.clone()]);
            let s = t.call("make-network-process", &args)?;
            let kept = t.call("process-contact", &[s.clone(), sym(key)])?;
            let shown = Value::list([kept, t.call("process-status", slice::from_ref(&s))?]);
            t.call("delete-process", &[s])?;
            Ok(shown)
        });
    };
    for key in [":keepalive", ":broadcast", ":dontroute", ":oobinline", ":reuseaddr"] {
        opt(key, "t");
        opt(key, "nil");
        opt(key, "anything");
    }
    for (key, values) in [
        (":linger", &["t", "nil", "5"][..]),
        (":priority", &["3", "t", "nil", "3.5"]),
        (":bindtodevice", &["nil", "5", r#""no-such-dev0""#]),
        // Keywords that are not options are kept and mean nothing.
        (":no-such-option", &["1"]),
    ] {
        for value in values {
            opt(key, value);
        }
    }
    t.v("no process left of the failures", t.f("process-list", &[]));
    // A client.
    let s = t.server("srv", &[]);
    let c = t.client("c", &s, &lisp![:keepalive true, :linger 2]);
    let contact = |key: &str| t.f("process-contact", &[c.clone(), sym(key)]);
    t.v("client", Value::list([contact(":keepalive"), contact(":linger")]));
    let high = t.client_args("d", &s, &lisp![:priority sym("high")]);
    t.call_try("client, bad value", "make-network-process", &high);
    t.v("no trace", t.f("get-process", &["d".into()]));
    Ok(())
});

scenario!(set_network_process_option, |t| {
    let contact = |process: &Value, key: Value| t.f("process-contact", &[process.clone(), key]);
    let set = |label: &str, process: &Value, key: Value, value: Value| {
        t.call_try(label, "set-network-process-option", &[process.clone(), key, value]);
    };
    let s = t.server("srv", &[]);
    let c = t.client("cli", &s, &lisp![:keepalive true]);
    let a = t.accepted_one(&s, 1);
    let set_silently = |label: &str, key: &str, value: Value| {
        let args = [c.clone(), sym(key), value, Value::True];
        t.call_try(label, "set-network-process-option", &args);
    };
    set("off", &c, sym(":keepalive"), Value::Nil);
    t.v("contact", contact(&c, sym(":keepalive")));
    set("new key", &c, sym(":priority"), 5.into());
    let all = processes(&contact(&c, Value::True));
    t.v("at the end of the contact", Value::list(all[all.len() - 2..].to_vec()));
    set("linger", &c, sym(":linger"), 0.into());
    set("on a server", &s, sym(":keepalive"), Value::True);
    set("on an accepted", &a, sym(":oobinline"), Value::True);
    t.v("not on its siblings", contact(&c, sym(":oobinline")));
    set("unknown", &c, sym(":foo"), 1.into());
    set_silently("unknown, no error", ":foo", 1.into());
    t.v("not recorded", contact(&c, sym(":foo")));
    set("not an option", &c, sym(":host"), "x".into());
    set_silently("without the colon", "keepalive", Value::True);
    set("not a symbol", &c, "keepalive".into(), Value::True);
    set("bad value", &c, sym(":priority"), "x".into());
    set_silently("bad value, no error", ":priority", "x".into());
    set("refused by the system", &c, sym(":bindtodevice"), "no-such-dev0".into());
    set_silently("the same, no error", ":bindtodevice", "no-such-dev0".into());
    t.v("not recorded", contact(&c, sym(":bindtodevice")));
    set("by name", &"cli".into(), sym(":keepalive"), Value::True);
    t.f("delete-process", slice::from_ref(&c));
    set("closed", &c, sym(":keepalive"), Value::True);
    Ok(())
});

scenario!(featurep_subfeatures, |t| {
    let feature = sym("make-network-process");
    t.v("feature", t.f("featurep", slice::from_ref(&feature)));
    let show = |subfeatures: &str| {
        for subfeature in processes(&q(subfeatures)) {
            let has = t.f("featurep", &[feature.clone(), subfeature.clone()]);
            t.v(&fmt(&subfeature), has);
        }
    };
    show(
        "((:nowait t) (:server t) (:service t) (:type datagram) (:type seqpacket)
          (:family local) (:family ipv4) (:family ipv6)
          :bindtodevice :broadcast :dontroute :keepalive :linger :oobinline
          :priority :reuseaddr)",
    );
    // And what is none.
    show(
        "((:nowait nil) (:server 5) (:service 80) (:type nil) (:type stream) (:family inet)
          :host :coding :filter :foo (:keepalive t))",
    );
    Ok(())
});

scenario!(format_network_address, |t| {
    let addresses = q(r#"([127 0 0 1] [127 0 0 1 80] [1 2 3 4 0] [255 255 255 255 65535]
        [0 0 0 0 0 0 0 1] [0 0 0 0 0 0 0 1 443] [8193 3512 0 0 0 0 4096 1 25]
        [0 0 0 0 0 0 0 0 65535]
        "name" "" nil
        (10 . [1 2 3]) (99)
        [] [1 2 3] [1 2 3 4 5 6] [1 2 3 4 5 6 7] [1 2 3 4 5 6 7 8 9 10]
        [256 0 0 1] [256 0 0 1 80] [1 2 3 -1] [1 2 3 4 65536] [1 2 3 4 -1]
        [1 2 3 "4"] [1 2 3 nil] [1 2 3 4.0] [65536 0 0 0 0 0 0 0]
        symbol 12)"#);
    for address in processes(&addresses) {
        t.attempt(&fmt(&address), || {
            let format = |rest: &[Value]| {
                t.call("format-network-address", &[slice::from_ref(&address), rest].concat())
            };
            Ok(Value::list([format(&[])?, format(&[Value::True])?]))
        });
    }
    Ok(())
});

scenario!(interface_loopback, |t| {
    let list = |full: bool, family: &str| {
        processes(&t.f("network-interface-list", &[full.into(), sym(family)]))
    };
    let loopback = q("[127 0 0 1 0]");
    let (all, full) = (list(false, "nil"), list(true, "nil"));
    let (v4, v6) = (list(false, "ipv4"), list(false, "ipv6"));
    let lo = all.iter().map(name_and_address).find(|(_, address)| *address == loopback);
    let lo = lo.map_or(Value::Nil, |(name, _)| name);
    // Those of a list in full: address, broadcast address, netmask.
    let rest_of_loopback = |full: &[Value]| {
        let rest = |entry: &Value| Some(entry.items()?.get(1..)?.to_vec());
        let mut rests = full.iter().filter_map(rest);
        Value::list(rests.find(|rest| rest[0] == loopback).unwrap_or_default())
    };
    let lengths = |entries: &[Value], len: usize| {
        entries.iter().all(|entry| elements(&name_and_address(entry).1).len() == len)
    };
    t.v("loopback found", lo.is_string());
    t.v("full", rest_of_loopback(&full));
    t.v("as many, full", all.len() == full.len());
    t.v("ipv4 only", lengths(&v4, 5));
    t.v("ipv4 full", rest_of_loopback(&list(true, "ipv4")));
    t.v("ipv6 only", lengths(&v6, 9));
    let port = |entry: &Value| elements(&name_and_address(entry).1).last().cloned();
    t.v("ports are zero", all.iter().all(|entry| port(entry) == Some(0.into())));
    t.v("sum", all.len() == v4.len() + v6.len());
    t.call_try("bad family", "network-interface-list", &[Value::Nil, sym("inet")]);
    let info = processes(&t.f("network-interface-info", &[lo]));
    t.v("elements", i64::try_from(info.len())?);
    t.v("address", info[0].clone());
    t.v("netmask", info[2].clone());
    let flags = processes(&info[4]);
    t.v("flags", ["up", "loopback"].iter().all(|flag| flags.contains(&sym(flag))));
    let info = |label: &str, name: Value| t.call_try(label, "network-interface-info", &[name]);
    info("no such interface", "nosuch0".into());
    info("empty name", "".into());
    info("long name", "a-very-long-interface-name".into());
    info("symbol", sym("lo"));
    Ok(())
});

/// The halves of an entry of the short list.
fn name_and_address(entry: &Value) -> (Value, Value) {
    let Value::Pair(pair) = entry else { panic!("{entry} is no pair") };
    (**pair).clone()
}

/// The elements of an address as a vector.
fn elements(address: &Value) -> Vec<Value> {
    let Value::Vector(elements) = q(&fmt(address)) else { panic!("{address} is no vector") };
    elements.to_vec()
}

scenario!(lookup_address_info, |t| {
    let lookup = |name: &str, rest: &[Value]| {
        t.call("network-lookup-address-info", &[&[name.into()], rest].concat())
    };
    t.attempt("v4", || lookup("127.0.0.1", &[]));
    t.attempt("v4, family", || lookup("127.0.0.1", &[sym("ipv4")]));
    t.attempt("short form", || lookup("127.1", &[sym("ipv4")]));
    t.attempt("localhost", || {
        let found = processes(&lookup("localhost", &[sym("ipv4")])?);
        Ok(found.contains(&q("[127 0 0 1 0]")).into())
    });
    t.attempt("v6 name, v4 asked", || lookup("::1", &[sym("ipv4")]));
    t.attempt("v4 name, v6 asked", || lookup("127.0.0.1", &[sym("ipv6")]));
    t.attempt("bad family", || lookup("127.0.0.1", &[sym("inet")]));
    t.attempt("non-ASCII", || lookup("h\u{e9}.invalid", &[]));
    Ok(())
});
