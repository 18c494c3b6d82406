//! Which backend a runtime gets: by the environment, by what the kernel allows, and why.
//!
//! Each test runs in a process of its own, since environment, limits and forbidden system calls
//! belong to a whole process.
#![cfg(target_os = "linux")]

use std::process::Command;

use netproc::{Backend, BackendError, Error, Event, Mechanism, Runtime};
use netproc_tests::{
    child::alone,
    rig::{Outcome, PATIENCE, without_uring},
    seccomp::{IO_URING, forbid},
};
use nix::sys::resource::{Resource, setrlimit};

/// What decides where the program leaves the choice open.
const OVERRIDE: &str = "NETPROC_BACKEND";
/// Names the test that shall run in the process started for it.
const MARK: &str = "NETPROC_TEST_WITH_ENVIRONMENT";

/// The path of a test of this file, as [`alone`] wants it.
fn path(name: &str) -> String {
    format!("{}::{name}", module_path!())
}

/// Runs `body` in a process whose environment has this override, or none.
fn with_override(name: &str, value: Option<&str>, body: impl FnOnce() -> Outcome) -> Outcome {
    let mark = format!("{name} {value:?}");
    if let Some(found) = std::env::var_os(MARK) {
        // Another value's turn passes by in silence: this process was started for one only.
        return if found == *mark { body() } else { Ok(()) };
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, &mark);
    match value {
        Some(value) => command.env(OVERRIDE, value),
        None => command.env_remove(OVERRIDE),
    };
    let run = command.output()?;
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && out.contains("1 passed"), "{mark}: {out}{err}");
    Ok(())
}

/// Runs `body` alone, in a process whose environment leaves the choice open.
fn undecided(name: &str, body: impl FnOnce() -> Outcome) -> Outcome {
    with_override(name, None, || alone(&path(name), body))
}

/// An echo that goes once around: the backend does work.
fn works(rt: &Runtime) -> Outcome {
    let echo = rt.server("echo").filter(netproc::Process::send).sentinel(|_, _| ()).start()?;
    let client = rt.client("client").remote(echo.contact().local().clone()).start()?;
    client.send("hello")?;
    let event = rt.next_event_of(&client, PATIENCE)?;
    assert!(matches!(event, Some(Event::Input(input)) if *input == *b"hello"));
    Ok(())
}

#[test]
fn the_environment_decides_where_the_program_does_not() -> Outcome {
    let name = "the_environment_decides_where_the_program_does_not";
    for (value, chosen) in [("epoll", "epoll"), ("poll", "poll"), ("uring", "io_uring")] {
        if chosen == "io_uring" && without_uring() {
            continue;
        }
        with_override(name, Some(value), || {
            let rt = Runtime::new()?;
            assert_eq!(rt.backend().name(), chosen);
            assert_eq!(rt.backend().reason(), format!("{OVERRIDE}={value}"));
            works(&rt)
        })?;
    }
    Ok(())
}

#[test]
fn the_program_decides_over_the_environment() -> Outcome {
    with_override("the_program_decides_over_the_environment", Some("epoll"), || {
        let rt = Runtime::builder().backend(Backend::Mechanism(Mechanism::Poll)).build()?;
        assert_eq!(rt.backend().to_string(), "poll");
        assert_eq!(rt.backend().reason(), "asked for by the program");
        works(&rt)
    })
}

#[test]
fn an_environment_that_says_auto_or_nothing_decides_nothing() -> Outcome {
    let name = "an_environment_that_says_auto_or_nothing_decides_nothing";
    for value in ["auto", ""] {
        with_override(name, Some(value), || {
            let rt = Runtime::new()?;
            assert_ne!(rt.backend().reason(), "");
            works(&rt)
        })?;
    }
    Ok(())
}

#[test]
fn an_environment_that_names_no_backend_is_an_error() -> Outcome {
    let name = "an_environment_that_names_no_backend_is_an_error";
    for value in ["iocp", "EPOLL", " epoll", "kqueue"] {
        with_override(name, Some(value), || {
            let err = Runtime::new().err().ok_or("a runtime all the same")?;
            let Error::Backend(err) = err else { return Err("another error".into()) };
            if value == "kqueue" {
                let kqueue = Backend::Mechanism(Mechanism::Kqueue);
                assert!(matches!(err, BackendError::Poll { backend, .. } if backend == kqueue));
            } else {
                assert!(matches!(err, BackendError::Override(_)), "{err}");
                assert!(err.to_string().contains(value), "{err}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_is_available_can_be_made() -> Outcome {
    undecided("what_is_available_can_be_made", || {
        let all = Backend::available();
        assert!(all.contains(&Backend::Mechanism(Mechanism::Epoll)));
        assert!(without_uring() || all.first() == Some(&Backend::Uring), "{all:?}");
        for backend in all {
            works(&Runtime::builder().backend(backend).build()?)?;
        }
        Ok(())
    })
}

/// Where `calls` fail with `errno`, automatic choice takes epoll and says why, and asking for
/// io_uring is an error.
fn falls_back(name: &str, calls: &'static [libc::c_long], errno: i32) -> Outcome {
    undecided(name, || {
        forbid(calls, errno)?;
        let rt = Runtime::new()?;
        assert_eq!(rt.backend().name(), "epoll");
        let reason = rt.backend().reason();
        assert!(reason.starts_with("io_uring does not work here: "), "{reason}");
        let said = std::io::Error::from_raw_os_error(errno).to_string();
        assert!(reason.contains(&said), "{reason}: not {said}");
        works(&rt)?;
        let forced = Runtime::builder().backend(Backend::Uring).build();
        let Err(Error::Backend(BackendError::Uring(why))) = forced else {
            return Err("io_uring although it is forbidden".into());
        };
        assert!(reason.ends_with(&why), "{reason}: not {why}");
        assert!(!Backend::available().contains(&Backend::Uring));
        Ok(())
    })
}

/// A test for each set of forbidden calls and each errno they fail with.
macro_rules! fall_backs {
    ($($name:ident: $calls:expr, $errno:ident;)+) => {
        $(#[test]
        fn $name() -> Outcome {
            static CALLS: &[libc::c_long] = $calls;
            falls_back(stringify!($name), CALLS, libc::$errno)
        })+
    };
}

fall_backs! {
    forbidden_as_containers_do_it_falls_back: &IO_URING, EPERM;
    unknown_as_old_kernels_have_it_it_falls_back: &IO_URING, ENOSYS;
    out_of_memory_it_falls_back: &IO_URING, ENOMEM;
    invalid_it_falls_back: &IO_URING, EINVAL;
    a_ring_that_cannot_be_entered_falls_back: &[libc::SYS_io_uring_enter], EPERM;
    a_ring_that_cannot_be_registered_with_falls_back: &[libc::SYS_io_uring_register], EPERM;
    a_ring_that_has_neither_falls_back:
        &[libc::SYS_io_uring_enter, libc::SYS_io_uring_register], EACCES;
}

#[test]
fn with_eight_kilobytes_of_locked_memory_an_ordinary_user_gets_a_runtime() -> Outcome {
    undecided("with_eight_kilobytes_of_locked_memory_an_ordinary_user_gets_a_runtime", || {
        setrlimit(Resource::RLIMIT_MEMLOCK, 8 << 10, 8 << 10)?;
        if nix::unistd::geteuid().is_root() {
            nix::unistd::setgid(nix::unistd::Gid::from_raw(65_534))?;
            nix::unistd::setuid(nix::unistd::Uid::from_raw(65_534))?;
        }
        // Kernels differ in what they count: either it works, or the choice says why not.
        let rt = Runtime::new()?;
        match rt.backend().name() {
            "io_uring" => {}
            name => {
                let why = rt.backend().reason();
                assert!(name == "epoll" && why.starts_with("io_uring does not"), "{why}");
            }
        }
        works(&rt)
    })
}
