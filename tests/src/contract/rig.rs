//! One reactor with both ends of every connection in it, driven from one thread.
//!
//! Invariant: no event leaves a [`Rig`] unchecked: each goes through [`World::note`] first. A wait
//! here is bounded on the reactor's own clock and fails with a dump, so no test hangs and none
//! sleeps. Which reactor it is, a rig does not know.

use std::{collections::BTreeSet, io::PipeWriter, os::fd::OwnedFd, time::Duration};

use netproc_core::{
    address::Address,
    pool::Buf,
    queue::EventQueue,
    reactor::{
        CloseHow, Config, Descriptors, Event, Kind, OpenSpec, Payload, Reactor, Role, SockId,
        SysError, Wait,
    },
};

use super::world::{Part, World};

/// How long a test waits for what must come, on the reactor's clock.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come before a rig counts as settled.
const QUIET: Duration = Duration::from_millis(20);
/// How long the other side may take to read what a flushing close leaves.
pub const FLUSH: CloseHow = CloseHow::Flush { within: PATIENCE };

/// A reactor under test and all it has shown.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rig<R: Reactor> {
    /// The reactor itself, for what has no shorthand here.
    pub reactor: R,
    /// What every socket has shown.
    pub world: World,
    /// The sizes the reactor was made with.
    pub config: Config,
    make: fn(Config) -> Option<R>,
    /// Operations the kernel holds for the reactor itself, whatever sockets there are.
    in_flight_idle: u64,
    queue: EventQueue,
    echoes: BTreeSet<SockId>,
    holding: bool,
    held: Vec<Buf>,
}

impl<R: Reactor> Rig<R> {
    /// Sets up a reactor; `None` when it is left out on purpose.
    ///
    /// # Panics
    ///
    /// Panics when a reactor without sockets cannot be polled.
    #[must_use]
    pub fn new(make: fn(Config) -> Option<R>, config: Config) -> Option<Self> {
        let mut rig = Self {
            reactor: make(config)?,
            world: World::default(),
            config,
            make,
            in_flight_idle: 0,
            queue: EventQueue::new(),
            echoes: BTreeSet::new(),
            holding: false,
            held: Vec::new(),
        };
        rig.poll(Wait::No);
        rig.in_flight_idle = rig.reactor.counters().in_flight;
        Some(rig)
    }

    /// A second reactor of the same sort, with sockets of its own.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be made, which the first one was.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.make, self.config).expect("what could be made once can be made again")
    }

    /// A stream listener on the loopback, at any free port.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn listener(&mut self) -> Result<SockId, SysError> {
        let local = loopback(0);
        self.listen(&OpenSpec { local: Some(&local), ..OpenSpec::default() }, 128)
    }

    /// A listener whose children send back what they receive and end when their peer does.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn echo(&mut self) -> Result<SockId, SysError> {
        let listener = self.listener()?;
        self.echoes.insert(listener);
        Ok(listener)
    }

    /// Opens a listener as told.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn listen(&mut self, spec: &OpenSpec<'_>, backlog: u32) -> Result<SockId, SysError> {
        let id = self.reactor.listen(spec, backlog)?;
        self.world.open(id, Part::Listener, spec.kind);
        Ok(id)
    }

    /// Opens a connection to a stream listener of this rig.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn client(&mut self, listener: SockId) -> Result<SockId, SysError> {
        let to = self.reactor.local_addr(listener)?;
        self.connect(&OpenSpec::default(), &to)
    }

    /// Opens a connection as told.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn connect(&mut self, spec: &OpenSpec<'_>, to: &Address) -> Result<SockId, SysError> {
        let id = self.reactor.connect(spec, to)?;
        self.world.open(id, Part::Client, spec.kind);
        Ok(id)
    }

    /// Opens a packet socket as told; its kind need not be said.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn datagram(
        &mut self,
        spec: &OpenSpec<'_>,
        to: Option<&Address>,
    ) -> Result<SockId, SysError> {
        let spec = OpenSpec { kind: Kind::Datagram, ..*spec };
        let id = self.reactor.datagram(&spec, to)?;
        self.world.open(id, Part::Packets, Kind::Datagram);
        Ok(id)
    }

    /// A connected pair: the client's end and the server's.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn pair(&mut self) -> Result<(SockId, SockId), SysError> {
        let listener = self.listener()?;
        self.pair_at(listener, &OpenSpec::default())
    }

    /// A connected pair over `listener`, the client's end opened as told.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    #[track_caller]
    pub fn pair_at(
        &mut self,
        listener: SockId,
        spec: &OpenSpec<'_>,
    ) -> Result<(SockId, SockId), SysError> {
        let to = self.reactor.local_addr(listener)?;
        let before = self.world[listener].children.len();
        let client = self.connect(spec, &to)?;
        self.until("a connected pair", |world| {
            world[client].connected && world[listener].children.len() > before
        });
        Ok((client, self.world[listener].children[before]))
    }

    /// Queues bytes and returns how many now wait.
    pub fn send(&mut self, id: SockId, data: impl Into<Payload>) -> u64 {
        let data = data.into();
        let len = data.len() as u64;
        let waiting = self.reactor.send(id, data);
        self.given(id, len, waiting);
        waiting
    }

    /// Queues a packet and returns how many bytes now wait.
    pub fn send_to(&mut self, id: SockId, data: impl Into<Payload>, to: &Address) -> u64 {
        let data = data.into();
        let len = data.len() as u64;
        let waiting = self.reactor.send_to(id, data, to);
        self.given(id, len, waiting);
        waiting
    }

    /// Books the bytes as given, unless the reactor had a reason to drop them: an id that is gone
    /// answers 0, and behind `finish` or `close` nothing counts. What comes too late is given as well.
    fn given(&mut self, id: SockId, len: u64, waiting: u64) {
        let late = self.reactor.send_failure(id).is_some();
        if let Some(track) = self.world.track_mut(id)
            && !track.finished
            && (waiting >= len || late)
        {
            track.given += len;
        }
    }

    /// Asks for `Sent` events.
    pub fn watch(&mut self, id: SockId) {
        self.reactor.watch_sent(id, true);
        if let Some(track) = self.world.track_mut(id) {
            track.watched = track.given == 0;
            track.ever_watched = true;
        }
    }

    /// Asks for no more `Sent` events.
    pub fn unwatch(&mut self, id: SockId) {
        self.reactor.watch_sent(id, false);
        if let Some(track) = self.world.track_mut(id) {
            track.watched = false;
        }
    }

    /// Turns input, or accepting, off.
    pub fn stop(&mut self, id: SockId) {
        self.reactor.set_reading(id, false);
    }

    /// Turns input, or accepting, on.
    pub fn resume(&mut self, id: SockId) {
        self.reactor.set_reading(id, true);
    }

    /// Ends the sending side.
    pub fn finish(&mut self, id: SockId) {
        self.reactor.finish(id);
        if let Some(track) = self.world.track_mut(id) {
            track.finished = true;
        }
    }

    /// Ends the socket.
    pub fn close(&mut self, id: SockId, how: CloseHow) {
        self.reactor.close(id, how);
        if let Some(track) = self.world.track_mut(id) {
            track.finished = true;
        }
    }

    /// Keeps every received buffer from now on, as a filter that never lets go would.
    pub fn hold(&mut self) {
        self.holding = true;
    }

    /// Lets go of every kept buffer and returns how many there were.
    pub fn release(&mut self) -> usize {
        self.holding = false;
        let count = self.held.len();
        self.held.clear();
        count
    }

    /// The buffers kept so far.
    #[must_use]
    pub fn held(&self) -> &[Buf] {
        &self.held
    }

    /// Polls once, takes every event in and returns how many there were.
    ///
    /// # Panics
    ///
    /// Panics when the reactor is broken or an event breaks the contract.
    #[track_caller]
    pub fn poll(&mut self, wait: Wait) -> usize {
        if let Err(err) = self.reactor.poll(wait, &mut self.queue) {
            panic!("{} is unusable: {err}\n{}", self.reactor.caps().name, self.world);
        }
        let count = self.queue.len();
        while let Some(event) = self.queue.pop() {
            if let Err(rule) = self.world.note(&event) {
                let name = self.reactor.caps().name;
                panic!("{name} broke the contract: {rule}\n  by {event:?}\n{}", self.world);
            }
            self.react(event);
        }
        count
    }

    /// Plays the echo server, and keeps buffers if told to.
    fn react(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, id, .. } if self.echoes.contains(&listener) => {
                self.echoes.insert(id);
            }
            Event::Data { id, buf, .. } => {
                if self.holding {
                    self.held.push(buf.clone());
                }
                if self.echoes.contains(&id) {
                    self.send(id, buf);
                }
            }
            Event::Datagram { buf, .. } if self.holding => self.held.push(buf),
            Event::Eof { id } if self.echoes.contains(&id) => self.close(id, FLUSH),
            Event::Accepted { .. }
            | Event::AcceptFailed { .. }
            | Event::Connected { .. }
            | Event::Datagram { .. }
            | Event::Eof { .. }
            | Event::Trouble { .. }
            | Event::Sent { .. }
            | Event::Closed { .. }
            | Event::Woken => {}
        }
    }

    /// Polls until `done`, which must become true within [`PATIENCE`] of the reactor's clock.
    ///
    /// It sleeps as long as the reactor likes: a reactor that forgets to wake up for work it has is
    /// caught, not helped along.
    ///
    /// # Panics
    ///
    /// Panics with a dump when it does not.
    #[track_caller]
    pub fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let deadline = self.reactor.now().after(PATIENCE);
        while !done(&self.world) {
            if self.reactor.now() >= deadline {
                self.fail(what);
            }
            self.poll(Wait::Until(deadline));
        }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!(
            "{}: not within {PATIENCE:?}: {what}\n{}  {:?}",
            self.reactor.caps().name,
            self.world,
            self.reactor.counters()
        );
    }

    /// Polls until nothing has come for a while, twice in a row.
    ///
    /// # Panics
    ///
    /// Panics when that takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn settle(&mut self) {
        let deadline = self.reactor.now().after(PATIENCE);
        let mut quiet = 0;
        while quiet < 2 {
            if self.reactor.now() >= deadline {
                self.fail("settled");
            }
            // A wait may end early without an event, for the reactor's own deadlines.
            quiet = if self.linger(QUIET) == 0 { quiet + 1 } else { 0 };
        }
    }

    /// Polls for `span`, whatever comes, and returns how many events there were.
    #[track_caller]
    pub fn linger(&mut self, span: Duration) -> usize {
        let deadline = self.reactor.now().after(span);
        let mut count = 0;
        while self.reactor.now() < deadline {
            count += self.poll(Wait::Until(deadline));
        }
        count
    }

    /// Ends everything and checks point 10: nothing open, nothing in flight, no slot held, and no
    /// dead id says anything more.
    ///
    /// # Panics
    ///
    /// Panics when something is left.
    #[track_caller]
    pub fn tear_down(&mut self) {
        self.release();
        for id in self.world.open_ids() {
            self.close(id, CloseHow::Now);
        }
        self.until("everything closed", |world| world.open_ids().is_empty());
        for id in self.world.ids() {
            self.reactor.set_reading(id, true);
            self.reactor.finish(id);
            self.reactor.close(id, CloseHow::Reset);
            let waiting = self.reactor.send(id, Payload::Static(b"nobody is there"));
            assert_eq!(waiting, 0, "{id:?} is gone and takes nothing");
        }
        let events = self.poll(Wait::No);
        assert_eq!(events, 0, "an event although every socket is closed\n{}", self.world);
        let counters = self.reactor.counters();
        let left = (counters.sockets, counters.in_flight, counters.slots_held);
        let none = (0, self.in_flight_idle, 0);
        assert_eq!(left, none, "sockets, operations, slots left\n{}", self.world);
    }
}

impl<R: Descriptors> Rig<R> {
    /// Hands a descriptor over to the reactor.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn adopt(&mut self, fd: OwnedFd, role: Role, kind: Kind) -> Result<SockId, SysError> {
        let id = self.reactor.adopt(fd, role, true)?;
        let part = match role {
            Role::Listener => Part::Listener,
            Role::Connection => Part::Child,
            Role::Datagram => Part::Packets,
        };
        self.world.open(id, part, kind);
        Ok(id)
    }

    /// Hands two ends of pipes over to the reactor: one to read, perhaps one to write.
    ///
    /// # Errors
    ///
    /// What the reactor says.
    pub fn adopt_pipes(
        &mut self,
        output: impl Into<OwnedFd>,
        input: Option<PipeWriter>,
    ) -> Result<SockId, SysError> {
        let id = self.reactor.adopt_pipes(output.into(), input.map(Into::into), true)?;
        self.world.open(id, Part::Child, Kind::Stream);
        Ok(id)
    }
}

/// `127.0.0.1` at `port`.
#[must_use]
pub fn loopback(port: u16) -> Address {
    std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()
}

/// `len` bytes that look random and are the same for the same `seed`.
///
/// No two positions nearby repeat, so a byte lost, doubled or moved shows.
#[must_use]
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Compares long byte strings and says where they part instead of printing both.
///
/// # Panics
///
/// Panics when they differ.
#[track_caller]
pub fn assert_bytes(found: &[u8], wanted: &[u8], what: &str) {
    let common = found.iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count();
    assert!(
        found == wanted,
        "{what}: {} bytes instead of {}, equal up to byte {common}",
        found.len(),
        wanted.len()
    );
}
