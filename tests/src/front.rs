//! The dynamic front against a server that greets: calls that must be refused before anybody is
//! connected to.
//!
//! Invariant: a row is checked by what the call says, and by that no socket, no process and no connection
//! is more or less for it.

use std::{cell::Cell, fs, path::Path, rc::Rc};

use netproc::{Process, Runtime, Value, emacs::Emacs};

use crate::{
    certificates::Authority,
    contract::Outcome,
    rig::Rig,
    transcript::{fmt, q},
};

/// What a call comes to: an answer as a transcript prints it, or behind `!! ` a condition and its words.
#[must_use]
pub fn said(emacs: &Emacs, function: &str, args: &[Value]) -> String {
    match emacs.call(function, args) {
        Ok(answer) => fmt(&answer),
        Err(signal) => format!("!! {}: {signal}", signal.symbol()),
    }
}

/// Has streams of the front trust an authority, by `ca.pem` in `folder`, and nobody else.
///
/// # Errors
///
/// When the file cannot be written.
pub fn trust(rt: &Runtime, folder: &Path, authority: &Authority) -> Outcome {
    let file = folder.join("ca.pem");
    fs::write(&file, authority.pem())?;
    let mut defaults = rt.stream_defaults();
    defaults.trustfiles = vec![file];
    rt.set_stream_defaults(defaults);
    Ok(())
}

/// A call that must be refused, by the number of its row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The row of the catalogue of faults, section 2.
    pub number: u8,
    /// The function.
    pub function: &'static str,
    /// Its arguments.
    pub args: Vec<Value>,
    /// What it must come to.
    pub expected: String,
}

impl Refused {
    /// A call with arguments as Lisp writes them.
    #[must_use]
    pub fn new(
        number: u8,
        function: &'static str,
        args: &str,
        expected: impl Into<String>,
    ) -> Self {
        let args = q(args).items().unwrap_or_default().to_vec();
        Self { number, function, args, expected: expected.into() }
    }

    /// The same with more arguments behind.
    #[must_use]
    pub fn and(mut self, more: &[Value]) -> Self {
        self.args.extend_from_slice(more);
        self
    }
}

/// A server that greets and counts who comes, and the front.
#[derive(Debug)]
#[non_exhaustive]
pub struct Place<'a> {
    /// The rig it lives in; its log has what the server was sent.
    pub rig: &'a Rig,
    /// The front.
    pub emacs: Emacs,
    /// The server's port.
    pub port: i64,
    count: Rc<Cell<usize>>,
}

impl<'a> Place<'a> {
    /// A server that says `greeting` to whoever comes, and nothing else.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn new(rig: &'a Rig, greeting: &'static [u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let server = rig.rt.server("srv").filter(rig.log.filter()).sentinel(|_, _| ());
        let server = server.on_accept(move |_, connection| {
            counted.set(counted.get() + 1);
            connection.send(greeting)
        });
        let port = server.start()?.contact().local().port().ok_or("a port")?.into();
        Ok(Self { rig, emacs: Emacs::new(&rig.rt), port, count })
    }

    /// Sockets and processes.
    #[must_use]
    pub fn state(&self) -> (u64, Vec<Process>) {
        (self.rig.rt.stats().sockets, self.rig.rt.process_list())
    }

    /// `open-network-stream` to the server: `params` as Lisp writes them, and more behind.
    #[must_use]
    pub fn open(&self, params: &str, more: &[Value]) -> String {
        let row = self.row(0, params, "").and(more);
        said(&self.emacs, row.function, &row.args)
    }

    /// Makes calls that must come to that, and nobody is connected to.
    ///
    /// # Panics
    ///
    /// Panics when one does not.
    #[track_caller]
    pub fn refuses(&self, calls: Vec<Refused>) {
        for Refused { number, function, args, expected } in calls {
            let before = (self.state(), self.count.get());
            let shown = fmt(&Value::list(args.iter().cloned()));
            assert_eq!(said(&self.emacs, function, &args), expected, "row {number}: {shown}");
            assert_eq!((self.state(), self.count.get()), before, "row {number}: {shown}");
        }
        self.rig.settle();
        assert_eq!(self.count.get(), 0, "nobody was connected to");
    }

    /// `open-network-stream` to the server with these parameters.
    #[must_use]
    pub fn row(&self, number: u8, params: &str, expected: impl Into<String>) -> Refused {
        let args = format!("(\"x\" nil \"127.0.0.1\" {} {params})", self.port);
        Refused::new(number, "open-network-stream", &args, expected)
    }

    /// `make-network-process` to the server with these `:tls-parameters`.
    #[must_use]
    pub fn tls(&self, number: u8, params: &str, expected: impl Into<String>) -> Refused {
        let to = format!(":host \"127.0.0.1\" :service {}", self.port);
        let args = format!("(:name \"x\" {to} :tls-parameters {params})");
        Refused::new(number, "make-network-process", &args, expected)
    }

    /// `make-network-process` of a server with these `:tls-parameters`.
    #[must_use]
    pub fn tls_server(&self, number: u8, params: &str, expected: impl Into<String>) -> Refused {
        let args = format!("(:name \"x\" :server t :service t :tls-parameters {params})");
        Refused::new(number, "make-network-process", &args, expected)
    }
}
