//! Descriptors at their limit: how many there may be, and one kept in reserve.
//!
//! Invariant: the descriptor held here is owned, so it is closed once, whatever other threads do
//! with the numbers that come free meanwhile. When to use it is the backends' decision.

use std::{io, os::unix::net::UnixDatagram};

use nix::sys::resource::{Resource, getrlimit};

/// How many descriptors this process may have, by its soft limit; `None` without a limit.
///
/// # Examples
///
/// ```
/// let limit = netproc_core::reserve::descriptors_max();
/// assert!(limit.is_none_or(|limit| limit > 3), "the standard ones and some more");
/// ```
///
/// # Source
///
/// getrlimit(2), `RLIMIT_NOFILE`. A limit nobody could ask for is none.
#[must_use]
pub fn descriptors_max() -> Option<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    usize::try_from(soft).ok().filter(|_| soft != nix::sys::resource::RLIM_INFINITY)
}

/// One descriptor held back for the time when there are no others.
///
/// What it buys: without any descriptor nothing can be accepted, not even to be closed, so those in
/// the backlog hear nothing for as long as the shortage lasts. With this one given up for a moment,
/// the first of them is accepted and closed, and knows. A backend does so once for each rest of a
/// listener that did not help, so a shortage shorter than `accept_pause` turns nobody away, and a
/// long one answers those in the backlog one by one.
///
/// It is a socket without a name, not a file: that needs no file system, and it counts against the
/// whole system's limit (`ENFILE`) as a connection does.
#[derive(Debug)]
pub struct Reserve {
    on: bool,
    held: Option<UnixDatagram>,
}

impl Reserve {
    /// Takes a descriptor, unless `on` is false. One that cannot be had now is asked for again
    /// later: its want is no reason to have no reactor.
    #[must_use]
    pub fn new(on: bool) -> Self {
        let mut reserve = Self { on, held: None };
        reserve.refill();
        reserve
    }

    /// Gives the descriptor up while `accept` takes a waiting connection, closes that connection and
    /// takes a descriptor again; returns whether somebody was turned away.
    ///
    /// Another thread may be quicker, here or there: then nobody is turned away, or the reserve is
    /// empty until the next try. `accept` must not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::reserve::Reserve;
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let mut reserve = Reserve::new(true);
    /// assert!(reserve.turn_away(|| listener.accept()));
    /// assert_eq!(std::io::Read::read(&mut &peer, &mut [0])?, 0, "an end instead of nothing");
    /// assert!(!Reserve::new(false).turn_away(|| listener.accept()), "nothing to give up");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn turn_away<T>(&mut self, accept: impl FnOnce() -> io::Result<T>) -> bool {
        let had = self.held.take().is_some();
        // What was accepted is closed at once, which leaves its place to the refill.
        let turned = had && accept().is_ok();
        self.refill();
        turned
    }

    /// Takes a descriptor if none is held.
    pub fn refill(&mut self) {
        if self.on && self.held.is_none() {
            self.held = UnixDatagram::unbound().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_given_up_once_and_taken_again() {
        let mut reserve = Reserve::new(true);
        for round in 0..3 {
            assert!(reserve.held.is_some(), "round {round}");
            assert!(reserve.turn_away(|| Ok(())), "round {round}");
            assert!(!reserve.turn_away(|| Err::<(), _>(io::ErrorKind::WouldBlock.into())));
        }
    }

    #[test]
    fn an_empty_reserve_turns_nobody_away_and_fills_up() {
        let mut reserve = Reserve::new(true);
        reserve.held = None;
        assert!(!reserve.turn_away(|| -> io::Result<()> { panic!("nothing was given up") }));
        assert!(reserve.held.is_some());
    }

    #[test]
    fn without_a_reserve_nothing_is_held() {
        let mut reserve = Reserve::new(false);
        reserve.refill();
        assert!(reserve.held.is_none());
        assert!(!reserve.turn_away(|| Ok(())));
    }
}
