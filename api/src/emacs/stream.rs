//! `open-network-stream`: what was asked for, which way it goes, and the simple one.
//!
//! Invariant: whatever is wrong with the arguments is told before anybody is connected to. Of the ways
//! only the simple one stands here: it is `make-network-process`. The others are `dialogue`'s.

use netproc_core::plist::{Plist, Value};

use super::{Answer, Emacs, Signal, punycode};

/// The arguments, as far as every way needs them.
#[derive(Debug)]
pub(super) struct Asked {
    name: Value,
    buffer: Value,
    /// In the form for the wire.
    host: String,
    service: Value,
    kind: Type,
    parameters: Plist,
}

fn string(value: &Value) -> Result<&str, Signal> {
    value.as_str().ok_or_else(|| Signal::wrong_type("stringp", value.clone()))
}

/// What the stream is to be, `:type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Network,
    Plain,
    StartTls,
    Tls,
    Shell,
}

impl Asked {
    fn new(args: &[Value]) -> Result<Self, Signal> {
        let [name, buffer, host, service, rest @ ..] = args else {
            let name = Value::symbol("open-network-stream");
            return Err(Signal::new("wrong-number-of-arguments", vec![name]));
        };
        let parameters = Plist::from_values(rest)?;
        // In Emacs's order; what a service may be, `make-network-process` knows.
        let kind = kind(parameters.get(":type").unwrap_or(&Value::Nil))?;
        let host = string(host)?;
        string(name)?;
        let ascii = punycode::to_ascii(host);
        let service_text = super::bare(service);
        let too_long = || Signal::error(format!("{host}/{service_text} Name or service not known"));
        let host = ascii.ok_or_else(too_long)?;
        Ok(Self {
            name: name.clone(),
            buffer: buffer.clone(),
            host,
            service: service.clone(),
            kind,
            parameters,
        })
    }

    /// The value of a keyword, if it was given.
    pub(super) fn given(&self, keyword: &str) -> Option<&Value> {
        self.parameters.get(keyword)
    }

    /// The same; `nil` if it was not.
    pub(super) fn get(&self, keyword: &str) -> &Value {
        self.given(keyword).unwrap_or(&Value::Nil)
    }

    /// Whether a keyword was given anything but `nil`.
    pub(super) fn on(&self, keyword: &str) -> bool {
        self.get(keyword).is_true()
    }

    #[cfg(feature = "starttls")]
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The service as text.
    #[cfg(feature = "starttls")]
    pub(super) fn service(&self) -> String {
        super::bare(&self.service)
    }

    /// What `make-network-process` is called with.
    pub(super) fn connection(&self, keywords: &[&str]) -> Plist {
        let host = Value::from(&*self.host);
        let own = [&self.name, &self.buffer, &host, &self.service];
        let names = [":name", ":buffer", ":host", ":service"];
        let mut args: Plist = names.into_iter().zip(own.map(Clone::clone)).collect();
        for keyword in keywords {
            args.push(keyword, self.get(keyword).clone());
        }
        args
    }

    /// Whether nothing but a connection is wanted.
    fn is_simple(&self) -> bool {
        let may_upgrade = self.on(":success") && self.on(":capability-command");
        let is_plain = self.kind == Type::Plain || self.kind == Type::Network && !may_upgrade;
        is_plain && !self.on(":return-list")
    }
}

fn kind(given: &Value) -> Result<Type, Signal> {
    Ok(match given.as_symbol() {
        Some("nil" | "network") => Type::Network,
        Some("plain") => Type::Plain,
        Some("starttls") => Type::StartTls,
        Some("tls" | "ssl") => Type::Tls,
        Some("shell") => Type::Shell,
        _ => {
            let shown = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
            return Err(Signal::error(format!("Invalid connection type {shown}")));
        }
    })
}

/// `open-network-stream NAME BUFFER HOST SERVICE &rest PARAMETERS`.
pub(super) fn open_network_stream(emacs: &Emacs, args: &[Value]) -> Answer {
    let asked = Asked::new(args)?;
    if asked.is_simple() {
        let args = asked.connection(&[":nowait", ":tls-parameters", ":coding"]);
        return super::make_network_process_of(emacs, &args);
    }
    with_dialogue(emacs, &asked)
}

#[cfg(feature = "starttls")]
fn with_dialogue(emacs: &Emacs, asked: &Asked) -> Answer {
    super::dialogue::open(emacs, asked, asked.kind)
}

#[cfg(not(feature = "starttls"))]
fn with_dialogue(_: &Emacs, _: &Asked) -> Answer {
    let needed = "open-network-stream: all but a bare connection needs the feature starttls";
    Err(Signal::error(needed))
}

#[cfg(all(test, not(feature = "starttls")))]
mod tests {
    use super::*;
    use crate::runtime::Runtime;

    #[test]
    fn without_dialogues_there_are_bare_connections() {
        let rt = Runtime::new().unwrap();
        let emacs = Emacs::new(&rt);
        let server = rt.server("s").start().unwrap();
        let port = server.contact().local().port().unwrap();
        let open = |more: &str| {
            let args = format!("(\"x\" nil \"127.0.0.1\" {port} {more})");
            emacs.call("open-network-stream", args.parse::<Value>().unwrap().items().unwrap())
        };
        for more in [":return-list t", ":type tls", ":type starttls"] {
            let refused = open(more).unwrap_err();
            assert!(refused.to_string().ends_with("needs the feature starttls"), "{refused}");
        }
        assert_eq!(rt.process_list(), [server]);
        let x = open(":type plain").unwrap();
        assert_eq!(x.to_string(), "#<process x>");
    }
}
