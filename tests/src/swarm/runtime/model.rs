//! The model of one process: what it may be told, and what it was.
//!
//! Invariant: everything here follows from what was asked of the runtime and what it told, never from
//! a look at the runtime's own state.

use std::collections::VecDeque;

use netproc::{Process, Status};

use crate::swarm::{ports::Inbox, runtime::plan::Style, streams};

/// Conversation numbers from here on belong to answers.
const REPLIES: usize = 1 << 19;
/// Bytes that name a conversation.
const NAME_LEN: u64 = 4;

/// Who takes the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Filter {
    None,
    /// Shared, under the number it was installed with.
    Shared(u32),
    /// With state of its own.
    Own(u32),
}

/// What a process is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Server(Style),
    /// A client of that server.
    Client(usize),
    /// A connection accepted by that server.
    Child(usize),
    PacketServer,
    PacketClient,
}

impl Role {
    /// The server that a client or a connection belongs to.
    pub(super) const fn server(self) -> Option<usize> {
        match self {
            Self::Client(server) | Self::Child(server) => Some(server),
            Self::Server(_) | Self::PacketServer | Self::PacketClient => None,
        }
    }
}

/// Where a process stands, as of the last thing told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// A start that waits has not come back yet.
    Starting,
    Connect,
    Open,
    Listen,
    Failed,
    Closed,
    /// Its start failed.
    Never,
}

/// One process.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that vary independently")]
pub(super) struct Subject {
    pub(super) process: Option<Process>,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) life: Life,
    pub(super) filter: Filter,
    /// The number its sentinel was installed with.
    pub(super) sentinel: Option<u32>,
    /// A server with a log or an `on_accept`.
    pub(super) logs: bool,
    pub(super) stopped: bool,
    pub(super) deaf: bool,
    /// A filter with state of its own runs.
    pub(super) busy: bool,
    pub(super) half_open: bool,

    /// `open` or `open from` has come.
    pub(super) opened: bool,
    /// The server's log has heard of it.
    pub(super) logged: bool,
    pub(super) peer_finished: bool,
    /// A connection of this server was cut before its conversation was known.
    pub(super) excuses: bool,
    /// Deleted, and not as the natural end of its conversation.
    pub(super) cut: bool,
    /// A closing event has come.
    pub(super) ended: bool,
    /// It ended by an error, or with bytes unsent.
    pub(super) broken: bool,
    /// `send` has said that the peer's end was seen: no more input then.
    pub(super) draining: bool,

    /// Conversation: the index of the client's subject, once known.
    pub(super) talk: Option<usize>,
    pub(super) partner: Option<usize>,
    pub(super) talk_name: u64,
    /// Bytes that have come.
    pub(super) at: u64,
    pub(super) inputs: u64,
    /// Bytes that `send` took.
    pub(super) given: u64,
    /// Bytes a client sets out to send.
    pub(super) total: u64,
    pub(super) finished: bool,
    /// Deleted in a way that must still bring the peer everything that was sent.
    pub(super) flushed: bool,
    /// Lengths of the records sent and not yet come.
    pub(super) records: VecDeque<usize>,
    /// What shall be sent back and was refused.
    pub(super) pending: VecDeque<Vec<u8>>,
    /// `Drained` that are owed at most, that came, and whether one is owed now.
    pub(super) asked: u64,
    pub(super) drained: u64,
    pub(super) owed: bool,
    /// The longest payload it sent.
    pub(super) longest: u64,
    pub(super) packets: u32,
    pub(super) inbox: Inbox,
}

impl Subject {
    pub(super) fn new(name: String, role: Role, life: Life) -> Self {
        Self {
            process: None,
            name,
            role,
            life,
            filter: Filter::None,
            sentinel: None,
            logs: false,
            stopped: false,
            deaf: false,
            busy: false,
            half_open: false,
            opened: false,
            logged: false,
            peer_finished: false,
            excuses: false,
            cut: false,
            ended: false,
            broken: false,
            draining: false,
            talk: None,
            partner: None,
            talk_name: 0,
            at: 0,
            inputs: 0,
            given: 0,
            total: 0,
            finished: false,
            flushed: false,
            records: VecDeque::new(),
            pending: VecDeque::new(),
            asked: 0,
            drained: 0,
            owed: false,
            longest: 0,
            packets: 0,
            inbox: Inbox::default(),
        }
    }

    /// What `process-status` must say.
    pub(super) fn status(&self) -> Status {
        match self.life {
            Life::Closed | Life::Never => Status::Closed,
            _ if self.stopped => Status::Stop,
            Life::Starting | Life::Connect => Status::Connect,
            Life::Open => Status::Open,
            Life::Listen => Status::Listen,
            Life::Failed => Status::Failed,
        }
    }

    pub(super) fn is_listed(&self) -> bool {
        matches!(self.life, Life::Connect | Life::Open | Life::Listen | Life::Failed)
    }

    pub(super) const fn is_stream(&self) -> bool {
        matches!(self.role, Role::Client(_) | Role::Child(_))
    }

    pub(super) const fn is_packet(&self) -> bool {
        matches!(self.role, Role::PacketServer | Role::PacketClient)
    }

    /// Whether callbacks take what comes.
    pub(super) fn takes(&self) -> bool {
        self.filter != Filter::None || self.logs
    }

    /// Why it must not be given input now, if it must not.
    pub(super) fn refuses_input(&self) -> Option<&'static str> {
        let reasons = [
            (self.life != Life::Open, "not open"),
            (self.stopped, "stopped"),
            (self.deaf, "ignoring input"),
            (self.busy, "busy"),
            (self.ended, "ended"),
            (self.draining || self.peer_finished, "told of the peer's end"),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
    }

    /// Checks input against conversation `stream`, or against the one its first bytes name.
    pub(super) fn read(&mut self, bytes: &[u8], stream: Option<usize>) -> Result<(), String> {
        for &got in bytes {
            match stream.or(self.talk) {
                None => {
                    self.talk_name |= u64::from(got) << (8 * self.at);
                    if self.at + 1 == NAME_LEN {
                        self.talk = usize::try_from(self.talk_name).ok();
                    }
                }
                Some(talk) if got != streams::byte(talk, self.at) => {
                    let (at, wanted) = (self.at, streams::byte(talk, self.at));
                    return Err(format!("byte {at} is {got}, not {wanted}"));
                }
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// The conversation number of the answers in conversation `talk`.
pub(super) const fn reply(talk: usize) -> usize {
    talk + REPLIES
}
