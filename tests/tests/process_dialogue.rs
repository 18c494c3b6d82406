//! Streams that are opened while callbacks do as they please.
//!
//! What is said in a dialogue is tested in memory, in core/src/dialogue/tests, and over TLS in `process_tls.rs`. Emacs
//! Lisp manual 28.2, "Network".

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{
    Event, Process, Runtime, StartError, Text, TlsClient, TlsIdentity, TlsServer, TlsTrust,
    stream::{DialogueParams, OpenStreamError, Protocol, StreamKind, StreamType},
};
use netproc_tests::conformance;

/// Long enough for every dialogue here, and soon over where one has lost what was said.
const WITHIN: Duration = Duration::from_secs(10);

/// A way for a callback to wait.
type Wait = fn(&Runtime) -> netproc::Result<()>;

/// Those that drop what nobody takes, or hand it out.
const WAITS: [(&str, Wait); 3] = [
    ("turn", |rt| rt.turn(Duration::ZERO).map(drop)),
    ("run", |rt| {
        rt.run_after(Duration::ZERO, Runtime::shutdown);
        rt.run()
    }),
    ("next_event", |rt| match rt.next_event(Duration::ZERO)? {
        Some((process, event)) => panic!("{event:?} of {process:?} is not for everybody"),
        None => Ok(()),
    }),
];

/// Waits in this way every millisecond, until `over`.
fn wait_again_and_again(rt: &Runtime, wait: Wait, over: Rc<Cell<bool>>) {
    rt.run_after(Duration::from_millis(1), move |rt| {
        if !over.get() {
            wait(rt).expect("it is not nested deep");
            wait_again_and_again(rt, wait, over);
        }
    });
}

conformance!(
    what_comes_to_a_stream_being_opened_is_its_dialogue_s_however_a_callback_waits,
    |rig| {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
        let (tls, trust) =
            (TlsServer::builder(identity).build()?, TlsTrust::from_pem(pair.cert.pem())?);
        let server = rig.rt.server("mail").on_accept(|_, it| it.send("220 hello\r\n"));
        let server =
            server.sentinel(|_, _| {}).filter(move |it: &Process, input| -> netproc::Result<()> {
                if input.starts_with(b"STARTTLS") {
                    it.send("220 go\r\n")?;
                    it.upgrade(tls.clone()).expect("nothing came behind it");
                } else {
                    it.send("250 STARTTLS\r\n")?;
                }
                Ok(())
            });
        let server = server.start()?;
        let port = server.contact().local().port().ok_or("a port")?;
        for (name, wait) in WAITS {
            let over = Rc::new(Cell::new(false));
            wait_again_and_again(&rig.rt, wait, Rc::clone(&over));
            let opened = rig.rt.open_stream("s", "127.0.0.1", port);
            let opened = opened.dialogue(Protocol::Smtp.params(StreamType::StartTls, "localhost"));
            let opened =
                opened.layers(TlsClient::builder("localhost").trust(trust.clone()).build()?);
            let opened = opened.within(WITHIN).start();
            over.set(true);
            let opened = opened.map_err(|err| format!("{name}: {err:?}"))?;
            assert_eq!(opened.kind, StreamKind::Tls, "{name}");
            assert_eq!(opened.greeting.as_deref(), Some(&b"220 hello\r\n"[..]), "{name}");
            // From now on it is a process like any other.
            opened.process.send("x")?;
            assert_eq!(rig.next().0, opened.process, "{name}");
            opened.process.delete();
        }
        Ok(())
    }
);

conformance!(one_decoder_has_what_comes_behind_a_dialogue_and_after_it, |rig| {
    let server = rig.rt.server("mail").on_accept(|_, it| it.send("220 hello\r\n"));
    let server = server.sentinel(|_, _| {}).filter(|it: &Process, input| match &input[..] {
        b"EHLO me.example\r\n" => it.send(&b"250 well\r\n\xFF\xFEa\0b"[..]),
        b"more" => it.send(&b"\0c\0"[..]),
        _ => it.send(&b"250 badly\r\n"[..]),
    });
    let server = server.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let params = Protocol::Smtp.params(StreamType::Network, "localhost");
    let opened = rig.rt.open_stream("s", "127.0.0.1", port).coding("utf-16");
    let opened = opened.dialogue(params.capability_command("EHLO me.example\r\n")).start()?;
    assert_eq!(opened.leftover_text, Some("a".into()));
    assert_eq!(opened.leftover, b"\xFF\xFEa\0b");
    opened.process.send("more")?;
    let mut text = Text::new();
    while text.char_count() < 2 {
        let (process, event) = rig.next();
        let Event::Input(input) = event else {
            return Err(format!("{process:?}: {event:?}").into());
        };
        text.push_text(input.text().ok_or("it has a coding")?);
    }
    assert_eq!(text, "bc");
    Ok(())
});

conformance!(bytes_behind_a_dialogue_that_are_no_character_yet_come_with_the_next, |rig| {
    let server = rig
        .rt
        .server("mail")
        .on_accept(|_, it| it.send("hello\n\u{20AC}".as_bytes()[..7].to_vec()));
    let server = server.sentinel(|_, _| {}).filter(|it: &Process, _| it.send(&b"\x82\xAC"[..]));
    let server = server.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let params = DialogueParams::new(StreamType::Network).end_of_command("\n");
    let opened = rig.rt.open_stream("s", "127.0.0.1", port).coding("utf-8-unix");
    let opened = opened.dialogue(params).start()?;
    assert_eq!((opened.leftover_text, &opened.leftover[..]), (Some(Text::new()), &b""[..]));
    opened.process.send("more")?;
    let (process, Event::Input(input)) = rig.next() else { return Err("no input".into()) };
    assert_eq!(process, opened.process);
    assert_eq!((&input[..], input.text()), ("\u{20AC}".as_bytes(), Some(&"\u{20AC}".into())));
    Ok(())
});

conformance!(a_coding_that_is_none_is_refused_before_anybody_is_connected_to, |rig| {
    let opened = rig.rt.open_stream("s", "127.0.0.1", 1).coding("no-such").start();
    let refused = matches!(&opened, Err(OpenStreamError::Start(StartError::Coding(_))));
    assert!(refused, "{opened:?}");
    Ok(())
});
