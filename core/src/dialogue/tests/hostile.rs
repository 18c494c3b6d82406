//! Servers that mean no good: endless, dripping, silent, speaking early, or in no text at all.

use proptest::prelude::*;

use super::*;
use crate::dialogue::response::{Fed, Response};

const LIMIT: usize = 64 << 10;

/// A dialogue that waits for `stage`.
fn waiting_for(stage: Stage, limits: DialogueLimits) -> Dialogue {
    let params = manual(StreamType::StartTls).limits(limits);
    let mut dialogue = Dialogue::new(params).unwrap();
    let script: &[(Stage, &[u8])] = &[
        (Stage::Capabilities, b"220 hi\r\n"),
        (Stage::Answer, b"250 STARTTLS\r\n"),
        (Stage::Handshake, b"220 go\r\n"),
    ];
    for (reached, bytes) in script {
        if dialogue.stage() == Some(stage) {
            break;
        }
        dialogue.receive(bytes);
        assert_eq!(dialogue.stage(), Some(*reached));
    }
    while dialogue.poll().is_some() {}
    dialogue
}

const AWAITED: [Stage; 3] = [Stage::Greeting, Stage::Capabilities, Stage::Answer];

fn reason(dialogue: &mut Dialogue) -> Option<Reason> {
    let step = dialogue.poll()?;
    let Step::Failed(failure) = step else { panic!("{step:?}") };
    Some(failure.reason)
}

#[test]
fn an_endless_response_ends_at_its_limit() {
    let fillers: [&[u8]; 5] = [b"a", b"\0", b"\xFF\xFE", b"220-more\r\n", b"\r\n"];
    for stage in AWAITED {
        for filler in fillers {
            let mut dialogue = waiting_for(stage, DialogueLimits::default());
            let mut sent = 0;
            while dialogue.stage().is_some() {
                dialogue.receive(filler);
                sent += filler.len();
                assert!(sent <= LIMIT + filler.len(), "{stage:?} {filler:?}");
                assert!(dialogue.response_len() <= LIMIT);
            }
            assert_eq!(reason(&mut dialogue), Some(Reason::TooLong { stage, limit: LIMIT }));
        }
    }
}

#[test]
fn a_limit_is_the_last_length_that_passes() {
    for stage in AWAITED {
        for limit in [6, 7, 100, LIMIT] {
            for (len, passes) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
                let mut limits = DialogueLimits::default();
                match stage {
                    Stage::Greeting => limits.greeting = limit,
                    Stage::Capabilities => limits.capabilities = limit,
                    Stage::Answer | Stage::Handshake => limits.answer = limit,
                }
                // Answers must not begin TLS here, so that what they come to is seen.
                let mut response = b"5".to_vec();
                response.push(b' ');
                response.resize(len - 2, b'x');
                response.extend(b"\r\n");
                for size in [1, len] {
                    let mut dialogue = waiting_for(stage, limits);
                    response.chunks(size).for_each(|piece| dialogue.receive(piece));
                    let end = dialogue.poll();
                    let too_long = matches!(
                        &end,
                        Some(Step::Failed(Failure { reason: Reason::TooLong { .. }, .. }))
                    );
                    assert_eq!(too_long, !passes, "{stage:?} {limit} {len} {size}: {end:?}");
                }
            }
        }
    }
}

#[test]
fn a_limit_holds_for_functions_too() {
    let never = End::function(|_| Frame::More);
    for (limit, len, passes) in [(8, 8, true), (8, 9, false)] {
        let limits = DialogueLimits { greeting: limit, ..DialogueLimits::default() };
        let params = DialogueParams::new(StreamType::Plain).end_of_greeting(never.clone());
        let mut dialogue = Dialogue::new(params.limits(limits)).unwrap();
        dialogue.receive(&[b'x'; 9][..len]);
        assert_eq!(dialogue.stage().is_some(), passes, "{len} of {limit}");
        assert_eq!(dialogue.response_len(), limit);
    }
}

#[test]
fn a_function_that_points_beside_its_response_is_not_believed() {
    let ends: [fn(&[u8]) -> Frame; 4] = [
        |_| Frame::Complete(0),
        |bytes| Frame::Complete(bytes.len() + 1),
        |bytes| if bytes.len() > 4 { Frame::Complete(2) } else { Frame::More },
        |_| Frame::Malformed,
    ];
    for (index, end) in ends.into_iter().enumerate() {
        let params = DialogueParams::new(StreamType::Plain).end_of_command(End::function(end));
        let mut dialogue = Dialogue::new(params).unwrap();
        dialogue.receive(b"abcd");
        dialogue.receive(b"efgh");
        assert_eq!(reason(&mut dialogue), Some(Reason::Malformed(Stage::Greeting)), "{index}");
    }
}

/// How many states are looked at for `text` in pieces of `size`, and how the search ends.
fn work(pattern: &str, text: &[u8], size: usize) -> (u64, Fed) {
    let end = ready(Regexp::new(pattern).unwrap());
    let mut response = Response::new(None, text.len());
    let mut fed = Fed::More;
    for piece in text.chunks(size) {
        assert_eq!(fed, Fed::More);
        fed = response.feed(&end, piece);
    }
    (response.work(), fed)
}

#[test]
fn a_drip_of_64_kib_costs_as_much_per_byte_as_a_line() {
    let patterns = [
        "^[0-9]+ .*\r\n",
        "\r\n",
        r"\(a*\)*b",
        r"\(a\|aa\)+$",
        r"\(a*a*a*a*\)*c",
        r"\(.*\)\(.*\)\(.*\)x",
        r"^\(?:a+\)+b\|c",
        r"a\{20\}b",
        r"\(?:\w+\s-*\)*!",
    ];
    for pattern in patterns {
        let text = vec![b'a'; LIMIT];
        let states = Regexp::new(pattern).unwrap().nfa().states().len() as u64;
        for size in [1, 7, 4096, LIMIT] {
            let (cost, end) = work(pattern, &text, size);
            assert_eq!(end, Fed::More);
            // Every byte once for what follows it, every piece once for what does not, and a step; each
            // meets a state once, but may be led to it by every other that has a branch.
            let pauses = (LIMIT / size) as u64;
            let bound = 3 * states * (2 * LIMIT as u64 + pauses);
            assert!(cost <= bound, "{pattern}: {cost} of {bound}, in pieces of {size}");
            let (half, _) = work(pattern, &text[..LIMIT / 2], size.min(LIMIT / 2));
            // Until a search has reached all it can reach, a byte costs less.
            assert!(cost <= 2 * half + 3 * states * states, "{pattern}: {half}, then {cost}");
        }
    }
}

#[test]
fn whatever_comes_is_passed_on_unchanged() {
    let greetings: [&[u8]; 4] =
        [b"220 a\0b\r\n", b"\xFF\xFE\0\n220 \xE9\x80\r\n", b"\n\r\n\n220 x\r\n", b"\r220\n1 \r\n"];
    for greeting in greetings {
        let params = DialogueParams::new(StreamType::Plain).end_of_command("^[0-9]+ .*\r\n");
        let mut dialogue = Dialogue::new(params).unwrap();
        dialogue.receive(greeting);
        let Some(Step::Done(outcome)) = dialogue.poll() else { panic!("{greeting:?}") };
        assert_eq!(outcome.greeting.as_deref(), Some(greeting));
    }
}

#[test]
fn what_is_no_response_waits_for_the_time_to_be_up() {
    let greetings: [&[u8]; 7] = [b"", b"\n", b"\r", b"\0", b"220", b"220 x", b"\xE9\r\n220 \r"];
    for greeting in greetings {
        let mut dialogue = Dialogue::new(manual(StreamType::Network)).unwrap();
        dialogue.receive(greeting);
        assert_eq!(dialogue.poll(), None, "{greeting:?}");
        dialogue.timed_out();
        assert_eq!(reason(&mut dialogue), Some(Reason::TimedOut(Stage::Greeting)));
        dialogue.receive(b"220 late\r\n");
        dialogue.timed_out();
        dialogue.peer_closed();
        assert_eq!((dialogue.poll(), dialogue.stage()), (None, None));
    }
}

#[test]
fn the_end_of_connection_or_time_names_what_was_awaited() {
    for stage in AWAITED {
        let mut dialogue = waiting_for(stage, DialogueLimits::default());
        dialogue.receive(b"half");
        dialogue.peer_closed();
        assert_eq!(reason(&mut dialogue), Some(Reason::Closed(stage)));
        let mut dialogue = waiting_for(stage, DialogueLimits::default());
        dialogue.peer_broke("a bad record");
        let why = "a bad record".to_owned();
        assert_eq!(reason(&mut dialogue), Some(Reason::Broken { stage, why }));
        dialogue.peer_broke("again");
        assert_eq!((dialogue.poll(), dialogue.stage()), (None, None));
    }
    let mut dialogue = waiting_for(Stage::Handshake, DialogueLimits::default());
    dialogue.peer_broke("an alert");
    let why = "an alert".to_owned();
    assert_eq!(reason(&mut dialogue), Some(Reason::Handshake(why)));
    let mut dialogue = waiting_for(Stage::Handshake, DialogueLimits::default());
    dialogue.peer_closed();
    let why = "connection closed by the server".to_owned();
    assert_eq!(reason(&mut dialogue), Some(Reason::Handshake(why)));
    let mut dialogue = waiting_for(Stage::Handshake, DialogueLimits::default());
    dialogue.timed_out();
    dialogue.tls_done();
    assert_eq!(reason(&mut dialogue), Some(Reason::TimedOut(Stage::Handshake)));
}

#[test]
fn a_failure_keeps_what_had_been_told_and_nothing_of_what_was_injected() {
    let mut dialogue = waiting_for(Stage::Answer, DialogueLimits::default());
    dialogue.receive(b"220 go\r\nINJECTED");
    let Some(Step::Failed(failure)) = dialogue.poll() else { panic!("no failure") };
    assert_eq!(failure.reason, Reason::ClearTextAfterStartTls);
    assert_eq!(failure.greeting.as_deref(), Some(&b"220 hi\r\n"[..]));
    assert_eq!(failure.capabilities.as_deref(), Some(&b"250 STARTTLS\r\n"[..]));
    assert!(!format!("{dialogue:?} {failure:?}").contains("INJECTED"));
}

#[test]
fn capabilities_told_in_clear_are_void_under_tls() {
    let mut dialogue = waiting_for(Stage::Handshake, DialogueLimits::default());
    dialogue.tls_done();
    assert_eq!(dialogue.poll(), Some(Step::Send(b"EHLO me\r\n".to_vec())));
    dialogue.peer_closed();
    let Some(Step::Failed(failure)) = dialogue.poll() else { panic!("no failure") };
    assert_eq!(failure.reason, Reason::Closed(Stage::Capabilities));
    assert_eq!(failure.greeting.as_deref(), Some(&b"220 hi\r\n"[..]));
    assert_eq!(failure.capabilities, None);
}

#[test]
fn clear_text_in_every_form_is_fatal() {
    let forms: [&[u8]; 6] =
        [b"\0", b"\n", b"\r\n", b"250 OK\r\n", b"\x16\x03\x03\0\x02", &[b'x'; 100_000]];
    for kind in [StreamType::StartTls, StreamType::Network] {
        for form in forms {
            for together in [true, false] {
                let mut dialogue = Dialogue::new(manual(kind)).unwrap();
                dialogue.receive(b"220 hi\r\n");
                dialogue.receive(b"250 STARTTLS\r\n");
                let answer: &[u8] = b"220 go\r\n";
                if together {
                    dialogue.receive(&[answer, form].concat());
                } else {
                    dialogue.receive(answer);
                    while dialogue.poll().is_some() {}
                    dialogue.receive(form);
                }
                let reason = reason(&mut dialogue);
                assert_eq!(reason, Some(Reason::ClearTextAfterStartTls), "{kind:?} {together}");
                dialogue.tls_done();
                assert_eq!(dialogue.poll(), None);
            }
        }
    }
}

#[test]
fn a_handshake_that_is_refused_fails_every_type_of_stream() {
    for kind in [StreamType::Network, StreamType::StartTls] {
        let mut dialogue = Dialogue::new(manual(kind)).unwrap();
        dialogue.tls_refused("too early");
        assert_eq!(dialogue.stage(), Some(Stage::Greeting), "{kind:?}");
        for bytes in [&b"220 hi\r\n"[..], b"250 STARTTLS\r\n", b"220 go\r\n"] {
            dialogue.receive(bytes);
        }
        while !matches!(dialogue.poll(), Some(Step::StartTls)) {}
        dialogue.tls_refused("not its certificate");
        let why = "not its certificate".to_owned();
        assert_eq!(reason(&mut dialogue), Some(Reason::Handshake(why)), "{kind:?}");
        dialogue.tls_failed("again");
        assert_eq!((dialogue.poll(), dialogue.stage()), (None, None), "{kind:?}");
    }
}

#[test]
fn a_second_connection_does_not_try_again() {
    let mut dialogue = Dialogue::new(manual(StreamType::Network)).unwrap();
    for bytes in [&b"220 hi\r\n"[..], b"250 STARTTLS\r\n", b"220 go\r\n"] {
        dialogue.receive(bytes);
    }
    dialogue.tls_failed("alert");
    // The handshake that was not begun is not asked for any more.
    assert_eq!((dialogue.poll(), dialogue.poll()), (Some(Step::Reconnect), None));
    for bytes in [&b"220 hi\r\n"[..], b"250 STARTTLS\r\n", b"220 go\r\n"] {
        dialogue.receive(bytes);
    }
    assert_eq!(dialogue.poll(), Some(Step::Send(b"EHLO me\r\n".to_vec())));
    let Some(Step::Done(outcome)) = dialogue.poll() else { panic!("not done") };
    assert_eq!((outcome.kind, &outcome.leftover[..]), (StreamKind::Plain, &b"220 go\r\n"[..]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(
        protocol in prop::sample::select(Protocol::ALL.to_vec()),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        lines in prop::collection::vec(prop::sample::select(LINES.to_vec()), 0..12),
    ) {
        let limits = DialogueLimits { greeting: 64, capabilities: 64, answer: 64 };
        let params = protocol.params(StreamType::Network, "h").limits(limits);
        let mut dialogue = Dialogue::new(params).unwrap();
        let mut ends = 0;
        for (index, piece) in lines.iter().copied().map(str::as_bytes)
            .chain(pieces.iter().map(Vec::as_slice)).enumerate()
        {
            dialogue.receive(piece);
            prop_assert!(dialogue.response_len() <= 64);
            while let Some(step) = dialogue.poll() {
                prop_assert_eq!(ends, 0, "{:?} behind the end", step);
                match step {
                    Step::StartTls if index % 2 == 0 => dialogue.tls_done(),
                    Step::StartTls => dialogue.tls_failed("alert"),
                    Step::Done(_) | Step::Failed(_) => ends += 1,
                    Step::Send(_) | Step::Reconnect => {}
                }
            }
            prop_assert_eq!(ends == 1, dialogue.stage().is_none());
        }
    }
}

const LINES: [&str; 16] = [
    "220 a\r\n",
    "250 STARTTLS\r\n",
    "* OK hi\r\n",
    "* CAPABILITY STARTTLS\r\nC1 OK x\r\n",
    "S1 OK go\r\n",
    "+OK\r\n",
    "STLS\r\n.\r\n",
    "200 hi\r\n",
    "STARTTLS\r\n.\r\n",
    "382 go\r\n",
    "211-x\r\n AUTH TLS\r\n211 x\r\n",
    "234 go\r\n",
    "\"STARTTLS\"\r\nOK\r\n",
    "OK\r\n",
    "S",
    "<stream:features/>",
];
