//! The backends under test, each as a runtime.
//!
//! Invariant: a backend that cannot be had fails its test. io_uring alone may be left out, where the
//! environment says `NETPROC_WITHOUT_URING=1`, and every test then says that it was.

use netproc::{
    Backend, Config, Mechanism, Runtime, RuntimeBuilder,
    sim::{Faults, SimReactor},
};

use crate::watch::shout;

/// What a runtime under test runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Subject {
    /// The simulation, without faults.
    Sim,
    /// poll(2).
    Poll,
    /// epoll.
    Epoll,
    /// io_uring.
    Uring,
}

impl Subject {
    /// Whether its sockets are the system's, so that others can connect to them.
    #[must_use]
    pub const fn is_real(self) -> bool {
        !matches!(self, Self::Sim)
    }

    /// A fresh runtime; `None` for io_uring where it is left out on purpose.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be made.
    #[must_use]
    pub fn runtime(self, config: Config) -> Option<Runtime> {
        self.build(Runtime::builder(), config)
    }

    /// What makes runtimes on it, for those who make several; `None` for io_uring where it is left out on
    /// purpose, and for the simulation, whose sockets are one runtime's.
    ///
    /// # Panics
    ///
    /// Panics when one cannot be made.
    #[must_use]
    pub fn builder(self, config: Config) -> Option<RuntimeBuilder> {
        let tried = self.runtime(config)?;
        drop(tried);
        let builder = Runtime::builder().config(config);
        Some(builder.backend(self.backend()?))
    }

    const fn backend(self) -> Option<Backend> {
        match self {
            Self::Sim => None,
            Self::Poll => Some(Backend::Mechanism(Mechanism::Poll)),
            Self::Epoll => Some(Backend::Mechanism(Mechanism::Epoll)),
            Self::Uring => Some(Backend::Uring),
        }
    }

    /// A fresh runtime with choices of your own; the backend and the sizes are set here.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be made.
    #[must_use]
    pub fn build(self, builder: RuntimeBuilder, config: Config) -> Option<Runtime> {
        let builder = builder.config(config);
        let Some(backend) = self.backend() else {
            return Some(builder.simulated(SimReactor::new(1, Faults::none(), config)));
        };
        match builder.backend(backend).build() {
            Ok(rt) => Some(rt),
            Err(err) if self == Self::Uring && without_uring() => {
                shout(&format!("left out: {err}"));
                None
            }
            Err(err) => panic!(
                "{backend} cannot be set up: {err}\n\
                 for uring, NETPROC_WITHOUT_URING=1 leaves its tests out where that is expected"
            ),
        }
    }
}

/// Whether the environment says that io_uring is not expected to work.
#[must_use]
pub fn without_uring() -> bool {
    std::env::var_os("NETPROC_WITHOUT_URING").is_some_and(|on| on == "1")
}
