//! What holds for every connection of TLS, whatever comes off the wire: run by `tests/tests/checks_tls.rs`
//! on drawn inputs and by a target of `tests/fuzz` on hunted ones.
//!
//! Invariant: a check panics when a promise is broken, and for no other reason; sessions use randomness,
//! so that the same input may take another way, but breaks no promise on any. An input is read by
//! [`Source`].

use std::sync::LazyLock;

use netproc::{Buf, Layer, Layers, TlsClient, TlsIdentity, TlsServer, TlsTrust, TlsVersion};

use super::check_dialogue::Source;

/// More than any alert, or farewell with alert, needs.
const FAREWELL_LEN_MAX: usize = 200;

/// Beginnings of records and messages, so that no input has to spell them.
const PHRASES: [&[u8]; 14] = [
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x16\x03\x03\x40\x00\x01\xFF\xFF\xFF",
    b"\x16\x03\x03\xFF\xFF",
    b"\x16\x03\x01\x00\x2D\x01\x00\x00\x29\x03\x03",
    b"\x16\x03\x03\x00\x04\x0E\x00\x00\x00",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x17\x03\x03\x00\x00",
    b"\x17\x03\x03\x00\x10injected injecte",
    b"\x18\x03\x02\x00\x03\x01\x40\x00",
    b"\x80\x2E\x01\x03\x01",
    b"GET / HTTP/1.1\r\n\r\n",
    b"220 mail.example ESMTP\r\n",
];

/// Both sides of everything, made once for each version.
struct Sides {
    server: TlsServer,
    client: TlsClient,
}

static SIDES: LazyLock<[Sides; 2]> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let pair = pair.expect("the name is good");
    let (pem, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let identity = TlsIdentity::from_pem(&pem, key).expect("they fit");
    let trust = TlsTrust::from_pem(&pem).expect("it is PEM");
    [TlsVersion::V1_2, TlsVersion::V1_3].map(|version| {
        let server = TlsServer::builder(identity.clone()).demand_clients(trust.clone());
        let client = TlsClient::builder("localhost").trust(trust.clone()).resumption(false);
        let client = client.identity(identity.clone()).versions(version, version);
        let server = server.tickets(false).versions(version, version);
        Sides { server: server.build().expect("it is"), client: client.build().expect("it is") }
    })
});

/// One side of a connection, with what it let through.
struct Side {
    layer: Box<dyn Layer>,
    plain: Vec<u8>,
    failed: bool,
}

impl Side {
    fn new(layers: &dyn Layers) -> Self {
        let layer = layers.make().expect("there is a clock and randomness");
        Self { layer, plain: Vec::new(), failed: false }
    }

    fn receive(&mut self, wire: &[u8]) {
        if self.failed || wire.is_empty() {
            return;
        }
        let mut plain = Vec::new();
        self.failed = self.layer.receive(Buf::copied(wire), &mut plain).is_err();
        self.plain.extend(plain.iter().flat_map(|buf| buf.iter().copied()));
    }

    fn wire(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.layer.wire(&mut out);
        out.iter().flat_map(|payload| payload.as_slice().iter().copied()).collect()
    }

    fn send(&mut self, text: &[u8]) {
        self.layer.send(text).expect("few records were sent so far");
    }
}

/// Changes what is on the wire as the source says.
fn tamper(source: &mut Source<'_>, wire: &[u8]) -> Vec<u8> {
    let mut wire = wire.to_vec();
    let place = |source: &mut Source<'_>, len: usize| {
        let number = usize::from(source.byte()) << 8 | usize::from(source.byte());
        number % (len + 1)
    };
    match source.byte() % 8 {
        0 => {}
        1 if !wire.is_empty() => {
            let at = place(source, wire.len() - 1);
            wire[at] ^= source.byte().max(1);
        }
        2 => wire.truncate(place(source, wire.len())),
        3 => wire.extend_from_within(place(source, wire.len())..),
        4 => {
            let at = place(source, wire.len());
            wire.splice(at..at, source.text().iter().copied());
        }
        5 => {
            let at = place(source, wire.len());
            let phrase = PHRASES[usize::from(source.byte()) % PHRASES.len()];
            wire.splice(at..at, phrase.iter().copied());
        }
        6 => wire = source.text().to_vec(),
        _ => drop(wire.drain(..place(source, wire.len()))),
    }
    wire
}

/// Hands `wire` to `side` in pieces.
fn hand_over(source: &mut Source<'_>, side: &mut Side, wire: &[u8]) {
    let len = match source.byte() {
        0..=99 => wire.len().max(1),
        other => usize::from(other) - 99,
    };
    for piece in wire.chunks(len) {
        side.receive(piece);
    }
}

/// Checks both sides of a connection whose wire somebody tampers with: before the handshake is done nothing
/// is let through; after it, no more than a beginning of what the other side has sent. Returns how many
/// bytes were let through.
///
/// # Panics
///
/// When one of these does not hold.
pub fn session(input: &[u8]) -> usize {
    let mut source = Source::new(input);
    let sides = &SIDES[usize::from(source.byte()) % 2];
    let mut ends = [Side::new(&sides.client), Side::new(&sides.server)];
    // So many flights pass as they are.
    let good = source.byte() % 8;
    let mut said = [Vec::new(), Vec::new()];
    for round in 0_u8..24 {
        for from in [0, 1] {
            let wire = ends[from].wire();
            let wire = if round < good { wire } else { tamper(&mut source, &wire) };
            let to = 1 - from;
            let was_established = ends[to].layer.is_established();
            hand_over(&mut source, &mut ends[to], &wire);
            check(&mut ends[to], was_established, &said[from]);
            if ends[to].layer.is_established() && !ends[to].failed {
                let text = source.text();
                ends[to].send(text);
                said[to].extend_from_slice(text);
            }
        }
        if ends.iter().all(|end| end.failed) || source.is_dry() && round >= good {
            break;
        }
    }
    farewell(&mut ends);
    ends.iter().map(|end| end.plain.len()).sum()
}

fn check(side: &mut Side, was_established: bool, said: &[u8]) {
    let is_established = side.layer.is_established();
    assert!(is_established || side.plain.is_empty(), "nothing passes before the handshake");
    assert!(!was_established || is_established || side.failed, "it is not undone");
    assert!(said.starts_with(&side.plain), "{} was never said", side.plain.escape_ascii());
}

/// What was given up says no more than an alert, and whatever stands may still take leave.
fn farewell(ends: &mut [Side; 2]) {
    for end in ends {
        if end.failed {
            // What was sealed before it failed goes first.
            end.wire();
            assert!(end.wire().len() <= FAREWELL_LEN_MAX, "an alert at most");
        } else if end.layer.is_established() {
            end.layer.finish();
            assert!(!end.wire().is_empty(), "a good-bye");
        }
    }
}

/// Checks each side alone with what no other side has sent: it lets nothing through, keeps little, and
/// says no more than an alert.
///
/// # Panics
///
/// When one of these does not hold.
pub fn garbage(input: &[u8]) {
    let mut source = Source::new(input);
    let sides = &SIDES[usize::from(source.byte()) % 2];
    for layers in [&sides.client as &dyn Layers, &sides.server] {
        let mut side = Side::new(layers);
        let hello = side.wire();
        let mut source = Source::new(input);
        source.byte();
        let mut heard = 0;
        while !source.is_dry() && !side.failed {
            let choice = usize::from(source.byte());
            let piece = if choice < 128 { source.text() } else { PHRASES[choice % PHRASES.len()] };
            heard += piece.len();
            side.receive(piece);
            assert!(side.plain.is_empty(), "nothing passes before the handshake");
        }
        let answer = side.wire();
        assert!(!side.layer.is_established(), "{heard} bytes made up a handshake");
        // A server that understood a hello has a flight to send; garbage that is none gets an alert.
        let most = 8192 + FAREWELL_LEN_MAX;
        assert!(answer.len() <= most, "{} bytes, the hello had {}", answer.len(), hello.len());
    }
}
