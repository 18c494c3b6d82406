//! Both sides of a conversation: the client that sends known bytes, the server that sends them back.
//!
//! Invariant: byte `i` of conversation `n` is [`byte`]`(n, i)`, so every byte that arrives can be
//! judged where it stands; the first four name the conversation. A buffer is sent back unchanged,
//! whole or in two slices. What the reactor owes besides is `ledger.rs`'s affair.

use netproc_core::{
    pool::Buf,
    reactor::{Kind, SockId},
};

use crate::swarm::{ledger::Check, plan::Plan};

/// Bytes that name a conversation.
const NAME_LEN: u64 = 4;

/// Byte `at` of conversation `talk`.
pub(crate) fn byte(talk: usize, at: u64) -> u8 {
    let word = if at < NAME_LEN {
        (talk as u64) >> (8 * at)
    } else {
        (at ^ (talk as u64) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56
    };
    word.to_le_bytes()[0]
}

/// The bytes of conversation `talk` from `at` on.
pub(crate) fn bytes(talk: usize, at: u64, len: usize) -> Vec<u8> {
    (at..).take(len).map(|at| byte(talk, at)).collect()
}

/// Judges bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Which conversation, once its name is complete.
    pub(crate) talk: Option<usize>,
    name: u64,
    /// Bytes that have come, lost ones included.
    pub(crate) at: u64,
}

impl Reader {
    pub(crate) fn of(talk: usize) -> Self {
        Self { talk: Some(talk), name: talk as u64, ..Self::default() }
    }

    /// Takes one input; `records` says whether its ends must be those of a record.
    pub(crate) fn take(&mut self, plan: &Plan, buf: &[u8], lost: u32) -> Check {
        let start = self.at;
        for &got in buf {
            if self.talk.is_none() {
                self.name |= u64::from(got) << (8 * self.at);
                if self.at + 1 == NAME_LEN {
                    self.talk = usize::try_from(self.name).ok();
                }
            } else if let Some(talk) = self.talk
                && got != byte(talk, self.at)
            {
                let wanted = byte(talk, self.at);
                return Err(format!("byte {} of talk {talk} is {got}, not {wanted}", self.at));
            }
            self.at += 1;
        }
        self.at += u64::from(lost);
        let Some(index) = self.talk else { return Ok(()) };
        let Some(talk) = plan.talks.get(index) else {
            return Err(format!("there is no talk {index}"));
        };
        if self.at > talk.total {
            return Err(format!("{} bytes of talk {index} came of {}", self.at, talk.total));
        }
        if talk.kind == Kind::SeqPacket {
            let wanted = talk.record_len(index, start);
            let fits = wanted.min(plan.config.packet_len as usize);
            if buf.len() != fits || self.at - start != wanted as u64 {
                return Err(format!("a record of {} and {lost} lost, not of {wanted}", buf.len()));
            }
        } else if lost > 0 || buf.is_empty() {
            return Err(format!("{} bytes and {lost} lost on a stream", buf.len()));
        }
        Ok(())
    }
}

/// The side that connects.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: SockId,
    pub(crate) reader: Reader,
    /// Bytes given to `send`.
    pub(crate) sent: u64,
    /// Whether its last call, `finish` or `close`, has been made.
    pub(crate) done: bool,
    /// Whether `close` has been called.
    pub(crate) closing: bool,
}

/// The side that was accepted.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: SockId,
    pub(crate) reader: Reader,
    /// Input that is not sent back yet: held on purpose, or of a conversation without a name.
    pub(crate) held: Vec<Buf>,
    pub(crate) closing: bool,
}

/// What became of a conversation, to be judged when all is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    /// Whether the connect itself failed.
    pub(crate) refused: bool,
    /// Bytes the server got, and whether it saw the end.
    pub(crate) arrived: u64,
    pub(crate) arrived_eof: bool,
    /// Bytes that came back, and whether the client saw the end.
    pub(crate) returned: u64,
    pub(crate) returned_eof: bool,
    /// Whether either side was ended by an error or with bytes unsent.
    pub(crate) broken: bool,
}
