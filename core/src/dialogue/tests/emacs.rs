//! The transcripts of Emacs 28.2: `ons-*`, `starttls-upgrade` and `tls-stream`, and where we differ.

use super::*;

use StreamType::{Network, Plain, Shell, StartTls, Tls as Secure};

fn asking() -> DialogueParams {
    DialogueParams::new(Network).capability_command("EHLO me\r\n")
}

const END: &str = "^[0-9]+ .*\r\n";
const TOLD: Line = S("250-PIPELINING\r\n250 OK\r\n");

pub(super) const CONVERSATIONS: &[Conversation] = &[
    one(
        "end of command serves both",
        || asking().end_of_command(END),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), TOLD],
        r"plain [220 hello\r\n] [250-PIPELINING\r\n250 OK\r\n]",
    ),
    one(
        "own end for capabilities",
        || asking().end_of_command("\r\n").end_of_capability("250 .*\r\n"),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), TOLD],
        r"plain [220 hello\r\n] [250-PIPELINING\r\n250 OK\r\n]",
    ),
    one("no end, no waiting", asking, &[C("EHLO me\r\n")], "plain [nil] [nil]"),
    one(
        "command from the greeting",
        || {
            DialogueParams::new(Network).end_of_command(END).capability_function(|greeting| {
                assert_eq!(greeting, Some(&b"220 hello\r\n"[..]));
                Some(b"EHLO computed\r\n".to_vec())
            })
        },
        &[S("220 hello\r\n"), C("EHLO computed\r\n"), TOLD],
        r"plain [220 hello\r\n] [250-PIPELINING\r\n250 OK\r\n]",
    ),
    one(
        "plain, always",
        || {
            DialogueParams::new(Plain)
                .always_query_capabilities(true)
                .end_of_command(END)
                .capability_command("EHLO me\r\n")
        },
        &[S("220 hello\r\n"), C("EHLO me\r\n"), TOLD],
        r"plain [220 hello\r\n] [250-PIPELINING\r\n250 OK\r\n]",
    ),
    one(
        "plain never asks for capabilities",
        || DialogueParams::new(Plain).end_of_command("\r\n").capability_command("EHLO\r\n"),
        &[S("220 hello\r\n")],
        r"plain [220 hello\r\n] [nil]",
    ),
    // The type `shell`: what a command of the shell's said to Emacs 28.2.
    one(
        "a program speaks for the server",
        || {
            DialogueParams::new(Shell)
                .nogreeting(true)
                .end_of_command("\n")
                .capability_function(|greeting| {
                    assert_eq!(greeting, Some(&b"hello the-host 25\n"[..]));
                    Some(b"CAPA\n".to_vec())
                })
                .starttls_command("STARTTLS\n")
                .success("OK")
        },
        &[S("hello the-host 25\n"), C("CAPA\n"), S("CAPA\n")],
        r"plain [hello the-host 25\n] [CAPA\n]",
    ),
    one(
        "no command",
        || DialogueParams::new(Network).end_of_command(END),
        &[S("220 hello\r\n")],
        r"plain [220 hello\r\n] [nil]",
    ),
    one("nothing", || DialogueParams::new(Plain), &[], "plain [nil] [nil]"),
    one(
        "no greeting",
        || manual(Network).nogreeting(true),
        &[C("EHLO me\r\n"), S("250 OK\r\n")],
        r"plain [nil] [250 OK\r\n] error server does not support TLS",
    ),
    one(
        "plain waits for a greeting all the same",
        || manual(Plain).nogreeting(true),
        &[S("220 hello\r\n")],
        r"plain [220 hello\r\n] [nil]",
    ),
    // DIFFERENCE: the outcome says why it is plain; Emacs's `:error` is nil.
    one(
        "not offered",
        || manual(Network),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250 OK\r\n")],
        r"plain [220 hello\r\n] [250 OK\r\n] error server does not support TLS",
    ),
    one(
        "refused",
        || manual(Network),
        &[
            S("220 hello\r\n"),
            C("EHLO me\r\n"),
            S("250-STARTTLS\r\n250 OK\r\n"),
            C("STARTTLS\r\n"),
            S("454 not now\r\n"),
        ],
        r"plain [220 hello\r\n] [250-STARTTLS\r\n250 OK\r\n] error server refused to start TLS: 454 not now",
    ),
    one(
        "no success regexp: not even asked",
        || DialogueParams { success: None, ..manual(Network) },
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250-STARTTLS\r\n250 OK\r\n")],
        r"plain [220 hello\r\n] [250-STARTTLS\r\n250 OK\r\n]",
    ),
    one(
        "no function",
        || DialogueParams { upgrade: None, ..manual(Network) },
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250-STARTTLS\r\n250 OK\r\n")],
        r"plain [220 hello\r\n] [250-STARTTLS\r\n250 OK\r\n]",
    ),
    one(
        "plain asks but never upgrades",
        || manual(Plain).always_query_capabilities(true),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250-STARTTLS\r\n250 OK\r\n")],
        r"plain [220 hello\r\n] [250-STARTTLS\r\n250 OK\r\n]",
    ),
    one(
        "starttls",
        || manual(StartTls),
        &[
            S("220 plain hello 1\r\n"),
            C("EHLO me\r\n"),
            S("250-STARTTLS\r\n250 OK\r\n"),
            C("STARTTLS\r\n"),
            S("220 go ahead\r\n"),
            Tls,
            C("EHLO me\r\n"),
            S("250-SECURE\r\n250 OK\r\n"),
        ],
        r"tls [220 plain hello 1\r\n] [250-SECURE\r\n250 OK\r\n]",
    ),
    one(
        "tls",
        || DialogueParams::new(Secure).end_of_command("\r\n"),
        &[Tls, S("220 secure hello\r\nmore")],
        r"tls [220 secure hello\r\n] [nil] left more",
    ),
    one(
        "tls with a capability command",
        || manual(Secure),
        &[Tls, S("220 secure\r\n"), C("EHLO me\r\n"), S("250-SECURE\r\n250 OK\r\n")],
        r"tls [220 secure\r\n] [250-SECURE\r\n250 OK\r\n]",
    ),
    one(
        "a capability function is told no greeting under tls",
        || {
            DialogueParams::new(Secure)
                .end_of_command("\r\n")
                .capability_function(|greeting| greeting.map(<[u8]>::to_vec))
        },
        &[Tls, S("220 secure\r\n")],
        r"tls [220 secure\r\n] [nil]",
    ),
    // DIFFERENCE: Emacs signals `wrong-type-argument`.
    one(
        "starttls, not offered",
        || manual(StartTls),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250 OK\r\n")],
        "failed: server does not support TLS",
    ),
    one(
        "starttls, refused",
        || manual(StartTls),
        &[
            S("220 hello\r\n"),
            C("EHLO me\r\n"),
            S("250 STARTTLS\r\n"),
            C("STARTTLS\r\n"),
            S("454 220\r\n"),
        ],
        "failed: server refused to start TLS: 454 220",
    ),
    one(
        "starttls, handshake fails",
        || manual(StartTls),
        &[
            S("220 hello\r\n"),
            C("EHLO me\r\n"),
            S("250 STARTTLS\r\n"),
            C("STARTTLS\r\n"),
            S("220 go\r\n"),
            TlsFails,
        ],
        "failed: TLS handshake failed: bad certificate",
    ),
    // DIFFERENCE: the second connection's greeting is awaited.
    one(
        "network, handshake fails",
        || manual(Network),
        &[
            S("220 hello 1\r\n"),
            C("EHLO me\r\n"),
            S("250 STARTTLS\r\n"),
            C("STARTTLS\r\n"),
            S("220 go\r\n"),
            TlsFails,
            Reconnect,
            S("220 hello 2\r\n"),
            C("EHLO me\r\n"),
            S("250 STARTTLS\r\n"),
        ],
        r"plain [220 hello 2\r\n] [250 STARTTLS\r\n] error TLS handshake failed: bad certificate",
    ),
    one(
        "tls, handshake fails",
        || manual(Secure),
        &[TlsFails],
        "failed: TLS handshake failed: bad certificate",
    ),
    one(
        "network, hung up during the handshake",
        || manual(Network),
        &[
            S("220 hello 1\r\n"),
            C("EHLO me\r\n"),
            S("250 STARTTLS\r\n"),
            C("STARTTLS\r\n"),
            S("220 go\r\n"),
            TlsHangsUp,
            Reconnect,
            S("220 hello 2\r\n"),
            C("EHLO me\r\n"),
            S("250 OK\r\n"),
        ],
        r"plain [220 hello 2\r\n] [250 OK\r\n] error TLS handshake failed: connection closed by the server",
    ),
    one(
        "network without TLS on our side",
        || manual(Network).tls_available(false),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250 STARTTLS\r\n")],
        r"plain [220 hello\r\n] [250 STARTTLS\r\n] error TLS is not available",
    ),
    one(
        "a response does not begin a line where the last one did not end one",
        || asking().end_of_greeting("OK").end_of_capability("^x"),
        &[S("OK"), C("EHLO me\r\n"), S("x\nx")],
        r"plain [OK] [x\nx]",
    ),
    one(
        "under TLS a line begins",
        || {
            let params = DialogueParams::new(StartTls).capability_command("EHLO me\r\n");
            let params = params.end_of_command("go").end_of_capability("^x");
            params.starttls_command("GO").success("go")
        },
        &[S("go"), C("EHLO me\r\n"), S("\nx"), C("GO"), S("go"), Tls, C("EHLO me\r\n"), S("x")],
        "tls [go] [x]",
    ),
    one(
        "case is nothing",
        || asking().end_of_command("^ok .*\r\n").end_of_capability("DONE\r\n"),
        &[S("OK hello\r\n"), C("EHLO me\r\n"), S("fine done\r\n")],
        r"plain [OK hello\r\n] [fine done\r\n]",
    ),
    one(
        "what follows the last answer in clear is the stream's",
        || manual(Network),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250 OK\r\nand more\r\n")],
        r"plain [220 hello\r\n] [250 OK\r\n] error server does not support TLS left and more\r\n",
    ),
    // What comes behind a response belongs to the next.
    one(
        "a greeting in two lines of which one is awaited",
        || asking().end_of_command("\r\n"),
        &[S("220-hello\r\n220 there\r\n"), C("EHLO me\r\n"), S("250 OK\r\n")],
        r"plain [220-hello\r\n] [220 there\r\n] left 250 OK\r\n",
    ),
    one(
        "a dollar takes its line feed along",
        || asking().end_of_command("[0-9]+ .*$"),
        &[S("220 hello\r\n"), C("EHLO me\r\n"), S("250 OK\nX")],
        r"plain [220 hello\r\n] [250 OK\n] left X",
    ),
    one(
        "an end that waits for the byte behind it",
        || asking().end_of_command(r"OK\>").end_of_capability("^x"),
        &[S("OKAY OK "), C("EHLO me\r\n"), S("x\nx")],
        r"plain [OKAY OK] [ x\nx]",
    ),
];

#[test]
fn conversations_end_as_in_emacs() {
    hold_all(CONVERSATIONS);
}

#[test]
fn a_handshake_is_judged_only_while_it_runs() {
    let mut dialogue = Dialogue::new(manual(StartTls)).unwrap();
    dialogue.tls_done();
    dialogue.tls_failed("early");
    assert_eq!((dialogue.poll(), dialogue.stage()), (None, Some(Stage::Greeting)));
}

#[test]
fn emacs_has_words_for_what_it_knows() {
    let message = Some("Server does not support TLS");
    assert_eq!(Reason::NotOffered.emacs_message(), message);
    assert_eq!(Reason::Refused(b"454".to_vec()).emacs_message(), message);
    assert_eq!(Reason::ClearTextAfterStartTls.emacs_message(), None);
}

#[test]
fn a_plain_stream_asks_the_function_and_sends_nothing_of_what_it_says() {
    let told = Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = Rc::clone(&told);
    let params = manual(Plain).always_query_capabilities(true).starttls_function(move |said| {
        kept.borrow_mut().push(said.to_vec());
        Some(b"STARTTLS\r\n".to_vec())
    });
    let mut dialogue = Dialogue::new(params).unwrap();
    dialogue.receive(b"220 hello\r\n");
    assert_eq!(dialogue.poll(), Some(Step::Send(b"EHLO me\r\n".to_vec())));
    dialogue.receive(b"250 STARTTLS\r\n");
    assert!(matches!(dialogue.poll(), Some(Step::Done(_))));
    assert_eq!(*told.borrow(), [b"250 STARTTLS\r\n"]);
}
