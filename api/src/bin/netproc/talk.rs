//! A connection joined with standard input and output, whoever has begun it.
//!
//! Invariant: the first end counts, and is told by the exit status; whatever follows it is its consequence.

mod input;
mod output;
pub(crate) mod stdio;

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fs::File,
    io::{self, ErrorKind, IsTerminal as _},
    process::ExitCode,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use netproc::{
    Coding, Event, Input, Kind, LineEnd, Process, Reason, SysError, Text, stream::Opened,
};
use nix::errno::Errno;

use self::{
    input::{Progress, Pump},
    output::{Output, Patience, Written},
};
use crate::{Context, complaint::with_causes, say, say_of};

/// How long standard input may have nothing before it counts as sent, once the peer has ended its side.
const REST_WITHIN: Duration = Duration::from_secs(1);
/// How long what has come may take to be written when a signal has ended it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// How it goes.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The most bytes sent at once.
    pub(crate) chunk_len: usize,
    /// Standard input is UTF-8, and goes out in the coding of the process.
    pub(crate) coded: bool,
    /// Every line end goes out as CR LF.
    pub(crate) crlf: bool,
    /// Without anything moving for this long it is over.
    pub(crate) wait: Option<Duration>,
    /// Events are told of on standard error.
    pub(crate) verbose: bool,
}

/// The coding asked for, which leaves line ends that go out as they are if they shall be CR LF: they are made so before,
/// where those that are so already can be told from others.
pub(crate) fn coding(asked: Option<Coding>, crlf: bool) -> Option<Coding> {
    let mut coding = asked?;
    if crlf {
        coding.encode = Some(coding.encoder().system().with_line_end(LineEnd::Unix));
    }
    Some(coding)
}

/// Reads a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds expected".to_string())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|err| err.to_string())?;
    // Nothing moves within no time.
    if time.is_zero() { Err("more than 0 seconds expected".into()) } else { Ok(time) }
}

/// How a talk ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer ended it, or nobody reads our output any more.
    InOrder,
    /// An error ended it, or not everything went out.
    Broken(String),
    /// Nothing moved for this long.
    Late(Duration),
}

impl End {
    /// What an error of standard output comes to.
    fn of_output(err: &io::Error) -> Self {
        if err.kind() == ErrorKind::BrokenPipe {
            // Whoever read our output is gone: nobody is left to talk for.
            return Self::InOrder;
        }
        Self::Broken(format!("standard output: {err}"))
    }

    /// The exit status, with the reason said.
    fn tell(&self, peer: &str) -> ExitCode {
        match self {
            Self::InOrder => ExitCode::SUCCESS,
            Self::Broken(problem) => {
                say(&format_args!("{peer}: {problem}"));
                ExitCode::from(LOST)
            }
            Self::Late(wait) => {
                say(&format_args!("{peer}: nothing moved for {} s", wait.as_secs_f64()));
                ExitCode::from(LATE)
            }
        }
    }
}

/// The exit status when not everything got there as it was.
const LOST: u8 = 2;

/// The exit status when nothing moved for too long.
pub(crate) const LATE: u8 = 3;

/// What the callbacks tell the main loop.
pub(crate) struct Talk {
    /// With whom, for whoever reads what went wrong.
    peer: String,
    /// How it ended, once it has: the first end counts. Standard input's thread shares it.
    ended: Arc<OnceLock<End>>,
    moved: Cell<Instant>,
    /// Whether the peer has said anything.
    heard: Cell<bool>,
    output: RefCell<Option<Rc<Output>>>,
    /// Without anything moving for this long it is over.
    wait: Cell<Option<Duration>>,
    hurried: Cell<bool>,
    /// What packets have met with so far.
    troubles: RefCell<HashSet<SysError>>,
    /// Characters were replaced that the peer's coding cannot express, as was said then.
    replaced: Arc<AtomicBool>,
}

impl Talk {
    /// One with whom `peer` says.
    pub(crate) fn new(peer: String) -> Rc<Self> {
        Rc::new(Self {
            peer,
            ended: Arc::default(),
            moved: Cell::new(Instant::now()),
            heard: Cell::default(),
            output: RefCell::default(),
            wait: Cell::default(),
            hurried: Cell::default(),
            troubles: RefCell::default(),
            replaced: Arc::default(),
        })
    }

    /// Writes what comes from now on to `output`, behind the end of the peer's side too.
    pub(crate) fn listen(self: &Rc<Self>, process: &Process, output: File) -> Result<(), Context> {
        let output = Output::start(output, process, Arc::clone(&self.ended));
        let output = Rc::new(output.map_err(|err| Context::new("standard output", err))?);
        self.output.replace(Some(Rc::clone(&output)));
        let talk = Rc::clone(self);
        process.set_half_open(true);
        process.set_filter(move |process, input| talk.hear(process, &output, &input));
        Ok(())
    }

    /// Sends what standard input has, and waits for the end.
    pub(crate) fn begin(self: &Rc<Self>, process: &Process, terms: &Terms) -> Result<(), Context> {
        self.wait.set(terms.wait);
        let text_to = terms.coded.then(|| self.peer.clone());
        let form = input::Form { text_to, crlf: terms.crlf, replaced: Arc::clone(&self.replaced) };
        let pump = Pump::start(process, terms.chunk_len, form, Arc::clone(&self.ended))
            .map_err(|err| Context::new("standard input", err))?;
        self.moved.set(Instant::now());
        let progress = pump.progress();
        if let Some(wait) = terms.wait {
            watch(process.clone(), Rc::clone(self), wait, Arc::clone(&progress), None);
        }
        let (talk, verbose) = (Rc::clone(self), terms.verbose);
        process.set_sentinel(move |process, event| {
            talk.moved.set(Instant::now());
            if verbose {
                say_event(process, event);
            }
            if let Event::Drained = event {
                pump.more();
            } else if let Event::Trouble(err) = event {
                talk.trouble(process, *err);
            } else if let Event::PeerFinished = event {
                send_rest(&talk, process, &progress);
            } else if let Event::Broken { reason, unsent } = event {
                talk.end(process, end(process, *reason, *unsent));
            }
        });
        process.notify_drained();
        Ok(())
    }

    /// Ends it for what went wrong on our side.
    pub(crate) fn give_up(&self, process: &Process, err: &Context) {
        self.end(process, End::Broken(with_causes(err)));
    }

    /// The exit status by how it ended, with the reason said.
    pub(crate) fn tell(&self) -> ExitCode {
        let ended = self.ended.get();
        let patience = match ended {
            Some(End::Late(_)) => Patience::Within(Duration::ZERO),
            Some(_) if !self.hurried.get() => {
                self.wait.get().map_or(Patience::Endless, Patience::Moving)
            }
            _ => Patience::Within(WRITTEN_WITHIN),
        };
        let written = self.output.borrow().as_ref().map(|output| output.finish(patience));
        let end = match (ended, written, self.wait.get()) {
            (None | Some(End::InOrder), Some(Written::Failed(err)), _) => &End::of_output(&err),
            // A signal gave the rest a time of its own, which is not the one that was asked for.
            (Some(End::InOrder), Some(Written::Late), Some(wait)) if !self.hurried.get() => {
                &End::Late(wait)
            }
            (ended, _, _) => ended.unwrap_or(&End::InOrder),
        };
        if matches!(end, End::InOrder) && self.replaced.load(Ordering::Relaxed) {
            return ExitCode::from(LOST);
        }
        end.tell(&self.peer)
    }

    /// A signal ends it, if nothing else has.
    pub(crate) fn hurry(&self) {
        self.hurried.set(true);
        let _ = self.ended.set(End::InOrder);
    }

    /// When something last moved, either way.
    fn moved(&self) -> Instant {
        let written = self.output.borrow().as_ref().map(|output| output.moved());
        written.map_or_else(|| self.moved.get(), |written| written.max(self.moved.get()))
    }

    fn end(&self, process: &Process, end: End) {
        // Whatever comes behind the first end is its consequence.
        let _ = self.ended.set(end);
        process.runtime().shutdown();
    }

    /// Says what a packet met with, once for each kind: the next thousand may meet with the same. Where nobody
    /// is, and nobody was, it is over.
    fn trouble(&self, process: &Process, err: SysError) {
        if err.errno == Errno::ECONNREFUSED as i32 && !self.heard.get() {
            self.end(process, End::Broken(err.to_string()));
        } else if self.troubles.borrow_mut().insert(err) {
            say(&format_args!("{}: {err}", self.peer));
        }
    }

    /// Hands input on to standard output.
    fn hear(&self, process: &Process, output: &Output, input: &Input) {
        self.moved.set(Instant::now());
        self.heard.set(true);
        let bytes = match input.text() {
            None => input.to_vec(),
            Some(text) => utf8(text),
        };
        output.write(process, bytes);
    }

    /// The same for what came right behind a dialogue.
    pub(crate) fn hear_early(&self, opened: &Opened, output: &File) {
        let text = opened.leftover_text.as_ref().map(utf8);
        let bytes = text.as_deref().unwrap_or(&opened.leftover);
        if let Err(err) = stdio::write_all(output, bytes) {
            self.end(&opened.process, End::of_output(&err));
        }
    }
}

fn utf8(text: &Text) -> Vec<u8> {
    let mut utf8 = Vec::with_capacity(text.byte_len());
    Coding::default().encoder().encode(text, &mut utf8);
    utf8
}

/// The peer has ended its side: what standard input still has goes out, if that is not somebody at a terminal, who
/// would have to end it for that.
fn send_rest(talk: &Rc<Talk>, process: &Process, progress: &Arc<Progress>) {
    if io::stdin().is_terminal() {
        cut(process, progress);
    } else {
        send_rest_from(Rc::clone(talk), process.clone(), Arc::clone(progress), progress.chunks());
    }
}

/// The same, from so many chunks on.
fn send_rest_from(talk: Rc<Talk>, process: Process, progress: Arc<Progress>, before: u64) {
    let rt = process.runtime().clone();
    rt.run_after(REST_WITHIN, move |_| {
        let now = progress.chunks();
        if process.is_finished() {
            return;
        }
        if now == before && process.queued() == 0 {
            if !progress.is_over() {
                // Whoever still writes there would not know where it went.
                say(&format_args!(
                    "{}: the peer has ended, standard input is no longer read",
                    talk.peer
                ));
            }
            cut(&process, &progress);
        } else {
            send_rest_from(talk, process, progress, now);
        }
    });
}

/// Takes standard input for sent.
fn cut(process: &Process, progress: &Progress) {
    progress.cut();
    // Refused only when the connection is over, which its sentinel hears.
    let _ = process.send_eof();
}

fn end(process: &Process, reason: Reason, unsent: u64) -> End {
    if reason == Reason::End && unsent == 0 {
        return End::InOrder;
    }
    End::Broken(why(process, reason, unsent))
}

/// Why a connection has ended, and what was lost by that.
fn why(process: &Process, reason: Reason, unsent: u64) -> String {
    let text = match (reason, process.layer_error()) {
        (Reason::Corrupt, Some(err)) => err.to_string(),
        (reason, _) => reason.to_string(),
    };
    if unsent == 0 { text } else { format!("{text}, {unsent} bytes stayed unsent") }
}

/// One line on standard error of what has happened to `process`: in Emacs's words, with what they leave out.
pub(crate) fn say_event(process: &Process, event: &Event) {
    if let Event::Broken { reason, unsent } = event {
        let why = why(process, *reason, *unsent);
        say_of(process, &format_args!("{}: {why}", event.to_string().trim_end()));
    } else if let Event::Failed(failure) = event {
        say_of(process, failure);
    } else if let Event::Trouble(err) = event {
        say_of(process, err);
    } else if !matches!(event, Event::Drained) {
        // That one is between us and standard input, for each piece of it.
        say_of(process, event);
    }
}

/// Ends the talk when nothing has moved for `wait`; so many bytes were queued when that was last looked at.
fn watch(
    process: Process,
    talk: Rc<Talk>,
    wait: Duration,
    progress: Arc<Progress>,
    queued_before: Option<u64>,
) {
    // A large queue goes out in pieces, of which only its end is an event: it is looked at now and then.
    let left = wait.saturating_sub(talk.moved().elapsed()).min(wait / 16);
    let rt = process.runtime().clone();
    rt.run_after(left, move |_| {
        let queued = process.queued();
        if queued_before.is_some_and(|before| before != queued) {
            talk.moved.set(Instant::now());
        }
        if talk.moved().elapsed() < wait {
            return watch(process, talk, wait, progress, Some(queued));
        }
        // Packets have no end: an answer to all that was sent is one.
        let answered = process.kind() == Kind::Datagram && talk.heard.get() && progress.is_over();
        talk.end(&process, if answered { End::InOrder } else { End::Late(wait) });
    });
}
