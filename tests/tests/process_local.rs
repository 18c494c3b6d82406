//! Local servers and their peers: the file of a server, what may be done with it and what must not,
//! descriptors nobody asked for, and who is at the other end.

use std::{
    fs, io,
    io::{IoSlice, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::Path,
    time::Duration,
};

use netproc::{
    Address, Credentials, CredentialsError, Family, Kind, Op, ServerBuilder, StartError, Status,
    Value,
};
use netproc_tests::{child, conformance, rig::Rig};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        socket::{
            AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr,
            connect, listen, sendmsg, socket,
        },
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid},
};

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Datagram, Kind::SeqPacket];

/// A local server of this kind at `path`.
fn server_at(rig: &Rig, kind: Kind, path: &Path) -> ServerBuilder {
    rig.server().family(Family::Local).kind(kind).service(path)
}

/// Whether a start was refused because the address is in use.
fn in_use<T: std::fmt::Debug>(made: Result<T, StartError>) -> bool {
    match made {
        Err(StartError::Sys { source, .. }) => source.errno == libc::EADDRINUSE,
        other => panic!("no refusal of the system: {other:?}"),
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

conformance!(on (poll epoll uring): a_socket_file_stays_unless_its_removal_was_asked_for, |rig| {
    let folder = tempfile::tempdir()?;
    for kind in KINDS {
        for (number, unlink) in [false, true].into_iter().enumerate() {
            let path = folder.path().join(format!("{kind:?} {number}"));
            let server = server_at(rig, kind, &path).unlink_on_delete(unlink).start()?;
            assert!(is_socket(&path));
            server.stop();
            server.delete();
            assert_eq!(path.exists(), !unlink, "{kind:?}");
            server.delete();
        }
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_file_that_another_has_put_there_is_not_removed, |rig| {
    let folder = tempfile::tempdir()?;
    for kind in KINDS {
        let path = folder.path().join(format!("{kind:?}"));
        let first = server_at(rig, kind, &path).unlink_on_delete(true).start()?;
        fs::remove_file(&path)?;
        first.delete();
        rig.settle();
        assert!(!path.exists(), "removed before: nothing to do");

        let first = server_at(rig, kind, &path).unlink_on_delete(true).start()?;
        fs::remove_file(&path)?;
        // Its inode may not get the number of the first, which is held.
        let second = server_at(rig, kind, &path).unlink_on_delete(true).start()?;
        first.delete();
        rig.settle();
        assert!(is_socket(&path), "{kind:?}: the second server's");
        let client = rig.client(&second).kind(kind).start()?;
        client.send("x")?;
        rig.until("it", || rig.log.lines().iter().any(|line| line.contains("\"x\"")));
        rig.log.clear();
        second.delete();
        assert!(!path.exists());

        let third = server_at(rig, kind, &path).unlink_on_delete(true).start()?;
        fs::remove_file(&path)?;
        fs::write(&path, "mine")?;
        third.delete();
        assert_eq!(fs::read(&path)?, b"mine");
        fs::remove_file(&path)?;
    }
    Ok(())
});

conformance!(alone on (poll epoll uring): a_forked_child_leaves_its_parents_file, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    let server = server_at(rig, Kind::Stream, &path).unlink_on_delete(true).start()?;
    child::join(child::fork(|| server.delete())?)?;
    assert!(is_socket(&path));
    rig.connect(&server)?;
    server.delete();
    assert!(!path.exists());
    Ok(())
});

conformance!(on (poll epoll uring): connections_outlive_the_file_of_their_server, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    let server = server_at(rig, Kind::Stream, &path).unlink_on_delete(true).filter(netproc::Process::send);
    let server = server.start()?;
    let client = rig.connect(&server)?;
    let child = rig.child(&server);
    fs::rename(&path, folder.path().join("moved"))?;
    server.delete();
    assert!(is_socket(&folder.path().join("moved")), "looked for under its own name only");
    client.send("x")?;
    rig.until_bytes(&client, b"x");
    child.delete();
    assert!(is_socket(&folder.path().join("moved")), "a connection has no file");
    Ok(())
});

conformance!(on (poll epoll uring): a_stale_file_is_in_use_unless_it_may_be_replaced, |rig| {
    let folder = tempfile::tempdir()?;
    for kind in KINDS {
        let path = folder.path().join(format!("{kind:?}"));
        server_at(rig, kind, &path).start()?.delete();
        let sockets = || rig.rt.stats().sockets;
        rig.until("its socket closed", || sockets() == 0);
        assert!(is_socket(&path), "left behind");
        assert!(in_use(server_at(rig, kind, &path).start()));
        let server = server_at(rig, kind, &path).replace_stale(true).start()?;
        let client = rig.client(&server).kind(kind).start()?;
        client.send("x")?;
        rig.until("it", || rig.log.lines().iter().any(|line| line.contains("\"x\"")));
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.until("every socket closed", || sockets() == 0);
        rig.log.clear();
        // Nothing there at all is no reason to fail.
        fs::remove_file(&path)?;
        server_at(rig, kind, &path).replace_stale(true).start()?.delete();
        rig.until("its socket closed", || sockets() == 0);
    }
    Ok(())
});

conformance!(on (poll epoll uring): a_live_server_is_never_replaced, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    for kind in KINDS {
        let live = server_at(rig, kind, &path).backlog(0).start()?;
        live.stop();
        let inode = fs::symlink_metadata(&path)?.ino();
        // One after the other fills its backlog; whoever finds it full is answered with a wait.
        for other in KINDS.into_iter().chain(KINDS) {
            let second = server_at(rig, other, &path).replace_stale(true).unlink_on_delete(true);
            assert!(in_use(second.start()), "{other:?} over {kind:?}");
        }
        assert_eq!(fs::symlink_metadata(&path)?.ino(), inode);
        live.resume();
        rig.settle();
        let client = rig.client(&live).kind(kind).start()?;
        client.send("x")?;
        rig.until("it", || rig.log.lines().iter().any(|line| line.contains("\"x\"")));
        rig.log.clear();
        for process in rig.rt.process_list() {
            process.delete();
        }
        rig.until("every socket closed", || rig.rt.stats().sockets == 0);
        fs::remove_file(&path)?;
    }
    // The same for servers of others.
    let listener = UnixListener::bind(&path)?;
    assert!(in_use(server_at(rig, Kind::Stream, &path).replace_stale(true).start()));
    drop(listener);
    fs::remove_file(&path)?;
    let packets = UnixDatagram::bind(&path)?;
    assert!(in_use(server_at(rig, Kind::Datagram, &path).replace_stale(true).start()));
    drop(packets);
    let server = server_at(rig, Kind::Stream, &path).replace_stale(true).start()?;
    assert_eq!(server.status(), Status::Listen, "a stale one of another kind");
    Ok(())
});

conformance!(on (poll epoll uring): what_is_no_socket_is_never_replaced, |rig| {
    let folder = tempfile::tempdir()?;
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "mine")?;
    std::os::unix::fs::symlink(&file, &link)?;
    for path in [folder.path(), &file, &link] {
        for kind in KINDS {
            assert!(in_use(server_at(rig, kind, path).replace_stale(true).start()), "{path:?}");
        }
    }
    assert_eq!(fs::read(&link)?, b"mine");
    Ok(())
});

conformance!(on (poll epoll uring): servers_that_replace_wait_for_no_one_and_lose_to_the_first, |rig| {
    // Whoever holds the turn is about to bind: the others are told that the address is in use.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path)?);
    let turn = fs::File::create(folder.path().join(".s.netproc"))?;
    let turn = nix::fcntl::Flock::lock(turn, nix::fcntl::FlockArg::LockExclusive);
    let turn = turn.map_err(|(_, err)| err)?;
    assert!(in_use(server_at(rig, Kind::Stream, &path).replace_stale(true).start()));
    assert!(path.exists(), "what is stale stays");
    drop(turn);
    let server = server_at(rig, Kind::Stream, &path).replace_stale(true).start()?;
    // The turn ends with the start, not with the server.
    let other = folder.path().join("other");
    server_at(rig, Kind::Stream, &other).replace_stale(true).start()?;
    assert_eq!(server.status(), Status::Listen);
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let mut left = fs::read_dir(folder.path())?;
    assert!(!left.any(|file| hidden(&file.expect("a file").file_name())), "a turn leaves no file");
    Ok(())
});

conformance!(on (poll epoll uring): an_opening_that_fails_leaves_no_file_of_its_own, |rig| {
    let folder = tempfile::tempdir()?;
    let [own, nobody] = ["own", "nobody"].map(|name| folder.path().join(name));
    let at = |path: &Path| Address::local(path.as_os_str().as_encoded_bytes());
    for kind in KINDS {
        for _ in 0..2 {
            let client = rig.rt.client("c").kind(kind).local(at(&own)?).remote(at(&nobody)?);
            let client = client.family(Family::Local).connected(true);
            let source = match client.start() {
                Err(StartError::Sys { source, .. }) => source,
                other => panic!("no refusal of the system: {other:?}"),
            };
            assert_eq!((source.op, source.errno), (Op::Connect, libc::ENOENT), "{kind:?}");
            assert!(!own.exists(), "{kind:?}");
        }
    }
    Ok(())
});

conformance!(alone on (poll epoll uring): a_socket_file_is_made_with_its_mode_whatever_the_umask, |rig| {
    let folder = tempfile::tempdir()?;
    let mode_of = |path: &Path| fs::metadata(path).map(|file| file.permissions().mode() & 0o777);
    for mask in [0o000, 0o022, 0o777] {
        let before = umask(Mode::from_bits_truncate(mask));
        for kind in KINDS {
            for mode in [0o600, 0o666, 0o777, 0o000] {
                let path = folder.path().join(format!("{kind:?} {mask:o} {mode:o}"));
                let server = server_at(rig, kind, &path).mode(mode).start()?;
                assert_eq!(mode_of(&path)?, mode, "{kind:?}, umask {mask:o}");
                server.delete();
            }
            let path = folder.path().join(format!("{kind:?} {mask:o}"));
            server_at(rig, kind, &path).start()?;
            assert_eq!(mode_of(&path)?, 0o777 & !mask, "unasked, as the system makes it");
        }
        umask(before);
    }
    Ok(())
});

conformance!(choices_about_a_file_want_one, |rig| {
    let folder = tempfile::tempdir()?;
    let hidden = || Address::local(format!("\0netproc-file-{}", std::process::id()));
    let places: [fn(ServerBuilder) -> ServerBuilder; 3] = [
        |server| server.mode(0o600),
        |server| server.replace_stale(true),
        |server| server.unlink_on_delete(true),
    ];
    for choose in places {
        for server in [rig.server(), rig.server().datagram(), rig.server().local(hidden()?)] {
            let refused = choose(server).start();
            assert!(matches!(refused, Err(StartError::Incompatible(_))), "{refused:?}");
        }
        let unnamed = choose(rig.server().local(Address::unnamed())).start();
        assert!(matches!(unnamed, Err(StartError::Incompatible(_))), "{unnamed:?}");
    }
    let too_much = server_at(rig, Kind::Stream, &folder.path().join("s")).mode(0o1000).start();
    assert!(matches!(too_much, Err(StartError::Incompatible(_))), "{too_much:?}");
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

/// A socket of the system connected to `path`.
fn connected(kind: Kind, path: &Path) -> nix::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SockType::Stream,
        Kind::Datagram => SockType::Datagram,
        Kind::SeqPacket => SockType::SeqPacket,
    };
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

conformance!(alone on (poll epoll uring): descriptors_that_a_peer_passes_are_closed_at_once, |rig| {
    let folder = tempfile::tempdir()?;
    for kind in KINDS {
        let path = folder.path().join(format!("{kind:?}"));
        let _server = server_at(rig, kind, &path).start()?;
        let peer = connected(kind, &path)?;
        rig.settle();
        for count in [0, 1, 2, 4, 100] {
            let (reading, writing) = io::pipe()?;
            let before = child::descriptors()?;
            let passed = vec![writing.as_raw_fd(); count];
            let rights = [ControlMessage::ScmRights(&passed)];
            let text = format!("with {count};");
            let parts = [IoSlice::new(text.as_bytes())];
            let rights = if count == 0 { &[][..] } else { &rights };
            sendmsg::<()>(peer.as_raw_fd(), &parts, rights, MsgFlags::empty(), None)?;
            rig.until("the bytes", || rig.log.lines().join(" ").contains(&text));
            assert_eq!(child::descriptors()?, before, "{kind:?}, {count}");
            drop(writing);
            let mut end = [PollFd::new(reading.as_fd(), PollFlags::POLLIN)];
            nix::poll::poll(&mut end, PollTimeout::ZERO)?;
            assert_eq!(end[0].revents(), Some(PollFlags::POLLHUP), "nobody holds the other end");
        }
        rig.log.clear();
    }
    Ok(())
});

// Each read of the kernel's ends with the bytes that a descriptor came with, whatever is behind them.
conformance!(alone on (poll epoll uring): bytes_behind_a_passed_descriptor_do_not_wait_for_more, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    let server = server_at(rig, Kind::Stream, &path).start()?;
    let peer = connected(Kind::Stream, &path)?;
    let child = rig.child(&server);
    let (_reading, writing) = io::pipe()?;
    let passed = [writing.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&passed)];
    for round in 0..3 {
        // All of it is there before anybody reads, then it comes to one who waits.
        for text in ["one ", "two ", "three "] {
            sendmsg::<()>(peer.as_raw_fd(), &[IoSlice::new(text.as_bytes())], &rights, MsgFlags::empty(), None)?;
        }
        sendmsg::<()>(peer.as_raw_fd(), &[IoSlice::new(b"four.")], &[], MsgFlags::empty(), None)?;
        rig.until_bytes(&child, "one two three four.".repeat(round + 1).as_bytes());
    }
    Ok(())
});

/// Who this test is, as its peers on this machine see it.
fn ourselves(rig: &Rig) -> Credentials {
    if rig.subject.is_real() {
        let pid = i32::try_from(std::process::id()).expect("a process number");
        Credentials {
            pid: Some(pid),
            uid: Uid::effective().as_raw(),
            gid: Gid::effective().as_raw(),
        }
    } else {
        Credentials { pid: Some(1), uid: 0, gid: 0 }
    }
}

#[cfg(target_os = "linux")]
conformance!(both_ends_of_a_local_connection_know_who_the_other_is, |rig| {
    let folder = tempfile::tempdir()?;
    for kind in [Kind::Stream, Kind::SeqPacket] {
        let path = folder.path().join(format!("{kind:?}"));
        let server = server_at(rig, kind, &path).start()?;
        let client = rig.client(&server).kind(kind).nowait(true).start()?;
        assert_eq!(client.peer_credentials(), Err(CredentialsError::NotOpen(Status::Connect)));
        let child = rig.child(&server);
        rig.until("it open", || client.status() == Status::Open);
        for process in [&child, &client] {
            let key = || process.contact().get(":peer-credentials");
            assert_eq!((process.contact().peer_credentials(), key()), (None, None), "unasked");
            let who = process.peer_credentials()?;
            assert_eq!(who, ourselves(rig));
            assert_eq!(process.contact().peer_credentials(), Some(who));
            let list = [i64::from(who.pid.ok_or("a number")?), who.uid.into(), who.gid.into()];
            assert_eq!(key(), Some(Value::List(list.map(Value::from).into())));
        }
        let other = rig.client(&server).kind(kind).start()?;
        client.delete();
        other.delete();
        rig.until("their ends", || rig.children(&server) == 0);
        assert_eq!(child.peer_credentials(), Ok(ourselves(rig)), "kept after the end");
        assert_eq!(client.peer_credentials(), Ok(ourselves(rig)));
        let unasked = Err(CredentialsError::NotOpen(Status::Closed));
        assert_eq!(other.peer_credentials(), unasked);
        assert_eq!(server.peer_credentials(), Err(CredentialsError::NotLocal));
    }
    Ok(())
});

conformance!(only_local_connections_have_credentials, |rig| {
    let folder = tempfile::tempdir()?;
    let (server, client, child) = rig.pair()?;
    let packets = server_at(rig, Kind::Datagram, &folder.path().join("s")).start()?;
    let sender = rig.client(&packets).datagram().start()?;
    for process in [&server, &client, &child, &packets, &sender] {
        let why = format!("{process:?}");
        assert_eq!(process.peer_credentials(), Err(CredentialsError::NotLocal), "{why}");
    }
    Ok(())
});

#[cfg(target_os = "linux")]
conformance!(alone on (poll epoll uring): a_peer_that_has_exited_is_still_known, |rig| {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    let server = server_at(rig, Kind::Stream, &path).start()?;
    let caller = child::fork(|| {
        let mut stream = UnixStream::connect(&path).expect("the server listens");
        stream.write_all(b"x").expect("there is room");
    })?;
    child::join(caller)?;
    // Accepted only now; the filter runs before the end is told.
    let asked = std::rc::Rc::new(std::cell::Cell::new(None));
    let seen = std::rc::Rc::clone(&asked);
    server.set_filter(move |process, _| seen.set(Some(process.peer_credentials())));
    rig.until("its word", || asked.get().is_some());
    let who = asked.get().ok_or("asked")??;
    assert_eq!(who, Credentials { pid: Some(caller.as_raw()), ..ourselves(rig) });
    Ok(())
});

conformance!(on (poll epoll uring): a_start_that_is_given_up_leaves_no_file, |rig| {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let full = UnixListener::bind(at("full"))?;
    listen(&full, Backlog::new(0)?)?;
    // The one place there is.
    let _first = UnixStream::connect(at("full"))?;
    let path = |name| Address::local(at(name).into_os_string().into_encoded_bytes());
    let client = rig.rt.client("c").local(path("ours")?).remote(path("full")?);
    let client = client.within(Duration::from_millis(50));
    assert!(matches!(client.start(), Err(StartError::TimedOut { .. })));
    assert!(!at("ours").exists());
    Ok(())
});
