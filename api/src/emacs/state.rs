//! Functions that change a process: its callbacks, properties, options, its stop and its end.
//!
//! Invariant: a function that signals has changed nothing. Setters write through to the contact, as
//! Emacs's do.

use netproc_core::{
    child::ProcessType,
    coding::{Coding, CodingSystem},
    options::SockOption,
    output::Buffer,
    plist::{Plist, Value},
};

use super::{Answer, Emacs, Signal, callbacks};
use crate::{
    companions::SetOptionError,
    output::{DEFAULT_FILTER, DEFAULT_SENTINEL, buffer_value},
    process::Process,
};

fn show(process: &Process, key: &str, value: Value) {
    let before = process.shared().borrow_mut().contact_mut().set(key, value);
    // Not while it is borrowed.
    drop(before);
}

/// The function a value is, or `None` for the default, which has a name of its own.
fn function(value: &Value, default: &str) -> Result<Option<super::Function>, Signal> {
    if !value.is_true() || value.as_symbol() == Some(default) {
        return Ok(None);
    }
    let function = callbacks::function(value);
    function.map(Some).ok_or_else(|| Signal::wrong_type("functionp", value.clone()))
}

pub(super) fn set_process_filter(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    if args[1] == Value::True {
        callbacks::ignore_input(&process);
    } else {
        match function(&args[1], DEFAULT_FILTER)? {
            Some(filter) => {
                let shown = callbacks::weak(&args[1]);
                process.install_filter(callbacks::filter(filter), false, shown);
            }
            None => process.use_default_filter(),
        }
    }
    let shown = process.shared().borrow().handlers.shown_filter();
    show(&process, ":filter", shown.clone());
    Ok(if args[1].is_true() { args[1].clone() } else { shown })
}

pub(super) fn set_process_sentinel(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    match function(&args[1], DEFAULT_SENTINEL)? {
        Some(sentinel) => {
            let shown = callbacks::weak(&args[1]);
            process.install_sentinel(callbacks::sentinel(sentinel), shown);
        }
        None => process.use_default_sentinel(),
    }
    let shown = process.shared().borrow().handlers.shown_sentinel();
    show(&process, ":sentinel", shown.clone());
    Ok(if args[1].is_true() { args[1].clone() } else { shown })
}

pub(super) fn set_process_buffer(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let buffer = args[1].downcast::<Buffer>().cloned();
    if buffer.is_none() && args[1].is_true() {
        return Err(Signal::wrong_type("bufferp", args[1].clone()));
    }
    process.set_buffer(buffer.clone());
    show(&process, ":buffer", buffer_value(buffer));
    Ok(args[1].clone())
}

pub(super) fn set_process_plist(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    if args[1].items().is_none() {
        return Err(Signal::wrong_type("listp", args[1].clone()));
    }
    process.set_plist(Plist::try_from(&args[1])?);
    Ok(args[1].clone())
}

pub(super) fn process_put(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let Some(key) = args[1].as_symbol() else {
        return Err(Signal::wrong_type("symbolp", args[1].clone()));
    };
    process.put(key, args[2].clone());
    Ok(process.plist().to_value())
}

pub(super) fn set_process_query_on_exit_flag(_: &Emacs, args: &[Value]) -> Answer {
    Emacs::process(&args[0])?.set_query_on_exit(args[1].is_true());
    Ok(args[1].clone())
}

fn system(value: &Value) -> Result<Option<CodingSystem>, Signal> {
    match (value.is_true(), value.as_symbol()) {
        (false, _) => Ok(None),
        (true, Some(name)) => Ok(Some(name.parse()?)),
        (true, None) => Err(Signal::wrong_type("symbolp", value.clone())),
    }
}

pub(super) fn set_process_coding_system(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    let (decode, encode) = (system(&args[1])?, system(&args[2])?);
    // As Emacs has it: no encoding named is none.
    let encode = encode.unwrap_or_else(|| CodingSystem::utf8_unix().raw_text()).for_encoding();
    process.set_coding(Coding { decode, encode: Some(encode) })?;
    Ok(Value::Nil)
}

/// With `nil` the decoding goes on as bytes of which only the line ends are converted.
pub(super) fn set_process_filter_multibyte(_: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    if !args[1].is_true() {
        let mut coding = process.coding().unwrap_or_default();
        coding.decode = coding.decode.map(CodingSystem::raw_text);
        process.set_coding(coding)?;
    }
    Ok(Value::Nil)
}

/// Returns the address, or `nil` if it was not set.
pub(super) fn set_process_datagram_address(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    emacs.rt.wait_looking_up(&process)?;
    let set = args[1].to_address().ok().and_then(|to| process.set_datagram_address(&to).ok());
    Ok(if set.is_some() { args[1].clone() } else { Value::Nil })
}

pub(super) fn set_network_process_option(emacs: &Emacs, args: &[Value]) -> Answer {
    let process = Emacs::process(&args[0])?;
    if process.process_type() != ProcessType::Network {
        return Err(Signal::error("Process is not a network process"));
    }
    emacs.rt.wait_looking_up(&process)?;
    if !process.status_beneath_stop().is_live() {
        return Err(Signal::error("Process is not running"));
    }
    let keyword = args[1].as_symbol();
    let keyword = keyword.ok_or_else(|| Signal::wrong_type("symbolp", args[1].clone()))?;
    let option = SockOption::new(keyword, &args[2]);
    let Some(option) = option.map_err(|err| Signal::error(err.emacs_message()))? else {
        let silent = args[3].is_true();
        return if silent {
            Ok(Value::Nil)
        } else {
            Err(Signal::error("Unknown or unsupported option"))
        };
    };
    match process.set_option(option) {
        Ok(()) => {}
        Err(SetOptionError::NotRunning(_)) => return Err(Signal::error("Process is not running")),
        Err(SetOptionError::Option(err)) => return Err(Signal::error(err.emacs_message())),
        Err(SetOptionError::Sys(err)) => {
            let context = vec![args[1].clone(), args[2].clone()];
            return Err(Signal::file("Cannot set network option", err, context));
        }
    }
    show(&process, keyword, args[2].clone());
    Ok(Value::True)
}

pub(super) fn delete_process(emacs: &Emacs, args: &[Value]) -> Answer {
    emacs.designated(&args[0])?.delete();
    Ok(Value::Nil)
}

pub(super) fn kill_buffer(emacs: &Emacs, args: &[Value]) -> Answer {
    let buffer = match (args[0].downcast::<Buffer>(), args[0].as_str()) {
        (Some(buffer), _) => buffer.clone(),
        (None, Some(name)) => {
            let none = || Signal::error(format!("No buffer named {name}"));
            emacs.rt.buffers().get(name).ok_or_else(none)?
        }
        (None, None) if !args[0].is_true() => emacs.rt.buffers().current(),
        (None, None) => return Err(Signal::wrong_type("stringp", args[0].clone())),
    };
    let live = buffer.is_live();
    emacs.rt.kill_buffer(&buffer);
    Ok(live.into())
}
