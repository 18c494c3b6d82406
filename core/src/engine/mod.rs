//! The engine: what a reactor reports becomes what a process reports, one delivery at a time.
//!
//! Invariant: a process's status and contact change when the event that changes them is *taken*
//! from [`Engine::next`], not when the reactor saw it. Per process, order is the order of arrival,
//! whatever is nested, stopped or left out meanwhile. The engine never calls a handler and never
//! waits but in [`Engine::poll`]; a layer above does both and holds no borrow while a handler runs.
//!
//! One file per event family: [`accept`](self), `connect`, `race`, `input`, `output`, `end`; `peer` for what
//! is asked about the other end, `proxied` for what a proxy says of it, `adopt` for servers on sockets from
//! elsewhere, `child` for children.

mod accept;
#[cfg(unix)]
mod adopt;
mod child;
mod connect;
mod end;
mod input;
mod layer;
mod output;
mod peer;
mod proxied;
mod race;

use std::{collections::VecDeque, rc::Rc};

pub use self::{
    connect::Start,
    layer::UpgradeError,
    output::{FinishError, OpenQueue, SendError, SendTextError},
    peer::{CredentialsError, DatagramAddressError},
    race::NoAttempt,
};
use crate::{
    address::Address,
    event::{Event, Input, LogEntry},
    machine::Phase,
    options::SockOption,
    pool::Buf,
    process::{Crowded, Process, Shared},
    queue::EventQueue,
    reactor::{self, Op, Reactor, SockId, SysError, Tick, Wait},
    table::{ProcessId, Table},
    timer::Timers,
};

/// One thing to tell a handler.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "the layer above must handle each one")]
pub enum Delivery<H> {
    /// For the filter of `process`.
    Input {
        /// Whose input.
        process: Shared<H>,
        /// The bytes.
        input: Input,
    },
    /// For the sentinel of `process`.
    Event {
        /// Whose event.
        process: Shared<H>,
        /// What happened.
        event: Event,
    },
    /// For the log function of `server`; then `open from` for the sentinel `process` has by then.
    Accepted {
        /// Who accepted.
        server: Shared<H>,
        /// The new connection.
        process: Shared<H>,
        /// Where it comes from.
        from: Option<Address>,
    },
    /// For the log function of `server`.
    Log {
        /// Who tried to accept.
        server: Shared<H>,
        /// What to log.
        entry: LogEntry,
    },
    /// Another thread woke the reactor.
    Woken,
}

impl<H> Delivery<H> {
    fn process(&self) -> Option<&Shared<H>> {
        match self {
            Self::Input { process, .. } | Self::Event { process, .. } => Some(process),
            Self::Accepted { server, .. } | Self::Log { server, .. } => Some(server),
            Self::Woken => None,
        }
    }
}

/// Which processes a wait serves, with input (`true`) and with other events; `None` is all.
pub type Admit<'a, H> = Option<&'a dyn Fn(&Process<H>, bool) -> bool>;

/// Who gets the events of a socket.
#[derive(Debug)]
enum Owner<H> {
    Process(Shared<H>),
    /// A client with several addresses, of which this socket tries one.
    Attempt(Shared<H>),
    /// A connection whose `Accepted` waits in its server's inbox; these came for it meanwhile. Boxed,
    /// since hardly any waits and every socket has an owner.
    Unborn(Box<Waiting>),
}

/// Events of a connection that is not born yet, in order.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<reactor::Event>,
}

/// Processes over one reactor.
#[derive(Debug)]
pub struct Engine<R, H> {
    reactor: R,
    /// The reactor's clock as of the last poll.
    now: Tick,
    queue: EventQueue,
    table: Table<Shared<H>>,
    /// By socket index: which socket, and whose. Events of a socket not here go to nobody.
    owners: Vec<Option<(SockId, Owner<H>)>>,
    /// Those whose place was taken before their last events were: a reactor reuses an index as soon
    /// as it has told `Closed`, which may still wait in the queue.
    outlived: Vec<(SockId, Owner<H>)>,
    /// Processes with something in their inbox that they may take.
    ready: VecDeque<Shared<H>>,
    /// Deliveries the engine itself has to make.
    notices: VecDeque<Delivery<H>>,
    /// Those asked for by callbacks: they wait for the next poll, or a callback that asks again
    /// each time would keep everybody else waiting.
    asked_for: VecDeque<Delivery<H>>,
    /// Those whose handshake has begun, for whoever has a clock.
    shaking: Vec<Shared<H>>,
    /// What crosses a layer on its way in, and out; empty between two crossings.
    plain: Vec<Buf>,
    wire: Vec<reactor::Payload>,
    /// Those that race, by when their next address is due.
    races: Timers<Shared<H>>,
    /// How many processes are looked up and have no socket yet.
    looking_up: usize,
    /// How many children have not ended, as far as was told.
    children: usize,
    /// Connections ever accepted: numbers the names of local ones.
    accepted: u64,
    /// Where their names are put together.
    name: String,
    /// The most bytes of a stream that one delivery brings.
    input_len_max: usize,
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Puts an engine over `reactor`.
    #[must_use]
    pub fn new(reactor: R) -> Self {
        Self {
            now: reactor.now(),
            reactor,
            queue: EventQueue::new(),
            table: Table::default(),
            owners: Vec::new(),
            outlived: Vec::new(),
            ready: VecDeque::new(),
            notices: VecDeque::new(),
            asked_for: VecDeque::new(),
            shaking: Vec::new(),
            plain: Vec::new(),
            wire: Vec::new(),
            races: Timers::new(),
            looking_up: 0,
            children: 0,
            accepted: 0,
            name: String::new(),
            input_len_max: usize::MAX,
        }
    }

    /// The most bytes of a stream that one delivery brings, at least 1; at first whatever a read does.
    pub const fn set_input_len_max(&mut self, bytes: usize) {
        self.input_len_max = if bytes == 0 { 1 } else { bytes };
    }

    /// That bound.
    #[must_use]
    pub const fn input_len_max(&self) -> usize {
        self.input_len_max
    }

    /// Sets an option of the socket of `process`.
    ///
    /// # Errors
    ///
    /// What the system says; `EBADF` for a process without a socket. One that is looked up gets the option with its
    /// socket, and fails if the system refuses it then; for a server that is handed its connections, whoever accepts
    /// them sets it.
    pub fn set_option(&mut self, process: &Shared<H>, option: &SockOption) -> Result<(), SysError> {
        if !self.set_option_of_attempts(process, option)? {
            let mut p = process.borrow_mut();
            let phase = p.phase;
            match (p.sock, &mut p.connecting) {
                (Some(sock), _) => self.reactor.set_option(sock, option)?,
                (None, Some(connecting)) => connecting.options.push(option.clone()),
                (None, None) if phase == Phase::Listen => {}
                (None, None) => return Err(SysError { op: Op::Option, errno: libc::EBADF }),
            }
        }
        if let SockOption::Linger(seconds) = option {
            process.borrow_mut().linger = *seconds;
        }
        Ok(())
    }

    /// The reactor, to ask it something.
    #[must_use]
    pub const fn reactor(&self) -> &R {
        &self.reactor
    }

    /// The reactor, for what the engine does not do: its descriptor, its faults.
    #[must_use]
    pub const fn reactor_mut(&mut self) -> &mut R {
        &mut self.reactor
    }

    /// The time of the last poll.
    #[must_use]
    pub const fn now(&self) -> Tick {
        self.now
    }

    /// The listed processes, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Shared<H>> {
        self.table.newest_first().into_iter().cloned().collect()
    }

    /// How many processes are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no process is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The listed process of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Shared<H>> {
        self.table.find(name).cloned()
    }

    /// The listed process of that id.
    #[must_use]
    pub fn get(&self, id: ProcessId) -> Option<Shared<H>> {
        self.table.get(id).cloned()
    }

    /// Whether a process is listed: made, not ended, not deleted.
    #[must_use]
    pub fn is_listed(&self, process: &Shared<H>) -> bool {
        self.table.get(process.borrow().id).is_some_and(|listed| Rc::ptr_eq(listed, process))
    }

    /// Hands what is queued to the reactor and waits as told; call it when [`next`](Self::next) has
    /// nothing left.
    ///
    /// # Errors
    ///
    /// Only when the reactor is unusable.
    pub fn poll(&mut self, wait: Wait) -> Result<(), SysError> {
        let wait = if self.asked_for.is_empty() { wait } else { Wait::No };
        let polled = self.reactor.poll(wait, &mut self.queue);
        if !self.asked_for.is_empty() {
            self.notices.append(&mut self.asked_for);
        }
        self.now = self.reactor.now();
        polled
    }

    /// Whether something was queued by the engine itself and waits for `next`.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        let told = self.notices.is_empty() && self.asked_for.is_empty();
        !(told && self.ready.is_empty() && self.queue.is_empty())
    }

    /// Takes the next thing to deliver, of any process, or only of those that `admit` lets pass;
    /// what belongs to the others waits in their inboxes then, and their status with it.
    pub fn next(&mut self, admit: Admit<'_, H>) -> Option<Delivery<H>> {
        if let Some((process, input, ())) = self.next_bytes(admit, |_| Some(())) {
            return Some(Delivery::Input { process, input });
        }
        loop {
            if !self.notices.is_empty()
                && let Some(notice) = self.next_notice(admit)
            {
                return Some(notice);
            }
            if !self.ready.is_empty()
                && let Some(delivery) = self.next_stored(admit)
            {
                return Some(delivery);
            }
            // An event that delivers nothing itself may have left a notice or let input go on.
            let Some(event) = self.queue.pop() else {
                self.begin_due_attempts();
                return None;
            };
            if let Some(delivery) = self.sort(event, admit) {
                return Some(delivery);
            }
        }
    }

    /// Whether the next thing to deliver is bytes for an open process that takes them now and as they
    /// are, as almost every time: whose they are, the bytes, and what `look` takes from it in passing.
    /// Whatever else is the case, if only that `look` finds nothing, `None` leaves it to
    /// [`next`](Self::next), which would have delivered the same.
    #[inline(always)]
    pub fn next_bytes<T>(
        &mut self,
        admit: Admit<'_, H>,
        look: impl FnOnce(&mut Process<H>) -> Option<T>,
    ) -> Option<(Shared<H>, Input, T)> {
        if !(self.notices.is_empty() && self.ready.is_empty()) {
            return None;
        }
        let front = self.queue.front_data()?;
        let owner = self.owners.get(front.id().index());
        let Some(Some((socket, Owner::Process(process)))) = owner else { return None };
        let mut p = process.borrow_mut();
        // Whoever is there has that index: whether it is the same tenant, its generation tells.
        let same = socket.0.generation == front.id().0.generation;
        let whole = same && front.bytes() <= self.input_len_max;
        if !(whole && p.takes_bytes() && admit.is_none_or(|admit| admit(&p, true))) {
            return None;
        }
        let looked = look(&mut p)?;
        p.served += 1;
        drop(p);
        let (buf, lost) = front.take();
        Some((Rc::clone(process), Input::new(buf, lost), looked))
    }

    /// Sorts what the last poll brought, so that it is known who has ended and which packet was
    /// refused, and delivers none of it. Returns whether another thread has woken the reactor.
    #[must_use]
    pub fn store_all(&mut self) -> bool {
        let mut woken = false;
        // What is stored already stays so: going through it for each event would cost as much as there is.
        while let Some(event) = self.queue.pop() {
            if let Some(delivery) = self.sort(event, Some(&|_, _| false)) {
                debug_assert!(matches!(delivery, Delivery::Woken), "nobody was admitted");
                woken = true;
            }
        }
        self.begin_due_attempts();
        woken
    }

    #[inline(never)]
    fn next_notice(&mut self, admit: Admit<'_, H>) -> Option<Delivery<H>> {
        let wanted = |delivery: &Delivery<H>| match delivery.process().map(|p| p.borrow()) {
            Some(p) => !p.busy && admit.is_none_or(|admit| admit(&p, false)),
            None => true,
        };
        let at = self.notices.iter().position(wanted)?;
        let notice = self.notices.remove(at)?;
        if let Delivery::Event { process, event } = &notice {
            let mut p = process.borrow_mut();
            p.troubled &= !matches!(event, Event::Trouble(_));
            p.drained &= !matches!(event, Event::Drained);
        }
        Some(notice)
    }

    #[inline(never)]
    fn next_stored(&mut self, admit: Admit<'_, H>) -> Option<Delivery<H>> {
        loop {
            let admitted = |p: &Shared<H>| {
                let p = p.borrow();
                let input =
                    !p.has_child_news() && p.inbox.front().is_some_and(reactor::Event::is_input);
                admit.is_none_or(|admit| admit(&p, input))
            };
            let at = self.ready.iter().position(admitted)?;
            let process = self.ready.remove(at)?;
            process.borrow_mut().ready = false;
            let delivery = match self.take_stored(&process) {
                Some(event) => {
                    let accepted = matches!(event, reactor::Event::Accepted { .. });
                    let delivery = self.handle(&process, event);
                    if accepted {
                        // Now that the connection counts: it keeps the place that it had in the inbox.
                        Self::update_reading(&mut self.reactor, &mut process.borrow_mut());
                    }
                    delivery
                }
                None => self.handle_child_news(&process),
            };
            // Round robin: with more in its inbox a process goes to the end of the line.
            self.make_ready(&process);
            if delivery.is_some() {
                return delivery;
            }
        }
    }

    /// Takes the oldest event of an inbox, if its process may take it.
    fn take_stored(&mut self, process: &Shared<H>) -> Option<reactor::Event> {
        let mut p = process.borrow_mut();
        let first = p.inbox.front()?;
        if !p.admits_next(first) {
            return None;
        }
        let event = p.inbox.pop_front()?;
        p.inbox_len -= event_len(&event);
        if !matches!(event, reactor::Event::Accepted { .. }) {
            Self::update_reading(&mut self.reactor, &mut p);
        }
        Some(event)
    }

    /// Delivers an event fresh from the reactor, or keeps it for later. Called, it would have the event copied: 80
    /// instructions at the end of a connection.
    #[inline(always)]
    fn sort(&mut self, mut event: reactor::Event, admit: Admit<'_, H>) -> Option<Delivery<H>> {
        let Some(id) = event.owner() else { return Some(Delivery::Woken) };
        let process = match self.owner_mut(id) {
            Some(Owner::Process(process)) => Rc::clone(process),
            Some(Owner::Attempt(process)) => {
                let process = Rc::clone(process);
                if !self.settles(&process, &mut event) {
                    return None;
                }
                process
            }
            Some(Owner::Unborn(waiting)) => {
                waiting.events.push_back(spilled(event));
                return None;
            }
            None => {
                self.disown(&event);
                return None;
            }
        };
        if process.borrow().layer.is_some() {
            return self.unwrap(&process, event, admit);
        }
        // What tells of output never waits behind input: it may be what lets input go on.
        if let reactor::Event::Sent { .. } | reactor::Event::Trouble { .. } = event {
            return self.handle(&process, event);
        }
        let p = process.borrow();
        if p.admits(&event) && admit.is_none_or(|admit| admit(&p, event.is_input())) {
            drop(p);
            return self.handle(&process, event);
        }
        drop(p);
        self.store(&process, event);
        None
    }

    /// Lets an event happen to its process. The event is in order and its process takes it.
    fn handle(&mut self, process: &Shared<H>, event: reactor::Event) -> Option<Delivery<H>> {
        use reactor::Event as E;
        if let E::Eof { .. } | E::Closed { .. } = event
            && let Some(leftovers) = Self::leftovers(process)
        {
            let mut p = process.borrow_mut();
            p.inbox_len += event_len(&event);
            p.inbox.push_front(event);
            drop(p);
            self.make_ready(process);
            return Some(leftovers);
        }
        match event {
            E::Data { id, buf, lost } => {
                let buf = self.within_input_len_max(process, id, buf);
                Self::handle_data(process, Input::new(buf, lost))
            }
            E::Datagram { buf, from, lost, .. } => {
                Self::handle_datagram(process, Input::new(buf, lost), from)
            }
            E::Accepted { id, peer, .. } => self.handle_accepted(process, id, peer),
            E::AcceptFailed { err, paused, .. } => self.handle_accept_failed(process, err, paused),
            E::Connected { .. } => self.handle_connected(process),
            E::Eof { .. } => self.handle_eof(process),
            E::Closed { cause, unsent, .. } => self.handle_closed(process, cause, unsent),
            E::Sent { .. } => {
                self.handle_sent(process);
                None
            }
            E::Trouble { err, .. } => {
                self.handle_trouble(process, err);
                None
            }
            E::Woken => Some(Delivery::Woken),
        }
    }

    /// Keeps an event until its process may take it, with its buffer out of a scarce pool.
    fn store(&mut self, process: &Shared<H>, event: reactor::Event) {
        let event = spilled(event);
        if let reactor::Event::Accepted { id, .. } = event {
            let p = process.borrow();
            let no_place = p.limits.crowded == Crowded::Close && !p.has_place();
            drop(p);
            if no_place {
                let entry = self.turn_away(process, id);
                self.notices.extend(entry);
                return;
            }
            self.reactor.set_reading(id, false);
            self.own(id, Owner::Unborn(Box::default()));
        }
        let mut p = process.borrow_mut();
        if event.is_input() && p.deaf && p.child_has_ended() {
            // Nobody takes it any more, and the end would wait behind it.
            return;
        }
        // With the socket gone nothing more will be sent: nothing to hold input back for.
        p.holding &= !matches!(event, reactor::Event::Closed { .. });
        p.inbox_len += event_len(&event);
        p.inbox.push_back(event);
        Self::update_reading(&mut self.reactor, &mut p);
        drop(p);
        self.make_ready(process);
    }

    /// Puts a process with something in its inbox into the round.
    fn make_ready(&mut self, process: &Shared<H>) {
        let mut p = process.borrow_mut();
        let stored = || p.inbox.front().is_some_and(|event| p.admits_next(event));
        if !p.ready && (stored() || p.has_child_news()) {
            p.ready = true;
            drop(p);
            self.ready.push_back(Rc::clone(process));
        }
    }

    /// Tells the reactor whether to read, when that has changed.
    fn update_reading(reactor: &mut R, p: &mut Process<H>) {
        let wanted = p.wants_reading();
        if let Some(sock) = p.sock
            && wanted != p.reading
        {
            p.reading = wanted;
            reactor.set_reading(sock, wanted);
        }
    }

    fn own(&mut self, id: SockId, owner: Owner<H>) {
        if id.index() >= self.owners.len() {
            self.owners.resize_with(id.index() + 1, || None);
        }
        let before = self.owners[id.index()].replace((id, owner));
        self.outlived.extend(before.filter(|(before, _)| *before != id));
    }

    fn owner_mut(&mut self, id: SockId) -> Option<&mut Owner<H>> {
        match self.owners.get_mut(id.index()) {
            Some(Some((socket, owner))) if *socket == id => Some(owner),
            _ => self.outlived.iter_mut().find(|(socket, _)| *socket == id).map(|(_, o)| o),
        }
    }

    /// Nobody gets the events of `id` from now on.
    fn release(&mut self, id: SockId) -> Option<Owner<H>> {
        let slot = self.owners.get_mut(id.index())?;
        if let Some((_, owner)) = slot.take_if(|(socket, _)| *socket == id) {
            return Some(owner);
        }
        let at = self.outlived.iter().position(|(socket, _)| *socket == id)?;
        Some(self.outlived.swap_remove(at).1)
    }

    /// An event nobody waits for; a connection that comes with it is ended.
    fn disown(&mut self, event: &reactor::Event) {
        if let reactor::Event::Accepted { id, .. } = event {
            self.reactor.close(*id, reactor::CloseHow::Now);
        }
    }

    /// Stops a process: no input, no accepting, until [`resume`](Self::resume). Nothing is sent to
    /// anybody; what the system holds back stays there.
    pub fn stop(&mut self, process: &Shared<H>) {
        self.change_flow(process, |p| p.stopped = true);
    }

    /// Lets a stopped process go on, with everything that waited.
    pub fn resume(&mut self, process: &Shared<H>) {
        self.change_flow(process, |p| p.stopped = false);
    }

    /// Turns input off or on without showing it in the status: Emacs's filter `t`. A server goes on
    /// accepting; its connections start that way.
    pub fn set_deaf(&mut self, process: &Shared<H>, deaf: bool) {
        self.change_flow(process, |p| p.deaf = deaf);
        self.child_deafened(process);
    }

    /// Marks that a handler runs which cannot be entered twice: events wait meanwhile.
    pub fn set_busy(&mut self, process: &Shared<H>, busy: bool) {
        self.change_flow(process, |p| p.busy = busy);
    }

    fn change_flow(&mut self, process: &Shared<H>, change: impl FnOnce(&mut Process<H>)) {
        let mut p = process.borrow_mut();
        change(&mut p);
        Self::update_reading(&mut self.reactor, &mut p);
        drop(p);
        self.make_ready(process);
    }
}

/// The event with its buffer out of a scarce pool, as whoever stores one must have it.
fn spilled(mut event: reactor::Event) -> reactor::Event {
    if let Some(buf) = event.buf_mut() {
        buf.spill_if_scarce();
    }
    event
}

/// How much an event counts in an inbox.
fn event_len(event: &reactor::Event) -> u64 {
    (size_of::<reactor::Event>() + event.buf().map_or(0, |buf| buf.len())) as u64
}
