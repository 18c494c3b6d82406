//! io_uring forbidden, absent or half forbidden: setting it up fails with a reason and never hangs.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use netproc_core::reactor::Config;
use netproc_tests::{
    child::{alone, descriptors},
    contract::Outcome,
    seccomp::{IO_URING, forbid},
};
use netproc_uring::UringReactor;

/// Sets a reactor up where `calls` fail with `errno`, in a process of its own.
fn refused(test: &str, calls: &[libc::c_long], errno: i32) -> Outcome {
    let test = concat!(module_path!(), "::").to_owned() + test;
    alone(&test, || {
        let before = descriptors()?;
        forbid(calls, errno)?;
        let begin = Instant::now();
        let err = UringReactor::new(Config::default()).err().ok_or("set up although forbidden")?;
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "took {took:?}: {err}");
        assert!(!err.to_string().is_empty(), "a reason is given");
        assert_eq!(descriptors()?, before, "and nothing is left open: {err}");
        Ok(())
    })
}

/// A test for each set of forbidden calls and each errno they fail with.
macro_rules! refusals {
    ($($name:ident: $calls:expr, $errno:ident;)+) => {
        $(#[test]
        fn $name() -> Outcome {
            refused(stringify!($name), $calls, libc::$errno)
        })+
    };
}

refusals! {
    everything_forbidden_as_containers_do: &IO_URING, EPERM;
    everything_unknown_as_old_kernels_do: &IO_URING, ENOSYS;
    everything_out_of_memory: &IO_URING, ENOMEM;
    everything_invalid: &IO_URING, EINVAL;
    setup_forbidden: &IO_URING[..1], EPERM;
    setup_unknown: &IO_URING[..1], ENOSYS;
    setup_out_of_memory: &IO_URING[..1], ENOMEM;
    setup_invalid: &IO_URING[..1], EINVAL;
    enter_forbidden: &IO_URING[1..2], EPERM;
    enter_unknown: &IO_URING[1..2], ENOSYS;
    enter_out_of_memory: &IO_URING[1..2], ENOMEM;
    enter_invalid: &IO_URING[1..2], EINVAL;
    register_forbidden: &IO_URING[2..], EPERM;
    register_unknown: &IO_URING[2..], ENOSYS;
    register_out_of_memory: &IO_URING[2..], ENOMEM;
    register_invalid: &IO_URING[2..], EINVAL;
    enter_and_register_forbidden: &IO_URING[1..], EACCES;
    enter_always_busy: &IO_URING[1..2], EBUSY;
    enter_always_interrupted: &IO_URING[1..2], EINTR;
}

#[test]
fn nothing_forbidden_sets_up() -> Outcome {
    let outcome = UringReactor::new(Config::default());
    if std::env::var_os("NETPROC_WITHOUT_URING").is_none() {
        outcome?;
    }
    Ok(())
}
