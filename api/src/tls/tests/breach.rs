//! Peers that hold the keys and break the rules: records that no session would send, sealed all right.

use rustls::ContentType;

use super::*;
use crate::tls::{TlsAlert, records::kept};

const ALERT: ContentType = ContentType::Alert;
const DATA: ContentType = ContentType::ApplicationData;
const HANDSHAKE: ContentType = ContentType::Handshake;

fn pair(version: TlsVersion) -> Pair {
    let root = Authority::new("root");
    let client = TlsClient::builder("a.example").trust(root.trust());
    let client = client.versions(version, version).build().unwrap();
    Pair::established(&client, &root.server("a.example"))
}

/// What a pair makes of records of one of them, each sealed: what the other has heard, its failure, and
/// the alert that comes back.
fn outcome(
    version: TlsVersion,
    by_server: bool,
    records: &[(ContentType, &[u8])],
) -> (Vec<u8>, Option<HandshakeFailure>, Option<HandshakeFailure>) {
    let Pair { mut client, mut server } = pair(version);
    let (forger, victim) =
        if by_server { (&mut server, &mut client) } else { (&mut client, &mut server) };
    for (kind, bytes) in records {
        forger.session().forge(*kind, bytes);
    }
    let wire = forger.wire();
    victim.receive(&wire);
    let answer = victim.wire();
    forger.receive(&answer);
    assert!(!victim.layer.is_peer_finished() || victim.failure.is_none());
    if victim.failure.is_some() {
        assert_eq!(victim.seal(b"more"), [] as [u8; 0], "the alert was the last word");
    }
    (victim.plain.clone(), victim.failure.clone(), forger.failure.clone())
}

/// A ticket that is well made.
const TICKET: &[u8] = &[4, 0, 0, 14, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0];

/// So many, and then a bad one.
fn tickets(count: usize) -> Records {
    let mut records = vec![(HANDSHAKE, TICKET); count];
    records.push((HANDSHAKE, &[4, 0, 0, 1, 0]));
    records
}

type Records = Vec<(ContentType, &'static [u8])>;

/// Data in front of what is forged, and behind it.
fn between(records: &[(ContentType, &'static [u8])]) -> Records {
    let mut all: Records = vec![(DATA, b"before ")];
    all.extend(records);
    all.push((DATA, b"after"));
    all
}

#[test]
fn a_breach_ends_it_with_an_alert_behind_what_was_good() {
    use TlsVersion::{V1_2 as OLD, V1_3 as NEW};
    let long = &[24, 1, 0, 0][..];
    let empty = |kind| vec![(kind, &b""[..]); 33];
    let updates = vec![(HANDSHAKE, &[24, 0, 0, 1, 0][..])];
    // What is sent, in which version, by the server, and the alert for it.
    let cases: Vec<(&str, TlsVersion, bool, Records, u8)> = vec![
        ("no such update", NEW, false, vec![(HANDSHAKE, &[24, 0, 0, 1, 2])], 47),
        ("an update too long", NEW, false, vec![(HANDSHAKE, &[24, 0, 0, 2, 0, 0])], 47),
        ("an empty update", NEW, true, vec![(HANDSHAKE, &[24, 0, 0, 0])], 47),
        ("behind an update", NEW, true, vec![(HANDSHAKE, &[24, 0, 0, 1, 0, 4])], 10),
        ("an update of the old", OLD, true, updates, 10),
        ("a ticket for a server", NEW, false, vec![(HANDSHAKE, &[4, 0, 0, 1, 0])], 10),
        ("a ticket of nothing", NEW, true, vec![(HANDSHAKE, &[4, 0, 0, 1, 0])], 50),
        ("a bad ticket, the 32nd", NEW, true, tickets(29), 50),
        ("a ticket of the old", OLD, true, vec![(HANDSHAKE, &[4, 0, 0, 1, 0])], 10),
        ("a late certificate", NEW, true, vec![(HANDSHAKE, &[11, 0, 0, 0])], 10),
        ("a late request", NEW, true, vec![(HANDSHAKE, &[13, 0, 0, 0])], 10),
        ("a hello, new", NEW, false, vec![(HANDSHAKE, &[1, 0, 0, 0])], 10),
        ("a request for one, new", NEW, true, vec![(HANDSHAKE, &[0, 0, 0, 0])], 10),
        ("the wrong side's hello", OLD, true, vec![(HANDSHAKE, &[1, 0, 0, 0])], 10),
        ("too long a message", NEW, true, vec![(HANDSHAKE, long)], 50),
        ("data inside a message", OLD, true, vec![(HANDSHAKE, &[0, 0]), (DATA, b"x")], 10),
        ("an alert inside one", NEW, true, vec![(HANDSHAKE, &[24]), (ALERT, &[1, 0])], 10),
        ("a short alert", NEW, true, vec![(ALERT, &[1])], 50),
        ("an empty alert", OLD, true, vec![(ALERT, &[])], 50),
        ("a long alert", OLD, false, vec![(ALERT, &[1, 0, 0])], 50),
        ("a level unknown", OLD, false, vec![(ALERT, &[3, 40])], 47),
        ("a warning, new", NEW, false, vec![(ALERT, &[1, 41])], 50),
        ("five warnings", OLD, false, vec![(ALERT, &[1, 41]); 5], 10),
        ("five good-byes of a user", NEW, true, vec![(ALERT, &[1, 90]); 5], 10),
        ("a change of ciphers", OLD, true, vec![(ContentType::ChangeCipherSpec, &[1])], 10),
        ("a heartbeat", OLD, false, vec![(ContentType::Heartbeat, b"hello")], 10),
        ("a heartbeat, new", NEW, false, vec![(ContentType::Heartbeat, b"hello")], 10),
        ("33 times nothing", NEW, true, empty(DATA), 10),
        ("33 times nothing, old", OLD, false, empty(DATA), 10),
        ("33 empty messages", OLD, false, empty(HANDSHAKE), 10),
    ];
    for (case, version, by_server, records, alert) in cases {
        let (heard, failure, answer) = outcome(version, by_server, &between(&records));
        assert_eq!(heard, b"before ", "{case}");
        let failure = failure.unwrap_or_else(|| panic!("{case} was let pass"));
        let is_named =
            matches!(failure, HandshakeFailure::Protocol(_) | HandshakeFailure::Alert(_));
        assert!(is_named, "{case}: {failure:?}");
        assert_eq!(answer, Some(HandshakeFailure::Alert(TlsAlert::new(alert))), "{case}");
    }
}

#[test]
fn what_is_odd_but_allowed_ends_nothing() {
    use TlsVersion::{V1_2 as OLD, V1_3 as NEW};
    let cases: Vec<(&str, TlsVersion, bool, Records)> = vec![
        ("nothing, 32 times", NEW, true, vec![(DATA, b""); 32]),
        ("nothing, 32 times, old", OLD, false, vec![(DATA, b""); 32]),
        // With the two of the handshake there were 32, and no more are looked at.
        ("a bad ticket, the 33rd", NEW, true, tickets(30)),
        ("four warnings", OLD, false, vec![(ALERT, &[1, 41]); 4]),
        ("a good-bye of a user", NEW, true, vec![(ALERT, &[1, 90]); 4]),
        ("one wish to begin anew", OLD, true, vec![(HANDSHAKE, &[0, 0, 0, 0])]),
        ("in four parts", OLD, true, vec![(HANDSHAKE, &[0]); 4]),
        ("one hello", OLD, false, vec![(HANDSHAKE, &[1, 0, 0, 1, 9])]),
    ];
    for (case, version, by_server, records) in cases {
        let (heard, failure, answer) = outcome(version, by_server, &between(&records));
        assert_eq!((&heard[..], failure, answer), (&b"before after"[..], None, None), "{case}");
    }
}

#[test]
fn a_wish_to_begin_anew_is_refused_once_and_the_second_time_it_is_the_end() {
    for (by_server, wish) in [(true, [0, 0, 0, 0]), (false, [1, 0, 0, 0])] {
        let Pair { client, server } = pair(TlsVersion::V1_2);
        let (mut asking, mut asked) = if by_server { (server, client) } else { (client, server) };
        asking.session().forge(HANDSHAKE, &wish);
        let wire = asking.wire();
        asked.receive(&wire);
        let refusal = asked.wire();
        assert_eq!(refusal[0], 21, "a warning");
        asking.receive(&refusal);
        assert_eq!((&asked.failure, &asking.failure), (&None, &None));
        asking.session().forge(HANDSHAKE, &wish);
        let wire = asking.wire();
        asked.receive(&wire);
        assert!(matches!(asked.failure, Some(HandshakeFailure::Protocol(_))), "{asked:?}");
    }
}

#[test]
fn a_fatal_alert_is_the_end_and_is_not_answered() {
    for version in BOTH {
        let (heard, failure, answer) =
            outcome(version, true, &between(&[(ALERT, &[2, 80]), (ALERT, &[2, 80])]));
        let expected = Some(HandshakeFailure::Alert(TlsAlert::new(80)));
        assert_eq!((&heard[..], failure, answer), (&b"before "[..], expected, None), "{version}");
    }
}

#[test]
fn new_keys_without_data_have_an_end() {
    let mut pair = pair(TlsVersion::V1_3);
    let mut updates = 0;
    while pair.server.failure.is_none() {
        pair.client.session().renew_keys();
        let wire = pair.client.wire();
        pair.server.receive(&wire);
        updates += 1;
        if updates == 30 {
            // Data proves that it was for something.
            let wire = pair.client.seal(b"data");
            pair.server.receive(&wire);
            assert_eq!(pair.server.failure, None);
        }
        assert!(updates < 100, "they would go on for ever");
    }
    assert_eq!((updates, &pair.server.plain[..]), (30 + 33, &b"data"[..]));
    assert!(matches!(pair.server.failure, Some(HandshakeFailure::Protocol(_))));
    let alert = pair.server.wire();
    pair.client.receive(&alert);
    assert_eq!(pair.client.failure, Some(HandshakeFailure::Alert(TlsAlert::new(10))));
}

#[test]
fn padding_is_not_kept_with_the_data_of_a_record_that_came_in_two() {
    let mut pair = pair(TlsVersion::V1_3);
    // The cipher adds a type of 0, which is padding then.
    let inner = [&[b'x', DATA.into()][..], &[0; 16_000]].concat();
    pair.client.session().forge(ContentType::from(0), &inner);
    let wire = pair.client.wire();
    let (beginning, rest) = wire.split_at(100);
    pair.server.receive(beginning);
    pair.server.receive(rest);
    assert_eq!((&pair.server.plain[..], &pair.server.failure), (&b"x"[..], &None));
    for (data, is_copied) in [(5..6, true), (5..500, true), (5..700, false), (0..1000, false)] {
        let record = vec![7; 1000];
        let place = record.as_ptr_range();
        let buf = kept(record, data.clone());
        assert_eq!(buf[..], [7; 1000][data.clone()]);
        assert_eq!(!place.contains(&buf.as_ptr()), is_copied, "{data:?}");
    }
}

#[test]
fn what_is_held_of_a_peer_that_never_ends_is_bounded() {
    let is_bounded = |end: &mut End, sent: usize| {
        let held = end.session().held_len();
        assert!(held < 150_000, "{held} bytes are held of {sent}");
    };
    for version in BOTH {
        let mut pair = pair(version);
        // A message as long as any may be, at first a byte a record, in pieces that cut each record.
        let message = [&[4, 0, 0xff, 0xff][..], &[0; 0xfff0]].concat();
        let (slow, fast) = message.split_at(1000);
        let mut sent = 0;
        for piece in slow.chunks(1).chain(fast.chunks(16_000)) {
            pair.server.session().forge(HANDSHAKE, piece);
            let wire = pair.server.wire();
            sent += wire.len();
            wire.chunks(1000).for_each(|cut| {
                pair.client.receive(cut);
                is_bounded(&mut pair.client, sent);
            });
        }
        assert_eq!(pair.client.failure, None, "{version}: it is not whole yet");
        pair.server.session().forge(HANDSHAKE, &[0; 0xff]);
        let wire = pair.server.wire();
        pair.client.receive(&wire);
        assert!(pair.client.failure.is_some(), "{version}: whole, and no ticket");
        is_bounded(&mut pair.client, sent);
    }
    // The head of a record, and never its body.
    let mut client = pair(TlsVersion::V1_3).client;
    client.receive(&[23, 3, 3, 0x41, 0x00]);
    is_bounded(&mut client, 5);
    // A handshake in records of a byte each.
    let root = Authority::new("root");
    let mut server = End::new(&root.server("a.example"));
    let mut sent = 0;
    while server.failure.is_none() {
        let byte = [1, 0, 0xff, 0xff].get(sent).copied().unwrap_or(0);
        server.receive(&[22, 3, 1, 0, 1, byte]);
        sent += 1;
        is_bounded(&mut server, sent);
        assert!(sent < 100_000);
    }
}

/// The hello of a client that says that data follows at once, which no ticket of ours allows.
fn hello_with_early_data() -> Vec<u8> {
    let root = Authority::new("root");
    let mut hello = End::new(&root.client("a.example")).wire();
    // Behind its head and that of its record: version, random, and then three lists before the extensions.
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    for len_at in [3, 7, at] {
        let len = u16::from_be_bytes([hello[len_at], hello[len_at + 1]]) + 4;
        hello[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    }
    hello.extend([0, 42, 0, 0]);
    hello
}

#[test]
fn what_comes_before_a_handshake_is_done_is_tried_a_bounded_number_of_times() {
    let root = Authority::new("root");
    for (len, count) in [(0, 257), (17, 31)] {
        let mut server = End::new(&root.server("a.example"));
        server.receive(&hello_with_early_data());
        let record = [&[23, 3, 3, 0, len][..], &vec![7; usize::from(len)]].concat();
        server.receive(&record.repeat(count));
        assert_eq!(server.failure, None, "{count} times {len} bytes are passed over");
        server.receive(&record.repeat(13_000));
        assert!(server.failure.is_some(), "{len}");
    }
}
