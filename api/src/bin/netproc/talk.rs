//! A connection joined with standard input and output, whoever has begun it.
//!
//! Invariant: the first end counts, and is told by the exit status; whatever follows it is its consequence.

mod input;
pub(crate) mod stdio;

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fs::File,
    io::ErrorKind,
    process::ExitCode,
    rc::Rc,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use netproc::{Coding, Event, Input, LineEnd, Process, Reason, Runtime, SysError, Text};

use crate::{Context, say, with_causes};

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
}

/// The coding asked for, with CR LF as the line end that goes out if it shall be.
pub(crate) fn coding(asked: Option<Coding>, crlf: bool) -> Option<Coding> {
    let mut coding = asked?;
    if crlf {
        coding.encode = Some(coding.encoder().system().with_line_end(LineEnd::Dos));
    }
    Some(coding)
}

/// Reads a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds expected".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|err| err.to_string())
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
    /// The exit status, with the reason said.
    fn tell(&self, peer: &str) -> ExitCode {
        match self {
            Self::InOrder => ExitCode::SUCCESS,
            Self::Broken(problem) => {
                say(&format_args!("{peer}: {problem}"));
                ExitCode::from(2)
            }
            Self::Late(wait) => {
                say(&format_args!("{peer}: nothing moved for {} s", wait.as_secs_f64()));
                ExitCode::from(LATE)
            }
        }
    }
}

/// The exit status when nothing moved for too long.
pub(crate) const LATE: u8 = 3;

/// What the callbacks tell the main loop.
pub(crate) struct Talk {
    /// With whom, for whoever reads what went wrong.
    peer: String,
    /// How it ended, once it has: the first end counts. Standard input's thread shares it.
    ended: Arc<OnceLock<End>>,
    moved: Cell<Instant>,
    /// What packets have met with so far.
    troubles: RefCell<HashSet<SysError>>,
}

impl Talk {
    /// One with whom `peer` says.
    pub(crate) fn new(peer: String) -> Rc<Self> {
        let (ended, moved) = (Arc::default(), Cell::new(Instant::now()));
        Rc::new(Self { peer, ended, moved, troubles: RefCell::default() })
    }

    /// Writes what comes from now on to `output`.
    pub(crate) fn listen(self: &Rc<Self>, process: &Process, output: File) {
        let talk = Rc::clone(self);
        process.set_filter(move |process, input| talk.hear(process, &output, &input));
    }

    /// Sends what standard input has, and waits for the end.
    pub(crate) fn begin(self: &Rc<Self>, process: &Process, terms: &Terms) -> Result<(), Context> {
        if let Some(wait) = terms.wait {
            watch(process.runtime(), process.clone(), Rc::clone(self), wait);
        }
        let form = match (terms.coded, terms.crlf) {
            (true, _) => input::Form::Text(self.peer.clone()),
            (false, true) => input::Form::Crlf,
            (false, false) => input::Form::Bytes,
        };
        let pump = input::Pump::start(process, terms.chunk_len, form, Arc::clone(&self.ended))
            .map_err(|err| Context::new("standard input", err))?;
        self.moved.set(Instant::now());
        let talk = Rc::clone(self);
        process.set_sentinel(move |process, event| {
            talk.moved.set(Instant::now());
            if let Event::Drained = event {
                pump.more();
            } else if let Event::Trouble(err) = event {
                talk.trouble(*err);
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
        self.ended.get().unwrap_or(&End::InOrder).tell(&self.peer)
    }

    fn end(&self, process: &Process, end: End) {
        // Whatever comes behind the first end is its consequence.
        let _ = self.ended.set(end);
        process.runtime().shutdown();
    }

    /// Says what a packet met with, once for each kind: the next thousand may meet with the same.
    fn trouble(&self, err: SysError) {
        if self.troubles.borrow_mut().insert(err) {
            say(&format_args!("{}: {err}", self.peer));
        }
    }

    /// Hands input on to standard output.
    fn hear(&self, process: &Process, output: &File, input: &Input) {
        self.moved.set(Instant::now());
        match input.text() {
            None => self.write(process, output, input),
            Some(text) => self.write_text(process, output, text),
        }
    }

    /// The same for what came right behind a dialogue; a character that it cuts stays cut.
    pub(crate) fn hear_early(&self, process: &Process, output: &File, bytes: &[u8]) {
        let Some(coding) = process.coding() else { return self.write(process, output, bytes) };
        let (mut decoder, mut text) = (coding.decoder(), Text::new());
        decoder.decode(bytes, &mut text);
        decoder.finish(&mut text);
        self.write_text(process, output, &text);
    }

    fn write_text(&self, process: &Process, output: &File, text: &Text) {
        let mut utf8 = Vec::with_capacity(text.byte_len());
        Coding::default().encoder().encode(text, &mut utf8);
        self.write(process, output, &utf8);
    }

    fn write(&self, process: &Process, output: &File, bytes: &[u8]) {
        match stdio::write_all(output, bytes) {
            Ok(()) => {}
            // Whoever read our output is gone: nobody is left to talk for.
            Err(err) if err.kind() == ErrorKind::BrokenPipe => self.end(process, End::InOrder),
            Err(err) => self.end(process, End::Broken(format!("standard output: {err}"))),
        }
    }
}

fn end(process: &Process, reason: Reason, unsent: u64) -> End {
    let text = match (reason, process.layer_error()) {
        (Reason::End, _) if unsent == 0 => return End::InOrder,
        (Reason::Corrupt, Some(err)) => err.to_string(),
        (reason, _) => reason.to_string(),
    };
    End::Broken(if unsent == 0 { text } else { format!("{text}, {unsent} bytes stayed unsent") })
}

/// Ends the talk when nothing has moved for `wait`.
fn watch(rt: &Runtime, process: Process, talk: Rc<Talk>, wait: Duration) {
    let left = wait.saturating_sub(talk.moved.get().elapsed());
    rt.run_after(left, move |rt| {
        if talk.moved.get().elapsed() >= wait {
            talk.end(&process, End::Late(wait));
        } else {
            watch(rt, process, talk, wait);
        }
    });
}
