//! However a conversation is cut into pieces, it ends the same.

use proptest::prelude::*;

use super::*;
use crate::dialogue::response::{Fed, Response};

fn all() -> impl Iterator<Item = &'static Conversation> {
    let protocols = lines::CONVERSATIONS.into_iter().chain(xml_and_binary::CONVERSATIONS);
    emacs::CONVERSATIONS.iter().chain(protocols.flatten())
}

#[test]
fn one_cut_anywhere_changes_nothing() {
    for conversation in all() {
        let longest = conversation.script.iter().map(|line| match line {
            S(text) => text.len(),
            Bytes(bytes) => bytes.len(),
            C(_) | Sends(_) | Tls | TlsFails | TlsHangsUp | Reconnect | Closes | Late => 0,
        });
        for at in 1..longest.max().unwrap_or(0) {
            let end = conversation.hold(&mut |bytes| {
                let (left, right) = bytes.split_at(at.min(bytes.len()));
                vec![left.to_vec(), right.to_vec()]
            });
            assert_eq!(end, conversation.end, "{}, cut at {at}", conversation.name);
        }
    }
}

#[test]
fn bytes_one_by_one_change_nothing() {
    for conversation in all() {
        let end = conversation.hold(&mut |bytes| bytes.chunks(1).map(<[u8]>::to_vec).collect());
        assert_eq!(end, conversation.end, "{}", conversation.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn cuts_anywhere_change_nothing(sizes in prop::collection::vec(0_usize..9, 1..20)) {
        // Without one size above 0 nothing would ever come.
        let mut sizes = sizes.into_iter().chain([3]).collect::<Vec<_>>().into_iter().cycle();
        for conversation in all() {
            let end = conversation.hold(&mut |bytes| {
                let (mut pieces, mut rest) = (Vec::new(), bytes);
                while !rest.is_empty() {
                    let (left, right) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                    pieces.push(left.to_vec());
                    rest = right;
                }
                pieces
            });
            prop_assert_eq!(end, conversation.end, "{}", conversation.name);
        }
    }

    #[test]
    fn an_expression_ends_a_response_at_one_place(
        pattern in "(\\^|\\\\<|\\\\b|)(a|[ab]|\\.|\\\\w|a\\*b|\n| )(a|b|\\.\\+|\\\\>|\\\\B|)(\\$|\\\\b|\n|a|)",
        text in "[ab\n ]{0,24}",
        cut in 0_usize..24,
    ) {
        let Ok(regexp) = Regexp::new(&pattern) else { return Ok(()) };
        prop_assume!(!regexp.matches_empty());
        let end = ready(regexp);
        let text = text.as_bytes();
        let mut whole = Response::new(None, 64);
        let expected = whole.feed(&end, text);
        let mut pieces = Response::new(None, 64);
        let cut = cut.min(text.len());
        let mut found = pieces.feed(&end, &text[..cut]);
        if found == Fed::More {
            found = match pieces.feed(&end, &text[cut..]) {
                Fed::Complete(len) => Fed::Complete(cut + len),
                end @ (Fed::More | Fed::TooLong | Fed::Malformed) => end,
            };
        }
        prop_assert_eq!(found, expected, "{:?} in {:?} cut at {}", pattern, text, cut);
        prop_assert_eq!(pieces.into_bytes(), whole.into_bytes());
    }
}
