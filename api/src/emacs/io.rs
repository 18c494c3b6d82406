//! Functions that send and wait.
//!
//! Invariant: sending blocks until the system has everything, as in Emacs; everybody is served
//! meanwhile, so that callbacks run inside.

use std::time::Duration;

use netproc_core::{
    child::ProcessType,
    coding::TextRef,
    engine::{FinishError, SendError},
    event::Reason,
    machine::Status,
    output::Marker,
    plist::Value,
    reactor::{Op, SysError, Tick},
};

use nix::libc::EPIPE;

use super::{Answer, Emacs, Signal};
use crate::{error::SendWaitError, process::Process};

pub(super) fn process_send_string(emacs: &Emacs, args: &[Value]) -> Answer {
    if !args[1].is_string() {
        return Err(Signal::wrong_type("stringp", args[1].clone()));
    }
    let process = emacs.designated(&args[0])?;
    send(&process, &args[1])
}

/// A child that is stopped is not running, to Emacs; it would have what it was sent when it goes on.
fn is_stopped_child(process: &Process) -> bool {
    process.process_type() == ProcessType::Real && process.status() == Status::Stop
}

pub(super) fn process_send_region(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = emacs.designated(&args[0])?;
    let buffer = emacs.rt.buffers().current();
    let position = |value: &Value| {
        if let Some(marker) = value.downcast::<Marker>() {
            let nowhere = || Signal::error("Marker does not point anywhere");
            return marker.position().ok_or_else(nowhere);
        }
        let given = value.as_integer().map(|at| usize::try_from(at).unwrap_or(0));
        given.ok_or_else(|| Signal::wrong_type("integer-or-marker-p", value.clone()))
    };
    let (start, end) = (position(&args[1])?, position(&args[2])?);
    let text = buffer.substring(start, end).map_err(|_| {
        let data = vec![Value::object(buffer.clone()), args[1].clone(), args[2].clone()];
        Signal::new("args-out-of-range", data)
    })?;
    send(&process, &Value::text(text))
}

fn send(process: &Process, string: &Value) -> Answer {
    if is_stopped_child(process) {
        return Err(Signal::not_running(process));
    }
    // Before anything is encoded: what runs meanwhile may set another coding, or be the first to send.
    let rt = process.runtime();
    rt.wait_connecting(process, Tick(u64::MAX))?;
    let bytes = match string {
        Value::String(text) => process.encode(TextRef::from(&**text)),
        Value::Text(text) => process.encode(TextRef::from(&**text)),
        Value::Bytes(bytes) => process.encode_bytes(bytes),
        _ => return Err(Signal::wrong_type("stringp", string.clone())),
    };
    let sent = if bytes.is_empty() {
        // Nothing is sent, not even an empty packet, but whoever cannot send is told.
        let may = rt.engine_mut().may_send(process.shared());
        if let Err(SendError::NotOpen(_)) = may {
            return Err(Signal::not_running(process));
        }
        process.flush(Duration::MAX)
    } else {
        process.send_wait(bytes, None)
    };
    match sent {
        Ok(()) => Ok(Value::Nil),
        Err(err) => failed(process, err),
    }
}

fn failed(process: &Process, err: SendWaitError) -> Answer {
    let context = vec![Value::object(process.clone())];
    let name = process.name();
    let process_type = process.process_type();
    Err(match err {
        SendWaitError::Send(SendError::Finished) if process_type == ProcessType::Pipe => {
            let err = SysError { op: Op::Send, errno: nix::libc::EBADF };
            Signal::file("Writing to process", err, context)
        }
        SendWaitError::Refused(_) if process_type == ProcessType::Real => {
            Signal::error(format!("process {name} no longer connected to pipe; closed it"))
        }
        // What is sent after the end of sending is accepted and thrown away.
        SendWaitError::Send(SendError::Finished) if process.is_finished() => return Ok(Value::Nil),
        SendWaitError::Send(SendError::NoPeer) => {
            Signal::file("Writing to process", SysError::invalid(Op::Send), context)
        }
        SendWaitError::Refused(err) if err.is_too_long() => {
            Signal::file("Sending datagram", err, context)
        }
        SendWaitError::Refused(err) => Signal::file("Writing to process", err, context),
        SendWaitError::Deleted { .. } => {
            Signal::error(format!("Output file descriptor of {name} is closed"))
        }
        SendWaitError::Broken { reason: Reason::Sys(err), .. } if err.errno != EPIPE => {
            Signal::file("Writing to process", err, context)
        }
        SendWaitError::Broken { .. } => {
            Signal::error(format!("process {name} no longer connected to pipe; closed it"))
        }
        SendWaitError::Runtime(err) => Signal::from(*err),
        SendWaitError::Send(_) | SendWaitError::TimedOut { .. } => Signal::not_running(process),
    })
}

pub(super) fn process_send_eof(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = emacs.designated(&args[0])?;
    emacs.rt.wait_connecting(&process, Tick(u64::MAX))?;
    if is_stopped_child(&process) {
        return Err(Signal::not_running(&process));
    }
    match process.send_eof() {
        Ok(()) => Ok(args[0].clone()),
        Err(FinishError::NotOpen(_) | _) => Err(Signal::not_running(&process)),
    }
}

pub(super) fn accept_process_output(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = if args[0].is_true() { Some(Emacs::process(&args[0])?) } else { None };
    let timeout = timeout(&args[1], &args[2])?;
    let only = args[3].is_true();
    // An integer, zero as well, holds the timers, but not while everybody is waited for.
    let timers = process.is_none() || args[3].as_integer().is_none();
    let came = emacs.rt.accept_output_as(process.as_ref(), timeout, only, timers)?;
    Ok(came.into())
}

/// Seconds and milliseconds together; `None` if neither is given.
fn timeout(seconds: &Value, millis: &Value) -> Result<Option<Duration>, Signal> {
    if millis.is_true() {
        let integer = |value: &Value| {
            if !value.is_true() {
                return Ok(0);
            }
            value.as_integer().ok_or_else(|| Signal::wrong_type("fixnump", value.clone()))
        };
        let (millis, seconds) = (integer(millis)?, integer(seconds)?);
        let total = seconds.saturating_mul(1000).saturating_add(millis);
        return Ok(Some(Duration::from_millis(u64::try_from(total).unwrap_or(0))));
    }
    match seconds {
        Value::Nil => Ok(None),
        Value::Integer(seconds) => {
            Ok(Some(Duration::from_secs(u64::try_from(*seconds).unwrap_or(0))))
        }
        // Not a number is no time, and more than there is is for ever.
        Value::Float(seconds) if seconds.is_nan() || *seconds <= 0.0 => Ok(Some(Duration::ZERO)),
        Value::Float(seconds) => {
            Ok(Some(Duration::try_from_secs_f64(*seconds).unwrap_or(Duration::MAX)))
        }
        _ => Err(Signal::wrong_type("numberp", seconds.clone())),
    }
}
