//! What was asked of a builder, as arguments of `make-network-process`: for the contact, and for
//! whoever prints a builder.
//!
//! Invariant: what was not asked for is not shown, whatever its default is.

use std::fmt;

use netproc_core::{
    address::Family,
    coding::{Coding, CodingSystem},
    plist::{Plist, Value},
    reactor::Kind,
};

use super::{ClientBuilder, Common, ServerBuilder, external::Origin};
use crate::output::buffer_value;

impl Common {
    /// The arguments as the contact shows them.
    pub(super) fn asked(&self) -> Plist {
        let mut asked = Plist::new();
        asked.put(":name", self.name.as_str());
        match self.kind {
            Kind::Stream => {}
            Kind::Datagram => drop(asked.put(":type", Value::Symbol("datagram".into()))),
            Kind::SeqPacket => drop(asked.put(":type", Value::Symbol("seqpacket".into()))),
        }
        if let Some(host) = &self.host {
            asked.put(":host", host.as_str());
        }
        if let Some(service) = &self.service {
            asked.put(":service", service);
        }
        if let Some(family) = self.family {
            asked.put(":family", family_value(family));
        }
        if let Some(Ok(coding)) = &self.coding {
            asked.put(":coding", coding_value(coding));
        }
        if self.handlers.output.buffer.is_some() {
            asked.put(":buffer", buffer_value(self.handlers.output.buffer.clone()));
        }
        if self.handlers.no_query {
            asked.put(":noquery", Value::True);
        }
        if self.stopped {
            asked.put(":stop", Value::True);
        }
        for option in &self.options {
            asked.put(option.keyword(), option.value());
        }
        asked
    }
}

impl ServerBuilder {
    /// The arguments as the contact shows them.
    pub(super) fn asked(&self, external: bool) -> Plist {
        let mut asked = self.common.asked();
        asked.put(":server", Value::True);
        if external {
            asked.put(":use-external-socket", Value::True);
        }
        if let Some(remote) = &self.remote {
            asked.put(":remote", remote.clone());
        }
        asked
    }
}

/// What was asked for so far, as arguments of `make-network-process`.
impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut asked = self.asked(matches!(self.origin, Origin::External(_)));
        if let Some(local) = &self.local {
            asked.put(":local", local.clone());
        }
        write!(f, "ServerBuilder{asked}")
    }
}

/// What was asked for so far, as arguments of `make-network-process`.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut asked = self.common.asked();
        match self.remotes.as_deref() {
            None => {}
            Some([remote]) => drop(asked.put(":remote", remote.clone())),
            Some(several) => {
                let several: Vec<Value> = several.iter().cloned().map(Value::from).collect();
                asked.put(":remotes", Value::List(several.into()));
            }
        }
        if let Some(local) = &self.local {
            asked.put(":local", local.clone());
        }
        if self.nowait {
            asked.put(":nowait", Value::True);
        }
        write!(f, "ClientBuilder{asked}")
    }
}

/// A coding as `:coding` shows it: one name, or a pair.
fn coding_value(coding: &Coding) -> Value {
    let half = |system: Option<CodingSystem>| {
        system.map_or(Value::Nil, |system| Value::symbol(&system.to_string()))
    };
    if coding.decode == coding.encode {
        return half(coding.decode);
    }
    Value::pair(half(coding.decode), half(coding.encode))
}

fn family_value(family: Family) -> Value {
    match family {
        Family::Ipv4 => Value::symbol("ipv4"),
        Family::Ipv6 => Value::symbol("ipv6"),
        Family::Local => Value::symbol("local"),
        Family::Other(number) => i64::from(number).into(),
        _ => Value::Nil,
    }
}
