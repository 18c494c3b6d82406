//! Bad input to the typed interface: the catalogue of faults, section 2, as far as types let it be
//! written down.
//!
//! Each row has its number, what is asked, and the typed error; refused means nothing opened and no
//! process more or less. Sizes, times and calls on processes are in `process_bad_calls.rs`; the dynamic
//! front has its own rows, in Emacs's words, in `emacs_bad_input.rs` and `emacs_bad_calls.rs`. Streams
//! that say something or are encrypted are in `process_bad_streams.rs`, `emacs_bad_streams.rs` and
//! `emacs_bad_tls.rs`. The last test here counts that no row of the catalogue is missing in the seven.

use std::{collections::BTreeSet, fs};

use netproc::{
    Address, AddressError, CodingError, Config, Family, HostProblem, Kind, OptionError, Process,
    Runtime, Service, ServiceProblem, StartError, Status,
};
use netproc_tests::{
    conformance,
    rig::{Outcome, Rig, Subject},
};

type Start = fn(&Runtime) -> Result<Process, StartError>;

/// A start that is refused.
struct Row {
    number: u8,
    start: Start,
    is: fn(&StartError) -> bool,
    error: &'static str,
}

macro_rules! row {
    ($number:literal, $start:expr, $error:pat) => {
        Row {
            number: $number,
            start: $start,
            is: |err| matches!(err, $error),
            error: stringify!($error),
        }
    };
}

fn refuse(rig: &Rig, rows: &[Row]) -> Outcome {
    let state = || (rig.rt.stats().sockets, rig.rt.process_list());
    for Row { number, start, is, error } in rows {
        let before = state();
        match start(&rig.rt) {
            Ok(made) => return Err(format!("row {number}: {error}: made {made:?}").into()),
            Err(refused) => assert!(is(&refused), "row {number}: {refused:?} is not {error}"),
        }
        rig.until("its sockets closed", || rig.rt.stats().sockets == before.0);
        assert_eq!(state(), before, "row {number}: {error}");
    }
    Ok(())
}

conformance!(services_and_hosts_are_refused, |rig| {
    use StartError::Service as Bad;
    use StartError::{Host, Incompatible, Lookup, MissingService};
    refuse(
        rig,
        &[
            row!(11, |rt| rt.client("x").host("127.0.0.1").start(), MissingService(_)),
            row!(
                12,
                |rt| rt.client("x").host("127.0.0.1").service(Service::Any).start(),
                Bad { problem: ServiceProblem::NeedsPort, .. }
            ),
            row!(
                13,
                |rt| rt.client("x").service(0).start(),
                Bad { problem: ServiceProblem::NeedsPort, .. }
            ),
            row!(
                21,
                |rt| rt.server("x").service("").start(),
                Bad { problem: ServiceProblem::Empty, .. }
            ),
            row!(
                23,
                |rt| rt.client("x").service("65536").start(),
                Bad { problem: ServiceProblem::OutOfRange, .. }
            ),
            row!(
                24,
                |rt| rt.client("x").service("no-such-service").start(),
                Bad { problem: ServiceProblem::Unknown, .. }
            ),
            row!(
                25,
                |rt| rt.client("x").service("80\0").start(),
                Bad { problem: ServiceProblem::Nul, .. }
            ),
            row!(
                29,
                |rt| rt.client("x").service(1).host("local\0host").start(),
                Host { problem: HostProblem::Nul, .. }
            ),
            row!(
                30,
                |rt| rt.client("x").service(1).host("256.1.1.1").start(),
                Host { problem: HostProblem::ShortForm, .. }
            ),
            row!(
                31,
                |rt| rt.server("x").host("127.1").start(),
                Host { problem: HostProblem::ShortForm, .. }
            ),
            row!(
                31,
                |rt| rt.server("x").host("0x7f.1").start(),
                Host { problem: HostProblem::ShortForm, .. }
            ),
            row!(
                31,
                |rt| rt.server("x").host("0177.0.0.1").start(),
                Host { problem: HostProblem::ShortForm, .. }
            ),
            row!(
                33,
                |rt| rt.server("x").host("::1").family(Family::Ipv4).start(),
                Host { problem: HostProblem::Family, .. }
            ),
            // DIFFERENCE: a process that fails in Emacs; see the front's row.
            row!(
                38,
                |rt| {
                    let client = rt.client("x").host("256.1.1.1").service(1);
                    client.short_hosts(true).nowait(true).start()
                },
                Lookup { .. }
            ),
            row!(
                40,
                |rt| rt.server("x").host("127.0.0.1").family(Family::Other(77)).start(),
                Lookup { .. }
            ),
            row!(42, |rt| rt.server("x").kind(Kind::SeqPacket).start(), Incompatible(_)),
        ],
    )
});

conformance!(addresses_paths_and_options_are_refused, |rig| {
    use StartError::Service as BadService;
    use StartError::{Address as Bad, Coding, Option as Opt, Sys};
    refuse(
        rig,
        &[
            row!(
                52,
                |rt| rt.client("x").remote(Address::other(77, &[1, 2, 3])?).start(),
                Sys { .. }
            ),
            row!(
                56,
                |rt| rt.client("x").remote("[0 0 0 0 0]".parse::<Address>()?).start(),
                BadService { problem: ServiceProblem::NeedsPort, .. }
            ),
            row!(
                66,
                |rt| rt.client("x").family(Family::Local).start(),
                StartError::MissingService(_)
            ),
            row!(
                67,
                |rt| rt.server("x").family(Family::Local).service("p".repeat(108)).start(),
                Bad(AddressError::PathTooLong(108))
            ),
            row!(
                69,
                |rt| rt.server("x").family(Family::Local).service("").start(),
                BadService { problem: ServiceProblem::NeedsPath, .. }
            ),
            row!(
                69,
                |rt| rt.server("x").local(Address::unnamed()).start(),
                BadService { problem: ServiceProblem::NeedsPath, .. }
            ),
            row!(
                70,
                |rt| rt.server("x").family(Family::Local).service("a\0b").start(),
                Bad(AddressError::Nul(1))
            ),
            row!(
                77,
                |rt| rt.server("x").coding("no-such-coding").start(),
                Coding(CodingError::Unknown(_))
            ),
            row!(
                77,
                |rt| rt.server("x").coding("(utf-8 . no-such-coding)").start(),
                Coding(CodingError::Unknown(_))
            ),
            row!(
                88,
                |rt| rt.server("x").bindtodevice("d".repeat(100)).start(),
                Opt(OptionError::DeviceName(100))
            ),
            row!(
                88,
                |rt| rt.server("x").bindtodevice("lo\0").start(),
                Opt(OptionError::Kind { option: ":bindtodevice", .. })
            ),
        ],
    )
});

#[test]
fn rows_46_to_55_vectors_say_which_element_is_wrong() {
    use AddressError::{Element, KnownFamily, Length, Port, TooManyBytes};
    let long = format!("(77 . [{}])", ["1"; 200].join(" "));
    let cases: [(u8, &str, AddressError); 16] = [
        (46, "[]", Length(0)),
        (47, "[1 2 3]", Length(3)),
        (47, "[127 0 0 1]", Length(4)),
        (47, "[1 2 3 4 5 6]", Length(6)),
        (47, "[1 2 3 4 5 6 7]", Length(7)),
        (47, "[1 2 3 4 5 6 7 8]", Length(8)),
        (47, "[1 2 3 4 5 6 7 8 9 10]", Length(10)),
        (48, "[127 0 0 256 9]", Element { index: 3, value: 256, max: 255 }),
        (48, "[127 0 0 -1 9]", Element { index: 3, value: -1, max: 255 }),
        (49, "[127 0 0 1 65536]", Port(65_536)),
        (49, "[127 0 0 1 -1]", Port(-1)),
        (50, "[0 0 0 0 0 0 0 65536 9]", Element { index: 7, value: 65_536, max: 65_535 }),
        (53, "(2 . [0 9 127 0 0 1 0 0 0 0 0 0 0 0])", KnownFamily(2)),
        (54, "(77 . [256])", Element { index: 0, value: 256, max: 255 }),
        (54, "(77 . [-1])", Element { index: 0, value: -1, max: 255 }),
        (55, &long, TooManyBytes(200)),
    ];
    for (number, text, error) in cases {
        assert_eq!(text.parse::<Address>(), Err(error), "row {number}: {text:.40}");
    }
    for text in ["(127 0 0 1 9)", "127"] {
        let refused = text.parse::<Address>();
        assert!(matches!(refused, Err(AddressError::Syntax { .. })), "row 51: {text}");
    }
}

/// Their cases stand beside the parsers; here only that each input of the catalogue does.
#[test]
fn rows_57_79_inputs_of_the_parsers_are_tested_beside_them() {
    let addresses = [
        "\"[127 0 0 1 80\"",
        "\"[127,0,0,1,80]\"",
        "\"[127 0 0 1 80]x\"",
        "\"[+1 0 0 1 80]\"",
        "\"[1e2 0 0 1 80]\"",
        "\"[\\u{663} 0 0 1 80]\"",
    ];
    let labels = [
        "\"utf-8\\0\"",
        "repeat(1 << 20)",
        "\"UTF-8\"",
        "\"-with-signature\"",
        "\"utf-8-unix-dos\"",
    ];
    let beside: [(&str, &[&str]); 2] = [
        (include_str!("../../core/src/address/tests.rs"), &addresses),
        (include_str!("../../core/src/coding/tests/units.rs"), &labels),
    ];
    for (tests, inputs) in beside {
        for input in inputs {
            assert!(tests.contains(input), "{input}");
        }
    }
}

/// Names are unique at the cost of one step each; `core/src/table.rs` counts the steps of 100,000.
#[test]
fn row_7_the_same_name_again_and_again() -> Outcome {
    let Some(rt) = Subject::Sim.runtime(Config::default()) else { return Ok(()) };
    for number in 0..2_000 {
        let server = rt.server("same").start()?;
        let expected = if number == 0 { "same".into() } else { format!("same<{number}>") };
        assert_eq!(*server.name(), *expected);
    }
    assert_eq!(rt.process_list().len(), 2_000);
    Ok(())
}

conformance!(row_65_an_address_in_use_is_named, |rig| {
    let first = rig.rt.server("first").start()?;
    let taken = first.contact().local().clone();
    let refused = rig.rt.server("second").local(taken.clone()).start();
    let Err(StartError::Sys { address, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(address, Some(taken));
    assert_eq!((rig.rt.process_list(), first.status()), (vec![first.clone()], Status::Listen));
    Ok(())
});

conformance!(on (poll epoll uring): row_68_a_path_of_107_bytes_listens, |rig| {
    let folder = tempfile::tempdir()?;
    let begin = format!("{}/", folder.path().display());
    let path = format!("{begin}{}", "p".repeat(107 - begin.len()));
    let server = rig.rt.server("s").family(Family::Local).service(path.as_str()).start()?;
    assert!(fs::symlink_metadata(&path).is_ok());
    assert_eq!(rig.connect(&server)?.status(), Status::Open);
    Ok(())
});

// What somebody else has put there stays, also where a stale socket may be replaced.
conformance!(on (poll epoll uring): row_73_what_is_no_socket_is_never_removed, |rig| {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    fs::write(&file, "kept")?;
    for path in [folder.path(), &file] {
        for replace in [false, true] {
            let server = rig.rt.server("s").family(Family::Local).service(path);
            let refused = server.replace_stale(replace).unlink_on_delete(replace).start();
            assert!(matches!(refused, Err(StartError::Sys { .. })), "{path:?}: {refused:?}");
        }
        let refused = rig.rt.client("c").family(Family::Local).service(path).start();
        assert!(matches!(refused, Err(StartError::Sys { .. })), "{path:?}: {refused:?}");
    }
    assert_eq!((fs::read(&file)?, rig.rt.process_list()), (b"kept".to_vec(), vec![]));
    Ok(())
});

conformance!(on (poll epoll uring): row_74_paths_are_used_as_given, |rig| {
    // In the folder of the test's own program, which is where relative paths begin.
    let here = std::env::current_dir()?;
    let folder = tempfile::tempdir_in(&here)?;
    let name = folder.path().strip_prefix(&here)?.display().to_string();
    for path in [format!("{name}/s"), format!("{name}/../{name}/t"), format!("./{name}/~")] {
        let server = rig.rt.server("s").family(Family::Local).service(path.as_str()).start()?;
        assert_eq!(*server.contact().local(), Address::local(&path)?);
        assert!(fs::symlink_metadata(here.join(&path)).is_ok(), "{path}");
        assert_eq!(rig.connect(&server)?.status(), Status::Open, "{path}");
    }
    assert_eq!(fs::read_dir(folder.path())?.count(), 3, "the last one is named ~");
    let home = rig.rt.client("c").family(Family::Local).service("~/netproc-no-such-file").start();
    let Err(StartError::Sys { address, .. }) = home else { panic!("{home:?}") };
    assert_eq!(address, Some(Address::local("~/netproc-no-such-file")?));
    Ok(())
});

conformance!(on (poll epoll uring): row_76_links_are_followed_by_clients_and_kept_by_servers, |rig| {
    let folder = tempfile::tempdir()?;
    let (socket, link) = (folder.path().join("socket"), folder.path().join("link"));
    let server = rig.rt.server("s").family(Family::Local).service(&*socket).start()?;
    std::os::unix::fs::symlink(&socket, &link)?;
    let client = rig.rt.client("c").family(Family::Local).service(&*link).start()?;
    assert_eq!(client.status(), Status::Open);
    let kept = || fs::symlink_metadata(&link).is_ok_and(|it| it.file_type().is_symlink());
    let other = |rt: &Runtime| {
        let other = rt.server("other").family(Family::Local).service(&*link);
        other.replace_stale(true).unlink_on_delete(true).start()
    };
    let live = other(&rig.rt);
    assert!(matches!(live, Err(StartError::Sys { .. })) && kept(), "{live:?}");
    server.delete();
    rig.settle();
    let stale = other(&rig.rt);
    assert!(matches!(stale, Err(StartError::Sys { .. })) && kept(), "{stale:?}");
    assert!(fs::symlink_metadata(&socket).is_ok(), "nor is what it leads to");
    Ok(())
});

conformance!(row_83_a_backlog_of_any_size_listens, |rig| {
    for backlog in [0, 1, u32::MAX] {
        let server = rig.server().backlog(backlog).start()?;
        assert_eq!(rig.connect(&server)?.status(), Status::Open, "{backlog}");
    }
    Ok(())
});

// Which priorities there are is the system's business, and depends on who asks.
conformance!(row_86_a_priority_is_taken_or_the_systems_refusal_passed_on, |rig| {
    for priority in [-1, 99_999] {
        let before = rig.rt.process_list().len();
        match rig.rt.server("s").priority(priority).start() {
            Ok(server) => server.delete(),
            Err(StartError::Sys { source, .. }) => assert_eq!(source.op, netproc::Op::Option),
            Err(other) => panic!("{priority}: {other:?}"),
        }
        assert_eq!(rig.rt.process_list().len(), before, "{priority}");
    }
    Ok(())
});

/// The numbers in `row!(N, …` and in the names of tests: `row_N_…`, `rows_N_M_…`, `rows_N_to_M_…`.
fn rows_in(source: &str, rows: &mut BTreeSet<u8>) {
    let mut add = |text: &str| {
        let mut last = 0;
        let mut through = false;
        for word in text.split('_') {
            match word.parse::<u8>() {
                Ok(number) if through => rows.extend(last..=number),
                Ok(number) => {
                    rows.insert(number);
                    last = number;
                }
                Err(_) if word == "to" && last > 0 => {
                    through = true;
                    continue;
                }
                Err(_) => return,
            }
            through = false;
        }
    };
    for begin in ["row!(", "row_", "rows_"] {
        for (at, _) in source.match_indices(begin) {
            let rest = source[at + begin.len()..].trim_start();
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            add(&rest[..end.unwrap_or(rest.len())]);
        }
    }
}

#[test]
fn every_row_of_the_catalogue_is_tested() {
    let mut rows = BTreeSet::new();
    let sources = [
        include_str!("emacs_bad_input.rs"),
        include_str!("emacs_bad_calls.rs"),
        include_str!("emacs_bad_streams.rs"),
        include_str!("emacs_bad_tls.rs"),
        include_str!("process_bad_input.rs"),
        include_str!("process_bad_calls.rs"),
        include_str!("process_bad_streams.rs"),
    ];
    for source in sources {
        rows_in(source, &mut rows);
    }
    let missing: Vec<u8> = (1..=120).filter(|row| !rows.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a test: {missing:?}");
    // It can fail.
    let mut few = BTreeSet::new();
    rows_in("row!( 207, x) fn rows_203_to_205_a_209_b() row_211_x 212", &mut few);
    assert_eq!(few.into_iter().collect::<Vec<_>>(), [203, 204, 205, 207, 211]);
}
