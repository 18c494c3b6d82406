//! A client of several addresses: which ones, and how long each has for itself.
//!
//! Invariant: as for [`places`](super::places), what a method of the builder says goes before what the
//! limits say. The race is the engine's.

use std::time::Duration;

use netproc_core::address::Address;

use super::ClientBuilder;

impl ClientBuilder {
    /// What comes to it is a dialogue's, from the moment it is connected.
    #[cfg(feature = "starttls")]
    pub(crate) const fn being_opened(mut self) -> Self {
        self.common.handlers.being_opened = true;
        self
    }

    /// Connect to whichever of these addresses takes the connection first, tried as those of a
    /// [`host`](Self::host) are: for programs with a resolver of their own. Packets go to the first.
    /// Host, service and family are not looked at then, nor is an earlier [`remote`](Self::remote).
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Address, Runtime};
    ///
    /// let rt = Runtime::new()?;
    /// let (gone, server) = (rt.server("gone").start()?, rt.server("s").start()?);
    /// let nobody = gone.contact().local().clone();
    /// gone.delete();
    /// let client = rt.client("c").remotes([nobody, server.contact().local().clone()]).start()?;
    /// assert_eq!(client.contact().remote(), Some(server.contact().local()));
    /// assert!(rt.client("c").remotes(Vec::<Address>::new()).start().is_err());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Nothing in Emacs, where only a look-up gives several addresses.
    pub fn remotes<A: Into<Address>>(mut self, remotes: impl IntoIterator<Item = A>) -> Self {
        self.remotes = Some(remotes.into_iter().map(Into::into).collect());
        self
    }

    /// How long a client that has several addresses waits for one before it tries the next beside it, 10
    /// milliseconds to 2 seconds; see [`Limits::attempt_delay`](crate::Limits::attempt_delay). Default
    /// 250 milliseconds. When one is refused, the next is tried at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").start()?;
    /// let client = || rt.client("c").remote(server.contact().local().clone());
    /// assert!(client().attempt_delay(Duration::from_millis(9)).start().is_err());
    /// assert!(client().attempt_delay(Duration::from_millis(10)).start().is_ok());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// RFC 8305, section 5 ("Connection Attempt Delay"). Nothing in Emacs, which tries an address when the
    /// one before has failed.
    pub const fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = Some(delay);
        self
    }
}
