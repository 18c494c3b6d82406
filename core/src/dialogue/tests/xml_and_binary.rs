//! The ready dialogues of XMPP, LDAP and PostgreSQL, by their documents.

use super::*;

use Protocol::{Ldap, PostgreSql, Xmpp};
use StreamType::{Network, StartTls, Tls as Secure};

const HEADER: Line = C("<?xml version='1.0'?><stream:stream to='im.example.com' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>");
const OFFER: Line = S("<stream:stream from='im.example.com' id='a' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><stream:features>\
     <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>");
const START: Line = C("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
const LDAP_ASKS: Line = Sends(b"\x30\x1D\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037");
/// The notice of disconnection: message 0, result 52, and its name.
const LDAP_LEAVES: Line =
    Bytes(b"\x30\x24\x02\x01\0\x78\x1F\x0A\x01\x34\x04\0\x04\0\x8A\x161.3.6.1.4.1.1466.20036");
const POSTGRESQL_ASKS: Line = Sends(b"\0\0\0\x08\x04\xD2\x16\x2F");

fn starttls(protocol: Protocol) -> DialogueParams {
    protocol.params(StartTls, "im.example.com")
}

const XMPP: &[Conversation] = &[
    one(
        "RFC 6120, 9.1.1",
        || starttls(Xmpp),
        &[
            HEADER,
            OFFER,
            START,
            S("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            Tls,
            HEADER,
            S("<stream:stream id='b'><stream:features/>"),
        ],
        "tls [nil] [<stream:stream id=\\'b\\'><stream:features/>]",
    ),
    one(
        "xmpp: refused",
        || starttls(Xmpp),
        &[
            HEADER,
            OFFER,
            START,
            S("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"),
        ],
        "failed: server refused to start TLS: <failure xmlns=\\'urn:ietf:params:xml:ns:xmpp-tls\\'/>",
    ),
    one(
        "xmpp: refused, and TLS only wished for",
        || Xmpp.params(Network, "im.example.com"),
        &[
            HEADER,
            OFFER,
            START,
            S("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            Reconnect,
            HEADER,
            OFFER,
        ],
        "plain [nil] [<stream:stream from=\\'im.example.com\\' id=\\'a\\' version=\\'1.0\\' xmlns=\\'jabber:client\\' xmlns:stream=\\'http://etherx.jabber.org/streams\\'>\
         <stream:features><starttls xmlns=\\'urn:ietf:params:xml:ns:xmpp-tls\\'><required/></starttls></stream:features>] \
         error server refused to start TLS: <failure xmlns=\\'urn:ietf:params:xml:ns:xmpp-tls\\'/>",
    ),
    one(
        "xmpp: looks like an offer",
        || starttls(Xmpp),
        &[
            HEADER,
            S(
                "<stream:stream><stream:features><xstarttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
                   <starttls xmlns='x'/></stream:features>",
            ),
        ],
        "failed: server does not support TLS",
    ),
    one(
        "xmpp: looks like a yes",
        || starttls(Xmpp),
        &[HEADER, OFFER, START, S("<failure><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")],
        "failed: server refused to start TLS: \
             <failure><proceed xmlns=\\'urn:ietf:params:xml:ns:xmpp-tls\\'/>",
    ),
    one(
        "xmpp: a yes of another kind",
        || starttls(Xmpp),
        &[HEADER, OFFER, START, S("<proceed xmlns='urn:other'/>")],
        "failed: server refused to start TLS: <proceed xmlns=\\'urn:other\\'/>",
    ),
    one(
        "xmpp: injected",
        || starttls(Xmpp),
        &[
            HEADER,
            OFFER,
            START,
            S("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:features/>"),
        ],
        "failed: clear text after STARTTLS",
    ),
    one(
        "xmpp: the stream ends",
        || Xmpp.params(Network, "im.example.com"),
        &[HEADER, S("<stream:stream></stream:stream>")],
        "failed: connection closed by the server while waiting for the capabilities",
    ),
    one(
        "RFC 6120, 4.9.3.22: the server goes away",
        || Xmpp.params(Network, "im.example.com"),
        &[
            HEADER,
            S("<stream:stream><stream:error><system-shutdown/></stream:error></stream:stream >"),
        ],
        "failed: connection closed by the server while waiting for the capabilities",
    ),
    one(
        "xmpp: the stream ends inside",
        || Xmpp.params(Secure, "im.example.com"),
        &[Tls, HEADER, S("<stream:stream></stream:stream>")],
        "failed: connection closed by the server while waiting for the capabilities",
    ),
    one(
        "xmpp: TLS first",
        || Xmpp.params(Secure, "im.example.com"),
        &[Tls, HEADER, S("<stream:features/>")],
        "tls [nil] [<stream:features/>]",
    ),
];

const LDAP: &[Conversation] = &[
    one(
        "RFC 4511, 4.14.1",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x0C\x02\x01\x01\x78\x07\x0A\x01\0\x04\0\x04\0"), Tls],
        "tls [nil] [nil]",
    ),
    one(
        "ldap: with its name, and long lengths",
        || starttls(Ldap),
        &[
            LDAP_ASKS,
            Bytes(
                b"\x30\x84\0\0\0\x2A\x02\x01\x01\x78\x84\0\0\0\x21\x0A\x01\0\x04\0\x04\0\
                      \x8A\x161.3.6.1.4.1.1466.20037\x8B\0",
            ),
            Tls,
        ],
        "tls [nil] [nil]",
    ),
    one(
        "ldap: refused",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x0C\x02\x01\x01\x78\x07\x0A\x01\x02\x04\0\x04\0")],
        r"failed: server refused to start TLS: 0\x0c\x02\x01\x01x\x07\n\x01\x02\x04\x00\x04\x00",
    ),
    one(
        "ldap: refused, and only wished for",
        || Ldap.params(Network, "h"),
        &[LDAP_ASKS, Bytes(b"\x30\x0C\x02\x01\x01\x78\x07\x0A\x01\x02\x04\0\x04\0")],
        r"plain [nil] [nil] error server refused to start TLS: 0\x0c\x02\x01\x01x\x07\n\x01\x02\x04\x00\x04\x00",
    ),
    one(
        "RFC 4511, 4.4.1",
        || starttls(Ldap),
        &[LDAP_ASKS, LDAP_LEAVES],
        r"failed: server refused to start TLS: 0$\x02\x01\x00x\x1f\n\x014\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036",
    ),
    one(
        "RFC 4511, 4.4.1, and TLS only wished for",
        || Ldap.params(Network, "h"),
        &[LDAP_ASKS, LDAP_LEAVES, Reconnect],
        r"plain [nil] [nil] error server refused to start TLS: 0$\x02\x01\x00x\x1f\n\x014\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036",
    ),
    one(
        "ldap: the answer to another request",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x0C\x02\x01\x02\x78\x07\x0A\x01\0\x04\0\x04\0")],
        r"failed: server refused to start TLS: 0\x0c\x02\x01\x02x\x07\n\x01\x00\x04\x00\x04\x00",
    ),
    one(
        "ldap: looks like a yes, but to a bind",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x0C\x02\x01\x01\x61\x07\x0A\x01\0\x04\0\x04\0")],
        r"failed: server refused to start TLS: 0\x0c\x02\x01\x01a\x07\n\x01\x00\x04\x00\x04\x00",
    ),
    one(
        "ldap: elements beyond their message",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x05\x02\x01\x01\x78\x07")],
        r"failed: server refused to start TLS: 0\x05\x02\x01\x01x\x07",
    ),
    one(
        "ldap: injected",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x0C\x02\x01\x01\x78\x07\x0A\x01\0\x04\0\x04\0\x30")],
        "failed: clear text after STARTTLS",
    ),
    one(
        "ldap: no message",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"220 hello\r\n")],
        "failed: the answer to STARTTLS malformed",
    ),
    one(
        "ldap: without a definite length",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x80\x02")],
        "failed: the answer to STARTTLS malformed",
    ),
    one(
        "ldap: a message of 4 GiB",
        || starttls(Ldap),
        &[LDAP_ASKS, Bytes(b"\x30\x84\xFF\xFF\xFF\xFF\x02\x01\x01"), Late],
        "failed: timed out while waiting for the answer to STARTTLS",
    ),
];

const POSTGRESQL: &[Conversation] = &[
    one(
        "PostgreSQL, SSL Session Encryption",
        || starttls(PostgreSql),
        &[POSTGRESQL_ASKS, S("S"), Tls],
        "tls [nil] [nil]",
    ),
    one(
        "postgresql: refused",
        || starttls(PostgreSql),
        &[POSTGRESQL_ASKS, S("N")],
        "failed: server refused to start TLS: N",
    ),
    one(
        "postgresql: refused, and only wished for",
        || PostgreSql.params(Network, "h"),
        &[POSTGRESQL_ASKS, S("N")],
        "plain [nil] [nil] error server refused to start TLS: N",
    ),
    one(
        "postgresql: an old server",
        || starttls(PostgreSql),
        &[POSTGRESQL_ASKS, S("EFATAL: unsupported frontend protocol\0")],
        "failed: server refused to start TLS: E",
    ),
    one(
        "postgresql: an old server, and TLS only wished for",
        || PostgreSql.params(Network, "h"),
        &[POSTGRESQL_ASKS, S("E"), Reconnect],
        "plain [nil] [nil] error server refused to start TLS: E",
    ),
    one(
        "postgresql: injected, CVE-2021-23222",
        || starttls(PostgreSql),
        &[POSTGRESQL_ASKS, Bytes(b"SR\0\0\0\x08\0\0\0\0")],
        "failed: clear text after STARTTLS",
    ),
    one(
        "postgresql: looks like a yes",
        || starttls(PostgreSql),
        &[POSTGRESQL_ASKS, S("s")],
        "failed: the answer to STARTTLS malformed",
    ),
];

pub(super) const CONVERSATIONS: [&[Conversation]; 3] = [XMPP, LDAP, POSTGRESQL];

#[test]
fn other_protocols_talk_as_their_documents_say() {
    CONVERSATIONS.into_iter().for_each(hold_all);
}

#[test]
fn what_follows_a_last_word_is_not_for_the_next_connection() {
    let mut dialogue = Dialogue::new(PostgreSql.params(Network, "h")).unwrap();
    assert!(matches!(dialogue.poll(), Some(Step::Send(_))));
    dialogue.receive(b"EFATAL: S\0");
    assert_eq!(dialogue.poll(), Some(Step::Reconnect));
    let Some(Step::Done(outcome)) = dialogue.poll() else { panic!("goes on") };
    assert_eq!(outcome.leftover, b"");
}

#[test]
fn a_host_cannot_leave_its_attribute() {
    let mut dialogue = Dialogue::new(Xmpp.params(Network, "a'/><b c=\"&")).unwrap();
    let Some(Step::Send(header)) = dialogue.poll() else { panic!("says nothing") };
    let header = String::from_utf8(header).unwrap();
    assert!(header.contains(" to='a&apos;/&gt;&lt;b c=&quot;&amp;' "), "{header}");
    let error = Dialogue::new(Xmpp.params(Network, "a\nb")).unwrap_err();
    assert!(matches!(error, DialogueError::Command { .. }), "{error:?}");
}

#[test]
fn protocols_are_known_by_name() {
    for protocol in Protocol::ALL {
        assert_eq!(protocol.to_string().parse(), Ok(protocol));
        for kind in [Network, StartTls, StreamType::Plain, Secure] {
            assert!(Dialogue::new(protocol.params(kind, "h")).is_ok(), "{protocol} {kind:?}");
        }
    }
    let error = "gopher".parse::<Protocol>().unwrap_err();
    assert_eq!(error.to_string(), "no dialogue is known for the protocol gopher");
}
