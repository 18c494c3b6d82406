//! The two ready dialogues that are no lines of text: LDAP and PostgreSQL.
//!
//! Invariant: an answer is judged by its head, so that no length in it makes anybody wait for more than
//! the dialogue's limit. What else these protocols say is left to their users.

use super::params::Frame;

/// An extended request with the message number 1 and the object identifier of StartTLS.
///
/// RFC 4511, 4.14.1: `SEQUENCE { INTEGER 1, [APPLICATION 23] { [0] "1.3.6.1.4.1.1466.20037" } }`.
pub(super) const LDAP_REQUEST: &[u8] =
    b"\x30\x1D\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// `SSLRequest`: a length of 8 and the number 80877103.
///
/// PostgreSQL, "Frontend/Backend Protocol", "SSL Session Encryption".
pub(super) const POSTGRESQL_REQUEST: &[u8] = b"\x00\x00\x00\x08\x04\xD2\x16\x2F";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0A;
/// `[APPLICATION 24]`, constructed.
const EXTENDED_RESPONSE: u8 = 0x78;

/// When an LDAP message is complete.
pub(super) fn ldap_frame(bytes: &[u8]) -> Frame {
    let Some((&tag, rest)) = bytes.split_first() else { return Frame::More };
    if tag != SEQUENCE {
        return Frame::Malformed;
    }
    match length(rest) {
        Length::More => Frame::More,
        Length::Malformed => Frame::Malformed,
        Length::Known { value, taken } => {
            let total = 1 + taken + value;
            if bytes.len() < total { Frame::More } else { Frame::Complete(total) }
        }
    }
}

/// The extended response to request 1 that a message is.
fn ldap_response(message: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(message, SEQUENCE)?;
    let (number, content) = element(content, INTEGER)?;
    let (response, _) = element(content, EXTENDED_RESPONSE)?;
    (number == [1]).then_some(response)
}

/// Whether a message answers the request, with whatever result.
pub(super) fn ldap_answers(message: &[u8]) -> bool {
    ldap_response(message).is_some()
}

/// Whether a message says that TLS may start: result 0.
pub(super) fn ldap_success(message: &[u8]) -> bool {
    let code = || Some(element(ldap_response(message)?, ENUMERATED)?.0);
    code() == Some(&[0])
}

enum Length {
    More,
    Malformed,
    Known { value: usize, taken: usize },
}

/// The length at the beginning of `bytes` in BER, definite and of at most four bytes.
fn length(bytes: &[u8]) -> Length {
    let Some((&first, rest)) = bytes.split_first() else { return Length::More };
    if first < 0x80 {
        return Length::Known { value: first.into(), taken: 1 };
    }
    let count = usize::from(first & 0x7F);
    if !(1..=4).contains(&count) {
        return Length::Malformed;
    }
    let Some(digits) = rest.get(..count) else { return Length::More };
    let value = digits.iter().fold(0_u64, |value, &digit| value << 8 | u64::from(digit));
    // On a small machine a length may be more than there can be.
    let Ok(value) = usize::try_from(value) else { return Length::Malformed };
    match value.checked_add(count + 2) {
        Some(_) => Length::Known { value, taken: 1 + count },
        None => Length::Malformed,
    }
}

/// The content of the element with this tag at the beginning of `bytes`, and what follows it.
fn element(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    match length(rest) {
        Length::Known { value, taken } if tag == expected => {
            rest.get(taken..)?.split_at_checked(value)
        }
        Length::Known { .. } | Length::More | Length::Malformed => None,
    }
}

/// The answer to `SSLRequest` is one byte; `E` begins an error of a server that knows no such request.
pub(super) fn postgresql_frame(bytes: &[u8]) -> Frame {
    match bytes.first() {
        None => Frame::More,
        Some(b'S' | b'N' | b'E') => Frame::Complete(1),
        Some(_) => Frame::Malformed,
    }
}

/// Whether the answer is yes.
pub(super) fn postgresql_success(answer: &[u8]) -> bool {
    answer == b"S"
}
