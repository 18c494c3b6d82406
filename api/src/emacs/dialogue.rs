//! The ways of `open-network-stream` that say something, encrypt, or return a list.
//!
//! Invariant: a stream that is not handed out is deleted, and the caller hears why: in the list if there
//! is to be one, else as an error. What was heard during the dialogue is in the process's buffer, but for
//! text that was smuggled in behind the answer that starts TLS. Which way it goes is `stream`'s affair.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc_core::{
    coding::{CodingSystem, Decoder, Text},
    dialogue::{
        Dialogue, DialogueError, DialogueParams, Failure, Outcome, Reason, Stage, StreamKind,
        StreamType, Unencrypted,
    },
    engine::SendError,
    event::Input,
    layer::Layers,
    plist::{Plist, Value},
    shared_error::SharedError,
};

use super::{
    Answer, Emacs, Function, Signal, callbacks,
    make::Way,
    signal::with_causes,
    stream::{Asked, Type},
    tls,
};
use crate::{
    builder::Service,
    error::StartError,
    handlers::Output,
    process::Process,
    runtime::Runtime,
    stream::{OpenStreamError, Opener, Opening, ShellCommandError, shell},
};

const NO_TLS: &str = "Server does not support TLS";
const NOT_ENCRYPTED: &str = "The connection is not encrypted, and nobody said that it may be";
const CLOSED: &str = "The connection was closed meanwhile";

/// Opens a stream for which a bare connection will not do.
pub(super) fn open(emacs: &Emacs, asked: &Asked, kind: Type) -> Answer {
    let way = match kind {
        Type::Network => StreamType::Network,
        Type::StartTls => StreamType::StartTls,
        Type::Tls => StreamType::Tls,
        Type::Plain => StreamType::Plain,
        Type::Shell => StreamType::Shell,
    };
    let words = Rc::new(Words::default());
    let params = params(asked, way, &words)?;
    let Encryption { layers, lacks } = Encryption::new(&emacs.rt, asked, way)?;
    let params = params.tls_available(layers.is_some());
    let (process, failure) = Default::default();
    let stream = Stream { rt: &emacs.rt, asked, way, words, layers, lacks, process, failure };
    stream.open(params)
}

/// What a stream is encrypted by, if it comes to that.
#[derive(Default)]
struct Encryption {
    layers: Option<Rc<dyn Layers>>,
    /// Why there is none on this side, where there could be some.
    lacks: Option<String>,
}

impl Encryption {
    fn new(rt: &Runtime, asked: &Asked, way: StreamType) -> Result<Self, Signal> {
        let is_opportunistic = way == StreamType::Network;
        let may_upgrade = asked.on(":success") && asked.on(":starttls-function");
        let never = matches!(way, StreamType::Plain | StreamType::Shell);
        if never || is_opportunistic && !may_upgrade {
            if asked.on(":tls-parameters") {
                // Passed over, they would leave in clear what was to be encrypted.
                let why = ":tls-parameters are not for a stream that stays in clear";
                return Err(Signal::error(why));
            }
            return Ok(Self::default());
        }
        let by_default = rt.stream_defaults().use_client_certificates;
        let certificate = match asked.given(":client-certificate") {
            None if by_default => &Value::True,
            given => given.unwrap_or(&Value::Nil),
        };
        let to = (asked.host(), &*asked.service());
        let parameters = asked.get(":tls-parameters");
        match tls::stream_layers(rt, to, parameters, certificate) {
            Ok(layers) => Ok(Self { layers: Some(layers), lacks: None }),
            // What was asked for in so many words is not done without.
            Err(err)
                if is_opportunistic && parameters == &Value::Nil && tls::cannot_be_had(&err) =>
            {
                Ok(Self { layers: None, lacks: Some(with_causes(&err)) })
            }
            Err(err) => Err(Signal::from_tls_parameters(&err)),
        }
    }
}

/// The keywords of the dialogue. Functions are called through `words`.
fn params(asked: &Asked, way: StreamType, words: &Rc<Words>) -> Result<DialogueParams, Signal> {
    let regexp = |keyword| match asked.get(keyword) {
        Value::Nil => Ok(None),
        value => match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(Signal::wrong_type("stringp", value.clone())),
        },
    };
    let mut params = DialogueParams::new(way)
        .always_query_capabilities(asked.on(":always-query-capabilities"))
        .nogreeting(asked.on(":nogreeting"));
    if let Some(end) = regexp(":end-of-command")? {
        params = params.end_of_command(end);
    }
    if let Some(end) = regexp(":end-of-capability")? {
        params = params.end_of_capability(end);
    }
    if let Some(success) = regexp(":success")? {
        params = params.success(success);
    }
    let command = asked.get(":capability-command");
    match (command.to_bytes(), callbacks::function(command)) {
        _ if !command.is_true() => {}
        (Some(bytes), _) => params = params.capability_command(bytes),
        (None, Some(function)) => {
            let words = Rc::clone(words);
            params = params.capability_function(move |greeting| words.call(&function, greeting));
        }
        (None, None) => return Err(Signal::wrong_type("stringp", command.clone())),
    }
    let starttls = asked.get(":starttls-function");
    match callbacks::function(starttls) {
        _ if !starttls.is_true() => {}
        Some(function) => {
            let words = Rc::clone(words);
            params = params.starttls_function(move |told| words.call(&function, Some(told)));
        }
        None => return Err(Signal::wrong_type("functionp", starttls.clone())),
    }
    Ok(params)
}

/// What the functions of the dialogue are told, and what they make of it.
#[derive(Default)]
struct Words {
    /// How the process decodes.
    coding: Cell<Option<CodingSystem>>,
    /// What one of them has signalled.
    failed: RefCell<Option<Signal>>,
}

impl Words {
    /// The text of a response.
    fn text(&self, response: &[u8]) -> Value {
        let Some(system) = self.coding.get() else {
            return Value::text(Text::from_bytes(response));
        };
        let (mut decoder, mut text) = (Decoder::new(system), Text::new());
        decoder.decode(response, &mut text);
        decoder.finish(&mut text);
        Value::text(text)
    }

    /// Has a function make a command; none once one has failed.
    fn call(&self, function: &Function, response: Option<&[u8]>) -> Option<Vec<u8>> {
        if self.failed.borrow().is_some() {
            return None;
        }
        let told = response.map_or(Value::Nil, |response| self.text(response));
        let signal = match function.call(&[told]) {
            Ok(Value::Nil) => return None,
            Ok(command) => match command.to_bytes() {
                Some(bytes) => return Some(bytes),
                None => Signal::wrong_type("stringp", command),
            },
            Err(signal) => signal,
        };
        self.failed.replace(Some(signal));
        None
    }
}

/// A stream that is being opened.
struct Stream<'a> {
    rt: &'a Runtime,
    asked: &'a Asked,
    way: StreamType,
    words: Rc<Words>,
    layers: Option<Rc<dyn Layers>>,
    /// Why there is no TLS on this side, where there could be some.
    lacks: Option<String>,
    /// The connection made last.
    process: RefCell<Option<Process>>,
    /// Why the last handshake failed.
    failure: RefCell<Option<SharedError>>,
}

impl Stream<'_> {
    fn open(&self, params: DialogueParams) -> Answer {
        let asks = self.way == StreamType::Plain && self.asked.on(":always-query-capabilities");
        let may_talk = asks || !matches!(self.way, StreamType::Plain | StreamType::Tls);
        if self.asked.on(":nowait") && !may_talk {
            return self.begin(params);
        }
        let within = self.rt.stream_defaults().within;
        let opening = Opening::new(self.rt, self, params, within);
        let opening = opening.map_err(|err| self.unfit(&err))?.layers(self.layers.clone());
        if self.way == StreamType::Plain && !self.may_be_plain()? {
            return self.refused((None, None), NOT_ENCRYPTED.into());
        }
        let opened = opening.open();
        if let Some(signal) = self.words.failed.take() {
            if let Ok((process, _)) = opened {
                process.delete();
            }
            return Err(signal);
        }
        match opened {
            Ok((process, outcome)) => self.opened(process, outcome),
            Err(OpenStreamError::Dialogue(failure)) => self.failed(failure),
            Err(OpenStreamError::Start(err)) => Err(self.not_connected(&err)),
            Err(OpenStreamError::Send(_)) => Err(self.not_running()),
            Err(OpenStreamError::Runtime(err)) => Err(err.into()),
            Err(OpenStreamError::Params(err)) => Err(self.unfit(&err)),
            Err(
                err @ (OpenStreamError::NoLayers
                | OpenStreamError::Spawn(_)
                | OpenStreamError::Shell(_)),
            ) => Err(Signal::error(with_causes(&err))),
        }
    }

    /// Connects without waiting; nothing is said or heard here.
    fn begin(&self, params: DialogueParams) -> Answer {
        Dialogue::new(params).map_err(|err| self.unfit(&err))?;
        if self.way == StreamType::Plain && !self.may_be_plain()? {
            return self.refused((None, None), NOT_ENCRYPTED.into());
        }
        let kind = if self.layers.is_some() { StreamKind::Tls } else { StreamKind::Plain };
        let way = Way { layers: self.layers.clone(), ..Way::default() };
        let args = self.asked.connection(&[":nowait", ":coding"]);
        match self.rt.make(&args, way) {
            Ok(process) => Ok(self.result(process, (None, None), kind, Value::Nil)),
            Err(err) => Err(Signal::from_start(&err, &args)),
        }
    }

    fn opened(&self, process: Process, outcome: Outcome) -> Answer {
        let told = (outcome.greeting, outcome.capabilities);
        let is_plain = outcome.kind == StreamKind::Plain;
        if is_plain && self.way == StreamType::Network {
            match self.may_be_plain() {
                Ok(true) => {}
                Ok(false) => {
                    process.delete();
                    return self.refused(told, NOT_ENCRYPTED.into());
                }
                Err(signal) => {
                    process.delete();
                    return Err(signal);
                }
            }
        }
        if !process.is_live() {
            process.delete();
            return self.refused(told, CLOSED.into());
        }
        process.use_default_filter();
        process.use_default_sentinel();
        // That the server has no TLS is no error of a stream that may do without, as in Emacs.
        let why = match outcome.error {
            None | Some(Unencrypted::NotOffered | Unencrypted::Refused(_)) => Value::Nil,
            Some(Unencrypted::NoTls) => match &self.lacks {
                Some(lacks) => format!("TLS is not available: {lacks}").into(),
                None => "TLS is not available".into(),
            },
            Some(why) => why.to_string().into(),
        };
        Ok(self.result(Some(process), told, outcome.kind, why))
    }

    fn failed(&self, failure: Failure) -> Answer {
        let Failure { reason, greeting, capabilities, .. } = failure;
        let told = (greeting, capabilities);
        let has_command = self.asked.on(":capability-command");
        let refusal = self.failure.take().filter(tls::is_refusal);
        let why = reason.emacs_message().map_or_else(|| reason.to_string(), str::to_owned);
        match reason {
            Reason::Handshake(why) if refusal.is_none() && self.way == StreamType::StartTls => {
                let (host, service) = (self.asked.host(), self.asked.service());
                let words = format!("Unable to negotiate a TLS connection with {host}/{service}");
                Err(Signal::new("error", vec![words.into(), why.into()]))
            }
            Reason::Handshake(why) if refusal.is_none() && self.way == StreamType::Tls => {
                let process = self.process.take().map_or(Value::Nil, Value::object);
                Err(Signal::new("gnutls-error", vec![process, why.into()]))
            }
            Reason::Command { .. } => Err(Signal::error(why)),
            // As Emacs, which finds it out by sending.
            Reason::Closed(Stage::Greeting) if has_command && self.asks() => {
                Err(self.not_running())
            }
            _ => self.refused(told, why),
        }
    }

    /// Whether capabilities are asked for in clear.
    fn asks(&self) -> bool {
        match self.way {
            StreamType::Plain => self.asked.on(":always-query-capabilities"),
            StreamType::Tls => false,
            _ => true,
        }
    }

    /// Whether a connection in clear will do, `:warn-unless-encrypted`.
    fn may_be_plain(&self) -> Result<bool, Signal> {
        if !self.asked.on(":warn-unless-encrypted") {
            return Ok(true);
        }
        let Some(ask) = self.rt.stream_defaults().confirm_unencrypted else { return Ok(false) };
        let answer = ask.call(&[self.asked.host().into(), self.asked.service().into()])?;
        Ok(answer.is_true())
    }

    fn connection(&self) -> Plist {
        self.asked.connection(&[":coding"])
    }

    /// The program that speaks for the server, `:shell-command`.
    fn shell(&self) -> Result<Process, OpenStreamError> {
        let args = self.connection();
        let buffer = self.rt.buffer_argument(&args)?;
        let coding = self.rt.coding_argument(&args)?;
        let template = self.asked.get(":shell-command");
        let template = template.as_str().ok_or(ShellCommandError::Missing)?;
        let service = Service::from(self.asked.service());
        let words = shell::command(template, self.asked.host(), &service)?;
        let name = args.get(":name").and_then(Value::as_str).unwrap_or_default();
        let program = self.rt.spawn_process(name, shell::SHELL).args(["-c", &words]);
        let process = program.coding(coding).start()?;
        // Without a filter all the same: the dialogue takes its output first.
        process.shared().borrow_mut().handlers.output = Output::new(buffer);
        Ok(process)
    }

    fn not_connected(&self, err: &StartError) -> Signal {
        Signal::from_start(err, &self.connection())
    }

    fn not_running(&self) -> Signal {
        let process = self.process.borrow();
        process.as_ref().map_or_else(|| Signal::error(CLOSED), Signal::not_running)
    }

    /// What parameters signal that make no dialogue.
    fn unfit(&self, err: &DialogueError) -> Signal {
        match err {
            DialogueError::Regexp { source, .. } => {
                let words =
                    source.emacs_message().map_or_else(|| source.to_string(), str::to_owned);
                Signal::new("invalid-regexp", vec![words.into()])
            }
            DialogueError::Missing(_) if self.way == StreamType::StartTls => {
                Signal::new("error", vec![NO_TLS.into(), err.to_string().into()])
            }
            other => Signal::error(with_causes(other)),
        }
    }

    /// No stream, and why.
    fn refused(&self, told: Told, why: String) -> Answer {
        if self.asked.on(":return-list") {
            return Ok(self.result(None, told, StreamKind::Plain, why.into()));
        }
        Err(Signal::error(why))
    }

    /// What `open-network-stream` returns.
    fn result(
        &self,
        process: Option<Process>,
        told: Told,
        kind: StreamKind,
        error: Value,
    ) -> Value {
        let process = process.map_or(Value::Nil, Value::object);
        if !self.asked.on(":return-list") {
            return process;
        }
        let text = |said: Option<Vec<u8>>| said.map_or(Value::Nil, |it| self.words.text(&it));
        let kind = if kind == StreamKind::Tls { "tls" } else { "plain" };
        let (greeting, capabilities) = (text(told.0), text(told.1));
        let symbol = Value::symbol;
        Value::list([
            process,
            symbol(":greeting"),
            greeting,
            symbol(":capabilities"),
            capabilities,
            symbol(":type"),
            symbol(kind),
            symbol(":error"),
            error,
        ])
    }
}

/// Greeting and capabilities.
type Told = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Opener for Stream<'_> {
    fn connect(&self, within: Duration) -> Result<Process, OpenStreamError> {
        let process = if self.way == StreamType::Shell {
            self.shell()?
        } else {
            let way = Way { within, layers: None, is_pulled: true };
            let made = self.rt.make(&self.connection(), way)?;
            made.expect("there are arguments, so there is a process")
        };
        self.words.coding.set(process.coding().and_then(|coding| coding.decode));
        self.process.replace(Some(process.clone()));
        Ok(process)
    }

    fn send(&self, process: &Process, command: Vec<u8>) -> Result<u64, SendError> {
        let encoded = match str::from_utf8(&command) {
            Ok(text) => process.encode(text),
            Err(_) => process.encode_bytes(&command),
        };
        process.send(encoded)
    }

    fn heard(&self, process: &Process, input: Input) {
        let decoded = process.shared().borrow_mut().decode(input);
        if let Some(input) = decoded {
            self.rt.filter_by_default(process, input);
        }
    }

    /// Whoever shows a certificate that proves nothing is not spoken to in clear either.
    fn may_fall_back(&self, failure: &SharedError) -> bool {
        self.failure.replace(Some(failure.clone()));
        !tls::is_refusal(failure)
    }
}
