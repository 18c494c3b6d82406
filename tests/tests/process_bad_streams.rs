//! Bad input to `open_stream`, to dialogues and to TLS by types: the catalogue of faults, section 2, rows
//! 44 and 106 to 120.
//!
//! What types do not let be written down has no row here: TLS parameters that are no list (45), odd
//! parameters (108). The dynamic front has its own rows, in `emacs_bad_streams.rs`. Refused means:
//! nobody was connected to, nothing opened, no process more or less.

use std::{fs, time::Duration};

use netproc::{
    HostProblem, Process, ServiceProblem, StartError, TlsClient, TlsError, TlsFileProblem,
    TlsIdentity, TlsServer, TlsTrust, TlsVersion,
    stream::{
        CommandError, DialogueError, DialogueParams, DialogueReason, OpenStreamError, Parameter,
        Stage, StreamKind, StreamType,
    },
};
use netproc_tests::{
    certificates::Authority,
    conformance,
    rig::{Outcome, Rig},
};

type Is<E> = fn(&E) -> bool;

/// An opening that is refused before anybody is connected to.
struct Row {
    number: u8,
    host: &'static str,
    service: Option<&'static str>,
    params: DialogueParams,
    is: Is<OpenStreamError>,
    error: &'static str,
}

macro_rules! row {
    ($number:literal, $params:expr, $error:pat) => {
        Row {
            number: $number,
            host: "127.0.0.1",
            service: None,
            params: $params,
            is: |err| matches!(err, $error),
            error: stringify!($error),
        }
    };
}

fn state(rig: &Rig) -> (u64, Vec<Process>) {
    (rig.rt.stats().sockets, rig.rt.process_list())
}

/// Opens each with what may encrypt, at a server that must hear of none.
fn refuse(rig: &Rig, rows: Vec<Row>) -> Outcome {
    let tls = TlsClient::builder("localhost").trust(Authority::new()?.trust()?).build()?;
    let server = rig.server().start()?;
    let port = server.contact().local().port().ok_or("a port")?.to_string();
    let before = state(rig);
    for Row { number, host, service, params, is, error } in rows {
        let opened = rig.rt.open_stream("x", host, service.unwrap_or(&port));
        match opened.dialogue(params).layers(tls.clone()).start() {
            Ok(opened) => return Err(format!("row {number}: {error}: {opened:?}").into()),
            Err(refused) => assert!(is(&refused), "row {number}: {refused:?} is not {error}"),
        }
        assert_eq!(state(rig), before, "row {number}: {error}");
    }
    rig.settle();
    assert_eq!(rig.children(&server), 0, "nobody was connected to");
    Ok(())
}

fn plain() -> DialogueParams {
    DialogueParams::new(StreamType::Plain)
}

/// All that an upgrade needs, for tests that take one away.
fn whole(kind: StreamType) -> DialogueParams {
    DialogueParams::new(kind)
        .end_of_command("^[0-9]+ .*\r\n")
        .capability_command("EHLO me\r\n")
        .success("^220")
        .starttls_function(|_| Some(b"STARTTLS\r\n".to_vec()))
}

#[test]
fn row_106_a_type_that_is_none_has_emacs_words() {
    for name in ["foo", "TLS", ""] {
        let refused = name.parse::<StreamType>().unwrap_err();
        assert_eq!(refused.to_string(), format!("invalid connection type {name}"));
    }
}

conformance!(row_107_hosts_and_services_that_are_none, |rig| {
    let with = |host, service, row: Row| Row { host, service, ..row };
    refuse(
        rig,
        vec![
            with(
                "",
                None,
                row!(
                    107,
                    plain(),
                    OpenStreamError::Start(StartError::Host { problem: HostProblem::Empty, .. })
                ),
            ),
            with(
                "127.0.0.1",
                Some(""),
                row!(
                    107,
                    plain(),
                    OpenStreamError::Start(StartError::Service {
                        problem: ServiceProblem::Empty,
                        ..
                    })
                ),
            ),
            with(
                "127.0.0.1",
                Some("0"),
                row!(
                    107,
                    plain(),
                    OpenStreamError::Start(StartError::Service {
                        problem: ServiceProblem::NeedsPort,
                        ..
                    })
                ),
            ),
        ],
    )
});

conformance!(rows_109_to_113_parameters_that_make_no_dialogue, |rig| {
    use DialogueError as Bad;
    use OpenStreamError::Params;
    let starttls = || DialogueParams::new(StreamType::StartTls);
    let bare = || starttls().success("^2").starttls_function(|_| None);
    refuse(
        rig,
        vec![
            row!(
                109,
                plain().end_of_command(r"\("),
                Params(Bad::Regexp { parameter: Parameter::EndOfCommand, .. })
            ),
            row!(
                109,
                plain().end_of_capability("[a"),
                Params(Bad::Regexp { parameter: Parameter::EndOfCapability, .. })
            ),
            row!(
                109,
                plain().end_of_greeting(r"\(a\)\1"),
                Params(Bad::Regexp { parameter: Parameter::EndOfGreeting, .. })
            ),
            row!(
                109,
                whole(StreamType::Network).success("\\"),
                Params(Bad::Regexp { parameter: Parameter::Success, .. })
            ),
            row!(110, plain().end_of_command(""), Params(Bad::MatchesNothing(_))),
            row!(110, plain().end_of_command("a*"), Params(Bad::MatchesNothing(_))),
            row!(110, plain().end_of_command(r"a\'"), Params(Bad::NeverMatches(_))),
            row!(112, starttls(), Params(Bad::Missing(Parameter::Success))),
            row!(112, starttls().success("^2"), Params(Bad::Missing(Parameter::StarttlsFunction))),
            row!(112, bare(), Params(Bad::Missing(Parameter::CapabilityCommand))),
            row!(
                112,
                bare().capability_command("x"),
                Params(Bad::Missing(Parameter::EndOfCommand))
            ),
            row!(
                113,
                plain().capability_command("a\r\nb\r\n"),
                Params(Bad::Command { why: CommandError::LineBreak { position: 1 }, .. })
            ),
            row!(
                113,
                plain().capability_command(""),
                Params(Bad::Command { why: CommandError::Empty, .. })
            ),
            row!(
                113,
                starttls().success("^2").end_of_command("x").starttls_command(""),
                Params(Bad::Command { parameter: Parameter::StarttlsCommand, .. })
            ),
        ],
    )
});

conformance!(row_112_encryption_that_nobody_gave_is_refused, |rig| {
    let server = rig.server().start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    for kind in [StreamType::StartTls, StreamType::Tls] {
        let refused = rig.rt.open_stream("x", "127.0.0.1", port).dialogue(whole(kind)).start();
        assert!(matches!(refused, Err(OpenStreamError::NoLayers)), "{refused:?}");
    }
    rig.settle();
    assert_eq!(rig.children(&server), 0);
    Ok(())
});

/// A server that says this to whoever comes, and what a dialogue with it comes to.
fn hold(
    rig: &Rig,
    says: &'static [u8],
    params: DialogueParams,
) -> Result<OpenStreamError, Box<dyn std::error::Error>> {
    let server = rig.server().on_accept(move |_, connection| connection.send(says)).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let tls = TlsClient::builder("localhost").trust(Authority::new()?.trust()?).build()?;
    let opened = rig.rt.open_stream("x", "127.0.0.1", port).dialogue(params);
    let refused = opened.layers(tls).within(Duration::from_secs(30)).start();
    assert_eq!(rig.rt.get_process("x"), None, "{refused:?}");
    server.delete();
    rig.settle();
    Ok(refused.err().ok_or("it was opened")?)
}

fn reason(err: &OpenStreamError) -> Option<&DialogueReason> {
    if let OpenStreamError::Dialogue(failure) = err { Some(&failure.reason) } else { None }
}

conformance!(row_113_a_command_with_a_second_one_inside_is_never_sent, |rig| {
    for command in ["STARTTLS\r\nQUIT\r\n", "\0", ""] {
        let params = whole(StreamType::StartTls)
            .starttls_function(move |_| Some(command.as_bytes().to_vec()));
        let refused = hold(rig, b"220 hi\r\n250 x\r\n", params)?;
        assert!(matches!(reason(&refused), Some(DialogueReason::Command { .. })), "{refused:?}");
    }
    let sent = rig.log.lines().concat();
    assert!(!sent.contains("STARTTLS") && !sent.contains("QUIT"), "{sent}");
    Ok(())
});

conformance!(row_111_a_long_greeting_ends_at_its_limit_whatever_the_expression, |rig| {
    let endless: &'static [u8] = Box::leak(vec![b'a'; 70_000].into_boxed_slice());
    let refused = hold(rig, endless, plain().end_of_command(r"\(a*\)*b"))?;
    let too_long = DialogueReason::TooLong { stage: Stage::Greeting, limit: 65_536 };
    assert_eq!(reason(&refused), Some(&too_long));
    Ok(())
});

conformance!(on (sim): rows_114_115_what_is_no_response_is_waited_for_within_the_limit, |rig| {
    let greetings: [&[u8]; 5] = [b"", b"\n", b"\r", b"\0\xE9", b"220"];
    for greeting in greetings {
        let refused = hold(rig, greeting, plain().end_of_command("^[0-9]+ .*\r\n"))?;
        assert_eq!(reason(&refused), Some(&DialogueReason::TimedOut(Stage::Greeting)));
    }
    // Without a line end it is sent as it is, and never answered.
    let params = whole(StreamType::Network).capability_command("EHLO");
    let refused = hold(rig, b"220 hi\r\n", params)?;
    assert_eq!(reason(&refused), Some(&DialogueReason::TimedOut(Stage::Capabilities)));
    assert!(rig.log.lines().concat().contains("EHLO"));
    Ok(())
});

conformance!(row_115_what_matches_is_passed_on_unchanged, |rig| {
    let says: &[u8] = b"\0\xE9\xFF\r\n220 hi\r\n";
    let server = rig.server().on_accept(move |_, connection| connection.send(says)).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let params = plain().end_of_command("^[0-9]+ .*\r\n");
    let opened = rig.rt.open_stream("x", "127.0.0.1", port).dialogue(params).start()?;
    assert_eq!((opened.greeting.as_deref(), opened.kind), (Some(says), StreamKind::Plain));
    Ok(())
});

// DIFFERENCE: Emacs dies of a server with TLS parameters. That one works is in `process_tls.rs`.
conformance!(row_44_only_streams_have_tls, |rig| {
    let before = state(rig);
    let tls = Authority::new()?.server(&["localhost"])?;
    let refused = rig.rt.server("x").datagram().tls(tls).start();
    assert!(matches!(refused, Err(StartError::Incompatible(_))), "{refused:?}");
    let client = TlsClient::builder("h").trust(Authority::new()?.trust()?).build()?;
    let refused = rig.rt.client("x").service(9).datagram().tls(client).start();
    assert!(matches!(refused, Err(StartError::Incompatible(_))), "{refused:?}");
    assert_eq!(state(rig), before);
    Ok(())
});

/// The problem of a file, which the error names.
fn problem(err: TlsError, named: &std::path::Path) -> TlsFileProblem {
    let TlsError::File { path, problem } = err else { panic!("{}: {err:?}", named.display()) };
    assert_eq!(path, named);
    problem
}

// More of it is where files are read, in api/src/tls/tests/files.rs.
#[test]
fn rows_116_117_files_that_cannot_be_used_are_named() {
    use TlsFileProblem as Bad;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let signed = authority.sign(&["h"]).unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("key.pem"), &signed.key).unwrap();
    fs::write(path("empty.pem"), "").unwrap();
    fs::write(path("own.der"), authority.der()).unwrap();
    fs::write(path("large.pem"), vec![b'\n'; 10 << 20]).unwrap();
    let cases: [(&str, Is<Bad>); 5] = [
        ("none.pem", |it| matches!(it, Bad::Read(_))),
        ("empty.pem", |it| matches!(it, Bad::Empty)),
        ("own.der", |it| matches!(it, Bad::Der)),
        ("key.pem", |it| matches!(it, Bad::NoCertificate)),
        ("large.pem", |it| matches!(it, Bad::TooLarge)),
    ];
    for (name, is) in cases {
        let of_identity = TlsIdentity::from_files(path(name), path("key.pem")).unwrap_err();
        let of_trust = TlsTrust::from_file(path(name)).unwrap_err();
        for err in [of_identity, of_trust] {
            let found = problem(err, &path(name));
            assert!(is(&found), "{name}: {found:?}");
        }
    }
    fs::write(path("own.pem"), &signed.certificate).unwrap();
    fs::write(path("other.pem"), authority.sign(&["h"]).unwrap().key).unwrap();
    let mismatch = TlsIdentity::from_files(path("own.pem"), path("other.pem")).unwrap_err();
    assert!(matches!(mismatch, TlsError::KeyMismatch { .. }), "{mismatch:?}");
}

// More of it is in api/src/tls/tests/settings.rs.
#[test]
fn rows_118_to_120_names_protocols_and_versions_that_cannot_be() {
    let authority = Authority::new().unwrap();
    let trust = authority.trust().unwrap();
    let identity = authority.sign(&["h"]).unwrap().identity().unwrap();
    let client = |name: &str| TlsClient::builder(name).trust(trust.clone());
    for name in ["", ".", "*", "*.example", "a\0b", &"a".repeat(300), "b\u{fc}cher.example"] {
        let refused = client(name).build().unwrap_err();
        assert!(matches!(refused, TlsError::ServerName { .. }), "{name:?}: {refused:?}");
    }
    for (name, seen) in [("h.", "h"), ("127.0.0.1", "127.0.0.1"), ("_a.b", "_a.b")] {
        assert_eq!(client(name).build().unwrap().server_name(), seen, "row 118");
    }
    let server = || TlsServer::builder(identity.clone());
    let bad: [(&[u8], Is<TlsError>); 2] = [
        (b"", |it| matches!(it, TlsError::AlpnEmpty)),
        (&[b'x'; 256], |it| matches!(it, TlsError::AlpnTooLong(256))),
    ];
    for (protocol, is) in bad {
        assert!(is(&client("h").alpn([protocol]).build().unwrap_err()), "row 119");
        assert!(is(&server().alpn([protocol]).build().unwrap_err()), "row 119");
    }
    let (min, max) = (TlsVersion::V1_3, TlsVersion::V1_2);
    let refused = client("h").versions(min, max).build().unwrap_err();
    assert!(matches!(refused, TlsError::Versions { .. }), "row 120: {refused:?}");
    let refused = server().versions(min, max).build().unwrap_err();
    assert!(matches!(refused, TlsError::Versions { .. }), "row 120: {refused:?}");
}

conformance!(an_opening_whose_process_is_deleted_is_over, |rig| {
    for stalls_at in ["EHLO", "STARTTLS", "\x16"] {
        let server = rig.server().on_accept(|_, connection| connection.send("220 hi\r\n"));
        let server = server.filter(move |connection, input| {
            if input.starts_with(stalls_at.as_bytes()) {
                connection.runtime().get_process("x").expect("it is under way").delete();
            } else if input.starts_with(b"EHLO") {
                let _ = connection.send("250 STARTTLS\r\n");
            } else {
                let _ = connection.send("220 go\r\n");
            }
        });
        let server = server.start()?;
        let port = server.contact().local().port().ok_or("a port")?;
        let tls = TlsClient::builder("localhost").trust(Authority::new()?.trust()?).build()?;
        let opened = rig.rt.open_stream("x", "127.0.0.1", port);
        let opened = opened.dialogue(whole(StreamType::Network)).layers(tls).start();
        let refused = opened.err().ok_or("it was opened in clear")?;
        let deleted = reason(&refused).is_some_and(|it| it.to_string().contains("was deleted"));
        assert!(deleted, "{stalls_at:?}: {refused:?}");
        assert_eq!(rig.rt.get_process("x"), None);
        server.delete();
        rig.settle();
    }
    Ok(())
});
