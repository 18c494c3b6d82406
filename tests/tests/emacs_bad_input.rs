//! Bad input to the dynamic front: the catalogue of faults, section 2, as far as values can be wrong
//! there.
//!
//! The rows are those of arguments that are refused. Each has its number, what is given, the typed error, and what Emacs 28.2 says to the same. The
//! check is always the same: refused, nothing opened, no process more or less. Rows of arguments that
//! are taken and of other functions are in `emacs_bad_calls.rs`, those of typed input in
//! `process_bad_input.rs`, which also counts that no row is missing.

use netproc::{
    AddressError, CodingError, HostProblem, OptionError, Plist, PlistError, Process,
    ServiceProblem, StartError, Value, emacs::Emacs, emacs::Signal,
};
use netproc_tests::{
    conformance,
    rig::{Outcome, Rig},
};

/// What Emacs 28.2 makes of a row.
#[derive(Debug)]
enum Says {
    /// This, and so do we.
    Same(&'static str),
    /// This, made of what was given, and so do we.
    Built(String),
    /// DIFFERENCE: something else, told here in short; the error says more, or there is one at all.
    Differs(&'static str),
}
use Says::{Built, Differs, Same};

/// Arguments of `make-network-process` that are refused.
struct Row {
    number: u8,
    args: String,
    is: fn(&StartError) -> bool,
    error: &'static str,
    says: Says,
}

macro_rules! row {
    ($number:literal, $args:expr, $error:pat, $says:expr) => {
        Row {
            number: $number,
            args: format!("(:name \"x\" {})", $args),
            is: |err| matches!(err, $error),
            error: stringify!($error),
            says: $says,
        }
    };
}

/// The condition and its leading words; of a refusal of the system without the arguments behind.
fn words(signal: &Signal) -> String {
    match (signal.symbol(), signal.data()) {
        (symbol @ ("file-error" | "file-missing"), [tried, why, ..]) => {
            let text = |value: &Value| value.as_str().unwrap_or("no string").to_owned();
            format!("{symbol}: {}: {}", text(tried), text(why))
        }
        _ => signal.to_string(),
    }
}

/// What must not change when something is refused.
fn state(rig: &Rig) -> (u64, Vec<Process>) {
    (rig.rt.stats().sockets, rig.rt.process_list())
}

fn refuse(rig: &Rig, rows: Vec<Row>) -> Outcome {
    let emacs = Emacs::new(&rig.rt);
    for Row { number, args, is, error, says } in rows {
        let shown: String = args.chars().take(100).collect();
        let before = state(rig);
        let plist: Plist = args.parse().map_err(|err| format!("row {number}: {shown}: {err}"))?;
        let refused = match rig.rt.make_network_process(&plist) {
            Err(refused) => refused,
            Ok(made) => return Err(format!("row {number}: {shown} made {made:?}").into()),
        };
        assert!(is(&refused), "row {number}: {shown}: {refused:?} is not {error}");
        let values = plist.to_value();
        let signal = emacs.call("make-network-process", values.items().unwrap_or_default());
        let said = words(&signal.expect_err("as before"));
        match &says {
            Same(words) => assert_eq!(said, *words, "row {number}: {shown}"),
            Built(words) => assert_eq!(said, *words, "row {number}: {shown}"),
            Differs(words) => assert_ne!(said, *words, "row {number}: {shown}"),
        }
        rig.until("its sockets closed", || rig.rt.stats().sockets == before.0);
        assert_eq!(state(rig), before, "row {number}: {shown}");
    }
    Ok(())
}

/// A server made by the front.
fn server(rig: &Rig, args: &str) -> Result<Process, Box<dyn std::error::Error>> {
    let plist: Plist = format!("(:server t {args})").parse()?;
    Ok(rig.rt.make_network_process(&plist)?.ok_or("no arguments")?)
}

const REFUSED: &str = "file-error: make client process failed: Connection refused";

fn names_and_services() -> Vec<Row> {
    use StartError::{Argument, MissingService, Service};
    let unnamed = |row: Row, args: &str| Row { args: args.into(), ..row };
    let at = |rest: &str| format!(":host \"127.0.0.1\" :service {rest}");
    let no_string = "Wrong type argument: stringp, nil";
    vec![
        unnamed(row!(2, "", Argument { keyword: ":name", .. }, Same(no_string)), "(:service 1)"),
        unnamed(
            row!(3, "", Argument { keyword: ":name", .. }, Same("Wrong type argument: stringp, 5")),
            "(:name 5 :service 1)",
        ),
        row!(11, "", MissingService(_), Same(no_string)),
        row!(11, ":service nil", MissingService(_), Same(no_string)),
        row!(12, at("t"), Service { problem: ServiceProblem::NeedsPort, .. }, Differs(REFUSED)),
        row!(13, at("0"), Service { problem: ServiceProblem::NeedsPort, .. }, Differs(REFUSED)),
        row!(
            15,
            at("-1"),
            Service { problem: ServiceProblem::OutOfRange, .. },
            Same("127.0.0.1/-1 Servname not supported for ai_socktype")
        ),
        row!(
            16,
            at("65536"),
            Service { problem: ServiceProblem::OutOfRange, .. },
            Differs(REFUSED)
        ),
        row!(
            17,
            at("65536 :server t"),
            Service { problem: ServiceProblem::OutOfRange, .. },
            Differs("listens on any port")
        ),
        // As Emacs writes it, an integer this large cannot be read here; see below.
        row!(
            18,
            at("1e20"),
            Argument { keyword: ":service", .. },
            Same("Wrong type argument: stringp, 1e20")
        ),
        row!(
            19,
            at("80.5"),
            Argument { keyword: ":service", .. },
            Same("Wrong type argument: stringp, 80.5")
        ),
        row!(
            19,
            at("(80)"),
            Argument { keyword: ":service", .. },
            Same("Wrong type argument: stringp, (80)")
        ),
    ]
}

fn service_texts() -> Vec<Row> {
    use StartError::Service;
    let at = |rest: &str| format!(":host \"127.0.0.1\" :service \"{rest}\"");
    let unknown =
        |name: &str| Built(format!("127.0.0.1/{name} Servname not supported for ai_socktype"));
    let endless = "s".repeat(70_000);
    vec![
        row!(20, at("80x"), Service { problem: ServiceProblem::Unknown, .. }, unknown("80x")),
        row!(20, at("0x50"), Service { problem: ServiceProblem::Unknown, .. }, unknown("0x50")),
        row!(20, at("-1"), Service { problem: ServiceProblem::Unknown, .. }, unknown("-1")),
        row!(21, at(""), Service { problem: ServiceProblem::Empty, .. }, Differs(REFUSED)),
        row!(22, at(" 80"), Service { problem: ServiceProblem::Unknown, .. }, Differs(REFUSED)),
        row!(22, at("80 "), Service { problem: ServiceProblem::Unknown, .. }, unknown("80 ")),
        row!(
            23,
            at("65536"),
            Service { problem: ServiceProblem::OutOfRange, .. },
            Differs(REFUSED)
        ),
        row!(
            23,
            at("99999999999"),
            Service { problem: ServiceProblem::OutOfRange, .. },
            Differs(REFUSED)
        ),
        row!(
            24,
            at("no-such-service"),
            Service { problem: ServiceProblem::Unknown, .. },
            unknown("no-such-service")
        ),
        row!(25, at("80\\0"), Service { problem: ServiceProblem::Nul, .. }, Differs(REFUSED)),
        // Longer than any name there is: the system's table is not searched for it.
        row!(26, at(&endless), Service { problem: ServiceProblem::Unknown, .. }, unknown(&endless)),
    ]
}

fn hosts() -> Vec<Row> {
    use StartError::{Argument, Host, Lookup};
    let at = |rest: &str| format!(":service 1 :host {rest}");
    let none = |host: &str| Built(format!("{host}/1 Name or service not known"));
    let other = "Address family for hostname not supported";
    let (long, label) = ("h".repeat(300), format!("{}.example", "l".repeat(64)));
    vec![
        row!(27, at("\"\""), Host { problem: HostProblem::Empty, .. }, none("")),
        row!(
            28,
            at("12"),
            Argument { keyword: ":host", .. },
            Same("Wrong type argument: stringp, 12")
        ),
        row!(
            28,
            at("foo"),
            Argument { keyword: ":host", .. },
            Same("Wrong type argument: stringp, foo")
        ),
        row!(
            28,
            at("t"),
            Argument { keyword: ":host", .. },
            Same("Wrong type argument: stringp, t")
        ),
        row!(29, at("\"local\\0host\""), Host { problem: HostProblem::Nul, .. }, Differs("local")),
        // Told from its numbers alone.
        row!(30, at("\"256.1.1.1\""), Lookup { .. }, none("256.1.1.1")),
        row!(32, at("\"[::1]\""), Host { problem: HostProblem::Brackets, .. }, none("[::1]")),
        row!(
            33,
            at("\"::1\" :family ipv4"),
            Host { problem: HostProblem::Family, .. },
            Built(format!("::1/1 {other}"))
        ),
        row!(
            33,
            at("\"127.0.0.1\" :family ipv6"),
            Host { problem: HostProblem::Family, .. },
            Built(format!("127.0.0.1/1 {other}"))
        ),
        row!(
            34,
            at("\"fe80::1%nosuch\""),
            Host { problem: HostProblem::Interface, .. },
            none("fe80::1%nosuch")
        ),
        row!(
            35,
            at(&format!("\"{long}\"")),
            Host { problem: HostProblem::TooLong, .. },
            none(&long)
        ),
        row!(
            35,
            at(&format!("\"{label}\"")),
            Host { problem: HostProblem::TooLong, .. },
            none(&label)
        ),
        row!(36, at("\"a b\""), Host { problem: HostProblem::Space, .. }, none("a b")),
        row!(
            37,
            at("\"h\u{e9}.example\""),
            Host { problem: HostProblem::NotAscii, .. },
            Same("Non-ASCII hostname h\u{e9}.example detected, please use puny-encode-domain")
        ),
    ]
}

fn families_and_types() -> Vec<Row> {
    use StartError::{Lookup, ServerNowait, UnknownFamily, UnsupportedType};
    let at = |rest: &str| format!(":service 1 :host {rest}");
    vec![
        // DIFFERENCE: what can be no name is refused without asking, with `:nowait` as well. The row of
        // a name is in process_names.rs.
        row!(38, at("\"256.1.1.1\" :nowait t"), Lookup { .. }, Differs("a process, failed")),
        row!(39, at("\"::1\" :family inet"), UnknownFamily(_), Same("Unknown address family")),
        row!(39, at("\"::1\" :family \"ipv6\""), UnknownFamily(_), Same("Unknown address family")),
        row!(
            40,
            at("\"127.0.0.1\" :family 77"),
            Lookup { .. },
            Same("127.0.0.1/1 ai_family not supported")
        ),
        row!(
            40,
            at("\"127.0.0.1\" :family 70000"),
            UnknownFamily(_),
            Differs("127.0.0.1/1 ai_family not supported")
        ),
        row!(41, at("nil :type foo"), UnsupportedType(_), Same("Unsupported connection type")),
        row!(
            41,
            at("nil :type \"datagram\""),
            UnsupportedType(_),
            Same("Unsupported connection type")
        ),
        row!(
            43,
            at("nil :server t :nowait t"),
            ServerNowait,
            Same("':server' is incompatible with ':nowait'")
        ),
    ]
}

fn vectors() -> Vec<Row> {
    use StartError::MalformedAddress as Malformed;
    let same = || Same("Malformed :address");
    vec![
        row!(46, ":remote []", Malformed { source: Some(AddressError::Length(0)), .. }, same()),
        row!(
            47,
            ":remote [1 2 3]",
            Malformed { source: Some(AddressError::Length(3)), .. },
            same()
        ),
        row!(
            47,
            ":remote [127 0 0 1]",
            Malformed { source: Some(AddressError::Length(4)), .. },
            same()
        ),
        row!(
            47,
            ":remote [1 2 3 4 5 6]",
            Malformed { source: Some(AddressError::Length(6)), .. },
            same()
        ),
        row!(
            47,
            ":remote [1 2 3 4 5 6 7]",
            Malformed { source: Some(AddressError::Length(7)), .. },
            same()
        ),
        row!(
            47,
            ":server t :local [1 2 3 4 5 6 7 8]",
            Malformed { source: Some(AddressError::Length(8)), .. },
            same()
        ),
        row!(
            47,
            ":remote [1 2 3 4 5 6 7 8 9 10]",
            Malformed { source: Some(AddressError::Length(10)), .. },
            same()
        ),
    ]
}

fn elements_of_vectors() -> Vec<Row> {
    use StartError::MalformedAddress as Malformed;
    let same = || Same("Malformed :address");
    let taken = || Differs("taken, cut to the field");
    let long = format!(":remote (77 . [{}])", "1 ".repeat(200));
    vec![
        row!(
            48,
            ":remote [127 0 0 256 9]",
            Malformed { source: Some(AddressError::Element { index: 3, value: 256, .. }), .. },
            taken()
        ),
        row!(
            48,
            ":remote [127 0 0 -1 9]",
            Malformed { source: Some(AddressError::Element { index: 3, value: -1, .. }), .. },
            taken()
        ),
        row!(
            49,
            ":remote [127 0 0 1 65536]",
            Malformed { source: Some(AddressError::Port(65_536)), .. },
            taken()
        ),
        row!(
            49,
            ":server t :local [127 0 0 1 -1]",
            Malformed { source: Some(AddressError::Port(-1)), .. },
            taken()
        ),
        row!(
            50,
            ":remote [0 0 0 0 0 0 0 65536 9]",
            Malformed { source: Some(AddressError::Element { index: 7, .. }), .. },
            taken()
        ),
        row!(51, ":remote (127 0 0 1 9)", Malformed { source: None, .. }, same()),
        row!(51, ":remote 127", Malformed { source: None, .. }, same()),
        row!(
            53,
            ":remote (2 . [0 9 127 0 0 1 0 0 0 0 0 0 0 0])",
            Malformed { source: Some(AddressError::KnownFamily(2)), .. },
            Differs("open, without a connection")
        ),
        row!(
            54,
            ":remote (77 . [256])",
            Malformed { source: Some(AddressError::Element { index: 0, value: 256, .. }), .. },
            Differs("not asked")
        ),
        row!(
            55,
            long,
            Malformed { source: Some(AddressError::TooManyBytes(200)), .. },
            Differs("not asked")
        ),
    ]
}

fn options_and_codings() -> Vec<Row> {
    use StartError::{Argument, Backlog, Coding, Option as Opt, Plist as NoPlist};
    let at = |rest: &str| format!(":server t :service t {rest}");
    let function = || Differs("taken, and fails when it is called");
    let taken = || Differs("taken");
    vec![
        row!(
            77,
            at(":coding no-such-coding"),
            Coding(CodingError::Unknown(_)),
            Same("Invalid coding system: no-such-coding")
        ),
        row!(
            77,
            at(":coding (utf-8 . no-such-coding)"),
            Coding(CodingError::Unknown(_)),
            Same("Invalid coding system: no-such-coding")
        ),
        row!(
            78,
            at(":coding \"utf-8\""),
            Argument { keyword: ":coding", .. },
            Same("Wrong type argument: symbolp, \"utf-8\"")
        ),
        row!(
            78,
            at(":coding 5"),
            Argument { keyword: ":coding", .. },
            Same("Wrong type argument: symbolp, 5")
        ),
        row!(80, at(":filter 5"), Argument { keyword: ":filter", .. }, function()),
        row!(80, at(":filter no-such-function"), Argument { keyword: ":filter", .. }, function()),
        row!(80, at(":sentinel \"s\""), Argument { keyword: ":sentinel", .. }, function()),
        row!(80, at(":log [1]"), Argument { keyword: ":log", .. }, function()),
        row!(
            81,
            at(":plist foo"),
            Argument { keyword: ":plist", .. },
            Same("Wrong type argument: sequencep, foo")
        ),
        row!(81, at(":plist (a)"), NoPlist(PlistError::Odd(_)), taken()),
        row!(
            82,
            at(":buffer 12"),
            Argument { keyword: ":buffer", .. },
            Same("Wrong type argument: stringp, 12")
        ),
        row!(83, ":service t :server -1", Backlog(-1), taken()),
        row!(84, at(":linger \"x\""), Opt(OptionError::Kind { option: ":linger", .. }), taken()),
        row!(84, at(":linger -1"), Opt(OptionError::Range { value: -1, .. }), taken()),
        row!(84, at(":linger 100000000000"), Opt(OptionError::Range { .. }), taken()),
        row!(
            85,
            at(":priority \"x\""),
            Opt(OptionError::Kind { option: ":priority", .. }),
            Same("Bad option value for :priority")
        ),
        row!(
            87,
            at(":bindtodevice 5"),
            Opt(OptionError::Kind { option: ":bindtodevice", .. }),
            Same("Bad option value for :bindtodevice")
        ),
        row!(
            88,
            at(&format!(":bindtodevice \"{}\"", "d".repeat(100))),
            Opt(OptionError::DeviceName(100)),
            Differs("file-error: Cannot set network option: No such device")
        ),
    ]
}

conformance!(names_and_services_are_refused_in_emacss_words, |rig| {
    refuse(rig, names_and_services())
});
conformance!(service_texts_are_refused_in_emacss_words, |rig| { refuse(rig, service_texts()) });
conformance!(hosts_are_refused_in_emacss_words, |rig| {
    refuse(rig, hosts())?;
    refuse(rig, families_and_types())
});
conformance!(vectors_are_refused_in_emacss_words, |rig| {
    refuse(rig, vectors())?;
    refuse(rig, elements_of_vectors())
});
conformance!(options_and_codings_are_refused_in_emacss_words, |rig| {
    refuse(rig, options_and_codings())
});

conformance!(what_the_system_refuses_reads_as_in_emacs, |rig| {
    use StartError::Sys;
    let used = server(rig, ":name \"used\" :host \"127.0.0.1\" :service t")?;
    let taken = format!(":server t :local {}", used.contact().local());
    let families =
        "file-error: make client process failed: Address family not supported by protocol";
    refuse(
        rig,
        vec![
            row!(
                42,
                ":host \"127.0.0.1\" :service 1 :type seqpacket",
                Sys { .. },
                Same("file-error: make client process failed: Socket type not supported")
            ),
            row!(52, ":remote (77 . [1 2 3])", Sys { .. }, Same(families)),
            row!(56, ":remote [0 0 0 0 0]", Sys { .. }, Same(REFUSED)),
            row!(
                64,
                ":server t :host \"192.0.2.77\" :service 9",
                Sys { address: Some(_), .. },
                Same("file-error: Cannot bind server socket: Cannot assign requested address")
            ),
            row!(
                65,
                taken,
                Sys { address: Some(_), .. },
                Same("file-error: Cannot bind server socket: Address already in use")
            ),
        ],
    )
});

fn paths() -> Vec<Row> {
    use StartError::{Address, Argument, MalformedAddress, Service};
    let at = |path: &str| format!(":family local :service \"{path}\"");
    let long = |len| "p".repeat(len);
    let too_long = || Same("Service name too long");
    vec![
        row!(
            66,
            ":family local",
            Argument { keyword: ":service", .. },
            Same("Wrong type argument: stringp, nil")
        ),
        row!(67, at(&long(108)), Address(AddressError::PathTooLong(108)), too_long()),
        row!(67, at(&long(200)), Address(AddressError::PathTooLong(200)), too_long()),
        row!(
            67,
            format!(":remote \"{}\"", long(108)),
            MalformedAddress { source: Some(AddressError::PathTooLong(108)), .. },
            Differs("cut in silence")
        ),
        row!(
            69,
            ":family local :server t :service \"\"",
            Service { problem: ServiceProblem::Empty, .. },
            Differs("listens on a name the system makes up")
        ),
        row!(70, at("a\\0b"), Address(AddressError::Nul(1)), Differs("cut at the NUL")),
    ]
}

conformance!(paths_are_refused_in_emacss_words, |rig| { refuse(rig, paths()) });

conformance!(on (poll epoll uring): a_folder_that_there_is_not_is_refused, |rig| {
    use StartError::Sys;
    let at = ":family local :service \"/no-such-folder/s\"";
    refuse(
        rig,
        vec![
        row!(
            72,
            at,
            Sys { address: Some(_), .. },
            Same("file-missing: make client process failed: No such file or directory")
        ),
        row!(
            72,
            format!("{} :server t", at),
            Sys { address: Some(_), .. },
            Same("file-missing: Cannot bind server socket: No such file or directory")
        ),
        ],
    )
});

conformance!(on (poll epoll uring): what_is_no_socket_is_refused_and_stays, |rig| {
    use StartError::Sys;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "kept")?;
    let in_use = "file-error: Cannot bind server socket: Address already in use";
    for path in [folder.path(), &file] {
        let client = format!(":family local :service \"{}\"", path.display());
        let server = format!("{client} :server t");
        refuse(
            rig,
            vec![
                row!(73, client, Sys { address: Some(_), .. }, Same(REFUSED)),
                row!(73, server, Sys { address: Some(_), .. }, Same(in_use)),
            ],
        )?;
    }
    assert_eq!(std::fs::read(&file)?, b"kept");
    Ok(())
});

conformance!(on (poll epoll uring): a_device_that_there_is_not_is_refused, |rig| {
    let args = ":server t :service t :keepalive t :bindtodevice \"nosuch0\"";
    let words = "file-error: Cannot set network option: No such device";
    refuse(rig, vec![row!(88, args, StartError::Sys { .. }, Same(words))])?;
    // Emacs names the option, not the other arguments.
    let emacs = Emacs::new(&rig.rt);
    let values: Value = format!("(:name \"x\" {args})").parse()?;
    let refused = emacs.call("make-network-process", values.items().unwrap_or_default());
    let data = Value::list(refused.expect_err("as before").data().iter().cloned());
    let expected = "(\"Cannot set network option\" \"No such device\" :bindtodevice \"nosuch0\")";
    assert_eq!(data.to_string(), expected);
    // Not another of the same name that would do.
    let args = "(:name \"x\" :server t :service t :bindtodevice nil :bindtodevice \"nosuch0\")";
    let values: Value = args.parse()?;
    let refused = emacs.call("make-network-process", values.items().unwrap_or_default());
    let data = Value::list(refused.expect_err("as before").data().iter().cloned());
    assert_eq!(data.to_string(), expected);
    Ok(())
});
