//! What the runtime tells: every callback and every event pulled is judged here, then answered.
//!
//! Invariant: the model takes the step of an event before anything is done about it, so that whatever
//! is done inside the callback finds the model where the process must be.

use std::rc::Rc;

use netproc::{Address, Event, Exit, Failure, Input, LogEntry, Process, Reason, SendError};

use crate::swarm::{
    ports,
    runtime::{
        Lapse,
        model::{Filter, Life, Role, reply},
        plan::Style,
        world::{Mode, World},
    },
    streams,
};

/// How often a lapse strikes, in percent.
const LAPSE: u8 = 20;

impl World {
    /// A filter was called.
    pub(super) fn filtered(
        self: &Rc<Self>,
        process: &Process,
        input: Input,
        generation: Filter,
        owner: usize,
    ) -> Result<(), &'static str> {
        let Some(index) = self.index(process, owner) else { return Ok(()) };
        let old = self.lapse == Some(Lapse::OldFilter) && self.percent(LAPSE);
        let wanted = if old { Filter::None } else { self.subject(index).filter };
        if wanted != generation {
            self.fail_of(index, &format!("called {generation:?} instead of {wanted:?}"));
        }
        self.take(index, &input);
        let own = matches!(generation, Filter::Own(_));
        self.subject(index).busy |= own;
        self.answer(index, process, input);
        self.inside();
        if own {
            self.subject(index).busy = false;
        }
        self.outcome()
    }

    /// A sentinel was called.
    pub(super) fn told(
        self: &Rc<Self>,
        process: &Process,
        event: &Event,
        generation: u32,
        owner: usize,
    ) -> Result<(), &'static str> {
        let birth = matches!(event, Event::OpenFrom(_));
        let known = self.by_id.borrow().contains_key(&process.id());
        let server = matches!(self.subject(owner).role, Role::Server(_));
        let index = if birth && server && !known {
            Some(self.born(owner, process))
        } else {
            self.index(process, owner)
        };
        let Some(index) = index else { return Ok(()) };
        if self.subject(index).sentinel != Some(generation) {
            self.fail_of(index, &format!("a replaced sentinel was told {event:?}"));
        }
        self.event(index, process, event);
        self.inside();
        self.outcome()
    }

    /// A server's log was called.
    pub(super) fn logged(
        self: &Rc<Self>,
        server: usize,
        process: Option<&Process>,
        entry: &LogEntry,
    ) -> Result<(), &'static str> {
        self.note(4, server as u64);
        match (entry, process) {
            (LogEntry::Accepted { .. }, Some(process)) => {
                let known = self.by_id.borrow().get(&process.id()).copied();
                let index = known.unwrap_or_else(|| self.born(server, process));
                let mut subject = self.subject(index);
                let twice = std::mem::replace(&mut subject.logged, true);
                let late = subject.opened;
                drop(subject);
                if twice || late {
                    self.fail_of(index, "is logged twice, or after it was told");
                }
            }
            (LogEntry::AcceptFailed { err, count, .. }, None) => {
                if self.plan.faults.emfile == 0 || *count == 0 {
                    self.fail(format!("accept failed {count} times without a fault: {err}"));
                }
            }
            (entry, process) => self.fail(format!("logged {entry:?} of {process:?}")),
        }
        self.inside();
        self.outcome()
    }

    /// A server's `on_accept` was called: the connection gets a filter of its own.
    pub(super) fn accepted(
        self: &Rc<Self>,
        server: usize,
        process: &Process,
    ) -> Result<(), &'static str> {
        if self.by_id.borrow().contains_key(&process.id()) {
            self.fail(format!("{process:?} was told of before its `on_accept`"));
        }
        let index = self.born(server, process);
        if !self.subject(index).deaf {
            self.install_own_filter(index, process);
        }
        self.inside();
        self.outcome()
    }

    /// An event was pulled.
    pub(super) fn pulled(self: &Rc<Self>, process: &Process, event: Event, mode: Mode) {
        self.report.borrow_mut().pulled += 1;
        self.modes.borrow_mut().push(mode);
        let known = self.by_id.borrow().get(&process.id()).copied();
        let index = match (known, &event) {
            (None, Event::OpenFrom(_)) => {
                let mut listening = self.pick_all(|s| matches!(s.role, Role::Server(_)));
                listening.retain(|&server| {
                    process.name().starts_with(&format!("{} <", self.subject(server).name))
                });
                listening.first().map(|&server| self.born(server, process))
            }
            (known, _) => known,
        };
        match (index, event) {
            (None, event) => self.fail(format!("pulled {event:?} of {process:?}, unknown")),
            (Some(index), Event::Input(input)) => {
                if self.subject(index).filter != Filter::None {
                    self.fail_of(index, "has a filter, but its input was pulled");
                }
                self.take(index, &input);
                self.modes.borrow_mut().pop();
                self.answer(index, process, input);
                return;
            }
            (Some(index), event) => {
                if self.subject(index).sentinel.is_some() {
                    self.fail_of(index, &format!("has a sentinel, but {event:?} was pulled"));
                }
                self.event(index, process, &event);
            }
        }
        self.modes.borrow_mut().pop();
    }

    /// Takes a step for input: who may have it, and whether it is right.
    fn take(&self, index: usize, input: &Input) {
        if self.lapse == Some(Lapse::LostInput) && self.percent(LAPSE) {
            return;
        }
        self.inputs.set(self.inputs.get() + 1);
        self.heard_input(index, input);
        self.take_once(index, input);
        if self.lapse == Some(Lapse::DoubledInput) && self.percent(LAPSE) {
            self.take_once(index, input);
        }
    }

    fn heard_input(&self, index: usize, input: &Input) {
        self.report.borrow_mut().heard += 1;
        self.note(5, (index as u64) << 32 | input.len() as u64);
        self.note(6, self.now().0);
        if self.closed.get() {
            self.fail_of(index, "is given input after `close`");
        }
    }

    fn take_once(&self, index: usize, input: &Input) {
        if !self.is_admitted(index, true) {
            self.fail_of(index, "is given input by a wait that leaves it out");
        }
        let mut subject = self.subject(index);
        if subject.life == Life::Starting {
            // The innermost wait has seen it connect; its start has not come back yet.
            subject.life = Life::Open;
        }
        subject.inputs += 1;
        let why = subject.refuses_input();
        let role = subject.role;
        let packet = subject.is_packet();
        drop(subject);
        if let Some(why) = why {
            self.fail_of(index, &format!("is given {} bytes although {why}", input.len()));
        }
        if packet {
            return self.take_packet(index, input);
        }
        let stream = self.stream(index, role);
        let read = self.subject(index).read(input, stream);
        self.report.borrow_mut().bytes += input.len() as u64;
        if let Err(what) = read {
            self.fail_of(index, &what);
        } else if input.lost() > 0 || input.is_empty() {
            self.fail_of(index, &format!("is given {} bytes, {} lost", input.len(), input.lost()));
        }
        self.pair(index);
        let (partner, at) = {
            let subject = self.subject(index);
            (subject.partner, subject.at)
        };
        let Some(partner) = partner else { return };
        let mut partner = self.subject(partner);
        let (given, record) = (partner.given, partner.records.pop_front());
        drop(partner);
        if at > given {
            self.fail_of(index, &format!("has {at} bytes, more than were sent"));
        }
        if record.is_some_and(|len| len != input.len()) {
            self.fail_of(index, &format!("got {} bytes of a record, {record:?}", input.len()));
        }
    }

    /// The conversation number of what a client gets; a connection has yet to learn its own.
    fn stream(&self, index: usize, role: Role) -> Option<usize> {
        let Role::Client(server) = role else { return None };
        let talker = self.subject(server).role == Role::Server(Style::Talker);
        Some(if talker { reply(index) } else { index })
    }

    fn take_packet(&self, index: usize, input: &Input) {
        self.report.borrow_mut().packets += 1;
        let len_max = self.packet_len_max();
        let exact = ports::is_exact(&self.plan.faults);
        let mut subject = self.subject(index);
        subject.at += input.len() as u64;
        let taken = subject.inbox.take(input, input.lost(), len_max, exact);
        drop(subject);
        if let Err(what) = taken {
            self.fail_of(index, &what);
        }
    }

    /// The longest packet sent: a little longer than a slot.
    pub(super) const fn packet_len_max(&self) -> usize {
        self.plan.config.packet_len as usize + 64
    }

    /// Finds the client of a connection that has just named its conversation.
    fn pair(&self, index: usize) {
        let (role, talk, partner) = {
            let subject = self.subject(index);
            (subject.role, subject.talk, subject.partner)
        };
        let (Role::Child(server), Some(talk), None) = (role, talk, partner) else { return };
        let fits = talk < self.count() && {
            let client = self.subject(talk);
            client.role == Role::Client(server) && client.partner.is_none()
        };
        if !fits {
            return self.fail_of(index, &format!("says it is the connection of {talk}"));
        }
        self.subject(index).partner = Some(talk);
        self.subject(talk).partner = Some(index);
    }

    /// Takes a step for an event, then does what it calls for.
    fn event(self: &Rc<Self>, index: usize, process: &Process, event: &Event) {
        if self.lapse == Some(Lapse::LostDrained) && *event == Event::Drained {
            return;
        }
        self.step(index, process, event);
        let end = matches!(event, Event::Broken { .. });
        if end && self.lapse == Some(Lapse::EndTwice) {
            self.step(index, process, event);
        }
        if end && self.lapse == Some(Lapse::EventAfterEnd) {
            self.step(index, process, &Event::Drained);
        }
        if matches!(event, Event::Drained | Event::Open) {
            self.send_pending(index, process);
            if matches!(self.subject(index).role, Role::Client(_)) {
                self.send_some(index, process);
            }
        }
        self.wind_up(index, process);
    }

    fn step(&self, index: usize, process: &Process, event: &Event) {
        self.heard(index, event);
        let by_delete = *event == Event::Deleted;
        let birth = matches!(event, Event::OpenFrom(_));
        let mut subject = self.subject(index);
        let before = subject.life;
        if before == Life::Starting && !by_delete {
            subject.life = Life::Open;
        }
        let was_ended = subject.ended && !birth;
        let (busy, life) = (subject.busy, subject.life);
        let right = match event {
            Event::Open => {
                subject.life = Life::Open;
                !std::mem::replace(&mut subject.opened, true) && before == Life::Connect
            }
            Event::OpenFrom(_) => {
                let child = matches!(subject.role, Role::Child(_));
                child && !std::mem::replace(&mut subject.opened, true)
            }
            Event::Failed(_) => {
                subject.life = Life::Failed;
                before == Life::Connect
            }
            Event::Broken { .. } => {
                subject.life = Life::Closed;
                subject.ended = true;
                life == Life::Open && subject.is_stream()
            }
            // The model took its step when `delete` was called.
            Event::Deleted => !std::mem::replace(&mut subject.ended, true) && life == Life::Closed,
            Event::Drained => {
                subject.owed = false;
                subject.drained += 1;
                subject.drained <= subject.asked && matches!(life, Life::Open | Life::Connect)
            }
            Event::PeerFinished => {
                !std::mem::replace(&mut subject.peer_finished, true)
                    && subject.half_open
                    && life == Life::Open
            }
            // Refused by a server that was deleted, or by nobody at all.
            Event::Trouble(_) => subject.role == Role::PacketClient,
            Event::Input(_) | _ => false,
        };
        drop(subject);
        if !right || was_ended || busy && !by_delete {
            self.fail_of(index, &format!("is told {event:?} (before: {before:?})"));
        }
        if !by_delete && !birth && !self.is_admitted(index, false) {
            self.fail_of(index, &format!("is told {event:?} by a wait that leaves it out"));
        }
        self.step_on(index, process, event);
    }

    /// What of the runtime must agree with an event just taken.
    fn step_on(&self, index: usize, process: &Process, event: &Event) {
        if *event == Event::Drained {
            self.report.borrow_mut().drained += 1;
        } else if let Event::OpenFrom(peer) = event {
            self.opened(index, process, peer.as_ref());
        } else if let Event::Failed(err) = event {
            self.report.borrow_mut().failed += 1;
            self.failed(index, err);
        } else if let Event::Broken { reason, unsent } = event {
            let cause = matches!(reason, Reason::Sys(_));
            self.subject(index).broken = cause || *unsent > 0;
            if !matches!(process.exit(), Exit::Broken(_)) {
                self.fail_of(index, &format!("ended as {:?}", process.exit()));
            }
        }
        self.check(index);
    }

    fn opened(&self, index: usize, process: &Process, peer: Option<&Address>) {
        let (role, logged) = {
            let subject = self.subject(index);
            (subject.role, subject.logged)
        };
        let Some(server) = role.server() else { return };
        let plan = &self.plan.servers[server];
        // A server that its `on_accept` deletes has no log any more.
        let logs = plan.log && self.subject(server).life == Life::Listen;
        if plan.style != Style::Pull && logs && !logged {
            self.fail_of(index, "is told of before it was logged");
        }
        if process.contact().remote() != peer {
            self.fail_of(index, &format!("comes from {peer:?}, its contact differs"));
        }
    }

    fn failed(&self, index: usize, err: &Failure) {
        let role = self.subject(index).role;
        let faults = &self.plan.faults;
        let server_gone =
            role.server().is_some_and(|server| self.subject(server).life == Life::Closed);
        // Without a descriptor the next of several addresses may not even be tried.
        let excused = server_gone || faults.emfile > 0;
        if !excused && faults.refuse == 0 && faults.connect_timeout == 0 && faults.reset == 0 {
            self.fail_of(index, &format!("could not connect: {err}"));
        }
    }

    /// Does with input what its process is there for.
    fn answer(self: &Rc<Self>, index: usize, process: &Process, input: Input) {
        let role = self.subject(index).role;
        if self.meddling.get() && self.held.borrow().is_empty() && self.percent(3) {
            self.held.borrow_mut().push(input.clone());
        }
        if role == Role::PacketServer && input.lost() == 0 {
            return self.send_packet(index, process, input.into());
        }
        let Role::Child(server) = role else { return };
        let style = self.subject(server).role;
        if style == Role::Server(Style::Talker) {
            return self.talk_back(index, process, input.len());
        }
        if self.subject(index).pending.is_empty() {
            let copy = input.to_vec();
            let sent = self.send(index, process, input.into());
            if matches!(sent, Err(SendError::QueueFull { .. })) {
                self.subject(index).pending.push_back(copy);
            }
        } else {
            self.subject(index).pending.push_back(input.to_vec());
        }
    }

    /// A talker answers with bytes of its own, more or fewer than it got.
    fn talk_back(&self, index: usize, process: &Process, len: usize) {
        let (talk, given) = {
            let subject = self.subject(index);
            (subject.talk, subject.given)
        };
        let Some(talk) = talk else { return };
        let len = self.length(len * 2).min(self.chunk_max(process));
        let bytes = streams::bytes(reply(talk), given, len);
        // What is refused is said another time, or never.
        self.send(index, process, bytes.into()).ok();
    }

    /// Sends back what was refused before, as far as there is room.
    pub(super) fn send_pending(&self, index: usize, process: &Process) -> bool {
        let mut any = false;
        loop {
            let Some(first) = self.subject(index).pending.front().cloned() else { return any };
            if self.send(index, process, first.into()).is_err() {
                return any;
            }
            self.subject(index).pending.pop_front();
            any = true;
        }
    }

    /// The peer of a half-open process has said everything: so does it, and goes.
    pub(super) fn wind_up(self: &Rc<Self>, index: usize, process: &Process) {
        let (done, live) = {
            let subject = self.subject(index);
            (subject.peer_finished && subject.pending.is_empty(), subject.life == Life::Open)
        };
        if done && live {
            self.delete(index, process, None, false);
        }
    }
}
