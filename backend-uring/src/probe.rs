//! Asks the kernel by doing: a [`Features`] value is the proof, so nobody guesses later on.
//!
//! Invariant: what has not answered within a second is taken for a refusal; ending a trial that hangs may take as
//! long once more. An operation code says nothing about multishot, set-up may be allowed while entering is not, so
//! all of it is tried: accept and receive, for two completions each, and the bytes compared. What can be done
//! without is tried on a ring of its own, so that nothing a failed trial leaves in flight is taken for an answer of
//! the next.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use netproc_core::{
    pool::{Buf, Pool},
    reactor::Config,
    slots::Key,
};

use crate::{
    buffers::BufferGroup,
    cqe::Completion,
    error::SetupError,
    ring::{Ring, Sleep},
    sqe,
    token::{OpKind, Token},
};

const PROBE_ENTRIES: u32 = 8;
const PROBE_SLOT_LEN: u32 = 64;
const PROBE_TIME: Duration = Duration::from_secs(1);
/// How long an end may take that was there before it was looked for.
const END_TIME: Duration = Duration::from_millis(100);
const GROUP: u16 = 0;
/// More than the smallest send buffer takes, and there however long the kernel may look at it.
static QUIET_BYTES: [u8; 32 * 1024] = [7; 32 * 1024];
const NOBODY: Key = Key::new(0, 1);

/// What this kernel was seen to do; made by [`probe`] only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    incremental: bool,
    quiet: bool,
    local_ends: bool,
}

impl Features {
    /// Whether one buffer is filled by many receives, end to end.
    #[must_use]
    pub const fn incremental(self) -> bool {
        self.incremental
    }

    /// Whether a send that is done at once needs no completion.
    #[must_use]
    pub const fn quiet(self) -> bool {
        self.quiet
    }

    /// Whether a receive from a local stream that goes on never misses the end: Linux 6.17 and later, before the
    /// mending of CVE-2026-23473, may look once only where bytes and the end came together.
    #[must_use]
    pub const fn local_ends(self) -> bool {
        self.local_ends
    }

    /// The same kernel, used with a receive for every read of a local stream.
    #[must_use]
    pub const fn without_local_ends(self) -> Self {
        Self { local_ends: false, ..self }
    }

    /// The same kernel, used without incremental buffers.
    #[must_use]
    pub const fn without_incremental(self) -> Self {
        Self { incremental: false, ..self }
    }

    /// The same kernel, used with a completion for every send.
    #[must_use]
    pub const fn without_quiet(self) -> Self {
        Self { quiet: false, ..self }
    }
}

/// Tries everything the reactor relies on, on a small ring of its own.
///
/// # Errors
///
/// [`SetupError`] naming the step that was refused or did the wrong thing.
///
/// # Examples
///
/// ```
/// match netproc_uring::probe(&Default::default()) {
///     Ok(features) => println!("{features:?}"),
///     Err(refused) => println!("{refused}"),
/// }
/// ```
pub fn probe(config: &Config) -> Result<Features, SetupError> {
    let until = Instant::now() + PROBE_TIME;
    let mut trial = Trial::new(config, until)?;
    trial.lend(false)?;
    trial.receives()?;
    trial.accepts()?;
    trial.finish()?;
    drop(trial);
    // Refused by kernels before 6.12; whatever else goes wrong, whole buffers work.
    let incremental = tried(config, until, |trial| {
        trial.lend(true)?;
        trial.receives()?;
        trial.keeps_order()
    });
    // Of no use before 5.17, when every entry completed, nor where a part is not told of.
    let quiet = tried(config, until, Trial::sends_quietly);
    let soon = until.min(Instant::now() + END_TIME);
    let local_ends = tried(config, soon, |trial| {
        trial.lend(false)?;
        trial.sees_the_end()
    });
    Ok(Features { incremental, quiet, local_ends })
}

/// Whether something that can be done without works, on a ring of its own.
fn tried(
    config: &Config,
    until: Instant,
    trial: impl FnOnce(&mut Trial) -> Result<(), SetupError>,
) -> bool {
    let run = Trial::new(config, until).and_then(|mut own| {
        trial(&mut own)?;
        own.finish()
    });
    run.is_ok()
}

struct Trial {
    ring: Ring,
    until: Instant,
    in_flight: u32,
    buffers: Option<BufferGroup>,
}

fn wrong(what: &'static str) -> SetupError {
    SetupError::Probe { what, source: io::Error::from_raw_os_error(libc::EOPNOTSUPP) }
}

fn open(what: &'static str) -> impl FnOnce(io::Error) -> SetupError {
    move |source| SetupError::Open { what, source }
}

impl Trial {
    fn new(config: &Config, until: Instant) -> Result<Self, SetupError> {
        let ring = Ring::new(config.ring_entries.min(PROBE_ENTRIES), Duration::ZERO)?;
        Ok(Self { ring, until, in_flight: 0, buffers: None })
    }

    /// Lends the kernel two buffers.
    fn lend(&mut self, incremental: bool) -> Result<(), SetupError> {
        let pool = Pool::new(2, PROBE_SLOT_LEN)?;
        let buffers = BufferGroup::register(&self.ring, GROUP, pool, incremental)
            .map_err(|source| SetupError::Register { what: "a ring of buffers", source })?;
        self.buffers = Some(buffers);
        Ok(())
    }

    fn buffers(&mut self) -> &mut BufferGroup {
        self.buffers.as_mut().expect("lent before anything is received")
    }

    fn push(&mut self, sqe: &sqe::Sqe) -> Result<(), SetupError> {
        if !self.ring.push(sqe).map_err(SetupError::Enter)? {
            return Err(SetupError::Enter(io::Error::from_raw_os_error(libc::EBUSY)));
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Waits for the next completion.
    fn next(&mut self, what: &'static str) -> Result<Completion, SetupError> {
        loop {
            if let Some(completion) = self.ring.next() {
                self.in_flight -= u32::from(!completion.more());
                return Ok(completion);
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let source = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                return Err(SetupError::Probe { what, source });
            }
            self.ring.enter(Sleep::For(left)).map_err(SetupError::Enter)?;
            self.ring.reap();
        }
    }

    /// One multishot receive, two messages.
    fn receives(&mut self) -> Result<(), SetupError> {
        const WHAT: &str = "multishot receive into provided buffers";
        let incremental = self.buffers().is_incremental();
        let (mut near, far) = UnixStream::pair().map_err(open("a socket pair"))?;
        self.push(&sqe::recv(far.as_raw_fd(), GROUP, true, Token::new(OpKind::Recv, NOBODY)))?;
        let mut parts: Vec<Buf> = Vec::new();
        for text in [b"one", b"two"] {
            near.write_all(text).map_err(open("a socket pair"))?;
            let completion = self.next(WHAT)?;
            if let Err(errno) = completion.count() {
                let source = io::Error::from_raw_os_error(errno);
                return Err(SetupError::Probe { what: WHAT, source });
            }
            let part = self.buffers().complete(&completion).filter(|part| part[..] == text[..]);
            let good = completion.more() && completion.buffer_more() == incremental;
            parts.push(part.filter(|_| good).ok_or_else(|| wrong(WHAT))?);
        }
        let (first, second) = (parts[0].as_ptr().addr(), parts[1].as_ptr().addr());
        if incremental && second != first + parts[0].len() {
            return Err(wrong(WHAT));
        }
        drop(near);
        // Zero, or `ENOBUFS` where two messages took both buffers; the end either way.
        let end = self.next(WHAT)?;
        // One filled in parts, if it were named here, would be taken for done with, though it need not be.
        let names = incremental && end.buffer().is_some();
        if names || end.more() { Err(wrong(WHAT)) } else { Ok(()) }
    }

    /// Two receives into one buffer that is filled in parts, one of which goes on: they complete in the order in
    /// which they fill it, or nobody knows whose bytes are whose. Kernels that defer the completion of the one
    /// that ends, and not that of the other, tell of the other first.
    fn keeps_order(&mut self) -> Result<(), SetupError> {
        const WHAT: &str = "completions in the order in which a buffer is filled";
        let (mut once, once_far) = UnixStream::pair().map_err(open("a socket pair"))?;
        let (mut on, on_far) = UnixStream::pair().map_err(open("a socket pair"))?;
        let texts = [b"first", b"other"];
        for (near, text) in [&mut once, &mut on].into_iter().zip(texts) {
            near.write_all(text).map_err(open("a socket pair"))?;
        }
        let tokens = [0, 1].map(|index| Token::new(OpKind::Recv, Key::new(index, 0)));
        self.push(&sqe::recv_once(once_far.as_raw_fd(), GROUP, true, tokens[0]))?;
        self.push(&sqe::recv(on_far.as_raw_fd(), GROUP, true, tokens[1]))?;
        let mut good = true;
        for (token, text) in tokens.into_iter().zip(texts) {
            let completion = self.next(WHAT)?;
            let part = self.buffers().complete(&completion);
            good &= completion.token == token && part.is_some_and(|part| part[..] == text[..]);
        }
        drop(on);
        // Zero, or `ENOBUFS`; the end either way.
        if self.next(WHAT)?.more() || !good { Err(wrong(WHAT)) } else { Ok(()) }
    }

    /// A receive that goes on, from a local stream whose peer sends and ends before the kernel gets to look.
    fn sees_the_end(&mut self) -> Result<(), SetupError> {
        const WHAT: &str = "the end of a local stream";
        let (mut near, far) = UnixStream::pair().map_err(open("a socket pair"))?;
        self.push(&sqe::recv(far.as_raw_fd(), GROUP, true, Token::new(OpKind::Recv, NOBODY)))?;
        // Armed before there is anything, since only who is woken may look too seldom.
        self.ring.enter(Sleep::No).map_err(SetupError::Enter)?;
        near.write_all(b"bye").map_err(open("a socket pair"))?;
        drop(near);
        let bytes = self.next(WHAT)?;
        let whole = self.buffers().complete(&bytes).is_some_and(|bytes| bytes[..] == *b"bye");
        let end = self.next(WHAT)?;
        if whole && end.result == 0 && !end.more() { Ok(()) } else { Err(wrong(WHAT)) }
    }

    /// Three sends that complete only if they fall short: the first has room, the second not enough, the
    /// third none.
    fn sends_quietly(&mut self) -> Result<(), SetupError> {
        const WHAT: &str = "sends that complete only if they fall short";
        let (near, mut far) = UnixStream::pair().map_err(open("a socket pair"))?;
        // The least there is, less than a few pages.
        let small = socket2::SockRef::from(&near).set_send_buffer_size(1);
        small.and_then(|()| far.set_nonblocking(true)).map_err(open("a socket pair"))?;
        let mut results = Vec::new();
        for bytes in [&QUIET_BYTES[..1], &QUIET_BYTES, &QUIET_BYTES] {
            self.push(&sqe::send_quietly(
                near.as_raw_fd(),
                bytes,
                Token::new(OpKind::Send, NOBODY),
            ))?;
            self.ring.enter(Sleep::No).map_err(SetupError::Enter)?;
            self.ring.reap();
            let completion = self.ring.next();
            if completion.is_some() || results.is_empty() {
                self.in_flight -= 1;
            }
            results.push(completion.map(|completion| completion.result));
        }
        let [None, Some(part), Some(none)] = results[..] else { return Err(wrong(WHAT)) };
        let mut arrived = Vec::new();
        // It ends with there being no more now.
        let _ = far.read_to_end(&mut arrived);
        let whole = usize::try_from(part).is_ok_and(|part| part > 0 && arrived.len() == 1 + part);
        if whole && none == -libc::EAGAIN { Ok(()) } else { Err(wrong(WHAT)) }
    }

    /// One multishot accept, two connections.
    fn accepts(&mut self) -> Result<(), SetupError> {
        const WHAT: &str = "multishot accept";
        let listener = listener().map_err(open("a local listener"))?;
        let address = listener.local_addr().map_err(open("a local listener"))?;
        let token = Token::new(OpKind::Accept, NOBODY);
        self.push(&sqe::accept(listener.as_raw_fd(), token))?;
        for _ in 0..2 {
            let _near = UnixStream::connect_addr(&address).map_err(open("a local connection"))?;
            let completion = self.next(WHAT)?;
            let more = completion.more();
            if completion.into_fd().is_none() || !more {
                return Err(wrong(WHAT));
            }
        }
        self.push(&sqe::cancel(token, Token::new(OpKind::Cancel, NOBODY)))?;
        for _ in 0..2 {
            self.next(WHAT)?;
        }
        Ok(())
    }

    /// Waits until nothing is in flight; descriptors that come are closed.
    fn finish(&mut self) -> Result<(), SetupError> {
        while self.in_flight > 0 {
            drop(self.next("cancelling")?.into_fd());
        }
        Ok(())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            self.ring.cancel_everything(PROBE_TIME);
            // What was cancelled is only to be counted, for which time may have run out.
            self.until = Instant::now() + END_TIME;
            let _counted = self.finish();
        }
        if let Some(buffers) = &mut self.buffers
            && (self.in_flight > 0 || buffers.unregister(&self.ring).is_err())
        {
            buffers.leak();
        }
    }
}

/// A listener on an abstract name that the kernel chooses.
fn listener() -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix("")?)?;
    socket.listen(2)?;
    Ok(std::os::fd::OwnedFd::from(socket).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_fails_half_way_takes_none_along() {
        let config = Config::default();
        let until = Instant::now() + PROBE_TIME;
        let (_near, far) = UnixStream::pair().unwrap();
        for incremental in [true, false] {
            let mut trial = Trial::new(&config, until).unwrap();
            if trial.lend(incremental).is_err() {
                assert!(incremental, "whole buffers are had since Linux 5.19");
                continue;
            }
            let token = Token::new(OpKind::Recv, NOBODY);
            trial.push(&sqe::recv(far.as_raw_fd(), GROUP, true, token)).unwrap();
            trial.ring.enter(Sleep::No).unwrap();
            drop(trial);
            assert!(!tried(&config, until, |trial| {
                trial.push(&sqe::recv(far.as_raw_fd(), GROUP, true, token))?;
                Err(wrong("something"))
            }));
            assert!(tried(&config, until, Trial::sends_quietly));
        }
        assert!(probe(&config).is_ok());
    }

    // What this kernel does is not known; that it is found out is.
    #[test]
    fn an_end_that_does_not_come_is_not_waited_for_long() {
        let begin = Instant::now();
        let (_near, far) = UnixStream::pair().unwrap();
        let seen = tried(&Config::default(), begin + END_TIME, |trial| {
            trial.lend(false)?;
            trial.push(&sqe::recv(
                far.as_raw_fd(),
                GROUP,
                true,
                Token::new(OpKind::Recv, NOBODY),
            ))?;
            trial.next("an end").map(drop)
        });
        assert!(!seen && begin.elapsed() < PROBE_TIME, "{:?}", begin.elapsed());
    }
}
