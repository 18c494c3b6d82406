//! The order of the addresses, and whole races on a clock that the test turns.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// `4a` and `6b` for addresses of both families, the letter in place of the host's number.
fn address(name: &str) -> Address {
    match *name.as_bytes() {
        [b'4', host] => v4(host),
        [b'6', host] => v6(host),
        _ => Address::local(name).unwrap(),
    }
}

/// One of the addresses of documentation.
fn v4(host: u8) -> Address {
    (IpAddr::from([192, 0, 2, host]), 7).into()
}

fn v6(host: u8) -> Address {
    (IpAddr::from([0x2001, 0xDB8, 0, 0, 0, 0, 0, u16::from(host)]), 7).into()
}

fn addresses(names: &str) -> Vec<Address> {
    names.split_whitespace().map(address).collect()
}

fn name(of: &Address) -> String {
    let ip = of.socket_addr().expect("an IP address").ip();
    let (family, host) = match ip {
        IpAddr::V4(v4) => ('4', v4.octets()[3]),
        IpAddr::V6(v6) => ('6', v6.octets()[15]),
    };
    format!("{family}{}", char::from(host))
}

#[test]
fn the_families_take_turns() {
    let cases = [
        ("", ""),
        ("4a", "4a"),
        ("6a 6b 6c", "6a 6b 6c"),
        ("6a 4b", "6a 4b"),
        ("4a 6b", "4a 6b"),
        ("6a 6b 4c 4d", "6a 4c 6b 4d"),
        ("6a 6b 6c 4d", "6a 4d 6b 6c"),
        ("4a 6b 6c 6d", "4a 6b 6c 6d"),
        ("4a 4b 4c 6d 6e", "4a 6d 4b 6e 4c"),
        ("6a 4b 4c 6d 6e 4f", "6a 4b 6d 4c 6e 4f"),
    ];
    for (given, expected) in cases {
        let order: Vec<String> = interleaved(addresses(given)).iter().map(name).collect();
        assert_eq!(order.join(" "), expected, "of {given}");
    }
    let three = vec![address("6a"), address("xa"), address("6b"), address("4c")];
    let order = [address("6a"), address("xa"), address("6b"), address("4c")];
    assert_eq!(interleaved(three), order, "all but the first family are one");
}

#[test]
fn a_delay_out_of_range_is_brought_into_it() {
    let cases = [(0, 10), (9, 10), (10, 10), (250, 250), (2000, 2000), (2001, 2000)];
    for (given, expected) in cases {
        let mut race = Race::new(addresses("4a 4b"), given * MS);
        let first = race.poll(Tick(5)).unwrap();
        race.began(0, first, Tick(5));
        assert_eq!(race.due(), Some(Tick(5).after(expected * MS)), "of {given} ms");
    }
}

#[test]
fn no_more_than_sixteen_are_under_way() {
    let many: Vec<Address> = (1..=20).map(v4).collect();
    let mut race = Race::new(many.clone(), ATTEMPT_DELAY_MIN);
    let mut now = Tick(0);
    for (key, expected) in many.iter().enumerate() {
        if key >= ATTEMPTS_MAX {
            now = now.after(Duration::from_secs(3600));
            assert_eq!((race.poll(now), race.due()), (None, None), "{key} are under way");
            assert_eq!(race.failed(key - ATTEMPTS_MAX).as_ref(), Some(&many[key - ATTEMPTS_MAX]));
        } else {
            now = race.due().unwrap();
        }
        assert_eq!(race.poll(now).as_ref(), Some(expected));
        race.began(key, expected.clone(), now);
    }
    assert_eq!(race.under_way().collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
}

#[test]
fn an_address_that_was_put_back_is_the_next_one_again() {
    let mut race = Race::new(addresses("4a 4b 4c"), ATTEMPT_DELAY);
    let first = race.poll(Tick(0)).unwrap();
    race.began('a', first, Tick(0));
    let later = Tick(0).after(ATTEMPT_DELAY);
    let second = race.poll(later).unwrap();
    race.put_back(second.clone(), later);
    assert_eq!((race.poll(later), race.due()), (None, Some(later.after(ATTEMPT_DELAY))));
    assert_eq!(race.failed('a'), Some(address("4a")));
    assert_eq!(race.poll(later), Some(second), "what it lacked may be there now");
}

#[test]
fn a_stranger_neither_fails_nor_wins() {
    let mut race = Race::new(addresses("4a 4b"), ATTEMPT_DELAY);
    let first = race.poll(Tick(0)).unwrap();
    race.began('a', first, Tick(0));
    assert_eq!((race.failed('b'), race.oldest()), (None, Some('a')));
    assert!(race.due() > Some(Tick(0)), "nobody has failed");
    assert_eq!(race.won('b'), None);
}

/// What becomes of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// There is not even a socket.
    Refused,
    Fails(u64),
    Connects(u64),
    Silent,
}

impl Fate {
    /// As tables write it: milliseconds, with `x` in front for a failure; `-` and `!` for the others.
    fn of(text: &str) -> Self {
        match text {
            "!" => Self::Refused,
            "-" => Self::Silent,
            _ => match text.strip_prefix('x') {
                Some(ms) => Self::Fails(ms.parse().unwrap()),
                None => Self::Connects(text.parse().unwrap()),
            },
        }
    }

    /// When, after so many milliseconds, and whether by a connection.
    fn end(self) -> Option<(u64, bool)> {
        match self {
            Self::Refused | Self::Silent => None,
            Self::Fails(after) => Some((after, false)),
            Self::Connects(after) => Some((after, true)),
        }
    }
}

/// What came of a race.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    /// Which address won, when, and which attempts were ended for it.
    Won(usize, u64, Vec<usize>),
    /// The last failure was that of this address, at that time.
    Lost(usize, u64),
    /// Nothing but silence is left.
    Silence,
}

/// Runs a race whose addresses are known by their place in `order`; returns when each was tried, in
/// milliseconds, and the end.
fn run(mut race: Race<usize>, order: &[Address], fates: &[Fate]) -> (Vec<(usize, u64)>, End) {
    let (mut tried, mut now, mut last) = (Vec::new(), 0, None);
    let tick = |ms: u64| Tick(0).after(Duration::from_millis(ms));
    let ms = |at: Tick| u64::try_from(at.since(Tick(0)).as_millis()).unwrap();
    loop {
        while let Some(address) = race.poll(tick(now)) {
            let place = order.iter().position(|other| *other == address).expect("it was given");
            tried.push((place, now));
            if fates[place] == Fate::Refused {
                last = Some((place, now));
            } else {
                race.began(place, address, tick(now));
            }
        }
        if race.is_lost() {
            let (place, at) = last.expect("an address was given");
            return (tried, End::Lost(place, at));
        }
        let ends = race.under_way().filter_map(|place| {
            let (after, wins) = fates[place].end()?;
            let began = tried.iter().find(|(other, _)| *other == place).expect("it was tried").1;
            Some((began + after, place, wins))
        });
        match (ends.min(), race.due().map(ms)) {
            // What the system tells goes before what time brings.
            (Some((at, place, wins)), due) if due.is_none_or(|due| at <= due) => {
                now = at;
                if wins {
                    let won = race.won(place).expect("it is under way");
                    assert_eq!(won.address, order[place]);
                    return (tried, End::Won(place, now, won.losers));
                }
                assert_eq!(race.failed(place).as_ref(), Some(&order[place]));
                last = Some((place, now));
            }
            (_, Some(due)) => now = due,
            (_, None) => return (tried, End::Silence),
        }
    }
}

/// What becomes of each address, when each is tried, and the end.
type Case = (&'static str, &'static [(usize, u64)], End);

#[test]
fn races_go_as_the_rfc_says() {
    use End::{Lost, Silence, Won};
    let cases: [Case; 12] = [
        ("7", &[(0, 0)], Won(0, 7, vec![])),
        ("x7", &[(0, 0)], Lost(0, 7)),
        ("!", &[(0, 0)], Lost(0, 0)),
        ("-", &[(0, 0)], Silence),
        ("249 1", &[(0, 0)], Won(0, 249, vec![])),
        ("- 30", &[(0, 0), (1, 250)], Won(1, 280, vec![0])),
        ("x5 30 9", &[(0, 0), (1, 5)], Won(1, 35, vec![])),
        ("! ! 4", &[(0, 0), (1, 0), (2, 0)], Won(2, 4, vec![])),
        ("600 - 400", &[(0, 0), (1, 250), (2, 500)], Won(0, 600, vec![1, 2])),
        ("- x20 - 1", &[(0, 0), (1, 250), (2, 270), (3, 520)], Won(3, 521, vec![0, 2])),
        ("x900 x1 !", &[(0, 0), (1, 250), (2, 251)], Lost(0, 900)),
        ("x300 x800 x10", &[(0, 0), (1, 250), (2, 300)], Lost(1, 1050)),
    ];
    for (fates, tried, end) in cases {
        let fates: Vec<Fate> = fates.split(' ').map(Fate::of).collect();
        let order: Vec<Address> = (1..).take(fates.len()).map(v4).collect();
        let race = Race::new(order.clone(), ATTEMPT_DELAY);
        assert_eq!(run(race, &order, &fates), (tried.to_vec(), end), "{fates:?}");
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::Refused),
        3 => (0..1_500_u64).prop_map(Fate::Fails),
        2 => (0..1_500_u64).prop_map(Fate::Connects),
        3 => Just(Fate::Silent),
    ]
}

proptest! {
    #[test]
    fn every_race_ends_and_tries_nobody_twice(
        hosts in prop::collection::vec((any::<bool>(), fate()), 1..40),
        delay in 10..2_000_u64,
    ) {
        let given: Vec<Address> = (1..).zip(&hosts).map(|(host, (six, _))| {
            if *six { v6(host) } else { v4(host) }
        }).collect();
        let fates: Vec<Fate> = hosts.iter().map(|(_, fate)| *fate).collect();
        let race = Race::new(given.clone(), Duration::from_millis(delay));
        let order = interleaved(given.clone());
        let (tried, end) = run(race, &given, &fates);

        // In the order of the RFC, so nobody twice.
        let expected = order.iter().take(tried.len());
        prop_assert!(tried.iter().map(|(place, _)| &given[*place]).eq(expected), "{tried:?}");

        // Each a delay after the one before, unless something had failed until then; what is refused
        // does not count.
        let failures: Vec<u64> = tried.iter().filter_map(|&(place, at)| match fates[place] {
            Fate::Refused => Some(at),
            Fate::Fails(after) => Some(at + after),
            Fate::Connects(_) | Fate::Silent => None,
        }).collect();
        for pair in tried.windows(2) {
            let (before, after) = (pair[0].1, pair[1].1);
            let early = failures.iter().any(|at| (before..=after).contains(at));
            prop_assert!(after >= before + delay || early, "{tried:?}");
            prop_assert!(after <= before + delay || failures.contains(&after), "{tried:?}");
        }

        // The first that connects wins; the others that have not failed are ended.
        let connected = tried.iter().filter_map(|&(place, at)| match fates[place] {
            Fate::Connects(after) => Some((at + after, place)),
            Fate::Refused | Fate::Fails(_) | Fate::Silent => None,
        });
        match end {
            End::Won(place, at, losers) => {
                prop_assert_eq!(connected.map(|(at, _)| at).min(), Some(at));
                let left = tried.iter().map(|(other, _)| *other).filter(|&other| {
                    let began = tried.iter().find(|(it, _)| *it == other).unwrap().1;
                    let failed = match fates[other] {
                        Fate::Refused => true,
                        // At the same time either may come first.
                        Fate::Fails(after) if began + after == at => !losers.contains(&other),
                        Fate::Fails(after) => began + after < at,
                        Fate::Connects(_) | Fate::Silent => false,
                    };
                    other != place && !failed
                });
                prop_assert_eq!(&losers, &left.collect::<Vec<_>>());
            }
            End::Lost(place, at) => {
                prop_assert_eq!(tried.len(), given.len(), "every address has its try");
                prop_assert_eq!(connected.count(), 0);
                prop_assert_eq!(failures.iter().max(), Some(&at));
                prop_assert!(matches!(fates[place], Fate::Fails(_) | Fate::Refused));
            }
            End::Silence => {
                let silent = |(place, _): &&(usize, u64)| fates[*place] == Fate::Silent;
                let silent = tried.iter().filter(silent).count();
                prop_assert!(silent > 0 && connected.count() == 0);
                prop_assert!(tried.len() == given.len() || silent == ATTEMPTS_MAX, "{tried:?}");
            }
        }
    }
}
