//! The reactor's contract as a suite: one source for a behaviour, a test on every reactor.
//!
//! [`contract!`](crate::contract!) turns a sentence and a body into a module with the tests `sim`,
//! `poll`, `epoll` and `uring`. The body is generic over the reactor, so it cannot know which one
//! it runs on; afterwards [`run`] ends every socket and checks that nothing is left. Processes,
//! filters and sentinels are the business of other suites.

mod rig;
pub mod subject;
mod world;

use netproc_core::reactor::{Config, Reactor};

pub use rig::{FLUSH, PATIENCE, Rig, assert_bytes, loopback, pattern};
pub use world::{End, Mark, Part, Record, Track, World};

use crate::watch::watched;

/// What a test may return early with.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs `body` on a fresh reactor and checks what is left behind.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when the contract is broken, and aborts the process when a test is stuck.
pub fn run<R: Reactor>(
    test: &str,
    make: fn(Config) -> Option<R>,
    sizes: fn(&mut Config),
    body: fn(&mut Rig<R>) -> Outcome,
) -> Outcome {
    let mut config = Config::default();
    sizes(&mut config);
    let Some(mut rig) = Rig::new(make, config) else { return Ok(()) };
    watched(test, || {
        body(&mut rig)?;
        rig.tear_down();
        drop(rig);
        Ok(())
    })
}

/// Makes a module of tests, one on each reactor, from a sentence and a body.
///
/// ```text
/// contract!(a_sentence_that_is_true, |rig| { …; Ok(()) });
/// contract!(a_sentence_that_is_true, |config| { config.slots = 4; }, |rig| { …; Ok(()) });
/// contract!(on descriptors: …);       // for reactors over real descriptors: not the simulation
/// contract!(alone on descriptors: …); // likewise, each in a process of its own
/// ```
#[macro_export]
macro_rules! contract {
    (on descriptors: $name:ident, $($rest:tt)+) => {
        $crate::contract! { @sizes [$name Descriptors run (poll epoll kqueue uring)] $($rest)+ }
    };
    (alone on descriptors: $name:ident, $($rest:tt)+) => {
        $crate::contract! { @sizes [$name Descriptors run_alone (poll epoll kqueue uring)] $($rest)+ }
    };
    (@sizes [$($head:tt)+] |$rig:ident| $body:block) => {
        $crate::contract! { @module [$($head)+] () $rig $body }
    };
    (@sizes [$($head:tt)+] |$config:ident| $sizes:block, |$rig:ident| $body:block) => {
        $crate::contract! { @module [$($head)+] ($config $sizes) $rig $body }
    };
    (@module [$name:ident $bound:ident $run:ident ($($subject:ident)+)]
        ($($config:ident $sizes:block)?) $rig:ident $body:block) => {
        mod $name {
            use super::*;

            fn sizes(_config: &mut ::netproc_core::reactor::Config) {
                $(let $config = _config; $sizes)?
            }

            fn body<R: ::netproc_core::reactor::$bound>(
                $rig: &mut $crate::contract::Rig<R>,
            ) -> $crate::contract::Outcome $body

            $($crate::contract! { @test $subject $run })+
        }
    };
    (@test sim $run:ident) => { $crate::contract! { @plain sim $run } };
    (@test poll $run:ident) => { $crate::contract! { @plain poll $run } };
    (@test epoll $run:ident) => {
        #[cfg(target_os = "linux")]
        $crate::contract! { @plain epoll $run }
    };
    (@test kqueue $run:ident) => {
        #[cfg(any(
            target_os = "freebsd",
            target_os = "dragonfly",
            target_os = "netbsd",
            target_os = "openbsd",
            target_vendor = "apple",
        ))]
        $crate::contract! { @plain kqueue $run }
    };
    (@test uring $run:ident) => {
        #[cfg(target_os = "linux")]
        $crate::contract! { @plain uring $run }
    };
    (@plain $subject:ident $run:ident) => {
        #[test]
        fn $subject() -> $crate::contract::Outcome {
            let test = concat!(module_path!(), "::", stringify!($subject));
            $crate::contract::$run(test, $crate::contract::subject::$subject, sizes, body)
        }
    };
    ($name:ident, $($rest:tt)+) => {
        $crate::contract! { @sizes [$name Reactor run (sim poll epoll kqueue uring)] $($rest)+ }
    };
}

/// As [`run`], in a process of its own: for limits, signals, descriptors and forks, which belong to
/// the whole process.
///
/// # Errors
///
/// What `body` returned.
///
/// # Panics
///
/// Panics when the process failed.
pub fn run_alone<R: Reactor>(
    test: &str,
    make: fn(Config) -> Option<R>,
    sizes: fn(&mut Config),
    body: fn(&mut Rig<R>) -> Outcome,
) -> Outcome {
    crate::child::alone(test, || run(test, make, sizes, body))
}
