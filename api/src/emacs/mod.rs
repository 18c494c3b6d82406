//! The dynamic front: Emacs's functions by their names, called with values.
//!
//! For an Emacs written in Rust, or for Emacs itself: [`SUBRS`] lists every function with its arity, and
//! [`Emacs::call`] calls one. Processes, buffers, markers and functions are values; errors are
//! [`Signal`]s in Emacs's words. Rust programs have the same by types: [`Runtime`], [`Process`].
//!
//! ```
//! use netproc::{Runtime, Value, emacs::Emacs};
//!
//! let emacs = Emacs::new(&Runtime::new()?);
//! let args: Value = r#"(:name "echo" :server t :service t)"#.parse()?;
//! let server = emacs.call("make-network-process", args.items().unwrap_or_default())?;
//! assert_eq!(emacs.call("process-status", &[server.clone()])?, Value::symbol("listen"));
//! assert_eq!(emacs.call("process-name", &[server])?, Value::from("echo"));
//! let refused = emacs.call("process-name", &["echo".into()]).unwrap_err();
//! assert_eq!(refused.to_string(), "Wrong type argument: processp, \"echo\"");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
#![doc = include_str!("../../EMACS.md")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an argument may be any value, and few are right"
)]

mod about;
mod callbacks;
mod child;
#[cfg(feature = "starttls")]
mod dialogue;
mod function;
mod gnutls;
mod io;
mod make;
mod network;
#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
mod no_tls;
mod punycode;
mod settings;
mod signal;
mod state;
mod stream;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod tls;

use std::{any::Any, fmt};

use netproc_core::{
    output::Buffer,
    plist::{Plist, Value},
    value::Object,
};

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
use self::no_tls as tls;
pub use self::{
    function::Function, make::CodingDefaults, settings::StreamDefaults, signal::Signal,
};
use crate::{process::Process, runtime::Runtime};

/// What a function of the front returns.
pub type Answer = Result<Value, Signal>;

/// A function of the front.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Subr {
    /// Its name in Emacs.
    pub name: &'static str,
    /// How many arguments it needs.
    pub min: usize,
    /// How many it takes; `None` is any number.
    pub max: Option<usize>,
    call: fn(&Emacs, &[Value]) -> Answer,
}

impl fmt::Debug for Subr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#<subr {}>", self.name)
    }
}

impl Subr {
    const fn new(
        name: &'static str,
        min: usize,
        max: usize,
        call: fn(&Emacs, &[Value]) -> Answer,
    ) -> Self {
        Self { name, min, max: Some(max), call }
    }

    const fn many(name: &'static str, min: usize, call: fn(&Emacs, &[Value]) -> Answer) -> Self {
        Self { name, min, max: None, call }
    }
}

/// Every function of the front, by name.
pub const SUBRS: [Subr; 57] = [
    Subr::new("accept-process-output", 0, 4, io::accept_process_output),
    Subr::new("continue-process", 0, 2, child::continue_process),
    Subr::new("delete-process", 1, 1, state::delete_process),
    Subr::new("featurep", 1, 2, network::featurep),
    Subr::new("format-network-address", 1, 2, network::format_network_address),
    Subr::new("get-buffer-process", 1, 1, about::get_buffer_process),
    Subr::new("get-process", 1, 1, about::get_process),
    Subr::new("gnutls-available-p", 0, 0, gnutls::available_p),
    Subr::many("gnutls-boot-parameters", 0, gnutls::boot_parameters),
    Subr::new("gnutls-peer-status", 1, 1, gnutls::peer_status),
    Subr::new("interrupt-process", 0, 2, child::interrupt_process),
    Subr::new("kill-buffer", 0, 1, state::kill_buffer),
    Subr::new("kill-process", 0, 2, child::kill_process),
    Subr::new("list-processes", 0, 2, about::list_processes),
    Subr::many("make-network-process", 0, make_network_process),
    Subr::many("make-process", 0, child::make_process),
    Subr::new("network-interface-info", 1, 1, network::network_interface_info),
    Subr::new("network-interface-list", 0, 2, network::network_interface_list),
    Subr::new("network-lookup-address-info", 1, 2, network::network_lookup_address_info),
    Subr::many("open-network-stream", 4, stream::open_network_stream),
    Subr::new("process-buffer", 1, 1, about::process_buffer),
    Subr::new("process-coding-system", 1, 1, about::process_coding_system),
    Subr::new("process-command", 1, 1, about::process_command),
    Subr::new("process-contact", 1, 3, about::process_contact),
    Subr::new("process-datagram-address", 1, 1, about::process_datagram_address),
    Subr::new("process-exit-status", 1, 1, about::process_exit_status),
    Subr::new("process-filter", 1, 1, about::process_filter),
    Subr::new("process-get", 2, 2, about::process_get),
    Subr::new("process-id", 1, 1, about::process_id),
    Subr::new("process-list", 0, 0, about::process_list),
    Subr::new("process-live-p", 1, 1, about::process_live_p),
    Subr::new("process-mark", 1, 1, about::process_mark),
    Subr::new("process-name", 1, 1, about::process_name),
    Subr::new("process-plist", 1, 1, about::process_plist),
    Subr::new("process-put", 3, 3, state::process_put),
    Subr::new("process-query-on-exit-flag", 1, 1, about::process_query_on_exit_flag),
    Subr::new("process-send-eof", 0, 1, io::process_send_eof),
    Subr::new("process-send-region", 3, 3, io::process_send_region),
    Subr::new("process-send-string", 2, 2, io::process_send_string),
    Subr::new("process-sentinel", 1, 1, about::process_sentinel),
    Subr::new("process-status", 1, 1, about::process_status),
    Subr::new("process-tty-name", 1, 1, about::process_tty_name),
    Subr::new("process-type", 1, 1, about::process_type),
    Subr::new("processp", 1, 1, about::processp),
    Subr::new("quit-process", 0, 2, child::quit_process),
    Subr::new("set-network-process-option", 3, 4, state::set_network_process_option),
    Subr::new("set-process-buffer", 2, 2, state::set_process_buffer),
    Subr::new("set-process-coding-system", 1, 3, state::set_process_coding_system),
    Subr::new("set-process-datagram-address", 2, 2, state::set_process_datagram_address),
    Subr::new("set-process-filter", 2, 2, state::set_process_filter),
    Subr::new("set-process-filter-multibyte", 2, 2, state::set_process_filter_multibyte),
    Subr::new("set-process-plist", 2, 2, state::set_process_plist),
    Subr::new("set-process-query-on-exit-flag", 2, 2, state::set_process_query_on_exit_flag),
    Subr::new("set-process-sentinel", 2, 2, state::set_process_sentinel),
    Subr::new("signal-process", 2, 3, child::signal_process),
    Subr::many("start-process", 3, child::start_process),
    Subr::new("stop-process", 0, 2, child::stop_process),
];

/// The dynamic front of one runtime.
#[derive(Clone, Debug)]
pub struct Emacs {
    rt: Runtime,
}

/// What a value is in the middle of a message: a string without its quotes, its raw bytes as `\351`.
fn bare(value: &Value) -> String {
    match (value.as_str(), value.is_string()) {
        (Some(text), _) => text.to_owned(),
        (None, true) => value.to_string().trim_matches('"').to_owned(),
        (None, false) => value.to_string(),
    }
}

impl Emacs {
    /// The front of `rt`. From now on one call of a filter brings at most 4096 bytes of a stream, as in
    /// Emacs; see [`Runtime::set_input_len_max`].
    #[must_use]
    pub fn new(rt: &Runtime) -> Self {
        rt.set_input_len_max(4096);
        Self { rt: rt.clone() }
    }

    /// The runtime underneath.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.rt
    }

    /// Calls the function of that name. Missing optional arguments are `nil`.
    ///
    /// # Errors
    ///
    /// What the function signals; `void-function` for a name that is not in [`SUBRS`],
    /// `wrong-number-of-arguments`.
    pub fn call(&self, name: &str, args: &[Value]) -> Answer {
        let Ok(at) = SUBRS.binary_search_by(|subr| subr.name.cmp(name)) else {
            return Err(Signal::new("void-function", vec![Value::symbol(name)]));
        };
        let subr = &SUBRS[at];
        if args.len() < subr.min || subr.max.is_some_and(|max| args.len() > max) {
            let count = i64::try_from(args.len()).unwrap_or(i64::MAX);
            let data = vec![Value::symbol(name), count.into()];
            return Err(Signal::new("wrong-number-of-arguments", data));
        }
        let mut full = args.to_vec();
        if let Some(max) = subr.max {
            full.resize(max, Value::Nil);
        }
        (subr.call)(self, &full)
    }

    /// A process, or an error.
    fn process(value: &Value) -> Result<Process, Signal> {
        let process = value.downcast::<Process>().cloned();
        process.ok_or_else(|| Signal::wrong_type("processp", value.clone()))
    }

    /// What a designator stands for: a process, the name of one or of a buffer, a buffer, or `nil` for the
    /// current buffer.
    fn designated(&self, value: &Value) -> Result<Process, Signal> {
        if let Some(process) = value.downcast::<Process>() {
            return Ok(process.clone());
        }
        let none = || Signal::error(format!("Process {} does not exist", bare(value)));
        let buffer = match (value.as_str(), value.downcast::<Buffer>()) {
            (Some(name), _) => {
                if let Some(process) = self.rt.get_process(name) {
                    return Ok(process);
                }
                self.rt.buffers().get(name).ok_or_else(none)?
            }
            // No name has raw bytes.
            (None, None) if value.is_string() => return Err(none()),
            (None, Some(buffer)) => buffer.clone(),
            (None, None) if !value.is_true() => self.rt.buffers().current(),
            (None, None) => return Err(Signal::wrong_type("processp", value.clone())),
        };
        self.process_of(&buffer)
    }

    fn process_of(&self, buffer: &Buffer) -> Result<Process, Signal> {
        let name = buffer.name();
        let Some(name) = name else {
            return Err(Signal::error("Attempt to get process for a dead buffer"));
        };
        let none = || Signal::error(format!("Buffer {name} has no process"));
        self.rt.buffer_process(buffer).ok_or_else(none)
    }
}

fn make_network_process(emacs: &Emacs, args: &[Value]) -> Answer {
    make_network_process_of(emacs, &make::arguments(args)?)
}

fn make_network_process_of(emacs: &Emacs, args: &Plist) -> Answer {
    match emacs.rt.make_network_process(args) {
        Ok(process) => Ok(process.map_or(Value::Nil, Value::object)),
        Err(err) => Err(Signal::from_start(&err, args)),
    }
}

impl Object for Process {
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#<process {}>", self.name())
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl From<Process> for Value {
    fn from(process: Process) -> Self {
        Self::object(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_a_name_is_found() {
        assert!(SUBRS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn names_and_numbers_of_arguments_are_checked() {
        let emacs = Emacs::new(&Runtime::new().unwrap());
        let cases: [(&str, &[Value], &str); 3] = [
            ("no-such-function", &[], "void-function"),
            ("process-name", &[], "wrong-number-of-arguments"),
            ("process-name", &[Value::Nil, Value::Nil], "wrong-number-of-arguments"),
        ];
        for (name, args, symbol) in cases {
            assert_eq!(emacs.call(name, args).unwrap_err().symbol(), symbol);
        }
    }
}
