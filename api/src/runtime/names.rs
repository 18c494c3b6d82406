//! Names of hosts: asked of the resolver on threads of its own, while everybody is served here.
//!
//! Invariant: nobody waits for the resolver longer than they said; an answer that comes too late, or
//! for a process that has ended, goes to nobody.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use netproc_core::{
    address::Address, event::Failure, reactor::Tick, shared_error::SharedError, table::ProcessId,
};

use super::{Depth, Inside, Runtime, has_takers};
use crate::{
    error::{Error, ResolverError, StartError},
    open::{ALONE, Patience},
    process::Process,
    resolve::{Answer, Named, Place, ask_elsewhere, ask_here},
};

impl Runtime {
    /// The addresses of a place, looked up if need be; never none.
    pub(crate) fn addresses_of(
        &self,
        place: Place,
        patience: Patience,
    ) -> Result<Vec<Address>, StartError> {
        let named = match place {
            Place::Known(addresses) => return Ok(addresses),
            Place::Named(named) => named,
        };
        if self.is_simulated() {
            // Its clock does not wait for threads.
            return named.understood(ask_here(&named.question()));
        }
        let token = self.inner.answers.borrow_mut().open();
        let postbox = self.postbox();
        let asked = ask_elsewhere(named.question(), move |answer| {
            postbox.post(move |rt| rt.inner.answers.borrow_mut().put(token, answer));
        });
        let waited = self.wait_for_answer(token, patience);
        drop(asked);
        let answer = self.inner.answers.borrow_mut().close(token);
        waited.map_err(|err| StartError::Runtime(Box::new(err)))?;
        let host = || named.host().to_owned();
        named.understood(answer.ok_or_else(|| StartError::LookupTimedOut { host: host() })?)
    }

    fn wait_for_answer(&self, token: u64, patience: Patience) -> Result<(), Error> {
        let depth = Depth::enter(self)?;
        let deadline = match patience {
            Patience::Nowait => Tick::default(),
            Patience::Until(deadline) => deadline,
            Patience::AloneThenUntil(deadline) => {
                depth.hold_timers(true);
                let alone = deadline.min(self.deadline(ALONE));
                self.serve_until_answered(token, alone, |_, _| false)?;
                depth.hold_timers(false);
                deadline
            }
        };
        self.serve_until_answered(token, deadline, has_takers)?;
        depth.leave(())
    }

    fn serve_until_answered(
        &self,
        token: u64,
        deadline: Tick,
        served: impl Fn(&Inside, bool) -> bool,
    ) -> Result<(), Error> {
        loop {
            while self.deliver_one(Some(&served)).is_some() {}
            let answered = self.inner.answers.borrow().has(token);
            if answered || self.engine().now() >= deadline {
                return Ok(());
            }
            self.poll(self.wait_until(Some(deadline)))?;
        }
    }

    /// Has a process that waits for it told where to connect to.
    pub(crate) fn look_up_for(&self, process: &Process, named: Named) {
        let id = process.id();
        if self.is_simulated() {
            let answer = ask_here(&named.question());
            return self.looked_up(id, &named, answer);
        }
        let postbox = self.postbox();
        let asked = ask_elsewhere(named.question(), move |answer| {
            postbox.post(move |rt| rt.looked_up(id, &named, answer));
        });
        process.shared().borrow_mut().handlers.ties_mut().asked = Some(Rc::new(asked));
    }

    /// Serves everybody until it is known where `process` connects to, or that nobody knows.
    pub(crate) fn wait_looking_up(&self, process: &Process) -> Result<(), Error> {
        let looking_up = || process.shared().borrow().is_looking_up();
        if !looking_up() {
            return Ok(());
        }
        let depth = Depth::enter(self)?;
        while looking_up() {
            if self.deliver_one(Some(&has_takers)).is_none() {
                self.poll(self.wait_until(None))?;
            }
        }
        depth.leave(())
    }

    fn looked_up(&self, id: ProcessId, named: &Named, answer: Answer) {
        let Some(process) = self.process_by_id(id) else { return };
        let mut p = process.shared().borrow_mut();
        let asked = p.handlers.held().and_then(|ties| ties.asked.take());
        drop(p);
        drop(asked);
        let host: Arc<str> = named.host().into();
        match named.understood(answer) {
            Ok(addresses) => {
                self.engine_mut().found(process.shared(), addresses);
            }
            Err(refused) => {
                let source = SharedError::new(refused);
                self.engine_mut().not_found(process.shared(), Failure::Lookup { host, source });
            }
        }
        self.nudge();
    }
}

/// Answers that starts under way wait for.
#[derive(Debug, Default)]
pub(super) struct Answers {
    last: u64,
    awaited: Vec<(u64, Option<Answer>)>,
}

impl Answers {
    fn open(&mut self) -> u64 {
        self.last += 1;
        self.awaited.push((self.last, None));
        self.last
    }

    fn put(&mut self, token: u64, answer: Result<Vec<SocketAddr>, ResolverError>) {
        if let Some((_, slot)) = self.awaited.iter_mut().find(|(own, _)| *own == token) {
            *slot = Some(answer);
        }
    }

    fn has(&self, token: u64) -> bool {
        self.awaited.iter().any(|(own, answer)| *own == token && answer.is_some())
    }

    fn close(&mut self, token: u64) -> Option<Answer> {
        let at = self.awaited.iter().position(|(own, _)| *own == token)?;
        self.awaited.swap_remove(at).1
    }
}
