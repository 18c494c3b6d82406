//! TLS and STARTTLS over real connections, both ends netproc's: handshakes, names, ends, dialogues.
//!
//! The protocol itself is tested in memory where it is spoken, in api/src/tls/tests; here it meets
//! sockets, events and the process model. Emacs Lisp manual 28.2, "Network".

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    CertificateProblem, Exit, Failure, HandshakeFailure, Input, Process, Reason, SendError,
    ServerBuilder, StartError, Status, TlsClient, TlsIdentity, TlsServer, TlsTrust, TlsVersion,
    stream::{
        DialogueParams, DialogueReason, OpenStreamError, Protocol, ServerDialogue, ServerProtocol,
        ServerStep, Stage, StreamKind, StreamType,
    },
};
use netproc_tests::{conformance, contract::pattern, rig::Rig};

/// A server's certificate for `localhost` and what trusts it.
struct Proof {
    identity: TlsIdentity,
    trust: TlsTrust,
}

impl Proof {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
        Ok(Self { identity, trust: TlsTrust::from_pem(pair.cert.pem())? })
    }

    fn server(&self) -> Result<TlsServer, netproc::TlsError> {
        TlsServer::builder(self.identity.clone()).build()
    }

    fn client(&self, name: &str) -> Result<TlsClient, netproc::TlsError> {
        TlsClient::builder(name).trust(self.trust.clone()).build()
    }
}

conformance!(bytes_go_both_ways_encrypted, |rig| {
    let proof = Proof::new()?;
    let server = rig.server().tls(proof.server()?).start()?;
    let client = rig.client(&server).tls(proof.client("localhost")?).start()?;
    let child = rig.child(&server);
    let bytes = pattern(3, 200_000);
    client.send(bytes.clone())?;
    rig.until_bytes(&child, &bytes);
    child.send(bytes.clone())?;
    rig.until_bytes(&client, &bytes);
    assert_eq!(rig.log.of(&child)[0], "open from 127.0.0.1 (open)");
    let info = client.tls_info().ok_or("the handshake is done")?;
    assert_eq!((info.version(), info.server_name()), (TlsVersion::V1_3, Some("localhost")));
    assert!(child.tls_info().is_some());
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(child.exit(), Exit::Broken(Reason::End), "with a closing notice");
    Ok(())
});

/// How many bytes go each way below.
const LARGE: usize = 128 * 1024;

conformance!(
    a_large_transfer_both_ways_at_once_loses_no_byte_though_each_is_read_alone,
    |config| {
        // A record comes in hundreds of reads, and in more slots than there are.
        config.slots = 4;
        config.slot_len = 64;
    },
    |rig| {
        let proof = Proof::new()?;
        let bytes: Rc<[u8]> = pattern(3, LARGE).into();
        let heard = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
        rig.rt.set_input_len_max(1);
        let [by_server, by_client] = [0, 1].map(|side| {
            let (heard, bytes) = (Rc::clone(&heard[side]), Rc::clone(&bytes));
            move |_: &Process, input: Input| {
                let at = heard.replace(heard.get() + 1);
                assert_eq!((&input[..], input.lost()), (&bytes[at..=at], 0), "byte {at}");
            }
        });
        let server = rig.server().tls(proof.server()?).filter(by_server).start()?;
        let client = rig.client(&server).tls(proof.client("localhost")?).filter(by_client);
        let client = client.start()?;
        let child = rig.child(&server);
        for process in [&client, &child] {
            process.send(bytes.to_vec())?;
        }
        rig.until("every byte", || heard.iter().all(|heard| heard.get() == LARGE));
        client.delete();
        rig.until("the end", || child.status() == Status::Closed);
        assert_eq!(child.exit(), Exit::Broken(Reason::End));
        assert!(heard.iter().all(|heard| heard.get() == LARGE), "and none twice");
        Ok(())
    }
);

conformance!(a_server_of_another_name_is_refused, |rig| {
    let proof = Proof::new()?;
    let server = rig.server().tls(proof.server()?).start()?;
    let refused = rig.client(&server).tls(proof.client("elsewhere.example")?).start();
    let Err(StartError::Handshake { source, .. }) = refused else {
        return Err(format!("{refused:?}").into());
    };
    let failure: &HandshakeFailure = source.downcast().ok_or("a failure of TLS")?;
    let refused =
        matches!(failure, HandshakeFailure::Certificate(CertificateProblem::WrongName { .. }));
    assert!(refused, "{failure}");
    rig.until("only the server is left", || rig.rt.process_list() == [server.clone()]);
    Ok(())
});

conformance!(nobody_who_is_not_trusted_is_spoken_to, |rig| {
    let (proof, other) = (Proof::new()?, Proof::new()?);
    let server = rig.server().tls(proof.server()?).start()?;
    let client = rig.client(&server).tls(other.client("localhost")?).nowait(true).start()?;
    client.send("secret")?;
    rig.until("failed", || client.status() == Status::Failed);
    assert!(matches!(client.exit(), Exit::Failed(Failure::Handshake(_))));
    rig.settle();
    let inputs = rig.log.lines().iter().filter(|line| line.contains("secret")).count();
    assert_eq!(inputs, 0, "{}", rig.log);
    Ok(())
});

conformance!(clear_text_at_a_tls_server_ends_that_connection_only, |rig| {
    let proof = Proof::new()?;
    let server = rig.server().tls(proof.server()?).start()?;
    let plain = rig.connect(&server)?;
    plain.send("GET / HTTP/1.0\r\n\r\n")?;
    rig.until_line(&plain, "connection broken by remote peer (closed)");
    let client = rig.client(&server).tls(proof.client("localhost")?).start()?;
    client.send("x")?;
    rig.until("the good one is served", || rig.children(&server) == 1);
    rig.until_bytes(&rig.child(&server), b"x");
    Ok(())
});

/// A server that plays SMTP up to STARTTLS; `offers` says what stands in place of its own dialogue.
fn smtp(
    rig: &Rig,
    proof: &Proof,
    behind: &'static str,
) -> Result<ServerBuilder, netproc::TlsError> {
    let tls = proof.server()?;
    Ok(rig.rt.server("mail").on_accept(move |_, connection| -> netproc::Result<()> {
        let dialogue = RefCell::new(ServerDialogue::new(ServerProtocol::Smtp, "mail.example"));
        let (tls, dialogue) = (tls.clone(), Rc::new(dialogue));
        let play = move |connection: &Process, input: &[u8]| {
            if connection.tls_info().is_some() {
                return connection.send("250 inside\r\n").map(drop).map_err(netproc::Error::from);
            }
            dialogue.borrow_mut().receive(input);
            loop {
                let step = dialogue.borrow_mut().poll();
                match step {
                    Some(ServerStep::Send(bytes)) => drop(connection.send(bytes)?),
                    Some(ServerStep::StartTls) => {
                        if !behind.is_empty() {
                            connection.send(behind)?;
                        }
                        connection.upgrade(tls.clone()).unwrap_or_default();
                    }
                    Some(_) => connection.delete(),
                    None => return Ok(()),
                }
            }
        };
        play(connection, b"")?;
        connection.set_filter(move |connection, input| play(connection, &input));
        Ok(())
    }))
}

conformance!(starttls_ends_encrypted_with_the_capabilities_told_inside, |rig| {
    let proof = Proof::new()?;
    let server = smtp(rig, &proof, "")?.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let opened = rig.rt.open_stream("s", "127.0.0.1", port);
    let opened = opened.dialogue(Protocol::Smtp.params(StreamType::StartTls, "me.example"));
    let opened = opened.layers(proof.client("localhost")?).start()?;
    assert_eq!(opened.kind, StreamKind::Tls);
    assert!(opened.greeting.is_some_and(|greeting| greeting.starts_with(b"220 ")));
    assert_eq!(opened.capabilities.as_deref(), Some(&b"250 inside\r\n"[..]));
    assert!(opened.process.tls_info().is_some());
    Ok(())
});

conformance!(text_in_clear_behind_the_answer_is_fatal, |rig| {
    let proof = Proof::new()?;
    let server = smtp(rig, &proof, "250 injected\r\n")?.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    for kind in [StreamType::StartTls, StreamType::Network] {
        let opened = rig.rt.open_stream("s", "127.0.0.1", port);
        let opened = opened.dialogue(Protocol::Smtp.params(kind, "me.example"));
        let refused = opened.layers(proof.client("localhost")?).start();
        assert!(matches!(refused, Err(OpenStreamError::Dialogue(_))), "{refused:?}");
        rig.until("nothing is left of it", || rig.rt.get_process("s").is_none());
    }
    Ok(())
});

conformance!(a_server_that_cannot_be_proved_is_not_told_anything, |rig| {
    let (proof, other) = (Proof::new()?, Proof::new()?);
    let server = smtp(rig, &proof, "")?.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let dialogue = |kind| Protocol::Smtp.params(kind, "me.example");
    let open = || rig.rt.open_stream("s", "127.0.0.1", port);
    let refused = open().dialogue(dialogue(StreamType::StartTls));
    let refused = refused.layers(other.client("localhost")?).start();
    assert!(matches!(refused, Err(OpenStreamError::Dialogue(_))), "{refused:?}");
    // Opportunistic: in clear, and it says so.
    let opened = open().dialogue(dialogue(StreamType::Network));
    let opened = opened.layers(other.client("localhost")?).start()?;
    assert_eq!(opened.kind, StreamKind::Plain);
    assert!(opened.error.is_some_and(|err| err.to_string().contains("handshake")));
    Ok(())
});

conformance!(tls_from_the_start_is_a_stream_too, |rig| {
    let proof = Proof::new()?;
    let server = rig.server().tls(proof.server()?).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let params = DialogueParams::new(StreamType::Tls);
    let opened = rig.rt.open_stream("s", "127.0.0.1", port).dialogue(params);
    let opened = opened.layers(proof.client("localhost")?).start()?;
    opened.process.send("inside")?;
    let child = rig.child(&server);
    rig.until_bytes(&child, b"inside");
    assert_eq!(opened.kind, StreamKind::Tls);
    Ok(())
});

// In TLS 1.3 the client is done before the server has judged it; the dialogue waits for a greeting then.
conformance!(a_client_that_the_server_refuses_hears_why, |rig| {
    let proof = Proof::new()?;
    let demanding = TlsServer::builder(proof.identity.clone());
    let demanding = demanding.demand_clients(proof.trust.clone()).build()?;
    let server = rig.server().tls(demanding).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let params = DialogueParams::new(StreamType::Tls).end_of_command("\n");
    let opened = rig.rt.open_stream("s", "127.0.0.1", port).dialogue(params);
    let refused = opened.layers(proof.client("localhost")?).start();
    let Err(OpenStreamError::Dialogue(failure)) = refused else {
        return Err(format!("{refused:?}").into());
    };
    let why = "connection broken while waiting for the greeting: \
               the peer gave up: certificate required";
    assert_eq!(failure.to_string(), why);
    Ok(())
});

conformance!(a_silent_server_costs_no_more_than_the_time_given, |rig| {
    let server = rig.rt.server("silent").filter(|_, _| {}).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let opened = rig.rt.open_stream("s", "127.0.0.1", port);
    let opened = opened.dialogue(Protocol::Smtp.params(StreamType::Network, "me.example"));
    let refused = opened.within(Duration::from_millis(50)).start();
    assert!(matches!(refused, Err(OpenStreamError::Dialogue(_))), "{refused:?}");
    assert_eq!(rig.rt.get_process("s"), None);
    Ok(())
});

conformance!(text_in_clear_that_comes_a_moment_later_is_as_fatal, |rig| {
    let proof = Proof::new()?;
    for kind in [StreamType::StartTls, StreamType::Network] {
        let server = rig.rt.server("mail").on_accept(|_, connection| {
            let said = RefCell::new(Vec::new());
            connection.send("220 hello\r\n")?;
            connection.set_filter(move |connection, input| {
                said.borrow_mut().extend_from_slice(&input);
                // What is no line by now is the client's hello.
                let answer = match said.take() {
                    told if told.starts_with(b"EHLO") => "250 STARTTLS\r\n",
                    told if told == b"STARTTLS\r\n" => "220 go\r\n",
                    _ => "250 injected, and more of it\r\n",
                };
                connection.send(answer)
            });
            Ok::<_, SendError>(())
        });
        let server = server.start()?;
        let port = server.contact().local().port().ok_or("a port")?;
        let opened = rig.rt.open_stream("s", "127.0.0.1", port);
        let opened = opened.dialogue(Protocol::Smtp.params(kind, "me.example"));
        let refused = opened.layers(proof.client("localhost")?).start();
        let Err(OpenStreamError::Dialogue(failure)) = refused else {
            return Err(format!("{refused:?}").into());
        };
        assert_eq!(failure.reason, DialogueReason::ClearTextAfterStartTls, "{kind:?}");
        server.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (sim): steps_have_a_limit_each_and_the_whole_has_one, |rig| {
    let minute = Duration::from_secs(60);
    // It takes a minute for each answer, and sends nothing but what it was told to repeat.
    let server = rig.rt.server("slow").on_accept(move |_, connection| {
        let later = move |connection: &Process, text: &'static str| {
            let id = connection.id();
            connection.runtime().run_after(minute, move |rt| {
                if let Some(connection) = rt.process_by_id(id) {
                    let _ = connection.send(text);
                }
            });
        };
        later(connection, "220 hello\r\n");
        connection.set_filter(move |connection, _| later(connection, "250 no more\r\n"));
    });
    let server = server.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let open = |step: u64, whole: u64| {
        let opened = rig.rt.open_stream("s", "127.0.0.1", port);
        let opened = opened.dialogue(Protocol::Smtp.params(StreamType::Network, "me.example"));
        opened.step_within(Duration::from_secs(step)).within(Duration::from_secs(whole)).start()
    };
    assert!(open(61, 1000).is_ok(), "two steps of a minute each");
    for (step, whole, stage) in
        [(59, 1000, Stage::Greeting), (61, 90, Stage::Capabilities), (1000, 59, Stage::Greeting)]
    {
        let Err(OpenStreamError::Dialogue(failure)) = open(step, whole) else {
            return Err(format!("{step} {whole}: it was opened").into());
        };
        assert_eq!(failure.reason, DialogueReason::TimedOut(stage), "{step} {whole}");
    }
    Ok(())
});

/// How long a server thinks before it shakes hands: longer than those have whom nobody waits for.
const SLOW: Duration = Duration::from_secs(20);

/// Has this end of a connection shake hands by then; what comes before waits.
fn secure_slowly(connection: &Process, tls: TlsServer) {
    connection.stop();
    let id = connection.id();
    connection.runtime().run_after(SLOW, move |rt| {
        let Some(connection) = rt.process_by_id(id) else { return };
        connection.upgrade(tls).expect("nothing was read");
        connection.resume();
    });
}

conformance!(on (sim): a_start_that_waits_leaves_a_slow_handshake_its_whole_time, |rig| {
    let proof = Proof::new()?;
    let tls = proof.server()?;
    let server = rig.server().on_accept(move |_, it| secure_slowly(it, tls.clone())).start()?;
    let secured = rig.client(&server).tls(proof.client("localhost")?).start()?;
    assert!(secured.tls_info().is_some());
    let late = rig.client(&server).tls(proof.client("localhost")?).within(SLOW / 2).start();
    assert!(matches!(late, Err(StartError::TimedOut { .. })), "{late:?}");
    Ok(())
});

// Given up too early, it would have come back in clear.
conformance!(on (sim): a_stream_that_may_be_plain_waits_for_a_slow_handshake_as_long_as_it_may, |rig| {
    let proof = Proof::new()?;
    let tls = proof.server()?;
    let server = rig.rt.server("mail").on_accept(|_, it| it.send("220 hello\r\n"));
    let server = server.sentinel(|_, _| {}).filter(move |connection, input| -> netproc::Result<()> {
        if input.starts_with(b"STARTTLS") {
            connection.send("220 go\r\n")?;
            secure_slowly(connection, tls.clone());
        } else {
            connection.send("250 STARTTLS\r\n")?;
        }
        Ok(())
    });
    let server = server.start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let tls = proof.client("localhost")?;
    for kind in [StreamType::Network, StreamType::StartTls] {
        let open = || {
            let opened = rig.rt.open_stream("s", "127.0.0.1", port);
            opened.dialogue(Protocol::Smtp.params(kind, "me.example")).layers(tls.clone())
        };
        let opened = open().start()?;
        assert_eq!((opened.kind, opened.error), (StreamKind::Tls, None), "{kind:?}");
        let late = open().step_within(SLOW / 2).start();
        let Err(OpenStreamError::Dialogue(failure)) = late else {
            return Err(format!("{late:?}").into());
        };
        assert_eq!(failure.reason, DialogueReason::TimedOut(Stage::Handshake), "{kind:?}");
    }
    Ok(())
});

conformance!(a_handshake_that_is_given_up_is_over_though_its_peer_stays, |rig| {
    let proof = Proof::new()?;
    // It speaks first, in clear, and never hangs up.
    let server = rig.rt.server("plain").on_accept(|_, it| it.send("220 hello\r\n"));
    let server = server.filter(|_, _| {}).sentinel(|_, _| {}).half_open(true).start()?;
    let tls = proof.client("localhost")?;
    let refused = rig.client(&server).tls(tls.clone()).start();
    let Err(StartError::Handshake { source, .. }) = refused else {
        return Err(format!("{refused:?}").into());
    };
    assert_eq!(source.downcast(), Some(&HandshakeFailure::NotTls));
    let client = rig.client(&server).tls(tls).nowait(true).start()?;
    rig.until("failed", || client.status() == Status::Failed);
    assert!(matches!(client.exit(), Exit::Failed(Failure::Handshake(_))));
    Ok(())
});

conformance!(sending_on_a_connection_that_was_given_up_is_harmless, |rig| {
    let (proof, other) = (Proof::new()?, Proof::new()?);
    let tls = TlsServer::builder(proof.identity.clone()).demand_clients(other.trust).build()?;
    let server = rig.server().tls(tls).start()?;
    // A client of 1.3 is done before the server has looked for its certificate, and may send on.
    let client = rig.client(&server).tls(proof.client("localhost")?).start()?;
    while client.is_live() {
        let _ = client.send("more\n");
        let _ = client.is_finished() || client.send_eof().is_err();
        rig.turn();
    }
    assert_eq!(client.exit(), Exit::Broken(Reason::Corrupt));
    let err = client.layer_error().ok_or("it was told why")?;
    assert!(matches!(err.downcast(), Some(HandshakeFailure::Alert(_))), "{err}");
    Ok(())
});

conformance!(nothing_more_is_accepted_once_a_record_was_damaged, |rig| {
    let proof = Proof::new()?;
    let server = rig.server().tls(proof.server()?).start()?;
    // Whoever sits in between can put a record of its own there.
    let back = rig.rt.client("back").remote(server.contact().local().clone()).start()?;
    let forward = back.clone();
    let relay = rig.rt.server("relay").filter(move |_: &Process, input| forward.send(input));
    let relay = relay.start()?;
    let client = rig.client(&relay).tls(proof.client("localhost")?).nowait(true).start()?;
    let front = rig.child(&relay);
    back.set_filter(move |_, input| front.send(input));
    let child = rig.child(&server);
    rig.until_line(&child, "open from 127.0.0.1 (open)");
    client.send("whole")?;
    rig.until_bytes(&child, b"whole");
    back.send([&[23, 3, 3, 0, 32][..], &[0; 32]].concat())?;
    // The one hears of it by the damage, the other by the alert.
    for process in [&child, &client] {
        rig.until("it gives up", || process.layer_error().is_some());
        assert_eq!(process.send("lost"), Err(SendError::Finished));
    }
    rig.until("the end", || child.status() == Status::Closed);
    assert_eq!(child.exit(), Exit::Broken(Reason::Corrupt));
    Ok(())
});
