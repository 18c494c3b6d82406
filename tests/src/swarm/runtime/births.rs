//! Making processes: servers, clients of every sort, packet processes; and their callbacks.
//!
//! Invariant: the model stands before its process, so that a callback during the start finds it. A
//! connection is known from the first thing told of it.

use std::{rc::Rc, time::Duration};

use netproc::{
    Address, Event, Input, Kind, LogEntry, Process, Role as ContactRole, StartError, Status,
};

use netproc_core::eyeballs::ATTEMPT_DELAY_MIN;

use crate::swarm::runtime::{
    model::{Filter, Life, Role, Subject},
    plan::{LONG, Style, narrow},
    waits::{DEPTH_MAX, Served},
    world::{Mode, World},
};

/// No host answers there, and nobody listens there.
const ASTRAY: [&str; 2] = ["[192 0 2 1 7]", "[127 0 0 1 1]"];

/// Where the client of that index tries to connect: by itself to `target`, or after it has tried others.
/// Decided without a draw, so that the schedule of a seed is that of its other choices.
fn detours(index: usize, target: &Address) -> Vec<Address> {
    let number = index % 8;
    let mut all: Vec<Address> = ASTRAY.map(|text| text.parse().expect("an address")).into();
    match number {
        0 => all.truncate(1),
        1 => drop(all.remove(0)),
        2 => {}
        3 => all.reverse(),
        _ => all.clear(),
    }
    all.push(target.clone());
    all
}

/// Tries to get a descriptor for a server while none is to be had.
const TRIES: u32 = 200;

impl World {
    /// Starts every server of the plan, and the packet server.
    pub(super) fn start_servers(self: &Rc<Self>) -> Result<(), String> {
        for number in 0..self.plan.servers.len() {
            self.start_server(number)?;
        }
        if self.plan.packet_clients > 0 {
            self.start_packets(None)?;
            let server = self.count() - 1;
            for _ in 0..self.plan.packet_clients {
                self.start_packets(Some(server))?;
            }
        }
        Ok(())
    }

    fn start_server(self: &Rc<Self>, number: usize) -> Result<(), String> {
        let plan = self.plan.servers[number].clone();
        let name = format!("s{number}");
        let mut subject = Subject::new(name.clone(), Role::Server(plan.style), Life::Listen);
        subject.half_open = plan.half_open;
        subject.logs = plan.style != Style::Pull && (plan.log || plan.style == Style::Talker);
        let logs = plan.style != Style::Pull && plan.log;
        let index = self.add(subject);
        let start = || {
            let builder = self.rt.server(&name).local(plan.local.clone()).kind(plan.kind);
            let builder = builder.half_open(plan.half_open).limits(self.plan.limits);
            if plan.style == Style::Pull {
                return builder.start();
            }
            let (filter, sentinel) = (self.next_generation(), self.next_generation());
            let mut subject = self.subject(index);
            subject.filter = Filter::Shared(filter);
            subject.sentinel = Some(sentinel);
            drop(subject);
            let builder = builder.filter(self.filter(index, Filter::Shared(filter)));
            let builder = builder.sentinel(self.sentinel(index, sentinel));
            let builder = if logs { builder.log(self.log(index)) } else { builder };
            if plan.style == Style::Talker {
                builder.on_accept(self.on_accept(index)).start()
            } else {
                builder.start()
            }
        };
        let process = self.insist(start)?;
        self.bind(index, &process);
        Ok(())
    }

    /// A packet server, or a client of one.
    fn start_packets(self: &Rc<Self>, server: Option<usize>) -> Result<(), String> {
        let role = if server.is_some() { Role::PacketClient } else { Role::PacketServer };
        let index = self.count();
        let name = format!("p{index}");
        let (filter, sentinel) = (self.next_generation(), self.next_generation());
        let mut subject = Subject::new(name.clone(), role, Life::Open);
        subject.filter = Filter::Shared(filter);
        subject.sentinel = Some(sentinel);
        self.add(subject);
        let remote = server.and_then(|server| {
            let process = self.subject(server).process.clone()?;
            Some(process.contact().local().clone())
        });
        let own = Filter::Shared(filter);
        let process = self.insist(|| match &remote {
            Some(remote) => self
                .rt
                .client(&name)
                .datagram()
                .remote(remote.clone())
                .limits(self.plan.limits)
                .filter(self.filter(index, own))
                .sentinel(self.sentinel(index, sentinel))
                .start(),
            None => self
                .rt
                .server(&name)
                .datagram()
                .limits(self.plan.limits)
                .filter(self.filter(index, own))
                .sentinel(self.sentinel(index, sentinel))
                .start(),
        })?;
        self.bind(index, &process);
        Ok(())
    }

    /// Starts something that only the want of descriptors may hinder.
    fn insist(&self, start: impl Fn() -> Result<Process, StartError>) -> Result<Process, String> {
        for _ in 0..TRIES {
            match start() {
                Ok(process) => return Ok(process),
                Err(err) if self.plan.faults.emfile > 0 && is_out_of_descriptors(&err) => {}
                Err(err) => return Err(format!("a start failed: {err:?}")),
            }
        }
        Err(format!("no descriptor in {TRIES} tries"))
    }

    /// Starts a client of some server: waiting or not, with callbacks or to be pulled.
    pub(super) fn start_client(self: &Rc<Self>) {
        let servers = self.pick_all(|s| matches!(s.role, Role::Server(_)));
        let clients = self.pick_all(|s| matches!(s.role, Role::Client(_)));
        if servers.is_empty() || clients.len() >= self.plan.clients_max {
            return;
        }
        let server = servers[self.position(servers.len())];
        let Some(target) = self.subject(server).process.clone() else { return };
        let index = self.count();
        let name = format!("c{index}");
        let deep = self.modes.borrow().len() >= DEPTH_MAX;
        let (nowait, pulled) = (deep || self.percent(50), !self.plan.drops && self.percent(30));
        let life = if nowait { Life::Connect } else { Life::Starting };
        let mut subject = Subject::new(name.clone(), Role::Client(server), life);
        subject.total = 4 + self.below(6_000);
        subject.talk = Some(index);
        subject.half_open = self.percent(20);
        subject.stopped = self.percent(10);
        let (half_open, stopped) = (subject.half_open, subject.stopped);
        let generations = (!pulled).then(|| (self.next_generation(), self.next_generation()));
        if let Some((filter, sentinel)) = generations {
            subject.filter = Filter::Shared(filter);
            subject.sentinel = Some(sentinel);
        }
        self.add(subject);
        let within =
            if self.percent(30) { Duration::from_micros(self.below(20_000)) } else { LONG };
        let builder = self.rt.client(&name).remotes(detours(index, target.contact().local()));
        let builder = builder.attempt_delay(ATTEMPT_DELAY_MIN);
        let builder = builder.kind(target.kind()).nowait(nowait).within(within);
        let builder = builder.half_open(half_open).stop(stopped).limits(self.plan.limits);
        let builder = match generations {
            Some((filter, sentinel)) => builder
                .filter(self.filter(index, Filter::Shared(filter)))
                .sentinel(self.sentinel(index, sentinel)),
            None => builder,
        };
        let started = if nowait {
            builder.start()
        } else {
            let mode = Mode::Callbacks(Some(index));
            self.timed(Some(within), mode, Served::Start, || builder.start())
        };
        self.started(index, within == LONG, started);
    }

    fn started(&self, index: usize, patient: bool, started: Result<Process, StartError>) {
        self.note(10, u64::from(started.is_ok()));
        match started {
            Ok(process) => {
                self.bind(index, &process);
                let starting = self.subject(index).life == Life::Starting;
                if starting {
                    self.subject(index).life = Life::Open;
                }
                self.check(index);
                let bound = process.contact().local().port() != Some(0);
                if process.status() == Status::Open && !bound {
                    self.fail_of(index, "has no port of its own");
                }
            }
            Err(err) => {
                self.report.borrow_mut().failed += 1;
                let (server, cut) = {
                    let subject = self.subject(index);
                    (subject.role, subject.cut || subject.life == Life::Closed)
                };
                let Role::Client(server) = server else { return };
                let faults = &self.plan.faults;
                let excused = cut
                    || !patient
                    || self.subject(server).life == Life::Closed
                    || faults.refuse > 0
                    || faults.connect_timeout > 0
                    || faults.reset > 0
                    || faults.emfile > 0;
                if !excused {
                    self.fail_of(index, &format!("could not start: {err:?}"));
                }
                self.subject(index).life = Life::Never;
                let name = self.subject(index).name.clone();
                if self.rt.get_process(&name).is_some() {
                    self.fail_of(index, "is left although its start failed");
                }
            }
        }
    }

    /// Ties a process to its model.
    pub(super) fn bind(&self, index: usize, process: &Process) {
        let mut subject = self.subject(index);
        if subject.process.is_none() {
            subject.process = Some(process.clone());
            drop(subject);
            let before = self.by_id.borrow_mut().insert(process.id(), index);
            if before.is_some() {
                self.fail_of(index, "has an id that was given before");
            }
        } else if subject.process.as_ref() != Some(process) {
            drop(subject);
            self.fail_of(index, "is another process now");
        }
    }

    /// A connection of `server`, told of for the first time.
    pub(super) fn born(&self, server: usize, process: &Process) -> usize {
        let (model, logs) = {
            let parent = self.subject(server);
            let mut model =
                Subject::new(process.name().to_string(), Role::Child(server), Life::Open);
            model.filter = parent.filter;
            model.sentinel = parent.sentinel;
            model.deaf = parent.deaf;
            model.half_open = parent.half_open;
            let prefix = format!("{} <", parent.name);
            if !model.name.starts_with(&prefix) {
                self.fail(format!("a connection of {} is called {}", parent.name, model.name));
            }
            (model, parent.stopped || parent.life != Life::Listen)
        };
        let index = self.add(model);
        self.bind(index, process);
        if logs {
            self.fail_of(index, "was accepted by a server that is stopped or gone");
        }
        let contact = process.contact();
        let parent = self.subject(server).process.clone();
        let local = parent.map(|parent| parent.contact().local().clone());
        let wildcard = local.as_ref().and_then(|local| local.socket_addr());
        let wildcard = wildcard.is_some_and(|local| local.ip().is_unspecified());
        if contact.role() != ContactRole::Accepted
            || !wildcard && local.as_ref() != Some(contact.local())
        {
            self.fail_of(index, &format!("has the contact {contact:?}"));
        }
        index
    }

    /// The model of a process that a callback installed for `owner` was given.
    pub(super) fn index(&self, process: &Process, owner: usize) -> Option<usize> {
        let known = self.by_id.borrow().get(&process.id()).copied();
        if known.is_some() {
            return known;
        }
        let own = {
            let subject = self.subject(owner);
            subject.process.is_none() && subject.name == *process.name()
        };
        if own {
            self.bind(owner, process);
            return Some(owner);
        }
        self.fail(format!("{process:?} is told something, and nobody knows it"));
        None
    }

    pub(super) fn filter(
        self: &Rc<Self>,
        owner: usize,
        generation: Filter,
    ) -> impl Fn(&Process, Input) -> Result<(), &'static str> + 'static {
        let world = Rc::downgrade(self);
        move |process, input| match world.upgrade() {
            Some(world) => world.filtered(process, input, generation, owner),
            None => Ok(()),
        }
    }

    /// A filter with state of its own: it counts, and what it counts must be what the model has.
    pub(super) fn own_filter(
        self: &Rc<Self>,
        owner: usize,
        generation: u32,
    ) -> impl FnMut(&Process, Input) -> Result<(), &'static str> + 'static {
        let world = Rc::downgrade(self);
        let mut next = None;
        move |process, input| {
            let Some(world) = world.upgrade() else { return Ok(()) };
            let at = world.index(process, owner).map_or(0, |index| world.subject(index).at);
            if next.is_some_and(|next| next != at) {
                world.fail_of(owner, &format!("its own filter is at {next:?}, the model at {at}"));
            }
            next = Some(at + input.len() as u64);
            world.filtered(process, input, Filter::Own(generation), owner)
        }
    }

    pub(super) fn sentinel(
        self: &Rc<Self>,
        owner: usize,
        generation: u32,
    ) -> impl Fn(&Process, &Event) -> Result<(), &'static str> + 'static {
        let world = Rc::downgrade(self);
        move |process, event| match world.upgrade() {
            Some(world) => world.told(process, event, generation, owner),
            None => Ok(()),
        }
    }

    fn log(
        self: &Rc<Self>,
        server: usize,
    ) -> impl Fn(&Process, Option<&Process>, &LogEntry) -> Result<(), &'static str> + 'static {
        let world = Rc::downgrade(self);
        move |_, process, entry| match world.upgrade() {
            Some(world) => world.logged(server, process, entry),
            None => Ok(()),
        }
    }

    fn on_accept(
        self: &Rc<Self>,
        server: usize,
    ) -> impl Fn(&Process, &Process) -> Result<(), &'static str> + 'static {
        let world = Rc::downgrade(self);
        move |_, process| match world.upgrade() {
            Some(world) => world.accepted(server, process),
            None => Ok(()),
        }
    }

    /// Puts a fresh filter and a fresh sentinel in place of whatever there is.
    pub(super) fn install_filter(self: &Rc<Self>, index: usize, process: &Process) {
        self.install_sentinel(index, process);
        let generation = self.next_generation();
        let mut subject = self.subject(index);
        subject.filter = Filter::Shared(generation);
        subject.deaf = false;
        drop(subject);
        process.set_filter(self.filter(index, Filter::Shared(generation)));
    }

    /// Puts a filter with state of its own in place; a server must refuse it.
    pub(super) fn install_own_filter(self: &Rc<Self>, index: usize, process: &Process) {
        let generation = self.next_generation();
        if matches!(self.subject(index).role, Role::Server(_)) {
            if process.set_filter_mut(self.own_filter(index, generation)).is_ok() {
                self.fail_of(index, "took a filter of its own, which its connections would share");
            }
            return;
        }
        self.install_sentinel(index, process);
        let mut subject = self.subject(index);
        (subject.filter, subject.deaf) = (Filter::Own(generation), false);
        drop(subject);
        if process.set_filter_mut(self.own_filter(index, generation)).is_err() {
            self.fail_of(index, "took no filter of its own");
        }
    }

    pub(super) fn install_sentinel(self: &Rc<Self>, index: usize, process: &Process) {
        let generation = self.next_generation();
        self.subject(index).sentinel = Some(generation);
        process.set_sentinel(self.sentinel(index, generation));
    }

    /// Bytes one payload of `process` may have.
    pub(super) fn chunk_max(&self, process: &Process) -> usize {
        match process.kind() {
            Kind::Stream => self.plan.chunk_max,
            // What is longer than a slot is cut.
            Kind::Datagram | Kind::SeqPacket => {
                self.plan.chunk_max.min(narrow(self.plan.config.packet_len.into()))
            }
        }
    }
}

fn is_out_of_descriptors(err: &StartError) -> bool {
    matches!(err, StartError::Sys { source, .. } if source.is_out_of_descriptors())
}
