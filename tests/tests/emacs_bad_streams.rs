//! Bad input to `open-network-stream` and to `:tls-parameters` of the dynamic front: the catalogue of
//! faults, section 2, rows 44 and 45 and 106 to 120.
//!
//! Each row has its number, what is given, and what is signalled; where that is not Emacs's, it is said.
//! Refused means: nobody was connected to, nothing opened, no process more or less. Typed input is in
//! `process_bad_streams.rs`.

use std::{cell::Cell, fs, path::Path, rc::Rc, time::Duration};

use netproc::{
    Process, Runtime, Value,
    emacs::{Emacs, Function},
};
use netproc_tests::{
    certificates::Authority,
    conformance,
    rig::{Outcome, Rig},
    transcript::{fmt, q, sym},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A call that comes to this: an answer as a transcript prints it, or a condition and its words behind
/// `!! `.
fn said(emacs: &Emacs, function: &str, args: &[Value]) -> String {
    match emacs.call(function, args) {
        Ok(answer) => fmt(&answer),
        Err(signal) => format!("!! {}: {signal}", signal.symbol()),
    }
}

/// A server that greets and counts who comes, and the front.
struct Place<'a> {
    rig: &'a Rig,
    emacs: Emacs,
    port: i64,
    count: Rc<Cell<usize>>,
}

impl<'a> Place<'a> {
    fn new(rig: &'a Rig, greeting: &'static [u8]) -> Result<Self> {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let server = rig.rt.server("srv").filter(rig.log.filter()).sentinel(|_, _| ());
        let server = server.on_accept(move |_, connection| {
            counted.set(counted.get() + 1);
            connection.send(greeting)
        });
        let port = server.start()?.contact().local().port().ok_or("a port")?.into();
        Ok(Self { rig, emacs: Emacs::new(&rig.rt), port, count })
    }

    fn state(&self) -> (u64, Vec<Process>) {
        (self.rig.rt.stats().sockets, self.rig.rt.process_list())
    }

    /// `open-network-stream` of this place.
    fn open(&self, params: &str, more: &[Value]) -> String {
        let params = q(&format!("({params})"));
        let args = [Value::from("x"), Value::Nil, "127.0.0.1".into(), self.port.into()];
        let all = [&args[..], params.items().unwrap_or_default(), more].concat();
        said(&self.emacs, "open-network-stream", &all)
    }

    /// Makes calls that must come to that before anybody is connected to.
    fn refuses(&self, calls: Vec<(u8, &str, Vec<Value>, String)>) {
        for (number, function, args, expected) in calls {
            let before = (self.state(), self.count.get());
            let shown = fmt(&Value::list(args.iter().cloned()));
            assert_eq!(said(&self.emacs, function, &args), expected, "row {number}: {shown}");
            assert_eq!((self.state(), self.count.get()), before, "row {number}: {shown}");
        }
        self.rig.settle();
        assert_eq!(self.count.get(), 0, "nobody was connected to");
    }

    /// A row of `open-network-stream` with these parameters.
    fn row(
        &self,
        number: u8,
        params: &str,
        expected: impl Into<String>,
    ) -> (u8, &'static str, Vec<Value>, String) {
        let args = format!("(\"x\" nil \"127.0.0.1\" {} {params})", self.port);
        (
            number,
            "open-network-stream",
            q(&args).items().unwrap_or_default().to_vec(),
            expected.into(),
        )
    }

    /// A row of `make-network-process` with these `:tls-parameters`.
    fn tls(
        &self,
        number: u8,
        params: &str,
        expected: impl Into<String>,
    ) -> (u8, &'static str, Vec<Value>, String) {
        let port = self.port;
        let args =
            format!("(:name \"x\" :host \"127.0.0.1\" :service {port} :tls-parameters {params})");
        (
            number,
            "make-network-process",
            q(&args).items().unwrap_or_default().to_vec(),
            expected.into(),
        )
    }

    /// The same of a server.
    fn tls_server(
        &self,
        number: u8,
        params: &str,
        expected: impl Into<String>,
    ) -> (u8, &'static str, Vec<Value>, String) {
        let args = format!("(:name \"x\" :server t :service t :tls-parameters {params})");
        (
            number,
            "make-network-process",
            q(&args).items().unwrap_or_default().to_vec(),
            expected.into(),
        )
    }
}

/// Trusts an authority and nobody else.
fn trust(rt: &Runtime, folder: &Path, authority: &Authority) -> Outcome {
    let file = folder.join("ca.pem");
    fs::write(&file, authority.pem())?;
    let mut defaults = rt.stream_defaults();
    defaults.trustfiles = vec![file];
    rt.set_stream_defaults(defaults);
    Ok(())
}

const LIST: &str = "!! wrong-type-argument: Wrong type argument: listp, ";
const STRING: &str = "!! wrong-type-argument: Wrong type argument: stringp, ";

// As in Emacs, but where a row says more.
conformance!(row_45_tls_parameters_are_a_list_that_says_something_known, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &Authority::new()?)?;
    let x509 = |rest: &str| format!("(gnutls-x509pki :hostname \"localhost\" {rest})");
    let t = |params: &str, expected: &str| place.tls(45, params, expected);
    let e = |params: &str, expected: &str| {
        place.tls(45, &x509(params), format!("!! error: {expected}"))
    };
    let no_host = "!! error: gnutls-boot: invalid :hostname parameter (not a string)";
    let gone = "flags of a library that is not used here";
    place.refuses(vec![
        t("foo", &format!("{LIST}foo")),
        t("5", &format!("{LIST}5")),
        t("\"x\"", &format!("{LIST}\"x\"")),
        t("(gnutls-x509pki . 5)", &format!("{LIST}(gnutls-x509pki . 5)")),
        t("(gnutls-x509pki)", no_host),
        t("(gnutls-x509pki :hostname nil)", no_host),
        t("(gnutls-x509pki :hostname 5)", &format!("{STRING}5")),
        t(
            "(gnutls-anon :hostname \"h\")",
            "!! error: credentials gnutls-anon: they prove nobody's name",
        ),
        t("(foo :hostname \"h\")", "!! error: credentials foo: no such type"),
        t("(5)", "!! error: credentials 5: no such type"),
        t("(gnutls-x509pki :hostname)", "!! error: odd argument list: :hostname has no value"),
        t("(gnutls-x509pki 5 6)", "!! error: 5 is no key"),
        e(":verify-flags 2", &format!(":verify-flags 2: {gone}")),
        e(":verify-error (:foo)", ":verify-error (:foo): no such verification"),
        e(":verify-error foo", ":verify-error foo: no such verification"),
        e(":callbacks (a)", ":callbacks is no parameter of TLS here"),
        e(":pass \"secret\"", ":pass is no parameter of TLS here"),
        e(":no-such-key 1", ":no-such-key is no parameter of TLS here"),
        t(&x509(":trustfiles \"x\""), &format!("{LIST}\"x\"")),
        t(&x509(":crlfiles (5)"), &format!("{STRING}5")),
        t(&x509(":keylist 5"), &format!("{LIST}5")),
        t(&x509(":keylist (5)"), &format!("{LIST}5")),
        t(&x509(":priority 5"), &format!("{STRING}5")),
        t(
            &x509(":min-prime-bits \"x\""),
            "!! wrong-type-argument: Wrong type argument: integerp, \"x\"",
        ),
        e(":keylist ((\"k\"))", ":keylist (\"k\"): it has to name a key and a certificate"),
        e(
            ":keylist ((\"a\" \"b\") (\"c\" \"d\"))",
            ":keylist ((\"a\" \"b\") (\"c\" \"d\")): one certificate is shown",
        ),
    ]);
    // What is no more than nothing is a connection in clear.
    let plain =
        format!("(:name \"x\" :host \"127.0.0.1\" :service {} :tls-parameters nil)", place.port);
    let plain = rig.rt.make_network_process(&plain.parse()?)?.ok_or("arguments")?;
    assert_eq!(plain.status(), netproc::Status::Open);
    Ok(())
});

// DIFFERENCE: Emacs dies of it; here a server speaks TLS, or says what it lacks.
conformance!(row_44_a_server_speaks_tls_or_says_what_it_lacks, |rig| {
    let place = Place::new(rig, b"")?;
    let folder = tempfile::tempdir()?;
    let authority = Authority::new()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let signed = authority.sign(&["localhost"])?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("key.pem"), &signed.key)?;
    fs::write(path("own.pem"), &signed.certificate)?;
    let keys = format!(":keylist ((\"{}\" \"{}\"))", path("key.pem"), path("own.pem"));
    let missing = format!(":keylist ((\"{}\" \"{}\"))", path("none.pem"), path("own.pem"));
    let lacks = "!! error: a server needs a :keylist with its key and certificate";
    let none = "No such file or directory (os error 2)";
    let of_clients = "a server checks its clients by :trustfiles";
    let packets = "!! error: only streams have TLS";
    let datagram =
        q("(:name \"x\" :server t :type datagram :service t :tls-parameters (gnutls-x509pki))");
    place.refuses(vec![
        place.tls_server(44, "(gnutls-x509pki)", lacks),
        place.tls_server(44, "foo", format!("{LIST}foo")),
        place.tls_server(
            44,
            "(gnutls-anon)",
            "!! error: credentials gnutls-anon: they prove nobody's name",
        ),
        place.tls_server(
            44,
            &format!("(gnutls-x509pki {missing})"),
            format!("!! error: TLS cannot be had: {}: cannot be read: {none}", path("none.pem")),
        ),
        place.tls_server(
            44,
            &format!("(gnutls-x509pki {keys} :verify-error t)"),
            format!("!! error: :verify-error t: {of_clients}"),
        ),
        place.tls_server(
            44,
            &format!("(gnutls-x509pki {keys} :crlfiles (\"x\"))"),
            format!("!! error: :crlfiles (\"x\"): {of_clients}"),
        ),
        (44, "make-network-process", datagram.items().unwrap_or_default().to_vec(), packets.into()),
    ]);
    let args = format!(
        "(:name \"s\" :server t :service t :filter ignore :tls-parameters (gnutls-x509pki {keys}))"
    );
    let server = rig.rt.make_network_process(&args.parse()?)?.ok_or("arguments")?;
    let port = server.contact().local().port().ok_or("a port")?;
    let tls = "(gnutls-x509pki :hostname \"localhost\")";
    let args = format!("(:name \"c\" :host \"127.0.0.1\" :service {port} :tls-parameters {tls})");
    let client = rig.rt.make_network_process(&args.parse()?)?.ok_or("arguments")?;
    let info = client.tls_info().ok_or("the handshake is done")?;
    assert_eq!(info.server_name(), Some("localhost"));
    Ok(())
});

// As in Emacs; but what is no symbol is printed as it is.
conformance!(rows_106_to_108_types_names_and_odd_lists, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let port = place.port;
    let call = |number, args: &str, expected: String| {
        let args = q(args).items().unwrap_or_default().to_vec();
        (number, "open-network-stream", args, expected)
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
        let (number, name, mut args, expected) =
            place.row(112, &format!(":type starttls :return-list t {params}"), lacks(missing));
        args.extend(function.clone());
        rows.push((number, name, args, expected));
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
        place.row(
            112,
            ":type shell",
            "!! error: open-network-stream: the type shell is not supported",
        ),
    ]);
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
    let fails = Function::new(|_| Err(netproc::emacs::Signal::error("Boom")));
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

/// A folder with good and bad files.
struct Files {
    folder: tempfile::TempDir,
    key: String,
}

impl Files {
    fn new(authority: &Authority) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let signed = authority.sign(&["me.example"])?;
        let other = authority.sign(&["me.example"])?;
        let files: [(&str, Vec<u8>); 9] = [
            ("ca.pem", authority.pem().into()),
            ("own.pem", signed.certificate.into()),
            ("key.pem", signed.key.clone().into()),
            ("other-key.pem", other.key.into()),
            ("empty.pem", Vec::new()),
            ("garbage.pem", b"\xFF\xFEgarbage".into()),
            ("own.der", authority.der()),
            ("encrypted.pem", signed.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY").into()),
            ("large.pem", vec![b'\n'; 10 << 20]),
        ];
        for (name, content) in files {
            fs::write(folder.path().join(name), content)?;
        }
        Ok(Self { folder, key: signed.key })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What is signalled for one of them.
    fn problem(&self, name: &str, problem: &str) -> String {
        format!("!! error: TLS cannot be had: {}: {problem}", self.path(name))
    }

    /// Files that are no certificate, and why.
    fn bad(&self) -> [(&'static str, String); 6] {
        let none = "cannot be read: No such file or directory (os error 2)";
        [
            ("none.pem", none),
            ("empty.pem", "is empty"),
            ("garbage.pem", "is no PEM"),
            ("own.der", "is DER, PEM is wanted"),
            ("key.pem", "holds no certificate"),
            ("large.pem", "is larger than 4194304 bytes"),
        ]
        .map(|(name, problem)| (name, self.problem(name, problem)))
    }
}

// DIFFERENCE: Emacs uses a certificate only if both files can be read, and says nothing if not.
conformance!(row_116_a_client_certificate_that_cannot_be_used_is_named, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let authority = Authority::new()?;
    let files = Files::new(&authority)?;
    trust(&rig.rt, files.folder.path(), &authority)?;
    let shown = |key: &str, own: &str| format!("(\"{}\" \"{}\")", files.path(key), files.path(own));
    let mut rows = Vec::new();
    for (name, expected) in files.bad() {
        let shown = shown("key.pem", name);
        for more in ["", ":return-list t", ":nowait t"] {
            let stream = format!(":type tls {more} :client-certificate {shown}");
            rows.push(place.row(116, &stream, &*expected));
        }
        let tls = format!("(gnutls-x509pki :hostname \"h\" :keylist ({shown}))");
        rows.push(place.tls(116, &tls, &*expected));
    }
    for (name, problem) in [
        ("own.pem", "holds no private key"),
        ("encrypted.pem", "holds a private key that is encrypted"),
    ] {
        let stream = format!(":type tls :client-certificate {}", shown(name, "own.pem"));
        rows.push(place.row(116, &stream, files.problem(name, problem)));
    }
    let stream = format!(":type tls :client-certificate {}", shown("other-key.pem", "own.pem"));
    let words = format!(
        "!! error: TLS cannot be had: the key in {} is not that of the certificate in {}",
        files.path("other-key.pem"),
        files.path("own.pem")
    );
    rows.push(place.row(116, &stream, words));
    let pair = "it has to name a key and a certificate";
    rows.push(place.row(116, ":type tls :client-certificate 5", format!("{LIST}5")));
    rows.push(place.row(116, ":type tls :client-certificate (5 6)", format!("{STRING}6")));
    rows.push(place.row(
        116,
        ":type tls :client-certificate (\"k\")",
        format!("!! error: :client-certificate (\"k\"): {pair}"),
    ));
    // The key itself is told to nobody.
    let secret = files.key.lines().nth(1).ok_or("a key has lines")?.to_owned();
    assert!(rows.iter().all(|(_, _, _, expected)| !expected.contains(&secret)));
    place.refuses(rows);
    Ok(())
});

// DIFFERENCE: Emacs passes over files that are not there.
conformance!(row_117_a_trust_file_that_cannot_be_used_is_named, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let authority = Authority::new()?;
    let files = Files::new(&authority)?;
    trust(&rig.rt, files.folder.path(), &authority)?;
    let mut rows = Vec::new();
    for (name, expected) in files.bad() {
        let tls =
            format!("(gnutls-x509pki :hostname \"h\" :trustfiles (\"{}\"))", files.path(name));
        rows.push(place.tls(117, &tls, &*expected));
        let lists =
            format!("(gnutls-x509pki :hostname \"h\" :crlfiles (\"{}\"))", files.path(name));
        let of_lists = expected.replace("holds no certificate", "holds no revocation list");
        rows.push(place.tls(117, &lists, of_lists));
        rows.push(place.row(117, &format!(":type tls :tls-parameters {tls}"), expected));
    }
    place.refuses(rows);
    let defaults = rig.rt.stream_defaults();
    for (name, expected) in files.bad() {
        let mut bad = defaults.clone();
        bad.trustfiles = vec![files.path(name).into()];
        rig.rt.set_stream_defaults(bad);
        place.refuses(vec![
            place.row(117, ":type tls", &*expected),
            place.tls(117, "(gnutls-x509pki :hostname \"h\")", expected),
        ]);
    }
    // Nobody to trust is nobody, not everybody.
    let mut nobody = defaults;
    (nobody.trustfiles, nobody.system_roots) = (Vec::new(), false);
    rig.rt.set_stream_defaults(nobody);
    let words = "!! error: TLS cannot be had: no roots to trust";
    place.refuses(vec![
        place.row(117, ":type tls", words),
        place.row(117, ":type tls :nowait t :return-list t", words),
        place.tls(117, "(gnutls-x509pki :hostname \"h\")", words),
    ]);
    Ok(())
});

// DIFFERENCE: Emacs checks whatever it is given against the certificate.
conformance!(rows_118_120_names_and_versions_that_cannot_be, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let authority = Authority::new()?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let long = "a".repeat(300);
    let named = |name: &str| format!("(gnutls-x509pki :hostname \"{name}\")");
    let bad = |name: &str, problem: &str| {
        let shown = format!("{:?}", name.replace("\\0", "\0"));
        let words = format!("!! error: TLS cannot be had: server name {shown} {problem}");
        place.tls(118, &named(name), words)
    };
    let first =
        |priority: &str| format!("(gnutls-x509pki :hostname \"h\" :priority \"{priority}\")");
    let none = "no version is left, of 1.2 and 1.3";
    let empty = named("");
    place.refuses(vec![
        bad("", "is empty"),
        bad(".", "is empty"),
        bad("*", "has a wildcard"),
        bad("*.example", "has a wildcard"),
        bad("a\\0.example", "has a NUL"),
        bad(&long, "is longer than 253 bytes"),
        bad("b\u{fc}cher.example", "is not ASCII"),
        bad("a..example", "is neither a name nor an address"),
        place.row(
            118,
            &format!(":type tls :tls-parameters {empty}"),
            "!! error: TLS cannot be had: server name \"\" is empty",
        ),
        place.tls(
            120,
            &first("NORMAL:-VERS-ALL"),
            format!("!! error: :priority \"NORMAL:-VERS-ALL\": {none}"),
        ),
        place.tls(
            120,
            &first("NORMAL:-VERS-TLS1.2:-VERS-TLS1.3:+VERS-TLS1.1"),
            format!(
                "!! error: :priority \"NORMAL:-VERS-TLS1.2:-VERS-TLS1.3:+VERS-TLS1.1\": {none}"
            ),
        ),
    ]);
    Ok(())
});

// An address counts as one, a closing dot is taken off, an underscore is a letter.
conformance!(row_118_names_that_only_look_odd_are_checked, |rig| {
    let authority = Authority::new()?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let server = authority.server(&["127.0.0.1", "localhost", "_x.a_b.example"])?;
    let server = rig.server().tls(server).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let emacs = Emacs::new(&rig.rt);
    for (name, passes) in [
        ("127.0.0.1", true),
        ("localhost.", true),
        ("LOCALHOST", true),
        ("_x.a_b.example", true),
        ("127.0.0.2", false),
        ("::1", false),
        ("localhost.example", false),
    ] {
        let tls = format!("(gnutls-x509pki :hostname \"{name}\")");
        let args =
            q(&format!("(:name \"x\" :host \"127.0.0.1\" :service {port} :tls-parameters {tls})"));
        let said = said(&emacs, "make-network-process", args.items().unwrap_or_default());
        let refused = format!("!! error: The x509 certificate does not match \"{name}\": ");
        assert!(said.starts_with(if passes { "<process x" } else { &*refused }), "{name}: {said}");
    }
    Ok(())
});
