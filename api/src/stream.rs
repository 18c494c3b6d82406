//! `open-network-stream`: a connection, the dialogue over it, and encryption, put together.
//!
//! Invariant: everything wrong with the parameters is refused before anybody is connected to; a stream
//! that is not handed out is deleted; the whole takes no longer than its limit. What is said when is the
//! dialogue's business (`netproc_core::dialogue`), what encryption is a layer's.

use std::{rc::Rc, time::Duration};

pub use netproc_core::dialogue::{
    AfterTls, Check, CommandError, Dialogue, DialogueError, DialogueLimits, DialogueParams, End,
    Failure as DialogueFailure, Frame, Outcome as DialogueOutcome, Parameter, Protocol,
    ProtocolError, Reason as DialogueReason, Regexp, RegexpError, Stage, Step, StreamKind,
    StreamType, StreamTypeError, Unencrypted,
    server::{ClearText, ServerDialogue, ServerProtocol, ServerReason, ServerStep},
};
use netproc_core::{
    coding::{Coding, CodingError, Text},
    engine::{SendError, UpgradeError},
    event::{Event, Input},
    layer::Layers,
    pool::Buf,
    process::Exit,
    proxy::ProxyOut,
    reactor::{CloseHow, Reactor as _, Tick},
    shared_error::SharedError,
};

pub(crate) mod shell;

pub use self::shell::ShellCommandError;
use crate::{
    builder::Service,
    error::{Error, SpawnError, StartError},
    process::Process,
    runtime::Runtime,
};

/// How long a whole opening may take unless told otherwise.
const WITHIN: Duration = Duration::from_secs(30);

/// Why a stream was not opened. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStreamError {
    /// The parameters make no dialogue; nobody was connected to.
    #[error(transparent)]
    Params(#[from] DialogueError),
    /// A type that needs encryption was asked for without saying by what.
    #[error("this type of stream needs encryption, and none was given")]
    NoLayers,
    /// No connection.
    #[error("no connection")]
    Start(#[from] StartError),
    /// No command of the shell's can be made; nothing was started.
    #[error(transparent)]
    Shell(#[from] ShellCommandError),
    /// The shell could not be started.
    #[error("no shell")]
    Spawn(#[from] SpawnError),
    /// The dialogue failed: refused, cut off, too late, not safe.
    #[error(transparent)]
    Dialogue(#[from] DialogueFailure),
    /// The dialogue could not be sent.
    #[error("the dialogue could not be sent")]
    Send(#[from] SendError),
    /// The runtime could not wait.
    #[error("the runtime could not wait")]
    Runtime(#[from] Error),
}

/// A stream that is open.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The connection, or the child of the type `shell`. It has no filter yet: give it one, or pull its events.
    pub process: Process,
    /// What the server said first.
    pub greeting: Option<Vec<u8>>,
    /// What it can do, in its own words, as of the end of the dialogue.
    pub capabilities: Option<Vec<u8>>,
    /// Whether it is encrypted.
    pub kind: StreamKind,
    /// Why it is not, if it was to be if possible.
    pub error: Option<Unencrypted>,
    /// What came behind the dialogue already: the first bytes of the process's input. What came in clear
    /// is here only if the stream is. Of a stream with a coding those that complete no character yet may come with the
    /// next input instead.
    pub leftover: Vec<u8>,
    /// What the coding of the stream made of that, if it has one: the beginning of its text.
    pub leftover_text: Option<Text>,
}

/// Opens a stream. Made by [`Runtime::open_stream`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `start`"]
pub struct StreamBuilder {
    rt: Runtime,
    name: String,
    host: String,
    service: Service,
    params: DialogueParams,
    layers: Option<Rc<dyn Layers>>,
    coding: Option<Result<Coding, CodingError>>,
    shell_command: Option<String>,
    header: Option<ProxyOut>,
    within: Duration,
    step_within: Option<Duration>,
}

impl Runtime {
    /// Opens a stream named `name` to `service` of `host`: a connection, encrypted or not, perhaps after
    /// a dialogue in clear that starts encryption.
    ///
    /// # Examples
    ///
    /// A server that speaks SMTP's beginning, and a client that may stay in clear:
    ///
    /// ```
    /// use netproc::{Runtime, stream::{Protocol, StreamKind, StreamType}};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("mail").on_accept(|_, connection| connection.send("220 hello\r\n"))
    ///     .filter(|connection, _| connection.send("250 at your service\r\n")) // no STARTTLS
    ///     .start()?;
    /// let port = server.contact().local().port().expect("a port");
    /// let opened = rt.open_stream("s", "127.0.0.1", port)
    ///     .dialogue(Protocol::Smtp.params(StreamType::Network, "127.0.0.1"))
    ///     .start()?;
    /// assert_eq!(opened.kind, StreamKind::Plain);
    /// assert_eq!(opened.greeting.as_deref(), Some(&b"220 hello\r\n"[..]));
    /// assert_eq!(opened.error.map(|err| err.to_string()).as_deref(), Some("server does not support TLS"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network" (`open-network-stream`). Differs: it has a time limit; clear text
    /// behind the answer that starts TLS is fatal; a `starttls` that fails is an error.
    pub fn open_stream(
        &self,
        name: &str,
        host: &str,
        service: impl Into<Service>,
    ) -> StreamBuilder {
        StreamBuilder {
            rt: self.clone(),
            name: name.into(),
            host: host.into(),
            service: service.into(),
            params: DialogueParams::new(StreamType::Plain),
            layers: None,
            coding: None,
            shell_command: None,
            header: None,
            within: WITHIN,
            step_within: None,
        }
    }
}

impl StreamBuilder {
    /// What is said, and of which type the stream is. Default: nothing, in clear.
    pub fn dialogue(mut self, params: DialogueParams) -> Self {
        self.params = params;
        self
    }

    /// What encrypts: a `TlsClient`, for example. Without one nothing can be encrypted.
    pub fn layers(mut self, layers: impl Layers + 'static) -> Self {
        self.layers = Some(Rc::new(layers));
        self
    }

    /// `:coding`: how the bytes of the stream are text, as [`ClientBuilder::coding`](crate::ClientBuilder::coding).
    /// Default: bytes are bytes.
    ///
    /// The dialogue goes by bytes whatever it is, and the text begins behind it, with [`Opened::leftover_text`].
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Runtime, stream::{DialogueParams, StreamType}};
    ///
    /// let rt = Runtime::new()?;
    /// let server = rt.server("s").on_accept(|_, it| it.send(&b"hello\r\n\xFF\xFEa\0"[..])).start()?;
    /// let port = server.contact().local().port().expect("a port");
    /// let hello = DialogueParams::new(StreamType::Network).end_of_command("\r\n");
    /// let opened = rt.open_stream("s", "127.0.0.1", port).dialogue(hello).coding("utf-16").start()?;
    /// assert_eq!(opened.leftover_text, Some("a".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network" (`open-network-stream`). Differs: there the dialogue is text of the
    /// process as well.
    pub fn coding<C>(mut self, coding: C) -> Self
    where
        C: TryInto<Coding>,
        C::Error: Into<CodingError>,
    {
        self.coding = Some(coding.try_into().map_err(Into::into));
        self
    }

    /// `:shell-command`: what the shell runs for a stream of the type [`StreamType::Shell`], with `%s` for the
    /// host, `%p` for the service, and `%%` for `%`. It runs by `/bin/sh -c`, on pipes, its errors among its
    /// output.
    ///
    /// Host and service, where they are asked for, are refused unless they have only letters and digits of
    /// ASCII and `-`, `.`, `_`, and `:` in a host, and do not begin with `-`: then they mean nothing to a
    /// shell, quoted or not, and are no option to the program. What else stands in the command is yours, and
    /// as safe as you make it; right beside a `$`, `~`, `\`, `<` or `>` of yours they belong to that.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc::{Runtime, stream::{DialogueParams, OpenStreamError, StreamType}};
    ///
    /// let rt = Runtime::new()?;
    /// let hello = || DialogueParams::new(StreamType::Shell).end_of_command("\n");
    /// let open = |host| rt.open_stream("s", host, 25).dialogue(hello()).shell_command("echo %s:%p; cat");
    /// let opened = open("mail.example").start()?;
    /// assert_eq!(opened.greeting.as_deref(), Some(&b"mail.example:25\n"[..]));
    /// let refused = open("mail.example; rm -r ~").start();
    /// assert!(matches!(refused, Err(OpenStreamError::Shell(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Network" (`open-network-stream`, `shell`). Differs: Emacs runs whatever the host
    /// says, by `shell-file-name`; a program that ends before it has said what was awaited is an error.
    pub fn shell_command(mut self, command: impl Into<String>) -> Self {
        self.shell_command = Some(command.into());
        self
    }

    /// Sends a PROXY header before anything else, and again where the dialogue has to connect again; as
    /// [`ClientBuilder::proxy_header`](crate::ClientBuilder::proxy_header). Default: none. A stream of the type
    /// [`StreamType::Shell`] is refused one.
    pub fn proxy_header(mut self, header: impl Into<ProxyOut>) -> Self {
        self.header = Some(header.into());
        self
    }

    /// How long all of it may take: connecting, the dialogue, handshakes. Default 30 seconds.
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// How long each step of it may take: the connection, each response however it comes in, each
    /// handshake. The limit of the whole holds as well. Default: only that one.
    pub const fn step_within(mut self, within: Duration) -> Self {
        self.step_within = Some(within);
        self
    }

    /// Connects, or starts the shell, and holds the dialogue, serving everybody else meanwhile. What comes to the
    /// stream by then is the dialogue's, in whatever way a callback waits.
    ///
    /// # Errors
    ///
    /// [`OpenStreamError`]; no process is left, and no child.
    pub fn start(mut self) -> Result<Opened, OpenStreamError> {
        let kind = self.params.kind();
        if self.layers.is_none() {
            if matches!(kind, StreamType::StartTls | StreamType::Tls) {
                return Err(OpenStreamError::NoLayers);
            }
            self.params = self.params.tls_available(false);
        }
        let opening = Opening::new(&self.rt, &self, self.params.clone(), self.within)?;
        let opening = opening.layers(self.layers.clone()).step_within(self.step_within);
        let (process, outcome) = opening.open()?;
        let DialogueOutcome { greeting, capabilities, kind, error, mut leftover, .. } = outcome;
        let leftover_text = self.coding.is_some().then(|| decode(&process, &mut leftover));
        Ok(Opened { process, greeting, capabilities, kind, error, leftover, leftover_text })
    }
}

/// The text that the first bytes of a stream complete; its decoder goes on behind them. Where they complete none they
/// are taken away, for they come with the next input.
fn decode(process: &Process, leftover: &mut Vec<u8>) -> Text {
    if leftover.is_empty() {
        return Text::new();
    }
    let input = Input::new(Buf::copied(leftover), 0);
    let decoded = process.shared().borrow_mut().decode(input);
    let text = decoded.as_ref().and_then(Input::text).cloned();
    text.unwrap_or_else(|| {
        leftover.clear();
        Text::new()
    })
}

impl Opener for StreamBuilder {
    fn connect(&self, within: Duration) -> Result<Process, OpenStreamError> {
        let coding = self.coding.clone().transpose().map_err(StartError::from)?;
        if self.params.kind() == StreamType::Shell {
            if self.header.is_some() {
                let why = "a program on pipes gets no PROXY header";
                return Err(StartError::Incompatible(why).into());
            }
            let template = self.shell_command.as_deref().ok_or(ShellCommandError::Missing)?;
            let command = shell::command(template, &self.host, &self.service)?;
            let mut shell = self.rt.spawn_process(&self.name, shell::SHELL);
            if let Some(coding) = coding {
                shell = shell.coding(coding);
            }
            return Ok(shell.args(["-c", &command]).start()?);
        }
        let client = self.rt.client(&self.name).host(&*self.host).service(self.service.clone());
        let mut client = client.being_opened();
        if let Some(coding) = coding {
            client = client.coding(coding);
        }
        if let Some(header) = &self.header {
            client = client.proxy_header(header.clone());
        }
        Ok(client.within(within).start()?)
    }
}

/// Who opens a stream: makes its connections, and may listen in.
pub(crate) trait Opener {
    /// A connection in clear, without a filter and without a sentinel; while it is connected to it is marked as
    /// being opened already.
    fn connect(&self, within: Duration) -> Result<Process, OpenStreamError>;

    /// Sends a command of the dialogue.
    fn send(&self, process: &Process, command: Vec<u8>) -> Result<u64, SendError> {
        process.send(command)
    }

    /// Hears of an input that the dialogue has taken; nothing of it is text that was smuggled in. If it is text of the
    /// process, it is to be decoded here.
    fn heard(&self, _process: &Process, _input: Input) {}

    /// Whether a stream that may be plain may still become one after this failure of a handshake.
    fn may_fall_back(&self, _failure: &SharedError) -> bool {
        true
    }
}

/// The opening of a stream: connections, the dialogue over them, encryption.
pub(crate) struct Opening<'a> {
    rt: &'a Runtime,
    opener: &'a dyn Opener,
    kind: StreamType,
    dialogue: Dialogue,
    layers: Option<Rc<dyn Layers>>,
    /// How long the whole may take.
    within: Duration,
    /// Until when it may.
    deadline: Tick,
    step_within: Option<Duration>,
}

impl<'a> Opening<'a> {
    /// Prepares one; whatever is wrong with `params` is said here.
    pub(crate) fn new(
        rt: &'a Runtime,
        opener: &'a dyn Opener,
        params: DialogueParams,
        within: Duration,
    ) -> Result<Self, DialogueError> {
        let (kind, dialogue) = (params.kind(), Dialogue::new(params)?);
        let (layers, deadline, step_within) = (None, Tick::default(), None);
        Ok(Self { rt, opener, kind, dialogue, layers, within, deadline, step_within })
    }

    /// By what it is encrypted, if it comes to that.
    pub(crate) fn layers(self, layers: Option<Rc<dyn Layers>>) -> Self {
        Self { layers, ..self }
    }

    /// How long each step may take, if not as long as the whole.
    pub(crate) fn step_within(self, step_within: Option<Duration>) -> Self {
        Self { step_within, ..self }
    }

    /// Connects and holds the dialogue.
    pub(crate) fn open(mut self) -> Result<(Process, DialogueOutcome), OpenStreamError> {
        // Only now: somebody may have been asked whether to begin, and have taken their time.
        self.deadline = self.now().after(self.within);
        let _counted = self.rt.begin_opening();
        let process = self.connect()?;
        let step = self.step_deadline();
        let mut under_way = UnderWay { opening: self, process, step, is_open: false };
        let outcome = under_way.hold()?;
        under_way.is_open = true;
        let process = under_way.process.clone();
        let mut p = process.shared().borrow_mut();
        p.set_text_aside(false);
        p.handlers.being_opened = false;
        drop(p);
        Ok((process, outcome))
    }

    /// A connection that brings bytes, whatever its coding: a decoder keeps some of them back, and a response
    /// may end with those.
    fn connect(&self) -> Result<Process, OpenStreamError> {
        let process = self.opener.connect(self.step_deadline().since(self.now()))?;
        let mut p = process.shared().borrow_mut();
        p.set_text_aside(true);
        // A child was not connected to.
        p.handlers.being_opened = true;
        drop(p);
        Ok(process)
    }

    fn now(&self) -> Tick {
        self.rt.engine().reactor().now()
    }

    /// Until when a step that begins now may take.
    fn step_deadline(&self) -> Tick {
        let within = |within| self.now().after(within).min(self.deadline);
        self.step_within.map_or(self.deadline, within)
    }
}

/// Stands for clear text that a handshake has met with: the dialogue looks at none of it.
const CLEAR_TEXT: &[u8] = b"?";
/// What a dialogue hears when its process was deleted.
const DELETED: &str = "the process was deleted";

/// Whether a handshake failed since what came was no handshake.
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn is_clear_text(err: &SharedError) -> bool {
    err.downcast() == Some(&crate::tls::HandshakeFailure::NotTls)
}

/// The same for layers that are not ours: they cannot say.
#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
const fn is_clear_text(_: &SharedError) -> bool {
    false
}

/// A dialogue under way.
struct UnderWay<'a> {
    opening: Opening<'a>,
    process: Process,
    /// Until when what is awaited now may take.
    step: Tick,
    is_open: bool,
}

/// However it ends, a panic in a function of the dialogue included, no half-made stream is left.
impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            self.drop_connection();
            self.opening.rt.let_go();
        }
    }
}

impl UnderWay<'_> {
    fn hold(&mut self) -> Result<DialogueOutcome, OpenStreamError> {
        let mut input = None;
        loop {
            while let Some(step) = self.opening.dialogue.poll() {
                self.tell(&mut input, &step);
                match step {
                    Step::Send(bytes) => drop(self.opening.opener.send(&self.process, bytes)?),
                    Step::StartTls => self.secure(),
                    Step::Reconnect => {
                        self.drop_connection();
                        self.process = self.opening.connect()?;
                        self.step = self.opening.step_deadline();
                    }
                    Step::Done(outcome) => return Ok(outcome),
                    Step::Failed(failure) => return Err(failure.into()),
                    _ => {}
                }
            }
            if let Some(input) = input.take() {
                self.opening.opener.heard(&self.process, input);
            }
            input = self.listen()?;
        }
    }

    /// Lets the opener hear what the dialogue has just taken, unless it was smuggled in.
    fn tell(&self, input: &mut Option<Input>, step: &Step) {
        let smuggled = matches!(
            step,
            Step::Failed(failure) if failure.reason == DialogueReason::ClearTextAfterStartTls
        );
        if let Some(input) = input.take()
            && !smuggled
        {
            self.opening.opener.heard(&self.process, input);
        }
    }

    /// Ends the connection; a handshake that was given up says so, everything else is of no use any more.
    fn drop_connection(&self) {
        let how = match self.process.layer_error() {
            Some(_) => CloseHow::Flush { within: self.process.limits().flush_within },
            None => CloseHow::Now,
        };
        self.process.delete_with(how);
    }

    /// Begins the handshake.
    fn secure(&mut self) {
        let Some(layers) = self.opening.layers.clone() else {
            return self.opening.dialogue.tls_failed("no encryption was given");
        };
        match self.process.upgrade_by(layers) {
            Ok(()) => self.opening.rt.leave_handshake_limit(&self.process),
            // It is read next, and the dialogue knows what to make of it.
            Err(UpgradeError::ClearText(_)) if self.opening.kind != StreamType::Tls => {}
            Err(_) if self.process.exit() == Exit::Deleted => self.ended(),
            Err(err) => self.opening.dialogue.tls_failed(err.to_string()),
        }
    }

    /// Waits for what the dialogue waits for, and returns what input it took.
    fn listen(&mut self) -> Result<Option<Input>, OpenStreamError> {
        let awaited = self.opening.dialogue.stage();
        let left = self.step.since(self.opening.now());
        // A handshake that was given up is over, however long its peer takes to hang up.
        let shakes = awaited == Some(Stage::Handshake);
        let given_up = || shakes && self.process.layer_error().is_some();
        let next = self.opening.rt.next_event_unless(&self.process, left, given_up)?;
        let over = given_up() || !self.process.is_live();
        let dialogue = &mut self.opening.dialogue;
        let mut taken = None;
        match next {
            Some(Event::Input(input)) => {
                dialogue.receive(&input);
                taken = Some(input);
            }
            Some(Event::Secured) => {
                dialogue.tls_done();
                // What came in clear is not completed by what comes inside.
                self.process.shared().borrow_mut().begin_text();
            }
            Some(Event::Broken { .. } | Event::Deleted | Event::Ended { .. }) => self.ended(),
            Some(_) => {}
            None if over => self.ended(),
            None => dialogue.timed_out(),
        }
        // No stage of a dialogue follows itself.
        if self.opening.dialogue.stage() != awaited {
            self.step = self.opening.step_deadline();
        }
        Ok(taken)
    }

    fn ended(&mut self) {
        let opening = &mut self.opening;
        let shakes = opening.dialogue.stage() == Some(Stage::Handshake);
        let dialogue = &mut opening.dialogue;
        match self.process.layer_error() {
            // On this side: whoever did that wants no other connection, least of all one in clear.
            _ if self.process.exit() == Exit::Deleted => {
                dialogue.tls_refused(DELETED);
                dialogue.peer_broke(DELETED);
            }
            // Whether clear text came with the answer or a moment later is up to the network, and what
            // comes of it should not be.
            Some(err) if shakes && is_clear_text(&err) && opening.kind != StreamType::Tls => {
                dialogue.receive(CLEAR_TEXT);
            }
            Some(err) if shakes && opening.opener.may_fall_back(&err) => {
                dialogue.tls_failed(err.to_string());
            }
            Some(err) if shakes => dialogue.tls_refused(err.to_string()),
            // In TLS 1.3 a server says only later that it does not like its client.
            Some(err) => dialogue.peer_broke(err.to_string()),
            None => dialogue.peer_closed(),
        }
    }
}
