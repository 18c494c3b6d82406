//! Headers as tables: good ones and what they mean, bad ones and what is wrong with each.

use super::*;

const MAX: usize = 4096;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn client(kind: Kind, source: &str, destination: &str) -> ProxyOrigin {
    ProxyOrigin::Client { kind, source: address(source), destination: address(destination) }
}

/// A header of version 2 with these bytes for command, family, and all behind the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &len, rest].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xBB];

fn six() -> Vec<u8> {
    let one = [0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [&one[..], &[1], &one, &[2], &FOUR[8..]].concat()
}

fn unix(source: &[u8], destination: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 216];
    bytes[..source.len()].copy_from_slice(source);
    bytes[108..108 + destination.len()].copy_from_slice(destination);
    bytes
}

fn tlv_bytes(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind][..], &len, value].concat()
}

/// Whole headers and what they say.
fn good() -> Vec<(Vec<u8>, ProxyOrigin)> {
    let stream = |source, destination| client(Kind::Stream, source, destination);
    let four = stream("[192 0 2 7 4711]", "[198 51 100 1 443]");
    let six_text = ("[8193 3512 0 0 0 0 0 1 4711]", "[8193 3512 0 0 0 0 0 2 443]");
    let long = [0xFF; 108 - 1];
    let longest =
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 anything but a line end"
            .to_owned();
    let longest = format!("{longest:.<105}\r\n").into_bytes();
    assert_eq!(longest.len(), V1_LEN_MAX);
    vec![
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec(), four.clone()),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(), {
            stream("[0 0 0 0 0]", "[255 255 255 255 65535]")
        }),
        (b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 4711 443\r\n".to_vec(), {
            stream(six_text.0, six_text.1)
        }),
        (b"PROXY UNKNOWN\r\n".to_vec(), ProxyOrigin::Unknown),
        (b"PROXY UNKNOWN \xFF\0\n \r x\r\n".to_vec(), ProxyOrigin::Unknown),
        (longest, ProxyOrigin::Unknown),
        (v2(0x21, 0x11, &FOUR), four.clone()),
        (v2(0x21, 0x12, &FOUR), {
            client(Kind::Datagram, "[192 0 2 7 4711]", "[198 51 100 1 443]")
        }),
        (v2(0x21, 0x21, &six()), stream(six_text.0, six_text.1)),
        (v2(0x21, 0x31, &unix(b"/run/c", b"\0s\0x")), stream("\"/run/c\"", "\"\\x00s\\x00x\"")),
        (v2(0x21, 0x32, &unix(b"/c\0junk", b"")), client(Kind::Datagram, "\"/c\"", "\"\"")),
        (v2(0x21, 0x31, &unix(&[b'/'; 107], &[&[0], &long[..]].concat())), {
            let name = "\\xff".repeat(107);
            stream(&format!("\"{}\"", "/".repeat(107)), &format!("\"\\x00{name}\""))
        }),
        // Half of what it is: not to be looked at.
        (v2(0x21, 0x00, b""), ProxyOrigin::Unknown),
        (v2(0x21, 0x01, b""), ProxyOrigin::Unknown),
        (v2(0x21, 0x10, &FOUR), ProxyOrigin::Unknown),
        (v2(0x21, 0x00, &FOUR), ProxyOrigin::Unknown),
        // The proxy itself, whatever stands there.
        (v2(0x20, 0x00, b""), ProxyOrigin::Proxy),
        (v2(0x20, 0x11, &FOUR), ProxyOrigin::Proxy),
        (v2(0x20, 0xFF, b"\x01\xFF\xFF"), ProxyOrigin::Proxy),
        (v2(0x21, 0x11, &[&FOUR[..], &tlv_bytes(tlv::NOOP, &[7; 300])].concat()), four),
    ]
}

#[test]
fn a_header_means_the_same_wherever_it_is_cut() {
    for (bytes, origin) in good() {
        for end in 0..bytes.len() {
            assert_eq!(ProxyHeader::parse(&bytes[..end], MAX), Ok(None), "{end} of {bytes:?}");
        }
        let more = [&bytes[..], b"\r\nPROXY \0"].concat();
        for whole in [&bytes, &more] {
            let (header, len) = ProxyHeader::parse(whole, MAX).unwrap().unwrap();
            assert_eq!((header.origin(), len), (&origin, bytes.len()), "{whole:?}");
        }
    }
}

#[test]
fn a_bad_line_says_what_is_wrong_with_it() {
    use ProxyHeaderError as E;
    let line = |text: &str| [b"PROXY ", text.as_bytes(), b"\r\n"].concat();
    let (source, destination) = ("address of the client", "address of the destination");
    let (port, dport) = ("port of the client", "port of the destination");
    let family = "TCP4, TCP6 or UNKNOWN";
    let cases: Vec<(Vec<u8>, E)> = vec![
        (b"GET / HTTP/1.1\r\n".to_vec(), E::Missing),
        (b"PROXYTCP4 ".to_vec(), E::Missing),
        (b"PROXI".to_vec(), E::Missing),
        (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), E::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), E::Missing),
        (b"\r\n\r\nx".to_vec(), E::Missing),
        (line(""), E::Line(family)),
        (line("TCP5 1.1.1.1 2.2.2.2 1 2"), E::Line(family)),
        (line("UNKNOWNS"), E::Line(family)),
        (line("tcp4 1.1.1.1 2.2.2.2 1 2"), E::Line(family)),
        (line(" TCP4 1.1.1.1 2.2.2.2 1 2"), E::Line(family)),
        (line("TCP4 \u{e9} 2.2.2.2 1 2"), E::Line(source)),
        (line("TCP4"), E::Line(source)),
        (line("TCP4  1.1.1.1 2.2.2.2 1 2"), E::Line(source)),
        (line("TCP4 1.1.1 2.2.2.2 1 2"), E::Line(source)),
        (line("TCP4 01.1.1.1 2.2.2.2 1 2"), E::Line(source)),
        (line("TCP4 1.1.1.256 2.2.2.2 1 2"), E::Line(source)),
        (line("TCP4 ::1 ::2 1 2"), E::Line(source)),
        (line("TCP6 1.1.1.1 2.2.2.2 1 2"), E::Line(source)),
        (line("TCP6 fe80::1%lo fe80::2 1 2"), E::Line(source)),
        (line("TCP4 1.1.1.1"), E::Line(destination)),
        (line("TCP4 1.1.1.1 ::2 1 2"), E::Line(destination)),
        (line("TCP4 1.1.1.1 2.2.2.2"), E::Line(port)),
        (line("TCP4 1.1.1.1 2.2.2.2 +1 2"), E::Line(port)),
        (line("TCP4 1.1.1.1 2.2.2.2 01 2"), E::Line(port)),
        (line("TCP4 1.1.1.1 2.2.2.2 00 2"), E::Line(port)),
        (line("TCP4 1.1.1.1 2.2.2.2 65536 2"), E::Line(port)),
        (line("TCP4 1.1.1.1 2.2.2.2 1"), E::Line(dport)),
        (line("TCP4 1.1.1.1 2.2.2.2 1 "), E::Line(dport)),
        (line("TCP4 1.1.1.1 2.2.2.2 1 2\n"), E::Line(dport)),
        (line("TCP4 1.1.1.1 2.2.2.2 1 2 "), E::Line("line end")),
        (line("TCP4 1.1.1.1 2.2.2.2 1 2 3"), E::Line("line end")),
        ([b"PROXY TCP4 1.1.1.1 \xFF 1 2\r\n".to_vec()].concat(), E::Line("ASCII text")),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), E::TooLong { max: 107 }),
        // Its line end begins where the bound is.
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat(), E::TooLong { max: 107 }),
    ];
    refused(cases);
}

fn refused(cases: Vec<(Vec<u8>, ProxyHeaderError)>) {
    for (bytes, expected) in cases {
        assert_eq!(ProxyHeader::parse(&bytes, MAX), Err(expected), "{}", bytes.escape_ascii());
        assert!(expected.to_string().len() < 100, "{expected}");
    }
}

#[test]
fn bad_bytes_say_what_is_wrong_with_them() {
    use ProxyHeaderError as E;
    let two = [tlv_bytes(tlv::CRC32C, &[0; 4]), tlv_bytes(tlv::CRC32C, &[0; 4])].concat();
    let with = |tlvs: &[u8]| v2(0x21, 0x11, &[&FOUR[..], tlvs].concat());
    let cases: Vec<(Vec<u8>, E)> = vec![
        (v2(0x11, 0x11, &FOUR), E::Version(1)),
        (v2(0x31, 0x11, &FOUR), E::Version(3)),
        (v2(0x22, 0x11, &FOUR), E::Command(2)),
        (v2(0x2F, 0x11, &FOUR), E::Command(15)),
        (v2(0x21, 0x41, &FOUR), E::Family(0x41)),
        (v2(0x21, 0x13, &FOUR), E::Family(0x13)),
        (v2(0x21, 0x11, &FOUR[..11]), E::TooShort { len: 11, needed: 12 }),
        (v2(0x21, 0x21, &six()[..35]), E::TooShort { len: 35, needed: 36 }),
        (v2(0x21, 0x31, &[0; 215]), E::TooShort { len: 215, needed: 216 }),
        (v2(0x21, 0x31, &unix(&[b'/'; 108], b"")), E::Path),
        (v2(0x21, 0x11, &[7; 4081]), E::TooLong { max: MAX }),
        (v2(0x20, 0x00, &[7; 4081]), E::TooLong { max: MAX }),
        (with(&[1]), E::Tlv { at: 28 }),
        (with(&[1, 0]), E::Tlv { at: 28 }),
        (with(&[1, 0, 1]), E::Tlv { at: 28 }),
        (with(&[4, 0, 1, 9, 1, 0xFF, 0xFF, 0]), E::Tlv { at: 32 }),
        (v2(0x21, 0x10, &[&FOUR[..], &[1]].concat()), E::Tlv { at: 28 }),
        (v2(0x21, 0x00, &tlv_bytes(tlv::CRC32C, &[0; 4])), {
            let whole = v2(0x21, 0x00, &tlv_bytes(tlv::CRC32C, &[0; 4]));
            E::Checksum { sent: 0, computed: crc32c::crc32c(&whole) }
        }),
        (with(&tlv_bytes(tlv::CRC32C, &[0; 3])), E::Tlv { at: 28 }),
        (with(&two), E::Tlv { at: 35 }),
        (with(&tlv_bytes(tlv::CRC32C, &[0; 4])), {
            let whole = with(&tlv_bytes(tlv::CRC32C, &[0; 4]));
            E::Checksum { sent: 0, computed: crc32c::crc32c(&whole) }
        }),
    ];
    refused(cases);
}

#[test]
fn what_is_too_long_is_known_before_it_has_come() {
    let announced = &v2(0x21, 0x11, &[7; 5000])[..16];
    let max = ProxyHeaderError::TooLong { max: MAX };
    assert_eq!(ProxyHeader::parse(announced, MAX), Err(max));
    let exactly = v2(0x21, 0x00, &tlv_bytes(tlv::NOOP, &[0; MAX - 19]));
    assert_eq!(exactly.len(), MAX);
    assert!(ProxyHeader::parse(&exactly, MAX).unwrap().is_some());
}

#[test]
fn a_checksum_counts_wherever_it_stands_and_whatever_is_changed() {
    let out = ProxyOut::naming(ProxyVersion::V2, address("[1 2 3 4 5]"), address("[6 7 8 9 10]"));
    let good = out.tlv(tlv::UNIQUE_ID, "one").checksum(true).bytes(None, None).unwrap();
    let (header, _) = ProxyHeader::parse(&good, MAX).unwrap().unwrap();
    assert_eq!(header.tlv(tlv::UNIQUE_ID), Some(&b"one"[..]));
    assert_eq!(header.tlvs().map(|(kind, _)| kind).collect::<Vec<_>>(), [5, 3]);
    // Not the signature, version and lengths, which make it another thing.
    for at in [12 + 1, 16, 19, 24, 27, 31, 33, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let refused = ProxyHeader::parse(&changed, MAX);
        let wrong = matches!(refused, Err(ProxyHeaderError::Checksum { .. }));
        assert!(wrong, "byte {at}: {refused:?}");
    }
}

#[test]
fn what_is_sent_reads_as_what_was_meant() {
    use ProxyVersion::{V1, V2};
    let (four, six) = (address("[192 0 2 7 4711]"), address("[8193 3512 0 0 0 0 0 1 443]"));
    let (path, name) = (address("\"/run/p\""), address("\"\\x00name\""));
    let nobody: (Option<&Address>, _) = (None, None);
    let naming = |v, from: &Address, to: &Address| ProxyOut::naming(v, from.clone(), to.clone());
    let origin = |source: &Address, destination: &Address| ProxyOrigin::Client {
        kind: Kind::Stream,
        source: source.clone(),
        destination: destination.clone(),
    };
    let cases = [
        (naming(V1, &four, &four), nobody, V1, origin(&four, &four)),
        (naming(V1, &six, &six), nobody, V1, origin(&six, &six)),
        (naming(V2, &six, &six), nobody, V2, origin(&six, &six)),
        (naming(V2, &path, &name), nobody, V2, origin(&path, &name)),
        (naming(V2, &Address::unnamed(), &path), nobody, V2, origin(&Address::unnamed(), &path)),
        (ProxyOut::local(V1), nobody, V1, ProxyOrigin::Unknown),
        (ProxyOut::local(V2), nobody, V2, ProxyOrigin::Proxy),
        (ProxyOut::own(V1), (Some(&four), Some(&four)), V1, origin(&four, &four)),
        (V2.into(), (Some(&six), Some(&six)), V2, origin(&six, &six)),
        (V2.into(), (Some(&path), Some(&path)), V2, origin(&path, &path)),
        // No words for them.
        (V1.into(), (Some(&path), Some(&path)), V1, ProxyOrigin::Unknown),
        (V2.into(), (Some(&four), Some(&six)), V2, ProxyOrigin::Unknown),
        (V2.into(), nobody, V2, ProxyOrigin::Unknown),
    ];
    for (out, (local, remote), version, expected) in cases {
        assert_eq!(out.check(), Ok(()), "{out:?}");
        let bytes = out.bytes(local, remote).unwrap();
        let (header, len) = ProxyHeader::parse(&bytes, MAX).unwrap().unwrap();
        assert_eq!((header.version(), header.origin()), (version, &expected), "{out:?}");
        assert_eq!(len, bytes.len());
        let onward = ProxyOut::from(&header);
        assert_eq!(onward.bytes(None, None).as_ref(), Ok(&bytes), "passed on");
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_there_is_a_connection() {
    use ProxyVersion::{V1, V2};
    let (four, six) = (address("[192 0 2 7 4711]"), address("[0 0 0 0 0 0 0 1 443]"));
    let other = Address::other(77, b"x").unwrap();
    let pairs = [
        (V1, &four, &six),
        (V2, &six, &four),
        (V2, &four, &other),
        (V1, &Address::unnamed(), &Address::unnamed()),
    ];
    for (version, from, to) in pairs {
        let refused = ProxyOut::naming(version, from.clone(), to.clone()).check();
        assert!(
            matches!(refused, Err(ProxyOutError::Addresses { .. })),
            "{from} {to}: {refused:?}"
        );
    }
    let own = |version| ProxyOut::own(version);
    let cases = [
        (own(V1).tlv(tlv::NOOP, ""), ProxyOutError::Values),
        (own(V1).checksum(true), ProxyOutError::Values),
        (own(V2).tlv(tlv::CRC32C, [0; 4]), ProxyOutError::GivenChecksum),
        (own(V2).tlv(tlv::NOOP, [0; 65536]), ProxyOutError::TooLong),
        (own(V2).tlv(tlv::NOOP, [0; 65535 - 216 - 3 + 1]), ProxyOutError::TooLong),
        (own(V2).tlv(tlv::NOOP, [0; 65535 - 216 - 3]).checksum(true), ProxyOutError::TooLong),
    ];
    for (out, expected) in cases {
        assert_eq!(out.check(), Err(expected));
    }
    assert_eq!(own(V2).tlv(tlv::NOOP, [0; 65535 - 216 - 3]).check(), Ok(()));
}

#[test]
fn a_prefix_holds_what_begins_with_it() {
    let cases = [
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.6", false),
        ("192.0.2.7", "::ffff:192.0.2.7", true),
        ("192.0.2.7", "::192.0.2.7", false),
        ("0.0.0.0/0", "255.1.2.3", true),
        ("0.0.0.0/0", "::1", false),
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("128.0.0.0/1", "127.255.255.255", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "::ffff:1.2.3.4", true),
        ("::/0", "1.2.3.4", false),
        ("::ffff:0:0/96", "1.2.3.4", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ("2001:db8::/32", "2001:db8:ffff::", true),
        ("2001:db8::/32", "2001:db9::", false),
        ("fe80::1/128", "fe80::1", true),
    ];
    for (prefix, ip, expected) in cases {
        let parsed: IpPrefix = prefix.parse().unwrap();
        assert_eq!(parsed.contains(ip.parse().unwrap()), expected, "{ip} in {prefix}");
        assert_eq!(parsed.to_string().parse(), Ok(parsed), "{prefix}");
    }
}

#[test]
fn what_is_no_prefix_is_refused_with_the_reason() {
    let len = |len: &str, max| IpPrefixError::Len { len: len.into(), max };
    let host = |ip: &str, len| IpPrefixError::Host { ip: ip.parse().unwrap(), len };
    let cases = [
        ("", IpPrefixError::Ip(String::new())),
        ("localhost", IpPrefixError::Ip("localhost".into())),
        ("127.1", IpPrefixError::Ip("127.1".into())),
        ("010.0.0.0/8", IpPrefixError::Ip("010.0.0.0".into())),
        ("10.0.0.0/33", len("33", 32)),
        ("10.0.0.0/", len("", 32)),
        ("10.0.0.0/+8", len("+8", 32)),
        ("10.0.0.0/8/8", len("8/8", 32)),
        ("::/129", len("129", 128)),
        ("::/256", len("256", 128)),
        ("10.0.0.1/8", host("10.0.0.1", 8)),
        ("0.0.0.1/0", host("0.0.0.1", 0)),
        ("::1/0", host("::1", 0)),
        ("2001:db8::1/64", host("2001:db8::1", 64)),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<IpPrefix>(), Err(expected.clone()), "{text:?}");
        let listed = format!("127.0.0.1 {text}").parse::<TrustedProxies>();
        assert!(text.is_empty() || listed == Err(TrustedProxiesError(expected)), "{listed:?}");
    }
}

#[test]
fn a_list_trusts_whom_it_names() {
    let peers =
        ["[127 0 0 1 9]", "[0 0 0 0 0 0 0 1 9]", "\"\"", "\"/p\"", "\"\\x00n\"", "(77 . [])"];
    let cases = [
        ("", [false; 6]),
        (" , ,", [false; 6]),
        ("127.0.0.0/8", [true, false, false, false, false, false]),
        ("::1\t10.0.0.1", [false, true, false, false, false, false]),
        ("local", [false, false, true, true, true, false]),
        ("::1,local,127.0.0.1", [true, true, true, true, true, false]),
    ];
    for (text, expected) in cases {
        let list: TrustedProxies = text.parse().unwrap();
        assert_eq!(peers.map(|peer| list.contains(&address(peer))), expected, "{text:?}");
        assert_eq!(list.is_empty(), !expected.contains(&true), "{text:?}");
        let again: TrustedProxies = list.to_string().parse().unwrap();
        assert_eq!(peers.map(|peer| again.contains(&address(peer))), expected, "{list}");
    }
}
