//! The builder of children: programs of the system, talked to by pipes or a terminal.
//!
//! Invariant: a start that fails leaves nothing: no child, no thread that waits for one, no descriptor, no
//! name. What is known of a child afterwards is the engine's, what holds it `child.rs`'s.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
    sync::Arc,
};

use netproc_core::{
    child::{ChildInfo, ChildSignal},
    coding::{Coding, CodingError},
    engine::Start,
    event::{Event, Input},
    output::Buffer,
    plist::{Plist, Value},
    process::{Limits, Shared},
    reactor::{Op, SysError},
};

use super::{Common, process_methods};
use crate::{
    child::{
        Body, Leash, Whom, sys,
        terminal::Terminal,
        wait::{Errand, Waiter},
    },
    error::SpawnError,
    handlers::{Filter, Handlers, Outcome, Output},
    process::{Process, shared_filter},
    runtime::Runtime,
};

/// Through what a child is talked to: `:connection-type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum ConnectionType {
    /// Pipes: bytes go through as they are.
    #[default]
    Pipe,
    /// A terminal: for programs that want to talk to a human. Without echo, and line ends stay as the child
    /// writes them; lines of more than 4095 bytes are cut by the system.
    Pty,
}

/// Where a child writes its errors: `:stderr`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Stderr {
    /// Where its output goes, as Emacs has it when nothing else is said.
    #[default]
    Output,
    /// To a process of their own, of the type `pipe`: [`Process::stderr`].
    Process,
    /// Where this program writes its own.
    Inherit,
    /// Nowhere.
    Null,
}

/// Builds the process of a child. Made by [`Runtime::spawn_process`].
#[must_use = "a builder does nothing before `start`"]
pub struct SpawnBuilder {
    common: Common,
    program: OsString,
    args: Vec<OsString>,
    /// In order; `None` takes a variable away.
    env: Vec<(OsString, Option<OsString>)>,
    env_clear: bool,
    cwd: Option<PathBuf>,
    connection_type: ConnectionType,
    stderr: Stderr,
    /// What the contact shows, if not what was asked for here.
    asked: Option<Plist>,
}

impl SpawnBuilder {
    pub(crate) fn new(rt: &Runtime, name: &str, program: &OsStr) -> Self {
        Self {
            common: Common::new(rt, name),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_clear: false,
            cwd: None,
            connection_type: ConnectionType::Pipe,
            stderr: Stderr::Output,
            asked: None,
        }
    }

    process_methods!();

    /// One more argument, after those before.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// More arguments, after those before.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// Sets a variable of its environment, which is this program's otherwise.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), Some(value.as_ref().into())));
        self
    }

    /// Takes a variable away.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), None));
        self
    }

    /// Takes all variables away, those set before as well.
    pub fn env_clear(mut self) -> Self {
        self.env.clear();
        self.env_clear = true;
        self
    }

    /// Where it runs: Emacs's `default-directory`. Default: where this program does. A relative name of the
    /// program with a slash in it counts from here.
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Self {
        self.cwd = Some(folder.as_ref().into());
        self
    }

    /// `:connection-type`: pipes or a terminal. Default: pipes, where Emacs's is a terminal.
    pub const fn connection_type(mut self, connection_type: ConnectionType) -> Self {
        self.connection_type = connection_type;
        self
    }

    /// `:stderr`: where its errors go. Default: where its output goes.
    pub const fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// Starts the program.
    ///
    /// Blocks until it was found and runs, which takes no longer than the system needs. It leads a session of
    /// its own, without the terminal of this program; it blocks no signal, and ignores those that this program
    /// does, but for SIGINT, SIGQUIT, SIGTERM, SIGCHLD and SIGPIPE; of our descriptors it has those meant for
    /// it, and others only if they are not close-on-exec, which all of this library's are. With
    /// [`stop`](Self::stop) it is stopped as soon as it runs, and may have done something by then.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: the program or its folder cannot be used, a NUL, a coding or bound that cannot be, no
    /// more processes or descriptors, a simulation. Nothing is left.
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Asynchronous Processes" (`make-process`). Differs: a program that cannot be
    /// run is an error here; in Emacs it may be a process that exits with code 126 or 127.
    pub fn start(self) -> Result<Process, SpawnError> {
        let rt = self.common.rt.clone();
        if rt.is_simulated() {
            return Err(SpawnError::Unsupported(rt.capabilities().name));
        }
        self.check_cwd()?;
        let asked = self.asked();
        let _kept = self.common.kept();
        let Self { common, program, args, env, env_clear, cwd, connection_type, stderr, .. } = self;
        let (errors, stop) = (errors_of(&common)?, common.stopped);
        let start = common.start(asked, false)?;
        let mut command = Command::new(&program);
        command.args(&args);
        if env_clear {
            command.env_clear();
        }
        for (name, value) in env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let waiter = Waiter::start().map_err(|err| SpawnError::no_resources(&err))?;
        let ends = Ends::open(&mut command, connection_type, stderr)?;
        let spawned = command.spawn();
        // Our copies of its ends go, or we would never see them end.
        drop(command);
        let child = spawned.map_err(|err| SpawnError::of_program(&program, &err))?;
        let info = ChildInfo {
            pid: child.id(),
            command: std::iter::once(program).chain(args).collect(),
            tty: ends.tty.clone(),
        };
        // The system's own type for it has a sign.
        let pid = info.pid.cast_signed();
        let body = Arc::new(Body::new(child));
        let leash = Leash::new(pid, Arc::clone(&body), ends.terminal);
        let made = list(&rt, start, errors, info, ends.own);
        // Even where it is killed at once, somebody has to wait for it.
        let tell = made.as_ref().ok().map(|shared| (rt.postbox(), shared.borrow().id()));
        waiter.wait_for(Errand { body, tell });
        let process = Process::new(made?, rt);
        if stop {
            // It is ours and has just been started: nobody refuses.
            let _stopped = leash.signal(Whom::Group, ChildSignal::STOP);
        }
        process.shared().borrow_mut().handlers.ties_mut().leash = Some(Rc::new(leash));
        process.runtime().nudge();
        Ok(process)
    }

    /// A folder that cannot be entered and a program that is not there read the same once the child has
    /// tried: so the folder is looked at first, as Emacs does.
    fn check_cwd(&self) -> Result<(), SpawnError> {
        let Some(cwd) = &self.cwd else { return Ok(()) };
        let refused = |errno| {
            let source = SysError { op: Op::Spawn, errno };
            SpawnError::Cwd { cwd: cwd.clone(), source }
        };
        let found = std::fs::metadata(cwd);
        let found = found.map_err(|err| match err.raw_os_error() {
            Some(errno) => refused(errno),
            None => SpawnError::Nul,
        })?;
        if !found.is_dir() {
            return Err(refused(nix::libc::ENOTDIR));
        }
        let entered = nix::unistd::access(cwd, nix::unistd::AccessFlags::X_OK);
        entered.map_err(|errno| refused(errno as i32))
    }

    /// Callbacks as the dynamic front has made them, and the arguments it was called with.
    pub(crate) fn handlers(mut self, handlers: Handlers, asked: Plist) -> Self {
        self.common.handlers = handlers;
        self.asked = Some(asked);
        self
    }

    /// The arguments as the contact shows them.
    fn asked(&self) -> Plist {
        if let Some(asked) = &self.asked {
            return asked.clone();
        }
        let mut asked = self.common.asked();
        asked.put(":command", command_value(std::iter::once(&self.program).chain(&self.args)));
        if self.connection_type == ConnectionType::Pty {
            asked.put(":connection-type", Value::symbol("pty"));
        }
        asked
    }
}

/// What was asked for so far, as arguments of `make-process`; the environment is left out.
impl fmt::Debug for SpawnBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpawnBuilder{}", self.asked())
    }
}

/// A command as `:command` shows it: a list of strings, bytes that are no text as such.
pub(crate) fn command_value<'a>(words: impl Iterator<Item = &'a OsString>) -> Value {
    Value::list(words.map(|word| match word.to_str() {
        Some(text) => Value::from(text),
        None => Value::Bytes(word.as_bytes().into()),
    }))
}

/// How the process of a child's errors is started: within the same bounds, and with nothing else set.
fn errors_of(common: &Common) -> Result<Start<Handlers>, SpawnError> {
    let mut errors = Common::new(&common.rt, &format!("{} stderr", common.name));
    errors.limits = common.limits;
    let asked = errors.asked();
    Ok(errors.start(asked, false)?)
}

/// Our ends of what a child has.
struct Ends {
    own: Own,
    terminal: Option<OwnedFd>,
    tty: Option<Rc<str>>,
}

/// Those of them that are the engine's.
struct Own {
    output: OwnedFd,
    input: OwnedFd,
    errors: Option<OwnedFd>,
}

impl Ends {
    /// Makes them, and gives the child's to `command`, which is to make a session.
    fn open(
        command: &mut Command,
        connection_type: ConnectionType,
        stderr: Stderr,
    ) -> Result<Self, SpawnError> {
        let refused = |err| SpawnError::no_resources(&err);
        let ends = match connection_type {
            ConnectionType::Pipe => Self::pipes(command, stderr),
            ConnectionType::Pty => Self::terminal(command, stderr),
        };
        sys::own_session(command, connection_type == ConnectionType::Pty);
        let mut ends = ends.map_err(refused)?;
        match stderr {
            Stderr::Output => {}
            Stderr::Process => {
                let (errors, theirs) = std::io::pipe().map_err(refused)?;
                command.stderr(theirs);
                ends.own.errors = Some(errors.into());
            }
            Stderr::Inherit => drop(command.stderr(Stdio::inherit())),
            Stderr::Null => drop(command.stderr(Stdio::null())),
        }
        Ok(ends)
    }

    fn pipes(command: &mut Command, stderr: Stderr) -> std::io::Result<Self> {
        let (theirs, input) = std::io::pipe()?;
        command.stdin(theirs);
        let (output, theirs) = std::io::pipe()?;
        if stderr == Stderr::Output {
            command.stderr(theirs.try_clone()?);
        }
        command.stdout(theirs);
        let own = Own { output: output.into(), input: input.into(), errors: None };
        Ok(Self { own, terminal: None, tty: None })
    }

    fn terminal(command: &mut Command, stderr: Stderr) -> std::io::Result<Self> {
        let Terminal { master, slave, name } = Terminal::open()?;
        command.stdin(slave.try_clone()?);
        if stderr == Stderr::Output {
            command.stderr(slave.try_clone()?);
        }
        command.stdout(slave);
        let (input, terminal) = (master.try_clone()?, master.try_clone()?);
        let own = Own { output: master, input, errors: None };
        Ok(Self { own, terminal: Some(terminal), tty: Some(name) })
    }
}

/// Lists the process of a child, and that of its errors if there is one.
fn list(
    rt: &Runtime,
    start: Start<Handlers>,
    errors: Start<Handlers>,
    info: ChildInfo,
    own: Own,
) -> Result<Shared<Handlers>, SpawnError> {
    let mut engine = rt.engine_mut();
    // First, as in Emacs: the newest in the list is the child.
    let errors = own.errors.map(|output| engine.pipe(errors, output));
    let errors = errors.transpose().map_err(SpawnError::Resources)?;
    match engine.child(start, info, own.output, own.input) {
        Ok(shared) => {
            let id = errors.map(|errors| errors.borrow().id());
            shared.borrow_mut().handlers.ties_mut().errors = id;
            Ok(shared)
        }
        Err(err) => {
            if let Some(errors) = errors {
                engine.abandon(&errors);
            }
            Err(SpawnError::Resources(err))
        }
    }
}
