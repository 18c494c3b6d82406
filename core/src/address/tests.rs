//! Addresses: every form both ways, every malformed vector and text refused by name.

use proptest::prelude::*;

use super::*;

#[test]
fn vectors_of_the_wrong_shape_are_refused_by_name() {
    use AddressError::{Element, Length, Port};
    let element = |index, value, max| Err(Element { index, value, max });
    let cases: [(&[i64], _); 13] = [
        (&[], Err(Length(0))),
        (&[1, 2, 3], Err(Length(3))),
        (&[127, 0, 0, 1], Err(Length(4))),
        (&[1; 6], Err(Length(6))),
        (&[1; 8], Err(Length(8))),
        (&[1; 10], Err(Length(10))),
        (&[127, 0, 0, 256, 9], element(3, 256, 255)),
        (&[-1, 0, 0, 1, 9], element(0, -1, 255)),
        (&[127, 0, 0, 1, 65_536], Err(Port(65_536))),
        (&[127, 0, 0, 1, -1], Err(Port(-1))),
        (&[0, 0, 0, 0, 0, 0, 65_536, 1, 9], element(6, 65_536, 65_535)),
        (&[0, 0, 0, 0, 0, 0, 0, 1, 65_536], Err(Port(65_536))),
        (&[i64::MAX, 0, 0, 1, 9], element(0, i64::MAX, 255)),
    ];
    for (vector, expected) in cases {
        assert_eq!(Address::from_vector(vector), expected, "{vector:?}");
    }
}

#[test]
fn every_form_prints_and_reads_back() {
    let cases = [
        (Address::from_vector(&[127, 0, 0, 1, 80]), "[127 0 0 1 80]"),
        (
            Address::from_vector(&[0x2001, 0xdb8, 0, 0, 0, 0, 0, 1, 25]),
            "[8193 3512 0 0 0 0 0 1 25]",
        ),
        (Address::local("/run/x"), "\"/run/x\""),
        (Address::local(""), "\"\""),
        (Address::local(b"\0name\0x"), "\"\\x00name\\x00x\""),
        (Address::local(b"a\"b\\c\xff"), "\"a\\\"b\\\\c\\xff\""),
        (Address::other(77, &[1, 2, 255]), "(77 . [1 2 255])"),
        (Address::other(77, &[]), "(77 . [])"),
    ];
    for (address, text) in cases {
        let address = address.unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(text.parse(), Ok(address), "{text}");
    }
}

#[test]
fn text_that_is_no_address_names_the_position() {
    let cases = [
        ("", 0),
        ("127.0.0.1:80", 0),
        ("[127 0 0 1 80", 13),
        ("[127,0,0,1,80]", 4),
        ("[127 0 0 1 80]x", 14),
        ("[+1 0 0 1 80]", 1),
        ("[1e2 0 0 1 80]", 2),
        ("[\u{663} 0 0 1 80]", 1),
        ("[127  0 0 1 80]", 5),
        ("[1000000000000000000 0 0 1 80]", 19),
        ("\"open", 5),
        ("\"\\x0g\"", 3),
        ("\"\\", 2),
        ("(77 [1])", 3),
        ("(77 . [1]", 9),
        ("\u{1}", 0),
    ];
    for (text, expected) in cases {
        match text.parse::<Address>() {
            Err(AddressError::Syntax { position, .. }) => assert_eq!(position, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn local_paths_end_at_107_bytes() {
    assert!(Address::local([b'p'; 107]).is_ok());
    assert_eq!(Address::local([b'p'; 108]), Err(AddressError::PathTooLong(108)));
    let abstract_name = |len| Address::local([vec![0], vec![b'n'; len]].concat());
    assert!(abstract_name(107).is_ok());
    assert_eq!(abstract_name(108), Err(AddressError::PathTooLong(109)));
    assert_eq!(Address::local(b"a\0b"), Err(AddressError::Nul(1)));
}

#[test]
fn raw_forms_are_for_other_families_and_bounded() {
    assert_eq!(Address::other(2, &[0; 14]), Err(AddressError::KnownFamily(2)));
    assert_eq!(Address::other(77, &[0; 127]), Err(AddressError::TooManyBytes(127)));
    assert!(Address::other(77, &[0; 126]).is_ok());
    assert_eq!(
        "(77 . [256])".parse::<Address>(),
        Err(AddressError::Element { index: 0, value: 256, max: 255 })
    );
}

#[test]
fn network_text_is_what_emacs_prints() {
    let v6 = Address::from_vector(&[8193, 3512, 0, 0, 0, 0, 0, 1, 25]).unwrap();
    let cases = [
        (Address::from_vector(&[127, 0, 0, 1, 80]).unwrap(), "127.0.0.1:80", "127.0.0.1"),
        (v6, "[2001:db8:0:0:0:0:0:1]:25", "2001:db8:0:0:0:0:0:1"),
        (Address::local("/x").unwrap(), "/x", "/x"),
        (Address::other(77, &[]).unwrap(), "<Family 77>", "<Family 77>"),
        (Address::local("\0n").unwrap(), "@n", "@n"),
    ];
    for (address, with, without) in cases {
        assert_eq!(address.network_text(false).to_string(), with);
        assert_eq!(address.network_text(true).to_string(), without);
    }
}

fn any_address() -> impl Strategy<Value = Address> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    prop_oneof![
        any::<SocketAddrV4>().prop_map(Address::V4),
        (any::<Ipv6Addr>(), any::<u16>()).prop_map(|(ip, port)| (IpAddr::V6(ip), port).into()),
        bytes(107).prop_map(|name| Address::Abstract(name.into())),
        bytes(107).prop_filter_map("no NUL", |path| Address::local(path).ok()),
        (100u16.., bytes(126)).prop_map(|(family, bytes)| Address::other(family, &bytes).unwrap()),
    ]
}

proptest! {
    #[test]
    fn whatever_is_an_address_survives_its_text(address in any_address()) {
        prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address.clone()));
        if let Some(vector) = address.to_vector() {
            let vector: Vec<i64> = vector.into_iter().map(i64::from).collect();
            prop_assert_eq!(Address::from_vector(&vector), Ok(address));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".*") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    }
}
