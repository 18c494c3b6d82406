//! The server's part, alone and with our own client.

use super::*;
use crate::dialogue::server::{
    ClearText, ServerDialogue, ServerProtocol, ServerReason, ServerStep,
};

use ServerProtocol::{Imap, Pop3, Smtp};

const ALL: [(ServerProtocol, Protocol); 3] =
    [(Smtp, Protocol::Smtp), (Imap, Protocol::Imap), (Pop3, Protocol::Pop3)];

/// Everything that is to be done, sent text joined.
fn steps(server: &mut ServerDialogue) -> Vec<ServerStep> {
    std::iter::from_fn(|| server.poll()).collect()
}

fn starttls(protocol: ServerProtocol) -> &'static str {
    match protocol {
        Smtp => "STARTTLS\r\n",
        Imap => "a STARTTLS\r\n",
        Pop3 => "STLS\r\n",
    }
}

#[test]
fn every_command_has_its_answer() {
    let cases = [
        (Smtp, "EHLO me\r\n", "250-h\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
        (Smtp, "ehlo me\n", "250-h\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
        (Smtp, "EHLO\r\n", "501 5.5.4 Syntax error in parameters\r\n"),
        (Smtp, "HELO me\r\n", "250 h\r\n"),
        (Smtp, "NOOP\r\n", "250 2.0.0 OK\r\n"),
        (Smtp, "MAIL FROM:<a@b>\r\n", "530 5.7.0 Must issue a STARTTLS command first\r\n"),
        (Smtp, "AUTH PLAIN\r\n", "530 5.7.0 Must issue a STARTTLS command first\r\n"),
        (Smtp, "STARTTLS now\r\n", "501 5.5.4 Syntax error in parameters\r\n"),
        (Smtp, "STAR\0TLS\r\n", "500 5.5.2 Syntax error\r\n"),
        (Smtp, "\r\n", "530 5.7.0 Must issue a STARTTLS command first\r\n"),
        (
            Imap,
            "a capability\r\n",
            "* CAPABILITY IMAP4rev1 IMAP4rev2 STARTTLS LOGINDISABLED\r\na OK done\r\n",
        ),
        (Imap, "a NOOP\r\n", "a OK done\r\n"),
        (Imap, "a LOGIN u p\r\n", "a NO [PRIVACYREQUIRED] STARTTLS first\r\n"),
        (Imap, "a STARTTLS now\r\n", "a BAD no arguments are expected\r\n"),
        (Imap, "a\r\n", "* BAD no command\r\n"),
        (Imap, "\r\n", "* BAD no command\r\n"),
        (Imap, "* STARTTLS\r\n", "* BAD no command\r\n"),
        (Imap, "\u{E9} NOOP\r\n", "* BAD no command\r\n"),
        (Pop3, "CAPA\r\n", "+OK\r\nSTLS\r\nPIPELINING\r\n.\r\n"),
        (Pop3, "USER u\r\n", "-ERR STLS first\r\n"),
        (Pop3, "STLS now\r\n", "-ERR no arguments are expected\r\n"),
        (Pop3, "\u{7F}\r\n", "-ERR no command\r\n"),
    ];
    for (protocol, command, answer) in cases {
        let mut server = ServerDialogue::new(protocol, "h");
        assert!(matches!(&steps(&mut server)[..], [ServerStep::Send(_)]), "{protocol:?}");
        server.receive(command.as_bytes());
        let expected = vec![ServerStep::Send(answer.into())];
        assert_eq!(steps(&mut server), expected, "{protocol:?} {command:?}");
    }
}

#[test]
fn leaving_ends_it() {
    for (protocol, command) in [(Smtp, "QUIT\r\n"), (Imap, "a LOGOUT\r\n"), (Pop3, "QUIT\r\n")] {
        let mut server = ServerDialogue::new(protocol, "h");
        server.receive(command.as_bytes());
        server.receive(b"NOOP\r\n");
        let steps = steps(&mut server);
        assert!(matches!(&steps[..], [ServerStep::Send(_), ServerStep::Close]), "{steps:?}");
    }
}

#[test]
fn clear_text_behind_starttls_is_refused_or_dropped() {
    for (protocol, _) in ALL {
        for together in [true, false] {
            for clear_text in [ClearText::Refused, ClearText::Dropped] {
                let mut server = ServerDialogue::new(protocol, "h").clear_text(clear_text);
                steps(&mut server);
                let evil = "a LOGIN evil evil\r\n";
                if together {
                    server.receive([starttls(protocol), evil].concat().as_bytes());
                } else {
                    server.receive(starttls(protocol).as_bytes());
                    server.receive(evil.as_bytes());
                }
                let steps = steps(&mut server);
                match clear_text {
                    ClearText::Refused => {
                        let reason = ServerReason::ClearTextAfterStartTls;
                        assert_eq!(steps, [ServerStep::Failed(reason)], "{protocol:?}");
                    }
                    ClearText::Dropped => {
                        let is_right =
                            matches!(&steps[..], [ServerStep::Send(_), ServerStep::StartTls]);
                        assert!(is_right, "{protocol:?} {steps:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_line_has_a_limit() {
    for (len, passes) in [(19, true), (20, true), (21, false)] {
        for size in [1, 64] {
            let mut server = ServerDialogue::new(Smtp, "h").line_len_max(20);
            steps(&mut server);
            let mut line = vec![b'x'; len - 1];
            line.push(b'\n');
            line.chunks(size).for_each(|piece| server.receive(piece));
            let too_long = vec![ServerStep::Failed(ServerReason::LineTooLong(20))];
            assert_eq!(steps(&mut server) != too_long, passes, "{len} {size}");
        }
    }
}

#[test]
fn a_name_stays_one_word_of_one_line() {
    let mut server = ServerDialogue::new(Smtp, "a b\r\n250 c\u{E9}");
    let greeting = b"220 a?b??250?c? ESMTP\r\n".to_vec();
    assert_eq!(server.poll(), Some(ServerStep::Send(greeting)));
}

#[test]
fn our_client_and_our_server_agree() {
    for (theirs, ours) in ALL {
        for size in [1, 3, 1000] {
            let mut server = ServerDialogue::new(theirs, "h.example");
            let mut client = Dialogue::new(ours.params(StreamType::StartTls, "h.example")).unwrap();
            let (mut server_starts, mut client_starts) = (false, false);
            for _ in 0..20 {
                while let Some(step) = server.poll() {
                    match step {
                        ServerStep::Send(bytes) => {
                            bytes.chunks(size).for_each(|piece| client.receive(piece));
                        }
                        ServerStep::StartTls => server_starts = true,
                        end @ (ServerStep::Close | ServerStep::Failed(_)) => panic!("{end:?}"),
                    }
                }
                while let Some(step) = client.poll() {
                    match step {
                        Step::Send(bytes) => {
                            bytes.chunks(size).for_each(|piece| server.receive(piece));
                        }
                        Step::StartTls => client_starts = true,
                        end @ (Step::Reconnect | Step::Done(_) | Step::Failed(_)) => {
                            panic!("{theirs:?} {end:?}")
                        }
                    }
                }
            }
            assert_eq!((server_starts, client_starts), (true, true), "{theirs:?} {size}");
        }
    }
}

#[test]
fn many_commands_at_once_are_answered_at_once() {
    let mut server = ServerDialogue::new(Smtp, "h");
    steps(&mut server);
    server.receive(&b"NOOP\r\n".repeat(1000));
    assert_eq!(steps(&mut server), [ServerStep::Send(b"250 2.0.0 OK\r\n".repeat(1000))]);
}
