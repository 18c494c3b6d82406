//! Drives one seed: lets the plan's sockets talk, meddles with them, judges every event.
//!
//! Invariant: it uses the reactor only as an engine may, and its own choices come from the seed. In
//! the second phase it meddles no more and everything must end by itself.

use std::{collections::BTreeMap, time::Duration};

use netproc_core::{
    queue::EventQueue,
    reactor::{Event, Op, OpenSpec, Reactor, SockId, SysError, Tick, Wait, Wake},
    sim::{Canary, Faults, Rng, SimReactor},
};

use crate::swarm::{
    Report,
    ledger::{Birth, Check, Ledger},
    plan::Plan,
    ports::{self, Port},
    streams::{Child, Client, Outcome, Reader},
};

/// Rounds in which everything must have ended once the faults are off.
const LIVENESS_MAX: u32 = 200_000;

/// Who an id is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Listener(usize),
    Client(usize),
    Child(usize),
    Port(usize),
}

/// One run of one seed.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(super) reactor: SimReactor,
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) faults: Faults,
    pub(super) meddling: bool,
    pub(super) ledger: Ledger,
    who: BTreeMap<SockId, Who>,
    pub(super) listeners: Vec<Option<SockId>>,
    pub(super) clients: Vec<Option<Client>>,
    pub(super) children: Vec<Child>,
    pub(super) ports: Vec<Option<Port>>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) paused: Vec<SockId>,
    pub(super) dead: Vec<SockId>,
    pub(super) doomed_at: u64,
    pub(super) report: Report,
}

impl Driver {
    pub(crate) fn new(seed: u64, canary: Option<Canary>) -> Self {
        let mut rng = Rng::new(seed ^ 0xD21C_E200_D21C_E200);
        let plan = Plan::draw(&mut rng);
        let faults = Faults::swarm(seed);
        let mut reactor = SimReactor::new(seed, faults, plan.config);
        if let Some(canary) = canary {
            reactor.plant(canary);
        }
        let pools = plan.config.slots.max(plan.config.packet_slots);
        Self {
            reactor,
            faults,
            meddling: true,
            ledger: Ledger::new(u64::from(pools)),
            who: BTreeMap::new(),
            listeners: vec![None; plan.listeners.len()],
            clients: plan.talks.iter().map(|_| None).collect(),
            children: Vec::new(),
            ports: (0..plan.servers.len() + plan.ports.len()).map(|_| None).collect(),
            outcomes: vec![Outcome::default(); plan.talks.len()],
            paused: Vec::new(),
            dead: Vec::new(),
            doomed_at: rng.below(plan.steps),
            report: Report::default(),
            plan,
            rng,
        }
    }

    /// Runs both phases and the clearing up; the text of an error says what was wrong.
    pub(crate) fn run(mut self) -> Result<Report, String> {
        for step in 0..self.plan.steps {
            self.open_what_is_missing()?;
            self.feed();
            self.meddle(step);
            let wait = match self.rng.below(3) {
                0 => Wait::No,
                _ => Wait::Until(self.later()),
            };
            self.poll(wait)?;
        }
        self.calm();
        self.settle()?;
        self.judge()?;
        self.clear_up()?;
        self.report.trace_hash = self.reactor.trace_hash();
        let counters = self.reactor.counters();
        self.report.starved = counters.starved;
        self.report.spilled = counters.spilled;
        self.report.stale = counters.stale;
        Ok(self.report)
    }

    fn later(&mut self) -> Tick {
        self.reactor.now().after(Duration::from_micros(self.rng.below(5_000)))
    }

    /// Ends the first phase: no fault, no meddling, nothing held, everybody reads.
    fn calm(&mut self) {
        self.meddling = false;
        self.reactor.set_faults(Faults::none());
        for id in std::mem::take(&mut self.paused) {
            self.set_reading(id, true);
        }
        for child in 0..self.children.len() {
            self.send_back(child);
        }
    }

    /// Runs until nothing moves any more.
    fn settle(&mut self) -> Check {
        for _ in 0..LIVENESS_MAX {
            self.open_what_is_missing()?;
            let fed = self.feed();
            let sleeps = self.reactor.endless_sleeps();
            let events = self.report.events;
            self.poll(Wait::Forever)?;
            let idle = self.report.events == events && self.reactor.endless_sleeps() > sleeps;
            if idle && !fed {
                return Ok(());
            }
        }
        Err(format!("not at rest after {LIVENESS_MAX} rounds"))
    }

    /// One `poll` and everything that follows from its events.
    pub(super) fn poll(&mut self, wait: Wait) -> Check {
        let wakes = if self.meddling && self.rng.percent(5) { self.rng.between(1, 3) } else { 0 };
        for _ in 0..wakes {
            self.reactor.waker().wake();
        }
        let before = self.reactor.now();
        let mut events = EventQueue::new();
        self.ledger.polled();
        self.reactor.poll(wait, &mut events).map_err(|err| format!("poll failed: {err}"))?;
        if let Wait::Until(deadline) = wait
            && self.reactor.now() > deadline.max(before.after(Duration::from_micros(1)))
        {
            return Err(format!("poll returned at {:?}, not by {deadline:?}", self.reactor.now()));
        }
        let mut woken = 0;
        while let Some(event) = events.pop() {
            self.report.events += 1;
            self.ledger.note(&event)?;
            if matches!(event, Event::Woken) {
                woken += 1;
            }
            self.handle(event)?;
        }
        if woken == u64::from(wakes > 0) {
            Ok(())
        } else {
            Err(format!("{wakes} wakes, {woken} Woken"))
        }
    }

    fn handle(&mut self, event: Event) -> Check {
        let who = event.owner().and_then(|id| self.who.get(&id).copied());
        match (event, who) {
            (Event::Accepted { id, .. }, _) => {
                self.ledger.open(id, Birth::Accepted, true)?;
                self.reactor.watch_sent(id, true);
                self.who.insert(id, Who::Child(self.children.len()));
                let reader = Reader::default();
                self.children.push(Child { id, reader, held: Vec::new(), closing: false });
                Ok(())
            }
            (Event::AcceptFailed { err, .. }, _) => excuse(err, self.faults.emfile > 0),
            (Event::Connected { .. }, Some(Who::Client(talk))) => match &self.clients[talk] {
                Some(client) if !client.closing => Ok(()),
                _ => Err(format!("talk {talk} connected after its close")),
            },
            (Event::Data { buf, lost, .. }, Some(Who::Client(talk))) => {
                self.report.bytes += buf.len() as u64;
                let client = self.clients[talk].as_mut().ok_or("a client without a side")?;
                client.reader.take(&self.plan, &buf, lost)?;
                self.outcomes[talk].returned = client.reader.at;
                Ok(())
            }
            (Event::Data { buf, lost, .. }, Some(Who::Child(child))) => {
                self.child_data(child, buf, lost)
            }
            (Event::Eof { id }, Some(Who::Client(talk))) => {
                self.client_eof(talk, id);
                Ok(())
            }
            (Event::Eof { .. }, Some(Who::Child(child))) => {
                self.child_eof(child);
                Ok(())
            }
            (Event::Datagram { buf, from, lost, .. }, Some(Who::Port(port))) => {
                self.packet(port, buf, from, lost)
            }
            (Event::Trouble { err, .. }, Some(Who::Port(_))) => {
                excuse(err, self.faults.icmp_error > 0)
            }
            (Event::Closed { id, cause, unsent }, Some(who)) => self.closed(id, who, cause, unsent),
            (Event::Sent { .. } | Event::Woken, _) => Ok(()),
            (event, who) => Err(format!("{event:?} of {who:?}")),
        }
    }

    fn closed(&mut self, id: SockId, who: Who, cause: Option<SysError>, unsent: u64) -> Check {
        self.paused.retain(|paused| *paused != id);
        if self.reactor.local_addr(id).is_ok() {
            return Err(format!("{id:?} is closed and has an address"));
        }
        self.dead.push(id);
        let talk = match who {
            Who::Client(talk) => Some(talk),
            Who::Child(child) => {
                self.children[child].held.clear();
                self.children[child].reader.talk
            }
            Who::Listener(_) | Who::Port(_) => {
                return cause.map_or(Ok(()), |err| excuse(err, false));
            }
        };
        if let Some(outcome) = talk.and_then(|talk| self.outcomes.get_mut(talk)) {
            outcome.refused |= cause.is_some_and(|err| err.op == Op::Connect);
            outcome.broken |= cause.is_some() || unsent > 0;
        }
        Ok(())
    }

    /// Opens what is not open yet: a descriptor may have been refused before.
    fn open_what_is_missing(&mut self) -> Check {
        for index in 0..self.listeners.len() {
            if self.listeners[index].is_none() {
                let (kind, address) = &self.plan.listeners[index];
                let spec = OpenSpec { kind: *kind, local: Some(address), ..OpenSpec::default() };
                let backlog = if self.plan.spills { 1 } else { 16 };
                let opened = self.reactor.listen(&spec, backlog);
                self.listeners[index] =
                    self.opened(opened, Birth::Listening, Who::Listener(index))?;
            }
        }
        for index in 0..self.clients.len() {
            if self.clients[index].is_none() {
                self.open_client(index)?;
            }
        }
        for index in 0..self.ports.len() {
            if self.ports[index].is_none() {
                self.open_port(index)?;
            }
        }
        Ok(())
    }

    fn opened(
        &mut self,
        opened: Result<SockId, SysError>,
        birth: Birth,
        who: Who,
    ) -> Result<Option<SockId>, String> {
        match opened {
            Ok(id) => {
                let watched = birth != Birth::Listening;
                self.ledger.open(id, birth, watched)?;
                self.reactor.watch_sent(id, watched);
                self.who.insert(id, who);
                Ok(Some(id))
            }
            Err(err) if err.is_out_of_descriptors() && self.faults.emfile > 0 => Ok(None),
            Err(err) => Err(format!("{who:?}: {err}")),
        }
    }

    fn open_client(&mut self, index: usize) -> Check {
        let talk = &self.plan.talks[index];
        let Some(listener) = self.listeners[talk.listener] else { return Ok(()) };
        let (kind, address) = &self.plan.listeners[talk.listener];
        // A listener that was closed on purpose has no address any more.
        let to = self.reactor.local_addr(listener).unwrap_or_else(|_| address.clone());
        let spec = OpenSpec { kind: *kind, ..OpenSpec::default() };
        let opened = self.reactor.connect(&spec, &to);
        if let Some(id) = self.opened(opened, Birth::Connecting, Who::Client(index))? {
            let reader = Reader::of(index);
            let client = Client { id, reader, sent: 0, done: false, closing: false };
            self.clients[index] = Some(client);
        }
        Ok(())
    }

    fn open_port(&mut self, index: usize) -> Check {
        let servers = self.plan.servers.len();
        let server = index < servers;
        let mut to = None;
        let opened = if server {
            let local = Some(&self.plan.servers[index]);
            self.reactor.datagram(&OpenSpec { local, ..OpenSpec::default() }, None)
        } else {
            let plan = self.plan.ports[index - servers];
            let Some(target) = self.ports[plan.server].as_ref() else { return Ok(()) };
            let address = self.reactor.local_addr(target.id).map_err(|err| err.to_string())?;
            let family = address.family();
            // A local socket without a name gets no answer: bind it.
            let name = format!("\"\\x00port{index}\"").parse().map_err(|_| "a port's name")?;
            let local = (plan.server == 1).then_some(&name);
            let spec = OpenSpec { family, local, ..OpenSpec::default() };
            to = (!plan.connected).then(|| address.clone());
            self.reactor.datagram(&spec, plan.connected.then_some(&address))
        };
        if let Some(id) = self.opened(opened, Birth::Packets, Who::Port(index))? {
            let plan = index.checked_sub(servers).map(|at| self.plan.ports[at]);
            self.ports[index] = Some(Port {
                id,
                server,
                to,
                local: plan.map_or(index, |plan| plan.server) == 1,
                inbox: ports::Inbox::default(),
                packets: plan.map_or(0, |plan| plan.packets),
                sent: 0,
            });
        }
        Ok(())
    }
}

/// Whether an error is one that a fault explains.
fn excuse(err: SysError, excused: bool) -> Check {
    if excused { Ok(()) } else { Err(format!("{err} without that fault")) }
}
