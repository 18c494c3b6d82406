//! Lisp functions as callbacks of a process.
//!
//! Invariant: they are told what Emacs tells, and no event it does not have. What they signal is
//! reported by the runtime's hook, as any callback's error. The buffer that is current before a filter or a
//! sentinel is so after it.

use std::rc::Rc;

use netproc_core::{
    coding::Text,
    event::{Event, Input, LogEntry},
    output::Buffer,
    plist::{Plist, Value},
};

use super::{Function, Signal};
use crate::{
    handlers::{Filter, Log, Sentinel},
    output::{default_filter, is_emacs, text_of},
    process::{Process, shared_filter},
    runtime::Runtime,
};

/// The function a value stands for: a [`Function`], or the symbol `ignore`.
pub(super) fn function(value: &Value) -> Option<Function> {
    match value.as_symbol() {
        Some("ignore") => Some(Function::named("ignore", |_| Ok(Value::Nil))),
        Some(_) => None,
        None => value.downcast::<Function>().and_then(Function::upgrade),
    }
}

/// The value as a contact keeps it: a function is not kept alive.
pub(super) fn weak(value: &Value) -> Value {
    match value.downcast::<Function>() {
        Some(function) => function.weak().into(),
        None => value.clone(),
    }
}

/// The arguments as a contact keeps them. Callbacks are kept by the process, as long as it may call them; a function
/// under another keyword is a value like any other.
pub(super) fn weakened(args: &Plist) -> Plist {
    let kept = |keyword: &str, value: &Value| match keyword {
        ":filter" | ":sentinel" | ":log" => weak(value),
        _ => value.clone(),
    };
    args.iter().map(|(keyword, value)| (keyword, kept(keyword, value))).collect()
}

/// Makes the buffer current again that was, if it still lives.
struct CurrentBuffer<'a>(&'a Runtime, Buffer);

impl Drop for CurrentBuffer<'_> {
    fn drop(&mut self) {
        // Refused only if it was killed.
        let _ = self.0.buffers().set_current(&self.1);
    }
}

fn call(function: &Function, process: &Process, args: &[Value]) -> Result<Value, Signal> {
    let rt = process.runtime();
    let _before = CurrentBuffer(rt, rt.buffers().current());
    function.call(args)
}

/// What a filter is given: a unibyte string if the decoding says so, else text.
fn string(process: &Process, input: &Input) -> Value {
    let unibyte =
        process.coding().and_then(|coding| coding.decode).is_none_or(|system| system.is_unibyte());
    let text = text_of(input);
    if unibyte { Value::Bytes(text.to_bytes().into()) } else { Value::text(text) }
}

pub(super) fn filter(function: Function) -> Filter {
    Filter::Shared(shared_filter(move |process: &Process, input: Input| {
        // Bytes that mean nothing by themselves, such as those back to ASCII: Emacs keeps them to itself.
        if !input.is_empty() && input.text().is_some_and(Text::is_empty) {
            return Ok(());
        }
        let string = string(process, &input);
        // The receive memory goes back before Lisp takes its time.
        drop(input);
        call(&function, process, &[Value::object(process.clone()), string]).map(drop)
    }))
}

pub(super) fn sentinel(function: Function) -> Sentinel {
    Rc::new(move |process: &Process, event: &Event| {
        if !is_emacs(event) {
            return None;
        }
        let args = [Value::object(process.clone()), event.to_string().into()];
        call(&function, process, &args).err().map(Into::into)
    })
}

pub(super) fn log(function: Function) -> Log {
    Rc::new(move |server: &Process, process: Option<&Process>, entry: &LogEntry| {
        let process = process.map_or(Value::Nil, |process| Value::object(process.clone()));
        let args = [Value::object(server.clone()), process, entry.to_string().into()];
        // Emacs leaves current what this one makes so.
        function.call(&args).err().map(Into::into)
    })
}

/// Filter `t`. Nothing reaches the default filter meanwhile; but a server without any would have
/// nobody to accept for, and its connections would wait to be pulled.
pub(super) fn ignore_input(process: &Process) {
    process.install_filter(Filter::Shared(default_filter()), true, Value::True);
}
