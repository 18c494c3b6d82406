//! `open-network-stream` and `:tls-parameters` of the dynamic front when the world misbehaves, and what
//! they do that no transcript of Emacs shows: the catalogue of faults, section 1, rows 106 to 120.
//!
//! Differences from Emacs 28.2 are those that `api/EMACS.md` tells of TLS and STARTTLS. What is wrong with arguments is in `emacs_bad_streams.rs`.

use std::{cell::Cell, fs, rc::Rc, time::Duration};

use netproc::{
    Buffer, CloseHow, Event, Exit, Failure, Process, Role, Runtime, Status, TlsServer, TlsTrust,
    Value,
    emacs::{Emacs, Function, Signal},
};
use netproc_tests::{
    certificates::{Authority, Signed},
    child, conformance,
    front::trust,
    rig::{Outcome, Rig},
    transcript::{fmt, q, sym},
};
use rcgen::date_time_ymd;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a server does when a line of a client has come.
type Answer = fn(&Process, &TlsServer, &[u8]) -> netproc::Result<()>;

/// A server, a front that trusts one authority, and a buffer.
struct Place<'a> {
    rig: &'a Rig,
    emacs: Emacs,
    buffer: Buffer,
    port: i64,
    folder: tempfile::TempDir,
    /// How many have come.
    count: Rc<Cell<usize>>,
}

impl<'a> Place<'a> {
    /// The server greets in clear; it could show a certificate for `localhost`.
    fn new(rig: &'a Rig, answer: Answer) -> Result<Self> {
        let authority = Authority::new()?;
        Self::trusting(rig, &authority)?.serve(&authority.sign(&["localhost"])?, answer)
    }

    /// Without a server yet.
    fn trusting(rig: &'a Rig, authority: &Authority) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        trust(&rig.rt, folder.path(), authority)?;
        let buffer = rig.rt.buffers().get_or_create("b");
        let emacs = Emacs::new(&rig.rt);
        Ok(Self { rig, emacs, buffer, port: 0, folder, count: Rc::default() })
    }

    fn serve(mut self, shown: &Signed, answer: Answer) -> Result<Self> {
        let tls = TlsServer::builder(shown.identity()?).build()?;
        let (log, count) = (self.rig.log.clone(), Rc::clone(&self.count));
        let server = self.rig.rt.server("srv").sentinel(self.rig.log.sentinel());
        let server = server.on_accept(move |_, connection| -> netproc::Result<()> {
            count.set(count.get() + 1);
            connection.send("220 hi\r\n")?;
            let (tls, log) = (tls.clone(), log.filter());
            connection.set_filter(move |connection, input| {
                let said = input.to_vec();
                log(connection, input);
                answer(connection, &tls, &said)
            });
            Ok(())
        });
        self.port = server.start()?.contact().local().port().ok_or("a port")?.into();
        Ok(self)
    }

    /// A server that speaks TLS from the beginning, and greets.
    fn serve_tls(mut self, tls: TlsServer) -> Result<Self> {
        let server = self.rig.rt.server("srv").tls(tls).filter(self.rig.log.filter());
        let server = server.sentinel(|connection, event: &Event| -> netproc::Result<()> {
            if matches!(event, Event::OpenFrom(_)) {
                connection.send("220 hi\r\n")?;
            }
            Ok(())
        });
        self.port = server.start()?.contact().local().port().ok_or("a port")?.into();
        Ok(self)
    }

    /// `open-network-stream`, as its answer or condition prints.
    fn open(&self, params: &str) -> String {
        match self.call(params, &[]) {
            Ok(answer) => fmt(&answer),
            Err(signal) => format!("!! {}: {signal}", signal.symbol()),
        }
    }

    fn call(&self, params: &str, more: &[Value]) -> std::result::Result<Value, Signal> {
        let params = q(&format!("({params})"));
        let buffer = Value::object(self.buffer.clone());
        let args = [Value::from("x"), buffer, "localhost".into(), self.port.into()];
        let all = [&args[..], params.items().unwrap_or_default(), more].concat();
        self.emacs.call("open-network-stream", &all)
    }

    /// The same with STARTTLS.
    fn upgrade(&self, kind: &str) -> String {
        let offered = Function::new(|args| {
            let offers = args[0].as_str().is_some_and(|told| told.contains("STARTTLS"));
            Ok(if offers { "STARTTLS\r\n".into() } else { Value::Nil })
        });
        let more = [sym(":starttls-function"), offered.into()];
        match self.call(&format!(":type {kind} {UPGRADE}"), &more) {
            Ok(answer) => fmt(&answer),
            Err(signal) => format!("!! {}: {signal}", signal.symbol()),
        }
    }

    fn text(&self) -> String {
        self.buffer.text().to_string_lossy().into_owned()
    }

    /// No process is left but the server and what it has accepted.
    fn is_gone(&self) -> bool {
        self.rig.rt.get_process("x").is_none() && self.rig.rt.get_process("x<1>").is_none()
    }
}

const UPGRADE: &str = r#":return-list t :end-of-command "^[0-9]+ .*\r\n" :coding binary
    :capability-command "EHLO me\r\n" :success "^220""#;

/// A mail server that does as it should.
fn honest(connection: &Process, tls: &TlsServer, said: &[u8]) -> netproc::Result<()> {
    match said {
        b"STARTTLS\r\n" => {
            connection.send("220 go ahead\r\n")?;
            connection.upgrade(tls.clone()).expect("nothing has come behind it");
        }
        b"EHLO me\r\n" if connection.tls_info().is_some() => {
            connection.send("250 inside\r\n")?;
        }
        b"EHLO me\r\n" => drop(connection.send("250-STARTTLS\r\n250 OK\r\n")?),
        _ => drop(connection.send("500 what\r\n")?),
    }
    Ok(())
}

/// Offers it, and does something else instead.
macro_rules! instead {
    ($connection:ident => $act:expr) => {
        |$connection, tls, said| {
            if said == b"STARTTLS\r\n" {
                $act;
                return Ok(());
            }
            honest($connection, tls, said)
        }
    };
}

// DIFFERENCE: in Emacs it stays in the buffer, and is taken for capabilities told inside.
conformance!(row_106_clear_text_behind_the_answer_is_fatal_and_seen_by_nobody, |rig| {
    let forms: [Answer; 5] = [
        instead!(c => c.send("220 go\r\n250-INJECTED\r\n250 OK\r\n")?),
        instead!(c => { c.send("220 go\r\n")?; c.send("INJECTED")? }),
        instead!(c => c.send("220 go\r\n\n")?),
        instead!(c => c.send(&b"220 go\r\n\x16\x03\x03\x00\x02INJECTED"[..])?),
        instead!(c => c.send(&b"220 go\r\n\0\xC3"[..])?),
    ];
    for form in forms {
        let place = Place::new(rig, form)?;
        for kind in ["starttls", "network"] {
            place.buffer.delete(1, place.buffer.len() + 1)?;
            let said = place.upgrade(kind);
            let told = r#":greeting "220 hi\r\n" :capabilities "250-STARTTLS\r\n250 OK\r\n""#;
            let why = r#":type plain :error "clear text after STARTTLS""#;
            assert_eq!(said, format!("(nil {told} {why})"), "{kind}");
            assert!(place.is_gone(), "{kind}");
            rig.settle();
            assert_eq!(place.text(), "220 hi\r\n250-STARTTLS\r\n250 OK\r\n", "{kind}");
        }
    }
    assert!(!rig.log.lines().concat().contains("inside"));
    Ok(())
});

// DIFFERENCE: where Emacs signals `wrong-type-argument`, this is what its manual says.
conformance!(row_107_a_server_without_tls_is_told_apart, |rig| {
    let bare: Answer =
        |connection, _, _| connection.send("250 OK\r\n").map(drop).map_err(Into::into);
    let place = Place::new(rig, bare)?;
    let told = r#":greeting "220 hi\r\n" :capabilities "250 OK\r\n" :type plain"#;
    let dropped = format!(r#"(nil {told} :error "Server does not support TLS")"#);
    assert_eq!(place.upgrade("starttls"), dropped);
    assert!(place.is_gone());
    // In clear, and said so.
    assert_eq!(place.upgrade("network"), format!("(<process x> {told} :error nil)"));
    let place = Place::new(rig, instead!(c => c.send("454 not now\r\n")?))?;
    let said = place.upgrade("starttls");
    assert!(said.ends_with(r#":type plain :error "Server does not support TLS")"#), "{said}");
    // Without a list there is nothing to say it in.
    let args = UPGRADE.replace(":return-list t", "");
    let function = [sym(":starttls-function"), Function::new(|_| Ok(Value::Nil)).into()];
    let refused = place.call(&format!(":type starttls {args}"), &function);
    let refused = refused.err().ok_or("it was opened")?;
    assert_eq!(
        (refused.symbol(), refused.to_string().as_str()),
        ("error", "Server does not support TLS")
    );
    Ok(())
});

// DIFFERENCE: Emacs waits for ever. In the simulation, where time costs none.
conformance!(on (sim): row_108_a_server_that_is_silent_or_drips_is_given_up_in_time, |rig| {
    let silent: Answer = |_, _, _| Ok(());
    let place = Place::new(rig, silent)?;
    let late = |stage: &str| format!(":type plain :error \"timed out while waiting for {stage}\")");
    for kind in ["starttls", "network"] {
        let said = place.upgrade(kind);
        assert!(said.ends_with(&late("the capabilities")), "{kind}: {said}");
    }
    let place = Place::new(rig, instead!(_c => {}))?;
    let said = place.upgrade("network");
    assert!(said.ends_with(&late("the answer to STARTTLS")), "{said}");
    let stalls: Answer = instead!(c => {
        c.send("220 go\r\n")?;
        c.set_filter(|_, _| ());
    });
    let place = Place::new(rig, stalls)?;
    for kind in ["starttls", "network"] {
        let said = place.upgrade(kind);
        assert!(said.ends_with(&late("the TLS handshake")), "{kind}: {said}");
    }
    Ok(())
});

conformance!(row_108_a_server_without_end_is_given_up_at_the_limit, |rig| {
    let endless: Answer =
        |connection, _, _| connection.send(vec![b'x'; 70_000]).map(drop).map_err(Into::into);
    let place = Place::new(rig, endless)?;
    let said = place.upgrade("starttls");
    let why = r#":type plain :error "the capabilities longer than 65536 bytes")"#;
    assert!(said.ends_with(why), "{said}");
    assert!(place.is_gone());
    Ok(())
});

// DIFFERENCE: in Emacs the process stays, open and listed, and the reason is a number.
conformance!(row_110_a_handshake_that_breaks_is_no_connection, |rig| {
    let flights: [fn(&Process) -> netproc::Result<()>; 4] = [
        |c| Ok(c.send("THIS IS NOT TLS\r\n").map(drop)?),
        |c| Ok(c.send(&b"\x15\x03\x03\x00\x02\x02\x28"[..]).map(drop)?),
        |c| {
            c.send(&b"\x16\x03\x03\x00\x40half"[..])?;
            c.delete();
            Ok(())
        },
        |c| {
            c.delete_with(CloseHow::Reset);
            Ok(())
        },
    ];
    let mut place = Place::trusting(rig, &Authority::new()?)?;
    for flight in flights {
        let server =
            rig.rt.server("srv").filter(move |connection, _| flight(connection)).start()?;
        place.port = server.contact().local().port().ok_or("a port")?.into();
        let said = place.open(":type tls :return-list t");
        assert!(said.starts_with("!! gnutls-error: GnuTLS error: #<process x>, "), "{said}");
        assert!(place.is_gone(), "{said}");
        rig.until("its connection ended", || rig.children(&server) == 0);
        assert_eq!(place.text(), "");
    }
    Ok(())
});

// Whether clear text comes with the answer or behind the hello is up to the network.
conformance!(row_110_garbage_in_place_of_a_handshake_is_clear_text_to_every_type, |rig| {
    let place = Place::new(
        rig,
        instead!(c => {
            c.send("220 go\r\n")?;
            c.set_filter(|c, _| c.send("THIS IS NOT TLS\r\n"));
        }),
    )?;
    let told = r#":greeting "220 hi\r\n" :capabilities "250-STARTTLS\r\n250 OK\r\n""#;
    let refused = format!("(nil {told} :type plain :error \"clear text after STARTTLS\")");
    for kind in ["starttls", "network"] {
        let before = place.count.get();
        assert_eq!(place.upgrade(kind), refused, "{kind}");
        assert!(place.is_gone());
        assert_eq!(place.count.get() - before, 1, "{kind}: no second connection");
    }
    Ok(())
});

/// Certificates that do not prove `localhost`, and why.
fn wrong(authority: &Authority) -> Result<Vec<(Signed, &'static str, &'static str)>> {
    let other = Authority::new()?;
    Ok(vec![
        (other.sign(&["localhost"])?, "unknown issuer", "42"),
        (
            authority.sign_with(&["localhost"], |it| it.not_after = date_time_ymd(2020, 1, 1))?,
            "expired",
            "402",
        ),
        (
            authority.sign_with(&["localhost"], |it| it.not_before = date_time_ymd(2090, 1, 1))?,
            "not yet valid",
            "202",
        ),
        (
            authority.sign_with(&["localhost"], |it| {
                it.insert_extended_key_usage(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
            })?,
            "not for this purpose (an authority's, or for the other side)",
            "40002",
        ),
        (
            authority.sign(&["elsewhere.example"])?,
            r#"not for \"localhost\" but for \"elsewhere.example\""#,
            "",
        ),
    ])
}

// DIFFERENCE: in Emacs the handshake completes, and the error is nil; without a list Emacs returns nil,
// which would stand for the process of the current buffer.
conformance!(row_112_whoever_cannot_be_proved_is_not_spoken_to, |rig| {
    let authority = Authority::new()?;
    for (signed, why, code) in wrong(&authority)? {
        let tls = TlsServer::builder(signed.identity()?).build()?;
        let place = Place::trusting(rig, &authority)?.serve_tls(tls)?;
        let nobody = "(nil :greeting nil :capabilities nil :type plain";
        let refused =
            format!("{nobody} :error \"TLS handshake failed: certificate refused: {why}\")");
        let params = r#":type tls :end-of-command "\n" :capability-command "SECRET\n""#;
        assert_eq!(place.open(&format!("{params} :return-list t")), refused);
        let said = place.open(params);
        assert!(said.starts_with("!! error: TLS handshake failed: certificate refused"), "{said}");
        assert!(place.is_gone());
        // The same by `make-network-process`, which has Emacs's words for it.
        let tls = "(gnutls-x509pki :hostname \"localhost\")";
        let port = place.port;
        let args =
            format!("(:name \"x\" :host \"127.0.0.1\" :service {port} :tls-parameters {tls})");
        let args = q(&args);
        let args = args.items().unwrap_or_default();
        let signal = place.emacs.call("make-network-process", args).err();
        let signal = signal.ok_or("it was opened")?;
        let words = signal.data()[0].as_str().unwrap_or_default();
        let expected = match code {
            "" => "The x509 certificate does not match \"localhost\"".to_owned(),
            code => format!("Certificate validation failed localhost, verification code {code}"),
        };
        assert_eq!((signal.symbol(), words), ("error", &*expected));
        assert!(place.is_gone());
    }
    assert!(!rig.log.lines().concat().contains("SECRET"));
    Ok(())
});

conformance!(row_112_nor_in_clear_after_an_upgrade, |rig| {
    let authority = Authority::new()?;
    for (signed, why, _) in wrong(&authority)? {
        let place = Place::trusting(rig, &authority)?.serve(&signed, honest)?;
        for kind in ["starttls", "network"] {
            let before = place.count.get();
            let said = place.upgrade(kind);
            let error = format!(":error \"TLS handshake failed: certificate refused: {why}\")");
            assert!(said.starts_with("(nil ") && said.ends_with(&error), "{kind}: {said}");
            assert!(place.is_gone(), "{kind}");
            assert_eq!(place.count.get() - before, 1, "{kind}: no second connection");
        }
    }
    Ok(())
});

conformance!(row_112_without_waiting_a_refusal_is_an_event, |rig| {
    let authority = Authority::new()?;
    let log = Rc::new(std::cell::RefCell::new(Vec::new()));
    for (good, signed) in
        [(true, authority.sign(&["localhost"])?), (false, Authority::new()?.sign(&["localhost"])?)]
    {
        let tls = TlsServer::builder(signed.identity()?).build()?;
        let place = Place::trusting(rig, &authority)?.serve_tls(tls)?;
        let answer =
            place.call(":type tls :nowait t :return-list t :end-of-command \"\\n\"", &[])?;
        let shown = "(<process x> :greeting nil :capabilities nil :type tls :error nil)";
        assert_eq!(fmt(&answer), shown);
        let x = rig.rt.get_process("x").ok_or("it is listed")?;
        assert_eq!(x.status(), Status::Connect);
        let kept = Rc::clone(&log);
        let sentinel = Function::new(move |args| {
            kept.borrow_mut().push(args[1].as_str().unwrap_or_default().to_owned());
            Ok(Value::Nil)
        });
        let args = [Value::object(x.clone()), sentinel.into()];
        place.emacs.call("set-process-sentinel", &args)?;
        rig.until("an event", || !log.borrow().is_empty());
        let events = log.take();
        if good {
            assert_eq!((&*events, x.status()), (&["open\n".to_owned()][..], Status::Open));
            rig.until("the greeting", || place.text().contains("220 hi\r\n"));
        } else {
            let why = "failed with code certificate refused: unknown issuer\n";
            assert_eq!((&*events, x.status()), (&[why.to_owned()][..], Status::Failed));
            assert!(matches!(x.exit(), Exit::Failed(Failure::Handshake(_))));
        }
        x.delete();
        log.take();
    }
    Ok(())
});

conformance!(row_114_an_end_without_notice_is_told_from_one_in_order, |rig| {
    for (how, reason) in [
        (CloseHow::Now, netproc::Reason::Truncated),
        (CloseHow::Flush { within: Duration::from_secs(9) }, netproc::Reason::End),
    ] {
        let authority = Authority::new()?;
        let tls = authority.server(&["localhost"])?;
        let place = Place::trusting(rig, &authority)?.serve_tls(tls)?;
        let said = place.open(":type tls :return-list t :end-of-command \"\\n\"");
        assert!(said.contains(":greeting \"220 hi\\r\\n\""), "{said}");
        let x = rig.rt.get_process("x").ok_or("it is open")?;
        let accepted = |it: &Process| it.contact().role() == Role::Accepted && it.is_live();
        let other = rig.rt.process_list().into_iter().find(accepted);
        other.ok_or("the other end")?.delete_with(how);
        rig.until("the end", || x.status() == Status::Closed);
        assert_eq!(x.exit(), Exit::Broken(reason));
    }
    Ok(())
});

conformance!(row_120_deletion_during_the_dialogue_ends_it, |rig| {
    let place = Place::new(rig, honest)?;
    let rt = rig.rt.clone();
    let deletes = Function::new(move |_| {
        rt.get_process("x").expect("it is being opened").delete();
        Ok("EHLO me\r\n".into())
    });
    let params = r#":return-list t :end-of-command "\n""#;
    let more = [sym(":capability-command"), deletes.into()];
    let signal = place.call(params, &more).err().ok_or("it was opened")?;
    assert_eq!(signal.to_string(), "Process x not running");
    let rt = rig.rt.clone();
    let kills = Function::new(move |_| {
        let buffer = rt.buffers().get("b").expect("it is there");
        rt.kill_buffer(&buffer);
        Ok(Value::Nil)
    });
    let more = [sym(":capability-command"), kills.into()];
    let said = fmt(&place.call(params, &more)?);
    assert_eq!(
        said,
        "(nil :greeting \"220 hi\\r\\n\" :capabilities nil :type plain :error \"The connection was closed meanwhile\")"
    );
    assert!(place.is_gone());
    Ok(())
});

conformance!(row_120_deletion_during_the_handshake_ends_it, |rig| {
    let mut place = Place::trusting(rig, &Authority::new()?)?;
    let server = rig.rt.server("srv").filter(move |connection, _| {
        // The hello has come, so the handshake is under way.
        connection.runtime().get_process("x").expect("it is being opened").delete();
    });
    place.port = server.start()?.contact().local().port().ok_or("a port")?.into();
    let said = place.open(":type tls :return-list t");
    assert!(said.starts_with("!! gnutls-error"), "{said}");
    assert!(place.is_gone());
    Ok(())
});

/// `make-network-process` of the front, from arguments as Lisp writes them.
fn make(rt: &Runtime, args: &str) -> Result<Process> {
    Ok(rt.make_network_process(&args.parse()?)?.ok_or("there are arguments")?)
}

conformance!(a_server_of_the_front_demands_certificates_if_told_whom_to_trust, |rig| {
    let authority = Authority::new()?;
    let mut place = Place::trusting(rig, &authority)?;
    let path = |name: &str| place.folder.path().join(name).display().to_string();
    for (name, names) in [("own", "localhost"), ("mine", "me.example")] {
        let signed = authority.sign(&[names])?;
        fs::write(path(&format!("{name}.pem")), signed.certificate)?;
        fs::write(path(&format!("{name}-key.pem")), signed.key)?;
    }
    let files = |name: &str| {
        format!("(\"{}\" \"{}\")", path(&format!("{name}-key.pem")), path(&format!("{name}.pem")))
    };
    let demands = format!(":verify-error t :trustfiles (\"{}\")", path("ca.pem"));
    let tls = format!("(gnutls-x509pki :keylist ({}) {demands})", files("own"));
    let server = make(
        &rig.rt,
        &format!("(:name \"s\" :server t :service t :filter ignore :tls-parameters {tls})"),
    )?;
    place.port = server.contact().local().port().ok_or("a port")?.into();
    let shown = format!(":type tls :client-certificate {}", files("mine"));
    assert_eq!(place.open(&shown), "<process x>");
    let x = rig.rt.get_process("x").ok_or("it is open")?;
    let child = || rig.connections(&server).pop();
    rig.until("its other end is open", || child().is_some_and(|it| it.tls_info().is_some()));
    let seen = child().and_then(|it| it.tls_info()).ok_or("a handshake")?;
    assert_eq!(seen.peer_chain().len(), 1);
    // What Emacs says of it, with certificates in DER.
    let status = place.emacs.call("gnutls-peer-status", &[Value::object(x.clone())])?;
    let status = netproc::Plist::try_from(&status)?;
    assert_eq!(status.get(":protocol"), Some(&"TLS1.3".into()));
    assert_eq!(status.get(":hostname"), Some(&"localhost".into()));
    assert_eq!(status.get(":mac"), Some(&"AEAD".into()));
    assert!(status.get(":certificate").is_some_and(Value::is_true));
    assert_eq!(
        place.emacs.call("gnutls-peer-status", &[Value::object(server.clone())])?,
        Value::Nil
    );
    // Who shows none is cut off, in 1.3 after the client's part of the handshake.
    x.delete();
    rig.settle();
    assert_eq!(place.open(":type tls"), "<process x>");
    let x = rig.rt.get_process("x").ok_or("it was open")?;
    rig.until("it was cut off", || x.status() == Status::Closed);
    Ok(())
});

conformance!(what_boot_parameters_make_is_taken_as_tls_parameters, |rig| {
    let authority = Authority::new()?;
    let place = Place::trusting(rig, &authority)?.serve_tls(authority.server(&["localhost"])?)?;
    let x509 = sym("gnutls-x509pki");
    let args = [sym(":type"), x509.clone(), sym(":hostname"), "localhost".into()];
    let boot = place.emacs.call("gnutls-boot-parameters", &args)?;
    let file = place.folder.path().join("ca.pem").display().to_string();
    let expected = format!(
        "(:priority \"NORMAL:%DUMBFW\" :hostname \"localhost\" :loglevel 0 :min-prime-bits nil \
         :trustfiles (\"{file}\") :crlfiles nil :keylist nil :verify-flags nil :verify-error nil \
         :callbacks nil)"
    );
    assert_eq!(fmt(&boot), expected);
    let tls = Value::pair(x509, boot);
    let args = q(&format!("(:name \"x\" :host \"127.0.0.1\" :service {})", place.port));
    let args = [args.items().unwrap_or_default(), &[sym(":tls-parameters"), tls]].concat();
    let x = place.emacs.call("make-network-process", &args)?;
    assert!(x.downcast::<Process>().is_some_and(|it| it.tls_info().is_some()));
    assert_eq!(place.emacs.call("gnutls-available-p", &[])?, Value::True);
    // The simple case hands them through.
    let tls = args[args.len() - 1].clone();
    let y = place.call(":type plain", &[sym(":tls-parameters"), tls])?;
    assert!(y.downcast::<Process>().is_some_and(|it| it.tls_info().is_some()));
    Ok(())
});

// A batch Emacs, which has nobody to ask, refuses as well.
conformance!(a_connection_in_clear_is_asked_about_if_that_is_wished, |rig| {
    let place = Place::new(rig, honest)?;
    let params = r#":return-list t :warn-unless-encrypted t :end-of-command "\n""#;
    let refused = "(nil :greeting nil :capabilities nil :type plain \
                   :error \"The connection is not encrypted, and nobody said that it may be\")";
    assert_eq!(place.open(&format!(":type plain {params}")), refused);
    assert_eq!(place.open(&format!(":type plain :nowait t {params}")), refused);
    assert_eq!(place.count.get(), 0, "nobody was connected to");
    let said = place.open(params);
    assert!(said.starts_with("(nil :greeting \"220 hi\\r\\n\""), "{said}");
    assert!(place.is_gone());
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    let mut defaults = rig.rt.stream_defaults();
    defaults.confirm_unencrypted = Some(Function::new(move |args| {
        counted.set(counted.get() + 1);
        Ok(args.len().eq(&2).into())
    }));
    rig.rt.set_stream_defaults(defaults);
    for kind in ["plain", "network"] {
        let said = place.open(&format!(":type {kind} {params}"));
        assert!(said.starts_with("(<process x"), "{said}");
    }
    // Nobody is asked about one that is encrypted.
    let said = place.upgrade("starttls :warn-unless-encrypted t");
    assert!(said.ends_with(":type tls :error nil)"), "{said}");
    assert_eq!(asked.get(), 2);
    let mut defaults = rig.rt.stream_defaults();
    defaults.confirm_unencrypted = None;
    rig.rt.set_stream_defaults(defaults);
    Ok(())
});

conformance!(words_are_decoded_and_what_follows_them_comes_once, |rig| {
    let place = Place::new(rig, |connection, _, _| {
        Ok(connection.send(&b"250 gr\xFC\xDFe\r\nand more\r\n"[..]).map(drop)?)
    })?;
    let params = r#":return-list t :coding latin-1-dos :end-of-command "^[0-9]+ .*\n"
        :capability-command "EHLO m\u00fc\n""#;
    let said = place.open(params);
    let told = r#":greeting "220 hi\n" :capabilities "250 gr\u{FC}\u{DF}e\n""#;
    assert_eq!(said, format!("(<process x> {told} :type plain :error nil)"));
    // The command was encoded, too.
    assert!(rig.log.lines().concat().contains("EHLO m"), "{}", rig.log);
    assert_eq!(place.text(), "220 hi\n250 gr\u{fc}\u{df}e\nand more\n");
    let x = rig.rt.get_process("x").ok_or("it is open")?;
    x.send("more\r\n")?;
    rig.until("what comes later", || place.text().matches("and more\n").count() == 2);
    Ok(())
});

conformance!(without_roots_an_opportunistic_stream_stays_in_clear_and_says_why, |rig| {
    let place = Place::new(rig, honest)?;
    let mut defaults = rig.rt.stream_defaults();
    (defaults.trustfiles, defaults.system_roots) = (Vec::new(), false);
    rig.rt.set_stream_defaults(defaults);
    let said = place.upgrade("network");
    let why = r#":type plain :error "TLS is not available: TLS cannot be had: no roots to trust")"#;
    assert!(said.starts_with("(<process x>") && said.ends_with(why), "{said}");
    let said = place.upgrade("starttls");
    assert_eq!(said, "!! error: TLS cannot be had: no roots to trust");
    // Whoever says how to encrypt does not want it left.
    let said = place.upgrade("network :tls-parameters (gnutls-x509pki)");
    assert_eq!(said, "!! error: TLS cannot be had: no roots to trust");
    Ok(())
});

/// `~/.authinfo` is in the home, and a home is the process's.
#[test]
fn a_client_certificate_is_looked_up_in_the_home_if_that_is_wished() -> Outcome {
    let home = tempfile::tempdir()?;
    let test = concat!(
        module_path!(),
        "::a_client_certificate_is_looked_up_in_the_home_if_that_is_wished"
    );
    let variable = home.path().display().to_string();
    child::alone_with(test, &[("HOME", &variable)], || {
        let home = std::env::home_dir().ok_or("there is one")?;
        let authority = Authority::new()?;
        let signed = authority.sign(&["me.example"])?;
        fs::write(home.join("own.pem"), signed.certificate)?;
        fs::write(home.join("key.pem"), signed.key)?;
        fs::write(home.join("ca.pem"), authority.pem())?;
        fs::write(home.join(".authinfo"), "machine localhost key key.pem cert own.pem\n")?;
        let rt = Runtime::builder().backend(netproc::Backend::Poll).build()?;
        let mut defaults = rt.stream_defaults();
        defaults.trustfiles = vec![home.join("ca.pem")];
        rt.set_stream_defaults(defaults.clone());
        let trust = TlsTrust::from_pem(authority.pem())?;
        let tls = TlsServer::builder(authority.sign(&["localhost"])?.identity()?);
        let server = rt.server("srv").tls(tls.demand_clients(trust).build()?);
        let server = server.on_accept(|_, _| ()).filter(|_, _| ()).sentinel(|c, event: &Event| {
            if matches!(event, Event::OpenFrom(_)) {
                c.send("220 hi\r\n").unwrap_or_default();
            }
        });
        let port = server.start()?.contact().local().port().ok_or("a port")?;
        let emacs = Emacs::new(&rt);
        let open = |more: &str| {
            let args = format!("(\"x\" nil \"localhost\" {port} :type tls :return-list t {more})");
            let args = format!("{} :end-of-command \"\\n\")", &args[..args.len() - 1]);
            emacs.call("open-network-stream", q(&args).items().unwrap_or_default())
        };
        let greeted = |answer: &Value| fmt(answer).contains("220 hi");
        assert!(greeted(&open(":client-certificate t")?));
        assert!(!open("").is_ok_and(|answer| greeted(&answer)), "nobody asked for one");
        defaults.use_client_certificates = true;
        rt.set_stream_defaults(defaults);
        assert!(greeted(&open("")?));
        assert!(!open(":client-certificate nil").is_ok_and(|answer| greeted(&answer)));
        Ok(())
    })
}
