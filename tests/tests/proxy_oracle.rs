//! PROXY headers against two parsers of others, ppp and proxy-header: what they agree upon, and where ours
//! is stricter, and why.
//!
//! Drawn headers are near good ones: written by one of the three, then changed in places, cut, or followed
//! by more. `netproc_tests::check::proxy` holds for each of them as well.

use std::net::{IpAddr, SocketAddr};

use netproc::{Address, Kind, ProxyHeader, ProxyHeaderError, ProxyOrigin, ProxyOut, ProxyVersion};
use netproc_tests::check;
use ppp::{v1, v2};
use proptest::prelude::*;

/// All that there can be.
const MAX: usize = 16 + 65535;

fn ours(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    ProxyHeader::parse(bytes, MAX)
}

fn client(kind: Kind, source: SocketAddr, destination: SocketAddr) -> ProxyOrigin {
    ProxyOrigin::Client { kind, source: source.into(), destination: destination.into() }
}

/// What ppp makes of a header of version 1: whom it names, and its length.
fn ppp_v1(bytes: &[u8]) -> Option<(ProxyOrigin, usize)> {
    let header = v1::Header::try_from(bytes).ok()?;
    let socket = |ip: IpAddr, port| SocketAddr::new(ip, port);
    let origin = match header.addresses {
        v1::Addresses::Tcp4(it) => client(
            Kind::Stream,
            socket(it.source_address.into(), it.source_port),
            socket(it.destination_address.into(), it.destination_port),
        ),
        v1::Addresses::Tcp6(it) => client(
            Kind::Stream,
            socket(it.source_address.into(), it.source_port),
            socket(it.destination_address.into(), it.destination_port),
        ),
        v1::Addresses::Unknown => ProxyOrigin::Unknown,
    };
    Some((origin, header.header.len()))
}

/// The same of a header of version 2, with its values as bytes and the length it announces.
struct Binary {
    origin: ProxyOrigin,
    tlvs: Vec<(u8, Vec<u8>)>,
    len: usize,
}

enum Verdict {
    Whole(Binary),
    Partial,
    Bad,
}

fn ppp_v2(bytes: &[u8]) -> Verdict {
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => {
            return Verdict::Partial;
        }
        Err(_) => return Verdict::Bad,
    };
    let kind = match header.protocol {
        v2::Protocol::Unspecified => None,
        v2::Protocol::Stream => Some(Kind::Stream),
        v2::Protocol::Datagram => Some(Kind::Datagram),
    };
    let (source, destination): (Address, Address) = match header.addresses {
        v2::Addresses::IPv4(it) => (
            SocketAddr::new(it.source_address.into(), it.source_port).into(),
            SocketAddr::new(it.destination_address.into(), it.destination_port).into(),
        ),
        v2::Addresses::IPv6(it) => (
            SocketAddr::new(it.source_address.into(), it.source_port).into(),
            SocketAddr::new(it.destination_address.into(), it.destination_port).into(),
        ),
        v2::Addresses::Unix(it) => match (path(&it.source), path(&it.destination)) {
            (Some(source), Some(destination)) => (source, destination),
            _ => return Verdict::Bad,
        },
        v2::Addresses::Unspecified => (Address::unnamed(), Address::unnamed()),
    };
    let unspecified = matches!(header.addresses, v2::Addresses::Unspecified);
    let origin = match (header.command, kind) {
        (v2::Command::Local, _) => ProxyOrigin::Proxy,
        (v2::Command::Proxy, Some(kind)) if !unspecified => {
            ProxyOrigin::Client { kind, source, destination }
        }
        (v2::Command::Proxy, _) => ProxyOrigin::Unknown,
    };
    // Behind a family that is not told ours looks for values, and takes what are none for addresses.
    let values = if unspecified { header.address_bytes() } else { header.tlv_bytes() };
    let values = v2::TypeLengthValues::from(values);
    let values = values.map(|found| found.map(|it| (it.kind, it.value.to_vec())));
    let tlvs = match (&origin, values.collect::<Result<Vec<_>, _>>()) {
        // All of it is to be skipped.
        (ProxyOrigin::Proxy, _) => Vec::new(),
        (_, Ok(values)) => values,
        (_, Err(_)) if unspecified => Vec::new(),
        (_, Err(_)) => return Verdict::Bad,
    };
    Verdict::Whole(Binary { origin, tlvs, len: header.len() })
}

/// The path as the system reads it: up to a NUL, unless that is the first byte.
fn path(bytes: &[u8; 108]) -> Option<Address> {
    let text = match bytes {
        [0, ..] => {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            &bytes[..end]
        }
        _ => bytes.split(|byte| *byte == 0).next()?,
    };
    Address::local(text).ok()
}

/// What proxy-header makes of it: source and destination over IP, and its length.
fn other(bytes: &[u8]) -> Option<(Option<(SocketAddr, SocketAddr)>, usize)> {
    let (header, len) = proxy_header::ProxyHeader::parse(bytes, Default::default()).ok()?;
    Some((header.proxied_address().map(|it| (it.source, it.destination)), len))
}

/// Whether half a line end stands in the line, which only one of nobody may have.
fn is_stray(line: &[u8]) -> bool {
    line[..line.len() - 2].iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Reads one header with all three.
fn compare(bytes: &[u8]) {
    check::proxy(bytes, MAX);
    let ours = ours(bytes);
    if bytes.first() == Some(&b'\r') {
        compare_v2(bytes, &ours);
    } else if let Ok(Some((header, len))) = &ours {
        // Whatever ours takes, so do the others, and read the same there; but to ppp a CR is a space and
        // a line has seven words, where anything may follow `UNKNOWN`.
        let theirs = ppp_v1(bytes);
        let nobody = *header.origin() == ProxyOrigin::Unknown
            && (theirs.is_none() || is_stray(&bytes[..*len]));
        assert!(nobody || theirs == Some((header.origin().clone(), *len)), "{theirs:?} {header:?}");
    } else if let Some((origin, len)) = ppp_v1(bytes) {
        // To ppp a CR is a space, so that a lone LF ends its line; and a port may have a sign.
        let line = &bytes[..len];
        let loose =
            !line.ends_with(b"\r\n") || line[..len - 2].contains(&b'\r') || line.contains(&b'+');
        assert!(loose, "{} is {origin:?} to ppp, {ours:?} to us", bytes.escape_ascii());
    }
    if let Ok(Some((header, len))) = &ours
        && header.version() == ProxyVersion::V1
    {
        let named = header.source().zip(header.destination());
        let named = named.and_then(|(a, b)| Some((a.socket_addr()?, b.socket_addr()?)));
        let theirs = other(bytes);
        assert!(is_stray(&bytes[..*len]) || theirs == Some((named, *len)), "{theirs:?} {header:?}");
    }
}

fn compare_v2(bytes: &[u8], ours: &Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>) {
    match (ppp_v2(bytes), ours) {
        (Verdict::Whole(theirs), Ok(Some((header, len)))) => {
            assert_eq!((header.origin(), *len), (&theirs.origin, theirs.len));
            let values: Vec<_> =
                header.tlvs().map(|(kind, value)| (kind, value.to_vec())).collect();
            assert_eq!(values, theirs.tlvs);
            let Some((named, len)) = other(bytes) else {
                // A family without a transport, or the other way round: nobody is named.
                assert!(matches!(bytes[13], 0x01 | 0x02 | 0x10 | 0x20 | 0x30), "{header:?}");
                return;
            };
            assert_eq!(len, theirs.len);
            if let Some((source, destination)) = named {
                assert_eq!(header.source(), Some(&source.into()));
                assert_eq!(header.destination(), Some(&destination.into()));
            }
        }
        // Nobody else looks at checksums.
        (Verdict::Whole(theirs), Err(ProxyHeaderError::Checksum { .. })) => {
            assert!(theirs.tlvs.iter().any(|(kind, value)| *kind == 3 && value.len() == 4));
        }
        (Verdict::Whole(theirs), Err(ProxyHeaderError::Tlv { .. })) => {
            let sums = theirs.tlvs.iter().filter(|(kind, _)| *kind == 3);
            let lens: Vec<usize> = sums.map(|(_, value)| value.len()).collect();
            assert!(lens.len() > 1 || lens.iter().any(|len| *len != 4), "{lens:?}");
        }
        (Verdict::Partial, Ok(None)) | (Verdict::Bad, Err(_)) => {}
        // Ours knows a wrong version or command, and a signature that is none, a few bytes earlier.
        (Verdict::Partial, Err(_)) => assert!(bytes.len() < 16, "{ours:?}"),
        // The proxy's own connection is what it says, whatever family stands there.
        (Verdict::Bad, Ok(Some((header, _)))) if *header.origin() == ProxyOrigin::Proxy => {}
        (Verdict::Bad, Ok(None)) if bytes.get(12) == Some(&0x20) => {}
        (Verdict::Whole(_), ours) => panic!("ppp takes it, ours does not: {ours:?}"),
        (Verdict::Partial, ours) => panic!("ppp waits for more, ours does not: {ours:?}"),
        (Verdict::Bad, ours) => panic!("ppp refuses it, ours does not: {ours:?}"),
    }
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        Just(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
        Just(IpAddr::from([0, 0, 0, 0, 0, 0xFFFF, 0x0102, 0x0304])),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

fn unix() -> impl Strategy<Value = Address> {
    let name = prop::collection::vec(1..=255u8, 0..=107);
    (name, any::<bool>()).prop_map(|(name, hidden)| {
        let text = if hidden && !name.is_empty() { [&[0], &name[..]].concat() } else { name };
        Address::local(text).expect("short enough, and no NUL inside")
    })
}

/// Headers that are good, written by ours.
fn written() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![
        4 => (socket(), socket()).prop_map(|(a, b)| (Address::from(a), Address::from(b))),
        1 => (unix(), unix()),
    ];
    let value = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40));
    let values = prop::collection::vec(value, 0..4);
    (ends, 0..4u8, values, any::<bool>()).prop_map(|((source, destination), how, values, sum)| {
        let version = if how % 2 == 0 { ProxyVersion::V1 } else { ProxyVersion::V2 };
        // Where the two do not go together nobody is named.
        let mut out = ProxyOut::naming(version, source, destination);
        if how == 3 || out.check().is_err() {
            out = ProxyOut::local(version);
        }
        if version == ProxyVersion::V2 {
            out = out.checksum(sum);
            let values = values.into_iter().filter(|(kind, _)| *kind != 3);
            out = values.fold(out, |out, (kind, value)| out.tlv(kind, value));
        }
        out.bytes(None, None).expect("it was looked at")
    })
}

/// The same with bytes changed, a piece cut out, an end put on.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&b" \r\n0149+:.PTCPUX\0\x01\x03\x04\x11\x12\x21\x22\x31\x32\x20"[..]),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), byte), 0..4);
    let end = prop::collection::vec(any::<u8>(), 0..20);
    let cut = (any::<prop::sample::Index>(), 0..30usize, 0..3u8);
    (written(), changes, end, cut).prop_map(|(mut bytes, changes, end, (at, len, how))| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..(at + len).min(bytes.len()))),
            _ => bytes.extend(end),
        }
        bytes
    })
}

/// Lines of version 1 put together of words that are nearly right.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "PROXY",
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "1.2.3.4",
        "255.255.255.255",
        "01.2.3.4",
        "1.2.3",
        "::1",
        "2001:db8::1",
        "::ffff:1.2.3.4",
        "::1%lo",
        "0",
        "1",
        "65535",
        "65536",
        "080",
        "+80",
        "-1",
        "",
        "\u{e9}",
        "\n",
        "\r",
    ]);
    let words = prop::collection::vec(word, 0..6);
    let ends = prop::sample::select(vec!["\r\n", "\n", "\r", "", " \r\n", "\r\r\n", "\r\nGET /"]);
    let starts =
        prop::sample::select(vec!["PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN", "PROXY ", ""]);
    (starts, words, ends)
        .prop_map(|(start, words, end)| format!("{start}{}{end}", words.join(" ")).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_the_same_everywhere(bytes in written()) {
        prop_assert!(matches!(ours(&bytes), Ok(Some((_, len))) if len == bytes.len()));
        compare(&bytes);
        prop_assert!(other(&bytes).is_some());
    }

    #[test]
    fn what_was_changed_is_judged_alike(bytes in changed()) {
        compare(&bytes);
    }

    #[test]
    fn lines_are_judged_alike(bytes in line()) {
        compare(&bytes);
    }

    #[test]
    fn anything_at_all_is_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), max in 0..600usize,
    ) {
        check::proxy(&bytes, max);
        check::proxy(&[b"\r\n\r\n\0\r\nQUIT\n", &bytes[..]].concat(), max);
        check::proxy(&[b"PROXY ", &bytes[..]].concat(), max);
    }
}

/// DIFFERENCES from proxy-header, each of which lets two readers disagree about one connection.
#[test]
fn ours_refuses_lines_that_are_nearly_right() {
    let loose: [&[u8]; 4] = [
        b"PROXYxTCP4 1.2.3.4 5.6.7.8 9 10\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n",
        b"PROXY UNKNOWNxyz\r\n",
    ];
    for bytes in loose {
        assert!(other(bytes).is_some(), "{}", bytes.escape_ascii());
        assert!(ours(bytes).is_err(), "{}", bytes.escape_ascii());
    }
}
