//! Functions of children: making them, signalling them. Emacs calls them subprocesses.
//!
//! Invariant: arguments are checked in Emacs's order before anything is started; a process that is no
//! child is never signalled.

use std::ffi::OsString;

use netproc_core::{
    child::{ChildSignal, ProcessType},
    output::Buffer,
    plist::{Plist, Value},
    reactor::{Op, SysError},
};
use nix::errno::Errno;

use super::{Answer, Emacs, Signal, callbacks, make};
use crate::{
    builder::{ConnectionType, Stderr},
    child::{SignalError, Whom},
    error::SpawnError,
    process::Process,
};

/// Whom CURRENT-GROUP means.
fn whom(current_group: &Value, signal: ChildSignal) -> Whom {
    // These three Emacs types at the terminal, which asks nobody whose they are.
    let typed = [ChildSignal::INT, ChildSignal::QUIT, ChildSignal::TSTP].contains(&signal);
    match current_group.as_symbol() {
        _ if !current_group.is_true() => Whom::Group,
        Some("lambda") if !typed => Whom::OthersInForeground,
        _ => Whom::Foreground,
    }
}

fn no_subprocess(process: &Process) -> Signal {
    Signal::error(format!("Process {} is not a subprocess", process.name()))
}

/// Signals the group of a child; returns what it was called with.
fn to_group(emacs: &Emacs, args: &[Value], signal: ChildSignal) -> Answer {
    let process = emacs.designated(&args[0])?;
    match process.signal_to(whom(&args[1], signal), signal) {
        // What the system refuses Emacs does not tell.
        Ok(()) | Err(SignalError::Sys(_)) => Ok(args[0].clone()),
        Err(SignalError::NotAChild(_)) => Err(no_subprocess(&process)),
        Err(SignalError::Ended(_)) => {
            Err(Signal::error(format!("Process {} is not active", process.name())))
        }
    }
}

pub(super) fn interrupt_process(emacs: &Emacs, args: &[Value]) -> Answer {
    to_group(emacs, args, ChildSignal::INT)
}

pub(super) fn kill_process(emacs: &Emacs, args: &[Value]) -> Answer {
    to_group(emacs, args, ChildSignal::KILL)
}

pub(super) fn quit_process(emacs: &Emacs, args: &[Value]) -> Answer {
    to_group(emacs, args, ChildSignal::QUIT)
}

/// The process of a connection, a server or a pipe, given itself and not by its name: those are stopped
/// without a signal.
fn without_signal(value: &Value) -> Option<&Process> {
    value.downcast::<Process>().filter(|process| process.process_type() != ProcessType::Real)
}

pub(super) fn stop_process(emacs: &Emacs, args: &[Value]) -> Answer {
    let Some(process) = without_signal(&args[0]) else {
        return to_group(emacs, args, ChildSignal::TSTP);
    };
    process.stop();
    Ok(args[0].clone())
}

pub(super) fn continue_process(emacs: &Emacs, args: &[Value]) -> Answer {
    let Some(process) = without_signal(&args[0]) else {
        return to_group(emacs, args, ChildSignal::CONT);
    };
    process.resume();
    Ok(args[0].clone())
}

/// A name that no process has is no error; nor is the number of one of the system, which is not our business
/// unless it is a child's.
pub(super) fn signal_process(emacs: &Emacs, args: &[Value]) -> Answer {
    let numbered = |number: i64| {
        let mut listed = emacs.rt.process_list().into_iter();
        listed.find(|process| process.pid().is_some_and(|pid| i64::from(pid) == number))
    };
    let process = match (args[0].as_integer(), args[0].as_str()) {
        (Some(number), _) => numbered(number),
        (None, Some(name)) => match (emacs.rt.get_process(name), name.parse()) {
            (Some(process), _) => Some(process),
            (None, Ok(number)) => numbered(number),
            (None, Err(_)) => return Ok(Value::Nil),
        },
        (None, None) if args[0].is_string() => return Ok(Value::Nil),
        (None, None) => Some(emacs.designated(&args[0])?),
    };
    if let Some(process) = process.as_ref().filter(|it| it.process_type() != ProcessType::Real) {
        return Err(Signal::error(format!("Cannot signal process {}", process.name())));
    }
    let signal = match (&args[1], args[1].as_symbol()) {
        (Value::Integer(number), _) => ChildSignal::new(i32::try_from(*number).unwrap_or(-1)),
        (_, Some(name)) => {
            let signal = name.parse::<ChildSignal>();
            signal.map_err(|_| Signal::error(format!("Undefined signal name {name}")))?
        }
        (_, None) => return Err(Signal::wrong_type("symbolp", args[1].clone())),
    };
    let sent = process.is_some_and(|process| process.signal_to(Whom::Child, signal).is_ok());
    Ok(Value::from(if sent { 0 } else { -1 }))
}

/// The program and its arguments.
fn command(value: Option<&Value>) -> Result<Vec<OsString>, Signal> {
    let value = value.cloned().unwrap_or_default();
    let items = value.items().ok_or_else(|| Signal::wrong_type("listp", value.clone()))?;
    if items.is_empty() {
        // Emacs makes a terminal with nobody at it.
        return Err(Signal::error("A process without a program is not supported"));
    }
    let word = |item: &Value| {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = if item.is_string() { item.to_bytes() } else { None };
        let bytes = bytes.ok_or_else(|| Signal::wrong_type("stringp", item.clone()))?;
        Ok(OsString::from_vec(bytes))
    };
    items.iter().map(word).collect()
}

fn connection_type(value: Option<&Value>) -> Result<ConnectionType, Signal> {
    match value {
        // What `process-connection-type` says at first.
        None | Some(Value::Nil | Value::True) => Ok(ConnectionType::Pty),
        Some(value) => match value.as_symbol() {
            Some("pty") => Ok(ConnectionType::Pty),
            Some("pipe") => Ok(ConnectionType::Pipe),
            _ => {
                // Emacs adds the text of whatever error the system has told of last.
                let err = SysError { op: Op::Spawn, errno: Errno::EINVAL as i32 };
                Err(Signal::file("Unknown connection type", err, vec![value.clone()]))
            }
        },
    }
}

/// The buffer that errors go into, if it is given or named.
fn errors(emacs: &Emacs, value: Option<&Value>) -> Result<Option<Buffer>, Signal> {
    let Some(value) = value.filter(|value| value.is_true()) else { return Ok(None) };
    match (value.downcast::<Buffer>(), value.as_str()) {
        (Some(buffer), _) => Ok(Some(buffer.clone())),
        (None, Some("")) => Err(Signal::error(make::NO_BUFFER_NAME)),
        (None, Some(name)) => Ok(Some(emacs.rt.buffers().get_or_create(name))),
        (None, None) => Err(Signal::wrong_type("stringp", value.clone())),
    }
}

pub(super) fn make_process(emacs: &Emacs, args: &[Value]) -> Answer {
    let args = make::arguments(args)?;
    if args.is_empty() {
        return Ok(Value::Nil);
    }
    start(emacs, &args)
}

/// `make-process` with name, buffer and command.
pub(super) fn start_process(emacs: &Emacs, args: &[Value]) -> Answer {
    let command = Value::list(args[2..].iter().cloned());
    let given = [(":name", args[0].clone()), (":buffer", args[1].clone()), (":command", command)];
    start(emacs, &given.into_iter().collect())
}

fn start(emacs: &Emacs, args: &Plist) -> Answer {
    let start = |err| Signal::from_start(&err, args);
    let buffer = emacs.rt.buffer_argument(args).map_err(start)?;
    let name = args.get(":name").cloned().unwrap_or_default();
    let name = name.as_str().ok_or_else(|| Signal::wrong_type("stringp", name.clone()))?;
    if let Some(stop) = args.get(":stop").filter(|stop| stop.is_true()) {
        return Err(Signal::wrong_type("null", stop.clone()));
    }
    let command = command(args.get(":command"))?;
    let stderr = errors(emacs, args.get(":stderr"))?;
    let connection_type = connection_type(args.get(":connection-type"))?;
    let coding = emacs.rt.coding_argument(args).map_err(start)?;
    let errors_coding = emacs.rt.coding_argument(&Plist::new()).map_err(start)?;
    let (mut handlers, deaf) = make::handlers(args, buffer).map_err(start)?;
    handlers.use_defaults();
    let apart = if stderr.is_some() { Stderr::Process } else { Stderr::Output };
    let builder = emacs.rt.spawn_process(name, &command[0]).args(&command[1..]);
    let builder = builder.connection_type(connection_type).stderr(apart);
    let made = builder.handlers(handlers, callbacks::weakened(args)).coding(coding).start();
    let process = made.map_err(|err| refused(&err, args))?;
    if deaf {
        callbacks::ignore_input(&process);
    }
    if let Some(errors) = process.stderr() {
        errors.set_buffer(stderr);
        errors.set_query_on_exit(process.query_on_exit());
        // That of its parent is for the output.
        errors.set_coding(errors_coding)?;
        errors.use_default_filter();
        errors.use_default_sentinel();
    }
    Ok(Value::object(process))
}

fn refused(err: &SpawnError, args: &Plist) -> Signal {
    match err {
        SpawnError::Arguments(err) => Signal::from_start(err, args),
        SpawnError::Program { program, .. } if std::path::Path::new(program).is_dir() => {
            Signal::error("Specified program for new process is a directory")
        }
        SpawnError::Program { program, source } => {
            let program = Value::from(&*program.to_string_lossy());
            Signal::file("Searching for program", *source, vec![program])
        }
        SpawnError::Resources(source) => Signal::error(format!("{err}: {}", source.message())),
        other => Signal::error(other.to_string()),
    }
}
