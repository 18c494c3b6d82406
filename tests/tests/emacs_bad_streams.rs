//! Bad input to `open-network-stream` of the dynamic front: the catalogue of faults, section 2, rows 106
//! to 115.
//!
//! Each row has its number, what is given, and what is signalled; where that is not Emacs's, it is said.
//! Refused means: nobody was connected to, nothing opened, no process more or less. What concerns TLS is
//! in `emacs_bad_tls.rs`, typed input in `process_bad_streams.rs`.

use std::time::Duration;

use netproc::{
    Value,
    emacs::{Emacs, Function, Signal},
};
use netproc_tests::{
    certificates::Authority,
    conformance,
    front::{Place, Refused, trust},
    transcript::{fmt, sym},
};

const STRING: &str = "!! wrong-type-argument: Wrong type argument: stringp, ";

// As in Emacs; but what is no symbol is printed as it is.
conformance!(rows_106_to_108_types_names_and_odd_lists, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let port = place.port;
    let call = |number, args: &str, expected: String| {
        Refused::new(number, "open-network-stream", args, expected)
    };
    let invalid = |kind: &str| format!("!! error: Invalid connection type {kind}");
    place.refuses(vec![
        place.row(106, ":type foo", invalid("foo")),
        place.row(106, ":type \"tls\"", invalid("tls")),
        place.row(106, ":type 5 :return-list t", invalid("5")),
        place.row(106, ":type t", invalid("t")),
        place.row(106, ":type (tls)", invalid("(tls)")),
        call(107, &format!("(nil nil \"127.0.0.1\" {port})"), format!("{STRING}nil")),
        call(107, &format!("(5 nil \"127.0.0.1\" {port})"), format!("{STRING}5")),
        call(107, &format!("(\"x\" nil nil {port})"), format!("{STRING}nil")),
        call(107, &format!("(\"x\" nil 5 {port})"), format!("{STRING}5")),
        call(107, "(\"x\" nil \"127.0.0.1\" nil)", format!("{STRING}nil")),
        call(107, "(\"x\" nil \"127.0.0.1\" nil :return-list t)", format!("{STRING}nil")),
        call(107, &format!("(\"x\" 5 \"127.0.0.1\" {port})"), format!("{STRING}5")),
        call(107, "(\"x\" nil \"\" 80)", "!! error: /80 Name or service not known".into()),
        call(
            107,
            &format!("(\"x\" nil \"{}\" 80)", "\u{fc}".repeat(64)),
            format!("!! error: {}/80 Name or service not known", "\u{fc}".repeat(64)),
        ),
        call(
            107,
            &format!("(\"x\" nil \"{}\" \"http\")", "\u{fc}".repeat(64)),
            format!("!! error: {}/http Name or service not known", "\u{fc}".repeat(64)),
        ),
        call(
            107,
            "(\"x\" nil \"127.0.0.1\")",
            "!! wrong-number-of-arguments: Wrong number of arguments: open-network-stream, 3"
                .into(),
        ),
        // DIFFERENCE: Emacs connects.
        place.row(108, ":type", "!! error: odd argument list: :type has no value"),
        place.row(108, ":type plain :nowait", "!! error: odd argument list: :nowait has no value"),
        place.row(108, "5 5", "!! error: 5 is no key"),
    ]);
    Ok(())
});

// DIFFERENCE: Emacs refuses them when it looks for them, after connecting, and loops without end over
// what matches nothing.
conformance!(rows_109_110_expressions_are_looked_at_before_connecting, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &Authority::new()?)?;
    let invalid = |words: &str| format!("!! invalid-regexp: Invalid regexp: \"{words}\"");
    let open = invalid(r"Unmatched ( or \\(");
    let nothing = |name: &str| format!("!! error: the regexp in {name} matches the empty string");
    let list = ":return-list t";
    place.refuses(vec![
        place.row(109, &format!(r#"{list} :end-of-command "\\(""#), &*open),
        place.row(109, &format!(r#"{list} :end-of-capability "[a""#), invalid("Unmatched [ or [^")),
        place.row(
            109,
            r#":type network :capability-command "x" :success "\\""#,
            invalid("Trailing backslash"),
        ),
        place.row(109, r#":type plain :return-list t :nowait t :end-of-command "\\(""#, &*open),
        place.row(109, r#":type tls :nowait t :end-of-command "\\(""#, &*open),
        place.row(
            109,
            &format!(r#"{list} :end-of-command "\\(a\\)\\1""#),
            invalid("at 5: back-references are not supported"),
        ),
        place.row(109, &format!("{list} :end-of-command 5"), format!("{STRING}5")),
        place.row(109, &format!("{list} :success 5"), format!("{STRING}5")),
        place.row(110, &format!("{list} :end-of-command \"\""), nothing("end-of-command")),
        place.row(110, &format!("{list} :end-of-command \"a*\""), nothing("end-of-command")),
        place.row(110, &format!("{list} :end-of-capability \"^\""), nothing("end-of-capability")),
        place.row(110, &format!("{list} :success \"x?\""), nothing("success")),
        place.row(
            110,
            &format!(r#"{list} :end-of-command "a\\'""#),
            "!! error: the regexp in end-of-command never matches while the connection is open",
        ),
    ]);
    Ok(())
});

/// A function that is given one thing and makes always the same.
fn always(made: Value) -> Value {
    Function::new(move |_| Ok(made.clone())).into()
}

// DIFFERENCE: `wrong-type-argument` in Emacs, after connecting.
conformance!(row_112_starttls_without_the_means_is_refused, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &Authority::new()?)?;
    let lacks = |what: &str| {
        format!("!! error: Server does not support TLS: \"no upgrade to TLS without {what}\"")
    };
    let function = [sym(":starttls-function"), always("STARTTLS\r\n".into())];
    let mut rows = vec![
        place.row(112, ":type starttls", lacks("success")),
        place.row(112, ":type starttls :success \"^2\"", lacks("starttls-function")),
    ];
    for (params, missing) in [
        (":success \"^2\" :end-of-command \"\\n\"", "capability-command"),
        (":success \"^2\" :capability-command \"x\"", "end-of-command"),
        (":end-of-command \"\\n\" :capability-command \"x\"", "success"),
    ] {
        let params = format!(":type starttls :return-list t {params}");
        rows.push(place.row(112, &params, lacks(missing)).and(&function));
    }
    for keyword in [":starttls-function", ":capability-command"] {
        let predicate = if keyword == ":starttls-function" { "functionp" } else { "stringp" };
        let words = format!("!! wrong-type-argument: Wrong type argument: {predicate}, foo");
        rows.push(place.row(112, &format!(":return-list t {keyword} foo"), words));
    }
    place.refuses(rows);
    Ok(())
});

conformance!(row_112_a_connection_that_stays_in_clear_has_no_tls_parameters, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let words = "!! error: :tls-parameters are not for a stream that stays in clear";
    let tls = ":tls-parameters (gnutls-x509pki :hostname \"h\")";
    place.refuses(vec![
        place.row(112, &format!(":type plain :return-list t {tls}"), words),
        place.row(112, &format!(":return-list t {tls}"), words),
        place.row(112, &format!(":type shell {tls}"), words),
        place.row(107, ":type shell", "!! error: no command for the shell was given"),
    ]);
    Ok(())
});

conformance!(on (poll epoll uring): a_shell_speaks_for_the_server, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let buffer = rig.rt.buffers().get_or_create("b");
    let open = |host: &str, command: &str| {
        let args = [
            "s".into(),
            Value::object(buffer.clone()),
            host.into(),
            25.into(),
            sym(":type"),
            sym("shell"),
            sym(":shell-command"),
            command.into(),
            sym(":return-list"),
            Value::True,
            sym(":end-of-command"),
            "\n".into(),
            sym(":capability-command"),
            "what\n".into(),
        ];
        emacs.call("open-network-stream", &args)
    };
    let opened = open("mail.example", "echo %s %p; read x; echo can $x; cat").map_err(|err| format!("{err:?}"))?;
    let Value::List(list) = &opened else { return Err(fmt(&opened).into()) };
    let process = list[0].clone();
    let told = Value::list(list[1..].to_vec());
    let words = r#"(:greeting "mail.example 25\n" :capabilities "can what\n" :type plain :error nil)"#;
    assert_eq!(fmt(&told), words);
    let kind = emacs.call("process-type", std::slice::from_ref(&process));
    assert_eq!(kind.map(|kind| fmt(&kind)).ok().as_deref(), Some("real"));
    emacs.call("process-send-string", &[process.clone(), "more\n".into()]).map_err(|err| format!("{err:?}"))?;
    let said = "mail.example 25\ncan what\nmore\n";
    rig.until("its echo", || buffer.text().to_string_lossy() == said);
    emacs.call("delete-process", std::slice::from_ref(&process)).map_err(|err| format!("{err:?}"))?;
    let refused = open("x; rm -r ~", "echo %s");
    assert!(refused.is_err(), "a host is not run");
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

const LISTED: &str = r#":return-list t :end-of-command "^[0-9]+ .*\r\n""#;

// DIFFERENCE: Emacs sends whatever the functions say.
conformance!(row_113_commands_of_functions_are_one_line, |rig| {
    let place = Place::new(rig, b"220 hi\r\n250 STARTTLS\r\n")?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &Authority::new()?)?;
    let before = place.state();
    let wrong = [
        (Value::from("STARTTLS\r\nQUIT\r\n"), "has a line break at 8"),
        ("".into(), "is empty"),
        ("\0".into(), "has a NUL at 0"),
    ];
    for (command, why) in wrong {
        for (keyword, name) in [
            (":starttls-function", "starttls-function"),
            (":capability-command", "capability-command"),
        ] {
            let asks = if keyword == ":capability-command" {
                ""
            } else {
                ":capability-command \"EHLO\\r\\n\""
            };
            let more = [sym(keyword), always(command.clone())];
            let said = place.open(&format!("{LISTED} {asks} :success \"^2\""), &more);
            assert_eq!(said, format!("!! error: the command from {name} {why}"), "row 113");
            rig.until("nothing is left of it", || place.state().0 == before.0);
            rig.settle();
        }
    }
    let sent = rig.log.lines().concat();
    assert!(!sent.contains("STARTTLS") && !sent.contains("QUIT"), "row 113: {sent}");
    // One that is fixed is looked at before.
    let place = Place::new(rig, b"220 hi\r\n")?;
    let bad = |command: &str, why: &str| {
        let row = format!("{LISTED} :capability-command \"{command}\"");
        place.row(113, &row, format!("!! error: the command in capability-command {why}"))
    };
    place.refuses(vec![
        bad("", "is empty"),
        bad("a\\r\\nb\\r\\n", "has a line break at 1"),
        bad("a\\0", "has a NUL at 1"),
    ]);
    Ok(())
});

conformance!(a_function_that_fails_ends_the_opening_with_what_it_signals, |rig| {
    let place = Place::new(rig, b"220 hi\r\n250 x\r\n")?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &Authority::new()?)?;
    let before = place.state().1;
    let fails = Function::new(|_| Err(Signal::error("Boom")));
    let cases = [
        (Value::from(fails), "!! error: Boom"),
        (always(5.into()), "!! wrong-type-argument: Wrong type argument: stringp, 5"),
    ];
    for (function, expected) in cases {
        let more = [sym(":capability-command"), function.clone()];
        assert_eq!(place.open(LISTED, &more), expected);
        let asks = format!("{LISTED} :success \"^2\" :capability-command \"EHLO\\r\\n\"");
        assert_eq!(place.open(&asks, &[sym(":starttls-function"), function]), expected);
        rig.until("its connections ended", || place.state().1 == before);
    }
    Ok(())
});

// Without a line end it is sent as it is, and the time is limited, where Emacs waits for ever.
conformance!(row_114_a_command_without_a_line_end_is_sent_as_it_is, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let mut defaults = rig.rt.stream_defaults();
    defaults.within = Duration::from_secs(1);
    rig.rt.set_stream_defaults(defaults);
    let said = place.open(&format!("{LISTED} :capability-command \"EHLO\""), &[]);
    let late = "(nil :greeting \"220 hi\\r\\n\" :capabilities nil :type plain \
                :error \"timed out while waiting for the capabilities\")";
    assert_eq!(said, late);
    assert!(rig.log.lines().concat().contains("EHLO"));
    let said = place.open(
        &format!("{LISTED} :capability-command \"EHLO\" :return-list nil :success \"x\""),
        &[],
    );
    assert!(said.starts_with("(nil"), "the first :return-list counts: {said}");
    assert_eq!(rig.rt.get_process("x"), None);
    Ok(())
});

conformance!(rows_111_115_greetings_are_taken_as_they_are_and_to_their_limit, |rig| {
    let endless: &'static [u8] = Box::leak(vec![b'a'; 70_000].into_boxed_slice());
    let place = Place::new(rig, endless)?;
    let said = place.open(r#":return-list t :end-of-command "\\(a*\\)*b""#, &[]);
    let nothing = "(nil :greeting nil :capabilities nil :type plain";
    assert_eq!(said, format!("{nothing} :error \"the greeting longer than 65536 bytes\")"));
    let place = Place::new(rig, b"\0\xE9\xFF\r\n220 hi\r\n")?;
    let said = place.open(&format!("{LISTED} :coding binary"), &[]);
    let greeting = r#""\x00\xE9\xFF\r\n220 hi\r\n""#;
    let rest = ":capabilities nil :type plain :error nil";
    assert_eq!(said, format!("(<process x> :greeting {greeting} {rest})"), "row 115");
    Ok(())
});

// DIFFERENCE: Emacs waits for ever. In the simulation, where time costs none.
conformance!(on (sim): row_115_what_is_no_greeting_is_waited_for_within_the_limit, |rig| {
    let greetings: [&[u8]; 7] =
        [b"", b"\n", b"\r", b"\0", b"\xE9\xFF 220 a", b"220", b"x220 hi"];
    for greeting in greetings {
        let place = Place::new(rig, greeting)?;
        let said = place.open(LISTED, &[]);
        let late = "(nil :greeting nil :capabilities nil :type plain \
                    :error \"timed out while waiting for the greeting\")";
        assert_eq!(said, late, "{greeting:?}");
        assert_eq!(rig.rt.get_process("x"), None);
    }
    Ok(())
});
