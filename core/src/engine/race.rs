//! Racing: the addresses of a client that has several are tried side by side, each a little after the
//! one before; the first that connects wins.
//!
//! Invariant: the socket of an attempt belongs to the race, and its process hears of the winner's
//! connection only, or of the last failure. While a process races, its own socket is the oldest attempt's.
//! Which address is due when is [`eyeballs`](crate::eyeballs)'s to say; one address alone is no race.

use std::{rc::Rc, time::Duration};

use super::{Engine, Owner};
use crate::{
    address::Address,
    eyeballs::{Race, Won},
    options::SockOption,
    process::{Process, Racing, Shared},
    reactor::{self, CloseHow, Op, OpenSpec, Reactor, SockId, SysError, Tick},
    timer::TimerId,
};

/// No address of a connect could be begun with; nothing was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no attempt to connect could be made")]
#[non_exhaustive]
pub struct NoAttempt {
    /// The last address tried, if there was any.
    pub address: Option<Address>,
    /// What the system refused there.
    pub source: SysError,
}

/// An attempt under way, and the race for the other addresses if there are any.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) sock: SockId,
    pub(super) address: Address,
    pub(super) racing: Option<Box<Racing>>,
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Begins with the first of `to` that a socket can be had for.
    pub(super) fn begin(
        reactor: &mut R,
        spec: &OpenSpec<'_>,
        mut to: Vec<Address>,
        delay: Duration,
    ) -> Result<Begun, NoAttempt> {
        if to.len() == 1 {
            let address = to.remove(0);
            return match reactor.connect(spec, &address) {
                Ok(sock) => Ok(Begun { sock, address, racing: None }),
                Err(source) => Err(NoAttempt { address: Some(address), source }),
            };
        }
        let now = reactor.now();
        let mut race = Race::new(to, delay);
        let nowhere = SysError { op: Op::Connect, errno: libc::EDESTADDRREQ };
        let mut refused = NoAttempt { address: None, source: nowhere };
        while let Some(address) = race.poll(now) {
            match reactor.connect(spec, &address) {
                Ok(sock) => {
                    race.began(sock, address.clone(), now);
                    let racing = Some(Box::new(Racing { race, timer: None }));
                    return Ok(Begun { sock, address, racing });
                }
                Err(source) => refused = NoAttempt { address: Some(address), source },
            }
        }
        Err(refused)
    }

    /// Makes what has begun the connect of `process`.
    pub(super) fn pursue(&mut self, process: &Shared<H>, begun: Begun) {
        let Begun { sock, address, racing } = begun;
        let owner = if racing.is_some() { Owner::Attempt } else { Owner::Process };
        self.own(sock, owner(Rc::clone(process)));
        let mut p = process.borrow_mut();
        p.sock = Some(sock);
        p.reading = p.wants_reading();
        p.contact.set_remote(Some(address));
        if let (Some(connecting), Some(racing)) = (&mut p.connecting, racing) {
            let racing = connecting.racing.insert(racing);
            self.set_race_timer(process, racing);
        }
    }

    /// When the next address of a race is due, on the reactor's clock: no wait should be longer.
    #[must_use]
    pub fn next_attempt_at(&self) -> Option<Tick> {
        self.races.next_at()
    }

    /// Begins what is due. What came until now was sorted before: it may have decided a race.
    pub(super) fn begin_due_attempts(&mut self) {
        while let Some((_, process)) = self.races.take_due(self.now) {
            let lost = self.go_on(&process).is_some();
            debug_assert!(!lost, "time matters only beside an attempt");
        }
    }

    /// What an attempt came to. Returns whether that is for its process to hear.
    pub(super) fn settles(&mut self, process: &Shared<H>, event: &mut reactor::Event) -> bool {
        if let reactor::Event::Connected { id } = event {
            self.win(process, *id)
        } else if let reactor::Event::Closed { id, cause, .. } = event {
            self.lose(process, *id, cause)
        } else {
            // A reactor tells nothing else of a socket before it is connected.
            false
        }
    }

    /// The attempt `id` is connected: from now on it is the connection of `process`, and the others end.
    fn win(&mut self, process: &Shared<H>, id: SockId) -> bool {
        let mut p = process.borrow_mut();
        let racing = p.connecting.as_mut().and_then(|connecting| connecting.racing.take());
        let Some(racing) = racing else { return false };
        let Some(Won { address, losers, .. }) = racing.race.won(id) else { return false };
        p.contact.set_remote(Some(address));
        Self::stand_by(&mut self.reactor, &mut p, id);
        drop(p);
        // Wherever it stands: it may have closed again, and another socket be in its place.
        if let Some(owner) = self.owner_mut(id) {
            *owner = Owner::Process(Rc::clone(process));
        }
        self.end_attempts(racing.timer, losers);
        true
    }

    /// The attempt `id` has failed, and the next address is due. The failure of the last one is that of
    /// the process: returns whether it was.
    fn lose(&mut self, process: &Shared<H>, id: SockId, cause: &mut Option<SysError>) -> bool {
        self.release(id);
        let mut p = process.borrow_mut();
        let racing = p.connecting.as_mut().and_then(|connecting| connecting.racing.as_mut());
        let Some(address) = racing.and_then(|racing| racing.race.failed(id)) else { return false };
        drop(p);
        let refused = self.go_on(process);
        let mut p = process.borrow_mut();
        let Some(connecting) = &mut p.connecting else { return false };
        let oldest = connecting.racing.as_ref().and_then(|racing| racing.race.oldest());
        if let Some(oldest) = oldest {
            if p.sock != Some(oldest) {
                Self::stand_by(&mut self.reactor, &mut p, oldest);
            }
            return false;
        }
        connecting.racing = None;
        let (address, last) = refused.map_or((address, *cause), |(at, err)| (at, Some(err)));
        *cause = last;
        p.contact.set_remote(Some(address));
        p.sock = Some(id);
        true
    }

    /// Begins whatever is due in the race of `process`; returns the last refusal if nothing is left then.
    fn go_on(&mut self, process: &Shared<H>) -> Option<(Address, SysError)> {
        let now = self.reactor.now();
        let mut p = process.borrow_mut();
        let (kind, reading) = (p.kind, p.wants_reading());
        let Process { contact, connecting, .. } = &mut *p;
        let connecting = connecting.as_deref_mut()?;
        let racing = connecting.racing.as_deref_mut()?;
        let (local, options) = (connecting.local.as_ref(), &*connecting.options);
        let spec = OpenSpec { kind, local, options, reading, ..OpenSpec::default() };
        let mut refused = None;
        while let Some(address) = racing.race.poll(now) {
            match self.reactor.connect(&spec, &address) {
                Ok(sock) => {
                    racing.race.began(sock, address.clone(), now);
                    contact.set_remote(Some(address));
                    self.own(sock, Owner::Attempt(Rc::clone(process)));
                }
                Err(err) if is_held_by_another(err) && racing.race.oldest().is_some() => {
                    racing.race.put_back(address, now);
                }
                Err(err) => refused = Some((address, err)),
            }
        }
        self.set_race_timer(process, racing);
        refused.filter(|_| racing.race.is_lost())
    }

    fn set_race_timer(&mut self, process: &Shared<H>, racing: &mut Racing) {
        let due = racing.race.due().map(|at| self.races.set(at, Rc::clone(process)));
        let old = std::mem::replace(&mut racing.timer, due);
        drop(old.and_then(|old| self.races.cancel(old)));
    }

    /// The socket of this attempt stands for its process.
    fn stand_by(reactor: &mut R, p: &mut Process<H>, sock: SockId) {
        p.sock = Some(sock);
        // The reactor knows of it what was wanted when the attempt began.
        p.reading = p.wants_reading();
        reactor.set_reading(sock, p.reading);
    }

    /// Ends a race that its process gives up, but for the attempt that is the process's own socket.
    pub(super) fn end_race(&mut self, racing: Racing, own: Option<SockId>) {
        let others = racing.race.under_way().filter(|sock| Some(*sock) != own).collect();
        self.end_attempts(racing.timer, others);
    }

    fn end_attempts(&mut self, timer: Option<TimerId>, socks: Vec<SockId>) {
        drop(timer.and_then(|timer| self.races.cancel(timer)));
        for sock in socks {
            self.release(sock);
            self.reactor.close(sock, CloseHow::Now);
        }
    }

    /// Sets an option of every attempt under way or to come, since any of them may win. Returns whether
    /// there is a race.
    pub(super) fn set_option_of_attempts(
        &mut self,
        process: &Shared<H>,
        option: &SockOption,
    ) -> Result<bool, SysError> {
        let mut p = process.borrow_mut();
        let Some(connecting) = p.connecting.as_deref_mut() else { return Ok(false) };
        let Some(racing) = &connecting.racing else { return Ok(false) };
        for sock in racing.race.under_way() {
            match self.reactor.set_option(sock, option) {
                // One that has failed, which is not known here yet.
                Err(err) if err.errno == libc::EBADF => {}
                set => set?,
            }
        }
        connecting.options.push(option.clone());
        Ok(true)
    }
}

/// Whether an attempt is refused what the end of an earlier one may give back: a descriptor, or the port it
/// is to be bound to.
const fn is_held_by_another(err: SysError) -> bool {
    let bound = matches!((err.op, err.errno), (Op::Bind, libc::EADDRINUSE));
    bound || err.is_out_of_descriptors()
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
