//! Odd input to the dynamic front that is taken, and bad input to its other functions: the catalogue
//! of faults, section 2.
//!
//! Arguments of `make-network-process` that are refused are in `emacs_bad_input.rs`, typed input in
//! `process_bad_input.rs`. What Emacs 28.2 says was asked of it; where we differ it is said.

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{Error, Plist, PlistError, Process, ReadError, Status, Value, emacs::Emacs};
use netproc_tests::{
    conformance,
    rig::{PATIENCE, Rig},
    transcript::{q, sym},
};

/// Arguments of a call.
macro_rules! args {
    ($($value:expr),*) => { vec![$(Value::from($value)),*] };
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A process made by the front from arguments as Lisp writes them.
fn make(rig: &Rig, args: &str) -> Result<Process> {
    let made = rig.rt.make_network_process(&args.parse()?)?;
    Ok(made.ok_or("no arguments")?)
}

/// Calls that must come to this: an answer as Lisp prints it, or words behind `!! `.
fn expect(rig: &Rig, emacs: &Emacs, calls: Vec<(u8, &str, Vec<Value>, &str)>) {
    for (number, function, args, expected) in calls {
        let before = (rig.rt.stats().sockets, rig.rt.process_list());
        let said = match emacs.call(function, &args) {
            Ok(answer) => answer.to_string(),
            Err(signal) => format!("!! {}: {signal}", signal.symbol()),
        };
        assert_eq!(said, expected, "row {number}: {function} {args:?}");
        let after = (rig.rt.stats().sockets, rig.rt.process_list());
        assert_eq!(after, before, "row {number}: {function} {args:?}");
    }
}

conformance!(row_1_no_arguments_make_no_process, |rig| {
    let emacs = Emacs::new(&rig.rt);
    expect(rig, &emacs, vec![(1, "make-network-process", vec![], "nil")]);
    assert!(rig.rt.make_network_process(&Plist::new())?.is_none());
    Ok(())
});

conformance!(rows_4_10_14_what_looks_odd_and_is_not, |rig| {
    let unnamed = make(rig, r#"(:name "" :server t :service t)"#)?;
    let again = make(rig, r#"(:name "" :server t :service t)"#)?;
    assert_eq!((&*unnamed.name(), &*again.name()), ("", "<1>"), "row 4");
    let first = make(rig, r#"(:name "a" :server t :service t :name "b" :service -1)"#)?;
    assert_eq!(&*first.name(), "a", "row 10");
    let any = make(rig, r#"(:name "any" :server t :host "127.0.0.1" :service 0)"#)?;
    assert_ne!(any.contact().local().port(), Some(0), "row 14");
    Ok(())
});

// What is listed stays a line each; how the report of errors quotes a name is tested beside it.
conformance!(rows_5_6_a_name_may_hold_anything_and_be_long, |rig| {
    let names = ["a\0b".to_owned(), "a\nroot: ok".into(), "n".repeat(1 << 20)];
    for name in &names {
        let mut args: Plist = "(:server t :service t)".parse()?;
        args.put(":name", name.as_str());
        let made = rig.rt.make_network_process(&args)?.ok_or("no arguments")?;
        assert_eq!(*made.name(), **name);
        assert!(rig.rt.get_process(name).is_some());
    }
    let table = rig.rt.list_processes(false).to_string();
    assert_eq!(table.lines().count(), 1 + names.len());
    Ok(())
});

// DIFFERENCE: Emacs 28.2 reads past the end of its arguments.
conformance!(row_8_a_keyword_without_a_value_is_named, |rig| {
    let values = q("(:name \"x\" :service)");
    let items = values.items().ok_or("a list")?;
    assert_eq!(Plist::from_values(items), Err(PlistError::Odd(":service".into())));
    let words = "!! error: odd argument list: :service has no value";
    let emacs = Emacs::new(&rig.rt);
    expect(rig, &emacs, vec![(8, "make-network-process", items.to_vec(), words)]);
    Ok(())
});

conformance!(row_9_a_keyword_nobody_knows_is_kept, |rig| {
    let made = make(rig, r#"(:name "x" :server t :service t :no-such-keyword 42)"#)?;
    assert_eq!(made.contact().get(":no-such-keyword"), Some(42.into()));
    Ok(())
});

#[test]
fn rows_18_83_integers_beyond_64_bits_are_refused_by_the_reader() {
    for keyword in [":service", ":server"] {
        let text = format!("(:name \"x\" {keyword} 100000000000000000000)");
        let refused = text.parse::<Plist>().unwrap_err();
        let PlistError::Read(ReadError { position, problem, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((position, problem), (text.len() - 22, "the integer is too large"), "{text}");
    }
}

// As Emacs has it; the builders refuse them, see `process_bad_input.rs`.
conformance!(row_31_short_forms_of_addresses_are_read_as_in_emacs, |rig| {
    for host in ["127.1", "0x7f.1", "0177.0.0.1"] {
        let made = make(rig, &format!("(:name \"x\" :server t :service t :host \"{host}\")"))?;
        let address = made.contact().local().network_text(true).to_string();
        assert_eq!(address, "127.0.0.1", "{host}");
    }
    Ok(())
});

conformance!(rows_58_to_63_functions_about_the_network, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (format, lookup) = ("format-network-address", "network-lookup-address-info");
    let info = "network-interface-info";
    let long = Value::from("a".repeat(100));
    expect(
        rig,
        &emacs,
        vec![
            (58, format, vec![q("[1 2 3]")], "nil"),
            (58, format, vec![q("[1 2 3 4 5 6]")], "nil"),
            (58, format, vec![q("[127 0 0 256 9]")], "nil"),
            (58, format, vec![q("[127 0 0 1 65536]")], "nil"),
            (59, format, vec!["a string".into()], "\"a string\""),
            (59, format, vec![Value::Nil], "nil"),
            // DIFFERENCE: Emacs 28.2 dies of it.
            (60, lookup, vec![5.into()], "!! wrong-type-argument: Wrong type argument: stringp, 5"),
            (61, lookup, args!["127.0.0.1", sym("foo")], "!! error: Unsupported lookup type"),
            (62, lookup, vec!["".into()], "nil"),
            (63, info, vec!["nosuch0".into()], "nil"),
            (63, info, vec![long], "!! error: interface name too long"),
        ],
    );
    Ok(())
});

conformance!(rows_71_75_paths_of_any_bytes_and_a_host_beside_them, |rig| {
    let folder = tempfile::tempdir()?;
    let at = format!("{}/", folder.path().display());
    let bytes = make(rig, &format!(r#"(:name "b" :server t :family local :service "{at}\377")"#))?;
    let local = bytes.contact().local().clone();
    assert_eq!(local.to_string(), format!("\"{at}\\xff\""), "row 71");
    let client = rig.client_at(local).start()?;
    assert_eq!(client.status(), Status::Open);
    let args = format!(r#"(:name "h" :server t :family local :host "foo" :service "{at}h")"#);
    let hosted = make(rig, &args)?;
    assert_eq!(hosted.contact().get(":host"), Some(Value::Nil), "row 75");
    Ok(())
});

conformance!(row_83_a_backlog_of_any_size_listens, |rig| {
    for backlog in ["0", "1000000000000000", "foo", "1.5"] {
        let made = make(rig, &format!("(:name \"x\" :server {backlog} :service t)"))?;
        assert_eq!(made.status(), Status::Listen, "{backlog}");
        assert_eq!(rig.connect(&made)?.status(), Status::Open, "{backlog}");
    }
    Ok(())
});

/// A server, a client of it, a packet server and a packet client of that, all of the front.
fn family(rig: &Rig) -> Result<[Process; 4]> {
    let server = make(rig, r#"(:name "srv" :server t :service t)"#)?;
    let packets = make(rig, r#"(:name "dgram" :server t :type datagram :service t)"#)?;
    let to = |process: &Process| process.contact().local().to_string();
    let client = make(rig, &format!("(:name \"cli\" :remote {})", to(&server)))?;
    let args = format!("(:name \"pkt\" :type datagram :remote {})", to(&packets));
    let sender = make(rig, &args)?;
    rig.settle();
    Ok([server, client, packets, sender])
}

conformance!(rows_89_90_91_options_and_codings_of_a_live_process, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let [server, client, ..] = family(rig)?;
    let (set, coding) = ("set-network-process-option", "set-process-coding-system");
    let s = || Value::from(server.clone());
    let before = server.coding();
    expect(
        rig,
        &emacs,
        vec![
            (89, set, args![s(), sym(":nosuch"), true], "!! error: Unknown or unsupported option"),
            (89, set, args![s(), sym(":nosuch"), true, true], "nil"),
            (
                89,
                set,
                args![s(), 5, true],
                "!! wrong-type-argument: Wrong type argument: symbolp, 5",
            ),
            (
                91,
                coding,
                args![s(), sym("nosuch"), sym("utf-8")],
                "!! coding-system-error: Invalid coding system: nosuch",
            ),
            (
                91,
                coding,
                args![s(), sym("utf-8"), 5],
                "!! wrong-type-argument: Wrong type argument: symbolp, 5",
            ),
        ],
    );
    assert_eq!(server.coding(), before, "the old coding stays");
    client.delete();
    rig.settle();
    let args = args![client, sym(":keepalive"), true];
    expect(rig, &emacs, vec![(90, set, args, "!! error: Process is not running")]);
    Ok(())
});

// NaN, negative and zero look once; more than there is means for ever, and output ends it.
conformance!(row_93_times_that_are_no_times, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let [_server, client, ..] = family(rig)?;
    let late = Rc::new(Cell::new(false));
    let raised = Rc::clone(&late);
    rig.rt.run_after(PATIENCE, move |_| raised.set(true));
    let accept = |seconds: Value, millis: Value| {
        emacs.call("accept-process-output", &[client.clone().into(), seconds, millis])
    };
    let none = [
        Value::from(0),
        0.0.into(),
        (-1).into(),
        (-0.5).into(),
        f64::NAN.into(),
        f64::NEG_INFINITY.into(),
        i64::MIN.into(),
    ];
    for seconds in none {
        assert_eq!(accept(seconds.clone(), Value::Nil), Ok(Value::Nil), "{seconds}");
    }
    assert_eq!(accept(i64::MIN.into(), i64::MIN.into()), Ok(Value::Nil));
    let wrong =
        [(Value::from("1"), Value::Nil, "numberp, \"1\""), (1.into(), 0.5.into(), "fixnump, 0.5")];
    for (seconds, millis, words) in wrong {
        let refused = accept(seconds, millis).expect_err(words);
        assert_eq!(refused.to_string(), format!("Wrong type argument: {words}"));
    }
    let child = rig.rt.process_list().into_iter().find(|it| it.name().starts_with("srv <"));
    let child = child.ok_or("no connection")?;
    let for_ever = [
        (Value::from(1e300), Value::Nil),
        (f64::INFINITY.into(), Value::Nil),
        (i64::MAX.into(), Value::Nil),
        (i64::MAX.into(), i64::MAX.into()),
    ];
    for (seconds, millis) in for_ever {
        let sender = child.clone();
        rig.rt.run_after(Duration::from_millis(5), move |_| assert!(sender.send("x").is_ok()));
        assert_eq!(accept(seconds.clone(), millis), Ok(Value::True), "{seconds}");
    }
    assert!(!late.get());
    Ok(())
});

conformance!(rows_94_to_100_calls_a_process_cannot_follow, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let [server, client, packets, sender] = family(rig)?;
    let (send, eof, contact) = ("process-send-string", "process-send-eof", "process-contact");
    let (peer, set_peer) = ("process-datagram-address", "set-process-datagram-address");
    let (s, c) = (|| Value::from(server.clone()), || Value::from(client.clone()));
    let large = Value::from("a".repeat(70_000));
    let asked = sender.datagram_address();
    expect(
        rig,
        &emacs,
        vec![
            (94, send, args![s(), "x"], "!! error: Process srv not running"),
            (94, eof, vec![s()], "!! error: Process srv not running"),
            (95, send, args![c(), 5], "!! wrong-type-argument: Wrong type argument: stringp, 5"),
            (
                95,
                send,
                args![c(), Value::Nil],
                "!! wrong-type-argument: Wrong type argument: stringp, nil",
            ),
            (96, contact, args![s(), sym(":nosuch")], "nil"),
            (96, contact, args![s(), 5], "nil"),
            (97, "signal-process", args![s(), 15], "!! error: Cannot signal process srv"),
            (97, "interrupt-process", vec![s()], "!! error: Process srv is not a subprocess"),
            (97, "kill-process", vec![s()], "!! error: Process srv is not a subprocess"),
            (98, peer, vec![s()], "nil"),
            (98, set_peer, args![c(), q("[127 0 0 1 9]")], "nil"),
            (98, set_peer, args![sender.clone(), q("[127 0 0]")], "nil"),
            (98, set_peer, args![sender.clone(), 5], "nil"),
            (
                99,
                send,
                args![sender.clone(), large],
                "!! file-error: Sending datagram: Message too long, #<process pkt>",
            ),
            (
                100,
                send,
                args![packets.clone(), "x"],
                "!! file-error: Writing to process: Invalid argument, #<process dgram>",
            ),
        ],
    );
    assert_eq!(sender.datagram_address(), asked, "row 98");
    assert_eq!([&sender, &packets].map(Process::status), [Status::Open; 2], "rows 99, 100");
    client.delete();
    let words = "!! error: Process cli not running";
    expect(rig, &emacs, vec![(94, send, args![client, "x"], words)]);
    Ok(())
});

conformance!(row_94_an_empty_string_and_one_behind_the_end_of_sending_are_refused_too, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let [server, client, ..] = family(rig)?;
    let (send, eof) = ("process-send-string", "process-send-eof");
    let srv = "!! error: Process srv not running";
    expect(rig, &emacs, vec![(94, send, args![server, ""], srv)]);
    expect(rig, &emacs, vec![(94, send, args![client.clone(), ""], "nil")]);
    client.send_eof()?;
    // The end of sending is no error as long as the process is open.
    expect(rig, &emacs, vec![(94, send, args![client.clone(), "x"], "nil")]);
    rig.until("the end", || client.status() == Status::Closed);
    let cli = "!! error: Process cli not running";
    let calls = || {
        let c = || Value::from(client.clone());
        vec![
            (94, send, args![c(), "x"], cli),
            (94, send, args![c(), ""], cli),
            (94, eof, vec![c()], cli),
        ]
    };
    expect(rig, &emacs, calls());
    client.delete();
    expect(rig, &emacs, calls());
    Ok(())
});

// The typed `send` sends an empty packet; see `process_bad_input.rs`.
conformance!(row_101_an_empty_string_sends_nothing_not_even_a_packet, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let [.., packets, sender] = family(rig)?;
    let got = Rc::new(Cell::new(0));
    let count = Rc::clone(&got);
    packets.set_filter(move |_, input| count.set(count.get() + 1 + 10 * input.len()));
    expect(rig, &emacs, vec![(101, "process-send-string", args![sender.clone(), ""], "nil")]);
    expect(rig, &emacs, vec![(101, "process-send-string", args![sender, "x"], "nil")]);
    rig.until("a packet", || got.get() > 0);
    assert_eq!(got.get(), 11, "that packet alone");
    packets.set_filter(|_, _| ());
    Ok(())
});

conformance!(rows_102_103_105_once_more_is_nothing, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let [_, client, ..] = family(rig)?;
    let one = |function: &str| {
        emacs.call(function, &[client.clone().into()]).map_err(|err| err.to_string())
    };
    let same = Ok(Value::from(client.clone()));
    assert_eq!(one("continue-process"), same);
    for function in ["stop-process", "stop-process", "continue-process", "continue-process"] {
        assert_eq!(one(function), same, "row 102");
    }
    assert_eq!(client.status(), Status::Open);
    assert_eq!((one("delete-process"), one("delete-process")), (Ok(Value::Nil), Ok(Value::Nil)));
    assert_eq!(client.status(), Status::Closed, "row 103");
    assert_eq!(one("accept-process-output"), Ok(Value::Nil), "row 105: at once, without a time");
    Ok(())
});

conformance!(row_104_a_process_of_another_runtime_is_not_waited_for, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let elsewhere = rig.another();
    let other = elsewhere.server("other").start()?;
    let words = "!! error: no such process in this runtime: other";
    expect(rig, &emacs, vec![(104, "accept-process-output", args![other.clone()], words)]);
    let refused = rig.rt.accept_output(Some(&other), None, false);
    assert!(matches!(refused, Err(Error::NoSuchProcess(_))), "{refused:?}");
    other.delete();
    Ok(())
});
