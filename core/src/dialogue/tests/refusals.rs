//! Parameters that are refused, before anything is sent, and commands that are not sent.

use super::*;
use crate::dialogue::error::check_command;

#[test]
fn wrong_parameters_are_refused_at_once() {
    use StreamType::{Network, Plain, StartTls, Tls as Secure};
    let starttls = || manual(StartTls);
    let plain = || DialogueParams::new(Plain);
    let cases = [
        (plain().end_of_command(r"\("), "invalid regexp in end-of-command"),
        (plain().end_of_greeting("[a"), "invalid regexp in end-of-greeting"),
        (plain().end_of_capability(r"a\{2"), "invalid regexp in end-of-capability"),
        (plain().greeting("\\"), "invalid regexp in greeting"),
        (starttls().success(r"\(a\)\1"), "invalid regexp in success"),
        (plain().end_of_command(""), "the regexp in end-of-command matches the empty string"),
        (plain().end_of_command("a*"), "the regexp in end-of-command matches the empty string"),
        (plain().end_of_command("^"), "the regexp in end-of-command matches the empty string"),
        (plain().end_of_command(r"x\|$"), "the regexp in end-of-command matches the empty string"),
        (starttls().success("2*"), "the regexp in success matches the empty string"),
        (
            plain().end_of_command("OK\\'"),
            "the regexp in end-of-command never matches while the connection is open",
        ),
        (
            plain().end_of_command("[z-a]"),
            "the regexp in end-of-command never matches while the connection is open",
        ),
        (DialogueParams { success: None, ..starttls() }, "no upgrade to TLS without success"),
        (
            DialogueParams { upgrade: None, ..starttls() },
            "no upgrade to TLS without starttls-function",
        ),
        (
            DialogueParams { capability_command: None, ..starttls() },
            "no upgrade to TLS without capability-command",
        ),
        (
            DialogueParams { end_of_command: None, ..starttls() },
            "no upgrade to TLS without end-of-command",
        ),
        (
            DialogueParams { end_of_command: None, ..manual(Network) }.end_of_capability("x"),
            "no upgrade to TLS without end-of-command",
        ),
        (starttls().tls_available(false), "TLS is not available"),
        (DialogueParams::new(Secure).tls_available(false), "TLS is not available"),
        (starttls().capability_command(""), "the command in capability-command is empty"),
        (starttls().capability_command("\r\n"), "the command in capability-command is empty"),
        (
            starttls().capability_command("EHLO a\r\nQUIT\r\n"),
            "the command in capability-command has a line break at 6",
        ),
        (starttls().capability_command("a\0"), "the command in capability-command has a NUL at 1"),
        (starttls().starttls_command(""), "the command in starttls-command is empty"),
    ];
    for (params, expected) in cases {
        let shown = format!("{params:?}");
        let error = Dialogue::new(params).expect_err(&shown);
        assert_eq!(error.to_string(), expected, "{shown}");
    }
}

#[test]
fn an_upgrade_that_is_not_wanted_needs_nothing() {
    use StreamType::{Network, Plain, Tls as Secure};
    for kind in [Network, Plain, Secure] {
        assert!(Dialogue::new(DialogueParams::new(kind)).is_ok(), "{kind:?}");
    }
    let no_command = DialogueParams { capability_command: None, ..manual(Network) };
    assert!(Dialogue::new(no_command).is_ok());
}

#[test]
fn a_command_is_one_line() {
    let cases: [(&[u8], Result<(), CommandError>); 12] = [
        (b"STARTTLS\r\n", Ok(())),
        (b"STARTTLS\n", Ok(())),
        (b"STARTTLS", Ok(())),
        (b"\xC3\xA9\r\n", Ok(())),
        (b"", Err(CommandError::Empty)),
        (b"\r\n", Err(CommandError::Empty)),
        (b"\n", Err(CommandError::Empty)),
        (b"a\nb", Err(CommandError::LineBreak { position: 1 })),
        (b"a\rb\r\n", Err(CommandError::LineBreak { position: 1 })),
        (b"a\r\n\r\n", Err(CommandError::LineBreak { position: 1 })),
        (b"a\r\r\n", Err(CommandError::LineBreak { position: 1 })),
        (b"ab\0\r\n", Err(CommandError::Nul { position: 2 })),
    ];
    for (command, expected) in cases {
        assert_eq!(check_command(command), expected, "{}", command.escape_ascii());
    }
}

#[test]
fn commands_of_functions_are_looked_at_before_they_are_sent() {
    let wrong: [(&str, &str); 3] = [
        ("STARTTLS\r\nQUIT\r\n", "has a line break at 8"),
        ("", "is empty"),
        ("\0", "has a NUL at 0"),
    ];
    for (command, why) in wrong {
        let params = manual(StreamType::Network)
            .starttls_function(move |_| Some(command.as_bytes().to_vec()));
        let mut dialogue = Dialogue::new(params).unwrap();
        dialogue.receive(b"220 hi\r\n");
        assert!(matches!(dialogue.poll(), Some(Step::Send(_))));
        dialogue.receive(b"250 x\r\n");
        let end = summary(&dialogue.poll().unwrap());
        assert_eq!(end, format!("failed: the command from starttls-function {why}"));

        let params = DialogueParams::new(StreamType::Network)
            .capability_function(move |_| Some(command.as_bytes().to_vec()));
        let end = summary(&Dialogue::new(params).unwrap().poll().unwrap());
        assert_eq!(end, format!("failed: the command from capability-command {why}"));
    }
}

#[test]
fn a_command_without_a_line_end_is_sent_as_it_is() {
    let mut dialogue = Dialogue::new(manual(StreamType::StartTls).capability_command("EHLO"));
    let dialogue = dialogue.as_mut().unwrap();
    dialogue.receive(b"220 hi\r\n");
    assert_eq!(dialogue.poll(), Some(Step::Send(b"EHLO".to_vec())));
}

#[test]
fn types_have_emacs_names() {
    use StreamType::{Network, Plain, StartTls, Tls as Secure};
    let cases = [
        ("nil", Network),
        ("network", Network),
        ("plain", Plain),
        ("starttls", StartTls),
        ("tls", Secure),
        ("ssl", Secure),
    ];
    for (name, kind) in cases {
        assert_eq!(name.parse(), Ok(kind));
    }
    for name in ["foo", "SHELL", "TLS", ""] {
        let error = name.parse::<StreamType>().unwrap_err();
        assert_eq!(error.to_string(), format!("invalid connection type {name}"));
    }
}

#[test]
fn the_simple_case_holds_no_dialogue() {
    use StreamType::{Network, Plain, StartTls, Tls as Secure};
    let bare = DialogueParams::new;
    let half = bare(Network).success("^2");
    let cases = [
        (bare(Plain), false, true),
        (bare(Plain), true, false),
        (manual(Plain), false, true),
        (bare(Network), false, true),
        (bare(Network), true, false),
        (half.clone(), false, true),
        (half.capability_command("x"), false, false),
        (manual(Network), false, false),
        (Protocol::Ldap.params(Network, "h"), false, false),
        (bare(StartTls), false, false),
        (bare(Secure), false, false),
    ];
    for (params, returns_list, expected) in cases {
        assert_eq!(params.is_simple(returns_list), expected, "{params:?} {returns_list}");
    }
}
