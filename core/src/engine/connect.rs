//! Making processes: servers, clients, packet sockets; and what becomes of a connect.
//!
//! Invariant: a start either lists a process with a socket of its own or changes nothing. What becomes
//! of the other addresses of a client that has several is `race.rs`'s.

use std::rc::Rc;

use super::{Delivery, Engine, NoAttempt, Owner};
use crate::{
    address::Address,
    coding::Coding,
    contact::{Contact, Role},
    event::{Event, Failure},
    layer::Layers,
    machine::{self, Phase},
    options::SockOption,
    plist::Plist,
    process::{Birth, Connecting, Exit, Limits, Shared},
    proxy::{ProxyOut, TrustedProxies},
    reactor::{CloseHow, FileSpec, Kind, Op, OpenSpec, Reactor, SockId, SysError},
};

/// What a new process shall be, apart from its addresses.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the builders fill every field")]
pub struct Start<H> {
    /// The name asked for; made unique.
    pub name: String,
    /// Stream, packets or records.
    pub kind: Kind,
    /// The arguments as the contact shows them.
    pub asked: Plist,
    /// The user's properties.
    pub plist: Plist,
    /// Filter, sentinel, log.
    pub handlers: H,
    /// How bytes are text; `None` leaves them bytes.
    pub coding: Option<Coding>,
    /// Makes what lies between each connection and its wire, such as TLS. Streams only.
    pub layers: Option<Rc<dyn Layers>>,
    /// A server: from whom each connection has to begin with a PROXY header. Streams only.
    pub trusted: Option<TrustedProxies>,
    /// A client: the PROXY header that its connection begins with. Streams only.
    pub header: Option<Box<ProxyOut>>,
    /// Set on the socket in order.
    pub options: Vec<SockOption>,
    /// Start stopped.
    pub stopped: bool,
    /// Stay open after the peer's end.
    pub half_open: bool,
    /// Share the address with other reactors.
    pub reuse_port: bool,
    /// Have the system connect a packet client to its peer.
    pub connected: bool,
    /// What becomes of the file of a local socket.
    pub file: FileSpec,
    /// Bounds.
    pub limits: Limits,
}

impl<H> Start<H> {
    /// How its socket is to be opened, bound to `local` if given.
    #[must_use]
    pub fn spec<'a>(&'a self, local: Option<&'a Address>) -> OpenSpec<'a> {
        OpenSpec {
            kind: self.kind,
            family: local.map(Address::family).unwrap_or_default(),
            local,
            options: &self.options,
            reading: !self.stopped,
            reuse_port: self.reuse_port,
            file: self.file,
        }
    }

    fn linger(&self) -> Option<u16> {
        let seconds = |option: &SockOption| {
            if let SockOption::Linger(seconds) = option { Some(*seconds) } else { None }
        };
        self.options.iter().rev().find_map(seconds)?
    }

    fn birth(self, role: Role, phase: Phase, sock: Option<SockId>) -> Birth<H> {
        Birth {
            kind: self.kind,
            phase,
            sock,
            contact: Contact::new(role, self.asked),
            limits: Rc::new(self.limits),
            plist: self.plist,
            handlers: self.handlers,
            coding: self.coding,
            layers: self.layers,
            stopped: self.stopped,
            half_open: self.half_open,
        }
    }
}

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Makes a server that listens on `local`.
    ///
    /// # Errors
    ///
    /// What the system refused; no process is left.
    pub fn listen(
        &mut self,
        start: Start<H>,
        local: &Address,
        backlog: u32,
    ) -> Result<Shared<H>, SysError> {
        let sock = self.reactor.listen(&start.spec(Some(local)), backlog)?;
        Ok(self.list_started(start, Role::Server, Phase::Listen, sock))
    }

    /// Makes a packet process, bound to `local` if given, sending to `remote` if given.
    ///
    /// A client is connected to its `remote` if it shall be, a server only remembers it.
    ///
    /// # Errors
    ///
    /// What the system refused; no process is left.
    pub fn datagram(
        &mut self,
        start: Start<H>,
        role: Role,
        local: Option<&Address>,
        remote: Option<&Address>,
    ) -> Result<Shared<H>, SysError> {
        let to = remote.filter(|_| role == Role::Client && start.connected);
        let families = |(a, b): (&Address, &Address)| a.family() == b.family();
        if to.is_none() && !local.zip(remote).is_none_or(families) {
            // What connects hears it from the system.
            return Err(SysError { op: Op::Connect, errno: libc::EAFNOSUPPORT });
        }
        let family = local.or(remote).map(Address::family).unwrap_or_default();
        let sock = self.reactor.datagram(&OpenSpec { family, ..start.spec(local) }, to)?;
        let process = self.list_started(start, role, Phase::Open, sock);
        let mut p = process.borrow_mut();
        p.connected = to.is_some();
        p.contact.set_remote(remote.cloned());
        drop(p);
        Ok(process)
    }

    /// Starts connecting to the first of `to`, from `local` if given, and races it against the others:
    /// call [`poll`](Self::poll) again when [`next_attempt_at`](Self::next_attempt_at) says. `announced`
    /// says whether the sentinel hears how it went.
    ///
    /// # Errors
    ///
    /// What the system refused of the socket itself for the last address; no process is left.
    pub fn connect(
        &mut self,
        start: Start<H>,
        to: Vec<Address>,
        local: Option<Address>,
        announced: bool,
    ) -> Result<Shared<H>, NoAttempt> {
        let spec = start.spec(local.as_ref());
        let begun = Self::begin(&mut self.reactor, &spec, to, start.limits.attempt_delay)?;
        let options = if begun.racing.is_some() { start.options.clone() } else { Vec::new() };
        let header = start.header.clone();
        let process = self.list_started(start, Role::Client, Phase::Connect, begun.sock);
        let mut p = process.borrow_mut();
        p.unannounced = !announced;
        p.connecting =
            Some(Box::new(Connecting { local, options, header, ..Connecting::default() }));
        drop(p);
        self.pursue(&process, begun);
        Ok(process)
    }

    pub(super) fn list_started(
        &mut self,
        start: Start<H>,
        role: Role,
        phase: Phase,
        sock: SockId,
    ) -> Shared<H> {
        let unlinks = start.file.unlink_on_delete;
        let process = self.list_start(start, role, phase, Some(sock));
        let mut p = process.borrow_mut();
        p.file = unlinks.then(|| self.reactor.bound_file(sock).ok().map(Box::new)).flatten();
        p.contact.set_local(self.reactor.local_addr(sock).ok());
        drop(p);
        process
    }

    /// The same for one that may have no socket.
    pub(super) fn list_start(
        &mut self,
        start: Start<H>,
        role: Role,
        phase: Phase,
        sock: Option<SockId>,
    ) -> Shared<H> {
        let (name, linger, trusted) = (start.name.clone(), start.linger(), start.trusted.clone());
        let process = self.list_new(&name, start.birth(role, phase, sock));
        let mut p = process.borrow_mut();
        p.linger = linger;
        if trusted.is_some() {
            p.serving.get_or_insert_default().trusted = trusted;
        }
        drop(p);
        process
    }

    /// Makes a client of which it is not known yet where to connect to; [`found`](Self::found) or
    /// [`not_found`](Self::not_found) tells. It has no socket until then; what it sends waits.
    pub fn look_up(&mut self, start: Start<H>, local: Option<Address>) -> Shared<H> {
        let (name, linger) = (start.name.clone(), start.linger());
        let (options, header) = (start.options.clone(), start.header.clone());
        let connected = start.connected && start.kind == Kind::Datagram;
        let process = self.list_new(&name, start.birth(Role::Client, Phase::Connect, None));
        let mut p = process.borrow_mut();
        p.linger = linger;
        p.connected = connected;
        let looking_up = true;
        let connecting = Connecting { looking_up, local, options, header, ..Connecting::default() };
        p.connecting = Some(Box::new(connecting));
        drop(p);
        self.looking_up += 1;
        process
    }

    /// How many processes wait for [`found`](Self::found).
    #[must_use]
    pub const fn looking_up(&self) -> usize {
        self.looking_up
    }

    /// It is known where a process is to connect to: the addresses race. Packets go to the first.
    pub fn found(&mut self, process: &Shared<H>, to: Vec<Address>) {
        if !self.looked_up(process) {
            return;
        }
        let datagram = process.borrow().kind == Kind::Datagram;
        let told = if datagram && !to.is_empty() {
            self.open_found(process, &to[0])
        } else {
            self.connect_found(process, to)
        };
        self.notices.extend(told);
    }

    fn connect_found(&mut self, process: &Shared<H>, to: Vec<Address>) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        let connecting = p.connecting.as_deref()?;
        let spec = OpenSpec {
            kind: p.kind,
            local: connecting.local.as_ref(),
            options: &connecting.options,
            reading: p.wants_reading(),
            ..OpenSpec::default()
        };
        match Self::begin(&mut self.reactor, &spec, to, p.limits.attempt_delay) {
            Ok(begun) => {
                drop(p);
                self.pursue(process, begun);
                None
            }
            Err(NoAttempt { address, source, .. }) => {
                p.contact.set_remote(address);
                drop(p);
                self.handle_connect_failed(process, source.into())
            }
        }
    }

    /// It cannot be known where a process is to connect to: it fails.
    pub fn not_found(&mut self, process: &Shared<H>, failure: Failure) {
        if self.looked_up(process) {
            let told = self.handle_connect_failed(process, failure);
            self.notices.extend(told);
        }
    }

    /// Ends a look-up; returns whether there was one.
    fn looked_up(&mut self, process: &Shared<H>) -> bool {
        let mut p = process.borrow_mut();
        let ended =
            p.connecting.as_mut().is_some_and(|c| std::mem::replace(&mut c.looking_up, false));
        self.looking_up -= usize::from(ended);
        ended
    }

    /// A packet client whose peer is known is open.
    fn open_found(&mut self, process: &Shared<H>, to: &Address) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        let connecting = p.connecting.take()?;
        let spec = OpenSpec {
            kind: p.kind,
            family: to.family(),
            local: connecting.local.as_ref(),
            options: &connecting.options,
            reading: p.wants_reading(),
            ..OpenSpec::default()
        };
        match self.reactor.datagram(&spec, Some(to).filter(|_| p.connected)) {
            Ok(sock) => {
                p.sock = Some(sock);
                p.reading = p.wants_reading();
                p.apply(machine::Event::Connected);
                for packet in connecting.early {
                    if p.connected {
                        self.reactor.send(sock, packet);
                    } else {
                        self.reactor.send_to(sock, packet, to);
                    }
                }
                p.contact.set_remote(Some(to.clone()));
                p.contact.set_local(self.reactor.local_addr(sock).ok());
                if p.refused {
                    self.reactor.watch_sent(sock, true);
                }
                drop(p);
                self.own(sock, Owner::Process(Rc::clone(process)));
                Some(Delivery::Event { process: Rc::clone(process), event: Event::Open })
            }
            Err(refused) => {
                p.unsent = connecting.early_len;
                drop(p);
                self.handle_connect_failed(process, refused.into())
            }
        }
    }

    pub(super) fn handle_connected(&mut self, process: &Shared<H>) -> Option<Delivery<H>> {
        let sock = process.borrow().sock?;
        self.send_proxy_header(process, sock);
        if process.borrow().awaits_layer() {
            let waited = Self::take_waited(process);
            let begins = self.begins_handshake(process, sock);
            self.unwrap_waited(process, waited);
            if begins {
                return None;
            }
        }
        let mut p = process.borrow_mut();
        let upgraded = p.is_upgrading();
        if !upgraded && !p.apply(machine::Event::Connected) {
            return None;
        }
        p.show_proxied();
        let accepted = p.contact.role() == Role::Accepted;
        if !accepted {
            p.contact.set_local(self.reactor.local_addr(sock).ok());
        }
        if let Some(mut connecting) = p.connecting.take() {
            for payload in std::mem::take(&mut connecting.early) {
                self.put(&mut p, sock, payload);
            }
        }
        if p.finished {
            self.finish_sending(&mut p, sock);
        }
        if p.refused {
            // Asked of the socket of an earlier attempt, perhaps.
            self.reactor.watch_sent(sock, true);
        }
        let announced = !std::mem::take(&mut p.unannounced);
        let from = p.contact.remote().cloned();
        // The handshake was read even from a stopped process.
        Self::update_reading(&mut self.reactor, &mut p);
        let event = match (upgraded, accepted) {
            (true, _) => Event::Secured,
            (false, true) => Event::OpenFrom(from),
            (false, false) => Event::Open,
        };
        announced.then(|| Delivery::Event { process: Rc::clone(process), event })
    }

    /// A connect failed, at the last address there was.
    pub(super) fn handle_connect_failed(
        &mut self,
        process: &Shared<H>,
        failure: Failure,
    ) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        p.unsent = p.unsent.max(p.early_len());
        p.show_proxied();
        let event = Event::Failed(failure.clone());
        if p.contact.role() == Role::Accepted {
            drop(p);
            // It never was a connection, and nobody holds it that could delete it.
            self.end(process, machine::Event::Deleted, Exit::Failed(failure), None);
            return Some(Delivery::Event { process: Rc::clone(process), event });
        }
        p.apply(machine::Event::ConnectFailed);
        p.exit = Exit::Failed(failure);
        p.sock = None;
        p.connecting = None;
        let announced = !p.unannounced;
        announced.then(|| Delivery::Event { process: Rc::clone(process), event })
    }

    /// Tells an event once more, before all that follows it: it was delivered where nobody took it.
    pub fn tell_again(&mut self, process: &Shared<H>, event: Event) {
        self.notices.push_front(Delivery::Event { process: Rc::clone(process), event });
    }

    /// Tells who has come, that it is there, once more: behind others of whom the same is to be told.
    pub fn tell_of_again(&mut self, process: &Shared<H>, event: Event) {
        let comes = |notice: &Delivery<H>| {
            matches!(notice, Delivery::Event { event: Event::OpenFrom(_), .. })
        };
        let at = self.notices.iter().take_while(|notice| comes(notice)).count();
        self.notices.insert(at, Delivery::Event { process: Rc::clone(process), event });
    }

    /// Ends a blocking start that failed or was given up: the process leaves without an event, and without the
    /// file it may have been bound to, which nobody knows of who could tidy it.
    pub fn abandon(&mut self, process: &Shared<H>) {
        let p = process.borrow();
        if let Some(file) = p.sock.and_then(|sock| self.reactor.bound_file(sock).ok()) {
            file.remove();
        }
        // The layer's last word goes out in the background.
        let how = match p.layer_failed {
            Some(_) => CloseHow::Flush { within: p.limits.flush_within },
            None => CloseHow::Now,
        };
        drop(p);
        self.end(process, machine::Event::Deleted, Exit::Deleted, Some(how));
    }
}
