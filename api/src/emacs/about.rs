//! Functions that ask: of a process, of the list of processes.

use netproc_core::{
    child::ProcessType,
    output::{Buffer, Marker},
    plist::Value,
    process::Exit,
};

use super::{Answer, Emacs, Signal};
use crate::{output::buffer_value, process::Process};

pub(super) fn processp(_: &Emacs, args: &[Value]) -> Answer {
    Ok(args[0].downcast::<Process>().is_some().into())
}

pub(super) fn process_list(emacs: &Emacs, _: &[Value]) -> Answer {
    Ok(Value::list(emacs.rt.process_list().into_iter().map(Value::object)))
}

pub(super) fn get_process(emacs: &Emacs, args: &[Value]) -> Answer {
    if args[0].downcast::<Process>().is_some() {
        return Ok(args[0].clone());
    }
    if !args[0].is_string() {
        return Err(Signal::wrong_type("stringp", args[0].clone()));
    }
    // No name has raw bytes.
    let Some(name) = args[0].as_str() else { return Ok(Value::Nil) };
    Ok(emacs.rt.get_process(name).map_or(Value::Nil, Value::object))
}

pub(super) fn get_buffer_process(emacs: &Emacs, args: &[Value]) -> Answer {
    let buffer = match (args[0].downcast::<Buffer>(), args[0].as_str()) {
        (Some(buffer), _) => Some(buffer.clone()),
        (None, Some(name)) => emacs.rt.buffers().get(name),
        // No name has raw bytes.
        (None, None) if !args[0].is_true() || args[0].is_string() => None,
        (None, None) => return Err(Signal::wrong_type("stringp", args[0].clone())),
    };
    let process = buffer.and_then(|buffer| emacs.rt.buffer_process(&buffer));
    Ok(process.map_or(Value::Nil, Value::object))
}

/// The name of a buffer is not tried here, and a name nobody has is no error.
pub(super) fn process_status(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = match args[0].as_str() {
        Some(name) => match emacs.rt.get_process(name) {
            Some(process) => process,
            None => return Ok(Value::Nil),
        },
        None if args[0].is_string() => return Ok(Value::Nil),
        None => emacs.designated(&args[0])?,
    };
    Ok(Value::symbol(process.status().as_str()))
}

pub(super) fn process_live_p(_: &Emacs, args: &[Value]) -> Answer {
    let live = args[0].downcast::<Process>().filter(|process| process.is_live());
    // As Emacs's, the true value is a list, that of the live statuses from its own on.
    let statuses = ["run", "open", "listen", "connect", "stop"].map(Value::symbol);
    Ok(live.map_or(Value::Nil, |process| {
        let own = Value::symbol(process.status().as_str());
        Value::list(statuses.into_iter().skip_while(|status| *status != own))
    }))
}

pub(super) fn process_exit_status(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let status = process.exit_status();
    Ok(match process.exit() {
        // Where there is no errno Emacs has words.
        Exit::Failed(failure) if failure.errno().is_none() && status != 0 => failure.code().into(),
        _ => i64::from(status).into(),
    })
}

pub(super) fn process_type(emacs: &Emacs, args: &[Value]) -> Answer {
    Ok(Value::symbol(emacs.designated(&args[0])?.process_type().as_str()))
}

pub(super) fn process_name(_: &Emacs, args: &[Value]) -> Answer {
    Ok((&*Emacs::process(&args[0])?.name()).into())
}

/// A network process is no process of the system.
pub(super) fn process_id(_: &Emacs, args: &[Value]) -> Answer {
    Ok(Emacs::process(&args[0])?.pid().map(i64::from).into())
}

pub(super) fn process_tty_name(_: &Emacs, args: &[Value]) -> Answer {
    Ok(Emacs::process(&args[0])?.tty_name().as_deref().map_or(Value::Nil, Value::from))
}

pub(super) fn process_command(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    Ok(match process.command() {
        Some(command) => crate::builder::command_value(command.iter()),
        None => process.is_stopped().into(),
    })
}

/// It waits until a host's name was looked up, or is `nil` until then.
pub(super) fn process_contact(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    if args[2].is_true() && process.shared().borrow().is_looking_up() {
        return Ok(Value::Nil);
    }
    emacs.rt.wait_looking_up(&process)?;
    let of_pipe = process.process_type() == ProcessType::Pipe && !args[1].is_true();
    if process.process_type() == ProcessType::Real || of_pipe {
        return Ok(Value::True);
    }
    let contact = process.contact();
    Ok(match (&args[1], args[1].as_symbol()) {
        (Value::Nil, _) => contact.short(),
        (Value::True, _) => contact.plist().to_value(),
        (_, Some(key)) => contact.get(key).unwrap_or_default(),
        (_, None) => Value::Nil,
    })
}

pub(super) fn process_buffer(_: &Emacs, args: &[Value]) -> Answer {
    Ok(buffer_value(Emacs::process(&args[0])?.buffer()))
}

pub(super) fn process_mark(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let mut shared = process.shared().borrow_mut();
    // Without a buffer it points nowhere; it is the same one all the same.
    let mark = shared.handlers.output.mark.get_or_insert_with(Marker::new).clone();
    Ok(Value::object(mark))
}

pub(super) fn process_filter(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let shown = process.shared().borrow().handlers.shown_filter();
    Ok(shown)
}

pub(super) fn process_sentinel(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let shown = process.shared().borrow().handlers.shown_sentinel();
    Ok(shown)
}

pub(super) fn process_plist(_: &Emacs, args: &[Value]) -> Answer {
    Ok(Emacs::process(&args[0])?.plist().to_value())
}

pub(super) fn process_get(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let value = args[1].as_symbol().and_then(|key| process.get(key));
    Ok(value.unwrap_or_default())
}

pub(super) fn process_query_on_exit_flag(_: &Emacs, args: &[Value]) -> Answer {
    Ok(Emacs::process(&args[0])?.query_on_exit().into())
}

pub(super) fn process_coding_system(_: &Emacs, args: &[Value]) -> Answer {
    let Some(coding) = Emacs::process(&args[0])?.coding() else { return Ok(Value::Nil) };
    let half = |system: Option<netproc_core::coding::CodingSystem>| {
        system.map_or(Value::Nil, |system| Value::symbol(&system.to_string()))
    };
    Ok(Value::pair(half(coding.decode), half(coding.encode)))
}

pub(super) fn process_datagram_address(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    emacs.rt.wait_looking_up(&process)?;
    Ok(process.datagram_address().into())
}

/// Writes the table into the buffer `*Process List*`, which it empties first.
pub(super) fn list_processes(emacs: &Emacs, args: &[Value]) -> Answer {
    let name = args[1].as_str().unwrap_or("*Process List*");
    let buffer = match args[1].downcast::<Buffer>() {
        Some(buffer) => buffer.clone(),
        None => emacs.rt.buffers().get_or_create(name),
    };
    let table = emacs.rt.list_processes(args[0].is_true()).to_string();
    let refused = |err: netproc_core::output::BufferError| Signal::error(err.to_string());
    buffer.delete(1, buffer.len() + 1).map_err(refused)?;
    buffer.insert(&*table).map_err(refused)?;
    Ok(Value::Nil)
}
